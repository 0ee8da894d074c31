//! The API and the first pages: what people and programs see of Midwatch.
//!
//! Consumes: the read model in PostgreSQL ([`midwatch_clients::postgres::read`]),
//! the recent readings that detection keeps in Redis, and the broker's list of
//! topics and offsets. No consumer group.
//!
//! Produces: JSON under `/api`, a WebSocket feed at `/ws/live`, server-rendered
//! pages at `/` and `/incidents/{id}`, and `/openapi.json`, on `API_BIND`.
//!
//! Guarantees
//! - nothing is written: its database sessions are read-only;
//! - nothing that came from telemetry, a model or a mail becomes markup or
//!   script of a page: templates escape everything, Markdown loses its HTML,
//!   and the content security policy allows no inline script or style;
//! - every list, wait and queue has a limit; without Redis or broker the pages
//!   stay, with less on them.

pub mod activity;
pub mod error;
pub mod incidents;
pub mod known;
pub mod live;
pub mod pages;
pub mod params;
pub mod routes;
pub mod series;
pub mod topics;

pub use routes::router;

use activity::StatsCache;
use anyhow::Context as _;
use live::Live;
use midwatch_clients::postgres::read;
use midwatch_runtime::{ServiceContext, Shutdown};
use pages::Pages;
use series::Recent;
use sqlx::PgPool;
use std::net::SocketAddr;
use std::sync::Arc;
use topics::Topics;

/// Connections for readers: as many requests are answered at a time.
const CONNECTIONS: u32 = 8;

/// What every request can use. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// Read-only.
    pub pool: PgPool,
    pub recent: Arc<Recent>,
    pub topics: Arc<Topics>,
    pub live: Arc<Live>,
    pub pages: Arc<Pages>,
    pub stats: Arc<StatsCache>,
    pub shutdown: Shutdown,
}

impl App {
    /// Assembles the parts; connects to nothing.
    #[must_use]
    pub fn new(pool: &PgPool, recent: Recent, topics: Topics, shutdown: Shutdown) -> App {
        App {
            pool: read::reader_pool(pool, CONNECTIONS),
            recent: Arc::new(recent),
            topics: Arc::new(topics),
            live: Arc::new(Live::default()),
            pages: Arc::new(Pages::new()),
            stats: Arc::new(StatsCache::default()),
            shutdown,
        }
    }
}

/// Serves `app` on `listener` until its shutdown.
///
/// # Errors
/// The listener fails.
pub async fn serve(app: App, listener: tokio::net::TcpListener) -> anyhow::Result<()> {
    let shutdown = app.shutdown.clone();
    let follow = app.live.clone().follow(app.pool.clone(), shutdown.clone());
    let follower = tokio::spawn(follow);
    axum::serve(listener, router(app))
        .with_graceful_shutdown(async move { shutdown.wait().await })
        .await
        .context("serving the API")?;
    follower.await.context("the live feed")
}

/// The process: reads its settings, connects and serves until SIGTERM.
///
/// # Errors
/// A bad setting, a taken port, or no database.
pub async fn run(context: ServiceContext) -> anyhow::Result<()> {
    let bind = context.settings.text("API_BIND", "127.0.0.1:8000");
    let address = bind.parse::<SocketAddr>().ok();
    if address.is_none() {
        context.settings.problem(
            "API_BIND",
            &bind,
            "set it to an address and port such as 127.0.0.1:8000",
        );
    }
    let redis_url = context.settings.text("REDIS_URL", "redis://127.0.0.1:6379");
    context.settings.clone().finish()?;
    let address = address.context("API_BIND was judged above")?;
    let postgres = context.postgres().await?;
    let app = App::new(
        &postgres.pool,
        Recent::default(),
        Topics::new(context.kafka.clone()),
        context.shutdown.clone(),
    );
    let (recent, shutdown) = (app.recent.clone(), context.shutdown.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = recent.connect(&redis_url, &shutdown) => {}
            () = shutdown.wait() => {}
        }
    });
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| {
            format!("API_BIND is {address}: the port cannot be taken; choose a free one")
        })?;
    context.readiness.set("listener", Ok(()));
    tracing::info!(%address, "serving the API and the dashboard");
    serve(app, listener).await
}
