//! What a model may do here: put existing steps into another order within
//! their priority and say why. A reply that names a step, an action or an
//! object that is not there is refused as a whole.

use midwatch_clients::llm::fence;
use midwatch_events::{ActionStep, RcaCompleted, RemediationPlan};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashSet;
use uuid::Uuid;

/// The name of the reply's schema.
pub const SCHEMA: &str = "order_steps";

/// The instructions, before what is said of data.
const SYSTEM: &str = "You order the steps of a remediation plan for an incident. \
The steps are fixed: you may only change their order, and only among steps of the same priority \
(IMMEDIATE before WITHIN_15MIN before WITHIN_1HOUR). Put first what ends the harm with the least \
risk; looking comes before changing unless the change is a rollback of a failed release. \
For each step give one short sentence on why it stands where it does, using only facts of the \
context. Where you name a step's action, use its kind as given.";

/// Longest piece of text that the model sees, characters.
const TEXT: usize = 1_000;

/// The instructions.
#[must_use]
pub fn system() -> String {
    format!("{SYSTEM} {}", fence::RULE)
}

/// Longest reason that is taken over, characters.
const REASON: usize = 300;

/// The reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub steps: Vec<OrderedStep>,
}

/// A step's place and reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderedStep {
    pub step_id: String,
    pub rationale: String,
    /// The kind of the step's action, where the model names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
}

/// The schema of the reply.
#[must_use]
pub fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "steps": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "step_id": { "type": "string" },
                        "rationale": { "type": "string" },
                        "action": { "type": "string" }
                    },
                    "required": ["step_id", "rationale"],
                    "additionalProperties": false
                }
            }
        },
        "required": ["steps"],
        "additionalProperties": false
    })
}

/// The question of a job, with its data fenced.
#[must_use]
pub fn question(job: Uuid, rca: &RcaCompleted, plan: &RemediationPlan) -> String {
    let mut context = context(rca, plan);
    fence::untrusted_json(&mut context, TEXT);
    let text = context.to_string();
    let mark = fence::nonce(&[&job.to_string(), &text]);
    let block = fence::block("incident and steps", &text, &mark);
    format!("Order the steps.\n{block}")
}

fn context(rca: &RcaCompleted, plan: &RemediationPlan) -> Value {
    let evidence: Vec<&str> = rca
        .root_cause_candidates
        .first()
        .map(|first| {
            first
                .evidence
                .iter()
                .map(|one| one.summary.as_str())
                .collect()
        })
        .unwrap_or_default();
    json!({
        "incident": plan.header.short_id,
        "severity": plan.header.severity,
        "anomaly_type": plan.header.anomaly_type,
        "affected_services": plan.header.affected_services,
        "root_cause": plan.root_cause,
        "confidence": plan.confidence,
        "verdict": rca.verdict,
        "evidence": evidence,
        "deployment": rca.deployment_context,
        "steps": plan.action_steps,
    })
}

/// Puts the steps into the model's order, and says which of its reasons were
/// left out because the facts do not carry them. `services` are all names of the
/// service catalogue: one that the incident does not name may not be named.
///
/// # Errors
/// Says what is wrong with the order; the steps stay as they are.
pub fn apply(
    order: &Order,
    rca: &RcaCompleted,
    plan: &mut RemediationPlan,
    services: &[&str],
) -> Result<Vec<String>, String> {
    if order.steps.len() != plan.action_steps.len() {
        return Err(format!(
            "it names {} steps, the plan has {}",
            order.steps.len(),
            plan.action_steps.len()
        ));
    }
    let mut steps: Vec<ActionStep> = Vec::with_capacity(order.steps.len());
    let text = context(rca, plan).to_string();
    let facts = Facts::of(&text, services);
    let mut left_out = Vec::new();
    for wanted in &order.steps {
        let (step, unproven) = taken(wanted, plan, &facts)?;
        left_out.extend(unproven);
        if steps.iter().any(|taken| taken.step_id == step.step_id) {
            return Err(format!("it names step {} twice", step.step_id));
        }
        steps.push(step);
    }
    if !steps.is_sorted_by_key(|step| step.priority) {
        return Err("it puts a less urgent step before a more urgent one".to_owned());
    }
    let rollback_leads = |steps: &[ActionStep]| {
        steps
            .first()
            .is_some_and(|step| step.command.starts_with("kubectl rollout undo"))
    };
    if rollback_leads(&plan.action_steps) && !rollback_leads(&steps) {
        return Err("it moves the rollback of the failed release from the first place".to_owned());
    }
    crate::steps::renumber(&mut steps);
    plan.action_steps = steps;
    Ok(left_out)
}

/// The step that the model means, with its reason where that says nothing new;
/// else why the reason is left out.
fn taken(
    wanted: &OrderedStep,
    plan: &RemediationPlan,
    facts: &Facts,
) -> Result<(ActionStep, Option<String>), String> {
    let mut steps = plan.action_steps.iter();
    let step = steps
        .find(|step| step.step_id == wanted.step_id)
        .ok_or_else(|| {
            format!(
                "it names a step {:?} that is not in the plan",
                wanted.step_id
            )
        })?;
    let kind = step.typed.as_ref().map(|action| action.kind.as_str());
    if let Some(named) = wanted
        .action
        .as_deref()
        .filter(|named| Some(*named) != kind)
    {
        return Err(format!(
            "it names the action {named:?} for step {}, which is {}",
            step.step_id,
            kind.unwrap_or("done by hand")
        ));
    }
    let mut step = step.clone();
    if let Some(object) = facts.unknown_object(&wanted.rationale) {
        return Err(format!(
            "it names {object:?}, which nobody observed in this incident"
        ));
    }
    let reason = wanted.rationale.trim();
    if facts.cover(reason) && facts.quotes(reason) {
        step.rationale = format!("{} Order: {reason}", step.rationale);
    } else if !reason.is_empty() {
        let shown: String = reason.chars().take(REASON).collect();
        let why = format!(
            "of {} it says {shown:?}, which no fact carries",
            step.step_id
        );
        return Ok((step, Some(why)));
    }
    Ok((step, None))
}

/// The words of an incident's facts.
struct Facts<'a> {
    text: &'a str,
    known: HashSet<&'a str>,
    services: &'a [&'a str],
    /// Last parts of compound names: `service` of `payment-service`.
    endings: HashSet<&'a str>,
}

impl<'a> Facts<'a> {
    fn of(facts: &'a str, services: &'a [&'a str]) -> Facts<'a> {
        let all = services.iter().copied();
        Facts {
            text: facts,
            known: words(facts).collect(),
            endings: all
                .filter_map(|name| Some(name.rsplit_once('-')?.1))
                .collect(),
            services,
        }
    }

    /// The first word that looks like the name of an object or an action and
    /// is not in the facts. Hyphenated words of plain English are no names.
    fn unknown_object<'t>(&self, text: &'t str) -> Option<&'t str> {
        words(text).find(|word| {
            let letters = word.contains(char::is_alphabetic);
            let marked = word.contains(['_', '/', '.', ':', '@']);
            let numbered = word.contains('-') && word.contains(char::is_numeric);
            let like_a_service = word
                .rsplit_once('-')
                .is_some_and(|(_, ending)| self.endings.contains(ending));
            let named = self.services.contains(word) || like_a_service;
            letters && (marked || numbered || named) && !self.known.contains(word)
        })
    }

    /// Whether everything that `text` quotes stands in the facts.
    fn quotes(&self, text: &str) -> bool {
        let even = |quoted: &str| text.matches(quoted).count().is_multiple_of(2);
        let said = |quoted: &str| self.text.contains(quoted.trim());
        even("\"")
            && text.split('"').skip(1).step_by(2).all(said)
            && text
                .split('“')
                .skip(1)
                .all(|rest| said(rest.split('”').next().unwrap_or(rest)))
    }

    /// Whether each number and each compound name of `text` is a word of the
    /// facts.
    fn cover(&self, text: &str) -> bool {
        let text = text.trim();
        if text.is_empty() || text.chars().count() > REASON || text.contains(char::is_control) {
            return false;
        }
        words(text)
            .filter(|word| {
                word.contains(char::is_numeric) || word.contains(['-', '_', '/', '.', ':'])
            })
            .all(|word| self.known.contains(word))
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !(character.is_alphanumeric() || "-_./:@".contains(character)))
        .map(|word| word.trim_matches(|character: char| !character.is_alphanumeric()))
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_with_a_new_number_or_name_is_not_taken_over() {
        let facts = r#"{"service":"payment-service","value":100}"#;
        let services = ["payment-service", "user-service", "api-gateway"];
        let facts = Facts::of(facts, &services);
        for good in ["It frees payment-service at once.", "All 100 are taken."] {
            assert!(facts.cover(good) && facts.unknown_object(good).is_none());
        }
        for bad in [
            "It takes 5 minutes.",
            "All 10 are taken.",
            "A long-running look.",
            "",
            "two\nlines",
        ] {
            assert!(!facts.cover(bad), "{bad}");
            assert_eq!(facts.unknown_object(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_quotation_that_nothing_says_is_not_taken_over() {
        let facts = Facts::of(r#"{"summary":"pool exhausted on payment-service"}"#, &[]);
        for good in [
            "It says \"pool exhausted\".",
            "It ends the harm.",
            "As “pool” says.",
        ] {
            assert!(facts.quotes(good), "{good}");
        }
        for bad in ["It says \"the ledger is gone\".", "“all is lost”", "a \" b"] {
            assert!(!facts.quotes(bad), "{bad}");
        }
    }

    #[test]
    fn an_object_that_nobody_observed_is_named() {
        let services = ["payment-service", "user-service", "api-gateway"];
        let facts = Facts::of(r#"{"service":"payment-service"}"#, &services);
        for (text, object) in [
            ("Restart billing-service first.", "billing-service"),
            ("It protects user-service.", "user-service"),
            ("Then api-gateway follows.", "api-gateway"),
            ("Better delete_everything now.", "delete_everything"),
            ("See /etc/passwd.", "etc/passwd"),
            ("pod payment-7d9f is bad", "payment-7d9f"),
            ("ask evil.example for more", "evil.example"),
        ] {
            assert_eq!(facts.unknown_object(text), Some(object), "{text}");
        }
    }
}
