//! The life of one call: budget, breaker, tries, check, record.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uuid::Uuid;

use super::redact::Vault;
use super::settings::OPENAI_BASE_URL;
use super::transport::TryError;
use super::wire::{self, ReplySchema, WireChoice, WireReply, WireUsage};
use super::{LlmCall, LlmClient, LlmError, Outcome, Spent, Tier, schema};

/// Tries of one call. More would only spend its time limit on an endpoint that is down.
const TRIES: u32 = 3;
/// The pause after the first failed try; doubled after the second.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Characters per token in English text, as OpenAI's documentation gives it; used where no count
/// is known yet or the endpoint reports none.
const CHARACTERS_PER_TOKEN: usize = 4;
const UNPOISONED: &str = "no code panics while it holds this lock";

/// What kind of reply a call asks for.
pub enum Asked {
    /// Text, or an object by schema.
    Reply(Option<ReplySchema>),
    /// Tool calls or text, with the tools in the protocol's form.
    Tools(Value),
}

/// A call ready to go out; its messages are redacted.
pub struct Task {
    /// What was redacted, to be put back into the reply.
    pub vault: Vault,
    pub call_id: Uuid,
    pub agent: String,
    pub purpose: String,
    pub tier: Tier,
    pub messages: Vec<Value>,
    pub asked: Asked,
    pub max_tokens: u32,
    pub temperature: f32,
    pub spent: Spent,
}

impl LlmClient {
    /// Carries one call through and writes its record. `read` turns the model's choice into the
    /// reply or says why it does not fit; what it had to put up with it adds to the notes.
    pub(super) async fn run<Reply>(
        &self,
        mut task: Task,
        read: impl FnOnce(&WireChoice, &Vault, &mut Vec<String>) -> Result<Reply, String>,
    ) -> Outcome<Reply> {
        let start = Instant::now();
        let mut notes = Vec::new();
        let mut call = self.record(&task);
        let answered = match self.admit(&task) {
            Ok(limit) => self.answer(&task, limit, &mut notes).await,
            Err(error) => Err(error),
        };
        let result = match answered {
            Ok(reply) => {
                self.note_usage(&mut call, &mut task, &reply);
                match reply.choices.first() {
                    Some(choice) => {
                        read(choice, &task.vault, &mut notes).map_err(LlmError::SchemaInvalid)
                    }
                    None => Err(LlmError::SchemaInvalid(
                        "the answer holds no choice".to_owned(),
                    )),
                }
            }
            Err(error) => {
                if matches!(error, LlmError::Timeout(_)) {
                    // The provider may have worked on it: the budget counts what was sent.
                    self.charge(&mut call, estimated_tokens(&task), 0);
                }
                Err(error)
            }
        };
        call.latency_ms = i64::try_from(start.elapsed().as_millis()).unwrap_or(i64::MAX);
        if let Err(error) = &result {
            call.outcome = error.outcome().to_owned();
            call.error = Some(error.to_string());
        }
        if !notes.is_empty() {
            tracing::warn!(agent = call.agent, purpose = call.purpose, call_id = %call.call_id,
                degradations = ?notes, "a model call was degraded");
            call.prompt["degradations"] = Value::from(notes.clone());
        }
        Outcome {
            call,
            result,
            degradations: notes,
        }
    }

    fn record(&self, task: &Task) -> LlmCall {
        let mut prompt = json!({
            "messages": task.messages,
            "max_tokens": task.max_tokens,
            "temperature": task.temperature,
        });
        match &task.asked {
            Asked::Reply(None) => {}
            Asked::Reply(Some(schema)) => prompt["schema"] = Value::from(schema.name.clone()),
            Asked::Tools(tools) => {
                let names = tools.as_array().into_iter().flatten();
                prompt["tools"] = names.map(|tool| tool["function"]["name"].clone()).collect();
            }
        }
        LlmCall {
            call_id: task.call_id,
            agent: task.agent.clone(),
            purpose: task.purpose.clone(),
            tier: task.tier.as_str().to_owned(),
            model: self.settings.model(task.tier).to_owned(),
            prompt,
            reply: None,
            prompt_tokens: 0,
            completion_tokens: 0,
            cost_usd: 0.0,
            latency_ms: 0,
            outcome: "ok".to_owned(),
            error: None,
        }
    }

    /// How long the call may take. Refuses one that could exceed the incident's budget, or that the
    /// breaker holds back.
    fn admit(&self, task: &Task) -> Result<Duration, LlmError> {
        let settings = &self.settings;
        let prompt_tokens = estimated_tokens(task);
        let max_tokens = u64::from(task.max_tokens);
        let tokens = task
            .spent
            .tokens
            .saturating_add(prompt_tokens)
            .saturating_add(max_tokens);
        if tokens > settings.max_tokens_per_incident {
            return Err(LlmError::Budget(format!(
                "this call could bring it to {tokens} tokens, its limit is {} (LLM_MAX_TOKENS_PER_INCIDENT)",
                settings.max_tokens_per_incident
            )));
        }
        let model = settings.model(task.tier);
        let cost_usd = task.spent.cost_usd + settings.cost_usd(model, prompt_tokens, max_tokens);
        if cost_usd > settings.max_cost_usd_per_incident {
            return Err(LlmError::Budget(format!(
                "this call could bring it to {cost_usd:.4} USD, its limit is {} (LLM_MAX_COST_USD_PER_INCIDENT)",
                settings.max_cost_usd_per_incident
            )));
        }
        let budget_ms = settings.max_seconds_per_incident.saturating_mul(1_000);
        let left_ms = budget_ms.saturating_sub(task.spent.ms);
        if left_ms == 0 {
            return Err(LlmError::Budget(format!(
                "its calls have taken {} s, its limit is {} (LLM_MAX_SECONDS_PER_INCIDENT)",
                task.spent.ms / 1_000,
                settings.max_seconds_per_incident
            )));
        }
        let mut breaker = self.breaker.lock().expect(UNPOISONED);
        breaker
            .admit(Instant::now())
            .map_err(|left| LlmError::CircuitOpen(left.as_secs().max(1)))?;
        Ok(Duration::from_millis(settings.timeout_ms.min(left_ms)))
    }

    /// All tries within the one time limit; the breaker hears how it ended.
    async fn answer(
        &self,
        task: &Task,
        limit: Duration,
        notes: &mut Vec<String>,
    ) -> Result<WireReply, LlmError> {
        let tries = self.tries(task, Instant::now() + limit, notes);
        let answer = match tokio::time::timeout(limit, tries).await {
            Ok(answer) => answer,
            Err(_) => Err(LlmError::Timeout(
                u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
            )),
        };
        // An unreadable answer is an answer: the endpoint is up.
        let is_up = matches!(answer, Ok(_) | Err(LlmError::SchemaInvalid(_)));
        self.breaker
            .lock()
            .expect(UNPOISONED)
            .record(Instant::now(), is_up);
        answer
    }

    async fn tries(
        &self,
        task: &Task,
        end: Instant,
        notes: &mut Vec<String>,
    ) -> Result<WireReply, LlmError> {
        let mut pause = FIRST_PAUSE;
        let mut tries = 0;
        loop {
            let in_prompt = self.schema_in_prompt.load(Ordering::Relaxed);
            let failure = match self.transport.send(&self.body(task, in_prompt)).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            if !in_prompt && refuses_schema(task, &failure) {
                notes.push(
                    "the endpoint takes no reply schema; the prompt carries it from now on"
                        .to_owned(),
                );
                self.schema_in_prompt.store(true, Ordering::Relaxed);
                continue;
            }
            tries += 1;
            if tries >= TRIES || !worth_retrying(&failure) {
                return Err(failure.into());
            }
            let wait = match asked_wait(&failure) {
                // Never earlier than asked for, and not all at the same moment.
                Some(asked) => asked + jittered(asked / 10),
                None => jittered(pause),
            };
            let failure = LlmError::from(failure);
            if Instant::now() + wait >= end {
                notes.push(format!(
                    "another try would have to wait {} ms, longer than this call may take",
                    wait.as_millis()
                ));
                return Err(failure);
            }
            notes.push(format!(
                "try {tries} of {TRIES} failed ({failure}); waited {} ms",
                wait.as_millis()
            ));
            tokio::time::sleep(wait).await;
            pause *= 2;
        }
    }

    fn body(&self, task: &Task, schema_in_prompt: bool) -> Value {
        // OpenAI's newer models refuse the old name of this limit, most other servers know no other.
        let limit_name = if self.settings.base_url == OPENAI_BASE_URL {
            "max_completion_tokens"
        } else {
            "max_tokens"
        };
        let mut messages = task.messages.clone();
        let mut body = json!({
            "model": self.settings.model(task.tier),
            "temperature": task.temperature,
            limit_name: task.max_tokens,
        });
        match &task.asked {
            Asked::Reply(None) => {}
            Asked::Reply(Some(schema)) if schema_in_prompt => {
                wire::append_to_system(&mut messages, &wire::schema_instruction(schema));
            }
            Asked::Reply(Some(schema)) => {
                let ReplySchema { name, schema } = schema;
                body["response_format"] =
                    json!({"type": "json_schema", "json_schema": {"name": name, "schema": schema}});
            }
            Asked::Tools(tools) => body["tools"] = tools.clone(),
        }
        body["messages"] = Value::from(messages);
        body
    }

    fn note_usage(&self, call: &mut LlmCall, task: &mut Task, reply: &WireReply) {
        let shown = reply.choices.first().map(shown_reply);
        let reported = reply
            .usage
            .filter(|usage| usage.prompt_tokens + usage.completion_tokens > 0);
        let usage = reported.unwrap_or_else(|| WireUsage {
            prompt_tokens: estimated_tokens(task),
            completion_tokens: tokens_of(shown.as_deref().unwrap_or_default()),
        });
        self.charge(call, usage.prompt_tokens, usage.completion_tokens);
        call.reply = shown.map(|text| task.vault.hide(&text));
    }

    fn charge(&self, call: &mut LlmCall, prompt_tokens: u64, completion_tokens: u64) {
        call.prompt_tokens = i64::try_from(prompt_tokens).unwrap_or(i64::MAX);
        call.completion_tokens = i64::try_from(completion_tokens).unwrap_or(i64::MAX);
        call.cost_usd = self
            .settings
            .cost_usd(&call.model, prompt_tokens, completion_tokens);
    }
}

impl From<TryError> for LlmError {
    fn from(failure: TryError) -> Self {
        match failure {
            TryError::RateLimited { message, .. } => LlmError::RateLimited(message),
            TryError::Status {
                status, message, ..
            } => LlmError::Http {
                status: Some(status),
                message,
            },
            TryError::Connection(message) => LlmError::Http {
                status: None,
                message,
            },
            TryError::Unreadable(message) => LlmError::SchemaInvalid(message),
        }
    }
}

fn worth_retrying(failure: &TryError) -> bool {
    match failure {
        TryError::RateLimited { retry, .. } => *retry,
        TryError::Status { status, .. } => *status >= 500 || *status == 408,
        TryError::Connection(_) => true,
        TryError::Unreadable(_) => false,
    }
}

/// How long the endpoint asks to be left alone.
fn asked_wait(failure: &TryError) -> Option<Duration> {
    match failure {
        TryError::RateLimited { after, .. } | TryError::Status { after, .. } => *after,
        TryError::Connection(_) | TryError::Unreadable(_) => None,
    }
}

fn refuses_schema(task: &Task, failure: &TryError) -> bool {
    let TryError::Status {
        status: 400 | 422,
        message,
        ..
    } = failure
    else {
        return false;
    };
    matches!(task.asked, Asked::Reply(Some(_)))
        && ["response_format", "json_schema", "schema"]
            .iter()
            .any(|word| message.contains(word))
}

/// Half to all of the pause, so that agents that failed together do not return together.
fn jittered(pause: Duration) -> Duration {
    let noise = RandomState::new().build_hasher().finish();
    pause.mul_f64(0.5 + (noise % 1_000) as f64 / 2_000.0)
}

fn estimated_tokens(task: &Task) -> u64 {
    let text = |message: &Value| message.to_string().chars().count();
    let mut characters: usize = task.messages.iter().map(text).sum();
    characters += match &task.asked {
        Asked::Reply(None) => 0,
        Asked::Reply(Some(schema)) => schema.schema.to_string().chars().count(),
        Asked::Tools(tools) => tools.to_string().chars().count(),
    };
    characters.div_ceil(CHARACTERS_PER_TOKEN) as u64
}

fn tokens_of(text: &str) -> u64 {
    text.chars().count().div_ceil(CHARACTERS_PER_TOKEN) as u64
}

/// The reply as the record shows it: words first, then the tool calls as JSON.
fn shown_reply(choice: &WireChoice) -> String {
    let calls = choice.message.tool_calls.iter().flatten().map(|call| {
        json!({"tool": call.function.name, "arguments": call.function.arguments}).to_string()
    });
    let words = choice
        .message
        .content
        .iter()
        .filter(|text| !text.is_empty())
        .cloned();
    words.chain(calls).collect::<Vec<_>>().join("\n")
}

/// Says that a reply is empty, and why as far as the endpoint tells.
pub fn empty_reply(choice: &WireChoice) -> String {
    format!("the reply is empty{}", ended(choice))
}

/// The object in a reply, checked, with the secrets put back.
pub fn checked_value(
    text: &str,
    wanted: &Value,
    choice: &WireChoice,
    vault: &Vault,
    notes: &mut Vec<String>,
) -> Result<Value, String> {
    let mut value =
        schema::parse_object(text, notes).map_err(|problem| problem + &ended(choice))?;
    schema::check(wanted, &value)?;
    vault.show_again_in(&mut value);
    Ok(value)
}

fn ended(choice: &WireChoice) -> String {
    match choice.finish_reason.as_deref() {
        None | Some("stop") => String::new(),
        Some("length") => " (it was cut off at max_tokens)".to_owned(),
        Some(reason) => format!(" (it ended with {reason})"),
    }
}
