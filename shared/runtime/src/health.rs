//! `/healthz`, `/readyz` and `/metrics` of a process.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// What a process depends on, and whether it is there. A process is ready
/// when it has named at least one dependency and all of them are there.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    states: Arc<RwLock<BTreeMap<&'static str, Result<(), String>>>>,
}

impl Readiness {
    /// Says how a dependency is.
    pub fn set(&self, dependency: &'static str, state: Result<(), String>) {
        self.states
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(dependency, state);
    }

    /// All dependencies, and whether the process is ready.
    #[must_use]
    pub fn report(&self) -> (bool, BTreeMap<&'static str, Result<(), String>>) {
        let states = self
            .states
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let ready = !states.is_empty() && states.values().all(Result::is_ok);
        (ready, states)
    }
}

/// Sets what is true at the moment of a scrape: readiness, build, and the
/// process's own CPU, memory, files and start time.
fn measure(name: &str, readiness: &Readiness) {
    let (ready, states) = readiness.report();
    metrics::gauge!(format!("midwatch_{name}_ready")).set(f64::from(u8::from(ready)));
    for (dependency, state) in states {
        metrics::gauge!(format!("midwatch_{name}_dependency_up"), "dependency" => dependency)
            .set(f64::from(u8::from(state.is_ok())));
    }
    metrics::gauge!("midwatch_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    metrics_process::Collector::default().collect();
}

#[derive(Clone)]
struct HealthState {
    name: &'static str,
    readiness: Readiness,
    prometheus: PrometheusHandle,
}

/// The routes of the health listener.
pub fn router(name: &'static str, readiness: Readiness, prometheus: PrometheusHandle) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .with_state(HealthState {
            name,
            readiness,
            prometheus,
        })
}

async fn healthz(State(state): State<HealthState>) -> impl IntoResponse {
    Json(serde_json::json!({"service": state.name, "status": "ok"}))
}

async fn readyz(State(state): State<HealthState>) -> impl IntoResponse {
    let (ready, states) = state.readiness.report();
    let dependencies: BTreeMap<&str, String> = states
        .into_iter()
        .map(|(name, state)| (name, state.err().unwrap_or_else(|| "ok".to_owned())))
        .collect();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = serde_json::json!({
        "service": state.name, "ready": ready, "dependencies": dependencies,
    });
    (status, Json(body))
}

async fn metrics_text(State(state): State<HealthState>) -> impl IntoResponse {
    measure(state.name, &state.readiness);
    let kind = [("content-type", "text/plain; version=0.0.4")];
    (kind, state.prometheus.render())
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_exporter_prometheus::PrometheusBuilder;

    #[test]
    fn a_scrape_says_what_is_missing_and_what_the_process_uses() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let readiness = Readiness::default();
        readiness.set("kafka", Ok(()));
        readiness.set("redis", Err("connection refused".to_owned()));
        metrics::with_local_recorder(&recorder, || measure("detection", &readiness));
        let text = recorder.handle().render();
        for line in [
            "midwatch_detection_ready 0",
            "midwatch_detection_dependency_up{dependency=\"kafka\"} 1",
            "midwatch_detection_dependency_up{dependency=\"redis\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        for name in [
            "process_cpu_seconds_total ",
            "process_resident_memory_bytes ",
            "process_start_time_seconds ",
        ] {
            assert!(
                text.lines().any(|line| line.starts_with(name)),
                "{name} in\n{text}"
            );
        }

        readiness.set("redis", Ok(()));
        metrics::with_local_recorder(&recorder, || measure("detection", &readiness));
        let text = recorder.handle().render();
        assert!(text.contains("\nmidwatch_detection_ready 1\n"), "{text}");
    }
}
