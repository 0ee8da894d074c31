//! The small HTTP side: health, metrics and a list of collections in Qdrant's JSON.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::{Value, json};

use crate::collections::PROTOCOL_VERSION;
use crate::store::Store;

/// The routes over that store. The store is complete before anything listens, so ready is healthy.
pub fn routes(store: Arc<Store>) -> axum::Router {
    let alive = || async { "ok\n" };
    axum::Router::new()
        .route("/", get(title))
        .route("/healthz", get(alive))
        .route("/livez", get(alive))
        .route("/readyz", get(alive))
        .route("/collections", get(collections))
        .route("/metrics", get(metrics))
        .with_state(store)
}

async fn title() -> Json<Value> {
    Json(json!({"title": "midwatch-vectors", "version": PROTOCOL_VERSION}))
}

async fn collections(State(store): State<Arc<Store>>) -> Json<Value> {
    let start = Instant::now();
    let names = store.collections();
    let names: Vec<Value> = names
        .iter()
        .map(|found| json!({"name": found.name()}))
        .collect();
    let time = start.elapsed().as_secs_f64();
    Json(json!({"result": {"collections": names}, "status": "ok", "time": time}))
}

/// Prometheus text; the label is bounded by the limit on collections.
async fn metrics(State(store): State<Arc<Store>>) -> Response {
    // A writer may hold a collection's log while it syncs, hence not on a network thread.
    let rendered = tokio::task::spawn_blocking(move || render(&store))
        .await
        .unwrap_or_default();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], rendered).into_response()
}

fn render(store: &Store) -> String {
    let mut points = String::from(
        "# HELP midwatch_vectors_points Points held.\n# TYPE midwatch_vectors_points gauge\n",
    );
    let mut bytes = String::from(
        "# HELP midwatch_vectors_log_bytes Size of the log on disk.\n# TYPE midwatch_vectors_log_bytes gauge\n",
    );
    for collection in store.collections() {
        let name = collection.name();
        // One lock at a time: a writer takes them in the other order.
        let held = collection.read().points.len();
        let logged = collection.log_bytes();
        writeln!(
            points,
            "midwatch_vectors_points{{collection=\"{name}\"}} {held}"
        )
        .expect("writing to a string cannot fail");
        writeln!(
            bytes,
            "midwatch_vectors_log_bytes{{collection=\"{name}\"}} {logged}"
        )
        .expect("writing to a string cannot fail");
    }
    points + &bytes
}
