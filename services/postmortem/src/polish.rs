//! What a model may do here: word the summary better. Its words are bound to
//! the same facts and pass the same lint as ours; else ours stand.

use crate::document::Document;
use crate::facts::Facts;
use crate::lint;
use crate::records::Records;
use crate::statement::{Fact, Part, Rule, Statement, Style};
use midwatch_clients::llm::fence;
use serde_json::{Value, json};

/// The name of the reply's schema, and the purpose of the call.
pub const SCHEMA: &str = "polish_postmortem";

/// What the instructions say before [`fence::RULE`].
const TASK: &str = "You improve the wording of the summary of an incident's postmortem. \
Keep every fact, add none: no number, time, name, cause or deed that the context does not state. \
Write numbers, times and names exactly as they stand. What is unknown stays unknown. Blame nobody. \
Write two to five plain sentences without Markdown. ";

/// The instructions.
#[must_use]
pub fn system() -> String {
    format!("{TASK}{}", fence::RULE)
}

/// Shortest and longest summary that is taken, characters.
const LENGTH: std::ops::RangeInclusive<usize> = 60..=1500;
/// Longest text of the context that a model is shown, characters.
const SHOWN: usize = 600;

/// The schema of the reply.
#[must_use]
pub fn schema() -> Value {
    json!({
        "type": "object",
        "properties": { "summary": { "type": "string" } },
        "required": ["summary"],
        "additionalProperties": false
    })
}

/// The question. What was recorded stands in a block of data that no record
/// can close; `call` names the call.
#[must_use]
pub fn question(facts: &Facts, summary: &str, call: &str) -> String {
    let header = &facts.resolved.header;
    let first = facts.candidates.first();
    let mut context = json!({
        "summary": summary,
        "incident": header.short_id,
        "severity": header.severity,
        "affected_services": header.affected_services,
        "trigger": facts.trigger,
        "cause": first.map(|first| json!({
            "service": first.service,
            "hypothesis": first.hypothesis,
            "evidence": first.evidence.iter().map(|one| one.summary.as_str()).collect::<Vec<_>>(),
        })),
        "resolution_method": facts.resolved.resolution_method,
    });
    fence::untrusted_json(&mut context, SHOWN);
    let text = context.to_string();
    let mark = fence::nonce(&[call, &text]);
    format!(
        "Improve the summary.\n{}",
        fence::block("what is recorded", &text, &mark)
    )
}

/// Judges a reply: gives it bound to the facts of our own summary.
///
/// # Errors
/// Says what speaks against it.
pub fn check(reply: &str, own: &Document, records: &Records) -> Result<Statement, String> {
    let reply = reply.trim();
    let length = reply.chars().count();
    if !LENGTH.contains(&length) || reply.contains(char::is_control) {
        return Err(format!(
            "it has {length} characters, not {} to {}, or line breaks",
            LENGTH.start(),
            LENGTH.end()
        ));
    }
    let section = own
        .section(crate::document::SUMMARY)
        .ok_or("there is no summary to word better")?;
    let mut facts: Vec<&Fact> = section
        .statements
        .iter()
        .flat_map(Statement::facts)
        .collect();
    // The longest first: `6 min` before `6`.
    facts.sort_by_key(|fact| std::cmp::Reverse(fact.text.len()));
    let mut statement = Statement::default();
    for one in &section.statements {
        for id in &one.records {
            if !statement.records.contains(id) {
                statement.records.push(id.clone());
            }
        }
    }
    statement.parts = bind(reply, &facts);
    lint::check(&statement, records)?;
    Ok(statement)
}

/// Finds facts in a text, word by word; what is none of them stays words.
fn bind(text: &str, facts: &[&Fact]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut words = String::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let starts = !words.chars().next_back().is_some_and(joins);
        if let Some(fact) = starts.then(|| fact_at(rest, facts)).flatten() {
            if !words.is_empty() {
                parts.push(Part::Words(std::mem::take(&mut words)));
            }
            rest = &rest[fact.text.len()..];
            parts.push(Part::Fact(fact));
        } else {
            words.push(letter);
            rest = &rest[letter.len_utf8()..];
        }
    }
    if !words.is_empty() {
        parts.push(Part::Words(words));
    }
    parts
}

fn joins(letter: char) -> bool {
    letter.is_alphanumeric() || "-_./:@".contains(letter)
}

/// The fact that this text begins with: one of ours as a whole, or a number
/// or name out of a text that ours quote.
fn fact_at(text: &str, facts: &[&Fact]) -> Option<Fact> {
    let ends = |length: usize| {
        let mut after = text[length..].chars();
        match after.next() {
            Some(next) if next.is_alphanumeric() => false,
            Some(next) if joins(next) => !after.next().is_some_and(char::is_alphanumeric),
            _ => true,
        }
    };
    let whole = facts
        .iter()
        .find(|fact| text.starts_with(&fact.text) && ends(fact.text.len()));
    if let Some(fact) = whole {
        return Some(Fact {
            style: Style::Plain,
            ..(*fact).clone()
        });
    }
    let length = text.find(|letter| !joins(letter)).unwrap_or(text.len());
    let word = text[..length].trim_end_matches(|letter: char| !letter.is_alphanumeric());
    let tells = word.contains(|letter: char| letter.is_numeric() || "-_./:@".contains(letter))
        || word.chars().next().is_some_and(char::is_uppercase);
    let source = facts.iter().find(|fact| {
        tells && fact.rule == Rule::Text && !word.is_empty() && fact.text.contains(word)
    })?;
    Some(excerpt(word, source))
}

fn excerpt(word: &str, fact: &Fact) -> Fact {
    Fact {
        text: word.to_owned(),
        rule: Rule::Excerpt,
        places: fact.places.clone(),
        style: Style::Plain,
    }
}
