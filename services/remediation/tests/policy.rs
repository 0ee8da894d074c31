//! The policy, every class × approver × window × mode against a table written
//! by hand, and what its file may say.

mod fixtures;

use fixtures::{AT, connections, found, live_core, typed_pool_runbook};
use midwatch_events::action::{ActionKind, RiskClass, TypedAction};
use midwatch_remediation::decide::State;
use midwatch_remediation::execution::Execution;
use midwatch_remediation::policy::{Approval, Policy, Ruling, Wish, parse};

/// 2026-11-20, a Friday, 12:00 and 20:00 UTC; and the Saturday after.
const NOON: i64 = 1_795_176_000_000;
const EVENING: i64 = NOON + 8 * 3_600_000;
const SATURDAY: i64 = NOON + 24 * 3_600_000;
/// 2026-12-25T12:00:00Z, a Friday.
const CHRISTMAS: i64 = NOON + 35 * 24 * 3_600_000;

const FILE: &str = r#"{
  "mode": "dry-run",
  "environments": {"shop": "live"},
  "forbidden": ["run_script"],
  "hourly_limit": 4,
  "cool_down_seconds": {"*": 120, "payment-service": 600},
  "freeze": [{"from": "2026-12-24T00:00:00Z", "until": "2026-12-27T00:00:00+01:00",
              "reason": "Christmas", "environments": ["shop", "test"]}],
  "classes": {
    "read-only": {"auto": true, "approvers": ["*"]},
    "low-risk": {"approvals": 1, "approvers": ["*"]},
    "disruptive": {"approvals": 1, "approvers": ["maria", "jan"],
      "hours": {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "18:00", "utc_offset": "+01:00"}},
    "destructive": {"approvals": 2, "approvers": ["maria", "jan"],
      "hours": {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "18:00"}}
  },
  "undo": {"on_worse": true, "on_not_improved": true},
  "approval_minutes": 30
}"#;

/// Columns of the tables below.
const COLUMNS: [(RiskClass, bool); 5] = [
    (RiskClass::ReadOnly, true),
    (RiskClass::ReadOnly, false),
    (RiskClass::LowRisk, true),
    (RiskClass::Disruptive, true),
    (RiskClass::Destructive, true),
];

/// Who approved (name, credential, whether it still counts) and what becomes of
/// it by class: a look, what calls itself one and changes something, low-risk,
/// disruptive, destructive. `run`, how many are missing, or the rule that refuses.
type Row = (
    &'static str,
    &'static [(&'static str, &'static str, bool)],
    [&'static str; 5],
);
const APPROVERS: [Row; 12] = [
    ("nobody", &[], ["run", "1", "1", "1", "2"]),
    (
        "one of the list",
        &[("maria", "c1", true)],
        ["run", "run", "run", "run", "1"],
    ),
    (
        "a stranger",
        &[("eve", "c9", true)],
        ["run", "run", "run", "approver", "approver"],
    ),
    (
        "two of the list",
        &[("maria", "c1", true), ("jan", "c2", true)],
        ["run", "run", "run", "run", "run"],
    ),
    (
        "one of the list and a stranger",
        &[("maria", "c1", true), ("eve", "c9", true)],
        ["run", "run", "run", "approver", "approver"],
    ),
    (
        "one twice with one credential",
        &[("maria", "c1", true), ("maria", "c1", true)],
        ["same_credential"; 5],
    ),
    (
        "one twice with two credentials",
        &[("maria", "c1", true), ("maria", "c3", true)],
        ["same_person"; 5],
    ),
    (
        "two with one credential",
        &[("maria", "c1", true), ("jan", "c1", true)],
        ["same_credential"; 5],
    ),
    (
        "one whose approval lapsed",
        &[("maria", "c1", false)],
        ["run", "1", "1", "1", "2"],
    ),
    (
        "two, one of which lapsed",
        &[("maria", "c1", false), ("jan", "c2", true)],
        ["run", "run", "run", "run", "1"],
    ),
    (
        "a mailbox, which does for one",
        &[("ops@example.com", "mailbox:ops@example.com", true)],
        ["run", "run", "run", "approver", "approver"],
    ),
    (
        "somebody without a credential",
        &[("maria", "", true)],
        ["same_credential"; 5],
    ),
];

/// When and in what state, and the rule that refuses by class; empty where the
/// row above decides.
type Window = (
    &'static str,
    i64,
    fn(&mut Policy) -> bool,
    [&'static str; 5],
);
const WINDOWS: [Window; 8] = [
    ("a working day", NOON, |_| false, ["", "", "", "", ""]),
    (
        "an evening",
        EVENING,
        |_| false,
        ["", "", "", "business_hours", "business_hours"],
    ),
    // 17:30 UTC is 18:30 where the disruptive ones' hours are kept.
    (
        "an hour later east of here",
        NOON + 19_800_000,
        |_| false,
        ["", "", "", "business_hours", ""],
    ),
    (
        "a Saturday",
        SATURDAY,
        |_| false,
        ["", "", "", "business_hours", "business_hours"],
    ),
    ("a freeze", CHRISTMAS, |_| false, ["freeze_window"; 5]),
    (
        "the stop of the policy",
        NOON,
        |policy| {
            policy.stop = true;
            false
        },
        ["global_stop"; 5],
    ),
    (
        "the stop file in a freeze",
        CHRISTMAS,
        |_| true,
        ["global_stop"; 5],
    ),
    (
        "a forbidden kind",
        NOON,
        |policy| {
            policy
                .forbidden
                .extend([ActionKind::RaisePoolSize, ActionKind::DescribeWorkload]);
            false
        },
        ["forbidden_kind"; 5],
    ),
];

/// An action with an undo, as the catalogue makes it.
fn action() -> TypedAction {
    let (plan, _) = live_core().draft(
        &State::default(),
        AT,
        &connections(),
        &found(typed_pool_runbook()),
    );
    let action = plan.action_steps[2].typed.clone().expect("typed");
    assert!(action.undo.is_some());
    *action
}

#[test]
fn every_class_approver_window_and_mode_has_the_outcome_of_the_table() {
    let mut combinations = 0;
    for (window, at, prepare, refusals) in WINDOWS {
        let mut policy = parse(FILE).expect("well formed");
        let stopped = prepare(&mut policy);
        for (environment, dry_run) in [("shop", false), ("test", true)] {
            for (who, approvals, outcomes) in APPROVERS {
                for (column, (risk, looks)) in COLUMNS.into_iter().enumerate() {
                    let mut action = action();
                    action.risk = risk;
                    if risk == RiskClass::ReadOnly && looks {
                        action.kind = ActionKind::DescribeWorkload;
                        action.undo = None;
                    }
                    let given: Vec<Approval> = approvals
                        .iter()
                        .map(|(by, credential, counts)| Approval {
                            by: (*by).to_owned(),
                            credential_id: (*credential).to_owned(),
                            until_ms: if *counts { at + 1 } else { at },
                        })
                        .collect();
                    let wish = Wish {
                        action: &action,
                        environment,
                        wall_ms: at,
                        stopped,
                    };
                    let found = match policy.rule(wish, &given) {
                        Ok(Ruling::Run { dry_run: is }) => {
                            assert_eq!(is, dry_run, "{who}, {environment}");
                            "run".to_owned()
                        }
                        Ok(Ruling::Wait { missing }) => missing.to_string(),
                        Err(refusal) => refusal.rule.to_owned(),
                    };
                    let expected = [refusals[column], outcomes[column]];
                    let expected = expected.into_iter().find(|rule| !rule.is_empty());
                    assert_eq!(
                        Some(found.as_str()),
                        expected,
                        "{window}, {environment}, {who}, {}",
                        risk.as_str()
                    );
                    combinations += 1;
                }
            }
        }
    }
    assert_eq!(combinations, 8 * 2 * 12 * 5);
}

#[test]
fn the_file_says_what_it_says() {
    let policy = parse(FILE).expect("well formed");
    assert_eq!(
        (
            policy.cool_down_for("payment-service"),
            policy.cool_down_for("other")
        ),
        (600_000, 120_000)
    );
    assert_eq!((policy.hourly_limit, policy.approval_ms), (4, 1_800_000));
    assert!(policy.undo.on_not_improved);
    assert!(policy.is_dry_run("production") && !policy.is_dry_run("shop"));
    assert_eq!(parse("{}"), Ok(Policy::default()));
    // A freeze of other environments.
    let action = action();
    let wish = Wish {
        action: &action,
        environment: "simulation",
        wall_ms: CHRISTMAS,
        stopped: false,
    };
    assert!(policy.admits(wish).is_ok());
}

#[test]
fn the_example_of_the_repository_is_a_policy() {
    let text = include_str!("../../../infrastructure/remediation/policy.example.json");
    let policy = parse(text).expect("the example is well formed");
    assert!(policy.is_dry_run("production"));
}

#[test]
fn a_bad_file_is_refused_with_its_place() {
    for (text, told) in [
        (
            "{\n \"mode\": \"live\",\n \"stopp\": true\n}",
            "unknown field `stopp`",
        ),
        ("{\n \"mode\": \"life\"}", "at line 2"),
        ("[]", "invalid"),
        ("", "EOF"),
        (r#"{"forbidden": ["reboot"]}"#, "unknown variant `reboot`"),
        (r#"{"classes": {"wild": {}}}"#, "unknown variant `wild`"),
        (
            r#"{"classes": {"destructive": {"approvals": 1}}}"#,
            "classes.destructive.approvals is 1; set it to 2",
        ),
        (
            r#"{"classes": {"low-risk": {"approvals": 0}}}"#,
            "classes.low-risk.approvals is 0",
        ),
        (
            r#"{"classes": {"disruptive": {"auto": true}}}"#,
            "classes.disruptive.auto",
        ),
        (
            r#"{"classes": {"destructive": {"approvers": ["maria"]}}}"#,
            "names 1, but 2 approvals",
        ),
        (
            r#"{"classes": {"low-risk": {"approvers": [" maria"]}}}"#,
            "spaces around",
        ),
        (
            r#"{"classes": {"low-risk": {"hours": {"days": ["Monday"], "from": "09:00", "to": "10:00"}}}}"#,
            "known are mon",
        ),
        (
            r#"{"classes": {"low-risk": {"hours": {"days": ["mon"], "from": "9:00", "to": "10:00"}}}}"#,
            "hours.from is \"9:00\"",
        ),
        (
            r#"{"classes": {"low-risk": {"hours": {"days": ["mon"], "from": "09:00", "to": "09:00"}}}}"#,
            "are empty",
        ),
        (
            r#"{"classes": {"low-risk": {"hours": {"days": ["mon"], "from": "09:00", "to": "10:00", "utc_offset": "CET"}}}}"#,
            "utc_offset is \"CET\"",
        ),
        (
            r#"{"freeze": [{"from": "24.12.2026", "until": "2026-12-27T00:00:00Z", "reason": "x"}]}"#,
            "freeze[0].from",
        ),
        (
            r#"{"freeze": [{"from": "2026-12-27T00:00:00Z", "until": "2026-12-24T00:00:00Z", "reason": "x"}]}"#,
            "not after from",
        ),
        (r#"{"hourly_limit": 0}"#, "hourly_limit is 0"),
        (r#"{"approval_minutes": 100000}"#, "approval_minutes"),
    ] {
        let error = parse(text).expect_err(text);
        assert!(error.contains(told), "{text}: {error}");
    }
}

/// What became of the policy while an action of the shop, which maria (and jan,
/// where two are needed) approved, waited; and the rule that stops it then.
const LATER: [(&str, RiskClass, i64, &str); 13] = [
    (
        "{\"environments\": {\"shop\": \"live\"}}",
        RiskClass::Disruptive,
        NOON,
        "",
    ),
    ("{\"mode\": \"live\"}", RiskClass::Destructive, SATURDAY, ""),
    (FILE, RiskClass::Disruptive, NOON, ""),
    (FILE, RiskClass::Disruptive, EVENING, "business_hours"),
    (FILE, RiskClass::Destructive, SATURDAY, "business_hours"),
    (FILE, RiskClass::LowRisk, CHRISTMAS, "freeze_window"),
    (
        "{\"mode\": \"dry-run\"}",
        RiskClass::LowRisk,
        NOON,
        "dry_run",
    ),
    (
        "{\"mode\": \"live\", \"stop\": true}",
        RiskClass::ReadOnly,
        NOON,
        "global_stop",
    ),
    (
        "{\"mode\": \"live\", \"forbidden\": [\"raise_pool_size\"]}",
        RiskClass::Disruptive,
        NOON,
        "forbidden_kind",
    ),
    (
        "{\"mode\": \"live\", \"classes\": {\"low-risk\": {\"approvals\": 2}}}",
        RiskClass::LowRisk,
        NOON,
        "more_approvals",
    ),
    (
        "{\"mode\": \"live\", \"classes\": {\"disruptive\": {\"approvers\": [\"jan\"]}}}",
        RiskClass::Disruptive,
        NOON,
        "approver",
    ),
    (
        "{\"mode\": \"live\", \"classes\": {\"disruptive\": {\"approvers\": []}}}",
        RiskClass::Disruptive,
        NOON,
        "approver",
    ),
    (
        "{\"mode\": \"live\"}",
        RiskClass::Disruptive,
        CHRISTMAS + 1,
        "expired",
    ),
];

#[test]
fn what_was_approved_is_asked_about_again_before_it_begins() {
    for (text, risk, at, rule) in LATER {
        let policy = parse(text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
        let mut execution = waiting(risk, CHRISTMAS + 1);
        if risk != RiskClass::Destructive {
            execution.approvals.truncate(1);
        }
        let found = policy.lets_begin(&execution, at, false);
        assert_eq!(
            found.map_or_else(|refusal| refusal.rule, |()| ""),
            rule,
            "{text}"
        );
        let stopped = policy.lets_begin(&execution, at, true);
        assert_eq!(stopped.map_err(|refusal| refusal.rule), Err("global_stop"));
    }
}

#[test]
fn an_undo_is_asked_about_only_what_holds_for_undos() {
    for (text, at, rule) in [
        (FILE, CHRISTMAS, ""),
        (FILE, EVENING, ""),
        ("{\"mode\": \"live\"}", NOON, ""),
        ("{\"mode\": \"dry-run\"}", NOON, "dry_run"),
        ("{\"mode\": \"live\", \"stop\": true}", NOON, "global_stop"),
        (
            "{\"mode\": \"live\", \"forbidden\": [\"raise_pool_size\"]}",
            NOON,
            "forbidden_kind",
        ),
    ] {
        let mut undo = waiting(RiskClass::Disruptive, 0);
        undo.approvals.clear();
        undo.is_undo = true;
        let found = parse(text).expect(text).lets_begin(&undo, at, false);
        assert_eq!(
            found.map_or_else(|refusal| refusal.rule, |()| ""),
            rule,
            "{text}"
        );
    }
}

#[test]
fn a_rehearsal_stays_one_and_heeds_the_policy_too() {
    let mut rehearsal = waiting(RiskClass::Disruptive, i64::MAX);
    rehearsal.dry_run = true;
    let policy = Policy::default();
    assert_eq!(policy.lets_begin(&rehearsal, NOON, false), Ok(()));
    rehearsal.approvals.clear();
    let refusal = policy.lets_begin(&rehearsal, NOON, false);
    assert_eq!(
        refusal.map_err(|refusal| refusal.rule),
        Err("more_approvals")
    );
}

/// A larger pool in the shop that maria and jan approved.
fn waiting(risk: RiskClass, until_ms: i64) -> Execution {
    let approval = |by: &str| Approval {
        by: by.to_owned(),
        credential_id: format!("sha256:{by}"),
        until_ms,
    };
    Execution {
        key: "k".to_owned(),
        incident_id: uuid::Uuid::nil(),
        environment: "shop".to_owned(),
        plan_id: uuid::Uuid::nil(),
        step_id: "S2".to_owned(),
        action: TypedAction { risk, ..action() },
        is_undo: false,
        dry_run: false,
        cool_down_ms: 0,
        hourly_limit: 1,
        approvals: vec![approval("maria"), approval("jan")],
    }
}
