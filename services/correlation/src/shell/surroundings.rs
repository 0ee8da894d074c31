//! Reading what lies around an anomaly, in milliseconds.

use super::Correlation;
use crate::decide::declare::Seen;
use crate::decide::state::Surroundings;
use crate::surroundings::{LINES_READ, READINGS, REQUEST_RATE, Recent, around};
use fred::interfaces::{SetsInterface, SortedSetsInterface};
use midwatch_events::{Anomaly, AnomalyType, Direction, OperatorCommand, Severity, Transition};
use serde_json::Value;
use uuid::Uuid;

/// Series of an environment that are known at once.
const SERIES: usize = 5_000;
/// Series whose newest reading tells the time.
const LOOKED_AT: usize = 8;

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

    /// Reads what lies around a service that a person declares an incident on.
    pub(super) async fn around_declared(&self, command: &OperatorCommand) -> Seen {
        let environment = command.environment.as_deref().unwrap_or_default();
        let now_ms = self.newest_reading(environment, &command.target).await;
        let at_ms = now_ms.unwrap_or(command.issued_at_ms);
        // What is read around an anomaly, for one that measured nothing.
        let nothing = Anomaly {
            anomaly_id: Uuid::nil(),
            environment: environment.to_owned(),
            transition: Transition::Started,
            anomaly_type: AnomalyType::Unknown,
            severity: Severity::Low,
            service: command.target.clone(),
            trigger_metric: String::new(),
            observed_value: 0.0,
            baseline_value: 0.0,
            deviation_sigma: 0.0,
            anomaly_score: 0.0,
            direction: Direction::None,
            detected_at_ms: at_ms,
            detected_wall_ms: command.issued_at_ms,
            onset_ms: at_ms,
            description: String::new(),
            evidence: Vec::new(),
        };
        Seen {
            around: self.surroundings(&nothing).await,
            now_ms,
        }
    }

    /// The time of the newest reading of a service, or where it has none, of
    /// others in its environment.
    async fn newest_reading(&self, environment: &str, service: &str) -> Option<i64> {
        let known: Result<Vec<String>, _> = self
            .redis
            .srandmember(format!("midwatch:series:{environment}"), Some(SERIES))
            .await;
        let mut known = known
            .inspect_err(|error| tracing::warn!(%error, "the series cannot be read"))
            .unwrap_or_default();
        let own = |name: &String| name.split_once('\0').is_some_and(|(of, _)| of == service);
        known.sort_by_key(|name| (!own(name), name.clone()));
        let (mine, others): (Vec<String>, Vec<String>) = known.into_iter().partition(own);
        for names in [mine, others] {
            let mut newest = None;
            for (of, metric) in names
                .iter()
                .take(LOOKED_AT)
                .filter_map(|one| one.split_once('\0'))
            {
                let key = format!("midwatch:recent:{environment}:{of}:{metric}");
                let members = self.newest(&key, 1).await;
                newest = newest.max(members.first().and_then(|member| member[0].as_i64()));
            }
            if newest.is_some() {
                return newest;
            }
        }
        None
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
