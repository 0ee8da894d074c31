//! The shell of the investigation: PostgreSQL, the knowledge store, the model.

mod gather;
pub mod model;
pub mod tools;

use crate::config::{Config, fits_a_job};
use crate::decide::state::{State, channel};
use crate::decide::{Core, is_ours};
use async_trait::async_trait;
use midwatch_clients::knowledge::KnowledgeStore;
use midwatch_clients::llm::LlmClient;
use midwatch_clients::postgres::Postgres;
use midwatch_events::{Envelope, Event, Topic};
use midwatch_runtime::{
    Agent, AgentSpec, Effect, Input, Job, JobError, Moment, Route, ServiceContext,
};
use serde_json::Value;
use std::sync::Arc;

/// What an answer waits for the model beyond the model's own budget.
const ADVICE_GRACE_MS: i64 = 30_000;

/// The agent.
pub struct Investigation {
    core: Core,
    postgres: Postgres,
    knowledge: KnowledgeStore,
    llm: Option<Arc<LlmClient>>,
}

impl Investigation {
    /// Connects.
    ///
    /// # Errors
    /// A store is away for longer than the start limit, or the configuration
    /// is unusable.
    pub async fn start(context: ServiceContext) -> anyhow::Result<Investigation> {
        let mut config = Config::read(&context.settings);
        let llm = context.llm()?;
        if let Some(llm) = &llm {
            let seconds = llm.settings().max_seconds_per_incident;
            fits_a_job(&context.settings, seconds);
            config.deadline_ms = i64::try_from(seconds).unwrap_or(3_600) * 1_000 + ADVICE_GRACE_MS;
        }
        context.settings.finish()?;
        Ok(Investigation {
            core: Core {
                config,
                model: llm.is_some(),
            },
            postgres: context.postgres().await?,
            knowledge: context.knowledge().await?,
            llm,
        })
    }
}

#[async_trait]
impl Agent for Investigation {
    type State = State;

    fn spec(&self) -> AgentSpec {
        AgentSpec {
            name: "investigation",
            topics: &[
                Topic::IncidentsOpened,
                Topic::IncidentsUpdated,
                Topic::AnomaliesDetected,
                Topic::RemediationActions,
                Topic::OperatorCommands,
            ],
        }
    }

    fn route(&self, envelope: &Envelope) -> Route {
        match &envelope.event {
            Event::Anomaly(anomaly) => Route::Channel(channel(
                &anomaly.environment,
                &anomaly.service,
                &anomaly.trigger_metric,
            )),
            // Other agents obey the rest.
            Event::Command(command) if !is_ours(command) => Route::Ignore,
            event => match event.incident_id() {
                Some(id) => Route::Scope(id.to_string()),
                None => Route::Ignore,
            },
        }
    }

    fn decide(&self, state: &mut State, at: Moment, input: Input) -> Vec<Effect> {
        self.core.decide(state, at, input)
    }

    async fn perform(&self, job: &Job) -> Result<Value, JobError> {
        match job.kind.as_str() {
            "gather" => Ok(self.gather(&job.payload).await?),
            "advise" => Ok(self.advise(job).await?),
            other => Err(JobError::Permanent(anyhow::anyhow!(
                "investigation knows no job {other}"
            ))),
        }
    }
}
