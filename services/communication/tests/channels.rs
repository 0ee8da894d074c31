//! What channels other than mail are told, and who hears of an incident that
//! nobody takes. Whole stories through the deciding core; deliveries over real
//! HTTP are shown in `infrastructure/local/tests/channels`.

mod fixtures;

use fixtures::{AT, connections, core, hear, raised};
use midwatch_clients::signed_link;
use midwatch_communication::channels::{Book, Post, Signal};
use midwatch_communication::decide::{Core, Mail, State};
use midwatch_communication::picture;
use midwatch_events::incident::{IncidentChange, MetricReading};
use midwatch_events::{Event, Severity};
use midwatch_runtime::agent::{Input, Job, Moment};
use midwatch_runtime::effect::{Delivered, Effect, Notification};
use serde_json::Value;

const BOOK: &str = r#"{
  "channels": [
    {"name": "ops", "kind": "slack", "channel": "C01", "token_file": "/none"},
    {"name": "pager", "kind": "pagerduty", "routing_key_file": "/none"},
    {"name": "hook", "kind": "webhook", "url_file": "/none"}
  ],
  "routes": [
    {"channels": ["ops"], "stages": ["opened", "plan", "resolved", "postmortem"]},
    {"channels": ["hook"]},
    {"channels": ["pager"], "min_severity": "CRITICAL", "stages": ["opened"]}
  ],
  "escalation": [
    {"after_minutes": 5, "channels": ["pager"], "mail": ["lead@example.com"]},
    {"after_minutes": 15, "min_severity": "CRITICAL", "mail": ["head@example.com"]}
  ],
  "progress_minutes": 30
}"#;

fn with_book() -> Core {
    Core {
        book: Book::parse(BOOK).expect("the book is well formed"),
        ..core()
    }
}

fn posts(effects: &[Effect]) -> Vec<Post> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::StartJob(job) if job.kind == "post" => {
                let post: Post = serde_json::from_value(job.payload.clone()).expect("a post");
                let lane = format!("{}/{}", post.notification.incident_id, post.channel);
                assert_eq!(job.lane.as_deref(), Some(lane.as_str()));
                Some(post)
            }
            _ => None,
        })
        .collect()
}

fn told(effects: &[Effect]) -> Vec<String> {
    let mut told: Vec<String> = posts(effects)
        .iter()
        .map(|post| {
            let what = if post.is_edit() { "edit" } else { "tell" };
            format!("{} {what} {:?}", post.channel, post.signal)
        })
        .collect();
    told.sort();
    told
}

fn timers(effects: &[Effect]) -> Vec<(String, i64)> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::SetTimer { name, due_ms, .. } => {
                Some((name.clone(), (due_ms - AT.wall_ms) / 60_000))
            }
            _ => None,
        })
        .collect()
}

fn ring(core: &Core, state: &mut State, name: &str, minutes: i64) -> Vec<Effect> {
    let at = Moment {
        wall_ms: AT.wall_ms + minutes * 60_000,
        ..AT
    };
    let input = Input::Timer {
        name: name.to_owned(),
        payload: Value::Null,
    };
    core.decide(state, at, input)
}

fn change(severity: Severity, change: IncidentChange) -> Event {
    Event::Updated(Box::new(raised(&connections(), severity, change)))
}

#[test]
fn each_channel_gets_what_is_routed_to_it_once_and_keeps_its_board() {
    let (core, mut state) = (with_book(), State::default());
    let expected = [
        vec![
            "hook tell Trigger",
            "ops tell Trigger",
            "pager tell Trigger",
        ],
        // The cause is not routed to ops, which shows it on its board.
        vec!["hook tell Update", "ops edit Update"],
        vec!["hook tell Update", "ops tell Update"],
        // The pager is owed the end of what it rang for.
        vec![
            "hook tell Resolve",
            "ops tell Resolve",
            "pager tell Resolve",
        ],
        vec!["hook tell Update", "ops tell Update"],
    ];
    for (event, expected) in connections().events().into_iter().zip(expected) {
        assert_eq!(told(&hear(&core, &mut state, event.clone())), expected);
        assert_eq!(told(&hear(&core, &mut state, event)), Vec::<String>::new());
    }
    let end = state.board.end.expect("the board says how it ended");
    assert!(end.contains("min"), "{end}");
    assert_eq!(state.board.buttons, Vec::new());
}

#[test]
fn nobody_takes_it_and_the_next_one_hears() {
    let (core, mut state) = (with_book(), State::default());
    let [opened, ..] = connections().events();
    let effects = hear(&core, &mut state, opened);
    let set = [("escalate:0:0", 5), ("escalate:0:1", 15), ("progress", 30)];
    let set = set.map(|(name, minutes)| (name.to_owned(), minutes));
    assert_eq!(timers(&effects), set);

    let effects = ring(&core, &mut state, "escalate:0:0", 5);
    assert_eq!(told(&effects), ["pager tell Trigger"]);
    let mails = fixtures::mails(&effects);
    let mail = mails.iter().find(|note| note.channel == "mail");
    assert_eq!(mail.expect("a mail as well").to, ["lead@example.com"]);
    assert!(
        effects.iter().any(|effect| matches!(effect,
            Effect::Audit(line) if line.event_type == "ESCALATED")),
        "{effects:?}"
    );
    // Rung twice, it tells once.
    assert_eq!(
        told(&ring(&core, &mut state, "escalate:0:0", 5)),
        Vec::<String>::new()
    );
}

#[test]
fn whoever_acknowledges_anywhere_stops_it_everywhere() {
    let (core, mut state) = (with_book(), State::default());
    let [opened, ..] = connections().events();
    hear(&core, &mut state, opened);
    let effects = hear(
        &core,
        &mut state,
        change(Severity::Critical, IncidentChange::Acknowledged),
    );
    assert_eq!(
        told(&effects),
        [
            "hook tell Acknowledge",
            "ops tell Acknowledge",
            "pager tell Acknowledge"
        ]
    );
    let stopped: Vec<&str> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::CancelTimer { name } => Some(name.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(stopped, ["escalate:0:0", "escalate:0:1"]);
    // A timer that had run out at that very moment finds it taken.
    assert_eq!(ring(&core, &mut state, "escalate:0:1", 15), Vec::new());
}

#[test]
fn silence_about_a_critical_incident_is_broken_and_an_end_ends_it() {
    let (core, mut state) = (with_book(), State::default());
    let [opened, rca, plan, resolved, _] = connections().events();
    for event in [opened, rca, plan] {
        hear(&core, &mut state, event);
    }
    let effects = ring(&core, &mut state, "progress", 31);
    let mails = fixtures::mails(&effects);
    let mail = mails
        .iter()
        .find(|note| note.channel == "mail")
        .expect("a note");
    assert_eq!(mail.stage, "progress.1");
    assert!(
        mail.subject.contains("no news for 31 min"),
        "{}",
        mail.subject
    );
    assert!(mail.body_text.contains("Cause:"), "{}", mail.body_text);
    assert!(
        timers(&effects).contains(&("progress".to_owned(), 61)),
        "{effects:?}"
    );
    hear(&core, &mut state, resolved);
    assert_eq!(ring(&core, &mut state, "progress", 61), Vec::new());
}

#[test]
fn a_message_that_failed_for_good_is_recorded_with_its_channel() {
    let (core, mut state) = (with_book(), State::default());
    let [opened, ..] = connections().events();
    let post = posts(&hear(&core, &mut state, opened)).remove(0);
    let job = Job {
        id: uuid::Uuid::from_u128(7),
        scope: post.notification.incident_id.to_string(),
        kind: "post".to_owned(),
        payload: serde_json::to_value(&post).expect("encodes"),
        attempt: 1,
        max_attempts: 3,
    };
    let result = Err("Slack refused: channel_not_found".to_owned());
    let effects = core.decide(&mut state, AT, Input::JobDone { job, result });
    let [
        Effect::NotificationDone(Delivered { sent, error, .. }),
        Effect::Audit(line),
    ] = effects.as_slice()
    else {
        panic!("a row and a line, not {effects:?}");
    };
    assert!(!sent && error.as_deref() == Some("Slack refused: channel_not_found"));
    assert_eq!(line.event_type, "NOTIFICATION_FAILED");
    assert!(
        line.summary.starts_with("ops message to C01"),
        "{}",
        line.summary
    );
    assert_eq!(post.signal, Signal::Trigger);
}

#[test]
fn a_link_in_a_mail_is_for_its_one_recipient() {
    let key = signed_link::LinkKey::of(&[7; 32]).expect("long enough");
    let core = Core {
        link_key: Some(key),
        ..core()
    };
    let mut state = State::default();
    let mut fault = connections();
    fault.plan.plan_hash = "ab".repeat(32);
    fault.plan.action_steps[1].typed = Some(Box::new(fixtures::typed()));
    let step = fault.plan.action_steps[1].step_id.clone();
    let [opened, rca, plan, ..] = fault.events();
    hear(&core, &mut state, opened);
    hear(&core, &mut state, rca);
    let effects = hear(&core, &mut state, plan);
    // The rows, which everybody can read, have no link, nor has a job.
    let all = format!("{effects:?}{state:?}");
    assert!(!all.contains("?t="), "{all}");
    for row in fixtures::mails(&effects) {
        assert!(!format!("{}{}", row.body_text, row.body_html).contains("?link="));
    }
    let mails: Vec<Notification> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::StartJob(job) => {
                let mail: Mail = serde_json::from_value(job.payload.clone()).expect("a mail");
                Some(core.signed(mail).notification)
            }
            _ => None,
        })
        .collect();
    let key = signed_link::LinkKey::of(&[7; 32]).expect("long enough");
    let mut approvers = Vec::new();
    for mail in &mails {
        let token = mail.body_text.split_once("/approve?t=");
        let Some((_, token)) = token else {
            assert!(!mail.body_html.contains("/approve?t="));
            continue;
        };
        assert_eq!(mail.to.len() + mail.cc.len(), 1, "{:?}", mail.to);
        let token = token.split_whitespace().next().expect("a token");
        let link = signed_link::open(&key, token, AT.wall_ms).expect("it is ours");
        assert_eq!((&link.recipient, &link.step_id), (&mail.to[0], &step));
        assert_eq!(link.plan_hash, fault.plan.plan_hash);
        assert!(link.expires_ms > AT.wall_ms);
        approvers.push(link.recipient);
    }
    assert_eq!(approvers, ["oncall@example.com"]);
    assert_eq!(mails.len(), 2, "and one for the people in copy");
}

#[test]
fn an_end_that_comes_after_the_relapse_ends_only_what_was_before_it() {
    let (core, mut state) = (with_book(), State::default());
    let fault = connections();
    let [opened, rca, plan, ..] = fault.events();
    for event in [opened, rca, plan] {
        hear(&core, &mut state, event);
    }
    let mut relapse = raised(&fault, Severity::Critical, IncidentChange::Reopened);
    relapse.updated_at_ms = fault.resolved.resolved_at_ms + 1;
    hear(&core, &mut state, Event::Updated(Box::new(relapse)));
    let late = Event::Resolved(Box::new(fault.resolved.clone()));
    let effects = hear(&core, &mut state, late);
    let stages: Vec<&str> = fixtures::mails(&effects)
        .iter()
        .map(|mail| mail.stage.as_str())
        .collect();
    assert_eq!(stages, ["resolved"]);
    assert!(!state.over && state.clocks.contains("escalate:1:0"));
    let mut second = fault.resolved.clone();
    second.resolved_at_ms += 600_000;
    let effects = hear(&core, &mut state, Event::Resolved(Box::new(second)));
    assert!(told(&effects).contains(&"pager tell Resolve".to_owned()));
    assert!(state.over);
}

#[test]
fn another_plan_is_shown_on_channels_and_mailed_again_only_for_its_link() {
    for (link_key, mails) in [(None, 0), (signed_link::LinkKey::of(&[7; 32]), 2)] {
        let core = Core {
            link_key,
            ..with_book()
        };
        let mut state = State::default();
        let mut fault = connections();
        fault.plan.plan_hash = "ab".repeat(32);
        fault.plan.action_steps[0].typed = Some(Box::new(fixtures::typed()));
        let [opened, rca, plan, ..] = fault.events();
        for event in [opened, rca, plan] {
            hear(&core, &mut state, event);
        }
        let mut other = fault.plan.clone();
        other.plan_hash = "cd".repeat(32);
        other.rca_revision += 1;
        let effects = hear(&core, &mut state, Event::Plan(Box::new(other)));
        assert_eq!(told(&effects), ["hook tell Update", "ops tell Update"]);
        let again = fixtures::mails(&effects)
            .iter()
            .filter(|note| note.channel == "mail")
            .count();
        assert_eq!(again, mails);
    }
}

#[test]
fn a_plan_for_another_cause_or_with_other_steps_is_mailed_as_such() {
    type Change = fn(&mut midwatch_events::RemediationPlan);
    let changes: [Change; 3] = [
        |plan| plan.root_cause = "orders-service leaks memory.".to_owned(),
        |plan| plan.action_steps[1].command = "kubectl rollout undo".to_owned(),
        |plan| plan.action_steps.swap(0, 2),
    ];
    let before = "This replaces the plan before";
    for change in changes {
        for link_key in [None, signed_link::LinkKey::of(&[7; 32])] {
            let core = Core {
                link_key,
                ..with_book()
            };
            let mut state = State::default();
            let mut fault = connections();
            fault.plan.plan_hash = "ab".repeat(32);
            fault.plan.action_steps[0].typed = Some(Box::new(fixtures::typed()));
            let [opened, rca, plan, ..] = fault.events();
            for event in [opened, rca] {
                hear(&core, &mut state, event);
            }
            let effects = hear(&core, &mut state, plan);
            for note in fixtures::mails(&effects) {
                assert!(!note.subject.contains("replaces"), "{}", note.subject);
                assert!(!note.body_text.contains(before), "{}", note.body_text);
            }
            let mut other = fault.plan.clone();
            other.plan_hash = "cd".repeat(32);
            other.rca_revision += 1;
            change(&mut other);
            let effects = hear(&core, &mut state, Event::Plan(Box::new(other.clone())));
            let notes = fixtures::mails(&effects);
            let mailed = notes.iter().filter(|note| note.channel == "mail");
            let people: std::collections::BTreeSet<&String> = mailed
                .clone()
                .flat_map(|note| note.to.iter().chain(&note.cc))
                .collect();
            assert_eq!(people.len(), 2, "{people:?}");
            for note in mailed {
                let fixed = "ETA 15–30 min (replaces the plan before)";
                assert!(note.subject.ends_with(fixed), "{}", note.subject);
                assert!(note.body_text.contains(before), "{}", note.body_text);
                assert!(note.body_html.contains(before), "{}", note.body_html);
            }
            assert!(
                posts(&effects)
                    .iter()
                    .all(|post| post.detail.contains(before))
            );
            // Once.
            assert_eq!(hear(&core, &mut state, Event::Plan(Box::new(other))), []);
        }
    }
}

#[test]
fn a_lead_that_became_the_cause_with_the_same_steps_is_not_mailed_again() {
    let (core, mut state) = (with_book(), State::default());
    let mut fault = connections();
    let cause = fault.plan.root_cause.clone();
    fault.plan.root_cause = format!("not established; strongest lead: {cause}");
    fault.plan.plan_hash = "ab".repeat(32);
    let [opened, rca, plan, ..] = fault.events();
    for event in [opened, rca, plan] {
        hear(&core, &mut state, event);
    }
    let mut other = fault.plan.clone();
    (other.root_cause, other.plan_hash) = (cause, "cd".repeat(32));
    other.rca_revision += 1;
    let effects = hear(&core, &mut state, Event::Plan(Box::new(other)));
    let notes = fixtures::mails(&effects);
    assert!(notes.iter().all(|note| note.channel != "mail"), "{notes:?}");
    // The channels' boards say that it is another one.
    let posts = posts(&effects);
    assert!(
        posts
            .iter()
            .all(|post| post.headline.contains("replaces the plan before"))
    );
}

/// Pixels of a PNG that are of the colour of what is out of range.
fn red(png: &[u8]) -> usize {
    let map = tiny_skia::Pixmap::decode_png(png).expect("a PNG");
    let is_red = |pixel: &&tiny_skia::PremultipliedColorU8| {
        pixel.red() > 200 && pixel.green() < 80 && pixel.alpha() == 255
    };
    map.pixels().iter().filter(is_red).count()
}

#[test]
fn the_picture_shows_the_reading_that_raised_the_alarm() {
    let mut opened = connections().opened;
    let service = opened.header.primary_service().to_owned();
    opened.recent_metrics = (0..20)
        .map(|index| MetricReading {
            service: service.clone(),
            metric_name: opened.trigger_metric.clone(),
            at_ms: opened.header.detected_at_ms - 10_000 * (20 - index),
            value: opened.baseline_value,
        })
        .collect();
    let shown = red(&picture::of(&opened).expect("twenty readings and the alarm"));
    opened.observed_value = opened.baseline_value;
    let calm = red(&picture::of(&opened).expect("the same without an alarm"));
    assert!(shown > calm, "{shown} red pixels with it, {calm} without");
    // Another series was detected before; the alarm's reading stays where it was.
    let whole = picture::of(&opened);
    opened.header.detected_at_ms -= 120_000;
    assert_eq!(picture::of(&opened), whole);
    opened.recent_metrics.truncate(2);
    assert_eq!(picture::of(&opened), None, "three readings show no course");
}
