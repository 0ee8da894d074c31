//! Logs and metrics of a process.

use crate::config::Settings;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::io::IsTerminal;
use std::time::Duration;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Sets up logging: human on a terminal, JSON otherwise, unless LOG_FORMAT says
/// which. RUST_LOG filters; the default is `info`, and quiet libraries.
pub fn init_logs(settings: &Settings) {
    let filter = settings.text(
        "RUST_LOG",
        "info,rdkafka=error,librdkafka=error,fred=error,sqlx=warn",
    );
    let filter = EnvFilter::try_new(&filter).unwrap_or_else(|error| {
        settings.problem(
            "RUST_LOG",
            &filter,
            &format!("use a filter such as info ({error})"),
        );
        EnvFilter::new("info")
    });
    let json = match settings.text("LOG_FORMAT", "auto").as_str() {
        "json" => true,
        "human" => false,
        "auto" => !std::io::stderr().is_terminal(),
        other => {
            settings.problem("LOG_FORMAT", other, "set it to auto, human or json");
            false
        }
    };
    let registry = tracing_subscriber::registry().with(filter);
    let done = if json {
        let layer = tracing_subscriber::fmt::layer().json().flatten_event(true);
        registry.with(layer.with_writer(std::io::stderr)).try_init()
    } else {
        let layer = tracing_subscriber::fmt::layer().with_target(false);
        registry.with(layer.with_writer(std::io::stderr)).try_init()
    };
    if let Err(error) = done {
        // Only a second call in one process fails, and then the first rules.
        tracing::debug!(%error, "logging was set up already");
    }
}

/// Recorded durations are folded into their buckets at this pace; without it
/// they would pile up while nobody reads the metrics.
const UPKEEP: Duration = Duration::from_secs(5);

/// Installs the process's metric recorder. Call it inside the runtime.
///
/// # Errors
/// A recorder is installed already, or a bucket list is empty.
pub fn init_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets(&[
            0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
            120.0,
        ])?
        .install_recorder()?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}
