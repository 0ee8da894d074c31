//! Which incident an anomaly belongs to, and why.
//!
//! Trouble travels up the calls: a service is slow or fails because one that
//! it calls is, and hardly ever the other way round. So an anomaly belongs to
//! a group
//! 1. of its own service,
//! 2. when its service calls an impaired one, directly or through others, and
//!    did not break before it,
//! 3. when a service that the group cannot explain yet calls its service,
//!    which did not break after that one,
//! 4. when it and such a service both call a third one that shows nothing
//!    itself, and both broke within seconds and in the same way.
//!
//! Two services with a common caller have nothing to do with each other. A
//! resource that runs out (CPU, memory, connections, a backlog, a container)
//! is a trouble of its service's own: nothing that the service calls explains
//! it. As long as such a resource has room left and its service shows no harm,
//! it explains slow answers and failures only where nothing else does: a job at
//! night fills a processor and hurts nobody.

use super::state::{Group, Phase, State, Surroundings};
use crate::config::Config;
use midwatch_events::anomaly::{Anomaly, AnomalyType};
use midwatch_events::incident::GroupedAnomaly;
use midwatch_events::topology::{EdgeSource, Topology};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// How many windows an incident with an active anomaly takes new ones for after
/// its last transition: two hours with the default window.
const ACTIVE_WINDOWS: i64 = 12;
/// Services that call a silent one break within this time of each other: three
/// readings.
const PEER_MS: i64 = 30_000;

/// Percent of a whole up to which a resource has room left: a queue before one
/// that is 85 % busy takes six to seven times the service time (M/M/1,
/// 1 / (1 − ρ)), and half of that at 70 %.
const ROOM_PERCENT: f64 = 85.0;
/// What a place that does no harm yet stands behind all others.
const HARMLESS: u8 = 4;

/// What is to be placed.
#[derive(Clone, Debug)]
pub struct Signal<'a> {
    pub environment: &'a str,
    pub service: &'a str,
    pub metric: &'a str,
    pub kind: AnomalyType,
    pub onset_ms: i64,
    /// The first reading out of range: what a caller's order is judged by, as
    /// an estimate of its onset that is too early must not tear it off.
    pub crossed_ms: i64,
}

impl<'a> Signal<'a> {
    /// An anomaly as it was detected, with its onset where the readings tell.
    #[must_use]
    pub fn of(anomaly: &'a Anomaly, around: &Surroundings) -> Signal<'a> {
        Signal {
            environment: &anomaly.environment,
            service: &anomaly.service,
            metric: &anomaly.trigger_metric,
            kind: anomaly.anomaly_type,
            onset_ms: around.onset.map_or(anomaly.onset_ms, |began| began.at_ms),
            crossed_ms: anomaly.onset_ms,
        }
    }

    /// A member of a group.
    #[must_use]
    pub fn member(group: &'a Group, member: &'a GroupedAnomaly) -> Signal<'a> {
        Signal {
            environment: &group.environment,
            service: &member.service,
            metric: &member.trigger_metric,
            kind: member.anomaly_type,
            onset_ms: member.onset_ms,
            crossed_ms: crossed_ms(group, member),
        }
    }
}

fn crossed_ms(group: &Group, member: &GroupedAnomaly) -> i64 {
    let began = group.began.get(&member.anomaly_id);
    began.map_or(member.onset_ms, |began| began.crossed_ms)
}

/// How well a signal fits a group: less is better.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    /// Its own service first, and there the one that the group began with.
    tier: u8,
    hops: u32,
    gap_ms: i64,
    /// The one that was active last.
    idle_ms: i64,
}

/// The group that the signal belongs to, and why, in words.
#[must_use]
pub fn belonging(
    config: &Config,
    state: &State,
    around: &Topology,
    (signal, now_ms): (&Signal<'_>, i64),
) -> Option<(Uuid, String)> {
    let mut best: Option<(Fit, Uuid, String)> = None;
    for group in state.groups.values() {
        let time = (signal.environment, signal.onset_ms);
        if !near_in_time(config, group, time.0, time.1) {
            continue;
        }
        let graph = graph_of(config, &[&group.surroundings.topology, around], now_ms);
        let Ok((fit, reason)) = bond(config, &graph, group, signal) else {
            continue;
        };
        if best
            .as_ref()
            .is_none_or(|other| (&fit, group.incident_id) < (&other.0, other.1))
        {
            best = Some((fit, group.incident_id, reason));
        }
    }
    best.map(|(_, id, reason)| (id, reason))
}

/// The calls of these graphs that count now.
pub(super) fn graph_of(config: &Config, graphs: &[&Topology], now_ms: i64) -> Topology {
    let mut whole = Topology::default();
    for graph in graphs {
        whole.merge(graph);
    }
    whole.current(now_ms, config.edge_lifetime_ms)
}

/// Why a signal does not belong to a group that is near in time.
pub(super) fn why_not(
    config: &Config,
    graph: &Topology,
    group: &Group,
    signal: &Signal<'_>,
) -> Option<String> {
    bond(config, graph, group, signal).err()
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

/// Whether a type is a resource of the service's own that runs out. A line or a
/// burn rate only speaks of one.
#[must_use]
pub fn is_own(kind: AnomalyType, metric: &str) -> bool {
    let own = matches!(
        kind,
        AnomalyType::CpuSaturation
            | AnomalyType::MemoryLeak
            | AnomalyType::DbConnectionExhaustion
            | AnomalyType::KafkaConsumerLag
            | AnomalyType::KubernetesFailure
    );
    own && !metric.starts_with("log:") && !metric.starts_with("slo:")
}

/// Whether a member is a resource with room left, of those that are counted as
/// a share of their whole.
fn has_room(member: &GroupedAnomaly) -> bool {
    is_own(member.anomaly_type, &member.trigger_metric)
        && member.trigger_metric.ends_with("_percent")
        && member.observed_value < ROOM_PERCENT
}

/// A service of a group, under the name that the graph knows it by.
struct Place<'a> {
    service: &'a str,
    onset_ms: i64,
    crossed_ms: i64,
    kinds: BTreeSet<AnomalyType>,
    /// A resource of its own runs out.
    is_own: bool,
    /// All that it shows is resources with room left.
    is_harmless: bool,
    /// Nothing in the group explains its trouble.
    is_root: bool,
}

fn places<'a>(config: &Config, graph: &'a Topology, group: &'a Group) -> Vec<Place<'a>> {
    let mut places: Vec<Place<'a>> = Vec::new();
    // A storm has thousands of members on hundreds of services.
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for member in &group.anomalies {
        let service = graph.service_of(&member.service);
        let is_own = is_own(member.anomaly_type, &member.trigger_metric);
        let index = *known.entry(service).or_insert(places.len());
        if index == places.len() {
            places.push(Place {
                service,
                onset_ms: member.onset_ms,
                crossed_ms: crossed_ms(group, member),
                kinds: BTreeSet::new(),
                is_own: false,
                is_harmless: true,
                is_root: true,
            });
        }
        let place = &mut places[index];
        place.onset_ms = place.onset_ms.min(member.onset_ms);
        place.crossed_ms = place.crossed_ms.min(crossed_ms(group, member));
        place.is_own |= is_own;
        place.is_harmless &= has_room(member);
        place.kinds.insert(member.anomaly_type);
    }
    let explained: Vec<bool> = places
        .iter()
        .map(|place| {
            let called = graph.within(place.service, config.max_hops).into_iter();
            let mut others = called.filter_map(|name| Some(&places[*known.get(name)?]));
            !place.is_own
                && others.any(|other| {
                    other.service != place.service
                        && other.onset_ms <= place.crossed_ms + config.order_slack_ms
                })
        })
        .collect();
    // Two that call each other and nothing else: the earlier one.
    let ring = explained.iter().all(|explained| *explained);
    let first = places.iter().map(|place| place.onset_ms).min();
    for (place, explained) in places.iter_mut().zip(explained) {
        place.is_root = !explained || (ring && Some(place.onset_ms) == first);
    }
    places
}

fn bond(
    config: &Config,
    graph: &Topology,
    group: &Group,
    signal: &Signal<'_>,
) -> Result<(Fit, String), String> {
    let places = places(config, graph, group);
    let service = graph.service_of(signal.service);
    let own = is_own(signal.kind, signal.metric);
    let fit = |tier: u8, hops: usize, place: &Place<'_>| Fit {
        tier: tier
            + if place.is_harmless && !own {
                HARMLESS
            } else {
                0
            },
        hops: u32::try_from(hops).unwrap_or(u32::MAX),
        gap_ms: (signal.onset_ms - place.onset_ms).abs(),
        idle_ms: -group.last_ms,
    };
    if let Some(place) = places.iter().find(|place| place.service == service) {
        return same_service(group, place, signal, own)
            .map(|reason| (fit(u8::from(!place.is_root), 0, place), reason));
    }
    let mut found: Vec<(Fit, String)> = Vec::new();
    let mut broken_order = None;
    let called = graph.within(service, config.max_hops);
    for place in &places {
        if !own
            && called.contains(place.service)
            && let Some(path) = graph.path(service, place.service, config.max_hops)
        {
            let lead_ms = place.onset_ms - signal.crossed_ms;
            if lead_ms <= config.order_slack_ms {
                let reason = told(graph, &path, (place.onset_ms, signal.onset_ms));
                found.push((fit(2, path.len() - 1, place), reason));
            } else {
                broken_order = Some((service, place.service, lead_ms));
            }
        }
        if !place.is_root || place.is_own {
            continue;
        }
        if let Some(path) = graph.path(place.service, service, config.max_hops) {
            let lag_ms = signal.onset_ms - place.crossed_ms;
            if lag_ms <= config.order_slack_ms {
                let reason = told(graph, &path, (signal.onset_ms, place.onset_ms));
                found.push((fit(2, path.len() - 1, place), reason));
            } else {
                broken_order = Some((place.service, service, lag_ms));
            }
        }
        if !own && let Some(reason) = peers(graph, &places, place, (service, signal)) {
            found.push((fit(3, 2, place), reason));
        }
    }
    found
        .into_iter()
        .min()
        .ok_or_else(|| misfit(config, graph, &places, (service, signal, own), broken_order))
}

fn same_service(
    group: &Group,
    place: &Place<'_>,
    signal: &Signal<'_>,
    own: bool,
) -> Result<String, String> {
    let service = place.service;
    let series = (
        signal.service.to_owned(),
        signal.metric.to_owned(),
        signal.kind,
    );
    if own && !place.is_root {
        return Err(format!(
            "{} is a trouble of {service}'s own, while what {service} shows in the other incident \
             comes from a service that it calls",
            signal.kind.title()
        ));
    }
    if own && group.reopened > 0 && !group.before.contains(&series) {
        return Err(format!(
            "{} is new: {service} did not have it before the other incident was reopened",
            signal.kind.title()
        ));
    }
    Ok(format!(
        "the same service, {service}, {}",
        order(signal.onset_ms - place.onset_ms, "after its first signal")
    ))
}

/// `20 s after x`, `at the same time`.
fn order(lag_ms: i64, after: &str) -> String {
    match lag_ms / 1_000 {
        0 => "at the same time".to_owned(),
        lag if lag > 0 => format!("{lag} s {after}"),
        lead => format!("{} s before that", -lead),
    }
}

/// The calls of a path with their sources, and the order of its ends:
/// `onsets` of the called and of the calling end.
fn told(graph: &Topology, path: &[&str], (below_ms, above_ms): (i64, i64)) -> String {
    let calls: Vec<String> = path
        .windows(2)
        .map(|pair| {
            let source = source_of(graph, pair[0], pair[1]);
            format!("{} calls {} ({source})", pair[0], pair[1])
        })
        .collect();
    let (above, below) = (path[0], path[path.len() - 1]);
    let order = order(above_ms - below_ms, &format!("after {below}"));
    format!("{}; {above} began to change {order}", calls.join(", "))
}

/// How an edge is known.
fn source_of(graph: &Topology, caller: &str, callee: &str) -> &'static str {
    let sources = graph.sources(caller, callee);
    let is_known_by = |source| sources.is_some_and(|known| known.contains_key(&source));
    if is_known_by(EdgeSource::Spans) {
        "as spans show"
    } else if is_known_by(EdgeSource::Logs) {
        "as its log lines say"
    } else if is_known_by(EdgeSource::Backstage) {
        "as Backstage says"
    } else {
        "as the catalogue says"
    }
}

/// Two that break in the same way at once because both call a third one that
/// shows nothing itself.
fn peers(
    graph: &Topology,
    places: &[Place<'_>],
    place: &Place<'_>,
    (service, signal): (&str, &Signal<'_>),
) -> Option<String> {
    let gap_ms = (signal.onset_ms - place.onset_ms).abs();
    if gap_ms > PEER_MS || !place.kinds.contains(&signal.kind) {
        return None;
    }
    let others = graph.callees(place.service);
    let silent = graph.callees(service).into_iter().find(|callee| {
        others.contains(callee) && !places.iter().any(|known| known.service == *callee)
    })?;
    Some(format!(
        "{service} ({}) and {} ({}) both call {silent}, which shows nothing itself, and both \
         began to change within {} s",
        source_of(graph, service, silent),
        place.service,
        source_of(graph, place.service, silent),
        gap_ms / 1_000
    ))
}

fn misfit(
    config: &Config,
    graph: &Topology,
    places: &[Place<'_>],
    (service, signal, own): (&str, &Signal<'_>, bool),
    broken_order: Option<(&str, &str, i64)>,
) -> String {
    if let Some((caller, callee, lag_ms)) = broken_order {
        return format!(
            "{caller} calls {callee}, but {callee} began to change {} s after it",
            lag_ms / 1_000
        );
    }
    let called = places.iter().find(|place| {
        graph
            .path(service, place.service, config.max_hops)
            .is_some()
    });
    if let (true, Some(place)) = (own, called) {
        return format!(
            "{service} calls {}, but {} is a trouble of its own",
            place.service,
            signal.kind.title()
        );
    }
    let explained = places.iter().find(|place| {
        graph
            .path(place.service, service, config.max_hops)
            .is_some()
    });
    if let Some(place) = explained {
        let name = place.service;
        return format!(
            "{name} calls {service}, but something else explains the trouble of {name}"
        );
    }
    let common = places.iter().find_map(|place| {
        let callers = graph.callers(place.service);
        let both = graph.callers(service).into_iter();
        let mut both = both.filter(|caller| callers.contains(caller));
        both.next().map(|caller| (caller, place.service))
    });
    match common {
        Some((caller, other)) => {
            format!("neither {service} nor {other} calls the other; both are called by {caller}")
        }
        None => format!(
            "no chain of at most {} calls leads from one to the other",
            config.max_hops
        ),
    }
}

/// Why everything that `younger` cannot explain itself is explained by `older`,
/// in words; `None` where something is not. What does no harm yet explains
/// something only where `by_harmless` says so.
#[must_use]
pub fn explained_by(
    config: &Config,
    (older, by_harmless): (&Group, bool),
    younger: &Group,
    now_ms: i64,
) -> Option<String> {
    let own = [&older.surroundings.topology, &younger.surroundings.topology];
    let graph = graph_of(config, &own, now_ms);
    let theirs = places(config, &graph, older);
    let mut reason = None;
    for root in places(config, &graph, younger)
        .iter()
        .filter(|one| one.is_root)
    {
        if root.is_own {
            return None;
        }
        let able = |place: &&Place<'_>| by_harmless || !place.is_harmless;
        let cause = theirs.iter().filter(able).find_map(|place| {
            let path = graph.path(root.service, place.service, config.max_hops)?;
            let in_order = place.onset_ms <= root.crossed_ms + config.order_slack_ms;
            in_order.then(|| {
                if path.len() > 1 {
                    told(&graph, &path, (place.onset_ms, root.onset_ms))
                } else {
                    format!("both are about {}", root.service)
                }
            })
        })?;
        reason.get_or_insert(cause);
    }
    reason
}
