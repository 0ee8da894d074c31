//! Reading recordings: files in, a [`Recording`] out, with what could not be
//! used of them. Producers differ in how they write numbers, names and
//! statuses, so that every value is read by what it must mean (`loose`); a
//! line that means nothing is left out and counted, never guessed.

use super::Options;
use super::clock::{self, Clock};
use super::loose;
use super::series::Groups;
use super::tally::{Reason, Tally};
use crate::detect::lines::{Line as Read, Lines};
use crate::failure::Failure;
use midwatch_events::topology::EdgeSource;
use midwatch_investigation::rca::{Line, Recording, Series, Span};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fs::File;
use std::path::Path;

/// Readings, lines or spans of one file, at most: far above what one incident
/// leaves, and a bound for the memory.
const RECORDS: u64 = 5_000_000;
/// Spans farther from the readings and the alert have a wrong clock.
const DAY_MS: i64 = 86_400_000;

#[derive(Deserialize)]
struct Metric {
    #[serde(default)]
    timestamp_ms: Value,
    #[serde(default)]
    service: Value,
    #[serde(default)]
    metric_name: Value,
    #[serde(default)]
    metric_value: Value,
    #[serde(default)]
    labels: Value,
}

#[derive(Deserialize)]
struct Log {
    #[serde(default)]
    timestamp_ms: Value,
    #[serde(default)]
    service: Value,
    #[serde(default)]
    level: Value,
    #[serde(default)]
    message: Value,
}

#[derive(Deserialize)]
struct Spoken {
    #[serde(default)]
    trace_id: Value,
    #[serde(default)]
    span_id: Value,
    #[serde(default)]
    parent_span_id: Value,
    #[serde(default)]
    service: Value,
    #[serde(default)]
    operation: Value,
    #[serde(default)]
    start_ms: Value,
    #[serde(default)]
    duration_ms: Value,
    #[serde(default)]
    status: Value,
}

/// Why a record is left out, with a word on it.
type Skip = (Reason, &'static str);

const NO_SERVICE: Skip = (Reason::Unreadable, "no service");
const NO_TIME: Skip = (Reason::NoTime, "");
const NO_READING: Skip = (Reason::NoReading, "");

/// Reads every file that the options name. The second part tells what of them
/// could not be used, in words; so does standard error.
///
/// # Errors
/// A file cannot be read, or no line of one that has some; the message names
/// file and line.
pub fn recording(options: &Options) -> Result<(Recording, Vec<String>), Failure> {
    let mut recording = Recording::default();
    let mut gaps = graph(&options.topology, &mut recording)?;
    let judged = clock::is_milliseconds(options.start) && clock::is_milliseconds(options.at);
    let (series, told) = series(&options.metrics, judged)?;
    recording.series = series;
    gaps.extend(told);
    if let Some(path) = &options.logs {
        let (lines, told) = lines(path, judged)?;
        recording.lines = lines;
        gaps.extend(told);
    }
    if let Some(path) = &options.spans {
        let (spans, told) = spans(path, judged, around(options, &recording.series))?;
        recording.spans = spans;
        gaps.extend(told);
    }
    Ok((recording, gaps))
}

/// The time that the readings and the alert cover.
fn around(options: &Options, series: &[Series]) -> (i64, i64) {
    let moments = series.iter().flat_map(|one| {
        let ends = [one.points.first(), one.points.last()];
        ends.into_iter().flatten().map(|(at, _)| *at)
    });
    let asked = [options.start, options.at];
    let all = moments.chain(asked).chain(options.end);
    all.fold((options.start, options.at), |(first, last), at| {
        (first.min(at), last.max(at))
    })
}

fn graph(path: &Path, recording: &mut Recording) -> Result<Vec<String>, Failure> {
    let wrong = |what: String| {
        Failure::new(
            format!("{} is no service graph: {what}", path.display()),
            "write {\"services\": [{\"name\": \"…\", \"depends_on\": [\"…\"]}]}",
        )
    };
    let text = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    let read: Value = serde_json::from_slice(text).map_err(|error| wrong(error.to_string()))?;
    let services = match read.get("services").cloned() {
        Some(Value::Array(services)) => services,
        Some(Value::Null) => Vec::new(),
        _ => return Err(wrong("no list of services".to_owned())),
    };
    let mut nameless = 0_usize;
    for service in services {
        let (service, callees) = match service {
            Value::Object(mut parts) => {
                let mut take = |name: &str| parts.remove(name).unwrap_or_default();
                let callees = match take("depends_on") {
                    Value::Array(callees) => callees,
                    Value::Null => Vec::new(),
                    one => vec![one],
                };
                (take("name"), callees)
            }
            name => (name, Vec::new()),
        };
        let Some(service) = loose::name(service) else {
            nameless += 1;
            continue;
        };
        for callee in callees {
            match loose::name(callee) {
                Some(callee) => {
                    recording
                        .topology
                        .add_call(&service, &callee, EdgeSource::Catalogue);
                }
                None => nameless += 1,
            }
        }
        recording.services.insert(service);
    }
    if nameless == 0 {
        return Ok(Vec::new());
    }
    let told = format!("services without a name skipped: {nameless}");
    let words = format!("{}: {told}", path.display());
    eprintln!("midwatch: {}", crate::output::plain(&words));
    Ok(vec![format!("topology: {told}")])
}

fn series(path: &Path, judged: bool) -> Result<(Vec<Series>, Vec<String>), Failure> {
    let wanted = "a metric reading (service, metric_name, metric_value, timestamp_ms)";
    let mut tally = Tally::new("metrics");
    let mut groups = Groups::default();
    each(path, &mut tally, |metric: Metric, line| {
        let service = loose::name(metric.service).ok_or(NO_SERVICE)?;
        let name = loose::name(metric.metric_name).ok_or((Reason::Unreadable, "no metric_name"))?;
        let at = loose::moment(&metric.timestamp_ms).ok_or(NO_TIME)?;
        let value = loose::number(&metric.metric_value).ok_or(NO_READING)?;
        groups.add(
            service,
            name,
            loose::labels(metric.labels),
            (at, value),
            line,
        );
        Ok(())
    })?;
    let clock = Clock::of(groups.times(), judged, &mut tally);
    let series = groups.series(|at, line, tally| clock.ms(at, line, tally), &mut tally);
    Ok((series, tally.close(path, wanted)?))
}

fn lines(path: &Path, judged: bool) -> Result<(Vec<Line>, Vec<String>), Failure> {
    let wanted = "a log line (service, message, timestamp_ms, level)";
    let mut tally = Tally::new("logs");
    let mut read: Vec<(f64, u64, Line)> = Vec::new();
    each(path, &mut tally, |log: Log, number| {
        let line = Line {
            id: format!("log:{number}"),
            service: loose::name(log.service).ok_or(NO_SERVICE)?,
            at_ms: 0,
            level: loose::level(&log.level),
            message: loose::words(log.message),
        };
        let at = loose::moment(&log.timestamp_ms).ok_or(NO_TIME)?;
        read.push((at, number, line));
        Ok(())
    })?;
    let clock = Clock::of(read.iter().map(|(at, ..)| *at), judged, &mut tally);
    let dated = read.into_iter().filter_map(|(at, number, line)| {
        let at_ms = clock.ms(at, number, &mut tally)?;
        Some(Line { at_ms, ..line })
    });
    let mut lines: Vec<Line> = dated.collect();
    lines.sort_by_key(|line| line.at_ms);
    Ok((lines, tally.close(path, wanted)?))
}

fn spans(
    path: &Path,
    judged: bool,
    around: (i64, i64),
) -> Result<(Vec<Span>, Vec<String>), Failure> {
    let wanted = "a span (trace_id, span_id, service, operation, start_ms, duration_ms)";
    let mut tally = Tally::new("spans");
    let mut read: Vec<(f64, u64, Span)> = Vec::new();
    each(path, &mut tally, |span: Spoken, number| {
        let at = loose::moment(&span.start_ms).ok_or(NO_TIME)?;
        read.push((at, number, spoken(span, number)?));
        Ok(())
    })?;
    let clock = Clock::of(read.iter().map(|(at, ..)| *at), judged, &mut tally);
    let (from, until) = (
        around.0.saturating_sub(DAY_MS),
        around.1.saturating_add(DAY_MS),
    );
    let dated = read.into_iter().filter_map(|(at, number, span)| {
        let start_ms = clock.ms(at, number, &mut tally)?;
        if !(from..=until).contains(&start_ms) {
            tally.skip(Reason::FarOff, number, "");
            return None;
        }
        Some(Span { start_ms, ..span })
    });
    let mut spans: Vec<Span> = dated.collect();
    // Which of several spans is quoted does not hang on the order of the lines.
    spans.sort_by(|one, other| {
        (one.start_ms, &one.trace, &one.own).cmp(&(other.start_ms, &other.trace, &other.own))
    });
    Ok((spans, tally.close(path, wanted)?))
}

/// All of a span but its time.
fn spoken(span: Spoken, number: u64) -> Result<Span, Skip> {
    let own = loose::name(span.span_id).unwrap_or_else(|| format!("line:{number}"));
    let duration_ms = loose::number(&span.duration_ms).ok_or(NO_READING)?;
    if duration_ms < 0.0 {
        return Err((Reason::NoReading, "it ends before it starts"));
    }
    // An id of zeros is none.
    let is_id = |id: &String| id.len() < 16 || id.bytes().any(|digit| digit != b'0');
    Ok(Span {
        id: own.clone(),
        trace: loose::text(span.trace_id).unwrap_or_default(),
        own,
        parent: loose::name(span.parent_span_id).filter(is_id),
        service: loose::name(span.service).ok_or(NO_SERVICE)?,
        operation: loose::words(span.operation),
        start_ms: 0,
        duration_ms,
        failed: loose::failed(&span.status),
    })
}

fn each<T: DeserializeOwned>(
    path: &Path,
    tally: &mut Tally,
    mut take: impl FnMut(T, u64) -> Result<(), Skip>,
) -> Result<(), Failure> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut lines = Lines::new(file);
    while let Some(line) = lines.next().map_err(|error| unreadable(path, &error))? {
        let number = lines.number();
        let text = lines.text().trim_ascii();
        if line == Read::Whole && text.is_empty() {
            continue;
        }
        tally.count();
        if tally.all() > RECORDS {
            let what = format!("{} holds more than {RECORDS} records", path.display());
            return Err(Failure::new(what, "give the hours around the alert only"));
        }
        if line == Read::TooLong {
            tally.skip(Reason::Unreadable, number, "longer than a topic takes");
            continue;
        }
        match loose::record(text) {
            Err(told) => tally.skip(Reason::Unreadable, number, &told),
            Ok(record) => {
                if let Err((reason, detail)) = take(record, number) {
                    tally.skip(reason, number, detail);
                }
            }
        }
    }
    Ok(())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        format!("{} cannot be read: {error}", path.display()),
        "name a file that is there",
    )
}
