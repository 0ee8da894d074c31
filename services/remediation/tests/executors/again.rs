//! The policy's file, asked again right before an action begins.

use crate::scripted::{Scripted, action, count, executors, left_behind, run, sql};
use crate::support::{database, execution};
use midwatch_events::action::{ActionKind, Executor};
use midwatch_remediation::execution::{Execution, OutcomeStatus};
use midwatch_remediation::executors::Executors;
use midwatch_remediation::executors::hand::{Done, Seen};
use midwatch_remediation::policy::{Approval, Source};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

const LIVE: &str = r#"{"mode": "live", "cool_down_seconds": {"*": 0}}"#;
const FROZEN: &str = r#"{"mode": "live", "freeze": [{"from": "2000-01-01T00:00:00Z",
    "until": "2100-01-01T00:00:00Z", "reason": "the audit", "environments": ["production"]}]}"#;

fn file() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("policy.json");
    std::fs::write(&path, LIVE).expect("a file");
    (folder, path)
}

fn with_policy(executors: Executors, file: &Path) -> Executors {
    executors.with_policy(Source {
        file: Some(file.to_path_buf()),
        mode: None,
    })
}

fn approved(key: &str) -> Execution {
    Execution {
        approvals: vec![Approval {
            by: "maria".to_owned(),
            credential_id: "sha256:maria".to_owned(),
            until_ms: i64::MAX,
        }],
        ..action(key)
    }
}

#[tokio::test]
async fn what_the_policy_forbids_by_now_does_not_begin() {
    let (postgres, _) = database("act_policy").await;
    let (_folder, path) = file();
    let hand = Arc::new(Scripted::default());
    let executors = with_policy(executors(&postgres, "0", Arc::clone(&hand)), &path);
    let cases = [
        ("freeze", FROZEN, "freeze_window", "the audit"),
        (
            "dry",
            r#"{"mode": "dry-run"}"#,
            "dry_run",
            "dry runs by now",
        ),
        (
            "two",
            r#"{"mode": "live", "classes": {"disruptive": {"approvals": 2}}}"#,
            "more_approvals",
            "1 more",
        ),
        (
            "jan",
            r#"{"mode": "live", "classes": {"disruptive": {"approvers": ["jan"]}}}"#,
            "approver",
            "maria",
        ),
        (
            "forbidden",
            r#"{"mode": "live", "forbidden": ["scale"]}"#,
            "forbidden_kind",
            "scale",
        ),
        (
            "broken",
            "{\"mode\": \"live\"",
            "policy_file",
            "policy.json",
        ),
    ];
    for (key, text, rule, words) in cases {
        std::fs::write(&path, text).expect("a file");
        let outcome = run(&executors, &approved(key)).await;
        assert_eq!(
            (outcome.status, outcome.rule.as_str()),
            (OutcomeStatus::Refused, rule),
            "{outcome:?}"
        );
        assert!(outcome.output.contains(words), "{outcome:?}");
    }
    std::fs::remove_file(&path).expect("our file");
    let gone = run(&executors, &approved("gone")).await;
    assert_eq!(gone.rule, "policy_file", "{gone:?}");
    assert_eq!(hand.acts.load(Ordering::SeqCst), 0);
    assert_eq!(count(&postgres, "acting_at IS NOT NULL").await, 0);
    std::fs::write(&path, LIVE).expect("a file");
    let nobody = run(&executors, &action("nobody")).await;
    assert_eq!(nobody.rule, "more_approvals", "{nobody:?}");
    assert_eq!(
        run(&executors, &approved("mended")).await.status,
        OutcomeStatus::Done
    );
    assert_eq!(hand.acts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_look_that_the_policy_refused_is_not_told_as_a_rejection() {
    let (postgres, _) = database("act_policy_look").await;
    let (_folder, path) = file();
    let hand = Arc::new(Scripted::default());
    let executors = with_policy(executors(&postgres, "0", Arc::clone(&hand)), &path);
    let look = Execution {
        approvals: approved("look").approvals,
        ..execution(
            "look",
            Executor::Webhook,
            ActionKind::TailLogs,
            &[("namespace", "shop"), ("pod", "checkout-1")],
        )
    };
    std::fs::write(&path, FROZEN).expect("a file");
    // And asked again, as after a crash.
    for _ in 0..2 {
        let outcome = run(&executors, &look).await;
        assert_eq!(
            (outcome.status, outcome.rule.as_str()),
            (OutcomeStatus::Refused, "freeze_window"),
            "{outcome:?}"
        );
    }
    assert_eq!(count(&postgres, "rule = 'freeze_window'").await, 1);
    // What is allowed by the next time is looked at.
    std::fs::write(&path, LIVE).expect("a file");
    assert_eq!(run(&executors, &look).await.status, OutcomeStatus::Done);
    assert_eq!(count(&postgres, "status = 'done' AND rule = ''").await, 1);
    assert_eq!(hand.acts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_undo_heeds_the_stop_the_mode_and_what_is_forbidden_only() {
    let (postgres, _) = database("act_policy_undo").await;
    let (_folder, path) = file();
    let hand = Arc::new(Scripted::default());
    let executors = with_policy(executors(&postgres, "0", Arc::clone(&hand)), &path);
    for (text, rule) in [
        (FROZEN, ""),
        (r#"{"mode": "live", "stop": true}"#, "global_stop"),
        (
            r#"{"mode": "live", "forbidden": ["scale"]}"#,
            "forbidden_kind",
        ),
        (r#"{"mode": "dry-run"}"#, "dry_run"),
        ("[]", "policy_file"),
    ] {
        std::fs::write(&path, text).expect("a file");
        let mut undo = action(&format!("undo{rule}"));
        undo.is_undo = true;
        assert_eq!(run(&executors, &undo).await.rule, rule, "{text}");
    }
    assert_eq!(hand.acts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_policy_that_came_later_does_not_hide_what_was_done() {
    let (postgres, _) = database("act_policy_left").await;
    let (_folder, path) = file();
    for key in ["was-done", "not-done"] {
        left_behind(&postgres, key, "0", true, 3_000).await;
        sql(&postgres, "UPDATE executions SET service = key").await;
    }
    let seen = Done {
        output: "seen".to_owned(),
        at_ms: None,
    };
    let hand = Arc::new(Scripted {
        seen: Mutex::new(vec![Seen::Done(seen), Seen::NotDone]),
        ..Scripted::default()
    });
    let executors = with_policy(executors(&postgres, "0", Arc::clone(&hand)), &path);
    std::fs::write(&path, "not a policy").expect("a file");
    let was_done = run(&executors, &approved("was-done")).await;
    assert!(was_done.status == OutcomeStatus::Done && was_done.reconciled);
    let not_done = run(&executors, &approved("not-done")).await;
    assert_eq!(not_done.rule, "policy_file");
    assert_eq!(hand.acts.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_tighter_limits_of_approval_and_start_count() {
    let (postgres, _) = database("act_policy_limits").await;
    let (_folder, path) = file();
    let executors = executors(&postgres, "0", Arc::new(Scripted::default()));
    let executors = with_policy(executors, &path);
    assert_eq!(run(&executors, &approved("a")).await.rule, "");
    let tight = r#"{"mode": "live", "cool_down_seconds": {"*": 0, "checkout": 600}}"#;
    std::fs::write(&path, tight).expect("a file");
    assert_eq!(run(&executors, &approved("b")).await.rule, "cool_down");
    let tight = r#"{"mode": "live", "cool_down_seconds": {"*": 0}, "hourly_limit": 1}"#;
    std::fs::write(&path, tight).expect("a file");
    assert_eq!(run(&executors, &approved("c")).await.rule, "hourly_limit");
    std::fs::write(&path, LIVE).expect("a file");
    let mut own = approved("d");
    own.cool_down_ms = 600_000;
    assert_eq!(run(&executors, &own).await.rule, "cool_down");
}
