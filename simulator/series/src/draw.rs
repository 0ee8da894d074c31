//! Seeded randomness and the distributions that telemetry is made of.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A stream of random numbers that is the same for the same seed.
#[derive(Debug)]
pub(crate) struct Draw(StdRng);

impl Draw {
    /// A stream of its own for each path of numbers (seed, family, copy):
    /// one family never moves because another was added or changed.
    pub(crate) fn at(path: &[u64]) -> Self {
        let mut mixed = 0x6d69_6477_6174_6368_u64;
        for step in path {
            mixed = (mixed ^ step)
                .wrapping_add(0x9e37_79b9_7f4a_7c15)
                .wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed ^= mixed >> 29;
        }
        Self(StdRng::seed_from_u64(mixed))
    }

    /// Any 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0.random()
    }

    /// Evenly in `low..high`.
    pub(crate) fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.0.random::<f64>()
    }

    /// Evenly in the logarithm: each order of magnitude is equally likely.
    pub(crate) fn log_uniform(&mut self, low: f64, high: f64) -> f64 {
        self.uniform(low.ln(), high.ln()).exp()
    }

    /// An integer in `low..=high`.
    pub(crate) fn int(&mut self, low: usize, high: usize) -> usize {
        self.0.random_range(low..=high.max(low))
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.0.random::<f64>() < probability
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.int(0, from.len() - 1)]
    }

    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform(f64::MIN_POSITIVE, 1.0).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.0.random::<f64>()).cos()
    }

    /// Student's t with `freedom` degrees (above 2), scaled to a variance of
    /// one; from 30 degrees up simply normal.
    pub(crate) fn student(&mut self, freedom: f64) -> f64 {
        let top = self.normal();
        if freedom >= 30.0 {
            return top;
        }
        let squares = 2.0 * self.gamma(freedom / 2.0);
        top / (squares / freedom).sqrt() * ((freedom - 2.0) / freedom).sqrt()
    }

    /// Gamma of the given shape and a scale of one (Marsaglia and Tsang 2000).
    pub(crate) fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let boost = self.uniform(f64::MIN_POSITIVE, 1.0).powf(1.0 / shape);
            return self.gamma(shape + 1.0) * boost;
        }
        let d = shape - 1.0 / 3.0;
        loop {
            let x = self.normal();
            let v = (1.0 + x / (9.0 * d).sqrt()).powi(3);
            let u = self.uniform(f64::MIN_POSITIVE, 1.0);
            if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.uniform(f64::MIN_POSITIVE, 1.0).ln()
    }

    /// Pareto from `low` up, index `alpha`, cut off at 300 times `low`.
    pub(crate) fn pareto(&mut self, low: f64, alpha: f64) -> f64 {
        let u = self.uniform(f64::MIN_POSITIVE, 1.0);
        low * u.powf(-1.0 / alpha).min(300.0)
    }

    /// Poisson; above a mean of 50 by its normal approximation.
    pub(crate) fn poisson(&mut self, mean: f64) -> f64 {
        if mean <= 0.0 {
            return 0.0;
        }
        if mean > 50.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0);
        }
        let limit = (-mean).exp();
        let (mut count, mut product) = (0.0, self.0.random::<f64>());
        while product > limit {
            count += 1.0;
            product *= self.0.random::<f64>();
        }
        count
    }
}
