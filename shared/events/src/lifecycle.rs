//! The life of an incident: which moves are legal, which came too early.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where an incident stands. Forward only, except that a resolved incident may
/// be reopened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum IncidentState {
    Detecting,
    Correlating,
    Investigating,
    RcaComplete,
    Remediating,
    Resolved,
}

/// What to do with a requested move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Legal now.
    Take,
    /// The incident is there already, or further on: nothing to do.
    Stay,
    /// Legal after a predecessor that has not arrived: keep it and wait.
    Park,
    /// Never legal from here.
    Refuse,
}

impl IncidentState {
    /// Every state, in order.
    pub const ALL: [IncidentState; 6] = [
        IncidentState::Detecting,
        IncidentState::Correlating,
        IncidentState::Investigating,
        IncidentState::RcaComplete,
        IncidentState::Remediating,
        IncidentState::Resolved,
    ];

    /// The name on the wire and in the `incidents` table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            IncidentState::Detecting => "DETECTING",
            IncidentState::Correlating => "CORRELATING",
            IncidentState::Investigating => "INVESTIGATING",
            IncidentState::RcaComplete => "RCA_COMPLETE",
            IncidentState::Remediating => "REMEDIATING",
            IncidentState::Resolved => "RESOLVED",
        }
    }

    /// The state of this wire name.
    #[must_use]
    pub fn parse(text: &str) -> Option<IncidentState> {
        IncidentState::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
    }

    /// How far along the state is, from 0.
    #[must_use]
    pub fn rank(self) -> i16 {
        self as i16
    }

    /// Judges the move from `self` to `to`.
    ///
    /// A step forward by one is legal, and so is resolution from any state
    /// after correlation, because a fault may end by itself at any time. A
    /// longer jump forward is early: its predecessor is on its way on another
    /// topic. Going back is refused, except for reopening.
    #[must_use]
    pub fn judge(self, to: IncidentState) -> Move {
        use IncidentState::{Correlating, Investigating, Resolved};
        match (self, to) {
            (from, to) if from == to => Move::Stay,
            (Resolved, Investigating) => Move::Take,
            (from, Resolved) if from >= Correlating => Move::Take,
            (from, to) if to.rank() == from.rank() + 1 => Move::Take,
            (from, to) if to > from => Move::Park,
            _ => Move::Refuse,
        }
    }
}

impl fmt::Display for IncidentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use IncidentState::{
        Correlating, Detecting, Investigating, RcaComplete, Remediating, Resolved,
    };
    use proptest::prelude::*;

    #[test]
    fn the_whole_table_of_moves_is_as_the_reference_says() {
        // Rows: from; columns: to, in the order of ALL.
        let expected = [
            (Detecting, "stay take park park park park"),
            (Correlating, "refuse stay take park park take"),
            (Investigating, "refuse refuse stay take park take"),
            (RcaComplete, "refuse refuse refuse stay take take"),
            (Remediating, "refuse refuse refuse refuse stay take"),
            (Resolved, "refuse refuse take refuse refuse stay"),
        ];
        for (from, row) in expected {
            let got: Vec<&str> = IncidentState::ALL
                .into_iter()
                .map(|to| match from.judge(to) {
                    Move::Take => "take",
                    Move::Stay => "stay",
                    Move::Park => "park",
                    Move::Refuse => "refuse",
                })
                .collect();
            assert_eq!(got.join(" "), row, "from {from}");
        }
    }

    proptest! {
        #[test]
        fn only_reopening_ever_goes_back(moves in proptest::collection::vec(0usize..6, 1..40)) {
            let mut state = Detecting;
            for index in moves {
                let to = IncidentState::ALL[index];
                if state.judge(to) == Move::Take {
                    prop_assert!(to > state || (state == Resolved && to == Investigating));
                    state = to;
                }
            }
        }
    }
}
