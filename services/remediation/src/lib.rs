//! Remediation: from a root cause to a plan.
//!
//! Consumes `rca.completed`, `incidents.resolved` and `operator.commands` as
//! consumer group `midwatch.remediation`. Produces `remediation.plans`, the
//! plan column of an incident, its move to REMEDIATING, and the audit lines
//! PLAN_READY, STEPS_LEFT_OUT, PLAN_DEGRADED, MODEL_ADVICE_REFUSED and
//! COMMAND_RECEIVED.
//!
//! Guarantees
//! - nothing is carried out: a plan is text for people;
//! - every step stands in a runbook or is built in here, and every name in a
//!   command was observed in this incident or is recorded in the service
//!   catalogue; a step that would need another name is left out, and the audit
//!   trail says so;
//! - a cause that is not established gives steps that only look, and so does
//!   an unreachable knowledge store;
//! - one plan per cause: a revision of the root cause that names the same one
//!   changes nothing, another one gives a new plan;
//! - a model may reorder steps of equal priority; a reply that does anything
//!   else leaves the deterministic plan standing.

pub mod case;
pub mod config;
pub mod decide;
pub mod estimate;
pub mod execution;
pub mod executors;
pub mod order;
pub mod shell;
pub mod steps;

pub use shell::Remediation;
