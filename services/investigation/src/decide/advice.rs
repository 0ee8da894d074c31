//! The model's advice: asked for, and checked before it is believed.

use super::state::Case;
use midwatch_clients::llm::LlmCall;
use midwatch_events::IncidentHeader;
use midwatch_events::incident::RootCauseCandidate;
use midwatch_runtime::{Effect, JobRequest, Moment};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What the tool loop brought back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    pub calls: Vec<LlmCall>,
    /// The arguments of `submit_rca`, where the model came to that.
    pub submission: Option<Submission>,
    /// Ids of all records that tools returned in this loop.
    pub seen: BTreeSet<String>,
    /// Why there is no submission.
    pub failure: Option<String>,
    pub model: String,
}

/// `submit_rca` (REFERENCE, model settings).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Submission {
    pub top_hypothesis: String,
    pub confidence: f64,
    pub evidence: Vec<String>,
    pub all_candidates: Vec<Value>,
    pub estimated_user_impact: String,
}

/// The checked outcome.
pub struct Checked {
    pub candidates: Vec<RootCauseCandidate>,
    pub method: String,
    pub effects: Vec<Effect>,
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
                "title": case.header.title(),
                "severity": case.header.severity,
                "services": case.header.affected_services,
                "candidates": candidates,
                "anomalies": case.anomalies,
                "facts": case.facts,
            }),
        )
    })
}

/// Takes the advice as far as it holds: cited records must have been shown to
/// the model, and the first candidate must be one of ours. The rest is dropped
/// and named in the audit trail; confidences stay those that code computed.
pub fn read(
    header: &IncidentHeader,
    ranked: &[RootCauseCandidate],
    at: Moment,
    result: Result<Value, String>,
) -> Checked {
    let mut checked = Checked {
        candidates: ranked.to_vec(),
        method: "deterministic".to_owned(),
        effects: Vec::new(),
    };
    let advice = result.and_then(|value| {
        serde_json::from_value::<Advice>(value).map_err(|error| error.to_string())
    });
    let id = header.incident_id;
    let advice = match advice {
        Ok(advice) => advice,
        Err(error) => {
            checked.effects.push(Effect::audit(
                id,
                "MODEL_UNAVAILABLE",
                at.event_ms,
                format!("The model step failed ({error}); the deterministic answer stands."),
                json!({"error": error}),
            ));
            return checked;
        }
    };
    for call in &advice.calls {
        checked.effects.push(Effect::RecordModelCall {
            incident_id: Some(id),
            call: Box::new(call.clone()),
        });
    }
    let Some(submission) = advice.submission else {
        let why = advice
            .failure
            .unwrap_or_else(|| "it submitted nothing".to_owned());
        checked.effects.push(Effect::audit(
            id,
            "MODEL_UNAVAILABLE",
            at.event_ms,
            format!("The model gave no usable answer ({why}); the deterministic answer stands."),
            json!({"failure": why}),
        ));
        return checked;
    };
    let verdict = judge(ranked, &submission, &advice.seen);
    if let Some(first) = verdict.first {
        let chosen = checked.candidates.remove(first);
        checked.candidates.insert(0, chosen);
        for (rank, candidate) in (1..).zip(checked.candidates.iter_mut()) {
            candidate.rank = rank;
        }
        checked.method.clone_from(&advice.model);
    }
    let summary = if verdict.rejected.is_empty() {
        "The model's answer was checked against the records and holds.".to_owned()
    } else {
        format!(
            "Parts of the model's answer do not hold and were dropped: {}.",
            verdict.rejected.join("; ")
        )
    };
    checked.effects.push(Effect::audit(
        id,
        "MODEL_CHECKED",
        at.event_ms,
        summary,
        json!({"rejected": verdict.rejected, "accepted_order": verdict.first.is_some(),
               "model": advice.model}),
    ));
    checked
}

struct Verdict {
    /// The index in our ranking of the candidate that the model puts first.
    first: Option<usize>,
    rejected: Vec<String>,
}

fn judge(
    ranked: &[RootCauseCandidate],
    submission: &Submission,
    seen: &BTreeSet<String>,
) -> Verdict {
    let mut rejected = Vec::new();
    let known = |id: &String| {
        seen.contains(id)
            || ranked
                .iter()
                .any(|candidate| candidate.evidence.iter().any(|record| record.id == *id))
    };
    let (held, unknown): (Vec<&String>, Vec<&String>) =
        submission.evidence.iter().partition(|id| known(id));
    for id in unknown {
        rejected.push(format!("the record {id} does not exist or was not shown"));
    }
    let wanted = submission.all_candidates.first().and_then(|first| {
        first
            .as_str()
            .or_else(|| first.get("service").and_then(Value::as_str))
    });
    let first = wanted.and_then(|service| {
        let place = ranked
            .iter()
            .position(|candidate| candidate.service == service);
        if place.is_none() {
            rejected.push(format!("{service} is no candidate of the evidence"));
        }
        place
    });
    let first = first.filter(|_| {
        if held.is_empty() {
            rejected.push("the order is backed by no record".to_owned());
        }
        !held.is_empty()
    });
    Verdict { first, rejected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(service: &str, record: &str) -> RootCauseCandidate {
        serde_json::from_value(json!({"rank": 1, "service": service, "cause": "UNKNOWN",
            "hypothesis": "h", "confidence": 0.5, "similar_incidents": [], "runbook_refs": [],
            "evidence": [{"id": record, "kind": "metric", "service": service, "at_ms": 1, "summary": "s"}]}))
        .expect("a candidate")
    }

    fn submission(first: &str, evidence: &[&str]) -> Submission {
        Submission {
            all_candidates: vec![json!({"service": first})],
            evidence: evidence.iter().map(|id| (*id).to_owned()).collect(),
            ..Submission::default()
        }
    }

    #[test]
    fn a_backed_order_is_taken() {
        let ranked = [candidate("a", "r1"), candidate("b", "r2")];
        let verdict = judge(&ranked, &submission("b", &["r2"]), &BTreeSet::new());
        assert_eq!((verdict.first, verdict.rejected.len()), (Some(1), 0));
    }

    #[test]
    fn unknown_records_and_services_are_named_and_change_nothing() {
        let ranked = [candidate("a", "r1")];
        let verdict = judge(&ranked, &submission("z", &["r9"]), &BTreeSet::new());
        assert_eq!(verdict.first, None);
        assert_eq!(verdict.rejected.len(), 2);
        let verdict = judge(&ranked, &submission("a", &["r9"]), &BTreeSet::new());
        assert_eq!(verdict.first, None, "no record backs the order");
    }

    #[test]
    fn a_record_that_a_tool_showed_counts() {
        let ranked = [candidate("a", "r1"), candidate("b", "r2")];
        let seen = BTreeSet::from(["t7".to_owned()]);
        assert_eq!(
            judge(&ranked, &submission("b", &["t7"]), &seen).first,
            Some(1)
        );
    }
}
