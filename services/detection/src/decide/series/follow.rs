//! Whether a sample follows the one before, and how often they come.

use super::Series;
use crate::decide::transition::Mark;

/// Samples in a row that lie far back and rise: the source's clock was set
/// back. Fewer may be a late batch.
const SET_BACK_SAMPLES: u32 = 10;
/// Farther back than what comes late by itself.
const SET_BACK_MS: i64 = 600_000;

pub(super) enum Follows {
    No,
    Yes,
    SetBack,
}

impl Series {
    pub(super) fn follows(&mut self, mark: &Mark) -> Follows {
        let Some(last) = &self.last else {
            return Follows::Yes;
        };
        if mark.at_ms > last.at_ms {
            self.behind = 0;
            return Follows::Yes;
        }
        let far_behind = last.at_ms.saturating_sub(mark.at_ms) > SET_BACK_MS;
        if far_behind && (self.behind == 0 || mark.at_ms > self.behind_ms) {
            self.behind += 1;
            self.behind_ms = mark.at_ms;
        } else if !far_behind {
            self.behind = 0;
        }
        if self.behind >= SET_BACK_SAMPLES {
            self.behind = 0;
            Follows::SetBack
        } else {
            Follows::No
        }
    }

    /// Learns how often the series reports. One long gap counts as at most
    /// four intervals, so that an outage does not teach patience.
    pub(super) fn note_interval(&mut self, mark: &Mark) {
        let Some(last) = &self.last else {
            return;
        };
        let gap = (mark.at_ms - last.at_ms) as f64;
        if self.interval_ms <= 0.0 {
            self.interval_ms = gap;
        } else {
            let held = gap.min(4.0 * self.interval_ms);
            self.interval_ms += 0.1 * (held - self.interval_ms);
        }
    }
}
