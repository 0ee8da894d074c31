//! What goes on in a fleet beside the fault: loud neighbours, jobs, trends,
//! old level shifts, hosts under pressure, and chatter in the logs.

use crate::draw::Draw;
use crate::effect::{Course, Effect, Mutter, Plant};
use crate::family::Family;
use crate::plan::Plan;
use crate::words::mutter as say;

impl Plan {
    /// Loud but healthy things: bursts, jobs, trends, old level shifts.
    pub(crate) fn distract(&mut self, draw: &mut Draw) {
        // Some fleets are quiet, in others something is always going on.
        let bustle = draw.pick(&[0.3, 1.0, 2.0]);
        let times = self.times;
        let normal = times.start_ms - times.first_ms;
        let near = times.onset_ms + draw.uniform(-0.08, 0.05) * normal;
        if self.family == Family::NoisyNeighbour || draw.chance(0.15 * bustle) {
            let effect = match draw.int(0, 2) {
                0 => Effect {
                    hog: draw.uniform(0.2, 0.5),
                    ..Effect::default()
                },
                1 => Effect {
                    network_kbps: draw.log_uniform(500.0, 20_000.0),
                    disk_kbps: draw.log_uniform(500.0, 20_000.0),
                    ..Effect::default()
                },
                _ => Effect {
                    own_load: self.loudness(draw),
                    ..Effect::default()
                },
            };
            let until = near + draw.uniform(0.1, 0.6) * normal;
            self.noise(draw, effect, near, until);
        }
        if self.family == Family::LoadShift || draw.chance(0.1 * bustle) {
            let arrival = draw.int(0, self.system.arrivals.len() - 1);
            let factor = draw.uniform(1.3, 2.2);
            self.traffic.shifts.push((Some(arrival), near, factor));
        }
        if draw.chance(0.3 * bustle) {
            // A job that ran in the normal period.
            let effect = Effect {
                hog: draw.uniform(0.1, 0.4),
                disk_kbps: draw.log_uniform(100.0, 9_000.0),
                ..Effect::default()
            };
            let from = times.first_ms + draw.uniform(0.1, 0.8) * normal;
            let until = from + draw.uniform(0.03, 0.15) * normal;
            self.noise(draw, effect, from, until);
        }
        if draw.chance(0.2 * bustle) {
            // Slower for long: whoever compares with the very first minutes errs.
            let effect = Effect {
                slow: draw.uniform(1.15, 1.6),
                ..Effect::default()
            };
            let from = times.first_ms + draw.uniform(0.15, 0.6) * normal;
            self.noise(draw, effect, from, f64::INFINITY);
        }
        if draw.chance(0.2 * bustle) {
            let effect = Effect {
                memory: draw.uniform(0.05, 0.25),
                ..Effect::default()
            };
            let service = self.bystander(draw);
            let mut plant = Plant::new(service, effect, times.first_ms);
            plant.course = Course::Ramp(times.end_ms - times.first_ms);
            self.plants.push(plant);
        }
        self.shared_hosts(draw, bustle);
        self.hiccups(draw);
        self.murmur(draw);
    }

    /// Services that share a host slow down together for a while, at any time.
    fn shared_hosts(&mut self, draw: &mut Draw, bustle: f64) {
        let times = self.times;
        let whole = times.end_ms - times.first_ms;
        let count = self.system.services.len();
        let hosts = draw.int(2, (count / 4).max(2));
        let seated: Vec<usize> = (0..count).map(|_| draw.int(1, hosts)).collect();
        for _ in 0..draw.poisson(1.2 * bustle) as usize {
            let host = draw.int(1, hosts);
            let from = times.first_ms + draw.unit() * whole;
            let until = from + draw.log_uniform(0.01, 0.12) * whole;
            let slow = draw.log_uniform(1.08, 1.9);
            for service in (0..count).filter(|service| seated[*service] == host) {
                let effect = Effect {
                    slow: 1.0 + (slow - 1.0) * draw.uniform(0.5, 1.0),
                    hog: (slow - 1.0) * 0.15,
                    ..Effect::default()
                };
                let mut plant = Plant::new(service, effect, from);
                plant.until_ms = until;
                self.plants.push(plant);
            }
        }
    }

    /// Short troubles that come and go all the time, everywhere.
    fn hiccups(&mut self, draw: &mut Draw) {
        let times = self.times;
        let whole = times.end_ms - times.first_ms;
        let each = draw.pick(&[0.0, 0.1, 0.4, 1.2]);
        let count = draw.poisson(each * self.system.services.len() as f64) as usize;
        for _ in 0..count {
            let service = draw.int(0, self.system.services.len() - 1);
            let effect = Effect {
                slow: draw.log_uniform(1.1, 2.5),
                stall: draw.uniform(0.0, 0.03),
                stall_ms: draw.log_uniform(20.0, 800.0),
                ..Effect::default()
            };
            let from = times.first_ms + draw.unit() * whole;
            let mut plant = Plant::new(service, effect, from);
            let length = draw.log_uniform(0.004, 0.03) * whole;
            plant.until_ms = from + length.max(times.interval_ms * 0.5);
            self.plants.push(plant);
        }
    }

    fn loudness(&self, draw: &mut Draw) -> f64 {
        let arriving: f64 = self
            .system
            .arrivals
            .iter()
            .map(|arrival| arrival.rate)
            .sum();
        arriving * draw.uniform(0.1, 0.5)
    }

    fn bystander(&self, draw: &mut Draw) -> usize {
        let able: Vec<usize> = (0..self.system.services.len())
            .filter(|service| self.culprits.iter().all(|culprit| culprit.0 != *service))
            .collect();
        draw.pick(&able)
    }

    fn noise(&mut self, draw: &mut Draw, effect: Effect, from_ms: f64, until_ms: f64) {
        let service = self.bystander(draw);
        let mut plant = Plant::new(service, effect, from_ms);
        plant.until_ms = until_ms;
        self.plants.push(plant);
    }

    /// What healthy services say all the time.
    fn murmur(&mut self, draw: &mut Draw) {
        for service in 0..self.system.services.len() {
            let keys = [
                "health",
                "cron",
                "heartbeat",
                "refresh",
                "stale",
                "deprecated",
                "retry",
            ];
            let mutters: Vec<Mutter> = (0..draw.int(0, 3))
                .map(|_| say(draw.pick(&keys), draw.log_uniform(0.003, 0.1)))
                .collect();
            let mut plant = Plant::new(service, Effect::default(), self.times.first_ms);
            plant.mutters = mutters;
            plant.share = 0.0;
            self.plants.push(plant);
        }
    }
}
