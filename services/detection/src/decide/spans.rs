//! Which spans are worth keeping for people. Spans cause no anomalies.

use crate::decide::exact;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Operations of one service that are told apart; the rest share one mean. A
/// service that puts ids into its operation names must not fill the memory.
const MAX_OPERATIONS: usize = 200;
const OTHERS: &str = "*";
/// Of the ordinary spans one in so many is kept.
const EVERY: u64 = 20;

/// Durations of one service's operations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpanStatistics {
    seen: u64,
    /// Silence clock at the last span.
    #[serde(default)]
    pub(super) heard_ms: i64,
    operations: BTreeMap<String, Durations>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Durations {
    count: u64,
    #[serde(with = "exact")]
    mean_ms: f64,
}

impl SpanStatistics {
    /// Takes in a span; says whether to keep it: errors, whatever is slower
    /// than twice its operation's running mean, and every 20th.
    pub fn keep(&mut self, operation: &str, duration_ms: f64, failed: bool) -> bool {
        let known = self.operations.contains_key(operation);
        let operation = if known || self.operations.len() < MAX_OPERATIONS {
            operation
        } else {
            OTHERS
        };
        if !self.operations.contains_key(operation) {
            self.operations
                .insert(operation.to_owned(), Durations::default());
        }
        let Some(Durations { count, mean_ms }) = self.operations.get_mut(operation) else {
            return failed;
        };
        let slow = *count >= 5 && duration_ms > 2.0 * *mean_ms;
        *count += 1;
        *mean_ms += (duration_ms - *mean_ms) / (*count).min(100) as f64;
        self.seen += 1;
        failed || slow || self.seen.is_multiple_of(EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_slow_spans_and_every_twentieth_are_kept() {
        let mut spans = SpanStatistics::default();
        let kept: Vec<bool> = (0..19).map(|_| spans.keep("charge", 10.0, false)).collect();
        assert!(kept.iter().all(|kept| !kept));
        assert!(spans.keep("charge", 10.0, false));
        assert!(spans.keep("charge", 10.0, true));
        assert!(spans.keep("charge", 21.0, false));
        for i in 0..1000 {
            spans.keep(&format!("operation {i}"), 1.0, false);
        }
        assert_eq!(spans.operations.len(), MAX_OPERATIONS + 1);
    }
}
