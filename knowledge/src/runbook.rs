//! Runbooks: Markdown that people follow and programs read.
//!
//! A file begins with front matter (`name`, `description`, `anomaly_types`,
//! `tags`; `causes` where it knows some that are no anomaly types, and `target: host`
//! where it is for machines), is divided by `## ` headings, and lists steps in three of its
//! sections as `- **Action**` with indented `- key: value` lines. A step that
//! could be carried out has a line `- action: ` with the kind and the arguments
//! of the action catalogue; one without it is done by hand.

use crate::content::{ContentError, files, read};
use midwatch_clients::knowledge::{ActionTemplate, KnownCause, PLACEHOLDERS, RunbookStep};
use midwatch_events::AnomalyType;
use midwatch_events::response::Priority;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Sections with less text than this (characters) are dropped: they cannot
/// be found by meaning and say nothing.
pub const MIN_SECTION: usize = 30;

const STEP_SECTIONS: [(&str, Priority); 3] = [
    ("Immediate mitigation", Priority::Immediate),
    ("Within 15 minutes", Priority::Within15Min),
    ("Within the hour", Priority::Within1Hour),
];
const ACTION_LINE: &str = "  - action: ";
const STEP_KEYS: [&str; 7] = [
    "command", "why", "expect", "rollback", "risk", "owner", "action",
];
const RISKS: [&str; 4] = ["read-only", "low", "medium", "high"];
const OWNERS: [&str; 3] = ["on-call", "team", "platform"];

/// A runbook, parsed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Runbook {
    pub name: String,
    pub description: String,
    pub anomaly_types: Vec<AnomalyType>,
    pub tags: Vec<String>,
    /// Causes beyond the anomaly types, with the sign of each.
    #[serde(default)]
    pub causes: Vec<KnownCause>,
    /// `host` where its commands are for machines; absent for workloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    pub sections: Vec<Section>,
}

/// What stands under one `## ` heading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Section {
    pub title: String,
    /// Markdown, without the heading.
    pub text: String,
    pub steps: Vec<RunbookStep>,
}

impl Runbook {
    /// All steps, most urgent first.
    pub fn steps(&self) -> impl Iterator<Item = &RunbookStep> {
        self.sections.iter().flat_map(|section| &section.steps)
    }

    /// Parses the text of the file at `path`, which is only named in errors.
    ///
    /// # Errors
    /// [`ContentError::Field`] for missing or wrong front matter, a section
    /// without its steps, or a step with a missing, unknown or bad entry.
    pub fn parse(path: &Path, text: &str) -> Result<Runbook, ContentError> {
        let (front, body) = split_front_matter(path, text)?;
        let wanted = |key: &str| {
            front
                .get(key)
                .filter(|value| !value.is_empty())
                .ok_or_else(|| ContentError::field(path, key, "is missing in the front matter"))
        };
        let anomaly_types = list(wanted("anomaly_types")?)
            .iter()
            .map(|name| {
                AnomalyType::parse(name).ok_or_else(|| {
                    let problem = format!("has {name:?}, which is no anomaly type");
                    ContentError::field(path, "anomaly_types", problem)
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let causes = front.get("causes").map_or_else(Vec::new, |text| list(text));
        let causes = causes
            .iter()
            .map(|text| {
                KnownCause::parse(text)
                    .map_err(|problem| ContentError::field(path, "causes", problem))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let target = front.get("target").cloned();
        if let Some(target) = target.as_ref().filter(|target| *target != "host") {
            let problem = format!("is {target:?}; write host, or leave it out for workloads");
            return Err(ContentError::field(path, "target", problem));
        }
        let runbook = Runbook {
            causes,
            target,
            name: wanted("name")?.clone(),
            description: wanted("description")?.clone(),
            anomaly_types,
            tags: list(wanted("tags")?),
            sections: sections(path, body)?,
        };
        for (title, _) in STEP_SECTIONS {
            let steps = runbook
                .sections
                .iter()
                .filter(|section| section.title == title)
                .map(|section| section.steps.len())
                .sum::<usize>();
            if steps == 0 {
                return Err(ContentError::field(path, title, "has no steps"));
            }
        }
        Ok(runbook)
    }
}

/// Reads all runbooks (`*.md`) of a folder, by name.
///
/// # Errors
/// [`ContentError`], also when a file is not called as its `name` says.
pub fn load_runbooks(dir: &Path) -> Result<Vec<Runbook>, ContentError> {
    files(dir, "md")?
        .iter()
        .map(|path| {
            let runbook = Runbook::parse(path, &read(path)?)?;
            if path.file_stem().and_then(|stem| stem.to_str()) != Some(&runbook.name) {
                let problem = format!("is {:?}, not the file's name", runbook.name);
                return Err(ContentError::field(path, "name", problem));
            }
            Ok(runbook)
        })
        .collect()
}

type Front = BTreeMap<String, String>;

fn split_front_matter<'a>(path: &Path, text: &'a str) -> Result<(Front, &'a str), ContentError> {
    let missing = || ContentError::field(path, "---", "is missing around the front matter");
    let rest = text.strip_prefix("---\n").ok_or_else(missing)?;
    let (head, body) = rest.split_once("\n---\n").ok_or_else(missing)?;
    let front = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.trim().to_owned(), unquoted(value.trim())))
        .collect();
    Ok((front, body))
}

/// A value without the quotation marks that protect it in YAML.
fn unquoted(value: &str) -> String {
    serde_json::from_str(value).unwrap_or_else(|_| value.to_owned())
}

/// The entries of `[a, b]`.
fn list(value: &str) -> Vec<String> {
    value
        .trim_matches(['[', ']'])
        .split(',')
        .map(|entry| entry.trim().to_owned())
        .filter(|entry| !entry.is_empty())
        .collect()
}

fn sections(path: &Path, body: &str) -> Result<Vec<Section>, ContentError> {
    let mut sections = Vec::new();
    // What stands before the first heading is the title and no section.
    for part in format!("\n{body}").split("\n## ").skip(1) {
        let (title, text) = part.split_once('\n').unwrap_or((part, ""));
        let (title, text) = (title.trim(), text.trim());
        if text.chars().count() < MIN_SECTION {
            continue;
        }
        let priority = STEP_SECTIONS
            .iter()
            .find(|(name, _)| *name == title)
            .map(|(_, priority)| *priority);
        let steps = match priority {
            Some(priority) => parse_steps(path, title, text, priority)?,
            None => Vec::new(),
        };
        // The line for programs says nothing to a search by meaning.
        let for_people = text.lines().filter(|line| !line.starts_with(ACTION_LINE));
        sections.push(Section {
            title: title.to_owned(),
            text: for_people.collect::<Vec<_>>().join("\n"),
            steps,
        });
    }
    Ok(sections)
}

fn parse_steps(
    path: &Path,
    title: &str,
    text: &str,
    priority: Priority,
) -> Result<Vec<RunbookStep>, ContentError> {
    let mut drafts: Vec<(String, BTreeMap<&str, String>)> = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("- **") {
            let action = rest.trim_end().trim_end_matches("**");
            drafts.push((action.to_owned(), BTreeMap::new()));
        } else if let (Some(entry), Some((_, entries))) =
            (line.strip_prefix("  - "), drafts.last_mut())
            && let Some((key, value)) = entry.split_once(": ")
        {
            let value = value.trim();
            let bare = value
                .strip_prefix('`')
                .and_then(|value| value.strip_suffix('`'))
                .unwrap_or(value);
            entries.insert(key, bare.to_owned());
        }
    }
    drafts
        .into_iter()
        .map(|(action, entries)| {
            let field = format!("{title} / {action}");
            build_step(action, entries, priority)
                .map_err(|problem| ContentError::field(path, &field, problem))
        })
        .collect()
}

fn build_step(
    action: String,
    mut entries: BTreeMap<&str, String>,
    priority: Priority,
) -> Result<RunbookStep, String> {
    if let Some(key) = entries.keys().find(|key| !STEP_KEYS.contains(key)) {
        return Err(format!("has the entry {key:?}; known are {STEP_KEYS:?}"));
    }
    let typed = entries
        .remove("action")
        .map(|text| ActionTemplate::parse(&text))
        .transpose()?;
    let mut take = |key: &str| {
        entries
            .remove(key)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| format!("lacks the entry `{key}`"))
    };
    let step = RunbookStep {
        priority,
        action,
        command: take("command")?,
        why: take("why")?,
        expect: take("expect")?,
        rollback: take("rollback")?,
        risk: take("risk")?,
        owner: take("owner")?,
        typed,
    };
    for (key, value, allowed) in [
        ("risk", &step.risk, &RISKS[..]),
        ("owner", &step.owner, &OWNERS[..]),
    ] {
        if !allowed.contains(&value.as_str()) {
            return Err(format!("has {key} {value:?}; allowed are {allowed:?}"));
        }
    }
    let unknown = |name: &&str| !PLACEHOLDERS.contains(name);
    let of_action = step.typed.iter().flat_map(ActionTemplate::placeholders);
    let mut all = step.placeholders().into_iter().chain(of_action);
    if let Some(name) = all.find(unknown) {
        return Err(format!(
            "uses {{{{{name}}}}}; known placeholders are {PLACEHOLDERS:?}"
        ));
    }
    drop(all);
    let looks = step.risk == "read-only";
    if let Some(typed) = step.typed.as_ref()
        && typed.kind.only_looks() != looks
    {
        let kind = typed.kind.as_str();
        return Err(if looks {
            format!("only looks, and yet names the action {kind}, which changes something")
        } else {
            format!("names the action {kind}, which only looks; give it the risk read-only")
        });
    }
    Ok(step)
}
