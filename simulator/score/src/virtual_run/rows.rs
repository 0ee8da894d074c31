//! One summary per incident, from what the agents publish.

use crate::judge::{Candidate, Incident};
use midwatch_events::Event;
use midwatch_events::incident::{
    IncidentOpened, IncidentResolved, IncidentUpdated, RcaCompleted, RootCauseCandidate,
};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

#[derive(Default)]
pub(super) struct Rows {
    incidents: BTreeMap<Uuid, Incident>,
    open: BTreeSet<Uuid>,
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

    pub fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    pub fn into_incidents(self) -> Vec<Incident> {
        self.incidents.into_values().collect()
    }

    /// Takes in what an event says of an incident.
    pub fn note(&mut self, event: &Event) {
        match event {
            Event::Opened(opened) => self.opened(opened),
            Event::Updated(updated) => self.updated(updated),
            Event::Rca(rca) => self.caused(rca),
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
                resolved_ms: None,
                services: header.affected_services.clone(),
                anomaly_type: header.anomaly_type.as_str().to_owned(),
                candidates: Vec::new(),
                mails: None,
                merged: false,
            },
        );
    }

    fn updated(&mut self, updated: &IncidentUpdated) {
        let header = &updated.header;
        self.lines.push(format!(
            "UPDATED {} {}: {}",
            header.short_id, header.severity, updated.reason
        ));
        if let Some(incident) = self.incidents.get_mut(&header.incident_id) {
            let onsets = updated.grouped_anomalies.iter();
            incident.onset_ms = onsets.map(|anomaly| anomaly.onset_ms).min();
            incident.services.clone_from(&header.affected_services);
            incident.anomaly_type = header.anomaly_type.as_str().to_owned();
        }
    }

    fn caused(&mut self, rca: &RcaCompleted) {
        let candidates: Vec<Candidate> = rca.root_cause_candidates.iter().map(candidate).collect();
        let words: Vec<String> = candidates
            .iter()
            .map(|one| format!("{} {} {:.2}", one.service, one.cause, one.confidence))
            .collect();
        self.lines.push(format!(
            "CAUSE {} revision {}: {}",
            rca.header.short_id,
            rca.revision,
            words.join(" > ")
        ));
        if let Some(incident) = self.incidents.get_mut(&rca.header.incident_id) {
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
