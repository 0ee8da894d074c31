//! The decisions of correlation, pure.

mod announce;
pub mod belong;
mod second_look;
pub mod signals;
pub mod state;

use crate::config::Config;
use belong::belonging;
use midwatch_events::anomaly::{Anomaly, AnomalyType, Severity, Transition};
use midwatch_events::incident::GroupedAnomaly;
use midwatch_events::{Event, ids};
use midwatch_runtime::{Effect, Input, Moment};
use serde_json::{Value, json};
use state::{Group, Phase, State, Surroundings, Trigger, grouped};
use uuid::Uuid;

/// How long an incident that is over is kept, wall clock: detection's last
/// words reach correlation within a second or two, unless it is far behind.
const AFTER_MS: i64 = 10_000;
/// Closed anomalies remembered per environment: some hundred incidents' worth.
const CLOSED_LIMIT: usize = 2_000;

/// The core of correlation.
#[derive(Clone, Debug, Default)]
pub struct Core {
    pub config: Config,
    /// Whether a model is configured that may word the impact.
    pub model: bool,
}

impl Core {
    /// Decides on one input of one environment.
    pub fn decide(&self, state: &mut State, at: Moment, input: Input) -> Vec<Effect> {
        match input {
            Input::Event { envelope, context } => match envelope.event {
                Event::Anomaly(anomaly) => {
                    let surroundings = serde_json::from_value(context).unwrap_or_default();
                    self.on_anomaly(state, at, &anomaly, surroundings)
                }
                Event::Resolved(resolved) => {
                    self.on_resolved(state, at, resolved.header.incident_id)
                }
                _ => Vec::new(),
            },
            Input::Timer { name, payload } => self.on_timer(state, at, &name, &payload),
            Input::JobDone { job, result } => {
                self.on_job(state, at, (&job.kind, &job.payload), result)
            }
            Input::Expired { .. } => Vec::new(),
        }
    }

    fn on_anomaly(
        &self,
        state: &mut State,
        at: Moment,
        anomaly: &Anomaly,
        mut surroundings: Surroundings,
    ) -> Vec<Effect> {
        let known = state.groups.values_mut().find(|group| {
            group
                .anomalies
                .iter()
                .any(|member| member.anomaly_id == anomaly.anomaly_id)
        });
        let broke_out_again = match known {
            // Over, and out of range again: a new fault, whatever its id.
            Some(group) if group.phase == Phase::Resolved => {
                let again = anomaly.transition == Transition::Started
                    && group.take_if_cleared(anomaly.anomaly_id);
                if !again {
                    return self.on_known(group, at, anomaly);
                }
                true
            }
            Some(group) => return self.on_known(group, at, anomaly),
            None => false,
        };
        let closed = state
            .closed
            .iter()
            .position(|(member, _)| *member == anomaly.anomaly_id);
        match (closed, anomaly.transition) {
            // An anomaly that cleared before anybody heard of it.
            (_, Transition::Cleared) => return Vec::new(),
            // Detection gives a series that breaks out again soon the id that
            // it had. The incident is over, so this is a new fault.
            (Some(place), Transition::Started) => {
                state.closed.remove(place);
            }
            _ if broke_out_again => {}
            // A late word about something that is over.
            (Some(_), _) => return Vec::new(),
            (None, _) => {}
        }
        belong::add_named(state, &mut surroundings, anomaly);
        let found = belonging(&self.config, state, &surroundings.topology, anomaly);
        let audit = |incident_id: Uuid, reason: &str| {
            let payload = json!({
                "anomaly_id": anomaly.anomaly_id, "service": anomaly.service,
                "trigger_metric": anomaly.trigger_metric, "severity": anomaly.severity,
                "anomaly_type": anomaly.anomaly_type, "onset_ms": anomaly.onset_ms,
                "observed_value": anomaly.observed_value, "baseline_value": anomaly.baseline_value,
                "deviation_sigma": anomaly.deviation_sigma, "reason": reason,
                "detected_wall_ms": anomaly.detected_wall_ms,
            });
            Effect::audit(
                incident_id,
                "ANOMALY_DETECTED",
                anomaly.detected_at_ms,
                anomaly.description.clone(),
                payload,
            )
        };
        let Some((incident_id, reason)) = found else {
            let reason = "the first anomaly of the incident";
            let group = new_group(anomaly, reason, surroundings);
            let id = group.incident_id;
            state.groups.insert(id, group);
            return vec![
                audit(id, reason),
                self.timer("open", id, at.wall_ms + self.config.settle_ms),
            ];
        };
        let group = state
            .groups
            .get_mut(&incident_id)
            .expect("belonging names a group of this state");
        let mut effects = vec![audit(incident_id, &reason)];
        effects.extend(self.join(group, at, anomaly, reason, surroundings));
        effects
    }

    /// A further transition of an anomaly that a group holds.
    fn on_known(&self, group: &mut Group, at: Moment, anomaly: &Anomaly) -> Vec<Effect> {
        let index = group
            .anomalies
            .iter()
            .position(|member| member.anomaly_id == anomaly.anomaly_id)
            .expect("the caller found it there");
        group.last_ms = group.last_ms.max(anomaly.detected_at_ms);
        let was_cleared = take_transition(&mut group.anomalies[index], anomaly);
        let words = match anomaly.transition {
            Transition::Cleared => {
                format!(
                    "{} on {} is normal again",
                    anomaly.trigger_metric, anomaly.service
                )
            }
            Transition::Missing => {
                format!(
                    "{} of {} stopped reporting",
                    anomaly.trigger_metric, anomaly.service
                )
            }
            Transition::Started if was_cleared => {
                format!(
                    "{} on {} broke out again",
                    anomaly.trigger_metric, anomaly.service
                )
            }
            _ => format!("{} on {} worsened", anomaly.trigger_metric, anomaly.service),
        };
        if group.trigger.service == anomaly.service
            && group.trigger.metric == anomaly.trigger_metric
        {
            let worse = anomaly.deviation_sigma.abs() > group.trigger.deviation_sigma.abs();
            if worse && anomaly.transition != Transition::Cleared {
                group.trigger = Trigger::of(&group.anomalies[index], anomaly.anomaly_score);
            }
        }
        self.changed(group, at, words)
    }

    /// A new anomaly joins a group.
    fn join(
        &self,
        group: &mut Group,
        at: Moment,
        anomaly: &Anomaly,
        reason: String,
        surroundings: Surroundings,
    ) -> Vec<Effect> {
        group.last_ms = group.last_ms.max(anomaly.detected_at_ms);
        group.surroundings.topology.merge(&surroundings.topology);
        group
            .surroundings
            .add_changes(surroundings.deployments, surroundings.kubernetes);
        group
            .surroundings
            .request_rates
            .extend(surroundings.request_rates);
        // Lines of the service that the incident is named after stay first.
        for line in surroundings.recent_errors {
            if group.surroundings.recent_errors.len() < 20
                && !group.surroundings.recent_errors.contains(&line)
            {
                group.surroundings.recent_errors.push(line);
            }
        }
        if group.anomalies.len() >= self.config.max_anomalies {
            group.unlisted += 1;
            return Vec::new();
        }
        group.anomalies.push(grouped(anomaly, reason));
        let words = format!("{} on {} joined", anomaly.trigger_metric, anomaly.service);
        self.changed(group, at, words)
    }

    /// Notes a change; while the incident is open, an update follows soon.
    fn changed(&self, group: &mut Group, at: Moment, words: String) -> Vec<Effect> {
        let before = group.severity;
        group.severity = severity_of(group);
        group.pending_severity |= group.severity > before;
        if group.phase == Phase::Resolved {
            return Vec::new();
        }
        if group.phase != Phase::Open {
            // Not announced yet: name it after the best candidate so far.
            announce::name_group(group);
            return Vec::new();
        }
        let first = group.pending.is_empty();
        if group.pending.len() < 20 {
            group.pending.push(words);
        }
        if first {
            vec![self.timer("grow", group.incident_id, at.wall_ms + self.config.grow_ms)]
        } else {
            Vec::new()
        }
    }

    fn timer(&self, kind: &str, incident_id: Uuid, due_ms: i64) -> Effect {
        Effect::SetTimer {
            name: format!("{kind}:{incident_id}"),
            due_ms,
            payload: json!({"incident_id": incident_id}),
        }
    }

    fn on_timer(&self, state: &mut State, at: Moment, name: &str, payload: &Value) -> Vec<Effect> {
        if name.starts_with("after:") {
            return incident_of(payload).map_or_else(Vec::new, |id| self.leave(state, at, id));
        }
        let Some(group) = incident_of(payload).and_then(|id| state.groups.get_mut(&id)) else {
            return Vec::new();
        };
        match group.phase {
            Phase::Settling if name.starts_with("open:") => {
                group.phase = Phase::Copying;
                vec![announce::copy_records(group)]
            }
            Phase::Open if name.starts_with("grow:") => vec![announce::copy_records(group)],
            // A timer whose moment has passed.
            _ => Vec::new(),
        }
    }

    fn on_job(
        &self,
        state: &mut State,
        at: Moment,
        (kind, payload): (&str, &Value),
        result: Result<Value, String>,
    ) -> Vec<Effect> {
        let Some(id) = incident_of(payload) else {
            return Vec::new();
        };
        let is_unannounced = state
            .groups
            .get(&id)
            .is_some_and(|group| group.phase == Phase::Copying);
        if kind == "copy_records"
            && is_unannounced
            && let Some(effects) = self.join_by_complaint(state, at, id, &result)
        {
            return effects;
        }
        let Some(group) = state.groups.get_mut(&id) else {
            return Vec::new();
        };
        match (kind, group.phase) {
            ("copy_records", Phase::Copying) => {
                let mut effects = announce::open(&self.config, group, at);
                effects.extend(announce::copied(group, at, &result));
                if self.model {
                    effects.push(announce::ask_impact(group));
                }
                effects
            }
            ("copy_records", Phase::Open) => {
                let mut effects = announce::copied(group, at, &result);
                if !group.pending.is_empty() {
                    effects.extend(announce::update(&self.config, group, at));
                }
                effects
            }
            ("assess_impact", _) => announce::impact(&self.config, group, at, result),
            _ => Vec::new(),
        }
    }

    /// The incident is over. Words about its anomalies may still be on their
    /// way, because they travel on another topic: it is left a moment later.
    fn on_resolved(&self, state: &mut State, at: Moment, incident_id: Uuid) -> Vec<Effect> {
        let Some(group) = state.groups.get_mut(&incident_id) else {
            return Vec::new();
        };
        group.phase = Phase::Resolved;
        // The recovery belongs to the incident's window too.
        vec![
            Effect::CancelTimer {
                name: format!("grow:{incident_id}"),
            },
            announce::copy_records(group),
            self.timer("after", incident_id, at.wall_ms + AFTER_MS),
        ]
    }

    /// Leaves an incident that is over. An anomaly that joined so late that the
    /// investigation never heard of it, and that is still active, becomes an
    /// incident of its own.
    fn leave(&self, state: &mut State, at: Moment, incident_id: Uuid) -> Vec<Effect> {
        let Some(group) = state.groups.remove(&incident_id) else {
            return Vec::new();
        };
        let (left, gone): (Vec<GroupedAnomaly>, Vec<GroupedAnomaly>) =
            group.anomalies.iter().cloned().partition(|member| {
                member.cleared_at_ms.is_none() && !member.trigger_metric.contains(':')
            });
        for member in &gone {
            state.closed.push((member.anomaly_id, incident_id));
        }
        let excess = state.closed.len().saturating_sub(CLOSED_LIMIT);
        state.closed.drain(..excess);
        let Some(first) = left.first() else {
            return Vec::new();
        };
        let id = ids::incident(ids::derive(&[
            "left",
            &incident_id.to_string(),
            &first.anomaly_id.to_string(),
        ]));
        let rest = rest_of(&group, id, left);
        let effects = vec![
            Effect::audit(
                id,
                "ANOMALY_DETECTED",
                rest.detected_at_ms,
                format!(
                    "{} of {} is still out of range after {} was resolved.",
                    rest.trigger.metric,
                    rest.trigger.service,
                    ids::short_incident(incident_id)
                ),
                json!({"incident_before": incident_id, "onset_ms": rest.detected_at_ms,
                       "detected_wall_ms": rest.detected_wall_ms}),
            ),
            self.timer("open", id, at.wall_ms + self.config.settle_ms),
        ];
        state.groups.insert(id, rest);
        effects
    }
}

/// Takes a transition into a member; answers whether it had cleared before.
/// What the anomaly was opened on stays its reading: the reading that cleared
/// it, or the lack of one, says nothing about how bad it was.
fn take_transition(member: &mut GroupedAnomaly, anomaly: &Anomaly) -> bool {
    let was_cleared = member.cleared_at_ms.is_some();
    member.onset_ms = member.onset_ms.min(anomaly.onset_ms);
    match anomaly.transition {
        Transition::Cleared => member.cleared_at_ms = Some(anomaly.detected_at_ms),
        Transition::Missing => member.cleared_at_ms = None,
        Transition::Started | Transition::Worsened => {
            member.cleared_at_ms = None;
            if anomaly.deviation_sigma.abs() > member.deviation_sigma.abs() {
                let (reason, onset_ms) = (member.reason.clone(), member.onset_ms);
                let severity = member.severity.max(anomaly.severity);
                *member = GroupedAnomaly {
                    onset_ms,
                    severity,
                    ..grouped(anomaly, reason)
                };
            }
            member.severity = member.severity.max(anomaly.severity);
        }
    }
    was_cleared
}

/// A group of what was left over by one that is resolved.
fn rest_of(group: &Group, incident_id: Uuid, left: Vec<GroupedAnomaly>) -> Group {
    let first = &left[0];
    let detected_at_ms = first.detected_at_ms;
    let mut rest = Group {
        incident_id,
        phase: Phase::Settling,
        revision: 0,
        copies: 0,
        pending: Vec::new(),
        pending_severity: false,
        detected_at_ms,
        severity: first.severity,
        anomaly_type: first.anomaly_type,
        primary: first.service.clone(),
        trigger: Trigger::of(first, 1.0 - (-first.deviation_sigma.abs() / 4.0).exp()),
        unlisted: 0,
        impact: None,
        anomalies: left.clone(),
        ..group.clone()
    };
    rest.severity = severity_of(&rest);
    rest
}

fn incident_of(payload: &Value) -> Option<Uuid> {
    payload
        .get("incident_id")
        .and_then(Value::as_str)
        .and_then(|text| Uuid::parse_str(text).ok())
}

fn new_group(anomaly: &Anomaly, reason: &str, surroundings: Surroundings) -> Group {
    let member = grouped(anomaly, reason.to_owned());
    // The same anomaly may open another incident after the first is over.
    let outbreak = [
        anomaly.anomaly_id.to_string(),
        anomaly.detected_at_ms.to_string(),
    ];
    Group {
        incident_id: ids::incident(ids::derive(&[&outbreak[0], &outbreak[1]])),
        environment: anomaly.environment.clone(),
        phase: Phase::Settling,
        revision: 0,
        copies: 0,
        pending: Vec::new(),
        pending_severity: false,
        detected_at_ms: anomaly.detected_at_ms,
        detected_wall_ms: anomaly.detected_wall_ms,
        last_ms: anomaly.detected_at_ms,
        severity: anomaly.severity,
        anomaly_type: anomaly.anomaly_type,
        primary: anomaly.service.clone(),
        trigger: Trigger::of(&member, anomaly.anomaly_score),
        anomalies: vec![member],
        unlisted: 0,
        surroundings,
        impact: None,
    }
}

/// The gravest of its anomalies; it never falls while the incident lasts.
fn severity_of(group: &Group) -> Severity {
    group
        .anomalies
        .iter()
        .map(|anomaly| anomaly.severity)
        .fold(group.severity, Severity::max)
}

/// How much an anomaly's type says about a cause: a resource that runs out
/// explains slow answers, and not the other way round.
#[must_use]
pub fn specificity(kind: AnomalyType) -> u8 {
    match kind {
        AnomalyType::DbConnectionExhaustion
        | AnomalyType::MemoryLeak
        | AnomalyType::CpuSaturation
        | AnomalyType::DeploymentFailure => 3,
        AnomalyType::KafkaConsumerLag | AnomalyType::KubernetesFailure => 2,
        AnomalyType::ErrorRateSpike
        | AnomalyType::LatencySpike
        | AnomalyType::DependencyOutage
        | AnomalyType::TrafficDrop
        | AnomalyType::MissingData => 1,
        AnomalyType::Unknown => 0,
    }
}
