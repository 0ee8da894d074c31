//! What was done of the plans, and what came of it, step by step: the last
//! word about a step counts, and a step of an earlier plan is another step.

use super::NAME;
use crate::units::line;
use midwatch_events::RemediationAction;
use midwatch_events::action::VerificationVerdict;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Steps that are told one by one.
const TOLD: usize = 3;

/// What is known of one step that was begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Deed {
    step: String,
    /// Event time of the beginning, for the order.
    at_ms: i64,
    /// Absent as long as it runs, and where a crash left it unknown.
    succeeded: Option<bool>,
    verdict: Option<VerificationVerdict>,
    undone: bool,
    /// How far an undo came that did not take it back.
    #[serde(default)]
    undo: Option<Undo>,
}

/// An undo that is not known to have taken the step back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Undo {
    /// It was begun; what became of it is not known.
    Unknown,
    Refused,
    Failed,
}

/// All steps that were begun, by plan and step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Deeds(BTreeMap<String, Deed>);

impl Deeds {
    /// Takes in what became of a step. Dry runs and looks carry nothing out.
    pub fn note(&mut self, action: &RemediationAction) {
        let details = &action.details;
        if details.dry_run || action.only_looks() {
            return;
        }
        let key = format!("{}/{}", action.plan_id, action.step_id);
        if details.is_undo {
            // What was begun before a reopening is told with that end.
            if let Some(deed) = self.0.get_mut(&key) {
                deed.take_back(action);
            }
            return;
        }
        if action.phase == "intent" {
            let begun = Deed {
                step: line(&action.step_id, NAME),
                at_ms: action.at_ms,
                succeeded: None,
                verdict: None,
                undone: false,
                undo: None,
            };
            self.0.entry(key).or_insert(begun);
            return;
        }
        // What was begun before a reopening is told with that end.
        let Some(deed) = self.0.get_mut(&key) else {
            return;
        };
        match action.phase.as_str() {
            // Refused after it was written down and before anything was done.
            // A refused command, or a refused undo, undoes nothing.
            "refused" => {
                let is_step = !details.idempotency_key.is_empty();
                if is_step && deed.verdict.is_none() && deed.succeeded.is_none() {
                    self.0.remove(&key);
                }
            }
            "outcome" => deed.succeeded = details.succeeded,
            "verified" => deed.verdict = details.verification.as_ref().map(|found| found.verdict),
            "undone" => deed.undone = true,
            _ => {}
        }
    }

    /// How it ended where the readings returned, in a sentence.
    #[must_use]
    pub fn words(&self) -> String {
        let mut deeds: Vec<&Deed> = self.0.values().collect();
        deeds.sort_by(|one, other| (one.at_ms, &one.step).cmp(&(other.at_ms, &other.step)));
        let helped =
            |deed: &&&Deed| deed.verdict == Some(VerificationVerdict::Improved) && !deed.undone;
        if deeds.iter().any(|deed| helped(&deed)) {
            return HELPED.to_owned();
        }
        if deeds.is_empty() {
            return "Midwatch carried out no action; why the readings returned is not recorded."
                .to_owned();
        }
        let mut clauses: Vec<String> = deeds.iter().take(TOLD).map(|deed| deed.words()).collect();
        if deeds.len() > TOLD {
            clauses.push(format!("{} more were begun", deeds.len() - TOLD));
        }
        format!(
            "{}; why the readings returned is not recorded.",
            clauses.join("; ")
        )
    }
}

/// A step helped.
pub(super) const HELPED: &str = "A step of the plan was carried out and verified.";

impl Deed {
    /// Takes in what became of the undo.
    fn take_back(&mut self, action: &RemediationAction) {
        let details = &action.details;
        match (action.phase.as_str(), details.succeeded) {
            ("undone", _) | ("outcome", Some(true)) => (self.undone, self.undo) = (true, None),
            ("intent", _) | ("outcome", None) => self.undo = Some(Undo::Unknown),
            ("outcome", Some(false)) => self.undo = Some(Undo::Failed),
            ("refused", _) => self.undo = Some(Undo::Refused),
            _ => {}
        }
    }

    fn words(&self) -> String {
        use VerificationVerdict as V;
        let step = &self.step;
        let (and, undone) = if self.undone {
            (",", " and was undone")
        } else {
            let undone = match self.undo {
                None => "",
                Some(Undo::Unknown) => ", and whether it was undone is not known",
                Some(Undo::Refused) => ", and its undo was refused",
                Some(Undo::Failed) => ", and its undo failed",
            };
            (" and", undone)
        };
        match (self.verdict, self.succeeded) {
            (Some(V::Improved), _) => format!("{step} helped{undone}"),
            (Some(V::NotImproved), _) => {
                format!("{step} was carried out{and} did not help{undone}")
            }
            (Some(V::Worse), _) => format!("{step} was carried out{and} made it worse{undone}"),
            (Some(V::RecoveredByItself), _) => {
                format!("{step} was carried out when the readings were already returning")
            }
            (Some(V::NotProvable), _) => {
                format!("{step} was carried out, but that it helped cannot be shown")
            }
            (None, Some(false)) => format!("{step} was tried and failed"),
            (None, _) => format!("{step} was begun{undone}, but its effect was not verified"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use midwatch_events::action::{Span, Verification};
    use midwatch_events::response::ActionDetails;
    use midwatch_events::{AnomalyType, IncidentHeader, Severity};
    use uuid::Uuid;

    fn action(plan: u128, step: &str, phase: &str, details: ActionDetails) -> RemediationAction {
        RemediationAction {
            header: IncidentHeader {
                incident_id: Uuid::nil(),
                short_id: String::new(),
                environment: "e".to_owned(),
                severity: Severity::High,
                anomaly_type: AnomalyType::MemoryLeak,
                affected_services: Vec::new(),
                detected_at_ms: 0,
                detected_wall_ms: 0,
            },
            plan_id: Uuid::from_u128(plan),
            step_id: step.to_owned(),
            phase: phase.to_owned(),
            by: "maria".to_owned(),
            reason: String::new(),
            result: String::new(),
            at_ms: 5,
            details,
        }
    }

    fn found(verdict: VerificationVerdict) -> Verification {
        let span = Span {
            from_ms: 0,
            to_ms: 1,
            count: 5,
            median: 1.0,
        };
        Verification {
            service: "s".to_owned(),
            metric: "m".to_owned(),
            verdict,
            before: span.clone(),
            after: span,
            control: None,
            test: String::new(),
            p_value: None,
            summary: String::new(),
        }
    }

    fn looking() -> midwatch_events::action::TypedAction {
        serde_json::from_value(serde_json::json!({
            "kind": "tail_logs", "service": "s", "arguments": {}, "risk": "read-only",
            "executor": "kubernetes", "pre_checks": [], "blast_radius": "nothing",
            "effect": {"service": "s", "metric": "m", "direction": "below",
                "baseline_value": 0.0, "within_ms": 0}
        }))
        .expect("an action")
    }

    fn told(story: &[(u128, &str, &str)]) -> String {
        let mut deeds = Deeds::default();
        for (plan, step, word) in story {
            let mut details = ActionDetails::default();
            let phase = match *word {
                "failed" => {
                    details.succeeded = Some(false);
                    "outcome"
                }
                "done" => {
                    details.succeeded = Some(true);
                    "outcome"
                }
                "undo begins" => {
                    details.is_undo = true;
                    "intent"
                }
                "undo failed" | "undo unknown" => {
                    details.is_undo = true;
                    details.succeeded = (*word == "undo failed").then_some(false);
                    "outcome"
                }
                "undo refused" => {
                    details.is_undo = true;
                    details.idempotency_key = "k".to_owned();
                    "refused"
                }
                "taken back" => {
                    details.is_undo = true;
                    "undone"
                }
                "withdrawn" => {
                    details.idempotency_key = "k".to_owned();
                    "refused"
                }
                "dry" => {
                    details.dry_run = true;
                    "intent"
                }
                "look" => {
                    details.typed = Some(Box::new(looking()));
                    "intent"
                }
                verdict => match VERDICTS.iter().find(|(name, _)| *name == verdict) {
                    Some((_, verdict)) => {
                        details.verification = Some(Box::new(found(*verdict)));
                        "verified"
                    }
                    None => verdict,
                },
            };
            deeds.note(&action(*plan, step, phase, details));
        }
        deeds.words()
    }

    const VERDICTS: [(&str, VerificationVerdict); 3] = [
        ("helped", VerificationVerdict::Improved),
        ("useless", VerificationVerdict::NotImproved),
        ("worse", VerificationVerdict::Worse),
    ];

    #[test]
    fn the_last_word_about_each_step_is_told_and_no_other() {
        let tail = "; why the readings returned is not recorded.";
        for (story, words) in [
            (
                &[(1, "S1", "intent"), (1, "S1", "done"), (1, "S1", "helped")][..],
                HELPED.to_owned(),
            ),
            (
                &[
                    (1, "S1", "intent"),
                    (1, "S1", "done"),
                    (1, "S1", "worse"),
                    (1, "S1", "undone"),
                ],
                format!("S1 was carried out, made it worse and was undone{tail}"),
            ),
            (
                &[(1, "S1", "intent"), (1, "S1", "done"), (1, "S1", "useless")],
                format!("S1 was carried out and did not help{tail}"),
            ),
            (
                &[(1, "S1", "intent"), (1, "S1", "failed")],
                format!("S1 was tried and failed{tail}"),
            ),
            (
                &[(1, "S1", "intent"), (1, "S1", "withdrawn")],
                format!("Midwatch carried out no action{tail}"),
            ),
            (
                // Somebody presses a button once more, and an undo is refused.
                &[
                    (1, "S1", "intent"),
                    (1, "S1", "done"),
                    (1, "S1", "worse"),
                    (1, "S1", "refused"),
                    (1, "S1", "withdrawn"),
                ],
                format!("S1 was carried out and made it worse{tail}"),
            ),
            (
                // Of a step that was begun before a reopening.
                &[(1, "S1", "helped")],
                format!("Midwatch carried out no action{tail}"),
            ),
            (
                &[(1, "S1", "dry"), (1, "S1", "approved")],
                format!("Midwatch carried out no action{tail}"),
            ),
            (
                &[(1, "S1", "look"), (1, "S1", "done")],
                format!("Midwatch carried out no action{tail}"),
            ),
            (
                &[
                    (1, "S1", "intent"),
                    (1, "S1", "useless"),
                    (2, "S1", "intent"),
                    (2, "S1", "failed"),
                ],
                format!("S1 was carried out and did not help; S1 was tried and failed{tail}"),
            ),
        ] {
            assert_eq!(told(story), words, "{story:?}");
        }
    }
    #[test]
    fn an_undo_is_told_with_its_step_and_never_as_one() {
        let tail = "; why the readings returned is not recorded.";
        let worse = "S1 was carried out and made it worse";
        let unknown = "and whether it was undone is not known";
        for (words, ending) in [
            (&["undo begins"][..], format!("{worse}, {unknown}")),
            (
                &["undo begins", "undo unknown"],
                format!("{worse}, {unknown}"),
            ),
            (
                &["undo begins", "undo failed"],
                format!("{worse}, and its undo failed"),
            ),
            (
                &["undo begins", "undo refused"],
                format!("{worse}, and its undo was refused"),
            ),
            (
                &["undo begins", "taken back"],
                "S1 was carried out, made it worse and was undone".to_owned(),
            ),
        ] {
            let step = ["intent", "done", "worse"].iter().chain(words);
            let story: Vec<(u128, &str, &str)> = step.map(|word| (1, "S1", *word)).collect();
            assert_eq!(told(&story), format!("{ending}{tail}"), "{words:?}");
        }
        // Of a step that was begun before a reopening.
        let story = [(1, "S1", "undo begins"), (1, "S1", "undo failed")];
        assert_eq!(
            told(&story),
            format!("Midwatch carried out no action{tail}")
        );
    }
}
