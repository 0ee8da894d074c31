//! What services report: requests, latency, errors, queues, pools.

use super::shapes::{bursts, plateaus, sum, walk};
use super::{LEVELS, OUTAGES, RHYTHMS};
use crate::clock::{Clock, MINUTE, Rhythm};
use crate::draw::Draw;
use crate::recipe::Kind::{
    Beyond, Density, DriftDown, DriftUp, Failure, Flat, Night, PeakMissing, ShiftDown, ShiftUp,
    SpikeDown, SpikeUp, Tremor, Wild, Zero,
};
use crate::recipe::{Emission, Recipe};

/// A load balancer with a request now and then.
pub(super) fn requests_sparse(draw: &mut Draw) -> Recipe {
    let clock = Clock::fortnight(draw);
    let rhythm = Rhythm::people(draw);
    let rate = draw.log_uniform(0.15, 60.0);
    let season = draw.uniform(0.0, 1.5);
    let level = clock.map(|t| rate * (0.5 + season * rhythm.at(t)));
    let noise = Emission::Count(draw.uniform(0.0, 0.7));
    Recipe::new(draw, clock, level, noise)
        .step(1.0)
        .kinds(&[&[SpikeUp, SpikeUp, Beyond, ShiftUp, DriftUp, Zero, Night]])
}

/// A load balancer of a site that people use.
pub(super) fn requests_daily(draw: &mut Draw) -> Recipe {
    let interval = draw.pick(&[MINUTE, 5 * MINUTE, 5 * MINUTE]);
    let count = if interval == MINUTE {
        draw.int(6000, 20_000)
    } else {
        4032
    };
    let clock = Clock::regular(draw, interval, count);
    let rhythm = Rhythm::people(draw);
    let rate = draw.log_uniform(30.0, 3e5);
    let floor = draw.uniform(0.05, 0.6);
    let level = clock.map(|t| rate * (floor + rhythm.at(t)));
    let noise = Emission::Count(draw.uniform(0.02, 0.2));
    Recipe::new(draw, clock, level, noise)
        .step(1.0)
        .kinds(&[LEVELS, RHYTHMS, RHYTHMS, OUTAGES])
}

/// Several healthy levels of load, as customers' jobs start and end.
pub(super) fn requests_multi_modal(draw: &mut Draw) -> Recipe {
    let clock = Clock::fortnight(draw);
    let modes: Vec<f64> = (0..draw.int(3, 5))
        .map(|_| draw.log_uniform(20.0, 2000.0))
        .collect();
    let stay = draw.log_uniform(15.0, 150.0);
    let level = plateaus(draw, clock.len(), stay, |draw| draw.pick(&modes));
    let noise = Emission::Relative(draw.uniform(0.02, 0.10));
    Recipe::new(draw, clock, level, noise)
        .wanders()
        .step(0.1)
        .kinds(&[&[Beyond, Beyond, SpikeUp, Zero, Flat, Wild, Failure]])
}

/// Latency: log-normal, with tails that nobody can help.
pub(super) fn latency_tails(draw: &mut Draw) -> Recipe {
    let interval = draw.pick(&[10_000, MINUTE, 5 * MINUTE]);
    let count = draw.int(2500, 8000);
    let clock = Clock::regular(draw, interval, count);
    let base = draw.log_uniform(0.8, 900.0);
    let noise = Emission::Logarithmic(draw.uniform(0.1, 0.5));
    let (spikes, stormy) = (draw.uniform(0.5, 8.0), draw.uniform(0.0, 1.5));
    let level = walk(draw, count, 0.01, 0.02)
        .iter()
        .map(|x| base * x.exp())
        .collect();
    Recipe::new(draw, clock, level, noise)
        .mess(|mess| (mess.spikes, mess.bursts) = (spikes, stormy))
        .step(0.01)
        .kinds(&[&[
            SpikeUp, ShiftUp, ShiftUp, DriftUp, DriftUp, Wild, Beyond, Flat, ShiftDown,
        ]])
}

/// Latency that follows the load of the day.
pub(super) fn latency_daily(draw: &mut Draw) -> Recipe {
    let clock = Clock::fortnight(draw);
    let rhythm = Rhythm::people(draw);
    let base = draw.log_uniform(5.0, 500.0);
    let load = draw.uniform(0.2, 1.5);
    let level = clock.map(|t| base * (1.0 + load * rhythm.at(t).powi(2)));
    let noise = Emission::Logarithmic(draw.uniform(0.03, 0.2));
    let spikes = draw.uniform(0.0, 4.0);
    Recipe::new(draw, clock, level, noise)
        .mess(|mess| mess.spikes = spikes)
        .step(0.1)
        .kinds(&[LEVELS, RHYTHMS, &[DriftUp, ShiftUp, Tremor]])
}

/// Errors: none, none, one, none.
pub(super) fn errors_mostly_zero(draw: &mut Draw) -> Recipe {
    let interval = draw.pick(&[MINUTE, 5 * MINUTE]);
    let count = draw.int(3000, 9000);
    let clock = Clock::regular(draw, interval, count);
    let rate = draw.log_uniform(0.005, 0.4);
    let every = draw.log_uniform(200.0, 1500.0);
    let few = bursts(draw, count, every, (1.0, 3.0), |draw| {
        draw.uniform(1.0, 4.0)
    });
    let level = sum(vec![rate; count], &few);
    let dense = bursts(draw, count, 25.0, (1.0, 5.0), |draw| draw.uniform(1.0, 6.0));
    let noise = Emission::Count(draw.uniform(0.0, 0.5));
    Recipe::new(draw, clock, level, noise)
        .other(sum(dense, &vec![rate; count]))
        .wanders()
        .step(1.0)
        .kinds(&[&[SpikeUp, SpikeUp, ShiftUp, DriftUp, Beyond, Density]])
}

/// A queue in front of workers who mostly keep up.
pub(super) fn queue_depth(draw: &mut Draw) -> Recipe {
    let clock = Clock::fortnight(draw);
    let rhythm = Rhythm::people(draw);
    let (rate, used) = (draw.log_uniform(5.0, 500.0), draw.uniform(0.6, 0.93));
    let mut depth: f64 = 0.0;
    let level = clock.map(|t| {
        let arriving = draw.poisson(rate * used * (0.6 + 0.5 * rhythm.at(t)));
        depth = (depth + arriving - rate).max(0.0);
        depth + 0.05 * arriving
    });
    Recipe::new(draw, clock, level, Emission::Count(0.1))
        .wanders()
        .step(1.0)
        .kinds(&[&[SpikeUp, DriftUp, DriftUp, ShiftUp, Beyond, Flat]])
}

/// Messages behind: a batch arrives, consumers work it off.
pub(super) fn consumer_lag(draw: &mut Draw) -> Recipe {
    let interval = draw.pick(&[10_000, 30_000, MINUTE]);
    let count = draw.int(3000, 12_000);
    let clock = Clock::regular(draw, interval, count);
    let batch = draw.log_uniform(50.0, 5e4);
    let fast = draw.uniform(0.05, 0.4);
    let every = draw.log_uniform(20.0, 200.0);
    let arrivals = bursts(draw, count, every, (1.0, 3.0), |draw| {
        batch * draw.log_uniform(0.4, 2.0)
    });
    let mut lag = 0.0;
    let level = arrivals
        .iter()
        .map(|more| {
            lag = (lag + more) * (1.0 - fast);
            lag + 0.02 * batch
        })
        .collect();
    Recipe::new(draw, clock, level, Emission::Logarithmic(0.15))
        .wanders()
        .step(1.0)
        .kinds(&[&[SpikeUp, DriftUp, DriftUp, ShiftUp, Beyond, Zero, Flat]])
}

/// Connections in use, out of a pool.
pub(super) fn connection_pool(draw: &mut Draw) -> Recipe {
    let clock = Clock::fortnight(draw);
    let rhythm = Rhythm::people(draw);
    let limit = draw.pick(&[20.0, 50.0, 100.0, 200.0, 500.0]);
    let (low, more) = (draw.uniform(0.05, 0.3), draw.uniform(0.05, 0.4));
    let level = clock.map(|t| limit * (low + more * rhythm.at(t)));
    let noise = Emission::Count(draw.uniform(0.0, 0.15));
    Recipe::new(draw, clock, level, noise)
        .bounds(0.0, limit)
        .step(1.0)
        .kinds(&[LEVELS, RHYTHMS, &[DriftUp, DriftUp, ShiftUp, Zero]])
}

/// A fraction near one.
pub(super) fn cache_hit_ratio(draw: &mut Draw) -> Recipe {
    let clock = Clock::fortnight(draw);
    let rhythm = Rhythm::people(draw);
    let (ratio, season) = (draw.uniform(0.75, 0.985), draw.uniform(0.0, 0.04));
    let level = clock.map(|t| ratio - season * rhythm.at(t));
    let noise = Emission::Additive((1.0 - ratio) * draw.uniform(0.05, 0.3));
    Recipe::new(draw, clock, level, noise)
        .bounds(0.0, 1.0)
        .step(0.0001)
        .kinds(&[&[
            SpikeDown, SpikeDown, ShiftDown, DriftDown, DriftDown, Zero, Flat, Failure, Wild,
        ]])
}

/// The number of instances: steps all day, and healthy.
pub(super) fn autoscaling(draw: &mut Draw) -> Recipe {
    let clock = Clock::fortnight(draw);
    let rhythm = Rhythm::people(draw);
    let (least, more) = (draw.uniform(2.0, 6.0), draw.uniform(4.0, 40.0));
    let hold = draw.int(3, 18);
    let needs = clock.map(|t| least + more * rhythm.at(t));
    let needs = sum(needs, &walk(draw, clock.len(), 0.15, 0.03));
    let mut running = needs[0];
    let level = needs
        .iter()
        .enumerate()
        .map(|(at, need)| {
            if at % hold == 0 && (need - running).abs() > 0.8 {
                running = need.ceil();
            }
            running
        })
        .collect();
    Recipe::new(draw, clock, level, Emission::Exact)
        .step(1.0)
        .kinds(&[&[
            SpikeUp,
            ShiftUp,
            ShiftDown,
            PeakMissing,
            Night,
            Beyond,
            Flat,
            Zero,
        ]])
}

/// A level that moves a little with each of the many deployments.
pub(super) fn deploy_steps(draw: &mut Draw) -> Recipe {
    let clock = Clock::fortnight(draw);
    let base = draw.log_uniform(1.0, 5000.0);
    let spread = draw.uniform(0.02, 0.08);
    let stay = draw.log_uniform(60.0, 250.0);
    let level = plateaus(draw, clock.len(), stay, |draw| {
        base * (1.0 + 1.5 * spread * draw.normal())
    });
    Recipe::new(draw, clock, level, Emission::Relative(spread))
        .wanders()
        .kinds(&[LEVELS, OUTAGES, &[DriftUp, ShiftUp]])
}
