//! The postmortem: sections of statements, and what it is made into.

mod cause;
mod closing;
mod impact;
mod judgement;
mod remedy;
mod story;
mod timeline;

use crate::facts::Facts;
use crate::items::items;
use crate::lint;
use crate::records::Records;
use crate::statement::Statement;
use midwatch_events::response::ActionItem;
use serde::{Deserialize, Serialize};

/// How a section's statements stand on the page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// The heading of the whole.
    Title,
    /// Sentences one after another.
    Prose,
    List,
    /// With these columns.
    Table(Vec<String>),
}

/// Statements under one heading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Empty where it goes on under the one before.
    pub heading: String,
    pub layout: Layout,
    pub statements: Vec<Statement>,
}

/// A written postmortem, as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    pub incident: String,
    pub version: u32,
    pub sections: Vec<Section>,
    pub items: Vec<ActionItem>,
}

/// A statement that was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    pub section: String,
    pub text: String,
    pub reason: String,
}

/// The heading of the summary.
pub const SUMMARY: &str = "Summary";

/// Writes the postmortem. `version` counts from 1. Nothing in it has been
/// linted yet: see [`Document::lint`].
#[must_use]
pub fn write(facts: &Facts, records: &Records, version: u32) -> Document {
    let items = items(facts, records);
    let rows = items.iter().map(|item| item.row.clone()).collect();
    let judged = judgement::judge(facts, records);
    let mut sections = story::head(facts, records, version);
    sections.push(prose(SUMMARY, story::summary(facts, records)));
    sections.push(list("Impact", impact::impact(facts, records)));
    sections.push(list("Detection and response", story::times(facts, records)));
    sections.push(timeline::timeline(facts, records));
    sections.extend(cause::sections(facts, records));
    sections.push(list("Contributing factors", cause::factors(facts, records)));
    sections.push(list("What went well", judged.well));
    sections.push(list("What went badly", judged.badly));
    if !judged.lucky.is_empty() {
        sections.push(list("Where we were lucky", judged.lucky));
    }
    sections.extend(remedy::sections(facts, records));
    sections.push(table(
        "Action items",
        &["what", "owner", "due", "priority", "done when"],
        rows,
    ));
    sections.push(list("What people stated", closing::stated(facts, records)));
    sections.push(closing::cost(facts, records));
    sections.push(list("What is not known", closing::unknowns(facts, records)));
    let mut document = Document {
        incident: facts.resolved.header.short_id.clone(),
        version,
        sections,
        items: items.into_iter().map(|item| item.item).collect(),
    };
    for section in &mut document.sections {
        if section.statements.is_empty() && !section.heading.is_empty() {
            section.layout = Layout::Prose;
            let nothing = crate::writer::say(
                records,
                "Nothing that the records show.",
                &[],
                &[&facts.holdings_id()],
            );
            section.statements.extend(nothing);
        }
    }
    document.number();
    document
}

impl Document {
    /// Every statement with the heading that it stands under.
    pub fn statements(&self) -> impl Iterator<Item = (&str, &Statement)> {
        let mut heading = "";
        self.sections.iter().flat_map(move |section| {
            if !section.heading.is_empty() {
                heading = &section.heading;
            }
            let under = heading;
            section.statements.iter().map(move |one| (under, one))
        })
    }

    /// The summary as plain text.
    #[must_use]
    pub fn summary(&self) -> String {
        let texts: Vec<String> = self
            .section(SUMMARY)
            .iter()
            .flat_map(|section| &section.statements)
            .map(Statement::text)
            .collect();
        texts.join(" ")
    }

    /// The section under this heading.
    #[must_use]
    pub fn section(&self, heading: &str) -> Option<&Section> {
        self.sections
            .iter()
            .find(|section| section.heading == heading)
    }

    /// Puts another wording in place of the summary; its words have passed
    /// the lint.
    pub fn reword(&mut self, summary: Statement) {
        for section in &mut self.sections {
            if section.heading == SUMMARY {
                section.statements = vec![summary];
                break;
            }
        }
        self.number();
    }

    /// Takes out every statement that does not hold, and tells which. Action
    /// items whose row goes, go too.
    pub fn lint(&mut self, records: &Records) -> Vec<LeftOut> {
        let mut left_out = Vec::new();
        let mut heading = String::new();
        for section in &mut self.sections {
            if !section.heading.is_empty() {
                heading.clone_from(&section.heading);
            }
            section.statements.retain(|statement| {
                let Err(reason) = lint::check(statement, records) else {
                    return true;
                };
                left_out.push(LeftOut {
                    section: heading.clone(),
                    text: statement.text(),
                    reason,
                });
                false
            });
        }
        if !left_out.is_empty() {
            let rows: Vec<String> = left_out.iter().map(|one| one.text.clone()).collect();
            self.items
                .retain(|item| !rows.iter().any(|row| row.starts_with(&item.title)));
            self.number();
        }
        left_out
    }

    fn number(&mut self) {
        let statements = self
            .sections
            .iter_mut()
            .flat_map(|section| &mut section.statements);
        for (index, statement) in statements.enumerate() {
            statement.id = format!("S{}", index + 1);
        }
    }
}

fn prose(heading: &str, statements: Vec<Statement>) -> Section {
    Section {
        heading: heading.to_owned(),
        layout: Layout::Prose,
        statements,
    }
}

fn list(heading: &str, statements: Vec<Statement>) -> Section {
    Section {
        heading: heading.to_owned(),
        layout: Layout::List,
        statements,
    }
}

fn table(heading: &str, columns: &[&str], statements: Vec<Statement>) -> Section {
    Section {
        heading: heading.to_owned(),
        layout: Layout::Table(columns.iter().map(|name| (*name).to_owned()).collect()),
        statements,
    }
}
