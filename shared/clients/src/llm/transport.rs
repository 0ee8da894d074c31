//! One try: a request out, a reply or a classified failure back.

use std::time::Duration;

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::{ApiError, ApiErrorResponse, OpenAIError};
use async_openai::middleware::HttpRequestFactory;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

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
        /// How long the endpoint asks to be left alone.
        after: Option<Duration>,
    },
    /// Any other status.
    Status {
        status: u16,
        message: String,
        /// How long the endpoint asks to be left alone.
        after: Option<Duration>,
    },
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
    let after = retry_after(response.headers());
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
        // The library's error has no place for a header; nothing else uses this field.
        param: after.map(|after| after.as_millis().to_string()),
        ..ApiError::default()
    };
    Err(OpenAIError::ApiError(ApiErrorResponse {
        status_code,
        api_error,
    }))
}

/// `retry-after-ms`, or `retry-after` in seconds or as a date, which the answer's own date gives a
/// meaning whatever the clocks say.
fn retry_after(headers: &reqwest::header::HeaderMap) -> Option<Duration> {
    let header = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let seconds = |text: &str| {
        let seconds = text.parse::<f64>().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    };
    let date = |text: &str| OffsetDateTime::parse(text, &Rfc2822).ok();
    if let Some(ms) = header("retry-after-ms").and_then(|text| text.parse::<f64>().ok()) {
        return Duration::try_from_secs_f64(ms / 1_000.0).ok();
    }
    let text = header("retry-after")?;
    seconds(text).or_else(|| {
        let wait = date(text)? - date(header("date")?)?;
        Duration::try_from(wait.max(time::Duration::ZERO)).ok()
    })
}

fn classify(error: OpenAIError) -> TryError {
    match error {
        OpenAIError::ApiError(ApiErrorResponse {
            status_code,
            api_error,
        }) => {
            let status = status_code.as_u16();
            let message = format!("HTTP {status}: {}", api_error.message);
            let after = api_error.param.and_then(|ms| ms.parse().ok());
            let after = after.map(Duration::from_millis);
            if status == 429 {
                let retry = api_error.code.as_deref() != Some("insufficient_quota");
                TryError::RateLimited {
                    message,
                    retry,
                    after,
                }
            } else {
                TryError::Status {
                    status,
                    message,
                    after,
                }
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

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

    #[test]
    fn a_wait_is_read_in_each_of_its_forms() {
        type Headers = &'static [(&'static str, &'static str)];
        let table: [(Headers, Option<u64>); 6] = [
            (&[("retry-after", "2")], Some(2_000)),
            (
                &[("retry-after-ms", "350"), ("retry-after", "1")],
                Some(350),
            ),
            // RFC 9110, 10.2.3: 120 seconds after the date of the answer.
            (
                &[
                    ("date", "Fri, 31 Dec 1999 23:57:59 GMT"),
                    ("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT"),
                ],
                Some(120_000),
            ),
            (&[("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT")], None),
            (&[("retry-after", "-1")], None),
            (&[], None),
        ];
        for (pairs, expected) in table {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                );
            }
            let expected = expected.map(Duration::from_millis);
            assert_eq!(retry_after(&headers), expected, "{pairs:?}");
        }
    }
}
