//! `/ws/topics/{name}`: messages as they come.
//!
//! The server renders each message, so that the page builds no markup from
//! data. Who reads too slowly loses messages and is told how many.

use super::topic::{Row, find, partition};
use super::{TopicPage, away};
use crate::error::ApiError;
use crate::live::{close, same_origin, send};
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use midwatch_clients::kafka::{Follow, Followed};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A silent connection is asked for a sign of life this often.
const PING: Duration = Duration::from_secs(20);
/// Messages in one sending, and the least time between two: a page cannot
/// show more than some hundred a second.
const BATCH: usize = 64;
const PAUSE: Duration = Duration::from_millis(150);
/// Bytes of a payload that are sent live; the page of its own shows more.
const LIVE_PAYLOAD: usize = 8 * 1024;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    #[serde(default)]
    partition: String,
}

/// `GET /ws/topics/{name}`.
pub async fn connect(
    State(page): State<TopicPage>,
    Path(name): Path<String>,
    Query(ask): Query<Ask>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    if !same_origin(&headers) {
        return Err(ApiError {
            status: StatusCode::FORBIDDEN,
            code: "foreign_origin",
            message: "a page of another origin may not follow a topic".to_owned(),
            hint: "open the topic page at the address that serves this feed".to_owned(),
        });
    }
    let wanted = partition(&ask.partition)?;
    let topic = find(&page, &name).await?;
    let follow = page
        .topics
        .reader()
        .follow(&topic.name, wanted)
        .await
        .map_err(|error| away(&error))?
        .ok_or_else(|| {
            ApiError::not_found(
                format!("the topic {name:?} is gone"),
                "GET / lists the topics",
            )
        })?;
    Ok(upgrade
        .max_message_size(4 * 1024)
        .on_upgrade(move |socket| async move { serve(socket, &page, &name, follow).await })
        .into_response())
}

/// Feeds one client until it leaves, the reading fails or the process stops.
async fn serve(mut socket: WebSocket, page: &TopicPage, name: &str, mut follow: Follow) {
    let hello = serde_json::json!({"type": "hello", "topic": name, "from": follow.from});
    if !send(&mut socket, Message::text(hello.to_string())).await {
        return;
    }
    let mut ping = tokio::time::interval(PING);
    let mut answered = true;
    let mut batch = Vec::with_capacity(BATCH);
    // The next sending waits; what comes meanwhile stays in the bounded queue.
    let mut ready = tokio::time::Instant::now();
    loop {
        let next = async {
            tokio::time::sleep_until(ready).await;
            follow.receiver.recv_many(&mut batch, BATCH).await
        };
        tokio::select! {
            count = next => {
                if count == 0 {
                    return close(&mut socket, close_code::ERROR, "the reading ended").await;
                }
                let (text, failure) = news(page, name, batch.drain(..));
                if let Some(text) = text
                    && !send(&mut socket, Message::text(text)).await
                {
                    return;
                }
                if let Some(reason) = failure {
                    tracing::warn!(topic = name, reason, "following a topic failed");
                    return close(&mut socket, close_code::ERROR, "the broker does not answer").await;
                }
                ready = tokio::time::Instant::now() + PAUSE;
            }
            incoming = socket.recv() => match incoming {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => answered = true,
            },
            _ = ping.tick() => {
                if !answered || !send(&mut socket, Message::Ping(Vec::new().into())).await {
                    return;
                }
                answered = false;
            }
            () = page.shutdown.wait() => {
                return close(&mut socket, close_code::AWAY, "the server stops").await;
            }
        }
    }
}

/// What the page hears of a batch, and why the reading ended if it did.
fn news(
    page: &TopicPage,
    name: &str,
    batch: impl Iterator<Item = Result<Followed, String>>,
) -> (Option<String>, Option<String>) {
    #[derive(Serialize)]
    struct One {
        row: Row,
    }
    #[derive(Serialize)]
    struct Gap {
        count: u64,
    }
    let (mut html, mut places, mut dropped) = (String::new(), Vec::new(), 0);
    let mut failure = None;
    for item in batch {
        let rendered = match item {
            Ok(Followed::Record(mut record)) => {
                places.push((record.partition, record.offset));
                if record.payload.len() > LIVE_PAYLOAD {
                    let cut = record.payload.floor_char_boundary(LIVE_PAYLOAD);
                    record.payload.truncate(cut);
                    record.truncated = true;
                }
                let row = Row::new(name, *record, false);
                page.render("topics/message.html", One { row })
            }
            Ok(Followed::Dropped(count)) => {
                dropped += count;
                page.render("topics/gap.html", Gap { count })
            }
            Err(reason) => {
                failure = Some(reason);
                continue;
            }
        };
        html.push_str(&rendered.unwrap_or_default());
    }
    let text = (!html.is_empty()).then(|| {
        serde_json::json!({"type": "messages", "places": places, "dropped": dropped, "html": html})
            .to_string()
    });
    (text, failure)
}
