//! What metrics, and what detection said of them, are evidence of.

use super::change::Change;
use super::ledger::{self, Changed};
use super::place::SAME_MOMENT_MS;
use super::portrait::{Findings, Kind, Note, onset_of};
use super::quantity::Quantity;
use super::recording::{Question, Recording};
use midwatch_events::anomaly::{AnomalyType, Severity};
use std::collections::{BTreeMap, BTreeSet};

/// What a ledger counts that is not of the quantity that the alert is about.
pub(super) const ASIDE: f64 = 0.75;
/// The share of all requests that fail, at which a ledger of failures counts
/// half; one request in fifty.
pub(super) const HALF_FAILED: f64 = 0.02;
/// The same for a ledger of seconds: a tenth more than before.
pub(super) const HALF_SLOWED: f64 = 0.1;

pub(super) fn by_ledgers(findings: &Findings, question: &Question, note: &mut Note<'_>) {
    let about = Quantity::of(&question.target_metric);
    let is_failure = about.is_failure();
    for (ledgers, kind, half, relevance) in [
        (
            &findings.seconds,
            Kind::Seconds,
            HALF_SLOWED,
            if is_failure { ASIDE } else { 1.0 },
        ),
        (
            &findings.failures,
            Kind::Failures,
            HALF_FAILED,
            if about == Quantity::Latency {
                ASIDE
            } else {
                1.0
            },
        ),
    ] {
        // The ledger that most services keep speaks; others with as many, too.
        let most = ledgers.iter().map(|one| one.charges.len()).max();
        for one in ledgers {
            if Some(one.charges.len()) != most || one.total <= 0.0 {
                continue;
            }
            for (service, charge) in &one.charges {
                let surprise = findings.changed[charge.series]
                    .change
                    .as_ref()
                    .map_or(0.0, |change| change.surprise);
                let grave = one.total / (one.total + half * one.usual.max(1e-12));
                let size = one.share(service) * grade(surprise) * grave;
                note(service, kind, size * relevance);
            }
        }
    }
}

/// Surprise as a number between 0 and 1: a doubling of the normal reach is a
/// half.
fn grade(surprise: f64) -> f64 {
    1.0 - (-surprise * 0.7).exp()
}

pub(super) fn by_series(recording: &Recording, findings: &Findings, note: &mut Note<'_>) {
    let sizes = findings.changed.iter().filter_map(|one| {
        let change = one.change.as_ref()?;
        Some((one, (1.0 + change.shift).log2()))
    });
    let most = sizes.clone().map(|(_, size)| size).fold(1.0, f64::max);
    for (one, size) in sizes {
        note(
            &recording.series[one.series].service,
            Kind::Shift,
            size / most,
        );
    }
    let slowed = slowed(recording, findings);
    let mut silent: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for one in &findings.changed {
        let service = recording.series[one.series].service.as_str();
        let count = silent.entry(service).or_default();
        count.1 += 1;
        count.0 += usize::from(one.silent_ms.is_some());
        let Some(change) = &one.change else {
            continue;
        };
        let size = change.surprise / 8.0;
        note(service, Kind::Silence, idle(findings, service, one, change));
        match one.quantity {
            Quantity::Latency if change.by() > 0.0 => note(service, Kind::LatencyJump, size),
            Quantity::Errors | Quantity::ErrorRate if change.by() > 0.0 => {
                note(service, Kind::FailureJump, size);
            }
            Quantity::Availability if change.by() < 0.0 => note(service, Kind::FailureJump, size),
            Quantity::Requests => note(service, Kind::OtherJump, size),
            quantity if quantity.is_resource() => {
                let beyond = beyond_traffic(findings, service, change.relative(1e-9));
                let part = if !matches!(quantity, Quantity::Pool | Quantity::Backlog) {
                    beyond.max(slowed.get(service).copied().unwrap_or(0.0))
                } else if waits(recording, findings, service) {
                    beyond * HELD
                } else {
                    beyond.max(slowed.get(service).copied().unwrap_or(0.0))
                };
                note(service, Kind::Resource, size * part);
            }
            _ => note(service, Kind::OtherJump, size),
        }
    }
    for (service, (gone, all)) in silent {
        if gone > 0 {
            #[expect(clippy::cast_precision_loss, reason = "counts of series")]
            note(service, Kind::Silence, gone as f64 / all as f64);
        }
    }
}

/// How much a service changed in its own measure: callers that wait for others
/// too, and ask others too, are diluted.
pub(super) fn by_size(recording: &Recording, findings: &Findings, note: &mut Note<'_>) {
    let mut factors: BTreeMap<&str, f64> = BTreeMap::new();
    let mut rates: BTreeMap<&str, f64> = BTreeMap::new();
    for one in &findings.changed {
        let series = &recording.series[one.series];
        let service = series.service.as_str();
        let Some(change) = one.change.as_ref().filter(|change| change.surprise > 0.0) else {
            continue;
        };
        let requests = findings.rates.get(service).map(|rate| rate.1.max(1e-9));
        match one.quantity {
            Quantity::Latency if change.by() > 0.0 && change.before > 0.0 => {
                let factor = (change.after / change.before).log2() * grade(change.surprise);
                let known = factors.entry(service).or_insert(0.0);
                *known = known.max(factor);
            }
            Quantity::Errors | Quantity::ErrorRate | Quantity::Availability => {
                let rate = match (one.quantity, requests) {
                    (Quantity::Errors, Some(requests)) => (change.by() / requests).min(1.0),
                    (Quantity::Errors, None) => continue,
                    (Quantity::Availability, _) => -one.share(change.by()),
                    _ => one.share(change.by()),
                };
                let known = rates.entry(service).or_insert(0.0);
                *known = known.max(rate * grade(change.surprise));
            }
            _ => {}
        }
    }
    for (sizes, kind) in [(factors, Kind::LatencyFactor), (rates, Kind::FailureRate)] {
        // The largest is a whole where it is large by itself: a doubling, one
        // request in fifty.
        let least = if kind == Kind::LatencyFactor {
            1.0
        } else {
            HALF_FAILED
        };
        let most = sizes.values().copied().fold(least, f64::max);
        for (service, size) in sizes {
            if most > 0.0 {
                note(service, kind, size / most);
            }
        }
    }
}

/// A processor that does less than this part of its work for the requests
/// that still come has stopped working.
const IDLE: f64 = 0.3;

/// How surely a service that still gets requests works on none of them, 0..1.
fn idle(findings: &Findings, service: &str, one: &Changed, change: &Change) -> f64 {
    let (before, after) = change.means;
    if one.quantity != Quantity::Cpu || change.surprise < 1.0 || before <= 0.0 {
        return 0.0;
    }
    let requests = findings.rates.get(service).filter(|rate| rate.0 > 0.0);
    let got = requests.map_or(0.0, |rate| rate.1 / rate.0);
    let works = after / before;
    if got > 0.5 && works < IDLE * got.min(1.0) {
        0.9
    } else {
        0.0
    }
}

/// What connections, threads and queues that fill up count where a callee is in
/// trouble: requests hold them until it answers (L = λW, Little's law).
const HELD: f64 = 0.3;

/// Whether a service that somebody calls is in trouble of its own, and was no
/// later than the caller.
pub(super) fn waits(recording: &Recording, findings: &Findings, service: &str) -> bool {
    let onset = |name: &str| onset_of(recording, findings, name);
    let Some(mine) = onset(service) else {
        return false;
    };
    let callees = findings.graph.callees(service);
    callees.iter().any(|callee| {
        let in_trouble = findings.changed.iter().any(|one| {
            let change = one.change.as_ref().filter(|change| change.surprise >= 1.0);
            let is_theirs = recording.series[one.series].service == *callee;
            is_theirs
                && change.is_some_and(|change| match one.quantity {
                    Quantity::Latency | Quantity::Errors | Quantity::ErrorRate => change.by() > 0.0,
                    Quantity::Availability => change.by() < 0.0,
                    Quantity::Cpu | Quantity::Memory | Quantity::Disk | Quantity::Network => {
                        change.by() > 0.0
                            && beyond_traffic(findings, callee, change.relative(1e-9)) > 0.5
                    }
                    _ => false,
                })
        });
        in_trouble && onset(callee).is_some_and(|theirs| theirs <= mine + SAME_MOMENT_MS)
    })
}

/// By how much of itself each service became slower, 0..1: what is as busy as
/// its requests make it, and slower for it, is full.
fn slowed<'a>(recording: &'a Recording, findings: &Findings) -> BTreeMap<&'a str, f64> {
    let mut slowed: BTreeMap<&str, f64> = BTreeMap::new();
    for one in &findings.changed {
        let Some(change) = one.change.as_ref() else {
            continue;
        };
        if one.quantity != Quantity::Latency || change.surprise < 1.0 || change.by() <= 0.0 {
            continue;
        }
        let part = 1.0 - change.before.max(0.0) / change.after;
        let known = slowed
            .entry(&recording.series[one.series].service)
            .or_insert(0.0);
        *known = known.max(part);
    }
    slowed
}

/// The part of a resource's change that its requests do not explain: a CPU
/// that doubles with the requests is as busy as it should be.
fn beyond_traffic(findings: &Findings, service: &str, relative: f64) -> f64 {
    let Some((before, after)) = findings.rates.get(service) else {
        return 1.0;
    };
    if *before <= 0.0 || relative <= 0.0 {
        return 1.0;
    }
    let traffic = (after / before - 1.0).abs();
    (1.0 - traffic / relative).clamp(0.1, 1.0)
}

/// Services of which a latency or a resource clearly left its range.
pub(super) fn out_of_range(recording: &Recording, findings: &Findings) -> BTreeSet<String> {
    let changed = findings.changed.iter().filter(|one| {
        let clear = one
            .change
            .as_ref()
            .is_some_and(|change| change.surprise >= 2.0);
        clear && (one.quantity == Quantity::Latency || one.quantity.is_resource())
    });
    changed
        .map(|one| recording.series[one.series].service.clone())
        .collect()
}

/// What detection said, under the kind of evidence that it is.
pub(super) fn by_alarms(recording: &Recording, findings: &Findings, note: &mut Note<'_>) {
    for alarm in &recording.alarms {
        let size = match alarm.severity {
            Severity::Low => 0.1,
            Severity::Medium => 0.3,
            Severity::High => 0.6,
            Severity::Critical => 1.0,
        };
        let series = findings.changed.iter().find(|one| {
            let series = &recording.series[one.series];
            series.service == alarm.service && series.metric == alarm.metric
        });
        let relative = series
            .and_then(|one| one.change.as_ref())
            .map_or(f64::INFINITY, |change| change.relative(1e-9));
        let (kind, size) = match alarm.cause {
            AnomalyType::LatencySpike => (Kind::LatencyJump, size),
            AnomalyType::ErrorRateSpike if alarm.metric.starts_with("log:") => {
                (Kind::Complaints, size * 0.2)
            }
            AnomalyType::ErrorRateSpike | AnomalyType::DependencyOutage => {
                (Kind::FailureJump, size)
            }
            AnomalyType::KubernetesFailure if !findings.kills.counts(alarm) => continue,
            AnomalyType::KubernetesFailure => (Kind::Kubernetes, size),
            AnomalyType::MissingData => (Kind::Silence, size * 0.5),
            AnomalyType::TrafficDrop => (Kind::TrafficLoss, size),
            AnomalyType::DeploymentFailure | AnomalyType::Unknown => (Kind::OtherJump, size),
            AnomalyType::CpuSaturation
            | AnomalyType::MemoryLeak
            | AnomalyType::DbConnectionExhaustion
            | AnomalyType::KafkaConsumerLag => (
                Kind::Resource,
                // Detection knows the limits: what is grave is so with any
                // number of requests.
                if alarm.severity >= Severity::High {
                    size
                } else {
                    size * beyond_traffic(findings, &alarm.service, relative)
                },
            ),
        };
        note(&alarm.service, kind, size);
    }
}

/// A service that gets less than a twentieth of its requests is gone.
const GONE: f64 = 0.95;

pub(super) fn by_traffic(findings: &Findings, note: &mut Note<'_>) {
    let ratios = findings.rates.values().filter(|rate| rate.0 > 0.0);
    let ratios = super::change::sorted(ratios.map(|rate| rate.1 / rate.0));
    let usual = super::change::median_of(&ratios);
    for service in findings.rates.keys() {
        let (before, after) = findings.rates[service];
        let is_entry = findings.graph.callers(service).is_empty();
        if is_entry && before > 0.0 && usual > 0.0 {
            // Nobody is known to call it: measured by what the others get.
            let share = 1.0 - after / (before * usual);
            if share > 0.5 {
                note(service, Kind::TrafficLoss, share * 0.7);
            }
            // Asked by nobody while others fail: gone, or nobody finds it.
            let others = findings
                .failures
                .iter()
                .any(|one| one.total > one.share(service) * one.total);
            if share > GONE && others {
                note(service, Kind::Silence, 0.55);
            }
        }
        if let Some((_, share)) = ledger::lost(&findings.graph, &findings.rates, service) {
            let callers = findings.graph.callers(service);
            let fails = |name: &str| findings.failures.iter().any(|one| one.share(name) > 0.02);
            let silent = findings.silent.contains(service);
            let failing = callers.iter().filter(|caller| fails(caller)).count();
            if silent || failing > 0 {
                note(service, Kind::TrafficLoss, share);
                // One caller alone may as well ask at a wrong address.
                if share > GONE && (failing > 1 || silent) {
                    note(service, Kind::Silence, 0.9);
                }
            } else {
                // Nobody failed: who should have called did not.
                #[expect(clippy::cast_precision_loss, reason = "a few callers")]
                let each = share / callers.len().max(1) as f64;
                for caller in callers {
                    note(caller, Kind::CallPattern, each);
                }
            }
        }
    }
    for (service, size) in &findings.load.origins {
        note(service, Kind::Origin, *size);
    }
}

#[cfg(test)]
mod tests {
    use super::super::portrait;
    use super::super::recording::Series;
    use super::*;
    use midwatch_events::topology::EdgeSource;

    /// A reading each minute, `factor` times as high for the last 15 of sixty.
    fn series(service: &str, metric: &str, level: f64, factor: f64) -> Series {
        let points = (0..60).map(|minute| {
            let strays = 1.0 + 0.05 * f64::from((minute * 7) % 5 - 2) / 2.0;
            let times = if minute >= 45 { factor } else { 1.0 };
            (i64::from(minute) * 60_000, level * strays * times)
        });
        Series {
            service: service.to_owned(),
            metric: metric.to_owned(),
            points: points.collect(),
            ids: Vec::new(),
        }
    }

    /// How much the pool of a shop speaks against it, where its store is
    /// `slower` times as slow.
    fn pool(slower: f64) -> f64 {
        let mut recording = Recording::default();
        let source = EdgeSource::Catalogue;
        recording.topology.add_call("shop", "store", source);
        recording.series.extend([
            series("shop", "latency_ms", 30.0, 8.0),
            series("shop", "db_pool_in_use", 3.0, 9.0),
            series("store", "latency_ms", 10.0, slower),
        ]);
        let question = Question {
            target: "shop".to_owned(),
            target_metric: "latency_ms".to_owned(),
            start_ms: 45 * 60_000,
            at_ms: 47 * 60_000,
            end_ms: 59 * 60_000,
        };
        let findings = portrait::find(&recording, &question);
        findings.portraits["shop"][&Kind::Resource]
    }

    #[test]
    fn connections_that_wait_for_a_slow_store_speak_against_nobody_much() {
        let (leaked, waiting) = (pool(1.0), pool(20.0));
        assert!(leaked > 0.5, "{leaked}");
        assert!(waiting < 0.5 * leaked, "{waiting} {leaked}");
    }
}
