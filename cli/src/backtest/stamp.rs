//! What the clock of a replay shows with each record.

use super::source::{Found, Source};
use crate::failure::Failure;
use clap::ValueEnum;
use midwatch_events::Envelope;
use serde::Serialize;
use std::collections::VecDeque;

/// Records looked at before a leap in time is believed; as many in a row make
/// detection believe one.
const AHEAD: usize = 50;
/// A leap is more than this, as for detection.
const LEAP_MS: i64 = 30 * 60_000;
/// A record so much older than one before it is out of order.
const BEHIND_MS: i64 = 600_000;
/// Malformed records that are named; the others are counted.
const NAMED: usize = 10;

/// Which time waits and silence are measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockKind {
    /// The samples' own
    Event,
    /// That of their arrival at the broker
    Record,
}

/// A record with its time.
#[derive(Debug)]
pub struct Stamped {
    /// What the clock shows, epoch milliseconds; it never runs back.
    pub clock_ms: i64,
    pub envelope: Box<Envelope>,
    pub partition: i32,
    pub record_ms: Option<i64>,
    pub warmup: bool,
}

/// A record that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Malformed {
    pub at: String,
    pub reason: String,
}

/// What came by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Events that are reported on.
    pub records: u64,
    /// Events before them that warmed detection up.
    pub warmup: u64,
    /// Events outside of the time that was asked for.
    pub outside: u64,
    pub malformed: u64,
    /// The first of them.
    pub malformed_first: Vec<Malformed>,
    /// More than ten minutes older than one before.
    pub out_of_order: u64,
    /// Dated more than half an hour ahead of all around them.
    pub dated_ahead: u64,
    /// Event times of what is reported on, epoch milliseconds.
    pub first_ms: Option<i64>,
    pub last_ms: Option<i64>,
}

struct Waiting {
    at_ms: i64,
    record_ms: Option<i64>,
    envelope: Box<Envelope>,
    partition: i32,
    warmup: bool,
}

/// Gives records their time. A record that is dated far ahead does not move
/// the clock unless all that follow it are there, too.
pub struct Stamper {
    source: Source,
    kind: ClockKind,
    ahead: VecDeque<Waiting>,
    ended: bool,
    clock_ms: Option<i64>,
    pub counts: Counts,
}

impl Stamper {
    /// Reads nothing yet.
    #[must_use]
    pub fn new(source: Source, kind: ClockKind) -> Stamper {
        Stamper {
            source,
            kind,
            ahead: VecDeque::new(),
            ended: false,
            clock_ms: None,
            counts: Counts::default(),
        }
    }

    /// As [`Source::progress`].
    #[must_use]
    pub fn progress(&self) -> (u64, Option<u64>) {
        self.source.progress()
    }

    /// The next event; none at the end.
    ///
    /// # Errors
    /// The source cannot be read any further.
    pub fn next(&mut self) -> Result<Option<Stamped>, Failure> {
        self.look_ahead()?;
        let Some(waiting) = self.ahead.pop_front() else {
            return Ok(None);
        };
        let clock_ms = self.advance(waiting.at_ms);
        let event_ms = waiting.envelope.event.time_ms();
        if waiting.warmup {
            self.counts.warmup += 1;
        } else {
            self.counts.records += 1;
            // A wrong date is no end of anything.
            if waiting.at_ms <= clock_ms {
                let first_ms = self.counts.first_ms.get_or_insert(event_ms);
                *first_ms = event_ms.min(*first_ms);
                let last_ms = self.counts.last_ms.get_or_insert(event_ms);
                *last_ms = event_ms.max(*last_ms);
            }
        }
        Ok(Some(Stamped {
            clock_ms,
            envelope: waiting.envelope,
            partition: waiting.partition,
            record_ms: waiting.record_ms,
            warmup: waiting.warmup,
        }))
    }

    fn look_ahead(&mut self) -> Result<(), Failure> {
        while self.ahead.len() <= AHEAD && !self.ended {
            match self.source.next()? {
                None => self.ended = true,
                Some(Found::Outside) => self.counts.outside += 1,
                Some(Found::Malformed { at, reason }) => {
                    self.counts.malformed += 1;
                    if self.counts.malformed_first.len() < NAMED {
                        self.counts.malformed_first.push(Malformed { at, reason });
                    }
                }
                Some(Found::Event {
                    envelope,
                    partition,
                    record_ms,
                    warmup,
                }) => {
                    let event_ms = envelope.event.time_ms();
                    let at_ms = match self.kind {
                        ClockKind::Event => event_ms,
                        ClockKind::Record => record_ms.unwrap_or(event_ms),
                    };
                    self.ahead.push_back(Waiting {
                        at_ms,
                        record_ms,
                        envelope,
                        partition,
                        warmup,
                    });
                }
            }
        }
        Ok(())
    }

    /// Moves the clock on for a record of `at_ms`; what it shows then.
    fn advance(&mut self, at_ms: i64) -> i64 {
        let together_ms = || {
            let followers = self.ahead.iter().map(|one| one.at_ms);
            followers.fold(at_ms, i64::min)
        };
        let clock_ms = match self.clock_ms {
            // The first one may be wrong as well.
            None => together_ms(),
            Some(now_ms) => {
                let leap_ms = now_ms.saturating_add(LEAP_MS);
                if at_ms <= leap_ms {
                    now_ms.max(at_ms)
                } else if self.ahead.len() >= 2 && together_ms() > leap_ms {
                    together_ms()
                } else {
                    now_ms
                }
            }
        };
        self.counts.dated_ahead += u64::from(at_ms > clock_ms.saturating_add(LEAP_MS));
        self.counts.out_of_order += u64::from(at_ms < clock_ms.saturating_sub(BEHIND_MS));
        self.clock_ms = Some(clock_ms);
        clock_ms
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::{FileSource, Range};
    use super::*;

    const START_MS: i64 = 1_795_316_645_000;
    const HOUR_MS: i64 = 3_600_000;

    fn clock(times: &[i64]) -> (Vec<i64>, Counts) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("m.jsonl");
        let lines: String = times
            .iter()
            .map(|at_ms| {
                let at_ms = START_MS + at_ms;
                format!("{{\"service\":\"a\",\"metric_name\":\"m\",\"metric_value\":1,\"timestamp_ms\":{at_ms}}}\n")
            })
            .collect();
        std::fs::write(&path, lines).expect("written");
        let file = FileSource::open(&path, Range::ALL).expect("it opens");
        let mut stamper = Stamper::new(Source::File(file), ClockKind::Event);
        let mut shown = Vec::new();
        while let Some(one) = stamper.next().expect("readable") {
            shown.push(one.clock_ms - START_MS);
        }
        (shown, stamper.counts)
    }

    #[test]
    fn one_wrong_date_moves_nobody_and_a_gap_does() {
        let mut times: Vec<i64> = (0..60).map(|second| second * 1_000).collect();
        times.insert(30, 24 * HOUR_MS);
        let after = (0..60).map(|second| 2 * HOUR_MS + second * 1_000);
        times.extend(after);
        let (shown, counts) = clock(&times);
        assert_eq!(shown[30], 29_000, "not a day ahead");
        assert_eq!(shown[60], 59_000);
        assert_eq!(shown[61], 2 * HOUR_MS);
        assert_eq!(shown[120], 2 * HOUR_MS + 59_000);
        assert_eq!((counts.dated_ahead, counts.out_of_order), (1, 0));
        assert_eq!(counts.last_ms, Some(START_MS + 2 * HOUR_MS + 59_000));
        assert!(shown.is_sorted());
    }

    #[test]
    fn a_wrong_first_or_last_date_does_not_count_and_old_records_are_counted() {
        let mut times: Vec<i64> = (0..60).map(|second| second * 1_000).collect();
        times.insert(0, 24 * HOUR_MS);
        times.push(24 * HOUR_MS);
        times.push(-HOUR_MS);
        let (shown, counts) = clock(&times);
        assert_eq!((shown[0], shown[61], shown[62]), (0, 59_000, 59_000));
        assert_eq!((counts.dated_ahead, counts.out_of_order), (2, 1));
        assert_eq!(counts.records, 63);
        assert_eq!(counts.first_ms, Some(START_MS - HOUR_MS));
    }
}
