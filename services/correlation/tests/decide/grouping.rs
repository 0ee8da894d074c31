//! One fault is one incident, two are two, and everything says why.

use crate::story::{Story, anomaly, busy, cleared, failing, slow};
use midwatch_events::anomaly::{Anomaly, AnomalyType, Transition};
use midwatch_events::incident::IncidentChange;
use midwatch_events::more::LISTED;
use midwatch_events::topology::{EdgeSource, Topology};
use proptest::prelude::*;
use uuid::Uuid;

#[test]
fn a_storm_of_five_hundred_along_the_graph_is_one_incident_with_a_reason_for_each_member() {
    let mut story = Story::new();
    let services = ["payment-service", "order-service", "api-gateway"];
    for number in 0..500 {
        let service = services[number % 3];
        let metric = format!("metric_{number}");
        let at_s = i64::try_from(number / 10).expect("small");
        story.hear(anomaly(service, AnomalyType::LatencySpike, &metric, at_s));
    }
    story.settle();
    assert_eq!(story.opened.len(), 1);
    let opened = &story.opened[0];
    let all = opened.all_anomalies();
    assert_eq!((opened.grouped_anomalies.len(), all.len()), (LISTED, 500));
    assert_eq!(opened.header.affected_services.len(), 3);
    let told = |needle: &str| {
        all.iter()
            .filter(|member| member.reason.contains(needle))
            .count()
    };
    assert!(told("order-service calls payment-service (as the catalogue says)") > 0);
    assert_eq!(
        told("s after") + told("at the same time") + told("the first anomaly"),
        500
    );
    // Further words about what is not told whole open nothing, not even after
    // the end.
    let incident = story.incident(0);
    for transition in [Transition::Worsened, Transition::Started] {
        for number in 200..500 {
            let metric = format!("metric_{number}");
            let service = services[number % 3];
            let repeated = anomaly(service, AnomalyType::LatencySpike, &metric, 60);
            story.hear(Anomaly {
                transition,
                ..repeated
            });
        }
        story.settle();
    }
    assert_eq!((story.opened.len(), story.state.groups.len()), (1, 1));
    for number in 0..500 {
        let metric = format!("metric_{number}");
        let member = anomaly(services[number % 3], AnomalyType::LatencySpike, &metric, 60);
        story.hear(cleared(member, 90));
    }
    story.end(incident, "RECOVERED", 100);
    let late = anomaly("order-service", AnomalyType::LatencySpike, "metric_400", 95);
    story.hear(Anomaly {
        transition: Transition::Worsened,
        ..late
    });
    story.settle();
    assert_eq!(story.opened.len(), 1);
}

#[test]
fn what_gets_worse_keeps_its_detection_and_tells_when_it_was_read() {
    let mut story = Story::new();
    let first = anomaly("payment-service", AnomalyType::LatencySpike, "p99", 0);
    let worse = Anomaly {
        transition: Transition::Worsened,
        detected_at_ms: first.detected_at_ms + 10_000,
        observed_value: first.observed_value * 2.0,
        deviation_sigma: first.deviation_sigma * 2.0,
        description: "it went on".to_owned(),
        ..first.clone()
    };
    story.hear(first.clone());
    story.hear(worse.clone());
    story.settle();
    let member = &story.opened[0].grouped_anomalies[0];
    assert_eq!(member.detected_at_ms, first.detected_at_ms);
    assert_eq!(member.description, first.description);
    assert_eq!(member.observed_at_ms, Some(worse.detected_at_ms));
    assert_eq!(
        member.observed_value.to_bits(),
        worse.observed_value.to_bits()
    );
    assert_eq!(story.opened[0].header.detected_at_ms, first.detected_at_ms);
}

/// Each pair breaks in the same second; the number of incidents.
fn at_once() -> [(&'static str, Vec<Anomaly>, usize); 9] {
    [
        (
            "unrelated",
            vec![slow("payment-service", 0), slow("batch-reports", 0)],
            2,
        ),
        (
            "with a common caller",
            vec![slow("payment-service", 0), slow("user-service", 0)],
            2,
        ),
        (
            "with a common caller that feels both",
            vec![
                slow("payment-service", 0),
                slow("user-service", 0),
                slow("api-gateway", 10),
                failing("api-gateway", 20),
            ],
            2,
        ),
        (
            "a caller whose own CPU is exhausted",
            vec![slow("payment-service", 0), busy("order-service", 0)],
            2,
        ),
        (
            "the same, and the caller was slow before that",
            vec![
                slow("payment-service", 0),
                slow("order-service", 0),
                busy("order-service", 20),
            ],
            2,
        ),
        (
            "a callee that broke long after its caller",
            vec![failing("order-service", 0), slow("payment-service", 300)],
            2,
        ),
        (
            "a caller of a caller",
            vec![
                slow("payment-service", 0),
                slow("order-service", 5),
                slow("api-gateway", 9),
            ],
            1,
        ),
        (
            "the echo before its source",
            vec![
                slow("api-gateway", 0),
                slow("order-service", 5),
                slow("payment-service", 20),
            ],
            1,
        ),
        (
            "the resource behind the symptom",
            vec![slow("order-service", 0), busy("payment-service", 20)],
            1,
        ),
    ]
}

#[test]
fn two_faults_at_once_are_two_and_an_echo_is_none() {
    for (name, anomalies, incidents) in at_once() {
        let mut story = Story::new();
        for anomaly in anomalies {
            story.hear(anomaly);
        }
        story.settle();
        assert_eq!(story.opened.len(), incidents, "{name}");
    }
}

#[test]
fn a_resource_with_room_left_takes_no_echo_of_another_fault() {
    // Percent of the caller's processor; anomalies of its incident and of the
    // other one.
    for (percent, counts) in [(70.0, [1, 2]), (95.0, [2, 1])] {
        let job = Anomaly {
            observed_value: percent,
            baseline_value: 20.0,
            ..busy("order-service", 0)
        };
        let echo = slow("order-service", 20);
        let mut story = Story::new();
        for one in [job.clone(), slow("payment-service", 10), echo.clone()] {
            story.hear(one);
        }
        story.settle();
        let counted = ["order-service", "payment-service"].map(|service| {
            let mut all = story.opened.iter();
            let opened = all.find(|one| one.header.primary_service() == service);
            opened.map_or(0, |one| one.grouped_anomalies.len())
        });
        assert_eq!((story.opened.len(), counted), (2, counts), "{percent} %");
        // Where nothing else explains it, it is what the processor does.
        let mut alone = Story::new();
        alone.hear(job);
        alone.hear(echo);
        alone.settle();
        assert_eq!(alone.opened[0].grouped_anomalies.len(), 2, "{percent} %");
    }
}

#[test]
fn what_was_near_and_left_out_is_listed_with_its_reason() {
    let mut story = Story::new();
    story.deployment("inventory-service", -60);
    story.deployment("payment-service", 30);
    story.hear(slow("payment-service", 0));
    story.hear(slow("user-service", 0));
    story.hear(slow("batch-reports", 5));
    story.settle();
    let payment = story
        .opened
        .iter()
        .find(|opened| opened.header.primary_service() == "payment-service")
        .expect("it is one of them");
    let told: Vec<(&str, &str, bool)> = payment
        .left_out
        .iter()
        .map(|one| {
            (
                one.kind.as_str(),
                one.service.as_str(),
                one.reason.is_empty(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("anomaly", "user-service", false),
            ("anomaly", "batch-reports", false),
            ("deployment", "payment-service", false),
            ("deployment", "inventory-service", false),
        ]
    );
    let why = |index: usize| payment.left_out[index].reason.as_str();
    assert!(
        why(0).contains("both are called by api-gateway"),
        "{}",
        why(0)
    );
    assert!(why(1).contains("no chain of at most 2 calls"), "{}", why(1));
    assert!(
        why(2).contains("began to change 30 s before it"),
        "{}",
        why(2)
    );
    assert!(why(3).contains("shows nothing out of range"), "{}", why(3));
}

#[test]
fn at_most_twenty_are_left_out() {
    let mut story = Story::new();
    for minute in 0..30 {
        story.deployment("inventory-service", -60 * minute);
    }
    story.hear(slow("payment-service", 0));
    story.settle();
    assert_eq!(story.opened[0].left_out.len(), 20);
}

#[test]
fn two_callers_of_a_silent_service_are_one_incident() {
    let graph = |story: &mut Story| {
        for caller in ["billing", "reports"] {
            story
                .around
                .topology
                .add_call(caller, "ledger", EdgeSource::Spans);
        }
    };
    for (lag_s, kind, incidents) in [
        (10, AnomalyType::LatencySpike, 1),
        (90, AnomalyType::LatencySpike, 2),
        (10, AnomalyType::ErrorRateSpike, 2),
    ] {
        let mut story = Story::new();
        graph(&mut story);
        story.hear(slow("billing", 0));
        story.hear(anomaly("reports", kind, "some_metric", lag_s));
        story.settle();
        assert_eq!(story.opened.len(), incidents, "{lag_s} s, {kind}");
    }
}

#[test]
fn edges_say_how_they_are_known_and_stale_or_contradicted_ones_join_nothing() {
    let story_of = |add: fn(&mut Topology)| {
        let mut story = Story::new();
        add(&mut story.around.topology);
        story.hear(slow("notification-service", 0));
        story.hear(slow("user-service", 10));
        story.settle();
        story
    };
    let seen = |graph: &mut Topology| {
        let at_ms = crate::story::T0 - 3_600_000;
        graph.add_seen(
            "user-service",
            "notification-service",
            EdgeSource::Spans,
            at_ms,
        );
    };
    let story = story_of(seen);
    assert_eq!(story.opened.len(), 1);
    let reason = &story.opened[0].grouped_anomalies[1].reason;
    assert!(reason.contains("as spans show"), "{reason}");
    assert!(
        reason.contains("10 s after notification-service"),
        "{reason}"
    );
    let stale = story_of(|graph| {
        let at_ms = crate::story::T0 - 7 * 3_600_000;
        graph.add_seen(
            "user-service",
            "notification-service",
            EdgeSource::Spans,
            at_ms,
        );
    });
    assert_eq!(stale.opened.len(), 2);
    let contradicted = story_of(|graph| {
        graph.add_call(
            "user-service",
            "notification-service",
            EdgeSource::Catalogue,
        );
        graph.contradict("user-service", "notification-service");
    });
    assert_eq!(contradicted.opened.len(), 2);
}

#[test]
fn a_pod_belongs_to_its_service() {
    let mut story = Story::new();
    let graph = &mut story.around.topology;
    graph.add_call("payment-service", "payment-6d4f", EdgeSource::Kubernetes);
    graph.add_call("payment-6d4f", "payment-6d4f-x2x", EdgeSource::Kubernetes);
    story.hear(slow("payment-service", 0));
    let metric = "kubernetes:OOM_KILLED";
    story.hear(anomaly(
        "payment-6d4f-x2x",
        AnomalyType::KubernetesFailure,
        metric,
        5,
    ));
    story.settle();
    assert_eq!(story.opened.len(), 1);
}

/// Neither catalogue nor spans know that user-service calls the third one.
fn after_complaints(complaints: Vec<(&'static str, &'static str)>) -> Story {
    let mut story = Story::new();
    story.hear(slow("notification-service", 0));
    story.settle();
    story.complaints = complaints;
    story.hear(slow("user-service", 20));
    story.settle();
    story
}

#[test]
fn a_complaint_about_the_broken_service_joins_its_caller_before_anybody_is_told() {
    let line = "timeout calling notification-service: no answer within 2000 ms";
    let mut story = after_complaints(vec![("user-service", line)]);
    assert_eq!(story.opened.len(), 1);
    story.settle();
    let update = story.updated.last().expect("the incident has grown");
    let services = &update.header.affected_services;
    assert_eq!(services, &["notification-service", "user-service"]);
    let group = story.state.groups.values().next().expect("one group");
    assert_eq!(story.state.groups.len(), 1);
    assert!(group.anomalies[1].reason.contains("as its log lines say"));
    // Nobody finds a line under an id that was never announced.
    let known: Vec<Option<Uuid>> = vec![Some(story.incident(0))];
    assert!(
        story
            .audits
            .iter()
            .all(|line| known.contains(&line.incident_id))
    );
    let rows = story
        .audits
        .iter()
        .filter(|line| line.event_type == "ANOMALY_DETECTED");
    assert_eq!(rows.count(), 2);
}

#[test]
fn complaints_about_anything_else_join_nothing() {
    for line in [
        "bad request from notification-service",
        "timeout calling notification-service-v2",
        "timeout calling billing",
    ] {
        let story = after_complaints(vec![("user-service", line)]);
        assert_eq!(story.opened.len(), 2, "{line}");
    }
}

#[test]
fn a_later_signal_that_connects_two_open_incidents_merges_the_younger_into_the_older() {
    let mut story = Story::new();
    let graph = &mut story.around.topology;
    graph.add_call("shop", "cart", EdgeSource::Spans);
    graph.add_call("cart", "stock", EdgeSource::Spans);
    graph.add_call("stock", "store", EdgeSource::Spans);
    story.hear(slow("shop", 0));
    story.settle();
    // Three calls away: nothing connects the two yet.
    story.hear(slow("store", 5));
    story.settle();
    assert_eq!(story.opened.len(), 2);
    story.hear(slow("stock", 30));
    story.settle();
    assert_eq!(story.state.groups.len(), 1);
    let (older, younger) = (story.incident(0), story.incident(1));
    let gone = story
        .updated
        .iter()
        .find(|one| one.header.incident_id == younger);
    let gone = gone.expect("the younger says goodbye");
    assert_eq!(
        (gone.change, &gone.related),
        (IncidentChange::Merged, &vec![older])
    );
    assert!(gone.grouped_anomalies.is_empty());
    let host = story.updated.last().expect("the older says what came in");
    assert_eq!(
        (host.change, &host.related),
        (IncidentChange::Merged, &vec![younger])
    );
    assert_eq!(host.header.incident_id, older);
    assert_eq!(host.grouped_anomalies.len(), 3);
    // The investigation's word about the end of the younger changes nothing.
    story.end(younger, "MERGED", 40);
    assert_eq!(story.state.groups.len(), 1);
    assert!(story.state.over.is_empty());
}

proptest! {
    /// However the anomalies of a connected fleet are ordered and repeated,
    /// each belongs to exactly one incident, and there is one.
    #[test]
    fn order_and_duplicates_change_nothing(order in proptest::collection::vec(0usize..6, 6..60)) {
        let services = ["payment-service", "order-service", "api-gateway"];
        let mut story = Story::new();
        for index in &order {
            let metric = ["service_latency_p99_ms", "service_error_rate_percent"][index / 3];
            let (service, at_s) = (services[index % 3], i64::try_from(*index).expect("small"));
            story.hear(anomaly(service, AnomalyType::LatencySpike, metric, at_s));
        }
        story.settle();
        prop_assert_eq!(story.opened.len(), 1);
        let mut members: Vec<Uuid> =
            story.opened[0].grouped_anomalies.iter().map(|member| member.anomaly_id).collect();
        let all = members.len();
        members.sort();
        members.dedup();
        prop_assert_eq!(members.len(), all);
        let mut distinct = order.clone();
        distinct.sort_unstable();
        distinct.dedup();
        prop_assert_eq!(all, distinct.len());
    }
}
