//! The unit of a file's times, told by their size.

use super::tally::{Reason, Tally};

/// Times of our days in each unit have a number of digits of their own.
const UNITS: [(&str, f64, f64); 4] = [
    ("seconds", 1e9, 1_000.0),
    ("milliseconds", MILLISECONDS, 1.0),
    ("microseconds", 1e15, 0.001),
    ("nanoseconds", 1e18, 0.000_001),
];
const MILLISECONDS: f64 = 1e12;
/// The share of a file's times that must be in another unit before the file is
/// taken to be.
const CONSISTENT: f64 = 0.9;

/// No time is later, in milliseconds: differences of times are multiplied, and
/// nothing is recorded thirty thousand years from now.
pub const LATEST_MS: i64 = 1_000_000_000_000_000;

/// Whether a time of the question is in milliseconds of our days.
pub fn is_milliseconds(at_ms: i64) -> bool {
    (1_000_000_000_000..10_000_000_000_000).contains(&at_ms)
}

/// The same in seconds.
pub fn is_seconds(at: i64) -> bool {
    (1_000_000_000..10_000_000_000).contains(&at)
}

fn unit(at: f64) -> Option<usize> {
    UNITS
        .iter()
        .position(|(_, from, _)| (*from..from * 10.0).contains(&at))
}

/// What makes milliseconds of a file's times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clock {
    /// Index of [`UNITS`]; `None` where times are taken as they are.
    unit: Option<usize>,
}

impl Clock {
    /// Told by all times of a file; `judged` where the question's times are in
    /// milliseconds of our days, for else nothing can be told.
    pub fn of(times: impl Iterator<Item = f64>, judged: bool, tally: &mut Tally) -> Clock {
        if !judged {
            return Clock { unit: None };
        }
        let mut counts = [0_u64; UNITS.len()];
        let mut all = 0_u64;
        for at in times {
            all += 1;
            if let Some(unit) = unit(at) {
                counts[unit] += 1;
            }
        }
        let milliseconds = 1;
        let most = (0..UNITS.len()).max_by_key(|index| counts[*index]);
        let most = most.filter(|index| {
            #[expect(clippy::cast_precision_loss, reason = "counts of lines")]
            let share = counts[*index] as f64 / all.max(1) as f64;
            share >= CONSISTENT && *index != milliseconds
        });
        if let Some(index) = most {
            let name = UNITS[index].0;
            tally.note(format!("times are in {name} and were read as such"));
        }
        Clock {
            unit: Some(most.unwrap_or(milliseconds)),
        }
    }

    /// The time in milliseconds; `None`, and counted, where it is in another
    /// unit than the file's, or none at all.
    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    pub fn ms(self, at: f64, line: u64, tally: &mut Tally) -> Option<i64> {
        let factor = match self.unit {
            Some(own) if unit(at).is_some_and(|unit| unit != own) => {
                tally.skip(Reason::OtherUnit, line, "");
                return None;
            }
            Some(own) => UNITS[own].2,
            None => 1.0,
        };
        let at_ms = (at * factor).round() as i64;
        if at_ms > LATEST_MS {
            tally.skip(Reason::NoTime, line, "");
            return None;
        }
        Some(at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(times: &[f64], judged: bool) -> Vec<Option<i64>> {
        let mut tally = Tally::new("metrics");
        let clock = Clock::of(times.iter().copied(), judged, &mut tally);
        times
            .iter()
            .map(|at| clock.ms(*at, 1, &mut tally))
            .collect()
    }

    #[test]
    fn a_file_in_another_unit_is_read_as_a_whole() {
        let expected = vec![Some(1_700_000_000_500); 3];
        assert_eq!(read(&[1_700_000_000.5; 3], true), expected);
        assert_eq!(read(&[1_700_000_000_500.0; 3], true), expected);
        assert_eq!(read(&[1_700_000_000_500_000.0; 3], true), expected);
        assert_eq!(read(&[1_700_000_000_500_000_000.0; 3], true), expected);
        // Without a question in milliseconds nothing can be told.
        assert_eq!(read(&[1_700_000_000.0], false), [Some(1_700_000_000)]);
    }

    #[test]
    fn a_time_in_another_unit_than_the_others_is_left_out() {
        let mut times = vec![1_700_000_000_000.0; 20];
        times.push(1_700_000_000.0);
        // No time of our days in any unit: as it stands.
        times.push(5_000.0);
        let mut expected = vec![Some(1_700_000_000_000); 20];
        expected.extend([None, Some(5_000)]);
        assert_eq!(read(&times, true), expected);
    }
}
