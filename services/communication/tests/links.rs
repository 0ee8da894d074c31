//! Links under which whoever hears of an incident takes it: for whom they are,
//! where they stand, and where they do not.

mod fixtures;

use fixtures::{AT, connections, core, hear, raised};
use midwatch_clients::signed_link::{self, LinkKey, TakeLink};
use midwatch_communication::channels::{Book, Post};
use midwatch_communication::decide::{Core, Mail, State};
use midwatch_events::incident::IncidentChange;
use midwatch_events::{Event, Severity};
use midwatch_runtime::agent::{Input, Moment};
use midwatch_runtime::effect::{Effect, Notification};
use serde_json::Value;
use std::collections::BTreeSet;

const BOOK: &str = r#"{
  "channels": [
    {"name": "ops", "kind": "slack", "channel": "C01", "token_file": "/none"},
    {"name": "phone", "kind": "telegram", "chat": "-1", "token_file": "/none"},
    {"name": "room", "kind": "webhook", "url_file": "/none", "format": "discord"}
  ],
  "routes": [{"channels": ["ops", "phone", "room"]}],
  "escalation": [{"after_minutes": 5, "mail": ["lead@example.com", "head@example.com"]}],
  "progress_minutes": 30
}"#;

fn key() -> LinkKey {
    LinkKey::of(&[7; 32]).expect("long enough")
}

fn with_links() -> Core {
    Core {
        book: Book::parse(BOOK).expect("the book is well formed"),
        link_key: Some(key()),
        ..core()
    }
}

/// The links in a text.
fn links(text: &str) -> Vec<TakeLink> {
    let text = text.replace("&#x2f;", "/");
    let parts = text.split("/acknowledge?t=").skip(1);
    parts
        .map(|rest| {
            let harmless = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
            let token: String = rest.chars().take_while(|one| harmless(*one)).collect();
            signed_link::open_take(&key(), &token, AT.wall_ms).expect("it is ours")
        })
        .collect()
}

/// What is delivered by mail, and what every reader of the database sees of it.
/// Nothing that goes through the database holds a link.
fn mailed(effects: &[Effect]) -> (Vec<Notification>, Vec<Notification>) {
    let (mut mails, mut rows) = (Vec::new(), Vec::new());
    let all = format!("{effects:?}");
    assert!(!all.contains("?t="), "{all}");
    for effect in effects {
        match effect {
            Effect::StartJob(job) if job.kind == "deliver" => {
                let mail: Mail = serde_json::from_value(job.payload.clone()).expect("a mail");
                mails.push(with_links().signed(mail).notification);
            }
            Effect::Notify(row) => rows.push(row.clone()),
            _ => {}
        }
    }
    (mails, rows)
}

fn posts(effects: &[Effect]) -> Vec<Post> {
    let jobs = effects.iter().filter_map(|effect| match effect {
        Effect::StartJob(job) if job.kind == "post" => Some(job.payload.clone()),
        _ => None,
    });
    jobs.map(|payload| {
        assert!(!payload.to_string().contains("?t="), "{payload}");
        with_links().signed_post(serde_json::from_value(payload).expect("a post"))
    })
    .collect()
}

fn ring(core: &Core, state: &mut State, name: &str, minutes: i64) -> Vec<Effect> {
    let at = Moment {
        wall_ms: AT.wall_ms + minutes * 60_000,
        ..AT
    };
    let (name, payload) = (name.to_owned(), Value::Null);
    core.decide(state, at, Input::Timer { name, payload })
}

/// Each addressee has a mail with a link of their own, in both of its texts, and
/// no row has any. Returns who has one.
fn own_links(effects: &[Effect], nonces: &mut BTreeSet<String>) -> Vec<String> {
    let incident = connections().opened.header.incident_id;
    let (mails, rows) = mailed(effects);
    for row in rows {
        let all = format!("{}{}", row.body_html, row.body_text);
        assert!(!all.contains("acknowledge?t="), "{}", row.stage);
    }
    let mut owners = Vec::new();
    for mail in mails {
        let (text, html) = (links(&mail.body_text), links(&mail.body_html));
        assert_eq!(text, html, "{}", mail.stage);
        let Some(link) = text.first() else {
            continue;
        };
        assert_eq!(text.len(), 1);
        assert_eq!(
            (&mail.to, &mail.cc),
            (&vec![link.recipient.clone()], &vec![])
        );
        assert_eq!(link.incident_id, incident);
        assert!(link.expires_ms > AT.wall_ms + 3_600_000);
        assert!(nonces.insert(link.nonce.clone()), "each is used once");
        owners.push(link.recipient.clone());
    }
    owners
}

#[test]
fn whoever_is_told_of_an_open_incident_can_take_it_from_the_mail() {
    let (core, mut state) = (with_links(), State::default());
    let mut nonces = BTreeSet::new();
    let [opened, rca, ..] = connections().events();
    let effects = hear(&core, &mut state, opened.clone());
    assert_eq!(own_links(&effects, &mut nonces), ["oncall@example.com"]);
    let (mails, _) = mailed(&effects);
    assert_eq!(mails.len(), 2, "and one for the people in copy");
    assert!(
        mails[0]
            .body_text
            .contains("Also told: management@example.com\n")
    );
    // The same decision gives the same mails.
    let mut twin = State::default();
    assert_eq!(hear(&core, &mut twin, opened), effects);

    let effects = ring(&core, &mut state, "escalate:0:0", 5);
    let people = ["lead@example.com", "head@example.com"];
    assert_eq!(own_links(&effects, &mut nonces), people);
    let (mails, _) = mailed(&effects);
    let id = &connections().opened.header.short_id;
    assert_eq!(
        mails[0].subject,
        format!(
            "⏫ [CRITICAL] {id} — unacknowledged for 5 min — DB connection exhaustion on \
             payment-service"
        )
    );
    assert!(
        mails[0]
            .body_text
            .contains("\nNobody acknowledged it within 5 min.\n")
    );

    let effects = ring(&core, &mut state, "progress", 30);
    assert_eq!(own_links(&effects, &mut nonces), ["oncall@example.com"]);
    // The cause tells why, and is one mail for all.
    let effects = hear(&core, &mut state, rca);
    assert_eq!(own_links(&effects, &mut nonces), Vec::<String>::new());
    assert_eq!(nonces.len(), 4);
}

#[test]
fn nobody_is_asked_to_take_what_is_taken_or_over() {
    let (core, mut state) = (with_links(), State::default());
    let fault = connections();
    let [opened, ..] = fault.events();
    hear(&core, &mut state, opened);
    let taken = raised(&fault, Severity::Critical, IncidentChange::Acknowledged);
    let effects = hear(&core, &mut state, Event::Updated(Box::new(taken)));
    assert!(posts(&effects).iter().all(|post| post.take.is_none()));
    let effects = ring(&core, &mut state, "progress", 31);
    let (mails, _) = mailed(&effects);
    assert_eq!(mails.len(), 1, "one for all again");
    assert_eq!(links(&mails[0].body_text), []);
    assert!(!mails[0].body_text.contains("Nobody has acknowledged"));
}

#[test]
fn channels_without_buttons_of_their_own_have_a_link() {
    let (core, mut state) = (with_links(), State::default());
    let [opened, ..] = connections().events();
    let effects = hear(&core, &mut state, opened);
    let mut found = Vec::new();
    for post in posts(&effects) {
        // What anybody can read of it has none.
        assert!(!post.notification.body_text.contains("acknowledge?t="));
        assert!(!post.detail.contains("acknowledge?t="));
        let link = post.take.as_deref().map(links);
        found.push((post.channel, link.map(|all| all[0].recipient.clone())));
    }
    let own = |name: &str| (name.to_owned(), Some(name.to_owned()));
    assert_eq!(found, [("ops".to_owned(), None), own("phone"), own("room")]);
    let quiet = Core {
        link_key: None,
        ..with_links()
    };
    let [opened, ..] = connections().events();
    let effects = hear(&quiet, &mut State::default(), opened);
    assert!(posts(&effects).iter().all(|post| post.take.is_none()));
    assert_eq!(
        mailed(&effects).0.len(),
        1,
        "one mail where there is no key"
    );
}

#[test]
fn without_a_key_any_more_a_link_leads_to_the_incidents_page() {
    let (core, mut state) = (with_links(), State::default());
    let [opened, ..] = connections().events();
    let effects = hear(&core, &mut state, opened);
    let job = effects.iter().find_map(|effect| match effect {
        Effect::StartJob(job) if job.kind == "deliver" => Some(job.payload.clone()),
        _ => None,
    });
    let mail: Mail = serde_json::from_value(job.expect("a mail")).expect("a mail");
    let keyless = Core {
        link_key: None,
        ..with_links()
    };
    let text = keyless.signed(mail.clone()).notification.body_text;
    let page = format!(
        "http://127.0.0.1:8000/incidents/{}?link=",
        connections().opened.header.incident_id
    );
    assert!(text.contains(&page), "{text}");
    // Signed twice, as after a crash, it is the same mail.
    let signed = core.signed(mail.clone());
    assert_eq!(core.signed(mail), signed);
    assert_eq!(core.signed(signed.clone()), signed);
    assert!(!signed.notification.body_text.contains("?link="));
    assert!(!signed.notification.body_html.contains("?link="));
}

#[test]
fn the_mails_with_a_link_as_they_go_out() {
    let (core, mut state) = (with_links(), State::default());
    let [opened, ..] = connections().events();
    let mut effects = hear(&core, &mut state, opened);
    effects.extend(ring(&core, &mut state, "escalate:0:0", 5));
    effects.extend(ring(&core, &mut state, "progress", 30));
    for stage in ["opened", "escalation.1", "progress.1"] {
        let (mails, _) = mailed(&effects);
        let mail = mails.into_iter().find(|mail| mail.stage == stage);
        let mail = mail.expect("it went out");
        let text = format!("Subject: {}\n\n{}", mail.subject, mail.body_text);
        assert!(!mail.body_html.contains("macro"), "a name hides a value");
        insta::assert_snapshot!(format!("{stage}.txt"), text);
        insta::assert_snapshot!(format!("{stage}.html"), mail.body_html);
    }
}
