//! Which series the alert is about, and when it fired.

use crate::draw::Draw;
use crate::family::Family;
use crate::graph::Role;
use crate::metrics::{Gauge, Instruments, Kind};
use crate::plan::{Plan, Shape};
use midwatch_events::raw::RawMetric;

/// The series that the alert is about.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub service: String,
    pub metric: &'static str,
    pub at_ms: i64,
    /// How far it moved, in its own normal spread.
    pub shift: f64,
}

/// Samples of one series: (time, value).
type Series = Vec<(f64, f64)>;

/// The entry's series above the culprit that moved most; the alert fires
/// some time after it left its normal range.
pub(crate) fn choose(
    draw: &mut Draw,
    plan: &Plan,
    instruments: &Instruments,
    metrics: &[RawMetric],
) -> Target {
    let entries: Vec<usize> = match plan.culprits.first() {
        Some((culprit, _)) => plan.system.entries_above(*culprit),
        None => (0..plan.system.services.len())
            .filter(|index| plan.system.services[*index].role == Role::Entry)
            .collect(),
    };
    let mut best: Option<Target> = None;
    // Half of the false alarms are about what moved most by chance.
    let any = plan.family == Family::Healthy && draw.chance(0.5);
    for entry in entries {
        let name = &plan.system.services[entry].name;
        let traffic = series(
            metrics,
            name,
            |kind| matches!(kind, Kind::Rate | Kind::Count),
            instruments,
        );
        let usual = mean(&within(&traffic, plan.times.first_ms, plan.times.start_ms));
        for gauge in &instruments.gauges {
            if !gauge.kind.about_time() && !gauge.kind.about_errors() {
                continue;
            }
            let values = series(metrics, name, |kind| kind == gauge.kind, instruments);
            let Some((at_ms, mut shift)) = alert(draw, &values, plan, noticeable(gauge, usual))
            else {
                continue;
            };
            if any {
                shift = draw.unit();
            }
            if best.as_ref().is_none_or(|best| shift > best.shift) {
                best = Some(Target {
                    service: name.clone(),
                    metric: gauge.name,
                    at_ms,
                    shift,
                });
            }
        }
    }
    best.expect("every entry is measured before and after the start")
}

/// How far the culprits' own series moved: of each the loudest, of these the
/// least; infinite where nobody measures them.
pub(crate) fn of_culprits(
    draw: &mut Draw,
    plan: &Plan,
    instruments: &Instruments,
    metrics: &[RawMetric],
) -> f64 {
    let mut least = f64::INFINITY;
    for (culprit, _) in &plan.culprits {
        let name = &plan.system.services[*culprit].name;
        let loudest = instruments
            .gauges
            .iter()
            .filter_map(|gauge| {
                let values = series(metrics, name, |kind| kind == gauge.kind, instruments);
                alert(draw, &values, plan, noticeable(gauge, 1.0))
            })
            .map(|(_, shift)| shift)
            .reduce(f64::max);
        least = least.min(loudest.unwrap_or(f64::INFINITY));
    }
    least
}

/// The series of one service whose gauge is of such a kind.
fn series(
    metrics: &[RawMetric],
    service: &str,
    wanted: impl Fn(Kind) -> bool,
    instruments: &Instruments,
) -> Series {
    let Some(gauge) = instruments.gauges.iter().find(|gauge| wanted(gauge.kind)) else {
        return Vec::new();
    };
    metrics
        .iter()
        .filter(|sample| sample.service == service && sample.metric_name == gauge.name)
        .map(|sample| (sample.timestamp_ms as f64, sample.metric_value))
        .collect()
}

/// A shift below a third of this is too small for an alert whatever the
/// spread: of errors, 1 % of the requests.
fn noticeable(gauge: &Gauge, usual: f64) -> f64 {
    match gauge.kind {
        Kind::ErrorCount | Kind::ErrorRate => (0.01 * usual).max(1e-3),
        Kind::ErrorPercent | Kind::AvailabilityPercent => 1.0,
        _ if gauge.kind.about_errors() => 0.01,
        _ => 0.0,
    }
}

/// When a series set off the alert, and by how many normal spreads it moved
/// in all; nothing where one side has no samples.
fn alert(draw: &mut Draw, series: &Series, plan: &Plan, noticeable: f64) -> Option<(i64, f64)> {
    let times = plan.times;
    let before = within(series, times.first_ms, times.start_ms);
    let after = within(series, times.start_ms.max(times.onset_ms), times.end_ms);
    if before.is_empty() || after.is_empty() {
        return None;
    }
    let centre = mean(&before);
    let squares: Vec<f64> = before.iter().map(|x| (x - centre).powi(2)).collect();
    let spread = mean(&squares)
        .sqrt()
        .max(centre.abs() * 0.02)
        .max(noticeable / 3.0)
        .max(1e-9);
    let least = times.start_ms.max(times.onset_ms) + times.interval_ms * 0.5;
    let most = times.end_ms - times.interval_ms;
    let far = |value: f64| (value - centre).abs() > 3.0 * spread;
    let crossed = series
        .windows(2)
        .find(|pair| pair[0].0 >= least && far(pair[0].1) && far(pair[1].1))
        .map_or(least + 0.3 * (most - least).max(0.0), |pair| pair[0].0);
    let patience = match plan.shape {
        Shape::A => f64::from(u8::from(draw.chance(0.4))) * times.interval_ms,
        _ => draw.pick(&[0.0, 10_000.0, 30_000.0, 60_000.0, 120_000.0]),
    };
    let at_ms = (crossed + patience)
        .min(most)
        .max(times.start_ms + times.interval_ms);
    Some((at_ms as i64, (mean(&after) - centre).abs() / spread))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn within(series: &Series, from: f64, until: f64) -> Vec<f64> {
    series
        .iter()
        .filter(|(at, _)| *at >= from && *at < until)
        .map(|(_, value)| *value)
        .collect()
}
