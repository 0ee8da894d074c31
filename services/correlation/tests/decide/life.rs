//! Growing, severity, the end, relapses, repetitions and restlessness.

use crate::story::{Story, T0, again, anomaly, busy, cleared, failing, slow};
use midwatch_events::anomaly::{Anomaly, AnomalyType, Severity, Transition};
use midwatch_events::incident::IncidentChange;
use uuid::Uuid;

#[test]
fn an_open_incident_grows_by_updates_and_opens_no_second_one() {
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    story.settle();
    story.hear(slow("order-service", 20));
    story.hear(slow("api-gateway", 20));
    story.settle();
    assert_eq!((story.opened.len(), story.updated.len()), (1, 1));
    let updated = &story.updated[0];
    assert_eq!(updated.header.incident_id, story.incident(0));
    assert_eq!(updated.change, IncidentChange::Grown);
    assert_eq!(
        updated.header.affected_services,
        ["payment-service", "api-gateway", "order-service"]
    );
    let copies: Vec<u32> = story
        .state
        .groups
        .values()
        .map(|group| group.copies)
        .collect();
    assert_eq!(
        copies,
        [2],
        "each announcement copies under a name of its own"
    );
}

#[test]
fn a_word_that_is_told_twice_changes_nothing() {
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    story.settle();
    assert!(story.hear(slow("payment-service", 0)).is_empty());
    story.settle();
    assert!(story.updated.is_empty());
}

#[test]
fn a_worse_anomaly_raises_the_severity_and_says_so() {
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    story.settle();
    story.hear(Anomaly {
        transition: Transition::Worsened,
        severity: Severity::Critical,
        ..slow("payment-service", 0)
    });
    story.settle();
    let updated = &story.updated[0];
    assert_eq!(updated.change, IncidentChange::Severity);
    assert_eq!(updated.header.severity, Severity::Critical);
    assert!(
        updated.reason.contains("HIGH → CRITICAL"),
        "{}",
        updated.reason
    );
}

#[test]
fn the_severity_follows_the_blast_radius_both_ways_and_says_why() {
    let mut story = Story::new();
    let levels = [
        ("api-gateway", "P0"),
        ("order-service", "P1"),
        ("payment-service", "P1"),
    ];
    for (service, criticality) in levels {
        let known = &mut story.around.criticality;
        known.insert(service.to_owned(), criticality.to_owned());
    }
    story.hear(slow("payment-service", 0));
    story.hear(slow("order-service", 0));
    story.settle();
    assert_eq!(story.opened[0].header.severity, Severity::High);
    story.hear(slow("api-gateway", 10));
    story.settle();
    let wide = &story.updated[0];
    assert_eq!(wide.header.severity, Severity::Critical);
    assert!(wide.reason.contains("api-gateway (P0)"), "{}", wide.reason);
    story.hear(cleared(slow("api-gateway", 10), 60));
    story.settle();
    let narrow = &story.updated[1];
    assert_eq!(narrow.change, IncidentChange::Severity);
    assert_eq!(narrow.header.severity, Severity::High);
    assert!(
        narrow.reason.contains("CRITICAL → HIGH"),
        "{}",
        narrow.reason
    );
}

#[test]
fn a_minor_service_alone_is_one_step_less() {
    for (criticality, rate, expected) in [
        ("P2", 1.0, Severity::Medium),
        ("P1", 1.0, Severity::High),
        ("", 1.0, Severity::High),
    ] {
        let mut story = Story::new();
        let service = "notification-service".to_owned();
        story.around.request_rates.insert(service.clone(), rate);
        if !criticality.is_empty() {
            story
                .around
                .criticality
                .insert(service, criticality.to_owned());
        }
        story.hear(slow("notification-service", 0));
        story.settle();
        assert_eq!(story.opened[0].header.severity, expected, "{criticality:?}");
    }
}

#[test]
fn a_late_word_opens_nothing_and_another_fault_of_the_service_is_a_new_incident() {
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    story.settle();
    story.hear(cleared(slow("payment-service", 0), 4));
    story.end(story.incident(0), "RECOVERED", 4);
    let late = Anomaly {
        transition: Transition::Worsened,
        ..slow("payment-service", 5)
    };
    assert!(story.hear(late).is_empty());
    story.hear(busy("payment-service", 60));
    story.settle();
    assert_eq!(story.opened.len(), 2);
    assert!(
        story
            .updated
            .iter()
            .all(|one| one.change != IncidentChange::Reopened)
    );
}

/// What a second outbreak makes of an incident that was opened by
/// payment-service's latency and ended after 100 s.
fn outbreaks() -> [(&'static str, &'static str, Vec<Anomaly>, bool); 9] {
    [
        (
            "a relapse",
            "RECOVERED",
            vec![slow("payment-service", 290)],
            true,
        ),
        (
            "of a remedied one",
            "REMEDIATED",
            vec![slow("payment-service", 290)],
            true,
        ),
        (
            "a quarter of an hour",
            "REMEDIATED",
            vec![slow("payment-service", 100 + 900)],
            true,
        ),
        (
            "longer",
            "REMEDIATED",
            vec![slow("payment-service", 100 + 901)],
            false,
        ),
        (
            "an hour by itself",
            "RECOVERED",
            vec![slow("payment-service", 100 + 3_600)],
            true,
        ),
        (
            "longer by itself",
            "RECOVERED",
            vec![slow("payment-service", 100 + 3_601)],
            false,
        ),
        (
            "another series",
            "RECOVERED",
            vec![failing("payment-service", 290)],
            false,
        ),
        (
            "another service",
            "RECOVERED",
            vec![slow("order-service", 290)],
            false,
        ),
        (
            "a resource of its own behind it",
            "RECOVERED",
            vec![slow("payment-service", 290), busy("payment-service", 290)],
            false,
        ),
    ]
}

#[test]
fn only_a_relapse_of_its_own_series_in_time_reopens_an_incident() {
    for (name, method, outbreak, reopens) in outbreaks() {
        for keeps_id in [true, false] {
            let mut story = Story::new();
            story.hear(slow("payment-service", 0));
            story.settle();
            let incident = story.incident(0);
            story.hear(cleared(slow("payment-service", 0), 100));
            story.end(incident, method, 100);
            for anomaly in &outbreak {
                let at_s = (anomaly.detected_at_ms - T0) / 1_000;
                let anomaly = anomaly.clone();
                // Detection keeps the anomaly's id for a while.
                story.hear(if keeps_id {
                    anomaly
                } else {
                    again(anomaly, at_s)
                });
            }
            story.settle();
            let reopened: Vec<Uuid> = story
                .updated
                .iter()
                .filter(|one| one.change == IncidentChange::Reopened)
                .map(|one| one.header.incident_id)
                .collect();
            let expected = if reopens { vec![incident] } else { Vec::new() };
            assert_eq!(reopened, expected, "{name}");
            assert_eq!(story.moves, expected, "{name}: the status goes back");
            assert_eq!(story.opened.len(), if reopens { 1 } else { 2 }, "{name}");
            assert_eq!(story.state.groups.len(), 1, "{name}");
        }
    }
}

#[test]
fn a_release_in_between_makes_it_another_fault() {
    let mut story = Story::new();
    story.live_through(slow("payment-service", 0), 0, 100);
    story.deployment("payment-service", 200);
    story.hear(again(slow("payment-service", 0), 290));
    story.settle();
    assert_eq!(story.opened.len(), 2);
}

#[test]
fn a_deployment_whose_trouble_went_by_itself_does_not_explain_the_next() {
    let mut story = Story::new();
    story.deployment("user-service", -60);
    let first = story.live_through(failing("user-service", 0), 0, 100);
    assert_eq!(
        story.opened[0].header.anomaly_type,
        AnomalyType::DeploymentFailure
    );
    story.hear(again(failing("user-service", 0), 600));
    story.settle();
    assert_eq!(story.opened.len(), 2);
    let second = &story.opened[1];
    assert_ne!(second.header.incident_id, first);
    assert_eq!(second.header.anomaly_type, AnomalyType::ErrorRateSpike);
    assert!(second.deployment_context.is_none());
    assert!(
        second.left_out[0]
            .reason
            .contains("while it stayed in place")
    );
}

#[test]
fn a_relapse_while_the_last_words_are_awaited_reopens_too_and_its_end_counts() {
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    story.settle();
    let incident = story.incident(0);
    story.hear(cleared(slow("payment-service", 0), 100));
    story.resolve(incident, "RECOVERED", 100);
    story.hear(Anomaly {
        detected_at_ms: T0 + 130_000,
        ..slow("payment-service", 130)
    });
    story.pass(60_000);
    let changes: Vec<IncidentChange> = story.updated.iter().map(|one| one.change).collect();
    assert_eq!(changes.last(), Some(&IncidentChange::Reopened));
    let group = &story.state.groups[&incident];
    assert!(group.is_active() && group.anomalies.len() == 1);
    story.hear(cleared(slow("payment-service", 130), 200));
    story.end(incident, "RECOVERED", 200);
    assert!(story.state.groups.is_empty());
    assert_eq!(story.state.over.len(), 1);
}

#[test]
fn what_broke_out_elsewhere_since_the_end_is_not_taken_back_by_reopening() {
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    story.hear(slow("order-service", 5));
    story.settle();
    let first = story.incident(0);
    story.hear(cleared(slow("payment-service", 0), 60));
    story.hear(cleared(slow("order-service", 5), 60));
    story.end(first, "RECOVERED", 60);
    story.hear(slow("order-service", 120));
    story.settle();
    story.ask(story.command("reopen", first, ""));
    let holders = story.state.groups.values();
    let id = slow("order-service", 120).anomaly_id;
    assert_eq!(holders.filter(|group| group.holds(id)).count(), 1);
}

#[test]
fn what_broke_out_again_under_maintenance_is_not_taken_back_by_reopening() {
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    story.hear(slow("order-service", 5));
    story.settle();
    let first = story.incident(0);
    story.hear(cleared(slow("payment-service", 0), 60));
    story.hear(cleared(slow("order-service", 5), 60));
    story.end(first, "RECOVERED", 60);
    let mut command = story.command("maintain", Uuid::nil(), "order-service");
    command.until_ms = Some(story.wall_ms + 60_000);
    story.ask(command);
    story.hear(slow("order-service", 120));
    story.ask(story.command("reopen", first, ""));
    story.hear(slow("payment-service", 130));
    story.pass(100_000);
    let id = slow("order-service", 120).anomaly_id;
    let groups = story.state.groups.values();
    let members = groups.flat_map(|group| &group.anomalies);
    assert_eq!(members.filter(|one| one.anomaly_id == id).count(), 1);
}

#[test]
fn what_joined_too_late_to_be_watched_becomes_an_incident_of_its_own() {
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    story.settle();
    let first = story.incident(0);
    story.hear(cleared(slow("payment-service", 0), 30));
    // It joins, but the end is already on its way.
    story.hear(slow("order-service", 31));
    story.end(first, "RECOVERED", 30);
    story.settle();
    assert_eq!(story.opened.len(), 2);
    assert_eq!(story.opened[1].header.affected_services, ["order-service"]);
    assert_ne!(story.opened[1].header.incident_id, first);
}

#[test]
fn what_a_person_closed_stays_closed_until_it_breaks_out_again_or_gets_worse() {
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    story.settle();
    story.end(story.incident(0), "CLOSED_BY_OPERATOR", 60);
    story.hear(Anomaly {
        transition: Transition::Worsened,
        detected_at_ms: T0 + 60_000,
        ..slow("payment-service", 0)
    });
    story.settle();
    assert!(story.state.groups.is_empty());
    story.hear(slow("payment-service", 200));
    story.settle();
    assert_eq!(story.moves, [story.incident(0)]);
}

#[test]
fn an_identical_fault_reopens_three_times_and_then_somebody_is_told_anew() {
    let mut story = Story::new();
    // Half an hour apart: beyond the window of relapses, too slow to be
    // restless.
    let told: Vec<Uuid> = (0..6)
        .map(|round| {
            story.live_through(
                slow("payment-service", 0),
                round * 1_800,
                round * 1_800 + 60,
            )
        })
        .collect();
    let (first, second) = (story.incident(0), story.incident(1));
    assert_eq!(told, [first, first, first, first, second, second]);
    assert_eq!(story.opened.len(), 2);
}

/// Outbreaks five minutes apart, each a minute long.
fn restless(rounds: i64) -> Story {
    let mut story = Story::new();
    for round in 0..rounds {
        story.live_through(slow("payment-service", 0), round * 300, round * 300 + 60);
    }
    story
}

#[test]
fn what_comes_and_goes_is_announced_once_as_flapping_and_then_kept_quiet() {
    let mut story = restless(4);
    assert_eq!((story.opened.len(), story.moves.len()), (1, 3));
    let last = story
        .updated
        .iter()
        .rfind(|one| one.change == IncidentChange::Reopened);
    let signals = &last.expect("it was reopened").correlation_signals;
    assert!(
        signals
            .iter()
            .any(|signal| signal.signal_type == "FLAPPING"),
        "{signals:?}"
    );
    let told = story.updated.len();
    for round in 4..8 {
        let outbreak = again(slow("payment-service", 0), round * 300);
        story.hear(outbreak.clone());
        story.settle();
        story.hear(cleared(outbreak, round * 300 + 60));
        story.settle();
    }
    assert_eq!((story.opened.len(), story.updated.len()), (1, told));
    assert!(story.state.groups.is_empty());
    let quiet = story
        .audits
        .iter()
        .filter(|line| line.event_type == "FLAPPING_KEPT_QUIET");
    assert_eq!(quiet.count(), 4);
    // Three hours later it is calm, and an outbreak is a fault like any other.
    story.hear(again(slow("payment-service", 0), 4 * 3_600));
    story.settle();
    assert_eq!(story.opened.len(), 2);
}

#[test]
fn a_quiet_outbreak_that_lasts_gets_graver_or_shows_a_resource_is_announced() {
    let outbreak = || again(slow("payment-service", 0), 1_200);
    let mut lasts = restless(4);
    lasts.hear(outbreak());
    lasts.pass(200_000);
    assert_eq!(lasts.moves.len(), 3);
    lasts.pass(110_000);
    assert_eq!((lasts.opened.len(), lasts.moves.len()), (1, 4));
    let mut graver = restless(4);
    graver.hear(Anomaly {
        severity: Severity::Critical,
        ..outbreak()
    });
    graver.settle();
    assert_eq!(graver.moves.len(), 4);
    let mut other = restless(4);
    other.hear(outbreak());
    other.settle();
    let metric = "service_db_connections";
    let kind = AnomalyType::DbConnectionExhaustion;
    other.hear(anomaly("payment-service", kind, metric, 1_210));
    other.settle();
    assert_eq!(other.opened.len(), 2);
}

#[test]
fn a_cleared_anomaly_keeps_the_reading_that_it_was_opened_on() {
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    story.settle();
    story.hear(Anomaly {
        observed_value: 381.0,
        deviation_sigma: 0.0,
        ..cleared(slow("payment-service", 0), 30)
    });
    story.settle();
    let member = &story.rows[&story.incident(0)].2["grouped_anomalies"][0];
    assert_eq!(member["observed_value"], 900.0);
    assert_eq!(member["cleared_at_ms"], T0 + 30_000);
}

#[test]
fn an_anomaly_that_cleared_before_anybody_heard_of_it_opens_nothing() {
    let mut story = Story::new();
    story.hear(cleared(slow("payment-service", 0), 0));
    story.settle();
    assert!(story.opened.is_empty());
}
