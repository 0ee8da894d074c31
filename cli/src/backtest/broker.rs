//! Records straight from the broker: no group is joined, nothing is committed,
//! created or written.

use super::source::{Found, Range};
use super::when::When;
use crate::failure::Failure;
use crate::output;
use midwatch_clients::kafka::{
    BrokerReader, KafkaError, KafkaSettings, Logs, PartitionLog, is_passing, read_epoch,
};
use midwatch_events::decode::decode;
use midwatch_events::topics::EPOCH_TOPIC;
use midwatch_events::{Coordinates, Topic};
use midwatch_runtime::clock;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::Offset;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long to look for offsets by time.
const LOOK_UP: Duration = Duration::from_secs(10);
/// A broker that sends nothing for so long, though it holds more, is away.
const SILENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(2);
/// Kilobytes that wait per partition.
const QUEUED: &str = "1024";

type Queue = rdkafka::consumer::base_consumer::PartitionQueue<DefaultConsumerContext>;

/// What to read.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// raw.metrics first, then the others.
    pub topics: Vec<Topic>,
    pub partition: Option<i32>,
    pub from: Option<When>,
    pub to: Option<When>,
    /// The same in times of arrival.
    pub range: Range,
}

/// A part of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    topic: Topic,
    partition: i32,
    first: i64,
    /// One after the last.
    stop: i64,
}

/// One partition on its way.
struct Lane {
    span: Span,
    queue: Queue,
    /// Its next record, with the times by which lanes take turns: that of its
    /// arrival, and its own where those are equal.
    head: Option<((i64, i64), Found)>,
    /// The latest record time: the order within a partition stands.
    reached_ms: i64,
    coordinates: Coordinates,
    next: i64,
    done: bool,
}

/// Records of all partitions, in the order of their arrival.
pub struct BrokerSource {
    consumer: Arc<BaseConsumer>,
    bootstrap: String,
    lanes: Vec<Lane>,
    range: Range,
    now_ms: i64,
    total: u64,
    /// The epoch of the broker's data, or what stands for it.
    pub epoch: String,
    /// What is read, in words.
    pub words: String,
}

fn away(settings: &KafkaSettings, error: &KafkaError) -> Failure {
    Failure::new(
        format!("{}: {error}", settings.bootstrap),
        "see that the broker runs (`midwatch doctor`), that KAFKA_BOOTSTRAP_SERVERS names it, \
         or replay a file with --file",
    )
}

/// The logs of all topics, as far as the broker tells them.
///
/// # Errors
/// The broker does not answer.
pub async fn logs(reader: &BrokerReader) -> Result<Logs, Failure> {
    let found = reader.topics().await;
    found.map_err(|error| away(reader.settings(), &error))
}

impl BrokerSource {
    /// Finds the places and assigns them. Blocks for seconds.
    ///
    /// # Errors
    /// There is no such topic or partition, nothing lies in the range, or the
    /// broker does not answer.
    pub fn open(
        settings: &KafkaSettings,
        logs: &Logs,
        wanted: &Wanted,
    ) -> Result<BrokerSource, Failure> {
        let away = |error: &KafkaError| away(settings, error);
        let epoch = if logs.contains_key(&settings.topic(EPOCH_TOPIC)) {
            read_epoch(settings).map_err(|error| away(&error))?
        } else {
            None
        };
        let consumer = client(settings).map_err(|error| away(&error))?;
        let range = wanted.range;
        let held = held(settings, logs, wanted)?;
        let spans =
            chosen(settings, &consumer, &held, wanted, range).map_err(|error| away(&error))?;
        let total = spans.iter().map(|span| (span.stop - span.first).max(0));
        let total = u64::try_from(total.sum::<i64>()).unwrap_or(0);
        let metrics = spans.iter().any(|span| span.topic == Topic::RawMetrics);
        if !metrics {
            return Err(empty(settings, &held, wanted));
        }
        let epoch = epoch.unwrap_or_else(|| super::source::FILE_EPOCH.to_owned());
        let lanes = assign(&consumer, settings, &spans, &epoch).map_err(|error| away(&error))?;
        let names: Vec<String> = wanted
            .topics
            .iter()
            .map(|topic| settings.topic(topic.name()))
            .collect();
        Ok(BrokerSource {
            consumer,
            bootstrap: settings.bootstrap.clone(),
            lanes,
            range,
            now_ms: clock::now_ms(),
            total,
            epoch,
            words: format!("{} at {}", names.join(", "), settings.bootstrap),
        })
    }

    /// As [`super::source::Source::progress`].
    #[must_use]
    pub fn progress(&self) -> (u64, Option<u64>) {
        let read = self.lanes.iter().map(|lane| lane.next - lane.span.first);
        (
            u64::try_from(read.sum::<i64>()).unwrap_or(0),
            Some(self.total),
        )
    }

    /// The next record in the order of arrival.
    ///
    /// # Errors
    /// The broker is away.
    pub fn next(&mut self) -> Result<Option<Found>, Failure> {
        let mut heard = Instant::now();
        loop {
            let mut open = false;
            let mut moved = false;
            for lane in &mut self.lanes {
                if lane.head.is_some() || lane.done {
                    continue;
                }
                moved |= lane.poll(&self.range, self.now_ms).map_err(|detail| {
                    Failure::new(
                        format!("{}: {detail}", self.bootstrap),
                        "look with `midwatch doctor`, then begin again",
                    )
                })?;
                open |= lane.head.is_none() && !lane.done;
            }
            if !open {
                let next = self
                    .lanes
                    .iter_mut()
                    .filter(|lane| lane.head.is_some())
                    .min_by_key(|lane| lane.head.as_ref().map(|(turn, _)| *turn));
                return Ok(next
                    .and_then(|lane| lane.head.take())
                    .map(|(_, found)| found));
            }
            if moved {
                heard = Instant::now();
                continue;
            }
            if heard.elapsed() > SILENCE {
                return Err(self.silent());
            }
            // Serves what belongs to no partition, such as lost connections.
            if let Some(Err(error)) = self.consumer.poll(PAUSE)
                && !is_passing(&error)
            {
                let what = format!("{}: {error}", self.bootstrap);
                return Err(Failure::new(what, "look with `midwatch doctor`"));
            }
        }
    }

    fn silent(&self) -> Failure {
        let waiting = self
            .lanes
            .iter()
            .find(|lane| lane.head.is_none() && !lane.done);
        let place = waiting.map_or_else(String::new, |lane| {
            format!(
                "{} {} from offset {}",
                lane.coordinates.topic, lane.span.partition, lane.next
            )
        });
        Failure::new(
            format!(
                "{} sent nothing of {place} for {} s",
                self.bootstrap,
                SILENCE.as_secs()
            ),
            "see that the broker runs (`midwatch doctor`), then begin again",
        )
    }
}

impl Lane {
    /// Takes the next record as head; whether anything came.
    fn poll(&mut self, range: &Range, now_ms: i64) -> Result<bool, String> {
        match self.queue.poll(Duration::ZERO) {
            None => Ok(false),
            Some(Ok(message)) => {
                let offset = message.offset();
                if offset < self.span.first {
                    return Ok(true);
                }
                if offset < self.span.stop {
                    self.next = offset + 1;
                    let record_ms = message.timestamp().to_millis().unwrap_or(now_ms);
                    // A producer sets its records' times; they are never in
                    // the future.
                    let record_ms = record_ms.min(now_ms);
                    self.reached_ms = self.reached_ms.max(record_ms);
                    self.coordinates.offset = offset;
                    self.coordinates.record_ms = record_ms;
                    let found = found(self.span.topic, &message, &self.coordinates, range);
                    let own_ms = match &found {
                        Found::Event { envelope, .. } => envelope.event.time_ms(),
                        _ => i64::MIN,
                    };
                    self.head = Some(((self.reached_ms, own_ms), found));
                }
                self.done = offset + 1 >= self.span.stop;
                Ok(true)
            }
            // The last offsets may be of records that no longer are there.
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => {
                self.done = true;
                Ok(true)
            }
            Some(Err(error)) if is_passing(&error) => Ok(false),
            Some(Err(error)) => Err(error.to_string()),
        }
    }
}

fn found(
    topic: Topic,
    message: &BorrowedMessage<'_>,
    coordinates: &Coordinates,
    range: &Range,
) -> Found {
    let record_ms = coordinates.record_ms;
    if !range.holds(record_ms) {
        return Found::Outside;
    }
    match decode(topic, message.payload().unwrap_or_default(), coordinates) {
        Ok(envelope) => Found::Event {
            envelope: Box::new(envelope),
            partition: coordinates.partition,
            record_ms: Some(record_ms),
            warmup: record_ms < range.from_ms,
        },
        Err(error) => Found::Malformed {
            at: format!(
                "{} {} offset {}",
                coordinates.topic, coordinates.partition, coordinates.offset
            ),
            reason: error.to_string(),
        },
    }
}

fn client(settings: &KafkaSettings) -> Result<Arc<BaseConsumer>, KafkaError> {
    let mut config = settings.client_config();
    config
        .set(
            "group.id",
            format!("{}midwatch.reader", settings.topic_prefix),
        )
        .set("client.id", "midwatch.backtest")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("allow.auto.create.topics", "false")
        // Where messages expired meanwhile, the oldest one held is next.
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "50")
        .set("queued.max.messages.kbytes", QUEUED)
        .set("receive.message.max.bytes", "100000000");
    let made = config.create();
    made.map(Arc::new)
        .map_err(|error| KafkaError::new("a reading client", error))
}

/// The partitions that are wanted.
fn held(
    settings: &KafkaSettings,
    logs: &Logs,
    wanted: &Wanted,
) -> Result<Vec<(Topic, PartitionLog)>, Failure> {
    let mut held = Vec::new();
    for topic in &wanted.topics {
        let name = settings.topic(topic.name());
        let Some(partitions) = logs.get(&name) else {
            return Err(Failure::new(
                format!("{} has no topic {name}", settings.bootstrap),
                "`midwatch topics` lists what there is; KAFKA_TOPIC_PREFIX is what the names \
                 begin with, and midwatch-init creates Midwatch's topics",
            ));
        };
        let chosen = partitions
            .iter()
            .filter(|log| wanted.partition.is_none_or(|one| one == log.partition));
        let before = held.len();
        held.extend(chosen.map(|log| (*topic, log.clone())));
        if let (Some(partition), true) = (wanted.partition, held.len() == before) {
            let last = partitions.len().saturating_sub(1);
            let what = format!("{name} has no partition {partition}");
            return Err(Failure::new(what, format!("choose one from 0 to {last}")));
        }
    }
    Ok(held)
}

/// What lies in the range, of each partition that holds anything there.
fn chosen(
    settings: &KafkaSettings,
    consumer: &BaseConsumer,
    held: &[(Topic, PartitionLog)],
    wanted: &Wanted,
    range: Range,
) -> Result<Vec<Span>, KafkaError> {
    let begin = match wanted.from {
        Some(When::Time(_) | When::Ago(_)) => looked_up(settings, consumer, held, range.first_ms()),
        _ => vec![None; held.len()],
    };
    let mut spans = Vec::new();
    for ((topic, log), begin) in held.iter().zip(begin) {
        let (Some(low), Some(end)) = (log.low, log.end) else {
            let name = settings.topic(topic.name());
            let code = rdkafka::types::RDKafkaErrorCode::OperationTimedOut;
            return Err(KafkaError::new(
                &format!("asking for the offsets of {name} {}", log.partition),
                rdkafka::error::KafkaError::MetadataFetch(code),
            ));
        };
        let first = match wanted.from {
            Some(When::Offset(offset)) => offset,
            _ => begin.unwrap_or(low),
        };
        // An end in time is looked for record by record: times within a
        // partition need not rise.
        let stop = match wanted.to {
            Some(When::Offset(offset)) => offset,
            _ => end,
        };
        let span = Span {
            topic: *topic,
            partition: log.partition,
            first: first.max(low),
            stop: stop.min(end),
        };
        if span.first < span.stop {
            spans.push(span);
        }
    }
    Ok(spans)
}

/// The first offsets at or after a time. Where the broker does not look up by
/// time, or holds nothing so young, all is read and what is older passed over.
fn looked_up(
    settings: &KafkaSettings,
    consumer: &BaseConsumer,
    held: &[(Topic, PartitionLog)],
    at_ms: i64,
) -> Vec<Option<i64>> {
    let names: Vec<String> = held
        .iter()
        .map(|(topic, _)| settings.topic(topic.name()))
        .collect();
    let mut asked = TopicPartitionList::new();
    for (name, (_, log)) in names.iter().zip(held) {
        if asked
            .add_partition_offset(name, log.partition, Offset::Offset(at_ms.max(0)))
            .is_err()
        {
            return vec![None; held.len()];
        }
    }
    let Ok(found) = consumer.offsets_for_times(asked, LOOK_UP) else {
        return vec![None; held.len()];
    };
    names
        .iter()
        .zip(held)
        .map(|(name, (_, log))| {
            let element = found.find_partition(name, log.partition)?;
            match (element.error(), element.offset()) {
                (Ok(()), Offset::Offset(offset)) if offset >= 0 => Some(offset),
                _ => None,
            }
        })
        .collect()
}

fn assign(
    consumer: &Arc<BaseConsumer>,
    settings: &KafkaSettings,
    spans: &[Span],
    epoch: &str,
) -> Result<Vec<Lane>, KafkaError> {
    let failed = |error| KafkaError::new("reading", error);
    let mut assignment = TopicPartitionList::with_capacity(spans.len());
    let mut lanes = Vec::with_capacity(spans.len());
    for span in spans {
        let name = settings.topic(span.topic.name());
        assignment
            .add_partition_offset(&name, span.partition, Offset::Offset(span.first))
            .map_err(failed)?;
        // Split before the assignment, so that nothing takes the common way.
        let queue = consumer
            .split_partition_queue(&name, span.partition)
            .ok_or_else(|| {
                let error = rdkafka::error::KafkaError::Subscription(name.clone());
                KafkaError::new("the topic's name holds a zero byte", error)
            })?;
        lanes.push(Lane {
            span: span.clone(),
            queue,
            head: None,
            reached_ms: i64::MIN,
            coordinates: Coordinates {
                epoch: epoch.to_owned(),
                topic: span.topic.name().to_owned(),
                partition: span.partition,
                offset: span.first,
                record_ms: 0,
            },
            next: span.first,
            done: false,
        });
    }
    consumer.assign(&assignment).map_err(failed)?;
    Ok(lanes)
}

/// Says that nothing lies in the range, and what does lie there.
fn empty(settings: &KafkaSettings, held: &[(Topic, PartitionLog)], wanted: &Wanted) -> Failure {
    let place = |(_, log): &(Topic, PartitionLog)| {
        let known = |offset: Option<i64>| output::known(offset);
        format!(
            "partition {} holds offsets {} to before {}",
            log.partition,
            known(log.low),
            known(log.end)
        )
    };
    let metrics = held.iter().filter(|(topic, _)| *topic == Topic::RawMetrics);
    let places: Vec<String> = metrics.map(place).collect();
    let bound = |when: Option<When>, none: &str| match when {
        None => none.to_owned(),
        Some(When::Offset(offset)) => format!("offset {offset}"),
        Some(when) => when.time_ms().map_or_else(String::new, output::time),
    };
    Failure::new(
        format!(
            "no record of {} lies between {} and {}: {}",
            settings.topic(Topic::RawMetrics.name()),
            bound(wanted.from, "the beginning"),
            bound(wanted.to, "the end"),
            places.join(", ")
        ),
        "give an earlier --from or a later --to",
    )
}
