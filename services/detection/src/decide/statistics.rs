//! The seam for the statistics of one series: what is usual, and how far a
//! reading lies from it. Whatever implements [`Model`] can take the place of
//! [`RollingBaseline`]; the life of an anomaly ([`super::series`]) does not
//! look inside.

use crate::config::Tuning;
use crate::decide::exact;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Readings are held within this for arithmetic: the squares of their
/// differences, summed over any window, stay finite. No real unit comes near.
const HUGE: f64 = 1e150;
/// σ never falls below 1 % of the mean …
const RELATIVE_FLOOR: f64 = 0.01;
/// … nor below this, so that a series of zeros has a spread too.
const ABSOLUTE_FLOOR: f64 = 1e-9;
/// Beyond this many σ a larger number says nothing more.
pub const SIGMA_CAP: f64 = 100.0;

/// A reading against what is usual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// Whether enough samples are known to judge by.
    pub ready: bool,
    /// Signed distance from the mean in σ, within ±[`SIGMA_CAP`]; 0 until
    /// ready.
    pub z: f64,
    /// The mean; the reading itself where nothing is known yet.
    pub expected: f64,
    /// The band of what is usual: mean ∓ threshold · σ.
    pub low: f64,
    pub high: f64,
    /// 1 − exp(−|z| / 4), within 0..1: 0.46 at 2.5 σ, 0.92 at 10 σ.
    pub score: f64,
}

/// What is usual for one series.
pub trait Model: Default + Serialize + DeserializeOwned {
    /// Compares `value` with what is known. Finite for every finite `value`.
    fn judge(&self, value: f64, tuning: &Tuning) -> Judgement;
    /// Takes in a reading that counts as usual. One outside the band is taken
    /// in at the band's edge, so that a single outlier cannot move it far
    /// while a lasting change of spread still widens it.
    fn learn(&mut self, value: f64, tuning: &Tuning);
    /// Forgets what was usual in favour of `values`.
    fn relearn(&mut self, values: &[f64], tuning: &Tuning);
    /// How many samples are behind the judgement.
    fn samples(&self) -> usize;
}

/// The score of a distance in σ.
#[must_use]
pub fn score(z: f64) -> f64 {
    1.0 - (-z.abs() / 4.0).exp()
}

/// Mean and standard deviation of the last `BASELINE_WINDOW_SIZE` usual
/// samples.
///
/// z = (x − mean) / σ with σ = max(sample standard deviation, 1 % of |mean|,
/// 1e-9). The floor is the constant-series guard: a series that never moved
/// neither divides by zero nor alarms because its last digit was rounded the
/// other way, since at the default threshold it has to move by 2.5 %.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RollingBaseline {
    #[serde(with = "exact::list")]
    window: VecDeque<f64>,
}

impl RollingBaseline {
    /// (mean, guarded σ) of the window, which must not be empty.
    fn moments(&self) -> (f64, f64) {
        let count = self.window.len() as f64;
        let mean = self.window.iter().sum::<f64>() / count;
        let squares: f64 = self
            .window
            .iter()
            .map(|value| (value - mean) * (value - mean))
            .sum();
        let deviation = (squares / (count - 1.0).max(1.0)).sqrt();
        let sigma = deviation
            .max(RELATIVE_FLOOR * mean.abs())
            .max(ABSOLUTE_FLOOR);
        (mean, sigma)
    }

    fn push(&mut self, value: f64, tuning: &Tuning) {
        while self.window.len() >= tuning.window {
            self.window.pop_front();
        }
        self.window.push_back(value);
    }
}

impl Model for RollingBaseline {
    fn judge(&self, value: f64, tuning: &Tuning) -> Judgement {
        let value = value.clamp(-HUGE, HUGE);
        if self.window.is_empty() {
            return Judgement {
                ready: false,
                z: 0.0,
                expected: value,
                low: value,
                high: value,
                score: 0.0,
            };
        }
        let (mean, sigma) = self.moments();
        let ready = self.window.len() >= tuning.min_samples;
        let z = if ready {
            ((value - mean) / sigma).clamp(-SIGMA_CAP, SIGMA_CAP)
        } else {
            0.0
        };
        Judgement {
            ready,
            z,
            expected: mean,
            low: mean - tuning.sigma_threshold * sigma,
            high: mean + tuning.sigma_threshold * sigma,
            score: score(z),
        }
    }

    fn learn(&mut self, value: f64, tuning: &Tuning) {
        let judgement = self.judge(value, tuning);
        let usual = if judgement.ready {
            value.clamp(judgement.low, judgement.high)
        } else {
            value.clamp(-HUGE, HUGE)
        };
        self.push(usual, tuning);
    }

    fn relearn(&mut self, values: &[f64], tuning: &Tuning) {
        self.window.clear();
        for value in values {
            self.push(value.clamp(-HUGE, HUGE), tuning);
        }
    }

    fn samples(&self) -> usize {
        self.window.len()
    }
}

/// Whether `values` stay on one level: the means of both halves differ by no
/// more than one standard deviation or 5 % of the level. A ramp of ten or
/// more points fails: its halves differ by √3 standard deviations.
#[must_use]
pub fn is_stable(values: &[f64]) -> bool {
    if values.len() < 10 {
        return false;
    }
    let held: Vec<f64> = values
        .iter()
        .map(|value| value.clamp(-HUGE, HUGE))
        .collect();
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let level = mean(&held);
    let squares: f64 = held.iter().map(|v| (v - level) * (v - level)).sum();
    let deviation = (squares / (held.len() - 1) as f64).sqrt();
    let (first, second) = held.split_at(held.len() / 2);
    (mean(first) - mean(second)).abs() <= deviation.max(0.05 * level.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taught(values: &[f64]) -> RollingBaseline {
        let mut model = RollingBaseline::default();
        model.relearn(values, &Tuning::default());
        model
    }

    /// The numbers 1 to 10 have mean 5.5 and sample standard deviation
    /// √(82.5 / 9) = 3.0277; 15 lies 9.5 / 3.0277 = 3.1377 σ above.
    #[test]
    fn z_agrees_with_a_computation_by_hand() {
        let values: Vec<f64> = (1..=10).map(f64::from).collect();
        let judgement = taught(&values).judge(15.0, &Tuning::default());
        assert!(judgement.ready);
        assert!((judgement.z - 3.1377).abs() < 1e-4, "{judgement:?}");
        assert!((judgement.expected - 5.5).abs() < 1e-12);
        assert!((judgement.high - (5.5 + 2.5 * 3.02765)).abs() < 1e-4);
        assert!((judgement.score - (1.0 - (-3.1377_f64 / 4.0).exp())).abs() < 1e-4);
    }

    #[test]
    fn nine_samples_are_not_judged_by() {
        let judgement = taught(&[1.0; 9]).judge(1e9, &Tuning::default());
        assert!(!judgement.ready);
        assert_eq!((judgement.z, judgement.score), (0.0, 0.0));
    }

    #[test]
    fn a_constant_series_ignores_rounding_and_notices_a_step() {
        let model = taught(&[40.0; 50]);
        let tuning = Tuning::default();
        assert!(model.judge(40.9, &tuning).z < 2.5);
        assert!(model.judge(42.0, &tuning).z > 2.5);
        let zeros = taught(&[0.0; 50]);
        assert_eq!(zeros.judge(0.0, &tuning).z, 0.0);
        assert_eq!(zeros.judge(1.0, &tuning).z, SIGMA_CAP);
    }

    #[test]
    fn an_outlier_is_learnt_at_the_edge_of_the_band() {
        let tuning = Tuning::default();
        let values: Vec<f64> = (0..50).map(|i| 100.0 + f64::from(i % 5)).collect();
        let mut model = taught(&values);
        let before = model.judge(100.0, &tuning);
        model.learn(1e12, &tuning);
        let after = model.judge(100.0, &tuning);
        // 100, the oldest, gives way to 102 + 2.5 · 1.4286 = 105.57.
        let shift = after.expected - before.expected;
        assert!((shift - 5.57 / 50.0).abs() < 1e-3, "{shift}");
        assert_eq!(model.samples(), 50);
    }

    #[test]
    fn a_level_is_stable_and_a_ramp_is_not() {
        let level: Vec<f64> = (0..50).map(|i| 90.0 + f64::from(i % 7)).collect();
        let ramp: Vec<f64> = (0..50).map(|i| 50.0 + f64::from(i)).collect();
        assert!(is_stable(&level));
        assert!(!is_stable(&ramp));
        assert!(!is_stable(&level[..9]));
    }
}
