//! Recorded events through the same cores: what a run would have published.
//!
//! There is one clock, that of the records; the caller says what it shows with
//! each of them, and it never runs back. Waits that last on the wall (settle,
//! grow, hops, jobs) and silence are measured by it. With the records' own
//! arrival times this is what happened live; with event times it is what would
//! happen to a fleet whose samples arrive as they are taken.
//!
//! What differs from the real processes is what [`super`] says of all virtual
//! runs, and that detection begins without any state.

use super::Setup;
use super::pipeline::{IDLE_EVERY_MS, Pipeline};
use midwatch_events::artifact::Artifact;
use midwatch_events::{Envelope, Event};
use midwatch_investigation::decide::facts::Known;
use std::collections::BTreeMap;

/// After a gap of this length silence is looked for once a minute only.
const LONG_GAP_MS: i64 = 3_600_000;
const LONG_EVERY_MS: i64 = 60_000;
/// Detection forgets what was silent for a day; a longer gap says no more.
const LONGEST_GAP_MS: i64 = 26 * 3_600_000;
/// How long correlation and investigation are given after the last record, so
/// that what was found is announced: both of correlation's waits at their
/// longest, and the jobs between.
const LAST_WORDS_MS: i64 = 150_000;

/// A message that an agent sends.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// When, on the clock of the run, epoch milliseconds.
    pub wall_ms: i64,
    pub event: Event,
}

/// Detection, correlation and investigation on their way through a recording.
pub struct Replay {
    pipeline: Pipeline<'static>,
    now_ms: Option<i64>,
}

impl Replay {
    /// Agents that know nothing yet. `epoch` names the broker's data, so that
    /// what is found has the ids that it has live; detection lets silence grow
    /// in a partition after `idle_after_ms` without a record.
    #[must_use]
    pub fn new(setup: &Setup, epoch: &str, idle_after_ms: i64) -> Replay {
        Replay {
            pipeline: Pipeline::of_recording(setup, epoch, idle_after_ms),
            now_ms: None,
        }
    }

    /// The same with the anomalies and operators' commands of the recording:
    /// detection judges samples only for what it keeps for others, and what it
    /// finds counts for nothing. So correlation and investigation decide on the
    /// very anomalies that they decided on live. `past` are the incidents that
    /// the knowledge store found then.
    #[must_use]
    pub fn of_anomalies(setup: &Setup, epoch: &str, idle_after_ms: i64, past: Known) -> Replay {
        let mut replay = Replay::new(setup, epoch, idle_after_ms);
        replay.pipeline.give_anomalies();
        replay.pipeline.know(past);
        replay
    }

    /// Takes in a record of a partition of its event's topic, after all that
    /// happens until `at_ms`, epoch milliseconds. A time before that of an
    /// earlier record counts as that one's.
    pub fn take(&mut self, at_ms: i64, partition: i32, envelope: Envelope) {
        self.pass_until(at_ms);
        let now_ms = self.now_ms.unwrap_or(at_ms);
        self.pipeline.hear(envelope, partition, now_ms);
    }

    /// Lets time pass without a record: waits end, and silence grows.
    pub fn pass_until(&mut self, at_ms: i64) {
        let Some(now_ms) = self.now_ms else {
            self.now_ms = Some(at_ms);
            self.pipeline.wake(at_ms);
            return;
        };
        if at_ms <= now_ms {
            return;
        }
        let every_ms = |tick_ms: i64| {
            if tick_ms - now_ms < LONG_GAP_MS {
                IDLE_EVERY_MS
            } else {
                LONG_EVERY_MS
            }
        };
        let mut tick_ms = self.pipeline.idle_wall_ms() + IDLE_EVERY_MS;
        while tick_ms <= at_ms.min(now_ms.saturating_add(LONGEST_GAP_MS)) {
            self.pipeline.work_until(tick_ms);
            self.pipeline.idle(tick_ms);
            tick_ms += every_ms(tick_ms);
        }
        self.pipeline.work_until(at_ms);
        if at_ms - self.pipeline.idle_wall_ms() > LONG_EVERY_MS {
            self.pipeline.wake(at_ms);
        }
        self.now_ms = Some(at_ms);
    }

    /// Lets the agents announce what they know after the last record. The end
    /// of a recording is no silence.
    pub fn finish(&mut self) {
        if let Some(now_ms) = self.now_ms {
            self.pipeline.work_until(now_ms + LAST_WORDS_MS);
        }
    }

    /// What the clock shows; none before the first record.
    #[must_use]
    pub fn now_ms(&self) -> Option<i64> {
        self.now_ms
    }

    /// What was published since the last look.
    pub fn take_published(&mut self) -> Vec<Published> {
        self.pipeline.take_published()
    }

    /// What was concluded since the last look, marked as a replay's; only of
    /// [`Replay::of_anomalies`].
    pub fn take_artifacts(&mut self) -> Vec<Artifact> {
        let mut artifacts = self.pipeline.take_artifacts();
        for artifact in &mut artifacts {
            artifact.replay = true;
        }
        artifacts
    }

    /// Samples that detection did not judge, by its word for the reason.
    #[must_use]
    pub fn ignored(&self) -> &BTreeMap<&'static str, u64> {
        self.pipeline.ignored()
    }

    /// Series that detection watches.
    #[must_use]
    pub fn series_count(&self) -> usize {
        self.pipeline.series_count()
    }
}
