//! Poison for every consumer: each agent, as the process that runs in the
//! stack, gets unreadable messages on each of its topics. Each must end on the
//! dead-letter topic with its reason, and the next message must be processed.

use midwatch_clients::kafka::{self, KafkaSettings, Producer};
use midwatch_clients::postgres::Postgres;
use midwatch_events::Topic;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Headers;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(90);

/// Who reads what, except for detection's raw topics and their own offsets.
const READERS: &[(&str, &[Topic])] = &[
    (
        "correlation",
        &[
            Topic::AnomaliesDetected,
            Topic::IncidentsResolved,
            Topic::OperatorCommands,
        ],
    ),
    (
        "investigation",
        &[
            Topic::IncidentsOpened,
            Topic::IncidentsUpdated,
            Topic::AnomaliesDetected,
            Topic::RemediationActions,
            Topic::OperatorCommands,
        ],
    ),
    (
        "remediation",
        &[
            Topic::RcaCompleted,
            Topic::IncidentsResolved,
            Topic::OperatorCommands,
        ],
    ),
    (
        "communication",
        &[
            Topic::IncidentsOpened,
            Topic::IncidentsUpdated,
            Topic::RcaCompleted,
            Topic::RemediationPlans,
            Topic::RemediationActions,
            Topic::IncidentsResolved,
            Topic::PostmortemsGenerated,
        ],
    ),
    (
        "postmortem",
        &[
            Topic::IncidentsResolved,
            Topic::RemediationActions,
            Topic::OperatorCommands,
        ],
    ),
    (
        "detection",
        &[
            Topic::RawMetrics,
            Topic::RawLogs,
            Topic::RawSpans,
            Topic::RawKubernetes,
        ],
    ),
];

fn variable(name: &str) -> Option<String> {
    std::env::vars()
        .find(|(found, _)| found == name)
        .map(|(_, value)| value)
}

fn needed(name: &str) -> String {
    variable(name).unwrap_or_else(|| panic!("{name} is not set: run through `make test`"))
}

/// Ends the processes, whatever becomes of the test.
struct Agents(Vec<Child>);

impl Drop for Agents {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended by itself, which the test then shows.
            if child.kill().is_ok() {
                child.wait().expect("a killed child can be waited for");
            }
        }
    }
}

async fn database() -> (Postgres, String) {
    let base = needed("MIDWATCH_TEST_DATABASE_URL");
    let admin = Postgres::connect(&base, 1)
        .await
        .expect("the test server answers");
    let name = format!("poison_{}", std::process::id());
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

fn golden(topic: Topic) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/events/golden")
        .join(format!("{}.v1.json", topic.name()));
    serde_json::from_str(&std::fs::read_to_string(path).expect("a golden file")).expect("JSON")
}

fn start(agent: &str, kafka: &KafkaSettings, database: &str) -> Child {
    let program = PathBuf::from(needed("MIDWATCH_TEST_BIN_DIR")).join(format!("midwatch-{agent}"));
    let knowledge = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../knowledge");
    Command::new(&program)
        .env("KAFKA_BOOTSTRAP_SERVERS", &kafka.bootstrap)
        .env("KAFKA_TOPIC_PREFIX", &kafka.topic_prefix)
        .env("DATABASE_URL", database)
        .env("REDIS_URL", needed("MIDWATCH_TEST_REDIS_URL"))
        .env("QDRANT_URL", needed("MIDWATCH_TEST_QDRANT_URL"))
        .env("EMBEDDINGS_URL", needed("MIDWATCH_TEST_EMBEDDINGS_URL"))
        .env("SMTP_URL", needed("MIDWATCH_TEST_SMTP_URL"))
        .env("KNOWLEDGE_DIR", knowledge)
        .env("HTTP_BIND", "127.0.0.1:0")
        .env("RUST_LOG", "error")
        .stdin(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()))
}

/// Unreadable payloads for a topic, with the kind that each must be named.
fn poison(topic: Topic) -> Vec<(Vec<u8>, &'static str)> {
    let mut wrong = golden(topic);
    for (_, value) in wrong.as_object_mut().expect("an object").iter_mut() {
        *value = json!([{"wrong": true}]);
    }
    let mut payloads = vec![
        (b"{not json".to_vec(), "not_json"),
        (serde_json::to_vec(&wrong).expect("JSON"), "bad_field"),
        (b"{}".to_vec(), "bad_field"),
    ];
    // As large as the topic takes, within five megabytes.
    let room = (topic.spec().max_bytes as usize - 64 * 1024).min(5 * 1024 * 1024);
    payloads.push((vec![b'x'; room], "not_json"));
    payloads
}

/// Reads dead letters until every (agent, topic) has as many as expected.
fn letters(
    kafka: &KafkaSettings,
    expected: usize,
) -> BTreeMap<(String, String), Vec<(String, String)>> {
    let reader: BaseConsumer = kafka
        .consumer_config("poison-reader", "0")
        .create()
        .expect("a reader");
    let topics: BTreeSet<String> = READERS
        .iter()
        .flat_map(|(_, topics)| topics.iter())
        .map(|topic| kafka.topic(&topic.dlq_name()))
        .collect();
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    reader.subscribe(&names).expect("subscribed");
    let mut found: BTreeMap<(String, String), Vec<(String, String)>> = BTreeMap::new();
    let deadline = Instant::now() + LIMIT;
    let mut count = 0;
    while count < expected && Instant::now() < deadline {
        let Some(Ok(message)) = reader.poll(Duration::from_millis(100)) else {
            continue;
        };
        let headers: BTreeMap<String, String> = message
            .headers()
            .expect("a dead letter has headers")
            .iter()
            .map(|header| {
                let value = String::from_utf8_lossy(header.value.unwrap_or_default());
                (header.key.to_owned(), value.into_owned())
            })
            .collect();
        let key = (
            headers["midwatch_agent"].clone(),
            headers["midwatch_topic"].clone(),
        );
        let what = (
            headers["midwatch_error_kind"].clone(),
            headers["midwatch_error"].clone(),
        );
        found.entry(key).or_default().push(what);
        count += 1;
    }
    found
}

async fn until(what: &str, mut fact: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !fact().await {
        assert!(Instant::now() < deadline, "within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Whether the agent's group has moved past the last message of a topic.
fn has_passed(kafka: &KafkaSettings, agent: &str, topic: Topic, place: (i32, i64)) -> bool {
    let prober: BaseConsumer = kafka
        .client_config()
        .set("group.id", kafka.group(agent))
        .create()
        .expect("a prober");
    let mut wanted = rdkafka::TopicPartitionList::new();
    wanted.add_partition(&kafka.topic(topic.name()), place.0);
    prober
        .committed_offsets(wanted, Duration::from_secs(5))
        .is_ok_and(|found| {
            found.elements()[0]
                .offset()
                .to_raw()
                .is_some_and(|next| next > place.1)
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_consumer_dead_letters_poison_and_processes_the_next_message() {
    let broker = variable("MIDWATCH_TEST_KAFKA").unwrap_or_else(|| needed("MIDWATCH_TEST_TANSU"));
    let mut kafka = KafkaSettings::at(&broker);
    kafka.topic_prefix = format!("poison{}.", std::process::id());
    kafka::create_topics(&kafka).await.expect("topics");
    let epoch = Uuid::from_u128(u128::from(std::process::id())).to_string();
    kafka::ensure_epoch(&kafka, &epoch).await.expect("an epoch");
    let (_postgres, url) = database().await;

    let producer = Producer::new(&kafka).expect("a producer");
    let mut lasts: BTreeMap<Topic, (i32, i64)> = BTreeMap::new();
    for topic in READERS.iter().flat_map(|(_, topics)| topics.iter()) {
        if lasts.contains_key(topic) {
            continue;
        }
        let name = topic.name();
        for (payload, _) in poison(*topic) {
            producer
                .publish_bytes(name, b"one-key", &payload, &[])
                .await
                .expect("taken");
        }
        let good = serde_json::to_vec(&golden(*topic)).expect("JSON");
        let place = producer
            .publish_bytes(name, b"one-key", &good, &[])
            .await
            .expect("taken");
        lasts.insert(*topic, place);
    }

    let agents: Vec<Child> = READERS
        .iter()
        .map(|(agent, _)| start(agent, &kafka, &url))
        .collect();
    let _agents = Agents(agents);
    let expected: usize = READERS
        .iter()
        .flat_map(|(_, topics)| topics.iter())
        .map(|topic| poison(*topic).len())
        .sum();
    let found = tokio::task::block_in_place(|| letters(&kafka, expected));
    for (agent, topics) in READERS {
        for topic in *topics {
            let mut kinds: Vec<&str> = found
                .get(&((*agent).to_owned(), topic.name().to_owned()))
                .map(|letters| letters.iter().map(|(kind, _)| kind.as_str()).collect())
                .unwrap_or_default();
            kinds.sort_unstable();
            let mut wanted: Vec<&str> = poison(*topic).iter().map(|(_, kind)| *kind).collect();
            wanted.sort_unstable();
            assert_eq!(kinds, wanted, "{agent} on {}", topic.name());
        }
    }
    assert!(
        found
            .values()
            .flatten()
            .all(|(_, reason)| !reason.is_empty())
    );
    for (agent, topics) in READERS {
        for topic in *topics {
            let what = format!("{agent} goes on after the poison on {}", topic.name());
            until(&what, async || {
                has_passed(&kafka, agent, *topic, lasts[topic])
            })
            .await;
        }
    }
}
