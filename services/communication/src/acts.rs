//! What is said of one line about an action: of the step, of its undo, or of a
//! person's command that came in vain. Pure.

use crate::units::line;
use midwatch_events::RemediationAction;
use midwatch_events::action::VerificationVerdict;

/// The rule under which a rejection that counts is published.
const REJECTED: &str = "rejected";
/// Rules that only rejections meet.
const OF_REJECTIONS: [&str; 2] = ["has_begun", "not_decided"];
/// Rules that either may meet; all others are of approvals alone.
const OF_EITHER: [&str; 10] = [
    "expired",
    "issued_in_future",
    "reused_nonce",
    "incident_over",
    "no_plan",
    "other_incident",
    "plan_hash",
    "altered_plan",
    "unknown_step",
    "by_hand",
];

/// Whether it is a person's command that was not obeyed. It changes nothing
/// about the step: what was said of that before still holds.
pub(crate) fn is_in_vain(action: &RemediationAction) -> bool {
    let details = &action.details;
    action.phase == "refused" && !details.credential_id.is_empty() && details.rule != REJECTED
}

/// One line about what became of a step.
pub(crate) fn told_of(action: &RemediationAction) -> String {
    let step = line(&action.step_id, 64);
    let by = line(&action.by, 100);
    let details = &action.details;
    let rule = line(&details.rule, 100);
    if is_in_vain(action) {
        let what = match details.rule.as_str() {
            one if OF_REJECTIONS.contains(&one) => "rejection",
            one if OF_EITHER.contains(&one) => "command",
            _ => "approval",
        };
        let link = if what == "command" { "about" } else { "of" };
        return format!("{by}'s {what} {link} {step} was refused ({rule})");
    }
    if details.is_undo {
        return undo(action, &step, &rule);
    }
    match action.phase.as_str() {
        "approved" => match details.approvals_missing {
            Some(missing) if missing > 0 => {
                format!("{step} approved by {by}, {missing} more needed")
            }
            _ => format!("{step} approved by {by}"),
        },
        "refused" => format!("{step} refused ({rule})"),
        "intent" if details.dry_run => format!("{step} is tried as a dry run"),
        "intent" if action.only_looks() => format!("{step} looks; it changes nothing"),
        "intent" => format!("{step} is being carried out"),
        "outcome" => match details.succeeded {
            Some(true) if details.dry_run => format!("{step} would be carried out (dry run)"),
            Some(true) if action.only_looks() => {
                format!("{step} has looked; nothing was changed")
            }
            Some(true) => format!("{step} was carried out"),
            Some(false) => format!("{step} failed"),
            None => format!("{step}: whether it took effect is not known"),
        },
        "verified" => {
            let verdict = details.verification.as_ref().map(|found| found.verdict);
            let words = match verdict {
                Some(VerificationVerdict::Improved) => "helped",
                Some(VerificationVerdict::NotImproved) => "did not help",
                Some(VerificationVerdict::Worse) => "made it worse",
                Some(VerificationVerdict::RecoveredByItself) => "came when it was already better",
                Some(VerificationVerdict::NotProvable) | None => "cannot be shown to have helped",
            };
            format!("{step} {words}")
        }
        "undone" => format!("{step} was undone"),
        other => format!("{step}: {}", line(other, 40)),
    }
}

/// The same of an undo. Its step took effect, whatever becomes of the undo.
fn undo(action: &RemediationAction, step: &str, rule: &str) -> String {
    let details = &action.details;
    match action.phase.as_str() {
        "intent" => format!("the undo of {step} is being carried out"),
        "undone" => format!("{step} was undone"),
        "refused" => format!("the undo of {step} was refused ({rule}): {step} was not taken back"),
        "outcome" => match details.succeeded {
            Some(true) => format!("{step} was undone"),
            Some(false) => {
                format!("the undo of {step} failed: it did not take {step} back")
            }
            None => format!("it is not known whether the undo of {step} took effect"),
        },
        other => format!("the undo of {step}: {}", line(other, 40)),
    }
}

/// What follows that line: why, what came of it, and what was measured.
pub(crate) fn more_of(action: &RemediationAction) -> Vec<String> {
    let details = &action.details;
    let summary = details.verification.as_ref().map(|found| &*found.summary);
    if is_in_vain(action) {
        return said([&*action.reason]);
    }
    // "Nothing was changed" is true of the undo, and not of what it was for.
    let changed_nothing = details.is_undo && details.succeeded == Some(false);
    let result = if changed_nothing {
        "the undo itself changed nothing; a person must look"
    } else {
        &action.result
    };
    said([&*action.reason, result].into_iter().chain(summary))
}

fn said<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let texts = texts.into_iter().filter(|text| !text.is_empty());
    texts.map(str::to_owned).collect()
}
