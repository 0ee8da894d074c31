//! The limits that span incidents.

use crate::scripted::{Scripted, action, count, executors, left_behind, run, sql};
use crate::support::database;
use midwatch_remediation::execution::{Execution, Outcome, OutcomeStatus};
use midwatch_remediation::executors::hand::Stop;
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn limited(key: &str, service: &str, cool_down_ms: i64, hourly_limit: u32) -> Execution {
    let mut execution = action(key);
    service.clone_into(&mut execution.action.service);
    Execution {
        cool_down_ms,
        hourly_limit,
        ..execution
    }
}

/// The rule, where one refused.
fn refused(outcome: &Outcome) -> Option<String> {
    (outcome.status == OutcomeStatus::Refused).then(|| outcome.rule.clone())
}

#[tokio::test]
async fn limits_refuse_by_name_and_leave_no_row() {
    let (postgres, _) = database("act_limits").await;
    let hand = Arc::new(Scripted::default());
    let executors = executors(&postgres, "0", Arc::clone(&hand));
    // What a pre-check stopped counts for nothing.
    *hand.stop.lock().expect("no panic") = Some(Stop::No("not so".to_owned()));
    assert_eq!(
        run(&executors, &action("stopped")).await.status,
        OutcomeStatus::Failed
    );
    *hand.stop.lock().expect("no panic") = None;
    assert_eq!(
        refused(&run(&executors, &limited("a", "cart", 60_000, 2)).await),
        None
    );
    let cool = run(&executors, &limited("b", "cart", 60_000, 2)).await;
    assert_eq!(refused(&cool).as_deref(), Some("cool_down"));
    assert!(
        cool.output.starts_with("cart was acted on before; wait "),
        "{}",
        cool.output
    );
    assert_eq!(
        refused(&run(&executors, &limited("b", "cart", 0, 2)).await),
        None,
        "the same key, later"
    );
    let hourly = run(&executors, &limited("c", "search", 0, 2)).await;
    assert_eq!(refused(&hourly).as_deref(), Some("hourly_limit"));
    let mut undo = limited("a/undo", "cart", 60_000, 2);
    undo.is_undo = true;
    assert_eq!(
        refused(&run(&executors, &undo).await),
        None,
        "an undo does not wait"
    );
    sql(&postgres, "UPDATE executions SET began_at = began_at - INTERVAL '61 min', ended_at = ended_at - INTERVAL '61 min'").await;
    assert_eq!(
        refused(&run(&executors, &limited("c", "search", 60_000, 2)).await),
        None
    );
}

#[tokio::test]
async fn an_open_action_refuses_others_on_its_service_until_it_is_given_up() {
    let (postgres, _) = database("act_open").await;
    let executors = executors(&postgres, "0", Arc::new(Scripted::default()));
    left_behind(&postgres, "open", "9", true, 3_000).await;
    let open = run(&executors, &action("d")).await;
    assert_eq!(refused(&open).as_deref(), Some("one_action_per_service"));
    let mut undo = action("d/undo");
    undo.is_undo = true;
    assert_eq!(
        refused(&run(&executors, &undo).await).as_deref(),
        Some("one_action_per_service")
    );
    assert_eq!(
        refused(&run(&executors, &limited("e", "search", 0, 9)).await),
        None
    );
    assert_eq!(count(&postgres, "key IN ('d', 'd/undo')").await, 0);
    // Given up for an hour, it stands in nobody's way any more.
    sql(
        &postgres,
        "UPDATE executions SET lease_until = now() - INTERVAL '61 min' WHERE key = 'open'",
    )
    .await;
    assert_eq!(refused(&run(&executors, &action("d")).await), None);
    let given_up = run(&executors, &action("open")).await;
    assert_eq!(given_up.status, OutcomeStatus::Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_processes_at_once_one_acts_on_a_service() {
    let (postgres, _) = database("act_race").await;
    for round in 0..5 {
        let hand = Arc::new(Scripted {
            gate: Some(Arc::default()),
            ..Scripted::default()
        });
        let mut tasks = tokio::task::JoinSet::new();
        for process in 0..6 {
            let executors = executors(&postgres, &process.to_string(), Arc::clone(&hand));
            let execution = action(&format!("{round}-{process}"));
            tasks.spawn(async move { run(&executors, &execution).await });
        }
        let mut refused = Vec::new();
        while refused.len() < 5 {
            refused.push(
                tasks
                    .join_next()
                    .await
                    .expect("five are refused")
                    .expect("no panic"),
            );
        }
        assert!(
            refused
                .iter()
                .all(|outcome| outcome.rule == "one_action_per_service"),
            "{refused:?}"
        );
        hand.gate.as_ref().expect("it has one").notify_one();
        let done = tasks
            .join_next()
            .await
            .expect("one acts")
            .expect("no panic");
        assert_eq!(
            (done.status, hand.acts.load(Ordering::SeqCst)),
            (OutcomeStatus::Done, 1)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hourly_limit_holds_for_processes_that_begin_at_once() {
    let (postgres, _) = database("act_hour").await;
    let hand = Arc::new(Scripted::default());
    let mut tasks = tokio::task::JoinSet::new();
    for process in 0..8 {
        let executors = executors(&postgres, &process.to_string(), Arc::clone(&hand));
        let mut execution = action(&format!("k{process}"));
        execution.action.service = format!("service-{process}");
        execution.hourly_limit = 3;
        tasks.spawn(async move { run(&executors, &execution).await.status });
    }
    let statuses = tasks.join_all().await;
    let done = statuses
        .iter()
        .filter(|status| **status == OutcomeStatus::Done)
        .count();
    assert_eq!(
        (done, hand.acts.load(Ordering::SeqCst)),
        (3, 3),
        "{statuses:?}"
    );
}
