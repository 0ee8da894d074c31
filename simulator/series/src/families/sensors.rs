//! Machines, rooms and hands.

use super::shapes::{plateaus, sawtooth, sum, walk};
use super::{LEVELS, RHYTHMS};
use crate::clock::{Clock, DAY, HOUR, MINUTE, Rhythm};
use crate::draw::Draw;
use crate::recipe::Kind::{
    Beyond, Calm, DriftDown, DriftUp, Failure, Flat, OtherDay, PeakMissing, ShiftDown, ShiftUp,
    SpikeDown, SpikeUp, Tremor, Wild, Zero,
};
use crate::recipe::{Emission, Recipe};

/// A part of a large machine: slow drifts, planned stops, and failures that
/// announce themselves.
pub(super) fn machine_temperature(draw: &mut Draw) -> Recipe {
    let count = draw.int(5000, 20_000);
    let clock = Clock::regular(draw, 5 * MINUTE, count);
    let step = draw.uniform(0.15, 0.6);
    let drift = walk(draw, count, step, 0.003);
    let base = draw.uniform(50.0, 95.0);
    let level = sum(vec![base; count], &drift);
    let noise = Emission::Additive(draw.uniform(0.3, 1.5));
    Recipe::new(draw, clock, level, noise)
        .wanders()
        .mess(|mess| mess.memory = mess.memory.max(0.6))
        .kinds(&[&[
            Failure, Failure, Failure, Tremor, SpikeDown, DriftDown, DriftUp,
        ]])
        .bounds(0.0, 160.0)
}

/// A room every hour: seasons, days, people.
pub(super) fn room_temperature(draw: &mut Draw) -> Recipe {
    let count = draw.int(3000, 8000);
    let clock = Clock::regular(draw, HOUR, count);
    let gaps = draw.int(0, 4);
    let clock = clock.with_gaps(draw, gaps, 0.05);
    let rhythm = Rhythm::people(draw);
    let (base, year, day) = (
        draw.uniform(65.0, 75.0),
        draw.uniform(0.0, 4.0),
        draw.uniform(0.3, 3.0),
    );
    let turn = draw.uniform(0.0, std::f64::consts::TAU);
    let level = clock.map(|t| {
        let angle = turn + std::f64::consts::TAU * t as f64 / (365.0 * DAY as f64);
        base + year * angle.sin() + day * rhythm.at(t)
    });
    let step = draw.uniform(0.1, 0.35);
    let weather = walk(draw, clock.len(), step, 0.02);
    Recipe::new(draw, clock, sum(level, &weather), Emission::Additive(0.4))
        .wanders()
        .kinds(&[LEVELS, &[SpikeDown, DriftUp, DriftDown, Tremor]])
        .bounds(30.0, 120.0)
}

/// A building's power: five days of work, two of rest.
pub(super) fn power_demand(draw: &mut Draw) -> Recipe {
    let interval = draw.pick(&[15, 30]) * MINUTE;
    let count = draw.int(3000, 10_000);
    let clock = Clock::regular(draw, interval, count);
    let weekend = draw.uniform(0.05, 0.4);
    let rhythm = Rhythm::new(draw, &[(9.5, 2.0, 0.8), (14.0, 2.5, 0.9)], weekend);
    let scale = draw.log_uniform(1.0, 3000.0);
    let base = draw.uniform(0.3, 1.0);
    let level = clock.map(|t| scale * (base + rhythm.at(t)));
    Recipe::new(draw, clock, level, Emission::Relative(0.03)).kinds(&[
        RHYTHMS,
        &[OtherDay, OtherDay, PeakMissing, PeakMissing, SpikeUp, Zero],
    ])
}

/// A sensor that knows few values.
pub(super) fn quantised_sensor(draw: &mut Draw) -> Recipe {
    let interval = draw.pick(&[10_000, MINUTE, 5 * MINUTE]);
    let count = draw.int(2500, 8000);
    let clock = Clock::regular(draw, interval, count);
    let step = draw.pick(&[0.25, 0.5, 1.0, 5.0]);
    let base = step * draw.uniform(10.0, 200.0);
    let slow = walk(draw, count, 0.05 * step, 0.005);
    let noise = Emission::Additive(step * draw.uniform(0.2, 1.5));
    Recipe::new(draw, clock, sum(vec![base; count], &slow), noise)
        .step(step)
        .wanders()
        .kinds(&[LEVELS, &[DriftUp, DriftDown, Zero]])
}

/// Vibration of a bearing: quiet, a little louder under load.
pub(super) fn vibration(draw: &mut Draw) -> Recipe {
    let count = draw.int(6000, 20_000);
    let clock = Clock::regular(draw, 10_000, count);
    let base = draw.log_uniform(0.01, 5.0);
    let stay = draw.log_uniform(200.0, 1500.0);
    let level = plateaus(draw, count, stay, |draw| base * draw.uniform(0.9, 1.25));
    let noise = Emission::Logarithmic(draw.uniform(0.08, 0.35));
    Recipe::new(draw, clock, level, noise).wanders().kinds(&[&[
        SpikeUp, ShiftUp, DriftUp, DriftUp, Wild, Wild, Tremor, Flat, Zero,
    ]])
}

/// A cell that is charged and discharged.
pub(super) fn battery_voltage(draw: &mut Draw) -> Recipe {
    let count = draw.int(2000, 6000);
    let clock = Clock::regular(draw, 10 * MINUTE, count);
    let (low, high) = (draw.uniform(3.2, 3.6), draw.uniform(4.0, 4.2));
    let cycle = draw.log_uniform(60.0, 300.0);
    // Voltage falls slowly and is back at once: the sawtooth upside down.
    let level = sawtooth(draw, count, low, high, (high - low) / cycle);
    let level = level.iter().map(|value| low + high - value).collect();
    Recipe::new(draw, clock, level, Emission::Additive(0.02 * (high - low)))
        .wanders()
        .step(0.001)
        .kinds(&[&[SpikeDown, DriftDown, ShiftDown, Flat, Beyond, Zero, Wild]])
}

/// How long a key is held down, or the pause between two: seconds, one sample
/// per stroke, hours of pause between sessions.
pub(super) fn key_hold(draw: &mut Draw) -> Recipe {
    let count = draw.int(1500, 5500);
    let mut clock = Clock::irregular(draw, 30_000, count);
    let sittings = draw.int(5, 25);
    let starts: Vec<usize> = (0..sittings).map(|_| draw.int(1, count - 1)).collect();
    for start in starts {
        let pause = draw.uniform(1.0, 14.0) * HOUR as f64;
        for time in &mut clock.times[start..] {
            *time += pause as i64;
        }
    }
    let base = draw.log_uniform(0.03, 0.4);
    let hands = walk(draw, count, 0.02, 0.05)
        .iter()
        .map(|x| base * x.exp())
        .collect();
    let noise = Emission::Logarithmic(draw.uniform(0.15, 0.5));
    let spikes = draw.uniform(0.0, 5.0);
    Recipe::new(draw, clock, hands, noise)
        .wanders()
        .mess(|mess| mess.spikes = spikes)
        .kinds(&[&[
            ShiftUp, ShiftUp, ShiftDown, Wild, Calm, SpikeUp, DriftUp, Beyond,
        ]])
}
