//! The executor of the simulated fleet against the simulator's own control
//! endpoint, with a world behind it.

use midwatch_events::action::{ActionKind, Executor, ExpectedEffect, RiskClass, TypedAction};
use midwatch_events::anomaly::Direction;
use midwatch_remediation::execution::{Execution, Outcome, OutcomeStatus};
use midwatch_remediation::executors::simulator::{act, look};
use midwatch_runtime::JobError;
use midwatch_simulator::control::{Command, Control, Status, WAITING_COMMANDS, router};
use midwatch_simulator::variation::Variation;
use midwatch_simulator::world::{Plan, World, WorldConfig};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const NOW_MS: i64 = 1_795_305_600_000;

/// The address of a simulator whose world stands still; one that takes no
/// commands answers that it is busy.
async fn simulator(takes_commands: bool) -> String {
    let (commands, mut waiting) = mpsc::channel::<Command>(WAITING_COMMANDS);
    let mut world = World::new(WorldConfig {
        seed: 3,
        environment: "simulation".to_owned(),
        start_ms: NOW_MS,
        live_ms: NOW_MS,
        plan: Plan::Quiet,
        variation: Variation::standard(),
    });
    let control = Control {
        status: Arc::new(Mutex::new(Status::default())),
        commands,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { axum::serve(listener, router(control)).await });
    tokio::spawn(async move {
        if !takes_commands {
            return;
        }
        while let Some(command) = waiting.recv().await {
            command.carry_out(&mut world);
        }
    });
    format!("http://{address}/")
}

fn execution(key: &str, kind: ActionKind, service: &str) -> Execution {
    Execution {
        key: key.to_owned(),
        incident_id: uuid::Uuid::nil(),
        environment: "simulation".to_owned(),
        plan_id: uuid::Uuid::nil(),
        step_id: "S2".to_owned(),
        action: TypedAction {
            kind,
            service: service.to_owned(),
            arguments: BTreeMap::from([("workload".to_owned(), service.to_owned())]),
            risk: RiskClass::Disruptive,
            executor: Executor::Simulator,
            pre_checks: Vec::new(),
            blast_radius: String::new(),
            effect: ExpectedEffect {
                service: service.to_owned(),
                metric: "service_db_connections".to_owned(),
                direction: Direction::Below,
                baseline_value: 30.0,
                within_ms: 180_000,
            },
            undo: None,
        },
        is_undo: false,
        dry_run: false,
        cool_down_ms: 0,
        hourly_limit: 10,
        approvals: Vec::new(),
    }
}

#[tokio::test]
async fn an_action_is_done_at_simulated_time_and_found_again_by_its_key() {
    let (client, url) = (reqwest::Client::new(), simulator(true).await);
    let restart = execution("plan/S2", ActionKind::RestartRollout, "payment-service");
    let none = look(&client, &url, "plan/S2").await.expect("it answers");
    assert_eq!(none, None);
    let done = act(&client, &url, &restart).await.expect("it answers");
    let expected = Outcome {
        status: OutcomeStatus::Done,
        rule: String::new(),
        output: "restart_rollout of payment-service is carried out".to_owned(),
        acted_at_ms: Some(NOW_MS),
        reconciled: false,
    };
    assert_eq!(done, expected);
    let again = act(&client, &url, &restart).await.expect("it answers");
    assert_eq!(again, expected);
    let found = look(&client, &url, "plan/S2").await.expect("it answers");
    let reconciled = Outcome {
        reconciled: true,
        ..expected
    };
    assert_eq!(found, Some(reconciled));
}

#[tokio::test]
async fn what_the_fleet_does_not_know_fails_and_a_dry_run_asks_for_nothing() {
    let (client, url) = (reqwest::Client::new(), simulator(true).await);
    for (kind, service, words) in [
        (
            ActionKind::SilenceAlert,
            "payment-service",
            "changes nothing",
        ),
        (ActionKind::RestartRollout, "nobody", "api-gateway"),
        (ActionKind::Scale, "payment-service", "from_replicas"),
    ] {
        let key = format!("plan/{}", kind.as_str());
        let outcome = act(&client, &url, &execution(&key, kind, service)).await;
        let outcome = outcome.expect("it answers");
        assert_eq!(
            (outcome.status, outcome.acted_at_ms),
            (OutcomeStatus::Failed, None)
        );
        assert!(outcome.output.contains(words), "{}", outcome.output);
    }
    let mut dry = execution("plan/dry", ActionKind::RestartRollout, "payment-service");
    dry.dry_run = true;
    let outcome = act(&client, &url, &dry).await.expect("nothing to fail");
    assert_eq!(outcome.status, OutcomeStatus::Done);
    assert_eq!(
        look(&client, &url, "plan/dry").await.expect("it answers"),
        None
    );
}

#[tokio::test]
async fn away_and_busy_are_tried_again_and_a_wrong_address_is_not() {
    let client = reqwest::Client::new();
    let restart = execution("plan/S2", ActionKind::RestartRollout, "payment-service");
    let is_transient = |result: Result<Outcome, JobError>, words: &str| match result {
        Err(JobError::Transient(error)) => {
            let text = format!("{error:#}");
            assert!(text.contains(words), "{text}");
        }
        other => panic!("{other:?}"),
    };
    let busy = simulator(false).await;
    is_transient(act(&client, &busy, &restart).await, "503");
    // Port 1 on loopback: nobody listens there.
    let nobody = "http://127.0.0.1:1";
    is_transient(
        act(&client, nobody, &restart).await,
        "SIMULATOR_ACTIONS_URL",
    );
    for wrong in ["simulator", "redis://127.0.0.1", ""] {
        let refused = act(&client, wrong, &restart).await;
        assert!(matches!(refused, Err(JobError::Permanent(_))), "{wrong}");
    }
}
