//! `/api/topics`: what the broker holds, who reads it and how far behind they
//! are. What the broker cannot say is `null`.

use crate::error::ApiError;
use midwatch_clients::kafka::{BrokerReader, Group, GroupsReading, KafkaSettings, Logs};
use midwatch_events::topics::TOPICS;
use midwatch_runtime::clock;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long an answer stands. Pages may ask as often as they like; the broker
/// is asked at most this often.
const FRESH: Duration = Duration::from_secs(2);
/// Rates are taken over this much time, or as much of it as is known.
const RATE_WINDOW: Duration = Duration::from_secs(15);
/// Readings kept for the rates; at [`FRESH`] apart these cover the window.
const READINGS: usize = 10;

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
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopicView {
    /// The name on the broker.
    pub name: String,
    pub key: Option<&'static str>,
    pub payload: Option<&'static str>,
    pub producers: Option<&'static str>,
    pub consumers: Option<&'static str>,
    /// Whether it holds what could not be read.
    pub dead_letters: bool,
    /// `None` where the broker has no such topic, or gives no answer.
    pub partitions: Option<Vec<Partition>>,
    /// Messages held, from the offsets; `None` where one of them is unknown.
    pub messages: Option<i64>,
    /// New messages per second over the last seconds; `None` until two
    /// readings are known.
    pub per_second: Option<f64>,
}

/// All topics and groups, and whether the broker answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopicsView {
    pub reachable: bool,
    pub error: Option<String>,
    /// Wall clock of the reading, epoch milliseconds.
    pub read_at_ms: i64,
    pub topics: Vec<TopicView>,
    /// The consumer groups under the configured prefix; empty where the broker
    /// is away.
    pub groups: Vec<Group>,
    /// Groups beyond the most that are read.
    pub groups_left_off: usize,
    /// Why there are no groups, where the broker has topics and lists none.
    pub groups_error: Option<String>,
}

/// The end of each topic's partitions, added up, at a time.
struct Ends {
    at: Instant,
    by_topic: BTreeMap<String, i64>,
}

#[derive(Default)]
struct Memory {
    last: Option<(Instant, Arc<TopicsView>)>,
    /// The newest last.
    ends: VecDeque<Ends>,
}

/// Asks the broker, and remembers the answer for a moment.
pub struct Topics {
    reader: BrokerReader,
    memory: Mutex<Memory>,
}

impl Topics {
    /// Connects at the first question, not before.
    #[must_use]
    pub fn new(settings: KafkaSettings) -> Topics {
        Topics {
            reader: BrokerReader::new(settings),
            memory: Mutex::default(),
        }
    }

    /// Asks the same broker for messages and groups.
    #[must_use]
    pub fn reader(&self) -> &BrokerReader {
        &self.reader
    }

    /// What the broker holds, at most [`FRESH`] old.
    ///
    /// # Errors
    /// Only faults of this process; a broker that is away is an answer.
    pub async fn view(&self) -> Result<Arc<TopicsView>, ApiError> {
        // Held while asking: whoever comes meanwhile gets the same answer.
        let mut memory = self.memory.lock().await;
        if let Some((at, view)) = &memory.last
            && at.elapsed() < FRESH
        {
            return Ok(view.clone());
        }
        let (read, groups_error) = match self.reader.groups().await {
            Ok(reading) => (Ok(reading), None),
            // A broker that lists no groups may still have topics.
            Err(error) => {
                let topics = self.reader.topics().await;
                let without = |topics| GroupsReading {
                    topics,
                    ..GroupsReading::default()
                };
                (topics.map(without), Some(error.to_string()))
            }
        };
        let now = Instant::now();
        let mut view = self.describe(read.map_err(|error| error.to_string()));
        view.groups_error = groups_error;
        rate(&mut view, &mut memory.ends, now);
        let view = Arc::new(view);
        memory.last = Some((now, view.clone()));
        Ok(view)
    }

    fn describe(&self, read: Result<GroupsReading, String>) -> TopicsView {
        let settings = self.reader.settings();
        let (reading, error) = match read {
            Ok(reading) => (reading, None),
            Err(error) => (GroupsReading::default(), Some(error)),
        };
        let mut found = partitions(reading.topics);
        let mut topics = Vec::new();
        for spec in TOPICS {
            let name = settings.topic(spec.name);
            topics.push(TopicView {
                key: Some(spec.key),
                payload: Some(spec.payload),
                producers: Some(spec.producers),
                consumers: Some(spec.consumers),
                ..plain(name.clone(), found.remove(&name))
            });
            let name = settings.topic(&spec.topic.dlq_name());
            let partitions = found.remove(&name);
            topics.push(plain(name, partitions));
        }
        topics.extend(
            found
                .into_iter()
                .map(|(name, partitions)| plain(name, Some(partitions))),
        );
        TopicsView {
            reachable: error.is_none(),
            error,
            read_at_ms: clock::now_ms(),
            topics,
            groups: reading.groups,
            groups_left_off: reading.left_off,
            groups_error: None,
        }
    }
}

fn partitions(logs: Logs) -> BTreeMap<String, Vec<Partition>> {
    let partition = |log: midwatch_clients::kafka::PartitionLog| Partition {
        partition: log.partition,
        low: log.low,
        high: log.end,
    };
    logs.into_iter()
        .map(|(topic, logs)| (topic, logs.into_iter().map(partition).collect()))
        .collect()
}

/// Fills in the rates from the readings before, and remembers this one.
fn rate(view: &mut TopicsView, readings: &mut VecDeque<Ends>, now: Instant) {
    readings.retain(|reading| now.duration_since(reading.at) <= RATE_WINDOW);
    let mut by_topic = BTreeMap::new();
    for topic in &mut view.topics {
        let ends = topic.partitions.as_ref();
        let Some(end) = ends.and_then(|ends| ends.iter().map(|one| one.high).sum::<Option<i64>>())
        else {
            continue;
        };
        let before = readings
            .iter()
            .find_map(|reading| Some((reading.at, *reading.by_topic.get(&topic.name)?)));
        topic.per_second = before
            // A log that shrank is another log, of which nothing is known yet.
            .filter(|(at, then)| end >= *then && now > *at)
            .map(|(at, then)| (end - then) as f64 / now.duration_since(at).as_secs_f64());
        by_topic.insert(topic.name.clone(), end);
    }
    while readings.len() >= READINGS {
        readings.pop_front();
    }
    readings.push_back(Ends { at: now, by_topic });
}

fn plain(name: String, partitions: Option<Vec<Partition>>) -> TopicView {
    let messages = partitions.as_ref().and_then(|partitions| {
        partitions
            .iter()
            .map(|partition| Some(partition.high? - partition.low?))
            .sum()
    });
    TopicView {
        dead_letters: name.ends_with(".dlq"),
        name,
        key: None,
        payload: None,
        producers: None,
        consumers: None,
        partitions,
        messages,
        per_second: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use midwatch_clients::kafka::PartitionLog;

    fn partition(partition: i32, offsets: Option<(i64, i64)>) -> Partition {
        let (low, high) = offsets.unzip();
        Partition {
            partition,
            low,
            high,
        }
    }

    fn topics() -> Topics {
        let mut settings = KafkaSettings::at("127.0.0.1:1");
        settings.topic_prefix = "t.".to_owned();
        Topics::new(settings)
    }

    fn reading(ends: &[(&str, i64)]) -> GroupsReading {
        let log = |end| PartitionLog {
            partition: 0,
            low: Some(0),
            end: Some(end),
        };
        GroupsReading {
            topics: ends
                .iter()
                .map(|(name, end)| ((*name).to_owned(), vec![log(*end)]))
                .collect(),
            ..GroupsReading::default()
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
        let topics = topics();
        let view = topics.describe(Err("away".to_owned()));
        assert!(!view.reachable);
        assert_eq!(view.topics.len(), TOPICS.len() * 2);
        assert_eq!(view.topics[0].name, "t.raw.metrics");
        assert!(view.topics[1].dead_letters && !view.topics[0].dead_letters);
        assert!(view.topics.iter().all(|topic| topic.partitions.is_none()));
        let found = reading(&[("t.raw.metrics", 7), ("t.extra", 0)]);
        let view = topics.describe(Ok(found));
        assert_eq!(view.topics[0].messages, Some(7));
        assert_eq!(view.topics.len(), TOPICS.len() * 2 + 1);
    }

    #[test]
    fn rates_need_two_readings_of_the_same_log() {
        let topics = topics();
        let mut readings = VecDeque::new();
        let begin = Instant::now();
        let mut at = |seconds: u64, end: i64| {
            let mut view = topics.describe(Ok(reading(&[("t.raw.metrics", end)])));
            rate(
                &mut view,
                &mut readings,
                begin + Duration::from_secs(seconds),
            );
            view.topics[0].per_second
        };
        assert_eq!(at(0, 100), None);
        assert_eq!(at(4, 120), Some(5.0));
        // Against the oldest reading of the window: 60 more in 10 s.
        assert_eq!(at(10, 160), Some(6.0));
        assert_eq!(at(11, 3), None, "an emptied broker");
        assert_eq!(at(60, 9), None, "too long ago");
        assert_eq!(at(62, 9), Some(0.0));
    }
}
