//! What a service's place in the graph says: how much of the trouble it would
//! explain, whether its callers suffer, whether something that it calls broke
//! before it did.

use super::portrait::{Findings, Kind, onset_of};
use super::recording::Recording;
use std::collections::{BTreeMap, BTreeSet};

/// Two onsets this close are one: the distance of two samples.
pub(super) const SAME_MOMENT_MS: i64 = 20_000;
/// What an explanation by a callee counts where spans or log lines speak, too.
const TOLD: f64 = 0.7;
/// Silence of this size means that a service is gone.
const GONE: f64 = 0.4;

/// The place of one service.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Place {
    /// Share of all symptoms that it and its callers, direct and through
    /// others, show, 0..1.
    pub coverage: f64,
    /// How much its direct callers suffer, 0..1.
    pub callers: f64,
    /// How much the worst of what it calls, directly or through others,
    /// suffers, among those that broke no later, 0..1.
    pub explained: f64,
    /// Whether its callers or itself show any symptom, 0..1; 1 where nobody
    /// measures them.
    pub felt: f64,
    /// 1 where it is the target and nothing tells which service calls which.
    pub alerted: f64,
    /// How early it broke, 0..1; 0 where it is not known to have.
    pub early: f64,
    /// The part of its requests that others brought about, 0..1.
    pub driven: f64,
}

/// How visibly each service suffers, 0..1: what its callers would notice.
fn symptoms(findings: &Findings) -> BTreeMap<&str, f64> {
    findings
        .portraits
        .iter()
        .map(|(service, portrait)| {
            let size = |kind: Kind| portrait.get(&kind).copied().unwrap_or(0.0);
            let seen = size(Kind::LatencyJump).max(size(Kind::FailureJump));
            // Half of the scale is a doubling of the normal reach or two.
            let seen = 1.0 - (-5.0 * seen).exp();
            let gone = if size(Kind::Silence) > GONE { 1.0 } else { 0.0 };
            (service.as_str(), seen.max(gone))
        })
        .collect()
}

/// The places of all services.
#[must_use]
pub fn find(recording: &Recording, findings: &Findings) -> BTreeMap<String, Place> {
    let symptoms = symptoms(findings);
    let onsets: BTreeMap<&str, i64> = findings
        .portraits
        .keys()
        .filter_map(|service| Some((service.as_str(), onset_of(recording, findings, service)?)))
        .collect();
    let all: f64 = symptoms.values().sum();
    let has_graph = findings.graph.edges().next().is_some();
    let driven = |service: &str| findings.load.driven.get(service).copied().unwrap_or(0.0);
    let shown = |service: &str| symptoms.get(service).copied().unwrap_or(0.0);
    findings
        .portraits
        .iter()
        .map(|(service, portrait)| {
            let above = reach(service, |node| findings.graph.callers(node));
            let own = shown(service);
            let covered: f64 = above.iter().map(|name| shown(name)).sum::<f64>() + own;
            let callers = findings.graph.callers(service);
            #[expect(clippy::cast_precision_loss, reason = "a few callers")]
            let suffering = if callers.is_empty() {
                if own > 0.0 { 1.0 } else { 0.0 }
            } else {
                callers.iter().map(|name| shown(name)).sum::<f64>() / callers.len() as f64
            };
            let measured = |name: &str| findings.metered.contains(name);
            let felt = callers.iter().map(|name| shown(name)).fold(own, f64::max);
            let is_measured = measured(service) || callers.iter().any(|name| measured(name));
            let place = Place {
                felt: if is_measured { felt } else { 1.0 },
                coverage: if has_graph && all > 0.0 {
                    covered / all
                } else {
                    1.0
                },
                callers: suffering,
                explained: if has_graph {
                    explained(findings, &onsets, &symptoms, service)
                } else {
                    0.0
                },
                alerted: match portrait.get(&Kind::Target) {
                    Some(target) if !has_graph => {
                        let begun = portrait.get(&Kind::Origin).copied().unwrap_or(0.0);
                        target * (1.0 - begun)
                    }
                    _ => 0.0,
                },
                early: portrait.get(&Kind::First).copied().unwrap_or(0.0),
                driven: driven(service),
            };
            (service.clone(), place)
        })
        .collect()
}

/// How much of what a service shows is explained, 0..1, by what it calls and
/// what broke no later.
fn explained(
    findings: &Findings,
    onsets: &BTreeMap<&str, i64>,
    symptoms: &BTreeMap<&str, f64>,
    service: &str,
) -> f64 {
    let is_gone = |name: &str| {
        let portrait = findings.portraits.get(name);
        let silence = portrait.and_then(|portrait| portrait.get(&Kind::Silence));
        silence.is_some_and(|size| *size > GONE)
    };
    let onset = |name: &str| onsets.get(name).copied().unwrap_or(i64::MAX);
    let mine = onset(service).saturating_add(SAME_MOMENT_MS);
    let below = reach(service, |node| findings.graph.callees(node));
    let explained = below
        .into_iter()
        .filter(|name| onset(name) <= mine)
        // Nobody asks what is called by one that is gone.
        .filter(|name| !(is_gone(name) && is_gone(service)))
        .map(|name| {
            let driven = findings.load.driven.get(name).copied().unwrap_or(0.0);
            symptoms.get(name).copied().unwrap_or(0.0) * (1.0 - driven)
        })
        .fold(0.0, f64::max);
    // Spans and log lines tell themselves whose work and whose answer it is.
    let told = !(findings.traces.services.is_empty() && findings.lines.is_empty());
    explained * if told { TOLD } else { 1.0 }
}

/// Everything reached from a service, itself not among it.
fn reach<'a>(service: &'a str, next: impl Fn(&str) -> Vec<&'a str>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open = vec![service];
    while let Some(node) = open.pop() {
        for neighbour in next(node) {
            if neighbour != service && seen.insert(neighbour) {
                open.push(neighbour);
            }
        }
    }
    seen
}
