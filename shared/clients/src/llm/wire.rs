//! The messages of the chat-completions protocol, outgoing and incoming.

use serde::Deserialize;
use serde_json::{Value, json};

use super::redact::Vault;
use super::settings::ToolMode;
use super::{Message, Tool, ToolCall, repair, schema};

/// The name of the reply schema that stands for a tool call in [`ToolMode::Schema`].
pub const TOOL_CALL_SCHEMA: &str = "tool_call";

/// A schema that the reply must satisfy.
#[derive(Clone, Debug)]
pub struct ReplySchema {
    /// Shown to the endpoint; letters, digits, `_` and `-`.
    pub name: String,
    /// The JSON schema.
    pub schema: Value,
}

/// The lenient reading of a reply: compatible endpoints differ in everything but this.
#[derive(Debug, Deserialize)]
pub struct WireReply {
    pub choices: Vec<WireChoice>,
    #[serde(default)]
    pub usage: Option<WireUsage>,
}

#[derive(Debug, Deserialize)]
pub struct WireChoice {
    pub message: WireMessage,
    #[serde(default)]
    pub finish_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct WireMessage {
    #[serde(default)]
    pub content: Option<String>,
    #[serde(default)]
    pub tool_calls: Option<Vec<WireToolCall>>,
}

#[derive(Debug, Deserialize)]
pub struct WireToolCall {
    #[serde(default)]
    pub id: String,
    pub function: WireFunction,
}

#[derive(Debug, Deserialize)]
pub struct WireFunction {
    pub name: String,
    /// A string of JSON by the protocol, an object from some servers.
    #[serde(default)]
    pub arguments: Value,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct WireUsage {
    #[serde(default)]
    pub prompt_tokens: u64,
    #[serde(default)]
    pub completion_tokens: u64,
}

/// The messages as they leave the process. This is the one place where text goes out, and all of it
/// passes the vault here. A conversation only grows, so that a fresh vault gives each secret the
/// same placeholder in every round.
pub fn outgoing(messages: &[Message], mode: ToolMode, vault: &mut Vault) -> Vec<Value> {
    messages
        .iter()
        .map(|message| outgoing_message(message, mode, vault))
        .collect()
}

fn outgoing_message(message: &Message, mode: ToolMode, vault: &mut Vault) -> Value {
    match (message, mode) {
        (Message::System(text), _) => json!({"role": "system", "content": vault.hide(text)}),
        (Message::User(text), _) => json!({"role": "user", "content": vault.hide(text)}),
        (Message::Assistant { text, tool_calls }, ToolMode::Native) => {
            let text = text.as_deref().map(|text| vault.hide_echo(text));
            let mut wire = json!({"role": "assistant", "content": text});
            if !tool_calls.is_empty() {
                let calls = tool_calls.iter().map(|call| outgoing_call(call, vault));
                wire["tool_calls"] = calls.collect();
            }
            wire
        }
        (Message::Assistant { text, tool_calls }, ToolMode::Schema) => {
            let calls = tool_calls
                .iter()
                .map(|call| json!({"tool": call.name, "arguments": call.arguments}).to_string());
            let lines: Vec<String> = text.iter().cloned().chain(calls).collect();
            json!({"role": "assistant", "content": vault.hide_echo(&lines.join("\n"))})
        }
        (
            Message::ToolResult {
                call_id, content, ..
            },
            ToolMode::Native,
        ) => {
            json!({"role": "tool", "tool_call_id": call_id, "content": vault.hide(content)})
        }
        (Message::ToolResult { name, content, .. }, ToolMode::Schema) => {
            json!({"role": "user", "content": vault.hide(&format!("Result of {name}:\n{content}"))})
        }
    }
}

fn outgoing_call(call: &ToolCall, vault: &mut Vault) -> Value {
    let arguments = vault.hide_echo(&call.arguments.to_string());
    json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}})
}

/// The tools in the protocol's own form.
pub fn native_tools(tools: &[Tool]) -> Value {
    let wire = |tool: &Tool| {
        let Tool {
            name,
            description,
            parameters,
        } = tool;
        json!({"type": "function", "function": {"name": name, "description": description, "parameters": parameters}})
    };
    tools.iter().map(wire).collect()
}

/// The tools as a schema for the reply: exactly one of them with its arguments.
pub fn tools_as_schema(tools: &[Tool]) -> ReplySchema {
    let alternative = |tool: &Tool| {
        json!({
            "type": "object",
            "properties": {"tool": {"type": "string", "enum": [tool.name]}, "arguments": tool.parameters},
            "required": ["tool", "arguments"],
            "additionalProperties": false,
        })
    };
    let alternatives: Vec<Value> = tools.iter().map(alternative).collect();
    ReplySchema {
        name: TOOL_CALL_SCHEMA.to_owned(),
        schema: json!({"anyOf": alternatives}),
    }
}

/// What the system message says about tools in [`ToolMode::Schema`].
pub fn tool_listing(tools: &[Tool]) -> String {
    let lines = tools
        .iter()
        .map(|tool| format!("- {}: {}", tool.name, tool.description));
    let lines: Vec<String> = lines.collect();
    format!(
        "Answer with one JSON object {{\"tool\": name, \"arguments\": object}} that calls one of these tools:\n{}",
        lines.join("\n")
    )
}

/// What the prompt says where the endpoint does not take a schema by itself.
pub fn schema_instruction(schema: &ReplySchema) -> String {
    format!(
        "Answer with one JSON object and nothing else. It must satisfy this JSON schema:\n{}",
        schema.schema
    )
}

/// Adds a paragraph to the first system message, or puts one in front.
pub fn append_to_system(messages: &mut Vec<Value>, paragraph: &str) {
    match messages
        .first_mut()
        .filter(|message| message["role"] == "system")
    {
        Some(system) => {
            let text = system["content"].as_str().unwrap_or_default();
            system["content"] = Value::from(format!("{text}\n\n{paragraph}"));
        }
        None => messages.insert(0, json!({"role": "system", "content": paragraph})),
    }
}

/// The tool calls of a reply, each checked against the tools on offer, with the secrets put back
/// into their arguments. What had to be repaired is added to `notes`.
pub fn native_calls(
    message: &WireMessage,
    tools: &[Tool],
    fallback_id: &str,
    vault: &Vault,
    notes: &mut Vec<String>,
) -> Vec<ToolCall> {
    let calls = message.tool_calls.iter().flatten().enumerate();
    let checked = calls.map(|(index, call)| {
        let id = if call.id.is_empty() {
            format!("{fallback_id}-{index}")
        } else {
            call.id.clone()
        };
        let arguments = match &call.function.arguments {
            Value::String(text) if text.trim().is_empty() => Ok(json!({})),
            Value::String(text) => serde_json::from_str(text)
                .or_else(|error| read_repaired(text, &error, &call.function.name, notes)),
            Value::Null => Ok(json!({})),
            other => Ok(other.clone()),
        };
        match arguments {
            Ok(mut arguments) => {
                vault.show_again_in(&mut arguments);
                checked_call(id, &call.function.name, arguments, tools)
            }
            Err(problem) => ToolCall {
                id,
                name: call.function.name.clone(),
                arguments: Value::Null,
                problem: Some(problem),
            },
        }
    });
    checked.collect()
}

fn read_repaired(
    text: &str,
    error: &serde_json::Error,
    tool: &str,
    notes: &mut Vec<String>,
) -> Result<Value, String> {
    let (value, repairs) =
        repair::object(text).map_err(|_| format!("the arguments are not valid JSON: {error}"))?;
    notes.push(format!("the arguments of {tool} were repaired: {repairs}"));
    Ok(value)
}

/// The one tool call of a reply in [`ToolMode::Schema`].
///
/// # Errors
/// The reply is no such object.
pub fn call_in_text(
    text: &str,
    tools: &[Tool],
    id: String,
    vault: &Vault,
    notes: &mut Vec<String>,
) -> Result<ToolCall, String> {
    let mut object = schema::parse_object(text, notes)?;
    vault.show_again_in(&mut object);
    let arguments = object
        .get_mut("arguments")
        .map(Value::take)
        .unwrap_or_else(|| json!({}));
    let name = object["tool"].as_str().ok_or("the reply names no tool")?;
    Ok(checked_call(id, name, arguments, tools))
}

fn checked_call(id: String, name: &str, arguments: Value, tools: &[Tool]) -> ToolCall {
    let problem = match tools.iter().find(|tool| tool.name == name) {
        None => Some(format!("there is no tool named {name}")),
        Some(tool) => schema::check(&tool.parameters, &arguments).err(),
    };
    ToolCall {
        id,
        name: name.to_owned(),
        arguments,
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation() -> Vec<Message> {
        let call = ToolCall {
            id: "c1".to_owned(),
            name: "search_logs".to_owned(),
            arguments: json!({"query": "password=hunter2"}),
            problem: None,
        };
        vec![
            Message::System("password=hunter2".to_owned()),
            Message::User("password=hunter2".to_owned()),
            Message::Assistant {
                text: Some("password=hunter2".to_owned()),
                tool_calls: vec![call],
            },
            Message::ToolResult {
                call_id: "c1".to_owned(),
                name: "search_logs".to_owned(),
                content: "password=hunter2".to_owned(),
            },
        ]
    }

    #[test]
    fn no_message_leaves_unredacted_in_either_mode() {
        for mode in [ToolMode::Native, ToolMode::Schema] {
            let wire = outgoing(&conversation(), mode, &mut Vault::default());
            assert_eq!(wire.len(), 4);
            for message in wire {
                let text = message.to_string();
                assert!(
                    text.contains("[secret-1:") && !text.contains("hunter2"),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn without_native_tools_a_conversation_needs_only_plain_roles() {
        let wire = outgoing(&conversation(), ToolMode::Schema, &mut Vault::default());
        let roles: Vec<_> = wire
            .iter()
            .map(|message| message["role"].as_str().unwrap())
            .collect();
        assert_eq!(roles, ["system", "user", "assistant", "user"]);
        assert!(
            wire.iter()
                .all(|message| message.get("tool_calls").is_none())
        );
    }
}
