//! Takes secrets and personal data out of text before it leaves the process, and puts them back in
//! what people see.
//!
//! A [`Vault`] belongs to one conversation. It replaces every recognised secret by a placeholder
//! such as `[secret-1:token]`, numbered in the order of appearance: equal secrets get equal
//! placeholders, so that a model can still tell that two lines name the same key, and the same
//! texts in the same order give the same placeholders, in every round and in every repetition of a
//! job. The originals live in the vault's memory only: it implements no serialisation, its `Debug`
//! shows a count, and whoever needs it again makes it again from the same texts.
//!
//! [`redact`] is the variant without a way back, for what is stored or logged.
//!
//! Recognised: private keys, JSON web tokens, passwords in URLs and connection strings, bearer and
//! basic credentials, tokens of well-known services, values of keys whose name says that they are
//! secret (JSON, also escaped in JSON, YAML, INI, environment, query strings, XML, headers,
//! command lines), session cookies, mail addresses, payment card numbers and IBANs with a valid
//! check sum; also percent-encoded, wrapped over lines, written with look-alike characters, and in
//! base64 where what is encoded says that it is secret. Hashes, UUIDs, trace ids, ids of incidents
//! and of records, and ordinary numbers stay as they are: they are evidence.

mod rules;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use view::View;
pub(super) use view::is_invisible;

/// Secrets of one vault. No conversation comes near it; above it a secret is still taken out, but
/// can no longer be put back, so that hostile text cannot fill the memory.
pub const MAX_SECRETS: usize = 2_000;
/// Each of these costs a search through every text: a few thousand would make a hostile log slow.
const MAX_TELLING: usize = 200;
/// A shorter text is a part of too much to be looked for.
const SHORTEST_ECHO: usize = 4;
/// What one pass makes of a text can show a secret that it covered; nothing takes more passes.
const PASSES: usize = 3;

static PLACEHOLDER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\[(?:secret-[0-9]{1,6}|redacted):[a-z-]{1,20}\]").expect("a constant pattern")
});

/// The secrets of one conversation with their placeholders.
#[derive(Default)]
pub struct Vault {
    /// The index in `originals` by what the secret is when decoded.
    known: HashMap<String, usize>,
    /// Placeholder and the secret as it stood in the text where it was first seen, without the line
    /// breaks that cut it.
    originals: Vec<(String, String)>,
    /// The first [`MAX_TELLING`] secrets that are looked for also where nothing gives them away.
    telling: Vec<String>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Vault")
            .field("secrets", &self.originals.len())
            .finish_non_exhaustive()
    }
}

impl Vault {
    /// The text with every recognised secret replaced by its placeholder, and with every secret that
    /// this vault knows from before, unless that could be an ordinary name or id. Hiding twice
    /// changes nothing.
    #[must_use]
    pub fn hide(&mut self, text: &str) -> String {
        let known = self.telling.clone();
        self.hide_with(text, &known)
    }

    /// [`Vault::hide`] for what a model said and [`Vault::show_again`] has restored: here every
    /// known secret is taken out, also one that could be a name, since nothing in such a text needs
    /// to give it away.
    #[must_use]
    pub fn hide_echo(&mut self, text: &str) -> String {
        let known = self
            .known
            .keys()
            .filter(|secret| secret.len() >= SHORTEST_ECHO);
        let known: Vec<String> = known.cloned().collect();
        self.hide_with(text, &known)
    }

    /// Takes in the secrets of a text, so that [`Vault::hide_echo`] knows them.
    pub fn learn(&mut self, text: &str) {
        for secret in find(text, &[]) {
            self.placeholder(&secret);
        }
    }

    fn hide_with(&mut self, text: &str, known: &[String]) -> String {
        let mut hidden = text.to_owned();
        for _ in 0..PASSES {
            let found = find(&hidden, known);
            if found.is_empty() {
                break;
            }
            hidden = replaced(&hidden, &found, |secret| self.placeholder(secret));
        }
        hidden
    }

    /// The text with the originals in place of this vault's placeholders: for people only. What
    /// looks like a placeholder but is none of this vault's stays.
    #[must_use]
    pub fn show_again(&self, text: &str) -> String {
        let original = |found: &regex::Captures<'_>| {
            let number = found[0]
                .strip_prefix("[secret-")
                .and_then(|rest| rest.split(':').next())
                .and_then(|number| number.parse::<usize>().ok());
            let entry = number.and_then(|number| self.originals.get(number.checked_sub(1)?));
            match entry {
                Some((placeholder, original)) if *placeholder == found[0] => original.clone(),
                _ => found[0].to_owned(),
            }
        };
        PLACEHOLDER.replace_all(text, original).into_owned()
    }

    /// [`Vault::show_again`] for every string of a document, names of fields included.
    pub fn show_again_in(&self, value: &mut Value) {
        each_string(value, &mut |text| self.show_again(text));
    }

    /// How many different secrets it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.originals.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.originals.is_empty()
    }

    fn placeholder(&mut self, secret: &Found<'_>) -> String {
        if let Some(index) = self.known.get(&secret.plain) {
            return self.originals[*index].0.clone();
        }
        if self.originals.len() >= MAX_SECRETS {
            return format!("[redacted:{}]", secret.kind);
        }
        let placeholder = format!("[secret-{}:{}]", self.originals.len() + 1, secret.kind);
        // Put back, it stands there as it stood here, a line break in it included.
        let standing = View::of(secret.text, &PLACEHOLDER).flattened().flattened();
        for form in [&*secret.plain, standing.text()] {
            let is_new = self
                .known
                .insert(form.to_owned(), self.originals.len())
                .is_none();
            if is_new && self.telling.len() < MAX_TELLING && rules::is_telling(form) {
                self.telling.push(form.to_owned());
            }
        }
        // What a line break cut in two comes back whole: in two it would not be known again.
        let is_cut = standing.text().contains('\n') && !secret.plain.contains('\n');
        let original = if is_cut { &secret.plain } else { secret.text };
        self.originals
            .push((placeholder.clone(), original.to_owned()));
        placeholder
    }
}

/// The text with every recognised secret replaced by `[redacted:<kind>]`, from which nothing can be
/// recovered. Placeholders of a [`Vault`] stay. Redacting twice changes nothing.
#[must_use]
pub fn redact(text: &str) -> String {
    let mut redacted = text.to_owned();
    for _ in 0..PASSES {
        let found = find(&redacted, &[]);
        if found.is_empty() {
            break;
        }
        redacted = replaced(&redacted, &found, |secret| {
            format!("[redacted:{}]", secret.kind)
        });
    }
    redacted
}

/// Where the secret begins that the byte `place` of the text lies within.
pub(super) fn start_of_secret_at(text: &str, place: usize) -> Option<usize> {
    find(text, &[])
        .into_iter()
        .find(|found| found.range.start < place && place < found.range.end)
        .map(|found| found.range.start)
}

/// A secret in a text.
struct Found<'a> {
    range: Range<usize>,
    kind: &'static str,
    /// As it stands there.
    text: &'a str,
    /// Decoded, so that the same secret is known in another notation.
    plain: String,
}

/// The secrets of a text in their order, without overlap.
fn find<'a>(text: &'a str, known: &[String]) -> Vec<Found<'a>> {
    let raw = View::of(text, &PLACEHOLDER);
    let flat = raw.flattened();
    let flatter = flat.flattened();
    let joined = flatter.joined();
    let mut spans: Vec<(Range<usize>, usize)> = Vec::new();
    let views = [&raw, &flat, &flatter, &joined];
    for (index, view) in views.iter().enumerate() {
        if index > 0 && view.text() == views[index - 1].text() {
            continue;
        }
        let found = rules::find(view.text());
        spans.extend(
            found
                .into_iter()
                .map(|(range, rank)| (view.origin(&range), rank)),
        );
    }
    let encoded = rules::find_encoded(flatter.text(), &|decoded| {
        let view = View::of(decoded, &PLACEHOLDER).flattened();
        !rules::find(view.text()).is_empty()
    });
    spans.extend(
        encoded
            .into_iter()
            .map(|(range, rank)| (flatter.origin(&range), rank)),
    );

    // `user:password@host.example` is a password; taken for an address, it would cover the host.
    let others: Vec<Range<usize>> = spans
        .iter()
        .filter(|(_, rank)| !rules::is_personal(*rank))
        .map(|(range, _)| range.clone())
        .collect();
    spans.retain(|(range, rank)| {
        let meets = |other: &Range<usize>| other.start < range.end && range.start < other.end;
        !rules::is_personal(*rank) || !others.iter().any(meets)
    });
    let mut spans = merged(spans);
    // A secret that is known from a place that gives it away is one in every other place, too.
    let here: BTreeSet<String> = spans.iter().map(|(range, _)| joined.plain(range)).collect();
    let here = here.iter().filter(|secret| rules::is_telling(secret));
    for secret in known.iter().chain(here.take(MAX_TELLING)) {
        let places = rules::find_literal(joined.text(), secret);
        spans.extend(places.map(|range| (joined.origin(&range), rules::LAST)));
    }
    let spans = merged(spans);
    let placeholders: Vec<Range<usize>> = PLACEHOLDER
        .find_iter(text)
        .map(|found| found.range())
        .collect();
    let pieces = spans.into_iter().flat_map(|(range, rank)| {
        let pieces = without_placeholders(text, &placeholders, range);
        pieces.into_iter().map(move |piece| (piece, rank))
    });
    pieces
        .map(|(range, rank)| Found {
            text: &text[range.clone()],
            plain: joined.plain(&range),
            kind: rules::kind(rank),
            range,
        })
        .collect()
}

/// Overlapping spans as one, of the kind that the more specific rule gives.
fn merged(mut spans: Vec<(Range<usize>, usize)>) -> Vec<(Range<usize>, usize)> {
    spans.sort_by_key(|(range, rank)| (range.start, range.end, *rank));
    let mut merged: Vec<(Range<usize>, usize)> = Vec::new();
    for (range, rank) in spans {
        match merged.last_mut() {
            Some((last, best)) if range.start < last.end => {
                last.end = last.end.max(range.end);
                *best = rank.min(*best);
            }
            _ => merged.push((range, rank)),
        }
    }
    merged
}

/// What of a span is not a placeholder already: a log line may put one in front of a secret.
fn without_placeholders(
    text: &str,
    placeholders: &[Range<usize>],
    range: Range<usize>,
) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let mut start = range.start;
    let first = placeholders.partition_point(|found| found.end <= range.start);
    for placeholder in &placeholders[first..] {
        if placeholder.start >= range.end {
            break;
        }
        pieces.push(start..placeholder.start.max(start));
        start = placeholder.end;
    }
    pieces.push(start..range.end.max(start));
    pieces.retain(|piece| text[piece.clone()].contains(|sign: char| sign.is_alphanumeric()));
    pieces
}

fn replaced<'a>(
    text: &'a str,
    found: &[Found<'a>],
    mut placeholder: impl FnMut(&Found<'a>) -> String,
) -> String {
    let mut result = String::with_capacity(text.len());
    let mut end = 0;
    for secret in found {
        result.push_str(&text[end..secret.range.start]);
        result.push_str(&placeholder(secret));
        end = secret.range.end;
    }
    result.push_str(&text[end..]);
    result
}

fn each_string(value: &mut Value, change: &mut impl FnMut(&str) -> String) {
    match value {
        Value::String(text) => *text = change(text),
        Value::Array(items) => items.iter_mut().for_each(|item| each_string(item, change)),
        Value::Object(fields) => {
            let old = std::mem::take(fields);
            for (name, mut field) in old {
                each_string(&mut field, change);
                fields.insert(change(&name), field);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
