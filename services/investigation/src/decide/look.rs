//! One look at an incident: gather, rank, ask the model where there is one, and
//! answer, in time whatever happens to the slow work.

use super::facts::Facts;
use super::hypothesis::worst;
use super::state::{Case, Work, has_readings};
use super::{Core, advice, chain, ending, rank, revision};
use midwatch_events::incident::{
    GroupedAnomaly, RcaCompleted, RejectedClaim, RootCauseCandidate, Verdict,
};
use midwatch_events::{Event, IncidentState, ids};
use midwatch_runtime::{Effect, Job, JobRequest, Moment, Projection};
use serde::Serialize;
use serde_json::{Value, json};

/// How an answer was found, beside the candidates.
struct Found {
    method: String,
    rejected: Vec<RejectedClaim>,
    degradations: Vec<String>,
}

impl Found {
    fn by_rules() -> Found {
        Found {
            method: "deterministic".to_owned(),
            rejected: Vec::new(),
            degradations: Vec::new(),
        }
    }
}

/// The members in a job, as they are stored.
#[derive(Serialize)]
struct Listed<'a>(#[serde(with = "midwatch_events::more::stored")] &'a [GroupedAnomaly]);

/// Whether a job belongs to the present look.
fn is_present(case: &Case, job: &Job) -> bool {
    let look = job.payload["gathering"].as_u64();
    look.is_none_or(|look| look == u64::from(case.gatherings))
}

impl Core {
    /// Begins a look: the records are read by a job, for which there is a limit.
    pub(super) fn gather(&self, case: &mut Case, at: Moment) -> [Effect; 2] {
        case.gatherings += 1;
        case.at_work = Some(Work::Records);
        let id = case.header.incident_id;
        let job = JobRequest {
            // A stalled model must not keep the next look from its records.
            lane: Some(format!("{id}:records")),
            ..JobRequest::new(
                format!("gather:{}", case.gatherings),
                "gather",
                json!({
                    "incident_id": id,
                    "gathering": case.gatherings,
                    "environment": case.header.environment,
                    "anomaly_type": case.header.anomaly_type,
                    "title": case.header.title(),
                    "services": case.header.affected_services,
                    "anomalies": Listed(&case.anomalies),
                    "elsewhere": case.facts.as_ref().map(|facts| facts.elsewhere.clone())
                        .unwrap_or_default(),
                }),
            )
        };
        [
            Effect::StartJob(job),
            deadline(case, at.wall_ms + self.config.records_ms, false),
        ]
    }

    pub(super) fn on_gathered(
        &self,
        case: &mut Case,
        at: Moment,
        job: &Job,
        result: Result<Value, String>,
    ) -> Vec<Effect> {
        // Records that come after their time are looked at all the same, as
        // long as nothing newer was asked for.
        if case.resolved || !is_present(case, job) || case.at_work == Some(Work::Advice) {
            return Vec::new();
        }
        if case.at_work.is_none() {
            "the records could be read after all".clone_into(&mut case.reason);
        }
        let facts = result.and_then(|value| {
            serde_json::from_value::<Facts>(value).map_err(|error| error.to_string())
        });
        let facts = match facts {
            Ok(facts) => facts,
            // The anomalies themselves are evidence enough for an answer that
            // says what it could not look at.
            Err(error) => Facts {
                gaps: vec![format!("the records could not be read: {error}")],
                ..Facts::default()
            },
        };
        let mut effects: Vec<Effect> = facts
            .gaps
            .iter()
            .map(|gap| gap_line(case, at, gap))
            .collect();
        let candidates = rank::rank(case, &facts);
        case.facts = Some(facts);
        if self.model && !candidates.is_empty() {
            effects.extend(self.ask(case, at, candidates));
            return effects;
        }
        effects.extend(self.conclude(case, at, candidates, Found::by_rules()));
        effects
    }

    /// Asks the model, for which there is a limit as well.
    fn ask(&self, case: &mut Case, at: Moment, candidates: Vec<RootCauseCandidate>) -> [Effect; 2] {
        case.at_work = Some(Work::Advice);
        let mut request = advice::ask(case, &candidates);
        if let Effect::StartJob(job) = &mut request {
            job.lane = Some(format!("{}:advice", case.header.incident_id));
            if let Some(payload) = job.payload.as_object_mut() {
                payload.insert("gathering".to_owned(), json!(case.gatherings));
            }
        }
        case.candidates = candidates;
        let due_ms = at.wall_ms + self.config.deadline_ms;
        [request, deadline(case, due_ms, false)]
    }

    pub(super) fn on_advice(
        &self,
        case: &mut Case,
        at: Moment,
        job: &Job,
        result: Result<Value, String>,
    ) -> Vec<Effect> {
        let awaited = !case.resolved && is_present(case, job) && case.at_work == Some(Work::Advice);
        let ranked = if awaited {
            std::mem::take(&mut case.candidates)
        } else {
            case.candidates.clone()
        };
        let advice = advice::read(&case.header, &ranked, at, result);
        let mut effects = advice.effects;
        if !awaited {
            // What it cost counts; what it says comes too late.
            effects.retain(|effect| matches!(effect, Effect::RecordModelCall { .. }));
            return effects;
        }
        let found = Found {
            method: advice.method,
            rejected: advice.rejected,
            degradations: advice.degradations,
        };
        effects.extend(self.conclude(case, at, advice.candidates, found));
        effects
    }

    /// The slow work has not come back in time: the answer is what is known.
    pub(super) fn on_deadline(&self, case: &mut Case, at: Moment, payload: &Value) -> Vec<Effect> {
        let present = payload["gathering"].as_u64() == Some(u64::from(case.gatherings));
        let Some(work) = case.at_work.filter(|_| present) else {
            return Vec::new();
        };
        // The timer may have come due while this agent was down; its jobs are
        // taken up again at the same moment, and are given their time.
        if payload["last"] == json!(false) {
            return vec![deadline(case, at.wall_ms + self.config.grace_ms, true)];
        }
        let (candidates, words) = match work {
            Work::Records => {
                let words = format!(
                    "the records could not be read within {} s",
                    (self.config.records_ms + self.config.grace_ms) / 1_000
                );
                let mut facts = case.facts.take().unwrap_or_default();
                facts.gaps.push(words.clone());
                let candidates = rank::rank(case, &facts);
                case.facts = Some(facts);
                (candidates, words)
            }
            Work::Advice => {
                let words = format!(
                    "the model gave no answer within {} s",
                    (self.config.deadline_ms + self.config.grace_ms) / 1_000
                );
                (std::mem::take(&mut case.candidates), words)
            }
        };
        let mut effects = vec![gap_line(case, at, &words)];
        let mut found = Found::by_rules();
        if work == Work::Advice {
            found.degradations.push(words);
        }
        effects.extend(self.conclude(case, at, candidates, found));
        effects
    }

    /// Publishes the answer, or a revision where it differs from the last one.
    fn conclude(
        &self,
        case: &mut Case,
        at: Moment,
        candidates: Vec<RootCauseCandidate>,
        found: Found,
    ) -> Vec<Effect> {
        case.at_work = None;
        let verdict = self.verdict(&candidates);
        let changed = case.revision == 0
            || case.must_publish
            || revision::differs((case.verdict, &case.published), (verdict, &candidates));
        case.candidates = candidates;
        let mut effects = vec![
            Effect::CancelTimer {
                name: "conclude".to_owned(),
            },
            chain::observation(case, at),
        ];
        if changed {
            case.revision += 1;
            effects.extend(self.publish(case, at, verdict, found));
        } else {
            effects.push(Effect::audit(
                case.header.incident_id,
                "RCA_CONFIRMED",
                at.event_ms,
                format!("Looked again because {}: the answer stands.", case.reason),
                json!({"revision": case.revision, "wall_ms": at.wall_ms}),
            ));
        }
        if let Some(reason) = case.look_again.take() {
            case.reason = reason;
            effects.extend(self.gather(case, at));
        } else {
            effects.extend(ending::settle(case, at));
        }
        effects
    }

    /// Whether the candidates carry a cause.
    fn verdict(&self, candidates: &[RootCauseCandidate]) -> Verdict {
        match candidates.first() {
            Some(top) if top.confidence >= self.config.conclusive => Verdict::Conclusive,
            _ => Verdict::Inconclusive,
        }
    }

    fn publish(&self, case: &mut Case, at: Moment, verdict: Verdict, found: Found) -> Vec<Effect> {
        let id = case.header.incident_id;
        let first = case.revision == 1;
        let rca = answer(case, at, verdict, found);
        let (top_root_cause, confidence) = (rca.top_root_cause.clone(), rca.top_confidence);
        // After a reopening the status takes the same way again.
        let moves = first || std::mem::take(&mut case.must_publish);
        case.published.clone_from(&case.candidates);
        case.verdict = Some(verdict);
        case.answer.clone_from(&top_root_cause);
        let mut effects = Vec::new();
        if moves {
            effects.push(Effect::Project(Projection::Move {
                incident_id: id,
                to: IncidentState::RcaComplete,
            }));
        }
        effects.push(Effect::Project(Projection::Cause {
            incident_id: id,
            candidates: json!(case.candidates),
            top_root_cause: top_root_cause.clone(),
            confidence,
        }));
        let because = if first {
            &case.reason
        } else {
            &rca.revision_reason
        };
        effects.push(Effect::audit(
            id,
            if first { "RCA_COMPLETE" } else { "RCA_REVISED" },
            at.event_ms,
            format!("{:.0} % confidence: {top_root_cause}", confidence * 100.0),
            json!({"revision": case.revision, "method": rca.method, "verdict": verdict,
                   "wall_ms": at.wall_ms, "reason": because, "top_changed": rca.top_changed,
                   "rejected_claims": rca.rejected_claims, "degradations": rca.degradations,
                   "top_service": case.candidates.first().map(|top| &top.service)}),
        ));
        effects.push(chain::hypotheses(case, at, verdict, &rca.method));
        effects.push(Effect::Publish(Event::Rca(Box::new(rca))));
        effects
    }
}

fn answer(case: &Case, at: Moment, verdict: Verdict, found: Found) -> RcaCompleted {
    let top = case.candidates.first();
    let top_root_cause = match (verdict, top) {
        (Verdict::Conclusive, Some(top)) => top.hypothesis.clone(),
        (_, Some(top)) => format!("inconclusive; most likely {}", top.hypothesis),
        (_, None) => "inconclusive: no service of the incident shows a cause".to_owned(),
    };
    let revised = case.revision > 1;
    let mut degradations = case.facts.as_ref().map_or_else(Vec::new, Facts::missed);
    degradations.extend(found.degradations);
    let id = case.header.incident_id;
    let (metric, observed_value, baseline_value) = reading(case, top);
    RcaCompleted {
        header: case.header.clone(),
        rca_id: ids::derive(&["rca", &id.to_string(), &case.revision.to_string()]),
        completed_at_ms: at.event_ms,
        root_cause_candidates: case.candidates.clone(),
        top_root_cause,
        top_confidence: top.map_or(0.0, |candidate| candidate.confidence),
        verdict,
        revision: case.revision,
        revision_reason: if revised {
            revision::reason(&case.reason, &case.published, &case.candidates)
        } else {
            String::new()
        },
        method: found.method,
        top_changed: revised && revision::top_changed(&case.published, &case.candidates),
        rejected_claims: found.rejected,
        degradations,
        trigger_metric: metric.to_owned(),
        observed_value,
        baseline_value,
        deployment_context: case.deployment.clone(),
    }
}

/// What tells whether an action helps: the reading that triggered. A log line or a Kubernetes event
/// measures nothing; where one did, that of the first candidate's own trouble.
fn reading<'a>(case: &'a Case, top: Option<&RootCauseCandidate>) -> (&'a str, f64, f64) {
    let trigger = &case.trigger;
    let is_word = !has_readings(&trigger.metric);
    let own = top
        .filter(|top| is_word && top.service == case.header.primary_service())
        .and_then(|top| worst(case, &top.service, &top.cause));
    match own {
        Some(own) => (&own.trigger_metric, own.observed_value, own.baseline_value),
        None => (
            &trigger.metric,
            trigger.observed_value,
            trigger.baseline_value,
        ),
    }
}

fn gap_line(case: &Case, at: Moment, gap: &str) -> Effect {
    let id = case.header.incident_id;
    Effect::audit(id, "EVIDENCE_GAP", at.event_ms, gap, json!({}))
}

fn deadline(case: &Case, due_ms: i64, last: bool) -> Effect {
    let waiting_for = match case.at_work {
        Some(Work::Advice) => "the model's advice",
        _ => "the records",
    };
    Effect::SetTimer {
        name: "conclude".to_owned(),
        due_ms,
        payload: json!({"gathering": case.gatherings, "last": last, "waiting_for": waiting_for}),
    }
}
