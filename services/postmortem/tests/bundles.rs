//! Bundles: what is whole is accepted, and one flipped byte is not.

use midwatch_events::ids;
use midwatch_postmortem::bundle::{Broken, Bundle, key, verify};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use serde_json::json;

/// Drawn anew in each run; a failure prints it.
fn seed() -> u64 {
    u64::from(std::process::id()) ^ 0x6d69_6477
}

fn signing(random: &mut StdRng) -> ed25519_dalek::SigningKey {
    let mut secret = [0; 32];
    random.fill_bytes(&mut secret);
    ed25519_dalek::SigningKey::from_bytes(&secret)
}

/// A bundle of some entries of drawn sizes.
fn bundle(random: &mut StdRng, key: &ed25519_dalek::SigningKey, number: usize) -> Vec<u8> {
    let incident = ids::derive(&["bundle", &number.to_string()]);
    let short = ids::short_incident(incident);
    let mut bundle = Bundle::begin(Vec::new(), key.clone(), incident, &short, 1_795_356_200_000)
        .expect("memory takes it");
    for kind in [
        "event",
        "audit",
        "record",
        "model_call",
        "notification",
        "postmortem",
    ] {
        for index in 0..random.random_range(0..6_usize) {
            let text: String = (0..random.random_range(0..400_usize))
                .map(|_| {
                    ['a', ' ', '\n', '"', '\\', 'ü', '\u{0}', '9'][random.random_range(0..8_usize)]
                })
                .collect();
            bundle
                .entry(
                    kind,
                    &json!({"index": index, "text": text, "value": random.random::<f64>()}),
                )
                .expect("memory takes it");
        }
    }
    bundle.end().expect("memory takes it").1
}

#[test]
fn fifty_bundles_are_accepted_and_each_with_one_flipped_byte_is_rejected() {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let key = signing(&mut random);
    for number in 0..50 {
        let whole = bundle(&mut random, &key, number);
        let verified = verify(whole.as_slice(), &key.verifying_key());
        let verified = verified.unwrap_or_else(|error| panic!("seed {seed}, {number}: {error}"));
        assert_eq!(
            verified.entries + 2,
            whole.iter().filter(|byte| **byte == b'\n').count() as u64
        );
        // One place at random with any other value, one with one bit.
        for bit in [false, true] {
            let mut broken = whole.clone();
            let place = random.random_range(0..broken.len());
            broken[place] ^= if bit {
                1 << random.random_range(0..8_u8)
            } else {
                random.random_range(1..=255_u8)
            };
            let found = verify(broken.as_slice(), &key.verifying_key());
            assert!(found.is_err(), "seed {seed}, bundle {number}, byte {place}");
        }
    }
}

#[test]
fn every_single_byte_of_a_bundle_counts() {
    let mut random = StdRng::seed_from_u64(7);
    let key = signing(&mut random);
    let whole = bundle(&mut random, &key, 0);
    for place in 0..whole.len() {
        // The case of a digit, a blank for a line break, the lowest bit.
        for flip in [0x20, 0x2a, 0x01] {
            let mut broken = whole.clone();
            broken[place] ^= flip;
            assert!(
                verify(broken.as_slice(), &key.verifying_key()).is_err(),
                "byte {place} by {flip:#x}"
            );
        }
    }
    for extra in [&b"\n"[..], b" ", b"signature "] {
        let longer = [whole.as_slice(), extra].concat();
        assert!(verify(longer.as_slice(), &key.verifying_key()).is_err());
    }
    for length in 0..whole.len() {
        assert!(
            verify(&whole[..length], &key.verifying_key()).is_err(),
            "{length}"
        );
    }
}

#[test]
fn the_first_entry_that_does_not_hold_is_named() {
    let mut random = StdRng::seed_from_u64(3);
    let key = signing(&mut random);
    let mut bundle = Bundle::begin(Vec::new(), key.clone(), ids::derive(&["x"]), "INC-1", 0)
        .expect("memory takes it");
    for (kind, text) in [("event", "one"), ("audit", "two"), ("record", "three")] {
        bundle.entry(kind, &json!(text)).expect("memory takes it");
    }
    let whole = bundle.end().expect("memory takes it").1;
    let text = String::from_utf8(whole).expect("it is text");
    let changed = text.replace("\"two\"", "\"owt\"");
    let error = verify(changed.as_bytes(), &key.verifying_key()).expect_err("it was changed");
    assert!(
        matches!(&error, Broken::Entry { entry: 3, kind, .. } if kind == "audit"),
        "{error}"
    );
    // Taken out, or put in another order.
    let lines: Vec<&str> = text.lines().collect();
    for order in [
        vec![0, 1, 3, 4, 5],
        vec![0, 2, 1, 3, 4, 5],
        vec![0, 1, 2, 3, 5],
    ] {
        let other: String = order
            .iter()
            .map(|index| format!("{}\n", lines[*index]))
            .collect();
        assert!(
            verify(other.as_bytes(), &key.verifying_key()).is_err(),
            "{order:?}"
        );
    }
    let other = signing(&mut random).verifying_key();
    assert!(verify(text.as_bytes(), &other).is_err());
}

#[test]
fn a_key_file_is_made_once_and_read_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bundle.key");
    let public = key::create(&path).expect("a key");
    assert!(key::create(&path).is_err(), "a key is never written over");
    let read = key::read(&path).expect("the key");
    assert_eq!(read.verifying_key(), public);
    let digits = key::hex(public.as_bytes());
    assert_eq!(key::public(&digits).expect("digits"), public);
    assert!(key::public(&digits.to_uppercase()).is_err() || digits.to_uppercase() == digits);
    assert!(key::public("00").is_err());
}
