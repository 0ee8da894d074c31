//! Two classic detectors, to say what a score means.
//!
//! Both are what people reach for first, with the constants that they are
//! usually given, and see the series as the detector does: sample by sample,
//! without a look ahead. Neither rests after a decision, as neither does where
//! it is used.

use std::collections::VecDeque;

/// How often the sums over a window are renewed while it passes; those over
/// fewer samples are with each.
const RENEWALS: usize = 64;

/// Which classic detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    /// Distance from the mean of the 50 samples before in their standard
    /// deviations; from 2.5 on flagged. It scores 1 − exp(−|z| / 4).
    ZScore,
    /// How rare so large a distance would be if the 6 400 samples before were
    /// normally distributed; one in a hundred thousand is flagged. It scores
    /// d / (5 + d) of the decades d = −log₁₀ of that probability.
    Gaussian,
}

impl Baseline {
    fn window(self) -> usize {
        match self {
            Baseline::ZScore => 50,
            Baseline::Gaussian => 6_400,
        }
    }

    /// The least deviation, as a part of the level: a constant past has none.
    /// That of the z-score is the guard that it had in Midwatch's first version.
    fn least_deviation(self) -> f64 {
        match self {
            Baseline::ZScore => 0.01,
            Baseline::Gaussian => 1e-6,
        }
    }

    /// Samples before the first judgement.
    fn least(self) -> usize {
        match self {
            Baseline::ZScore => 10,
            Baseline::Gaussian => 50,
        }
    }

    /// The score, 0..=1, and whether it is flagged.
    fn judge(self, z: f64) -> (f64, bool) {
        match self {
            Baseline::ZScore => (1.0 - (-z.abs() / 4.0).exp(), z.abs() >= 2.5),
            Baseline::Gaussian => {
                let decades = decades(z);
                (decades / (5.0 + decades), decades >= 5.0)
            }
        }
    }
}

/// One series as a classic detector sees it.
#[derive(Clone, Debug)]
pub struct BaselineWatch {
    kind: Baseline,
    values: VecDeque<f64>,
    /// What the sums count from: close to the values, lest the difference of
    /// two large sums be rounding alone.
    origin: f64,
    sum: f64,
    squares: f64,
    until_renewal: usize,
}

impl BaselineWatch {
    #[must_use]
    pub fn new(kind: Baseline) -> Self {
        Self {
            kind,
            values: VecDeque::with_capacity(kind.window().min(64)),
            origin: 0.0,
            sum: 0.0,
            squares: 0.0,
            until_renewal: 0,
        }
    }

    /// Judges a finite sample by those before it, then takes it in. Returns
    /// the score, 0..=1, and whether the sample is flagged.
    pub fn observe(&mut self, value: f64) -> (f64, bool) {
        let verdict = if self.values.len() < self.kind.least() {
            (0.0, false)
        } else {
            self.kind.judge(self.distance(value))
        };
        if self.values.len() == self.kind.window()
            && let Some(oldest) = self.values.pop_front()
        {
            self.count(oldest, -1.0);
        }
        self.values.push_back(value);
        self.count(value, 1.0);
        if self.until_renewal == 0 {
            self.renew();
        } else {
            self.until_renewal -= 1;
        }
        verdict
    }

    /// In standard deviations, at most a million.
    fn distance(&self, value: f64) -> f64 {
        let count = self.values.len() as f64;
        let mean = self.sum / count;
        let variance = (self.squares / count - mean * mean).max(0.0);
        let level = (self.origin + mean).abs();
        let least = self.kind.least_deviation() * level + f64::MIN_POSITIVE;
        let deviation = variance.sqrt().max(least);
        ((value - self.origin - mean) / deviation).clamp(-1e6, 1e6)
    }

    fn count(&mut self, value: f64, times: f64) {
        let value = value - self.origin;
        self.sum += times * value;
        self.squares += times * value * value;
    }

    /// Adds up anew, so that rounding does not pile up and what an outlier left
    /// behind is gone soon.
    fn renew(&mut self) {
        let count = self.values.len() as f64;
        self.origin = self.values.iter().sum::<f64>() / count;
        (self.sum, self.squares) = (0.0, 0.0);
        for index in 0..self.values.len() {
            self.count(self.values[index], 1.0);
        }
        self.until_renewal = self.values.len() / RENEWALS;
    }
}

/// −log₁₀ of the probability that a normal variable is |z| standard deviations
/// or more away from its mean, on either side.
fn decades(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let square = x * x;
    if x < 2.0 {
        // erf(x) = 2/√π · exp(−x²) · Σ 2ⁿ x²ⁿ⁺¹ / (1·3·…·(2n+1)), DLMF 7.6.2
        let (mut term, mut sum) = (x, 0.0);
        for n in 0..60 {
            sum += term;
            term *= 2.0 * square / f64::from(2 * n + 3);
        }
        let erf = std::f64::consts::FRAC_2_SQRT_PI * (-square).exp() * sum;
        return -(1.0 - erf).log10();
    }
    // erfc(x) = exp(−x²) / (√π x) · 1/(1 + a/(1 + 2a/(1 + 3a/(1 + …)))) with
    // a = 1/(2x²), DLMF 7.9.1; the logarithm never underflows.
    let a = 0.5 / square;
    let fraction = (1..=60)
        .rev()
        .fold(1.0, |below, n| 1.0 + f64::from(n) * a / below);
    let size = (std::f64::consts::PI.sqrt() * x * fraction).log10();
    square * std::f64::consts::LOG10_E + size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_the_normal_distribution_is_that_of_the_tables() {
        // Two-sided tails as printed in tables of the normal distribution.
        for (z, tail) in [
            (0.0, 1.0),
            (1.0, 0.317_310_507_863),
            (1.959_963_985, 0.05),
            (2.575_829_304, 0.01),
            (3.290_526_731, 0.001),
            (6.0, 1.973_175_290e-9),
        ] {
            let found = 10_f64.powf(-decades(z));
            assert!((found / tail - 1.0).abs() < 1e-7, "{z}: {found}");
            assert_eq!(decades(z), decades(-z));
        }
        // Both branches meet, and far out it still rises.
        let edge = 2.0 * std::f64::consts::SQRT_2;
        assert!((decades(edge - 1e-9) - decades(edge + 1e-9)).abs() < 1e-7);
        assert!(decades(1e6).is_finite() && decades(1e6) > decades(1e5));
    }

    #[test]
    fn a_z_score_counts_in_the_deviations_of_the_window_before() {
        let mut watch = BaselineWatch::new(Baseline::ZScore);
        for _ in 0..5 {
            assert_eq!(watch.observe(-1e9), (0.0, false));
        }
        // Fifty of mean 100 and deviation 1 push the rest out of the window.
        for index in 0..50 {
            watch.observe(if index % 2 == 0 { 99.0 } else { 101.0 });
        }
        assert!((watch.distance(102.4) - 2.4).abs() < 1e-9);
        assert!(!watch.clone().observe(102.4).1 && watch.clone().observe(97.4).1);
        let (score, _) = watch.observe(104.0);
        assert!((score - (1.0 - (-1.0_f64).exp())).abs() < 1e-9, "{score}");
    }

    #[test]
    fn a_long_window_keeps_its_sums_exact() {
        let mut watch = BaselineWatch::new(Baseline::Gaussian);
        for index in 0..30_000_u32 {
            watch.observe(1e9 + f64::from(index % 3));
        }
        let deviation = (2.0_f64 / 3.0).sqrt();
        let found = watch.squares / 6_400.0 - (watch.sum / 6_400.0).powi(2);
        assert!((found.sqrt() / deviation - 1.0).abs() < 1e-3, "{found}");
        assert_eq!(watch.values.len(), 6_400);
    }

    #[test]
    fn a_constant_past_has_a_deviation_too() {
        for kind in [Baseline::ZScore, Baseline::Gaussian] {
            for level in [0.0, -3.5, 1e12] {
                let mut watch = BaselineWatch::new(kind);
                for _ in 0..100 {
                    let (score, flagged) = watch.observe(level);
                    assert!(score < 0.2 && !flagged, "{kind:?} {level}: {score}");
                }
                let (score, flagged) = watch.observe(level + 1.0 + level.abs());
                assert!(score > 0.9 && score <= 1.0 && flagged, "{kind:?} {level}");
            }
        }
    }
}
