//! The end, and what is heard of the anomalies around it and after it.

use crate::story::{Story, T0, anomaly, busy, cleared, failing, slow};
use midwatch_events::anomaly::{Anomaly, AnomalyType, Severity, Transition};
use midwatch_events::incident::IncidentChange;
use serde_json::Value;
use uuid::Uuid;

fn grave(anomaly: Anomaly) -> Anomaly {
    Anomaly {
        severity: Severity::Critical,
        ..anomaly
    }
}

fn mild(anomaly: Anomaly) -> Anomaly {
    Anomaly {
        severity: Severity::Medium,
        ..anomaly
    }
}

/// The members of the story below, gravest first, and the order in which they
/// clear leaves a mild one for last.
fn members() -> [Anomaly; 4] {
    let log = "log:timeouts";
    [
        grave(busy("payment-service", 0)),
        slow("payment-service", 5),
        mild(anomaly(
            "payment-service",
            AnomalyType::ErrorRateSpike,
            log,
            6,
        )),
        mild(slow("order-service", 10)),
    ]
}

/// An incident whose members clear while its end is heard: after so many of
/// their words, and the rest of them so much later.
fn ended(heard_before: usize, until_end_ms: i64, until_rest_ms: i64) -> Story {
    let mut story = Story::new();
    for member in members() {
        story.hear(member);
    }
    story.settle();
    let incident = story.incident(0);
    let mut words = members().map(|member| cleared(member, 80));
    words[3] = cleared(members()[3].clone(), 90);
    for word in &words[..heard_before] {
        story.hear(word.clone());
    }
    story.pass(until_end_ms);
    story.resolve(incident, "RECOVERED", 90);
    story.pass(until_rest_ms);
    for word in &words[heard_before..] {
        story.hear(word.clone());
    }
    story.pass(400_000);
    story
}

#[test]
fn whichever_of_the_end_and_the_words_before_it_is_heard_first_the_incident_is_the_same() {
    let calm = ended(4, 0, 0);
    let incident = calm.incident(0);
    let row = &calm.rows[&incident];
    assert_eq!(row.0, Severity::Critical);
    let times = row.2["grouped_anomalies"].as_array().expect("a list");
    let times: Vec<&Value> = times.iter().map(|one| &one["cleared_at_ms"]).collect();
    assert_eq!(times, [80, 80, 80, 90].map(|at_s| T0 + at_s * 1_000));
    assert!(calm.updated.is_empty());
    for until_end_ms in [0, 1_500, 60_000] {
        let late = ended(4, until_end_ms, 0);
        assert_eq!(late.rows, calm.rows, "the end after {until_end_ms} ms");
        assert!(late.updated.is_empty(), "{:?}", late.updated);
        assert_eq!(late.opened.len(), 1);
    }
    for heard_before in 0..4 {
        for until_rest_ms in [0, 5_000, 25_000, 200_000] {
            let behind = ended(heard_before, 0, until_rest_ms);
            let what = format!("{heard_before} words before the end, {until_rest_ms} ms between");
            assert_eq!(behind.rows, calm.rows, "{what}");
            assert_eq!(behind.opened.len(), 1, "{what}");
            assert!(behind.updated.is_empty(), "{what}: {:?}", behind.updated);
            assert_eq!(behind.state.over.len(), 1, "{what}");
        }
    }
}

#[test]
fn of_the_very_moment_of_the_end_another_word_may_come_a_little_later() {
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    story.hear(slow("order-service", 0));
    story.settle();
    story.hear(cleared(slow("payment-service", 0), 60));
    story.resolve(story.incident(0), "RECOVERED", 60);
    story.pass(15_000);
    story.hear(cleared(slow("order-service", 0), 60));
    story.pass(60_000);
    assert_eq!((story.opened.len(), story.state.groups.len()), (1, 0));
}

#[test]
fn correlation_does_not_wait_for_ever_for_words_that_never_come() {
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    story.settle();
    story.resolve(story.incident(0), "RECOVERED", 90);
    story.pass(290_000);
    assert_eq!((story.opened.len(), story.state.groups.len()), (1, 1));
    story.pass(40_000);
    assert_eq!(
        story.opened.len(),
        2,
        "what is still out of range is told of"
    );
}

#[test]
fn the_severity_falls_while_something_is_active_and_then_stays_as_it_was_told() {
    let mut story = Story::new();
    story.hear(grave(busy("payment-service", 0)));
    story.hear(slow("payment-service", 5));
    story.hear(mild(slow("order-service", 10)));
    story.settle();
    let incident = story.incident(0);
    story.hear(cleared(busy("payment-service", 0), 60));
    story.settle();
    assert_eq!(story.updated[0].header.severity, Severity::High);
    story.hear(cleared(slow("payment-service", 5), 70));
    story.hear(cleared(slow("order-service", 10), 70));
    story.settle();
    assert_eq!(story.updated.len(), 1, "the end alone says that it is over");
    let row = &story.rows[&incident];
    assert_eq!(
        (row.0, &row.2["revision"]),
        (Severity::High, &Value::from(1))
    );
    assert_eq!(
        row.2["severity_reason"],
        "service_latency_p99_ms on payment-service is HIGH"
    );
    story.end(incident, "RECOVERED", 70);
    assert_eq!(story.rows[&incident].0, Severity::High);
    // What breaks out again is told, as it is by then.
    let mut again = Story::new();
    again.hear(grave(slow("payment-service", 0)));
    again.settle();
    again.hear(cleared(grave(slow("payment-service", 0)), 60));
    again.settle();
    again.hear(slow("payment-service", 70));
    again.settle();
    assert_eq!(again.updated.len(), 1);
    assert_eq!(
        again.updated[0].reason,
        "service_latency_p99_ms on payment-service broke out again"
    );
    assert_eq!(again.updated[0].header.severity, Severity::Critical);
}

#[test]
fn what_was_over_before_anybody_was_told_is_as_grave_as_the_gravest_of_it() {
    let mut story = Story::new();
    let members = [
        grave(busy("payment-service", 0)),
        mild(slow("payment-service", 5)),
    ];
    for member in &members {
        story.hear(member.clone());
    }
    for member in members {
        story.hear(cleared(member, 30));
    }
    story.settle();
    assert_eq!(story.opened[0].header.severity, Severity::Critical);
}

#[test]
fn a_new_member_is_told_of_even_if_all_is_normal_again_by_then() {
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    story.settle();
    story.hear(failing("payment-service", 20));
    story.hear(cleared(failing("payment-service", 20), 50));
    story.hear(cleared(slow("payment-service", 0), 50));
    story.settle();
    assert_eq!(story.updated.len(), 1);
    let updated = &story.updated[0];
    assert_eq!(updated.change, IncidentChange::Grown);
    assert_eq!(updated.grouped_anomalies.len(), 2);
}

#[test]
fn a_snoozed_incident_that_is_normal_again_wakes_nobody() {
    let mut story = Story::new();
    story.hear(grave(busy("payment-service", 0)));
    story.hear(slow("payment-service", 0));
    story.settle();
    let mut snooze = story.command("snooze", story.incident(0), "");
    snooze.until_ms = Some(story.wall_ms + 60_000);
    story.ask(snooze);
    let told = story.updated.len();
    story.hear(cleared(grave(busy("payment-service", 0)), 60));
    story.hear(cleared(slow("payment-service", 0), 60));
    story.pass(100_000);
    assert_eq!(story.updated.len(), told);
}

#[test]
fn what_falls_silent_long_after_the_end_is_shown_in_the_row() {
    let log = anomaly(
        "payment-service",
        AnomalyType::ErrorRateSpike,
        "log:timeouts",
        5,
    );
    let run = |log_first: bool| {
        let mut story = Story::new();
        story.hear(slow("payment-service", 0));
        story.hear(log.clone());
        story.settle();
        let incident: Uuid = story.incident(0);
        story.hear(cleared(slow("payment-service", 0), 60));
        if log_first {
            story.hear(cleared(log.clone(), 180));
        }
        story.end(incident, "RECOVERED", 60);
        if !log_first {
            story.hear(cleared(log.clone(), 180));
        }
        // Told twice, or worse again: nothing more.
        let mut worse = log.clone();
        worse.transition = Transition::Worsened;
        story.hear(cleared(log.clone(), 190));
        story.hear(worse);
        assert_eq!((story.opened.len(), story.updated.len()), (1, 0));
        story.rows[&incident].clone()
    };
    let after = run(false);
    assert_eq!(after, run(true));
    let cleared_ms = &after.2["grouped_anomalies"][1]["cleared_at_ms"];
    assert_eq!(cleared_ms, T0 + 180_000);
}
