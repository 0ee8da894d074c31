//! Creating topics, and the epoch of the broker's data.

use super::{KafkaError, KafkaSettings, Producer};
use midwatch_events::topics::{DLQ_MAX_BYTES, EPOCH_KEY, EPOCH_TOPIC, TOPICS};
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::Offset;
use rdkafka::types::RDKafkaErrorCode;
use std::time::{Duration, Instant};

/// How long one request to the broker may take.
const REQUEST: Duration = Duration::from_secs(10);

/// Creates every declared topic, its dead-letter topic and the epoch topic,
/// with retention and size limit, where they are missing. Topics that exist
/// keep their partitions and settings.
///
/// # Errors
/// The broker is away, or refuses a topic for another reason than that it
/// exists.
pub async fn create_topics(settings: &KafkaSettings) -> Result<usize, KafkaError> {
    struct Wanted {
        name: String,
        partitions: i32,
        config: Vec<(&'static str, String)>,
    }
    let mut wanted = vec![Wanted {
        name: settings.topic(EPOCH_TOPIC),
        partitions: 1,
        // The first record counts, so it must neither expire nor be compacted.
        config: vec![("retention.ms", "-1".to_owned())],
    }];
    for spec in TOPICS {
        let limits = [
            (spec.name.to_owned(), spec.max_bytes),
            (spec.topic.dlq_name(), DLQ_MAX_BYTES),
        ];
        for (name, max_bytes) in limits {
            wanted.push(Wanted {
                name: settings.topic(&name),
                partitions: settings.partitions,
                config: vec![
                    ("retention.ms", spec.retention_ms.to_string()),
                    ("max.message.bytes", max_bytes.to_string()),
                ],
            });
        }
    }
    let topics: Vec<NewTopic<'_>> = wanted
        .iter()
        .map(|topic| {
            topic.config.iter().fold(
                NewTopic::new(&topic.name, topic.partitions, TopicReplication::Fixed(1)),
                |new, (name, value)| new.set(name, value),
            )
        })
        .collect();
    let admin: AdminClient<DefaultClientContext> = settings
        .client_config()
        .create()
        .map_err(|error| KafkaError::new("the admin client", error))?;
    let options = AdminOptions::new()
        .request_timeout(Some(REQUEST))
        .operation_timeout(Some(REQUEST));
    let results = admin
        .create_topics(&topics, &options)
        .await
        .map_err(|error| KafkaError::new("creating topics", error))?;
    let mut created = 0;
    for result in results {
        match result {
            Ok(_) => created += 1,
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                let error = rdkafka::error::KafkaError::AdminOp(code);
                return Err(KafkaError::new(&format!("creating topic {name}"), error));
            }
        }
    }
    let names: Vec<String> = wanted.into_iter().map(|topic| topic.name).collect();
    let settings = settings.clone();
    let listed = tokio::task::spawn_blocking(move || await_listing(&settings, &names)).await;
    listed.map_err(|error| KafkaError::internal(&error.to_string()))??;
    Ok(created)
}

/// Waits until the broker lists these topics: Kafka acknowledges a creation
/// before its own metadata show it, and whoever looks meanwhile finds nothing.
fn await_listing(settings: &KafkaSettings, names: &[String]) -> Result<(), KafkaError> {
    let doing = "waiting until new topics are listed";
    let consumer: BaseConsumer = settings
        .client_config()
        .create()
        .map_err(|error| KafkaError::new(doing, error))?;
    let deadline = Instant::now() + REQUEST;
    loop {
        let metadata = consumer
            .fetch_metadata(None, REQUEST)
            .map_err(|error| KafkaError::new(doing, error))?;
        let is_listed = |name: &String| {
            let mut topics = metadata.topics().iter();
            topics.any(|topic| topic.name() == name && !topic.partitions().is_empty())
        };
        let Some(missing) = names.iter().find(|name| !is_listed(name)) else {
            return Ok(());
        };
        if Instant::now() >= deadline {
            return Err(KafkaError::internal(&format!(
                "the broker created {missing} and does not list it after {} s",
                REQUEST.as_secs()
            )));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Reads the epoch of the broker's data; `None` where none was written yet.
/// Blocks for up to 15 s: call it from a blocking thread.
///
/// # Errors
/// The broker is away.
pub fn read_epoch(settings: &KafkaSettings) -> Result<Option<String>, KafkaError> {
    let topic = settings.topic(EPOCH_TOPIC);
    let consumer: BaseConsumer = settings
        .client_config()
        .set(
            "group.id",
            format!("{}midwatch.epoch-reader", settings.topic_prefix),
        )
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()
        .map_err(|error| KafkaError::new("the epoch reader", error))?;
    let metadata = consumer
        .fetch_metadata(Some(&topic), REQUEST)
        .map_err(|error| KafkaError::new("looking for the epoch topic", error))?;
    let exists = metadata
        .topics()
        .iter()
        .any(|found| found.name() == topic && !found.partitions().is_empty());
    if !exists {
        return Ok(None);
    }
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(&topic, 0, Offset::Beginning)
        .and_then(|()| consumer.assign(&assignment))
        .map_err(|error| KafkaError::new("reading the epoch", error))?;
    let deadline = Instant::now() + Duration::from_secs(15);
    // The first record is the epoch; later ones were written by a process that
    // lost a race to create it, and count for nothing.
    while Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) if message.key() == Some(EPOCH_KEY.as_bytes()) => {
                let payload = message.payload().unwrap_or_default();
                return Ok(Some(String::from_utf8_lossy(payload).into_owned()));
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => return Ok(None),
            Some(Err(error)) if !super::is_passing(&error) => {
                return Err(KafkaError::new("reading the epoch", error));
            }
            _ => {}
        }
    }
    let error = rdkafka::error::KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
    Err(KafkaError::new("reading the epoch", error))
}

/// Writes `fresh` as the epoch where there is none; answers with the epoch in
/// force.
///
/// # Errors
/// The broker is away.
pub async fn ensure_epoch(settings: &KafkaSettings, fresh: &str) -> Result<String, KafkaError> {
    let read = || {
        let settings = settings.clone();
        async move {
            tokio::task::spawn_blocking(move || read_epoch(&settings))
                .await
                .map_err(|error| KafkaError::internal(&error.to_string()))?
        }
    };
    if let Some(epoch) = read().await? {
        return Ok(epoch);
    }
    Producer::new(settings)?
        .publish_bytes(EPOCH_TOPIC, EPOCH_KEY.as_bytes(), fresh.as_bytes(), &[])
        .await?;
    read()
        .await?
        .ok_or_else(|| KafkaError::internal("the epoch was written but cannot be read back"))
}
