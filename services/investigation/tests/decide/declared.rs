//! Incidents that a person declared, and what people state at the end.

use super::story::{Story, T0, envelope, errors, opened};
use midwatch_events::anomaly::{AnomalyType, Transition};
use midwatch_events::incident::{Declared, IncidentChange, Stated, Verdict};
use midwatch_events::{Event, OperatorCommand};
use midwatch_runtime::Input;
use serde_json::{Value, json};

fn declared() -> Story {
    let mut story = Story::default();
    let mut event = opened(&[errors()]);
    event.header.anomaly_type = AnomalyType::Unknown;
    event.grouped_anomalies.clear();
    event.trigger_metric.clear();
    (event.observed_value, event.baseline_value) = (0.0, 0.0);
    event.declared = Some(Declared {
        title: "Nobody can pay".to_owned(),
        severity: "HIGH".to_owned(),
        by: "dana".to_owned(),
    });
    story.hear(Event::Opened(Box::new(event)));
    story.work();
    story
}

fn close(story: &mut Story, stated: Option<Stated>) {
    let case = story.state.case.as_ref().expect("it was opened");
    let command = OperatorCommand {
        incident_id: case.header.incident_id,
        command: "close".to_owned(),
        target: String::new(),
        by: "maria".to_owned(),
        credential_id: "k1".to_owned(),
        reason: "it works again".to_owned(),
        issued_at_ms: T0 + 120_000,
        expires_at_ms: T0 + 24 * 3_600_000,
        environment: None,
        until_ms: None,
        details: midwatch_events::response::CommandDetails {
            stated: stated.map(Box::new),
            ..midwatch_events::response::CommandDetails::default()
        },
    };
    let envelope = envelope(Event::Command(command));
    let context = Value::Null;
    story.decide(Input::Event { envelope, context });
}

#[test]
fn a_declared_incident_is_answered_and_only_a_person_ends_it() {
    let mut story = declared();
    let rca = &story.rcas[0];
    assert_eq!(rca.verdict, Verdict::Inconclusive);
    assert!(rca.root_cause_candidates.is_empty() && story.channels.is_empty());
    // What is measured there joins it, is explained, and becomes normal again.
    story.update(IncidentChange::Grown, &[errors()], "errors joined");
    story.work();
    assert!(story.rcas.len() > 1 && !story.rcas[1].root_cause_candidates.is_empty());
    story.transition(&errors(), Transition::Cleared, 60);
    assert!(story.resolved.is_empty(), "no reading ends it");
    story.ring("watch");
    let line = story.said("WATCH_CONTINUES")[0];
    assert!(
        line.summary.contains("a person to close it"),
        "{}",
        line.summary
    );
    close(&mut story, None);
    let end = &story.resolved[0];
    assert_eq!(
        (end.resolution_method.as_str(), &end.stated),
        ("CLOSED_BY_OPERATOR", &None)
    );
    assert_eq!(end.mttr_ms, 120_000);
}

#[test]
fn what_a_person_states_is_kept_as_that_person_s_words() {
    let mut story = declared();
    let answer = story.rcas[0].top_root_cause.clone();
    let stated = Stated {
        root_cause: "A certificate had expired".to_owned(),
        fix: "It was renewed".to_owned(),
        category: "certificate".to_owned(),
        component: "gateway".to_owned(),
        toil_minutes: Some(42.5),
        by: "somebody else".to_owned(),
    };
    close(&mut story, Some(stated.clone()));
    let told = Stated {
        by: "maria".to_owned(),
        ..stated
    };
    let end = &story.resolved[0];
    assert_eq!(end.stated.as_ref(), Some(&told));
    assert_eq!(
        end.top_root_cause, answer,
        "what was found stays what it was"
    );
    assert_eq!(end.mttd_ms, None, "nothing was measured");
    let row = story.resolution.clone().expect("the row has it");
    assert_eq!(row["stated"], json!(told));
    let line = story.said("INCIDENT_RESOLVED")[0];
    assert_eq!(line.payload["stated"], json!(told));
    assert!(
        line.summary
            .contains("stated by maria: A certificate had expired")
    );
}
