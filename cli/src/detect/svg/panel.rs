//! One series: band, expected value, readings, score and alerts.

use super::axes::{self, Scale};
use super::{counted, escape, put, tooltip};
use crate::detect::plot::{Bucket, Trace};
use crate::output;
use std::fmt::Write as _;

const LEFT: f64 = 76.0;
const RIGHT: f64 = 1016.0;
/// Distances from the top of the panel.
const CHART: (f64, f64) = (44.0, 182.0);
const STRIP: (f64, f64) = (189.0, 211.0);
/// So many times the usual distance without a sample is a gap in the line.
const GAP: i64 = 8;

/// What lies in one column of the picture.
type Column = Bucket;

/// Draws the panel whose top is at `top`.
pub fn draw(out: &mut String, trace: &Trace, index: usize, top: f64, common: Option<(i64, i64)>) {
    let Some(times) = common.or_else(|| axes::times(trace)) else {
        return;
    };
    let range = axes::values(trace);
    let unit = axes::unit(&trace.metric_name);
    // A single time lies in the middle of a second.
    let span = if times.0 < times.1 {
        (times.0 as f64, times.1 as f64)
    } else {
        (times.0 as f64 - 500.0, times.1 as f64 + 500.0)
    };
    let x = Scale::new(span, LEFT, RIGHT);
    let y = Scale::new(range, CHART.1, CHART.0);
    put(out, format_args!("<g transform=\"translate(0 {top})\">\n"));
    head(out, trace);
    grid(out, (times, &x), (range, &y), unit);
    put(
        out,
        format_args!(
            "<clipPath id=\"c{index}\"><rect x=\"{LEFT}\" y=\"{}\" width=\"{}\" height=\"{}\"/></clipPath>\n<g clip-path=\"url(#c{index})\">\n",
            CHART.0,
            RIGHT - LEFT,
            CHART.1 - CHART.0
        ),
    );
    let runs = runs(trace, &x);
    band(out, &runs, &x, &y);
    readings(out, &runs, &x, &y);
    out.push_str("</g>\n");
    score(out, &runs, &x);
    for alert in &trace.alerts {
        let (at, height) = (x.at(alert.at_ms as f64), y.at(alert.value));
        put(
            out,
            format_args!(
                "<g class=\"alert\"><title>{}</title><line class=\"hit\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{}\" y2=\"{}\"/>\
             <line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{}\" y2=\"{}\"/><circle cx=\"{at:.1}\" cy=\"{height:.1}\" r=\"4\"/></g>\n",
                tooltip(alert, unit),
                CHART.0,
                STRIP.1,
                CHART.0,
                STRIP.1
            ),
        );
    }
    out.push_str("</g>\n");
}

/// The names, how much there is, and why the gravest alert was raised.
fn head(out: &mut String, trace: &Trace) {
    let mut place = trace.service.clone();
    if let Some(environment) = &trace.environment {
        place = format!("{place} · {environment}");
    }
    let name = escape(&output::fit(&trace.name, 80));
    let place = escape(&output::fit(&place, 50));
    put(
        out,
        format_args!(
            "<text x=\"24\" y=\"16\"><tspan class=\"n\">{name}</tspan><tspan dx=\"10\">{place}</tspan></text>\n"
        ),
    );
    let samples = counted(trace.samples, "sample", "samples");
    let alerts = counted(trace.alert_count, "alert", "alerts");
    let class = if trace.alert_count > 0 {
        " class=\"w\""
    } else {
        ""
    };
    put(
        out,
        format_args!(
            "<text class=\"r\" x=\"{RIGHT}\" y=\"16\">{samples} · <tspan{class}>{alerts}</tspan></text>\n"
        ),
    );
    let kept = trace.alerts.len() as u64;
    let gravest = trace
        .alerts
        .iter()
        .max_by(|a, b| a.score.total_cmp(&b.score));
    let Some(gravest) = gravest else { return };
    let when = super::super::calendar::show(gravest.at_ms);
    let why = if gravest.reason.is_empty() {
        "unusual"
    } else {
        &gravest.reason
    };
    let more = if trace.alert_count > kept {
        format!(" (the first {kept} are drawn)")
    } else {
        String::new()
    };
    let text = escape(&output::fit(&format!("{when}: {why}"), 150));
    put(
        out,
        format_args!("<text x=\"24\" y=\"33\">{text}{more}</text>\n"),
    );
}

/// Lines and labels of both axes.
fn grid(
    out: &mut String,
    (times, x): ((i64, i64), &Scale),
    (range, y): ((f64, f64), &Scale),
    unit: &str,
) {
    let (ticks, step) = axes::value_ticks(range);
    for tick in ticks {
        let at = y.at(tick);
        let label = axes::tick_label(tick, step, unit);
        put(
            out,
            format_args!(
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/><text class=\"r\" x=\"{}\" y=\"{:.1}\">{label}</text>\n",
                LEFT - 8.0,
                at + 4.0
            ),
        );
    }
    for tick in axes::time_ticks(times.0, times.1) {
        let at = x.at(tick.at_ms as f64);
        put(
            out,
            format_args!(
                "<path class=\"grid\" d=\"M{at:.1} {}V{}\"/><text class=\"m\" x=\"{at:.1}\" y=\"{}\">{}</text>\n",
                CHART.0,
                STRIP.1 + 4.0,
                STRIP.1 + 17.0,
                tick.label
            ),
        );
        if let Some(date) = tick.date {
            put(
                out,
                format_args!(
                    "<text class=\"m\" x=\"{at:.1}\" y=\"{}\">{date}</text>\n",
                    STRIP.1 + 30.0
                ),
            );
        }
    }
    put(
        out,
        format_args!(
            "<rect class=\"strip\" x=\"{LEFT}\" y=\"{}\" width=\"{}\" height=\"{}\"/><path class=\"half\" d=\"M{LEFT} {}H{RIGHT}\"/><text class=\"r\" x=\"{}\" y=\"{}\">score</text>\n",
            STRIP.0,
            RIGHT - LEFT,
            STRIP.1 - STRIP.0,
            // From here on a score is an alert's.
            (STRIP.0 + STRIP.1) / 2.0,
            LEFT - 8.0,
            STRIP.1 - 7.0
        ),
    );
}

/// The trace by columns of the picture, in runs without a gap.
fn runs(trace: &Trace, x: &Scale) -> Vec<Vec<Column>> {
    let buckets = &trace.buckets;
    let mut distances: Vec<i64> = buckets
        .windows(2)
        .map(|pair| pair[1].from_ms - pair[0].to_ms)
        .collect();
    distances.sort_unstable();
    let usual = distances.get(distances.len() / 2).copied().unwrap_or(0);
    let mut runs: Vec<Vec<Column>> = Vec::new();
    let mut column = f64::NEG_INFINITY;
    let mut last_ms = i64::MIN / 2;
    for bucket in buckets {
        let here = x.at(bucket.from_ms as f64).floor();
        let is_gap = (bucket.from_ms - last_ms) / GAP > usual;
        last_ms = bucket.to_ms;
        if is_gap && here > column {
            runs.push(vec![*bucket]);
        } else if let Some(run) = runs.last_mut() {
            match run.last_mut() {
                Some(last) if here <= column => last.merge(bucket),
                _ => run.push(*bucket),
            }
        }
        column = column.max(here);
    }
    runs
}

/// The usual band and, dashed, what was expected.
fn band(out: &mut String, runs: &[Vec<Column>], x: &Scale, y: &Scale) {
    for part in runs
        .iter()
        .flat_map(|run| run.chunk_by(|a, b| a.band.is_some() == b.band.is_some()))
    {
        let known = part.iter().filter_map(|column| {
            Some((
                x.at(column.from_ms as f64),
                x.at(column.to_ms as f64),
                column.band?,
            ))
        });
        let known: Vec<(f64, f64, [f64; 3])> = known.collect();
        let mut area = String::new();
        let mut middle = String::new();
        // A path begins by moving to its first place.
        let go = |text: &mut String, at: f64, level: f64| {
            let letter = if text.is_empty() { 'M' } else { 'L' };
            put(text, format_args!("{letter}{at:.1} {:.1}", y.at(level)));
        };
        for (start, end, [expected, _, high]) in &known {
            for at in both(*start, *end) {
                go(&mut area, at, *high);
                go(&mut middle, at, *expected);
            }
        }
        for (start, end, [_, low, _]) in known.iter().rev() {
            both(*start, *end)
                .rev()
                .for_each(|at| go(&mut area, at, *low));
        }
        if !known.is_empty() {
            put(
                out,
                format_args!(
                    "<path class=\"band\" d=\"{area}Z\"/>\n<path class=\"expected\" d=\"{middle}\"/>\n"
                ),
            );
        }
    }
}

/// Both ends of a column, or its one place.
fn both(start: f64, end: f64) -> impl DoubleEndedIterator<Item = f64> {
    std::iter::once(start).chain((end - start > 1.0).then_some(end))
}

fn readings(out: &mut String, runs: &[Vec<Column>], x: &Scale, y: &Scale) {
    let mut path = String::new();
    for run in runs {
        let mut letter = 'M';
        for column in run {
            let mut ends = [column.lowest, column.highest];
            ends.sort_by_key(|end| end.0);
            let count = if ends[0] == ends[1] { 1 } else { 2 };
            for (at_ms, value) in &ends[..count] {
                put(
                    &mut path,
                    format_args!("{letter}{:.1} {:.1}", x.at(*at_ms as f64), y.at(*value)),
                );
                letter = 'L';
            }
        }
        // A reading on its own is a dot.
        path.push_str("h.1");
    }
    put(out, format_args!("<path class=\"line\" d=\"{path}\"/>\n"));
}

/// The highest score of each column, as an area that rises from the strip.
fn score(out: &mut String, runs: &[Vec<Column>], x: &Scale) {
    let scale = Scale::new((0.0, 1.0), STRIP.1, STRIP.0);
    let mut path = String::new();
    for run in runs {
        let mut end = 0.0;
        for (index, column) in run.iter().enumerate() {
            let start = x.at(column.from_ms as f64);
            let next = run
                .get(index + 1)
                .map_or(x.at(column.to_ms as f64), |next| x.at(next.from_ms as f64));
            // At least a hair wide, so that a single high score is seen.
            end = next.max(start + 1.0).min(RIGHT);
            let level = scale.at(column.score);
            if index == 0 {
                put(&mut path, format_args!("M{start:.1} {}", STRIP.1));
            }
            put(&mut path, format_args!("L{start:.1} {level:.1}H{end:.1}"));
        }
        write!(path, "L{end:.1} {}Z", STRIP.1).expect("a text in memory takes it");
    }
    put(out, format_args!("<path class=\"score\" d=\"{path}\"/>\n"));
}
