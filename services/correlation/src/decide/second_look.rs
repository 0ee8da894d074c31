//! A second look, whenever records were copied: what the services concerned
//! have complained about since may show that two incidents are one. The first
//! reading out of range often comes before the first line that names the broken
//! dependency.

use super::Core;
use super::state::{Group, Phase, State, Surroundings};
use midwatch_events::anomaly::Anomaly;
use midwatch_events::mention::names_dependency;
use midwatch_events::topology::EdgeSource;
use midwatch_runtime::{Effect, Moment};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use uuid::Uuid;

/// A complaint as the copying of records tells it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Complaint {
    service: String,
    message: String,
}

impl Core {
    /// Adds the calls that complaints tell to the group `id`, and joins it with
    /// those that are explained by that.
    pub(super) fn look_again(
        &self,
        state: &mut State,
        at: Moment,
        id: Uuid,
        result: &Result<Value, String>,
    ) -> Vec<Effect> {
        let complaints = result.as_ref().ok().map(|copied| &copied["complaints"]);
        let complaints: Vec<Complaint> = complaints
            .and_then(|list| Deserialize::deserialize(list).ok())
            .unwrap_or_default();
        let here = |phase: Phase| !matches!(phase, Phase::Resolved | Phase::Quiet);
        let Some(group) = state.groups.get(&id).filter(|group| here(group.phase)) else {
            return Vec::new();
        };
        let others = state.groups.values().filter(|other| {
            other.incident_id != id
                && other.environment == group.environment
                && here(other.phase)
                && other.is_active()
        });
        let impaired: BTreeSet<String> = others.flat_map(|other| other.services()).collect();
        let now_ms = group.last_ms;
        let mut told = Vec::new();
        for line in &complaints {
            for service in &impaired {
                if line.service != *service && names_dependency(&line.message, service) {
                    told.push((line.service.clone(), service.clone()));
                }
            }
        }
        if told.is_empty() {
            return Vec::new();
        }
        if let Some(group) = state.groups.get_mut(&id) {
            for (caller, callee) in told {
                let graph = &mut group.surroundings.topology;
                graph.add_seen(&caller, &callee, EdgeSource::Logs, now_ms);
            }
        }
        self.link(state, at, id, now_ms)
    }
}

/// Adds the calls that complaints tell: where a line of the anomaly's service
/// names a service of an open incident, or the other way round. Spans show only
/// what is sampled, and a catalogue only what somebody wrote down.
pub(super) fn add_named(state: &State, surroundings: &mut Surroundings, anomaly: &Anomaly) {
    let Surroundings {
        topology,
        recent_errors,
        ..
    } = surroundings;
    let here =
        |group: &&Group| group.environment == anomaly.environment && group.phase != Phase::Resolved;
    for group in state.groups.values().filter(here) {
        for service in group.services() {
            let mut lines = recent_errors.iter();
            if let Some(line) = lines.find(|line| names_dependency(&line.message, &service)) {
                topology.add_seen(&anomaly.service, &service, EdgeSource::Logs, line.at_ms);
            }
        }
        for line in &group.surroundings.recent_errors {
            if names_dependency(&line.message, &anomaly.service) {
                topology.add_seen(
                    &line.service,
                    &anomaly.service,
                    EdgeSource::Logs,
                    line.at_ms,
                );
            }
        }
    }
}
