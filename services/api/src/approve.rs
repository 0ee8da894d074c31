//! One-time links: `GET /approve?t=…` shows what a link would do, and
//! `POST /approve` does it, once.
//!
//! Mail scanners and previews follow links, so GET and HEAD change nothing. The
//! link is its holder's credential: whoever has it is its recipient
//! ([`crate::links`]).

use crate::App;
use crate::caller::Caller;
use crate::commands::{self, Way};
use crate::error::ApiError;
use crate::known::Known;
use crate::links::{self, Asked};
use crate::operators::{Operator, unreadable};
use crate::origin::Asker;
use crate::pages::Frame;
use crate::params::find_incident;
use crate::plan::{self, StepState, StepView};
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use midwatch_clients::postgres::approval_links::{self, Used};
use midwatch_clients::postgres::read::{self, IncidentRow};
use midwatch_clients::signed_link::{self, Link};
use midwatch_events::OperatorCommand;
use midwatch_runtime::clock;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What was decided, and when.
#[derive(Serialize)]
struct Decided {
    command: String,
    wall_ms: i64,
    /// Where the command lies, where this very request published it.
    place: Option<(i32, i64)>,
}

#[derive(Serialize)]
struct View {
    frame: Frame,
    id: Uuid,
    short_id: String,
    title: String,
    severity: String,
    environment: String,
    status: String,
    recipient: String,
    /// The operator with this address, where one is known.
    operator: Option<String>,
    expires_ms: i64,
    /// The token, for the form; empty where there is nothing to press.
    token: String,
    root_cause: String,
    /// Whether an approval leads to a dry run only.
    dry_run: bool,
    step_id: String,
    /// As the plan is now; absent where it has no such step any more.
    step: Option<StepView>,
    /// Why it cannot be used, in words.
    obstacle: Option<ApiError>,
    decided: Option<Decided>,
}

/// Opens a token; what is wrong with it has a status of its own.
fn open(app: &App, token: &str) -> Result<Link, ApiError> {
    let key = links::key(app)?;
    let link = signed_link::open(&key, token.trim(), clock::now_ms());
    link.map_err(|error| links::refused(&error))
}

/// `GET /approve`.
pub async fn show(
    State(app): State<App>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, ApiError> {
    let asked = asked.map(|Query(asked)| asked);
    let token = asked.map_err(|error| unreadable(&error.body_text()))?.t;
    let link = open(&app, &token)?;
    let row = find_incident(&app.pool, &link.incident_id.to_string()).await?;
    let used = approval_links::used(&app.pool, &link.nonce).await?;
    let view = view(&app, row, &link, (&token, used)).await?;
    let status = match (&view.decided, &view.obstacle) {
        (Some(_), _) => StatusCode::GONE,
        (None, Some(obstacle)) => obstacle.status,
        (None, None) => StatusCode::OK,
    };
    Ok((status, app.pages.answer("approve.html", view)?).into_response())
}

/// The form of the page.
#[derive(Deserialize)]
pub struct Pressed {
    t: String,
    decision: String,
    #[serde(default)]
    reason: String,
}

/// `POST /approve`.
pub async fn press(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Result<Form<Pressed>, FormRejection>,
) -> Result<Response, ApiError> {
    app.origins.check(&headers, Asker::Page)?;
    let Form(pressed) = body.map_err(|error| unreadable(&error.body_text()))?;
    let link = open(&app, &pressed.t)?;
    let decision = match pressed.decision.as_str() {
        "approve" => "approve",
        "reject" => "reject",
        other => {
            let shown = other.get(..40).unwrap_or(other);
            let hint = "allowed: approve, reject";
            return Err(ApiError::parameter("decision", shown, hint));
        }
    };
    let row = find_incident(&app.pool, &link.incident_id.to_string()).await?;
    if let Some(used) = approval_links::used(&app.pool, &link.nonce)
        .await?
        .filter(|one| one.is_published)
    {
        return Err(links::used_already(&row.short_id, &used));
    }
    let short_id = row.short_id.clone();
    let way = Way {
        channel: "link",
        address: &caller.address,
    };
    let by = links::operator(&app, &link.recipient);
    let command = command_of(&row, &link, &by, (decision, &pressed.reason), way);
    let mut view = view(&app, row, &link, ("", None)).await?;
    if let Some(obstacle) = view.obstacle {
        return Err(obstacle);
    }
    if let Some(used) = approval_links::take(&app.resender, &link, decision).await? {
        return Err(links::used_already(&short_id, &used));
    }
    let published = links::publish(&app, &link.nonce, command).await?;
    view.decided = Some(Decided {
        command: decision.to_owned(),
        wall_ms: published.command.issued_at_ms,
        place: Some((published.partition, published.offset)),
    });
    Ok((
        StatusCode::ACCEPTED,
        app.pages.answer("approve.html", view)?,
    )
        .into_response())
}

/// The command that a link stands for: its recipient's.
fn command_of(
    row: &IncidentRow,
    link: &Link,
    by: &Operator,
    (decision, reason): (&str, &str),
    way: Way<'_>,
) -> OperatorCommand {
    let mut command = commands::issued(by, Some(reason), clock::now_ms());
    command.incident_id = row.id;
    command.command = decision.to_owned();
    command.target.clone_from(&link.step_id);
    command.environment = Some(row.environment.clone());
    command.details = way.details();
    command.details.plan_hash.clone_from(&link.plan_hash);
    command.details.nonce.clone_from(&link.nonce);
    command
}

async fn view(
    app: &App,
    row: IncidentRow,
    link: &Link,
    (token, used): (&str, Option<Used>),
) -> Result<View, ApiError> {
    let known = Known::read(&row);
    let timeline =
        read::agent_events(&app.pool, Some(row.id), None, crate::incidents::TIMELINE).await?;
    let plan = plan::view(&row, &known, &timeline, &[]);
    let root_cause = plan.as_ref().map(|plan| plan.root_cause.clone());
    let dry_run = plan.as_ref().and_then(|plan| plan.dry_run);
    let is_same = plan
        .as_ref()
        .is_some_and(|plan| plan.plan_hash == link.plan_hash);
    let steps = plan.map(|plan| plan.steps).unwrap_or_default();
    // Another plan's step of the same name is another step.
    let mut steps = steps.into_iter().filter(|_| is_same);
    let step = steps.find(|one| one.step.step_id == link.step_id);
    let fits = plan::decidable(&row, known.plan.as_ref(), &link.step_id, &link.plan_hash);
    let obstacle = fits.err().or_else(|| step.as_ref().and_then(obstacle));
    let decided = used.map(|used| Decided {
        command: used.command,
        wall_ms: used.taken_at_ms,
        place: None,
    });
    let usable = obstacle.is_none() && decided.is_none();
    Ok(View {
        frame: Frame::new(format!("Approve {} of {}", link.step_id, row.short_id)),
        id: row.id,
        title: known.title,
        root_cause: root_cause.unwrap_or_default(),
        dry_run: dry_run.unwrap_or(false),
        operator: app.operators.name_of_mail(&link.recipient),
        recipient: link.recipient.clone(),
        expires_ms: link.expires_ms,
        token: if usable {
            token.to_owned()
        } else {
            String::new()
        },
        step_id: link.step_id.clone(),
        short_id: row.short_id,
        severity: row.severity,
        environment: row.environment,
        status: row.status,
        step,
        obstacle,
        decided,
    })
}

/// Why a step that is in the plan needs no decision any more.
fn obstacle(step: &StepView) -> Option<ApiError> {
    let what = match step.state {
        StepState::Waiting
        | StepState::PartlyApproved
        | StepState::Refused
        | StepState::Rejected
        // These changed nothing; an approval counts again.
        | StepState::Failed
        | StepState::DryRun
        | StepState::ByHand => return None,
        StepState::Approved => "is approved already",
        StepState::Running => "is being carried out",
        StepState::Undone => "was carried out and undone",
        StepState::Unknown => "may have been carried out",
        StepState::Done | StepState::Verified => "was carried out",
    };
    Some(ApiError {
        status: StatusCode::CONFLICT,
        code: "decided_already",
        message: format!("{} {what}", step.step.step_id),
        hint: "there is nothing to decide any more; the incident's page tells more".to_owned(),
    })
}
