//! A second look, just before an incident is announced: what the services
//! concerned have complained about since may show that it belongs to one that
//! is there already. The first reading out of range often comes before the
//! first line that names the broken dependency.

use super::belong::near_in_time;
use super::state::{Group, Phase, State};
use super::{Core, severity_of};
use midwatch_events::mention::names_dependency;
use midwatch_events::topology::EdgeSource;
use midwatch_runtime::{Effect, Moment};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

/// A complaint as the copying of records tells it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Complaint {
    service: String,
    message: String,
}

/// The incident that the group `id` belongs to, with the service that complains
/// and the one that it names.
fn host(
    core: &Core,
    state: &State,
    id: Uuid,
    result: &Result<Value, String>,
) -> Option<(Uuid, String, String)> {
    let complaints = &result.as_ref().ok()?["complaints"];
    let complaints: Vec<Complaint> = Deserialize::deserialize(complaints).ok()?;
    let group = state.groups.get(&id)?;
    let onset_ms = group.anomalies.iter().map(|one| one.onset_ms).min()?;
    let older = state.groups.values().filter(|other| {
        let is_older = (other.detected_at_ms, other.incident_id) < (group.detected_at_ms, id);
        let is_known = matches!(other.phase, Phase::Copying | Phase::Open) && other.is_active();
        is_older && is_known && near_in_time(&core.config, other, &group.environment, onset_ms)
    });
    older
        .flat_map(|other| {
            let named = other.services().into_iter();
            named.map(move |service| (other, service))
        })
        .filter_map(|(other, named)| {
            let line = complaints
                .iter()
                .find(|line| line.service != named && names_dependency(&line.message, &named))?;
            Some((
                other.detected_at_ms,
                other.incident_id,
                line.service.clone(),
                named,
            ))
        })
        // The youngest of them: its trouble is the freshest.
        .max_by_key(|(detected_at_ms, id, ..)| (*detected_at_ms, *id))
        .map(|(_, id, from, named)| (id, from, named))
}

impl Core {
    /// Puts the group `id`, which nobody was told of yet, into the incident
    /// that its services' complaints name. `None` where there is none.
    pub(super) fn join_by_complaint(
        &self,
        state: &mut State,
        at: Moment,
        id: Uuid,
        result: &Result<Value, String>,
    ) -> Option<Vec<Effect>> {
        let (host_id, caller, callee) = host(self, state, id, result)?;
        let group = state.groups.remove(&id)?;
        let host = state
            .groups
            .get_mut(&host_id)
            .expect("the host was found in this state");
        let topology = &mut host.surroundings.topology;
        topology.merge(&group.surroundings.topology);
        topology.add_call(&caller, &callee, EdgeSource::Logs);
        let reason = format!(
            "{caller} calls {callee} (as its log lines say), and both are out of range at the \
             same time"
        );
        Some(self.take_in(host, at, group, &reason))
    }

    fn take_in(&self, host: &mut Group, at: Moment, group: Group, reason: &str) -> Vec<Effect> {
        host.last_ms = host.last_ms.max(group.last_ms);
        host.severity = severity_of(host);
        let surroundings = group.surroundings;
        host.surroundings
            .add_changes(surroundings.deployments, surroundings.kubernetes);
        host.surroundings
            .request_rates
            .extend(surroundings.request_rates);
        host.unlisted += group.unlisted;
        let mut effects = Vec::new();
        for mut member in group.anomalies {
            let payload = json!({
                "anomaly_id": member.anomaly_id, "service": member.service,
                "trigger_metric": member.trigger_metric, "severity": member.severity,
                "anomaly_type": member.anomaly_type, "onset_ms": member.onset_ms,
                "observed_value": member.observed_value,
                "baseline_value": member.baseline_value,
                "deviation_sigma": member.deviation_sigma, "reason": reason,
                "first_kept_apart_as": group.incident_id,
            });
            effects.push(Effect::audit(
                host.incident_id,
                "ANOMALY_DETECTED",
                member.detected_at_ms,
                member.description.clone(),
                payload,
            ));
            let words = format!("{} on {} joined", member.trigger_metric, member.service);
            reason.clone_into(&mut member.reason);
            if host.anomalies.len() >= self.config.max_anomalies {
                host.unlisted += 1;
                continue;
            }
            host.anomalies.push(member);
            effects.extend(self.changed(host, at, words));
        }
        effects
    }
}
