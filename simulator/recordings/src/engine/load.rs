//! What the traffic of a step does to each service's resources.

use super::{Engine, Flow, Reading};
use crate::draw::Draw;
use crate::graph::Role;

/// Latencies kept per service and step.
const KEPT: usize = 64;

impl Engine<'_> {
    /// What one service would report about the step.
    pub(super) fn read(&mut self, service: usize, flow: &Flow, length_s: f64) -> Reading {
        let spec = &self.system.services[service];
        let mut reading = Reading::default();
        let (mut failed, mut offered_failed, mut outside) = (0.0, 0.0, 0.0);
        let (mut received, mut sent, mut disk, mut out_calls) = (0.0, 0.0, 0.0, 0.0);
        for index in &spec.operations {
            let operation = &self.system.operations[*index];
            let rate = flow.rates[*index];
            reading.rate += rate;
            reading.offered += flow.offered[*index];
            failed += rate * flow.errors[*index];
            offered_failed += flow.offered_errors[*index];
            received += rate * operation.request_kb;
            sent += rate * operation.reply_kb;
            disk += rate * operation.disk_kb;
            reading.inside += rate * self.mean_ms(*index) / 1000.0;
            for call in &operation.calls {
                let callee = &self.system.operations[call.to];
                received += rate * call.times * callee.reply_kb;
                sent += rate * call.times * callee.request_kb;
                out_calls += call.times.max(1.0);
            }
        }
        if spec.role == Role::Entry {
            outside = failed;
        }
        reading.errors = share(failed, reading.rate);
        reading.offered_errors = share(offered_failed + outside, reading.offered);
        self.sample_latencies(service, flow, &mut reading);
        let effect = self.health[service].effect.clone();
        let touched = self.health[service].share;
        reading.cpu = self.cpu(service, flow) + 0.01;
        reading.cpu = (reading.cpu + effect.hog * touched).min(1.0);
        reading.disk_kbps = disk + 2.0 + effect.disk_kbps * touched;
        reading.received_kbps = received + effect.network_kbps * touched;
        reading.sent_kbps = sent + effect.network_kbps * 0.4 * touched;
        let held = reading.inside.min(spec.workers * 2.0);
        reading.sockets = 6.0 + held + out_calls * 3.0 + effect.sockets * touched;
        reading.threads = 12.0 + held.min(spec.workers) + effect.threads * touched;
        reading.pool = (0.05 + 0.5 * held / spec.workers + effect.pool).min(1.0);
        reading.restarts = effect.restarts * length_s / 60.0;
        reading.silent = effect.silent > 0.5;
        reading.memory_mb = self.memory(service, held, effect.memory * touched, length_s);
        reading
    }

    pub(super) fn mean_ms(&self, operation: usize) -> f64 {
        let pool = &self.pools[operation];
        pool.iter().map(|outcome| outcome.ms).sum::<f64>() / pool.len().max(1) as f64
    }

    fn sample_latencies(&mut self, service: usize, flow: &Flow, reading: &mut Reading) {
        let operations = &self.system.services[service].operations;
        let total: f64 = operations.iter().map(|index| flow.rates[*index]).sum();
        if total <= 0.0 {
            return;
        }
        let health = &self.health[service];
        for _ in 0..KEPT {
            let mut left = self.draw.uniform(0.0, total);
            let mut chosen = operations[operations.len() - 1];
            for index in operations {
                left -= flow.rates[*index];
                if left <= 0.0 {
                    chosen = *index;
                    break;
                }
            }
            let pool = &self.pools[chosen];
            let inner = pool[self.draw.int(0, pool.len() - 1)].ms;
            let touched = self.draw.chance(health.share);
            let wire = outer_wire(&mut self.draw, self.system.round_trip_ms);
            let added = if touched {
                health.effect.delay_ms + lost_ms(&mut self.draw, health.effect.loss)
            } else {
                0.0
            };
            reading.latencies.push(inner as f32);
            reading.outer.push((inner + wire + added) as f32);
        }
    }

    /// Share of the service's cores that its requests use.
    fn cpu(&self, service: usize, flow: &Flow) -> f64 {
        let spec = &self.system.services[service];
        let demand: f64 = spec
            .operations
            .iter()
            .map(|index| {
                let operation = &self.system.operations[*index];
                flow.rates[*index] * operation.self_ms * operation.cpu_share / 1000.0
            })
            .sum();
        demand / spec.cores
    }

    /// Memory walks, collects garbage in teeth, and holds what requests hold.
    fn memory(&mut self, service: usize, held: f64, added: f64, length_s: f64) -> f64 {
        let spec = &self.system.services[service];
        let walk = &mut self.memory_walk[service];
        *walk = *walk * 0.995 + self.draw.normal() * 0.002;
        let garbage = &mut self.garbage[service];
        *garbage += length_s * (0.0004 + 0.0006 * (spec.dialect as f64));
        if *garbage > 0.08 {
            *garbage = 0.0;
        }
        let plain =
            spec.memory_mb * (1.0 + *walk + *garbage * f64::from(u8::from(spec.dialect > 0)));
        (plain + held * 0.4 + added * spec.memory_limit_mb).min(spec.memory_limit_mb)
    }

    /// Feeds this step's load back into the next one.
    pub(super) fn load_up(&mut self, flow: &Flow, length_s: f64) {
        let weight = 1.0 - (-length_s / 5.0).exp();
        for service in 0..self.system.services.len() {
            let spec = &self.system.services[service];
            let health = &self.health[service];
            // What the hog takes is not there for requests; the scheduler
            // still leaves them a part of it.
            let left = 1.0 - 0.85 * health.effect.hog * health.share;
            let used = self.cpu(service, flow) / left;
            let wait = health.wait_ms;
            let held: f64 = spec
                .operations
                .iter()
                .map(|index| flow.rates[*index] * (self.mean_ms(*index) - wait).max(0.1) / 1000.0)
                .sum::<f64>()
                / spec.workers;
            let rate: f64 = spec.operations.iter().map(|index| flow.rates[*index]).sum();
            let cores = &mut self.cores_used[service];
            *cores += (used.min(8.0) - *cores) * weight;
            let workers = &mut self.workers_used[service];
            *workers += (held.min(8.0) - *workers) * weight;
            let mean = if rate > 0.0 {
                held * spec.workers / rate * 1000.0
            } else {
                0.0
            };
            self.health[service].wait_ms = mean * ((*workers - 0.8) * 2.0).clamp(0.0, 4.0);
        }
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 {
        (part / whole).clamp(0.0, 1.0)
    } else {
        0.0
    }
}

fn outer_wire(draw: &mut Draw, round_trip_ms: f64) -> f64 {
    round_trip_ms * draw.lognormal(0.35)
}

fn lost_ms(draw: &mut Draw, loss: f64) -> f64 {
    let (mut ms, mut pause) = (0.0, 200.0);
    for _ in 0..3 {
        while draw.chance(loss) && pause < 12_000.0 {
            ms += pause;
            pause *= 2.0;
        }
    }
    ms
}
