//! The onset is found on generated series whose truth is known.

use midwatch_correlation::onset::{Onset, estimate};
use proptest::prelude::*;

const STEP_MS: i64 = 10_000;

/// Noise of a standard deviation of about one: the sum of twelve uniforms
/// (Irwin–Hall) from a linear congruential generator (Knuth's MMIX constants).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        let mut sum = 0.0;
        for _ in 0..12 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            sum += (self.0 >> 11) as f64 / (1_u64 << 53) as f64;
        }
        sum - 6.0
    }
}

/// `count` readings of level 100 with this noise, changed by `shape`.
fn series(count: i64, sigma: f64, seed: u64, shape: impl Fn(i64) -> f64) -> Vec<(i64, f64)> {
    let mut noise = Noise(seed);
    (0..count)
        .map(|index| (index * STEP_MS, 100.0 + sigma * noise.next() + shape(index)))
        .collect()
}

fn step(from: i64, by: f64) -> impl Fn(i64) -> f64 {
    move |index| if index >= from { by } else { 0.0 }
}

fn ramp(from: i64, per_reading: f64) -> impl Fn(i64) -> f64 {
    move |index| (index - from).max(0) as f64 * per_reading
}

#[test]
fn clean_shapes_are_dated_to_the_reading() {
    for (name, points, crossed, expected) in [
        ("a step", series(30, 0.0, 1, step(25, 50.0)), 27, 25),
        (
            "a step of the last reading",
            series(30, 0.0, 1, step(29, 50.0)),
            29,
            29,
        ),
        ("a fall", series(30, 0.0, 1, step(20, -30.0)), 22, 20),
        ("a ramp", series(40, 0.0, 1, ramp(15, 2.0)), 30, 15),
        (
            "a fall by and by",
            series(40, 0.0, 1, ramp(15, -1.0)),
            35,
            15,
        ),
    ] {
        let onset = estimate(&points, crossed * STEP_MS).expect(name);
        assert_eq!(onset.at_ms, expected * STEP_MS, "{name}: {onset:?}");
    }
}

#[test]
fn a_ramp_is_dated_long_before_it_crosses_the_threshold() {
    let (mut near, mut inside) = (0, 0);
    for seed in 0..200 {
        // Half a sigma per reading from reading 40 on; three sigma are crossed
        // about six readings later, the fifth consecutive one after ten.
        let points = series(80, 2.0, seed, ramp(40, 1.0));
        let onset = estimate(&points, 52 * STEP_MS).expect("the ramp is seen");
        near += i32::from((onset.at_ms - 40 * STEP_MS).abs() <= 4 * STEP_MS);
        inside += i32::from((onset.earliest_ms..=onset.latest_ms).contains(&(40 * STEP_MS)));
    }
    assert!(near >= 180, "{near} of 200 within four readings");
    assert!(inside >= 180, "{inside} of 200 intervals hold the truth");
}

#[test]
fn steps_in_noise_are_dated_within_a_reading() {
    let mut exact = 0;
    for seed in 0..200 {
        let points = series(80, 2.0, seed, step(44, 10.0));
        let onset = estimate(&points, 46 * STEP_MS).expect("the step is seen");
        exact += i32::from((onset.at_ms - 44 * STEP_MS).abs() <= STEP_MS);
    }
    assert!(exact >= 190, "{exact} of 200");
}

#[test]
fn noise_alone_seldom_has_an_onset() {
    let found = (0..400)
        .filter(|seed| estimate(&series(60, 2.0, *seed, |_| 0.0), 59 * STEP_MS).is_some())
        .count();
    assert!(found <= 20, "{found} of 400");
}

#[test]
fn an_episode_that_the_readings_begin_in_is_another_story() {
    // Higher up to the sixth reading, from the first or the second on, and from
    // the 56th on again.
    for seed in 0..20 {
        let story = |index: i64| match index {
            0 => 40.0 * (seed % 2) as f64,
            1..6 => 40.0,
            56.. => 20.0,
            _ => 0.0,
        };
        let onset = estimate(&series(60, 1.0, seed, story), 57 * STEP_MS).expect("a step");
        assert_eq!(onset.at_ms, 56 * STEP_MS, "seed {seed}: {onset:?}");
    }
}

#[test]
fn an_earlier_episode_and_a_single_spike_are_other_stories() {
    let episode = |index: i64| {
        let earlier = if (20..30).contains(&index) { 40.0 } else { 0.0 };
        earlier + step(55, 40.0)(index)
    };
    let onset = estimate(&series(60, 1.0, 7, episode), 57 * STEP_MS).expect("a step");
    assert_eq!(onset.at_ms, 55 * STEP_MS, "{onset:?}");
    let spike = |index: i64| {
        if index == 12 {
            90.0
        } else {
            step(25, 20.0)(index)
        }
    };
    let onset = estimate(&series(30, 1.0, 7, spike), 27 * STEP_MS).expect("a step");
    assert_eq!(onset.at_ms, 25 * STEP_MS, "{onset:?}");
}

#[test]
fn wandering_noise_seldom_has_an_onset_and_does_not_hide_a_clear_one() {
    let wander = |seed: u64| {
        let mut noise = Noise(seed);
        let mut level = 0.0;
        move || {
            level = 0.8 * level + noise.next();
            level
        }
    };
    let (mut found, mut near) = (0, 0);
    for seed in 0..200 {
        let mut next = wander(seed);
        let quiet: Vec<(i64, f64)> = (0..60).map(|index| (index * STEP_MS, next())).collect();
        found += i32::from(estimate(&quiet, 59 * STEP_MS).is_some());
        let clear = |point: &(i64, f64)| (point.0, point.1 + step(50, 15.0)(point.0 / STEP_MS));
        let clear: Vec<(i64, f64)> = quiet.iter().map(clear).collect();
        let onset = estimate(&clear, 52 * STEP_MS).expect("it is clear");
        near += i32::from((onset.at_ms - 50 * STEP_MS).abs() <= STEP_MS);
    }
    assert!(found <= 60, "{found} of 200");
    assert!(near >= 190, "{near} of 200");
}

#[test]
fn what_rose_before_the_first_reading_is_dated_to_it() {
    let points = series(30, 0.5, 3, |index| index as f64);
    let onset = estimate(&points, 29 * STEP_MS).expect("a rise");
    assert_eq!((onset.at_ms, onset.earliest_ms), (0, 0));
}

#[test]
fn too_little_and_unusable_readings_have_no_onset() {
    assert_eq!(estimate(&[], 0), None);
    assert_eq!(
        estimate(&series(4, 0.0, 1, step(3, 9.0)), 3 * STEP_MS),
        None
    );
    let unusable: Vec<(i64, f64)> = (0..30).map(|index| (index, f64::NAN)).collect();
    assert_eq!(estimate(&unusable, 30), None);
    assert_eq!(estimate(&series(30, 0.0, 1, |_| 0.0), 29 * STEP_MS), None);
}

proptest! {
    #[test]
    fn the_answer_is_ordered_repeatable_and_never_after_the_crossing(
        points in proptest::collection::vec((0_i64..400_000, -1e12_f64..1e12), 0..150),
        crossed in 0_i64..400_000,
        turn in 0_usize..150,
    ) {
        let found = estimate(&points, crossed);
        if let Some(Onset { at_ms, earliest_ms, latest_ms }) = found {
            prop_assert!(earliest_ms <= at_ms && at_ms <= latest_ms && latest_ms <= crossed);
        }
        let mut turned = points.clone();
        turned.rotate_left(turn % points.len().max(1));
        prop_assert_eq!(estimate(&turned, crossed), found);
    }
}
