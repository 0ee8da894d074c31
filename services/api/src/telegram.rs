//! `POST /telegram/webhook`: the button under a message in Telegram.
//!
//! A request counts when it bears the secret that the webhook was set with, and
//! when its user is an operator (`telegram=123` in the operators' file). The
//! answer's body is what Telegram shows to whoever pressed, so nothing has to be
//! sent from here.

use crate::App;
use crate::caller::Caller;
use crate::commands::Way;
use crate::doors::{self, Secret, Taken};
use crate::error::ApiError;
use crate::operators::unreadable;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use midwatch_clients::signature;
use midwatch_events::ids;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;
use uuid::Uuid;

/// Bytes of a request: it quotes the message that the button is under, of at
/// most 4 096 characters, which JSON may write with six bytes or more each.
pub const BODY: usize = 128 * 1024;
/// Characters of an answer that Telegram shows.
const TEXT: usize = 200;
/// What the button's data begins with; the incident's id follows.
const ACKNOWLEDGE: &str = "acknowledge:";

/// What Telegram and this server share.
#[derive(Debug)]
pub struct Telegram {
    secret: Secret,
}

impl Telegram {
    /// `secret` is the `secret_token` of `setWebhook`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn new(secret: &[u8]) -> Result<Telegram, String> {
        let secret = Secret::new(secret)?;
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
        if secret.bytes().len() > 256 || !secret.bytes().iter().all(fits) {
            return Err("Telegram takes 1 to 256 letters, digits, _ and -".to_owned());
        }
        Ok(Telegram { secret })
    }

    /// The same with the secret in a file.
    ///
    /// # Errors
    /// The file cannot be read, or holds no secret.
    pub fn read(file: &Path) -> Result<Telegram, String> {
        let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
        Telegram::new(&bytes)
    }

    fn check(&self, headers: &HeaderMap) -> bool {
        let given = headers.get("x-telegram-bot-api-secret-token");
        given.is_some_and(|given| signature::is_same(self.secret.bytes(), given.as_bytes()))
    }
}

/// What is read of an update.
#[derive(Deserialize)]
struct Update {
    callback_query: Option<Callback>,
}

#[derive(Deserialize)]
struct Callback {
    id: String,
    from: User,
    #[serde(default)]
    data: String,
}

#[derive(Deserialize)]
struct User {
    id: i64,
}

impl Callback {
    /// The incident that the button is for.
    fn incident(&self) -> Option<Uuid> {
        self.data.strip_prefix(ACKNOWLEDGE)?.parse().ok()
    }

    /// What Telegram shows to the presser: in passing, or to be closed.
    fn answer(&self, text: &str, must_be_closed: bool) -> Value {
        let text: String = text.chars().take(TEXT).collect();
        json!({"method": "answerCallbackQuery", "callback_query_id": self.id, "text": text,
            "show_alert": must_be_closed})
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("midwatch_api_telegram_total", "outcome" => outcome).increment(1);
}

/// `POST /telegram/webhook`.
pub async fn post(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let Some(telegram) = app.telegram.clone() else {
        return Err(ApiError::not_found(
            "Telegram's buttons are not taken here",
            "set TELEGRAM_WEBHOOK_SECRET_FILE to a file with the webhook's secret_token",
        ));
    };
    if !telegram.check(&headers) {
        count("unsigned");
        return Err(doors::unproven(
            "not_from_telegram",
            "it does not bear the webhook's secret",
            "see that TELEGRAM_WEBHOOK_SECRET_FILE holds the secret_token of setWebhook",
        ));
    }
    let update: Update =
        serde_json::from_slice(&body).map_err(|error| unreadable(&error.to_string()))?;
    let Some(callback) = update.callback_query else {
        tracing::debug!("an update of Telegram is ignored: nobody pressed a button");
        count("ignored");
        return Ok(Json(json!({})));
    };
    let told = obey(&app, &caller, &callback).await;
    count(match &told {
        Ok((outcome, _)) => outcome,
        Err(_) => "refused",
    });
    Ok(Json(match told {
        Ok((_, words)) => callback.answer(&words, false),
        Err(error) => {
            let words = format!(
                "Not done: {} ({}). {}",
                error.message, error.code, error.hint
            );
            callback.answer(&words, true)
        }
    }))
}

async fn obey(
    app: &App,
    caller: &Caller,
    callback: &Callback,
) -> Result<(&'static str, String), ApiError> {
    let incident = callback
        .incident()
        .ok_or_else(|| unreadable("the button is none of Midwatch's"))?;
    let operator = app.operators.of_telegram(callback.from.id)?;
    // The same for a press that Telegram sends again.
    let id = incident.to_string();
    let event_id = ids::derive(&["telegram-callback", &callback.id, &id]);
    let way = Way {
        channel: "telegram",
        address: &caller.address,
    };
    let reason = "through Telegram".to_owned();
    Ok(
        match doors::acknowledge(app, event_id, &id, (&operator, way), reason).await? {
            Taken::Asked(_) => (
                "published",
                format!(
                    "{}: {} is being acknowledged.",
                    operator.name,
                    ids::short_incident(incident)
                ),
            ),
            Taken::Already { short_id, by } => (
                "already",
                format!("{by} has acknowledged {short_id} already."),
            ),
        },
    )
}
