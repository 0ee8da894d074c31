//! Drafts of runbooks are runbooks: they load as they are.

mod fixtures;

use fixtures::{connections, deed, facts, typed, written};
use midwatch_events::AnomalyType;
use midwatch_events::incident::Stated;
use midwatch_events::response::Priority;
use midwatch_knowledge::Runbook;
use midwatch_postmortem::lesson::{self, Lesson};
use midwatch_postmortem::runbook::{self, Draft};
use serde_json::json;
use std::path::Path;

/// The lesson of an incident that a step ended.
fn first() -> Lesson {
    let words = connections();
    let mut facts = facts(&words);
    facts.actions = ["approved", "intent", "outcome", "verified"]
        .iter()
        .map(|phase| deed(&words, phase))
        .collect();
    for deed in &mut facts.actions {
        deed.action.details.typed = Some(typed(&words));
    }
    let (mut document, records) = written(&facts);
    assert_eq!(document.lint(&records), Vec::new());
    lesson::draw(&facts, &document)
}

/// The draft of this incident and the same again.
fn draft(lesson: &Lesson) -> Draft {
    let mut again = lesson.clone();
    again.incident_id = "INC-00000002".to_owned();
    let mut drafts = runbook::suggest(&[again, lesson.clone()]);
    assert_eq!(drafts.len(), 1);
    drafts.remove(0)
}

fn load(draft: &Draft) -> Runbook {
    Runbook::parse(Path::new("draft.md"), &draft.markdown)
        .unwrap_or_else(|error| panic!("{error}: {}", draft.markdown))
}

#[test]
fn the_draft_of_a_repeated_incident_loads_with_its_action() {
    let draft = draft(&first());
    let loaded = load(&draft);
    assert_eq!(loaded.name, draft.name);
    assert_eq!(loaded.anomaly_types, [AnomalyType::DbConnectionExhaustion]);
    let description = "DB connection exhaustion of payment-service, drafted from 2 recorded incidents; read it before you use it.";
    assert_eq!(loaded.description, description);
    let steps: Vec<_> = loaded.steps().collect();
    let priorities: Vec<Priority> = steps.iter().map(|step| step.priority).collect();
    assert_eq!(
        priorities,
        [
            Priority::Immediate,
            Priority::Within15Min,
            Priority::Within1Hour
        ]
    );
    let helped = steps[0];
    assert_eq!(helped.action, "Restart {{service}}");
    assert_eq!(
        helped.command,
        "kubectl rollout restart deployment/{{service}} -n {{namespace}}"
    );
    let template = json!(helped.typed);
    assert_eq!(
        template,
        json!({"kind": "restart_rollout",
            "arguments": {"namespace": "{{namespace}}", "workload": "{{service}}"}})
    );
    assert_eq!(
        helped.why,
        "It frees what is held. Verified as improved in INC-00000002, INC-B132FE01."
    );
    assert_eq!(
        (helped.risk.as_str(), helped.owner.as_str()),
        ("medium", "on-call")
    );
    assert_eq!(steps[1].command, "midwatch postmortem INC-00000002");
    assert_eq!(steps[2].command, "midwatch postmortem INC-B132FE01");
    assert!(
        steps[1..]
            .iter()
            .all(|step| step.risk == "read-only" && step.typed.is_none())
    );
}

#[test]
fn every_draft_loads_whatever_was_recorded() {
    let of = |change: &dyn Fn(&mut Lesson)| {
        let mut lesson = first();
        change(&mut lesson);
        load(&draft(&lesson))
    };
    // Nothing helped: nothing is proposed but to read.
    let vain = of(&|lesson| lesson.tried[0].verdict = "worse".to_owned());
    assert!(vain.steps().all(|step| step.risk == "read-only"));
    // What older versions drew has the kind alone.
    let older = of(&|lesson| {
        let mut value = json!(lesson);
        let tried = value["tried"][0].as_object_mut().expect("an object");
        for name in ["why", "expect", "rollback", "risk", "owner", "typed"] {
            assert!(tried.remove(name).is_some(), "{name}");
        }
        *lesson = serde_json::from_value(value).expect("an older lesson");
    });
    let step = older.steps().next().expect("a step");
    let typed = step.typed.as_ref().expect("the kind is known");
    assert_eq!(
        (typed.kind.as_str(), step.risk.as_str()),
        ("restart_rollout", "high")
    );
    // Another service than the one with the cause is a person's to act on.
    let other = of(&|lesson| lesson.service = "order-service".to_owned());
    let step = other.steps().next().expect("a step");
    assert_eq!(step.typed, None);
    assert!(step.command.contains("deployment/payment-service"));
    // Only what lasts is written, and numbers are computed anew.
    let raised = of(&|lesson| {
        let typed = lesson.tried[0].typed.as_mut().expect("an action");
        let more = [("resource", "memory"), ("limit", "512Mi"), ("flag", "a b")];
        let more = more.map(|(name, value)| (name.to_owned(), value.to_owned()));
        typed.arguments.extend(more);
    });
    let step = raised.steps().next().expect("a step");
    let typed = step.typed.as_ref().expect("an action");
    let names: Vec<&str> = typed.arguments.keys().map(String::as_str).collect();
    assert_eq!(names, ["namespace", "resource", "workload"]);
    // Text from telemetry makes neither steps, sections nor placeholders.
    let hostile = "x\n## Within the hour\n- **y**\n  - risk: none {{secret}} `z` ---";
    let held = of(&|lesson| {
        let text = hostile.to_owned();
        lesson.title.clone_from(&text);
        lesson.root_cause.clone_from(&text);
        lesson.evidence = vec![text.clone()];
        let tried = &mut lesson.tried[0];
        for field in [
            &mut tried.action,
            &mut tried.command,
            &mut tried.why,
            &mut tried.expect,
            &mut tried.rollback,
            &mut tried.owner,
        ] {
            field.clone_from(&text);
        }
    });
    assert_eq!(held.steps().count(), 3);
}

#[test]
fn a_cause_speaks_for_later_incidents_only_where_it_was_concluded() {
    let words = connections();
    let stated = Stated {
        root_cause: "a batch job held the locks".to_owned(),
        fix: String::new(),
        category: String::new(),
        component: String::new(),
        toil_minutes: None,
        by: "jonas".to_owned(),
    };
    for (confidence, stated, expected) in [
        (0.87, None, true),
        (0.49, None, false),
        (0.87, Some(stated), false),
    ] {
        let mut facts = facts(&words);
        facts.candidates[0].confidence = confidence;
        facts.resolved.stated = stated;
        let (document, _) = written(&facts);
        let lesson = lesson::draw(&facts, &document);
        assert_eq!(lesson.concluded, expected, "{confidence}");
        assert_eq!(lesson.past_incident().record["concluded"], json!(expected));
    }
    // What an older version stored says nothing of it.
    let mut old = json!(first());
    old.as_object_mut().expect("an object").remove("concluded");
    let old: Lesson = serde_json::from_value(old).expect("it is still read");
    assert!(!old.concluded);
}
