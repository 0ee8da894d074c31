//! Who is told what, once, and in which order.

mod fixtures;

use fixtures::{AT, connections, core, envelope, hear, mails, raised, release};
use midwatch_communication::decide::{DELIVERY_TRIES, Mail, State};
use midwatch_events::incident::IncidentChange;
use midwatch_events::{Event, RemediationAction, Severity};
use midwatch_runtime::agent::Input;
use midwatch_runtime::effect::Effect;

fn parked(effects: &[Effect]) -> bool {
    matches!(effects, [Effect::Park { ttl_ms, .. }] if (1..=60_000).contains(ttl_ms))
}

#[test]
fn each_mail_is_one_notification_and_one_delivery_in_one_thread() {
    let (core, mut state) = (core(), State::default());
    let mut root = None;
    for event in connections().events() {
        let effects = hear(&core, &mut state, event);
        let [Effect::Notify(note), Effect::StartJob(job)] = effects.as_slice() else {
            panic!("a notification and a job, not {effects:?}");
        };
        assert_eq!(job.max_attempts, DELIVERY_TRIES);
        assert_eq!(job.name, format!("deliver:{}", note.message_id));
        let mail: Mail =
            serde_json::from_value(job.payload.clone()).expect("the job carries the mail");
        assert_eq!(mail.notification, *note);
        assert_eq!(note.in_reply_to, root);
        assert_eq!(
            mail.references,
            root.clone().into_iter().collect::<Vec<_>>()
        );
        root.get_or_insert_with(|| note.message_id.clone());
    }
}

#[test]
fn the_same_event_twice_tells_nobody_twice() {
    let (core, mut state) = (core(), State::default());
    for event in release().events() {
        assert_eq!(mails(&hear(&core, &mut state, event.clone())).len(), 1);
        assert_eq!(hear(&core, &mut state, event), Vec::new());
    }
}

#[test]
fn early_events_are_parked_and_change_nothing() {
    let core = core();
    let [opened, rca, plan, resolved, postmortem] = connections().events();
    let update = Event::Updated(Box::new(raised(
        &connections(),
        Severity::Critical,
        IncidentChange::Grown,
    )));
    for early in [&rca, &plan, &resolved, &postmortem, &update] {
        let mut state = State::default();
        assert!(parked(&hear(&core, &mut state, early.clone())));
        assert_eq!(state, State::default());
    }
    // With the first mail out, each stage still waits for the one before it.
    let mut state = State::default();
    hear(&core, &mut state, opened);
    for early in [&postmortem, &resolved, &plan] {
        assert!(parked(&hear(&core, &mut state, early.clone())));
    }
    for due in [rca, plan, resolved, postmortem] {
        assert_eq!(mails(&hear(&core, &mut state, due)).len(), 1);
    }
}

#[test]
fn a_mail_whose_predecessor_never_came_goes_out_without_it() {
    let (core, mut state) = (core(), State::default());
    for event in connections().events().into_iter().skip(1) {
        let effects = core.decide(
            &mut state,
            AT,
            Input::Expired {
                envelope: envelope(event),
            },
        );
        let sent = mails(&effects);
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].in_reply_to, None);
    }
}

#[test]
fn who_joins_because_severity_rose_gets_the_first_mail_and_nobody_else() {
    let (core, mut state) = (core(), State::default());
    let mut fault = release();
    fault.opened.header.severity = Severity::Medium;
    fault.rca.header.severity = Severity::Medium;
    let first = hear(
        &core,
        &mut state,
        Event::Opened(Box::new(fault.opened.clone())),
    );
    assert_eq!(mails(&first)[0].to, ["team@example.com"]);

    let update = Event::Updated(Box::new(raised(
        &fault,
        Severity::Critical,
        IncidentChange::Severity,
    )));
    let effects = hear(&core, &mut state, update.clone());
    let risen = mails(&effects);
    assert_eq!(risen[0].to, ["oncall@example.com"]);
    assert_eq!(risen[0].cc, ["management@example.com"]);
    assert!(
        risen[0].subject.contains("[CRITICAL]"),
        "{}",
        risen[0].subject
    );
    assert_eq!(hear(&core, &mut state, update), Vec::new());

    // The cause was found before investigation heard of the new severity.
    let effects = hear(&core, &mut state, Event::Rca(Box::new(fault.rca.clone())));
    assert_eq!(mails(&effects)[0].to, ["oncall@example.com"]);
}

#[test]
fn a_revised_cause_is_told_only_to_who_has_none() {
    let (core, mut state) = (core(), State::default());
    let mut fault = release();
    hear(
        &core,
        &mut state,
        Event::Opened(Box::new(fault.opened.clone())),
    );
    hear(&core, &mut state, Event::Rca(Box::new(fault.rca.clone())));
    fault.rca.revision = 2;
    assert_eq!(
        hear(&core, &mut state, Event::Rca(Box::new(fault.rca.clone()))),
        Vec::new()
    );
    fault.rca.revision = 3;
    fault.rca.header.severity = Severity::Critical;
    let effects = hear(&core, &mut state, Event::Rca(Box::new(fault.rca)));
    // On-call had it; management joins with the higher severity.
    assert_eq!(mails(&effects)[0].to, ["management@example.com"]);
}

#[test]
fn a_reopened_incident_is_told_again_from_the_start() {
    let (core, mut state) = (core(), State::default());
    let fault = connections();
    for event in fault.events() {
        hear(&core, &mut state, event);
    }
    let again = Event::Updated(Box::new(raised(
        &fault,
        Severity::Critical,
        IncidentChange::Reopened,
    )));
    let effects = hear(&core, &mut state, again);
    let note = mails(&effects)[0];
    assert_eq!(note.stage, "opened.2");
    assert!(note.subject.ends_with("(reopened)"), "{}", note.subject);
    assert!(note.in_reply_to.is_some());
}

#[test]
fn another_top_cause_is_told_once_to_everybody_who_knew_the_first() {
    let (core, mut state) = (core(), State::default());
    let fault = connections();
    let [opened, first, ..] = fault.events();
    hear(&core, &mut state, opened);
    hear(&core, &mut state, first);
    let mut rca = fault.rca.clone();
    rca.revision = 2;
    rca.top_changed = true;
    rca.revision_reason = "Looked again because lag on orders joined: Memory leak on \
        notification-service comes first now."
        .to_owned();
    let second = Event::Rca(Box::new(rca.clone()));
    let effects = hear(&core, &mut state, second.clone());
    let note = mails(&effects)[0];
    assert_eq!(note.stage, "rca.changed.2");
    assert_eq!(note.to, ["oncall@example.com"]);
    assert_eq!(note.cc, ["management@example.com"]);
    assert!(
        note.subject
            .ends_with("87% confidence (another cause than before)"),
        "{}",
        note.subject
    );
    let words = "Revision 2. Looked again because lag on orders joined";
    assert!(note.body_text.contains(words), "{}", note.body_text);
    assert_eq!(hear(&core, &mut state, second), Vec::new());
    // What changed no cause, and what comes late, is told to nobody.
    rca.revision = 3;
    rca.top_changed = false;
    assert_eq!(
        hear(&core, &mut state, Event::Rca(Box::new(rca.clone()))),
        Vec::new()
    );
    rca.revision = 2;
    rca.top_changed = true;
    assert_eq!(
        hear(&core, &mut state, Event::Rca(Box::new(rca.clone()))),
        Vec::new()
    );
    rca.revision = 4;
    let effects = hear(&core, &mut state, Event::Rca(Box::new(rca)));
    assert_eq!(mails(&effects)[0].stage, "rca.changed.4");
}

#[test]
fn an_update_that_comes_late_changes_nothing() {
    let (core, mut state) = (core(), State::default());
    let fault = connections();
    hear(
        &core,
        &mut state,
        Event::Opened(Box::new(fault.opened.clone())),
    );
    let mut newer = raised(&fault, Severity::Critical, IncidentChange::Grown);
    newer.revision = 2;
    newer
        .header
        .affected_services
        .push("new-service".to_owned());
    hear(&core, &mut state, Event::Updated(Box::new(newer.clone())));
    let before = state.clone();
    let mut older = newer.clone();
    older.revision = 1;
    older.header.affected_services.pop();
    hear(&core, &mut state, Event::Updated(Box::new(older)));
    assert_eq!(state, before);
    let known = state.opened.expect("it was opened");
    assert_eq!(known.header, newer.header);
}

#[test]
fn a_second_end_waits_for_no_second_plan() {
    let (core, mut state) = (core(), State::default());
    let fault = connections();
    for event in fault.events() {
        hear(&core, &mut state, event);
    }
    let reopened = raised(&fault, Severity::Critical, IncidentChange::Reopened);
    hear(&core, &mut state, Event::Updated(Box::new(reopened)));
    let mut rca = fault.rca.clone();
    rca.revision = 2;
    let effects = hear(&core, &mut state, Event::Rca(Box::new(rca)));
    assert_eq!(mails(&effects)[0].stage, "rca.2");
    let [_, _, _, resolved, _] = fault.events();
    let effects = hear(&core, &mut state, resolved);
    assert_eq!(mails(&effects)[0].stage, "resolved.2");
}

#[test]
fn a_merged_incident_ends_in_one_quiet_line_to_those_who_knew_of_it() {
    let (core, mut state) = (core(), State::default());
    let mut fault = connections();
    fault.resolved.resolution_method = "MERGED".to_owned();
    fault.resolved.top_root_cause =
        "merged into INC-0A0B0C0D, which goes on: both are one fault".to_owned();
    let [opened, _, _, resolved, _] = fault.events();
    // Nobody heard of its beginning, so nobody is told of its end.
    let end = Input::Expired {
        envelope: envelope(resolved.clone()),
    };
    assert_eq!(core.decide(&mut State::default(), AT, end), Vec::new());

    hear(&core, &mut state, opened);
    let mut absorbed = raised(&fault, Severity::Critical, IncidentChange::Merged);
    absorbed.grouped_anomalies.clear();
    let before = state.clone();
    let update = Event::Updated(Box::new(absorbed));
    assert_eq!(hear(&core, &mut state, update), Vec::new());
    assert_eq!(state, before);
    let effects = hear(&core, &mut state, resolved.clone());
    let note = mails(&effects)[0];
    assert!(note.subject.starts_with("🔗 ["), "{}", note.subject);
    for wrong in [
        "RESOLVED",
        "is over",
        "normal again",
        "postmortem",
        "Recover",
    ] {
        let all = format!("{} {} {}", note.subject, note.body_text, note.body_html);
        assert!(!all.contains(wrong), "{wrong} in {all}");
    }
    let line = "Merged into INC-0A0B0C0D, which goes on: both are one fault";
    assert!(note.body_text.contains(line), "{}", note.body_text);
    assert_eq!(hear(&core, &mut state, resolved), Vec::new());
}

#[test]
fn a_lead_is_not_told_as_the_cause_nor_a_recovery_as_a_remedy() {
    let body = |cause: &str, phase: Option<&str>| {
        let (core, mut state) = (core(), State::default());
        let mut fault = connections();
        fault.resolved.top_root_cause = cause.to_owned();
        let header = fault.resolved.header.clone();
        let [opened, rca, plan, resolved, _] = fault.events();
        for event in [opened, rca, plan] {
            hear(&core, &mut state, event);
        }
        let begun = matches!(phase, Some("undone" | "verified")).then_some("intent");
        for phase in begun.into_iter().chain(phase) {
            let action = RemediationAction {
                header: header.clone(),
                plan_id: midwatch_events::ids::derive(&["plan"]),
                step_id: "S1".to_owned(),
                phase: phase.to_owned(),
                by: "maria".to_owned(),
                reason: String::new(),
                result: "improved".to_owned(),
                at_ms: AT.event_ms,
                details: midwatch_events::response::ActionDetails::default(),
            };
            hear(&core, &mut state, Event::Action(Box::new(action)));
        }
        mails(&hear(&core, &mut state, resolved))[0]
            .body_text
            .clone()
    };
    let lead = body("inconclusive; most likely a leak.", None);
    assert!(
        lead.contains("\nMOST LIKELY CAUSE\nInconclusive; most likely a leak.\n"),
        "{lead}"
    );
    let nothing = "Midwatch carried out no action; why the readings returned is not recorded.";
    assert!(lead.contains(nothing), "{lead}");
    let open = body("inconclusive: no service shows a cause", Some("approved"));
    assert!(open.contains("\nCAUSE\nInconclusive: no service"), "{open}");
    assert!(open.contains(nothing), "{open}");
    let undone = body("A leak.", Some("undone"));
    assert!(!undone.contains(nothing), "{undone}");
    assert!(undone.contains("its effect was not verified"), "{undone}");
    let applied = body("A leak.", Some("verified"));
    assert!(applied.contains("\nCAUSE\nA leak.\n"), "{applied}");
    assert!(!applied.contains(nothing), "{applied}");
}
