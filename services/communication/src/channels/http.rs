//! One conversation with a provider, and what its failure means.

use anyhow::Context as _;
use midwatch_runtime::agent::JobError;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;
use std::time::Duration;

/// Limit of a whole conversation; the longest pause of a provider's edge is
/// about as long.
const LIMIT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read; providers answer with less than that.
const ANSWER: usize = 256 * 1024;
/// The longest wait that a provider may ask for.
const LONGEST_WAIT: u64 = 120;

#[derive(Debug)]
pub(super) struct Http {
    pub client: reqwest::Client,
}

/// A provider asked to be left alone for a while.
#[derive(Debug, thiserror::Error)]
#[error("it asks to wait {} s", .0.as_secs())]
pub struct AsksToWait(pub Duration);

/// The provider is there and could not take this one message: another try may
/// help, and costs one.
#[derive(Debug, thiserror::Error)]
#[error("it could not take this message")]
pub struct Answered;

/// The provider certainly did not take the message, so that another try cannot
/// show it twice.
#[derive(Debug, thiserror::Error)]
#[error("it was not taken")]
pub struct NotTaken;

impl Http {
    pub(super) fn new() -> anyhow::Result<Http> {
        let client = reqwest::Client::builder()
            .timeout(LIMIT)
            .connect_timeout(Duration::from_secs(5))
            // A redirect would take the credentials elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent("midwatch")
            .build()
            .context("no HTTP client can be set up")?;
        Ok(Http { client })
    }

    /// Sends a request and returns the answer's body as JSON; `null` where it
    /// is none.
    ///
    /// # Errors
    /// `Transient` where the provider is away, overloaded or asks to wait,
    /// `Permanent` where it refuses.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Value, JobError> {
        // The address may hold a secret, so it is taken out of every message.
        let mut response = request.send().await.map_err(|error| {
            let never_left = error.is_connect();
            let error = anyhow::Error::new(error.without_url());
            JobError::Transient(if never_left {
                error.context(NotTaken)
            } else {
                error
            })
        })?;
        let status = response.status();
        let wait = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| JobError::Transient(error.without_url().into()))?
        {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER {
                break;
            }
        }
        if status.is_success() {
            return Ok(serde_json::from_slice(&body).unwrap_or(Value::Null));
        }
        let words = String::from_utf8_lossy(&body);
        let words = super::board::cut(words.trim(), 300);
        let error = anyhow::anyhow!("it answered {status}: {words}");
        let passes = status.is_server_error()
            || status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::REQUEST_TIMEOUT;
        Err(match (passes, wait) {
            (true, Some(seconds)) => JobError::Transient(
                anyhow::Error::new(AsksToWait(Duration::from_secs(seconds.min(LONGEST_WAIT))))
                    .context(error),
            ),
            (true, None) if status == StatusCode::INTERNAL_SERVER_ERROR => {
                JobError::Transient(anyhow::Error::new(Answered).context(error))
            }
            (true, None) if status == StatusCode::SERVICE_UNAVAILABLE => {
                JobError::Transient(anyhow::Error::new(NotTaken).context(error))
            }
            (true, None) => JobError::Transient(error),
            (false, _) => JobError::Permanent(error),
        })
    }
}
