//! What is usual at this time of the day.
//!
//! A mean for each hour of a workday and of a weekend day (UTC), and between
//! the middles of two hours a straight line. Hours that were never seen say
//! nothing: a series needs a day of history before it has a rhythm, and two
//! days of the kind before one trusts it.

use super::maxima::DAY_MS;
use serde::{Deserialize, Serialize};

const HOURS: usize = 24;
const HOUR_MS: i64 = DAY_MS / HOURS as i64;
/// The weight of the latest day in an hour's mean, once there are enough days.
const LATEST: f64 = 0.1;

/// A kind of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Workday,
    Weekend,
}

impl Kind {
    /// 1970-01-01 was a Thursday.
    fn of(at_ms: i64) -> Kind {
        match at_ms.div_euclid(DAY_MS).rem_euclid(7) {
            2 | 3 => Kind::Weekend,
            _ => Kind::Workday,
        }
    }

    fn other(self) -> Kind {
        match self {
            Kind::Workday => Kind::Weekend,
            Kind::Weekend => Kind::Workday,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Days {
    // Single precision: half of what a series takes would be these.
    mean: [f32; HOURS],
    seen: [u8; HOURS],
}

impl Days {
    /// The usual value, and on how many days the hours around were seen.
    fn at(&self, at_ms: i64) -> (f64, u8) {
        let within = at_ms.rem_euclid(DAY_MS);
        let hour = (within / HOUR_MS) as usize % HOURS;
        let part = (within % HOUR_MS) as f64 / HOUR_MS as f64;
        let (before, after, weight) = if part < 0.5 {
            ((hour + HOURS - 1) % HOURS, hour, part + 0.5)
        } else {
            (hour, (hour + 1) % HOURS, part - 0.5)
        };
        let (from, to) = (f64::from(self.mean[before]), f64::from(self.mean[after]));
        let mean = from * (1.0 - weight) + to * weight;
        (mean, self.seen[before].min(self.seen[after]))
    }
}

/// The rhythm of one series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Season {
    workdays: Days,
    weekends: Days,
    /// The hour that is being learnt, counted from the epoch.
    hour: i64,
    sum: f64,
    count: u32,
}

/// What the time of the day makes one expect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Usual {
    pub value: f64,
    /// Days behind it.
    pub days: u8,
}

impl Season {
    /// What is usual on such a day at this time.
    pub fn usual(&self, at_ms: i64) -> Option<Usual> {
        self.of(Kind::of(at_ms), at_ms)
    }

    /// What would be usual on the other kind of day: a holiday is like a
    /// weekend, and the Saturday before a feast like a workday.
    pub fn otherwise(&self, at_ms: i64) -> Option<Usual> {
        self.of(Kind::of(at_ms).other(), at_ms)
    }

    fn of(&self, kind: Kind, at_ms: i64) -> Option<Usual> {
        let days = match kind {
            Kind::Workday => &self.workdays,
            Kind::Weekend => &self.weekends,
        };
        let (value, days) = days.at(at_ms);
        (days > 0).then_some(Usual { value, days })
    }

    /// Takes in a usual value.
    pub fn learn(&mut self, at_ms: i64, value: f64) {
        let hour = at_ms.div_euclid(HOUR_MS);
        if hour != self.hour {
            self.close();
            self.hour = hour;
        }
        self.sum += value;
        self.count += 1;
    }

    fn close(&mut self) {
        if self.count > 0 {
            let at_ms = self.hour * HOUR_MS;
            let days = match Kind::of(at_ms) {
                Kind::Workday => &mut self.workdays,
                Kind::Weekend => &mut self.weekends,
            };
            let hour = self.hour.rem_euclid(HOURS as i64) as usize;
            let seen = days.seen[hour];
            let weight = (1.0 / (f64::from(seen) + 1.0)).max(LATEST);
            let mean = self.sum / f64::from(self.count);
            days.mean[hour] += (weight * (mean - f64::from(days.mean[hour]))) as f32;
            days.seen[hour] = seen.saturating_add(1);
        }
        self.sum = 0.0;
        self.count = 0;
    }

    /// A lasting change was accepted: every hour moves along.
    pub fn shift(&mut self, by: f64) {
        for days in [&mut self.workdays, &mut self.weekends] {
            for (mean, seen) in days.mean.iter_mut().zip(days.seen) {
                if seen > 0 {
                    *mean += by as f32;
                }
            }
        }
        self.sum = 0.0;
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23T00:00:00Z, a Monday.
    const MONDAY_MS: i64 = 1_795_392_000_000;

    fn day(season: &mut Season, day: i64, offset: f64) {
        for minute in (0..24 * 60).step_by(10) {
            let at_ms = MONDAY_MS + day * DAY_MS + minute * 60_000;
            season.learn(at_ms, offset + (minute / 60) as f64);
        }
    }

    #[test]
    fn an_hour_is_known_after_its_day_and_between_hours_lies_a_line() {
        let mut season = Season::default();
        assert_eq!(season.usual(MONDAY_MS), None);
        day(&mut season, 0, 0.0);
        day(&mut season, 1, 2.0);
        let half_past_ten = MONDAY_MS + 2 * DAY_MS + 10 * HOUR_MS + HOUR_MS / 2;
        let known = Usual {
            value: 11.0,
            days: 2,
        };
        assert_eq!(season.usual(half_past_ten), Some(known));
        let eleven = season.usual(half_past_ten + HOUR_MS / 2);
        assert_eq!(eleven.map(|usual| usual.value), Some(11.5));
        assert_eq!(season.otherwise(half_past_ten), None);
    }

    #[test]
    fn weekends_have_a_rhythm_of_their_own() {
        let mut season = Season::default();
        for (number, offset) in [(4, 0.0), (5, 100.0), (6, 100.0), (7, 0.0)] {
            day(&mut season, number, offset);
        }
        let saturday_noon = MONDAY_MS + 12 * DAY_MS + 12 * HOUR_MS + HOUR_MS / 2;
        assert_eq!(season.usual(saturday_noon).map(|u| u.value), Some(112.0));
        assert_eq!(season.otherwise(saturday_noon).map(|u| u.value), Some(12.0));
        season.shift(5.0);
        assert_eq!(season.usual(saturday_noon).map(|u| u.value), Some(117.0));
    }
}
