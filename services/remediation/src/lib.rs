//! Remediation: from a root cause to a plan, from approvals to actions, and
//! from actions to proof.
//!
//! Consumes `rca.completed`, `incidents.resolved` and `operator.commands` as
//! consumer group `midwatch.remediation`. Produces `remediation.plans`,
//! `remediation.actions`, the plan column of an incident, its move to
//! REMEDIATING, the artifacts from proposal to verification, and the audit
//! lines PLAN_READY, STEPS_LEFT_OUT, PLAN_DEGRADED, MODEL_ADVICE_REFUSED,
//! ACTION_APPROVED, ACTION_REFUSED, ACTION_STARTED, ACTION_EXECUTED,
//! ACTION_FAILED, ACTION_VERIFIED, ACTION_UNDONE and ACTION_NOT_UNDONE.
//!
//! Guarantees
//! - every step stands in a runbook or is built in here, and every name in a
//!   command was observed in this incident or is recorded in the service
//!   catalogue; a step that would need another name is left out, and the audit
//!   trail says so;
//! - only actions that the action catalogue makes from such names can run, and
//!   only as the policy says: dry runs unless somebody chose otherwise;
//! - an approval counts for one step of one plan as it was shown (its hash),
//!   once for each person and credential, for a limited time; whatever does
//!   not count is refused by a rule that is named and audited;
//! - the intent is on record before the job that acts begins, and one step of
//!   an incident runs at a time; policy and catalogue are asked again right
//!   before each start, and the policy's file, as it is then, once more right
//!   before the world is touched;
//! - a rejection takes out what has not begun, and says so where it has;
//! - what somebody else did in between is not told as done here;
//! - what made it worse is taken back where the catalogue knows how and the
//!   policy lets it; what waits then needs new approval;
//! - a cause that is not established gives steps that only look, and so does
//!   an unreachable knowledge store;
//! - one plan per cause: a revision of the root cause that names the same one
//!   changes nothing, another one gives a new plan, and so does the same one
//!   after a reopening: what was done did not last;
//! - a model may reorder steps of equal priority; a reply that does anything
//!   else, or names an action or object that is not there, leaves the
//!   deterministic plan standing.

pub mod allowed;
pub mod case;
pub mod catalogue;
pub mod config;
pub mod decide;
pub mod estimate;
pub mod execution;
pub mod executors;
pub mod order;
pub mod policy;
pub mod proof;
pub mod shell;
pub mod steps;

pub use shell::Remediation;
