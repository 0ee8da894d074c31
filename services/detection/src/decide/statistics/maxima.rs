//! The largest recent errors, upward and downward apart.
//!
//! An error is compared with the largest of the recent past instead of with a
//! standard deviation. A new record among n exchangeable values has the
//! probability 1/n whatever their distribution (Rényi 1962), so that heavy
//! tails, bursts and integers need no parameter of their own; light tails only
//! make a record by a stated margin rarer still. The largest error fades by
//! half in [`Pace::memory`] samples, and one outlier raises it by no more than
//! a factor, so that it does not blind the series for long.

use serde::{Deserialize, Serialize};

/// One day in milliseconds.
pub(in crate::decide) const DAY_MS: i64 = 86_400_000;
/// Samples that a memory spans at least: fewer do not show what is rare.
const LEAST_MEMORY: f64 = 4_000.0;
/// Days that it spans at least, so that it holds every hour of the day.
const LEAST_DAYS: f64 = 1.25;

/// How often a series reports, and how fast it forgets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Pace {
    /// Mean distance between samples, milliseconds; 0 before the second.
    interval_ms: f64,
    /// What remains of a memory after one sample.
    fade: f64,
    samples: u64,
}

impl Pace {
    /// Takes in the distance from the last sample. A gap counts as at most four
    /// intervals: an outage says nothing of the rhythm.
    pub fn tick(&mut self, gap_ms: Option<i64>) {
        self.samples += 1;
        if let Some(gap_ms) = gap_ms {
            let gap = (gap_ms.max(1)) as f64;
            if self.interval_ms <= 0.0 {
                self.interval_ms = gap;
            } else {
                self.interval_ms += 0.05 * (gap.min(4.0 * self.interval_ms) - self.interval_ms);
            }
        }
        // Powers are the dearest part of a sample; the rhythm changes slowly.
        if self.samples < 16 || self.samples.is_multiple_of(64) {
            self.fade = 0.5_f64.powf(1.0 / self.memory());
        }
    }

    pub fn samples(&self) -> u64 {
        self.samples
    }

    pub fn interval_ms(&self) -> f64 {
        self.interval_ms
    }

    /// How many samples a day brings.
    pub fn samples_a_day(&self) -> f64 {
        DAY_MS as f64 / self.interval_ms.max(1.0)
    }

    /// Samples after which half of a memory is gone.
    pub fn memory(&self) -> f64 {
        LEAST_MEMORY.max(LEAST_DAYS * self.samples_a_day())
    }

    /// What remains of a memory after one sample, within 0..1.
    pub fn fade(&self) -> f64 {
        self.fade
    }

    /// The weight of one sample in a mean over `span_ms`, and never fewer than
    /// `least` samples; at the beginning, of all samples so far.
    pub fn weight(&self, span_ms: f64, least: f64) -> f64 {
        let span = (span_ms / self.interval_ms.max(1.0)).max(least);
        (1.0 / span).max(1.0 / self.samples.max(1) as f64)
    }
}

/// The largest recent errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Maxima {
    pub above: f64,
    pub below: f64,
}

impl Maxima {
    /// Takes in an error. What is there grows by the factor `most` at once.
    pub fn learn(&mut self, error: f64, fade: f64, least: f64, most: f64) {
        self.above *= fade;
        self.below *= fade;
        let (largest, size) = if error >= 0.0 {
            (&mut self.above, error)
        } else {
            (&mut self.below, -error)
        };
        if size > *largest {
            *largest = if *largest > least {
                size.min(*largest * most)
            } else {
                size
            };
        }
    }
}

/// The two largest recent peaks of one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Peak {
    // Single precision: a series has a dozen of these, and what is compared
    // with them are factors of more than one.
    largest: f32,
    second: f32,
    /// The sample of the latest of them, as far as it fits.
    at: u32,
}

/// Until so many samples are known, what happened on the other side counts on
/// this one, too: a series that only rose so far may well fall as far.
const YOUNG: u64 = 1_000;
/// Errors closer together than this many samples are one peak.
const ONE_PEAK: u32 = 5;
/// What remains after one sample of the lead of a lone largest peak over the
/// second: half of it is gone after 2000.
const LONE_FADE: f32 = 0.999_653_5;

/// The second largest recent peaks, upward and downward apart.
///
/// Against the largest a first outlier would hide the next one of its kind.
/// Against the second, what happened once is still news the second time, and
/// what happens again and again is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Peaks {
    above: Peak,
    below: Peak,
}

impl Peaks {
    /// Peaks of this size on both sides.
    pub fn of(size: f64) -> Peaks {
        let size = size as f32;
        let peak = Peak {
            largest: size,
            second: size,
            at: 0,
        };
        Peaks {
            above: peak,
            below: peak,
        }
    }

    /// The second largest peaks below and above.
    pub fn seconds(&self) -> (f64, f64) {
        (f64::from(self.below.second), f64::from(self.above.second))
    }

    /// The largest peak of both sides.
    pub fn largest(&self) -> f64 {
        f64::from(self.above.largest.max(self.below.largest))
    }

    /// How many times the second largest recent peak of its side `error` is,
    /// at most a million times; then takes it in. Errors up to `least` are none.
    pub fn measure(&mut self, error: f64, sample: u64, fade: f64, least: f64) -> f64 {
        for peak in [&mut self.above, &mut self.below] {
            peak.second *= fade as f32;
            let lead = (peak.largest * fade as f32 - peak.second).max(0.0);
            peak.largest = peak.second + lead * LONE_FADE;
        }
        let size = error.abs();
        // Rounding is no peak, and must not pass for the neighbour of one.
        if size <= least {
            return 0.0;
        }
        let (peak, other) = if error >= 0.0 {
            (&mut self.above, &self.below)
        } else {
            (&mut self.below, &self.above)
        };
        let usual = if sample < YOUNG {
            peak.second.max(other.second)
        } else {
            peak.second
        };
        let ratio = (size / f64::from(usual).max(least)).min(1e6);
        let size = size as f32;
        let sample = u32::try_from(sample).unwrap_or(u32::MAX);
        let another = sample.saturating_sub(peak.at) > ONE_PEAK;
        if size > peak.largest {
            if another {
                peak.second = peak.largest;
            }
            peak.largest = size;
            peak.at = sample;
        } else if size > peak.second && another {
            peak.second = size;
            peak.at = sample;
        }
        ratio
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_memory_is_gone_after_its_length() {
        let mut pace = Pace::default();
        for _ in 0..100 {
            pace.tick(Some(300_000));
        }
        // 1.25 days of 5-minute samples are 360, fewer than the least.
        assert_eq!(pace.memory(), LEAST_MEMORY);
        let mut maxima = Maxima::default();
        maxima.learn(8.0, pace.fade(), 0.0, 2.0);
        for _ in 0..LEAST_MEMORY as usize {
            maxima.learn(0.0, pace.fade(), 0.0, 2.0);
        }
        assert!((maxima.above - 4.0).abs() < 1e-9, "{maxima:?}");
    }

    #[test]
    fn the_second_peak_of_a_kind_is_still_news_and_the_third_is_not() {
        assert!((0.5_f32.powf(1.0 / 2_000.0) - LONE_FADE).abs() < 1e-6);
        let mut peaks = Peaks::of(1.0);
        let mut ratios = Vec::new();
        for sample in 1..400 {
            let error = if sample % 100 == 0 { 10.0 } else { 0.0 };
            let ratio = peaks.measure(error, sample, 1.0, 1e-9);
            if ratio > 0.0 {
                ratios.push(ratio);
            }
        }
        assert_eq!(ratios.len(), 3);
        assert_eq!(ratios[0], 10.0);
        assert_eq!(ratios[1], 10.0);
        assert!(ratios[2] < 1.1, "{ratios:?}");
        // Neighbours are one peak.
        let mut peaks = Peaks::of(1.0);
        let pair = [50, 51].map(|sample| peaks.measure(10.0, sample, 1.0, 1e-9));
        assert_eq!(pair, [10.0, 10.0]);
        assert_eq!(peaks.seconds().1, 1.0);
    }

    #[test]
    fn an_outlier_raises_what_is_known_by_a_factor_only() {
        let mut maxima = Maxima {
            above: 1.0,
            below: 1.0,
        };
        maxima.learn(1e9, 1.0, 0.0, 2.0);
        maxima.learn(-3.0, 1.0, 0.0, 2.0);
        assert_eq!((maxima.above, maxima.below), (2.0, 2.0));
    }
}
