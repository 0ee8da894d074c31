//! When a growing resource will be full: memory, disk, connections of a pool.
//!
//! A forecast is a straight line that is drawn further, and most lines that
//! point upwards mean nothing: garbage collection saws, days have mornings, a
//! deployment moves a level once, a random walk walks. Four questions keep
//! them apart, each answered in constant time from less than 200 bytes.
//!
//! 1. **Since when does it rise?** A rise counts from its lowest point, as
//!    long as it makes new peaks and gives back no more than a third of itself.
//!    It must also stand out of the noise: otherwise it begins anew.
//! 2. **Is it a line?** All readings of the rise are fitted by least squares
//!    (recursive moments: D. H. D. West, *Updating mean and variance
//!    estimates*, CACM 22(9), 1979). The slope must exceed [`SURE`] standard
//!    errors. What lies about the line is seldom independent, so the error is
//!    widened by √R, where R is the variance about the line over the variance
//!    that successive differences show (J. von Neumann, *Distribution of the
//!    ratio of the mean square successive difference to the variance*, 1941).
//!    R is about 1 for independent noise. For a random walk it grows with the
//!    length, just so that its accidental slopes stay at a few errors.
//! 3. **Does it go on?** The same fit with weights that fade over 2.5, 15 and
//!    90 minutes must still climb at half the pace: the longest that
//!    lies within the newer part of the rise. After a step, and towards the top
//!    of a day, it does not.
//! 4. **Is it new, and how far may it be drawn?** The highest peak of earlier
//!    rises is the *ceiling*, which is forgotten over two weeks. What lies below
//!    it has been seen before and proves nothing. Growth beyond the ceiling for
//!    an hour carries a forecast of three quarters of an hour
//!    ([`is_alarming`]), so the alarm comes when a little more than half of the
//!    room above the ceiling is used up, almost as long before the end as the
//!    growth has lasted. A rise that nothing is known from before of (the first
//!    tooth of a saw) is no evidence.
//!
//! Values are divided by the limit first, so that no unit and no scale matters.
//! `tests/forecast.rs` prints how often each healthy shape alarms in a month,
//! and how long before the end each leak is told.

use crate::decide::exact;
use crate::decide::single::Single;
use serde::{Deserialize, Serialize};

/// How fast the weights of the windows fade, minutes. Each is six times the
/// one before: nearer ones say the same.
const WINDOWS: [f32; 3] = [2.5, 15.0, 90.0];
/// Readings (by weight) below which a fit says nothing: of fewer, the variance
/// about the line is too uncertain to judge the slope by.
const READINGS: f32 = 6.0;
/// Standard errors of a slope that is no accident. That a rise begins at its
/// lowest point is a choice among many lines: at 8, a random walk with readings
/// each minute alarms once in three months, at 12 once in seven. Leaks reach 12
/// within 20 readings if they are steep, and long before the end if not.
const SURE: f32 = 12.0;
/// Standard errors of a window that climbs at all.
const CLIMBING: f32 = 4.0;
/// The share of a rise that the window which must still climb may span.
const NEWER: f32 = 0.4;
/// The share of the rise's pace that it must still have.
const GOES_ON: f32 = 0.5;
/// How quickly the level follows: about the last dozen readings.
const FOLLOW: f32 = 0.15;
/// A rise that gives back more than this share of itself is over …
const GIVEN_BACK: f32 = 0.35;
/// … if that is more than this many deviations of the noise of a quarter of an
/// hour. With 1.5, wandering noise hides one slow leak in eight.
const NOISE: f32 = 3.0;
/// A level within so many deviations of the lowest has not risen yet. Without
/// it a rise begins at some chance low of the quiet before, and the bend spoils
/// the line.
const NEAR: f32 = 1.0;
/// A rise without a new peak for this share of its length has stalled, unless
/// a window climbs: under noise, a slow leak has no new peak for half an hour.
const STALLED: f32 = 0.5;
/// What must be known from before a rise, as a share of its length.
const BEFORE: f32 = 0.1;
/// How slowly the ceiling is forgotten, minutes: two weeks, so that a weekend
/// does not make Monday new.
const FORGET: f32 = 14.0 * 1440.0;
/// Whoever has not seen a day draws no line further than this, minutes: a
/// morning's rise lasts for hours, and only yesterday tells it from a leak.
const FIRST_DAY: f32 = 90.0;
const DAY: f32 = 1440.0;
/// Growth without a limit counts from this multiple of the ceiling.
const MULTIPLE: f32 = 4.0;
/// How much of what has been seen a line is drawn further; its own end moves.
const FURTHER: f64 = 0.8;
/// The age from which growth without a limit is told, minutes.
const AGE: f64 = 30.0;

/// What is to be expected of a growing resource.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlook {
    /// Until the limit is reached at this pace; 0 at or above the limit,
    /// infinite where there is no limit.
    pub minutes_left: f64,
    /// 0.375..1: how sure the slope is, and that it goes on.
    pub confidence: f64,
    /// In the value's unit.
    pub slope_per_hour: f64,
    /// For how long it has grown beyond what was seen before: how far ahead
    /// the line may be drawn. The age of a backlog that has no limit.
    pub fit_minutes: f64,
}

/// Whether somebody should hear of it: the limit is no farther away than four
/// fifths of the time that growth has been seen for, each minute counted by
/// how sure it is, and less than a day away. Growth without a limit is told
/// when it has lasted for half an hour.
#[must_use]
pub fn is_alarming(outlook: &Outlook) -> bool {
    let sure = outlook.confidence * outlook.fit_minutes;
    if outlook.minutes_left.is_infinite() {
        return sure >= AGE;
    }
    outlook.minutes_left <= (FURTHER * sure).min(f64::from(DAY))
}

/// One window's weighted moments. Time is in minutes, 0 at the last reading;
/// values are parts of the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Window {
    weight: Single,
    time: Single,
    value: Single,
    time_time: Single,
    time_value: Single,
    value_value: Single,
    /// Squares of successive differences.
    steps: Single,
}

/// The line of one window.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// Per minute.
    slope: f32,
    error: f32,
    /// At the last reading.
    level: f32,
}

impl Window {
    fn add(&mut self, passed: f32, fade: f32, value: f32, step: f32) {
        let keep = (-passed / fade).exp();
        let weight = self.weight.0 * keep + 1.0;
        let (before, was) = (self.time.0 - passed, self.value.0);
        let time = before - before / weight;
        let mean = was + (value - was) / weight;
        *self = Window {
            weight: Single(weight),
            time: Single(time),
            value: Single(mean),
            time_time: Single(self.time_time.0 * keep + before * time),
            time_value: Single(self.time_value.0 * keep - before * (value - mean)),
            value_value: Single(self.value_value.0 * keep + (value - was) * (value - mean)),
            steps: Single(self.steps.0 * keep + step * step),
        };
    }

    /// The deviation about the line, or 0 where there is none.
    fn noise(&self) -> f32 {
        if self.weight.0 < READINGS || self.time_time.0 <= 0.0 {
            return 0.0;
        }
        let explained = self.time_value.0 * self.time_value.0 / self.time_time.0;
        ((self.value_value.0 - explained).max(0.0) / self.weight.0).sqrt()
    }

    fn line(&self) -> Option<Line> {
        let (weight, time_time) = (self.weight.0, self.time_time.0);
        if weight < READINGS || time_time <= 0.0 {
            return None;
        }
        let slope = self.time_value.0 / time_time;
        // Single precision: a straight line leaves a millionth of its spread.
        let least = 1e-6 * self.value_value.0;
        let about = (self.value_value.0 - slope * self.time_value.0).max(least) / (weight - 2.0);
        let steps = self.steps.0 / (2.0 * weight);
        let widened = about * (about / steps).max(1.0);
        Some(Line {
            slope,
            error: (widened / time_time).sqrt(),
            level: self.value.0 - slope * self.time.0,
        })
    }
}

/// What is known of one growing resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// The limit that the values were divided by, or the first value other
    /// than 0 where there is none; 0 before.
    #[serde(with = "exact")]
    unit: f64,
    unlimited: bool,
    /// Whether the present rise has alarmed.
    alarmed: bool,
    first_ms: i64,
    last_ms: i64,
    /// When the present rise began, and when it was highest.
    low_ms: i64,
    peak_ms: i64,
    last: Single,
    /// The readings, smoothed.
    level: Single,
    low: Single,
    peak: Single,
    ceiling: Single,
    windows: [Window; 3],
    /// All readings of the present rise, none faded.
    rise: Window,
}

impl Forecast {
    /// Takes in the reading of `at_ms` (event time, epoch milliseconds) of a
    /// resource that ends at `limit` (more than 0, in the value's unit;
    /// infinite for what has no limit, like a consumer's lag, whose growth
    /// then only has an age). An answer means that growth is credible and
    /// new; [`is_alarming`] says whether it is near.
    ///
    /// A reading that is not newer than the last one is not counted, nor one
    /// that is no finite number. With another limit everything begins anew; so
    /// should the caller, with a new `Forecast`, when the clock is set back.
    pub fn observe(&mut self, at_ms: i64, value: f64, limit: f64) -> Option<Outlook> {
        if !value.is_finite() || limit.is_nan() || limit <= 0.0 {
            return None;
        }
        let unlimited = limit.is_infinite();
        let other_limit = !unlimited && self.unit != limit;
        if self.unlimited != unlimited || other_limit {
            *self = Forecast {
                unlimited,
                unit: if unlimited { 0.0 } else { limit },
                ..Forecast::default()
            };
        }
        if self.unit == 0.0 {
            self.unit = value.abs();
        }
        if self.unit == 0.0 || (self.last_ms != 0 && at_ms <= self.last_ms) {
            return None;
        }
        let value = (value / self.unit) as f32;
        if self.last_ms == 0 {
            self.begin(at_ms, value);
            return None;
        }
        let passed = minutes(self.last_ms, at_ms);
        let step = value - self.last.0;
        for (window, fade) in self.windows.iter_mut().zip(WINDOWS) {
            window.add(passed, fade, value, step);
        }
        self.rise.add(passed, f32::INFINITY, value, step);
        self.last = Single(value);
        self.last_ms = at_ms;
        self.follow(at_ms, passed, value);
        let outlook = self.outlook()?;
        self.alarmed |= is_alarming(&outlook);
        Some(outlook)
    }

    fn begin(&mut self, at_ms: i64, value: f32) {
        (self.first_ms, self.last_ms) = (at_ms, at_ms);
        self.last = Single(value);
        self.ceiling = Single(value);
        self.level = Single(value);
        self.rise_from(at_ms);
        for (window, fade) in self.windows.iter_mut().zip(WINDOWS) {
            window.add(0.0, fade, value, 0.0);
        }
    }

    fn rise_from(&mut self, at_ms: i64) {
        (self.low, self.peak) = (self.level, self.level);
        (self.low_ms, self.peak_ms) = (at_ms, at_ms);
        self.rise = Window::default();
        self.rise.add(0.0, 1.0, self.last.0, 0.0);
        self.alarmed = false;
    }

    /// Follows the level: where the present rise began, how high it came, and
    /// how high it had come before.
    fn follow(&mut self, at_ms: i64, passed: f32, value: f32) {
        self.level.0 += FOLLOW * (value - self.level.0);
        let (level, low, peak) = (self.level.0, self.low.0, self.peak.0);
        if level < self.ceiling.0 {
            self.ceiling.0 += (level - self.ceiling.0) * (1.0 - (-passed / FORGET).exp());
        }
        if level > peak {
            self.peak = self.level;
            self.peak_ms = at_ms;
            return;
        }
        let noise = self.windows[1].noise();
        let given_back = peak - level > (GIVEN_BACK * (peak - low)).max(NOISE * noise);
        let to_peak = minutes(self.low_ms, self.peak_ms);
        let stalled = minutes(self.peak_ms, at_ms) > STALLED * to_peak;
        let begins = stalled || level <= low + NEAR * noise;
        if given_back || (begins && !self.is_climbing()) {
            self.learn_peak();
            self.rise_from(at_ms);
        }
    }

    fn is_climbing(&self) -> bool {
        let mut lines = self.windows.iter().filter_map(Window::line);
        lines.any(|line| line.slope > CLIMBING * line.error)
    }

    /// The rise is over. One that alarmed raises the ceiling by half of what
    /// is left at most: a leak that ended in a restart must not hide the next.
    fn learn_peak(&mut self) {
        let mut seen = self.peak.0;
        if self.alarmed && !self.unlimited {
            seen = seen.min(self.ceiling.0 + 0.5 * (1.0 - self.ceiling.0).max(0.0));
        } else if self.alarmed {
            seen = self.ceiling.0;
        }
        self.ceiling.0 = self.ceiling.0.max(seen);
    }

    fn outlook(&self) -> Option<Outlook> {
        let lasted = minutes(self.low_ms, self.last_ms);
        let age = minutes(self.first_ms, self.last_ms);
        let line = self.rise.line()?;
        let sure = line.slope / line.error;
        let beyond = line.level - self.ceiling.0;
        // Written so that what is not a number is no evidence either.
        let credible = sure >= SURE && beyond > 0.0 && age - lasted >= BEFORE * lasted;
        let known = !self.unlimited || line.level >= MULTIPLE * self.ceiling.0;
        if !credible || !known {
            return None;
        }
        let goes_on = self.goes_on(lasted, line.slope);
        if goes_on < GOES_ON {
            return None;
        }
        let furthest = if age < DAY { FIRST_DAY } else { f32::INFINITY };
        let minutes_left = if self.unlimited {
            f64::INFINITY
        } else {
            f64::from((1.0 - line.level).max(0.0) / line.slope)
        };
        let confidence = (1.0 - 0.5 * (SURE / sure).powi(2)) * (0.5 + 0.5 * goes_on);
        Some(Outlook {
            minutes_left,
            confidence: f64::from(confidence),
            slope_per_hour: f64::from(line.slope) * 60.0 * self.unit,
            fit_minutes: f64::from((beyond / line.slope).min(lasted).min(furthest)),
        })
    }

    /// The pace of the newer part as a share of the whole rise's, at most 1.
    fn goes_on(&self, lasted: f32, slope: f32) -> f32 {
        let newer = WINDOWS.iter().zip(&self.windows).rev();
        newer
            .filter(|(fade, _)| **fade <= NEWER * lasted)
            .find_map(|(_, window)| window.line())
            .map_or(1.0, |now| ((now.slope + now.error) / slope).min(1.0))
    }
}

fn minutes(from_ms: i64, to_ms: i64) -> f32 {
    to_ms.saturating_sub(from_ms) as f32 / 60_000.0
}
