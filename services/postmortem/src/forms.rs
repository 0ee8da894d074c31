//! What a document is made into: Markdown with footnotes, one HTML file that
//! prints well, JSON.

use crate::document::{Document, Layout};
use crate::statement::Statement;
use crate::text::code;
use pulldown_cmark::{Event, Options, Parser, html};
use serde_json::{Value, json};

/// Most marks behind one statement; more records share a footnote.
const MARKS: usize = 4;
const STYLE: &str = include_str!("forms/page.css");

/// Numbers footnotes in the order in which they are cited.
#[derive(Default)]
struct Notes {
    /// Each footnote's records.
    cited: Vec<Vec<String>>,
}

impl Notes {
    /// The marks of these records: `[^1] [^4]`.
    fn cite(&mut self, records: &[String]) -> String {
        let notes: Vec<Vec<String>> = if records.len() > MARKS {
            vec![records.to_vec()]
        } else {
            records.iter().map(|id| vec![id.clone()]).collect()
        };
        let marks: Vec<String> = notes
            .into_iter()
            .map(|note| {
                let place = self.cited.iter().position(|known| *known == note);
                let place = place.unwrap_or_else(|| {
                    self.cited.push(note);
                    self.cited.len() - 1
                });
                format!("[^{}]", place + 1)
            })
            .collect();
        // Without the space, 5 and 1 would read as 51.
        marks.join(" ")
    }

    fn bound(&mut self, statement: &Statement) -> String {
        format!("{}{}", statement.markdown(), self.cite(&statement.records))
    }

    fn list(&self) -> String {
        self.cited
            .iter()
            .enumerate()
            .map(|(index, records)| {
                let ids: Vec<String> = records.iter().map(|id| code(id)).collect();
                format!("[^{}]: {}\n", index + 1, ids.join(", "))
            })
            .collect()
    }
}

/// The document as Markdown. Outside of statements it holds headings only.
#[must_use]
pub fn markdown(document: &Document) -> String {
    let mut notes = Notes::default();
    let mut text = String::new();
    for section in &document.sections {
        if !section.heading.is_empty() {
            text.push_str(&format!("\n## {}\n\n", section.heading));
        }
        match &section.layout {
            // A mark inside of the title would stand in every list of titles;
            // the lines below it cite the same record.
            Layout::Title => {
                for statement in &section.statements {
                    text.push_str(&format!("# {}\n\n", statement.markdown()));
                }
            }
            Layout::Prose => {
                let bound: Vec<String> = section
                    .statements
                    .iter()
                    .map(|one| notes.bound(one))
                    .collect();
                text.push_str(&format!("{}\n", bound.join(" ")));
            }
            Layout::List => {
                for statement in &section.statements {
                    text.push_str(&format!("- {}\n", notes.bound(statement)));
                }
            }
            Layout::Table(columns) => {
                text.push_str(&format!("| {} | |\n", columns.join(" | ")));
                text.push_str(&format!("|{}\n", "---|".repeat(columns.len() + 1)));
                for statement in &section.statements {
                    let marks = notes.cite(&statement.records);
                    text.push_str(&format!("| {} | {marks} |\n", statement.markdown()));
                }
            }
        }
    }
    text.push_str("\n## Records\n\nEach number in brackets above names the records that a statement rests on.\n\n");
    text.push_str(&notes.list());
    text
}

/// The document as one HTML file: no script, no remote part, a style for the
/// screen and one for paper.
#[must_use]
pub fn page(document: &Document) -> String {
    let text = markdown(document);
    let options = Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES;
    // Statements begin no markup of their own; should one, it stays text.
    let events = Parser::new_ext(&text, options).map(|event| match event {
        Event::Html(raw) | Event::InlineHtml(raw) => Event::Text(raw),
        other => other,
    });
    let mut body = String::new();
    html::push_html(&mut body, events);
    let mut title = String::new();
    escape_html(&mut title, &document.incident);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>Postmortem {title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

fn escape_html(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
}

/// The document for programs: each statement with its id, text and parts.
///
/// # Panics
/// Never: a document holds string keys only.
#[must_use]
pub fn json(document: &Document) -> Value {
    let mut value = serde_json::to_value(document).expect("a document has string keys only");
    if let Some(sections) = value["sections"].as_array_mut() {
        for (shown, section) in sections.iter_mut().zip(&document.sections) {
            for (index, statement) in section.statements.iter().enumerate() {
                shown["statements"][index]["text"] = json!(statement.text());
            }
        }
    }
    value
}
