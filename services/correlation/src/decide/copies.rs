//! The copying of an incident's records, and what it left out.

use super::state::Group;
use crate::config::Config;
use midwatch_events::incident::GroupedAnomaly;
use midwatch_events::more;
use midwatch_runtime::{Effect, JobRequest, Moment};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// How much of the time before the onset is kept with the incident.
const BEFORE_MS: i64 = 15 * 60_000;
/// Kinds and services that the line about records left out names in its payload.
const NAMED_LEFT_OUT: usize = 50;

/// The members in a job, as they are stored.
#[derive(Serialize)]
struct Listed<'a>(#[serde(with = "more::stored")] &'a [GroupedAnomaly]);

/// Copies the records of the window, under a name of their own for each
/// announcement.
pub(super) fn copy_records(config: &Config, group: &mut Group) -> Effect {
    group.copies += 1;
    let first = group.onset_ms();
    let mut services = group.services();
    let graph = group.graph(config);
    let mut known: BTreeSet<String> = services.iter().cloned().collect();
    for service in services.clone() {
        let neighbours = graph.callees(&service).into_iter();
        for neighbour in neighbours.chain(graph.callers(&service)) {
            if known.insert(neighbour.to_owned()) {
                services.push(neighbour.to_owned());
            }
        }
    }
    let request = JobRequest::new(
        format!("copy:{}:{}", group.incident_id, group.copies),
        "copy_records",
        json!({
            "incident_id": group.incident_id,
            "copy": group.copies,
            "environment": group.environment,
            "services": services,
            // What is left out can be looked up, too.
            "also": changed_services(group),
            "from_ms": first - BEFORE_MS,
            "onset_ms": first,
            "anomalies": Listed(&group.anomalies),
        }),
    );
    // One incident's records do not wait for another's.
    Effect::StartJob(JobRequest {
        lane: Some(format!("copy:{}", group.incident_id)),
        ..request
    })
}

/// What became of the copying, where it failed: people must know that evidence
/// is missing.
pub(super) fn copied(group: &Group, at: Moment, result: &Result<Value, String>) -> Vec<Effect> {
    match result {
        Ok(copied) => group
            .records_left_out
            .as_ref()
            .map_or_else(Vec::new, |told| {
                let is_new = copied["left_out"]
                    .as_array()
                    .is_some_and(|list| !list.is_empty());
                if is_new {
                    vec![left_out_line(group, at, told)]
                } else {
                    Vec::new()
                }
            }),
        Err(error) => vec![Effect::audit(
            group.incident_id,
            "RECORDS_UNAVAILABLE",
            at.event_ms,
            format!("The records around the incident could not be copied: {error}"),
            json!({"error": error}),
        )],
    }
}

/// Records of one kind of one service that were not kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordsLeftOut {
    pub kind: String,
    pub service: String,
    pub count: u64,
}

/// Remembers what the last copy left out, for the row: what an earlier one left
/// out may be gone from where it was.
pub(super) fn note_left_out(group: &mut Group, result: &Result<Value, String>) {
    let list = result.as_ref().ok().map(|copied| &copied["left_out"]);
    let list: Vec<RecordsLeftOut> = list
        .and_then(|list| Deserialize::deserialize(list).ok())
        .unwrap_or_default();
    if !list.is_empty() {
        group.records_left_out = Some(list);
    }
}

/// The line of the audit trail about records that were not kept.
fn left_out_line(group: &Group, at: Moment, left_out: &[RecordsLeftOut]) -> Effect {
    let total: u64 = left_out.iter().map(|one| one.count).sum();
    let most: Vec<String> = left_out
        .iter()
        .take(3)
        .map(|one| format!("{} of kind {} of {}", one.count, one.kind, one.service))
        .collect();
    let more = if left_out.len() > 3 { ", …" } else { "" };
    let words = format!(
        "{total} records around the incident were not kept, because there are too many ({}{more}). \
         Of each kind and service those nearest to the onset and the newest are kept.",
        most.join(", ")
    );
    let payload = json!({"left_out": left_out.iter().take(NAMED_LEFT_OUT).collect::<Vec<_>>(),
        "total": total, "wall_ms": at.wall_ms});
    Effect::audit(
        group.incident_id,
        "RECORDS_LEFT_OUT",
        at.event_ms,
        words,
        payload,
    )
}

/// The services of the changes around, bounded with them.
fn changed_services(group: &Group) -> BTreeSet<&str> {
    let around = &group.surroundings;
    let deployments = around.deployments.iter().map(|one| one.service.as_str());
    deployments
        .chain(around.kubernetes.iter().map(|one| one.service()))
        .collect()
}
