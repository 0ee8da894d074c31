//! The service graph: who calls whom, how we know, and since when.
//!
//! Nodes have a kind; edges know their sources and when each source last
//! showed them. Kubernetes' owner references are not calls: they say under
//! which service's name a pod or replica set is known.

use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, BTreeSet};

mod walk;

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
    /// An owner reference: the first name owns the second. No call.
    Kubernetes,
    /// `catalog-info.yaml`: what somebody wrote down for Backstage.
    Backstage,
}

impl EdgeSource {
    /// Whether it was observed, and may therefore be out of date some day.
    #[must_use]
    pub fn is_observed(self) -> bool {
        matches!(self, EdgeSource::Spans | EdgeSource::Logs)
    }
}

/// The sources of an edge, each with the event time (epoch milliseconds) at
/// which it last showed the edge; 0 where it has no date.
pub type Sources = BTreeMap<EdgeSource, i64>;

/// What a node of the graph is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    #[default]
    Service,
    /// An interface that no known service provides.
    Api,
    /// A database, a queue, a bucket.
    Resource,
    /// A pod, a replica set or another object that a service owns.
    Workload,
}

/// What is known of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    #[serde(default)]
    pub kind: NodeKind,
    /// Who is in charge, where somebody said so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// `production`, `experimental`, `deprecated`, …
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub lifecycle: String,
}

/// Sources as they are stored: earlier builds stored a list of names.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Dated(Sources),
    Undated(Vec<EdgeSource>),
}

fn calls<'de, D: Deserializer<'de>>(from: D) -> Result<Calls, D::Error> {
    let stored = BTreeMap::<String, BTreeMap<String, Stored>>::deserialize(from)?;
    let dated = |stored| match stored {
        Stored::Dated(sources) => sources,
        Stored::Undated(list) => list.into_iter().map(|source| (source, 0)).collect(),
    };
    let of_caller = |callees: BTreeMap<String, Stored>| {
        callees
            .into_iter()
            .map(|(callee, stored)| (callee, dated(stored)))
            .collect()
    };
    Ok(stored
        .into_iter()
        .map(|(caller, callees)| (caller, of_caller(callees)))
        .collect())
}

fn dated<'de, D: Deserializer<'de>>(from: D) -> Result<Sources, D::Error> {
    Ok(match Stored::deserialize(from)? {
        Stored::Dated(sources) => sources,
        Stored::Undated(list) => list.into_iter().map(|source| (source, 0)).collect(),
    })
}

/// A call as it is written down: `[caller, callee, {source: last seen, ms}]`, or
/// with a list of sources where it has no date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call(
    pub String,
    pub String,
    #[serde(deserialize_with = "dated")] pub Sources,
);

type Calls = BTreeMap<String, BTreeMap<String, Sources>>;

/// A directed graph, caller → callee, with the sources of each edge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Topology {
    #[serde(deserialize_with = "calls")]
    calls: Calls,
    /// What is known of nodes; one that is not listed is a service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    nodes: BTreeMap<String, Node>,
    /// Object → its owner, by Kubernetes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    owners: BTreeMap<String, String>,
    /// Written edges, as caller → callees, that spans have contradicted for
    /// long: the caller was seen calling others all the time, never this one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    contradicted: BTreeMap<String, BTreeSet<String>>,
}

impl Topology {
    /// Adds the edge `caller → callee`; adding it again adds its source.
    pub fn add_call(&mut self, caller: &str, callee: &str, source: EdgeSource) {
        self.add_seen(caller, callee, source, 0);
    }

    /// Adds the edge `caller → callee`, seen at this event time; the latest
    /// time stays.
    pub fn add_seen(&mut self, caller: &str, callee: &str, source: EdgeSource, at_ms: i64) {
        if caller == callee {
            return;
        }
        if source == EdgeSource::Kubernetes {
            self.owners.insert(callee.to_owned(), caller.to_owned());
            self.nodes.entry(callee.to_owned()).or_default().kind = NodeKind::Workload;
            return;
        }
        let seen = self
            .calls
            .entry(caller.to_owned())
            .or_default()
            .entry(callee.to_owned())
            .or_default()
            .entry(source)
            .or_default();
        *seen = at_ms.max(*seen);
    }

    /// Says what a node is; what is known of it already stays where `node`
    /// says nothing.
    pub fn describe(&mut self, name: &str, node: Node) {
        let known = self.nodes.entry(name.to_owned()).or_default();
        if node.kind != NodeKind::Service {
            known.kind = node.kind;
        }
        if !node.owner.is_empty() {
            known.owner = node.owner;
        }
        if !node.lifecycle.is_empty() {
            known.lifecycle = node.lifecycle;
        }
    }

    /// Marks a written edge as contradicted by spans.
    pub fn contradict(&mut self, caller: &str, callee: &str) {
        let callees = self.contradicted.entry(caller.to_owned()).or_default();
        callees.insert(callee.to_owned());
    }

    /// Adds every edge, node and mark of `other`. A mark goes where the edge
    /// has been observed.
    pub fn merge(&mut self, other: &Topology) {
        for (caller, callee, sources) in other.edges() {
            for (source, at_ms) in sources {
                self.add_seen(caller, callee, *source, *at_ms);
            }
        }
        for (object, owner) in &other.owners {
            self.add_seen(owner, object, EdgeSource::Kubernetes, 0);
        }
        for (name, node) in &other.nodes {
            self.describe(name, node.clone());
        }
        for (caller, callees) in &other.contradicted {
            for callee in callees {
                self.contradict(caller, callee);
            }
        }
        let Topology {
            calls,
            contradicted,
            ..
        } = self;
        for (caller, callees) in contradicted.iter_mut() {
            callees.retain(|callee| {
                let sources = calls.get(caller).and_then(|known| known.get(callee));
                sources.is_some_and(|sources| !sources.keys().any(|source| source.is_observed()))
            });
        }
        contradicted.retain(|_, callees| !callees.is_empty());
    }

    /// The graph as it is at this event time: without observed edges that
    /// nobody has seen for `lifetime_ms`, and without contradicted ones.
    #[must_use]
    pub fn current(&self, now_ms: i64, lifetime_ms: i64) -> Topology {
        let holds = |caller: &str, callee: &str, (source, at_ms): (&EdgeSource, &i64)| {
            if source.is_observed() {
                *at_ms == 0 || now_ms - *at_ms <= lifetime_ms
            } else {
                !self.is_contradicted(caller, callee)
            }
        };
        let mut current = Topology {
            calls: BTreeMap::new(),
            ..self.clone()
        };
        for (caller, callee, sources) in self.edges() {
            for source in sources {
                if holds(caller, callee, source) {
                    current.add_seen(caller, callee, *source.0, *source.1);
                }
            }
        }
        current
    }

    /// All calls, in order of caller and callee.
    pub fn edges(&self) -> impl Iterator<Item = (&str, &str, &Sources)> {
        self.calls.iter().flat_map(|(caller, callees)| {
            callees
                .iter()
                .map(move |(callee, sources)| (caller.as_str(), callee.as_str(), sources))
        })
    }

    /// A graph of these calls.
    #[must_use]
    pub fn of(calls: &[Call]) -> Topology {
        let mut graph = Topology::default();
        for Call(caller, callee, sources) in calls {
            for (source, at_ms) in sources {
                graph.add_seen(caller, callee, *source, *at_ms);
            }
        }
        graph
    }

    /// The sources of one call.
    #[must_use]
    pub fn sources(&self, caller: &str, callee: &str) -> Option<&Sources> {
        self.calls.get(caller)?.get(callee)
    }

    /// Nodes of which more is known than that they are services.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(name, node)| (name.as_str(), node))
    }

    /// Objects with their owners, by Kubernetes.
    pub fn owners(&self) -> impl Iterator<Item = (&str, &str)> {
        let owners = self.owners.iter();
        owners.map(|(object, owner)| (object.as_str(), owner.as_str()))
    }

    /// Written edges that spans have contradicted for long.
    pub fn contradicted(&self) -> impl Iterator<Item = (&str, &str)> {
        self.contradicted.iter().flat_map(|(caller, callees)| {
            callees
                .iter()
                .map(move |callee| (caller.as_str(), callee.as_str()))
        })
    }

    /// Whether spans have contradicted this written edge for long.
    #[must_use]
    pub fn is_contradicted(&self, caller: &str, callee: &str) -> bool {
        self.contradicted
            .get(caller)
            .is_some_and(|callees| callees.contains(callee))
    }

    /// The service under whose name an object is known: the owner of its
    /// owner and so on. A name without an owner is a service's.
    #[must_use]
    pub fn service_of<'a>(&'a self, name: &'a str) -> &'a str {
        let mut found = name;
        // A pod, a replica set, a deployment, and one more for operators.
        for _ in 0..4 {
            match self.owners.get(found) {
                Some(owner) if owner != name => found = owner,
                _ => break,
            }
        }
        found
    }
}
