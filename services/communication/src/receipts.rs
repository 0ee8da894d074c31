//! How a delivery ended: what is recorded of it, and who is tried again alone.

use crate::channels::{POST, Post};
use crate::mail::{About, Mail, Receipt, Refusal};
use midwatch_runtime::agent::{Job, Moment};
use midwatch_runtime::effect::{Delivered, Effect, Notification};
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
    let attempts = mail.tried + job.attempt;
    match result {
        Ok(value) => {
            let receipt = serde_json::from_value(value).unwrap_or_else(|_| Receipt {
                reply: "accepted".to_owned(),
                ..Receipt::default()
            });
            let mut effects = reached(&mail, at, attempts, &receipt);
            effects.extend(apart(&mail, at, attempts, &receipt));
            effects
        }
        Err(error) => {
            let people = mail.only.iter().cloned().collect();
            let note = only(&mail, &mail.addressed());
            of(
                people,
                ended(&note, &mail.about, at, false, attempts, &error),
            )
        }
    }
}

/// The notification with these of its recipients.
fn only(mail: &Mail, people: &[String]) -> Notification {
    let mut note = mail.notification.clone();
    note.to.retain(|one| people.contains(one));
    note.cc.retain(|one| people.contains(one));
    note
}

/// Says for whom a delivery ended; empty for all.
fn of(people: Vec<String>, mut effects: Vec<Effect>) -> Vec<Effect> {
    if let Some(Effect::NotificationDone(end)) = effects.first_mut() {
        end.recipients = people;
    }
    effects
}

/// Whoever waits gets a delivery of their own, in a lane of their own.
fn apart(mail: &Mail, at: Moment, attempts: i32, receipt: &Receipt) -> Vec<Effect> {
    let asked = receipt.postponed.iter();
    let asked = asked.map(|refusal| (&refusal.recipient, attempts));
    let waiting = asked.chain(receipt.behind.iter().map(|one| (one, 0)));
    waiting
        .flat_map(|(recipient, tried)| match mail.apart(recipient, tried) {
            Ok(job) => vec![job],
            Err(error) => {
                let one = vec![recipient.clone()];
                let note = only(mail, &one);
                let words = error.to_string();
                of(one, ended(&note, &mail.about, at, false, tried, &words))
            }
        })
        .collect()
}

/// Some got the mail, some perhaps did not: rows and trail tell the two apart.
fn reached(mail: &Mail, at: Moment, attempts: i32, receipt: &Receipt) -> Vec<Effect> {
    let is_in = |list: &[Refusal], address: &String| {
        let mut list = list.iter();
        list.any(|refusal| refusal.recipient.eq_ignore_ascii_case(address))
    };
    let waits =
        |address: &String| is_in(&receipt.postponed, address) || receipt.behind.contains(address);
    let addressed = mail.addressed();
    let everybody = addressed.len();
    let settled = addressed.into_iter().filter(|one| !waits(one));
    let (lost, got): (Vec<String>, Vec<String>) =
        settled.partition(|one| is_in(&receipt.refused, one));
    let mut effects = Vec::new();
    if !got.is_empty() {
        let sent = ended(
            &only(mail, &got),
            &mail.about,
            at,
            true,
            attempts,
            &receipt.reply,
        );
        let all = got.len() == everybody && mail.only.is_none();
        let people = if all { Vec::new() } else { got.clone() };
        effects.extend(of(people, sent));
    }
    if !lost.is_empty() {
        let refused = refused(mail, at, attempts, receipt, !got.is_empty());
        effects.extend(of(lost, refused));
    }
    effects
}

/// What is recorded of a mail for those who were refused.
fn refused(
    mail: &Mail,
    at: Moment,
    attempts: i32,
    receipt: &Receipt,
    others_got_it: bool,
) -> Vec<Effect> {
    let note = &mail.notification;
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
    let reasons = reasons.join("; ");
    let others = if others_got_it {
        "got it"
    } else {
        "are tried again"
    };
    let summary = format!(
        "Mail to {} was refused, others {others} ({reasons}): {}",
        people.join(", "),
        note.subject
    );
    let payload = json!({
        "stage": note.stage,
        "channel": note.channel,
        "message_id": note.message_id,
        "refused": receipt.refused,
        "subject": note.subject,
        "attempts": attempts,
    });
    let mut effects = vec![Effect::NotificationDone(Delivered {
        message_id: note.message_id.clone(),
        recipients: Vec::new(),
        sent: false,
        attempts,
        error: Some(format!("not delivered to {reasons}")),
    })];
    effects.extend(lines(
        note,
        &mail.about,
        at,
        "NOTIFICATION_FAILED",
        &summary,
        &payload,
    ));
    effects
}

/// A line in the trail of each incident that the message is about.
pub(crate) fn lines(
    note: &Notification,
    about: &[About],
    at: Moment,
    event_type: &str,
    summary: &str,
    payload: &Value,
) -> Vec<Effect> {
    let own = [About::Undated(note.incident_id)];
    let about = if about.is_empty() { &own } else { about };
    // A digest has no event time of its own: wall clock would stand in for it.
    let line = |one: &About| {
        let (id, at_ms) = one.place();
        let at_ms = at_ms.unwrap_or(at.event_ms);
        Effect::audit(id, event_type, at_ms, summary, payload.clone())
    };
    about.iter().map(line).collect()
}

/// What is recorded of a message that was sent, or never will be. `about`:
/// the incidents of a digest.
pub(crate) fn ended(
    note: &Notification,
    about: &[About],
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
    let mut effects = vec![Effect::NotificationDone(Delivered {
        message_id: note.message_id.clone(),
        recipients: Vec::new(),
        sent,
        attempts,
        error: (!sent).then(|| words.to_owned()),
    })];
    effects.extend(lines(note, about, at, event_type, &summary, &payload));
    effects
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
            ended(note, &post.about, at, true, job.attempt, words)
        }
        Err(error) => ended(note, &post.about, at, false, job.attempt, &error),
    }
}
