//! The services around an incident as a drawing: callers above, those they
//! call below, what is impaired in colour. `graph.html` prints it.

use super::format;
use crate::known::{Call, Known};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Most services drawn; beyond that only those that the incident names.
const NODES: usize = 24;
/// Room for a call that passes a row.
const PASSAGE: f64 = 14.0;
/// Characters of a name's line.
const LINE: usize = 18;

/// How large boxes and the room between them are.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    class: &'static str,
    box_width: f64,
    box_height: f64,
    room_x: f64,
    room_y: f64,
}

/// For screens.
pub const WIDE: Layout = Layout {
    class: "wide",
    box_width: 154.0,
    box_height: 46.0,
    room_x: 22.0,
    room_y: 44.0,
};

/// For phones.
pub const NARROW: Layout = Layout {
    class: "narrow",
    box_width: 108.0,
    box_height: 46.0,
    room_x: 10.0,
    room_y: 38.0,
};

/// A service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Node {
    pub name: String,
    /// The name in lines that fit the box, with the height of each.
    pub lines: Vec<(f64, String)>,
    /// `root`, `impaired`, `risk` or `near`.
    pub class: &'static str,
    pub x: f64,
    pub y: f64,
    pub middle: f64,
}

/// A call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Edge {
    pub path: String,
    pub text: String,
    /// Whether it was seen in spans, not only written down.
    pub seen: bool,
}

/// A drawing, ready to print.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Graph {
    pub class: &'static str,
    pub width: f64,
    pub height: f64,
    pub box_width: f64,
    pub box_height: f64,
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
    pub label: String,
}

/// A place in a row: a service, or the passage of a call that goes on to a
/// row further down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Slot<'a> {
    Service(&'a str),
    /// The call's place in the list of calls.
    Passage(usize),
}

/// Draws what the incident knows of the graph; `None` without any call.
#[must_use]
pub fn draw(known: &Known, detected_at_ms: i64, layout: Layout) -> Option<Graph> {
    let classes = choose(known);
    let calls: Vec<&Call> = known
        .edges
        .iter()
        .filter(|call| {
            call.caller != call.callee
                && classes.contains_key(call.caller.as_str())
                && classes.contains_key(call.callee.as_str())
        })
        .collect();
    if calls.is_empty() {
        return None;
    }
    let pairs: Vec<(&str, &str)> = calls.iter().map(|call| call.ends()).collect();
    let rows = rows(classes.keys().copied().collect(), &pairs);
    let wide = |slot: &Slot| match slot {
        Slot::Service(_) => layout.box_width,
        Slot::Passage(_) => PASSAGE,
    };
    let used =
        |row: &[Slot]| row.iter().map(wide).sum::<f64>() + layout.room_x * (row.len() as f64 - 1.0);
    let width = rows.iter().map(|row| used(row)).fold(0.0, f64::max) + 2.0;
    let height = rows.len() as f64 * (layout.box_height + layout.room_y) - layout.room_y + 4.0;
    let mut places: BTreeMap<Slot, Vec<(f64, f64)>> = BTreeMap::new();
    let mut nodes = Vec::new();
    for (depth, row) in rows.iter().enumerate() {
        let y = depth as f64 * (layout.box_height + layout.room_y) + 2.0;
        let mut x = (width - used(row)) / 2.0;
        for slot in row {
            let middle = x + wide(slot) / 2.0;
            places.entry(*slot).or_default().push((middle, y));
            if let Slot::Service(name) = slot {
                nodes.push(Node {
                    name: (*name).to_owned(),
                    lines: lines(name, y, layout),
                    class: classes.get(name).copied().unwrap_or("near"),
                    x,
                    y,
                    middle,
                });
            }
            x += wide(slot) + layout.room_x;
        }
    }
    let place = |name| Some(*places.get(&Slot::Service(name))?.first()?);
    let edges = calls
        .iter()
        .enumerate()
        .filter_map(|(index, call)| {
            let passages = places
                .get(&Slot::Passage(index))
                .cloned()
                .unwrap_or_default();
            let (from, to) = (place(call.caller.as_str())?, place(call.callee.as_str())?);
            let path = path(from, &passages, to, layout.box_height);
            Some(edge(call, detected_at_ms, path))
        })
        .collect();
    Some(Graph {
        class: layout.class,
        width,
        height,
        box_width: layout.box_width,
        box_height: layout.box_height,
        label: spoken(&pairs),
        nodes,
        edges,
    })
}

/// The services to draw, with what each is to the incident.
fn choose(known: &Known) -> BTreeMap<&str, &'static str> {
    let mut classes: BTreeMap<&str, &'static str> = BTreeMap::new();
    if let Some(blast) = &known.blast {
        classes.extend(blast.at_risk.iter().map(|name| (name.as_str(), "risk")));
        classes.extend(
            blast
                .impaired
                .iter()
                .map(|name| (name.as_str(), "impaired")),
        );
    }
    classes.extend(
        known
            .services
            .iter()
            .map(|name| (name.as_str(), "impaired")),
    );
    if let Some(first) = known.candidates.first() {
        classes.insert(&first.service, "root");
    }
    let named: BTreeSet<&str> = classes.keys().copied().collect();
    for call in &known.edges {
        let (caller, callee) = (&call.caller, &call.callee);
        for (one, other) in [(caller, callee), (callee, caller)] {
            if classes.len() < NODES && named.contains(one.as_str()) {
                classes.entry(other).or_insert("near");
            }
        }
    }
    classes
}

/// Services in rows, each below all of its callers; calls that close a circle
/// are left out of the reckoning.
fn rows<'a>(names: Vec<&'a str>, calls: &[(&'a str, &'a str)]) -> Vec<Vec<Slot<'a>>> {
    let mut depths = BTreeMap::new();
    for name in &names {
        depth(name, calls, &mut Vec::new(), &mut depths);
    }
    let deepest = depths.values().copied().max().unwrap_or(0);
    let mut rows: Vec<Vec<Slot>> = vec![Vec::new(); deepest + 1];
    for name in names {
        rows[depths.get(name).copied().unwrap_or(0)].push(Slot::Service(name));
    }
    for (index, (caller, callee)) in calls.iter().enumerate() {
        let (from, to) = (depths.get(caller), depths.get(callee));
        if let (Some(from), Some(to)) = (from, to) {
            for row in rows.iter_mut().take(*to).skip(from + 1) {
                row.push(Slot::Passage(index));
            }
        }
    }
    for row in 1..rows.len() {
        let (above, below) = rows.split_at_mut(row);
        below[0].sort_by_cached_key(|slot| under(slot, &above[row - 1], calls));
    }
    rows
}

/// The number of calls on the longest way down to `name`.
fn depth<'a>(
    name: &'a str,
    calls: &[(&'a str, &'a str)],
    way: &mut Vec<&'a str>,
    known: &mut BTreeMap<&'a str, usize>,
) -> usize {
    if let Some(depth) = known.get(name) {
        return *depth;
    }
    way.push(name);
    let mut deepest = 0;
    for (caller, callee) in calls {
        if *callee == name && !way.contains(caller) {
            deepest = deepest.max(depth(caller, calls, way, known) + 1);
        }
    }
    way.pop();
    known.insert(name, deepest);
    deepest
}

/// The mean place of what leads to a slot from the row above, in thousandths
/// of that row.
fn under(slot: &Slot, above: &[Slot], calls: &[(&str, &str)]) -> usize {
    let leads = |other: &Slot| match (other, slot) {
        (Slot::Service(caller), Slot::Service(name)) => calls.contains(&(*caller, *name)),
        (Slot::Service(caller), Slot::Passage(call)) => calls[*call].0 == *caller,
        (Slot::Passage(call), Slot::Service(name)) => calls[*call].1 == *name,
        (Slot::Passage(one), Slot::Passage(other)) => one == other,
    };
    let places: Vec<usize> = above
        .iter()
        .enumerate()
        .filter(|(_, other)| leads(other))
        .map(|(index, _)| (index * 2 + 1) * 500 / above.len())
        .collect();
    if places.is_empty() {
        500
    } else {
        places.iter().sum::<usize>() / places.len()
    }
}

fn lines(name: &str, y: f64, layout: Layout) -> Vec<(f64, String)> {
    let fits = if layout.class == "narrow" { 13 } else { LINE };
    let letters: Vec<char> = name.chars().collect();
    let shorten = |part: &[char]| {
        let text: String = part.iter().take(fits).collect();
        if part.len() > fits {
            format!("{}…", text.trim_end())
        } else {
            text
        }
    };
    let middle = y + layout.box_height / 2.0;
    if letters.len() <= fits {
        return vec![(middle + 4.5, name.to_owned())];
    }
    // At a hyphen, a slash or a dot near the end of the first line.
    let cut = letters[..fits.min(letters.len())]
        .iter()
        .rposition(|letter| "-/._ ".contains(*letter))
        .map_or(fits, |place| place + 1);
    vec![
        (middle - 3.5, shorten(&letters[..cut])),
        (middle + 12.5, shorten(&letters[cut..])),
    ]
}

/// From the lower edge of the caller through the passages to the upper edge
/// of the callee.
fn path(from: (f64, f64), passages: &[(f64, f64)], to: (f64, f64), box_height: f64) -> String {
    let (mut x, mut y) = (from.0, from.1 + box_height);
    let mut path = format!("M{x:.1} {y:.1}");
    let curve = |x: f64, y: f64, to_x: f64, to_y: f64| {
        let bend = ((to_y - y).abs() / 2.0).max(20.0);
        format!(
            "C{x:.1} {:.1} {to_x:.1} {:.1} {to_x:.1} {to_y:.1}",
            y + bend,
            to_y - bend
        )
    };
    for (next_x, next_y) in passages {
        path.push_str(&curve(x, y, *next_x, *next_y));
        path.push_str(&format!("V{:.1}", next_y + box_height));
        (x, y) = (*next_x, next_y + box_height);
    }
    // The arrow's head takes the last bit.
    path.push_str(&curve(x, y, to.0, to.1 - 3.0));
    path
}

fn edge(call: &Call, detected_at_ms: i64, path: String) -> Edge {
    // What is only written down may never happen.
    let seen = call.sources.keys().any(|source| !is_written(source));
    let learnt: Vec<String> = learnt(call, detected_at_ms)
        .into_iter()
        .map(|(source, age)| {
            if age.is_empty() {
                source
            } else {
                format!("{source} {age}")
            }
        })
        .collect();
    let unseen = if seen { "" } else { ", not seen" };
    Edge {
        path,
        text: format!(
            "{} calls {}: {}{unseen}",
            call.caller,
            call.callee,
            learnt.join(", ")
        ),
        seen,
    }
}

/// Whether a source says what somebody wrote, not what happened.
fn is_written(source: &str) -> bool {
    matches!(source, "catalogue" | "backstage")
}

/// The sources of a call in words, each with its age at the detection.
#[must_use]
pub fn learnt(call: &Call, detected_at_ms: i64) -> Vec<(String, String)> {
    let words = |source: &str| match source {
        "catalogue" => "in the catalogue".to_owned(),
        "backstage" => "in Backstage".to_owned(),
        "spans" => "seen in spans".to_owned(),
        "logs" => "named by log lines".to_owned(),
        "kubernetes" => "told by Kubernetes".to_owned(),
        other => format!("known from {other}"),
    };
    let age = |at_ms: i64| match detected_at_ms - at_ms {
        _ if at_ms <= 0 => String::new(),
        before @ 0.. => format!("{} before detection", format::span(before)),
        after => format!("{} after detection", format::span(-after)),
    };
    let sources = call.sources.iter();
    sources
        .map(|(source, at_ms)| (words(source), age(*at_ms)))
        .collect()
}

fn spoken(pairs: &[(&str, &str)]) -> String {
    let calls: Vec<String> = pairs
        .iter()
        .map(|(caller, callee)| format!("{caller} calls {callee}"))
        .collect();
    format!("Service graph: {}", calls.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_stands_below_its_callers_and_circles_end() {
        use Slot::{Passage, Service};
        let calls = [
            ("gateway", "order"),
            ("gateway", "user"),
            ("order", "payment"),
            ("gateway", "payment"),
        ];
        let got = rows(vec!["gateway", "order", "payment", "user"], &calls);
        assert_eq!(got[0], [Service("gateway")]);
        assert_eq!(got[1], [Service("order"), Service("user"), Passage(3)]);
        assert_eq!(got[2], [Service("payment")]);
        let circle = [("a", "b"), ("b", "c"), ("c", "a")];
        let services = rows(vec!["a", "b", "c"], &circle).concat();
        assert_eq!(
            services
                .iter()
                .filter(|slot| matches!(slot, Service(_)))
                .count(),
            3
        );
    }

    #[test]
    fn a_call_says_where_it_was_learnt_and_how_long_ago() {
        let call = |sources: &[(&str, i64)]| Call {
            caller: "a".to_owned(),
            callee: "b".to_owned(),
            sources: sources
                .iter()
                .map(|(name, at_ms)| ((*name).to_owned(), *at_ms))
                .collect(),
        };
        let told = |sources: &[(&str, i64)]| {
            let edge = edge(&call(sources), 600_000, String::new());
            (edge.text, edge.seen)
        };
        assert_eq!(
            told(&[("catalogue", 0), ("spans", 480_000)]),
            (
                "a calls b: in the catalogue, seen in spans 2 min before detection".to_owned(),
                true
            )
        );
        assert_eq!(
            told(&[("backstage", 0)]),
            ("a calls b: in Backstage, not seen".to_owned(), false)
        );
        assert!(
            told(&[("kubernetes", 660_000)])
                .0
                .ends_with("1 min after detection")
        );
    }

    #[test]
    fn long_names_break_where_they_can() {
        let texts = |name: &str, layout| -> Vec<String> {
            lines(name, 0.0, layout)
                .into_iter()
                .map(|(_, text)| text)
                .collect()
        };
        assert_eq!(texts("payment-service", WIDE), ["payment-service"]);
        assert_eq!(
            texts("notification-service", NARROW),
            ["notification-", "service"]
        );
        assert_eq!(
            texts(&"x".repeat(60), NARROW)[1],
            format!("{}…", "x".repeat(13))
        );
    }
}
