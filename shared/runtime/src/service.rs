//! Starting and stopping a process.

use crate::agent::Agent;
use crate::clock;
use crate::config::Settings;
use crate::engine;
use crate::health::{self, Readiness};
use crate::telemetry;
use anyhow::Context as _;
use midwatch_clients::embeddings::EmbeddingsClient;
use midwatch_clients::kafka::{self, KafkaSettings, Producer};
use midwatch_clients::knowledge::KnowledgeStore;
use midwatch_clients::llm::{LlmClient, LlmSettings};
use midwatch_clients::postgres::Postgres;
use midwatch_clients::redis;
use std::future::Future;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The exit code of a process whose configuration is unusable (`EX_CONFIG`).
pub const EXIT_CONFIG: u8 = 78;

/// How long a process waits at start for what it depends on.
pub const START_LIMIT: Duration = Duration::from_secs(60);

/// How long the rest of a process may take to stop after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(8);

/// Tells whether the process was asked to stop.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// A switch and the shutdown that it throws.
    #[must_use]
    pub fn channel() -> (watch::Sender<bool>, Shutdown) {
        let (sender, receiver) = watch::channel(false);
        (sender, Shutdown(receiver))
    }

    /// Whether the process was asked to stop.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the process is asked to stop.
    pub async fn wait(&self) {
        let mut receiver = self.0.clone();
        // An error means that the sender is gone: the process is ending.
        if receiver.wait_for(|stop| *stop).await.is_err() {
            tracing::debug!("the shutdown switch is gone");
        }
    }

    /// Sleeps, but not beyond the request to stop; `false` when that came.
    pub async fn sleep(&self, duration: Duration) -> bool {
        tokio::select! {
            () = self.wait() => false,
            () = tokio::time::sleep(duration) => true,
        }
    }
}

/// What a process starts from.
#[derive(Clone)]
pub struct ServiceContext {
    pub name: &'static str,
    pub settings: Settings,
    pub shutdown: Shutdown,
    pub readiness: Readiness,
    pub kafka: KafkaSettings,
}

impl ServiceContext {
    /// Connects to PostgreSQL at DATABASE_URL.
    ///
    /// # Errors
    /// Nobody answers within [`START_LIMIT`], or the URL is unusable.
    pub async fn postgres(&self) -> anyhow::Result<Postgres> {
        let url = self
            .settings
            .get("DATABASE_URL")
            .context("DATABASE_URL is not set; it looks like postgres://user@host:5432/midwatch")?;
        self.patiently("postgres", || Postgres::connect(&url, 8))
            .await
    }

    /// Connects to Redis at REDIS_URL.
    ///
    /// # Errors
    /// As [`ServiceContext::postgres`].
    pub async fn redis(&self) -> anyhow::Result<fred::clients::Client> {
        let url = self.settings.text("REDIS_URL", "redis://127.0.0.1:6379");
        self.patiently("redis", || redis::connect(&url)).await
    }

    /// Connects to the knowledge store at QDRANT_URL, with EMBEDDINGS_URL.
    ///
    /// # Errors
    /// An unusable URL. The store itself is asked only at the first search.
    pub async fn knowledge(&self) -> anyhow::Result<KnowledgeStore> {
        let embeddings = EmbeddingsClient::new(
            &self
                .settings
                .text("EMBEDDINGS_URL", "http://127.0.0.1:8081/v1"),
            self.settings.get("EMBEDDINGS_API_KEY"),
        )?;
        let url = self.settings.text("QDRANT_URL", "http://127.0.0.1:6334");
        let key = self.settings.get("QDRANT_API_KEY");
        self.patiently("knowledge", || async {
            KnowledgeStore::connect(&url, key.clone(), embeddings.clone())
        })
        .await
    }

    /// The language model, where one is configured. Share the client: its
    /// circuit breaker counts over all calls.
    ///
    /// # Errors
    /// A bad value, named.
    pub fn llm(&self) -> anyhow::Result<Option<Arc<LlmClient>>> {
        let settings =
            LlmSettings::resolve(|name| self.settings.get(name)).map_err(anyhow::Error::msg)?;
        if let Some(assumed) = settings.as_ref().and_then(LlmSettings::assumed_prices) {
            tracing::warn!("{assumed}; set LLM_PRICES=model=input/output");
        }
        let client = settings.map(LlmClient::new).transpose()?;
        Ok(client.map(Arc::new))
    }

    /// A producer for the broker.
    ///
    /// # Errors
    /// A property that librdkafka does not take.
    pub fn producer(&self) -> anyhow::Result<Producer> {
        Ok(Producer::new(&self.kafka)?)
    }

    /// The epoch of the broker's data.
    ///
    /// # Errors
    /// None was found within [`START_LIMIT`].
    pub async fn epoch(&self) -> anyhow::Result<String> {
        let settings = self.kafka.clone();
        self.patiently("kafka", move || {
            let settings = settings.clone();
            async move {
                let read = tokio::task::spawn_blocking(move || kafka::read_epoch(&settings)).await;
                match read {
                    Ok(Ok(Some(epoch))) => Ok(epoch),
                    Ok(Ok(None)) => {
                        Err("the broker has no epoch yet: run midwatch-init".to_owned())
                    }
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(error) => Err(error.to_string()),
                }
            }
        })
        .await
    }

    /// Tries until it works, the process is asked to stop, or
    /// [`START_LIMIT`] is over; readiness says how it stands.
    async fn patiently<T, E, F>(
        &self,
        dependency: &'static str,
        mut attempt: impl FnMut() -> F,
    ) -> anyhow::Result<T>
    where
        E: std::fmt::Display,
        F: Future<Output = Result<T, E>>,
    {
        let deadline = tokio::time::Instant::now() + START_LIMIT;
        let mut pause = Duration::from_millis(100);
        loop {
            match attempt().await {
                Ok(found) => {
                    self.readiness.set(dependency, Ok(()));
                    return Ok(found);
                }
                Err(error) => {
                    self.readiness.set(dependency, Err(error.to_string()));
                    if tokio::time::Instant::now() + pause > deadline {
                        anyhow::bail!(
                            "{dependency} was not there within {} s: {error}",
                            START_LIMIT.as_secs()
                        );
                    }
                    tracing::info!(%error, dependency, "not there yet");
                }
            }
            anyhow::ensure!(
                self.shutdown.sleep(pause).await,
                "asked to stop while waiting for {dependency}"
            );
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }
}

/// The broker's settings, from the environment. What is wrong is noted in
/// `settings`.
#[must_use]
pub fn kafka_settings(settings: &Settings) -> KafkaSettings {
    KafkaSettings {
        bootstrap: settings.text("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092"),
        properties: settings
            .with_prefix("KAFKA_PROPERTY_")
            .map(|(name, value)| (KafkaSettings::property_name(name), value.to_owned()))
            .collect(),
        topic_prefix: settings.text("KAFKA_TOPIC_PREFIX", ""),
        partitions: settings.number("KAFKA_PARTITIONS", 3, 1..=1_000),
    }
}

/// Runs an agent until SIGTERM. `build` makes it from the context.
pub fn run_agent<A, F, B>(name: &'static str, build: B) -> ExitCode
where
    A: Agent,
    F: Future<Output = anyhow::Result<A>> + Send + 'static,
    B: FnOnce(ServiceContext) -> F + Send + 'static,
{
    run_service(name, move |context| async move {
        let agent = build(context.clone()).await?;
        let settings = engine::EngineSettings::read(&context.settings);
        context.settings.finish()?;
        engine::run(agent, context, settings).await
    })
}

/// Runs a process until its body ends or SIGTERM comes.
pub fn run_service<F, B>(name: &'static str, body: B) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
    B: FnOnce(ServiceContext) -> F + Send + 'static,
{
    let settings = Settings::from_env();
    telemetry::init_logs(&settings);
    let workers = settings.number("WORKER_THREADS", 2, 1..=256);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the async runtime does not start");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(supervise(name, settings, body));
    runtime.shutdown_timeout(Duration::from_secs(2));
    match result {
        Ok(()) => {
            tracing::info!(service = name, "stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(service = name, "{error:#}");
            if error.is::<crate::ConfigError>() {
                ExitCode::from(EXIT_CONFIG)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

async fn supervise<F, B>(name: &'static str, settings: Settings, body: B) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
    B: FnOnce(ServiceContext) -> F + Send + 'static,
{
    let (stop, shutdown) = Shutdown::channel();
    let readiness = Readiness::default();
    let context = ServiceContext {
        name,
        kafka: kafka_settings(&settings),
        settings: settings.clone(),
        shutdown: shutdown.clone(),
        readiness: readiness.clone(),
    };
    let bind = settings.text("HTTP_BIND", "127.0.0.1:0");
    let address: Option<SocketAddr> = bind.parse().ok();
    if address.is_none() {
        settings.problem(
            "HTTP_BIND",
            &bind,
            "set it to an address such as 127.0.0.1:9101",
        );
    }
    settings.finish()?;
    let prometheus = telemetry::init_metrics()?;
    let address = address.context("the address was checked just before")?;
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("HTTP_BIND {address} cannot be taken"))?;
    tracing::info!(service = name, address = %listener.local_addr()?, started_ms = clock::now_ms(), "starting");
    let waiting = shutdown.clone();
    let server = axum::serve(listener, health::router(name, readiness, prometheus))
        .with_graceful_shutdown(async move { waiting.wait().await });
    let server = tokio::spawn(server.into_future());

    let mut body = tokio::spawn(body(context));
    let result = tokio::select! {
        ended = &mut body => ended,
        () = stop_signal() => {
            tracing::info!(service = name, "asked to stop");
            stop.send_replace(true);
            match tokio::time::timeout(STOP_LIMIT, &mut body).await {
                Ok(ended) => ended,
                Err(_) => {
                    body.abort();
                    anyhow::bail!("did not stop within {} s", STOP_LIMIT.as_secs());
                }
            }
        }
    };
    let asked = shutdown.is_set();
    stop.send_replace(true);
    server.abort();
    match result {
        Ok(Err(error)) if asked => {
            tracing::debug!(%error, "the body ended while stopping");
            Ok(())
        }
        Ok(ended) => ended,
        Err(error) => Err(anyhow::anyhow!("the service panicked: {error}")),
    }
}

/// Waits for SIGTERM or SIGINT.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                result = tokio::signal::ctrl_c() => {
                    if let Err(error) = result {
                        tracing::warn!(%error, "Ctrl-C cannot be listened for");
                        terminate.recv().await;
                    }
                }
            }
        }
        Err(error) => {
            tracing::warn!(%error, "SIGTERM cannot be listened for");
            std::future::pending::<()>().await;
        }
    }
}
