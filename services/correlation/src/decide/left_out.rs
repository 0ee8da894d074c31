//! What was near an incident in time and is not part of it.

use super::belong::{Signal, graph_of, why_not};
use super::signals::{Suspicion, suspicion};
use super::state::{Group, State};
use crate::config::Config;
use midwatch_events::ids;
use midwatch_events::incident::{GroupedAnomaly, LeftOut};
use midwatch_events::raw::{RawDeployment, RawKubernetes};
use midwatch_events::topology::Topology;
use std::collections::BTreeSet;
use uuid::Uuid;

/// So many are told, those nearest in time.
const LIMIT: usize = 20;
/// Characters of a description.
const TEXT_LIMIT: usize = 200;

/// What was near the incident `id` and left out, nearest in time first.
#[must_use]
pub fn near(config: &Config, state: &State, id: Uuid) -> Vec<LeftOut> {
    let Some(group) = state.groups.get(&id) else {
        return Vec::new();
    };
    let graph = graph_of(config, &[&group.surroundings.topology], group.last_ms);
    let mut left: Vec<LeftOut> = Vec::new();
    for other in state.groups.values().filter(|other| {
        other.incident_id != id && other.environment == group.environment && other.is_active()
    }) {
        let both = graph_of(
            config,
            &[&graph, &other.surroundings.topology],
            group.last_ms,
        );
        left.extend(of_group(config, &both, group, other));
    }
    let tickets = state.tickets.values();
    left.extend(tickets.map(|ticket| of_anomaly(ticket, ticket.reason.clone())));
    left.extend(state.held.values().map(|held| {
        let member = super::state::grouped(&held.anomaly, String::new());
        let why = format!("{} is under maintenance", held.anomaly.service);
        of_anomaly(&member, why)
    }));
    left.extend(deployments(config, group));
    left.extend(kubernetes(&graph, group));
    let onset_ms = group.onset_ms();
    let far = |one: &LeftOut| (one.at_ms - onset_ms).abs();
    left.retain(|one| far(one) <= config.deployment_window_ms);
    left.sort_by(|one, other| {
        (far(one), &one.kind, &one.id).cmp(&(far(other), &other.kind, &other.id))
    });
    left.truncate(LIMIT);
    left
}

/// The active anomalies of another incident that are within its window.
fn of_group(config: &Config, graph: &Topology, group: &Group, other: &Group) -> Vec<LeftOut> {
    let incident = ids::short_incident(other.incident_id);
    let parted = group.apart.contains(&other.incident_id);
    let near = |one: &&GroupedAnomaly| {
        one.cleared_at_ms.is_none() && (one.onset_ms - group.onset_ms()).abs() <= config.window_ms
    };
    let members = other.anomalies.iter().filter(near);
    members
        .map(|member| {
            let signal = Signal::member(other, member);
            let why = if parted {
                Some("a person took the two apart".to_owned())
            } else {
                why_not(config, graph, group, &signal)
            };
            let why = why.unwrap_or_else(|| "it is nearer to that one".to_owned());
            LeftOut {
                incident: incident.clone(),
                ..of_anomaly(member, format!("it belongs to {incident}: {why}"))
            }
        })
        .collect()
}

fn of_anomaly(member: &GroupedAnomaly, reason: String) -> LeftOut {
    let kind = match member.trigger_metric.split_once(':') {
        Some(("log", _)) => "log",
        Some(("kubernetes", _)) => "kubernetes",
        _ => "anomaly",
    };
    LeftOut {
        kind: kind.to_owned(),
        id: member.anomaly_id.to_string(),
        service: member.service.clone(),
        at_ms: member.onset_ms,
        description: cut(&member.description),
        reason,
        incident: String::new(),
    }
}

fn deployments(config: &Config, group: &Group) -> Vec<LeftOut> {
    let judged = group.surroundings.deployments.iter().map(|deployment| {
        let reason = match suspicion(config, group, deployment) {
            Suspicion::Suspect { .. } => return None,
            Suspicion::Refuted(reason) => reason,
            Suspicion::Elsewhere => {
                format!("{} shows nothing out of range", deployment.service)
            }
        };
        Some(LeftOut {
            kind: "deployment".to_owned(),
            id: deployment_id(group.incident_id, deployment),
            service: deployment.service.clone(),
            at_ms: deployment.timestamp_ms,
            description: cut(&match deployment.description.as_str() {
                "" => deployment.told(),
                said => format!("{}: {said}", deployment.told()),
            }),
            reason,
            incident: String::new(),
        })
    });
    judged.flatten().collect()
}

/// The record's id, as the copying of records derives it.
fn deployment_id(incident: Uuid, deployment: &RawDeployment) -> String {
    let at = deployment.timestamp_ms.to_string();
    let parts = [deployment.service.as_str(), &deployment.version, &at];
    ids::record(incident, "deployment", &parts)
}

fn kubernetes(graph: &Topology, group: &Group) -> Vec<LeftOut> {
    let services = group.services();
    let inside: BTreeSet<&str> = services.iter().map(|one| graph.service_of(one)).collect();
    let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
    let outside = group.surroundings.kubernetes.iter().rev().filter(|event| {
        let service = graph.service_of(event.service());
        !inside.contains(service) && seen.insert((service, event.reason.as_str()))
    });
    outside.map(|event| of_event(graph, group, event)).collect()
}

fn of_event(graph: &Topology, group: &Group, event: &RawKubernetes) -> LeftOut {
    let at = event.timestamp_ms.to_string();
    let parts = [event.namespace.as_str(), &event.name, &event.reason, &at];
    let service = graph.service_of(event.service()).to_owned();
    LeftOut {
        kind: "kubernetes".to_owned(),
        id: ids::record(group.incident_id, "kubernetes", &parts),
        at_ms: event.timestamp_ms,
        description: cut(&format!(
            "{} {}: {}",
            event.name, event.reason, event.message
        )),
        reason: format!("{service} shows nothing out of range"),
        incident: String::new(),
        service,
    }
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_LIMIT).collect()
}
