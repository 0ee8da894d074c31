//! Naming, opening and updating an incident.

use super::copies::copy_records;
use super::naming::settle_name;
use super::severity::{self, Told};
use super::signals::{blast_radius, signals, suspect_deployment};
use super::state::{Began, Group, Phase};
use crate::config::Config;
use midwatch_events::incident::{
    BlastRadius, GroupedAnomaly, IncidentChange, IncidentHeader, IncidentOpened, IncidentUpdated,
    LeftOut,
};
use midwatch_events::more;
use midwatch_events::{Event, IncidentState, ids};
use midwatch_runtime::{Effect, Moment, Projection};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The graph as readers take it: `edges`, what correlation believes now, as
/// [caller, callee, [sources]], and beside it all that is known: `ages` with when
/// each source last showed a call, of which some are `contradicted` or `expired`.
fn graph(config: &Config, group: &Group) -> Value {
    let (topology, current) = (&group.surroundings.topology, group.graph(config));
    let edges: Vec<Value> = current
        .edges()
        .map(|(caller, callee, sources)| {
            json!([caller, callee, sources.keys().collect::<Vec<_>>()])
        })
        .collect();
    let expired: Vec<Value> = topology
        .edges()
        .filter(|(caller, callee, sources)| {
            current.sources(caller, callee).is_none()
                && sources.keys().any(|source| source.is_observed())
        })
        .map(|(caller, callee, _)| json!([caller, callee]))
        .collect();
    let ages: Vec<Value> = topology
        .edges()
        .map(|(caller, callee, sources)| json!([caller, callee, sources]))
        .collect();
    json!({
        "edges": edges,
        "ages": ages,
        "expired": expired,
        "contradicted": topology.contradicted().collect::<Vec<_>>(),
        "owners": topology.owners().collect::<Vec<_>>(),
        "nodes": topology.nodes().collect::<BTreeMap<_, _>>(),
    })
}

fn context(config: &Config, group: &Group, left_out: &[LeftOut]) -> Value {
    let listed = more::divided(&group.anomalies).0;
    let onsets: BTreeMap<Uuid, &Began> = listed
        .iter()
        .filter_map(|one| Some((one.anomaly_id, group.began.get(&one.anomaly_id)?)))
        .collect();
    json!({
        "trigger": {
            "service": group.trigger.service, "metric": group.trigger.metric,
            "observed_value": group.trigger.observed_value,
            "baseline_value": group.trigger.baseline_value,
            "deviation_sigma": group.trigger.deviation_sigma,
            "anomaly_score": group.trigger.anomaly_score,
        },
        "signals": signals(config, group),
        "grouped_anomalies": listed,
        "more_anomalies": group.more(),
        "unlisted_anomalies": group.unlisted,
        "onsets": onsets,
        "left_out": left_out,
        "records_left_out": group.records_left_out,
        "severity_reason": group.severity_reason,
        "acknowledged_by": group.acknowledged_by,
        "snoozed_until_ms": group.snoozed_until_ms,
        "declared": group.declared,
        "reopened": group.reopened,
        "deployment": suspect_deployment(config, group).map(|(deployment, _)| deployment),
        "recent_metrics": group.surroundings.recent_metrics,
        "recent_errors": group.surroundings.recent_errors,
        "description": description(group),
        "impact": group.impact,
        "revision": group.revision,
        "topology": graph(config, group),
    })
}

/// The line of the audit trail about one member.
pub(super) fn detected(group: &Group, member: &GroupedAnomaly, wall_ms: i64) -> Effect {
    let began = group.began.get(&member.anomaly_id);
    let payload = json!({
        "anomaly_id": member.anomaly_id, "service": member.service,
        "trigger_metric": member.trigger_metric, "severity": member.severity,
        "anomaly_type": member.anomaly_type, "onset_ms": member.onset_ms,
        "observed_value": member.observed_value, "baseline_value": member.baseline_value,
        "deviation_sigma": member.deviation_sigma, "reason": member.reason,
        "detected_wall_ms": wall_ms,
        "crossed_ms": began.map_or(member.onset_ms, |began| began.crossed_ms),
    });
    Effect::audit(
        group.incident_id,
        "ANOMALY_DETECTED",
        member.detected_at_ms,
        member.description.clone(),
        payload,
    )
}

/// The lines that waited for the announcement, in order of detection.
fn detections(group: &mut Group) -> Vec<Effect> {
    let unwritten = std::mem::take(&mut group.unwritten);
    let lines = group.anomalies.iter().filter_map(|member| {
        let wall_ms = unwritten.get(&member.anomaly_id)?;
        Some(detected(group, member, *wall_ms))
    });
    lines.collect()
}

fn description(group: &Group) -> String {
    if let Some(declared) = &group.declared {
        return super::declare::description(declared, &group.primary);
    }
    let first = group
        .anomalies
        .iter()
        .find(|anomaly| {
            anomaly.service == group.trigger.service
                && anomaly.trigger_metric == group.trigger.metric
        })
        .map(|anomaly| anomaly.description.clone());
    first.unwrap_or_else(|| {
        format!(
            "{} left its range on {}",
            group.trigger.metric, group.primary
        )
    })
}

/// Remembers what an announcement is about to say.
fn note_told(group: &mut Group, left_out: &[LeftOut]) {
    group.told = Some(Told {
        severity: group.severity,
        severity_reason: group.severity_reason.clone(),
        left_out: left_out.to_vec(),
    });
}

/// The incident's row as it is, without a word to anybody; what lies around it
/// stays what was told last.
pub(super) fn row(config: &Config, group: &Group) -> Effect {
    let told = group.told.as_ref();
    let left_out = told.map_or(&[][..], |told| &told.left_out);
    Effect::Project(Projection::Correlate {
        header: group.header(),
        blast_radius: json!(blast_radius(config, group)),
        correlation_context: context(config, group, left_out),
    })
}

/// Announces the incident.
pub(super) fn open(
    config: &Config,
    group: &mut Group,
    at: Moment,
    left_out: Vec<LeftOut>,
) -> Vec<Effect> {
    group.phase = Phase::Open;
    group.pending.clear();
    group.pending_more = 0;
    group.pending_severity = false;
    settle_name(config, group);
    (group.severity, group.severity_reason) = severity::assess(group);
    note_told(group, &left_out);
    let mut effects = detections(group);
    effects.extend(group.tell_beyond(at));
    let header = group.header();
    let radius = blast_radius(config, group);
    let context = context(config, group, &left_out);
    let opened = IncidentOpened {
        left_out,
        header: header.clone(),
        opened_at_ms: group.last_ms,
        trigger_metric: group.trigger.metric.clone(),
        observed_value: group.trigger.observed_value,
        baseline_value: group.trigger.baseline_value,
        deviation_sigma: group.trigger.deviation_sigma,
        anomaly_score: group.trigger.anomaly_score,
        blast_radius: radius.clone(),
        correlation_signals: signals(config, group),
        deployment_context: suspect_deployment(config, group)
            .map(|(deployment, _)| deployment.clone()),
        recent_metrics: group.surroundings.recent_metrics.clone(),
        recent_errors: group.surroundings.recent_errors.clone(),
        grouped_anomalies: more::divided(&group.anomalies).0.to_vec(),
        more_anomalies: group.more().map(Box::new),
        description: description(group),
        declared: group.declared.clone(),
    };
    let summary = format!(
        "{} {}: {} ({} on {})",
        header.severity,
        header.short_id,
        header.title(),
        counted(group.size(), "anomaly", "anomalies"),
        counted(header.affected_services.len(), "service", "services")
    );
    effects.extend([
        Effect::Project(Projection::Open {
            header,
            blast_radius: json!(radius),
            correlation_context: context,
        }),
        Effect::audit(
            group.incident_id,
            "INCIDENT_OPENED",
            opened.opened_at_ms,
            summary,
            json!({"wall_ms": at.wall_ms, "anomalies": group.size(),
                   "detected_wall_ms": group.detected_wall_ms,
                   "severity_reason": group.severity_reason}),
        ),
        Effect::Publish(Event::Opened(Box::new(opened))),
    ]);
    effects
}

/// Begins to announce what was noted about an open incident, where anybody is
/// to hear of it.
pub(super) fn tell(config: &Config, group: &mut Group) -> Vec<Effect> {
    if has_news(group) {
        vec![copy_records(config, group)]
    } else {
        calm_down(config, group)
    }
}

/// Whether what was noted is to be told. That all is normal again is said by
/// the incident's end alone: whether it comes before or after correlation's
/// wait is chance.
pub(super) fn has_news(group: &Group) -> bool {
    !group.pending.is_empty() && (group.is_active() || group.pending_change.is_some())
}

/// A number with its noun.
pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Forgets what was noted and shows what became of it in the row.
pub(super) fn calm_down(config: &Config, group: &mut Group) -> Vec<Effect> {
    if group.pending.is_empty() {
        return Vec::new();
    }
    group.pending.clear();
    group.pending_more = 0;
    group.pending_severity = false;
    vec![row(config, group)]
}

/// Announces what was noted about an open incident since the last time.
pub(super) fn update(
    config: &Config,
    group: &mut Group,
    at: Moment,
    left_out: Vec<LeftOut>,
) -> Vec<Effect> {
    let mut reason = std::mem::take(&mut group.pending).join("; ");
    let more = std::mem::take(&mut group.pending_more);
    if more > 0 {
        reason.push_str(&format!("; and {more} more changes"));
    }
    let by_severity = std::mem::take(&mut group.pending_severity);
    let change = match group.pending_change.take() {
        Some(change) if change != IncidentChange::Grown => change,
        _ if by_severity => IncidentChange::Severity,
        _ => IncidentChange::Grown,
    };
    say(config, group, at, (change, reason), left_out)
}

/// Announces one change.
pub(super) fn say(
    config: &Config,
    group: &mut Group,
    at: Moment,
    (change, reason): (IncidentChange, String),
    left_out: Vec<LeftOut>,
) -> Vec<Effect> {
    group.revision += 1;
    note_told(group, &left_out);
    let header = group.header();
    let radius = blast_radius(config, group);
    let context = context(config, group, &left_out);
    let related: Vec<Uuid> = std::mem::take(&mut group.related).into_iter().collect();
    let mut effects = detections(group);
    effects.extend(group.tell_beyond(at));
    let updated = IncidentUpdated {
        left_out,
        header: header.clone(),
        change,
        reason: reason.clone(),
        revision: group.revision,
        updated_at_ms: group.last_ms,
        blast_radius: radius.clone(),
        correlation_signals: signals(config, group),
        deployment_context: suspect_deployment(config, group)
            .map(|(deployment, _)| deployment.clone()),
        grouped_anomalies: more::divided(&group.anomalies).0.to_vec(),
        more_anomalies: group.more().map(Box::new),
        related: related.clone(),
        snoozed_until_ms: group.snoozed_until_ms,
    };
    effects.extend([
        Effect::Project(Projection::Correlate {
            header,
            blast_radius: json!(radius),
            correlation_context: context,
        }),
        Effect::audit(
            group.incident_id,
            "INCIDENT_UPDATED",
            updated.updated_at_ms,
            reason,
            json!({"change": change, "revision": group.revision, "wall_ms": at.wall_ms,
                   "severity": group.severity, "severity_reason": group.severity_reason,
                   "related": related}),
        ),
        Effect::Publish(Event::Updated(Box::new(updated))),
    ]);
    effects
}

/// The snooze is over, by its time or for `why`: a line of the trail. Whoever
/// escalates goes on.
pub(super) fn wake(group: &mut Group, at: Moment, why: &str) -> Effect {
    group.snoozed_until_ms = None;
    let who = match &group.acknowledged_by {
        Some(by) => format!("{by} has acknowledged it"),
        None => "nobody has acknowledged it".to_owned(),
    };
    Effect::audit(
        group.incident_id,
        "INCIDENT_SNOOZE_ENDED",
        group.last_ms,
        format!("The snooze is over{why}; {who}."),
        json!({"wall_ms": at.wall_ms, "acknowledged_by": group.acknowledged_by}),
    )
}

/// Notes a change that is announced as soon as the records are copied.
pub(super) fn announce_soon(
    config: &Config,
    group: &mut Group,
    at: Moment,
    (change, words, other): (IncidentChange, String, Uuid),
) -> Vec<Effect> {
    group.related.insert(other);
    group.pending_change = Some(change);
    group.pending.insert(0, words);
    let mut effects = Vec::new();
    if group.snoozed_until_ms.is_some() {
        let why = match change {
            IncidentChange::Split => ": a part was split off",
            _ => ": another incident was merged into it",
        };
        effects.push(wake(group, at, why));
    }
    // Whoever is being copied already announces it after that.
    if group.phase != Phase::Open {
        return effects;
    }
    let name = format!("grow:{}", group.incident_id);
    group.is_awaited = false;
    effects.extend([Effect::CancelTimer { name }, copy_records(config, group)]);
    effects
}

/// An incident that goes into another one: its last word has no anomalies, and
/// the investigation ends it as MERGED.
pub(super) fn absorbed(group: &mut Group, at: Moment, host: Uuid, reason: &str) -> Vec<Effect> {
    group.revision += 1;
    let id = group.incident_id;
    let into = ids::short_incident(host);
    let words = format!("merged into {into}: {reason}");
    let header = IncidentHeader {
        affected_services: vec![group.primary.clone()],
        ..group.header()
    };
    let updated = IncidentUpdated {
        left_out: Vec::new(),
        header,
        change: IncidentChange::Merged,
        reason: words.clone(),
        revision: group.revision,
        updated_at_ms: group.last_ms,
        blast_radius: BlastRadius::default(),
        correlation_signals: Vec::new(),
        deployment_context: None,
        grouped_anomalies: Vec::new(),
        more_anomalies: None,
        related: vec![host],
        snoozed_until_ms: None,
    };
    vec![
        Effect::audit(
            id,
            "INCIDENT_MERGED",
            group.last_ms,
            words,
            json!({"into": host, "reason": reason, "wall_ms": at.wall_ms}),
        ),
        Effect::Publish(Event::Updated(Box::new(updated))),
    ]
}

/// Announces that an incident that was over goes on.
pub(super) fn reopen(
    config: &Config,
    group: &mut Group,
    at: Moment,
    left_out: Vec<LeftOut>,
) -> Vec<Effect> {
    group.phase = Phase::Open;
    group.pending.clear();
    group.pending_more = 0;
    group.pending_severity = false;
    group.pending_change = None;
    group.is_awaited = false;
    (group.severity, group.severity_reason) = severity::assess(group);
    let reason = std::mem::take(&mut group.reopening);
    let incident_id = group.incident_id;
    let to = IncidentState::Investigating;
    let mut effects = vec![
        Effect::Project(Projection::Move { incident_id, to }),
        Effect::audit(
            incident_id,
            "INCIDENT_REOPENED",
            group.last_ms,
            reason.clone(),
            json!({"wall_ms": at.wall_ms, "times": group.reopened, "flap_score": group.flapping}),
        ),
    ];
    let news = (IncidentChange::Reopened, reason);
    effects.extend(say(config, group, at, news, left_out));
    effects
}
