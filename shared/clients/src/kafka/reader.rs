//! Looking at the broker without taking part: no group is joined, no offset
//! is committed, nothing is written.
//!
//! What a broker *lists* as the end of a partition is not always the end: the
//! fallback broker names the first message of the last batch plus one. What it
//! *sends* is right. So every listed end is checked by reading on from it
//! until the broker says that there is no more.

use super::{KafkaError, KafkaSettings, is_passing};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::Offset;
use rdkafka::types::RDKafkaErrorCode;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// How long one request to the broker may take.
pub(super) const REQUEST: Duration = Duration::from_secs(3);
/// How long the ends of all partitions may be read on.
const CHECK: Duration = Duration::from_secs(2);
/// The most that one question may take, waiting for its turn included.
const LIMIT: Duration = Duration::from_secs(25);
/// Questions at a time; each holds one client with its threads and buffers.
const CLIENTS: usize = 3;
/// Live readers at a time, for the same reason.
pub(super) const FOLLOWERS: usize = 16;

/// One partition's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionLog {
    pub partition: i32,
    /// The first offset still held.
    pub low: Option<i64>,
    /// The offset that the next message gets; `None` where the broker cannot
    /// say.
    pub end: Option<i64>,
}

/// The partitions of each topic, by the topic's name on the broker.
pub type Logs = BTreeMap<String, Vec<PartitionLog>>;

/// A topic and a partition.
pub(super) type Place = (String, i32);

/// Asks the broker. Cheap to clone; connects at the first question.
#[derive(Clone)]
pub struct BrokerReader {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) settings: KafkaSettings,
    idle: Mutex<Vec<Arc<BaseConsumer>>>,
    turns: Arc<Semaphore>,
    pub(super) followers: Arc<Semaphore>,
    /// A client per group, the least recently used first.
    pub(super) group_clients: Mutex<Vec<(String, Arc<BaseConsumer>)>>,
    /// Of each partition the end that was listed, and what it turned out to
    /// be: while the one stands, so does the other.
    checked: Mutex<HashMap<Place, (i64, i64)>>,
    /// Whether this broker was ever caught listing an end too low.
    lists_low: AtomicBool,
}

impl BrokerReader {
    /// Connects to nothing yet.
    #[must_use]
    pub fn new(settings: KafkaSettings) -> BrokerReader {
        BrokerReader {
            inner: Arc::new(Inner {
                settings,
                idle: Mutex::default(),
                turns: Arc::new(Semaphore::new(CLIENTS)),
                followers: Arc::new(Semaphore::new(FOLLOWERS)),
                group_clients: Mutex::default(),
                checked: Mutex::default(),
                lists_low: AtomicBool::new(false),
            }),
        }
    }

    /// Where the broker is, and what its topics and groups begin with.
    #[must_use]
    pub fn settings(&self) -> &KafkaSettings {
        &self.inner.settings
    }

    /// All topics under the configured prefix, without the broker's own.
    ///
    /// # Errors
    /// The broker gave no answer within seconds.
    pub async fn topics(&self) -> Result<Logs, KafkaError> {
        self.ask(|inner, consumer| {
            let places = inner.places(consumer, None)?;
            inner.logs(consumer, &places, true)
        })
        .await
    }

    /// Runs `job` on a blocking thread, with a client of its own for so long.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Inner, &Arc<BaseConsumer>) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, KafkaError> {
        let inner = self.inner.clone();
        let work = async move {
            let turn = inner
                .turns
                .clone()
                .acquire_owned()
                .await
                .map_err(|error| KafkaError::internal(&error.to_string()))?;
            tokio::task::spawn_blocking(move || {
                // Kept until the job really ends, even if nobody waits for it.
                let _turn = turn;
                let idle = locked(&inner.idle).pop();
                let consumer = idle.map_or_else(|| inner.client(None), Ok)?;
                let result = job(&inner, &consumer);
                locked(&inner.idle).push(consumer);
                result
            })
            .await
            .map_err(|error| KafkaError::internal(&error.to_string()))?
        };
        tokio::time::timeout(LIMIT, work)
            .await
            .unwrap_or_else(|_| Err(timed_out("asking the broker")))
    }
}

impl Inner {
    /// A client that neither commits nor creates topics. `group` names whose
    /// committed offsets it can ask for; it never joins.
    pub(super) fn client(&self, group: Option<&str>) -> Result<Arc<BaseConsumer>, KafkaError> {
        let anonymous = format!("{}midwatch.reader", self.settings.topic_prefix);
        let mut config = self.settings.client_config();
        config
            .set("group.id", group.unwrap_or(&anonymous))
            .set("client.id", "midwatch.reader")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("allow.auto.create.topics", "false")
            // Where messages expired meanwhile, the oldest one held is next.
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            // How long a partition without news takes to say so.
            .set("fetch.wait.max.ms", "50")
            // A reader wants a screenful, not the backlog; a larger message
            // still comes whole.
            .set("fetch.message.max.bytes", "262144")
            .set("queued.min.messages", "1000")
            .set("queued.max.messages.kbytes", "2048")
            .set("receive.message.max.bytes", "100000000");
        config
            .create()
            .map(Arc::new)
            .map_err(|error| KafkaError::new("a reading client", error))
    }

    /// The partitions of all topics under the prefix, or of `only` that one.
    pub(super) fn places(
        &self,
        consumer: &BaseConsumer,
        only: Option<&str>,
    ) -> Result<Vec<Place>, KafkaError> {
        // Serves what gathered since the last question, such as lost
        // connections; nothing is assigned, so no message comes.
        for _ in 0..100 {
            if consumer.poll(Duration::ZERO).is_none() {
                break;
            }
        }
        // Always the whole list: asking for one name creates it on some brokers.
        let metadata = consumer
            .fetch_metadata(None, REQUEST)
            .map_err(|error| KafkaError::new("listing the topics", error))?;
        let prefix = self.settings.topic_prefix.as_str();
        Ok(metadata
            .topics()
            .iter()
            .filter(|topic| topic.name().starts_with(prefix) && !topic.name().starts_with("__"))
            .filter(|topic| only.is_none_or(|only| only == topic.name()))
            .flat_map(|topic| {
                let partitions = topic.partitions().iter();
                partitions.map(|partition| (topic.name().to_owned(), partition.id()))
            })
            .collect())
    }

    /// The logs of these partitions. `all` says that there are no others.
    pub(super) fn logs(
        &self,
        consumer: &Arc<BaseConsumer>,
        places: &[Place],
        all: bool,
    ) -> Result<Logs, KafkaError> {
        let lows = listed(consumer, places, Offset::Beginning)?;
        let ends = self.ends(consumer, places, &lows, all)?;
        let mut logs = Logs::new();
        for (place, low) in places.iter().zip(lows) {
            let end = ends.get(place).copied();
            logs.entry(place.0.clone()).or_default().push(PartitionLog {
                partition: place.1,
                low: low.filter(|low| end.is_none_or(|end| *low <= end)),
                end,
            });
        }
        for partitions in logs.values_mut() {
            partitions.sort_by_key(|log| log.partition);
        }
        Ok(logs)
    }

    /// The true ends, as far as they can be had.
    fn ends(
        &self,
        consumer: &Arc<BaseConsumer>,
        places: &[Place],
        lows: &[Option<i64>],
        all: bool,
    ) -> Result<HashMap<Place, i64>, KafkaError> {
        let first = listed(consumer, places, Offset::End)?;
        let before = locked(&self.checked).clone();
        let mut known: HashMap<Place, (i64, i64)> = HashMap::new();
        let mut open: Vec<(Place, i64)> = Vec::new();
        for ((place, end), low) in places.iter().zip(first).zip(lows) {
            match (end, before.get(place)) {
                (None, _) => {}
                (Some(end), Some((then, found))) if *then == end => {
                    known.insert(place.clone(), (end, *found));
                }
                // A log that never held anything is listed right by all.
                (Some(0), _) if *low == Some(0) => {
                    known.insert(place.clone(), (0, 0));
                }
                (Some(end), _) => open.push((place.clone(), end)),
            }
        }
        let mut reached: Vec<(i64, bool)> = open.iter().map(|(_, end)| (*end, false)).collect();
        sweep(consumer, &open, Instant::now() + CHECK, |index, seen| {
            match seen {
                Seen::Message(message) => reached[index].0 = message.offset() + 1,
                Seen::End => reached[index].1 = true,
            }
            reached[index].1
        })?;
        if open
            .iter()
            .zip(&reached)
            .any(|((_, end), now)| now.0 > *end)
        {
            // Offsets only grow: one listed after it was read, and still lower,
            // is wrong, and then so may be every other.
            let moved: Vec<Place> = open.iter().map(|(place, _)| place.clone()).collect();
            let again = listed(consumer, &moved, Offset::End)?;
            let low = again
                .iter()
                .zip(&reached)
                .any(|(end, now)| end.is_some_and(|end| end < now.0));
            self.lists_low.fetch_or(low, Ordering::AcqRel);
        }
        let lists_low = self.lists_low.load(Ordering::Acquire);
        for ((place, end), (now, complete)) in open.into_iter().zip(reached) {
            // Not read to the end: a broker that lists its ends right has
            // proven this much; of another nothing is known.
            if complete || !lists_low {
                known.insert(place, (end, now));
            }
        }
        let ends = known
            .iter()
            .map(|(place, (_, end))| (place.clone(), *end))
            .collect();
        let mut checked = locked(&self.checked);
        if all {
            // Also forgets the partitions that are no more.
            *checked = known;
        } else {
            checked.extend(known);
        }
        Ok(ends)
    }
}

/// One request for the listed first (`Beginning`) or next (`End`) offsets.
fn listed(
    consumer: &BaseConsumer,
    places: &[Place],
    which: Offset,
) -> Result<Vec<Option<i64>>, KafkaError> {
    let what = "asking for the offsets";
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let mut wanted = TopicPartitionList::with_capacity(places.len());
    for (topic, partition) in places {
        wanted
            .add_partition_offset(topic, *partition, which)
            .map_err(|error| KafkaError::new(what, error))?;
    }
    let together = patiently(|| consumer.offsets_for_times(wanted.clone(), REQUEST));
    let found = match together {
        Ok(found) => found,
        // One partition without a leader refuses the whole request.
        Err(error) if is_changing(&error) => return Ok(listed_singly(consumer, places, which)),
        Err(error) => return Err(KafkaError::new(what, error)),
    };
    let offset = |(topic, partition): &Place| {
        let element = found.find_partition(topic, *partition)?;
        match (element.error(), element.offset()) {
            (Ok(()), Offset::Offset(offset)) if offset >= 0 => Some(offset),
            _ => None,
        }
    };
    Ok(places.iter().map(offset).collect())
}

/// The same, a request for each; those without an answer stay unknown.
fn listed_singly(consumer: &BaseConsumer, places: &[Place], which: Offset) -> Vec<Option<i64>> {
    let deadline = Instant::now() + REQUEST;
    let offset = |(topic, partition): &Place| {
        let left = deadline.checked_duration_since(Instant::now())?;
        let limit = left.min(Duration::from_millis(500));
        let (low, high) = consumer.fetch_watermarks(topic, *partition, limit).ok()?;
        let wanted = if which == Offset::End { high } else { low };
        (wanted >= 0).then_some(wanted)
    };
    places.iter().map(offset).collect()
}

/// Asks again while leaders or coordinators are just being chosen, for up to
/// [`REQUEST`].
pub(super) fn patiently<T>(mut ask: impl FnMut() -> KafkaResult<T>) -> KafkaResult<T> {
    let deadline = Instant::now() + REQUEST;
    loop {
        match ask() {
            Err(error) if is_changing(&error) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(100));
            }
            other => return other,
        }
    }
}

/// Whether the error only says that a leader or coordinator is being chosen.
fn is_changing(error: &rdkafka::error::KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::CoordinatorLoadInProgress
                | RDKafkaErrorCode::CoordinatorNotAvailable
                | RDKafkaErrorCode::NotCoordinator
                | RDKafkaErrorCode::UnknownTopicOrPartition
        )
    )
}

/// What a partition has to say.
pub(super) enum Seen<'a, 'b> {
    Message(&'a BorrowedMessage<'b>),
    /// There is no more for now.
    End,
}

/// Reads partitions from the given offsets until `visit` has said `true` for
/// each, or `deadline`. Answers whether all were done.
pub(super) fn sweep(
    consumer: &Arc<BaseConsumer>,
    starts: &[(Place, i64)],
    deadline: Instant,
    mut visit: impl FnMut(usize, Seen<'_, '_>) -> bool,
) -> Result<bool, KafkaError> {
    if starts.is_empty() {
        return Ok(true);
    }
    let failed = |error| KafkaError::new("reading", error);
    let mut assignment = TopicPartitionList::with_capacity(starts.len());
    for ((topic, partition), offset) in starts {
        assignment
            .add_partition_offset(topic, *partition, Offset::Offset(*offset))
            .map_err(failed)?;
    }
    // A queue each, since the news of an end names no topic; split first, so
    // that nothing takes the common way.
    let mut open = Vec::with_capacity(starts.len());
    for (index, ((topic, partition), _)) in starts.iter().enumerate() {
        let queue = consumer.split_partition_queue(topic, *partition);
        open.push((
            index,
            queue.ok_or_else(|| KafkaError::internal("a topic's name holds a zero byte"))?,
        ));
    }
    consumer.assign(&assignment).map_err(failed)?;
    let mut fatal = None;
    while !open.is_empty() && fatal.is_none() && Instant::now() < deadline {
        let mut idle = true;
        open.retain(|(index, queue)| {
            for _ in 0..500 {
                let done = match queue.poll(Duration::ZERO) {
                    None => return true,
                    Some(Ok(message)) => {
                        message.offset() >= starts[*index].1
                            && visit(*index, Seen::Message(&message))
                    }
                    Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => {
                        visit(*index, Seen::End)
                    }
                    Some(Err(error)) => {
                        if !is_passing(&error) {
                            fatal = Some(error);
                        }
                        return true;
                    }
                };
                idle = false;
                if done {
                    return false;
                }
            }
            true
        });
        let wait = if idle {
            Duration::from_millis(2)
        } else {
            Duration::ZERO
        };
        if let Some(Err(error)) = consumer.poll(wait)
            && !is_passing(&error)
        {
            fatal = Some(error);
        }
    }
    let all = open.is_empty();
    drop(open);
    consumer.unassign().map_err(failed)?;
    fatal.map_or(Ok(all), |error| Err(failed(error)))
}

pub(super) fn timed_out(what: &str) -> KafkaError {
    let code = RDKafkaErrorCode::OperationTimedOut;
    KafkaError::new(what, rdkafka::error::KafkaError::MetadataFetch(code))
}

/// A panic of another thread leaves nothing half done under these locks.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
