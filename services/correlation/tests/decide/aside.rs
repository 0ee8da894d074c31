//! Findings that page nobody: burn-rate tickets and mere load.

use crate::story::{Story, anomaly, busy, cleared, slow};
use midwatch_events::anomaly::{Anomaly, AnomalyType, Severity, Transition};

#[test]
fn a_burn_rate_ticket_pages_nobody_and_goes_with_the_next_incident_of_its_service() {
    let ticket = Anomaly {
        severity: Severity::Low,
        ..anomaly(
            "payment-service",
            AnomalyType::ErrorRateSpike,
            "slo:availability",
            0,
        )
    };
    let mut story = Story::new();
    story.hear(ticket.clone());
    story.settle();
    assert!(story.opened.is_empty());
    assert_eq!(story.audits[0].event_type, "TICKET_RECORDED");
    story.hear(slow("user-service", 5));
    story.settle();
    assert_eq!(
        story.opened[0].left_out[0].id,
        ticket.anomaly_id.to_string()
    );
    story.hear(slow("payment-service", 10));
    story.settle();
    let opened = &story.opened[1];
    assert_eq!(opened.header.primary_service(), "payment-service");
    assert_eq!(opened.grouped_anomalies.len(), 2);
    assert!(story.state.tickets.is_empty());
}

#[test]
fn a_ticket_that_burns_fast_becomes_an_incident_and_one_that_clears_is_forgotten() {
    let ticket = Anomaly {
        severity: Severity::Low,
        ..anomaly(
            "payment-service",
            AnomalyType::ErrorRateSpike,
            "slo:availability",
            0,
        )
    };
    let mut story = Story::new();
    story.hear(ticket.clone());
    story.hear(Anomaly {
        transition: Transition::Worsened,
        severity: Severity::High,
        ..ticket.clone()
    });
    story.settle();
    assert_eq!(story.opened.len(), 1);
    let mut quiet = Story::new();
    quiet.hear(ticket.clone());
    quiet.hear(cleared(ticket, 60));
    quiet.hear(slow("payment-service", 90));
    quiet.settle();
    assert_eq!(quiet.opened[0].grouped_anomalies.len(), 1);
}

#[test]
fn a_resource_that_rises_with_the_requests_is_load_and_goes_with_an_incident_of_its_service() {
    let cpu = |observed: f64| Anomaly {
        observed_value: observed,
        baseline_value: 20.0,
        ..busy("payment-service", 0)
    };
    for (load, observed, opened) in [
        (Some(2.0), 42.0, 0),
        (Some(1.1), 42.0, 1),
        (None, 42.0, 1),
        (Some(2.0), 60.0, 1),
        (Some(5.0), 95.0, 1),
    ] {
        let mut story = Story::new();
        story.around.load = load;
        story.hear(cpu(observed));
        story.settle();
        assert_eq!(story.opened.len(), opened, "{load:?}, {observed} %");
    }
    for (observed, opened) in [(480.0, 0), (600.0, 1)] {
        let mut story = Story::new();
        story.around.load = Some(2.0);
        story.hear(Anomaly {
            observed_value: observed,
            ..slow("payment-service", 0)
        });
        story.settle();
        assert_eq!(story.opened.len(), opened, "{observed} ms instead of 380");
    }
    let mut harmed = Story::new();
    harmed.around.load = Some(2.0);
    harmed.hear(cpu(42.0));
    harmed.hear(slow("payment-service", 30));
    harmed.settle();
    assert_eq!(harmed.opened[0].grouped_anomalies.len(), 2);
    let mut graver = Story::new();
    graver.around.load = Some(2.0);
    graver.hear(cpu(42.0));
    graver.hear(Anomaly {
        transition: Transition::Worsened,
        ..cpu(93.0)
    });
    graver.settle();
    assert_eq!(graver.opened.len(), 1);
}
