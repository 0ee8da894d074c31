//! How far the confidence of a decision can be relied on.
//!
//! A decision is the newest answer of the investigation about one incident. It
//! is right when its first candidate has the service and the cause of a fault
//! that the incident belongs to; about an incident without a fault no answer is
//! right. A confidence of 0.8 promises to be right eight times in ten:
//! [`Reliability`] compares the promise of each bin with what came of it.

use crate::judge::{Candidate, Fault, Incident, Judgement};
use crate::report::put;
use serde::Serialize;
use std::collections::BTreeMap;

/// Upper ends of the bins; the last holds 1 itself. Most answers lie above 0.5,
/// where the bins are finer.
const ENDS: [f64; 7] = [0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0];

/// What was said about one incident, beside the truth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    pub seed: u64,
    /// The kind of story: `round` for the seven faults, or a trial's.
    pub story: String,
    /// The trial, where it is one.
    pub trial: String,
    pub incident: String,
    /// The fault that it belongs to; empty where it belongs to none.
    pub scenario: String,
    pub guilty: Option<String>,
    /// Services, causes and confidences of the candidates, best first.
    pub ranking: Vec<String>,
    pub causes: Vec<String>,
    pub confidences: Vec<f64>,
    /// The first candidate's cause.
    pub cause: String,
    pub right_service: bool,
    /// Both the service and the cause are right.
    pub right_cause: bool,
    pub verdict: &'static str,
}

/// Whether a candidate names this fault: its service and its scenario.
#[must_use]
pub fn names(candidate: &Candidate, fault: &Fault) -> bool {
    candidate.service == fault.service && candidate.cause == fault.scenario
}

/// Decisions about the incidents of a run. `also` tells which further faults an
/// incident tells of, by its id, beside those that the judgement gives it.
#[must_use]
pub fn decisions(
    (seed, story, trial): (u64, &str, &str),
    judgement: &Judgement,
    incidents: &[Incident],
    also: &BTreeMap<String, Vec<Fault>>,
) -> Vec<Decision> {
    let mut of_incident = also.clone();
    for row in &judgement.rows {
        for id in row.incident.iter().chain(&row.duplicates) {
            let own = of_incident.entry(id.clone()).or_default();
            own.insert(0, row.fault.clone());
        }
    }
    let answered = incidents
        .iter()
        .filter(|one| !one.merged && !one.candidates.is_empty());
    answered
        .map(|incident| {
            let faults = of_incident.get(&incident.id).map_or(&[][..], Vec::as_slice);
            let top = &incident.candidates[0];
            let of = |pick: fn(&Candidate) -> &String| {
                incident
                    .candidates
                    .iter()
                    .map(|one| pick(one).clone())
                    .collect()
            };
            Decision {
                seed,
                story: story.to_owned(),
                trial: trial.to_owned(),
                incident: incident.id.clone(),
                scenario: faults
                    .first()
                    .map_or(String::new(), |fault| fault.scenario.clone()),
                guilty: faults.first().map(|fault| fault.service.clone()),
                ranking: of(|one| &one.service),
                causes: of(|one| &one.cause),
                confidences: incident
                    .candidates
                    .iter()
                    .map(|one| one.confidence)
                    .collect(),
                cause: top.cause.clone(),
                right_service: faults.iter().any(|fault| fault.service == top.service),
                right_cause: faults.iter().any(|fault| names(top, fault)),
                verdict: match incident.conclusive {
                    Some(true) => "conclusive",
                    Some(false) => "inconclusive",
                    None => "unknown",
                },
            }
        })
        .collect()
}

/// Decisions whose first confidence lies in `[from, to)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Bin {
    pub from: f64,
    pub to: f64,
    pub decisions: u32,
    pub right: u32,
    /// The mean of the confidences: what was promised.
    pub promised: f64,
    /// The share that was right: what came of it.
    pub share_right: f64,
}

/// The reliability table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Reliability {
    pub bins: Vec<Bin>,
    pub decisions: u32,
    /// The expected calibration error (Naeini, Cooper, Hauskrecht 2015): the
    /// mean over all decisions of how far their bin's share that was right lies
    /// from its mean confidence, 0..1.
    pub calibration_error: f64,
}

/// Sorts decisions into bins by the confidence of their first candidate.
#[must_use]
pub fn reliability(decisions: &[Decision]) -> Reliability {
    let mut sums = [0.0; ENDS.len()];
    let mut bins = Vec::new();
    let mut from = 0.0;
    for to in ENDS {
        bins.push(Bin {
            from,
            to,
            ..Bin::default()
        });
        from = to;
    }
    for decision in decisions {
        let confidence = decision.confidences.first().copied().unwrap_or(0.0);
        let index = ENDS.iter().position(|end| confidence < *end);
        let index = index.unwrap_or(ENDS.len() - 1);
        bins[index].decisions += 1;
        bins[index].right += u32::from(decision.right_cause);
        sums[index] += confidence;
    }
    let all: u32 = bins.iter().map(|bin| bin.decisions).sum();
    let mut error = 0.0;
    for (bin, sum) in bins.iter_mut().zip(sums) {
        if bin.decisions > 0 {
            let count = f64::from(bin.decisions);
            bin.promised = sum / count;
            bin.share_right = f64::from(bin.right) / count;
            error += count / f64::from(all) * (bin.share_right - bin.promised).abs();
        }
    }
    Reliability {
        bins,
        decisions: all,
        calibration_error: error,
    }
}

/// The table for people; nothing where nothing was decided.
#[must_use]
pub fn reliability_words(table: &Reliability) -> String {
    let mut text = String::new();
    if table.decisions == 0 {
        return text;
    }
    put(
        &mut text,
        format_args!("confidence  decisions  promised  was right"),
    );
    for bin in table.bins.iter().filter(|bin| bin.decisions > 0) {
        put(
            &mut text,
            format_args!(
                "{:.1}–{:.1}     {:>9}  {:>6.1} %  {:>7.1} %",
                bin.from,
                bin.to,
                bin.decisions,
                100.0 * bin.promised,
                100.0 * bin.share_right
            ),
        );
    }
    put(
        &mut text,
        format_args!(
            "expected calibration error  {:.3} over {} decisions",
            table.calibration_error, table.decisions
        ),
    );
    text
}
