//! The numbers of the investigation.

use midwatch_runtime::Settings;
use midwatch_runtime::engine::EngineSettings;

/// Thresholds. Times are event time unless they say otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Two onsets this close count as one moment: the distance of two samples.
    pub same_moment_ms: i64,
    /// Below this confidence the verdict is inconclusive.
    pub conclusive: f64,
    /// LLM_MAX_ROUNDS: rounds of the tool loop, 2 to 12: the first looks at
    /// evidence, the last submits.
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
            max_rounds: settings.number("LLM_MAX_ROUNDS", 8, 2..=12),
            watch_ms: hours * 3_600_000,
            ..Config::default()
        }
    }
}

/// Notes a problem where the model may take as long as a job or longer: the
/// loop would be cut off, and its answer lost, just when it has cost most.
pub fn fits_a_job(settings: &Settings, model_seconds: u64) {
    let limit = EngineSettings::read(settings).job_timeout;
    if u128::from(model_seconds) * 1_000 >= limit.as_millis() {
        settings.problem(
            "LLM_MAX_SECONDS_PER_INCIDENT",
            &model_seconds.to_string(),
            &format!(
                "a job ends after {} ms (JOB_TIMEOUT_MS); set the seconds below that, or \
                 JOB_TIMEOUT_MS above them",
                limit.as_millis()
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(name: &str, value: &str) -> Settings {
        Settings::from_values([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn a_model_that_may_outlast_its_job_is_refused() {
        for (timeout_ms, seconds, is_fine) in [
            ("180000", 120, true),
            ("180000", 179, true),
            ("180000", 180, false),
            ("60000", 120, false),
            ("3600000", 900, true),
        ] {
            let settings = settings("JOB_TIMEOUT_MS", timeout_ms);
            fits_a_job(&settings, seconds);
            let told = settings.finish().map_err(|error| error.to_string());
            assert_eq!(told.is_ok(), is_fine, "{timeout_ms} {seconds}");
            if let Err(told) = told {
                assert!(told.contains("LLM_MAX_SECONDS_PER_INCIDENT"), "{told}");
                assert!(told.contains("JOB_TIMEOUT_MS"), "{told}");
            }
        }
    }

    #[test]
    fn one_round_could_never_submit_and_is_refused() {
        for (rounds, is_fine) in [("1", false), ("2", true), ("12", true), ("13", false)] {
            let settings = settings("LLM_MAX_ROUNDS", rounds);
            let config = Config::read(&settings);
            assert_eq!(settings.finish().is_ok(), is_fine, "{rounds}");
            assert!(config.max_rounds > 1);
        }
    }
}
