//! The log lines of the fleet: quiet ones, and those of a fault at the struck
//! service and at its callers. A line quotes the readings of its moment.

use crate::cases::{Case, Kind};
use crate::fleet::{Call, MAX_CONNECTIONS, METRICS, Metric, Service, Strain};
use crate::scenario::{Fault, Scenario};
use crate::stories::story;
use midwatch_events::raw::LogLevel;
use rand::RngExt;
use rand::rngs::StdRng;

/// What a service experiences at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    pub service: Service,
    pub at_ms: i64,
    /// The strongest fault that struck the service itself.
    pub fault: Option<&'a Fault>,
    /// The callee whose trouble weighs most here, and that trouble.
    pub callee: Option<(Call, Strain)>,
    /// What is special about the service.
    pub case: Option<&'a Case>,
    /// What is usual for each metric at this moment, in the order of
    /// [`Metric::ALL`].
    pub usual: [f64; METRICS],
    /// All strain on the service, its own and what it feels of its callees.
    pub strain: Strain,
    /// The version that runs.
    pub version: &'a str,
}

/// A line before it has a time and a trace.
pub type Line = (LogLevel, String);

impl Scene<'_> {
    /// The metric's value at this moment, without jitter.
    fn value(&self, metric: Metric) -> f64 {
        let value = self.usual[metric as usize] + self.strain.of(metric);
        metric.limit().map_or(value, |limit| value.min(limit))
    }

    fn route(&self, rng: &mut StdRng) -> &'static str {
        let routes = story(self.service).routes;
        routes[rng.random_range(0..routes.len())]
    }
}

/// A request id as the gateway hands them out.
fn request_id(rng: &mut StdRng) -> String {
    format!("req-{:08x}", rng.random_range(0..=u32::MAX))
}

/// The next line of a service.
#[must_use]
pub fn line(scene: &Scene, rng: &mut StdRng) -> Line {
    let roll: f64 = rng.random_range(0.0..1.0);
    if let Some(line) = scene
        .case
        .and_then(|case| case_line(scene, case, roll, rng))
    {
        return line;
    }
    if let Some(fault) = scene.fault {
        let intensity = fault.intensity_at(scene.at_ms);
        if roll < (3.0 * intensity).min(0.85) {
            return fault_line(scene, fault, intensity, rng);
        }
    } else if let Some((call, trouble)) = &scene.callee {
        let felt = call.felt(trouble);
        let weight =
            0.3 * felt.latency_ms / scene.service.profile().p99_ms + 0.05 * felt.error_percent;
        if roll < weight.min(0.6) {
            return caller_line(call, trouble, &felt, rng);
        }
    }
    quiet_line(scene, rng)
}

/// What a service says because of its case, if that makes it speak.
fn case_line(scene: &Scene, case: &Case, roll: f64, rng: &mut StdRng) -> Option<Line> {
    if case.is_cut_off(scene.at_ms) {
        return Some(health_line(scene));
    }
    let memory = scene.value(Metric::Memory);
    let part = (memory - 85.0) / 15.0;
    // Collections find little to free only when the heap is nearly full.
    (case.kind == Kind::SlowLeak && roll < part).then(|| memory_line(scene, part, rng))
}

fn health_line(scene: &Scene) -> Line {
    let text = format!(
        "health check passed, version {}, {} connections open",
        scene.version,
        scene.value(Metric::Connections).round()
    );
    (LogLevel::Info, text)
}

fn quiet_line(scene: &Scene, rng: &mut StdRng) -> Line {
    let skew: f64 = rng.random_range(0.0..1.0);
    let took = scene.value(Metric::Latency) * (0.05 + 0.5 * skew * skew);
    let text = match (rng.random_range(0..8_u8), scene.service.profile().consumes) {
        (0, Some(topic)) => format!(
            "committed offsets of {topic}: {} records handled in {:.0} ms",
            rng.random_range(20..60_u8),
            took
        ),
        (1, _) => return health_line(scene),
        _ => format!(
            "{} 200 in {took:.0} ms request_id={}",
            scene.route(rng),
            request_id(rng)
        ),
    };
    (LogLevel::Info, text)
}

fn caller_line(call: &Call, trouble: &Strain, felt: &Strain, rng: &mut StdRng) -> Line {
    let callee = call.callee.name();
    let operation = call.operation;
    let request = request_id(rng);
    let serious = rng.random_range(0..2_u8) == 0;
    if trouble.latency_ms > 0.5 * call.timeout_ms && serious {
        return (
            LogLevel::Error,
            format!(
                "timeout calling {callee}: {operation} gave no answer within {:.0} ms (attempt {} of 3) request_id={request}",
                call.timeout_ms,
                rng.random_range(1..=3_u8)
            ),
        );
    }
    if felt.error_percent > 1.0 && (serious || trouble.latency_ms < 100.0) {
        return (
            LogLevel::Error,
            format!("{callee} answered 503 to {operation}, no fallback request_id={request}"),
        );
    }
    let usual = call.callee.profile().p99_ms;
    let part: f64 = rng.random_range(0.5..1.0);
    let took = (usual + trouble.latency_ms * part).min(call.timeout_ms);
    (
        LogLevel::Warn,
        format!(
            "slow call to {callee}: {operation} took {took:.0} ms, p99 is usually {usual:.0} ms request_id={request}"
        ),
    )
}

fn fault_line(scene: &Scene, fault: &Fault, intensity: f64, rng: &mut StdRng) -> Line {
    match fault.scenario {
        Scenario::LatencySpike => latency_line(scene, rng),
        Scenario::ErrorRateSpike => (
            LogLevel::Error,
            format!(
                "{} failed with 500: {} request_id={}",
                scene.route(rng),
                story(scene.service).exception,
                request_id(rng)
            ),
        ),
        Scenario::CpuSaturation => cpu_line(scene, rng),
        Scenario::MemoryLeak => memory_line(scene, intensity, rng),
        Scenario::DbConnectionExhaustion => connections_line(scene, rng),
        Scenario::KafkaConsumerLag => lag_line(scene, rng),
        Scenario::DeploymentFailure => release_line(scene, fault, rng),
    }
}

fn latency_line(scene: &Scene, rng: &mut StdRng) -> Line {
    let dependency = story(scene.service).slow_dependency;
    let part: f64 = rng.random_range(0.6..1.0);
    let took = scene.value(Metric::Latency) * part;
    let route = scene.route(rng);
    let request = request_id(rng);
    if took > 3_000.0 {
        (
            LogLevel::Error,
            format!(
                "{route} exceeded its 3000 ms budget: {took:.0} ms, spent waiting for {dependency} request_id={request}"
            ),
        )
    } else {
        (
            LogLevel::Warn,
            format!(
                "slow answer from {dependency}: {took:.0} ms during {route} request_id={request}"
            ),
        )
    }
}

fn cpu_line(scene: &Scene, rng: &mut StdRng) -> Line {
    let cpu = scene.value(Metric::Cpu);
    let hot_path = story(scene.service).hot_path;
    let route = scene.route(rng);
    match rng.random_range(0..3_u8) {
        0 if cpu > 85.0 => (
            LogLevel::Error,
            format!(
                "shedding load at {cpu:.0}% CPU: 503 on {route} request_id={}",
                request_id(rng)
            ),
        ),
        1 => (
            LogLevel::Warn,
            format!(
                "CPU throttling: {} of 600 periods throttled in the last minute at {cpu:.0}% of the limit",
                (6.0 * (cpu - 30.0)).max(0.0).round()
            ),
        ),
        _ => (
            LogLevel::Warn,
            format!(
                "{route} used {:.0} ms of CPU time: {hot_path} ({cpu:.0}% CPU)",
                cpu * 4.0 + f64::from(rng.random_range(0..90_u8))
            ),
        ),
    }
}

fn memory_line(scene: &Scene, intensity: f64, rng: &mut StdRng) -> Line {
    const LIMIT_MIB: f64 = 2_048.0;
    let memory = scene.value(Metric::Memory);
    let used = LIMIT_MIB * memory / 100.0;
    let entries = (1.0 + 40.0 * intensity) * 4_600.0 + f64::from(rng.random_range(0..900_u16));
    let leak = story(scene.service).leak;
    if memory > 90.0 && rng.random_range(0..2_u8) == 0 {
        return (
            LogLevel::Error,
            format!(
                "allocation pressure: garbage collection freed 1% in {} ms, {used:.0} of {LIMIT_MIB:.0} MiB in use request_id={}",
                rng.random_range(700..1400_u16),
                request_id(rng)
            ),
        );
    }
    (
        LogLevel::Warn,
        format!(
            "heap grows: {used:.0} of {LIMIT_MIB:.0} MiB after full collection ({memory:.0}%), {entries:.0} {leak}"
        ),
    )
}

/// What a process of this service says when the kernel takes its memory away.
#[must_use]
pub fn last_words(service: Service) -> Line {
    let text = if story(service).jvm {
        "java.lang.OutOfMemoryError: Java heap space; the process ends".to_owned()
    } else {
        format!(
            "FATAL ERROR: out of memory: heap limit reached, allocation failed; holding {}",
            story(service).leak
        )
    };
    (LogLevel::Fatal, text)
}

fn connections_line(scene: &Scene, rng: &mut StdRng) -> Line {
    let jvm = story(scene.service).jvm;
    let active = scene.value(Metric::Connections).round();
    let full = active >= MAX_CONNECTIONS - 2.0;
    let (active, idle) = if full {
        (MAX_CONNECTIONS, 0.0)
    } else {
        (active, 2.0)
    };
    let waiting = if full {
        rng.random_range(30..65_u8)
    } else {
        rng.random_range(0..6_u8)
    };
    let figures = format!(
        "total={:.0}, active={active:.0}, idle={idle:.0}, waiting={waiting}",
        active + idle
    );
    let held = rng.random_range(61_000..180_000_u32);
    match (full, rng.random_range(0..3_u8)) {
        (true, 0) => (
            LogLevel::Error,
            format!(
                "connection pool exhausted, {} answered 503 ({figures}) request_id={}",
                scene.route(rng),
                request_id(rng)
            ),
        ),
        (true, _) if jvm => (
            LogLevel::Error,
            format!(
                "HikariPool-1 - Connection is not available, request timed out after 30000ms ({figures})"
            ),
        ),
        (true, _) => (
            LogLevel::Error,
            format!("database pool exhausted: no connection within 30000 ms ({figures})"),
        ),
        (false, 0) => (
            LogLevel::Warn,
            format!(
                "apparent connection leak: a connection has been held for {held} ms by ReconciliationJob.run without commit"
            ),
        ),
        (false, _) => (
            LogLevel::Warn,
            format!("database pool is filling: {figures}, maximum {MAX_CONNECTIONS:.0}"),
        ),
    }
}

fn lag_line(scene: &Scene, rng: &mut StdRng) -> Line {
    let group = scene.service.name();
    let topic = scene.service.profile().consumes.unwrap_or("events");
    let lag = scene.value(Metric::ConsumerLag);
    let member = rng.random_range(0..3_u8);
    match rng.random_range(0..4_u8) {
        0 => (
            LogLevel::Warn,
            format!(
                "consumer group {group} is rebalancing: member {group}-{member} left after max.poll.interval.ms=300000, {topic}-{member} revoked"
            ),
        ),
        1 => (
            LogLevel::Error,
            format!(
                "CommitFailedException: offsets of {topic}-{member} were not committed, the group {group} has already rebalanced"
            ),
        ),
        _ => (
            LogLevel::Warn,
            format!(
                "consumer lag on {topic} is {lag:.0} records (group {group}), oldest unhandled record is {:.0} s old",
                lag / 180.0
            ),
        ),
    }
}

fn release_line(scene: &Scene, fault: &Fault, rng: &mut StdRng) -> Line {
    let story = story(scene.service);
    let version = fault
        .release
        .as_ref()
        .map_or(scene.version, |release| &release.version);
    let request = request_id(rng);
    let route = scene.route(rng);
    let fading = scene.at_ms > fault.start_ms + fault.duration_ms * 3 / 4;
    match rng.random_range(0..4_u8) {
        0 if fading => (
            LogLevel::Info,
            format!(
                "{version}: the old behaviour was switched back on by its feature flag, errors subside"
            ),
        ),
        0 | 1 => (
            LogLevel::Warn,
            format!(
                "{version}: {route} took {:.0} ms: {} request_id={request}",
                scene.value(Metric::Latency),
                story.release_slowness
            ),
        ),
        _ => (
            LogLevel::Error,
            format!(
                "{version}: {route} failed with 500: {} request_id={request}",
                story.release_error
            ),
        ),
    }
}
