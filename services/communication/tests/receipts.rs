//! What is recorded of a delivery, and who is tried again alone.

mod fixtures;

use fixtures::{AT, connections, core, hear};
use midwatch_communication::decide::{Mail, Receipt, Refusal, State};
use midwatch_communication::mail::APART_TRIES;
use midwatch_runtime::agent::{Input, Job};
use midwatch_runtime::effect::{Delivered, Effect};
use serde_json::json;

fn done(result: Result<serde_json::Value, String>, attempt: i32) -> Vec<Effect> {
    let (core, mut state) = (core(), State::default());
    let [opened, ..] = connections().events();
    let effects = hear(&core, &mut state, opened);
    let Some(Effect::StartJob(request)) = effects.last() else {
        panic!("a job");
    };
    let job = Job {
        id: midwatch_events::ids::derive(&["job"]),
        scope: "scope".to_owned(),
        kind: request.kind.clone(),
        payload: request.payload.clone(),
        attempt,
        max_attempts: request.max_attempts,
    };
    core.decide(&mut state, AT, Input::JobDone { job, result })
}

#[test]
fn a_delivery_is_written_down_whether_it_succeeds_or_not() {
    let receipt = Receipt {
        reply: "250 ok".to_owned(),
        ..Receipt::default()
    };
    let effects = done(Ok(json!(receipt)), 2);
    let [
        Effect::NotificationDone(Delivered {
            sent: true,
            attempts: 2,
            error: None,
            ..
        }),
        Effect::Audit(audit),
    ] = effects.as_slice()
    else {
        panic!("{effects:?}");
    };
    assert_eq!(audit.event_type, "NOTIFICATION_SENT");
    assert_eq!(audit.payload["reply"], "250 ok");

    let effects = done(Err("connection refused".to_owned()), 3);
    let [
        Effect::NotificationDone(Delivered {
            sent: false,
            attempts: 3,
            error: Some(error),
            ..
        }),
        Effect::Audit(audit),
    ] = effects.as_slice()
    else {
        panic!("{effects:?}");
    };
    assert_eq!(error, "connection refused");
    assert_eq!(audit.event_type, "NOTIFICATION_FAILED");
    assert!(
        audit.summary.contains("3 tries (connection refused)"),
        "{}",
        audit.summary
    );
}

#[test]
fn who_was_refused_is_named_in_the_row_and_in_the_trail() {
    let receipt = Receipt {
        reply: "250 ok".to_owned(),
        refused: vec![Refusal {
            recipient: "management@example.com".to_owned(),
            reason: "550 no such user".to_owned(),
        }],
        ..Receipt::default()
    };
    let effects = done(Ok(json!(receipt)), 1);
    let [
        Effect::NotificationDone(Delivered {
            recipients: got,
            sent: true,
            error: None,
            ..
        }),
        Effect::Audit(sent),
        Effect::NotificationDone(Delivered {
            recipients: lost,
            sent: false,
            error: Some(error),
            ..
        }),
        Effect::Audit(failed),
    ] = effects.as_slice()
    else {
        panic!("{effects:?}");
    };
    assert_eq!(got, &["oncall@example.com"]);
    assert_eq!(lost, &["management@example.com"]);
    assert_eq!(
        error,
        "not delivered to management@example.com: 550 no such user"
    );
    assert_eq!(sent.event_type, "NOTIFICATION_SENT");
    assert!(!sent.summary.contains("management@"), "{}", sent.summary);
    assert_eq!(sent.payload["to"], json!(["oncall@example.com"]));
    assert_eq!(failed.event_type, "NOTIFICATION_FAILED");
    assert!(
        failed
            .summary
            .contains("management@example.com: 550 no such user"),
        "{}",
        failed.summary
    );
}

/// The jobs that were asked for, as (lane, mail).
fn apart(effects: &[Effect]) -> Vec<(String, Mail)> {
    let jobs = effects.iter().filter_map(|effect| match effect {
        Effect::StartJob(job) => Some(job),
        _ => None,
    });
    jobs.map(|job| {
        let mail: Mail = serde_json::from_value(job.payload.clone()).expect("a mail");
        assert_eq!(job.max_attempts, APART_TRIES);
        assert_eq!(job.delay_ms, 2_000 * i64::from(mail.tried));
        (job.lane.clone().expect("a lane of its own"), mail)
    })
    .collect()
}

#[test]
fn whoever_is_refused_for_now_is_tried_again_alone_and_keeps_nobody() {
    let receipt = Receipt {
        reply: "250 ok".to_owned(),
        postponed: vec![Refusal {
            recipient: "management@example.com".to_owned(),
            reason: "450 greylisted".to_owned(),
        }],
        ..Receipt::default()
    };
    let effects = done(Ok(json!(receipt)), 1);
    let [Effect::NotificationDone(end), Effect::Audit(sent), _] = effects.as_slice() else {
        panic!("{effects:?}");
    };
    assert_eq!(end.recipients, ["oncall@example.com"]);
    assert!(end.sent && end.error.is_none());
    assert_eq!(sent.payload["to"], json!(["oncall@example.com"]));
    assert_eq!(sent.payload["cc"], json!([]));
    let [(lane, mail)] = apart(&effects).try_into().expect("one job");
    assert!(lane.ends_with("/mail/management@example.com"), "{lane}");
    assert_eq!(mail.addressed(), ["management@example.com"]);
    assert_eq!(mail.tried, 1);
    // The same bytes under the same Message-ID, for one more recipient.
    assert_eq!(mail.notification.message_id, end.message_id);
    assert_eq!(mail.notification.cc, ["management@example.com"]);

    // Its end is theirs alone, whichever it is.
    let (core, mut state) = (core(), State::default());
    let job = Job {
        id: midwatch_events::ids::derive(&["apart"]),
        scope: "scope".to_owned(),
        kind: "deliver".to_owned(),
        payload: serde_json::to_value(&mail).expect("encodes"),
        attempt: 2,
        max_attempts: 2,
    };
    let mut end = |result| {
        let job = job.clone();
        let effects = core.decide(&mut state, AT, Input::JobDone { job, result });
        let [Effect::NotificationDone(end), Effect::Audit(line)] = effects.as_slice() else {
            panic!("{effects:?}");
        };
        assert_eq!(end.recipients, ["management@example.com"]);
        assert_eq!(end.attempts, 3);
        (
            end.sent,
            line.event_type.clone(),
            line.payload["to"].clone(),
        )
    };
    let taken = Receipt {
        reply: "250 ok".to_owned(),
        ..Receipt::default()
    };
    let (sent, failed) = (
        "NOTIFICATION_SENT".to_owned(),
        "NOTIFICATION_FAILED".to_owned(),
    );
    assert_eq!(end(Ok(json!(taken))), (true, sent, json!([])));
    assert_eq!(
        end(Err("450 greylisted".to_owned())),
        (false, failed, json!([]))
    );
}

#[test]
fn whoever_waits_for_an_earlier_mail_gets_the_next_one_after_it() {
    let receipt = Receipt {
        reply: "250 ok".to_owned(),
        behind: vec!["management@example.com".to_owned()],
        ..Receipt::default()
    };
    let effects = done(Ok(json!(receipt)), 1);
    let [(lane, mail)] = apart(&effects).try_into().expect("one job");
    assert!(lane.ends_with("/mail/management@example.com"), "{lane}");
    assert_eq!(
        (mail.addressed(), mail.tried),
        (vec!["management@example.com".to_owned()], 0)
    );
    // With nobody reached and nobody given up nothing has ended yet.
    let nobody = Receipt {
        reply: String::new(),
        behind: vec!["management@example.com".to_owned()],
        postponed: vec![Refusal {
            recipient: "oncall@example.com".to_owned(),
            reason: "450 greylisted".to_owned(),
        }],
        ..Receipt::default()
    };
    let effects = done(Ok(json!(nobody)), 1);
    assert_eq!(apart(&effects).len(), effects.len());
    assert_eq!(effects.len(), 2);
}
