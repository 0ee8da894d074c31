//! What a refused request is told: `{"error":{"code","message","hint"}}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use midwatch_clients::postgres::PostgresError;
use serde::Serialize;

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApiError {
    #[serde(skip)]
    pub status: StatusCode,
    /// For programs: `bad_parameter`, `not_found`, …
    pub code: &'static str,
    /// What was wrong.
    pub message: String,
    /// How to mend it.
    pub hint: String,
}

impl ApiError {
    /// A parameter whose value is not usable.
    #[must_use]
    pub fn parameter(name: &str, value: &str, hint: impl Into<String>) -> ApiError {
        ApiError {
            status: StatusCode::BAD_REQUEST,
            code: "bad_parameter",
            message: format!("the parameter {name} is {value:?}"),
            hint: hint.into(),
        }
    }

    /// Something that is not there.
    #[must_use]
    pub fn not_found(what: impl Into<String>, hint: impl Into<String>) -> ApiError {
        ApiError {
            status: StatusCode::NOT_FOUND,
            code: "not_found",
            message: what.into(),
            hint: hint.into(),
        }
    }

    /// A fault of this process.
    #[must_use]
    pub fn internal(what: impl Into<String>) -> ApiError {
        ApiError {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            code: "internal",
            message: what.into(),
            hint: "this is a fault of the API; its log says more".to_owned(),
        }
    }
}

impl From<PostgresError> for ApiError {
    fn from(error: PostgresError) -> Self {
        metrics::counter!("midwatch_api_database_errors_total").increment(1);
        tracing::warn!(%error, "a read failed");
        ApiError {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "database_unavailable",
            message: "the database gave no answer".to_owned(),
            hint: "try again; if it stays, see that PostgreSQL runs and DATABASE_URL points to it"
                .to_owned(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": &self });
        let mut response = (self.status, Json(body)).into_response();
        // So that a page can be made of it for people.
        response.extensions_mut().insert(self);
        response
    }
}
