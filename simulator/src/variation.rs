//! How one fleet differs from another: who calls whom, which service each
//! fault strikes, how hard and how long, and what quiet readings look like.
//!
//! [`Variation::standard`] is the documented fleet. [`Variation::drawn`] gives
//! each seed a fleet of its own, for judging Midwatch on fleets that nobody
//! tuned it to.

use crate::cases::Case;
use crate::fleet::{CALLS, Call, Service};
use crate::noise::{Character, stream};
use crate::rhythm::Rhythm;
use crate::scenario::Scenario;
use crate::trials::Trial;
use rand::RngExt;
use rand::rngs::StdRng;

/// The number of scenarios.
pub const SCENARIOS: usize = Scenario::ALL.len();

/// Where a scenario strikes, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Strike {
    pub service: Service,
    /// What the fault adds, as a part of the documented peak.
    pub size: f64,
    /// The fault's duration, as a part of the documented one.
    pub stretch: f64,
}

/// One fleet.
#[derive(Clone, Debug)]
pub struct Variation {
    /// Who really calls whom; without cycles.
    pub calls: Vec<Call>,
    /// By scenario, in the order of [`Scenario::ALL`].
    pub strikes: [Strike; SCENARIOS],
    /// What quiet readings look like.
    pub noise: Character,
    /// The width of the jitter, as a part of the documented one.
    pub noise_width: f64,
    /// How load swings over the day; without it, it is always the same.
    pub rhythm: Option<Rhythm>,
    /// What is special about one service, where something is.
    pub case: Option<Case>,
    /// Stories for correlation and investigation, one after another.
    pub trials: Vec<Trial>,
}

/// Sizes that are drawn. Below, a fault of a noisy metric would hide in its
/// jitter; above, bounded metrics would all end at their limit.
const SIZES: std::ops::Range<f64> = 0.6..1.2;
/// Durations that are drawn. Shorter faults end before they are told apart
/// from a blip; longer ones only take longer to judge.
const STRETCHES: std::ops::Range<f64> = 0.8..1.5;
/// Callers come before their callees, so that no drawn edge closes a cycle.
const RANK: [Service; 6] = [
    Service::ApiGateway,
    Service::Order,
    Service::User,
    Service::Payment,
    Service::Inventory,
    Service::Notification,
];

impl Variation {
    /// The documented fleet.
    #[must_use]
    pub fn standard() -> Variation {
        Variation {
            calls: CALLS.to_vec(),
            strikes: Scenario::ALL.map(|scenario| Strike {
                service: scenario.home(),
                size: 1.0,
                stretch: 1.0,
            }),
            noise: Character::Even,
            noise_width: 1.0,
            rhythm: None,
            case: None,
            trials: Vec::new(),
        }
    }

    /// The fleet that belongs to this seed.
    #[must_use]
    pub fn drawn(seed: u64) -> Variation {
        let mut rng = stream(seed, &["variation"]);
        let strikes = Scenario::ALL.map(|scenario| Strike {
            service: struck(scenario, &mut rng),
            size: rng.random_range(SIZES),
            stretch: rng.random_range(STRETCHES),
        });
        let character = rng.random_range(0..Character::ALL.len());
        Variation {
            calls: calls(&mut rng),
            strikes,
            noise: Character::ALL[character],
            noise_width: rng.random_range(0.5..1.25),
            rhythm: None,
            case: None,
            trials: Vec::new(),
        }
    }

    /// Where and how this scenario strikes.
    #[must_use]
    pub fn strike(&self, scenario: Scenario) -> Strike {
        self.strikes[scenario as usize]
    }

    /// Everyone who feels trouble of `service`: its callers, theirs, and so
    /// on, nearest first.
    #[must_use]
    pub fn reached_from(&self, service: Service) -> Vec<Service> {
        let mut reached = vec![service];
        let mut next = 0;
        while let Some(&callee) = reached.get(next) {
            next += 1;
            for edge in self.calls.iter().filter(|edge| edge.callee == callee) {
                if !reached.contains(&edge.caller) {
                    reached.push(edge.caller);
                }
            }
        }
        reached.remove(0);
        reached
    }
}

fn struck(scenario: Scenario, rng: &mut StdRng) -> Service {
    let able: Vec<Service> = Service::ALL
        .into_iter()
        .filter(|service| {
            scenario != Scenario::KafkaConsumerLag || service.profile().consumes.is_some()
        })
        .collect();
    able[rng.random_range(0..able.len())]
}

/// The documented edges without up to two, with up to two others: the written
/// catalogue is wrong about each fleet in another way. The gateway keeps at
/// least two callees, or there would be no traffic to trace.
fn calls(rng: &mut StdRng) -> Vec<Call> {
    let mut calls = CALLS.to_vec();
    for _ in 0..rng.random_range(0..=2_u8) {
        let index = rng.random_range(0..calls.len());
        let of_gateway = |call: &&Call| call.caller == Service::ApiGateway;
        if calls[index].caller != Service::ApiGateway || calls.iter().filter(of_gateway).count() > 2
        {
            calls.remove(index);
        }
    }
    for _ in 0..rng.random_range(0..=2_u8) {
        let caller = rng.random_range(0..RANK.len() - 1);
        let callee = rng.random_range(caller + 1..RANK.len());
        let (caller, callee) = (RANK[caller], RANK[callee]);
        let known = calls
            .iter()
            .any(|call| call.caller == caller && call.callee == callee);
        if !known {
            calls.push(Call {
                caller,
                callee,
                share: rng.random_range(0.2..0.7),
                delay_ticks: rng.random_range(1..=2),
                timeout_ms: f64::from(rng.random_range(2..=6_u8)) * 1_000.0,
                operation: operation(callee),
            });
        }
    }
    calls
}

/// What is asked of a service.
fn operation(callee: Service) -> &'static str {
    match callee {
        Service::ApiGateway => "GET /",
        Service::Payment => "POST /v1/charges",
        Service::Order => "POST /v1/orders",
        Service::User => "GET /v1/session",
        Service::Inventory => "GET /v1/stock",
        Service::Notification => "POST /v1/messages",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn drawn_fleets_differ_and_have_no_cycle() {
        let mut graphs = BTreeSet::new();
        let mut struck = BTreeSet::new();
        for seed in 0..200 {
            let fleet = Variation::drawn(seed);
            let rank = |service| RANK.iter().position(|one| *one == service);
            for call in &fleet.calls {
                assert!(rank(call.caller) < rank(call.callee), "{seed}: {call:?}");
                assert!(call.delay_ticks <= crate::fleet::MAX_DELAY_TICKS);
            }
            let edges: Vec<_> = fleet.calls.iter().map(|c| (c.caller, c.callee)).collect();
            assert_eq!(edges.iter().collect::<BTreeSet<_>>().len(), edges.len());
            let gateway = edges
                .iter()
                .filter(|(from, _)| *from == Service::ApiGateway);
            assert!(gateway.count() >= 2, "{seed}");
            graphs.insert(edges);
            struck.insert(fleet.strikes.map(|strike| strike.service));
            let lag = fleet.strike(Scenario::KafkaConsumerLag).service;
            assert!(lag.profile().consumes.is_some(), "{seed}: {lag:?}");
        }
        assert!(graphs.len() > 50, "{} call graphs", graphs.len());
        assert!(struck.len() > 150, "{} choices of services", struck.len());
    }

    #[test]
    fn the_standard_fleet_strikes_where_it_is_documented() {
        let fleet = Variation::standard();
        for scenario in Scenario::ALL {
            assert_eq!(fleet.strike(scenario).service, scenario.home());
        }
        assert_eq!(
            fleet.reached_from(Service::Payment),
            [Service::ApiGateway, Service::Order]
        );
    }
}
