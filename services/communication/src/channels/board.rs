//! What channels show of an incident: a board that is kept up to date, and a
//! message for each thing that happens.

use super::Tried;
use crate::links::Unsigned;
use crate::mail::About;
use midwatch_runtime::effect::Notification;
use serde::{Deserialize, Serialize};

/// What the one message of an incident shows; edited where the channel can.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Board {
    /// `DB connection exhaustion on payment-service`.
    pub title: String,
    /// `CRITICAL`, …
    pub severity: String,
    pub short_id: String,
    pub environment: String,
    pub services: Vec<String>,
    /// The incident's page.
    pub link: String,
    /// `DB connections 100, normally 30 (+23.3 σ)`.
    pub reading: Option<String>,
    pub cause: Option<String>,
    pub plan: Option<String>,
    /// What was done of the plan last, and what came of it.
    pub action: Option<String>,
    /// Who has taken it, or until when it is quiet.
    pub note: Option<String>,
    /// How it ended.
    pub end: Option<String>,
    /// The incidents of a digest, a line or two each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    pub buttons: Vec<Button>,
}

/// Something to press. What it does is decided where it is received, and by
/// whoever pressed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Button {
    /// `acknowledge`, `approve`, `reject`.
    pub action: String,
    pub label: String,
    /// `incident id|plan hash|step`.
    pub value: String,
    pub is_grave: bool,
}

/// What a message means to a pager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    Trigger,
    Update,
    Acknowledge,
    Resolve,
}

/// A message on its way to one channel: what its job carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Post {
    /// The name of the channel in the book.
    pub channel: String,
    pub board: Board,
    pub signal: Signal,
    /// One line that says what happened.
    pub headline: String,
    /// The rest, several lines; empty where only the board changed.
    pub detail: String,
    /// The row that this delivers; its stage tells messages of an incident
    /// apart.
    pub notification: Notification,
    /// The incidents of a digest; empty where it is the notification's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub about: Vec<About>,
    /// It had failed, and a person asked for it anew.
    #[serde(default, skip_serializing_if = "crate::mail::is_false")]
    pub again: bool,
    /// The link under which somebody of this channel can take the incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Unsigned>,
    /// The same once it is signed, which is where it is handed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub take: Option<String>,
    /// Which of the incident's alerts a pager has open, from 0; each snooze
    /// that ends unacknowledged begins another one.
    #[serde(default)]
    pub alert: u32,
}

/// Before a message that may be there already, where the channel cannot be asked
/// and keeps no key.
pub const REPEAT: &str = "(repeat: this may be here already) ";

impl Post {
    /// The message as another try sends it to a channel that would show it
    /// twice: people see which of the two repeats the other.
    #[must_use]
    pub fn marked(&self, tried: Tried) -> Post {
        let mut post = self.clone();
        if tried == Tried::Unknown {
            post.headline.insert_str(0, REPEAT);
        }
        post
    }

    /// Whether it only brings the board up to date; a digest is nothing more
    /// than its board.
    #[must_use]
    pub fn is_edit(&self) -> bool {
        self.detail.is_empty() && self.signal == Signal::Update
    }
}

/// Cuts a text to `limit` characters, with a mark where something is missing.
#[must_use]
pub fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(limit.saturating_sub(1)).collect();
    short.push('…');
    short
}

impl Board {
    /// The board as lines of `label: text`, without markup.
    #[must_use]
    pub fn lines(&self) -> Vec<(&'static str, &str)> {
        let rows = [
            ("Reading", &self.reading),
            ("Cause", &self.cause),
            ("Plan", &self.plan),
            ("Action", &self.action),
            ("State", &self.note),
            ("End", &self.end),
            ("Incidents", &self.list),
        ];
        rows.into_iter()
            .filter_map(|(label, text)| Some((label, text.as_deref()?)))
            .collect()
    }

    /// The first line: a sign, the severity, the title, the id.
    #[must_use]
    pub fn headline(&self) -> String {
        let sign = match (self.end.is_some(), self.severity.as_str()) {
            (true, _) => "✅",
            (_, "CRITICAL") => "🚨",
            (_, "HIGH") => "🔴",
            (_, "MEDIUM") => "🟠",
            _ => "🔵",
        };
        format!(
            "{sign} {} · {} · {}",
            self.severity, self.title, self.short_id
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_says_that_it_goes_on() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("äöüß", 3), "äö…");
    }
}
