//! What detection keeps for others, in memory instead of Redis: the same
//! members under the same bounds.

use midwatch_detection::decide::transition::Reading;
use midwatch_detection::shell::recent::{
    INFO_LINES, LOGS, READINGS, SPANS, log_member, reading_member, span_member,
};
use midwatch_events::raw::{LogLevel, RawLog, RawSpan};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use uuid::Uuid;

/// Detection writes what it keeps once a second of wall clock.
const CHECKPOINT_MS: i64 = 1_000;

/// One member, with the wall clock at which it came.
struct Kept<T> {
    item: T,
    wall_ms: i64,
}

/// What is kept of one service.
#[derive(Default)]
struct Service {
    readings: BTreeMap<String, VecDeque<Kept<Reading>>>,
    /// INFO lines have a bound of their own, so that they push no error out.
    info: VecDeque<Kept<(RawLog, Uuid)>>,
    lines: VecDeque<Kept<(RawLog, Uuid)>>,
    spans: VecDeque<Kept<(RawSpan, Uuid)>>,
}

/// Recent readings, log lines and spans of one environment. A reader sees what
/// was there at the last checkpoint.
#[derive(Default)]
pub struct Memory {
    services: BTreeMap<String, Service>,
}

fn bound(limit: i64) -> usize {
    usize::try_from(limit).unwrap_or(0)
}

fn push<T>(queue: &mut VecDeque<Kept<T>>, limit: usize, item: T, wall_ms: i64) {
    queue.push_back(Kept { item, wall_ms });
    if queue.len() > limit {
        queue.pop_front();
    }
}

impl Memory {
    /// Keeps a reading.
    pub fn reading(&mut self, service: &str, series: &str, reading: Reading, wall_ms: i64) {
        let known = self.service(service);
        let queue = match known.readings.get_mut(series) {
            Some(queue) => queue,
            None => known.readings.entry(series.to_owned()).or_default(),
        };
        push(queue, bound(READINGS), reading, wall_ms);
    }

    /// Keeps a log line.
    pub fn log(&mut self, log: RawLog, event_id: Uuid, wall_ms: i64) {
        let name = log.service.clone();
        let known = self.service(&name);
        if log.level == LogLevel::Info {
            push(&mut known.info, INFO_LINES, (log, event_id), wall_ms);
        } else {
            push(&mut known.lines, bound(LOGS), (log, event_id), wall_ms);
        }
        if known.info.len() + known.lines.len() > bound(LOGS) {
            let at = |queue: &VecDeque<Kept<(RawLog, Uuid)>>| {
                queue.front().map(|kept| kept.item.0.timestamp_ms)
            };
            match (at(&known.info), at(&known.lines)) {
                (Some(info), Some(line)) if info <= line => known.info.pop_front(),
                (_, Some(_)) => known.lines.pop_front(),
                _ => known.info.pop_front(),
            };
        }
    }

    /// Keeps a span.
    pub fn span(&mut self, span: RawSpan, event_id: Uuid, wall_ms: i64) {
        let name = span.service.clone();
        push(
            &mut self.service(&name).spans,
            bound(SPANS),
            (span, event_id),
            wall_ms,
        );
    }

    fn service(&mut self, name: &str) -> &mut Service {
        if !self.services.contains_key(name) {
            self.services.insert(name.to_owned(), Service::default());
        }
        self.services
            .get_mut(name)
            .expect("it is there or was just added")
    }

    /// The series of a service.
    pub fn series(&self, service: &str) -> impl Iterator<Item = &str> {
        self.services
            .get(service)
            .into_iter()
            .flat_map(|known| known.readings.keys().map(String::as_str))
    }

    /// Readings since `from_ms` that a reader sees at `wall_ms`, oldest first.
    #[must_use]
    pub fn readings(&self, service: &str, series: &str, from_ms: i64, wall_ms: i64) -> Vec<Value> {
        let seen_ms = checkpoint(wall_ms);
        let queue = self
            .services
            .get(service)
            .and_then(|known| known.readings.get(series));
        let since = queue.into_iter().flatten();
        since
            .filter(|kept| kept.item.at_ms >= from_ms && kept.wall_ms <= seen_ms)
            .map(|kept| reading_member(&kept.item, kept.wall_ms))
            .collect()
    }

    /// Log lines since `from_ms`, in order of time.
    #[must_use]
    pub fn lines(&self, service: &str, from_ms: i64, wall_ms: i64) -> Vec<Value> {
        let seen_ms = checkpoint(wall_ms);
        let Some(known) = self.services.get(service) else {
            return Vec::new();
        };
        let mut lines: Vec<&(RawLog, Uuid)> = known
            .info
            .iter()
            .chain(&known.lines)
            .filter(|kept| kept.item.0.timestamp_ms >= from_ms && kept.wall_ms <= seen_ms)
            .map(|kept| &kept.item)
            .collect();
        lines.sort_by_key(|(log, _)| log.timestamp_ms);
        lines.iter().map(|(log, id)| log_member(log, *id)).collect()
    }

    /// Spans since `from_ms`, in the order in which they came.
    #[must_use]
    pub fn spans(&self, service: &str, from_ms: i64, wall_ms: i64) -> Vec<Value> {
        let seen_ms = checkpoint(wall_ms);
        let spans = self.services.get(service).into_iter();
        spans
            .flat_map(|known| &known.spans)
            .filter(|kept| kept.item.0.start_ms >= from_ms && kept.wall_ms <= seen_ms)
            .map(|kept| span_member(&kept.item.0, kept.item.1))
            .collect()
    }
}

fn checkpoint(wall_ms: i64) -> i64 {
    wall_ms - wall_ms.rem_euclid(CHECKPOINT_MS)
}

/// The newest `count` of what is there, oldest first.
#[must_use]
pub fn newest(mut members: Vec<Value>, count: usize) -> Vec<Value> {
    let skip = members.len().saturating_sub(count);
    members.split_off(skip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(level: LogLevel, at_ms: i64) -> RawLog {
        RawLog {
            timestamp_ms: at_ms,
            service: "a".to_owned(),
            environment: "e".to_owned(),
            level,
            message: format!("{level:?} {at_ms}"),
            trace_id: None,
            labels: Default::default(),
        }
    }

    #[test]
    fn info_lines_push_no_error_out_and_the_whole_is_bounded() {
        let mut memory = Memory::default();
        for at_ms in 0..350 {
            memory.log(line(LogLevel::Error, at_ms), Uuid::nil(), 0);
        }
        for at_ms in 350..1_000 {
            memory.log(line(LogLevel::Info, at_ms), Uuid::nil(), 0);
        }
        let lines = memory.lines("a", 0, 0);
        let errors = lines.iter().filter(|line| line["level"] == "ERROR").count();
        assert_eq!((errors, lines.len()), (300, 400));
        assert_eq!(lines[0]["message"], "Error 50");
        assert_eq!(lines[399]["timestamp_ms"], 999);
    }

    #[test]
    fn a_reader_sees_what_the_last_checkpoint_wrote() {
        let mut memory = Memory::default();
        for wall_ms in [999, 1_000, 1_001] {
            memory.log(line(LogLevel::Warn, wall_ms), Uuid::nil(), wall_ms);
        }
        assert_eq!(memory.lines("a", 0, 1_999).len(), 2);
        assert_eq!(memory.lines("a", 0, 2_000).len(), 3);
        assert_eq!(memory.lines("a", 1_000, 2_000).len(), 2);
        assert!(memory.lines("b", 0, 2_000).is_empty());
    }

    #[test]
    fn readings_are_bounded_and_come_back_as_detection_writes_them() {
        let mut memory = Memory::default();
        for at_ms in 0..1_000 {
            let reading = Reading {
                at_ms,
                value: 1.5,
                score: 0.25,
                expected: 1.0,
                low: 0.5,
                high: 2.0,
                event_id: Uuid::nil(),
            };
            memory.reading("a", "m", reading, 7);
        }
        let all = memory.readings("a", "m", 0, 1_000);
        assert_eq!(all.len(), 720);
        let nil = Uuid::nil();
        assert_eq!(
            newest(all, 1),
            [serde_json::json!([999, 1.5, 0.25, 1.0, 0.5, 2.0, 7, nil])]
        );
        assert_eq!(memory.series("a").collect::<Vec<_>>(), ["m"]);
    }
}
