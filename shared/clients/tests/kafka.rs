//! The Kafka client against every broker that can be had here.

mod support;

use midwatch_clients::error::Gravity;
use midwatch_clients::kafka::{self, KafkaSettings, Producer, event_headers};
use midwatch_events::topics::{DLQ_MAX_BYTES, RAW_MAX_BYTES, TOPICS};
use midwatch_events::{Coordinates, Envelope, Topic, decode};
use rdkafka::Message;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Headers;
use std::time::{Duration, Instant};
use support::{needed, variable};
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(30);

/// Settings for each broker, with a prefix that no other test has.
fn settings(test: &str) -> Vec<KafkaSettings> {
    let brokers: Vec<String> = ["MIDWATCH_TEST_KAFKA", "MIDWATCH_TEST_TANSU"]
        .into_iter()
        .filter_map(variable)
        .collect();
    if brokers.is_empty() {
        needed("MIDWATCH_TEST_TANSU");
    }
    brokers
        .iter()
        .map(|broker| {
            let mut settings = KafkaSettings::at(broker);
            settings.topic_prefix = format!("{test}{}.", std::process::id());
            settings
        })
        .collect()
}

fn metric(value: f64) -> Envelope {
    let payload = format!(
        r#"{{"service": "checkout", "metric_name": "m", "metric_value": {value}, "timestamp_ms": 1767225600000}}"#
    );
    let place = Coordinates {
        epoch: "e".to_owned(),
        topic: "raw.metrics".to_owned(),
        partition: 0,
        offset: value as i64,
        record_ms: 1_767_225_600_000,
    };
    decode(Topic::RawMetrics, payload.as_bytes(), &place).expect("a metric")
}

fn read(consumer: &BaseConsumer, wanted: usize) -> Vec<rdkafka::message::OwnedMessage> {
    let deadline = Instant::now() + LIMIT;
    let mut found = Vec::new();
    while found.len() < wanted && Instant::now() < deadline {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            found.push(message.detach());
        }
    }
    found
}

fn reader(settings: &KafkaSettings, group: &str, topic: &str) -> BaseConsumer {
    let consumer: BaseConsumer = settings
        .consumer_config(&settings.group(group), "0")
        .create()
        .expect("a consumer");
    consumer
        .subscribe(&[&settings.topic(topic)])
        .expect("subscribed");
    consumer
}

#[tokio::test]
async fn every_topic_is_created_with_its_settings_and_creating_again_changes_nothing() {
    for settings in settings("create") {
        let created = kafka::create_topics(&settings).await.expect("created");
        assert_eq!(
            created,
            2 * TOPICS.len() + 1,
            "topics, dead letters and the epoch"
        );
        assert_eq!(kafka::create_topics(&settings).await.expect("again"), 0);
        let admin: AdminClient<DefaultClientContext> =
            settings.client_config().create().expect("an admin client");
        for (name, bytes) in [("raw.logs", RAW_MAX_BYTES), ("raw.logs.dlq", DLQ_MAX_BYTES)] {
            let name = settings.topic(name);
            let found = admin
                .describe_configs(&[ResourceSpecifier::Topic(&name)], &AdminOptions::new())
                .await
                .expect("described");
            let resource = found[0].as_ref().expect("the topic is there");
            let limit = resource
                .get("max.message.bytes")
                .and_then(|entry| entry.value.clone());
            // A broker that shows no topic settings must still take the size,
            // which another test holds.
            if let Some(limit) = limit {
                assert_eq!(limit, bytes.to_string(), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn the_epoch_is_written_once_and_read_by_everybody() {
    for settings in settings("epoch") {
        kafka::create_topics(&settings).await.expect("topics");
        let first = kafka::ensure_epoch(&settings, "first")
            .await
            .expect("written");
        let second = kafka::ensure_epoch(&settings, "second")
            .await
            .expect("kept");
        assert_eq!((first.as_str(), second.as_str()), ("first", "first"));
        let reader = settings.clone();
        let read = tokio::task::spawn_blocking(move || kafka::read_epoch(&reader)).await;
        assert_eq!(
            read.expect("no panic").expect("read"),
            Some("first".to_owned())
        );
    }
}

#[tokio::test]
async fn an_event_arrives_with_key_headers_and_the_same_bytes() {
    for settings in settings("event") {
        kafka::create_topics(&settings).await.expect("topics");
        let producer = Producer::new(&settings).expect("a producer");
        let envelope = metric(4.0);
        producer.publish(&envelope).await.expect("acknowledged");
        let found = read(&reader(&settings, "one", "raw.metrics"), 1);
        assert_eq!(found[0].key(), Some(b"checkout".as_slice()));
        assert_eq!(found[0].payload(), Some(envelope.encode().as_slice()));
        let headers = found[0].headers().expect("headers");
        for (index, (name, value)) in event_headers(&envelope).iter().enumerate() {
            let header = headers.get(index);
            assert_eq!(header.key, name);
            assert_eq!(header.value, Some(value.as_bytes()));
        }
    }
}

#[tokio::test]
async fn order_is_kept_per_key_and_committed_offsets_survive_the_consumer() {
    for settings in settings("order") {
        kafka::create_topics(&settings).await.expect("topics");
        let producer = Producer::new(&settings).expect("a producer");
        let all: Vec<Envelope> = (0..200).map(|index| metric(f64::from(index))).collect();
        producer.publish_all(&all).await.expect("acknowledged");
        let first = reader(&settings, "order", "raw.metrics");
        let found = read(&first, 120);
        for (index, message) in found.iter().enumerate() {
            assert_eq!(message.payload(), Some(all[index].encode().as_slice()));
        }
        let last = &found[119];
        first
            .store_offset(last.topic(), last.partition(), last.offset())
            .expect("stored");
        first
            .commit_consumer_state(CommitMode::Sync)
            .expect("committed");
        drop(first);
        let rest = read(&reader(&settings, "order", "raw.metrics"), 80);
        assert_eq!(
            rest[0].payload(),
            Some(all[120].encode().as_slice()),
            "goes on where it stopped"
        );
        assert_eq!(rest.len(), 80);
    }
}

#[tokio::test]
async fn a_dead_letter_carries_the_original_and_where_it_lay() {
    for settings in settings("dead") {
        kafka::create_topics(&settings).await.expect("topics");
        let producer = Producer::new(&settings).expect("a producer");
        let place = Coordinates {
            epoch: "e".to_owned(),
            topic: "raw.logs".to_owned(),
            partition: 2,
            offset: 77,
            record_ms: 5,
        };
        let original = vec![b'x'; 5 * 1024 * 1024];
        producer
            .dead_letter(
                "raw.logs",
                Some(b"k"),
                &original,
                &place,
                "test",
                "not_json",
                "line 1\nbad",
            )
            .await
            .expect("acknowledged");
        let found = read(&reader(&settings, "dead", "raw.logs.dlq"), 1);
        assert_eq!(found[0].payload(), Some(original.as_slice()));
        let headers = found[0].headers().expect("headers");
        let pairs: Vec<(String, String)> = headers
            .iter()
            .map(|header| {
                let value = String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned();
                (header.key.to_owned(), value)
            })
            .collect();
        for (name, value) in [
            ("midwatch_error_kind", "not_json"),
            ("midwatch_error", "line 1bad"),
            ("midwatch_partition", "2"),
            ("midwatch_offset", "77"),
            ("midwatch_payload_whole", "true"),
        ] {
            assert!(
                pairs.contains(&(name.to_owned(), value.to_owned())),
                "{name} in {pairs:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_is_a_permanent_error() {
    for settings in settings("large") {
        kafka::create_topics(&settings).await.expect("topics");
        let producer = Producer::new(&settings).expect("a producer");
        let huge = vec![b'x'; 9 * 1024 * 1024];
        let error = producer
            .publish_bytes("raw.logs", b"k", &huge, &[])
            .await
            .expect_err("larger than any topic takes");
        assert_eq!(error.gravity(), Gravity::Permanent, "{error}");
    }
}

#[test]
fn ids_of_outside_records_name_the_epoch() {
    let one = metric(1.0).meta.event_id;
    assert_ne!(one, Uuid::nil());
    assert_ne!(one, metric(2.0).meta.event_id);
}
