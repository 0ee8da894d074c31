//! What ends an incident, what does not, and what the end waits for.

use super::story::{Story, T0, envelope, errors, log_rule, member, reading};
use midwatch_events::anomaly::{AnomalyType, Transition};
use midwatch_events::response::ActionDetails;
use midwatch_events::{Event, OperatorCommand, ids};
use midwatch_runtime::{Effect, Input};
use serde_json::json;

#[test]
fn a_look_is_no_deed_that_the_end_waits_for() {
    let look: ActionDetails = serde_json::from_value(json!({"succeeded": true, "typed": {
        "kind": "tail_logs", "service": "payment-service", "arguments": {}, "risk": "read-only",
        "executor": "kubernetes", "pre_checks": [], "blast_radius": "nothing",
        "effect": {"service": "payment-service", "metric": "m", "direction": "below",
            "baseline_value": 0.0, "within_ms": 0}}}))
    .expect("details");
    let mut story = Story::default();
    story.open(&[errors()]);
    story.action_with("intent", "", 10, look.clone());
    story.action_with("outcome", "looked; nothing was changed", 12, look);
    story.transition(&errors(), Transition::Cleared, 60);
    assert_eq!(story.resolved[0].resolution_method, "RECOVERED");
}

#[test]
fn only_a_verified_step_before_the_recovery_remedies() {
    type Told<'a> = (&'a str, &'a str, i64);
    let table: [(&[Told<'_>], &[Told<'_>], &str); 8] = [
        (&[], &[], "RECOVERED"),
        (&[("approved", "", 10)], &[], "RECOVERED"),
        (
            &[("intent", "", 10), ("verified", "improved: 380 ms", 50)],
            &[],
            "REMEDIATED",
        ),
        (
            &[("outcome", "done", 10), ("verified", "unchanged", 50)],
            &[],
            "RECOVERED",
        ),
        (
            &[
                ("outcome", "done", 10),
                ("verified", "improved", 50),
                ("undone", "", 55),
            ],
            &[],
            "RECOVERED",
        ),
        // Verified by the very readings that end the incident.
        (
            &[("outcome", "done", 10)],
            &[("verified", "improved", 70)],
            "REMEDIATED",
        ),
        // Begun after it was over.
        (
            &[("outcome", "done", 65), ("verified", "improved", 70)],
            &[],
            "RECOVERED",
        ),
        // Never verified: not waited for without end.
        (&[("outcome", "done", 10)], &[], "RECOVERED"),
    ];
    for (before, after, method) in table {
        let mut story = Story::default();
        story.open(&[errors()]);
        for (phase, result, at_s) in before {
            story.action(phase, result, *at_s);
        }
        story.transition(&errors(), Transition::Cleared, 60);
        for (phase, result, at_s) in after {
            assert!(story.resolved.is_empty(), "it waits for the verification");
            story.action(phase, result, *at_s);
        }
        if story.resolved.is_empty() {
            let waiting = story.timers["verification"].1["waiting_for"].to_string();
            assert!(waiting.contains("the verification of S1"), "{waiting}");
            story.ring("verification");
        }
        assert_eq!(
            story.resolved[0].resolution_method, method,
            "{before:?} {after:?}"
        );
    }
}

#[test]
fn a_verification_is_waited_for_as_long_as_its_effect_may_take() {
    let typed = |within_ms: i64| {
        let typed = serde_json::json!({"kind": "scale", "service": "s", "arguments": {},
            "risk": "low-risk", "executor": "kubernetes", "pre_checks": [], "blast_radius": "",
            "effect": {"service": "s", "metric": "m", "direction": "below",
                "baseline_value": 1.0, "within_ms": within_ms}});
        Some(Box::new(serde_json::from_value(typed).expect("an action")))
    };
    // Seconds that the effect may take, that the wall clock is behind event
    // time, and that the end waits.
    for (within_s, behind_s, waits_s) in [
        (180, 0, 180),
        (10, 0, 60),
        (7_200, 0, 600),
        // A second of simulated time is none of the wall clock's.
        (180, 3_600, 60),
    ] {
        let mut story = Story::default();
        story.open(&[errors()]);
        let header = &mut story.state.case.as_mut().expect("it is open").header;
        header.detected_wall_ms = header.detected_at_ms - behind_s * 1_000;
        let details = ActionDetails {
            typed: typed(within_s * 1_000),
            ..ActionDetails::default()
        };
        story.action_with("intent", "", 10, details);
        story.transition(&errors(), Transition::Cleared, 60);
        assert!(story.resolved.is_empty());
        let begun_ms = T0 + story.wall_s * 1_000;
        let due_ms = story.timers["verification"].0;
        assert_eq!(due_ms - begun_ms, waits_s * 1_000, "{within_s} {behind_s}");
    }
}

#[test]
fn what_became_of_an_undo_changes_the_step_only_where_it_was_taken_back() {
    let undo = |succeeded: Option<bool>| ActionDetails {
        idempotency_key: "key of the undo".to_owned(),
        is_undo: true,
        succeeded,
        ..ActionDetails::default()
    };
    for (phase, succeeded) in [
        ("outcome", Some(false)),
        ("outcome", None),
        ("refused", None),
    ] {
        // The step was carried out, and still is.
        let mut story = Story::default();
        story.open(&[errors()]);
        story.action("outcome", "done", 10);
        story.action_with("intent", "undo", 20, undo(None));
        story.action_with(phase, "", 22, undo(succeeded));
        story.transition(&errors(), Transition::Cleared, 60);
        assert!(story.resolved.is_empty(), "{phase}: it waits");
        let waiting = story.timers["verification"].1["waiting_for"].to_string();
        assert!(waiting.contains("the verification of S1"), "{waiting}");
        // An undo alone is no step whose verification could come.
        let mut story = Story::default();
        story.open(&[errors()]);
        story.action_with("intent", "undo", 20, undo(None));
        story.action_with(phase, "", 22, undo(succeeded));
        story.transition(&errors(), Transition::Cleared, 60);
        assert_eq!(story.resolved[0].resolution_method, "RECOVERED", "{phase}");
    }
    let mut story = Story::default();
    story.open(&[errors()]);
    story.action("outcome", "done", 10);
    story.action_with("undone", "undone", 22, undo(Some(true)));
    story.transition(&errors(), Transition::Cleared, 60);
    assert_eq!(story.resolved[0].resolution_method, "RECOVERED");
}

#[test]
fn what_changed_nothing_is_not_waited_for() {
    let keyed = || ActionDetails {
        idempotency_key: "key".to_owned(),
        ..ActionDetails::default()
    };
    let rehearsed = ActionDetails {
        dry_run: true,
        ..keyed()
    };
    let failed = ActionDetails {
        succeeded: Some(false),
        ..keyed()
    };
    for (intent, phase, end) in [
        (rehearsed.clone(), "outcome", rehearsed),
        (keyed(), "outcome", failed),
        (keyed(), "refused", keyed()),
    ] {
        let mut story = Story::default();
        story.open(&[errors()]);
        story.action_with("intent", "", 10, intent);
        story.action_with(phase, "", 12, end);
        story.transition(&errors(), Transition::Cleared, 60);
        assert_eq!(story.resolved[0].resolution_method, "RECOVERED", "{phase}");
    }
    // A second approval that is refused does not end the wait for the first.
    let mut story = Story::default();
    story.open(&[errors()]);
    story.action_with("intent", "", 10, keyed());
    story.action("refused", "refused", 12);
    story.transition(&errors(), Transition::Cleared, 60);
    assert!(story.resolved.is_empty());
    story.action_with("verified", "improved", 70, keyed());
    assert_eq!(story.resolved[0].resolution_method, "REMEDIATED");
}

#[test]
fn a_person_closes_an_incident_and_the_times_are_told_in_milliseconds() {
    let mut story = Story::default();
    let mut first = errors();
    first.onset_ms = T0 - 45_000;
    story.open(&[first]);
    story.command("acknowledge", 30);
    story.command("acknowledge", 90);
    story.command("close", 120);
    let end = &story.resolved[0];
    assert_eq!(end.resolution_method, "CLOSED_BY_OPERATOR");
    assert_eq!(
        (end.mttd_ms, end.mtta_ms, end.mttr_ms),
        (Some(45_000), Some(30_000), 120_000)
    );
    let row = story.resolution.clone().expect("the row has it");
    assert_eq!(
        (&row["closed_by"], &row["close_reason"], &row["mtta_ms"]),
        (&json!("maria"), &json!("a drill"), &json!(30_000))
    );
    assert_eq!(
        row["not_normal"],
        json!(["errors on user-service (not normal)"])
    );
    let line = story.said("INCIDENT_RESOLVED")[0];
    assert!(
        line.summary.ends_with("maria closed it: a drill."),
        "{}",
        line.summary
    );
    // Once is enough.
    story.command("close", 130);
    let refused = story.said("COMMAND_REFUSED")[0];
    assert!(refused.summary.contains("over already"));
    assert_eq!(story.resolved.len(), 1);
}

#[test]
fn commands_that_are_late_or_about_nothing_are_refused_aloud() {
    let mut story = Story::default();
    story.open(&[errors()]);
    story.wall_s = 200;
    story.command("close", 100);
    assert!(story.resolved.is_empty());
    assert!(
        story.said("COMMAND_REFUSED")[0]
            .summary
            .contains("after its time was up")
    );
    // What others obey is none of ours.
    for other in ["approve", "merge", "snooze", "dance"] {
        assert_eq!(story.command(other, 190), Vec::new(), "{other}");
    }
    let mut nobody = Story::default();
    let effects = nobody.command("close", 0);
    assert!(matches!(effects.as_slice(), [Effect::Park { .. }]));
    let command = OperatorCommand {
        incident_id: ids::derive(&["unknown"]),
        command: "close".to_owned(),
        target: String::new(),
        by: "maria".to_owned(),
        credential_id: String::new(),
        reason: String::new(),
        issued_at_ms: T0,
        expires_at_ms: T0 + 60_000,
        environment: None,
        until_ms: None,
        details: midwatch_events::response::CommandDetails::default(),
    };
    let envelope = envelope(Event::Command(command));
    nobody.decide(Input::Expired { envelope });
    assert!(
        nobody.said("COMMAND_REFUSED")[0]
            .summary
            .contains("no such incident")
    );
}

#[test]
fn a_silence_is_said_aloud_and_named_by_the_timer() {
    let mut story = Story::default();
    let other = member("user-service", AnomalyType::LatencySpike, "latency", 0, 9.0);
    story.open(&[errors(), other.clone()]);
    story.transition(&other, Transition::Cleared, 50);
    story.transition_with(&errors(), Transition::Missing, 60, vec![reading(0)]);
    let line = story.said("DATA_MISSING")[0];
    assert!(
        line.summary.contains("No data is not recovery"),
        "{}",
        line.summary
    );
    story.ring("watch");
    let line = story.said("WATCH_CONTINUES")[0];
    assert_eq!(
        line.payload["waiting_for"],
        json!(["errors on user-service (no data)"])
    );
    // Detection gives the series up: nothing was read, so nothing is normal.
    story.transition_with(&errors(), Transition::Cleared, 4_000, vec![reading(0)]);
    assert!(story.resolved.is_empty());
    // It comes back and reads normal.
    story.transition(&errors(), Transition::Cleared, 5_000);
    assert_eq!(story.resolved.len(), 1);
}

#[test]
fn an_instance_that_is_gone_holds_nothing_open_unless_it_began_it() {
    let mut story = Story::default();
    let pod = member("user-service", AnomalyType::Unknown, "restarts", 0, 9.0);
    story.open(&[errors(), pod.clone()]);
    story.transition(&errors(), Transition::Cleared, 60);
    let waits = story.said("RESOLUTION_WAITS")[0];
    assert!(
        waits
            .summary
            .ends_with("the end waits for restarts on user-service (not normal)."),
        "{}",
        waits.summary
    );
    story.transition_with(&pod, Transition::Cleared, 90_000, vec![reading(0)]);
    assert_eq!(story.resolved.len(), 1);
    assert_eq!(story.resolved[0].resolved_at_ms, T0 + 60_000);
}

#[test]
fn a_new_usual_level_ends_an_incident_and_is_not_called_a_return() {
    let mut story = Story::default();
    story.open(&[errors()]);
    story.transition_with(&errors(), Transition::Cleared, 7_200, vec![reading(7_200)]);
    assert_eq!(story.resolved.len(), 1);
    let line = story.said("RECOVERY_OBSERVED")[0];
    assert!(
        line.summary.contains("did not come back"),
        "{}",
        line.summary
    );
}

#[test]
fn a_signal_that_still_gets_worse_holds_the_end_for_a_while() {
    let story_of = |worse_s: i64| {
        let mut story = Story::default();
        story.open(&[errors(), log_rule()]);
        story.transition(&log_rule(), Transition::Worsened, worse_s);
        story.transition(&errors(), Transition::Cleared, 60);
        story
    };
    // Before the first normal reading it is part of the trouble that is over.
    assert_eq!(story_of(30).resolved.len(), 1);
    let mut story = story_of(55);
    assert!(story.resolved.is_empty());
    assert_eq!(
        story.timers["signals"].1["waiting_for"],
        json!(["log:timeout on user-service (still worse)"])
    );
    story.transition(&log_rule(), Transition::Cleared, 200);
    assert_eq!(story.resolved.len(), 1);
    // Or its time is up: lines are no readings.
    let mut story = story_of(55);
    story.transition(&log_rule(), Transition::Worsened, 100);
    story.ring("signals");
    assert_eq!(story.resolved.len(), 1);
    assert_eq!(story.resolved[0].resolved_at_ms, T0 + 60_000);
}
