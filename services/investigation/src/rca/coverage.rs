//! Which time a recording covers: what is "new" or "gone" is so only within it.
//!
//! A clock that is wrong, a time that was left out and read as 1970, a span
//! told in microseconds: a few records far from all others move neither the
//! beginning nor the end.

use super::recording::{Kept, Question, Recording};
use super::wording::complains;
use midwatch_events::raw::LogLevel;
use std::collections::BTreeMap;

/// So few times may be wrong, or a hundredth of all where that is more.
const STRAYS: usize = 3;
/// Readings looked at on either end of a series.
const EDGE: usize = 8;
/// What is taken for the normal period of lines that were picked.
const PICKED_MS: i64 = 60_000;

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

/// So many times the usual pause between two records, a service may say nothing
/// at the beginning: one in twenty pauses of chance is longer.
const PAUSE: i64 = 3;
/// Where what came since is this many times longer than what was before, that
/// nothing was seen before says little.
const BRIEF: f64 = 5.0;

/// What is known of the time before the fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Base {
    /// Milliseconds of the normal period in which records would be there.
    pub before_ms: f64,
    /// How many times as long the time since is.
    pub ratio: f64,
    /// The records begin too late, or the period is too brief, to take that
    /// there were none for more than a small number.
    pub is_brief: bool,
}

impl Base {
    /// From where records would be there, until `quiet_ms`; `begin_ms` is where
    /// the recording begins. `None` where all of it came later.
    fn of(from_ms: i64, begin_ms: i64, quiet_ms: i64, since_ms: i64) -> Option<Base> {
        let before = quiet_ms - from_ms;
        #[expect(clippy::cast_precision_loss, reason = "hours in milliseconds")]
        let (before_ms, since_ms) = (before as f64, since_ms.max(1) as f64);
        let ratio = since_ms / before_ms.max(1.0);
        (before > 0).then_some(Base {
            before_ms,
            ratio,
            is_brief: from_ms > begin_ms || ratio > BRIEF,
        })
    }
}

/// What a service's lines can be compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bases {
    /// Lines at WARN or above.
    pub warnings: Option<Base>,
    /// All others.
    pub ordinary: Option<Base>,
}

/// The first of some times in order, or so much earlier that the pause before
/// it is a usual one; `begin_ms` at the earliest.
fn first_expected(times: &[i64], begin_ms: i64) -> i64 {
    let (Some(first), Some(last)) = (times.first(), times.last()) else {
        return begin_ms;
    };
    let pauses = i64::try_from(times.len() - 1).unwrap_or(i64::MAX);
    let Some(usual) = (last - first).checked_div(pauses) else {
        return begin_ms;
    };
    first.saturating_sub(PAUSE * usual).max(begin_ms)
}

/// What was recorded within the period, by service, oldest first.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Where the recording of these records begins.
    pub begin_ms: i64,
    /// Where the normal period ends.
    pub quiet_ms: i64,
    pub end_ms: i64,
    start_ms: i64,
}

impl Window {
    fn of(question: &Question, begin_ms: i64, last_ms: i64) -> Window {
        Window {
            begin_ms,
            quiet_ms: question.quiet_until_ms(begin_ms),
            end_ms: question.end_ms.min(last_ms),
            start_ms: question.start_ms,
        }
    }

    /// Whether a record is of the normal period or of the time since.
    #[must_use]
    pub fn holds(&self, at_ms: i64) -> bool {
        let is_before = at_ms >= self.begin_ms && at_ms < self.quiet_ms;
        is_before || (at_ms >= self.start_ms && at_ms <= self.end_ms)
    }

    fn base(&self, from_ms: i64) -> Option<Base> {
        let since_ms = self.end_ms - self.start_ms;
        Base::of(from_ms, self.begin_ms, self.quiet_ms, since_ms)
    }
}

/// Which time the lines of each service cover.
///
/// Lines are recorded since the first one of any service; where none but
/// warnings and errors are ever written, since anything was recorded. A
/// service that writes nothing else is quiet by nature: it had none before. One
/// whose ordinary lines, too, begin only later than a usual pause is known
/// from then on: what it wrote before was not kept.
#[must_use]
pub fn of_lines<'a>(
    recording: &'a Recording,
    question: &Question,
) -> Option<(Window, BTreeMap<&'a str, Bases>)> {
    let (first_ms, last_ms) = of_all(recording)?;
    let mut services: BTreeMap<&str, (Vec<i64>, Vec<i64>)> = BTreeMap::new();
    for line in &recording.lines {
        if line.at_ms < first_ms || line.at_ms > last_ms {
            continue;
        }
        let (all, ordinary) = services.entry(line.service.as_str()).or_default();
        all.push(line.at_ms);
        let is_ordinary = match recording.kept {
            Kept::Newest { .. } => line.level < LogLevel::Warn,
            _ => !complains(line, line.level),
        };
        if is_ordinary {
            ordinary.push(line.at_ms);
        }
    }
    for (all, ordinary) in services.values_mut() {
        all.sort_unstable();
        ordinary.sort_unstable();
    }
    let is_told = services.values().any(|(_, ordinary)| !ordinary.is_empty());
    let firsts = services.values().filter_map(|(all, _)| all.first());
    let begin_ms = match recording.kept {
        Kept::All | Kept::Newest { .. } if is_told => firsts.copied().min()?,
        Kept::Picked => first_ms.min(question.start_ms - PICKED_MS),
        _ => first_ms,
    };
    let window = Window::of(question, begin_ms, last_ms);
    let bases = services.into_iter().map(|(service, (all, ordinary))| {
        let (warnings, rest) = match recording.kept {
            Kept::All => {
                let from = first_expected(&ordinary, begin_ms).min(all[0]);
                (from, from)
            }
            Kept::Newest {
                lines,
                ordinary: few,
                ..
            } => {
                let from = if all.len() >= lines { all[0] } else { begin_ms };
                let is_full = few > 0 && ordinary.len() >= few;
                (from, if is_full { ordinary[0] } else { from })
            }
            Kept::Picked => (begin_ms, begin_ms),
        };
        let mut bases = Bases {
            warnings: window.base(warnings),
            ordinary: window.base(rest),
        };
        if recording.kept == Kept::Picked {
            for base in [&mut bases.warnings, &mut bases.ordinary] {
                *base = base.map(|base| Base {
                    is_brief: false,
                    ..base
                });
            }
        }
        (service, bases)
    });
    Some((window, bases.collect()))
}

/// Which time the spans of each service cover: from its first one, or from the
/// first of any service where the pause before it is a usual one.
#[must_use]
pub fn of_spans<'a>(
    recording: &'a Recording,
    question: &Question,
) -> Option<(Window, BTreeMap<&'a str, Option<Base>>)> {
    let (first_ms, last_ms) = of_all(recording)?;
    let mut services: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for span in &recording.spans {
        if span.start_ms >= first_ms && span.start_ms <= last_ms {
            let times = services.entry(span.service.as_str()).or_default();
            times.push(span.start_ms);
        }
    }
    for times in services.values_mut() {
        times.sort_unstable();
    }
    let firsts = services.values().filter_map(|times| times.first());
    let window = Window::of(question, firsts.copied().min()?, last_ms);
    let bases = services.into_iter().map(|(service, times)| {
        let from_ms = match recording.kept {
            Kept::Newest { spans, .. } if times.len() < spans => window.begin_ms,
            Kept::Newest { .. } => times[0],
            _ => first_expected(&times, window.begin_ms),
        };
        (service, window.base(from_ms))
    });
    Some((window, bases.collect()))
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
