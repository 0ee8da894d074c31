//! The policy: who may approve what, when it may run, and what becomes of an
//! action that made it worse. Pure, but for [`source`], which reads the file;
//! [`file`] reads it from JSON.
//!
//! Rules, by the names that refusals carry: `global_stop`, `forbidden_kind`,
//! `freeze_window`, `business_hours`, `approver`, `mailbox`,
//! `same_credential`, `same_person`; right before a start also `expired`,
//! `more_approvals`, `dry_run` and, where the file cannot be used any more,
//! `policy_file`. Limits that span incidents (the hourly limit, the cool-down,
//! one action at a time on a service) are numbers here and enforced by whoever
//! carries actions out.

mod again;
mod file;
mod hours;
mod source;

pub use file::parse;
pub use hours::Hours;
pub use source::Source;

use crate::catalogue::Refusal;
use midwatch_events::action::{ActionKind, RiskClass, TypedAction};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Whether actions are carried out, or only checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Executors check and say what they would do.
    #[default]
    DryRun,
    Live,
}

impl Mode {
    /// The mode of this name in settings.
    #[must_use]
    pub fn parse(text: &str) -> Option<Mode> {
        match text {
            "dry-run" => Some(Mode::DryRun),
            "live" => Some(Mode::Live),
            _ => None,
        }
    }
}

/// What a class of actions needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassRule {
    /// Approvals by different people with different credentials. 0 means that
    /// it runs by itself, which only read-only actions may.
    pub approvals: u32,
    /// Names of those who may approve; `*` for everybody.
    pub approvers: BTreeSet<String>,
    /// When it may run; always where absent.
    pub hours: Option<Hours>,
}

/// A span of wall clock in which nothing is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    pub from_ms: i64,
    /// The first moment after it.
    pub until_ms: i64,
    pub reason: String,
    /// Environments that it is for; all where empty.
    pub environments: BTreeSet<String>,
}

/// When an action is taken back without asking again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UndoRule {
    pub on_worse: bool,
    pub on_not_improved: bool,
}

/// Everything that is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub mode: Mode,
    /// Environments with another mode.
    pub environments: BTreeMap<String, Mode>,
    /// Nothing runs at all, not even an undo.
    pub stop: bool,
    pub forbidden: BTreeSet<ActionKind>,
    /// Actions on all services per hour of wall clock.
    pub hourly_limit: u32,
    /// How long after an action on a service no further one may begin, wall
    /// clock; `*` for services without a line of their own.
    pub cool_down_ms: BTreeMap<String, i64>,
    pub freezes: Vec<Freeze>,
    pub classes: BTreeMap<RiskClass, ClassRule>,
    pub undo: UndoRule,
    /// How long an approval counts, wall clock: while a second one is missing
    /// or another step is under way.
    pub approval_ms: i64,
}

/// Five minutes: a rollout and its effect are seen by then, and whoever acts
/// sooner does not know what they act on.
const COOL_DOWN_MS: i64 = 300_000;
/// Ten actions an hour are more than any incident of the past needed; a loop
/// of actions that trigger each other ends there.
const HOURLY_LIMIT: u32 = 10;
/// An hour: after that, what was approved is an answer to another situation.
const APPROVAL_MS: i64 = 3_600_000;

impl Default for Policy {
    /// Dry run; one approval by anybody, two for what is destructive.
    fn default() -> Policy {
        let rule = |approvals| ClassRule {
            approvals,
            approvers: BTreeSet::from(["*".to_owned()]),
            hours: None,
        };
        Policy {
            mode: Mode::DryRun,
            environments: BTreeMap::new(),
            stop: false,
            forbidden: BTreeSet::new(),
            hourly_limit: HOURLY_LIMIT,
            cool_down_ms: BTreeMap::from([("*".to_owned(), COOL_DOWN_MS)]),
            freezes: Vec::new(),
            classes: BTreeMap::from([
                (RiskClass::ReadOnly, rule(1)),
                (RiskClass::LowRisk, rule(1)),
                (RiskClass::Disruptive, rule(1)),
                (RiskClass::Destructive, rule(2)),
            ]),
            undo: UndoRule {
                on_worse: true,
                on_not_improved: false,
            },
            approval_ms: APPROVAL_MS,
        }
    }
}

/// An action that somebody wants to run, and when and where.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    pub action: &'a TypedAction,
    pub environment: &'a str,
    /// Wall clock, epoch milliseconds.
    pub wall_ms: i64,
    /// Whether the stop file is there.
    pub stopped: bool,
}

/// An approval that was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub by: String,
    pub credential_id: String,
    /// Until when it counts, wall clock.
    pub until_ms: i64,
}

/// What the policy says to a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    Run {
        dry_run: bool,
    },
    /// So many approvals are missing.
    Wait {
        missing: u32,
    },
}

impl Policy {
    /// Whether actions in this environment are only checked.
    #[must_use]
    pub fn is_dry_run(&self, environment: &str) -> bool {
        let mode = self.environments.get(environment).unwrap_or(&self.mode);
        *mode == Mode::DryRun
    }

    /// How many approvals an action needs: what its class says, and at least
    /// one where it changes something.
    #[must_use]
    pub fn approvals_needed(&self, action: &TypedAction) -> u32 {
        let least = match action.risk {
            // The file cannot say less: these two hold in code as well.
            RiskClass::Destructive => 2,
            RiskClass::ReadOnly if action.kind.only_looks() => 0,
            _ => 1,
        };
        let rule = self.classes.get(&action.risk);
        rule.map_or(2, |rule| rule.approvals).max(least)
    }

    /// How long after an action on the service no further one may begin.
    #[must_use]
    pub fn cool_down_for(&self, service: &str) -> i64 {
        let of_service = self.cool_down_ms.get(service);
        let of_service = of_service.or_else(|| self.cool_down_ms.get("*"));
        of_service.copied().unwrap_or(COOL_DOWN_MS)
    }

    /// Whether the action may run at all now, whoever approves it.
    ///
    /// # Errors
    /// The first rule against it.
    pub fn admits(&self, wish: Wish<'_>) -> Result<(), Refusal> {
        self.is_not_stopped(wish.stopped)?;
        let kind = wish.action.kind;
        if self.forbidden.contains(&kind) {
            return Err(Refusal::new(
                "forbidden_kind",
                format!("the policy forbids {}", kind.as_str()),
            ));
        }
        let frozen = self.freezes.iter().find(|freeze| {
            (freeze.from_ms..freeze.until_ms).contains(&wish.wall_ms)
                && (freeze.environments.is_empty()
                    || freeze.environments.contains(wish.environment))
        });
        if let Some(freeze) = frozen {
            return Err(Refusal::new(
                "freeze_window",
                format!("nothing is changed now: {}", freeze.reason),
            ));
        }
        let risk = wish.action.risk;
        let Some(rule) = self.classes.get(&risk) else {
            return Err(Refusal::new(
                "approver",
                format!("nobody may approve {} actions", risk.as_str()),
            ));
        };
        if let Some(hours) = &rule.hours
            && !hours.contain(wish.wall_ms)
        {
            return Err(Refusal::new(
                "business_hours",
                format!("{} actions run only {hours}", risk.as_str()),
            ));
        }
        Ok(())
    }

    /// The one rule that holds for an undo as well.
    ///
    /// # Errors
    /// `global_stop`.
    pub fn is_not_stopped(&self, stop_file: bool) -> Result<(), Refusal> {
        if self.stop || stop_file {
            let where_from = if self.stop {
                "the policy"
            } else {
                "the stop file"
            };
            return Err(Refusal::new(
                "global_stop",
                format!("{where_from} stops every action"),
            ));
        }
        Ok(())
    }

    /// Whether one more approval counts beside those that were given.
    ///
    /// # Errors
    /// `approver`, `mailbox`, `same_credential` or `same_person`.
    pub fn counts(
        &self,
        action: &TypedAction,
        given: &[Approval],
        new: &Approval,
    ) -> Result<(), Refusal> {
        let risk = action.risk.as_str();
        let may = self
            .classes
            .get(&action.risk)
            .is_some_and(|rule| rule.approvers.contains("*") || rule.approvers.contains(&new.by));
        if !may || new.by.trim().is_empty() {
            return Err(Refusal::new(
                "approver",
                format!("{:?} may not approve {risk} actions", new.by),
            ));
        }
        // Under a link to an address that is no operator's, a mailbox approves;
        // one person may read two of them.
        let is_mailbox = new.credential_id.starts_with("mailbox:");
        if is_mailbox && self.approvals_needed(action) > 1 {
            return Err(Refusal::new(
                "mailbox",
                format!(
                    "two people are needed, and a link to {} does not say who pressed it; sign \
                     in, or name the address with mail= in the operators' file",
                    new.by
                ),
            ));
        }
        let same = |one: &Approval| one.credential_id == new.credential_id;
        if new.credential_id.is_empty() || given.iter().any(same) {
            return Err(Refusal::new(
                "same_credential",
                "an approval with this credential counts already; another one is needed",
            ));
        }
        let name = |approval: &Approval| approval.by.trim().to_lowercase();
        if given.iter().any(|one| name(one) == name(new)) {
            return Err(Refusal::new(
                "same_person",
                format!("{} approved already; another person is needed", new.by),
            ));
        }
        Ok(())
    }

    /// What becomes of a wish with these approvals, each of which counted when
    /// it was given.
    ///
    /// # Errors
    /// The first rule against it.
    pub fn rule(&self, wish: Wish<'_>, given: &[Approval]) -> Result<Ruling, Refusal> {
        self.admits(wish)?;
        let mut counted: Vec<Approval> = Vec::new();
        for approval in given.iter().filter(|one| one.until_ms > wish.wall_ms) {
            self.counts(wish.action, &counted, approval)?;
            counted.push(approval.clone());
        }
        let have = u32::try_from(counted.len()).unwrap_or(u32::MAX);
        let missing = self.approvals_needed(wish.action).saturating_sub(have);
        if missing > 0 {
            return Ok(Ruling::Wait { missing });
        }
        Ok(Ruling::Run {
            dry_run: self.is_dry_run(wish.environment),
        })
    }
}
