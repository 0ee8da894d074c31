//! Correlation: many anomalies, one incident.
//!
//! Consumes `anomalies.detected` (group `midwatch.correlation`, one partition
//! per environment), `incidents.resolved` and `operator.commands`; beside the
//! group every replica reads `raw.deployments`, `raw.kubernetes` and
//! `raw.spans` into a bounded table that is rebuilt from the broker at start
//! (calls that are older than the spans read again come from Redis), so that
//! any replica can take over. Produces `incidents.opened` and
//! `incidents.updated`.
//!
//! Invariants
//! - an anomaly belongs to at most one incident, and each says why: the calls
//!   between, how they are known, and who began to change first
//!   ([`decide::belong`] has the rules);
//! - an incident that is open grows by `incidents.updated`; no second one is
//!   opened for signals that belong to it; a later signal that connects two
//!   puts the younger into the older. Of an incident that goes into another
//!   one the last update is `merged`, without anomalies and with the other in
//!   `related`; the investigation then ends it as MERGED;
//! - what was near in time and left out is listed with its reason, at most 20;
//! - a storm is one incident: two thousand members have a reason and a line in
//!   the audit trail each, and what is beyond is followed and counted aloud
//!   ([`decide::beyond`] has the bounds);
//! - what a person closed while it was out of range stays closed until it gets
//!   worse;
//! - a resolved incident takes no new fault. A relapse of what it was opened on
//!   reopens it ([`decide::life`] has the rules, also those for what comes and
//!   goes);
//! - a burn-rate ticket (`slo:…` of severity LOW) pages nobody: it is written
//!   to the audit trail (TICKET_RECORDED) and goes with the next incident of
//!   its service, or with one that is open; when it burns faster, it is an
//!   anomaly like any other. So it is with mere load: a processor or
//!   connections that rose in step with the requests (LOAD_RECORDED);
//! - what begins during maintenance is written down and opens nothing, unless
//!   it outlasts the maintenance; where that is too much to be followed, it is
//!   said of each that is not, and counted when the maintenance is over;
//! - while an incident is snoozed people hear nothing of its growth, but what
//!   its end waits for is published;
//! - the severity follows the gravest active signal and the blast radius, up
//!   and down, with its reason ([`decide::severity`]); when nothing is active
//!   any more, it stays as it was told, and no update says so: the end does;
//! - whether an end is heard before or after the words that led to it, the
//!   incident's row, severity and updates are the same;
//! - the records of an incident's window are in PostgreSQL before the incident
//!   is announced, so that whoever hears of it can cite them, and no line of
//!   the audit trail names an incident that was never announced.

pub mod backstage;
pub mod config;
pub mod decide;
pub mod onset;
pub mod records;
pub mod shell;
pub mod surroundings;
pub mod table;
