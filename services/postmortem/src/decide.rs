//! When a postmortem is written, and what goes out. Pure: no clock, network or
//! log.

use crate::config::SETTLE_MS;
use crate::document::{self, Document, LeftOut};
use crate::facts::{Deed, Facts};
use crate::forms;
use crate::lesson::{self, Lesson};
use crate::polish;
use crate::records::Records;
use crate::review::{self, LEARN, Written};
use crate::statement::Statement;
use midwatch_clients::llm::LlmCall;
use midwatch_events::knowledge::Catalogue;
use midwatch_events::{Event, IncidentResolved, PostmortemGenerated};
use midwatch_runtime::agent::{Input, Job, Moment};
use midwatch_runtime::effect::{Effect, JobRequest, Projection};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The job that reads the trail.
pub const WRITE: &str = "write";
/// The job that asks the model for a better summary.
pub const POLISH: &str = "polish_postmortem";

/// What is remembered of an incident.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The version of the text: one for each end, and one for each time that
    /// what became of a step was told after the text was written.
    pub version: u32,
    /// Event time of the last end.
    pub resolved_at_ms: Option<i64>,
    /// The last end, for as long as the text about it is written anew; none
    /// where the incident was merged or opened again, and in what older
    /// versions remembered.
    #[serde(default)]
    pub resolved: Option<Box<IncidentResolved>>,
    /// What became of the plan's steps, oldest first.
    pub actions: Vec<Deed>,
    /// The newest text, and how far its review has come.
    #[serde(default)]
    pub written: Option<Written>,
    /// The lesson that people reviewed since the last end, as the knowledge
    /// store was given it.
    #[serde(default)]
    pub reviewed: Option<Box<Lesson>>,
}

/// Most actions that are remembered; a plan has eight steps of six phases.
const ACTIONS: usize = 200;
/// Tries to read the trail for a text that is written anew: with the runtime's
/// backoff they outlast stores that are away for some minutes. Without it the
/// text that stands would go on saying less than is known.
const LATE_TRIES: i32 = 10;

/// The payload of the writing job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    pub resolved: IncidentResolved,
    pub actions: Vec<Deed>,
    pub version: u32,
    /// What became of a step was told after the text was written.
    #[serde(default)]
    pub late: bool,
}

/// The payload of the polishing job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    pub facts: Facts,
    pub version: u32,
}

/// What the polishing job returns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    pub call: LlmCall,
    pub summary: Option<String>,
}

/// The deciding part of the agent.
#[derive(Clone, Debug, Default)]
pub struct Core {
    pub catalogue: Catalogue,
    /// Whether a model is configured.
    pub has_model: bool,
}

impl Core {
    /// Decides on an input.
    pub fn decide(&self, state: &mut State, at: Moment, input: Input) -> Vec<Effect> {
        match input {
            Input::Event { envelope, .. } | Input::Expired { envelope } => match envelope.event {
                Event::Resolved(resolved) => resolved_again(state, at, *resolved),
                Event::Command(command) => review::command(state, at, &command),
                Event::Action(action) => acted(
                    state,
                    Deed {
                        id: envelope.meta.event_id.to_string(),
                        action: *action,
                    },
                ),
                _ => Vec::new(),
            },
            Input::JobDone { job, result } if job.kind == WRITE => {
                self.read(state, at, &job, result)
            }
            Input::JobDone { job, result } if job.kind == POLISH => {
                self.polished(state, at, &job, result)
            }
            Input::JobDone { job, result } if job.kind == LEARN => review::learnt(at, &job, result),
            Input::JobDone { .. } | Input::Timer { .. } => Vec::new(),
        }
    }

    /// The trail was read, or could not be.
    fn read(
        &self,
        state: &mut State,
        at: Moment,
        job: &Job,
        result: Result<Value, String>,
    ) -> Vec<Effect> {
        let Ok(assignment) = serde_json::from_value::<Assignment>(job.payload.clone()) else {
            return Vec::new();
        };
        if assignment.version != state.version {
            return Vec::new();
        }
        let read = result.and_then(|value| {
            serde_json::from_value::<Option<Facts>>(value).map_err(|error| error.to_string())
        });
        if assignment.late && !matches!(read, Ok(Some(_))) {
            return stands(state, at, &assignment, read.err());
        }
        let gap = read.as_ref().err().cloned();
        let mut facts = read
            .ok()
            .flatten()
            .unwrap_or_else(|| Facts::bare(assignment.resolved, gap));
        facts.late = assignment.late;
        // More may have been told while the trail was read.
        facts.actions.clone_from(&state.actions);
        let draft = Draft {
            facts,
            version: assignment.version,
        };
        if self.has_model
            && let Ok(payload) = serde_json::to_value(&draft)
        {
            return vec![Effect::StartJob(JobRequest {
                // The client tries again by itself, within its time limit.
                max_attempts: 1,
                ..JobRequest::new(format!("{POLISH}:{}", draft.version), POLISH, payload)
            })];
        }
        self.publish(state, at, &draft, None)
    }

    /// The model answered, or could not.
    fn polished(
        &self,
        state: &mut State,
        at: Moment,
        job: &Job,
        result: Result<Value, String>,
    ) -> Vec<Effect> {
        let Ok(mut draft) = serde_json::from_value::<Draft>(job.payload.clone()) else {
            return Vec::new();
        };
        if draft.version == state.version {
            // More may have been told while the model was at work.
            draft.facts.actions.clone_from(&state.actions);
        }
        let incident_id = draft.facts.resolved.header.incident_id;
        let mut effects = Vec::new();
        let advice = result.and_then(|value| {
            serde_json::from_value::<Advice>(value).map_err(|error| error.to_string())
        });
        let summary = advice.and_then(|advice| {
            let error = advice.call.error.clone();
            effects.push(Effect::RecordModelCall {
                incident_id: Some(incident_id),
                call: Box::new(advice.call),
            });
            let summary = advice
                .summary
                .ok_or_else(|| error.unwrap_or_else(|| "the model gave no summary".to_owned()))?;
            let records = self.records(&draft);
            let own = document::write(&draft.facts, &records, draft.version);
            polish::check(&summary, &own, &records)
        });
        if draft.version != state.version {
            return effects;
        }
        if let Err(reason) = &summary {
            effects.push(Effect::audit(
                incident_id,
                "MODEL_ADVICE_REFUSED",
                at.event_ms,
                format!("The postmortem keeps its own summary: {reason}"),
                json!({ "purpose": POLISH, "reason": reason }),
            ));
        }
        effects.extend(self.publish(state, at, &draft, summary.ok()));
        effects
    }

    fn records(&self, draft: &Draft) -> Records {
        Records::collect(&draft.facts, &self.catalogue, draft.version)
    }

    /// Lints what was written and lets out what holds.
    fn publish(
        &self,
        state: &mut State,
        at: Moment,
        draft: &Draft,
        summary: Option<Statement>,
    ) -> Vec<Effect> {
        let records = self.records(draft);
        let mut document = document::write(&draft.facts, &records, draft.version);
        let method = match summary {
            Some(_) => "worded by a model",
            None => "deterministic",
        };
        if let Some(summary) = summary {
            document.reword(summary);
        }
        let left_out = document.lint(&records);
        let lesson = lesson::draw(&draft.facts, &document);
        let mut effects = told_left_out(draft, at, &left_out);
        effects.extend(published(draft, at, &document, &lesson, method));
        effects.extend(review::follow(state, draft, &lesson));
        state.written = Some(Written::draft(draft.version, lesson));
        effects
    }
}

/// What is left out is said aloud, once.
fn told_left_out(draft: &Draft, at: Moment, left_out: &[LeftOut]) -> Vec<Effect> {
    if left_out.is_empty() {
        return Vec::new();
    }
    vec![Effect::audit(
        draft.facts.resolved.header.incident_id,
        "POSTMORTEM_LINT",
        at.event_ms,
        format!(
            "{} statements of the postmortem did not hold against their records and were left out",
            left_out.len()
        ),
        json!({ "version": draft.version, "left_out": left_out.iter().take(50).collect::<Vec<_>>() }),
    )]
}

fn published(
    draft: &Draft,
    at: Moment,
    document: &Document,
    lesson: &Lesson,
    method: &str,
) -> Vec<Effect> {
    let resolved = &draft.facts.resolved;
    let incident_id = resolved.header.incident_id;
    let markdown = forms::markdown(document);
    let count = document.items.len();
    let words = match draft.version {
        1 => format!("Postmortem with {count} action items"),
        version => format!("Postmortem version {version} with {count} action items"),
    };
    let payload = json!({
        "version": draft.version,
        "status": "draft",
        "summary": document.summary(),
        "method": method,
        "statements": document.statements().count(),
        "action_items": document.items,
        "gap": draft.facts.gap,
    });
    vec![
        Effect::Project(Projection::Postmortem {
            incident_id,
            version: draft.version,
            markdown: markdown.clone(),
            statements: json!(document),
            lesson: json!(lesson),
        }),
        Effect::audit(
            incident_id,
            "POSTMORTEM_GENERATED",
            at.event_ms,
            words,
            payload,
        ),
        Effect::Publish(Event::Postmortem(Box::new(PostmortemGenerated {
            header: resolved.header.clone(),
            generated_at_ms: at.event_ms.max(resolved.resolved_at_ms),
            postmortem: markdown,
            summary: document.summary(),
            mttr_minutes: resolved.mttr_minutes,
            action_items: document.items.clone(),
            version: Some(draft.version),
            status: "draft".to_owned(),
        }))),
    ]
}

/// An incident is over; for the second time, where it was reopened.
fn resolved_again(state: &mut State, at: Moment, resolved: IncidentResolved) -> Vec<Effect> {
    if state.resolved_at_ms == Some(resolved.resolved_at_ms) {
        return Vec::new();
    }
    state.resolved_at_ms = Some(resolved.resolved_at_ms);
    state.version += 1;
    (state.resolved, state.reviewed) = (None, None);
    if resolved.resolution_method == "MERGED" {
        return vec![Effect::audit(
            resolved.header.incident_id,
            "POSTMORTEM_SKIPPED",
            at.event_ms,
            "The incident was merged into another one, whose postmortem tells both",
            json!({}),
        )];
    }
    state.resolved = Some(Box::new(resolved.clone()));
    let assignment = Assignment {
        resolved,
        actions: state.actions.clone(),
        version: state.version,
        late: false,
    };
    vec![Effect::StartJob(JobRequest {
        delay_ms: SETTLE_MS,
        ..JobRequest::new(
            format!("{WRITE}:{}", state.version),
            WRITE,
            json!(assignment),
        )
    })]
}

/// What became of a step. A text that is being written takes it along; one that
/// stands is written anew, as a draft.
fn acted(state: &mut State, deed: Deed) -> Vec<Effect> {
    let id = deed.id.clone();
    // The rest changes who decided, not what was done.
    let tells = matches!(
        deed.action.phase.as_str(),
        "outcome" | "verified" | "undone"
    );
    state.actions.push(deed);
    let surplus = state.actions.len().saturating_sub(ACTIONS);
    state.actions.drain(..surplus);
    let mut written = state.written.iter();
    let stands = written.any(|written| written.version == state.version);
    let Some(resolved) = state.resolved.clone().filter(|_| tells && stands) else {
        return Vec::new();
    };
    state.version += 1;
    let assignment = Assignment {
        resolved: *resolved,
        actions: state.actions.clone(),
        version: state.version,
        late: true,
    };
    vec![Effect::StartJob(JobRequest {
        delay_ms: SETTLE_MS,
        max_attempts: LATE_TRIES,
        // A version that comes to nothing is counted again.
        ..JobRequest::new(
            format!("{WRITE}:{}:{id}", state.version),
            WRITE,
            json!(assignment),
        )
    })]
}

/// The text stays as it is: the incident was opened again and its next end will
/// tell of the step, or the trail cannot be read.
fn stands(
    state: &mut State,
    at: Moment,
    assignment: &Assignment,
    error: Option<String>,
) -> Vec<Effect> {
    state.version -= 1;
    let Some(error) = error else {
        state.resolved = None;
        return Vec::new();
    };
    vec![Effect::audit(
        assignment.resolved.header.incident_id,
        "POSTMORTEM_SKIPPED",
        at.event_ms,
        format!("What was told of a step after the end is not in the postmortem: {error}"),
        json!({ "version": assignment.version, "error": error }),
    )]
}
