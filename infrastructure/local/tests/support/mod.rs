//! What the tests of single agents share: their servers, a database of their
//! own, processes that end with the test.
#![allow(dead_code, reason = "each test program uses its own part")]

use midwatch_clients::postgres::Postgres;
use midwatch_events::Topic;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

pub fn variable(name: &str) -> Option<String> {
    std::env::vars()
        .find(|(found, _)| found == name)
        .map(|(_, value)| value)
}

pub fn needed(name: &str) -> String {
    variable(name).unwrap_or_else(|| panic!("{name} is not set: run through `make test`"))
}

/// Ends the process, whatever becomes of the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, which the test then shows.
        if self.0.kill().is_ok() {
            self.0.wait().expect("a killed child can be waited for");
        }
    }
}

/// A database of this test's own, with the schema, and its address.
pub async fn database(test: &str) -> (Postgres, String) {
    let base = needed("MIDWATCH_TEST_DATABASE_URL");
    let admin = Postgres::connect(&base, 1)
        .await
        .expect("the test server answers");
    let name = format!("{test}_{}", std::process::id());
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&admin.pool)
        .await
        .expect("a database of our own");
    let (server, _) = base.rsplit_once('/').expect("a URL with a database");
    let url = format!("{server}/{name}");
    let postgres = Postgres::connect(&url, 4).await.expect("connected");
    postgres.migrate().await.expect("the schema");
    (postgres, url)
}

/// The golden message of a topic.
pub fn golden(topic: Topic) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/events/golden")
        .join(format!("{}.v1.json", topic.name()));
    serde_json::from_str(&std::fs::read_to_string(path).expect("a golden file")).expect("JSON")
}

pub async fn until(what: &str, limit: Duration, mut fact: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !fact().await {
        assert!(Instant::now() < deadline, "within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
