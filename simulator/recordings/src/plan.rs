//! What is drawn for a case before anything happens: shape, family, times,
//! traffic, culprits and distractions.

use crate::draw::Draw;
use crate::effect::{Course, Effect, Plant};
use crate::engine::Tide;
use crate::family::{Family, between};
use crate::graph::{Metered, Role, Size, System};

/// The format of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// Requests, latency and availability of many services at a coarse
    /// interval over hours, with the call graph.
    A,
    /// Fine metrics, spans and logs over minutes.
    B,
    /// Fine metrics only; no graph.
    C,
    /// Fine metrics and logs; no graph.
    D,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Shape; 4] = [Shape::A, Shape::B, Shape::C, Shape::D];

    /// The name in `truth.json` and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Shape::A => "a",
            Shape::B => "b",
            Shape::C => "c",
            Shape::D => "d",
        }
    }

    /// True if faults of this family leave a trace that such a recording can
    /// show and that leads to the culprit.
    #[must_use]
    pub fn shows(self, family: Family) -> bool {
        match family {
            Family::WrongParameter | Family::MissingCall | Family::WrongValue => {
                matches!(self, Shape::B | Shape::D)
            }
            Family::CacheLoss | Family::UnhandledException => self != Shape::C,
            _ => true,
        }
    }
}

/// When things happen, milliseconds since the epoch.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub first_ms: f64,
    pub interval_ms: f64,
    /// Steps of the simulation in an interval.
    pub parts: usize,
    /// When the fault really begins.
    pub onset_ms: f64,
    pub start_ms: f64,
    pub end_ms: f64,
}

/// A case before it happens.
#[derive(Debug)]
pub struct Plan {
    pub shape: Shape,
    pub family: Family,
    pub system: System,
    pub times: Times,
    /// Services at fault; empty for a healthy control.
    pub culprits: Vec<(usize, Family)>,
    pub plants: Vec<Plant>,
    pub traffic: Traffic,
    /// Users who wait for answers think so long between requests.
    pub think_ms: Option<f64>,
}

impl Plan {
    /// Draws a case; `push` in 0.. raises the severity of one that would
    /// hardly show.
    #[must_use]
    pub fn draw(draw: &mut Draw, shape: Shape, family: Family, push: f64) -> Plan {
        let services = match shape {
            Shape::A => draw.int(20, 60),
            _ => {
                let (low, high) = draw.pick(&[(8, 15), (10, 30), (20, 60)]);
                draw.int(low, high)
            }
        };
        let size = Size {
            services,
            rate: draw.log_uniform(4.0, 400.0),
            dark: draw.pick(&[0.0, 0.1, 0.4]),
        };
        let mut system = System::grow(draw, size);
        let times = times(draw, shape, services);
        let mut plan = Plan {
            shape,
            family,
            times,
            culprits: Vec::new(),
            plants: Vec::new(),
            traffic: Traffic::draw(draw, &system, &times, shape),
            think_ms: draw.chance(0.4).then(|| draw.log_uniform(200.0, 5_000.0)),
            system: system.clone(),
        };
        let least = if family == Family::Compound { 0.4 } else { 0.1 };
        let drawn = least + (1.0 - least) * draw.unit().powf(1.3);
        let severity = (drawn + push).min(1.0);
        plan.fault(draw, severity);
        for (culprit, _) in &plan.culprits {
            let spec = &mut system.services[*culprit];
            // Without a graph nothing but its own metrics can speak of it.
            if shape == Shape::B && spec.role != Role::Entry && draw.chance(0.12) {
                // Its spans, or its callers', must do.
                spec.metered = draw.pick(&[Metered::Nothing, Metered::Resources]);
            }
            let alone = matches!(shape, Shape::C | Shape::D) || spec.role == Role::Entry;
            if alone || (shape == Shape::A && draw.chance(0.8)) {
                spec.metered = Metered::Full;
            }
        }
        plan.system.services = system.services;
        plan.distract(draw);
        plan
    }

    /// The family that was planted: the one asked for, unless no service of
    /// the system could have it.
    #[must_use]
    pub fn planted(&self) -> Family {
        match self.culprits.first() {
            Some((_, family)) if self.family.plain() => *family,
            _ => self.family,
        }
    }

    fn fault(&mut self, draw: &mut Draw, severity: f64) {
        let onset_ms = self.times.onset_ms;
        let families = match self.family {
            Family::Healthy => Vec::new(),
            Family::Compound => vec![self.pick_plain(draw), self.pick_plain(draw)],
            Family::NoisyNeighbour | Family::LoadShift => vec![self.pick_plain(draw)],
            plain => vec![plain],
        };
        for family in families {
            let taken: Vec<usize> = self.culprits.iter().map(|culprit| culprit.0).collect();
            let (family, culprit) = self.pick_culprit(draw, family, &taken);
            let mut plants = family.plants(draw, &self.system, culprit, severity, onset_ms);
            if self.shape == Shape::A && draw.chance(0.15) {
                let length = draw.uniform(0.5, 3.0) * self.times.interval_ms;
                for plant in &mut plants {
                    plant.course = Course::Ramp(length);
                }
            }
            self.plants.extend(plants);
            if family == Family::SlowLeak {
                self.leak(draw, culprit);
            }
            self.culprits.push((culprit, family));
        }
        if self.family == Family::Healthy && draw.chance(0.6) {
            let factor = draw.uniform(1.15, 1.7);
            self.traffic.shifts.push((None, onset_ms, factor));
        }
    }

    fn pick_plain(&self, draw: &mut Draw) -> Family {
        let able: Vec<Family> = Family::ALL
            .into_iter()
            .filter(|family| family.plain() && self.shape.shows(*family))
            .filter(|family| !family.in_code() || self.family != Family::Compound)
            .collect();
        draw.pick(&able)
    }

    /// A service that the fault fits and that enough requests pass; where
    /// none fits, a hog on any service takes the fault's place.
    fn pick_culprit(&self, draw: &mut Draw, family: Family, taken: &[usize]) -> (Family, usize) {
        let rates = self.system.normal_rates();
        let arriving: f64 = self
            .system
            .arrivals
            .iter()
            .map(|arrival| arrival.rate)
            .sum();
        let busy = |service: usize| {
            let sum: f64 = self.system.services[service]
                .operations
                .iter()
                .map(|index| rates[*index])
                .sum();
            sum > arriving * 0.05 && !taken.contains(&service)
        };
        let able: Vec<usize> = (0..self.system.services.len())
            .filter(|service| busy(*service) && family.fits(&self.system, *service))
            .filter(|service| {
                self.system.services[*service].role != Role::Queue || draw.chance(0.3)
            })
            .collect();
        if able.is_empty() {
            let any: Vec<usize> = (0..self.system.services.len())
                .filter(|service| busy(*service))
                .collect();
            return (Family::CpuHog, draw.pick(&any));
        }
        (family, draw.pick(&able))
    }

    /// Memory that has grown since before the recording.
    fn leak(&mut self, draw: &mut Draw, service: usize) {
        let effect = Effect {
            memory: draw.uniform(0.3, 0.6),
            ..Effect::default()
        };
        let from = self.times.first_ms - draw.uniform(0.0, 600_000.0);
        let mut plant = Plant::new(service, effect, from);
        plant.course = Course::Ramp(self.times.onset_ms - from + 60_000.0);
        self.plants.push(plant);
    }
}

fn times(draw: &mut Draw, shape: Shape, services: usize) -> Times {
    let first_ms = 1_700_000_000_000.0 + draw.int(0, 20_000_000) as f64 * 1000.0;
    if shape == Shape::A {
        let interval_ms = draw.pick(&[60_000.0, 300_000.0]);
        let normal = draw.int(60, 240) as f64;
        let start_ms = first_ms + normal * interval_ms;
        let bad = draw.int(2, 8) as f64;
        let slip = if draw.chance(0.85) {
            draw.uniform(0.0, 0.7)
        } else {
            draw.uniform(-1.0, 1.0)
        };
        return Times {
            first_ms,
            interval_ms,
            parts: 3,
            onset_ms: start_ms + slip * interval_ms,
            start_ms,
            end_ms: start_ms + bad * interval_ms,
        };
    }
    let normal_ms = draw.pick(&[600_000.0, 600_000.0, 480_000.0, 900_000.0]);
    let bad_ms = draw.pick(&[300_000.0, 600_000.0, 420_000.0]);
    let interval_ms = if services <= 12 && draw.chance(0.5) {
        1000.0
    } else {
        draw.pick(&[5000.0, 15_000.0])
    };
    let start_ms = first_ms + normal_ms;
    let slip = if draw.chance(0.6) {
        draw.uniform(0.0, 3_000.0)
    } else {
        draw.uniform(-60_000.0, 60_000.0)
    };
    Times {
        first_ms,
        interval_ms,
        parts: 1,
        onset_ms: start_ms + slip,
        start_ms,
        end_ms: start_ms + bad_ms,
    }
}

/// Traffic from outside: a day's wave, slow drift, bursts and shifts.
#[derive(Debug)]
pub struct Traffic {
    wave: f64,
    phase: f64,
    drift: f64,
    drifts: Vec<f64>,
    /// (arrival or all, from, factor)
    pub shifts: Vec<(Option<usize>, f64, f64)>,
    /// (from, until, factor)
    bursts: Vec<(f64, f64, f64)>,
    last_ms: f64,
    draw: Draw,
}

impl Traffic {
    fn draw(draw: &mut Draw, system: &System, times: &Times, shape: Shape) -> Traffic {
        let normal = times.start_ms - times.first_ms;
        let bursts = (0..draw.pick(&[0, 0, 0, 1, 2]))
            .map(|_| {
                let from = times.first_ms + draw.uniform(0.05, 0.85) * normal;
                (
                    from,
                    from + draw.uniform(0.02, 0.08) * normal,
                    between(draw.unit(), 1.3, 2.2),
                )
            })
            .collect();
        Traffic {
            wave: draw.uniform(0.0, if shape == Shape::A { 0.5 } else { 0.3 }),
            phase: draw.uniform(0.0, std::f64::consts::TAU),
            drift: draw.log_uniform(0.01, 0.1),
            drifts: vec![0.0; system.arrivals.len()],
            shifts: Vec::new(),
            bursts,
            last_ms: 0.0,
            draw: Draw::at(&[draw.bits()]),
        }
    }
}

impl Tide for Traffic {
    fn factor(&mut self, arrival: usize, at_ms: f64) -> f64 {
        if at_ms > self.last_ms {
            self.last_ms = at_ms;
            for drift in &mut self.drifts {
                *drift = *drift * 0.9 + self.drift * 0.43 * self.draw.normal();
            }
        }
        let turn = at_ms / 86_400_000.0 * std::f64::consts::TAU + self.phase;
        let mut factor = (1.0 + self.wave * turn.sin()) * self.drifts[arrival].exp();
        for (which, from, by) in &self.shifts {
            if at_ms >= *from && which.is_none_or(|which| which == arrival) {
                factor *= by;
            }
        }
        for (from, until, by) in &self.bursts {
            if at_ms >= *from && at_ms < *until {
                factor *= by;
            }
        }
        factor
    }
}
