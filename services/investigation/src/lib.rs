//! Investigation: why, with evidence; and when it is over.
//!
//! Consumes `incidents.opened`, `incidents.updated`, `anomalies.detected`,
//! `remediation.actions` and, of `operator.commands`, `close` and
//! `acknowledge` (group `midwatch.investigation`). Produces `rca.completed` and
//! `incidents.resolved`.
//!
//! Invariants
//! - every piece of evidence names a record that exists: an anomaly, a row of
//!   `incident_records`, or a document of the knowledge store;
//! - a confidence is computed by code; a model may reorder candidates and word
//!   them, and cannot add one;
//! - an incident is resolved only on readings: the metric that triggered it and
//!   every other metric of it have had three consecutive normal readings. No
//!   data is not recovery;
//! - what is watched is durable state, not a task: a restart changes nothing;
//! - an answer comes in time: slow work has a limit, after which what is known
//!   is the answer and says what it could not look at;
//! - every answer leaves its chain of artifacts, in the same transaction.

pub mod config;
pub mod decide;
pub mod rca;
pub mod shell;
