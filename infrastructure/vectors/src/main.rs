//! `midwatch-vectors`: the local vector store as a process of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser;
use midwatch_vectors::store::{Limits, Store};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A small local vector store that speaks Qdrant's gRPC protocol.
#[derive(Debug, Parser)]
#[command(name = "midwatch-vectors", version)]
struct Options {
    /// Where to serve gRPC; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:6334")]
    bind: SocketAddr,
    /// Where to serve health, metrics and the list of collections over HTTP.
    #[arg(long, env = "HTTP_BIND", default_value = "127.0.0.1:6333")]
    http_bind: SocketAddr,
    /// The folder that holds the collections; created if missing.
    #[arg(long)]
    data: PathBuf,
    /// Points that a collection may hold.
    #[arg(long, default_value_t = Limits::default().max_points)]
    max_points: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .from_env();
    let filter = filter.context("RUST_LOG is no log filter; use for example RUST_LOG=info")?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();

    let limits = Limits {
        max_points: options.max_points,
        ..Limits::default()
    };
    let store = Arc::new(Store::open(&options.data, limits)?);
    let grpc = bind("--bind", options.bind).await?;
    let http = bind("--http-bind", options.http_bind).await?;
    let mut terminate = signal(SignalKind::terminate()).context("watching for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("watching for SIGINT")?;
    // One line on standard output for whoever started this with port 0.
    println!(
        "listening grpc={} http={}",
        grpc.local_addr()?,
        http.local_addr()?
    );
    tracing::info!(data = %options.data.display(), collections = store.collections().len(), "ready");
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    };
    midwatch_vectors::serve(store, grpc, Some(http), stop).await
}

async fn bind(flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("{address} cannot be bound; free it or choose another with {flag}")
    })
}
