//! A metric as a drawing: the geometry is computed here, `chart.html` prints
//! it. Two sizes are made of each, because text in a drawing shrinks with it.

use super::format;
use super::score::{self, Spot, Strip};
pub use super::size::{HALF, NARROW, Size, WIDE};
use crate::series::{Point, Series};
use serde::Serialize;

/// A line of the grid, with its label.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tick {
    pub at: f64,
    pub label: String,
}

/// A reading that tells its value when pointed at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Dot {
    pub x: f64,
    pub y: f64,
    pub text: String,
}

/// The reading that detection decided on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mark {
    pub x: f64,
    pub y: f64,
    pub label: String,
    pub label_x: f64,
    /// `start` or `end`, so that the label stays inside.
    pub anchor: &'static str,
}

/// A drawing, ready to print.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Chart {
    pub size: Size,
    /// Where the plot ends, to the right and below.
    pub end_x: f64,
    pub end_y: f64,
    /// Where the times stand; below the scores, where there are any.
    pub axis_y: f64,
    pub strip: Option<Strip>,
    /// The readings that stood out, one for each stretch of the drawing.
    pub spots: Vec<Spot>,
    /// The normal range, one path for each stretch without gap.
    pub band: Vec<String>,
    /// The value that was expected.
    pub expected: String,
    /// A single baseline, where no expectation was recorded.
    pub baseline: Option<f64>,
    pub line: String,
    /// The part of the line inside the anomaly.
    pub hot: String,
    /// Left edge and width of the anomaly.
    pub region: Option<(f64, f64)>,
    pub mark: Option<Mark>,
    /// The reading that somebody cites.
    pub cursor: Option<Mark>,
    pub x_ticks: Vec<Tick>,
    pub y_ticks: Vec<Tick>,
    pub dots: Vec<Dot>,
    /// For those who hear the page.
    pub label: String,
}

/// The mapping from readings to the drawing.
pub(super) struct Scale {
    pub(super) size: Size,
    from_ms: f64,
    to_ms: f64,
    least: f64,
    most: f64,
    /// Where the plot ends below.
    pub(super) end_y: f64,
}

impl Scale {
    /// How wide the plot is.
    pub(super) fn width(&self) -> f64 {
        self.size.width - self.size.left - self.size.right
    }

    pub(super) fn x(&self, at_ms: i64) -> f64 {
        let share = (at_ms as f64 - self.from_ms) / (self.to_ms - self.from_ms);
        round(self.size.left + share.clamp(0.0, 1.0) * self.width())
    }

    pub(super) fn y(&self, value: f64) -> f64 {
        let share = (value - self.least) / (self.most - self.least);
        let height = self.end_y - self.size.top;
        round(self.size.top + (1.0 - share.clamp(0.0, 1.0)) * height)
    }

    /// What a reading says when pointed at.
    pub(super) fn told(&self, point: &Point, metric: &str) -> String {
        let mut told = format!(
            "{}: {}",
            format::clock(point.at_ms),
            format::measure(point.value, metric)
        );
        if let (Some(low), Some(high)) = (point.low, point.high) {
            told.push_str(&format!(
                ", normal {} to {}",
                format::number(low.max(self.least)),
                format::measure(high, metric)
            ));
        }
        if let Some(score) = point.score {
            told.push_str(&format!(", score {:.2}", score.clamp(0.0, 1.0)));
        }
        if !point.reason.is_empty() {
            told.push_str(&format!(": {}", point.reason));
        }
        told
    }
}

/// Tenths are finer than any screen shows.
pub(super) fn round(position: f64) -> f64 {
    (position * 10.0).round() / 10.0
}

/// Draws a series; `None` where there are too few readings for a line.
/// `end_ms` closes an anomaly whose own end is not recorded.
#[must_use]
pub fn draw(series: &Series, end_ms: Option<i64>, size: Size) -> Option<Chart> {
    let (first, last) = (series.points.first()?, series.points.last()?);
    if first.at_ms == last.at_ms {
        return None;
    }
    let stretches = stretches(&series.points, size.columns);
    let steps = nice_range(series);
    let axis_y = size.height - size.bottom;
    let has_scores = series.points.iter().any(|point| point.score.is_some());
    let scale = Scale {
        size,
        from_ms: first.at_ms as f64,
        to_ms: last.at_ms as f64,
        least: *steps.first()?,
        most: *steps.last()?,
        end_y: axis_y - if has_scores { size.strip } else { 0.0 },
    };
    let start = series.onset_ms.or(series.detected_at_ms);
    let stop = series.cleared_at_ms.or(end_ms).unwrap_or(last.at_ms);
    let region = start.map(|start| {
        let left = scale.x(start);
        (left, round((scale.x(stop) - left).max(2.0)))
    });
    let is_hot = |at_ms| start.is_some_and(|start| (start..=stop).contains(&at_ms));
    let has_band = series.points.iter().any(|point| point.low.is_some());
    Some(Chart {
        end_x: size.width - size.right,
        end_y: scale.end_y,
        axis_y,
        strip: score::strip(&scale, &series.points),
        spots: score::spots(&scale, &series.points, &series.metric),
        band: band(&scale, &stretches),
        expected: path(&scale, &stretches, |point| point.expected),
        baseline: series
            .baseline_value
            .filter(|_| !has_band)
            .map(|value| scale.y(value)),
        line: path(&scale, &stretches, |point| Some(point.value)),
        hot: path(&scale, &stretches, |point| {
            Some(point.value).filter(|_| is_hot(point.at_ms))
        }),
        region,
        mark: series
            .detected_at_ms
            .and_then(|at_ms| mark(&scale, series, at_ms, ("detected", series.observed_value))),
        cursor: series
            .cursor_ms
            .and_then(|at_ms| mark(&scale, series, at_ms, ("cited", None))),
        x_ticks: time_ticks(&scale, size.x_ticks),
        y_ticks: steps
            .iter()
            .map(|value| Tick {
                at: scale.y(*value),
                label: format::number(*value),
            })
            .collect(),
        dots: dots(&scale, &stretches, &series.metric),
        label: spoken(series, first, last),
        size,
    })
}

/// Steps of 1, 2 or 5 times a power of ten that cover readings and range.
fn nice_range(series: &Series) -> Vec<f64> {
    let values = series.points.iter().flat_map(|point| {
        [Some(point.value), point.low, point.high, point.expected]
            .into_iter()
            .flatten()
    });
    let all: Vec<f64> = values
        .chain(series.baseline_value)
        .filter(|value| value.is_finite())
        .collect();
    let most = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut least = all.iter().copied().fold(f64::INFINITY, f64::min);
    // Nothing that is counted or timed is negative, though a range may reach
    // below zero arithmetically.
    let negative = series.points.iter().any(|point| point.value < 0.0);
    if !negative && (least < 0.0 || least < most * 0.4) {
        least = 0.0;
    }
    let spread = (most - least).max(most.abs() * 0.02).max(1e-6);
    let rough = spread / 4.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough)
        .unwrap_or(10.0 * power);
    let from = (least / step).floor();
    let steps = ((least + spread) / step).ceil() - from;
    (0..=steps as i64)
        .map(|index| (from + index as f64) * step)
        .collect()
}

/// The readings to draw: those between two gaps together, and of each column
/// the lowest, the highest and the one that stood out most.
fn stretches(points: &[Point], columns: usize) -> Vec<Vec<&Point>> {
    let gap = gap_ms(points);
    let column = match points.len() {
        few if few <= columns * 2 => 1,
        many => many.div_ceil(columns),
    };
    points
        .chunk_by(|one, next| next.at_ms - one.at_ms <= gap)
        .map(|stretch| stretch.chunks(column).flat_map(thin).collect())
        .collect()
}

fn thin(column: &[Point]) -> Vec<&Point> {
    let by_value = |one: &&Point, other: &&Point| one.value.total_cmp(&other.value);
    let low = column.iter().min_by(by_value);
    let high = column.iter().max_by(by_value);
    let by_score = |one: &&Point, other: &&Point| {
        let score = |point: &Point| point.score.unwrap_or(0.0);
        score(one).total_cmp(&score(other))
    };
    let unusual = score::decided(column).max_by(by_score);
    let mut kept: Vec<&Point> = [low, high, unusual].into_iter().flatten().collect();
    kept.sort_by_key(|point| point.at_ms);
    kept.dedup_by_key(|point| point.at_ms);
    kept
}

/// A pause longer than five usual ones is a gap, which no line crosses.
pub(super) fn gap_ms(points: &[Point]) -> i64 {
    let mut pauses: Vec<i64> = points
        .windows(2)
        .map(|pair| pair[1].at_ms - pair[0].at_ms)
        .collect();
    pauses.sort_unstable();
    pauses
        .get(pauses.len() / 2)
        .map_or(i64::MAX, |usual| usual.max(&1_000) * 5)
}

fn path(scale: &Scale, stretches: &[Vec<&Point>], value: impl Fn(&Point) -> Option<f64>) -> String {
    let mut drawn = String::new();
    for stretch in stretches {
        let mut step = 'M';
        for point in stretch {
            let Some(reading) = value(point) else {
                step = 'M';
                continue;
            };
            let (x, y) = (scale.x(point.at_ms), scale.y(reading));
            drawn.push_str(&format!("{step}{x} {y}"));
            step = 'L';
        }
    }
    drawn
}

/// The normal range; where none was known it has a gap.
fn band(scale: &Scale, stretches: &[Vec<&Point>]) -> Vec<String> {
    let range = |point: &Point| Some((scale.x(point.at_ms), point.low?, point.high?));
    stretches
        .iter()
        .flat_map(|stretch| stretch.split(|point| range(point).is_none()))
        .filter(|known| !known.is_empty())
        .map(|known| {
            let ranges = || known.iter().filter_map(|point| range(point));
            let above = ranges().map(|(x, _, high)| (x, scale.y(high)));
            let below = ranges().rev().map(|(x, low, _)| (x, scale.y(low)));
            let corners: Vec<String> = above
                .chain(below)
                .map(|(x, y)| format!("{x} {y}"))
                .collect();
            format!("M{}Z", corners.join("L"))
        })
        .collect()
}

/// Marks a moment; without a value of its own that of the nearest reading.
fn mark(
    scale: &Scale,
    series: &Series,
    at_ms: i64,
    (word, value): (&str, Option<f64>),
) -> Option<Mark> {
    let nearest = series
        .points
        .iter()
        .min_by_key(|point| (point.at_ms - at_ms).abs())?;
    let observed = value.unwrap_or(nearest.value);
    let x = scale.x(at_ms);
    let label = format!(
        "{word} {} at {}",
        format::clock(at_ms),
        format::measure(observed, &series.metric)
    );
    // About seven units a letter; the label must not leave the drawing.
    let length = label.chars().count() as f64 * 7.2;
    let on_the_left = x > scale.size.width * 0.55;
    let label_x = if on_the_left {
        (x - 8.0).max(length)
    } else {
        (x + 8.0).min(scale.size.width - length).max(0.0)
    };
    Some(Mark {
        x,
        y: scale.y(observed),
        label,
        label_x: round(label_x),
        anchor: if on_the_left { "end" } else { "start" },
    })
}

fn time_ticks(scale: &Scale, wanted: i64) -> Vec<Tick> {
    let steps = [
        10, 20, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400,
    ];
    let (from, to) = (scale.from_ms as i64, scale.to_ms as i64);
    let rough = (to - from) / wanted;
    let step = steps
        .into_iter()
        .map(|seconds| seconds * 1_000)
        .find(|step| *step >= rough)
        .unwrap_or(86_400_000);
    let first = from.div_euclid(step) * step + step;
    (0..)
        .map(|index| first + index * step)
        .take_while(|at| *at <= to)
        .take(24)
        .map(|at| {
            let clock = format::clock(at);
            let label = if step < 60_000 {
                clock
            } else {
                clock[..5].to_owned()
            };
            Tick {
                at: scale.x(at),
                label,
            }
        })
        .collect()
}

fn dots(scale: &Scale, stretches: &[Vec<&Point>], metric: &str) -> Vec<Dot> {
    stretches
        .iter()
        .flatten()
        .map(|point| Dot {
            x: scale.x(point.at_ms),
            y: scale.y(point.value),
            text: scale.told(point, metric),
        })
        .collect()
}

fn spoken(series: &Series, first: &Point, last: &Point) -> String {
    let peak = series
        .points
        .iter()
        .map(|point| point.value)
        .fold(f64::NEG_INFINITY, f64::max);
    let stood_out = match score::decided(&series.points).count() {
        0 => String::new(),
        1 => "; one reading stood out".to_owned(),
        many => format!("; {many} readings stood out"),
    };
    format!(
        "{} of {} from {} to {}: at most {}{stood_out}",
        series.metric,
        series.service,
        format::clock(first.at_ms),
        format::clock(last.at_ms),
        format::measure(peak, &series.metric)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[(i64, f64)]) -> Series {
        let points = values
            .iter()
            .map(|(seconds, value)| Point {
                at_ms: seconds * 1_000,
                value: *value,
                expected: Some(100.0),
                low: Some(80.0),
                high: Some(120.0),
                ..Point::default()
            })
            .collect();
        Series {
            metric: "latency_ms".to_owned(),
            points,
            ..Series::default()
        }
    }

    #[test]
    fn the_axis_covers_readings_and_range_in_round_steps() {
        assert_eq!(
            nice_range(&series(&[(0, 100.0), (10, 730.0)])),
            [0.0, 200.0, 400.0, 600.0, 800.0]
        );
        let flat = nice_range(&series(&[(0, 100.0), (10, 101.0)]));
        assert_eq!((flat.first(), flat.last()), (Some(&80.0), Some(&120.0)));
        let below = nice_range(&series(&[(0, -10.0), (10, 100.0)]));
        assert!(below[0] <= -10.0);
    }

    #[test]
    fn a_gap_breaks_the_line_and_the_range() {
        let gapped = series(&[(0, 1.0), (10, 2.0), (20, 3.0), (300, 4.0), (310, 5.0)]);
        let chart = draw(&gapped, None, WIDE).unwrap();
        assert_eq!(chart.line.matches('M').count(), 2);
        assert_eq!(chart.band.len(), 2);
        assert_eq!(chart.dots.len(), 5);
    }

    #[test]
    fn the_anomaly_and_its_trigger_lie_inside_the_plot() {
        let mut ramp = series(&[
            (0, 100.0),
            (10, 100.0),
            (20, 400.0),
            (30, 700.0),
            (40, 100.0),
        ]);
        ramp.onset_ms = Some(20_000);
        ramp.detected_at_ms = Some(30_000);
        ramp.observed_value = Some(700.0);
        ramp.cursor_ms = Some(20_000);
        for size in [WIDE, NARROW] {
            let chart = draw(&ramp, Some(35_000), size).unwrap();
            let (left, width) = chart.region.unwrap();
            let mark = chart.mark.unwrap();
            assert!(left < mark.x && mark.x < left + width && left + width < chart.end_x);
            assert_eq!(mark.label, "detected 00:00:30 at 700 ms");
            let cursor = chart.cursor.unwrap();
            assert_eq!(cursor.label, "cited 00:00:20 at 400 ms");
            assert!(left <= cursor.x && cursor.x < mark.x);
            assert_eq!(chart.hot.matches(['M', 'L']).count(), 2);
        }
        assert_eq!(draw(&series(&[(0, 1.0)]), None, WIDE), None);
    }

    #[test]
    fn thinning_keeps_every_extreme_and_breaks_nothing() {
        let at = |index: i64| index + if index < 2_000 { 0 } else { 900 };
        let values: Vec<(i64, f64)> = (0..5_000)
            .map(|index| (at(index), if index == 3_333 { 900.0 } else { 100.0 }))
            .collect();
        let mut long = series(&values);
        long.points[4_444].score = Some(0.6);
        let thinned = stretches(&long.points, 100);
        let lengths: Vec<usize> = thinned.iter().map(Vec::len).collect();
        assert!(lengths.len() == 2 && lengths.iter().sum::<usize>() <= 203);
        let kept = |wanted: &Point| thinned.iter().flatten().any(|point| *point == wanted);
        assert!(kept(&long.points[3_333]) && kept(&long.points[4_444]));
        // The readings that are left lie further apart than a gap is long.
        let chart = draw(&long, None, NARROW).unwrap();
        assert_eq!(chart.line.matches('M').count(), 2);
        assert_eq!(chart.expected.matches('M').count(), 2);
        assert_eq!(chart.band.len(), 2);
    }
}
