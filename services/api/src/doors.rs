//! What the doors of other products share: [`crate::slack`],
//! [`crate::pagerduty`], [`crate::telegram`].

use crate::App;
use crate::commands::{self, Published, Request, Way};
use crate::error::ApiError;
use crate::known::Known;
use crate::operators::Operator;
use crate::params::find_incident;
use axum::http::StatusCode;
use std::time::Duration;
use uuid::Uuid;

/// Characters of a secret at least: shorter ones can be guessed. Slack's have
/// 32.
const SECRET: usize = 16;
/// Slack waits three seconds for an answer, PagerDuty five, Telegram longer.
const PUBLISH_LIMIT: Duration = Duration::from_millis(2_500);

/// What this server shares with another product.
pub struct Secret(Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret")
    }
}

impl Secret {
    /// A secret, without blanks around it.
    ///
    /// # Errors
    /// It is too short.
    pub fn new(text: &[u8]) -> Result<Secret, String> {
        let text = text.trim_ascii();
        if text.len() < SECRET {
            return Err(format!("a secret has at least {SECRET} characters"));
        }
        Ok(Secret(text.to_vec()))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The answer to what does not prove that it comes from the product.
#[must_use]
pub fn unproven(code: &'static str, why: &str, hint: &str) -> ApiError {
    ApiError {
        status: StatusCode::UNAUTHORIZED,
        code,
        message: format!("the request is not obeyed: {why}"),
        hint: hint.to_owned(),
    }
}

/// Publishes a command while the other product still waits for the answer.
///
/// # Errors
/// As [`commands::command_as`]; 503 where the broker takes too long.
pub async fn command(
    app: &App,
    event_id: Uuid,
    id: &str,
    by: (&Operator, Way<'_>),
    request: Request,
) -> Result<Published, ApiError> {
    let asked = commands::command_as(app, event_id, id, by, request);
    let published = tokio::time::timeout(PUBLISH_LIMIT, asked).await;
    published.unwrap_or_else(|_| {
        Err(ApiError {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "broker_unavailable",
            message: "the command was not acknowledged in time".to_owned(),
            hint: "it may have been heard; look at the incident before pressing again".to_owned(),
        })
    })
}

/// What became of an acknowledgement.
pub enum Taken {
    /// The agents will hear of it.
    Asked(Box<Published>),
    /// Somebody has the incident already: there is nothing to ask for.
    Already { short_id: String, by: String },
}

/// Asks for an acknowledgement, unless the incident has one.
///
/// # Errors
/// As [`command`]: no such incident, it is over, or the broker is away.
pub async fn acknowledge(
    app: &App,
    event_id: Uuid,
    id: &str,
    by: (&Operator, Way<'_>),
    reason: String,
) -> Result<Taken, ApiError> {
    let row = find_incident(&app.pool, id).await?;
    if row.status != "RESOLVED"
        && let Some(by) = Known::read(&row).acknowledged_by
    {
        let short_id = row.short_id;
        return Ok(Taken::Already { short_id, by });
    }
    let request = Request {
        command: "acknowledge".to_owned(),
        reason: Some(reason),
        ..Request::default()
    };
    let published = command(app, event_id, id, by, request).await?;
    Ok(Taken::Asked(Box::new(published)))
}
