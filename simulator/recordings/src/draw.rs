//! Seeded randomness and the distributions that requests are made of.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A stream of random numbers that is the same for the same path of numbers.
#[derive(Debug)]
pub struct Draw(StdRng);

impl Draw {
    /// A stream of its own for each path (seed, case, purpose): what one
    /// purpose draws never moves another.
    #[must_use]
    pub fn at(path: &[u64]) -> Self {
        let mut mixed = 0x7265_636f_7264_6564_u64;
        for step in path {
            mixed = (mixed ^ step)
                .wrapping_add(0x9e37_79b9_7f4a_7c15)
                .wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed ^= mixed >> 31;
        }
        Self(StdRng::seed_from_u64(mixed))
    }

    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.random()
    }

    /// Evenly in `0..1`.
    pub fn unit(&mut self) -> f64 {
        self.0.random::<f64>()
    }

    /// Evenly in `low..high`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Evenly in the logarithm: each order of magnitude is equally likely.
    pub fn log_uniform(&mut self, low: f64, high: f64) -> f64 {
        self.uniform(low.ln(), high.ln()).exp()
    }

    /// An integer in `low..=high`.
    pub fn int(&mut self, low: usize, high: usize) -> usize {
        self.0.random_range(low..=high.max(low))
    }

    /// True in this share of all calls.
    pub fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.unit() < probability
    }

    /// One of a list that is not empty.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.int(0, from.len() - 1)]
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform(f64::MIN_POSITIVE, 1.0).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Lognormal with a median of one.
    pub fn lognormal(&mut self, sigma: f64) -> f64 {
        (sigma * self.normal()).exp()
    }

    /// Exponential with this mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.uniform(f64::MIN_POSITIVE, 1.0).ln()
    }

    /// Poisson; above a mean of 40 by its normal approximation.
    pub fn poisson(&mut self, mean: f64) -> f64 {
        if mean <= 0.0 {
            return 0.0;
        }
        if mean > 40.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0);
        }
        let limit = (-mean).exp();
        let (mut count, mut product) = (0.0, self.unit());
        while product > limit {
            count += 1.0;
            product *= self.unit();
        }
        count
    }

    /// How many of `count` happen at `probability` each (rare ones by
    /// Poisson, the rest by the normal approximation).
    pub fn binomial(&mut self, count: f64, probability: f64) -> f64 {
        let probability = probability.clamp(0.0, 1.0);
        let mean = count * probability;
        if probability < 0.5 && mean < 40.0 {
            return self.poisson(mean).min(count);
        }
        let deviation = (mean * (1.0 - probability)).sqrt();
        (mean + deviation * self.normal())
            .round()
            .clamp(0.0, count.max(0.0))
    }

    /// In random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for index in (1..list.len()).rev() {
            let other = self.int(0, index);
            list.swap(index, other);
        }
    }
}
