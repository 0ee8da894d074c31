//! What spans and log lines are evidence of.

use super::lines::Told as Lines;
use super::measured::{ASIDE, HALF_SLOWED};
use super::portrait::{Findings, Kind, Note};
use super::quantity::Quantity;
use super::recording::Question;
use std::collections::{BTreeMap, BTreeSet};

/// The part of a caller's own time that goes to a service that has no spans
/// and is itself out of the ordinary.
const HIDDEN: f64 = 0.6;

/// Services that have metrics and no spans, and whose metrics changed.
fn uninstrumented(findings: &Findings, changed: &BTreeSet<String>) -> Vec<String> {
    changed
        .iter()
        .filter(|service| !findings.traces.services.contains_key(*service))
        .cloned()
        .collect()
}

pub(super) fn by_traces(
    findings: &Findings,
    question: &Question,
    changed: &BTreeSet<String>,
    note: &mut Note<'_>,
) {
    let services = &findings.traces.services;
    let seconds: f64 = services.values().map(|one| one.excess_seconds).sum();
    let seconds = seconds + findings.traces.waited_seconds;
    // Little beside what all of them usually take says little.
    let usual: f64 = services.values().map(|one| one.usual_seconds).sum();
    let about = Quantity::of(&question.target_metric);
    let slow = seconds / (seconds + HALF_SLOWED * usual).max(1e-12)
        * if about.is_failure() { ASIDE } else { 1.0 };
    let failures: f64 = services.values().map(|one| one.failures).sum();
    let mut begun: BTreeMap<&str, f64> = BTreeMap::new();
    for (service, spoken) in services {
        let refused: f64 = spoken.unanswered.values().sum();
        *begun.entry(service).or_default() += (spoken.failures - refused).max(0.0);
        for (callee, part) in &spoken.unanswered {
            *begun.entry(callee).or_default() += part;
        }
    }
    for (service, part) in begun {
        if failures > 0.0 {
            note(service, Kind::SpanFailures, part / failures);
        }
    }
    let silent = uninstrumented(findings, changed);
    for (service, spoken) in services {
        if seconds > 0.0 {
            let mut share = spoken.excess_seconds / seconds;
            let below: Vec<&str> = findings.graph.callees(service);
            let hidden = silent.iter().filter(|name| below.contains(&name.as_str()));
            let hidden: Vec<&String> = hidden.collect();
            if !hidden.is_empty() {
                #[expect(clippy::cast_precision_loss, reason = "a few services")]
                let each = share * HIDDEN / hidden.len() as f64;
                for name in hidden {
                    note(name, Kind::SlowEdges, each * slow);
                }
                share *= 1.0 - HIDDEN;
            }
            note(service, Kind::SpanSeconds, share * slow);
        }
        for pattern in &spoken.pattern {
            note(service, Kind::CallPattern, pattern.strength);
        }
        let (before, after) = spoken.rates;
        let callers = findings.graph.callers(service);
        let fails = |name: &str| services.get(name).is_some_and(|one| one.failures > 0.0);
        if before > 0.0 && after == 0.0 && callers.iter().any(|caller| fails(caller)) {
            note(service, Kind::Silence, 0.7);
        }
    }
    if seconds > 0.0 {
        by_waits(findings, slow / seconds, note);
    }
}

/// Waits for a service, as a share of all own time that grew, of which a
/// second counts `unit`. A caller that alone waits longer may as well work
/// longer, or wait for another.
fn by_waits(findings: &Findings, unit: f64, note: &mut Note<'_>) {
    let mut waiting: BTreeMap<&str, usize> = BTreeMap::new();
    let mut slowed_by: BTreeMap<&str, usize> = BTreeMap::new();
    for edge in &findings.traces.edges {
        *waiting.entry(edge.caller.as_str()).or_default() += 1;
        *slowed_by.entry(edge.callee.as_str()).or_default() += 1;
    }
    let mut waited: BTreeMap<&str, (f64, usize)> = BTreeMap::new();
    for edge in &findings.traces.edges {
        let known = waited.entry(edge.callee.as_str()).or_default();
        let suspects = if slowed_by[edge.callee.as_str()] > 1 {
            1
        } else {
            1 + waiting[edge.caller.as_str()]
        };
        #[expect(clippy::cast_precision_loss, reason = "a few services")]
        let part = edge.excess_seconds / suspects as f64;
        known.0 += part;
        known.1 += 1;
    }
    for (callee, (sum, slowed)) in waited {
        let callers = findings.graph.callers(callee).len().max(slowed);
        #[expect(clippy::cast_precision_loss, reason = "counts of callers")]
        let covered = slowed as f64 / callers as f64;
        note(callee, Kind::SlowEdges, (sum * unit).min(1.0) * covered);
    }
}

pub(super) fn by_lines(findings: &Findings, note: &mut Note<'_>) {
    let blames = &findings.blames;
    let own = |service: &str, told: &Lines| {
        told.complaints + blames.refused.get(service).copied().unwrap_or(0.0)
    };
    let complaints: f64 = findings
        .lines
        .iter()
        .map(|(name, told)| own(name, told))
        .sum();
    for (service, told) in &findings.lines {
        let own = own(service, told);
        if complaints > 0.0 {
            note(
                service,
                Kind::Complaints,
                own / (own + 3.0) * own / complaints,
            );
        }
        note(service, Kind::LogShift, told.shifts / (told.shifts + 4.0));
    }
    // Complaints about nobody that is known count among all, too.
    let all: f64 = findings.lines.values().map(|told| told.blames).sum();
    for (service, weight) in &blames.accused {
        note(service, Kind::Accused, (weight / all.max(3.0)).min(1.0));
    }
}

/// What metrics count of a service of which spans say that it has no part in
/// it: its seconds are waits, its failures begin elsewhere.
const DENIED: f64 = 0.35;

/// Where the spans of a service say that little is its own, its metrics count
/// less: those of a service below it may be missing.
pub(super) fn check_by_spans(
    findings: &Findings,
    portraits: &mut BTreeMap<String, BTreeMap<Kind, f64>>,
) {
    let spans = &findings.traces.services;
    let slow = spans.values().any(|one| one.excess_seconds > 0.0);
    let fails = spans.values().any(|one| one.failures > 0.0);
    for (service, portrait) in portraits {
        if !spans.contains_key(service) {
            continue;
        }
        for (shown, by, holds) in [
            (Kind::Seconds, Kind::SpanSeconds, slow),
            (Kind::Failures, Kind::SpanFailures, fails),
            (Kind::Explains, Kind::SpanSeconds, slow || fails),
        ] {
            let own = portrait.get(&by).copied().unwrap_or(0.0);
            let own = match shown {
                Kind::Explains => {
                    own.max(portrait.get(&Kind::SpanFailures).copied().unwrap_or(0.0))
                }
                _ => own,
            };
            if let Some(shown) = portrait.get_mut(&shown).filter(|_| holds) {
                let part = (own / shown.max(1e-9)).min(1.0);
                *shown *= DENIED + (1.0 - DENIED) * part;
            }
        }
    }
}

/// What remains with a service of failures that another one causes.
const REMAINS: f64 = 0.25;

/// Failures that a service only counts become those of whoever causes them.
pub(super) fn move_failures(
    findings: &Findings,
    portraits: &mut BTreeMap<String, BTreeMap<Kind, f64>>,
) {
    let kinds = [
        Kind::Failures,
        Kind::SpanFailures,
        Kind::Explains,
        Kind::FailureRate,
        Kind::FailureJump,
    ];
    for (counts, causes) in &findings.blames.caused {
        for kind in kinds {
            let Some(size) = portraits.get_mut(counts).and_then(|one| one.get_mut(&kind)) else {
                continue;
            };
            let moved = *size * (1.0 - REMAINS);
            *size *= REMAINS;
            if let Some(known) = portraits.get_mut(causes) {
                let known = known.entry(kind).or_insert(0.0);
                *known = known.max(moved);
            }
        }
    }
}
