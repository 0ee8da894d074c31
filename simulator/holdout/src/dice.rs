//! Random draws and the small stochastic processes that the families are made of.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Mixes two numbers into one seed (the finaliser of the SplitMix64 generator,
/// a bijection of `a` for a fixed `b`, so that neighbouring seeds share nothing).
pub fn mix(a: u64, b: u64) -> u64 {
    let mut z = a
        .wrapping_add(b.wrapping_mul(0x9E37_79B9_7F4A_7C15))
        .wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A seeded source of draws.
pub struct Dice(StdRng);

impl Dice {
    /// A source that repeats itself for the same `seed`.
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// Uniform in 0 (included) to 1 (excluded).
    pub fn unit(&mut self) -> f64 {
        self.0.random::<f64>()
    }

    /// Uniform in `low..high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform in the logarithm, for quantities whose order of magnitude is unknown. Both bounds above 0.
    pub fn magnitude(&mut self, low: f64, high: f64) -> f64 {
        self.between(low.ln(), high.ln()).exp()
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// A whole number in `0..count`; 0 for an empty range.
    pub fn index(&mut self, count: usize) -> usize {
        ((self.unit() * count as f64) as usize).min(count.saturating_sub(1))
    }

    /// Standard normal (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Exponential with the given mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Log-normal with median 1.
    pub fn lognormal(&mut self, sigma: f64) -> f64 {
        (sigma * self.normal()).exp()
    }

    /// Pareto from 1 upwards; the smaller `tail`, the wilder.
    pub fn pareto(&mut self, tail: f64) -> f64 {
        (1.0 - self.unit()).powf(-1.0 / tail)
    }

    /// Gamma with mean 1 and the given shape ≥ 1 (Marsaglia and Tsang 2000).
    pub fn gamma(&mut self, shape: f64) -> f64 {
        let d = shape.max(1.0) - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        // The acceptance rate is above 95 %: the bound exists only so that the loop provably ends.
        for _ in 0..64 {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && (1.0 - self.unit()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v / shape.max(1.0);
            }
        }
        1.0
    }

    /// A Poisson count; above a mean of 60 by its normal approximation.
    pub fn poisson(&mut self, mean: f64) -> f64 {
        if mean <= 0.0 {
            return 0.0;
        }
        if mean > 60.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0);
        }
        let limit = (-mean).exp();
        let (mut product, mut count) = (self.unit(), 0.0);
        while product > limit {
            product *= self.unit();
            count += 1.0;
        }
        count
    }
}

/// An autoregressive process of first order with unit variance.
pub struct Ar {
    keep: f64,
    value: f64,
}

impl Ar {
    /// `keep` is the correlation of neighbouring steps, 0 to 1.
    pub fn new(keep: f64) -> Self {
        Self { keep, value: 0.0 }
    }

    pub fn step(&mut self, dice: &mut Dice) -> f64 {
        self.value = self.keep * self.value + (1.0 - self.keep * self.keep).sqrt() * dice.normal();
        self.value
    }
}

/// A self-exciting count (Hawkes process in discrete time): each event makes more events likelier.
pub struct Hawkes {
    heat: f64,
    keep: f64,
    branching: f64,
}

impl Hawkes {
    /// `keep` is the share of the excitement that survives a step; `branching` < 1 is the
    /// mean number of events that one event brings about.
    pub fn new(keep: f64, branching: f64) -> Self {
        Self {
            heat: 0.0,
            keep,
            branching,
        }
    }

    /// Count of this step around the background `base` (which excludes the excited part).
    pub fn step(&mut self, dice: &mut Dice, base: f64) -> f64 {
        let count = dice.poisson(base + self.heat);
        self.heat = self.keep * self.heat + (1.0 - self.keep) * self.branching * count;
        count
    }
}

/// A two-state Markov chain.
pub struct Switch {
    pub on: bool,
    start: f64,
    stop: f64,
}

impl Switch {
    /// Mean sojourn in steps when off and when on.
    pub fn new(off_steps: f64, on_steps: f64) -> Self {
        Self {
            on: false,
            start: 1.0 / off_steps,
            stop: 1.0 / on_steps,
        }
    }

    /// 1 while on, else 0.
    pub fn step(&mut self, dice: &mut Dice) -> f64 {
        let turn = dice.unit();
        self.on = if self.on {
            turn >= self.stop
        } else {
            turn < self.start
        };
        f64::from(u8::from(self.on))
    }
}

/// The load of a week as people make it: asymmetric bumps over the day, another weekend.
pub struct Rhythm {
    /// Hour of the peak, widths before and after it in hours, height.
    bumps: Vec<(f64, f64, f64, f64)>,
    floor: f64,
    weekend: f64,
    weekend_delay_h: f64,
}

impl Rhythm {
    /// Office hours with a dip at noon and a nearly empty weekend.
    pub fn office(dice: &mut Dice) -> Self {
        let floor = dice.between(0.08, 0.35);
        let morning = (
            dice.between(9.5, 11.0),
            dice.between(1.0, 1.8),
            dice.between(1.0, 1.9),
            dice.between(0.7, 1.0),
        );
        let afternoon = (
            dice.between(14.0, 15.5),
            dice.between(1.2, 2.0),
            dice.between(1.3, 2.2),
            dice.between(0.6, 0.95),
        );
        Self {
            bumps: vec![morning, afternoon],
            floor,
            weekend: dice.between(0.1, 0.45),
            weekend_delay_h: 1.0,
        }
    }

    /// Private life: a broad day, a high evening, a livelier weekend that begins later.
    pub fn consumer(dice: &mut Dice) -> Self {
        let floor = dice.between(0.1, 0.4);
        let day = (
            dice.between(11.5, 14.5),
            dice.between(2.5, 3.5),
            dice.between(3.0, 4.0),
            dice.between(0.35, 0.7),
        );
        let evening = (
            dice.between(19.0, 21.5),
            dice.between(1.6, 2.6),
            dice.between(1.0, 2.0),
            dice.between(0.5, 1.0),
        );
        let weekend_delay_h = dice.between(0.3, 2.0);
        Self {
            bumps: vec![day, evening],
            floor,
            weekend: dice.between(0.75, 1.3),
            weekend_delay_h,
        }
    }

    /// Travel to work and back.
    pub fn commute(dice: &mut Dice) -> Self {
        let floor = dice.between(0.08, 0.2);
        let there = (
            dice.between(7.3, 8.6),
            dice.between(0.7, 1.1),
            dice.between(0.8, 1.5),
            dice.between(0.7, 1.0),
        );
        let noon = (13.0, 3.0, 3.0, dice.between(0.25, 0.45));
        let back = (
            dice.between(16.8, 18.2),
            dice.between(1.2, 1.9),
            dice.between(0.9, 1.6),
            dice.between(0.7, 1.0),
        );
        Self {
            bumps: vec![there, noon, back],
            floor,
            weekend: dice.between(0.4, 0.7),
            weekend_delay_h: 2.5,
        }
    }

    /// Load at `hours` since a Monday's midnight; about `floor` to 1.3.
    pub fn at(&self, hours: f64) -> f64 {
        let day = (hours / 24.0).floor().rem_euclid(7.0);
        let weekend = day >= 5.0;
        let (scale, delay) = if weekend {
            (self.weekend, self.weekend_delay_h)
        } else {
            (1.0, 0.0)
        };
        let hour = hours.rem_euclid(24.0) - delay;
        let load: f64 = self
            .bumps
            .iter()
            .map(|&(peak, before, after, height)| {
                let distance = (hour - peak + 12.0).rem_euclid(24.0) - 12.0;
                let width = if distance < 0.0 { before } else { after };
                height * (-0.5 * (distance / width).powi(2)).exp()
            })
            .sum();
        self.floor + scale * load
    }
}
