//! Which incident an anomaly belongs to.

use super::state::{Group, Phase, State, Surroundings};
use crate::config::Config;
use midwatch_events::anomaly::Anomaly;
use midwatch_events::mention::names_dependency;
use midwatch_events::topology::{EdgeSource, Topology};
use uuid::Uuid;

/// How many windows an incident with an active anomaly takes new ones for after
/// its last transition: two hours with the default window.
const ACTIVE_WINDOWS: i64 = 12;

/// The group that `anomaly` belongs to, and why, in words. Nearest in the
/// graph wins, then the one that was active last.
#[must_use]
pub fn belonging(
    config: &Config,
    state: &State,
    topology: &Topology,
    anomaly: &Anomaly,
) -> Option<(Uuid, String)> {
    let mut best: Option<(u32, i64, Uuid, String)> = None;
    for group in state.groups.values() {
        if !near_in_time(config, group, &anomaly.environment, anomaly.onset_ms) {
            continue;
        }
        let mut graph = group.surroundings.topology.clone();
        graph.merge(topology);
        let Some((hops, service)) = nearest(config, group, &graph, anomaly) else {
            continue;
        };
        let reason = reason(&graph, &service, &anomaly.service, hops);
        let rank = (hops, -group.last_ms, group.incident_id, reason);
        if best
            .as_ref()
            .is_none_or(|other| (rank.0, rank.1) < (other.0, other.1))
        {
            best = Some(rank);
        }
    }
    best.map(|(_, _, id, reason)| (id, reason))
}

/// Adds the calls that complaints tell: where a line of the anomaly's service
/// names a service of an open incident, or the other way round. Spans show only
/// what is sampled, and a catalogue only what somebody wrote down.
pub fn add_named(state: &State, surroundings: &mut Surroundings, anomaly: &Anomaly) {
    let Surroundings {
        topology,
        recent_errors,
        ..
    } = surroundings;
    let here =
        |group: &&Group| group.environment == anomaly.environment && group.phase != Phase::Resolved;
    for group in state.groups.values().filter(here) {
        for service in group.services() {
            let mut lines = recent_errors.iter();
            if lines.any(|line| names_dependency(&line.message, &service)) {
                topology.add_call(&anomaly.service, &service, EdgeSource::Logs);
            }
        }
        for line in &group.surroundings.recent_errors {
            if names_dependency(&line.message, &anomaly.service) {
                topology.add_call(&line.service, &anomaly.service, EdgeSource::Logs);
            }
        }
    }
}

/// Whether something that began at `onset_ms` may belong to the group.
pub(super) fn near_in_time(
    config: &Config,
    group: &Group,
    environment: &str,
    onset_ms: i64,
) -> bool {
    // An active incident takes more than a quiet one, but not for ever: a series
    // that vanished must not swallow every later fault nearby.
    let window = if group.is_active() {
        ACTIVE_WINDOWS * config.window_ms
    } else {
        config.window_ms
    };
    group.environment == environment
        && group.phase != Phase::Resolved
        && onset_ms - group.last_ms <= window
}

/// The member service nearest to the anomaly's, with the calls between.
fn nearest(
    config: &Config,
    group: &Group,
    graph: &Topology,
    anomaly: &Anomaly,
) -> Option<(u32, String)> {
    group
        .services()
        .into_iter()
        .filter_map(|service| {
            graph
                .distance(&service, &anomaly.service, config.max_hops)
                .map(|hops| (hops, service))
        })
        .min_by_key(|(hops, _)| *hops)
}

fn reason(graph: &Topology, member: &str, service: &str, hops: u32) -> String {
    if hops == 0 {
        return format!("the same service, {service}, at the same time");
    }
    let Some((caller, callee)) = graph.edge_between(member, service) else {
        return format!("{service} is {hops} calls away from {member}, at the same time");
    };
    let is_known_by = |source: EdgeSource| {
        graph
            .edges()
            .any(|(from, to, sources)| from == caller && to == callee && sources.contains(&source))
    };
    let source = if is_known_by(EdgeSource::Spans) {
        "as spans show"
    } else if is_known_by(EdgeSource::Logs) {
        "as its log lines say"
    } else {
        "as the catalogue says"
    };
    format!("{caller} calls {callee} ({source}), and both are out of range at the same time")
}
