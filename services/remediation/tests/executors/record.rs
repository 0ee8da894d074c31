//! What an action comes to, asked once or again, whose process lives or died.

use crate::scripted::{Scripted, action, count, executors, left_behind, on_machine, run, sql};
use crate::support::database;
use midwatch_remediation::execution::OutcomeStatus;
use midwatch_remediation::executors::Executors;
use midwatch_remediation::executors::hand::{Acted, Done, Seen, Stop};
use midwatch_runtime::JobError;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

#[tokio::test]
async fn asked_again_it_says_what_became_of_it() {
    let (postgres, _) = database("act_again").await;
    let hand = Arc::new(Scripted::default());
    let first = run(&executors(&postgres, "0", Arc::clone(&hand)), &action("k")).await;
    assert_eq!(
        (first.status, first.output.as_str()),
        (OutcomeStatus::Done, "ok")
    );
    assert!(first.acted_at_ms.is_some() && !first.reconciled);
    for slot in ["0", "1"] {
        let again = run(&executors(&postgres, slot, Arc::clone(&hand)), &action("k")).await;
        assert_eq!(again, first);
    }
    assert_eq!(hand.acts.load(Ordering::SeqCst), 1);
    let mut other = action("k");
    other
        .action
        .arguments
        .insert("replicas".to_owned(), "7".to_owned());
    let error = executors(&postgres, "0", hand)
        .execute(&other)
        .await
        .expect_err("another action");
    assert!(matches!(error, JobError::Permanent(_)), "{error}");
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_does_not_stand_for_the_action() {
    let (postgres, _) = database("act_dry").await;
    let hand = Arc::new(Scripted::default());
    let executors = executors(&postgres, "0", Arc::clone(&hand));
    let mut rehearsal = action("k");
    rehearsal.dry_run = true;
    for _ in 0..2 {
        let outcome = run(&executors, &rehearsal).await;
        assert_eq!(outcome.status, OutcomeStatus::Done);
        assert!(
            outcome
                .output
                .starts_with("dry run, nothing was done: send"),
            "{}",
            outcome.output
        );
        assert!(!outcome.output.contains("hunter2") && outcome.acted_at_ms.is_none());
    }
    *hand.stop.lock().expect("no panic") = Some(Stop::No("not so".to_owned()));
    assert_eq!(
        run(&executors, &rehearsal).await.status,
        OutcomeStatus::Failed
    );
    assert_eq!(hand.acts.load(Ordering::SeqCst), 0);
    assert_eq!(
        count(
            &postgres,
            "dry_run AND status = 'failed' AND output = 'not so'"
        )
        .await,
        1
    );
    *hand.stop.lock().expect("no panic") = None;
    let mut real = action("k");
    (real.cool_down_ms, real.hourly_limit) = (60_000, 1);
    assert_eq!(run(&executors, &real).await.status, OutcomeStatus::Done);
}

#[tokio::test]
async fn what_a_dead_process_left_is_reconciled_by_looking() {
    let (postgres, _) = database("act_look").await;
    let at = |at_ms| Done {
        output: "seen".to_owned(),
        at_ms,
    };
    // Whether it had begun, what looking shows, and what it comes to.
    let cases: [(bool, Vec<Seen>, OutcomeStatus, bool, usize); 5] = [
        (false, vec![], OutcomeStatus::Done, false, 1),
        (true, vec![Seen::NotDone], OutcomeStatus::Done, false, 1),
        (
            true,
            vec![Seen::Done(at(Some(42)))],
            OutcomeStatus::Done,
            true,
            0,
        ),
        (
            true,
            vec![Seen::Away("down".to_owned()), Seen::Done(at(None))],
            OutcomeStatus::Done,
            true,
            0,
        ),
        (
            true,
            vec![Seen::CannotTell("lost".to_owned())],
            OutcomeStatus::Unknown,
            false,
            0,
        ),
    ];
    for (index, (acting, seen, status, reconciled, acts)) in cases.into_iter().enumerate() {
        let key = format!("k{index}");
        left_behind(&postgres, &key, "0", acting, 3_000).await;
        let hand = Arc::new(Scripted {
            seen: Mutex::new(seen),
            ..Scripted::default()
        });
        let successor = executors(&postgres, "0", Arc::clone(&hand));
        let outcome = run(&successor, &action(&key)).await;
        assert_eq!(
            (outcome.status, outcome.reconciled),
            (status, reconciled),
            "{index}: {outcome:?}"
        );
        assert_eq!(hand.acts.load(Ordering::SeqCst), acts, "{index}");
        assert_eq!(outcome.acted_at_ms.is_some(), status == OutcomeStatus::Done);
        assert_eq!(run(&successor, &action(&key)).await, outcome);
    }
}

#[tokio::test]
async fn a_stop_refuses_what_has_not_begun_and_tells_the_truth_about_the_rest() {
    let (postgres, _) = database("act_stop").await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("STOP");
    for key in ["was-done", "not-done"] {
        left_behind(&postgres, key, "0", true, 3_000).await;
        sql(&postgres, "UPDATE executions SET service = key").await;
    }
    std::fs::write(&file, "").expect("a file");
    let seen = Done {
        output: "seen".to_owned(),
        at_ms: None,
    };
    let hand = Arc::new(Scripted {
        seen: Mutex::new(vec![Seen::Done(seen), Seen::NotDone]),
        ..Scripted::default()
    });
    let executors = executors(&postgres, "0", Arc::clone(&hand)).with_stop_file(Some(file.clone()));
    for (key, status) in [
        ("was-done", OutcomeStatus::Done),
        ("not-done", OutcomeStatus::Refused),
        ("fresh", OutcomeStatus::Refused),
    ] {
        let outcome = run(&executors, &action(key)).await;
        assert_eq!(outcome.status, status, "{key}");
        assert_eq!(
            outcome.rule == "global_stop",
            status == OutcomeStatus::Refused,
            "{key}"
        );
    }
    assert_eq!(hand.acts.load(Ordering::SeqCst), 0);
    std::fs::remove_file(&file).expect("our file");
    assert_eq!(
        run(&executors, &action("later")).await.status,
        OutcomeStatus::Done
    );
}

#[tokio::test]
async fn what_only_another_machine_or_executor_can_tell_is_unknown() {
    let (postgres, _) = database("act_elsewhere").await;
    left_behind(&postgres, "other", "0", true, 3_000).await;
    let hand = Arc::new(Scripted {
        here_only: true,
        ..Scripted::default()
    });
    let outcome = run(
        &on_machine(&postgres, "0", "elsewhere", hand),
        &action("other"),
    )
    .await;
    assert!(
        outcome.status == OutcomeStatus::Unknown && outcome.output.contains("begun on here"),
        "{outcome:?}"
    );
    left_behind(&postgres, "unset", "0", true, 3_000).await;
    let nobody = Executors::new(BTreeMap::new(), postgres.clone(), "0", "here");
    assert_eq!(
        run(&nobody, &action("unset")).await.status,
        OutcomeStatus::Unknown
    );
    let outcome = run(&nobody, &action("fresh")).await;
    assert!(
        outcome.status == OutcomeStatus::Failed
            && outcome.output.contains("REMEDIATION_WEBHOOK_URL"),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn another_process_waits_for_the_lease_and_then_takes_over() {
    let (postgres, _) = database("act_lease").await;
    left_behind(&postgres, "k", "0", true, 2).await;
    let hand = Arc::new(Scripted {
        seen: Mutex::new(vec![Seen::NotDone]),
        ..Scripted::default()
    });
    let begun = Instant::now();
    let outcome = run(&executors(&postgres, "1", hand), &action("k")).await;
    assert_eq!(outcome.status, OutcomeStatus::Done);
    assert!(begun.elapsed() > Duration::from_secs(1), "it did not wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_lost_its_lease_says_so_and_writes_nothing() {
    let (postgres, _) = database("act_lost").await;
    let gate = Arc::new(Notify::new());
    let paused = Arc::new(Scripted {
        gate: Some(Arc::clone(&gate)),
        ..Scripted::default()
    });
    let first = executors(&postgres, "0", Arc::clone(&paused)).with_lease(Duration::from_secs(2));
    let task = tokio::spawn(async move { first.execute(&action("k")).await });
    while count(&postgres, "acting_at IS NOT NULL").await == 0 {
        tokio::task::yield_now().await;
    }
    // Somebody else has taken it over meanwhile.
    sql(
        &postgres,
        "UPDATE executions SET owner = '1#x', lease_until = now() + INTERVAL '1 h'",
    )
    .await;
    let error = task
        .await
        .expect("no panic")
        .expect_err("the lease is lost");
    assert!(matches!(error, JobError::Transient(_)), "{error}");
    assert_eq!(
        paused.acts.load(Ordering::SeqCst),
        0,
        "it was let go in the middle"
    );
    assert_eq!(
        count(&postgres, "phase = 'intent' AND owner = '1#x'").await,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_living_process_keeps_its_lease() {
    let (postgres, _) = database("act_keeps").await;
    let gate = Arc::new(Notify::new());
    let slow = Arc::new(Scripted {
        gate: Some(Arc::clone(&gate)),
        ..Scripted::default()
    });
    let first = executors(&postgres, "0", Arc::clone(&slow)).with_lease(Duration::from_secs(2));
    let task = tokio::spawn(async move { first.execute(&action("k")).await });
    let extended = "lease_until > began_at + INTERVAL '3 s'";
    while count(&postgres, extended).await == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    gate.notify_one();
    let outcome = task.await.expect("no panic").expect("PostgreSQL answers");
    assert_eq!(outcome.status, OutcomeStatus::Done);
}

#[tokio::test]
async fn how_acting_ended_is_kept() {
    let (postgres, _) = database("act_ends").await;
    let hand = Arc::new(Scripted::default());
    let executors = executors(&postgres, "0", Arc::clone(&hand));
    let cases = [
        (
            Acted::Refused("403".to_owned()),
            OutcomeStatus::Failed,
            "403",
        ),
        (
            Acted::Unclear("reset".to_owned()),
            OutcomeStatus::Unknown,
            "it may have been done, or not; a person must look: reset",
        ),
        (
            Acted::done("token=abcdef0123456789abcdef".to_owned()),
            OutcomeStatus::Done,
            "token=",
        ),
    ];
    for (index, (acted, status, output)) in cases.into_iter().enumerate() {
        *hand.acted.lock().expect("no panic") = Some(acted);
        let outcome = run(&executors, &action(&format!("k{index}"))).await;
        assert_eq!(outcome.status, status);
        assert!(
            outcome.output.starts_with(output) && !outcome.output.contains("abcdef0123456789"),
            "{}",
            outcome.output
        );
    }
    assert_eq!(
        count(
            &postgres,
            "ended_at IS NOT NULL AND acting_at IS NOT NULL AND observed->>'uid' = 'u'"
        )
        .await,
        3
    );
    for key in ["", "a b", "ä", &"k".repeat(201)] {
        assert!(
            matches!(
                executors.execute(&action(key)).await,
                Err(JobError::Permanent(_))
            ),
            "{key:?}"
        );
    }
}
