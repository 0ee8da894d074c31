//! What all one-time links share: their key, what is wrong with one, whose word
//! it is, and how its command goes out.

use crate::App;
use crate::commands;
use crate::error::ApiError;
use crate::operators::Operator;
use axum::http::StatusCode;
use midwatch_clients::postgres::approval_links::{self, Used};
use midwatch_clients::signed_link::{LinkError, LinkKey};
use midwatch_events::{OperatorCommand, ids};
use midwatch_runtime::clock;
use serde::Deserialize;
use std::sync::Arc;
use uuid::Uuid;

/// The id of the command that a link stands for.
#[must_use]
pub fn event_id(nonce: &str) -> Uuid {
    ids::derive(&["approval-link", nonce])
}

/// The address of a link's page. What mail programs add is left alone.
#[derive(Deserialize)]
pub struct Asked {
    #[serde(default)]
    pub(crate) t: String,
}

/// What links are signed with.
pub(crate) fn key(app: &App) -> Result<Arc<LinkKey>, ApiError> {
    app.link_key.clone().ok_or_else(|| {
        ApiError::not_found(
            "links are not taken here",
            "set APPROVAL_LINK_KEY_FILE to the key that the mails' links are signed with",
        )
    })
}

/// What is wrong with a token, under a status of its own.
pub(crate) fn refused(error: &LinkError) -> ApiError {
    let (status, code) = match error {
        LinkError::Malformed => (StatusCode::BAD_REQUEST, "bad_link"),
        LinkError::Forged => (StatusCode::FORBIDDEN, "forged_link"),
        LinkError::Expired(_) => (StatusCode::GONE, "expired_link"),
    };
    metrics::counter!("midwatch_api_links_total", "outcome" => code).increment(1);
    let hint = match error {
        LinkError::Expired(incident) => format!(
            "nothing was done; /incidents/{} shows how it stands now",
            ids::short_incident(*incident)
        ),
        _ => {
            "nothing was done; open the link from the mail again, or the incident's page".to_owned()
        }
    };
    ApiError {
        status,
        code,
        message: error.to_string(),
        hint,
    }
}

/// Whose word a link is. Whoever is an operator as well is one person, however
/// they come. Of any other recipient it is only known where the link lay: in a
/// mailbox (`mailbox:…`) or in a channel (`channel:…`), which several may read.
pub(crate) fn operator(app: &App, recipient: &str) -> Operator {
    let (name, kind) = if recipient.contains('@') {
        match app.operators.name_of_mail(recipient) {
            Some(name) => (name, "link"),
            None => (recipient.to_owned(), "mailbox"),
        }
    } else {
        (recipient.to_owned(), "channel")
    };
    Operator {
        name,
        credential_id: format!("{kind}:{recipient}"),
    }
}

/// Publishes and keeps where it lies. What the broker refused for certain
/// leaves the link as it was; where no acknowledgement came, the same decision
/// may be sent again after a minute, under the same id.
pub(crate) async fn publish(
    app: &App,
    nonce: &str,
    command: OperatorCommand,
) -> Result<commands::Published, ApiError> {
    match commands::publish(app, event_id(nonce), command).await {
        Ok(published) => {
            let (partition, offset) = (published.partition, published.offset);
            let kept = approval_links::published(&app.resender, nonce, partition, offset).await;
            if let Err(error) = kept {
                // The row is there: the link cannot be used for anything else.
                tracing::warn!(%error, "where a link's command lies could not be kept");
            }
            metrics::counter!("midwatch_api_links_total", "outcome" => "published").increment(1);
            Ok(published)
        }
        Err(error) if error.code == "refused_by_broker" => {
            approval_links::give_back(&app.resender, nonce).await?;
            Err(error)
        }
        Err(error) => Err(ApiError {
            hint: "it may have been heard; look at the incident, and send the same decision again \
                   after a minute"
                .to_owned(),
            ..error
        }),
    }
}

/// What whoever comes with a used link is told.
pub(crate) fn used_already(short_id: &str, used: &Used) -> ApiError {
    metrics::counter!("midwatch_api_links_total", "outcome" => "used_link").increment(1);
    ApiError {
        status: StatusCode::CONFLICT,
        code: "used_link",
        message: format!(
            "this link was already used: {} {} {} ago",
            used.recipient,
            match used.command.as_str() {
                "approve" => "approved",
                "acknowledge" => "acknowledged",
                _ => "rejected",
            },
            crate::pages::format::span(clock::now_ms() - used.taken_at_ms)
        ),
        hint: format!("nothing was done now; /incidents/{short_id} tells what came of it"),
    }
}
