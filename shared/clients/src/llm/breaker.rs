//! The circuit breaker: a model endpoint that keeps failing is left alone for a while, so that
//! every agent falls back at once instead of waiting for the same time limit again and again.

use std::time::{Duration, Instant};

/// Failures in a row that open the circuit: one call already tries up to three times, so five calls
/// are no hiccup any more.
pub const FAILURES_TO_OPEN: u32 = 5;
/// How long it stays open. A minute is short against an outage and long against a storm of calls.
pub const OPEN_FOR: Duration = Duration::from_secs(60);

/// Counts failures in a row and says whether a call may go out.
#[derive(Debug, Default)]
pub struct Breaker {
    failures: u32,
    closed_at: Option<Instant>,
}

impl Breaker {
    /// Whether a call may go out now; otherwise for how long none may. Once the time is over, one
    /// trial goes out, and the next one only after another such time or a success.
    pub fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        match self.closed_at {
            Some(closed_at) if now < closed_at => Err(closed_at - now),
            Some(_) => {
                self.closed_at = Some(now + OPEN_FOR);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Takes note of how a call ended.
    pub fn record(&mut self, now: Instant, succeeded: bool) {
        if succeeded {
            *self = Self::default();
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES_TO_OPEN {
            self.closed_at = Some(now + OPEN_FOR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_five_failures_and_lets_one_trial_through_per_minute() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES_TO_OPEN {
            assert_eq!(breaker.admit(start), Ok(()));
            breaker.record(start, false);
        }
        assert_eq!(breaker.admit(start), Err(OPEN_FOR));
        let later = start + OPEN_FOR;
        assert_eq!(breaker.admit(later), Ok(()), "the trial");
        assert!(breaker.admit(later).is_err(), "only one trial");
        breaker.record(later, false);
        assert!(breaker.admit(later + OPEN_FOR / 2).is_err());
        assert_eq!(breaker.admit(later + OPEN_FOR), Ok(()));
        breaker.record(later + OPEN_FOR, true);
        assert_eq!(breaker.admit(later + OPEN_FOR), Ok(()), "closed again");
        assert_eq!(breaker.admit(later + OPEN_FOR), Ok(()));
    }

    #[test]
    fn a_success_forgets_earlier_failures() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        for round in 0..20 {
            assert_eq!(breaker.admit(start), Ok(()), "round {round}");
            breaker.record(start, round % 5 == 4);
        }
    }
}
