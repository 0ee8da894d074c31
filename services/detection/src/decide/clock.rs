//! Event time of one environment within one partition.

use serde::{Deserialize, Serialize};

/// One message moves the silence clock by at most this. A fleet that was
/// paused as a whole for an hour has not been silent for an hour, and one
/// sample with a wrong date must not make every other series look missing.
const STEP_CAP_MS: i64 = 30_000;
/// The wall clock stands in for event time only where both agree within this:
/// a simulation that compresses time must not be judged by the wall.
const REAL_TIME_WITHIN_MS: i64 = 600_000;

/// Two readings of event time. The watermark is the latest time seen. The
/// silence clock adds up the watermark's advances, each held to 30 s, and
/// never runs back; what was last heard of at which silence time tells how
/// long it has been silent, whatever order old records come in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EventClock {
    watermark_ms: i64,
    elapsed_ms: i64,
    /// Wall clock of the newest record.
    wall_ms: i64,
    /// How much of the present silence the wall clock has added.
    idle_ms: i64,
    /// Silence clock at the last sweep.
    pub(super) swept_ms: i64,
}

impl EventClock {
    /// A message with event time `event_ms` and record time `wall_ms` came.
    pub fn advance(&mut self, event_ms: i64, wall_ms: i64) {
        self.elapsed_ms += std::mem::take(&mut self.idle_ms);
        if self.watermark_ms == 0 {
            self.watermark_ms = event_ms;
        } else if event_ms > self.watermark_ms {
            self.elapsed_ms += (event_ms - self.watermark_ms).min(STEP_CAP_MS);
            self.watermark_ms = event_ms;
        }
        self.wall_ms = self.wall_ms.max(wall_ms);
    }

    /// The source's clock was set back to `event_ms`.
    pub fn set_back(&mut self, event_ms: i64) {
        self.watermark_ms = event_ms;
    }

    /// No message has come and it is `now_ms` on the wall: where event time is
    /// wall time, silence grows with the wall clock. In any case it grows with
    /// `latest_ms`, the latest event time that the environment has reached in
    /// other partitions.
    pub fn idle(&mut self, now_ms: i64, latest_ms: Option<i64>) {
        if (self.watermark_ms - self.wall_ms).abs() <= REAL_TIME_WITHIN_MS {
            self.idle_ms = self.idle_ms.max(now_ms - self.wall_ms);
        }
        if let Some(latest_ms) = latest_ms {
            self.idle_ms = self.idle_ms.max(latest_ms - self.watermark_ms);
        }
    }

    /// The latest event time of any message, epoch milliseconds.
    #[must_use]
    pub fn watermark_ms(&self) -> i64 {
        self.watermark_ms
    }

    /// The latest event time, epoch milliseconds, idle time included.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.watermark_ms + self.idle_ms
    }

    /// The silence clock, milliseconds.
    #[must_use]
    pub fn silence_ms(&self) -> i64 {
        self.elapsed_ms + self.idle_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_adds_thirty_seconds_of_silence_and_old_records_add_none() {
        let mut clock = EventClock::default();
        clock.advance(1_000_000, 1_000_000);
        clock.advance(1_010_000, 1_010_000);
        clock.advance(9_000_000, 1_020_000);
        clock.advance(1_020_000, 1_020_000);
        assert_eq!(clock.silence_ms(), 40_000);
        assert_eq!(clock.now_ms(), 9_000_000);
    }

    #[test]
    fn the_wall_clock_counts_only_where_it_is_event_time() {
        let mut real = EventClock::default();
        real.advance(1_000_000_000, 1_000_001_000);
        real.idle(1_000_091_000, None);
        assert_eq!(real.silence_ms(), 90_000);
        real.advance(1_000_100_000, 1_000_100_000);
        assert_eq!(real.silence_ms(), 120_000);

        let mut compressed = EventClock::default();
        compressed.advance(1_050_000_000, 1_000_000_000);
        compressed.idle(1_000_090_000, None);
        assert_eq!(compressed.silence_ms(), 0);
        compressed.idle(1_000_090_000, Some(1_050_400_000));
        assert_eq!(compressed.silence_ms(), 400_000);
        compressed.idle(1_000_095_000, Some(1_049_000_000));
        assert_eq!(compressed.silence_ms(), 400_000, "it never runs back");
    }
}
