//! What readings of the groups become.

use super::*;
use midwatch_clients::kafka::{GroupMember, GroupPartition, PartitionLog};

const NOW_MS: i64 = 1_795_305_600_000;

/// A partition that the group knows: committed, end, and the seconds that
/// its oldest waiting message has waited.
fn known(topic: &str, committed: Option<i64>, end: i64, age: Option<i64>) -> GroupPartition {
    GroupPartition {
        topic: topic.to_owned(),
        partition: 0,
        committed,
        end: Some(end),
        lag: committed.map(|committed| end - committed),
        oldest_record_ms: age.map(|age| NOW_MS - 1_000 * age),
    }
}

fn reading(state: &str, reads: &[&str], partitions: Vec<GroupPartition>) -> GroupsReading {
    let topics = partitions.iter().map(|one| {
        let log = PartitionLog {
            partition: 0,
            low: Some(0),
            end: one.end,
        };
        (one.topic.clone(), vec![log])
    });
    let topics = topics.collect();
    let member = GroupMember {
        member_id: "m".to_owned(),
        client_id: "c".to_owned(),
        client_host: String::new(),
        instance: None,
        partitions: Some(reads.iter().map(|topic| ((*topic).to_owned(), 0)).collect()),
    };
    let stable = state == "Stable";
    let group = Group {
        name: "midwatch.rca".to_owned(),
        state: state.to_owned(),
        members: stable.then_some(member).into_iter().collect(),
        // As the reader does: an empty group shows what it committed to.
        partitions: partitions
            .into_iter()
            .filter(|one| stable || one.committed.is_some())
            .collect(),
        lag: None,
    };
    GroupsReading {
        groups: vec![group],
        left_off: 0,
        topics,
    }
}

fn parts(memory: &mut Memory, reading: &GroupsReading) -> Vec<Part> {
    memory.note(reading);
    memory.parts(&reading.groups[0], &reading.topics)
}

#[test]
fn lag_is_the_sum_and_age_that_of_the_oldest() {
    let now = reading(
        "Empty",
        &[],
        vec![
            known("a", Some(7), 10, Some(90)),
            known("b", Some(4), 5, Some(3)),
        ],
    );
    let parts = parts(&mut Memory::default(), &now);
    assert_eq!(sum(&parts, NOW_MS), (Some(4), Some(90.0)));
}

#[test]
fn nothing_waits_nothing_is_old_and_one_unknown_makes_all_unknown() {
    let at_end = reading("Empty", &[], vec![known("a", Some(7), 7, None)]);
    let found = parts(&mut Memory::default(), &at_end);
    assert_eq!(sum(&found, NOW_MS), (Some(0), Some(0.0)));
    let mut other_log = known("a", Some(7), 3, None);
    other_log.lag = None;
    let mixed = reading(
        "Empty",
        &[],
        vec![other_log, known("b", Some(1), 2, Some(5))],
    );
    let found = parts(&mut Memory::default(), &mixed);
    assert_eq!(sum(&found, NOW_MS), (None, None));
    let unread = reading("Empty", &[], vec![known("a", Some(6), 7, None)]);
    let found = parts(&mut Memory::default(), &unread);
    assert_eq!(
        sum(&found, NOW_MS),
        (Some(1), None),
        "its age could not be read"
    );
    assert_eq!(sum(&[], NOW_MS), (None, None), "a group without partitions");
}

#[test]
fn where_no_member_tells_what_it_reads_a_full_partition_without_offset_is_unknown() {
    let mut now = reading("Empty", &[], vec![known("a", Some(7), 7, None)]);
    let logs = now.topics.get_mut("a").expect("the topic");
    logs.push(PartitionLog {
        partition: 1,
        low: Some(4),
        end: Some(4),
    });
    let found = parts(&mut Memory::default(), &now);
    assert_eq!(sum(&found, NOW_MS), (Some(0), Some(0.0)));
    now.topics.get_mut("a").expect("the topic")[1].end = Some(5);
    let found = parts(&mut Memory::default(), &now);
    assert_eq!(sum(&found, NOW_MS), (None, None));
}

#[test]
fn what_came_after_the_group_counts_also_where_it_never_committed() {
    let mut memory = Memory::default();
    let quiet = vec![known("a", None, 40, None), known("b", Some(9), 9, None)];
    let found = parts(&mut memory, &reading("Stable", &["a", "b"], quiet));
    assert_eq!(
        sum(&found, NOW_MS),
        (Some(0), Some(0.0)),
        "40 lay there before"
    );
    // Paused, it leaves the group; then two messages come.
    let later = vec![known("a", None, 42, None), known("b", Some(9), 9, None)];
    let found = parts(&mut memory, &reading("Empty", &[], later));
    assert_eq!(found[0].oldest, Oldest::At(40));
    assert_eq!(found[0].lag, Some(2));
    assert_eq!(
        sum(&found, NOW_MS),
        (Some(2), None),
        "until it was looked at"
    );
}

#[test]
fn what_no_member_reads_any_more_does_not_count() {
    let mut memory = Memory::default();
    let partitions = || {
        vec![
            known("a", Some(5), 5, None),
            known("old", Some(1), 99, Some(9_000)),
        ]
    };
    let found = parts(&mut memory, &reading("Stable", &["a"], partitions()));
    assert_eq!(sum(&found, NOW_MS), (Some(0), Some(0.0)));
    let found = parts(&mut memory, &reading("Empty", &[], partitions()));
    assert_eq!(sum(&found, NOW_MS), (Some(0), Some(0.0)));
}

#[test]
fn an_emptied_broker_starts_the_count_anew() {
    let mut memory = Memory::default();
    parts(
        &mut memory,
        &reading("Stable", &["a"], vec![known("a", None, 40, None)]),
    );
    let emptied = reading("Stable", &["a"], vec![known("a", None, 3, None)]);
    let found = parts(&mut memory, &emptied);
    assert_eq!(found[0].lag, Some(0));
    memory.note(&GroupsReading::default());
    assert!(
        memory.groups.is_empty(),
        "a group that is gone is forgotten"
    );
}

#[test]
fn only_what_is_known_becomes_an_event_of_the_agent() {
    let lag = |messages, seconds| GroupLag {
        group: "t.midwatch.rca".to_owned(),
        service: "midwatch-rca".to_owned(),
        messages,
        seconds,
        members: 1,
    };
    assert_eq!(events("local", NOW_MS, &[lag(None, None)]), []);
    let found = events("local", NOW_MS, &[lag(Some(3), Some(61.5))]);
    let told: Vec<(&str, &str, f64, &str)> = found
        .iter()
        .map(|one| match &one.event {
            Event::Metric(one) => (
                one.service.as_str(),
                one.metric_name.as_str(),
                one.metric_value,
                one.labels["group"].as_str(),
            ),
            _ => panic!("a lag is a metric"),
        })
        .collect();
    let group = "t.midwatch.rca";
    assert_eq!(
        told,
        [
            ("midwatch-rca", "kafka_consumer_lag", 3.0, group),
            ("midwatch-rca", "kafka_consumer_lag_seconds", 61.5, group),
        ]
    );
    assert_ne!(found[0].meta.event_id, found[1].meta.event_id);
    assert_eq!(events("local", NOW_MS, &[lag(Some(3), None)]).len(), 1);
}
