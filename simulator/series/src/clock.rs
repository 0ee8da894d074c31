//! When the samples of a series are taken, and how days and weeks shape them.

use crate::draw::Draw;

pub(crate) const MINUTE: i64 = 60_000;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;

/// 1 January 2015, a Thursday.
const EPOCH: i64 = 1_420_070_400_000;

/// Strictly increasing sample times in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    pub(crate) times: Vec<i64>,
    pub(crate) interval_ms: i64,
}

impl Clock {
    pub(crate) fn regular(draw: &mut Draw, interval_ms: i64, count: usize) -> Self {
        let span = 9 * 365 * DAY;
        let start = EPOCH + (draw.uniform(0.0, span as f64) as i64) / interval_ms * interval_ms;
        let times = (0..count as i64).map(|i| start + i * interval_ms).collect();
        Self { times, interval_ms }
    }

    /// The commonest export: two weeks at five minutes.
    pub(crate) fn fortnight(draw: &mut Draw) -> Self {
        let count = if draw.chance(0.8) {
            4032
        } else {
            draw.int(3000, 5500)
        };
        Self::regular(draw, 5 * MINUTE, count)
    }

    /// Samples that come when something happens: gaps from a fifth of the
    /// interval to many times as long.
    pub(crate) fn irregular(draw: &mut Draw, interval_ms: i64, count: usize) -> Self {
        let mut clock = Self::regular(draw, interval_ms, 1);
        let mut now = clock.times[0];
        clock.times.clear();
        for _ in 0..count {
            let gap = if draw.chance(0.01) {
                draw.log_uniform(3.0, 40.0)
            } else {
                0.2 + draw.exponential(0.8)
            };
            now += ((gap * interval_ms as f64) as i64 / 1000).max(1) * 1000;
            clock.times.push(now);
        }
        clock
    }

    /// Takes out `stretches` of samples, together at most about `share` of all.
    pub(crate) fn with_gaps(mut self, draw: &mut Draw, stretches: usize, share: f64) -> Self {
        let each = self.len() as f64 * share / stretches.max(1) as f64;
        for _ in 0..stretches {
            let length = draw.uniform(0.1 * each, each) as usize;
            let from = draw.int(1, self.len().saturating_sub(length + 2).max(1));
            self.times.drain(from..(from + length).min(self.len() - 1));
        }
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    /// Samples in a day at the nominal interval, at least one.
    pub(crate) fn per_day(&self) -> usize {
        (DAY / self.interval_ms).max(1) as usize
    }

    /// The sample at or next after a time; the last one where there is none.
    pub(crate) fn index_at(&self, time_ms: i64) -> usize {
        let index = self.times.partition_point(|time| *time < time_ms);
        index.min(self.len() - 1)
    }

    /// One value per sample, from its time.
    pub(crate) fn map(&self, of: impl FnMut(i64) -> f64) -> Vec<f64> {
        self.times.iter().copied().map(of).collect()
    }
}

/// The shape that days and weeks give to a load, between 0 and about 1.
#[derive(Clone, Debug)]
pub(crate) struct Rhythm {
    /// Hour of the top, width in hours, height.
    bumps: Vec<(f64, f64, f64)>,
    weekend: f64,
    zone_ms: i64,
    gains: Vec<f64>,
}

impl Rhythm {
    pub(crate) fn new(draw: &mut Draw, bumps: &[(f64, f64, f64)], weekend: f64) -> Self {
        let unsteady = draw.uniform(0.01, 0.10);
        let mut gain: f64 = 0.0;
        let gains = (0..997)
            .map(|_| {
                gain = 0.5 * gain + unsteady * draw.normal();
                gain.exp()
            })
            .collect();
        let zone_ms = draw.int(0, 23) as i64 * HOUR;
        Self {
            bumps: bumps.to_vec(),
            weekend,
            zone_ms,
            gains,
        }
    }

    /// People at work or at home: low at night, one or two tops in the day.
    pub(crate) fn people(draw: &mut Draw) -> Self {
        let mut bumps = vec![(draw.uniform(10.0, 15.0), draw.uniform(2.0, 4.5), 1.0)];
        if draw.chance(0.6) {
            bumps.push((
                draw.uniform(18.0, 21.5),
                draw.uniform(1.0, 2.5),
                draw.uniform(0.3, 0.9),
            ));
        }
        let weekend = if draw.chance(0.6) {
            draw.uniform(0.3, 0.95)
        } else {
            1.0
        };
        Self::new(draw, &bumps, weekend)
    }

    /// Local milliseconds since a Monday's midnight.
    fn local(&self, time_ms: i64) -> i64 {
        // The epoch was a Thursday, so Monday lies three days earlier.
        time_ms - EPOCH + 3 * DAY + self.zone_ms
    }

    pub(crate) fn hour(&self, time_ms: i64) -> f64 {
        self.local(time_ms).rem_euclid(DAY) as f64 / HOUR as f64
    }

    /// Monday is 0.
    pub(crate) fn weekday(&self, time_ms: i64) -> i64 {
        self.local(time_ms).div_euclid(DAY).rem_euclid(7)
    }

    pub(crate) fn day(&self, time_ms: i64) -> i64 {
        self.local(time_ms).div_euclid(DAY)
    }

    pub(crate) fn at(&self, time_ms: i64) -> f64 {
        let hour = self.hour(time_ms);
        let mut level: f64 = 0.0;
        for (top, width, height) in &self.bumps {
            let apart = (hour - top).abs();
            let apart = apart.min(24.0 - apart);
            level += height * (-0.5 * (apart / width).powi(2)).exp();
        }
        let factor = if self.weekday(time_ms) >= 5 {
            self.weekend
        } else {
            1.0
        };
        let gain = self.gains[self.day(time_ms).rem_euclid(self.gains.len() as i64) as usize];
        level * factor * gain
    }
}
