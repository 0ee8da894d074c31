//! The hours of a recording: intervals, the normal period, the bad one and what follows.

use super::Shape;
use crate::dice::{Dice, Rhythm};

/// Samples of one recording at most, about.
const SAMPLES: f64 = 60_000.0;

pub struct Plan {
    pub shape: Shape,
    pub services: usize,
    pub interval_s: f64,
    pub step_s: f64,
    /// When the fault begins and ends, seconds since the recording began.
    pub window_s: (f64, f64),
    pub total_s: f64,
    /// Epoch of the recording's beginning.
    pub epoch_ms: i64,
    rhythm: Rhythm,
    hour: f64,
    wave: (f64, f64),
}

impl Plan {
    pub fn draw(dice: &mut Dice, shape: Shape) -> Self {
        let services = match shape {
            Shape::Graph => dice.magnitude(12.0, 46.0),
            Shape::Full => dice.magnitude(6.0, 22.0),
            Shape::Metrics | Shape::MetricsLogs => dice.magnitude(6.0, 28.0),
        } as usize;
        let choices: &[f64] = match shape {
            Shape::Graph => &[60.0, 60.0, 120.0, 300.0, 300.0],
            Shape::Full => &[1.0, 2.0, 5.0, 5.0, 10.0, 15.0],
            Shape::Metrics | Shape::MetricsLogs => &[1.0, 5.0, 10.0, 15.0, 30.0, 60.0],
        };
        let mut interval = choices[dice.index(choices.len())];
        let signals = if shape == Shape::Graph { 3.0 } else { 20.0 };
        let (normal, bad, after) = loop {
            let (normal, bad) = match shape {
                Shape::Graph => (
                    interval * dice.between(80.0, 400.0),
                    interval * dice.between(3.0, 8.0),
                ),
                _ => (
                    f64::max(
                        480.0 * dice.between(1.0, 2.5),
                        interval * dice.between(45.0, 90.0),
                    ),
                    f64::max(
                        180.0 * dice.between(1.0, 2.5),
                        interval * dice.between(9.0, 20.0),
                    ),
                ),
            };
            let after = if dice.chance(0.35) {
                bad * dice.between(0.3, 1.0)
            } else {
                0.0
            };
            if (normal + bad + after) / interval * services as f64 * signals <= SAMPLES
                || interval >= 60.0
            {
                break (normal, bad, after);
            }
            interval = if interval < 5.0 { 5.0 } else { interval * 2.0 };
        };
        let step_s = match shape {
            Shape::Graph => interval / 6.0,
            _ => (interval / 15.0).ceil().max(1.0),
        };
        let onset = normal.floor();
        Self {
            shape,
            services,
            interval_s: interval,
            step_s,
            window_s: (onset, (onset + bad).floor()),
            total_s: ((normal + bad + after) / interval).ceil() * interval,
            epoch_ms: 1_700_000_000_000 + (dice.unit() * 6.0e7) as i64 * 1000,
            rhythm: if dice.chance(0.5) {
                Rhythm::office(dice)
            } else {
                Rhythm::consumer(dice)
            },
            hour: dice.between(0.0, 168.0),
            wave: (dice.between(600.0, 5000.0), dice.between(0.0, 0.12)),
        }
    }

    /// The whole system's load at `t_s`, about 1.
    pub fn load(&self, t_s: f64) -> f64 {
        if self.shape == Shape::Graph {
            return 0.45 + 0.55 * self.rhythm.at(self.hour + t_s / 3600.0);
        }
        1.0 + self.wave.1 * (std::f64::consts::TAU * t_s / self.wave.0).sin()
    }

    /// The interval that `t_s` falls into.
    pub fn bin(&self, t_s: f64) -> usize {
        (t_s / self.interval_s) as usize
    }

    pub fn ms(&self, t_s: f64) -> i64 {
        self.epoch_ms + (t_s * 1000.0) as i64
    }
}
