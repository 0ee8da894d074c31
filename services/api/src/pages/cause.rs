//! The candidates for the cause as people read them.

use super::evidence::{self, Source, Sources, source};
use crate::known::Known;
use midwatch_events::{EvidenceRef, RootCauseCandidate};
use serde::Serialize;

/// A record that is cited.
#[derive(Serialize)]
pub struct Cite {
    #[serde(flatten)]
    record: EvidenceRef,
    source: Source,
}

/// A past incident, or a section of a runbook, and where it is read.
#[derive(Serialize)]
pub struct Link {
    name: String,
    href: String,
}

/// A candidate with what speaks for and against it.
#[derive(Serialize)]
pub struct Candidate {
    #[serde(flatten)]
    candidate: RootCauseCandidate,
    supports: Vec<Cite>,
    refutes: Vec<Cite>,
    /// The addresses of its similar incidents, in their order.
    past: Vec<String>,
    runbooks: Vec<Link>,
}

/// The candidates of an incident.
#[must_use]
pub fn candidates(known: &Known, sources: &Sources) -> Vec<Candidate> {
    let cites = |records: &[EvidenceRef]| {
        let cite = |record: &EvidenceRef| Cite {
            source: source(record, sources),
            record: record.clone(),
        };
        records.iter().map(cite).collect()
    };
    let candidates = known.candidates.iter();
    candidates
        .map(|candidate| Candidate {
            supports: cites(&candidate.evidence),
            refutes: cites(&candidate.refuting),
            past: candidate
                .similar_incidents
                .iter()
                .map(|past| evidence::past_incident(&past.incident_id, &past.title))
                .collect(),
            runbooks: runbooks(&candidate.runbook_refs),
            candidate: candidate.clone(),
        })
        .collect()
}

/// Sections of runbooks, and where they are read.
#[must_use]
pub fn runbooks(names: &[String]) -> Vec<Link> {
    let names = names.iter();
    names
        .map(|name| Link {
            href: evidence::runbook(name),
            name: name.clone(),
        })
        .collect()
}
