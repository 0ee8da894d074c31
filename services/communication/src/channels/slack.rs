//! Slack: one message per incident, edited in place, with the details in its
//! thread.

use super::board::{Board, Post, cut};
use super::http::Http;
use midwatch_clients::postgres::{PostgresError, channels};
use midwatch_runtime::agent::JobError;
use serde_json::{Value, json};
use sqlx::PgPool;

#[derive(Debug)]
pub(super) struct Slack {
    /// The conversation's id.
    pub channel: String,
    pub token: String,
    pub api: String,
}

/// Characters of a section's text that the API takes.
const SECTION: usize = 3_000;
/// Characters of a button's label and of its value.
const LABEL: usize = 75;
const VALUE: usize = 2_000;
/// Elements of a block of actions; the API takes 25, a person five.
const BUTTONS: usize = 5;
/// What marks our messages, so that a try after a crash finds the one before.
const EVENT_TYPE: &str = "midwatch";

impl Slack {
    /// Posts the incident's message or brings it up to date, then the detail
    /// into its thread. `is_retry`: an earlier try may have posted either.
    pub(super) async fn deliver(
        &self,
        http: &Http,
        pool: &PgPool,
        post: &Post,
        is_retry: bool,
    ) -> Result<String, JobError> {
        let note = &post.notification;
        let incident = note.incident_id;
        let known = channels::posted(pool, incident, &post.channel, "root").await;
        let root = match known.map_err(away)? {
            Some(root) => {
                self.edit(http, &root, post).await?;
                root
            }
            None => {
                let mark = format!("{incident}:root");
                let found = self.find(http, None, &mark, is_retry).await?;
                let root = match found {
                    Some(root) => root,
                    None => self.post(http, None, &mark, post).await?,
                };
                channels::remember(pool, incident, &post.channel, "root", &root)
                    .await
                    .map_err(away)?;
                root
            }
        };
        if post.is_edit() {
            return Ok(format!("edited {root}"));
        }
        let mark = format!("{incident}:{}", note.stage);
        if self
            .find(http, Some(&root), &mark, is_retry)
            .await?
            .is_none()
        {
            self.post(http, Some(&root), &mark, post).await?;
        }
        Ok(format!("posted in the thread of {root}"))
    }

    async fn post(
        &self,
        http: &Http,
        thread: Option<&str>,
        mark: &str,
        post: &Post,
    ) -> Result<String, JobError> {
        let mut body = match thread {
            None => board(&post.board),
            Some(_) => detail(post),
        };
        body["channel"] = json!(self.channel);
        body["metadata"] = json!({ "event_type": EVENT_TYPE, "event_payload": { "key": mark } });
        body["unfurl_links"] = json!(false);
        body["unfurl_media"] = json!(false);
        if let Some(thread) = thread {
            body["thread_ts"] = json!(thread);
        }
        let answer = self.call(http, "chat.postMessage", &body).await?;
        let ts = answer["ts"].as_str().map(str::to_owned);
        ts.ok_or_else(|| JobError::Permanent(anyhow::anyhow!("its answer has no ts")))
    }

    async fn edit(&self, http: &Http, root: &str, post: &Post) -> Result<(), JobError> {
        let mut body = board(&post.board);
        body["channel"] = json!(self.channel);
        body["ts"] = json!(root);
        match self.call(http, "chat.update", &body).await {
            // Somebody deleted it; the thread still takes answers.
            Err(JobError::Permanent(error)) if error.to_string().contains("message_not_found") => {
                tracing::info!("the incident's message is gone: {error:#}");
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// The message that an earlier try left with this mark. Asked only after a
    /// try that may have been cut off: a first one has nothing to find.
    async fn find(
        &self,
        http: &Http,
        thread: Option<&str>,
        mark: &str,
        is_retry: bool,
    ) -> Result<Option<String>, JobError> {
        if !is_retry {
            return Ok(None);
        }
        let (method, thread) = match thread {
            Some(ts) => ("conversations.replies", ts),
            None => ("conversations.history", ""),
        };
        let url = format!("{}/{method}", self.api);
        let mut query = vec![
            ("channel", self.channel.as_str()),
            ("limit", "200"),
            ("include_all_metadata", "true"),
        ];
        if !thread.is_empty() {
            query.push(("ts", thread));
        }
        let url = reqwest::Url::parse_with_params(&url, &query)
            .map_err(|error| JobError::Permanent(error.into()))?;
        let answer = checked(
            http.send(http.client.get(url).bearer_auth(&self.token))
                .await?,
        )?;
        let messages = answer["messages"].as_array();
        let ours = messages.into_iter().flatten().find(|message| {
            message["metadata"]["event_type"] == EVENT_TYPE
                && message["metadata"]["event_payload"]["key"] == mark
        });
        Ok(ours.and_then(|message| message["ts"].as_str().map(str::to_owned)))
    }

    async fn call(&self, http: &Http, method: &str, body: &Value) -> Result<Value, JobError> {
        let request = http.client.post(format!("{}/{method}", self.api));
        checked(
            http.send(request.bearer_auth(&self.token).json(body))
                .await?,
        )
    }
}

/// Slack says what went wrong in the body of a 200.
fn checked(answer: Value) -> Result<Value, JobError> {
    if answer["ok"] == json!(true) {
        return Ok(answer);
    }
    let error = answer["error"].as_str().unwrap_or("an answer without ok");
    let passes = matches!(
        error,
        "ratelimited"
            | "rate_limited"
            | "internal_error"
            | "fatal_error"
            | "service_unavailable"
            | "request_timeout"
            | "team_added_to_org"
    );
    let error = anyhow::anyhow!("Slack refused: {error}");
    Err(if passes {
        JobError::Transient(error)
    } else {
        JobError::Permanent(error)
    })
}

fn away(error: PostgresError) -> JobError {
    JobError::Transient(error.into())
}

/// Text in which nothing is markup: no links, no mentions, no emphasis.
fn plain(text: &str, limit: usize) -> Value {
    json!({ "type": "plain_text", "text": cut(text, limit), "emoji": false })
}

/// The incident's message, Block Kit.
fn board(board: &Board) -> Value {
    let mut blocks = vec![json!({ "type": "section", "text": plain(&board.headline(), SECTION) })];
    // A list needs the whole width.
    if let Some(list) = &board.list {
        blocks.push(json!({ "type": "section", "text": plain(list, SECTION) }));
    }
    let fields: Vec<Value> = board
        .lines()
        .into_iter()
        .filter(|_| board.list.is_none())
        .map(|(label, text)| plain(&format!("{label}\n{text}"), SECTION * 2 / 3))
        .collect();
    if !fields.is_empty() {
        blocks.push(json!({ "type": "section", "fields": fields }));
    }
    let about = format!("{} · {}", board.environment, board.services.join(", "));
    blocks.push(json!({ "type": "context", "elements": [plain(&about, SECTION * 2 / 3)] }));
    let mut elements = vec![json!({
        "type": "button", "action_id": "open", "text": plain("Open", LABEL), "url": board.link,
    })];
    for (index, button) in board.buttons.iter().take(BUTTONS - 1).enumerate() {
        let mut element = json!({
            "type": "button",
            // Within a message each id is unique.
            "action_id": format!("{}:{index}", button.action),
            "text": plain(&button.label, LABEL),
            "value": cut(&button.value, VALUE),
        });
        if button.is_grave {
            element["style"] = json!("danger");
            element["confirm"] = json!({
                "title": plain("Are you sure?", 100),
                "text": plain(&button.label, 300),
                "confirm": plain("Do it", 30),
                "deny": plain("Cancel", 30),
            });
        }
        elements.push(element);
    }
    blocks.push(json!({ "type": "actions", "elements": elements }));
    json!({ "text": escaped(&board.headline()), "blocks": blocks })
}

/// What happened, for the thread.
fn detail(post: &Post) -> Value {
    let mut blocks = vec![json!({ "type": "section", "text": plain(&post.headline, SECTION) })];
    if !post.detail.is_empty() {
        blocks.push(json!({ "type": "section", "text": plain(&post.detail, SECTION) }));
    }
    json!({ "text": escaped(&post.headline), "blocks": blocks })
}

/// The text of notifications is markup; these three letters begin all of it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
