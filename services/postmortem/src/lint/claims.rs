//! What the words of a statement claim beyond its facts, and whether the cited
//! records say so.

use super::lexicon::{
    AMOUNTS, BLAME, BREAKS, CAUSING, DEEDS, DENIALS, PEOPLE, Proof, ROLES, SPANS, TIMES, UNITS,
    UNMEASURED,
};
use crate::records::Records;
use crate::statement::{Fact, Part, Rule, Statement};
use serde_json::Value;

/// A denial counts for so many words behind it within a clause.
const DENIED_WORDS: usize = 6;
/// And for so many before it: `carried out no step`.
const DENIED_BEFORE: usize = 2;

/// A word of ours, or a fact.
enum Token<'a> {
    Word {
        /// Lower case, without marks around it.
        bare: String,
        /// Ends a clause.
        ends: bool,
        /// As it stands.
        raw: &'a str,
    },
    Fact(&'a Fact),
    /// The end of a cell.
    Gap,
}

/// Judges the words.
///
/// # Errors
/// What they claim without a record.
pub(super) fn check(statement: &Statement, records: &Records) -> Result<(), String> {
    let tokens = tokens(statement);
    amounts(&tokens, statement, records)?;
    people(&tokens)?;
    deeds(&tokens, statement, records)
}

fn tokens(statement: &Statement) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    for part in &statement.parts {
        match part {
            Part::Words(own) => tokens.extend(own.split_whitespace().map(|raw| {
                Token::Word {
                    bare: raw
                        .trim_matches(|letter: char| !letter.is_alphanumeric())
                        .to_lowercase(),
                    ends: raw.ends_with(['.', ';', ':', ',', '!', '?']),
                    raw,
                }
            })),
            Part::Fact(fact) => tokens.push(Token::Fact(fact)),
            Part::Cell => tokens.push(Token::Gap),
        }
    }
    tokens
}

fn word<'a>(tokens: &'a [Token<'_>], index: usize) -> Option<&'a str> {
    match tokens.get(index)? {
        Token::Word { bare, .. } => Some(bare),
        Token::Fact(_) | Token::Gap => None,
    }
}

fn fact<'a>(tokens: &[Token<'a>], index: usize) -> Option<&'a Fact> {
    match tokens.get(index)? {
        Token::Fact(fact) => Some(fact),
        Token::Word { .. } | Token::Gap => None,
    }
}

/// How many tokens a form takes from here on; none where another stands here.
fn fits(form: &str, tokens: &[Token<'_>], from: usize) -> Option<usize> {
    let mut index = from;
    for part in form.split(' ') {
        let found = word(tokens, index)?;
        let same = match part.strip_suffix('*') {
            Some(start) => found.starts_with(start),
            None => found == part,
        };
        if !same {
            return None;
        }
        index += 1;
    }
    Some(index - from)
}

fn any(forms: &[&str], tokens: &[Token<'_>], from: usize) -> bool {
    forms.iter().any(|form| fits(form, tokens, from).is_some())
}

/// Amounts and spans in words, and what a figure is said to be of.
fn amounts(tokens: &[Token<'_>], statement: &Statement, records: &Records) -> Result<(), String> {
    let unknown = (0..tokens.len()).any(|index| {
        fits("not measured", tokens, index).is_some() || word(tokens, index) == Some("unknown")
    });
    for (index, token) in tokens.iter().enumerate() {
        let behind = index.checked_sub(1).and_then(|before| fact(tokens, before));
        let Token::Word { bare, raw, ends } = token else {
            continue;
        };
        let forms = AMOUNTS.iter().chain(TIMES);
        let claim = forms
            .filter(|form| fits(form, tokens, index).is_some())
            .find(|form| !is_to_come(form, statement, records));
        if let Some(claim) = claim {
            return Err(format!(
                "{claim:?} is an amount or time that stands in no record"
            ));
        }
        if bare == "half" && !half(tokens, index, statement, records) {
            return Err("\"half\" is a number that stands in no record".to_owned());
        }
        let before = index.checked_sub(1).and_then(|before| word(tokens, before));
        let spans = before.is_some_and(|before| SPANS.contains(&before));
        if spans && UNITS.contains(&bare.as_str()) && !(*ends && raw.ends_with(':')) {
            return Err(format!("{bare:?} is a span that stands in no record"));
        }
        if UNMEASURED.contains(&bare.as_str()) && !unknown {
            return Err(format!("{bare:?} were not measured"));
        }
        if let Some(fact) = behind {
            unit(fact, bare, raw)?;
        }
    }
    Ok(())
}

/// A figure is multiplied by no word of ours, and a share only where it is one.
fn unit(fact: &Fact, bare: &str, raw: &str) -> Result<(), String> {
    if matches!(bare, "times" | "x" | "fold" | "percentage") || raw.starts_with(['×', '-']) {
        return Err(format!("{:?} is multiplied by nothing recorded", fact.text));
    }
    let is_share = fact.rule == Rule::Percent
        || fact
            .places
            .iter()
            .any(|place| place.path.contains("percent"));
    if (raw.starts_with('%') || bare == "percent") && !is_share {
        return Err(format!("{:?} is no share", fact.text));
    }
    Ok(())
}

/// Our own two uses: by readings of a share, and of the confidence in a cause.
fn half(tokens: &[Token<'_>], index: usize, statement: &Statement, records: &Records) -> bool {
    let start = |words: usize| index.checked_sub(words);
    let down = start(2).is_some_and(|start| {
        fits("at least half of its requests failing", tokens, start).is_some()
    });
    let measured = statement.facts().any(|fact| fact.rule == Rule::DownMinutes);
    let weak = start(4)
        .is_some_and(|start| fits("a confidence of one half or more", tokens, start).is_some());
    let judged = statement.records.iter().any(|id| {
        let confidence = records.part(id, "cause").map(|cause| &cause["confidence"]);
        confidence
            .and_then(Value::as_f64)
            .is_some_and(|value| value < 0.5)
    });
    (down && measured) || (weak && judged)
}

/// Nobody is blamed, and nobody is said to have brought the incident about.
fn people(tokens: &[Token<'_>]) -> Result<(), String> {
    let mut named = false;
    let mut causing = None;
    for (index, token) in tokens.iter().enumerate() {
        if any(BLAME, tokens, index) {
            let what = word(tokens, index).unwrap_or_default();
            return Err(format!("{what:?} blames somebody"));
        }
        if any(ROLES, tokens, index) {
            let what = word(tokens, index).unwrap_or_default();
            return Err(format!("{what:?} is a person that stands in no record"));
        }
        named |=
            any(PEOPLE, tokens, index) || matches!(token, Token::Fact(fact) if is_person(fact));
        if causing.is_none() && any(CAUSING, tokens, index) {
            causing = word(tokens, index);
        }
        // What is said of people is said in the sentence that names them.
        let ends = match token {
            Token::Word { raw, .. } => raw.ends_with(['.', '!', '?', ':', ';']),
            Token::Gap => true,
            Token::Fact(_) => false,
        };
        if named && let Some(what) = causing {
            return Err(format!("{what:?} is said of a person"));
        }
        if ends {
            (named, causing) = (false, None);
        }
    }
    Ok(())
}

/// A fact that is somebody's name.
fn is_person(fact: &Fact) -> bool {
    let mut paths = fact.places.iter().map(|place| place.path.as_str());
    paths.any(|path| {
        let last = path.rsplit('/').next().unwrap_or(path);
        matches!(last, "by" | "deployed_by" | "author" | "approved_by")
    })
}

/// Claims of deeds need the records of the deeds; denials need their absence.
fn deeds(tokens: &[Token<'_>], statement: &Statement, records: &Records) -> Result<(), String> {
    let mut index = 0;
    while index < tokens.len() {
        let found = DEEDS.iter().find_map(|(forms, proof)| {
            let lengths = forms.iter().filter_map(|form| fits(form, tokens, index));
            Some((lengths.max()?, *proof))
        });
        let Some((length, proof)) = found else {
            index += 1;
            continue;
        };
        let deed: Vec<&str> = (index..index + length)
            .filter_map(|at| word(tokens, at))
            .collect();
        let deed = deed.join(" ");
        if is_to_come(&deed, statement, records) {
            index += length;
            continue;
        }
        let shown = proven(proof, &statement.records, records);
        match denied(tokens, index, length) {
            false if !shown => {
                return Err(format!("it says {deed:?} without the records of that"));
            }
            true if shown => return Err(format!("it denies {deed:?} against the records")),
            _ => index += length,
        }
    }
    Ok(())
}

/// What an action item asks for is no claim that it was so.
fn is_to_come(words: &str, statement: &Statement, records: &Records) -> bool {
    let cited = statement.records.iter();
    let mut texts = cited.flat_map(|id| ["lessons", "checks"].map(|name| records.part(id, name)));
    texts.any(|texts| texts.is_some_and(|texts| says(texts, &[words])))
}

/// Whether a denial in the same clause is about these words.
fn denied(tokens: &[Token<'_>], from: usize, length: usize) -> bool {
    let mut counted = 0;
    for token in tokens[..from].iter().rev() {
        let (bare, ends) = match token {
            Token::Word { bare, ends, .. } => (bare, ends),
            Token::Fact(_) => continue,
            // Another cell: nobody decided on it, and it was applied.
            Token::Gap => break,
        };
        if *ends || counted == DENIED_WORDS || BREAKS.contains(&bare.as_str()) {
            break;
        }
        if DENIALS.contains(&bare.as_str()) {
            return true;
        }
        counted += 1;
    }
    let end = from + length;
    if matches!(tokens.get(end - 1), Some(Token::Word { ends: true, .. })) {
        return false;
    }
    let after = &tokens[end..tokens.len().min(end + DENIED_BEFORE)];
    let is = |token: Option<&Token<'_>>, words: &[&str]| match token {
        Some(Token::Word { bare, .. }) => words.contains(&bare.as_str()),
        _ => false,
    };
    is(after.first(), DENIALS) && !is(after.get(1), BREAKS)
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
    let mut applied = actions.iter().filter(done).filter(|outcome| {
        let mut verifications = actions.iter().filter(verified);
        verifications.any(|verification| same(outcome, verification))
    });
    let has = |name: &str| cited.iter().any(|id| records.part(id, name).is_some());
    let resolved = || cited.iter().filter_map(|id| records.part(id, "resolved"));
    let stated = || resolved().any(|resolved| !resolved["stated"].is_null());
    match proof {
        Proof::Applied => applied.next().is_some(),
        Proof::AppliedAs(stems) => applied.any(|outcome| {
            let name = |field: &str| outcome[field].as_str().unwrap_or_default();
            let id = format!("{}/{}", name("plan_id"), name("step_id"));
            let step = cited.iter().filter(|cited| **cited == id);
            let step = step.filter_map(|id| records.part(id, "step"));
            let told = step.flat_map(|step| [&step["action"], &step["command"]]);
            let own = [&outcome["typed"]["kind"], &outcome["result"]];
            told.chain(own).any(|text| says(text, stems))
        }),
        Proof::Executed => actions.iter().any(|action| done(&action)),
        Proof::Verified => actions.iter().any(|action| verified(&action)),
        Proof::Phase(phase) => actions.iter().any(|action| action["phase"] == phase),
        Proof::Part(name) => has(name),
        Proof::Stated => stated() || applied.next().is_some(),
        Proof::Closed => resolved().any(|resolved| {
            resolved["resolution_method"] == "CLOSED_BY_OPERATOR" || !resolved["stated"].is_null()
        }),
        Proof::Told(stems) => cited.iter().any(|id| {
            let mut parts = records.parts(id);
            parts.any(|part| says(part, stems))
        }),
    }
}

/// Whether a text in this value has one of these.
fn says(value: &Value, stems: &[&str]) -> bool {
    match value {
        Value::String(text) => {
            let text = text.to_lowercase().replace('_', " ");
            stems.iter().any(|stem| text.contains(stem))
        }
        Value::Array(list) => list.iter().any(|one| says(one, stems)),
        Value::Object(map) => map.values().any(|one| says(one, stems)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
