//! Messages, read without a group: a page of a topic, or live.

use super::reader::{Inner, Place, Seen, sweep, timed_out};
use super::{BrokerReader, KafkaError, PartitionLog, is_passing};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::Offset;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Messages on one page.
pub const PAGE: usize = 500;
/// How long one page may take to read.
const READ: Duration = Duration::from_secs(5);
/// Bytes read for one page. A raw message may have 6 MB, and a page of those
/// must not fill the memory.
const READ_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of text kept of a payload, of a key and of a header's value.
const PAYLOAD: usize = 32 * 1024;
const KEY: usize = 512;
const HEADER: usize = 1_024;
/// Headers kept of a message.
const HEADERS: usize = 32;
/// Messages that wait for one live reader.
const QUEUE: usize = 256;
/// How often a live reader looks whether anybody still reads.
const LOOK: Duration = Duration::from_millis(100);

/// A message, as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The topic's name on the broker.
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// The record's time, epoch milliseconds; `None` where it has none.
    pub timestamp_ms: Option<i64>,
    /// `None` where it has none.
    pub key: Option<String>,
    /// In order. Values that are no text are described.
    pub headers: Vec<(String, String)>,
    /// The payload, or what it is where it is no text.
    pub payload: String,
    /// Whether `payload` is the payload itself.
    pub is_text: bool,
    /// Bytes of the whole payload.
    pub size: usize,
    /// Whether `payload` is only its beginning.
    pub truncated: bool,
}

/// Where a page of messages lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// The newest messages.
    Newest,
    /// The newest before these offsets; partitions that are not named count
    /// from their end.
    Before(BTreeMap<i32, i64>),
    /// The first ones from this offset on, of one partition.
    From { partition: i32, offset: i64 },
}

/// A page of messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page {
    /// Newest first.
    pub records: Vec<Record>,
    /// The topic's partitions, all of them.
    pub logs: Vec<PartitionLog>,
    /// For [`Start::Before`]: what is older than this page; `None` where
    /// nothing is.
    pub older: Option<BTreeMap<i32, i64>>,
    /// Whether everything was read that the page should hold; a limit of time
    /// or bytes was met otherwise, or an end is unknown.
    pub complete: bool,
}

/// What a live reader hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    Record(Box<Record>),
    /// So many messages were left out here, because they were not taken in
    /// time.
    Dropped(u64),
}

/// A topic as it grows. Dropping it ends the reading.
pub struct Follow {
    /// Where it began in each partition.
    pub from: BTreeMap<i32, i64>,
    /// Ends only when the reading fails; the error is the last item then.
    pub receiver: mpsc::Receiver<Result<Followed, String>>,
}

impl BrokerReader {
    /// A page of at most `limit` (and at most [`PAGE`]) messages of `topic`
    /// (its name on the broker), or of one of its partitions; `None` where the
    /// broker has no such topic. Over several partitions the messages are
    /// merged by their record time.
    ///
    /// # Errors
    /// The broker gave no answer within seconds.
    pub async fn browse(
        &self,
        topic: &str,
        partition: Option<i32>,
        start: Start,
        limit: usize,
    ) -> Result<Option<Page>, KafkaError> {
        let topic = topic.to_owned();
        let limit = limit.clamp(1, PAGE);
        self.ask(move |inner, consumer| inner.browse(consumer, &topic, partition, &start, limit))
            .await
    }

    /// Follows `topic` (its name on the broker), or one of its partitions, from
    /// its end on; `None` where there is no such topic. Who reads too slowly
    /// loses messages and hears how many.
    ///
    /// # Errors
    /// The broker gave no answer, or too many follow already.
    pub async fn follow(
        &self,
        topic: &str,
        partition: Option<i32>,
    ) -> Result<Option<Follow>, KafkaError> {
        let inner = self.inner.clone();
        let Ok(seat) = inner.followers.clone().try_acquire_owned() else {
            let most = super::reader::FOLLOWERS;
            return Err(KafkaError::internal(&format!(
                "{most} live readers are at work; close one"
            )));
        };
        let name = topic.to_owned();
        let found = self
            .ask(move |inner, consumer| {
                let places = inner.places(consumer, Some(&name))?;
                inner.logs(consumer, &places, false)
            })
            .await?;
        let Some(logs) = found.get(topic) else {
            return Ok(None);
        };
        let from: BTreeMap<i32, i64> = logs
            .iter()
            .filter(|log| partition.is_none_or(|wanted| wanted == log.partition))
            .map(|log| log.end.map(|end| (log.partition, end)))
            .collect::<Option<_>>()
            .ok_or_else(|| timed_out(&format!("looking for the end of {topic}")))?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (topic, begin) = (topic.to_owned(), from.clone());
        tokio::task::spawn_blocking(move || {
            let _seat = seat;
            if let Err(error) = stream(&inner, &topic, &begin, &sender) {
                // Whoever left needs no reason.
                sender.blocking_send(Err(error.to_string())).ok();
            }
        });
        Ok(Some(Follow { from, receiver }))
    }
}

impl Inner {
    fn browse(
        &self,
        consumer: &Arc<BaseConsumer>,
        topic: &str,
        partition: Option<i32>,
        start: &Start,
        limit: usize,
    ) -> Result<Option<Page>, KafkaError> {
        let places = self.places(consumer, Some(topic))?;
        let Some(logs) = self.logs(consumer, &places, false)?.remove(topic) else {
            return Ok(None);
        };
        let chosen = logs.iter().filter(|log| match start {
            Start::From { partition, .. } => *partition == log.partition,
            _ => partition.is_none_or(|wanted| wanted == log.partition),
        });
        let mut complete = true;
        let mut spans: Vec<Span> = Vec::new();
        for log in chosen {
            match (log.low, log.end) {
                (Some(low), Some(end)) => {
                    spans.extend(Span::of(log.partition, low, end, start, limit))
                }
                _ => complete = false,
            }
        }
        let mut records = Vec::new();
        complete &= read(consumer, topic, &spans, &mut records)?;
        records.sort_by_key(|one: &Record| {
            std::cmp::Reverse((one.timestamp_ms, one.offset, one.partition))
        });
        if matches!(start, Start::From { .. }) {
            records.drain(..records.len().saturating_sub(limit));
        } else {
            records.truncate(limit);
        }
        let older = older(&logs, &spans, &records);
        Ok(Some(Page {
            records,
            logs,
            older,
            complete,
        }))
    }
}

/// The offsets of one partition that may be on a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    partition: i32,
    first: i64,
    /// One after the last.
    stop: i64,
}

impl Span {
    /// `None` where the partition holds nothing there.
    fn of(partition: i32, low: i64, end: i64, start: &Start, limit: usize) -> Option<Span> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let (first, stop) = match start {
            Start::From { offset, .. } => {
                let first = (*offset).max(low);
                (first, first.saturating_add(limit).min(end))
            }
            Start::Newest => (end.saturating_sub(limit), end),
            Start::Before(offsets) => {
                let stop = offsets.get(&partition).copied().unwrap_or(end).min(end);
                (stop.saturating_sub(limit), stop)
            }
        };
        let first = first.max(low);
        (first < stop).then_some(Span {
            partition,
            first,
            stop,
        })
    }
}

/// The next offsets back: in each partition what lies before the oldest that
/// is shown.
fn older(logs: &[PartitionLog], spans: &[Span], records: &[Record]) -> Option<BTreeMap<i32, i64>> {
    let mut next = BTreeMap::new();
    let mut any = false;
    for log in logs {
        let shown = records.iter().filter(|one| one.partition == log.partition);
        let oldest = shown.map(|one| one.offset).min();
        let span = spans.iter().find(|span| span.partition == log.partition);
        // A partition without messages on this page goes on where it stood.
        let stop = oldest.or(span.map(|span| span.stop)).or(log.low);
        if let (Some(stop), Some(low)) = (stop, log.low) {
            any |= span.is_some() && stop > low;
            next.insert(log.partition, stop);
        }
    }
    any.then_some(next)
}

/// Reads the spans; answers whether all was read.
fn read(
    consumer: &Arc<BaseConsumer>,
    topic: &str,
    spans: &[Span],
    records: &mut Vec<Record>,
) -> Result<bool, KafkaError> {
    let starts: Vec<(Place, i64)> = spans
        .iter()
        .map(|span| ((topic.to_owned(), span.partition), span.first))
        .collect();
    let mut bytes = 0;
    let mut whole = true;
    let all = sweep(consumer, &starts, Instant::now() + READ, |index, seen| {
        let Seen::Message(message) = seen else {
            return true;
        };
        if message.offset() >= spans[index].stop {
            return true;
        }
        if bytes >= READ_BYTES {
            whole = false;
            return true;
        }
        bytes += message.payload_len() + message.key_len();
        records.push(record(message));
        message.offset() + 1 >= spans[index].stop
    })?;
    Ok(all && whole)
}

/// Follows until nobody listens.
fn stream(
    inner: &Inner,
    topic: &str,
    from: &BTreeMap<i32, i64>,
    sender: &mpsc::Sender<Result<Followed, String>>,
) -> Result<(), KafkaError> {
    let failed = |error| KafkaError::new(&format!("following {topic}"), error);
    let consumer = inner.client(None)?;
    let mut assignment = TopicPartitionList::new();
    for (partition, offset) in from {
        assignment
            .add_partition_offset(topic, *partition, Offset::Offset(*offset))
            .map_err(failed)?;
    }
    consumer.assign(&assignment).map_err(failed)?;
    let mut dropped = 0_u64;
    while !sender.is_closed() {
        match consumer.poll(LOOK) {
            Some(Ok(message)) if dropped == 0 => {
                let news = Followed::Record(Box::new(record(&message)));
                dropped += u64::from(!offer(sender, news));
            }
            Some(Ok(_)) => dropped += 1,
            Some(Err(error)) if !is_passing(&error) => return Err(failed(error)),
            _ => {}
        }
        // Room for the news of the loss and for what follows it.
        if dropped > 0 && sender.capacity() > QUEUE / 2 && offer(sender, Followed::Dropped(dropped))
        {
            dropped = 0;
        }
    }
    Ok(())
}

fn offer(sender: &mpsc::Sender<Result<Followed, String>>, news: Followed) -> bool {
    !matches!(sender.try_send(Ok(news)), Err(TrySendError::Full(_)))
}

fn record(message: &rdkafka::message::BorrowedMessage<'_>) -> Record {
    let bytes = message.payload();
    let (payload, is_text, truncated) = match bytes {
        None => ("no payload".to_owned(), false, false),
        Some(bytes) => text(bytes, PAYLOAD),
    };
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers
            .iter()
            .take(HEADERS)
            .map(|header| {
                let value = header.value.map(|value| text(value, HEADER).0);
                (
                    text(header.key.as_bytes(), KEY).0,
                    value.unwrap_or_default(),
                )
            })
            .collect()
    });
    Record {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key().map(|key| text(key, KEY).0),
        headers,
        payload,
        is_text,
        size: bytes.map_or(0, <[u8]>::len),
        truncated,
    }
}

/// Bytes as text of at most `limit` bytes, whether they are text, and whether
/// there was more. What is no text is described by its first bytes.
fn text(bytes: &[u8], limit: usize) -> (String, bool, bool) {
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            let cut = text.floor_char_boundary(limit);
            (text[..cut].to_owned(), true, cut < text.len())
        }
        Err(error) => {
            let head: Vec<String> = bytes
                .iter()
                .take(16)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let dots = if bytes.len() > 16 { " …" } else { "" };
            let note = format!(
                "{} bytes that are not UTF-8 (the first at {}): {}{dots}",
                bytes.len(),
                error.valid_up_to(),
                head.join(" ")
            );
            (note, false, false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_stay_within_what_is_held() {
        let span =
            |start: &Start| Span::of(1, 10, 100, start, 20).map(|span| (span.first, span.stop));
        assert_eq!(span(&Start::Newest), Some((80, 100)));
        let before = |offset| Start::Before(BTreeMap::from([(1, offset)]));
        assert_eq!(span(&before(80)), Some((60, 80)));
        assert_eq!(span(&before(15)), Some((10, 15)));
        assert_eq!(span(&before(10)), None);
        assert_eq!(span(&before(500)), Some((80, 100)));
        assert_eq!(span(&Start::Before(BTreeMap::new())), Some((80, 100)));
        let from = |offset| Start::From {
            partition: 1,
            offset,
        };
        assert_eq!(span(&from(0)), Some((10, 30)));
        assert_eq!(span(&from(95)), Some((95, 100)));
        assert_eq!(span(&from(i64::MAX)), None);
        assert_eq!(span(&before(i64::MIN)), None);
    }

    #[test]
    fn bytes_become_text_or_a_note() {
        assert_eq!(
            text("žluť".as_bytes(), 100),
            ("žluť".to_owned(), true, false)
        );
        // `ž` has two bytes and is not cut in half.
        assert_eq!(text("ažb".as_bytes(), 2), ("a".to_owned(), true, true));
        let note = "3 bytes that are not UTF-8 (the first at 1): 61 ff 00";
        assert_eq!(text(b"a\xff\0", 2), (note.to_owned(), false, false));
    }
}
