//! The language model client: one choke point for every call to any OpenAI-compatible endpoint.
//!
//! Guarantees: a call ends within its time limit, retries included; every outgoing message is
//! redacted by a [`redact::Vault`] of its conversation, which puts the originals back into the
//! reply; a reply that was asked for by schema satisfies that schema or is an error; an incident's budget is checked before a call, not after; an endpoint that keeps
//! failing is left alone for a minute. Every call, also one that was never sent, gives the record
//! [`LlmCall`] for `llm_calls` next to its result, so that a caller can always store it and fall
//! back to its deterministic answer. What in a prompt is data and not instruction is the caller's
//! to mark ([`fence`]), and so is the check of what a reply claims ([`claims`]).

pub mod breaker;
mod call;
pub mod claims;
pub mod fence;
mod price;
pub mod redact;
mod repair;
pub mod schema;
#[cfg(test)]
mod scripted;
pub mod settings;
#[cfg(test)]
mod tests;
mod transport;
mod wire;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use uuid::Uuid;

pub use crate::postgres::llm::LlmCall;
pub use price::{ASSUMED, Price, Priced};
pub use settings::{LlmSettings, Tier, ToolMode};

use crate::error::Gravity;
use breaker::Breaker;
use call::{Asked, Task};
use redact::Vault;
use transport::Transport;

/// What an incident has used so far, all its calls together; the caller sums it from `llm_calls`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// Prompt and completion tokens.
    pub tokens: u64,
    /// US dollars.
    pub cost_usd: f64,
    /// Milliseconds.
    pub ms: u64,
}

/// One question with one answer.
#[derive(Clone, Debug)]
pub struct LlmRequest {
    /// The id of its record; derived from the cause, so that a repeated job keeps one record.
    pub call_id: Uuid,
    /// Who asks: `detection`, `correlation`, …
    pub agent: String,
    /// What for; short and stable, it groups the records.
    pub purpose: String,
    /// How strong a model it needs.
    pub tier: Tier,
    /// The instructions.
    pub system: String,
    /// The question with its data.
    pub user: String,
    /// Limit of the reply.
    pub max_tokens: u32,
    /// 0 to 2.
    pub temperature: f32,
    /// Name and JSON schema of the reply; without it the reply is plain text.
    pub schema: Option<(String, Value)>,
    /// What the incident has used before this call.
    pub spent: Spent,
}

/// One round of a conversation with tools.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    /// The id of this round's record.
    pub call_id: Uuid,
    /// Who asks.
    pub agent: String,
    /// What for.
    pub purpose: String,
    /// How strong a model it needs.
    pub tier: Tier,
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// The tools on offer in this round; may differ from round to round.
    pub tools: Vec<Tool>,
    /// Limit of the reply.
    pub max_tokens: u32,
    /// 0 to 2.
    pub temperature: f32,
    /// What the incident has used before this round.
    pub spent: Spent,
}

/// A part of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Instructions.
    System(String),
    /// The question, data, or a correction.
    User(String),
    /// What the model answered, to be repeated to it in the next round.
    Assistant {
        /// Its words, if any.
        text: Option<String>,
        /// The tools that it called; each needs a [`Message::ToolResult`] afterwards.
        tool_calls: Vec<ToolCall>,
    },
    /// What a tool gave, or why the call was refused.
    ToolResult {
        /// [`ToolCall::id`].
        call_id: String,
        /// [`ToolCall::name`].
        name: String,
        /// Text or JSON.
        content: String,
    },
}

/// A tool that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Letters, digits and `_`.
    pub name: String,
    /// When to use it.
    pub description: String,
    /// JSON schema of the arguments, of type object.
    pub parameters: Value,
}

/// A tool call of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// Unique in its reply.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments, as given.
    pub arguments: Value,
    /// Why the call must not be carried out (no such tool, arguments that break the schema);
    /// belongs into its [`Message::ToolResult`], so that the model can do better.
    pub problem: Option<String>,
}

/// An answer to [`LlmRequest`].
#[derive(Clone, Debug, PartialEq)]
pub struct LlmReply {
    /// The reply as it came.
    pub text: String,
    /// The object in it, which satisfies the schema; present exactly if one was asked for.
    pub value: Option<Value>,
}

/// An answer to [`ChatRequest`].
#[derive(Clone, Debug, PartialEq)]
pub struct ChatReply {
    /// The model's words, if any.
    pub text: Option<String>,
    /// The tools to run now, in the order given; may be several (run them in parallel) or none.
    pub tool_calls: Vec<ToolCall>,
}

impl ChatReply {
    /// This reply as the message that repeats it to the model.
    #[must_use]
    pub fn to_message(&self) -> Message {
        Message::Assistant {
            text: self.text.clone(),
            tool_calls: self.tool_calls.clone(),
        }
    }
}

/// A call's record and its result.
#[derive(Clone, Debug)]
pub struct Outcome<Reply> {
    /// To be stored in any case.
    pub call: LlmCall,
    /// The reply, or why there is none.
    pub result: Result<Reply, LlmError>,
    /// What went less well than it should have, in words; they are in the record, too.
    pub degradations: Vec<String>,
}

/// What [`LlmClient::complete`] gives.
pub type LlmOutcome = Outcome<LlmReply>;
/// What [`LlmClient::chat`] gives.
pub type ChatOutcome = Outcome<ChatReply>;

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LlmError {
    #[error("the model did not answer within {0} ms")]
    Timeout(u64),
    #[error("the model endpoint limits the rate: {0}")]
    RateLimited(String),
    /// The endpoint refused, failed or could not be reached.
    #[error("the model endpoint failed: {message}")]
    Http {
        /// None where no answer came at all.
        status: Option<u16>,
        message: String,
    },
    #[error("the model's reply does not fit: {0}")]
    SchemaInvalid(String),
    #[error("the incident's model budget is used up: {0}")]
    Budget(String),
    #[error("the model endpoint kept failing and is left alone for another {0} s")]
    CircuitOpen(u64),
}

impl LlmError {
    /// The value of `llm_calls.outcome`.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self {
            LlmError::Timeout(_) => "timeout",
            LlmError::RateLimited(_) => "rate_limited",
            LlmError::Http { .. } => "http_error",
            LlmError::SchemaInvalid(_) => "schema_invalid",
            LlmError::Budget(_) => "budget",
            LlmError::CircuitOpen(_) => "circuit_open",
        }
    }

    /// What a caller can do about it. Never [`Gravity::Fatal`]: every agent works without a model.
    #[must_use]
    pub fn gravity(&self) -> Gravity {
        match self {
            LlmError::Http {
                status: Some(status),
                ..
            } if *status < 500 && *status != 408 => Gravity::Permanent,
            LlmError::SchemaInvalid(_) | LlmError::Budget(_) => Gravity::Permanent,
            LlmError::Timeout(_)
            | LlmError::RateLimited(_)
            | LlmError::Http { .. }
            | LlmError::CircuitOpen(_) => Gravity::Transient,
        }
    }
}

/// A client of one endpoint. Share it (in an `Arc`): the circuit breaker counts over all its calls.
#[derive(Debug)]
pub struct LlmClient {
    settings: LlmSettings,
    transport: Transport,
    breaker: Mutex<Breaker>,
    /// Set once the endpoint refused a reply schema: from then on the prompt carries it.
    schema_in_prompt: AtomicBool,
    /// Set once the endpoint refused tools: from then on they are a reply schema.
    tools_as_schema: AtomicBool,
}

impl LlmClient {
    /// A client for these settings. Nothing is contacted yet.
    ///
    /// # Errors
    /// The TLS library could not be set up.
    pub fn new(settings: LlmSettings) -> Result<LlmClient, LlmError> {
        let transport = Transport::new(&settings)?;
        // Anthropic's compatible endpoint ignores a reply schema without a word.
        let ignores_schema = settings.base_url.contains("api.anthropic.com");
        Ok(LlmClient {
            settings,
            transport,
            breaker: Mutex::default(),
            schema_in_prompt: AtomicBool::new(ignores_schema),
            tools_as_schema: AtomicBool::new(false),
        })
    }

    /// The settings in use.
    #[must_use]
    pub fn settings(&self) -> &LlmSettings {
        &self.settings
    }

    /// Asks one question. Ends within [`LlmSettings::timeout_ms`].
    pub async fn complete(&self, request: LlmRequest) -> LlmOutcome {
        let schema = request
            .schema
            .map(|(name, schema)| wire::ReplySchema { name, schema });
        let messages = [Message::System(request.system), Message::User(request.user)];
        let mut vault = Vault::default();
        let task = Task {
            call_id: request.call_id,
            agent: request.agent,
            purpose: request.purpose,
            tier: request.tier,
            messages: wire::outgoing(&messages, ToolMode::Native, &mut vault),
            vault,
            asked: Asked::Reply(schema.clone()),
            max_tokens: request.max_tokens,
            temperature: request.temperature,
            spent: request.spent,
        };
        self.run(task, |choice, vault, notes| {
            let text = choice.message.content.clone().unwrap_or_default();
            let value = match &schema {
                None if text.trim().is_empty() => return Err(call::empty_reply(choice)),
                None => None,
                Some(wanted) => {
                    let wanted = &wanted.schema;
                    Some(call::checked_value(&text, wanted, choice, vault, notes)?)
                }
            };
            let text = vault.show_again(&text);
            Ok(LlmReply { text, value })
        })
        .await
    }

    /// Runs one round of a conversation with tools. Ends within [`LlmSettings::timeout_ms`].
    ///
    /// The caller appends [`ChatReply::to_message`] and one [`Message::ToolResult`] per call to the
    /// messages and asks again, as often as its own limit of rounds allows. An endpoint that refuses
    /// tools is asked once more, and from then on always, with the tools as a reply schema.
    pub async fn chat(&self, request: ChatRequest) -> ChatOutcome {
        if self.tool_mode() == ToolMode::Schema {
            return self.chat_in(&request, ToolMode::Schema).await;
        }
        let outcome = self.chat_in(&request, ToolMode::Native).await;
        if !matches!(&outcome.result, Err(LlmError::Http { status: Some(400 | 404 | 422), message })
            if message.to_lowercase().contains("tool"))
        {
            return outcome;
        }
        self.tools_as_schema.store(true, Ordering::Relaxed);
        let mut outcome = self.chat_in(&request, ToolMode::Schema).await;
        let note = "the endpoint takes no tools; they are a reply schema from now on";
        tracing::warn!("{note}");
        outcome.degradations.insert(0, note.to_owned());
        outcome.call.prompt["degradations"] = Value::from(outcome.degradations.clone());
        outcome
    }

    /// How tools are offered at present.
    fn tool_mode(&self) -> ToolMode {
        if self.tools_as_schema.load(Ordering::Relaxed) {
            ToolMode::Schema
        } else {
            self.settings.tool_mode
        }
    }

    async fn chat_in(&self, request: &ChatRequest, mode: ToolMode) -> ChatOutcome {
        let mut vault = Vault::default();
        let mut messages = wire::outgoing(&request.messages, mode, &mut vault);
        let asked = match mode {
            _ if request.tools.is_empty() => Asked::Reply(None),
            ToolMode::Native => Asked::Tools(wire::native_tools(&request.tools)),
            ToolMode::Schema => {
                wire::append_to_system(&mut messages, &wire::tool_listing(&request.tools));
                Asked::Reply(Some(wire::tools_as_schema(&request.tools)))
            }
        };
        let task = Task {
            vault,
            call_id: request.call_id,
            agent: request.agent.clone(),
            purpose: request.purpose.clone(),
            tier: request.tier,
            messages,
            asked,
            max_tokens: request.max_tokens,
            temperature: request.temperature,
            spent: request.spent,
        };
        let tools = &request.tools;
        self.run(task, |choice, vault, notes| {
            let content = choice.message.content.as_deref();
            let text = content
                .filter(|text| !text.trim().is_empty())
                .map(|text| vault.show_again(text));
            if mode == ToolMode::Schema && !tools.is_empty() {
                let id = format!("{}-0", request.call_id);
                let text = content.unwrap_or_default();
                let call = wire::call_in_text(text, tools, id, vault, notes)?;
                return Ok(ChatReply {
                    text: None,
                    tool_calls: vec![call],
                });
            }
            let fallback_id = request.call_id.to_string();
            let tool_calls = wire::native_calls(&choice.message, tools, &fallback_id, vault, notes);
            if text.is_none() && tool_calls.is_empty() {
                return Err(call::empty_reply(choice));
            }
            Ok(ChatReply { text, tool_calls })
        })
        .await
    }
}
