//! PagerDuty, Events API v2: an incident is one alert under one `dedup_key`,
//! so that a repeated event changes nothing. An alert that was silenced stays
//! silent whatever triggers it, so the end of a snooze begins another one.

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
        // A new alert takes the place of those that were silenced, and the end
        // closes them all: one of the messages between may not have arrived.
        if matches!(post.signal, Signal::Trigger | Signal::Resolve) {
            for earlier in 0..post.alert {
                let old = json!({
                    "routing_key": self.routing_key,
                    "event_action": "resolve",
                    "dedup_key": key(post, earlier),
                });
                self.send(http, &old).await?;
            }
        }
        let answer = self.send(http, &event(post, &self.routing_key)).await?;
        let words = answer["message"].as_str().unwrap_or("accepted");
        Ok(cut(words, 200))
    }

    async fn send(&self, http: &Http, event: &Value) -> Result<Value, JobError> {
        let request = http.client.post(format!("{}/v2/enqueue", self.api));
        http.send(request.json(event)).await
    }
}

/// The key of one of an incident's alerts: its id, and which one it is where it
/// is not the first.
fn key(post: &Post, alert: u32) -> String {
    let incident = post.notification.incident_id;
    match alert {
        0 => incident.to_string(),
        _ => format!("{incident}/{alert}"),
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
        "dedup_key": key(post, post.alert),
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
