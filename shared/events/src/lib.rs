//! The vocabulary of Midwatch: topics, payloads, identifiers, the life of an
//! incident and the service graph.
//!
//! Pure: no I/O, no clock, no randomness, no async. Every other crate depends
//! on this one and it depends on none of them.
//!
//! Guarantees
//! - each topic is declared once, in [`topics`], with key, payload, retention,
//!   size limit and dead-letter topic;
//! - a payload that this crate encodes decodes to the same value, and golden
//!   files under `golden/` hold the wire format of each payload version still;
//! - derived identifiers ([`ids`]) depend only on what they are derived from,
//!   so a replay names the same things by the same names.

pub mod action;
pub mod anomaly;
pub mod artifact;
pub mod cause;
pub mod decode;
pub mod ids;
pub mod incident;
pub mod knowledge;
pub mod lifecycle;
pub mod mention;
pub mod more;
pub mod raw;
pub mod reference;
pub mod response;
pub mod topics;
pub mod topology;

pub use anomaly::{Anomaly, AnomalyType, Direction, Severity, Transition};
pub use cause::ChangeType;
pub use decode::{Coordinates, DecodeError, Envelope, Event, Meta, decode};
pub use incident::{
    BlastRadius, CorrelationSignal, EvidenceKind, EvidenceRef, GroupedAnomaly, IncidentHeader,
    IncidentOpened, IncidentResolved, IncidentUpdated, LeftOut, RcaCompleted, RejectedClaim,
    RootCauseCandidate,
};
pub use lifecycle::IncidentState;
pub use raw::{GroundTruth, RawDeployment, RawKubernetes, RawLog, RawMetric, RawSpan, SpanStatus};
pub use response::{
    ActionStep, OperatorCommand, PostmortemGenerated, RemediationAction, RemediationPlan,
};
pub use topics::Topic;
