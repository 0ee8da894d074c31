//! Levels that several families share.

use crate::clock::Clock;
use crate::draw::Draw;

/// A random walk that is pulled back to 0 by `pull` of its distance each
/// sample (0: not at all), with a standard deviation of `step` a sample.
pub(super) fn walk(draw: &mut Draw, count: usize, step: f64, pull: f64) -> Vec<f64> {
    let mut at = 0.0;
    (0..count)
        .map(|_| {
            at += step * draw.normal() - pull * at;
            at
        })
        .collect()
}

/// Holds each of the values that `next` draws for an exponential number of
/// samples, `mean` on average.
pub(super) fn plateaus(
    draw: &mut Draw,
    count: usize,
    mean: f64,
    mut next: impl FnMut(&mut Draw) -> f64,
) -> Vec<f64> {
    let mut level = Vec::with_capacity(count);
    while level.len() < count {
        let lasting = draw.exponential(mean) as usize + 1;
        let value = next(draw);
        level.extend(std::iter::repeat_n(value, lasting.min(count - level.len())));
    }
    level
}

/// Bursts at random, on average one in `every` samples: each lasts
/// `length.0..length.1` samples at a height that `height` draws. Elsewhere 0.
pub(super) fn bursts(
    draw: &mut Draw,
    count: usize,
    every: f64,
    length: (f64, f64),
    mut height: impl FnMut(&mut Draw) -> f64,
) -> Vec<f64> {
    let mut level = vec![0.0; count];
    let mut at = draw.exponential(every) as usize;
    while at < count {
        let lasting = draw.log_uniform(length.0, length.1).round() as usize;
        let top = height(draw);
        for value in level[at..].iter_mut().take(lasting) {
            *value += top * draw.uniform(0.7, 1.1);
        }
        at += lasting + 1 + draw.exponential(every) as usize;
    }
    level
}

/// Whether a job that starts every `every_ms` (after `offset_ms`) and takes
/// `lasting_ms` runs at the time of each sample; starts shift by up to `jitter_ms`.
pub(super) fn jobs(
    draw: &mut Draw,
    clock: &Clock,
    every_ms: i64,
    lasting_ms: i64,
    jitter_ms: i64,
) -> Vec<bool> {
    let offset = draw.uniform(0.0, every_ms as f64) as i64;
    let mut late = 0;
    let mut run = i64::MIN;
    clock
        .times
        .iter()
        .map(|time| {
            let this = (time - offset).div_euclid(every_ms);
            if this != run {
                run = this;
                late = draw.uniform(0.0, jitter_ms as f64 + 1.0) as i64;
            }
            let since = (time - offset).rem_euclid(every_ms) - late;
            (0..lasting_ms).contains(&since)
        })
        .collect()
}

/// Rises at `rate` a sample (itself unsteady) from `low` until `high`, then
/// falls back to about `low`: garbage collection, queues emptied, logs rotated.
pub(super) fn sawtooth(draw: &mut Draw, count: usize, low: f64, high: f64, rate: f64) -> Vec<f64> {
    let mut at = draw.uniform(low, high);
    let mut turn = high;
    (0..count)
        .map(|_| {
            at += rate * draw.uniform(0.3, 1.7);
            if at >= turn {
                at = low + 0.08 * (high - low) * draw.uniform(0.0, 1.0);
                turn = high - 0.12 * (high - low) * draw.uniform(0.0, 1.0);
            }
            at
        })
        .collect()
}

/// Two series added sample by sample.
pub(super) fn sum(mut one: Vec<f64>, other: &[f64]) -> Vec<f64> {
    for (value, more) in one.iter_mut().zip(other) {
        *value += more;
    }
    one
}
