//! Which kinds of trouble a series may be said to show where its class names
//! none. Others trust the kind of an anomaly as what detection measured, so a
//! proposal counts only where class, unit and name of the metric say the same.

use super::names::{Words, Written};
use super::{Class, Meaning};
use midwatch_events::{AnomalyType, Direction};

impl Meaning {
    /// Whether this kind fits the series on that side of what is usual. What
    /// has no readings (`log:new_template`) fits none: its words are anybody's.
    #[must_use]
    pub fn allows(&self, series: &str, direction: Direction, kind: AnomalyType) -> bool {
        if series.contains(':') {
            return false;
        }
        let words = Words::of(series);
        match (self.class(), direction, kind) {
            // A backlog, and how long its oldest part has waited.
            (Class::Queue | Class::Delay, Direction::Above, AnomalyType::KafkaConsumerLag) => {
                words.is_backlog() && !words.is_replication()
            }
            // Of what is left, the name says what runs out.
            (Class::Free, Direction::Below, AnomalyType::MemoryLeak) => words.is_memory(),
            (Class::Free, Direction::Below, AnomalyType::DbConnectionExhaustion) => words.is_pool(),
            (Class::Free, Direction::Below, AnomalyType::CpuSaturation) => words.is_processor(),
            // Something takes longer.
            (Class::Other, Direction::Above, AnomalyType::LatencySpike) => {
                matches!(words.written(), Written::Seconds | Written::Millis)
            }
            _ => false,
        }
    }

    /// Whether there is any kind that fits.
    #[must_use]
    pub fn allows_any(&self, series: &str, direction: Direction) -> bool {
        let mut kinds = AnomalyType::ALL.into_iter();
        kinds.any(|kind| self.allows(series, direction, kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::semantics::overrides::Semantics;

    #[test]
    fn a_kind_fits_what_the_metric_measures_and_nothing_else() {
        let (above, below) = (Direction::Above, Direction::Below);
        let fitting = |series: &str, direction: Direction| -> Vec<AnomalyType> {
            let meaning = Meaning::of("s", series, &Semantics::default());
            let kinds = AnomalyType::ALL.into_iter();
            kinds
                .filter(|kind| meaning.allows(series, direction, *kind))
                .collect()
        };
        let table: [(&str, Direction, &[AnomalyType]); 21] = [
            ("queue_depth", above, &[AnomalyType::KafkaConsumerLag]),
            ("queue_depth", below, &[]),
            (
                "mail_queue_age_seconds",
                above,
                &[AnomalyType::KafkaConsumerLag],
            ),
            ("replication_lag_seconds", above, &[]),
            ("http_requests_in_flight", above, &[]),
            ("kube_pods_pending", above, &[]),
            ("thread_pool_queue_size", above, &[]),
            ("connections_pending", above, &[]),
            ("nodejs_eventloop_lag_seconds", above, &[]),
            ("ntp_delay_seconds", above, &[]),
            ("jvm_heap_free_bytes", below, &[AnomalyType::MemoryLeak]),
            (
                "db_pool_available",
                below,
                &[AnomalyType::DbConnectionExhaustion],
            ),
            ("cpu_idle_percent", below, &[AnomalyType::CpuSaturation]),
            ("gc_pause_ms", above, &[AnomalyType::LatencySpike]),
            ("carts", above, &[]),
            ("carts", below, &[]),
            ("service_request_rate", above, &[]),
            ("disk_used_percent", above, &[]),
            ("cache_hit_ratio", below, &[]),
            ("log:template_burst", above, &[]),
            ("log:queue_depth_ms", above, &[]),
        ];
        for (series, direction, expected) in table {
            assert_eq!(
                fitting(series, direction),
                expected,
                "{series} {direction:?}"
            );
        }
    }
}
