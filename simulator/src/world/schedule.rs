//! Which fault comes when, and faults on demand.

use super::{TICK_MS, World, version};
use crate::changes;
use crate::fleet::Service;
use crate::scenario::{Fault, RECOVERY_MS, Release, Scenario};
use crate::stories::story;
use crate::variation::Variation;
use midwatch_events::ids;
use rand::RngExt;
use rand::seq::SliceRandom;
use std::cmp::Reverse;

/// From the first live moment to the first fault.
pub const FIRST_FAULT_MS: i64 = 60_000;
/// From one fault's start to the next one's, in seconds.
const GAP_S: std::ops::RangeInclusive<i64> = 300..=600;
/// Quiet time between a fault's end and the next one's start: long enough for
/// a resolution to be noticed and for baselines to settle.
const REST_MS: i64 = 150_000;
/// From a failing release to its first failures at most; 20 s at least.
const LONGEST_LEAD_MS: i64 = 40_000;

/// Which faults come by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// None.
    Quiet,
    /// One: this one, or one that the seed draws.
    Once(Option<Scenario>),
    /// One after another: this one first, then whatever the seed draws.
    Continuous(Option<Scenario>),
    /// Each scenario once, in an order that the seed draws, then quiet.
    Round,
}

/// What a world is made from.
#[derive(Clone, Debug)]
pub struct WorldConfig {
    pub seed: u64,
    pub environment: String,
    /// The first simulated moment, epoch milliseconds.
    pub start_ms: i64,
    /// When history ends and faults may come, epoch milliseconds.
    pub live_ms: i64,
    pub plan: Plan,
    /// What distinguishes this fleet from others.
    pub variation: Variation,
}

/// Why a fault was not injected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InjectError {
    #[error("{running} is running on {service} until it has faded; wait, or name another service")]
    Running {
        service: &'static str,
        running: &'static str,
    },
    #[error(
        "{service} consumes no topic and can have no lag; choose order-service or notification-service"
    )]
    NoConsumer { service: &'static str },
}

impl World {
    /// Starts a fault now, on its usual service unless told otherwise. Its
    /// ramp begins with the current tick; a failing deployment is announced
    /// now and its ramp begins 20 to 40 s later.
    ///
    /// # Errors
    /// One fault per service at a time, and no lag where nothing is consumed.
    pub fn inject(
        &mut self,
        scenario: Scenario,
        service: Option<Service>,
    ) -> Result<&Fault, InjectError> {
        let service = service.unwrap_or(self.config.variation.strike(scenario).service);
        if scenario == Scenario::KafkaConsumerLag && service.profile().consumes.is_none() {
            return Err(InjectError::NoConsumer {
                service: service.name(),
            });
        }
        let now_ms = self.now_ms;
        let running = self
            .faults
            .iter()
            .find(|fault| fault.service == service && now_ms < fault.end_ms() + RECOVERY_MS);
        if let Some(running) = running {
            return Err(InjectError::Running {
                service: service.name(),
                running: running.scenario.name(),
            });
        }
        let into_tick_ms = (now_ms - self.config.start_ms) % TICK_MS;
        let mut fault = self.fault(scenario, service, now_ms - into_tick_ms);
        if fault.lead_ms > 0 {
            fault.start_ms = self.tick_from(now_ms + fault.lead_ms.min(30_000));
            fault.lead_ms = fault.start_ms - now_ms;
        }
        let free_ms = self.tick_from(fault.end_ms() + REST_MS);
        if let Some(next) = &mut self.next {
            next.start_ms = next.start_ms.max(free_ms);
        }
        self.faults.push(fault);
        Ok(self.faults.last().expect("the fault was just pushed"))
    }

    /// The first tick at or after this moment.
    pub(super) fn tick_from(&self, at_ms: i64) -> i64 {
        let past_tick_ms = (at_ms - self.config.start_ms).rem_euclid(TICK_MS);
        if past_tick_ms == 0 {
            at_ms
        } else {
            at_ms - past_tick_ms + TICK_MS
        }
    }

    fn fault(&mut self, scenario: Scenario, service: Service, start_ms: i64) -> Fault {
        let lead_ms = if scenario == Scenario::DeploymentFailure {
            self.schedule_rng.random_range(20..=LONGEST_LEAD_MS / 1_000) * 1_000
        } else {
            0
        };
        let strike = self.config.variation.strike(scenario);
        let documented_ms = crate::scenario::millis(scenario.duration_ms());
        let ticks = (documented_ms * strike.stretch / crate::scenario::millis(TICK_MS)).round();
        let reaches = if scenario.reaches_callers() {
            self.config.variation.reached_from(service)
        } else {
            Vec::new()
        };
        let (seed, at) = (self.config.seed.to_string(), self.now_ms.to_string());
        let parts = ["fault", &seed, &at, scenario.name(), service.name()];
        Fault {
            id: ids::derive(&parts).to_string(),
            scenario,
            service,
            size: strike.size,
            duration_ms: ticks as i64 * TICK_MS,
            reaches,
            start_ms,
            lead_ms,
            release: None,
            reliefs: Vec::new(),
            happened: 0,
        }
    }

    /// Plans the fault that comes first, if one comes by itself.
    pub(super) fn plan_first(&mut self) {
        let trials = self.config.variation.trials.iter();
        self.strikes = trials.flat_map(|trial| trial.strikes.clone()).collect();
        self.strikes.sort_by_key(|strike| Reverse(strike.start_ms));
        let first = match self.config.plan {
            Plan::Quiet => return,
            Plan::Once(first) | Plan::Continuous(first) => first,
            Plan::Round => {
                self.round = Scenario::ALL.to_vec();
                self.round.shuffle(&mut self.schedule_rng);
                self.round.pop()
            }
        };
        let start_ms = self.tick_from(self.config.live_ms + FIRST_FAULT_MS);
        self.next = Some(self.plan_fault(first, start_ms));
    }

    fn plan_fault(&mut self, scenario: Option<Scenario>, start_ms: i64) -> Fault {
        let drawn = self.schedule_rng.random_range(0..Scenario::ALL.len());
        let scenario = scenario.unwrap_or(Scenario::ALL[drawn]);
        let service = self.config.variation.strike(scenario).service;
        self.fault(scenario, service, start_ms)
    }

    /// Starts the faults of trials that are due, however close together.
    fn start_strikes(&mut self) {
        // The longest lead of a release, so that its draw is made in time.
        let soon_ms = self.now_ms + LONGEST_LEAD_MS;
        while let Some(strike) = self.strikes.pop_if(|one| one.start_ms <= soon_ms) {
            let start_ms = self.tick_from(strike.start_ms);
            let fault = self.fault(strike.scenario, strike.service, start_ms);
            self.faults.push(fault);
        }
    }

    pub(super) fn start_planned(&mut self) {
        self.start_strikes();
        let Some(fault) = self
            .next
            .take_if(|next| next.first_sign_ms() <= self.now_ms)
        else {
            return;
        };
        let follower = match self.config.plan {
            Plan::Continuous(_) => Some(None),
            Plan::Round => self.round.pop().map(Some),
            Plan::Quiet | Plan::Once(_) => None,
        };
        if let Some(scenario) = follower {
            let gap_ms = self.schedule_rng.random_range(GAP_S) * 1_000;
            let earliest_ms = (fault.start_ms + gap_ms).max(fault.end_ms() + REST_MS);
            let start_ms = self.tick_from(earliest_ms);
            self.next = Some(self.plan_fault(scenario, start_ms));
        }
        self.faults.push(fault);
    }

    pub(super) fn release(&mut self, service: Service) -> Release {
        let index = service as usize;
        self.patches[index] += 1;
        let version = version(service, self.patches[index]);
        let previous = std::mem::replace(&mut self.versions[index], version.clone());
        Release {
            git_sha: changes::git_sha(self.config.seed, service, &version),
            version,
            previous,
            author: story(service).author,
        }
    }
}
