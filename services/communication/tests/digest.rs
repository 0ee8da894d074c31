//! Incidents of low severity are told together: what a digest lists, when it
//! goes out, and what is told at once after all.

mod fixtures;
#[path = "fixtures/world.rs"]
mod world;

use fixtures::{AT, Fault, core, raised};
use midwatch_communication::decide::{Core, Mail, State};
use midwatch_communication::digest::LISTED;
use midwatch_communication::mail::About;
use midwatch_events::incident::IncidentChange;
use midwatch_events::{Event, Severity};
use midwatch_runtime::agent::{Input, Job, Moment};
use midwatch_runtime::effect::{Effect, Notification};
use serde_json::json;
use std::collections::BTreeMap;
use world::{HOUR, World, low, opened};

#[test]
fn low_incidents_are_told_in_one_mail_an_hour() {
    let mut world = World::new(core());
    let (one, other) = (
        low("order-service", "api-gateway"),
        low("user-service", "api-gateway"),
    );
    for event in one.events().into_iter().take(4) {
        world.hear(event);
    }
    world.hear(opened(&other));
    assert_eq!(world.look(), Vec::<String>::new());
    world.pass(HOUR);
    assert_eq!(
        world.look(),
        ["mail team@example.com digest: 🔵 [LOW] Digest — 2 incidents, 1 still open"]
    );
    // Nothing more was to be told.
    world.pass(3 * HOUR);
    assert_eq!(world.look(), Vec::<String>::new());
    // Its end is news again, and so is the postmortem, which is for all three.
    world.hear(Event::Rca(Box::new(other.rca.clone())));
    world.hear(Event::Plan(Box::new(other.plan.clone())));
    world.hear(Event::Resolved(Box::new(other.resolved.clone())));
    world.hear(Event::Postmortem(Box::new(other.postmortem.clone())));
    world.pass(HOUR);
    let id = &other.opened.header.short_id;
    let subject = format!("🔵 [LOW] Digest — {id}, Latency spike on user-service");
    let mut told = world.look();
    told.sort();
    assert_eq!(
        told,
        ["management", "oncall", "team"]
            .map(|who| format!("mail {who}@example.com digest: {subject}"))
    );
}

#[test]
fn what_is_over_before_the_digest_is_listed_as_over() {
    let mut world = World::new(core());
    let fault = low("order-service", "api-gateway");
    for event in fault.events() {
        world.hear(event);
    }
    world.pass(HOUR);
    let mut mails = std::mem::take(&mut world.sent);
    mails.sort_by(|one, other| one.to.cmp(&other.to));
    assert_eq!(mails.len(), 3, "one each, with the postmortem's readers");
    let text = &mails[2].body_text;
    for words in [
        "[over after 6 min",
        "P99 latency 610 ms, normally 380 ms",
        "order-service and 1 more · simulation",
        "Its postmortem is on its page.",
        &format!("/incidents/{}", fault.opened.header.incident_id),
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
}

#[test]
fn what_becomes_worse_is_told_at_once_in_order_and_not_as_new_again() {
    let mut world = World::new(core());
    let fault = low("order-service", "api-gateway");
    for event in fault.events().into_iter().take(3) {
        world.hear(event);
    }
    let calm = low("user-service", "api-gateway");
    world.hear(opened(&calm));
    let update = raised(&fault, Severity::High, IncidentChange::Severity);
    world.hear(Event::Updated(Box::new(update.clone())));
    let id = &fault.opened.header.short_id;
    let both = "mail oncall@example.com+team@example.com";
    assert_eq!(
        world.look(),
        [
            format!(
                "{both} opened: 🚨 [HIGH] {id} — Latency spike on order-service — 610 ms (normal 380)"
            ),
            format!("{both} rca: 🔍 [{id}] Root cause analysis — 87% confidence"),
            format!("{both} plan: 🛠️ [{id}] Remediation plan — 3 steps, ETA 15–30 min"),
        ]
    );
    world.hear(Event::Updated(Box::new(update)));
    assert_eq!(world.look(), Vec::<String>::new());
    world.pass(HOUR);
    let other = &calm.opened.header.short_id;
    assert_eq!(
        world.look(),
        [format!(
            "mail team@example.com digest: 🔵 [LOW] Digest — {other}, Latency spike on user-service"
        )]
    );
    // From here on it is told as any other.
    let mut resolved = fault.resolved.clone();
    resolved.header.severity = Severity::High;
    world.hear(Event::Resolved(Box::new(resolved)));
    assert_eq!(world.look().len(), 1);
    assert_eq!(world.timers, BTreeMap::new());
}

#[test]
fn a_cause_that_raises_the_severity_comes_after_the_alarm() {
    let mut world = World::new(core());
    let fault = low("order-service", "api-gateway");
    for event in fault.events().into_iter().take(3) {
        world.hear(event);
    }
    let mut rca = fault.rca.clone();
    (rca.revision, rca.top_changed) = (2, true);
    rca.header.severity = Severity::Critical;
    world.hear(Event::Rca(Box::new(rca)));
    let stages: Vec<String> = world.sent.iter().map(|note| note.stage.clone()).collect();
    assert_eq!(stages, ["opened", "rca", "plan"]);
    assert!(!world.sent[1].subject.contains("another cause"));
}

#[test]
fn with_nothing_left_there_is_no_digest() {
    let mut world = World::new(core());
    let fault = low("order-service", "api-gateway");
    world.hear(opened(&fault));
    let update = raised(&fault, Severity::Medium, IncidentChange::Severity);
    world.hear(Event::Updated(Box::new(update)));
    assert_eq!(world.look().len(), 1);
    world.pass(5 * HOUR);
    assert_eq!(world.look(), Vec::<String>::new());
}

#[test]
fn a_digest_is_named_by_recipient_and_interval_alone() {
    let digest = |hours: i64| {
        let mut world = World::new(core());
        world.wall_ms += hours * HOUR;
        world.hear(opened(&low("order-service", "api-gateway")));
        world.pass(HOUR);
        let mail: Mail = serde_json::from_value(world.jobs[0].1.clone()).expect("a mail");
        (
            mail.notification.message_id.clone(),
            mail.notification,
            mail.about,
        )
    };
    let (first, again, later) = (digest(0), digest(0), digest(1));
    assert_eq!(first, again);
    assert_ne!(first.0, later.0);
    assert_ne!(first.1.incident_id, later.1.incident_id);
    // Once it is delivered, each incident's trail says so.
    let (core, mut state) = (core(), State::default());
    let mut world = World::new(core);
    world.hear(opened(&low("order-service", "api-gateway")));
    world.pass(HOUR);
    let (scope, payload) = world.jobs[0].clone();
    let job = Job {
        id: midwatch_events::ids::derive(&["digest job"]),
        scope,
        kind: "deliver".to_owned(),
        payload,
        attempt: 1,
        max_attempts: 3,
    };
    let result = Ok(json!({"reply": "250 ok"}));
    // A scope that has heard of no event has wall clock in its place.
    let later = Moment {
        event_ms: world.wall_ms,
        wall_ms: world.wall_ms,
    };
    let effects = world
        .core
        .decide(&mut state, later, Input::JobDone { job, result });
    // At the event time of what was told, whatever the digest's own clock says.
    let about: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Audit(line) => Some(About::new(line.incident_id?, line.at_ms)),
            _ => None,
        })
        .collect();
    assert_eq!(about, first.2);
    assert_eq!(first.2[0].place().1, Some(AT.event_ms));
}

#[test]
fn a_digest_lists_so_many_and_counts_the_rest() {
    let mut world = World::new(core());
    let names: Vec<String> = (0..LISTED + 7).map(|n| format!("service-{n}")).collect();
    for name in &names {
        world.hear(opened(&low(name, "api-gateway")));
        // A second stage of one that is counted counts it once.
        world.hear(Event::Rca(Box::new(low(name, "api-gateway").rca)));
    }
    world.pass(HOUR);
    let [mail] = world.sent.as_slice() else {
        panic!("one mail");
    };
    assert_eq!(mail.subject, "🔵 [LOW] Digest — 47 incidents");
    let listed = mail.body_text.matches("[open]").count();
    assert_eq!(listed, LISTED);
    assert!(
        mail.body_text.contains("\nand 7 more incidents\n"),
        "{}",
        mail.body_text
    );
    assert!(mail.body_html.len() < 90_000, "{}", mail.body_html.len());
}

#[test]
fn without_an_interval_each_is_told_by_itself() {
    let mut world = World::new(Core {
        digest_minutes: 0,
        ..core()
    });
    for event in low("order-service", "api-gateway").events() {
        world.hear(event);
    }
    assert_eq!(world.look().len(), 5);
    assert_eq!(world.timers, BTreeMap::new());
}

#[test]
fn a_merged_incident_is_told_as_merged() {
    let mut world = World::new(core());
    let mut fault = low("order-service", "api-gateway");
    world.hear(opened(&fault));
    world.pass(HOUR);
    assert_eq!(world.look().len(), 1);
    fault.resolved.resolution_method = "MERGED".to_owned();
    fault.resolved.top_root_cause = "merged into INC-0A0B0C0D, which goes on".to_owned();
    world.hear(Event::Resolved(Box::new(fault.resolved.clone())));
    world.pass(HOUR);
    let text = &world.sent[0].body_text;
    assert!(
        text.contains("[Merged into INC-0A0B0C0D, which goes on"),
        "{text}"
    );
}

fn digest_of(faults: &[Fault], ended: usize) -> Notification {
    let mut world = World::new(core());
    for (index, fault) in faults.iter().enumerate() {
        let stages = if index < ended { 4 } else { 1 };
        for event in fault.events().into_iter().take(stages) {
            world.hear(event);
        }
    }
    world.pass(HOUR);
    world.sent.remove(0)
}

#[test]
fn the_digest_as_it_goes_out() {
    let mut silent = low("inventory-service", "order-service");
    silent.opened.trigger_metric = "log:slow_query".to_owned();
    let faults = [
        low("order-service", "api-gateway"),
        low("user-service", "api-gateway"),
        silent,
    ];
    let mail = digest_of(&faults, 1);
    let text = format!("Subject: {}\n\n{}", mail.subject, mail.body_text);
    insta::assert_snapshot!("digest.txt", text);
    insta::assert_snapshot!("digest.html", mail.body_html);
    for word in ["src=", "url(", "@import", "<link", "<script"] {
        assert!(!mail.body_html.contains(word), "{word}");
    }
}

#[test]
fn hostile_names_stay_text_in_a_digest() {
    let hostile = "<img src=x onerror=alert(1)>\r\nBcc: all@example.com {{ 7 * 7 }}";
    let mut fault = low(hostile, "a\"b'&<script>alert(2)</script>");
    fault.opened.trigger_metric = "<b>x</b>\n_ms".to_owned();
    fault.opened.header.environment = "<i>1</i>".to_owned();
    let mail = digest_of(&[fault], 0);
    for bad in [
        "<img",
        "<script>",
        "<b>",
        "<i>1",
        ">49<",
        "onerror=alert(1)>\r",
    ] {
        assert!(!mail.body_html.contains(bad), "{bad} in {}", mail.body_html);
    }
    assert!(!mail.subject.contains(['\r', '\n']), "{:?}", mail.subject);
    assert!(
        !mail.body_text.lines().any(|line| line.starts_with("Bcc:")),
        "{}",
        mail.body_text
    );
}
