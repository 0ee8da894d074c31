//! What detection keeps for others, in memory instead of Redis: the same
//! members under the same bounds.

use midwatch_clients::redis::{RECENT_INFO_LINES, RECENT_LOGS, RECENT_SPANS};
use midwatch_detection::decide::transition::Reading;
use midwatch_detection::shell::recent::{READINGS, log_member, reading_member, span_member};
use midwatch_events::raw::{LogLevel, RawLog, RawSpan};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use uuid::Uuid;

/// Detection writes what it keeps once a second of wall clock.
const CHECKPOINT_MS: i64 = 1_000;
/// Readings kept of all series together, about 200 MB of them. With more than
/// some 2 700 series each keeps fewer than it would in Redis.
const ALL_READINGS: usize = 2_000_000;
/// Readings that each series keeps in any case: what correlation reads of one.
const LEAST_READINGS: usize = 30;

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

/// Recent readings, log lines and spans. A reader sees what was there at the
/// last checkpoint.
#[derive(Default)]
pub struct Memory {
    /// By environment and service.
    services: BTreeMap<String, BTreeMap<String, Service>>,
    series_count: usize,
}

fn bound(limit: i64) -> usize {
    usize::try_from(limit).unwrap_or(0)
}

fn push<T>(queue: &mut VecDeque<Kept<T>>, limit: usize, item: T, wall_ms: i64) {
    queue.push_back(Kept { item, wall_ms });
    while queue.len() > limit {
        queue.pop_front();
    }
}

impl Memory {
    /// Keeps a reading of a series of a service of an environment.
    pub fn reading(
        &mut self,
        (environment, service, series): (&str, &str, &str),
        reading: Reading,
        wall_ms: i64,
    ) {
        let room = (ALL_READINGS / self.series_count.max(1)).max(LEAST_READINGS);
        let limit = bound(READINGS).min(room);
        let known = self.service(environment, service);
        let mut fresh = 0;
        let queue = match known.readings.get_mut(series) {
            Some(queue) => queue,
            None => {
                fresh = 1;
                known.readings.entry(series.to_owned()).or_default()
            }
        };
        push(queue, limit, reading, wall_ms);
        self.series_count += fresh;
    }

    /// Keeps a log line.
    pub fn log(&mut self, log: RawLog, event_id: Uuid, wall_ms: i64) {
        let known = self.service(&log.environment, &log.service);
        if log.level == LogLevel::Info {
            push(
                &mut known.info,
                RECENT_INFO_LINES.into(),
                (log, event_id),
                wall_ms,
            );
        } else {
            push(
                &mut known.lines,
                RECENT_LOGS.into(),
                (log, event_id),
                wall_ms,
            );
        }
        if known.info.len() + known.lines.len() > usize::from(RECENT_LOGS) {
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
        push(
            &mut self.service(&span.environment, &span.service).spans,
            RECENT_SPANS.into(),
            (span, event_id),
            wall_ms,
        );
    }

    fn service(&mut self, environment: &str, name: &str) -> &mut Service {
        if !self.services.contains_key(environment) {
            self.services
                .insert(environment.to_owned(), BTreeMap::new());
        }
        let known = self.services.get_mut(environment);
        let known = known.expect("it is there or was just added");
        if !known.contains_key(name) {
            known.insert(name.to_owned(), Service::default());
        }
        known.get_mut(name).expect("it is there or was just added")
    }

    fn known(&self, environment: &str, service: &str) -> Option<&Service> {
        self.services.get(environment)?.get(service)
    }

    /// The series of a service.
    pub fn series(&self, environment: &str, service: &str) -> impl Iterator<Item = &str> {
        self.known(environment, service)
            .into_iter()
            .flat_map(|known| known.readings.keys().map(String::as_str))
    }

    /// Readings since `from_ms` that a reader sees at `wall_ms`, oldest first.
    #[must_use]
    pub fn readings(
        &self,
        (environment, service, series): (&str, &str, &str),
        from_ms: i64,
        wall_ms: i64,
    ) -> Vec<Value> {
        let seen_ms = checkpoint(wall_ms);
        let queue = self
            .known(environment, service)
            .and_then(|known| known.readings.get(series));
        let since = queue.into_iter().flatten();
        since
            .filter(|kept| kept.item.at_ms >= from_ms && kept.wall_ms <= seen_ms)
            .map(|kept| reading_member(&kept.item, kept.wall_ms))
            .collect()
    }

    /// Log lines since `from_ms`, in order of time.
    #[must_use]
    pub fn lines(
        &self,
        environment: &str,
        service: &str,
        from_ms: i64,
        wall_ms: i64,
    ) -> Vec<Value> {
        let seen_ms = checkpoint(wall_ms);
        let Some(known) = self.known(environment, service) else {
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
    pub fn spans(
        &self,
        environment: &str,
        service: &str,
        from_ms: i64,
        wall_ms: i64,
    ) -> Vec<Value> {
        let seen_ms = checkpoint(wall_ms);
        let spans = self.known(environment, service).into_iter();
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
        let lines = memory.lines("e", "a", 0, 0);
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
        assert_eq!(memory.lines("e", "a", 0, 1_999).len(), 2);
        assert_eq!(memory.lines("e", "a", 0, 2_000).len(), 3);
        assert_eq!(memory.lines("e", "a", 1_000, 2_000).len(), 2);
        assert!(memory.lines("e", "b", 0, 2_000).is_empty());
    }

    #[test]
    fn many_series_keep_fewer_readings_each() {
        let mut memory = Memory::default();
        let reading = |at_ms| Reading {
            at_ms,
            value: 1.5,
            score: 0.25,
            expected: 1.0,
            low: 0.5,
            high: 2.0,
            event_id: Uuid::nil(),
            reason: String::new(),
        };
        for number in 0..20_000 {
            let name = format!("m{number}");
            memory.reading(("e", "a", &name), reading(0), 7);
        }
        for at_ms in 0..500 {
            memory.reading(("e", "a", "m7"), reading(at_ms), 7);
        }
        // Two million over twenty thousand series.
        assert_eq!(memory.readings(("e", "a", "m7"), 0, 1_000).len(), 100);
    }

    #[test]
    fn readings_are_bounded_and_come_back_as_detection_writes_them() {
        let mut memory = Memory::default();
        let reading = |at_ms| Reading {
            at_ms,
            value: 1.5,
            score: 0.25,
            expected: 1.0,
            low: 0.5,
            high: 2.0,
            event_id: Uuid::nil(),
            reason: String::new(),
        };
        for at_ms in 0..1_000 {
            memory.reading(("e", "a", "m"), reading(at_ms), 7);
        }
        let all = memory.readings(("e", "a", "m"), 0, 1_000);
        assert_eq!(all.len(), 720);
        assert_eq!((&all[0][0], &all[719][0]), (&280.into(), &999.into()));
        assert_eq!(newest(all, 1), [reading_member(&reading(999), 7)]);
        assert_eq!(memory.series("e", "a").collect::<Vec<_>>(), ["m"]);
    }
}
