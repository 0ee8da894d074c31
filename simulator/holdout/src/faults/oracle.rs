//! Can it be seen? Judges with the truth in hand; never part of what is examined.

use std::collections::BTreeMap;

use super::logs::Line;
use super::meter::Row;
use super::signals::{Signal, is_symptom};
use super::traces::Span;

/// Which way a symptom is bad; none for what is no symptom.
fn bad_direction(signal: Signal) -> Option<f64> {
    match signal {
        Signal::Availability => Some(-1.0),
        Signal::Rate => None,
        signal if is_symptom(signal) => Some(1.0),
        _ => None,
    }
}

/// What a signal moves by without anybody caring, in base units.
fn trifle(signal: Signal) -> f64 {
    match signal {
        Signal::Errors => 0.05,
        Signal::ErrorShare | Signal::Availability => 0.02,
        Signal::Mean | Signal::P50 | Signal::P90 | Signal::P95 | Signal::P99 => 2.0,
        Signal::Lag => 100.0,
        Signal::Rate => 0.5,
        Signal::Queue | Signal::Threads => 2.0,
        Signal::Received | Signal::Sent | Signal::Written => 20.0,
        Signal::Retransmits => 1.0,
        Signal::Rtt | Signal::PoolWait | Signal::Locks => 3.0,
        Signal::Restarts => 0.5,
        _ => 0.06,
    }
}

/// Median and a robust spread of what is a number.
fn middle(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    if values.len() < 8 {
        return None;
    }
    values.sort_by(f64::total_cmp);
    let median = values[values.len() / 2];
    let mut far: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
    far.sort_by(f64::total_cmp);
    // The 90th percentile of the distances: a healthy day has its bad minutes.
    Some((median, far[far.len() * 9 / 10]))
}

/// Readings of one service, as they are recorded.
pub struct Readings<'a> {
    pub rows: &'a [Vec<Row>],
    pub service: usize,
    /// Intervals of the bad period: first, and one past the last.
    pub window: (usize, usize),
}

impl Readings<'_> {
    /// Intervals of the bad period in which `signal` is far from its ordinary day (towards `sign`, or either way).
    fn far(&self, signal: Signal, sign: Option<f64>) -> Vec<usize> {
        let at = |bin: usize| self.rows[bin][self.service][signal as usize];
        let before = self.window.0.saturating_sub(80)..self.window.0;
        let Some((median, spread)) = middle(before.map(at)) else {
            return Vec::new();
        };
        let limit = (3.0 * spread)
            .max(trifle(signal))
            .max(0.2 * median.abs() * f64::from(u8::from(signal != Signal::Availability)));
        let moved = |bin: &usize| {
            let by = at(*bin) - median;
            let by = sign.map_or(by.abs(), |sign| sign * by);
            by > limit
        };
        (self.window.0..self.window.1.min(self.rows.len()))
            .filter(moved)
            .collect()
    }

    /// The interval in which an alert on `signal` would fire; `lasting` asks for two in a row.
    pub fn alert(&self, signal: Signal, traffic: bool, lasting: bool) -> Option<usize> {
        let sign = bad_direction(signal);
        if sign.is_none() && !(signal == Signal::Rate && traffic) {
            return None;
        }
        let far = self.far(signal, sign);
        if far.len() < 2 {
            return None;
        }
        if !lasting {
            return far.first().copied();
        }
        far.windows(2)
            .find(|pair| pair[1] == pair[0] + 1)
            .map(|pair| pair[1])
    }

    /// Whether anything among `signals` differs for at least two intervals and a fifth of the bad period.
    pub fn differs(&self, signals: &[Signal]) -> bool {
        let enough = ((self.window.1 - self.window.0) / 5).max(2);
        signals
            .iter()
            .any(|signal| self.far(*signal, None).len() >= enough)
    }
}

/// A line without its numbers.
fn template(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    let words = first.split(' ').map(|word| {
        if word.bytes().any(|b| b.is_ascii_digit()) && !word.starts_with('s') {
            "#"
        } else {
            word
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Whether `service` writes lines in the bad period that it did not write before.
pub fn new_lines(lines: &[Line], service: usize, window_ms: (i64, i64)) -> bool {
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for line in lines
        .iter()
        .filter(|line| line.service == service && line.timestamp_ms < window_ms.1)
    {
        let count = counts.entry(template(&line.message)).or_default();
        if line.timestamp_ms < window_ms.0 {
            count.0 += 1;
        } else {
            count.1 += 1;
        }
    }
    counts
        .values()
        .any(|(before, after)| *before == 0 && *after >= 4)
}

/// Whether the spans of `service` fail or last otherwise, or bring about other calls, than before.
pub fn other_spans(spans: &[Span], service: usize, window_ms: (i64, i64)) -> bool {
    let mut children: BTreeMap<&str, f64> = BTreeMap::new();
    for span in spans {
        if let Some(parent) = &span.parent_span_id {
            *children.entry(parent).or_default() += 1.0;
        }
    }
    // Count, failures, time and children of each operation, before and within.
    let mut sums: BTreeMap<&str, [[f64; 4]; 2]> = BTreeMap::new();
    for span in spans
        .iter()
        .filter(|span| span.service == service && span.start_ms < window_ms.1)
    {
        let side = usize::from(span.start_ms >= window_ms.0);
        let sum = &mut sums.entry(&span.operation).or_default()[side];
        let failed = f64::from(u8::from(span.status == "ERROR"));
        let calls = children.get(span.span_id.as_str()).copied().unwrap_or(0.0);
        for (total, value) in sum.iter_mut().zip([1.0, failed, span.duration_ms, calls]) {
            *total += value;
        }
    }
    sums.values().any(|[before, after]| {
        if before[0] < 10.0 || after[0] < 5.0 {
            return false;
        }
        let mean = |side: &[f64; 4], i: usize| side[i] / side[0];
        let more = |i: usize| (mean(after, i) + 0.05) / (mean(before, i) + 0.05);
        mean(after, 1) - mean(before, 1) > 0.15
            || !(0.5..2.0).contains(&more(2))
            || !(0.6..1.7).contains(&more(3))
    })
}
