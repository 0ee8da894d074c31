//! The steps of a runbook's draft, in the form that runbooks are read in: what
//! was tried and helped, with the action that carried it out, and where to read
//! on.

use crate::lesson::{Lesson, Tried};
use crate::text::escape;
use midwatch_events::action::{RiskClass, TypedAction};

/// Arguments that are other ones in each incident, and what stands for them.
const VARYING: [(&str, &str); 5] = [
    ("namespace", "{{namespace}}"),
    ("workload", "{{service}}"),
    ("from_version", "{{version}}"),
    ("to_version", "{{previous_version}}"),
    ("pod", "{{pod}}"),
];
/// Arguments that belong to the fault. All others are numbers or names that the
/// action catalogue finds anew in what it observes.
const LASTING: [&str; 9] = [
    "resource",
    "flag",
    "value",
    "variable",
    "script",
    "unit",
    "log",
    "path",
    "alertname",
];

/// A step with those incidents in which it helped.
struct Step {
    title: String,
    entries: Vec<(&'static str, String)>,
    by: Vec<String>,
}

/// The three sections of steps; `group` holds one incident at least, the latest
/// first.
pub(crate) fn sections(group: &[&Lesson]) -> String {
    let ids: Vec<&str> = group.iter().map(|one| one.incident_id.as_str()).collect();
    let (latest, first) = (ids[0], ids[ids.len() - 1]);
    let mut helped = helped(group);
    if helped.is_empty() {
        let why = "No step is recorded as having helped: what was tried in vain stands below.";
        helped.push(read("Read how the last one ended", why, latest));
    }
    let compare = read(
        "Compare with the last one",
        "Its evidence shows what to look for: the same cause leaves the same signs.",
        latest,
    );
    let left = read(
        "See what was left to do after the first one",
        "An action item that is still open may be why it came again.",
        first,
    );
    let mut text = String::new();
    for (title, steps) in [
        ("Immediate mitigation", helped),
        ("Within 15 minutes", vec![compare]),
        ("Within the hour", vec![left]),
    ] {
        text.push_str(&format!("## {title}\n\n"));
        for step in steps {
            text.push_str(&format!("- **{}**\n", step.title));
            for (key, value) in step.entries {
                text.push_str(&format!("  - {key}: {value}\n"));
            }
        }
        text.push('\n');
    }
    text
}

/// A step that only reads what is recorded.
fn read(title: &str, why: &str, incident: &str) -> Step {
    Step {
        title: format!("{title}: {}", escape(incident)),
        entries: vec![
            ("command", code(&format!("midwatch postmortem {incident}"))),
            ("why", why.to_owned()),
            ("expect", "Its postmortem, with the evidence.".to_owned()),
            ("rollback", "none: read-only".to_owned()),
            ("risk", "read-only".to_owned()),
            ("owner", "on-call".to_owned()),
        ],
        by: Vec::new(),
    }
}

/// What was verified as an improvement, each step once, the latest words of it.
fn helped(group: &[&Lesson]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for lesson in group {
        let tried = lesson.tried.iter();
        for tried in tried.filter(|one| one.verdict == "improved" && !one.command.is_empty()) {
            let step = step(lesson, tried);
            let same = |known: &&mut Step| {
                known.title == step.title && known.entries[..2] == step.entries[..2]
            };
            match steps.iter_mut().find(same) {
                Some(known) if known.by.contains(&lesson.incident_id) => {}
                Some(known) => known.by.extend(step.by),
                None => steps.push(step),
            }
        }
    }
    for step in &mut steps {
        let by = format!("Verified as improved in {}.", step.by.join(", "));
        for (_, value) in step.entries.iter_mut().filter(|(key, _)| *key == "why") {
            *value = format!("{value} {by}").trim_start().to_owned();
        }
    }
    steps
}

fn step(lesson: &Lesson, tried: &Tried) -> Step {
    let service = lesson.service.as_str();
    let own = tried.typed.as_deref().filter(|one| one.service == service);
    let words = |text: &str| general(&escape(text), &[("{{service}}", service)]);
    let mut values = vec![("{{service}}", service)];
    values.extend(own.into_iter().flat_map(|typed| {
        let named = VARYING.iter();
        named.filter_map(|(name, stands)| Some((*stands, typed.arguments.get(*name)?.as_str())))
    }));
    let line = |text: &str| code(&general(text, &values));
    let risk = match &tried.typed {
        Some(typed) => class(typed.risk),
        None => allowed(&tried.risk, &["low", "medium", "high"], "high"),
    };
    let mut entries = vec![("command", line(&tried.command))];
    if let Some(action) = action(tried, own) {
        entries.push(("action", code(&action)));
    }
    let or = |text: String, other: &str| match text.is_empty() {
        true => other.to_owned(),
        false => text,
    };
    let undo = tried.typed.as_ref().and_then(|typed| typed.undo.as_ref());
    let rollback = match (undo, tried.rollback.as_str()) {
        (Some(undo), _) => line(&undo.command),
        (None, "") => "none: what takes it back is not recorded".to_owned(),
        (None, said) if said.starts_with("none") => words(said),
        (None, said) => line(said),
    };
    entries.extend([
        ("why", words(&tried.why)),
        (
            "expect",
            or(words(&tried.expect), "What the check found then, again."),
        ),
        ("rollback", rollback),
        ("risk", risk.to_owned()),
        (
            "owner",
            allowed(&tried.owner, &["on-call", "team", "platform"], "on-call").to_owned(),
        ),
    ]);
    Step {
        title: words(&tried.action),
        entries,
        by: vec![lesson.incident_id.clone()],
    }
}

/// The action line. What acted on another service than the one that had the
/// cause is left to a person: a plan knows only that one by a name.
fn action(tried: &Tried, own: Option<&TypedAction>) -> Option<String> {
    let Some(typed) = own else {
        let is_unknown = tried.typed.is_none() && !tried.kind.is_empty();
        return is_unknown.then(|| tried.kind.clone());
    };
    let mut words = vec![typed.kind.as_str().to_owned()];
    for (name, value) in &typed.arguments {
        let varying = VARYING.iter().find(|(varying, _)| varying == name);
        let is_word = !value.is_empty() && !value.contains([' ', '\t', '\n', '{', '}', '`']);
        if let Some((_, stands)) = varying {
            words.push(format!("{name}={stands}"));
        } else if is_word && LASTING.contains(&name.as_str()) {
            words.push(format!("{name}={value}"));
        }
    }
    Some(words.join(" "))
}

fn class(risk: RiskClass) -> &'static str {
    match risk {
        // One that acts is never called harmless.
        RiskClass::ReadOnly | RiskClass::LowRisk => "low",
        RiskClass::Disruptive => "medium",
        RiskClass::Destructive => "high",
    }
}

fn allowed<'a>(value: &str, words: &[&'a str], other: &'a str) -> &'a str {
    let mut words = words.iter().copied();
    words.find(|word| *word == value).unwrap_or(other)
}

/// A command on one line, as a runbook has it.
fn code(text: &str) -> String {
    let plain = text.replace('`', "'");
    format!("`{}`", plain.replace(char::is_control, " ").trim())
}

/// The text with each of these values, where it stands as a whole word, replaced
/// by what stands for it. What looks like a placeholder and is none is parted.
fn general(text: &str, values: &[(&str, &str)]) -> String {
    let mut text = text.replace("{{", "{ {").replace("}}", "} }");
    let joins = |letter: char| letter.is_alphanumeric() || "-_.".contains(letter);
    for (stands, value) in values.iter().filter(|(_, value)| !value.is_empty()) {
        let mut out = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(at) = rest.find(value) {
            let (before, after) = (&rest[..at], &rest[at + value.len()..]);
            let left = before.chars().next_back().or(out.chars().next_back());
            let mut right = after.chars();
            // A full stop that ends the sentence belongs to no word.
            let joined = match right.next() {
                Some('.') => right.next().is_some_and(char::is_alphanumeric),
                letter => letter.is_some_and(joins),
            };
            out.push_str(before);
            out.push_str(if joined || left.is_some_and(joins) {
                value
            } else {
                stands
            });
            rest = after;
        }
        out.push_str(rest);
        text = out;
    }
    text
}
