//! What one series is made in: its time axis, its calendar, its planned anomalies and the
//! ordinary restlessness that every healthy system has.

use crate::dice::{Dice, Rhythm, mix};

/// How an anomaly's force runs in time. Durations are hours.
#[derive(Clone, Copy)]
pub enum Shape {
    /// One to three points.
    Blip,
    /// A stretch that ends by itself, at once or fading.
    Spell(f64, f64),
    /// A lasting change, often to the end of the series.
    Shift,
    /// A slow rise to full strength that ends abruptly (somebody restarts something).
    Ramp(f64, f64),
}

/// A way in which a family goes wrong.
pub struct Kind {
    pub name: &'static str,
    pub shape: Shape,
    /// The force may also point the other way.
    pub both_ways: bool,
}

/// A few points.
pub const fn blip(name: &'static str) -> Kind {
    Kind {
        name,
        shape: Shape::Blip,
        both_ways: false,
    }
}

/// A stretch of `low` to `high` hours.
pub const fn spell(name: &'static str, low: f64, high: f64) -> Kind {
    Kind {
        name,
        shape: Shape::Spell(low, high),
        both_ways: false,
    }
}

/// A lasting change in one direction.
pub const fn shift(name: &'static str) -> Kind {
    Kind {
        name,
        shape: Shape::Shift,
        both_ways: false,
    }
}

/// A lasting change up or down.
pub const fn swing(name: &'static str) -> Kind {
    Kind {
        name,
        shape: Shape::Shift,
        both_ways: true,
    }
}

/// A rise over `low` to `high` hours.
pub const fn ramp(name: &'static str, low: f64, high: f64) -> Kind {
    Kind {
        name,
        shape: Shape::Ramp(low, high),
        both_ways: false,
    }
}

/// The sensor repeats its last value.
pub const STUCK: Kind = spell("stuck", 4.0, 30.0);
/// The series reads zero although the system runs.
pub const ZERO: Kind = spell("zero", 0.5, 6.0);
/// A reading that cannot be.
pub const GLITCH: Kind = Kind {
    name: "glitch",
    shape: Shape::Blip,
    both_ways: true,
};
/// The readings scatter more than before.
pub const NOISIER: Kind = spell("noisier", 8.0, 60.0);
/// People stay away for a day or two.
pub const HOLIDAY: Kind = spell("holiday", 20.0, 40.0);
/// The daily rhythm moves by hours (a schedule or a time zone was changed).
pub const CLOCK: Kind = Kind {
    name: "clock",
    shape: Shape::Shift,
    both_ways: true,
};

/// A planned anomaly.
#[derive(Clone)]
pub struct Event {
    pub kind: &'static str,
    pub shape: Shape,
    /// First index at which the force is not zero.
    pub at: usize,
    /// The index a person would mark as its beginning.
    pub moment: usize,
    /// Points it lasts.
    pub span: usize,
    /// 1 is what an operator would call obvious; 0.2 is subtle.
    pub size: f64,
    /// +1 or −1.
    pub sign: f64,
    /// A spell that dies away instead of ending at once.
    pub fading: bool,
}

impl Event {
    /// Signed force at index `i`, 0 outside.
    pub fn force(&self, i: usize) -> f64 {
        if i < self.at || i >= self.at + self.span {
            return 0.0;
        }
        let part = (i - self.at) as f64 / self.span as f64;
        let profile = match self.shape {
            Shape::Ramp(..) => part,
            Shape::Spell(..) if self.fading => (-3.0 * part).exp(),
            Shape::Blip | Shape::Spell(..) | Shape::Shift => 1.0,
        };
        self.sign * self.size * profile
    }
}

/// When the readings are taken.
#[derive(Clone, Copy, PartialEq)]
pub enum Timing {
    Regular,
    /// On the grid, give or take some seconds.
    Jittered,
    /// Whenever something passes by: exponential gaps around the interval.
    Irregular,
}

/// A family: what is measured, how often, how it fails.
#[derive(Clone, Copy)]
pub struct Family {
    pub name: &'static str,
    pub interval_s: u32,
    /// Fewest and most points.
    pub points: (usize, usize),
    /// Decimal places of a reading; negative ones round to tens, hundreds, …
    pub decimals: i32,
    pub timing: Timing,
    pub kinds: &'static [Kind],
    pub build: fn(&mut Frame) -> Step,
}

/// The physics of a series: the reading at each index, asked for in order.
pub type Step = Box<dyn FnMut(&mut Frame, usize) -> f64>;

/// The surroundings of a series while it is made.
pub struct Frame {
    pub dice: Dice,
    pub times_ms: Vec<i64>,
    pub interval_s: f64,
    events: Vec<Event>,
    /// Hours from the series' Monday midnight to its first point.
    first_hour: f64,
    day_factors: Vec<f64>,
    slow: Vec<f64>,
    bumps: Vec<f64>,
}

const MONDAY_MS: i64 = 1_704_067_200_000;

impl Frame {
    /// Lays out `count` points. The same `seed` gives the same surroundings whatever the events.
    pub fn new(family: &Family, seed: u64, count: usize, events: Vec<Event>) -> Self {
        let mut dice = Dice::new(seed);
        let interval_ms = i64::from(family.interval_s) * 1000;
        let weeks = dice.index(100) as i64;
        let mut first_ms = MONDAY_MS + weeks * 604_800_000 + dice.index(604_800) as i64 * 1000;
        first_ms -= first_ms % interval_ms;
        let times_ms = times(&mut dice, family, first_ms, count);
        let zone_h = dice.index(24) as f64 - 11.0;
        let first_hour =
            (first_ms - MONDAY_MS).rem_euclid(604_800_000) as f64 / 3.6e6 + zone_h + 24.0;
        let last_ms = times_ms.last().copied().unwrap_or(first_ms);
        let days = ((last_ms - first_ms) / 86_400_000 + 12) as usize;
        let unrest = dice.between(0.01, 0.08);
        let day_factors = (0..days).map(|_| dice.lognormal(unrest)).collect();
        let slow = slow_walk(&mut dice, count);
        let bumps = ordinary_bumps(&mut dice, count);
        Self {
            dice,
            times_ms,
            interval_s: f64::from(family.interval_s),
            events,
            first_hour,
            day_factors,
            slow,
            bumps,
        }
    }

    /// Makes the draws of step `i` independent of how many draws earlier steps took, so that
    /// a series with and without its anomalies differs by the anomalies alone.
    pub fn begin_step(&mut self, seed: u64, i: usize) {
        self.dice = Dice::new(mix(seed ^ 0x5EED, i as u64));
    }

    /// Signed force of all anomalies of this name at index `i`.
    pub fn force(&self, kind: &str, i: usize) -> f64 {
        self.events
            .iter()
            .filter(|event| event.kind == kind)
            .map(|event| event.force(i))
            .sum()
    }

    /// Local hours since a Monday midnight.
    pub fn hours(&self, i: usize) -> f64 {
        self.first_hour + (self.times_ms[i] - self.times_ms[0]) as f64 / 3.6e6
    }

    /// Hours since the reading before (the interval for the first).
    pub fn step_h(&self, i: usize) -> f64 {
        if i == 0 {
            self.interval_s / 3600.0
        } else {
            (self.times_ms[i] - self.times_ms[i - 1]) as f64 / 3.6e6
        }
    }

    /// Share of a quantity with relaxation time `hours` that survives one interval.
    pub fn keep(&self, hours: f64) -> f64 {
        (-self.interval_s / 3600.0 / hours).exp()
    }

    /// A healthy factor around 1 that wanders over weeks and sometimes moves by a tenth or two.
    pub fn slow(&self, i: usize) -> f64 {
        self.slow[i]
    }

    /// Ordinary bumps: mostly 0, now and then 0.1 to 1 for a few points; nobody would ask why.
    pub fn bump(&self, i: usize) -> f64 {
        self.bumps[i]
    }

    /// What people want at index `i`: rhythm, the luck of the day, the slow trend, and the
    /// calendar's anomalies (a holiday, a moved rhythm).
    pub fn demand(&self, rhythm: &Rhythm, i: usize) -> f64 {
        let hours = self.hours(i) + 6.0 * self.force("clock", i).clamp(-1.5, 1.5);
        let day = ((hours - self.first_hour + 12.0) / 24.0).max(0.0) as usize;
        let luck = self.day_factors.get(day).copied().unwrap_or(1.0);
        let away = (0.75 * self.force("holiday", i)).min(0.95);
        rhythm.at(hours) * luck * self.slow[i] * (1.0 - away)
    }
}

fn times(dice: &mut Dice, family: &Family, first_ms: i64, count: usize) -> Vec<i64> {
    let interval_ms = i64::from(family.interval_s) * 1000;
    let mut now = first_ms;
    (0..count as i64)
        .map(|i| match family.timing {
            Timing::Regular => first_ms + i * interval_ms,
            Timing::Jittered => {
                first_ms + i * interval_ms + (dice.unit() * 0.1 * interval_ms as f64) as i64
            }
            Timing::Irregular => {
                now += 1000
                    + dice
                        .exponential(interval_ms as f64)
                        .min(20.0 * interval_ms as f64) as i64;
                now
            }
        })
        .collect()
}

fn slow_walk(dice: &mut Dice, count: usize) -> Vec<f64> {
    let moves = dice.chance(0.3);
    let target = if moves { dice.between(-0.2, 0.25) } else { 0.0 };
    let middle = dice.between(0.2, 0.9) * count as f64;
    let width = dice.between(0.05, 0.15) * count as f64;
    let roughness = dice.between(0.0, 0.06) / (count as f64).sqrt();
    let mut walk = 0.0;
    (0..count)
        .map(|i| {
            walk += roughness * dice.normal();
            let moved = target / (1.0 + (-(i as f64 - middle) / width).exp());
            (walk + moved).exp()
        })
        .collect()
}

fn ordinary_bumps(dice: &mut Dice, count: usize) -> Vec<f64> {
    let rate = 1.0 / dice.magnitude(150.0, 3000.0);
    let height = dice.between(0.08, 0.3);
    let keep = dice.between(0.0, 0.7);
    let mut level = 0.0;
    (0..count)
        .map(|_| {
            level *= keep;
            if dice.chance(rate) {
                level += (height * dice.pareto(2.5)).min(0.9);
            }
            if level < 0.01 { 0.0 } else { level }
        })
        .collect()
}
