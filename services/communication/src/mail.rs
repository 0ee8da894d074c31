//! A mail on its way: who gets it, once, and what its delivery carries. Pure.

use crate::decide::{Core, DELIVER, DELIVERY_TRIES, State};
use crate::links::{self, Unsigned};
use crate::receipts::ended;
use crate::render::View;
use crate::routing::Recipients;
use midwatch_events::{IncidentHeader, ids};
use midwatch_runtime::agent::Moment;
use midwatch_runtime::effect::{Effect, JobRequest, Notification};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Tries of a mail to one recipient alone. The runtime waits two seconds longer
/// after each, 84 at last, half an hour together: greylisting servers take a
/// mail after minutes (RFC 6647), and nobody else waits in that lane.
pub const APART_TRIES: i32 = 42;

/// A mail on its way: what the delivery job carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mail {
    pub notification: Notification,
    pub short_id: String,
    /// Message-IDs, oldest first, without angle brackets.
    pub references: Vec<String>,
    /// A PNG of the trigger's course in base64, shown as `cid:chart`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    /// Its one-time link, signed where it is handed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Unsigned>,
    /// The incidents that it tells of, where that is not the notification's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub about: Vec<About>,
    /// The one recipient whom it is still to be brought to: the others have
    /// it, or have a delivery of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
    /// Tries for that recipient before.
    #[serde(default)]
    pub tried: i32,
    /// It had failed, and a person asked for it anew.
    #[serde(default, skip_serializing_if = "is_false")]
    pub again: bool,
}

/// An incident that a digest tells of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum About {
    Incident {
        incident_id: Uuid,
        /// Event time of the latest that it tells.
        at_ms: i64,
    },
    /// Without a time, as older builds wrote it.
    Undated(Uuid),
}

impl About {
    /// The incident; `at_ms` (event time) 0 where it is not known.
    #[must_use]
    pub fn new(incident_id: Uuid, at_ms: i64) -> About {
        match at_ms {
            0 => About::Undated(incident_id),
            _ => About::Incident { incident_id, at_ms },
        }
    }

    /// The incident, and the event time, where that is known.
    #[must_use]
    pub fn place(&self) -> (Uuid, Option<i64>) {
        match self {
            About::Incident { incident_id, at_ms } => (*incident_id, Some(*at_ms)),
            About::Undated(incident_id) => (*incident_id, None),
        }
    }
}

/// Whether a flag is not set, and need not be written.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
pub(crate) fn is_false(flag: &bool) -> bool {
    !*flag
}

/// What the delivery job returns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// What the server answered; empty where nobody was reached.
    pub reply: String,
    /// Recipients whom it will not reach.
    #[serde(default)]
    pub refused: Vec<Refusal>,
    /// Recipients for whom the server asks to come back.
    #[serde(default)]
    pub postponed: Vec<Refusal>,
    /// Recipients who were not tried: an earlier mail to them still waits.
    #[serde(default)]
    pub behind: Vec<String>,
}

/// A recipient for whom the server did not take the mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub recipient: String,
    /// What the server said.
    pub reason: String,
}

impl Mail {
    /// Whom this delivery is for.
    #[must_use]
    pub fn addressed(&self) -> Vec<String> {
        match &self.only {
            Some(one) => vec![one.clone()],
            None => [
                self.notification.to.as_slice(),
                self.notification.cc.as_slice(),
            ]
            .concat(),
        }
    }

    /// The lane of a recipient who gets the mails of an incident apart from the
    /// others.
    #[must_use]
    pub fn lane(&self, recipient: &str) -> String {
        let incident = self.notification.incident_id;
        format!("{incident}/mail/{}", recipient.to_lowercase())
    }

    /// The delivery to one recipient alone, after `tried` tries.
    ///
    /// # Errors
    /// The mail is no JSON.
    pub fn apart(&self, recipient: &str, tried: i32) -> Result<Effect, serde_json::Error> {
        let mail = Mail {
            only: Some(recipient.to_owned()),
            tried,
            ..self.clone()
        };
        let id = &self.notification.message_id;
        let name = format!("{DELIVER}:{id}:{recipient}");
        Ok(Effect::StartJob(JobRequest {
            lane: Some(self.lane(recipient)),
            max_attempts: APART_TRIES,
            // As long as the runtime waits after as many tries.
            delay_ms: i64::from(tried) * 2_000,
            ..JobRequest::new(name, DELIVER, serde_json::to_value(mail)?)
        }))
    }

    /// The delivery to one recipient for whom it had failed, as the command of
    /// this id asks.
    ///
    /// # Errors
    /// The mail is no JSON.
    pub fn again(&self, recipient: &str, command: Uuid) -> Result<Effect, serde_json::Error> {
        let mail = Mail {
            only: Some(recipient.to_owned()),
            tried: 0,
            again: true,
            ..self.clone()
        };
        let id = &self.notification.message_id;
        let name = format!("{DELIVER}:{id}:{recipient}:{command}");
        Ok(Effect::StartJob(JobRequest {
            lane: Some(self.lane(recipient)),
            max_attempts: APART_TRIES,
            ..JobRequest::new(name, DELIVER, serde_json::to_value(mail)?)
        }))
    }

    /// The mail's row and its delivery.
    pub(crate) fn effects(&self, row: Notification, at: Moment) -> Vec<Effect> {
        let mut effects = vec![Effect::Notify(row)];
        match serde_json::to_value(self) {
            Ok(payload) => {
                let name = format!("{DELIVER}:{}", self.notification.message_id);
                effects.push(Effect::StartJob(JobRequest {
                    max_attempts: DELIVERY_TRIES,
                    ..JobRequest::new(name, DELIVER, payload)
                }));
            }
            Err(error) => {
                let note = &self.notification;
                effects.extend(ended(note, &self.about, at, false, 0, &error.to_string()));
            }
        }
        effects
    }
}

impl Core {
    /// Sends the mail under `key` to those of `recipients` who have not got
    /// that one, or leaves it to their next digest.
    pub(crate) fn tell_as(
        &self,
        state: &mut State,
        at: Moment,
        view: &View,
        header: &IncidentHeader,
        key: String,
        recipients: Recipients,
    ) -> Vec<Effect> {
        state.quiet.stand(view, &key, state.round);
        if self.mails_rest(state, header) {
            return self.note_mails(state, at, header, key, &recipients);
        }
        self.mail_to(state, at, view, header, key, recipients)
    }

    /// Sends the mail at once.
    pub(crate) fn mail_to(
        &self,
        state: &mut State,
        at: Moment,
        view: &View,
        header: &IncidentHeader,
        key: String,
        recipients: Recipients,
    ) -> Vec<Effect> {
        let told = state.told.entry(key.clone()).or_default();
        let recipients = recipients.without(told);
        if recipients.to.is_empty() {
            return Vec::new();
        }
        told.extend(recipients.all());
        let each = self.each(state, at, view, (header, &key), recipients);
        let mut effects = Vec::new();
        let mut begun = Vec::new();
        for (recipients, view) in each {
            let mail = self.mail(state, &view, header, key.clone(), recipients);
            // Mails of one message answer none of each other.
            if matches!(view, View::Opened(_)) {
                begun.push(mail.notification.message_id.clone());
            }
            let mut row = mail.notification.clone();
            if let Some(shown) = links::for_all(&view) {
                let rendered = self.templates.render(&shown, header);
                (row.body_html, row.body_text) = (rendered.html, rendered.text);
            }
            effects.extend(mail.effects(row, at));
        }
        state.thread.extend(begun);
        effects
    }

    fn mail(
        &self,
        state: &State,
        view: &View,
        header: &IncidentHeader,
        key: String,
        recipients: Recipients,
    ) -> Mail {
        let rendered = self.templates.render(view, header);
        Mail {
            short_id: header.short_id.clone(),
            references: state.thread.clone(),
            picture: match view {
                View::Opened(_) => state.picture.clone(),
                _ => None,
            },
            link: Unsigned::of(view).cloned(),
            about: Vec::new(),
            only: None,
            tried: 0,
            again: false,
            notification: Notification {
                incident_id: header.incident_id,
                message_id: ids::message_id(header.incident_id, &key, &recipients.all()),
                stage: key,
                channel: "mail".to_owned(),
                to: recipients.to,
                cc: recipients.cc,
                in_reply_to: state.thread.first().cloned(),
                subject: rendered.subject,
                body_html: rendered.html,
                body_text: rendered.text,
            },
        }
    }
}
