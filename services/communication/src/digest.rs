//! The digest: one mail or message per recipient and interval that lists the
//! incidents of LOW severity of which something was to be told. Pure.
//!
//! A digest is a scope of its own, which incidents call
//! ([`crate::quiet`]). The first line sets a timer for the end of the interval
//! that it falls in; intervals begin at whole multiples of their length, so
//! that (recipient, end) names one digest, and its ids follow from that.

use crate::channels::{Board, Kind, POST, Post, Signal};
use crate::decide::{Core, State};
use crate::mail::{About, Mail};
use crate::posts::POST_TRIES;
use crate::view;
use midwatch_events::ids;
use midwatch_runtime::agent::Moment;
use midwatch_runtime::effect::{Audit, Effect, JobRequest, Notification};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Calls of incidents begin so.
pub(crate) const WORD: &str = "digest-word:";
/// The timer at the end of an interval.
pub(crate) const DUE: &str = "digest";
/// Incidents that a mail lists: more than anybody reads, and far below the
/// size at which mail programs cut.
pub const LISTED: usize = 40;
/// Incidents that a message on a channel lists; Slack takes 3 000 characters.
pub const POSTED: usize = 10;
/// Further incidents that are counted one by one.
const COUNTED: usize = 1_000;

/// Whose digest it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Audience {
    /// A mail address.
    Mail(String),
    /// A channel of the book.
    Channel(String),
}

impl Audience {
    /// The scope of the digest's state.
    #[must_use]
    pub fn scope(&self) -> String {
        match self {
            // No channel is called mail.
            Audience::Mail(address) => format!("digest/mail/{address}"),
            Audience::Channel(name) => format!("digest/{name}"),
        }
    }
}

/// How an incident stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    #[default]
    Open,
    Over {
        /// `18 min`.
        after: String,
    },
    Merged {
        words: String,
    },
}

/// A line of a digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub short_id: String,
    pub title: String,
    /// The first service, and how many more.
    pub service: String,
    pub environment: String,
    /// Event time.
    pub detected_ms: i64,
    /// Event time of the latest that was to be told; 0 where an older build
    /// noted it.
    #[serde(default)]
    pub at_ms: i64,
    pub standing: Standing,
    pub has_postmortem: bool,
    /// `DB connections 100 connections, normally 30 connections`.
    pub figure: Option<String>,
    pub link: String,
}

/// What an incident says to a digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    pub audience: Audience,
    /// Length of the interval.
    pub minutes: u32,
    pub incident_id: Uuid,
    /// Nothing where the digest is to forget the incident.
    pub entry: Option<Entry>,
}

/// What a digest remembers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Digest {
    pub audience: Option<Audience>,
    /// Wall clock at which the next one goes out; 0 where none is due.
    pub due_ms: i64,
    /// Wall clock of the end of the last one's interval.
    pub sent_ms: i64,
    /// The incidents that it lists.
    pub entries: BTreeMap<Uuid, Entry>,
    /// Incidents beyond those.
    pub others: BTreeSet<Uuid>,
}

impl Core {
    /// An incident says something to this digest.
    pub(crate) fn noted(&self, state: &mut State, at: Moment, payload: Value) -> Vec<Effect> {
        let word: Word = match serde_json::from_value(payload) {
            Ok(word) => word,
            Err(error) => {
                return vec![Effect::Audit(Audit {
                    incident_id: None,
                    event_type: "NOTIFICATION_FAILED".to_owned(),
                    at_ms: at.event_ms,
                    summary: format!("A line of a digest cannot be read: {error}"),
                    payload: Value::Null,
                })];
            }
        };
        let digest = &mut state.digest;
        digest.audience = Some(word.audience);
        let Some(entry) = word.entry else {
            digest.entries.remove(&word.incident_id);
            digest.others.remove(&word.incident_id);
            return Vec::new();
        };
        let is_listed = digest.entries.contains_key(&word.incident_id);
        if is_listed || digest.entries.len() < LISTED {
            digest.others.remove(&word.incident_id);
            digest.entries.insert(word.incident_id, entry);
        } else if digest.others.len() < COUNTED {
            digest.others.insert(word.incident_id);
        }
        let interval = i64::from(word.minutes.max(1)) * 60_000;
        let mut due_ms = (at.wall_ms.div_euclid(interval) + 1) * interval;
        // A clock that was set back must not name a digest that is out.
        while due_ms <= digest.sent_ms {
            due_ms += interval;
        }
        if digest.due_ms != 0 && digest.due_ms <= due_ms {
            return Vec::new();
        }
        digest.due_ms = due_ms;
        vec![Effect::SetTimer {
            name: DUE.to_owned(),
            due_ms,
            payload: Value::Null,
        }]
    }

    /// The interval is over.
    pub(crate) fn digest_due(&self, state: &mut State, at: Moment) -> Vec<Effect> {
        let digest = &mut state.digest;
        let due_ms = std::mem::take(&mut digest.due_ms);
        let entries = std::mem::take(&mut digest.entries);
        let others = std::mem::take(&mut digest.others);
        let Some(audience) = digest.audience.clone().filter(|_| due_ms > 0) else {
            return Vec::new();
        };
        digest.sent_ms = due_ms;
        if entries.is_empty() && others.is_empty() {
            return Vec::new();
        }
        let about: Vec<About> = entries
            .iter()
            .map(|(incident_id, entry)| About::new(*incident_id, entry.at_ms))
            .collect();
        let beyond = (others.len(), others.len() >= COUNTED);
        let entries: Vec<Entry> = entries.into_values().collect();
        match audience {
            Audience::Mail(address) => {
                let view = view::digest(entries, beyond, due_ms, LISTED, &self.around_digest());
                self.mail_digest(at, &view, address, due_ms, about)
            }
            Audience::Channel(name) => {
                let view = view::digest(entries, beyond, due_ms, POSTED, &self.around_digest());
                self.post_digest(&view, &name, due_ms, about)
            }
        }
    }

    fn around_digest(&self) -> view::Surroundings<'_> {
        view::Surroundings {
            dashboard_url: &self.dashboard_url,
            severity: midwatch_events::Severity::Low,
            notice: self.notice.as_deref(),
        }
    }

    fn mail_digest(
        &self,
        at: Moment,
        view: &view::DigestView,
        address: String,
        due_ms: i64,
        about: Vec<About>,
    ) -> Vec<Effect> {
        let rendered = self.templates.digest(view);
        let scope = Audience::Mail(address.clone()).scope();
        let mail = Mail {
            notification: Notification {
                to: vec![address],
                body_html: rendered.html,
                body_text: rendered.text,
                ..row(&scope, "mail", due_ms, rendered.subject)
            },
            short_id: "digest".to_owned(),
            references: Vec::new(),
            picture: None,
            link: None,
            about,
            only: None,
            tried: 0,
            again: false,
        };
        mail.effects(mail.notification.clone(), at)
    }

    fn post_digest(
        &self,
        view: &view::DigestView,
        name: &str,
        due_ms: i64,
        about: Vec<About>,
    ) -> Vec<Effect> {
        // Its route was taken out of the book meanwhile.
        let Some(channel) = self.book.channel(name) else {
            return Vec::new();
        };
        let scope = Audience::Channel(name.to_owned()).scope();
        let rendered = self.templates.digest(view);
        let mut notification = row(&scope, name, due_ms, rendered.subject.clone());
        notification.to = vec![channel.kind.recipient().to_owned()];
        notification.body_text.clone_from(&rendered.text);
        let post = Post {
            channel: name.to_owned(),
            board: Board {
                title: view.title.clone(),
                severity: view.frame.severity.to_owned(),
                short_id: view.until.clone(),
                environment: "digest".to_owned(),
                services: view.services(),
                link: view.frame.link.clone(),
                list: Some(view.lines()),
                ..Board::default()
            },
            signal: Signal::Update,
            headline: rendered.subject,
            detail: String::new(),
            notification: notification.clone(),
            about,
            again: false,
            alert: 0,
            link: None,
            take: None,
        };
        let request = JobRequest {
            max_attempts: POST_TRIES,
            ..JobRequest::new(
                format!("{POST}:{}", notification.message_id),
                POST,
                serde_json::to_value(&post).expect("a post is plain data with string keys"),
            )
        };
        vec![Effect::Notify(notification), Effect::StartJob(request)]
    }
}

/// The row of a digest. Its id takes the place of an incident's: providers are
/// asked by it what was posted.
fn row(scope: &str, channel: &str, due_ms: i64, subject: String) -> Notification {
    let id = ids::derive(&["digest", scope, &due_ms.to_string()]);
    Notification {
        incident_id: id,
        stage: "digest".to_owned(),
        channel: channel.to_owned(),
        to: Vec::new(),
        cc: Vec::new(),
        message_id: ids::message_id(id, "digest", &[scope.to_owned()]),
        in_reply_to: None,
        subject,
        body_html: String::new(),
        body_text: String::new(),
    }
}

/// Whether a channel can take a digest: a pager's alert is opened and closed
/// by its own key, incident by incident.
#[must_use]
pub fn takes_digests(kind: &Kind) -> bool {
    !kind.is_pager()
}
