//! Detection: raw telemetry in, anomalies out.
//!
//! Consumes `raw.metrics`, `raw.logs`, `raw.spans`, `raw.kubernetes` in group
//! `midwatch.detection`. Produces `anomalies.detected`; what cannot be read
//! goes to `<topic>.dlq`. Keeps recent readings, log lines and spans in Redis
//! for other agents and people.
//!
//! Guarantees
//! - The core ([`decide`]) is pure: state and input in, effects out. The state
//!   of a partition lives in memory and no sample costs a round trip.
//! - A checkpoint writes what changed together with the next offset in one
//!   atomic step, fenced by an owner number. Transitions, dead letters and
//!   recent readings are acknowledged before the checkpoint that covers them,
//!   so a crash repeats work but loses none; ids of anomalies and transitions
//!   are derived from what they say, so what is repeated has the same ids.
//! - Redis says where to go on, not the group's committed offset, which is
//!   written after the checkpoint for people who look at lag.
//! - State of another epoch of the broker's data is set aside with a warning
//!   and left to expire.
//! - Without stored state a partition starts `DETECTION_WARMUP_MINUTES` back
//!   by record time. What is found on the way is published: whoever has seen
//!   it before drops it by its id. Baselines that began earlier are not the
//!   same ones, so an anomaly that was open then may come under a new id.
//! - While Redis or the broker is away, consuming pauses; nothing is dropped
//!   and memory stays bounded.
//! - One source's wrong date decides for nobody else: lines and events are
//!   late by their own service's time, and a record more than half an hour
//!   ahead of its environment, its record time and the pace of time is taken
//!   as of the present and counted (`midwatch_detection_clock_jumps_total`).
//! - A transition that the broker will never take is logged and counted
//!   (`midwatch_detection_refused_total`); the rest goes on.
//!
//! Silence is measured in event time. A partition that is at its end goes by
//! the event time that its environment reached elsewhere in this process, or by
//! the wall clock where event time is wall time; a simulation that compresses
//! time and stops as a whole is not noticed. Deliberately absent: anomalies
//! from spans.

pub mod config;
pub mod decide;
pub mod shell;
