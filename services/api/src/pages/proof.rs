//! The evidence graph: which record supports or refutes which candidate, as a
//! drawing. Each record is a link to its source. `proof.html` prints it.

use super::evidence::{Sources, source};
use super::format;
use midwatch_events::{EvidenceKind, EvidenceRef, RootCauseCandidate};
use serde::Serialize;
use std::collections::BTreeMap;

/// Candidates and records drawn at most; the lists below have them all.
const CAUSES: usize = 6;
const ITEMS: usize = 24;
/// Room between two boxes of a column.
const ROOM: f64 = 10.0;
/// Height of a line of text.
const LINE: f64 = 15.0;

/// How wide the columns are, and how many letters fit.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    class: &'static str,
    cause_width: f64,
    gap: f64,
    item_width: f64,
    cause_letters: usize,
    item_letters: usize,
    item_lines: usize,
}

/// For screens.
pub const WIDE: Layout = Layout {
    class: "wide",
    cause_width: 230.0,
    gap: 190.0,
    item_width: 560.0,
    cause_letters: 30,
    item_letters: 78,
    item_lines: 1,
};

/// For phones.
pub const NARROW: Layout = Layout {
    class: "narrow",
    cause_width: 84.0,
    gap: 44.0,
    item_width: 204.0,
    cause_letters: 11,
    item_letters: 29,
    item_lines: 2,
};

/// A line of text in a box.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Words {
    pub y: f64,
    pub text: String,
    /// `strong`, `soft` or empty.
    pub class: &'static str,
}

/// A candidate or a record.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Node {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
    pub text_x: f64,
    pub words: Vec<Words>,
    /// `first` for the candidate that comes first; a record's kind.
    pub class: &'static str,
    /// Where a click leads.
    pub href: String,
    /// What a screen reader says.
    pub label: String,
}

/// What a record says about a candidate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bond {
    pub path: String,
    pub refutes: bool,
    pub text: String,
}

/// A drawing, ready to print.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Proof {
    pub class: &'static str,
    pub width: f64,
    pub height: f64,
    pub causes: Vec<Node>,
    pub items: Vec<Node>,
    pub bonds: Vec<Bond>,
    pub label: String,
    /// Records and candidates that did not fit.
    pub more: usize,
}

/// A record with the candidates that it is about: place, and whether it
/// refutes.
struct Item<'a> {
    record: &'a EvidenceRef,
    about: Vec<(usize, bool)>,
}

/// Draws what the candidates rest on; `None` where none rests on anything.
#[must_use]
pub fn draw(candidates: &[RootCauseCandidate], sources: &Sources, layout: Layout) -> Option<Proof> {
    let all = items(candidates);
    if all.is_empty() {
        return None;
    }
    let drawn = &candidates[..candidates.len().min(CAUSES)];
    let kept: Vec<&Item> = all.iter().take(ITEMS).collect();
    let mut y = 2.0;
    let item_x = layout.cause_width + layout.gap;
    let nodes: Vec<Node> = kept
        .iter()
        .map(|item| {
            let node = item_node(item, sources, layout, (item_x, y));
            y += node.height + ROOM;
            node
        })
        .collect();
    let causes = cause_nodes(drawn, &kept, &nodes, layout);
    let bottom = |nodes: &[Node]| nodes.last().map_or(0.0, |node| node.y + node.height);
    let mut bonds = Vec::new();
    for (item, node) in kept.iter().zip(&nodes) {
        for (place, refutes) in &item.about {
            let Some(cause) = causes.get(*place) else {
                continue;
            };
            bonds.push(Bond {
                path: path(cause, node),
                refutes: *refutes,
                text: told(item.record, candidates[*place].rank, *refutes),
            });
        }
    }
    Some(Proof {
        class: layout.class,
        width: item_x + layout.item_width + 2.0,
        height: bottom(&nodes).max(bottom(&causes)) + 3.0,
        label: format!(
            "Evidence graph: {} records for and against {} candidates",
            nodes.len(),
            causes.len()
        ),
        more: all.len() - kept.len() + candidates.len() - drawn.len(),
        causes,
        items: nodes,
        bonds,
    })
}

/// Every record once, in the order in which candidates cite them.
fn items(candidates: &[RootCauseCandidate]) -> Vec<Item<'_>> {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut items: Vec<Item> = Vec::new();
    for (place, candidate) in candidates.iter().take(CAUSES).enumerate() {
        let supporting = candidate.evidence.iter().map(|record| (record, false));
        let refuting = candidate.refuting.iter().map(|record| (record, true));
        for (record, refutes) in supporting.chain(refuting) {
            let index = *places.entry(&record.id).or_insert_with(|| {
                items.push(Item {
                    record,
                    about: Vec::new(),
                });
                items.len() - 1
            });
            if !items[index].about.contains(&(place, refutes)) {
                items[index].about.push((place, refutes));
            }
        }
    }
    items
}

fn told(record: &EvidenceRef, rank: u32, refutes: bool) -> String {
    let verb = if refutes { "refutes" } else { "supports" };
    format!(
        "{} {verb} cause {rank}: {}",
        record.kind.as_str(),
        record.summary
    )
}

fn item_node(item: &Item, sources: &Sources, layout: Layout, (x, y): (f64, f64)) -> Node {
    let record = item.record;
    let only_refutes = item.about.iter().all(|(_, refutes)| *refutes);
    let mut head = record.kind.as_str().to_owned();
    if !record.service.is_empty() {
        head.push_str(&format!(" · {}", record.service));
    }
    if record.at_ms > 0 {
        let at = format::clock(record.at_ms);
        // The time matters more than the end of a long name.
        let room = layout.item_letters.saturating_sub(at.len() + 3);
        head = format!("{} · {at}", fit(&head, room));
    }
    let mut words = vec![Words {
        y: y + LINE + 2.0,
        text: fit(&head, layout.item_letters),
        class: "soft",
    }];
    for line in wrap(&record.summary, layout.item_letters, layout.item_lines) {
        words.push(Words {
            y: y + LINE * (words.len() as f64 + 1.0) + 2.0,
            text: line,
            class: "",
        });
    }
    let about: Vec<String> = item
        .about
        .iter()
        .map(|(place, refutes)| {
            let verb = if *refutes { "refutes" } else { "supports" };
            format!("{verb} cause {}", place + 1)
        })
        .collect();
    Node {
        x,
        y,
        width: layout.item_width,
        height: LINE * words.len() as f64 + 12.0,
        text_x: x + 9.0,
        words,
        class: match record.kind {
            _ if only_refutes => "against",
            EvidenceKind::Incident | EvidenceKind::Runbook | EvidenceKind::Topology => "document",
            _ => "record",
        },
        href: source(record, sources).href,
        label: format!("{}: {}", about.join(", "), record.summary),
    }
}

/// Candidates beside the middle of what they rest on, pushed apart where they
/// would overlap.
fn cause_nodes(
    candidates: &[RootCauseCandidate],
    items: &[&Item],
    nodes: &[Node],
    layout: Layout,
) -> Vec<Node> {
    let mut least = 2.0;
    let mut causes = Vec::new();
    for (place, candidate) in candidates.iter().enumerate() {
        let sure = format!("{} · {:.0} %", candidate.rank, candidate.confidence * 100.0);
        let mut lines = vec![(sure, "strong")];
        lines.extend(
            wrap(&candidate.service, layout.cause_letters, 2)
                .into_iter()
                .map(|line| (line, "")),
        );
        lines.extend(
            wrap(&format::words(&candidate.cause), layout.cause_letters, 2)
                .into_iter()
                .map(|line| (line, "soft")),
        );
        let height = LINE * lines.len() as f64 + 12.0;
        let own: Vec<f64> = items
            .iter()
            .zip(nodes)
            .filter(|(item, _)| item.about.iter().any(|(about, _)| *about == place))
            .map(|(_, node)| node.y + node.height / 2.0)
            .collect();
        let middle = own.iter().sum::<f64>() / own.len().max(1) as f64;
        let y = f64::max(middle - height / 2.0, least);
        least = y + height + ROOM;
        causes.push(Node {
            x: 2.0,
            y,
            width: layout.cause_width,
            height,
            text_x: 10.0,
            words: lines
                .into_iter()
                .enumerate()
                .map(|(index, (text, class))| Words {
                    y: y + LINE * (index as f64 + 1.0) + 2.0,
                    text,
                    class,
                })
                .collect(),
            class: if place == 0 { "first" } else { "" },
            href: format!("#cause-{}", candidate.rank),
            label: format!(
                "cause {}, {:.0} % confidence: {}",
                candidate.rank,
                candidate.confidence * 100.0,
                candidate.hypothesis
            ),
        });
    }
    causes
}

fn path(cause: &Node, item: &Node) -> String {
    let (x, y) = (cause.x + cause.width, cause.y + cause.height / 2.0);
    let (to_x, to_y) = (item.x, item.y + item.height / 2.0);
    let bend = (to_x - x) / 2.0;
    format!(
        "M{x:.1} {y:.1}C{:.1} {y:.1} {:.1} {to_y:.1} {to_x:.1} {to_y:.1}",
        x + bend,
        to_x - bend
    )
}

/// At most so many letters, with `…` where more was cut off.
fn fit(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    let cut: String = text.chars().take(letters.saturating_sub(1)).collect();
    format!("{}…", cut.trim_end())
}

/// The text in at most `lines` lines, broken between words where it can be.
fn wrap(text: &str, letters: usize, lines: usize) -> Vec<String> {
    let mut rest = text.trim();
    let mut wrapped = Vec::new();
    while !rest.is_empty() && wrapped.len() + 1 < lines {
        if rest.chars().count() <= letters {
            break;
        }
        let end = rest
            .char_indices()
            .nth(letters)
            .map_or(rest.len(), |(at, _)| at);
        let cut = rest[..end].rfind([' ', '-', '/']).map_or(end, |at| at + 1);
        wrapped.push(rest[..cut].trim_end().to_owned());
        rest = rest[cut..].trim_start();
    }
    if !rest.is_empty() {
        wrapped.push(fit(rest, letters));
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str) -> EvidenceRef {
        EvidenceRef {
            id: id.to_owned(),
            kind: EvidenceKind::Log,
            service: "payment-service".to_owned(),
            at_ms: 1_795_316_645_000,
            summary: format!("what {id} says"),
        }
    }

    fn candidate(rank: u32, evidence: &[&str], refuting: &[&str]) -> RootCauseCandidate {
        let records = |ids: &[&str]| ids.iter().map(|id| record(id)).collect();
        RootCauseCandidate {
            rank,
            service: format!("s{rank}"),
            cause: "CPU_SATURATION".to_owned(),
            hypothesis: "it is".to_owned(),
            confidence: 0.5,
            evidence: records(evidence),
            refuting: records(refuting),
            discriminator: String::new(),
            similar_incidents: Vec::new(),
            runbook_refs: Vec::new(),
        }
    }

    #[test]
    fn a_record_stands_once_and_says_of_each_candidate_what_it_says() {
        let candidates = [candidate(1, &["a", "b"], &[]), candidate(2, &["c"], &["a"])];
        for layout in [WIDE, NARROW] {
            let proof = draw(&candidates, &Sources::default(), layout).unwrap();
            let hrefs: Vec<&str> = proof.items.iter().map(|item| item.href.as_str()).collect();
            assert_eq!(hrefs, ["#record-a", "#record-b", "#record-c"]);
            assert_eq!(proof.bonds.iter().filter(|bond| bond.refutes).count(), 1);
            assert_eq!(proof.bonds.len(), 4);
            assert!(
                proof.items[0]
                    .label
                    .starts_with("supports cause 1, refutes cause 2")
            );
            assert_eq!(proof.more, 0);
            for column in [&proof.causes, &proof.items] {
                for pair in column.windows(2) {
                    assert!(pair[0].y + pair[0].height < pair[1].y, "{pair:?}");
                }
                let last = column.last().unwrap();
                assert!(last.y + last.height < proof.height);
                assert!(last.x + last.width < proof.width);
            }
        }
        let proof = draw(&candidates, &Sources::default(), NARROW).unwrap();
        assert!(proof.width <= 336.0, "a phone shows {}", proof.width);
    }

    #[test]
    fn many_records_are_cut_and_counted() {
        let ids: Vec<String> = (0..60).map(|index| format!("r{index}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let candidates: Vec<RootCauseCandidate> =
            (1..=9).map(|rank| candidate(rank, &ids, &[])).collect();
        let proof = draw(&candidates, &Sources::default(), WIDE).unwrap();
        assert_eq!((proof.items.len(), proof.causes.len()), (ITEMS, CAUSES));
        assert_eq!(proof.more, 60 - ITEMS + 9 - CAUSES);
        assert!(draw(&[candidate(1, &[], &[])], &Sources::default(), WIDE).is_none());
    }

    #[test]
    fn lines_break_between_words_and_end_in_time() {
        assert_eq!(wrap("one two three", 8, 2), ["one two", "three"]);
        assert_eq!(
            wrap("notification-service", 13, 2),
            ["notification-", "service"]
        );
        assert_eq!(
            wrap(&"x".repeat(40), 10, 2)[1],
            format!("{}…", "x".repeat(9))
        );
        assert!(wrap("", 10, 2).is_empty());
    }
}
