//! Postmortem: what happened, from the records alone.
//!
//! Consumes `incidents.resolved`, `remediation.actions` and of
//! `operator.commands` what reviews postmortems, as consumer group
//! `midwatch.postmortem`, and reads the audit trail, the incident, its records,
//! its mails and its costs from PostgreSQL. Produces `postmortems.generated`,
//! the postmortem column of an incident, the versions in `postmortems`, the
//! reviewed incidents of the knowledge store, and the audit lines
//! POSTMORTEM_GENERATED, POSTMORTEM_SKIPPED, POSTMORTEM_LINT,
//! POSTMORTEM_REVIEWED, POSTMORTEM_PUBLISHED, INCIDENT_LEARNT,
//! INCIDENT_NOT_LEARNT, COMMAND_REFUSED and MODEL_ADVICE_REFUSED.
//!
//! Guarantees
//! - a postmortem is a list of statements, each bound to records; every number,
//!   name, time and quotation in it is what a stated rule makes of values in
//!   them ([`lint`]), and a statement that does not hold is left out, aloud;
//! - a step is called applied only where its success and the check of its
//!   effect are recorded; what is not known is called unknown;
//! - verdicts on what went well or badly follow stated rules over recorded
//!   facts, and name systems, not people;
//! - text from telemetry begins no markup;
//! - a model may word the summary; words that do not pass the same lint leave
//!   the deterministic text standing;
//! - an incident that ends again after it was reopened gets a new version,
//!   which is a draft again, and so does one of whose steps more is told after
//!   its end (a verification, an undo, an outcome);
//! - what people have reviewed is learnt from once; what is measured of its
//!   steps later follows by itself, in the words that they reviewed.

pub mod bundle;
pub mod config;
pub mod decide;
pub mod document;
pub mod facts;
pub mod forms;
pub mod items;
pub mod lesson;
pub mod lint;
pub mod polish;
pub mod records;
mod review;
pub mod rules;
pub mod runbook;
mod runbook_steps;
pub mod shell;
pub mod statement;
pub mod text;
pub mod writer;

pub use shell::Postmortem;
