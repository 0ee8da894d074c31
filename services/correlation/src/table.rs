//! The context table: recent deployments, Kubernetes events and call edges of
//! all environments, in bounded memory.

use midwatch_events::Event;
use midwatch_events::raw::{RawDeployment, RawKubernetes, RawSpan};
use midwatch_events::topology::{EdgeSource, Topology};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Deployments and Kubernetes events kept per environment.
const EVENTS_LIMIT: usize = 2_000;
/// Spans remembered to find the caller of a later one.
const SPANS_LIMIT: usize = 50_000;
/// Edges kept per environment: a graph larger than this is not one fleet.
const EDGES_LIMIT: usize = 20_000;
/// Characters kept of a change's text, and of each of its names.
const TEXT_LIMIT: usize = 2_000;
const NAME_LIMIT: usize = 300;

#[derive(Debug, Default)]
struct Environment {
    deployments: VecDeque<RawDeployment>,
    kubernetes: VecDeque<RawKubernetes>,
    edges: Topology,
    edge_count: usize,
}

#[derive(Debug, Default)]
struct Tables {
    environments: BTreeMap<String, Environment>,
    /// Span id → service, bounded.
    spans: HashMap<String, String>,
    span_order: VecDeque<String>,
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

    /// The calls that spans have shown in an environment.
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

impl Tables {
    fn take_span(&mut self, span: RawSpan) {
        let caller = span.labels.get("caller").cloned().or_else(|| {
            let parent = span.parent_span_id.as_ref()?;
            self.spans.get(parent).cloned()
        });
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
            if environment.edge_count < EDGES_LIMIT {
                if !environment.edges.callees(from).contains(&to) {
                    environment.edge_count += 1;
                }
                environment.edges.add_call(from, to, EdgeSource::Spans);
            }
        }
        if self.spans.len() >= SPANS_LIMIT
            && let Some(oldest) = self.span_order.pop_front()
        {
            self.spans.remove(&oldest);
        }
        if self
            .spans
            .insert(span.span_id.clone(), span.service)
            .is_none()
        {
            self.span_order.push_back(span.span_id);
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

    #[test]
    fn the_table_is_bounded() {
        let table = ContextTable::default();
        for at in 0..(EVENTS_LIMIT as i64 + 10) {
            table.take(deployment(at));
        }
        assert_eq!(table.deployments("e", 0, i64::MAX).len(), EVENTS_LIMIT);
    }
}
