//! `POST /api/dead-letters/resend`, and the button that does the same.
//!
//! The original bytes, key and headers go to the original partition, once: the
//! row in `dead_letters_resent` is taken before, and says afterwards how it
//! ended. A message that may have gone out is not sent again unless a person
//! says so.

use super::{dlq_on_broker, read_whole};
use crate::App;
use crate::error::ApiError;
use crate::origin;
use axum::Json;
use axum::extract::rejection::{FormRejection, JsonRejection};
use axum::extract::{ConnectInfo, Form, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use midwatch_clients::error::Gravity;
use midwatch_clients::kafka::{KafkaError, Original};
use midwatch_clients::postgres::dead_letters::{self, Begun, Ended, LetterKey, Resent};
use midwatch_events::topics::TOPICS;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Says of a message that it was sent again, and which one it was.
const MARK: &str = "midwatch_resent_of";
/// Characters of a name that are kept.
const NAME: usize = 100;

/// Which letter to send again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The original topic, without prefix.
    pub topic: String,
    /// Where the letter lies on `<topic>.dlq`.
    pub partition: i32,
    pub offset: i64,
    /// Who asks; recorded.
    pub by: Option<String>,
    /// Send it even though it may have gone out already.
    #[serde(default)]
    pub despite_doubt: bool,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Whether this very request sent it; otherwise an earlier one had.
    pub sent_now: bool,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// `original`, or `none` where the original is no longer on the broker.
    /// `null` where an earlier request sent it.
    pub headers: Option<&'static str>,
}

/// `POST /api/dead-letters/resend`.
pub async fn post(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Result<Json<Request>, JsonRejection>,
) -> Result<Json<Answer>, ApiError> {
    app.origins.check(&headers, origin::Asker::Program)?;
    let Json(request) = body.map_err(|error| unreadable(&error.body_text()))?;
    let by = named(request.by.as_deref().unwrap_or("a program"), peer);
    Ok(Json(resend(&app, &request, &by).await?))
}

/// The fields of the button.
#[derive(Debug, Deserialize)]
pub struct Pressed {
    topic: String,
    partition: i32,
    offset: i64,
    #[serde(default)]
    despite_doubt: bool,
    /// The query of the page that the button was on.
    #[serde(default)]
    back: String,
}

/// `POST /agents/resend`: the button of the page.
pub async fn press(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Result<Form<Pressed>, FormRejection>,
) -> Result<Response, ApiError> {
    app.origins.check(&headers, origin::Asker::Page)?;
    let Form(pressed) = body.map_err(|error| unreadable(&error.body_text()))?;
    let request = Request {
        topic: pressed.topic,
        partition: pressed.partition,
        offset: pressed.offset,
        by: None,
        despite_doubt: pressed.despite_doubt,
    };
    let by = named("the dashboard", peer);
    resend(&app, &request, &by).await?;
    // Back to the letter, where its row says what was done. Only a query is
    // taken over, so that the way never leads elsewhere.
    let clean: String = pressed
        .back
        .chars()
        .filter(|letter| letter.is_ascii_alphanumeric() || "=&.,%_-".contains(*letter))
        .take(300)
        .collect();
    let place = format!(
        "/agents?{clean}#letter-{}-{}-{}",
        request.topic, request.partition, request.offset
    );
    Ok(Redirect::to(&place).into_response())
}

/// Sends a letter again, once.
///
/// # Errors
/// There is no such letter (404); it cannot be sent, is being sent, or may
/// have been (409); broker or database are away (503).
pub async fn resend(app: &App, request: &Request, by: &str) -> Result<Answer, ApiError> {
    let known = TOPICS.iter().find(|spec| spec.name == request.topic);
    let Some(spec) = known else {
        let hint = "take topic, partition and offset from GET /api/dead-letters";
        return Err(ApiError::parameter("topic", &request.topic, hint));
    };
    let (partition, offset) = (request.partition, request.offset);
    let name = dlq_on_broker(app.broker().settings(), spec.name);
    let letter = app.broker().original(&name, partition, offset).await;
    let letter = letter.map_err(|error| away(&error))?.ok_or_else(|| {
        ApiError::not_found(
            format!(
                "there is no dead letter at offset {offset} of partition {partition} of {name}"
            ),
            "GET /api/dead-letters lists those that there are; older ones have expired",
        )
    })?;
    let (key, mut message) =
        read_whole(spec.name, (partition, offset), letter).map_err(|why| ApiError {
            status: StatusCode::CONFLICT,
            code: "cannot_resend",
            message: format!("this letter cannot be sent again: {why}"),
            hint: "mend its producer, so that it sends the message anew".to_owned(),
        })?;
    let headers = restore(app, &key, &mut message).await?;
    message
        .headers
        .push((MARK.to_owned(), Some(mark(&key).into_bytes())));
    let begun = dead_letters::begin(&app.resender, &key, by, request.despite_doubt).await?;
    match begun {
        Begun::Mine(attempt) => {
            // On a task of its own: a client that goes away must not leave
            // the row half written.
            let task = tokio::spawn(send(app.clone(), key, message, attempt));
            let (partition, offset) = task
                .await
                .map_err(|error| ApiError::internal(error.to_string()))??;
            Ok(Answer {
                sent_now: true,
                topic: request.topic.clone(),
                partition,
                offset,
                headers: Some(headers),
            })
        }
        Begun::Taken(row) => taken(row),
    }
}

/// Takes key and headers from the original, where it still lies at its place.
async fn restore(
    app: &App,
    key: &LetterKey,
    message: &mut Original,
) -> Result<&'static str, ApiError> {
    let topic = app.broker().settings().topic(&key.topic);
    let found = app
        .broker()
        .original(&topic, key.origin_partition, key.origin_offset)
        .await
        .map_err(|error| away(&error))?;
    match found.filter(|original| original.payload == message.payload) {
        Some(original) => {
            message.key = original.key;
            message.headers = original.headers;
            // One that was sent again and failed again names itself only.
            message.headers.retain(|(name, _)| name != MARK);
            Ok("original")
        }
        None => Ok("none"),
    }
}

async fn send(
    app: App,
    key: LetterKey,
    message: Original,
    attempt: i32,
) -> Result<(i32, i64), ApiError> {
    let sent = match app.sender() {
        Ok(producer) => {
            let partition = key.origin_partition;
            producer.republish(&key.topic, partition, &message).await
        }
        Err(error) => Err(error),
    };
    let text = sent.as_ref().err().map(ToString::to_string);
    let text = text.as_deref().unwrap_or_default();
    let ended = match &sent {
        Ok((partition, offset)) => Ended::Sent(*partition, *offset),
        Err(error) if error.gravity() == Gravity::Transient => Ended::Doubtful(text),
        Err(_) => Ended::Refused(text),
    };
    let noted = dead_letters::finish(&app.resender, &key, attempt, ended).await;
    tracing::info!(letter = mark(&key), outcome = ?ended, "sent a dead letter again");
    metrics::counter!("midwatch_api_dead_letters_resent_total", "outcome" => match ended {
        Ended::Sent(..) => "sent",
        Ended::Refused(_) => "refused",
        Ended::Doubtful(_) => "doubtful",
    })
    .increment(1);
    if let Err(error) = noted {
        // What the broker said counts; the row goes on saying that it is not
        // known, and nobody sends twice unasked.
        tracing::error!(%error, letter = mark(&key), outcome = ?ended, "how sending ended could not be noted");
    }
    sent.map_err(|error| away(&error))
}

fn taken(row: Resent) -> Result<Answer, ApiError> {
    if let ("sent", Some(partition), Some(offset)) =
        (row.state.as_str(), row.sent_partition, row.sent_offset)
    {
        return Ok(Answer {
            sent_now: false,
            topic: row.topic,
            partition,
            offset,
            headers: None,
        });
    }
    let under_way = row.state == "sending" && !row.overdue;
    Err(ApiError {
        status: StatusCode::CONFLICT,
        code: if under_way { "under_way" } else { "in_doubt" },
        message: if under_way {
            format!("{} is sending it at this moment", row.requested_by)
        } else {
            format!(
                "{} sent it, but no acknowledgement came: it may be on {} or not",
                row.requested_by, row.topic
            )
        },
        hint: if under_way {
            "look again in a moment".to_owned()
        } else {
            format!(
                "look in {} for the header {MARK} = {}; if it is not there, send it with \
                 \"despite_doubt\": true",
                row.topic,
                place(
                    &row.epoch,
                    &row.topic,
                    row.origin_partition,
                    row.origin_offset
                )
            )
        },
    })
}

fn mark(key: &LetterKey) -> String {
    place(
        &key.epoch,
        &key.topic,
        key.origin_partition,
        key.origin_offset,
    )
}

fn place(epoch: &str, topic: &str, partition: i32, offset: i64) -> String {
    format!("{epoch}/{topic}/{partition}/{offset}")
}

fn named(name: &str, peer: SocketAddr) -> String {
    let name: String = name
        .chars()
        .filter(|letter| !letter.is_control())
        .take(NAME)
        .collect();
    format!("{name} at {}", peer.ip())
}

fn unreadable(what: &str) -> ApiError {
    ApiError {
        status: StatusCode::BAD_REQUEST,
        code: "bad_body",
        message: format!("the body cannot be read: {what}"),
        hint: "send {\"topic\": \"raw.metrics\", \"partition\": 0, \"offset\": 0} as \
               application/json"
            .to_owned(),
    }
}

fn away(error: &KafkaError) -> ApiError {
    let refused = error.gravity() == Gravity::Permanent;
    ApiError {
        status: if refused {
            StatusCode::CONFLICT
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        },
        code: if refused {
            "refused_by_broker"
        } else {
            "broker_unavailable"
        },
        message: error.to_string(),
        hint: "see that the broker runs and KAFKA_BOOTSTRAP_SERVERS points to it".to_owned(),
    }
}
