//! What holds for the statistical core on every series: no names, no units, no
//! semantics, only times and values.

use midwatch_detection::config::Tuning;
use midwatch_detection::decide::statistics::{Profile, SIGMA_CAP};
use midwatch_detection::decide::watch::{Refused, Verdict, Watch};
use midwatch_series::generate;
use proptest::prelude::*;
use std::sync::LazyLock;

type Points = Vec<(i64, f64)>;

/// 2026-11-23T00:00:00Z, a Monday.
const START_MS: i64 = 1_795_392_000_000;
const WEEK_MS: i64 = 7 * 86_400_000;
const CENTURY_MS: i64 = 100 * 365 * 86_400_000;
/// How far other factors than powers of two may move a score. Each product is
/// rounded once (2⁻⁵³ of it), and peaks and hours are kept in single precision
/// (2⁻²⁴, about 6e-8), once a sample and with a memory of some thousands: 4 000
/// roundings in one direction would be 2.4e-4 of a strength, and a score moves
/// by no more than its strength does, in parts.
const TOLERANCE: f64 = 1e-3;

/// Series as operators know them, 1 000 to 20 000 samples each.
static REALISTIC: LazyLock<Vec<Points>> = LazyLock::new(|| {
    let all = [2, 3].into_iter().flat_map(|seed| generate(seed, 1));
    all.map(|one| one.points).collect()
});

/// All numbers of a verdict bit for bit, and its words.
#[derive(Clone, Debug, PartialEq)]
struct Exact {
    is_anomaly: bool,
    ready: bool,
    score: u64,
    reason: String,
    band: [u64; 3],
}

fn exact(verdict: Verdict) -> Exact {
    Exact {
        is_anomaly: verdict.is_anomaly,
        ready: verdict.ready,
        score: verdict.score.to_bits(),
        reason: verdict.reason,
        band: [verdict.expected, verdict.low, verdict.high].map(f64::to_bits),
    }
}

fn verdicts(points: &[(i64, f64)]) -> Vec<Verdict> {
    let mut watch = Watch::default();
    let observe = |(at_ms, value): &(i64, f64)| watch.observe(*at_ms, *value);
    let all: Result<Vec<Verdict>, Refused> = points.iter().map(observe).collect();
    all.expect("times rise and values are finite")
}

fn exactly(points: &[(i64, f64)]) -> Vec<Exact> {
    verdicts(points).into_iter().map(exact).collect()
}

fn scaled(points: &[(i64, f64)], factor: f64) -> Points {
    let scale = |(at_ms, value): &(i64, f64)| (*at_ms, value * factor);
    points.iter().map(scale).collect()
}

fn moved(points: &[(i64, f64)], by_ms: i64) -> Points {
    let shift = |(at_ms, value): &(i64, f64)| (at_ms + by_ms, *value);
    points.iter().map(shift).collect()
}

fn stored(watch: &Watch) -> String {
    serde_json::to_string(watch).expect("a watch encodes")
}

fn restarted(watch: &Watch) -> Watch {
    serde_json::from_str(&stored(watch)).expect("what was encoded decodes")
}

/// Values of every kind of series, and of none.
fn wild() -> impl Strategy<Value = f64> {
    let any = prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO;
    prop_oneof![
        4 => 90.0..110.0_f64,
        2 => Just(100.0),
        2 => (0..4_i8).prop_map(f64::from),
        1 => any,
        1 => prop::sample::select(vec![
            0.0, -0.0, 1e300, -1e300, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, -5e-324,
            1e37, -1e37, 3.5e38, 1e-38, 1e9, -1e9,
        ]),
    ]
}

/// Values whose differences, scaled by 2^±30, single precision can hold.
fn tame() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => 90.0..110.0_f64,
        2 => Just(100.0),
        2 => (-3..4_i8).prop_map(f64::from),
        1 => -1e6..1e6_f64,
        1 => 1e-6..1e-3_f64,
    ]
}

/// Levels that single precision can hold: beyond 1e±30 there is no real unit.
fn constant() -> impl Strategy<Value = f64> {
    let level = (-30.0..30.0_f64).prop_map(|exponent| 10_f64.powf(exponent));
    let either = (level, any::<bool>()).prop_map(|(level, up)| if up { level } else { -level });
    prop_oneof![8 => either, 4 => tame(), 1 => Just(0.0), 1 => Just(-0.0)]
}

fn gap_ms() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => Just(300_000_i64),
        4 => 1..600_000_i64,
        2 => Just(3_600_000_i64),
        1 => Just(1_i64),
        1 => Just(CENTURY_MS),
    ]
}

fn start_ms() -> impl Strategy<Value = i64> {
    prop_oneof![Just(START_MS), -CENTURY_MS..CENTURY_MS]
}

fn timed(start_ms: i64, steps: &[(i64, f64)]) -> Points {
    let mut at_ms = start_ms;
    let mut points = Vec::with_capacity(steps.len());
    for (gap_ms, value) in steps {
        points.push((at_ms, *value));
        at_ms += gap_ms;
    }
    points
}

/// A series whose samples come regularly, irregularly, or both in turn.
fn series<V: Strategy<Value = f64> + 'static>(
    value: impl Fn() -> V,
) -> impl Strategy<Value = Points> {
    let steps = prop_oneof![
        prop::collection::vec((Just(300_000_i64), value()), 1..800),
        prop::collection::vec((Just(3_600_000_i64), value()), 1..300),
        prop::collection::vec((gap_ms(), value()), 1..300),
    ];
    (start_ms(), steps).prop_map(|(start_ms, steps)| timed(start_ms, &steps))
}

/// Any of the realistic series.
fn realistic() -> impl Strategy<Value = &'static Points> {
    (0..REALISTIC.len()).prop_map(|index| &REALISTIC[index])
}

fn assert_sound(verdict: &Verdict) {
    assert!((0.0..=1.0).contains(&verdict.score), "{verdict:?}");
    let band = [verdict.expected, verdict.low, verdict.high];
    assert!(band.iter().all(|number| number.is_finite()), "{verdict:?}");
    assert!(verdict.low <= verdict.expected, "{verdict:?}");
    assert!(verdict.expected <= verdict.high, "{verdict:?}");
    assert!(verdict.ready || !verdict.is_anomaly, "{verdict:?}");
    assert!(!verdict.is_anomaly || verdict.score >= 0.5, "{verdict:?}");
    assert!(
        !verdict.is_anomaly || !verdict.reason.is_empty(),
        "{verdict:?}"
    );
}

/// How two runs of one series compare.
#[derive(Default)]
struct Likeness {
    samples: usize,
    decisions: usize,
    /// Scores further apart than [`TOLERANCE`].
    apart: usize,
}

impl Likeness {
    /// Compares decisions, and scores up to rounding. Where rounding itself
    /// decides, at a score as close to ½ as the tolerance, what follows from
    /// the decision differs, and the comparison ends.
    fn compare(&mut self, one: &[Verdict], other: &[Verdict], what: &str) {
        for (index, (one, other)) in one.iter().zip(other).enumerate() {
            let apart = (one.score - other.score).abs();
            let is_close = (one.score - 0.5).abs() <= TOLERANCE;
            if is_close && one.is_anomaly != other.is_anomaly {
                return;
            }
            assert_eq!(
                one.is_anomaly, other.is_anomaly,
                "{what}, sample {index}: {one:?} {other:?}"
            );
            self.samples += 1;
            self.decisions += usize::from(one.is_anomaly);
            self.apart += usize::from(apart > TOLERANCE);
        }
    }
}

#[test]
fn a_unit_of_a_thousandth_or_a_thousand_decides_alike() {
    let mut found = Likeness::default();
    for (number, points) in REALISTIC.iter().enumerate() {
        let usual = verdicts(points);
        for factor in [1_000.0, 0.001, 1e9, 1e-9] {
            let other = verdicts(&scaled(points, factor));
            found.compare(&usual, &other, &format!("series {number} × {factor}"));
        }
    }
    // Close calls hardly ever end a comparison. And two peaks of one size, as
    // whole numbers make them, may count as the first and the second or the
    // other way round: that moves a score by a little more.
    let all: usize = 4 * REALISTIC.iter().map(Vec::len).sum::<usize>();
    assert!(found.samples * 100 > all * 99, "{} of {all}", found.samples);
    assert!(found.apart * 1_000 < found.samples, "{}", found.apart);
    assert!(found.decisions > 500, "{}", found.decisions);
}

#[test]
fn a_unit_of_a_power_of_two_changes_no_bit_of_any_realistic_series() {
    for points in REALISTIC.iter() {
        let usual = verdicts(points);
        for exponent in [-40, 10, 40] {
            let factor = 2.0_f64.powi(exponent);
            for (one, other) in usual.iter().zip(verdicts(&scaled(points, factor))) {
                assert_eq!(one.score.to_bits(), other.score.to_bits());
                assert_eq!(one.is_anomaly, other.is_anomaly);
                assert_eq!(one.reason, other.reason);
                let back = [other.expected, other.low, other.high].map(|number| number / factor);
                assert_eq!([one.expected, one.low, one.high], back);
            }
        }
    }
}

#[test]
fn realistic_series_move_by_weeks_and_survive_restarts_bit_for_bit() {
    for (number, points) in REALISTIC.iter().enumerate() {
        let usual = exactly(points);
        for weeks in [-3_000, -1, 520] {
            let other = exactly(&moved(points, weeks * WEEK_MS));
            assert!(usual == other, "series {number} moved by {weeks} weeks");
        }
        let mut watch = Watch::default();
        for (index, (at_ms, value)) in points.iter().enumerate() {
            if index % 97 == number % 97 {
                watch = restarted(&watch);
            }
            let verdict = watch.observe(*at_ms, *value).expect("a good sample");
            assert_eq!(exact(verdict), usual[index], "series {number}, {index}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn scores_lie_within_0_and_1_and_bands_are_finite(points in series(wild)) {
        verdicts(&points).iter().for_each(assert_sound);
    }

    #[test]
    fn a_constant_is_no_news(value in constant(), gap_ms in 1..3_600_001_i64, count in 1..3_000_usize) {
        let all = verdicts(&timed(START_MS, &vec![(gap_ms, value); count]));
        for verdict in all.iter().filter(|verdict| verdict.ready) {
            assert_sound(verdict);
            prop_assert!(verdict.score < 0.01 && verdict.reason.is_empty(), "{:?}", verdict);
            prop_assert!(!verdict.is_anomaly);
        }
    }

    #[test]
    fn a_power_of_two_changes_no_score(points in series(tame), exponent in -30..31_i32) {
        let factor = 2.0_f64.powi(exponent);
        let other = verdicts(&scaled(&points, factor));
        for (one, other) in verdicts(&points).into_iter().zip(other) {
            prop_assert_eq!(one.score.to_bits(), other.score.to_bits());
            prop_assert_eq!(one.is_anomaly, other.is_anomaly);
            prop_assert_eq!(one.expected, other.expected / factor);
        }
    }

    #[test]
    fn whole_weeks_change_nothing(points in series(wild), weeks in -5_000..5_000_i64) {
        prop_assert_eq!(exactly(&points), exactly(&moved(&points, weeks * WEEK_MS)));
    }

    #[test]
    fn what_comes_later_changes_nothing(
        points in realistic(),
        part in 0.0..1.0_f64,
        later in prop::collection::vec((1..600_000_i64, wild()), 1..50),
    ) {
        let known = (part * points.len() as f64) as usize;
        let mut other = points[..known].to_vec();
        let last_ms = other.last().map_or(START_MS, |(at_ms, _)| *at_ms);
        other.extend(timed(last_ms + 1, &later));
        prop_assert_eq!(&exactly(points)[..known], &exactly(&other)[..known]);
    }

    #[test]
    fn restarts_change_nothing(points in series(wild), splits in prop::collection::vec(any::<bool>(), 800)) {
        let mut watch = Watch::default();
        let mut whole = Watch::default();
        for ((at_ms, value), split) in points.into_iter().zip(splits) {
            if split {
                watch = restarted(&watch);
            }
            let verdict = watch.observe(at_ms, value).expect("a good sample");
            let uninterrupted = whole.observe(at_ms, value).expect("a good sample");
            prop_assert_eq!(exact(verdict), exact(uninterrupted));
        }
        prop_assert_eq!(stored(&watch), stored(&whole));
    }

    #[test]
    fn what_is_refused_leaves_no_trace(
        points in series(wild),
        strays in prop::collection::vec((0..800_usize, 0..3_u8, wild(), 1..CENTURY_MS), 1..30),
    ) {
        let mut watch = Watch::default();
        let mut undisturbed = Watch::default();
        for (index, (at_ms, value)) in points.iter().enumerate() {
            let verdict = watch.observe(*at_ms, *value).expect("a good sample");
            let expected = undisturbed.observe(*at_ms, *value).expect("a good sample");
            prop_assert_eq!(exact(verdict), exact(expected));
            for (_, kind, stray, apart_ms) in strays.iter().filter(|stray| stray.0 == index) {
                let before = stored(&watch);
                let (stray_ms, stray, refused) = match kind {
                    0 => (at_ms - apart_ms, *stray, Refused::Late),
                    1 => (*at_ms, *stray, Refused::Duplicate),
                    _ => {
                        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
                        let odd = odd[(*apart_ms % 3) as usize];
                        (at_ms + apart_ms, odd, Refused::NotFinite)
                    }
                };
                prop_assert_eq!(watch.observe(stray_ms, stray), Err(refused));
                prop_assert_eq!(stored(&watch), before);
            }
        }
    }

    #[test]
    fn distances_are_finite_whatever_was_learnt(
        points in series(wild),
        relearn_at in 0..300_usize,
        probes in prop::collection::vec(wild(), 1..8),
    ) {
        let tuning = Tuning::default();
        let mut profile = Profile::default();
        for (index, (at_ms, value)) in points.iter().enumerate() {
            profile.notice(*at_ms, *value);
            for probe in &probes {
                let judgement = profile.judge(*at_ms, *probe, &tuning);
                prop_assert!(judgement.z.abs() <= SIGMA_CAP, "{:?}", judgement);
                prop_assert!((0.0..=1.0).contains(&judgement.score), "{:?}", judgement);
                prop_assert!(judgement.low.is_finite() && judgement.high.is_finite(), "{:?}", judgement);
                prop_assert!(judgement.low <= judgement.expected, "{:?}", judgement);
                prop_assert!(judgement.expected <= judgement.high, "{:?}", judgement);
            }
            profile.learn(*at_ms, *value);
            if index == relearn_at {
                let latest: Vec<f64> = points[index.saturating_sub(20)..=index]
                    .iter()
                    .map(|(_, value)| *value)
                    .collect();
                profile.relearn(*at_ms, &latest);
            }
        }
        let text = serde_json::to_string(&profile).expect("a profile encodes");
        let again: Profile = serde_json::from_str(&text).expect("what was encoded decodes");
        let (last_ms, _) = points[points.len() - 1];
        for probe in probes {
            prop_assert_eq!(
                again.judge(last_ms + 60_000, probe, &tuning),
                profile.judge(last_ms + 60_000, probe, &tuning)
            );
        }
    }
}
