//! One summary per incident, from what the agents publish.

use crate::judge::{Candidate, Incident, Return};
use midwatch_events::Event;
use midwatch_events::incident::{
    IncidentChange, IncidentOpened, IncidentResolved, IncidentUpdated, RcaCompleted,
    RootCauseCandidate, Verdict,
};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

#[derive(Default)]
pub(super) struct Rows {
    incidents: BTreeMap<Uuid, Incident>,
    open: BTreeSet<Uuid>,
    /// When each had its first answer, wall clock.
    decided_wall_ms: BTreeMap<Uuid, i64>,
    /// What happened since the last look, in words.
    lines: Vec<String>,
}

fn candidate(candidate: &RootCauseCandidate) -> Candidate {
    Candidate {
        service: candidate.service.clone(),
        cause: candidate.cause.clone(),
        confidence: candidate.confidence,
    }
}

impl Rows {
    /// Whether an incident is open.
    pub fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether this incident is open, perhaps again.
    pub fn holds_open(&self, id: Uuid) -> bool {
        self.open.contains(&id)
    }

    pub fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    /// The incidents, with the simulated time of a moment on the wall.
    pub fn into_incidents(self, simulated_ms: impl Fn(i64) -> i64) -> Vec<Incident> {
        let decided_ms = |id| {
            self.decided_wall_ms
                .get(id)
                .map(|at_ms| simulated_ms(*at_ms))
        };
        self.incidents
            .iter()
            .map(|(id, incident)| Incident {
                decided_ms: decided_ms(id),
                ..incident.clone()
            })
            .collect()
    }

    /// Takes in what an event says of an incident, published at a time of the
    /// wall clock.
    pub fn note(&mut self, event: &Event, wall_ms: i64) {
        match event {
            Event::Opened(opened) => self.opened(opened),
            Event::Updated(updated) => self.updated(updated),
            Event::Rca(rca) => self.caused(rca, wall_ms),
            Event::Resolved(resolved) => self.resolved(resolved),
            _ => {}
        }
    }

    fn opened(&mut self, opened: &IncidentOpened) {
        let header = &opened.header;
        let onsets = opened.grouped_anomalies.iter();
        self.lines.push(format!(
            "OPENED {} {} {} — {}",
            header.short_id,
            header.severity,
            header.title(),
            header.affected_services.join(", ")
        ));
        self.open.insert(header.incident_id);
        self.incidents.insert(
            header.incident_id,
            Incident {
                id: header.short_id.clone(),
                environment: header.environment.clone(),
                detected_ms: header.detected_at_ms,
                onset_ms: onsets.map(|anomaly| anomaly.onset_ms).min(),
                opened_ms: opened.opened_at_ms,
                decided_ms: None,
                conclusive: None,
                resolved_ms: None,
                services: header.affected_services.clone(),
                anomaly_type: header.anomaly_type.as_str().to_owned(),
                candidates: Vec::new(),
                mails: None,
                merged: false,
                returns: Vec::new(),
            },
        );
    }

    fn updated(&mut self, updated: &IncidentUpdated) {
        let header = &updated.header;
        self.lines.push(format!(
            "UPDATED {} {}: {}",
            header.short_id, header.severity, updated.reason
        ));
        let reopened = updated.change == IncidentChange::Reopened;
        if reopened {
            self.open.insert(header.incident_id);
        }
        if let Some(incident) = self.incidents.get_mut(&header.incident_id) {
            incident.resolved_ms = incident.resolved_ms.filter(|_| !reopened);
            if reopened {
                incident.returns.push(Return {
                    at_ms: updated.updated_at_ms,
                    decided_ms: None,
                });
            }
            let onsets = updated.grouped_anomalies.iter();
            incident.onset_ms = onsets.map(|anomaly| anomaly.onset_ms).min();
            incident.services.clone_from(&header.affected_services);
            incident.anomaly_type = header.anomaly_type.as_str().to_owned();
        }
    }

    fn caused(&mut self, rca: &RcaCompleted, wall_ms: i64) {
        let id = rca.header.incident_id;
        self.decided_wall_ms.entry(id).or_insert(wall_ms);
        let candidates: Vec<Candidate> = rca.root_cause_candidates.iter().map(candidate).collect();
        let words: Vec<String> = candidates
            .iter()
            .map(|one| format!("{} {} {:.2}", one.service, one.cause, one.confidence))
            .collect();
        self.lines.push(format!(
            "CAUSE {} revision {}, {:?}: {}",
            rca.header.short_id,
            rca.revision,
            rca.verdict,
            words.join(" > ")
        ));
        if let Some(incident) = self.incidents.get_mut(&id) {
            incident.conclusive = Some(rca.verdict == Verdict::Conclusive);
            incident.candidates = candidates;
        }
    }

    fn resolved(&mut self, resolved: &IncidentResolved) {
        let header = &resolved.header;
        self.lines.push(format!(
            "RESOLVED {} after {:.1} min, {}",
            header.short_id, resolved.mttr_minutes, resolved.resolution_method
        ));
        self.open.remove(&header.incident_id);
        if let Some(incident) = self.incidents.get_mut(&header.incident_id) {
            incident.resolved_ms = Some(resolved.resolved_at_ms);
            incident.merged = resolved.resolution_method == "MERGED";
        }
    }
}
