//! The numbers of correlation.

use midwatch_runtime::Settings;

/// Thresholds and windows. Times are event time unless they say otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// CORRELATION_SETTLE_MS, wall clock: how long the first anomaly waits for
    /// company before the incident is announced. The alert mail is due within
    /// 15 s of the breach; three seconds let the second tick of a compressed
    /// simulation and the neighbours' first anomalies in.
    pub settle_ms: i64,
    /// CORRELATION_GROW_MS, wall clock: how long changes of an open incident
    /// are collected into one update.
    pub grow_ms: i64,
    /// CORRELATION_WINDOW_MS: an anomaly joins when its onset lies within this
    /// time of an anomaly of the incident, or while one is still active. A
    /// fault's echo reaches its callers within a few samples of 10 s; ten
    /// minutes also covers slow ones such as a queue that fills.
    pub window_ms: i64,
    /// CORRELATION_MAX_HOPS: how far apart in the service graph two anomalies
    /// may be to belong together.
    pub max_hops: u32,
    /// CASCADE_ERROR_PERCENT: a neighbour's error rate from which a cascade is
    /// assumed.
    pub cascade_error_percent: f64,
    /// DEPLOYMENT_WINDOW_MINUTES: a deployment is suspect for this long;
    /// its strength is 1 − Δt / window.
    pub deployment_window_ms: i64,
    /// Anomalies kept per incident. A storm beyond it is counted, not listed:
    /// the state is one JSON document that is written with every input.
    pub max_anomalies: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            settle_ms: 3_000,
            grow_ms: 2_000,
            window_ms: 600_000,
            max_hops: 2,
            cascade_error_percent: 5.0,
            deployment_window_ms: 3_600_000,
            max_anomalies: 200,
        }
    }
}

impl Config {
    /// Reads the environment; bad values are noted in `settings`.
    #[must_use]
    pub fn read(settings: &Settings) -> Config {
        let default = Config::default();
        let minutes = settings.number("DEPLOYMENT_WINDOW_MINUTES", 60, 1..=1_440);
        Config {
            settle_ms: settings.number("CORRELATION_SETTLE_MS", default.settle_ms, 0..=60_000),
            grow_ms: settings.number("CORRELATION_GROW_MS", default.grow_ms, 0..=60_000),
            window_ms: settings.number(
                "CORRELATION_WINDOW_MS",
                default.window_ms,
                10_000..=7_200_000,
            ),
            max_hops: settings.number("CORRELATION_MAX_HOPS", default.max_hops, 0..=10),
            cascade_error_percent: settings.number(
                "CASCADE_ERROR_PERCENT",
                default.cascade_error_percent,
                0.1..=100.0,
            ),
            deployment_window_ms: i64::from(minutes) * 60_000,
            max_anomalies: default.max_anomalies,
        }
    }
}
