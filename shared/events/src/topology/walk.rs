//! Ways through the graph.

use super::Topology;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

impl Topology {
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
        if self.sources(one, other).is_some() {
            Some((one.to_owned(), other.to_owned()))
        } else if self.sources(other, one).is_some() {
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

    /// Everyone whom `service` calls through a chain of at most `limit` calls;
    /// itself included.
    #[must_use]
    pub fn within<'a>(&'a self, service: &'a str, limit: u32) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::from([service]);
        let mut edge = vec![service];
        for _ in 0..limit {
            let callees = edge.iter().flat_map(|node| self.callees(node));
            let next: BTreeSet<&str> = callees.filter(|node| !found.contains(node)).collect();
            if next.is_empty() {
                break;
            }
            found.extend(&next);
            edge = next.into_iter().collect();
        }
        found
    }

    /// A shortest chain of at most `limit` calls from `caller` down to
    /// `callee`, both ends included; of several the first by name.
    #[must_use]
    pub fn path<'a>(
        &'a self,
        caller: &'a str,
        callee: &'a str,
        limit: u32,
    ) -> Option<Vec<&'a str>> {
        let mut before = BTreeMap::from([(caller, None)]);
        let mut queue = VecDeque::from([(caller, 0)]);
        while let Some((node, hops)) = queue.pop_front() {
            if node == callee {
                let mut path = vec![node];
                let mut place = node;
                while let Some(previous) = before.get(place).copied().flatten() {
                    path.push(previous);
                    place = previous;
                }
                path.reverse();
                return Some(path);
            }
            if hops == limit {
                continue;
            }
            for next in self.callees(node) {
                if !before.contains_key(next) {
                    before.insert(next, Some(node));
                    queue.push_back((next, hops + 1));
                }
            }
        }
        None
    }

    /// The part of the graph around one name: every call between services at
    /// most three calls away from it, whatever the direction.
    #[must_use]
    pub fn near(&self, name: &str) -> Topology {
        let centre = self.service_of(name);
        let around = self.walk(centre, |node| {
            let mut next = self.callees(node);
            next.extend(self.callers(node));
            next
        });
        let mut inside: BTreeSet<&str> = BTreeSet::from([centre]);
        inside.extend(
            around
                .iter()
                .filter(|(_, hops)| *hops <= 3)
                .map(|(name, _)| name.as_str()),
        );
        let mut near = Topology::default();
        for (caller, callee, sources) in self.edges() {
            if inside.contains(caller) && inside.contains(callee) {
                for (source, at_ms) in sources {
                    near.add_seen(caller, callee, *source, *at_ms);
                }
                if self.is_contradicted(caller, callee) {
                    near.contradict(caller, callee);
                }
            }
        }
        for (object, owner) in self.owners() {
            if inside.contains(self.service_of(object)) {
                near.add_call(owner, object, super::EdgeSource::Kubernetes);
            }
        }
        near
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
    use crate::topology::{EdgeSource, Node, NodeKind, Topology};

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
    fn a_path_goes_down_only() {
        let graph = shop();
        let down = ["gateway", "order", "inventory"];
        assert_eq!(
            graph.path("gateway", "inventory", 2).as_deref(),
            Some(&down[..])
        );
        assert_eq!(graph.path("gateway", "inventory", 1), None);
        assert_eq!(graph.path("payment", "inventory", 9), None);
        assert_eq!(graph.path("order", "order", 0), Some(vec!["order"]));
    }

    #[test]
    fn what_is_called_within_some_calls_is_what_a_path_leads_to() {
        let mut graph = shop();
        graph.add_call("inventory", "gateway", EdgeSource::Spans);
        let names = ["gateway", "order", "payment", "inventory"];
        for (from, limit) in names
            .iter()
            .flat_map(|from| (0..4).map(move |limit| (*from, limit)))
        {
            let paths = names.into_iter();
            let led: Vec<&str> = paths
                .filter(|to| graph.path(from, to, limit).is_some())
                .collect();
            let within: Vec<&str> = graph.within(from, limit).into_iter().collect();
            let mut led = led;
            led.sort_unstable();
            assert_eq!(within, led, "{from} {limit}");
        }
    }

    #[test]
    fn an_edge_remembers_all_its_sources_and_cycles_end() {
        let mut graph = shop();
        graph.add_call("payment", "gateway", EdgeSource::Spans);
        graph.add_seen("order", "payment", EdgeSource::Spans, 9);
        graph.add_seen("order", "payment", EdgeSource::Spans, 7);
        let sources = graph.sources("order", "payment").expect("it is there");
        let expected = [(EdgeSource::Catalogue, 0), (EdgeSource::Spans, 9)];
        assert_eq!(sources, &expected.into_iter().collect());
        assert_eq!(graph.transitive_callers("payment").len(), 2);
    }

    #[test]
    fn what_an_earlier_build_stored_is_read_as_undated() {
        let stored = r#"{"calls":{"a":{"b":["catalogue","spans"]},"c":{"d":{"logs":5}}}}"#;
        let graph: Topology = serde_json::from_str(stored).expect("both forms are read");
        let mut expected = Topology::default();
        expected.add_call("a", "b", EdgeSource::Catalogue);
        expected.add_call("a", "b", EdgeSource::Spans);
        expected.add_seen("c", "d", EdgeSource::Logs, 5);
        assert_eq!(graph, expected);
        let again = serde_json::to_string(&graph).expect("a graph is JSON");
        assert_eq!(
            serde_json::from_str::<Topology>(&again).expect("it is read"),
            graph
        );
    }

    #[test]
    fn observed_edges_expire_and_contradicted_ones_do_not_count() {
        let mut graph = shop();
        graph.add_seen("order", "user", EdgeSource::Spans, 1_000);
        graph.contradict("order", "inventory");
        assert_eq!(
            graph.current(2_000, 1_000).callees("order"),
            ["payment", "user"]
        );
        assert_eq!(graph.current(2_001, 1_000).callees("order"), ["payment"]);
        // Seen after all: the mark goes.
        let mut seen = Topology::default();
        seen.add_seen("order", "inventory", EdgeSource::Spans, 3_000);
        graph.merge(&seen);
        assert_eq!(graph.contradicted().count(), 0);
        assert_eq!(
            graph.current(2_001, 1_000).callees("order"),
            ["inventory", "payment"]
        );
    }

    #[test]
    fn owner_references_name_the_service_and_are_no_calls() {
        let mut graph = shop();
        graph.add_call("order", "order-6d4f", EdgeSource::Kubernetes);
        graph.add_call("order-6d4f", "order-6d4f-x2x", EdgeSource::Kubernetes);
        assert_eq!(graph.service_of("order-6d4f-x2x"), "order");
        assert_eq!(graph.service_of("payment"), "payment");
        assert_eq!(graph.callees("order"), ["inventory", "payment"]);
        // A ring of owners ends, too.
        graph.add_call("order-6d4f-x2x", "order", EdgeSource::Kubernetes);
        assert!(!graph.service_of("order").is_empty());
    }

    #[test]
    fn the_part_around_a_name_is_cut_out_with_its_owners() {
        let mut graph = shop();
        graph.add_call("user", "cache", EdgeSource::Spans);
        graph.add_call("order", "order-6d4f", EdgeSource::Kubernetes);
        graph.add_call("cache", "cache-0", EdgeSource::Kubernetes);
        let near = graph.near("order-6d4f");
        assert_eq!(near.edges().count(), 4);
        assert_eq!(near.service_of("order-6d4f"), "order");
        assert_eq!(near.owners().count(), 1);
    }

    #[test]
    fn what_is_known_of_a_node_is_added_up() {
        let mut graph = Topology::default();
        let kind = Node {
            kind: NodeKind::Resource,
            ..Node::default()
        };
        let owner = Node {
            owner: "data".to_owned(),
            ..Node::default()
        };
        graph.describe("orders-db", kind);
        graph.describe("orders-db", owner);
        let known: Vec<_> = graph.nodes().collect();
        let both = Node {
            kind: NodeKind::Resource,
            owner: "data".to_owned(),
            lifecycle: String::new(),
        };
        assert_eq!(known, [("orders-db", &both)]);
    }
}
