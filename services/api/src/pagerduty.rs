//! `POST /pagerduty/webhook`: who acknowledges an alert in PagerDuty, on the
//! phone or by a call, has acknowledged the incident here.
//!
//! A request counts when one of its signatures fits (`v1`: HMAC-SHA256 over the
//! body; several stand there while secrets are rotated). The incident is the one
//! whose id communication sent as `dedup_key`. PagerDuty sends again what is
//! answered 429 or 5xx, for some twenty minutes, and drops what is answered
//! otherwise; after three dropped ones in a row it stops for a day. So what is
//! merely none of ours is answered 200.

use crate::App;
use crate::caller::Caller;
use crate::commands::{Way, words};
use crate::doors::{self, Secret, Taken};
use crate::error::ApiError;
use crate::operators::{Operator, unreadable};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use midwatch_clients::signature;
use midwatch_events::ids;
use midwatch_runtime::clock;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

/// Bytes of a request: PagerDuty sends none that is larger.
pub const BODY: usize = 256 * 1024;
/// How old an event may be: PagerDuty tries for twenty minutes, and keeps
/// others behind that one meanwhile. What comes later was kept by somebody
/// else, and the incident may have been opened again since.
const AGE_MS: u64 = 3_600_000;
/// Secrets at a time: each subscription of a service has its own.
const SECRETS: usize = 16;
/// Signatures of a request that are looked at.
const SIGNATURES: usize = 8;
/// Characters of a name: the command takes 256 bytes.
const NAME: usize = 60;

/// What PagerDuty and this server share.
#[derive(Debug)]
pub struct PagerDuty {
    secrets: Vec<Secret>,
}

impl PagerDuty {
    /// `text` has the secrets of the webhook subscriptions, one on each line.
    ///
    /// # Errors
    /// Says what is wrong with them.
    pub fn new(text: &[u8]) -> Result<PagerDuty, String> {
        let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let secrets: Vec<Secret> = lines
            .filter(|line| !line.is_empty())
            .map(Secret::new)
            .collect::<Result<_, _>>()?;
        if !(1..=SECRETS).contains(&secrets.len()) {
            return Err(format!("it holds 1 to {SECRETS} secrets, one on each line"));
        }
        Ok(PagerDuty { secrets })
    }

    /// The same with the secrets in a file.
    ///
    /// # Errors
    /// The file cannot be read, or holds no secrets.
    pub fn read(file: &Path) -> Result<PagerDuty, String> {
        let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
        PagerDuty::new(&bytes)
    }

    /// Whether PagerDuty signed this body.
    fn check(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let given = headers.get_all("x-pagerduty-signature").iter();
        let codes: Vec<&str> = given
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','))
            .filter_map(|one| one.trim().strip_prefix("v1="))
            .take(SIGNATURES)
            .collect();
        let secrets: Vec<&[u8]> = self.secrets.iter().map(Secret::bytes).collect();
        signature::fits(&secrets, &[body], &codes)
    }
}

#[derive(Deserialize)]
struct Envelope {
    event: Event,
}

/// What is read of an event; what `data` is depends on `event_type`.
#[derive(Deserialize)]
struct Event {
    id: String,
    event_type: String,
    #[serde(default)]
    occurred_at: String,
    agent: Option<Agent>,
    #[serde(default)]
    data: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Agent {
    id: String,
    summary: String,
    /// `user_reference`, or a kind of integration.
    #[serde(rename = "type")]
    kind: String,
}

impl Event {
    /// The incident, where the alert is one that communication triggered.
    fn incident(&self) -> Option<Uuid> {
        let key = &self.data["incident_key"];
        let key = key.as_str().or_else(|| self.data["key"].as_str())?;
        // After a snooze the incident has another alert, `id/1`, …
        let (key, alert) = key.split_once('/').unwrap_or((key, "0"));
        alert.parse::<u32>().ok()?;
        // PagerDuty's own keys are 32 digits, which could be read as an id.
        key.parse().ok().filter(|id: &Uuid| id.to_string() == key)
    }

    /// Whether a person did it. What integrations acknowledge was acknowledged
    /// or snoozed here before, and comes back.
    fn is_of_a_person(&self) -> bool {
        self.agent
            .as_ref()
            .is_some_and(|agent| agent.kind.is_empty() || agent.kind.starts_with("user"))
    }

    /// Who did it, as PagerDuty calls them.
    fn operator(&self) -> Operator {
        let (id, name) = self
            .agent
            .as_ref()
            .map_or(("", ""), |agent| (&agent.id, &agent.summary));
        let name = words(name, NAME);
        let id: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
        Operator {
            name: if name.is_empty() {
                "somebody".to_owned()
            } else {
                name
            },
            credential_id: format!("pagerduty:{}", id.get(..NAME).unwrap_or(&id)),
        }
    }

    /// When it happened, epoch milliseconds; none where that is too far away to
    /// be obeyed.
    fn at_ms(&self, now_ms: i64) -> Result<Option<i64>, ApiError> {
        let at = OffsetDateTime::parse(&self.occurred_at, &Rfc3339)
            .map_err(|_| unreadable("event.occurred_at is no time"))?;
        let at_ms = at.unix_timestamp() * 1_000 + i64::from(at.millisecond());
        Ok((now_ms.abs_diff(at_ms) <= AGE_MS).then_some(at_ms))
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("midwatch_api_pagerduty_total", "outcome" => outcome).increment(1);
}

/// `POST /pagerduty/webhook`.
pub async fn post(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let Some(pagerduty) = app.pagerduty.clone() else {
        return Err(ApiError::not_found(
            "PagerDuty's webhooks are not taken here",
            "set PAGERDUTY_WEBHOOK_SECRET_FILE to a file with the secret of the webhook subscription",
        ));
    };
    if !pagerduty.check(&headers, &body) {
        count("unsigned");
        return Err(doors::unproven(
            "not_from_pagerduty",
            "none of its signatures fits",
            "see that PAGERDUTY_WEBHOOK_SECRET_FILE holds the secret of this subscription",
        ));
    }
    let told = hear(&app, &caller, &body).await;
    match &told {
        Ok((outcome, _)) => count(outcome),
        Err(_) => count("refused"),
    }
    let (outcome, mut told) = told?;
    told["outcome"] = json!(outcome);
    Ok(Json(told))
}

/// What is done about a signed body, and how that ended.
async fn hear(app: &App, caller: &Caller, body: &[u8]) -> Result<(&'static str, Value), ApiError> {
    let Envelope { event } =
        serde_json::from_slice(body).map_err(|error| unreadable(&error.to_string()))?;
    let kind = event.event_type.as_str();
    let ignored = |why: &'static str| {
        tracing::debug!(
            kind = words(kind, NAME),
            why,
            "PagerDuty's event is ignored"
        );
        Ok(("ignored", json!({ "why": why })))
    };
    if kind != "incident.acknowledged" {
        return ignored("only incident.acknowledged counts");
    }
    if !event.is_of_a_person() {
        return ignored("no person acknowledged it");
    }
    let Some(incident) = event.incident() else {
        return ignored("its key is of no incident of Midwatch");
    };
    if event.id.is_empty() {
        return Err(unreadable("event.id is empty"));
    }
    let Some(at_ms) = event.at_ms(clock::now_ms())? else {
        return ignored("it happened more than an hour ago");
    };
    // The same for an event that is sent again.
    let id = incident.to_string();
    let event_id = ids::derive(&["pagerduty-event", &event.id, &id]);
    let way = Way {
        channel: "pagerduty",
        address: &caller.address,
    };
    let reason = format!("through PagerDuty at {}", clock::rfc3339(at_ms));
    let by = event.operator();
    let taken = match doors::acknowledge(app, event_id, &id, (&by, way), reason).await {
        Err(error) if error.code == "not_found" => {
            return ignored("there is no such incident here");
        }
        Err(error) if error.code == "wrong_state" => return ignored("the incident is over"),
        taken => taken?,
    };
    Ok(match taken {
        Taken::Asked(published) => (
            "published",
            json!({"event_id": published.event_id, "incident_id": incident,
                    "partition": published.partition, "offset": published.offset}),
        ),
        Taken::Already { by, .. } => (
            "already",
            json!({"incident_id": incident, "acknowledged_by": by}),
        ),
    })
}
