//! What people ask for, and what is refused.

use crate::story::{Story, again, anomaly, cleared, failing, slow};
use midwatch_events::OperatorCommand;
use midwatch_events::anomaly::{Anomaly, AnomalyType, Severity, Transition};
use midwatch_events::incident::{IncidentChange, IncidentUpdated};
use uuid::Uuid;

const MINUTE_MS: i64 = 60_000;

fn open() -> Story {
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    story.settle();
    story
}

fn changes(story: &Story) -> Vec<IncidentChange> {
    story.updated.iter().map(|one| one.change).collect()
}

#[test]
fn an_acknowledgement_is_told_once() {
    let mut story = open();
    let command = story.command("acknowledge", story.incident(0), "");
    story.ask(command.clone());
    assert_eq!(changes(&story), [IncidentChange::Acknowledged]);
    assert!(story.updated[0].reason.contains("dana acknowledged it"));
    story.ask(command);
    assert_eq!(changes(&story).len(), 1);
    assert_eq!(story.refusals().len(), 1);
}

#[test]
fn an_acknowledgement_by_a_link_says_where_the_link_lay() {
    for (credential_id, words) in [
        (
            "mailbox:ops@example.com",
            "whoever reads ops@example.com acknowledged it",
        ),
        (
            "channel:ops@example.com",
            "somebody in ops@example.com acknowledged it",
        ),
        ("link:ops@example.com", "ops@example.com acknowledged it"),
    ] {
        let mut story = open();
        let mut command = story.command("acknowledge", story.incident(0), "");
        command.by = "ops@example.com".to_owned();
        command.credential_id = credential_id.to_owned();
        command.details.channel = "link".to_owned();
        command.details.origin = "198.51.100.7".to_owned();
        story.ask(command);
        assert_eq!(story.updated[0].reason, words);
        let line = &story.audits[story.audits.len() - 2];
        assert_eq!(line.event_type, "INCIDENT_ACKNOWLEDGED");
        let from = (&line.payload["channel"], &line.payload["origin"]);
        assert_eq!(from, (&"link".into(), &"198.51.100.7".into()));
    }
}

/// An incident that is snoozed for half an hour.
fn snoozed() -> Story {
    let mut story = open();
    let command = story.command("snooze", story.incident(0), "");
    story.ask(OperatorCommand {
        until_ms: Some(story.wall_ms + 30 * MINUTE_MS),
        ..command
    });
    story
}

/// What log lines show, which has no readings.
fn complaining(service: &str, at_s: i64) -> Anomaly {
    anomaly(
        service,
        AnomalyType::ErrorRateSpike,
        "log:error_burst",
        at_s,
    )
}

#[test]
fn whoever_ends_a_snoozed_incident_is_told_of_a_series_that_joins() {
    let mut story = snoozed();
    story.hear(slow("order-service", 20));
    // A second one comes while the first is being told.
    story.hear(failing("order-service", 21));
    story.settle();
    assert_eq!(
        changes(&story),
        [IncidentChange::Snoozed, IncidentChange::Grown]
    );
    // People are still left alone, and the update says so.
    let grown = &story.updated[1];
    assert_eq!(grown.snoozed_until_ms, story.updated[0].snoozed_until_ms);
    let active = |update: &IncidentUpdated| -> Vec<(String, String)> {
        let members = update.grouped_anomalies.iter();
        let active = members.filter(|one| one.cleared_at_ms.is_none());
        active
            .map(|one| (one.service.clone(), one.trigger_metric.clone()))
            .collect()
    };
    let named = |service: &str, metric: &str| (service.to_owned(), metric.to_owned());
    let joined = [
        named("order-service", "service_latency_p99_ms"),
        named("order-service", "service_error_rate_percent"),
    ];
    let first = named("payment-service", "service_latency_p99_ms");
    assert_eq!(active(grown), [vec![first], joined.to_vec()].concat());
    // The first one is normal again: the end waits for those that were told.
    story.hear(cleared(slow("payment-service", 0), 60));
    story.pass(MINUTE_MS);
    assert_eq!(story.opened.len(), 1);
    // One more series, and the snooze ends: all of it was told.
    story.hear(failing("api-gateway", 90));
    story.settle();
    let last = story.updated.last().expect("it has grown");
    assert_eq!(last.change, IncidentChange::Grown);
    let more = named("api-gateway", "service_error_rate_percent");
    assert_eq!(active(last), [joined.to_vec(), vec![more]].concat());
    let told = story.updated.len();
    story.pass(31 * MINUTE_MS);
    assert_eq!(story.updated.len(), told);
    let line = story.audits.last().expect("the end of the snooze");
    assert_eq!(line.event_type, "INCIDENT_SNOOZE_ENDED");
}

#[test]
fn a_snoozed_incident_tells_its_growth_later_and_a_rise_of_its_severity_at_once() {
    let snoozed = || {
        let mut story = snoozed();
        story.hear(complaining("order-service", 20));
        story.pass(10 * MINUTE_MS);
        assert_eq!(changes(&story), [IncidentChange::Snoozed]);
        story
    };
    let until_ms = snoozed().updated[0].snoozed_until_ms;
    assert!(until_ms.is_some(), "whoever escalates waits for that");
    let mut later = snoozed();
    later.pass(21 * MINUTE_MS);
    assert_eq!(
        changes(&later),
        [IncidentChange::Snoozed, IncidentChange::Grown]
    );
    assert_eq!(later.updated[1].snoozed_until_ms, None);
    let ends = |story: &Story| -> Vec<String> {
        let lines = story.audits.iter();
        let ends = lines.filter(|line| line.event_type == "INCIDENT_SNOOZE_ENDED");
        ends.map(|line| line.summary.clone()).collect()
    };
    let nobody = "nobody has acknowledged it.";
    assert_eq!(ends(&later), [format!("The snooze is over; {nobody}")]);
    let mut graver = snoozed();
    graver.hear(Anomaly {
        transition: Transition::Worsened,
        severity: Severity::Critical,
        ..complaining("order-service", 20)
    });
    graver.settle();
    assert_eq!(
        changes(&graver),
        [IncidentChange::Snoozed, IncidentChange::Severity]
    );
    let why = "the severity rose";
    assert_eq!(
        ends(&graver),
        [format!("The snooze is over: {why}; {nobody}")]
    );
}

#[test]
fn an_acknowledgement_leaves_the_snooze_and_its_end_is_told_without_growth() {
    let mut story = open();
    let incident = story.incident(0);
    let command = story.command("snooze", incident, "");
    let until_ms = story.wall_ms + 30 * MINUTE_MS;
    story.ask(OperatorCommand {
        until_ms: Some(until_ms),
        ..command
    });
    story.ask(story.command("acknowledge", incident, ""));
    assert_eq!(story.updated[1].snoozed_until_ms, Some(until_ms));
    assert_eq!(story.rows[&incident].2["snoozed_until_ms"], until_ms);
    story.pass(31 * MINUTE_MS);
    assert_eq!(changes(&story).len(), 2);
    let line = story.audits.last().expect("the end of the snooze");
    assert_eq!(
        line.summary,
        "The snooze is over; dana has acknowledged it."
    );
    assert!(story.rows[&incident].2["snoozed_until_ms"].is_null());
}

#[test]
fn two_incidents_are_merged_and_taken_apart_by_hand() {
    let mut story = open();
    story.hear(slow("batch-reports", 5));
    story.settle();
    let (host, gone) = (story.incident(0), story.incident(1));
    story.ask(story.command("merge", host, &gone.to_string()));
    assert_eq!(story.state.groups.len(), 1);
    let told: Vec<(Uuid, usize, Vec<Uuid>)> = story
        .updated
        .iter()
        .map(|one| {
            (
                one.header.incident_id,
                one.grouped_anomalies.len(),
                one.related.clone(),
            )
        })
        .collect();
    assert_eq!(told, [(gone, 0, vec![host]), (host, 2, vec![gone])]);
    assert_eq!(changes(&story), [IncidentChange::Merged; 2]);

    story.ask(story.command("split", host, "batch-reports"));
    let part = story.opened[2].header.clone();
    assert_eq!(part.affected_services, ["batch-reports"]);
    let split = story.updated.last().expect("the rest is told");
    assert_eq!(
        (split.change, &split.related),
        (IncidentChange::Split, &vec![part.incident_id])
    );
    assert_eq!(split.grouped_anomalies.len(), 1);
    // They stay apart, whatever connects them later.
    story.around.topology.add_call(
        "batch-reports",
        "payment-service",
        midwatch_events::topology::EdgeSource::Spans,
    );
    story.hear(failing("batch-reports", 30));
    story.settle();
    assert_eq!(story.state.groups.len(), 2);
}

#[test]
fn a_part_is_named_by_its_anomalies_and_something_must_be_left() {
    let mut story = open();
    story.hear(slow("order-service", 5));
    story.hear(failing("order-service", 6));
    story.settle();
    let incident = story.incident(0);
    let id = failing("order-service", 6).anomaly_id.to_string();
    story.ask(story.command("split", incident, &format!("{id}, {}", Uuid::nil())));
    story.ask(story.command("split", incident, "user-service"));
    assert_eq!(story.refusals().len(), 2);
    assert!(story.refusals()[0].contains("1 of the anomalies named"));
    story.ask(story.command("split", incident, &id));
    assert_eq!(story.opened.len(), 2);
    story.ask(story.command("split", story.incident(1), &id));
    assert!(story.refusals()[2].contains("nothing would be left"));
}

#[test]
fn an_incident_that_is_over_is_reopened_by_hand() {
    let mut story = Story::new();
    let incident = story.live_through(slow("payment-service", 0), 0, 60);
    story.ask(story.command("reopen", incident, ""));
    assert_eq!(changes(&story).last(), Some(&IncidentChange::Reopened));
    assert_eq!(story.moves, [incident]);
    story.ask(story.command("reopen", incident, ""));
    assert!(story.refusals()[0].contains("it is not over"));
}

#[test]
fn what_cannot_be_obeyed_is_refused_with_its_reason() {
    let mut story = open();
    let incident = story.incident(0);
    let late = OperatorCommand {
        expires_at_ms: story.wall_ms - 2_000,
        ..story.command("acknowledge", incident, "")
    };
    let cases = [
        (late, "2 s after it had expired"),
        (
            story.command("acknowledge", Uuid::from_u128(7), ""),
            "no open incident",
        ),
        (
            story.command("reopen", Uuid::from_u128(7), ""),
            "unknown here",
        ),
        (story.command("merge", incident, "INC-1"), "must be the id"),
        (
            story.command("merge", incident, &incident.to_string()),
            "into itself",
        ),
        (
            story.command("snooze", incident, ""),
            "`until_ms` is missing",
        ),
        (
            story.command("maintain", Uuid::nil(), "*"),
            "`until_ms` is missing",
        ),
    ];
    for (command, why) in cases {
        let before = story.updated.len();
        story.ask(command);
        let told = *story.refusals().last().expect("a refusal");
        assert!(told.contains(why), "{told}");
        assert_eq!(story.updated.len(), before);
    }
    // These are for others.
    for name in ["approve", "reject", "close"] {
        assert!(story.ask(story.command(name, incident, "")).is_empty());
    }
}

fn maintain(story: &mut Story, service: &str, minutes: i64) {
    let command = story.command("maintain", Uuid::nil(), service);
    story.ask(OperatorCommand {
        until_ms: Some(story.wall_ms + minutes * MINUTE_MS),
        ..command
    });
}

#[test]
fn what_begins_and_ends_during_maintenance_opens_nothing() {
    for service in ["payment-service", "*"] {
        let mut story = Story::new();
        maintain(&mut story, service, 30);
        story.hear(slow("payment-service", 0));
        story.settle();
        assert!(story.opened.is_empty(), "{service}");
        let line = story.audits.last().expect("it is written down");
        assert_eq!(line.event_type, "ANOMALY_IN_MAINTENANCE");
        story.hear(cleared(slow("payment-service", 0), 60));
        story.pass(31 * MINUTE_MS);
        assert!(
            story.opened.is_empty() && story.state.held.is_empty(),
            "{service}"
        );
        assert!(story.state.windows.is_empty());
    }
}

#[test]
fn what_outlasts_its_maintenance_opens_then_and_other_services_at_once() {
    let mut story = Story::new();
    maintain(&mut story, "payment-service", 30);
    story.hear(slow("payment-service", 0));
    story.hear(slow("user-service", 5));
    story.settle();
    assert_eq!(story.opened.len(), 1);
    assert!(
        story.opened[0].left_out[0]
            .reason
            .contains("under maintenance")
    );
    story.pass(31 * MINUTE_MS);
    assert_eq!(story.opened.len(), 2);
    assert_eq!(story.opened[1].header.primary_service(), "payment-service");
}

#[test]
fn maintenance_can_be_ended_early_and_does_not_touch_open_incidents() {
    let mut story = open();
    maintain(&mut story, "*", 30);
    story.hear(Anomaly {
        transition: Transition::Worsened,
        severity: Severity::Critical,
        ..slow("payment-service", 0)
    });
    story.settle();
    assert_eq!(changes(&story), [IncidentChange::Severity]);
    story.hear(again(slow("user-service", 0), 60));
    story.settle();
    assert_eq!(story.opened.len(), 1);
    maintain(&mut story, "*", 0);
    story.settle();
    assert_eq!(story.opened.len(), 2);
    maintain(&mut story, "*", 0);
    assert!(story.refusals()[0].contains("no maintenance"));
}
