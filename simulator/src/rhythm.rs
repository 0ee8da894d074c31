//! The fleet's day: load that swings over 24 hours and is lower at the weekend.
//!
//! Load 1 is the mean of a weekday, at which every metric has its documented
//! normal value; [`crate::fleet::Metric::under_load`] says how each follows it.
//! Hours are those of UTC, as timestamps are.

use crate::noise::stream;
use rand::RngExt;

pub const HOUR_MS: i64 = 3_600_000;
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// The step from a weekday to the weekend takes so long on either side of
/// midnight: people change their habits over the evening and not at once.
const EASE_MS: i64 = 2 * HOUR_MS;
/// How much of the second harmonic there is: a quick rise, a long evening.
const SECOND: f64 = 0.25;

/// A daily and weekly course of load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rhythm {
    /// By how much the peak of a weekday exceeds its mean, as a part of the mean.
    pub swing: f64,
    /// The hour of the peak, 0..24.
    pub peak_hour: f64,
    /// The load of a Saturday or Sunday, as a part of a weekday's.
    pub weekend: f64,
}

impl Rhythm {
    /// The rhythm of the documented fleet, where it has one.
    #[must_use]
    pub fn standard() -> Rhythm {
        Rhythm {
            swing: 0.4,
            peak_hour: 14.0,
            weekend: 0.7,
        }
    }

    /// The rhythm that belongs to this seed.
    #[must_use]
    pub fn drawn(seed: u64) -> Rhythm {
        let mut rng = stream(seed, &["rhythm"]);
        Rhythm {
            swing: rng.random_range(0.3..0.5),
            peak_hour: rng.random_range(11.0..20.0),
            weekend: rng.random_range(0.6..0.9),
        }
    }

    /// The load at a moment, epoch milliseconds; above 0.
    #[must_use]
    pub fn load(&self, at_ms: i64) -> f64 {
        let (before, after) = (self.level(at_ms - EASE_MS), self.level(at_ms + EASE_MS));
        let past_ms = (at_ms + EASE_MS).rem_euclid(DAY_MS).min(2 * EASE_MS);
        let level = before + (after - before) * real(past_ms) / real(2 * EASE_MS);
        level * self.weekday_load(at_ms)
    }

    /// The load if no day were a Saturday or Sunday.
    #[must_use]
    pub fn weekday_load(&self, at_ms: i64) -> f64 {
        let hour = real(at_ms.rem_euclid(DAY_MS)) / real(HOUR_MS);
        let angle = std::f64::consts::TAU * (hour - self.peak_hour) / 24.0;
        let course = (angle.cos() + SECOND * (2.0 * angle).cos()) / (1.0 + SECOND);
        1.0 + self.swing * course
    }

    /// The level of the day that a moment lies in.
    fn level(&self, at_ms: i64) -> f64 {
        // The epoch began on a Thursday: with three days before it, day 0 of a
        // week is a Monday.
        let day = (at_ms.div_euclid(DAY_MS) + 3).rem_euclid(7);
        if day >= 5 { self.weekend } else { 1.0 }
    }
}

/// Milliseconds as a real number.
#[expect(
    clippy::cast_precision_loss,
    reason = "days are far below 2^53 milliseconds"
)]
pub(crate) fn real(ms: i64) -> f64 {
    ms as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-16T00:00:00Z, a Monday (`date -ud 2026-11-16 '+%A %s'`).
    const MONDAY_MS: i64 = 1_794_787_200_000;

    fn at(day: i64, hour: i64) -> i64 {
        MONDAY_MS + day * DAY_MS + hour * HOUR_MS
    }

    #[test]
    fn the_peak_comes_at_its_hour_and_a_weekday_has_mean_one() {
        let rhythm = Rhythm::standard();
        assert!((rhythm.load(at(1, 14)) - 1.4).abs() < 1e-12);
        // At the trough the first harmonic is −1 and the second +1:
        // 1 + 0.4 × (−1 + 0.25) / 1.25.
        assert!((rhythm.load(at(2, 2)) - 0.76).abs() < 1e-12);
        let sum: f64 = (0..24).map(|hour| rhythm.load(at(1, hour))).sum();
        assert!((sum / 24.0 - 1.0).abs() < 1e-12, "{sum}");
    }

    #[test]
    fn saturday_and_sunday_are_lower_and_the_change_is_gradual() {
        let rhythm = Rhythm::standard();
        for (day, level) in [(4, 1.0), (5, 0.7), (6, 0.7), (7, 1.0)] {
            let noon = at(day, 12);
            let load = rhythm.load(noon) / rhythm.weekday_load(noon);
            assert!((load - level).abs() < 1e-12, "day {day}: {load}");
        }
        let midnight = rhythm.load(at(5, 0)) / rhythm.weekday_load(at(5, 0));
        assert!((midnight - 0.85).abs() < 1e-12, "half way: {midnight}");
        let ticks = 0..7 * DAY_MS / 10_000;
        let loads: Vec<f64> = ticks
            .map(|tick| rhythm.load(MONDAY_MS + tick * 10_000))
            .collect();
        for pair in loads.windows(2) {
            assert!((pair[1] - pair[0]).abs() < 0.002, "{pair:?}");
        }
    }

    #[test]
    fn drawn_rhythms_differ_and_never_stop_the_load() {
        let first = Rhythm::drawn(1);
        assert_eq!(first, Rhythm::drawn(1));
        assert_ne!(first, Rhythm::drawn(2));
        for seed in 0..50 {
            let rhythm = Rhythm::drawn(seed);
            for hour in 0..7 * 24 {
                let load = rhythm.load(at(0, hour));
                assert!((0.3..1.6).contains(&load), "{seed} {hour}: {load}");
            }
        }
    }
}
