//! One series judged by its numbers alone: no name, no unit, no semantics.
//!
//! What `midwatch detect` streams samples through. A sample that is not newer
//! than the last one is not judged, whatever it says; neither is one that is
//! not a finite number. Both leave the state as it was.

use crate::decide::statistics::Profile;
use serde::{Deserialize, Serialize};

/// Why a sample was not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Older than the newest sample of its series.
    Late,
    /// Of the same time as the newest sample.
    Duplicate,
    /// NaN or infinite.
    NotFinite,
}

/// A sample against what was usual before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// False while too little is known to judge by ("warming up").
    pub ready: bool,
    /// 0..1, of the same meaning on every series: ½ is a decision's.
    pub score: f64,
    /// Worth a look: the beginning of something new, once an episode.
    pub is_anomaly: bool,
    pub expected: f64,
    /// The band of what is no news.
    pub low: f64,
    pub high: f64,
    /// In words, why the score is what it is; empty where nothing is unusual.
    pub reason: String,
}

/// What is known of one series.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Watch {
    profile: Profile,
    last_ms: Option<i64>,
}

impl Watch {
    /// Takes in a sample of `at_ms` (epoch milliseconds).
    ///
    /// # Errors
    /// Says why the sample was not judged.
    pub fn observe(&mut self, at_ms: i64, value: f64) -> Result<Verdict, Refused> {
        if !value.is_finite() {
            return Err(Refused::NotFinite);
        }
        match self.last_ms {
            Some(last_ms) if at_ms == last_ms => return Err(Refused::Duplicate),
            Some(last_ms) if at_ms < last_ms => return Err(Refused::Late),
            _ => self.last_ms = Some(at_ms),
        }
        let notice = self.profile.notice_and_learn(at_ms, value);
        let reason = if notice.ready {
            notice.reason()
        } else {
            "warming up".to_owned()
        };
        Ok(Verdict {
            ready: notice.ready,
            score: notice.score,
            is_anomaly: notice.is_anomaly,
            expected: notice.expected,
            low: notice.low,
            high: notice.high,
            reason,
        })
    }
}
