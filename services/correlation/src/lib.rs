//! Correlation: many anomalies, one incident.
//!
//! Consumes `anomalies.detected` (group `midwatch.correlation`, one partition
//! per environment) and `incidents.resolved`; beside the group every replica
//! reads `raw.deployments`, `raw.kubernetes` and `raw.spans` into a bounded
//! table that is rebuilt from the broker at start, so that any replica can
//! take over. Produces `incidents.opened` and `incidents.updated`.
//!
//! Invariants
//! - an anomaly belongs to at most one incident, and each says why;
//! - an incident that is open grows by `incidents.updated`; no second one is
//!   opened for signals that belong to it;
//! - a resolved incident takes no new anomaly;
//! - the records of an incident's window are in PostgreSQL before the incident
//!   is announced, so that whoever hears of it can cite them.

pub mod config;
pub mod decide;
pub mod records;
pub mod shell;
pub mod surroundings;
pub mod table;
