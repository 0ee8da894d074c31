//! The one home of the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Wall-clock time, epoch milliseconds.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one home of the wall clock"
)]
pub fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| {
            i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
        })
}

/// A random id, for things that are not derived from an event.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one home of random ids"
)]
pub fn random_id() -> uuid::Uuid {
    uuid::Uuid::new_v4()
}

/// `2026-11-22T03:04:05Z` for epoch milliseconds.
#[must_use]
pub fn rfc3339(epoch_ms: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(epoch_ms) * 1_000_000)
        .ok()
        .and_then(|at| {
            at.replace_millisecond(0)
                .ok()?
                .format(&time::format_description::well_known::Rfc3339)
                .ok()
        })
        .unwrap_or_else(|| format!("{epoch_ms} ms"))
}
