//! The tool loop with the model.

use super::Investigation;
use super::tools::{Answer, Desk, Library, SUBMIT, Section, evidence_tools, submit_tool};
use crate::decide::advice::{Advice, Request, Scene, TEXT_LIMIT};
use anyhow::Context as _;
use async_trait::async_trait;
use futures::future::join_all;
use midwatch_clients::llm::redact::Vault;
use midwatch_clients::llm::{
    ChatReply, ChatRequest, LlmCall, LlmClient, LlmError, Message, Spent, Tier, Tool, ToolCall,
    fence,
};
use midwatch_clients::postgres::{KeptRecord, history, llm, records};
use midwatch_events::ids;
use midwatch_events::incident::SimilarIncident;
use midwatch_runtime::Job;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;
use uuid::Uuid;

/// REFERENCE, model settings: investigation, reasoning tier, 4096 tokens, 0.1.
const MAX_TOKENS: u32 = 4_096;
/// Calls of one reply that are carried out; no question needs more at once.
const CALLS_PER_REPLY: usize = 8;
/// Replies in a row that cannot be used before the loop gives up.
const UNUSABLE: u32 = 3;
/// Refused calls that are listed.
const REFUSED: usize = 30;
/// Before the answer to a call that was answered before.
const REPEATED: &str = "You made this call before; its answer is the same. Look at something \
    else, or call submit_rca.";

const SYSTEM: &str = "You investigate a production incident. Code has ranked the candidates; you \
    look at the evidence with the tools, then call submit_rca with the candidates in your order. \
    Cite only ids that tools returned. Begin each hypothesis with the candidate's service, and use \
    only numbers, quotations and names of the records that you cite: whatever is not in them is \
    dropped. A cause begins before its effect. Confidences are computed by code.";

/// How long and how far a loop may go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Rounds, 1 to 12. The budgets of tokens, money and seconds are the client's settings.
    pub rounds: u32,
    /// Two moments this close are one, in milliseconds.
    pub sampling_ms: i64,
    /// What the incident has used before.
    pub spent: Spent,
}

/// The stores behind the tools.
struct Stores<'a> {
    investigation: &'a Investigation,
    incident: Uuid,
}

#[async_trait]
impl Library for Stores<'_> {
    async fn records(&self) -> anyhow::Result<Vec<KeptRecord>> {
        Ok(records::of_incident(&self.investigation.postgres.pool, self.incident).await?)
    }

    async fn similar(&self, query: &str) -> anyhow::Result<Vec<SimilarIncident>> {
        let hits = self.investigation.knowledge.search_incidents(query, None);
        let word =
            |record: &Value, name: &str| record[name].as_str().unwrap_or_default().to_owned();
        Ok(hits
            .await?
            .into_iter()
            .map(|hit| SimilarIncident {
                title: word(&hit.record, "title"),
                score: f64::from(hit.score),
                root_cause: word(&hit.record, "root_cause"),
                resolution: word(&hit.record, "resolution"),
                mttr_minutes: hit.mttr_minutes,
                incident_id: hit.incident_id,
            })
            .collect())
    }

    async fn sections(&self, query: &str, cause: Option<&str>) -> anyhow::Result<Vec<Section>> {
        let hits = self.investigation.knowledge.search_runbooks(query, cause);
        Ok(hits
            .await?
            .into_iter()
            .map(|hit| Section {
                id: format!("{}#{}", hit.runbook_id, hit.section_title),
                text: hit.text,
                score: f64::from(hit.score),
            })
            .collect())
    }

    async fn keep(&self, call: &LlmCall) -> anyhow::Result<()> {
        let pool = &self.investigation.postgres.pool;
        Ok(llm::insert_call(pool, Some(self.incident), call).await?)
    }
}

impl Investigation {
    /// Runs the loop; what the incident has used before, in a try that was cut off too, counts
    /// against its budgets. Failures of the model are part of the result, so that
    /// its calls are recorded in any case.
    pub(super) async fn advise(&self, job: &Job) -> anyhow::Result<Value> {
        let llm = self
            .llm
            .as_deref()
            .context("no model is configured any more")?;
        let request: Request = serde_json::from_value(job.payload.clone())
            .context("the job was written by this agent")?;
        let (pool, incident) = (&self.postgres.pool, request.incident_id);
        let (tokens, cost_usd) = history::spent(pool, incident).await?;
        let ms = llm::investigated_ms(pool, incident).await?;
        let limits = Limits {
            rounds: self.core.config.max_rounds,
            sampling_ms: self.core.config.same_moment_ms,
            spent: Spent {
                tokens,
                cost_usd,
                ms,
            },
        };
        let stores = Stores {
            investigation: self,
            incident,
        };
        // The calls of a try that was cut off are on record under its own ids, and count.
        let run = match job.attempt {
            ..=1 => job.id,
            attempt => ids::derive(&["llm run", &job.id.to_string(), &attempt.to_string()]),
        };
        let advice = consult(llm, &stores, run, &request, limits).await;
        Ok(serde_json::to_value(advice)?)
    }
}

/// Runs the tool loop of one investigation. Ends within the client's budget of seconds and the time
/// that the tools take; whatever happens is part of the advice.
pub async fn consult(
    llm: &LlmClient,
    library: &dyn Library,
    job: Uuid,
    request: &Request,
    limits: Limits,
) -> Advice {
    let scene = Scene::of(request, limits.sampling_ms);
    let mut context = json!({
        "title": request.title, "severity": request.severity, "services": request.services,
        "candidates": request.candidates,
    });
    fence::untrusted_json(&mut context, TEXT_LIMIT);
    let context = serde_json::to_string_pretty(&context).unwrap_or_default();
    let job = job.to_string();
    let mark = fence::nonce(&[&job, &context]);
    let question = format!(
        "Find the root cause.\n{}",
        fence::block("incident and ranked candidates", &context, &mark)
    );
    let mut round = Loop {
        job,
        llm,
        desk: Desk::new(request, &scene, library),
        library,
        messages: vec![
            Message::System(format!("{SYSTEM} {}", fence::RULE)),
            Message::User(question),
        ],
        cache: BTreeMap::new(),
        advice: Advice {
            model: llm.settings().model(Tier::Reasoning).to_owned(),
            ..Advice::default()
        },
        spent: limits.spent,
        start: Instant::now(),
        was_corrected: false,
    };
    round.run(limits.rounds).await;
    let mut advice = round.advice;
    advice.scene = scene;
    advice
}

/// The state of one loop.
struct Loop<'a> {
    job: String,
    llm: &'a LlmClient,
    desk: Desk<'a>,
    library: &'a dyn Library,
    messages: Vec<Message>,
    /// Answers of tools, by name and arguments: a repeated call costs nothing.
    cache: BTreeMap<String, String>,
    advice: Advice,
    /// What the incident had used before this loop.
    spent: Spent,
    start: Instant,
    /// A submission that breaks its schema is sent back once; then it is taken as it is.
    was_corrected: bool,
}

impl Loop<'_> {
    async fn run(&mut self, rounds: u32) {
        let mut unusable = 0;
        for round in 0..rounds {
            let is_last = round + 1 == rounds;
            let outcome = self.ask(round, is_last).await;
            let degradations = outcome.degradations.into_iter();
            let told = degradations.map(|one| format!("round {}: {one}", round + 1));
            self.advice.degradations.extend(told);
            if let Err(error) = self.library.keep(&outcome.call).await {
                // It is written with the answer as well.
                tracing::warn!(job = self.job, %error, "a model call is not on record yet");
            }
            self.advice.calls.push(outcome.call);
            match outcome.result {
                Ok(reply) => {
                    unusable = 0;
                    if self.take(&reply, is_last).await {
                        return;
                    }
                }
                Err(error @ LlmError::SchemaInvalid(_)) => {
                    unusable += 1;
                    let note = format!("round {}: {error}", round + 1);
                    tracing::warn!(job = self.job, "{note}");
                    self.advice.degradations.push(note);
                    if unusable == UNUSABLE {
                        self.fail(format!(
                            "{UNUSABLE} replies in a row cannot be used: {error}"
                        ));
                        return;
                    }
                    let hint = "Your last reply could not be read. Call one of the tools.";
                    self.messages.push(Message::User(hint.to_owned()));
                }
                Err(error) => {
                    self.fail(error.to_string());
                    return;
                }
            }
        }
        self.fail(format!("no submission in {rounds} rounds"));
    }

    fn fail(&mut self, why: String) {
        tracing::warn!(
            job = self.job,
            why,
            "the model step ended without an answer"
        );
        self.advice.failure = Some(why);
    }

    async fn ask(&self, round: u32, is_last: bool) -> midwatch_clients::llm::ChatOutcome {
        // A small model submits at once where it may: evidence first.
        let tools = match round {
            0 => evidence_tools(),
            _ if is_last => vec![submit_tool()],
            _ => [evidence_tools(), vec![submit_tool()]].concat(),
        };
        self.llm
            .chat(ChatRequest {
                call_id: ids::derive(&["llm", &self.job, &round.to_string()]),
                agent: "investigation".to_owned(),
                purpose: "investigate".to_owned(),
                tier: Tier::Reasoning,
                messages: self.messages.clone(),
                tools,
                max_tokens: MAX_TOKENS,
                temperature: 0.1,
                spent: self.spent(),
            })
            .await
    }

    fn spent(&self) -> Spent {
        let mut spent = self.spent;
        for call in &self.advice.calls {
            let tokens = call.prompt_tokens + call.completion_tokens;
            spent.tokens += u64::try_from(tokens).unwrap_or(0);
            spent.cost_usd += call.cost_usd;
        }
        spent.ms += u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        spent
    }

    /// Answers the reply's tool calls; `true` when it submitted.
    async fn take(&mut self, reply: &ChatReply, is_last: bool) -> bool {
        self.messages.push(reply.to_message());
        if reply.tool_calls.is_empty() {
            let nudge = "Call a tool, or submit_rca when you are done.";
            self.messages.push(Message::User(nudge.to_owned()));
            return false;
        }
        if let Some(call) = reply.tool_calls.iter().find(|call| call.name == SUBMIT)
            && self.submits(call, is_last)
        {
            self.advice.submission = Some(call.arguments.clone());
            return true;
        }
        let known: BTreeSet<String> = self.cache.keys().cloned().collect();
        let wanted = self.wanted(reply);
        let looked = wanted
            .iter()
            .map(|call| self.desk.look(&call.name, &call.arguments));
        let answers = join_all(looked).await;
        for (call, answer) in wanted.iter().zip(answers) {
            let answer = match answer {
                Answer::Refused(why) => {
                    let why = self.hidden(&why);
                    self.refuse(call, &why);
                    Answer::Refused(why)
                }
                rows @ Answer::Rows { .. } => rows,
            };
            let told = self.desk.tell(answer, &mut self.advice.shown);
            let mark = fence::nonce(&[&self.job, &call.id, &told]);
            let block = fence::block(&format!("result of {}", call.name), &told, &mark);
            self.cache.insert(key(call), block);
        }
        for (place, call) in reply.tool_calls.iter().enumerate() {
            let content = match (&call.problem, self.cache.get(&key(call))) {
                (Some(problem), _) => {
                    let known = arguments_of(&call.name, &evidence_tools(), &submit_tool());
                    let problem = self.hidden(problem);
                    self.refuse(call, &problem);
                    json!({"error": problem, "hint": known}).to_string()
                }
                (None, _) if place >= CALLS_PER_REPLY => {
                    let why = format!("at most {CALLS_PER_REPLY} calls in one reply");
                    self.refuse(call, &why);
                    json!({"error": why}).to_string()
                }
                // A small model may ask the same until its rounds are over.
                (None, Some(told)) if known.contains(&key(call)) => format!("{REPEATED}\n{told}"),
                (None, Some(told)) => told.clone(),
                (None, None) => json!({"error": "the call was not carried out"}).to_string(),
            };
            self.messages.push(Message::ToolResult {
                call_id: call.id.clone(),
                name: call.name.clone(),
                content,
            });
        }
        false
    }

    /// Whether a call of [`SUBMIT`] ends the loop. One that breaks its schema is sent back once;
    /// then it is taken as far as it can be read.
    fn submits(&mut self, call: &ToolCall, is_last: bool) -> bool {
        let was_offered = self.advice.calls.len() > 1;
        match &call.problem {
            None => true,
            Some(_) if !was_offered || !call.arguments.is_object() => false,
            Some(problem) if self.was_corrected || is_last => {
                let note = format!("the submission breaks its schema ({problem})");
                self.advice.degradations.push(note);
                true
            }
            Some(_) => {
                self.was_corrected = true;
                false
            }
        }
    }

    /// The calls that are to be carried out now, each once.
    fn wanted(&self, reply: &ChatReply) -> Vec<ToolCall> {
        let mut known: BTreeSet<String> = BTreeSet::new();
        reply
            .tool_calls
            .iter()
            .take(CALLS_PER_REPLY)
            .filter(|call| call.problem.is_none() && call.name != SUBMIT)
            .filter(|call| !self.cache.contains_key(&key(call)) && known.insert(key(call)))
            .cloned()
            .collect()
    }

    /// What the model said, without the secrets that were put back into it: a refusal is logged,
    /// audited, and told to the model.
    fn hidden(&self, said: &str) -> String {
        let mut vault = Vault::default();
        for message in &self.messages {
            if let Message::User(text) | Message::ToolResult { content: text, .. } = message {
                vault.learn(text);
            }
        }
        vault.hide_echo(said)
    }

    fn refuse(&mut self, call: &ToolCall, why: &str) {
        tracing::warn!(
            job = self.job,
            tool = call.name,
            why,
            "a tool call was refused"
        );
        if self.advice.refused.len() < REFUSED {
            let told = format!("{}: {why}", call.name);
            self.advice.refused.push(fence::untrusted(&told, 300));
        }
    }
}

/// Equal calls have equal keys: objects are sorted by name.
fn key(call: &ToolCall) -> String {
    format!("{} {}", call.name, call.arguments)
}

/// What a tool takes, or which tools there are.
fn arguments_of(name: &str, tools: &[Tool], submit: &Tool) -> String {
    let names = |tool: &Tool| {
        let fields = tool.parameters["properties"].as_object();
        let fields: Vec<&str> = fields
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect();
        fields.join(", ")
    };
    match tools.iter().chain([submit]).find(|tool| tool.name == name) {
        Some(tool) if tool.name == SUBMIT => {
            format!("{SUBMIT} takes {}; look at evidence first", names(tool))
        }
        Some(tool) => format!("{name} takes {}", names(tool)),
        None => {
            let all: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
            format!("the tools are: {}", all.join(", "))
        }
    }
}
