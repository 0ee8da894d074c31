//! One switch per channel: while a channel is away, nobody waits for its time
//! limit again and again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Failures in a row after which messages are shown as FAILED while their
/// delivery is still being tried.
pub const TRIES: u32 = 3;
/// The longest pause: what people wait at most after a channel is back.
const LONGEST: Duration = Duration::from_secs(15);

#[derive(Debug)]
struct Away {
    failures: u32,
    until: Instant,
}

/// Which channels are away, and until when each is left alone.
#[derive(Debug, Default)]
pub struct Breaker {
    away: Mutex<BTreeMap<String, Away>>,
}

impl Breaker {
    /// How long the channel is to be left alone, and how often it failed in a
    /// row; nothing where it may be tried.
    #[must_use]
    pub fn closed_for(&self, channel: &str, now: Instant) -> Option<(Duration, u32)> {
        let mut away = self.lock();
        let entry = away.get_mut(channel)?;
        if entry.until > now {
            return Some((entry.until - now, entry.failures));
        }
        // Whoever asks now is the one that tries; the others wait for it.
        entry.until = now + pause(entry.failures);
        None
    }

    /// A try found the channel away. Returns how long to wait and how often it
    /// failed in a row.
    pub fn failed(
        &self,
        channel: &str,
        asked_for: Option<Duration>,
        now: Instant,
    ) -> (Duration, u32) {
        let mut away = self.lock();
        let failures = away.get(channel).map_or(0, |entry| entry.failures) + 1;
        let wait = asked_for.unwrap_or_default().max(pause(failures));
        let until = now + wait;
        away.insert(channel.to_owned(), Away { failures, until });
        (wait, failures)
    }

    /// The channel answered, whatever it said.
    pub fn answered(&self, channel: &str) {
        self.lock().remove(channel);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Away>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 2 s, 4 s, 8 s, then the longest.
fn pause(failures: u32) -> Duration {
    let doubled = Duration::from_secs(1 << failures.min(6));
    doubled.min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_that_is_away_is_asked_by_one_at_a_time() {
        let breaker = Breaker::default();
        let begin = Instant::now();
        let seconds = Duration::from_secs;
        assert_eq!(breaker.closed_for("ops", begin), None);
        assert_eq!(breaker.failed("ops", None, begin), (seconds(2), 1));
        assert_eq!(breaker.closed_for("ops", begin), Some((seconds(2), 1)));
        assert_eq!(breaker.closed_for("pager", begin), None);
        let later = begin + seconds(2);
        assert_eq!(breaker.closed_for("ops", later), None, "one may try");
        assert!(breaker.closed_for("ops", later).is_some(), "others wait");
        assert_eq!(breaker.failed("ops", None, later), (seconds(4), 2));
        let asked = Some(seconds(60));
        assert_eq!(breaker.failed("ops", asked, later), (seconds(60), 3));
        breaker.answered("ops");
        assert_eq!(breaker.closed_for("ops", later), None);
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        let seconds: Vec<u64> = (1..7).map(|failures| pause(failures).as_secs()).collect();
        assert_eq!(seconds, [2, 4, 8, 15, 15, 15]);
    }
}
