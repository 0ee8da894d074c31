//! The ids of what has none of its own.

use super::{Deed, Facts, Planned};
use crate::config::TIMELINE;
use crate::text::{line, time_of_day};

impl Facts {
    /// What the stores held when this was written.
    #[must_use]
    pub fn holdings_id(&self) -> String {
        self.below("holdings")
    }

    /// A signal of correlation, by its place from 0.
    #[must_use]
    pub fn signal_id(&self, index: usize) -> String {
        self.below(&format!("signals/{}", index + 1))
    }

    /// A candidate for the cause, by its place from 0.
    #[must_use]
    pub fn cause_id(&self, index: usize) -> String {
        self.below(&format!("causes/{}", index + 1))
    }

    /// A step of a plan.
    #[must_use]
    pub fn step_id(&self, planned: Planned<'_>) -> String {
        format!("{}/{}", planned.plan.plan_id, planned.step.step_id)
    }

    /// What a step is called: by its number, and where it is not of the newest
    /// plan by the time of its own.
    #[must_use]
    pub fn step_name(&self, planned: Planned<'_>) -> String {
        let step = line(&planned.step.step_id);
        if self.is_earlier(planned) {
            format!(
                "{step} of the plan of {}",
                time_of_day(planned.plan.planned_at_ms)
            )
        } else {
            step
        }
    }

    /// The event that told of a deed; an older one has no id of its own.
    #[must_use]
    pub fn deed_id(&self, deed: &Deed) -> String {
        if deed.id.is_empty() {
            let action = &deed.action;
            let (plan, step, phase) = (action.plan_id, &action.step_id, &action.phase);
            format!("{plan}/{step}/{phase}/{}", action.at_ms)
        } else {
            deed.id.clone()
        }
    }

    /// What a stage cost.
    #[must_use]
    pub fn cost_id(&self, stage: &str) -> String {
        self.below(&format!("ledger/{stage}"))
    }

    /// The incident itself.
    #[must_use]
    pub fn incident_id(&self) -> String {
        self.resolved.header.incident_id.to_string()
    }

    /// Lines of the trail that the timeline has no room for.
    #[must_use]
    pub fn later_lines(&self) -> usize {
        (self.trail.len() + self.anomalies.len().min(8) + usize::from(self.deployment.is_some()))
            .saturating_sub(TIMELINE)
    }

    /// Every service that is spoken of, each once, in order.
    #[must_use]
    pub fn services(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .resolved
            .header
            .affected_services
            .iter()
            .map(String::as_str)
            .chain(self.candidates.iter().map(|one| one.service.as_str()))
            .chain(self.traffic.iter().map(|one| one.service.as_str()))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn below(&self, name: &str) -> String {
        format!("{}/{name}", self.resolved.header.short_id)
    }
}
