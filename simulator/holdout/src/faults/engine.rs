//! Plays a system in small steps of time: rates flow down the call graph, latencies and
//! failures come back up, and limits (cores, workers, connections, patience) do the rest.

use super::knob::Knob;
use super::queueing::{Odds, beyond, loss_tail, slowness};
use super::world::{Call, Kind, World};
use crate::dice::{Ar, Dice, mix};

/// Why a call fails, the likeliest reason first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reason {
    #[default]
    Status,
    Timeout,
    Refused,
    Unresolved,
    Handshake,
    Denied,
    Invalid,
    Garbage,
    NoHandler,
    PoolEmpty,
    Open,
}

/// One call of one operation, now.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallNow {
    /// Mean calls per request, retries not counted.
    pub times: f64,
    /// A single attempt fails.
    pub attempt: f64,
    /// An attempt never reaches the callee.
    pub lost: f64,
    /// An attempt that never arrives fails only after the caller's patience.
    pub lost_slowly: bool,
    /// The call fails after all retries.
    pub failed: f64,
    pub reason: Reason,
    /// Mean time of one call with its retries.
    pub ms: f64,
    open_until_s: f64,
}

/// One operation, now.
#[derive(Clone, Debug, Default)]
pub struct OpNow {
    pub rate: f64,
    /// Requests that never came in although callers tried.
    pub kept_out: f64,
    /// Requests that it rightly refused because their caller was wrong.
    pub scolded: f64,
    pub own_ms: f64,
    pub mean_ms: f64,
    pub tail: (f64, f64),
    /// The service's own part of the failures.
    pub own_error: f64,
    pub error: f64,
    pub calls: Vec<CallNow>,
}

/// One service, now. Shares run from 0 to 1.
#[derive(Clone, Debug, Default)]
pub struct ServiceNow {
    pub cpu: f64,
    pub throttle: f64,
    pub memory: f64,
    pub gc: f64,
    pub threads: f64,
    pub queue: f64,
    pub wait_ms: f64,
    pub rejected: f64,
    pub pool: f64,
    pub pool_wait_ms: f64,
    pub sockets: f64,
    pub received_kb: f64,
    pub sent_kb: f64,
    pub retransmits: f64,
    pub rtt_ms: f64,
    pub mbps: f64,
    pub loss: f64,
    pub disk_busy: f64,
    pub written_kb: f64,
    pub hits: f64,
    pub lag: f64,
    pub lock_ms: f64,
    pub restarts: f64,
    pub ops: Vec<OpNow>,
    down_until_s: f64,
    leaked: f64,
}

pub struct Engine<'a> {
    pub world: &'a World,
    pub now: Vec<ServiceNow>,
    seed: u64,
    step_s: f64,
    moods: Vec<(Ar, Ar)>,
    mood: Vec<(f64, f64)>,
}

impl<'a> Engine<'a> {
    pub fn new(world: &'a World, seed: u64, step_s: f64) -> Self {
        let keep = (-step_s / 90.0).exp();
        let now = world.services.iter().map(|service| {
            let op = |op: &super::world::Op| OpNow {
                calls: vec![CallNow::default(); op.calls.len()],
                ..OpNow::default()
            };
            ServiceNow {
                ops: service.ops.iter().map(op).collect(),
                ..ServiceNow::default()
            }
        });
        Self {
            world,
            now: now.collect(),
            seed,
            step_s,
            moods: world
                .services
                .iter()
                .map(|_| (Ar::new(keep), Ar::new(keep)))
                .collect(),
            mood: vec![(1.0, 1.0); world.services.len()],
        }
    }

    /// One step at `t_s` with the whole system's load at `load` times its usual.
    pub fn step(&mut self, index: usize, t_s: f64, load: f64, knobs: &[Knob]) {
        let mut dice = Dice::new(mix(self.seed, index as u64));
        for (s, (work, users)) in self.moods.iter_mut().enumerate() {
            let hiccup = if dice.chance(self.step_s / 9000.0) {
                2.0
            } else {
                1.0
            };
            let work = (0.07 * work.step(&mut dice)).exp() * hiccup;
            self.mood[s] = (work, (0.08 * users.step(&mut dice)).exp());
        }
        self.flow_down(load, knobs);
        for s in (0..self.now.len()).rev() {
            self.come_back(s, t_s, knobs);
        }
    }

    fn flow_down(&mut self, load: f64, knobs: &[Knob]) {
        for (s, service) in self.world.services.iter().enumerate() {
            for (op, now) in service.ops.iter().zip(&mut self.now[s].ops) {
                now.rate =
                    op.users_rps * load * self.mood[s].1 * knobs[s].surge + knobs[s].intruders_rps;
                (now.kept_out, now.scolded) = (0.0, 0.0);
            }
        }
        for s in 0..self.now.len() {
            if self.world.services[s].kind == Kind::Worker {
                self.consume(s);
            }
            for o in 0..self.now[s].ops.len() {
                let rate = self.now[s].ops[o].rate * (1.0 - self.now[s].rejected);
                for (c, call) in self.world.services[s].ops[o].calls.iter().enumerate() {
                    let before = self.now[s].ops[o].calls[c];
                    let times = self.times(s, o, call, &knobs[s]);
                    let tries: f64 = (0..=call.retries).map(|n| before.attempt.powi(n)).sum();
                    let open = if before.reason == Reason::Open {
                        0.03
                    } else {
                        1.0
                    };
                    let sent = rate * times * tries * open;
                    self.now[s].ops[o].calls[c].times = times;
                    let callee = &mut self.now[call.to].ops[call.op];
                    callee.rate += sent * (1.0 - before.lost);
                    if knobs[s].dep == Some(call.to) && knobs[s].dep_reached {
                        callee.scolded += sent * knobs[s].dep_fail;
                    }
                    if knobs[call.to].refuse.max(knobs[call.to].cut) > 0.0 {
                        callee.kept_out += sent * before.lost;
                    }
                    if let Some(worker) = call.feeds {
                        self.now[worker].lag += sent * (1.0 - before.attempt) * self.step_s;
                    }
                }
            }
        }
    }

    /// A worker takes what waits in its queue, at most as fast as it and its broker can.
    fn consume(&mut self, s: usize) {
        let world = self.world;
        let broker = world
            .services
            .iter()
            .position(|service| service.kind == Kind::Broker);
        let slow = broker.map_or(1.0, |b| {
            let usual = 1.2 * world.services[b].ops[0].cpu_ms + world.services[b].ops[0].io_ms;
            (usual + 2.0) / (self.now[b].ops[0].mean_ms + 2.0)
        });
        let now = &mut self.now[s];
        let each = now.ops[0].mean_ms.max(1.0) / 1000.0;
        let room = world.services[s].replicas * world.services[s].workers / each;
        let cpu = world.services[s].ops[0].cpu_ms / 1000.0 * (1.0 + now.throttle);
        let cores =
            world.services[s].replicas * world.services[s].cores * (1.0 - now.throttle) / cpu;
        let taken = (now.lag / self.step_s).min(room.min(cores) * slow.min(1.0));
        now.lag = (now.lag - taken * self.step_s).clamp(0.0, 5e6);
        now.ops[0].rate += taken;
    }

    fn times(&self, s: usize, o: usize, call: &Call, knob: &Knob) -> f64 {
        let mut times = call.times;
        if let Some((cache, hit)) = call.behind_cache {
            let works = 1.0 - self.now[s].ops[o].calls[cache].failed;
            times *= 1.0 - hit * works * (1.0 - knob.cache_off);
        }
        if knob.dep == Some(call.to) {
            times *= knob.dep_times * (1.0 - knob.dep_skip);
        }
        times
    }

    fn come_back(&mut self, s: usize, t_s: f64, knobs: &[Knob]) {
        let world = self.world;
        let (service, knob) = (&world.services[s], &knobs[s]);
        let mut now = std::mem::take(&mut self.now[s]);
        self.machine(s, &mut now, knob, t_s);
        self.pool(s, &mut now, knob);
        let left = (1.0 - knob.stolen).max(0.02);
        let slow = slowness(
            (now.cpu - knob.stolen).max(0.0) / left,
            service.replicas * service.cores,
        );
        let work = self.mood[s].0 * (1.0 + 0.4 * knob.stolen / left) * (1.0 + now.gc * 6.0);
        for (o, op) in service.ops.iter().enumerate() {
            let mut result = std::mem::take(&mut now.ops[o]);
            let hit = knob.fails_here(o);
            let cost = if hit { knob.cost } else { 1.0 };
            let io = op.io_ms * knob.io * (1.0 + 2.0 * now.disk_busy.powi(4)) + knob.lock_ms;
            result.own_ms =
                (op.cpu_ms * cost * slow * work + io * self.mood[s].0) * (1.0 - 0.7 * knob.garbage);
            let fail = if hit { knob.fail } else { 0.0 };
            result.own_error = 1.0 - (1.0 - op.base_error) * (1.0 - fail) * (1.0 - now.rejected);
            let mut total = now.wait_ms + result.own_ms * (1.0 - 0.6 * fail);
            let mut tail = (0.0, 0.0);
            let (mut fine, mut group, mut longest) = (1.0 - result.own_error, usize::MAX, 0.0f64);
            for (c, call) in op.calls.iter().enumerate() {
                let after = self.call((s, o), call, result.calls[c], &now, knobs, t_s);
                if call.group != group {
                    total += longest;
                    (group, longest) = (call.group, 0.0);
                }
                longest = longest.max(after.ms * after.times.max(0.0) * (1.0 - fail));
                let below = self.now[call.to].ops[call.op].tail;
                let chance = 1.0 - (1.0 - below.0).powf(after.times.min(20.0));
                tail = (
                    1.0 - (1.0 - tail.0) * (1.0 - chance),
                    f64::max(tail.1, below.1),
                );
                if !call.fallback {
                    fine *= (1.0 - after.failed).powf(after.times.min(20.0));
                }
                result.calls[c] = after;
            }
            let loss = loss_tail(knob.loss, op.kilobytes);
            result.tail = (1.0 - (1.0 - tail.0) * (1.0 - loss.0), tail.1.max(loss.1));
            result.mean_ms = total + longest;
            result.error = 1.0 - fine;
            now.ops[o] = result;
        }
        self.queue(s, &mut now, knob);
        self.now[s] = now;
    }

    /// Cores, memory, disk and network of one service.
    fn machine(&self, s: usize, now: &mut ServiceNow, knob: &Knob, t_s: f64) {
        let service = &self.world.services[s];
        let cap = (service.replicas * service.cores).max(0.01);
        let (mut cpu, mut io, mut sent, mut rate) = (0.0, 0.0, 0.0, 0.0);
        for (o, (op, op_now)) in service.ops.iter().zip(&now.ops).enumerate() {
            let cost = if knob.fails_here(o) { knob.cost } else { 1.0 };
            cpu += op_now.rate * op.cpu_ms * cost / 1000.0 * (1.0 - 0.7 * knob.garbage);
            io += op_now.rate * op.io_ms * knob.io / 1000.0;
            sent += op_now.rate * op.kilobytes * (1.0 - 0.8 * knob.garbage);
            rate += op_now.rate;
        }
        let wanted = cpu * self.mood[s].0 / cap + 0.02;
        now.cpu = (wanted + knob.stolen + 0.3 * now.gc).min(1.0);
        now.throttle = (wanted / (1.0 - knob.stolen).max(0.02) - 1.0)
            .clamp(0.0, 0.95)
            .max(0.7 * knob.stolen - 0.2);
        now.leaked = if knob.leak > 0.0 {
            now.leaked + knob.leak * self.step_s
        } else {
            now.leaked * 0.98
        };
        now.restarts = 0.0;
        now.memory = service.memory + now.leaked + (now.queue / 20_000.0).min(0.2);
        if now.memory >= 1.0 {
            (now.leaked, now.restarts) = (0.0, 1.0);
            now.down_until_s = t_s + 8.0 + self.step_s;
        }
        now.memory = now.memory.min(1.0);
        now.gc = 0.01 + ((now.memory - 0.82) / 0.18).max(0.0).powi(2) * 0.6;
        if knob.restart {
            now.restarts = 1.0;
        }
        let disks = service.replicas * if service.kind.is_store() { 4.0 } else { 16.0 };
        now.disk_busy = (0.02 + io / disks + knob.disk_hog).min(1.0);
        now.written_kb = (20.0 + rate * 2.0) / knob.io.max(1.0).sqrt() + 40_000.0 * knob.disk_hog;
        now.sent_kb = sent * (1.0 - knob.cut);
        now.received_kb = rate * 1.5
            + now
                .ops
                .iter()
                .zip(&service.ops)
                .map(|(n, op)| n.rate * op.calls.len() as f64 * 6.0)
                .sum::<f64>();
        now.sockets = (0.04 + rate / (rate + 8000.0) + knob.sockets).min(1.0);
        now.retransmits = rate * (0.002 + 4.0 * knob.loss) + knob.cut * 20.0;
        now.rtt_ms = self.world.rtt_ms * self.mood[s].0 + knob.net_ms;
        (now.lock_ms, now.mbps, now.loss) = (knob.lock_ms, knob.mbps, knob.loss);
        if t_s < now.down_until_s {
            now.rejected = now.rejected.max((1.0 / service.replicas).min(0.9));
        }
    }

    /// Connections to the stores: waiting grows as the pool runs dry.
    fn pool(&self, s: usize, now: &mut ServiceNow, knob: &Knob) {
        let service = &self.world.services[s];
        let (mut held, mut each, mut n) = (0.0, 0.0, 0.0);
        for (op, op_now) in service.ops.iter().zip(&now.ops) {
            for (call, call_now) in op.calls.iter().zip(&op_now.calls) {
                if self.world.services[call.to].kind.is_store() {
                    let ms = (call_now.ms - now.pool_wait_ms).clamp(0.1, call.timeout_ms);
                    held += op_now.rate * call_now.times * ms / 1000.0;
                    each += ms;
                    n += 1.0;
                }
            }
        }
        let left = (service.pool * (1.0 - knob.pool_taken)).max(0.01);
        let need = held / left;
        now.pool = ((held.min(left) + service.pool * knob.pool_taken) / service.pool).min(1.0);
        let wait = if n == 0.0 {
            0.0
        } else {
            each / n * need.min(0.99).powf(left.sqrt()) / (1.0 - need.min(0.99))
        };
        let dry = (1.0 - 1.0 / need.max(1e-9)).max(0.0);
        now.pool_wait_ms = (wait * 0.1 + 2500.0 * dry).min(3000.0);
    }

    /// What can happen to one attempt of `call`, made in operation `from.1` of service `from.0`.
    fn odds(&self, from: (usize, usize), call: &Call, own: &ServiceNow, knobs: &[Knob]) -> Odds {
        let (knob, peer) = (&knobs[from.0], &knobs[call.to]);
        let target = &self.now[call.to].ops[call.op];
        let callee = &self.world.services[call.to];
        let op = &callee.ops[call.op];
        let wrong = knob.dep == Some(call.to) && knob.fails_here(from.1);
        let unsent = if wrong && !knob.dep_reached {
            knob.dep_fail
        } else {
            0.0
        };
        let net = 2.0 * (self.world.rtt_ms + knob.net_ms + peer.net_ms)
            + op.kilobytes * 8.0 / knob.mbps.min(peer.mbps);
        let dry = if callee.kind.is_store() {
            own.pool_wait_ms / 3000.0
        } else {
            0.0
        };
        let loss = loss_tail(1.0 - (1.0 - knob.loss) * (1.0 - peer.loss), op.kilobytes);
        Odds {
            refused: 1.0 - (1.0 - peer.refuse) * (1.0 - unsent),
            cut: 1.0 - (1.0 - peer.cut) * (1.0 - knob.cut),
            denied: if wrong && knob.dep_reached {
                knob.dep_fail
            } else {
                0.0
            },
            dry: if dry > 0.2 { dry } else { 0.0 },
            late: beyond(target.mean_ms + net, op.sigma, target.tail, call.timeout_ms),
            garbage: peer.garbage,
            below: target.error,
            answer_ms: target.mean_ms.min(call.timeout_ms) + net + loss.0 * loss.1,
            refused_why: if wrong { knob.reason } else { peer.reason },
            denied_why: knob.reason,
            below_why: if peer.fail > 0.0 {
                peer.reason
            } else {
                Reason::Status
            },
        }
    }

    fn call(
        &self,
        from: (usize, usize),
        call: &Call,
        before: CallNow,
        own: &ServiceNow,
        knobs: &[Knob],
        t_s: f64,
    ) -> CallNow {
        let odds = self.odds(from, call, own, knobs);
        let (lost, attempt) = (odds.lost(), odds.attempt());
        let one = (1.0 - odds.late) * odds.answer_ms + odds.late * call.timeout_ms;
        let tries: f64 = (0..=call.retries).map(|n| attempt.powi(n)).sum();
        let slow_loss = odds.cut > odds.refused;
        let gone = if slow_loss { call.timeout_ms } else { 2.0 };
        let store = self.world.services[call.to].kind.is_store();
        let mut now = CallNow {
            attempt,
            lost,
            lost_slowly: slow_loss,
            failed: attempt.powi(call.retries + 1),
            ms: (one * (1.0 - lost) + gone * lost) * tries
                + if store { own.pool_wait_ms } else { 0.0 },
            reason: odds.reason(),
            ..before
        };
        // An open breaker lets a few calls through to find out whether it may close.
        if t_s < before.open_until_s {
            (now.reason, now.ms, now.failed) = (Reason::Open, 0.5, now.failed.max(0.97));
        } else if call.breaker && now.failed > 0.5 {
            now.open_until_s = t_s + 10.0;
        }
        now
    }

    /// What could not be served waits; what waits too long is turned away.
    fn queue(&self, s: usize, now: &mut ServiceNow, knob: &Knob) {
        let service = &self.world.services[s];
        let rate: f64 = now.ops.iter().map(|op| op.rate).sum();
        let weight = |f: &dyn Fn(usize) -> f64| {
            now.ops
                .iter()
                .enumerate()
                .map(|(o, op)| op.rate * f(o))
                .sum::<f64>()
                / rate.max(1e-9)
        };
        let hold = weight(&|o| (now.ops[o].mean_ms - now.wait_ms).max(0.05)) / 1000.0;
        let cost = |o: usize| if knob.fails_here(o) { knob.cost } else { 1.0 };
        let cpu = weight(&|o| service.ops[o].cpu_ms * cost(o)) / 1000.0;
        let places = service.replicas * service.workers;
        let cores = service.replicas * service.cores * (1.0 - knob.stolen).max(0.02);
        let served = (places / hold.max(1e-6)).min(cores / cpu.max(1e-6));
        now.threads = (rate * hold).min(places);
        let waiting = (now.queue + (rate - served) * self.step_s).max(0.0);
        // Whoever waits for longer than four seconds has gone.
        let limit = (places * 3.0 + 50.0).min(4.0 * served).max(1.0);
        now.rejected = ((waiting - limit) / (rate * self.step_s).max(1e-6)).clamp(0.0, 0.98);
        now.queue = waiting.min(limit);
        now.wait_ms = (now.queue / served.max(1e-6) * 1000.0).min(30_000.0);
        if service.kind == Kind::Worker {
            (now.queue, now.wait_ms, now.rejected) = (0.0, 0.0, 0.0);
        }
        let (mut hit, mut n) = (0.0, 0.0);
        for (op, op_now) in service.ops.iter().zip(&now.ops) {
            for (call, call_now) in op.calls.iter().zip(&op_now.calls) {
                if call.behind_cache.is_some() {
                    (hit, n) = (hit + 1.0 - call_now.times / call.times, n + 1.0);
                }
            }
        }
        now.hits = if n > 0.0 { hit / n } else { f64::NAN };
    }
}
