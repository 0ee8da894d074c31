//! An unseen exam for the investigator: recordings of made-up systems in which something broke.
//!
//! Consumes a seed, produces case folders as an operator would have kept them (topology, metrics,
//! sometimes logs and traces, and the question), and, apart from them, the truth. A system is
//! played in small steps of time ([`engine`]): faults turn physical quantities (cores, connections,
//! packet loss, calls per request), and what is recorded is what the system makes of them.
//!
//! Guarantees: the same seed gives the same bytes; nothing inside a case folder, nor its name, nor
//! its place among the others tells what is wrong; alerts stand on a service that really degraded;
//! and every culprit's own records differ from their ordinary days ([`oracle`]): what could not be
//! seen by anybody is drawn again, and counted.

mod ask;
pub mod cut;
mod engine;
mod fault;
mod herring;
mod knob;
mod logs;
mod make;
mod meter;
mod oracle;
mod plan;
mod queueing;
pub mod score;
mod signals;
mod traces;
mod words;
mod world;
mod write;

pub use fault::Class;
pub use write::generate;

use serde::{Deserialize, Serialize};

/// What was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Shape {
    /// Requests, latency and availability per minutes, and the call graph.
    #[serde(rename = "metrics-with-call-graph")]
    Graph,
    #[serde(rename = "traces-logs-metrics")]
    Full,
    #[serde(rename = "metrics")]
    Metrics,
    #[serde(rename = "metrics-logs")]
    MetricsLogs,
}

impl Shape {
    pub const ALL: [Self; 4] = [Self::Graph, Self::Full, Self::Metrics, Self::MetricsLogs];

    fn has_logs(self) -> bool {
        matches!(self, Self::Full | Self::MetricsLogs)
    }
}

/// What the investigator is asked; lies in the case folder. Times are epoch milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    pub target: String,
    pub target_metric: String,
    /// Samples before it are the normal period.
    pub start_ms: i64,
    /// When the alert fired.
    pub at_ms: i64,
    pub end_ms: i64,
}

/// The answer; one line of `truth.jsonl`, outside the case folders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// Name of the case's folder.
    pub case: String,
    /// None for a healthy control.
    pub service: Option<String>,
    /// Other culprits of a compound fault.
    pub also: Vec<String>,
    /// Wire name of the anomaly type; empty for a control.
    pub cause: String,
    pub family: String,
    pub class: Class,
    pub shape: Shape,
    /// A healthy service that is loud meanwhile.
    pub red_herring: Option<String>,
    /// Calls between the culprit and the target; 0 for a control.
    pub hops: usize,
    #[serde(flatten)]
    pub question: Question,
}

/// What was made, in numbers only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub cases: usize,
    /// Draws set aside because nobody could have seen the fault (or no alert would have fired).
    pub redrawn: usize,
    /// Cases given up after many such draws.
    pub dropped: usize,
    /// Cases whose culprit is two or more calls from the target.
    pub far: usize,
    pub red_herrings: usize,
}
