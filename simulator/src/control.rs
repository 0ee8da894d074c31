//! The control page: what the fleet is doing, faults on demand, and what people
//! and agents do to it.

use crate::actions::{ActionReport, ActionRequest, ActionStatus};
use crate::fleet::Service;
use crate::scenario::{Fault, Scenario};
use crate::world::{InjectError, World};
use axum::Router;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How long a wish may wait for the run loop, which is busy only while
/// the broker is away.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Wishes that may wait.
pub const WAITING_COMMANDS: usize = 16;

/// What `GET /status` tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Status {
    pub seed: u64,
    /// Whether the seed drew the fleet, too.
    pub varied: bool,
    /// How many stories the fleet lives through; 0 where it follows a plan.
    pub trials: u16,
    /// When live time began, simulated epoch milliseconds.
    pub live_ms: i64,
    pub environment: String,
    /// Simulated seconds per wall-clock second.
    pub speed: u32,
    /// `history`, then `live`.
    pub phase: &'static str,
    pub simulated_ms: i64,
    pub simulated: String,
    pub wall_ms: i64,
    pub faults: Vec<FaultView>,
    pub next: Option<FaultView>,
    /// Whether no fault runs or fades and none comes by itself any more.
    pub over: bool,
    /// Faults started so far.
    pub injections: u64,
    /// Events acknowledged by the broker, by topic.
    pub published: BTreeMap<&'static str, u64>,
}

/// A fault as the status shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FaultView {
    pub fault_id: String,
    pub scenario: &'static str,
    pub service: &'static str,
    /// `planned`, `announced` (its deployment is out), `running` or `fading`.
    pub phase: &'static str,
    pub start_ms: i64,
    pub end_ms: i64,
    /// When it would end if nobody did anything.
    pub natural_end_ms: i64,
    pub intensity: f64,
    pub affected: Vec<&'static str>,
}

impl FaultView {
    /// The fault as it stands at `now_ms`.
    #[must_use]
    pub fn at(fault: &Fault, now_ms: i64) -> FaultView {
        let phase = if now_ms >= fault.end_ms() {
            "fading"
        } else if now_ms >= fault.start_ms {
            "running"
        } else if now_ms >= fault.first_sign_ms() {
            "announced"
        } else {
            "planned"
        };
        FaultView {
            fault_id: fault.id.clone(),
            scenario: fault.scenario.name(),
            service: fault.service.name(),
            phase,
            start_ms: fault.start_ms,
            end_ms: fault.end_ms(),
            natural_end_ms: fault.natural_end_ms(),
            intensity: (fault.intensity_at(now_ms) * 1_000.0).round() / 1_000.0,
            affected: std::iter::once(fault.service)
                .chain(fault.reaches.iter().copied())
                .map(Service::name)
                .collect(),
        }
    }
}

/// A wish on its way to the run loop.
#[derive(Debug)]
pub enum Command {
    Inject {
        scenario: Scenario,
        service: Option<Service>,
        reply: oneshot::Sender<Result<FaultView, InjectError>>,
    },
    Act {
        request: ActionRequest,
        reply: oneshot::Sender<ActionReport>,
    },
    /// What became of the action of this key.
    Look {
        key: String,
        reply: oneshot::Sender<Option<ActionReport>>,
    },
}

/// Where the answer to an injection arrives.
pub type Answer = oneshot::Receiver<Result<FaultView, InjectError>>;

impl Command {
    /// An injection, on the scenario's usual service unless told otherwise.
    #[must_use]
    pub fn new(scenario: Scenario, service: Option<Service>) -> (Command, Answer) {
        let (reply, answer) = oneshot::channel();
        let command = Command::Inject {
            scenario,
            service,
            reply,
        };
        (command, answer)
    }

    /// An action on the fleet.
    #[must_use]
    pub fn act(request: ActionRequest) -> (Command, oneshot::Receiver<ActionReport>) {
        let (reply, answer) = oneshot::channel();
        (Command::Act { request, reply }, answer)
    }

    fn look(key: String) -> (Command, oneshot::Receiver<Option<ActionReport>>) {
        let (reply, answer) = oneshot::channel();
        (Command::Look { key, reply }, answer)
    }

    /// Carries the wish out and answers, unless whoever asked has given up
    /// waiting: they were told that nothing was done.
    pub fn carry_out(self, world: &mut World) {
        let (given_up, heard) = match self {
            Command::Inject {
                scenario,
                service,
                reply,
            } => answer(reply, || {
                let now_ms = world.now_ms();
                world
                    .inject(scenario, service)
                    .map(|fault| FaultView::at(fault, now_ms))
            }),
            Command::Act { request, reply } => answer(reply, || world.act(&request)),
            Command::Look { key, reply } => answer(reply, || world.action(&key).cloned()),
        };
        if given_up {
            tracing::warn!("something was asked for too long ago and is not done");
        } else if !heard {
            tracing::warn!("whoever asked left before the answer");
        }
    }
}

/// Does it and answers, unless nobody waits any more; whether they had given up
/// before, and whether the answer was taken.
fn answer<T>(reply: oneshot::Sender<T>, work: impl FnOnce() -> T) -> (bool, bool) {
    if reply.is_closed() {
        return (true, false);
    }
    (false, reply.send(work()).is_ok())
}

/// What the routes share with the run loop.
#[derive(Clone)]
pub struct Control {
    pub status: Arc<Mutex<Status>>,
    pub commands: mpsc::Sender<Command>,
}

/// The routes of the control listener.
pub fn router(control: Control) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/status", get(status))
        .route("/inject", post(inject))
        .route("/actions", post(act))
        .route("/actions/{key}", get(look))
        .route("/healthz", get(|| async { Json(json!({"status": "ok"})) }))
        .with_state(control)
}

async fn page() -> impl IntoResponse {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";
    (
        [("content-security-policy", policy)],
        Html(include_str!("page.html")),
    )
}

async fn status(State(control): State<Control>) -> Json<Status> {
    Json(
        control
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone(),
    )
}

/// The body of `POST /inject`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InjectRequest {
    scenario: String,
    #[serde(default)]
    service: Option<String>,
}

fn refuse(status: StatusCode, error: impl std::fmt::Display) -> (StatusCode, Json<Value>) {
    (status, Json(json!({"error": error.to_string()})))
}

fn read_request(request: &InjectRequest) -> Result<(Scenario, Option<Service>), String> {
    let scenario = Scenario::from_name(&request.scenario).ok_or_else(|| {
        format!(
            "scenario {:?} is none of {}",
            request.scenario,
            Scenario::names()
        )
    })?;
    let service = request.service.as_deref().filter(|name| !name.is_empty());
    let service = service
        .map(|name| {
            Service::from_name(name).ok_or_else(|| {
                let names = Service::ALL.map(Service::name).join(", ");
                format!("service {name:?} is none of {names}")
            })
        })
        .transpose()?;
    Ok((scenario, service))
}

async fn inject(
    State(control): State<Control>,
    request: Result<Json<InjectRequest>, JsonRejection>,
) -> Response {
    let request = match request {
        Ok(Json(request)) => request,
        Err(rejection) => {
            let shape = format!(
                "{{\"scenario\": …, \"service\": …}} as application/json, scenario one of {}",
                Scenario::names()
            );
            return unreadable(&rejection, &shape);
        }
    };
    let (scenario, service) = match read_request(&request) {
        Ok(read) => read,
        Err(text) => return refuse(StatusCode::BAD_REQUEST, text).into_response(),
    };
    let (command, answer) = Command::new(scenario, service);
    match ask(&control, command, answer).await {
        Ok(Ok(fault)) => (StatusCode::OK, Json(fault)).into_response(),
        Ok(Err(error @ InjectError::NoConsumer { .. })) => {
            refuse(StatusCode::BAD_REQUEST, error).into_response()
        }
        Ok(Err(error @ InjectError::Running { .. })) => {
            refuse(StatusCode::CONFLICT, error).into_response()
        }
        Err(why) => busy(why),
    }
}

/// `POST /actions`: carried out once for each key.
async fn act(
    State(control): State<Control>,
    request: Result<Json<ActionRequest>, JsonRejection>,
) -> Response {
    let request = match request {
        Ok(Json(request)) => request,
        Err(rejection) => {
            let shape =
                "{\"key\": …, \"kind\": …, \"service\": …, \"arguments\": {…}} as application/json";
            return unreadable(&rejection, shape);
        }
    };
    let (command, answer) = Command::act(request);
    match ask(&control, command, answer).await {
        Ok(report) if report.status == ActionStatus::Refused => {
            (StatusCode::CONFLICT, Json(report)).into_response()
        }
        Ok(report) => (StatusCode::OK, Json(report)).into_response(),
        Err(why) => busy(why),
    }
}

/// `GET /actions/{key}`: what became of an action.
async fn look(State(control): State<Control>, Path(key): Path<String>) -> Response {
    let (command, answer) = Command::look(key);
    match ask(&control, command, answer).await {
        Ok(Some(report)) => (StatusCode::OK, Json(report)).into_response(),
        Ok(None) => {
            let text = "no action was asked for under this key since the simulator started";
            refuse(StatusCode::NOT_FOUND, text).into_response()
        }
        Err(why) => busy(why),
    }
}

/// What a body that cannot be read is answered with. A form from another site
/// cannot carry the content type of JSON, so nothing is taken without it.
fn unreadable(rejection: &JsonRejection, shape: &str) -> Response {
    let status = match rejection {
        JsonRejection::MissingJsonContentType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        _ => StatusCode::BAD_REQUEST,
    };
    refuse(status, format!("{}; send {shape}", rejection.body_text())).into_response()
}

/// Hands a wish to the run loop and waits for its answer.
///
/// # Errors
/// Why there is none.
async fn ask<T>(
    control: &Control,
    command: Command,
    answer: oneshot::Receiver<T>,
) -> Result<T, &'static str> {
    control.commands.try_send(command).map_err(|_| {
        "the simulator takes nothing now: it is publishing history, stopping, or has too many waiting; try again"
    })?;
    match tokio::time::timeout(ANSWER_LIMIT, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) | Err(_) => Err(
            "the simulator is busy: it is publishing history or the broker is away; nothing was done, try again",
        ),
    }
}

fn busy(why: &str) -> Response {
    refuse(StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}
