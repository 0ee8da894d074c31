//! What is known of each service, one number for each kind of evidence.

use super::blame::Blames;
use super::change::Alert;
use super::kills::Kills;
use super::ledger::{self, Changed, Ledger};
use super::lines::{self, Told as Lines};
use super::load::{self, Load};
use super::place::{self, Place};
use super::quantity::Quantity;
use super::recording::{Question, Recording};
use super::traces::{self, Traces};
use super::{alert, before, blame, gaps, measured, spoken, unseen};
use midwatch_events::topology::Topology;
use std::collections::{BTreeMap, BTreeSet};

/// A kind of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Its share of the seconds that requests take longer, by metrics.
    Seconds,
    /// The same by the own time of spans.
    SpanSeconds,
    /// Waits for it that it does not explain itself, by spans.
    SlowEdges,
    /// Its share of failed requests, by metrics.
    Failures,
    /// Its share of what the alert shows, followed along the calls.
    Explains,
    /// Failures that begin in it, by spans.
    SpanFailures,
    /// How far its farthest resource left its normal range.
    Resource,
    /// Complaints of its own code in its logs.
    Complaints,
    /// Complaints of others that name it, or that only it explains.
    Accused,
    /// What its logs say no more, or newly.
    LogShift,
    /// Calls that it makes no more, or more often.
    CallPattern,
    /// Its series stopped.
    Silence,
    /// It was changed before its onset.
    Deployment,
    /// Kubernetes killed, evicted or restarted it.
    Kubernetes,
    /// How many times longer it takes, among all.
    LatencyFactor,
    /// How much larger its share of failed requests is, among all.
    FailureRate,
    /// How far its latency left its normal range.
    LatencyJump,
    /// How far its failures left their normal range.
    FailureJump,
    /// How far its farthest other series left its normal range.
    OtherJump,
    /// How far any of its series moved, among all.
    Shift,
    /// Requests that it lost and its callers did not.
    TrafficLoss,
    /// A change of requests that begins with it.
    Origin,
    /// It was among the first to change.
    First,
    /// The target depends on it, or it is the target.
    Reached,
    /// It is the target.
    Target,
}

/// Every kind, in order.
pub const KINDS: [Kind; 25] = [
    Kind::Seconds,
    Kind::SpanSeconds,
    Kind::SlowEdges,
    Kind::Failures,
    Kind::Explains,
    Kind::SpanFailures,
    Kind::Resource,
    Kind::Complaints,
    Kind::Accused,
    Kind::LogShift,
    Kind::CallPattern,
    Kind::Silence,
    Kind::Deployment,
    Kind::Kubernetes,
    Kind::LatencyFactor,
    Kind::FailureRate,
    Kind::LatencyJump,
    Kind::FailureJump,
    Kind::OtherJump,
    Kind::Shift,
    Kind::TrafficLoss,
    Kind::Origin,
    Kind::First,
    Kind::Reached,
    Kind::Target,
];

/// Everything that was worked out, before anything is weighed.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    pub graph: Topology,
    pub changed: Vec<Changed>,
    pub rates: BTreeMap<String, (f64, f64)>,
    pub seconds: Vec<Ledger>,
    pub failures: Vec<Ledger>,
    pub traces: Traces,
    pub lines: BTreeMap<String, Lines>,
    pub blames: Blames,
    pub load: Load,
    /// Services whose latency or failures are measured.
    pub metered: BTreeSet<String>,
    /// Services of which at least half of the series stopped.
    pub silent: BTreeSet<String>,
    /// Deployments before the symptoms of their service, the newest first:
    /// index among the changes, and milliseconds until the symptoms.
    pub rollouts: Vec<(usize, i64)>,
    /// What Kubernetes killed.
    pub kills: Kills,
    /// The numbers, by service.
    pub portraits: BTreeMap<String, BTreeMap<Kind, f64>>,
    pub places: BTreeMap<String, Place>,
}

/// Works everything out.
#[must_use]
pub fn find(recording: &Recording, question: &Question) -> Findings {
    let services = recording.every_service();
    let graph = recording.graph();
    let alert = Alert::of(recording, question);
    let changed = ledger::changes(recording, question, &alert);
    let rates = ledger::requests(recording, &changed);
    let mut findings = Findings {
        seconds: ledger::seconds(recording, &graph, &changed, &rates),
        failures: ledger::failures(recording, &graph, &changed, &rates),
        traces: traces::read(recording, question),
        lines: lines::read(recording, question, &services),
        graph,
        silent: silent(recording, &changed),
        changed,
        rates,
        blames: Blames::default(),
        load: Load::default(),
        metered: BTreeSet::new(),
        rollouts: Vec::new(),
        kills: Kills::default(),
        portraits: BTreeMap::new(),
        places: BTreeMap::new(),
    };
    findings.metered = metered(recording, &findings.changed);
    findings.blames = blame::read(recording, &findings);
    findings.load = load::read(recording, question, &findings);
    findings.rollouts = before::rollouts(recording, question, &findings);
    findings.kills = Kills::of(recording, question, &findings);
    let mut portraits: BTreeMap<String, BTreeMap<Kind, f64>> = services
        .iter()
        .map(|service| ((*service).to_owned(), BTreeMap::new()))
        .collect();
    {
        let mut note = |service: &str, kind: Kind, value: f64| {
            if value > 0.0
                && let Some(known) = portraits.get_mut(service)
            {
                let known = known.entry(kind).or_insert(0.0);
                *known = known.max(value);
            }
        };
        measured::by_ledgers(&findings, question, &mut note);
        alert::by_alert(&findings, question, &mut note);
        measured::by_series(recording, &findings, &mut note);
        measured::by_size(recording, &findings, &mut note);
        let out = measured::out_of_range(recording, &findings);
        spoken::by_traces(&findings, question, &out, &mut note);
        spoken::by_lines(&findings, &mut note);
        measured::by_alarms(recording, &findings, &mut note);
        before::by_changes(recording, question, &findings, &mut note);
        measured::by_traffic(&findings, &mut note);
        by_place(&findings.graph, question, &mut note);
    }
    spoken::check_by_spans(&findings, &mut portraits);
    spoken::move_failures(&findings, &mut portraits);
    unseen::quieten(recording, &findings, &mut portraits);
    unseen::inherit(recording, &findings, &mut portraits);
    gaps::pass_on(recording, question, &findings, &mut portraits);
    findings.portraits = portraits;
    findings.places = place::find(recording, &findings);
    findings
}

fn metered(recording: &Recording, changed: &[Changed]) -> BTreeSet<String> {
    changed
        .iter()
        .filter(|one| one.quantity == Quantity::Latency || one.quantity.is_failure())
        .map(|one| recording.series[one.series].service.clone())
        .collect()
}

fn silent(recording: &Recording, changed: &[Changed]) -> BTreeSet<String> {
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for one in changed {
        let count = counts
            .entry(recording.series[one.series].service.as_str())
            .or_default();
        count.0 += usize::from(one.silent_ms.is_some());
        count.1 += 1;
    }
    counts
        .into_iter()
        .filter(|(_, (gone, all))| gone * 2 >= *all)
        .map(|(service, _)| service.to_owned())
        .collect()
}

pub(super) type Note<'a> = dyn FnMut(&str, Kind, f64) + 'a;

/// When the clearest change of a service began.
#[must_use]
pub fn onset_of(recording: &Recording, findings: &Findings, service: &str) -> Option<i64> {
    let alarmed = recording.alarms.iter().filter(|one| one.service == service);
    let alarmed = alarmed.map(|alarm| alarm.onset_ms);
    findings
        .changed
        .iter()
        .filter(|one| recording.series[one.series].service == service)
        .filter_map(|one| match (&one.change, one.silent_ms) {
            (_, Some(silent_ms)) => Some(silent_ms),
            (Some(change), None) if change.surprise >= 1.0 => Some(change.onset_ms),
            _ => None,
        })
        .chain(alarmed)
        .min()
}

fn by_place(graph: &Topology, question: &Question, note: &mut Note<'_>) {
    note(&question.target, Kind::Target, 1.0);
    note(&question.target, Kind::Reached, 1.0);
    for (callee, _) in graph.transitive_callees(&question.target) {
        note(&callee, Kind::Reached, 1.0);
    }
}
