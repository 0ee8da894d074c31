//! Moves a system through time: rates down the graph, latencies up it, load
//! fed back from one step to the next.
//!
//! A step draws, per operation and from the leaves upwards, a pool of
//! outcomes; a caller's request takes a random outcome of its callee's pool
//! for each call that it makes. Error shares are computed besides, so that a
//! rare failure shows in counters at its true rate and not in steps of one
//! pool entry.

use crate::draw::Draw;
use crate::effect::{Bug, Effect, Plant};
use crate::graph::System;
use crate::serve::{Downstream, Fail, Health, Moment, Outcome, Site, failed};

/// What happened in one service during one step, before anyone measured it.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Requests that reached it, a second.
    pub rate: f64,
    /// Requests that its callers sent, a second: also those refused.
    pub offered: f64,
    /// Share of requests failed, as the service sees it.
    pub errors: f64,
    /// Share failed, as its callers see it.
    pub offered_errors: f64,
    /// A sample of its latencies, milliseconds.
    pub latencies: Vec<f32>,
    /// The same, seen by its callers.
    pub outer: Vec<f32>,
    /// Share of its cores in use.
    pub cpu: f64,
    pub memory_mb: f64,
    pub disk_kbps: f64,
    pub received_kbps: f64,
    pub sent_kbps: f64,
    /// Requests in it at once.
    pub inside: f64,
    pub sockets: f64,
    pub threads: f64,
    /// Share of its connection pool in use.
    pub pool: f64,
    pub restarts: f64,
    pub silent: bool,
}

/// All services at one step.
#[derive(Clone, Debug)]
pub struct Step {
    pub at_ms: f64,
    pub readings: Vec<Reading>,
    pub health: Vec<Health>,
    /// Requests a second that each arrival had.
    pub arrivals: Vec<f64>,
}

/// What moves the traffic from outside: a factor on the mean at a moment.
pub trait Tide {
    /// The factor for one arrival.
    fn factor(&mut self, arrival: usize, at_ms: f64) -> f64;
}

/// The simulation's memory between steps.
#[derive(Debug)]
pub struct Engine<'a> {
    system: &'a System,
    plants: &'a [Plant],
    pool_size: usize,
    draw: Draw,
    pools: Vec<Vec<Outcome>>,
    health: Vec<Health>,
    /// Smoothed use of cores and of workers.
    cores_used: Vec<f64>,
    idle: Vec<f64>,
    workers_used: Vec<f64>,
    /// How long users think between requests, where they wait for answers.
    think_ms: Option<f64>,
    memory_walk: Vec<f64>,
    garbage: Vec<f64>,
}

struct Pools<'a> {
    draw: &'a mut Draw,
    pools: &'a [Vec<Outcome>],
}

impl Downstream for Pools<'_> {
    fn draw(&mut self) -> &mut Draw {
        self.draw
    }

    fn answer(&mut self, _site: Site, to: usize, _at_ms: f64, spoiled: bool) -> Outcome {
        if spoiled {
            return failed(0.5 + self.draw.exponential(2.0), Fail::Invalid);
        }
        let pool = &self.pools[to];
        pool[self.draw.int(0, pool.len() - 1)]
    }
}

/// Shares computed for every operation of a step.
struct Flow {
    rates: Vec<f64>,
    /// Including what was refused on the way.
    offered: Vec<f64>,
    errors: Vec<f64>,
    offered_errors: Vec<f64>,
}

impl<'a> Engine<'a> {
    /// A system at rest; `pool_size` outcomes are drawn per operation and
    /// step. With `think_ms` the load is closed: users wait for an answer and
    /// think before they ask again, so slow answers thin out the traffic.
    #[must_use]
    pub fn new(
        system: &'a System,
        plants: &'a [Plant],
        pool_size: usize,
        think_ms: Option<f64>,
        draw: Draw,
    ) -> Self {
        let count = system.services.len();
        Engine {
            system,
            plants,
            pool_size,
            draw,
            pools: vec![Vec::new(); system.operations.len()],
            health: vec![Health::default(); count],
            idle: system.idle_latencies(),
            cores_used: vec![0.2; count],
            workers_used: vec![0.1; count],
            think_ms,
            memory_walk: vec![0.0; count],
            garbage: vec![0.0; count],
        }
    }

    /// One step of `length_s` seconds that begins at `at_ms`.
    pub fn step(&mut self, at_ms: f64, length_s: f64, tide: &mut dyn Tide) -> Step {
        self.examine(at_ms);
        self.fill_pools();
        let arrivals: Vec<f64> = self
            .system
            .arrivals
            .iter()
            .enumerate()
            .map(|(index, arrival)| {
                let service = self.system.operations[arrival.operation].service;
                let tide = tide.factor(index, at_ms) * self.health[service].effect.surge;
                arrival.rate * tide * self.eagerness(arrival.operation)
            })
            .collect();
        let flow = self.flow(&arrivals);
        let readings = (0..self.system.services.len())
            .map(|service| self.read(service, &flow, length_s))
            .collect();
        self.load_up(&flow, length_s);
        Step {
            at_ms,
            readings,
            health: self.health.clone(),
            arrivals,
        }
    }

    /// How much of its usual traffic an operation gets from users who wait.
    fn eagerness(&self, operation: usize) -> f64 {
        let Some(think_ms) = self.think_ms else {
            return 1.0;
        };
        let usual = think_ms + self.idle[operation] * 1.5;
        (usual / (think_ms + self.mean_ms(operation))).clamp(0.05, 2.0)
    }

    /// What is wrong with each service now.
    fn examine(&mut self, at_ms: f64) {
        for (index, health) in self.health.iter_mut().enumerate() {
            health.effect = Effect::default();
            health.bugs.clear();
            health.share = 0.0;
            let used = self.cores_used[index];
            health.load = 1.0 + 0.7 * used.powi(3) / (1.0 - used.min(0.95));
            health.reject = (1.0 - 1.15 / used.max(1.0)).clamp(0.0, 0.9);
            let held = self.workers_used[index];
            health.reject = health.reject.max(1.0 - 1.3 / held.max(1.3));
            health.wait_ms = if held > 0.8 { health.wait_ms } else { 0.0 };
        }
        for plant in self.plants {
            let strength = plant.strength(at_ms);
            if strength <= 0.0 {
                continue;
            }
            let health = &mut self.health[plant.service];
            health.effect.add(&plant.effect, strength);
            health.share = health.share.max(plant.share);
            if strength > 0.3 {
                health.bugs.extend(plant.bug);
            }
        }
    }

    fn fill_pools(&mut self) {
        let moment = Moment {
            system: self.system,
            health: &self.health,
        };
        for operation in (0..self.pools.len()).rev() {
            let mut pool = std::mem::take(&mut self.pools[operation]);
            pool.clear();
            let mut below = Pools {
                draw: &mut self.draw,
                pools: &self.pools,
            };
            for _ in 0..self.pool_size {
                pool.push(moment.serve(operation, 0.0, &mut below));
            }
            self.pools[operation] = pool;
        }
    }

    /// Share of tries of a call that fail: (refused before the callee saw
    /// them, any reason).
    fn call_failure(&self, operation: usize, index: usize, errors: &[f64]) -> (f64, f64) {
        let spec = &self.system.operations[operation];
        let call = &spec.calls[index];
        let caller = &self.health[spec.service];
        let callee = &self.health[self.system.operations[call.to].service];
        let (mut spoiled, mut refused) = (0.0, callee.effect.refuse);
        for bug in &caller.bugs {
            match *bug {
                Bug::WrongHost { operation: o, call } if (o, call) == (operation, index) => {
                    refused = caller.share;
                }
                Bug::BadParameter {
                    operation: o,
                    call,
                    share,
                } if (o, call) == (operation, index) => spoiled = share * caller.share,
                _ => {}
            }
        }
        let mut nonsense = 0.0;
        for bug in &callee.bugs {
            if let Bug::BadValue { operation, share } = *bug
                && operation == call.to
            {
                nonsense = share * callee.share;
            }
        }
        let wire: f64 = [caller, callee]
            .iter()
            .map(|end| end.effect.delay_ms * end.share)
            .sum();
        let pool = &self.pools[call.to];
        let late = pool
            .iter()
            .filter(|outcome| outcome.ms + wire > call.timeout_ms)
            .count() as f64
            / pool.len() as f64;
        let lost: f64 = [caller, callee]
            .iter()
            .map(|end| late_packets(end, call.timeout_ms))
            .sum();
        let survives = (1.0 - errors[call.to])
            * (1.0 - late)
            * (1.0 - spoiled)
            * (1.0 - nonsense)
            * (1.0 - lost.min(1.0));
        (refused, 1.0 - (1.0 - refused) * survives)
    }

    fn flow(&self, arrivals: &[f64]) -> Flow {
        let count = self.system.operations.len();
        let mut flow = Flow {
            rates: vec![0.0; count],
            offered: vec![0.0; count],
            errors: vec![0.0; count],
            offered_errors: vec![0.0; count],
        };
        let mut own = vec![0.0; count];
        // Per call: share of tries refused, share failed, of all its tries.
        let mut calls: Vec<Vec<(f64, f64)>> = vec![Vec::new(); count];
        for operation in (0..count).rev() {
            own[operation] = self.own_failure(operation);
            let spec = &self.system.operations[operation];
            let mut fine = 1.0 - own[operation];
            for (index, call) in spec.calls.iter().enumerate() {
                let (refused, failing) = self.call_failure(operation, index, &flow.errors);
                calls[operation].push((refused, failing));
                if !call.fallback {
                    let tries = self.tries(operation, index);
                    let made = call.times * (1.0 - self.planted(operation, index).1);
                    fine *= (1.0 - failing.powi(tries)).powf(made);
                }
            }
            flow.errors[operation] = 1.0 - fine;
        }
        for (arrival, rate) in self.system.arrivals.iter().zip(arrivals) {
            flow.offered[arrival.operation] += rate;
            flow.rates[arrival.operation] += rate;
        }
        for operation in 0..count {
            let spec = &self.system.operations[operation];
            flow.rates[operation] += self.health[spec.service].effect.own_load
                / self.system.services[spec.service].operations.len() as f64;
            let mut reach = flow.rates[operation] * (1.0 - own[operation]);
            for (index, call) in spec.calls.iter().enumerate() {
                let (refused, failing) = calls[operation][index];
                let tries = self.tries(operation, index);
                let (misled, forgotten) = self.planted(operation, index);
                let times = call.times * (1.0 - forgotten);
                let made = expected_tries(failing, tries) * times * reach;
                flow.offered[call.to] += made * (1.0 - misled);
                flow.rates[call.to] += made * (1.0 - refused);
                let failed_tries = made * (failing - misled).max(0.0);
                flow.offered_errors[call.to] += failed_tries;
                if !call.fallback && !spec.parallel {
                    reach *= (1.0 - failing.powi(tries)).powf(times);
                }
            }
        }
        flow
    }

    fn tries(&self, operation: usize, index: usize) -> i32 {
        let spec = &self.system.operations[operation];
        let extra = self.health[spec.service].effect.retries;
        i32::try_from(spec.calls[index].retries.max(extra)).unwrap_or(i32::MAX - 1) + 1
    }

    fn own_failure(&self, operation: usize) -> f64 {
        let spec = &self.system.operations[operation];
        let health = &self.health[spec.service];
        let mut fine = (1.0 - spec.own_error)
            * (1.0 - health.reject)
            * (1.0 - health.effect.fail * health.share);
        for bug in &health.bugs {
            if let Bug::Throws {
                operation: at,
                share,
            } = *bug
                && at == operation
            {
                fine *= 1.0 - share * health.share;
            }
        }
        1.0 - fine
    }

    /// Shares of a call's tries that go to a wrong host, and that are no
    /// longer made.
    fn planted(&self, operation: usize, call: usize) -> (f64, f64) {
        let health = &self.health[self.system.operations[operation].service];
        let of = |bug: Bug| {
            if health.bugs.contains(&bug) {
                health.share
            } else {
                0.0
            }
        };
        (
            of(Bug::WrongHost { operation, call }),
            of(Bug::Forgets { operation, call }),
        )
    }
}

/// Share of exchanges that lose so many packets in a row that the pauses
/// together pass the caller's patience.
fn late_packets(end: &Health, timeout_ms: f64) -> f64 {
    if end.effect.loss <= 0.0 {
        return 0.0;
    }
    let in_a_row = (timeout_ms / 200.0 + 1.0).log2().ceil().max(1.0);
    (3.0 * end.effect.loss.powf(in_a_row) * end.share).min(1.0)
}

/// Mean number of tries when each fails in this share and at most so many
/// are made.
fn expected_tries(failing: f64, tries: i32) -> f64 {
    if failing >= 1.0 {
        f64::from(tries)
    } else {
        (1.0 - failing.powi(tries)) / (1.0 - failing)
    }
}

mod load;
