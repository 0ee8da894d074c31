//! The small stories for judging correlation and investigation: what seeds
//! draw, and what the world makes of it.

#[allow(dead_code, reason = "each test file uses part of it")]
mod common;

use common::{LIVE_MS, START_MS, Series, series, truths};
use midwatch_events::raw::LogLevel;
use midwatch_events::{Envelope, Event};
use midwatch_simulator::fleet::{Metric, Service};
use midwatch_simulator::scenario::{AFTERMATH_MS, Scenario};
use midwatch_simulator::trials::{
    Decoy, Kind, LEAD_MS, Lure, SLOT_MS, Trial, sequence, shows, single, telling,
};
use midwatch_simulator::variation::Variation;
use midwatch_simulator::world::{Plan, TICK_MS, World, WorldConfig};

fn drawn(kind: Kind, seed: u64) -> Variation {
    single(kind, seed, LIVE_MS, Variation::drawn(seed))
}

fn world(seed: u64, variation: Variation) -> World {
    World::new(WorldConfig {
        seed,
        environment: "simulation".to_owned(),
        start_ms: START_MS,
        live_ms: LIVE_MS,
        plan: Plan::Quiet,
        variation,
    })
}

/// Everything that happens in a trial of this kind, and its fleet without it.
fn lived(kind: Kind, seed: u64) -> (Trial, Vec<Envelope>, Series) {
    let fleet = drawn(kind, seed);
    let trial = fleet.trials[0].clone();
    let without = Variation {
        trials: Vec::new(),
        ..fleet.clone()
    };
    let events = world(seed, fleet).advance(trial.slot.end);
    let usual = world(seed, without).advance(trial.slot.end);
    (trial, events, series(&usual))
}

fn at(all: &Series, service: Service, metric: Metric) -> &[(i64, f64)] {
    &all[&(service.name().to_owned(), metric.name().to_owned())]
}

/// What a trial of this kind on this fleet must be.
fn check(kind: Kind, seed: u64) {
    let fleet = drawn(kind, seed);
    let [trial] = fleet.trials.as_slice() else {
        panic!("one trial, not {:?}", fleet.trials);
    };
    let words = format!("{} of seed {seed}: {trial:?}", kind.name());
    assert_eq!(trial.slot, LIVE_MS..LIVE_MS + SLOT_MS, "{words}");
    let faults = match kind.story() {
        "compound" => 2,
        "control" => 0,
        _ => 1,
    };
    assert_eq!(trial.strikes.len(), faults, "{words}");
    for strike in &trial.strikes {
        let longest_ms = strike.scenario.duration_ms() * 3 / 2 + AFTERMATH_MS;
        assert!(strike.start_ms >= LIVE_MS + LEAD_MS, "{words}");
        assert_eq!((strike.start_ms - START_MS) % TICK_MS, 0, "{words}");
        assert!(strike.start_ms + longest_ms < trial.slot.end, "{words}");
        let consumes = strike.service.profile().consumes.is_some();
        let is_lag = strike.scenario == Scenario::KafkaConsumerLag;
        assert!(consumes || !is_lag, "{words}");
    }
    if let [one, other] = trial.strikes[..] {
        assert_ne!(one.scenario, other.scenario, "{words}");
        assert!(other.start_ms - one.start_ms <= 40_000, "{words}");
        let reaches = |from, to| fleet.reached_from(from).contains(&to);
        let calls = reaches(one.service, other.service) || reaches(other.service, one.service);
        assert_eq!(calls, kind == Kind::Related, "{words}");
        let lonely = |service| {
            let mut calls = fleet.calls.iter();
            calls.all(|call| call.caller != service && call.callee != service)
        };
        assert!(kind != Kind::Apart || lonely(one.service), "{words}");
    }
    let misleads = trial.decoy.as_ref().and_then(|decoy| decoy.service);
    match (kind.story(), trial.strikes.first()) {
        ("herring", Some(first)) => {
            let same = misleads == Some(first.service);
            assert_eq!(same, kind == Kind::ReleaseSame, "{words}");
            assert!(!same || first.scenario != Scenario::DeploymentFailure);
        }
        ("missing", Some(first)) => {
            let gap = trial.gap.as_ref().expect("something is missing");
            assert_eq!(gap.service, first.service, "{words}");
            assert!(gap.metrics.contains(&telling(first.scenario)), "{words}");
            let size = fleet.strike(first.scenario).size;
            let fault = (first.scenario, first.service, size);
            let is_seen = shows(fault, &gap.metrics, &fleet.calls);
            assert!(is_seen || kind == Kind::FallsSilent, "{words}");
        }
        ("control", None) => assert!(trial.decoy.is_some(), "{words}"),
        _ => assert_eq!((trial.decoy.is_some(), trial.gap.is_some()), (false, false)),
    }
}

#[test]
fn every_drawn_story_is_one_of_its_kind() {
    for kind in Kind::ALL {
        for seed in 0..150 {
            check(kind, seed);
        }
    }
}

#[test]
fn seeds_draw_every_kind_and_those_that_are_wanted_only() {
    let count = |kind| {
        (0..1_000)
            .filter(|seed| Kind::drawn_of(*seed, &[]) == kind)
            .count()
    };
    for kind in Kind::ALL {
        // One part in thirty at least.
        assert!(count(kind) > 15, "{} of {}", count(kind), kind.name());
    }
    for seed in 0..50 {
        let wanted = [Kind::Cron, Kind::Noisy];
        assert!(wanted.contains(&Kind::drawn_of(seed, &wanted)));
    }
}

#[test]
fn faults_at_once_are_what_the_ground_truth_tells() {
    for (kind, seed) in [(Kind::Related, 3), (Kind::Apart, 4), (Kind::Plain, 5)] {
        let (trial, events, _) = lived(kind, seed);
        let told: Vec<_> = truths(&events)
            .into_iter()
            .filter(|truth| truth.phase == "started")
            .map(|truth| {
                (
                    truth.scenario.as_str(),
                    truth.service.as_str(),
                    truth.timestamp_ms,
                )
            })
            .collect();
        let mut expected: Vec<_> = trial
            .strikes
            .iter()
            .map(|one| (one.scenario.name(), one.service.name(), one.start_ms))
            .collect();
        expected.sort_by_key(|one| one.2);
        let times = |all: &[(&str, &str, i64)]| all.iter().map(|one| one.2).collect::<Vec<_>>();
        assert_eq!(times(&told), times(&expected), "{kind:?}");
        assert!(told.iter().all(|one| expected.contains(one)), "{told:?}");
        let ended = truths(&events)
            .iter()
            .filter(|truth| truth.phase == "ended")
            .count();
        assert_eq!(ended, trial.strikes.len(), "both end within the slot");
    }
}

#[test]
fn a_job_takes_cpu_below_its_limits_and_touches_nothing_else() {
    let (trial, events, usual) = lived(Kind::Cron, 7);
    let Some(Decoy {
        lure: Lure::Job(percent),
        service: Some(service),
        during,
        ..
    }) = trial.decoy
    else {
        panic!("a job has a service: {:?}", trial.decoy);
    };
    let found = series(&events);
    let (cpu, before) = (
        at(&found, service, Metric::Cpu),
        at(&usual, service, Metric::Cpu),
    );
    let most = cpu.iter().map(|one| one.1).fold(0.0, f64::max);
    assert!(
        (percent - 5.0..=82.0).contains(&most),
        "{most} of {percent}"
    );
    for (now, then) in cpu.iter().zip(before) {
        let is_on = (during.start..=during.end).contains(&now.0);
        assert!(is_on || now == then, "{now:?} {then:?}");
    }
    assert_eq!(
        at(&found, service, Metric::Memory),
        at(&usual, service, Metric::Memory)
    );
}

#[test]
fn a_burst_raises_requests_and_what_follows_them() {
    let (trial, events, usual) = lived(Kind::Burst, 8);
    let Some(Decoy {
        lure: Lure::Load(factor),
        service: Some(service),
        during,
        ..
    }) = trial.decoy
    else {
        panic!("a burst has a service: {:?}", trial.decoy);
    };
    let found = series(&events);
    let middle = |all: &Series, metric| {
        let readings = at(all, service, metric).iter();
        let within: Vec<f64> = readings
            .filter(|one| (during.start + 30_000..during.end - 30_000).contains(&one.0))
            .map(|one| one.1)
            .collect();
        within.iter().sum::<f64>() / f64::from(u32::try_from(within.len()).expect("some"))
    };
    let ratio = |metric| middle(&found, metric) / middle(&usual, metric);
    assert!((ratio(Metric::RequestRate) / factor - 1.0).abs() < 0.02);
    // CPU follows by 65 % of the growth.
    let cpu = 1.0 + 0.65 * (factor - 1.0);
    assert!((ratio(Metric::Cpu) / cpu - 1.0).abs() < 0.02);
}

#[test]
fn what_is_missing_is_not_reported_and_everything_else_is() {
    let (trial, events, usual) = lived(Kind::NeverReported, 9);
    let gap = trial.gap.expect("something is missing");
    let found = series(&events);
    for (service, metric) in Service::ALL
        .iter()
        .flat_map(|one| Metric::ALL.map(|m| (*one, m)))
    {
        let key = (service.name().to_owned(), metric.name().to_owned());
        let hidden = service == gap.service && gap.metrics.contains(&metric);
        assert_eq!(found.contains_key(&key), !hidden, "{key:?}");
        assert!(usual.contains_key(&key));
    }
    let (trial, events, _) = lived(Kind::FallsSilent, 10);
    let gap = trial.gap.expect("something is missing");
    let found = series(&events);
    let silent = at(&found, gap.service, gap.metrics[0]);
    assert!(silent.iter().all(|one| !gap.during.contains(&one.0)));
    assert!(silent.iter().any(|one| one.0 < gap.during.start));
    assert!(
        silent.iter().any(|one| one.0 >= gap.during.end),
        "it comes back"
    );
}

#[test]
fn a_harmless_release_is_announced_and_changes_no_reading() {
    let (trial, events, usual) = lived(Kind::ReleaseAlone, 11);
    let (service, at_ms) = trial.release().expect("there is one");
    let of = |wanted: fn(&Event) -> bool| events.iter().filter(|one| wanted(&one.event)).count();
    assert_eq!(of(|event| matches!(event, Event::Deployment(_))), 1);
    assert_eq!(of(|event| matches!(event, Event::Kubernetes(_))), 2);
    assert_eq!(of(|event| matches!(event, Event::GroundTruth(_))), 0);
    let told = events.iter().find_map(|one| match &one.event {
        Event::Deployment(one) => Some((one.service.as_str(), one.timestamp_ms)),
        _ => None,
    });
    assert_eq!(told, Some((service.name(), at_ms)));
    assert_eq!(series(&events), usual);
}

#[test]
fn harmless_errors_are_lines_and_nothing_else() {
    let (trial, events, usual) = lived(Kind::HarmlessErrors, 12);
    let Some(Decoy {
        lure: Lure::Errors(count),
        service: Some(service),
        during,
        ..
    }) = trial.decoy
    else {
        panic!("errors have a service: {:?}", trial.decoy);
    };
    let lines: Vec<i64> = events
        .iter()
        .filter_map(|one| match &one.event {
            Event::Log(log) if log.level == LogLevel::Error => {
                assert_eq!(log.service, service.name());
                assert!(log.message.starts_with("client closed"), "{}", log.message);
                Some(log.timestamp_ms)
            }
            _ => None,
        })
        .collect();
    assert_eq!(lines.len(), usize::from(count));
    assert!(lines.iter().all(|at_ms| during.contains(at_ms)));
    assert_eq!(series(&events), usual);
}

#[test]
fn growth_reaches_everybody_and_noise_was_always_there() {
    let (trial, events, usual) = lived(Kind::Growth, 13);
    let Some(Decoy {
        lure: Lure::Load(factor),
        service: None,
        ..
    }) = trial.decoy
    else {
        panic!("growth touches all: {:?}", trial.decoy);
    };
    let found = series(&events);
    for service in Service::ALL {
        let last = at(&found, service, Metric::RequestRate)
            .last()
            .expect("a reading");
        let then = at(&usual, service, Metric::RequestRate)
            .last()
            .expect("a reading");
        assert!((last.1 / then.1 / factor - 1.0).abs() < 0.01, "{service:?}");
    }
    let (trial, events, usual) = lived(Kind::Noisy, 14);
    let Some(Decoy {
        lure: Lure::Noise(metric, _),
        service: Some(service),
        ..
    }) = trial.decoy
    else {
        panic!("noise has a series: {:?}", trial.decoy);
    };
    let found = series(&events);
    let first = |all: &Series| at(all, service, metric)[..50].to_vec();
    assert_ne!(first(&found), first(&usual), "history is noisy as well");
}

#[test]
fn trials_in_a_row_have_a_slot_each_and_end_with_the_last() {
    let fleet = sequence(21, LIVE_MS, 6, Variation::drawn(21));
    for (number, trial) in (0..).zip(&fleet.trials) {
        assert_eq!(trial.slot.start, LIVE_MS + number * SLOT_MS);
        assert!(trial.kind.passes(), "{:?}", trial.kind);
    }
    let strikes: usize = fleet.trials.iter().map(|one| one.strikes.len()).sum();
    let mut world = world(21, fleet);
    let end_ms = LIVE_MS + 6 * SLOT_MS;
    let events = world.advance(end_ms - TICK_MS);
    assert!(!world.is_over());
    world.advance(end_ms);
    assert!(world.is_over());
    assert_eq!(truths(&events).len(), 2 * strikes);
}
