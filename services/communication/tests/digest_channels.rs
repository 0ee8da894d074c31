//! Digests on channels: only where the routes ask for them.

mod fixtures;
#[path = "fixtures/world.rs"]
mod world;

use fixtures::{AT, core};
use midwatch_communication::channels::{Book, Post};
use midwatch_communication::decide::Core;
use midwatch_communication::mail::About;
use world::{HOUR, World, low, opened};

const BOOK: &str = r#"{
  "channels": [
    {"name": "ops", "kind": "slack", "channel": "C01", "token_file": "/none"},
    {"name": "pager", "kind": "pagerduty", "routing_key_file": "/none"},
    {"name": "hook", "kind": "webhook", "url_file": "/none"}
  ],
  "routes": [
    {"channels": ["ops"], "digest_minutes": 30, "stages": ["opened", "rca"]},
    {"channels": ["pager"], "stages": ["opened"]},
    {"channels": ["hook"], "digest_minutes": 30},
    {"channels": ["hook"], "services": ["user-*"]}
  ],
  "progress_minutes": 0
}"#;

#[test]
fn a_channel_is_told_together_only_where_its_routes_ask_for_it() {
    let mut world = World::new(Core {
        book: Book::parse(BOOK).expect("the book is well formed"),
        ..core()
    });
    let (one, other) = (
        low("order-service", "api-gateway"),
        low("user-service", "api-gateway"),
    );
    for event in one.events().into_iter().take(4) {
        world.hear(event);
    }
    world.hear(opened(&other));
    let direct = world.look();
    // The pager hears each beginning and end, the hook what a route without a
    // digest leads to it.
    let count = |name: &str| direct.iter().filter(|line| line.starts_with(name)).count();
    assert_eq!(
        (count("pager"), count("hook"), count("ops")),
        (3, 1, 0),
        "{direct:?}"
    );
    world.pass(HOUR / 2);
    let posts: Vec<Post> = world
        .jobs
        .iter()
        .filter_map(|(_, payload)| serde_json::from_value(payload.clone()).ok())
        .collect();
    let ops = posts
        .iter()
        .find(|post| post.channel == "ops")
        .expect("a digest");
    assert!(ops.is_edit(), "one message and no thread");
    let list = ops.board.list.as_deref().expect("a list");
    // The end was not routed, and is owed nevertheless.
    assert!(
        list.contains("Latency spike on order-service: over after 6 min"),
        "{list}"
    );
    assert!(
        list.contains("Latency spike on user-service: open; P99 latency 610 ms"),
        "{list}"
    );
    assert_eq!(ops.about.len(), 2);
    let hook = posts
        .iter()
        .find(|post| post.channel == "hook")
        .expect("a digest");
    let incident_id = one.opened.header.incident_id;
    assert_eq!(hook.about, [About::new(incident_id, AT.event_ms)]);
    assert_eq!(world.look().len(), 2, "the mail is due later");
    world.pass(HOUR);
    assert_eq!(world.look().len(), 1);
}

#[test]
fn a_route_that_wants_the_end_at_once_gets_it_at_once() {
    let at_once = r#"{"channels": ["ops"], "stages": ["resolved"]}"#;
    let book = BOOK.replace(r#"{"channels": ["pager"], "stages": ["opened"]}"#, at_once);
    let mut world = World::new(Core {
        book: Book::parse(&book).expect("the book is well formed"),
        ..core()
    });
    let one = low("order-service", "api-gateway");
    for event in one.events().into_iter().take(4) {
        world.hear(event);
    }
    let direct = world.look();
    let ops = direct.iter().filter(|line| line.starts_with("ops")).count();
    assert_eq!(ops, 1, "{direct:?}");
}
