//! `midwatch topics`: topics, groups and messages, straight from the broker.
//!
//! No group is joined, nothing is committed, created or written.

mod tail;

pub use tail::{Options, tail};

use crate::failure::Failure;
use crate::output::{self, Paint, Style};
use midwatch_clients::kafka::{BrokerReader, Group, GroupsReading, KafkaError, PartitionLog};
use midwatch_runtime::clock;
use serde::Serialize;

/// A topic in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicLine {
    /// Its name on the broker.
    pub name: String,
    pub partitions: usize,
    /// Messages held; `null` where the broker cannot say.
    pub messages: Option<i64>,
}

/// A consumer group in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupLine {
    pub name: String,
    pub state: String,
    pub members: usize,
    /// Messages that wait; `null` where that cannot be known.
    pub lag: Option<i64>,
    /// How long the oldest of them has waited, milliseconds; `null` where none
    /// waits or it is unknown.
    pub oldest_age_ms: Option<i64>,
    pub topics: Vec<GroupTopic>,
}

/// What a group reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupTopic {
    pub name: String,
    pub lag: Option<i64>,
}

/// Everything that `midwatch topics` shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overview {
    pub topics: Vec<TopicLine>,
    pub groups: Vec<GroupLine>,
}

/// A failed question to the broker, with what to do.
fn away(reader: &BrokerReader, error: &KafkaError) -> Failure {
    Failure::new(
        format!("{}: {error}", reader.settings().bootstrap),
        "see that the broker runs (`midwatch doctor`), and that KAFKA_BOOTSTRAP_SERVERS names it",
    )
}

/// Reads topics and groups.
///
/// # Errors
/// The broker does not answer.
pub async fn overview(reader: &BrokerReader) -> Result<Overview, Failure> {
    let reading = reader
        .groups()
        .await
        .map_err(|error| away(reader, &error))?;
    Ok(describe(reading, clock::now_ms()))
}

fn messages(partitions: &[PartitionLog]) -> Option<i64> {
    partitions.iter().map(|log| Some(log.end? - log.low?)).sum()
}

fn describe(reading: GroupsReading, now_ms: i64) -> Overview {
    Overview {
        topics: reading
            .topics
            .into_iter()
            .filter(|(name, _)| !name.starts_with("__"))
            .map(|(name, partitions)| TopicLine {
                name,
                partitions: partitions.len(),
                messages: messages(&partitions),
            })
            .collect(),
        groups: reading
            .groups
            .iter()
            .map(|group| group_line(group, now_ms))
            .collect(),
    }
}

fn group_line(group: &Group, now_ms: i64) -> GroupLine {
    let mut topics: Vec<&str> = group
        .partitions
        .iter()
        .map(|one| one.topic.as_str())
        .collect();
    topics.sort_unstable();
    topics.dedup();
    GroupLine {
        name: group.name.clone(),
        state: group.state.clone(),
        members: group.members.len(),
        lag: group.lag,
        oldest_age_ms: group.oldest_age_ms(now_ms),
        topics: topics
            .into_iter()
            .map(|name| GroupTopic {
                name: name.to_owned(),
                lag: group.topic_lag(name),
            })
            .collect(),
    }
}

/// The overview for people.
#[must_use]
pub fn render(overview: &Overview, paint: Paint) -> String {
    let mut out = String::new();
    let head = format!("{:50}{:>10}{:>16}", "TOPIC", "PARTITIONS", "MESSAGES");
    out.push_str(&paint.text(Style::Strong, &head));
    out.push('\n');
    for topic in &overview.topics {
        let line = format!(
            "{:50}{:>10}{:>16}",
            output::fit(&topic.name, 49),
            topic.partitions,
            output::known(topic.messages)
        );
        out.push_str(&line);
        out.push('\n');
    }
    out.push('\n');
    let head = format!(
        "{:34}{:18}{:>7}{:>10}{:>10}",
        "GROUP", "STATE", "MEMBERS", "LAG", "OLDEST"
    );
    out.push_str(&paint.text(Style::Strong, &head));
    out.push('\n');
    for group in &overview.groups {
        let oldest = group
            .oldest_age_ms
            .map_or_else(|| "-".to_owned(), output::duration);
        out.push_str(&format!(
            "{:34}{:18}{:>7}{:>10}{oldest:>10}\n",
            output::fit(&group.name, 33),
            output::fit(&group.state, 17),
            group.members,
            output::known(group.lag),
        ));
        // Where it is behind, or where that is not known.
        for topic in group.topics.iter().filter(|topic| topic.lag != Some(0)) {
            let line = format!(
                "  {:57}{:>10}",
                output::fit(&topic.name, 56),
                output::known(topic.lag)
            );
            out.push_str(&paint.text(Style::Faint, &line));
            out.push('\n');
        }
    }
    if overview.groups.is_empty() {
        out.push_str("no group has read anything yet\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use midwatch_clients::kafka::{GroupPartition, Logs};

    fn log(partition: i32, low: Option<i64>, end: Option<i64>) -> PartitionLog {
        PartitionLog {
            partition,
            low,
            end,
        }
    }

    fn waiting(topic: &str, lag: Option<i64>, oldest_record_ms: Option<i64>) -> GroupPartition {
        GroupPartition {
            topic: topic.to_owned(),
            partition: 0,
            committed: lag.map(|_| 3),
            end: lag.map(|lag| 3 + lag),
            lag,
            oldest_record_ms,
        }
    }

    #[test]
    fn an_overview_is_aligned_and_what_is_unknown_is_called_so() {
        let now_ms = 1_795_316_645_000;
        let reading = GroupsReading {
            groups: vec![
                Group {
                    name: "midwatch.correlation".to_owned(),
                    state: "Stable".to_owned(),
                    members: Vec::new(),
                    partitions: vec![waiting("anomalies.detected", Some(0), None)],
                    lag: Some(0),
                },
                Group {
                    name: "midwatch.investigation".to_owned(),
                    state: "PreparingRebalance".to_owned(),
                    members: Vec::new(),
                    partitions: vec![
                        waiting("incidents.opened", Some(3), Some(now_ms - 72_000)),
                        waiting("rca.completed", None, None),
                    ],
                    lag: None,
                },
            ],
            left_off: 0,
            topics: Logs::from([
                (
                    "anomalies.detected".to_owned(),
                    vec![log(0, Some(5), Some(1_234_572)), log(1, Some(0), Some(3))],
                ),
                (
                    "__consumer_offsets".to_owned(),
                    vec![log(0, Some(0), Some(9))],
                ),
                (
                    "a-prefix-that-is-quite-long.and-a-name-that-is-long-as-well.dlq".to_owned(),
                    vec![log(0, Some(0), None)],
                ),
            ]),
        };
        let overview = describe(reading, now_ms);
        let text = render(&overview, Paint::PLAIN);
        assert!(
            text.lines()
                .all(|line| output::columns(line) <= output::WIDTH),
            "{text}"
        );
        insta::assert_snapshot!(text);
        insta::assert_snapshot!(serde_json::to_string_pretty(&overview).unwrap());
    }
}
