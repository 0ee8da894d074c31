//! What happens by the clock: timers, parked events, the epoch, housekeeping.

use super::Engine;
use super::apply::{Closing, Delivery};
use super::consume::{channel_input, event_ms};
use crate::agent::{Agent, Input};
use crate::clock;
use anyhow::Context as _;
use midwatch_clients::kafka;
use midwatch_clients::postgres::jobs::TimerRow;
use midwatch_clients::postgres::parking::{self, ParkedRow};
use midwatch_clients::postgres::{delivery, jobs, records};
use midwatch_events::{Coordinates, Envelope, Topic, decode, ids};
use std::sync::Arc;
use std::time::Duration;

/// How late a timer may be.
const TIMER_TICK: Duration = Duration::from_millis(150);

/// Fires timers that are due.
pub(super) async fn timers<A: Agent>(engine: Arc<Engine<A>>) -> anyhow::Result<()> {
    while engine.shutdown.sleep(TIMER_TICK).await {
        let due = jobs::due_timers(&engine.postgres.pool, engine.name, clock::now_ms()).await;
        let rows = match due {
            Ok(rows) => rows,
            Err(error) => {
                tracing::warn!(%error, "timers cannot be read; trying again");
                engine.shutdown.sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        for row in rows {
            if let Err(error) = fire(&engine, row).await {
                tracing::warn!("{error:#}; the timer stays due");
                engine.shutdown.sleep(Duration::from_secs(1)).await;
            }
        }
    }
    Ok(())
}

async fn fire<A: Agent>(engine: &Engine<A>, row: TimerRow) -> anyhow::Result<()> {
    let due = row.due_ms.to_string();
    let id = ids::derive(&["timer", engine.name, &row.scope, &row.name, &due]);
    let delivery = Delivery {
        scope: row.scope,
        input_id: id,
        cause_id: id,
        event_ms: None,
        input: Input::Timer {
            name: row.name.clone(),
            payload: row.payload,
        },
        closing: Closing::Timer {
            name: row.name,
            due_ms: row.due_ms,
        },
    };
    engine.deliver_and_follow(&delivery).await
}

impl<A: Agent> Engine<A> {
    /// Offers what waits for a scope or channel, in order, as long as anything
    /// is taken.
    pub(crate) async fn offer_parked(&self, waiting_for: &str) -> anyhow::Result<()> {
        let rows = parking::parked_for(&self.postgres.pool, self.name, waiting_for).await?;
        for row in rows {
            let envelope = read_parked(&row)?;
            if let Some(scope) = waiting_for.strip_prefix("scope:") {
                let id = envelope.meta.event_id;
                let closing = Closing::Unpark { row: row.id };
                let delivery = self
                    .delivery(envelope, scope.to_owned(), id, closing)
                    .await?;
                self.deliver(&delivery).await?;
                continue;
            }
            let channel = waiting_for.trim_start_matches("channel:");
            let pool = &self.postgres.pool;
            for scope in parking::subscribers(pool, self.name, channel).await? {
                let id = channel_input(&envelope, &scope);
                let closing = Closing::Unpark { row: row.id };
                let delivery = self.delivery(envelope.clone(), scope, id, closing).await?;
                self.deliver(&delivery).await?;
            }
        }
        Ok(())
    }
}

fn read_parked(row: &ParkedRow) -> anyhow::Result<Envelope> {
    let coordinates: Coordinates = serde_json::from_value(row.coordinates.clone())
        .context("the coordinates of a parked event were written by this runtime")?;
    let topic = Topic::from_name(&row.topic)
        .with_context(|| format!("a parked event is of topic {}, unknown here", row.topic))?;
    decode(topic, &row.payload, &coordinates)
        .with_context(|| format!("the parked event {} was readable once", row.event_id))
}

/// Ends waiting that took too long, and offers again what a replica may have
/// made possible meanwhile.
pub(super) async fn parking<A: Agent>(engine: Arc<Engine<A>>) -> anyhow::Result<()> {
    while engine.shutdown.sleep(Duration::from_secs(2)).await {
        if let Err(error) = look_after_parked(&engine).await {
            tracing::warn!("{error:#}; parked events stay parked");
        }
    }
    Ok(())
}

async fn look_after_parked<A: Agent>(engine: &Engine<A>) -> anyhow::Result<()> {
    let pool = &engine.postgres.pool;
    for row in parking::expired(pool, engine.name, clock::now_ms()).await? {
        let Some(scope) = row.waiting_for.strip_prefix("scope:") else {
            // An anomaly that no incident ever watched: nothing was waiting.
            let mut tx = engine.postgres.begin().await?;
            parking::unpark(&mut tx, row.id).await?;
            tx.commit().await?;
            continue;
        };
        let envelope = read_parked(&row)?;
        tracing::warn!(event = %row.event_id, scope, "the predecessor of a parked event never came");
        metrics::counter!(engine.metric("parked_expired_total")).increment(1);
        let delivery = Delivery {
            scope: scope.to_owned(),
            input_id: envelope.meta.event_id,
            cause_id: envelope.meta.event_id,
            event_ms: event_ms(&envelope),
            input: Input::Expired {
                envelope: Box::new(envelope),
            },
            closing: Closing::Unpark { row: row.id },
        };
        engine.deliver_and_follow(&delivery).await?;
    }
    for waiting_for in parking::answerable(pool, engine.name).await? {
        engine.offer_parked(&waiting_for).await?;
    }
    Ok(())
}

/// Ends the process when the broker's data is not the data that it began with:
/// offsets and derived ids would mean other records.
pub(super) async fn watch_epoch<A: Agent>(engine: Arc<Engine<A>>) -> anyhow::Result<()> {
    while engine.shutdown.sleep(Duration::from_secs(10)).await {
        let settings = engine.kafka.clone();
        let read = tokio::task::spawn_blocking(move || kafka::read_epoch(&settings)).await?;
        match read {
            Ok(Some(epoch)) if epoch != engine.epoch => {
                anyhow::bail!(
                    "the broker was emptied: its epoch is {epoch}, and this process began under {}; starting over",
                    engine.epoch
                );
            }
            Ok(Some(_)) => {}
            Ok(None) => tracing::warn!("the broker has lost its epoch; is it being emptied?"),
            Err(error) => tracing::debug!(%error, "the epoch cannot be read for the moment"),
        }
    }
    Ok(())
}

/// Forgets what is older than the broker's retention, and reports depths.
pub(super) async fn housekeeping<A: Agent>(engine: Arc<Engine<A>>) -> anyhow::Result<()> {
    let mut ticks: u64 = 0;
    while engine.shutdown.sleep(Duration::from_secs(5)).await {
        let pool = &engine.postgres.pool;
        match delivery::outbox_depth(pool, engine.name).await {
            #[expect(clippy::cast_precision_loss, reason = "a depth is far below 2^53")]
            Ok(depth) => metrics::gauge!(engine.metric("outbox_depth")).set(depth as f64),
            Err(error) => tracing::debug!(%error, "the outbox cannot be counted"),
        }
        if let Err(error) = engine.flush_outbox().await {
            tracing::warn!("{error:#}; messages stay in the outbox");
        }
        // Every ten minutes.
        if ticks.is_multiple_of(120) {
            // Each whatever became of the one before.
            let pruned = [
                ("processed", delivery::prune_processed(pool).await.err()),
                ("outbox", delivery::prune_outbox(pool).await.err()),
                ("jobs", jobs::prune(pool).await.err()),
                ("records", records::prune(pool).await.err()),
            ];
            for (table, error) in pruned {
                if let Some(error) = error {
                    tracing::warn!(table, %error, "old rows cannot be forgotten");
                }
            }
        }
        ticks += 1;
    }
    Ok(())
}
