//! The HTTP face: OpenAI's embeddings call, health and metrics.

use super::model::{Embedded, ModelError, ModelHandle};
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use base64::Engine;
use metrics_exporter_prometheus::PrometheusHandle;
use midwatch_clients::embeddings::{DIMENSION, MODEL};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// Texts of one request at most: about two seconds of work. Above that a
/// request would hold up the queue for everybody else.
pub const MAX_INPUTS: usize = 256;
/// Bytes of one text at most. The model reads the first 256 tokens anyway.
pub const MAX_INPUT_BYTES: usize = 32 * 1024;
/// All texts at their limit, with room for JSON's escapes.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
/// How long a request may wait and be worked on.
const TIME_LIMIT: Duration = Duration::from_secs(30);

#[derive(Clone)]
struct Shared {
    model: ModelHandle,
    metrics: PrometheusHandle,
}

/// All routes: `/v1/embeddings`, `/healthz`, `/readyz`, `/metrics`.
pub fn router(model: ModelHandle, metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/v1/embeddings", post(embeddings))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render_metrics))
        .with_state(Shared { model, metrics })
}

async fn readyz(State(shared): State<Shared>) -> Response {
    if shared.model.is_ready() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the model is loading\n").into_response()
    }
}

async fn render_metrics(State(shared): State<Shared>) -> Response {
    metrics::gauge!("midwatch_embedder_ready").set(f64::from(u8::from(shared.model.is_ready())));
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (content_type, shared.metrics.render()).into_response()
}

async fn embeddings(State(shared): State<Shared>, body: Result<Bytes, BytesRejection>) -> Response {
    let started = Instant::now();
    let result = answer(&shared.model, body).await;
    let (outcome, response) = match result {
        Ok(response) => ("ok", response),
        Err(refusal) if refusal.status.is_server_error() => ("failed", refusal.into_response()),
        Err(refusal) => ("refused", refusal.into_response()),
    };
    metrics::counter!("midwatch_embedder_requests_total", "outcome" => outcome).increment(1);
    metrics::histogram!("midwatch_embedder_request_duration_seconds")
        .record(started.elapsed().as_secs_f64());
    response
}

async fn answer(
    model: &ModelHandle,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            message: format!("the request is larger than {MAX_BODY_BYTES} bytes"),
            param: None,
        },
        _ => Refusal::bad(None, rejection.body_text()),
    })?;
    let request = Request::parse(&body)?;
    if !model.is_ready() {
        return Err(Refusal::unavailable(
            "the model is loading; try again in a second",
        ));
    }
    let count = request.texts.len() as u64;
    let embedded = match tokio::time::timeout(TIME_LIMIT, model.embed(request.texts)).await {
        Ok(Ok(embedded)) => embedded,
        Ok(Err(error @ ModelError::Failed(_))) => {
            tracing::error!(%error, "request failed");
            return Err(Refusal {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                message: error.to_string(),
                param: None,
            });
        }
        Ok(Err(error)) => return Err(Refusal::unavailable(&error.to_string())),
        Err(_) => {
            let message = format!(
                "no result within {} s; send fewer texts",
                TIME_LIMIT.as_secs()
            );
            return Err(Refusal::unavailable(&message));
        }
    };
    metrics::counter!("midwatch_embedder_texts_total").increment(count);
    metrics::counter!("midwatch_embedder_tokens_total").increment(embedded.tokens as u64);
    Ok(Json(success(&embedded, request.base64)).into_response())
}

#[derive(Serialize)]
struct Success<'a> {
    object: &'static str,
    data: Vec<Item<'a>>,
    model: &'static str,
    usage: Usage,
}

#[derive(Serialize)]
struct Item<'a> {
    object: &'static str,
    index: usize,
    embedding: Encoded<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Encoded<'a> {
    Numbers(&'a [f32]),
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

fn success(embedded: &Embedded, base64: bool) -> Success<'_> {
    let encode = |vector: &[f32]| {
        let bytes: Vec<u8> = vector.iter().flat_map(|one| one.to_le_bytes()).collect();
        base64::engine::general_purpose::STANDARD.encode(bytes)
    };
    let data = embedded
        .vectors
        .iter()
        .enumerate()
        .map(|(index, vector)| Item {
            object: "embedding",
            index,
            embedding: if base64 {
                Encoded::Base64(encode(vector))
            } else {
                Encoded::Numbers(vector)
            },
        })
        .collect();
    Success {
        object: "list",
        data,
        model: MODEL,
        usage: Usage {
            prompt_tokens: embedded.tokens,
            total_tokens: embedded.tokens,
        },
    }
}

/// A request that may go to the model.
#[derive(Debug, PartialEq)]
struct Request {
    texts: Vec<String>,
    base64: bool,
}

#[derive(Deserialize)]
struct Raw {
    input: Option<Value>,
    encoding_format: Option<String>,
    dimensions: Option<u64>,
}

impl Request {
    fn parse(body: &[u8]) -> Result<Request, Refusal> {
        let raw: Raw = serde_json::from_slice(body)
            .map_err(|error| Refusal::bad(None, format!("the body is no such JSON: {error}")))?;
        let texts: Vec<String> = match raw.input {
            Some(Value::String(text)) => vec![text],
            Some(many) => serde_json::from_value(many).map_err(|_| {
                let message = "`input` has to be a string or an array of strings (arrays of tokens are not supported)";
                Refusal::bad(Some("input"), message)
            })?,
            None => return Err(Refusal::bad(Some("input"), "`input` is missing")),
        };
        if texts.is_empty() || texts.len() > MAX_INPUTS {
            let message = format!(
                "`input` has {} texts; 1 to {MAX_INPUTS} are allowed",
                texts.len()
            );
            return Err(Refusal::bad(Some("input"), message));
        }
        for (index, text) in texts.iter().enumerate() {
            if text.is_empty() || text.len() > MAX_INPUT_BYTES {
                let message = format!(
                    "text {index} of `input` has {} bytes; 1 to {MAX_INPUT_BYTES} are allowed",
                    text.len()
                );
                return Err(Refusal::bad(Some("input"), message));
            }
        }
        if raw
            .dimensions
            .is_some_and(|wanted| wanted != DIMENSION as u64)
        {
            let message = format!("{MODEL} gives {DIMENSION} dimensions and no other number");
            return Err(Refusal::bad(Some("dimensions"), message));
        }
        let base64 = match raw.encoding_format.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(other) => {
                let message = format!("`encoding_format` is {other:?}; float or base64 is allowed");
                return Err(Refusal::bad(Some("encoding_format"), message));
            }
        };
        Ok(Request { texts, base64 })
    }
}

/// An error in OpenAI's form.
#[derive(Debug, PartialEq)]
struct Refusal {
    status: StatusCode,
    message: String,
    param: Option<&'static str>,
}

impl Refusal {
    fn bad(param: Option<&'static str>, message: impl Into<String>) -> Refusal {
        Refusal {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
            param,
        }
    }

    fn unavailable(message: &str) -> Refusal {
        Refusal {
            status: StatusCode::SERVICE_UNAVAILABLE,
            message: message.to_owned(),
            param: None,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let kind = if self.status.is_server_error() {
            "server_error"
        } else {
            "invalid_request_error"
        };
        let body = Json(json!({"error": {
            "message": self.message, "type": kind, "param": self.param, "code": null,
        }}));
        let mut response = (self.status, body).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let one_second = header::HeaderValue::from_static("1");
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, one_second);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &Value) -> Result<Request, Refusal> {
        Request::parse(&serde_json::to_vec(body).expect("JSON of a value"))
    }

    #[test]
    fn one_text_and_many_texts_are_read() {
        let one = parse(&json!({"model": "any", "input": "a"})).expect("a string");
        assert_eq!(
            one,
            Request {
                texts: vec!["a".to_owned()],
                base64: false
            }
        );
        let many = parse(&json!({"input": ["a", "b"], "encoding_format": "base64", "user": "u"}))
            .expect("an array");
        assert_eq!(
            many,
            Request {
                texts: vec!["a".to_owned(), "b".to_owned()],
                base64: true
            }
        );
    }

    #[test]
    fn bad_requests_name_the_parameter() {
        let long = "x".repeat(MAX_INPUT_BYTES + 1);
        for (body, param) in [
            (json!({}), Some("input")),
            (json!({"input": []}), Some("input")),
            (json!({"input": ""}), Some("input")),
            (json!({"input": [1, 2]}), Some("input")),
            (json!({"input": vec!["x"; MAX_INPUTS + 1]}), Some("input")),
            (json!({"input": [long]}), Some("input")),
            (json!({"input": "a", "dimensions": 8}), Some("dimensions")),
            (
                json!({"input": "a", "encoding_format": "hex"}),
                Some("encoding_format"),
            ),
            (json!([1]), None),
        ] {
            let refusal = parse(&body).expect_err("refused");
            assert_eq!(
                (refusal.status, refusal.param),
                (StatusCode::BAD_REQUEST, param)
            );
        }
    }

    #[test]
    fn base64_is_little_endian_floats() {
        let embedded = Embedded {
            vectors: vec![vec![1.0, -2.0]],
            tokens: 3,
        };
        // 1.0 is 0x3f800000 and -2.0 is 0xc0000000: 00 00 80 3f 00 00 00 c0.
        let sent = |base64| {
            serde_json::to_value(success(&embedded, base64)).expect("plain data")["data"][0]
                ["embedding"]
                .clone()
        };
        // 1.0 is 0x3f800000 and -2.0 is 0xc0000000: 00 00 80 3f 00 00 00 c0.
        assert_eq!(sent(true), "AACAPwAAAMA=");
        assert_eq!(sent(false), json!([1.0, -2.0]));
    }
}
