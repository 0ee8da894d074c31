//! Traffic, latency, names, clocks.

use crate::dice::{Ar, Hawkes, Rhythm, Switch};
use crate::frame::{
    CLOCK, Family, Frame, HOLIDAY, NOISIER, Step, Timing, ZERO, blip, ramp, shift, spell, swing,
};

pub const FAMILIES: &[Family] = &[
    Family {
        name: "network_bytes_in",
        interval_s: 300,
        points: (3500, 5000),
        decimals: -1,
        timing: Timing::Regular,
        kinds: &[
            spell("flood", 0.2, 3.0),
            spell("silence", 0.5, 8.0),
            shift("exfiltration"),
            blip("blast"),
            NOISIER,
        ],
        build: network_bytes,
    },
    Family {
        name: "balancer_requests",
        interval_s: 300,
        points: (3500, 4500),
        decimals: 0,
        timing: Timing::Regular,
        kinds: &[
            spell("outage", 0.2, 3.0),
            spell("bot", 0.3, 5.0),
            swing("rerouted"),
            blip("burst"),
            HOLIDAY,
            CLOCK,
        ],
        build: balancer_requests,
    },
    Family {
        name: "gateway_latency_p99_ms",
        interval_s: 60,
        points: (3000, 10000),
        decimals: 1,
        timing: Timing::Regular,
        kinds: &[
            spell("saturation", 0.2, 3.0),
            shift("slow_release"),
            ramp("backlog", 2.0, 12.0),
            blip("timeout"),
        ],
        build: gateway_latency,
    },
    Family {
        name: "tls_handshake_ms",
        interval_s: 60,
        points: (3000, 6000),
        decimals: 2,
        timing: Timing::Regular,
        kinds: &[
            shift("longer_key"),
            spell("no_resumption", 0.3, 6.0),
            spell("packet_loss", 0.2, 3.0),
            swing("route"),
        ],
        build: tls_handshake,
    },
    Family {
        name: "dns_queries",
        interval_s: 300,
        points: (3500, 5000),
        decimals: 0,
        timing: Timing::Regular,
        kinds: &[
            spell("amplification", 0.2, 3.0),
            shift("short_ttl"),
            spell("resolver_down", 0.2, 2.0),
            HOLIDAY,
        ],
        build: dns_queries,
    },
    Family {
        name: "packet_loss_percent",
        interval_s: 60,
        points: (3000, 9000),
        decimals: 3,
        timing: Timing::Regular,
        kinds: &[
            spell("bad_optics", 1.0, 12.0),
            spell("cut", 0.05, 0.5),
            ramp("corrosion", 8.0, 48.0),
        ],
        build: packet_loss,
    },
    Family {
        name: "clock_offset_ms",
        interval_s: 64,
        points: (3000, 7000),
        decimals: 3,
        timing: Timing::Jittered,
        kinds: &[
            blip("step"),
            spell("free_running", 2.0, 12.0),
            NOISIER,
            swing("asymmetric_route"),
        ],
        build: clock_offset,
    },
    Family {
        name: "round_trip_ms",
        interval_s: 60,
        points: (3000, 8000),
        decimals: 2,
        timing: Timing::Regular,
        kinds: &[
            swing("route"),
            spell("bufferbloat", 0.3, 4.0),
            NOISIER,
            blip("timeout"),
        ],
        build: round_trip,
    },
    Family {
        name: "websocket_sessions",
        interval_s: 60,
        points: (4000, 10000),
        decimals: 0,
        timing: Timing::Regular,
        kinds: &[
            blip("mass_disconnect"),
            spell("login_broken", 0.5, 5.0),
            shift("half_open"),
            ZERO,
        ],
        build: sessions,
    },
];

/// A sum of on/off sources with heavy-tailed volumes: quiet floor, bursts, no fixed scale.
fn network_bytes(f: &mut Frame) -> Step {
    let floor = f.dice.magnitude(5e3, 5e6);
    let mut sources: Vec<Switch> = (0..3 + f.dice.index(5))
        .map(|_| Switch::new(f.dice.between(20.0, 300.0), f.dice.between(2.0, 20.0)))
        .collect();
    let rhythm = Rhythm::consumer(&mut f.dice);
    let tail = f.dice.between(1.6, 3.0);
    Box::new(move |f, i| {
        let mut volume = 0.6 + 0.8 * f.demand(&rhythm, i);
        for source in &mut sources {
            let on = source.step(&mut f.dice);
            volume += 0.3 * on * f.dice.pareto(tail).min(6.0);
        }
        volume += 14.0 * f.force("flood", i)
            + 1.5 * f.force("exfiltration", i)
            + 30.0 * f.force("blast", i)
            + 5.0 * f.bump(i);
        let silent = 1.0 - f.force("silence", i).min(1.0) * 0.98;
        floor * volume * silent * f.dice.gamma(30.0)
    })
}

/// Requests per interval: people, their retries (self-exciting), a crawler that comes and goes.
fn balancer_requests(f: &mut Frame) -> Step {
    let rhythm = Rhythm::consumer(&mut f.dice);
    let scale = f.dice.magnitude(30.0, 3000.0);
    let mut retries = Hawkes::new(0.5, 0.35);
    let mut crawler = Switch::new(500.0, 15.0);
    Box::new(move |f, i| {
        let crawl = 0.3 * crawler.step(&mut f.dice);
        let moved = (1.0 + 0.7 * f.force("rerouted", i)).max(0.05);
        let extra = crawl + 2.0 * f.force("bot", i) + 4.0 * f.force("burst", i) + f.bump(i);
        let base = scale * (f.demand(&rhythm, i) * moved + extra) * f.dice.gamma(80.0);
        let answered = 1.0 - f.force("outage", i).min(1.0);
        retries.step(&mut f.dice, base * answered) * answered.max(0.03)
    })
}

/// The tail of waiting in a shared server: service time over spare capacity, and a log-normal tail.
fn gateway_latency(f: &mut Frame) -> Step {
    let rhythm = Rhythm::consumer(&mut f.dice);
    let (service, busy) = (f.dice.magnitude(15.0, 400.0), f.dice.between(0.25, 0.55));
    let spread = f.dice.between(0.06, 0.3);
    let mut noise = Ar::new(0.6);
    Box::new(move |f, i| {
        let slower = 1.0 + 0.6 * f.force("slow_release", i);
        let used = busy * f.demand(&rhythm, i) * slower
            + 0.5 * f.force("saturation", i)
            + 0.4 * f.force("backlog", i)
            + 0.15 * f.bump(i);
        let waiting = 1.0 / (1.0 - used.clamp(0.0, 0.96));
        let tail = (spread * noise.step(&mut f.dice) + 0.5 * spread * f.dice.normal()).exp();
        service * slower * waiting * tail + 25.0 * service * f.force("timeout", i)
    })
}

/// Two kinds of handshakes mixed: full and resumed, over a network with its own delay.
fn tls_handshake(f: &mut Frame) -> Step {
    let (full, resumed, net) = (
        f.dice.between(18.0, 60.0),
        f.dice.between(3.0, 8.0),
        f.dice.between(2.0, 30.0),
    );
    let usual = f.dice.between(0.6, 0.9);
    let mut share = Ar::new(0.95);
    let rhythm = Rhythm::office(&mut f.dice);
    Box::new(move |f, i| {
        let drawn = usual + 0.03 * share.step(&mut f.dice);
        let resuming = (drawn * (1.0 - 0.6 * f.force("no_resumption", i)).max(0.0)).clamp(0.0, 1.0);
        let key =
            full * (1.0 + 0.9 * f.force("longer_key", i)) * (1.0 + 0.15 * f.demand(&rhythm, i));
        let trip = net * (1.0 + 0.5 * f.force("route", i)).max(0.2)
            + 60.0 * f.force("packet_loss", i) * f.dice.unit()
            + 15.0 * f.bump(i);
        ((1.0 - resuming) * key + resuming * resumed + trip) * f.dice.gamma(300.0)
    })
}

/// Misses of many caches: proportional to people, inversely to the time to live.
fn dns_queries(f: &mut Frame) -> Step {
    let rhythm = if f.dice.chance(0.5) {
        Rhythm::office(&mut f.dice)
    } else {
        Rhythm::consumer(&mut f.dice)
    };
    let scale = f.dice.magnitude(200.0, 50000.0);
    let expiry_steps = [6usize, 12, 48][f.dice.index(3)];
    Box::new(move |f, i| {
        let herd = if i.is_multiple_of(expiry_steps) {
            0.15
        } else {
            0.0
        };
        let wanted =
            (0.2 + f.demand(&rhythm, i)) * (1.0 + 0.5 * f.force("short_ttl", i)) * (1.0 + herd);
        let up = 1.0 - f.force("resolver_down", i).min(1.0) * 0.95;
        let mean = scale * (wanted * up + 5.0 * f.force("amplification", i) + 0.8 * f.bump(i));
        let luck = f.dice.gamma(150.0);
        f.dice.poisson(mean * luck)
    })
}

/// Gilbert and Elliott's channel: nearly always clean, bad in bursts.
fn packet_loss(f: &mut Frame) -> Step {
    let mut bad = Switch::new(f.dice.between(150.0, 900.0), f.dice.between(1.5, 4.0));
    let (clean, dirty) = (f.dice.magnitude(0.002, 0.05), f.dice.between(0.1, 0.8));
    let packets = f.dice.magnitude(3e3, 1e5);
    Box::new(move |f, i| {
        let worse = 1.2 * f.force("bad_optics", i)
            + 60.0 * f.force("cut", i)
            + 2.0 * f.force("corrosion", i);
        let percent =
            (clean + dirty * bad.step(&mut f.dice) * f.dice.unit() + worse * f.dice.gamma(6.0))
                .min(100.0);
        (f.dice.poisson(percent / 100.0 * packets) / packets * 100.0).min(100.0)
    })
}

/// A disciplined clock: a wandering oscillator pulled back by a loop, read through jitter.
fn clock_offset(f: &mut Frame) -> Step {
    let (jitter, gain) = (f.dice.magnitude(0.02, 2.0), f.dice.between(0.03, 0.15));
    let warm = f.dice.between(0.0, 0.02) * jitter;
    let (mut offset, mut rate, mut previous_step) = (0.0, 0.0, 0.0);
    Box::new(move |f, i| {
        let free = f.force("free_running", i);
        rate += 0.002 * jitter * f.dice.normal()
            + warm * (f.hours(i) / 24.0 * std::f64::consts::TAU).cos() * 0.02;
        rate *= 0.995;
        offset += rate;
        if free > 0.0 {
            offset += 0.15 * jitter * free;
        } else {
            offset *= 1.0 - gain;
        }
        let step = 40.0 * jitter * f.force("step", i);
        offset += (step - previous_step).max(0.0);
        previous_step = step;
        let route = 2.5 * jitter * f.force("asymmetric_route", i);
        let delay = if f.dice.chance(0.02) {
            f.dice.exponential(2.0 * jitter)
        } else {
            0.0
        };
        offset + route + jitter * 0.4 * f.dice.normal() + delay
    })
}

/// A path of fixed length plus queues on the way, which grow with the evening.
fn round_trip(f: &mut Frame) -> Step {
    let (path, queue) = (f.dice.magnitude(2.0, 180.0), f.dice.between(0.3, 4.0));
    let rhythm = Rhythm::consumer(&mut f.dice);
    let mut alternate = Switch::new(1200.0, 500.0);
    let detour = if f.dice.chance(0.4) {
        f.dice.between(0.01, 0.04)
    } else {
        0.0
    };
    Box::new(move |f, i| {
        let other = detour * alternate.step(&mut f.dice);
        let length = path * (1.0 + other + 0.25 * f.force("route", i)).max(0.3);
        let wait = queue
            * f.demand(&rhythm, i)
            * f.dice.gamma(1.5)
            * (1.0 + 15.0 * f.force("bufferbloat", i) + 4.0 * f.bump(i));
        length + wait + 900.0 * f.force("timeout", i)
    })
}

/// Open sessions: people come at a rate and stay for a while (an M/G/∞ station).
fn sessions(f: &mut Frame) -> Step {
    let rhythm = Rhythm::consumer(&mut f.dice);
    let (scale, stay) = (f.dice.magnitude(80.0, 20000.0), f.dice.between(15.0, 90.0));
    let mut open = scale * 0.4;
    Box::new(move |f, i| {
        let login = 1.0 - 0.9 * f.force("login_broken", i).min(1.0);
        let arrivals = f
            .dice
            .poisson(scale / stay * f.demand(&rhythm, i) * login * (1.0 + f.bump(i)));
        open += arrivals - f.dice.poisson(open / stay);
        open *= 1.0 - 0.8 * f.force("mass_disconnect", i).min(1.0);
        open = open.max(0.0);
        (open + 0.35 * scale * f.force("half_open", i)).round()
    })
}
