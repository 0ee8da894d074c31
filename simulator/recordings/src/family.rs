//! The families of faults: which service each may hit, and what it does.

use crate::draw::Draw;
use crate::effect::{Bug, Course, Effect, Mutter, Plant};
use crate::graph::{Role, System};
use crate::words::mutter as say;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    CpuHog,
    MemoryHog,
    SlowLeak,
    DiskStress,
    SocketExhaustion,
    NetworkDelay,
    PacketLoss,
    DatabaseSlow,
    PoolExhaustion,
    Misconfiguration,
    ServiceDown,
    TrafficSurge,
    RetryStorm,
    LockContention,
    NoisyNeighbour,
    LoadShift,
    CacheLoss,
    UnhandledException,
    WrongParameter,
    MissingCall,
    WrongValue,
    CrashLoop,
    Compound,
    Healthy,
}

impl Family {
    /// Every family.
    pub const ALL: [Family; 24] = [
        Family::CpuHog,
        Family::MemoryHog,
        Family::SlowLeak,
        Family::DiskStress,
        Family::SocketExhaustion,
        Family::NetworkDelay,
        Family::PacketLoss,
        Family::DatabaseSlow,
        Family::PoolExhaustion,
        Family::Misconfiguration,
        Family::ServiceDown,
        Family::TrafficSurge,
        Family::RetryStorm,
        Family::LockContention,
        Family::NoisyNeighbour,
        Family::LoadShift,
        Family::CacheLoss,
        Family::UnhandledException,
        Family::WrongParameter,
        Family::MissingCall,
        Family::WrongValue,
        Family::CrashLoop,
        Family::Compound,
        Family::Healthy,
    ];

    /// The name in `truth.json` and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Family::CpuHog => "cpu_hog",
            Family::MemoryHog => "memory_hog",
            Family::SlowLeak => "slow_leak",
            Family::DiskStress => "disk_stress",
            Family::SocketExhaustion => "socket_exhaustion",
            Family::NetworkDelay => "network_delay",
            Family::PacketLoss => "packet_loss",
            Family::DatabaseSlow => "database_slow",
            Family::PoolExhaustion => "pool_exhaustion",
            Family::Misconfiguration => "misconfiguration",
            Family::ServiceDown => "service_down",
            Family::TrafficSurge => "traffic_surge",
            Family::RetryStorm => "retry_storm",
            Family::LockContention => "lock_contention",
            Family::NoisyNeighbour => "noisy_neighbour",
            Family::LoadShift => "load_shift",
            Family::CacheLoss => "cache_loss",
            Family::UnhandledException => "unhandled_exception",
            Family::WrongParameter => "wrong_parameter",
            Family::MissingCall => "missing_call",
            Family::WrongValue => "wrong_value",
            Family::CrashLoop => "crash_loop",
            Family::Compound => "compound",
            Family::Healthy => "healthy",
        }
    }

    /// The family of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Family> {
        Family::ALL.into_iter().find(|family| family.name() == name)
    }

    /// The anomaly type that names its cause best; empty for none.
    #[must_use]
    pub fn cause(self) -> &'static str {
        match self {
            Family::CpuHog | Family::TrafficSurge => "CPU_SATURATION",
            Family::MemoryHog | Family::SlowLeak => "MEMORY_LEAK",
            Family::SocketExhaustion | Family::PoolExhaustion => "DB_CONNECTION_EXHAUSTION",
            Family::DiskStress
            | Family::NetworkDelay
            | Family::PacketLoss
            | Family::DatabaseSlow
            | Family::RetryStorm
            | Family::LockContention
            | Family::CacheLoss => "LATENCY_SPIKE",
            Family::ServiceDown => "DEPENDENCY_OUTAGE",
            Family::CrashLoop => "KUBERNETES_FAILURE",
            Family::MissingCall => "TRAFFIC_DROP",
            Family::Misconfiguration
            | Family::UnhandledException
            | Family::WrongParameter
            | Family::WrongValue => "ERROR_RATE_SPIKE",
            Family::NoisyNeighbour | Family::LoadShift | Family::Compound | Family::Healthy => "",
        }
    }

    /// Faults that stand for themselves; the others combine these.
    #[must_use]
    pub fn plain(self) -> bool {
        !matches!(
            self,
            Family::NoisyNeighbour | Family::LoadShift | Family::Compound | Family::Healthy
        )
    }

    /// True where the code of one operation is at fault.
    #[must_use]
    pub fn in_code(self) -> bool {
        matches!(
            self,
            Family::UnhandledException
                | Family::WrongParameter
                | Family::MissingCall
                | Family::WrongValue
        )
    }

    /// True where a resource of the culprit is at fault, which its own
    /// metrics show even where its callers feel little.
    #[must_use]
    pub fn on_resources(self) -> bool {
        matches!(
            self,
            Family::CpuHog | Family::MemoryHog | Family::DiskStress | Family::SocketExhaustion
        )
    }

    /// True if `service` can have it.
    #[must_use]
    pub fn fits(self, system: &System, service: usize) -> bool {
        let spec = &system.services[service];
        let calls = spec
            .operations
            .iter()
            .any(|index| !system.operations[*index].calls.is_empty());
        match self {
            Family::DatabaseSlow => spec.role == Role::Database,
            Family::CacheLoss => spec.role == Role::Cache,
            Family::PoolExhaustion
            | Family::Misconfiguration
            | Family::WrongParameter
            | Family::MissingCall => calls,
            Family::ServiceDown | Family::WrongValue | Family::RetryStorm => {
                spec.role != Role::Entry && (self != Family::WrongValue || !spec.role.is_store())
            }
            Family::CrashLoop => spec.role == Role::Service,
            Family::UnhandledException | Family::LockContention | Family::TrafficSurge => {
                !spec.role.is_store()
            }
            _ => true,
        }
    }

    /// What it does to `service` from `onset_ms` on, at a severity of 0..=1.
    #[must_use]
    pub fn plants(
        self,
        draw: &mut Draw,
        system: &System,
        service: usize,
        severity: f64,
        onset_ms: f64,
    ) -> Vec<Plant> {
        let mut plants = match self {
            _ if self.in_code() || self == Family::Misconfiguration => {
                crate::bugs::plants(self, draw, system, service, severity, onset_ms)
            }
            Family::TrafficSurge => surge(draw, system, service, severity, onset_ms),
            Family::CacheLoss => cache_loss(draw, system, service, severity, onset_ms),
            Family::RetryStorm => storm(draw, system, service, severity, onset_ms),
            _ => vec![plain(self, draw, system, service, severity, onset_ms)],
        };
        let narrow = matches!(
            self,
            Family::LockContention | Family::DatabaseSlow | Family::PoolExhaustion
        );
        if narrow && draw.chance(0.35) {
            narrow_down(draw, system, service, &mut plants);
        }
        let replicas = system.services[service].replicas as f64;
        if replicas > 1.0 && draw.chance(0.4) && self != Family::TrafficSurge {
            for plant in plants.iter_mut().filter(|plant| plant.service == service) {
                plant.share = 1.0 / replicas;
                plant.effect.refuse /= replicas;
                // The others still report.
                plant.effect.silent = 0.0;
            }
        }
        plants
    }
}

/// Between `low` at severity 0 and `high` at 1, evenly in the logarithm.
pub(crate) fn between(severity: f64, low: f64, high: f64) -> f64 {
    (low.ln() + (high.ln() - low.ln()) * severity).exp()
}

/// Idle latency of the slowest operation of a service.
fn own_ms(system: &System, service: usize) -> f64 {
    let latencies = system.idle_latencies();
    system.services[service]
        .operations
        .iter()
        .map(|index| latencies[*index])
        .fold(1.0, f64::max)
}

fn plain(
    family: Family,
    draw: &mut Draw,
    system: &System,
    service: usize,
    severity: f64,
    onset_ms: f64,
) -> Plant {
    let typical = own_ms(system, service).max(5.0);
    let mut plant = Plant::new(service, Effect::default(), onset_ms);
    if draw.chance(0.25) {
        plant.course = Course::Ramp(draw.uniform(5_000.0, 60_000.0));
    }
    let effect = &mut plant.effect;
    match family {
        Family::CpuHog => {
            effect.hog = 0.35 + 0.6 * severity;
            effect.slow = between(severity, 1.3, 6.0);
            effect.stall = 0.1 * severity;
            effect.stall_ms = typical * 3.0;
        }
        Family::MemoryHog => {
            effect.memory = between(severity, 0.25, 0.9);
            effect.slow = between(severity, 1.1, 3.0);
            effect.stall = between(severity, 0.01, 0.15);
            effect.stall_ms = between(severity, 60.0, 900.0);
            effect.fail = if severity > 0.7 {
                0.1 * draw.unit()
            } else {
                0.0
            };
            effect.hog = 0.1 * severity;
            plant.mutters = vec![say("gc", 0.2)];
            if draw.chance(0.5) {
                plant.course = Course::Ramp(draw.uniform(30_000.0, 180_000.0));
            }
        }
        Family::DiskStress => {
            effect.disk_kbps = between(severity, 3_000.0, 120_000.0);
            effect.slow = between(severity, 1.4, 5.0);
            effect.extra_ms = typical * between(severity, 0.3, 4.0);
            effect.hog = 0.1 + 0.1 * severity;
            plant.mutters = vec![say("disk", 0.1)];
        }
        Family::SocketExhaustion => {
            effect.sockets = between(severity, 150.0, 6_000.0);
            effect.refuse = between(severity, 0.03, 0.5);
            effect.extra_ms = typical * between(severity, 0.2, 3.0);
            effect.fail = between(severity, 0.01, 0.1);
            plant.mutters = vec![say("sockets", 0.3)];
        }
        Family::DatabaseSlow => database(draw, effect, &mut plant.mutters, severity),
        _ => return other(family, draw, plant, typical, severity),
    }
    plant
}

fn database(draw: &mut Draw, effect: &mut Effect, mutters: &mut Vec<Mutter>, severity: f64) {
    effect.slow = between(severity, 2.0, 25.0);
    if draw.chance(0.4) {
        // A lock: most statements run, those that want the row wait.
        effect.slow = 1.2;
        effect.stall = between(severity, 0.1, 0.6);
        effect.stall_ms = between(severity, 80.0, 2_500.0);
        effect.threads = between(severity, 5.0, 80.0);
        mutters.push(say("lock", 0.2));
    } else {
        effect.hog = 0.3 * draw.unit();
        effect.disk_kbps = between(severity, 500.0, 9_000.0);
        mutters.push(say("slow_query", 0.3));
    }
}

/// The rest of the plain effects.
fn other(family: Family, draw: &mut Draw, mut plant: Plant, typical: f64, severity: f64) -> Plant {
    let effect = &mut plant.effect;
    match family {
        Family::NetworkDelay => {
            effect.delay_ms = between(severity, 0.5, 4.0) * typical.clamp(10.0, 200.0);
            effect.jitter_ms = effect.delay_ms * draw.uniform(0.02, 0.4);
            plant.course = Course::Step;
        }
        Family::PacketLoss => {
            effect.loss = between(severity, 0.02, 0.3);
            plant.course = Course::Step;
        }
        Family::PoolExhaustion => {
            effect.extra_ms = typical * between(severity, 1.0, 10.0);
            effect.fail = between(severity, 0.01, 0.35);
            effect.pool = 1.0;
            effect.threads = between(severity, 5.0, 60.0);
            plant.mutters = vec![say("pool", 0.5)];
        }
        Family::ServiceDown => {
            effect.refuse = if severity > 0.4 { 1.0 } else { 0.5 };
            effect.silent = if draw.chance(0.6) { 1.0 } else { 0.0 };
            plant.course = Course::Step;
        }
        Family::RetryStorm => {
            effect.slow = between(severity, 2.0, 12.0);
            effect.stall = between(severity, 0.05, 0.5);
            effect.stall_ms = typical * between(severity, 10.0, 60.0);
            effect.fail = between(severity, 0.05, 0.4);
        }
        Family::LockContention => {
            effect.extra_ms = typical * between(severity, 0.8, 12.0);
            effect.threads = between(severity, 8.0, 120.0);
            plant.mutters = vec![say("contention", 0.2)];
        }
        Family::SlowLeak => {
            effect.stall = between(severity, 0.03, 0.25);
            effect.stall_ms = between(severity, 100.0, 1_500.0);
            effect.slow = between(severity, 1.2, 3.0);
            plant.course = Course::Ramp(60_000.0);
            plant.mutters = vec![say("gc", 0.3)];
        }
        Family::CrashLoop => {
            effect.restarts = 1.5;
            effect.refuse = between(severity, 0.2, 0.9);
            effect.fail = between(severity, 0.1, 0.5);
            effect.hog = 0.2 * severity;
            plant.mutters = vec![say("crash", 0.1), say("start", 0.1)];
            plant.course = Course::Pulse(draw.uniform(20_000.0, 60_000.0));
        }
        _ => {}
    }
    plant
}

/// More traffic than usual at the entries; one service has no headroom.
fn surge(
    draw: &mut Draw,
    system: &System,
    service: usize,
    severity: f64,
    onset_ms: f64,
) -> Vec<Plant> {
    let factor = between(severity, 1.6, 4.0);
    let mut plants: Vec<Plant> = system
        .entries_above(service)
        .into_iter()
        .map(|entry| {
            let effect = Effect {
                surge: factor,
                ..Effect::default()
            };
            Plant::new(entry, effect, onset_ms)
        })
        .collect();
    let effect = Effect {
        // Work that grows faster than the load, as under cache misses and
        // contention, takes away the headroom that the others have.
        slow: 1.0 + 0.5 * factor * draw.uniform(0.8, 1.5),
        hog: 0.5 + 0.3 * severity,
        ..Effect::default()
    };
    plants.push(Plant::new(service, effect, onset_ms));
    plants
}

/// A cache that forgets everything: its callers' other stores get the work.
fn cache_loss(
    draw: &mut Draw,
    system: &System,
    service: usize,
    severity: f64,
    onset_ms: f64,
) -> Vec<Plant> {
    let effect = Effect {
        refuse: between(severity, 0.3, 1.0),
        extra_ms: between(severity, 3.0, 80.0),
        ..Effect::default()
    };
    let mut plants = vec![Plant::new(service, effect, onset_ms)];
    let callees = system.callees();
    let rates = system.normal_rates();
    for called in &callees[..service] {
        if !called.contains(&service) {
            continue;
        }
        for store in called {
            if *store != service && system.services[*store].role == Role::Database {
                let normal: f64 = system.services[*store]
                    .operations
                    .iter()
                    .map(|index| rates[*index])
                    .sum();
                let effect = Effect {
                    own_load: normal * between(severity, 0.3, 2.0) * draw.uniform(0.7, 1.0),
                    ..Effect::default()
                };
                plants.push(Plant::new(*store, effect, onset_ms));
            }
        }
    }
    plants
}

/// A service in trouble whose callers have always tried again too often.
fn storm(
    draw: &mut Draw,
    system: &System,
    service: usize,
    severity: f64,
    onset_ms: f64,
) -> Vec<Plant> {
    let trouble = plain(
        Family::RetryStorm,
        draw,
        system,
        service,
        severity,
        onset_ms,
    );
    let callees = system.callees();
    let mut plants: Vec<Plant> = (0..service)
        .filter(|caller| callees[*caller].contains(&service))
        .map(|caller| {
            let effect = Effect {
                retries: 4,
                ..Effect::default()
            };
            Plant::new(caller, effect, 0.0)
        })
        .collect();
    plants.push(trouble);
    plants
}

/// The slowness sits in one operation of several: a lock, a query, a pool
/// that the others do not use.
fn narrow_down(draw: &mut Draw, system: &System, service: usize, plants: &mut [Plant]) {
    let operations = &system.services[service].operations;
    for plant in plants.iter_mut().filter(|plant| plant.service == service) {
        if operations.len() < 2 {
            return;
        }
        let slowed = own_ms(system, service) * (plant.effect.slow - 1.0);
        let stalled = plant.effect.stall * plant.effect.stall_ms;
        plant.bug = Some(Bug::Slow {
            operation: draw.pick(operations),
            extra_ms: plant.effect.extra_ms + slowed + stalled,
        });
        plant.effect.extra_ms = 0.0;
        plant.effect.slow = 1.0;
        plant.effect.stall = 0.0;
        plant.effect.fail /= operations.len() as f64;
    }
}

/// Bugs are planted as a plant of their own.
pub(crate) fn bug(service: usize, bug: Bug, onset_ms: f64) -> Plant {
    let mut plant = Plant::new(service, Effect::default(), onset_ms);
    plant.bug = Some(bug);
    plant
}
