//! Hours of the week in which something may run.

use std::collections::BTreeSet;
use std::fmt;

/// The names of the days, Monday first.
pub const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MINUTE_MS: i64 = 60_000;
const DAY_MINUTES: i64 = 1_440;

/// Hours of some days, at a fixed offset from UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours {
    /// Days on which the hours begin, 0 for Monday.
    pub days: BTreeSet<u8>,
    /// Minute of the day, 0 to 1 439.
    pub from: i64,
    /// The first minute after them, 0 to 1 440. Before `from`, they last over
    /// midnight.
    pub to: i64,
    /// Minutes east of UTC.
    pub offset: i64,
}

impl Hours {
    /// Whether the moment (wall clock, epoch milliseconds) is within them.
    #[must_use]
    pub fn contain(&self, wall_ms: i64) -> bool {
        let minutes = wall_ms.div_euclid(MINUTE_MS) + self.offset;
        let minute = minutes.rem_euclid(DAY_MINUTES);
        // The epoch began on a Thursday.
        let day = (minutes.div_euclid(DAY_MINUTES) + 3).rem_euclid(7);
        let begins_on =
            |day: i64| u8::try_from(day.rem_euclid(7)).is_ok_and(|day| self.days.contains(&day));
        if self.from < self.to {
            return begins_on(day) && (self.from..self.to).contains(&minute);
        }
        (begins_on(day) && minute >= self.from) || (begins_on(day - 1) && minute < self.to)
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days: Vec<&str> = self
            .days
            .iter()
            .filter_map(|day| DAYS.get(usize::from(*day)).copied())
            .collect();
        let clock = |minute: i64| format!("{:02}:{:02}", minute / 60, minute % 60);
        let (sign, offset) = if self.offset < 0 {
            ('-', -self.offset)
        } else {
            ('+', self.offset)
        };
        write!(
            formatter,
            "{} from {} to {} (UTC{sign}{})",
            days.join(", "),
            clock(self.from),
            clock(self.to),
            clock(offset)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-20T16:59:00Z, a Friday.
    const FRIDAY_1659: i64 = 1_795_193_940_000;

    #[test]
    fn hours_are_of_the_place_and_last_over_midnight() {
        let office = Hours {
            days: (0..5).collect(),
            from: 540,
            to: 1_020,
            offset: 0,
        };
        assert!(office.contain(FRIDAY_1659));
        assert!(!office.contain(FRIDAY_1659 + MINUTE_MS));
        assert!(
            !office.contain(FRIDAY_1659 + 16 * 60 * MINUTE_MS),
            "Saturday"
        );
        let in_berlin = Hours {
            offset: 60,
            ..office.clone()
        };
        assert!(!in_berlin.contain(FRIDAY_1659));
        let night = Hours {
            days: BTreeSet::from([4]),
            from: 1_320,
            to: 360,
            offset: 0,
        };
        assert!(
            night.contain(FRIDAY_1659 + 6 * 60 * MINUTE_MS),
            "Friday 22:59"
        );
        assert!(
            night.contain(FRIDAY_1659 + 13 * 60 * MINUTE_MS),
            "Saturday 05:59"
        );
        assert!(
            !night.contain(FRIDAY_1659 + 14 * 60 * MINUTE_MS),
            "Saturday 06:59"
        );
        assert!(
            !night.contain(FRIDAY_1659 - 12 * 60 * MINUTE_MS),
            "Friday 04:59"
        );
        assert_eq!(
            office.to_string(),
            "mon, tue, wed, thu, fri from 09:00 to 17:00 (UTC+00:00)"
        );
    }
}
