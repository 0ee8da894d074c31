//! The acting part: reads PostgreSQL, asks the model.

use crate::config::{Config, MODEL_TEMPERATURE, MODEL_TOKENS};
use crate::decide::{Advice, Assignment, Core, Draft, POLISH, State, WRITE};
use crate::document;
use crate::facts::{Facts, Stored};
use crate::lesson::Lesson;
use crate::polish;
use crate::records::Records;
use crate::review::{self, LEARN};
use anyhow::Context as _;
use async_trait::async_trait;
use midwatch_clients::knowledge::{COLLECTIONS, INCIDENTS, KnowledgeStore};
use midwatch_clients::llm::{LlmClient, LlmRequest, Spent, Tier};
use midwatch_clients::postgres::read::{self, EmailFilter};
use midwatch_clients::postgres::{Postgres, artifacts, history, ledger, records};
use midwatch_events::artifact::ArtifactKind;
use midwatch_events::knowledge::Catalogue;
use midwatch_events::{Envelope, Event, Topic};
use midwatch_runtime::ServiceContext;
use midwatch_runtime::agent::{Agent, AgentSpec, Input, Job, JobError, Moment, Route};
use midwatch_runtime::effect::Effect;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The postmortem agent.
pub struct Postmortem {
    core: Core,
    postgres: Postgres,
    model: Option<Arc<LlmClient>>,
    knowledge: KnowledgeStore,
}

/// Between tries to bring a lesson to the store, and how old one gets at most.
const LEARN_WAIT: Duration = Duration::from_secs(30);
const LEARN_LIMIT: Duration = Duration::from_secs(24 * 3_600);

const TOPICS: &[Topic] = &[
    Topic::IncidentsResolved,
    Topic::RemediationActions,
    Topic::OperatorCommands,
];
/// Lines of the trail that are read; an incident has some dozens.
const TRAIL: i64 = 1000;
/// Mails that are read; an incident has five, each more than once if severity
/// rose.
const MAILS: i64 = 100;

impl Postmortem {
    /// Sets the agent up.
    ///
    /// # Errors
    /// A setting cannot be used, or PostgreSQL is away. A missing catalogue is
    /// no error: action items are then owned by "team of" the service.
    pub async fn new(context: &mut ServiceContext) -> anyhow::Result<Postmortem> {
        let config = Config::read(&context.settings);
        context.settings.clone().finish()?;
        let path = config.knowledge_dir.join("services.json");
        let catalogue = read_catalogue(&path).unwrap_or_else(|error| {
            tracing::warn!(
                "teams are not known: {error:#}; set KNOWLEDGE_DIR to the folder of services.json"
            );
            metrics::counter!("midwatch_postmortem_degraded_total").increment(1);
            Catalogue::default()
        });
        let model = context.llm()?;
        Ok(Postmortem {
            core: Core {
                catalogue,
                has_model: model.is_some(),
            },
            postgres: context.postgres().await?,
            knowledge: context.knowledge().await?,
            model,
        })
    }

    /// None for a text that would be written anew, where the incident is open
    /// again: its next end will tell all.
    async fn gather(&self, assignment: Assignment) -> Result<Option<Facts>, JobError> {
        let id = assignment.resolved.header.incident_id;
        let stored = self.stored(id).await.map_err(JobError::Transient)?;
        if assignment.late && stored.incident.resolved_at_ms.is_none() {
            return Ok(None);
        }
        Ok(Some(Facts::collect(
            assignment.resolved,
            assignment.actions,
            stored,
        )))
    }

    async fn stored(&self, id: Uuid) -> anyhow::Result<Stored> {
        let pool = &self.postgres.pool;
        let incident = read::incident(pool, id, id)
            .await?
            .with_context(|| format!("incident {id} is not in PostgreSQL"))?;
        let filter = EmailFilter {
            incident: Some(id),
            ..EmailFilter::default()
        };
        Ok(Stored {
            incident,
            plans: artifacts::of_incident(pool, id)
                .await?
                .into_iter()
                .filter(|artifact| artifact.kind == ArtifactKind::RemediationProposal)
                .filter_map(|artifact| serde_json::from_value(artifact.body).ok())
                .collect(),
            trail: read::agent_events(pool, Some(id), Some(0), TRAIL).await?,
            records: records::of_incident(pool, id).await?,
            mails: read::emails(pool, &filter, MAILS).await?,
            ledger: ledger::of_incident(pool, id).await?,
        })
    }

    async fn ask(&self, job: &Job, draft: &Draft) -> Result<Advice, JobError> {
        let model = self.model.as_ref().ok_or_else(|| {
            JobError::Permanent(anyhow::anyhow!("no model is configured any more"))
        })?;
        let incident = draft.facts.resolved.header.incident_id;
        let (tokens, cost_usd) = history::spent(&self.postgres.pool, incident)
            .await
            .map_err(|error| JobError::Transient(error.into()))?;
        let records = Records::collect(&draft.facts, &self.core.catalogue, draft.version);
        let own = document::write(&draft.facts, &records, draft.version);
        let outcome = model
            .complete(LlmRequest {
                call_id: job.id,
                agent: "postmortem".to_owned(),
                purpose: POLISH.to_owned(),
                tier: Tier::Reasoning,
                system: polish::system(),
                user: polish::question(&draft.facts, &own.summary(), &job.id.to_string()),
                max_tokens: MODEL_TOKENS,
                temperature: MODEL_TEMPERATURE,
                schema: Some((polish::SCHEMA.to_owned(), polish::schema())),
                spent: Spent {
                    tokens,
                    cost_usd,
                    // Nobody waits for this one: its own time limit is enough.
                    ms: 0,
                },
            })
            .await;
        let summary = outcome
            .result
            .ok()
            .and_then(|reply| reply.value)
            .and_then(|value| value["summary"].as_str().map(str::to_owned));
        Ok(Advice {
            call: outcome.call,
            summary,
        })
    }
}

/// Puts a reviewed incident into the store; again changes nothing.
///
/// # Errors
/// Store or embedder are away, or do not take it.
pub async fn learn(store: &KnowledgeStore, lesson: &Lesson) -> Result<(), JobError> {
    let failed = |error: midwatch_clients::knowledge::KnowledgeError| {
        if error.is_transient() {
            // A lesson is worth waiting for: nothing asks for it again.
            JobError::Later {
                error: error.into(),
                wait: LEARN_WAIT,
                give_up: LEARN_LIMIT,
            }
        } else {
            JobError::Permanent(error.into())
        }
    };
    let keywords = COLLECTIONS
        .iter()
        .find(|(name, _)| *name == INCIDENTS)
        .map_or(&[][..], |(_, keywords)| keywords);
    store
        .ensure_collection(INCIDENTS, keywords)
        .await
        .map_err(failed)?;
    let documents = lesson.past_incident().documents();
    store.upsert(INCIDENTS, &documents).await.map_err(failed)
}

fn read_catalogue(path: &Path) -> anyhow::Result<Catalogue> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    Catalogue::parse(&text).map_err(|problem| anyhow::anyhow!("{}: {problem}", path.display()))
}

fn permanent(error: serde_json::Error) -> JobError {
    JobError::Permanent(error.into())
}

#[async_trait]
impl Agent for Postmortem {
    type State = State;

    fn spec(&self) -> AgentSpec {
        AgentSpec {
            name: "postmortem",
            topics: TOPICS,
        }
    }

    fn route(&self, envelope: &Envelope) -> Route {
        if let Event::Command(command) = &envelope.event
            && !review::concerns(command)
        {
            return Route::Ignore;
        }
        envelope
            .event
            .incident_id()
            .map_or(Route::Ignore, |id| Route::Scope(id.to_string()))
    }

    fn decide(&self, state: &mut State, at: Moment, input: Input) -> Vec<Effect> {
        self.core.decide(state, at, input)
    }

    async fn perform(&self, job: &Job) -> Result<Value, JobError> {
        let payload = job.payload.clone();
        match job.kind.as_str() {
            WRITE => {
                let assignment: Assignment = serde_json::from_value(payload).map_err(permanent)?;
                serde_json::to_value(self.gather(assignment).await?).map_err(permanent)
            }
            POLISH => {
                let draft: Draft = serde_json::from_value(payload).map_err(permanent)?;
                serde_json::to_value(self.ask(job, &draft).await?).map_err(permanent)
            }
            LEARN => {
                let lesson: Lesson = serde_json::from_value(payload).map_err(permanent)?;
                learn(&self.knowledge, &lesson).await?;
                Ok(Value::Null)
            }
            other => Err(JobError::Permanent(anyhow::anyhow!(
                "no job of kind {other} is known here"
            ))),
        }
    }
}
