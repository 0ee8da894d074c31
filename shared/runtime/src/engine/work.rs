//! Slow work: jobs run beside the loop, and their outcomes return to it.

use super::Engine;
use super::apply::{Closing, Delivery};
use crate::agent::{Agent, Input, Job, JobError};
use midwatch_clients::postgres::jobs::{self, JobRow};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// A lease is renewed three times before it would end. A crashed process's
/// jobs wait this long, unless a successor in the same slot takes them back.
const LEASE_S: f64 = 30.0;
/// Tries beyond a job's own number that ended with the process: after that the
/// job itself is what ends it.
const LOST_TRIES: i32 = 3;
const RENEW: Duration = Duration::from_secs(10);
/// How often workers look for jobs that nobody rang for.
const LOOK: Duration = Duration::from_millis(300);

fn job_of(row: &JobRow) -> Job {
    Job {
        id: row.id,
        scope: row.scope.clone(),
        kind: row.kind.clone(),
        payload: row.payload.clone(),
        attempt: row.attempts,
        max_attempts: row.max_attempts,
    }
}

/// One worker: takes jobs one after the other.
pub(super) async fn run<A: Agent>(engine: Arc<Engine<A>>) -> anyhow::Result<()> {
    let owner = engine.owner();
    while !engine.shutdown.is_set() {
        let claimed = jobs::claim(&engine.postgres.pool, engine.name, &owner, LEASE_S).await;
        match claimed {
            Ok(Some(row)) => work(&engine, &owner, &row).await,
            Ok(None) => {
                tokio::select! {
                    () = engine.shutdown.wait() => {}
                    () = engine.job_waiting.notified() => {}
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
            Err(error) => {
                tracing::warn!(%error, "no job can be taken; trying again");
                engine.shutdown.sleep(Duration::from_secs(1)).await;
            }
        }
    }
    Ok(())
}

async fn work<A: Agent>(engine: &Arc<Engine<A>>, owner: &str, row: &JobRow) {
    let pool = &engine.postgres.pool;
    let job = job_of(row);
    let kind = job.kind.clone();
    let started = tokio::time::Instant::now();
    if job.attempt > job.max_attempts + LOST_TRIES {
        let error = "the process ended in each of its tries";
        tracing::error!(kind, job = %job.id, error, "a job is given up");
        match jobs::fail(pool, job.id, owner, error, None).await {
            Ok(_) => engine.job_finished.notify_one(),
            Err(error) => tracing::warn!(job = %job.id, %error, "it cannot be journalled"),
        }
        return;
    }
    let outcome = tokio::select! {
        // A job that is cut off by a stop runs again after the next start.
        () = engine.shutdown.wait() => return,
        () = keep_lease(engine, owner, &job) => return,
        result = tokio::time::timeout(engine.settings.job_timeout, perform(engine, &job)) => {
            result.unwrap_or_else(|_| Err(JobError::Transient(anyhow::anyhow!(
                "no result within {} s", engine.settings.job_timeout.as_secs()
            ))))
        }
    };
    let took = started.elapsed();
    metrics::histogram!(engine.metric("job_duration_seconds"), "kind" => kind.clone())
        .record(took.as_secs_f64());
    // What is journalled is read later, never measured again.
    let ms = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
    if let Err(error) = jobs::worked(pool, job.id, owner, ms).await {
        tracing::warn!(job = %job.id, %error, "how long it took is missing in the ledger");
    }
    let written = match outcome {
        Ok(result) => jobs::finish(pool, job.id, owner, &result).await,
        Err(JobError::Later {
            error,
            wait,
            give_up,
        }) => {
            tracing::info!(kind, job = %job.id, "a job waits: {error:#}");
            metrics::counter!(engine.metric("job_waits_total"), "kind" => kind).increment(1);
            jobs::defer(pool, job.id, owner, &format!("{error:#}"), wait, give_up).await
        }
        Err(error) => {
            let last = job.attempt >= job.max_attempts || matches!(error, JobError::Permanent(_));
            let retry_after = (!last).then(|| 2.0 * f64::from(job.attempt));
            tracing::warn!(kind, attempt = job.attempt, last, %error, "a job failed");
            metrics::counter!(engine.metric("job_failures_total"), "kind" => kind).increment(1);
            jobs::fail(pool, job.id, owner, &error.to_string(), retry_after).await
        }
    };
    match written {
        Ok(true) => engine.job_finished.notify_one(),
        Ok(false) => tracing::warn!(job = %job.id, "the lease was lost; the result is dropped"),
        // The lease ends by itself, and the job runs again.
        Err(error) => tracing::warn!(job = %job.id, %error, "the result cannot be journalled"),
    }
}

/// Performs a job in a task of its own, so that a panic costs one try and not
/// the process.
async fn perform<A: Agent>(engine: &Arc<Engine<A>>, job: &Job) -> Result<Value, JobError> {
    let (engine, job) = (Arc::clone(engine), job.clone());
    let mut task = JoinSet::new();
    task.spawn(async move { engine.agent.perform(&job).await });
    match task.join_next().await {
        Some(Ok(result)) => result,
        Some(Err(error)) => Err(JobError::Transient(anyhow::anyhow!(
            "the job panicked: {error}"
        ))),
        None => Err(JobError::Transient(anyhow::anyhow!(
            "the job's task is gone"
        ))),
    }
}

/// Renews the lease for as long as it is polled; never ends.
async fn keep_lease<A: Agent>(engine: &Engine<A>, owner: &str, job: &Job) {
    loop {
        tokio::time::sleep(RENEW).await;
        let renewed = jobs::renew(&engine.postgres.pool, job.id, owner, LEASE_S).await;
        if let Err(error) = renewed {
            tracing::warn!(job = %job.id, %error, "the lease cannot be renewed");
        }
    }
}

/// Returns outcomes to the loop, in the order in which the jobs were asked for.
pub(super) async fn apply_outcomes<A: Agent>(engine: Arc<Engine<A>>) -> anyhow::Result<()> {
    while !engine.shutdown.is_set() {
        let applied = apply_finished(&engine).await;
        match applied {
            Ok(0) => {
                engine.readiness.set("agent", Ok(()));
                tokio::select! {
                    () = engine.shutdown.wait() => {}
                    () = engine.job_finished.notified() => {}
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
            Ok(_) => {}
            Err(error) => {
                engine.readiness.set("agent", Err(format!("{error:#}")));
                tracing::warn!("{error:#}; trying again");
                engine.shutdown.sleep(Duration::from_secs(1)).await;
            }
        }
    }
    Ok(())
}

async fn apply_finished<A: Agent>(engine: &Engine<A>) -> anyhow::Result<usize> {
    let rows = jobs::finished(&engine.postgres.pool, engine.name).await?;
    let count = rows.len();
    for row in rows {
        let result = match (row.result.clone(), row.error.clone()) {
            (Some(result), None) => Ok(result),
            (_, error) => Err(error.unwrap_or_else(|| "no result was journalled".to_owned())),
        };
        let delivery = Delivery {
            scope: row.scope.clone(),
            input_id: row.id,
            cause_id: row.id,
            event_ms: None,
            input: Input::JobDone {
                job: job_of(&row),
                result,
            },
            closing: Closing::Job,
        };
        engine.deliver_and_follow(&delivery).await?;
        engine.readiness.set("agent", Ok(()));
        // The next job of this scope may run now.
        engine.job_waiting.notify_one();
    }
    Ok(count)
}
