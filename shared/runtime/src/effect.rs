//! What an agent decides: effects, carried out by the runtime in one
//! transaction.

use midwatch_clients::llm::LlmCall;
pub use midwatch_clients::postgres::{Delivered, KeptRecord, Notification};
use midwatch_events::artifact::{Artifact, ArtifactKind};
use midwatch_events::{Event, IncidentHeader, IncidentState};
use serde_json::Value;
use uuid::Uuid;

/// Something that must happen because of a decision. All effects of one input
/// are written in one PostgreSQL transaction together with the agent's state
/// and the mark that the input was processed.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Publish `event` on its topic. Its id is derived from the input and the
    /// effect's index.
    Publish(Event),
    /// Add a line to the audit trail (`agent_events`).
    Audit(Audit),
    /// Change this agent's columns of an incident.
    Project(Projection),
    /// Keep records with an incident (`incident_records`); those that are
    /// there already stay as they are.
    Keep {
        incident_id: Uuid,
        records: Vec<KeptRecord>,
    },
    /// Do slow work outside the loop; the answer returns as
    /// [`crate::Input::JobDone`].
    StartJob(JobRequest),
    /// Call back at `due_ms` (wall clock) with [`crate::Input::Timer`].
    /// Setting a timer of the same name again moves it.
    SetTimer {
        name: String,
        due_ms: i64,
        payload: Value,
    },
    /// Say something to another scope of this agent, which hears it as
    /// [`crate::Input::Timer`].
    Call(Call),
    /// Forget the timer of this name.
    CancelTimer { name: String },
    /// From now on events routed to `channel` reach this scope, those that
    /// are parked there first.
    Subscribe { channel: String },
    /// The opposite of [`Effect::Subscribe`].
    Unsubscribe { channel: String },
    /// The input is legal but early: keep it and offer it again after each
    /// later input of this scope, until `ttl_ms` of wall clock have passed;
    /// then it comes as [`crate::Input::Expired`]. Excludes other effects.
    Park { reason: String, ttl_ms: i64 },
    /// Write a notification, to be delivered by a job. Rows whose (incident,
    /// stage, channel, recipient) exist are left alone.
    Notify(Notification),
    /// Record how the delivery of a message ended.
    NotificationDone(Delivered),
    /// Record a model call (`llm_calls`). Idempotent by its call id.
    RecordModelCall {
        incident_id: Option<Uuid>,
        call: Box<LlmCall>,
    },
}

/// A line of the audit trail.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    pub incident_id: Option<Uuid>,
    /// `ANOMALY_DETECTED`, `INCIDENT_OPENED`, `RCA_COMPLETE`, …
    pub event_type: String,
    /// Event time, epoch milliseconds.
    pub at_ms: i64,
    /// One sentence for people.
    pub summary: String,
    pub payload: Value,
}

/// A change of one agent's columns of an incident.
#[derive(Clone, Debug, PartialEq)]
pub enum Projection {
    /// Correlation: a new row in state CORRELATING.
    Open {
        header: IncidentHeader,
        blast_radius: Value,
        correlation_context: Value,
    },
    /// Correlation: what it knows now.
    Correlate {
        header: IncidentHeader,
        blast_radius: Value,
        correlation_context: Value,
    },
    /// Any agent: move the state by compare-and-set. A refused move is written
    /// to the audit trail; an early one parks the input.
    Move {
        incident_id: Uuid,
        to: IncidentState,
    },
    /// Investigation: the candidates.
    Cause {
        incident_id: Uuid,
        candidates: Value,
        top_root_cause: String,
        confidence: f64,
    },
    /// Remediation: the plan.
    Plan { incident_id: Uuid, plan: Value },
    /// Investigation: the end.
    Resolve {
        incident_id: Uuid,
        resolved_at_ms: i64,
        resolution: Value,
    },
    /// Investigation: it goes on, and has no end any more.
    Reopen { incident_id: Uuid },
    /// Any agent: links of the incident's chain. Those of the kinds in
    /// `supersedes` that are not among them are superseded.
    Artifacts {
        incident_id: Uuid,
        artifacts: Vec<Artifact>,
        supersedes: Vec<ArtifactKind>,
    },
    /// Postmortem: a draft of this version. `statements` is the document, and
    /// `lesson` what can be learnt from it.
    Postmortem {
        incident_id: Uuid,
        version: u32,
        markdown: String,
        statements: Value,
        lesson: Value,
    },
    /// Postmortem: a version is `reviewed` or `published`.
    Review {
        incident_id: Uuid,
        version: u32,
        status: &'static str,
        by: String,
        wall_ms: i64,
    },
}

/// What one scope says to another.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub scope: String,
    /// Unique in that scope: a second call of one name takes the place of the
    /// first as long as that was not heard.
    pub name: String,
    /// Wall clock; calls are heard in the order of it.
    pub due_ms: i64,
    pub payload: Value,
}

/// Slow work: a model call, a retrieval, a delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRequest {
    /// Unique within the scope; asking twice under one name starts one job.
    pub name: String,
    /// Jobs of one lane run one at a time, in the order in which they were
    /// asked for; the scope is the lane where none is named.
    pub lane: Option<String>,
    /// What the agent's `perform` tells jobs apart by.
    pub kind: String,
    pub payload: Value,
    /// Tries before the job fails for good, at least 1.
    pub max_attempts: i32,
    /// Wall-clock delay before the first try.
    pub delay_ms: i64,
}

impl JobRequest {
    /// A job with three tries and no delay.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: &str, payload: Value) -> JobRequest {
        JobRequest {
            name: name.into(),
            lane: None,
            kind: kind.to_owned(),
            payload,
            max_attempts: 3,
            delay_ms: 0,
        }
    }
}

impl Effect {
    /// Shorthand for a line in the audit trail about an incident.
    #[must_use]
    pub fn audit(
        incident_id: Uuid,
        event_type: &str,
        at_ms: i64,
        summary: impl Into<String>,
        payload: Value,
    ) -> Effect {
        Effect::Audit(Audit {
            incident_id: Some(incident_id),
            event_type: event_type.to_owned(),
            at_ms,
            summary: summary.into(),
            payload,
        })
    }
}
