//! Requests and their failures, as far as readings were kept.

use midwatch_clients::postgres::KeptRecord;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Requests per second.
const RATE: &str = "service_request_rate";
/// Requests that fail, percent.
const SHARE: &str = "service_error_rate_percent";
/// A rate is that of a later share for so long; at most two readings are
/// missing then at the simulator's ten seconds.
const TOGETHER_MS: i64 = 30_000;
/// Most readings of one service: over eighty minutes of them.
const READINGS: usize = 500;
/// Most services.
const SERVICES: usize = 6;

/// One kept reading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    pub record_id: String,
    pub service: String,
    pub metric: String,
    pub at_ms: i64,
    pub value: f64,
}

/// The readings of one service since the onset, in order of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    pub service: String,
    /// The rate that belongs to each share; empty where there is not one for
    /// each.
    pub rates: Vec<Reading>,
    pub shares: Vec<Reading>,
}

/// Reads the records of these services between two moments, both included.
/// Requests that fail elsewhere as always are no harm of this incident.
pub(super) fn collect(
    records: &[KeptRecord],
    affected: &[String],
    window: (i64, i64),
) -> Vec<Traffic> {
    let mut services: BTreeMap<&str, [Vec<Reading>; 2]> = BTreeMap::new();
    for record in records {
        if !affected.contains(&record.service) {
            continue;
        }
        let kind = [RATE, SHARE].iter().position(|name| *name == record.name);
        let inside = record.at_ms <= window.1 && record.at_ms >= window.0 - TOGETHER_MS;
        let (Some(kind), Some(value)) = (kind, record.value) else {
            continue;
        };
        let shares_before = kind == 1 && record.at_ms < window.0;
        if record.kind == "metric" && inside && !shares_before && value.is_finite() {
            services.entry(&record.service).or_default()[kind].push(Reading {
                record_id: record.record_id.clone(),
                service: record.service.clone(),
                metric: record.name.clone(),
                at_ms: record.at_ms,
                value,
            });
        }
    }
    services
        .into_iter()
        .filter(|(_, [_, shares])| shares.len() > 1)
        .take(SERVICES)
        .map(|(service, [mut rates, mut shares])| {
            rates.sort_by_key(|reading| reading.at_ms);
            shares.sort_by_key(|reading| reading.at_ms);
            shares.truncate(READINGS);
            let paired: Option<Vec<Reading>> =
                shares.iter().map(|share| rate_of(&rates, share)).collect();
            Traffic {
                service: service.to_owned(),
                rates: paired.unwrap_or_default(),
                shares,
            }
        })
        .collect()
}

fn rate_of(rates: &[Reading], share: &Reading) -> Option<Reading> {
    let before = rates.partition_point(|rate| rate.at_ms <= share.at_ms);
    let rate = rates.get(before.checked_sub(1)?)?;
    (share.at_ms - rate.at_ms <= TOGETHER_MS).then(|| rate.clone())
}
