//! What a person closes while it is out of range, and what is heard of it then.

use crate::story::{Story, T0, anomaly, cleared, failing, slow};
use midwatch_events::anomaly::{Anomaly, AnomalyType, Severity, Transition};
use midwatch_events::incident::IncidentChange;
use uuid::Uuid;

fn worse(of: Anomaly, at_s: i64, deviation_sigma: f64) -> Anomaly {
    Anomaly {
        transition: Transition::Worsened,
        severity: Severity::Critical,
        deviation_sigma,
        observed_value: 2_000.0,
        ..cleared(of, at_s)
    }
}

/// A slow payment-service with failures behind it, closed by a person after a
/// minute while both are active.
fn closed() -> (Story, Uuid) {
    let mut story = Story::new();
    story.stored = true;
    story.hear(slow("payment-service", 0));
    story.hear(failing("order-service", 5));
    story.settle();
    let incident = story.incident(0);
    story.resolve(incident, "CLOSED_BY_OPERATOR", 60);
    (story, incident)
}

fn worsened(of: Anomaly, at_s: i64, deviation_sigma: f64) -> Anomaly {
    Anomaly {
        transition: Transition::Worsened,
        ..worse(of, at_s, deviation_sigma)
    }
}

#[test]
fn what_gets_worse_after_a_person_closed_it_reopens_it_whenever_that_is_heard() {
    for (later_ms, deviation_sigma) in [
        (0, 9.0),
        (5_000, 9.0),
        (0, 4.0),
        (60_000, 9.0),
        (60_000, 4.0),
    ] {
        let (mut story, incident) = closed();
        story.pass(later_ms);
        story.hear(worsened(slow("payment-service", 0), 90, deviation_sigma));
        story.pass(30_000);
        assert_eq!(story.opened.len(), 1, "{later_ms} {deviation_sigma}");
        let last = story.updated.last().expect("people hear of it");
        assert_eq!(
            (last.header.incident_id, last.change),
            (incident, IncidentChange::Reopened)
        );
        assert!(
            last.reason.contains("30 s after the end"),
            "{}",
            last.reason
        );
        assert_eq!(last.header.severity, Severity::Critical);
    }
}

#[test]
fn what_got_worse_between_the_close_and_its_hearing_is_no_less_heard() {
    // Counted lines have no distance from a baseline; only their severity grows.
    let kind = AnomalyType::ErrorRateSpike;
    let counted = Anomaly {
        deviation_sigma: 0.0,
        ..anomaly("payment-service", kind, "log:timeouts", 0)
    };
    for (first, deviation_sigma) in [(slow("payment-service", 0), 9.0), (counted, 0.0)] {
        let mut story = Story::new();
        story.hear(first.clone());
        story.settle();
        let incident = story.incident(0);
        story.hear(worsened(first, 90, deviation_sigma));
        story.resolve(incident, "CLOSED_BY_OPERATOR", 60);
        story.pass(30_000);
        let last = story.updated.last().expect("people hear of it");
        assert_eq!(last.change, IncidentChange::Reopened);
    }
}

#[test]
fn another_series_of_it_that_gets_worse_opens_an_incident_of_its_own() {
    let (mut story, incident) = closed();
    story.pass(20_000);
    story.hear(worsened(failing("order-service", 5), 100, 9.0));
    story.settle();
    assert_eq!(story.opened.len(), 2);
    assert_ne!(story.incident(1), incident);
    assert_eq!(story.opened[1].header.primary_service(), "order-service");
}

#[test]
fn what_stays_as_it_was_or_was_said_before_the_close_stays_closed() {
    let (mut story, _) = closed();
    story.pass(20_000);
    // Heard late, but from before the close.
    story.hear(worsened(slow("payment-service", 0), 50, 9.0));
    story.hear(Anomaly {
        transition: Transition::Missing,
        ..cleared(slow("payment-service", 0), 95)
    });
    story.hear(cleared(slow("payment-service", 0), 120));
    story.pass(600_000);
    assert_eq!((story.opened.len(), story.updated.len()), (1, 0));
    assert!(story.state.groups.is_empty());
    // It is over now; the next outbreak is another one.
    story.hear(Anomaly {
        transition: Transition::Started,
        ..cleared(slow("payment-service", 0), 2_000)
    });
    story.settle();
    assert_eq!(story.opened.len(), 2);
}

#[test]
fn a_log_rule_that_gets_worse_after_a_close_is_heard_too() {
    let mut story = Story::new();
    let kind = AnomalyType::ErrorRateSpike;
    story.hear(anomaly("payment-service", kind, "log:timeouts", 0));
    story.settle();
    story.end(story.incident(0), "CLOSED_BY_OPERATOR", 60);
    let line = anomaly("payment-service", kind, "log:timeouts", 0);
    story.hear(worsened(line, 4_000, 9.0));
    story.settle();
    assert_eq!(story.opened.len(), 2);
}

#[test]
fn the_memory_of_what_was_closed_is_bounded() {
    let mut story = Story::new();
    // As many as one storm leaves, of an earlier close.
    let earlier = |number: u128| (Uuid::from_u128(number), T0 - 1);
    story.state.closed_active = (0..7_000).map(earlier).collect();
    for number in 0..20 {
        let metric = format!("latency_ms_{number}");
        let kind = AnomalyType::LatencySpike;
        story.hear(anomaly("payment-service", kind, &metric, 0));
    }
    story.settle();
    story.end(story.incident(0), "CLOSED_BY_OPERATOR", 60);
    assert_eq!(story.state.closed_active.len(), 7_000);
    let of_now = story.state.closed_active.values().filter(|at| **at >= T0);
    assert_eq!(of_now.count(), 20);
}
