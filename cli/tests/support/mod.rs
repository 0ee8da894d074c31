//! Running `midwatch` against real servers.

#![allow(dead_code, reason = "each test file uses its own part")]

pub mod doubles;
pub mod processes;

use midwatch_clients::kafka::{KafkaSettings, create_topics, ensure_epoch};
use midwatch_clients::postgres::Postgres;
use midwatch_runtime::{Settings, clock};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::Mutex;

/// Nobody listens there.
pub const NOWHERE: u16 = 1;
/// No command of these tests takes longer.
const LIMIT: Duration = Duration::from_secs(60);

pub fn variable(name: &str) -> Option<String> {
    Settings::from_env().get(name)
}

pub fn needed(name: &str) -> String {
    variable(name).unwrap_or_else(|| {
        panic!(
            "{name} is not set: this test needs the servers of `make test` (midwatch-stack exec)"
        )
    })
}

/// The preferred broker that runs, and whether it is the fallback one.
pub fn broker() -> (String, bool) {
    match variable("MIDWATCH_TEST_KAFKA") {
        Some(broker) => (broker, false),
        None => (needed("MIDWATCH_TEST_TANSU"), true),
    }
}

/// Settings for the broker, with a prefix that no other test has.
pub fn kafka() -> KafkaSettings {
    let mut settings = KafkaSettings::at(&broker().0);
    settings.topic_prefix = format!("cli-{}.", clock::random_id().simple());
    settings
}

/// The same, with all topics and an epoch.
pub async fn kafka_with_topics() -> KafkaSettings {
    let settings = kafka();
    create_topics(&settings).await.expect("topics");
    ensure_epoch(&settings, "epoch-of-a-test")
        .await
        .expect("an epoch");
    settings
}

/// A database of this test's own.
pub struct Database {
    pub url: String,
    admin: String,
    name: String,
}

/// Roles belong to all databases of a server; two migrations at once would
/// both create them.
static MIGRATING: Mutex<()> = Mutex::const_new(());

impl Database {
    pub async fn empty() -> Database {
        let admin = needed("MIDWATCH_TEST_DATABASE_URL");
        let name = format!("cli_{}", clock::random_id().simple());
        statement(&admin, format!("CREATE DATABASE {name}")).await;
        let (server, _) = admin.rsplit_once('/').expect("a URL names a database");
        Database {
            url: format!("{server}/{name}"),
            admin,
            name,
        }
    }

    pub async fn migrated() -> Database {
        let database = Database::empty().await;
        let guard = MIGRATING.lock().await;
        let postgres = Postgres::connect(&database.url, 2).await.expect("it opens");
        postgres.migrate().await.expect("the schema");
        postgres.pool.close().await;
        drop(guard);
        database
    }

    pub async fn run(&self, sql: &str) {
        statement(&self.url, sql.to_owned()).await;
    }

    pub async fn close(self) {
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        statement(&self.admin, drop).await;
    }
}

async fn statement(url: &str, sql: String) {
    let mut connection = PgConnection::connect(url)
        .await
        .expect("the server answers");
    sqlx::query(AssertSqlSafe(sql))
        .execute(&mut connection)
        .await
        .expect("it may");
    connection.close().await.expect("it ends");
}

/// Variables, and a folder for the file that holds them.
pub struct Stage {
    pub values: BTreeMap<String, String>,
    folder: tempfile::TempDir,
}

impl Stage {
    /// Where everything is nowhere.
    pub fn nowhere() -> Stage {
        let mut stage = Stage {
            values: BTreeMap::new(),
            folder: tempfile::tempdir().expect("a folder"),
        };
        for (name, value) in [
            ("KAFKA_BOOTSTRAP_SERVERS", format!("127.0.0.1:{NOWHERE}")),
            (
                "DATABASE_URL",
                format!("postgres://m:hidden-word@127.0.0.1:{NOWHERE}/m"),
            ),
            ("REDIS_URL", format!("redis://127.0.0.1:{NOWHERE}")),
            ("QDRANT_URL", format!("http://127.0.0.1:{NOWHERE}")),
            ("EMBEDDINGS_URL", format!("http://127.0.0.1:{NOWHERE}/v1")),
            ("SMTP_URL", format!("smtp://127.0.0.1:{NOWHERE}")),
            ("MIDWATCH_API_URL", format!("http://127.0.0.1:{NOWHERE}")),
        ] {
            stage.set(name, value);
        }
        stage
    }

    /// The same, but for a broker without topics, which is quicker than none.
    pub fn with_broker() -> Stage {
        let mut stage = Stage::nowhere();
        stage.set_kafka(&kafka());
        stage
    }

    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.values.insert(name.to_owned(), value.into());
    }

    pub fn set_kafka(&mut self, settings: &KafkaSettings) {
        self.set("KAFKA_BOOTSTRAP_SERVERS", &settings.bootstrap);
        self.set("KAFKA_TOPIC_PREFIX", &settings.topic_prefix);
    }

    /// The file that `--env-file` names.
    pub fn file(&self) -> PathBuf {
        let lines = self
            .values
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"));
        let path = self.folder.path().join("test.env");
        std::fs::write(&path, lines.collect::<String>()).expect("written");
        path
    }

    /// `midwatch` with these settings and no others.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_midwatch"));
        command
            .env_clear()
            .arg("--env-file")
            .arg(self.file())
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs it to its end.
    pub async fn run(&self, arguments: &[&str]) -> Ended {
        let output = tokio::time::timeout(LIMIT, self.command(arguments).output());
        Ended::of(output.await.expect("it ends").expect("it starts"))
    }

    /// The doctor's report.
    pub async fn examine(&self) -> Report {
        let ended = self.run(&["doctor", "--json"]).await;
        Report {
            code: ended.code,
            json: ended.json(),
        }
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ended {
    fn of(output: Output) -> Ended {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Ended {
            code: output.status.code().expect("no signal"),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// What the doctor found.
pub struct Report {
    pub code: i32,
    pub json: Value,
}

impl Report {
    /// Asserts how a check came out, and that these words are in what was
    /// found and in the remedy.
    pub fn expect(&self, check: &str, status: &str, found: &str, remedy: &str) {
        let all = self.json["checks"].as_array().expect("checks");
        let hit = all.iter().any(|one| {
            one["check"] == check
                && one["status"] == status
                && one["found"]
                    .as_str()
                    .is_some_and(|text| text.contains(found))
                && one["remedy"].as_str().unwrap_or_default().contains(remedy)
        });
        assert!(
            hit,
            "no {status} of {check} with {found:?} and {remedy:?} in {:#}",
            self.json
        );
    }
}
