//! Postmortem: what happened, from the records alone.
//!
//! Consumes `incidents.resolved` and `remediation.actions` as consumer group
//! `midwatch.postmortem`, and reads the audit trail, the incident, its records
//! and its mails from PostgreSQL. Produces `postmortems.generated`, the
//! postmortem column of an incident, and the audit lines POSTMORTEM_GENERATED,
//! POSTMORTEM_SKIPPED and MODEL_ADVICE_REFUSED.
//!
//! Guarantees
//! - every number, time and name stands in a record, and statements carry the
//!   ids of the records that they rest on;
//! - a step counts as applied only if its verification is recorded; what is
//!   not known is called unknown;
//! - verdicts on what went well or badly follow stated rules over recorded
//!   facts, and name systems, not people;
//! - text from telemetry begins no markup;
//! - a model may word the summary; a reply with a number, name or deed that is
//!   not recorded leaves the deterministic text standing;
//! - an incident that ends again after it was reopened gets a new version.

pub mod config;
pub mod decide;
pub mod document;
pub mod facts;
pub mod items;
pub mod judgement;
pub mod notes;
pub mod polish;
pub mod shell;
pub mod text;

pub use shell::Postmortem;
