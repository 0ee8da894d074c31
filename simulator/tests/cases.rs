//! The cases beyond the seven scenarios: what they make of the readings, and
//! that their truth says so.

#[allow(dead_code, reason = "each test file uses part of it")]
mod common;

use common::{HOUR_MS, Series, series};
use midwatch_events::{Envelope, Event};
use midwatch_simulator::cases::{Case, Expected, Kind, Truth};
use midwatch_simulator::fleet::{Metric, Service};
use midwatch_simulator::rhythm::{DAY_MS, Rhythm};
use midwatch_simulator::variation::Variation;
use midwatch_simulator::world::{Plan, TICK_MS, World, WorldConfig};
use std::collections::BTreeSet;

/// 2026-11-16T00:00:00Z, a Monday.
const MONDAY_MS: i64 = 1_794_787_200_000;
const SEED: u64 = 31;

fn drawn(kind: Kind, seed: u64) -> Case {
    Case::drawn(kind, seed, MONDAY_MS, &Rhythm::standard())
}

/// What happens in the documented fleet with a rhythm, with this case if any.
/// A case is a function of absolute time, so a world may begin anywhere.
fn events(case: Option<&Case>, from_ms: i64, until_ms: i64) -> Vec<Envelope> {
    let mut world = World::new(WorldConfig {
        seed: SEED,
        environment: "simulation".to_owned(),
        start_ms: from_ms,
        live_ms: from_ms,
        plan: Plan::Quiet,
        variation: Variation {
            rhythm: Some(Rhythm::standard()),
            case: case.cloned(),
            ..Variation::standard()
        },
    });
    world.advance(until_ms)
}

/// The case of this kind with everything from two hours before it until half
/// an hour after it.
fn lived(kind: Kind) -> (Truth, Series, Vec<Envelope>) {
    let case = drawn(kind, SEED);
    let truth = case.truth();
    let events = events(Some(&case), truth.from_ms - 2 * HOUR_MS, case.end_ms());
    (truth, series(&events), events)
}

fn readings<'a>(series: &'a Series, truth: &Truth, metric: Metric) -> &'a [(i64, f64)] {
    let key = (truth.service.name().to_owned(), metric.name().to_owned());
    &series[&key]
}

/// Values within `[from, until)`.
fn within(readings: &[(i64, f64)], from_ms: i64, until_ms: i64) -> Vec<f64> {
    let inside = |(at_ms, _): &&(i64, f64)| (from_ms..until_ms).contains(at_ms);
    readings
        .iter()
        .filter(inside)
        .map(|(_, value)| *value)
        .collect()
}

fn mean(values: &[f64]) -> f64 {
    assert!(!values.is_empty(), "there are readings to average");
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn a_case_is_drawn_from_its_seed_and_lies_within_the_working_week() {
    for kind in Kind::ALL {
        assert_eq!(Kind::from_name(kind.name()), Some(kind));
        let mut services = BTreeSet::new();
        for seed in 0..60 {
            let rhythm = Rhythm::drawn(seed);
            let case = Case::drawn(kind, seed, MONDAY_MS, &rhythm);
            assert_eq!(case, Case::drawn(kind, seed, MONDAY_MS, &rhythm));
            let truth = case.truth();
            assert_eq!(truth.expected, kind.expected());
            assert!(truth.from_ms < truth.until_ms, "{truth:?}");
            assert!(truth.from_ms >= MONDAY_MS + 6 * HOUR_MS, "{truth:?}");
            assert!(case.end_ms() <= MONDAY_MS + 5 * DAY_MS, "{truth:?}");
            let aligned = (truth.from_ms - MONDAY_MS) % TICK_MS;
            assert_eq!(aligned, 0, "a reading meets the first moment: {truth:?}");
            services.insert(truth.service);
        }
        let least = if kind == Kind::NightlyBatch { 2 } else { 5 };
        assert!(services.len() >= least, "{kind:?} on {services:?}");
    }
}

#[test]
fn nobody_else_is_touched_unless_the_case_hurts_its_callers() {
    for kind in Kind::ALL {
        let case = drawn(kind, SEED);
        let truth = case.truth();
        // From a midnight on, the batch is in the third hour.
        let (from_ms, until_ms) = (truth.from_ms, truth.from_ms + 3 * HOUR_MS);
        let own = series(&events(Some(&case), from_ms, until_ms));
        let plain = series(&events(None, from_ms, until_ms));
        for ((service, metric), readings) in &plain {
            if service != truth.service.name() {
                let key = (service.clone(), metric.clone());
                assert_eq!(&own[&key], readings, "{kind:?}: {service} {metric}");
            }
        }
        assert!(own != plain, "{kind:?} shows");
    }
}

#[test]
fn a_slow_leak_climbs_evenly_for_six_hours_and_ends_with_a_kill() {
    let (truth, series, events) = lived(Kind::SlowLeak);
    assert_eq!(truth.until_ms - truth.from_ms, 6 * HOUR_MS - 60_000);
    let memory = readings(&series, &truth, Metric::Memory);
    let normal = Metric::Memory.normal(truth.service);
    let hourly: Vec<f64> = (-1..6)
        .map(|hour| {
            let from_ms = truth.from_ms + hour * HOUR_MS;
            mean(&within(memory, from_ms, from_ms + HOUR_MS))
        })
        .collect();
    assert!((hourly[0] - normal).abs() < 0.2, "{hourly:?}");
    for pair in hourly[1..].windows(2) {
        let step = pair[1] - pair[0];
        assert!((5.0..10.0).contains(&step), "as fast as before: {hourly:?}");
    }
    let last = within(memory, truth.until_ms - 60_000, truth.until_ms);
    assert!((90.0..99.5).contains(&mean(&last)), "{last:?}");
    let after = within(memory, truth.until_ms + 120_000, i64::MAX);
    assert!((mean(&after) - normal).abs() < 1.0, "after the restart");

    let hurts_ms = truth.hurts_ms.expect("it hurts in the end");
    assert!((truth.from_ms + 4 * HOUR_MS..truth.until_ms).contains(&hurts_ms));
    let latency = readings(&series, &truth, Metric::Latency);
    let healthy = mean(&within(latency, hurts_ms - HOUR_MS, hurts_ms));
    let hurting = mean(&within(latency, truth.until_ms - 600_000, truth.until_ms));
    assert!(hurting > 1.8 * healthy, "{healthy} ms, then {hurting} ms");
    let kills = events.iter().filter(|envelope| match &envelope.event {
        Event::Kubernetes(event) => event.event_kind == "OOM_KILLED",
        _ => false,
    });
    assert_eq!(kills.count(), 1);
}

#[test]
fn traffic_drops_to_exactly_zero_and_comes_back() {
    let (truth, series, events) = lived(Kind::DropToZero);
    let rate = readings(&series, &truth, Metric::RequestRate);
    assert!(
        within(rate, truth.from_ms - HOUR_MS, truth.from_ms)
            .iter()
            .all(|one| *one > 1.0)
    );
    let during = within(rate, truth.from_ms, truth.until_ms);
    assert_eq!(during, vec![0.0; 360]);
    assert!(
        within(rate, truth.until_ms, i64::MAX)
            .iter()
            .all(|one| *one > 1.0)
    );
    for envelope in &events {
        // A trace that is sampled just after the end began just before it.
        let inside = truth.from_ms..truth.until_ms - TICK_MS;
        let inside = inside.contains(&envelope.meta.event_time_ms);
        match &envelope.event {
            Event::Log(log) if inside && log.service == truth.service.name() => {
                assert!(log.message.starts_with("health check"), "{}", log.message);
            }
            Event::Span(span) if inside => {
                assert_ne!(span.service, truth.service.name(), "nothing is served");
            }
            _ => {}
        }
    }
}

#[test]
fn a_flat_pool_jumps_and_falls_back() {
    let (truth, series, _) = lived(Kind::FlatThenJump);
    let open = readings(&series, &truth, Metric::Connections);
    let normal = Metric::Connections.normal(truth.service);
    let before = within(open, 0, truth.from_ms);
    assert_eq!(before, vec![normal; before.len()], "flat, day and night");
    let during = within(open, truth.from_ms, truth.until_ms);
    assert!((60.0..=85.0).contains(&during[0]), "{during:?}");
    assert_eq!(during, vec![during[0]; 360]);
    let after = within(open, truth.until_ms, i64::MAX);
    assert_eq!(after, vec![normal; after.len()]);
}

#[test]
fn one_series_vanishes_and_the_others_go_on() {
    let (truth, series, _) = lived(Kind::VanishedSeries);
    let [metric] = truth.metrics[..] else {
        panic!("one metric vanishes: {truth:?}");
    };
    for ((service, name), readings) in &series {
        let during = within(readings, truth.from_ms, truth.until_ms).len();
        let is_gone = service == truth.service.name() && name == metric.name();
        assert_eq!(during, if is_gone { 0 } else { 360 }, "{service} {name}");
        assert!(!within(readings, 0, truth.from_ms).is_empty());
        assert!(!within(readings, truth.until_ms, i64::MAX).is_empty());
    }
}

/// The mean request rate of a service in the half hour around the fleet's peak
/// hour, or so many hours later, of the day `day`; parts of normal.
fn rate_at(case: &Case, service: Service, day: i64, later_h: i64) -> f64 {
    let middle_ms = MONDAY_MS + day * DAY_MS + (14 + later_h) * HOUR_MS;
    let quarter_ms = HOUR_MS / 4;
    let lived = events(Some(case), middle_ms - quarter_ms, middle_ms + quarter_ms);
    let key = (
        service.name().to_owned(),
        Metric::RequestRate.name().to_owned(),
    );
    mean(&within(&series(&lived)[&key], 0, i64::MAX)) / service.profile().rps
}

/// No step betrays where a day of another rhythm begins.
fn assert_smooth(case: &Case) {
    let rhythm = Rhythm::standard();
    let ticks = 2 * DAY_MS / TICK_MS..5 * DAY_MS / TICK_MS;
    let loads: Vec<f64> = ticks
        .map(|tick| case.load(&rhythm, MONDAY_MS + tick * TICK_MS))
        .collect();
    for pair in loads.windows(2) {
        assert!((pair[1] - pair[0]).abs() < 0.002, "{pair:?}");
    }
}

fn near(value: f64, expected: f64, what: &str) {
    assert!((value - expected).abs() < 0.03, "{what}: {value}");
}

#[test]
fn a_peak_stays_away_for_one_day() {
    let case = drawn(Kind::PeakMissing, SEED);
    let truth = case.truth();
    near(rate_at(&case, truth.service, 2, 0), 1.4, "Wednesday");
    near(rate_at(&case, truth.service, 3, 0), 0.8, "Thursday");
    near(
        rate_at(&case, truth.service, 3, -12),
        0.76,
        "a night as ever",
    );
    near(rate_at(&case, truth.service, 4, 0), 1.4, "Friday");
    // It is judged from where load is 15 % below the usual: above 0.8 / 0.85 =
    // 0.94 of the mean, which this rhythm passes in the morning.
    let usual = Rhythm::standard().load(truth.from_ms);
    assert!((0.9411..0.945).contains(&usual), "{usual}");
    let hour = (truth.from_ms - MONDAY_MS - 3 * DAY_MS) / HOUR_MS;
    assert!((7..10).contains(&hour), "{hour}");
    assert_smooth(&case);
}

#[test]
fn a_peak_comes_at_night() {
    let case = drawn(Kind::PeakAtNight, SEED);
    let truth = case.truth();
    near(rate_at(&case, truth.service, 2, 0), 1.4, "Wednesday's peak");
    near(rate_at(&case, truth.service, 2, 12), 1.4, "at two at night");
    near(rate_at(&case, truth.service, 3, 0), 0.76, "Thursday noon");
    near(rate_at(&case, truth.service, 4, 0), 1.4, "Friday");
    let others = Service::ALL.into_iter().filter(|one| *one != truth.service);
    for other in others {
        near(rate_at(&case, other, 3, 0), 1.4, other.name());
    }
    assert_smooth(&case);
}

#[test]
fn a_harmless_release_is_announced_and_its_step_stays() {
    let (truth, series, events) = lived(Kind::DeployShift);
    assert_eq!(truth.expected, Expected::Nothing);
    let releases: Vec<_> = events
        .iter()
        .filter_map(|envelope| match &envelope.event {
            Event::Deployment(deployment) => Some(deployment),
            _ => None,
        })
        .collect();
    let [release] = releases[..] else {
        panic!("one release: {releases:?}");
    };
    assert_eq!(release.service, truth.service.name());
    assert_eq!(truth.from_ms - release.timestamp_ms, 30_000);
    for (metric, least, most) in [
        (Metric::Latency, 1.1, 1.25),
        (Metric::Cpu, 1.1, 1.3),
        (Metric::Memory, 1.06, 1.12),
        (Metric::ErrorRate, 0.95, 1.05),
    ] {
        let all = readings(&series, &truth, metric);
        let before = mean(&within(all, truth.from_ms - 600_000, truth.from_ms));
        let after = mean(&within(all, truth.from_ms, truth.from_ms + 600_000));
        let step = after / before;
        assert!((least..most).contains(&step), "{metric:?}: {step}");
    }
    let memory = readings(&series, &truth, Metric::Memory);
    let last = mean(&within(memory, truth.until_ms, i64::MAX));
    assert!(
        last > 1.05 * Metric::Memory.normal(truth.service),
        "it stays"
    );
}

#[test]
fn noise_is_heavy_tailed_about_the_same_middle() {
    let (truth, series, _) = lived(Kind::NoisyHealthy);
    let latency = readings(&series, &truth, Metric::Latency);
    let normal = Metric::Latency.normal(truth.service);
    let mut values = within(latency, truth.from_ms, truth.until_ms);
    values.sort_by(f64::total_cmp);
    let middle = values[values.len() / 2];
    assert!(
        (0.85..1.1).contains(&(middle / normal)),
        "{middle} of {normal}"
    );
    let beyond = values.iter().filter(|value| **value > 1.8 * normal).count();
    let part = beyond as f64 / values.len() as f64;
    assert!((0.005..0.06).contains(&part), "{part} are spikes");
    for service in Service::ALL {
        let key = (service.name().to_owned(), "service_cpu_percent".to_owned());
        let most = series[&key]
            .iter()
            .map(|(_, value)| *value)
            .fold(0.0, f64::max);
        assert!(most < 100.0, "{service:?}: healthy");
    }
}

#[test]
fn a_batch_runs_every_night_and_no_night_is_quite_like_another() {
    let case = drawn(Kind::NightlyBatch, SEED);
    let truth = case.truth();
    assert_eq!(
        truth.from_ms,
        MONDAY_MS + 3 * DAY_MS,
        "three nights are known"
    );
    let mut means = BTreeSet::new();
    for night in 0..4 {
        let midnight_ms = MONDAY_MS + night * DAY_MS;
        let lived = series(&events(Some(&case), midnight_ms, midnight_ms + 4 * HOUR_MS));
        let cpu = readings(&lived, &truth, Metric::Cpu);
        let at = |minutes: i64, until: i64| {
            mean(&within(
                cpu,
                midnight_ms + minutes * 60_000,
                midnight_ms + until * 60_000,
            ))
        };
        let (before, during, after) = (at(60, 115), at(126, 154), at(170, 230));
        assert!(during - before > 25.0, "{before} {during}");
        assert!((after - before).abs() < 1.5, "{before} {after}");
        let lag = readings(&lived, &truth, Metric::ConsumerLag);
        let backlog = within(lag, midnight_ms + 126 * 60_000, midnight_ms + 154 * 60_000);
        assert!(mean(&backlog) > 3_000.0);
        means.insert((during * 100.0) as i64);
    }
    assert_eq!(means.len(), 4, "{means:?}");
}
