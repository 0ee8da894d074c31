//! Processors, memory, pools, graphics cards.

use crate::dice::{Ar, Hawkes, Rhythm, Switch};
use crate::frame::{
    CLOCK, Family, Frame, GLITCH, HOLIDAY, NOISIER, STUCK, Step, Timing, ZERO, blip, ramp, shift,
    spell, swing,
};

pub const FAMILIES: &[Family] = &[
    Family {
        name: "web_cpu",
        interval_s: 300,
        points: (3000, 5000),
        decimals: 3,
        timing: Timing::Regular,
        kinds: &[
            spell("runaway", 0.5, 8.0),
            spell("crash", 0.3, 4.0),
            swing("release"),
            ramp("creep", 10.0, 60.0),
            blip("stall"),
            CLOCK,
        ],
        build: web_cpu,
    },
    Family {
        name: "batch_cpu",
        interval_s: 300,
        points: (3500, 4500),
        decimals: 2,
        timing: Timing::Regular,
        kinds: &[
            spell("missed", 5.0, 30.0),
            spell("overrun", 2.0, 10.0),
            shift("miner"),
            CLOCK,
        ],
        build: batch_cpu,
    },
    Family {
        name: "idle_cpu",
        interval_s: 300,
        points: (3500, 4500),
        decimals: 3,
        timing: Timing::Regular,
        kinds: &[
            spell("busy", 0.2, 3.0),
            shift("agent"),
            blip("burst"),
            NOISIER,
        ],
        build: idle_cpu,
    },
    Family {
        name: "autoscaled_cpu",
        interval_s: 300,
        points: (3500, 18000),
        decimals: 2,
        timing: Timing::Regular,
        kinds: &[
            spell("frozen_scaler", 3.0, 12.0),
            spell("rush", 0.5, 4.0),
            spell("flapping", 4.0, 20.0),
            shift("slow_build"),
        ],
        build: autoscaled_cpu,
    },
    Family {
        name: "thread_pool",
        interval_s: 60,
        points: (3000, 9000),
        decimals: 0,
        timing: Timing::Regular,
        kinds: &[
            spell("slow_dependency", 0.2, 2.0),
            ramp("leak", 4.0, 24.0),
            spell("no_traffic", 0.1, 1.0),
        ],
        build: thread_pool,
    },
    Family {
        name: "jvm_heap",
        interval_s: 60,
        points: (3000, 8000),
        decimals: 1,
        timing: Timing::Regular,
        kinds: &[
            ramp("leak", 5.0, 30.0),
            spell("allocation_storm", 0.5, 5.0),
            shift("bigger_cache"),
            spell("collector_stopped", 0.5, 4.0),
        ],
        build: jvm_heap,
    },
    Family {
        name: "gc_pause_ms",
        interval_s: 60,
        points: (3000, 6000),
        decimals: 1,
        timing: Timing::Regular,
        kinds: &[
            spell("pressure", 0.5, 6.0),
            blip("full_collection"),
            shift("other_collector"),
        ],
        build: gc_pause,
    },
    Family {
        name: "container_memory",
        interval_s: 300,
        points: (3000, 5000),
        decimals: 2,
        timing: Timing::Regular,
        kinds: &[
            ramp("leak", 10.0, 60.0),
            swing("release"),
            spell("bulk_load", 0.5, 4.0),
            STUCK,
        ],
        build: container_memory,
    },
    Family {
        name: "gpu_temperature",
        interval_s: 60,
        points: (3000, 9000),
        decimals: 0,
        timing: Timing::Regular,
        kinds: &[
            spell("fan_failure", 0.3, 4.0),
            shift("dust"),
            spell("hung_job", 4.0, 12.0),
            ramp("pump_wear", 6.0, 30.0),
        ],
        build: gpu_temperature,
    },
    Family {
        name: "load_average",
        interval_s: 300,
        points: (3000, 5000),
        decimals: 2,
        timing: Timing::Regular,
        kinds: &[
            spell("blocked_mount", 0.5, 6.0),
            spell("fork_storm", 0.2, 1.0),
            HOLIDAY,
            ZERO,
            GLITCH,
        ],
        build: load_average,
    },
];

/// Work that arrives with people, costs a noisy amount and shares the host with a cron job.
fn web_cpu(f: &mut Frame) -> Step {
    let rhythm = if f.dice.chance(0.6) {
        Rhythm::consumer(&mut f.dice)
    } else {
        Rhythm::office(&mut f.dice)
    };
    let (scale, base) = (f.dice.between(12.0, 45.0), f.dice.between(1.0, 8.0));
    let (cron_h, cron_cost) = (f.dice.index(24) as f64, f.dice.between(2.0, 20.0));
    let mut noise = Ar::new(f.keep(0.4));
    let rough = f.dice.between(0.03, 0.15);
    Box::new(move |f, i| {
        let wanted = f.demand(&rhythm, i) * (1.0 + 0.6 * f.force("release", i)).max(0.1);
        let work =
            scale * wanted * (1.0 + rough * noise.step(&mut f.dice)) * (1.0 + 1.5 * f.bump(i));
        let cron = if (f.hours(i) - cron_h).rem_euclid(24.0) < 0.4 {
            cron_cost
        } else {
            0.0
        };
        let alive = 1.0 - f.force("crash", i).min(1.0) * 0.97;
        let extra =
            55.0 * f.force("runaway", i) + 30.0 * f.force("creep", i) + 60.0 * f.force("stall", i);
        // Demand above capacity waits: use bends towards 100 % instead of passing it.
        let load = (base + work + cron) * alive + extra;
        100.0 * (1.0 - (-load / 90.0).exp()) * (1.0 + 0.02 * f.dice.normal())
    })
}

/// A machine that does nothing until its jobs come, several times a day and every night.
fn batch_cpu(f: &mut Frame) -> Step {
    let every = [3.0, 4.0, 6.0, 8.0, 12.0][f.dice.index(5)];
    let (length, height) = (f.dice.between(0.3, 1.5), f.dice.between(25.0, 90.0));
    let (nightly_h, nightly_length) = (f.dice.between(0.0, 5.0), f.dice.between(0.5, 3.0));
    let idle = f.dice.between(0.5, 4.0);
    let mut left = 0.0;
    Box::new(move |f, i| {
        let hours = f.hours(i) + 5.0 * f.force("clock", i);
        let step = f.step_h(i);
        let due = hours.rem_euclid(every) < step;
        let nightly = (hours - nightly_h).rem_euclid(24.0) < step;
        if (due || nightly) && f.force("missed", i) <= 0.0 {
            let usual = if nightly { nightly_length } else { length };
            left += usual * f.dice.gamma(20.0) * (1.0 + 3.0 * f.force("overrun", i));
        }
        let busy = (left / step).clamp(0.0, 1.0);
        left = (left - step).max(0.0);
        if f.force("overrun", i) > 0.0 && busy > 0.0 {
            left += step * 0.5;
        }
        let miner = 25.0 * f.force("miner", i);
        (idle * f.dice.gamma(8.0)
            + busy * height * (1.0 + 0.06 * f.dice.normal())
            + miner
            + 20.0 * f.bump(i))
        .min(100.0)
    })
}

/// Housekeeping only: tenths of a per cent, in steps, with a tick every hour.
fn idle_cpu(f: &mut Frame) -> Step {
    let (base, tick) = (f.dice.magnitude(0.05, 2.5), f.dice.between(0.0, 0.6));
    let mut regime = Switch::new(400.0, 250.0);
    let wanders = f.dice.between(0.0, 0.15);
    Box::new(move |f, i| {
        let second = wanders * regime.step(&mut f.dice);
        let hourly = if f.hours(i).rem_euclid(1.0) < f.step_h(i) {
            tick
        } else {
            0.0
        };
        let quiet = base * (1.0 + second + hourly + f.force("agent", i)) * f.dice.gamma(150.0);
        quiet * (1.0 + 2.0 * f.bump(i))
            + 40.0 * f.force("busy", i) * f.dice.gamma(10.0)
            + 12.0 * f.force("burst", i)
    })
}

/// The mean of a group that grows and shrinks behind demand, with a delay and whole machines.
fn autoscaled_cpu(f: &mut Frame) -> Step {
    let rhythm = Rhythm::consumer(&mut f.dice);
    let (scale, target) = (f.dice.between(4.0, 30.0), f.dice.between(35.0, 60.0));
    let (mut machines, mut smooth, mut cooldown) = (scale.ceil(), target, 0);
    Box::new(move |f, i| {
        let flapping = f.force("flapping", i);
        let costs = 1.0 + 0.5 * f.force("slow_build", i);
        let load = scale
            * 50.0
            * f.demand(&rhythm, i)
            * costs
            * (1.0 + 1.4 * f.force("rush", i) + f.bump(i))
            * f.dice.gamma(200.0);
        let each = load / machines;
        let use_percent = 100.0 * (1.0 - (-each / 100.0).exp()) * 1.2;
        smooth += (use_percent - smooth) * 0.4;
        cooldown -= 1;
        if cooldown <= 0 && f.force("frozen_scaler", i) <= 0.0 {
            let wish = (machines * smooth / target).ceil();
            if smooth > target * 1.15 || smooth < target * 0.75 {
                machines = wish.clamp(2.0_f64.max(machines * 0.6), machines * 1.5 + 1.0);
                cooldown = 3;
            }
        }
        if flapping > 0.0 && i.is_multiple_of(4) {
            machines = (machines
                * if i.is_multiple_of(8) {
                    1.0 + flapping
                } else {
                    1.0 / (1.0 + flapping)
                })
            .clamp(2.0, 200.0)
            .round();
        }
        use_percent.min(100.0)
    })
}

/// Busy threads by Little's law: arrivals times the time each is held, up to the pool's size.
fn thread_pool(f: &mut Frame) -> Step {
    let rhythm = Rhythm::consumer(&mut f.dice);
    let pool = [50.0, 100.0, 200.0, 400.0][f.dice.index(4)];
    let mean = pool * f.dice.between(0.05, 0.3);
    let mut hold = Ar::new(0.9);
    Box::new(move |f, i| {
        let seconds = (0.15 * hold.step(&mut f.dice)).exp()
            * (1.0 + 5.0 * f.force("slow_dependency", i))
            * (1.0 + 3.0 * f.bump(i));
        let arrivals = f.demand(&rhythm, i) * (1.0 - f.force("no_traffic", i).min(1.0));
        let leaked = 0.6 * pool * f.force("leak", i);
        (f.dice.poisson(mean * arrivals * seconds) + leaked).min(pool)
    })
}

/// Allocation fills the young space, a collection empties it; what survives slowly ages.
fn jvm_heap(f: &mut Frame) -> Step {
    let rhythm = Rhythm::office(&mut f.dice);
    let limit = [512.0, 1024.0, 2048.0, 4096.0][f.dice.index(4)];
    let (live, rate, trigger) = (
        f.dice.between(0.15, 0.35) * limit,
        f.dice.between(0.005, 0.04) * limit,
        f.dice.between(0.55, 0.8) * limit,
    );
    let (mut used, mut old) = (live, 0.0);
    Box::new(move |f, i| {
        let storm = 1.0 + 5.0 * f.force("allocation_storm", i) + 2.0 * f.bump(i);
        let new = rate * (0.25 + f.demand(&rhythm, i)) * storm * f.dice.gamma(12.0);
        old += 0.03 * new;
        used += new;
        let floor =
            live * (1.0 + 0.6 * f.force("bigger_cache", i)) + 0.45 * limit * f.force("leak", i);
        if used > trigger && (f.force("collector_stopped", i) <= 0.0 || used > 0.97 * limit) {
            if floor + old > 0.85 * trigger {
                old = 0.0;
            }
            used = floor + old + 0.03 * limit * f.dice.unit();
        }
        used = used.min(limit);
        used
    })
}

/// Pauses grow with what is alive; most are short, some are not.
fn gc_pause(f: &mut Frame) -> Step {
    let rhythm = Rhythm::consumer(&mut f.dice);
    let base = f.dice.magnitude(4.0, 60.0);
    let tail = f.dice.between(2.5, 5.0);
    Box::new(move |f, i| {
        let load = 0.4 + f.demand(&rhythm, i);
        let usual = base
            * load
            * f.dice.gamma(9.0)
            * (1.0 + 2.5 * f.force("pressure", i))
            * (1.0 + 0.8 * f.force("other_collector", i));
        let mixed = if f.dice.chance(0.01) {
            base * f.dice.pareto(tail).min(6.0)
        } else {
            0.0
        };
        usual + mixed + 30.0 * base * f.force("full_collection", i)
    })
}

/// A working set that follows use, a page cache that fills up, a restart now and then by rollout.
fn container_memory(f: &mut Frame) -> Step {
    let rhythm = Rhythm::office(&mut f.dice);
    let (base, follows, cache) = (
        f.dice.between(20.0, 55.0),
        f.dice.between(0.5, 6.0),
        f.dice.between(3.0, 15.0),
    );
    let rollout = 1.0 / (f.dice.between(4.0, 12.0) * 288.0);
    let (mut age, mut noise) = (0.0, Ar::new(f.keep(3.0)));
    Box::new(move |f, i| {
        age += f.step_h(i);
        if f.dice.chance(rollout) {
            age = 0.0;
        }
        let filled = cache * (1.0 - (-age / 30.0f64).exp());
        let wobble = 0.3 * noise.step(&mut f.dice) + 0.05 * f.dice.normal();
        let extra = 35.0 * f.force("leak", i)
            + 18.0 * f.force("bulk_load", i)
            + 4.0 * f.bump(i)
            + 10.0 * f.force("release", i);
        (base * f.slow(i) + follows * f.demand(&rhythm, i) + filled + wobble + extra)
            .clamp(0.0, 100.0)
    })
}

/// Newton's cooling: power in by job, heat out by fan; fans run faster when it is hot.
fn gpu_temperature(f: &mut Frame) -> Step {
    let room = f.dice.between(22.0, 30.0);
    let mut job = Switch::new(f.dice.between(30.0, 400.0), f.dice.between(60.0, 600.0));
    let (power, inertia) = (f.dice.between(35.0, 50.0), f.dice.between(3.0, 8.0));
    let mut heat = room + 10.0;
    Box::new(move |f, i| {
        let busy = job
            .step(&mut f.dice)
            .max(f64::from(u8::from(f.force("hung_job", i) > 0.0)));
        let hot = ((heat - 45.0) / 40.0).clamp(0.0, 1.0);
        let worse = f.force("fan_failure", i) * 0.7
            + f.force("dust", i) * 0.3
            + f.force("pump_wear", i) * 0.5;
        let cooling = (0.8 + 0.6 * hot) / (1.0 + worse);
        let watts = 8.0 + power * busy * (1.0 + 0.08 * f.dice.normal()) * (1.0 + 0.2 * f.bump(i));
        heat += (watts - cooling * (heat - room * f.slow(i).powf(0.1))) / inertia;
        heat.clamp(15.0, 104.0)
    })
}

/// Runnable processes, averaged exponentially as the kernel does.
fn load_average(f: &mut Frame) -> Step {
    let rhythm = Rhythm::office(&mut f.dice);
    let cores = [2.0, 4.0, 8.0, 16.0][f.dice.index(4)];
    let mut forks = Hawkes::new(0.7, 0.6);
    let mut average = 0.0;
    Box::new(move |f, i| {
        let base = cores * 0.25 * (0.3 + f.demand(&rhythm, i));
        let running = forks.step(&mut f.dice, base)
            + 3.0
                * cores
                * (f.force("blocked_mount", i) + 2.0 * f.force("fork_storm", i) + 0.5 * f.bump(i));
        average += (running - average) * 0.45;
        average
    })
}
