//! The simulation conserves: faults reach others only over calls, and
//! without a fault nothing moves.

use midwatch_recordings::draw::Draw;
use midwatch_recordings::effect::{Effect, Plant};
use midwatch_recordings::engine::{Engine, Step, Tide};
use midwatch_recordings::graph::{Size, System};

struct Calm;

impl Tide for Calm {
    fn factor(&mut self, _arrival: usize, _at_ms: f64) -> f64 {
        1.0
    }
}

/// A system with so much headroom that load hides nothing.
fn system(seed: u64) -> System {
    let size = Size {
        services: 24,
        rate: 50.0,
        dark: 0.0,
    };
    let mut system = System::grow(&mut Draw::at(&[seed, 1]), size);
    for service in &mut system.services {
        service.cores *= 100.0;
        service.workers *= 100.0;
    }
    system
}

fn run(system: &System, plants: &[Plant], seed: u64) -> Vec<Step> {
    let mut engine = Engine::new(system, plants, 200, None, Draw::at(&[seed, 2]));
    (0..80)
        .map(|step| engine.step(f64::from(step) * 5000.0, 5.0, &mut Calm))
        .collect()
}

/// Mean of a figure of one service over some steps.
fn mean(steps: &[Step], service: usize, of: impl Fn(&Step, usize) -> f64) -> f64 {
    steps.iter().map(|step| of(step, service)).sum::<f64>() / steps.len() as f64
}

fn errors(step: &Step, service: usize) -> f64 {
    step.readings[service].errors
}

fn latency(step: &Step, service: usize) -> f64 {
    let all = &step.readings[service].latencies;
    f64::from(all.iter().sum::<f32>()) / all.len().max(1) as f64
}

/// Services from which `culprit` is reached, itself included.
fn above(system: &System, culprit: usize) -> Vec<bool> {
    let callees = system.callees();
    let mut reaches = vec![false; system.services.len()];
    reaches[culprit] = true;
    for index in (0..culprit).rev() {
        reaches[index] = callees[index].iter().any(|callee| reaches[*callee]);
    }
    reaches
}

const HALF: usize = 40;

fn half_ms() -> f64 {
    HALF as f64 * 5000.0
}

#[test]
fn errors_reach_callers_and_nobody_else() {
    for seed in 0..6 {
        let system = system(seed);
        let culprit = 8;
        let effect = Effect {
            fail: 0.6,
            ..Effect::default()
        };
        let steps = run(&system, &[Plant::new(culprit, effect, half_ms())], seed);
        let (before, after) = steps.split_at(HALF);
        let reaches = above(&system, culprit);
        let risen = |service| mean(after, service, errors) - mean(before, service, errors);
        assert!(risen(culprit) > 0.4, "seed {seed}: {}", risen(culprit));
        let mut felt = false;
        for (service, reached) in reaches.iter().enumerate() {
            if *reached {
                felt |= service != culprit && risen(service) > 0.02;
            } else {
                assert!(
                    risen(service).abs() < 0.01,
                    "seed {seed}: errors of a service that does not call the culprit rose by {}",
                    risen(service)
                );
            }
        }
        let swallowed = system
            .operations
            .iter()
            .flat_map(|operation| &operation.calls)
            .filter(|call| system.operations[call.to].service == culprit)
            .all(|call| call.fallback || call.retries >= 2);
        assert!(felt || swallowed, "seed {seed}: no caller felt it");
    }
}

#[test]
fn a_slow_leaf_slows_its_callers_and_nobody_beside_them() {
    for seed in 0..6 {
        let system = system(seed);
        // Calls lead to higher indices only: the last service calls nobody.
        let leaf = system.services.len() - 1;
        let effect = Effect {
            extra_ms: 120.0,
            ..Effect::default()
        };
        let steps = run(&system, &[Plant::new(leaf, effect, half_ms())], seed);
        let (before, after) = steps.split_at(HALF);
        let risen = |service| mean(after, service, latency) - mean(before, service, latency);
        assert!((100.0..170.0).contains(&risen(leaf)), "{}", risen(leaf));
        let reaches = above(&system, leaf);
        for (service, spec) in system.services.iter().enumerate() {
            let expected = expected_rise(&system, service, leaf);
            if !reaches[service] {
                let usual = mean(before, service, latency);
                assert!(
                    risen(service).abs() < 0.3 * usual + 2.0,
                    "seed {seed}: {} rose by {} from {usual}",
                    spec.name,
                    risen(service)
                );
            } else if service != leaf && expected > 40.0 {
                assert!(
                    risen(service) > 0.5 * expected,
                    "seed {seed}: {} rose by {}, expected {expected}",
                    spec.name,
                    risen(service)
                );
            }
        }
    }
}

/// What 120 ms in the leaf add to a direct caller's mean, where its calls run
/// one after another (0 for the others).
fn expected_rise(system: &System, caller: usize, leaf: usize) -> f64 {
    let rates = system.normal_rates();
    let operations = &system.services[caller].operations;
    let total: f64 = operations.iter().map(|index| rates[*index]).sum();
    operations
        .iter()
        .map(|index| {
            let operation = &system.operations[*index];
            let calls: f64 = operation
                .calls
                .iter()
                .filter(|call| !operation.parallel && system.operations[call.to].service == leaf)
                .map(|call| call.times)
                .sum();
            120.0 * calls * rates[*index] / total
        })
        .sum()
}

#[test]
fn without_a_fault_nothing_moves() {
    for seed in 0..4 {
        let system = system(seed);
        let steps = run(&system, &[], seed);
        let (before, after) = steps[10..].split_at(35);
        for (service, spec) in system.services.iter().enumerate() {
            for (what, figure) in [
                ("errors", errors as fn(&Step, usize) -> f64),
                ("rate", |step, service| step.readings[service].rate),
                ("cpu", |step, service| step.readings[service].cpu),
            ] {
                let (one, other) = (mean(before, service, figure), mean(after, service, figure));
                assert!(
                    (one - other).abs() <= 0.02 * one.max(0.05),
                    "seed {seed}: {what} of {} went from {one} to {other}",
                    spec.name
                );
            }
        }
    }
}

#[test]
fn traffic_that_calls_lead_to_is_what_callers_send() {
    let system = system(3);
    let steps = run(&system, &[], 3);
    let rates = system.normal_rates();
    for (service, spec) in system.services.iter().enumerate() {
        let due: f64 = spec.operations.iter().map(|index| rates[*index]).sum();
        let had = mean(&steps, service, |step, service| step.readings[service].rate);
        // Failed requests make no further calls, and failed calls are made again.
        assert!(
            (had - due).abs() < 0.25 * due,
            "{}: {had} for {due}",
            spec.name
        );
    }
}
