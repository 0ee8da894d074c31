//! Whether a statement may be published. Pure.
//!
//! A statement holds if it cites records that exist, if each of its facts
//! (numbers, names, times, quotations) is what the rule makes of the values at
//! its places, and if the words between the facts name no number, time or
//! thing. What is computed (spans, counts, sums) is computed again here.
//! A deed is claimed only where its record is cited: `applied` needs an
//! outcome that succeeded and a verification with a verdict, of one step.

use crate::records::Records;
use crate::rules;
use crate::statement::{Part, Statement};
use serde_json::Value;

/// What of a step's records a word needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// Succeeded and verified.
    Applied,
    /// An outcome that succeeded.
    Executed,
    /// A verification with a verdict.
    Verified,
    /// A record of this phase.
    Phase(&'static str),
}

/// Words that claim a deed.
const DEEDS: [(&str, Proof); 16] = [
    ("applied", Proof::Applied),
    ("fixed", Proof::Applied),
    ("mitigated", Proof::Applied),
    ("repaired", Proof::Applied),
    ("mended", Proof::Applied),
    ("restarted", Proof::Applied),
    ("reverted", Proof::Applied),
    ("rolled", Proof::Applied),
    ("scaled", Proof::Applied),
    ("deployed", Proof::Applied),
    ("executed", Proof::Executed),
    ("performed", Proof::Executed),
    ("verified", Proof::Verified),
    ("undone", Proof::Phase("undone")),
    ("approved", Proof::Phase("approved")),
    ("refused", Proof::Phase("refused")),
];

/// Numbers in words; `one` is a pronoun more often.
#[rustfmt::skip]
const NUMBERS: [&str; 26] = [
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "twenty", "thirty", "forty", "fifty", "sixty", "ninety", "hundred", "hundreds", "thousand",
    "thousands", "million", "millions", "dozen", "dozens", "twice",
];

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
    deeds(statement, records)
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
    if word.contains(char::is_numeric) || NUMBERS.contains(&lower.as_str()) {
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

const OWN_COMPOUNDS: [&str; 6] = [
    "on-call",
    "follow-up",
    "by-hand",
    "wall-clock",
    "p-value",
    "read-only",
];

const DENIALS: [&str; 6] = ["not", "no", "nor", "never", "without", "nothing"];

/// A denial counts for so many words behind it within a clause.
const DENIED_WORDS: usize = 6;

/// Claims of deeds need the records of the deeds; denials need their absence.
fn deeds(statement: &Statement, records: &Records) -> Result<(), String> {
    let mut before: [String; DENIED_WORDS] = Default::default();
    for part in &statement.parts {
        let Part::Words(own) = part else { continue };
        for word in own.split_whitespace() {
            let ends = word.ends_with(['.', ';', ':', ',']);
            let word = word
                .trim_matches(|letter: char| !letter.is_alphanumeric())
                .to_lowercase();
            let denied = before.iter().any(|word| DENIALS.contains(&word.as_str()));
            if let Some((_, proof)) = DEEDS.iter().find(|(deed, _)| *deed == word) {
                let shown = proven(*proof, &statement.records, records);
                if !denied && !shown {
                    return Err(format!("it says {word:?} without the records of that"));
                }
                if denied && shown {
                    return Err(format!("it denies {word:?} against the records"));
                }
            }
            before.rotate_left(1);
            before[DENIED_WORDS - 1] = if ends { String::new() } else { word };
            if ends {
                before = Default::default();
            }
        }
    }
    Ok(())
}

fn proven(proof: Proof, cited: &[String], records: &Records) -> bool {
    let actions: Vec<&Value> = cited
        .iter()
        .filter_map(|id| records.part(id, "action"))
        .filter(|action| action["dry_run"] != true)
        .collect();
    let done = |action: &&&Value| action["phase"] == "outcome" && action["succeeded"] == true;
    let verified = |action: &&&Value| {
        let verdict = action["verification"]["verdict"].as_str();
        action["phase"] == "verified" && verdict.is_some_and(|verdict| verdict != "not_provable")
    };
    let same = |one: &Value, other: &Value| {
        one["plan_id"] == other["plan_id"] && one["step_id"] == other["step_id"]
    };
    match proof {
        Proof::Applied => actions.iter().filter(done).any(|outcome| {
            let mut verifications = actions.iter().filter(verified);
            verifications.any(|verification| same(outcome, verification))
        }),
        Proof::Executed => actions.iter().any(|action| done(&action)),
        Proof::Verified => actions.iter().any(|action| verified(&action)),
        Proof::Phase(phase) => actions.iter().any(|action| action["phase"] == phase),
    }
}
