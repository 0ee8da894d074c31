//! Actions on the fleet: carried out once for each key, and taken back.

use super::World;
use crate::actions::{
    Action, ActionReport, ActionRequest, ActionStatus, LONGEST, MOST_ACTIONS, ROLLOUT_MS, Remedy,
};
use crate::fleet::{Service, Strain};
use crate::scenario::{Relief, Scenario};
use midwatch_events::action::ActionKind;
use std::collections::BTreeMap;

/// What was done to the fleet so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Deeds {
    by_key: BTreeMap<String, (ActionRequest, ActionReport)>,
    /// Actions that can be taken back and were not.
    standing: Vec<Action>,
    /// Rollouts under way: where, from when, what requests notice.
    rollouts: Vec<(Service, i64, Strain)>,
}

impl World {
    /// Carries an action out now. One that was asked for under this key before
    /// is not carried out again: the first answer is given again.
    pub fn act(&mut self, request: &ActionRequest) -> ActionReport {
        if let Some((first, report)) = self.deeds.by_key.get(&request.key) {
            if first == request {
                return report.clone();
            }
            return self.refused("another action was asked for under this key; use a new one");
        }
        if request.key.is_empty() || request.key.len() > LONGEST {
            return self.refused(&format!("the key must have 1 to {LONGEST} bytes"));
        }
        if self.deeds.by_key.len() >= MOST_ACTIONS {
            let full = format!("{MOST_ACTIONS} actions are remembered; restart the simulator");
            return self.refused(&full);
        }
        let report = match Action::read(request) {
            Err(words) => self.refused(&words),
            Ok(action) if !action.means_something() => ActionReport {
                status: ActionStatus::Ignored,
                event_ms: self.now_ms,
                words: format!("{} changes nothing in this fleet", request.kind),
            },
            Ok(action) => {
                let words = format!("{} of {} is carried out", request.kind, request.service);
                self.carry_out(action);
                ActionReport {
                    status: ActionStatus::Applied,
                    event_ms: self.now_ms,
                    words,
                }
            }
        };
        let entry = (request.clone(), report.clone());
        self.deeds.by_key.insert(request.key.clone(), entry);
        report
    }

    /// What became of the action of this key.
    #[must_use]
    pub fn action(&self, key: &str) -> Option<&ActionReport> {
        self.deeds.by_key.get(key).map(|(_, report)| report)
    }

    fn refused(&self, words: &str) -> ActionReport {
        ActionReport {
            status: ActionStatus::Refused,
            event_ms: self.now_ms,
            words: words.to_owned(),
        }
    }

    fn carry_out(&mut self, action: Action) {
        let now_ms = self.now_ms;
        let rollout = (action.service, now_ms, action.dip());
        self.deeds
            .rollouts
            .retain(|(_, from_ms, _)| now_ms < from_ms + ROLLOUT_MS);
        self.deeds.rollouts.push(rollout);
        let mut standing = self.deeds.standing.iter();
        if let Some(index) = standing.position(|earlier| action.undoes(earlier)) {
            let earlier = self.deeds.standing.remove(index);
            self.take_back(&earlier);
            return;
        }
        for fault in &mut self.faults {
            let runs = (fault.start_ms..fault.end_ms()).contains(&now_ms);
            if fault.service != action.service || !runs {
                continue;
            }
            let (fade_ms, left) = match action.remedy(fault.scenario) {
                Some(Remedy::Ends { fade_ms }) => (fade_ms, 0.0),
                Some(Remedy::Eases { left, fade_ms }) => (fade_ms, left),
                Some(Remedy::Worsens(_)) | None => continue,
            };
            fault.reliefs.push(Relief {
                key: action.key.clone(),
                at_ms: now_ms,
                fade_ms,
                left,
            });
        }
        if action.kind == ActionKind::RollbackDeployment {
            self.roll(&action, |release| release.previous.clone());
        }
        self.deeds.standing.push(action);
    }

    fn take_back(&mut self, earlier: &Action) {
        let now_ms = self.now_ms;
        for fault in &mut self.faults {
            let before = fault.reliefs.len();
            if now_ms < fault.end_ms() {
                fault.reliefs.retain(|relief| relief.key != earlier.key);
            }
            if fault.reliefs.len() < before {
                // What it missed meanwhile does not happen any more.
                let missed = |(at_ms, _): &(i64, _)| *at_ms <= now_ms;
                fault.happened = fault.happenings().iter().filter(|one| missed(one)).count();
            }
        }
        if earlier.kind == ActionKind::RollbackDeployment {
            self.roll(earlier, |release| release.version.clone());
        }
    }

    /// Sets the version of a service whose failed release is rolled back, or
    /// forward again.
    fn roll(&mut self, action: &Action, to: fn(&crate::scenario::Release) -> String) {
        let service = action.service;
        let release = self
            .faults
            .iter()
            .filter(|fault| fault.scenario == Scenario::DeploymentFailure)
            .find_map(|fault| fault.release.as_ref().filter(|_| fault.service == service));
        if let Some(release) = release {
            self.versions[service as usize] = to(release);
        }
    }

    /// What actions add to the strain of a service at a moment.
    pub(super) fn strain_of_actions(&self, service: Service, at_ms: i64) -> Strain {
        let rollouts = self
            .deeds
            .rollouts
            .iter()
            .filter(|(where_, from_ms, _)| {
                *where_ == service && (from_ms + 1..=from_ms + ROLLOUT_MS).contains(&at_ms)
            })
            .fold(Strain::default(), |sum, (_, _, dip)| sum.larger(*dip));
        let standing = self.deeds.standing.iter();
        standing
            .filter(|action| action.service == service)
            .fold(rollouts, |sum, action| {
                let harm = self
                    .faults
                    .iter()
                    .filter(|fault| fault.service == service)
                    .filter_map(|fault| match action.remedy(fault.scenario) {
                        Some(Remedy::Worsens(more)) => Some(more.times(fault.intensity_at(at_ms))),
                        _ => None,
                    })
                    .fold(action.shortage(), Strain::plus);
                sum.plus(harm)
            })
    }
}
