//! An executor that does as a test says, and looks into the record.

use crate::support::execution;
use async_trait::async_trait;
use midwatch_clients::postgres::Postgres;
use midwatch_events::action::{ActionKind, Executor};
use midwatch_remediation::execution::{Execution, Outcome};
use midwatch_remediation::executors::Executors;
use midwatch_remediation::executors::hand::{Acted, Acting, Hand, Prepared, Seen, Stop};
use serde_json::json;
use sqlx::AssertSqlSafe;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

/// An executor that does as the test says.
#[derive(Default)]
pub struct Scripted {
    pub acts: AtomicUsize,
    /// What a check says instead of yes.
    pub stop: Mutex<Option<Stop>>,
    /// What acting comes to, instead of done.
    pub acted: Mutex<Option<Acted>>,
    /// What looks come to, in turn.
    pub seen: Mutex<Vec<Seen>>,
    /// Acting begins only then.
    pub gate: Option<Arc<Notify>>,
    pub here_only: bool,
}

#[async_trait]
impl Hand for Scripted {
    fn is_bound_to_its_machine(&self) -> bool {
        self.here_only
    }

    async fn check(&self, _execution: &Execution) -> Result<Prepared, Stop> {
        match self.stop.lock().expect("no panic").clone() {
            Some(stop) => Err(stop),
            None => Ok(Prepared {
                description: "send password=hunter2hunter2".to_owned(),
                observed: json!({"uid": "u"}),
            }),
        }
    }

    async fn act(&self, _execution: &Execution, prepared: &Prepared) -> Acted {
        assert_eq!(prepared.observed, json!({"uid": "u"}));
        if let Some(gate) = &self.gate {
            gate.notified().await;
        }
        self.acts.fetch_add(1, Ordering::SeqCst);
        let acted = self.acted.lock().expect("no panic").clone();
        acted.unwrap_or_else(|| Acted::done("ok"))
    }

    async fn look(&self, _execution: &Execution, acting: &Acting) -> Seen {
        assert_eq!(acting.observed, json!({"uid": "u"}));
        self.seen.lock().expect("no panic").remove(0)
    }
}

pub fn executors(postgres: &Postgres, slot: &str, hand: Arc<Scripted>) -> Executors {
    on_machine(postgres, slot, "here", hand)
}

pub fn on_machine(
    postgres: &Postgres,
    slot: &str,
    machine: &str,
    hand: Arc<Scripted>,
) -> Executors {
    let hands: BTreeMap<Executor, Arc<dyn Hand>> =
        BTreeMap::from([(Executor::Webhook, hand as Arc<dyn Hand>)]);
    Executors::new(hands, postgres.clone(), slot, machine)
}

pub fn action(key: &str) -> Execution {
    execution(
        key,
        Executor::Webhook,
        ActionKind::Scale,
        &[("replicas", "6")],
    )
}

pub async fn run(executors: &Executors, execution: &Execution) -> Outcome {
    executors
        .execute(execution)
        .await
        .expect("PostgreSQL answers")
}

pub async fn sql(postgres: &Postgres, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(&postgres.pool)
        .await
        .expect("a statement");
}

pub async fn count(postgres: &Postgres, condition: &str) -> i64 {
    let query = format!("SELECT count(*) FROM executions WHERE {condition}");
    sqlx::query_scalar(AssertSqlSafe(query))
        .fetch_one(&postgres.pool)
        .await
        .expect("a count")
}

/// An intent that a dead process left; `acting` says whether it had begun.
pub async fn left_behind(postgres: &Postgres, key: &str, slot: &str, acting: bool, lease_s: i32) {
    let hand = Arc::new(Scripted::default());
    run(&executors(postgres, slot, hand), &action(key)).await;
    let acting = if acting { "acting_at" } else { "NULL" };
    sql(
        postgres,
        &format!(
            "UPDATE executions SET phase = 'intent', status = NULL, ended_at = NULL, output = '',
             acted_at_ms = NULL, acting_at = {acting}, lease_until = now() + INTERVAL '{lease_s} s'
         WHERE key = '{key}'"
        ),
    )
    .await;
}
