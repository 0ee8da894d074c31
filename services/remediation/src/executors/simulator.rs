//! The simulated fleet as an executor: its control endpoint carries an action
//! out once for each key and tells afterwards what became of it, so that asking
//! again is always safe.

use crate::execution::{Execution, Outcome, OutcomeStatus};
use anyhow::{Context as _, anyhow};
use midwatch_runtime::JobError;
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

/// How long one request may take: the simulator answers within five seconds or
/// says that it is busy.
const LIMIT: Duration = Duration::from_secs(10);
/// Bytes of an answer; the simulator's own have some hundred.
const ANSWER: usize = 16 * 1024;

/// What the simulator says about an action.
#[derive(Deserialize)]
struct Report {
    status: String,
    /// Simulated time.
    event_ms: i64,
    words: String,
}

/// Asks the simulator at `base_url` to carry an action out. Of a dry run
/// nothing is asked.
///
/// # Errors
/// Transient where the simulator is away or busy; asking again under the same
/// key does nothing twice. Permanent where its address or answer is of no use.
pub async fn act(
    client: &Client,
    base_url: &str,
    execution: &Execution,
) -> Result<Outcome, JobError> {
    let action = &execution.action;
    let told = format!("{} of {}", action.kind.as_str(), action.service);
    if execution.dry_run {
        return Ok(Outcome {
            status: OutcomeStatus::Done,
            rule: String::new(),
            output: format!("dry run: the simulator was not asked for {told}"),
            acted_at_ms: None,
            reconciled: false,
        });
    }
    let body = json!({
        "key": execution.key,
        "kind": action.kind.as_str(),
        "service": action.service,
        "arguments": action.arguments,
    });
    let request = client.post(address(base_url, &[])?).json(&body);
    let response = request.timeout(LIMIT).send().await.map_err(away)?;
    match response.status() {
        StatusCode::OK | StatusCode::CONFLICT => outcome(report(response).await?),
        status if status.is_client_error() => Ok(failed(format!(
            "the simulator does not understand {told}: {}",
            text(response).await?
        ))),
        _ => Err(busy(response).await),
    }
}

/// What became of the action of this key, found by asking; none where the
/// simulator never heard of it.
///
/// # Errors
/// As [`act`].
pub async fn look(client: &Client, base_url: &str, key: &str) -> Result<Option<Outcome>, JobError> {
    let request = client.get(address(base_url, &[key])?);
    let response = request.timeout(LIMIT).send().await.map_err(away)?;
    match response.status() {
        StatusCode::OK => {
            let found = outcome(report(response).await?)?;
            Ok(Some(Outcome {
                reconciled: true,
                ..found
            }))
        }
        StatusCode::NOT_FOUND => Ok(None),
        _ => Err(busy(response).await),
    }
}

/// `<base>/actions[/<key>]`, with the key as one part of the path.
fn address(base_url: &str, rest: &[&str]) -> Result<Url, JobError> {
    let unusable = || {
        JobError::Permanent(anyhow!(
            "SIMULATOR_ACTIONS_URL is {base_url:?}; set it to the simulator's address, for \
             example http://127.0.0.1:8100"
        ))
    };
    let mut url = Url::parse(base_url).map_err(|_| unusable())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(unusable());
    }
    url.path_segments_mut()
        .map_err(|()| unusable())?
        .pop_if_empty()
        .push("actions")
        .extend(rest);
    Ok(url)
}

fn outcome(report: Report) -> Result<Outcome, JobError> {
    match report.status.as_str() {
        "applied" => Ok(Outcome {
            status: OutcomeStatus::Done,
            acted_at_ms: Some(report.event_ms),
            ..failed(report.words)
        }),
        "ignored" | "refused" => Ok(failed(report.words)),
        other => Err(JobError::Permanent(anyhow!(
            "the simulator answers with status {other:?}, which is none of applied, ignored, refused"
        ))),
    }
}

/// Nothing was changed, and why.
fn failed(words: String) -> Outcome {
    Outcome {
        status: OutcomeStatus::Failed,
        rule: String::new(),
        output: words,
        acted_at_ms: None,
        reconciled: false,
    }
}

async fn report(response: Response) -> Result<Report, JobError> {
    let text = text(response).await?;
    serde_json::from_str(&text)
        .context("what answers at SIMULATOR_ACTIONS_URL is no simulator")
        .map_err(JobError::Permanent)
}

async fn busy(response: Response) -> JobError {
    let status = response.status();
    match text(response).await {
        Ok(text) => JobError::Transient(anyhow!("the simulator answers {status}: {text}")),
        Err(error) => error,
    }
}

/// The body, up to [`ANSWER`] bytes.
async fn text(mut response: Response) -> Result<String, JobError> {
    let mut bytes = Vec::new();
    while let Some(part) = response.chunk().await.map_err(away)? {
        bytes.extend_from_slice(&part);
        if bytes.len() > ANSWER {
            return Err(JobError::Permanent(anyhow!(
                "what answers at SIMULATOR_ACTIONS_URL is no simulator: more than {ANSWER} bytes"
            )));
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn away(error: reqwest::Error) -> JobError {
    let error = anyhow::Error::from(error.without_url());
    JobError::Transient(error.context("the simulator at SIMULATOR_ACTIONS_URL does not answer"))
}
