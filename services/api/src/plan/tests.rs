//! How far a step is.

use super::told::happened;
use super::*;
use midwatch_events::response::Priority;
use serde_json::{Value, json};

fn step(typed: bool) -> ActionStep {
    let typed = json!({"kind": "drain", "service": "s", "arguments": {"node": "n1"},
        "risk": "destructive", "executor": "kubernetes", "pre_checks": [], "blast_radius": "",
        "effect": {"service": "s", "metric": "m", "direction": "below", "baseline_value": 1.0,
            "within_ms": 1}})
    .as_object()
    .filter(|_| typed)
    .map(|typed| serde_json::from_value(json!(typed)).expect("an action"));
    ActionStep {
        step_id: "S1".to_owned(),
        priority: Priority::Immediate,
        action: "Drain".to_owned(),
        command: "drain".to_owned(),
        rationale: String::new(),
        risk_level: "high".to_owned(),
        owner: String::new(),
        expected_outcome: String::new(),
        rollback: String::new(),
        typed,
    }
}

fn plan(id: u128) -> RemediationPlan {
    RemediationPlan {
        plan_hash: if id == 7 {
            "h".to_owned()
        } else {
            format!("h{id}")
        },
        ..serde_json::from_value(
            json!({"incident_id": Uuid::nil(), "short_id": "", "environment": "",
            "severity": "LOW", "anomaly_type": "UNKNOWN", "affected_services": [],
            "detected_at_ms": 0, "detected_wall_ms": 0, "plan_id": Uuid::from_u128(id),
            "planned_at_ms": id, "root_cause": "", "confidence": 0.0, "action_steps": [],
            "escalation_path": [], "runbook_references": [],
            "estimated_resolution_minutes": [0, 0], "estimate_basis": "", "rca_revision": 1}),
        )
        .expect("a plan")
    }
}

fn lines(told: &[(&str, Value)]) -> Vec<AgentEvent> {
    let told = told.iter().enumerate();
    told.map(|(index, (kind, payload))| AgentEvent {
        id: index as i64,
        event_id: Uuid::from_u128(index as u128),
        incident_id: None,
        agent: "remediation".to_owned(),
        event_type: (*kind).to_owned(),
        at_ms: index as i64,
        wall_ms: index as i64,
        summary: "words".to_owned(),
        payload: payload.clone(),
    })
    .collect()
}

fn told(told: &[(&str, Value)]) -> StepView {
    step_view(
        &step(true),
        happened(&plan(7), "S1", &lines(told)),
        Some(NOW),
    )
}

/// Wall clock of these tests.
const NOW: i64 = 1_000_000;

fn asked(kind: &'static str, more: Value) -> (&'static str, Value) {
    let mut payload = json!({"command": "approve", "target": "S1", "plan_hash": "h", "rule": ""});
    payload
        .as_object_mut()
        .expect("an object")
        .extend(more.as_object().expect("an object").clone());
    (kind, payload)
}

fn ran(kind: &'static str, more: Value) -> (&'static str, Value) {
    let (_, mut payload) = asked(kind, more);
    payload["command"] = json!("");
    payload["plan_id"] = json!(Uuid::from_u128(7));
    payload["step_id"] = json!("S1");
    (kind, payload)
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of how far a step is")]
fn a_step_is_as_far_as_its_last_telling_line() {
    let first = asked(
        "ACTION_APPROVED",
        json!({"by": "ana", "approvals_missing": 1}),
    );
    let unsaid = asked("ACTION_APPROVED", json!({"by": "ana"}));
    let second = asked(
        "ACTION_APPROVED",
        json!({"by": "bo", "approvals_missing": 0}),
    );
    let refused = asked("ACTION_REFUSED", json!({"rule": "same_credential"}));
    let rejected = asked(
        "ACTION_REFUSED",
        json!({"command": "reject", "rule": "rejected"}),
    );
    let not_started = ran("ACTION_REFUSED", json!({"rule": "freeze"}));
    let intent = ran("ACTION_STARTED", json!({"dry_run": false}));
    let limit = ran(
        "ACTION_REFUSED",
        json!({"details": {"status": "refused", "rule": "cool_down"}}),
    );
    let done = ran(
        "ACTION_EXECUTED",
        json!({"details": {"status": "done", "output": "ok"}}),
    );
    let dry = ran(
        "ACTION_EXECUTED",
        json!({"dry_run": true, "details": {"status": "done"}}),
    );
    let failed = ran("ACTION_FAILED", json!({"details": {"status": "failed"}}));
    let open = ran("ACTION_FAILED", json!({"details": {"status": "unknown"}}));
    let undoing = ran(
        "ACTION_REFUSED",
        json!({"is_undo": true, "details": {"status": "refused", "rule": "global_stop"}}),
    );
    let undone = ran("ACTION_UNDONE", json!({"is_undo": true}));
    let mut other = second.clone();
    other.1["plan_hash"] = json!("of another plan");
    use StepState as S;
    for (lines, state, can_decide) in [
        (vec![], S::Waiting, true),
        (vec![&other], S::Waiting, true),
        (vec![&refused], S::Refused, true),
        (vec![&first], S::PartlyApproved, true),
        (vec![&unsaid], S::PartlyApproved, true),
        (vec![&first, &refused], S::PartlyApproved, true),
        (vec![&first, &rejected], S::Rejected, true),
        (vec![&first, &second], S::Approved, false),
        (vec![&unsaid, &unsaid], S::Approved, false),
        (vec![&second, &not_started], S::Refused, true),
        (vec![&second, &intent], S::Running, false),
        (vec![&second, &intent, &limit], S::Refused, true),
        (vec![&second, &intent, &done, &refused], S::Done, false),
        (vec![&second, &intent, &done, &undone], S::Undone, false),
        (vec![&second, &intent, &dry], S::DryRun, true),
        (vec![&second, &intent, &dry, &second], S::Approved, false),
        (vec![&second, &intent, &failed], S::Failed, true),
        (
            vec![&second, &intent, &failed, &first],
            S::PartlyApproved,
            true,
        ),
        (vec![&second, &intent, &done, &undoing], S::Done, false),
        (vec![&second, &intent, &open], S::Unknown, false),
    ] {
        let lines: Vec<(&str, Value)> = lines.into_iter().cloned().collect();
        let seen = told(&lines);
        assert_eq!(
            (seen.state, seen.can_decide),
            (state, can_decide),
            "{lines:?}"
        );
    }
}

#[test]
fn a_line_that_cannot_be_read_costs_only_itself() {
    let mut foreign = ran("ACTION_EXECUTED", json!({}));
    foreign.1["plan_id"] = json!(["no id"]);
    let intent = ran("ACTION_STARTED", json!({}));
    let seen = told(&[intent, foreign]);
    assert_eq!((seen.state, seen.happened.len()), (StepState::Running, 1));
}

#[test]
fn a_verification_keeps_its_numbers() {
    let span = json!({"from_ms": 0, "to_ms": 1, "count": 3, "median": 2.0});
    let verification = json!({"service": "s", "metric": "m", "verdict": "worse", "before": span,
        "after": span, "test": "t", "summary": "x"});
    let verified = ran(
        "ACTION_VERIFIED",
        json!({"details": {"verdict": "worse", "summary": "It rose.", "verification": verification}}),
    );
    let seen = told(&[verified]);
    let last = seen.happened.last().expect("a line");
    let verdict = last.verification.as_ref().map(|one| one.verdict.as_str());
    assert_eq!((seen.state, verdict), (StepState::Verified, Some("worse")));
    assert_eq!(last.result, "It rose.");
    assert!(seen.two_people);
    assert_eq!(
        step_view(&step(false), Vec::new(), Some(NOW)).state,
        StepState::ByHand
    );
}

#[test]
fn what_was_carried_out_under_an_earlier_plan_is_told_with_it() {
    let proposal = |id: u128| {
        let mut plan = plan(id);
        let other = ActionStep {
            step_id: "S2".to_owned(),
            ..step(true)
        };
        plan.action_steps = vec![step(true), other];
        let body = json!({"artifact_id": Uuid::from_u128(id), "incident_id": Uuid::nil(),
            "kind": "remediation_proposal", "schema_version": 1, "producer": "remediation",
            "consumer": "communication", "status": "superseded", "inputs": [], "evidence": [],
            "created_at_ms": 0, "replay": false, "body": plan});
        serde_json::from_value::<Artifact>(body).expect("an artifact")
    };
    let of = |id: u128, kind: &'static str, more: Value| {
        let (kind, mut payload) = ran(kind, more);
        payload["plan_id"] = json!(Uuid::from_u128(id));
        (kind, payload)
    };
    let done = json!({"details": {"status": "done", "output": "ok"}});
    let timeline = lines(&[
        of(5, "ACTION_STARTED", json!({})),
        of(5, "ACTION_EXECUTED", done.clone()),
        of(5, "ACTION_VERIFIED", json!({})),
        // Refused, and so never begun.
        of(6, "ACTION_REFUSED", json!({"rule": "freeze"})),
        // The newest plan's own.
        of(7, "ACTION_STARTED", json!({})),
    ]);
    let artifacts = [5, 6, 7].map(proposal);
    let found = earlier::earlier(Uuid::from_u128(7), &artifacts, &timeline);
    let [only] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(
        (only.plan_id, only.planned_at_ms, only.view.state),
        (Uuid::from_u128(5), 5, StepState::Verified)
    );
    assert_eq!((only.view.happened.len(), only.view.can_decide), (3, false));
    let shown = json!(only);
    assert_eq!(
        (&shown["step_id"], &shown["state"]),
        (&json!("S1"), &json!("verified"))
    );
}

/// Lines, and for maria and jan why their approval does not count; empty where
/// it does, or where none was given.
#[test]
#[expect(clippy::too_many_lines, reason = "one table of what counts")]
fn an_approval_that_does_not_count_is_told_with_the_reason_and_may_be_given_again() {
    let by = |who: &str, missing: u32, until_ms: i64| {
        asked(
            "ACTION_APPROVED",
            json!({"by": who, "credential_id": who, "approvals_missing": missing,
                "until_ms": until_ms}),
        )
    };
    let refused = |who: &str, rule: &str| {
        asked(
            "ACTION_REFUSED",
            json!({"by": who, "credential_id": who, "rule": rule}),
        )
    };
    let first = by("maria", 1, NOW + 1);
    let lapsed = by("maria", 1, NOW);
    let second = by("jan", 0, NOW + 1);
    let expired = ran(
        "ACTION_REFUSED",
        json!({"by": "maria, jan", "rule": "expired"}),
    );
    let intent = ran("ACTION_STARTED", json!({}));
    let failed = ran("ACTION_FAILED", json!({"details": {"status": "failed"}}));
    let dry = json!({"dry_run": true, "details": {"status": "done"}});
    let dry = ran("ACTION_EXECUTED", dry);
    let vain = refused("jan", "approver");
    let twice = refused("maria", "same_credential");
    let no = asked(
        "ACTION_REFUSED",
        json!({"command": "reject", "rule": "rejected"}),
    );
    for (lines, state, counted, void) in [
        (vec![&first], "partly_approved", vec!["maria"], vec![]),
        (vec![&lapsed], "waiting", vec![], vec![("maria", "lapsed")]),
        (
            vec![&lapsed, &first],
            "partly_approved",
            vec!["maria"],
            vec![],
        ),
        (vec![&vain], "refused", vec![], vec![("jan", "words")]),
        (vec![&vain, &second], "approved", vec!["jan"], vec![]),
        (
            vec![&first, &twice],
            "partly_approved",
            vec!["maria"],
            vec![],
        ),
        (
            vec![&first, &second, &expired],
            "refused",
            vec![],
            vec![("maria", "words"), ("jan", "words")],
        ),
        (
            vec![&first, &no],
            "rejected",
            vec![],
            vec![("maria", "words")],
        ),
        (
            vec![&second, &intent, &failed],
            "failed",
            vec![],
            vec![("jan", "changed nothing")],
        ),
        (
            vec![&second, &intent, &dry],
            "dry_run",
            vec![],
            vec![("jan", "dry run")],
        ),
    ] {
        let lines: Vec<(&str, Value)> = lines.into_iter().cloned().collect();
        let seen = told(&lines);
        assert_eq!(json!(seen.state), state, "{lines:?}");
        let approvals = seen.approvals.iter();
        let names: Vec<&str> = approvals.map(|one| one.by.as_str()).collect();
        assert_eq!(names, counted, "{lines:?}");
        assert_eq!(seen.void_approvals.len(), void.len(), "{lines:?}");
        for (one, (who, why)) in seen.void_approvals.iter().zip(void) {
            assert_eq!(one.credential_id, who);
            assert!(one.why.contains(why), "{}", one.why);
        }
        // Whoever's approval does not count finds the button again.
        assert_eq!(seen.can_decide, state != "approved", "{lines:?}");
    }
}

#[test]
fn an_approval_of_another_plan_is_told_until_its_author_approves_this_one() {
    let other = asked(
        "ACTION_REFUSED",
        json!({"by": "maria", "rule": "plan_hash", "plan_hash": "of another plan"}),
    );
    let mine = asked(
        "ACTION_APPROVED",
        json!({"by": "maria", "approvals_missing": 0}),
    );
    let of_other = |told: &[(&str, Value)]| told::of_other_plans(&plan(7), &lines(told)).len();
    assert_eq!(of_other(std::slice::from_ref(&other)), 1);
    assert_eq!(of_other(&[other.clone(), mine.clone()]), 0);
    assert_eq!(of_other(&[mine, other]), 1);
}
