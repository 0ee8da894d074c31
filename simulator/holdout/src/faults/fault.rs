//! What goes wrong, where, and which physical quantity it turns.

use serde::{Deserialize, Serialize};

use super::Shape;
use super::engine::Reason;
use super::knob::Knob;
use super::signals::Signal;
use super::world::{Kind, World};
use crate::dice::Dice;

/// The coarse class that results are reported by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    Resource,
    Network,
    Code,
    Dependency,
    Traffic,
    Compound,
    Control,
}

impl Class {
    pub const ALL: [Self; 7] = [
        Self::Resource,
        Self::Network,
        Self::Code,
        Self::Dependency,
        Self::Traffic,
        Self::Compound,
        Self::Control,
    ];
}

/// A kind of fault. `cause` is the anomaly type's wire name.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    pub name: &'static str,
    pub class: Class,
    pub cause: &'static str,
    /// Lines of its own make it nameable only where there are logs (or traces).
    needs: Needs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Metrics,
    Logs,
    Traces,
}

const fn family(name: &'static str, class: Class, cause: &'static str, needs: Needs) -> Family {
    Family {
        name,
        class,
        cause,
        needs,
    }
}

/// Every kind of fault.
pub const FAMILIES: [Family; 26] = [
    family(
        "processor-hog",
        Class::Resource,
        "CPU_SATURATION",
        Needs::Metrics,
    ),
    family(
        "memory-leak",
        Class::Resource,
        "MEMORY_LEAK",
        Needs::Metrics,
    ),
    family(
        "slow-disk",
        Class::Resource,
        "LATENCY_SPIKE",
        Needs::Metrics,
    ),
    family("socket-leak", Class::Resource, "UNKNOWN", Needs::Metrics),
    family(
        "connection-leak",
        Class::Resource,
        "DB_CONNECTION_EXHAUSTION",
        Needs::Metrics,
    ),
    family(
        "network-delay",
        Class::Network,
        "LATENCY_SPIKE",
        Needs::Metrics,
    ),
    family(
        "network-loss",
        Class::Network,
        "LATENCY_SPIKE",
        Needs::Metrics,
    ),
    family(
        "network-partition",
        Class::Network,
        "DEPENDENCY_OUTAGE",
        Needs::Metrics,
    ),
    family(
        "narrow-link",
        Class::Network,
        "LATENCY_SPIKE",
        Needs::Metrics,
    ),
    family("exception", Class::Code, "ERROR_RATE_SPIKE", Needs::Metrics),
    family(
        "wrong-argument",
        Class::Code,
        "ERROR_RATE_SPIKE",
        Needs::Logs,
    ),
    family(
        "missing-call",
        Class::Code,
        "ERROR_RATE_SPIKE",
        Needs::Traces,
    ),
    family("wrong-reply", Class::Code, "ERROR_RATE_SPIKE", Needs::Logs),
    family(
        "missing-handler",
        Class::Code,
        "ERROR_RATE_SPIKE",
        Needs::Metrics,
    ),
    family(
        "endless-retry",
        Class::Code,
        "LATENCY_SPIKE",
        Needs::Metrics,
    ),
    family(
        "call-in-a-loop",
        Class::Code,
        "LATENCY_SPIKE",
        Needs::Metrics,
    ),
    family(
        "slow-serialisation",
        Class::Code,
        "LATENCY_SPIKE",
        Needs::Metrics,
    ),
    family(
        "wrong-host",
        Class::Dependency,
        "DEPENDENCY_OUTAGE",
        Needs::Logs,
    ),
    family(
        "wrong-password",
        Class::Dependency,
        "DEPENDENCY_OUTAGE",
        Needs::Logs,
    ),
    family(
        "schema-lock",
        Class::Dependency,
        "LATENCY_SPIKE",
        Needs::Metrics,
    ),
    family(
        "wrong-flag",
        Class::Dependency,
        "LATENCY_SPIKE",
        Needs::Metrics,
    ),
    family(
        "expired-certificate",
        Class::Dependency,
        "DEPENDENCY_OUTAGE",
        Needs::Metrics,
    ),
    family(
        "store-outage",
        Class::Dependency,
        "DEPENDENCY_OUTAGE",
        Needs::Metrics,
    ),
    family("surge", Class::Traffic, "UNKNOWN", Needs::Metrics),
    family("intruders", Class::Traffic, "UNKNOWN", Needs::Metrics),
    family(
        "traffic-loss",
        Class::Traffic,
        "TRAFFIC_DROP",
        Needs::Metrics,
    ),
];

impl Family {
    /// The readings of the culprit by which a person would know it, rather than by what it suffers.
    pub fn telling(&self) -> Vec<Signal> {
        use Signal as S;
        let latency = [S::Mean, S::P50, S::P90, S::P95, S::P99];
        let errors = [S::Errors, S::ErrorShare, S::Availability];
        let own: &[Signal] = match self.name {
            "processor-hog" => &[S::Cpu, S::Throttle],
            "memory-leak" => &[S::Memory, S::Gc, S::Restarts],
            "slow-disk" => &[S::DiskBusy],
            "socket-leak" => return [&errors[..], &[S::Sockets]].concat(),
            "connection-leak" => &[S::Pool, S::PoolWait],
            "network-delay" | "network-loss" | "narrow-link" => &[S::Rtt, S::Retransmits],
            "exception" | "missing-handler" => return errors.to_vec(),
            "slow-serialisation" => &[S::Cpu],
            "wrong-reply" | "missing-call" => &[S::Sent],
            "schema-lock" => &[S::Locks],
            "wrong-flag" => &[S::Hits, S::Cpu],
            "network-partition" | "expired-certificate" | "store-outage" => {
                return [&errors[..], &[S::Rate]].concat();
            }
            "surge" | "intruders" | "traffic-loss" => return vec![S::Rate],
            _ => return [&errors[..], &latency].concat(),
        };
        [own, &latency].concat()
    }
}

/// How the force comes and goes.
#[derive(Clone, Copy, Debug)]
pub enum Course {
    Step,
    /// Full force after this many seconds.
    Ramp(f64),
    /// On and off with this period in seconds, mostly on.
    Waves(f64),
}

/// One fault that was drawn. Times are seconds since the recording began.
#[derive(Clone, Debug)]
pub struct Fault {
    pub family: Family,
    pub service: usize,
    pub dep: Option<usize>,
    pub op: Option<usize>,
    /// 1 is plain to see; redraws raise it.
    pub size: f64,
    pub onset_s: f64,
    pub until_s: f64,
    pub course: Course,
    /// Where in its range each quantity lies, 0 to 1.
    pub pick: f64,
}

impl Fault {
    /// Draws one fault of `class` that `world` can have and `shape` can show.
    pub fn draw(
        dice: &mut Dice,
        world: &World,
        class: Class,
        shape: Shape,
        window_s: (f64, f64),
    ) -> Option<Self> {
        let fits = |family: &&Family| {
            family.class == class
                && match family.needs {
                    Needs::Metrics => true,
                    Needs::Logs => matches!(shape, Shape::Full | Shape::MetricsLogs),
                    Needs::Traces => shape == Shape::Full,
                }
        };
        let families: Vec<&Family> = FAMILIES.iter().filter(fits).collect();
        let family = *families[dice.index(families.len())];
        let hosts: Vec<usize> = (0..world.services.len())
            .filter(|&s| can_host(world, family.name, s))
            .collect();
        if hosts.is_empty() {
            return None;
        }
        // Deeper services are likelier: a fault at the door is found without a graph.
        let weights: Vec<f64> = hosts
            .iter()
            .map(|&s| (1 + world.services[s].depth * 2) as f64)
            .collect();
        let mut at = dice.unit() * weights.iter().sum::<f64>();
        let service = *hosts
            .iter()
            .zip(&weights)
            .find(|(_, weight)| {
                at -= **weight;
                at <= 0.0
            })?
            .0;
        let op = dice.index(world.services[service].ops.len());
        let dep = dep(dice, world, family.name, service);
        let all = dep.is_some() || !matches!(family.class, Class::Code) || dice.chance(0.3);
        let span = window_s.1 - window_s.0;
        let course = match dice.unit() {
            u if u < 0.6 || family.name == "memory-leak" => Course::Step,
            u if u < 0.85 => Course::Ramp(span * dice.between(0.1, 0.4)),
            _ if shape == Shape::Graph => Course::Step,
            _ => Course::Waves(span * dice.between(0.1, 0.2)),
        };
        Some(Self {
            family,
            service,
            dep,
            op: (!all).then_some(op),
            size: 1.0,
            onset_s: window_s.0,
            until_s: window_s.1,
            course,
            pick: dice.unit(),
        })
    }

    /// How strong it is at `t_s`, 0 to 1.
    pub fn force(&self, t_s: f64) -> f64 {
        if t_s < self.onset_s || t_s >= self.until_s {
            return 0.0;
        }
        let since = t_s - self.onset_s;
        match self.course {
            Course::Step => 1.0,
            Course::Ramp(rise) => (since / rise).clamp(0.05, 1.0),
            Course::Waves(period) => {
                if (since / period).fract() < 0.75 {
                    1.0
                } else {
                    0.0
                }
            }
        }
    }

    /// Turns the quantities of this fault at `t_s`.
    pub fn turn(&self, world: &World, knobs: &mut [Knob], t_s: f64) {
        let force = self.force(t_s);
        if force == 0.0 {
            return;
        }
        let strong = force * self.size;
        let range = |low: f64, high: f64| low + (high - low) * self.pick;
        // A share that grows towards one with the size.
        let share = |at_one: f64| 1.0 - (1.0 - at_one).powf(strong);
        let knob = &mut knobs[self.service];
        knob.op = self.op;
        knob.dep = self.dep;
        match self.family.name {
            "processor-hog" => knob.stolen = share(range(0.7, 0.9)).min(0.97),
            "memory-leak" => {
                let room = 1.02 - world.services[self.service].memory;
                knob.leak = room / (self.until_s - self.onset_s) * range(1.2, 2.5) * self.size;
            }
            "slow-disk" => {
                (knob.io, knob.disk_hog) = (1.0 + range(8.0, 30.0) * strong, share(range(0.5, 0.8)))
            }
            "socket-leak" => {
                let since = (t_s - self.onset_s) / (self.until_s - self.onset_s);
                knob.sockets = (since * 5.0).min(1.0) * 0.95;
                knob.refuse = if since > 0.15 {
                    share(range(0.3, 0.6))
                } else {
                    0.0
                };
                knob.reason = Reason::Refused;
            }
            "connection-leak" => {
                let since = (t_s - self.onset_s) / (self.until_s - self.onset_s);
                knob.pool_taken = (0.5 + since * 3.0).min(1.0);
            }
            "network-delay" => knob.net_ms = range(40.0, 300.0) * strong,
            "network-loss" => knob.loss = share(range(0.08, 0.25)),
            "network-partition" => knob.cut = share(range(0.6, 1.0)),
            "narrow-link" => knob.mbps = range(0.3, 1.5) / strong,
            "surge" => knob.surge = 1.0 + range(1.5, 4.0) * strong,
            "intruders" => {
                knob.intruders_rps = range(3.0, 8.0) * strong * self.usual_rate(world).max(1.0)
            }
            "traffic-loss" => knob.surge = 1.0 - share(range(0.6, 0.9)),
            _ => self.turn_software(knob, (force, strong), &share, &range),
        }
    }

    fn turn_software(
        &self,
        knob: &mut Knob,
        (force, strong): (f64, f64),
        share: &dyn Fn(f64) -> f64,
        range: &dyn Fn(f64, f64) -> f64,
    ) {
        match self.family.name {
            "exception" => (knob.fail, knob.reason) = (share(range(0.3, 0.9)), Reason::Status),
            "missing-handler" => (knob.fail, knob.reason) = (0.97 * force, Reason::NoHandler),
            "wrong-argument" => {
                (knob.dep_fail, knob.dep_reached, knob.reason) =
                    (share(range(0.4, 0.95)), true, Reason::Invalid);
            }
            "wrong-reply" => knob.garbage = share(range(0.4, 0.95)),
            "missing-call" => {
                (knob.dep_skip, knob.garbage) = (0.97 * force, share(range(0.3, 0.8)))
            }
            "endless-retry" => {
                (knob.dep_times, knob.dep_fail, knob.dep_reached) =
                    (1.0 + range(10.0, 30.0) * strong, 0.05, true);
            }
            "call-in-a-loop" => knob.dep_times = 1.0 + range(8.0, 25.0) * strong,
            "slow-serialisation" => knob.cost = 1.0 + range(4.0, 14.0) * strong,
            "wrong-host" => {
                (knob.dep_fail, knob.reason) = (force * range(0.7, 0.99), Reason::Unresolved)
            }
            "wrong-password" => {
                (knob.dep_fail, knob.dep_reached, knob.reason) =
                    (force * range(0.8, 0.99), true, Reason::Denied);
            }
            "schema-lock" => knob.lock_ms = range(80.0, 900.0) * strong,
            "wrong-flag" => {
                knob.cache_off = 0.97 * force;
                knob.cost = 1.0 + range(2.0, 6.0) * strong;
                knob.dep_times = 1.0 + range(1.0, 4.0) * strong;
            }
            "expired-certificate" => (knob.refuse, knob.reason) = (0.98 * force, Reason::Handshake),
            "store-outage" => {
                (knob.refuse, knob.reason) = (force * range(0.7, 0.99), Reason::Refused)
            }
            other => unreachable!("{other} has no effect"),
        }
    }

    fn usual_rate(&self, world: &World) -> f64 {
        let rates = &world.rates()[self.service];
        rates.iter().sum::<f64>() / rates.len() as f64
    }
}

fn can_host(world: &World, family: &str, s: usize) -> bool {
    let service = &world.services[s];
    let kind = service.kind;
    let calls = || service.ops.iter().flat_map(|op| &op.calls);
    let called = || !world.callers(s).is_empty();
    match family {
        "processor-hog" | "memory-leak" => true,
        "slow-disk" => kind.is_store() || kind == Kind::Broker || kind == Kind::Logic,
        "socket-leak" | "network-partition" | "expired-certificate" => {
            called() && kind != Kind::Broker
        }
        "network-delay" | "network-loss" | "narrow-link" => called(),
        "connection-leak" => {
            calls().any(|call| world.services[call.to].kind.is_store() && !call.fallback)
        }
        "exception" | "missing-handler" | "slow-serialisation" => {
            kind == Kind::Logic || kind == Kind::Entry
        }
        "wrong-reply" => kind == Kind::Logic,
        "wrong-argument" | "missing-call" | "wrong-host" => {
            kind == Kind::Logic && calls().any(|call| solid(world, call.to, call.fallback))
        }
        "endless-retry" | "call-in-a-loop" | "wrong-flag" => {
            kind == Kind::Logic && calls().next().is_some()
        }
        "wrong-password" => {
            kind == Kind::Logic && calls().any(|call| password(world, call.to, call.fallback))
        }
        "schema-lock" => kind == Kind::Sql,
        "store-outage" => matches!(kind, Kind::Sql | Kind::Document | Kind::Broker),
        "surge" | "traffic-loss" => kind == Kind::Entry,
        "intruders" => kind == Kind::Logic,
        other => unreachable!("{other} has no place"),
    }
}

fn solid(world: &World, to: usize, fallback: bool) -> bool {
    !fallback && world.services[to].kind != Kind::Broker
}

fn password(world: &World, to: usize, fallback: bool) -> bool {
    !fallback && matches!(world.services[to].kind, Kind::Sql | Kind::Document)
}

/// The callee that the fault concerns.
fn dep(dice: &mut Dice, world: &World, family: &str, s: usize) -> Option<usize> {
    let wanted = |to: usize, fallback: bool| match family {
        "wrong-argument" | "missing-call" | "wrong-host" => solid(world, to, fallback),
        "wrong-password" => password(world, to, fallback),
        "endless-retry" | "call-in-a-loop" | "wrong-flag" => true,
        _ => false,
    };
    let calls = world.services[s].ops.iter().flat_map(|op| &op.calls);
    let all: Vec<usize> = calls
        .filter(|call| wanted(call.to, call.fallback))
        .map(|call| call.to)
        .collect();
    (!all.is_empty()).then(|| all[dice.index(all.len())])
}
