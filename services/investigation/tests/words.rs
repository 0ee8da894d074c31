//! What an answer says, and whom a deployment speaks against.

mod scene;

use midwatch_events::raw::LogLevel;
use midwatch_investigation::rca::{Candidate, ChangeEvent, ChangeKind};
use scene::{START_MS, STEADY, STEP_MS, Scene, first, shop};

/// orders is slow, its callers wait for it.
fn slow_orders() -> Scene {
    shop()
        .service("entry", (60.0, 150.0), STEADY, 0.0)
        .service("shop", (40.0, 130.0), STEADY, 0.0)
        .service("orders", (10.0, 100.0), STEADY, 0.0)
        .service("stock", (10.0, 10.0), STEADY, 0.0)
}

fn deployed(service: &str, version: &str, at_ms: i64) -> ChangeEvent {
    ChangeEvent {
        id: format!("deploy:{service}:{version}"),
        service: service.to_owned(),
        at_ms,
        kind: ChangeKind::Deployment,
        reason: String::new(),
        text: format!("{service} {version}"),
    }
}

/// The candidate for a service, where there is one.
fn of<'a>(candidates: &'a [Candidate], service: &str) -> &'a Candidate {
    let found = candidates.iter().find(|one| one.service == service);
    found.expect("it is among the candidates")
}

#[test]
fn a_metric_that_was_recorded_by_instance_is_no_gap() {
    let mut scene = slow_orders();
    for series in &mut scene.0.series {
        series.metric.push_str("{pod=\"0\"}");
    }
    let answer = scene.ask("entry", "latency_avg_ms");
    assert_eq!(
        answer.gaps,
        ["no log lines were recorded", "no spans were recorded"]
    );
    let answer = scene.ask("entry", "temperature");
    assert!(
        answer
            .gaps
            .iter()
            .any(|gap| gap == "temperature of entry was not recorded")
    );
}

#[test]
fn a_hypothesis_quotes_what_its_cause_was_told_by() {
    // The latency is the stronger evidence, the processor names the cause.
    let scene = slow_orders().series("orders", "cpu_percent", 20.0, 96.0);
    let answer = scene.ask("entry", "latency_avg_ms");
    let top = &answer.candidates[0];
    assert_eq!(
        (top.service.as_str(), top.cause.as_str()),
        ("orders", "CPU_SATURATION")
    );
    assert!(
        top.hypothesis
            .starts_with("orders runs out of CPU: cpu_percent of orders went from 20"),
        "{}",
        top.hypothesis
    );
    let quoted = top
        .evidence
        .iter()
        .find(|clue| top.hypothesis.ends_with(&clue.summary));
    assert!(quoted.is_some(), "{:?}", top.evidence);
}

#[test]
fn what_hardly_moved_is_no_evidence_beside_what_did() {
    // Two and a half hundredths lower: a little beyond its normal reach.
    let scene = slow_orders().series("orders", "cpu_percent", 22.0, 21.2);
    let answer = scene.ask("entry", "latency_avg_ms");
    let orders = of(&answer.candidates, "orders");
    assert!(!orders.evidence.is_empty());
    assert!(
        orders
            .evidence
            .iter()
            .all(|clue| clue.metric != "cpu_percent"),
        "{:?}",
        orders.evidence
    );
}

#[test]
fn a_deployed_service_that_nobody_measures_is_seen_by_what_it_and_its_callers_show() {
    let blind = || {
        shop()
            .service("entry", (60.0, 150.0), STEADY, 0.0)
            .service("shop", (40.0, 130.0), STEADY, 0.0)
            .service("stock", (10.0, 10.0), STEADY, 0.0)
    };
    let before_ms = START_MS - 60_000;
    // Its callers' symptoms follow a minute later.
    let mut scene = blind();
    let plain = scene.ask("entry", "latency_avg_ms");
    scene.0.changes = vec![deployed("orders", "2.1", before_ms)];
    let answer = scene.ask("entry", "latency_avg_ms");
    let (orders, without) = (
        of(&answer.candidates, "orders"),
        of(&plain.candidates, "orders"),
    );
    assert_eq!(orders.cause, "DEPLOYMENT_FAILURE");
    assert!(orders.confidence > without.confidence, "{orders:?}");
    // They came first.
    scene.0.changes = vec![deployed("orders", "2.1", START_MS + 60_000)];
    let answer = scene.ask("entry", "latency_avg_ms");
    assert!(
        answer
            .candidates
            .iter()
            .all(|one| one.cause != "DEPLOYMENT_FAILURE")
    );
    // Its own complaints begin before what its callers show.
    let mut scene = blind().lines(
        "orders",
        LogLevel::Error,
        "NullPointerException in Orders.of",
    );
    scene.0.changes = vec![deployed("orders", "2.1", START_MS - 5_000)];
    let answer = scene.ask("entry", "latency_avg_ms");
    assert_eq!(of(&answer.candidates, "orders").cause, "DEPLOYMENT_FAILURE");
}

#[test]
fn a_deployed_service_that_never_answered_again_is_told_by_its_silence() {
    let mut scene = slow_orders();
    for series in &mut scene.0.series {
        if series.service == "orders" {
            series.points.retain(|(at, _)| *at < START_MS);
        }
    }
    // Between its last reading and the one that is missing.
    scene.0.changes = vec![deployed("orders", "2.1", START_MS - STEP_MS / 2)];
    let answer = scene.ask("entry", "latency_avg_ms");
    assert_eq!(first(&answer), "orders");
    assert_eq!(answer.candidates[0].cause, "DEPLOYMENT_FAILURE");
}

#[test]
fn of_several_deployments_only_those_before_the_symptoms_are_quoted() {
    let mut scene = slow_orders();
    scene.0.changes = vec![
        deployed("orders", "2.0", START_MS - 1_800_000),
        deployed("orders", "2.1", START_MS - 60_000),
        deployed("orders", "2.0-again", START_MS + 120_000),
        // Measured and normal: it has done nothing.
        deployed("stock", "7", START_MS - 60_000),
    ];
    let answer = scene.ask("entry", "latency_avg_ms");
    let quoted = answer.candidates.iter().flat_map(|one| &one.evidence);
    let quoted: Vec<&str> = quoted
        .filter(|clue| clue.id.starts_with("deploy:"))
        .map(|clue| clue.id.as_str())
        .collect();
    assert_eq!(quoted, ["deploy:orders:2.1", "deploy:orders:2.0"]);
    assert_eq!(
        answer.candidates[0].hypothesis,
        "orders was changed and has been failing since: orders 2.1"
    );
}
