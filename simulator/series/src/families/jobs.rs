//! Jobs and bursts: at their hour, in their rhythm, or at random.

use super::shapes::{bursts, jobs, sum};
use crate::clock::{Clock, DAY, HOUR, MINUTE};
use crate::draw::Draw;
use crate::recipe::Kind::{
    Beyond, Density, DriftUp, EventsStop, Night, PeakDoubled, PeakMissing, PhaseShift, ShiftUp,
    SpikeUp, Wild, Zero,
};
use crate::recipe::{Emission, Recipe};

/// Quiet by day, hours of work at night.
pub(super) fn batch_night(draw: &mut Draw) -> Recipe {
    let clock = Clock::fortnight(draw);
    let base = draw.log_uniform(0.5, 1e4);
    let factor = draw.log_uniform(2.0, 25.0);
    let lasting = draw.uniform(0.5, 5.0) * HOUR as f64;
    let running = jobs(draw, &clock, DAY, lasting as i64, 20 * MINUTE);
    let level = running
        .iter()
        .map(|on| if *on { base * factor } else { base })
        .collect();
    let quiet = vec![base; clock.len()];
    let noise = Emission::Logarithmic(draw.uniform(0.05, 0.25));
    Recipe::new(draw, clock, level, noise)
        .quiet(quiet)
        .kinds(&[&[
            EventsStop,
            EventsStop,
            PeakMissing,
            PeakMissing,
            PeakDoubled,
            Night,
            PhaseShift,
            SpikeUp,
            ShiftUp,
            Beyond,
            Wild,
        ]])
}

/// A spike at each full period, until it no longer comes.
pub(super) fn periodic_spikes(draw: &mut Draw) -> Recipe {
    let interval = draw.pick(&[MINUTE, 5 * MINUTE]);
    let count = draw.int(3000, 8000);
    let clock = Clock::regular(draw, interval, count);
    let every = interval * draw.int(8, 80) as i64;
    let lasting = interval * draw.int(1, 3) as i64;
    let base = draw.log_uniform(1.0, 1e5);
    let height = base * draw.log_uniform(0.5, 10.0);
    let running = jobs(draw, &clock, every, lasting, 0);
    let level = running
        .iter()
        .map(|on| if *on { base + height } else { base })
        .collect();
    let quiet = vec![base; count];
    let noise = Emission::Relative(draw.uniform(0.02, 0.15));
    Recipe::new(draw, clock, level, noise)
        .quiet(quiet)
        .kinds(&[&[
            EventsStop, EventsStop, EventsStop, SpikeUp, Beyond, ShiftUp, DriftUp, Zero,
        ]])
}

/// Network traffic of a backup: hours at full speed on some nights.
pub(super) fn backup_traffic(draw: &mut Draw) -> Recipe {
    let clock = Clock::fortnight(draw);
    let base = draw.log_uniform(1e3, 1e6);
    let full = base * draw.log_uniform(30.0, 3000.0);
    let every = draw.pick(&[12 * HOUR, DAY, DAY, 2 * DAY]);
    let lasting = draw.uniform(0.3, 3.0) * HOUR as f64;
    let running = jobs(draw, &clock, every, lasting as i64, 40 * MINUTE);
    let level = running
        .iter()
        .map(|on| if *on { full } else { base })
        .collect();
    let quiet = vec![base; clock.len()];
    let noise = Emission::Logarithmic(draw.uniform(0.1, 0.5));
    Recipe::new(draw, clock, level, noise)
        .quiet(quiet)
        .step(1.0)
        .kinds(&[&[
            EventsStop,
            EventsStop,
            PeakMissing,
            Night,
            Night,
            Beyond,
            SpikeUp,
            Zero,
        ]])
}

/// Bursts that come at random, but at a rate that is known.
pub(super) fn burst_density(draw: &mut Draw) -> Recipe {
    let clock = Clock::fortnight(draw);
    let base = draw.log_uniform(0.1, 1e5);
    let every = draw.log_uniform(12.0, 60.0);
    let flow = |draw: &mut Draw, every: f64| {
        let height = |draw: &mut Draw| base * draw.uniform(2.0, 8.0);
        let flow = bursts(draw, clock.len(), every, (1.0, 4.0), height);
        sum(flow, &vec![base; clock.len()])
    };
    let level = flow(draw, every);
    let factor = draw.pick(&[0.15, 0.25, 12.0, 1e6]);
    let other = flow(draw, every * factor);
    let noise = Emission::Logarithmic(draw.uniform(0.05, 0.3));
    Recipe::new(draw, clock, level, noise)
        .other(other)
        .wanders()
        .kinds(&[&[Density, Density, Density, Beyond, SpikeUp, Zero]])
}
