//! Scales, ticks and figures.

use crate::detect::calendar;
use crate::detect::plot::Trace;

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// Distances of ticks that people read without reckoning.
const STEPS: [i64; 25] = [
    1,
    10,
    100,
    SECOND,
    5 * SECOND,
    15 * SECOND,
    30 * SECOND,
    MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    4 * DAY,
    7 * DAY,
    14 * DAY,
    30 * DAY,
    90 * DAY,
    365 * DAY,
    3650 * DAY,
];
/// Labels of times that stand next to each other without touching.
const TIME_TICKS: i64 = 9;
/// More lines across a panel there are never.
const TICKS_MAX: u32 = 9;

/// A stretch of numbers and where it lies on the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    from: f64,
    to: f64,
    /// The place of `from` and of `to`.
    start: f64,
    end: f64,
}

impl Scale {
    pub fn new((from, to): (f64, f64), start: f64, end: f64) -> Scale {
        Scale {
            from,
            to,
            start,
            end,
        }
    }

    /// The place of a number.
    pub fn at(&self, number: f64) -> f64 {
        let whole = self.to - self.from;
        let share = if whole.is_finite() {
            (number - self.from) / whole
        } else {
            // Halves, so that the difference does not overflow.
            (number / 2.0 - self.from / 2.0) / (self.to / 2.0 - self.from / 2.0)
        };
        self.start + share.clamp(-2.0, 3.0) * (self.end - self.start)
    }
}

/// The times that all panels show, where they cover much the same.
pub fn common_times(traces: &[&Trace]) -> Option<(i64, i64)> {
    let spans: Vec<(i64, i64)> = traces.iter().filter_map(|trace| times(trace)).collect();
    let from = spans.iter().map(|span| span.0).min()?;
    let to = spans.iter().map(|span| span.1).max()?;
    let alike = spans.iter().all(|span| (span.1 - span.0) * 2 >= to - from);
    alike.then_some((from, to))
}

/// From the first to the last sample.
pub fn times(trace: &Trace) -> Option<(i64, i64)> {
    Some((trace.buckets.first()?.from_ms, trace.buckets.last()?.to_ms))
}

/// The values to show: all readings, and of the band what is not far off.
pub fn values(trace: &Trace) -> (f64, f64) {
    let buckets = &trace.buckets;
    let low = buckets
        .iter()
        .map(|bucket| bucket.lowest.1)
        .fold(f64::INFINITY, f64::min);
    let high = buckets
        .iter()
        .map(|bucket| bucket.highest.1)
        .fold(f64::NEG_INFINITY, f64::max);
    let half = high / 2.0 - low / 2.0;
    let (mut from, mut to) = (low, high);
    let beyond = half * 0.4;
    for [_, below, above] in buckets.iter().filter_map(|bucket| bucket.band) {
        from = from.min(below.max(low - beyond));
        to = to.max(above.min(high + beyond));
    }
    let room = match to / 2.0 - from / 2.0 {
        half if half > 0.0 => half * 0.16,
        // A flat line lies in the middle of something.
        _ if from == 0.0 => 1.0,
        _ => from.abs() * 0.1,
    };
    ((from - room).max(f64::MIN), (to + room).min(f64::MAX))
}

/// At least three round numbers within a stretch, and their distance.
pub fn value_ticks((from, to): (f64, f64)) -> (Vec<f64>, f64) {
    let span = (to - from).min(f64::MAX);
    let size = 10.0_f64.powf(span.log10().floor());
    for share in [5.0, 2.0, 1.0, 0.5, 0.2, 0.1] {
        let step = share * size;
        if !step.is_normal() {
            break;
        }
        let first = (from / step).ceil();
        let ticks = (0..=TICKS_MAX).map(|index| (first + f64::from(index)) * step);
        let mut ticks: Vec<f64> = ticks.filter(|tick| (from..=to).contains(tick)).collect();
        ticks.dedup();
        if ticks.len() >= 3 {
            return (ticks, step);
        }
    }
    // The numbers of this machine lie too far apart there.
    (vec![from, to], to - from)
}

/// A tick of time: where, and what stands there in one or two lines.
#[derive(Debug, PartialEq)]
pub struct TimeTick {
    pub at_ms: i64,
    pub label: String,
    /// The date below the first tick and below the first of each day.
    pub date: Option<String>,
}

pub fn time_ticks(from: i64, to: i64) -> Vec<TimeTick> {
    let rough = (to - from) / TIME_TICKS;
    let step = STEPS
        .iter()
        .copied()
        .find(|step| *step >= rough)
        .unwrap_or(rough + 1);
    let mut ticks = Vec::new();
    let mut at_ms = from.div_euclid(step) * step;
    let mut shown = None;
    while at_ms <= to {
        if at_ms >= from {
            let (label, date) = match calendar::date_and_clock(at_ms) {
                // Beyond the calendar a number is all there is.
                None => (format!("{at_ms} ms"), None),
                Some((date, _)) if step >= DAY => {
                    let (year, day) = date.split_at(date.len() - 6);
                    (day_and_month(day), Some(year.to_owned()))
                }
                Some((date, clock)) if step >= MINUTE => (clock[..5].to_owned(), Some(date)),
                Some((date, clock)) if step >= SECOND => (clock, Some(date)),
                Some((date, clock)) => (
                    format!("{}.{:03}", &clock[3..], at_ms.rem_euclid(SECOND)),
                    Some(date),
                ),
            };
            let is_new = date.is_some() && date != shown;
            if is_new {
                shown.clone_from(&date);
            }
            ticks.push(TimeTick {
                at_ms,
                label,
                date: date.filter(|_| is_new),
            });
        }
        at_ms += step;
    }
    ticks
}

/// `22 Nov` of `-11-22`.
fn day_and_month(text: &str) -> String {
    const NAMES: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let number = |text: &str| text.parse::<usize>().unwrap_or(1);
    format!(
        "{} {}",
        number(&text[4..]),
        NAMES[(number(&text[1..3]) + 11) % 12]
    )
}

/// The unit that a metric's name ends with.
pub fn unit(metric: &str) -> &'static str {
    let name = metric.to_ascii_lowercase();
    let word = name.rsplit(['_', '.', ' ', '-']).next().unwrap_or_default();
    match word {
        "percent" | "pct" => "%",
        "ms" | "millis" | "milliseconds" => "ms",
        "us" | "microseconds" => "µs",
        "ns" | "nanoseconds" => "ns",
        "s" | "seconds" => "s",
        "bytes" => "B",
        "kb" => "kB",
        "mb" => "MB",
        "gb" => "GB",
        "celsius" => "°C",
        "watts" => "W",
        "volts" => "V",
        _ => "",
    }
}

/// A number on its own, with its unit: three or four digits that count.
pub fn figure(number: f64, unit: &str) -> String {
    tick_label(number, number.abs() / 1000.0, unit)
}

/// A number that is told apart from others at a distance of `step`.
pub fn tick_label(number: f64, step: f64, unit: &str) -> String {
    let size = number.abs();
    let gap = if unit.is_empty() || unit == "%" {
        ""
    } else {
        "\u{a0}"
    };
    if size != 0.0 && !(1e-6..1e15).contains(&size) {
        return format!("{number:.2e}{gap}{unit}");
    }
    let (factor, prefix) = match size {
        0.0 => (1.0, ""),
        _ if step >= 1e9 || size >= 1e12 && step >= 1e8 => (1e9, "G"),
        _ if step >= 1e6 || size >= 1e7 && step >= 1e4 => (1e6, "M"),
        _ if step >= 1e3 || size >= 1e4 && step >= 10.0 => (1e3, "k"),
        _ => (1.0, ""),
    };
    let decimals = (-(step / factor).log10() - 1e-9).ceil().clamp(0.0, 9.0);
    let decimals = if step > 0.0 { decimals as usize } else { 0 };
    let text = format!("{:.decimals$}", number / factor);
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    let text = if text == "-0" { "0" } else { text };
    // `20 k ms` is no unit, and a percentage has no thousands.
    let between = if prefix.is_empty() { gap } else { "\u{a0}" };
    format!("{text}{between}{prefix}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few_whatever_the_range() {
        assert_eq!(value_ticks((0.0, 100.0)).0, [0.0, 50.0, 100.0]);
        assert_eq!(value_ticks((-3.0, 5.0)).0, [-2.0, 0.0, 2.0, 4.0]);
        for range in [
            (f64::MIN, f64::MAX),
            (0.0, 5e-324),
            (1e17, 1e17 + 16.0),
            (-1e-300, 1e-300),
            (1e300, 1.1e300),
        ] {
            let (ticks, _) = value_ticks(range);
            assert!((1..=10).contains(&ticks.len()), "{range:?}: {ticks:?}");
            let scale = Scale::new(range, 100.0, 0.0);
            assert!(
                ticks.iter().all(|tick| scale.at(*tick).is_finite()),
                "{range:?}"
            );
        }
        for (from, to) in [
            (0, 0),
            (0, 20_000 * MINUTE),
            (-calendar::LIMIT_MS, calendar::LIMIT_MS),
            (1_795_316_645_000, 1_795_316_645_007),
        ] {
            let ticks = time_ticks(from, to);
            assert!(
                (1..=11).contains(&ticks.len()),
                "{from} {to}: {}",
                ticks.len()
            );
        }
    }

    #[test]
    fn ticks_of_time_name_the_day_once() {
        let ticks = time_ticks(1_795_316_645_000, 1_795_316_645_000 + 30 * HOUR);
        let labels: Vec<&str> = ticks.iter().map(|tick| tick.label.as_str()).collect();
        assert_eq!(labels, ["06:00", "12:00", "18:00", "00:00", "06:00"]);
        let dates: Vec<&str> = ticks
            .iter()
            .filter_map(|tick| tick.date.as_deref())
            .collect();
        assert_eq!(dates, ["2026-11-22", "2026-11-23"]);
        let first = &time_ticks(1_795_316_645_000, 1_795_316_645_000 + 9 * DAY)[0];
        assert_eq!(
            (first.label.as_str(), first.date.as_deref()),
            ("23 Nov", Some("2026"))
        );
    }

    #[test]
    fn figures_are_short() {
        for (number, step, unit, text) in [
            (250.0, 50.0, "ms", "250\u{a0}ms"),
            (0.25, 0.05, "", "0.25"),
            (99.5, 0.5, "%", "99.5%"),
            (20_000.0, 5_000.0, "", "20\u{a0}k"),
            (1_500_000.0, 500_000.0, "B", "1500\u{a0}kB"),
            (0.0, 5_000.0, "s", "0\u{a0}s"),
            (1e20, 1e19, "", "1.00e20"),
            (-0.001, 0.5, "", "0"),
        ] {
            assert_eq!(tick_label(number, step, unit), text, "{number} {step}");
        }
        assert_eq!(figure(81.234_567, "ms"), "81.23\u{a0}ms");
        assert_eq!(unit("service_latency_p99_ms"), "ms");
    }
}
