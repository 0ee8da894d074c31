//! `APPROVE=1` and `APPROVE=wrong`: which step of the plan is approved, by
//! whom, and whether what came of it is as it must be. Pure.

use std::collections::BTreeSet;
use std::str::FromStr;

use serde::Deserialize;
use serde_json::Value;

use crate::once::report::wrap;
use crate::once::story::{Incident, Mark};

/// Which step is approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approve {
    /// The plan's first executable step, which must help.
    First,
    /// A step that does not help, which must be told and taken back.
    Wrong,
}

impl FromStr for Approve {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim().to_lowercase().as_str() {
            "1" | "true" | "yes" | "first" => Ok(Self::First),
            "wrong" => Ok(Self::Wrong),
            other => Err(format!("APPROVE={other:?} is unknown; it is 1 or wrong")),
        }
    }
}

/// The plan of an incident as the API tells it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// What approvals are bound to.
    pub plan_hash: String,
    /// Steps in their order.
    pub steps: Vec<Step>,
}

/// One step and what became of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Step {
    /// `S1`, `S2`, …
    pub step_id: String,
    /// In words.
    pub action: String,
    /// What would be executed, where anything would.
    pub typed: Option<Typed>,
    /// Oldest first.
    pub happened: Vec<Happening>,
}

/// What would be executed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Typed {
    /// Kind of action.
    pub kind: String,
    /// Service that it acts on.
    pub service: String,
    /// `read-only`, `low-risk`, `disruptive`, `destructive`.
    pub risk: String,
    /// What takes it back.
    pub undo: Option<Value>,
}

/// A phase of a step.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Happening {
    /// `approved`, `refused`, `intent`, `outcome`, `verified`, `undone`.
    pub phase: String,
    /// Who.
    pub by: String,
    /// The rule that refused.
    pub rule: String,
    /// Why.
    pub reason: String,
    /// What came of it.
    pub result: String,
    /// What the executor said.
    pub output: String,
    /// Whether nothing was really done.
    pub dry_run: bool,
    /// Of an outcome.
    pub succeeded: Option<bool>,
    /// Of an approval.
    pub approvals_missing: Option<u32>,
    /// Of a look at the effect.
    pub verification: Option<Verification>,
}

/// What the look at the effect found.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Verification {
    /// `improved`, `not_improved`, `worse`, `not_provable`,
    /// `recovered_by_itself`.
    pub verdict: String,
    /// One sentence.
    pub summary: String,
}

/// A fault as the simulator tells it, simulated epoch milliseconds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Fault {
    /// Which.
    pub scenario: String,
    /// When it began.
    pub start_ms: i64,
    /// When it ends, or ended.
    pub end_ms: i64,
    /// When it would end if nobody did anything.
    pub natural_end_ms: i64,
}

/// An approval to be given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ask {
    /// The plan that was looked at.
    pub plan_hash: String,
    /// Its step.
    pub step_id: String,
    /// Which operator, from 0.
    pub operator: usize,
}

/// Whether the simulator lets an action of this kind help against a fault.
#[must_use]
pub fn helps(scenario: &str, kind: &str) -> bool {
    let kinds: &[&str] = match scenario {
        "LATENCY_SPIKE" | "ERROR_RATE_SPIKE" => &["toggle_flag"],
        "CPU_SATURATION" => &["scale", "raise_limit"],
        "MEMORY_LEAK" => &[
            "restart_rollout",
            "rollback_deployment",
            "raise_limit",
            "delete_pod",
        ],
        "DB_CONNECTION_EXHAUSTION" => &["restart_rollout", "raise_pool_size"],
        "KAFKA_CONSUMER_LAG" => &["scale", "restart_rollout"],
        "DEPLOYMENT_FAILURE" => &["rollback_deployment"],
        _ => &[],
    };
    kinds.contains(&kind)
}

impl Step {
    fn phase(&self, phase: &str) -> Option<&Happening> {
        self.happened.iter().rfind(|one| one.phase == phase)
    }

    fn has_begun(&self) -> bool {
        self.happened.iter().any(|one| one.phase == "intent")
    }

    fn verdict(&self) -> Option<&Verification> {
        self.phase("verified")?.verification.as_ref()
    }
}

/// What is approved and what was seen of it.
#[derive(Clone, Debug)]
pub struct Approval {
    mode: Approve,
    /// Whether the stack's own policy holds, which lets undo.
    undoes: bool,
    scenario: String,
    plan: Plan,
    fault: Option<Fault>,
    asked: BTreeSet<Ask>,
    told: usize,
}

impl Approval {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(mode: Approve, scenario: &str, undoes: bool) -> Self {
        Self {
            mode,
            undoes,
            scenario: scenario.to_owned(),
            plan: Plan::default(),
            fault: None,
            asked: BTreeSet::new(),
            told: 0,
        }
    }

    /// Takes in what the API and the simulator say.
    pub fn see(&mut self, plan: Option<Plan>, faults: Vec<Fault>) {
        // A plan on which a step has begun stays the one to look at.
        if let Some(plan) = plan.filter(|plan| {
            plan.plan_hash == self.plan.plan_hash || !self.step().is_some_and(Step::has_begun)
        }) {
            if plan.plan_hash != self.plan.plan_hash {
                self.told = 0;
            }
            self.plan = plan;
        }
        let own = |fault: &Fault| fault.scenario == self.scenario;
        if let Some(fault) = faults.into_iter().find(own) {
            self.fault = Some(fault);
        }
    }

    /// The step that is approved.
    #[must_use]
    pub fn step(&self) -> Option<&Step> {
        let mut executable = self.plan.steps.iter().filter_map(|step| {
            let typed = step.typed.as_ref()?;
            (typed.risk != "read-only").then_some((step, typed))
        });
        let found = match self.mode {
            Approve::First => executable.next(),
            Approve::Wrong => executable.find(|(_, typed)| !helps(&self.scenario, &typed.kind)),
        };
        found.map(|(step, _)| step)
    }

    /// The approval that is to be given next, where one is.
    #[must_use]
    pub fn next(&self) -> Option<Ask> {
        let step = self.step().filter(|step| !step.has_begun())?;
        let ask = |operator| Ask {
            plan_hash: self.plan.plan_hash.clone(),
            step_id: step.step_id.clone(),
            operator,
        };
        let missing = step.phase("approved").and_then(|one| one.approvals_missing);
        let second = missing.is_some_and(|missing| missing > 0).then(|| ask(1));
        [Some(ask(0)), second]
            .into_iter()
            .flatten()
            .find(|ask| !self.asked.contains(ask))
    }

    /// An approval that the API took.
    pub fn was_given(&mut self, ask: Ask) {
        self.asked.insert(ask);
    }

    /// What happened since the last call, for people.
    pub fn news(&mut self) -> Vec<String> {
        let Some(step) = self.step() else {
            return Vec::new();
        };
        let mut lines = Vec::new();
        for one in step.happened.iter().skip(self.told) {
            let words: Vec<&str> = [&one.rule, &one.result, &one.output, &one.reason]
                .into_iter()
                .map(String::as_str)
                .filter(|text| !text.is_empty())
                .collect();
            let text = match &one.verification {
                Some(found) => format!("{}: {}", step.step_id, found.summary),
                None => format!("{}: {}", step.step_id, words.join("; ")),
            };
            lines.extend(wrap(&format!("{:>25}   ", one.phase), 28, &text));
        }
        self.told = step.happened.len();
        lines
    }

    /// Whether all that was to come has come.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.step().is_some_and(|step| {
            step.verdict().is_some() && (!self.awaits_undo(step) || step.phase("undone").is_some())
        })
    }

    fn awaits_undo(&self, step: &Step) -> bool {
        let can = step
            .typed
            .as_ref()
            .is_some_and(|typed| typed.undo.is_some());
        let verdict = step.verdict().map_or("", |found| found.verdict.as_str());
        self.undoes && can && ["worse", "not_improved"].contains(&verdict)
    }

    /// What was approved and what came of it, and what is not as it must be.
    #[must_use]
    pub fn judge(&self, incident: &Incident) -> (Vec<String>, Vec<String>) {
        let Some(step) = self.step() else {
            let none = match self.mode {
                Approve::First => "the plan has no step that could be executed",
                Approve::Wrong => "every executable step of the plan helps; name another SCENARIO",
            };
            return (Vec::new(), vec![none.to_owned()]);
        };
        let mut said = wrap(
            "  step      ",
            12,
            &format!("{} {}", step.step_id, step.action),
        );
        let mut problems = Vec::new();
        let verdict = step.verdict().map(|found| found.verdict.as_str());
        said.push(format!("  verdict   {}", verdict.unwrap_or("none")));
        problems.extend(self.not_done(step));
        let expected: &[&str] = match self.mode {
            Approve::First => &["improved"],
            Approve::Wrong => &["worse", "not_improved"],
        };
        if !verdict.is_some_and(|verdict| expected.contains(&verdict)) {
            let (found, expected) = (verdict.unwrap_or("none"), expected.join(" or "));
            problems.push(format!("the verdict is {found} instead of {expected}"));
        }
        if self.mode == Approve::Wrong && self.awaits_undo(step) && step.phase("undone").is_none() {
            problems.push("what did not help was not taken back".to_owned());
        }
        self.compare(incident, &mut said, &mut problems);
        (said, problems)
    }

    /// What is missing between the approval and its outcome.
    fn not_done(&self, step: &Step) -> Option<String> {
        let id = &step.step_id;
        let refused = step.phase("refused");
        let why = refused.map_or_else(String::new, |one| format!(": {} {}", one.rule, one.reason));
        if step.phase("approved").is_none() {
            return Some(format!("{id} was not approved{why}"));
        }
        let Some(outcome) = step.phase("outcome") else {
            return Some(format!("{id} was approved and has no outcome{why}"));
        };
        let words = format!("{} {}", outcome.result, outcome.output);
        if outcome.dry_run {
            return Some(format!("{id} was a dry run: {words}"));
        }
        (outcome.succeeded != Some(true)).then(|| format!("{id} was not carried out: {words}"))
    }

    /// Times from detection, simulated, with the action and without.
    fn compare(&self, incident: &Incident, said: &mut Vec<String>, problems: &mut Vec<String>) {
        let Some(fault) = &self.fault else {
            problems.push("the simulator told of no fault".to_owned());
            return;
        };
        let detected = Mark::Anomaly.find(&incident.timeline).map(|one| one.at_ms);
        let resolved = Mark::Resolved.find(&incident.timeline).map(|one| one.at_ms);
        let (Some(detected_ms), Some(resolved_ms)) = (detected, resolved) else {
            problems.push("without detection and resolution there is no MTTR".to_owned());
            return;
        };
        let seconds = |ms: i64| (ms - detected_ms) / 1_000;
        let text = format!(
            "{} s from detection, simulated; by itself the fault ends after {} s",
            seconds(resolved_ms),
            seconds(fault.natural_end_ms)
        );
        said.extend(wrap("  MTTR      ", 12, &text));
        let ended_early = fault.end_ms < fault.natural_end_ms;
        if self.mode == Approve::First {
            if !ended_early {
                problems.push("the action did not end the fault".to_owned());
            }
            if resolved_ms >= fault.natural_end_ms {
                problems.push("it took as long as it would have without the action".to_owned());
            }
        } else if ended_early {
            problems.push("the wrong step ended the fault".to_owned());
        }
    }
}

#[cfg(test)]
mod tests;
