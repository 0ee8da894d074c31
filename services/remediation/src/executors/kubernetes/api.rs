//! Requests to the API server, with what an answer means for whoever must not
//! do a thing twice.

use crate::executors::hand::Seen;
use http::{Method, Request};
use kube::{Client, Config, Error};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Longest wait for one answer.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// Longest pause that an answer can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Who changes fields, as the API server notes it.
const MANAGER: &str = "midwatch";

/// Why a request did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is no such object.
    Missing(String),
    /// The object is not as it was when it was read; nothing was changed.
    Conflict(String),
    /// Not now; nothing was changed.
    Later(Duration, String),
    /// Never; nothing was changed.
    No(String),
    /// It was not sent; nothing was changed.
    Unreachable(String),
    /// No answer, or one from which nothing follows: it may have been done.
    Lost(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Missing(text)
            | Trouble::Conflict(text)
            | Trouble::Later(_, text)
            | Trouble::No(text)
            | Trouble::Unreachable(text)
            | Trouble::Lost(text) => formatter.write_str(text),
        }
    }
}

impl Trouble {
    /// What it means for whoever looks whether something was done.
    pub fn unseen(self) -> Seen {
        match self {
            Trouble::Missing(text) | Trouble::No(text) => Seen::CannotTell(text),
            other => Seen::Away(other.to_string()),
        }
    }
}

/// The API server.
#[derive(Clone)]
pub struct Api {
    client: Client,
}

impl Api {
    /// Prepares the conversation with the cluster of `kubeconfig`, or with the
    /// one that `kube` infers: KUBECONFIG, the user's file, or the cluster that
    /// this process runs in. Returns its address, too.
    ///
    /// # Errors
    /// Nothing describes a cluster, or the description cannot be used.
    pub async fn connect(kubeconfig: Option<&Path>) -> anyhow::Result<(Api, String)> {
        let mut config = match kubeconfig {
            Some(path) => {
                let file = kube::config::Kubeconfig::read_from(path)?;
                Config::from_custom_kubeconfig(file, &Default::default()).await?
            }
            None => Config::infer().await?,
        };
        config.connect_timeout = Some(REQUEST_LIMIT / 2);
        config.read_timeout = Some(REQUEST_LIMIT);
        config.write_timeout = Some(REQUEST_LIMIT);
        // Whether a request is sent again is decided where it is known what it
        // does.
        config.default_retry = false;
        let address = config.cluster_url.to_string();
        let client = Client::try_from(config)?;
        Ok((Api { client }, address))
    }

    /// Reads an object or a list.
    pub async fn get(&self, path: &str) -> Result<Value, Trouble> {
        self.send(Method::GET, path, None, "application/json").await
    }

    /// Reads what is no JSON.
    pub async fn text(&self, path: &str) -> Result<String, Trouble> {
        let request = Request::builder()
            .uri(path)
            .body(Vec::new())
            .map_err(|error| Trouble::No(format!("{path} is no address: {error}")))?;
        let answer = tokio::time::timeout(REQUEST_LIMIT, self.client.request_text(request)).await;
        match answer {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(error)) => Err(meaning(&Method::GET, path, error)),
            Err(_) => Err(Trouble::Lost(format!(
                "GET {path}: no answer within {} s",
                REQUEST_LIMIT.as_secs()
            ))),
        }
    }

    /// Merges into an object.
    pub async fn patch(&self, path: &str, patch: &Value) -> Result<Value, Trouble> {
        let path = format!("{path}?fieldManager={MANAGER}");
        let media = "application/merge-patch+json";
        self.send(Method::PATCH, &path, Some(patch), media).await
    }

    /// Creates below an object.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Trouble> {
        self.send(Method::POST, path, Some(body), "application/json")
            .await
    }

    /// Deletes an object.
    pub async fn delete(&self, path: &str, options: &Value) -> Result<Value, Trouble> {
        self.send(Method::DELETE, path, Some(options), "application/json")
            .await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        media: &str,
    ) -> Result<Value, Trouble> {
        let request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header("content-type", media)
            .header("accept", "application/json")
            .body(
                body.map(|body| body.to_string().into_bytes())
                    .unwrap_or_default(),
            )
            .map_err(|error| Trouble::No(format!("{path} is no address: {error}")))?;
        let answer = tokio::time::timeout(REQUEST_LIMIT, self.client.request(request)).await;
        match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(meaning(&method, path, error)),
            Err(_) => Err(Trouble::Lost(format!(
                "{method} {path}: no answer within {} s",
                REQUEST_LIMIT.as_secs()
            ))),
        }
    }
}

fn meaning(method: &Method, path: &str, error: Error) -> Trouble {
    if let Error::Api(status) = &error {
        let text = format!("{method} {path}: {} {}", status.code, status.message);
        return match status.code {
            404 => Trouble::Missing(text),
            409 => Trouble::Conflict(text),
            429 => {
                let asked = status
                    .details
                    .as_ref()
                    .map_or(0, |details| details.retry_after_seconds);
                let pause = Duration::from_secs(u64::from(asked)).max(Duration::from_secs(1));
                Trouble::Later(pause.min(LONGEST_PAUSE), text)
            }
            400..=499 => Trouble::No(text),
            _ => Trouble::Lost(text),
        };
    }
    let text = format!("{method} {path}: {}", chain(&error));
    if is_refused(&error) {
        Trouble::Unreachable(text)
    } else {
        Trouble::Lost(text)
    }
}

/// Whether nobody took the connection, so that nothing was sent.
fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return true;
        }
        next = error.source();
    }
    false
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut parts = vec![error.to_string()];
    let mut next = error.source();
    while let Some(error) = next {
        let text = error.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        next = error.source();
    }
    parts.join(": ")
}
