//! `/`: all topics, and who reads them.

use super::{Frame, TopicPage};
use crate::error::ApiError;
use crate::pages::format::{number, span};
use crate::topics::{TopicView, TopicsView};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use midwatch_clients::kafka::{Group, GroupMember, KafkaSettings};
use midwatch_runtime::clock;
use serde::Serialize;
use std::collections::BTreeMap;

/// A lag that is worth a colour: below it, messages are simply on their way.
const BEHIND: i64 = 1_000;

#[derive(Serialize)]
struct View {
    frame: Frame,
    /// Why the broker gave no answer.
    error: Option<String>,
    broker: String,
    tiles: Tiles,
    rows: Vec<Row>,
    groups: Vec<GroupRow>,
    groups_error: Option<String>,
    left_off: usize,
}

#[derive(Serialize)]
struct Tiles {
    topics: usize,
    messages: String,
    per_second: String,
    lag: String,
    lag_note: String,
    dead_letters: String,
}

#[derive(Serialize)]
struct Row {
    /// Without the configured prefix.
    name: String,
    payload: Option<&'static str>,
    key: Option<&'static str>,
    producers: Option<&'static str>,
    consumers: Option<&'static str>,
    partitions: Option<usize>,
    messages: Option<String>,
    per_second: String,
    dead_letters: Option<DeadLetters>,
}

#[derive(Serialize)]
struct DeadLetters {
    name: String,
    messages: Option<String>,
    some: bool,
}

/// A group.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct GroupRow {
    pub name: String,
    state: String,
    tone: &'static str,
    pub lag: Option<String>,
    pub behind: bool,
    /// What is known where the whole is not.
    partly: Option<String>,
    oldest: Option<String>,
    members: Vec<MemberRow>,
    topics: Vec<String>,
    partitions: Vec<PartitionRow>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct MemberRow {
    label: String,
    instance: Option<String>,
    host: String,
    reads: Option<Vec<Reads>>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Reads {
    topic: String,
    /// `0–2, 5`.
    partitions: String,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct PartitionRow {
    topic: String,
    partition: i32,
    committed: Option<String>,
    end: Option<String>,
    lag: Option<String>,
    behind: bool,
}

/// `GET /`.
pub async fn show(State(page): State<TopicPage>, headers: HeaderMap) -> Result<Response, ApiError> {
    let view = page.topics.view().await?;
    let settings = page.topics.reader().settings();
    let mut frame = page.frame("Topics", &headers);
    frame.refresh = "/".to_owned();
    let status = if view.reachable {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let groups: Vec<GroupRow> = view
        .groups
        .iter()
        .map(|group| group_row(group, settings))
        .collect();
    let shown = View {
        frame,
        error: view.error.clone(),
        broker: settings.bootstrap.clone(),
        tiles: tiles(&view),
        rows: rows(&view, settings),
        groups,
        groups_error: view.groups_error.clone(),
        left_off: view.groups_left_off,
    };
    Ok((status, page.answer("topics/overview.html", shown)?).into_response())
}

/// A count of messages, in words.
pub(super) fn count(messages: i64) -> String {
    number(messages as f64)
}

/// A rate; a dash until two readings are known.
pub(super) fn per_second(rate: Option<f64>) -> String {
    match rate {
        None => "–".to_owned(),
        Some(rate) if rate > 0.0 && rate < 0.1 => "< 0.1".to_owned(),
        Some(rate) if rate < 10.0 => number((rate * 10.0).round() / 10.0),
        Some(rate) => number(rate.round()),
    }
}

fn tiles(view: &TopicsView) -> Tiles {
    let held: Vec<&TopicView> = view
        .topics
        .iter()
        .filter(|topic| topic.partitions.is_some())
        .collect();
    // Of what is unknown no sum is made, but the rest still counts.
    let sum = |topics: &mut dyn Iterator<Item = &&TopicView>| -> String {
        let known: Vec<i64> = topics.filter_map(|topic| topic.messages).collect();
        if known.is_empty() {
            "–".to_owned()
        } else {
            count(known.iter().sum())
        }
    };
    let rates: Vec<f64> = held.iter().filter_map(|topic| topic.per_second).collect();
    let rate = (!rates.is_empty()).then(|| rates.iter().sum());
    let lags: Vec<i64> = view.groups.iter().filter_map(|group| group.lag).collect();
    let unknown = view.groups.len() - lags.len();
    let groups = |count| if count == 1 { "group" } else { "groups" };
    Tiles {
        topics: held.iter().filter(|topic| !topic.dead_letters).count(),
        messages: sum(&mut held.iter().filter(|topic| !topic.dead_letters)),
        per_second: per_second(rate),
        lag: if lags.is_empty() {
            "–".to_owned()
        } else {
            count(lags.iter().sum())
        },
        lag_note: if unknown == 0 {
            format!("{} {}", lags.len(), groups(lags.len()))
        } else if lags.is_empty() {
            format!("{unknown} {}, all unknown", groups(unknown))
        } else {
            format!("and of {unknown} {} unknown", groups(unknown))
        },
        dead_letters: sum(&mut held.iter().filter(|topic| topic.dead_letters)),
    }
}

fn rows(view: &TopicsView, settings: &KafkaSettings) -> Vec<Row> {
    let mut letters: BTreeMap<&str, &TopicView> = view
        .topics
        .iter()
        .filter_map(|topic| Some((topic.name.strip_suffix(".dlq")?, topic)))
        .collect();
    let mut rows: Vec<Row> = Vec::new();
    for topic in view.topics.iter().filter(|topic| !topic.dead_letters) {
        let dead = letters.remove(topic.name.as_str());
        rows.push(row(topic, dead, settings));
    }
    // Those whose topic is gone.
    rows.extend(
        letters
            .into_values()
            .map(|topic| row(topic, None, settings)),
    );
    rows
}

fn row(topic: &TopicView, dead: Option<&TopicView>, settings: &KafkaSettings) -> Row {
    Row {
        name: settings.bare(&topic.name).to_owned(),
        payload: topic.payload,
        key: topic.key,
        producers: topic.producers,
        consumers: topic.consumers,
        partitions: topic.partitions.as_ref().map(Vec::len),
        messages: topic.messages.map(count),
        per_second: per_second(topic.per_second),
        dead_letters: dead
            .filter(|dead| dead.partitions.is_some())
            .map(|dead| DeadLetters {
                name: settings.bare(&dead.name).to_owned(),
                messages: dead.messages.map(count),
                some: dead.messages.is_some_and(|messages| messages > 0),
            }),
    }
}

pub(super) fn group_row(group: &Group, settings: &KafkaSettings) -> GroupRow {
    let bare = |topic: &str| settings.bare(topic).to_owned();
    let mut topics: Vec<String> = group
        .partitions
        .iter()
        .map(|one| bare(&one.topic))
        .collect();
    topics.dedup();
    let partitions = group
        .partitions
        .iter()
        .map(|one| PartitionRow {
            topic: bare(&one.topic),
            partition: one.partition,
            committed: one.committed.map(count),
            end: one.end.map(count),
            lag: one.lag.map(count),
            behind: one.lag.is_some_and(|lag| lag >= BEHIND),
        })
        .collect();
    GroupRow {
        name: settings.bare(&group.name).to_owned(),
        state: state(&group.state),
        tone: match group.state.as_str() {
            "Stable" => "is-over",
            "Dead" => "is-bad",
            _ => "is-open",
        },
        lag: group.lag.map(count),
        behind: group.lag.is_some_and(|lag| lag >= BEHIND),
        partly: partly(group),
        oldest: group.oldest_age_ms(clock::now_ms()).map(span),
        members: group
            .members
            .iter()
            .map(|member| member_row(member, settings))
            .collect(),
        topics,
        partitions,
    }
}

/// `590 in 4 of 6 partitions`, where some are unknown.
fn partly(group: &Group) -> Option<String> {
    let lags: Vec<i64> = group.partitions.iter().filter_map(|one| one.lag).collect();
    let all = group.partitions.len();
    (!lags.is_empty() && lags.len() < all).then(|| {
        format!(
            "{} in {} of {all} partitions",
            count(lags.iter().sum()),
            lags.len()
        )
    })
}

fn member_row(member: &GroupMember, settings: &KafkaSettings) -> MemberRow {
    let label = member.instance.as_ref().unwrap_or(&member.client_id);
    MemberRow {
        label: settings.bare(label).to_owned(),
        instance: member
            .instance
            .as_ref()
            .map(|name| settings.bare(name).to_owned()),
        host: member.client_host.clone(),
        reads: member.partitions.as_ref().map(|places| {
            let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
            for (topic, partition) in places {
                topics.entry(topic).or_default().push(*partition);
            }
            topics
                .into_iter()
                .map(|(topic, partitions)| Reads {
                    topic: settings.bare(topic).to_owned(),
                    partitions: ranges(&partitions),
                })
                .collect()
        }),
    }
}

/// `0–2, 5` of sorted numbers.
fn ranges(numbers: &[i32]) -> String {
    numbers
        .chunk_by(|one, next| one + 1 == *next)
        .map(|run| match (run[0], run[run.len() - 1]) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}–{last}"),
        })
        .collect::<Vec<_>>()
        .join(", ")
}

/// `PreparingRebalance` as `preparing rebalance`.
fn state(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    if words.is_empty() {
        "state unknown".to_owned()
    } else {
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_spoken() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0–2, 5, 7–8");
        assert_eq!(ranges(&[]), "");
        assert_eq!(state("PreparingRebalance"), "preparing rebalance");
        assert_eq!(state(""), "state unknown");
        for (rate, text) in [
            (None, "–"),
            (Some(0.0), "0"),
            (Some(0.04), "< 0.1"),
            (Some(1.26), "1.3"),
            (Some(1_234.4), "1,234"),
        ] {
            assert_eq!(per_second(rate), text);
        }
    }
}
