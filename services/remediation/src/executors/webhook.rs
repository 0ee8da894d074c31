//! Actions that somebody else's program carries out: signed requests to one
//! address.
//!
//! A request is a POST of JSON with `idempotency-key` (the action's key),
//! `x-midwatch-timestamp` (epoch seconds) and `x-midwatch-signature`:
//! `sha256=` and the HMAC-SHA256, in hexadecimal digits, of the timestamp, a
//! dot and the body. The receiver checks the signature, refuses old timestamps
//! and does nothing twice under one key. Whether it did something when no
//! answer came cannot be seen from here: such an action ends as unknown.

use super::hand::{Acted, Acting, Hand, Prepared, Seen, Stop, argument};
use super::silence::Alertmanager;
use crate::execution::Execution;
use async_trait::async_trait;
use midwatch_clients::signature;
use midwatch_events::action::ActionKind;
use midwatch_runtime::clock;
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Shorter ones can be guessed.
const SECRET_BYTES: usize = 16;
/// Bytes of an answer that are read; a busy Alertmanager's list fits.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// A request of a process that died may still arrive for so long.
const IN_FLIGHT_MS: i64 = 4_000;

/// A client for requests that must not wander: no redirects, bounded waits.
///
/// # Errors
/// TLS cannot be set up.
pub fn client() -> anyhow::Result<Client> {
    Ok(Client::builder()
        .connect_timeout(CONNECT_LIMIT)
        .timeout(ANSWER_LIMIT)
        .redirect(reqwest::redirect::Policy::none())
        .build()?)
}

/// An address that may be spoken to: over TLS, or on this machine.
///
/// # Errors
/// It is no address, or a plain one elsewhere.
pub fn address(url: &str) -> anyhow::Result<Url> {
    let url = Url::parse(url)?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_here = host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    anyhow::ensure!(
        url.scheme() == "https" || (url.scheme() == "http" && is_here),
        "use https, or http on this machine"
    );
    Ok(url)
}

/// What an answer means for whoever must not do a thing twice.
pub enum Answer {
    /// Taken, with what was said.
    Taken(String),
    /// Nothing was done: not reached, or told to come later.
    Later(Option<Duration>, String),
    /// Nothing was done, and never will be.
    No(String),
    /// It may have been done.
    Lost(String),
}

/// Judges an answer.
pub async fn judge(answer: Result<Response, reqwest::Error>) -> Answer {
    let response = match answer {
        Ok(response) => response,
        // Its text names the address; a query there may hold a secret.
        Err(error) if error.is_connect() => return Answer::Later(None, plain(error)),
        Err(error) => return Answer::Lost(plain(error)),
    };
    let status = response.status();
    let pause = response
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
        .map(|seconds| Duration::from_secs(seconds).min(LONGEST_PAUSE));
    let body = body(response).await;
    let text = format!("{status}: {body}");
    match status {
        _ if status.is_success() => Answer::Taken(body),
        StatusCode::TOO_MANY_REQUESTS => Answer::Later(pause, text),
        // With a time to come back it says that it did not take the request.
        StatusCode::SERVICE_UNAVAILABLE if pause.is_some() => Answer::Later(pause, text),
        _ if status.is_server_error() => Answer::Lost(text),
        _ => Answer::No(text),
    }
}

fn plain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut next = std::error::Error::source(&error);
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

async fn body(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_BYTES
        && let Ok(Some(part)) = response.chunk().await
    {
        bytes.extend_from_slice(&part[..part.len().min(ANSWER_BYTES - bytes.len())]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The one address that actions are sent to.
pub struct Webhook {
    client: Client,
    url: Url,
    secret: String,
}

impl fmt::Display for Webhook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.url.origin().ascii_serialization())
    }
}

impl Webhook {
    /// Sends to `url`, signed with `secret`.
    ///
    /// # Errors
    /// A plain address elsewhere, or a secret below 16 bytes.
    pub fn new(url: &str, secret: &str) -> anyhow::Result<Webhook> {
        anyhow::ensure!(
            secret.len() >= SECRET_BYTES,
            "the secret must have at least {SECRET_BYTES} bytes"
        );
        Ok(Webhook {
            client: client()?,
            url: address(url)?,
            secret: secret.to_owned(),
        })
    }

    fn body(execution: &Execution) -> Value {
        json!({
            "key": execution.key,
            "incident_id": execution.incident_id,
            "environment": execution.environment,
            "plan_id": execution.plan_id,
            "step_id": execution.step_id,
            "is_undo": execution.is_undo,
            "action": execution.action,
        })
    }

    async fn send(&self, execution: &Execution) -> Acted {
        let body = Self::body(execution).to_string();
        let mut last = String::new();
        for attempt in 1..=TRIES {
            let at = (clock::now_ms() / 1_000).to_string();
            let answer = self
                .client
                .post(self.url.clone())
                .header("content-type", "application/json")
                .header("idempotency-key", &execution.key)
                .header("x-midwatch-timestamp", &at)
                .header("x-midwatch-signature", signed(&self.secret, &at, &body))
                .body(body.clone())
                .send()
                .await;
            let (pause, reason) = match judge(answer).await {
                Answer::Taken(text) => return Acted::done(text),
                Answer::No(reason) => return Acted::Refused(reason),
                Answer::Lost(reason) => return Acted::Unclear(reason),
                Answer::Later(pause, reason) => (pause, reason),
            };
            last = reason;
            if attempt < TRIES {
                tokio::time::sleep(pause.unwrap_or(PAUSE * attempt)).await;
            }
        }
        Acted::Refused(last)
    }
}

/// The signature of a body at a time.
#[must_use]
pub fn signed(secret: &str, at: &str, body: &str) -> String {
    let digits = signature::of(secret, at, body.as_bytes());
    format!("sha256={digits}")
}

/// Silences go to Alertmanager, everything else to the webhook of its name.
#[derive(Default)]
pub struct WebhookHand {
    /// For names without an address of their own.
    pub webhook: Option<Webhook>,
    /// By name; none has no address of its own.
    pub hooks: BTreeMap<String, Option<Webhook>>,
    pub alertmanager: Option<Alertmanager>,
}

impl WebhookHand {
    fn webhook(&self, execution: &Execution) -> Result<&Webhook, String> {
        if execution.action.kind == ActionKind::CallWebhook {
            let name = argument(execution, "hook")?;
            let own = self.hooks.get(name).ok_or_else(|| {
                format!("{name} is not under hooks of REMEDIATION_ALLOWED_FILE; add it there")
            })?;
            if let Some(own) = own {
                return Ok(own);
            }
        }
        self.webhook.as_ref().ok_or_else(|| {
            "no webhook is set: give the hook a url, or set REMEDIATION_WEBHOOK_URL".to_owned()
        })
    }

    fn alertmanager(&self) -> Result<&Alertmanager, String> {
        self.alertmanager
            .as_ref()
            .ok_or_else(|| "no Alertmanager is set: REMEDIATION_ALERTMANAGER_URL".to_owned())
    }
}

#[async_trait]
impl Hand for WebhookHand {
    async fn check(&self, execution: &Execution) -> Result<Prepared, Stop> {
        if execution.action.kind == ActionKind::SilenceAlert {
            return self
                .alertmanager()
                .map_err(Stop::No)?
                .check(execution)
                .await;
        }
        let webhook = self.webhook(execution).map_err(Stop::No)?;
        Ok(Prepared {
            description: format!("POST {webhook} with {}", Webhook::body(execution)),
            observed: Value::Null,
        })
    }

    async fn act(&self, execution: &Execution, _prepared: &Prepared) -> Acted {
        if execution.action.kind == ActionKind::SilenceAlert {
            return match self.alertmanager() {
                Ok(alertmanager) => alertmanager.act(execution).await,
                Err(reason) => Acted::Refused(reason),
            };
        }
        match self.webhook(execution) {
            Ok(webhook) => webhook.send(execution).await,
            Err(reason) => Acted::Refused(reason),
        }
    }

    async fn look(&self, execution: &Execution, acting: &Acting) -> Seen {
        if execution.action.kind == ActionKind::SilenceAlert {
            let seen = match self.alertmanager() {
                Ok(alertmanager) => alertmanager.look(&execution.key).await,
                Err(reason) => Seen::CannotTell(reason),
            };
            let is_young = clock::now_ms() - acting.at_ms < IN_FLIGHT_MS;
            return match seen {
                Seen::NotDone if is_young => Seen::Away("it may still be on its way".to_owned()),
                seen => seen,
            };
        }
        Seen::CannotTell("a webhook's receiver is not asked what it did".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_what_another_program_computes() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let expected = "9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23";
        let made = signed("0123456789abcdef", "1700000000", "{\"a\":1}");
        assert_eq!(made, format!("sha256={expected}"));
    }

    #[test]
    fn plain_addresses_elsewhere_and_short_secrets_are_refused() {
        let secret = "0123456789abcdef";
        for url in [
            "https://hooks.example/x",
            "http://127.0.0.1:9/x",
            "http://[::1]:9/x",
        ] {
            assert!(Webhook::new(url, secret).is_ok(), "{url}");
        }
        for url in [
            "http://hooks.example/x",
            "http://127.0.0.1.example/x",
            "ftp://localhost/",
            "x",
        ] {
            assert!(Webhook::new(url, secret).is_err(), "{url}");
        }
        assert!(Webhook::new("https://hooks.example/x", "short").is_err());
    }
}
