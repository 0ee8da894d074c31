//! Whether a statement may be published. Pure.
//!
//! A statement holds if it cites records that exist, if each of its facts
//! (numbers, names, times, quotations) is what the rule makes of the values at
//! its places, and if the words between the facts name no number, time or
//! thing. What is computed (spans, counts, sums) is computed again here.
//! A deed is claimed only where its record is cited: `applied` needs an
//! outcome that succeeded and a verification with a verdict, of one step, and
//! `restarted` a step that says so. Amounts and spans in words need a figure,
//! what is not measured is called unknown, and nobody is blamed.

mod claims;
mod lexicon;

use crate::records::Records;
use crate::rules;
use crate::statement::{Part, Statement};
use lexicon::NUMBERS;
use serde_json::Value;

/// Names that our own words may use.
#[rustfmt::skip]
const OWN_NAMES: [&str; 12] = [
    "Midwatch", "SLO", "MTTD", "MTTA", "MTTR", "CPU", "USD", "JSON", "UTC", "Kubernetes", "Kafka",
    "I",
];

/// Judges a statement.
///
/// # Errors
/// What speaks against it.
pub fn check(statement: &Statement, records: &Records) -> Result<(), String> {
    if statement.parts.is_empty() || statement.text().trim().is_empty() {
        return Err("it says nothing".to_owned());
    }
    if statement.records.is_empty() {
        return Err("it is bound to no record".to_owned());
    }
    if let Some(id) = statement.records.iter().find(|id| !records.has(id)) {
        return Err(format!("it cites {id:?}, which is no record"));
    }
    for fact in statement.facts() {
        let mut values: Vec<&Value> = Vec::with_capacity(fact.places.len());
        for place in &fact.places {
            if !statement.records.contains(&place.record) {
                return Err(format!(
                    "{:?} rests on a record that is not cited",
                    fact.text
                ));
            }
            let value = records.value(&place.record, &place.path);
            values.push(value.ok_or_else(|| {
                format!(
                    "{:?}: {} of {:?} is not recorded",
                    fact.text, place.path, place.record
                )
            })?);
        }
        if !rules::holds(fact, &values) {
            return Err(format!("{:?} is not what the records say", fact.text));
        }
    }
    words(statement)?;
    claims::check(statement, records)
}

/// Our own words must hold no number, time or name.
fn words(statement: &Statement) -> Result<(), String> {
    let mut begins = true;
    for part in &statement.parts {
        let own = match part {
            Part::Words(own) => own,
            Part::Fact(_) => {
                begins = false;
                continue;
            }
            Part::Cell => {
                begins = true;
                continue;
            }
        };
        if own.chars().any(char::is_control) {
            return Err("it holds control characters".to_owned());
        }
        for word in own.split_whitespace() {
            let bare = word.trim_matches(|letter: char| !letter.is_alphanumeric());
            if let Some(why) = foreign(bare, begins) {
                return Err(format!("{bare:?} {why} that stands in no record"));
            }
            begins = word.ends_with(['.', '!', '?', ':']) || (bare.is_empty() && begins);
        }
    }
    Ok(())
}

/// What a word would claim that only a record can say.
fn foreign(word: &str, begins: bool) -> Option<&'static str> {
    let lower = word.to_lowercase();
    if word.contains(char::is_numeric) || is_number(&lower) {
        return Some("is a number");
    }
    // A hyphen joins plain words of ours, too; there are few of these.
    let joined = word.contains(['_', '/', '.', ':', '@', '=', '\\', '<', '>', '`', '"']);
    if joined || (word.contains('-') && !OWN_COMPOUNDS.contains(&lower.as_str())) {
        return Some("is a name");
    }
    let capital = word.chars().next().is_some_and(char::is_uppercase);
    let more = word.chars().skip(1).any(char::is_uppercase);
    if (more || (capital && !begins)) && !OWN_NAMES.contains(&word) {
        return Some("is a name");
    }
    None
}

/// `half` has uses of ours, which [`claims`] knows.
fn is_number(word: &str) -> bool {
    let parts = || word.split('-').filter(|part| !part.is_empty());
    let times = word
        .strip_suffix("fold")
        .map(|rest| rest.trim_end_matches('-'));
    let plain = |word: &str| word != "half" && NUMBERS.contains(&word);
    plain(word)
        || times.is_some_and(|rest| NUMBERS.contains(&rest) || rest == "multi")
        || (parts().count() > 1 && parts().any(|part| NUMBERS.contains(&part)))
}

const OWN_COMPOUNDS: [&str; 6] = [
    "on-call",
    "follow-up",
    "by-hand",
    "wall-clock",
    "p-value",
    "read-only",
];
