//! Processes that stop, die and start at random say the same as one that
//! never did.

use super::fleet::Noise;
use super::stack::{Process, Record, Stack};
use super::{assert_same, stream, uninterrupted};
use midwatch_detection::decide::transition::Emission;
use midwatch_events::decode::SCHEMA_VERSION;
use midwatch_events::{Anomaly, Envelope, Event, Meta};
use midwatch_runtime::{Settings, clock};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// `SEED`, or another one each time; it is printed, and shown if a test fails.
fn seed() -> u64 {
    let given = Settings::from_env().get("SEED");
    let seed = given
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| clock::random_id().as_u64_pair().0);
    println!("SEED={seed}");
    seed
}

/// Uniform among `0..end`.
fn draw(noise: &mut Noise, end: usize) -> usize {
    (((noise.next() + 1.0) / 2.0 * end as f64) as usize).min(end - 1)
}

/// What an emission is on the broker.
pub fn payload(emission: &Emission) -> Vec<u8> {
    let meta = Meta {
        event_id: emission.event_id,
        cause_id: Some(emission.cause_id),
        schema_version: SCHEMA_VERSION,
        event_time_ms: emission.anomaly.detected_at_ms,
        producer: "midwatch.detection".to_owned(),
    };
    let event = Event::Anomaly(emission.anomaly.clone());
    Envelope { meta, event }.encode()
}

/// Sends the next part of the stream; what has come so far must lead to.
fn send(stack: &Stack, part: i64) -> BTreeMap<Uuid, Anomaly> {
    let ticks = part * 100..(part + 1) * 100;
    for value in stream(&stack.environment, ticks) {
        let service = value["service"].as_str().expect("ours").to_owned();
        stack.produce("raw.metrics", &service, &[value]);
    }
    let sent = 300 * (part as usize + 1);
    let raw = stack.read_until("raw.metrics", |records| records.len() == sent);
    uninterrupted(stack, &raw)
}

/// Waits until a random share of what is expected is on the broker.
fn await_some(stack: &Stack, noise: &mut Noise, expected: usize) {
    let enough = draw(noise, expected + 1);
    stack.read_until("anomalies.detected", |records| {
        let distinct: BTreeSet<Uuid> = records.iter().map(Record::event_id).collect();
        distinct.len() >= enough
    });
}

/// Every record on the broker is byte for byte one of an uninterrupted run,
/// and all of those are there.
fn assert_same_bytes(stack: &Stack, expected: &BTreeMap<Uuid, Anomaly>) -> usize {
    let count = assert_same(stack, expected);
    let raw = stack.read_until("raw.metrics", |records| records.len() == 300 * PARTS);
    let bytes = super::emissions(stack, &raw);
    let records = stack.read_until("anomalies.detected", |records| records.len() >= count);
    for record in records {
        let text = String::from_utf8_lossy(&record.payload).into_owned();
        let same = String::from_utf8_lossy(&bytes[&record.event_id()]).into_owned();
        assert_eq!(text, same);
    }
    count
}

const PARTS: usize = 6;

#[test]
fn restarted_at_random_it_says_the_same_byte_for_byte() {
    let mut noise = Noise(seed());
    let stack = Stack::new("random", 2);
    let mut process = stack.start();
    let mut expected = BTreeMap::new();
    for part in 0..PARTS as i64 {
        expected = send(&stack, part);
        await_some(&stack, &mut noise, expected.len());
        if draw(&mut noise, 2) == 0 {
            process.stop();
        } else {
            process.kill();
        }
        process = stack.start();
    }
    assert_same_bytes(&stack, &expected);
    process.stop();
}

#[test]
fn two_processes_started_and_stopped_at_will_lose_and_double_nothing() {
    let mut noise = Noise(seed());
    let stack = Stack::new("two", 3);
    let mut slots: [Option<Process>; 2] = [Some(stack.start()), None];
    let mut expected = BTreeMap::new();
    for part in 0..PARTS as i64 {
        expected = send(&stack, part);
        await_some(&stack, &mut noise, expected.len());
        // One of the two changes; the last one is never taken away.
        let slot = draw(&mut noise, 2);
        let alone = slots.iter().flatten().count() == 1;
        match slots[slot].take() {
            None => slots[slot] = Some(stack.start_in_slot(["0", "1"][slot])),
            Some(process) if alone => {
                slots[slot] = Some(process);
                slots[1 - slot] = Some(stack.start_in_slot(["1", "0"][slot]));
            }
            Some(process) if draw(&mut noise, 2) == 0 => process.stop(),
            Some(process) => process.kill(),
        }
    }
    assert_same_bytes(&stack, &expected);
    for process in slots.into_iter().flatten() {
        process.stop();
    }
}

/// In peace nothing is said twice, not even under the same id.
#[test]
fn a_second_process_that_comes_and_goes_in_peace_repeats_nothing() {
    let stack = Stack::new("peace", 3);
    let first = stack.start();
    let mut expected = send(&stack, 0);
    for part in 1..PARTS as i64 {
        let second = stack.start_in_slot("1");
        expected = send(&stack, part);
        await_some(&stack, &mut Noise(part as u64), expected.len());
        second.stop();
    }
    assert_eq!(assert_same_bytes(&stack, &expected), expected.len());
    first.stop();
}
