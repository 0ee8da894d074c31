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
mod tests {
    use super::*;
    use midwatch_clients::kafka::{GroupMember, GroupPartition, PartitionLog};

    const NOW_MS: i64 = 1_795_305_600_000;

    /// A partition that the group knows: committed, end, and the seconds that
    /// its oldest waiting message has waited.
    fn known(topic: &str, committed: Option<i64>, end: i64, age: Option<i64>) -> GroupPartition {
        GroupPartition {
            topic: topic.to_owned(),
            partition: 0,
            committed,
            end: Some(end),
            lag: committed.map(|committed| end - committed),
            oldest_record_ms: age.map(|age| NOW_MS - 1_000 * age),
        }
    }

    fn reading(state: &str, reads: &[&str], partitions: Vec<GroupPartition>) -> GroupsReading {
        let topics = partitions.iter().map(|one| {
            let log = PartitionLog {
                partition: 0,
                low: Some(0),
                end: one.end,
            };
            (one.topic.clone(), vec![log])
        });
        let topics = topics.collect();
        let member = GroupMember {
            member_id: "m".to_owned(),
            client_id: "c".to_owned(),
            client_host: String::new(),
            instance: None,
            partitions: Some(reads.iter().map(|topic| ((*topic).to_owned(), 0)).collect()),
        };
        let stable = state == "Stable";
        let group = Group {
            name: "midwatch.rca".to_owned(),
            state: state.to_owned(),
            members: stable.then_some(member).into_iter().collect(),
            // As the reader does: an empty group shows what it committed to.
            partitions: partitions
                .into_iter()
                .filter(|one| stable || one.committed.is_some())
                .collect(),
            lag: None,
        };
        GroupsReading {
            groups: vec![group],
            left_off: 0,
            topics,
        }
    }

    fn parts(memory: &mut Memory, reading: &GroupsReading) -> Vec<Part> {
        memory.note(reading);
        memory.parts(&reading.groups[0], &reading.topics)
    }

    #[test]
    fn lag_is_the_sum_and_age_that_of_the_oldest() {
        let now = reading(
            "Empty",
            &[],
            vec![
                known("a", Some(7), 10, Some(90)),
                known("b", Some(4), 5, Some(3)),
            ],
        );
        let parts = parts(&mut Memory::default(), &now);
        assert_eq!(sum(&parts, NOW_MS), (Some(4), Some(90.0)));
    }

    #[test]
    fn nothing_waits_nothing_is_old_and_one_unknown_makes_all_unknown() {
        let at_end = reading("Empty", &[], vec![known("a", Some(7), 7, None)]);
        let found = parts(&mut Memory::default(), &at_end);
        assert_eq!(sum(&found, NOW_MS), (Some(0), Some(0.0)));
        let mut other_log = known("a", Some(7), 3, None);
        other_log.lag = None;
        let mixed = reading(
            "Empty",
            &[],
            vec![other_log, known("b", Some(1), 2, Some(5))],
        );
        let found = parts(&mut Memory::default(), &mixed);
        assert_eq!(sum(&found, NOW_MS), (None, None));
        let unread = reading("Empty", &[], vec![known("a", Some(6), 7, None)]);
        let found = parts(&mut Memory::default(), &unread);
        assert_eq!(
            sum(&found, NOW_MS),
            (Some(1), None),
            "its age could not be read"
        );
        assert_eq!(sum(&[], NOW_MS), (None, None), "a group without partitions");
    }

    #[test]
    fn where_no_member_tells_what_it_reads_a_full_partition_without_offset_is_unknown() {
        let mut now = reading("Empty", &[], vec![known("a", Some(7), 7, None)]);
        let logs = now.topics.get_mut("a").expect("the topic");
        logs.push(PartitionLog {
            partition: 1,
            low: Some(4),
            end: Some(4),
        });
        let found = parts(&mut Memory::default(), &now);
        assert_eq!(sum(&found, NOW_MS), (Some(0), Some(0.0)));
        now.topics.get_mut("a").expect("the topic")[1].end = Some(5);
        let found = parts(&mut Memory::default(), &now);
        assert_eq!(sum(&found, NOW_MS), (None, None));
    }

    #[test]
    fn what_came_after_the_group_counts_also_where_it_never_committed() {
        let mut memory = Memory::default();
        let quiet = vec![known("a", None, 40, None), known("b", Some(9), 9, None)];
        let found = parts(&mut memory, &reading("Stable", &["a", "b"], quiet));
        assert_eq!(
            sum(&found, NOW_MS),
            (Some(0), Some(0.0)),
            "40 lay there before"
        );
        // Paused, it leaves the group; then two messages come.
        let later = vec![known("a", None, 42, None), known("b", Some(9), 9, None)];
        let found = parts(&mut memory, &reading("Empty", &[], later));
        assert_eq!(found[0].oldest, Oldest::At(40));
        assert_eq!(found[0].lag, Some(2));
        assert_eq!(
            sum(&found, NOW_MS),
            (Some(2), None),
            "until it was looked at"
        );
    }

    #[test]
    fn what_no_member_reads_any_more_does_not_count() {
        let mut memory = Memory::default();
        let partitions = || {
            vec![
                known("a", Some(5), 5, None),
                known("old", Some(1), 99, Some(9_000)),
            ]
        };
        let found = parts(&mut memory, &reading("Stable", &["a"], partitions()));
        assert_eq!(sum(&found, NOW_MS), (Some(0), Some(0.0)));
        let found = parts(&mut memory, &reading("Empty", &[], partitions()));
        assert_eq!(sum(&found, NOW_MS), (Some(0), Some(0.0)));
    }

    #[test]
    fn an_emptied_broker_starts_the_count_anew() {
        let mut memory = Memory::default();
        parts(
            &mut memory,
            &reading("Stable", &["a"], vec![known("a", None, 40, None)]),
        );
        let emptied = reading("Stable", &["a"], vec![known("a", None, 3, None)]);
        let found = parts(&mut memory, &emptied);
        assert_eq!(found[0].lag, Some(0));
        memory.note(&GroupsReading::default());
        assert!(
            memory.groups.is_empty(),
            "a group that is gone is forgotten"
        );
    }

    #[test]
    fn only_what_is_known_becomes_an_event_of_the_agent() {
        let lag = |messages, seconds| GroupLag {
            group: "t.midwatch.rca".to_owned(),
            service: "midwatch-rca".to_owned(),
            messages,
            seconds,
            members: 1,
        };
        assert_eq!(events("local", NOW_MS, &[lag(None, None)]), []);
        let found = events("local", NOW_MS, &[lag(Some(3), Some(61.5))]);
        let told: Vec<(&str, &str, f64, &str)> = found
            .iter()
            .map(|one| match &one.event {
                Event::Metric(one) => (
                    one.service.as_str(),
                    one.metric_name.as_str(),
                    one.metric_value,
                    one.labels["group"].as_str(),
                ),
                _ => panic!("a lag is a metric"),
            })
            .collect();
        let group = "t.midwatch.rca";
        assert_eq!(
            told,
            [
                ("midwatch-rca", "kafka_consumer_lag", 3.0, group),
                ("midwatch-rca", "kafka_consumer_lag_seconds", 61.5, group),
            ]
        );
        assert_ne!(found[0].meta.event_id, found[1].meta.event_id);
        assert_eq!(events("local", NOW_MS, &[lag(Some(3), None)]).len(), 1);
    }
}
