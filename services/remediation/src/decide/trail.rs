//! What is said of actions: lines on `remediation.actions`, the audit trail
//! and the chain of artifacts.

use super::Acting;
use crate::catalogue::Refusal;
use crate::policy::Approval;
use midwatch_events::artifact::{self, Artifact, ArtifactKind, ArtifactStatus};
use midwatch_events::response::ActionDetails;
use midwatch_events::{Event, IncidentHeader, RcaCompleted, RemediationAction, RemediationPlan};
use midwatch_runtime::agent::Moment;
use midwatch_runtime::effect::{Effect, Projection};
use serde_json::{Value, json};
use uuid::Uuid;

/// What a line on `remediation.actions` is about.
#[derive(Clone, Copy)]
pub struct About<'a> {
    pub header: &'a IncidentHeader,
    pub plan_id: Uuid,
    pub step_id: &'a str,
    pub by: &'a str,
    /// Event time.
    pub at_ms: i64,
}

impl About<'_> {
    pub fn publish(
        self,
        phase: &str,
        reason: &str,
        result: &str,
        details: ActionDetails,
    ) -> Effect {
        Effect::Publish(Event::Action(Box::new(RemediationAction {
            header: self.header.clone(),
            plan_id: self.plan_id,
            step_id: self.step_id.to_owned(),
            phase: phase.to_owned(),
            by: self.by.to_owned(),
            reason: reason.to_owned(),
            result: result.to_owned(),
            at_ms: self.at_ms,
            details,
        })))
    }
}

/// Those who approved, by name.
pub fn names(approvals: &[Approval]) -> String {
    if approvals.is_empty() {
        return "policy".to_owned();
    }
    let names: Vec<&str> = approvals.iter().map(|one| one.by.as_str()).collect();
    names.join(", ")
}

/// An approved step that does not start after all.
pub fn not_started(
    at: Moment,
    plan: &RemediationPlan,
    step_id: &str,
    by: &str,
    refusal: &Refusal,
) -> Vec<Effect> {
    let mut steps = plan.action_steps.iter();
    let typed = steps
        .find(|step| step.step_id == step_id)
        .and_then(|step| step.typed.clone());
    let details = ActionDetails {
        plan_hash: plan.plan_hash.clone(),
        typed,
        rule: refusal.rule.to_owned(),
        ..ActionDetails::default()
    };
    let about = About {
        header: &plan.header,
        plan_id: plan.plan_id,
        step_id,
        by,
        at_ms: at.event_ms,
    };
    vec![
        Effect::audit(
            plan.header.incident_id,
            "ACTION_REFUSED",
            at.event_ms,
            format!("{step_id}, approved by {by}, does not run: {refusal}"),
            json!({"plan_id": plan.plan_id, "plan_hash": plan.plan_hash, "step_id": step_id,
                "by": by, "rule": refusal.rule, "wall_ms": at.wall_ms}),
        ),
        about.publish("refused", &refusal.words, "refused", details),
    ]
}

impl Acting {
    /// A line about what runs.
    pub fn about(&self, at_ms: i64) -> About<'_> {
        About {
            header: &self.header,
            plan_id: self.plan_id,
            step_id: &self.step.step_id,
            by: &self.by,
            at_ms,
        }
    }

    /// What is known of what runs.
    pub fn details(&self) -> ActionDetails {
        ActionDetails {
            plan_hash: self.plan_hash.clone(),
            typed: self.step.typed.clone(),
            idempotency_key: self.key.clone(),
            dry_run: self.dry_run,
            is_undo: self.is_undo,
            ..ActionDetails::default()
        }
    }

    /// A line of the audit trail about what runs.
    pub fn audit(&self, at: Moment, kind: &str, summary: String, more: Value) -> Effect {
        let payload = json!({
            "plan_id": self.plan_id,
            "plan_hash": self.plan_hash,
            "step_id": self.step.step_id,
            "by": self.by,
            "kind": self.step.typed.as_ref().map(|action| action.kind),
            "idempotency_key": self.key,
            "dry_run": self.dry_run,
            "is_undo": self.is_undo,
            "wall_ms": at.wall_ms,
            "details": more,
        });
        Effect::audit(self.header.incident_id, kind, at.event_ms, summary, payload)
    }

    /// A link of the chain about what runs, after the link of `input`.
    pub fn artifact(
        &self,
        at: Moment,
        kind: ArtifactKind,
        input: Uuid,
        status: ArtifactStatus,
        body: Value,
    ) -> Effect {
        let incident_id = self.header.incident_id;
        link(Artifact {
            artifact_id: artifact::id(incident_id, kind, &[&self.key]),
            incident_id,
            kind,
            schema_version: artifact::SCHEMA_VERSION,
            producer: "remediation".to_owned(),
            consumer: "postmortem".to_owned(),
            status,
            inputs: vec![input],
            evidence: Vec::new(),
            created_at_ms: at.event_ms,
            replay: false,
            body,
        })
    }

    /// The id of a link about what runs.
    pub fn artifact_id(&self, kind: ArtifactKind) -> Uuid {
        artifact::id(self.header.incident_id, kind, &[&self.key])
    }
}

fn link(artifact: Artifact) -> Effect {
    let superseded = artifact.kind == ArtifactKind::RemediationProposal;
    Effect::Project(Projection::Artifacts {
        incident_id: artifact.incident_id,
        supersedes: superseded.then_some(artifact.kind).into_iter().collect(),
        artifacts: vec![artifact],
    })
}

/// The id of a plan's link.
pub fn proposal_id(incident_id: Uuid, plan_id: Uuid) -> Uuid {
    let kind = ArtifactKind::RemediationProposal;
    artifact::id(incident_id, kind, &[&plan_id.to_string()])
}

/// The plan as a link of the chain, after the hypothesis that it answers.
pub fn proposal(at: Moment, rca: &RcaCompleted, plan: &RemediationPlan) -> Effect {
    let incident_id = plan.header.incident_id;
    let first = rca.root_cause_candidates.first();
    let hypothesis = |rank: u32| {
        let parts = [rca.revision.to_string(), rank.to_string()];
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        artifact::id(incident_id, ArtifactKind::RootCauseHypothesis, &parts)
    };
    let evidence = first.into_iter().flat_map(|first| &first.evidence);
    link(Artifact {
        artifact_id: proposal_id(incident_id, plan.plan_id),
        incident_id,
        kind: ArtifactKind::RemediationProposal,
        schema_version: artifact::SCHEMA_VERSION,
        producer: "remediation".to_owned(),
        consumer: "communication".to_owned(),
        status: ArtifactStatus::Complete,
        inputs: first
            .map(|first| hypothesis(first.rank))
            .into_iter()
            .collect(),
        evidence: evidence.map(|piece| piece.id.clone()).collect(),
        created_at_ms: at.event_ms,
        replay: false,
        body: json!(plan),
    })
}
