//! What agents could not read: the dead letters with their reason, and a way
//! to send them again.

mod resend;

pub use resend::{Answer, Request, post, press, resend};

use crate::error::ApiError;
use crate::params::Params;
use crate::topics::TopicsView;
use crate::{App, agents};
use axum::Json;
use axum::extract::State;
use futures::future::try_join_all;
use midwatch_clients::kafka::{
    BrokerReader, KafkaError, KafkaSettings, Original, Page, Record, Start,
};
use midwatch_clients::postgres::dead_letters::{self, LetterKey, Resent};
use midwatch_events::topics::TOPICS;
use midwatch_events::{Topic, ids};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Letters on one page.
const PAGE: i64 = 100;
const USUAL_PAGE: i64 = 20;
/// How long listing may take; people wait for it.
const LIMIT: Duration = Duration::from_secs(10);
/// Characters of a payload that a list shows.
const PREVIEW: usize = 400;

/// How many letters a topic has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Letterbox {
    /// The original topic, without prefix.
    pub topic: &'static str,
    /// `null` where the broker cannot say, or has no such topic.
    pub letters: Option<i64>,
}

/// Where the message lay when it could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Origin {
    pub epoch: String,
    pub partition: i32,
    pub offset: i64,
    /// The record's time, wall clock.
    pub record_ms: Option<i64>,
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Letter {
    /// The original topic, without prefix.
    pub topic: String,
    /// Where the letter lies on `<topic>.dlq`.
    pub partition: i32,
    pub offset: i64,
    /// Wall clock at which it was set aside.
    pub at_ms: Option<i64>,
    /// Who could not read it.
    pub agent: Option<String>,
    /// For programs: `malformed`, `refused_by_store`, …
    pub kind: Option<String>,
    pub reason: Option<String>,
    pub origin: Option<Origin>,
    pub key: Option<String>,
    /// Bytes of the original payload.
    pub bytes: usize,
    pub preview: String,
    /// Whether the preview is all of the payload.
    pub preview_whole: bool,
    /// Why it cannot be sent again; `null` where it can.
    pub cannot_resend: Option<String>,
    /// What was done about it, if anything was.
    pub resent: Option<Resent>,
}

/// Letters, newest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Letters {
    pub items: Vec<Letter>,
    /// `before=` of the next page; `null` on the last one, and where letters
    /// of several topics are shown.
    pub next: Option<String>,
    pub boxes: Vec<Letterbox>,
    /// Why something is missing.
    pub problem: Option<String>,
}

/// The letters that the parameters ask for: of `topic=`, from `before=` on, or
/// the newest of all topics.
///
/// # Errors
/// A bad parameter, or the database is away. A broker that is away is an
/// answer.
pub async fn list(app: &App, params: &Params) -> Result<Letters, ApiError> {
    let names: Vec<&str> = TOPICS.iter().map(|spec| spec.name).collect();
    let topic = params.one_of("topic", &names)?;
    let limit = params.number("limit", 1, PAGE)?.unwrap_or(USUAL_PAGE);
    let before = match params.text("before") {
        None => None,
        Some(text) => Some(parse_before(&text).ok_or_else(|| {
            ApiError::parameter("before", &text, "take it from `next` of the page before")
        })?),
    };
    if let (Some(_), None) = (&before, &topic) {
        let hint = "name the topic as well: topic=raw.metrics";
        return Err(ApiError::parameter("before", "alone", hint));
    }
    let limit = usize::try_from(limit).unwrap_or(0);
    let mut letters = match agents::broker(app).await {
        Err(problem) => Letters {
            boxes: boxes(None, app.broker().settings()),
            problem: Some(format!("Dead letters are not known: {problem}.")),
            ..Letters::default()
        },
        Ok(view) => {
            let boxes = boxes(Some(&view), app.broker().settings());
            let read = read(app.broker(), &boxes, topic.as_deref(), before, limit);
            let (read, problem) = match tokio::time::timeout(LIMIT, read).await {
                Ok(Ok(read)) => (read, None),
                Ok(Err(error)) => (Letters::default(), Some(error.to_string())),
                Err(_) => {
                    let slow = format!("no answer within {} s", LIMIT.as_secs());
                    (Letters::default(), Some(slow))
                }
            };
            let problem = problem.map(|why| format!("Dead letters cannot be read: {why}."));
            Letters {
                boxes,
                problem: problem.or(read.problem),
                ..read
            }
        }
    };
    note_resent(app, &mut letters.items).await?;
    Ok(letters)
}

/// `GET /api/dead-letters`.
pub async fn get(State(app): State<App>, params: Params) -> Result<Json<Letters>, ApiError> {
    params.only(&["topic", "before", "limit"])?;
    Ok(Json(list(&app, &params).await?))
}

async fn read(
    broker: &BrokerReader,
    boxes: &[Letterbox],
    topic: Option<&str>,
    before: Option<BTreeMap<i32, i64>>,
    limit: usize,
) -> Result<Letters, KafkaError> {
    let one = topic.is_some();
    let start = before.map_or(Start::Newest, Start::Before);
    let wanted = boxes.iter().filter(|found| match topic {
        Some(topic) => found.topic == topic,
        None => found.letters.is_some_and(|letters| letters > 0),
    });
    let pages = wanted.map(|found| {
        let name = dlq_on_broker(broker.settings(), found.topic);
        let start = start.clone();
        async move {
            let page = broker.browse(&name, None, start, limit).await?;
            Ok::<_, KafkaError>((found.topic, page))
        }
    });
    let pages: Vec<(&str, Option<Page>)> = try_join_all(pages).await?;
    let mut items = Vec::new();
    let mut next = None;
    let mut problem = None;
    for (topic, page) in pages {
        let Some(page) = page else { continue };
        if !page.complete {
            problem = Some(format!(
                "Not all letters of {topic}.dlq could be read in time."
            ));
        }
        if one {
            next = page.older.as_ref().map(before_text);
        }
        items.extend(page.records.into_iter().map(|record| letter(topic, record)));
    }
    items.sort_by_key(|letter| std::cmp::Reverse((letter.at_ms, letter.offset)));
    items.truncate(limit);
    Ok(Letters {
        items,
        next,
        boxes: Vec::new(),
        problem,
    })
}

fn boxes(view: Option<&TopicsView>, settings: &KafkaSettings) -> Vec<Letterbox> {
    let letters = |name: String| {
        let mut topics = view?.topics.iter();
        topics.find(|found| found.name == name)?.messages
    };
    TOPICS
        .iter()
        .map(|spec| Letterbox {
            topic: spec.name,
            letters: letters(dlq_on_broker(settings, spec.name)),
        })
        .collect()
}

fn dlq_on_broker(settings: &KafkaSettings, topic: &str) -> String {
    settings.topic(&format!("{topic}.dlq"))
}

/// What the headers of a letter say, from wherever they were read.
#[derive(Debug, Default)]
struct Said {
    agent: Option<String>,
    kind: Option<String>,
    reason: Option<String>,
    topic: Option<String>,
    origin: Option<Origin>,
    bytes: Option<usize>,
    uuid5: Option<String>,
    whole: bool,
}

impl Said {
    fn read<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Said {
        let text = |name: &str| header(name).map(str::to_owned);
        let number = |name: &str| header(name)?.parse::<i64>().ok();
        let origin = || {
            Some(Origin {
                epoch: text("midwatch_epoch")?,
                partition: i32::try_from(number("midwatch_partition")?).ok()?,
                offset: number("midwatch_offset")?,
                record_ms: number("midwatch_record_ms").filter(|at| *at > 0),
            })
        };
        Said {
            agent: text("midwatch_agent"),
            kind: text("midwatch_error_kind"),
            reason: text("midwatch_error"),
            topic: text("midwatch_topic"),
            origin: origin(),
            bytes: number("midwatch_payload_bytes").and_then(|bytes| usize::try_from(bytes).ok()),
            uuid5: text("midwatch_payload_uuid5"),
            whole: header("midwatch_payload_whole") == Some("true"),
        }
    }

    /// Why the letter cannot be sent to `topic` again.
    fn obstacle(&self, topic: &str) -> Option<String> {
        if Topic::from_name(topic).is_none() {
            return Some(format!("{topic} is no topic of Midwatch"));
        }
        match &self.topic {
            None => return Some("it does not say which topic it comes from".to_owned()),
            Some(said) if said != topic => {
                return Some(format!(
                    "it says that it comes from {said}, but lies in {topic}.dlq"
                ));
            }
            Some(_) => {}
        }
        if self.origin.is_none() {
            return Some("it does not say where the message lay".to_owned());
        }
        if !self.whole {
            let bytes = self.bytes.map_or_else(
                || "the message".to_owned(),
                |bytes| format!("the message of {bytes} bytes"),
            );
            return Some(format!(
                "{bytes} did not fit: the letter holds its beginning and hash only"
            ));
        }
        None
    }
}

fn letter(topic: &str, record: Record) -> Letter {
    let header = |name: &str| {
        let found = record.headers.iter().find(|(header, _)| header == name)?;
        Some(found.1.as_str())
    };
    let said = Said::read(header);
    let cannot_resend = said.obstacle(topic);
    let cut = record.payload.char_indices().nth(PREVIEW);
    Letter {
        topic: topic.to_owned(),
        partition: record.partition,
        offset: record.offset,
        at_ms: record.timestamp_ms,
        agent: said.agent,
        kind: said.kind,
        reason: said.reason,
        origin: said.origin,
        key: record.key.filter(|key| !key.is_empty()),
        bytes: said.bytes.unwrap_or(record.size),
        preview_whole: cut.is_none() && !record.truncated && record.is_text && said.whole,
        preview: match cut {
            Some((end, _)) => record.payload[..end].to_owned(),
            None => record.payload,
        },
        cannot_resend,
        resent: None,
    }
}

/// Looks up what was done about each letter.
async fn note_resent(app: &App, letters: &mut [Letter]) -> Result<(), ApiError> {
    let mut places: BTreeMap<(String, String), Vec<(i32, i64)>> = BTreeMap::new();
    for letter in letters.iter() {
        if let Some(origin) = &letter.origin {
            let group = (origin.epoch.clone(), letter.topic.clone());
            let place = (origin.partition, origin.offset);
            places.entry(group).or_default().push(place);
        }
    }
    for ((epoch, topic), places) in places {
        for found in dead_letters::resent(&app.pool, &epoch, &topic, &places).await? {
            let concerned = letters.iter_mut().filter(|letter| {
                letter.topic == topic
                    && letter.origin.as_ref().is_some_and(|origin| {
                        origin.epoch == epoch
                            && (origin.partition, origin.offset)
                                == (found.origin_partition, found.origin_offset)
                    })
            });
            for letter in concerned {
                letter.resent = Some(found.clone());
            }
        }
    }
    Ok(())
}

/// The key, and the message to send, of a letter that was read whole.
///
/// # Errors
/// Why it cannot be sent again.
fn read_whole(
    topic: &str,
    (partition, offset): (i32, i64),
    letter: Original,
) -> Result<(LetterKey, Original), String> {
    let said = Said::read(|name| letter.header(name));
    if let Some(why) = said.obstacle(topic) {
        return Err(why);
    }
    let origin = said.origin.ok_or("it does not say where the message lay")?;
    let hash = uuid::Uuid::new_v5(&ids::NAMESPACE, &letter.payload).to_string();
    if said.uuid5.as_ref() != Some(&hash) {
        return Err("its payload is not the one that its headers describe".to_owned());
    }
    let key = LetterKey {
        epoch: origin.epoch,
        topic: topic.to_owned(),
        origin_partition: origin.partition,
        origin_offset: origin.offset,
        letter_partition: partition,
        letter_offset: offset,
    };
    let message = Original {
        // A letter cannot tell an empty key from none.
        key: letter.key.filter(|key| !key.is_empty()),
        headers: Vec::new(),
        ..letter
    };
    Ok((key, message))
}

/// `0.12,1.40`: partition and offset.
fn before_text(offsets: &BTreeMap<i32, i64>) -> String {
    let pairs: Vec<String> = offsets
        .iter()
        .map(|(partition, offset)| format!("{partition}.{offset}"))
        .collect();
    pairs.join(",")
}

fn parse_before(text: &str) -> Option<BTreeMap<i32, i64>> {
    text.split(',')
        .map(|pair| {
            let (partition, offset) = pair.split_once('.')?;
            Some((partition.parse().ok()?, offset.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(pairs: &[(&'static str, &'static str)]) -> Said {
        Said::read(|name| {
            let found = pairs.iter().find(|(header, _)| *header == name)?;
            Some(found.1)
        })
    }

    #[test]
    fn a_letter_says_itself_why_it_cannot_be_sent_again() {
        let whole = [
            ("midwatch_topic", "raw.logs"),
            ("midwatch_epoch", "e"),
            ("midwatch_partition", "1"),
            ("midwatch_offset", "7"),
            ("midwatch_payload_bytes", "9000000"),
            ("midwatch_payload_whole", "true"),
        ];
        assert_eq!(said(&whole).obstacle("raw.logs"), None);
        let elsewhere = said(&whole).obstacle("raw.spans").unwrap();
        assert!(elsewhere.contains("comes from raw.logs"), "{elsewhere}");
        assert!(said(&whole).obstacle("other").unwrap().contains("no topic"));
        let mut head = whole;
        head[5].1 = "false";
        let cut = said(&head).obstacle("raw.logs").unwrap();
        assert!(cut.contains("9000000 bytes did not fit"), "{cut}");
        let lost = said(&whole[..2]).obstacle("raw.logs").unwrap();
        assert!(lost.contains("where the message lay"), "{lost}");
        assert!(said(&[]).obstacle("raw.logs").is_some());
    }

    #[test]
    fn the_key_of_a_page_is_read_back() {
        let offsets = BTreeMap::from([(0, 12), (2, 40)]);
        assert_eq!(before_text(&offsets), "0.12,2.40");
        assert_eq!(parse_before("0.12,2.40"), Some(offsets));
        assert_eq!(parse_before("0:12"), None);
        assert_eq!(parse_before(""), None);
    }
}
