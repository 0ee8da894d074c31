//! What is asked, as it comes, and the checks that need nothing else.

use super::check::bad;
use crate::error::ApiError;
use midwatch_events::incident::Stated;
use serde::Deserialize;

/// Characters of each thing that a person states.
const STATED: usize = 2_000;
/// Minutes of toil: a year of one person's work.
const TOIL: f64 = 120_000.0;
/// Bytes of an environment's or service's name, as the events take them.
const NAME: usize = midwatch_events::decode::NAME_MAX_BYTES;

/// A command about an incident.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub command: String,
    /// `merge`: the incident that goes into this one. `split`: a service, or
    /// anomaly ids separated by commas. `approve`, `reject`: a step. `review`,
    /// `publish`: the version of the postmortem that was read.
    pub target: Option<String>,
    /// `approve`, `reject`: the hash of the plan that was shown.
    pub plan_hash: Option<String>,
    /// `close`: what the person says about the incident.
    pub stated: Option<StatedRequest>,
    /// `cli` where the command line asks; `api` otherwise.
    pub channel: Option<String>,
    pub reason: Option<String>,
    /// How long a snooze lasts; either this or `until_ms`.
    pub minutes: Option<i64>,
    /// Wall clock, epoch milliseconds.
    pub until_ms: Option<i64>,
}

/// What a person says who closes an incident.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatedRequest {
    pub root_cause: String,
    #[serde(default)]
    pub fix: String,
    #[serde(default)]
    pub category: String,
    #[serde(default)]
    pub component: String,
    pub toil_minutes: Option<f64>,
}

/// A maintenance window.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    pub environment: String,
    /// A service, or `*` for all of the environment.
    pub service: String,
    pub reason: Option<String>,
    /// How long it lasts from now on; either this or `until_ms`.
    pub minutes: Option<i64>,
    pub until_ms: Option<i64>,
}

/// The channel of a program's request.
pub(super) fn channel(named: Option<&str>) -> Result<&'static str, ApiError> {
    match named {
        None | Some("api") => Ok("api"),
        Some("cli") => Ok("cli"),
        Some(other) => Err(ApiError::parameter(
            "channel",
            other.get(..40).unwrap_or(other),
            "allowed: api, cli",
        )),
    }
}

/// The name of a service or an environment.
pub(super) fn named(field: &str, name: &str) -> Result<String, ApiError> {
    let name = name.trim();
    if name.is_empty() || name.len() > NAME || name.contains(char::is_control) {
        let hint =
            format!("a name of 1 to {NAME} bytes; a service may be * for maintenance of all");
        let shown = name.get(..40).unwrap_or(name);
        return Err(ApiError::parameter(field, shown, hint));
    }
    Ok(name.to_owned())
}

/// What a person states, as that person's words.
pub(super) fn said(request: StatedRequest, by: &str) -> Result<Stated, ApiError> {
    if request.root_cause.trim().is_empty() {
        return Err(bad("stated.root_cause", "say what the cause was"));
    }
    let toil = request.toil_minutes;
    if toil.is_some_and(|minutes| !(0.0..=TOIL).contains(&minutes)) {
        let hint = format!("minutes of work from 0 to {TOIL:.0}, or leave it out");
        return Err(bad("stated.toil_minutes", &hint));
    }
    Ok(Stated {
        root_cause: words(&request.root_cause, STATED),
        fix: words(&request.fix, STATED),
        category: words(&request.category, NAME),
        component: words(&request.component, NAME),
        toil_minutes: toil,
        by: by.to_owned(),
    })
}

/// A person's text, in one line and of bounded length.
pub(crate) fn words(text: &str, most: usize) -> String {
    let letters = text.chars();
    let line: String = letters
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    line.trim().chars().take(most).collect()
}
