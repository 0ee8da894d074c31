//! A small local vector store that speaks Qdrant's gRPC protocol.
//!
//! Consumes: `qdrant.Collections`, `qdrant.Points` and `qdrant.Qdrant` calls of any Qdrant client
//! (protocol 1.20), for collections with one unnamed dense float32 vector per point.
//! Produces: exact answers (brute force over every point that passes the filter), plus `/healthz`,
//! `/readyz`, `/metrics` and `/collections` over HTTP.
//!
//! Guarantees: what was acknowledged survives `kill -9` and a power cut, as far as the disk keeps
//! what it synced; one upsert is stored whole or not at all; a call, condition or option that is not
//! served is refused with `UNIMPLEMENTED` and its name, never half obeyed. Settings that only tune an
//! approximate index (HNSW, quantization, optimizers) are accepted and kept, and change nothing.
//!
//! It is the default of the local stack, where some thousand points are the rule. Compose and
//! Kubernetes use the real Qdrant through the same client code.

pub mod collection;
pub mod collections;
pub mod filter;
pub mod http;
pub mod path;
pub mod persist;
pub mod points;
pub mod reply;
pub mod space;
pub mod store;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use qdrant_client::qdrant::collections_server::CollectionsServer;
use qdrant_client::qdrant::points_server::PointsServer;
use qdrant_client::qdrant::qdrant_server::QdrantServer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::collections::{CollectionsService, HealthService};
use crate::points::PointsService;
use crate::store::Store;

/// The largest request: 20 000 points of 384 dimensions with a payload fit; above it a client
/// should send several, because one request is one record of the log and one wait for the disk.
const MAX_REQUEST_BYTES: usize = 64 * 1024 * 1024;
/// Calls of one connection that run at once; more wait in HTTP/2 flow control.
const CALLS_PER_CONNECTION: u32 = 64;
/// No call may hold its client longer; a full scan at the default limits takes under a second.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long open calls may take to finish once a stop was asked for.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves the store on bound listeners until `stop` resolves, then lets open calls finish.
///
/// # Errors
/// A listener that fails.
pub async fn serve(
    store: Arc<Store>,
    grpc: TcpListener,
    http: Option<TcpListener>,
    stop: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let (stop_sender, stopped) = watch::channel(false);
    let router = Server::builder()
        .timeout(CALL_TIMEOUT)
        .max_concurrent_streams(CALLS_PER_CONNECTION)
        .add_service(QdrantServer::new(HealthService))
        .add_service(
            CollectionsServer::new(CollectionsService::new(store.clone()))
                .max_decoding_message_size(MAX_REQUEST_BYTES),
        )
        .add_service(
            PointsServer::new(PointsService::new(store.clone()))
                .max_decoding_message_size(MAX_REQUEST_BYTES),
        );
    let incoming = TcpIncoming::from(grpc).with_nodelay(Some(true));
    let grpc = router.serve_with_incoming_shutdown(incoming, ended(stopped.clone()));
    let http = async {
        match http {
            Some(listener) => {
                let service = axum::serve(listener, http::routes(store));
                service
                    .with_graceful_shutdown(ended(stopped))
                    .await
                    .context("serving HTTP")
            }
            None => Ok(()),
        }
    };
    let serving = async {
        let (grpc, http) = tokio::join!(async { grpc.await.context("serving gRPC") }, http);
        grpc.and(http)
    };
    tokio::pin!(serving);
    tokio::select! {
        result = &mut serving => return result,
        () = stop => {}
    }
    stop_sender.send_replace(true);
    match tokio::time::timeout(DRAIN, serving).await {
        Ok(result) => result,
        Err(_) => {
            tracing::warn!(
                seconds = DRAIN.as_secs(),
                "open calls were cut off at the end of the drain time"
            );
            Ok(())
        }
    }
}

async fn ended(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is the end as well.
    if stopped.wait_for(|stopped| *stopped).await.is_err() {
        tracing::debug!("the server's owner is gone");
    }
}
