//! Databases, queues, caches, disks, logs.

use crate::dice::{Ar, Hawkes, Rhythm, Switch};
use crate::frame::{
    CLOCK, Family, Frame, HOLIDAY, NOISIER, STUCK, Step, Timing, ZERO, blip, ramp, shift, spell,
    swing,
};

pub const FAMILIES: &[Family] = &[
    Family {
        name: "relational_cpu",
        interval_s: 300,
        points: (3500, 4500),
        decimals: 3,
        timing: Timing::Regular,
        kinds: &[
            shift("bad_plan"),
            spell("lock_storm", 0.2, 3.0),
            spell("reporting_query", 0.5, 5.0),
            ramp("bloat", 24.0, 96.0),
            HOLIDAY,
        ],
        build: relational_cpu,
    },
    Family {
        name: "database_connections",
        interval_s: 60,
        points: (3000, 9000),
        decimals: 0,
        timing: Timing::Regular,
        kinds: &[
            ramp("leak", 4.0, 30.0),
            spell("retry_storm", 0.1, 2.0),
            swing("pool_resized"),
            spell("failover", 0.05, 0.4),
        ],
        build: connections,
    },
    Family {
        name: "replication_lag_s",
        interval_s: 60,
        points: (3000, 9000),
        decimals: 1,
        timing: Timing::Regular,
        kinds: &[
            spell("replica_stopped", 0.2, 3.0),
            spell("write_storm", 0.5, 5.0),
            shift("slow_disk"),
        ],
        build: replication_lag,
    },
    Family {
        name: "queue_lag",
        interval_s: 60,
        points: (3000, 10000),
        decimals: 0,
        timing: Timing::Regular,
        kinds: &[
            spell("consumer_down", 0.1, 2.0),
            spell("poison_message", 0.5, 6.0),
            shift("one_worker_less"),
            spell("producer_rush", 0.2, 3.0),
        ],
        build: queue_lag,
    },
    Family {
        name: "mail_queue",
        interval_s: 300,
        points: (3000, 5000),
        decimals: 0,
        timing: Timing::Regular,
        kinds: &[
            spell("relay_refuses", 0.5, 8.0),
            spell("spam_run", 0.3, 4.0),
            shift("greylisted"),
            ZERO,
        ],
        build: mail_queue,
    },
    Family {
        name: "cache_hit_percent",
        interval_s: 60,
        points: (3000, 9000),
        decimals: 2,
        timing: Timing::Regular,
        kinds: &[
            blip("flush"),
            shift("new_keys"),
            spell("scan", 0.3, 4.0),
            ramp("eviction", 4.0, 24.0),
        ],
        build: cache_hits,
    },
    Family {
        name: "storage_used_gb",
        interval_s: 900,
        points: (3000, 6000),
        decimals: 2,
        timing: Timing::Regular,
        kinds: &[
            shift("verbose"),
            blip("dump"),
            spell("cleanup_fails", 30.0, 120.0),
            STUCK,
        ],
        build: storage_used,
    },
    Family {
        name: "disk_write_bytes",
        interval_s: 300,
        points: (3500, 5000),
        decimals: -2,
        timing: Timing::Regular,
        kinds: &[
            spell("swap_storm", 0.3, 4.0),
            spell("read_only", 0.5, 6.0),
            shift("debug_log"),
            blip("core_dump"),
        ],
        build: disk_write,
    },
    Family {
        name: "disk_await_ms",
        interval_s: 60,
        points: (3000, 7000),
        decimals: 2,
        timing: Timing::Regular,
        kinds: &[
            shift("rebuild"),
            blip("hiccup"),
            spell("noisy_neighbour", 0.5, 8.0),
            ramp("dying", 12.0, 60.0),
        ],
        build: disk_await,
    },
    Family {
        name: "log_lines",
        interval_s: 300,
        points: (3500, 5000),
        decimals: 0,
        timing: Timing::Regular,
        kinds: &[
            spell("flood", 0.2, 4.0),
            spell("shipper_dead", 0.5, 6.0),
            swing("log_level"),
            HOLIDAY,
        ],
        build: log_lines,
    },
    Family {
        name: "error_count",
        interval_s: 300,
        points: (3500, 5000),
        decimals: 0,
        timing: Timing::Regular,
        kinds: &[
            spell("burst", 0.2, 3.0),
            shift("trickle"),
            spell("dependency_down", 0.5, 4.0),
            blip("deploy"),
        ],
        build: error_count,
    },
    Family {
        name: "scan_rows",
        interval_s: 300,
        points: (3000, 4500),
        decimals: -3,
        timing: Timing::Regular,
        kinds: &[
            shift("lost_index"),
            spell("backfill", 1.0, 8.0),
            CLOCK,
            NOISIER,
        ],
        build: scan_rows,
    },
];

/// Queries with people, an hourly report, autovacuum, and a plan that can flip for the worse.
fn relational_cpu(f: &mut Frame) -> Step {
    let rhythm = Rhythm::office(&mut f.dice);
    let (scale, base, report) = (
        f.dice.between(8.0, 35.0),
        f.dice.between(2.0, 10.0),
        f.dice.between(0.0, 12.0),
    );
    let mut vacuum = Switch::new(250.0, 6.0);
    let mut noise = Ar::new(0.7);
    Box::new(move |f, i| {
        let plan = 1.0 + 0.7 * f.force("bad_plan", i) + 0.8 * f.force("bloat", i);
        let queries = scale * f.demand(&rhythm, i) * plan * (1.0 + 0.07 * noise.step(&mut f.dice));
        let hourly = if f.hours(i).rem_euclid(1.0) < f.step_h(i) {
            report
        } else {
            0.0
        };
        let upkeep = 6.0 * vacuum.step(&mut f.dice) * f.dice.gamma(5.0);
        let extra = 60.0 * f.force("lock_storm", i)
            + 30.0 * f.force("reporting_query", i)
            + 15.0 * f.bump(i);
        100.0
            * (1.0 - (-(base + queries + hourly + upkeep + extra) / 85.0).exp())
            * f.dice.gamma(2500.0)
    })
}

/// Clients hold pools with a floor each; queries beyond it open more.
fn connections(f: &mut Frame) -> Step {
    let rhythm = Rhythm::office(&mut f.dice);
    let limit = [100.0, 200.0, 500.0][f.dice.index(3)];
    let (floor, busy) = (
        limit * f.dice.between(0.08, 0.2),
        limit * f.dice.between(0.05, 0.3),
    );
    let mut open = floor;
    Box::new(move |f, i| {
        let wanted = f.dice.poisson(
            busy * f.demand(&rhythm, i) * (1.0 + 4.0 * f.force("retry_storm", i) + f.bump(i)),
        );
        let pool = floor * (1.0 + 0.6 * f.force("pool_resized", i)).max(0.1);
        let target = pool.round() + wanted + 0.7 * limit * f.force("leak", i);
        // Opened at once, closed only after an idle time.
        open = if target > open {
            target
        } else {
            open + 0.08 * (target - open)
        };
        if f.force("failover", i) > 0.0 {
            open *= 1.0 - f.force("failover", i).min(1.0);
        }
        open.min(limit).round()
    })
}

/// Log to replay accumulates whenever writes outrun the replica; normally they do not.
fn replication_lag(f: &mut Frame) -> Step {
    let rhythm = Rhythm::consumer(&mut f.dice);
    let spare = f.dice.between(1.9, 2.8);
    let mut bulk = Switch::new(f.dice.between(400.0, 2000.0), f.dice.between(3.0, 10.0));
    let (mut behind, mut slow) = (0.0, Ar::new(0.95));
    Box::new(move |f, i| {
        let writes = f.demand(&rhythm, i)
            * (1.0 + 0.8 * bulk.step(&mut f.dice))
            * (1.0 + 4.0 * f.force("write_storm", i))
            * f.dice.gamma(10.0);
        let stopped = f.force("replica_stopped", i) > 0.0;
        let speed = if stopped {
            0.0
        } else {
            spare * (1.0 + 0.1 * slow.step(&mut f.dice))
                / (1.0 + 0.3 * f.force("slow_disk", i).min(1.0))
        };
        behind = (behind + 60.0 * (writes - speed)).max(0.0);
        let apply = 0.3 * f.dice.gamma(3.0) * (1.0 + 2.0 * f.force("slow_disk", i));
        behind + apply
    })
}

/// Lindley's recursion: what came in, less what the workers managed, never below the batch in flight.
fn queue_lag(f: &mut Frame) -> Step {
    let rhythm = Rhythm::consumer(&mut f.dice);
    let rate = f.dice.magnitude(50.0, 20000.0);
    let capacity = f.dice.between(1.7, 2.6);
    let mut pause = Switch::new(600.0, 1.5);
    let mut lag = 0.0;
    Box::new(move |f, i| {
        let arrived = rate
            * f.demand(&rhythm, i)
            * (1.0 + 2.5 * f.force("producer_rush", i) + 0.8 * f.bump(i))
            * f.dice.gamma(40.0);
        let rebalance = 1.0 - 0.8 * pause.step(&mut f.dice);
        let workers = (1.0
            - 0.25 * f.force("one_worker_less", i).min(1.2)
            - 0.6 * f.force("poison_message", i))
        .max(0.1);
        let up = if f.force("consumer_down", i) > 0.0 {
            0.0
        } else {
            1.0
        };
        lag = (lag + arrived - rate * capacity * rebalance * workers * up).clamp(0.0, 400.0 * rate);
        let in_flight = f.dice.poisson(0.02 * arrived / workers.powi(3));
        lag + in_flight
    })
}

/// Deliveries and deferrals with exponential patience.
fn mail_queue(f: &mut Frame) -> Step {
    let rhythm = Rhythm::office(&mut f.dice);
    let rate = f.dice.magnitude(5.0, 300.0);
    let newsletter_h = f.dice.index(168) as f64;
    let (mut fresh, mut deferred) = (0.0, rate);
    Box::new(move |f, i| {
        let campaign = if (f.hours(i) - newsletter_h).rem_euclid(168.0) < 0.5 {
            6.0
        } else {
            0.0
        };
        let sent = f.dice.poisson(
            rate * (f.demand(&rhythm, i) + campaign + 8.0 * f.force("spam_run", i) + f.bump(i)),
        );
        fresh += sent;
        let refused = f.force("relay_refuses", i).min(1.0);
        let share = (0.05 + 0.35 * f.force("greylisted", i)).min(0.9);
        let handled = fresh.min(rate * 5.0) * (1.0 - refused);
        fresh -= handled;
        deferred = deferred * 0.93 + share * handled;
        (fresh + deferred).round()
    })
}

/// A cache as full as the popular keys are many; refills exponentially after a loss.
fn cache_hits(f: &mut Frame) -> Step {
    let rhythm = Rhythm::consumer(&mut f.dice);
    let (best, refill) = (f.dice.between(75.0, 98.5), f.dice.between(20.0, 200.0));
    let (mut warm, mut noise) = (1.0, Ar::new(0.8));
    let per_night = f.dice.between(0.0, 0.05);
    Box::new(move |f, i| {
        warm += (1.0 - warm) / refill;
        warm *= 1.0 - 0.6 * f.force("flush", i).min(1.0);
        let lost = 0.3 * f.force("new_keys", i)
            + 0.5 * f.force("scan", i)
            + 0.35 * f.force("eviction", i)
            + 0.08 * f.bump(i);
        let load = f.demand(&rhythm, i);
        let calm = per_night * (1.0 - load.min(1.0));
        let requests = 2000.0 * (0.1 + load);
        let share = (best / 100.0 * warm * (1.0 - lost - calm) + 0.004 * noise.step(&mut f.dice))
            .clamp(0.0, 0.9999);
        100.0
            * (share + (share * (1.0 - share) / requests).sqrt() * f.dice.normal()).clamp(0.0, 1.0)
    })
}

/// Growth with use, a nightly or weekly cleanup that takes most of it back, and a slow remainder.
fn storage_used(f: &mut Frame) -> Step {
    let rhythm = Rhythm::office(&mut f.dice);
    let every = if f.dice.chance(0.6) { 24.0 } else { 168.0 };
    let (start, grow) = (
        f.dice.magnitude(20.0, 2000.0),
        f.dice.between(0.0004, 0.003),
    );
    let (cleanup_h, share) = (f.dice.between(0.0, 6.0), f.dice.between(0.7, 0.98));
    let (mut kept, mut loose, mut dumped) = (start, 0.0, 0.0);
    Box::new(move |f, i| {
        let new = start
            * grow
            * f.demand(&rhythm, i)
            * f.step_h(i)
            * f.dice.gamma(4.0)
            * (1.0 + 2.5 * f.force("verbose", i));
        loose += new;
        let due = (f.hours(i) - cleanup_h).rem_euclid(every) < f.step_h(i);
        if due && f.force("cleanup_fails", i) <= 0.0 {
            kept += loose * (1.0 - share);
            loose = 0.0;
        }
        dumped = f64::max(dumped * 0.999, 0.15 * start * f.force("dump", i));
        kept + loose + dumped + 0.02 * start * f.bump(i)
    })
}

/// Appends that are buffered and flushed, compactions every so often.
fn disk_write(f: &mut Frame) -> Step {
    let rhythm = Rhythm::consumer(&mut f.dice);
    let scale = f.dice.magnitude(1e4, 2e7);
    let threshold = f.dice.between(2.0, 20.0);
    let (mut buffer, mut compaction) = (
        0.0,
        Switch::new(f.dice.between(60.0, 300.0), f.dice.between(2.0, 5.0)),
    );
    Box::new(move |f, i| {
        let logging = 1.0 + 2.0 * f.force("debug_log", i);
        buffer += f.demand(&rhythm, i) * logging * f.dice.gamma(3.0) + 0.1;
        let mut written = 0.2 * logging * f.dice.gamma(3.0);
        if buffer > threshold {
            written += buffer;
            buffer = 0.0;
        }
        written += 4.0 * compaction.step(&mut f.dice) * f.dice.gamma(4.0);
        written += 25.0 * f.force("swap_storm", i) * f.dice.gamma(2.0)
            + 120.0 * f.force("core_dump", i)
            + 6.0 * f.bump(i);
        if f.force("read_only", i) > 0.0 {
            0.0
        } else {
            scale * written
        }
    })
}

/// An M/G/1 wait: variable sizes, a cache that hides most of it.
fn disk_await(f: &mut Frame) -> Step {
    let rhythm = Rhythm::office(&mut f.dice);
    let (service, busy) = (f.dice.magnitude(0.3, 9.0), f.dice.between(0.15, 0.5));
    let backup_h = f.dice.between(0.0, 5.0);
    Box::new(move |f, i| {
        let backup = if (f.hours(i) - backup_h).rem_euclid(24.0) < 0.8 {
            0.3
        } else {
            0.0
        };
        let slower = 1.0 + f.force("rebuild", i) * 0.6 + 2.0 * f.force("dying", i);
        let used = (busy * f.demand(&rhythm, i)
            + backup
            + 0.45 * f.force("noisy_neighbour", i)
            + 0.2 * f.bump(i))
        .clamp(0.0, 0.95);
        service * slower * (1.0 + used / (1.0 - used)) * f.dice.gamma(12.0)
            + 60.0 * service * f.force("hiccup", i)
    })
}

/// Lines bring lines: a stack trace, a retry, a warning about the warning.
fn log_lines(f: &mut Frame) -> Step {
    let rhythm = Rhythm::consumer(&mut f.dice);
    let scale = f.dice.magnitude(20.0, 5000.0);
    let mut chatter = Hawkes::new(0.75, f.dice.between(0.3, 0.75));
    let nightly_h = f.dice.between(0.0, 5.0);
    Box::new(move |f, i| {
        let nightly = if (f.hours(i) - nightly_h).rem_euclid(24.0) < 0.3 {
            0.8
        } else {
            0.0
        };
        let level = (1.0 + 0.8 * f.force("log_level", i)).max(0.1);
        let base = scale
            * level
            * (0.15 + f.demand(&rhythm, i) + nightly + 8.0 * f.force("flood", i) + 1.5 * f.bump(i));
        let lines = chatter.step(&mut f.dice, base);
        if f.force("shipper_dead", i) > 0.0 {
            0.0
        } else {
            lines
        }
    })
}

/// Mostly nothing, a handful when users do odd things, never quite calm.
fn error_count(f: &mut Frame) -> Step {
    let rhythm = Rhythm::consumer(&mut f.dice);
    let mean = f.dice.magnitude(0.02, 4.0);
    let mut clumps = Hawkes::new(0.5, 0.5);
    Box::new(move |f, i| {
        let usual = mean * f.demand(&rhythm, i);
        let sick = (3.0 + 3.0 * mean) * f.force("trickle", i)
            + (30.0 + 12.0 * mean)
                * (f.force("burst", i) + 2.0 * f.force("deploy", i) + 0.05 * f.bump(i));
        let down = (8.0 + 25.0 * mean) * f.force("dependency_down", i);
        clumps.step(&mut f.dice, 0.5 * usual + sick + down)
    })
}

/// Rows read by queries: log-normal sizes, a planner that keeps its habits for days.
fn scan_rows(f: &mut Frame) -> Step {
    let rhythm = Rhythm::office(&mut f.dice);
    let scale = f.dice.magnitude(1e5, 1e8);
    let spread = f.dice.between(0.1, 0.4);
    let mut habit = Switch::new(1500.0, 600.0);
    let mut noise = Ar::new(0.5);
    Box::new(move |f, i| {
        let plan = 1.0 + 0.12 * habit.step(&mut f.dice) + 1.2 * f.force("lost_index", i);
        let sizes = (spread * noise.step(&mut f.dice)).exp();
        scale
            * ((0.1 + f.demand(&rhythm, i)) * plan * sizes
                + 4.0 * f.force("backfill", i) * f.dice.gamma(20.0)
                + f.bump(i))
    })
}
