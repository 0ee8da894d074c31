//! What to do and when: planning, approving, executing, verifying. Pure: no
//! clock, network or log.
//!
//! A step goes from open over approved, running and (outside dry runs)
//! verifying to done. One step of an incident runs at a time, in the order in
//! which they were approved; what changes in between (the plan, the policy,
//! the hours, the end of the incident) is looked at again before each starts.

mod approve;
mod execute;
mod plan;
mod trail;
mod verify;
mod withdraw;

use crate::allowed::Allowed;
use crate::case::Observed;
use crate::catalogue::Known;
use crate::estimate::Past;
use crate::execution::{EXECUTE, VERIFY, WITHDRAW};
use crate::order::Order;
use crate::policy::{Approval, Policy};
use crate::steps::Effective;
use midwatch_clients::knowledge::RunbookHit;
use midwatch_clients::llm::LlmCall;
use midwatch_events::action::ActionKind;
use midwatch_events::knowledge::Catalogue;
use midwatch_events::{
    ActionStep, Event, IncidentHeader, IncidentResolved, RcaCompleted, RemediationPlan,
};
use midwatch_runtime::agent::{Input, Moment};
use midwatch_runtime::effect::Effect;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

/// The job that looks up runbooks, records and past incidents.
pub const RETRIEVE: &str = "retrieve_runbooks";
/// The job that asks the model for an order.
pub const ORDER: &str = "order_steps";

/// What is remembered of an incident.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The root cause that is being planned for or was planned for last.
    pub cause: Option<Cause>,
    /// The last plan that was published.
    pub plan: Option<Published>,
    /// Event time at which the incident's end was told, where it is over.
    pub resolved_at_ms: Option<i64>,
    /// The same of the end before it was reopened last.
    #[serde(default)]
    pub last_end_ms: Option<i64>,
    /// The last revision of the cause before the latest end, where that told it.
    #[serde(default)]
    pub last_rca_revision: Option<u32>,
    /// Merged into another incident, which has its own plan.
    pub merged: bool,
    /// Steps of the last plan about which somebody said something.
    #[serde(default)]
    pub steps: BTreeMap<String, Progress>,
    /// Approved steps that wait for the one that runs, in order.
    #[serde(default)]
    pub queue: Vec<String>,
    /// The step that runs, perhaps of an earlier plan.
    #[serde(default)]
    pub acting: Option<Box<Acting>>,
    /// One-time links that were used, and when they would have expired (wall
    /// clock): after that they need not be remembered.
    #[serde(default)]
    pub nonces: BTreeMap<String, i64>,
    /// What was carried out and not taken back, the latest last.
    #[serde(default)]
    pub deeds: Vec<Deed>,
}

/// A step that was carried out in earnest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    pub plan_id: Uuid,
    pub step_id: String,
    pub kind: ActionKind,
    pub service: String,
    /// The incident was reopened after it: whatever it did, it did not last.
    pub came_back: bool,
}

/// A root cause under work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// [`crate::case::Case::key`].
    pub key: String,
    pub revision: u32,
}

/// A published plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Published {
    pub plan_id: Uuid,
    pub key: String,
    /// Absent for plans of a version that carried nothing out.
    #[serde(default)]
    pub plan: Option<Box<RemediationPlan>>,
    /// What its actions may name.
    #[serde(default)]
    pub known: Known,
    /// Event time of the incident's onset.
    #[serde(default)]
    pub onset_ms: i64,
}

/// How far a step is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    #[default]
    Open,
    /// Approved, waits for another step.
    Queued,
    Running,
    /// Carried out as a dry run.
    Rehearsed,
    /// Carried out, or begun with an outcome that nobody knows.
    Done,
}

/// What was said about a step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub stage: Stage,
    pub approvals: Vec<Approval>,
    /// Counts the executions that changed nothing (refused, failed,
    /// rehearsed): each further one has a key of its own.
    pub round: u32,
}

/// The step that runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Acting {
    pub header: IncidentHeader,
    pub plan_id: Uuid,
    pub plan_hash: String,
    pub step: ActionStep,
    /// The names of those who approved.
    pub by: String,
    /// [`crate::execution::Execution::key`] of what runs now.
    pub key: String,
    pub dry_run: bool,
    pub is_undo: bool,
    /// Whether the effect is being looked at.
    pub verifying: bool,
    pub onset_ms: i64,
    /// Those who approved, for the question right before it begins.
    #[serde(default)]
    pub approvals: Vec<Approval>,
}

/// What the retrieval job returns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Retrieved {
    /// The sections of the runbook that fits, in its order; empty where none
    /// does.
    pub sections: Vec<RunbookHit>,
    pub observed: Observed,
    pub past: Vec<Past>,
    /// What became of such actions before; ranks steps.
    #[serde(default)]
    pub effective: Vec<Effective>,
    /// Event time of the incident's first anomaly, where it is on record.
    #[serde(default)]
    pub onset_ms: Option<i64>,
}

/// The payload of the ordering job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    pub rca: RcaCompleted,
    pub plan: RemediationPlan,
    pub dropped: Vec<String>,
    #[serde(default)]
    pub by_hand: Vec<String>,
    #[serde(default)]
    pub known: Known,
    #[serde(default)]
    pub onset_ms: Option<i64>,
}

/// What the ordering job returns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    pub call: LlmCall,
    /// Absent where the call failed; the call says how.
    pub order: Option<Order>,
}

/// What the jobs EXECUTE, VERIFY and WITHDRAW return.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Performed<T> {
    #[serde(flatten)]
    pub done: T,
    /// Whether the stop file was there when the job ended.
    #[serde(default)]
    pub stopped: bool,
}

/// What a job came to, or why it is not known.
fn performed<T: DeserializeOwned>(result: Result<Value, String>) -> Result<Performed<T>, String> {
    serde_json::from_value(result?).map_err(|error| error.to_string())
}

/// The deciding part of the agent.
#[derive(Clone, Debug, Default)]
pub struct Core {
    pub catalogue: Catalogue,
    /// `K8S_NAMESPACE`.
    pub namespace: String,
    /// Whether a model is configured.
    pub has_model: bool,
    pub policy: Policy,
    /// What may be acted on beside workloads.
    pub allowed: Allowed,
    /// `SIM_ENVIRONMENT`: its actions go to the simulator.
    pub simulated_environment: String,
    /// Whether the simulator's control endpoint is configured.
    pub has_simulator: bool,
}

impl Core {
    /// Decides on an input. The context of a command is `{"stopped": bool}`:
    /// whether the stop file is there.
    pub fn decide(&self, state: &mut State, at: Moment, input: Input) -> Vec<Effect> {
        match input {
            Input::Event { envelope, context } => self.event(state, at, envelope.event, &context),
            Input::Expired { envelope } => self.event(state, at, envelope.event, &Value::Null),
            Input::JobDone { job, result } => match job.kind.as_str() {
                RETRIEVE => self.retrieved(state, at, &job, result),
                ORDER => self.ordered(state, at, &job, result),
                EXECUTE => self.executed(state, at, &job, result),
                VERIFY => self.verified(state, at, &job, result),
                WITHDRAW => self.withdrawn(state, at, &job, result),
                _ => Vec::new(),
            },
            Input::Timer { .. } => Vec::new(),
        }
    }

    fn event(&self, state: &mut State, at: Moment, event: Event, context: &Value) -> Vec<Effect> {
        match event {
            Event::Rca(rca) => self.rca(state, &rca),
            Event::Resolved(resolved) => over(state, at, &resolved),
            Event::Command(command) => {
                let stopped = context["stopped"].as_bool().unwrap_or(false);
                self.command(state, at, &command, stopped)
            }
            _ => Vec::new(),
        }
    }
}

/// The incident is over: what was approved and has not begun does not begin.
/// What runs is finished and verified.
fn over(state: &mut State, at: Moment, resolved: &IncidentResolved) -> Vec<Effect> {
    // The end is told after the readings that made it one. A cause that was
    // published in between, and is heard of only now, is from before it.
    state.resolved_at_ms = Some(resolved.resolved_at_ms.max(at.event_ms));
    state.last_rca_revision = resolved.rca_revision;
    state.merged |= resolved.resolution_method == "MERGED";
    approve::drop_open(state, at, "incident_over", "the incident is over")
}
