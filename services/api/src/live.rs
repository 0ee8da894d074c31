//! `/ws/live`: what agents do, pushed to whoever looks.
//!
//! One task follows the audit trail while anyone is connected and hands each
//! new line to all of them. A client that does not keep up is dropped with a
//! close code instead of holding lines for it.

use crate::App;
use crate::error::ApiError;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use midwatch_clients::postgres::PostgresError;
use midwatch_clients::postgres::read::{self, AgentEvent};
use midwatch_events::ids;
use midwatch_runtime::Shutdown;
use sqlx::PgPool;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, Notify, broadcast};

/// How often the audit trail is asked for more.
const POLL: Duration = Duration::from_millis(500);
/// Lines that wait for one client; beyond that it is dropped.
const QUEUE: usize = 256;
/// How long one message may take to leave.
const SEND_LIMIT: Duration = Duration::from_secs(5);
/// A silent connection is asked for a sign of life this often.
const PING: Duration = Duration::from_secs(20);
/// Connections at a time. Each costs a task and some buffers.
const CLIENTS: usize = 256;
/// Ids are given out before their transactions commit, so a lower one may
/// appear after a higher one. This many are looked at again each time.
const LOOK_BACK: i64 = 256;
/// Lines read at a time.
const BATCH: i64 = 1_000;

/// The clients of the live feed.
#[derive(Debug)]
pub struct Live {
    sender: broadcast::Sender<Arc<str>>,
    clients: AtomicUsize,
    wake: Notify,
    /// `None` while nobody is connected.
    trail: Mutex<Option<Trail>>,
}

impl Default for Live {
    fn default() -> Self {
        Live {
            sender: broadcast::channel(QUEUE).0,
            clients: AtomicUsize::new(0),
            wake: Notify::new(),
            trail: Mutex::new(None),
        }
    }
}

/// One connected client, counted until it is dropped.
struct Seat(Arc<Live>);

impl Seat {
    fn take(live: &Arc<Live>) -> Option<Seat> {
        let taken = live
            .clients
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |clients| {
                (clients < CLIENTS).then_some(clients + 1)
            });
        taken.ok().map(|_| {
            live.wake.notify_one();
            Seat(live.clone())
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Live {
    /// Hands a message to every client.
    pub fn publish(&self, text: String) {
        // Nobody connected is no failure.
        self.sender.send(text.into()).ok();
    }

    /// Makes sure that every line written from now on will be published. Call
    /// it with a seat taken: without one the trail is given up again.
    async fn begin(&self, pool: &PgPool) -> Result<(), PostgresError> {
        let mut trail = self.trail.lock().await;
        if trail.is_none() {
            *trail = Some(Trail::begin(pool).await?);
        }
        Ok(())
    }

    /// Follows the audit trail until `shutdown`, while there are clients.
    pub async fn follow(self: Arc<Self>, pool: PgPool, shutdown: Shutdown) {
        loop {
            if let Err(error) = self.read_on(&pool).await {
                tracing::warn!(%error, "the live feed cannot read the audit trail");
            }
            let go_on = if self.clients.load(Ordering::Acquire) == 0 {
                tokio::select! {
                    () = self.wake.notified() => true,
                    () = shutdown.wait() => false,
                }
            } else {
                shutdown.sleep(POLL).await
            };
            if !go_on {
                return;
            }
        }
    }

    async fn read_on(&self, pool: &PgPool) -> Result<(), PostgresError> {
        let mut slot = self.trail.lock().await;
        // Seats are taken before the trail begins, so that under this lock no
        // client can be waiting for the trail that is given up.
        if self.clients.load(Ordering::Acquire) == 0 {
            *slot = None;
        }
        if let Some(trail) = &mut *slot {
            for event in trail.read_on(pool).await? {
                self.publish(message(&event));
            }
        }
        Ok(())
    }
}

/// How far the audit trail was read.
#[derive(Debug)]
struct Trail {
    highest: i64,
    seen: BTreeSet<i64>,
}

impl Trail {
    async fn begin(pool: &PgPool) -> Result<Trail, PostgresError> {
        let highest = read::last_event_id(pool).await?;
        let mut trail = Trail {
            highest,
            seen: BTreeSet::new(),
        };
        trail.read_on(pool).await?;
        Ok(trail)
    }

    async fn read_on(&mut self, pool: &PgPool) -> Result<Vec<AgentEvent>, PostgresError> {
        let from = self.highest - LOOK_BACK;
        let mut events = read::agent_events(pool, None, Some(from), BATCH).await?;
        events.retain(|event| self.seen.insert(event.id));
        self.highest = self.seen.last().copied().unwrap_or(0).max(self.highest);
        self.seen = self.seen.split_off(&(self.highest - LOOK_BACK));
        Ok(events)
    }
}

/// What a client hears about a line of the audit trail.
fn message(event: &AgentEvent) -> String {
    serde_json::json!({
        "type": "agent_event",
        "id": event.id,
        "incident_id": event.incident_id,
        "short_id": event.incident_id.map(ids::short_incident),
        "agent": event.agent,
        "event_type": event.event_type,
        "summary": event.summary,
        "at_ms": event.at_ms,
        "wall_ms": event.wall_ms,
    })
    .to_string()
}

/// `GET /ws/live`.
pub async fn connect(
    State(app): State<App>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    if !same_origin(&headers) {
        return Err(ApiError {
            status: StatusCode::FORBIDDEN,
            code: "foreign_origin",
            message: "a page of another origin may not read the live feed".to_owned(),
            hint: "open the dashboard at the address that serves this feed".to_owned(),
        });
    }
    let Some(seat) = Seat::take(&app.live) else {
        return Err(ApiError {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "too_many_clients",
            message: format!("{CLIENTS} clients follow the live feed already"),
            hint: "close some, or poll GET /api/agent-events?after=".to_owned(),
        });
    };
    let events = app.live.sender.subscribe();
    app.live.begin(&app.pool).await?;
    let last = read::last_event_id(&app.pool).await?;
    let shutdown = app.shutdown.clone();
    Ok(upgrade
        .max_message_size(4 * 1024)
        .on_upgrade(move |socket| async move {
            let hello = serde_json::json!({"type": "hello", "last_id": last}).to_string();
            serve(socket, events, &hello, &shutdown).await;
            drop(seat);
        })
        .into_response())
}

/// Browsers name the page's origin; other programs name none.
pub(crate) fn same_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match (text(header::ORIGIN), text(header::HOST)) {
        (None, _) => true,
        (Some(origin), Some(host)) => origin
            .split_once("://")
            .is_some_and(|(_, rest)| rest == host),
        (Some(_), None) => false,
    }
}

/// Feeds one client until it leaves, falls behind or the process stops.
async fn serve(
    mut socket: WebSocket,
    mut events: broadcast::Receiver<Arc<str>>,
    hello: &str,
    shutdown: &Shutdown,
) {
    if !send(&mut socket, Message::text(hello)).await {
        return;
    }
    let mut ping = tokio::time::interval(PING);
    let mut answered = true;
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(text) => if !send(&mut socket, Message::text(&*text)).await { return },
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    metrics::counter!("midwatch_api_live_dropped_total").increment(1);
                    let reason = format!("too slow: {missed} messages missed; connect again");
                    return close(&mut socket, close_code::AGAIN, &reason).await;
                }
                Err(broadcast::error::RecvError::Closed) => return,
            },
            incoming = socket.recv() => match incoming {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => answered = true,
            },
            _ = ping.tick() => {
                if !answered || !send(&mut socket, Message::Ping(Vec::new().into())).await {
                    return;
                }
                answered = false;
            }
            () = shutdown.wait() => {
                return close(&mut socket, close_code::AWAY, "the server stops").await;
            }
        }
    }
}

pub(crate) async fn send(socket: &mut WebSocket, message: Message) -> bool {
    matches!(
        tokio::time::timeout(SEND_LIMIT, socket.send(message)).await,
        Ok(Ok(()))
    )
}

pub(crate) async fn close(socket: &mut WebSocket, code: u16, reason: &str) {
    let frame = CloseFrame {
        code,
        reason: reason.into(),
    };
    if !send(socket, Message::Close(Some(frame))).await {
        tracing::debug!("a client of the live feed was gone before it could be told why");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_the_same_origin_may_follow() {
        let headers = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect::<HeaderMap>()
        };
        let here = ("host", "127.0.0.1:8000");
        assert!(same_origin(&headers(&[here])));
        assert!(same_origin(&headers(&[
            here,
            ("origin", "http://127.0.0.1:8000")
        ])));
        for foreign in ["http://evil.example", "http://127.0.0.1:9000", "null"] {
            assert!(
                !same_origin(&headers(&[here, ("origin", foreign)])),
                "{foreign}"
            );
        }
    }

    #[test]
    fn seats_are_given_back() {
        let live = Arc::new(Live::default());
        let seats: Vec<Seat> = (0..CLIENTS).filter_map(|_| Seat::take(&live)).collect();
        assert_eq!(seats.len(), CLIENTS);
        assert!(Seat::take(&live).is_none());
        drop(seats);
        assert!(Seat::take(&live).is_some());
    }
}
