//! How a reading stands: by its distance from what is usual, by where it is
//! heading, and by what the series does every day; and how grave it is.

use super::{OpenAnomaly, Series};
use crate::decide::exact;
use crate::decide::forecast::{self, Forecast, Outlook};
use crate::decide::semantics::{Meaning, Standing};
use crate::decide::statistics::Judgement;
use crate::decide::transition::{Mark, Origin};
use midwatch_events::Severity;
use serde::{Deserialize, Serialize};

/// How long a forecast that alarmed is held against readings that are in
/// range: the slope of a leak under noise comes and goes.
const HELD_MS: i64 = 10 * 60_000;
/// Minutes to the limit from which nobody may wait: time to get up and restart
/// something, and to plan.
const CRITICAL_MINUTES: f64 = 15.0;
const HIGH_MINUTES: f64 = 120.0;
/// Readings out of range that make an anomaly CRITICAL: a first crossing alone
/// never does. A service that nobody is woken for at once is given longer.
const SUSTAINED: u32 = 2;
const SUSTAINED_ELSEWHERE: u32 = 10;

/// Where a resource is heading.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Heading {
    forecast: Forecast,
    alarm: Option<Alarm>,
}

/// The forecast that alarmed last.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Alarm {
    at_ms: i64,
    /// The reading at the first alarm of this growth.
    #[serde(with = "exact")]
    from: f64,
}

/// A reading's standing, and the forecast that contributed to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub standing: Standing,
    pub outlook: Option<Outlook>,
}

impl Heading {
    /// Takes in a reading; where it is heading, if that is alarming, or was a
    /// moment ago and the growth has not gone back.
    fn observe(&mut self, mark: &Mark, limit: f64) -> (bool, Option<Outlook>) {
        let outlook = self
            .forecast
            .observe(mark.at_ms, mark.value, limit)
            .filter(forecast::is_alarming);
        if outlook.is_some() {
            let from = self.alarm.map_or(mark.value, |alarm| alarm.from);
            self.alarm = Some(Alarm {
                at_ms: mark.at_ms,
                from,
            });
        } else if self
            .alarm
            .is_some_and(|alarm| mark.value < alarm.from || mark.at_ms - alarm.at_ms > HELD_MS)
        {
            self.alarm = None;
        }
        (self.alarm.is_some(), outlook)
    }
}

impl Series {
    /// Judges a reading; what the series does every day is no finding.
    pub(super) fn stand(
        &mut self,
        origin: &Origin<'_>,
        mark: &Mark,
        judgement: &Judgement,
    ) -> Found {
        let mut standing = self.meaning.standing(mark.value, judgement, origin.tuning);
        if standing.out_of_range && self.meaning.limit().is_none() {
            let size = (mark.value - judgement.expected).abs();
            let habits = self.habits.as_mut();
            if habits.is_some_and(|habits| habits.explain(mark.at_ms, size)) {
                standing = Standing::default();
            }
        }
        let mut outlook = None;
        if let Some(limit) = self.meaning.exhausts_at() {
            let heading = self.heading.get_or_insert_default();
            let (alarming, now) = heading.observe(mark, limit);
            standing.unusual |= alarming;
            standing.out_of_range |= alarming;
            standing.clear |= alarming;
            outlook = now;
        }
        Found { standing, outlook }
    }

    /// The source's clock was set back: what was heading somewhere is not known.
    pub(super) fn forget_heading(&mut self) {
        self.heading = None;
    }

    /// Remembers an anomaly that went by itself.
    pub(super) fn note_habit(&mut self, ended_ms: i64) {
        if let Some(open) = &self.open
            && self.meaning.limit().is_none()
            && open.size > 0.0
        {
            let (began_ms, size) = (open.outbreak_ms, open.size);
            self.habits
                .get_or_insert_default()
                .note(began_ms, ended_ms, size);
        }
    }
}

impl OpenAnomaly {
    /// Counts a reading out of range.
    pub(super) fn count(&mut self, mark: &Mark, judgement: &Judgement) {
        self.readings = self.readings.saturating_add(1);
        self.size = self.size.max((mark.value - judgement.expected).abs());
    }
}

/// How grave a reading is that is the `readings`th out of range: by its size,
/// by what is left until the limit, by how long it has lasted and by whom it
/// hits.
pub(super) fn grade(
    meaning: &Meaning,
    origin: &Origin<'_>,
    mark: &Mark,
    judgement: &Judgement,
    outlook: Option<Outlook>,
    readings: u32,
) -> Severity {
    let needed = if origin.vital {
        SUSTAINED
    } else {
        SUSTAINED_ELSEWHERE
    };
    let mut severity = meaning.severity(mark.value, judgement.z);
    // A limit is one, however long it has been exceeded.
    if severity == Severity::Critical && meaning.limit().is_none() && readings < needed {
        severity = Severity::High;
    }
    let heading = outlook.map_or(Severity::Low, |outlook| {
        if outlook.minutes_left <= CRITICAL_MINUTES {
            Severity::Critical
        } else if outlook.minutes_left <= HIGH_MINUTES {
            Severity::High
        } else {
            Severity::Medium
        }
    });
    meaning.capped(severity.max(heading))
}
