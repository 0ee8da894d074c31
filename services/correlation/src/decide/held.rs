//! Anomalies that began during maintenance, until it is over.
//!
//! The first are kept whole, with what lay around them, the next with their
//! numbers alone; what lay around those is read from the others when it counts.
//! More than that are not followed, and each is told to be so.

use super::state::{State, Surroundings, grouped};
use midwatch_events::anomaly::{Anomaly, Transition};
use midwatch_events::more;
use midwatch_events::topology::Topology;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Kept whole: some kilobytes each, in a state that is written with every input.
pub const WHOLE: usize = 500;
/// Kept at all: as many more as an incident lists, half a kilobyte each.
pub const HELD: usize = WHOLE + 2_000;

/// An anomaly that began inside a maintenance window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    pub anomaly: Anomaly,
    /// Of one that is kept in brief only what is its own.
    pub surroundings: Surroundings,
    #[serde(default)]
    pub is_brief: bool,
}

impl Held {
    fn of(anomaly: &Anomaly, around: &Surroundings, is_brief: bool) -> Held {
        let surroundings = if is_brief {
            Surroundings {
                onset: around.onset,
                load: around.load,
                ..Surroundings::default()
            }
        } else {
            // The graph is read again from the groups around when it counts.
            Surroundings {
                topology: around.topology.near(&anomaly.service),
                ..around.clone()
            }
        };
        let mut held = Held {
            anomaly: anomaly.clone(),
            surroundings,
            is_brief,
        };
        held.shorten();
        held
    }

    fn shorten(&mut self) {
        if self.is_brief {
            self.anomaly.evidence.clear();
            self.anomaly.description = more::brief(&grouped(&self.anomaly, String::new()));
        }
    }

    /// It went on: it is as detection says now, and began when it began.
    pub(super) fn go_on(&mut self, anomaly: &Anomaly) {
        self.anomaly = Anomaly {
            onset_ms: self.anomaly.onset_ms,
            detected_at_ms: self.anomaly.detected_at_ms,
            ..anomaly.clone()
        };
        self.shorten();
    }
}

impl State {
    /// Whether one more can be held.
    pub(super) fn can_hold(&self) -> bool {
        self.held.len() < HELD
    }

    /// Holds an anomaly, where there is room; counts it otherwise.
    pub(super) fn hold(&mut self, anomaly: &Anomaly, around: &Surroundings) {
        if !self.can_hold() {
            // Its further words are no further anomaly.
            self.unheld += u64::from(anomaly.transition == Transition::Started);
            return;
        }
        let whole = self.held.values().filter(|held| !held.is_brief).count();
        let held = Held::of(anomaly, around, whole >= WHOLE);
        self.held.insert(anomaly.anomaly_id, held);
    }

    /// Takes these out, with what lies around them.
    pub(super) fn release(&mut self, ids: &[Uuid]) -> Vec<Held> {
        let mut released: Vec<Held> = ids.iter().filter_map(|id| self.held.remove(id)).collect();
        let whole = || released.iter().filter(|held| !held.is_brief);
        // Changes, rates and ranks are those of the whole environment.
        let Some(last) = whole().next_back() else {
            return released;
        };
        let environment = Surroundings {
            topology: Topology::default(),
            recent_metrics: Vec::new(),
            recent_errors: Vec::new(),
            ..last.surroundings.clone()
        };
        let mut graph = Topology::default();
        for held in whole() {
            graph.merge(&held.surroundings.topology);
        }
        for held in released.iter_mut().filter(|held| held.is_brief) {
            held.surroundings = Surroundings {
                topology: graph.near(&held.anomaly.service),
                onset: held.surroundings.onset,
                load: held.surroundings.load,
                ..environment.clone()
            };
        }
        released
    }
}
