//! A snooze stops escalation for a while, never for good. Whole stories through
//! the deciding core; state and timers survive only as JSON.

mod fixtures;

use fixtures::{AT, connections, core, raised};
use midwatch_communication::channels::{Book, Post};
use midwatch_communication::decide::{Core, State};
use midwatch_events::incident::IncidentChange;
use midwatch_events::{Event, IncidentUpdated, Severity};
use midwatch_runtime::agent::{Input, Moment};
use midwatch_runtime::effect::Effect;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const MINUTE: i64 = 60_000;

const BOOK: &str = r#"{
  "channels": [
    {"name": "ops", "kind": "slack", "channel": "C01", "token_file": "/none"},
    {"name": "pager", "kind": "pagerduty", "routing_key_file": "/none"},
    {"name": "lead", "kind": "pagerduty", "routing_key_file": "/none"}
  ],
  "routes": [{"channels": ["ops"]}, {"channels": ["pager"], "stages": ["opened"]}],
  "escalation": [
    {"after_minutes": 5, "channels": ["lead"]},
    {"after_minutes": 15, "mail": ["head@example.com"]}
  ],
  "progress_minutes": 30
}"#;

struct World {
    core: Core,
    state: Value,
    timers: BTreeMap<String, i64>,
    wall_ms: i64,
    revision: u32,
    /// What was said since the last look: minutes since the alert, and what.
    said: Vec<String>,
    posts: Vec<Post>,
}

impl World {
    fn new() -> World {
        let core = Core {
            book: Book::parse(BOOK).expect("the book is well formed"),
            ..core()
        };
        let mut world = World {
            core,
            state: json!(State::default()),
            timers: BTreeMap::new(),
            wall_ms: AT.wall_ms,
            revision: 0,
            said: Vec::new(),
            posts: Vec::new(),
        };
        let [opened, ..] = connections().events();
        world.hear(opened);
        assert_eq!(world.look(), ["0 ops opened", "0 pager opened"]);
        world
    }

    fn input(&mut self, input: Input) {
        let mut state: State = serde_json::from_value(self.state.take()).expect("a state");
        let at = Moment {
            wall_ms: self.wall_ms,
            ..AT
        };
        let effects = self.core.decide(&mut state, at, input);
        self.state = json!(state);
        let minute = (self.wall_ms - AT.wall_ms) / MINUTE;
        for effect in effects {
            match effect {
                Effect::Notify(note) if note.channel == "mail" && note.stage == "opened" => {}
                Effect::Notify(note) => {
                    let stage = &note.stage;
                    self.said.push(format!("{minute} {} {stage}", note.channel));
                }
                Effect::StartJob(job) if job.kind == "post" => {
                    let post = serde_json::from_value(job.payload).expect("a post");
                    self.posts.push(post);
                }
                Effect::SetTimer { name, due_ms, .. } => {
                    self.timers.insert(name, due_ms);
                }
                Effect::CancelTimer { name } => {
                    self.timers.remove(&name);
                }
                _ => {}
            }
        }
    }

    fn pass(&mut self, minutes: i64) {
        let end = self.wall_ms + minutes * MINUTE;
        loop {
            let due = self.timers.iter().min_by_key(|(_, due_ms)| **due_ms);
            let Some((name, due_ms)) = due.map(|(name, due_ms)| (name.clone(), *due_ms)) else {
                break;
            };
            if due_ms > end {
                break;
            }
            self.wall_ms = self.wall_ms.max(due_ms);
            self.timers.remove(&name);
            let payload = Value::Null;
            self.input(Input::Timer { name, payload });
        }
        self.wall_ms = end;
    }

    fn hear(&mut self, event: Event) {
        let input = Input::Event {
            envelope: fixtures::envelope(event),
            context: Value::Null,
        };
        self.input(input);
    }

    fn update(&mut self, change: IncidentChange, snoozed_until_ms: Option<i64>) {
        self.revision += 1;
        let update = IncidentUpdated {
            snoozed_until_ms,
            revision: self.revision,
            reason: format!("dana: {change:?}"),
            ..raised(&connections(), Severity::Critical, change)
        };
        self.hear(Event::Updated(Box::new(update)));
    }

    fn snooze(&mut self, minutes: i64) -> i64 {
        let until_ms = self.wall_ms + minutes * MINUTE;
        self.update(IncidentChange::Snoozed, Some(until_ms));
        until_ms
    }

    fn look(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }

    fn state(&self) -> State {
        serde_json::from_value(self.state.clone()).expect("a state")
    }
}

#[test]
fn after_a_snooze_escalation_goes_on_where_it_was() {
    let mut world = World::new();
    world.pass(3);
    world.snooze(30);
    assert_eq!(world.look(), ["3 ops update.1", "3 pager update.1"]);
    world.pass(29);
    assert_eq!(
        world.look(),
        Vec::<String>::new(),
        "nobody is told anything"
    );
    world.pass(1);
    assert_eq!(world.look(), ["33 ops awake.1", "33 pager awake.1"]);
    let words = "The snooze is over; nobody has acknowledged it. The next step of escalation \
        is due in 2 min.";
    let ops = world.posts.iter().rfind(|post| post.channel == "ops");
    let ops = ops.expect("it was just told");
    assert_eq!(ops.detail, words);
    assert!(
        ops.board
            .buttons
            .iter()
            .any(|one| one.action == "acknowledge")
    );
    // The first step was due two minutes after the snooze, the second twelve.
    world.pass(1);
    assert_eq!(world.look(), Vec::<String>::new());
    world.pass(11);
    let later = ["35 lead escalation.1", "45 mail escalation.2"];
    assert_eq!(world.look(), later);
}

#[test]
fn a_pager_opens_another_alert_after_a_snooze_and_closes_that_one() {
    let mut world = World::new();
    world.snooze(10);
    world.pass(10);
    world.update(IncidentChange::Acknowledged, None);
    let mut resolved = connections().resolved;
    resolved.resolution_method = "CLOSED_BY_OPERATOR".to_owned();
    world.hear(Event::Resolved(Box::new(resolved)));
    let pager = world.posts.iter().filter(|post| post.channel == "pager");
    let told: Vec<String> = pager
        .map(|post| format!("{:?} {}", post.signal, post.alert))
        .collect();
    assert_eq!(
        told,
        [
            "Trigger 0",
            "Acknowledge 0",
            "Trigger 1",
            "Acknowledge 1",
            "Resolve 1"
        ]
    );
}

#[test]
fn whoever_takes_it_during_the_snooze_is_not_called_again() {
    let mut world = World::new();
    world.pass(3);
    let until_ms = world.snooze(30);
    world.pass(10);
    world.update(IncidentChange::Acknowledged, Some(until_ms));
    world.look();
    world.pass(60);
    // The board is brought up to date, and nobody is escalated to; news of a
    // CRITICAL incident are missed as ever, once the snooze is over.
    let said = world.look();
    assert!(said.contains(&"33 ops awake.1".to_owned()), "{said:?}");
    let loud = |line: &&String| line.contains("escalation") || line.contains("pager awake");
    assert_eq!(said.iter().find(loud), None);
    let note = world.state().board.note;
    assert_eq!(note.as_deref(), Some("dana: Acknowledged"));
}

#[test]
fn what_ends_the_snooze_early_lets_escalation_go_on_at_once() {
    let mut world = World::new();
    world.pass(3);
    world.snooze(60);
    world.pass(10);
    world.look();
    world.update(IncidentChange::Severity, None);
    let said = world.look();
    assert!(said.contains(&"13 ops awake.1".to_owned()), "{said:?}");
    world.pass(4);
    assert_eq!(world.look(), ["15 lead escalation.1"]);
    // The end of the snooze, which is none any more, wakes nobody.
    world.pass(8);
    assert_eq!(world.look(), ["25 mail escalation.2"]);
    assert_eq!(world.state().wakes, 1);
}

#[test]
fn a_second_snooze_moves_the_end_and_keeps_what_was_left() {
    let mut world = World::new();
    world.pass(3);
    world.snooze(10);
    world.pass(9);
    world.snooze(20);
    world.look();
    world.pass(19);
    assert_eq!(world.look(), Vec::<String>::new());
    world.pass(3);
    assert_eq!(
        world.look(),
        ["32 ops awake.1", "32 pager awake.1", "34 lead escalation.1"]
    );
    // And once more, later.
    world.snooze(5);
    world.look();
    world.pass(16);
    let said = world.look();
    // The step that was told is told anew, the next one in its time.
    let told = ["39 ops awake.2", "39 pager awake.2", "39 lead awake.2"];
    assert_eq!(said[..3], told);
    assert_eq!(said[3..], ["49 mail escalation.2"]);
}

#[test]
fn the_end_and_a_relapse_forget_the_snooze() {
    for change in [None, Some(IncidentChange::Reopened)] {
        let mut world = World::new();
        world.snooze(30);
        let mut resolved = connections().resolved;
        resolved.resolution_method = "CLOSED_BY_OPERATOR".to_owned();
        world.hear(Event::Resolved(Box::new(resolved)));
        if let Some(change) = change {
            world.update(change, None);
        }
        world.look();
        world.pass(120);
        let said = world.look();
        assert!(!said.iter().any(|line| line.contains("awake")), "{said:?}");
        let again = said.iter().any(|line| line.contains("lead escalation.1.2"));
        assert_eq!(again, change.is_some(), "{said:?}");
    }
}

#[test]
fn a_clock_that_ran_out_at_the_moment_of_the_snooze_is_not_lost() {
    let mut world = World::new();
    // The timer is on its way while the snooze is heard.
    world.snooze(30);
    let payload = Value::Null;
    for name in ["escalate:0:0", "progress"] {
        let name = name.to_owned();
        let payload = payload.clone();
        world.input(Input::Timer { name, payload });
    }
    world.look();
    world.pass(30);
    assert_eq!(world.look(), ["30 ops awake.1", "30 pager awake.1"]);
    world.pass(15);
    assert_eq!(
        world.look(),
        ["35 lead escalation.1", "45 mail escalation.2"]
    );
    world.pass(16);
    assert!(world.look().contains(&"60 mail progress.1".to_owned()));
}

#[test]
fn a_snooze_whose_end_an_older_build_did_not_tell_counts_as_taken() {
    let mut world = World::new();
    world.update(IncidentChange::Snoozed, None);
    world.look();
    world.pass(25);
    assert_eq!(world.look(), Vec::<String>::new());
}

#[test]
fn whoever_is_concerned_by_what_joins_hears_of_it_after_the_snooze() {
    let mut world = World::new();
    let mut book: Value = serde_json::from_str(BOOK).expect("JSON");
    let late = json!({"name": "late", "kind": "pagerduty", "routing_key_file": "/none"});
    book["channels"].as_array_mut().expect("a list").push(late);
    let route = json!({"services": ["late-service"], "channels": ["late"], "stages": ["opened"]});
    book["routes"].as_array_mut().expect("a list").push(route);
    world.core.book = Book::parse(&book.to_string()).expect("the book is well formed");
    let until_ms = world.snooze(30);
    world.look();
    world.revision += 1;
    let mut grown = IncidentUpdated {
        snoozed_until_ms: Some(until_ms),
        revision: world.revision,
        ..raised(&connections(), Severity::Critical, IncidentChange::Grown)
    };
    grown
        .header
        .affected_services
        .push("late-service".to_owned());
    world.hear(Event::Updated(Box::new(grown)));
    world.pass(29);
    assert_eq!(
        world.look(),
        Vec::<String>::new(),
        "nobody is told anything"
    );
    world.pass(1);
    let said = world.look();
    assert!(said.contains(&"30 late opened".to_owned()), "{said:?}");
    let ops = world.posts.iter().rfind(|post| post.channel == "ops");
    let detail = &ops.expect("it was just told").detail;
    assert!(detail.ends_with(" Meanwhile: a test."), "{detail}");
}
