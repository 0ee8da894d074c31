//! `POST /slack/actions`: the buttons of a message in Slack.
//!
//! A request counts when its signature fits (`v0`: HMAC-SHA256 over
//! `v0:timestamp:body`) and is at most five minutes old, and when its user is
//! an operator (`slack=U123` in the operators' file). Everybody else is told no
//! in a message that only they see.

use crate::App;
use crate::caller::Caller;
use crate::commands::{Request, Way};
use crate::doors::{self, Secret};
use crate::error::ApiError;
use crate::operators::{Operator, unreadable};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use midwatch_clients::signature;
use midwatch_events::ids;
use midwatch_runtime::clock;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use uuid::Uuid;

/// Bytes of a request: it quotes the message that the button is on.
pub const BODY: usize = 256 * 1024;
/// How old a request may be, and how far ahead its clock, in seconds.
const AGE_S: u64 = 300;
const REPLY_LIMIT: Duration = Duration::from_secs(5);
/// Replies under way at a time; beyond that only the log says what was said.
const REPLIES: usize = 8;

/// What Slack and this server share.
#[derive(Debug)]
pub struct Slack {
    secret: Secret,
    /// Where replies may go: the beginning of `response_url`.
    replies_to: String,
    client: reqwest::Client,
    under_way: Arc<Semaphore>,
}

impl Slack {
    /// `secret` is the app's signing secret; replies go to addresses that begin
    /// with `replies_to`.
    ///
    /// # Errors
    /// Says what is wrong with the secret.
    pub fn new(secret: &[u8], replies_to: &str) -> Result<Slack, String> {
        let secret = Secret::new(secret)?;
        let client = reqwest::Client::builder()
            .timeout(REPLY_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| format!("the HTTP client: {error}"))?;
        Ok(Slack {
            secret,
            replies_to: replies_to.to_owned(),
            client,
            under_way: Arc::new(Semaphore::new(REPLIES)),
        })
    }

    /// The same with the secret in a file.
    ///
    /// # Errors
    /// The file cannot be read, or holds no secret.
    pub fn read(file: &Path, replies_to: &str) -> Result<Slack, String> {
        let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
        Slack::new(&bytes, replies_to)
    }

    /// Whether Slack signed this body, lately.
    fn check(&self, headers: &HeaderMap, body: &[u8], now_ms: i64) -> Result<(), &'static str> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let stamp = text("x-slack-request-timestamp").ok_or("it bears no timestamp")?;
        let at_s: i64 = stamp.parse().map_err(|_| "its timestamp is none")?;
        if (now_ms / 1_000).abs_diff(at_s) > AGE_S {
            return Err("it is older than five minutes");
        }
        let given = text("x-slack-signature").and_then(|text| text.strip_prefix("v0="));
        let given = given.ok_or("it bears no signature")?;
        let parts = [b"v0:", stamp.as_bytes(), b":", body];
        if signature::fits(&[self.secret.bytes()], &parts, &[given]) {
            Ok(())
        } else {
            Err("its signature does not fit")
        }
    }

    /// Says something to one person, where the request says how. Nobody waits
    /// for it.
    fn reply(&self, to: Option<&str>, message: &Value) {
        let Some(url) = to.filter(|url| url.starts_with(&self.replies_to)) else {
            return;
        };
        let Ok(permit) = Arc::clone(&self.under_way).try_acquire_owned() else {
            tracing::warn!("too many replies to Slack are under way; one was left out");
            return;
        };
        let request = self.client.post(url).json(message);
        tokio::spawn(async move {
            let sent = request
                .send()
                .await
                .and_then(|answer| answer.error_for_status());
            if let Err(error) = sent {
                tracing::warn!(error = %error.without_url(), "a reply to Slack was not taken");
            }
            drop(permit);
        });
    }
}

/// What is read of Slack's payload.
#[derive(Deserialize)]
struct Payload {
    #[serde(rename = "type")]
    kind: String,
    user: User,
    response_url: Option<String>,
    #[serde(default)]
    actions: Vec<Action>,
}

#[derive(Deserialize)]
struct User {
    id: String,
}

#[derive(Deserialize)]
struct Action {
    action_id: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    action_ts: String,
}

impl Action {
    /// The incident and what is asked about it. `value` is
    /// `incident id|plan hash|step`; an acknowledgement has no more than the id.
    fn request(&self) -> Option<(String, Request)> {
        let mut parts = self.value.split('|');
        let id = parts.next().filter(|id| !id.is_empty())?;
        let some = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let (plan_hash, target) = (some(parts.next()), some(parts.next()));
        // A message may hold several buttons of one kind: `approve:1`.
        let action = self.action_id.split(':').next().unwrap_or_default();
        let is_decision = match action {
            "approve" | "reject" => true,
            "acknowledge" => false,
            _ => return None,
        };
        if parts.next().is_some() || (is_decision && (plan_hash.is_none() || target.is_none())) {
            return None;
        }
        let request = Request {
            command: action.to_owned(),
            target: target.filter(|_| is_decision),
            plan_hash: plan_hash.filter(|_| is_decision),
            ..Request::default()
        };
        Some((id.to_owned(), request))
    }

    /// The id of the command: the same for a press that Slack sends again.
    fn event_id(&self, user: &str) -> Uuid {
        let (at, what) = (&self.action_ts, &self.action_id);
        ids::derive(&["slack-action", user, at, what, &self.value])
    }
}

/// A message that only the presser sees; the message with the button stays.
fn whisper(text: &str) -> Value {
    json!({"response_type": "ephemeral", "replace_original": false, "text": plain(text)})
}

/// Text as Slack shows it: its three control characters escaped.
fn plain(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// The field `payload` of a form.
fn field(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    // A form's body has the shape of a query.
    let mut url = reqwest::Url::parse("http://form/").ok()?;
    url.set_query(Some(text));
    let mut pairs = url.query_pairs();
    pairs
        .find(|(name, _)| name == "payload")
        .map(|(_, value)| value.into_owned())
}

/// `POST /slack/actions`.
pub async fn post(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let Some(slack) = app.slack.clone() else {
        return Err(ApiError::not_found(
            "Slack's buttons are not taken here",
            "set SLACK_SIGNING_SECRET_FILE to a file with the app's signing secret",
        ));
    };
    slack
        .check(&headers, &body, clock::now_ms())
        .map_err(|why| {
            metrics::counter!("midwatch_api_slack_total", "outcome" => "unsigned").increment(1);
            doors::unproven(
                "not_from_slack",
                why,
                "see that SLACK_SIGNING_SECRET_FILE holds this app's secret and the clocks agree",
            )
        })?;
    let (payload, action, id, request) = read(&body)?;
    let told = match app.operators.of_slack(&payload.user.id) {
        Ok(operator) => {
            obey(
                &app,
                &caller,
                &operator,
                (&payload, &action),
                (&id, request),
            )
            .await
        }
        Err(error) => Err(error),
    };
    let outcome = if told.is_ok() { "published" } else { "refused" };
    metrics::counter!("midwatch_api_slack_total", "outcome" => outcome).increment(1);
    let message = match told {
        Ok(words) => whisper(&words),
        Err(error) => whisper(&format!(
            "Not done: {} ({}). {}",
            error.message, error.code, error.hint
        )),
    };
    slack.reply(payload.response_url.as_deref(), &message);
    Ok(Json(message))
}

fn read(body: &[u8]) -> Result<(Payload, Action, String, Request), ApiError> {
    let text = field(body).ok_or_else(|| unreadable("there is no field payload"))?;
    let mut payload: Payload =
        serde_json::from_str(&text).map_err(|error| unreadable(&error.to_string()))?;
    if payload.kind != "block_actions" || payload.actions.len() != 1 {
        return Err(unreadable("only block_actions with one action is taken"));
    }
    let action = payload.actions.remove(0);
    let (id, request) = action.request().ok_or_else(|| {
        unreadable(
            "action_id is approve, reject or acknowledge, value `incident id|plan hash|step`",
        )
    })?;
    Ok((payload, action, id, request))
}

async fn obey(
    app: &App,
    caller: &Caller,
    operator: &Operator,
    (payload, action): (&Payload, &Action),
    (id, request): (&str, Request),
) -> Result<String, ApiError> {
    let way = Way {
        channel: "slack",
        address: &caller.address,
    };
    let event_id = action.event_id(&payload.user.id);
    let published = doors::command(app, event_id, id, (operator, way), request).await?;
    let command = &published.command;
    let about = if command.target.is_empty() {
        ids::short_incident(command.incident_id)
    } else {
        format!(
            "{} of {}",
            command.target,
            ids::short_incident(command.incident_id)
        )
    };
    Ok(format!(
        "{}: {} {about} was asked for. The incident tells what came of it.",
        operator.name, command.command
    ))
}
