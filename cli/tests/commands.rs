//! `midwatch incidents` and `midwatch topics` against the real API and broker.

mod support;

use midwatch_api::series::Recent;
use midwatch_api::topics::Topics;
use midwatch_api::{App, serve};
use midwatch_clients::kafka::{KafkaSettings, Producer};
use midwatch_clients::postgres::Postgres;
use midwatch_events::ids;
use midwatch_runtime::Shutdown;
use std::process::Stdio;
use std::time::Duration;
use support::{Database, Stage, kafka_with_topics};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(60);

fn incident_id(number: u128) -> Uuid {
    Uuid::from_u128(0xa1b2_c3d4_0000_5000_8000_0000_0000_0000 + (number << 96))
}

/// A database with `count` incidents, the last of them the newest.
async fn database(count: u128) -> Database {
    let database = Database::migrated().await;
    for number in 0..count {
        let id = incident_id(number);
        let short = ids::short_incident(id);
        let (status, severity) = if number == 0 {
            ("RESOLVED", "MEDIUM")
        } else {
            ("INVESTIGATING", "CRITICAL")
        };
        database
            .run(&format!(
                "INSERT INTO incidents (id, short_id, environment, status, anomaly_type, severity,
                     affected_services, detection_time, created_at, updated_at)
                 VALUES ('{id}', '{short}', 'simulation', '{status}', 'LATENCY_SPIKE', '{severity}',
                     '[\"payment-service\"]', to_timestamp(1795316645), to_timestamp(1795316646 + {number}),
                     to_timestamp(1795316646 + {number}))"
            ))
            .await;
    }
    database
}

/// The API over a database, at an address that DASHBOARD_URL of the stage
/// names.
struct Served {
    stage: Stage,
    database: Database,
    postgres: Postgres,
    switch: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Served {
    async fn start(database: Database) -> Served {
        let postgres = Postgres::connect(&database.url, 4).await.expect("it opens");
        let (switch, shutdown) = Shutdown::channel();
        let topics = Topics::new(KafkaSettings::at("127.0.0.1:1"));
        let app = App::new(&postgres.pool, Recent::default(), topics, shutdown);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            let pool = app.pool.clone();
            serve(app, listener).await.expect("a clean end");
            pool.close().await;
        });
        let mut stage = Stage::nowhere();
        stage.set("DASHBOARD_URL", format!("http://{address}"));
        stage.values.remove("MIDWATCH_API_URL");
        Served {
            stage,
            database,
            postgres,
            switch,
            task,
        }
    }

    async fn stop(self) {
        self.switch.send_replace(true);
        self.task.await.expect("no panic");
        self.postgres.pool.close().await;
        self.database.close().await;
    }
}

#[tokio::test]
async fn incidents_are_listed_and_filtered() {
    let served = Served::start(database(3).await).await;
    let stage = &served.stage;
    let newest = ids::short_incident(incident_id(2));
    let ended = stage.run(&["incidents"]).await;
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert!(ended.out.starts_with(&newest), "{}", ended.out);
    let line = "CRITICAL  INVESTIGATING  2026-11-22 03:04:05Z  simulation";
    assert!(ended.out.contains(line), "{}", ended.out);
    assert!(ended.out.ends_with("\n3 incidents\n"), "{}", ended.out);
    let json = stage
        .run(&["incidents", "--limit", "2", "--json"])
        .await
        .json();
    assert_eq!(json["items"].as_array().map(Vec::len), Some(2));
    assert!(json["next"].is_string());
    let arguments = [
        "incidents",
        "--status",
        "resolved",
        "--severity",
        "MEDIUM",
        "--json",
    ];
    let json = stage.run(&arguments).await.json();
    assert_eq!(json["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(json["items"][0]["id"], incident_id(0).to_string());
    let ended = stage.run(&["incidents", "--service", "nobody"]).await;
    assert_eq!(ended.out, "no incident matches\n");
    served.stop().await;
}

#[tokio::test]
async fn an_incident_is_shown_by_either_id() {
    let served = Served::start(database(3).await).await;
    let stage = &served.stage;
    let newest = ids::short_incident(incident_id(2));
    for id in [newest.clone(), incident_id(2).to_string()] {
        let ended = stage.run(&["incidents", "show", &id]).await;
        assert_eq!((ended.code, ended.err.as_str()), (0, ""));
        let head = format!("{newest}  CRITICAL  INVESTIGATING\n");
        assert!(ended.out.starts_with(&head), "{}", ended.out);
        assert!(
            ended.out.contains("services      payment-service\n"),
            "{}",
            ended.out
        );
    }
    let json = stage
        .run(&["incidents", "show", &newest, "--json"])
        .await
        .json();
    assert_eq!(json["short_id"], newest);
    let ended = stage.run(&["incidents", "show", "INC-00000000"]).await;
    assert_eq!((ended.code, ended.out.as_str()), (1, ""));
    let told = ended.err.starts_with("midwatch: ") && ended.err.contains("  mend: ");
    assert!(told, "{}", ended.err);
    let ended = stage.run(&["incidents", "show", "../health"]).await;
    assert!(
        ended.code == 1 && ended.err.contains("is no incident's id"),
        "{}",
        ended.err
    );
    served.stop().await;
}

#[tokio::test]
async fn what_is_not_understood_or_not_there_has_its_exit_code_and_remedy() {
    let stage = Stage::nowhere();
    let ended = stage.run(&["incidents", "--status", "BROKEN"]).await;
    assert_eq!(ended.code, 2);
    assert!(ended.err.contains("RCA_COMPLETE"), "{}", ended.err);
    let ended = stage.run(&["incidents"]).await;
    assert_eq!(ended.code, 1);
    assert!(
        ended.err.contains("nobody answers there") && ended.err.contains("mend: start Midwatch"),
        "{}",
        ended.err
    );
    let ended = stage.run(&["topics"]).await;
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("midwatch doctor"), "{}", ended.err);
    let output = Command::new(env!("CARGO_BIN_EXE_midwatch"))
        .args(["doctor", "--env-file", "/nowhere/at-all.env"])
        .output()
        .await
        .expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/at-all.env cannot be read"));
}

async fn publish(settings: &KafkaSettings, topic: &str, texts: &[&str]) {
    let producer = Producer::new(settings).expect("a producer");
    for text in texts {
        let headers = [("midwatch_error".to_owned(), "a field is missing".to_owned())];
        let sent = producer.publish_bytes(topic, b"payment-service", text.as_bytes(), &headers);
        sent.await.expect("acknowledged");
    }
}

#[tokio::test]
async fn topics_come_straight_from_the_broker() {
    let settings = kafka_with_topics().await;
    publish(&settings, "raw.logs", &["one", "two", "three"]).await;
    let mut stage = Stage::nowhere();
    stage.set_kafka(&settings);
    let overview = stage.run(&["topics", "--json"]).await.json();
    let topics = overview["topics"].as_array().expect("topics");
    assert_eq!(topics.len(), 31, "only those under the prefix");
    let name = settings.topic("raw.logs");
    let logs = topics.iter().find(|topic| topic["name"] == name.as_str());
    let logs = logs.expect("the topic");
    assert_eq!(
        (&logs["partitions"], &logs["messages"]),
        (&3.into(), &3.into())
    );
    let ended = stage.run(&["topics"]).await;
    assert_eq!(ended.code, 0);
    assert!(
        ended.out.contains("no group has read anything yet"),
        "{}",
        ended.out
    );
}

#[tokio::test]
async fn the_newest_messages_come_the_oldest_of_them_first() {
    let settings = kafka_with_topics().await;
    publish(&settings, "raw.logs", &["one", "two", "three"]).await;
    let mut stage = Stage::nowhere();
    stage.set_kafka(&settings);
    let name = settings.topic("raw.logs");
    // With and without the prefix.
    for topic in ["raw.logs", name.as_str()] {
        let ended = stage
            .run(&["topics", "tail", topic, "-n", "2", "--json"])
            .await;
        let lines: Vec<serde_json::Value> = ended
            .out
            .lines()
            .map(|line| serde_json::from_str(line).expect("a JSON line"))
            .collect();
        let texts: Vec<&str> = lines
            .iter()
            .filter_map(|line| line["payload"].as_str())
            .collect();
        assert_eq!(texts, ["two", "three"]);
        assert_eq!(lines[0]["key"], "payment-service");
    }
    let ended = stage.run(&["topics", "tail", "raw.logs"]).await;
    assert!(
        ended
            .out
            .contains("payment-service\n  error             a field is missing\n  one\n"),
        "{}",
        ended.out
    );
    let lines = stage
        .run(&["topics", "tail", "raw.logs", "--json"])
        .await
        .out;
    let first: serde_json::Value =
        serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
    let held = first["partition"].as_i64().expect("a partition");
    let other = ((held + 1) % 3).to_string();
    let ended = stage
        .run(&["topics", "tail", "raw.logs", "--partition", &other])
        .await;
    assert_eq!((ended.code, ended.out.as_str()), (0, ""));
    let ended = stage
        .run(&["topics", "tail", "raw.logs", "--partition", "7"])
        .await;
    assert_eq!(ended.code, 1);
    assert!(
        ended.err.contains("has no partition 7") && ended.err.contains("0 to 2"),
        "{}",
        ended.err
    );
    let ended = stage.run(&["topics", "tail", "raw.lgos"]).await;
    assert_eq!(ended.code, 1);
    assert!(
        ended.err.contains("did you mean") && ended.err.contains("raw.logs?"),
        "{}",
        ended.err
    );
}

#[tokio::test]
async fn following_shows_each_message_once_and_a_reader_that_leaves_ends_it_quietly() {
    let settings = kafka_with_topics().await;
    publish(&settings, "raw.logs", &["before"]).await;
    let mut stage = Stage::nowhere();
    stage.set_kafka(&settings);
    let mut child = stage
        .command(&["topics", "tail", "raw.logs", "--follow", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut seen = Vec::new();
    for (index, wanted) in ["before", "after-0", "after-1"].iter().enumerate() {
        let line = tokio::time::timeout(LIMIT, lines.next_line())
            .await
            .expect("in time");
        let line = line.expect("readable").expect("a line");
        let message: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        seen.push(message["payload"].as_str().expect("text").to_owned());
        assert_eq!(&seen[index], wanted, "{seen:?}");
        publish(&settings, "raw.logs", &[&format!("after-{index}")]).await;
    }
    // Nobody reads any more: the next message ends it, without a word.
    drop(lines);
    let mut words = String::new();
    let mut errors = child.stderr.take().expect("a pipe");
    publish(&settings, "raw.logs", &["to nobody"]).await;
    let status = tokio::time::timeout(LIMIT, child.wait())
        .await
        .expect("it ends")
        .expect("waited");
    errors.read_to_string(&mut words).await.expect("readable");
    assert_eq!((status.code(), words.as_str()), (Some(0), ""));
}
