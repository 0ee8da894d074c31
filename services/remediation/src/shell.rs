//! The acting part: asks the knowledge store, PostgreSQL and the model.

use crate::case::{Case, Observed};
use crate::config::{Config, MIN_SIMILARITY, MODEL_TEMPERATURE, MODEL_TOKENS};
use crate::decide::{Advice, Core, Draft, ORDER, Performed, RETRIEVE, Retrieved, State};
use crate::estimate::Past;
use crate::execution::{Check, EXECUTE, Execution, Rejection, VERIFY, WITHDRAW};
use crate::executors::Executors;
use crate::order::{self, Order};
use crate::policy::Mode;
use crate::proof::Proof;
use crate::steps::{Effective, is_host};
use anyhow::Context as _;
use async_trait::async_trait;
use midwatch_clients::knowledge::{IncidentHit, KnowledgeError, KnowledgeStore, RunbookHit};
use midwatch_clients::llm::{LlmClient, LlmRequest, Spent, Tier};
use midwatch_clients::postgres::{Postgres, history, records};
use midwatch_events::action::{ActionKind, VerificationVerdict};
use midwatch_events::cause::family;
use midwatch_events::knowledge::Catalogue;
use midwatch_events::{Envelope, Event, RcaCompleted, Topic};
use midwatch_runtime::ServiceContext;
use midwatch_runtime::agent::{Agent, AgentSpec, Input, Job, JobError, Moment, Route};
use midwatch_runtime::effect::Effect;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

/// The remediation agent.
pub struct Remediation {
    core: Core,
    postgres: Postgres,
    knowledge: KnowledgeStore,
    model: Option<Arc<LlmClient>>,
    executors: Executors,
    proof: Proof,
}

const TOPICS: &[Topic] = &[
    Topic::RcaCompleted,
    Topic::IncidentsResolved,
    Topic::OperatorCommands,
];

impl Remediation {
    /// Sets the agent up.
    ///
    /// # Errors
    /// A setting cannot be used, or PostgreSQL is away. A missing catalogue is
    /// no error: owners and escalation then go by role.
    pub async fn new(context: &mut ServiceContext) -> anyhow::Result<Remediation> {
        let config = Config::read(&mut context.settings);
        context.settings.clone().finish()?;
        let path = config.knowledge_dir.join("services.json");
        let catalogue = read_catalogue(&path).unwrap_or_else(|error| {
            tracing::warn!(
                "owners go by role only: {error:#}; set KNOWLEDGE_DIR to the folder of services.json"
            );
            metrics::counter!("midwatch_remediation_degraded_total").increment(1);
            Catalogue::default()
        });
        let model = context.llm()?;
        say_mode(&config);
        let postgres = context.postgres().await?;
        let executors = Executors::connect(&context.settings, postgres.clone())
            .await?
            .with_stop_file(config.stop_file.clone())
            .with_policy(config.policy_source.clone());
        let proof = Proof::new(context.redis().await?, catalogue.clone());
        Ok(Remediation {
            executors,
            proof,
            core: Core {
                catalogue,
                namespace: config.namespace,
                has_model: model.is_some(),
                policy: config.policy,
                allowed: config.allowed,
                simulated_environment: config.simulated_environment,
                has_simulator: config.simulator_url.is_some(),
            },
            postgres,
            knowledge: context.knowledge().await?,
            model,
        })
    }

    /// What is known about a cause: the runbook, the names that were observed,
    /// how long it took before.
    async fn retrieve(&self, rca: &RcaCompleted) -> Result<Retrieved, JobError> {
        let case = Case {
            rca,
            catalogue: &self.core.catalogue,
            allowed: &self.core.allowed,
            default_namespace: &self.core.namespace,
        };
        let records = records::of_incident(&self.postgres.pool, rca.header.incident_id)
            .await
            .map_err(|error| JobError::Transient(error.into()))?;
        let found = self.search(&case).await;
        let (sections, past, effective) = found.map_err(|error| {
            // Not a matter of readiness: without the store the plan has steps
            // that only look, and nothing asks the store again until the next
            // incident, so the process would stay unready long after it is
            // back.
            metrics::counter!("midwatch_remediation_knowledge_failures_total").increment(1);
            if error.is_transient() {
                JobError::Transient(error.into())
            } else {
                JobError::Permanent(error.into())
            }
        })?;
        Ok(Retrieved {
            sections,
            observed: Observed::read(&records, case.service()),
            past,
            effective,
            onset_ms: records
                .iter()
                .filter(|record| record.kind == "anomaly")
                .map(|record| record.at_ms)
                .min(),
        })
    }

    async fn search(
        &self,
        case: &Case<'_>,
    ) -> Result<(Vec<RunbookHit>, Vec<Past>, Vec<Effective>), KnowledgeError> {
        let query = format!(
            "{} {}",
            case.cause().replace('_', " "),
            case.rca.top_root_cause
        );
        // A store that is still being seeded answers without hits; that must
        // not pass for "no runbook fits".
        self.knowledge.ready().await?;
        // What a failed change of any sort is handled as; a cause that only a
        // runbook knows is looked up by its own name.
        let cause = family(case.cause()).map_or(case.cause(), |kind| kind.as_str());
        // Runbooks for machines are few, and most of their causes have no name of
        // their own: they are found by meaning.
        let on_host = is_host(case.service());
        let hits = if on_host {
            let query = format!("host machine {} {query}", case.metric());
            self.knowledge.search_runbooks(&query, None).await?
        } else {
            self.knowledge.search_runbooks(&query, Some(cause)).await?
        };
        let sections = match fitting(&hits, cause, on_host) {
            Some(runbook) => self.knowledge.runbook_sections(runbook).await?,
            None => Vec::new(),
        };
        let incidents = self.knowledge.search_incidents(&query, Some(cause)).await?;
        let effective = effective(&incidents);
        let past = incidents
            .into_iter()
            .map(|hit| Past {
                incident_id: hit.incident_id,
                anomaly_type: hit.anomaly_type,
                mttr_minutes: hit.mttr_minutes,
            })
            .collect();
        Ok((sections, past, effective))
    }

    async fn ask(&self, job: &Job, draft: &Draft) -> Result<Advice, JobError> {
        let model = self.model.as_ref().ok_or_else(|| {
            JobError::Permanent(anyhow::anyhow!("no model is configured any more"))
        })?;
        let (tokens, cost_usd) = history::spent(&self.postgres.pool, draft.rca.header.incident_id)
            .await
            .map_err(|error| JobError::Transient(error.into()))?;
        // Nobody waits for this one: its own time limit is enough.
        let spent = Spent {
            tokens,
            cost_usd,
            ms: 0,
        };
        Ok(asked(model, job.id, draft, spent).await)
    }
}

/// Asks a model for an order of the draft's steps. A reply that is no order
/// leaves none; the call says how it went.
pub async fn asked(model: &LlmClient, job: Uuid, draft: &Draft, spent: Spent) -> Advice {
    let outcome = model
        .complete(LlmRequest {
            call_id: job,
            agent: "remediation".to_owned(),
            purpose: ORDER.to_owned(),
            tier: Tier::Reasoning,
            system: order::system(),
            user: order::question(job, &draft.rca, &draft.plan),
            max_tokens: MODEL_TOKENS,
            temperature: MODEL_TEMPERATURE,
            schema: Some((order::SCHEMA.to_owned(), order::schema())),
            spent,
        })
        .await;
    let order = outcome
        .result
        .ok()
        .and_then(|reply| reply.value)
        .and_then(|value| serde_json::from_value::<Order>(value).ok());
    Advice {
        call: outcome.call,
        order,
    }
}

/// Says aloud whether anything can be carried out.
fn say_mode(config: &Config) {
    let policy = &config.policy;
    let live: Vec<&str> = policy
        .environments
        .iter()
        .filter(|(_, mode)| **mode == Mode::Live)
        .map(|(name, _)| name.as_str())
        .collect();
    if policy.mode == Mode::Live || !live.is_empty() {
        tracing::warn!(?live, mode = ?policy.mode, "approved actions are carried out");
    } else {
        tracing::info!("approved actions are dry runs; see REMEDIATION_MODE and the policy");
    }
}

/// What was done in these incidents, and how often its check found that it
/// helped; nearest incidents first.
fn effective(hits: &[IncidentHit]) -> Vec<Effective> {
    let mut all: Vec<Effective> = Vec::new();
    for hit in hits {
        for action in &hit.effective_actions {
            // A kind of another build is nothing that could be done now.
            let Some(kind) = ActionKind::parse(&action.kind) else {
                continue;
            };
            let improved = u32::from(action.verdict == VerificationVerdict::Improved.as_str());
            let known = all
                .iter_mut()
                .find(|one| one.kind == kind && one.cause == action.cause);
            match known {
                Some(one) => {
                    one.tried += 1;
                    one.improved += improved;
                }
                None => all.push(Effective {
                    kind,
                    cause: action.cause.clone(),
                    improved,
                    tried: 1,
                    incident: hit.incident_id.clone(),
                }),
            }
        }
    }
    all
}

/// The runbook of the best section that is for this cause, or else near enough
/// in meaning.
fn fitting<'a>(hits: &'a [RunbookHit], cause: &str, on_host: bool) -> Option<&'a str> {
    let for_cause = |hit: &&RunbookHit| hit.anomaly_types.iter().any(|kind| kind == cause);
    let of_kind = || hits.iter().filter(|hit| hit.is_for_hosts() == on_host);
    of_kind()
        .find(for_cause)
        .or_else(|| of_kind().find(|hit| hit.score >= MIN_SIMILARITY))
        .map(|hit| hit.runbook_id.as_str())
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
impl Agent for Remediation {
    type State = State;

    fn spec(&self) -> AgentSpec {
        AgentSpec {
            name: "remediation",
            topics: TOPICS,
        }
    }

    fn route(&self, envelope: &Envelope) -> Route {
        envelope
            .event
            .incident_id()
            .map_or(Route::Ignore, |id| Route::Scope(id.to_string()))
    }

    /// Whether the stop file is there when a command is decided on.
    async fn context(&self, envelope: &Envelope) -> anyhow::Result<Value> {
        if matches!(envelope.event, Event::Command(_)) {
            return Ok(json!({ "stopped": self.executors.is_stopped().await }));
        }
        Ok(Value::Null)
    }

    fn decide(&self, state: &mut State, at: Moment, input: Input) -> Vec<Effect> {
        self.core.decide(state, at, input)
    }

    async fn perform(&self, job: &Job) -> Result<Value, JobError> {
        let payload = job.payload.clone();
        match job.kind.as_str() {
            RETRIEVE => {
                let rca: RcaCompleted = serde_json::from_value(payload).map_err(permanent)?;
                serde_json::to_value(self.retrieve(&rca).await?).map_err(permanent)
            }
            ORDER => {
                let draft: Draft = serde_json::from_value(payload).map_err(permanent)?;
                serde_json::to_value(self.ask(job, &draft).await?).map_err(permanent)
            }
            EXECUTE => {
                let execution: Execution = serde_json::from_value(payload).map_err(permanent)?;
                let done = self.executors.execute(&execution).await?;
                let stopped = self.executors.is_stopped().await;
                serde_json::to_value(Performed { done, stopped }).map_err(permanent)
            }
            WITHDRAW => {
                let rejection: Rejection = serde_json::from_value(payload).map_err(permanent)?;
                let done = self.executors.withdraw(&rejection).await?;
                let stopped = self.executors.is_stopped().await;
                serde_json::to_value(Performed { done, stopped }).map_err(permanent)
            }
            VERIFY => {
                let check: Check = serde_json::from_value(payload).map_err(permanent)?;
                let done = self.proof.verify(&check).await?;
                let stopped = self.executors.is_stopped().await;
                serde_json::to_value(Performed { done, stopped }).map_err(permanent)
            }
            other => Err(JobError::Permanent(anyhow::anyhow!(
                "no job of kind {other} is known here"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use midwatch_clients::knowledge::EffectiveAction;

    fn hit(runbook: &str, kinds: &[&str], score: f32) -> RunbookHit {
        RunbookHit {
            runbook_id: runbook.to_owned(),
            section_title: "Immediate mitigation".to_owned(),
            text: String::new(),
            score,
            anomaly_types: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            position: 0,
            steps: Vec::new(),
            causes: Vec::new(),
            target: String::new(),
        }
    }

    #[test]
    fn what_helped_before_is_counted_over_similar_incidents() {
        let hit = |id: &str, done: &[(&str, &str)]| IncidentHit {
            incident_id: id.to_owned(),
            score: 0.6,
            chunk_type: "resolution".to_owned(),
            text: String::new(),
            anomaly_type: "MEMORY_LEAK".to_owned(),
            severity: "HIGH".to_owned(),
            mttr_minutes: 4.0,
            tags: Vec::new(),
            record: Value::Null,
            effective_actions: done
                .iter()
                .map(|(kind, verdict)| EffectiveAction {
                    kind: (*kind).to_owned(),
                    cause: "MEMORY_LEAK".to_owned(),
                    verdict: (*verdict).to_owned(),
                })
                .collect(),
            service: String::new(),
            origin: String::new(),
        };
        let hits = [
            hit(
                "INC-1",
                &[("restart_rollout", "improved"), ("sing", "improved")],
            ),
            hit(
                "INC-2",
                &[("restart_rollout", "not_improved"), ("scale", "worse")],
            ),
        ];
        let found: Vec<(ActionKind, u32, u32, String)> = effective(&hits)
            .into_iter()
            .map(|one| (one.kind, one.improved, one.tried, one.incident))
            .collect();
        assert_eq!(
            found,
            [
                (ActionKind::RestartRollout, 1, 2, "INC-1".to_owned()),
                (ActionKind::Scale, 0, 1, "INC-2".to_owned()),
            ]
        );
    }

    #[test]
    fn a_runbook_for_the_cause_goes_before_a_nearer_one_for_another() {
        let hits = [
            hit("memory-leak", &["MEMORY_LEAK"], 0.7),
            hit("cpu-saturation", &["CPU_SATURATION"], 0.5),
        ];
        assert_eq!(
            fitting(&hits, "CPU_SATURATION", false),
            Some("cpu-saturation")
        );
        assert_eq!(fitting(&hits, "TRAFFIC_DROP", false), Some("memory-leak"));
        assert_eq!(
            fitting(&[hit("memory-leak", &[], 0.39)], "TRAFFIC_DROP", false),
            None
        );
    }
}
