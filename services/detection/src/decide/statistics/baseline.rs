//! What is usual for the one question that wakes people: is this reading out
//! of its range, and has it been for long enough?
//!
//! A reading counts as explained if it is near the recent level **or** near
//! what this hour of such a day is like; it is out of range if neither
//! explains it, if it leaves a mature rhythm (the morning peak that does not
//! come), or if it lies far beyond everything of the days before (a drift that
//! the recent level follows). Distances are counted in the largest error of
//! the past day on that side ([`super::maxima`]), and called σ for the sake of
//! `SIGMA_THRESHOLD`: [`REFERENCE_SIGMA`] σ are the largest error.
//!
//! Nothing is learnt from a reading unless the life of the series
//! ([`crate::decide::series`]) says that it is usual.

use super::maxima::{DAY_MS, Maxima, Pace};
use super::season::Season;
use serde::{Deserialize, Serialize};

/// The σ that the largest error of the past day stands for. So the default
/// `SIGMA_THRESHOLD` is a quarter beyond it: over a fleet's day some reading
/// passes the largest error of the day before, and none should by so much.
pub const REFERENCE_SIGMA: f64 = 2.0;
/// The σ of a reading at the edge of what is usual, by the rhythm or the range.
const EDGE: f64 = 2.5;
/// Beyond this many σ a larger number says nothing more.
pub const SIGMA_CAP: f64 = 100.0;
/// Readings are held within this for arithmetic, single precision included.
/// No real unit comes near.
pub(super) const HUGE: f64 = 1e37;
/// σ never falls below 1 % of the level …
const RELATIVE_FLOOR: f64 = 0.01;
/// … nor below this, so that a series of zeros has a spread too.
const ABSOLUTE_FLOOR: f64 = 1e-9;
/// How long the recent level looks back. A fault that builds up in minutes
/// stands out against half an hour; the swing of a day does not.
const LEVEL_MS: f64 = 30.0 * 60_000.0;
/// … and never fewer samples than this, which alone would be noise.
const LEVEL_SAMPLES: f64 = 10.0;
/// An excursion that is over raises the largest error by this factor at most:
/// a lone outlier must not blind the series for a day.
const MOST: f64 = 2.0;
/// A reading within this part of the largest error says that an excursion is
/// over. While it goes on nothing is learnt of it: a fault that creeps up, each
/// reading a little larger than the last, would be learnt on its way.
const CALM: f64 = 0.5;
/// Until so many readings are known, each error counts at once.
const FEW: u64 = 50;
/// Half of the memory of the range is gone after so many days.
const RANGE_DAYS: f64 = 3.0;
/// Beyond the range of the past days by this part of its width: as far out as
/// the largest error.
const BEYOND_RANGE: f64 = 0.5;
/// Half of an error around the rhythm is forgotten after so many days.
const RHYTHM_DAYS: f64 = 7.0;
/// Days of a kind that must be known before a rhythm is trusted: after two, a
/// single odd day does not stand for all.
const TRUSTED_DAYS: u8 = 2;
/// A rhythm must have been left by this many times the largest error around
/// it: it is learnt hour by hour and knows less than the recent level does.
const RHYTHM_MARGIN: f64 = 1.5;

/// What is usual for one series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Baseline {
    samples: u64,
    level: f64,
    errors: Maxima,
    /// The largest errors of the excursion that goes on.
    excursion: Maxima,
    low: f64,
    high: f64,
    /// When the range began, epoch milliseconds.
    since_ms: i64,
    /// Around the rhythm of days: of the days before this one, and of this one.
    rhythm_errors: Maxima,
    rhythm_today: Maxima,
    day: i64,
}

/// How a reading compares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Distance {
    /// Signed, in σ; 0 where nothing is known.
    pub z: f64,
    pub expected: f64,
    /// The largest error of each side around `expected`.
    pub below: f64,
    pub above: f64,
}

impl Baseline {
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Compares `value` with what is known.
    pub fn judge(&self, at_ms: i64, value: f64, season: Option<&Season>) -> Distance {
        let value = value.clamp(-HUGE, HUGE);
        if self.samples == 0 {
            return Distance {
                z: 0.0,
                expected: value,
                below: 0.0,
                above: 0.0,
            };
        }
        let recent = self.distance(value, self.level, &self.errors);
        let Some(season) = season else {
            return self.beyond_range(at_ms, value, recent);
        };
        let around = |usual: f64| self.distance(value, usual, &self.rhythm_errors);
        let usual = season.usual(at_ms);
        let rhythm = usual.map(|usual| around(usual.value));
        let other = season.otherwise(at_ms).map(|usual| around(usual.value));
        let explained = |distance: &Distance| distance.z.abs() < EDGE;
        if let Some(explanation) = [rhythm, other].into_iter().flatten().find(explained) {
            return if explanation.z.abs() < recent.z.abs() {
                explanation
            } else {
                recent
            };
        }
        let trusted = usual.is_some_and(|usual| usual.days >= TRUSTED_DAYS);
        match rhythm {
            Some(rhythm) if trusted && rhythm.z.abs() >= RHYTHM_MARGIN * EDGE => {
                if explained(&recent) {
                    Distance {
                        z: rhythm.z / RHYTHM_MARGIN,
                        ..rhythm
                    }
                } else {
                    recent
                }
            }
            _ => self.beyond_range(at_ms, value, recent),
        }
    }

    /// A reading that the recent level explains may still lie far beyond all
    /// that was seen in days.
    fn beyond_range(&self, at_ms: i64, value: f64, recent: Distance) -> Distance {
        let width = self.high - self.low;
        let young = at_ms - self.since_ms < DAY_MS;
        if young || width <= 0.0 {
            return recent;
        }
        let out = if value > self.high {
            (value - self.high) / width
        } else {
            ((value - self.low) / width).min(0.0)
        };
        let z = (EDGE * out / BEYOND_RANGE).clamp(-SIGMA_CAP, SIGMA_CAP);
        if z.abs() > recent.z.abs() && z.abs() >= EDGE {
            Distance { z, ..recent }
        } else {
            recent
        }
    }

    fn distance(&self, value: f64, expected: f64, errors: &Maxima) -> Distance {
        // The largest of n normal errors grows with √(2 ln n); a day holds
        // thousands. So few samples count for less than they show.
        let unknown = 1.0 + 5.0 / (self.samples as f64).sqrt();
        let least = REFERENCE_SIGMA * (RELATIVE_FLOOR * expected.abs()).max(ABSOLUTE_FLOOR);
        let above = (errors.above * unknown).max(least);
        let below = (errors.below * unknown).max(least);
        let error = value - expected;
        let largest = if error >= 0.0 { above } else { below };
        Distance {
            z: (REFERENCE_SIGMA * error / largest).clamp(-SIGMA_CAP, SIGMA_CAP),
            expected,
            below,
            above,
        }
    }

    /// Takes in a usual reading; one far out counts as at the edge of what is
    /// usual. Returns the value that was taken in.
    pub fn learn(&mut self, at_ms: i64, value: f64, pace: &Pace, season: Option<&Season>) -> f64 {
        let value = value.clamp(-HUGE, HUGE);
        self.samples += 1;
        if self.samples == 1 {
            self.level = value;
            (self.low, self.high) = (value, value);
            self.since_ms = at_ms;
            return value;
        }
        let least = ABSOLUTE_FLOOR.max(1e-9 * self.level.abs());
        let error = value - self.level;
        self.learn_error(error, pace.fade(), least);
        let held = if self.samples < 10 {
            value
        } else {
            self.level + error.clamp(-self.errors.below, self.errors.above)
        };
        if let Some(usual) = season.and_then(|season| season.usual(at_ms)) {
            self.learn_rhythm_error(at_ms, value - usual.value);
        }
        let weight = pace
            .weight(LEVEL_MS, LEVEL_SAMPLES)
            .max(1.0 / self.samples as f64);
        self.level += weight * (held - self.level);
        let width = self.high - self.low;
        let forget = pace.interval_ms() / (RANGE_DAYS * DAY_MS as f64) * width / 2.0;
        self.high = (self.high - forget).max(held);
        self.low = (self.low + forget).min(held);
        held
    }

    fn learn_error(&mut self, error: f64, fade: f64, least: f64) {
        if self.samples < FEW {
            self.errors.learn(error, fade, least, MOST);
            return;
        }
        let largest = if error >= 0.0 {
            self.errors.above
        } else {
            self.errors.below
        };
        if error.abs() > CALM * largest {
            self.errors.learn(0.0, fade, least, MOST);
            self.excursion.learn(error, 1.0, least, f64::MAX);
        } else {
            let Maxima { above, below } = std::mem::take(&mut self.excursion);
            self.errors.learn(above, fade, least, MOST);
            self.errors.learn(-below, 1.0, least, MOST);
        }
    }

    /// A day's errors count from the next day on: a rhythm that changes over
    /// hours must not be learnt on its way.
    fn learn_rhythm_error(&mut self, at_ms: i64, error: f64) {
        let day = at_ms.div_euclid(DAY_MS);
        if day != self.day {
            self.day = day;
            let Maxima { above, below } = std::mem::take(&mut self.rhythm_today);
            let fade = 0.5_f64.powf(1.0 / RHYTHM_DAYS);
            self.rhythm_errors.learn(above, fade, 0.0, MOST);
            self.rhythm_errors.learn(-below, 1.0, 0.0, MOST);
        }
        self.rhythm_today.learn(error, 1.0, 0.0, f64::MAX);
    }

    /// Forgets what was usual in favour of `values`; returns by how much the
    /// level moved.
    pub fn relearn(&mut self, at_ms: i64, values: &[f64]) -> f64 {
        let before = self.level;
        let held: Vec<f64> = values.iter().map(|v| v.clamp(-HUGE, HUGE)).collect();
        let count = held.len().max(1) as f64;
        self.level = held.iter().sum::<f64>() / count;
        self.samples = held.len() as u64;
        self.errors = Maxima::default();
        for value in &held {
            self.errors.learn(value - self.level, 1.0, 0.0, f64::MAX);
        }
        self.rhythm_errors.above = self.rhythm_errors.above.max(self.errors.above);
        self.rhythm_errors.below = self.rhythm_errors.below.max(self.errors.below);
        self.low = held.iter().copied().fold(self.level, f64::min);
        self.high = held.iter().copied().fold(self.level, f64::max);
        self.since_ms = at_ms;
        self.level - before
    }
}
