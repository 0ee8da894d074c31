//! What finally failed is sent again, where an operator asks for it. Pure.
//!
//! The command names a message. A first job looks up who has not got it and
//! what its delivery carried ([`RECALL`]); then it goes out anew, to those and
//! to nobody else, under the Message-ID and the mark that it had, so that who
//! has it after all knows it again.

use crate::channels::{POST, Post, Signal};
use crate::decide::{Core, DELIVER, State};
use crate::mail::{About, Mail};
use crate::posts::POST_TRIES;
use crate::receipts::lines;
use midwatch_clients::postgres::Unreached;
use midwatch_clients::postgres::jobs::DeliveryRow;
use midwatch_events::OperatorCommand;
use midwatch_runtime::agent::{Job, Moment};
use midwatch_runtime::effect::{Delivered, Effect, JobRequest, Notification};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The job that looks up what became of a message.
pub const RECALL: &str = "recall";
/// The command.
pub const RESEND: &str = "resend";

/// Messages that are on their way again: to whom, by their Message-ID. Nobody
/// where it is not known yet.
pub type UnderWay = BTreeMap<String, BTreeSet<String>>;

/// Who asked, and for what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Of the command; tells deliveries of one message apart.
    pub id: Uuid,
    pub command: OperatorCommand,
}

/// What was found of a message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Who has not got it and never would.
    pub unreached: Vec<Unreached>,
    /// Its delivery goes on.
    pub is_tried: bool,
    /// The kind of its delivery, [`DELIVER`] or [`POST`]; empty where it is no
    /// longer kept.
    pub kind: String,
    /// What the delivery carried.
    pub payload: Value,
}

impl Found {
    /// What rows and jobs say.
    #[must_use]
    pub fn read(unreached: Vec<Unreached>, jobs: Vec<DeliveryRow>) -> Found {
        let is_tried = jobs.iter().any(|job| !job.is_over);
        let (kind, payload) = jobs
            .into_iter()
            .next()
            .map_or_else(Default::default, |first| (first.kind, first.payload));
        Found {
            unreached,
            is_tried,
            kind,
            payload,
        }
    }
}

impl Core {
    /// An operator wants a message to be sent again.
    pub(crate) fn resend(
        &self,
        state: &mut State,
        at: Moment,
        id: Uuid,
        command: &OperatorCommand,
    ) -> Vec<Effect> {
        if at.wall_ms > command.expires_at_ms {
            let late = (at.wall_ms - command.expires_at_ms) / 1_000;
            let why = format!("it came {late} s after it had expired; ask again");
            return vec![refused(command, at, &why)];
        }
        let message_id = &command.target;
        if state.again.contains_key(message_id) {
            return vec![refused(command, at, "it is being sent again already")];
        }
        let asked = Asked {
            id,
            command: command.clone(),
        };
        match serde_json::to_value(&asked) {
            Ok(payload) => {
                state.again.insert(message_id.clone(), BTreeSet::new());
                vec![Effect::StartJob(JobRequest {
                    lane: Some(format!("{}/{RECALL}", command.incident_id)),
                    ..JobRequest::new(format!("{RECALL}:{id}"), RECALL, payload)
                })]
            }
            Err(error) => vec![refused(command, at, &error.to_string())],
        }
    }

    /// What became of the message is known.
    pub(crate) fn recalled(
        &self,
        state: &mut State,
        at: Moment,
        job: &Job,
        result: Result<Value, String>,
    ) -> Vec<Effect> {
        // Jobs are this agent's own.
        let Ok(asked) = serde_json::from_value::<Asked>(job.payload.clone()) else {
            return Vec::new();
        };
        let message_id = asked.command.target.clone();
        let found = result.and_then(|value| {
            serde_json::from_value::<Found>(value).map_err(|error| error.to_string())
        });
        let sent = found.and_then(|found| self.anew(state, at, &asked, found));
        match sent {
            Ok((people, effects)) => {
                state.again.insert(message_id, people);
                effects
            }
            Err(why) => {
                state.again.remove(&message_id);
                vec![refused(&asked.command, at, &why)]
            }
        }
    }

    /// The deliveries, and to whom.
    fn anew(
        &self,
        state: &State,
        at: Moment,
        asked: &Asked,
        found: Found,
    ) -> Result<(BTreeSet<String>, Vec<Effect>), String> {
        if found.is_tried {
            return Err("it is still being tried".to_owned());
        }
        if found.unreached.is_empty() {
            return Err("nobody waits for it: it did not fail".to_owned());
        }
        let unread = |error: serde_json::Error| format!("its delivery cannot be read: {error}");
        let tries = found.unreached.iter().map(|one| one.attempts).max();
        let people: Vec<String> = found
            .unreached
            .into_iter()
            .map(|one| one.recipient)
            .collect();
        let (note, about, jobs) = match found.kind.as_str() {
            DELIVER => {
                let mail: Mail = serde_json::from_value(found.payload).map_err(unread)?;
                let jobs: Result<Vec<Effect>, _> =
                    people.iter().map(|one| mail.again(one, asked.id)).collect();
                (mail.notification, mail.about, jobs.map_err(unread)?)
            }
            POST => {
                let post: Post = serde_json::from_value(found.payload).map_err(unread)?;
                let job = self.post_again(state, &post, asked.id)?;
                (post.notification, post.about, vec![job])
            }
            _ => return Err("what it said is no longer kept (90 days)".to_owned()),
        };
        let mut effects = vec![Effect::NotificationDone(Delivered {
            message_id: note.message_id.clone(),
            recipients: people.clone(),
            sent: false,
            attempts: tries.unwrap_or_default(),
            error: Some(format!("being sent again, as {} asked", asked.command.by)),
        })];
        effects.extend(said(&asked.command, at, &note, &about, &people));
        effects.extend(jobs);
        Ok((people.into_iter().collect(), effects))
    }

    /// A message on a channel. Its board is that of now: an old one would take
    /// the place of what people see.
    fn post_again(&self, state: &State, post: &Post, id: Uuid) -> Result<Effect, String> {
        let Some(channel) = self.book.channel(&post.channel) else {
            return Err(format!(
                "channel {:?} is not in NOTIFY_FILE any more",
                post.channel
            ));
        };
        if channel.kind.is_pager() {
            fits(state, post.signal)?;
        }
        let mut post = Post {
            again: true,
            alert: state.alert,
            ..post.clone()
        };
        if !state.board.short_id.is_empty() {
            post.board = state.board.clone();
        }
        let note = &post.notification;
        let name = format!("{POST}:{}:{id}", note.message_id);
        let lane = format!("{}/{}", note.incident_id, post.channel);
        let payload = serde_json::to_value(&post).map_err(|error| error.to_string())?;
        Ok(Effect::StartJob(JobRequest {
            lane: Some(lane),
            max_attempts: POST_TRIES,
            ..JobRequest::new(name, POST, payload)
        }))
    }
}

/// Whether what a pager would be told is still so: one alert stands for the
/// whole incident, through all of its reopenings.
fn fits(state: &State, signal: Signal) -> Result<(), String> {
    let why = match signal {
        Signal::Resolve if !state.over => "the incident is open: it would close its alert",
        Signal::Trigger | Signal::Update | Signal::Acknowledge if state.over => {
            "the incident is over: it would page somebody for nothing"
        }
        Signal::Acknowledge if !state.acknowledged && state.snooze.is_none() => {
            "nobody has the incident now: it would silence its alert"
        }
        _ => return Ok(()),
    };
    Err(why.to_owned())
}

/// A delivery ended: whoever was to get the message again is not under way any
/// more.
pub(crate) fn settle(state: &mut State, job: &Job) {
    let payload = &job.payload;
    if payload["again"] != Value::Bool(true) {
        return;
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let message_id = text(&payload["notification"]["message_id"]);
    let recipient = match &payload["only"] {
        Value::String(one) => one.clone(),
        _ => text(&payload["notification"]["to"][0]),
    };
    let left = state.again.get_mut(&message_id).map(|people| {
        people.remove(&recipient);
        people.len()
    });
    if left == Some(0) {
        state.again.remove(&message_id);
    }
}

/// The lines of the trail.
fn said(
    command: &OperatorCommand,
    at: Moment,
    note: &Notification,
    about: &[About],
    people: &[String],
) -> Vec<Effect> {
    let what = match note.channel.as_str() {
        "mail" => format!("the mail to {}", people.join(", ")),
        channel => format!("the message on {channel}"),
    };
    let mut words = format!("{} had {what} sent again: {}", command.by, note.subject);
    if !command.reason.is_empty() {
        words.push_str(&format!(" ({})", command.reason));
    }
    let payload = json!({
        "message_id": note.message_id,
        "stage": note.stage,
        "channel": note.channel,
        "recipients": people,
        "by": command.by,
        "credential_id": command.credential_id,
        "reason": command.reason,
        "wall_ms": at.wall_ms,
    });
    lines(note, about, at, "NOTIFICATION_RESENT", &words, &payload)
}

fn refused(command: &OperatorCommand, at: Moment, why: &str) -> Effect {
    Effect::audit(
        command.incident_id,
        "COMMAND_REFUSED",
        at.event_ms,
        format!("{} asked to send a message again: {why}.", command.by),
        json!({
            "command": command.command,
            "by": command.by,
            "target": command.target,
            "credential_id": command.credential_id,
            "issued_at_ms": command.issued_at_ms,
            "expires_at_ms": command.expires_at_ms,
            "refused_because": why,
            "wall_ms": at.wall_ms,
        }),
    )
}
