//! Which trial a seed draws.

use super::{
    Decoy, Gap, Kind, LEAD_MS, Lure, MINUTE_MS, RAMP_MS, SLOT_MS, Strike, Trial, shows, telling,
};
use crate::fleet::{Call, Metric, Service};
use crate::noise::stream;
use crate::scenario::Scenario;
use crate::variation::Variation;
use crate::world::TICK_MS;
use rand::RngExt;
use rand::rngs::StdRng;
use std::ops::Range;

/// A harmless release on the struck service lies in one of these, relative to
/// the onset: long enough before to have nothing to do with it, or after it.
const LONG_BEFORE_MS: Range<i64> = -12 * MINUTE_MS..-5 * MINUTE_MS;
const JUST_AFTER_MS: Range<i64> = 10_000..40_000;

/// Draws a kind by weight among those that `fit`.
pub(super) fn kind(rng: &mut StdRng, fit: impl Fn(Kind) -> bool) -> Kind {
    let pool: Vec<Kind> = Kind::ALL
        .into_iter()
        .filter(|one| fit(*one))
        .flat_map(|one| std::iter::repeat_n(one, one.weight()))
        .collect();
    pool[rng.random_range(0..pool.len())]
}

/// The fleet `base` with one trial of this kind from `from_ms` on.
#[must_use]
pub fn single(kind: Kind, seed: u64, from_ms: i64, base: Variation) -> Variation {
    with_trials(&[kind], seed, from_ms, base)
}

/// The fleet `base` with so many trials in a row, a slot each, of those kinds
/// that leave the others alone.
#[must_use]
pub fn sequence(seed: u64, from_ms: i64, count: u16, base: Variation) -> Variation {
    let mut rng = stream(seed, &["trial-sequence"]);
    let kinds: Vec<Kind> = (0..count).map(|_| kind(&mut rng, Kind::passes)).collect();
    with_trials(&kinds, seed, from_ms, base)
}

fn with_trials(kinds: &[Kind], seed: u64, from_ms: i64, base: Variation) -> Variation {
    let mut fleet = base;
    // The fleet is one for all its trials.
    let lonely = kinds
        .contains(&Kind::Apart)
        .then(|| isolate(seed, &mut fleet.calls));
    let mut trials = Vec::new();
    for (number, kind) in (0..).zip(kinds) {
        let slot_ms = from_ms + number * SLOT_MS;
        let rng = stream(seed, &["trial", &number.to_string()]);
        let mut dice = Dice {
            rng,
            fleet: &fleet,
            lonely,
            slot_ms,
        };
        trials.push(dice.trial(*kind, seed.wrapping_add(number.unsigned_abs())));
    }
    fleet.trials = trials;
    fleet
}

/// Takes one service out of the call graph: one that the written catalogue
/// links to nobody or to one service only.
fn isolate(seed: u64, calls: &mut Vec<Call>) -> Service {
    let mut rng = stream(seed, &["lonely"]);
    let lonely = [Service::Notification, Service::Inventory][rng.random_range(0..2)];
    calls.retain(|call| call.caller != lonely && call.callee != lonely);
    lonely
}

struct Dice<'a> {
    rng: StdRng,
    fleet: &'a Variation,
    lonely: Option<Service>,
    slot_ms: i64,
}

impl Dice<'_> {
    fn trial(&mut self, kind: Kind, seed: u64) -> Trial {
        // Ticks are counted from the world's first moment, which is a whole
        // number of them before the slot.
        let onset_ms = self.slot_ms + LEAD_MS + self.rng.random_range(0..6) * TICK_MS;
        let pool = self.faults_of(kind);
        let drawn = match kind.story() {
            "control" => Vec::new(),
            _ => self.one_of(&pool),
        };
        let mut strikes: Vec<Strike> = drawn
            .into_iter()
            .map(|(scenario, service)| Strike {
                scenario,
                service,
                start_ms: onset_ms,
            })
            .collect();
        if let Some(second) = strikes.get_mut(1) {
            second.start_ms += self.rng.random_range(0..=4) * TICK_MS;
        }
        let first = strikes.first().copied();
        Trial {
            kind,
            decoy: self.decoy(kind, first, onset_ms),
            gap: first.and_then(|first| self.gap(kind, first)),
            strikes,
            slot: self.slot_ms..self.slot_ms + SLOT_MS,
            seed,
        }
    }

    fn one_of<T: Clone>(&mut self, pool: &[T]) -> T {
        pool[self.rng.random_range(0..pool.len())].clone()
    }

    fn between(&mut self, range: Range<i64>) -> i64 {
        let seconds = self
            .rng
            .random_range(range.start / 1_000..range.end / 1_000);
        seconds * 1_000
    }

    /// The faults, or pairs of faults, that make a trial of this kind; at least
    /// one.
    fn faults_of(&self, kind: Kind) -> Vec<Vec<(Scenario, Service)>> {
        let usual: Vec<(Scenario, Service)> = Scenario::ALL
            .into_iter()
            .map(|scenario| (scenario, self.fleet.strike(scenario).service))
            .collect();
        let alone = |keep: &dyn Fn(Scenario, Service) -> bool| {
            let fit = usual
                .iter()
                .filter(|(scenario, service)| keep(*scenario, *service));
            fit.map(|one| vec![*one]).collect::<Vec<_>>()
        };
        match kind {
            Kind::Related | Kind::Siblings | Kind::Apart => self.pairs(kind),
            Kind::ReleaseSame => alone(&|scenario, _| scenario != Scenario::DeploymentFailure),
            // One is always left: saturated CPUs slow their service down.
            Kind::NeverReported => {
                alone(&|scenario, service| !self.hideable(scenario, service).is_empty())
            }
            _ => alone(&|_, _| true),
        }
    }

    /// All pairs of different scenarios on two services that stand to each
    /// other as the kind says.
    fn pairs(&self, kind: Kind) -> Vec<Vec<(Scenario, Service)>> {
        let reaches = |from: Service, to: Service| self.fleet.reached_from(from).contains(&to);
        let able = |scenario: Scenario, service: Service| {
            scenario != Scenario::KafkaConsumerLag || service.profile().consumes.is_some()
        };
        let fits = |one: (Scenario, Service), other: (Scenario, Service)| match kind {
            // What the callee suffers must reach the caller.
            Kind::Related => reaches(one.1, other.1) && one.0.reaches_callers(),
            Kind::Apart => Some(one.1) == self.lonely,
            _ => !reaches(one.1, other.1) && !reaches(other.1, one.1),
        };
        let places: Vec<(Scenario, Service)> = Scenario::ALL
            .into_iter()
            .flat_map(|scenario| Service::ALL.map(|service| (scenario, service)))
            .filter(|(scenario, service)| able(*scenario, *service))
            .collect();
        let mut pairs = Vec::new();
        for one in &places {
            for other in &places {
                if one.0 != other.0 && one.1 != other.1 && fits(*one, *other) {
                    pairs.push(vec![*one, *other]);
                }
            }
        }
        pairs
    }

    fn decoy(&mut self, kind: Kind, first: Option<Strike>, onset_ms: i64) -> Option<Decoy> {
        let neighbour = match first {
            Some(first) => self.neighbour(first.service),
            None => self.one_of(&Service::ALL),
        };
        let (lure, service, from_ms, length_ms) = match kind {
            Kind::Burst => {
                let lure = Lure::Load(self.rng.random_range(1.6..2.5));
                let begin = self.between(-120_000..60_000);
                (lure, Some(neighbour), begin, self.between(180_000..360_000))
            }
            Kind::Cron => {
                let lure = Lure::Job(self.rng.random_range(65.0..80.0));
                let begin = self.between(-120_000..60_000);
                (lure, Some(neighbour), begin, self.between(120_000..360_000))
            }
            Kind::ReleaseElsewhere => {
                let begin = self.between(-600_000..20_000);
                (Lure::Release, Some(neighbour), begin, MINUTE_MS)
            }
            Kind::ReleaseSame => {
                let when = self.one_of(&[LONG_BEFORE_MS, JUST_AFTER_MS]);
                let begin = self.between(when);
                (
                    Lure::Release,
                    first.map(|first| first.service),
                    begin,
                    MINUTE_MS,
                )
            }
            Kind::ReleaseAlone => (Lure::Release, Some(neighbour), 0, MINUTE_MS),
            Kind::Growth => {
                let lure = Lure::Load(self.rng.random_range(1.3..1.8));
                (lure, None, -8 * MINUTE_MS, SLOT_MS * 2)
            }
            Kind::Noisy => {
                let metrics = [
                    Metric::RequestRate,
                    Metric::Latency,
                    Metric::ErrorRate,
                    Metric::Cpu,
                ];
                let lure = Lure::Noise(self.one_of(&metrics), self.rng.random_range(0.0..1.0));
                // It has always been so, and stays.
                (lure, Some(neighbour), i64::MIN / 2, i64::MAX)
            }
            Kind::HarmlessErrors => {
                let lure = Lure::Errors(self.rng.random_range(60..=150));
                (lure, Some(neighbour), 0, self.between(120_000..300_000))
            }
            _ => return None,
        };
        let start = onset_ms.saturating_add(from_ms);
        let ramp_ms = match lure {
            Lure::Load(_) if service.is_none() => self.between(600_000..1_200_000),
            _ => RAMP_MS,
        };
        Some(Decoy {
            lure,
            service,
            during: start..start.saturating_add(length_ms),
            ramp_ms,
        })
    }

    /// Somebody else: one that calls the service or is called by it, where
    /// there is one.
    fn neighbour(&mut self, of: Service) -> Service {
        let near: Vec<Service> = self
            .fleet
            .calls
            .iter()
            .filter_map(|call| match (call.caller == of, call.callee == of) {
                (true, _) => Some(call.callee),
                (_, true) => Some(call.caller),
                _ => None,
            })
            .collect();
        let others: Vec<Service> = Service::ALL.into_iter().filter(|one| *one != of).collect();
        self.one_of(if near.is_empty() { &others } else { &near })
    }

    /// What may be hidden of a service so that its fault still shows somewhere.
    fn hideable(&self, scenario: Scenario, service: Service) -> Vec<Vec<Metric>> {
        let size = self.fleet.strike(scenario).size;
        [Metric::ALL.to_vec(), vec![telling(scenario)]]
            .into_iter()
            .filter(|hidden| shows((scenario, service, size), hidden, &self.fleet.calls))
            .collect()
    }

    fn gap(&mut self, kind: Kind, first: Strike) -> Option<Gap> {
        let Strike {
            scenario,
            service,
            start_ms,
        } = first;
        let (metrics, during) = match kind {
            Kind::NeverReported => {
                let hideable = self.hideable(scenario, service);
                (self.one_of(&hideable), i64::MIN..i64::MAX)
            }
            Kind::FallsSilent => {
                let all = [Metric::ALL.to_vec(), vec![telling(scenario)]];
                let strike = self.fleet.strike(scenario);
                #[expect(clippy::cast_possible_truncation, reason = "a fault lasts minutes")]
                let length_ms =
                    (crate::scenario::millis(scenario.duration_ms()) * strike.stretch) as i64;
                let from_ms = start_ms + self.rng.random_range(0..=2) * TICK_MS;
                (self.one_of(&all), from_ms..start_ms + length_ms + MINUTE_MS)
            }
            _ => return None,
        };
        Some(Gap {
            service,
            metrics,
            during,
        })
    }
}
