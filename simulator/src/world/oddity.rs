//! What a fleet's rhythm, its case and its trials make of the world.

use super::{STEP_MS, World};
use crate::cases::{self, Case};
use crate::changes;
use crate::fleet::{METRICS, Metric, Service};
use crate::logs;
use crate::scenario::Release;
use crate::trials::Trial;
use midwatch_events::Event;
use midwatch_events::raw::LogLevel;

/// The life of a harmless release, milliseconds after its announcement.
const RELEASE: [(i64, cases::Event); 3] = [
    (0, cases::Event::Deployed),
    (2_000, cases::Event::RolloutBegan),
    (25_000, cases::Event::RolloutEnded),
];

impl World {
    /// What is special about this service.
    pub(super) fn case_of(&self, service: Service) -> Option<&Case> {
        let case = self.config.variation.case.as_ref();
        case.filter(|case| case.service == service)
    }

    /// What is usual for each metric of a service at a moment, without strain.
    pub(super) fn usual(&self, service: Service, at_ms: i64) -> [f64; METRICS] {
        let case = self.case_of(service);
        let load = match (&self.config.variation.rhythm, case) {
            (None, _) => 1.0,
            (Some(rhythm), None) => rhythm.load(at_ms),
            (Some(rhythm), Some(case)) => case.load(rhythm, at_ms),
        };
        let trial = self.trial_at(at_ms);
        let load = load * trial.map_or(1.0, |trial| trial.load(service, at_ms));
        Metric::ALL.map(|metric| {
            let load = match case {
                Some(case) if !case.follows_load(metric) => 1.0,
                _ => load,
            };
            let touch = case.and_then(|case| case.touch(metric, at_ms));
            let factor = touch.map_or(1.0, |touch| touch.factor)
                * trial.map_or(1.0, |trial| trial.noise(service, metric, at_ms));
            metric.normal(service) * metric.under_load(load) * factor
        })
    }

    /// The width of a metric's jitter now, as a part of the fleet's; none where
    /// the metric is not reported.
    pub(super) fn jitter_width(&self, service: Service, metric: Metric) -> Option<f64> {
        let trial = self.trial_at(self.now_ms);
        if !trial.is_none_or(|trial| trial.reports(service, metric, self.now_ms)) {
            return None;
        }
        match self.case_of(service) {
            Some(case) => Some(case.touch(metric, self.now_ms)?.jitter),
            None => Some(1.0),
        }
    }

    /// Whether no request reaches the service of this name now.
    pub(super) fn is_cut_off(&self, service: &str) -> bool {
        let case = self.config.variation.case.as_ref();
        case.is_some_and(|case| case.service.name() == service && case.is_cut_off(self.now_ms))
    }

    /// Lets happen what the case lets happen in this step.
    pub(super) fn case_happens(&mut self) {
        let Some(case) = &self.config.variation.case else {
            return;
        };
        let service = case.service;
        let step = self.now_ms - STEP_MS + 1..=self.now_ms;
        let due: Vec<_> = case
            .happenings()
            .into_iter()
            .filter(|(at_ms, _)| step.contains(at_ms))
            .collect();
        for (at_ms, what) in due {
            self.report_case(service, at_ms, what);
        }
    }

    /// The trial that a moment belongs to; what comes before the first one
    /// belongs to that.
    pub(super) fn trial_at(&self, at_ms: i64) -> Option<&Trial> {
        let trials = &self.config.variation.trials;
        let begun = trials.iter().rfind(|trial| trial.slot.start <= at_ms);
        begun.or(trials.first())
    }

    /// Lets happen what the trial lets happen in this step.
    pub(super) fn trial_happens(&mut self) {
        let before_ms = self.now_ms - STEP_MS;
        let Some(trial) = self.trial_at(self.now_ms) else {
            return;
        };
        let errors = trial.errors(before_ms, self.now_ms);
        let release = trial.release();
        for (service, at_ms, text) in errors {
            self.log(service, at_ms, (LogLevel::Error, text));
        }
        let Some((service, at_ms)) = release else {
            return;
        };
        let step = before_ms + 1..=self.now_ms;
        for (offset_ms, what) in RELEASE {
            if step.contains(&(at_ms + offset_ms)) {
                self.report_case(service, at_ms + offset_ms, what);
            }
        }
    }

    fn report_case(&mut self, service: Service, at_ms: i64, what: cases::Event) {
        let seed = self.config.seed;
        let environment = self.config.environment.clone();
        let place = (service, environment.as_str(), at_ms);
        match (what, self.case_release.clone()) {
            (cases::Event::Deployed, _) => {
                let release = self.release(service);
                self.announce(service, at_ms, &release);
                self.case_release = Some(release);
            }
            (cases::Event::RolloutBegan, Some(release)) => {
                let event = changes::rollout(seed, place, &release, false);
                self.emit(at_ms, Event::Kubernetes(event));
            }
            (cases::Event::RolloutEnded, Some(release)) => {
                let event = changes::rollout(seed, place, &release, true);
                self.emit(at_ms, Event::Kubernetes(event));
            }
            (cases::Event::OomKilled, _) => {
                let memory = Metric::Memory.normal(service)
                    + self.own_strain(service, at_ms).of(Metric::Memory);
                let pod = changes::pod(seed, service, &self.versions[service as usize], 0);
                self.log(service, at_ms, logs::last_words(service));
                let event = changes::oom_killed(place, pod, memory);
                self.emit(at_ms, Event::Kubernetes(event));
            }
            (cases::Event::RolloutBegan | cases::Event::RolloutEnded, None) => {}
        }
    }

    /// The announcement of a release, by whoever rolls it out and by the
    /// service itself.
    pub(super) fn announce(&mut self, service: Service, at_ms: i64, release: &Release) {
        let environment = self.config.environment.clone();
        let deployment = changes::deployment(service, &environment, at_ms, release);
        self.emit(at_ms, Event::Deployment(deployment));
        let text = format!(
            "starting {} (git {})",
            release.version,
            &release.git_sha[..12]
        );
        self.log(service, at_ms, (LogLevel::Info, text));
    }
}
