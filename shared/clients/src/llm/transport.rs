//! One try: a request out, a reply or a classified failure back.

use std::time::Duration;

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::{ApiError, ApiErrorResponse, OpenAIError};
use async_openai::middleware::HttpRequestFactory;
use serde_json::Value;

use super::redact::redact;
use super::settings::LlmSettings;
use super::wire::WireReply;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// An endpoint's explanation is quoted up to this many characters.
const MAX_QUOTE: usize = 300;

/// Why a try failed.
#[derive(Debug)]
pub enum TryError {
    /// HTTP 429.
    RateLimited {
        message: String,
        /// False where waiting does not help: the account's quota is used up.
        retry: bool,
    },
    /// Any other status.
    Status { status: u16, message: String },
    /// No answer: no connection, or one that broke.
    Connection(String),
    /// An answer that cannot be read.
    Unreadable(String),
}

/// The HTTP client of one endpoint.
#[derive(Debug)]
pub struct Transport {
    client: Client<OpenAIConfig>,
}

impl Transport {
    /// Prepares the client. The library's own retries are left out: this crate bounds all tries of
    /// a call together.
    ///
    /// # Errors
    /// The TLS library could not be set up.
    pub fn new(settings: &LlmSettings) -> Result<Transport, super::LlmError> {
        let mut builder = reqwest::Client::builder().connect_timeout(CONNECT_LIMIT);
        let url = reqwest::Url::parse(&settings.base_url).ok();
        let host = url.as_ref().and_then(|url| url.host_str());
        if matches!(host, Some("127.0.0.1" | "localhost" | "[::1]")) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| super::LlmError::Http {
            status: None,
            message: format!("setting up the HTTP client: {error}"),
        })?;
        // Every field is given: the defaults would be read from the environment.
        let config = OpenAIConfig::new()
            .with_api_base(&settings.base_url)
            .with_api_key(settings.api_key.as_deref().unwrap_or("none"))
            .with_org_id("")
            .with_project_id("");
        let sender = http.clone();
        let service = tower::service_fn(move |request: HttpRequestFactory| {
            let http = sender.clone();
            async move { send(&http, request).await }
        });
        let client = Client::build(http, config).with_http_service(service);
        Ok(Transport { client })
    }

    /// One try, without a time limit of its own.
    pub async fn send(&self, body: &Value) -> Result<WireReply, TryError> {
        let reply: Value = self
            .client
            .chat()
            .create_byot(body)
            .await
            .map_err(classify)?;
        serde_json::from_value(reply).map_err(|error| TryError::Unreadable(error.to_string()))
    }
}

/// Reads an error's body here, because compatible endpoints and the proxies in front of them do not
/// keep to the shape that the library insists on, and the status must not be lost over it.
async fn send(
    http: &reqwest::Client,
    request: HttpRequestFactory,
) -> Result<reqwest::Response, OpenAIError> {
    let response = http.execute(request.build().await?).await?;
    let status_code = response.status();
    if status_code.is_success() {
        return Ok(response);
    }
    let body = response.text().await.unwrap_or_default();
    let parsed: Value = serde_json::from_str(&body).unwrap_or_default();
    let explained = parsed
        .pointer("/error/message")
        .or_else(|| parsed.get("error"))
        .and_then(Value::as_str);
    let code = ["/error/code", "/error/type"]
        .into_iter()
        .find_map(|place| parsed.pointer(place)?.as_str());
    let api_error = ApiError {
        message: quote(explained.unwrap_or(&body)),
        code: code.map(str::to_owned),
        ..ApiError::default()
    };
    Err(OpenAIError::ApiError(ApiErrorResponse {
        status_code,
        api_error,
    }))
}

fn classify(error: OpenAIError) -> TryError {
    match error {
        OpenAIError::ApiError(ApiErrorResponse {
            status_code,
            api_error,
        }) => {
            let status = status_code.as_u16();
            let message = format!("HTTP {status}: {}", api_error.message);
            if status == 429 {
                let retry = api_error.code.as_deref() != Some("insufficient_quota");
                TryError::RateLimited { message, retry }
            } else {
                TryError::Status { status, message }
            }
        }
        OpenAIError::JSONDeserialize(error, _) => {
            TryError::Unreadable(format!("the answer is not valid JSON: {error}"))
        }
        // The address is left out: only the cause tells something new.
        OpenAIError::Reqwest(error) => TryError::Connection(causes(&error.without_url())),
        other => TryError::Connection(quote(&other.to_string())),
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    quote(&text)
}

/// What an endpoint says may repeat parts of the prompt or of the key.
fn quote(text: &str) -> String {
    redact(text.trim()).chars().take(MAX_QUOTE).collect()
}
