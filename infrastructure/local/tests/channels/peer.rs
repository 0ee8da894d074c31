//! A server that stands in for Slack, PagerDuty, Telegram and a webhook's
//! receiver. It checks credentials, signatures and shapes, keeps what a person
//! would see, and can be away in several ways.

use super::chats::{self, CHATS, Shown};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

pub const SLACK_TOKEN: &str = "xoxb-for-this-test";
pub const PAGER_KEY: &str = "0123456789abcdef0123456789abcdef";
pub const TELEGRAM_TOKEN: &str = "12345:for-this-test";
pub const HOOK_SECRET: &str = "a secret of this test";

/// How a provider is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Away {
    #[default]
    No,
    /// It answers 503 and does nothing.
    Refuses,
    /// It does what it is asked and its answer is lost.
    LosesAnswers,
    /// It answers 429 and asks to wait a second.
    AsksToWait,
}

/// What a person would see.
#[derive(Debug, Default)]
pub struct Seen {
    /// Slack's messages in order: thread (empty for none), mark, incident.
    pub slack: Vec<(String, String)>,
    /// How often each board was edited, by its ts.
    pub edits: BTreeMap<String, usize>,
    /// PagerDuty's alerts: what happened to each, without repeats in a row.
    pub pager: BTreeMap<String, Vec<String>>,
    /// Telegram's messages: what each answers.
    pub telegram: Vec<(Option<i64>, String)>,
    /// The data of the button under each of Telegram's messages, by its number;
    /// empty where there is none.
    pub telegram_buttons: BTreeMap<i64, String>,
    /// The webhook's documents in order: incident, stage.
    pub hook: Vec<(String, String)>,
    hook_keys: BTreeSet<String>,
    /// The messages of each chat behind a webhook, in order.
    pub chats: BTreeMap<&'static str, Vec<Shown>>,
    /// What was wrong with requests.
    pub complaints: Vec<String>,
    /// Tries that met an outage, by provider.
    pub turned_away: BTreeMap<&'static str, usize>,
    pub away: BTreeMap<&'static str, Away>,
}

#[derive(Clone, Default)]
pub struct Peer(Arc<Mutex<Seen>>);

impl Peer {
    pub fn with<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Serves on a free port until the runtime ends; returns the address.
    pub async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("bound");
        let router = Router::new()
            .route("/slack/chat.postMessage", post(slack_post))
            .route("/slack/chat.update", post(slack_update))
            .route("/slack/conversations.history", get(slack_read))
            .route("/slack/conversations.replies", get(slack_read))
            .route("/v2/enqueue", post(pager))
            .route("/{bot}/{method}", post(telegram))
            .route("/hook", post(hook))
            .route("/chats/{chat}/room", post(chat))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    /// Does `act` unless the provider is away; what it answers then.
    fn answer(&self, provider: &'static str, act: impl FnOnce(&mut Seen) -> Value) -> Response {
        self.with(|seen| {
            let away = seen.away.get(provider).copied().unwrap_or_default();
            if away != Away::No {
                *seen.turned_away.entry(provider).or_default() += 1;
            }
            match away {
                Away::No => axum::Json(act(seen)).into_response(),
                Away::Refuses => StatusCode::SERVICE_UNAVAILABLE.into_response(),
                Away::LosesAnswers => {
                    act(seen);
                    // As if a proxy in between had given up waiting.
                    StatusCode::GATEWAY_TIMEOUT.into_response()
                }
                Away::AsksToWait => {
                    (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response()
                }
            }
        })
    }
}

fn parse(seen: &mut Seen, what: &str, body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|error| {
        seen.complaints.push(format!("{what}: {error}"));
        Value::Null
    })
}

fn complain(seen: &mut Seen, good: bool, what: impl FnOnce() -> String) {
    if !good {
        seen.complaints.push(what());
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get("authorization")?.to_str().ok()
}

/// What Block Kit demands of a message: at most 50 blocks, texts within their
/// limits, buttons with ids and values.
fn check_blocks(seen: &mut Seen, body: &Value) {
    let blocks = body["blocks"].as_array().cloned().unwrap_or_default();
    complain(seen, (1..=50).contains(&blocks.len()), || {
        format!("slack: blocks of {body}")
    });
    complain(
        seen,
        body["text"].as_str().is_some_and(|text| !text.is_empty()),
        || "slack: no text for notifications".to_owned(),
    );
    // Its text is markup, everything else is not.
    let text = body["text"].as_str().unwrap_or_default();
    complain(seen, !text.contains(['<', '>']), || {
        format!("slack: markup in {text:?}")
    });
    let mrkdwn = body["blocks"].to_string().contains("\"mrkdwn\"");
    complain(seen, !mrkdwn, || format!("slack: markup in {body}"));
    let ids: Vec<&Value> = blocks
        .iter()
        .filter_map(|block| block["elements"].as_array())
        .flatten()
        .map(|element| &element["action_id"])
        .filter(|id| id.is_string())
        .collect();
    let unique = ids
        .iter()
        .enumerate()
        .all(|(at, id)| !ids[..at].contains(id));
    complain(seen, unique, || format!("slack: ids {ids:?}"));
    for block in &blocks {
        let length = |text: &Value| text["text"].as_str().map_or(0, |text| text.chars().count());
        let fine = match block["type"].as_str() {
            Some("section") => {
                let fields = block["fields"].as_array();
                let text = (1..=3_000).contains(&length(&block["text"]));
                text || fields.is_some_and(|fields| {
                    (1..=10).contains(&fields.len())
                        && fields
                            .iter()
                            .all(|field| (1..=2_000).contains(&length(field)))
                })
            }
            Some("context") => block["elements"]
                .as_array()
                .is_some_and(|all| all.len() <= 10),
            Some("actions") => block["elements"].as_array().is_some_and(|all| {
                (1..=25).contains(&all.len())
                    && all.iter().all(|element| {
                        element["action_id"].is_string()
                            && (1..=75).contains(&length(&element["text"]))
                            && (element["url"].is_string()
                                || element["value"].as_str().is_some_and(|v| v.len() <= 2_000))
                    })
            }),
            _ => false,
        };
        complain(seen, fine, || format!("slack: block {block}"));
    }
}

async fn slack_post(State(peer): State<Peer>, headers: HeaderMap, body: Bytes) -> Response {
    peer.answer("slack", |seen| {
        let good = bearer(&headers) == Some(&format!("Bearer {SLACK_TOKEN}"));
        complain(seen, good, || "slack: a wrong token".to_owned());
        let body = parse(seen, "slack", &body);
        complain(seen, body["channel"] == "C0TEST", || {
            format!("slack: channel of {body}")
        });
        check_blocks(seen, &body);
        let mark = body["metadata"]["event_payload"]["key"]
            .as_str()
            .unwrap_or_default();
        let thread = body["thread_ts"].as_str().unwrap_or_default();
        let known = thread.is_empty() || ts_of(seen, thread).is_some();
        complain(seen, known, || format!("slack: thread {thread} is none"));
        seen.slack.push((thread.to_owned(), mark.to_owned()));
        json!({ "ok": true, "ts": format!("1700000000.{:06}", seen.slack.len()) })
    })
}

fn ts_of(seen: &Seen, ts: &str) -> Option<usize> {
    let number: usize = ts.strip_prefix("1700000000.")?.parse().ok()?;
    (1..=seen.slack.len()).contains(&number).then_some(number)
}

async fn slack_update(State(peer): State<Peer>, headers: HeaderMap, body: Bytes) -> Response {
    peer.answer("slack", |seen| {
        let good = bearer(&headers) == Some(&format!("Bearer {SLACK_TOKEN}"));
        complain(seen, good, || "slack: a wrong token".to_owned());
        let body = parse(seen, "slack", &body);
        check_blocks(seen, &body);
        let ts = body["ts"].as_str().unwrap_or_default().to_owned();
        if ts_of(seen, &ts).is_none() {
            return json!({ "ok": false, "error": "message_not_found" });
        }
        *seen.edits.entry(ts.clone()).or_default() += 1;
        json!({ "ok": true, "ts": ts })
    })
}

async fn slack_read(
    State(peer): State<Peer>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    peer.answer("slack", |seen| {
        let wanted = query.get("ts").cloned().unwrap_or_default();
        let messages: Vec<Value> = seen
            .slack
            .iter()
            .enumerate()
            .filter(|(_, (thread, _))| *thread == wanted)
            .map(|(index, (_, mark))| {
                json!({ "ts": format!("1700000000.{:06}", index + 1),
                    "metadata": { "event_type": "midwatch", "event_payload": { "key": mark } } })
            })
            .collect();
        json!({ "ok": true, "messages": messages })
    })
}

async fn pager(State(peer): State<Peer>, body: Bytes) -> Response {
    peer.answer("pager", |seen| {
        let event = parse(seen, "pager", &body);
        complain(seen, event["routing_key"] == PAGER_KEY, || {
            "pager: a wrong key".to_owned()
        });
        let action = event["event_action"].as_str().unwrap_or_default();
        let payload = &event["payload"];
        let severities = ["critical", "error", "warning", "info"];
        let fine = match action {
            "trigger" => {
                payload["summary"]
                    .as_str()
                    .is_some_and(|text| (1..=1_024).contains(&text.len()))
                    && payload["source"].is_string()
                    && payload["severity"]
                        .as_str()
                        .is_some_and(|one| severities.contains(&one))
            }
            "acknowledge" | "resolve" => true,
            _ => false,
        };
        complain(seen, fine, || format!("pager: {event}"));
        let key = event["dedup_key"].as_str().unwrap_or_default().to_owned();
        complain(seen, (1..=255).contains(&key.len()), || {
            "pager: no dedup_key".to_owned()
        });
        let life = seen.pager.entry(key.clone()).or_default();
        // Under one dedup_key a repeated event changes nothing.
        if life.last().map(String::as_str) != Some(action) {
            life.push(action.to_owned());
        }
        json!({ "status": "success", "message": "Event processed", "dedup_key": key })
    })
}

async fn telegram(
    State(peer): State<Peer>,
    Path((bot, method)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    peer.answer("telegram", |seen| {
        complain(seen, bot == format!("bot{TELEGRAM_TOKEN}"), || {
            "telegram: a wrong token".into()
        });
        let body = parse(seen, "telegram", &body);
        let length = body["text"].as_str().map_or(0, |text| text.chars().count());
        complain(seen, (1..=4_096).contains(&length), || {
            format!("telegram: text of {body}")
        });
        complain(seen, body["parse_mode"].is_null(), || {
            "telegram: markup".to_owned()
        });
        match method.as_str() {
            "sendMessage" => {
                let answers = body["reply_parameters"]["message_id"].as_i64();
                let text = body["text"].as_str().unwrap_or_default().to_owned();
                seen.telegram.push((answers, text));
                let number = i64::try_from(seen.telegram.len()).unwrap_or(i64::MAX);
                let button = button(seen, &body);
                seen.telegram_buttons.insert(number, button);
                json!({ "ok": true, "result": { "message_id": number } })
            }
            "editMessageText" => {
                let number = body["message_id"].as_i64().unwrap_or_default();
                let button = button(seen, &body);
                let known = seen.telegram_buttons.insert(number, button).is_some();
                complain(seen, known, || format!("telegram: edits {number}"));
                json!({ "ok": true, "result": true })
            }
            other => {
                seen.complaints.push(format!("telegram: method {other}"));
                Value::Null
            }
        }
    })
}

/// The data of a message's one button, within the limits of Telegram; empty
/// where there is no keyboard.
fn button(seen: &mut Seen, body: &Value) -> String {
    let markup = &body["reply_markup"];
    if markup.is_null() {
        return String::new();
    }
    let button = &markup["inline_keyboard"][0][0];
    let data = button["callback_data"].as_str().unwrap_or_default();
    let label = button["text"].as_str().unwrap_or_default();
    let fine = (1..=64).contains(&data.len()) && !label.is_empty();
    complain(seen, fine, || format!("telegram: keyboard {markup}"));
    data.to_owned()
}

async fn hook(State(peer): State<Peer>, headers: HeaderMap, body: Bytes) -> Response {
    peer.answer("hook", |seen| {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let signature = header("x-midwatch-signature")
            .unwrap_or_default()
            .to_owned();
        let signed = signature
            .strip_prefix("t=")
            .and_then(|rest| rest.split_once(",v1="))
            .is_some_and(|(seconds, code)| code == expected(seconds, &body));
        complain(seen, signed, || format!("hook: signature {signature}"));
        let document = parse(seen, "hook", &body);
        let key = header("idempotency-key").unwrap_or_default().to_owned();
        complain(seen, document["message_id"] == key.as_str(), || {
            "hook: key".to_owned()
        });
        // What a receiver does with the key.
        if seen.hook_keys.insert(key) {
            let text = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
            seen.hook.push((text("incident_id"), text("stage")));
        }
        json!({})
    })
}

async fn chat(State(peer): State<Peer>, Path(name): Path<String>, body: Bytes) -> Response {
    let known = CHATS.iter().find(|(chat, _)| *chat == name);
    let Some((chat, _)) = known else {
        return StatusCode::NOT_FOUND.into_response();
    };
    peer.answer(chat, |seen| {
        chats::take(seen, chat, &body);
        json!({})
    })
}

fn expected(seconds: &str, body: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(HOOK_SECRET.as_bytes()).expect("keys of any length");
    mac.update(seconds.as_bytes());
    mac.update(b".");
    mac.update(body);
    let code = mac.finalize().into_bytes();
    code.iter().map(|byte| format!("{byte:02x}")).collect()
}
