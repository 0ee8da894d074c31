//! How far Midwatch's own consumer groups are behind, read from the broker.
//!
//! An agent that hangs says nothing about itself: its process is there, its
//! last figures stand. The broker knows what it has not read. The number of
//! messages alone says little, since after a pause of one second a busy group
//! has thousands before it and a stuck one perhaps three; so the age of the
//! oldest message that waits is published beside it, and that is what
//! detection judges.
//!
//! What cannot be known is not published, never as 0. Ages are this machine's
//! clock against the record's time, so clocks must agree to within seconds.

use crate::Waiting;
use crate::config::CollectorConfig;
use crate::host::PRODUCER;
use midwatch_clients::kafka::{BrokerReader, Group, GroupsReading, Logs, Start};
use midwatch_events::decode::SCHEMA_VERSION;
use midwatch_events::raw::Labels;
use midwatch_events::{Envelope, Event, Meta, RawMetric, ids};
use midwatch_runtime::clock;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// The reader limits itself to about 20 s; what takes this long hangs.
const READ_LIMIT: Duration = Duration::from_secs(40);
/// Messages that are looked at one by one in a reading. Only partitions that a
/// group never committed to need it, and those are few.
const LOOKED_AT: usize = 32;

/// A topic's name on the broker, and a partition.
type Place = (String, i32);

/// How far a group is behind.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupLag {
    /// The group's name on the broker.
    pub group: String,
    /// `midwatch-<agent>`.
    pub service: String,
    /// Messages that wait; `None` where that cannot be known.
    pub messages: Option<i64>,
    /// Seconds for which the oldest of them has waited, 0 where none waits;
    /// `None` where that cannot be known.
    pub seconds: Option<f64>,
    /// Processes that are members now; a paused one is not after some seconds.
    pub members: usize,
}

/// What earlier readings told about the groups.
#[derive(Debug, Default)]
pub struct Memory {
    /// For each group what its members read when it was last stable, each with
    /// the offset at which the partition ended when that was first seen.
    groups: BTreeMap<String, BTreeMap<Place, i64>>,
}

/// One partition of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    place: Place,
    /// Messages that wait.
    lag: Option<i64>,
    oldest: Oldest,
}

/// Since when the oldest message waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Oldest {
    /// Its record time, epoch milliseconds.
    Record(i64),
    /// The message at this offset has to be looked at.
    At(i64),
    Unknown,
}

impl Memory {
    /// Remembers what is new in a reading, and forgets the groups that are
    /// gone.
    fn note(&mut self, reading: &GroupsReading) {
        let names: BTreeSet<&str> = reading.groups.iter().map(|one| one.name.as_str()).collect();
        self.groups.retain(|name, _| names.contains(name.as_str()));
        for group in &reading.groups {
            let Some(assigned) = assignment(group) else {
                continue;
            };
            let before = self.groups.remove(&group.name).unwrap_or_default();
            let places = assigned.into_iter().filter_map(|place| {
                let end = log_of(&reading.topics, &place)?.1;
                // A log that ends before that is another log.
                let floor = before.get(&place).map_or(end, |floor| (*floor).min(end));
                Some((place, floor))
            });
            self.groups.insert(group.name.clone(), places.collect());
        }
    }

    /// The partitions that count for a group: those that its members read when
    /// it was last stable. What it read in an earlier life and never will
    /// again does not count; where its members never told, each topic that it
    /// ever committed to does, as a whole.
    fn parts(&self, group: &Group, topics: &Logs) -> Vec<Part> {
        match self.groups.get(&group.name) {
            Some(places) => places
                .iter()
                .map(|(place, floor)| part(group, place, Some(*floor), topics))
                .collect(),
            None => {
                let read: BTreeSet<&str> = group
                    .partitions
                    .iter()
                    .map(|one| one.topic.as_str())
                    .collect();
                let logs = read.iter().filter_map(|topic| topics.get_key_value(*topic));
                logs.flat_map(|(topic, logs)| logs.iter().map(|log| (topic.clone(), log.partition)))
                    .map(|place| part(group, &place, None, topics))
                    .collect()
            }
        }
    }
}

/// What the members of a stable group read; `None` where one does not tell.
fn assignment(group: &Group) -> Option<BTreeSet<Place>> {
    if group.state != "Stable" || group.members.is_empty() {
        return None;
    }
    let told: Option<Vec<_>> = group
        .members
        .iter()
        .map(|member| member.partitions.clone())
        .collect();
    let places: BTreeSet<Place> = told?.into_iter().flatten().collect();
    (!places.is_empty()).then_some(places)
}

/// First and next offset of a partition.
fn log_of(topics: &Logs, place: &Place) -> Option<(i64, i64)> {
    let logs = topics.get(&place.0)?;
    let log = logs.iter().find(|log| log.partition == place.1)?;
    Some((log.low?, log.end?))
}

fn part(group: &Group, place: &Place, floor: Option<i64>, topics: &Logs) -> Part {
    let told = group
        .partitions
        .iter()
        .find(|one| (&one.topic, one.partition) == (&place.0, place.1));
    let (lag, oldest) = match told {
        Some(told) if told.committed.is_some() || told.lag.is_some() => {
            let oldest = told.oldest_record_ms;
            (told.lag, oldest.map_or(Oldest::Unknown, Oldest::Record))
        }
        // Nothing was committed. What lay there before the group came may be
        // none of its business; what came since it was first seen to read
        // there is, and it commits within a second of reading.
        _ => match (floor, log_of(topics, place)) {
            (Some(floor), Some((low, end))) => {
                let first = floor.max(low);
                (Some((end - first).max(0)), Oldest::At(first))
            }
            (None, Some((low, end))) if low == end => (Some(0), Oldest::Unknown),
            _ => (None, Oldest::Unknown),
        },
    };
    Part {
        place: place.clone(),
        lag,
        oldest,
    }
}

/// The parts as one: messages, and age in seconds of the oldest. Everything
/// that waits must be known.
fn sum(parts: &[Part], now_ms: i64) -> (Option<i64>, Option<f64>) {
    let lags: Option<Vec<i64>> = parts.iter().map(|part| part.lag).collect();
    let Some(messages) = lags
        .filter(|lags| !lags.is_empty())
        .map(|lags| lags.iter().sum::<i64>())
    else {
        return (None, None);
    };
    let ages: Option<Vec<i64>> = parts
        .iter()
        .filter(|part| part.lag.is_some_and(|lag| lag > 0))
        .map(|part| match part.oldest {
            Oldest::Record(at_ms) => Some((now_ms - at_ms).max(0)),
            Oldest::At(_) | Oldest::Unknown => None,
        })
        .collect();
    let seconds = ages.map(|ages| ages.into_iter().max().unwrap_or(0) as f64 / 1000.0);
    (Some(messages), seconds)
}

/// Reads all of Midwatch's groups once.
///
/// # Errors
/// The broker did not list groups or topics; in words.
pub async fn read(reader: &BrokerReader, memory: &mut Memory) -> Result<Vec<GroupLag>, String> {
    let reading = tokio::time::timeout(READ_LIMIT, reader.groups())
        .await
        .map_err(|_| format!("no answer within {} s", READ_LIMIT.as_secs()))?
        .map_err(|error| error.to_string())?;
    if reading.left_off > 0 {
        return Err(format!(
            "the broker has {} groups more than are read; set KAFKA_TOPIC_PREFIX, so that only Midwatch's are",
            reading.left_off
        ));
    }
    memory.note(&reading);
    let prefix = reader.settings().group("");
    let mut looks = LOOKED_AT;
    let mut lags = Vec::new();
    for group in &reading.groups {
        let Some(agent) = group.name.strip_prefix(&prefix) else {
            continue;
        };
        let mut parts = memory.parts(group, &reading.topics);
        look(reader, &mut parts, &mut looks).await;
        let (messages, seconds) = sum(&parts, clock::now_ms());
        lags.push(GroupLag {
            group: group.name.clone(),
            service: format!("midwatch-{agent}"),
            messages,
            seconds,
            members: group.members.len(),
        });
    }
    Ok(lags)
}

/// Looks at the messages whose time is not known yet.
async fn look(reader: &BrokerReader, parts: &mut [Part], looks: &mut usize) {
    for part in parts {
        let Oldest::At(offset) = part.oldest else {
            continue;
        };
        if part.lag.is_none_or(|lag| lag == 0) || *looks == 0 {
            continue;
        }
        *looks -= 1;
        let (topic, partition) = (part.place.0.as_str(), part.place.1);
        let start = Start::From { partition, offset };
        match reader.browse(topic, Some(partition), start, 1).await {
            Ok(page) => {
                let records = page.into_iter().flat_map(|page| page.records);
                if let Some(at_ms) = records.filter_map(|record| record.timestamp_ms).min() {
                    part.oldest = Oldest::Record(at_ms);
                }
            }
            Err(error) => tracing::debug!(%error, topic, partition, "no oldest message"),
        }
    }
}

/// The lags as events; what is not known is left out.
#[must_use]
pub fn events(environment: &str, at_ms: i64, lags: &[GroupLag]) -> Vec<Envelope> {
    let mut events = Vec::new();
    for lag in lags {
        let values = [
            ("kafka_consumer_lag", lag.messages.map(|lag| lag as f64)),
            ("kafka_consumer_lag_seconds", lag.seconds),
        ];
        for (name, value) in values {
            let Some(value) = value else { continue };
            let at = at_ms.to_string();
            let parts = ["collector", environment, &lag.group, &at, name];
            events.push(Envelope {
                meta: Meta {
                    event_id: ids::derive(&parts),
                    cause_id: None,
                    schema_version: SCHEMA_VERSION,
                    event_time_ms: at_ms,
                    producer: PRODUCER.to_owned(),
                },
                event: Event::Metric(RawMetric {
                    timestamp_ms: at_ms,
                    service: lag.service.clone(),
                    environment: environment.to_owned(),
                    metric_name: name.to_owned(),
                    metric_value: value,
                    labels: Labels::from([("group".to_owned(), lag.group.clone())]),
                }),
            });
        }
    }
    events
}

/// Shows the lags to Prometheus. What is not known is NaN, which compares with
/// nothing, and says so in a gauge of its own.
fn show(lags: &[GroupLag]) {
    for lag in lags {
        let group = || lag.group.clone();
        metrics::gauge!("midwatch_collector_consumer_group_lag_messages", "group" => group())
            .set(lag.messages.map_or(f64::NAN, |messages| messages as f64));
        metrics::gauge!("midwatch_collector_consumer_group_lag_seconds", "group" => group())
            .set(lag.seconds.unwrap_or(f64::NAN));
        metrics::gauge!("midwatch_collector_consumer_group_members", "group" => group())
            .set(lag.members as f64);
        let unknown = lag.messages.is_none() || lag.seconds.is_none();
        metrics::gauge!("midwatch_collector_consumer_group_lag_unknown", "group" => group())
            .set(f64::from(u8::from(unknown)));
    }
}

/// Marks what was shown before and is not known now.
fn forget(shown: &[GroupLag], lags: &[GroupLag]) {
    let gone: Vec<GroupLag> = shown
        .iter()
        .filter(|before| lags.iter().all(|lag| lag.group != before.group))
        .map(|before| GroupLag {
            messages: None,
            seconds: None,
            members: 0,
            ..before.clone()
        })
        .collect();
    show(&gone);
}

/// Reads and publishes for ever.
pub(crate) async fn watch(reader: BrokerReader, config: &CollectorConfig, waiting: Waiting) {
    let mut timer = tokio::time::interval(config.interval);
    timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut memory = Memory::default();
    let mut shown: Vec<GroupLag> = Vec::new();
    let mut complaint = None;
    loop {
        timer.tick().await;
        let read = read(&reader, &mut memory).await;
        let readable = f64::from(u8::from(read.is_ok()));
        metrics::gauge!("midwatch_collector_consumer_groups_readable").set(readable);
        // Said once, not with every reading.
        let news = read.as_ref().err().cloned();
        if news != complaint {
            match &news {
                Some(error) => {
                    tracing::warn!(error, "the lag of the consumer groups is not known");
                }
                None => tracing::info!("the lag of the consumer groups is known again"),
            }
            complaint = news;
        }
        let lags = read.unwrap_or_default();
        forget(&shown, &lags);
        show(&lags);
        waiting.keep(events(&config.environment, clock::now_ms(), &lags));
        shown = lags;
    }
}

#[cfg(test)]
mod tests;
