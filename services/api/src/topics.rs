//! `/api/topics`: what the broker holds. What it cannot say is `null`.

use crate::error::ApiError;
use midwatch_clients::kafka::KafkaSettings;
use midwatch_events::topics::TOPICS;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long an answer stands. Pages may ask as often as they like; the broker
/// is asked at most this often.
const FRESH: Duration = Duration::from_secs(2);
/// How long the broker may take to say which topics there are.
const METADATA: Duration = Duration::from_secs(3);
/// How long all offsets together may take; the rest stay unknown.
const OFFSETS: Duration = Duration::from_secs(4);

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Partition {
    pub partition: i32,
    /// The first offset still held.
    pub low: Option<i64>,
    /// The offset that the next message gets.
    pub high: Option<i64>,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicView {
    /// The name on the broker.
    pub name: String,
    pub key: Option<&'static str>,
    pub payload: Option<&'static str>,
    pub producers: Option<&'static str>,
    pub consumers: Option<&'static str>,
    /// `None` where the broker has no such topic, or gives no answer.
    pub partitions: Option<Vec<Partition>>,
    /// Messages held, from the offsets; `None` where one of them is unknown.
    pub messages: Option<i64>,
}

/// All topics, and whether the broker answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicsView {
    pub reachable: bool,
    pub error: Option<String>,
    pub topics: Vec<TopicView>,
}

/// The partitions of each topic on the broker.
type Found = BTreeMap<String, Vec<Partition>>;

/// Asks the broker, and remembers the answer for a moment.
pub struct Topics {
    settings: KafkaSettings,
    cache: Mutex<Option<(Instant, Arc<TopicsView>)>>,
    consumer: Mutex<Option<Arc<BaseConsumer>>>,
}

impl Topics {
    /// Connects at the first question, not before.
    #[must_use]
    pub fn new(settings: KafkaSettings) -> Topics {
        Topics {
            settings,
            cache: Mutex::new(None),
            consumer: Mutex::new(None),
        }
    }

    /// What the broker holds, at most [`FRESH`] old.
    ///
    /// # Errors
    /// Only faults of this process; a broker that is away is an answer.
    pub async fn view(&self) -> Result<Arc<TopicsView>, ApiError> {
        // Held while asking: whoever comes meanwhile gets the same answer.
        let mut cache = self.cache.lock().await;
        if let Some((at, view)) = &*cache
            && at.elapsed() < FRESH
        {
            return Ok(view.clone());
        }
        let consumer = self.consumer().await?;
        let read = tokio::task::spawn_blocking(move || ask(&consumer))
            .await
            .map_err(|error| ApiError::internal(error.to_string()))?;
        let view = Arc::new(self.describe(read));
        *cache = Some((Instant::now(), view.clone()));
        Ok(view)
    }

    async fn consumer(&self) -> Result<Arc<BaseConsumer>, ApiError> {
        let mut slot = self.consumer.lock().await;
        if let Some(consumer) = &*slot {
            return Ok(consumer.clone());
        }
        let consumer: BaseConsumer = self
            .settings
            .client_config()
            .set("client.id", "midwatch-api")
            .set("allow.auto.create.topics", "false")
            .create()
            .map_err(|error| ApiError::internal(format!("the Kafka client: {error}")))?;
        Ok(slot.insert(Arc::new(consumer)).clone())
    }

    fn describe(&self, read: Result<Found, String>) -> TopicsView {
        let (mut found, error) = match read {
            Ok(found) => (found, None),
            Err(error) => (Found::new(), Some(error)),
        };
        let mut topics = Vec::new();
        for spec in TOPICS {
            let name = self.settings.topic(spec.name);
            topics.push(TopicView {
                key: Some(spec.key),
                payload: Some(spec.payload),
                producers: Some(spec.producers),
                consumers: Some(spec.consumers),
                ..plain(name.clone(), found.remove(&name))
            });
            let name = self.settings.topic(&spec.topic.dlq_name());
            let partitions = found.remove(&name);
            topics.push(plain(name, partitions));
        }
        let ours = found.into_iter().filter(|(name, _)| {
            name.starts_with(&self.settings.topic_prefix) && !name.starts_with("__")
        });
        topics.extend(ours.map(|(name, partitions)| plain(name, Some(partitions))));
        TopicsView {
            reachable: error.is_none(),
            error,
            topics,
        }
    }
}

fn plain(name: String, partitions: Option<Vec<Partition>>) -> TopicView {
    let messages = partitions.as_ref().and_then(|partitions| {
        partitions
            .iter()
            .map(|partition| Some(partition.high? - partition.low?))
            .sum()
    });
    TopicView {
        name,
        key: None,
        payload: None,
        producers: None,
        consumers: None,
        partitions,
        messages,
    }
}

fn ask(consumer: &BaseConsumer) -> Result<Found, String> {
    let metadata = consumer
        .fetch_metadata(None, METADATA)
        .map_err(|error| format!("the broker gave no list of topics: {error}"))?;
    let deadline = Instant::now() + OFFSETS;
    let mut found = Found::new();
    for topic in metadata.topics() {
        let mut partitions: Vec<Partition> = topic
            .partitions()
            .iter()
            .map(|partition| {
                let offsets = offsets(consumer, topic.name(), partition.id(), deadline);
                let (low, high) = offsets.unzip();
                Partition {
                    partition: partition.id(),
                    low,
                    high,
                }
            })
            .collect();
        partitions.sort_by_key(|partition| partition.partition);
        found.insert(topic.name().to_owned(), partitions);
    }
    Ok(found)
}

fn offsets(
    consumer: &BaseConsumer,
    topic: &str,
    partition: i32,
    deadline: Instant,
) -> Option<(i64, i64)> {
    let left = deadline.checked_duration_since(Instant::now())?;
    let (low, high) = consumer
        .fetch_watermarks(topic, partition, left.min(Duration::from_secs(1)))
        .ok()?;
    // A broker that cannot say answers with an offset below zero.
    (low >= 0 && high >= low).then_some((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(partition: i32, offsets: Option<(i64, i64)>) -> Partition {
        let (low, high) = offsets.unzip();
        Partition {
            partition,
            low,
            high,
        }
    }

    #[test]
    fn one_unknown_offset_makes_the_count_unknown() {
        let known = vec![partition(0, Some((5, 12))), partition(1, Some((0, 3)))];
        assert_eq!(plain("t".into(), Some(known)).messages, Some(10));
        let partly = vec![partition(0, Some((5, 12))), partition(1, None)];
        assert_eq!(plain("t".into(), Some(partly)).messages, None);
        assert_eq!(plain("t".into(), None).messages, None);
    }

    #[test]
    fn declared_topics_are_listed_even_while_the_broker_is_away() {
        let mut settings = KafkaSettings::at("127.0.0.1:1");
        settings.topic_prefix = "t.".to_owned();
        let topics = Topics::new(settings);
        let view = topics.describe(Err("away".to_owned()));
        assert!(!view.reachable);
        assert_eq!(view.topics.len(), TOPICS.len() * 2);
        assert_eq!(view.topics[0].name, "t.raw.metrics");
        assert!(view.topics.iter().all(|topic| topic.partitions.is_none()));
        let found = Found::from([
            ("t.raw.metrics".to_owned(), vec![partition(0, Some((0, 7)))]),
            ("t.extra".to_owned(), vec![]),
            ("other".to_owned(), vec![]),
        ]);
        let view = topics.describe(Ok(found));
        assert_eq!(view.topics[0].messages, Some(7));
        assert_eq!(view.topics.len(), TOPICS.len() * 2 + 1);
    }
}
