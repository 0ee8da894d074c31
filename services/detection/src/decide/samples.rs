//! The way of a metric sample through the core.
//!
//! Nearly everything that comes is a sample of a known series, so this way is
//! kept free of allocations: names are borrowed from the message, and what is
//! to be kept of the sample is returned under the series' shared name.

use crate::decide::series::{Outcome, Series};
use crate::decide::state::{Environment, PartitionState};
use crate::decide::table::{Id, SeriesName};
use crate::decide::transition::{Mark, Reading};
use crate::decide::{At, Detector, Effect, Ignored, emit, enter};

/// A sample whose names lie in its message.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    pub environment: &'a str,
    pub service: &'a str,
    /// The metric's name with what tells instances apart
    /// ([`super::naming::write_series_name`]).
    pub series: &'a str,
    pub at_ms: i64,
    pub value: f64,
}

/// A reading to be kept for other agents and people.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    pub name: SeriesName,
    pub reading: Reading,
    /// Whether it is the series' first in this minute of record time: soon
    /// enough to cut what is kept of it to its bound.
    pub first_in_minute: bool,
}

impl Detector {
    /// Decides about a metric sample, as [`Detector::decide`] does. Allocates
    /// nothing where its series is known and nothing unusual happens; what
    /// does happen is added to `effects`.
    pub fn sample(
        &self,
        state: &mut PartitionState,
        at: At,
        sample: Sample<'_>,
        effects: &mut Vec<Effect>,
    ) -> Option<Kept> {
        let kept = self.judge_sample(state, at, sample, effects);
        if sample.value.is_finite() {
            self.sweep_if_due(state, sample.environment, at, effects);
        }
        kept
    }

    pub(super) fn judge_sample(
        &self,
        state: &mut PartitionState,
        at: At,
        sample: Sample<'_>,
        effects: &mut Vec<Effect>,
    ) -> Option<Kept> {
        if !sample.value.is_finite() {
            effects.push(Effect::Ignore(Ignored::NotFinite));
            return None;
        }
        let PartitionState {
            environments,
            series_count,
            changed,
            ..
        } = state;
        let (environment, at_ms) = enter(
            environments,
            changed,
            effects,
            sample.environment,
            sample.at_ms,
            at.wall_ms,
        );
        let silence_ms = environment.clock.silence_ms();
        let room = *series_count < self.tuning.max_series;
        let Some(id) = find(environment, &sample, room, series_count) else {
            effects.push(Effect::Ignore(Ignored::TooMany));
            return None;
        };
        let mark = Mark {
            at_ms,
            value: sample.value,
            event_id: at.event_id,
        };
        let origin = self.origin(sample.environment, sample.service, sample.series);
        let mut sketches = Vec::new();
        let (name, series) = environment.series.change(id);
        let outcome = series.observe(&origin, mark, silence_ms, &mut sketches);
        let name = name.clone();
        environment.series.note_heard(id);
        let Outcome::Taken { reading, set_back } = outcome else {
            effects.push(Effect::Ignore(Ignored::Late));
            return None;
        };
        if set_back {
            environment.clock.set_back(at_ms);
        }
        for sketch in sketches {
            emit(
                effects,
                sketch,
                sample.environment,
                sample.service,
                at.wall_ms,
            );
        }
        let when = (at_ms, set_back);
        self.spend_budget(environment, changed, effects, &sample, at, when);
        Some(Kept {
            name,
            reading,
            first_in_minute: environment.series.is_new_minute(id, at.wall_ms),
        })
    }
}

/// The series of this name, made where there is `room` for another.
fn find(
    environment: &mut Environment,
    sample: &Sample<'_>,
    room: bool,
    count: &mut usize,
) -> Option<Id> {
    let known = environment.series.find(sample.service, sample.series);
    if known.is_some() || !room {
        return known;
    }
    *count += 1;
    let name = SeriesName::new(sample.environment, sample.service, sample.series);
    Some(environment.series.insert(name, Series::default()))
}
