//! The collector: what this machine really does.
//!
//! Consumes: no messages; the offsets of Midwatch's consumer groups.
//! Produces: `raw.metrics` every COLLECT_INTERVAL_MS
//! - of the service `host/<name>`: CPU, load, memory, swap, disks, network,
//!   processes ([`host`]);
//! - of each service `midwatch-<agent>`: how far its consumer group is behind
//!   ([`kafka_lag`]), unless COLLECT_CONSUMER_LAG is 0.
//!
//! Guarantees
//! - Readings go on while the broker is away; they wait in a bounded spool
//!   ([`spool`]) and follow in order. Where it overflows, the oldest are
//!   dropped and counted.
//! - A sample keeps its event id over every retry.
//!
//! Other sources (Kubernetes, GPUs, ingest over HTTP) become modules beside
//! [`host`] that push into the same spool.

pub mod config;
pub mod host;
pub mod kafka_lag;
pub mod spool;

use anyhow::Context as _;
use config::CollectorConfig;
use host::Host;
use midwatch_clients::error::Gravity;
use midwatch_clients::kafka::{BrokerReader, Producer};
use midwatch_events::Envelope;
use midwatch_runtime::{ServiceContext, clock};
use spool::Spool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

/// Samples in one batch to the broker.
const BATCH: usize = 500;
/// A reading takes milliseconds; one that takes this long hangs on a dead disk.
const READ_LIMIT: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Waiting {
    spool: Arc<Mutex<Spool<Envelope>>>,
    more: Arc<Notify>,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Spool<Envelope>> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Spools samples for the broker; where there is no room, the oldest go.
    fn keep(&self, events: Vec<Envelope>) {
        metrics::counter!("midwatch_collector_samples_total").increment(events.len() as u64);
        let (dropped, length) = {
            let mut spool = self.lock();
            let dropped: u64 = events.into_iter().map(|event| spool.push(event)).sum();
            (dropped, spool.len())
        };
        metrics::gauge!("midwatch_collector_spool_samples").set(length as f64);
        if dropped > 0 {
            metrics::counter!("midwatch_collector_dropped_samples_total").increment(dropped);
            tracing::warn!(
                dropped,
                "the spool is full; the oldest samples were dropped"
            );
        }
        self.more.notify_one();
    }
}

/// Reads and publishes until the process is asked to stop.
///
/// # Errors
/// Unusable settings, a machine that cannot be read, or a broker
/// configuration that librdkafka refuses.
pub async fn run(mut context: ServiceContext) -> anyhow::Result<()> {
    let config = CollectorConfig::read(&mut context.settings);
    context.settings.clone().finish()?;
    let name = config.host.clone().map_or_else(host::host_name, Ok)?;
    let producer = context.producer()?;
    let waiting = Waiting {
        spool: Arc::new(Mutex::new(Spool::new(config.spool_samples))),
        more: Arc::new(Notify::new()),
    };
    tracing::info!(
        host = name,
        environment = config.environment,
        interval_ms = config.interval.as_millis(),
        "reading this machine"
    );
    tokio::select! {
        () = context.shutdown.wait() => Ok(()),
        result = read_on(&context, &config, &name, waiting.clone()) => result,
        result = send_on(&context, producer, waiting.clone()) => result,
        () = lag_on(&context, &config, waiting) => Ok(()),
    }
}

async fn read_on(
    context: &ServiceContext,
    config: &CollectorConfig,
    name: &str,
    waiting: Waiting,
) -> anyhow::Result<()> {
    let mut host = tokio::task::spawn_blocking({
        let excluded = config.mounts_excluded.clone();
        move || Host::open(excluded)
    })
    .await??;
    context.readiness.set("host", Ok(()));
    let mut timer = tokio::time::interval(config.interval);
    timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
    // The first tick comes at once, when there is nothing to count from.
    timer.tick().await;
    loop {
        timer.tick().await;
        let reading = tokio::task::spawn_blocking(move || {
            let samples = host.read();
            (host, samples)
        });
        let result = tokio::time::timeout(READ_LIMIT, reading).await;
        let (same, samples) = result.with_context(|| {
            format!(
                "reading this machine took more than {} s",
                READ_LIMIT.as_secs()
            )
        })??;
        host = same;
        let events = host::events(name, &config.environment, clock::now_ms(), samples);
        waiting.keep(events);
    }
}

async fn lag_on(context: &ServiceContext, config: &CollectorConfig, waiting: Waiting) {
    if config.consumer_lag {
        let reader = BrokerReader::new(context.kafka.clone());
        kafka_lag::watch(reader, config, waiting).await;
    } else {
        std::future::pending::<()>().await;
    }
}

async fn send_on(
    context: &ServiceContext,
    producer: Producer,
    waiting: Waiting,
) -> anyhow::Result<()> {
    let mut pause = Duration::from_millis(500);
    loop {
        let (batch, mark) = waiting.lock().oldest(BATCH);
        if batch.is_empty() {
            waiting.more.notified().await;
            continue;
        }
        match producer.publish_all(&batch).await {
            Ok(()) => {
                let length = {
                    let mut spool = waiting.lock();
                    spool.acknowledge(mark);
                    spool.len()
                };
                metrics::gauge!("midwatch_collector_spool_samples").set(length as f64);
                context.readiness.set("kafka", Ok(()));
                pause = Duration::from_millis(500);
            }
            Err(error) if error.gravity() == Gravity::Fatal => {
                return Err(error).context("the broker's settings are unusable");
            }
            // A topic that is not there yet is waited for like a broker that
            // is away: the spool is bounded, so nothing grows meanwhile.
            Err(error) => {
                let length = waiting.lock().len();
                tracing::warn!(%error, waiting = length, "the broker did not take the samples; they wait");
                context.readiness.set("kafka", Err(error.to_string()));
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}
