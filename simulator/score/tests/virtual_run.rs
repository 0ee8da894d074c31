//! The agents' cores against the simulator, in virtual time.

use midwatch_events::knowledge::Catalogue;
use midwatch_score::virtual_run::{ENVIRONMENT, Setup, Story};

fn setup(seed: u64) -> Setup {
    let text = include_str!("../../../knowledge/services.json");
    Setup::new(
        seed,
        Catalogue::parse(text).expect("the catalogue is readable"),
    )
}

/// Facts that hold for every run of seven faults, whatever the seed.
fn check(story: &Story, seed: u64) {
    let judgement = story.judgement();
    let totals = judgement.totals;
    assert_eq!(totals.faults, 7, "seed {seed}: each scenario once");
    let scenarios: std::collections::BTreeSet<&str> = judgement
        .rows
        .iter()
        .map(|row| row.fault.scenario.as_str())
        .collect();
    assert_eq!(scenarios.len(), 7, "seed {seed}: {scenarios:?}");
    assert_eq!(totals.missed, 0, "seed {seed}: {judgement:#?}");
    assert!(totals.right_service >= 6, "seed {seed}: {judgement:#?}");
    assert!(totals.incidents <= 8, "seed {seed}: {judgement:#?}");
    assert_eq!(totals.resolved, 7, "seed {seed}: {judgement:#?}");
    assert_eq!(totals.mails, None, "no mail is part of a virtual run");
    for incident in &story.incidents {
        assert_eq!(incident.environment, ENVIRONMENT);
        assert!(!incident.candidates.is_empty(), "{incident:?}");
        assert!(incident.opened_ms >= incident.detected_ms, "{incident:?}");
        let resolved_ms = incident.resolved_ms.expect("all are resolved");
        assert!(resolved_ms > incident.detected_ms, "{incident:?}");
    }
}

#[test]
fn seven_faults_become_seven_incidents_on_two_drawn_fleets() {
    for seed in [1, 2] {
        check(&setup(seed).faults(None), seed);
    }
}

#[test]
fn the_documented_fleet_is_told_apart_as_well() {
    let standard = Setup {
        varied: false,
        ..setup(3)
    };
    check(&standard.faults(None), 3);
}

#[test]
fn three_quiet_hours_hold_at_most_one_incident() {
    let story = setup(4).quiet(3.0, None);
    assert_eq!(story.simulated_ms, 3 * 3_600_000);
    assert!(story.truths.is_empty());
    assert!(story.incidents.len() <= 1, "{:#?}", story.incidents);
}

#[test]
fn the_same_seed_says_the_same_and_another_one_something_else() {
    let run = |seed| {
        let mut lines: Vec<String> = Vec::new();
        let mut listen = |at_ms: i64, line: &str| lines.push(format!("{at_ms} {line}"));
        let story = setup(seed).faults(Some(&mut listen));
        (lines, story.judgement())
    };
    let (first, again, other) = (run(5), run(5), run(6));
    assert_eq!(first, again);
    assert_ne!(first.1, other.1);
    let (lines, _) = first;
    for words in [
        "FAULT started",
        "FAULT ended",
        "anomaly Started",
        "OPENED",
        "CAUSE",
        "RESOLVED",
    ] {
        let said = lines.iter().any(|line| line.contains(words));
        assert!(said, "{words} is told");
    }
}

#[test]
fn a_wait_on_the_wall_is_longer_in_simulated_time_the_faster_that_runs() {
    let opened_after = |speed| {
        let story = Setup { speed, ..setup(1) }.faults(None);
        let rows = story.judgement().rows;
        let times: Vec<i64> = rows.iter().filter_map(|row| row.opened_after_ms).collect();
        assert_eq!(times.len(), 7, "all are found at {speed}");
        times.iter().sum::<i64>()
    };
    let (slow, fast) = (opened_after(1), opened_after(60));
    assert!(slow < fast, "{slow} ms at 1, {fast} ms at 60");
}
