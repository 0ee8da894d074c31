//! What spans have shown, in the form in which it outlives the process.
//!
//! A call counts for hours or days after it was last seen, and that many spans
//! are too many to be read again at a start. So the table gives out one field
//! per call and per caller, and takes them back.

use super::{ContextTable, EDGES_LIMIT, Environment};
use midwatch_events::topics::RETENTION_MS;
use midwatch_events::topology::EdgeSource;
use std::collections::BTreeMap;
use std::sync::PoisonError;

/// By `[environment, caller, callee]` when the call was last seen, and by
/// `[environment, caller]` when the caller was first and last seen calling
/// anybody; names and times as JSON.
pub type Calls = BTreeMap<String, String>;

fn field(names: &[&str]) -> String {
    serde_json::to_string(names).expect("names are plain strings")
}

impl ContextTable {
    /// What spans have shown so far, in all environments.
    #[must_use]
    pub fn calls(&self) -> Calls {
        let tables = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut calls = Calls::new();
        for (name, environment) in &tables.environments {
            let newest = environment.callers.values().map(|(_, last_ms)| *last_ms);
            // What is older counts under no setting.
            let since_ms = newest.max().unwrap_or(0) - RETENTION_MS;
            for (caller, callee, sources) in environment.edges.edges() {
                if let Some(at_ms) = sources
                    .get(&EdgeSource::Spans)
                    .filter(|at| **at >= since_ms)
                {
                    calls.insert(field(&[name, caller, callee]), at_ms.to_string());
                }
            }
            let callers = environment.callers.iter();
            for (caller, (first_ms, last_ms)) in callers.filter(|(_, seen)| seen.1 >= since_ms) {
                let times = format!("[{first_ms},{last_ms}]");
                calls.insert(field(&[name, caller]), times);
            }
        }
        calls
    }

    /// Takes back what was given out earlier, beside what is known; what cannot
    /// be read is left out. Answers with the number of calls.
    pub fn restore<'a>(&self, stored: impl Iterator<Item = (&'a String, &'a String)>) -> usize {
        let mut tables = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut restored = 0;
        for (field, times) in stored {
            let Ok(names) = serde_json::from_str::<Vec<String>>(field) else {
                continue;
            };
            let mut names = names.into_iter();
            let (Some(environment), Some(caller), callee) =
                (names.next(), names.next(), names.next())
            else {
                continue;
            };
            let environment = tables.environments.entry(environment).or_default();
            match callee {
                Some(callee) => {
                    let at_ms = times.parse::<i64>();
                    restored += usize::from(
                        at_ms.is_ok_and(|at_ms| environment.restore(&caller, &callee, at_ms)),
                    );
                }
                None => {
                    if let Ok((first_ms, last_ms)) = serde_json::from_str(times) {
                        environment.has_called(&caller, (first_ms, last_ms));
                    }
                }
            }
        }
        restored
    }
}

impl Environment {
    fn restore(&mut self, caller: &str, callee: &str, at_ms: i64) -> bool {
        let is_new = self.edges.sources(caller, callee).is_none();
        if is_new && self.edge_count >= EDGES_LIMIT {
            return false;
        }
        self.edge_count += usize::from(is_new);
        self.edges
            .add_seen(caller, callee, EdgeSource::Spans, at_ms);
        true
    }

    /// Notes when a caller was seen calling anybody.
    pub(super) fn has_called(&mut self, caller: &str, (first_ms, last_ms): (i64, i64)) {
        let seen = self
            .callers
            .entry(caller.to_owned())
            .or_insert((first_ms, last_ms));
        *seen = (seen.0.min(first_ms), seen.1.max(last_ms));
    }
}
