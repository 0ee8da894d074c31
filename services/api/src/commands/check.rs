//! Whether a command fits what the incident is now.

use super::COMMANDS;
use crate::App;
use crate::error::ApiError;
use crate::known::Known;
use crate::params::find_incident;
use axum::http::StatusCode;
use midwatch_clients::postgres::read::IncidentRow;
use std::collections::BTreeSet;
use uuid::Uuid;

/// The longest snooze or maintenance: nobody remembers an older one.
const LONGEST_MINUTES: i64 = 7 * 24 * 60;

/// What is asked once an incident is over.
const AFTERWARDS: [&str; 3] = ["reopen", "review", "publish"];

/// Whether the command makes sense for what the incident is now.
pub(super) fn allowed(row: &IncidentRow, command: &str) -> Result<(), ApiError> {
    if !COMMANDS.contains(&command) {
        return Err(ApiError::parameter(
            "command",
            command.get(..40).unwrap_or(command),
            format!("allowed: {}", COMMANDS.join(", ")),
        ));
    }
    if offered(row).contains(&command) {
        return Ok(());
    }
    let over = row.status == "RESOLVED";
    Err(ApiError {
        status: StatusCode::CONFLICT,
        code: "wrong_state",
        message: format!(
            "{} is {}: it cannot be asked to {command}",
            row.short_id, row.status
        ),
        hint: match (over, is_merged(row)) {
            (true, true) => "it went into another incident; ask for that one".to_owned(),
            (true, false) => "reopen it first".to_owned(),
            (false, _) => "it is open; wait for its end, or close it".to_owned(),
        },
    })
}

/// What may be asked about an incident as it is now.
#[must_use]
pub fn offered(row: &IncidentRow) -> Vec<&'static str> {
    if row.status != "RESOLVED" {
        let mut all = COMMANDS.to_vec();
        let steps = row
            .remediation_plan
            .as_ref()
            .map(|plan| &plan["action_steps"]);
        let steps = steps.and_then(|steps| steps.as_array());
        let decides = steps.is_some_and(|all| all.iter().any(|step| step["typed"].is_object()));
        all.retain(|command| {
            !AFTERWARDS.contains(command) && (decides || !super::is_decision(command))
        });
        return all;
    }
    if is_merged(row) {
        Vec::new()
    } else {
        AFTERWARDS.to_vec()
    }
}

fn is_merged(row: &IncidentRow) -> bool {
    let resolution = row.resolution.as_ref();
    resolution.is_some_and(|end| end["resolution_method"] == "MERGED")
}

/// The incident that goes into `row`'s: another open one of its environment.
pub(super) async fn other(app: &App, row: &IncidentRow, target: &str) -> Result<String, ApiError> {
    if target.is_empty() {
        return Err(bad("target", "name the incident that goes into this one"));
    }
    let other = find_incident(&app.pool, target).await?;
    let why = if other.id == row.id {
        Some("it is this incident itself")
    } else if other.environment != row.environment {
        Some("it is of another environment")
    } else if other.status == "RESOLVED" {
        Some("it is over")
    } else {
        None
    };
    match why {
        None => Ok(other.id.to_string()),
        Some(why) => Err(ApiError {
            status: StatusCode::CONFLICT,
            code: "wrong_target",
            message: format!("{} cannot go into {}: {why}", other.short_id, row.short_id),
            hint: "name another open incident of the same environment".to_owned(),
        }),
    }
}

/// The version of a postmortem that somebody read; empty where nothing is said
/// of that.
pub(super) fn version(target: &str) -> Result<String, ApiError> {
    if target.is_empty() {
        return Ok(String::new());
    }
    match target.parse::<u32>() {
        Ok(version) if version > 0 => Ok(version.to_string()),
        _ => Err(bad(
            "target",
            "the version of the postmortem that was read, such as 1, or leave it out",
        )),
    }
}

/// What leaves `row`'s incident: anomalies of it, or all of one service; not
/// all that there is.
pub(super) fn part(row: &IncidentRow, target: &str) -> Result<String, ApiError> {
    let known = Known::read(row);
    let refused = |what: String| ApiError {
        status: StatusCode::CONFLICT,
        code: "wrong_target",
        message: what,
        hint: "name one of its services, or some of its anomalies' ids separated by commas; \
               something must stay"
            .to_owned(),
    };
    let ids: Option<BTreeSet<Uuid>> = target
        .split(',')
        .map(|id| id.trim().parse::<Uuid>().ok())
        .collect();
    let leaves = |service: &str, id: Uuid| match &ids {
        Some(ids) => ids.contains(&id),
        None => service == target,
    };
    let leaving = known
        .anomalies
        .iter()
        .filter(|one| leaves(&one.service, one.anomaly_id))
        .count();
    let all_known = ids.as_ref().is_none_or(|ids| ids.len() == leaving);
    if leaving == 0 || !all_known {
        let target: String = target.chars().take(80).collect();
        return Err(refused(format!("{} has no {target:?}", row.short_id)));
    }
    if leaving == known.anomalies.len() {
        return Err(refused(format!(
            "nothing of {} would be left",
            row.short_id
        )));
    }
    Ok(ids.map_or_else(
        || target.to_owned(),
        |ids| {
            let ids: Vec<String> = ids.iter().map(Uuid::to_string).collect();
            ids.join(",")
        },
    ))
}

/// When a snooze or maintenance ends, wall clock.
pub(super) fn until(
    now_ms: i64,
    minutes: Option<i64>,
    until_ms: Option<i64>,
) -> Result<i64, ApiError> {
    let end_ms = match (minutes, until_ms) {
        (Some(minutes), None) => minutes
            .checked_mul(60_000)
            .and_then(|span| now_ms.checked_add(span)),
        (None, until_ms) => until_ms,
        (Some(_), Some(_)) => None,
    };
    let longest_ms = LONGEST_MINUTES * 60_000;
    end_ms
        .filter(|end| *end > now_ms && *end - now_ms <= longest_ms)
        .ok_or_else(|| {
            let hint = format!(
                "say how long: minutes from 1 to {LONGEST_MINUTES}, or until_ms within that time"
            );
            bad("minutes", &hint)
        })
}

pub(super) fn bad(name: &str, hint: &str) -> ApiError {
    ApiError {
        message: format!("the field {name} does not fit"),
        ..ApiError::parameter(name, "", hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(status: &str, resolution: Option<&str>) -> IncidentRow {
        let anomaly = |id: u128, service: &str| {
            json!({"anomaly_id": Uuid::from_u128(id), "service": service, "trigger_metric": "m",
                "anomaly_type": "LATENCY_SPIKE", "severity": "HIGH", "direction": "above",
                "observed_value": 2.0, "baseline_value": 1.0, "deviation_sigma": 5.0,
                "onset_ms": 1, "detected_at_ms": 2, "description": "", "reason": ""})
        };
        IncidentRow {
            id: Uuid::from_u128(7),
            short_id: "INC-00000000".to_owned(),
            environment: "e".to_owned(),
            status: status.to_owned(),
            severity: "HIGH".to_owned(),
            anomaly_type: "LATENCY_SPIKE".to_owned(),
            affected_services: json!(["a", "b"]),
            blast_radius: json!({}),
            correlation_context: json!({
                "grouped_anomalies": [anomaly(1, "a"), anomaly(2, "a"), anomaly(3, "b")]
            }),
            rca_candidates: None,
            top_root_cause: None,
            rca_confidence: None,
            remediation_plan: None,
            postmortem: None,
            resolution: resolution.map(|method| json!({"resolution_method": method})),
            detected_at_ms: 0,
            resolved_at_ms: None,
            created_at_ms: 0,
            updated_at_ms: 0,
        }
    }

    #[test]
    fn only_what_fits_the_state_is_offered() {
        let open = offered(&row("REMEDIATING", None));
        assert_eq!(open, ["acknowledge", "snooze", "merge", "split", "close"]);
        let planned = IncidentRow {
            remediation_plan: Some(json!({"action_steps": [{"typed": {}}]})),
            ..row("REMEDIATING", None)
        };
        assert_eq!(offered(&planned)[5..], ["approve", "reject"]);
        assert_eq!(
            offered(&row("RESOLVED", Some("RECOVERED"))),
            ["reopen", "review", "publish"]
        );
        assert!(offered(&row("RESOLVED", Some("MERGED"))).is_empty());
        let error = allowed(&row("RESOLVED", Some("MERGED")), "reopen").unwrap_err();
        assert_eq!((error.status.as_u16(), error.code), (409, "wrong_state"));
        let error = allowed(&row("REMEDIATING", None), "heal").unwrap_err();
        assert!(error.status == 400 && error.hint.contains("acknowledge, snooze"));
    }

    #[test]
    fn a_split_takes_some_of_what_there_is() {
        let row = row("REMEDIATING", None);
        let id = |number| Uuid::from_u128(number).to_string();
        assert_eq!(part(&row, "b").as_deref(), Ok("b"));
        let two = format!("{}, {}", id(3), id(1));
        assert_eq!(part(&row, &two), Ok(format!("{},{}", id(1), id(3))));
        for (target, words) in [
            ("", "has no \"\""),
            ("c", "has no \"c\""),
            (id(9).as_str(), "has no"),
            (&format!("{},{}", id(1), id(9)), "has no"),
            (&format!("{},{},{}", id(1), id(2), id(3)), "would be left"),
        ] {
            let error = part(&row, target).unwrap_err();
            assert!(error.message.contains(words), "{target}: {}", error.message);
        }
    }

    #[test]
    fn an_end_is_given_once_and_lies_in_the_next_week() {
        assert_eq!(until(1_000, Some(2), None), Ok(121_000));
        assert_eq!(until(1_000, None, Some(5_000)), Ok(5_000));
        for (minutes, until_ms) in [
            (None, None),
            (Some(0), None),
            (Some(-5), None),
            (Some(i64::MAX), None),
            (Some(10_081), None),
            (None, Some(1_000)),
            (Some(1), Some(5_000)),
        ] {
            assert!(
                until(1_000, minutes, until_ms).is_err(),
                "{minutes:?} {until_ms:?}"
            );
        }
    }
}
