//! From numbers to an answer: ranked candidates with cause, confidence, the
//! records for and against each, and what would tell them apart.

use super::clues::{self, Clue};
use super::portrait::{self, Findings};
use super::recording::{Question, Recording};
use super::signs::{self, Weighed};
use super::{causes, question, sorts, weigh};
use midwatch_events::incident::Verdict;
use serde::{Deserialize, Serialize};

/// Candidates that are told with their evidence.
const CANDIDATES: usize = 5;
/// Records told for each.
const RECORDS: usize = 12;
/// Below this confidence the verdict is inconclusive.
pub const CONCLUSIVE: f64 = 0.5;

/// What an investigation found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Every service that anything speaks against, the best candidate first.
    pub ranking: Vec<String>,
    pub verdict: Verdict,
    /// The first of the ranking, with all that is known of them.
    pub candidates: Vec<Candidate>,
    /// What was not there to be looked at, in words.
    pub gaps: Vec<String>,
}

/// A service that may be the cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// From 1.
    pub rank: u32,
    pub service: String,
    /// An anomaly type's wire name, or what a failed change of its sort is called.
    pub cause: String,
    /// One sentence.
    pub hypothesis: String,
    /// 0..1: how often such an answer is right.
    pub confidence: f64,
    pub evidence: Vec<Clue>,
    /// Records that speak against it.
    pub refuting: Vec<Clue>,
    /// What would refute it, or tell it from the next candidate.
    pub discriminator: String,
}

/// Ranks the services of a recording.
#[must_use]
pub fn investigate(recording: &Recording, question: &Question) -> Answer {
    weigh_up(recording, question).0
}

/// The same, with what it was weighed from.
#[must_use]
pub fn weigh_up(recording: &Recording, question: &Question) -> (Answer, Weighed) {
    let asked = question;
    let taken = question::recorded_metric(recording, asked);
    let question = &Question {
        target_metric: taken.clone().unwrap_or(asked.target_metric.clone()),
        ..asked.clone()
    };
    let findings = portrait::find(recording, question);
    let mut charges = weigh::charges(&findings);
    weigh::part(&mut charges, recording, &findings);
    let ceiling = if weigh::is_healthy(recording, &findings) {
        weigh::HEALTHY
    } else {
        weigh::CEILING
    };
    let confidences = weigh::confidences(&charges, ceiling);
    let mut weighed = Weighed {
        charges: signs::plain(&charges),
        ceiling,
        ..Weighed::default()
    };
    let mut candidates: Vec<Candidate> = charges
        .iter()
        .zip(&confidences)
        .take(CANDIDATES)
        .zip(1..)
        .map(|(((service, _), confidence), rank)| {
            let clues = clues::of(recording, &findings, service);
            let cause = causes::cause(recording, &findings, service);
            let shown = causes::shown_by(recording, cause, &clues).cloned();
            let found = signs::of(recording, &findings, (service, cause), &clues);
            weighed.signs.insert(service.clone(), found);
            if signs::is_explained(&findings, service) {
                weighed.explained.insert(service.clone());
            }
            let evidence: Vec<Clue> = clues
                .into_iter()
                .map(|(_, clue)| clue)
                .take(RECORDS)
                .collect();
            Candidate {
                rank,
                service: service.clone(),
                cause: sorts::cause_name(recording, &findings, service, cause).to_owned(),
                hypothesis: causes::hypothesis(service, cause, shown.as_ref()),
                confidence: round(*confidence),
                evidence,
                refuting: clues::against(recording, &findings, service),
                discriminator: String::new(),
            }
        })
        .collect();
    for index in 0..candidates.len() {
        let next = candidates.get(index + 1).map(|next| next.service.clone());
        candidates[index].discriminator =
            causes::discriminator(&findings, &candidates[index], next.as_deref());
    }
    tell_apart(recording, &mut candidates);
    let top = candidates.first().map_or(0.0, |top| top.confidence);
    let answer = Answer {
        ranking: charges.into_iter().map(|(service, _)| service).collect(),
        verdict: if top >= CONCLUSIVE {
            Verdict::Conclusive
        } else {
            Verdict::Inconclusive
        },
        candidates,
        gaps: gaps(recording, asked, taken.as_deref(), &findings),
    };
    (answer, weighed)
}

/// Says what would show that what another incident is about is behind this one,
/// too.
fn tell_apart(recording: &Recording, candidates: &mut [Candidate]) {
    let mut others = candidates.iter().skip(1);
    let held = |one: &Candidate| recording.elsewhere.get_key_value(&one.service);
    let Some((service, incident)) = others.find_map(held) else {
        return;
    };
    let words =
        format!("{service} is what {incident} is about: if both end at once, they are one fault");
    let own = &mut candidates[0].discriminator;
    if !own.is_empty() {
        own.push_str("; ");
    }
    own.push_str(&words);
}

/// Two decimals: more would claim more than the rules can tell.
fn round(confidence: f64) -> f64 {
    (confidence * 100.0).round() / 100.0
}

fn gaps(
    recording: &Recording,
    asked: &Question,
    taken: Option<&str>,
    findings: &Findings,
) -> Vec<String> {
    let mut gaps = Vec::new();
    let mut missing = |is_missing: bool, words: &str| {
        if is_missing {
            gaps.push(words.to_owned());
        }
    };
    missing(recording.series.is_empty(), "no metrics were recorded");
    missing(recording.lines.is_empty(), "no log lines were recorded");
    missing(recording.spans.is_empty(), "no spans were recorded");
    missing(
        findings.graph.edges().next().is_none(),
        "nothing tells which service calls which",
    );
    let compared = findings.changed.iter().filter(|one| one.change.is_some());
    missing(
        !recording.series.is_empty() && compared.count() == 0,
        "no series has enough readings before and since the start",
    );
    match taken {
        Some(taken) if taken == asked.target_metric => {}
        Some(taken) => gaps.push(format!(
            "{} of {} was not recorded; {taken} was taken for it",
            asked.target_metric, asked.target
        )),
        None => gaps.push(format!(
            "{} of {} was not recorded",
            asked.target_metric, asked.target
        )),
    }
    let blind: Vec<&str> = findings
        .portraits
        .keys()
        .filter(|service| !recording.series.iter().any(|one| one.service == **service))
        .map(String::as_str)
        .collect();
    if !blind.is_empty() && !recording.series.is_empty() {
        gaps.push(format!("no metrics of {}", blind.join(", ")));
    }
    gaps
}
