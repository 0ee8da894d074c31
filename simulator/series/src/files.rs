//! Series files, payload lines and verdicts as JSON Lines.

use crate::{Baseline, BaselineWatch, LabelledSeries, SeriesVerdicts};
use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::{BufRead, Write};

/// The service that interleaved series claim to come from.
const SERVICE: &str = "series";

/// Writes a series file: one series a line.
///
/// # Errors
/// Where the writer fails.
pub fn write_series(series: &[LabelledSeries], to: &mut impl Write) -> anyhow::Result<()> {
    for one in series {
        serde_json::to_writer(&mut *to, one)?;
        to.write_all(b"\n")?;
    }
    Ok(to.flush()?)
}

/// Reads a series file and checks what the scorer relies on.
///
/// # Errors
/// Names the line that is no series, or whose times, windows or name are not as
/// [`LabelledSeries`] says.
pub fn read_series(from: impl BufRead) -> anyhow::Result<Vec<LabelledSeries>> {
    let mut all: Vec<LabelledSeries> = Vec::new();
    let mut names = HashSet::new();
    for (number, line) in from.lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let here = || format!("series file, line {}", number + 1);
        let one: LabelledSeries = serde_json::from_str(&line).with_context(here)?;
        check(&one).with_context(here)?;
        if !names.insert(one.name.clone()) {
            bail!("{}: a second series named {}", here(), one.name);
        }
        all.push(one);
    }
    if all.is_empty() {
        bail!("the series file holds no series; make one with `midwatch-series generate`");
    }
    Ok(all)
}

fn check(one: &LabelledSeries) -> anyhow::Result<()> {
    if one.points.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        bail!("the times of {} do not increase strictly", one.name);
    }
    let mut before = i64::MIN;
    for (start, end) in &one.windows {
        if start > end || *start <= before {
            bail!("the windows of {} are not sorted and disjoint", one.name);
        }
        if !one
            .points
            .iter()
            .any(|(time, _)| (start..=end).contains(&time))
        {
            bail!("a window of {} holds no sample", one.name);
        }
        before = *end;
    }
    Ok(())
}

#[derive(Serialize, Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    service: Cow<'a, str>,
    #[serde(borrow)]
    metric_name: Cow<'a, str>,
    timestamp_ms: i64,
    metric_value: f64,
}

/// Writes the samples of all series as `raw.metrics` payloads in turn: the first
/// sample of each, then the second of each, until the longest has ended.
///
/// # Errors
/// Where the writer fails.
pub fn interleave(series: &[LabelledSeries], to: &mut impl Write) -> anyhow::Result<()> {
    let longest = series.iter().map(|one| one.points.len()).max().unwrap_or(0);
    for index in 0..longest {
        for one in series {
            let Some((timestamp_ms, metric_value)) = one.points.get(index).copied() else {
                continue;
            };
            let (service, metric_name) = (SERVICE.into(), one.name.as_str().into());
            let payload = Payload {
                service,
                metric_name,
                timestamp_ms,
                metric_value,
            };
            serde_json::to_writer(&mut *to, &payload)?;
            to.write_all(b"\n")?;
        }
    }
    Ok(to.flush()?)
}

/// Answers each payload line with a verdict line, as `midwatch detect` does, by
/// a classic detector.
///
/// # Errors
/// Names the line that is no payload, and where the writer fails.
pub fn judge_lines(
    kind: Baseline,
    mut from: impl BufRead,
    to: &mut impl Write,
) -> anyhow::Result<()> {
    let mut watches: HashMap<String, BaselineWatch> = HashMap::new();
    let (mut line, mut number) = (String::new(), 0);
    loop {
        line.clear();
        number += 1;
        let here = || format!("payloads, line {number}");
        if from.read_line(&mut line).with_context(here)? == 0 {
            return Ok(to.flush()?);
        }
        let payload: Payload<'_> = serde_json::from_str(&line).with_context(here)?;
        let watch = match watches.get_mut(payload.metric_name.as_ref()) {
            Some(watch) => watch,
            None => watches
                .entry(payload.metric_name.to_string())
                .or_insert_with(|| BaselineWatch::new(kind)),
        };
        let (anomaly_score, is_anomaly) = watch.observe(payload.metric_value);
        let verdict = Verdict {
            metric_name: payload.metric_name,
            timestamp_ms: payload.timestamp_ms,
            anomaly_score,
            is_anomaly,
        };
        serde_json::to_writer(&mut *to, &verdict)?;
        to.write_all(b"\n")?;
    }
}

#[derive(Serialize, Deserialize)]
struct Verdict<'a> {
    #[serde(borrow)]
    metric_name: Cow<'a, str>,
    timestamp_ms: i64,
    anomaly_score: f64,
    is_anomaly: bool,
}

/// Reads verdicts as `midwatch detect` prints them, by series name.
///
/// # Errors
/// Names the line that is no verdict.
pub fn read_verdicts(mut from: impl BufRead) -> anyhow::Result<HashMap<String, SeriesVerdicts>> {
    let mut all: HashMap<String, SeriesVerdicts> = HashMap::new();
    let (mut line, mut number) = (String::new(), 0);
    loop {
        line.clear();
        number += 1;
        if from
            .read_line(&mut line)
            .with_context(|| format!("verdicts, line {number}"))?
            == 0
        {
            return Ok(all);
        }
        if line.trim().is_empty() {
            continue;
        }
        let verdict: Verdict<'_> =
            serde_json::from_str(&line).with_context(|| format!("verdicts, line {number}"))?;
        let said = (
            verdict.timestamp_ms,
            verdict.anomaly_score,
            verdict.is_anomaly,
        );
        match all.get_mut(verdict.metric_name.as_ref()) {
            Some(verdicts) => verdicts.push(said),
            None => {
                all.insert(verdict.metric_name.into_owned(), vec![said]);
            }
        }
    }
}
