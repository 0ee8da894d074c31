//! The topic page: topics, messages and consumer groups of the broker, on a
//! listener of its own, as a Kafka UI where none runs.
//!
//! Consumes: whatever the broker holds under the configured prefix, through
//! [`midwatch_clients::kafka::BrokerReader`]. No consumer group.
//!
//! Produces: `/`, `/topics/{name}`, the live `/ws/topics/{name}` and the JSON
//! of `/api/topics`, on `TOPICS_BIND` (`off` for none).
//!
//! Guarantees: nothing is written, no group is joined and no offset committed;
//! what a message holds stays text; every page, queue and wait is bounded.

mod follow;
mod overview;
mod pretty;
mod topic;

use crate::error::ApiError;
use crate::pages::{self, assets};
use crate::routes::{guard, wants_page, wrong_method};
use crate::topics::Topics;
use anyhow::Context as _;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use midwatch_clients::kafka::KafkaError;
use midwatch_runtime::{Settings, Shutdown};
use minijinja::Environment;
use minijinja::value::Serde;
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// The templates, by name.
const TEMPLATES: &[(&str, &str)] = &[
    (
        "topics/base.html",
        include_str!("../../templates/topics/base.html"),
    ),
    (
        "topics/overview.html",
        include_str!("../../templates/topics/overview.html"),
    ),
    (
        "topics/topic.html",
        include_str!("../../templates/topics/topic.html"),
    ),
    (
        "topics/figures.html",
        include_str!("../../templates/topics/figures.html"),
    ),
    (
        "topics/message.html",
        include_str!("../../templates/topics/message.html"),
    ),
    (
        "topics/gap.html",
        include_str!("../../templates/topics/gap.html"),
    ),
    (
        "topics/error.html",
        include_str!("../../templates/topics/error.html"),
    ),
];

/// What every request can use. Cheap to clone.
#[derive(Clone)]
pub struct TopicPage {
    topics: Arc<Topics>,
    templates: Arc<Environment<'static>>,
    /// Where the dashboard listens on the same host.
    dashboard_port: Option<u16>,
    shutdown: Shutdown,
}

impl TopicPage {
    /// Compiles the templates; connects to nothing. `dashboard_port` is linked
    /// to, under the host that the browser asked for.
    ///
    /// # Panics
    /// A template has a syntax error; they are part of the build, and a test
    /// renders each.
    #[must_use]
    pub fn new(topics: Arc<Topics>, dashboard_port: Option<u16>, shutdown: Shutdown) -> TopicPage {
        let mut environment = pages::environment();
        for (name, file) in [
            ("css", "midwatch.css"),
            ("topics_css", "topics.css"),
            ("topics_js", "topics.js"),
            ("icon", "icon.svg"),
        ] {
            environment.add_global(name, assets::address(file));
        }
        for (name, source) in TEMPLATES {
            environment
                .add_template(name, source)
                .expect("the templates are part of the build and a test renders each");
        }
        TopicPage {
            topics,
            templates: Arc::new(environment),
            dashboard_port,
            shutdown,
        }
    }

    fn render(&self, name: &str, view: impl Serialize) -> Result<String, ApiError> {
        self.templates
            .get_template(name)
            .and_then(|template| template.render(Serde(view)))
            .map_err(|error| {
                tracing::error!(template = name, error = ?error, "a page could not be rendered");
                ApiError::internal(format!("the page {name} could not be rendered"))
            })
    }

    fn answer(&self, name: &str, view: impl Serialize) -> Result<Response, ApiError> {
        Ok(Html(self.render(name, view)?).into_response())
    }

    fn frame(&self, title: impl Into<String>, headers: &HeaderMap) -> Frame {
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let dashboard = self.dashboard_port.zip(host).map(|(port, host)| {
            let name = match host.rsplit_once(':') {
                Some((name, _)) if !host.ends_with(']') => name,
                _ => host,
            };
            format!("http://{name}:{port}/")
        });
        Frame {
            title: title.into(),
            dashboard,
            refresh: String::new(),
        }
    }
}

/// What every page has around its content.
#[derive(Debug, Serialize)]
struct Frame {
    title: String,
    /// Where the incidents are; `None` where that is unknown.
    dashboard: Option<String>,
    /// The address from which the page's parts are renewed; empty for none.
    refresh: String,
}

/// The broker's failure, for whoever asked.
fn away(error: &KafkaError) -> ApiError {
    ApiError {
        status: StatusCode::SERVICE_UNAVAILABLE,
        code: "broker_unavailable",
        message: "the broker gave no answer".to_owned(),
        hint: format!(
            "try again; if it stays, see that the broker runs and KAFKA_BOOTSTRAP_SERVERS names it ({error})"
        ),
    }
}

/// The whole interface.
pub fn router(page: TopicPage) -> Router {
    let read = |handler: axum::routing::MethodRouter<TopicPage>| handler.fallback(wrong_method);
    Router::new()
        .route("/", read(get(overview::show)))
        .route("/topics/{name}", read(get(topic::show)))
        .route("/topics/{name}/figures", read(get(topic::figures)))
        .route("/ws/topics/{name}", read(get(follow::connect)))
        .route("/api/topics", read(get(json)))
        .route("/static/{file}", read(get(assets::show)))
        .fallback(nothing_here)
        .layer(middleware::from_fn_with_state(page.clone(), finish))
        .with_state(page)
}

async fn json(State(page): State<TopicPage>) -> Result<Response, ApiError> {
    Ok(Json(&*page.topics.view().await?).into_response())
}

async fn nothing_here(request: Request) -> ApiError {
    ApiError::not_found(
        format!("there is nothing at {}", request.uri().path()),
        "GET / lists the topics",
    )
}

/// Adds what all answers carry, and shows people their errors as a page.
async fn finish(State(page): State<TopicPage>, request: Request, next: Next) -> Response {
    let for_people = wants_page(&request);
    let headers = request.headers().clone();
    let response = next.run(request).await;
    let mut response = match response.extensions().get::<ApiError>() {
        Some(error) if for_people => error_page(&page, error, &headers),
        _ => response,
    };
    guard(response.headers_mut());
    response
}

fn error_page(page: &TopicPage, error: &ApiError, headers: &HeaderMap) -> Response {
    #[derive(Serialize)]
    struct View<'a> {
        frame: Frame,
        status: u16,
        error: &'a ApiError,
    }
    let view = View {
        frame: page.frame(error.message.clone(), headers),
        status: error.status.as_u16(),
        error,
    };
    match page.answer("topics/error.html", view) {
        Ok(answer) => (error.status, answer).into_response(),
        Err(second) => second.into_response(),
    }
}

/// `TOPICS_BIND`: where to listen; `None` for `off`. A bad value is complained
/// of and ends the process with the others.
#[must_use]
pub fn bind(settings: &Settings) -> Option<SocketAddr> {
    let text = settings.text("TOPICS_BIND", "127.0.0.1:8080");
    if text == "off" {
        return None;
    }
    let address = text.parse().ok();
    if address.is_none() {
        let fix = "set it to an address and port such as 127.0.0.1:8080, or to off";
        settings.problem("TOPICS_BIND", &text, fix);
    }
    address
}

/// Takes the port.
///
/// # Errors
/// It is taken already.
pub async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "TOPICS_BIND is {address}: the port cannot be taken; choose a free one, or off for no topic page"
        )
    })
}

/// Serves until the shutdown; at once done where there is no listener.
///
/// # Errors
/// The listener fails.
pub async fn serve(page: TopicPage, listener: Option<TcpListener>) -> anyhow::Result<()> {
    let Some(listener) = listener else {
        return Ok(());
    };
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "serving the topic page");
    }
    let shutdown = page.shutdown.clone();
    axum::serve(listener, router(page))
        .with_graceful_shutdown(async move { shutdown.wait().await })
        .await
        .context("serving the topic page")
}
