//! The records of an incident's window, as they are kept.

use crate::table::ContextTable;
use midwatch_clients::postgres::{KeptRecord, records};
use midwatch_events::ids;
use midwatch_events::incident::GroupedAnomaly;
use serde::Deserialize;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Records that one copy adds: enough for a hundred series over their window.
pub const LIMIT: usize = 20_000;
/// Records of one incident: what the copies at its growth and its end add has
/// its place, too. It is read as a whole ([`records::of_incident`]).
pub const TOTAL: usize = records::TOTAL;
/// Of those, what readings, lines and spans leave for anomalies and changes, of
/// which a late one may say more than all of them.
const RESERVED: usize = 3_000;
/// Every so many records that are chosen are the newest ones instead of those
/// nearest to the onset: they tell how it went on.
const NEWEST: usize = 4;

/// Complaints that the job answers with.
const COMPLAINTS: usize = 40;
/// Complaints of this time before the onset count, too.
const COMPLAINTS_BEFORE_MS: i64 = 30_000;

/// What the job `copy_records` is about.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Window {
    pub incident_id: Uuid,
    pub environment: String,
    pub services: Vec<String>,
    /// Services of changes that were near in time and left out.
    #[serde(default)]
    pub also: Vec<String>,
    pub from_ms: i64,
    /// The first onset; absent in jobs of earlier builds.
    #[serde(default)]
    pub onset_ms: Option<i64>,
    #[serde(with = "midwatch_events::more::stored")]
    pub anomalies: Vec<GroupedAnomaly>,
}

/// Text that detection keeps of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    Log,
    Span,
}

impl Text {
    /// The record's kind; with an s, part of the key in Redis.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Text::Log => "log",
            Text::Span => "span",
        }
    }
}

impl Window {
    /// The anomalies.
    #[must_use]
    pub fn anomaly_records(&self) -> Vec<KeptRecord> {
        self.anomalies
            .iter()
            .map(|anomaly| KeptRecord {
                // The anomaly's own id: candidates cite it as it is.
                record_id: anomaly.anomaly_id.to_string(),
                kind: "anomaly".to_owned(),
                service: anomaly.service.clone(),
                name: anomaly.trigger_metric.clone(),
                at_ms: anomaly.onset_ms,
                value: Some(anomaly.observed_value),
                text: anomaly.description.clone(),
                // Whether it is over by now is the incident's to say: a record
                // is kept as it was first copied, whenever that was.
                payload: json!(GroupedAnomaly {
                    cleared_at_ms: None,
                    ..anomaly.clone()
                }),
            })
            .collect()
    }

    /// The ids of the model calls that classified the anomalies, where any did.
    #[must_use]
    pub fn classifications(&self) -> Vec<Uuid> {
        let calls = self.anomalies.iter();
        calls
            .map(|one| ids::classification(one.anomaly_id, one.detected_at_ms))
            .collect()
    }

    /// Deployments and Kubernetes events of the window's services; deployments
    /// from `deployment_window_ms` before the window.
    #[must_use]
    pub fn change_records(
        &self,
        table: &ContextTable,
        deployment_window_ms: i64,
    ) -> Vec<KeptRecord> {
        let incident = self.incident_id;
        let (from, environment) = (self.from_ms, &self.environment);
        let deployments = table.deployments(environment, from - deployment_window_ms, i64::MAX);
        let events = table.kubernetes(environment, from, i64::MAX);
        let named = self.services.iter().chain(&self.also);
        let concerns = |service: &str| {
            let known_as = table.service_of(environment, service);
            named
                .clone()
                .any(|known| known == service || *known == known_as)
        };
        let mut kept = Vec::new();
        for deployment in deployments.iter().filter(|event| concerns(&event.service)) {
            let at = deployment.timestamp_ms.to_string();
            let parts = [deployment.service.as_str(), &deployment.version, &at];
            kept.push(KeptRecord {
                record_id: ids::record(incident, "deployment", &parts),
                kind: "deployment".to_owned(),
                service: deployment.service.clone(),
                name: deployment.version.clone(),
                at_ms: deployment.timestamp_ms,
                value: None,
                text: deployment.description.clone(),
                payload: json!(deployment),
            });
        }
        for event in events.iter().filter(|event| concerns(event.service())) {
            let at = event.timestamp_ms.to_string();
            let parts = [event.namespace.as_str(), &event.name, &event.reason, &at];
            kept.push(KeptRecord {
                record_id: ids::record(incident, "kubernetes", &parts),
                kind: "kubernetes".to_owned(),
                service: event.service().to_owned(),
                name: event.event_kind.clone(),
                at_ms: event.timestamp_ms,
                value: None,
                text: format!("{}: {}", event.reason, event.message),
                payload: json!(event),
            });
        }
        kept
    }

    /// Readings of one series since the window's beginning, as detection wrote
    /// them.
    #[must_use]
    pub fn metric_records(
        &self,
        service: &str,
        metric: &str,
        readings: &[Value],
    ) -> Vec<KeptRecord> {
        let mut kept = Vec::new();
        for member in readings {
            let (Some(at_ms), Some(value)) = (member[0].as_i64(), member[1].as_f64()) else {
                continue;
            };
            let parts = [service, metric, &at_ms.to_string()];
            kept.push(KeptRecord {
                record_id: ids::record(self.incident_id, "metric", &parts),
                kind: "metric".to_owned(),
                service: service.to_owned(),
                name: metric.to_owned(),
                at_ms,
                value: Some(value),
                text: String::new(),
                payload: json!({"score": member[2], "expected": member[3],
                    "low": member[4], "high": member[5], "wall_ms": member[6],
                    "event_id": member[7], "reason": member[8]}),
            });
        }
        kept
    }

    /// Log lines or spans of one service, as detection wrote them.
    #[must_use]
    pub fn text_records(&self, service: &str, what: Text, members: &[Value]) -> Vec<KeptRecord> {
        let kind = what.kind();
        let time = match what {
            Text::Log => "timestamp_ms",
            Text::Span => "start_ms",
        };
        let mut kept = Vec::new();
        for member in members {
            let Some(at_ms) = member[time].as_i64() else {
                continue;
            };
            let word = |name: &str| member[name].as_str().unwrap_or_default();
            let (name, text, value) = match what {
                Text::Log => (word("level"), word("message").to_owned(), None),
                Text::Span => (
                    word("operation"),
                    word("status").to_owned(),
                    member["duration_ms"].as_f64(),
                ),
            };
            let own = member["event_id"].as_str().or(member["span_id"].as_str());
            let parts = [service, &at_ms.to_string(), own.unwrap_or(&text)];
            kept.push(KeptRecord {
                record_id: ids::record(self.incident_id, kind, &parts),
                kind: kind.to_owned(),
                service: service.to_owned(),
                name: name.to_owned(),
                at_ms,
                value,
                text,
                payload: member.clone(),
            });
        }
        kept
    }
}

/// The records that a copy keeps, and how many of each kind and service it left
/// out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chosen {
    pub kept: Vec<KeptRecord>,
    pub left_out: BTreeMap<(String, String), usize>,
}

impl Window {
    /// Chooses what is kept of the records found; `known` are there already.
    ///
    /// Anomalies and changes come first. Of readings, lines and spans each kind
    /// of each service is a queue of its own, in order of the distance from the
    /// onset, with every fourth place for the newest ones; the queues are served
    /// in turn. So a loud service takes no place from a quiet one, and what is
    /// missing lies far before the onset or between the onset and now.
    #[must_use]
    pub fn choose(&self, found: Vec<KeptRecord>, known: &BTreeSet<String>) -> Chosen {
        let room = LIMIT.min(TOTAL.saturating_sub(known.len()));
        let bulk_room = room.min((TOTAL - RESERVED).saturating_sub(known.len()));
        let mut seen = BTreeSet::new();
        let fresh = found
            .into_iter()
            .filter(|one| !known.contains(&one.record_id) && seen.insert(one.record_id.clone()));
        let mut queues: BTreeMap<(bool, String, String), Vec<KeptRecord>> = BTreeMap::new();
        for record in fresh {
            let is_bulk = matches!(record.kind.as_str(), "metric" | "log" | "span");
            let key = (is_bulk, record.kind.clone(), record.service.clone());
            queues.entry(key).or_default().push(record);
        }
        let total: usize = queues.values().map(Vec::len).sum();
        let bulk = queues.iter().filter(|((is_bulk, _, _), _)| *is_bulk);
        let bulk: usize = bulk.map(|(_, queue)| queue.len()).sum();
        if total <= room && bulk <= bulk_room {
            let kept = queues.into_values().flatten().collect();
            return Chosen {
                kept,
                ..Chosen::default()
            };
        }
        let onset_ms = self.onset_ms.unwrap_or(self.from_ms);
        let mut order: Vec<(bool, usize, KeptRecord)> = Vec::with_capacity(total);
        for ((is_bulk, _, _), queue) in queues {
            let queue = nearest_first(queue, onset_ms);
            // Of anomalies and changes all are served before any other queue is.
            order.extend(
                queue
                    .into_iter()
                    .enumerate()
                    .map(|(place, one)| (is_bulk, place, one)),
            );
        }
        order.sort_by_key(|(is_bulk, place, _)| (*is_bulk, *place));
        let mut chosen = Chosen::default();
        let mut bulk = 0;
        for (is_bulk, _, record) in order {
            let has_room = chosen.kept.len() < room && (!is_bulk || bulk < bulk_room);
            if has_room {
                bulk += usize::from(is_bulk);
                chosen.kept.push(record);
            } else {
                let key = (record.kind, record.service);
                *chosen.left_out.entry(key).or_default() += 1;
            }
        }
        chosen
    }
}

/// By distance from the onset; every [`NEWEST`]th is the newest that is left.
fn nearest_first(mut queue: Vec<KeptRecord>, onset_ms: i64) -> Vec<KeptRecord> {
    queue.sort_by(|one, other| (one.at_ms, &one.record_id).cmp(&(other.at_ms, &other.record_id)));
    let mut near: Vec<usize> = (0..queue.len()).collect();
    near.sort_by_key(|place| ((queue[*place].at_ms - onset_ms).abs(), *place));
    let mut near = near.into_iter();
    let mut newest = (0..queue.len()).rev();
    let mut queue: Vec<Option<KeptRecord>> = queue.into_iter().map(Some).collect();
    let mut ordered = Vec::with_capacity(queue.len());
    while ordered.len() < queue.len() {
        let is_newest = ordered.len() % NEWEST == NEWEST - 1;
        let from: &mut dyn Iterator<Item = usize> = if is_newest { &mut newest } else { &mut near };
        let Some(place) = from.next() else {
            break;
        };
        // It may have been taken from the other end.
        ordered.extend(queue[place].take());
    }
    ordered
}

impl Chosen {
    /// The job's answer, with what was left out, most first.
    #[must_use]
    pub fn answer(&self, mut found: Value) -> Value {
        let mut left_out: Vec<_> = self.left_out.iter().collect();
        left_out.sort_by_key(|(name, count)| (Reverse(**count), *name));
        found["records"] = json!(self.kept.len());
        found["left_out"] = left_out
            .iter()
            .map(|((kind, service), count)| json!({"kind": kind, "service": service, "count": count}))
            .collect();
        found
    }
}

/// What the job `copy_records` answers: how many records were kept, and the
/// newest complaints of the services with anomalies, which may name what is
/// really broken.
#[must_use]
pub fn answer(window: &Window, kept: &[KeptRecord]) -> Value {
    let onset_ms = window.anomalies.iter().map(|one| one.onset_ms).min();
    let since_ms = onset_ms.unwrap_or(i64::MAX) - COMPLAINTS_BEFORE_MS;
    let is_concerned = |service: &str| window.anomalies.iter().any(|one| one.service == service);
    let mut lines: Vec<&KeptRecord> = kept
        .iter()
        .filter(|record| {
            record.kind == "log"
                && record.at_ms >= since_ms
                && matches!(record.name.as_str(), "WARN" | "ERROR" | "FATAL")
                && is_concerned(&record.service)
        })
        .collect();
    lines.sort_by(|one, other| (other.at_ms, &other.record_id).cmp(&(one.at_ms, &one.record_id)));
    let complaints: Vec<Value> = lines
        .into_iter()
        .take(COMPLAINTS)
        .map(|record| {
            let message: String = record.text.chars().take(500).collect();
            json!({"service": record.service, "message": message})
        })
        .collect();
    json!({"records": kept.len(), "complaints": complaints})
}

#[cfg(test)]
mod tests;
