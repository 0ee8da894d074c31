//! The signs beside the metrics: logs, spans, deployments, Kubernetes events.

#[allow(dead_code, reason = "each test file uses part of it")]
mod common;

use common::{LIVE_MS, events, fault_events, only_fault, world};
use midwatch_events::raw::{LogLevel, SpanStatus};
use midwatch_events::{Envelope, Event, RawKubernetes, RawLog, RawSpan};
use midwatch_simulator::scenario::Scenario;
use midwatch_simulator::world::Plan;
use std::collections::{BTreeMap, BTreeSet};

fn logs(events: &[Envelope]) -> Vec<&RawLog> {
    events
        .iter()
        .filter_map(|envelope| match &envelope.event {
            Event::Log(log) => Some(log),
            _ => None,
        })
        .collect()
}

fn spans(events: &[Envelope]) -> Vec<&RawSpan> {
    events
        .iter()
        .filter_map(|envelope| match &envelope.event {
            Event::Span(span) => Some(span),
            _ => None,
        })
        .collect()
}

fn kubernetes(events: &[Envelope]) -> Vec<&RawKubernetes> {
    events
        .iter()
        .filter_map(|envelope| match &envelope.event {
            Event::Kubernetes(event) => Some(event),
            _ => None,
        })
        .collect()
}

#[test]
fn a_quiet_fleet_logs_every_three_seconds_and_only_information() {
    let events = events(4, Plan::Quiet);
    let mut times: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for log in logs(&events) {
        assert_eq!(log.level, LogLevel::Info, "{}", log.message);
        times
            .entry(&log.service)
            .or_default()
            .push(log.timestamp_ms);
    }
    assert_eq!(times.len(), 6);
    for (service, times) in times {
        let gaps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(
            gaps.iter().all(|gap| (2_000..4_000).contains(gap)),
            "{service}: {gaps:?}"
        );
        let mean = gaps.iter().sum::<i64>() / i64::try_from(gaps.len()).expect("a small count");
        assert!((2_800..3_200).contains(&mean), "{service}: {mean}");
    }
    assert!(kubernetes(&events).is_empty());
}

/// The scenario, a service that it reaches, and what that service says.
const WORDS: &[(Scenario, &str, &str)] = &[
    (
        Scenario::LatencySpike,
        "payment-service",
        "waiting for card processor acquirer-eu",
    ),
    (
        Scenario::LatencySpike,
        "order-service",
        "timeout calling payment-service: POST /v1/charges gave no answer within 4000 ms",
    ),
    (
        Scenario::LatencySpike,
        "api-gateway",
        "calling payment-service",
    ),
    (
        Scenario::ErrorRateSpike,
        "order-service",
        "OrderPricing.kt:142",
    ),
    (
        Scenario::ErrorRateSpike,
        "api-gateway",
        "order-service answered 503",
    ),
    (Scenario::CpuSaturation, "api-gateway", "CPU throttling"),
    (Scenario::MemoryLeak, "notification-service", "heap grows"),
    (
        Scenario::MemoryLeak,
        "notification-service",
        "FATAL ERROR: out of memory",
    ),
    (Scenario::DbConnectionExhaustion, "payment-service", HIKARI),
    (
        Scenario::DbConnectionExhaustion,
        "payment-service",
        "connection leak: a connection has been held",
    ),
    (
        Scenario::DbConnectionExhaustion,
        "order-service",
        "payment-service answered 503",
    ),
    (
        Scenario::KafkaConsumerLag,
        "order-service",
        "consumer lag on order-events is",
    ),
    (
        Scenario::KafkaConsumerLag,
        "order-service",
        "consumer group order-service is rebalancing",
    ),
    (Scenario::DeploymentFailure, "user-service", "v2.14.1: "),
    (
        Scenario::DeploymentFailure,
        "api-gateway",
        "user-service answered 503",
    ),
];

const HIKARI: &str = "HikariPool-1 - Connection is not available, request timed out after 30000ms (total=100, active=100, idle=0, waiting=";

#[test]
fn the_struck_service_names_the_real_thing_and_its_callers_name_the_service() {
    for &(scenario, service, words) in WORDS {
        let events = fault_events(31, scenario);
        let truth = only_fault(&events);
        let grave: Vec<_> = logs(&events)
            .into_iter()
            .filter(|log| log.level > LogLevel::Info)
            .collect();
        let found = grave
            .iter()
            .any(|log| log.service == service && log.message.contains(words));
        assert!(found, "{scenario:?}: {service} never says {words:?}");
        for log in grave {
            let late = truth.timestamp_ms + truth.duration_ms + 70_000;
            assert!(
                truth.affected.contains(&log.service),
                "{scenario:?}: {log:?}"
            );
            assert!(
                (truth.timestamp_ms..late).contains(&log.timestamp_ms),
                "{scenario:?}: {log:?}"
            );
            assert!(log.trace_id.is_some(), "{scenario:?}: {log:?}");
        }
    }
}

#[test]
fn spans_show_the_real_graph_and_hang_together() {
    let events = events(12, Plan::Quiet);
    let spans = spans(&events);
    let by_id: BTreeMap<_, _> = spans.iter().map(|span| (&span.span_id, span)).collect();
    assert_eq!(by_id.len(), spans.len());
    let mut clients = BTreeSet::new();
    let mut servers = BTreeSet::new();
    for span in &spans {
        if let Some(peer) = span.labels.get("peer.service") {
            clients.insert((span.service.clone(), peer.clone()));
        }
        let Some(parent_id) = &span.parent_span_id else {
            assert_eq!(span.service, "api-gateway", "traces begin at the gateway");
            continue;
        };
        let parent = by_id[parent_id];
        assert_eq!(parent.trace_id, span.trace_id);
        assert!(parent.start_ms <= span.start_ms);
        let (inner, outer) = (span.duration_ms, parent.duration_ms);
        assert!(
            inner <= outer + 0.02,
            "a child of {inner} ms in a parent of {outer} ms"
        );
        if let Some(caller) = span.labels.get("caller") {
            assert_eq!(parent.labels.get("peer.service"), Some(&span.service));
            servers.insert((caller.clone(), span.service.clone()));
        }
    }
    let expected: BTreeSet<_> = [
        ("api-gateway", "inventory-service"),
        ("api-gateway", "order-service"),
        ("api-gateway", "payment-service"),
        ("api-gateway", "user-service"),
        ("order-service", "notification-service"),
        ("order-service", "payment-service"),
        ("user-service", "notification-service"),
    ]
    .map(|(caller, callee)| (caller.to_owned(), callee.to_owned()))
    .into();
    assert_eq!(clients, expected);
    assert_eq!(servers, expected);
}

#[test]
fn spans_are_slow_and_fail_where_and_when_the_metrics_say_so() {
    let slow = fault_events(12, Scenario::LatencySpike);
    let truth = only_fault(&slow);
    let peak = truth.timestamp_ms + 120_000;
    let of = |events: &[Envelope], service: &str, label: &str, from_ms: i64| -> Vec<RawSpan> {
        spans(events)
            .into_iter()
            .filter(|span| span.service == service && span.labels.contains_key(label))
            .filter(|span| (from_ms..from_ms + 50_000).contains(&span.start_ms))
            .cloned()
            .collect()
    };
    let longest = |spans: &[RawSpan]| {
        spans
            .iter()
            .map(|span| span.duration_ms)
            .fold(0.0, f64::max)
    };
    let before = longest(&of(&slow, "payment-service", "caller", LIVE_MS));
    let during = longest(&of(&slow, "payment-service", "caller", peak));
    assert!(before < 380.0 && during > 3_000.0, "{before} then {during}");
    for call in of(&slow, "order-service", "peer.service", peak) {
        assert!(call.duration_ms <= 4_000.0, "the caller gives up: {call:?}");
        let late = call.labels["http.status_code"] == "504";
        assert!(!late || call.status == SpanStatus::Error);
    }
    assert!(longest(&of(&slow, "inventory-service", "caller", peak)) < 220.0);

    let failing = fault_events(12, Scenario::ErrorRateSpike);
    let peak = only_fault(&failing).timestamp_ms + 60_000;
    let failed = |service: &str| {
        let spans = of(&failing, service, "caller", peak);
        spans
            .iter()
            .filter(|span| span.status == SpanStatus::Error)
            .count()
    };
    assert!(failed("order-service") >= 1);
    assert_eq!(failed("payment-service"), 0);
}

#[test]
fn a_failing_deployment_is_announced_before_its_errors() {
    for seed in 0..20 {
        let events = fault_events(seed, Scenario::DeploymentFailure);
        let truth = only_fault(&events);
        let deployments: Vec<_> = events
            .iter()
            .filter_map(|envelope| match &envelope.event {
                Event::Deployment(deployment) => Some(deployment),
                _ => None,
            })
            .collect();
        let [deployment] = deployments[..] else {
            panic!("one deployment, found {deployments:?}");
        };
        let lead_ms = truth.timestamp_ms - deployment.timestamp_ms;
        assert!((20_000..=40_000).contains(&lead_ms), "{lead_ms}");
        assert_eq!(deployment.service, "user-service");
        assert_eq!(deployment.version, "v2.14.1");
        assert_eq!(deployment.previous_version.as_deref(), Some("v2.14.0"));
        assert_eq!(deployment.git_sha.len(), 40);
        assert_eq!(deployment.known_risks.len(), 2);
        let rollouts = kubernetes(&events);
        assert_eq!(rollouts.len(), 2);
        for event in rollouts {
            assert_eq!(
                (event.reason.as_str(), event.event_kind.as_str()),
                ("ScalingReplicaSet", "ROLLOUT")
            );
            assert!((deployment.timestamp_ms..truth.timestamp_ms).contains(&event.timestamp_ms));
            assert_eq!(event.service(), "user-service");
        }
    }
}

#[test]
fn a_second_release_follows_the_first_one() {
    let mut world = world(1, Plan::Quiet);
    let mut versions = Vec::new();
    for round in 0..2 {
        world.advance(LIVE_MS + round * 600_000);
        world
            .inject(Scenario::DeploymentFailure, None)
            .expect("the service is free again");
        for envelope in world.advance(LIVE_MS + (round + 1) * 600_000) {
            if let Event::Deployment(deployment) = envelope.event {
                versions.push((deployment.previous_version, deployment.version));
            }
        }
    }
    let step = |from: &str, to: &str| (Some(from.to_owned()), to.to_owned());
    assert_eq!(
        versions,
        [step("v2.14.0", "v2.14.1"), step("v2.14.1", "v2.14.2")]
    );
}

#[test]
fn a_leak_ends_in_containers_killed_for_memory_and_saturation_fails_probes() {
    let leak = fault_events(9, Scenario::MemoryLeak);
    let truth = only_fault(&leak);
    let killed = kubernetes(&leak);
    assert_eq!(killed.len(), 2);
    let pods: BTreeSet<_> = killed.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(pods.len(), 2, "two replicas");
    for event in killed {
        let kind = (
            event.reason.as_str(),
            event.event_kind.as_str(),
            event.kind.as_str(),
        );
        assert_eq!(kind, ("OOMKilling", "OOM_KILLED", "Pod"));
        assert_eq!(
            (event.namespace.as_str(), event.service()),
            ("shop", "notification-service")
        );
        assert!(event.critical && event.name.starts_with("notification-service-"));
        assert!(event.timestamp_ms >= truth.timestamp_ms + truth.duration_ms * 9 / 10);
        assert!(event.timestamp_ms <= truth.timestamp_ms + truth.duration_ms);
    }
    let saturated = fault_events(9, Scenario::CpuSaturation);
    let probes = kubernetes(&saturated);
    assert!(!probes.is_empty());
    for event in probes {
        assert_eq!(
            (event.reason.as_str(), event.service()),
            ("Unhealthy", "api-gateway")
        );
    }
}
