//! Case folders under names that tell nothing, and the truth beside them.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::json;

use super::make::{Case, make};
use super::meter::Row;
use super::signals::Signal;
use super::{Class, Shape, Tally};
use crate::dice::{Dice, mix};

const ENVIRONMENT: &str = "recorded";

/// Writes `count` cases for `seed` into `DIR/cases`, the truth into `DIR/truth.jsonl` and the tally
/// into `DIR/tally.json`. Shapes and classes come in equal shares.
///
/// # Errors
/// If `out` already holds cases, or cannot be written.
pub fn generate(seed: u64, count: usize, out: &Path) -> anyhow::Result<Tally> {
    let cases = out.join("cases");
    ensure!(
        !cases.exists(),
        "{} already holds cases; name a new folder",
        out.display()
    );
    fs::create_dir_all(&cases).with_context(|| format!("cannot create {}", cases.display()))?;
    let mut planned: Vec<(u64, Shape, Class)> = (0..count)
        .map(|i| {
            let own = mix(mix(seed, 0x0FA7), i as u64);
            (own, Shape::ALL[i % 4], Class::ALL[(i / 4) % 7])
        })
        .collect();
    // Written in the order of their names, so that the files' times say nothing either.
    planned.sort_by_key(|(own, ..)| mix(*own, 1));
    let mut tally = Tally::default();
    let mut truths = Vec::new();
    for (own, shape, class) in planned {
        let (case, unseen) = make(own, shape, class);
        tally.redrawn += unseen;
        let Some(mut case) = case else {
            tally.dropped += 1;
            continue;
        };
        case.truth.case = format!("{:016x}", mix(own, 1));
        let folder = cases.join(&case.truth.case);
        fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        write(&case, own, &folder).with_context(|| format!("cannot write {}", folder.display()))?;
        tally.cases += 1;
        tally.far += usize::from(case.truth.hops >= 2);
        tally.red_herrings += usize::from(case.truth.red_herring.is_some());
        truths.push(case.truth);
    }
    lines(&out.join("truth.jsonl"), truths.iter())?;
    let text = serde_json::to_string_pretty(&tally)?;
    fs::write(out.join("tally.json"), text + "\n").context("cannot write tally.json")?;
    Ok(tally)
}

fn lines<T: Serialize>(path: &Path, items: impl Iterator<Item = T>) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut out = BufWriter::new(file);
    for item in items {
        serde_json::to_writer(&mut out, &item)?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

fn write(case: &Case, seed: u64, folder: &Path) -> anyhow::Result<()> {
    let mut dice = Dice::new(mix(seed, 2));
    let name = |s: usize| case.world.services[s].name.as_str();
    let mut services: Vec<serde_json::Value> = (0..case.world.services.len())
        .map(|s| {
            let mut on: Vec<&str> = case
                .edges
                .iter()
                .filter(|(from, _)| *from == s)
                .map(|(_, to)| name(*to))
                .collect();
            on.sort_unstable();
            json!({ "name": name(s), "depends_on": on })
        })
        .collect();
    services.sort_by_key(|service| service["name"].as_str().map(str::to_owned));
    fs::write(
        folder.join("topology.json"),
        serde_json::to_string(&json!({ "services": services }))?,
    )?;
    fs::write(
        folder.join("question.json"),
        serde_json::to_string(&case.truth.question)?,
    )?;
    lines(
        &folder.join("metrics.jsonl"),
        readings(case, &mut dice).into_iter(),
    )?;
    if !case.lines.is_empty() {
        let line = |line: &super::logs::Line| {
            let mut value = json!({
                "timestamp_ms": line.timestamp_ms, "service": name(line.service), "environment": ENVIRONMENT,
                "level": line.level, "message": line.message,
            });
            if let Some(trace) = &line.trace_id {
                value["trace_id"] = json!(trace);
            }
            value
        };
        lines(&folder.join("logs.jsonl"), case.lines.iter().map(line))?;
    }
    if !case.spans.is_empty() {
        let span = |span: &super::traces::Span| {
            json!({
                "trace_id": span.trace_id, "span_id": span.span_id, "parent_span_id": span.parent_span_id,
                "service": name(span.service), "operation": span.operation, "start_ms": span.start_ms,
                "duration_ms": span.duration_ms, "status": span.status, "labels": span.labels,
            })
        };
        lines(&folder.join("spans.jsonl"), case.spans.iter().map(span))?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Reading<'a> {
    timestamp_ms: i64,
    service: &'a str,
    environment: &'static str,
    metric_name: &'static str,
    metric_value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<serde_json::Value>,
}

/// Every reading, in order of time.
fn readings<'a>(case: &'a Case, dice: &mut Dice) -> Vec<Reading<'a>> {
    let mut all = Vec::new();
    let interval_ms = case.plan.interval_s * 1000.0;
    let lost = if dice.chance(0.4) {
        dice.between(0.001, 0.01)
    } else {
        0.0
    };
    for s in (0..case.world.services.len()).filter(|s| !case.unread[*s]) {
        let service = &case.world.services[s];
        let offset = dice.between(0.0, interval_ms.min(10_000.0)) as i64;
        let replicas = service.replicas as usize;
        let pods = case.pods.filter(|_| replicas > 1).map(|hot| hot == Some(s));
        let onset = case.plan.bin(case.plan.window_s.0);
        let shares: Vec<f64> = (0..replicas).map(|_| dice.between(0.9, 1.1)).collect();
        let usual = pods.map(|_| usual(case, s));
        for (bin, rows) in case.rows.iter().enumerate() {
            let timestamp_ms = case.plan.ms((bin + 1) as f64 * case.plan.interval_s) + offset;
            for signal in &case.signals {
                let Some((metric_name, factor)) = case.dialect.name(*signal, service.kind) else {
                    continue;
                };
                let value = rows[s][*signal as usize];
                if !value.is_finite() || dice.chance(lost) {
                    continue;
                }
                // Bytes carry the service's own limit.
                let factor = if factor == 0.0 {
                    service.memory_mb * 1e6
                } else {
                    factor
                };
                let mut push = |value: f64, pod: Option<usize>| {
                    all.push(Reading {
                        timestamp_ms,
                        service: &service.name,
                        environment: ENVIRONMENT,
                        metric_name,
                        metric_value: rounded(value * factor),
                        labels: pod.map(|pod| json!({ "pod": format!("{}-{pod}", service.name) })),
                    });
                };
                match (&usual, pods) {
                    (Some(usual), Some(hot)) => {
                        let normal = usual[*signal as usize];
                        for (pod, share) in shares.iter().enumerate() {
                            push(
                                of_pod(
                                    *signal,
                                    value,
                                    normal,
                                    ((pod + s) % replicas, replicas),
                                    *share,
                                    hot && bin >= onset,
                                ),
                                Some(pod),
                            );
                        }
                    }
                    _ => push(value, None),
                }
            }
        }
    }
    all.sort_by_key(|reading| reading.timestamp_ms);
    all
}

/// Mean readings of service `s` before the fault.
fn usual(case: &Case, s: usize) -> Row {
    let until = case.plan.bin(case.plan.window_s.0).max(1);
    let mut row = [0.0; super::signals::COUNT];
    for (signal, mean) in row.iter_mut().enumerate() {
        let values: Vec<f64> = case.rows[..until]
            .iter()
            .map(|rows| rows[s][signal])
            .filter(|v| v.is_finite())
            .collect();
        *mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    }
    row
}

/// What one of `replicas` shows where the service as a whole shows `value`.
fn of_pod(
    signal: Signal,
    value: f64,
    normal: f64,
    pod: (usize, usize),
    share: f64,
    hot: bool,
) -> f64 {
    let replicas = pod.1 as f64;
    let split = matches!(
        signal,
        Signal::Rate
            | Signal::Errors
            | Signal::Threads
            | Signal::Queue
            | Signal::Received
            | Signal::Sent
            | Signal::Retransmits
            | Signal::Written
            | Signal::Lag
    );
    if split {
        return value * share / replicas;
    }
    let full = matches!(
        signal,
        Signal::Cpu | Signal::Memory | Signal::Throttle | Signal::Sockets | Signal::DiskBusy
    );
    if hot && full {
        // One replica carries the whole deviation, as far as it goes.
        let own = if pod.0 == 0 {
            normal + (value - normal) * replicas
        } else {
            normal + (value - normal) * 0.1
        };
        return own.clamp(0.0, 1.0);
    }
    if matches!(
        signal,
        Signal::Availability | Signal::Hits | Signal::Pool | Signal::Restarts
    ) {
        return value;
    }
    if full {
        (value * (0.5 + 0.5 * share)).clamp(0.0, 1.0)
    } else {
        value * (0.5 + 0.5 * share)
    }
}

/// Six significant digits.
fn rounded(value: f64) -> f64 {
    if value == 0.0 {
        return 0.0;
    }
    let unit = 10f64.powi(5 - value.abs().log10().floor() as i32);
    (value * unit).round() / unit
}
