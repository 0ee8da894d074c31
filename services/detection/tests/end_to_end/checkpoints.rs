//! Checkpoints of many fields in a real Redis.

use super::stack::Stack;
use super::{P99, START_MS, fleet};
use fred::interfaces::HashesInterface;
use midwatch_detection::shell::store::{Saved, Store};
use std::collections::BTreeMap;

#[test]
fn a_large_change_is_written_to_a_new_hash_and_read_back() {
    let stack = Stack::new("large", 1);
    let place = (stack.topic("raw.metrics"), 0);
    let mut rig = fleet::Rig::new();
    for number in 0..2_500 {
        rig.feed(fleet::metric(&format!("s{number}"), P99, START_MS, 1.5));
    }
    let changes: BTreeMap<_, _> = rig.state.take_changes().into_iter().collect();
    let stored = stack.block_on(async {
        let store = Store::new(stack.redis.clone(), &stack.epoch);
        let (mut claim, _) = store.claim(&place).await.expect("Redis");
        let saved = store
            .save(&place, &mut claim, 7, &changes, &rig.state)
            .await;
        assert_eq!(saved.expect("Redis"), Saved::Done);
        let (_, stored) = store.claim(&place).await.expect("Redis");
        let late = store
            .save(&place, &mut claim, 8, &BTreeMap::new(), &rig.state)
            .await;
        assert_eq!(late.expect("Redis"), Saved::Stale);
        stored.expect("it was saved")
    });
    assert_eq!(stored.next_offset, 7);
    assert_eq!(stored.state.dump(), rig.state.dump());
}

#[test]
fn many_changes_of_more_go_through_a_journal_that_a_crash_may_leave_behind() {
    let stack = Stack::new("journal", 1);
    let place = (stack.topic("raw.metrics"), 0);
    let pointer = format!("midwatch:detection:{}:{}:0:pointer", stack.epoch, place.0);
    let mut rig = fleet::Rig::new();
    let store = Store::new(stack.redis.clone(), &stack.epoch);
    let (mut claim, _) = stack.block_on(store.claim(&place)).expect("Redis");
    let mut save = |changes: &BTreeMap<_, _>, next_offset, rig: &fleet::Rig| {
        let saved = store.save(&place, &mut claim, next_offset, changes, &rig.state);
        assert_eq!(stack.block_on(saved).expect("Redis"), Saved::Done);
    };
    let all = feed(&mut rig, 6_000, START_MS);
    save(&all, 6_000, &rig);
    let mut some = feed(&mut rig, 2_500, START_MS + 10_000);
    save(&some, 8_500, &rig);
    let kept = stack.hash(&pointer);
    assert_eq!(
        (kept["next_offset"].as_str(), kept["journal"].as_str()),
        ("8500", "")
    );
    let stored = |owner: &Store| {
        let (_, stored) = stack.block_on(owner.claim(&place)).expect("Redis");
        stored.expect("it was saved")
    };
    assert_eq!(stored(&store).state.dump(), rig.state.dump());

    // As a crash leaves it right after the pointer named the journal: the hash
    // has not seen these changes, one of which is the end of a series.
    let gone = some.keys().next_back().cloned().expect("there are changes");
    some.insert(gone.clone(), None);
    let journal = format!("midwatch:detection:{}:{}:0:left", stack.epoch, place.0);
    stack.block_on(async {
        for (field, value) in &some {
            let value = value.as_ref().map(|_| all.get(field).cloned().flatten());
            let value = value.flatten().unwrap_or_default();
            let () = stack
                .redis
                .hset(&journal, (field.as_str(), value))
                .await
                .expect("Redis");
        }
        let named = [("journal", journal.as_str()), ("next_offset", "9000")];
        let () = stack
            .redis
            .hset(&pointer, named.to_vec())
            .await
            .expect("Redis");
    });
    let mut expected: BTreeMap<String, String> = rig.state.dump().into_iter().collect();
    for field in some.keys() {
        match all.get(field).cloned().flatten() {
            Some(value) if *field != gone => expected.insert(field.clone(), value),
            _ => expected.remove(field),
        };
    }
    for _ in 0..2 {
        let stored = stored(&store);
        let state: BTreeMap<String, String> = stored.state.dump().into_iter().collect();
        assert_eq!((stored.next_offset, state == expected), (9_000, true));
        assert_eq!(stack.hash(&pointer)["journal"], "");
        assert!(stack.hash(&journal).is_empty(), "the journal is gone");
    }
    // Who held the partition before writes neither a piece nor the pointer.
    let mut late = claim;
    let saved = store.save(&place, &mut late, 1, &some, &rig.state);
    assert_eq!(stack.block_on(saved).expect("Redis"), Saved::Stale);
    assert_eq!(stack.hash(&pointer)["next_offset"], "9000");
}

/// Another reading of the first `count` services; the fields that changed.
fn feed(rig: &mut fleet::Rig, count: usize, at_ms: i64) -> BTreeMap<String, Option<String>> {
    for number in 0..count {
        rig.feed(fleet::metric(&format!("s{number}"), P99, at_ms, 1.5));
    }
    rig.state.take_changes().into_iter().collect()
}
