//! What the classes of metrics mean: one row each, with its reasons.

use super::Class;
use midwatch_events::{AnomalyType, Severity};

/// Which side of what is usual does harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    Up,
    Down,
    Both,
    /// Neither: kept for people.
    None,
}

impl Harm {
    /// All, as they are called in files.
    pub const NAMES: [(&'static str, Harm); 4] = [
        ("up", Harm::Up),
        ("down", Harm::Down),
        ("both", Harm::Both),
        ("none", Harm::None),
    ];
}

/// The least change that matters to anyone. It must reach both parts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Floor {
    /// In the metric's unit.
    pub absolute: f64,
    /// In parts of what is usual: 0.25 is a quarter of it.
    pub relative: f64,
}

/// What severity goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Grades {
    /// CRITICAL and HIGH from so many σ, else MEDIUM.
    Sigma(f64, f64),
    /// CRITICAL and HIGH from such values, in the class's unit, else MEDIUM.
    Value(f64, f64),
    Always(Severity),
}

/// What a growing metric of the class runs into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing that could be forecast.
    No,
    /// 100 % of something that cannot be more.
    Full,
    /// A number of its own, which the catalogue or a file must give, or 100 %
    /// where the name says that it is a share.
    Pool,
    /// Growth has no end and is itself the harm.
    Endless,
}

/// The meaning of a class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traits {
    pub class: Class,
    /// As it is called in files.
    pub name: &'static str,
    /// The unit that floor and limit are given in.
    pub unit: &'static str,
    pub harm: Harm,
    pub floor: Floor,
    /// The floor in parts of what is usual where the name tells no unit that
    /// the floor could be counted in.
    pub loose: f64,
    /// Where a harmless release moves it for good: so many readings in a row
    /// show that the level itself is out of range, where one that noise adds to
    /// may only look so; 0 elsewhere.
    pub lasting: usize,
    /// From here on it is wrong, whatever is usual.
    pub limit: Option<f64>,
    /// Readings in a row that start an anomaly.
    pub readings: usize,
    pub grades: Grades,
    /// The kind of trouble above what is usual, and below.
    pub above: AnomalyType,
    pub below: AnomalyType,
    pub end: End,
    pub why: &'static str,
}

/// A metric that nobody described is never more than HIGH.
const UNDESCRIBED: Grades = Grades::Sigma(f64::INFINITY, 5.0);

const BASE: Traits = Traits {
    class: Class::Other,
    name: "other",
    unit: "its own",
    harm: Harm::Up,
    floor: Floor {
        absolute: 0.0,
        relative: 0.0,
    },
    loose: 0.0,
    lasting: 0,
    limit: None,
    readings: 2,
    grades: UNDESCRIBED,
    above: AnomalyType::Unknown,
    below: AnomalyType::Unknown,
    end: End::No,
    why: "",
};

const fn floor(absolute: f64, relative: f64) -> Floor {
    Floor { absolute, relative }
}

/// In the order of [`Class`]. σ for severity are the reference's where it has
/// them; the other numbers are reasoned about in the last column.
pub(super) const TRAITS: [Traits; 27] = [
    Traits {
        class: Class::Latency,
        name: "latency",
        unit: "any time",
        floor: floor(0.0, 0.25),
        lasting: 4,
        grades: Grades::Sigma(5.0, 3.0),
        above: AnomalyType::LatencySpike,
        why: "users notice a quarter; the noise of a healthy service ends at 8 %; faster is no harm",
        ..BASE
    },
    Traits {
        class: Class::ErrorRate,
        name: "error_rate",
        unit: "%",
        floor: floor(2.0, 0.0),
        loose: 1.0,
        grades: Grades::Sigma(6.0, 3.5),
        above: AnomalyType::ErrorRateSpike,
        why: "one request in fifty; a cascade counts from 5 %",
        ..BASE
    },
    Traits {
        class: Class::Cpu,
        name: "cpu",
        unit: "%",
        floor: floor(8.0, 0.0),
        loose: 0.4,
        lasting: 4,
        grades: Grades::Sigma(5.5, 3.0),
        above: AnomalyType::CpuSaturation,
        why: "a climb of 2.2 points a reading is seen at the 4th; 8 points of a usual 20 are two fifths; no forecast, for load has no trend to extend",
        ..BASE
    },
    Traits {
        class: Class::Memory,
        name: "memory",
        unit: "%",
        floor: floor(5.0, 0.14),
        loose: 0.14,
        lasting: 2,
        grades: Grades::Sigma(5.0, 3.0),
        above: AnomalyType::MemoryLeak,
        end: End::Full,
        why: "memory is smooth: a leak of 1.2 points a reading is seen at the 8th; a new release that takes a tenth more is no leak, and growth is the forecast's",
        ..BASE
    },
    Traits {
        class: Class::Connections,
        name: "connections",
        unit: "connections",
        floor: floor(3.0, 0.2),
        grades: Grades::Sigma(4.0, 2.8),
        above: AnomalyType::DbConnectionExhaustion,
        end: End::Pool,
        why: "a pool filling by 7 a reading is seen at the 1st; one or two more of a small pool are chance",
        ..BASE
    },
    Traits {
        class: Class::Lag,
        name: "lag",
        unit: "messages",
        floor: floor(500.0, 2.0),
        grades: Grades::Sigma(5.0, 3.0),
        above: AnomalyType::KafkaConsumerLag,
        end: End::Endless,
        why: "three times the usual and 500 more: a batch is no backlog",
        ..BASE
    },
    Traits {
        class: Class::LagAge,
        name: "lag_age",
        unit: "s",
        limit: Some(60.0),
        grades: Grades::Value(1_800.0, 300.0),
        above: AnomalyType::KafkaConsumerLag,
        why: "a restart takes 10 s, a rebalance 6; from a minute on somebody waits; five are a missed alarm, half an hour is an outage of whatever reads there",
        ..BASE
    },
    Traits {
        class: Class::RequestRate,
        name: "request_rate",
        unit: "any rate",
        harm: Harm::Both,
        floor: floor(0.0, 0.3),
        grades: Grades::Sigma(5.0, 3.0),
        below: AnomalyType::TrafficDrop,
        why: "load balancing moves traffic by a fifth; σ as for latency",
        ..BASE
    },
    Traits {
        class: Class::HostCpu,
        name: "host_cpu",
        unit: "%",
        loose: 0.4,
        limit: Some(90.0),
        readings: 12,
        grades: Grades::Always(Severity::Medium),
        above: AnomalyType::CpuSaturation,
        why: "a compile job may take all of a machine for a minute; twelve readings are two",
        ..BASE
    },
    Traits {
        class: Class::HostMemory,
        name: "host_memory",
        unit: "%",
        loose: 0.1,
        limit: Some(92.0),
        readings: 3,
        grades: Grades::Value(98.0, f64::NEG_INFINITY),
        above: AnomalyType::MemoryLeak,
        end: End::Full,
        why: "what a host does with its memory is its own business until it runs short; at 98 % the next allocation is likely to fail",
        ..BASE
    },
    Traits {
        class: Class::HostSwap,
        name: "host_swap",
        unit: "%",
        loose: 0.1,
        limit: Some(80.0),
        readings: 3,
        grades: Grades::Always(Severity::Medium),
        above: AnomalyType::MemoryLeak,
        end: End::Full,
        why: "unused pages rest in swap on healthy hosts, hence late and never grave",
        ..BASE
    },
    Traits {
        class: Class::HostDisk,
        name: "disk",
        unit: "%",
        loose: 0.2,
        limit: Some(95.0),
        readings: 3,
        grades: Grades::Value(98.0, f64::NEG_INFINITY),
        end: End::Full,
        why: "file systems keep about 5 % for themselves; at 98 % the next write is likely to fail",
        ..BASE
    },
    Traits {
        class: Class::Context,
        name: "context",
        harm: Harm::None,
        why: "counters, settings, free memory that is cache, other host metrics: for people, never an alarm",
        ..BASE
    },
    Traits {
        class: Class::Other,
        name: "other",
        harm: Harm::Both,
        readings: 3,
        why: "nothing is known of the unit, so only gross and lasting deviations count: 4 σ",
        ..BASE
    },
    Traits {
        class: Class::ErrorCount,
        name: "error_count",
        unit: "any count",
        floor: floor(1.0, 1.0),
        readings: 3,
        above: AnomalyType::ErrorRateSpike,
        why: "twice the usual and at least one more: without the number of requests a count may only follow the load",
        ..BASE
    },
    Traits {
        class: Class::SuccessRate,
        name: "success_rate",
        unit: "%",
        harm: Harm::Down,
        floor: floor(2.0, 0.0),
        loose: 0.02,
        grades: Grades::Sigma(6.0, 3.5),
        below: AnomalyType::ErrorRateSpike,
        why: "the error rate seen from the other side",
        ..BASE
    },
    Traits {
        class: Class::HitRatio,
        name: "hit_ratio",
        unit: "%",
        harm: Harm::Down,
        floor: floor(10.0, 0.0),
        loose: 0.1,
        readings: 3,
        why: "a cold cache after a restart is warm again in minutes; ten points of misses are load on whatever lies behind",
        ..BASE
    },
    Traits {
        class: Class::Free,
        name: "free",
        unit: "%",
        harm: Harm::Down,
        floor: floor(5.0, 0.25),
        loose: 0.25,
        readings: 3,
        why: "what is left of memory, slots or handles: a quarter less, and five points where it is a share",
        ..BASE
    },
    Traits {
        class: Class::DiskFree,
        name: "disk_free",
        unit: "%",
        harm: Harm::Down,
        loose: 0.25,
        limit: Some(5.0),
        readings: 3,
        grades: Grades::Value(2.0, f64::INFINITY),
        why: "disk, seen from the other side",
        ..BASE
    },
    Traits {
        class: Class::Queue,
        name: "queue",
        unit: "any count",
        floor: floor(10.0, 2.0),
        loose: 1.0,
        readings: 3,
        end: End::Endless,
        why: "three times the usual and ten more: queues exist to grow for a moment",
        ..BASE
    },
    Traits {
        class: Class::Delay,
        name: "delay",
        unit: "s",
        floor: floor(60.0, 1.0),
        loose: 1.0,
        readings: 3,
        why: "how late a replica or a queue is: some batches are hours late every night, so twice the usual and a minute more",
        ..BASE
    },
    Traits {
        class: Class::Throughput,
        name: "throughput",
        unit: "any rate",
        harm: Harm::Down,
        floor: floor(0.0, 0.5),
        readings: 3,
        below: AnomalyType::TrafficDrop,
        why: "bytes that no longer flow; more of them are a backup or load, which other metrics tell",
        ..BASE
    },
    Traits {
        class: Class::Replicas,
        name: "replicas",
        unit: "replicas",
        harm: Harm::Down,
        floor: floor(1.0, 0.0),
        readings: 3,
        below: AnomalyType::KubernetesFailure,
        why: "one is missing and was not replaced within three readings",
        ..BASE
    },
    Traits {
        class: Class::Unavailable,
        name: "unavailable",
        unit: "replicas",
        floor: floor(1.0, 0.0),
        readings: 3,
        above: AnomalyType::KubernetesFailure,
        why: "replicas, seen from the other side",
        ..BASE
    },
    Traits {
        class: Class::Restarts,
        name: "restarts",
        unit: "restarts",
        floor: floor(3.0, 0.0),
        above: AnomalyType::KubernetesFailure,
        why: "one restart mended something; three are a loop",
        ..BASE
    },
    Traits {
        class: Class::Temperature,
        name: "temperature",
        unit: "°C",
        loose: 0.25,
        limit: Some(90.0),
        readings: 3,
        grades: Grades::Value(105.0, 95.0),
        why: "work heats, which is healthy; around 90 °C processors and accelerators begin to slow themselves down, above 100 they switch off",
        ..BASE
    },
    Traits {
        class: Class::Health,
        name: "health",
        unit: "0 or 1",
        harm: Harm::Down,
        limit: Some(0.0),
        readings: 3,
        grades: Grades::Always(Severity::High),
        below: AnomalyType::DependencyOutage,
        why: "0 says that it is down; three probes in a row are no lost packet",
        ..BASE
    },
];

impl Class {
    /// What the class means.
    #[must_use]
    pub fn traits(self) -> &'static Traits {
        &TRAITS[self as usize]
    }

    /// The class that a file calls so.
    #[must_use]
    pub fn named(name: &str) -> Option<Class> {
        let found = TRAITS.iter().find(|traits| traits.name == name);
        found.map(|traits| traits.class)
    }
}
