//! Silences of Alertmanager. A silence carries the action's key in its comment,
//! so that anybody can see whether it was made.

use super::hand::{Acted, Done, Prepared, Seen, Stop, argument};
use super::webhook::{Answer, address, client, judge};
use crate::execution::Execution;
use midwatch_runtime::clock;
use reqwest::{Client, Url};
use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;

/// A longer silence hides the next incident.
const MOST_MINUTES: i64 = 24 * 60;
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);

/// An Alertmanager with its API of version 2.
pub struct Alertmanager {
    client: Client,
    base: Url,
}

impl fmt::Display for Alertmanager {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.base.origin().ascii_serialization())
    }
}

impl Alertmanager {
    /// Speaks to the Alertmanager at `base`.
    ///
    /// # Errors
    /// A plain address elsewhere.
    pub fn new(base: &str) -> anyhow::Result<Alertmanager> {
        Ok(Alertmanager {
            client: client()?,
            base: address(base)?,
        })
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let base = self.base.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/api/v2/{path}"));
        url
    }

    async fn list(&self, url: Url) -> Result<Vec<Value>, Seen> {
        match judge(self.client.get(url).send().await).await {
            Answer::Taken(text) => serde_json::from_str(&text).map_err(|error| {
                Seen::CannotTell(format!("Alertmanager answers no list: {error}"))
            }),
            Answer::No(reason) => Err(Seen::CannotTell(reason)),
            Answer::Later(_, reason) | Answer::Lost(reason) => Err(Seen::Away(reason)),
        }
    }

    fn silence(execution: &Execution) -> Result<Value, String> {
        let alert = argument(execution, "alertname")?;
        let text = argument(execution, "minutes")?;
        let minutes = text
            .parse()
            .ok()
            .filter(|minutes| (1..=MOST_MINUTES).contains(minutes));
        let minutes: i64 = minutes
            .ok_or_else(|| format!("minutes {text:?} is no number from 1 to {MOST_MINUTES}"))?;
        let now_ms = clock::now_ms();
        Ok(json!({
            "matchers": [{"name": "alertname", "value": alert, "isRegex": false, "isEqual": true}],
            "startsAt": clock::rfc3339(now_ms),
            "endsAt": clock::rfc3339(now_ms + minutes * 60_000),
            "createdBy": "midwatch",
            "comment": format!("incident {} {}", execution.incident_id, mark(&execution.key)),
        }))
    }

    /// Whether the alert is firing and not silenced.
    pub async fn check(&self, execution: &Execution) -> Result<Prepared, Stop> {
        let silence = Self::silence(execution).map_err(Stop::No)?;
        match self.look(&execution.key).await {
            Seen::Done(done) => return Err(Stop::Already(done)),
            Seen::NotDone => {}
            Seen::Away(reason) | Seen::CannotTell(reason) => return Err(Stop::No(reason)),
        }
        let alert = argument(execution, "alertname").map_err(Stop::No)?;
        if alert.contains(['"', '\\', '\n']) {
            return Err(Stop::No(format!(
                "alertname {alert:?} is no name of an alert"
            )));
        }
        let mut url = self.url("alerts");
        url.query_pairs_mut()
            .append_pair("active", "true")
            .append_pair("silenced", "false")
            .append_pair("filter", &format!("alertname=\"{alert}\""));
        match self.list(url).await {
            Ok(alerts) if alerts.is_empty() => Err(Stop::No(format!(
                "{alert} is not firing, or is silenced already"
            ))),
            Ok(_) => Ok(Prepared {
                description: format!("POST {} with {silence}", self.url("silences")),
                observed: Value::Null,
            }),
            Err(Seen::Away(reason) | Seen::CannotTell(reason)) => Err(Stop::No(reason)),
            Err(_) => Err(Stop::No("Alertmanager does not tell".to_owned())),
        }
    }

    /// Makes the silence.
    pub async fn act(&self, execution: &Execution) -> Acted {
        let silence = match Self::silence(execution) {
            Ok(silence) => silence,
            Err(reason) => return Acted::Refused(reason),
        };
        let mut last = String::new();
        for attempt in 1..=TRIES {
            let sent = self
                .client
                .post(self.url("silences"))
                .json(&silence)
                .send()
                .await;
            let (pause, reason) = match judge(sent).await {
                Answer::Taken(text) => return Acted::done(format!("silence {text}")),
                Answer::No(reason) => return Acted::Refused(reason),
                Answer::Lost(reason) => {
                    return match self.look(&execution.key).await {
                        Seen::Done(done) => Acted::Done { done, looked: true },
                        // It may still be on its way: a second one could be one too many.
                        _ => Acted::Unclear(reason),
                    };
                }
                Answer::Later(pause, reason) => (pause, reason),
            };
            last = reason;
            if attempt < TRIES {
                tokio::time::sleep(pause.unwrap_or(PAUSE * attempt)).await;
            }
        }
        Acted::Refused(last)
    }

    /// Whether a silence of this key was made, ended ones included.
    pub async fn look(&self, key: &str) -> Seen {
        let silences = match self.list(self.url("silences")).await {
            Ok(silences) => silences,
            Err(seen) => return seen,
        };
        let mark = mark(key);
        let made = silences.iter().find(|silence| {
            silence["comment"]
                .as_str()
                .is_some_and(|comment| comment.ends_with(&mark))
        });
        made.map_or(Seen::NotDone, |silence| {
            let id = silence["id"].as_str().unwrap_or_default();
            Seen::Done(Done {
                output: format!("silence {id}"),
                at_ms: None,
            })
        })
    }
}

fn mark(key: &str) -> String {
    format!("[midwatch action {key}]")
}
