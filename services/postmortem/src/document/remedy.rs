//! What was proposed, and what became of it. A step is called applied only
//! where its success and the check of its effect are recorded.

use super::{Section, list, prose, table};
use crate::facts::{Deed, Facts, Planned, Standing, is_of_undo, verification};
use crate::records::Records;
use crate::statement::{Rule, Statement};
use crate::writer::{Want, at, code, number, row, say, text, time};

/// The steps, and the readings before and after those that were carried out.
pub(super) fn sections(facts: &Facts, records: &Records) -> Vec<Section> {
    const HEADING: &str = "What was tried";
    let mut steps = facts.steps().peekable();
    if steps.peek().is_none() {
        let (words, id) = match &facts.plan {
            Some(plan) => ("The plan held no steps.", plan.plan_id.to_string()),
            None if facts.began_a_step() => (
                "No plan is recorded, though a step of it was begun.",
                facts.holdings_id(),
            ),
            None => (
                "No plan is recorded, and Midwatch carried out no step.",
                facts.holdings_id(),
            ),
        };
        let none = say(records, words, &[], &[&id]);
        return vec![prose(HEADING, none.into_iter().collect())];
    }
    let rows: Vec<Statement> = steps
        .filter_map(|planned| {
            let id = facts.step_id(planned);
            let (words, wants) = named(facts, planned);
            let name = say(records, words, &wants, &[])?;
            let mut wants = vec![text(&id, "/step/action")];
            let words = if planned.step.command.is_empty() {
                "{}"
            } else {
                wants.push(code(&id, "/step/command"));
                "{}: {}"
            };
            let proposed = say(records, words, &wants, &[])?;
            let decided = decisions(facts, records, planned);
            let became = became(facts, records, planned)?;
            Some(row([name, proposed, decided, became]))
        })
        .collect();
    let mut sections = vec![table(
        HEADING,
        &["step", "proposed", "decided by", "what became of it"],
        rows,
    )];
    let mut checks: Vec<Statement> = facts
        .actions
        .iter()
        .filter(|deed| deed.action.phase == "verified" && verification(deed).is_some())
        .take(12)
        .flat_map(|deed| check(facts, records, deed))
        .collect();
    let words = "What people did by hand outside Midwatch is not recorded.";
    checks.extend(say(records, words, &[], &[&facts.holdings_id()]));
    sections.push(list("Before and after", checks));
    sections
}

/// What a step is called, as [`Facts::step_name`] has it.
pub(super) fn named(facts: &Facts, planned: Planned<'_>) -> (&'static str, Vec<Want>) {
    let step = text(&facts.step_id(planned), "/step/step_id");
    if facts.is_earlier(planned) {
        let plan = planned.plan.plan_id.to_string();
        let made = time(&plan, "/plan/planned_at_ms");
        ("{} of the plan of {}", vec![step, made])
    } else {
        ("{}", vec![step])
    }
}

/// Who approved and who was refused.
fn decisions(facts: &Facts, records: &Records, planned: Planned<'_>) -> Statement {
    let said: Vec<Statement> = facts
        .deeds(planned)
        .filter(|deed| matches!(deed.action.phase.as_str(), "approved" | "refused"))
        .filter(|deed| !is_of_undo(deed))
        .take(4)
        .filter_map(|deed| {
            let id = facts.deed_id(deed);
            let wants = [text(&id, "/action/by"), time(&id, "/action/at_ms")];
            match deed.action.phase.as_str() {
                "approved" => say(records, "approved by {} at {}; ", &wants, &[]),
                _ => say(records, "asked for by {}, refused at {}; ", &wants, &[]),
            }
        })
        .collect();
    if said.is_empty() {
        let nobody = say(records, "nobody", &[], &[&facts.holdings_id()]);
        return nobody.unwrap_or_default();
    }
    crate::writer::joined(said)
}

fn became(facts: &Facts, records: &Records, planned: Planned<'_>) -> Option<Statement> {
    let tell = |words: &str, wants: &[Want], also: &[&Deed]| {
        let ids: Vec<String> = also.iter().map(|deed| facts.deed_id(deed)).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        say(records, words, wants, &ids)
    };
    let verdict = |deed: &Deed| {
        at(
            Rule::Spoken,
            &facts.deed_id(deed),
            "/action/verification/verdict",
        )
    };
    match facts.standing(planned) {
        Standing::Proposed => say(
            records,
            "proposed, not carried out",
            &[],
            &[&facts.step_id(planned)],
        ),
        Standing::Approved(deed) => tell("approved, not carried out", &[], &[deed]),
        Standing::Refused(deed) => {
            let id = facts.deed_id(deed);
            let rule = tell(
                "refused by the rule {}",
                &[text(&id, "/action/rule")],
                &[deed],
            );
            rule.or_else(|| tell("refused", &[], &[deed]))
        }
        Standing::DryRun(deed) => tell("dry run: shown, not carried out", &[], &[deed]),
        Standing::Looked(deed) => match deed.action.details.succeeded {
            Some(true) => tell("looked; nothing was changed", &[], &[deed]),
            _ => tell("tried to look; nothing was changed", &[], &[deed]),
        },
        Standing::Begun(deed) => tell("begun; how it ended is not recorded", &[], &[deed]),
        Standing::Failed(deed) => tell("begun, and it failed", &[], &[deed]),
        Standing::Executed(deed) => tell("executed; its effect is not proven", &[], &[deed]),
        Standing::Applied { outcome, verified } => match facts.undo_in_vain(planned) {
            Some(undo) => tell(
                undo_words(
                    undo,
                    [
                        "applied; its effect was verified as: {}; its undo was refused",
                        "applied; its effect was verified as: {}; its undo failed",
                        "applied; its effect was verified as: {}; whether it was taken back is not recorded",
                    ],
                ),
                &[verdict(verified)],
                &[outcome, verified, undo],
            ),
            None => tell(
                "applied; its effect was verified as: {}",
                &[verdict(verified)],
                &[outcome, verified],
            ),
        },
        Standing::Undone {
            undone,
            verified: Some(verified),
        } => tell(
            "tried, found {} and undone",
            &[verdict(verified)],
            &[undone, verified],
        ),
        Standing::Undone {
            undone,
            verified: None,
        } => tell("tried and undone", &[], &[undone]),
    }
}

/// Of an undo that came to nothing, the words for a refusal, a failure and an
/// end that nobody knows.
pub(super) fn undo_words(undo: &Deed, words: [&'static str; 3]) -> &'static str {
    let [refused, failed, unknown] = words;
    match (undo.action.phase.as_str(), undo.action.details.succeeded) {
        ("refused", _) => refused,
        (_, Some(_)) => failed,
        (_, None) => unknown,
    }
}

/// The readings of one check.
fn check(facts: &Facts, records: &Records, deed: &Deed) -> Vec<Statement> {
    let id = facts.deed_id(deed);
    let place = |path: &str| format!("/action/verification/{path}");
    // Of a plan that is not recorded the action itself has the number.
    let (name, own) = match facts.step_of(&deed.action) {
        Some(planned) => named(facts, planned),
        None => ("{}", vec![text(&id, "/action/step_id")]),
    };
    let mut wants = own.clone();
    wants.extend([
        code(&id, &place("metric")),
        text(&id, &place("service")),
        number(&id, &place("before/median")),
        number(&id, &place("before/count")),
        number(&id, &place("after/median")),
        number(&id, &place("after/count")),
        at(Rule::Spoken, &id, &place("verdict")),
        crate::writer::quoted(&id, &place("test")),
    ]);
    let words = "the median of {} of {} was {} over {} readings before and {} over {} after; the verdict is {}, by the test {}";
    let has_p = verification(deed).is_some_and(|found| found.p_value.is_some());
    let said = if has_p {
        wants.push(number(&id, &place("p_value")));
        say(
            records,
            &format!("{name}: {words}, with a p-value of {{}}."),
            &wants,
            &[],
        )
    } else {
        say(records, &format!("{name}: {words}."), &wants, &[])
    };
    let mut wants = own;
    wants.extend([
        code(&id, &place("control/metric")),
        text(&id, &place("control/service")),
        number(&id, &place("control/before/median")),
        number(&id, &place("control/after/median")),
    ]);
    let words = "the untouched {} of {} went from a median of {} to {} over the same time.";
    let control = say(records, &format!("{name}: {words}"), &wants, &[]);
    said.into_iter().chain(control).collect()
}
