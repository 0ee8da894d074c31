//! Plain processes: constant, clean, square, wandering, growing.

use super::shapes::{plateaus, sum, walk};
use super::{LEVELS, OUTAGES, RHYTHMS};
use crate::clock::{Clock, HOUR, MINUTE, Rhythm};
use crate::draw::Draw;
use crate::recipe::Kind::{
    Beyond, Calm, DriftDown, DriftUp, Failure, Flat, Night, PeakDoubled, PeakMissing, PhaseShift,
    ShiftDown, ShiftUp, SpikeDown, SpikeUp, Wild, Zero,
};
use crate::recipe::{Emission, Recipe};

fn any_clock(draw: &mut Draw) -> Clock {
    let interval = draw.pick(&[10_000, MINUTE, 5 * MINUTE, 5 * MINUTE, 30 * MINUTE, HOUR]);
    let count = if interval < 5 * MINUTE {
        draw.int(3000, 10_000)
    } else {
        draw.int(1000, 5000)
    };
    Clock::regular(draw, interval, count)
}

/// A value of any size and sign, with noise about it.
pub(super) fn constant_noise(draw: &mut Draw) -> Recipe {
    let clock = any_clock(draw);
    let base = draw.log_uniform(1e-3, 1e9) * draw.pick(&[1.0, 1.0, -1.0]);
    let level = vec![base; clock.len()];
    let noise = Emission::Additive(base.abs() * draw.log_uniform(0.001, 0.3));
    Recipe::new(draw, clock, level, noise)
        .bounds(f64::NEG_INFINITY, f64::INFINITY)
        .kinds(&[LEVELS, &[DriftDown, Calm, Wild]])
}

/// Always the same value, until it is not.
pub(super) fn constant_exact(draw: &mut Draw) -> Recipe {
    let clock = any_clock(draw);
    let base = draw.pick(&[0.0, 1.0, 3.0, 16.0, 100.0, 4096.0]);
    let level = vec![base; clock.len()];
    Recipe::new(draw, clock, level, Emission::Exact)
        .step(if base == 1.0 { 0.001 } else { 1.0 })
        .kinds(&[&[SpikeUp, SpikeDown, ShiftUp, ShiftDown, DriftUp, Zero]])
}

/// Daily rhythm with hardly any noise.
pub(super) fn clean_daily(draw: &mut Draw) -> Recipe {
    let clock = Clock::fortnight(draw);
    let tops = [(draw.uniform(9.0, 17.0), draw.uniform(2.0, 5.0), 1.0)];
    let rhythm = Rhythm::new(draw, &tops, 1.0);
    let (base, day) = (draw.uniform(10.0, 40.0), draw.uniform(20.0, 60.0));
    let level = clock.map(|t| base + day * rhythm.at(t));
    let noise = Emission::Additive(draw.uniform(0.1, 3.0));
    Recipe::new(draw, clock, level, noise)
        .mess(|mess| mess.breathing = 0.0)
        .kinds(&[RHYTHMS, &[Flat, Flat, PeakMissing, PeakDoubled, Beyond]])
}

/// On by day, off by night.
pub(super) fn square_duty(draw: &mut Draw) -> Recipe {
    let clock = Clock::fortnight(draw);
    let rhythm = Rhythm::new(draw, &[(12.0, 4.0, 1.0)], 1.0);
    let (low, high) = (draw.uniform(10.0, 30.0), draw.uniform(50.0, 90.0));
    let (from, to) = (draw.uniform(6.0, 10.0), draw.uniform(15.0, 21.0));
    let on = |t| (from..to).contains(&rhythm.hour(t));
    let level = clock.map(|t| if on(t) { high } else { low });
    let quiet = vec![low; clock.len()];
    let noise = Emission::Additive(draw.uniform(0.2, 5.0));
    Recipe::new(draw, clock, level, noise)
        .quiet(quiet)
        .kinds(&[&[
            PeakMissing,
            PeakMissing,
            PhaseShift,
            Night,
            PeakDoubled,
            Flat,
            Beyond,
        ]])
}

/// A random walk: it has no normal level, and that is normal.
pub(super) fn random_walk(draw: &mut Draw) -> Recipe {
    let clock = any_clock(draw);
    let scale = draw.log_uniform(0.01, 1e5);
    let level = walk(draw, clock.len(), scale, 0.0002);
    let base = 100.0 * scale;
    let level = sum(vec![base; clock.len()], &level);
    Recipe::new(draw, clock, level, Emission::Additive(0.3 * scale))
        .wanders()
        .bounds(f64::NEG_INFINITY, f64::INFINITY)
        .kinds(&[&[SpikeUp, SpikeDown, ShiftUp, ShiftDown, Flat, Wild, Failure]])
}

/// Several ways to be normal: level and memory change together.
pub(super) fn regime_switching(draw: &mut Draw) -> Recipe {
    let clock = any_clock(draw);
    let scale = draw.log_uniform(0.1, 1e6);
    let modes = [0.7, 1.0, draw.uniform(1.2, 2.0)];
    let stay = draw.log_uniform(60.0, 400.0);
    let level = plateaus(draw, clock.len(), stay, |draw| scale * draw.pick(&modes));
    let wander = walk(draw, clock.len(), 0.02 * scale, 0.05);
    let noise = Emission::Relative(draw.uniform(0.02, 0.12));
    Recipe::new(draw, clock, sum(level, &wander), noise)
        .wanders()
        .kinds(&[LEVELS, OUTAGES])
}

/// Growth, with or without a day upon it.
pub(super) fn growing_trend(draw: &mut Draw) -> Recipe {
    let clock = any_clock(draw);
    let rhythm = Rhythm::people(draw);
    let base = draw.log_uniform(1.0, 1e8);
    let (growth, season) = (draw.uniform(0.1, 1.5), draw.pick(&[0.0, 0.1, 0.4]));
    let count = clock.len() as f64;
    let level = clock.times.iter().enumerate();
    let level = level
        .map(|(at, t)| base * (1.0 + growth * at as f64 / count) * (1.0 + season * rhythm.at(*t)))
        .collect();
    let noise = Emission::Relative(draw.uniform(0.003, 0.06));
    Recipe::new(draw, clock, level, noise).kinds(&[LEVELS, OUTAGES, &[DriftDown, ShiftDown]])
}

/// A daily rhythm with stretches that nobody recorded.
pub(super) fn gappy_daily(draw: &mut Draw) -> Recipe {
    let stretches = draw.int(3, 12);
    let clock = Clock::fortnight(draw).with_gaps(draw, stretches, 0.2);
    let rhythm = Rhythm::people(draw);
    let scale = draw.log_uniform(0.5, 1e7);
    let level = clock.map(|t| scale * (0.3 + rhythm.at(t)));
    let noise = Emission::Relative(draw.uniform(0.03, 0.15));
    Recipe::new(draw, clock, level, noise).kinds(&[LEVELS, RHYTHMS, OUTAGES])
}

/// The rate of a counter, with the healthy zero of each restart.
pub(super) fn counter_rate(draw: &mut Draw) -> Recipe {
    let clock = any_clock(draw);
    let rate = draw.log_uniform(1.0, 1e6);
    let every = draw.log_uniform(80.0, 400.0);
    let mut left = draw.exponential(every);
    let level = clock.map(|_| {
        left -= 1.0;
        if left < 0.0 {
            left = 20.0 + draw.exponential(every);
            return 0.0;
        }
        rate
    });
    let noise = Emission::Relative(draw.uniform(0.03, 0.2));
    Recipe::new(draw, clock, level, noise).kinds(&[&[
        SpikeUp, SpikeUp, ShiftUp, ShiftDown, DriftUp, Zero, Flat, Wild, Beyond,
    ]])
}
