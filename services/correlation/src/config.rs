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
    /// How much later, in event time, what a service calls may have left its
    /// range and still explain the service's trouble: a threshold is crossed
    /// sooner here than there, and readings come every ten seconds. Two minutes
    /// are what a slow ramp needs; two faults further apart are two.
    pub order_slack_ms: i64,
    /// CORRELATION_EDGE_TTL_MINUTES, event time: an edge that only spans or log
    /// lines have shown counts for this long after it was last seen. Six hours
    /// bridge a quiet night of a rarely used path.
    pub edge_lifetime_ms: i64,
    /// REOPEN_WINDOW_MINUTES, event time: a relapse of what an incident was
    /// opened on within this time of its end reopens it.
    pub reopen_window_ms: i64,
    /// DUPLICATE_WINDOW_MINUTES, event time: an identical fault within this
    /// time of the end of one that recovered by itself reopens that incident,
    /// too, [`crate::decide::life::REPEATS`] times at most.
    pub duplicate_window_ms: i64,
    /// Anomalies listed per incident. A storm beyond it is counted, and each
    /// of [`crate::decide::beyond::FOLLOWED`] more followed until it is over.
    /// The state is one JSON document that is written with every input: with
    /// two thousand it is about half a megabyte.
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
            order_slack_ms: 120_000,
            edge_lifetime_ms: 6 * 3_600_000,
            reopen_window_ms: 15 * 60_000,
            duplicate_window_ms: 60 * 60_000,
            max_anomalies: 2_000,
        }
    }
}

impl Config {
    /// Reads the environment; bad values are noted in `settings`.
    #[must_use]
    pub fn read(settings: &Settings) -> Config {
        let default = Config::default();
        let minutes = |name: &str, minutes: u32, most: u32| {
            i64::from(settings.number(name, minutes, 1..=most)) * 60_000
        };
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
            deployment_window_ms: minutes("DEPLOYMENT_WINDOW_MINUTES", 60, 1_440),
            order_slack_ms: default.order_slack_ms,
            edge_lifetime_ms: minutes("CORRELATION_EDGE_TTL_MINUTES", 360, 10_080),
            reopen_window_ms: minutes("REOPEN_WINDOW_MINUTES", 15, 1_440),
            duplicate_window_ms: minutes("DUPLICATE_WINDOW_MINUTES", 60, 1_440),
            max_anomalies: default.max_anomalies,
        }
    }
}
