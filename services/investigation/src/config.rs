//! The numbers of the investigation.

use midwatch_runtime::Settings;

/// Thresholds. Times are event time unless they say otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Two onsets this close count as one moment: the distance of two samples.
    pub same_moment_ms: i64,
    /// Below this confidence the verdict is inconclusive.
    pub conclusive: f64,
    /// LLM_MAX_ROUNDS: rounds of the tool loop, at most 12.
    pub max_rounds: u32,
    /// INVESTIGATION_WATCH_HOURS, wall clock: after this long without an end
    /// the audit trail says that the watch goes on.
    pub watch_ms: i64,
    /// So long an answer waits for the model's advice, wall clock; then the
    /// deterministic one stands: LLM_MAX_SECONDS_PER_INCIDENT and half a minute
    /// more, because a loop that lives ends by itself and says more.
    pub deadline_ms: i64,
    /// So long an answer waits for the records, wall clock: reading them takes
    /// a second, and three tries of a store that is away take about ten.
    pub records_ms: i64,
    /// A restart in the middle of a wait gets this much more time, wall clock.
    pub grace_ms: i64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            same_moment_ms: 10_000,
            conclusive: crate::rca::answer::CONCLUSIVE,
            max_rounds: 8,
            watch_ms: 6 * 3_600_000,
            deadline_ms: 150_000,
            records_ms: 30_000,
            grace_ms: 15_000,
        }
    }
}

impl Config {
    /// Reads the environment; bad values are noted in `settings`.
    #[must_use]
    pub fn read(settings: &Settings) -> Config {
        let hours = settings.number("INVESTIGATION_WATCH_HOURS", 6_i64, 1..=168);
        Config {
            max_rounds: settings.number("LLM_MAX_ROUNDS", 8, 1..=12),
            watch_ms: hours * 3_600_000,
            ..Config::default()
        }
    }
}
