//! The API and the pages: what people and programs see of Midwatch.
//!
//! Consumes: the read model in PostgreSQL ([`midwatch_clients::postgres::read`]),
//! the recent readings that detection keeps in Redis, the broker's topics,
//! groups, offsets and dead letters, the knowledge store, the service catalogue,
//! and `/readyz` and `/metrics` of the processes in `AGENT_ENDPOINTS`. It joins
//! no consumer group.
//!
//! Produces: JSON under `/api`, a WebSocket feed at `/ws/live`, server-rendered
//! pages at `/`, `/incidents/{id}`, `/fleet`, `/fleet/{service}`, `/knowledge`
//! and `/agents`, and `/openapi.json`, on `API_BIND`.
//!
//! Guarantees
//! - two things leave here, and only when a person or program asks with POST.
//!   A dead letter is sent to its topic again, once, and the row in
//!   `dead_letters_resent` says by whom and how it ended ([`dead_letters`]). An
//!   operator's command is published on `operator.commands`, for the agents to
//!   obey ([`commands`]), and only for somebody with a credential: a token or a
//!   trusted proxy's word ([`operators`]), a one-time link ([`approve`],
//!   [`acknowledge`]), whose use is a row in `approval_links_used`, a known user's press of a button in
//!   Slack ([`slack`]) or Telegram ([`telegram`]), or, to acknowledge only, a
//!   person whom PagerDuty names ([`pagerduty`]). Both tables have a pool of their own, whose role may
//!   write nothing else; all other database sessions are read-only;
//! - only pages of this server and programs may ask ([`origin`]);
//! - nothing that came from telemetry, a model or a mail becomes markup or
//!   script of a page: templates escape everything, Markdown loses its HTML,
//!   and the content security policy allows no inline script or style;
//! - every list, wait and queue has a limit; without Redis or broker the pages
//!   stay, with less on them.

pub mod acknowledge;
pub mod activity;
pub mod agents;
pub mod approve;
pub mod caller;
pub mod commands;
pub mod dead_letters;
pub mod doors;
pub mod error;
pub mod fleet;
pub mod incidents;
pub mod knowledge;
pub mod known;
pub mod links;
pub mod live;
pub mod operators;
pub mod origin;
pub mod pagerduty;
pub mod pages;
pub mod params;
pub mod plan;
pub mod routes;
pub mod series;
pub mod setup;
pub mod slack;
pub mod telegram;
pub mod topic_page;
pub mod topics;

pub use routes::router;

use activity::StatsCache;
use agents::Prober;
use anyhow::Context as _;
use fleet::CatalogueFile;
use live::Live;
use midwatch_clients::kafka::{BrokerReader, KafkaError, Producer};
use midwatch_clients::knowledge::KnowledgeStore;
use midwatch_clients::postgres::{dead_letters as letters, read};
use midwatch_clients::signed_link::LinkKey;
use midwatch_runtime::{ServiceContext, Shutdown};
use operators::Operators;
use origin::Origins;
use pagerduty::PagerDuty;
use pages::Pages;
use series::Recent;
use slack::Slack;
use sqlx::PgPool;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use telegram::Telegram;
use topic_page::TopicPage;
use topics::Topics;

/// Connections for readers: as many requests are answered at a time.
const CONNECTIONS: u32 = 8;

/// What every request can use. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// Read-only.
    pub pool: PgPool,
    /// For `dead_letters_resent` and `approval_links_used` only.
    pub resender: PgPool,
    /// Made when the first message is sent.
    producer: Arc<Mutex<Option<Producer>>>,
    pub prober: Arc<Prober>,
    pub catalogue: Arc<CatalogueFile>,
    /// `None` where none is configured.
    pub knowledge: Option<KnowledgeStore>,
    pub origins: Arc<Origins>,
    pub operators: Arc<Operators>,
    /// What one-time links are signed with; `None` where none are taken.
    pub link_key: Option<Arc<LinkKey>>,
    /// `None` where Slack's buttons are not taken.
    pub slack: Option<Arc<Slack>>,
    /// `None` where PagerDuty's webhooks are not taken.
    pub pagerduty: Option<Arc<PagerDuty>>,
    /// `None` where Telegram's buttons are not taken.
    pub telegram: Option<Arc<Telegram>>,
    /// How long an open incident stands for a new one on its service.
    pub duplicate_window_ms: i64,
    pub recent: Arc<Recent>,
    pub topics: Arc<Topics>,
    pub live: Arc<Live>,
    pub pages: Arc<Pages>,
    pub stats: Arc<StatsCache>,
    pub shutdown: Shutdown,
}

impl App {
    /// Assembles the parts; connects to nothing. What the environment names
    /// beside them is set by [`setup::Setup`].
    #[must_use]
    pub fn new(pool: &PgPool, recent: Recent, topics: Topics, shutdown: Shutdown) -> App {
        App {
            pool: read::reader_pool(pool, CONNECTIONS),
            resender: letters::resender_pool(pool),
            producer: Arc::default(),
            prober: Arc::new(Prober::new(Vec::new())),
            catalogue: Arc::new(CatalogueFile::below(Path::new("knowledge"))),
            knowledge: None,
            origins: Arc::default(),
            operators: Arc::default(),
            link_key: None,
            slack: None,
            pagerduty: None,
            telegram: None,
            duplicate_window_ms: 60 * 60_000,
            recent: Arc::new(recent),
            topics: Arc::new(topics),
            live: Arc::new(Live::default()),
            pages: Arc::new(Pages::new()),
            stats: Arc::new(StatsCache::default()),
            shutdown,
        }
    }

    /// The process's one reader of the broker.
    #[must_use]
    pub fn broker(&self) -> &BrokerReader {
        self.topics.reader()
    }

    /// The producer for commands and dead letters that are sent again.
    ///
    /// # Errors
    /// A property that librdkafka does not take.
    pub fn sender(&self) -> Result<Producer, KafkaError> {
        let mut slot = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(producer) = &*slot {
            return Ok(producer.clone());
        }
        let producer = Producer::new(self.broker().settings())?;
        Ok(slot.insert(producer).clone())
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
    let router = router(app).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, router)
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
    let setup = setup::Setup::read(&context.settings);
    let topics_bind = topic_page::bind(&context.settings);
    context.settings.clone().finish()?;
    let address = address.context("API_BIND was judged above")?;
    // Not ready on the database alone: pages come with the listener.
    let not_yet = "it does not listen yet".to_owned();
    context.readiness.set("listener", Err(not_yet));
    let postgres = context.postgres().await?;
    let mut app = App::new(
        &postgres.pool,
        Recent::default(),
        Topics::new(context.kafka.clone()),
        context.shutdown.clone(),
    );
    setup.apply(&mut app);
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
    let topics_listener = match topics_bind {
        Some(address) => Some(topic_page::listen(address).await?),
        None => None,
    };
    context.readiness.set("listener", Ok(()));
    tracing::info!(%address, "serving the API and the dashboard");
    let page = TopicPage::new(
        app.topics.clone(),
        Some(address.port()),
        app.shutdown.clone(),
    );
    tokio::try_join!(
        serve(app, listener),
        topic_page::serve(page, topics_listener)
    )?;
    Ok(())
}
