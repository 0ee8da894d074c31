//! Event time of one environment within one partition.

use serde::{Deserialize, Serialize};

/// One message moves the silence clock by at most this. A fleet that was
/// paused as a whole for an hour has not been silent for an hour, and one
/// sample with a wrong date must not make every other series look missing.
const STEP_CAP_MS: i64 = 30_000;
/// The wall clock stands in for event time only where both agree within this:
/// a simulation that compresses time must not be judged by the wall.
const REAL_TIME_WITHIN_MS: i64 = 600_000;

/// A record may lie this far ahead of the watermark, or of its own record
/// time. It covers the history that a simulation sends before it begins.
const LEAD_MS: i64 = 30 * 60_000;
/// Beyond that, event time runs at most so many times as fast as record time:
/// more than the fastest simulation.
const PACE: i64 = 150;
/// Records in a row that lie too far ahead are believed after all: nobody
/// else contradicts them.
const BELIEVED_AHEAD: u32 = 50;
/// Farther back than this, records contradict the watermark.
const BACK_MS: i64 = 600_000;
/// Records in a row from so far back that allow a source to set it back.
const BELIEVED_BACK: u32 = 10;
/// So many suffice where the time before lies in a future that the record's
/// own time has not reached: a simulation began again, or a date was wrong.
const BELIEVED_BACK_TO_NOW: u32 = 3;

/// Whether `before_ms` lies far in the future of the record time and `now_ms`
/// does not.
fn is_back_to_now(before_ms: i64, now_ms: i64, wall_ms: i64) -> bool {
    let ahead_ms = |at_ms: i64| at_ms.saturating_sub(wall_ms);
    ahead_ms(before_ms) > 2 * LEAD_MS && ahead_ms(now_ms) <= LEAD_MS
}

/// Two readings of event time. The watermark is the latest time seen. The
/// silence clock adds up the watermark's advances, each held to 30 s, and
/// never runs back; what was last heard of at which silence time tells how
/// long it has been silent, whatever order old records come in.
///
/// One source with a wrong date must not decide for all: a record that lies
/// farther ahead than [`LEAD_MS`] and the pace of record time allow does not
/// move the watermark. It is taken as of the present instead.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventClock {
    watermark_ms: i64,
    elapsed_ms: i64,
    /// Wall clock of the newest record.
    wall_ms: i64,
    /// Wall clock of the newest record whose event time was possible.
    believed_wall_ms: i64,
    /// How much of the present silence the wall clock has added.
    idle_ms: i64,
    /// Records in a row that lay too far ahead, and too far back.
    ahead: u32,
    behind: u32,
    /// Silence clock at the last sweep.
    pub(super) swept_ms: i64,
}

impl EventClock {
    /// A message with event time `event_ms` and record time `wall_ms` came.
    /// Whether its event time is possible.
    pub fn advance(&mut self, event_ms: i64, wall_ms: i64) -> bool {
        self.elapsed_ms += std::mem::take(&mut self.idle_ms);
        let possible = self.watermark_ms == 0 || self.is_within_reach(event_ms, wall_ms);
        self.ahead = if possible { 0 } else { self.ahead + 1 };
        let believed = possible || self.ahead >= BELIEVED_AHEAD;
        if believed {
            self.ahead = 0;
            self.believed_wall_ms = self.believed_wall_ms.max(wall_ms);
            if self.watermark_ms == 0 {
                self.watermark_ms = event_ms;
            } else if event_ms > self.watermark_ms {
                let step_ms = event_ms.saturating_sub(self.watermark_ms);
                self.elapsed_ms += step_ms.min(STEP_CAP_MS);
                self.watermark_ms = event_ms;
            }
            self.note_behind(event_ms, wall_ms);
        }
        self.wall_ms = self.wall_ms.max(wall_ms);
        believed
    }

    fn is_within_reach(&self, event_ms: i64, wall_ms: i64) -> bool {
        let passed_ms = wall_ms.saturating_sub(self.believed_wall_ms).max(0);
        let reach_ms = passed_ms.saturating_mul(PACE).saturating_add(LEAD_MS);
        event_ms <= self.watermark_ms.saturating_add(reach_ms)
            || event_ms <= wall_ms.saturating_add(LEAD_MS)
    }

    /// A watermark that is in the future by the wall clock as well is given up
    /// once nobody comes near it and everybody is back to now.
    fn note_behind(&mut self, event_ms: i64, wall_ms: i64) {
        let lag_ms = self.watermark_ms.saturating_sub(event_ms);
        self.behind = if lag_ms > BACK_MS {
            self.behind.saturating_add(1)
        } else {
            0
        };
        let back = is_back_to_now(self.watermark_ms, event_ms, wall_ms);
        if back && self.behind >= BELIEVED_BACK_TO_NOW {
            self.watermark_ms = event_ms;
            self.behind = 0;
        }
    }

    /// A source's clock was set back to `event_ms`. The watermark follows if
    /// no other source has come near it lately.
    pub fn set_back(&mut self, event_ms: i64) {
        if self.behind >= BELIEVED_BACK {
            self.watermark_ms = event_ms;
            self.behind = 0;
        }
    }

    /// No message has come and it is `now_ms` on the wall: where event time is
    /// wall time, silence grows with the wall clock. In any case it grows with
    /// `latest_ms`, the latest event time that the environment has reached in
    /// other partitions.
    ///
    /// What is impossible by the pace of time does not count, and one call
    /// adds at most half an hour.
    pub fn idle(&mut self, now_ms: i64, latest_ms: Option<i64>) {
        let mut idle_ms = self.idle_ms;
        if (self.watermark_ms.saturating_sub(self.wall_ms)).abs() <= REAL_TIME_WITHIN_MS {
            idle_ms = idle_ms.max(now_ms - self.wall_ms);
        }
        if let Some(latest_ms) = latest_ms
            && self.is_within_reach(latest_ms, now_ms)
        {
            idle_ms = idle_ms.max(latest_ms.saturating_sub(self.watermark_ms));
        }
        self.idle_ms = idle_ms.min(self.idle_ms + LEAD_MS);
    }

    /// Silence has lasted for `ms` milliseconds at least.
    pub(super) fn lapse(&mut self, ms: i64) {
        self.idle_ms = self.idle_ms.max(ms);
    }

    /// Wall clock of the newest record, epoch milliseconds.
    #[must_use]
    pub fn wall_ms(&self) -> i64 {
        self.wall_ms
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

/// Event time of one service's log lines or events. Lateness is judged by it
/// and not by the environment's clock: another host's fast clock makes nobody
/// late.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceClock {
    newest_ms: i64,
    /// Records from far back, in rising order, and the newest of them.
    behind: u32,
    behind_ms: i64,
    /// The environment's silence clock at the last record.
    pub(super) heard_ms: i64,
}

/// How a record stands in time among those of its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// So many milliseconds older than the newest; 0 for the newest.
    Aged(i64),
    /// The source's clock was set back, and this is the newest now: ten in a
    /// row came from more than ten minutes back, or the newest before lay in
    /// the future of the record time.
    SetBack,
}

impl SourceClock {
    /// Takes in the time of a record.
    pub fn hear(&mut self, at_ms: i64, wall_ms: i64, silence_ms: i64) -> Standing {
        self.heard_ms = silence_ms;
        if self.newest_ms == 0 || at_ms >= self.newest_ms {
            self.newest_ms = at_ms;
            self.behind = 0;
            return Standing::Aged(0);
        }
        let age_ms = self.newest_ms.saturating_sub(at_ms);
        if age_ms <= BACK_MS {
            self.behind = 0;
        } else if self.behind == 0 || at_ms > self.behind_ms {
            self.behind += 1;
            self.behind_ms = at_ms;
        }
        let back = is_back_to_now(self.newest_ms, at_ms, wall_ms);
        if self.behind < BELIEVED_BACK && !back {
            return Standing::Aged(age_ms);
        }
        self.newest_ms = at_ms;
        self.behind = 0;
        Standing::SetBack
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
        assert!(clock.advance(2_800_000, 1_020_000));
        assert!(clock.advance(1_020_000, 1_020_000));
        assert_eq!(clock.silence_ms(), 40_000);
        assert_eq!(clock.now_ms(), 2_800_000);
    }

    #[test]
    fn a_record_from_the_far_future_moves_nothing_unless_nobody_contradicts_it() {
        const YEAR_2100_MS: i64 = 4_102_444_800_000;
        let mut clock = EventClock::default();
        clock.advance(1_000_000, 1_000_000);
        for second in 1..1_000 {
            let now_ms = 1_000_000 + second * 1_000;
            assert!(!clock.advance(YEAR_2100_MS, now_ms));
            assert!(clock.advance(now_ms, now_ms));
        }
        assert_eq!(clock.now_ms(), 1_999_000);
        clock.idle(2_000_000, Some(YEAR_2100_MS));
        assert_eq!(clock.now_ms(), 2_000_000);
        let believed = (0..50).filter(|_| clock.advance(YEAR_2100_MS, 2_000_000));
        assert_eq!(believed.count(), 1);
        // The others come back and the absurd one does not.
        for second in 0..50 {
            clock.advance(2_000_000 + second * 1_000, 2_000_000);
        }
        assert_eq!(clock.now_ms(), 2_049_000);
    }

    #[test]
    fn history_and_then_compressed_time_are_possible() {
        for speed in [1, 6, 30, 120] {
            let mut clock = EventClock::default();
            // Seventeen minutes at once, then a record every 90 s of event time.
            assert!(clock.advance(1_000_000, 1_000_000));
            let begun_ms = 1_000_000 + 17 * 60_000;
            for record in 0..2_000 {
                let wall_ms = 1_000_000 + record * 90_000 / speed;
                assert!(
                    clock.advance(begun_ms + record * 90_000, wall_ms),
                    "{speed}×"
                );
            }
        }
    }

    #[test]
    fn one_source_alone_does_not_set_everybody_back() {
        let mut clock = EventClock::default();
        for second in 0..100 {
            let now_ms = 10_000_000 + second * 1_000;
            clock.advance(now_ms, now_ms);
            clock.advance(now_ms - 3_600_000, now_ms);
            clock.set_back(now_ms - 3_600_000);
        }
        assert_eq!(clock.now_ms(), 10_099_000);
        for second in 100..110 {
            clock.advance(6_400_000 + second * 1_000, 10_100_000);
        }
        clock.set_back(6_509_000);
        assert_eq!(clock.now_ms(), 6_509_000);
    }

    #[test]
    fn a_source_is_late_by_its_own_time_and_may_be_set_back() {
        let mut source = SourceClock::default();
        assert_eq!(source.hear(10_000_000, 10_000_000, 0), Standing::Aged(0));
        assert_eq!(
            source.hear(9_900_000, 10_000_000, 0),
            Standing::Aged(100_000)
        );
        let seen: Vec<Standing> = (0..10)
            .map(|i| source.hear(1_000_000 + i, 10_000_000, 0))
            .collect();
        assert!(matches!(seen[8], Standing::Aged(_)));
        assert_eq!(seen[9], Standing::SetBack);
        assert_eq!(source.hear(1_000_010, 10_000_000, 0), Standing::Aged(0));
        // Compressed time ran ahead of the wall clock and begins again.
        assert_eq!(source.hear(90_000_000, 10_000_000, 0), Standing::Aged(0));
        assert_eq!(source.hear(10_000_000, 10_000_000, 0), Standing::SetBack);
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
