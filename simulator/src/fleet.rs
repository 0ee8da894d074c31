//! The simulated fleet: six services, what is normal for them, and who really
//! calls whom.
//!
//! The call graph is the simulator's own. It differs from the written
//! catalogue as graphs do in life: three real edges are missing there, and one
//! that stands there (order-service → inventory-service) is no longer used.

/// One service of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    ApiGateway,
    Payment,
    Order,
    User,
    Inventory,
    Notification,
}

/// The number of services.
pub const SERVICES: usize = 6;
/// The size of every service's database connection pool.
pub const MAX_CONNECTIONS: f64 = 100.0;
/// Requests that fail on a quiet day, in percent of all.
pub const NORMAL_ERROR_PERCENT: f64 = 0.5;

/// What is normal for a service.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    pub name: &'static str,
    /// Requests per second.
    pub rps: f64,
    /// 99th percentile of the response time, milliseconds.
    pub p99_ms: f64,
    pub cpu_percent: f64,
    pub memory_percent: f64,
    pub connections: f64,
    /// Records; 0 for a service that consumes no topic.
    pub consumer_lag: f64,
    /// The topic that the service consumes, where it consumes one.
    pub consumes: Option<&'static str>,
    /// Minor version at start; patches count from 0.
    pub minor_version: u32,
}

const fn profile(
    name: &'static str,
    load: [f64; 6],
    consumes: Option<&'static str>,
    minor_version: u32,
) -> Profile {
    let [
        rps,
        p99_ms,
        cpu_percent,
        memory_percent,
        connections,
        consumer_lag,
    ] = load;
    Profile {
        name,
        rps,
        p99_ms,
        cpu_percent,
        memory_percent,
        connections,
        consumer_lag,
        consumes,
        minor_version,
    }
}

const PROFILES: [Profile; SERVICES] = [
    profile(
        "api-gateway",
        [150.0, 120.0, 30.0, 45.0, 20.0, 0.0],
        None,
        31,
    ),
    profile(
        "payment-service",
        [80.0, 380.0, 22.0, 45.0, 30.0, 0.0],
        None,
        8,
    ),
    profile(
        "order-service",
        [60.0, 280.0, 20.0, 45.0, 15.0, 100.0],
        Some("order-events"),
        19,
    ),
    profile(
        "user-service",
        [200.0, 150.0, 18.0, 45.0, 20.0, 0.0],
        None,
        14,
    ),
    profile(
        "inventory-service",
        [30.0, 220.0, 15.0, 45.0, 10.0, 0.0],
        None,
        5,
    ),
    profile(
        "notification-service",
        [40.0, 500.0, 25.0, 55.0, 20.0, 200.0],
        Some("notifications-outgoing"),
        11,
    ),
];

impl Service {
    /// All services, in the order in which they report.
    pub const ALL: [Service; SERVICES] = [
        Service::ApiGateway,
        Service::Payment,
        Service::Order,
        Service::User,
        Service::Inventory,
        Service::Notification,
    ];

    /// What is normal for the service.
    #[must_use]
    pub fn profile(self) -> &'static Profile {
        &PROFILES[self as usize]
    }

    /// The name under which the service reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.profile().name
    }

    /// The service of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Service> {
        Service::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// One edge of the real call graph.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub caller: Service,
    pub callee: Service,
    /// How much of the callee's trouble the caller feels: the share of its
    /// requests that wait for the callee, 0..1.
    pub share: f64,
    /// Ticks until the callee's trouble shows at the caller.
    pub delay_ticks: usize,
    /// The caller gives up after this long, milliseconds.
    pub timeout_ms: f64,
    /// What the caller asks for.
    pub operation: &'static str,
}

const fn call(
    caller: Service,
    callee: Service,
    share: f64,
    delay_ticks: usize,
    timeout_ms: f64,
    operation: &'static str,
) -> Call {
    Call {
        caller,
        callee,
        share,
        delay_ticks,
        timeout_ms,
        operation,
    }
}

/// Who really calls whom in the documented fleet. The graph has no cycle. The longest delay along any
/// path is three ticks, so that trouble that ended at its origin has left the
/// whole fleet 30 simulated seconds later.
#[rustfmt::skip]
pub const CALLS: &[Call] = &[
    call(Service::ApiGateway, Service::Payment, 0.35, 1, 5_000.0, "POST /v1/charges"),
    call(Service::ApiGateway, Service::Order, 0.40, 1, 6_000.0, "POST /v1/orders"),
    call(Service::ApiGateway, Service::User, 0.90, 1, 3_000.0, "GET /v1/session"),
    call(Service::ApiGateway, Service::Inventory, 0.20, 1, 3_000.0, "GET /v1/stock"),
    call(Service::Order, Service::Payment, 0.60, 1, 4_000.0, "POST /v1/charges"),
    call(Service::Order, Service::Notification, 0.30, 2, 2_000.0, "POST /v1/messages"),
    call(Service::User, Service::Notification, 0.15, 2, 2_000.0, "POST /v1/messages"),
];

/// The longest delay of one edge, in ticks.
pub const MAX_DELAY_TICKS: usize = 2;

/// A metric that every service reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    RequestRate,
    ErrorRate,
    Latency,
    Cpu,
    Memory,
    Connections,
    ConsumerLag,
}

/// The number of metrics of one service.
pub const METRICS: usize = 7;

impl Metric {
    pub const ALL: [Metric; METRICS] = [
        Metric::RequestRate,
        Metric::ErrorRate,
        Metric::Latency,
        Metric::Cpu,
        Metric::Memory,
        Metric::Connections,
        Metric::ConsumerLag,
    ];

    /// The name under which the metric is reported; it ends with its unit.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Metric::RequestRate => "service_request_rate",
            Metric::ErrorRate => "service_error_rate_percent",
            Metric::Latency => "service_latency_p99_ms",
            Metric::Cpu => "service_cpu_percent",
            Metric::Memory => "service_memory_percent",
            Metric::Connections => "service_db_connections",
            Metric::ConsumerLag => "kafka_consumer_lag",
        }
    }

    /// The largest deviation of a quiet reading, as a part of the normal value.
    #[must_use]
    pub fn jitter(self) -> f64 {
        match self {
            Metric::ErrorRate => 0.30,
            Metric::Memory => 0.05,
            Metric::ConsumerLag => 0.50,
            _ => 0.08,
        }
    }

    /// The largest value that the metric can have, where there is one.
    #[must_use]
    pub fn limit(self) -> Option<f64> {
        match self {
            Metric::ErrorRate | Metric::Cpu | Metric::Memory => Some(100.0),
            Metric::Connections => Some(MAX_CONNECTIONS),
            Metric::RequestRate | Metric::Latency | Metric::ConsumerLag => None,
        }
    }

    /// The value on a quiet day.
    #[must_use]
    pub fn normal(self, service: Service) -> f64 {
        let profile = service.profile();
        match self {
            Metric::RequestRate => profile.rps,
            Metric::ErrorRate => NORMAL_ERROR_PERCENT,
            Metric::Latency => profile.p99_ms,
            Metric::Cpu => profile.cpu_percent,
            Metric::Memory => profile.memory_percent,
            Metric::Connections => profile.connections,
            Metric::ConsumerLag => profile.consumer_lag,
        }
    }

    /// By what the normal value is to be multiplied while the load is `load`
    /// times the usual. Requests follow it wholly; a process that does nothing
    /// still takes some CPU and holds some connections; response times grow a
    /// little; memory and the share of failures do not care.
    #[must_use]
    pub fn under_load(self, load: f64) -> f64 {
        let share = match self {
            Metric::RequestRate | Metric::ConsumerLag => 1.0,
            Metric::Cpu => 0.65,
            Metric::Connections => 0.6,
            Metric::Latency => 0.2,
            Metric::ErrorRate | Metric::Memory => 0.0,
        };
        1.0 + share * (load - 1.0)
    }

    /// Rounds to what a real exporter would report.
    #[must_use]
    pub fn round(self, value: f64) -> f64 {
        let parts = match self {
            Metric::ConsumerLag => 1.0,
            Metric::ErrorRate => 1000.0,
            _ => 100.0,
        };
        (value * parts).round() / parts
    }
}

/// By how much each metric of a service stands above normal.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Strain {
    pub latency_ms: f64,
    pub error_percent: f64,
    pub cpu_percent: f64,
    pub memory_percent: f64,
    pub connections: f64,
    pub consumer_lag: f64,
}

impl Strain {
    /// The strain on one metric.
    #[must_use]
    pub fn of(&self, metric: Metric) -> f64 {
        match metric {
            Metric::RequestRate => 0.0,
            Metric::ErrorRate => self.error_percent,
            Metric::Latency => self.latency_ms,
            Metric::Cpu => self.cpu_percent,
            Metric::Memory => self.memory_percent,
            Metric::Connections => self.connections,
            Metric::ConsumerLag => self.consumer_lag,
        }
    }

    /// The strain of a fault of this size.
    #[must_use]
    pub fn times(self, size: f64) -> Strain {
        Strain {
            latency_ms: self.latency_ms * size,
            error_percent: self.error_percent * size,
            cpu_percent: self.cpu_percent * size,
            memory_percent: self.memory_percent * size,
            connections: self.connections * size,
            consumer_lag: self.consumer_lag * size,
        }
    }

    /// Both strains together.
    #[must_use]
    pub fn plus(self, other: Strain) -> Strain {
        Strain {
            latency_ms: self.latency_ms + other.latency_ms,
            error_percent: self.error_percent + other.error_percent,
            cpu_percent: self.cpu_percent + other.cpu_percent,
            memory_percent: self.memory_percent + other.memory_percent,
            connections: self.connections + other.connections,
            consumer_lag: self.consumer_lag + other.consumer_lag,
        }
    }

    /// The larger strain on each metric.
    #[must_use]
    pub fn larger(self, other: Strain) -> Strain {
        Strain {
            latency_ms: self.latency_ms.max(other.latency_ms),
            error_percent: self.error_percent.max(other.error_percent),
            cpu_percent: self.cpu_percent.max(other.cpu_percent),
            memory_percent: self.memory_percent.max(other.memory_percent),
            connections: self.connections.max(other.connections),
            consumer_lag: self.consumer_lag.max(other.consumer_lag),
        }
    }

    /// Whether every metric is normal.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Strain::default()
    }
}

impl Call {
    /// What the caller feels of the callee's strain. Latency travels up to the
    /// caller's time limit and decays, as only part of a request waits; errors
    /// pass where the caller neither retries nor falls back, half the time;
    /// answers that come after the time limit become errors.
    #[must_use]
    pub fn felt(&self, callee: &Strain) -> Strain {
        const DECAY: f64 = 0.8;
        const PASSED_ON: f64 = 0.5;
        const MOST_TIMEOUTS_PERCENT: f64 = 8.0;
        let late = (callee.latency_ms / self.timeout_ms - 0.5).clamp(0.0, 1.0);
        Strain {
            latency_ms: (self.share * DECAY * callee.latency_ms).min(self.timeout_ms),
            error_percent: self.share
                * (PASSED_ON * callee.error_percent + MOST_TIMEOUTS_PERCENT * late),
            ..Strain::default()
        }
    }
}
