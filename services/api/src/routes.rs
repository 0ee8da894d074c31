//! Which address is served by what, and the headers that all answers carry.

use crate::App;
use crate::error::ApiError;
use crate::{
    acknowledge, activity, agents, approve, commands, dead_letters, fleet, incidents, knowledge,
};
use crate::{live, operators, pagerduty, pages, plan, series, slack, telegram};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

/// Pages take scripts, styles and connections from this server only, and none
/// of them inline.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'; object-src 'none'";

/// Largest body of a request, in bytes. What is posted here are coordinates
/// and commands.
const BODY: usize = 8 * 1024;

/// The description of this interface for programs.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// An address and what serves it.
pub type Route = (&'static str, fn() -> MethodRouter<App>);

/// All addresses. A test holds that `openapi.json` describes exactly these.
pub const ROUTES: &[Route] = &[
    ("/", || get(pages::feed::show)),
    ("/incidents/{id}", || get(pages::incident::show)),
    ("/incidents/{id}/commands", || post(commands::press)),
    ("/approve", || get(approve::show).post(approve::press)),
    ("/acknowledge", || {
        get(acknowledge::show).post(acknowledge::press)
    }),
    ("/slack/actions", || {
        post(slack::post).layer(DefaultBodyLimit::max(slack::BODY))
    }),
    ("/pagerduty/webhook", || {
        post(pagerduty::post).layer(DefaultBodyLimit::max(pagerduty::BODY))
    }),
    ("/telegram/webhook", || {
        post(telegram::post).layer(DefaultBodyLimit::max(telegram::BODY))
    }),
    ("/operator/sign-in", || post(operators::sign_in)),
    ("/operator/sign-out", || post(operators::sign_out)),
    ("/fleet", || get(pages::fleet::overview)),
    ("/fleet/{service}", || get(pages::fleet::one)),
    ("/knowledge", || get(pages::knowledge::show)),
    ("/agents", || get(pages::agents::show)),
    ("/agents/resend", || post(dead_letters::press)),
    ("/static/{file}", || get(pages::assets::show)),
    ("/api/incidents", || {
        get(incidents::list).post(commands::declare::post)
    }),
    ("/api/incidents/{id}", || get(incidents::one)),
    ("/api/incidents/{id}/records", || get(incidents::records)),
    ("/api/incidents/{id}/series", || get(series::get)),
    ("/api/incidents/{id}/artifacts", || {
        get(incidents::artifacts)
    }),
    ("/api/incidents/{id}/plan", || get(plan::get)),
    ("/api/incidents/{id}/commands", || post(commands::post)),
    ("/api/notifications/resend", || post(commands::resend::post)),
    ("/notifications/resend", || post(commands::resend::press)),
    ("/api/maintenance", || post(commands::maintenance)),
    ("/api/agent-events", || get(activity::agent_events)),
    ("/api/emails", || get(activity::emails)),
    ("/api/emails/{id}", || get(activity::email)),
    ("/api/llm-calls", || get(activity::llm_calls)),
    ("/api/stats", || get(activity::stats)),
    ("/api/topics", || get(activity::topics)),
    ("/api/fleet", || get(fleet::list)),
    ("/api/fleet/{service}", || get(fleet::one)),
    ("/api/knowledge", || get(knowledge::get)),
    ("/api/agents", || get(agents::get)),
    ("/api/dead-letters", || get(dead_letters::get)),
    ("/api/dead-letters/resend", || post(dead_letters::post)),
    ("/ws/live", || get(live::connect)),
    ("/health", || get(activity::health)),
    ("/openapi.json", || get(openapi)),
];

/// The whole interface.
pub fn router(app: App) -> Router {
    let mut router = Router::new();
    for (path, handler) in ROUTES {
        router = router.route(path, handler().fallback(wrong_method));
    }
    router
        .fallback(nothing_here)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(middleware::from_fn_with_state(app.clone(), finish))
        .with_state(app)
}

/// Adds what all answers carry, and shows people their errors as a page.
async fn finish(
    axum::extract::State(app): axum::extract::State<App>,
    request: Request,
    next: Next,
) -> Response {
    let for_people = wants_page(&request);
    let response = next.run(request).await;
    let mut response = match response.extensions().get::<ApiError>() {
        Some(error) if for_people => pages::error_page(&app, error),
        _ => response,
    };
    guard(response.headers_mut());
    response
}

/// Adds the headers that all answers carry, where they are missing.
pub(crate) fn guard(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
}

/// Programs ask below `/api`; elsewhere a browser says that it reads HTML.
pub(crate) fn wants_page(request: &Request) -> bool {
    let path = request.uri().path();
    let accept = request.headers().get(header::ACCEPT);
    !path.starts_with("/api/")
        && accept
            .and_then(|accept| accept.to_str().ok())
            .is_some_and(|accept| accept.contains("text/html"))
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

pub(crate) async fn wrong_method() -> ApiError {
    ApiError {
        status: axum::http::StatusCode::METHOD_NOT_ALLOWED,
        code: "method_not_allowed",
        message: "this address does not answer this method".to_owned(),
        hint: "GET /openapi.json describes every address and its method".to_owned(),
    }
}

async fn nothing_here(request: Request) -> ApiError {
    ApiError::not_found(
        format!("there is nothing at {}", request.uri().path()),
        "GET /openapi.json describes every address",
    )
}
