//! Reads the system's quantities as a monitoring agent does: counted, averaged over the scrape
//! interval, with the noise of small numbers.

use super::engine::{Engine, ServiceNow};
use super::knob::Knob;
use super::queueing::{loss_tail, quantile};
use super::signals::{ALL, COUNT, Dialect, LATENCIES, Signal};
use super::world::World;
use crate::dice::Dice;

/// Readings of one interval, by signal, base units; not a number where nothing was measured.
pub type Row = [f64; COUNT];

/// How this house measures.
pub struct Meter {
    pub dialect: Dialect,
    /// Requests are timed and counted where they are made, not where they are served.
    outside: bool,
    counts_refusals: bool,
    interval_s: f64,
    sums: Vec<Sum>,
    elapsed_s: f64,
    /// `[interval][service]`.
    pub rows: Vec<Vec<Row>>,
}

#[derive(Clone)]
struct Sum {
    plain: Row,
    latency: Row,
    weight: f64,
    count: f64,
    errors: f64,
    spread: f64,
}

impl Default for Sum {
    fn default() -> Self {
        Self {
            plain: [0.0; COUNT],
            latency: [0.0; COUNT],
            weight: 0.0,
            count: 0.0,
            errors: 0.0,
            spread: 0.0,
        }
    }
}

impl Meter {
    pub fn draw(
        dice: &mut Dice,
        world: &World,
        interval_s: f64,
        few: bool,
        counts_refusals: bool,
    ) -> Self {
        let dialect = Dialect::draw(dice);
        Self {
            dialect,
            outside: dialect == Dialect::Mesh || (few && dice.chance(0.6)),
            counts_refusals,
            interval_s,
            sums: vec![Sum::default(); world.services.len()],
            elapsed_s: 0.0,
            rows: Vec::new(),
        }
    }

    /// Takes in one step and closes the interval when it is full.
    pub fn step(&mut self, dice: &mut Dice, engine: &Engine, knobs: &[Knob], step_s: f64) {
        for (s, knob) in knobs.iter().enumerate() {
            self.requests(dice, engine, knob, s, step_s);
            gauges(&mut self.sums[s].plain, &engine.now[s], step_s);
        }
        self.elapsed_s += step_s;
        if self.elapsed_s > self.interval_s - 0.5 * step_s {
            let rows = self.sums.iter().map(|sum| self.row(dice, sum)).collect();
            self.rows.push(rows);
            self.elapsed_s = 0.0;
            self.sums.fill(Sum::default());
        }
    }

    fn requests(&mut self, dice: &mut Dice, engine: &Engine, knob: &Knob, s: usize, step_s: f64) {
        let sum = &mut self.sums[s];
        for (op, now) in engine.world.services[s].ops.iter().zip(&engine.now[s].ops) {
            let count = dice.poisson(now.rate * step_s);
            let kept_out = if self.outside {
                dice.poisson(now.kept_out * step_s)
            } else {
                0.0
            };
            let scolded = if self.counts_refusals {
                now.scolded
            } else {
                0.0
            };
            let failed = dice
                .poisson((now.rate * now.error + scolded) * step_s)
                .min(count);
            sum.count += count + kept_out;
            sum.errors += failed + kept_out;
            sum.spread += op.sigma * (count + kept_out);
            sum.weight += count + kept_out;
            let way = if self.outside {
                let loss = loss_tail(knob.loss, op.kilobytes);
                2.0 * (engine.world.rtt_ms + knob.net_ms)
                    + op.kilobytes * 8.0 / knob.mbps
                    + loss.0 * loss.1
            } else {
                0.0
            };
            for (signal, q) in LATENCIES {
                let served = if signal == Signal::Mean {
                    now.mean_ms + now.tail.0 * now.tail.1
                } else {
                    quantile(now, op.sigma, q)
                };
                // Who got no connection waited, or was told so at once.
                let gone = 1500.0 * knob.cut + 2.0;
                sum.latency[signal as usize] += count * (served + way) + kept_out * gone;
            }
        }
    }

    fn row(&self, dice: &mut Dice, sum: &Sum) -> Row {
        let mut row = sum.plain.map(|value| value / self.elapsed_s.max(1e-9));
        row[Signal::Restarts as usize] = sum.plain[Signal::Restarts as usize];
        row[Signal::Rate as usize] = sum.count / self.elapsed_s;
        row[Signal::Errors as usize] = sum.errors / self.elapsed_s;
        let share = if sum.count > 0.0 {
            sum.errors / sum.count
        } else {
            f64::NAN
        };
        row[Signal::ErrorShare as usize] = share;
        row[Signal::Availability as usize] = 1.0 - share;
        let sigma = if sum.weight > 0.0 {
            sum.spread / sum.weight
        } else {
            0.0
        };
        for (signal, q) in LATENCIES {
            let behind = if signal == Signal::Mean {
                sum.count
            } else {
                sum.count * (1.0 - q) * 2.0 + 1.0
            };
            let noise = (sigma / behind.max(1.0).sqrt() * dice.normal()).exp();
            row[signal as usize] = if sum.weight > 0.0 {
                sum.latency[signal as usize] / sum.weight * noise
            } else {
                f64::NAN
            };
        }
        for signal in ALL
            .into_iter()
            .filter(|signal| (Signal::Cpu..Signal::Restarts).contains(signal))
        {
            // Counts and shares cannot go below zero, shares not above one.
            let noise = 1.0 + 0.02 * dice.normal();
            let value = row[signal as usize] * noise;
            let full = matches!(
                signal,
                Signal::Cpu
                    | Signal::Throttle
                    | Signal::Memory
                    | Signal::Gc
                    | Signal::Pool
                    | Signal::Sockets
                    | Signal::DiskBusy
                    | Signal::Hits
            );
            row[signal as usize] = if full {
                value.clamp(0.0, 1.0)
            } else {
                value.max(0.0)
            };
        }
        for whole in [Signal::Queue, Signal::Lag] {
            row[whole as usize] = row[whole as usize].round();
        }
        row
    }
}

fn gauges(plain: &mut Row, now: &ServiceNow, step_s: f64) {
    let values = [
        (Signal::Cpu, now.cpu),
        (Signal::Throttle, now.throttle),
        (Signal::Memory, now.memory),
        (Signal::Gc, now.gc),
        (Signal::Threads, now.threads),
        (Signal::Queue, now.queue),
        (Signal::Pool, now.pool),
        (Signal::PoolWait, now.pool_wait_ms),
        (Signal::Sockets, now.sockets),
        (Signal::Received, now.received_kb),
        (Signal::Sent, now.sent_kb),
        (Signal::Retransmits, now.retransmits),
        (Signal::Rtt, now.rtt_ms),
        (Signal::DiskBusy, now.disk_busy),
        (Signal::Written, now.written_kb),
        (Signal::Hits, now.hits),
        (Signal::Lag, now.lag),
        (Signal::Locks, now.lock_ms),
    ];
    for (signal, value) in values {
        plain[signal as usize] += value * step_s;
    }
    plain[Signal::Restarts as usize] += now.restarts;
}
