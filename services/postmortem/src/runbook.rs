//! Drafts of runbooks from incidents that came again with one cause. What a
//! draft says was recorded, and each line names the incidents that it is from.
//! A draft has the form of the runbooks in the knowledge folder: saved there
//! under its name it loads as it is.

use crate::lesson::Lesson;
use crate::runbook_steps;
use crate::text::{code, escape, number};
use midwatch_events::AnomalyType;
use serde::Serialize;
use std::collections::BTreeMap;

/// So many incidents of one cause are a habit.
pub const REPEATED: usize = 2;
/// Most incidents that one draft tells of, the latest ones.
const TOLD: usize = 12;

/// A runbook to be read by people before it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Draft {
    /// The name of its folder or file: lower case, with hyphens.
    pub name: String,
    pub markdown: String,
    /// The incidents behind it, latest first.
    pub incidents: Vec<String>,
}

/// Drafts one runbook for each cause and service with at least [`REPEATED`]
/// incidents; `lessons` come latest first.
#[must_use]
pub fn suggest(lessons: &[Lesson]) -> Vec<Draft> {
    let mut groups: BTreeMap<(&str, &str), Vec<&Lesson>> = BTreeMap::new();
    for lesson in lessons.iter().filter(|lesson| !lesson.cause.is_empty()) {
        let group = groups.entry((&lesson.service, &lesson.cause)).or_default();
        let known = |one: &&Lesson| one.incident_id == lesson.incident_id;
        if group.len() < TOLD && !group.iter().any(known) {
            group.push(lesson);
        }
    }
    groups
        .into_iter()
        .filter(|(_, group)| group.len() >= REPEATED)
        .map(|((service, cause), group)| draft(service, cause, &group))
        .collect()
}

fn draft(service: &str, cause: &str, group: &[&Lesson]) -> Draft {
    let name = slug(&format!("{cause}-{service}"));
    let mut text = head(&name, service, cause, group);
    let left = |one: &Lesson| {
        let (metric, title) = (code(&one.trigger_metric), escape(&one.title));
        vec![format!("{metric} left its range: {title}")]
    };
    section(&mut text, "Symptoms", &each(group, left));
    let seen = |one: &Lesson| {
        let seen = one.evidence.iter().take(4).map(|seen| escape(seen));
        std::iter::once(escape(&one.root_cause))
            .chain(seen)
            .collect()
    };
    section(&mut text, "Diagnosis", &each(group, seen));
    text.push_str(&runbook_steps::sections(group));
    let in_vain = steps(group, &["not_improved", "worse"]);
    section(&mut text, "What did not help", &in_vain);
    let ended = |one: &Lesson| {
        let (how, minutes) = (escape(&one.resolution), number(one.mttr_minutes));
        vec![format!("{how} (over after {minutes} min)")]
    };
    section(&mut text, "How it ended", &each(group, ended));
    let factors = |one: &Lesson| {
        let factors = one.contributing_factors.iter().take(4);
        factors.map(|factor| escape(factor)).collect()
    };
    section(&mut text, "Contributing factors", &each(group, factors));
    Draft {
        name,
        markdown: text,
        incidents: group.iter().map(|one| one.incident_id.clone()).collect(),
    }
}

/// Front matter and title.
fn head(name: &str, service: &str, cause: &str, group: &[&Lesson]) -> String {
    let title = crate::text::words_of_kind(cause);
    let description = serde_json::json!(format!(
        "{title} of {service}, drafted from {} recorded incidents; read it before you use it.",
        group.len()
    ));
    let own = group.iter().map(|one| one.anomaly_type.as_str());
    let mut kinds: Vec<&str> = Vec::new();
    for kind in own.chain([cause]) {
        if AnomalyType::parse(kind).is_some() && !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    format!(
        "---\nname: {name}\ndescription: {description}\nanomaly_types: [{}]\ntags: [draft, {}]\n---\n\n# {} of {}\n\n",
        kinds.join(", "),
        slug(cause),
        escape(&title),
        escape(service),
    )
}

/// The steps that were tried and found so.
fn steps(group: &[&Lesson], verdicts: &[&str]) -> Vec<(String, Vec<String>)> {
    each(group, |one| {
        let tried = one.tried.iter();
        tried
            .filter(|tried| verdicts.contains(&tried.verdict.as_str()))
            .map(|tried| {
                let (action, command) = (escape(&tried.action), code(&tried.command));
                format!("**{action}**: {command} — {}", escape(&tried.became))
            })
            .collect()
    })
}

/// What the incidents say, each once, with those that say it.
fn each(group: &[&Lesson], of: impl Fn(&Lesson) -> Vec<String>) -> Vec<(String, Vec<String>)> {
    let mut said: Vec<(String, Vec<String>)> = Vec::new();
    for lesson in group {
        for words in of(lesson) {
            match said.iter_mut().find(|(known, _)| *known == words) {
                Some((_, by)) if by.contains(&lesson.incident_id) => {}
                Some((_, by)) => by.push(lesson.incident_id.clone()),
                None => said.push((words, vec![lesson.incident_id.clone()])),
            }
        }
    }
    said
}

fn section(text: &mut String, title: &str, said: &[(String, Vec<String>)]) {
    text.push_str(&format!("## {title}\n\n"));
    if said.is_empty() {
        text.push_str("Nothing of this kind is recorded in these incidents.\n");
    }
    for (words, by) in said {
        text.push_str(&format!("- {words} ({})\n", by.join(", ")));
    }
    text.push('\n');
}

/// Lower case letters, digits and single hyphens.
fn slug(text: &str) -> String {
    let mut slug = String::new();
    for letter in text.to_lowercase().chars() {
        if letter.is_ascii_alphanumeric() {
            slug.push(letter);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(64);
    slug.trim_end_matches('-').to_owned()
}
