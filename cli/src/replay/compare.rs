//! Whether two sets of decisions are the same, and where they are not.

use super::decided::{Cause, Decided, short};
use crate::output;
use midwatch_events::incident::Verdict;
use serde::Serialize;
use std::collections::BTreeSet;
use uuid::Uuid;

/// Onsets within a usual interval of readings are the same.
const ONSET_MS: i64 = 10_000;
/// A confidence that moved by as much is another answer, as for the
/// investigation, which then publishes a revision.
const CONFIDENCE: f64 = 0.1;
/// Candidates whose order counts.
const FIRST: usize = 3;

/// Something that was decided otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The incident's short id.
    pub incident: String,
    /// `incident`, `anomalies`, `onset`, `severity`, `cause`, `order`,
    /// `confidence`, `verdict` or `end`.
    pub what: &'static str,
    pub then: String,
    pub now: String,
}

/// All differences, in the order of the incidents.
#[must_use]
pub fn compare(then: &[Decided], now: &[Decided]) -> Vec<Difference> {
    let mut differences = Vec::new();
    for old in then {
        match now.iter().find(|new| new.incident_id == old.incident_id) {
            Some(new) => between(old, new, &mut differences),
            None => differences.push(alone(old, "opened", "not opened")),
        }
    }
    for new in now {
        if !then.iter().any(|old| old.incident_id == new.incident_id) {
            differences.push(alone(new, "not opened", "opened"));
        }
    }
    differences
}

fn alone(one: &Decided, then: &str, now: &str) -> Difference {
    Difference {
        incident: one.short_id.clone(),
        what: "incident",
        then: then.to_owned(),
        now: now.to_owned(),
    }
}

fn between(old: &Decided, new: &Decided, differences: &mut Vec<Difference>) {
    let mut add = |what: &'static str, then: String, now: String| {
        differences.push(Difference {
            incident: old.short_id.clone(),
            what,
            then,
            now,
        });
    };
    let ids = |one: &Decided| -> BTreeSet<Uuid> {
        one.members.iter().map(|member| member.anomaly_id).collect()
    };
    if ids(old) != ids(new) {
        add("anomalies", beyond(old, new), beyond(new, old));
    }
    let onsets = (old.onset_ms, new.onset_ms);
    let apart = match onsets {
        (Some(then), Some(now)) => (then - now).abs() > ONSET_MS,
        (then, now) => then.is_some() != now.is_some(),
    };
    if apart {
        let words = |at_ms: Option<i64>| at_ms.map_or_else(|| "none".to_owned(), output::time);
        add("onset", words(onsets.0), words(onsets.1));
    }
    if old.severity != new.severity {
        add(
            "severity",
            old.severity.to_string(),
            new.severity.to_string(),
        );
    }
    if old.verdict != new.verdict {
        add("verdict", verdict(old.verdict), verdict(new.verdict));
    }
    ranked(&old.ranking, &new.ranking, &mut add);
    let method = |one: &Decided| one.end.as_ref().map(|end| end.method.clone());
    if method(old) != method(new) {
        let words = |one: &Decided| method(one).unwrap_or_else(|| "open".to_owned());
        add("end", words(old), words(new));
    }
}

fn ranked(old: &[Cause], new: &[Cause], add: &mut impl FnMut(&'static str, String, String)) {
    let name = |one: &Cause| format!("{} {}", one.service, one.cause);
    let first = |all: &[Cause]| all.first().map_or_else(|| "none".to_owned(), name);
    let order = |all: &[Cause]| -> Vec<String> { all.iter().take(FIRST).map(name).collect() };
    if first(old) != first(new) {
        add("cause", first(old), first(new));
    } else if order(old) != order(new) {
        add("order", order(old).join(", "), order(new).join(", "));
    }
    for one in old.iter().take(FIRST) {
        let twin = new
            .iter()
            .find(|other| (&other.service, &other.cause) == (&one.service, &one.cause));
        if let Some(twin) = twin
            && (twin.confidence - one.confidence).abs() >= CONFIDENCE
        {
            let words = |of: &Cause| format!("{} {:.0} %", name(of), of.confidence * 100.0);
            add("confidence", words(one), words(twin));
        }
    }
}

/// A verdict in a word.
#[must_use]
pub fn verdict(verdict: Option<Verdict>) -> String {
    match verdict {
        Some(Verdict::Conclusive) => "conclusive",
        Some(Verdict::Inconclusive) => "inconclusive",
        None => "no answer",
    }
    .to_owned()
}

/// The anomalies that only the first has.
fn beyond(one: &Decided, other: &Decided) -> String {
    let extra: Vec<String> = one
        .members
        .iter()
        .filter(|member| {
            !other
                .members
                .iter()
                .any(|twin| twin.anomaly_id == member.anomaly_id)
        })
        .map(|member| format!("{} of {}", member.metric, member.service))
        .collect();
    match extra.len() {
        0 => format!("the {} of {}", one.members.len(), short(one.incident_id)),
        _ => format!("also {}", extra.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::decided::{Decided, Member};
    use super::*;
    use midwatch_events::Severity;

    fn decided(id: u128) -> Decided {
        let cause = |service: &str, confidence| Cause {
            service: service.to_owned(),
            cause: "CPU_SATURATION".to_owned(),
            confidence,
        };
        Decided {
            incident_id: Uuid::from_u128(id << 96),
            short_id: short(Uuid::from_u128(id << 96)),
            title: "x".to_owned(),
            severity: Severity::High,
            members: vec![Member {
                anomaly_id: Uuid::from_u128(id),
                service: "a".to_owned(),
                metric: "m".to_owned(),
                onset_ms: 100_000,
            }],
            onset_ms: Some(100_000),
            ranking: vec![cause("a", 0.8), cause("b", 0.3)],
            verdict: Some(Verdict::Conclusive),
            method: "deterministic".to_owned(),
            revisions: 1,
            end: None,
        }
    }

    fn what(then: &[Decided], now: &[Decided]) -> Vec<&'static str> {
        compare(then, now).iter().map(|one| one.what).collect()
    }

    #[test]
    fn small_movements_are_the_same_and_others_are_named() {
        let then = decided(1);
        let mut now = then.clone();
        now.onset_ms = Some(109_000);
        now.ranking[0].confidence = 0.72;
        now.revisions = 3;
        assert!(what(std::slice::from_ref(&then), std::slice::from_ref(&now)).is_empty());
        now.onset_ms = Some(111_000);
        now.ranking[0].confidence = 0.6;
        now.severity = Severity::Critical;
        now.verdict = Some(Verdict::Inconclusive);
        now.members.clear();
        assert_eq!(
            what(std::slice::from_ref(&then), &[now]),
            ["anomalies", "onset", "severity", "verdict", "confidence"]
        );
        let mut swapped = then.clone();
        swapped.ranking.swap(0, 1);
        assert_eq!(what(std::slice::from_ref(&then), &[swapped]), ["cause"]);
        let mut longer = then.clone();
        longer.ranking.pop();
        assert_eq!(what(&[then], &[longer]), ["order"]);
    }

    #[test]
    fn an_incident_of_one_side_only_is_a_difference() {
        assert_eq!(what(&[decided(1)], &[decided(1), decided(2)]), ["incident"]);
        let gone = compare(&[decided(1)], &[]);
        assert_eq!(
            (gone[0].then.as_str(), gone[0].now.as_str()),
            ("opened", "not opened")
        );
    }
}
