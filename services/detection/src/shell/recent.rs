//! Recent readings, log lines and spans in Redis, for other agents and people.
//!
//! Buffered between checkpoints and written in pipelines. Every key is a
//! sorted set by event time with a bound and a lifetime.

use crate::decide::transition::Reading;
use fred::bytes_utils::Str;
use fred::clients::Client;
use fred::interfaces::{KeysInterface, SetsInterface, SortedSetsInterface};
use midwatch_events::raw::{Labels, LogLevel, RawLog, RawSpan};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use uuid::Uuid;

/// Two hours at one reading per 10 s.
pub const READINGS: i64 = 720;
/// Log lines of a service.
pub const LOGS: i64 = 400;
/// INFO lines tell what normal looks like and must not push errors out.
pub const INFO_LINES: usize = 100;
/// Spans of a service.
pub const SPANS: i64 = 200;
const TTL_S: i64 = 6 * 3_600;
/// Services whose INFO lines are counted one by one; beyond that the sets'
/// own bound does alone.
const COUNTED_SERVICES: usize = 2_000;
/// Characters of a log line or a span's operation that are kept.
const LINE: usize = 1_000;
/// Labels of a line or span that are kept, and characters of each.
const LABELS: usize = 16;
const LABEL: usize = 64;
/// Characters of a trace's or span's id.
const ID: usize = 128;
/// Commands per pipeline: what Redis answers in a few milliseconds.
const PIPELINE: usize = 500;

#[derive(Debug, Default)]
struct Key {
    bound: i64,
    added: Vec<(f64, Str)>,
    removed: Vec<String>,
}

/// What is not yet in Redis.
#[derive(Debug, Default)]
pub struct Recent {
    keys: HashMap<String, Key>,
    /// The key at hand; kept so that a reading of a known series makes none.
    name: String,
    /// Environment → `service\0metric`.
    series: BTreeMap<String, BTreeSet<String>>,
    info: HashMap<String, VecDeque<String>>,
    buffered: usize,
}

impl Recent {
    /// How many records wait.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffered
    }

    fn add(&mut self, key: String, bound: i64, at_ms: i64, member: Str) -> &mut Key {
        self.buffered += 1;
        let entry = self.keys.entry(key).or_default();
        entry.bound = bound;
        entry.added.push((at_ms as f64, member));
        entry
    }

    /// Keeps a reading. `wall_ms` is its record's time.
    pub fn reading(
        &mut self,
        environment: &str,
        service: &str,
        series: &str,
        reading: &Reading,
        wall_ms: i64,
    ) {
        let member = Str::from(reading_text(reading, wall_ms));
        self.name.clear();
        for part in ["midwatch:recent:", environment, ":", service, ":", series] {
            self.name.push_str(part);
        }
        if let Some(known) = self.keys.get_mut(self.name.as_str()) {
            known.added.push((reading.at_ms as f64, member));
            self.buffered += 1;
            return;
        }
        self.add(self.name.clone(), READINGS, reading.at_ms, member);
        self.series
            .entry(environment.to_owned())
            .or_default()
            .insert(format!("{service}\0{series}"));
    }

    /// Keeps a log line.
    pub fn log(&mut self, log: &RawLog, event_id: Uuid) {
        let member = log_member(log, event_id).to_string();
        let key = format!("midwatch:logs:{}:{}", log.environment, log.service);
        let mut surplus = None;
        if log.level == LogLevel::Info {
            if self.info.len() >= COUNTED_SERVICES && !self.info.contains_key(&key) {
                self.info.clear();
            }
            let lines = self.info.entry(key.clone()).or_default();
            lines.push_back(member.clone());
            if lines.len() > INFO_LINES {
                surplus = lines.pop_front();
            }
        }
        let entry = self.add(key, LOGS, log.timestamp_ms, Str::from(member));
        entry.removed.extend(surplus);
    }

    /// Keeps a span.
    pub fn span(&mut self, span: &RawSpan, event_id: Uuid) {
        let member = span_member(span, event_id);
        let key = format!("midwatch:spans:{}:{}", span.environment, span.service);
        self.add(key, SPANS, span.start_ms, Str::from(member.to_string()));
    }

    /// Writes everything. What was written before an error is written again
    /// next time, to the same effect.
    ///
    /// # Errors
    /// Redis is away or refuses a write.
    pub async fn flush(&mut self, redis: &Client) -> anyhow::Result<()> {
        let mut pipeline = redis.pipeline();
        let mut commands = 0;
        for (key, entry) in &self.keys {
            let () = pipeline
                .zadd(key, None, None, false, false, entry.added.clone())
                .await?;
            if !entry.removed.is_empty() {
                let () = pipeline.zrem(key, entry.removed.clone()).await?;
            }
            let () = pipeline.zremrangebyrank(key, 0, -entry.bound - 1).await?;
            let () = pipeline.expire(key, TTL_S, None).await?;
            commands += 4;
            if commands >= PIPELINE {
                let () = pipeline.all().await?;
                pipeline = redis.pipeline();
                commands = 0;
            }
        }
        for (environment, names) in &self.series {
            let key = format!("midwatch:series:{environment}");
            let names: Vec<String> = names.iter().cloned().collect();
            let () = pipeline.sadd(&key, names).await?;
            let () = pipeline.expire(&key, TTL_S, None).await?;
            let () = pipeline.sadd("midwatch:envs", environment.as_str()).await?;
            let () = pipeline.expire("midwatch:envs", TTL_S, None).await?;
            commands += 4;
        }
        if commands > 0 {
            let () = pipeline.all().await?;
        }
        self.keys.clear();
        self.series.clear();
        self.buffered = 0;
        Ok(())
    }
}

/// [`reading_member`] as text, without making its values one by one.
fn reading_text(reading: &Reading, wall_ms: i64) -> String {
    let parts = (
        reading.at_ms,
        reading.value,
        reading.score,
        reading.expected,
        reading.low,
        reading.high,
        wall_ms,
        reading.event_id,
    );
    serde_json::to_string(&parts).expect("numbers and an id encode as JSON")
}

/// A reading as it is kept: a list of event time, value, score, expected value,
/// lower and upper bound, wall-clock time and event id.
#[must_use]
pub fn reading_member(reading: &Reading, wall_ms: i64) -> Value {
    json!([
        reading.at_ms,
        reading.value,
        reading.score,
        reading.expected,
        reading.low,
        reading.high,
        wall_ms,
        reading.event_id
    ])
}

/// A log line as it is kept.
#[must_use]
pub fn log_member(log: &RawLog, event_id: Uuid) -> Value {
    json!({
        "timestamp_ms": log.timestamp_ms,
        "level": log.level,
        "message": cut(&log.message, LINE),
        "event_id": event_id,
        "trace_id": log.trace_id.as_deref().map(|id| cut(id, ID)),
        "labels": few(&log.labels),
    })
}

/// A span as it is kept.
#[must_use]
pub fn span_member(span: &RawSpan, event_id: Uuid) -> Value {
    let span = RawSpan {
        trace_id: cut(&span.trace_id, ID).to_owned(),
        span_id: cut(&span.span_id, ID).to_owned(),
        parent_span_id: span
            .parent_span_id
            .as_deref()
            .map(|id| cut(id, ID).to_owned()),
        service: span.service.clone(),
        environment: span.environment.clone(),
        operation: cut(&span.operation, LINE).to_owned(),
        labels: few(&span.labels),
        ..*span
    };
    let mut member = json!(span);
    member["event_id"] = json!(event_id);
    member
}

fn cut(text: &str, characters: usize) -> &str {
    match text.char_indices().nth(characters) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

fn few(labels: &Labels) -> Labels {
    labels
        .iter()
        .take(LABELS)
        .map(|(name, value)| (cut(name, LABEL).to_owned(), cut(value, LABEL).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded() {
        let long = "ä".repeat(100_000);
        let labels: Labels = (0..1_000)
            .map(|number| (format!("{number}{long}"), long.clone()))
            .collect();
        let mut recent = Recent::default();
        let log = RawLog {
            timestamp_ms: 1,
            service: "a".to_owned(),
            environment: "e".to_owned(),
            level: LogLevel::Error,
            message: long.clone(),
            trace_id: Some(long.clone()),
            labels: labels.clone(),
        };
        recent.log(&log, Uuid::nil());
        let span = RawSpan {
            trace_id: long.clone(),
            span_id: long.clone(),
            parent_span_id: Some(long.clone()),
            service: "a".to_owned(),
            environment: "e".to_owned(),
            operation: long,
            start_ms: 1,
            duration_ms: 1.0,
            status: Default::default(),
            labels,
        };
        recent.span(&span, Uuid::nil());
        for entry in recent.keys.values() {
            let kept = entry.added[0].1.chars().count();
            assert!((2_000..5_000).contains(&kept), "{kept}");
        }
    }

    #[test]
    fn a_reading_is_kept_under_its_series_in_the_form_that_others_read() {
        let mut recent = Recent::default();
        for (at_ms, value) in [(1, 0.1), (2, f64::NAN), (3, -0.0), (4, 1e300)] {
            let reading = Reading {
                at_ms,
                value,
                score: 0.5,
                expected: 1.0 / 3.0,
                low: -1.0,
                high: 1e-7,
                event_id: Uuid::from_u128(7),
            };
            recent.reading("e", "a", "m", &reading, 9);
            let kept = &recent.keys["midwatch:recent:e:a:m"].added;
            let (score, text) = kept.last().expect("it was just kept");
            assert_eq!(*score, at_ms as f64);
            let member = reading_member(&reading, 9).to_string();
            assert_eq!(text.to_string(), member);
        }
        let names = &recent.series["e"];
        assert_eq!((recent.buffered(), names.len()), (4, 1));
        assert!(names.contains("a\0m"));
    }

    #[test]
    fn the_hundred_and_first_info_line_pushes_the_first_out() {
        let mut recent = Recent::default();
        let line = |level: LogLevel, at_ms: i64| RawLog {
            timestamp_ms: at_ms,
            service: "a".to_owned(),
            environment: "e".to_owned(),
            level,
            message: "m".to_owned(),
            trace_id: None,
            labels: BTreeMap::new(),
        };
        for at_ms in 0..150 {
            recent.log(&line(LogLevel::Error, at_ms), Uuid::nil());
        }
        for at_ms in 0..101 {
            recent.log(&line(LogLevel::Info, at_ms), Uuid::nil());
        }
        let entry = &recent.keys["midwatch:logs:e:a"];
        assert_eq!(entry.added.len(), 251);
        assert_eq!(entry.removed.len(), 1);
        assert!(entry.removed[0].contains("\"timestamp_ms\":0"));
        assert_eq!(recent.buffered(), 251);
    }
}
