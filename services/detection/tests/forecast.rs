//! What growth is told, how long before the end, and what is not: a table of
//! generated months (`cargo test -p midwatch-detection --test forecast -- --nocapture`).

mod fleet;

use fleet::{Noise, START_MS};
use midwatch_detection::decide::forecast::{Forecast, Outlook, is_alarming};
use std::f64::consts::TAU;

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3_600.0;
const DAY: f64 = 86_400.0;

impl Random {
    fn new(seed: u64) -> Random {
        // Neighbouring seeds of a linear generator begin alike.
        let mut noise = Noise(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D);
        for _ in 0..8 {
            noise.next();
        }
        Random { noise, slow: 0.0 }
    }

    /// Uniform within ±1.
    fn even(&mut self) -> f64 {
        self.noise.next()
    }

    fn within(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * 0.5 * (1.0 + self.even())
    }

    /// Standard normal (Irwin–Hall: twelve uniform values of variance 1/12).
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| 0.5 * self.even()).sum()
    }

    fn chance(&mut self, share: f64) -> bool {
        self.within(0.0, 1.0) < share
    }

    /// As the simulator's `Character::Wandering`: readings near in time
    /// resemble each other.
    fn wander(&mut self) -> f64 {
        self.slow = 0.9 * self.slow + 0.22 * self.normal();
        self.slow + 0.5 * self.even()
    }
}

struct Random {
    noise: Noise,
    slow: f64,
}

fn at_ms(seconds: f64) -> i64 {
    START_MS + (1_000.0 * seconds) as i64
}

/// The value at a time in seconds since the beginning.
type Readings = Box<dyn FnMut(f64) -> f64>;

/// A healthy shape: name, seconds between readings, and its readings.
type Healthy = (&'static str, f64, fn(Random) -> Readings);

fn saw(mut random: Random, minutes: f64, ragged: f64) -> Readings {
    let (mut value, mut top, mut pace) = (random.within(38.0, 70.0), 76.0, 1.0);
    Box::new(move |_| {
        value += pace * 40.0 / (6.0 * minutes);
        if value > top {
            value = 38.0 + 4.0 * ragged * random.even();
            top = 76.0 + 8.0 * ragged * random.even();
            pace = 1.0 + 0.3 * ragged * random.even();
        }
        value + 0.6 * random.even()
    })
}

fn walk(mut random: Random, step: f64, (low, high): (f64, f64)) -> Readings {
    let mut value = 50.0;
    Box::new(move |_| {
        value += step * random.normal();
        if value > high {
            value = 2.0 * high - value;
        } else if value < low {
            value = 2.0 * low - value;
        }
        value
    })
}

/// 0 at night, 1 in the afternoon, on weekdays fully.
fn weekday(seconds: f64) -> f64 {
    let size = if (seconds / DAY) % 7.0 >= 5.0 {
        0.3
    } else {
        1.0
    };
    let hour = seconds % DAY / HOUR;
    let up = ((hour - 6.0) / 6.0).clamp(0.0, 1.0);
    let down = ((hour - 17.0) / 5.0).clamp(0.0, 1.0);
    size * (up - down).max(0.0)
}

/// `peak` for `lasts` seconds once each `every`, reached and left in `ramp`.
fn job(seconds: f64, every: f64, lasts: f64, ramp: f64) -> f64 {
    let into = seconds % every;
    (into / ramp).min((lasts - into) / ramp).clamp(0.0, 1.0)
}

#[rustfmt::skip]
const HEALTHY: &[Healthy] = &[
    ("±5 % around 55", 10.0, |mut r| Box::new(move |_| 55.0 * (1.0 + 0.05 * r.even()))),
    ("normal noise around 70", 10.0, |mut r| Box::new(move |_| 70.0 * (1.0 + 0.03 * r.normal()))),
    ("wandering noise", 10.0, |mut r| Box::new(move |_| 60.0 * (1.0 + 0.06 * r.wander()))),
    ("GC saw, 2 minutes", 10.0, |r| saw(r, 2.0, 1.0)),
    ("GC saw, 20 minutes", 10.0, |r| saw(r, 20.0, 0.5)),
    ("GC saw, 3 hours, ragged", 10.0, |r| saw(r, 180.0, 1.0)),
    ("days", 10.0, |mut r| { let shift = r.within(0.0, DAY);
        Box::new(move |t| 50.0 + 25.0 * (TAU * (t + shift) / DAY).sin() + 1.5 * r.even()) }),
    ("days without noise", 60.0, |mut r| { let shift = r.within(0.0, DAY);
        Box::new(move |t| 52.0 + 28.0 * (TAU * (t + shift) / DAY).sin()) }),
    ("weekdays and weekends", 60.0, |mut r| { let shift = DAY * r.within(0.0, 7.0).floor();
        Box::new(move |t| 40.0 + 30.0 * weekday(t + shift) + r.even()) }),
    ("nightly batch", 10.0, |mut r| { let shift = r.within(0.0, DAY);
        Box::new(move |t| 45.0 + 27.0 * job(t + shift, DAY, 0.75 * HOUR, 180.0) + 1.3 * r.even()) }),
    ("hourly job", 60.0, |mut r| { let shift = r.within(0.0, DAY);
        Box::new(move |t| 45.0 + 27.0 * job(t + shift, HOUR, 0.5 * HOUR, 900.0) + r.even()) }),
    ("deployments, ten a day", 10.0, |mut r| { let mut level = 45.0;
        Box::new(move |_| { if r.chance(10.0 * 10.0 / DAY) { level = r.within(35.0, 70.0); }
            level * (1.0 + 0.05 * r.even()) }) }),
    ("one deployment, 50 to 85", 10.0, |mut r| { let at = r.within(0.5, 20.0) * DAY;
        Box::new(move |t| if t > at { 85.0 } else { 50.0 } + 1.5 * r.even()) }),
    ("rolling deployment", 10.0, |mut r| { let at = r.within(0.5, 20.0) * DAY;
        Box::new(move |t| 50.0 + 8.0 * ((t - at) / 90.0).floor().clamp(0.0, 3.0) + 1.5 * r.even()) }),
    ("random walk", 10.0, |r| walk(r, 0.25, (20.0, 85.0))),
    ("random walk, 1 minute", 60.0, |r| walk(r, 0.5, (10.0, 90.0))),
    ("cache that warms up", 60.0, |mut r| { let mut value = 30.0;
        Box::new(move |_| { value += (80.0 - value) / 120.0;
            if r.chance(60.0 / (2.0 * DAY)) { value = 30.0; } value + 0.5 * r.even() }) }),
    ("log rotation", 60.0, |mut r| { let shift = r.within(0.0, DAY);
        Box::new(move |t| 60.0 + 15.0 * ((t + shift) % DAY) / DAY + 0.02 * r.even()) }),
    ("bursts", 10.0, |mut r| { let mut burst = 0.0;
        Box::new(move |_| { burst *= 0.9; if r.chance(0.01) { burst += 2.0 / r.within(0.02, 1.02); }
            (30.0 + burst + 2.0 * r.even()).min(100.0) }) }),
    ("pool in whole connections", 15.0, |mut r| Box::new(move |t| {
        let mean = 30.0 + 12.0 * (TAU * t / DAY).sin(); (mean + mean.sqrt() * r.normal()).round() })),
    ("nearly full and steady", 10.0, |mut r| Box::new(move |_| 93.0 + r.even())),
    ("constant", 60.0, |_| Box::new(|_| 88.0)),
    ("hourly readings", 3_600.0, |mut r| Box::new(move |t| 50.0 + 15.0 * (TAU * t / DAY).sin() + 3.0 * r.even())),
];

/// Alarms of a month, half an hour apart at least.
fn alarms(readings: &mut Readings, every: f64) -> usize {
    let mut forecast = Forecast::default();
    let (mut count, mut last, mut now) = (0, f64::MIN, 0.0);
    while now < 30.0 * DAY {
        let outlook = forecast.observe(at_ms(now), readings(now), 100.0);
        if outlook.is_some_and(|outlook| is_alarming(&outlook)) {
            count += usize::from(now - last > 0.5 * HOUR);
            last = now;
        }
        now += every;
    }
    count
}

#[test]
fn no_healthy_shape_alarms_in_a_month() {
    let months = 3;
    println!("\n| healthy shape | readings every | alarms in {months} months |\n|---|---|---|");
    let mut all = Vec::new();
    for (name, every, make) in HEALTHY {
        let alarms: usize = (0..months)
            .map(|month| alarms(&mut make(Random::new(100 + month)), *every))
            .sum();
        println!("| {name} | {every} s | {alarms} |");
        if alarms > 0 {
            all.push((name, alarms));
        }
    }
    assert_eq!(all, []);
}

/// A leak: from when it begins, how long it grows, between which values, with
/// what noise (a share of the value; wandering if negative).
struct Leak {
    name: &'static str,
    every: f64,
    quiet: f64,
    lasts: f64,
    from: f64,
    to: f64,
    noise: f64,
    /// The least minutes left at the alarm that will do.
    lead: f64,
    /// By how much the minutes left may be wrong when it first alarms.
    within: f64,
}

const fn leak(
    name: &'static str,
    (every, quiet, lasts): (f64, f64, f64),
    (from, to, noise): (f64, f64, f64),
    (lead, within): (f64, f64),
) -> Leak {
    Leak {
        name,
        every,
        quiet,
        lasts,
        from,
        to,
        noise,
        lead,
        within,
    }
}

#[rustfmt::skip]
const LEAKS: &[Leak] = &[
    leak("6 hours, known for an hour", (10.0, HOUR, 6.0 * HOUR), (45.0, 98.0, 0.05), (60.0, 0.3)),
    leak("6 hours, known for two days", (10.0, 2.0 * DAY, 6.0 * HOUR), (45.0, 98.0, 0.05), (120.0, 0.3)),
    leak("6 hours, wandering", (10.0, 2.0 * DAY, 6.0 * HOUR), (45.0, 98.0, -0.05), (110.0, 0.3)),
    leak("6 hours, each minute", (60.0, 2.0 * DAY, 6.0 * HOUR), (45.0, 98.0, 0.05), (90.0, 0.3)),
    leak("pool, an hour", (15.0, DAY, HOUR), (20.0, 100.0, 0.1), (15.0, 0.3)),
    leak("6 minutes (simulator)", (10.0, 1_000.0, 6.0 * MINUTE), (55.0, 98.0, 0.05), (1.0, 0.8)),
    leak("disk, 2 days, each minute", (60.0, 2.0 * DAY, 2.0 * DAY), (50.0, 98.0, 0.002), (720.0, 0.1)),
    leak("disk, 2 days, known for 6 h", (60.0, 6.0 * HOUR, 2.0 * DAY), (50.0, 98.0, 0.002), (720.0, 0.1)),
    leak("disk, 5 days, each 5 minutes", (300.0, 5.0 * DAY, 5.0 * DAY), (40.0, 99.0, 0.005), (720.0, 0.1)),
    leak("disk, 4 days, each hour", (3_600.0, 7.0 * DAY, 4.0 * DAY), (50.0, 99.0, 0.005), (720.0, 0.3)),
];

/// The leak's alarms: minutes that are really left, and what was said; what was
/// said with an hour left; and whether it alarmed before it began.
#[derive(Default)]
struct Told {
    first: Option<(f64, Outlook)>,
    hour: Option<Outlook>,
    early: bool,
}

fn run(leak: &Leak, seed: u64) -> Told {
    let mut random = Random::new(seed);
    let mut forecast = Forecast::default();
    let mut told = Told::default();
    let pace = (leak.to - leak.from) / leak.lasts;
    let end = leak.quiet + (100.0 - leak.from) / pace;
    let mut now = 0.0;
    while now < leak.quiet + leak.lasts {
        let level = leak.from + pace * (now - leak.quiet).max(0.0);
        let noise = if leak.noise < 0.0 {
            -leak.noise * random.wander()
        } else {
            leak.noise * random.even()
        };
        let value = (level * (1.0 + noise)).min(100.0);
        let left = (end - now) / MINUTE;
        if let Some(outlook) = forecast.observe(at_ms(now), value, 100.0) {
            if is_alarming(&outlook) {
                told.early |= now < leak.quiet;
                told.first.get_or_insert((left, outlook));
            }
            if left >= 60.0 {
                told.hour = Some(outlook);
            }
        }
        now += leak.every;
    }
    told
}

#[test]
fn leaks_are_told_in_time_and_their_end_is_known() {
    println!(
        "\n| leak | found | minutes left at the alarm: least, median | told ÷ real: least, most |\n|---|---|---|---|"
    );
    let mut faults = Vec::new();
    for leak in LEAKS {
        let runs = 20;
        let told: Vec<Told> = (0..runs).map(|seed| run(leak, 7 + seed)).collect();
        let found = told.iter().filter_map(|told| told.first);
        let mut leads: Vec<f64> = found.clone().map(|(left, _)| left).collect();
        let mut ratios: Vec<f64> = found
            .map(|(left, outlook)| outlook.minutes_left / left)
            .collect();
        leads.sort_by(f64::total_cmp);
        ratios.sort_by(f64::total_cmp);
        let (least, median) = (leads[0], leads[leads.len() / 2]);
        let (low, high) = (ratios[0], ratios[ratios.len() - 1]);
        println!(
            "| {} | {} of {runs} | {least:.1}, {median:.1} | {low:.2}, {high:.2} |",
            leak.name,
            leads.len()
        );
        let late = least < leak.lead;
        let wrong = low < 1.0 - leak.within || high > 1.0 + leak.within;
        let early = told.iter().any(|told| told.early);
        if leads.len() < told.len() || late || wrong || early {
            faults.push(leak.name);
        }
        if leak.lasts >= 6.0 * HOUR && leak.lasts < DAY {
            for told in &told {
                let hour = told.hour.expect("an hour before the end it is known");
                assert!(is_alarming(&hour), "{}: {hour:?}", leak.name);
                let off = (hour.minutes_left / 60.0 - 1.0).abs();
                assert!(off < 0.3, "{}: {hour:?}", leak.name);
                assert!(hour.confidence > 0.5 && hour.confidence <= 1.0);
            }
        }
    }
    assert_eq!(faults, Vec::<&str>::new());
}

/// The outlooks of a leak of an hour, after a day of quiet.
fn outlooks(scale: f64, shift_ms: i64, limit: f64) -> Vec<Option<Outlook>> {
    let mut random = Random::new(3);
    let mut forecast = Forecast::default();
    let mut all = Vec::new();
    for tick in 0..9_000 {
        let growth = f64::from((tick - 8_640).max(0)) * 0.2;
        let value = (20.0 + growth) * (1.0 + 0.03 * random.even());
        let at_ms = START_MS + shift_ms + 10_000 * i64::from(tick);
        all.push(forecast.observe(at_ms, scale * value, scale * limit));
    }
    all
}

#[test]
fn unit_and_calendar_do_not_matter() {
    let plain = outlooks(1.0, 0, 100.0);
    assert!(plain.iter().flatten().any(is_alarming));
    assert_eq!(outlooks(1.0, 5 * 7 * 86_400_000, 100.0), plain);
    // A power of two changes no digit.
    for (ours, theirs) in outlooks(1024.0, 0, 100.0).iter().zip(&plain) {
        let ours = ours.map(|outlook| (outlook.minutes_left, outlook.confidence));
        let theirs = theirs.map(|outlook| (outlook.minutes_left, outlook.confidence));
        assert_eq!(ours, theirs);
    }
}

#[test]
fn a_backlog_without_a_limit_has_an_age() {
    let mut random = Random::new(11);
    let mut forecast = Forecast::default();
    let mut first = None;
    for tick in 0..(2 * 8_640) {
        // 100 ± 50 %, and from the second day on one record a second more.
        let backlog = 10.0 * f64::from((tick - 8_640).max(0));
        let value = (100.0 * (1.0 + 0.5 * random.even()) + backlog).round();
        let outlook = forecast.observe(at_ms(10.0 * f64::from(tick)), value, f64::INFINITY);
        let Some(outlook) = outlook.filter(is_alarming) else {
            continue;
        };
        assert!(outlook.minutes_left.is_infinite());
        first.get_or_insert((f64::from(tick - 8_640) / 6.0, outlook));
    }
    let (age, outlook) = first.expect("it grows for a day");
    assert!((30.0..60.0).contains(&age), "{age} minutes");
    assert!((outlook.fit_minutes / age - 1.0).abs() < 0.1, "{outlook:?}");
    assert!((outlook.slope_per_hour / 3_600.0 - 1.0).abs() < 0.1);
}

#[test]
fn it_is_small_and_comes_back_from_text_as_it_was() {
    assert!(size_of::<Forecast>() <= 200, "{}", size_of::<Forecast>());
    let mut random = Random::new(5);
    let (mut kept, mut stored) = (Forecast::default(), Forecast::default());
    let (mut now, mut credible) = (0.0, 0);
    for _ in 0..20_000 {
        now += 10.0 * random.within(0.1, 3.0);
        let value = 40.0 + (now / 9_000.0) + random.wander();
        let limit = 80.0 + (now / 100_000.0).floor();
        let told = kept.observe(at_ms(now), value, limit);
        let text = serde_json::to_string(&stored).unwrap();
        stored = serde_json::from_str(&text).unwrap();
        assert_eq!(stored.observe(at_ms(now), value, limit), told);
        credible += usize::from(told.is_some());
    }
    assert_eq!(stored, kept);
    assert!(credible > 1_000, "{credible}");
}

#[test]
fn late_and_unusable_readings_change_nothing() {
    let mut forecast = Forecast::default();
    for tick in 0..100 {
        forecast.observe(START_MS + 10_000 * tick, 50.0 + tick as f64 * 0.1, 100.0);
    }
    let before = forecast.clone();
    for (at_ms, value, limit) in [
        (START_MS + 990_000, 99.0, 100.0),
        (START_MS, 99.0, 100.0),
        (START_MS + 1_000_000, f64::NAN, 100.0),
        (START_MS + 1_000_000, f64::INFINITY, 100.0),
        (START_MS + 1_000_000, 60.0, 0.0),
        (START_MS + 1_000_000, 60.0, f64::NAN),
    ] {
        assert_eq!(forecast.observe(at_ms, value, limit), None);
        assert_eq!(forecast, before);
    }
}
