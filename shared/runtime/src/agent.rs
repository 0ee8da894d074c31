//! The shape of an agent.

use crate::effect::Effect;
use async_trait::async_trait;
use midwatch_events::{Envelope, Topic};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

/// The name of an agent and the topics of its consumer group.
#[derive(Clone, Copy, Debug)]
pub struct AgentSpec {
    /// `correlation`; the consumer group is `midwatch.correlation`.
    pub name: &'static str,
    pub topics: &'static [Topic],
}

/// Which part of the agent's state an event concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// The state under this key, made when it is not there.
    Scope(String),
    /// Whoever subscribed to this channel; parked for a while where nobody
    /// has yet.
    Channel(String),
    /// Not for this agent.
    Ignore,
}

/// The two clocks at the moment of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Event time of the input, epoch milliseconds; for jobs, timers and the
    /// commands of people the latest event time that the scope has seen.
    pub event_ms: i64,
    /// Wall clock when the input was first taken up, epoch milliseconds.
    pub wall_ms: i64,
}

/// Slow work, as `perform` sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    pub id: Uuid,
    pub scope: String,
    pub kind: String,
    pub payload: Value,
    /// From 1.
    pub attempt: i32,
    pub max_attempts: i32,
}

/// How a job failed.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Worth another try, as long as tries are left.
    #[error("{0:#}")]
    Transient(anyhow::Error),
    /// No further try can succeed.
    #[error("{0:#}")]
    Permanent(anyhow::Error),
    /// There is no answer yet and nothing has failed: worth another look after
    /// this long, as long as tries are left. Meanwhile no worker is held.
    #[error("no answer yet")]
    NotYet(Duration),
}

impl From<anyhow::Error> for JobError {
    fn from(error: anyhow::Error) -> Self {
        JobError::Transient(error)
    }
}

/// What the world says to an agent.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// An event, and what [`Agent::context`] read for it.
    Event {
        envelope: Box<Envelope>,
        context: Value,
    },
    /// A job ended; the result is what `perform` returned.
    JobDone {
        job: Job,
        result: Result<Value, String>,
    },
    /// A timer came due.
    Timer { name: String, payload: Value },
    /// A parked event's predecessor never came.
    Expired { envelope: Box<Envelope> },
}

/// An agent: a pure core (`decide`) in a shell (`context`, `perform`).
#[async_trait]
pub trait Agent: Send + Sync + 'static {
    /// What the agent remembers per scope; one JSON document in PostgreSQL.
    type State: Default + Serialize + DeserializeOwned + Send + Sync;

    /// Name and topics.
    fn spec(&self) -> AgentSpec;

    /// Which state an event concerns.
    fn route(&self, envelope: &Envelope) -> Route;

    /// Quick reads (well under a second) that a decision on `envelope` needs.
    ///
    /// # Errors
    /// A failed read; the event is tried again.
    async fn context(&self, _envelope: &Envelope) -> anyhow::Result<Value> {
        Ok(Value::Null)
    }

    /// Decides. Synchronous, total and pure: the same state, moment and input
    /// give the same effects.
    fn decide(&self, state: &mut Self::State, at: Moment, input: Input) -> Vec<Effect>;

    /// Does a job.
    ///
    /// # Errors
    /// Transient failures are tried again with backoff, up to the job's
    /// number of tries; then the job fails and `decide` hears of it.
    async fn perform(&self, job: &Job) -> Result<Value, JobError> {
        let error = anyhow::anyhow!("this agent has no jobs, but found one of kind {}", job.kind);
        Err(JobError::Permanent(error))
    }
}
