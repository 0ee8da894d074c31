//! The embedder: any endpoint that speaks OpenAI's `POST /v1/embeddings`.
//!
//! Guarantees: one vector of [`DIMENSION`] numbers per text, in the order of
//! the texts; every call ends within three tries of [`TIME_LIMIT`] each.

use crate::error::Gravity;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use thiserror::Error;

/// Length of every vector (all-MiniLM-L6-v2).
pub const DIMENSION: usize = 384;
/// The model that the stored vectors come from. A query embedded by another
/// model finds nothing sensible, so the name is sent with every request.
pub const MODEL: &str = "all-MiniLM-L6-v2";
/// Time limit of one try.
pub const TIME_LIMIT: Duration = Duration::from_secs(10);

const TRIES: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Texts per request: a batch of long texts takes the local embedder about half
/// a second, far inside the time limit, also on a busy machine.
const BATCH: usize = 32;
/// The model reads the first 256 tokens, in ordinary text some 2 kB; what lies
/// far behind would only be carried to the server and dropped there.
const MAX_TEXT_BYTES: usize = 16_000;
/// An answer that explains an error is quoted up to this many characters.
const MAX_QUOTE: usize = 300;

/// Why texts could not be embedded.
#[derive(Debug, Error)]
pub enum EmbeddingsError {
    #[error(
        "the embeddings address {url:?} cannot be used: {problem}; set EMBEDDINGS_URL to something like http://127.0.0.1:8081/v1"
    )]
    Address { url: String, problem: String },
    #[error(
        "no answer from the embedder at {url} after {tries} tries; is it running, and does EMBEDDINGS_URL point to it?"
    )]
    Unreachable {
        url: String,
        tries: u32,
        #[source]
        source: reqwest::Error,
    },
    #[error("the embedder at {url} answered {status}: {message}")]
    Refused {
        url: String,
        status: u16,
        message: String,
    },
    #[error("the answer of the embedder at {url} is unusable: {problem}")]
    Answer { url: String, problem: String },
}

impl EmbeddingsError {
    /// What a caller can do about it.
    #[must_use]
    pub fn gravity(&self) -> Gravity {
        match self {
            EmbeddingsError::Unreachable { .. }
            | EmbeddingsError::Refused {
                status: 408 | 429 | 500..,
                ..
            } => Gravity::Transient,
            EmbeddingsError::Address { .. }
            | EmbeddingsError::Refused {
                status: 401 | 403, ..
            } => Gravity::Fatal,
            EmbeddingsError::Refused { .. } | EmbeddingsError::Answer { .. } => Gravity::Permanent,
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.gravity() == Gravity::Transient
    }
}

/// Turns texts into vectors through an OpenAI-compatible endpoint.
#[derive(Clone, Debug)]
pub struct EmbeddingsClient {
    http: reqwest::Client,
    url: String,
    api_key: Option<String>,
    model: String,
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    input: &'a [&'a str],
    encoding_format: &'static str,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    index: usize,
    embedding: Vec<f32>,
}

impl EmbeddingsClient {
    /// A client of the endpoint under `base_url` (which ends in `/v1`, without
    /// `/embeddings`). Nothing is contacted yet.
    ///
    /// # Errors
    /// [`EmbeddingsError::Address`] when `base_url` is not an http(s) address.
    pub fn new(
        base_url: &str,
        api_key: Option<String>,
    ) -> Result<EmbeddingsClient, EmbeddingsError> {
        let address = |problem: String| EmbeddingsError::Address {
            url: base_url.to_owned(),
            problem,
        };
        let base = reqwest::Url::parse(base_url).map_err(|error| address(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(address(format!(
                "the scheme is {:?}, not http or https",
                base.scheme()
            )));
        }
        let mut builder = reqwest::Client::builder().timeout(TIME_LIMIT);
        if matches!(
            base.host_str(),
            Some("127.0.0.1" | "localhost" | "[::1]" | "::1")
        ) {
            // A proxy from the environment never leads back to this machine.
            builder = builder.no_proxy();
        }
        Ok(EmbeddingsClient {
            http: builder
                .build()
                .map_err(|error| address(error.to_string()))?,
            url: format!("{}/embeddings", base_url.trim_end_matches('/')),
            api_key,
            model: MODEL.to_owned(),
        })
    }

    /// Asks for another model by name; it has to give vectors of
    /// [`DIMENSION`] numbers, and the knowledge has to be seeded with it.
    #[must_use]
    pub fn with_model(mut self, model: &str) -> EmbeddingsClient {
        model.clone_into(&mut self.model);
        self
    }

    /// One vector per text, in order. Texts are cut after 16 kB, of which the
    /// model reads the first 256 tokens.
    ///
    /// # Errors
    /// [`EmbeddingsError`]; transient ones have been tried three times.
    pub async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbeddingsError> {
        let mut vectors = Vec::with_capacity(texts.len());
        for batch in texts.chunks(BATCH) {
            let batch: Vec<&str> = batch.iter().map(|text| cut(text, MAX_TEXT_BYTES)).collect();
            vectors.extend(self.embed_batch(&batch).await?);
        }
        Ok(vectors)
    }

    async fn embed_batch(&self, batch: &[&str]) -> Result<Vec<Vec<f32>>, EmbeddingsError> {
        let mut wait = FIRST_WAIT;
        let mut tries = 1;
        loop {
            match self.ask(batch, tries).await {
                Err(error) if error.is_transient() && tries < TRIES => {
                    tracing::debug!(%error, tries, "embedder did not answer, trying again");
                }
                result => return result,
            }
            tokio::time::sleep(wait).await;
            wait *= 3;
            tries += 1;
        }
    }

    async fn ask(&self, batch: &[&str], tries: u32) -> Result<Vec<Vec<f32>>, EmbeddingsError> {
        let unreachable = |source| EmbeddingsError::Unreachable {
            url: self.url.clone(),
            tries,
            source,
        };
        let mut request = self.http.post(&self.url).json(&Request {
            model: &self.model,
            input: batch,
            encoding_format: "float",
        });
        if let Some(key) = &self.api_key {
            request = request.bearer_auth(key);
        }
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?;
        if !status.is_success() {
            return Err(EmbeddingsError::Refused {
                url: self.url.clone(),
                status: status.as_u16(),
                message: error_message(&body),
            });
        }
        read_answer(&body, batch.len()).map_err(|problem| EmbeddingsError::Answer {
            url: self.url.clone(),
            problem,
        })
    }
}

/// The longest beginning of `text` within `limit` bytes that ends between
/// characters.
fn cut(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The message of an OpenAI-style error body, or the body's beginning.
fn error_message(body: &[u8]) -> String {
    let text = serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|value| {
            value
                .pointer("/error/message")
                .and_then(|message| message.as_str().map(str::to_owned))
        })
        .unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    text.chars().take(MAX_QUOTE).collect()
}

fn read_answer(body: &[u8], expected: usize) -> Result<Vec<Vec<f32>>, String> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| format!("not an embeddings answer: {error}"))?;
    if answer.data.len() != expected {
        return Err(format!(
            "{} vectors for {expected} texts",
            answer.data.len()
        ));
    }
    let mut vectors = vec![Vec::new(); expected];
    for item in answer.data {
        if item.embedding.len() != DIMENSION {
            return Err(format!(
                "vectors of {} numbers where {DIMENSION} are stored; use a model such as {MODEL}",
                item.embedding.len()
            ));
        }
        match vectors.get_mut(item.index) {
            Some(slot) if slot.is_empty() => *slot = item.embedding,
            Some(_) => return Err(format!("index {} appears twice", item.index)),
            None => return Err(format!("index {} of {expected} texts", item.index)),
        }
    }
    Ok(vectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(index: usize, length: usize) -> serde_json::Value {
        serde_json::json!({"index": index, "embedding": vec![index as f32; length]})
    }

    fn body(items: &[serde_json::Value]) -> Vec<u8> {
        serde_json::to_vec(&serde_json::json!({ "data": items })).expect("JSON of a value")
    }

    #[test]
    fn vectors_are_ordered_by_index() {
        let vectors = read_answer(&body(&[item(1, DIMENSION), item(0, DIMENSION)]), 2)
            .expect("a whole answer");
        assert_eq!(vectors, [vec![0.0; DIMENSION], vec![1.0; DIMENSION]]);
    }

    #[test]
    fn wrong_count_dimension_or_index_is_refused() {
        for (items, words) in [
            (vec![item(0, DIMENSION)], "1 vectors for 2 texts"),
            (vec![item(0, DIMENSION), item(1, 3)], "vectors of 3 numbers"),
            (
                vec![item(0, DIMENSION), item(0, DIMENSION)],
                "index 0 appears twice",
            ),
            (
                vec![item(0, DIMENSION), item(2, DIMENSION)],
                "index 2 of 2 texts",
            ),
        ] {
            let error = read_answer(&body(&items), 2).expect_err(words);
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("äöü", 3), "ä");
        assert_eq!(cut("short", 10), "short");
    }

    #[test]
    fn an_address_without_http_is_refused() {
        for url in ["127.0.0.1:8081", "redis://127.0.0.1/v1", ""] {
            let error = EmbeddingsClient::new(url, None).expect_err(url);
            assert!(error.to_string().contains("EMBEDDINGS_URL"), "{error}");
            assert!(!error.is_transient());
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_a_transient_error_after_three_tries() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let client = EmbeddingsClient::new(&format!("http://127.0.0.1:{port}/v1"), None)
            .expect("a good address");
        let error = client
            .embed(&["text".to_owned()])
            .await
            .expect_err("nobody listens");
        assert!(error.is_transient());
        assert!(
            matches!(error, EmbeddingsError::Unreachable { tries: 3, .. }),
            "{error}"
        );
    }
}
