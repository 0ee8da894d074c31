//! Reading recordings: files in, a [`Recording`] out, or what is wrong where.

use super::Options;
use crate::detect::lines::{Line as Read, Lines};
use crate::failure::Failure;
use midwatch_detection::decide::semantics::series_name;
use midwatch_events::raw::{RawLog, RawMetric, RawSpan, SpanStatus};
use midwatch_events::topology::EdgeSource;
use midwatch_investigation::rca::{Line, Recording, Series, Span};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

/// Readings, lines or spans of one file, at most: far above what one incident
/// leaves, and a bound for the memory.
const RECORDS: usize = 5_000_000;

#[derive(Deserialize)]
struct Topology {
    services: Vec<Service>,
}

#[derive(Deserialize)]
struct Service {
    name: String,
    #[serde(default)]
    depends_on: Vec<String>,
}

/// Reads every file that the options name.
///
/// # Errors
/// A file cannot be read, or a line of it is not what it should be; the
/// message names file and line.
pub fn recording(options: &Options) -> Result<Recording, Failure> {
    let mut recording = Recording::default();
    graph(&options.topology, &mut recording)?;
    recording.series = series(&options.metrics)?;
    if let Some(path) = &options.logs {
        recording.lines = lines(path)?;
    }
    if let Some(path) = &options.spans {
        recording.spans = spans(path)?;
    }
    Ok(recording)
}

fn graph(path: &Path, recording: &mut Recording) -> Result<(), Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    let read: Topology = serde_json::from_str(&text).map_err(|error| {
        Failure::new(
            format!("{} is no service graph: {error}", path.display()),
            "write {\"services\": [{\"name\": \"…\", \"depends_on\": [\"…\"]}]}",
        )
    })?;
    for service in read.services {
        for callee in &service.depends_on {
            recording
                .topology
                .add_call(&service.name, callee, EdgeSource::Catalogue);
        }
        recording.services.insert(service.name);
    }
    Ok(())
}

fn series(path: &Path) -> Result<Vec<Series>, Failure> {
    let mut read: BTreeMap<(String, String), Vec<(i64, f64)>> = BTreeMap::new();
    each(
        path,
        "a metric reading (service, metric_name, metric_value, timestamp_ms)",
        |metric: RawMetric| {
            let name =
                series_name(&metric.metric_name, &metric.labels).unwrap_or(metric.metric_name);
            let points = read.entry((metric.service, name)).or_default();
            points.push((metric.timestamp_ms, metric.metric_value));
        },
    )?;
    let series = read.into_iter().map(|((service, metric), mut points)| {
        // The last word about a moment counts.
        points.sort_by_key(|(at, _)| *at);
        points.reverse();
        points.dedup_by_key(|(at, _)| *at);
        points.reverse();
        Series {
            service,
            metric,
            points,
            ids: Vec::new(),
        }
    });
    Ok(series.collect())
}

fn lines(path: &Path) -> Result<Vec<Line>, Failure> {
    let mut read = Vec::new();
    each(
        path,
        "a log line (service, message, timestamp_ms, level)",
        |line: RawLog| {
            read.push(Line {
                id: format!("log:{}", read.len() + 1),
                service: line.service,
                at_ms: line.timestamp_ms,
                level: line.level,
                message: line.message,
            });
        },
    )?;
    read.sort_by_key(|line| line.at_ms);
    Ok(read)
}

fn spans(path: &Path) -> Result<Vec<Span>, Failure> {
    let mut read = Vec::new();
    each(
        path,
        "a span (trace_id, span_id, service, operation, start_ms, duration_ms)",
        |span: RawSpan| {
            read.push(Span {
                id: span.span_id.clone(),
                trace: span.trace_id,
                own: span.span_id,
                parent: span.parent_span_id,
                service: span.service,
                operation: span.operation,
                start_ms: span.start_ms,
                duration_ms: span.duration_ms,
                failed: span.status == SpanStatus::Error,
            });
        },
    )?;
    Ok(read)
}

fn each<T: DeserializeOwned>(
    path: &Path,
    wanted: &str,
    mut take: impl FnMut(T),
) -> Result<(), Failure> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut lines = Lines::new(file);
    let mut count = 0;
    while let Some(line) = lines.next().map_err(|error| unreadable(path, &error))? {
        let place = format!("{}, line {}", path.display(), lines.number());
        if line == Read::TooLong {
            let mend = "a line holds one record; the longest that raw topics take is 6 MB";
            return Err(Failure::new(format!("{place} is too long"), mend));
        }
        let text = lines.text().trim_ascii();
        if text.is_empty() {
            continue;
        }
        let record = serde_json::from_slice(text).map_err(|error| {
            Failure::new(
                format!("{place} is not {wanted}: {error}"),
                "mend or remove the line",
            )
        })?;
        take(record);
        count += 1;
        if count > RECORDS {
            let what = format!("{} holds more than {RECORDS} records", path.display());
            return Err(Failure::new(what, "give the hours around the alert only"));
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
