//! Outcomes, and how they stand in the record.

use super::hand::{Done, tidy};
use super::permanent;
use crate::execution::{Execution, Outcome, OutcomeStatus};
use midwatch_clients::postgres::executions::{Ended, Intent};
use midwatch_runtime::JobError;
use serde_json::{Value, json};

pub(super) fn intent<'a>(execution: &'a Execution, action: &'a Value) -> Intent<'a> {
    Intent {
        key: &execution.key,
        incident_id: execution.incident_id,
        environment: &execution.environment,
        service: &execution.action.service,
        plan_id: execution.plan_id,
        step_id: &execution.step_id,
        kind: execution.action.kind.as_str(),
        is_undo: execution.is_undo,
        action,
        cool_down_ms: execution.cool_down_ms,
        hourly_limit: execution.hourly_limit,
    }
}

pub(super) fn said(text: &str) -> Outcome {
    Outcome {
        status: OutcomeStatus::Failed,
        rule: String::new(),
        output: tidy(text),
        acted_at_ms: None,
        reconciled: false,
    }
}

pub(super) fn refused(rule: &str, reason: &str) -> Outcome {
    Outcome {
        status: OutcomeStatus::Refused,
        rule: rule.to_owned(),
        ..said(reason)
    }
}

pub(super) fn failed(reason: String) -> Outcome {
    said(&reason)
}

pub(super) fn unknown(reason: &str) -> Outcome {
    Outcome {
        status: OutcomeStatus::Unknown,
        ..said(&format!(
            "it may have been done, or not; a person must look: {reason}"
        ))
    }
}

pub(super) fn done(seen: Done, reconciled: bool, at_ms: i64) -> Outcome {
    Outcome {
        status: OutcomeStatus::Done,
        acted_at_ms: Some(seen.at_ms.unwrap_or(at_ms)),
        reconciled,
        ..said(&seen.output)
    }
}

pub(super) fn word(status: OutcomeStatus) -> String {
    let value = serde_json::to_value(status).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

pub(super) fn ended(outcome: &Outcome) -> Ended {
    Ended {
        status: word(outcome.status),
        rule: outcome.rule.clone(),
        output: outcome.output.clone(),
        acted_at_ms: outcome.acted_at_ms,
        reconciled: outcome.reconciled,
    }
}

pub(super) fn outcome(ended: Ended) -> Result<Outcome, JobError> {
    let status = serde_json::from_value(json!(ended.status))
        .map_err(|error| permanent(format!("an outcome of this build is unknown: {error}")))?;
    Ok(Outcome {
        status,
        rule: ended.rule,
        output: ended.output,
        acted_at_ms: ended.acted_at_ms,
        reconciled: ended.reconciled,
    })
}
