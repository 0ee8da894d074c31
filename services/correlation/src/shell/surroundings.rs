//! Reading what lies around an anomaly, in milliseconds.

use super::Correlation;
use crate::decide::state::Surroundings;
use crate::surroundings::{LINES_READ, READINGS, REQUEST_RATE, Recent, around};
use fred::interfaces::SortedSetsInterface;
use midwatch_events::Anomaly;
use serde_json::Value;

impl Correlation {
    /// Reads everything around an anomaly. Redis being away costs the recent
    /// readings, not the incident: it is counted and logged.
    pub(super) async fn surroundings(&self, anomaly: &Anomaly) -> Surroundings {
        let (environment, service) = (&anomaly.environment, &anomaly.service);
        let metric = &anomaly.trigger_metric;
        let readings = format!("midwatch:recent:{environment}:{service}:{metric}");
        let lines = format!("midwatch:logs:{environment}:{service}");
        let rates = format!("midwatch:recent:{environment}:{service}:{REQUEST_RATE}");
        let recent = Recent {
            readings: self.newest(&readings, READINGS).await,
            lines: self.newest(&lines, LINES_READ).await,
            rates: self.newest(&rates, READINGS).await,
        };
        around(
            &self.core.config,
            &self.catalogue,
            &self.table,
            anomaly,
            &recent,
        )
    }

    /// The newest `count` members of a sorted set, oldest first.
    pub(super) async fn newest(&self, key: &str, count: usize) -> Vec<Value> {
        let last = i64::try_from(count).unwrap_or(i64::MAX) - 1;
        let read: Result<Vec<String>, _> = self.redis.zrevrange(key, 0, last, false).await;
        match read {
            Ok(members) => members
                .iter()
                .rev()
                .filter_map(|member| serde_json::from_str(member).ok())
                .collect(),
            Err(error) => {
                metrics::counter!("midwatch_correlation_redis_failures_total").increment(1);
                tracing::warn!(%error, key, "recent readings cannot be read");
                Vec::new()
            }
        }
    }
}
