//! What log lines say: complaints that are new or more frequent, and what is
//! no longer said.

use super::coverage::{self, Base, Bases};
use super::recording::{Line, Question, Recording};
use super::wording::{complains, of_complaint};
use midwatch_events::mention::names_dependency;
use midwatch_events::raw::LogLevel;
use std::collections::{BTreeMap, BTreeSet};

/// Words of a line that make its template; the rest of a long line repeats.
const WORDS: usize = 30;
/// Templates kept per service; further ones are one template.
const TEMPLATES: usize = 2_000;

/// Lines that would have been written in a time as long as the one before, from
/// which on it is no chance that none was: one time in twenty (Poisson).
const NEW_LINES: f64 = 3.0;

/// What one service's lines say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Complaints about itself, 0 or more; each doubling of lines adds one.
    pub complaints: f64,
    /// Complaints about something that it calls.
    pub blames: f64,
    /// Requests of its own that others refused as bad ones.
    pub refused: f64,
    /// What is no longer said, and what is new and no complaint.
    pub shifts: f64,
    /// The templates behind it, the most telling first.
    pub templates: Vec<Template>,
}

/// Lines that are equal up to numbers and ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    pub kind: Kind,
    /// The first such line since the start, or the last one before.
    pub id: String,
    pub message: String,
    pub at_ms: i64,
    pub before: usize,
    pub after: usize,
    /// How many times as long the time since is as the time before of which
    /// its lines are known; counts are compared as rates by it.
    pub ratio: f64,
    pub weight: f64,
    /// Services that it names as ones it depends on.
    pub names: Vec<String>,
}

/// What a template's change means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A complaint of its own code.
    Complaint,
    /// A complaint about an answer that it did not get.
    Blame,
    /// A complaint about an answer that it got and cannot use.
    BadAnswer,
    /// A complaint about a request that it was sent.
    BadRequest,
    /// Its own request was refused as a bad one.
    Refused,
    /// It is no longer said.
    Silent,
    /// It is new, and no complaint.
    New,
}

#[derive(Default)]
struct Seen<'a> {
    before: usize,
    /// In the second half of the normal period only.
    late: usize,
    after: usize,
    first: Option<&'a Line>,
    last_before: Option<&'a Line>,
    level: Option<LogLevel>,
}

/// Reads the lines of a recording; `services` are those that a line may name.
#[must_use]
pub fn read(
    recording: &Recording,
    question: &Question,
    services: &BTreeSet<&str>,
) -> BTreeMap<String, Told> {
    let Some((window, bases)) = coverage::of_lines(recording, question) else {
        return BTreeMap::new();
    };
    let half_ms = i64::midpoint(window.begin_ms, window.quiet_ms);
    let mut seen: BTreeMap<&str, BTreeMap<String, Seen<'_>>> = BTreeMap::new();
    for line in &recording.lines {
        if !window.holds(line.at_ms) {
            continue;
        }
        let templates = seen.entry(line.service.as_str()).or_default();
        let mut key = template(&line.message);
        if templates.len() >= TEMPLATES && !templates.contains_key(&key) {
            key = String::new();
        }
        let known = templates.entry(key).or_default();
        known.level = known.level.max(Some(line.level));
        if line.at_ms >= question.start_ms {
            known.after += 1;
            known.first.get_or_insert(line);
        } else {
            known.before += 1;
            known.late += usize::from(line.at_ms >= half_ms);
            known.last_before = Some(line);
        }
    }
    seen.into_iter()
        .map(|(service, templates)| {
            let bases = bases.get(service).copied().unwrap_or_default();
            let told = told(service, &templates, bases, services);
            (service.to_owned(), told)
        })
        .collect()
}

fn told(
    service: &str,
    templates: &BTreeMap<String, Seen<'_>>,
    bases: Bases,
    services: &BTreeSet<&str>,
) -> Told {
    let ratio = bases.ordinary.map_or(0.0, |base| base.ratio);
    // Where lines are new all the time, one more new line says nothing.
    let new_anyway = templates
        .values()
        .filter(|seen| seen.before > 0 && seen.late == seen.before)
        .count();
    #[expect(clippy::cast_precision_loss, reason = "counts of lines")]
    let new_anyway = new_anyway as f64 * 2.0 * ratio;
    let fresh = templates.values().filter(|seen| seen.before == 0);
    #[expect(clippy::cast_precision_loss, reason = "counts of lines")]
    let fresh = (fresh.count() as f64).max(1.0);
    let trust = (1.0 - new_anyway / fresh).clamp(0.0, 1.0);
    let mut told = Told::default();
    for seen in templates.values() {
        let base = match seen.level {
            Some(level) if level >= LogLevel::Warn => bases.warnings,
            _ => bases.ordinary,
        };
        let found = base.and_then(|base| judge(service, seen, base, trust, services));
        let Some(found) = found else {
            continue;
        };
        match found.kind {
            Kind::Complaint => told.complaints += found.weight,
            Kind::Blame | Kind::BadAnswer | Kind::BadRequest => told.blames += found.weight,
            Kind::Silent | Kind::New => told.shifts += found.weight,
            Kind::Refused => told.refused += found.weight,
        }
        told.templates.push(found);
    }
    told.templates.sort_by(|one, other| {
        other
            .weight
            .total_cmp(&one.weight)
            .then_with(|| one.message.cmp(&other.message))
    });
    told.templates.truncate(8);
    told
}

/// How one template changed; `None` where it did not.
fn judge(
    service: &str,
    seen: &Seen<'_>,
    base: Base,
    trust: f64,
    services: &BTreeSet<&str>,
) -> Option<Template> {
    let line = seen.first.or(seen.last_before)?;
    let bad = complains(line, seen.level.unwrap_or(LogLevel::Info));
    #[expect(clippy::cast_precision_loss, reason = "counts of lines")]
    let (before, count) = (seen.before as f64, seen.after as f64);
    let ratio = base.ratio;
    let expected = before * ratio;
    // A few that were not seen would be so many since.
    let unseen = (before + 1.0).sqrt() * ratio;
    if base.is_brief && (count - expected).abs() <= 2.0 * unseen.hypot(count.sqrt()) {
        return None;
    }
    // A Poisson count strays by its root.
    let error = (expected * ratio.max(1.0)).sqrt().hypot(count.sqrt());
    let is_new = seen.before == 0;
    let (kind, weight) =
        if bad && count > expected && count - expected > 2.0 * error.min(count / 3.0) {
            let times = (1.0 + count) / (1.0 + expected);
            let weight = times.log2() * if is_new { trust.max(0.3) } else { 1.0 };
            let names = !named(&line.message, service, services).is_empty();
            (of_complaint(&line.message, names), weight)
        } else if expected >= 6.0 && count < 0.25 * expected && expected - count > 4.0 * error {
            (Kind::Silent, ((1.0 + expected) / (1.0 + count)).log2())
        } else if is_new && count >= NEW_LINES * ratio.max(2.0 / NEW_LINES) && trust > 0.5 {
            (Kind::New, (1.0 + count).log2() * 0.3 * trust)
        } else {
            return None;
        };
    (weight > 0.5).then(|| Template {
        kind,
        id: line.id.clone(),
        message: line.message.chars().take(300).collect(),
        at_ms: line.at_ms,
        before: seen.before,
        after: seen.after,
        ratio,
        weight,
        names: named(&line.message, service, services),
    })
}

fn named(message: &str, own: &str, services: &BTreeSet<&str>) -> Vec<String> {
    services
        .iter()
        .filter(|service| **service != own && names_dependency(message, service))
        .map(|service| (*service).to_owned())
        .collect()
}

/// The line with what varies taken out: words that hold a digit, long hex and
/// quoted parts.
#[must_use]
pub fn template(message: &str) -> String {
    let mut key = String::with_capacity(message.len().min(240));
    for word in message.split_whitespace().take(WORDS) {
        if !key.is_empty() {
            key.push(' ');
        }
        // `key=value` and `"key":value` keep the key.
        for part in word.split_inclusive(['=', ':', ',', '/', '(', '[', '{']) {
            let is_id = part.chars().any(|letter| letter.is_ascii_digit())
                || (part.len() >= 16 && part.chars().all(|letter| letter.is_ascii_hexdigit()));
            key.push_str(if is_id { "#" } else { part });
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kinds of what is told of a line that was written so often before and
    /// since, where the time since is `ratio` times as long.
    fn kinds(before: usize, after: usize, ratio: f64, level: LogLevel) -> Vec<Kind> {
        let line = Line {
            id: "log:1".to_owned(),
            service: "shop".to_owned(),
            at_ms: 0,
            level,
            message: "cache warmed".to_owned(),
        };
        let seen = Seen {
            before,
            after,
            first: Some(&line),
            level: Some(level),
            ..Seen::default()
        };
        let base = Base {
            before_ms: 60_000.0,
            ratio,
            is_brief: false,
        };
        let found = judge("shop", &seen, base, 1.0, &BTreeSet::new());
        found.into_iter().map(|one| one.kind).collect()
    }

    #[test]
    fn counts_of_unequal_times_are_compared_as_rates() {
        // As often a minute as before.
        assert_eq!(kinds(10, 40, 4.0, LogLevel::Error), []);
        assert_eq!(kinds(40, 10, 0.25, LogLevel::Info), []);
        // Ten times as often.
        assert_eq!(kinds(10, 25, 0.25, LogLevel::Error), [Kind::Complaint]);
        assert_eq!(kinds(40, 10, 4.0, LogLevel::Info), [Kind::Silent]);
        // Six in four times the time: one or two before may be missing by chance.
        assert_eq!(kinds(0, 6, 4.0, LogLevel::Info), []);
        assert_eq!(kinds(0, 6, 1.0, LogLevel::Info), [Kind::New]);
    }

    #[test]
    fn numbers_do_not_make_another_template() {
        assert_eq!(
            template("request 17 took 380ms"),
            template("request 99 took 7120ms")
        );
        assert_ne!(template("pool exhausted"), template("pool warm"));
    }
}
