//! What one configuration would have said: anomalies by series, and incidents.

use midwatch_events::anomaly::{Anomaly, Severity, Transition};
use midwatch_events::incident::{IncidentOpened, IncidentResolved, IncidentUpdated, RcaCompleted};
use midwatch_events::{AnomalyType, Event};
use midwatch_score::virtual_run::replay::Published;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Episodes listed in all; more are counted only. The comparison of two
/// configurations sees the listed ones.
const EPISODES: usize = 50_000;

/// Which series: environment, service, metric (`log:…`, `kubernetes:…` for
/// findings of other topics).
pub type SeriesKey = (String, String, String);

/// A time during which something was abnormal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Episode {
    pub anomaly_id: Uuid,
    pub anomaly_type: AnomalyType,
    /// The highest that it reached.
    pub severity: Severity,
    /// Event time of what decided, epoch milliseconds.
    pub from_ms: i64,
    /// `null` while it lasts.
    pub to_ms: Option<i64>,
    pub why: String,
}

/// One series with something to say.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SeriesRow {
    pub environment: String,
    pub service: String,
    pub metric: String,
    /// How often it became abnormal.
    pub anomalies: u64,
    pub started: u64,
    pub worsened: u64,
    pub cleared: u64,
    pub missing: u64,
    /// Event times of the first and the last transition.
    pub first_ms: i64,
    pub last_ms: i64,
    pub severity: Option<Severity>,
    pub minutes_open: f64,
    pub is_open: bool,
    pub episodes: Vec<Episode>,
}

/// One incident. Times are event times, epoch milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IncidentRow {
    pub id: Uuid,
    pub short_id: String,
    pub environment: String,
    /// What the page says.
    pub title: String,
    pub anomaly_type: AnomalyType,
    /// At the page, and the highest that it reached.
    pub severity: Severity,
    pub highest_severity: Severity,
    /// The one that it is named after first.
    pub services: Vec<String>,
    pub trigger_metric: String,
    pub detected_ms: i64,
    /// The newest word of detection when it was opened.
    pub opened_ms: i64,
    /// When the page would have gone out, by the clock of the replay.
    pub paged_ms: i64,
    /// `null` while it lasts.
    pub resolved_ms: Option<i64>,
    pub minutes_open: f64,
    /// `RECOVERED`, or `MERGED` where another incident took it in.
    pub resolution: Option<String>,
    pub updates: u32,
    /// Anomalies in it at the last update.
    pub anomalies: usize,
    /// What detection said of the first one.
    pub why: String,
    /// The first candidate of the investigation: service, cause, 0..1.
    pub cause: Option<(String, String, f64)>,
}

/// What one configuration said.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// `current`, or the file's name.
    pub name: String,
    /// By the time of the page.
    pub incidents: Vec<IncidentRow>,
    /// By environment, service and metric.
    pub series: Vec<SeriesRow>,
    /// Series that were watched.
    pub watched: usize,
    /// Incidents that began in the warm-up and are not in the list.
    pub incidents_before: usize,
    /// Samples that were not judged, by detection's word for the reason.
    pub ignored: BTreeMap<String, u64>,
}

impl Outcome {
    /// How often series became abnormal.
    #[must_use]
    pub fn anomalies(&self) -> u64 {
        self.series.iter().map(|series| series.anomalies).sum()
    }
}

/// Adds up what is published.
#[derive(Default)]
pub struct Tally {
    is_reporting: bool,
    series: BTreeMap<SeriesKey, SeriesRow>,
    incidents: BTreeMap<Uuid, IncidentRow>,
    /// Those that began in the warm-up.
    before: BTreeSet<Uuid>,
    anomalies_before: BTreeSet<Uuid>,
    episodes: usize,
}

impl Tally {
    /// From now on, what begins is reported.
    pub fn begin(&mut self) {
        self.is_reporting = true;
    }

    /// Takes in what was published.
    pub fn take(&mut self, published: Vec<Published>) {
        for one in published {
            match one.event {
                Event::Anomaly(anomaly) => self.anomaly(&anomaly),
                Event::Opened(opened) => self.opened(&opened, one.wall_ms),
                Event::Updated(updated) => self.updated(&updated),
                Event::Rca(rca) => self.caused(&rca),
                Event::Resolved(resolved) => self.resolved(&resolved),
                _ => {}
            }
        }
    }

    fn anomaly(&mut self, anomaly: &Anomaly) {
        let id = anomaly.anomaly_id;
        let is_over = anomaly.transition == Transition::Cleared;
        if !self.is_reporting {
            if is_over {
                self.anomalies_before.remove(&id);
            } else {
                self.anomalies_before.insert(id);
            }
            return;
        }
        if self.anomalies_before.contains(&id) {
            if is_over {
                self.anomalies_before.remove(&id);
            }
            return;
        }
        let key = (
            anomaly.environment.clone(),
            anomaly.service.clone(),
            anomaly.trigger_metric.clone(),
        );
        let row = self.series.entry(key).or_insert_with(|| SeriesRow {
            environment: anomaly.environment.clone(),
            service: anomaly.service.clone(),
            metric: anomaly.trigger_metric.clone(),
            first_ms: anomaly.detected_at_ms,
            ..SeriesRow::default()
        });
        row.last_ms = row.last_ms.max(anomaly.detected_at_ms);
        row.severity = row.severity.max(Some(anomaly.severity));
        let count = match anomaly.transition {
            Transition::Started => &mut row.started,
            Transition::Worsened => &mut row.worsened,
            Transition::Cleared => &mut row.cleared,
            Transition::Missing => &mut row.missing,
        };
        *count += 1;
        let mut open = row
            .episodes
            .iter_mut()
            .rev()
            .find(|episode| episode.anomaly_id == id && episode.to_ms.is_none());
        match (&mut open, is_over) {
            (Some(episode), true) => episode.to_ms = Some(anomaly.detected_at_ms),
            (Some(episode), false) => episode.severity = episode.severity.max(anomaly.severity),
            // The end of one that is not listed.
            (None, true) => {}
            (None, false) => {
                row.anomalies += 1;
                if self.episodes < EPISODES {
                    self.episodes += 1;
                    row.episodes.push(Episode {
                        anomaly_id: id,
                        anomaly_type: anomaly.anomaly_type,
                        severity: anomaly.severity,
                        from_ms: anomaly.detected_at_ms,
                        to_ms: None,
                        why: anomaly.description.clone(),
                    });
                }
            }
        }
    }

    fn opened(&mut self, opened: &IncidentOpened, paged_ms: i64) {
        let header = &opened.header;
        if !self.is_reporting {
            self.before.insert(header.incident_id);
            return;
        }
        let row = IncidentRow {
            id: header.incident_id,
            short_id: header.short_id.clone(),
            environment: header.environment.clone(),
            title: header.title(),
            anomaly_type: header.anomaly_type,
            severity: header.severity,
            highest_severity: header.severity,
            services: header.affected_services.clone(),
            trigger_metric: opened.trigger_metric.clone(),
            detected_ms: header.detected_at_ms,
            opened_ms: opened.opened_at_ms,
            paged_ms,
            resolved_ms: None,
            minutes_open: 0.0,
            resolution: None,
            updates: 0,
            anomalies: opened.size(),
            why: opened.description.clone(),
            cause: None,
        };
        self.incidents.insert(row.id, row);
    }

    fn updated(&mut self, updated: &IncidentUpdated) {
        let header = &updated.header;
        if let Some(row) = self.incidents.get_mut(&header.incident_id) {
            row.updates += 1;
            row.highest_severity = row.highest_severity.max(header.severity);
            row.services.clone_from(&header.affected_services);
            row.anomalies = updated.size();
        }
    }

    fn caused(&mut self, rca: &RcaCompleted) {
        let first = rca.root_cause_candidates.first();
        if let (Some(row), Some(first)) = (self.incidents.get_mut(&rca.header.incident_id), first) {
            let confidence = (first.confidence * 1000.0).round() / 1000.0;
            row.cause = Some((first.service.clone(), first.cause.clone(), confidence));
        }
    }

    fn resolved(&mut self, resolved: &IncidentResolved) {
        if let Some(row) = self.incidents.get_mut(&resolved.header.incident_id) {
            row.resolved_ms = Some(resolved.resolved_at_ms);
            row.resolution = Some(resolved.resolution_method.clone());
        }
    }

    /// The sum of it; what is open lasts until `end_ms`.
    #[must_use]
    pub fn outcome(self, name: &str, end_ms: i64) -> Outcome {
        let mut incidents: Vec<IncidentRow> = self.incidents.into_values().collect();
        incidents.sort_by_key(|row| (row.opened_ms, row.id));
        for row in &mut incidents {
            row.minutes_open = minutes(row.detected_ms, row.resolved_ms.unwrap_or(end_ms));
        }
        let mut series: Vec<SeriesRow> = self.series.into_values().collect();
        for row in &mut series {
            row.episodes.sort_by_key(|episode| episode.from_ms);
            let open = |episode: &Episode| episode.to_ms.unwrap_or(end_ms);
            let spans = row.episodes.iter();
            row.minutes_open = spans
                .map(|episode| minutes(episode.from_ms, open(episode)))
                .sum();
            row.is_open = row.episodes.iter().any(|episode| episode.to_ms.is_none());
        }
        Outcome {
            name: name.to_owned(),
            incidents,
            series,
            incidents_before: self.before.len(),
            ..Outcome::default()
        }
    }
}

/// Minutes between two times, to a tenth.
fn minutes(from_ms: i64, to_ms: i64) -> f64 {
    ((to_ms - from_ms).max(0) as f64 / 6_000.0).round() / 10.0
}
