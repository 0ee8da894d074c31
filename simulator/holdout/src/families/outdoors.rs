//! Roads, weather, the grid, water.

use crate::dice::{Ar, Rhythm, Switch};
use crate::frame::{
    CLOCK, Family, Frame, GLITCH, HOLIDAY, NOISIER, STUCK, Step, Timing, ZERO, blip, ramp, shift,
    spell, swing,
};

pub const FAMILIES: &[Family] = &[
    Family {
        name: "road_speed",
        interval_s: 400,
        points: (1000, 3000),
        decimals: 0,
        timing: Timing::Irregular,
        kinds: &[
            spell("accident", 0.7, 4.0),
            spell("roadworks", 6.0, 30.0),
            spell("snow", 4.0, 14.0),
            STUCK,
            GLITCH,
        ],
        build: road_speed,
    },
    Family {
        name: "road_occupancy",
        interval_s: 400,
        points: (1000, 3000),
        decimals: 2,
        timing: Timing::Irregular,
        kinds: &[
            spell("accident", 0.7, 4.0),
            spell("closed", 2.0, 12.0),
            shift("detour"),
            blip("parked_truck"),
        ],
        build: road_occupancy,
    },
    Family {
        name: "travel_time",
        interval_s: 500,
        points: (1000, 3000),
        decimals: 0,
        timing: Timing::Irregular,
        kinds: &[
            spell("accident", 0.7, 4.0),
            spell("signal_failure", 3.0, 20.0),
            blip("wrong_match"),
            HOLIDAY,
        ],
        build: travel_time,
    },
    Family {
        name: "grid_load_mw",
        interval_s: 900,
        points: (3000, 8000),
        decimals: 1,
        timing: Timing::Regular,
        kinds: &[
            HOLIDAY,
            spell("blackout", 0.5, 5.0),
            spell("heat_wave", 24.0, 90.0),
            shift("plant_closed"),
        ],
        build: grid_load,
    },
    Family {
        name: "solar_output_kw",
        interval_s: 300,
        points: (3000, 6000),
        decimals: 2,
        timing: Timing::Regular,
        kinds: &[
            shift("string_lost"),
            spell("inverter_trip", 2.0, 12.0),
            ramp("soiling", 48.0, 150.0),
        ],
        build: solar_output,
    },
    Family {
        name: "wind_power_kw",
        interval_s: 600,
        points: (3000, 6000),
        decimals: 1,
        timing: Timing::Regular,
        kinds: &[
            spell("curtailed", 6.0, 40.0),
            spell("iced", 8.0, 48.0),
            STUCK,
        ],
        build: wind_power,
    },
    Family {
        name: "water_flow",
        interval_s: 300,
        points: (3000, 6000),
        decimals: 2,
        timing: Timing::Regular,
        kinds: &[
            shift("leak"),
            spell("burst_pipe", 0.5, 8.0),
            spell("hydrant", 0.3, 1.5),
            CLOCK,
            ZERO,
        ],
        build: water_flow,
    },
    Family {
        name: "river_level_cm",
        interval_s: 900,
        points: (3000, 8000),
        decimals: 1,
        timing: Timing::Regular,
        kinds: &[
            spell("gate_opened", 2.0, 12.0),
            STUCK,
            NOISIER,
            swing("gauge_moved"),
        ],
        build: river_level,
    },
    Family {
        name: "air_particles",
        interval_s: 600,
        points: (3000, 5000),
        decimals: 1,
        timing: Timing::Jittered,
        kinds: &[
            spell("fire", 2.0, 14.0),
            shift("drifted_sensor"),
            blip("passing_smoker"),
            STUCK,
        ],
        build: air_particles,
    },
    Family {
        name: "bike_dock",
        interval_s: 600,
        points: (3000, 5000),
        decimals: 0,
        timing: Timing::Regular,
        kinds: &[
            STUCK,
            spell("van_refill", 6.0, 20.0),
            HOLIDAY,
            shift("broken_docks"),
        ],
        build: bike_dock,
    },
];

/// Traffic by its fundamental diagram: density against capacity; beyond it the flow breaks
/// down and recovers late (hysteresis).
struct Road {
    rhythm: Rhythm,
    peak: f64,
    queue: f64,
}

impl Road {
    fn new(f: &mut Frame) -> Self {
        Self {
            rhythm: Rhythm::commute(&mut f.dice),
            peak: f.dice.between(0.6, 0.97),
            queue: 0.0,
        }
    }

    /// Share of capacity wanted, and vehicles queued in hours of capacity.
    fn step(&mut self, f: &mut Frame, i: usize) -> (f64, f64) {
        let lost = 0.75 * f.force("accident", i)
            + 0.4 * f.force("roadworks", i)
            + 0.45 * f.force("signal_failure", i);
        let capacity = (1.0 - lost).max(0.1);
        let wanted = self.peak
            * f.demand(&self.rhythm, i)
            * (1.0 + 0.35 * f.force("detour", i).min(1.5))
            * f.dice.gamma(60.0)
            * (1.0 + 0.4 * f.bump(i));
        let hours = f.step_h(i).min(1.0);
        // A broken-down flow discharges below capacity.
        let served = if self.queue > 0.0 {
            0.93 * capacity
        } else {
            capacity
        };
        self.queue = (self.queue + (wanted - served) * hours).clamp(0.0, 1.5);
        ((wanted / capacity).min(1.5), self.queue)
    }
}

fn road_speed(f: &mut Frame) -> Step {
    let free = f.dice.between(55.0, 75.0);
    let mut road = Road::new(f);
    let noise = f.dice.between(2.0, 5.0);
    Box::new(move |f, i| {
        let (used, queue) = road.step(f, i);
        let dense = 0.12 * used.powi(3) + 0.75 * (1.0 - (-queue * 6.0).exp());
        let weather = 1.0 - (0.4 * f.force("snow", i)).min(0.7);
        (free * (1.0 - dense).max(0.08) * weather + noise * f.dice.normal()).clamp(2.0, 95.0)
    })
}

fn road_occupancy(f: &mut Frame) -> Step {
    let full = f.dice.between(12.0, 25.0);
    let mut road = Road::new(f);
    Box::new(move |f, i| {
        let (used, queue) = road.step(f, i);
        let open = 1.0 - f.force("closed", i).min(1.0);
        let share = (0.5 * full * used + 60.0 * (1.0 - (-queue * 4.0).exp())) * open
            + 70.0 * f.force("parked_truck", i);
        (share * f.dice.gamma(15.0)).min(100.0)
    })
}

fn travel_time(f: &mut Frame) -> Step {
    let free = f.dice.magnitude(90.0, 900.0);
    let mut road = Road::new(f);
    let mut platoon = Ar::new(0.5);
    Box::new(move |f, i| {
        let (used, queue) = road.step(f, i);
        let delay = 1.0 + 0.25 * used.powi(4) + 3.0 * queue;
        let driver = (0.08 * platoon.step(&mut f.dice)).exp();
        // A phone that stopped for a coffee is matched as a slow car now and then.
        let stop = if f.dice.chance(0.008) {
            f.dice.pareto(2.0).min(3.0) - 0.7
        } else {
            0.0
        };
        free * (delay * driver + stop + 7.0 * f.force("wrong_match", i))
    })
}

/// Homes, offices and cooling: the weather enters with its own memory.
fn grid_load(f: &mut Frame) -> Step {
    let (home, office) = (Rhythm::consumer(&mut f.dice), Rhythm::office(&mut f.dice));
    let scale = f.dice.magnitude(20.0, 8000.0);
    let (mut weather, mut noise) = (Ar::new(f.keep(60.0)), Ar::new(f.keep(2.0)));
    Box::new(move |f, i| {
        let warm = 0.06 * weather.step(&mut f.dice) + 0.25 * f.force("heat_wave", i);
        let afternoon = (-0.5 * ((f.hours(i).rem_euclid(24.0) - 16.0) / 4.0).powi(2)).exp();
        let people = 0.9 + 0.3 * f.demand(&home, i) + 0.3 * f.demand(&office, i)
            - 0.2 * f.force("plant_closed", i);
        let supplied = 1.0 - (0.7 * f.force("blackout", i)).min(0.98);
        scale
            * (people + warm * (0.4 + afternoon))
            * supplied
            * (1.0 + 0.006 * noise.step(&mut f.dice))
    })
}

/// The sun's height, clouds that pass (two states and a haze), a plant that may lose a part.
fn solar_output(f: &mut Frame) -> Step {
    let (size, day_length) = (f.dice.magnitude(4.0, 2000.0), f.dice.between(8.5, 15.5));
    let mut cloud = Switch::new(30.0, 15.0);
    let (mut haze, mut cover) = (Ar::new(f.keep(30.0)), 0.0);
    Box::new(move |f, i| {
        let from_noon = f.hours(i).rem_euclid(24.0) - 12.7;
        let height = (std::f64::consts::PI * from_noon / day_length).cos();
        let up = if from_noon.abs() < day_length / 2.0 {
            height.max(0.0).powf(1.2)
        } else {
            0.0
        };
        let dull = (0.25 + 0.2 * haze.step(&mut f.dice)).clamp(0.0, 0.9);
        cover += 0.5 * (cloud.step(&mut f.dice) * f.dice.between(0.4, 0.9) - cover);
        let parts = 1.0
            - (0.4 * f.force("string_lost", i)).min(0.9)
            - (0.35 * f.force("soiling", i)).min(0.8);
        let trip = 1.0 - f.force("inverter_trip", i).min(1.0);
        size * up
            * (1.0 - dull * 0.6)
            * (1.0 - cover)
            * parts.max(0.05)
            * if trip < 0.8 { 0.0 } else { 1.0 }
    })
}

/// A turbulent wind through a power curve with cut-in and rated power.
fn wind_power(f: &mut Frame) -> Step {
    let rated = f.dice.magnitude(500.0, 5000.0);
    let mean = f.dice.between(6.0, 9.0);
    let (mut weather, mut gust) = (Ar::new(f.keep(14.0)), Ar::new(f.keep(0.3)));
    Box::new(move |f, i| {
        let wind =
            mean * (0.45 * weather.step(&mut f.dice)).exp() * (1.0 + 0.08 * gust.step(&mut f.dice));
        let curve = ((wind.powi(3) - 27.0) / (1728.0 - 27.0)).clamp(0.0, 1.0);
        let iced = 1.0 - (0.6 * f.force("iced", i)).min(0.9);
        let limit = 1.0 - (0.7 * f.force("curtailed", i)).min(0.95);
        let own_use = 0.004 * rated;
        rated * (curve * iced).min(limit) - if curve <= 0.0 { own_use } else { 0.0 }
    })
}

/// Households by the morning and evening, few at night; a leak never sleeps.
fn water_flow(f: &mut Frame) -> Step {
    let rhythm = Rhythm::commute(&mut f.dice);
    let (homes, night) = (f.dice.magnitude(20.0, 2000.0), f.dice.between(0.02, 0.1));
    Box::new(move |f, i| {
        let taps = f
            .dice
            .poisson(homes * 0.12 * f.demand(&rhythm, i) * (1.0 + f.bump(i)));
        let losses = homes
            * (0.02
                + night * 0.1
                + 0.06 * f.force("leak", i)
                + 0.5 * f.force("burst_pipe", i)
                + 0.7 * f.force("hydrant", i));
        0.06 * (taps * f.dice.gamma(30.0) + losses)
    })
}

/// Rain in showers, two reservoirs in series, evaporation: floods are ordinary here.
fn river_level(f: &mut Frame) -> Step {
    let base = f.dice.between(40.0, 250.0);
    let mut shower = Switch::new(f.dice.between(150.0, 500.0), f.dice.between(6.0, 25.0));
    let (mut soil, mut level) = (0.0, 0.0);
    let (slow, fast) = (f.keep(40.0), f.keep(9.0));
    Box::new(move |f, i| {
        let rain = shower.step(&mut f.dice) * f.dice.exponential(3.0);
        soil = slow * soil + (1.0 - slow) * 60.0 * rain;
        level = fast * level + (1.0 - fast) * (0.3 * soil + 20.0 * rain);
        base + level
            + 40.0 * f.force("gate_opened", i)
            + 15.0 * f.force("gauge_moved", i)
            + 0.4 * f.dice.normal()
    })
}

/// Sources with traffic, wind that carries it off: multiplicative and skewed.
fn air_particles(f: &mut Frame) -> Step {
    let rhythm = Rhythm::commute(&mut f.dice);
    let base = f.dice.magnitude(4.0, 40.0);
    let (mut wind, mut air) = (Ar::new(f.keep(18.0)), base);
    Box::new(move |f, i| {
        let carried = (0.05 + 0.04 * wind.step(&mut f.dice)).clamp(0.01, 0.3);
        let emitted = base * 0.05 * (0.5 + f.demand(&rhythm, i) + f.bump(i))
            + base * 0.8 * f.force("fire", i);
        air += emitted - carried * air;
        let drift = 1.0 + 0.7 * f.force("drifted_sensor", i);
        air * drift * f.dice.gamma(60.0) + 12.0 * base * f.force("passing_smoker", i)
    })
}

/// Bicycles at a station: a bounded walk with tides; the van comes at night.
fn bike_dock(f: &mut Frame) -> Step {
    let rhythm = Rhythm::commute(&mut f.dice);
    let docks = 12.0 + f.dice.index(30) as f64;
    let tide = if f.dice.chance(0.5) { 1.0 } else { -1.0 };
    let flow = f.dice.between(0.04, 0.12) * docks;
    let mut bikes = (docks * 0.5).round();
    Box::new(move |f, i| {
        let hour = f.hours(i).rem_euclid(24.0);
        let pull = if hour < 12.0 { tide } else { -tide }
            * f64::from(u8::from(f.hours(i).rem_euclid(168.0) < 120.0));
        let rate = flow * f.demand(&rhythm, i);
        let (come, go) = (
            f.dice.poisson(rate * (1.0 + 0.5 * pull)),
            f.dice.poisson(rate * (1.0 - 0.5 * pull)),
        );
        let van = if hour < 4.0 {
            (0.1 * (docks * 0.5 - bikes)).round()
        } else {
            0.0
        };
        let usable = (docks * (1.0 - (0.6 * f.force("broken_docks", i)).min(0.9))).round();
        let refill = if f.force("van_refill", i) > 0.0 {
            (0.5 * (docks - bikes)).ceil()
        } else {
            0.0
        };
        bikes = (bikes + come - go + van + refill).clamp(0.0, usable);
        bikes
    })
}
