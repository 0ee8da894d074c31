//! The core by itself: one thread, a loop over known series, no broker and no
//! Redis.

use crate::bed::{Bed, cpu_seconds};
use crate::load;
use crate::report::{Cell, Section};
use anyhow::{Context as _, Result};
use midwatch_detection::config::Tuning;
use midwatch_detection::decide::naming::write_series_name;
use midwatch_detection::decide::samples::Sample;
use midwatch_detection::decide::state::PartitionState;
use midwatch_detection::decide::{At, Detector};
use midwatch_events::Coordinates;
use midwatch_events::decode::{PlainMetric, plain_metric};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::hint::black_box;
use uuid::Uuid;

/// Readings of each series before the clock is started: past every warm-up.
const BEFORE: i64 = 60;
/// Samples that are timed, at least.
const TIMED: usize = 1_000_000;
/// Series that are put away, at least.
const PUT_AWAY: usize = 200_000;
const EVERY_MS: i64 = 10_000;
/// 2026-01-01.
const START_MS: i64 = 1_767_225_600_000;

/// Measures reading, deciding and putting away.
///
/// # Errors
/// A sample is not plain.
pub fn measure(bed: &mut Bed) -> Result<Section> {
    let columns = [
        "series",
        "parse ns",
        "decide ns",
        "together ns",
        "put away ns",
    ];
    let title = "the core alone: CPU nanoseconds per sample of a known series";
    let mut section = Section::new("core", title, &columns);
    for series in [1_000, 100_000] {
        bed.say("core", &format!("{series} series"));
        let parse_ns = parse(bed.options.seed, series)?;
        let (decide_ns, put_away_ns) = decide(bed.options.seed, series)?;
        section.row([
            Cell::Number(series as f64, 0),
            Cell::Number(parse_ns, 0),
            Cell::Number(decide_ns, 0),
            Cell::Number(parse_ns + decide_ns, 0),
            Cell::Number(put_away_ns, 0),
        ]);
    }
    section.note(
        "Parse: from the bytes of the message to borrowed names and numbers, ids included. Decide: \
         look-up, statistics and what is kept. Put away: writing the state of one series for a \
         checkpoint, once per checkpoint and changed series.",
    );
    Ok(section)
}

/// Nanoseconds of CPU per item since this process had used `begun` seconds:
/// what else the machine does meanwhile is not part of it.
fn each_ns(begun: f64, count: usize) -> Result<f64> {
    Ok((cpu_seconds("self")? - begun) * 1e9 / count as f64)
}

fn place() -> Coordinates {
    Coordinates {
        epoch: "bench".to_owned(),
        topic: "raw.metrics".to_owned(),
        partition: 0,
        offset: 0,
        record_ms: START_MS,
    }
}

fn parse(seed: u64, series: usize) -> Result<f64> {
    let mut noise = StdRng::seed_from_u64(seed);
    let payloads: Vec<Vec<u8>> = (0..series)
        .map(|index| {
            let id = Uuid::from_u128(noise.random());
            let (service, metric, usual, _) = load::name(index as u64);
            let value = usual * (1.0 + 0.08 * noise.random_range(-1.0..1.0));
            load::sample(id, START_MS, "bench", &service, metric, value).encode()
        })
        .collect();
    let place = place();
    let rounds = TIMED.div_ceil(series);
    let mut name = String::new();
    let begun = cpu_seconds("self")?;
    for _ in 0..rounds {
        for payload in &payloads {
            let metric: PlainMetric<'_> =
                plain_metric(payload, &place).context("a sample of ours is not plain")?;
            write_series_name(&mut name, metric.metric_name, |label| metric.label(label));
            black_box((&metric, &name));
        }
    }
    each_ns(begun, rounds * series)
}

/// Nanoseconds per decision, and per series put away.
fn decide(seed: u64, series: usize) -> Result<(f64, f64)> {
    let mut noise = StdRng::seed_from_u64(seed);
    let names: Vec<(String, &str, f64, f64)> =
        (0..series).map(|index| load::name(index as u64)).collect();
    // Drawing takes a share of the time that is measured; values are drawn before.
    let jitter: Vec<f64> = (0..4_099).map(|_| noise.random_range(-1.0..1.0)).collect();
    let detector = Detector::new(Tuning::default(), "bench");
    let mut state = PartitionState::default();
    let mut effects = Vec::new();
    let mut id = 0_u128;
    let mut round = |state: &mut PartitionState, number: i64| {
        for (service, metric, usual, share) in &names {
            id += 1;
            let value = usual * (1.0 + share * jitter[(id % 4_099) as usize]);
            let at = At {
                event_id: Uuid::from_u128(id),
                wall_ms: START_MS + number * EVERY_MS,
            };
            let sample = Sample {
                environment: "bench",
                service,
                series: metric,
                at_ms: START_MS + number * EVERY_MS,
                value,
            };
            black_box(detector.sample(state, at, sample, &mut effects));
            effects.clear();
        }
    };
    for number in 0..BEFORE {
        round(&mut state, number);
    }
    let rounds = TIMED.div_ceil(series);
    let begun = cpu_seconds("self")?;
    for number in 0..rounds as i64 {
        round(&mut state, BEFORE + number);
    }
    let decided = each_ns(begun, rounds * series)?;
    let begun = cpu_seconds("self")?;
    let mut fields = 0;
    let mut number = BEFORE + rounds as i64;
    while fields < PUT_AWAY {
        state.freeze();
        while state.frozen() > 0 {
            fields += black_box(state.piece(500)).len();
        }
        // All of them change again; what that takes is known.
        round(&mut state, number);
        number += 1;
    }
    let changed = (number - BEFORE - rounds as i64) as f64 * series as f64;
    let put_away = each_ns(begun, fields)? - decided * changed / fields as f64;
    Ok((decided, put_away))
}
