//! Who called whom, from spans in whatever order they come.

use midwatch_events::raw::RawSpan;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Spans remembered to find the caller of another one, and those that wait for
/// their parent.
const SPANS_LIMIT: usize = 50_000;
/// A span and its parent come within this time of each other, event time: a span
/// is sent when it ends, so that a child comes before its parent as a rule.
const SPAN_WAIT_MS: i64 = 10 * 60_000;
/// Children that wait for one parent.
const CHILDREN_LIMIT: usize = 1_000;

/// What names a span: its id is only its trace's own, and two environments have
/// nothing to do with each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SpanKey {
    environment: Arc<str>,
    trace: Arc<str>,
    span: Arc<str>,
}

/// A service that was called, and when.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Child {
    pub service: String,
    pub start_ms: i64,
}

/// Spans of the last minutes, to find who called whom, in whatever order they
/// come. Bounded by number and by event time.
#[derive(Debug, Default)]
pub(super) struct Spans {
    /// The service of each.
    known: HashMap<SpanKey, String>,
    known_order: VecDeque<(i64, SpanKey)>,
    /// Those that wait for the span of this name: their parent.
    waiting: HashMap<SpanKey, Vec<Child>>,
    waiting_order: VecDeque<(i64, SpanKey)>,
    waiting_count: usize,
}

impl Spans {
    /// Takes in a span: who called it, where that is known by now, and whom it
    /// called of those that came before it.
    pub fn take(&mut self, span: &RawSpan) -> (Option<String>, Vec<Child>) {
        let environment: Arc<str> = span.environment.as_str().into();
        self.forget(&environment, span.start_ms);
        let trace: Arc<str> = span.trace_id.as_str().into();
        let key = |id: &str| SpanKey {
            environment: Arc::clone(&environment),
            trace: Arc::clone(&trace),
            span: id.into(),
        };
        let own = key(&span.span_id);
        let parent = span.parent_span_id.as_deref().filter(|id| !id.is_empty());
        let caller = parent.and_then(|parent| {
            let parent = key(parent);
            let caller = self.known.get(&parent).cloned();
            if caller.is_none() {
                self.wait(parent, span);
            }
            caller
        });
        let children = self.waiting.remove(&own).unwrap_or_default();
        self.waiting_count -= children.len();
        let known = self.known.insert(own.clone(), span.service.clone());
        if known.is_none() {
            self.known_order.push_back((span.start_ms, own));
        }
        (caller, children)
    }

    fn wait(&mut self, parent: SpanKey, span: &RawSpan) {
        let children = self.waiting.entry(parent.clone()).or_default();
        if children.is_empty() {
            self.waiting_order.push_back((span.start_ms, parent));
        }
        if children.len() < CHILDREN_LIMIT {
            self.waiting_count += 1;
            children.push(Child {
                service: span.service.clone(),
                start_ms: span.start_ms,
            });
        }
    }

    /// Forgets what is too old or too much, oldest arrival first: each was pushed
    /// once, so that this is constant work for each span. Time is that of the span
    /// at hand: one wrong clock must not make everything old for good.
    fn forget(&mut self, environment: &Arc<str>, now_ms: i64) {
        let Spans {
            known,
            known_order,
            waiting,
            waiting_order,
            waiting_count,
        } = self;
        let is_old = |(at_ms, key): &(i64, SpanKey)| {
            key.environment == *environment && now_ms.saturating_sub(*at_ms) > SPAN_WAIT_MS
        };
        while known_order.len() >= SPANS_LIMIT || known_order.front().is_some_and(is_old) {
            let Some((_, key)) = known_order.pop_front() else {
                break;
            };
            known.remove(&key);
        }
        // One whose parent has come is still in the order, without a child.
        while *waiting_count >= SPANS_LIMIT
            || waiting_order.len() >= 2 * SPANS_LIMIT
            || waiting_order.front().is_some_and(is_old)
        {
            let Some((_, key)) = waiting_order.pop_front() else {
                break;
            };
            *waiting_count -= waiting.remove(&key).map_or(0, |children| children.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_without_a_parent_are_bounded_by_number_and_by_time() {
        let mut spans = Spans::default();
        let orphan = |number: usize, start_ms: i64| {
            let (id, parent) = (format!("c{number}"), format!("p{number}"));
            let json = serde_json::json!({"trace_id": "t", "span_id": id, "service": "order",
                "environment": "e", "operation": "o", "duration_ms": 1.0,
                "parent_span_id": parent, "start_ms": start_ms});
            serde_json::from_value::<RawSpan>(json).expect("a span")
        };
        for number in 0..(SPANS_LIMIT + 100) {
            spans.take(&orphan(number, 0));
        }
        assert_eq!(spans.waiting_count, SPANS_LIMIT);
        assert_eq!(spans.waiting.len(), SPANS_LIMIT);
        assert_eq!(
            (spans.known.len(), spans.known_order.len()),
            (SPANS_LIMIT, SPANS_LIMIT)
        );
        spans.take(&orphan(0, SPAN_WAIT_MS + 1));
        let left = (spans.waiting_count, spans.waiting.len(), spans.known.len());
        assert_eq!(left, (1, 1, 1));
        assert_eq!((spans.known_order.len(), spans.waiting_order.len()), (1, 1));
    }
}
