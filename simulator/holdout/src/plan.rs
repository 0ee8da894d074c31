//! Which anomalies a series gets, where, how strong; and whether they can be seen at all.

use crate::dice::Dice;
use crate::frame::{Event, Family, Shape};

/// Anomalies begin after this share of the points: a detector must be allowed to learn first.
const QUIET_SHARE: f64 = 0.15;
/// Share of a series that its windows cover together.
const WINDOW_SHARE: f64 = 0.10;
/// Least gap between two windows, as a share of the series.
const GAP_SHARE: f64 = 0.02;
/// Odds of 0, 1, 2, 3, 4 and 5 anomalies.
const ODDS: [f64; 6] = [0.125, 0.255, 0.30, 0.17, 0.10, 0.05];
/// Matched-filter signal-to-noise ratio below which nobody would agree with the label.
const LEAST_EVIDENCE: f64 = 9.0;
/// The strongest point of an anomaly stands at least this many noise units out.
const LEAST_PEAK: f64 = 2.5;
/// Share of its peak at which an anomaly is taken to have begun.
const ONSET_SHARE: f64 = 0.2;

/// Half the width of a window in points.
pub fn half_window(points: usize, anomalies: usize) -> usize {
    (points as f64 * WINDOW_SHARE / anomalies.max(1) as f64 / 2.0) as usize
}

/// Number of anomalies of a series.
pub fn draw_count(dice: &mut Dice) -> usize {
    let mut turn = dice.unit();
    for (count, odds) in ODDS.iter().enumerate() {
        if turn < *odds {
            return count;
        }
        turn -= odds;
    }
    ODDS.len() - 1
}

/// Places `count` anomalies of `family` on `points` points, in order of time.
pub fn draw(dice: &mut Dice, family: &Family, points: usize, count: usize) -> Vec<Event> {
    let half = half_window(points, count);
    let first = (points as f64 * QUIET_SHARE) as usize + half + 1;
    let last = points - half - 2;
    let apart = 2 * half + (points as f64 * GAP_SHARE) as usize;
    let free = (last - first).saturating_sub(apart * count.saturating_sub(1));
    let mut offsets: Vec<usize> = (0..count).map(|_| dice.index(free)).collect();
    offsets.sort_unstable();
    let moments: Vec<usize> = offsets
        .iter()
        .enumerate()
        .map(|(k, offset)| first + offset + k * apart)
        .collect();
    (0..count)
        .map(|k| {
            let next = moments.get(k + 1).copied();
            event(dice, family, (moments[k], next), points, half)
        })
        .collect()
}

fn event(
    dice: &mut Dice,
    family: &Family,
    (moment, next): (usize, Option<usize>),
    points: usize,
    half: usize,
) -> Event {
    let kind = &family.kinds[dice.index(family.kinds.len())];
    let room = (next.unwrap_or(points) - moment) as f64;
    let per_hour = 3600.0 / f64::from(family.interval_s);
    let span = match kind.shape {
        Shape::Blip => 1.0 + dice.index(3) as f64,
        // Ends before the next one begins; the last one may run out of the series.
        Shape::Spell(low, high) => {
            let drawn = (dice.magnitude(low, high) * per_hour).max(2.0);
            if next.is_some() {
                drawn.min(0.7 * room)
            } else {
                drawn
            }
        }
        // A slope whose window ends before anything is seen would be no fair question.
        Shape::Ramp(low, high) => {
            let longest = (3.0 * half as f64).min(0.8 * room);
            (dice.magnitude(low, high) * per_hour).clamp(4.0, longest)
        }
        Shape::Shift if dice.chance(0.6) => (points - moment) as f64,
        Shape::Shift => dice.between(0.3, 0.8) * room,
    };
    let span = (span as usize).max(1);
    // Nobody sees the very foot of a slope: a person marks it a little later.
    let foot = if matches!(kind.shape, Shape::Ramp(..)) {
        span / 5
    } else {
        0
    };
    let size = if dice.chance(0.15) {
        dice.between(1.0, 1.8)
    } else {
        dice.magnitude(0.2, 1.0)
    };
    let sign = if kind.both_ways && dice.chance(0.5) {
        -1.0
    } else {
        1.0
    };
    let fading = dice.chance(0.35);
    Event {
        kind: kind.name,
        shape: kind.shape,
        at: moment - foot.min(moment),
        moment,
        span,
        size,
        sign,
        fading,
    }
}

/// The index at which a person would mark the beginning of `event`, `None` if nobody would see
/// it within its window: the difference it makes must stand out of what the healthy series does
/// from one reading to the next.
///
/// A cyclic series falls out of step after the least disturbance, so that a difference point by
/// point proves nothing; there the stretch must differ from every healthy one.
pub fn onset(
    event: &Event,
    with: &[f64],
    without: &[f64],
    half: usize,
    cyclic: bool,
) -> Option<usize> {
    let end = (event.at + event.span.max(3))
        .min(event.moment + half)
        .min(with.len());
    if cyclic {
        let stretch = &with[event.at..end];
        return is_unheard_of(stretch, without).then_some(event.moment);
    }
    let noise = noise(without);
    let differences: Vec<f64> = (event.at..end)
        .map(|i| (with[i] - without[i]).abs())
        .collect();
    let length = differences.len().max(1) as f64;
    let peak = differences.iter().copied().fold(0.0, f64::max);
    let evidence = differences.iter().sum::<f64>() / (noise * length.sqrt());
    let sharp = matches!(event.shape, Shape::Blip) && peak >= LEAST_EVIDENCE * noise;
    if !sharp && (evidence < LEAST_EVIDENCE || peak < LEAST_PEAK * noise) {
        return None;
    }
    // A resource may hide its fault until it is used; a slope is seen once it has left the noise.
    let clear = (ONSET_SHARE * peak).max(noise);
    differences
        .iter()
        .position(|difference| *difference >= clear)
        .map(|i| event.at + i)
}

/// Whether mean, roughness, highest or lowest reading of `stretch` lie outside what every healthy
/// stretch of that length shows, by a twentieth of the range.
fn is_unheard_of(stretch: &[f64], healthy: &[f64]) -> bool {
    let length = stretch.len();
    let seen = features(stretch);
    let usual: Vec<[f64; 4]> = healthy
        .windows(length)
        .step_by((length / 3).max(1))
        .map(features)
        .collect();
    (0..seen.len()).any(|k| {
        let low = usual.iter().map(|one| one[k]).fold(f64::INFINITY, f64::min);
        let high = usual
            .iter()
            .map(|one| one[k])
            .fold(f64::NEG_INFINITY, f64::max);
        let margin = 0.05 * (high - low) + 1e-9;
        seen[k] < low - margin || seen[k] > high + margin
    })
}

fn features(values: &[f64]) -> [f64; 4] {
    let count = values.len() as f64;
    let steps = values
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).abs())
        .sum::<f64>()
        / count;
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    [values.iter().sum::<f64>() / count, steps, low, high]
}

/// Whether windows of `half` points to each side of the moments fit: apart from each other,
/// within the series, moments after the quiet beginning.
pub fn fits(events: &[Event], points: usize, half: usize) -> bool {
    let apart = events
        .windows(2)
        .all(|pair| pair[0].moment + 2 * half < pair[1].moment);
    let inside = |event: &Event| {
        event.moment >= half + (points as f64 * QUIET_SHARE) as usize
            && event.moment + half < points
    };
    apart && events.iter().all(inside)
}

/// Mean step from reading to reading, with a little of the total spread for very smooth series.
fn noise(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let steps: f64 = values
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).abs())
        .sum::<f64>()
        / count;
    let mean = values.iter().sum::<f64>() / count;
    let spread = (values
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>()
        / count)
        .sqrt();
    (steps + 0.02 * spread).max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step_at(at: usize) -> Event {
        let (kind, shape) = ("step", Shape::Shift);
        Event {
            kind,
            shape,
            at,
            moment: at,
            span: 200,
            size: 1.0,
            sign: 1.0,
            fading: false,
        }
    }

    /// Alternates between 0 and 1: every step is 1, the spread a half, the noise unit 1.01.
    fn alternating() -> Vec<f64> {
        (0..1000).map(|i| f64::from(i % 2)).collect()
    }

    fn raised(by: f64, from: usize) -> Vec<f64> {
        alternating()
            .iter()
            .enumerate()
            .map(|(i, value)| value + if i >= from { by } else { 0.0 })
            .collect()
    }

    #[test]
    fn a_label_without_a_difference_is_refused() {
        for cyclic in [false, true] {
            assert_eq!(
                onset(&step_at(600), &alternating(), &alternating(), 50, cyclic),
                None
            );
        }
        assert_eq!(
            onset(&step_at(600), &raised(2.0, 600), &alternating(), 50, false),
            None,
            "below 2.5 units"
        );
    }

    #[test]
    fn an_anomaly_begins_where_it_is_first_seen() {
        assert_eq!(
            onset(&step_at(600), &raised(3.0, 600), &alternating(), 50, false),
            Some(600)
        );
        assert_eq!(
            onset(&step_at(600), &raised(3.0, 620), &alternating(), 50, false),
            Some(620)
        );
        assert_eq!(
            onset(&step_at(600), &raised(3.0, 651), &alternating(), 50, false),
            None,
            "after its window"
        );
    }

    #[test]
    fn a_cycle_out_of_step_is_no_anomaly_but_a_higher_one_is() {
        let shifted: Vec<f64> = (0..1000).map(|i| f64::from((i + 1) % 2)).collect();
        assert_eq!(
            onset(&step_at(600), &shifted, &alternating(), 50, true),
            None
        );
        assert_eq!(
            onset(&step_at(600), &raised(0.5, 600), &alternating(), 50, true),
            Some(600)
        );
    }

    #[test]
    fn windows_that_would_touch_or_leave_the_series_do_not_fit() {
        assert!(fits(&[step_at(300), step_at(401)], 1000, 50));
        assert!(!fits(&[step_at(300), step_at(400)], 1000, 50));
        assert!(
            !fits(&[step_at(199)], 1000, 50),
            "window reaches into the quiet beginning"
        );
        assert!(!fits(&[step_at(950)], 1000, 50));
    }
}
