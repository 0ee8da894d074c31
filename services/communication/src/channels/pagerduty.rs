//! PagerDuty, Events API v2: an incident is one alert under one `dedup_key`,
//! so that a repeated event changes nothing.

use super::board::{Post, Signal, cut};
use super::http::Http;
use midwatch_runtime::agent::JobError;
use serde_json::{Value, json};

#[derive(Debug)]
pub(super) struct PagerDuty {
    pub routing_key: String,
    pub api: String,
}

impl PagerDuty {
    pub(super) async fn deliver(&self, http: &Http, post: &Post) -> Result<String, JobError> {
        let event = event(post, &self.routing_key);
        let request = http.client.post(format!("{}/v2/enqueue", self.api));
        let answer = http.send(request.json(&event)).await?;
        let words = answer["message"].as_str().unwrap_or("accepted");
        Ok(cut(words, 200))
    }
}

/// The event of a message.
fn event(post: &Post, routing_key: &str) -> Value {
    let board = &post.board;
    let action = match post.signal {
        Signal::Trigger | Signal::Update => "trigger",
        Signal::Acknowledge => "acknowledge",
        Signal::Resolve => "resolve",
    };
    let mut event = json!({
        "routing_key": routing_key,
        "event_action": action,
        "dedup_key": post.notification.incident_id.to_string(),
    });
    // Of the other two only the key is read.
    if action == "trigger" {
        let details: serde_json::Map<String, Value> = board
            .lines()
            .into_iter()
            .map(|(label, text)| (label.to_lowercase(), json!(text)))
            .collect();
        event["payload"] = json!({
            // The API takes 1 024 characters.
            "summary": cut(&format!("{} ({})", board.title, board.short_id), 1_024),
            "source": board.services.first().map_or("midwatch", String::as_str),
            "severity": match board.severity.as_str() {
                "CRITICAL" => "critical",
                "HIGH" => "error",
                "MEDIUM" => "warning",
                _ => "info",
            },
            "component": board.services.join(", "),
            "group": board.environment,
            "custom_details": details,
        });
        event["client"] = json!("Midwatch");
        event["client_url"] = json!(board.link);
        event["links"] = json!([{ "href": board.link, "text": "Open the incident" }]);
    }
    event
}
