//! What one incident's life must look like: the answers of the API and of the
//! inbox, the steps found in them, and what is missing. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

/// One incident as the API tells it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Incident {
    /// Identifier.
    pub id: String,
    /// `INC-…`.
    pub short_id: String,
    /// State.
    pub status: String,
    /// Severity.
    pub severity: String,
    /// Anomaly type.
    pub anomaly_type: String,
    /// Services concerned.
    pub affected_services: Vec<String>,
    /// Audit trail in the order of time.
    pub timeline: Vec<Entry>,
    /// Notifications.
    pub mails: Vec<Notification>,
}

/// One line of the audit trail.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// Event time (simulated), epoch milliseconds.
    pub at_ms: i64,
    /// Wall clock, epoch milliseconds.
    pub wall_ms: i64,
    /// Who wrote it.
    pub agent: String,
    /// What it tells.
    pub event_type: String,
    /// One sentence.
    pub summary: String,
    /// What else was recorded.
    pub payload: Value,
}

impl Incident {
    /// Puts the metric breach first where the trail itself does not tell it:
    /// the first reading out of range, as detection dates it. Its wall time is
    /// reckoned back from the anomaly's at `speed` simulated seconds a second,
    /// the pace at which the readings were published.
    #[must_use]
    pub fn with_breach(mut self, speed: f64) -> Self {
        if Mark::Breach.find(&self.timeline).is_some() {
            return self;
        }
        let Some(anomaly) = Mark::Anomaly.find(&self.timeline) else {
            return self;
        };
        // What lies before the first reading out of range is an estimate of
        // correlation's, made after the fact.
        let crossed_ms = anomaly.payload["crossed_ms"].as_i64();
        let at_ms = crossed_ms.unwrap_or(anomaly.at_ms).min(anomaly.at_ms);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "milliseconds within one incident are far below 2^52"
        )]
        let earlier_ms = ((anomaly.at_ms - at_ms) as f64 / speed) as i64;
        // The trail dates the anomaly when correlation took it up; detection's
        // own wall time stands in its payload.
        let detected = anomaly.payload["detected_wall_ms"].as_i64();
        let detected_wall_ms = detected.unwrap_or(anomaly.wall_ms).min(anomaly.wall_ms);
        let breach = Entry {
            at_ms,
            wall_ms: detected_wall_ms - earlier_ms,
            agent: anomaly.agent.clone(),
            event_type: BREACH.to_owned(),
            summary: "first reading out of line, as detection dates it".to_owned(),
            payload: Value::Null,
        };
        self.timeline.insert(0, breach);
        self
    }
}

/// The entry type of a metric breach.
const BREACH: &str = "METRIC_BREACH";

/// One notification as the API tells it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Notification {
    /// Stage.
    pub stage: String,
    /// Subject.
    pub subject: String,
    /// `SENT` or `FAILED`.
    pub status: String,
    /// Message-ID.
    pub message_id: String,
}

/// One mail as the inbox received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Subject.
    pub subject: String,
    /// Message-ID without angle brackets.
    pub message_id: String,
    /// Addresses of the envelope.
    pub recipients: Vec<String>,
    /// Wall clock at which it was first seen there, epoch milliseconds.
    pub seen_ms: i64,
}

impl Mail {
    /// Reads one element of the inbox's list.
    #[must_use]
    pub fn parse(value: &Value, seen_ms: i64) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let message_id =
            text(&value["messageId"]).or_else(|| text(&value["headers"]["message-id"]))?;
        let envelope = value["envelope"]["to"].as_array();
        let recipients = envelope.into_iter().flatten();
        Some(Self {
            subject: text(&value["subject"])?,
            message_id: bare_id(&message_id).to_owned(),
            recipients: recipients.filter_map(|to| text(&to["address"])).collect(),
            seen_ms,
        })
    }
}

fn bare_id(text: &str) -> &str {
    text.trim().trim_start_matches('<').trim_end_matches('>')
}

/// The five mails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// 🚨
    Opened,
    /// 🔍
    RootCause,
    /// 🛠️
    Plan,
    /// ✅
    Resolved,
    /// 📋
    Postmortem,
}

impl Stage {
    /// All five in their order.
    pub const ALL: [Self; 5] = [
        Self::Opened,
        Self::RootCause,
        Self::Plan,
        Self::Resolved,
        Self::Postmortem,
    ];

    /// The stage that a subject announces.
    #[must_use]
    pub fn of(subject: &str) -> Option<Self> {
        match subject.chars().next()? {
            '🚨' => Some(Self::Opened),
            '🔍' => Some(Self::RootCause),
            '🛠' => Some(Self::Plan),
            '✅' => Some(Self::Resolved),
            '📋' => Some(Self::Postmortem),
            _ => None,
        }
    }

    /// Whether a mail of this stage says that it replaces the one before: the
    /// cause turned out to be another one.
    fn is_replaced_by(self, subject: &str) -> bool {
        match self {
            Self::RootCause => subject.ends_with("(another cause than before)"),
            Self::Plan => subject.ends_with("(replaces the plan before)"),
            Self::Opened | Self::Resolved | Self::Postmortem => false,
        }
    }

    /// How often the timeline tells that it was replaced.
    fn revisions(self, timeline: &[Entry]) -> usize {
        let count =
            |wanted: &dyn Fn(&Entry) -> bool| timeline.iter().filter(|one| wanted(one)).count();
        match self {
            Self::RootCause => count(&|entry| {
                entry.event_type == "RCA_REVISED" && entry.payload["top_changed"] == true
            }),
            Self::Plan => count(&|entry| Mark::Plan.is_told_by(entry)).saturating_sub(1),
            Self::Opened | Self::Resolved | Self::Postmortem => 0,
        }
    }

    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Opened => "🚨 opened",
            Self::RootCause => "🔍 root cause",
            Self::Plan => "🛠️ plan",
            Self::Resolved => "✅ resolved",
            Self::Postmortem => "📋 postmortem",
        }
    }
}

/// The steps of an incident's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// The first reading out of line.
    Breach,
    /// Detection calls it an anomaly.
    Anomaly,
    /// Correlation opens the incident.
    Incident,
    /// Investigation names a cause.
    RootCause,
    /// Remediation has a plan.
    Plan,
    /// The readings are normal again.
    Resolved,
    /// The report is written.
    Postmortem,
}

impl Mark {
    /// All in their order.
    pub const ALL: [Self; 7] = [
        Self::Breach,
        Self::Anomaly,
        Self::Incident,
        Self::RootCause,
        Self::Plan,
        Self::Resolved,
        Self::Postmortem,
    ];

    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Breach => "metric breach",
            Self::Anomaly => "anomaly",
            Self::Incident => "incident",
            Self::RootCause => "root cause",
            Self::Plan => "plan",
            Self::Resolved => "resolved",
            Self::Postmortem => "postmortem",
        }
    }

    /// Whether an entry of the audit trail is this step.
    fn is_told_by(self, entry: &Entry) -> bool {
        let kind = entry.event_type.as_str();
        match self {
            Self::Breach => kind == BREACH,
            Self::Anomaly => kind == "ANOMALY_DETECTED",
            Self::Incident => kind == "INCIDENT_OPENED",
            Self::RootCause => kind == "RCA_COMPLETE",
            Self::Plan => kind == "PLAN_READY",
            Self::Resolved => kind == "INCIDENT_RESOLVED",
            Self::Postmortem => kind == "POSTMORTEM_GENERATED",
        }
    }

    /// The first entry that tells this step.
    #[must_use]
    pub fn find(self, timeline: &[Entry]) -> Option<&Entry> {
        timeline
            .iter()
            .filter(|entry| self.is_told_by(entry))
            .min_by_key(|entry| entry.wall_ms)
    }
}

/// Mails of one incident.
#[must_use]
pub fn mails_of<'a>(inbox: &'a [Mail], short_id: &str) -> Vec<&'a Mail> {
    let wanted = |mail: &&Mail| !short_id.is_empty() && mail.subject.contains(short_id);
    inbox.iter().filter(wanted).collect()
}

/// Whether the incident's life is over: all five mails are there.
#[must_use]
pub fn is_complete(incident: &Incident, inbox: &[Mail]) -> bool {
    let mails = mails_of(inbox, &incident.short_id);
    let stages: BTreeSet<Stage> = mails
        .iter()
        .filter_map(|mail| Stage::of(&mail.subject))
        .collect();
    stages.len() == Stage::ALL.len() && Mark::Postmortem.find(&incident.timeline).is_some()
}

/// What is wrong with the incident and its mails, in words; empty when all is
/// as it must be.
#[must_use]
pub fn problems(incident: &Incident, inbox: &[Mail]) -> Vec<String> {
    let mut problems = Vec::new();
    for mark in Mark::ALL {
        if mark.find(&incident.timeline).is_none() {
            problems.push(format!("the timeline tells no {}", mark.name()));
        }
    }
    if incident.status != "RESOLVED" {
        problems.push(format!("the incident is {}, not RESOLVED", incident.status));
    }
    let mails = mails_of(inbox, &incident.short_id);
    let counts = count(&mails);
    for stage in Stage::ALL {
        if !counts.keys().any(|(found, ..)| *found == stage) {
            problems.push(format!("no mail of stage {} arrived", stage.name()));
        }
    }
    for ((stage, replaces, recipient), ids) in &counts {
        let (got, stage_name) = (ids.len(), stage.name());
        if *replaces {
            let revised = stage.revisions(&incident.timeline);
            if got > revised {
                problems.push(format!(
                    "{recipient} was told {got} times that stage {stage_name} is replaced, and \
                     the timeline tells of {revised}"
                ));
            }
        } else if got != 1 {
            problems.push(format!(
                "{recipient} got stage {stage_name} under {got} Message-IDs"
            ));
        }
    }
    for told in &incident.mails {
        let arrived = mails
            .iter()
            .any(|mail| mail.message_id == bare_id(&told.message_id));
        if !arrived || told.status != "SENT" {
            problems.push(format!(
                "the API tells mail \"{}\" as {}, and it is {} the inbox",
                told.subject,
                told.status,
                if arrived { "in" } else { "not in" }
            ));
        }
    }
    if incident.mails.is_empty() {
        problems.push("the API tells no mails of the incident".to_owned());
    }
    problems
}

type Counts = BTreeMap<(Stage, bool, String), BTreeMap<String, usize>>;

/// Message-IDs with their number of copies, by stage, whether they say that
/// they replace an earlier mail of that stage, and recipient.
fn count(mails: &[&Mail]) -> Counts {
    let mut counts = Counts::new();
    for mail in mails {
        let Some(stage) = Stage::of(&mail.subject) else {
            continue;
        };
        let replaces = stage.is_replaced_by(&mail.subject);
        for recipient in &mail.recipients {
            let key = (stage, replaces, recipient.clone());
            let ids = counts.entry(key).or_default();
            *ids.entry(mail.message_id.clone()).or_default() += 1;
        }
    }
    counts
}

/// Mails that arrived more than once under one Message-ID: allowed after a
/// crash between the mail server's acceptance and our record of it, but never
/// silently.
#[must_use]
pub fn repeats(incident: &Incident, inbox: &[Mail]) -> Vec<String> {
    let mails = mails_of(inbox, &incident.short_id);
    let mut said = Vec::new();
    for ((stage, _, recipient), ids) in count(&mails) {
        for (id, copies) in ids {
            if copies > 1 {
                said.push(format!(
                    "{recipient} got {} {copies} times as {id}",
                    stage.name()
                ));
            }
        }
    }
    said
}
