//! Which kinds of lines a service logs, learnt from its lines, and what is
//! unusual about them.
//!
//! Lines of WARN and worse that no keyword rule knows are masked ([`mask`])
//! and sorted into templates by a tree of fixed depth ([`tree`]), after the
//! idea of Drain (P. He, J. Zhu, Z. Zheng, M. R. Lyu, "Drain: An Online Log
//! Parsing Approach with Fixed Depth Tree", ICWS 2017): a line belongs to the
//! template of its severity, length and first token that shares most tokens
//! with it; where they differ, the template gets an open position `<*>`.
//!
//! Two things are findings, each at most once at a time for a service:
//! - `log:new_template`: an ERROR template that the service never logged
//!   before, after its usual ones have been learnt ([`LEARN_LINES`] lines and
//!   [`LEARN_MS`]), and that comes back: [`TIMES`] times within
//!   [`WITHIN_MS`], each at least [`APART_MS`] after the one before. One odd
//!   request, with the few seconds of its retries, is one time.
//! - `log:template_burst`: far more lines of a template than in any minute
//!   that it is remembered by ([`history`]).
//!
//! What a finding reports is not learnt as usual while it lasts, unless it
//! lasts for as long as `DETECTION_RELEARN_MINUTES`: then it is accepted, and
//! that is said. What comes back at the same time of day is a job's habit and
//! usual from the third time on. FATAL lines are findings by themselves
//! ([`super::rules`]).
//!
//! **Bounds.** Per service at most [`MAX_TEMPLATES`] templates and
//! [`MAX_TEXT`] bytes of text in them, so less than 48 KiB in memory and less
//! than 80 KiB when put away (text may double by escaping), usually some
//! 4 KiB. Per line one masking pass over at most 4 KiB, and at most
//! [`MAX_TEMPLATES`] comparisons of [`mask::MAX_TOKENS`] tokens.
//!
//! **Full.** The template that gives way is the least recently logged one
//! among those that are still new (first logged after the learning time, and
//! not again an hour later), so a storm of lines that resemble nothing pushes
//! out itself and not what is known. Only where all are known, the least
//! recently logged of them goes; then a template that is not there may be one
//! that was pushed out, so nothing is called new until [`DISPLACED_MS`] have
//! passed without that. A template with an open finding goes last.
//!
//! Ages are measured by the environment's silence clock, which wrong dates do
//! not move; minutes and recurrence by the lines' own time.

mod history;
mod mask;
mod template;
mod tree;

#[cfg(test)]
mod tests;

use crate::decide::occurrences::{Demand, Finding, Sign};
pub(super) use history::Peak;
use mask::{ANY, mask};
use midwatch_events::{AnomalyType, Severity};
use serde::{Deserialize, Serialize, Serializer};
use template::Template;
use tree::Tree;
use uuid::Uuid;

/// Templates of one service. Services log some dozens of kinds of warnings
/// and errors; more than a hundred are ids that masking does not know.
pub const MAX_TEMPLATES: usize = 100;
/// Bytes of template texts and first examples of one service.
pub const MAX_TEXT: usize = 24 * 1024;
/// Bytes of a line kept as a new template's first example.
pub const EXAMPLE: usize = 240;
/// Lines of any level that a service logs before anything can be new: a
/// service that says little has not shown what it usually says.
pub const LEARN_LINES: u32 = 100;
/// So long a service is heard before anything can be new: a quarter of an
/// hour covers what it does every minute, every five and every ten.
pub const LEARN_MS: i64 = 15 * 60_000;
/// Sightings that make a new template a finding.
pub const TIMES: usize = 3;
/// They lie within this time.
pub const WITHIN_MS: i64 = 60_000;
/// Lines closer to the last counted one belong to the same sighting: a client
/// that retries three times with back-off is done within five seconds.
pub const APART_MS: i64 = 5_000;
/// A template that is logged again so long after its first line is known: a
/// fault that is new shows within its first hour, and bursts are found later.
pub const NEW_FOR_MS: i64 = 3_600_000;
/// After a known template was pushed out nothing is new for a day, within
/// which what belongs to the daily round has been logged again.
pub const DISPLACED_MS: i64 = 24 * 3_600_000;
/// A finding that begins at the same time of day as the last one of the same
/// template, within this on either side, is a habit and no fault.
pub const HABIT_WITHIN_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * 3_600_000;
/// Of a line's tokens, so many percent must fit a template: equal, or at an
/// open position. Short messages that differ in one word stay apart.
const FIT_PERCENT: usize = 60;
/// And so many must be equal, so that no template fits everything.
const EQUAL_PERCENT: usize = 40;
/// A burst of errors ten times as large as need be is HIGH.
const SEVERE_TIMES: f64 = 10.0;

const fn finding(name: &'static str, kind: AnomalyType, severity: Severity) -> Finding {
    Finding {
        name,
        kind,
        severity,
        demand: Demand {
            times: 1,
            within_ms: 0,
        },
    }
}

/// A new kind of error: what kind of trouble it is, its words may tell a
/// model or a person, but no rule.
pub const NEW_TEMPLATE: Finding =
    finding("log:new_template", AnomalyType::Unknown, Severity::Medium);
/// Far more of a known error than ever.
pub const ERROR_TEMPLATE_BURST: Finding = finding(
    "log:template_burst",
    AnomalyType::ErrorRateSpike,
    Severity::Medium,
);
/// Far more of a warning than ever: the service copes so far.
pub const WARN_TEMPLATE_BURST: Finding =
    finding("log:template_burst", AnomalyType::Unknown, Severity::Low);

/// A line of WARN or ERROR that no keyword rule knows.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    pub message: &'a str,
    /// ERROR, not WARN.
    pub severe: bool,
    pub at_ms: i64,
    pub event_id: Uuid,
}

/// The times that decide, milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The environment's silence clock.
    pub silence_ms: i64,
    /// A finding without another line for so long is over.
    pub quiet_ms: i64,
    /// What lasts longer is accepted.
    pub relearn_ms: i64,
}

/// How far a service's usual lines are learnt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learning {
    /// Silence clock at the service's first line.
    born_ms: i64,
    /// Lines of any level, at most [`LEARN_LINES`].
    lines: u32,
}

impl Learning {
    /// Hears a line of any level.
    pub fn hear(&mut self, silence_ms: i64) {
        if self.lines == 0 {
            self.born_ms = silence_ms;
        }
        self.lines = (self.lines + 1).min(LEARN_LINES);
    }

    /// How long the service is known, milliseconds, if that is long enough to
    /// tell what is unusual.
    fn age_ms(self, silence_ms: i64) -> Option<i64> {
        let age_ms = silence_ms - self.born_ms;
        (self.lines >= LEARN_LINES && age_ms >= LEARN_MS).then_some(age_ms)
    }
}

/// The templates of one service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Stored")]
pub struct Templates {
    stored: Stored,
    tree: Tree,
    /// Bytes of text in the templates.
    bytes: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Stored {
    /// Silence clock when a known template was last pushed out.
    #[serde(default)]
    displaced_ms: Option<i64>,
    /// The last line's event, so that a repeated delivery counts once.
    last: Uuid,
    /// Slots keep their numbers, which decide between equals.
    slots: Vec<Option<Template>>,
}

impl From<Stored> for Templates {
    fn from(mut stored: Stored) -> Templates {
        stored.slots.truncate(MAX_TEMPLATES);
        Templates {
            tree: Tree::grow(&stored.slots),
            bytes: stored.slots.iter().flatten().map(Template::bytes).sum(),
            stored,
        }
    }
}

impl Serialize for Templates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.stored.serialize(serializer)
    }
}

impl Templates {
    /// Takes in a line; says what finding it belongs to.
    pub fn judge(&mut self, line: &Line<'_>, times: &Times, learning: Learning) -> Option<Sign> {
        if std::mem::replace(&mut self.stored.last, line.event_id) == line.event_id {
            return None;
        }
        let now_ms = times.silence_ms;
        let age_ms = learning.age_ms(now_ms);
        let masked = mask(line.message);
        let slot = match self.tree.find(&self.stored.slots, line.severe, &masked) {
            Some(slot) => {
                self.generalise(slot, &masked);
                slot
            }
            None => self.insert(line.severe, masked, now_ms, age_ms.is_some()),
        };
        let template = self.stored.slots[usize::from(slot)].as_mut()?;
        let before = template.bytes();
        let sign = template.take(line, times, age_ms);
        self.bytes = self.bytes - before + template.bytes();
        self.make_room(Some(slot), now_ms, 0);
        sign
    }

    /// The source's clock was set back: minutes and sightings from before lie
    /// in its future.
    pub fn set_back(&mut self) {
        for template in self.stored.slots.iter_mut().flatten() {
            template.set_back();
        }
    }

    /// Opens the positions in which the line differs from its template.
    fn generalise(&mut self, slot: u8, masked: &str) {
        let Some(template) = &mut self.stored.slots[usize::from(slot)] else {
            return;
        };
        let pairs = template.text.split(' ').zip(masked.split(' '));
        if pairs
            .clone()
            .all(|(known, token)| known == token || known == ANY)
        {
            return;
        }
        let tokens: Vec<&str> = pairs
            .map(|(known, token)| if known == token { known } else { ANY })
            .collect();
        let text = tokens.join(" ");
        self.tree.remove(slot, template);
        self.bytes = self.bytes - template.text.len() + text.len();
        template.text = text;
        self.tree
            .insert(slot, template.severe, template.loose, &template.text);
    }

    fn insert(&mut self, severe: bool, masked: String, now_ms: i64, learnt: bool) -> u8 {
        let displaced = self.stored.displaced_ms;
        let tellable = displaced.is_none_or(|at_ms| now_ms - at_ms >= DISPLACED_MS);
        self.make_room(None, now_ms, masked.len());
        let loose = self.tree.is_loose(severe, &masked);
        let known = !(tellable && learnt);
        let template = Template::new(masked, severe, loose, known, now_ms);
        let slots = &mut self.stored.slots;
        let free = slots.iter().position(Option::is_none);
        let place = free.unwrap_or(slots.len());
        if free.is_none() {
            slots.push(None);
        }
        let slot = u8::try_from(place).expect("there are no more slots than MAX_TEMPLATES");
        self.tree
            .insert(slot, template.severe, template.loose, &template.text);
        self.bytes += template.bytes();
        slots[place] = Some(template);
        slot
    }

    /// Pushes out templates until there is room: a slot for another one, or
    /// room for the text of the one that is `kept`.
    fn make_room(&mut self, kept: Option<u8>, now_ms: i64, bytes: usize) {
        let most = MAX_TEMPLATES - usize::from(kept.is_none());
        loop {
            let used = self.stored.slots.iter().flatten().count();
            if used <= most && self.bytes + bytes <= MAX_TEXT {
                return;
            }
            let rank = |template: &Template| {
                let alarmed = template.alarm.is_some();
                (alarmed, template.known, template.last_ms)
            };
            let slots = (0_u8..).zip(&self.stored.slots);
            let victim = slots
                .filter(|(slot, _)| Some(*slot) != kept)
                .filter_map(|(slot, template)| Some((rank(template.as_ref()?), slot)))
                .min();
            let Some((_, slot)) = victim else {
                return;
            };
            if let Some(template) = self.stored.slots[usize::from(slot)].take() {
                self.tree.remove(slot, &template);
                self.bytes -= template.bytes();
                if template.known {
                    self.stored.displaced_ms = Some(now_ms);
                }
            }
        }
    }
}
