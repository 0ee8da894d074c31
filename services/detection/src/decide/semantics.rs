//! What a metric's name says about it: the kind of trouble, the harmful
//! direction, and how large a change must be to matter to anyone.
//!
//! A z-score alone calls every change of a quiet series an anomaly. So each
//! class adds a floor in the metric's own unit. The floors lie above the
//! noise of a healthy fleet (±8 % uniform, errors ±30 %, memory ±5 %) and
//! below the first steps of a fault that builds up over minutes, so that they
//! cost at most a few readings:
//!
//! | class | floor | why not higher |
//! |---|---|---|
//! | latency | +25 % of the mean | users notice a quarter; noise ends at 8 % |
//! | error rate | +2 percentage points | one request in fifty; a cascade counts from 5 % |
//! | CPU | +8 points | a climb of 2.2 points a reading is seen at the 4th |
//! | memory | +5 points | a leak of 1.2 points a reading is seen at the 5th; memory is smooth |
//! | connections | +20 % and at least 3 | a pool filling by 7 a reading is seen at the 1st |
//! | consumer lag | +500 messages and 3 × the mean | a batch is no backlog |
//! | age of consumer lag | ≥ 60 s, no baseline | a restart takes 10 s, a rebalance 6; from a minute on somebody waits |
//! | lag of a whole group | never alarms | its age is reported beside it and says what a number of messages cannot |
//! | request rate | ±30 % | load balancing moves traffic by a fifth |
//! | host CPU, memory, swap, disk | ≥ 90, 92, 80, 95 % | physical limits, no baseline; CPU for twelve readings |
//! | counters, other host metrics | never alarm | context for people |
//! | other | none, but 4 σ three times running | nothing is known of the unit |

use crate::config::Tuning;
use crate::decide::statistics::Judgement;
use midwatch_events::{AnomalyType, Direction, Severity};
use serde::{Deserialize, Serialize};

/// The labels that tell instances of one metric apart. Other labels describe
/// (version, region, …) and may change without making a new series.
const INSTANCE_LABELS: [&str; 10] = [
    "group",
    "mount",
    "device",
    "interface",
    "gpu",
    "pod",
    "container",
    "instance",
    "topic",
    "partition",
];

/// A class of metrics that are judged alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    Latency,
    ErrorRate,
    Cpu,
    Memory,
    Connections,
    Lag,
    /// How long the oldest message that a consumer has not read has waited.
    LagAge,
    RequestRate,
    HostCpu,
    HostMemory,
    HostSwap,
    HostDisk,
    /// Kept for people and never an alarm.
    Context,
    /// Nothing is known about it.
    Other,
}

/// How one reading stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Far from usual in a harmful direction, large or small.
    pub unusual: bool,
    /// Unusual, and large enough to matter.
    pub out_of_range: bool,
    /// So far out that one reading suffices.
    pub blatant: bool,
}

/// The series' name: the metric's, and what tells instances apart:
/// `host_disk_percent{mount=/data}`.
#[must_use]
pub fn series_name(
    metric_name: &str,
    labels: &std::collections::BTreeMap<String, String>,
) -> Option<String> {
    if labels.is_empty() {
        return None;
    }
    let parts: Vec<String> = INSTANCE_LABELS
        .iter()
        .filter_map(|label| Some(format!("{label}={}", labels.get(*label)?)))
        .collect();
    (!parts.is_empty()).then(|| format!("{metric_name}{{{}}}", parts.join(",")))
}

impl Class {
    /// The class of a series, by its name.
    #[must_use]
    pub fn of(series: &str) -> Class {
        let name = series.split('{').next().unwrap_or(series);
        match name {
            "host_cpu_percent" => return Class::HostCpu,
            "host_memory_percent" => return Class::HostMemory,
            "host_swap_percent" => return Class::HostSwap,
            "host_disk_percent" => return Class::HostDisk,
            _ => {}
        }
        let counter = ["_total", "_count", "_sum", "_bucket"]
            .iter()
            .any(|suffix| name.ends_with(suffix));
        if name.starts_with("host_") || counter {
            Class::Context
        } else if name.contains("error_rate") && name.ends_with("percent") {
            Class::ErrorRate
        } else if name.contains("latency") || name.ends_with("duration_ms") {
            Class::Latency
        } else if name.ends_with("cpu_percent") {
            Class::Cpu
        } else if name.ends_with("memory_percent") {
            Class::Memory
        } else if name.ends_with("db_connections") {
            Class::Connections
        } else if name.ends_with("consumer_lag_seconds") {
            Class::LagAge
        } else if name.ends_with("consumer_lag") && series.contains("midwatch.") {
            // Of our own groups the age of what waits is known, which says more:
            // five messages behind may be an hour or a millisecond.
            Class::Context
        } else if name.ends_with("consumer_lag") {
            Class::Lag
        } else if name.ends_with("request_rate") {
            Class::RequestRate
        } else {
            Class::Other
        }
    }

    /// Whether silence of such a series is an anomaly. Series of instances
    /// that come and go (pods, devices) end without anything being wrong.
    #[must_use]
    pub fn is_missed(self, series: &str) -> bool {
        self != Class::Context && !series.contains('{')
    }

    /// The limit in the metric's unit, for classes that are judged by one.
    #[must_use]
    pub fn limit(self) -> Option<f64> {
        match self {
            // Seconds. A consumer that is killed is replaced within ten; one
            // that merely breathes lags for a moment.
            Class::LagAge => Some(60.0),
            Class::HostCpu => Some(90.0),
            Class::HostMemory => Some(92.0),
            Class::HostSwap => Some(80.0),
            Class::HostDisk => Some(95.0),
            _ => None,
        }
    }

    /// How many readings in a row start an anomaly.
    #[must_use]
    pub fn readings_to_start(self) -> usize {
        match self {
            // A compile job may take all of a machine for a minute; twelve
            // readings are two minutes.
            Class::HostCpu => 12,
            Class::HostMemory | Class::HostSwap | Class::HostDisk | Class::Other => 3,
            _ => 2,
        }
    }

    /// The kind of trouble on that side of the baseline.
    #[must_use]
    pub fn anomaly_type(self, direction: Direction) -> AnomalyType {
        match self {
            Class::Latency => AnomalyType::LatencySpike,
            Class::ErrorRate => AnomalyType::ErrorRateSpike,
            Class::Cpu | Class::HostCpu => AnomalyType::CpuSaturation,
            // A host out of memory is told apart from a leak by its service.
            Class::Memory | Class::HostMemory | Class::HostSwap => AnomalyType::MemoryLeak,
            Class::Connections => AnomalyType::DbConnectionExhaustion,
            Class::Lag | Class::LagAge => AnomalyType::KafkaConsumerLag,
            Class::RequestRate if direction == Direction::Below => AnomalyType::TrafficDrop,
            Class::RequestRate | Class::HostDisk | Class::Context | Class::Other => {
                AnomalyType::Unknown
            }
        }
    }

    fn is_two_sided(self) -> bool {
        matches!(self, Class::RequestRate | Class::Other)
    }

    /// Whether the change from `mean` to `value` is large enough to matter.
    fn matters(self, value: f64, mean: f64) -> bool {
        let change = value - mean;
        match self {
            Class::Latency => change >= 0.25 * mean.abs(),
            Class::ErrorRate => change >= 2.0,
            Class::Cpu => change >= 8.0,
            Class::Memory => change >= 5.0,
            Class::Connections => change >= (0.2 * mean.abs()).max(3.0),
            Class::Lag => change >= 500.0 && value >= 3.0 * mean,
            Class::RequestRate => change.abs() >= 0.3 * mean.abs(),
            Class::Other => true,
            Class::LagAge
            | Class::HostCpu
            | Class::HostMemory
            | Class::HostSwap
            | Class::HostDisk
            | Class::Context => false,
        }
    }

    /// Judges a reading.
    #[must_use]
    pub fn standing(self, value: f64, judgement: &Judgement, tuning: &Tuning) -> Standing {
        if let Some(limit) = self.limit() {
            let beyond = value >= limit;
            return Standing {
                unusual: beyond,
                out_of_range: beyond,
                blatant: false,
            };
        }
        let distance = if self.is_two_sided() {
            judgement.z.abs()
        } else {
            judgement.z
        };
        // Without knowledge of the unit only a grosser deviation counts.
        let needed = if self == Class::Other {
            tuning.sigma_threshold.max(4.0)
        } else {
            tuning.sigma_threshold
        };
        let unusual = judgement.ready && self != Class::Context && distance >= needed;
        let out_of_range = unusual && self.matters(value, judgement.expected);
        Standing {
            unusual,
            out_of_range,
            blatant: out_of_range
                && self != Class::Other
                && distance >= 2.0 * tuning.sigma_threshold,
        }
    }

    /// How grave a reading is. The σ values are the reference's; a request
    /// rate, which it does not list, goes by those of latency. A metric that
    /// nobody described is never more than HIGH.
    #[must_use]
    pub fn severity(self, value: f64, z: f64) -> Severity {
        let (critical, high) = match self {
            Class::HostCpu | Class::HostSwap => return Severity::Medium,
            // People wait for what is not read: five minutes are a missed
            // alarm, half an hour is an outage of whatever reads there.
            Class::LagAge if value >= 1_800.0 => return Severity::Critical,
            Class::LagAge if value >= 300.0 => return Severity::High,
            Class::LagAge => return Severity::Medium,
            // At 98 % the next allocation or write is likely to fail.
            Class::HostMemory | Class::HostDisk if value >= 98.0 => return Severity::Critical,
            Class::HostMemory | Class::HostDisk => return Severity::High,
            Class::Latency | Class::Memory | Class::Lag | Class::RequestRate => (5.0, 3.0),
            Class::ErrorRate => (6.0, 3.5),
            Class::Cpu => (5.5, 3.0),
            Class::Connections => (4.0, 2.8),
            Class::Context | Class::Other => (f64::INFINITY, 5.0),
        };
        if z.abs() >= critical {
            Severity::Critical
        } else if z.abs() >= high {
            Severity::High
        } else {
            Severity::Medium
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::statistics::{Model, RollingBaseline};
    use std::collections::BTreeMap;

    #[test]
    fn names_tell_the_class() {
        for (name, class) in [
            ("service_latency_p99_ms", Class::Latency),
            ("service_error_rate_percent", Class::ErrorRate),
            ("service_cpu_percent", Class::Cpu),
            ("service_memory_percent", Class::Memory),
            ("service_db_connections", Class::Connections),
            ("kafka_consumer_lag", Class::Lag),
            ("kafka_consumer_lag{topic=orders}", Class::Lag),
            ("kafka_consumer_lag{group=midwatch.api}", Class::Context),
            ("kafka_consumer_lag{group=orders}", Class::Lag),
            ("kafka_consumer_lag_seconds", Class::LagAge),
            (
                "kafka_consumer_lag_seconds{group=midwatch.api}",
                Class::LagAge,
            ),
            ("service_request_rate", Class::RequestRate),
            ("host_cpu_percent", Class::HostCpu),
            ("host_disk_percent{mount=/}", Class::HostDisk),
            ("host_load1", Class::Context),
            ("failure_injections_total", Class::Context),
            ("queue_depth", Class::Other),
        ] {
            assert_eq!(Class::of(name), class, "{name}");
        }
    }

    #[test]
    fn only_instance_labels_make_a_series() {
        let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        assert_eq!(series_name("m", &labels(&[("version", "2")])), None);
        assert_eq!(
            series_name("m", &labels(&[("mount", "/"), ("version", "2")])),
            Some("m{mount=/}".to_owned())
        );
    }

    #[test]
    fn a_small_change_of_a_quiet_series_is_unusual_but_does_not_matter() {
        let tuning = Tuning::default();
        let mut model = RollingBaseline::default();
        model.relearn(&[380.0; 50], &tuning);
        let stand =
            |value: f64| Class::Latency.standing(value, &model.judge(value, &tuning), &tuning);
        let small = stand(420.0);
        assert!(small.unusual && !small.out_of_range);
        assert!(stand(500.0).out_of_range && stand(500.0).blatant);
        assert!(!stand(100.0).unusual, "faster is not harmful");
    }

    #[test]
    fn severities_follow_the_reference() {
        for (class, z, severity) in [
            (Class::Latency, 5.0, Severity::Critical),
            (Class::Latency, 3.0, Severity::High),
            (Class::Latency, 2.9, Severity::Medium),
            (Class::ErrorRate, 5.9, Severity::High),
            (Class::ErrorRate, 3.4, Severity::Medium),
            (Class::Cpu, 5.5, Severity::Critical),
            (Class::Connections, 4.0, Severity::Critical),
            (Class::Connections, 2.8, Severity::High),
            (Class::Other, 99.0, Severity::High),
        ] {
            assert_eq!(class.severity(0.0, z), severity, "{class:?} {z}");
        }
        for (seconds, severity) in [
            (60.0, Severity::Medium),
            (300.0, Severity::High),
            (1_800.0, Severity::Critical),
        ] {
            assert_eq!(
                Class::LagAge.severity(seconds, 0.0),
                severity,
                "{seconds} s"
            );
        }
    }
}
