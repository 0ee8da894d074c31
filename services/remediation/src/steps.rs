//! The steps of a plan: from runbook sections, or, where nothing is known well
//! enough, steps that only look.

mod looks;

pub use looks::diagnosis;

use crate::case::{Case, Observed, number};
use crate::catalogue::{self, Known};
use crate::config::MAX_STEPS;
use crate::decide::Deed;
use looks::{Look, built_in};
use midwatch_clients::knowledge::{ActionTemplate, FillError, RunbookHit, RunbookStep};
use midwatch_events::ActionStep;
use midwatch_events::action::{ActionKind, RiskClass, TypedAction};
use midwatch_events::response::Priority;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is said first of a step that was done in this incident before.
const CAME_BACK: &str = "This was done in this incident before, and the fault came back.";

/// How often an action of a kind helped against a cause before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effective {
    pub kind: ActionKind,
    /// Wire name of the cause.
    pub cause: String,
    /// Verified as improved.
    pub improved: u32,
    /// Carried out and verified, with whatever verdict.
    pub tried: u32,
    /// The last of those incidents.
    pub incident: String,
}

/// What steps may be made of.
#[derive(Clone, Copy, Debug)]
pub struct Means<'a> {
    pub observed: &'a Observed,
    pub known: &'a Known,
    /// Why no step is typed at all; absent where steps may be.
    pub by_hand: Option<&'a str>,
    pub effective: &'a [Effective],
    /// What was done in this incident before.
    pub deeds: &'a [Deed],
}

/// The steps, where they come from, and what had to be left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chosen {
    pub steps: Vec<ActionStep>,
    /// `runbook#section`.
    pub references: Vec<String>,
    /// One sentence for each step that was left out.
    pub dropped: Vec<String>,
    /// One sentence for each step that could have been typed and is not.
    pub by_hand: Vec<String>,
}

impl Chosen {
    fn take(&mut self, step: ActionStep, reference: Option<&str>) {
        self.steps.push(step);
        if let Some(reference) = reference
            && !self.references.iter().any(|known| known == reference)
        {
            self.references.push(reference.to_owned());
        }
    }

    /// Orders by priority, what helped before first within each and what did not
    /// last in this incident last, cuts to the limit and numbers. The first
    /// `fixed` steps keep their places.
    fn finish(mut self, case: &Case<'_>, means: Means<'_>, fixed: usize) -> Chosen {
        let free = fixed.min(self.steps.len());
        self.steps[free..].sort_by_cached_key(|step| {
            let action = step.typed.as_deref();
            let before = experience(case, means.effective, action);
            let merit = std::cmp::Reverse(before.map_or(0, merit));
            (step.priority, came_back(means.deeds, action), merit)
        });
        for step in self.steps.drain(self.steps.len().min(MAX_STEPS)..) {
            self.dropped.push(format!(
                "{:?} was left out: a plan has at most {MAX_STEPS} steps",
                step.action
            ));
        }
        renumber(&mut self.steps);
        self
    }
}

fn experience<'a>(
    case: &Case<'_>,
    effective: &'a [Effective],
    action: Option<&TypedAction>,
) -> Option<&'a Effective> {
    let kind = action?.kind;
    effective
        .iter()
        .find(|one| one.kind == kind && one.cause == case.cause() && one.tried > 0)
}

/// Whether the fault came back after such an action in this very incident.
fn came_back(deeds: &[Deed], action: Option<&TypedAction>) -> bool {
    let is_it = |deed: &Deed, action: &TypedAction| {
        deed.came_back && deed.kind == action.kind && deed.service == action.service
    };
    action.is_some_and(|action| deeds.iter().any(|deed| is_it(deed, action)))
}

/// Per thousand of the tries that helped; below zero where none did.
fn merit(before: &Effective) -> i64 {
    if before.improved == 0 {
        return -1;
    }
    i64::from(before.improved) * 1_000 / i64::from(before.tried.max(before.improved))
}

/// What became of the same kind of action against the same cause before.
fn told(before: &Effective) -> String {
    let Effective {
        improved,
        tried,
        incident,
        cause,
        ..
    } = before;
    if *improved == 0 {
        format!(
            "Against {cause} it was tried {tried} times before and helped in none, last in {incident}."
        )
    } else {
        format!(
            "It worked before: against {cause} it helped in {improved} of {tried} tries, last in {incident}."
        )
    }
}

/// Numbers steps in their order: S1, S2, …
pub fn renumber(steps: &mut [ActionStep]) {
    for (index, step) in steps.iter_mut().enumerate() {
        step.step_id = format!("S{}", index + 1);
    }
}

/// The steps of the runbook's sections for this case. With `look_only`, only
/// those that change nothing.
#[must_use]
pub fn from_runbook(
    case: &Case<'_>,
    sections: &[RunbookHit],
    means: Means<'_>,
    look_only: bool,
) -> Chosen {
    let values = case.values(case.service(), means.observed);
    let mut chosen = Chosen::default();
    let mut fixed = 0;
    let release = case.failed_release().filter(|_| !look_only);
    if let Some(release) = release {
        let (mut step, template, reference) = rollback_first(case, release, sections, &values);
        let template = template.as_ref();
        chosen
            .by_hand
            .extend(typed(case, template, &mut step, &values, means));
        if let Some(to) = &release.previous_version {
            say_revision(&mut step, to);
        }
        // What did not last is no reason to skip the others.
        fixed = usize::from(!came_back(means.deeds, step.typed.as_deref()));
        chosen.take(step, reference.as_deref());
    }
    for section in sections {
        let reference = format!("{}#{}", section.runbook_id, section.section_title);
        for step in &section.steps {
            let undoes = is_rollback(step);
            if (look_only && step.risk != "read-only") || (release.is_some() && undoes) {
                continue;
            }
            match step.fill("S0", &values) {
                Ok(filled) => {
                    let mut filled = explained(case, step, filled, Some((section, &reference)));
                    let template = step.typed.as_ref();
                    let why = typed(case, template, &mut filled, &values, means);
                    chosen.by_hand.extend(why);
                    let to = filled.typed.as_deref().filter(|_| undoes);
                    let to = to.and_then(|action| action.arguments.get("to_version"));
                    if let Some(to) = to.cloned() {
                        say_revision(&mut filled, &to);
                    }
                    chosen.take(filled, Some(&reference));
                }
                Err(error) => chosen.dropped.push(why_dropped(step, &error)),
            }
        }
    }
    chosen.finish(case, means, fixed)
}

/// Gives a step its typed action, and the command and rollback that belong to
/// it. Returns why it stays by hand where the runbook names an action.
fn typed(
    case: &Case<'_>,
    template: Option<&ActionTemplate>,
    step: &mut ActionStep,
    values: &BTreeMap<String, String>,
    means: Means<'_>,
) -> Option<String> {
    let template = template?;
    let by_hand = |why: String| {
        let kind = template.kind.as_str();
        Some(format!("{:?} ({kind}) is done by hand: {why}", step.action))
    };
    if let Some(why) = means.by_hand {
        return by_hand(why.to_owned());
    }
    let looks = template.kind.only_looks();
    if looks && means.known.simulated {
        return by_hand("the simulated fleet has no pods or hosts to look at".to_owned());
    }
    let effect = if looks {
        Some(case.subject())
    } else {
        case.effect()
    };
    let Some(effect) = effect else {
        return by_hand("no metric with a known baseline would show whether it helped".to_owned());
    };
    let given = match template.fill(values) {
        Ok(given) => given,
        Err(error) => return by_hand(error.to_string()),
    };
    let built = catalogue::build(template.kind, case.service(), &given, effect, means.known);
    match built {
        Err(refusal) => by_hand(refusal.to_string()),
        Ok(action) => {
            step.command = catalogue::command(&action);
            step.rollback = catalogue::rollback(&action);
            risk_word(&mut step.risk_level, action.risk);
            if let Some(before) = experience(case, means.effective, Some(&action)) {
                step.rationale = format!("{} {}", step.rationale, told(before));
            }
            if came_back(means.deeds, Some(&action)) {
                step.rationale = format!("{CAME_BACK} {}", step.rationale);
            }
            step.typed = Some(Box::new(action));
            None
        }
    }
}

/// A runbook may call a step graver than the catalogue does, never milder.
fn risk_word(word: &mut String, risk: RiskClass) {
    let least = match risk {
        RiskClass::ReadOnly | RiskClass::LowRisk => return,
        RiskClass::Disruptive => "medium",
        RiskClass::Destructive => "high",
    };
    if word != "high" {
        least.clone_into(word);
    }
}

fn is_rollback(step: &RunbookStep) -> bool {
    step.command.starts_with("kubectl rollout undo")
}

/// Says which revision a rollback's command returns to. An executor looks for
/// the newest one of the version; the command takes the one right before,
/// which may be the same version with another limit or setting.
fn say_revision(step: &mut ActionStep, to: &str) {
    let Some(of) = step.command.strip_prefix("kubectl rollout undo") else {
        return;
    };
    step.rationale = format!(
        "The command goes back one revision: type it only if that one runs {to}, else add \
         --to-revision=N from kubectl rollout history{of}. {}",
        step.rationale
    );
}

/// The rollback of the release that was seen, ahead of everything else: it
/// ends the harm without the cause being understood.
fn rollback_first(
    case: &Case<'_>,
    release: &midwatch_events::RawDeployment,
    sections: &[RunbookHit],
    values: &BTreeMap<String, String>,
) -> (ActionStep, Option<ActionTemplate>, Option<String>) {
    let of_runbook = sections.iter().find_map(|section| {
        let step = section.steps.iter().find(|step| is_rollback(step))?;
        let filled = step.fill("S0", values).ok()?;
        let reference = format!("{}#{}", section.runbook_id, section.section_title);
        let filled = explained(case, step, filled, Some((section, &reference)));
        Some((filled, step.typed.clone(), reference))
    });
    let (mut step, template, reference) = match of_runbook {
        Some((step, template, reference)) => (step, template, Some(reference)),
        None => (plain_rollback(case, values), None, None),
    };
    let to = release
        .previous_version
        .as_deref()
        .map_or_else(|| "its previous revision".to_owned(), str::to_owned);
    step.action = format!(
        "Roll back {} from {} to {to}",
        release.service, release.version
    );
    step.priority = Priority::Immediate;
    (step, template, reference)
}

/// Where the runbook's own rollback needs a name that nobody observed.
fn plain_rollback(case: &Case<'_>, values: &BTreeMap<String, String>) -> ActionStep {
    let (mut step, filled) = built_in(
        &Look {
            action: "Roll back {{service}}",
            command: "kubectl rollout undo deployment/{{service}} -n {{namespace}}",
            why: "The errors began with the release; the revision before it ran without them.",
            expect: "Pods of the former revision are ready and errors fall as the last new pod stops.",
            typed: None,
        },
        values,
    );
    "medium".clone_into(&mut step.risk);
    let mut filled = explained(case, &step, filled, None);
    filled.risk_level = step.risk;
    filled.rollback =
        "none: undoing it would release the faulty version again; do that as a release of its own"
            .to_owned();
    filled
}

fn why_dropped(step: &RunbookStep, error: &FillError) -> String {
    match error {
        FillError::Missing { placeholder, .. }
            if matches!(placeholder.as_str(), "unit" | "path" | "log") =>
        {
            format!(
                "{:?} was left out: REMEDIATION_ALLOWED_FILE lists no {placeholder} for it",
                step.action
            )
        }
        FillError::Missing { placeholder, .. } => format!(
            "{:?} was left out: no {} was observed",
            step.action,
            placeholder.replace('_', " ")
        ),
        FillError::Unsafe { placeholder, .. } => format!(
            "{:?} was left out: the observed {} is not a plain name and may not stand in a command",
            step.action,
            placeholder.replace('_', " ")
        ),
    }
}

/// Adds to a filled step why it is taken here, who does it, and the metric
/// that will show whether it helped.
fn explained(
    case: &Case<'_>,
    step: &RunbookStep,
    mut filled: ActionStep,
    source: Option<(&RunbookHit, &str)>,
) -> ActionStep {
    let looks = step.risk == "read-only";
    let from = source.map_or_else(String::new, |(section, _)| {
        format!(
            " (Runbook {}, {}.)",
            section.runbook_id, section.section_title
        )
    });
    filled.rationale = format!("{} Here: {}{from}", filled.rationale, because(case, looks));
    let metric = case.metric();
    let (observed, baseline) = (
        number(case.rca.observed_value),
        number(case.rca.baseline_value),
    );
    let measure = match (case.has_reading(), looks) {
        (true, false) => {
            format!("Measure: {metric} returns from {observed} to near its baseline of {baseline}.")
        }
        (true, true) => format!(
            "It changes nothing: {metric} read {observed} against a baseline of {baseline}."
        ),
        (false, false) => format!("Measure: no further {metric}."),
        (false, true) => format!("It changes nothing; the trigger was {metric}."),
    };
    filled.expected_outcome = format!("{} {measure}", filled.expected_outcome);
    filled.owner = owner(case, &step.owner);
    filled
}

/// What in this incident speaks for a step: the evidence for the cause where
/// something is changed, the reading where one only looks.
fn because(case: &Case<'_>, looks: bool) -> String {
    let evidence = case
        .candidate()
        .filter(|_| !looks && case.is_conclusive())
        .and_then(|first| first.evidence.first())
        .map(|evidence| evidence.summary.trim_end_matches('.').to_owned());
    match evidence {
        Some(evidence) => format!("{evidence}."),
        None if case.has_reading() => format!(
            "{} read {}, baseline {}.",
            case.metric(),
            number(case.rca.observed_value),
            number(case.rca.baseline_value)
        ),
        None => format!("the trigger was {}.", case.metric()),
    }
}

fn owner(case: &Case<'_>, role: &str) -> String {
    let named = |address: &str, who: String| {
        if address.is_empty() {
            who
        } else {
            format!("{who} ({address})")
        }
    };
    match (case.entry(), role) {
        (Some(entry), "on-call") => named(&entry.on_call, "on-call".to_owned()),
        (Some(entry), "team") if !entry.team.is_empty() => {
            named(&entry.team_email, format!("team {}", entry.team))
        }
        (_, role) => role.to_owned(),
    }
}

/// Machines are no workloads: the commands of most runbooks do not fit them.
#[must_use]
pub fn is_host(service: &str) -> bool {
    host_of(service).is_some()
}

/// The name of the machine, where the service is one.
#[must_use]
pub fn host_of(service: &str) -> Option<&str> {
    service.strip_prefix("host/")
}
