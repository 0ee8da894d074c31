//! What finally failed is sent again where an operator asks for it: to whom,
//! under which name, and when not. Deliveries over real SMTP are shown in
//! `infrastructure/local/tests/channels`.

mod fixtures;

use fixtures::{AT, Fault, connections, core, hear};
use midwatch_clients::postgres::Unreached;
use midwatch_clients::postgres::jobs::DeliveryRow;
use midwatch_communication::again::{Found, RECALL, RESEND};
use midwatch_communication::channels::{Book, Post, Signal};
use midwatch_communication::decide::{Core, Mail, State};
use midwatch_events::response::CommandDetails;
use midwatch_events::{Envelope, Event, Meta, OperatorCommand};
use midwatch_runtime::agent::{Input, Job};
use midwatch_runtime::effect::{Effect, JobRequest};
use serde_json::{Value, json};
use uuid::Uuid;

const BOOK: &str = r#"{
  "channels": [
    {"name": "hook", "kind": "webhook", "url_file": "/none"},
    {"name": "pager", "kind": "pagerduty", "routing_key_file": "/none"}
  ],
  "routes": [{"channels": ["hook", "pager"], "stages": ["opened", "resolved"]}]
}"#;

struct World {
    core: Core,
    state: State,
    fault: Fault,
    asked: u128,
}

fn jobs(effects: &[Effect]) -> Vec<JobRequest> {
    let job = |effect: &Effect| match effect {
        Effect::StartJob(job) => Some(job.clone()),
        _ => None,
    };
    effects.iter().filter_map(job).collect()
}

fn lines(effects: &[Effect]) -> Vec<(String, String)> {
    let line = |effect: &Effect| match effect {
        Effect::Audit(line) => Some((line.event_type.clone(), line.summary.clone())),
        _ => None,
    };
    effects.iter().filter_map(line).collect()
}

impl World {
    /// An incident that was told, and what was to bring it to people.
    fn new() -> (World, Vec<JobRequest>) {
        let core = Core {
            book: Book::parse(BOOK).expect("the book is well formed"),
            ..core()
        };
        let mut world = World {
            core,
            state: State::default(),
            fault: connections(),
            asked: 0,
        };
        let opened = Event::Opened(Box::new(world.fault.opened.clone()));
        let effects = hear(&world.core, &mut world.state, opened);
        (world, jobs(&effects))
    }

    fn done(&mut self, job: &JobRequest, result: Result<Value, String>) -> Vec<Effect> {
        let job = Job {
            id: Uuid::nil(),
            scope: String::new(),
            kind: job.kind.clone(),
            payload: job.payload.clone(),
            attempt: 1,
            max_attempts: job.max_attempts,
        };
        // The state survives only as JSON.
        self.state = serde_json::from_value(json!(self.state)).expect("a state");
        let input = Input::JobDone { job, result };
        self.core.decide(&mut self.state, AT, input)
    }

    fn ask(&mut self, message_id: &str, expires_in_ms: i64) -> Vec<Effect> {
        self.asked += 1;
        let command = OperatorCommand {
            incident_id: self.fault.opened.header.incident_id,
            command: RESEND.to_owned(),
            target: message_id.to_owned(),
            by: "ana".to_owned(),
            credential_id: "sha256:1".to_owned(),
            reason: "the mailbox is empty again".to_owned(),
            issued_at_ms: AT.wall_ms,
            expires_at_ms: AT.wall_ms + expires_in_ms,
            environment: None,
            until_ms: None,
            details: CommandDetails::default(),
        };
        let envelope = Envelope {
            meta: Meta {
                event_id: Uuid::from_u128(self.asked),
                cause_id: None,
                schema_version: 1,
                event_time_ms: AT.wall_ms,
                producer: "midwatch.api".to_owned(),
            },
            event: Event::Command(command),
        };
        let input = Input::Event {
            envelope: Box::new(envelope),
            context: Value::Null,
        };
        self.core.decide(&mut self.state, AT, input)
    }

    /// What the tables say of a message for which these people wait.
    fn found(job: &JobRequest, people: &[&str], is_over: bool) -> Value {
        let unreached = people.iter().map(|one| Unreached {
            recipient: (*one).to_owned(),
            attempts: 3,
        });
        let row = DeliveryRow {
            kind: job.kind.clone(),
            payload: job.payload.clone(),
            is_over,
        };
        json!(Found::read(unreached.collect(), vec![row]))
    }
}

fn mail_of(jobs: &[JobRequest]) -> (JobRequest, Mail) {
    let job = jobs.iter().find(|job| job.kind == "deliver");
    let job = job.expect("a mail goes out").clone();
    let mail = serde_json::from_value(job.payload.clone()).expect("a mail");
    (job, mail)
}

fn post_of(jobs: &[JobRequest], channel: &str) -> (JobRequest, Post) {
    let posts = jobs.iter().filter(|job| job.kind == "post");
    posts
        .map(|job| {
            let post: Post = serde_json::from_value(job.payload.clone()).expect("a post");
            (job.clone(), post)
        })
        .find(|(_, post)| post.channel == channel)
        .expect("the channel is told")
}

#[test]
fn a_mail_goes_again_to_those_alone_who_lack_it_and_is_the_same_mail() {
    let (mut world, first) = World::new();
    let (job, mail) = mail_of(&first);
    let id = mail.notification.message_id.clone();
    let people = mail.addressed();
    let lack = [people[0].as_str(), people[1].as_str()];
    let asked = jobs(&world.ask(&id, 1_000));
    assert_eq!(asked[0].kind, RECALL);
    // A double click while it is looked up, and one while it goes out.
    let twice = lines(&world.ask(&id, 1_000));
    assert_eq!(twice[0].0, "COMMAND_REFUSED");
    let effects = world.done(&asked[0], Ok(World::found(&job, &lack, true)));
    let said = lines(&effects);
    assert_eq!(said[0].0, "NOTIFICATION_RESENT");
    for word in ["ana", lack[0], lack[1], "the mailbox is empty again"] {
        assert!(said[0].1.contains(word), "{said:?}");
    }
    let again = jobs(&effects);
    assert_eq!(again.len(), 2, "nobody else: {again:?}");
    for (job, person) in again.iter().zip(lack) {
        let sent: Mail = serde_json::from_value(job.payload.clone()).expect("a mail");
        assert_eq!(sent.addressed(), [person]);
        assert_eq!(sent.notification, mail.notification);
        assert_eq!(job.lane.as_deref(), Some(mail.lane(person).as_str()));
        assert_ne!(job.name, first[0].name, "a job of its own");
    }
    assert!(jobs(&world.ask(&id, 1_000)).is_empty());
    // One arrives, one fails again; then it can be asked for once more.
    let receipt = json!({"reply": "250 kept"});
    world.done(&again[0], Ok(receipt));
    assert!(jobs(&world.ask(&id, 1_000)).is_empty(), "one is under way");
    let failed = lines(&world.done(&again[1], Err("550 no".to_owned())));
    assert_eq!(failed[0].0, "NOTIFICATION_FAILED");
    assert_eq!(jobs(&world.ask(&id, 1_000))[0].kind, RECALL);
}

#[test]
fn what_cannot_be_sent_again_is_refused_with_its_reason() {
    let (mut world, first) = World::new();
    let (job, mail) = mail_of(&first);
    let id = mail.notification.message_id.clone();
    let person = mail.addressed()[0].clone();
    let late = lines(&world.ask(&id, -2_000));
    assert!(late[0].1.contains("2 s after it had expired"), "{late:?}");
    let gone = json!(Found::read(
        vec![Unreached {
            recipient: person.clone(),
            attempts: 3
        }],
        Vec::new()
    ));
    for (found, words) in [
        (
            Ok(World::found(&job, &[&person], false)),
            "still being tried",
        ),
        (Ok(World::found(&job, &[], true)), "did not fail"),
        (Ok(gone), "no longer kept"),
        (Err("the database is away".to_owned()), "database is away"),
    ] {
        // Each refusal leaves the way free for the next.
        let asked = jobs(&world.ask(&id, 1_000));
        let effects = world.done(&asked[0], found);
        let said = lines(&effects);
        assert_eq!((effects.len(), said[0].0.as_str()), (1, "COMMAND_REFUSED"));
        assert!(said[0].1.contains(words), "{said:?}");
    }
}

#[test]
fn a_post_shows_the_board_of_now_and_no_pager_rings_for_what_is_over() {
    let (mut world, first) = World::new();
    let (job, post) = post_of(&first, "hook");
    let (paged, mut page) = post_of(&first, "pager");
    let cause = Event::Rca(Box::new(world.fault.rca.clone()));
    hear(&world.core, &mut world.state, cause);
    assert!(post.board.cause.is_none());
    let asked = jobs(&world.ask(&post.notification.message_id, 1_000));
    let found = World::found(&job, &[&post.notification.to[0]], true);
    let again = jobs(&world.done(&asked[0], Ok(found)));
    let sent: Post = serde_json::from_value(again[0].payload.clone()).expect("a post");
    assert!(sent.board.cause.is_some(), "{:?}", sent.board);
    assert_eq!(sent.notification, post.notification);
    assert_eq!(again[0].lane, job.lane);
    world.done(&again[0], Ok(json!("200")));
    assert!(world.state.again.is_empty());
    for (signal, over, acknowledged, words) in [
        (Signal::Trigger, true, false, "for nothing"),
        (Signal::Resolve, false, false, "close its alert"),
        (Signal::Acknowledge, false, false, "silence its alert"),
        (Signal::Trigger, false, false, ""),
        (Signal::Acknowledge, false, true, ""),
        (Signal::Resolve, true, false, ""),
    ] {
        (world.state.over, world.state.acknowledged) = (over, acknowledged);
        world.state.again.clear();
        page.signal = signal;
        let told = JobRequest {
            payload: json!(page),
            ..paged.clone()
        };
        let asked = jobs(&world.ask(&page.notification.message_id, 1_000));
        let found = World::found(&told, &[&page.notification.to[0]], true);
        let effects = world.done(&asked[0], Ok(found));
        match lines(&effects).as_slice() {
            [(kind, said)] if kind == "COMMAND_REFUSED" => {
                assert!(
                    !words.is_empty() && said.contains(words),
                    "{signal:?}: {said}"
                );
            }
            _ => assert!(words.is_empty() && jobs(&effects).len() == 1, "{signal:?}"),
        }
    }
}
