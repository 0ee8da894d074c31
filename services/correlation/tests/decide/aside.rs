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
fn a_resource_that_rises_with_the_requests_is_load_and_is_told_beside_an_incident_of_its_service() {
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
    assert_eq!(harmed.opened[0].grouped_anomalies.len(), 1);
    let left = &harmed.opened[0].left_out[0];
    assert!(left.reason.contains("2.0 times what they were"), "{left:?}");
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

/// Requests, connections and processor of a service under a burst.
fn burst(service: &str) -> [Anomaly; 3] {
    let one = |kind, metric: &str, (observed, baseline): (f64, f64)| Anomaly {
        observed_value: observed,
        baseline_value: baseline,
        ..anomaly(service, kind, metric, 0)
    };
    let (unknown, pool) = (AnomalyType::Unknown, AnomalyType::DbConnectionExhaustion);
    [
        one(unknown, "service_request_rate", (200.0, 100.0)),
        one(pool, "service_db_connections", (32.0, 20.0)),
        Anomaly {
            observed_value: 35.0,
            baseline_value: 20.0,
            ..busy(service, 0)
        },
    ]
}

#[test]
fn a_burst_opens_nothing_in_whatever_order_its_signs_come() {
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let mut story = Story::new();
        for index in order {
            story.hear(burst("payment-service")[index].clone());
        }
        story.settle();
        assert_eq!(story.opened.len(), 0, "{order:?}");
        assert_eq!(story.state.tickets.len(), 3, "{order:?}");
        assert!(story.state.groups.is_empty(), "{order:?}");
        for one in burst("payment-service") {
            story.hear(cleared(one, 120));
        }
        assert!(story.state.tickets.is_empty(), "{order:?}");
    }
}

#[test]
fn what_a_burst_does_not_explain_opens_without_it() {
    // Four times the usual latency, and a processor that is full.
    for (grave, kind) in [
        (slow("payment-service", 5), AnomalyType::LatencySpike),
        (busy("payment-service", 5), AnomalyType::CpuSaturation),
    ] {
        let grave = Anomaly {
            observed_value: 99.0,
            baseline_value: 22.0,
            ..grave
        };
        let [requests, pool, _] = burst("payment-service");
        let mut story = Story::new();
        for one in [pool, grave, requests] {
            story.hear(one);
        }
        story.settle();
        assert_eq!(story.opened.len(), 1);
        assert_eq!(story.opened[0].header.anomaly_type, kind);
        assert_eq!(story.opened[0].grouped_anomalies.len(), 1);
        assert_eq!(story.opened[0].left_out.len(), 2);
    }
}

#[test]
fn the_echo_of_a_fault_finds_it_past_the_load_of_its_own_service() {
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    let [requests, pool, processor] = burst("order-service");
    for one in [pool, slow("order-service", 10), processor, requests] {
        story.hear(one);
    }
    story.settle();
    assert_eq!(story.opened.len(), 1);
    let services = &story.opened[0].header.affected_services;
    assert_eq!(services, &["payment-service", "order-service"]);
}
