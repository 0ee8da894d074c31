//! What the tests of the executors share.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod cluster;
pub mod http;

use midwatch_clients::postgres::Postgres;
use midwatch_events::action::{ActionKind, Executor, ExpectedEffect, RiskClass, TypedAction};
use midwatch_events::anomaly::Direction;
use midwatch_remediation::execution::Execution;
use uuid::Uuid;

pub fn variable(name: &str) -> Option<String> {
    std::env::vars()
        .find(|(found, _)| found == name)
        .map(|(_, value)| value)
}

/// A database of its own on the test server, and its address.
pub async fn database(name: &str) -> (Postgres, String) {
    let server = variable("MIDWATCH_TEST_DATABASE_URL").unwrap_or_else(|| {
        panic!(
            "MIDWATCH_TEST_DATABASE_URL is not set: run through `make test` (midwatch-stack exec)"
        )
    });
    let admin = Postgres::connect(&server, 1).await.expect("PostgreSQL");
    let name = format!("{name}_{}", midwatch_runtime::clock::random_id().simple());
    let create = format!("CREATE DATABASE {name}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(create))
        .execute(&admin.pool)
        .await
        .expect("a new database");
    let (rest, query) = server.split_once('?').unwrap_or((&server, ""));
    let (base, _) = rest.rsplit_once('/').expect("a URL with a database");
    let url = format!("{base}/{name}?{query}");
    let url = url.trim_end_matches('?').to_owned();
    let postgres = Postgres::connect(&url, 4).await.expect("the new database");
    postgres.migrate().await.expect("the schema");
    (postgres, url)
}

/// An execution in the shop, with limits that allow everything.
pub fn execution(
    key: &str,
    executor: Executor,
    kind: ActionKind,
    arguments: &[(&str, &str)],
) -> Execution {
    let arguments = arguments
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Execution {
        key: key.to_owned(),
        incident_id: Uuid::from_u128(7),
        environment: "production".to_owned(),
        plan_id: Uuid::from_u128(8),
        step_id: "S1".to_owned(),
        action: TypedAction {
            kind,
            service: "checkout".to_owned(),
            arguments,
            risk: RiskClass::Disruptive,
            executor,
            pre_checks: Vec::new(),
            blast_radius: String::new(),
            effect: ExpectedEffect {
                service: "checkout".to_owned(),
                metric: "service_latency_p99_ms".to_owned(),
                direction: Direction::Below,
                baseline_value: 280.3,
                within_ms: 180_000,
            },
            undo: None,
        },
        is_undo: false,
        dry_run: false,
        cool_down_ms: 0,
        hourly_limit: 1_000,
        approvals: Vec::new(),
    }
}
