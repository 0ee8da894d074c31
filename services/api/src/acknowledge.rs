//! `GET /acknowledge?t=…` shows what a one-time link would do, and
//! `POST /acknowledge` takes the incident for its recipient, once.
//!
//! As with approvals ([`crate::approve`]) GET and HEAD change nothing. One
//! person is enough to take an incident, so a mailbox or a channel may, and is
//! recorded as that.

use crate::App;
use crate::caller::Caller;
use crate::commands::{self, Way};
use crate::error::ApiError;
use crate::known::Known;
use crate::links::{self, Asked};
use crate::operators::unreadable;
use crate::origin::Asker;
use crate::pages::Frame;
use crate::params::find_incident;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use midwatch_clients::postgres::approval_links::{self, Used};
use midwatch_clients::postgres::read::IncidentRow;
use midwatch_clients::signed_link::{self, TakeLink};
use midwatch_events::OperatorCommand;
use midwatch_runtime::clock;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Serialize)]
struct View {
    frame: Frame,
    id: Uuid,
    short_id: String,
    title: String,
    description: String,
    severity: String,
    environment: String,
    status: String,
    detected_ms: i64,
    recipient: String,
    /// Whether the recipient is a channel, which several people read.
    is_channel: bool,
    /// The operator with this address, where one is known.
    operator: Option<String>,
    snoozed_until_ms: Option<i64>,
    expires_ms: i64,
    /// The token, for the form; empty where there is nothing to press.
    token: String,
    /// Why it cannot be used, in words.
    obstacle: Option<ApiError>,
    /// When the link was used, wall clock.
    used_ms: Option<i64>,
    /// Where the command lies, where this very request published it.
    place: Option<(i32, i64)>,
}

/// Opens a token; what is wrong with it has a status of its own.
fn open(app: &App, token: &str) -> Result<TakeLink, ApiError> {
    let key = links::key(app)?;
    let link = signed_link::open_take(&key, token.trim(), clock::now_ms());
    link.map_err(|error| links::refused(&error))
}

/// `GET /acknowledge`.
pub async fn show(
    State(app): State<App>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, ApiError> {
    let asked = asked.map(|Query(asked)| asked);
    let token = asked.map_err(|error| unreadable(&error.body_text()))?.t;
    let link = open(&app, &token)?;
    let row = find_incident(&app.pool, &link.incident_id.to_string()).await?;
    let used = approval_links::used(&app.pool, &link.nonce).await?;
    let view = view(&app, row, &link, (&token, used));
    let status = match (&view.used_ms, &view.obstacle) {
        (Some(_), _) => StatusCode::GONE,
        (None, Some(obstacle)) => obstacle.status,
        (None, None) => StatusCode::OK,
    };
    let page = app.pages.answer("acknowledge.html", view)?;
    Ok((status, page).into_response())
}

/// The form of the page.
#[derive(Deserialize)]
pub struct Pressed {
    t: String,
    #[serde(default)]
    reason: String,
}

/// `POST /acknowledge`.
pub async fn press(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Result<Form<Pressed>, FormRejection>,
) -> Result<Response, ApiError> {
    app.origins.check(&headers, Asker::Page)?;
    let Form(pressed) = body.map_err(|error| unreadable(&error.body_text()))?;
    let link = open(&app, &pressed.t)?;
    let row = find_incident(&app.pool, &link.incident_id.to_string()).await?;
    let short_id = row.short_id.clone();
    let used = approval_links::used(&app.pool, &link.nonce).await?;
    if let Some(used) = used.filter(|one| one.is_published) {
        return Err(links::used_already(&short_id, &used));
    }
    let way = Way {
        channel: "link",
        address: &caller.address,
    };
    let command = command_of(&app, &row, &link, &pressed.reason, way);
    let mut view = view(&app, row, &link, ("", None));
    if let Some(obstacle) = view.obstacle {
        return Err(obstacle);
    }
    if let Some(used) = approval_links::take_incident(&app.resender, &link).await? {
        return Err(links::used_already(&short_id, &used));
    }
    let published = links::publish(&app, &link.nonce, command).await?;
    view.used_ms = Some(published.command.issued_at_ms);
    view.place = Some((published.partition, published.offset));
    let page = app.pages.answer("acknowledge.html", view)?;
    Ok((StatusCode::ACCEPTED, page).into_response())
}

/// The command that a link stands for: its recipient's.
fn command_of(
    app: &App,
    row: &IncidentRow,
    link: &TakeLink,
    reason: &str,
    way: Way<'_>,
) -> OperatorCommand {
    let by = links::operator(app, &link.recipient);
    let mut command = commands::issued(&by, Some(reason), clock::now_ms());
    command.incident_id = row.id;
    "acknowledge".clone_into(&mut command.command);
    command.environment = Some(row.environment.clone());
    command.details = way.details();
    command.details.nonce.clone_from(&link.nonce);
    command
}

fn view(app: &App, row: IncidentRow, link: &TakeLink, (token, used): (&str, Option<Used>)) -> View {
    let known = Known::read(&row);
    let obstacle = obstacle(&row, &known);
    let usable = obstacle.is_none() && used.is_none();
    let now_ms = clock::now_ms();
    View {
        frame: Frame::new(format!("Acknowledge {}", row.short_id)),
        id: row.id,
        title: known.title,
        description: known.description,
        operator: app.operators.name_of_mail(&link.recipient),
        is_channel: !link.recipient.contains('@'),
        recipient: link.recipient.clone(),
        snoozed_until_ms: known.snoozed_until_ms.filter(|until| *until > now_ms),
        expires_ms: link.expires_ms,
        token: if usable {
            token.to_owned()
        } else {
            String::new()
        },
        detected_ms: row.detected_at_ms,
        short_id: row.short_id,
        severity: row.severity,
        environment: row.environment,
        status: row.status,
        obstacle,
        used_ms: used.map(|used| used.taken_at_ms),
        place: None,
    }
}

/// Why nobody can take the incident any more.
fn obstacle(row: &IncidentRow, known: &Known) -> Option<ApiError> {
    let (code, message, hint) = if row.status == "RESOLVED" {
        let over = format!("{} is over", row.short_id);
        ("incident_over", over, "there is nothing to take any more")
    } else if let Some(by) = &known.acknowledged_by {
        let taken = format!("{by} has acknowledged it already");
        ("decided_already", taken, "escalation has stopped")
    } else {
        return None;
    };
    Some(ApiError {
        status: StatusCode::CONFLICT,
        code,
        message,
        hint: hint.to_owned(),
    })
}
