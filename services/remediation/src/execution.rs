//! What an executor is asked to do, and what it says became of it.

use crate::policy::Approval;
use midwatch_events::OperatorCommand;
use midwatch_events::action::{ExpectedEffect, TypedAction};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The job that carries an action out; its payload is an [`Execution`], its
/// result an [`Outcome`].
pub const EXECUTE: &str = "execute_action";
/// The job that looks whether an action helped; its payload is a [`Check`],
/// its result a [`midwatch_events::action::Verification`].
pub const VERIFY: &str = "verify_effect";

/// The job that takes an action out before it begins; its payload is a
/// [`Rejection`], its result a [`Withdrawal`].
pub const WITHDRAW: &str = "withdraw_action";

/// An action that is to be carried out once. The intent is on record before
/// the job that carries this begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    /// The same for every try: derived from plan, step and whether it is the
    /// undo.
    pub key: String,
    pub incident_id: Uuid,
    pub environment: String,
    pub plan_id: Uuid,
    pub step_id: String,
    /// What is done; of an undo, its own kind and arguments.
    pub action: TypedAction,
    pub is_undo: bool,
    /// Checks what it would do, and does nothing.
    pub dry_run: bool,
    /// How long after an action on this service no further one may begin, wall
    /// clock.
    pub cool_down_ms: i64,
    /// Actions on all services per hour of wall clock.
    pub hourly_limit: u32,
    /// Those who approved it; the policy is asked about them again before it
    /// begins. Where they are absent, an action that needs any does not begin.
    #[serde(default)]
    pub approvals: Vec<Approval>,
}

/// How an execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeStatus {
    Done,
    /// The executor said no, or a pre-check did not hold; nothing was changed.
    Failed,
    /// A limit that spans incidents does not allow it now: another action on
    /// the service, the cool-down, the hourly limit. `rule` names it.
    Refused,
    /// A crash left it open and the world does not tell, or it was done in part
    /// only. A person must look.
    Unknown,
}

/// Somebody else had done it before this action could: nothing was changed
/// here, and whatever gets better is not this action's merit.
pub const NOT_OURS: &str = "not_ours";
/// It was done, but not to its end; the output names what is left.
pub const IN_PART: &str = "in_part";

/// Of what was refused: an operator took it out before it began.
pub const REJECTED: &str = "rejected";

/// What became of an [`Execution`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub status: OutcomeStatus,
    /// The rule that refused; of what failed, [`NOT_OURS`] where somebody else
    /// had done it; of what is unknown, [`IN_PART`] where it did not come to
    /// its end; empty otherwise.
    pub rule: String,
    /// What the executor printed or answered, redacted, at most 4 000
    /// characters.
    pub output: String,
    /// Event time at which it took effect, epoch milliseconds; in real
    /// environments the wall clock.
    pub acted_at_ms: Option<i64>,
    /// Whether the outcome was found by looking at the world after a crash.
    pub reconciled: bool,
}

/// An operator's no to an action that is to be carried out and may not have
/// begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rejection {
    pub execution: Execution,
    pub command: OperatorCommand,
}

/// What a [`Rejection`] came to, by the record of actions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "withdrawal", rename_all = "snake_case")]
pub enum Withdrawal {
    /// It had not begun, and will not.
    Withdrawn,
    /// Its intent is on record, and no outcome.
    HasBegun,
    /// It has its outcome: `done`, `failed`, `refused` or `unknown`.
    HasEnded { status: String },
}

/// A question about an action's effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    pub incident_id: Uuid,
    pub environment: String,
    pub step_id: String,
    pub effect: ExpectedEffect,
    /// Event time of the incident's onset, epoch milliseconds.
    pub onset_ms: i64,
    /// Event time at which the action took effect.
    pub acted_at_ms: i64,
    /// Services that the incident touches: none of them is an untouched
    /// comparison.
    pub affected_services: Vec<String>,
    /// Wall clock at which the question was asked, epoch milliseconds. Twice
    /// the time of the effect later, and a minute, it is given up; where this
    /// is absent only the job's number of tries ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_wall_ms: Option<i64>,
}
