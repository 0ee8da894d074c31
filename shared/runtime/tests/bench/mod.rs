//! What the engine tests stand on: topics, group, database and a small agent
//! of their own, on the servers of `make test`.

mod counter;

use counter::{Counter, CounterState};
use midwatch_clients::kafka::{self, KafkaSettings, Producer};
use midwatch_clients::postgres::{Postgres, artifacts, delivery};
use midwatch_events::artifact::Artifact;
use midwatch_events::{IncidentHeader, Topic, ids};
use midwatch_runtime::engine::{self, EngineSettings};
use midwatch_runtime::{Readiness, ServiceContext, Settings, Shutdown, clock};
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Headers;
use serde_json::{Value, json};
use sqlx::Row;
use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use uuid::Uuid;

/// How long anything here may take: group joins take seconds on a busy
/// machine.
const LIMIT: Duration = Duration::from_secs(60);

fn variable(name: &str) -> Option<String> {
    std::env::vars()
        .find(|(found, _)| found == name)
        .map(|(_, value)| value)
}

fn needed(name: &str) -> String {
    variable(name).unwrap_or_else(|| {
        panic!(
            "{name} is not set: these tests need the servers of `make test` (midwatch-stack exec)"
        )
    })
}

/// The brokers that can be had here, Apache Kafka first.
pub fn brokers() -> Vec<String> {
    let found: Vec<String> = ["MIDWATCH_TEST_KAFKA", "MIDWATCH_TEST_TANSU"]
        .into_iter()
        .filter_map(variable)
        .collect();
    assert!(
        !found.is_empty(),
        "neither MIDWATCH_TEST_KAFKA nor MIDWATCH_TEST_TANSU is set: run through `make test`"
    );
    found
}

pub struct Bench {
    kafka: KafkaSettings,
    postgres: Postgres,
    url: String,
    producer: Producer,
    epoch: String,
}

pub struct Letter {
    pub payload: Vec<u8>,
    pub kind: String,
    pub reason: String,
}

/// An agent that runs in this process.
pub struct Running {
    stop: tokio::sync::watch::Sender<bool>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let ended = tokio::time::timeout(LIMIT, self.task)
            .await
            .expect("it stops in time");
        ended.expect("no panic").expect("a clean end");
    }

    pub async fn ended(self) -> String {
        let ended = tokio::time::timeout(LIMIT, self.task)
            .await
            .expect("it ends in time");
        format!(
            "{:#}",
            ended.expect("no panic").expect_err("it ends with an error")
        )
    }
}

impl Bench {
    pub async fn start(broker: &str) -> Bench {
        let unique = clock::random_id().simple().to_string();
        let mut kafka = KafkaSettings::at(broker);
        kafka.topic_prefix = format!("t{}.", &unique[..10]);
        let base = needed("MIDWATCH_TEST_DATABASE_URL");
        let admin = Postgres::connect(&base, 1)
            .await
            .expect("the test server answers");
        let name = format!("engine_{}", &unique[..10]);
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&admin.pool)
            .await
            .expect("a database of our own");
        let (server, _) = base.rsplit_once('/').expect("a URL with a database");
        let url = format!("{server}/{name}");
        let postgres = Postgres::connect(&url, 4).await.expect("the new database");
        postgres.migrate().await.expect("the schema");
        kafka::create_topics(&kafka).await.expect("topics");
        let epoch = kafka::ensure_epoch(&kafka, &unique)
            .await
            .expect("an epoch");
        let producer = Producer::new(&kafka).expect("a producer");
        Bench {
            kafka,
            postgres,
            url,
            producer,
            epoch,
        }
    }

    fn context(&self) -> (tokio::sync::watch::Sender<bool>, ServiceContext) {
        let (stop, shutdown) = Shutdown::channel();
        let settings = BTreeMap::from([("DATABASE_URL".to_owned(), self.url.clone())]);
        let context = ServiceContext {
            name: "counter",
            settings: Settings::from_values(settings),
            shutdown,
            readiness: Readiness::default(),
            kafka: self.kafka.clone(),
        };
        (stop, context)
    }

    pub async fn run_agent(&self, slot: &str) -> Running {
        let (stop, context) = self.context();
        let settings = EngineSettings {
            job_concurrency: 2,
            job_timeout: Duration::from_secs(20),
            slot: slot.to_owned(),
        };
        let task = tokio::spawn(engine::run(Counter::default(), context, settings));
        Running { stop, task }
    }

    /// An agent whose broker shows another epoch as soon as it has begun.
    pub async fn run_agent_under_epoch(&self, slot: &str, epoch: &str) -> Running {
        let running = self.run_agent(slot).await;
        self.open_incident("first").await;
        self.until("it has begun", || self.count("first", 1)).await;
        // The log is emptied: the topic goes, and comes back with another id.
        let admin: rdkafka::admin::AdminClient<rdkafka::client::DefaultClientContext> = self
            .kafka
            .client_config()
            .create()
            .expect("an admin client");
        let name = self.kafka.topic(midwatch_events::topics::EPOCH_TOPIC);
        let options = rdkafka::admin::AdminOptions::new();
        admin
            .delete_topics(&[&name], &options)
            .await
            .expect("the topic can be deleted");
        let deadline = Instant::now() + LIMIT;
        while kafka::create_topics(&self.kafka)
            .await
            .is_ok_and(|created| created == 0)
        {
            assert!(Instant::now() < deadline, "the topic is deleted in time");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        kafka::ensure_epoch(&self.kafka, epoch)
            .await
            .expect("another epoch");
        running
    }

    pub async fn produce(&self, topic: Topic, key: &str, payload: &[u8]) {
        self.producer
            .publish_bytes(topic.name(), key.as_bytes(), payload, &[])
            .await
            .expect("the broker takes it");
    }

    pub fn incident(&self, name: &str) -> Uuid {
        ids::derive(&[&self.epoch, name])
    }

    fn header(&self, name: &str) -> IncidentHeader {
        IncidentHeader {
            incident_id: self.incident(name),
            short_id: ids::short_incident(self.incident(name)),
            environment: "test".to_owned(),
            severity: midwatch_events::Severity::High,
            anomaly_type: midwatch_events::AnomalyType::LatencySpike,
            affected_services: vec![name.to_owned()],
            detected_at_ms: 1_767_225_600_000,
            detected_wall_ms: 1_767_225_600_000,
        }
    }

    /// A complete `incidents.opened` payload; `description` tells the counting
    /// agent what else to do.
    fn opened_with(&self, name: &str, description: &str) -> Vec<u8> {
        let mut value = serde_json::to_value(self.header(name)).expect("JSON");
        let rest = json!({
            "event_id": ids::derive(&["opened", &self.epoch, name]), "opened_at_ms": 1_767_225_600_000_i64,
            "trigger_metric": "m", "observed_value": 2.0, "baseline_value": 1.0,
            "deviation_sigma": 3.0, "anomaly_score": 0.5, "correlation_signals": [],
            "blast_radius": {"impaired": [], "at_risk": [], "description": ""},
            "deployment_context": null, "recent_metrics": [], "recent_errors": [],
            "grouped_anomalies": [], "description": description,
        });
        let Value::Object(rest) = rest else {
            unreachable!("it is an object")
        };
        value.as_object_mut().expect("an object").extend(rest);
        serde_json::to_vec(&value).expect("JSON")
    }

    pub fn opened(&self, name: &str) -> Vec<u8> {
        self.opened_with(name, "")
    }

    pub async fn open_incident(&self, name: &str) {
        let payload = self.opened(name);
        self.produce(Topic::IncidentsOpened, name, &payload).await;
    }

    pub async fn open_incident_with_job(&self, name: &str, failures: u32) {
        let payload = self.opened_with(name, &format!("job:{failures}"));
        self.produce(Topic::IncidentsOpened, name, &payload).await;
    }

    /// A job that has no answer yet at its first so many looks.
    pub async fn open_incident_with_wait(&self, name: &str, looks: u32) {
        let payload = self.opened_with(name, &format!("job:waits:{looks}"));
        self.produce(Topic::IncidentsOpened, name, &payload).await;
    }

    pub async fn open_incident_listening(&self, name: &str, channel: &str) {
        let payload = self.opened_with(name, &format!("listen:{channel}"));
        self.produce(Topic::IncidentsOpened, name, &payload).await;
    }

    pub async fn open_incident_with_finding(&self, name: &str) {
        let payload = self.opened_with(name, "finding");
        self.produce(Topic::IncidentsOpened, name, &payload).await;
    }

    /// A person asks for something, by the wall clock.
    pub async fn command(&self, name: &str) {
        let now_ms = clock::now_ms();
        let payload = json!({"incident_id": self.incident(name), "command": "close",
            "target": "", "by": "maria", "credential_id": "", "reason": "",
            "issued_at_ms": now_ms, "expires_at_ms": now_ms + 60_000});
        let payload = serde_json::to_vec(&payload).expect("JSON");
        self.produce(Topic::OperatorCommands, name, &payload).await;
    }

    pub async fn artifacts(&self, name: &str) -> Vec<Artifact> {
        artifacts::of_incident(&self.postgres.pool, self.incident(name))
            .await
            .expect("they can be read")
    }

    /// Event times of the audit lines of this type.
    pub async fn audit_times(&self, event_type: &str) -> Vec<i64> {
        sqlx::query("SELECT event_time_ms FROM agent_events WHERE event_type = $1")
            .bind(event_type)
            .fetch_all(&self.postgres.pool)
            .await
            .expect("it can be read")
            .iter()
            .map(|row| row.get(0))
            .collect()
    }

    pub async fn resolve_incident(&self, name: &str) {
        let mut value = serde_json::to_value(self.header(name)).expect("JSON");
        let rest = json!({"resolved_at_ms": 1_767_225_700_000_i64, "resolved_wall_ms": 1_767_225_700_000_i64,
            "mttr_ms": 1, "mttr_minutes": 0.1, "resolution_method": "RECOVERED", "top_root_cause": "",
            "trigger_metric": "m", "settling_readings": [], "baseline_value": 1.0});
        let Value::Object(rest) = rest else {
            unreachable!("it is an object")
        };
        value.as_object_mut().expect("an object").extend(rest);
        let payload = serde_json::to_vec(&value).expect("JSON");
        self.produce(Topic::IncidentsResolved, name, &payload).await;
    }

    pub async fn anomaly(&self, service: &str) {
        let payload = json!({"anomaly_id": clock::random_id(), "environment": "test",
            "transition": "started", "anomaly_type": "LATENCY_SPIKE", "severity": "HIGH",
            "service": service, "trigger_metric": "m", "observed_value": 2.0, "baseline_value": 1.0,
            "deviation_sigma": 3.0, "anomaly_score": 0.5, "direction": "above",
            "detected_at_ms": 1_767_225_600_000_i64, "detected_wall_ms": 1_767_225_600_000_i64,
            "onset_ms": 1_767_225_600_000_i64, "description": "", "evidence": []});
        let payload = serde_json::to_vec(&payload).expect("JSON");
        self.produce(Topic::AnomaliesDetected, "test", &payload)
            .await;
    }

    /// Waits until `fact` holds, or panics with `what`.
    pub async fn until<F: Future<Output = bool>>(&self, what: &str, fact: impl Fn() -> F) {
        let deadline = Instant::now() + LIMIT;
        while !fact().await {
            assert!(Instant::now() < deadline, "within {LIMIT:?}: {what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn state(&self, name: &str) -> Option<(i64, CounterState)> {
        let mut tx = self.postgres.begin().await.expect("the database answers");
        let scope = self.incident(name).to_string();
        let (version, state) = delivery::load_state(&mut tx, "counter", &scope)
            .await
            .expect("it can be read");
        let state = state?;
        Some((
            version,
            serde_json::from_value(state["state"].clone()).expect("our own state"),
        ))
    }

    pub async fn count(&self, name: &str, expected: u64) -> bool {
        self.state(name)
            .await
            .is_some_and(|(_, state)| state.count == expected)
    }

    pub async fn read_version(&self, name: &str) -> i64 {
        self.state(name).await.expect("there is a state").0
    }

    pub async fn write_at(&self, name: &str, version: i64, state: Value) -> String {
        let mut tx = self.postgres.begin().await.expect("the database answers");
        let scope = self.incident(name).to_string();
        delivery::save_state(&mut tx, "counter", &scope, version, &state)
            .await
            .expect_err("the version is old")
            .to_string()
    }

    async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query(sql)
            .fetch_one(&self.postgres.pool)
            .await
            .expect("it can be read")
            .get(0)
    }

    pub async fn parked(&self, expected: i64) -> bool {
        self.number("SELECT count(*) FROM parked").await == expected
    }

    pub async fn expire_parked(&self) {
        sqlx::query("UPDATE parked SET expires_ms = 0")
            .execute(&self.postgres.pool)
            .await
            .expect("it can be written");
    }

    pub async fn job_attempts(&self) -> i64 {
        self.number("SELECT max(attempts)::bigint FROM jobs").await
    }

    pub async fn outbox_is_empty(&self) -> bool {
        self.number("SELECT count(*) FROM outbox WHERE sent_at IS NULL")
            .await
            == 0
    }

    /// What a process leaves that is killed between commit and publishing.
    pub async fn leave_in_outbox(&self) -> Vec<u8> {
        let bytes = br#"{"exactly": "these bytes"}"#.to_vec();
        let mut tx = self.postgres.begin().await.expect("the database answers");
        let topic = Topic::RemediationPlans.name();
        delivery::enqueue(
            &mut tx,
            "counter",
            clock::random_id(),
            topic,
            "k",
            &bytes,
            &json!([]),
        )
        .await
        .expect("it can be written");
        tx.commit().await.expect("committed");
        bytes
    }

    /// What a process leaves that is killed in the middle of a job.
    pub async fn leave_running_job(&self, name: &str, owner: &str) {
        sqlx::query(
            "INSERT INTO jobs (id, agent, scope, lane, kind, payload, max_attempts, status, attempts,
                 lease_owner, lease_until)
             VALUES ($1, 'counter', $2, $2, 'work', '{\"failures\": 0}', 3, 'running', 1, $3,
                 now() + INTERVAL '1 hour')",
        )
        .bind(clock::random_id())
        .bind(self.incident(name).to_string())
        .bind(owner)
        .execute(&self.postgres.pool)
        .await
        .expect("it can be written");
    }

    /// Reads `at_least` messages of a topic, and goes on for a second to see
    /// whether there are more than that.
    fn read(&self, topic: &str, at_least: usize) -> Vec<(Vec<u8>, BTreeMap<String, String>)> {
        let consumer: BaseConsumer = self
            .kafka
            .client_config()
            .set("group.id", format!("reader-{}", clock::random_id()))
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false")
            .set("fetch.message.max.bytes", "8388608")
            .create()
            .expect("a reader");
        let name = self.kafka.topic(topic);
        let mut assignment = rdkafka::TopicPartitionList::new();
        for partition in 0..self.kafka.partitions {
            assignment
                .add_partition_offset(&name, partition, rdkafka::Offset::Beginning)
                .expect("a partition");
        }
        consumer.assign(&assignment).expect("assigned");
        let mut found = Vec::new();
        let deadline = Instant::now() + LIMIT;
        let mut quiet = Instant::now() + Duration::from_secs(1);
        while Instant::now() < deadline && (found.len() < at_least || Instant::now() < quiet) {
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
                let headers = message.headers().map(|headers| {
                    headers
                        .iter()
                        .map(|header| {
                            let value = header.value.unwrap_or_default();
                            (
                                header.key.to_owned(),
                                String::from_utf8_lossy(value).into_owned(),
                            )
                        })
                        .collect()
                });
                found.push((
                    message.payload().unwrap_or_default().to_vec(),
                    headers.unwrap_or_default(),
                ));
                quiet = Instant::now() + Duration::from_secs(1);
            }
        }
        found
    }

    pub async fn dead_letters(&self, topic: Topic, expected: usize) -> Vec<Letter> {
        let letters = tokio::task::block_in_place(|| self.read(&topic.dlq_name(), expected));
        assert_eq!(letters.len(), expected, "dead letters of {}", topic.name());
        letters
            .into_iter()
            .map(|(payload, headers)| Letter {
                payload,
                kind: headers["midwatch_error_kind"].clone(),
                reason: headers["midwatch_error"].clone(),
            })
            .collect()
    }

    /// The messages that the counting agent published.
    pub async fn published(&self, at_least: usize) -> Vec<Vec<u8>> {
        tokio::task::block_in_place(|| self.read(Topic::RemediationPlans.name(), at_least))
            .into_iter()
            .map(|(payload, _)| payload)
            .collect()
    }
}
