//! What the values in records are called in a text, and how values that are
//! computed follow from them. The writer and the lint use the same rules.

use crate::statement::{Fact, Rule};
use crate::text::{about, date_after, duration, line, moment, number, time_of_day, words_of_kind};
use serde_json::Value;

/// Readings count until the next one, and no longer than this: no data is
/// not the last value going on.
pub const LONGEST_READING_MS: i64 = 60_000;
/// Most names of a list.
const NAMES: usize = 12;

/// The text that follows from these values; none where they are of another
/// kind. [`Rule::Excerpt`] has no text of its own.
#[must_use]
pub fn say(rule: Rule, values: &[&Value]) -> Option<String> {
    let first = *values.first()?;
    let sum = || {
        values
            .iter()
            .map(|value| value.as_f64())
            .sum::<Option<f64>>()
    };
    Some(match rule {
        Rule::Text => line(first.as_str()?),
        Rule::Excerpt => return None,
        Rule::Spoken => line(first.as_str()?).replace('_', " "),
        Rule::Title => words_of_kind(first.as_str()?),
        Rule::List => names(first.as_array()?)?,
        Rule::Number => number(finite(first)?),
        Rule::About => about(finite(first)?),
        Rule::Percent => number(finite(first)? * 100.0),
        Rule::Sum => number(sum()?),
        Rule::Money => format!("{:.4}", sum()?),
        Rule::Seconds => number(sum()? / 1000.0),
        Rule::Bytes => bytes(sum()?),
        Rule::Count => values.len().to_string(),
        Rule::Length => first.as_array()?.len().to_string(),
        Rule::TimeOfDay => time_of_day(first.as_i64()?),
        Rule::Moment => moment(first.as_i64()?),
        Rule::DayAfter => date_after(first.as_i64()?, values.get(1)?.as_i64()?),
        Rule::Duration => duration(first.as_i64()?),
        Rule::Between => duration(values.get(1)?.as_i64()?.checked_sub(first.as_i64()?)?),
        Rule::FailedRequests => about(failed(values)?),
        Rule::BurntMinutes => number(minutes(values, |share| share)?),
        Rule::DownMinutes => number(minutes(values, |share| f64::from(share >= 0.5))?),
    })
}

/// Whether a fact says what the values say.
#[must_use]
pub fn holds(fact: &Fact, values: &[&Value]) -> bool {
    if fact.rule == Rule::Excerpt {
        return values
            .first()
            .and_then(|value| value.as_str())
            .is_some_and(|text| has_words(text, &fact.text));
    }
    say(fact.rule, values).is_some_and(|text| text == fact.text)
}

/// Whether `text` holds these words as whole words.
fn has_words(text: &str, words: &str) -> bool {
    let joins = |letter: char| letter.is_alphanumeric() || "-_./:".contains(letter);
    !words.trim().is_empty()
        && text.match_indices(words).any(|(start, found)| {
            let before = text[..start].chars().next_back();
            let mut after = text[start + found.len()..].chars();
            // A full stop that ends the sentence belongs to no word.
            let joined = match after.next() {
                Some(next) if next.is_alphanumeric() => true,
                Some(next) if joins(next) => after.next().is_some_and(char::is_alphanumeric),
                _ => false,
            };
            !before.is_some_and(joins) && !joined
        })
}

fn finite(value: &Value) -> Option<f64> {
    value.as_f64().filter(|value| value.is_finite())
}

fn names(list: &[Value]) -> Option<String> {
    let texts: Option<Vec<String>> = list
        .iter()
        .take(NAMES)
        .map(|name| name.as_str().map(line))
        .collect();
    let texts = texts?;
    Some(match (texts.is_empty(), list.len().saturating_sub(NAMES)) {
        (true, _) => "none recorded".to_owned(),
        (false, 0) => texts.join(", "),
        (false, more) => format!("{} and {more} more", texts.join(", ")),
    })
}

fn bytes(count: f64) -> String {
    match count {
        count if count >= 1e6 => format!("{} MB", number((count / 1e5).round() / 10.0)),
        count if count >= 1e3 => format!("{} kB", number((count / 100.0).round() / 10.0)),
        count => format!("{count:.0} bytes"),
    }
}

/// A reading's moment and value.
fn reading(value: &Value) -> Option<(i64, f64)> {
    Some((value["at_ms"].as_i64()?, finite(&value["value"])?))
}

/// How long a reading counts: to the next one.
fn lasts(at_ms: i64, next: Option<i64>) -> f64 {
    let until = next.map_or(0, |next| (next - at_ms).clamp(0, LONGEST_READING_MS));
    until as f64
}

fn failed(values: &[&Value]) -> Option<f64> {
    let pairs: Option<Vec<_>> = values
        .chunks(2)
        .map(|pair| Some((reading(pair[0])?.1, reading(pair.get(1)?)?)))
        .collect();
    let pairs = pairs?;
    let mut sum = 0.0;
    for (index, (rate, (at_ms, share))) in pairs.iter().enumerate() {
        let next = pairs.get(index + 1).map(|(_, (next, _))| *next);
        sum += rate * share / 100.0 * lasts(*at_ms, next) / 1000.0;
    }
    Some(sum)
}

fn minutes(values: &[&Value], weight: impl Fn(f64) -> f64) -> Option<f64> {
    let readings: Option<Vec<_>> = values.iter().map(|value| reading(value)).collect();
    let readings = readings?;
    let mut sum = 0.0;
    for (index, (at_ms, share)) in readings.iter().enumerate() {
        let next = readings.get(index + 1).map(|(next, _)| *next);
        sum += weight(share / 100.0) * lasts(*at_ms, next) / 60_000.0;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn failed_requests_are_rate_times_share_times_time() {
        // 100/s × 10 % × 10 s + 100/s × 50 % × 60 s (a gap counts as one
        // minute), the last reading for nothing: 100 + 3000.
        let at = |at_ms: i64, value: f64| json!({"at_ms": at_ms, "value": value});
        let (rate, shares) = (
            at(0, 100.0),
            [at(0, 10.0), at(10_000, 50.0), at(500_000, 9.0)],
        );
        let pairs: Vec<&Value> = shares.iter().flat_map(|share| [&rate, share]).collect();
        assert_eq!(say(Rule::FailedRequests, &pairs).as_deref(), Some("3100"));
        let shares: Vec<&Value> = shares.iter().collect();
        // 0.1 × 10 s + 0.5 × 60 s = 31 s.
        assert_eq!(say(Rule::BurntMinutes, &shares).as_deref(), Some("0.52"));
        assert_eq!(say(Rule::DownMinutes, &shares).as_deref(), Some("1"));
    }

    #[test]
    fn an_excerpt_is_made_of_whole_words() {
        let text = "payment-service took 100 connections.";
        for (words, holds) in [
            ("100", true),
            ("payment-service", true),
            ("connections", true),
            ("10", false),
            ("payment", false),
            ("", false),
        ] {
            assert_eq!(has_words(text, words), holds, "{words}");
        }
    }
}
