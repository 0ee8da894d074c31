//! Putting the state away beside the loop: recent records, then changed fields
//! with the next offset, then the offset for people who look at lag.
//!
//! A checkpoint begins by freezing what changed, at the offset that was
//! reached, right after everything decided so far was published. Its fields
//! then go to the writer a piece at a time between batches of messages, so
//! that a million series neither stop the loop nor are held in memory twice.

use crate::shell::group;
use crate::shell::recent;
use crate::shell::store::{PIECE, Place, Saved};
use crate::shell::worker::Worker;
use crate::shell::writer::{Done, Order};
use anyhow::bail;
use rdkafka::consumer::{CommitMode, Consumer};
use std::time::{Duration, Instant};

/// Fields per piece while messages wait: a piece takes as long as some hundred
/// samples.
const BUSY_PIECE: usize = 200;
/// Fields that changed after the freeze and before their turn are held twice;
/// from so many on, the loop waits for the writer.
const TWICE: usize = 2_000;
/// A checkpoint begins no sooner than so many times the duration of the one
/// before, so that writing never takes more than a quarter of the time. What a
/// crash makes the next process do again grows with it, the readings do not wait.
const REST: u32 = 3;
/// The longest wait for the writer between two polls, and for a Redis that is
/// away when partitions are given back.
const PATIENCE: Duration = Duration::from_secs(5);

/// The checkpoint that is under way, or the last one.
pub(super) struct Checkpoint {
    under_way: bool,
    begun: Instant,
    ended: Instant,
    took: Duration,
}

impl Checkpoint {
    pub fn new() -> Checkpoint {
        let now = Instant::now();
        Checkpoint {
            under_way: false,
            begun: now,
            ended: now,
            took: Duration::ZERO,
        }
    }
}

impl Worker {
    /// Orders what is due from the writer. Everything that was decided must
    /// have been published before. `busy` says that messages wait.
    ///
    /// # Errors
    /// Redis is away and there is no room to go on; nothing is lost.
    pub(super) fn hand_over(&mut self, busy: bool) -> anyhow::Result<()> {
        self.take_in_done();
        if let Some(trouble) = self.writer.trouble() {
            bail!(trouble);
        }
        let config = &self.parts.config;
        if self.recent.buffered() >= config.checkpoint_samples
            || self.last_flush.elapsed() >= config.checkpoint_every
        {
            self.flush();
        }
        let rested = self.checkpoint.ended.elapsed();
        if !self.checkpoint.under_way
            && rested
                >= self
                    .parts
                    .config
                    .checkpoint_every
                    .max(REST * self.checkpoint.took)
        {
            self.begin();
        }
        self.advance(if busy { 1 } else { usize::MAX });
        let waited = Instant::now();
        while self.is_full() {
            if let Some(trouble) = self.writer.trouble() {
                bail!(trouble);
            }
            if waited.elapsed() >= PATIENCE {
                bail!("Redis is too slow for what comes");
            }
            self.await_writer(Duration::from_millis(50));
            self.flush();
            self.advance(usize::MAX);
        }
        Ok(())
    }

    /// Whether no more can be taken in before the writer has come further.
    fn is_full(&self) -> bool {
        let twice: usize = self
            .partitions
            .values()
            .map(|partition| partition.state.held_twice())
            .sum();
        twice >= TWICE || self.recent.buffered() >= 2 * self.parts.config.checkpoint_samples
    }

    fn await_writer(&mut self, limit: Duration) {
        if let Some(done) = self.writer.await_done(limit) {
            self.take_in(done);
            self.take_in_done();
        }
    }

    /// Orders recent records to be written, if those before have been.
    fn flush(&mut self) {
        if self.recent.buffered() == 0 {
            self.last_flush = Instant::now();
            return;
        }
        if self.writer.room() == 0 {
            return;
        }
        let Some(empty) = self.spare.take() else {
            return;
        };
        let bound = recent::bound(self.parts.config.recent_readings, self.series());
        let batch = self.recent.take(empty, bound);
        let ordered = self.writer.order(Order::Recent(batch));
        debug_assert!(ordered, "there was room, and only this thread orders");
        self.last_flush = Instant::now();
    }

    fn series(&self) -> usize {
        let partitions = self.partitions.values();
        partitions
            .map(|partition| partition.state.series_count())
            .sum()
    }

    /// Freezes every partition that moved, behind the recent records.
    fn begin(&mut self) {
        self.flush();
        if self.recent.buffered() > 0 {
            return;
        }
        self.checkpoint.begun = Instant::now();
        for partition in self.partitions.values_mut() {
            if partition.state.has_changes() || partition.next_offset != partition.saved_offset {
                partition.state.freeze();
                partition.saving = Some(partition.next_offset);
                partition.unsaved = true;
            }
        }
        self.checkpoint.under_way = true;
        self.close();
    }

    /// Ends the checkpoint if all partitions are saved.
    fn close(&mut self) {
        let unsaved = self.partitions.values().any(|partition| partition.unsaved);
        if unsaved || !self.checkpoint.under_way {
            return;
        }
        let took = self.checkpoint.begun.elapsed();
        self.checkpoint = Checkpoint {
            under_way: false,
            took,
            ended: Instant::now(),
            ..self.checkpoint
        };
        metrics::histogram!("midwatch_detection_checkpoint_seconds").record(took.as_secs_f64());
        metrics::gauge!("midwatch_detection_series").set(self.series() as f64);
    }

    /// Gives out at most `pieces` frozen pieces, as far as the writer has room.
    fn advance(&mut self, mut pieces: usize) {
        let small = if pieces == 1 { BUSY_PIECE } else { PIECE };
        for (place, partition) in &mut self.partitions {
            while let Some(next_offset) = partition.saving {
                if pieces == 0 || self.writer.room() == 0 {
                    return;
                }
                pieces -= 1;
                // What fits into one piece needs no journal.
                let whole = partition.state.frozen() <= PIECE;
                let piece = partition.state.piece(if whole { PIECE } else { small });
                let order = if partition.state.frozen() == 0 {
                    partition.saving = None;
                    Order::Finish(place.clone(), piece, next_offset)
                } else {
                    Order::Changes(place.clone(), piece)
                };
                let ordered = self.writer.order(order);
                debug_assert!(ordered, "there was room, and only this thread orders");
            }
        }
    }

    fn take_in_done(&mut self) {
        while let Some(done) = self.writer.done() {
            self.take_in(done);
        }
    }

    fn take_in(&mut self, done: Done) {
        match done {
            Done::Recent(empty) => self.spare = Some(empty),
            Done::Piece => {}
            Done::Saved {
                place,
                owner,
                next_offset,
                saved,
            } => self.saved(&place, owner, next_offset, saved),
        }
    }

    fn saved(&mut self, place: &Place, owner: i64, next_offset: i64, saved: Saved) {
        let Some(partition) = self.partitions.get_mut(place) else {
            return;
        };
        if partition.owner != owner {
            return;
        }
        match saved {
            Saved::Done => {
                partition.saved_offset = next_offset;
                partition.unsaved = false;
                let committed = group::offsets([(place, next_offset)])
                    .and_then(|list| self.parts.consumer.commit(&list, CommitMode::Async));
                if let Err(error) = committed {
                    tracing::debug!(%error, "the offset shown as lag is not committed");
                }
                self.close();
            }
            Saved::Stale => self.lose(place),
        }
    }

    /// Completes the checkpoint that is under way and then writes another of
    /// everything that was decided.
    ///
    /// # Errors
    /// It took longer than `limit`; nothing is lost, the work since the last
    /// checkpoint is done again.
    pub(super) fn checkpoint_now(&mut self, limit: Duration) -> anyhow::Result<()> {
        let called = Instant::now();
        let mut begun = false;
        loop {
            self.take_in_done();
            if !self.checkpoint.under_way {
                if begun && self.spare.is_some() {
                    return Ok(());
                }
                self.begin();
                begun = self.checkpoint.under_way || self.recent.buffered() == 0;
            }
            self.advance(usize::MAX);
            let trouble = self.writer.trouble();
            if called.elapsed() >= limit || (trouble.is_some() && called.elapsed() >= PATIENCE) {
                let taken_s = called.elapsed().as_secs();
                let trouble = trouble.unwrap_or_default();
                bail!("the last checkpoint is not complete after {taken_s} s {trouble}");
            }
            if self.checkpoint.under_way || self.spare.is_none() {
                self.await_writer(Duration::from_millis(20));
            }
        }
    }

    /// Forgets a partition, and what was under way of it.
    pub(super) fn forget(&mut self, place: &Place) {
        self.positions.remove(place);
        self.partitions.remove(place);
        self.close();
    }

    /// Somebody else has claimed the partition: what is in memory is not true
    /// any more.
    fn lose(&mut self, place: &Place) {
        tracing::error!(
            topic = place.0,
            partition = place.1,
            "another process has claimed the partition: its checkpoint was refused and its state is dropped"
        );
        metrics::counter!("midwatch_detection_stale_checkpoints_total").increment(1);
        self.forget(place);
        self.lost_since.get_or_insert_with(Instant::now);
    }
}
