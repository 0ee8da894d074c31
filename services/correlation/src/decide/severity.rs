//! How urgent an incident is: its gravest active signal, and how far the
//! trouble reaches.
//!
//! - The gravest active signal gives the severity; what has cleared no longer
//!   counts, so it may fall while the incident lasts. When nothing is active
//!   any more, and after the end, it is what people were told last: which of
//!   the signals cleared last says nothing. Of what nobody was told of yet,
//!   everything counts.
//! - One step more where at least three services are impaired and a `P0`
//!   service is among them or at least 100 requests a second pass through them.
//! - One step less, but not below MEDIUM, where one service alone is impaired
//!   that is neither `P0` nor `P1`, and no error budget burns fast.

use super::state::{Group, Phase};
use midwatch_events::anomaly::Severity;
use midwatch_events::incident::{GroupedAnomaly, LeftOut};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Impaired services from which an incident is a wide one.
const WIDE: usize = 3;
/// Requests per second from which many people notice: two thirds of what
/// reaches the gateway of the reference fleet.
const BUSY: f64 = 100.0;

/// What the last announcement said that nothing but another one may change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub severity: Severity,
    pub severity_reason: String,
    pub left_out: Vec<LeftOut>,
}

/// The severity of a group, and why.
#[must_use]
pub fn assess(group: &Group) -> (Severity, String) {
    let is_calm = !group.is_active() || group.phase == Phase::Resolved;
    if let Some(told) = group.told.as_ref().filter(|_| is_calm) {
        return (told.severity, told.severity_reason.clone());
    }
    super::declare::at_least(group, measured(group, is_calm))
}

fn measured(group: &Group, is_calm: bool) -> (Severity, String) {
    let active: Vec<&GroupedAnomaly> = group
        .anomalies
        .iter()
        .filter(|one| is_calm || one.cleared_at_ms.is_none())
        .collect();
    let Some(gravest) = active.iter().max_by_key(|one| one.severity) else {
        return (group.severity, group.severity_reason.clone());
    };
    let base = gravest.severity;
    let told = format!(
        "{} on {} is {base}",
        gravest.trigger_metric, gravest.service
    );
    let impaired: BTreeSet<&str> = active.iter().map(|one| one.service.as_str()).collect();
    let around = &group.surroundings;
    let criticality = |service: &str| around.criticality.get(service).map(String::as_str);
    let vital = impaired
        .iter()
        .find(|service| criticality(service) == Some("P0"));
    let rates = impaired
        .iter()
        .filter_map(|one| around.request_rates.get(*one));
    let rate: f64 = rates.sum();
    let burns = active
        .iter()
        .any(|one| one.trigger_metric.starts_with("slo:") && one.severity >= Severity::High);
    if impaired.len() >= WIDE && base < Severity::Critical {
        let count = impaired.len();
        if let Some(vital) = vital {
            let why = format!("{told}, and {count} services are impaired, {vital} (P0) among them");
            return (step_up(base), why);
        }
        if rate >= BUSY {
            let why = format!(
                "{told}, and {count} services are impaired, through which about {rate:.0} \
                 requests/s pass"
            );
            return (step_up(base), why);
        }
    }
    if let [only] = impaired.iter().collect::<Vec<_>>()[..]
        && let Some(minor) = criticality(only).filter(|one| *one != "P0" && *one != "P1")
        && !burns
        && base > Severity::Medium
    {
        let why = format!("{told}, but {only} ({minor}) alone is impaired");
        return (step_down(base), why);
    }
    (base, told)
}

fn step_up(severity: Severity) -> Severity {
    match severity {
        Severity::Low => Severity::Medium,
        Severity::Medium => Severity::High,
        Severity::High | Severity::Critical => Severity::Critical,
    }
}

fn step_down(severity: Severity) -> Severity {
    match severity {
        Severity::Critical => Severity::High,
        Severity::High | Severity::Medium => Severity::Medium,
        Severity::Low => Severity::Low,
    }
}
