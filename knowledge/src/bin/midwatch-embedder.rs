//! The embedder: one process that holds the model, for all that need vectors.

use anyhow::Context;
use clap::Parser;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use midwatch_knowledge::embedder::api;
use midwatch_knowledge::embedder::model::{ModelFiles, ModelHandle};
use midwatch_knowledge::init_logging;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long requests in work may take after a signal to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// Recorded durations are folded into their buckets at this pace; without it
/// they would pile up while nobody reads the metrics.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// Serves all-MiniLM-L6-v2 as POST /v1/embeddings.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Address and port to listen on.
    #[arg(long, env = "HTTP_BIND", default_value = "127.0.0.1:8081")]
    http_bind: SocketAddr,
    /// Folder with model.onnx and its tokenizer files.
    #[arg(long, env = "MODEL_DIR")]
    model_dir: PathBuf,
    /// ONNX Runtime's shared library.
    #[arg(long, env = "ORT_DYLIB_PATH")]
    ort_dylib_path: PathBuf,
    /// auto, human or json.
    #[arg(long, env = "LOG_FORMAT", default_value = "auto")]
    log_format: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    init_logging(&arguments.log_format);
    let files = ModelFiles {
        library: arguments.ort_dylib_path,
        dir: arguments.model_dir,
    };
    files.check()?;
    let metrics = install_metrics()?;
    let listener = tokio::net::TcpListener::bind(arguments.http_bind)
        .await
        .with_context(|| {
            format!(
                "HTTP_BIND is {}, where nothing can listen; choose a free port",
                arguments.http_bind
            )
        })?;
    let (model, mut model_ended) = ModelHandle::start(files)?;
    tracing::info!(address = %arguments.http_bind, "listening, loading the model");

    let (stop, mut stopping) = watch::channel(false);
    let router = api::router(model, metrics);
    let mut server = tokio::spawn(
        axum::serve(listener, router)
            .with_graceful_shutdown(async move {
                // An error means that the sender is gone, which also means stop.
                stopping.changed().await.ok();
            })
            .into_future(),
    );
    let mut terminate = signal(SignalKind::terminate()).context("no handler for SIGTERM")?;
    tokio::select! {
        result = &mut server => {
            result.context("the server's task failed")?.context("the server failed")?;
            anyhow::bail!("the server ended by itself");
        }
        error = &mut model_ended => match error {
            Ok(error) => return Err(error),
            Err(_) => anyhow::bail!("the model's thread broke down; its message stands above"),
        },
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    tracing::info!("stopping");
    stop.send_replace(true);
    match tokio::time::timeout(DRAIN, server).await {
        Ok(result) => result
            .context("the server's task failed")?
            .context("the server failed"),
        Err(_) => {
            tracing::warn!(
                seconds = DRAIN.as_secs(),
                "requests were still in work; stopped anyway"
            );
            Ok(())
        }
    }
}

fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets(&[
            0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
        ])
        .context("metric buckets")?
        .install_recorder()
        .context("metrics recorder")?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(METRICS_UPKEEP);
        loop {
            ticks.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}
