//! Taking and giving back partitions.

use crate::shell::group::{self, Rebalance};
use crate::shell::store::{Claim, Place, Stored};
use crate::shell::worker::{Partition, Worker};
use crate::shell::writer::Order;
use anyhow::Context as _;
use midwatch_runtime::clock;
use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::Offset;
use std::time::{Duration, Instant};

/// How long an assignment waits for Redis before the process starts over;
/// half of what the group allows between two polls.
const CLAIM_LIMIT: Duration = Duration::from_secs(60);
/// How long the last checkpoint before a revocation may take; the group waits
/// for it.
const REVOKE_LIMIT: Duration = Duration::from_secs(30);
/// How long to look for offsets by time.
const LOOK_UP: Duration = Duration::from_secs(10);

impl Worker {
    /// Answers a rebalance.
    ///
    /// # Errors
    /// Redis stayed away, or the consumer is closing.
    pub(super) fn rebalance(&mut self, rebalance: Rebalance) -> anyhow::Result<()> {
        match rebalance {
            Rebalance::Assign(places) => self.assign(&places),
            Rebalance::Revoke(places) => self.revoke(&places),
        }
    }

    fn assign(&mut self, places: &[Place]) -> anyhow::Result<()> {
        self.lost_since = None;
        let mut from = Vec::with_capacity(places.len());
        let mut fresh = 0;
        for place in places {
            let (claim, stored) = self.claim(place)?;
            let mut partition = Partition {
                owner: claim.owner,
                state: Default::default(),
                next_offset: 0,
                saved_offset: -1,
                saving: None,
                unsaved: false,
                skip_before_ms: 0,
                started: false,
                last_message: Instant::now(),
            };
            let offset = match stored {
                Some(stored) => {
                    tracing::info!(
                        topic = place.0,
                        partition = place.1,
                        next_offset = stored.next_offset,
                        series = stored.state.series_count(),
                        "assigned; going on from the stored state"
                    );
                    partition.state = stored.state;
                    partition.next_offset = stored.next_offset;
                    partition.saved_offset = stored.next_offset;
                    Offset::Offset(stored.next_offset)
                }
                None => {
                    fresh += 1;
                    self.warm_up(place, &mut partition)
                }
            };
            anyhow::ensure!(
                self.writer.await_room(CLAIM_LIMIT)
                    && self.writer.order(Order::Own(place.clone(), claim)),
                "Redis took nothing for {} s while partitions were assigned",
                CLAIM_LIMIT.as_secs()
            );
            self.positions.set(place, partition.next_offset);
            self.partitions.insert(place.clone(), partition);
            from.push((place.clone(), offset));
        }
        if fresh > 0 {
            tracing::warn!(
                partitions = fresh,
                of = places.len(),
                minutes = self.parts.config.warmup.as_secs() / 60,
                "no stored state: warming up from the records of the last minutes"
            );
        }
        group::take(&self.parts.consumer, &from).context("taking the assignment")
    }

    fn claim(&self, place: &Place) -> anyhow::Result<(Claim, Option<Stored>)> {
        let deadline = Instant::now() + CLAIM_LIMIT;
        loop {
            match self.handle.block_on(self.parts.store.claim(place)) {
                Ok(claimed) => {
                    self.parts.context.readiness.set("redis", Ok(()));
                    return Ok(claimed);
                }
                Err(error)
                    if Instant::now() < deadline && !self.parts.context.shutdown.is_set() =>
                {
                    self.parts
                        .context
                        .readiness
                        .set("redis", Err(format!("{error:#}")));
                    tracing::warn!(
                        topic = place.0,
                        partition = place.1,
                        "the stored state cannot be read yet: {error:#}"
                    );
                    std::thread::sleep(Duration::from_secs(1));
                }
                Err(error) => {
                    return Err(
                        error.context(format!("loading the state of {} {}", place.0, place.1))
                    );
                }
            }
        }
    }

    /// Where a partition without stored state begins.
    fn warm_up(&self, place: &Place, partition: &mut Partition) -> Offset {
        let warmup_ms = i64::try_from(self.parts.config.warmup.as_millis()).unwrap_or(i64::MAX);
        let since_ms = clock::now_ms().saturating_sub(warmup_ms);
        let looked_up = group::offsets([(place, since_ms)])
            .and_then(|list| self.parts.consumer.offsets_for_times(list, LOOK_UP));
        let offset = looked_up.ok().and_then(|found| {
            let element = found.find_partition(&place.0, place.1)?;
            element.error().ok()?;
            Some(element.offset())
        });
        match offset {
            Some(Offset::Offset(offset)) => {
                partition.next_offset = offset;
                Offset::Offset(offset)
            }
            // The broker does not look up by time, or has nothing that young:
            // read all of it and pass over what is older.
            _ => {
                partition.skip_before_ms = since_ms;
                Offset::Beginning
            }
        }
    }

    fn revoke(&mut self, places: &[Place]) -> anyhow::Result<()> {
        tracing::info!(partitions = places.len(), "revoked");
        // The next owner goes on from the last checkpoint; failing here only
        // means that it repeats a little, under the same ids.
        let saved = self
            .publish()
            .and_then(|()| self.checkpoint_now(REVOKE_LIMIT));
        if let Err(error) = saved {
            tracing::warn!("revoked without a last checkpoint: {error:#}");
        }
        for place in places {
            self.forget(place);
        }
        if self.partitions.is_empty() {
            self.lost_since = None;
        }
        group::give_back(&self.parts.consumer, places).context("giving partitions back")
    }
}
