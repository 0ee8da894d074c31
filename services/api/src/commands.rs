//! What operators ask of the agents: `POST /api/incidents/{id}/commands`,
//! `POST /api/maintenance`, and the form of the incident page.
//!
//! A command is checked against what the incident is now, published on
//! `operator.commands` under the incident's id, and answered once the broker
//! has acknowledged it. Whether it was obeyed is for the agent to say, in the
//! audit trail.

mod check;

pub use check::offered;

use crate::App;
use crate::error::ApiError;
use crate::operators::{Operator, unreadable};
use crate::origin::Asker;
use crate::params::find_incident;
use axum::Json;
use axum::extract::rejection::{FormRejection, JsonRejection};
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use check::{allowed, bad, other, part, until};
use midwatch_clients::error::Gravity;
use midwatch_events::decode::SCHEMA_VERSION;
use midwatch_events::{Envelope, Event, Meta, OperatorCommand};
use midwatch_runtime::clock;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What may be asked about an incident.
pub const COMMANDS: [&str; 6] = ["acknowledge", "snooze", "merge", "split", "reopen", "close"];
/// A command that comes later is not obeyed, wall clock.
const EXPIRY_MS: i64 = 5 * 60_000;
/// Characters of a reason that are kept.
const REASON: usize = 1_000;
/// Bytes of an environment's or service's name, as the events take them.
const NAME: usize = midwatch_events::decode::NAME_MAX_BYTES;

/// A command about an incident.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub command: String,
    /// `merge`: the incident that goes into this one. `split`: a service, or
    /// anomaly ids separated by commas.
    pub target: Option<String>,
    pub reason: Option<String>,
    /// How long a snooze lasts; either this or `until_ms`.
    pub minutes: Option<i64>,
    /// Wall clock, epoch milliseconds.
    pub until_ms: Option<i64>,
}

/// A maintenance window.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    pub environment: String,
    /// A service, or `*` for all of the environment.
    pub service: String,
    pub reason: Option<String>,
    /// How long it lasts from now on; either this or `until_ms`.
    pub minutes: Option<i64>,
    pub until_ms: Option<i64>,
}

/// A command that the broker has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Published {
    pub event_id: Uuid,
    #[serde(flatten)]
    pub command: OperatorCommand,
    /// Where it lies on `operator.commands`.
    pub partition: i32,
    pub offset: i64,
}

/// `POST /api/incidents/{id}/commands`.
pub async fn post(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Json<Request>, JsonRejection>,
) -> Result<(StatusCode, Json<Published>), ApiError> {
    app.origins.check(&headers, Asker::Program)?;
    let operator = app.operators.of_program(&headers)?;
    let Json(request) = body.map_err(|error| unreadable(&error.body_text()))?;
    let published = command(&app, &id, &operator, request).await?;
    Ok((StatusCode::ACCEPTED, Json(published)))
}

/// `POST /api/maintenance`.
pub async fn maintenance(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Json<Maintenance>, JsonRejection>,
) -> Result<(StatusCode, Json<Published>), ApiError> {
    app.origins.check(&headers, Asker::Program)?;
    let operator = app.operators.of_program(&headers)?;
    let Json(request) = body.map_err(|error| unreadable(&error.body_text()))?;
    let published = maintain(&app, &operator, request).await?;
    Ok((StatusCode::ACCEPTED, Json(published)))
}

/// The fields of the page's form. All commands share it; which button was
/// pressed says which fields count.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pressed {
    command: String,
    reason: String,
    snooze_minutes: String,
    merge: String,
    split: String,
    service: String,
    maintain_minutes: String,
}

/// `POST /incidents/{id}/commands`: the buttons of the page.
pub async fn press(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Form<Pressed>, FormRejection>,
) -> Result<Response, ApiError> {
    app.origins.check(&headers, Asker::Page)?;
    let operator = app.operators.of_page(&headers)?.ok_or_else(|| ApiError {
        status: StatusCode::UNAUTHORIZED,
        code: "not_an_operator",
        message: "nobody is signed in here, or the session has ended".to_owned(),
        hint: "go back to the incident and sign in with your token".to_owned(),
    })?;
    let Form(pressed) = body.map_err(|error| unreadable(&error.body_text()))?;
    let row = find_incident(&app.pool, &id).await?;
    let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let minutes = |text: &str| text.trim().parse::<i64>().ok();
    let published = if pressed.command == "maintain" {
        let request = Maintenance {
            environment: row.environment.clone(),
            service: pressed.service,
            reason: some(&pressed.reason),
            minutes: minutes(&pressed.maintain_minutes),
            until_ms: None,
        };
        maintain(&app, &operator, request).await?
    } else {
        let request = Request {
            target: match pressed.command.as_str() {
                "merge" => some(&pressed.merge),
                "split" => some(&pressed.split),
                _ => None,
            },
            minutes: minutes(&pressed.snooze_minutes).filter(|_| pressed.command == "snooze"),
            command: pressed.command,
            reason: some(&pressed.reason),
            until_ms: None,
        };
        command(&app, &id, &operator, request).await?
    };
    let place = format!(
        "/incidents/{}?asked={}.{}.{}#operate",
        row.id, published.command.command, published.partition, published.offset
    );
    Ok(Redirect::to(&place).into_response())
}

async fn command(
    app: &App,
    id: &str,
    operator: &Operator,
    request: Request,
) -> Result<Published, ApiError> {
    let row = find_incident(&app.pool, id).await?;
    let now_ms = clock::now_ms();
    let target = request.target.as_deref().unwrap_or_default().trim();
    allowed(&row, &request.command)?;
    let takes_time = request.command == "snooze";
    if !takes_time && (request.minutes.is_some() || request.until_ms.is_some()) {
        return Err(bad("minutes", "only a snooze has an end; leave it out"));
    }
    let target = match request.command.as_str() {
        "merge" => other(app, &row, target).await?,
        "split" => part(&row, target)?,
        _ if target.is_empty() => String::new(),
        _ => return Err(bad("target", "only merge and split have one; leave it out")),
    };
    let until_ms = if takes_time {
        Some(until(now_ms, request.minutes, request.until_ms)?)
    } else {
        None
    };
    let command = OperatorCommand {
        incident_id: row.id,
        command: request.command,
        target,
        environment: Some(row.environment),
        until_ms,
        ..issued(operator, request.reason.as_deref(), now_ms)
    };
    publish(app, command).await
}

async fn maintain(
    app: &App,
    operator: &Operator,
    request: Maintenance,
) -> Result<Published, ApiError> {
    let named = |field: &str, name: &str| {
        let name = name.trim();
        if name.is_empty() || name.len() > NAME || name.contains(char::is_control) {
            let hint = format!("a name of 1 to {NAME} bytes; a service may be * for all");
            return Err(ApiError::parameter(
                field,
                name.get(..40).unwrap_or(name),
                hint,
            ));
        }
        Ok(name.to_owned())
    };
    let now_ms = clock::now_ms();
    let command = OperatorCommand {
        incident_id: Uuid::nil(),
        command: "maintain".to_owned(),
        target: named("service", &request.service)?,
        environment: Some(named("environment", &request.environment)?),
        until_ms: Some(until(now_ms, request.minutes, request.until_ms)?),
        ..issued(operator, request.reason.as_deref(), now_ms)
    };
    publish(app, command).await
}

/// What all commands of an operator have.
fn issued(operator: &Operator, reason: Option<&str>, now_ms: i64) -> OperatorCommand {
    let reason = reason.unwrap_or_default().chars();
    OperatorCommand {
        incident_id: Uuid::nil(),
        command: String::new(),
        target: String::new(),
        by: operator.name.clone(),
        credential_id: operator.credential_id.clone(),
        reason: reason
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .take(REASON)
            .collect(),
        issued_at_ms: now_ms,
        expires_at_ms: now_ms + EXPIRY_MS,
        environment: None,
        until_ms: None,
        details: midwatch_events::response::CommandDetails::default(),
    }
}

/// Publishes a command and waits for the acknowledgement.
async fn publish(app: &App, command: OperatorCommand) -> Result<Published, ApiError> {
    let envelope = Envelope {
        meta: Meta {
            event_id: clock::random_id(),
            cause_id: None,
            schema_version: SCHEMA_VERSION,
            event_time_ms: command.issued_at_ms,
            producer: "midwatch.api".to_owned(),
        },
        event: Event::Command(command.clone()),
    };
    let sent = match app.sender() {
        Ok(producer) => producer.publish(&envelope).await,
        Err(error) => Err(error),
    };
    let outcome = if sent.is_ok() { "published" } else { "failed" };
    let name = COMMANDS
        .into_iter()
        .find(|known| *known == command.command)
        .unwrap_or("maintain");
    metrics::counter!("midwatch_api_commands_total", "command" => name, "outcome" => outcome)
        .increment(1);
    let (partition, offset) = sent.map_err(|error| {
        tracing::warn!(%error, command = name, by = command.by, "a command was not acknowledged");
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
            message: format!("the command was not acknowledged: {error}"),
            hint: "look at the incident's timeline before asking again; see that the broker runs"
                .to_owned(),
        }
    })?;
    tracing::info!(
        command = name,
        by = command.by,
        credential = command.credential_id,
        incident = %command.incident_id,
        partition,
        offset,
        "an operator's command was published"
    );
    Ok(Published {
        event_id: envelope.meta.event_id,
        command,
        partition,
        offset,
    })
}
