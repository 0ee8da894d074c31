//! What operators ask of the agents: `POST /api/incidents/{id}/commands`,
//! `POST /api/incidents`, `POST /api/maintenance`, and the forms of the incident
//! page. One-time links and the doors of other products ([`crate::doors`])
//! publish through this, too.
//!
//! A command is checked against what the incident is now, published on
//! `operator.commands` under the incident's id, and answered once the broker
//! has acknowledged it. Whether it was obeyed is for the agent to say, in the
//! audit trail.

mod check;
pub mod declare;
mod request;
pub mod resend;

pub use check::offered;
pub use request::{Maintenance, Request, StatedRequest};

use crate::App;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::known::Known;
use crate::operators::{Operator, unreadable};
use crate::origin::Asker;
use crate::params::find_incident;
use crate::plan;
use axum::Json;
use axum::extract::rejection::{FormRejection, JsonRejection};
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use check::{allowed, bad, other, part, until, version};
use midwatch_clients::error::Gravity;
use midwatch_clients::postgres::read::IncidentRow;
use midwatch_events::decode::SCHEMA_VERSION;
use midwatch_events::response::CommandDetails;
use midwatch_events::{Envelope, Event, Meta, OperatorCommand};
use midwatch_runtime::clock;
pub(crate) use request::words;
use request::{channel, named, said};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What may be asked about an incident.
pub const COMMANDS: [&str; 10] = [
    "acknowledge",
    "snooze",
    "merge",
    "split",
    "reopen",
    "close",
    "approve",
    "reject",
    "review",
    "publish",
];
/// A command that comes later is not obeyed, wall clock.
const EXPIRY_MS: i64 = 5 * 60_000;
/// Characters of a reason that are kept.
const REASON: usize = 1_000;

/// Where a command comes from.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// `api`, `cli`, `page`, `link`, `slack`, `pagerduty`, `telegram`.
    pub channel: &'static str,
    /// The client's network address; empty where none is known.
    pub address: &'a str,
}

impl Way<'_> {
    pub(crate) fn details(self) -> CommandDetails {
        CommandDetails {
            channel: self.channel.to_owned(),
            origin: self.address.to_owned(),
            ..CommandDetails::default()
        }
    }
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
    caller: Caller,
    headers: HeaderMap,
    body: Result<Json<Request>, JsonRejection>,
) -> Result<(StatusCode, Json<Published>), ApiError> {
    app.origins.check(&headers, Asker::Program)?;
    let operator = app.operators.of_program(&caller, &headers)?;
    let Json(request) = body.map_err(|error| unreadable(&error.body_text()))?;
    let way = Way {
        channel: channel(request.channel.as_deref())?,
        address: &caller.address,
    };
    let published = command(&app, &id, (&operator, way), request).await?;
    Ok((StatusCode::ACCEPTED, Json(published)))
}

/// `POST /api/maintenance`.
pub async fn maintenance(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Result<Json<Maintenance>, JsonRejection>,
) -> Result<(StatusCode, Json<Published>), ApiError> {
    app.origins.check(&headers, Asker::Program)?;
    let operator = app.operators.of_program(&caller, &headers)?;
    let Json(request) = body.map_err(|error| unreadable(&error.body_text()))?;
    let way = Way {
        channel: "api",
        address: &caller.address,
    };
    let published = maintain(&app, (&operator, way), request).await?;
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
    /// Of the postmortem that the page shows.
    version: String,
    /// Of the forms of the plan.
    step: String,
    plan_hash: String,
}

/// `POST /incidents/{id}/commands`: the buttons of the page.
pub async fn press(
    State(app): State<App>,
    Path(id): Path<String>,
    caller: Caller,
    headers: HeaderMap,
    body: Result<Form<Pressed>, FormRejection>,
) -> Result<Response, ApiError> {
    app.origins.check(&headers, Asker::Page)?;
    let operator = signed_in(&app, &caller, &headers)?;
    let Form(pressed) = body.map_err(|error| unreadable(&error.body_text()))?;
    let row = find_incident(&app.pool, &id).await?;
    let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let minutes = |text: &str| text.trim().parse::<i64>().ok();
    let way = Way {
        channel: "page",
        address: &caller.address,
    };
    let published = if pressed.command == "maintain" {
        let request = Maintenance {
            environment: row.environment.clone(),
            service: pressed.service,
            reason: some(&pressed.reason),
            minutes: minutes(&pressed.maintain_minutes),
            until_ms: None,
        };
        maintain(&app, (&operator, way), request).await?
    } else {
        let request = Request {
            target: match pressed.command.as_str() {
                "merge" => some(&pressed.merge),
                "split" => some(&pressed.split),
                "approve" | "reject" => some(&pressed.step),
                "review" | "publish" => some(&pressed.version),
                _ => None,
            },
            plan_hash: some(&pressed.plan_hash),
            minutes: minutes(&pressed.snooze_minutes).filter(|_| pressed.command == "snooze"),
            command: pressed.command,
            reason: some(&pressed.reason),
            ..Request::default()
        };
        command(&app, &id, (&operator, way), request).await?
    };
    let name = &published.command.command;
    let place = format!(
        "/incidents/{}?asked={name}.{}.{}#{}",
        row.id,
        published.partition,
        published.offset,
        if is_decision(name) { "plan" } else { "operate" }
    );
    Ok(Redirect::to(&place).into_response())
}

/// Who pressed a button of a page.
fn signed_in(app: &App, caller: &Caller, headers: &HeaderMap) -> Result<Operator, ApiError> {
    let operator = app.operators.of_page(caller, headers)?;
    operator.ok_or_else(|| ApiError {
        status: StatusCode::UNAUTHORIZED,
        code: "not_an_operator",
        message: "nobody is signed in here, or the session has ended".to_owned(),
        hint: "go back to the incident and sign in with your token".to_owned(),
    })
}

/// Whether a command is about a step of a plan.
fn is_decision(command: &str) -> bool {
    matches!(command, "approve" | "reject")
}

/// Checks a command about an incident and publishes it.
///
/// # Errors
/// It does not fit what the incident is now, or the broker is away.
pub async fn command(
    app: &App,
    id: &str,
    by: (&Operator, Way<'_>),
    request: Request,
) -> Result<Published, ApiError> {
    command_as(app, clock::random_id(), id, by, request).await
}

/// The same under an id of the caller's.
///
/// # Errors
/// As [`command`].
pub async fn command_as(
    app: &App,
    event_id: Uuid,
    id: &str,
    by: (&Operator, Way<'_>),
    request: Request,
) -> Result<Published, ApiError> {
    let row = find_incident(&app.pool, id).await?;
    let command = checked(app, row, by, request).await?;
    publish(app, event_id, command).await
}

async fn checked(
    app: &App,
    row: IncidentRow,
    (operator, way): (&Operator, Way<'_>),
    request: Request,
) -> Result<OperatorCommand, ApiError> {
    let now_ms = clock::now_ms();
    let target = request.target.as_deref().unwrap_or_default().trim();
    let mut details = way.details();
    if is_decision(&request.command) {
        details.plan_hash = decision(&row, target, request.plan_hash.as_deref())?;
    } else {
        allowed(&row, &request.command)?;
        if request.plan_hash.is_some() {
            return Err(bad(
                "plan_hash",
                "only approve and reject have one; leave it out",
            ));
        }
    }
    let takes_time = request.command == "snooze";
    if !takes_time && (request.minutes.is_some() || request.until_ms.is_some()) {
        return Err(bad("minutes", "only a snooze has an end; leave it out"));
    }
    if let Some(stated) = request.stated {
        if request.command != "close" {
            return Err(bad("stated", "only close takes it; leave it out"));
        }
        details.stated = Some(Box::new(said(stated, &operator.name)?));
    }
    let target = match request.command.as_str() {
        "merge" => other(app, &row, target).await?,
        "split" => part(&row, target)?,
        "approve" | "reject" => target.to_owned(),
        "review" | "publish" => version(target)?,
        _ if target.is_empty() => String::new(),
        _ => {
            let hint =
                "only merge, split, approve, reject, review and publish have one; leave it out";
            return Err(bad("target", hint));
        }
    };
    let until_ms = if takes_time {
        Some(until(now_ms, request.minutes, request.until_ms)?)
    } else {
        None
    };
    Ok(OperatorCommand {
        incident_id: row.id,
        command: request.command,
        target,
        environment: Some(row.environment),
        until_ms,
        details,
        ..issued(operator, request.reason.as_deref(), now_ms)
    })
}

/// The hash that a decision is bound to, where the decision fits.
fn decision(row: &IncidentRow, step: &str, hash: Option<&str>) -> Result<String, ApiError> {
    let hash = hash.map(str::trim).unwrap_or_default();
    if step.is_empty() {
        return Err(bad("target", "name the step, such as S1"));
    }
    if hash.is_empty() {
        let hint = "send the plan_hash of the plan that you saw: GET /api/incidents/{id}/plan";
        return Err(bad("plan_hash", hint));
    }
    let known = Known::read(row);
    plan::decidable(row, known.plan.as_ref(), step, hash)?;
    Ok(hash.to_owned())
}

async fn maintain(
    app: &App,
    (operator, way): (&Operator, Way<'_>),
    request: Maintenance,
) -> Result<Published, ApiError> {
    let now_ms = clock::now_ms();
    let command = OperatorCommand {
        incident_id: Uuid::nil(),
        command: "maintain".to_owned(),
        target: named("service", &request.service)?,
        environment: Some(named("environment", &request.environment)?),
        until_ms: Some(until(now_ms, request.minutes, request.until_ms)?),
        details: way.details(),
        ..issued(operator, request.reason.as_deref(), now_ms)
    };
    publish(app, clock::random_id(), command).await
}

/// What all commands of an operator have.
#[must_use]
pub fn issued(operator: &Operator, reason: Option<&str>, now_ms: i64) -> OperatorCommand {
    OperatorCommand {
        incident_id: Uuid::nil(),
        command: String::new(),
        target: String::new(),
        by: operator.name.clone(),
        credential_id: operator.credential_id.clone(),
        reason: words(reason.unwrap_or_default(), REASON),
        issued_at_ms: now_ms,
        expires_at_ms: now_ms + EXPIRY_MS,
        environment: None,
        until_ms: None,
        details: CommandDetails::default(),
    }
}

/// Publishes a command under an id and waits for the acknowledgement.
///
/// # Errors
/// 409 where the broker refuses it, 503 where no acknowledgement comes.
pub async fn publish(
    app: &App,
    event_id: Uuid,
    command: OperatorCommand,
) -> Result<Published, ApiError> {
    let envelope = Envelope {
        meta: Meta {
            event_id,
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
        .chain(["declare", resend::RESEND])
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
