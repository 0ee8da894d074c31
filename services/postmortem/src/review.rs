//! Draft, reviewed, published: what people decide about a text, and what
//! Midwatch learns from it then.

use crate::decide::{Draft, State};
use crate::lesson::Lesson;
use midwatch_events::OperatorCommand;
use midwatch_runtime::agent::{Job, Moment};
use midwatch_runtime::effect::{Effect, JobRequest, Projection};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

/// The job that puts a reviewed incident into the knowledge store.
pub const LEARN: &str = "learn";
/// Tries of that job: with the runtime's backoff it outlasts a store that is
/// away for some minutes.
const TRIES: i32 = 10;

/// The newest text of an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Written {
    pub version: u32,
    /// `draft`, `reviewed`, `published`.
    pub status: String,
    pub lesson: Lesson,
}

impl Written {
    pub(crate) fn draft(version: u32, lesson: Lesson) -> Written {
        Written {
            version,
            status: "draft".to_owned(),
            lesson,
        }
    }
}

/// Whether a command is for this agent.
pub(crate) fn concerns(command: &OperatorCommand) -> bool {
    matches!(command.command.as_str(), "review" | "publish")
}

/// Obeys or refuses.
pub(crate) fn command(state: &mut State, at: Moment, command: &OperatorCommand) -> Vec<Effect> {
    if !concerns(command) {
        return Vec::new();
    }
    let (from, to, event) = if command.command == "review" {
        ("draft", "reviewed", "POSTMORTEM_REVIEWED")
    } else {
        ("reviewed", "published", "POSTMORTEM_PUBLISHED")
    };
    if at.wall_ms > command.expires_at_ms {
        return vec![refuse(
            command,
            at,
            "the command came after its time was up",
        )];
    }
    let newest = state.version;
    let Some(written) = &mut state.written else {
        return vec![refuse(command, at, "no postmortem is written yet")];
    };
    if let Some(why) = why_not(written, command, (newest, from)) {
        return vec![refuse(command, at, &why)];
    }
    to.clone_into(&mut written.status);
    let mut effects = vec![
        Effect::Project(Projection::Review {
            incident_id: command.incident_id,
            version: written.version,
            status: to,
            by: command.by.clone(),
            wall_ms: command.issued_at_ms,
        }),
        Effect::audit(
            command.incident_id,
            event,
            at.event_ms,
            format!(
                "{} {to} version {} of the postmortem",
                command.by, written.version
            ),
            json!({"version": written.version, "status": to, "by": command.by,
                "credential_id": command.credential_id, "reason": command.reason,
                "issued_at_ms": command.issued_at_ms, "channel": command.details.channel,
                "wall_ms": at.wall_ms}),
        ),
    ];
    if to == "reviewed" {
        let (lesson, version) = (written.lesson.clone(), written.version);
        effects.push(learn(command.incident_id, &version.to_string(), &lesson));
        state.reviewed = Some(Box::new(lesson));
    }
    effects
}

/// Why a text cannot be moved on from a status: there is a newer one, or soon
/// will be. Whoever stands by a text stands by the one that they read.
fn why_not(
    written: &Written,
    command: &OperatorCommand,
    (newest, from): (u32, &str),
) -> Option<String> {
    let read = command.target.as_str();
    let (version, status) = (written.version, &written.status);
    if version != newest {
        Some("a new version is being written; look at it first".to_owned())
    } else if !read.is_empty() && read != version.to_string() {
        Some(format!(
            "version {read} was read, and version {version} is the newest; look at it first"
        ))
    } else if status != from {
        Some(format!("version {version} is {status}, not {from}"))
    } else {
        None
    }
}

/// What was measured is nobody's to review: the knowledge store hears at once
/// what became of the steps of an incident that it was given already. The words
/// that people reviewed stay.
pub(crate) fn follow(state: &mut State, draft: &Draft, lesson: &Lesson) -> Option<Effect> {
    let reviewed = state.reviewed.as_mut().filter(|_| draft.facts.late)?;
    reviewed.tried.clone_from(&lesson.tried);
    reviewed.resolution.clone_from(&lesson.resolution);
    reviewed
        .effective_actions
        .clone_from(&lesson.effective_actions);
    let incident_id = draft.facts.resolved.header.incident_id;
    let name = format!("{}:measured", draft.version);
    Some(learn(incident_id, &name, reviewed))
}

/// A lane of its own: a store that is away must not hold back the next text.
fn learn(incident_id: Uuid, name: &str, lesson: &Lesson) -> Effect {
    Effect::StartJob(JobRequest {
        max_attempts: TRIES,
        lane: Some(format!("{LEARN} {incident_id}")),
        ..JobRequest::new(format!("{LEARN}:{name}"), LEARN, json!(lesson))
    })
}

/// The knowledge store took the incident, or did not.
pub(crate) fn learnt(at: Moment, job: &Job, result: Result<Value, String>) -> Vec<Effect> {
    let (Ok(incident_id), Ok(lesson)) = (
        job.scope.parse(),
        serde_json::from_value::<Lesson>(job.payload.clone()),
    ) else {
        return Vec::new();
    };
    let told = |event: &str, words: String, payload: Value| {
        vec![Effect::audit(
            incident_id,
            event,
            at.event_ms,
            words,
            payload,
        )]
    };
    match result {
        Ok(_) => told(
            "INCIDENT_LEARNT",
            format!(
                "{} is in the knowledge store: later incidents can cite it",
                lesson.incident_id
            ),
            json!({"effective_actions": lesson.effective_actions, "cause": lesson.cause}),
        ),
        Err(error) => told(
            "INCIDENT_NOT_LEARNT",
            format!(
                "{} did not get into the knowledge store: {error}",
                lesson.incident_id
            ),
            json!({ "error": error }),
        ),
    }
}

fn refuse(command: &OperatorCommand, at: Moment, why: &str) -> Effect {
    Effect::audit(
        command.incident_id,
        "COMMAND_REFUSED",
        at.event_ms,
        format!("{} asked to {}: {why}.", command.by, command.command),
        json!({"command": command.command, "by": command.by, "reason": command.reason,
            "credential_id": command.credential_id, "issued_at_ms": command.issued_at_ms,
            "expires_at_ms": command.expires_at_ms, "refused_because": why,
            "wall_ms": at.wall_ms}),
    )
}
