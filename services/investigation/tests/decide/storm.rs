//! Storms: more anomalies than an incident lists in full.

use super::story::{Story, T0, member, opened};
use midwatch_events::Event;
use midwatch_events::anomaly::{AnomalyType, Transition};
use midwatch_events::incident::{GroupedAnomaly, IncidentChange};
use midwatch_events::more::{Beyond, LISTED, More};
use midwatch_events::topology::{EdgeSource, Topology};
use midwatch_investigation::decide::facts::Facts;
use midwatch_investigation::decide::gathered;
use midwatch_investigation::decide::state::State;
use serde_json::json;

fn storm(count: usize) -> Vec<GroupedAnomaly> {
    let one = |number: usize| {
        let service = format!("service-{}", number % 100);
        let metric = format!("latency_p99_ms_{number}");
        member(&service, AnomalyType::LatencySpike, &metric, 0, 9.0)
    };
    (0..count).map(one).collect()
}

fn more(members: &[GroupedAnomaly], beyond: Beyond) -> Option<Box<More>> {
    let more = More::of(members.get(LISTED..).unwrap_or_default());
    Some(Box::new(More { beyond, ..more }))
}

fn open(members: &[GroupedAnomaly], beyond: Beyond) -> Story {
    let mut story = Story::default();
    let mut event = opened(&members[..members.len().min(LISTED)]);
    event.more_anomalies = more(members, beyond);
    story.hear(Event::Opened(Box::new(event)));
    story.work();
    story
}

fn stored(story: &mut Story) -> usize {
    let text = serde_json::to_string(&story.state).expect("the state is JSON");
    let read: State = serde_json::from_str(&text).expect("what was stored is read");
    assert_eq!(read, story.state);
    story.state = read;
    text.len()
}

#[test]
fn the_end_hears_that_each_of_two_thousand_series_is_normal() {
    let members = storm(2_000);
    let mut story = open(&members, Beyond::default());
    assert_eq!(story.channels.len(), 2_000);
    let bytes = stored(&mut story);
    assert!(bytes < 1_500_000, "{bytes}");
    for one in &members[..1_999] {
        story.transition(one, Transition::Cleared, 60);
    }
    assert!(story.resolved.is_empty(), "one of them is still active");
    let waits = story.said("RESOLUTION_WAITS");
    let last = waits.last().expect("what it waits for is said");
    let name = &members[1_999].trigger_metric;
    assert!(last.summary.contains(name.as_str()), "{}", last.summary);
    // What is waited for is told now and then, not two thousand times.
    assert!(waits.len() < 200, "{}", waits.len());
    assert!(waits.iter().all(|line| line.summary.len() < 3_000));
    stored(&mut story);
    story.transition(&members[1_999], Transition::Cleared, 70);
    assert_eq!(story.resolved.len(), 1);
    assert_eq!(story.resolved[0].resolved_at_ms, T0 + 70_000);
}

#[test]
fn what_is_not_listed_holds_the_end_until_correlation_says_that_it_is_over() {
    let members = storm(3);
    let beyond = |unlisted_active: u64, unfollowed: u64| Beyond {
        unlisted: 40,
        unlisted_active,
        unfollowed,
    };
    let mut story = open(&members, beyond(2, 0));
    for one in &members {
        story.transition(one, Transition::Cleared, 60);
    }
    assert!(story.resolved.is_empty());
    let update = |story: &mut Story, beyond: Beyond| {
        story.updates += 1;
        let mut update = story.updated(IncidentChange::Grown, &members, "they are over");
        update.more_anomalies = more(&members, beyond);
        story.hear(Event::Updated(Box::new(update)));
        story.work();
    };
    // Those that nobody could follow: a person says when it is over.
    update(&mut story, beyond(0, 1));
    assert!(story.resolved.is_empty());
    let waits = story.said("RESOLUTION_WAITS");
    let last = &waits.last().expect("it is said").summary;
    assert!(last.contains("a person to close it"), "{last}");
    stored(&mut story);
    update(&mut story, beyond(0, 0));
    assert_eq!(story.resolved.len(), 1);
    assert_eq!(story.resolved[0].resolution_method, "RECOVERED");
}

#[test]
fn the_investigator_knows_the_calls_that_correlation_believes_with_source_and_age() {
    let topology = json!({
        "edges": [["web", "shop", ["catalogue", "spans"]], ["shop", "bank", ["logs"]]],
        "ages": [
            ["web", "shop", {"catalogue": 0, "spans": T0 - 5_000}],
            ["shop", "bank", {"logs": T0 - 9_000}],
            ["shop", "ledger", {"spans": 17}],
        ],
        "expired": [["shop", "ledger"]],
        "contradicted": [],
    });
    let facts = Facts {
        edges: gathered::calls(&topology).expect("a graph"),
        ..Facts::default()
    };
    let graph = facts.topology();
    let mut expected = Topology::default();
    expected.add_call("web", "shop", EdgeSource::Catalogue);
    expected.add_seen("web", "shop", EdgeSource::Spans, T0 - 5_000);
    expected.add_seen("shop", "bank", EdgeSource::Logs, T0 - 9_000);
    assert_eq!(graph, expected);
    // What an earlier build journalled has no ages.
    let earlier = json!({"series": [], "logs": [], "deployments": [], "kubernetes": [],
        "similar": [], "runbooks": [], "gaps": [], "edges": [["web", "shop", ["spans"]]]});
    let facts: Facts = serde_json::from_value(earlier).expect("it is read");
    assert_eq!(facts.topology().callees("web"), ["shop"]);
    // Rows of before the graph have none, and what is no graph is no silence.
    assert_eq!(gathered::calls(&json!(null)).expect("none"), []);
    assert!(gathered::calls(&json!({"edges": 5})).is_err());
}
