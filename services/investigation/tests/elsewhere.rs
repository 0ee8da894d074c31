//! Two incidents at once: what one of them is about is not what the other one
//! is named after, where that has a fault of its own.

mod scene;

use midwatch_events::anomaly::{AnomalyType, Severity};
use midwatch_events::incident::{GroupedAnomaly, LeftOut};
use midwatch_investigation::decide::gathered::{self, Known};
use midwatch_investigation::rca::{Alarm, Answer};
use scene::{START_MS, STEADY, Scene, first, shop};
use serde_json::json;
use std::collections::BTreeMap;

const OTHER: &str = "INC-0000BEEF";

/// The shop's orders fail loudly, and the entry's memory fills up beside that.
fn both(cause: AnomalyType, metric: &str) -> Scene {
    let mut scene = shop()
        .service("entry", (60.0, 66.0), STEADY, 4.0)
        .service("shop", (40.0, 44.0), STEADY, 12.0)
        .service("orders", (10.0, 12.0), STEADY, 40.0)
        .service("stock", (10.0, 10.0), STEADY, 0.0)
        .series("entry", "memory_percent", 45.0, 62.0);
    scene.0.alarms.push(Alarm {
        id: "a1".to_owned(),
        service: "entry".to_owned(),
        metric: metric.to_owned(),
        cause,
        severity: Severity::High,
        onset_ms: START_MS,
        text: format!("{metric} of entry"),
    });
    scene
}

fn ask(mut scene: Scene, elsewhere: &[&str]) -> Answer {
    let held = elsewhere
        .iter()
        .map(|one| ((*one).to_owned(), OTHER.to_owned()));
    scene.0.elsewhere = held.collect();
    scene.ask("entry", "latency_avg_ms")
}

#[test]
fn a_fault_of_its_own_stands_before_what_another_incident_is_about() {
    let leak = || both(AnomalyType::MemoryLeak, "memory_percent");
    assert_eq!(first(&ask(leak(), &[])), "orders");
    let answer = ask(leak(), &["orders", "shop"]);
    assert_eq!(first(&answer), "entry");
    let told = &answer.candidates[0].discriminator;
    assert!(
        told.contains(OTHER) && told.contains("they are one fault"),
        "{told}"
    );
}

#[test]
fn what_the_other_incident_explains_is_left_to_it() {
    // No resource of the entry: the two may well be one fault.
    let slow = both(AnomalyType::LatencySpike, "latency_avg_ms");
    assert_eq!(first(&ask(slow, &["orders", "shop"])), "orders");
    // The shop's requests hold its connections until the orders answer.
    let mut waiting = both(AnomalyType::LatencySpike, "latency_avg_ms");
    waiting.0.alarms[0].service = "shop".to_owned();
    waiting.0.alarms[0].cause = AnomalyType::DbConnectionExhaustion;
    assert_eq!(first(&ask(waiting, &["orders"])), "orders");
}

#[test]
fn what_was_known_at_an_earlier_look_stays_known_until_it_joins() {
    let left = |service: &str, incident: &str| LeftOut {
        kind: "anomaly".to_owned(),
        id: "a2".to_owned(),
        service: service.to_owned(),
        at_ms: START_MS,
        description: String::new(),
        reason: String::new(),
        incident: incident.to_owned(),
    };
    let member: GroupedAnomaly = serde_json::from_value(json!({
        "anomaly_id": "00000000-0000-0000-0000-000000000001", "service": "entry",
        "anomaly_type": "MEMORY_LEAK", "severity": "HIGH", "trigger_metric": "memory_percent", "direction": "above",
        "observed_value": 62.0, "baseline_value": 45.0, "deviation_sigma": 9.0,
        "detected_at_ms": START_MS, "onset_ms": START_MS, "reason": "", "description": ""}))
    .expect("an anomaly");
    let facts = |left_out: Vec<LeftOut>, earlier: &[&str], members: &[GroupedAnomaly]| {
        let earlier = earlier
            .iter()
            .map(|one| ((*one).to_owned(), OTHER.to_owned()));
        let known = Known {
            left_out,
            earlier: earlier.collect(),
            ..Known::default()
        };
        gathered::facts(&[], members, known).elsewhere
    };
    let held = |services: &[&str]| -> BTreeMap<String, String> {
        let all = services
            .iter()
            .map(|one| ((*one).to_owned(), OTHER.to_owned()));
        all.collect()
    };
    let own = std::slice::from_ref(&member);
    let near = vec![
        left("orders", OTHER),
        left("stock", ""),
        left("entry", OTHER),
    ];
    assert_eq!(facts(near, &["shop"], own), held(&["orders", "shop"]));
    assert_eq!(facts(Vec::new(), &["orders"], own), held(&["orders"]));
    let joined = GroupedAnomaly {
        service: "orders".to_owned(),
        ..member.clone()
    };
    assert_eq!(facts(Vec::new(), &["orders"], &[member, joined]), held(&[]));
}
