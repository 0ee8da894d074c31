//! What correlation and investigation said, folded to what was decided.

use midwatch_events::incident::{GroupedAnomaly, RootCauseCandidate, Verdict};
use midwatch_events::{Event, IncidentHeader, Severity, ids};
use midwatch_score::virtual_run::replay::Published;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// An anomaly of an incident.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Member {
    pub anomaly_id: Uuid,
    pub service: String,
    pub metric: String,
    /// Event time.
    pub onset_ms: i64,
}

/// A candidate, best first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cause {
    pub service: String,
    pub cause: String,
    pub confidence: f64,
}

/// How an incident ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct End {
    pub method: String,
    /// Event time.
    pub at_ms: i64,
}

/// An incident as it was decided in the end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decided {
    pub incident_id: Uuid,
    pub short_id: String,
    pub title: String,
    pub severity: Severity,
    /// By anomaly id.
    pub members: Vec<Member>,
    /// The earliest of its anomalies, event time; none where all have left.
    pub onset_ms: Option<i64>,
    pub ranking: Vec<Cause>,
    /// None where no answer came.
    pub verdict: Option<Verdict>,
    /// `deterministic`, the model that ordered the candidates, or empty.
    pub method: String,
    /// Revisions of the answer.
    pub revisions: u32,
    pub end: Option<End>,
}

/// The incidents of a stretch of time, with every anomaly that each ever had.
#[derive(Default)]
pub struct Decisions {
    incidents: BTreeMap<Uuid, (Decided, BTreeSet<Uuid>)>,
}

impl Decisions {
    /// Takes in what a replay published.
    pub fn take_all(&mut self, published: Vec<Published>) {
        for one in published {
            self.take(&one.event);
        }
    }

    /// Takes in one event; what is about no opened incident counts for nothing.
    pub fn take(&mut self, event: &Event) {
        match event {
            Event::Opened(opened) => {
                let decided = Decided {
                    incident_id: opened.header.incident_id,
                    short_id: opened.header.short_id.clone(),
                    title: String::new(),
                    severity: opened.header.severity,
                    members: Vec::new(),
                    onset_ms: None,
                    ranking: Vec::new(),
                    verdict: None,
                    method: String::new(),
                    revisions: 0,
                    end: None,
                };
                let entry = (decided, BTreeSet::new());
                self.incidents
                    .entry(opened.header.incident_id)
                    .or_insert(entry);
                self.correlated(&opened.header, &opened.all_anomalies());
            }
            Event::Updated(updated) => {
                let reopened =
                    updated.change == midwatch_events::incident::IncidentChange::Reopened;
                self.correlated(&updated.header, &updated.all_anomalies());
                if let Some((decided, _)) = self.incidents.get_mut(&updated.header.incident_id)
                    && reopened
                {
                    decided.end = None;
                }
            }
            Event::Rca(rca) => {
                if let Some((decided, _)) = self.incidents.get_mut(&rca.header.incident_id) {
                    decided.ranking = ranking(&rca.root_cause_candidates);
                    decided.verdict = Some(rca.verdict);
                    decided.method.clone_from(&rca.method);
                    decided.revisions = rca.revision;
                }
            }
            Event::Resolved(resolved) => {
                if let Some((decided, _)) = self.incidents.get_mut(&resolved.header.incident_id) {
                    decided.end = Some(End {
                        method: resolved.resolution_method.clone(),
                        at_ms: resolved.resolved_at_ms,
                    });
                }
            }
            _ => {}
        }
    }

    fn correlated(&mut self, header: &IncidentHeader, anomalies: &[GroupedAnomaly]) {
        let Some((decided, ever)) = self.incidents.get_mut(&header.incident_id) else {
            return;
        };
        decided.title = header.title();
        decided.severity = header.severity;
        decided.members = anomalies
            .iter()
            .map(|anomaly| Member {
                anomaly_id: anomaly.anomaly_id,
                service: anomaly.service.clone(),
                metric: anomaly.trigger_metric.clone(),
                onset_ms: anomaly.onset_ms,
            })
            .collect();
        decided.members.sort();
        decided.onset_ms = anomalies.iter().map(|anomaly| anomaly.onset_ms).min();
        ever.extend(anomalies.iter().map(|anomaly| anomaly.anomaly_id));
    }

    /// The incident itself, and those that ever held one of its anomalies; by
    /// onset.
    #[must_use]
    pub fn concerning(self, id: Uuid, members: &BTreeSet<Uuid>) -> Vec<Decided> {
        let mut found: Vec<Decided> = self
            .incidents
            .into_values()
            .filter(|(decided, ever)| decided.incident_id == id || !ever.is_disjoint(members))
            .map(|(decided, _)| decided)
            .collect();
        found.sort_by_key(|one| (one.incident_id != id, one.onset_ms, one.incident_id));
        found
    }
}

fn ranking(candidates: &[RootCauseCandidate]) -> Vec<Cause> {
    let mut best: Vec<&RootCauseCandidate> = candidates.iter().collect();
    best.sort_by_key(|one| one.rank);
    best.into_iter()
        .map(|one| Cause {
            service: one.service.clone(),
            cause: one.cause.clone(),
            confidence: one.confidence,
        })
        .collect()
}

/// `INC-A1B2C3D4` of an id.
#[must_use]
pub fn short(id: Uuid) -> String {
    ids::short_incident(id)
}
