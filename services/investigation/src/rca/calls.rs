//! What spans say of the calls between services: whom one only waits for, who
//! gave no answer, which calls are no longer made, which take longer than the
//! callee explains.

use super::change::sorted;
use super::traces::{Edge, FEWEST, Node, Operation, Pattern, Spoken, excess};
use std::collections::BTreeMap;

/// The service that an operation does nothing but call: its spans lie within
/// one of its own service and hold a single one of another service. Their own
/// time is the way there and back.
pub(super) fn client_of<'a>(nodes: &[Node<'a>], members: &[usize]) -> Option<&'a str> {
    let mut callee = None;
    let (mut calls, mut inner) = (0, 0);
    for node in members.iter().map(|index| &nodes[*index]) {
        inner += usize::from(node.inner);
        match node.children.as_slice() {
            [] => {}
            [child] => {
                let name = nodes[*child].span.service.as_str();
                if name == node.span.service || callee.is_some_and(|known| known != name) {
                    return None;
                }
                callee = Some(name);
                calls += 1;
            }
            _ => return None,
        }
    }
    let holds = calls * 2 > members.len() && inner * 10 >= members.len() * 9;
    callee.filter(|_| holds)
}

/// The callee that usually has a span below such spans and has none below
/// those in which failures begin, and how likely it is that it refused: surely
/// where the calls before it were made, evenly where it comes first, because a
/// failure before any call looks the same.
pub(super) fn unanswered<'a>(nodes: &[Node<'a>], members: &[usize]) -> Option<(&'a str, f64)> {
    #[derive(Default)]
    struct Called {
        usual: f64,
        failing: f64,
        offset: f64,
    }
    let mut called: BTreeMap<&str, Called> = BTreeMap::new();
    let (mut usual, mut failing) = (0.0_f64, 0.0_f64);
    for node in members.iter().map(|index| &nodes[*index]) {
        let mut services: BTreeMap<&str, i64> = BTreeMap::new();
        let mut child_failed = false;
        for child in &node.children {
            let child = nodes[*child].span;
            child_failed |= child.failed;
            let start = child.start_ms - node.span.start_ms;
            let first = services.entry(child.service.as_str()).or_insert(start);
            *first = (*first).min(start);
        }
        let fails = node.span.failed && !child_failed && node.since;
        if node.span.failed && !fails {
            continue;
        }
        *(if fails { &mut failing } else { &mut usual }) += 1.0;
        for (service, start) in services {
            let known = called.entry(service).or_default();
            if fails {
                known.failing += 1.0;
            } else {
                known.usual += 1.0;
                #[expect(clippy::cast_precision_loss, reason = "milliseconds of a request")]
                let start = start as f64;
                known.offset += start;
            }
        }
    }
    if usual < 5.0 || failing < 2.0 {
        return None;
    }
    let mut order: Vec<(f64, &str, bool)> = called
        .iter()
        .filter(|(_, one)| one.usual >= 0.6 * usual)
        .map(|(service, one)| {
            let missing = one.failing / failing <= 0.3 * one.usual / usual;
            (one.offset / one.usual, *service, missing)
        })
        .collect();
    order.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(other.1)));
    let place = order.iter().position(|(_, _, missing)| *missing)?;
    let is_client = client_of(nodes, members).is_some();
    let share = if place > 0 || is_client { 0.9 } else { 0.5 };
    let name = order[place].1;
    let span = members.iter().flat_map(|index| &nodes[*index].children);
    let mut spans = span.map(|child| nodes[*child].span);
    let found = spans.find(|span| span.service == name)?;
    Some((found.service.as_str(), share))
}

/// Calls per span of an operation, before and since, of spans that did not
/// fail: one that failed stops half way.
pub(super) fn patterns(nodes: &[Node<'_>], members: &[usize], spoken: &mut Spoken) {
    let mut totals = (0_usize, 0_usize);
    let mut calls: BTreeMap<Operation<'_>, (usize, usize)> = BTreeMap::new();
    let mut example = None;
    for node in members.iter().map(|index| &nodes[*index]) {
        if node.span.failed {
            continue;
        }
        if node.since {
            totals.1 += 1;
            example.get_or_insert(node.span);
        } else {
            totals.0 += 1;
        }
        for child in &node.children {
            let child = nodes[*child].span;
            let count = calls
                .entry((child.service.as_str(), child.operation.as_str()))
                .or_default();
            if node.since {
                count.1 += 1;
            } else {
                count.0 += 1;
            }
        }
    }
    let Some(example) = example.filter(|_| totals.0 >= FEWEST && totals.1 >= FEWEST) else {
        return;
    };
    for ((callee, call), (before, after)) in calls {
        #[expect(clippy::cast_precision_loss, reason = "counts of spans")]
        let (usual, now, error) = {
            let rates = (totals.0 as f64, totals.1 as f64);
            let error = ((before as f64 + 1.0).sqrt() / rates.0)
                .hypot((after as f64 + 1.0).sqrt() / rates.1);
            (before as f64 / rates.0, after as f64 / rates.1, error)
        };
        let by = (now - usual).abs();
        if by <= 4.0 * error || by < 0.15 * usual.max(now) {
            continue;
        }
        spoken.pattern.push(Pattern {
            operation: example.operation.clone(),
            callee: callee.to_owned(),
            call: call.to_owned(),
            before: usual,
            after: now,
            span: example.id.clone(),
            at_ms: example.start_ms,
            strength: (by / usual.max(now)).clamp(0.0, 1.0),
        });
    }
}

/// Waits for a callee, beyond what it takes itself, per edge. `since` is the
/// time since the fault began, in seconds.
pub(super) fn edges(
    nodes: &[Node<'_>],
    operations: &BTreeMap<Operation<'_>, Vec<usize>>,
    since: f64,
) -> Vec<Edge> {
    let mut found: BTreeMap<(&str, &str), Edge> = BTreeMap::new();
    for ((service, _), members) in operations {
        let mut by_callee: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for index in members {
            for child in &nodes[*index].children {
                let callee = nodes[*child].span.service.as_str();
                let known = by_callee.entry(callee).or_default();
                if callee != *service && known.last() != Some(index) {
                    known.push(*index);
                }
            }
        }
        for (callee, callers) in by_callee {
            let side = |since: bool| {
                let own = callers.iter().map(|index| &nodes[*index]);
                sorted(
                    own.filter(|node| node.since == since)
                        .map(|node| node.own_ms),
                )
            };
            let (before, after) = (side(false), side(true));
            if before.len() < FEWEST || after.len() < FEWEST {
                continue;
            }
            let Some(excess_ms) = excess(&before, &after) else {
                continue;
            };
            let example = callers.iter().map(|index| &nodes[*index]);
            let Some(example) = example
                .filter(|node| node.since)
                .max_by(|one, other| one.own_ms.total_cmp(&other.own_ms))
            else {
                continue;
            };
            #[expect(clippy::cast_precision_loss, reason = "counts of spans")]
            let seconds = excess_ms / 1_000.0 * after.len() as f64 / since;
            let edge = found.entry((service, callee)).or_insert_with(|| Edge {
                caller: (*service).to_owned(),
                callee: callee.to_owned(),
                excess_seconds: 0.0,
                unanswered: 0.0,
                span: example.span.id.clone(),
                at_ms: example.span.start_ms,
            });
            edge.excess_seconds += seconds;
        }
    }
    found.into_values().collect()
}
