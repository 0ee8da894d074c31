//! Whether an action helped: the same metric before and after it, by a stated
//! test, next to a series that the action did not touch where there is one.
//!
//! [`judge`] is pure; [`Proof`] reads the readings that it needs.
//!
//! What this cannot do: it cannot tell an action that helped from a fault that
//! ended by itself right after it, unless the return had begun before or the
//! untouched series moved alike; and readings that follow one another are not
//! independent, so that a p-value is smaller than it ought to be. Hence the
//! rule of practical size beside the test.

mod finding;
mod shell;
pub mod statistics;

pub use shell::{Proof, untouched};

use crate::execution::Check;
use finding::Spans;
use midwatch_events::action::Verification;

/// Readings before the action at least, to tell a change from it. With three of
/// them and five after, the smallest p-value that the test can give is 0.036;
/// with two it would take eight readings to get below [`LEVEL`] at all. One is
/// enough to tell that an excess is still there: whoever approves within
/// seconds of the alarm learns that, too.
pub const MIN_BEFORE: usize = 3;
/// Readings after the action at least, the first one not counted: it mixes
/// both states.
pub const MIN_AFTER: usize = 4;
/// A difference that chance gives less often than this is one: the customary
/// five percent, because a wrong verdict costs an undo or a second look and
/// nothing that cannot be mended.
pub const LEVEL: f64 = 0.05;
/// The same for a verdict before the time is over. Looking at every new
/// reading gives chance many tries, so an early look has to be surer, in the
/// manner of Haybittle and Peto; their 0.001 is out of reach with a handful of
/// readings.
pub const EARLY_LEVEL: f64 = 0.01;
/// The share of the excess over the baseline that must have gone away: what
/// is significant and smaller is no cure.
pub const LEAST_GONE: f64 = 0.5;
/// For an early verdict each of the last [`SETTLED`] readings must be this
/// near to the baseline.
pub const EARLY_GONE: f64 = 0.75;
/// Readings that an early verdict of improvement looks at.
pub const SETTLED: usize = 3;
/// The share by which the excess must have grown to be worse.
pub const LEAST_WORSE: f64 = 0.25;
/// Excess before the action, as a share of the baseline, below which there was
/// nothing to improve: quiet readings stray as far.
pub const LEAST_EXCESS: f64 = 0.05;
/// Readings before the action that are looked at for a return that had begun,
/// and how many it takes: four that all fall come by chance once in 24.
pub const TREND_READINGS: usize = 5;
pub const MIN_TREND: usize = 4;
/// The part of the highest excess that must have gone before the action for
/// the return to have begun.
pub const BEGUN: f64 = 0.2;
/// Readings before the excess reached this part of its peak are not part of
/// the excited state.
pub const EXCITED: f64 = 0.25;

/// One reading of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Event time, epoch milliseconds.
    pub at_ms: i64,
    pub value: f64,
}

/// A series of a service that the action did not touch.
#[derive(Clone, Debug, PartialEq)]
pub struct Untouched {
    pub service: String,
    /// In order of time.
    pub readings: Vec<Reading>,
}

/// What is known by now.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// Nothing can be said before this event time, unless the readings become
    /// clear earlier.
    Wait {
        until_ms: i64,
    },
    Done(Box<Verification>),
}

/// The first reading that a judgement can use: twice the time that the action
/// was given, before it. An incident that lasts for hours is compared with
/// what it was at last.
#[must_use]
pub fn first_ms(check: &Check) -> i64 {
    check
        .onset_ms
        .max(check.acted_at_ms - 2 * check.effect.within_ms)
}

/// Judges the effect of an action by the `readings` of its metric and by
/// `controls`, all in order of time; `now_ms` is the latest event time that
/// any series of the environment has reached.
#[must_use]
pub fn judge(
    check: &Check,
    readings: &[Reading],
    controls: &[Untouched],
    now_ms: i64,
) -> Judgement {
    let within_ms = check.effect.within_ms.max(1);
    let (due_ms, last_ms) = (
        check.acted_at_ms + within_ms,
        check.acted_at_ms + 2 * within_ms,
    );
    let mut spans = Spans::cut(check, readings, due_ms);
    if spans.after.len() < MIN_AFTER && now_ms > due_ms {
        // The series is slow: as much time again.
        spans = Spans::cut(check, readings, last_ms);
    }
    let passed_action = readings
        .last()
        .is_some_and(|last| last.at_ms > check.acted_at_ms);
    if (passed_action || now_ms >= due_ms)
        && let Some(why) = spans.nothing_to_compare(check)
    {
        return done(finding::not_provable(check, &spans, why));
    }
    if spans.after.len() < MIN_AFTER {
        let until_ms = if now_ms < due_ms { due_ms } else { last_ms };
        if now_ms < until_ms {
            return Judgement::Wait { until_ms };
        }
        let few = format!(
            "only {} readings came after the action, and it takes {MIN_AFTER}",
            spans.after.len()
        );
        return done(finding::not_provable(check, &spans, few));
    }
    let beside = finding::beside(check, controls, &spans);
    if now_ms < due_ms {
        let is_late = now_ms >= check.acted_at_ms + within_ms / 2;
        return match finding::early(check, &spans, beside.as_ref(), is_late) {
            Some(verification) => done(verification),
            None => Judgement::Wait { until_ms: due_ms },
        };
    }
    done(finding::at_last(check, &spans, beside.as_ref()))
}

/// What is said where readings stopped coming: the wall clock's limit.
#[must_use]
pub fn given_up(check: &Check, readings: &[Reading]) -> Verification {
    let spans = Spans::cut(check, readings, i64::MAX);
    let why = "the readings that it takes did not come in the time that was allowed".to_owned();
    finding::not_provable(check, &spans, why)
}

fn done(verification: Verification) -> Judgement {
    Judgement::Done(Box::new(verification))
}
