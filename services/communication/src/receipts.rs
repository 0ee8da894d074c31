//! How a delivery ended: what is recorded of it.

use crate::channels::{POST, Post};
use crate::decide::{Mail, Receipt};
use midwatch_runtime::agent::{Job, Moment};
use midwatch_runtime::effect::{Effect, Notification};
use serde_json::{Value, json};

/// A delivery ended, for good or for ill.
pub(crate) fn delivered(at: Moment, job: &Job, result: Result<Value, String>) -> Vec<Effect> {
    if job.kind == POST {
        return posted(at, job, result);
    }
    // Jobs are this agent's own; one that cannot be read has no mail to mark.
    let Ok(mail) = serde_json::from_value::<Mail>(job.payload.clone()) else {
        return Vec::new();
    };
    match result {
        Ok(value) => {
            let receipt = serde_json::from_value(value).unwrap_or_else(|_| Receipt {
                reply: "accepted".to_owned(),
                refused: Vec::new(),
            });
            if receipt.refused.is_empty() {
                ended(&mail.notification, at, true, job.attempt, &receipt.reply)
            } else {
                partly(&mail, at, job.attempt, &receipt)
            }
        }
        Err(error) => ended(&mail.notification, at, false, job.attempt, &error),
    }
}

/// Some got the mail, some did not: the row is SENT and says for whom it was
/// not, and the trail has a line for each of the two.
fn partly(mail: &Mail, at: Moment, attempts: i32, receipt: &Receipt) -> Vec<Effect> {
    let note = &mail.notification;
    let is_refused = |address: &String| {
        let mut refused = receipt.refused.iter();
        refused.any(|refusal| refusal.recipient.eq_ignore_ascii_case(address))
    };
    let mut reached = mail.clone();
    reached.notification.to.retain(|one| !is_refused(one));
    reached.notification.cc.retain(|one| !is_refused(one));
    let people: Vec<&str> = receipt
        .refused
        .iter()
        .map(|refusal| refusal.recipient.as_str())
        .collect();
    let reasons: Vec<String> = receipt
        .refused
        .iter()
        .map(|refusal| format!("{}: {}", refusal.recipient, refusal.reason))
        .collect();
    let words = format!("not delivered to {}", reasons.join("; "));
    let payload = json!({
        "stage": note.stage,
        "channel": note.channel,
        "message_id": note.message_id,
        "refused": receipt.refused,
        "subject": note.subject,
        "attempts": attempts,
    });
    let summary = format!(
        "Mail to {} was refused, others got it ({}): {}",
        people.join(", "),
        reasons.join("; "),
        note.subject
    );
    let mut effects = ended(&reached.notification, at, true, attempts, &receipt.reply);
    if let Some(Effect::NotificationDone { error, .. }) = effects.first_mut() {
        *error = Some(words);
    }
    effects.push(Effect::audit(
        note.incident_id,
        "NOTIFICATION_FAILED",
        at.event_ms,
        summary,
        payload,
    ));
    effects
}

pub(crate) fn ended(
    note: &Notification,
    at: Moment,
    sent: bool,
    attempts: i32,
    words: &str,
) -> Vec<Effect> {
    let people = [note.to.as_slice(), note.cc.as_slice()].concat().join(", ");
    let what = match note.channel.as_str() {
        "mail" => "Mail",
        channel => &format!("{channel} message"),
    };
    let (event_type, summary) = if sent {
        (
            "NOTIFICATION_SENT",
            format!("{what} to {people}: {}", note.subject),
        )
    } else {
        let summary = format!(
            "{what} to {people} could not be sent in {attempts} tries ({words}): {}",
            note.subject
        );
        ("NOTIFICATION_FAILED", summary)
    };
    let payload = json!({
        "stage": note.stage,
        "channel": note.channel,
        "message_id": note.message_id,
        "to": note.to,
        "cc": note.cc,
        "subject": note.subject,
        "attempts": attempts,
        "reply": words,
    });
    vec![
        Effect::NotificationDone {
            message_id: note.message_id.clone(),
            sent,
            attempts,
            error: (!sent).then(|| words.to_owned()),
        },
        Effect::audit(note.incident_id, event_type, at.event_ms, summary, payload),
    ]
}

/// A message on another channel arrived, or never will.
fn posted(at: Moment, job: &Job, result: Result<Value, String>) -> Vec<Effect> {
    let Ok(post) = serde_json::from_value::<Post>(job.payload.clone()) else {
        return Vec::new();
    };
    let note = &post.notification;
    match result {
        Ok(reply) => {
            let words = reply.as_str().unwrap_or("accepted");
            ended(note, at, true, job.attempt, words)
        }
        Err(error) => ended(note, at, false, job.attempt, &error),
    }
}
