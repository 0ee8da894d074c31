//! `/topics/{name}`: one topic's messages, newest first.

use super::overview::{GroupRow, count, group_row, per_second};
use super::{Frame, TopicPage, away, pretty};
use crate::error::ApiError;
use crate::params::percent;
use crate::topics::TopicView;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use midwatch_clients::kafka::{Record, Start};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Messages on a page.
const ROWS: usize = 50;
/// Longest text that a parameter takes: the place of the next page names each
/// partition.
const TEXT_LIMIT: usize = 4_096;

/// The query parameters, as text: forms send empty ones.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    #[serde(default)]
    partition: String,
    /// The newest message wanted, in each partition.
    #[serde(default)]
    offset: String,
    /// Where the page before ended: `partition:offset`, several with commas.
    #[serde(default)]
    before: String,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    partition: Option<i32>,
    offset: Option<i64>,
    before: Option<BTreeMap<i32, i64>>,
}

#[derive(Serialize)]
struct View {
    frame: Frame,
    name: String,
    about: Option<String>,
    dead_letters: bool,
    figures: Figures,
    partitions: Vec<i32>,
    partition: Option<i32>,
    offset: Option<i64>,
    newest: bool,
    complete: bool,
    /// Whether the topic holds anything at all.
    held: bool,
    rows: Vec<Row>,
    /// The query string of the next page.
    older: Option<String>,
}

/// What changes while the page stands.
#[derive(Serialize)]
struct Figures {
    messages: Option<String>,
    per_second: String,
    partitions: Vec<Log>,
    groups: Vec<GroupRow>,
}

#[derive(Serialize)]
struct Log {
    partition: i32,
    count: Option<String>,
    low: Option<String>,
    high: Option<String>,
}

/// A message.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// The topic's name without prefix.
    name: String,
    id: String,
    preview: String,
    pretty: String,
    /// Whether less than the whole is shown, and how many bytes are.
    cut: bool,
    shown: usize,
    /// Why a dead letter could not be read.
    reason: Option<String>,
    target: bool,
    record: Record,
}

impl Row {
    pub(super) fn new(name: &str, record: Record, target: bool) -> Row {
        Row {
            name: name.to_owned(),
            id: format!("p{}-{}", record.partition, record.offset),
            preview: pretty::preview(&record.payload),
            pretty: pretty::pretty(&record.payload),
            cut: record.truncated,
            shown: record.payload.len(),
            reason: reason(&record),
            target,
            record,
        }
    }
}

/// What the sender of a dead letter wrote into its headers.
fn reason(record: &Record) -> Option<String> {
    let header = |name: &str| {
        let mut headers = record.headers.iter();
        headers
            .find(|(found, _)| found == name)
            .map(|(_, value)| value)
    };
    let kind = header("midwatch_error_kind")?;
    let text = header("midwatch_error").map_or("", String::as_str);
    Some(pretty::preview(&format!("{kind}: {text}")))
}

/// `GET /topics/{name}`.
pub async fn show(
    State(page): State<TopicPage>,
    Path(name): Path<String>,
    ask: Result<Query<Ask>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Query(ask) =
        ask.map_err(|error| ApiError::parameter("query string", "unreadable", error.body_text()))?;
    let wanted = wanted(&ask)?;
    let topic = find(&page, &name).await?;
    let partitions: Vec<i32> = topic
        .partitions
        .iter()
        .flatten()
        .map(|one| one.partition)
        .collect();
    let newest = wanted.offset.is_none() && wanted.before.is_none();
    let read = page
        .topics
        .reader()
        .browse(
            &topic.name,
            wanted.partition,
            start(&wanted, &partitions),
            ROWS,
        )
        .await
        .map_err(|error| away(&error))?
        .ok_or_else(|| unknown(&name))?;
    let mut frame = page.frame(&name, &headers);
    frame.refresh = format!("/topics/{}/figures", percent(&name));
    let target = wanted.offset.zip(wanted.partition);
    let view = View {
        about: about(&topic),
        dead_letters: topic.dead_letters,
        figures: figures_of(&page, &topic).await?,
        partition: wanted.partition,
        offset: wanted.offset,
        newest,
        complete: read.complete,
        held: topic.messages != Some(0),
        rows: read
            .records
            .into_iter()
            .map(|record| {
                let here = target == Some((record.offset, record.partition));
                Row::new(&name, record, here)
            })
            .collect(),
        older: read
            .older
            .map(|older| older_query(&older, wanted.partition)),
        partitions,
        frame,
        name,
    };
    page.answer("topics/topic.html", view)
}

/// `GET /topics/{name}/figures`: the part of the page that renews itself.
pub async fn figures(
    State(page): State<TopicPage>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct View {
        figures: Figures,
    }
    let topic = find(&page, &name).await?;
    let view = View {
        figures: figures_of(&page, &topic).await?,
    };
    page.answer("topics/figures.html", view)
}

/// The topic on the broker.
pub(super) async fn find(page: &TopicPage, name: &str) -> Result<TopicView, ApiError> {
    let view = page.topics.view().await?;
    if let Some(error) = &view.error {
        return Err(ApiError {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "broker_unavailable",
            message: "the broker gave no answer".to_owned(),
            hint: format!(
                "see that it runs at {} and that KAFKA_BOOTSTRAP_SERVERS names it ({error})",
                page.topics.reader().settings().bootstrap
            ),
        });
    }
    let full = page.topics.reader().settings().topic(name);
    view.topics
        .iter()
        .find(|topic| topic.name == full && topic.partitions.is_some())
        .cloned()
        .ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> ApiError {
    ApiError::not_found(
        format!("the broker has no topic {name:?}"),
        "see the list of topics for what it has; Midwatch creates its own when it starts",
    )
}

fn about(topic: &TopicView) -> Option<String> {
    if topic.dead_letters {
        return Some(
            "Messages that could not be read, as they came; each says why and where it lay"
                .to_owned(),
        );
    }
    let (payload, key) = topic.payload.zip(topic.key)?;
    let (producers, consumers) = topic.producers.zip(topic.consumers)?;
    Some(format!("{payload} by {key}: {producers} → {consumers}"))
}

async fn figures_of(page: &TopicPage, topic: &TopicView) -> Result<Figures, ApiError> {
    let view = page.topics.view().await?;
    let settings = page.topics.reader().settings();
    let groups = view
        .groups
        .iter()
        .filter(|group| group.partitions.iter().any(|one| one.topic == topic.name))
        .map(|group| {
            let mut here = group.clone();
            here.partitions.retain(|one| one.topic == topic.name);
            here.lag = group.topic_lag(&topic.name);
            group_row(&here, settings)
        })
        .collect();
    let partitions = topic.partitions.iter().flatten();
    Ok(Figures {
        messages: topic.messages.map(count),
        per_second: per_second(topic.per_second),
        partitions: partitions
            .map(|one| Log {
                partition: one.partition,
                count: one.high.zip(one.low).map(|(high, low)| count(high - low)),
                low: one.low.map(count),
                high: one.high.map(count),
            })
            .collect(),
        groups,
    })
}

fn wanted(ask: &Ask) -> Result<Wanted, ApiError> {
    for (name, text) in [
        ("partition", &ask.partition),
        ("offset", &ask.offset),
        ("before", &ask.before),
    ] {
        if text.len() > TEXT_LIMIT {
            let hint = format!("use at most {TEXT_LIMIT} bytes");
            return Err(ApiError::parameter(name, "too long", hint));
        }
    }
    let before = match ask.before.trim() {
        "" => None,
        text => Some(places(text).ok_or_else(|| {
            ApiError::parameter("before", text, "take it from the link Older of a page")
        })?),
    };
    Ok(Wanted {
        partition: partition(&ask.partition)?,
        offset: whole("offset", &ask.offset)?,
        before,
    })
}

/// The parameter `partition`; `None` where it is empty.
pub(super) fn partition(text: &str) -> Result<Option<i32>, ApiError> {
    let number = whole("partition", text)?;
    number
        .map(|number| {
            i32::try_from(number).map_err(|_| {
                ApiError::parameter("partition", text, "the page lists the topic's partitions")
            })
        })
        .transpose()
}

fn whole(name: &str, text: &str) -> Result<Option<i64>, ApiError> {
    match text.trim() {
        "" => Ok(None),
        text => match text.parse::<i64>() {
            Ok(number) if number >= 0 => Ok(Some(number)),
            _ => Err(ApiError::parameter(
                name,
                text,
                "allowed: a whole number from 0",
            )),
        },
    }
}

fn start(wanted: &Wanted, partitions: &[i32]) -> Start {
    match (&wanted.before, wanted.offset) {
        (Some(before), _) => Start::Before(before.clone()),
        (None, Some(offset)) => {
            let before = partitions
                .iter()
                .map(|one| (*one, offset.saturating_add(1)));
            Start::Before(before.collect())
        }
        (None, None) => Start::Newest,
    }
}

fn places(text: &str) -> Option<BTreeMap<i32, i64>> {
    text.split(',')
        .map(|one| {
            let (partition, offset) = one.split_once(':')?;
            Some((partition.parse().ok()?, offset.parse().ok()?))
        })
        .collect()
}

fn older_query(older: &BTreeMap<i32, i64>, partition: Option<i32>) -> String {
    let places: Vec<String> = older
        .iter()
        .filter(|(number, _)| partition.is_none_or(|wanted| wanted == **number))
        .map(|(partition, offset)| format!("{partition}:{offset}"))
        .collect();
    let before = percent(&places.join(","));
    match partition {
        Some(partition) => format!("partition={partition}&before={before}"),
        None => format!("before={before}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(partition: &str, offset: &str, before: &str) -> Result<Wanted, ApiError> {
        wanted(&Ask {
            partition: partition.to_owned(),
            offset: offset.to_owned(),
            before: before.to_owned(),
        })
    }

    #[test]
    fn parameters_are_understood_or_refused_by_name() {
        let older = BTreeMap::from([(0, 12), (2, 7)]);
        let found = ask("", "", "0:12,2:7").unwrap();
        assert_eq!(start(&found, &[0, 1, 2]), Start::Before(older.clone()));
        assert_eq!(older_query(&older, None), "before=0%3A12%2C2%3A7");
        assert_eq!(older_query(&older, Some(2)), "partition=2&before=2%3A7");
        let jump = ask("1", " 41 ", "").unwrap();
        assert_eq!(
            start(&jump, &[0, 1]),
            Start::Before(BTreeMap::from([(0, 42), (1, 42)]))
        );
        assert_eq!(start(&ask("", "", "").unwrap(), &[0]), Start::Newest);
        for (partition, offset, before, name) in [
            ("x", "", "", "partition"),
            ("-1", "", "", "partition"),
            ("9999999999", "", "", "partition"),
            ("", "1.5", "", "offset"),
            ("", "", "0:1,", "before"),
            ("", "", &"0:1,".repeat(2_000), "before"),
        ] {
            let error = ask(partition, offset, before).unwrap_err();
            assert_eq!(error.status, StatusCode::BAD_REQUEST);
            assert!(error.message.contains(name), "{error:?}");
        }
    }
}
