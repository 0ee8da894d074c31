//! Several readings of one moment, and several counts of one thing.

use super::series::Points;

/// A counter's value falls in one step of so many at most, when it restarts.
const RESETS: usize = 20;
/// A count that is not repeated for this part of the usual time between two
/// readings is over.
const HELD: (i64, i64) = (3, 4);
/// Moments of counts that are not read at the same times, for each moment of
/// the longest, at most.
const SPREAD: usize = 2;

/// The readings in order of time, those of one moment as their mean: so the
/// order of the lines does not matter.
pub fn mean(mut points: Points) -> Points {
    points.sort_unstable_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
    let same = points.chunk_by(|one, other| one.0 == other.0);
    let means = same.map(|same| {
        let (at, least) = same[0];
        let (_, most) = same[same.len() - 1];
        if least.total_cmp(&most).is_eq() {
            return (at, least);
        }
        #[expect(clippy::cast_precision_loss, reason = "readings of one moment")]
        let count = same.len() as f64;
        (at, same.iter().map(|(_, value)| value / count).sum())
    });
    means.collect()
}

/// The moments at which counts are added: all of them, or those of the count
/// with most readings where they are read at times of their own.
pub fn grid(parts: &[&Points]) -> Vec<i64> {
    let longest = parts.iter().max_by_key(|part| part.len());
    let Some(longest) = longest else {
        return Vec::new();
    };
    let mut moments: Vec<i64> = parts
        .iter()
        .flat_map(|part| part.iter().map(|(at, _)| *at))
        .collect();
    moments.sort_unstable();
    moments.dedup();
    if moments.len() <= longest.len() * SPREAD {
        return moments;
    }
    longest.iter().map(|(at, _)| *at).collect()
}

/// What the counts come to at each moment. A counter holds what it counted
/// until it counts on; any other count that is not there is zero.
pub fn sum(parts: &[&Points], moments: &[i64]) -> Points {
    let mut out: Points = moments.iter().map(|at| (*at, 0.0)).collect();
    for part in parts {
        let held = if is_counter(part) {
            i64::MAX
        } else {
            held(part)
        };
        let mut next = 0;
        for (at, value) in &mut out {
            while part.get(next).is_some_and(|(moment, _)| moment <= at) {
                next += 1;
            }
            let last = next.checked_sub(1).and_then(|index| part.get(index));
            if let Some((moment, known)) = last
                && *at - moment <= held
            {
                *value += known;
            }
        }
    }
    out
}

fn is_counter(points: &[(i64, f64)]) -> bool {
    let steps = || points.windows(2);
    let falls = steps().filter(|pair| pair[1].1 < pair[0].1).count();
    let rises = steps().filter(|pair| pair[1].1 > pair[0].1).count();
    falls * RESETS <= points.len() && rises * 2 >= points.len()
}

/// How long a count stands that is no counter.
fn held(points: &[(i64, f64)]) -> i64 {
    let mut steps: Vec<i64> = points
        .windows(2)
        .map(|pair| pair[1].0 - pair[0].0)
        .collect();
    steps.sort_unstable();
    let usual = steps.get(steps.len() / 2).copied().unwrap_or(0);
    usual / HELD.1 * HELD.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_of_one_moment_are_their_mean_in_any_order() {
        let points = vec![(2, 5.0), (1, 1.0), (1, 4.0), (2, 5.0), (1, 1.0)];
        let mut turned = points.clone();
        turned.reverse();
        let expected = vec![(1, 2.0), (2, 5.0)];
        assert_eq!(mean(points), expected);
        assert_eq!(mean(turned), expected);
    }

    #[test]
    fn a_counter_holds_and_a_rate_that_is_not_there_is_zero() {
        let counter = vec![(0, 10.0), (10, 20.0), (30, 40.0)];
        let rate = vec![(0, 3.0), (10, 2.0), (20, 3.0)];
        let late = vec![(20, 7.0)];
        let all = [&counter, &rate, &late];
        let grid = grid(&all);
        assert_eq!(grid, [0, 10, 20, 30]);
        let expected = vec![(0, 13.0), (10, 22.0), (20, 30.0), (30, 40.0)];
        assert_eq!(sum(&all, &grid), expected);
    }
}
