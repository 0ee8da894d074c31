//! What Kubernetes killed is behind the symptoms only if it came before them,
//! and not all the time.

mod scene;

use midwatch_events::anomaly::{AnomalyType, Severity};
use midwatch_investigation::rca::{Alarm, Answer, Candidate, ChangeEvent, ChangeKind};
use scene::{END_MS, START_MS, STEADY, Scene, first, shop};

const MINUTE_MS: i64 = 60_000;

/// Everybody waits for orders.
fn slow_orders() -> Scene {
    shop()
        .service("entry", (60.0, 150.0), STEADY, 0.0)
        .service("shop", (40.0, 130.0), STEADY, 0.0)
        .service("orders", (10.0, 100.0), STEADY, 0.0)
        .service("stock", (10.0, 10.0), STEADY, 0.0)
}

fn event(id: &str, reason: &str, at_ms: i64) -> ChangeEvent {
    ChangeEvent {
        id: id.to_owned(),
        service: "orders".to_owned(),
        at_ms,
        kind: ChangeKind::KubernetesFailure,
        reason: reason.to_owned(),
        text: format!("orders-7f9c {reason}"),
    }
}

fn orders(answer: &Answer) -> &Candidate {
    let found = answer.candidates.iter().find(|one| one.service == "orders");
    found.expect("it is slow")
}

fn quoted(answer: &Answer) -> Vec<&str> {
    let clues = orders(answer).evidence.iter().map(|clue| clue.id.as_str());
    clues.filter(|id| id.starts_with("kill")).collect()
}

fn ask(scene: &mut Scene, events: Vec<ChangeEvent>) -> Answer {
    scene.0.changes = events;
    scene.ask("entry", "latency_avg_ms")
}

#[test]
fn a_kill_names_the_cause_by_when_it_came() {
    let without = ask(&mut slow_orders(), Vec::new());
    assert_eq!(orders(&without).cause, "LATENCY_SPIKE");
    for (case, at_ms, cause, is_quoted) in [
        ("causing", START_MS - 30_000, "KUBERNETES_FAILURE", true),
        // The reading that shows it comes a little later, or a little earlier.
        (
            "at the onset",
            START_MS + 10_000,
            "KUBERNETES_FAILURE",
            true,
        ),
        ("old", START_MS - 14 * MINUTE_MS, "LATENCY_SPIKE", true),
        ("caused", START_MS + 2 * MINUTE_MS, "LATENCY_SPIKE", false),
    ] {
        let answer = ask(&mut slow_orders(), vec![event("kill", "EVICTED", at_ms)]);
        assert_eq!(first(&answer), "orders", "{case}");
        assert_eq!(orders(&answer).cause, cause, "{case}");
        assert_eq!(!quoted(&answer).is_empty(), is_quoted, "{case}");
        // What came long before may be behind it, and says little.
        let clues = orders(&answer).evidence.iter();
        let said = clues
            .filter(|clue| clue.id == "kill")
            .map(|clue| clue.strength);
        let said = said.fold(0.0, f64::max);
        assert_eq!(said > 0.5, cause != "LATENCY_SPIKE", "{case}: {said}");
        assert!(!(0.2..=0.7).contains(&said), "{case}: {said}");
    }
}

#[test]
fn what_is_reported_all_the_time_is_normal() {
    let every = |minutes: &[i64]| -> Vec<ChangeEvent> {
        let events = (0..).zip(minutes).map(|(index, minute)| {
            event(
                &format!("kill-{index}"),
                "CRASH_LOOP",
                START_MS + minute * MINUTE_MS,
            )
        });
        events.collect()
    };
    for (case, minutes, is_normal) in [
        ("every five minutes", &[-13, -8, -3, 2][..], true),
        ("and once at the onset", &[-13, -10, -7, -4, -1, 0, 3], true),
        ("once long ago, and now", &[-12, 0], false),
        ("newly, and often", &[-2, -1, 0], false),
        (
            "far more often now",
            &[-12, -5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            false,
        ),
    ] {
        let answer = ask(&mut slow_orders(), every(minutes));
        assert_eq!(quoted(&answer).is_empty(), is_normal, "{case}");
        let cause = orders(&answer).cause.as_str();
        assert_eq!(cause == "LATENCY_SPIKE", is_normal, "{case}: {cause}");
    }
    // Another reason is another matter.
    let mut events = every(&[-13, -8, -3, 2]);
    events.push(event("kill-new", "EVICTED", START_MS - 20_000));
    let answer = ask(&mut slow_orders(), events);
    assert_eq!(quoted(&answer), ["kill-new"]);
}

#[test]
fn detection_is_not_heard_on_a_habit_either() {
    let alarm = |onset_ms: i64, severity: Severity, reason: &str| Alarm {
        id: "kill-alarm".to_owned(),
        service: "orders".to_owned(),
        metric: format!("kubernetes:{reason}"),
        cause: AnomalyType::KubernetesFailure,
        severity,
        onset_ms,
        text: "orders-7f9c".to_owned(),
    };
    let habit = [-13, -8, -3, 2].map(|minute| {
        event(
            &format!("kill-{minute}"),
            "CRASH_LOOP",
            START_MS + minute * MINUTE_MS,
        )
    });
    for (case, alarm, events, cause) in [
        (
            "a crash loop as ever",
            alarm(START_MS, Severity::High, "crash_loop"),
            &habit[..],
            "LATENCY_SPIKE",
        ),
        (
            "a new one",
            alarm(START_MS, Severity::High, "crash_loop"),
            &[],
            "KUBERNETES_FAILURE",
        ),
        (
            "probes that fail because it is slow",
            alarm(START_MS + MINUTE_MS, Severity::Low, "probe_failed"),
            &[],
            "LATENCY_SPIKE",
        ),
    ] {
        let mut scene = slow_orders();
        scene.0.alarms.push(alarm);
        let answer = ask(&mut scene, events.to_vec());
        assert_eq!(orders(&answer).cause, cause, "{case}");
    }
}

#[test]
fn a_kill_for_want_of_memory_confirms_what_is_measured_and_nothing_else() {
    let oom = || vec![event("kill", "OOMKilled", START_MS + 3 * MINUTE_MS)];
    let leaking = || slow_orders().series("orders", "memory_percent", 40.0, 97.0);
    let alone = ask(&mut leaking(), Vec::new());
    let confirmed = ask(&mut leaking(), oom());
    assert_eq!(orders(&confirmed).cause, "MEMORY_LEAK");
    assert_eq!(quoted(&confirmed), ["kill"]);
    assert!(orders(&confirmed).confidence >= orders(&alone).confidence);
    // Nothing shows that memory ran out before: it is what came of it.
    let caused = ask(&mut slow_orders(), oom());
    assert_eq!(orders(&caused).cause, "LATENCY_SPIKE");
    assert_eq!(quoted(&caused), [""; 0]);
}

#[test]
fn only_what_counts_is_quoted_the_nearest_first() {
    let harmless = ChangeEvent {
        kind: ChangeKind::Kubernetes,
        ..event("kill-harmless", "ROLLOUT", START_MS - 40_000)
    };
    let mut events = vec![harmless];
    for (index, apart_ms) in [(1, 100_000), (2, 70_000), (3, 50_000), (4, 10_000)] {
        events.push(event(
            &format!("kill-{index}"),
            "EVICTED",
            START_MS - apart_ms,
        ));
    }
    let answer = ask(&mut slow_orders(), events);
    assert_eq!(quoted(&answer), ["kill-4", "kill-3", "kill-2"]);
}

#[test]
fn where_nobody_suffers_a_kill_proves_no_fault() {
    let mut scene = shop()
        .service("entry", (60.0, 60.0), STEADY, 0.0)
        .service("shop", (40.0, 40.0), STEADY, 0.0)
        .service("orders", (10.0, 10.0), STEADY, 0.0);
    for at_ms in [START_MS - 14 * MINUTE_MS, START_MS, END_MS - MINUTE_MS] {
        let answer = ask(&mut scene, vec![event("kill", "EVICTED", at_ms)]);
        let top = answer.candidates.first().map_or(0.0, |top| top.confidence);
        assert!(top < 0.5, "{at_ms}: {top}");
    }
}

#[test]
fn what_was_killed_reports_nothing_and_its_callers_tell() {
    // Two of three replicas of orders are gone; the third is as ever.
    let mut scene = shop()
        .service("entry", (60.0, 60.0), STEADY, 20.0)
        .service("shop", (40.0, 40.0), STEADY, 20.0)
        .service("orders", (10.0, 10.0), STEADY, 0.0)
        .service("stock", (10.0, 10.0), STEADY, 0.0);
    let answer = ask(
        &mut scene,
        vec![event("kill", "EVICTED", START_MS - 20_000)],
    );
    assert_eq!(orders(&answer).cause, "KUBERNETES_FAILURE");
    assert_eq!(quoted(&answer), ["kill"]);
}
