//! The model calls of an incident: what was asked and answered, exactly as it
//! was recorded, which is redacted.
//!
//! The rounds of a loop begin with the same messages; each shows what is new
//! in it, and says how many stood there before.

use midwatch_clients::postgres::read::ModelCall;
use serde::Serialize;
use serde_json::Value;

/// Characters of one message that the page shows; the JSON has all.
const TEXT: usize = 20_000;

/// A message of a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    pub role: String,
    pub text: String,
    /// Characters that did not fit.
    pub left_out: usize,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Round {
    /// From 1, within its agent's purpose.
    pub number: usize,
    pub agent: String,
    pub purpose: String,
    pub tier: String,
    pub model: String,
    pub prompt_tokens: i64,
    pub completion_tokens: i64,
    pub cost_usd: f64,
    pub latency_ms: i64,
    pub outcome: String,
    pub error: Option<String>,
    pub created_at_ms: i64,
    /// Messages that the round before had as well.
    pub before: usize,
    pub messages: Vec<Message>,
    /// What else was sent: the tools' names, a schema.
    pub settings: Option<Message>,
    pub reply: Option<Message>,
}

/// All calls and what they took.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Calls {
    pub rounds: Vec<Round>,
    pub tokens: i64,
    pub cost_usd: f64,
    pub latency_ms: i64,
}

/// The calls of an incident, given oldest first.
#[must_use]
pub fn collect(calls: &[ModelCall]) -> Calls {
    let mut shown = Calls::default();
    for (index, call) in calls.iter().enumerate() {
        let same =
            |other: &&ModelCall| (&other.agent, &other.purpose) == (&call.agent, &call.purpose);
        let mut earlier = calls[..index].iter().filter(same);
        let number = earlier.clone().count() + 1;
        let last = earlier.next_back().map(|last| messages(&last.prompt));
        let all = messages(&call.prompt);
        let before = last.map_or(0, |last| {
            // A call that asks anew, not on, shows all.
            let equal = last
                .iter()
                .zip(&all)
                .take_while(|(one, other)| one == other);
            Some(equal.count())
                .filter(|count| *count == last.len())
                .unwrap_or(0)
        });
        shown.tokens += call.prompt_tokens + call.completion_tokens;
        shown.cost_usd += call.cost_usd;
        shown.latency_ms += call.latency_ms;
        shown.rounds.push(Round {
            number,
            agent: call.agent.clone(),
            purpose: call.purpose.clone(),
            tier: call.tier.clone(),
            model: call.model.clone(),
            prompt_tokens: call.prompt_tokens,
            completion_tokens: call.completion_tokens,
            cost_usd: call.cost_usd,
            latency_ms: call.latency_ms,
            outcome: call.outcome.clone(),
            error: call.error.clone(),
            created_at_ms: call.created_at_ms,
            before,
            messages: all[before..].iter().map(|one| message(one)).collect(),
            settings: settings(&call.prompt).map(|text| cut("settings", &text)),
            reply: call.reply.as_ref().map(|reply| cut("reply", reply)),
        });
    }
    shown
}

/// The messages of a recorded prompt: a list, or a list beside settings.
fn messages(prompt: &Value) -> Vec<&Value> {
    let list = prompt.as_array().or_else(|| prompt["messages"].as_array());
    match list {
        Some(list) => list.iter().collect(),
        None if prompt.is_null() => Vec::new(),
        None => vec![prompt],
    }
}

fn settings(prompt: &Value) -> Option<String> {
    prompt["messages"].as_array()?;
    let mut rest = prompt.as_object()?.clone();
    rest.remove("messages");
    if rest.is_empty() {
        return None;
    }
    serde_json::to_string_pretty(&rest).ok()
}

/// A message as people read it: its text, then everything else that it has.
fn message(value: &Value) -> Message {
    let Some(fields) = value.as_object() else {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        return cut("message", &text);
    };
    let role = value["role"].as_str().unwrap_or("message");
    let mut rest = fields.clone();
    rest.remove("role");
    let mut text = String::new();
    if let Some(Value::String(content)) = rest.get("content") {
        text.push_str(content);
        rest.remove("content");
    }
    rest.retain(|_, value| !value.is_null());
    if !rest.is_empty() {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&serde_json::to_string_pretty(&rest).unwrap_or_default());
    }
    cut(role, &text)
}

fn cut(role: &str, text: &str) -> Message {
    let end = text.char_indices().nth(TEXT).map(|(end, _)| end);
    Message {
        role: role.to_owned(),
        left_out: end.map_or(0, |end| text[end..].chars().count()),
        text: end.map_or(text, |end| &text[..end]).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use uuid::Uuid;

    fn call(purpose: &str, prompt: Value) -> ModelCall {
        ModelCall {
            call_id: Uuid::nil(),
            incident_id: None,
            agent: "investigation".to_owned(),
            purpose: purpose.to_owned(),
            tier: "reasoning".to_owned(),
            model: "m".to_owned(),
            prompt,
            reply: Some("{}".to_owned()),
            prompt_tokens: 10,
            completion_tokens: 2,
            cost_usd: 0.5,
            latency_ms: 7,
            outcome: "accepted".to_owned(),
            error: None,
            created_at_ms: 0,
        }
    }

    #[test]
    fn a_round_shows_what_is_new_in_it_and_loses_nothing() {
        let one = json!({"role": "system", "content": "rules"});
        let two = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "c1"}]});
        let calls = collect(&[
            call("investigate", json!({"messages": [one], "tools": ["a"]})),
            call("impact", json!([{"role": "user", "content": "else"}])),
            call(
                "investigate",
                json!({"messages": [one, two], "tools": ["a"]}),
            ),
            call("investigate", json!({"messages": [two]})),
        ]);
        let shape: Vec<(usize, usize, usize)> = calls
            .rounds
            .iter()
            .map(|round| (round.number, round.before, round.messages.len()))
            .collect();
        assert_eq!(shape, [(1, 0, 1), (1, 0, 1), (2, 1, 1), (3, 0, 1)]);
        assert_eq!(calls.rounds[0].messages[0].text, "rules");
        assert!(calls.rounds[2].messages[0].text.contains("\"c1\""));
        let settings = calls.rounds[0].settings.as_ref().unwrap();
        assert!(settings.text.contains("tools"));
        assert_eq!((calls.tokens, calls.latency_ms), (48, 28));
    }

    #[test]
    fn a_long_text_is_cut_and_says_how_much_is_missing() {
        let long = "ž".repeat(TEXT + 5);
        let calls = collect(&[call("x", json!([{"role": "user", "content": long}]))]);
        let shown = &calls.rounds[0].messages[0];
        assert_eq!((shown.text.chars().count(), shown.left_out), (TEXT, 5));
    }
}
