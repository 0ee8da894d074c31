//! The steps of a runbook, typed, and the filling of their placeholders.

use midwatch_events::action::ActionKind;
use midwatch_events::response::{ActionStep, Priority};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;

/// The names that may stand between double braces in a step.
pub const PLACEHOLDERS: [&str; 13] = [
    "service",
    "namespace",
    "version",
    "previous_version",
    "consumer_group",
    "topic",
    "pod",
    "node",
    "alertname",
    "host",
    "unit",
    "path",
    "log",
];

/// One step of a runbook, placeholders unfilled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunbookStep {
    pub priority: Priority,
    pub action: String,
    pub command: String,
    pub why: String,
    pub expect: String,
    /// The command that undoes the step, or `none: ` and why there is none.
    pub rollback: String,
    /// `read-only`, `low`, `medium` or `high`.
    pub risk: String,
    /// `on-call`, `team` or `platform`.
    pub owner: String,
    /// What could be carried out instead of typed; absent where a person has
    /// to do it by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typed: Option<ActionTemplate>,
}

/// The typed action of a step, placeholders unfilled. Numbers that follow from
/// observed ones (how many replicas, which limit) are not written here: the
/// action catalogue computes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionTemplate {
    pub kind: ActionKind,
    pub arguments: BTreeMap<String, String>,
}

impl ActionTemplate {
    /// Reads `restart_rollout namespace={{namespace}} workload={{service}}`.
    ///
    /// # Errors
    /// Says which word is wrong.
    pub fn parse(text: &str) -> Result<ActionTemplate, String> {
        let mut words = text.split_whitespace();
        let name = words.next().unwrap_or_default();
        let kind = ActionKind::parse(name).ok_or_else(|| {
            let known: Vec<&str> = ActionKind::ALL.iter().map(|kind| kind.as_str()).collect();
            format!("names the action {name:?}; known are {}", known.join(", "))
        })?;
        let mut arguments = BTreeMap::new();
        for word in words {
            let (name, value) = word
                .split_once('=')
                .filter(|(name, value)| !name.is_empty() && !value.is_empty())
                .ok_or_else(|| format!("has {word:?}, which is not `name=value`"))?;
            if arguments
                .insert(name.to_owned(), value.to_owned())
                .is_some()
            {
                return Err(format!("gives {name:?} twice"));
            }
        }
        Ok(ActionTemplate { kind, arguments })
    }

    /// The placeholders of the arguments.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.arguments
            .values()
            .flat_map(|value| placeholders_in(value))
    }

    /// The arguments with each placeholder replaced by its value.
    ///
    /// # Errors
    /// As for [`RunbookStep::fill`].
    pub fn fill(
        &self,
        values: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, FillError> {
        for name in self.placeholders() {
            fitting(name, values, self.kind.as_str())?;
        }
        let filled = self.arguments.iter();
        Ok(filled
            .map(|(name, value)| (name.clone(), replace(value, values)))
            .collect())
    }
}

/// Why a step cannot be filled.
#[derive(Debug, Error, PartialEq)]
pub enum FillError {
    #[error("the step {action:?} needs a value for {{{{{placeholder}}}}}")]
    Missing { action: String, placeholder: String },
    #[error(
        "the value {value:?} for {{{{{placeholder}}}}} may not stand in a command: only letters, digits and . _ - / : are allowed, and it must not begin with -"
    )]
    Unsafe { placeholder: String, value: String },
}

impl RunbookStep {
    /// The placeholders of the step, each once, in order of appearance.
    #[must_use]
    pub fn placeholders(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for text in self.texts() {
            for name in placeholders_in(text) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// The step as part of a plan, with each placeholder replaced by its
    /// value.
    ///
    /// # Errors
    /// [`FillError::Missing`] for a placeholder without a value, and
    /// [`FillError::Unsafe`] for a value that a shell could read as more than
    /// one word: names come from telemetry, which anybody may have written.
    pub fn fill(
        &self,
        step_id: &str,
        values: &BTreeMap<String, String>,
    ) -> Result<ActionStep, FillError> {
        for name in self.placeholders() {
            fitting(name, values, &self.action)?;
        }
        Ok(ActionStep {
            step_id: step_id.to_owned(),
            priority: self.priority,
            action: replace(&self.action, values),
            command: replace(&self.command, values),
            rationale: replace(&self.why, values),
            risk_level: self.risk.clone(),
            owner: self.owner.clone(),
            expected_outcome: replace(&self.expect, values),
            rollback: replace(&self.rollback, values),
            typed: None,
        })
    }

    fn texts(&self) -> [&str; 5] {
        [
            &self.action,
            &self.command,
            &self.why,
            &self.expect,
            &self.rollback,
        ]
    }
}

/// Refuses a placeholder without a value, or with one that is no plain word.
fn fitting(name: &str, values: &BTreeMap<String, String>, action: &str) -> Result<(), FillError> {
    let value = values.get(name).ok_or_else(|| FillError::Missing {
        action: action.to_owned(),
        placeholder: name.to_owned(),
    })?;
    if is_plain_word(value) {
        return Ok(());
    }
    Err(FillError::Unsafe {
        placeholder: name.to_owned(),
        value: value.clone(),
    })
}

fn placeholders_in(text: &str) -> impl Iterator<Item = &str> {
    text.split("{{")
        .skip(1)
        .filter_map(|rest| rest.split_once("}}"))
        .map(|(name, _)| name)
}

/// Replaces in one pass, so that a value is never searched for placeholders.
fn replace(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut parts = text.split("{{");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once("}}") {
            Some((name, rest)) if values.contains_key(name) => {
                filled.push_str(&values[name]);
                filled.push_str(rest);
            }
            _ => {
                filled.push_str("{{");
                filled.push_str(part);
            }
        }
    }
    filled
}

fn is_plain_word(value: &str) -> bool {
    !value.is_empty()
        && !value.starts_with('-')
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-/:".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step() -> RunbookStep {
        RunbookStep {
            priority: Priority::Immediate,
            action: "Restart {{service}}".to_owned(),
            command: "kubectl rollout restart deployment/{{service}} -n {{namespace}}".to_owned(),
            why: "It helps.".to_owned(),
            expect: "Quiet.".to_owned(),
            rollback: "none: read-only".to_owned(),
            risk: "low".to_owned(),
            owner: "on-call".to_owned(),
            typed: None,
        }
    }

    fn values(service: &str) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("service".to_owned(), service.to_owned()),
            ("namespace".to_owned(), "production".to_owned()),
        ])
    }

    #[test]
    fn a_filled_step_names_the_object() {
        let filled = step()
            .fill("S1", &values("payment-service"))
            .expect("all values are there");
        assert_eq!(filled.action, "Restart payment-service");
        assert_eq!(
            filled.command,
            "kubectl rollout restart deployment/payment-service -n production"
        );
    }

    #[test]
    fn a_typed_action_is_read_and_filled_like_the_command() {
        let text = "restart_rollout namespace={{namespace}} workload={{service}}";
        let template = ActionTemplate::parse(text).expect("well formed");
        assert_eq!(template.kind, ActionKind::RestartRollout);
        let filled = template.fill(&values("payment-service"));
        let expected = [("namespace", "production"), ("workload", "payment-service")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(filled, Ok(expected.into()));
        let hostile = template.fill(&values("a;b")).expect_err("two commands");
        assert!(matches!(hostile, FillError::Unsafe { .. }), "{hostile}");
        for (bad, told) in [
            ("explode pod=a", "known are restart_rollout"),
            ("scale workload", "not `name=value`"),
            ("scale a=b a=c", "twice"),
            ("", "names the action"),
        ] {
            let error = ActionTemplate::parse(bad).expect_err(bad);
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn a_missing_value_is_named() {
        let error = step()
            .fill("S1", &BTreeMap::new())
            .expect_err("no values given");
        assert_eq!(
            error.to_string(),
            "the step \"Restart {{service}}\" needs a value for {{service}}"
        );
    }

    #[test]
    fn a_value_that_a_shell_would_run_is_refused() {
        for value in [
            "a; rm -rf /",
            "$(id)",
            "-n",
            "",
            "a b",
            "{{namespace}}",
            "a`b`",
        ] {
            let error = step().fill("S1", &values(value)).expect_err(value);
            assert!(
                matches!(error, FillError::Unsafe { .. }),
                "{value}: {error}"
            );
        }
    }
}
