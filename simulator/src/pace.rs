//! Simulated time against the wall: both are measured from one anchor, so that
//! rounding and slow steps never add up to a drift.

use crate::world::STEP_MS;
use std::time::Duration;
use tokio::time::Instant;

/// The relation between simulated time and the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    anchor: Instant,
    anchor_ms: i64,
    speed: u32,
}

impl Pace {
    /// Simulated time `anchor_ms` is at `anchor`; from there it runs `speed`
    /// times as fast as the clock.
    #[must_use]
    pub fn new(anchor: Instant, anchor_ms: i64, speed: u32) -> Pace {
        Pace {
            anchor,
            anchor_ms,
            speed,
        }
    }

    /// The simulated time that belongs to this moment, epoch milliseconds.
    #[must_use]
    pub fn simulated_ms(&self, now: Instant) -> i64 {
        let wall = now.saturating_duration_since(self.anchor) * self.speed;
        self.anchor_ms + i64::try_from(wall.as_millis()).unwrap_or(i64::MAX / 2)
    }

    /// When this simulated time is due.
    #[must_use]
    pub fn due(&self, simulated_ms: i64) -> Instant {
        let ahead_ms = u64::try_from(simulated_ms - self.anchor_ms).unwrap_or(0);
        self.anchor + Duration::from_millis(ahead_ms) / self.speed
    }

    /// How late the world is, whose time is `simulated_ms`.
    #[must_use]
    pub fn behind(&self, simulated_ms: i64, now: Instant) -> Duration {
        now.saturating_duration_since(self.due(simulated_ms + STEP_MS))
    }

    /// Gives up on lost time: the world goes on from where it is.
    pub fn slip(&mut self, simulated_ms: i64, now: Instant) {
        self.anchor = now;
        self.anchor_ms = simulated_ms;
    }

    /// The wall-clock time of a simulated moment shortly before `simulated_ms`,
    /// which is at wall-clock time `wall_ms`.
    #[must_use]
    pub fn wall_ms(&self, of_ms: i64, simulated_ms: i64, wall_ms: i64) -> i64 {
        wall_ms - (simulated_ms - of_ms) / i64::from(self.speed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_of_uneven_steps_does_not_drift() {
        let start = Instant::now();
        let pace = Pace::new(start, 5_000, 60);
        let hour = start + Duration::from_secs(3_600);
        assert_eq!(pace.simulated_ms(hour), 5_000 + 60 * 3_600_000);
        assert_eq!(pace.due(5_000 + 60 * 3_600_000), hour);
        assert_eq!(
            pace.simulated_ms(start + Duration::from_millis(17)),
            5_000 + 60 * 17
        );
    }

    #[test]
    fn lateness_counts_from_the_next_step_and_slipping_forgives_it() {
        let start = Instant::now();
        let mut pace = Pace::new(start, 0, 10);
        let later = start + Duration::from_secs(9);
        assert_eq!(pace.behind(89_000, later), Duration::ZERO);
        assert_eq!(pace.behind(39_000, later), Duration::from_secs(5));
        pace.slip(39_000, later);
        assert_eq!(pace.behind(39_000, later), Duration::ZERO);
        assert_eq!(pace.wall_ms(29_000, 39_000, 1_000_000), 999_000);
    }
}
