//! From the outbox to the broker.

use super::Engine;
use crate::agent::Agent;
use anyhow::Context as _;
use midwatch_clients::error::Gravity;
use midwatch_clients::kafka::HeaderPairs;
use midwatch_clients::postgres::delivery;

/// Messages per transaction. Each holds row locks while the broker answers.
const BATCH: i64 = 100;

impl<A: Agent> Engine<A> {
    /// Publishes what waits in the outbox, in order, and marks it as sent. A
    /// crash between the two sends the same bytes again, under the same event
    /// id, which consumers drop.
    pub(crate) async fn flush_outbox(&self) -> anyhow::Result<()> {
        loop {
            let mut tx = self.postgres.begin().await?;
            delivery::take_turn(&mut tx, self.name).await?;
            let rows = delivery::unsent(&mut tx, self.name, BATCH).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let mut sent = Vec::with_capacity(rows.len());
            let mut failure = None;
            for row in &rows {
                let headers: HeaderPairs = serde_json::from_value(row.headers.clone())
                    .context("the headers in the outbox were written by this runtime")?;
                let published = self
                    .producer
                    .publish_bytes(&row.topic, row.key.as_bytes(), &row.payload, &headers)
                    .await;
                match published {
                    Ok(_) => sent.push(row.id),
                    // It would stand in the way of everything behind it, for
                    // ever: it is kept, counted and said aloud.
                    Err(error) if error.gravity() == Gravity::Permanent => {
                        tracing::error!(event = %row.event_id, topic = row.topic, %error,
                            "the broker will never take this message; it is set aside");
                        metrics::counter!(self.metric("messages_refused_total")).increment(1);
                        delivery::mark_refused(&mut tx, row.id, &error.to_string()).await?;
                    }
                    Err(error) => {
                        failure = Some(error);
                        break;
                    }
                }
            }
            delivery::mark_sent(&mut tx, &sent).await?;
            tx.commit().await?;
            if let Some(error) = failure {
                return Err(error.into());
            }
            metrics::counter!(self.metric("messages_published_total")).increment(sent.len() as u64);
        }
    }
}
