//! How the outcomes of two runs differ.

use crate::outcome::Outcome;
use serde_json::Value;
use std::collections::BTreeSet;

/// Fields that the wall clock decides.
const BY_THE_CLOCK: [&str; 5] = [
    "wall_ms",
    "resolved_wall_ms",
    "created_at",
    "updated_at",
    "written_at",
];

/// Where two outcomes differ, in words. Nothing may but the wall clock
/// ([`BY_THE_CLOCK`]).
pub fn differences(calm: &Outcome, disturbed: &Outcome) -> Vec<String> {
    let names: BTreeSet<&String> = calm.same.keys().chain(disturbed.same.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        match (calm.same.get(name), disturbed.same.get(name)) {
            (Some(one), Some(other)) => {
                compare(name, &timeless(one), &timeless(other), &mut found);
            }
            (Some(_), None) => found.push(format!("{name}: lost")),
            (None, _) => found.push(format!("{name}: only with kills")),
        }
    }
    found
}

/// Removes what the wall clock decides.
fn timeless(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !BY_THE_CLOCK.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), timeless(value)))
            .collect(),
        Value::Array(list) => list.iter().map(timeless).collect(),
        other => other.clone(),
    }
}

fn compare(path: &str, one: &Value, other: &Value, found: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for name in names {
                let (a, b) = (one.get(name), other.get(name));
                let path = format!("{path} .{name}");
                compare(
                    &path,
                    a.unwrap_or(&Value::Null),
                    b.unwrap_or(&Value::Null),
                    found,
                );
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (a, b)) in one.iter().zip(other).enumerate() {
                compare(&format!("{path} [{index}]"), a, b, found);
            }
        }
        _ if one == other => {}
        _ => {
            let cut = |value: &Value| value.to_string().chars().take(160).collect::<String>();
            found.push(format!("{path}: {} ≠ {}", cut(one), cut(other)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn outcome(same: Value) -> Outcome {
        let same = same.as_object().expect("an object").clone();
        Outcome {
            same: same.into_iter().collect(),
            counts: BTreeMap::new(),
        }
    }

    #[test]
    fn what_is_lost_doubled_or_changed_is_seen_and_the_clock_is_not() {
        let calm = outcome(json!({"a": {"x": [1, 2], "wall_ms": 5}, "audit b": 1, "c": 1}));
        let other = outcome(json!({"a": {"x": [1, 3], "wall_ms": 6}, "audit b": 2, "d": 1}));
        assert_eq!(
            differences(&calm, &other),
            [
                "a .x [1]: 2 ≠ 3",
                "audit b: 1 ≠ 2",
                "c: lost",
                "d: only with kills"
            ]
        );
        let later = outcome(json!({"a": {"x": [1, 2], "wall_ms": 7}, "audit b": 1, "c": 1}));
        assert!(differences(&calm, &later).is_empty());
    }

    #[test]
    fn of_a_row_and_an_update_the_severity_the_revision_and_the_ids_count() {
        let told = |severity: &str, revision: u64| {
            json!({"i row": {"severity": severity, "correlation_context": {"revision": revision}},
                "i update 0": {"revision": revision, "event_id": revision}})
        };
        let found = differences(&outcome(told("CRITICAL", 1)), &outcome(told("HIGH", 2)));
        assert_eq!(
            found,
            [
                "i row .correlation_context .revision: 1 ≠ 2",
                "i row .severity: \"CRITICAL\" ≠ \"HIGH\"",
                "i update 0 .event_id: 1 ≠ 2",
                "i update 0 .revision: 1 ≠ 2"
            ]
        );
    }
}
