//! How an incident ends: by readings, by a person, or inside another one.

use super::state::{Case, Step, Wait};
use super::watch;
use midwatch_events::incident::{IncidentResolved, IncidentUpdated, MetricReading, Stated};
use midwatch_events::{Event, IncidentState, OperatorCommand, RemediationAction, ids};
use midwatch_runtime::{Effect, Moment, Projection};
use serde_json::{Value, json};

/// How long (wall clock) a signal without readings that got worse after the
/// recovery holds the announcement. It clears by silence, for which detection
/// waits two minutes of logs and five of Kubernetes events.
pub const SIGNALS_MS: i64 = 300_000;
/// How long (wall clock) the announcement waits at least for the verification
/// of a step that was carried out: it looks at the same readings as the watch
/// does, and takes more of them. Where event time is the wall clock's it waits
/// for as long as the action was given to show its effect.
pub const VERIFICATION_MS: i64 = 60_000;
/// And at most: readings that settled an incident are news that people wait for.
pub const VERIFICATION_LIMIT_MS: i64 = 600_000;
/// Event time is the wall clock's where the two are this close.
const SAME_CLOCK_MS: i64 = 15_000;

/// The end of an incident.
struct End {
    method: &'static str,
    at_ms: i64,
    wall_ms: i64,
    readings: Vec<MetricReading>,
    top_root_cause: String,
    /// How it ended, one sentence after the duration.
    words: String,
    /// What a person said who closed it.
    stated: Option<Stated>,
    /// What else the row and the audit trail keep of it.
    details: Value,
}

/// The steps that were begun before the recovery, where there are any.
fn begun_before(case: &Case, recovered_ms: i64) -> Option<String> {
    let steps = case.steps.iter();
    let names: Vec<&str> = steps
        .filter(|(_, step)| step.begun_ms <= recovered_ms)
        .map(|(name, _)| name.as_str())
        .collect();
    (!names.is_empty()).then(|| names.join(" and "))
}

/// Announces the end once the cause is published and all that it waits for has
/// come; says what is waited for where that changed.
pub fn settle(case: &mut Case, at: Moment) -> Vec<Effect> {
    if case.resolved || case.revision == 0 || case.at_work.is_some() {
        return Vec::new();
    }
    let Some(recovery) = watch::recovery(case) else {
        case.waits.signals = Wait::NotBegun;
        return say_waiting(case, at);
    };
    let worsening = watch::worsening(case);
    if !worsening.is_empty() && case.waits.signals != Wait::Over {
        let begun = std::mem::replace(&mut case.waits.signals, Wait::Begun);
        return wait(case, at, begun, ("signals", SIGNALS_MS), worsening);
    }
    let (pending, for_ms) = pending(case, recovery.at_ms);
    if !pending.is_empty() && case.waits.verification != Wait::Over {
        let begun = std::mem::replace(&mut case.waits.verification, Wait::Begun);
        return wait(case, at, begun, ("verification", for_ms), pending);
    }
    let remedy = case
        .steps
        .iter()
        .find(|(_, step)| step.improved == Some(true) && step.begun_ms <= recovery.at_ms)
        .map(|(name, _)| name.clone());
    let words = match &remedy {
        Some(name) => format!("{name} was carried out before and verified"),
        None => match begun_before(case, recovery.at_ms) {
            Some(names) => format!(
                "{names} was carried out before, and nothing shows that this is why it recovered"
            ),
            None => "it recovered without a recorded action".to_owned(),
        },
    };
    let mut effects = vec![Effect::audit(
        case.header.incident_id,
        "RECOVERY_OBSERVED",
        recovery.at_ms,
        format!(
            "{} Every other metric of the incident is normal, too.",
            recovery.words
        ),
        json!({"readings": recovery.readings, "wall_ms": recovery.wall_ms}),
    )];
    let end = End {
        method: if remedy.is_some() {
            "REMEDIATED"
        } else {
            "RECOVERED"
        },
        at_ms: recovery.at_ms,
        wall_ms: recovery.wall_ms,
        readings: recovery.readings,
        top_root_cause: case.answer.clone(),
        words,
        stated: None,
        details: json!({"step": remedy}),
    };
    effects.extend(finish(case, end));
    effects
}

/// The verifications that are still to come, and how long they are waited for.
fn pending(case: &Case, recovered_ms: i64) -> (Vec<String>, i64) {
    let steps = case.steps.iter();
    let open = steps.filter(|(_, step)| step.improved.is_none() && step.begun_ms <= recovered_ms);
    let mut for_ms = VERIFICATION_MS;
    let mut names = Vec::new();
    for (name, step) in open {
        names.push(format!("the verification of {name}"));
        if is_one_clock(case) {
            for_ms = for_ms.max(step.within_ms.min(VERIFICATION_LIMIT_MS));
        }
    }
    (names, for_ms)
}

/// Whether event time is the wall clock's.
fn is_one_clock(case: &Case) -> bool {
    let header = &case.header;
    (header.detected_at_ms - header.detected_wall_ms).abs() <= SAME_CLOCK_MS
}

/// Names what the end waits for while the trigger is normal already.
fn say_waiting(case: &mut Case, at: Moment) -> Vec<Effect> {
    let waiting = if watch::is_trigger_normal(case) {
        watch::waiting_for(case)
    } else {
        Vec::new()
    };
    if is_told(&case.waiting_for, &waiting) {
        return Vec::new();
    }
    case.waiting_for.clone_from(&waiting);
    if waiting.is_empty() {
        return Vec::new();
    }
    vec![waits(case, at, &waiting)]
}

/// Whether what is waited for was told already. Where more is waited for than is
/// named, each series that becomes normal would change the number alone: it is
/// told again once those that are named have changed by half.
fn is_told(told: &[String], waiting: &[String]) -> bool {
    if told == waiting {
        return true;
    }
    let new = waiting.iter().filter(|one| !told.contains(one)).count();
    let is_long = |list: &[String]| list.len() > watch::NAMED;
    is_long(told) && is_long(waiting) && new * 2 < waiting.len()
}

/// Begins a bounded wait, or goes on with it. The limit runs from the first
/// moment: what keeps getting worse does not hold the end for ever.
fn wait(
    case: &mut Case,
    at: Moment,
    begun: Wait,
    (name, for_ms): (&str, i64),
    waiting: Vec<String>,
) -> Vec<Effect> {
    let mut effects = Vec::new();
    if waiting != case.waiting_for {
        effects.push(waits(case, at, &waiting));
    }
    if begun == Wait::NotBegun {
        effects.push(Effect::SetTimer {
            name: name.to_owned(),
            due_ms: at.wall_ms + for_ms,
            payload: json!({"waiting_for": waiting}),
        });
    }
    case.waiting_for = waiting;
    effects
}

fn waits(case: &Case, at: Moment, waiting: &[String]) -> Effect {
    Effect::audit(
        case.header.incident_id,
        "RESOLUTION_WAITS",
        at.event_ms,
        format!(
            "{} on {} is normal again; the end waits for {}.",
            case.trigger.metric,
            case.trigger.service,
            waiting.join(", ")
        ),
        json!({"waiting_for": waiting}),
    )
}

/// Remediation carried something out, or looked at what became of it.
pub fn note_action(case: &mut Case, action: &RemediationAction) {
    // A dry run or a look changes nothing, so that nothing has to be waited for.
    if action.details.dry_run || action.only_looks() {
        return;
    }
    // Of taking a step back only the success changes what is known of the step:
    // where that failed, the step is still carried out.
    if action.details.is_undo && action.phase != "undone" {
        return;
    }
    let name = format!("{} of plan {}", action.step_id, action.plan_id);
    // What failed did not change anything either: no verification comes.
    if action.phase == "outcome" && action.details.succeeded == Some(false) {
        case.steps
            .retain(|known, step| *known != name || step.improved.is_some());
        return;
    }
    let typed = action.details.typed.as_ref();
    let begun = Step {
        begun_ms: action.at_ms,
        improved: None,
        within_ms: typed.map_or(0, |typed| typed.effect.within_ms),
    };
    match action.phase.as_str() {
        "intent" | "outcome" => {
            case.steps.entry(name).or_insert(begun);
        }
        "verified" => {
            let step = case.steps.entry(name).or_insert(begun);
            step.improved = Some(action.result.to_ascii_lowercase().starts_with("improved"));
        }
        "undone" => {
            case.steps.remove(&name);
        }
        // A limit that spans incidents refused it after the intent.
        "refused" if !action.details.idempotency_key.is_empty() => case
            .steps
            .retain(|known, step| *known != name || step.improved.is_some()),
        // Approved, or a command that was refused: nothing was done.
        _ => {}
    }
}

/// Ends an incident that goes on inside another one.
pub fn merge(case: &mut Case, at: Moment, updated: &IncidentUpdated) -> Vec<Effect> {
    let into: Vec<String> = updated
        .related
        .iter()
        .map(|id| ids::short_incident(*id))
        .collect();
    let into = if into.is_empty() {
        "another incident".to_owned()
    } else {
        into.join(", ")
    };
    let told = format!("merged into {into}: ");
    let reason = updated.reason.strip_prefix(told.as_str());
    let reason = reason.unwrap_or(&updated.reason);
    let end = End {
        method: "MERGED",
        at_ms: updated.updated_at_ms,
        wall_ms: at.wall_ms,
        readings: Vec::new(),
        top_root_cause: format!("merged into {into}, which goes on: {reason}"),
        words: format!("it was merged into {into}"),
        stated: None,
        details: json!({"merged_into": updated.related, "reason": updated.reason}),
    };
    finish(case, end)
}

/// Ends an incident that a person closes; refuses what cannot be obeyed.
pub fn close(case: &mut Case, at: Moment, command: &OperatorCommand) -> Vec<Effect> {
    if case.resolved {
        return vec![refuse(command, at, "the incident is over already")];
    }
    let header = &case.header;
    let at_ms = if is_one_clock(case) {
        command.issued_at_ms
    } else {
        at.event_ms
    };
    let reason = if command.reason.is_empty() {
        "no reason was given".to_owned()
    } else {
        command.reason.clone()
    };
    // A person's words: nobody but that person vouches for them.
    let stated = command.details.stated.as_deref().map(|stated| Stated {
        by: command.by.clone(),
        ..stated.clone()
    });
    let cause = stated.as_ref().map_or_else(String::new, |stated| {
        format!("; stated by {}: {}", stated.by, stated.root_cause)
    });
    let mut details = json!({"closed_by": command.by, "credential_id": command.credential_id,
        "close_reason": command.reason, "not_normal": watch::waiting_for(case)});
    if let Some(stated) = &stated {
        details["stated"] = json!(stated);
    }
    let end = End {
        method: "CLOSED_BY_OPERATOR",
        at_ms: at_ms.max(header.detected_at_ms),
        wall_ms: command.issued_at_ms.max(header.detected_wall_ms),
        readings: Vec::new(),
        top_root_cause: case.answer.clone(),
        words: format!("{} closed it: {reason}{cause}", command.by),
        stated,
        details,
    };
    finish(case, end)
}

/// Why a command is not obeyed, aloud.
pub fn refuse(command: &OperatorCommand, at: Moment, why: &str) -> Effect {
    Effect::audit(
        command.incident_id,
        "COMMAND_REFUSED",
        at.event_ms,
        format!("{} asked to {}: {why}.", command.by, command.command),
        json!({"command": command.command, "by": command.by, "reason": command.reason,
            "credential_id": command.credential_id, "issued_at_ms": command.issued_at_ms,
            "expires_at_ms": command.expires_at_ms, "refused_because": why,
            "wall_ms": at.wall_ms}),
    )
}

/// From the onset to the detection, event time.
fn mttd_ms(case: &Case) -> Option<i64> {
    let onset = case.anomalies.iter().map(|member| member.onset_ms).min()?;
    Some((case.header.detected_at_ms - onset).max(0))
}

fn finish(case: &mut Case, end: End) -> Vec<Effect> {
    case.resolved = true;
    case.at_work = None;
    case.look_again = None;
    let id = case.header.incident_id;
    let mttr_ms = (end.at_ms - case.header.detected_at_ms).max(0);
    #[expect(
        clippy::cast_precision_loss,
        reason = "durations are far below 2^53 ms"
    )]
    let mttr_minutes = mttr_ms as f64 / 60_000.0;
    let resolved = IncidentResolved {
        mttd_ms: mttd_ms(case),
        mtta_ms: case
            .acknowledged_ms
            .map(|at_ms| (at_ms - case.header.detected_wall_ms).max(0)),
        header: case.header.clone(),
        resolved_at_ms: end.at_ms,
        resolved_wall_ms: end.wall_ms,
        mttr_ms,
        mttr_minutes,
        resolution_method: end.method.to_owned(),
        top_root_cause: end.top_root_cause,
        trigger_metric: case.trigger.metric.clone(),
        settling_readings: end.readings,
        baseline_value: case.trigger.baseline_value,
        rca_revision: Some(case.revision),
        stated: end.stated,
    };
    let mut payload = json!({"mttr_ms": mttr_ms, "mttd_ms": resolved.mttd_ms,
        "mtta_ms": resolved.mtta_ms, "wall_ms": end.wall_ms, "resolution_method": end.method});
    let mut row = json!(resolved);
    for target in [&mut payload, &mut row] {
        if let (Some(target), Some(details)) = (target.as_object_mut(), end.details.as_object()) {
            target.extend(details.clone());
        }
    }
    let mut effects = vec![
        Effect::Project(Projection::Resolve {
            incident_id: id,
            resolved_at_ms: resolved.resolved_at_ms,
            resolution: row,
        }),
        Effect::Project(Projection::Move {
            incident_id: id,
            to: IncidentState::Resolved,
        }),
        Effect::audit(
            id,
            "INCIDENT_RESOLVED",
            end.at_ms,
            format!("Resolved after {mttr_minutes:.1} min; {}.", end.words),
            payload,
        ),
        Effect::Publish(Event::Resolved(Box::new(resolved))),
    ];
    let timers = ["watch", "conclude", "signals", "verification"];
    effects.extend(timers.map(|name| Effect::CancelTimer {
        name: name.to_owned(),
    }));
    effects.extend(case.watch.keys().map(|channel| Effect::Unsubscribe {
        channel: channel.clone(),
    }));
    effects
}
