//! Settings of the collector.

use midwatch_runtime::Settings;
use std::time::Duration;

/// What the collector runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorConfig {
    /// Time between readings (COLLECT_INTERVAL_MS, default 10 000).
    pub interval: Duration,
    /// The environment that this machine reports (HOST_ENVIRONMENT, `local`).
    pub environment: String,
    /// The name of this machine (HOST_NAME, default its own).
    pub host: Option<String>,
    /// Samples that wait while the broker is away (SPOOL_SAMPLES, 10 000:
    /// about two hours of an ordinary machine, ten megabytes).
    pub spool_samples: usize,
    /// Whether this collector reads the lag of Midwatch's consumer groups
    /// (COLLECT_CONSUMER_LAG, default 1). Where several collectors run, one is
    /// enough: two would tell each reading twice.
    pub consumer_lag: bool,
}

impl CollectorConfig {
    /// Reads the variables; what is wrong is noted in `settings`.
    #[must_use]
    pub fn read(settings: &mut Settings) -> CollectorConfig {
        // Under a second the readings cost more than they tell, and the kernel
        // updates its CPU counters only every few hundredths.
        let interval_ms = settings.number("COLLECT_INTERVAL_MS", 10_000, 1_000..=3_600_000);
        CollectorConfig {
            interval: Duration::from_millis(interval_ms),
            environment: settings.text("HOST_ENVIRONMENT", "local"),
            host: settings.get("HOST_NAME"),
            spool_samples: settings.number("SPOOL_SAMPLES", 10_000, 100..=1_000_000),
            consumer_lag: settings.flag("COLLECT_CONSUMER_LAG", true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hasty_interval_is_refused_by_name() {
        let values = [("COLLECT_INTERVAL_MS".to_owned(), "10".to_owned())];
        let mut settings = Settings::from_values(values);
        let config = CollectorConfig::read(&mut settings);
        assert_eq!(config.interval, Duration::from_secs(10));
        assert_eq!(config.environment, "local");
        let error = settings.finish().expect_err("10 ms is too short");
        assert!(
            error.to_string().contains("COLLECT_INTERVAL_MS is \"10\""),
            "{error}"
        );
    }
}
