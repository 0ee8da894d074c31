//! Poison for every consumer: each agent, as the process that runs in the
//! stack, gets unreadable messages on each of its topics. Each must end on the
//! dead-letter topic with its reason, and the next message must be processed.

mod support;

use midwatch_clients::kafka::{self, KafkaSettings, Producer};
use midwatch_events::Topic;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Headers;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{Running, database, golden, needed, until, variable};
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
            Topic::OperatorCommands,
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
    let (_postgres, url) = database("poison").await;

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

    let _agents: Vec<Running> = READERS
        .iter()
        .map(|(agent, _)| Running(start(agent, &kafka, &url)))
        .collect();
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
            until(&what, LIMIT, async || {
                has_passed(&kafka, agent, *topic, lasts[topic])
            })
            .await;
        }
    }
}
