//! Checkpoints of many fields in a real Redis.

use super::stack::Stack;
use super::{P99, START_MS, fleet};
use fred::interfaces::HashesInterface;
use midwatch_detection::decide::state::Change;
use midwatch_detection::shell::store::{Claim, PIECE, Place, Saved, Store};
use std::collections::BTreeMap;

/// Writes what changed as the process does, in pieces through a journal.
fn save(
    stack: &Stack,
    store: &Store,
    (place, claim): (&Place, &mut Claim),
    changes: &[Change],
    next_offset: i64,
) -> Saved {
    let journal = store.journal(place, claim);
    stack.block_on(async {
        for piece in changes.chunks(PIECE) {
            store.note(&journal, piece).await.expect("Redis");
        }
        let finished = store.finish(place, claim, next_offset, &journal).await;
        finished.expect("Redis")
    })
}

fn stored(stack: &Stack, store: &Store, place: &Place) -> (Claim, i64, BTreeMap<String, String>) {
    let (claim, stored) = stack.block_on(store.claim(place)).expect("Redis");
    let stored = stored.expect("it was saved");
    let dump = stored.state.dump().into_iter().collect();
    (claim, stored.next_offset, dump)
}

/// Another reading of the first `count` services; the fields that changed.
fn feed(rig: &mut fleet::Rig, count: usize, at_ms: i64) -> Vec<Change> {
    for number in 0..count {
        rig.feed(fleet::metric(&format!("s{number}"), P99, at_ms, 1.5));
    }
    rig.state.take_changes()
}

#[test]
fn many_changes_go_through_a_journal_that_a_crash_may_leave_behind() {
    let stack = Stack::new("journal", 1);
    let place = (stack.topic("raw.metrics"), 0);
    let pointer = format!(
        "midwatch:detection:v2:{}:{}:0:pointer",
        stack.epoch, place.0
    );
    let store = Store::new(stack.redis.clone(), &stack.epoch);
    let (mut claim, before) = stack.block_on(store.claim(&place)).expect("Redis");
    assert!(before.is_none());
    let mut rig = fleet::Rig::new();
    let all = feed(&mut rig, 6_000, START_MS);
    let first = save(&stack, &store, (&place, &mut claim), &all, 6_000);
    let some = feed(&mut rig, 2_500, START_MS + 10_000);
    let second = save(&stack, &store, (&place, &mut claim), &some, 8_500);
    assert_eq!((first, second), (Saved::Done, Saved::Done));
    let kept = stack.hash(&pointer);
    assert_eq!(
        (kept["next_offset"].as_str(), kept["journal"].as_str()),
        ("8500", "")
    );
    let mut expected: BTreeMap<String, String> = rig.state.dump().into_iter().collect();
    let (_, next_offset, found) = stored(&stack, &store, &place);
    assert_eq!((next_offset, found == expected), (8_500, true));

    // As a crash leaves it right after the pointer named the journal: the hash
    // has not seen these changes, one of which is the end of a series.
    let gone = some.last().map(|(field, _)| field.clone());
    let gone = gone.expect("there are changes");
    let journal = format!("midwatch:detection:v2:{}:{}:0:left", stack.epoch, place.0);
    let older: BTreeMap<String, Option<String>> = all.into_iter().collect();
    let left: Vec<Change> = some
        .iter()
        .map(|(field, _)| match &older[field] {
            Some(value) if *field != gone => (field.clone(), Some(value.clone())),
            _ => (field.clone(), None),
        })
        .collect();
    for (field, value) in &left {
        match value {
            Some(value) => expected.insert(field.clone(), value.clone()),
            None => expected.remove(field),
        };
    }
    stack.block_on(async {
        for piece in left.chunks(PIECE) {
            store.note(&journal, piece).await.expect("Redis");
        }
        let named = [("journal", journal.as_str()), ("next_offset", "9000")];
        let () = stack
            .redis
            .hset(&pointer, named.to_vec())
            .await
            .expect("Redis");
    });
    for _ in 0..2 {
        let (_, next_offset, found) = stored(&stack, &store, &place);
        assert_eq!((next_offset, found == expected), (9_000, true));
        assert_eq!(stack.hash(&pointer)["journal"], "");
        assert!(stack.hash(&journal).is_empty(), "the journal is gone");
    }
    // Who held the partition before writes neither a piece nor the pointer.
    let late = save(&stack, &store, (&place, &mut claim), &some, 1);
    assert_eq!(late, Saved::Stale);
    let few = stack.block_on(store.save(&place, &claim, 1, &some[..1]));
    assert_eq!(few.expect("Redis"), Saved::Stale);
    let (_, next_offset, found) = stored(&stack, &store, &place);
    assert_eq!((next_offset, found == expected), (9_000, true));
}

/// What is frozen is stored as it was, however far the samples have come.
#[test]
fn a_checkpoint_is_of_one_moment_while_samples_go_on() {
    let stack = Stack::new("moment", 1);
    let place = (stack.topic("raw.metrics"), 0);
    let store = Store::new(stack.redis.clone(), &stack.epoch);
    let (mut claim, _) = stack.block_on(store.claim(&place)).expect("Redis");
    let mut rig = fleet::Rig::new();
    for number in 0..3_000 {
        rig.feed(fleet::metric(&format!("s{number}"), P99, START_MS, 1.5));
    }
    let expected: BTreeMap<String, String> = rig.state.dump().into_iter().collect();
    assert!(rig.state.freeze() >= 3_000);
    let journal = store.journal(&place, &mut claim);
    let mut number = 0;
    while rig.state.frozen() > 0 {
        let piece = rig.state.piece(250);
        stack.block_on(store.note(&journal, &piece)).expect("Redis");
        for _ in 0..200 {
            number += 1;
            let service = format!("s{}", number * 7 % 3_100);
            rig.feed(fleet::metric(&service, P99, START_MS + 10_000, 2.5));
        }
    }
    let finished = stack.block_on(store.finish(&place, &claim, 3_000, &journal));
    assert_eq!(finished.expect("Redis"), Saved::Done);
    let (_, next_offset, found) = stored(&stack, &store, &place);
    assert_eq!((next_offset, found == expected), (3_000, true));
}
