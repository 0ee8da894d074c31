//! The context table: recent deployments, Kubernetes events and call edges of
//! all environments, in bounded memory.

pub use calls::Calls;
use midwatch_events::Event;
use midwatch_events::raw::{RawDeployment, RawKubernetes, RawSpan};
use midwatch_events::topology::{EdgeSource, Topology};
use spans::Spans;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

mod calls;
mod spans;

/// Deployments and Kubernetes events kept per environment.
const EVENTS_LIMIT: usize = 2_000;
/// Edges kept per environment: a graph larger than this is not one fleet.
const EDGES_LIMIT: usize = 20_000;
/// Owner references kept per environment.
const OWNERS_LIMIT: usize = 20_000;
/// An observed edge that nobody has seen for this long, event time, makes room
/// for others where there are too many.
const FORGOTTEN_MS: i64 = 24 * 3_600_000;
/// A written edge is contradicted where spans have shown its caller calling
/// others for this long, event time, and never this callee, which is traced as
/// well.
const CONTRADICTED_MS: i64 = 3_600_000;
/// Characters kept of a change's text, and of each of its names.
const TEXT_LIMIT: usize = 2_000;
const NAME_LIMIT: usize = 300;

#[derive(Debug, Default)]
struct Environment {
    deployments: VecDeque<RawDeployment>,
    kubernetes: VecDeque<RawKubernetes>,
    edges: Topology,
    edge_count: usize,
    owner_count: usize,
    /// When spans first and last showed a caller calling anybody.
    callers: BTreeMap<String, (i64, i64)>,
}

#[derive(Debug, Default)]
struct Tables {
    environments: BTreeMap<String, Environment>,
    spans: Spans,
}

/// The table. Reads and writes are short, so a plain lock will do.
#[derive(Debug, Default)]
pub struct ContextTable {
    inner: Mutex<Tables>,
}

impl ContextTable {
    /// Takes in an event of a context topic.
    pub fn take(&self, mut event: Event) {
        cut(&mut event);
        let mut tables = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Deployment(deployment) => {
                let name = deployment.environment.clone();
                let environment = tables.environments.entry(name).or_default();
                push_sorted(&mut environment.deployments, deployment, |event| {
                    event.timestamp_ms
                });
            }
            Event::Kubernetes(event) => {
                let name = event.environment.clone();
                let environment = tables.environments.entry(name).or_default();
                environment.take_owners(&event);
                push_sorted(&mut environment.kubernetes, event, |event| {
                    event.timestamp_ms
                });
            }
            Event::Span(span) => tables.take_span(span),
            _ => {}
        }
    }

    /// Deployments of an environment between two event times.
    #[must_use]
    pub fn deployments(&self, environment: &str, from_ms: i64, to_ms: i64) -> Vec<RawDeployment> {
        let tables = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        tables
            .environments
            .get(environment)
            .map(|environment| {
                environment
                    .deployments
                    .iter()
                    .filter(|event| (from_ms..=to_ms).contains(&event.timestamp_ms))
                    .cloned()
                    .collect()
            })
            .unwrap_or_default()
    }

    /// Kubernetes events of an environment between two event times.
    #[must_use]
    pub fn kubernetes(&self, environment: &str, from_ms: i64, to_ms: i64) -> Vec<RawKubernetes> {
        let tables = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        tables
            .environments
            .get(environment)
            .map(|environment| {
                environment
                    .kubernetes
                    .iter()
                    .filter(|event| (from_ms..=to_ms).contains(&event.timestamp_ms))
                    .cloned()
                    .collect()
            })
            .unwrap_or_default()
    }

    /// The service under whose name an object of an environment is known.
    #[must_use]
    pub fn service_of(&self, environment: &str, name: &str) -> String {
        let tables = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let known = tables.environments.get(environment);
        known
            .map_or(name, |known| known.edges.service_of(name))
            .to_owned()
    }

    /// The graph of an environment: what is written, what spans have shown and
    /// who owns what, with a mark on what spans contradict.
    #[must_use]
    pub fn graph(&self, environment: &str, written: &Topology) -> Topology {
        let tables = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut graph = written.clone();
        let Some(known) = tables.environments.get(environment) else {
            return graph;
        };
        graph.merge(&known.edges);
        for (caller, callee, _) in written.edges() {
            let has_spoken = known
                .callers
                .get(caller)
                .is_some_and(|(first, last)| last - first >= CONTRADICTED_MS);
            let is_traced =
                known.callers.contains_key(callee) || !known.edges.callers(callee).is_empty();
            if has_spoken && is_traced && known.edges.sources(caller, callee).is_none() {
                graph.contradict(caller, callee);
            }
        }
        graph
    }

    /// The calls that spans have shown in an environment, and owners.
    #[must_use]
    pub fn edges(&self, environment: &str) -> Topology {
        let tables = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        tables
            .environments
            .get(environment)
            .map(|environment| environment.edges.clone())
            .unwrap_or_default()
    }
}

/// Cuts the texts of a change: it is quoted in incidents, mails and prompts,
/// and what came whole stays on the broker.
fn cut(event: &mut Event) {
    let short = |text: &mut String, limit: usize| {
        if text.chars().count() > limit {
            *text = text.chars().take(limit).collect();
            text.push('…');
        }
    };
    match event {
        Event::Deployment(deployment) => {
            short(&mut deployment.description, TEXT_LIMIT);
            short(&mut deployment.deployed_by, NAME_LIMIT);
            short(&mut deployment.git_sha, NAME_LIMIT);
            deployment.known_risks.truncate(10);
            for risk in &mut deployment.known_risks {
                short(risk, NAME_LIMIT);
            }
        }
        Event::Kubernetes(event) => {
            short(&mut event.message, TEXT_LIMIT);
            if serde_json::to_string(&event.metadata).map_or(true, |text| text.len() > TEXT_LIMIT) {
                event.metadata.clear();
            }
        }
        _ => {}
    }
}

impl Environment {
    fn take_call(&mut self, caller: &str, callee: &str, at_ms: i64) {
        // A call within one service says nothing about others, and nothing about
        // whom it does not call.
        let services = (self.edges.service_of(caller), self.edges.service_of(callee));
        if services.0 == services.1 {
            return;
        }
        let is_new = self.edges.sources(caller, callee).is_none();
        if is_new && self.edge_count >= EDGES_LIMIT {
            self.edges = self.edges.current(at_ms, FORGOTTEN_MS);
            self.edge_count = self.edges.edges().count();
            if self.edge_count >= EDGES_LIMIT {
                return;
            }
        }
        self.edge_count += usize::from(is_new);
        self.edges
            .add_seen(caller, callee, EdgeSource::Spans, at_ms);
        self.has_called(caller, (at_ms, at_ms));
    }

    /// Owner references: pod → replica set → deployment. The event's own owner
    /// is the workload at the end of the chain.
    fn take_owners(&mut self, event: &RawKubernetes) {
        let references = ["owner_references", "ownerReferences"]
            .iter()
            .find_map(|name| event.metadata.get(*name)?.as_array());
        let mut below = vec![event.name.as_str()];
        if let Some(references) = references {
            let names = references.iter().filter_map(|one| one["name"].as_str());
            let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
            for owner in &names {
                self.take_owner(owner, &event.name);
            }
            if !names.is_empty() {
                below = names;
            }
        }
        for object in below {
            if !event.owner.is_empty() {
                self.take_owner(&event.owner, object);
            }
        }
    }

    fn take_owner(&mut self, owner: &str, object: &str) {
        if owner == object || self.edges.service_of(object) != object {
            return;
        }
        if self.owner_count < OWNERS_LIMIT {
            self.owner_count += 1;
            self.edges.add_call(owner, object, EdgeSource::Kubernetes);
        }
    }
}

impl Tables {
    fn take_span(&mut self, span: RawSpan) {
        let (parent, children) = self.spans.take(&span);
        let caller = span.labels.get("caller").cloned().or(parent);
        let environment = self
            .environments
            .entry(span.environment.clone())
            .or_default();
        let callee = span.labels.get("peer.service").map(String::as_str);
        let edges = [
            callee.map(|callee| (span.service.as_str(), callee)),
            caller
                .as_deref()
                .map(|caller| (caller, span.service.as_str())),
        ];
        for (from, to) in edges.into_iter().flatten() {
            environment.take_call(from, to, span.start_ms);
        }
        for child in children {
            environment.take_call(&span.service, &child.service, child.start_ms);
        }
    }
}

/// Keeps the queue in order of time and within its limit.
fn push_sorted<T>(queue: &mut VecDeque<T>, item: T, time: impl Fn(&T) -> i64) {
    let at = time(&item);
    let place = queue.iter().rposition(|other| time(other) <= at);
    queue.insert(place.map_or(0, |place| place + 1), item);
    if queue.len() > EVENTS_LIMIT {
        queue.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(at: i64) -> Event {
        let json = serde_json::json!({"service": "a", "version": format!("v{at}"), "environment": "e", "timestamp_ms": at});
        Event::Deployment(serde_json::from_value(json).expect("a deployment"))
    }

    fn span(id: &str, parent: Option<&str>, service: &str, peer: Option<&str>) -> Event {
        let mut json = serde_json::json!({"trace_id": "t", "span_id": id, "service": service,
            "environment": "e", "operation": "o", "duration_ms": 1.0, "parent_span_id": parent});
        if let Some(peer) = peer {
            json["labels"] = serde_json::json!({"peer.service": peer});
        }
        Event::Span(serde_json::from_value(json).expect("a span"))
    }

    #[test]
    fn deployments_come_back_in_order_of_time_and_within_the_window() {
        let table = ContextTable::default();
        for at in [30, 10, 20, 40] {
            table.take(deployment(at));
        }
        let versions: Vec<String> = table
            .deployments("e", 10, 30)
            .into_iter()
            .map(|deployment| deployment.version)
            .collect();
        assert_eq!(versions, ["v10", "v20", "v30"]);
        assert!(table.deployments("elsewhere", 0, 100).is_empty());
    }

    #[test]
    fn edges_are_learnt_from_parents_and_from_peers() {
        let table = ContextTable::default();
        table.take(span("1", None, "gateway", Some("order")));
        table.take(span("2", Some("1"), "payment", None));
        let edges = table.edges("e");
        assert_eq!(edges.callees("gateway"), ["order", "payment"]);
    }

    /// A span of a trace and an environment.
    fn of(event: Event, trace: &str, environment: &str) -> Event {
        match event {
            Event::Span(span) => Event::Span(RawSpan {
                trace_id: trace.to_owned(),
                environment: environment.to_owned(),
                ..span
            }),
            other => other,
        }
    }

    #[test]
    fn a_call_is_learnt_in_whatever_order_its_spans_come() {
        let table = ContextTable::default();
        table.take(at(span("3", Some("2"), "payment", None), 30));
        table.take(at(span("4", Some("2"), "stock", None), 40));
        table.take(at(span("2", Some("1"), "order", None), 20));
        table.take(at(span("1", None, "gateway", None), 10));
        let edges = table.edges("e");
        let found: Vec<_> = edges
            .edges()
            .map(|(caller, callee, sources)| (caller, callee, sources[&EdgeSource::Spans]))
            .collect();
        let expected = [
            ("gateway", "order", 20),
            ("order", "payment", 30),
            ("order", "stock", 40),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_span_is_named_by_its_environment_and_its_trace() {
        let table = ContextTable::default();
        table.take(of(span("1", None, "gateway", None), "t", "staging"));
        table.take(of(span("2", Some("1"), "order", None), "t", "e"));
        table.take(of(span("1", None, "batch", None), "other", "e"));
        for environment in ["e", "staging"] {
            assert_eq!(table.edges(environment).edges().count(), 0);
        }
        table.take(of(span("1", None, "shop", None), "t", "e"));
        assert_eq!(table.edges("e").callees("shop"), ["order"]);
        assert_eq!(table.edges("e").edges().count(), 1);
    }

    #[test]
    fn a_call_within_one_service_is_no_edge_and_takes_no_room() {
        let table = ContextTable::default();
        for _ in 0..(EDGES_LIMIT + 5) {
            table.take(span("1", None, "order", Some("order")));
        }
        let json = serde_json::json!({"namespace": "n", "kind": "Pod", "name": "pay-1",
            "owner": "pay", "reason": "BackOff", "environment": "e", "timestamp_ms": 1});
        table.take(Event::Kubernetes(
            serde_json::from_value(json).expect("an event"),
        ));
        table.take(span("2", None, "pay", Some("pay-1")));
        assert_eq!(table.edges("e").edges().count(), 0);
        // Calls to itself say nothing about whom it does not call.
        let mut written = Topology::default();
        written.add_call("order", "stock", EdgeSource::Catalogue);
        table.take(at(
            span("3", None, "order", Some("order")),
            CONTRADICTED_MS + 1,
        ));
        table.take(at(span("4", None, "stock", Some("disk")), 1));
        assert_eq!(table.graph("e", &written).contradicted().count(), 0);
        table.take(span("5", None, "order", Some("stock")));
        assert_eq!(table.edges("e").callees("order"), ["stock"]);
    }

    fn at(event: Event, start_ms: i64) -> Event {
        match event {
            Event::Span(span) => Event::Span(RawSpan { start_ms, ..span }),
            other => other,
        }
    }

    #[test]
    fn a_written_edge_that_spans_never_show_is_marked_after_an_hour() {
        let mut written = Topology::default();
        for callee in ["order", "payment", "batch"] {
            written.add_call("gateway", callee, EdgeSource::Catalogue);
        }
        let table = ContextTable::default();
        let hour_ms = CONTRADICTED_MS;
        table.take(at(span("1", None, "gateway", Some("order")), 0));
        table.take(at(span("2", None, "payment", Some("bank")), 5));
        let marks = |table: &ContextTable| -> Vec<(String, String)> {
            let graph = table.graph("e", &written);
            let own = |(caller, callee): (&str, &str)| (caller.to_owned(), callee.to_owned());
            graph.contradicted().map(own).collect()
        };
        assert!(marks(&table).is_empty());
        table.take(at(span("3", None, "gateway", Some("order")), hour_ms));
        // Nobody has ever seen a span of batch: nothing speaks against it.
        assert_eq!(
            marks(&table),
            [("gateway".to_owned(), "payment".to_owned())]
        );
        table.take(at(span("4", None, "gateway", Some("payment")), hour_ms + 1));
        assert!(marks(&table).is_empty());
    }

    #[test]
    fn owner_references_lead_from_the_pod_to_the_service() {
        let event = |kind: &str, name: &str, owner: &str, reference: Option<&str>| {
            let metadata = reference.map_or(serde_json::json!({}), |name| {
                serde_json::json!({"ownerReferences": [{"kind": "ReplicaSet", "name": name}]})
            });
            let json = serde_json::json!({"namespace": "n", "kind": kind, "name": name,
                "owner": owner, "reason": "BackOff", "environment": "e", "timestamp_ms": 1,
                "metadata": metadata});
            Event::Kubernetes(serde_json::from_value(json).expect("an event"))
        };
        let table = ContextTable::default();
        table.take(event("Pod", "pay-6d4f-x2x", "", Some("pay-6d4f")));
        assert_eq!(table.service_of("e", "pay-6d4f-x2x"), "pay-6d4f");
        table.take(event("ReplicaSet", "pay-6d4f", "pay", None));
        assert_eq!(table.service_of("e", "pay-6d4f-x2x"), "pay");
        table.take(event("Pod", "user-1-a", "user", Some("user-1")));
        for name in ["user-1-a", "user-1", "user"] {
            assert_eq!(table.service_of("e", name), "user", "{name}");
        }
        assert_eq!(table.service_of("elsewhere", "user-1"), "user-1");
    }

    #[test]
    fn the_table_is_bounded() {
        let table = ContextTable::default();
        for at in 0..(EVENTS_LIMIT as i64 + 10) {
            table.take(deployment(at));
        }
        assert_eq!(table.deployments("e", 0, i64::MAX).len(), EVENTS_LIMIT);
    }
}
