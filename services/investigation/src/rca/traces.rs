//! What spans say: who works longer, where failures begin, which calls are no
//! longer made.
//!
//! The time of a span that its children do not cover is its service's own (or
//! the way to them and back). A failed span without a failed child is where a
//! failure begins.

use super::calls::{client_of, edges, patterns, unanswered};
use super::change::{quantile_of, sorted};
use super::coverage::{self, Window};
use super::recording::{Question, Recording, Span};
use std::collections::{BTreeMap, HashMap};

/// Spans of an operation on either side before it is compared.
pub(super) const FEWEST: usize = 5;

/// One operation of one service.
pub(super) type Operation<'a> = (&'a str, &'a str);

/// What one service's spans say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spoken {
    /// Seconds of own work per second of the fault, beyond the normal.
    pub excess_seconds: f64,
    /// Seconds of own work per second before.
    pub usual_seconds: f64,
    /// The operation that adds most to it: its name, own milliseconds before
    /// and since, and the slowest span since.
    pub slowest: Option<Slowed>,
    /// Failures per second that begin here, beyond the normal.
    pub failures: f64,
    /// The operation where most of them begin.
    pub failed: Option<Failed>,
    /// Of these failures, those in which a callee that usually answers has no
    /// span, by callee: it may have refused the call.
    pub unanswered: BTreeMap<String, f64>,
    /// Calls that are no longer made, or made much more often.
    pub pattern: Vec<Pattern>,
    /// Spans per second before and since.
    pub rates: (f64, f64),
}

/// An operation that takes longer by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Slowed {
    pub operation: String,
    pub before_ms: f64,
    pub after_ms: f64,
    pub span: String,
    pub at_ms: i64,
    pub excess_seconds: f64,
}

/// An operation in which failures begin.
#[derive(Clone, Debug, PartialEq)]
pub struct Failed {
    pub operation: String,
    pub before: usize,
    pub after: usize,
    /// The first failed span since.
    pub span: String,
    pub at_ms: i64,
}

/// A call that an operation makes more or less often.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    pub operation: String,
    pub callee: String,
    pub call: String,
    /// Calls per span of the operation.
    pub before: f64,
    pub after: f64,
    /// A span of the operation since.
    pub span: String,
    pub at_ms: i64,
    /// 0..1.
    pub strength: f64,
}

/// A caller's wait for a callee that the callee does not explain.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    pub caller: String,
    pub callee: String,
    /// Seconds per second beyond the normal.
    pub excess_seconds: f64,
    /// Calls that got no span of the callee, as a share since the start.
    pub unanswered: f64,
    pub span: String,
    pub at_ms: i64,
}

/// Everything that spans say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traces {
    pub services: BTreeMap<String, Spoken>,
    pub edges: Vec<Edge>,
    /// Seconds per second that spans which only wait for a call take longer.
    pub waited_seconds: f64,
}

/// One span with what its children leave to it.
pub(super) struct Node<'a> {
    pub(super) span: &'a Span,
    pub(super) own_ms: f64,
    /// Its parent is a span of the same service.
    pub(super) inner: bool,
    /// Indices of its children.
    pub(super) children: Vec<usize>,
    pub(super) since: bool,
}

/// Reads the spans of a recording.
#[must_use]
pub fn read(recording: &Recording, question: &Question) -> Traces {
    let Some((window, bases)) = coverage::of_spans(recording, question) else {
        return Traces::default();
    };
    let nodes = nodes(recording, question, window);
    let last = nodes.iter().map(|node| node.span.start_ms).max();
    let last = last.unwrap_or(question.end_ms);
    #[expect(clippy::cast_precision_loss, reason = "hours in milliseconds")]
    let since = (last - question.start_ms).max(1_000) as f64 / 1_000.0;
    let mut traces = Traces::default();
    let mut operations: BTreeMap<Operation<'_>, Vec<usize>> = BTreeMap::new();
    for (index, node) in nodes.iter().enumerate() {
        let key = (node.span.service.as_str(), node.span.operation.as_str());
        operations.entry(key).or_default().push(index);
    }
    for ((service, _), members) in &operations {
        let base = bases.get(service).copied().flatten();
        let before = base.map_or(0.0, |base| base.before_ms / 1_000.0);
        let lengths = (before.max(1.0), since);
        let spoken = traces.services.entry((*service).to_owned()).or_default();
        let client = client_of(&nodes, members);
        if client.is_some() {
            let mut waits = Spoken::default();
            slowness(&nodes, members, lengths, &mut waits);
            traces.waited_seconds += waits.excess_seconds;
        } else {
            slowness(&nodes, members, lengths, spoken);
        }
        if let Some(base) = base {
            failures(&nodes, members, lengths, base.is_brief, spoken);
        }
        patterns(&nodes, members, spoken);
        #[expect(clippy::cast_precision_loss, reason = "counts of spans")]
        let count = |since: bool| {
            let members = members.iter().filter(|index| nodes[**index].since == since);
            members.count() as f64
        };
        spoken.rates.0 += count(false) / lengths.0;
        spoken.rates.1 += count(true) / lengths.1;
    }
    traces.edges = edges(&nodes, &operations, since);
    traces
}

fn nodes<'a>(recording: &'a Recording, question: &Question, window: Window) -> Vec<Node<'a>> {
    let spans: Vec<&Span> = recording
        .spans
        .iter()
        .filter(|span| window.holds(span.start_ms))
        .collect();
    let mut by_id: HashMap<(&str, &str), usize> = HashMap::with_capacity(spans.len());
    for (index, span) in spans.iter().enumerate() {
        by_id.insert((&span.trace, &span.own), index);
    }
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); spans.len()];
    let mut inner = vec![false; spans.len()];
    for (index, span) in spans.iter().enumerate() {
        let parent = span.parent.as_deref().unwrap_or_default();
        if let Some(parent) = by_id.get(&(span.trace.as_str(), parent))
            && *parent != index
        {
            children[*parent].push(index);
            inner[index] = spans[*parent].service == span.service;
        }
    }
    children
        .into_iter()
        .enumerate()
        .map(|(index, children)| {
            let span = spans[index];
            Node {
                span,
                own_ms: own(span, children.iter().map(|child| spans[*child])),
                inner: inner[index],
                children,
                since: span.start_ms >= question.start_ms,
            }
        })
        .collect()
}

/// The time that no child covers. Children of another clock are counted by
/// their length.
fn own<'a>(span: &Span, children: impl Iterator<Item = &'a Span>) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "times relative to the span")]
    let mut covered: Vec<(f64, f64)> = children
        .map(|child| {
            let start = (child.start_ms - span.start_ms) as f64;
            (start, start + child.duration_ms)
        })
        .collect();
    covered.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut sum = 0.0;
    let mut until = f64::NEG_INFINITY;
    for (start, end) in covered {
        sum += (end - start.max(until)).max(0.0);
        until = until.max(end);
    }
    (span.duration_ms - sum).max(0.0)
}

/// Own milliseconds of some spans: the middle, and the mean of what is not
/// among the slowest hundredth of both sides together.
fn slowness(nodes: &[Node<'_>], members: &[usize], lengths: (f64, f64), spoken: &mut Spoken) {
    // A span that failed may have waited for an answer that never came.
    let side = |since: bool| {
        sorted(
            members
                .iter()
                .map(|index| &nodes[*index])
                .filter(|node| node.since == since && !node.span.failed)
                .map(|node| node.own_ms),
        )
    };
    let (before, after) = (side(false), side(true));
    if before.len() < FEWEST || after.len() < FEWEST {
        return;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of spans")]
    let usual = mean(&before) / 1_000.0 * before.len() as f64 / lengths.0;
    spoken.usual_seconds += usual;
    let Some(excess_ms) = excess(&before, &after) else {
        return;
    };
    #[expect(clippy::cast_precision_loss, reason = "counts of spans")]
    let seconds = excess_ms / 1_000.0 * after.len() as f64 / lengths.1;
    spoken.excess_seconds += seconds;
    let is_slower = spoken
        .slowest
        .as_ref()
        .is_none_or(|known| seconds > known.excess_seconds);
    if !is_slower {
        return;
    }
    let example = members
        .iter()
        .map(|index| &nodes[*index])
        .filter(|node| node.since)
        .max_by(|one, other| one.own_ms.total_cmp(&other.own_ms));
    spoken.slowest = example.map(|node| Slowed {
        operation: node.span.operation.clone(),
        before_ms: mean(&before),
        after_ms: mean(&before) + excess_ms,
        span: node.span.id.clone(),
        at_ms: node.span.start_ms,
        excess_seconds: seconds,
    });
}

#[expect(clippy::cast_precision_loss, reason = "counts of spans")]
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// How much longer on average; `None` where chance explains it (Welch's
/// t below 3, both sides held at the 99th percentile of the slower one).
pub(super) fn excess(before: &[f64], after: &[f64]) -> Option<f64> {
    let most = quantile_of(before, 0.99).max(quantile_of(after, 0.99));
    let held =
        |values: &[f64]| -> Vec<f64> { values.iter().map(|value| value.min(most)).collect() };
    let (before, after) = (held(before), held(after));
    let (one, other) = (mean(&before), mean(&after));
    #[expect(clippy::cast_precision_loss, reason = "counts of spans")]
    let square_error = |values: &[f64], mean: f64| {
        let count = values.len() as f64;
        let sum: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        sum / (count - 1.0).max(1.0) / count
    };
    let error = (square_error(&before, one) + square_error(&after, other)).sqrt();
    let floor = 0.02 * one + 0.01;
    (other - one > 3.0 * error + floor).then_some(other - one)
}

/// Of a service that was seen for a short while only before, a few failures
/// more than were seen count as not seen.
fn failures(
    nodes: &[Node<'_>],
    members: &[usize],
    lengths: (f64, f64),
    is_brief: bool,
    spoken: &mut Spoken,
) {
    let begins = |node: &Node<'_>| {
        node.span.failed && !node.children.iter().any(|child| nodes[*child].span.failed)
    };
    let (mut before, mut after) = (0_usize, 0_usize);
    let mut example = None;
    for node in members.iter().map(|index| &nodes[*index]) {
        if !begins(node) {
            continue;
        }
        if node.since {
            after += 1;
            example.get_or_insert(node.span);
        } else {
            before += 1;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of spans")]
    let (usual, now) = (before as f64 / lengths.0, after as f64 / lengths.1);
    // A Poisson count strays by its root.
    #[expect(clippy::cast_precision_loss, reason = "counts of spans")]
    let strayed = (before as f64 + f64::from(u8::from(is_brief))).sqrt();
    #[expect(clippy::cast_precision_loss, reason = "counts of spans")]
    let error = (strayed / lengths.0).hypot((after as f64).sqrt() / lengths.1);
    if after < 2 || now - usual <= 2.0 * error {
        return;
    }
    spoken.failures += now - usual;
    if let Some((callee, share)) = unanswered(nodes, members) {
        *spoken.unanswered.entry(callee.to_owned()).or_default() += share * (now - usual);
    }
    if let Some(span) = example
        && spoken
            .failed
            .as_ref()
            .is_none_or(|known| after > known.after)
    {
        spoken.failed = Some(Failed {
            operation: span.operation.clone(),
            before,
            after,
            span: span.id.clone(),
            at_ms: span.start_ms,
        });
    }
}
