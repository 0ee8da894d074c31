//! Machines, rooms, sensors on batteries, hands on a keyboard.

use crate::dice::{Ar, Rhythm, Switch};
use crate::frame::{
    CLOCK, Family, Frame, GLITCH, NOISIER, STUCK, Step, Timing, ZERO, blip, ramp, shift, spell,
    swing,
};

pub const FAMILIES: &[Family] = &[
    Family {
        name: "machine_temperature",
        interval_s: 300,
        points: (9000, 22000),
        decimals: 3,
        timing: Timing::Regular,
        kinds: &[
            spell("shutdown", 4.0, 30.0),
            ramp("bearing", 24.0, 120.0),
            spell("overheating", 3.0, 20.0),
            spell("unstable", 12.0, 60.0),
        ],
        build: machine_temperature,
    },
    Family {
        name: "office_temperature",
        interval_s: 3600,
        points: (3000, 7500),
        decimals: 2,
        timing: Timing::Regular,
        kinds: &[
            spell("heating_failed", 10.0, 70.0),
            spell("window_open", 4.0, 16.0),
            swing("set_point"),
            CLOCK,
            STUCK,
        ],
        build: office_temperature,
    },
    Family {
        name: "keystroke_hold",
        interval_s: 400,
        points: (1000, 3000),
        decimals: 4,
        timing: Timing::Irregular,
        kinds: &[spell("other_person", 6.0, 40.0), blip("stuck_key"), NOISIER],
        build: keystroke_hold,
    },
    Family {
        name: "battery_volts",
        interval_s: 300,
        points: (3000, 6000),
        decimals: 2,
        timing: Timing::Regular,
        kinds: &[
            shift("dead_cell"),
            spell("no_charging", 12.0, 60.0),
            ramp("ageing", 48.0, 200.0),
            spell("loose_contact", 2.0, 20.0),
        ],
        build: battery_volts,
    },
    Family {
        name: "greenhouse_humidity",
        interval_s: 600,
        points: (3000, 5000),
        decimals: 1,
        timing: Timing::Jittered,
        kinds: &[
            spell("mister_stuck", 2.0, 12.0),
            spell("vent_stuck", 6.0, 40.0),
            STUCK,
            swing("calibration"),
        ],
        build: humidity,
    },
    Family {
        name: "cold_store",
        interval_s: 120,
        points: (3500, 9000),
        decimals: 1,
        timing: Timing::Regular,
        kinds: &[
            spell("door_open", 0.5, 4.0),
            spell("compressor_off", 1.0, 8.0),
            swing("thermostat"),
            shift("short_cycling"),
            GLITCH,
        ],
        build: cold_store,
    },
    Family {
        name: "pump_vibration",
        interval_s: 60,
        points: (3000, 9000),
        decimals: 3,
        timing: Timing::Regular,
        kinds: &[
            ramp("wear", 8.0, 40.0),
            spell("cavitation", 0.5, 6.0),
            swing("loose_foot"),
            spell("stopped", 0.3, 4.0),
        ],
        build: pump_vibration,
    },
    Family {
        name: "tank_level",
        interval_s: 120,
        points: (3000, 8000),
        decimals: 1,
        timing: Timing::Regular,
        kinds: &[
            spell("pump_failure", 1.0, 8.0),
            shift("leak"),
            spell("valve_stuck", 1.0, 8.0),
            GLITCH,
        ],
        build: tank_level,
    },
    Family {
        name: "oven_current",
        interval_s: 60,
        points: (3000, 8000),
        decimals: 2,
        timing: Timing::Regular,
        kinds: &[
            shift("element_broken"),
            spell("line_stopped", 0.5, 5.0),
            spell("relay_welded", 0.2, 2.0),
            CLOCK,
        ],
        build: oven_current,
    },
    Family {
        name: "rack_inlet",
        interval_s: 300,
        points: (3000, 5000),
        decimals: 1,
        timing: Timing::Regular,
        kinds: &[
            spell("chiller_trip", 0.5, 5.0),
            shift("blocked_tile"),
            ramp("filter_clogs", 30.0, 150.0),
            ZERO,
        ],
        build: rack_inlet,
    },
];

/// A large warm mass under a varying load; it cools for hours when the line stops.
fn machine_temperature(f: &mut Frame) -> Step {
    let (running, room) = (f.dice.between(75.0, 98.0), f.dice.between(18.0, 30.0));
    let (relaxation_h, sense) = (f.dice.between(3.0, 8.0), f.dice.between(0.3, 1.2));
    let memory_h = f.dice.between(10.0, 40.0);
    let inertia = f.keep(relaxation_h);
    let mut load = Ar::new(f.keep(memory_h));
    let mut pause = Switch::new(2500.0, 8.0);
    let (mut heat, mut noise) = (running, Ar::new(0.6));
    Box::new(move |f, i| {
        let stopped = f.force("shutdown", i) > 0.0;
        let work = 1.0 + 0.05 * load.step(&mut f.dice) - 0.5 * pause.step(&mut f.dice)
            + 0.2 * f.force("overheating", i)
            + 0.15 * f.force("bearing", i);
        let swing = 0.3 * f.force("unstable", i) * (f.hours(i) * 2.1).sin() * f.dice.unit();
        let target = if stopped {
            room
        } else {
            room + (running - room) * (work + swing) * f.slow(i).powf(0.3)
        };
        heat = inertia * heat + (1.0 - inertia) * target;
        heat + sense * noise.step(&mut f.dice)
    })
}

/// Walls between a season outside and a thermostat that sleeps at night and at weekends.
fn office_temperature(f: &mut Frame) -> Step {
    let (comfort, setback) = (f.dice.between(68.0, 73.0), f.dice.between(0.0, 6.0));
    let season = f.dice.between(0.0, 24.0 * 365.0);
    let mut weather = Ar::new(f.keep(40.0));
    let (mut room, mut people) = (comfort, Ar::new(0.5));
    Box::new(move |f, i| {
        let hours = f.hours(i) + 6.0 * f.force("clock", i);
        let year = ((hours + season) / 8766.0 * std::f64::consts::TAU).cos();
        let outside = 55.0 - 20.0 * year
            + 8.0 * ((hours - 15.0) / 24.0 * std::f64::consts::TAU).cos()
            + 6.0 * weather.step(&mut f.dice);
        let working =
            (6.0..19.0).contains(&hours.rem_euclid(24.0)) && hours.rem_euclid(168.0) < 120.0;
        let target = comfort + 5.0 * f.force("set_point", i) - if working { 0.0 } else { setback };
        let able = (1.0 - f.force("heating_failed", i)).max(0.0);
        let leak = 0.03 + 0.25 * f.force("window_open", i);
        let persons = if working {
            0.6 + 0.4 * people.step(&mut f.dice)
        } else {
            0.0
        };
        room += 0.45 * able * (target - room) + leak * (outside - room) + persons * 0.5;
        room + 0.25 * f.dice.normal() + 2.0 * f.bump(i)
    })
}

/// How long keys are held: each person has a hand, each hour its tiredness.
fn keystroke_hold(f: &mut Frame) -> Step {
    let (hold, steadiness) = (f.dice.between(0.07, 0.14), f.dice.between(6.0, 25.0));
    let mut tired = Ar::new(0.97);
    let other = if f.dice.chance(0.5) { 1.0 } else { -0.5 };
    Box::new(move |f, i| {
        let person = 1.0 + other * f.force("other_person", i).min(1.6) * 0.6;
        let mood = (0.08 * tired.step(&mut f.dice)).exp();
        // A pause for thought with the finger down.
        let pause = if f.dice.chance(0.004) {
            f.dice.between(0.5, 1.5)
        } else {
            0.0
        };
        hold * (person * mood * f.dice.gamma(steadiness) + pause + 8.0 * f.force("stuck_key", i))
    })
}

/// Charge by day, discharge by night; the voltage shows it through an inner resistance.
fn battery_volts(f: &mut Frame) -> Step {
    let (cells, drain) = (
        f.dice.between(1.0, 4.0).round(),
        f.dice.between(0.008, 0.022),
    );
    let mut cloud = Ar::new(f.keep(8.0));
    let mut transmit = Switch::new(25.0, 2.0);
    let mut charge = 0.8;
    Box::new(move |f, i| {
        let sun = ((f.hours(i) - 12.5) / 24.0 * std::f64::consts::TAU)
            .cos()
            .max(0.0);
        let bright = (0.75 + 0.25 * cloud.step(&mut f.dice)).clamp(0.1, 1.2);
        let panel = 0.16 * sun * bright * (1.0 - f.force("no_charging", i)).max(0.0);
        let sending = transmit.step(&mut f.dice);
        let size = (1.0 - 0.6 * f.force("ageing", i)).max(0.2);
        charge = (charge + (panel - drain * (1.0 + sending)) * f.step_h(i) / size).clamp(0.02, 1.0);
        let loose = if f.dice.chance(0.5 * f.force("loose_contact", i)) {
            0.6 * f.dice.unit()
        } else {
            0.0
        };
        let each = 3.2 + 0.75 * charge + 0.12 * charge.powi(8)
            - 0.25 * (1.0 - charge).powi(6)
            - 0.05 * sending / size
            - loose
            + 0.06 * f64::from(u8::from(panel > drain));
        each * cells * (1.0 - 0.06 * f.force("dead_cell", i)).max(0.3) + 0.01 * f.dice.normal()
    })
}

/// Plants give off water, vents let it out, a mister works between two limits.
fn humidity(f: &mut Frame) -> Step {
    let (low, high) = (f.dice.between(55.0, 65.0), f.dice.between(75.0, 88.0));
    let mut outside = Ar::new(f.keep(36.0));
    let (mut misting, mut air) = (false, 70.0);
    Box::new(move |f, i| {
        let warm = ((f.hours(i) - 14.0) / 24.0 * std::f64::consts::TAU).cos();
        let stuck = f.force("mister_stuck", i) > 0.0;
        misting = stuck || if misting { air < low + 8.0 } else { air < low };
        let vents = (if air > high { 0.25 } else { 0.03 }) + 0.35 * f.force("vent_stuck", i);
        let outdoors = 52.0 - 14.0 * warm + 9.0 * outside.step(&mut f.dice);
        air += vents * (outdoors - air) - 1.2 * warm + 0.9 + if misting { 5.0 } else { 0.0 };
        air = air.clamp(5.0, 100.0);
        (air + 7.0 * f.force("calibration", i) + 0.4 * f.dice.normal() + 4.0 * f.bump(i))
            .clamp(0.0, 100.0)
    })
}

/// A compressor between two temperatures, a defrost every few hours, a door.
fn cold_store(f: &mut Frame) -> Step {
    let (set, band) = (f.dice.between(-24.0, 4.0), f.dice.between(0.6, 2.0));
    let (every, room) = (
        [6.0, 8.0, 12.0][f.dice.index(3)],
        f.dice.between(15.0, 30.0),
    );
    let rhythm = Rhythm::office(&mut f.dice);
    let (mut cooling, mut air) = (true, set);
    Box::new(move |f, i| {
        let goal = set + 3.0 * f.force("thermostat", i);
        let width = band / (1.0 + 3.0 * f.force("short_cycling", i));
        cooling = if cooling {
            air > goal - width
        } else {
            air > goal + width
        };
        let defrost = f.hours(i).rem_euclid(every) < 0.3;
        let able = (1.0 - f.force("compressor_off", i)).max(0.0);
        let power = if cooling && !defrost {
            0.045 * (room - set) * able
        } else {
            0.0
        };
        let door = f64::from(u8::from(f.dice.chance(0.06 * f.demand(&rhythm, i)))) * 0.02
            + 0.05 * f.force("door_open", i);
        air += (0.012 + door) * (room - air) - power + if defrost { 0.35 } else { 0.0 };
        air + 0.08 * f.dice.normal() + 1.5 * f.bump(i)
    })
}

/// Root mean square of a running pump: speed steps, wear that grows, cavitation that roars.
fn pump_vibration(f: &mut Frame) -> Step {
    let level = f.dice.magnitude(0.5, 6.0);
    let speeds = [1.0, f.dice.between(1.15, 1.5)];
    let mut speed = Switch::new(f.dice.between(200.0, 800.0), f.dice.between(100.0, 500.0));
    let mut resonance = Ar::new(0.9);
    Box::new(move |f, i| {
        let turning = speeds[speed.step(&mut f.dice) as usize];
        let worn = 1.0 + 0.9 * f.force("wear", i) + 0.35 * f.force("loose_foot", i);
        let roar = f.force("cavitation", i) * f.dice.gamma(1.5);
        let shaking = level
            * turning.powi(2)
            * worn.max(0.2)
            * (0.06 * resonance.step(&mut f.dice)).exp()
            * f.dice.gamma(120.0);
        let on = if f.force("stopped", i) > 0.0 {
            0.02
        } else {
            1.0
        };
        (shaking + level * (roar + 0.6 * f.bump(i))) * on
    })
}

/// A pump that fills between two marks against a demand: a sawtooth that breathes with the day.
fn tank_level(f: &mut Frame) -> Step {
    let rhythm = Rhythm::consumer(&mut f.dice);
    let (low, high) = (f.dice.between(25.0, 40.0), f.dice.between(70.0, 92.0));
    let (inflow, outflow) = (f.dice.between(1.2, 2.5), f.dice.between(0.25, 0.8));
    let (mut filling, mut level) = (false, 60.0);
    Box::new(move |f, i| {
        filling = if filling { level < high } else { level < low };
        let pump = (1.0 - f.force("pump_failure", i)).max(0.0);
        let valve = f.force("valve_stuck", i) > 0.0;
        let come = if filling || valve { inflow * pump } else { 0.0 };
        let go = outflow * f.demand(&rhythm, i) * f.dice.gamma(20.0) + 0.5 * f.force("leak", i);
        level = (level + come - go).clamp(0.0, 100.0);
        level + 0.25 * f.dice.normal()
    })
}

/// Heating by bursts in shifts: the share of the time that the relay is closed follows the product.
fn oven_current(f: &mut Frame) -> Step {
    let (rated, begins) = (f.dice.magnitude(8.0, 250.0), f.dice.between(4.0, 8.0));
    let shift_length = [8.0, 16.0][f.dice.index(2)];
    let duty = f.dice.between(0.4, 0.75);
    let period = 4.0 + f.dice.index(9) as f64;
    Box::new(move |f, i| {
        let hours = f.hours(i) + 5.0 * f.force("clock", i);
        let on_shift =
            (hours - begins).rem_euclid(24.0) < shift_length && hours.rem_euclid(168.0) < 132.0;
        let stopped = f.force("line_stopped", i) > 0.0;
        let share = if !on_shift || stopped {
            0.08
        } else {
            duty * f.slow(i)
        };
        let phase = (i as f64 % period) / period;
        let closed = f.force("relay_welded", i) > 0.0 || phase < share + 0.06 * f.dice.normal();
        let elements = 1.0 - (0.3 * f.force("element_broken", i)).min(0.9);
        let current = if closed {
            rated * elements * f.dice.gamma(1500.0)
        } else {
            0.01 * rated
        };
        current + 0.002 * rated * f.dice.normal().abs()
    })
}

/// Air in front of a rack: chilled supply, recirculation with load, a controller that hunts a little.
fn rack_inlet(f: &mut Frame) -> Step {
    let rhythm = Rhythm::consumer(&mut f.dice);
    let supply = f.dice.between(17.0, 23.0);
    let (mut air, mut hunt, mut trend) = (supply, Ar::new(0.97), Ar::new(0.5));
    Box::new(move |f, i| {
        let recirculated = 1.2
            * f.demand(&rhythm, i)
            * (1.0 + 1.5 * f.force("blocked_tile", i) + 2.0 * f.force("filter_clogs", i));
        let failed = 14.0 * f.force("chiller_trip", i);
        let goal = supply + recirculated + failed + 0.25 * hunt.step(&mut f.dice);
        air += 0.2 * (goal - air);
        air + 0.05 * trend.step(&mut f.dice) + 0.8 * f.bump(i)
    })
}
