use serde_json::{Value, json};

use super::{Approval, Approve, Ask, Fault, Plan, helps};
use crate::once::story::{Entry, Incident};
use midwatch_simulator::actions::{Action, ActionRequest, Remedy};
use midwatch_simulator::scenario::Scenario;

fn plan(happened: &[(&str, Vec<Value>)]) -> Plan {
    let of = |id: &str| {
        let found = happened.iter().find(|(step, _)| *step == id);
        found.map_or_else(Vec::new, |(_, list)| list.clone())
    };
    let typed = |kind: &str, risk: &str, undo: Value| {
        json!({"kind": kind, "service": "payment-service", "risk": risk, "undo": undo,
            "arguments": {"workload": "payment-service"}})
    };
    let plan = json!({
        "plan_hash": "abc",
        "incident_id": "x",
        "steps": [
            {"step_id": "S1", "action": "List the sessions", "happened": []},
            {"step_id": "S2", "action": "Restart the pods", "happened": of("S2"),
             "typed": typed("restart_rollout", "disruptive", Value::Null)},
            {"step_id": "S3", "action": "Add replicas", "happened": of("S3"),
             "typed": typed("scale", "disruptive", json!({"kind": "scale"}))},
        ]
    });
    serde_json::from_value(plan).unwrap()
}

fn fault(end_ms: i64) -> Vec<Fault> {
    vec![Fault {
        scenario: "DB_CONNECTION_EXHAUSTION".to_owned(),
        start_ms: 0,
        end_ms,
        natural_end_ms: 200_000,
    }]
}

fn incident(resolved_ms: i64) -> Incident {
    let entry = |kind: &str, at_ms| Entry {
        event_type: kind.to_owned(),
        at_ms,
        ..Entry::default()
    };
    Incident {
        timeline: vec![
            entry("ANOMALY_DETECTED", 30_000),
            entry("INCIDENT_RESOLVED", resolved_ms),
        ],
        ..Incident::default()
    }
}

fn life(verdict: &str) -> Vec<Value> {
    vec![
        json!({"phase": "approved", "by": "demo", "approvals_missing": 0}),
        json!({"phase": "intent"}),
        json!({"phase": "outcome", "succeeded": true, "result": "done"}),
        json!({"phase": "verified", "verification": {"verdict": verdict, "summary": "It fell."}}),
    ]
}

fn seen(mode: Approve, happened: &[(&str, Vec<Value>)], end_ms: i64) -> Approval {
    let mut approval = Approval::new(mode, "DB_CONNECTION_EXHAUSTION", true);
    approval.see(Some(plan(happened)), fault(end_ms));
    approval
}

fn ask(step_id: &str, operator: usize) -> Ask {
    Ask {
        plan_hash: "abc".to_owned(),
        step_id: step_id.to_owned(),
        operator,
    }
}

#[test]
fn what_helps_is_what_the_simulator_lets_help() {
    let arguments = [
        ("from_replicas", "3"),
        ("replicas", "6"),
        ("flag", "CIRCUIT_BREAKER_FORCE_OPEN"),
        ("from_value", "false"),
        ("value", "true"),
    ];
    let kinds = midwatch_events::action::ActionKind::ALL;
    for scenario in Scenario::ALL {
        let resource = match scenario {
            Scenario::MemoryLeak => "memory",
            _ => "cpu",
        };
        let mut arguments = arguments.to_vec();
        arguments.push(("resource", resource));
        for kind in kinds {
            let owned = arguments
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let request = ActionRequest {
                key: "k".to_owned(),
                kind: kind.as_str().to_owned(),
                service: scenario.home().name().to_owned(),
                arguments: owned.collect(),
            };
            let remedy = Action::read(&request).unwrap().remedy(scenario);
            let does = matches!(remedy, Some(Remedy::Ends { .. } | Remedy::Eases { .. }));
            assert_eq!(
                helps(scenario.name(), kind.as_str()),
                does,
                "{scenario:?} {kind:?}"
            );
        }
    }
}

#[test]
fn the_first_executable_step_is_approved_once_and_by_a_second_where_two_are_needed() {
    let mut approval = seen(Approve::First, &[], 200_000);
    assert_eq!(approval.next(), Some(ask("S2", 0)));
    approval.was_given(ask("S2", 0));
    assert_eq!(approval.next(), None);
    let half = vec![json!({"phase": "approved", "by": "demo", "approvals_missing": 1})];
    approval.see(Some(plan(&[("S2", half)])), Vec::new());
    assert_eq!(approval.next(), Some(ask("S2", 1)));
    approval.was_given(ask("S2", 1));
    assert_eq!(approval.next(), None);
    // Another plan needs another approval, until a step has begun.
    let other = Plan {
        plan_hash: "def".to_owned(),
        ..plan(&[])
    };
    approval.see(Some(other.clone()), Vec::new());
    assert_eq!(
        approval.next().map(|ask| ask.plan_hash),
        Some("def".to_owned())
    );
    let mut begun = seen(Approve::First, &[("S2", life("improved"))], 90_000);
    begun.see(Some(other), Vec::new());
    assert_eq!(begun.next(), None);
    assert!(begun.is_complete());
}

#[test]
fn a_step_that_helps_and_ends_the_fault_early_is_as_it_must_be() {
    let approval = seen(Approve::First, &[("S2", life("improved"))], 90_000);
    let (said, problems) = approval.judge(&incident(130_000));
    assert_eq!(problems, Vec::<String>::new());
    let text = said.join("\n");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("S2 Restart the pods"), "{text}");
    assert!(text.contains("100 s from detection"), "{text}");
    assert!(text.contains("ends after 170 s"), "{text}");
    for line in said {
        assert!(line.chars().count() < 80, "{line}");
    }
}

#[test]
fn each_thing_that_is_missing_is_named() {
    let judged = |happened: &[(&str, Vec<Value>)], end_ms, resolved_ms| {
        let approval = seen(Approve::First, happened, end_ms);
        approval.judge(&incident(resolved_ms)).1.join("; ")
    };
    let refused =
        vec![json!({"phase": "refused", "rule": "freeze_window", "reason": "no changes"})];
    let dry = vec![
        json!({"phase": "approved"}),
        json!({"phase": "outcome", "succeeded": true, "dry_run": true}),
    ];
    let failed = vec![
        json!({"phase": "approved"}),
        json!({"phase": "outcome", "succeeded": false, "output": "no such workload"}),
    ];
    for (happened, end_ms, resolved_ms, words) in [
        (vec![], 200_000, 220_000, "S2 was not approved"),
        (refused, 200_000, 220_000, "freeze_window no changes"),
        (
            vec![json!({"phase": "approved"})],
            200_000,
            220_000,
            "has no outcome",
        ),
        (dry, 200_000, 220_000, "S2 was a dry run"),
        (failed, 200_000, 220_000, "no such workload"),
        (
            life("not_provable"),
            90_000,
            130_000,
            "not_provable instead of improved",
        ),
        (life("improved"), 200_000, 130_000, "did not end the fault"),
        (life("improved"), 90_000, 200_000, "took as long"),
    ] {
        let problems = judged(&[("S2", happened)], end_ms, resolved_ms);
        assert!(problems.contains(words), "{words} in {problems}");
    }
    let none = Approval::new(Approve::First, "DB_CONNECTION_EXHAUSTION", true);
    assert!(none.judge(&incident(1)).1[0].contains("no step that could be executed"));
}

#[test]
fn a_wrong_step_must_be_told_as_such_and_taken_back() {
    let worse = || ("S3", life("worse"));
    let approval = seen(Approve::Wrong, &[worse()], 200_000);
    assert!(!approval.is_complete(), "the undo is still to come");
    let (_, problems) = approval.judge(&incident(230_000));
    assert_eq!(problems, ["what did not help was not taken back"]);
    let mut undone = worse();
    undone
        .1
        .push(json!({"phase": "undone", "result": "undone"}));
    let mut approval = seen(Approve::Wrong, &[undone], 200_000);
    assert!(approval.is_complete());
    assert_eq!(approval.judge(&incident(230_000)).1, Vec::<String>::new());
    let news = approval.news();
    assert!(
        news.iter().any(|line| line.contains("S3: It fell.")),
        "{news:?}"
    );
    assert_eq!(approval.news(), Vec::<String>::new());
    let improved = seen(Approve::Wrong, &[("S3", life("improved"))], 90_000);
    let problems = improved.judge(&incident(130_000)).1.join("; ");
    assert!(problems.contains("improved instead of worse"), "{problems}");
    assert!(problems.contains("ended the fault"), "{problems}");
    // The user's own policy may not let it be taken back.
    let mut own = Approval::new(Approve::Wrong, "DB_CONNECTION_EXHAUSTION", false);
    own.see(Some(plan(&[worse()])), fault(200_000));
    assert!(own.is_complete());
    assert_eq!(own.judge(&incident(230_000)).1, Vec::<String>::new());
}
