//! Consumer groups, their members, and how far behind they are.

use super::reader::{Inner, Logs, Place, REQUEST, Seen, locked, patiently, sweep};
use super::{BrokerReader, KafkaError};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::groups::{GroupInfo, GroupMemberInfo};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::Offset;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Groups in one answer, and clients kept for them: each is a connection with
/// its threads. Midwatch has about ten.
const GROUPS: usize = 64;
const CLIENTS: usize = 16;
/// Groups that are asked for their offsets at a time.
const LANES: usize = 4;
/// How long all of them may take.
const OFFSETS: Duration = Duration::from_secs(8);
/// How long reading the oldest waiting messages may take.
const OLDEST: Duration = Duration::from_secs(2);

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupMember {
    pub member_id: String,
    /// As the member names itself; where the broker does not pass it on, taken
    /// from the member's id.
    pub client_id: String,
    /// Its address; empty where the broker does not say.
    pub client_host: String,
    /// Its `group.instance.id`, where it is static and that can be known.
    pub instance: Option<String>,
    /// What it reads; `None` where the broker does not say.
    pub partitions: Option<Vec<(String, i32)>>,
}

/// How far a group is in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupPartition {
    /// The topic's name on the broker.
    pub topic: String,
    pub partition: i32,
    /// The next offset that the group will read; `None` where it never
    /// committed one, or the broker does not say.
    pub committed: Option<i64>,
    /// The offset that the next message gets.
    pub end: Option<i64>,
    /// Messages that wait; `None` where that cannot be known.
    pub lag: Option<i64>,
    /// The record time of the oldest message that waits, epoch milliseconds
    /// of wall clock; `None` where none waits or it could not be read.
    pub oldest_record_ms: Option<i64>,
}

/// A consumer group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    pub name: String,
    /// `Stable`, `Empty`, `PreparingRebalance`, … as the broker calls it.
    pub state: String,
    pub members: Vec<GroupMember>,
    /// All partitions of the topics that the group has committed to or its
    /// members read, by topic and partition.
    pub partitions: Vec<GroupPartition>,
    /// The sum over the partitions; `None` where one of them is unknown, or
    /// the group has none.
    pub lag: Option<i64>,
}

impl Group {
    /// How long the oldest unconsumed message has waited, in milliseconds of
    /// wall clock; `None` where none waits or it is unknown.
    #[must_use]
    pub fn oldest_age_ms(&self, now_ms: i64) -> Option<i64> {
        let oldest = self
            .partitions
            .iter()
            .filter_map(|one| one.oldest_record_ms)
            .min()?;
        Some((now_ms - oldest).max(0))
    }

    /// The lag in one topic; `None` where a partition of it is unknown, or the
    /// group has none there.
    #[must_use]
    pub fn topic_lag(&self, topic: &str) -> Option<i64> {
        total(self.partitions.iter().filter(|one| one.topic == topic))
    }
}

/// Groups and logs, read together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GroupsReading {
    /// By name.
    pub groups: Vec<Group>,
    /// Groups beyond the most that are shown.
    pub left_off: usize,
    pub topics: Logs,
}

impl BrokerReader {
    /// The groups under the configured prefix with their lag, and all topics.
    /// Takes a fraction of a second, at most about 20 s.
    ///
    /// # Errors
    /// The broker did not list its groups or topics.
    pub async fn groups(&self) -> Result<GroupsReading, KafkaError> {
        self.ask(|inner, consumer| inner.groups(consumer)).await
    }
}

impl Inner {
    fn groups(&self, consumer: &Arc<BaseConsumer>) -> Result<GroupsReading, KafkaError> {
        let list = patiently(|| consumer.fetch_group_list(None, REQUEST))
            .map_err(|error| KafkaError::new("listing the consumer groups", error))?;
        let mut groups: Vec<Group> = list
            .groups()
            .iter()
            .filter(|group| group.name().starts_with(&self.settings.topic_prefix))
            .map(describe)
            .collect();
        groups.sort_by(|one, other| one.name.cmp(&other.name));
        let left_off = groups.len().saturating_sub(GROUPS);
        groups.truncate(GROUPS);
        let places = self.places(consumer, None)?;
        let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
        let committed = self.committed_of_all(&names, &places);
        // The ends come after the offsets: one that is committed meanwhile must
        // not lie beyond the end that it is held against.
        let topics = self.logs(consumer, &places, true)?;
        for (group, committed) in groups.iter_mut().zip(committed) {
            group.partitions = partitions(&group.members, committed.as_ref(), &topics);
            group.lag = total(group.partitions.iter());
        }
        self.read_oldest(consumer, &mut groups, &topics)?;
        Ok(GroupsReading {
            groups,
            left_off,
            topics,
        })
    }

    /// The committed offsets of each group, in its order; `None` where it gave
    /// no answer in time.
    fn committed_of_all(
        &self,
        groups: &[&str],
        places: &[Place],
    ) -> Vec<Option<BTreeMap<Place, i64>>> {
        let deadline = Instant::now() + OFFSETS;
        let next = Mutex::new(0..groups.len());
        let found = Mutex::new(vec![None; groups.len()]);
        std::thread::scope(|scope| {
            for _ in 0..LANES.min(groups.len()) {
                scope.spawn(|| {
                    while let Some(index) = { locked(&next).next() } {
                        let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                            return;
                        };
                        match self.committed(groups[index], places, left.min(REQUEST)) {
                            Ok(offsets) => locked(&found)[index] = Some(offsets),
                            Err(error) => {
                                tracing::debug!(group = groups[index], %error, "no committed offsets");
                            }
                        }
                    }
                });
            }
        });
        found.into_inner().unwrap_or_default()
    }

    fn committed(
        &self,
        group: &str,
        places: &[Place],
        limit: Duration,
    ) -> Result<BTreeMap<Place, i64>, KafkaError> {
        let what = format!("the committed offsets of {group}");
        let client = self.group_client(group)?;
        let mut wanted = TopicPartitionList::with_capacity(places.len());
        for (topic, partition) in places {
            wanted.add_partition(topic, *partition);
        }
        let found = patiently(|| client.committed_offsets(wanted.clone(), limit))
            .map_err(|error| KafkaError::new(&what, error))?;
        // Serves what gathered, such as lost connections.
        for _ in 0..100 {
            if client.poll(Duration::ZERO).is_none() {
                break;
            }
        }
        let mut offsets = BTreeMap::new();
        for element in found.elements() {
            element
                .error()
                .map_err(|error| KafkaError::new(&what, error))?;
            if let Offset::Offset(offset) = element.offset() {
                offsets.insert((element.topic().to_owned(), element.partition()), offset);
            }
        }
        Ok(offsets)
    }

    fn group_client(&self, group: &str) -> Result<Arc<BaseConsumer>, KafkaError> {
        let mut clients = locked(&self.group_clients);
        if let Some(at) = clients.iter().position(|(name, _)| name == group) {
            let entry = clients.remove(at);
            let client = entry.1.clone();
            clients.push(entry);
            return Ok(client);
        }
        if clients.len() >= CLIENTS {
            clients.remove(0);
        }
        let client = self.client(Some(group))?;
        clients.push((group.to_owned(), client.clone()));
        Ok(client)
    }

    /// Reads the record time of the first waiting message of each partition.
    fn read_oldest(
        &self,
        consumer: &Arc<BaseConsumer>,
        groups: &mut [Group],
        topics: &Logs,
    ) -> Result<(), KafkaError> {
        let deadline = Instant::now() + OLDEST;
        let mut waiting: Vec<&mut GroupPartition> = groups
            .iter_mut()
            .flat_map(|group| group.partitions.iter_mut())
            .filter(|one| one.lag.is_some_and(|lag| lag > 0))
            .collect();
        // A client reads a partition at one place at a time, so groups that
        // share one take turns.
        while !waiting.is_empty() && Instant::now() < deadline {
            let mut places = BTreeSet::new();
            let (mut now, later): (Vec<_>, Vec<_>) = waiting
                .into_iter()
                .partition(|one| places.insert((one.topic.clone(), one.partition)));
            waiting = later;
            let starts: Vec<(Place, i64)> = now
                .iter()
                .map(|one| {
                    let place = (one.topic.clone(), one.partition);
                    let low = low_of(topics, &place).unwrap_or(0);
                    (place, one.committed.unwrap_or(low).max(low))
                })
                .collect();
            sweep(consumer, &starts, deadline, |index, seen| {
                if let Seen::Message(message) = seen {
                    now[index].oldest_record_ms = message.timestamp().to_millis();
                }
                true
            })?;
        }
        Ok(())
    }
}

fn low_of(topics: &Logs, place: &Place) -> Option<i64> {
    let logs = topics.get(&place.0)?;
    logs.iter().find(|log| log.partition == place.1)?.low
}

fn total<'a>(partitions: impl Iterator<Item = &'a GroupPartition>) -> Option<i64> {
    let lags: Option<Vec<i64>> = partitions.map(|one| one.lag).collect();
    lags.filter(|lags| !lags.is_empty())
        .map(|lags| lags.iter().sum())
}

fn partitions(
    members: &[GroupMember],
    committed: Option<&BTreeMap<Place, i64>>,
    topics: &Logs,
) -> Vec<GroupPartition> {
    let mut places: BTreeSet<Place> = members
        .iter()
        .filter_map(|member| member.partitions.clone())
        .flatten()
        .collect();
    places.extend(
        committed
            .into_iter()
            .flat_map(|offsets| offsets.keys().cloned()),
    );
    // Who reads a topic reads all of it, though it may not have come to each
    // partition yet, and not every broker says which ones are assigned.
    let names: BTreeSet<String> = places.iter().map(|place| place.0.clone()).collect();
    for name in names {
        let logs = topics.get(&name).into_iter().flatten();
        places.extend(logs.map(|log| (name.clone(), log.partition)));
    }
    places
        .into_iter()
        .map(|place| {
            let committed = committed.and_then(|offsets| offsets.get(&place)).copied();
            let log = topics
                .get(&place.0)
                .and_then(|logs| logs.iter().find(|log| log.partition == place.1));
            let (low, end) = log.map_or((None, None), |log| (log.low, log.end));
            GroupPartition {
                topic: place.0,
                partition: place.1,
                committed,
                end,
                lag: lag(committed, low, end),
                oldest_record_ms: None,
            }
        })
        .collect()
}

/// Messages that wait. An end before the committed offset is no lag of zero:
/// one of the two belongs to another log.
fn lag(committed: Option<i64>, low: Option<i64>, end: Option<i64>) -> Option<i64> {
    let (low, end) = (low?, end?);
    match committed {
        // Where nothing was committed, where the group begins is its own
        // setting; only an empty log leaves no doubt.
        None => (low == end).then_some(0),
        Some(committed) if committed <= end => Some(end - committed.max(low)),
        Some(_) => None,
    }
}

fn describe(group: &GroupInfo) -> Group {
    let mut members: Vec<GroupMember> = group
        .members()
        .iter()
        .map(|member| describe_member(group, member))
        .collect();
    members.sort_by(|one, other| one.member_id.cmp(&other.member_id));
    Group {
        name: group.name().to_owned(),
        state: group.state().to_owned(),
        members,
        partitions: Vec::new(),
        lag: None,
    }
}

fn describe_member(group: &GroupInfo, member: &GroupMemberInfo) -> GroupMember {
    let (client_id, instance) = identity(group.name(), member.id(), member.client_id());
    let consumers = group.protocol_type() == "consumer";
    GroupMember {
        member_id: member.id().to_owned(),
        client_id,
        client_host: member.client_host().trim_start_matches('/').to_owned(),
        instance,
        partitions: member
            .assignment()
            .filter(|bytes| consumers && !bytes.is_empty())
            .and_then(parse_assignment),
    }
}

/// A member's client id, and its instance id where it can be told. The broker
/// makes a member's id of its instance id, or else its client id, and a random
/// UUID; Midwatch's own slots are static and are called `<group>.<slot>`.
fn identity(group: &str, member: &str, client: &str) -> (String, Option<String>) {
    let name = member
        .len()
        .checked_sub(37)
        .and_then(|at| member.split_at_checked(at))
        .filter(|(name, tail)| !name.is_empty() && tail.starts_with('-'))
        .filter(|(_, tail)| uuid::Uuid::try_parse(&tail[1..]).is_ok())
        .map(|(name, _)| name.to_owned());
    let client_id = if client.is_empty() {
        name.clone().unwrap_or_default()
    } else {
        client.to_owned()
    };
    let ours = |name: &String| {
        name.strip_prefix(group)
            .is_some_and(|slot| slot.starts_with('.'))
    };
    let instance = name.filter(|name| ours(name) || !client.is_empty() && name != client);
    (client_id, instance)
}

/// The partitions in a member's assignment, as the consumer protocol writes it:
/// version, then per topic its name and partitions, then data of the members'
/// own. `None` where the bytes do not hold.
fn parse_assignment(bytes: &[u8]) -> Option<Vec<(String, i32)>> {
    let mut bytes = bytes.get(2..)?;
    let mut take = |count: usize| {
        let (head, rest) = bytes.split_at_checked(count)?;
        bytes = rest;
        Some(head)
    };
    let mut found = Vec::new();
    let topics = i32::from_be_bytes(take(4)?.try_into().ok()?);
    for _ in 0..topics {
        let length = i16::from_be_bytes(take(2)?.try_into().ok()?);
        let name = std::str::from_utf8(take(usize::try_from(length).ok()?)?).ok()?;
        let name = name.to_owned();
        let partitions = i32::from_be_bytes(take(4)?.try_into().ok()?);
        for _ in 0..partitions {
            found.push((name.clone(), i32::from_be_bytes(take(4)?.try_into().ok()?)));
        }
    }
    found.sort();
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_read_and_a_broken_one_is_unknown() {
        // Version 0; two topics: "ab" with partitions 2 and 0, "c" with none;
        // no data of the members' own (length −1).
        let bytes = [
            &[0, 0][..],
            &[0, 0, 0, 2],
            &[0, 2, b'a', b'b', 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0],
            &[0, 1, b'c', 0, 0, 0, 0],
            &[255, 255, 255, 255],
        ]
        .concat();
        let expected = vec![("ab".to_owned(), 0), ("ab".to_owned(), 2)];
        assert_eq!(parse_assignment(&bytes), Some(expected));
        for cut in 0..bytes.len() - 4 {
            assert_eq!(parse_assignment(&bytes[..cut]), None, "cut at {cut}");
        }
        // A name of negative length, and one that is not UTF-8.
        assert_eq!(
            parse_assignment(&[0, 0, 0, 0, 0, 1, 255, 255, 0, 0, 0, 0]),
            None
        );
        assert_eq!(
            parse_assignment(&[0, 0, 0, 0, 0, 1, 0, 1, 255, 0, 0, 0, 0]),
            None
        );
    }

    #[test]
    fn lag_is_unknown_rather_than_wrong() {
        for (committed, low, end, expected) in [
            (Some(20), Some(0), Some(30), Some(10)),
            (Some(30), Some(0), Some(30), Some(0)),
            // Offsets 0 to 9 expired unread: five are left to read.
            (Some(3), Some(10), Some(15), Some(5)),
            (Some(31), Some(0), Some(30), None),
            (None, Some(0), Some(30), None),
            (None, Some(7), Some(7), Some(0)),
            (Some(3), Some(0), None, None),
        ] {
            assert_eq!(
                lag(committed, low, end),
                expected,
                "{committed:?} {low:?} {end:?}"
            );
        }
    }

    #[test]
    fn a_members_instance_is_told_from_its_id() {
        let id = "5a1b3818-11a5-4106-a7eb-372e0c2b7cff";
        let told = |member: &str, client: &str| identity("g", &format!("{member}-{id}"), client);
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(told("g.0", "g.0"), ("g.0".to_owned(), some("g.0")));
        assert_eq!(told("slot", "app"), ("app".to_owned(), some("slot")));
        assert_eq!(
            told("app", "app"),
            ("app".to_owned(), None),
            "a dynamic member"
        );
        assert_eq!(told("g.1", ""), ("g.1".to_owned(), some("g.1")));
        assert_eq!(told("app", ""), ("app".to_owned(), None));
        assert_eq!(identity("g", "žluť", ""), (String::new(), None));
    }

    #[test]
    fn one_unknown_partition_makes_the_sum_unknown() {
        let one = |lag| GroupPartition {
            topic: "t".to_owned(),
            partition: 0,
            committed: None,
            end: None,
            lag,
            oldest_record_ms: None,
        };
        assert_eq!(total([one(Some(1)), one(Some(2))].iter()), Some(3));
        assert_eq!(total([one(Some(1)), one(None)].iter()), None);
        assert_eq!(total([].iter()), None);
    }
}
