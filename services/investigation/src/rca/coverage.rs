//! Which time a recording covers: what is "new" or "gone" is so only within it.
//!
//! A clock that is wrong, a time that was left out and read as 1970, a span
//! told in microseconds: a few records far from all others move neither the
//! beginning nor the end.

use super::recording::Recording;

/// So few times may be wrong, or a hundredth of all where that is more.
const STRAYS: usize = 3;
/// Readings looked at on either end of a series.
const EDGE: usize = 8;

/// The first and the last of some times, without the strays: the few at either
/// end that lie farther from the rest than the rest is long.
#[must_use]
pub fn period(mut times: Vec<i64>) -> Option<(i64, i64)> {
    times.sort_unstable();
    times.dedup();
    let last = times.len().checked_sub(1)?;
    let strays = STRAYS.max(times.len() / 100).min(last / 4);
    let (left, right) = (strays, last - strays);
    let rest = times[right].saturating_sub(times[left]);
    let is_far = |index: usize| times[index + 1].saturating_sub(times[index]) > rest;
    let first = (0..left).rev().find(|index| is_far(*index));
    let end = (right..last).find(|index| is_far(*index));
    Some((
        times[first.map_or(0, |index| index + 1)],
        times[end.unwrap_or(last)],
    ))
}

fn of_series(recording: &Recording) -> Vec<i64> {
    let edges = recording.series.iter().flat_map(|series| {
        let points = &series.points;
        let head = points.len().min(EDGE);
        let tail = points.len().saturating_sub(EDGE).max(head);
        points[..head].iter().chain(&points[tail..])
    });
    edges.map(|(at, _)| *at).collect()
}

/// The time in which anything was recorded.
#[must_use]
pub fn of_all(recording: &Recording) -> Option<(i64, i64)> {
    let mut times = of_series(recording);
    times.extend(recording.lines.iter().map(|line| line.at_ms));
    times.extend(recording.spans.iter().map(|span| span.start_ms));
    period(times)
}

/// The time in which metrics were read.
#[must_use]
pub fn of_metrics(recording: &Recording) -> Option<(i64, i64)> {
    period(of_series(recording))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_wrong_clocks_move_no_end() {
        let times: Vec<i64> = (1_000..1_100).collect();
        assert_eq!(period(times.clone()), Some((1_000, 1_099)));
        let mut wrong = times.clone();
        wrong.extend([0, 10, 900_000]);
        assert_eq!(period(wrong), Some((1_000, 1_099)));
        // As far away as all are long: that is no error.
        let mut pause = times;
        pause.push(1_190);
        assert_eq!(period(pause), Some((1_000, 1_190)));
        assert_eq!(period(Vec::new()), None);
        assert_eq!(period(vec![5]), Some((5, 5)));
    }
}
