//! What a family says about one series: the level that it would have without
//! noise, the noise, the limits of the unit, and what can go wrong with it.

use crate::clock::Clock;
use crate::draw::Draw;

/// How an observed value comes about from its level and a unit noise `z`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Emission {
    /// The level itself.
    Exact,
    /// Level plus `z` times this.
    Additive(f64),
    /// Level times one plus `z` times this.
    Relative(f64),
    /// Level times the exponential of `z` times this.
    Logarithmic(f64),
    /// A Poisson count about the level, over-dispersed by this.
    Count(f64),
}

/// How unpleasant the noise is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mess {
    /// Autocorrelation of neighbouring samples, 0..1.
    pub(crate) memory: f64,
    /// Degrees of freedom: 3 is heavy-tailed, 30 normal.
    pub(crate) freedom: f64,
    /// How far the noise's size wanders (standard deviation of its logarithm).
    pub(crate) breathing: f64,
    /// Healthy one-off spikes in a thousand samples.
    pub(crate) spikes: f64,
    /// Healthy stretches of stronger noise in a thousand samples.
    pub(crate) bursts: f64,
}

/// What an injected anomaly does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    SpikeUp,
    SpikeDown,
    /// Outside everything seen before, for some samples.
    Beyond,
    ShiftUp,
    ShiftDown,
    DriftUp,
    DriftDown,
    /// Nothing any more: zero, or the unit's floor.
    Zero,
    /// One value again and again after variation.
    Flat,
    /// Much more noise.
    Wild,
    /// Much less noise.
    Calm,
    PeakMissing,
    PeakDoubled,
    PhaseShift,
    /// A weekend like a weekday, or a holiday.
    OtherDay,
    /// By day this would be normal.
    Night,
    /// The periodic events no longer come.
    EventsStop,
    /// Bursts come more or less often than before.
    Density,
    /// A gradual build-up, then the collapse.
    Failure,
    /// A short trembling, as before a failure.
    Tremor,
}

/// Everything needed to make one series.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) clock: Clock,
    pub(crate) level: Vec<f64>,
    /// The level without its periodic events.
    pub(crate) quiet: Option<Vec<f64>>,
    /// The level with bursts of another density.
    pub(crate) other: Option<Vec<f64>>,
    pub(crate) emission: Emission,
    pub(crate) mess: Mess,
    /// Whether the level follows the clock; where it does not, its own
    /// wandering counts as noise when the size of an anomaly is chosen.
    pub(crate) follows_clock: bool,
    pub(crate) floor: f64,
    pub(crate) ceiling: f64,
    /// Rounding; 0 for none.
    pub(crate) step: f64,
    pub(crate) kinds: Vec<Kind>,
}

impl Recipe {
    pub(crate) fn new(draw: &mut Draw, clock: Clock, level: Vec<f64>, emission: Emission) -> Self {
        let mess = Mess {
            memory: if draw.chance(0.3) {
                0.0
            } else {
                draw.uniform(0.1, 0.85)
            },
            freedom: draw.pick(&[3.5, 5.0, 8.0, 30.0]),
            breathing: draw.uniform(0.0, 0.35),
            spikes: 0.0,
            bursts: 0.0,
        };
        Self {
            clock,
            level,
            quiet: None,
            other: None,
            emission,
            mess,
            follows_clock: true,
            floor: 0.0,
            ceiling: f64::INFINITY,
            step: 0.0,
            kinds: Vec::new(),
        }
    }

    pub(crate) fn kinds(mut self, groups: &[&[Kind]]) -> Self {
        self.kinds = groups.concat();
        self
    }

    pub(crate) fn bounds(mut self, floor: f64, ceiling: f64) -> Self {
        (self.floor, self.ceiling) = (floor, ceiling);
        self
    }

    pub(crate) fn step(mut self, step: f64) -> Self {
        self.step = step;
        self
    }

    pub(crate) fn wanders(mut self) -> Self {
        self.follows_clock = false;
        self
    }

    pub(crate) fn quiet(mut self, quiet: Vec<f64>) -> Self {
        self.quiet = Some(quiet);
        self
    }

    pub(crate) fn other(mut self, other: Vec<f64>) -> Self {
        self.other = Some(other);
        self
    }

    pub(crate) fn mess(mut self, change: impl FnOnce(&mut Mess)) -> Self {
        change(&mut self.mess);
        self
    }

    /// Unit noise: autocorrelated, as heavy-tailed and as unsteady as the mess says.
    pub(crate) fn noise(&self, draw: &mut Draw) -> Vec<f64> {
        let count = self.clock.len();
        let rest = (1.0 - self.mess.memory * self.mess.memory).sqrt();
        let (mut value, mut size, mut burst) = (0.0, 0.0, 0_usize);
        (0..count)
            .map(|_| {
                value = self.mess.memory * value + rest * draw.student(self.mess.freedom);
                size = 0.995 * size + 0.1 * self.mess.breathing * draw.normal();
                let mut z = value * f64::exp(size);
                if burst > 0 {
                    burst -= 1;
                    z *= 2.2;
                } else if draw.chance(self.mess.bursts / 1000.0) {
                    burst = draw.int(5, 40);
                }
                if draw.chance(self.mess.spikes / 1000.0) {
                    z += draw.uniform(4.0, 9.0) * if draw.chance(0.85) { 1.0 } else { -1.0 };
                }
                z
            })
            .collect()
    }

    /// Observed values, before limits and rounding.
    pub(crate) fn emit(&self, draw: &mut Draw, level: &[f64], noise: &[f64]) -> Vec<f64> {
        let mut emit = |level: f64, z: f64| match self.emission {
            Emission::Exact => level,
            Emission::Additive(size) => level + size * z,
            Emission::Relative(size) => level * (1.0 + size * z),
            Emission::Logarithmic(size) => level * (size * z.clamp(-12.0, 12.0)).exp(),
            Emission::Count(spread) => {
                draw.poisson(level * (spread * z.clamp(-6.0, 6.0) - spread * spread / 2.0).exp())
            }
        };
        level
            .iter()
            .zip(noise)
            .map(|(level, z)| emit(*level, *z))
            .collect()
    }

    /// A value as the unit can show it.
    pub(crate) fn dress(&self, value: f64) -> f64 {
        let value = value.clamp(self.floor, self.ceiling);
        if self.step > 0.0 {
            // Divided again, so that a step of a hundredth prints as one.
            let inverse = 1.0 / self.step;
            return if inverse >= 1.0 {
                (value * inverse).round() / inverse
            } else {
                (value / self.step).round() * self.step
            };
        }
        value
    }
}
