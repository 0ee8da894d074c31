//! The resolution watch: from transitions to what the end still waits for.
//!
//! Durable state, fed by the transitions that detection publishes; what is
//! normal is detection's judgement and nobody else's.

use super::state::{Case, Normal, Recovery, Trigger, Watched, channel, has_readings};
use midwatch_events::anomaly::{Anomaly, Transition};
use midwatch_events::incident::{GroupedAnomaly, MetricReading};
use midwatch_runtime::Effect;
use serde_json::json;
use std::collections::BTreeSet;

/// Consecutive normal readings that settle a series; detection's `cleared`
/// carries them.
const SETTLING: usize = 3;

/// Series that the end waits for which are named; of more the number is told.
pub const NAMED: usize = 20;

/// Subscribes to every series of the incident that is not watched yet, and
/// leaves those that are no longer part of it.
pub fn watch_all(case: &mut Case, wall_ms: i64) -> Vec<Effect> {
    let mut effects = Vec::new();
    let environment = case.header.environment.clone();
    let mut members = BTreeSet::new();
    for anomaly in &case.anomalies {
        let name = channel(&environment, &anomaly.service, &anomaly.trigger_metric);
        members.insert(name.clone());
        if case.watch.contains_key(&name) {
            continue;
        }
        case.watch.insert(name.clone(), watched(anomaly, wall_ms));
        effects.push(Effect::Subscribe { channel: name });
    }
    // An update without members says nothing about the series.
    if members.is_empty() {
        return effects;
    }
    let left: Vec<String> = case
        .watch
        .keys()
        .filter(|name| !members.contains(*name))
        .cloned()
        .collect();
    for name in left {
        case.watch.remove(&name);
        effects.push(Effect::Unsubscribe { channel: name });
    }
    effects
}

fn watched(anomaly: &GroupedAnomaly, wall_ms: i64) -> Watched {
    Watched {
        service: anomaly.service.clone(),
        metric: anomaly.trigger_metric.clone(),
        // Words about an earlier trouble of the same series count for
        // nothing here.
        last_ms: anomaly.onset_ms,
        // It may have cleared before anybody watched it.
        normal: anomaly.cleared_at_ms.map(|at_ms| Normal {
            at_ms,
            wall_ms,
            readings: Vec::new(),
            accepted: false,
        }),
        ..Watched::default()
    }
}

/// Begins anew after a reopening: what correlation says of each member counts,
/// except where a later transition was heard.
pub fn watch_again(case: &mut Case, wall_ms: i64, updated_ms: i64) -> Vec<Effect> {
    let before = std::mem::take(&mut case.watch);
    let effects = watch_all(case, wall_ms);
    for (name, known) in before {
        if let Some(watched) = case.watch.get_mut(&name)
            && known.last_ms > updated_ms
        {
            *watched = known;
        }
    }
    effects
}

/// Where the series that the incident was opened on is no longer part of it,
/// its gravest remaining one takes its place.
pub fn keep_trigger(case: &mut Case, at_ms: i64) -> Vec<Effect> {
    let is_there = case
        .anomalies
        .iter()
        .any(|member| case.trigger.is(&member.service, &member.trigger_metric));
    // What a person declared is not over because some reading is normal.
    if is_there || case.declared.is_some() {
        return Vec::new();
    }
    let primary = case.header.primary_service();
    let heir = case.anomalies.iter().max_by(|one, other| {
        let rank = |member: &GroupedAnomaly| {
            (
                member.service == primary,
                has_readings(&member.trigger_metric),
                member.severity,
            )
        };
        rank(one)
            .cmp(&rank(other))
            .then(
                one.deviation_sigma
                    .abs()
                    .total_cmp(&other.deviation_sigma.abs()),
            )
            // Of equals the one that was first listed.
            .then(std::cmp::Ordering::Greater)
    });
    let Some(heir) = heir else {
        return Vec::new();
    };
    let summary = format!(
        "{} on {} is no longer part of the incident; its end is now read from {} on {}.",
        case.trigger.metric, case.trigger.service, heir.trigger_metric, heir.service
    );
    case.trigger = Trigger {
        service: heir.service.clone(),
        metric: heir.trigger_metric.clone(),
        observed_value: heir.observed_value,
        baseline_value: heir.baseline_value,
    };
    vec![Effect::audit(
        case.header.incident_id,
        "WATCH_MOVED",
        at_ms,
        summary,
        json!({"service": case.trigger.service, "metric": case.trigger.metric}),
    )]
}

/// Takes in a transition of a watched series. A silence is said aloud, because
/// it keeps the incident open.
pub fn transition(case: &mut Case, anomaly: &Anomaly) -> Vec<Effect> {
    let name = channel(
        &case.header.environment,
        &anomaly.service,
        &anomaly.trigger_metric,
    );
    let Some(watched) = case.watch.get_mut(&name) else {
        return Vec::new();
    };
    // Transitions of the incident's own anomalies come in the order in which
    // they were decided (one partition), whatever times they name. Words about
    // an earlier trouble of the same series count for nothing here, even where
    // detection gave it the same id: they may have waited for a reopening.
    let mut members = case.anomalies.iter();
    let ours = members.find(|member| member.anomaly_id == anomaly.anomaly_id);
    let since_ms = ours.map_or(watched.last_ms, |member| member.onset_ms);
    if anomaly.detected_at_ms < since_ms {
        return Vec::new();
    }
    watched.last_ms = watched.last_ms.max(anomaly.detected_at_ms);
    watched.silent = anomaly.transition == Transition::Missing;
    watched.normal = None;
    watched.gone = false;
    match anomaly.transition {
        Transition::Started | Transition::Worsened => {
            watched.worse_ms = Some(anomaly.detected_at_ms);
        }
        Transition::Missing => {}
        Transition::Cleared => match normal(anomaly) {
            Some(normal) => watched.normal = Some(normal),
            None => (watched.gone, watched.silent) = (true, true),
        },
    }
    if !watched.silent || case.resolved {
        return Vec::new();
    }
    let is_trigger = case.trigger.is(&anomaly.service, &anomaly.trigger_metric);
    let consequence = match (watched.gone, is_trigger) {
        (true, false) => "It is not waited for any more.",
        _ => "No data is not recovery: the incident stays open until it reads normal.",
    };
    let (metric, service) = (&anomaly.trigger_metric, &anomaly.service);
    let what = if watched.gone {
        "is no longer expected to report"
    } else {
        "stopped reporting"
    };
    vec![Effect::audit(
        case.header.incident_id,
        "DATA_MISSING",
        anomaly.detected_at_ms,
        format!("{metric} on {service} {what}. {consequence}"),
        json!({"service": service, "metric": metric, "gone": watched.gone, "trigger": is_trigger}),
    )]
}

/// How detection's `cleared` made a series normal; `None` where it only says
/// that the series is gone, which quotes a reading of long before.
fn normal(anomaly: &Anomaly) -> Option<Normal> {
    let readings: Vec<MetricReading> = anomaly
        .evidence
        .iter()
        .filter_map(|evidence| {
            Some(MetricReading {
                service: anomaly.service.clone(),
                metric_name: anomaly.trigger_metric.clone(),
                at_ms: evidence.at_ms,
                value: evidence.value?,
            })
        })
        .collect();
    let settled = readings.len() >= SETTLING || !has_readings(&anomaly.trigger_metric);
    let accepted = !settled
        && readings
            .last()
            .is_some_and(|reading| reading.at_ms >= anomaly.detected_at_ms);
    (settled || accepted).then_some(Normal {
        at_ms: anomaly.detected_at_ms,
        wall_ms: anomaly.detected_wall_ms,
        readings,
        accepted,
    })
}

/// What the end waits for, in words: empty once every metric is normal. Log
/// lines and Kubernetes events are no readings: they clear by silence, which
/// proves nothing, and so they do not hold an incident open, unless it was
/// opened on one. Of many, [`NAMED`] are named and the others counted.
#[must_use]
pub fn waiting_for(case: &Case) -> Vec<String> {
    let open = case
        .watch
        .values()
        .filter(|watched| counts(case, watched) && watched.normal.is_none());
    let mut words: Vec<String> = open
        .clone()
        .take(NAMED)
        .map(|watched| {
            let state = if watched.silent {
                "no data"
            } else {
                "not normal"
            };
            format!("{} on {} ({state})", watched.metric, watched.service)
        })
        .collect();
    let more = open.count().saturating_sub(NAMED);
    if more > 0 {
        words.push(format!("{more} more series"));
    }
    words.extend(case.beyond.waiting_for());
    words
}

/// Whether a series must be normal before the end.
fn counts(case: &Case, watched: &Watched) -> bool {
    let is_trigger = case.trigger.is(&watched.service, &watched.metric);
    is_trigger || (has_readings(&watched.metric) && !watched.gone)
}

/// Whether what the incident was opened on reads normal.
#[must_use]
pub fn is_trigger_normal(case: &Case) -> bool {
    case.watch.values().any(|watched| {
        case.trigger.is(&watched.service, &watched.metric) && watched.normal.is_some()
    })
}

/// The signals without readings that broke out or got worse after the trigger
/// had begun to be normal again.
#[must_use]
pub fn worsening(case: &Case) -> Vec<String> {
    let trigger = case
        .watch
        .values()
        .find(|watched| case.trigger.is(&watched.service, &watched.metric));
    let Some(normal) = trigger.and_then(|watched| watched.normal.as_ref()) else {
        return Vec::new();
    };
    let since = normal
        .readings
        .first()
        .map_or(normal.at_ms, |reading| reading.at_ms);
    case.watch
        .values()
        .filter(|watched| !counts(case, watched) && !watched.gone && watched.normal.is_none())
        .filter(|watched| watched.worse_ms.is_some_and(|at_ms| at_ms > since))
        .map(|watched| format!("{} on {} (still worse)", watched.metric, watched.service))
        .collect()
}

/// The recovery, where the trigger and every other metric of the incident are
/// normal. Of what a person declared, a person says when it is over.
#[must_use]
pub fn recovery(case: &Case) -> Option<Recovery> {
    if case.declared.is_some() || !case.beyond.waiting_for().is_empty() {
        return None;
    }
    let mut found: Option<Recovery> = None;
    let (mut at_ms, mut wall_ms) = (0, 0);
    for watched in case.watch.values().filter(|watched| counts(case, watched)) {
        let normal = watched.normal.as_ref()?;
        at_ms = at_ms.max(normal.at_ms);
        wall_ms = wall_ms.max(normal.wall_ms);
        if case.trigger.is(&watched.service, &watched.metric) {
            found = Some(Recovery {
                at_ms,
                wall_ms,
                readings: normal.readings.clone(),
                words: words(watched, normal),
            });
        }
    }
    found.map(|recovery| Recovery {
        at_ms,
        wall_ms,
        ..recovery
    })
}

fn words(watched: &Watched, normal: &Normal) -> String {
    let (metric, service) = (&watched.metric, &watched.service);
    if normal.accepted {
        format!(
            "{metric} on {service} did not come back, but has stayed at its new level for so long that detection takes it as the usual one."
        )
    } else if !has_readings(metric) {
        format!("Nothing further of {metric} on {service} has come.")
    } else if normal.readings.is_empty() {
        format!("{metric} on {service} had returned to normal before it was watched.")
    } else {
        format!(
            "{metric} on {service} has had {} consecutive normal readings.",
            normal.readings.len()
        )
    }
}
