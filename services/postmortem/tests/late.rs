//! What is told of a step after its incident was over.

mod fixtures;

use fixtures::{AT, connections, core, deed, facts, finish, hear, job, resolved, typed};
use midwatch_clients::knowledge::EffectiveAction;
use midwatch_events::{Event, PostmortemGenerated};
use midwatch_postmortem::decide::{Assignment, Core, POLISH, State, WRITE};
use midwatch_postmortem::lesson::Lesson;
use midwatch_runtime::effect::{Effect, JobRequest};
use serde_json::{Value, json};

fn told(phase: &str) -> Event {
    let mut action = deed(&connections(), phase).action;
    action.details.typed = Some(typed(&connections()));
    Event::Action(Box::new(action))
}

fn ended(after_ms: i64) -> Event {
    let mut resolved = resolved(&connections());
    resolved.resolved_at_ms += after_ms;
    Event::Resolved(Box::new(resolved))
}

fn read() -> Result<Value, String> {
    Ok(json!(facts(&connections())))
}

fn published(effects: &[Effect]) -> &PostmortemGenerated {
    let found = effects.iter().find_map(|effect| match effect {
        Effect::Publish(Event::Postmortem(postmortem)) => Some(postmortem.as_ref()),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no text in {effects:?}"))
}

fn command(name: &str) -> Event {
    let id = resolved(&connections()).header.incident_id;
    let command = json!({"incident_id": id, "command": name, "target": "", "by": "maria",
        "credential_id": "sha256:0", "issued_at_ms": AT.wall_ms, "expires_at_ms": AT.wall_ms + 60_000});
    Event::Command(serde_json::from_value(command).expect("a command"))
}

fn improved() -> Vec<EffectiveAction> {
    vec![EffectiveAction {
        kind: "restart_rollout".to_owned(),
        cause: "DB_CONNECTION_EXHAUSTION".to_owned(),
        verdict: "improved".to_owned(),
    }]
}

/// An incident that was over, and whose text was written, before the check of
/// its step came to an end.
fn written() -> (Core, State) {
    let (core, mut state) = (core(), State::default());
    for phase in ["approved", "intent", "outcome"] {
        assert_eq!(hear(&core, &mut state, told(phase)), Vec::new());
    }
    let request = job(&hear(&core, &mut state, ended(0))).expect("a job");
    let effects = finish(&core, &mut state, request, read());
    let text = &published(&effects).postmortem;
    assert!(
        text.contains("executed; its effect is not proven"),
        "{text}"
    );
    (core, state)
}

/// Hears a deed that a written text does not have.
fn late(core: &Core, state: &mut State, phase: &str) -> JobRequest {
    let request = job(&hear(core, state, told(phase))).expect("it is written anew");
    assert_eq!(request.kind, WRITE);
    request
}

fn lesson(state: &State) -> &Lesson {
    &state.written.as_ref().expect("it is written").lesson
}

#[test]
fn a_verification_after_the_end_gives_a_new_draft_and_its_lesson() {
    let (core, mut state) = written();
    assert_eq!(lesson(&state).effective_actions, Vec::new());
    let request = late(&core, &mut state, "verified");
    let assignment: Assignment = serde_json::from_value(request.payload.clone()).expect("decodes");
    assert!(assignment.late && assignment.actions.len() == 4);
    let effects = finish(&core, &mut state, request, read());
    let text = published(&effects);
    assert_eq!((text.version, text.status.as_str()), (Some(2), "draft"));
    for words in [
        "applied; its effect was verified as: improved",
        "Version 2: what became of a step was told after the incident was over",
    ] {
        assert!(
            text.postmortem.contains(words),
            "{words}: {}",
            text.postmortem
        );
    }
    assert_eq!(lesson(&state).effective_actions, improved());
    assert_eq!(lesson(&state).tried[0].verdict, "improved");
    // The same again for the undo of it.
    let request = late(&core, &mut state, "undone");
    let effects = finish(&core, &mut state, request, read());
    assert_eq!(published(&effects).version, Some(3));
    let text = &published(&effects).postmortem;
    assert!(text.contains("tried, found improved and undone"), "{text}");
}

#[test]
fn a_deed_that_comes_while_the_text_is_made_is_in_it() {
    let proven = "applied; its effect was verified as: improved";
    let begin = |core: &Core| {
        let mut state = State::default();
        hear(core, &mut state, told("outcome"));
        let request = job(&hear(core, &mut state, ended(0))).expect("a job");
        (state, request)
    };
    let core = core();
    let (mut state, request) = begin(&core);
    assert_eq!(hear(&core, &mut state, told("verified")), Vec::new());
    let effects = finish(&core, &mut state, request, read());
    assert_eq!(published(&effects).version, Some(1));
    assert!(published(&effects).postmortem.contains(proven));

    let core = Core {
        has_model: true,
        ..core
    };
    let (mut state, request) = begin(&core);
    let request = job(&finish(&core, &mut state, request, read())).expect("a job");
    assert_eq!(request.kind, POLISH);
    assert_eq!(hear(&core, &mut state, told("verified")), Vec::new());
    let effects = finish(&core, &mut state, request, Err("gone".to_owned()));
    assert_eq!(published(&effects).version, Some(1));
    assert!(published(&effects).postmortem.contains(proven));
}

#[test]
fn what_was_reviewed_stays_and_its_measured_part_follows() {
    let (core, mut state) = written();
    let learn = job(&hear(&core, &mut state, command("review"))).expect("it is learnt from");
    let first: Lesson = serde_json::from_value(learn.payload).expect("a lesson");
    assert_eq!(first.effective_actions, Vec::new());

    let request = late(&core, &mut state, "verified");
    let mut facts = facts(&connections());
    facts.candidates[0].hypothesis = "Another one.".to_owned();
    let effects = finish(&core, &mut state, request, Ok(json!(facts)));
    let (version, status) = (published(&effects).version, &published(&effects).status);
    assert_eq!((version, status.as_str()), (Some(2), "draft"));
    let again = job(&effects).expect("the store hears of it");
    assert_eq!(again.kind, "learn");
    assert_ne!(again.name, learn.name);
    let second: Lesson = serde_json::from_value(again.payload).expect("a lesson");
    assert_eq!(second.effective_actions, improved());
    assert_eq!(
        second.tried[0].became,
        "applied; its effect was verified as: improved"
    );
    assert!(second.resolution.contains("verified as: improved"));
    // Words that nobody has reviewed stay out.
    assert!(lesson(&state).root_cause.contains("Another one."));
    assert_eq!(second.root_cause, first.root_cause);
    // The draft waits for its own review, and is learnt from as a whole.
    let learn = job(&hear(&core, &mut state, command("review"))).expect("it is learnt from");
    assert_eq!(learn.payload, json!(lesson(&state)));
}

#[test]
fn an_incident_that_is_open_again_is_told_at_its_next_end() {
    let (core, mut state) = written();
    let request = late(&core, &mut state, "outcome");
    assert_eq!(
        finish(&core, &mut state, request, Ok(Value::Null)),
        Vec::new()
    );
    // The text that stands can be reviewed, and nothing is written meanwhile.
    assert_eq!(hear(&core, &mut state, told("verified")), Vec::new());
    assert!(job(&hear(&core, &mut state, command("review"))).is_some());
    let request = job(&hear(&core, &mut state, ended(60_000))).expect("a job");
    let effects = finish(&core, &mut state, request, read());
    let text = published(&effects);
    assert_eq!(text.version, Some(2));
    assert!(text.postmortem.contains("the incident came back"));
    assert!(job(&effects).is_none(), "its end is a new matter");
}

#[test]
fn a_text_that_cannot_be_written_anew_stands_and_that_is_said() {
    let (core, mut state) = written();
    let request = late(&core, &mut state, "verified");
    let name = request.name.clone();
    let effects = finish(&core, &mut state, request, Err("away".to_owned()));
    assert!(
        matches!(effects.as_slice(), [Effect::Audit(audit)]
            if audit.event_type == "POSTMORTEM_SKIPPED" && audit.summary.contains("away")),
        "{effects:?}"
    );
    // The next deed brings both.
    let Event::Action(undone) = told("undone") else {
        panic!("an action");
    };
    let effects = hear(&core, &mut state, Event::Action(undone));
    let request = job(&effects).expect("it is written anew");
    assert_eq!(state.version, 2);
    assert!(name.starts_with("write:2:") && request.name.starts_with("write:2:"));
    let effects = finish(&core, &mut state, request, read());
    let text = &published(&effects).postmortem;
    assert!(text.contains("tried, found improved and undone"), "{text}");
}

#[test]
fn what_changes_no_step_writes_nothing_anew() {
    let (core, mut state) = written();
    for phase in ["approved", "refused", "intent"] {
        assert_eq!(hear(&core, &mut state, told(phase)), Vec::new(), "{phase}");
    }
    // A merged incident is told elsewhere.
    let mut merged = resolved(&connections());
    merged.resolution_method = "MERGED".to_owned();
    merged.resolved_at_ms += 1;
    hear(&core, &mut state, Event::Resolved(Box::new(merged)));
    assert_eq!(hear(&core, &mut state, told("verified")), Vec::new());
}
