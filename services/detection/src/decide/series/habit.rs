//! What leaves its range every day at the same time and comes back by itself:
//! a nightly batch, a backup, a report.
//!
//! An excursion is remembered with its time of day, its length and its size.
//! One that comes for the third day within half an hour of its time, lasts no
//! longer and goes no further than before, starts no anomaly. What lasts
//! longer or goes further starts one as ever. A habit that is not kept for
//! four days (a weekend and a holiday) is forgotten.

use crate::decide::exact;
use crate::decide::statistics::DAY_MS;
use serde::{Deserialize, Serialize};

/// Days on which an excursion came before it counts as a habit: twice may be
/// the same fault again.
const DAYS: u32 = 2;
/// How far the time of day may be off, and how much longer it may last.
const SLACK_MS: i64 = 30 * 60_000;
/// How much further it may go than before.
const FURTHER: f64 = 1.3;
/// Days without it after which it is forgotten.
const FORGET_DAYS: i64 = 4;
/// Habits that are remembered of a series; the oldest gives way.
const MOST: usize = 6;
/// Longer ones are no habits but states.
const LONGEST_MS: i64 = 6 * 3_600_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Habit {
    /// Milliseconds after midnight, UTC.
    begins_ms: i64,
    lasts_ms: i64,
    /// The largest distance from what was expected.
    #[serde(with = "exact")]
    size: f64,
    days: u32,
    last_day: i64,
}

/// The habits of one series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Habits(Vec<Habit>);

impl Habit {
    /// How long after its usual beginning `at_ms` lies; negative before it.
    fn past_ms(&self, at_ms: i64) -> i64 {
        let past = (at_ms - self.begins_ms).rem_euclid(DAY_MS);
        if past > DAY_MS / 2 {
            past - DAY_MS
        } else {
            past
        }
    }
}

impl Habits {
    /// Takes in an excursion that ended by itself.
    pub fn note(&mut self, began_ms: i64, ended_ms: i64, size: f64) {
        let lasts_ms = ended_ms - began_ms;
        if lasts_ms > LONGEST_MS {
            return;
        }
        let day = began_ms.div_euclid(DAY_MS);
        self.0.retain(|habit| day - habit.last_day <= FORGET_DAYS);
        let known = self
            .0
            .iter_mut()
            .find(|habit| habit.past_ms(began_ms).abs() <= SLACK_MS);
        if let Some(habit) = known {
            habit.days += u32::from(day != habit.last_day);
            habit.last_day = day;
            habit.lasts_ms = habit.lasts_ms.max(lasts_ms);
            habit.size = habit.size.max(size);
            return;
        }
        if self.0.len() == MOST {
            self.0.remove(0);
        }
        self.0.push(Habit {
            begins_ms: began_ms.rem_euclid(DAY_MS),
            lasts_ms,
            size,
            days: 1,
            last_day: day,
        });
    }

    /// Whether a reading that lies `size` from what is expected is one of its
    /// habits; the habit is kept then.
    pub fn explain(&mut self, at_ms: i64, size: f64) -> bool {
        let day = at_ms.div_euclid(DAY_MS);
        let habit = self.0.iter_mut().find(|habit| {
            let past_ms = habit.past_ms(at_ms);
            habit.days >= DAYS
                && (-SLACK_MS..=habit.lasts_ms + SLACK_MS).contains(&past_ms)
                && day - habit.last_day <= FORGET_DAYS
                && size <= FURTHER * habit.size
        });
        if let Some(habit) = habit {
            habit.days += u32::from(day != habit.last_day);
            habit.last_day = day;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_MS: i64 = 2 * 3_600_000;
    const LENGTH_MS: i64 = 40 * 60_000;

    fn night(day: i64) -> i64 {
        20_000 * DAY_MS + day * DAY_MS + TWO_MS
    }

    #[test]
    fn the_third_night_of_a_batch_is_a_habit_unless_it_goes_further_or_on() {
        let mut habits = Habits::default();
        habits.note(night(0), night(0) + LENGTH_MS, 40.0);
        assert!(!habits.explain(night(1), 30.0));
        habits.note(night(1) + 60_000, night(1) + LENGTH_MS, 44.0);
        assert!(habits.explain(night(2) - 600_000, 20.0));
        assert!(habits.explain(night(2) + LENGTH_MS, 57.0));
        assert!(!habits.explain(night(2) + LENGTH_MS, 58.0), "further");
        assert!(!habits.explain(night(2) + 2 * LENGTH_MS, 20.0), "longer");
        assert!(!habits.explain(night(2) + DAY_MS / 2, 20.0), "at noon");
        assert!(habits.explain(night(6), 20.0));
        assert!(!habits.explain(night(11), 20.0), "forgotten");
    }

    #[test]
    fn twice_a_night_is_no_habit_and_there_is_a_bound() {
        let mut habits = Habits::default();
        for minute in [0, 10, 20] {
            let began_ms = night(0) + minute * 60_000;
            habits.note(began_ms, began_ms + 60_000, 1.0);
        }
        assert!(!habits.explain(night(0) + 1_500_000, 1.0));
        for hour in 0..24 {
            let began_ms = night(0) + hour * 3_600_000;
            habits.note(began_ms, began_ms + 60_000, 1.0);
        }
        assert_eq!(habits.0.len(), MOST);
    }
}
