//! What people do, counted: clicks, orders, rides, mentions, traffic.

use super::shapes::{bursts, sum, walk};
use super::{LEVELS, RHYTHMS};
use crate::clock::{Clock, HOUR, MINUTE, Rhythm};
use crate::draw::Draw;
use crate::recipe::Kind::{
    Beyond, Density, DriftUp, Night, OtherDay, PeakDoubled, PeakMissing, ShiftDown, ShiftUp,
    SpikeDown, SpikeUp, Wild, Zero,
};
use crate::recipe::{Emission, Recipe};

fn hourly(draw: &mut Draw) -> Clock {
    let count = draw.int(1200, 1900);
    let clock = Clock::regular(draw, HOUR, count);
    let gaps = draw.int(0, 3);
    clock.with_gaps(draw, gaps, 0.02)
}

/// Money per click: a price that changes slowly, a heavy tail above it.
pub(super) fn cost_per_click(draw: &mut Draw) -> Recipe {
    let clock = hourly(draw);
    let price = draw.log_uniform(0.02, 3.0);
    let level = walk(draw, clock.len(), 0.02, 0.03)
        .iter()
        .map(|x| price * x.exp())
        .collect();
    let noise = Emission::Logarithmic(draw.uniform(0.15, 0.55));
    let spikes = draw.uniform(1.0, 8.0);
    Recipe::new(draw, clock, level, noise)
        .wanders()
        .mess(|mess| mess.spikes = spikes)
        .kinds(&[&[SpikeUp, SpikeUp, SpikeUp, Beyond, ShiftUp, Wild, ShiftDown]])
}

/// Money per thousand views: as heavy-tailed, but with a day.
pub(super) fn cost_hourly_daily(draw: &mut Draw) -> Recipe {
    let clock = hourly(draw);
    let rhythm = Rhythm::people(draw);
    let price = draw.log_uniform(0.2, 20.0);
    let season = draw.uniform(0.1, 1.0);
    let level = clock.map(|t| price * (1.0 + season * rhythm.at(t)));
    let noise = Emission::Logarithmic(draw.uniform(0.08, 0.35));
    let spikes = draw.uniform(0.0, 4.0);
    Recipe::new(draw, clock, level, noise)
        .mess(|mess| mess.spikes = spikes)
        .step(0.001)
        .kinds(&[&[
            SpikeUp,
            SpikeUp,
            Beyond,
            ShiftUp,
            PeakDoubled,
            Night,
            Zero,
            DriftUp,
        ]])
}

/// Orders every half hour: the week matters more than the day.
pub(super) fn orders_weekly(draw: &mut Draw) -> Recipe {
    let count = draw.int(2000, 6000);
    let clock = Clock::regular(draw, 30 * MINUTE, count);
    let weekend = draw.uniform(0.15, 1.6);
    let top = draw.uniform(10.0, 16.0);
    let rhythm = Rhythm::new(draw, &[(top, 3.0, 1.0), (20.0, 2.0, 0.5)], weekend);
    let rate = draw.log_uniform(8.0, 4000.0);
    let level = clock.map(|t| rate * (0.03 + rhythm.at(t)));
    let noise = Emission::Count(draw.uniform(0.03, 0.2));
    Recipe::new(draw, clock, level, noise).step(1.0).kinds(&[
        RHYTHMS,
        &[OtherDay, OtherDay, SpikeUp, Zero, ShiftDown, ShiftUp],
    ])
}

/// Rides in a city: mornings, evenings, late weekends; half a year.
pub(super) fn taxi_passengers(draw: &mut Draw) -> Recipe {
    let count = draw.int(5000, 11_000);
    let clock = Clock::regular(draw, 30 * MINUTE, count);
    let bumps = [
        (8.5, 1.6, 0.75),
        (13.5, 3.0, 0.6),
        (19.5, 2.5, 1.0),
        (0.0, 1.5, 0.35),
    ];
    let work = Rhythm::new(draw, &bumps, 0.72);
    let nights = [(0.5, 2.5, 0.6), (14.0, 4.0, 0.3)];
    let rate = draw.log_uniform(300.0, 2e4);
    let late = Rhythm::new(draw, &nights, 1.0);
    let level = clock.map(|t| {
        let leisure = if work.weekday(t) >= 5 {
            late.at(t)
        } else {
            0.0
        };
        rate * (0.08 + work.at(t) + leisure)
    });
    let noise = Emission::Relative(draw.uniform(0.03, 0.09));
    Recipe::new(draw, clock, level, noise).step(1.0).kinds(&[&[
        OtherDay,
        OtherDay,
        PeakMissing,
        PeakMissing,
        PeakDoubled,
        Night,
        ShiftDown,
        SpikeUp,
        SpikeDown,
    ]])
}

/// Mentions of a well-known name: a day, and bursts that feed on themselves.
pub(super) fn mentions_busy(draw: &mut Draw) -> Recipe {
    let count = draw.int(4000, 16_000);
    let clock = Clock::regular(draw, 5 * MINUTE, count);
    mentions(draw, clock, (5.0, 150.0), 400.0)
}

/// Mentions of a name that few know: small integers.
pub(super) fn mentions_rare(draw: &mut Draw) -> Recipe {
    let count = draw.int(4000, 16_000);
    let clock = Clock::regular(draw, 5 * MINUTE, count);
    mentions(draw, clock, (0.2, 5.0), 900.0)
}

fn mentions(draw: &mut Draw, clock: Clock, rates: (f64, f64), every: f64) -> Recipe {
    let rhythm = Rhythm::people(draw);
    let rate = draw.log_uniform(rates.0, rates.1);
    let moods = |draw: &mut Draw, every: f64| {
        let starts = bursts(draw, clock.len(), every, (1.0, 2.0), |draw| {
            draw.pareto(0.8, 2.0).min(6.0)
        });
        let mut mood = 0.0;
        let talk = starts.iter().map(|start| {
            mood = 0.85 * mood + start;
            1.0 + mood
        });
        let talk: Vec<f64> = talk.collect();
        let times = clock.times.iter().zip(&talk);
        times
            .map(|(t, talk)| rate * talk * (0.3 + rhythm.at(*t)))
            .collect::<Vec<f64>>()
    };
    let level = moods(draw, every);
    let dense = moods(draw, every / 10.0);
    let noise = Emission::Count(draw.uniform(0.2, 0.6));
    Recipe::new(draw, clock, level, noise)
        .other(dense)
        .step(1.0)
        .kinds(&[&[
            SpikeUp, SpikeUp, SpikeUp, SpikeUp, Beyond, Beyond, ShiftUp, Density, Night,
        ]])
}

fn road(draw: &mut Draw) -> (Clock, Rhythm) {
    let count = draw.int(1100, 2600);
    let interval = draw.pick(&[5, 5, 10]) * MINUTE;
    let clock = Clock::irregular(draw, interval, count);
    let (morning, evening) = (draw.uniform(7.0, 8.7), draw.uniform(16.3, 18.0));
    let bumps = [
        (morning, draw.uniform(0.6, 1.3), draw.uniform(0.4, 1.0)),
        (evening, draw.uniform(0.8, 1.8), draw.uniform(0.5, 1.0)),
    ];
    let weekend = draw.uniform(0.05, 0.5);
    (clock, Rhythm::new(draw, &bumps, weekend))
}

/// Speed on a road: high and steady, less in the rush hours.
pub(super) fn road_speed(draw: &mut Draw) -> Recipe {
    let (clock, rhythm) = road(draw);
    let (free, lost) = (draw.uniform(60.0, 110.0), draw.uniform(0.05, 0.6));
    let level = clock.map(|t| free * (1.0 - lost * rhythm.at(t)).max(0.1));
    let noise = Emission::Additive(free * draw.uniform(0.02, 0.07));
    Recipe::new(draw, clock, level, noise).step(1.0).kinds(&[&[
        SpikeDown,
        SpikeDown,
        ShiftDown,
        Beyond,
        PeakDoubled,
        Night,
        Wild,
    ]])
}

/// Percent of the time that a car stands over the detector.
pub(super) fn road_occupancy(draw: &mut Draw) -> Recipe {
    let (clock, rhythm) = road(draw);
    let (free, rush) = (draw.uniform(1.0, 5.0), draw.uniform(4.0, 25.0));
    let level = clock.map(|t| free + rush * rhythm.at(t));
    let noise = Emission::Logarithmic(draw.uniform(0.1, 0.4));
    Recipe::new(draw, clock, level, noise)
        .bounds(0.0, 100.0)
        .step(0.01)
        .kinds(&[&[
            SpikeUp,
            SpikeUp,
            Beyond,
            ShiftUp,
            PeakDoubled,
            PeakMissing,
            Night,
            Zero,
        ]])
}

/// Seconds over a stretch of road.
pub(super) fn road_travel_time(draw: &mut Draw) -> Recipe {
    let (clock, rhythm) = road(draw);
    let (free, rush) = (draw.log_uniform(60.0, 900.0), draw.uniform(0.2, 1.5));
    let level = clock.map(|t| free * (1.0 + rush * rhythm.at(t)));
    let slow = walk(draw, clock.len(), 0.01 * free, 0.05);
    let noise = Emission::Logarithmic(draw.uniform(0.05, 0.25));
    let spikes = draw.uniform(0.0, 6.0);
    Recipe::new(draw, clock, sum(level, &slow), noise)
        .mess(|mess| mess.spikes = spikes)
        .step(1.0)
        .kinds(&[LEVELS, &[SpikeUp, SpikeUp, PeakDoubled, PeakMissing, Night]])
}
