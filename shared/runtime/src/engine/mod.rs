//! The one loop of every agent.
//!
//! For each message: decode (or dead-letter) → processed already? skip →
//! `decide` → one PostgreSQL transaction with state, processed mark, audit and
//! every outgoing effect → publish from the outbox → store the offset. Jobs,
//! timers and parked events take the same way with their own input ids.
//!
//! A crash at any point resumes from the outbox. Two processes that believe
//! they own a scope cannot both write it: the state's version is checked in
//! the transaction, and the loser reads again.

mod apply;
mod consume;
mod maintain;
mod postmortem;
mod relay;
mod work;

use crate::agent::Agent;
use crate::config::Settings;
use crate::health::Readiness;
use crate::service::{ServiceContext, Shutdown};
use midwatch_clients::kafka::{KafkaSettings, Producer};
use midwatch_clients::postgres::{Postgres, jobs};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinSet;

/// How long an event that nobody has subscribed to yet waits for a subscriber.
/// An incident is opened within seconds of its anomalies; ten minutes covers
/// a restart of every process in between.
pub(crate) const CHANNEL_TTL_MS: i64 = 600_000;
/// How long an input waits whose status move came early.
pub(crate) const EARLY_MOVE_TTL_MS: i64 = 60_000;
/// How often a write that lost against another owner is tried again before the
/// process gives up and starts over.
pub(crate) const STALE_TRIES: u32 = 8;

/// The numbers of the loop.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// JOB_CONCURRENCY: jobs at a time in this process.
    pub job_concurrency: usize,
    /// JOB_TIMEOUT_MS: the limit of one try of a job.
    pub job_timeout: Duration,
    /// [`Settings::slot`]. A process that starts in a slot takes back what its
    /// predecessor there had leased.
    pub slot: String,
}

impl EngineSettings {
    /// Reads the numbers.
    #[must_use]
    pub fn read(settings: &Settings) -> EngineSettings {
        EngineSettings {
            job_concurrency: settings.number("JOB_CONCURRENCY", 4, 1..=64),
            job_timeout: Duration::from_millis(settings.number(
                "JOB_TIMEOUT_MS",
                180_000,
                1_000..=3_600_000,
            )),
            slot: settings.slot(),
        }
    }
}

/// Everything that the tasks of one agent process share.
pub(crate) struct Engine<A: Agent> {
    pub agent: A,
    pub name: &'static str,
    pub postgres: Postgres,
    pub producer: Producer,
    pub kafka: KafkaSettings,
    pub epoch: String,
    pub settings: EngineSettings,
    pub shutdown: Shutdown,
    pub readiness: Readiness,
    /// One input at a time in this process: conflicts between its own tasks
    /// would otherwise look like another owner.
    pub turn: Mutex<()>,
    /// Rung when a job may be waiting to run.
    pub job_waiting: Notify,
    /// Rung when a job's outcome waits to be applied.
    pub job_finished: Notify,
}

impl<A: Agent> Engine<A> {
    /// The name under which this process leases jobs.
    pub(crate) fn owner(&self) -> String {
        format!("{}-{}", self.name, self.settings.slot)
    }

    /// The name of one of this agent's metrics.
    pub(crate) fn metric(&self, thing: &str) -> String {
        format!("midwatch_{}_{thing}", self.name)
    }
}

/// Runs the agent until the process is asked to stop.
///
/// # Errors
/// Whatever the process cannot go on with; the supervisor starts it anew.
pub async fn run<A: Agent>(
    agent: A,
    context: ServiceContext,
    settings: EngineSettings,
) -> anyhow::Result<()> {
    let postgres = context.postgres().await?;
    let epoch = context.epoch().await?;
    let engine = Arc::new(Engine {
        name: agent.spec().name,
        agent,
        producer: context.producer()?,
        postgres,
        kafka: context.kafka.clone(),
        epoch,
        settings,
        shutdown: context.shutdown.clone(),
        readiness: context.readiness.clone(),
        turn: Mutex::new(()),
        job_waiting: Notify::new(),
        job_finished: Notify::new(),
    });
    let released = jobs::release(&engine.postgres.pool, engine.name, &engine.owner()).await?;
    if released > 0 {
        tracing::info!(
            released,
            "took back jobs that a predecessor in this slot left"
        );
    }
    // What an earlier process decided goes out before anything new.
    engine.flush_outbox().await?;

    let mut tasks = JoinSet::new();
    tasks.spawn(consume::run(Arc::clone(&engine)));
    for _ in 0..engine.settings.job_concurrency {
        tasks.spawn(work::run(Arc::clone(&engine)));
    }
    tasks.spawn(work::apply_outcomes(Arc::clone(&engine)));
    tasks.spawn(maintain::timers(Arc::clone(&engine)));
    tasks.spawn(maintain::parking(Arc::clone(&engine)));
    tasks.spawn(maintain::watch_epoch(Arc::clone(&engine)));
    tasks.spawn(maintain::housekeeping(Arc::clone(&engine)));
    let first = tasks.join_next().await;
    if !engine.shutdown.is_set() {
        // A task that ends by itself leaves a process that looks alive and
        // does half of its work: end the rest, too.
        tasks.abort_all();
    }
    let mut result = flatten(first);
    while let Some(next) = tasks.join_next().await {
        let next = flatten(Some(next));
        if result.is_ok() {
            result = next;
        }
    }
    result
}

fn flatten(
    ended: Option<Result<anyhow::Result<()>, tokio::task::JoinError>>,
) -> anyhow::Result<()> {
    match ended {
        None => Ok(()),
        Some(Ok(result)) => result,
        Some(Err(error)) if error.is_cancelled() => Ok(()),
        Some(Err(error)) => Err(anyhow::anyhow!("a task of the loop panicked: {error}")),
    }
}
