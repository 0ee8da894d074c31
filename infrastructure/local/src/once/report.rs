//! The story of one incident as text of at most 80 columns. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::demo::ONCE_SPEED;
use crate::once::story::{Entry, Incident, Mail, Mark, Stage, mails_of};

const WIDTH: usize = 79;

/// From the command's start until everything is healthy.
const HEALTHY_LIMIT: Duration = Duration::from_secs(60);
/// From the breach until the first mail, wall clock, at the demo's ordinary
/// pace.
const ALERT_LIMIT_MS: i64 = 15_000;
/// From the command's start until all five mails are there.
const MAILS_LIMIT: Duration = Duration::from_secs(240);

/// Agents that ask a model where one is configured.
const MODEL_AGENTS: [&str; 5] = [
    "detection",
    "correlation",
    "investigation",
    "remediation",
    "postmortem",
];

/// Breaks `text` into lines of the width, all but the first indented.
pub(super) fn wrap(first: &str, indent: usize, text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = first.to_owned();
    let mut is_fresh = true;
    for word in text.split_whitespace() {
        // An emoji takes two columns; counting each non-ASCII sign double is
        // never too little.
        let width: usize = line
            .chars()
            .chain(word.chars())
            .map(|sign| if sign.is_ascii() { 1 } else { 2 })
            .sum();
        if width + 1 > WIDTH && !is_fresh {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            is_fresh = true;
        }
        if !is_fresh {
            line.push(' ');
        }
        line.push_str(word);
        is_fresh = false;
    }
    lines.push(line);
    lines
}

fn seconds(ms: i64) -> String {
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds within one incident are far below 2^52"
    )]
    let value = ms as f64 / 1000.0;
    format!("{value:+.1} s")
}

/// Heading of the timeline.
pub const HEADING: &str = "   simulated       wall   step";

/// One step: seconds since the step before, simulated and wall, and what it
/// says.
#[must_use]
pub fn step(mark: Mark, entry: &Entry, before: Option<&Entry>) -> Vec<String> {
    let since = |value: i64, old: fn(&Entry) -> i64| before.map_or(0, |before| value - old(before));
    let first = format!(
        "{:>12} {:>10}   ",
        seconds(since(entry.at_ms, |old| old.at_ms)),
        seconds(since(entry.wall_ms, |old| old.wall_ms)),
    );
    let text = format!("{}: {}", mark.name(), entry.summary);
    wrap(&first, 28, &text)
}

/// Steps of the incident that are in `seen` already are not told again; each
/// new one is told relative to the latest before it.
#[must_use]
pub fn new_steps(incident: &Incident, seen: &[Mark]) -> Vec<(Mark, Vec<String>)> {
    let mut before: Option<&Entry> = None;
    let mut told = Vec::new();
    for mark in Mark::ALL {
        let Some(entry) = mark.find(&incident.timeline) else {
            continue;
        };
        if !seen.contains(&mark) {
            told.push((mark, step(mark, entry, before)));
        }
        before = Some(entry);
    }
    told
}

/// The subjects of the incident's mails, each once, with their recipients.
#[must_use]
pub fn mail_lines(incident: &Incident, inbox: &[Mail]) -> Vec<String> {
    let mut by_subject: BTreeMap<(Option<Stage>, &str), Vec<&str>> = BTreeMap::new();
    for mail in mails_of(inbox, &incident.short_id) {
        let stage = Stage::of(&mail.subject);
        let recipients = by_subject.entry((stage, &mail.subject)).or_default();
        recipients.extend(mail.recipients.iter().map(String::as_str));
    }
    let mut lines = Vec::new();
    for ((_, subject), mut recipients) in by_subject {
        recipients.sort_unstable();
        recipients.dedup();
        lines.extend(wrap("  ", 5, subject));
        lines.extend(wrap("     to ", 8, &recipients.join(", ")));
    }
    lines
}

/// Whether the time limits hold; says what took how long and returns what was
/// too slow. The readings that detection waits for come later in a run at a
/// slower `speed`; that much is no delay of anybody's.
#[must_use]
pub fn check_times(
    incident: &Incident,
    inbox: &[Mail],
    speed: u32,
    healthy_after: Duration,
    mails_after: Option<Duration>,
) -> (Vec<String>, Vec<String>) {
    let mut said = vec![format!(
        "  healthy after {:.1} s (limit {} s)",
        healthy_after.as_secs_f64(),
        HEALTHY_LIMIT.as_secs()
    )];
    let mut late = Vec::new();
    if healthy_after > HEALTHY_LIMIT {
        late.push("it took too long until all was healthy".to_owned());
    }
    let mails = mails_of(inbox, &incident.short_id);
    let alert_ms = mails
        .iter()
        .filter(|mail| Stage::of(&mail.subject) == Some(Stage::Opened))
        .map(|mail| mail.seen_ms)
        .min();
    let breach = Mark::Breach.find(&incident.timeline);
    if let (Some(alert_ms), Some(breach)) = (alert_ms, breach) {
        let after_ms = alert_ms - breach.wall_ms;
        let anomaly = Mark::Anomaly.find(&incident.timeline);
        let waited_ms = anomaly.map_or(0, |anomaly| anomaly.at_ms - breach.at_ms);
        let pace = i64::from(speed.clamp(1, ONCE_SPEED));
        let took_ms = after_ms - waited_ms / pace + waited_ms / i64::from(ONCE_SPEED);
        let mut line = format!("  alert mail {} after the breach", seconds(after_ms));
        if speed < ONCE_SPEED {
            line.push_str(&format!(", {} at speed {ONCE_SPEED}", seconds(took_ms)));
        }
        said.push(format!("{line} (limit 15 s)"));
        if took_ms > ALERT_LIMIT_MS {
            late.push("the alert mail came too late after the breach".to_owned());
        }
    }
    if let Some(after) = mails_after {
        said.push(format!(
            "  all five mails {:.1} s after the start (limit {} s)",
            after.as_secs_f64(),
            MAILS_LIMIT.as_secs()
        ));
    }
    if mails_after.is_none_or(|after| after > MAILS_LIMIT) {
        late.push("the five mails were not there in time".to_owned());
    }
    (said, late)
}

/// One call of a model as the API tells it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ModelCall {
    /// Whose.
    pub agent: String,
    /// How it ended.
    pub outcome: String,
}

/// Calls per agent and outcome in words, and the agents that made none.
#[must_use]
pub fn model_calls(calls: &[ModelCall]) -> (Vec<String>, Vec<String>) {
    let mut counts: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for call in calls {
        // A consumer group's name and the agent's name are both in use.
        let agent = call
            .agent
            .trim_start_matches("midwatch.")
            .trim_start_matches("midwatch-");
        *counts
            .entry(agent)
            .or_default()
            .entry(&call.outcome)
            .or_default() += 1;
    }
    let lines = counts.iter().map(|(agent, outcomes)| {
        let parts: Vec<String> = outcomes
            .iter()
            .map(|(name, number)| format!("{number} {name}"))
            .collect();
        format!("  {agent:<14} {}", parts.join(", "))
    });
    let missing = MODEL_AGENTS
        .into_iter()
        .filter(|agent| !counts.contains_key(agent))
        .map(|agent| format!("{agent} made no call to the model"));
    (lines.collect(), missing.collect())
}
