//! The service graph: who calls whom, and how we know.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Where an edge was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EdgeSource {
    /// `services.json`: what somebody wrote down.
    Catalogue,
    /// Seen in spans: what really happens.
    Spans,
    /// Told by the caller's own complaints: `timeout calling order-service`.
    Logs,
}

/// A directed graph, caller → callee, with the sources of each edge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Topology {
    calls: BTreeMap<String, BTreeMap<String, BTreeSet<EdgeSource>>>,
}

impl Topology {
    /// Adds the edge `caller → callee`; adding it again adds its source.
    pub fn add_call(&mut self, caller: &str, callee: &str, source: EdgeSource) {
        if caller == callee {
            return;
        }
        self.calls
            .entry(caller.to_owned())
            .or_default()
            .entry(callee.to_owned())
            .or_default()
            .insert(source);
    }

    /// Adds every edge of `other`.
    pub fn merge(&mut self, other: &Topology) {
        for (caller, callee, sources) in other.edges() {
            for source in sources {
                self.add_call(caller, callee, *source);
            }
        }
    }

    /// All edges, in order of caller and callee.
    pub fn edges(&self) -> impl Iterator<Item = (&str, &str, &BTreeSet<EdgeSource>)> {
        self.calls.iter().flat_map(|(caller, callees)| {
            callees
                .iter()
                .map(move |(callee, sources)| (caller.as_str(), callee.as_str(), sources))
        })
    }

    /// Who is called by `service`, directly.
    #[must_use]
    pub fn callees(&self, service: &str) -> Vec<&str> {
        self.calls
            .get(service)
            .map(|callees| callees.keys().map(String::as_str).collect())
            .unwrap_or_default()
    }

    /// Who calls `service`, directly.
    #[must_use]
    pub fn callers(&self, service: &str) -> Vec<&str> {
        self.edges()
            .filter(|(_, callee, _)| *callee == service)
            .map(|(caller, _, _)| caller)
            .collect()
    }

    /// The edge between two services in either direction, as (caller, callee).
    #[must_use]
    pub fn edge_between(&self, one: &str, other: &str) -> Option<(String, String)> {
        let calls = |caller: &str, callee: &str| {
            self.calls
                .get(caller)
                .is_some_and(|callees| callees.contains_key(callee))
        };
        if calls(one, other) {
            Some((one.to_owned(), other.to_owned()))
        } else if calls(other, one) {
            Some((other.to_owned(), one.to_owned()))
        } else {
            None
        }
    }

    /// Everyone who calls `service`, directly or through others, with the
    /// number of calls between, nearest first.
    #[must_use]
    pub fn transitive_callers(&self, service: &str) -> Vec<(String, u32)> {
        self.walk(service, |node| self.callers(node))
    }

    /// Everyone whom `service` calls, directly or through others.
    #[must_use]
    pub fn transitive_callees(&self, service: &str) -> Vec<(String, u32)> {
        self.walk(service, |node| self.callees(node))
    }

    /// The number of edges between two services, direction ignored, up to
    /// `limit`.
    #[must_use]
    pub fn distance(&self, one: &str, other: &str, limit: u32) -> Option<u32> {
        if one == other {
            return Some(0);
        }
        self.walk(one, |node| {
            let mut next = self.callees(node);
            next.extend(self.callers(node));
            next
        })
        .into_iter()
        .find(|(name, hops)| name == other && *hops <= limit)
        .map(|(_, hops)| hops)
    }

    fn walk<'a>(
        &'a self,
        from: &'a str,
        next: impl Fn(&'a str) -> Vec<&'a str>,
    ) -> Vec<(String, u32)> {
        let mut seen = BTreeSet::from([from]);
        let mut queue = VecDeque::from([(from, 0)]);
        let mut found = Vec::new();
        while let Some((node, hops)) = queue.pop_front() {
            let mut neighbours = next(node);
            neighbours.sort_unstable();
            for neighbour in neighbours {
                if seen.insert(neighbour) {
                    found.push((neighbour.to_owned(), hops + 1));
                    queue.push_back((neighbour, hops + 1));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shop() -> Topology {
        let mut graph = Topology::default();
        for (caller, callee) in [
            ("gateway", "order"),
            ("gateway", "payment"),
            ("order", "payment"),
            ("order", "inventory"),
        ] {
            graph.add_call(caller, callee, EdgeSource::Catalogue);
        }
        graph
    }

    #[test]
    fn callers_and_callees_are_found_through_others() {
        let graph = shop();
        assert_eq!(
            graph.transitive_callers("payment"),
            [("gateway".to_owned(), 1), ("order".to_owned(), 1)]
        );
        assert_eq!(
            graph.transitive_callers("inventory"),
            [("order".to_owned(), 1), ("gateway".to_owned(), 2)]
        );
        assert_eq!(graph.callees("order"), ["inventory", "payment"]);
    }

    #[test]
    fn distance_ignores_direction_and_respects_its_limit() {
        let graph = shop();
        assert_eq!(graph.distance("payment", "inventory", 3), Some(2));
        assert_eq!(graph.distance("payment", "inventory", 1), None);
        assert_eq!(graph.distance("payment", "elsewhere", 9), None);
        assert_eq!(graph.distance("order", "order", 0), Some(0));
    }

    #[test]
    fn an_edge_remembers_all_its_sources_and_cycles_end() {
        let mut graph = shop();
        graph.add_call("payment", "gateway", EdgeSource::Spans);
        graph.add_call("order", "payment", EdgeSource::Spans);
        let sources = graph
            .edges()
            .find(|(caller, callee, _)| (*caller, *callee) == ("order", "payment"))
            .map(|(_, _, sources)| sources.len());
        assert_eq!(sources, Some(2));
        assert_eq!(graph.transitive_callers("payment").len(), 2);
    }
}
