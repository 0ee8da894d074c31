//! Thresholds of detection: unit, default and where the default comes from.

use crate::decide::semantics::overrides::Semantics;
use midwatch_runtime::config::Settings;
use std::sync::Arc;
use std::time::Duration;

/// What the pure core needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    /// `SIGMA_THRESHOLD`, σ, default 2.5 (reference values of the first
    /// version): 2.5 stand for the largest error of the past day. A reading at
    /// twice this is believed at once.
    pub sigma_threshold: f64,
    /// `BASELINE_MIN_SAMPLES`, samples, default 10 (reference values): fewer
    /// say too little about the spread to judge by it.
    pub min_samples: usize,
    /// `DEDUP_TTL_SECONDS`, seconds of event time, default 300 (reference
    /// values): what leaves its range again within it is the same anomaly.
    pub dedup_ms: i64,
    /// `LOG_DEDUP_TTL_SECONDS`, seconds of event time, default 120 (reference values);
    /// also the silence after which a log finding is over.
    pub log_dedup_ms: i64,
    /// `KUBERNETES_CLEAR_SECONDS`, seconds of event time, default 300: the kubelet
    /// repeats back-off events at most five minutes apart.
    pub kubernetes_clear_ms: i64,
    /// `DETECTION_MISSING_SECONDS`, seconds of event time, default 60: the least silence
    /// that counts as missing; three learnt intervals if those are longer.
    pub missing_ms: i64,
    /// `DETECTION_RELEARN_MINUTES`, minutes of event time, default 120: how long an
    /// abnormal but stable level lasts before it is taken as the new normal.
    /// Shorter would learn a fault that people are still working on.
    pub relearn_ms: i64,
    /// `DETECTION_MAX_SERIES`, series per partition, default 1 000 000: somewhat more
    /// than 1 KB each (`make bench`), so more would pass 1.5 GB on one machine.
    /// Further series are counted and not watched.
    pub max_series: usize,
    /// `DETECTION_SEMANTICS`, the path of a TOML file, default none: what
    /// metrics mean where their names say too little, or the wrong thing;
    /// `semantics.example.toml` shows how.
    pub semantics: Arc<Semantics>,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            sigma_threshold: 2.5,
            min_samples: 10,
            dedup_ms: 300_000,
            log_dedup_ms: 120_000,
            kubernetes_clear_ms: 300_000,
            missing_ms: 60_000,
            relearn_ms: 120 * 60_000,
            max_series: 1_000_000,
            semantics: Arc::default(),
        }
    }
}

/// What the shell needs to know besides.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectionConfig {
    pub tuning: Tuning,
    /// `DETECTION_CHECKPOINT_MS`, ms of wall clock, default 1 000: how often recent
    /// readings are sent off, so that other agents read them at most two
    /// seconds late, and how often the state is, where that takes no more than
    /// a quarter of the time.
    pub checkpoint_every: Duration,
    /// `DETECTION_CHECKPOINT_SAMPLES`, readings, default 50 000: so many readings are
    /// sent off at once, however little time has passed, and twice as many are
    /// held at most (about 15 MB). It only counts while catching up.
    pub checkpoint_samples: usize,
    /// `DETECTION_RECENT_READINGS`, readings, default 2 000 000: readings that Redis
    /// keeps of all series of this process together, at about 250 bytes each.
    /// Up to 2 700 series have two hours of them, 100 000 have three minutes.
    pub recent_readings: usize,
    /// `DETECTION_WARMUP_MINUTES`, minutes of record time, default 60: how far back a
    /// partition without stored state starts.
    pub warmup: Duration,
    /// `DETECTION_IDLE_SECONDS`, seconds of wall clock, default 30: after so long without
    /// a message, silence is measured by the wall clock.
    pub idle_after: Duration,
}

impl DetectionConfig {
    /// Reads the settings; bad values are noted there.
    #[must_use]
    pub fn from_settings(settings: &mut Settings) -> DetectionConfig {
        let default = Tuning::default();
        let tuning = Tuning {
            sigma_threshold: settings.number(
                "SIGMA_THRESHOLD",
                default.sigma_threshold,
                0.5..=20.0,
            ),
            min_samples: settings.number("BASELINE_MIN_SAMPLES", default.min_samples, 2..=1_000),
            dedup_ms: 1000 * settings.number("DEDUP_TTL_SECONDS", 300, 0..=86_400),
            log_dedup_ms: 1000 * settings.number("LOG_DEDUP_TTL_SECONDS", 120, 1..=86_400),
            kubernetes_clear_ms: 1000
                * settings.number("KUBERNETES_CLEAR_SECONDS", 300, 1..=86_400),
            missing_ms: 1000 * settings.number("DETECTION_MISSING_SECONDS", 60, 1..=86_400),
            relearn_ms: 60_000 * settings.number("DETECTION_RELEARN_MINUTES", 120, 1..=10_080),
            max_series: settings.number("DETECTION_MAX_SERIES", default.max_series, 1..=10_000_000),
            semantics: semantics(settings),
        };
        DetectionConfig {
            tuning,
            checkpoint_every: Duration::from_millis(settings.number(
                "DETECTION_CHECKPOINT_MS",
                1_000,
                50..=60_000,
            )),
            checkpoint_samples: settings.number(
                "DETECTION_CHECKPOINT_SAMPLES",
                50_000,
                1..=100_000,
            ),
            recent_readings: settings.number(
                "DETECTION_RECENT_READINGS",
                2_000_000,
                1_000..=1_000_000_000,
            ),
            warmup: Duration::from_secs(
                60 * settings.number("DETECTION_WARMUP_MINUTES", 60, 0..=10_080),
            ),
            idle_after: Duration::from_secs(settings.number(
                "DETECTION_IDLE_SECONDS",
                30,
                1..=3_600,
            )),
        }
    }
}

/// The file of metric semantics; what is wrong with it is noted.
fn semantics(settings: &Settings) -> Arc<Semantics> {
    const NAME: &str = "DETECTION_SEMANTICS";
    let Some(path) = settings.get(NAME) else {
        return Arc::default();
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            let fix = format!("set it to the path of a readable TOML file, or unset it ({error})");
            settings.problem(NAME, &path, &fix);
            return Arc::default();
        }
    };
    match Semantics::parse(&text) {
        Ok(semantics) => Arc::new(semantics),
        Err(faults) => {
            for fault in faults {
                settings.problem(NAME, &path, &fault);
            }
            Arc::default()
        }
    }
}
