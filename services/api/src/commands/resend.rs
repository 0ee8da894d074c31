//! `POST /api/notifications/resend`, and the button of the page: what finally
//! failed to reach people is to be sent again.
//!
//! The communication agent does it, to those alone who have not got it, and
//! says in the audit trail what came of it.

use super::{Published, Way, channel, issued, publish};
use crate::App;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::operators::{Operator, unreadable};
use crate::origin::Asker;
use crate::params::find_incident;
use axum::Json;
use axum::extract::rejection::{FormRejection, JsonRejection};
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use midwatch_clients::postgres::read::{self, Email, EmailFilter, Medium};
use midwatch_events::OperatorCommand;
use midwatch_runtime::clock;
use serde::{Deserialize, Serialize};

/// The command.
pub const RESEND: &str = "resend";
/// Messages of one request: with an edit of each channel's board for each thing
/// that happens, more than an incident has.
const MESSAGES: i64 = 500;
/// Characters of a Message-ID.
const MESSAGE_ID: usize = 200;

/// What to send again: one message, or all that failed of an incident.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// `GET /api/emails` and the incident's `mails` and `messages` tell it.
    pub message_id: Option<String>,
    /// UUID or short id.
    pub incident: Option<String>,
    pub reason: Option<String>,
    /// `cli` where the command line asks; `api` otherwise.
    pub channel: Option<String>,
}

/// A command for each message.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    pub items: Vec<Published>,
}

/// `POST /api/notifications/resend`.
pub async fn post(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Result<Json<Request>, JsonRejection>,
) -> Result<(StatusCode, Json<Answer>), ApiError> {
    app.origins.check(&headers, Asker::Program)?;
    let operator = app.operators.of_program(&caller, &headers)?;
    let Json(request) = body.map_err(|error| unreadable(&error.body_text()))?;
    let way = Way {
        channel: channel(request.channel.as_deref())?,
        address: &caller.address,
    };
    let failed = wanted(&app, &request).await?;
    let mut items = Vec::new();
    for mail in &failed {
        let reason = request.reason.as_deref();
        items.push(resend(&app, mail, (&operator, way), reason).await?);
    }
    Ok((StatusCode::ACCEPTED, Json(Answer { items })))
}

/// The fields of the button.
#[derive(Clone, Debug, Deserialize)]
pub struct Pressed {
    message_id: String,
}

/// `POST /notifications/resend`: the button of the page.
pub async fn press(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Result<Form<Pressed>, FormRejection>,
) -> Result<Response, ApiError> {
    app.origins.check(&headers, Asker::Page)?;
    let operator = super::signed_in(&app, &caller, &headers)?;
    let Form(pressed) = body.map_err(|error| unreadable(&error.body_text()))?;
    let way = Way {
        channel: "page",
        address: &caller.address,
    };
    let mail = one(&app, &pressed.message_id).await?;
    let published = resend(&app, &mail, (&operator, way), None).await?;
    let place = format!(
        "/incidents/{}?asked={RESEND}.{}.{}#operate",
        mail.incident_id, published.partition, published.offset
    );
    Ok(Redirect::to(&place).into_response())
}

/// The messages that a request means; each has failed.
async fn wanted(app: &App, request: &Request) -> Result<Vec<Email>, ApiError> {
    let given = |text: &Option<String>| {
        let text = text.as_deref().unwrap_or_default().trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    match (given(&request.message_id), given(&request.incident)) {
        (Some(id), None) => Ok(vec![one(app, &id).await?]),
        (None, Some(incident)) => {
            let row = find_incident(&app.pool, &incident).await?;
            let filter = EmailFilter {
                incident: Some(row.id),
                status: Some("FAILED".to_owned()),
                medium: Medium::Any,
                ..EmailFilter::default()
            };
            let mut failed = read::emails(&app.pool, &filter, MESSAGES).await?;
            // As they were to come.
            failed.reverse();
            if failed.is_empty() {
                return Err(nothing_failed(&format!("of {}", row.short_id)));
            }
            Ok(failed)
        }
        (Some(_), Some(_)) | (None, None) => {
            let hint = "give either message_id or incident";
            Err(super::check::bad("message_id", hint))
        }
    }
}

async fn one(app: &App, id: &str) -> Result<Email, ApiError> {
    let id = id.trim();
    let absent = || {
        let shown: String = id.chars().take(80).collect();
        ApiError::not_found(
            format!("there is no message {shown:?}"),
            "GET /api/emails?status=FAILED and the incident's messages tell the message_id",
        )
    };
    if id.is_empty() || id.len() > MESSAGE_ID {
        return Err(absent());
    }
    let filter = EmailFilter {
        medium: Medium::Any,
        message_id: Some(id.to_owned()),
        ..EmailFilter::default()
    };
    let found = read::emails(&app.pool, &filter, 1).await?.pop();
    let mail = found.ok_or_else(absent)?;
    if mail.status == "FAILED" {
        Ok(mail)
    } else {
        Err(nothing_failed(&format!("of {id:?}: it is {}", mail.status)))
    }
}

fn nothing_failed(of: &str) -> ApiError {
    ApiError {
        status: StatusCode::CONFLICT,
        code: "nothing_failed",
        message: format!("nothing failed {of}"),
        hint: "only what finally failed is sent again; what is PENDING is still being tried"
            .to_owned(),
    }
}

async fn resend(
    app: &App,
    mail: &Email,
    (operator, way): (&Operator, Way<'_>),
    reason: Option<&str>,
) -> Result<Published, ApiError> {
    // A digest is about several incidents, and has none of its own.
    let incident = match find_incident(&app.pool, &mail.incident_id.to_string()).await {
        Ok(row) => Some(row),
        Err(error) if error.status == StatusCode::NOT_FOUND => None,
        Err(error) => return Err(error),
    };
    let command = OperatorCommand {
        incident_id: mail.incident_id,
        command: RESEND.to_owned(),
        target: mail.message_id.clone(),
        environment: incident.map(|row| row.environment),
        details: way.details(),
        ..issued(operator, reason, clock::now_ms())
    };
    publish(app, clock::random_id(), command).await
}
