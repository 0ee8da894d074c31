//! What a single machine reports.

use super::shapes::{bursts, jobs, plateaus, sawtooth, sum, walk};
use super::{LEVELS, OUTAGES, RHYTHMS};
use crate::clock::{Clock, DAY, HOUR, MINUTE, Rhythm};
use crate::draw::Draw;
use crate::recipe::Kind::{
    Beyond, Density, DriftUp, EventsStop, Failure, Flat, PeakDoubled, ShiftDown, ShiftUp,
    SpikeDown, SpikeUp, Wild, Zero,
};
use crate::recipe::{Emission, Recipe};

/// An idle box: some percent, and a spike whenever cron starts a job.
pub(super) fn cpu_idle_cron(draw: &mut Draw) -> Recipe {
    let clock = Clock::fortnight(draw);
    let idle = draw.log_uniform(0.3, 6.0);
    let quiet = vec![idle; clock.len()];
    let every = draw.pick(&[HOUR, 6 * HOUR, 12 * HOUR, DAY]);
    let lasting = draw.pick(&[5, 10, 15, 30]) * MINUTE;
    let jitter = draw.pick(&[0, MINUTE, 10 * MINUTE]);
    let height = draw.uniform(4.0, 60.0);
    let running = jobs(draw, &clock, every, lasting, jitter);
    let level = running
        .iter()
        .map(|on| if *on { idle + height } else { idle })
        .collect();
    let noise = Emission::Relative(draw.uniform(0.02, 0.12));
    let step = draw.pick(&[0.001, 0.01, 0.1]);
    Recipe::new(draw, clock, level, noise)
        .quiet(quiet)
        .bounds(0.0, 100.0)
        .step(step)
        .kinds(&[&[
            SpikeUp, SpikeUp, ShiftUp, DriftUp, EventsStop, EventsStop, Wild, Beyond, Zero,
        ]])
}

/// A busy web server: the day's season, and noise that remembers.
pub(super) fn cpu_web_daily(draw: &mut Draw) -> Recipe {
    let clock = Clock::fortnight(draw);
    let rhythm = Rhythm::people(draw);
    let (night, day) = (draw.uniform(8.0, 35.0), draw.uniform(10.0, 45.0));
    let level = clock.map(|t| night + day * rhythm.at(t));
    let noise = Emission::Relative(draw.uniform(0.02, 0.10));
    Recipe::new(draw, clock, level, noise)
        .bounds(0.0, 100.0)
        .step(0.01)
        .kinds(&[LEVELS, RHYTHMS, OUTAGES])
}

/// Busy or idle, at random and healthy.
pub(super) fn cpu_two_levels(draw: &mut Draw) -> Recipe {
    let clock = Clock::fortnight(draw);
    let (low, high) = (draw.uniform(2.0, 25.0), draw.uniform(35.0, 85.0));
    let stay = draw.log_uniform(8.0, 120.0);
    let mut busy = false;
    let level = plateaus(draw, clock.len(), stay, |draw| {
        busy = !busy;
        if busy {
            high + draw.normal()
        } else {
            low + 0.5 * draw.normal()
        }
    });
    let noise = Emission::Additive(draw.uniform(0.4, 3.0));
    Recipe::new(draw, clock, level, noise)
        .wanders()
        .bounds(0.0, 100.0)
        .step(0.01)
        .kinds(&[&[Beyond, Beyond, Flat, Wild, Zero, ShiftUp, Failure]])
}

/// A database: plateaus as jobs come and go, slow ramps as tables grow.
pub(super) fn cpu_database_plateaus(draw: &mut Draw) -> Recipe {
    let clock = Clock::fortnight(draw);
    let stay = draw.log_uniform(150.0, 900.0);
    let size = draw.uniform(0.3, 3.0);
    let base = draw.uniform(8.0, 45.0);
    let level = plateaus(draw, clock.len(), stay, |draw| base + size * draw.normal());
    let slope = draw.uniform(-1.0, 3.0) / clock.len() as f64;
    let ramp: Vec<f64> = (0..clock.len()).map(|at| slope * at as f64).collect();
    let noise = Emission::Additive(draw.uniform(0.2, 2.0));
    let tails = draw.uniform(0.0, 2.0);
    Recipe::new(draw, clock, sum(level, &ramp), noise)
        .wanders()
        .mess(|mess| mess.spikes = tails)
        .bounds(0.0, 100.0)
        .step(0.001)
        .kinds(&[LEVELS, &[ShiftUp, DriftUp, SpikeUp, Zero]])
}

/// Near its limit all the time: only less is possible.
pub(super) fn cpu_saturated(draw: &mut Draw) -> Recipe {
    let clock = Clock::fortnight(draw);
    let middle = draw.uniform(88.0, 98.5);
    let level = sum(
        vec![middle; clock.len()],
        &walk(draw, clock.len(), 0.1, 0.01),
    );
    let noise = Emission::Additive(draw.uniform(0.5, 2.5));
    Recipe::new(draw, clock, level, noise)
        .bounds(0.0, 100.0)
        .step(0.01)
        .kinds(&[&[SpikeDown, SpikeDown, ShiftDown, Failure, Zero, Flat, Wild]])
}

/// Some hundredths of a percent about a steady value, with healthy outliers,
/// until something uses the machine.
pub(super) fn cpu_quiet_noise(draw: &mut Draw) -> Recipe {
    let clock = Clock::fortnight(draw);
    let base = draw.log_uniform(0.05, 3.0);
    let level = vec![base; clock.len()];
    let noise = Emission::Logarithmic(draw.uniform(0.02, 0.25));
    let (spikes, bursts) = (draw.uniform(0.0, 6.0), draw.uniform(0.0, 1.0));
    Recipe::new(draw, clock, level, noise)
        .mess(|mess| (mess.spikes, mess.bursts) = (spikes, bursts))
        .bounds(0.0, 100.0)
        .step(0.002)
        .kinds(&[&[SpikeUp, Beyond, ShiftUp, ShiftUp, DriftUp, Wild, Zero, Flat]])
}

/// Bytes in: log-normal with bursts over orders of magnitude.
pub(super) fn network_heavy_tail(draw: &mut Draw) -> Recipe {
    let clock = Clock::fortnight(draw);
    let base = draw.log_uniform(50.0, 3e7);
    let (often, rarely) = (
        draw.log_uniform(15.0, 300.0),
        draw.log_uniform(300.0, 2000.0),
    );
    let flow = |draw: &mut Draw, every: f64| {
        bursts(draw, clock.len(), every, (1.0, 8.0), |draw| {
            draw.pareto(2.0 * base, 1.6)
        })
    };
    let quiet = vec![base; clock.len()];
    let level = sum(flow(draw, often), &quiet);
    let otherwise = if draw.chance(0.5) {
        often / 6.0
    } else {
        2.0 * rarely
    };
    let rare = sum(flow(draw, otherwise), &quiet);
    let noise = Emission::Logarithmic(draw.uniform(0.1, 0.6));
    Recipe::new(draw, clock, level, noise)
        .other(rare)
        .wanders()
        .step(1.0)
        .kinds(&[&[
            SpikeUp, Beyond, Beyond, ShiftUp, Density, Zero, Flat, DriftUp, Wild,
        ]])
}

/// Bytes out of a service that people use.
pub(super) fn network_daily(draw: &mut Draw) -> Recipe {
    let clock = Clock::fortnight(draw);
    let rhythm = Rhythm::people(draw);
    let scale = draw.log_uniform(1e4, 1e9);
    let floor = draw.uniform(0.05, 0.5);
    let level = clock.map(|t| scale * (floor + rhythm.at(t)));
    let noise = Emission::Logarithmic(draw.uniform(0.05, 0.3));
    let spikes = draw.uniform(0.0, 3.0);
    Recipe::new(draw, clock, level, noise)
        .mess(|mess| mess.spikes = spikes)
        .kinds(&[LEVELS, RHYTHMS, OUTAGES])
}

/// Bytes written: nothing mostly, then a burst.
pub(super) fn disk_writes_bursts(draw: &mut Draw) -> Recipe {
    let clock = Clock::fortnight(draw);
    let size = draw.log_uniform(1e3, 3e8);
    let every = draw.log_uniform(10.0, 250.0);
    let flow = |draw: &mut Draw, every: f64| {
        bursts(draw, clock.len(), every, (1.0, 4.0), |draw| {
            size * draw.log_uniform(0.3, 3.0)
        })
    };
    let level = flow(draw, every);
    let factor = draw.pick(&[0.1, 0.15, 8.0]);
    let other = flow(draw, every * factor);
    let noise = Emission::Logarithmic(draw.uniform(0.1, 0.4));
    Recipe::new(draw, clock, level, noise)
        .other(other)
        .wanders()
        .step(512.0)
        .kinds(&[&[SpikeUp, Beyond, Beyond, ShiftUp, Density, Density, DriftUp]])
}

/// A disk that fills slowly and is cleaned daily or weekly.
pub(super) fn disk_usage(draw: &mut Draw) -> Recipe {
    let count = draw.int(1500, 4032);
    let interval = draw.pick(&[5, 10, 30]) * MINUTE;
    let clock = Clock::regular(draw, interval, count);
    let low = draw.uniform(20.0, 55.0);
    let high = low + draw.uniform(2.0, 20.0);
    let teeth = draw.uniform(3.0, 15.0);
    let level = sawtooth(
        draw,
        clock.len(),
        low,
        high,
        (high - low) * teeth / count as f64,
    );
    let noise = Emission::Additive((high - low) * draw.uniform(0.001, 0.01));
    Recipe::new(draw, clock, level, noise)
        .wanders()
        .bounds(0.0, 100.0)
        .step(0.01)
        .kinds(&[&[SpikeUp, DriftUp, DriftUp, ShiftUp, ShiftDown, Beyond, Flat]])
}

/// A load average: positive, sluggish, with healthy humps.
pub(super) fn load_average(draw: &mut Draw) -> Recipe {
    let interval = draw.pick(&[MINUTE, 5 * MINUTE]);
    let count = draw.int(3000, 8000);
    let clock = Clock::regular(draw, interval, count);
    let base = draw.log_uniform(0.1, 12.0).ln();
    let step = draw.uniform(0.03, 0.12);
    let level = walk(draw, count, step, 0.03)
        .iter()
        .map(|x| (base + x).exp())
        .collect();
    let noise = Emission::Logarithmic(draw.uniform(0.02, 0.15));
    Recipe::new(draw, clock, level, noise)
        .wanders()
        .step(0.01)
        .kinds(&[&[SpikeUp, ShiftUp, DriftUp, Beyond, Flat, Wild, Failure]])
}

/// Heap of a collected runtime.
pub(super) fn memory_gc_sawtooth(draw: &mut Draw) -> Recipe {
    let interval = draw.pick(&[10_000, 30_000, MINUTE]);
    let count = draw.int(3000, 10_000);
    let clock = Clock::regular(draw, interval, count);
    let low = draw.log_uniform(5e7, 4e9);
    let high = low * draw.uniform(1.3, 4.0);
    let tooth = draw.log_uniform(12.0, 200.0);
    let level = sawtooth(draw, count, low, high, (high - low) / tooth);
    let noise = Emission::Relative(draw.uniform(0.002, 0.02));
    Recipe::new(draw, clock, level, noise)
        .wanders()
        .step(4096.0)
        .kinds(&[&[
            SpikeUp, DriftUp, DriftUp, ShiftUp, Beyond, Beyond, Flat, Zero,
        ]])
}

/// Memory that grows with a season upon it, and falls at each release.
pub(super) fn memory_restarts(draw: &mut Draw) -> Recipe {
    let clock = Clock::fortnight(draw);
    let rhythm = Rhythm::people(draw);
    let low = draw.uniform(25.0, 45.0);
    let grows = draw.uniform(3.0, 14.0);
    let teeth = draw.uniform(2.0, 10.0);
    let season = draw.uniform(0.0, 6.0);
    let count = clock.len();
    let level = sawtooth(draw, count, low, low + grows, grows * teeth / count as f64);
    let level = sum(level, &clock.map(|t| season * rhythm.at(t)));
    let noise = Emission::Additive(draw.uniform(0.05, 0.8));
    Recipe::new(draw, clock, level, noise)
        .wanders()
        .bounds(0.0, 100.0)
        .step(0.01)
        .kinds(&[LEVELS, &[DriftUp, DriftUp, PeakDoubled, Zero]])
}
