//! `midwatch plan`, `midwatch approve` and `midwatch reject`: what is planned,
//! what became of it, and what a person decides about a step.
//!
//! A decision is bound to the plan that was shown: whoever decides sees what
//! will be done and the plan's hash first.

mod render;

pub use render::{DRY_RUN, action, render};

use crate::api::Api;
use crate::configuration::Configuration;
use crate::failure::Failure;
use crate::incidents;
use crate::operate;
use crate::output::{self, Paint, Style};
use serde_json::{Value, json};
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;
use tokio::time::Instant;

/// How long remediation's word is waited for, after the broker's.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(250);

/// A decision about a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub id: String,
    pub step: String,
    /// `approve` or `reject`.
    pub command: &'static str,
    pub reason: Option<String>,
    /// Do not ask.
    pub yes: bool,
}

/// The plan of an incident, as the API gives it.
///
/// # Errors
/// As [`Api::get`].
pub async fn get(api: &Api, id: &str) -> Result<Value, Failure> {
    incidents::harmless(id)?;
    api.get(&format!("/api/incidents/{id}/plan"), &[]).await
}

/// Shows what would be done, asks, and publishes the decision; answers with
/// what the broker has and, under `answer`, with remediation's word where it
/// came in time.
///
/// # Errors
/// There is no such step, nobody confirms it, or the API refuses; with the
/// rule.
pub async fn decide(
    configuration: &Configuration,
    api: &Api,
    decision: &Decision,
    paint: Paint,
) -> Result<Value, Failure> {
    let plan = get(api, &decision.id).await?;
    let step = step_of(&plan, &decision.step)?;
    let before = step["happened"].as_array().map_or(0, Vec::len);
    if !decision.yes {
        eprint!("{}", action(&plan, step, paint));
        confirm(decision)?;
    }
    let mut body = json!({"command": decision.command, "target": step["step_id"],
        "plan_hash": plan["plan_hash"], "channel": "cli"});
    if let Some(reason) = &decision.reason {
        body["reason"] = json!(reason);
    }
    let path = format!("/api/incidents/{}/commands", decision.id);
    let token = operate::token(configuration)?;
    let mut published = api.post(&path, &body, &token).await?;
    published["answer"] = answer(api, decision, before).await;
    published["dry_run"] = plan["dry_run"].clone();
    Ok(published)
}

fn step_of<'a>(plan: &'a Value, id: &str) -> Result<&'a Value, Failure> {
    let steps = plan["steps"].as_array().map_or(&[][..], Vec::as_slice);
    let found = steps.iter().find(|step| {
        step["step_id"]
            .as_str()
            .is_some_and(|known| known.eq_ignore_ascii_case(id))
    });
    found.ok_or_else(|| {
        let names: Vec<&str> = steps
            .iter()
            .filter_map(|one| one["step_id"].as_str())
            .collect();
        Failure::new(
            format!("the plan has no step {id:?} (rule unknown_step)"),
            format!("its steps are {}", names.join(", ")),
        )
    })
}

/// Asks on the terminal.
fn confirm(decision: &Decision) -> Result<(), Failure> {
    let not_asked = || {
        Failure::new(
            format!("nobody can be asked whether to {} it", decision.command),
            "run it on a terminal, or say --yes",
        )
    };
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(not_asked());
    }
    eprint!("{} {}? [y/N] ", decision.command, decision.step);
    std::io::stderr().flush()?;
    let mut line = String::new();
    stdin.lock().read_line(&mut line)?;
    if matches!(line.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::new("nothing was done", ""))
}

/// Remediation's word about the decision: the first line about the step beyond
/// those that were there; null where none comes in time.
async fn answer(api: &Api, decision: &Decision, before: usize) -> Value {
    let until = Instant::now() + ANSWER_LIMIT;
    while Instant::now() < until {
        tokio::time::sleep(PAUSE).await;
        let Ok(plan) = get(api, &decision.id).await else {
            continue;
        };
        let Ok(step) = step_of(&plan, &decision.step) else {
            continue;
        };
        let happened = step["happened"].as_array().map_or(&[][..], Vec::as_slice);
        let told = happened
            .iter()
            .skip(before)
            .find(|one| matches!(one["phase"].as_str(), Some("approved" | "refused")));
        if let Some(told) = told {
            return told.clone();
        }
    }
    Value::Null
}

/// Whether remediation refused an approval.
#[must_use]
pub fn is_refused(published: &Value) -> bool {
    let answer = &published["answer"];
    answer["phase"] == "refused" && !is_rejection(answer)
}

/// A person's no is carried out by refusing the step.
fn is_rejection(answer: &Value) -> bool {
    answer["rule"] == "rejected"
}

/// What was decided and what came of it, for people.
#[must_use]
pub fn render_decided(published: &Value, paint: Paint) -> String {
    let mut out = operate::render(published, paint);
    let answer = &published["answer"];
    let text = |name: &str| answer[name].as_str().unwrap_or_default();
    let (style, words) = match answer["phase"].as_str() {
        Some("refused") if !is_rejection(answer) => (
            Style::Bad,
            format!("refused by the rule {}: {}", text("rule"), text("reason")),
        ),
        Some("refused") => (Style::Good, "rejected: it will not be done".to_owned()),
        Some(_) => match answer["approvals_missing"].as_i64() {
            Some(missing @ 1..) => (
                Style::Doubtful,
                format!("approved; {missing} more must approve it, with another credential"),
            ),
            _ if published["dry_run"] == true => (
                Style::Doubtful,
                format!("approved, as a dry run: {DRY_RUN}"),
            ),
            _ => (Style::Good, "approved".to_owned()),
        },
        None => (
            Style::Doubtful,
            "remediation has not answered yet; `midwatch plan` tells".to_owned(),
        ),
    };
    for line in output::wrap(&words, output::WIDTH) {
        out.push_str(&paint.text(style, &line));
        out.push('\n');
    }
    out
}
