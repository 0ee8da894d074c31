//! Settings of the collector.

use midwatch_runtime::Settings;
use std::path::PathBuf;
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
    /// Mount points whose file systems, and what is mounted below them, are
    /// not read (HOST_MOUNTS_EXCLUDE, separated by commas, default none).
    pub mounts_excluded: Vec<PathBuf>,
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
            mounts_excluded: mounts(settings),
            spool_samples: settings.number("SPOOL_SAMPLES", 10_000, 100..=1_000_000),
            consumer_lag: settings.flag("COLLECT_CONSUMER_LAG", true),
        }
    }
}

/// A relative path would exclude nothing, and nobody would notice.
fn mounts(settings: &mut Settings) -> Vec<PathBuf> {
    let text = settings.text("HOST_MOUNTS_EXCLUDE", "");
    let names = text.split(',').map(str::trim);
    let paths: Vec<PathBuf> = names
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .collect();
    if paths.iter().any(|path| path.is_relative()) {
        let fix = "give mount points as absolute paths, separated by commas";
        settings.problem("HOST_MOUNTS_EXCLUDE", &text, fix);
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excluded_mounts_are_absolute_paths() {
        let read = |value: &str| {
            let values = [("HOST_MOUNTS_EXCLUDE".to_owned(), value.to_owned())];
            let mut settings = Settings::from_values(values);
            let config = CollectorConfig::read(&mut settings);
            (config.mounts_excluded, settings.finish())
        };
        let (paths, result) = read("/backup, /mnt/cold,");
        assert_eq!(
            paths,
            [PathBuf::from("/backup"), PathBuf::from("/mnt/cold")]
        );
        assert!(result.is_ok());
        let error = read("/backup,data").1.expect_err("data is relative");
        assert!(error.to_string().contains("absolute paths"), "{error}");
    }

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
