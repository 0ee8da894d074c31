//! The services around an incident as a drawing: callers above, those they
//! call below, what is impaired in colour. `graph.html` prints it.

use crate::known::Known;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Most services drawn; beyond that only those that the incident names.
const NODES: usize = 24;
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

/// Draws what the incident knows of the graph; `None` without any call.
#[must_use]
pub fn draw(known: &Known, layout: Layout) -> Option<Graph> {
    let classes = choose(known);
    let calls: Vec<&(String, String, Vec<String>)> = known
        .edges
        .iter()
        .filter(|(caller, callee, _)| {
            caller != callee
                && classes.contains_key(caller.as_str())
                && classes.contains_key(callee.as_str())
        })
        .collect();
    if calls.is_empty() {
        return None;
    }
    let pairs: Vec<(&str, &str)> = calls
        .iter()
        .map(|(caller, callee, _)| (caller.as_str(), callee.as_str()))
        .collect();
    let rows = rows(classes.keys().copied().collect(), &pairs);
    let widest = rows.iter().map(Vec::len).max().unwrap_or(1) as f64;
    let width = widest * (layout.box_width + layout.room_x) + layout.room_x;
    let height = rows.len() as f64 * (layout.box_height + layout.room_y) - layout.room_y + 4.0;
    let mut places = BTreeMap::new();
    let mut nodes = Vec::new();
    for (depth, row) in rows.iter().enumerate() {
        let y = depth as f64 * (layout.box_height + layout.room_y) + 2.0;
        let used = row.len() as f64 * (layout.box_width + layout.room_x) - layout.room_x;
        for (index, name) in row.iter().enumerate() {
            let x = (width - used) / 2.0 + index as f64 * (layout.box_width + layout.room_x);
            let middle = x + layout.box_width / 2.0;
            places.insert(*name, (middle, y));
            nodes.push(Node {
                name: (*name).to_owned(),
                lines: lines(name, y, layout),
                class: classes.get(name).copied().unwrap_or("near"),
                x,
                y,
                middle,
            });
        }
    }
    let edges = calls
        .iter()
        .filter_map(|(caller, callee, sources)| {
            let from = places.get(caller.as_str())?;
            let to = places.get(callee.as_str())?;
            Some(edge(caller, callee, sources, *from, *to, layout))
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
    for (caller, callee, _) in &known.edges {
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
fn rows<'a>(names: Vec<&'a str>, calls: &[(&'a str, &'a str)]) -> Vec<Vec<&'a str>> {
    fn depth<'a>(
        name: &'a str,
        calls: &[(&'a str, &'a str)],
        path: &mut Vec<&'a str>,
        known: &mut BTreeMap<&'a str, usize>,
    ) -> usize {
        if let Some(depth) = known.get(name) {
            return *depth;
        }
        path.push(name);
        let deepest = calls
            .iter()
            .filter(|(caller, callee)| *callee == name && !path.contains(caller))
            .map(|(caller, _)| *caller)
            .collect::<Vec<_>>()
            .into_iter()
            .map(|caller| depth(caller, calls, path, known) + 1)
            .max()
            .unwrap_or(0);
        path.pop();
        known.insert(name, deepest);
        deepest
    }
    let mut known = BTreeMap::new();
    for name in &names {
        depth(name, calls, &mut Vec::new(), &mut known);
    }
    let mut rows: Vec<Vec<&str>> = Vec::new();
    for name in names {
        let row = known.get(name).copied().unwrap_or(0);
        if rows.len() <= row {
            rows.resize(row + 1, Vec::new());
        }
        rows[row].push(name);
    }
    rows.retain(|row| !row.is_empty());
    for row in 1..rows.len() {
        let (above, below) = rows.split_at_mut(row);
        below[0].sort_by_cached_key(|name| under(name, above, calls));
    }
    rows
}

/// The mean place of a service's callers in the rows above, in thousandths.
fn under(name: &str, above: &[Vec<&str>], calls: &[(&str, &str)]) -> i64 {
    let places: Vec<i64> = above
        .iter()
        .flat_map(|row| {
            let length = row.len() as i64;
            row.iter()
                .enumerate()
                .filter(|(_, caller)| calls.contains(&(**caller, name)))
                .map(move |(index, _)| (index as i64 * 2 + 1) * 500 / length)
        })
        .collect();
    let count = places.len() as i64;
    if count == 0 {
        500
    } else {
        places.iter().sum::<i64>() / count
    }
}

fn lines(name: &str, y: f64, layout: Layout) -> Vec<(f64, String)> {
    let fits = if layout.class == "narrow" { 14 } else { LINE };
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

fn edge(
    caller: &str,
    callee: &str,
    sources: &[String],
    from: (f64, f64),
    to: (f64, f64),
    layout: Layout,
) -> Edge {
    let (x1, y1) = (from.0, from.1 + layout.box_height);
    let (x2, y2) = (to.0, to.1 - 3.0);
    let bend = ((y2 - y1).abs() / 2.0).max(24.0);
    let seen = sources.iter().any(|source| source == "spans");
    let how = match (seen, sources.iter().any(|source| source == "catalogue")) {
        (true, true) => "in the catalogue and seen in spans",
        (true, false) => "seen in spans, not in the catalogue",
        _ => "in the catalogue, not seen in spans",
    };
    Edge {
        path: format!(
            "M{x1:.1} {y1:.1}C{x1:.1} {:.1} {x2:.1} {:.1} {x2:.1} {y2:.1}",
            y1 + bend,
            y2 - bend
        ),
        text: format!("{caller} calls {callee}: {how}"),
        seen,
    }
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
        let calls = [
            ("gateway", "order"),
            ("gateway", "user"),
            ("order", "payment"),
            ("gateway", "payment"),
        ];
        let got = rows(vec!["gateway", "order", "payment", "user"], &calls);
        assert_eq!(
            got,
            [vec!["gateway"], vec!["order", "user"], vec!["payment"]]
        );
        let circle = [("a", "b"), ("b", "c"), ("c", "a")];
        assert_eq!(rows(vec!["a", "b", "c"], &circle).concat().len(), 3);
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
            format!("{}…", "x".repeat(14))
        );
    }
}
