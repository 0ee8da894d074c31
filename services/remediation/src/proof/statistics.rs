//! The statistics behind a verdict, on a handful of readings.
//!
//! Ranks, not means: latencies and error rates have long tails, a full pool
//! reads the same value again and again, and a handful of readings says
//! nothing about a distribution's shape.

/// Readings of both spans together up to which the distribution of the rank
/// sum is counted out. Above it the normal approximation is within a percent
/// of it at the tails that decide.
pub const EXACT_MOST: usize = 60;

/// How a p-value was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Exact,
    Normal,
}

/// The median; 0 of nothing.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// Whether two samples differ in location: the two-sided p-value of the
/// Mann–Whitney U test (H. B. Mann, D. R. Whitney, "On a test of whether one
/// of two random variables is stochastically larger than the other", Annals of
/// Mathematical Statistics 18, 1947).
///
/// Up to [`EXACT_MOST`] readings it is the exact permutation distribution of
/// the rank sum, with mid-ranks where values are equal; above that the normal
/// approximation with correction for ties and continuity. 1 where either
/// sample is empty.
#[must_use]
pub fn rank_sum(one: &[f64], other: &[f64]) -> (f64, Method) {
    let total = one.len() + other.len();
    if one.is_empty() || other.is_empty() {
        return (1.0, Method::Exact);
    }
    let ranks = doubled_ranks(one, other);
    let sum: usize = ranks[..one.len()].iter().sum();
    if total <= EXACT_MOST {
        (exact(&ranks, one.len(), sum), Method::Exact)
    } else {
        (normal(&ranks, one.len(), sum), Method::Normal)
    }
}

/// Twice the mid-rank of each value among all, first those of `one`: whole
/// numbers also where values are equal.
fn doubled_ranks(one: &[f64], other: &[f64]) -> Vec<usize> {
    let all: Vec<f64> = one.iter().chain(other).copied().collect();
    let rank = |value: &f64| {
        let below = all.iter().filter(|other| *other < value).count();
        let equal = all.iter().filter(|other| *other == value).count();
        // Ranks below + 1 … below + equal, their mean doubled.
        2 * below + equal + 1
    };
    all.iter().map(rank).collect()
}

/// Counts, for every rank sum, the ways to choose `size` of the readings that
/// give it: all choices are equally likely where nothing has changed.
fn exact(ranks: &[usize], size: usize, observed: usize) -> f64 {
    let most: usize = ranks.iter().sum();
    let mut ways = vec![vec![0.0_f64; most + 1]; size + 1];
    ways[0][0] = 1.0;
    for (index, rank) in ranks.iter().enumerate() {
        for chosen in (1..=size.min(index + 1)).rev() {
            let (fewer, more) = ways.split_at_mut(chosen);
            let (from, to) = (&fewer[chosen - 1], &mut more[0]);
            for sum in *rank..=most {
                to[sum] += from[sum - rank];
            }
        }
    }
    let all: f64 = ways[size].iter().sum();
    let low: f64 = ways[size][..=observed].iter().sum();
    let high: f64 = ways[size][observed..].iter().sum();
    (2.0 * low.min(high) / all).min(1.0)
}

fn normal(ranks: &[usize], size: usize, observed: usize) -> f64 {
    let (own, total) = (real(size), real(ranks.len()));
    let other = total - own;
    let u = real(observed) / 2.0 - own * (own + 1.0) / 2.0;
    let mut sorted = ranks.to_vec();
    sorted.sort_unstable();
    let ties: f64 = sorted
        .chunk_by(|one, other| one == other)
        .map(|group| real(group.len()).powi(3) - real(group.len()))
        .sum();
    let variance = own * other / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    let distance = ((u - own * other / 2.0).abs() - 0.5).max(0.0);
    error_function_rest(distance / variance.sqrt() / std::f64::consts::SQRT_2)
}

/// The complementary error function for `x` of 0 or more, within 1.5e-7:
/// Abramowitz and Stegun, Handbook of Mathematical Functions, formula 7.1.26.
fn error_function_rest(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let series = [
        0.254_829_592,
        -0.284_496_736,
        1.421_413_741,
        -1.453_152_027,
        1.061_405_429,
    ];
    let sum = series.iter().rev().fold(0.0, |sum, part| (sum + part) * t);
    sum * (-x * x).exp()
}

/// Whether readings in order of time fall: the one-sided p-value of Kendall's
/// rank correlation with time (M. G. Kendall, "A new measure of rank
/// correlation", Biometrika 30, 1938), exact. Equal readings count as not
/// falling, which errs towards "no trend".
#[must_use]
pub fn falling(readings: &[f64]) -> f64 {
    let size = readings.len();
    let pairs = (0..size).flat_map(|late| (0..late).map(move |early| (early, late)));
    let falls = pairs
        .filter(|(early, late)| readings[*early] > readings[*late])
        .count();
    // Permutations of 1…n by their number of inversions, one element at a
    // time: the n-th can stand before 0 to n − 1 smaller ones.
    let mut ways = vec![1.0_f64];
    for placed in 2..=size {
        let mut next = vec![0.0; ways.len() + placed - 1];
        for (inversions, count) in ways.iter().enumerate() {
            for more in 0..placed {
                next[inversions + more] += count;
            }
        }
        ways = next;
    }
    let all: f64 = ways.iter().sum();
    ways[falls..].iter().sum::<f64>() / all
}

fn real(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
