//! `POST /api/incidents`: a person declares an incident.

use super::request::{channel, named, words};
use super::{Published, Way, issued, publish};
use crate::App;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::operators::{Operator, unreadable};
use crate::origin::Asker;
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode};
use midwatch_clients::postgres::read::{self, IncidentFilter};
use midwatch_events::incident::Declared;
use midwatch_events::{OperatorCommand, Severity, ids};
use midwatch_runtime::clock;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Characters of a title.
const TITLE: usize = 200;
/// Open incidents of a service that are looked at.
const OPEN: i64 = 50;

/// What a person says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub service: String,
    pub title: String,
    /// `LOW`, `MEDIUM`, `HIGH`, `CRITICAL`; case does not matter.
    pub severity: String,
    /// May be left out where the service reports in one environment only.
    pub environment: Option<String>,
    pub reason: Option<String>,
    /// Open one even where another is open on the same service.
    #[serde(default)]
    pub force: bool,
    pub channel: Option<String>,
}

/// An incident's names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    pub incident_id: Uuid,
    pub short_id: String,
}

/// A declaration that the broker has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    #[serde(flatten)]
    pub published: Published,
    /// The incident that correlation opens for it.
    pub opens: Named,
    /// Others that are open on the same service.
    pub beside: Vec<Named>,
}

/// `POST /api/incidents`.
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
    let answer = declare(&app, (&operator, way), request).await?;
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

async fn declare(
    app: &App,
    (operator, way): (&Operator, Way<'_>),
    request: Request,
) -> Result<Answer, ApiError> {
    let service = named("service", &request.service)?;
    let title = words(&request.title, TITLE);
    if title.is_empty() {
        return Err(super::bad("title", "say in a few words what is wrong"));
    }
    let severity = Severity::parse(&request.severity.to_ascii_uppercase()).ok_or_else(|| {
        let given = request.severity.get(..40).unwrap_or(&request.severity);
        ApiError::parameter("severity", given, "allowed: LOW, MEDIUM, HIGH, CRITICAL")
    })?;
    let environment = match &request.environment {
        Some(name) => named("environment", name)?,
        None => only_environment(app, &service).await?,
    };
    let now_ms = clock::now_ms();
    let beside = open_already(app, &service, &environment, now_ms).await?;
    if let Some(first) = beside.first().filter(|_| !request.force) {
        return Err(ApiError {
            status: StatusCode::CONFLICT,
            code: "already_open",
            message: format!("{} is open on {service} already", first.short_id),
            hint: format!(
                "look at /incidents/{}; where it is another trouble, send force: true (the command line: --force)",
                first.short_id
            ),
        });
    }
    let mut details = way.details();
    details.declared = Some(Box::new(Declared {
        title,
        severity: severity.as_str().to_owned(),
        by: operator.name.clone(),
    }));
    let event_id = clock::random_id();
    let incident_id = ids::declared(event_id);
    let command = OperatorCommand {
        command: "declare".to_owned(),
        target: service,
        environment: Some(environment),
        details,
        ..issued(operator, request.reason.as_deref(), now_ms)
    };
    Ok(Answer {
        published: publish(app, event_id, command).await?,
        opens: Named {
            incident_id,
            short_id: ids::short_incident(incident_id),
        },
        beside,
    })
}

/// Incidents that are open on the service and no older than the duplicate
/// window, newest first.
async fn open_already(
    app: &App,
    service: &str,
    environment: &str,
    now_ms: i64,
) -> Result<Vec<Named>, ApiError> {
    let filter = IncidentFilter {
        status: Some("OPEN".to_owned()),
        service: Some(service.to_owned()),
        environment: Some(environment.to_owned()),
        ..IncidentFilter::default()
    };
    let found = read::incidents(&app.pool, &filter, OPEN).await?;
    let recent = found
        .into_iter()
        .filter(|row| now_ms - row.created_us / 1_000 <= app.duplicate_window_ms);
    Ok(recent
        .map(|row| Named {
            incident_id: row.id,
            short_id: row.short_id,
        })
        .collect())
}

/// The one environment in which the service reports.
async fn only_environment(app: &App, service: &str) -> Result<String, ApiError> {
    let hint = |what: &str| {
        let hint = format!("{what}; name it (the command line: --environment)");
        ApiError::parameter("environment", "", hint)
    };
    let seen = app.recent.seen().await;
    let seen =
        seen.map_err(|problem| hint(&format!("recent readings are not known ({problem})")))?;
    let of_service = seen.series.keys().filter(|(name, _)| name == service);
    let mut names: Vec<&str> = of_service
        .map(|(_, environment)| environment.as_str())
        .collect();
    names.dedup();
    match names[..] {
        [only] => Ok(only.to_owned()),
        [] => Err(hint(&format!("{service} reports in no environment"))),
        _ => Err(hint(&format!("{service} reports in {}", names.join(", ")))),
    }
}
