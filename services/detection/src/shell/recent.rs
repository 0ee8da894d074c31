//! Recent readings, log lines and spans in Redis, for other agents and people.
//!
//! Collected for a second at most and written in pipelines. Every key is a
//! sorted set by event time with a bound and a lifetime.

use crate::decide::samples::Kept;
use crate::decide::transition::Reading;
use fred::bytes::Bytes;
use fred::bytes_utils::Str;
use fred::clients::{Client, Pipeline};
use fred::interfaces::{KeysInterface, SetsInterface, SortedSetsInterface};
use midwatch_clients::redis::{RECENT_INFO_LINES, RECENT_LOGS, RECENT_SPANS};
use midwatch_events::raw::{Labels, LogLevel, RawLog, RawSpan};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use uuid::Uuid;

/// Readings of a series at most: two hours at one per 10 s.
pub const READINGS: i64 = 720;
/// And at least, however many series share `DETECTION_RECENT_READINGS`: a
/// minute.
const LEAST_READINGS: usize = 6;
/// A series' readings are cut to their bound once a minute, or where so many
/// come at once: a command for every reading would cost Redis as much again.
const CUT_FROM: usize = 16;
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
    batch: Batch,
    info: HashMap<String, VecDeque<String>>,
}

/// What goes to Redis at once.
#[derive(Debug, Default)]
pub struct Batch {
    /// With the record's time. Written out as text only when they are sent.
    readings: Vec<(Kept, i64)>,
    /// Readings that are kept of each series.
    bound: usize,
    keys: HashMap<String, Key>,
    lines: usize,
}

/// How many readings are kept of each of `series`, where `total` are kept of
/// all together.
#[must_use]
pub fn bound(total: usize, series: usize) -> usize {
    (total / series.max(1)).clamp(LEAST_READINGS, READINGS as usize)
}

impl Recent {
    /// How many records wait.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.batch.readings.len() + self.batch.lines
    }

    /// Hands over what waits, in exchange for an empty batch whose room is
    /// used again. `bound` readings are kept of each series.
    pub fn take(&mut self, empty: Batch, bound: usize) -> Batch {
        self.batch.bound = bound;
        std::mem::replace(&mut self.batch, empty)
    }

    fn add(&mut self, key: String, bound: i64, at_ms: i64, member: Str) -> &mut Key {
        self.batch.lines += 1;
        let entry = self.batch.keys.entry(key).or_default();
        entry.bound = bound;
        entry.added.push((at_ms as f64, member));
        entry
    }

    /// Keeps a reading. `wall_ms` is its record's time.
    pub fn reading(&mut self, kept: Kept, wall_ms: i64) {
        self.batch.readings.push((kept, wall_ms));
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
            if lines.len() > usize::from(RECENT_INFO_LINES) {
                surplus = lines.pop_front();
            }
        }
        let entry = self.add(
            key,
            i64::from(RECENT_LOGS),
            log.timestamp_ms,
            Str::from(member),
        );
        entry.removed.extend(surplus);
    }

    /// Keeps a span.
    pub fn span(&mut self, span: &RawSpan, event_id: Uuid) {
        let member = span_member(span, event_id);
        let key = format!("midwatch:spans:{}:{}", span.environment, span.service);
        self.add(
            key,
            i64::from(RECENT_SPANS),
            span.start_ms,
            Str::from(member.to_string()),
        );
    }
}

/// Commands on their way to Redis, sent whenever they are many.
struct Sending<'a> {
    redis: &'a Client,
    pipeline: Pipeline<Client>,
    commands: usize,
}

impl Sending<'_> {
    async fn count(&mut self, commands: usize) -> anyhow::Result<()> {
        self.commands += commands;
        if self.commands >= PIPELINE {
            self.send().await?;
        }
        Ok(())
    }

    async fn send(&mut self) -> anyhow::Result<()> {
        if self.commands > 0 {
            let () = self.pipeline.all().await?;
            self.pipeline = self.redis.pipeline();
            self.commands = 0;
        }
        Ok(())
    }
}

impl Batch {
    /// Writes everything and empties itself. What was written before an error
    /// is written again next time, to the same effect.
    ///
    /// # Errors
    /// Redis is away or refuses a write.
    pub async fn write(&mut self, redis: &Client) -> anyhow::Result<()> {
        let mut sending = Sending {
            redis,
            pipeline: redis.pipeline(),
            commands: 0,
        };
        self.write_readings(&mut sending).await?;
        for (key, entry) in &self.keys {
            let pipeline = &sending.pipeline;
            let () = pipeline
                .zadd(key, None, None, false, false, entry.added.clone())
                .await?;
            if !entry.removed.is_empty() {
                let () = pipeline.zrem(key, entry.removed.clone()).await?;
            }
            let () = pipeline.zremrangebyrank(key, 0, -entry.bound - 1).await?;
            let () = pipeline.expire(key, TTL_S, None).await?;
            sending.count(4).await?;
        }
        sending.send().await?;
        self.readings.clear();
        self.keys.clear();
        self.lines = 0;
        Ok(())
    }

    /// The readings in order of their series, each series' in their own.
    fn by_series(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.readings.len()).collect();
        order.sort_unstable_by_key(|&index| (self.readings[index].0.name.address(), index));
        order
    }

    async fn write_readings(&self, sending: &mut Sending<'_>) -> anyhow::Result<()> {
        let bound = i64::try_from(self.bound)?;
        // Environment → `service\0metric`.
        let mut series: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        let order = self.by_series();
        let address = |index: usize| self.readings[index].0.name.address();
        for group in order.chunk_by(|&a, &b| address(a) == address(b)) {
            let name = &self.readings[group[0]].0.name;
            let (environment, service) = (name.environment(), name.service());
            let key = format!("midwatch:recent:{environment}:{service}:{}", name.series());
            let cut = group.len() >= CUT_FROM
                || group
                    .iter()
                    .any(|&index| self.readings[index].0.first_in_minute);
            let newest = &group[group.len().saturating_sub(self.bound)..];
            let pipeline = &sending.pipeline;
            let () = pipeline
                .zadd(&key, None, None, false, false, self.members(newest))
                .await?;
            if cut {
                let () = pipeline.zremrangebyrank(&key, 0, -bound - 1).await?;
                let () = pipeline.expire(&key, TTL_S, None).await?;
                let names = series.entry(environment).or_default();
                names.insert(format!("{service}\0{}", name.series()));
            }
            sending.count(if cut { 3 } else { 1 }).await?;
        }
        for (environment, names) in series {
            let key = format!("midwatch:series:{environment}");
            let names: Vec<String> = names.into_iter().collect();
            for names in names.chunks(PIPELINE) {
                let () = sending.pipeline.sadd(&key, names.to_vec()).await?;
            }
            let pipeline = &sending.pipeline;
            let () = pipeline.expire(&key, TTL_S, None).await?;
            let () = pipeline.sadd("midwatch:envs", environment).await?;
            let () = pipeline.expire("midwatch:envs", TTL_S, None).await?;
            sending.count(4).await?;
        }
        Ok(())
    }

    /// Readings with their times, as a sorted set takes them. Their texts
    /// share one buffer.
    fn members(&self, group: &[usize]) -> Vec<(f64, Bytes)> {
        let mut text = Vec::with_capacity(160 * group.len());
        let mut ends = Vec::with_capacity(group.len());
        for &index in group {
            let (kept, wall_ms) = &self.readings[index];
            write_reading(&mut text, &kept.reading, *wall_ms);
            ends.push((kept.reading.at_ms as f64, text.len()));
        }
        let text = Bytes::from(text);
        let mut begin = 0;
        let cut = |(at_ms, end)| (at_ms, text.slice(std::mem::replace(&mut begin, end)..end));
        ends.into_iter().map(cut).collect()
    }
}

/// [`reading_member`] as text, without making its values one by one.
fn write_reading(text: &mut Vec<u8>, reading: &Reading, wall_ms: i64) {
    let parts = (
        reading.at_ms,
        reading.value,
        reading.score,
        reading.expected,
        reading.low,
        reading.high,
        wall_ms,
        reading.event_id,
        &reading.reason,
    );
    serde_json::to_writer(text, &parts).expect("numbers and texts encode as JSON");
}

/// A reading as it is kept: a list of event time, value, score, expected value,
/// lower and upper bound, wall-clock time, event id and, in words, what is
/// unusual about it ("" where nothing is). Older members have no last element.
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
        reading.event_id,
        reading.reason
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
    use crate::decide::table::SeriesName;

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
        for entry in recent.batch.keys.values() {
            let kept = entry.added[0].1.chars().count();
            assert!((2_000..5_000).contains(&kept), "{kept}");
        }
    }

    #[test]
    fn readings_go_by_series_in_the_form_that_others_read() {
        let mut recent = Recent::default();
        let names = ["m", "n"].map(|series| SeriesName::new("e", "a", series));
        let values = [(1, 0.1), (2, f64::NAN), (3, -0.0), (4, 1e300)];
        let mut members = [Vec::new(), Vec::new()];
        for (number, (at_ms, value)) in values.into_iter().enumerate() {
            let reading = Reading {
                at_ms,
                value,
                score: 0.5,
                expected: 1.0 / 3.0,
                low: -1.0,
                high: 1e-7,
                event_id: Uuid::from_u128(7),
                reason: ["", "4.2× the \"largest\""][number % 2].to_owned(),
            };
            members[number % 2].push((at_ms as f64, reading_member(&reading, 9).to_string()));
            let kept = Kept {
                name: names[number % 2].clone(),
                reading,
                first_in_minute: false,
            };
            recent.reading(kept, 9);
        }
        assert_eq!(recent.buffered(), 4);
        let batch = recent.take(Batch::default(), 720);
        assert_eq!(recent.buffered(), 0);
        let order = batch.by_series();
        let groups = order.chunk_by(|&a, &b| a % 2 == b % 2);
        let mut seen = 0;
        for group in groups {
            let written: Vec<(f64, String)> = batch
                .members(group)
                .into_iter()
                .map(|(at_ms, text)| (at_ms, String::from_utf8_lossy(&text).into_owned()))
                .collect();
            assert_eq!(written, members[group[0] % 2]);
            seen += 1;
        }
        assert_eq!(seen, 2);
    }

    /// 2 000 000 readings are 720 for each of 1 000 series, 20 for each of
    /// 100 000; a million series have a minute each.
    #[test]
    fn many_series_keep_fewer_readings_each() {
        let kept = [0, 1_000, 100_000, 1_000_000].map(|series| bound(2_000_000, series));
        assert_eq!(kept, [720, 720, 20, 6]);
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
        let entry = &recent.batch.keys["midwatch:logs:e:a"];
        assert_eq!(entry.added.len(), 251);
        assert_eq!(entry.removed.len(), 1);
        assert!(entry.removed[0].contains("\"timestamp_ms\":0"));
        assert_eq!(recent.buffered(), 251);
    }
}
