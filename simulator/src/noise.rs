//! The jitter of quiet readings.

use crate::fleet::Metric;
use midwatch_events::ids;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::VecDeque;

/// Readings per block. Of independent uniform readings, the first dozens after
/// a cold start hold a deviation beyond 2.5 sample deviations in one series of
/// thirteen, because ten values estimate a spread badly. So each five readings
/// hold one value from each fifth of the range.
const BLOCK: usize = 5;
/// The smallest window that a detector judges by.
const WINDOW: usize = 10;
/// A block that deviates from the window before it by this many sample
/// deviations is drawn again (one block in eleven). With 2.0 the largest
/// deviation seen in 180 000 readings, over windows of 10 to 50, was 2.3;
/// without the rule it was 2.7.
const MOST_SIGMA: f64 = 2.0;
/// Bounds the drawing; at one in eleven it is never reached.
const MOST_DRAWS: usize = 64;

/// A random generator for one named purpose, so that a draw for one thing
/// never shifts the draws for another.
#[must_use]
pub fn stream(seed: u64, purpose: &[&str]) -> StdRng {
    let text = seed.to_string();
    let mut parts = vec!["simulator-stream", text.as_str()];
    parts.extend_from_slice(purpose);
    let (high, low) = ids::derive(&parts).as_u64_pair();
    StdRng::seed_from_u64(high ^ low.rotate_left(32))
}

/// A standard normal value: twelve uniform ones have variance 1 together
/// (Irwin–Hall), and no value beyond ±6.
pub fn standard_normal(rng: &mut StdRng) -> f64 {
    (0..12).map(|_| rng.random_range(-0.5..0.5)).sum::<f64>()
}

/// Lognormal noise around 1 for a metric of this `size`, 0..1, with a lone
/// spike in seventy readings of what depends on single requests. The same
/// purpose and moment give the same value.
#[must_use]
pub fn heavy_tailed(seed: u64, purpose: &str, metric: Metric, size: f64, at_ms: i64) -> f64 {
    let (width, spikes) = match metric {
        Metric::RequestRate | Metric::Connections => (0.12, false),
        Metric::Cpu => (0.2, false),
        Metric::Memory => (0.02, false),
        Metric::ConsumerLag => (0.5, false),
        Metric::Latency => (0.25, true),
        Metric::ErrorRate => (0.45, true),
    };
    let width = width * (0.8 + 0.4 * size);
    let mut rng = stream(seed, &[purpose, metric.name(), &at_ms.to_string()]);
    // The mean of a lognormal value exceeds its median by half the variance.
    let usual = (width * standard_normal(&mut rng) - width * width / 2.0).exp();
    if spikes && rng.random_range(0..70_u8) == 0 {
        usual * rng.random_range(1.8..3.5)
    } else {
        usual
    }
}

/// What the jitter of a fleet's quiet readings is like. All have a mean of
/// about zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Character {
    /// Within ±1, spread evenly over short stretches: the documented fleet.
    Even,
    /// Independent and uniform within ±1.
    Uniform,
    /// Independent and normal with a standard deviation of 0.4: one reading in
    /// eighty lies beyond ±1.
    Normal,
    /// Uniform within ±1 half of the time, and a slow wandering that keeps
    /// nine tenths of its last value: readings near in time resemble each other.
    Wandering,
}

impl Character {
    /// All of them.
    pub const ALL: [Character; 4] = [
        Character::Even,
        Character::Uniform,
        Character::Normal,
        Character::Wandering,
    ];
}

/// The jitter of one series.
#[derive(Debug)]
pub struct Jitter {
    rng: StdRng,
    character: Character,
    /// Where the slow part of [`Character::Wandering`] is.
    slow: f64,
    /// The last [`WINDOW`] values that were drawn, and the block to come.
    values: VecDeque<f64>,
    /// How many values of the block are still to come.
    left: usize,
}

impl Jitter {
    /// The jitter of one series.
    #[must_use]
    pub fn new(seed: u64, service: &str, metric: &str, character: Character) -> Jitter {
        Jitter {
            rng: stream(seed, &["jitter", service, metric]),
            character,
            slow: 0.0,
            values: VecDeque::new(),
            left: 0,
        }
    }

    /// The next value; see [`Character`] for its range.
    pub fn draw(&mut self) -> f64 {
        match self.character {
            Character::Even => self.draw_even(),
            Character::Uniform => self.rng.random_range(-1.0..1.0),
            Character::Normal => 0.4 * standard_normal(&mut self.rng),
            Character::Wandering => {
                // 0.22 keeps the slow part's deviation at 0.22 / √(1 − 0.9²) = 0.5.
                self.slow = 0.9 * self.slow + 0.22 * standard_normal(&mut self.rng);
                self.slow + 0.5 * self.rng.random_range(-1.0..1.0)
            }
        }
    }

    fn draw_even(&mut self) -> f64 {
        if self.left == 0 {
            self.draw_block();
        }
        let value = self.values[self.values.len() - self.left];
        self.left -= 1;
        value
    }

    fn draw_block(&mut self) {
        let drawn = self.values.len();
        for _ in 0..MOST_DRAWS {
            self.values.truncate(drawn);
            self.values.extend(shuffled_block(&mut self.rng));
            let calm = (drawn.max(WINDOW)..self.values.len())
                .all(|at| sigma(&self.values, at) < MOST_SIGMA);
            if calm {
                break;
            }
        }
        self.left = BLOCK;
        while self.values.len() > WINDOW + BLOCK {
            self.values.pop_front();
        }
    }
}

/// One value from each fifth of the range, in random order.
fn shuffled_block(rng: &mut StdRng) -> [f64; BLOCK] {
    let mut low = -1.0;
    let width = 2.0 / 5.0;
    let mut block = [0.0; BLOCK];
    for value in &mut block {
        *value = low + width * rng.random_range(0.0..1.0);
        low += width;
    }
    for last in (1..BLOCK).rev() {
        block.swap(last, rng.random_range(0..=last));
    }
    block
}

/// How many sample deviations the value at `at` lies from the mean of the
/// [`WINDOW`] values before it.
fn sigma(values: &VecDeque<f64>, at: usize) -> f64 {
    let window = || values.range(at - WINDOW..at);
    let mean = window().sum::<f64>() / 10.0;
    let squares: f64 = window().map(|value| (value - mean).powi(2)).sum();
    (values[at] - mean).abs() / (squares / 9.0).sqrt()
}
