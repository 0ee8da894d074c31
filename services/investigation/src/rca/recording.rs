//! What an investigation looks at: recorded telemetry around an alert.

use midwatch_events::anomaly::{AnomalyType, Severity};
use midwatch_events::cause::ChangeType;
use midwatch_events::mention::names_dependency;
use midwatch_events::raw::LogLevel;
use midwatch_events::topology::{EdgeSource, Topology};
use std::collections::{BTreeMap, BTreeSet};

/// One series of one service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    pub service: String,
    /// The metric's name, with the labels that tell instances apart.
    pub metric: String,
    /// Event time in milliseconds and value, oldest first, no time twice.
    pub points: Vec<(i64, f64)>,
    /// The id of each point's record; empty where records have none, and then
    /// the id is made of service, metric and time.
    pub ids: Vec<String>,
}

/// One log line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub id: String,
    pub service: String,
    pub at_ms: i64,
    pub level: LogLevel,
    pub message: String,
}

/// One span.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The id of its record.
    pub id: String,
    pub trace: String,
    /// Its id within the trace.
    pub own: String,
    pub parent: Option<String>,
    pub service: String,
    pub operation: String,
    pub start_ms: i64,
    pub duration_ms: f64,
    pub failed: bool,
}

/// Something that was changed, by people or by a machine.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeEvent {
    pub id: String,
    pub service: String,
    pub at_ms: i64,
    pub kind: ChangeKind,
    /// What a cluster calls it, as `CRASH_LOOP`; empty for what people announce.
    pub reason: String,
    /// What people read: version and description, or the event's message.
    pub text: String,
}

/// What sort of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// A release.
    Deployment,
    /// Any other change that people announce.
    Change(ChangeType),
    /// A Kubernetes event that is critical by itself: a kill, an eviction, a
    /// crash loop.
    KubernetesFailure,
    /// Any other Kubernetes event.
    Kubernetes,
}

impl ChangeKind {
    /// The kind of a change of that sort.
    #[must_use]
    pub fn announced(change: ChangeType) -> ChangeKind {
        match change {
            ChangeType::Release => ChangeKind::Deployment,
            other => ChangeKind::Change(other),
        }
    }

    /// Which sort of change people announced; `None` for what a cluster tells.
    #[must_use]
    pub fn change(self) -> Option<ChangeType> {
        match self {
            ChangeKind::Deployment => Some(ChangeType::Release),
            ChangeKind::Change(change) => Some(change),
            ChangeKind::KubernetesFailure | ChangeKind::Kubernetes => None,
        }
    }
}

/// What detection said of a series, where it was asked: which kind of trouble
/// it is, and how bad.
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm {
    pub id: String,
    pub service: String,
    pub metric: String,
    pub cause: AnomalyType,
    pub severity: Severity,
    pub onset_ms: i64,
    /// One sentence that quotes it.
    pub text: String,
}

/// Which lines and spans of a service there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kept {
    /// What somebody recorded, without a known bound.
    #[default]
    All,
    /// The newest ones, and so many at most.
    Newest {
        lines: usize,
        /// Of these, lines below WARN.
        ordinary: usize,
        spans: usize,
    },
    /// Lines that were picked because they are suspicious: what was before is
    /// not among them.
    Picked,
}

/// Everything recorded. Any part but one may be empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// Caller → callee. May miss edges and name some that nobody uses.
    pub topology: Topology,
    /// Services that are known without an edge.
    pub services: BTreeSet<String>,
    pub series: Vec<Series>,
    pub lines: Vec<Line>,
    pub spans: Vec<Span>,
    pub changes: Vec<ChangeEvent>,
    pub alarms: Vec<Alarm>,
    /// Services whose trouble is known to be another incident's, with its short
    /// id.
    pub elsewhere: BTreeMap<String, String>,
    /// What is missing of lines and spans, because only so many are kept.
    pub kept: Kept,
}

/// What the alert was about, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The service that the alert fired on.
    pub target: String,
    /// Its metric; may be one that was not recorded.
    pub target_metric: String,
    /// Samples before it are the normal period, epoch milliseconds.
    pub start_ms: i64,
    /// When the alert fired.
    pub at_ms: i64,
    /// The last moment that is looked at.
    pub end_ms: i64,
}

/// The stated start may be this much too late: what lies within is neither
/// normal nor the fault.
const EARLY_MS: i64 = 60_000;

impl Question {
    /// Where the normal period ends that began at `first_ms`: a minute before
    /// the stated start, or a fifth of the period where it is short.
    #[must_use]
    pub fn quiet_until_ms(&self, first_ms: i64) -> i64 {
        self.start_ms - EARLY_MS.min((self.start_ms - first_ms).max(0) / 5)
    }
}

impl Series {
    /// The id of the record at this moment, or of the last one before it.
    #[must_use]
    pub fn id_at(&self, at_ms: i64) -> String {
        let place = self.points.partition_point(|(at, _)| *at <= at_ms);
        let index = place.saturating_sub(1);
        let at = self.points.get(index).map_or(at_ms, |(at, _)| *at);
        match self.ids.get(index) {
            Some(id) => id.clone(),
            None => format!("metric:{}/{}@{at}", self.service, self.metric),
        }
    }
}

impl Recording {
    /// Every service that anything was recorded of, or that the graph names.
    #[must_use]
    pub fn every_service(&self) -> BTreeSet<&str> {
        let mut all: BTreeSet<&str> = self.services.iter().map(String::as_str).collect();
        for (caller, callee, _) in self.topology.edges() {
            all.extend([caller, callee]);
        }
        all.extend(self.series.iter().map(|one| one.service.as_str()));
        all.extend(self.lines.iter().map(|one| one.service.as_str()));
        all.extend(self.spans.iter().map(|one| one.service.as_str()));
        all.extend(self.changes.iter().map(|one| one.service.as_str()));
        all.extend(self.alarms.iter().map(|one| one.service.as_str()));
        all
    }

    /// The last moment that anything was recorded at, clocks that are far off
    /// aside.
    #[must_use]
    pub fn last_ms(&self) -> Option<i64> {
        super::coverage::of_all(self).map(|(_, last)| last)
    }

    /// Where nothing else tells the graph: who complains about whom.
    fn add_told(&self, graph: &mut Topology) {
        let services = self.every_service();
        let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
        for line in self
            .lines
            .iter()
            .filter(|line| super::wording::complains(line, line.level))
        {
            for callee in &services {
                let is_new =
                    *callee != line.service && !seen.contains(&(line.service.as_str(), *callee));
                if is_new && names_dependency(&line.message, callee) {
                    seen.insert((line.service.as_str(), *callee));
                }
            }
        }
        for (caller, callee) in seen {
            graph.add_call(caller, callee, EdgeSource::Logs);
        }
    }

    /// The graph with the edges that spans show.
    #[must_use]
    pub fn graph(&self) -> Topology {
        let mut graph = self.topology.clone();
        let mut owners: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        for span in &self.spans {
            owners.insert((&span.trace, &span.own), &span.service);
        }
        let mut seen = BTreeSet::new();
        for span in &self.spans {
            let parent = span.parent.as_deref().unwrap_or_default();
            if let Some(caller) = owners.get(&(span.trace.as_str(), parent)) {
                seen.insert((*caller, span.service.as_str()));
            }
        }
        for (caller, callee) in seen {
            graph.add_call(caller, callee, EdgeSource::Spans);
        }
        if graph.edges().next().is_none() {
            self.add_told(&mut graph);
        }
        graph
    }
}
