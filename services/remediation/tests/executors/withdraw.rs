//! An operator's no and the beginning of an action: the record decides which
//! of the two came first.

use crate::scripted::{Scripted, action, count, executors, left_behind, run};
use crate::support::database;
use midwatch_clients::postgres::Postgres;
use midwatch_events::OperatorCommand;
use midwatch_events::response::CommandDetails;
use midwatch_remediation::execution::{Execution, OutcomeStatus, Rejection, Withdrawal};
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn rejection(execution: &Execution) -> Rejection {
    Rejection {
        execution: execution.clone(),
        command: OperatorCommand {
            incident_id: execution.incident_id,
            command: "reject".to_owned(),
            target: execution.step_id.clone(),
            by: "maria".to_owned(),
            credential_id: "sha256:maria".to_owned(),
            reason: "the release comes first".to_owned(),
            issued_at_ms: 1,
            expires_at_ms: 2,
            environment: None,
            until_ms: None,
            details: CommandDetails::default(),
        },
    }
}

async fn withdraw(postgres: &Postgres, slot: &str, execution: &Execution) -> Withdrawal {
    let executors = executors(postgres, slot, Arc::new(Scripted::default()));
    let withdrawn = executors.withdraw(&rejection(execution)).await;
    withdrawn.expect("PostgreSQL answers")
}

#[tokio::test]
async fn what_was_rejected_before_it_began_does_not_begin() {
    let (postgres, _) = database("act_no").await;
    let hand = Arc::new(Scripted::default());
    let executors = executors(&postgres, "0", Arc::clone(&hand));
    // In another process, and twice, as after a crash.
    for _ in 0..2 {
        let no = withdraw(&postgres, "1", &action("k")).await;
        assert_eq!(no, Withdrawal::Withdrawn);
    }
    for _ in 0..2 {
        let outcome = run(&executors, &action("k")).await;
        assert_eq!(
            (
                outcome.status,
                outcome.rule.as_str(),
                outcome.output.as_str()
            ),
            (
                OutcomeStatus::Refused,
                "rejected",
                "maria rejected it before it began: the release comes first"
            )
        );
    }
    assert_eq!(hand.acts.load(Ordering::SeqCst), 0);
    assert_eq!(count(&postgres, "acting_at IS NULL").await, 1);
    // It counts for no limit, and holds up nothing else.
    let mut next = action("next");
    (next.cool_down_ms, next.hourly_limit) = (60_000, 1);
    assert_eq!(run(&executors, &next).await.status, OutcomeStatus::Done);
}

#[tokio::test]
async fn what_has_begun_goes_on_after_a_rejection() {
    let (postgres, _) = database("act_late_no").await;
    // The intent alone is enough, and so is one that a dead process left.
    left_behind(&postgres, "intent", "9", false, 3_000).await;
    let late = withdraw(&postgres, "1", &action("intent")).await;
    assert_eq!(late, Withdrawal::HasBegun);
    assert_eq!(count(&postgres, "phase = 'intent'").await, 1);
    let hand = Arc::new(Scripted::default());
    let executors = executors(&postgres, "9", Arc::clone(&hand));
    let outcome = run(&executors, &action("intent")).await;
    assert_eq!(outcome.status, OutcomeStatus::Done);
    assert_eq!(hand.acts.load(Ordering::SeqCst), 1);
    let late = withdraw(&postgres, "1", &action("intent")).await;
    let status = "done".to_owned();
    assert_eq!(late, Withdrawal::HasEnded { status });
    assert_eq!(run(&executors, &action("intent")).await, outcome);
}

#[tokio::test]
async fn a_dry_run_is_rejected_before_it_ends_or_not_at_all() {
    let (postgres, _) = database("act_dry_no").await;
    let executors = executors(&postgres, "0", Arc::new(Scripted::default()));
    let dry = |key: &str| Execution {
        dry_run: true,
        ..action(key)
    };
    let no = withdraw(&postgres, "1", &dry("before")).await;
    assert_eq!(no, Withdrawal::Withdrawn);
    let outcome = run(&executors, &dry("before")).await;
    assert_eq!(
        (outcome.status, outcome.rule.as_str()),
        (OutcomeStatus::Refused, "rejected")
    );
    assert_eq!(
        run(&executors, &dry("after")).await.status,
        OutcomeStatus::Done
    );
    let status = "done".to_owned();
    assert_eq!(
        withdraw(&postgres, "1", &dry("after")).await,
        Withdrawal::HasEnded { status }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_same_moment_one_of_them_wins() {
    let (postgres, _) = database("act_no_race").await;
    for round in 0..20 {
        let hand = Arc::new(Scripted::default());
        let mut execution = action(&format!("race{round}"));
        execution.action.service = format!("service-{round}");
        let no = {
            let (postgres, execution) = (postgres.clone(), execution.clone());
            tokio::spawn(async move { withdraw(&postgres, "1", &execution).await })
        };
        let executors = executors(&postgres, "0", Arc::clone(&hand));
        let outcome = run(&executors, &execution).await;
        let no = no.await.expect("no panic");
        let (status, acts) = match no {
            Withdrawal::Withdrawn => (OutcomeStatus::Refused, 0),
            Withdrawal::HasBegun | Withdrawal::HasEnded { .. } => (OutcomeStatus::Done, 1),
        };
        assert_eq!(
            (outcome.status, hand.acts.load(Ordering::SeqCst)),
            (status, acts),
            "{round}: {no:?} {outcome:?}"
        );
    }
}
