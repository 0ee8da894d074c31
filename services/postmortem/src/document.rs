//! The postmortem's text.

mod outcome;
mod story;

use crate::facts::Facts;
use crate::items::items;
use crate::judgement::judge;
use crate::notes::{Notes, Sentence, plain};
use crate::text::{both, code, escape, moment};
use midwatch_events::knowledge::Catalogue;
use midwatch_events::response::ActionItem;

/// A written postmortem.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub markdown: String,
    /// The summary as plain text.
    pub summary: String,
    pub items: Vec<ActionItem>,
}

/// Writes the postmortem. `version` counts from 1; `summary` replaces the
/// wording of the summary, not its records.
#[must_use]
pub fn write(
    facts: &Facts,
    catalogue: &Catalogue,
    version: u32,
    summary: Option<&str>,
) -> Document {
    let mut notes = Notes::default();
    let items = items(facts, catalogue);
    let own = story::summary(facts);
    let mut markdown = head(facts, version);
    section(&mut markdown, "Summary");
    let summary = match summary {
        Some(polished) => {
            let records: Vec<&String> = own.iter().flat_map(|one| &one.records).collect();
            markdown.push_str(&escape_long(polished));
            markdown.push_str(&notes.cite(&records));
            polished.to_owned()
        }
        None => {
            let bound: Vec<String> = own.iter().map(|one| notes.bound(one)).collect();
            markdown.push_str(&bound.join(" "));
            plain_summary(&own)
        }
    };
    markdown.push('\n');
    section(&mut markdown, "Impact");
    list(&mut markdown, &mut notes, &story::impact(facts), "");
    section(&mut markdown, "Timeline");
    markdown.push_str(&story::timeline(facts, &mut notes));
    section(&mut markdown, "Root cause");
    markdown.push_str(&outcome::root_cause(facts, &mut notes));
    section(&mut markdown, "Contributing factors");
    list(
        &mut markdown,
        &mut notes,
        &outcome::factors(facts),
        "None is recorded.",
    );
    let judgement = judge(facts);
    section(&mut markdown, "What went well");
    list(
        &mut markdown,
        &mut notes,
        &judgement.well,
        "Nothing that the records show.",
    );
    section(&mut markdown, "What went badly");
    list(
        &mut markdown,
        &mut notes,
        &judgement.badly,
        "Nothing that the records show.",
    );
    if !judgement.lucky.is_empty() {
        section(&mut markdown, "Where we were lucky");
        list(&mut markdown, &mut notes, &judgement.lucky, "");
    }
    section(&mut markdown, "Remediation: proposed and applied");
    markdown.push_str(&outcome::remediation(facts, &mut notes));
    section(&mut markdown, "Action items");
    markdown.push_str(&outcome::action_items(&items, &mut notes));
    section(&mut markdown, "What is not known");
    list(&mut markdown, &mut notes, &outcome::unknowns(facts), "");
    section(&mut markdown, "Records");
    markdown
        .push_str("Each number in brackets above names the record that a statement rests on.\n\n");
    markdown.push_str(&notes.list());
    Document {
        markdown,
        summary,
        items,
    }
}

/// The deterministic summary as plain text.
#[must_use]
pub fn plain_summary(sentences: &[Sentence]) -> String {
    let texts: Vec<String> = sentences.iter().map(|one| plain(&one.markdown)).collect();
    texts.join(" ")
}

/// The deterministic summary of these facts as plain text.
#[must_use]
pub fn summary_of(facts: &Facts) -> String {
    plain_summary(&story::summary(facts))
}

fn head(facts: &Facts, version: u32) -> String {
    let header = &facts.resolved.header;
    let mut head = format!(
        "# Postmortem {}: {}\n\n",
        escape(&header.short_id),
        escape(&header.title())
    );
    if version > 1 {
        head.push_str(&format!(
            "Version {version}: the incident came back after it had been over, and this text replaces the earlier one.\n\n"
        ));
    }
    head.push_str(&format!(
        "- Severity: {}\n- Environment: {}\n- Services: {}\n- Detected: {}\n- Over: {}\n- From detection to the end: {}\n",
        header.severity,
        escape(&header.environment),
        services(&header.affected_services),
        moment(header.detected_at_ms),
        moment(facts.resolved.resolved_at_ms),
        both(facts.resolved.mttr_ms, facts.wall_mttr_ms()),
    ));
    if facts.is_simulated() {
        head.push_str(&format!(
            "- By the wall clock: detected {}, over {}. All other times are simulated ones unless marked.\n",
            moment(header.detected_wall_ms),
            moment(facts.resolved.resolved_wall_ms),
        ));
    }
    head.push_str("\nThis text looks for causes in systems, not in people. It states only what is recorded.\n");
    head
}

/// Names of services, escaped.
pub(crate) fn services(list: &[String]) -> String {
    let names: Vec<String> = list.iter().take(12).map(|name| escape(name)).collect();
    let more = list.len().saturating_sub(12);
    match (names.is_empty(), more) {
        (true, _) => "none recorded".to_owned(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    }
}

fn section(markdown: &mut String, title: &str) {
    markdown.push_str(&format!("\n## {title}\n\n"));
}

fn list(markdown: &mut String, notes: &mut Notes, sentences: &[Sentence], none: &str) {
    if sentences.is_empty() {
        markdown.push_str(none);
        markdown.push('\n');
    }
    for one in sentences {
        markdown.push_str(&format!("- {}\n", notes.bound(one)));
    }
}

/// A polished summary may be longer than a quoted record.
fn escape_long(text: &str) -> String {
    text.split_inclusive(' ')
        .map(|word| {
            let spaces = &word[word.trim_end().len()..];
            format!("{}{spaces}", escape(word))
        })
        .collect()
}

/// `` `metric` of service ``.
pub(crate) fn series(metric: &str, service: &str) -> String {
    format!("{} of {}", code(metric), escape(service))
}
