//! What nobody measures, and what falls silent.
//!
//! A service without latencies, failures and spans of its own, a store that
//! somebody else runs, is seen through its callers only: it is taken to show
//! what they show on average. A service whose series stop is gone, unless its
//! callers stopped asking, or do not miss it, or its only one may have gone
//! astray.

use super::portrait::{Findings, Kind};
use super::recording::Recording;
use std::collections::{BTreeMap, BTreeSet};

type Portraits = BTreeMap<String, BTreeMap<Kind, f64>>;

/// What a service shows that its callers would show if it failed.
const SEEN: [Kind; 10] = [
    Kind::Seconds,
    Kind::SpanSeconds,
    Kind::Failures,
    Kind::Explains,
    Kind::SpanFailures,
    Kind::LatencyFactor,
    Kind::FailureRate,
    Kind::LatencyJump,
    Kind::FailureJump,
    Kind::Shift,
];

/// What counts of that where one caller alone tells of it: as likely the caller
/// itself, which has more to be told by.
const ONE: f64 = 0.9;
/// The same where several callers have it in common.
const SEVERAL: f64 = 1.2;
/// Shares of spans leave out what metrics count besides; a whole at most.
const ALONE: f64 = 1.3;

fn size(portraits: &Portraits, service: &str, kind: Kind) -> f64 {
    let portrait = portraits.get(service);
    portrait
        .and_then(|portrait| portrait.get(&kind))
        .copied()
        .unwrap_or(0.0)
}

/// What spans say of a service in the place of metrics that it lacks: its share
/// of the seconds and of the failures that begin.
fn by_spans(findings: &Findings, traced: &BTreeSet<&str>, portraits: &mut Portraits) {
    for service in traced {
        if findings.metered.is_empty() || findings.metered.contains(*service) {
            continue;
        }
        let slow = size(portraits, service, Kind::SpanSeconds);
        let slow = slow.max(size(portraits, service, Kind::SlowEdges));
        let failing = size(portraits, service, Kind::SpanFailures);
        for (share, kinds) in [
            (
                slow,
                [Kind::Seconds, Kind::LatencyFactor, Kind::LatencyJump],
            ),
            (
                failing,
                [Kind::Failures, Kind::FailureRate, Kind::FailureJump],
            ),
        ] {
            for kind in kinds {
                if share > 0.0 {
                    let portrait = portraits.entry((*service).to_owned()).or_default();
                    let known = portrait.entry(kind).or_insert(0.0);
                    *known = known.max((share * ALONE).min(1.0));
                }
            }
        }
    }
}

/// Gives services that nobody measures what their callers show.
pub(super) fn inherit(recording: &Recording, findings: &Findings, portraits: &mut Portraits) {
    let traced: BTreeSet<&str> = recording
        .spans
        .iter()
        .map(|span| span.service.as_str())
        .collect();
    by_spans(findings, &traced, portraits);
    let seen = |service: &str| findings.metered.contains(service) || traced.contains(service);
    let unseen: Vec<String> = portraits
        .keys()
        .filter(|service| !seen(service))
        .cloned()
        .collect();
    for service in unseen {
        let callers = findings.graph.callers(&service);
        let callers: Vec<&str> = callers.into_iter().filter(|name| seen(name)).collect();
        if callers.is_empty() {
            continue;
        }
        let part = if callers.len() == 1 { ONE } else { SEVERAL };
        for kind in SEEN {
            let all: f64 = callers.iter().map(|name| size(portraits, name, kind)).sum();
            #[expect(clippy::cast_precision_loss, reason = "a few callers")]
            let mean = part * all / callers.len() as f64;
            if mean > 0.0 {
                let portrait = portraits.entry(service.clone()).or_default();
                let known = portrait.entry(kind).or_insert(0.0);
                *known = known.max(mean);
            }
        }
    }
}

/// A symptom below this is none.
const MISSED: f64 = 0.05;
/// What is left of a silence that its callers explain, or do not notice.
const EXPLAINED: f64 = 0.3;
/// Silence of this size means that a service is gone.
const GONE: f64 = 0.4;

/// Whether a series of a service stopped that nobody's requests keep going.
fn stopped(recording: &Recording, findings: &Findings, service: &str) -> bool {
    findings.changed.iter().any(|one| {
        one.silent_ms.is_some()
            && recording.series[one.series].service == service
            && one.quantity.is_resource()
    })
}

/// Takes off silence that its callers explain, or do not notice.
pub(super) fn quieten(recording: &Recording, findings: &Findings, portraits: &mut Portraits) {
    let before = portraits.clone();
    for (service, portrait) in portraits.iter_mut() {
        let Some(silence) = portrait.get_mut(&Kind::Silence) else {
            continue;
        };
        let callers = findings.graph.callers(service);
        let back = findings.graph.callees(service);
        let unasked = callers
            .iter()
            .any(|name| size(&before, name, Kind::Silence) >= GONE && !back.contains(name));
        let missed = callers.iter().any(|name| {
            let jump = size(&before, name, Kind::LatencyJump);
            let jump = jump.max(size(&before, name, Kind::FailureJump));
            !findings.metered.contains(*name) || jump >= MISSED
        });
        // What counts requests ends with them, and its only caller fails: that
        // one may as well ask at a wrong address.
        let amiss = callers.len() == 1
            && size(&before, callers[0], Kind::FailureJump) >= MISSED
            && findings.metered.contains(callers[0])
            && !stopped(recording, findings, service);
        if unasked || (!callers.is_empty() && !missed) || amiss {
            *silence *= EXPLAINED;
        }
    }
}
