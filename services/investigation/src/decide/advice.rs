//! The model's advice: asked for, and checked before it is believed.
//!
//! The model may put the candidates into another order and word their hypotheses; nothing else of
//! what it says is published. The rules:
//!
//! - a record that it cites must have been shown to it in this investigation;
//! - a sentence holds by its cited records only ([`midwatch_clients::llm::claims`]), names its own
//!   candidate first, rests on something measured, and puts no effect before its cause;
//! - a candidate is raised over another only if the model cites at least one measured record (not
//!   mere text) that our own evidence for it holds or that is its anomaly, if it began no later than
//!   the symptom, and if its confidence is at most [`RAISE_MARGIN`] below;
//! - confidences are ours. One that comes to stand behind a less certain candidate is lowered to
//!   that one's: nothing may be more certain than what is put before it.
//!
//! What breaks a rule is dropped and listed with the rule that it broke.

mod judge;
mod scene;

pub use scene::{Request, Scene, Shown, TEXT_LIMIT, Trigger};

use super::state::Case;
use midwatch_clients::llm::LlmCall;
use midwatch_events::IncidentHeader;
use midwatch_events::incident::{RejectedClaim, RootCauseCandidate};
use midwatch_runtime::{Effect, JobRequest, Moment};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A candidate this much less certain may still be raised over another: about what separates two
/// candidates that the same evidence carries. Above it, words would overrule measurements; at zero
/// the model could do nothing.
pub const RAISE_MARGIN: f64 = 0.15;
/// Words about what went less well than it should have; a storm of them says nothing more.
const DEGRADATIONS: usize = 12;

/// What the tool loop brought back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Advice {
    pub calls: Vec<LlmCall>,
    /// The arguments of `submit_rca` as they came, where the model came to that.
    pub submission: Option<Value>,
    /// The records that tools returned in this loop, by id.
    pub shown: BTreeMap<String, Shown>,
    /// Tool calls that were not carried out, and why.
    pub refused: Vec<String>,
    /// What went less well than it should have.
    pub degradations: Vec<String>,
    /// Why there is no submission.
    pub failure: Option<String>,
    pub model: String,
    /// What the submission is checked against besides the records.
    pub scene: Scene,
}

/// The checked outcome.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Best first, ranks renumbered.
    pub candidates: Vec<RootCauseCandidate>,
    /// `deterministic`, or the model whose order or words were taken.
    pub method: String,
    /// Model calls and audit lines.
    pub effects: Vec<Effect>,
    /// What the model claimed in vain.
    pub rejected: Vec<RejectedClaim>,
    /// What people should know about how this answer came about.
    pub degradations: Vec<String>,
}

/// Starts the tool loop.
pub fn ask(case: &Case, candidates: &[RootCauseCandidate]) -> Effect {
    Effect::StartJob(JobRequest {
        // The loop has its own tries and budget; a second loop would only cost.
        max_attempts: 1,
        ..JobRequest::new(
            format!("advise:{}", case.gatherings),
            "advise",
            json!({
                "incident_id": case.header.incident_id,
                "gathering": case.gatherings,
                "title": case.header.title(),
                "severity": case.header.severity,
                "services": case.header.affected_services,
                "candidates": candidates,
                "anomalies": case.anomalies,
                "trigger": {"service": case.trigger.service, "metric": case.trigger.metric},
                "facts": case.facts,
            }),
        )
    })
}

/// Takes the advice as far as it holds. The rest is dropped, listed, and named in the audit trail.
pub fn read(
    header: &IncidentHeader,
    ranked: &[RootCauseCandidate],
    at: Moment,
    result: Result<Value, String>,
) -> Checked {
    let mut checked = Checked {
        candidates: ranked.to_vec(),
        method: "deterministic".to_owned(),
        ..Checked::default()
    };
    let advice = result.and_then(|value| {
        serde_json::from_value::<Advice>(value).map_err(|error| error.to_string())
    });
    let advice = match advice {
        Ok(advice) => advice,
        Err(error) => {
            let none = Advice::default();
            without_answer(&mut checked, header, at, &none, &error);
            return checked;
        }
    };
    for call in &advice.calls {
        checked.effects.push(Effect::RecordModelCall {
            incident_id: Some(header.incident_id),
            call: Box::new(call.clone()),
        });
    }
    checked.degradations.clone_from(&advice.degradations);
    checked.degradations.truncate(DEGRADATIONS);
    match &advice.submission {
        Some(submission) => with_answer(&mut checked, header, at, &advice, submission),
        None => {
            let why = advice
                .failure
                .clone()
                .unwrap_or_else(|| "it submitted nothing".to_owned());
            without_answer(&mut checked, header, at, &advice, &why);
        }
    }
    checked
}

fn without_answer(
    checked: &mut Checked,
    header: &IncidentHeader,
    at: Moment,
    advice: &Advice,
    why: &str,
) {
    let summary =
        format!("The model gave no usable answer ({why}); the deterministic answer stands.");
    checked.degradations.push(summary.clone());
    checked.effects.push(Effect::audit(
        header.incident_id,
        "MODEL_UNAVAILABLE",
        at.event_ms,
        summary,
        json!({"failure": why, "model": advice.model, "rounds": advice.calls.len(),
               "refused_calls": advice.refused, "degradations": advice.degradations}),
    ));
}

fn with_answer(
    checked: &mut Checked,
    header: &IncidentHeader,
    at: Moment,
    advice: &Advice,
    submission: &Value,
) {
    let ranked = std::mem::take(&mut checked.candidates);
    let verdict = judge::judge(&ranked, submission, advice);
    if verdict.is_taken() {
        checked.method.clone_from(&advice.model);
    }
    checked.candidates = arranged(&ranked, &verdict);
    let summary = if verdict.rejected.is_empty() {
        "The model's answer was checked against the records and holds.".to_owned()
    } else {
        let reasons: Vec<String> = verdict
            .rejected
            .iter()
            .map(|one| format!("{:?}: {}", one.claim, one.reason))
            .collect();
        format!(
            "Parts of the model's answer do not hold and were dropped: {}.",
            reasons.join("; ")
        )
    };
    if !verdict.is_taken() {
        checked.degradations.push(
            "Nothing of the model's answer held; the deterministic answer stands.".to_owned(),
        );
    }
    checked.effects.push(Effect::audit(
        header.incident_id,
        "MODEL_CHECKED",
        at.event_ms,
        summary,
        json!({"rejected": verdict.rejected, "held": verdict.held,
               "accepted_order": verdict.order.is_some(), "model": advice.model,
               "reworded": verdict.wordings.keys().map(|index| &ranked[*index].service)
                   .collect::<Vec<_>>(),
               "claimed_confidence": submission["confidence"],
               "refused_calls": advice.refused, "degradations": advice.degradations}),
    ));
    checked.rejected = verdict.rejected;
}

/// The candidates in the accepted order with the accepted words.
fn arranged(ranked: &[RootCauseCandidate], verdict: &judge::Verdict) -> Vec<RootCauseCandidate> {
    let own: Vec<usize> = (0..ranked.len()).collect();
    let order = verdict.order.as_ref().unwrap_or(&own);
    let mut least = f64::INFINITY;
    (1..)
        .zip(order)
        .map(|(rank, &index)| {
            let mut candidate = ranked[index].clone();
            candidate.rank = rank;
            // Only where the order is not ours any more.
            if *order != own {
                least = least.min(candidate.confidence);
                candidate.confidence = least;
            }
            if let Some(words) = verdict.wordings.get(&index) {
                candidate.hypothesis.clone_from(words);
            }
            candidate
        })
        .collect()
}

#[cfg(test)]
mod tests;
