//! Storms: hundreds and thousands of anomalies from one fault.

use crate::story::{Story, T0, anomaly, cleared};
use midwatch_correlation::decide::beyond::FOLLOWED;
use midwatch_events::anomaly::{Anomaly, AnomalyType, Transition};
use midwatch_events::more::{Beyond, LISTED};
use midwatch_events::topology::{EdgeSource, Topology};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Services that all call `database`, and gateways above them.
fn fleet(services: usize) -> Topology {
    let mut graph = Topology::default();
    for number in 0..services {
        let name = format!("service-{number}");
        graph.add_call(&name, "database", EdgeSource::Catalogue);
        let gateway = format!("gateway-{}", number % 5);
        graph.add_call(&gateway, &name, EdgeSource::Catalogue);
    }
    graph
}

/// The first `count` anomalies of a storm that a slow database began.
fn storm(count: usize, services: usize) -> Vec<Anomaly> {
    let one = |number: usize| {
        let at_s = i64::try_from(number / 50).expect("a small number");
        if number == 0 {
            let metric = "service_latency_p99_ms";
            return anomaly("database", AnomalyType::LatencySpike, metric, 0);
        }
        let service = format!("service-{}", number % services);
        let metric = format!("http_latency_p99_ms:route-{}", number / services);
        let metric = metric.replace(':', "_");
        anomaly(&service, AnomalyType::LatencySpike, &metric, at_s)
    };
    (0..count).map(one).collect()
}

fn heard(story: &mut Story, storm: &[Anomaly]) {
    for (number, one) in storm.iter().enumerate() {
        story.hear(one.clone());
        if number % 50 == 49 {
            story.pass(1_000);
        }
    }
    story.settle();
}

/// The ids that the audit trail names as detected, and the incident's members
/// as they were told last.
fn told(story: &Story) -> (Vec<Uuid>, Vec<Uuid>, Beyond) {
    let lines = story.audits.iter();
    let lines = lines.filter(|line| line.event_type == "ANOMALY_DETECTED");
    let ids = lines.map(|line| line.payload["anomaly_id"].as_str().expect("an id"));
    let mut lines: Vec<Uuid> = ids.map(|id| id.parse().expect("an id")).collect();
    lines.sort();
    let (members, more) = match story.updated.last() {
        Some(last) => (last.all_anomalies(), &last.more_anomalies),
        None => (
            story.opened[0].all_anomalies(),
            &story.opened[0].more_anomalies,
        ),
    };
    assert!(members.iter().all(|member| !member.reason.is_empty()));
    let beyond = more.as_ref().map(|more| more.beyond).unwrap_or_default();
    let mut members: Vec<Uuid> = members.iter().map(|member| member.anomaly_id).collect();
    members.sort();
    (lines, members, beyond)
}

fn ids(storm: &[Anomaly]) -> Vec<Uuid> {
    let ids: BTreeSet<Uuid> = storm.iter().map(|one| one.anomaly_id).collect();
    ids.into_iter().collect()
}

#[test]
fn each_of_five_hundred_anomalies_has_its_reason_its_line_and_its_place_in_the_watch() {
    for is_stored in [false, true] {
        let mut story = Story::new();
        story.stored = is_stored;
        story.around.topology = fleet(25);
        let storm = storm(500, 25);
        heard(&mut story, &storm);
        assert_eq!(story.opened.len(), 1);
        let all = ids(&storm);
        assert_eq!(all.len(), 500);
        assert_eq!(told(&story), (all.clone(), all, Beyond::default()));
        let last = story.updated.last().expect("it grew after its opening");
        assert_eq!(last.grouped_anomalies.len(), LISTED);
        let row = &story.rows[&story.incident(0)].2;
        let more = row["more_anomalies"]["members"].as_array().expect("rows");
        assert_eq!(more.len(), 500 - LISTED);
        // A word about the last one is heard as one about the first is.
        let worse = Anomaly {
            transition: Transition::Worsened,
            deviation_sigma: 40.0,
            observed_value: 9_000.0,
            ..storm[499].clone()
        };
        story.hear(worse);
        story.hear(cleared(storm[498].clone(), 60));
        story.settle();
        let last = story.updated.last().expect("an update").all_anomalies();
        let find = |number: usize| {
            let mut found = last
                .iter()
                .filter(|one| one.anomaly_id == storm[number].anomaly_id);
            found.next().expect("it is there")
        };
        assert!((find(499).observed_value - 9_000.0).abs() < 1e-9);
        assert_eq!(find(498).cleared_at_ms, Some(T0 + 60_000));
        assert_eq!(find(497).cleared_at_ms, None);
    }
}

#[test]
fn a_storm_comes_to_the_same_whether_its_state_is_stored_in_between_or_not() {
    let run = |is_stored: bool| {
        let mut story = Story::new();
        story.stored = is_stored;
        story.around.topology = fleet(25);
        let storm = storm(320, 25);
        heard(&mut story, &storm);
        for one in &storm[150..] {
            story.hear(cleared(one.clone(), 90));
        }
        story.settle();
        let id = story.incident(0);
        story.ask(story.command("split", id, "service-7"));
        story.settle();
        let published = (story.opened, story.updated, story.rows);
        (published, story.audits)
    };
    let (calm, stored) = (run(false), run(true));
    assert_eq!(calm.0, stored.0);
    assert_eq!(calm.1, stored.1);
}

#[test]
fn what_is_beyond_the_list_is_counted_aloud_and_followed_to_its_end() {
    let mut story = Story::new();
    story.stored = true;
    story.core.config.max_anomalies = 220;
    story.around.topology = fleet(25);
    let storm = storm(250, 25);
    heard(&mut story, &storm);
    let active = |active: u64| Beyond {
        unlisted: 30,
        unlisted_active: active,
        unfollowed: 0,
    };
    let (lines, members, beyond) = told(&story);
    assert_eq!((lines.len(), members.len(), beyond), (220, 220, active(30)));
    let line = story.audits.iter().rev();
    let mut line = line.filter(|line| line.event_type == "ANOMALIES_NOT_LISTED");
    let summary = &line.next().expect("it is said").summary;
    assert!(
        summary.contains("30 in all, 30 of them active"),
        "{summary}"
    );
    // What is listed is over first: the incident goes on.
    for one in &storm[..220] {
        story.hear(cleared(one.clone(), 60));
    }
    for one in &storm[220..249] {
        story.hear(cleared(one.clone(), 61));
    }
    story.settle();
    let group = &story.state.groups[&story.incident(0)];
    assert!(group.is_active());
    assert_eq!(group.beyond(), active(1));
    story.hear(cleared(storm[249].clone(), 62));
    story.settle();
    assert_eq!(told(&story).2, active(0));
    // And back: readers are told of that, too.
    story.hear(Anomaly {
        transition: Transition::Worsened,
        ..storm[249].clone()
    });
    story.settle();
    assert_eq!(told(&story).2, active(1));
}

#[test]
fn a_storm_that_comes_back_counts_anew_what_is_beyond_its_list() {
    let mut story = Story::new();
    story.core.config.max_anomalies = 220;
    story.around.topology = fleet(25);
    let storm = storm(250, 25);
    heard(&mut story, &storm);
    let id = story.incident(0);
    for one in &storm {
        story.hear(cleared(one.clone(), 60));
    }
    story.settle();
    story.end(id, "RECOVERED", 70);
    for one in &storm[..5] {
        story.hear(Anomaly {
            detected_at_ms: T0 + 120_000,
            onset_ms: T0 + 115_000,
            ..one.clone()
        });
    }
    story.settle();
    let group = &story.state.groups[&id];
    assert_eq!((group.reopened, group.beyond()), (1, Beyond::default()));
}

#[test]
fn what_nobody_follows_is_said_to_be_unknown() {
    let mut story = Story::new();
    story.core.config.max_anomalies = 1;
    story.around.topology = fleet(25);
    let storm = storm(FOLLOWED + 4, 25);
    heard(&mut story, &storm);
    let beyond = Beyond {
        unlisted: FOLLOWED as u64 + 3,
        unlisted_active: FOLLOWED as u64,
        unfollowed: 3,
    };
    assert_eq!(told(&story).2, beyond);
}

#[test]
fn two_thousand_anomalies_are_decided_and_stored_in_good_time() {
    let mut story = Story::new();
    story.around.topology = fleet(200);
    let storm = storm(2_000, 200);
    let begun = Instant::now();
    heard(&mut story, &storm);
    let mean = begun.elapsed() / 2_000;
    assert_eq!(told(&story).1.len(), 2_000);
    let stored = serde_json::to_string(&story.state)
        .expect("it is JSON")
        .len();
    let last = story.updated.last().expect("it grew");
    let message = serde_json::to_string(last).expect("it is JSON").len();
    eprintln!("{mean:?} for each, {stored} bytes of state, {message} bytes of message");
    assert!(stored < 1_000_000, "{stored}");
    // A topic takes one mebibyte.
    assert!(message < 900_000, "{message}");
    // On an idle machine a few milliseconds; a square law takes seconds.
    assert!(mean < Duration::from_millis(100), "{mean:?}");
}
