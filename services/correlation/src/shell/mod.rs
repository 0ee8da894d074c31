//! The shell of correlation: the context table, Redis, PostgreSQL, the model.

pub mod calls;
mod impact;
mod records;
mod surroundings;
pub mod table;

use crate::backstage;
use crate::config::Config;
use crate::decide::Core;
use crate::decide::state::State;
use crate::table::ContextTable;
use anyhow::Context as _;
use async_trait::async_trait;
use calls::KeptCalls;
use fred::clients::Client;
use midwatch_clients::llm::LlmClient;
use midwatch_clients::postgres::Postgres;
use midwatch_events::knowledge::Catalogue;
use midwatch_events::raw::DEFAULT_ENVIRONMENT;
use midwatch_events::{Envelope, Event, Topic};
use midwatch_runtime::{
    Agent, AgentSpec, Effect, Input, Job, JobError, Moment, Route, ServiceContext,
};
use serde_json::Value;
use std::sync::Arc;

/// The agent.
pub struct Correlation {
    core: Core,
    catalogue: Catalogue,
    table: Arc<ContextTable>,
    redis: Client,
    postgres: Postgres,
    llm: Option<Arc<LlmClient>>,
}

impl Correlation {
    /// Connects, reads the catalogue and fills the context table.
    ///
    /// # Errors
    /// A store is away for longer than the start limit, or the configuration
    /// is unusable.
    pub async fn start(context: ServiceContext) -> anyhow::Result<Correlation> {
        let config = Config::read(&context.settings);
        let llm = context.llm()?;
        let folder = context.settings.text("KNOWLEDGE_DIR", "knowledge");
        let path = format!("{folder}/services.json");
        let text = tokio::fs::read_to_string(&path).await.with_context(|| {
            format!("the service catalogue {path} cannot be read; set KNOWLEDGE_DIR to its folder")
        })?;
        let mut catalogue = Catalogue::parse(&text).map_err(anyhow::Error::msg)?;
        let backstage = context.settings.text("BACKSTAGE_CATALOG", "");
        if !backstage.is_empty() {
            catalogue.add_graph(backstage::read(&backstage).map_err(anyhow::Error::msg)?);
        }
        context.settings.finish()?;
        let redis = context.redis().await?;
        let table = Arc::new(ContextTable::default());
        let kept = KeptCalls::load(redis.clone(), &context.epoch().await?, &table).await;
        table::follow(&context, Arc::clone(&table), config.deployment_window_ms).await?;
        tokio::spawn(kept.keep(context.shutdown.clone()));
        Ok(Correlation {
            core: Core {
                config,
                model: llm.is_some(),
            },
            catalogue,
            table,
            redis,
            postgres: context.postgres().await?,
            llm,
        })
    }
}

#[async_trait]
impl Agent for Correlation {
    type State = State;

    fn spec(&self) -> AgentSpec {
        AgentSpec {
            name: "correlation",
            topics: &[
                Topic::AnomaliesDetected,
                Topic::IncidentsResolved,
                Topic::OperatorCommands,
            ],
        }
    }

    fn route(&self, envelope: &Envelope) -> Route {
        match &envelope.event {
            Event::Anomaly(anomaly) => Route::Scope(anomaly.environment.clone()),
            Event::Resolved(resolved) => Route::Scope(resolved.header.environment.clone()),
            // Without an environment it can only be refused, aloud.
            Event::Command(command) => Route::Scope(
                command
                    .environment
                    .clone()
                    .unwrap_or_else(|| DEFAULT_ENVIRONMENT.to_owned()),
            ),
            _ => Route::Ignore,
        }
    }

    async fn context(&self, envelope: &Envelope) -> anyhow::Result<Value> {
        match &envelope.event {
            Event::Anomaly(anomaly) => {
                let surroundings = self.surroundings(anomaly).await;
                Ok(serde_json::to_value(surroundings)?)
            }
            Event::Command(command) if command.command == "declare" => {
                let seen = self.around_declared(command).await;
                Ok(serde_json::to_value(seen)?)
            }
            _ => Ok(Value::Null),
        }
    }

    fn decide(&self, state: &mut State, at: Moment, input: Input) -> Vec<Effect> {
        self.core.decide(state, at, input)
    }

    async fn perform(&self, job: &Job) -> Result<Value, JobError> {
        match job.kind.as_str() {
            "copy_records" => self.copy_records(&job.payload).await,
            "assess_impact" => Ok(self.assess_impact(job).await?),
            other => Err(JobError::Permanent(anyhow::anyhow!(
                "correlation knows no job {other}"
            ))),
        }
    }
}
