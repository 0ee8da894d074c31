//! What past incidents and runbooks add to the ranking.
//!
//! Knowledge is a witness that saw something else. It decides only where the
//! measurements leave it open, by these rules, and in this order:
//!
//! 1. A past incident is heard that people have reviewed, that resembles this
//!    one by [`HEARD`], and of whose cause the service shows a measured sign.
//! 2. Between candidates: one whose charge is within [`CLOSE`] of the first may
//!    pass it, if a past incident of that very service is heard, and nothing
//!    measured says otherwise: it does not suffer from what it calls, and the
//!    first shows no exhausted resource, kill, silence or change where it shows
//!    a symptom only.
//! 3. Between causes of a candidate: a cause replaces the measured one that is
//!    as strong, or that explains what is only a symptom. Here another service
//!    at the same place in the calls may speak as well: it says what can go
//!    wrong, not where.
//! 4. A runbook may name a cause more precisely than the anomaly types do,
//!    where the sign that it states is among the candidate's own records.
//!
//! No rule adds a candidate or raises a confidence: whoever is put first gets
//! what the calibration gives for its own, smaller charge. Texts of documents
//! are never read here: names are compared with names that are known already,
//! so that a text that somebody planted can do no more than a past incident
//! could, whatever it says.

use super::rank::RECORDS;
use crate::rca::{Candidate, Sign, Weighed};
use midwatch_clients::knowledge::{CauseSign, KnownCause};
use midwatch_events::anomaly::AnomalyType;
use midwatch_events::cause::{family, is_name, title};
use midwatch_events::incident::{EvidenceKind, EvidenceRef};
use midwatch_events::topology::Topology;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The cosine from which a past incident is heard. Related texts lie at 0.4 and
/// more, unrelated ones below 0.24; what resembles an incident by 0.5 shares its
/// service or its symptoms, mostly both.
pub const HEARD: f64 = 0.5;
/// The cosine from which a runbook's causes are considered: related at all. Its
/// sign must be among the records besides.
pub const RELATED: f64 = 0.3;
/// Charges this close say little of who comes first: by the slope of the
/// calibration (2.6) such a lead is worth at most eight points of confidence.
pub const CLOSE: f64 = 0.12;
/// Past incidents quoted for one candidate.
const QUOTED: usize = 2;
/// The longest id of a document that is quoted, in bytes.
const LONGEST_ID: usize = 120;

/// A past incident that people have reviewed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Precedent {
    pub incident_id: String,
    /// Where the cause was.
    pub service: String,
    /// The cause's wire name.
    pub cause: String,
    /// Cosine, −1..1.
    pub score: f64,
    /// Whether people reviewed it; only such ones are heard.
    pub reviewed: bool,
}

/// A cause that a runbook knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guide {
    /// `runbook#section` that was found.
    pub document: String,
    /// Cosine, −1..1.
    pub score: f64,
    pub cause: KnownCause,
}

/// What the store gave for an incident.
pub struct Shelf<'a> {
    /// The incident's own short id: a reopened one is no precedent of itself.
    pub own: &'a str,
    pub precedents: &'a [Precedent],
    pub guides: &'a [Guide],
    pub graph: &'a Topology,
}

/// What was heard about one candidate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heard {
    pub evidence: Vec<EvidenceRef>,
    /// What would tell the answer from the one that was passed over, one clause
    /// each.
    pub apart: Vec<String>,
    /// What the measurements call a cause that only a runbook names.
    pub measured: Option<AnomalyType>,
}

/// Whether a cause says why, rather than what is seen of it.
fn is_specific(cause: AnomalyType) -> bool {
    !matches!(
        cause,
        AnomalyType::ErrorRateSpike
            | AnomalyType::LatencySpike
            | AnomalyType::TrafficDrop
            | AnomalyType::MissingData
            | AnomalyType::Unknown
    )
}

/// Whether a document's id is one, and no text.
fn is_id(id: &str) -> bool {
    let is_sign = |letter: char| letter.is_ascii_alphanumeric() || "-_# ".contains(letter);
    !id.is_empty() && id.len() <= LONGEST_ID && id.chars().all(is_sign)
}

impl Shelf<'_> {
    fn heard(&self) -> impl Iterator<Item = (&Precedent, AnomalyType)> {
        let heard = self.precedents.iter().filter(|one| {
            one.reviewed
                && (HEARD..=1.01).contains(&one.score)
                && one.incident_id != self.own
                && is_id(&one.incident_id)
        });
        heard.filter_map(|one| Some((one, family(&one.cause)?)))
    }

    /// Those of that very service whose cause it has a sign of, the nearest
    /// first.
    fn of_service<'a>(
        &'a self,
        weighed: &'a Weighed,
        service: &'a str,
    ) -> Vec<(&'a Precedent, &'a Sign)> {
        let mut found: Vec<(&Precedent, &Sign)> = self
            .heard()
            .filter(|(one, _)| one.service == service)
            .filter_map(|(one, cause)| Some((one, weighed.sign(service, cause)?)))
            .collect();
        found.sort_by(|one, other| nearest(one.0, other.0));
        found
    }

    /// Whether two services stand at the same place in the calls: who is called,
    /// and who calls. A service without calls has no place.
    fn alike(&self, one: &str, other: &str) -> bool {
        let place = |service: &str| {
            let called = !self.graph.callers(service).is_empty();
            let calls = !self.graph.callees(service).is_empty();
            (called || calls).then_some((called, calls))
        };
        one != other && place(one).is_some() && place(one) == place(other)
    }
}

fn nearest(one: &Precedent, other: &Precedent) -> std::cmp::Ordering {
    let by_score = other.score.total_cmp(&one.score);
    by_score.then_with(|| one.incident_id.cmp(&other.incident_id))
}

/// Applies the rules to candidates, the best first, and says what was heard.
pub fn speak(
    candidates: &mut Vec<Candidate>,
    weighed: &Weighed,
    shelf: &Shelf<'_>,
) -> BTreeMap<String, Heard> {
    let mut heard: BTreeMap<String, Heard> = BTreeMap::new();
    order(candidates, weighed, shelf, &mut heard);
    for candidate in candidates.iter_mut() {
        let told = heard.entry(candidate.service.clone()).or_default();
        name(candidate, weighed, shelf, told);
        agree(candidate, weighed, shelf, told);
        refine(candidate, shelf, told);
    }
    heard
}

/// Rule 2.
fn order(
    candidates: &mut Vec<Candidate>,
    weighed: &Weighed,
    shelf: &Shelf<'_>,
    heard: &mut BTreeMap<String, Heard>,
) {
    let Some(first) = candidates.first() else {
        return;
    };
    let score = |service: &str| {
        let known = shelf.of_service(weighed, service);
        known.first().map_or(0.0, |(one, _)| one.score)
    };
    let specific = |candidate: &Candidate| family(&candidate.cause).is_some_and(is_specific);
    let is_open = |rival: &Candidate| {
        let lead = weighed.charge(&first.service) - weighed.charge(&rival.service);
        lead <= CLOSE
            && rival.refuting.is_empty()
            && !rival.evidence.is_empty()
            && !weighed.explained.contains(&rival.service)
            && (specific(rival) || !specific(first))
            && score(&rival.service) > score(&first.service)
    };
    let rivals = candidates.iter().enumerate().skip(1);
    let passing =
        rivals
            .filter(|(_, rival)| is_open(rival))
            .max_by(|(at, one), (other_at, other)| {
                let by_score = score(&one.service).total_cmp(&score(&other.service));
                by_score.then(other_at.cmp(at))
            });
    let Some((place, rival)) = passing else {
        return;
    };
    let (service, passed) = (rival.service.clone(), first.service.clone());
    let Some((precedent, _)) = shelf.of_service(weighed, &service).first().copied() else {
        return;
    };
    let told = heard.entry(service.clone()).or_default();
    let why = format!("it puts {service} before {passed}, which the measurements leave close");
    told.evidence.push(quote(precedent, &service, &why));
    told.apart.push(format!(
        "only {} puts it before {passed}: if {passed} alone is mended and all is well, it was {passed}",
        precedent.incident_id
    ));
    let moved = candidates.remove(place);
    candidates.insert(0, moved);
    let confidences = weighed.clone().put_first(&service);
    for (candidate, rank) in candidates.iter_mut().zip(1..) {
        candidate.rank = rank;
        let confidence = confidences.get(&candidate.service).copied().unwrap_or(0.0);
        candidate.confidence = (confidence * 100.0).round() / 100.0;
    }
}

/// Rule 3.
fn name(candidate: &mut Candidate, weighed: &Weighed, shelf: &Shelf<'_>, told: &mut Heard) {
    let service = candidate.service.clone();
    let Some(measured) = family(&candidate.cause) else {
        return;
    };
    let for_measured = shelf
        .heard()
        .filter(|(one, cause)| one.service == service && *cause == measured)
        .fold(0.0, |most: f64, (one, _)| most.max(one.score));
    let mut others: Vec<(bool, &Precedent, &Sign)> = shelf
        .heard()
        .filter(|(one, cause)| *cause != measured && one.score > for_measured)
        .filter_map(|(one, cause)| {
            let own = one.service == service;
            let sign = weighed.sign(&service, cause)?;
            let is_open = sign.even || (!is_specific(measured) && is_specific(cause));
            (is_open && (own || shelf.alike(&one.service, &service))).then_some((own, one, sign))
        })
        .collect();
    others.sort_by(|one, other| other.0.cmp(&one.0).then(nearest(one.1, other.1)));
    let Some((_, precedent, sign)) = others.first() else {
        return;
    };
    let before = title(&candidate.cause);
    candidate.cause.clone_from(&sign.name);
    let why = format!("it speaks for that rather than {}", before.to_lowercase());
    told.evidence.push(quote(precedent, &service, &why));
    let shown = if sign.metric.is_empty() {
        format!("its sign ({})", sign.id)
    } else {
        sign.metric.clone()
    };
    told.apart.push(format!(
        "only {} speaks for {}: if {shown} is as ever again and the trouble goes on, it is not that",
        precedent.incident_id,
        title(&sign.name).to_lowercase()
    ));
}

/// Past incidents that say what the measurements say.
fn agree(candidate: &Candidate, weighed: &Weighed, shelf: &Shelf<'_>, told: &mut Heard) {
    let cause = family(&candidate.cause);
    for (precedent, sign) in shelf.of_service(weighed, &candidate.service) {
        let is_new = !told
            .evidence
            .iter()
            .any(|one| one.id == precedent.incident_id);
        if told.evidence.len() < QUOTED && is_new && Some(sign.cause) == cause {
            told.evidence
                .push(quote(precedent, &candidate.service, "as here"));
        }
    }
}

/// Rule 4.
fn refine(candidate: &mut Candidate, shelf: &Shelf<'_>, told: &mut Heard) {
    let Some(measured) = family(&candidate.cause) else {
        return;
    };
    let known = shelf.guides.iter().filter(|guide| {
        let cause = &guide.cause;
        (RELATED..=1.01).contains(&guide.score)
            && is_id(&guide.document)
            && cause.of == measured
            && is_name(&cause.name)
            && family(&cause.name).is_none()
            && cause.sign.is_telling()
    });
    let mut known: Vec<(&Guide, String)> = known
        .filter_map(|guide| Some((guide, observed(candidate, &guide.cause.sign)?)))
        .collect();
    known.sort_by(|(one, _), (other, _)| {
        let by_score = other.score.total_cmp(&one.score);
        by_score.then_with(|| one.cause.name.cmp(&other.cause.name))
    });
    let Some((guide, record)) = known.first() else {
        return;
    };
    candidate.cause.clone_from(&guide.cause.name);
    told.measured = Some(measured);
    let called = title(&guide.cause.name).to_lowercase();
    told.evidence.push(EvidenceRef {
        id: guide.document.clone(),
        kind: EvidenceKind::Runbook,
        service: candidate.service.clone(),
        at_ms: 0,
        summary: format!(
            "the runbook {} (similarity {:.2}) knows {record} as a sign of: {called}",
            guide.document, guide.score
        ),
    });
    told.apart.push(format!(
        "if {record} comes without the trouble, or the trouble goes on without it, it is not {called}"
    ));
}

/// The record of the candidate's own evidence that shows a sign.
fn observed(candidate: &Candidate, sign: &CauseSign) -> Option<String> {
    let (_, words) = sign.parts();
    let words = words.to_lowercase();
    let of_kind = |kind: EvidenceKind, summary: &str, wanted: EvidenceKind| {
        kind == wanted && summary.to_lowercase().contains(&words)
    };
    let mut own = candidate
        .evidence
        .iter()
        // As many as are published in any case, beside what was heard.
        .take(RECORDS - QUOTED - 3)
        .filter(|clue| clue.service == candidate.service);
    own.find(|clue| match sign {
        CauseSign::Log(_) => of_kind(clue.kind, &clue.summary, EvidenceKind::Log),
        CauseSign::Kubernetes(_) => of_kind(clue.kind, &clue.summary, EvidenceKind::Kubernetes),
        CauseSign::Metric(_) => {
            let name = clue.metric.split('{').next().unwrap_or_default();
            name.to_lowercase() == words
        }
    })
    .map(|clue| clue.id.clone())
}

fn quote(precedent: &Precedent, service: &str, why: &str) -> EvidenceRef {
    EvidenceRef {
        id: precedent.incident_id.clone(),
        kind: EvidenceKind::Incident,
        service: service.to_owned(),
        at_ms: 0,
        summary: format!(
            "{} (reviewed, similarity {:.2}) was {} of {}: {why}",
            precedent.incident_id,
            precedent.score,
            // A cause that is heard is one that is known: never a text.
            family(&precedent.cause).map_or("", AnomalyType::title),
            if precedent.service == service {
                service
            } else {
                "another service at the same place in the calls"
            },
        ),
    }
}
