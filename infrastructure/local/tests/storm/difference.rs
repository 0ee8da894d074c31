//! How the outcomes of two runs differ.

use crate::outcome::Outcome;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Fields that the wall clock decides.
const BY_THE_CLOCK: [&str; 5] = [
    "wall_ms",
    "resolved_wall_ms",
    "created_at",
    "updated_at",
    "written_at",
];

/// Where two outcomes differ, in words. What may differ:
/// - the wall clock ([`BY_THE_CLOCK`]);
/// - whether a calming update was told before the end
///   ([`crate::outcome::is_calming`]), or its records were copied for nothing:
///   either takes a number, of which later ids are derived, and the row shows
///   what the last update said, the severity included, which falls as signals
///   clear;
/// - of incidents in the environments `loosely`, where an act took longer than
///   correlation waits before it speaks, all that depends on when it spoke.
pub fn differences(calm: &Outcome, disturbed: &Outcome, loosely: &BTreeSet<String>) -> Vec<String> {
    let shifted: BTreeSet<&str> = calm
        .pace
        .iter()
        .filter(|(id, count)| disturbed.pace.get(*id) != Some(*count))
        .map(|(id, _)| id.as_str())
        .collect();
    let calm = lasting(calm, loosely, &shifted);
    let disturbed = lasting(disturbed, loosely, &shifted);
    let names: BTreeSet<&String> = calm.keys().chain(disturbed.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        match (calm.get(name), disturbed.get(name)) {
            (Some(one), Some(other)) => compare(name, one, other, &mut found),
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

/// What must be the same.
fn lasting(
    outcome: &Outcome,
    loosely: &BTreeSet<String>,
    shifted: &BTreeSet<&str>,
) -> BTreeMap<String, Value> {
    let rows = outcome
        .same
        .iter()
        .filter(|(name, _)| name.ends_with(" row"));
    let loose: BTreeSet<&str> = rows
        .filter(|(_, row)| loosely.contains(row["environment"].as_str().unwrap_or_default()))
        .filter_map(|(_, row)| row["id"].as_str())
        .collect();
    let about = |ids: &BTreeSet<&str>, name: &str| ids.iter().any(|id| name.contains(id));
    let mut kept = BTreeMap::new();
    for (name, value) in &outcome.same {
        let is_row = name.ends_with(" row");
        let mut value = timeless(value);
        if name != "incidents" && about(&loose, name) {
            if is_row {
                kept.insert(name.clone(), essence(&value));
            }
            continue;
        }
        if about(shifted, name) && name != "incidents" {
            // The updates themselves say what this line repeats.
            if name.contains("INCIDENT_UPDATED") {
                continue;
            }
            value = unshifted(name, value);
        }
        kept.insert(name.clone(), value);
    }
    kept
}

/// What does not depend on whether a last update came before the end.
fn unshifted(name: &str, mut value: Value) -> Value {
    let drop = |value: &mut Value, names: &[&str]| {
        if let Some(fields) = value.as_object_mut() {
            fields.retain(|name, _| !names.contains(&name.as_str()));
        }
    };
    if name.ends_with(" row") {
        drop(&mut value, &["correlation_context", "severity"]);
        drop(&mut value["resolution"], &["severity"]);
    } else if name.contains(" update ") {
        drop(&mut value, &["event_id", "cause_id", "revision"]);
    } else if name.contains(" resolved ") {
        drop(&mut value, &["event_id", "cause_id", "severity"]);
    }
    value
}

/// Members, reach and verdict.
fn essence(row: &Value) -> Value {
    let members = row["correlation_context"]["grouped_anomalies"].as_array();
    let mut members: Vec<String> = members
        .into_iter()
        .flatten()
        .map(|one| one["anomaly_id"].to_string())
        .collect();
    members.sort();
    json!({"members": members, "status": row["status"],
        "services": row["affected_services"], "cause": row["rca_candidates"][0]["service"]})
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
    use crate::outcome::is_calming;

    fn outcome(same: Value) -> Outcome {
        let same = same.as_object().expect("an object").clone();
        Outcome {
            same: same.into_iter().collect(),
            counts: BTreeMap::new(),
            pace: BTreeMap::new(),
        }
    }

    #[test]
    fn what_is_lost_doubled_or_changed_is_seen_and_the_clock_is_not() {
        let calm = outcome(json!({"a": {"x": [1, 2], "wall_ms": 5}, "audit b": 1, "c": 1}));
        let other = outcome(json!({"a": {"x": [1, 3], "wall_ms": 6}, "audit b": 2, "d": 1}));
        let strictly = BTreeSet::new();
        assert_eq!(
            differences(&calm, &other, &strictly),
            [
                "a .x [1]: 2 ≠ 3",
                "audit b: 1 ≠ 2",
                "c: lost",
                "d: only with kills"
            ]
        );
        let later = outcome(json!({"a": {"x": [1, 2], "wall_ms": 7}, "audit b": 1, "c": 1}));
        assert!(differences(&calm, &later, &strictly).is_empty());
    }

    #[test]
    fn only_a_calming_update_may_come_between() {
        let update = |cleared: Value, revision: u64| {
            json!({"change": "grown", "revision": revision, "event_id": revision,
                "grouped_anomalies": [{"anomaly_id": "a", "cleared_at_ms": cleared}]})
        };
        assert!(is_calming(&update(json!(5), 1)));
        assert!(!is_calming(&update(Value::Null, 1)));
        let mut calm = outcome(json!({"i update 0": update(Value::Null, 1)}));
        let mut other = outcome(json!({"i update 0": update(Value::Null, 2)}));
        calm.pace.insert("i".to_owned(), [0, 1]);
        other.pace.insert("i".to_owned(), [0, 1]);
        assert_eq!(differences(&calm, &other, &BTreeSet::new()).len(), 2);
        other.pace.insert("i".to_owned(), [1, 2]);
        assert!(differences(&calm, &other, &BTreeSet::new()).is_empty());
        let third = outcome(json!({"i update 0": update(json!(3), 2)}));
        let found = differences(&calm, &third, &BTreeSet::new());
        assert_eq!(
            found,
            ["i update 0 .grouped_anomalies [0] .cleared_at_ms: null ≠ 3"]
        );
    }

    #[test]
    fn of_a_stretched_story_only_the_moment_of_telling_may_differ() {
        let row = |kind: &str, cause: &str| {
            json!({"i row": {"id": "i", "environment": "e", "anomaly_type": kind,
                "rca_candidates": [{"service": cause}]}, "i opened": kind})
        };
        let loosely = BTreeSet::from(["e".to_owned()]);
        let calm = outcome(row("one", "s"));
        assert!(differences(&calm, &outcome(row("other", "s")), &loosely).is_empty());
        let found = differences(&calm, &outcome(row("one", "t")), &loosely);
        assert_eq!(found, ["i row .cause: \"s\" ≠ \"t\""]);
    }
}
