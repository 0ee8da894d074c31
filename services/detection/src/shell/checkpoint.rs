//! Putting the state away: recent records, then changed fields with the next
//! offset, then the offset for people who look at lag.

use crate::shell::group;
use crate::shell::store::{Place, Saved};
use crate::shell::worker::Worker;
use rdkafka::consumer::{CommitMode, Consumer};
use std::time::Instant;

impl Worker {
    /// Writes a checkpoint of every partition that moved. Everything that was
    /// decided must have been published before.
    ///
    /// # Errors
    /// Redis is away; nothing is lost, and trying again is safe.
    pub(super) fn checkpoint(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let handle = self.handle.clone();
        handle.block_on(self.recent.flush(&self.parts.redis))?;
        let mut committed: Vec<(Place, i64)> = Vec::new();
        let mut stale: Vec<Place> = Vec::new();
        let store = self.parts.store.clone();
        for (place, partition) in &mut self.partitions {
            partition.pending.extend(partition.state.take_changes());
            if partition.pending.is_empty() && partition.next_offset == partition.saved_offset {
                continue;
            }
            let saved = handle.block_on(store.save(
                place,
                &mut partition.claim,
                partition.next_offset,
                &partition.pending,
                &partition.state,
            ))?;
            match saved {
                Saved::Done => {
                    partition.pending.clear();
                    partition.saved_offset = partition.next_offset;
                    committed.push((place.clone(), partition.next_offset));
                }
                Saved::Stale => stale.push(place.clone()),
            }
        }
        for place in stale {
            self.lose(&place);
        }
        if !committed.is_empty() {
            let list = group::offsets(committed.iter().map(|(place, next)| (place, *next)))?;
            if let Err(error) = self.parts.consumer.commit(&list, CommitMode::Async) {
                tracing::debug!(%error, "the offset shown as lag is not committed");
            }
        }
        self.since_checkpoint = 0;
        self.last_checkpoint = Instant::now();
        metrics::histogram!("midwatch_detection_checkpoint_seconds")
            .record(begun.elapsed().as_secs_f64());
        metrics::gauge!("midwatch_detection_series").set(
            self.partitions
                .values()
                .map(|partition| partition.state.series_count() as f64)
                .sum::<f64>(),
        );
        Ok(())
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
        self.partitions.remove(place);
        self.positions.remove(place);
        self.lost_since.get_or_insert_with(Instant::now);
    }
}
