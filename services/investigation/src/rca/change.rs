//! Whether a series changed, against what it did before.
//!
//! The question is not how many standard deviations the worst sample lies
//! away, but whether the series now stays where it never stayed in the normal
//! period. Means over short windows of equal length are compared: the windows
//! of the normal period say how far such a mean strays by itself.

use super::recording::{Question, Recording};

/// Samples of the normal period that remain when its end is set aside.
const FEWEST_NORMAL: usize = 12;
/// Deviations by which the mean of a series moves before it counts without
/// having left its range.
const CLEAR: f64 = 1.5;
/// Samples of a window, at most: a fault that lasts shows in as many.
const LONGEST_WINDOW: usize = 60;
/// Surprise at which more says nothing new.
const SURPRISE_LIMIT: f64 = 8.0;
/// The stated start of a fault may be as much too late.
const EARLY_MS: i64 = 60_000;
/// How often the normal reach may be exceeded before it means something: the
/// normal period is short, and its successor reaches a little farther.
const MARGIN: f64 = 1.25;

/// How a series differs since the fault began.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Median of the normal period.
    pub before: f64,
    /// Mean of the window since then that lies farthest from it.
    pub after: f64,
    /// Means of everything before, and since then.
    pub means: (f64, f64),
    /// log2 of how many times the normal reach the change is; 0 where it stays
    /// within, at most 8.
    pub surprise: f64,
    /// How far the mean of everything since lies from that of before, in
    /// standard deviations of before.
    pub shift: f64,
    /// First moment at which it is on its way, epoch milliseconds.
    pub onset_ms: i64,
    /// The middle of the window that lies farthest out.
    pub at_ms: i64,
    /// Samples before and since.
    pub counts: (usize, usize),
}

impl Change {
    /// The signed difference, in the metric's unit.
    #[must_use]
    pub fn by(&self) -> f64 {
        self.after - self.before
    }

    /// How many times the level it changed by, 0 or more; a level near zero
    /// counts as `floor`.
    #[must_use]
    pub fn relative(&self, floor: f64) -> f64 {
        self.by().abs() / self.before.abs().max(floor)
    }
}

/// When the alert's own series was away from its normal level, and how far.
/// What changed at other times explains the alert less.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Alert {
    start_ms: i64,
    end_ms: i64,
    /// Time and weight 0..1 of each sample since the start; empty where the
    /// series is unknown or did not change, and then all moments count alike.
    away: Vec<(i64, f64)>,
}

impl Alert {
    /// The weights that the series gives which the question is about.
    #[must_use]
    pub fn of(recording: &Recording, question: &Question) -> Alert {
        let mut alert = Alert {
            start_ms: question.start_ms,
            end_ms: question.end_ms,
            away: Vec::new(),
        };
        let mut best = 0.0;
        for series in &recording.series {
            let name = series.metric.split('{').next();
            let is_it = series.metric == question.target_metric
                || name == Some(question.target_metric.as_str());
            if series.service != question.target || !is_it {
                continue;
            }
            let points = super::counter::readings(series);
            let change = of(&points, question.start_ms, question.end_ms);
            let Some(change) = change.filter(|change| change.surprise > best) else {
                continue;
            };
            best = change.surprise;
            alert.away = alert
                .since(&points)
                .iter()
                .map(|(at, value)| {
                    let part = (value - change.before) / change.by();
                    (*at, part.clamp(0.0, 1.0))
                })
                .collect();
        }
        alert
    }

    fn since<'a>(&self, points: &'a [(i64, f64)]) -> &'a [(i64, f64)] {
        let from = points.partition_point(|(at, _)| *at < self.start_ms);
        let until = points.partition_point(|(at, _)| *at <= self.end_ms);
        &points[from..until.max(from)]
    }

    /// The weight of a moment: that of the nearest sample of the alert.
    fn weight(&self, at_ms: i64) -> f64 {
        let next = self.away.partition_point(|(at, _)| *at < at_ms);
        let around = [next.checked_sub(1), Some(next)];
        around
            .into_iter()
            .flatten()
            .filter_map(|index| self.away.get(index))
            .min_by_key(|(at, _)| (at - at_ms).abs())
            .map_or(1.0, |(_, weight)| *weight)
    }

    /// How far a series lies from its normal level on average, every moment
    /// weighted by how far the alert is away then; 0 where the series neither
    /// left its normal range nor moved by [`CLEAR`] of its deviations.
    #[must_use]
    pub fn aligned(&self, points: &[(i64, f64)], change: &Change) -> f64 {
        if change.surprise <= 0.0 && change.shift < CLEAR {
            return 0.0;
        }
        let (mut sum, mut weights) = (0.0, 0.0);
        for (at, value) in self.since(points) {
            let weight = self.weight(*at);
            sum += weight * (value - change.before);
            weights += weight;
        }
        if weights > 0.0 {
            sum / weights
        } else {
            change.by()
        }
    }
}

/// The middle of sorted values.
#[must_use]
pub fn median_of(sorted: &[f64]) -> f64 {
    let count = sorted.len();
    match count {
        0 => 0.0,
        _ if count % 2 == 1 => sorted[count / 2],
        _ => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

/// The value below which the share `q` of sorted values lies.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index of a vector, rounded"
)]
pub fn quantile_of(sorted: &[f64], q: f64) -> f64 {
    if sorted.is_empty() {
        return 0.0;
    }
    let place = (sorted.len() - 1) as f64 * q.clamp(0.0, 1.0);
    sorted[place.round() as usize]
}

/// The values in order.
#[must_use]
pub fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// Compares a series since `start_ms` with before; `None` where either side
/// has too few samples to say anything.
#[must_use]
pub fn of(points: &[(i64, f64)], start_ms: i64, end_ms: i64) -> Option<Change> {
    let split = points.partition_point(|(at, _)| *at < start_ms);
    let end = points.partition_point(|(at, _)| *at <= end_ms);
    // At least one sample, a minute at most, is left to a start that is stated
    // too late, where enough remain.
    let early = points.partition_point(|(at, _)| *at < start_ms - EARLY_MS);
    let early = early.min(split.saturating_sub(1));
    let quiet = if early >= FEWEST_NORMAL {
        early.max(split * 4 / 5)
    } else {
        split
    };
    let (normal, since) = (&points[..quiet], &points[split..end.max(split)]);
    if normal.len() < 4 || since.is_empty() {
        return None;
    }
    let before = sorted(normal.iter().map(|(_, value)| *value));
    let center = median_of(&before);
    let window = since
        .len()
        .div_ceil(3)
        .min(normal.len() / 4)
        .clamp(1, LONGEST_WINDOW);
    let usual = means(normal, window);
    let now = means(since, window);
    let reach = reach(&before, &usual, center);
    let (index, after) = now
        .iter()
        .copied()
        .enumerate()
        .max_by(|(_, one), (_, other)| {
            let far = |value: f64| out(value, center, reach);
            far(*one).total_cmp(&far(*other))
        })?;
    let times = out(after, center, reach) / MARGIN;
    let surprise = if times > 1.0 {
        times.log2().min(SURPRISE_LIMIT)
    } else {
        0.0
    };
    let at_ms = since[(index + window / 2).min(since.len() - 1)].0;
    Some(Change {
        shift: shift(normal, since, center),
        means: (mean(normal), mean(since)),
        before: center,
        after,
        surprise,
        onset_ms: onset(points, split, center, after, at_ms),
        at_ms,
        counts: (normal.len(), since.len()),
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts of samples")]
fn mean(points: &[(i64, f64)]) -> f64 {
    points.iter().map(|(_, value)| value).sum::<f64>() / points.len().max(1) as f64
}

/// Never against less than a thousandth of the level.
#[expect(clippy::cast_precision_loss, reason = "counts of samples")]
fn shift(normal: &[(i64, f64)], since: &[(i64, f64)], center: f64) -> f64 {
    let (was, is) = (mean(normal), mean(since));
    let squares: f64 = normal.iter().map(|(_, value)| (value - was).powi(2)).sum();
    let deviation = (squares / normal.len() as f64).sqrt();
    (is - was).abs() / deviation.max(0.001 * center.abs()).max(1e-9)
}

/// How far the normal period reaches below and above its median. Never less
/// than what its spread and its level allow: a flat series that moves by a
/// thousandth is not out of the ordinary.
fn reach(before: &[f64], usual: &[f64], center: f64) -> (f64, f64) {
    let lowest = usual.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = usual.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let spread = (quantile_of(before, 0.84) - quantile_of(before, 0.16)) / 2.0;
    let largest = before
        .iter()
        .fold(0.0, |most: f64, value| most.max(value.abs()));
    // A series of nothing but zeros: one thousandth of what it may become.
    let floor = (0.02 * center.abs())
        .max(0.5 * spread)
        .max(0.005 * largest)
        .max(1e-9);
    ((center - lowest).max(floor), (highest - center).max(floor))
}

/// How many times its side's reach a value lies from the center.
fn out(value: f64, center: f64, (below, above): (f64, f64)) -> f64 {
    if value >= center {
        (value - center) / above
    } else {
        (center - value) / below
    }
}

/// Means of every window of that many samples.
#[expect(
    clippy::cast_precision_loss,
    reason = "a window has at most 60 samples"
)]
fn means(points: &[(i64, f64)], window: usize) -> Vec<f64> {
    points
        .windows(window)
        .map(|some| some.iter().map(|(_, value)| value).sum::<f64>() / window as f64)
        .collect()
}

/// The first sample of the run that leads to the farthest window without
/// falling back below a third of the change; at most a sample or a minute
/// before the stated start.
fn onset(points: &[(i64, f64)], split: usize, center: f64, after: f64, at_ms: i64) -> i64 {
    let third = (after - center) / 3.0;
    let is_away = |value: f64| (value - center) / third >= 1.0;
    let peak = points.partition_point(|(at, _)| *at <= at_ms).max(1) - 1;
    let early_ms = points.get(split).map_or(i64::MIN, |(at, _)| at - EARLY_MS);
    let earliest = points
        .partition_point(|(at, _)| *at < early_ms)
        .min(split.saturating_sub(1));
    let mut first = peak;
    // One sample that falls back is noise; two in a row are the end.
    let mut index = peak;
    let mut back = 0;
    while index > earliest {
        index -= 1;
        if is_away(points[index].1) {
            first = index;
            back = 0;
        } else {
            back += 1;
            if back > 1 {
                break;
            }
        }
    }
    points[first].0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(index: i64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let angle = index as f64 * 0.7;
        100.0 + 5.0 * angle.sin()
    }

    #[test]
    fn what_goes_on_as_before_is_no_surprise() {
        let points: Vec<(i64, f64)> = (0..200).map(|i| (i * 1000, wave(i))).collect();
        let change = of(&points, 150_000, 200_000).expect("enough samples");
        assert_eq!(change.surprise, 0.0);
    }

    #[test]
    fn a_step_is_found_where_it_begins_and_by_how_much() {
        let points: Vec<(i64, f64)> = (0..200)
            .map(|i| (i * 1000, if i < 160 { wave(i) } else { wave(i) + 100.0 }))
            .collect();
        let change = of(&points, 150_000, 200_000).expect("enough samples");
        assert_eq!(change.onset_ms, 160_000);
        assert!((change.by() - 100.0).abs() < 6.0, "{change:?}");
        // Means of 16 samples stray by less than two from 100: some fifty
        // times as far.
        assert!(change.surprise > 3.0, "{change:?}");
    }

    #[test]
    fn a_level_that_was_there_before_is_normal() {
        let points: Vec<(i64, f64)> = (0..200)
            .map(|i| (i * 1000, if i < 60 { wave(i) } else { wave(i) + 100.0 }))
            .collect();
        let change = of(&points, 150_000, 200_000).expect("enough samples");
        assert_eq!(change.surprise, 0.0);
    }

    #[test]
    fn too_few_samples_say_nothing() {
        let points = [(0, 1.0), (1, 1.0), (2, 9.0)];
        assert_eq!(of(&points, 2, 10), None);
    }
}
