//! What is said about an action's effect, by tables and by properties.

use midwatch_events::action::{ExpectedEffect, Verification, VerificationVerdict};
use midwatch_events::anomaly::Direction;
use midwatch_remediation::execution::Check;
use midwatch_remediation::proof::statistics::{Method, falling, median, rank_sum};
use midwatch_remediation::proof::{Judgement, Reading, Untouched, judge};
use proptest::prelude::*;

const ACTED_MS: i64 = 1_000_000;
const TICK_MS: i64 = 10_000;

/// Connections of payment-service: 30 is normal, an effect has two minutes.
fn check() -> Check {
    Check {
        incident_id: uuid::Uuid::from_u128(1),
        environment: "simulation".to_owned(),
        step_id: "S2".to_owned(),
        effect: ExpectedEffect {
            service: "payment-service".to_owned(),
            metric: "service_db_connections".to_owned(),
            direction: Direction::Below,
            baseline_value: 30.0,
            within_ms: 120_000,
        },
        onset_ms: ACTED_MS - 100_000,
        acted_at_ms: ACTED_MS,
        affected_services: vec!["payment-service".to_owned(), "api-gateway".to_owned()],
        asked_wall_ms: None,
    }
}

/// Readings every ten seconds: the last of `before` five seconds before the
/// action, the first of `after` five seconds after it.
fn series(before: &[f64], after: &[f64]) -> Vec<Reading> {
    let first_ms = ACTED_MS - TICK_MS / 2 - TICK_MS * (before.len() as i64 - 1);
    let values = before.iter().chain(after).enumerate();
    values
        .map(|(index, value)| Reading {
            at_ms: first_ms + TICK_MS * index as i64,
            value: *value,
        })
        .collect()
}

fn other(before: &[f64], after: &[f64]) -> Vec<Untouched> {
    vec![Untouched {
        service: "notification-service".to_owned(),
        readings: series(before, after),
    }]
}

fn settled(check: &Check, readings: &[Reading], controls: &[Untouched]) -> Verification {
    match judge(check, readings, controls, ACTED_MS + 120_000) {
        Judgement::Done(verification) => *verification,
        waits => panic!("{waits:?}"),
    }
}

/// Twelve readings after the action: those given, and then the last again with
/// a little noise.
fn after(first: &[f64]) -> Vec<f64> {
    let last = first.last().copied().expect("one value");
    let more = (first.len()..12).map(|index| last + [0.3, -0.2, 0.1, -0.4][index % 4]);
    first.iter().copied().chain(more).collect()
}

const HIGH: [f64; 6] = [88.0, 91.0, 86.0, 92.0, 89.0, 90.0];

#[test]
fn the_test_gives_what_another_program_gives() {
    // scipy 1.17.1: mannwhitneyu(…, method="exact"); with equal values
    // method=PermutationMethod(n_resamples=inf).
    let exact: [(&[f64], &[f64], f64); 7] = [
        (
            &[1.0, 2.0, 3.0],
            &[4.0, 5.0, 6.0, 7.0],
            0.057_142_857_142_857_14,
        ),
        (
            &[88.1, 91.5, 79.2, 95.3],
            &[30.2, 31.1, 29.4, 28.8],
            0.028_571_428_571_428_57,
        ),
        (
            &[3.1, 4.7, 2.2, 5.9, 6.3],
            &[4.1, 5.2, 7.7, 8.0, 6.9, 3.3],
            0.246_753_246_753_246_72,
        ),
        (
            &[88.0, 91.0, 79.0, 95.0, 83.0, 99.0],
            &[30.0, 31.0, 29.0, 28.0, 32.0, 33.0, 27.5, 31.5],
            0.000_666_000_666_000_666,
        ),
        (
            &[100.0, 100.0, 97.0, 100.0],
            &[100.0, 100.0, 31.0, 30.0, 30.0],
            0.238_095_238_095_238_08,
        ),
        (
            &[1.0, 1.0, 2.0, 3.0],
            &[1.0, 2.0, 2.0, 4.0, 5.0],
            0.380_952_380_952_380_93,
        ),
        (&[5.0; 3], &[5.0; 4], 1.0),
    ];
    for (one, other, expected) in exact {
        let (p_value, method) = rank_sum(one, other);
        assert!(
            (p_value - expected).abs() < 1e-12,
            "{one:?} {other:?}: {p_value}"
        );
        assert_eq!(method, Method::Exact);
    }
    // scipy: mannwhitneyu(…, method="asymptotic") → 0.40742836915116265; with
    // equal values and 75 readings.
    let one: Vec<f64> = (0..40).map(|i| f64::from((i * 37) % 101)).collect();
    let other: Vec<f64> = (0..35).map(|i| f64::from((i * 53) % 101 + 9)).collect();
    let (p_value, method) = rank_sum(&one, &other);
    assert!(
        (p_value - 0.407_428_369_151_162_65).abs() < 1e-6,
        "{p_value}"
    );
    assert_eq!(method, Method::Normal);
    // Nothing to compare, and nothing that differs in many readings.
    assert_eq!(rank_sum(&[], &[1.0]).0, 1.0);
    assert_eq!(rank_sum(&[5.0; 40], &[5.0; 40]).0, 1.0);
}

#[test]
fn the_trend_is_what_another_program_says() {
    // scipy 1.17.1: kendalltau(range(n), values, alternative="less",
    // method="exact").
    for (values, expected) in [
        (
            &[95.0, 90.0, 80.0, 70.0, 60.0][..],
            0.008_333_333_333_333_333,
        ),
        (&[95.0, 90.0, 92.0, 70.0, 60.0], 0.041_666_666_666_666_664),
        (&[60.0, 70.0, 80.0, 90.0, 95.0], 1.0),
        (&[9.0, 7.0, 8.0, 5.0, 6.0, 4.0], 0.027_777_777_777_777_776),
    ] {
        let p_value = falling(values);
        assert!((p_value - expected).abs() < 1e-12, "{values:?}: {p_value}");
    }
    // By hand: nine of ten pairs fall, which four of 120 orders do and one
    // order of 120 surpasses.
    assert!((falling(&[100.0, 100.0, 90.0, 80.0, 70.0]) - 5.0 / 120.0).abs() < 1e-12);
    assert_eq!(falling(&[]), 1.0);
}

#[test]
fn every_verdict_has_its_case() {
    use VerificationVerdict::{Improved, NotImproved, NotProvable, RecoveredByItself, Worse};
    let falls = after(&[70.0, 50.0, 33.0, 30.0]);
    let rises = [50.0, 60.0, 70.0, 80.0, 90.0, 96.0];
    let returns = [99.0, 98.0, 93.0, 84.0, 75.0, 66.0];
    let cases: [(&str, &[f64], &[f64], VerificationVerdict); 13] = [
        ("fixed", &HIGH, &falls, Improved),
        ("fixed while it still rose", &rises, &falls, Improved),
        ("nothing changed", &HIGH, &after(&[90.0]), NotImproved),
        (
            "a little better is no cure",
            &HIGH,
            &after(&[74.0]),
            NotImproved,
        ),
        ("it grew", &[50.0, 52.0, 51.0, 53.0], &after(&[80.0]), Worse),
        ("it went on rising", &rises, &after(&[100.0]), Worse),
        (
            "it had begun to return",
            &returns,
            &after(&[40.0, 31.0]),
            RecoveredByItself,
        ),
        (
            "it was normal",
            &[30.2, 29.5, 30.9, 30.1],
            &after(&[30.0]),
            NotProvable,
        ),
        ("too late to see it", &[88.0, 91.0], &falls, NotProvable),
        (
            "too early to see it grow",
            &[50.0, 52.0],
            &after(&[80.0]),
            NotImproved,
        ),
        (
            "two show that it is still there",
            &[88.0, 91.0],
            &after(&[90.0]),
            NotImproved,
        ),
        ("one shows it, too", &[88.0], &after(&[90.0]), NotImproved),
        (
            "before the first reading",
            &[],
            &after(&[90.0]),
            NotProvable,
        ),
    ];
    for (name, before, after, expected) in cases {
        let found = settled(&check(), &series(before, after), &[]);
        assert_eq!(found.verdict, expected, "{name}: {}", found.summary);
    }
}

#[test]
fn what_is_said_names_both_spans_and_the_test() {
    let readings = series(&HIGH, &after(&[70.0, 50.0, 33.0, 30.0]));
    let control = other(&[20.0, 21.0, 19.0, 20.5, 19.5, 20.2], &after(&[20.1]));
    let found = settled(&check(), &readings, &control);
    assert_eq!((found.before.count, found.before.median), (6, 89.5));
    // The first of the twelve is left out.
    assert_eq!(found.after.count, 11);
    assert_eq!(found.after.from_ms, ACTED_MS + 15_000);
    let p_value = found.p_value.expect("enough readings");
    // By hand: all before above all after, 2 / C(17, 6) = 2 / 12376.
    assert!((p_value - 2.0 / 12_376.0).abs() < 1e-9, "{p_value}");
    assert_eq!(
        found.test,
        "Mann–Whitney U, two-sided, exact, p < 0.05, and at least 50 % of the excess gone"
    );
    let control = found.control.expect("there is one");
    assert_eq!(
        (control.service.as_str(), control.before.count),
        ("notification-service", 6)
    );
    assert!(found.summary.starts_with("Improved: "), "{}", found.summary);
    assert!(
        found.summary.contains("went from 20.1 to"),
        "{}",
        found.summary
    );
    let json = serde_json::to_string(&found.p_value).expect("a number");
    assert_eq!(
        serde_json::from_str::<Option<f64>>(&json).expect("a number"),
        found.p_value
    );
}

#[test]
fn where_the_untouched_series_moved_alike_nothing_is_proven() {
    let fell = after(&[31.0]);
    let readings = series(&HIGH, &fell);
    let twin = other(&[60.0, 62.0, 59.0, 61.0, 60.5, 60.2], &after(&[21.0]));
    let found = settled(&check(), &readings, &twin);
    assert_eq!(found.verdict, VerificationVerdict::NotProvable);
    assert!(found.summary.contains("moved alike"), "{}", found.summary);
    let rose = series(&[50.0, 52.0, 51.0, 53.0], &after(&[80.0]));
    let twin = other(&[20.0, 20.5, 19.8, 20.1], &after(&[33.0]));
    let found = settled(&check(), &rose, &twin);
    assert_eq!(
        found.verdict,
        VerificationVerdict::NotProvable,
        "{}",
        found.summary
    );
}

#[test]
fn a_series_that_says_nothing_is_no_comparison() {
    let fell = after(&[31.0]);
    let readings = series(&HIGH, &fell);
    // A topic that nobody consumes, one that is affected, one with a gap.
    let still = other(&[0.0; 6], &[0.0; 12]);
    let mut affected = other(&[60.0, 62.0, 59.0, 61.0, 60.5, 60.2], &after(&[21.0]));
    affected[0].service = "api-gateway".to_owned();
    let gap = other(&[60.0, 62.0], &after(&[21.0]));
    for controls in [still, affected, gap] {
        let found = settled(&check(), &readings, &controls);
        assert_eq!(found.control, None);
        assert_eq!(found.verdict, VerificationVerdict::Improved);
    }
}

#[test]
fn a_metric_that_should_rise_is_judged_the_other_way_round() {
    let mut traffic = check();
    traffic.effect.direction = Direction::Above;
    traffic.effect.baseline_value = 80.0;
    let low = [12.0, 10.0, 11.0, 13.0, 9.0, 12.5];
    let found = settled(&traffic, &series(&low, &after(&[79.0])), &[]);
    assert_eq!(
        found.verdict,
        VerificationVerdict::Improved,
        "{}",
        found.summary
    );
    traffic.effect.direction = Direction::None;
    let found = settled(&traffic, &series(&low, &after(&[79.0])), &[]);
    assert_eq!(
        found.verdict,
        VerificationVerdict::Improved,
        "{}",
        found.summary
    );
    let found = settled(
        &traffic,
        &series(&[40.0, 42.0, 41.0, 39.0], &after(&[10.0])),
        &[],
    );
    assert_eq!(
        found.verdict,
        VerificationVerdict::Worse,
        "{}",
        found.summary
    );
}

#[test]
fn a_clear_cure_is_told_early_and_everything_else_waits() {
    let due = Judgement::Wait {
        until_ms: ACTED_MS + 120_000,
    };
    let at = |values: &[f64]| {
        let now_ms = ACTED_MS - TICK_MS / 2 + TICK_MS * values.len() as i64;
        judge(&check(), &series(&HIGH, values), &[], now_ms)
    };
    let early = |values: &[f64]| match at(values) {
        Judgement::Done(found) => Some(found.verdict),
        Judgement::Wait { .. } => None,
    };
    assert_eq!(at(&[]), due);
    // Three readings count of these four, and it takes four.
    assert_eq!(at(&[50.0, 31.0, 30.0, 30.5]), due);
    // 2 / C(10, 4) = 0.0095.
    let clear = [50.0, 31.0, 30.0, 30.5, 29.7];
    assert_eq!(early(&clear), Some(VerificationVerdict::Improved));
    // Lower, but not settled.
    assert_eq!(at(&[85.0, 70.0, 60.0, 55.0, 50.0]), due);
    // A restart's dip makes nobody undo it; half the time later it does.
    assert_eq!(at(&[110.0, 120.0, 119.0, 121.0, 122.0]), due);
    let worse = [110.0, 120.0, 119.0, 121.0, 122.0, 120.5, 119.5];
    assert_eq!(early(&worse), Some(VerificationVerdict::Worse));
    // No change is known only when the time is over.
    assert_eq!(at(&[90.0; 9]), due);
}

#[test]
fn a_slow_series_gets_as_much_time_again_and_no_more() {
    let two = series(&HIGH, &[50.0, 31.0, 30.0]);
    let wait = judge(&check(), &two, &[], ACTED_MS + 130_000);
    assert_eq!(
        wait,
        Judgement::Wait {
            until_ms: ACTED_MS + 240_000
        }
    );
    let Judgement::Done(found) = judge(&check(), &two, &[], ACTED_MS + 240_000) else {
        panic!("it waits for ever");
    };
    assert_eq!(found.verdict, VerificationVerdict::NotProvable);
    assert!(
        found.summary.contains("only 2 readings"),
        "{}",
        found.summary
    );
}

#[test]
fn quiet_readings_before_the_excited_part_do_not_water_it_down() {
    // The onset was dated a minute too early.
    let before: Vec<f64> = [30.0, 31.0, 29.0, 30.5].into_iter().chain(HIGH).collect();
    let mut early = check();
    early.onset_ms = ACTED_MS - 200_000;
    let found = settled(&early, &series(&before, &after(&[30.0])), &[]);
    assert_eq!((found.before.count, found.before.median), (6, 89.5));
}

fn values(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(0.0..100.0_f64, count)
}

proptest! {
    #[test]
    fn the_test_is_symmetric_and_a_probability(one in values(1..40), other in values(1..40)) {
        let (p_value, _) = rank_sum(&one, &other);
        prop_assert!((0.0..=1.0).contains(&p_value));
        let (swapped, _) = rank_sum(&other, &one);
        prop_assert!((p_value - swapped).abs() < 1e-9);
        // Only the order counts, not the scale.
        let scale = |list: &[f64]| list.iter().map(|value| value * 8.0 + 3.0).collect::<Vec<_>>();
        let (scaled, _) = rank_sum(&scale(&one), &scale(&other));
        prop_assert!((p_value - scaled).abs() < 1e-9);
    }

    #[test]
    fn a_judgement_ends_when_its_time_is_over(
        before in values(0..20), later in values(0..30), past_ms in 240_000..1_000_000_i64,
    ) {
        let ended = judge(&check(), &series_of(&before, &later), &[], ACTED_MS + past_ms);
        let Judgement::Done(found) = ended else {
            return Err(TestCaseError::fail("it waits for ever"));
        };
        let again = judge(&check(), &series_of(&before, &later), &[], ACTED_MS + past_ms);
        prop_assert_eq!(Judgement::Done(found), again);
    }

    #[test]
    fn improvement_is_never_said_without_half_of_the_excess_gone(
        before in values(3..12), later in values(5..12), now in 0..12_i64,
    ) {
        let now_ms = ACTED_MS + now * TICK_MS;
        let judged = judge(&check(), &series_of(&before, &later), &[], now_ms);
        if let Judgement::Done(found) = judged {
            let gone = 1.0 - (found.after.median - 30.0) / (found.before.median - 30.0);
            if found.verdict == VerificationVerdict::Improved {
                prop_assert!(gone >= 0.4999 && found.p_value.is_some_and(|p| p < 0.05));
                prop_assert!(found.before.count >= 3 && found.after.count >= 4);
            }
            if found.verdict == VerificationVerdict::Worse {
                prop_assert!(gone <= -0.2499 && found.p_value.is_some_and(|p| p < 0.05));
            }
        }
    }
}

proptest! {
    // Each case lives through sixty series, look by look.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn noise_alone_is_hardly_ever_called_a_cure(seed in any::<u64>()) {
        // Of series that nothing happened to, at most one in ten may be said
        // to be better or worse: the test's five percent, and its early looks.
        let mut state = seed | 1;
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            60.0 + (state >> 40) as f64 / f64::from(1 << 24) * 60.0
        };
        let mut told = 0;
        for _ in 0..60 {
            let (before, later): (Vec<f64>, Vec<f64>) =
                ((0..8).map(|_| draw()).collect(), (0..13).map(|_| draw()).collect());
            let readings = series_of(&before, &later);
            for looks in 1..=13 {
                let now_ms = ACTED_MS + looks * TICK_MS;
                let seen: Vec<Reading> =
                    readings.iter().copied().filter(|one| one.at_ms <= now_ms).collect();
                if let Judgement::Done(found) = judge(&check(), &seen, &[], now_ms) {
                    let moved = [VerificationVerdict::Improved, VerificationVerdict::Worse];
                    told += usize::from(moved.contains(&found.verdict));
                    break;
                }
            }
        }
        prop_assert!(told <= 6, "{told} of 60");
    }
}

fn series_of(before: &[f64], after: &[f64]) -> Vec<Reading> {
    if before.is_empty() {
        return series(&[30.0], after).split_off(1);
    }
    series(before, after)
}

#[test]
fn a_median_is_the_middle() {
    assert_eq!(
        (median(&[]), median(&[3.0]), median(&[4.0, 1.0])),
        (0.0, 3.0, 2.5)
    );
}
