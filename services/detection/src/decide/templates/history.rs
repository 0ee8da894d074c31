//! How often one template is logged: its present minute, and the largest
//! minute that it is remembered by.
//!
//! A minute is compared with the **largest** of the minutes before and not
//! with their mean: counts of log lines are heavy-tailed (one failed batch
//! logs a thousand), and for such counts a multiple of the mean is passed
//! again and again. If counts had a tail like x^-α, the next minute would pass
//! c times the largest of n before with a probability of about c^-α / n; that
//! two in a row do so by chance is rarer by the same factor once more. So a
//! burst is a minute of [`BLATANT`] times the largest, or two in a row of
//! [`LASTING`] times.

use serde::{Deserialize, Serialize};

/// One bucket, event time. A minute: people think of rates per minute, and a
/// burst is found within two of them.
pub const BUCKET_MS: i64 = 60_000;
/// The largest minute counts half as much after seven days, so that what a
/// weekly job logs is remembered until it runs again.
pub const HALF_LIFE_MS: i64 = 7 * 24 * 3_600_000;
/// Two minutes in a row of so many times the usual are a burst. Less is what
/// busy hours do to quiet ones.
pub const LASTING: f64 = 3.0;
/// One minute of so many times the usual is a burst.
pub const BLATANT: f64 = 10.0;
/// Lines a minute that are a burst at least; less is no storm, however rare
/// the line was before. Warnings tell of what was dealt with: twice as many.
pub const LEAST_ERRORS: f64 = 5.0;
pub const LEAST_WARNINGS: f64 = 10.0;
/// A largest minute says less the fewer minutes it was taken from (the 1/n
/// above): factors are raised by this much over the age of what is known.
pub const YOUNG_MS: f64 = 15.0 * 60_000.0;

/// A decaying maximum, stored as what was counted and when, so that it comes
/// back exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peak(u32, i64);

impl Peak {
    /// What it is worth at a time, milliseconds of any clock that never runs
    /// back; before its own time it has not decayed.
    #[must_use]
    pub fn at(self, now_ms: i64) -> f64 {
        let age_ms = now_ms.saturating_sub(self.1).max(0);
        f64::from(self.0) * (-(age_ms as f64) / HALF_LIFE_MS as f64).exp2()
    }

    /// Takes in a count.
    pub fn take(&mut self, count: u32, now_ms: i64) {
        if f64::from(count) >= self.at(now_ms) {
            *self = Peak(count, now_ms);
        }
    }
}

/// Counts of one template by minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    bucket: i64,
    pub count: u32,
    /// The minute before, if it was as large as a burst: not yet part of the
    /// past, because the present minute may show that it began there.
    suspect: u32,
    /// The first line of the present minute, and of the suspect one.
    begun_ms: i64,
    suspect_ms: i64,
    peak: Peak,
}

/// What a new line closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    pub count: u32,
    /// How many minutes later the new line came.
    pub minutes: i64,
    /// Its first line, event time.
    begun_ms: i64,
}

/// The least count of a lasting and of a blatant burst, lines a minute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    pub lasting: f64,
    pub blatant: f64,
}

impl History {
    /// Counts a line. A line from before the present minute is not counted.
    pub fn count(&mut self, at_ms: i64) -> Option<Closed> {
        let bucket = at_ms.div_euclid(BUCKET_MS);
        let mut closed = None;
        if bucket > self.bucket {
            closed = (self.count > 0).then_some(Closed {
                count: self.count,
                minutes: bucket - self.bucket,
                begun_ms: self.begun_ms,
            });
            self.bucket = bucket;
            self.count = 0;
            self.begun_ms = at_ms;
        }
        if bucket == self.bucket {
            self.count = self.count.saturating_add(1);
        }
        closed
    }

    /// Makes a closed minute, outside any burst, part of the past, or holds
    /// it back where it may be a burst's first.
    pub fn settle(&mut self, closed: Closed, thresholds: Thresholds, now_ms: i64) {
        self.peak.take(std::mem::take(&mut self.suspect), now_ms);
        if closed.minutes == 1 && f64::from(closed.count) >= thresholds.lasting {
            self.suspect = closed.count;
            self.suspect_ms = closed.begun_ms;
        } else {
            self.peak.take(closed.count, now_ms);
        }
    }

    /// Takes a burst's count into the past after all.
    pub fn accept(&mut self, count: u32, now_ms: i64) {
        self.suspect = 0;
        self.peak.take(count, now_ms);
    }

    /// The usual largest count, lines a minute.
    #[must_use]
    pub fn usual(&self, now_ms: i64) -> f64 {
        self.peak.at(now_ms)
    }

    /// When a burst began, if the present minute makes one, event time.
    pub fn burst(&mut self, thresholds: Thresholds) -> Option<i64> {
        let count = f64::from(self.count);
        let since_ms = if self.suspect > 0 && count >= thresholds.lasting {
            self.suspect_ms
        } else if count >= thresholds.blatant {
            self.begun_ms
        } else {
            return None;
        };
        self.suspect = 0;
        Some(since_ms)
    }

    /// The thresholds for a template of a service that is known for `age_ms`.
    #[must_use]
    pub fn thresholds(&self, severe: bool, now_ms: i64, age_ms: i64) -> Thresholds {
        let least = if severe { LEAST_ERRORS } else { LEAST_WARNINGS };
        let young = 1.0 + YOUNG_MS / (age_ms.max(1) as f64);
        let usual = young * self.usual(now_ms).max(1.0);
        Thresholds {
            lasting: least.max(LASTING * usual),
            blatant: (2.0 * least).max(BLATANT * usual),
        }
    }

    /// The source's clock was set back: the next line begins a minute.
    pub fn set_back(&mut self) {
        self.bucket = 0;
        self.count = 0;
        self.suspect = 0;
    }
}
