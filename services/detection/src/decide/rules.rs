//! What log lines give away by their words.
//!
//! Keyword rules look at the first [`LOOKED_AT`] bytes of a line, without
//! regard to case; the first rule that matches takes the line. A word such as
//! "timeout" also stands in harmless lines, so most rules want WARN or worse,
//! and the two that retries cause every day want three lines within 30 s.
//! Lines that no rule knows are told apart by their templates
//! ([`crate::decide::templates`]); ERROR lines that belong to no finding there
//! count towards a burst, whatever they say.

use crate::decide::exact;
use crate::decide::occurrences::{Demand, Finding, Sign, Told};
use crate::decide::templates::Peak;
use midwatch_events::raw::LogLevel;
use midwatch_events::{AnomalyType, Severity};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Bytes of a line that the rules look at. A stack trace says what it is in
/// its first lines; megabytes of it would only cost time.
pub const LOOKED_AT: usize = 4_096;
/// Characters of a line that evidence quotes.
pub const QUOTED: usize = 500;

const ONCE: Demand = Demand {
    times: 1,
    within_ms: 0,
};
const THRICE: Demand = Demand {
    times: 3,
    within_ms: 30_000,
};

struct Rule {
    finding: Finding,
    least: LogLevel,
    words: &'static [&'static str],
}

const fn rule(
    name: &'static str,
    kind: AnomalyType,
    severity: Severity,
    demand: Demand,
    least: LogLevel,
    words: &'static [&'static str],
) -> Rule {
    Rule {
        finding: Finding {
            name,
            kind,
            severity,
            demand,
        },
        least,
        words,
    }
}

/// In order of precedence: the more specific first.
#[rustfmt::skip]
const RULES: &[Rule] = &[
    rule("log:out_of_memory", AnomalyType::MemoryLeak, Severity::Critical, ONCE, LogLevel::Info,
        &["outofmemoryerror", "out of memory", "oomkilled", "oom-kill", "cannot allocate memory", "heap out of memory", "memory allocation of"]),
    rule("log:pool_exhausted", AnomalyType::DbConnectionExhaustion, Severity::High, ONCE, LogLevel::Warn,
        &["pool exhausted", "pool is exhausted", "connection is not available", "connection not available", "no available connection", "no connections available",
          "remaining connection slots", "too many connections", "too many clients", "waiting for a connection", "waiting for connection", "pool timed out", "pooltimeout"]),
    rule("log:disk_full", AnomalyType::Unknown, Severity::High, ONCE, LogLevel::Warn,
        &["no space left on device", "enospc", "disk full", "disk is full", "disk quota exceeded"]),
    rule("log:certificate", AnomalyType::DependencyOutage, Severity::High, ONCE, LogLevel::Warn,
        &["certificate has expired", "certificate expired", "expired certificate", "certificate verify failed", "certificate is not trusted", "x509:", "unable to get local issuer"]),
    rule("log:panic", AnomalyType::ErrorRateSpike, Severity::High, ONCE, LogLevel::Info,
        &["panicked at", "panic: ", "kernel panic", "segmentation fault", "sigsegv", "stackoverflowerror", "core dumped", "unhandled exception", "uncaught exception"]),
    rule("log:connection_refused", AnomalyType::DependencyOutage, Severity::High, THRICE, LogLevel::Warn,
        &["connection refused", "econnrefused", "connection reset by peer", "no route to host", "name or service not known", "upstream connect error", "circuit breaker", "503 service unavailable"]),
    rule("log:consumer_behind", AnomalyType::KafkaConsumerLag, Severity::Medium, THRICE, LogLevel::Warn,
        &["consumer lag", "max.poll.interval", "consumer is behind", "falling behind"]),
    rule("log:timeout", AnomalyType::LatencySpike, Severity::Medium, THRICE, LogLevel::Warn,
        &["deadline exceeded", "timed out", "timeout", "etimedout"]),
    rule("log:fatal", AnomalyType::ErrorRateSpike, Severity::High, ONCE, LogLevel::Fatal, &[""]),
];

/// The finding of a burst of ERROR lines that no rule knows.
pub const ERROR_BURST: Finding = Finding {
    name: "log:error_burst",
    kind: AnomalyType::ErrorRateSpike,
    severity: Severity::Medium,
    demand: ONCE,
};

/// The finding that the line stands for by its words.
#[must_use]
pub fn keyword(level: LogLevel, message: &str) -> Option<Finding> {
    if level < LogLevel::Info {
        return None;
    }
    let line = head(message, LOOKED_AT).to_ascii_lowercase();
    RULES
        .iter()
        .find(|rule| level >= rule.least && rule.words.iter().any(|word| line.contains(word)))
        .map(|rule| rule.finding)
}

/// At most `bytes` bytes of `text`, cut between characters.
#[must_use]
pub fn head(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// Counts ERROR lines of one service in buckets of 30 s of event time.
///
/// A burst is 5 lines or more within one bucket, five times what was normal in
/// the buckets before (a decaying mean, α = 0.1) and five times the largest of
/// them (a decaying maximum: counts of errors are heavy-tailed, and a multiple
/// of their mean is passed every day). Buckets that were a burst are not part
/// of the past, unless there were two hours of them without a break: that is
/// usual then. Buckets rather than a sliding window keep a few numbers a
/// service; a burst across a border is found with its next line.
///
/// Templates cannot replace it: it needs no learning time, and finds a storm
/// of errors each of which says something else.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ErrorCount {
    bucket: i64,
    count: u32,
    #[serde(with = "exact")]
    normal: f64,
    #[serde(default)]
    peak: Peak,
    /// Buckets in a row that were a burst, and the largest of them.
    #[serde(default)]
    bursts: u32,
    #[serde(default)]
    most: u32,
    last: Uuid,
}

/// One bucket, event time: short, for a storm is told within it.
const BUCKET_MS: i64 = 30_000;
/// Lines in a bucket that are a burst at least, and how many times the usual
/// and the largest bucket they must be: a single failing request logs a few.
const BURST: f64 = 5.0;
/// Two hours of buckets; the same as `DETECTION_RELEARN_MINUTES` by default.
const RELEARN_BUCKETS: u32 = 240;

impl ErrorCount {
    /// Counts a line; says whether the bucket is a burst now. Lines from
    /// before the present bucket and repeated deliveries are not counted.
    pub fn add(&mut self, at_ms: i64, event_id: Uuid) -> bool {
        if std::mem::replace(&mut self.last, event_id) == event_id {
            return false;
        }
        let bucket = at_ms.div_euclid(BUCKET_MS);
        if bucket > self.bucket {
            if self.bucket != 0 {
                self.close(bucket - self.bucket);
            }
            self.bucket = bucket;
            self.count = 0;
        } else if bucket < self.bucket {
            return false;
        }
        self.count += 1;
        f64::from(self.count) >= self.threshold()
    }

    /// Counts a line; the burst that it is part of.
    pub fn sign(&mut self, at_ms: i64, event_id: Uuid) -> Option<Sign> {
        if !self.add(at_ms, event_id) {
            return None;
        }
        let (count, normal) = self.figures();
        let told = Told {
            words: format!("{count} ERROR lines within 30 s, usually {normal:.1}"),
            onset_ms: at_ms,
            first: None,
        };
        Some(Sign::Found(ERROR_BURST, told))
    }

    /// The source's clock was set back: the next line begins a bucket.
    pub fn set_back(&mut self) {
        self.bucket = 0;
        self.count = 0;
    }

    /// Lines in the present bucket, and what is normal in one.
    #[must_use]
    pub fn figures(&self) -> (u32, f64) {
        (self.count, self.normal)
    }

    fn threshold(&self) -> f64 {
        let peak = self.peak.at(self.bucket * BUCKET_MS);
        BURST.max(BURST * self.normal).max(BURST * peak)
    }

    fn close(&mut self, passed: i64) {
        let count = f64::from(self.count);
        let now_ms = self.bucket * BUCKET_MS;
        if count < self.threshold() {
            self.normal += 0.1 * (count - self.normal);
            self.peak.take(self.count, now_ms);
            (self.bursts, self.most) = (0, 0);
        } else {
            self.bursts += 1;
            self.most = self.most.max(self.count);
            if self.bursts >= RELEARN_BUCKETS {
                self.peak.take(self.most, now_ms);
                self.normal = count;
                (self.bursts, self.most) = (0, 0);
            }
        }
        if passed > 1 {
            (self.bursts, self.most) = (0, 0);
        }
        // The buckets between had no error at all.
        self.normal *= 0.9_f64.powi(i32::try_from((passed - 1).min(200)).unwrap_or(200));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_by_their_words_and_level() {
        for (level, line, rule) in [
            (
                LogLevel::Error,
                "java.lang.OutOfMemoryError: Java heap space",
                Some("log:out_of_memory"),
            ),
            (
                LogLevel::Info,
                "thread 'main' panicked at src/main.rs:4",
                Some("log:panic"),
            ),
            (
                LogLevel::Error,
                "HikariPool-1 - Connection is not available, request timed out after 30000ms",
                Some("log:pool_exhausted"),
            ),
            (
                LogLevel::Error,
                "dial tcp 10.0.0.3:5432: connect: Connection refused",
                Some("log:connection_refused"),
            ),
            (
                LogLevel::Warn,
                "context deadline exceeded",
                Some("log:timeout"),
            ),
            (LogLevel::Info, "request timeout set to 30 s", None),
            (
                LogLevel::Error,
                "write /var/lib/x: no space left on device",
                Some("log:disk_full"),
            ),
            (
                LogLevel::Error,
                "tls: certificate has expired",
                Some("log:certificate"),
            ),
            (LogLevel::Fatal, "shutting down", Some("log:fatal")),
            (LogLevel::Error, "order 17 could not be priced", None),
            (LogLevel::Debug, "out of memory", None),
        ] {
            assert_eq!(
                keyword(level, line).map(|finding| finding.name),
                rule,
                "{line}"
            );
        }
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        assert_eq!(head("aäb", 2), "a");
        assert_eq!(head("abc", 9), "abc");
        let line = format!("{}out of memory", "ä".repeat(LOOKED_AT));
        assert_eq!(keyword(LogLevel::Error, &line), None);
    }

    #[test]
    fn five_errors_in_a_bucket_are_a_burst_unless_that_is_normal() {
        let mut number = 0_u128;
        let mut id = move || {
            number += 1;
            Uuid::from_u128(number)
        };
        let mut quiet = ErrorCount::default();
        let bursts: Vec<bool> = (0..5)
            .map(|i| quiet.add(1_000_000 + i * 100, id()))
            .collect();
        assert_eq!(bursts, [false, false, false, false, true]);
        let mut repeated = ErrorCount::default();
        assert!((0..50).all(|_| !repeated.add(1_000_000, Uuid::from_u128(7))));

        let mut noisy = ErrorCount::default();
        let mut burst = false;
        for bucket in 1..200 {
            for line in 0..4 {
                burst |= noisy.add(bucket * BUCKET_MS + line * 1000, id());
            }
        }
        assert!(!burst);
        assert!((noisy.figures().1 - 4.0).abs() < 0.1);
        let many: Vec<bool> = (0..19)
            .map(|i| noisy.add(200 * BUCKET_MS + i, id()))
            .collect();
        assert!(many.iter().all(|burst| !burst), "19 lines are under 5 × 4");
        assert!(noisy.add(200 * BUCKET_MS + 20, id()) || noisy.add(200 * BUCKET_MS + 21, id()));
    }
}
