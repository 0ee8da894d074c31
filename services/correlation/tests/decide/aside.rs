//! Findings that page nobody: burn-rate tickets and mere load.

use crate::story::{Story, again, anomaly, busy, cleared, failing, slow};
use midwatch_events::OperatorCommand;
use midwatch_events::anomaly::{Anomaly, AnomalyType, Severity, Transition};
use std::collections::BTreeSet;
use uuid::Uuid;

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

#[test]
fn of_a_large_maintenance_nothing_is_dropped_without_a_word() {
    let mut story = Story::new();
    let command = story.command("maintain", Uuid::nil(), "*");
    story.ask(OperatorCommand {
        until_ms: Some(story.wall_ms + 1_800_000),
        ..command
    });
    // Half a thousand are kept whole, two thousand more in brief.
    let storm: Vec<Anomaly> = (0..2_503)
        .map(|second| again(failing("payment-service", 0), second))
        .collect();
    for one in &storm {
        story.hear(one.clone());
    }
    assert_eq!(story.state.held.len(), 2_500);
    let words = |story: &Story| story.audits.last().expect("a line").summary.clone();
    assert!(
        words(&story).contains("2500 others are held"),
        "{}",
        words(&story)
    );
    // The state stays small enough to be written with every input.
    let size = serde_json::to_string(&story.state.held)
        .expect("JSON")
        .len();
    assert!(size < 3_000_000, "{size} bytes");
    let lasting = [0, 499, 500, 2_499];
    for (index, one) in storm.iter().enumerate().take(2_500) {
        if !lasting.contains(&index) {
            story.hear(cleared(one.clone(), 2_600));
        }
    }
    story.hear(Anomaly {
        transition: Transition::Worsened,
        observed_value: 950.0,
        ..storm[2_499].clone()
    });
    story.pass(1_900_000);
    let lines = story.audits.iter();
    let ended: Vec<&str> = lines
        .filter(|line| line.event_type == "MAINTENANCE_ENDED")
        .map(|line| line.summary.as_str())
        .collect();
    let told = "The maintenance of every service is over. 3 more anomalies began in it than are \
                followed: look whether all is normal.";
    assert_eq!(ended, [told]);
    assert_eq!(story.opened.len(), 1);
    let members = &story.opened[0].grouped_anomalies;
    let members: BTreeSet<Uuid> = members.iter().map(|one| one.anomaly_id).collect();
    let expected = lasting.map(|index: usize| storm[index].anomaly_id);
    assert_eq!(members, BTreeSet::from(expected));
    // One that nobody followed is heard once it gets worse.
    story.hear(Anomaly {
        transition: Transition::Worsened,
        ..storm[2_501].clone()
    });
    story.settle();
    let last = story.updated.last().expect("it joined");
    assert_eq!(last.grouped_anomalies.len(), 5);
}

#[test]
fn what_is_held_in_brief_finds_the_fault_that_it_belongs_to() {
    let mut story = Story::new();
    let command = story.command("maintain", Uuid::nil(), "*");
    story.ask(OperatorCommand {
        until_ms: Some(story.wall_ms + 1_800_000),
        ..command
    });
    let mut storm: Vec<Anomaly> = (0..500)
        .map(|second| again(failing("payment-service", 0), second))
        .collect();
    storm.push(again(slow("order-service", 0), 500));
    for one in &storm {
        story.hear(one.clone());
    }
    let brief = &story.state.held[&storm[500].anomaly_id];
    assert!(brief.is_brief && brief.surroundings.topology.edges().count() == 0);
    for one in &storm[1..500] {
        story.hear(cleared(one.clone(), 600));
    }
    story.pass(1_900_000);
    // order-service calls payment-service: what was told of the others says so.
    assert_eq!(story.opened.len(), 1);
    let services = &story.opened[0].header.affected_services;
    assert_eq!(services, &["payment-service", "order-service"]);
}

#[test]
fn of_many_findings_the_oldest_is_forgotten_aloud() {
    let ticket = |number: i64| {
        let low = AnomalyType::ErrorRateSpike;
        Anomaly {
            severity: Severity::Low,
            ..anomaly(&format!("s{number}"), low, "slo:availability", number)
        }
    };
    let mut story = Story::new();
    for number in 0..2_001 {
        story.hear(ticket(number));
    }
    assert_eq!(story.state.tickets.len(), 2_000);
    let forgotten: Vec<&str> = story
        .audits
        .iter()
        .filter(|line| line.event_type == "FINDING_FORGOTTEN")
        .map(|line| line.payload["service"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(forgotten, ["s0"]);
    // One of the last goes with the incident of its service as ever.
    story.hear(slow("s1999", 2_100));
    story.settle();
    assert_eq!(story.opened[0].grouped_anomalies.len(), 2);
}
