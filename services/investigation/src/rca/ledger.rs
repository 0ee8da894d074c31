//! Who adds what to the trouble, in physical units.
//!
//! Two ledgers are kept: seconds that requests take longer, and requests that
//! fail. A service is charged with what it adds beyond what the services that
//! it calls add themselves, so that a slow database is not charged to the
//! three layers above it. Levels that were there before the fault are normal.

use super::change::{self, Alert, Change};
use super::counter;
use super::coverage;
use super::quantity::Quantity;
use super::recording::{Question, Recording, Series};
use midwatch_events::topology::Topology;
use std::collections::BTreeMap;

/// The stated start of a fault may be as much too late.
const EARLY_MS: i64 = 60_000;
/// A callee is called that often per request at most; more is a batch.
const CALLS_LIMIT: f64 = 5.0;

/// A series with what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// Index of the series in the recording.
    pub series: usize,
    pub quantity: Quantity,
    /// Absent where there is too little to compare.
    pub change: Option<Change>,
    /// How far it lies from its normal level while the alert's series is away
    /// from its own, signed, in the metric's unit; 0 where that is chance.
    pub aligned: f64,
    /// What it is a share of, where it is one: 100 or 1.
    pub whole: f64,
    /// It stopped for good after the fault began, at this time.
    pub silent_ms: Option<i64>,
}

impl Changed {
    /// A difference of a share, as a fraction.
    #[must_use]
    pub fn share(&self, by: f64) -> f64 {
        by / self.whole
    }
}

/// What a ledger charges one service with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Charge {
    /// What is its own, in the ledger's unit.
    pub own: f64,
    /// What it shows, with what its callees explain.
    pub shown: f64,
    /// What is usual: seconds before the fault, or requests.
    pub usual: f64,
    /// The series behind it.
    pub series: usize,
}

/// What one service shows, per request where it is a time.
#[derive(Clone, Copy, Debug)]
struct Shown {
    /// Beyond the normal, 0 or more.
    by: f64,
    /// What is usual.
    before: f64,
    series: usize,
}

/// Charges by service, and how much all of them are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    pub charges: BTreeMap<String, Charge>,
    pub total: f64,
    /// What is usual of all of them together: seconds before the fault, or
    /// requests, in the ledger's unit.
    pub usual: f64,
}

impl Ledger {
    /// The share of the whole that is a service's own, 0..1.
    #[must_use]
    pub fn share(&self, service: &str) -> f64 {
        match self.charges.get(service) {
            Some(charge) if self.total > 0.0 => charge.own / self.total,
            _ => 0.0,
        }
    }

    fn close(mut self) -> Ledger {
        self.total = self.charges.values().map(|charge| charge.own).sum();
        self
    }
}

/// Compares every series with its normal period.
#[must_use]
pub fn changes(recording: &Recording, question: &Question, alert: &Alert) -> Vec<Changed> {
    // Logs and spans may go on for longer: whoever is gone is missed by others
    // that are still measured.
    let read_until = coverage::of_metrics(recording).map_or(question.end_ms, |(_, last)| last);
    let end_ms = question.end_ms.min(read_until);
    let mut changed: Vec<Changed> = recording
        .series
        .iter()
        .enumerate()
        .map(|(series, one)| {
            let points = counter::readings(one);
            let change = change::of(&points, question.start_ms, question.end_ms);
            Changed {
                series,
                quantity: Quantity::of(&one.metric),
                aligned: change
                    .as_ref()
                    .map_or(0.0, |change| alert.aligned(&points, change)),
                change,
                whole: 1.0,
                silent_ms: silent(&one.points, question.start_ms, end_ms),
            }
        })
        .collect();
    let wholes = wholes(recording, &changed);
    for (one, whole) in changed.iter_mut().zip(wholes) {
        one.whole = whole;
    }
    changed
}

/// When a series stopped that used to be regular: it misses at least five
/// samples, and at least a third of the time since the start. `end_ms` is when
/// the last metric was read.
fn silent(points: &[(i64, f64)], start_ms: i64, end_ms: i64) -> Option<i64> {
    let normal = points.partition_point(|(at, _)| *at < start_ms);
    if normal < 8 {
        return None;
    }
    let mut gaps: Vec<i64> = points[..normal]
        .windows(2)
        .map(|pair| pair[1].0 - pair[0].0)
        .collect();
    gaps.sort_unstable();
    let usual = gaps[gaps.len() * 9 / 10].max(1);
    let last = points.last()?.0;
    let missing = end_ms - last;
    let third = (end_ms - start_ms) / 3;
    // It went with the fault, and was not gone before.
    let began = last >= start_ms - (2 * usual).max(EARLY_MS);
    (missing > 5 * usual && missing > third && began).then_some(last)
}

/// Requests per interval before and since, of each service that counts them.
#[must_use]
pub fn requests(recording: &Recording, changed: &[Changed]) -> BTreeMap<String, (f64, f64)> {
    let mut rates: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for one in changed {
        if let (Quantity::Requests, Some(change)) = (one.quantity, &one.change) {
            let service = &recording.series[one.series].service;
            let known = rates.entry(service.clone()).or_default();
            // Instances of a service share its requests; other names count
            // the same requests again.
            if known.0 < change.means.0 {
                *known = change.means;
            }
        }
    }
    rates
}

/// How many calls to `callee` a request of `caller` makes.
fn calls(
    graph: &Topology,
    rates: &BTreeMap<String, (f64, f64)>,
    caller: &str,
    callee: &str,
) -> f64 {
    let Some((_, received)) = rates.get(callee) else {
        return 1.0;
    };
    let sent: f64 = graph
        .callers(callee)
        .iter()
        .filter_map(|other| rates.get(*other))
        .map(|rate| rate.1)
        .sum();
    if sent <= 0.0 || !rates.contains_key(caller) {
        return 1.0;
    }
    (received / sent).min(CALLS_LIMIT)
}

/// The ledger of seconds, from the latency metric of which most is known: the
/// same name on as many services as possible, averages before percentiles.
#[must_use]
pub fn seconds(
    recording: &Recording,
    graph: &Topology,
    changed: &[Changed],
    rates: &BTreeMap<String, (f64, f64)>,
) -> Vec<Ledger> {
    let mut by_name: BTreeMap<&str, BTreeMap<&str, Shown>> = BTreeMap::new();
    for one in changed {
        let series = &recording.series[one.series];
        let (Quantity::Latency, Some(change)) = (one.quantity, &one.change) else {
            continue;
        };
        let (by, before) = (one.aligned.max(0.0), change.before.max(0.0));
        let shown = Shown {
            by,
            before,
            series: one.series,
        };
        keep_most(&mut by_name, series, shown);
    }
    by_name
        .values()
        .map(|shown| charge(graph, rates, shown, true))
        .collect()
}

/// Of several instances under one name the one that shows most counts.
fn keep_most<'a>(
    by_name: &mut BTreeMap<&'a str, BTreeMap<&'a str, Shown>>,
    series: &'a Series,
    shown: Shown,
) {
    let by_service = by_name.entry(bare(&series.metric)).or_default();
    match by_service.get_mut(series.service.as_str()) {
        Some(known) if shown.by > known.by => *known = shown,
        Some(_) => {}
        None => {
            by_service.insert(&series.service, shown);
        }
    }
}

/// The ledgers of failed requests, one for each way of counting them.
#[must_use]
pub fn failures(
    recording: &Recording,
    graph: &Topology,
    changed: &[Changed],
    rates: &BTreeMap<String, (f64, f64)>,
) -> Vec<Ledger> {
    let mut by_name: BTreeMap<&str, BTreeMap<&str, Shown>> = BTreeMap::new();
    for one in changed {
        let series = &recording.series[one.series];
        if one.change.is_none() {
            continue;
        }
        let rate = rates.get(&series.service).map_or(1.0, |rate| rate.1);
        let by = match one.quantity {
            Quantity::Errors => one.aligned,
            Quantity::ErrorRate => one.share(one.aligned) * rate,
            Quantity::Availability => -one.share(one.aligned) * rate,
            _ => continue,
        }
        .max(0.0);
        // All requests of the service are what may fail.
        let before = rate;
        let shown = Shown {
            by,
            before,
            series: one.series,
        };
        keep_most(&mut by_name, series, shown);
    }
    let is_silent = |service: &str| {
        let own = changed
            .iter()
            .filter(|one| recording.series[one.series].service == service);
        own.clone().count() > 0 && own.clone().all(|one| one.silent_ms.is_some())
    };
    by_name
        .values()
        .map(|shown| {
            let mut ledger = charge(graph, rates, shown, false);
            move_to_lost(graph, rates, &is_silent, &mut ledger);
            ledger
        })
        .collect()
}

/// What a service received less of than its callers would have sent, in
/// requests per interval, and that as a share of what was expected; `None`
/// where it is within a tenth.
#[must_use]
pub fn lost(
    graph: &Topology,
    rates: &BTreeMap<String, (f64, f64)>,
    service: &str,
) -> Option<(f64, f64)> {
    let (before, after) = *rates.get(service)?;
    let callers = graph.callers(service);
    let sum = |of: fn(&(f64, f64)) -> f64| -> f64 {
        callers
            .iter()
            .filter_map(|name| rates.get(*name))
            .map(of)
            .sum()
    };
    let (sent_before, sent_after) = (sum(|rate| rate.0), sum(|rate| rate.1));
    if before <= 0.0 || sent_before <= 0.0 {
        return None;
    }
    let expected = before * sent_after / sent_before;
    let share = (expected - after) / expected.max(1e-9);
    (share > 0.1).then_some((expected - after, share))
}

/// A service that refuses connections counts no failures itself; its callers
/// do. Failures that a caller begins and that its callee would have received
/// as requests are the callee's, where several callers fail alike, or where it
/// stopped reporting; where one of several does, and where there is but one,
/// that one more likely calls amiss.
fn move_to_lost(
    graph: &Topology,
    rates: &BTreeMap<String, (f64, f64)>,
    is_silent: &dyn Fn(&str) -> bool,
    ledger: &mut Ledger,
) {
    let lossy: Vec<(String, f64)> = rates
        .keys()
        .filter_map(|name| Some((name.clone(), lost(graph, rates, name)?.0)))
        .collect();
    for (callee, requests) in lossy {
        let callers = graph.callers(&callee);
        let failing: Vec<&str> = callers
            .iter()
            .copied()
            .filter(|caller| {
                ledger
                    .charges
                    .get(*caller)
                    .is_some_and(|charge| charge.own > 0.0)
            })
            .collect();
        let moved = match (failing.len(), callers.len()) {
            (0, _) => continue,
            (1, 1) if is_silent(&callee) => 0.9,
            (1, _) => 0.1,
            _ => 0.7,
        };
        let all: f64 = failing
            .iter()
            .map(|caller| ledger.charges[*caller].own)
            .sum();
        let theirs = (requests * moved).min(all * moved);
        for caller in &failing {
            if let Some(charge) = ledger.charges.get_mut(*caller) {
                charge.own *= 1.0 - theirs / all;
            }
        }
        let series = ledger.charges[failing[0]].series;
        let usual = rates[&callee].1;
        let charge = ledger.charges.entry(callee).or_insert(Charge {
            own: 0.0,
            shown: 0.0,
            usual,
            series,
        });
        charge.own += theirs;
        charge.shown += theirs;
        // Its own series counts none of them.
        charge.series = series;
    }
    ledger.total = ledger.charges.values().map(|charge| charge.own).sum();
}

/// What the shares of each series are shares of, told for all series of a name
/// together: 100 where the name says so, or where one of them is more than one
/// and a half, else 1.
fn wholes(recording: &Recording, changed: &[Changed]) -> Vec<f64> {
    let mut largest: BTreeMap<&str, f64> = BTreeMap::new();
    for one in changed {
        let known = largest
            .entry(bare(&recording.series[one.series].metric))
            .or_insert(0.0);
        if let Some(change) = &one.change {
            *known = known.max(change.before.abs()).max(change.after.abs());
        }
    }
    let whole = |one: &Changed| {
        let name = bare(&recording.series[one.series].metric);
        let told = Quantity::whole(name);
        told.unwrap_or(if largest.get(name).is_some_and(|most| *most > 1.5) {
            100.0
        } else {
            1.0
        })
    };
    changed.iter().map(whole).collect()
}

/// The metric's name without the labels of its instance.
fn bare(metric: &str) -> &str {
    metric.split('{').next().unwrap_or(metric)
}

fn charge(
    graph: &Topology,
    rates: &BTreeMap<String, (f64, f64)>,
    shown: &BTreeMap<&str, Shown>,
    is_time: bool,
) -> Ledger {
    let mut ledger = Ledger::default();
    for (service, Shown { by, before, series }) in shown {
        let explained: f64 = graph
            .callees(service)
            .iter()
            .filter_map(|callee| {
                let theirs = shown.get(callee)?.by;
                let calls = calls(graph, rates, service, callee);
                // Seconds add up per call; failures are shared by callers.
                Some(if is_time {
                    theirs * calls
                } else {
                    theirs * part(graph, rates, service, callee)
                })
            })
            .sum();
        let weight = if is_time {
            rates.get(*service).map_or(1.0, |rate| rate.1.max(0.0))
        } else {
            1.0
        };
        let own = (by - explained).max(0.0) * weight;
        ledger.usual += before * weight;
        ledger.charges.insert(
            (*service).to_owned(),
            Charge {
                own,
                shown: by * weight,
                usual: before * weight,
                series: *series,
            },
        );
    }
    ledger.close()
}

/// The share of a callee's requests that come from this caller.
pub(super) fn part(
    graph: &Topology,
    rates: &BTreeMap<String, (f64, f64)>,
    caller: &str,
    callee: &str,
) -> f64 {
    let callers = graph.callers(callee);
    let rate = |name: &str| rates.get(name).map_or(1.0, |rate| rate.1.max(0.0));
    let sent: f64 = callers.iter().map(|other| rate(other)).sum();
    if sent > 0.0 { rate(caller) / sent } else { 1.0 }
}
