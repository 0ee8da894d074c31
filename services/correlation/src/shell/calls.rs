//! Keeping the calls that spans have shown in Redis, so that a start or a
//! takeover knows those that were last seen before what it reads again.
//!
//! Every replica reads the same spans and writes the same fields; where two
//! differ, it is by seconds. Redis being away costs what is older than
//! [`super::table::SPANS_MS`], and is logged.

use crate::table::{Calls, ContextTable};
use fred::clients::Client;
use fred::interfaces::{HashesInterface, KeysInterface};
use midwatch_events::topics::RETENTION_MS;
use midwatch_runtime::Shutdown;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How often what is new is written. Whatever is younger than that is read from
/// the broker at a start, so that rarely is enough.
const EVERY: Duration = Duration::from_secs(300);
/// Fields per command.
const PIECE: usize = 1_000;
/// Lifetime of the whole without a writer, seconds: a day longer than any call
/// may count.
const TTL_S: i64 = RETENTION_MS / 1_000 + 86_400;

/// The calls of one epoch in Redis.
pub struct KeptCalls {
    redis: Client,
    key: String,
    table: Arc<ContextTable>,
    written: Calls,
}

impl KeptCalls {
    /// Takes what was kept into the table.
    pub async fn load(redis: Client, epoch: &str, table: &Arc<ContextTable>) -> KeptCalls {
        let key = format!("midwatch:calls:{epoch}");
        let kept: Result<HashMap<String, String>, _> = redis.hgetall(&key).await;
        match &kept {
            Ok(kept) => {
                let calls = table.restore(kept.iter());
                tracing::info!(calls, "the calls that were seen earlier are known again");
            }
            Err(error) => failed(error),
        }
        KeptCalls {
            redis,
            key,
            table: Arc::clone(table),
            written: kept.unwrap_or_default().into_iter().collect(),
        }
    }

    /// Writes what is new now and then, and once more at the end.
    pub async fn keep(mut self, shutdown: Shutdown) {
        loop {
            let is_over = tokio::select! {
                () = shutdown.wait() => true,
                () = tokio::time::sleep(EVERY) => false,
            };
            self.save().await;
            if is_over {
                return;
            }
        }
    }

    /// Writes what is new.
    pub async fn save(&mut self) {
        let calls = self.table.calls();
        if let Err(error) = self.write(&calls).await {
            failed(&error);
            return;
        }
        self.written = calls;
    }

    async fn write(&self, calls: &Calls) -> Result<(), fred::error::Error> {
        let new: Vec<(&str, &str)> = calls
            .iter()
            .filter(|(field, times)| self.written.get(*field) != Some(*times))
            .map(|(field, times)| (field.as_str(), times.as_str()))
            .collect();
        for piece in new.chunks(PIECE) {
            let () = self.redis.hset(&self.key, piece.to_vec()).await?;
        }
        let gone: Vec<&str> = self
            .written
            .keys()
            .filter(|field| !calls.contains_key(*field))
            .map(String::as_str)
            .collect();
        for piece in gone.chunks(PIECE) {
            let () = self.redis.hdel(&self.key, piece.to_vec()).await?;
        }
        self.redis.expire(&self.key, TTL_S, None).await
    }
}

fn failed(error: &fred::error::Error) {
    metrics::counter!("midwatch_correlation_redis_failures_total").increment(1);
    tracing::warn!(%error, "the calls that spans have shown cannot be read or kept");
}
