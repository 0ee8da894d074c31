//! What can be done against a fault: the runbooks' advice ends it, anything
//! else does not, and an undo takes it back.

use midwatch_events::{Envelope, Event};
use midwatch_simulator::actions::{ActionRequest, ActionStatus};
use midwatch_simulator::scenario::Scenario;
use midwatch_simulator::world::{Plan, World};

#[allow(dead_code, reason = "each test file uses part of it")]
mod common;

use common::{LIVE_MS, Series, series, truths, world};

fn request(key: &str, kind: &str, service: &str, arguments: &[(&str, &str)]) -> ActionRequest {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    ActionRequest {
        key: key.to_owned(),
        kind: kind.to_owned(),
        service: service.to_owned(),
        arguments: arguments.iter().map(owned).collect(),
    }
}

const SCALE: [(&str, &str); 2] = [("from_replicas", "3"), ("replicas", "6")];
const SCALE_BACK: [(&str, &str); 2] = [("from_replicas", "6"), ("replicas", "3")];
const SAFE_MODE: [(&str, &str); 3] = [
    ("flag", "FEATURE_FLAGS_SAFE_MODE"),
    ("from_value", "false"),
    ("value", "true"),
];

/// The metric that shows a fault most.
fn metric(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::LatencySpike => "service_latency_p99_ms",
        Scenario::ErrorRateSpike | Scenario::DeploymentFailure => "service_error_rate_percent",
        Scenario::CpuSaturation => "service_cpu_percent",
        Scenario::MemoryLeak => "service_memory_percent",
        Scenario::DbConnectionExhaustion => "service_db_connections",
        Scenario::KafkaConsumerLag => "kafka_consumer_lag",
    }
}

/// A world with this fault, lived until 80 s after its start.
fn struck(scenario: Scenario) -> (World, Vec<Envelope>, i64) {
    let mut world = world(11, Plan::Once(Some(scenario)));
    let start_ms = LIVE_MS + 60_000;
    let events = world.advance(start_ms + 80_000);
    (world, events, start_ms)
}

fn value(series: &Series, service: &str, metric: &str, at_ms: i64) -> f64 {
    let readings = &series[&(service.to_owned(), metric.to_owned())];
    let found = readings.iter().find(|(when, _)| *when == at_ms);
    found.expect("there is a reading every ten seconds").1
}

fn phases(events: &[Envelope]) -> Vec<(String, i64)> {
    let truth = |truth: &midwatch_events::GroundTruth| (truth.phase.clone(), truth.timestamp_ms);
    truths(events).into_iter().map(truth).collect()
}

#[test]
fn what_the_runbook_advises_ends_the_fault_and_the_truth_says_so() {
    for (scenario, kind, arguments) in [
        (Scenario::DbConnectionExhaustion, "restart_rollout", &[][..]),
        (Scenario::DbConnectionExhaustion, "raise_pool_size", &[]),
        (Scenario::MemoryLeak, "restart_rollout", &[]),
        (Scenario::DeploymentFailure, "rollback_deployment", &[]),
        (Scenario::CpuSaturation, "scale", &SCALE),
        (Scenario::KafkaConsumerLag, "scale", &SCALE),
        (Scenario::ErrorRateSpike, "toggle_flag", &SAFE_MODE),
    ] {
        let (mut world, mut events, start_ms) = struck(scenario);
        let service = scenario.home().name();
        let report = world.act(&request("k1", kind, service, arguments));
        assert_eq!(report.status, ActionStatus::Applied, "{report:?}");
        assert_eq!(report.event_ms, start_ms + 80_000);
        events.extend(world.advance(start_ms + 600_000));
        let phases = phases(&events);
        assert_eq!(phases[0], ("started".to_owned(), start_ms), "{scenario:?}");
        assert_eq!((phases.len(), phases[1].0.as_str()), (2, "ended_by_action"));
        let ended_ms = phases[1].1;
        assert!(
            ended_ms <= start_ms + 80_000 + 60_000,
            "{scenario:?} {kind}"
        );
        let natural_ms = truths(&events)[1].duration_ms;
        assert_eq!(natural_ms, scenario.duration_ms());
        let mut quiet = common::world(11, Plan::Quiet);
        let quiet = series(&quiet.advance(start_ms + 600_000));
        let lived = series(&events);
        let (metric, at_ms) = (metric(scenario), ended_ms + 60_000);
        let at_ms = at_ms - at_ms.rem_euclid(10_000);
        let (is, usual) = (
            value(&lived, service, metric, at_ms),
            value(&quiet, service, metric, at_ms),
        );
        assert!(
            (is - usual).abs() < 1e-9,
            "{scenario:?} {kind}: {is}, usually {usual}"
        );
    }
}

#[test]
fn what_it_does_not_advise_leaves_the_fault_its_time() {
    for (scenario, kind, arguments, service) in [
        (Scenario::LatencySpike, "scale", &SCALE[..], None),
        (Scenario::LatencySpike, "restart_rollout", &[], None),
        (Scenario::CpuSaturation, "restart_rollout", &[], None),
        (Scenario::DeploymentFailure, "restart_rollout", &[], None),
        (Scenario::DbConnectionExhaustion, "scale", &SCALE, None),
        (Scenario::DbConnectionExhaustion, "silence_alert", &[], None),
        // The right thing in the wrong place.
        (
            Scenario::DbConnectionExhaustion,
            "restart_rollout",
            &[],
            Some("order-service"),
        ),
    ] {
        let (mut world, mut events, start_ms) = struck(scenario);
        let service = service.unwrap_or(scenario.home().name());
        let report = world.act(&request("k1", kind, service, arguments));
        let expected = match kind {
            "silence_alert" => ActionStatus::Ignored,
            _ => ActionStatus::Applied,
        };
        assert_eq!(report.status, expected, "{report:?}");
        events.extend(world.advance(start_ms + 600_000));
        let ended = ("ended".to_owned(), start_ms + scenario.duration_ms());
        assert_eq!(phases(&events)[1], ended, "{scenario:?} {kind}");
    }
}

#[test]
fn the_answer_does_not_tell_whether_it_was_right() {
    let (mut one, ..) = struck(Scenario::DbConnectionExhaustion);
    let (mut other, ..) = struck(Scenario::CpuSaturation);
    let restart = request("k", "restart_rollout", "payment-service", &[]);
    assert_eq!(one.act(&restart), other.act(&restart));
}

#[test]
fn scaling_onto_a_full_database_hurts_until_it_is_scaled_back() {
    let errors = |actions: &[(&str, &[(&str, &str)])]| {
        let (mut world, mut events, start_ms) = struck(Scenario::DbConnectionExhaustion);
        for (index, (kind, arguments)) in actions.iter().enumerate() {
            let key = format!("k{index}");
            let asked = request(&key, kind, "payment-service", arguments);
            assert_eq!(world.act(&asked).status, ActionStatus::Applied);
            events.extend(world.advance(world.now_ms() + 20_000));
        }
        events.extend(world.advance(start_ms + 160_000));
        value(
            &series(&events),
            "payment-service",
            "service_error_rate_percent",
            start_ms + 150_000,
        )
    };
    let alone = errors(&[]);
    let crowded = errors(&[("scale", &SCALE)]);
    let back = errors(&[("scale", &SCALE), ("scale", &SCALE_BACK)]);
    assert!(crowded > alone + 5.0, "{crowded} and {alone}");
    assert!((back - alone).abs() < 1e-9, "{back} and {alone}");
}

#[test]
fn a_cure_that_is_taken_back_before_it_worked_lets_the_fault_go_on() {
    let (mut world, mut events, start_ms) = struck(Scenario::CpuSaturation);
    world.act(&request("k1", "scale", "api-gateway", &SCALE));
    events.extend(world.advance(start_ms + 100_000));
    world.act(&request("k2", "scale", "api-gateway", &SCALE_BACK));
    events.extend(world.advance(start_ms + 600_000));
    let ended = ("ended".to_owned(), start_ms + 300_000);
    assert_eq!(phases(&events)[1], ended);
    assert!(
        value(
            &series(&events),
            "api-gateway",
            "service_cpu_percent",
            start_ms + 290_000
        ) > 90.0
    );
}

#[test]
fn a_restart_costs_a_healthy_service_a_short_dip() {
    let mut quiet = world(11, Plan::Quiet);
    let usual = series(&quiet.advance(LIVE_MS + 300_000));
    let mut world = world(11, Plan::Quiet);
    let mut events = world.advance(LIVE_MS + 100_000);
    world.act(&request("k", "restart_rollout", "user-service", &[]));
    events.extend(world.advance(LIVE_MS + 300_000));
    let lived = series(&events);
    let metric = "service_latency_p99_ms";
    for (after_s, dips) in [(10, true), (20, true), (30, false), (120, false)] {
        let at_ms = LIVE_MS + 100_000 + after_s * 1_000;
        let (is, was) = (
            value(&lived, "user-service", metric, at_ms),
            value(&usual, "user-service", metric, at_ms),
        );
        assert_eq!(
            is > was + 30.0,
            dips,
            "{after_s} s later: {is}, usually {was}"
        );
    }
}

#[test]
fn a_key_acts_once_and_belongs_to_one_action() {
    let (mut world, ..) = struck(Scenario::LatencySpike);
    let first = request("k", "restart_rollout", "payment-service", &[]);
    let report = world.act(&first);
    world.advance(world.now_ms() + 60_000);
    assert_eq!(world.act(&first), report, "the first answer, with its time");
    assert_eq!(world.action("k"), Some(&report));
    let other = request("k", "restart_rollout", "order-service", &[]);
    let refused = world.act(&other);
    assert_eq!(refused.status, ActionStatus::Refused);
    assert_eq!(world.action("k"), Some(&report));
    assert_eq!(world.action("unknown"), None);
}

#[test]
fn what_cannot_be_carried_out_is_refused_with_the_reason() {
    let (mut world, ..) = struck(Scenario::LatencySpike);
    let long = "x".repeat(300);
    for (asked, words) in [
        (
            request("a", "reboot", "payment-service", &[]),
            "restart_rollout, rollback_deployment",
        ),
        (
            request("b", "scale", "nobody", &SCALE),
            "api-gateway, payment-service",
        ),
        (
            request("c", "scale", "payment-service", &[]),
            "from_replicas and replicas",
        ),
        (
            request(
                "d",
                "scale",
                "payment-service",
                &[("from_replicas", "3"), ("replicas", "999")],
            ),
            "1 to 50",
        ),
        (
            request("e", "delete_pod", "payment-service", &[("pod", &long)]),
            "253 bytes",
        ),
        (request("", "scale", "payment-service", &SCALE), "the key"),
        (
            request(&long, "scale", "payment-service", &SCALE),
            "the key",
        ),
    ] {
        let report = world.act(&asked);
        assert_eq!(report.status, ActionStatus::Refused, "{asked:?}");
        assert!(report.words.contains(words), "{words} in {}", report.words);
    }
}

#[test]
fn the_same_actions_at_the_same_moments_give_the_same_events() {
    let live = || {
        let (mut world, mut events, start_ms) = struck(Scenario::MemoryLeak);
        world.act(&request(
            "k1",
            "raise_limit",
            "notification-service",
            &[("resource", "memory")],
        ));
        events.extend(world.advance(start_ms + 200_000));
        world.act(&request(
            "k2",
            "restart_rollout",
            "notification-service",
            &[],
        ));
        events.extend(world.advance(start_ms + 600_000));
        events
    };
    let (one, other) = (live(), live());
    assert_eq!(one, other);
    // Ended before the kernel killed anything.
    let killed = one.iter().any(|envelope| match &envelope.event {
        Event::Kubernetes(event) => event.reason.contains("OOM"),
        _ => false,
    });
    assert!(!killed);
}
