//! One kind of line: what is remembered of it, and what its next line means.

use super::history::History;
use super::mask::ANY;
use super::{
    APART_MS, DAY_MS, EQUAL_PERCENT, ERROR_TEMPLATE_BURST, EXAMPLE, FIT_PERCENT, HABIT_WITHIN_MS,
    Line, NEW_FOR_MS, NEW_TEMPLATE, SEVERE_TIMES, TIMES, Times, WARN_TEMPLATE_BURST, WITHIN_MS,
};
use crate::decide::occurrences::{Finding, Quote, Sign, Told};
use crate::decide::rules::head;
use midwatch_events::Severity;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Rule {
    New,
    /// With the count that a lasting burst needed when it began.
    Burst(u32),
}

/// That a template's lines belong to an open finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::decide) struct Alarm {
    rule: Rule,
    /// Silence clock at its beginning.
    since_ms: i64,
    /// The largest minute since.
    most: u32,
    /// Event time at its beginning.
    begun_ms: i64,
}

/// Sightings of a new ERROR template, oldest first, fewer than [`TIMES`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sightings {
    at_ms: Vec<i64>,
    first: Quote,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::decide) struct Template {
    /// Masked tokens, separated by single spaces.
    #[serde(rename = "t")]
    pub text: String,
    /// ERROR, not WARN.
    #[serde(rename = "e")]
    pub severe: bool,
    /// Whether it is below the tree's common child.
    #[serde(rename = "l", default, skip_serializing_if = "is_false")]
    pub loose: bool,
    /// Logged while learning, or again long after its first line.
    #[serde(rename = "k")]
    pub known: bool,
    /// Silence clock at its first and its last line.
    #[serde(rename = "f")]
    first_ms: i64,
    #[serde(rename = "s")]
    pub last_ms: i64,
    #[serde(rename = "h")]
    history: History,
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub alarm: Option<Alarm>,
    /// The largest minute of its last finding, and event time when it began.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    report: Option<(u32, i64)>,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    sightings: Option<Box<Sightings>>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

/// Equal tokens and open positions of a template that a masked line of as
/// many tokens fits.
pub(super) fn similarity(template: &str, masked: &str, count: usize) -> Option<(usize, usize)> {
    let (mut equal, mut open) = (0, 0);
    for (known, token) in template.split(' ').zip(masked.split(' ')) {
        equal += usize::from(known == token && known != ANY);
        open += usize::from(known == ANY);
    }
    let fits = 100 * (equal + open) >= FIT_PERCENT * count && 100 * equal >= EQUAL_PERCENT * count;
    fits.then_some((equal, open))
}

impl Template {
    /// A template that is logged for the first time.
    pub fn new(text: String, severe: bool, loose: bool, known: bool, now_ms: i64) -> Template {
        Template {
            text,
            severe,
            loose,
            known,
            first_ms: now_ms,
            last_ms: now_ms,
            history: History::default(),
            alarm: None,
            report: None,
            sightings: None,
        }
    }

    /// The source's clock was set back.
    pub fn set_back(&mut self) {
        self.history.set_back();
        if let Some(sightings) = &mut self.sightings {
            sightings.at_ms.clear();
        }
    }

    /// Bytes of text that it holds.
    pub fn bytes(&self) -> usize {
        let example = self
            .sightings
            .as_ref()
            .map_or(0, |new| new.first.text.len());
        self.text.len() + example
    }

    /// Takes in a line of it. `age_ms` is how long the service is known, if
    /// that is long enough to tell what is unusual.
    pub fn take(&mut self, line: &Line<'_>, times: &Times, age_ms: Option<i64>) -> Option<Sign> {
        let now_ms = times.silence_ms;
        let silent_ms = now_ms - std::mem::replace(&mut self.last_ms, now_ms);
        let age_ms_or_none = age_ms.unwrap_or(0);
        let thresholds = self.history.thresholds(self.severe, now_ms, age_ms_or_none);
        if let Some(closed) = self.history.count(line.at_ms) {
            match &mut self.alarm {
                Some(alarm) => {
                    alarm.most = alarm.most.max(closed.count);
                    if let Rule::Burst(least) = alarm.rule
                        && (closed.count < least.div_ceil(2) || closed.minutes > 1)
                    {
                        self.end(now_ms);
                    }
                }
                None => self.history.settle(closed, thresholds, now_ms),
            }
        }
        if let Some(sign) = self.go_on(line, times, silent_ms, age_ms_or_none) {
            return Some(sign);
        }
        let age_ms = age_ms?;
        if let Some(sign) = self.recur(line, now_ms, age_ms) {
            return Some(sign);
        }
        if self.severe && !self.known {
            return None;
        }
        let onset_ms = self.history.burst(thresholds)?;
        self.alarm = Some(Alarm {
            rule: Rule::Burst(thresholds.lasting.ceil() as u32),
            since_ms: now_ms,
            most: self.history.count,
            begun_ms: onset_ms,
        });
        let told = self.tell_burst(onset_ms, now_ms);
        Some(Sign::Found(self.burst(), told))
    }

    /// A line of a template with an open finding.
    fn go_on(
        &mut self,
        line: &Line<'_>,
        times: &Times,
        silent_ms: i64,
        age_ms: i64,
    ) -> Option<Sign> {
        let alarm = self.alarm.as_mut()?;
        let now_ms = times.silence_ms;
        if alarm.rule == Rule::New && silent_ms >= times.quiet_ms {
            self.end(now_ms);
            return None;
        }
        let (rule, lasted_ms) = (alarm.rule, now_ms - alarm.since_ms);
        if lasted_ms >= times.relearn_ms {
            let most = alarm.most.max(self.history.count);
            self.alarm = None;
            self.history.accept(most, now_ms);
            let words = format!(
                "lines like \"{}\" still come after {}, up to {most} a minute: accepted as usual, not recovered",
                self.text,
                duration(lasted_ms),
            );
            let finding = match rule {
                Rule::New => NEW_TEMPLATE,
                Rule::Burst(_) => self.burst(),
            };
            return Some(Sign::Accepted(finding, words));
        }
        Some(match rule {
            Rule::New => {
                let before_ms = age_ms - (now_ms - self.first_ms);
                Sign::Found(NEW_TEMPLATE, self.tell_new(line.at_ms, 1, 0, before_ms))
            }
            Rule::Burst(_) => Sign::Found(self.burst(), self.tell_burst(line.at_ms, now_ms)),
        })
    }

    /// The finding is over. What it reported is no part of the past, or the
    /// same fault would not be found again; but what comes back at the same
    /// time of day is a job and usual from then on.
    fn end(&mut self, now_ms: i64) {
        let Some(alarm) = self.alarm.take() else {
            return;
        };
        let report = (alarm.most, alarm.begun_ms);
        if let Some((most, begun_ms)) = self.report.replace(report) {
            let apart_ms = alarm.begun_ms - begun_ms;
            let off_ms = (apart_ms + HABIT_WITHIN_MS).rem_euclid(DAY_MS);
            if apart_ms > DAY_MS / 2 && off_ms <= 2 * HABIT_WITHIN_MS {
                self.history.accept(most.max(alarm.most), now_ms);
            }
        }
    }

    /// Counts a sighting of a new template.
    fn recur(&mut self, line: &Line<'_>, now_ms: i64, age_ms: i64) -> Option<Sign> {
        if self.known {
            return None;
        }
        if now_ms - self.first_ms >= NEW_FOR_MS {
            self.known = true;
            self.sightings = None;
            return None;
        }
        if !self.severe {
            return None;
        }
        let sightings = self.sightings.get_or_insert_with(|| {
            let text = head(line.message, EXAMPLE).replace(char::is_control, " ");
            Box::new(Sightings {
                at_ms: Vec::with_capacity(TIMES),
                first: Quote {
                    at_ms: line.at_ms,
                    text,
                    event_id: line.event_id,
                },
            })
        });
        let last_ms = sightings.at_ms.last().copied();
        if last_ms.is_some_and(|last_ms| line.at_ms < last_ms + APART_MS) {
            return None;
        }
        sightings
            .at_ms
            .retain(|at_ms| line.at_ms - at_ms <= WITHIN_MS);
        sightings.at_ms.push(line.at_ms);
        if sightings.at_ms.len() < TIMES {
            return None;
        }
        let onset_ms = sightings.at_ms[0];
        let first = sightings.first.clone();
        self.known = true;
        self.sightings = None;
        self.alarm = Some(Alarm {
            rule: Rule::New,
            since_ms: now_ms,
            most: 0,
            begun_ms: onset_ms,
        });
        let before_ms = age_ms - (now_ms - self.first_ms);
        let mut told = self.tell_new(onset_ms, TIMES, line.at_ms - onset_ms, before_ms);
        told.first = Some(first);
        Some(Sign::Found(NEW_TEMPLATE, told))
    }

    fn burst(&self) -> Finding {
        let mut finding = WARN_TEMPLATE_BURST;
        if self.severe {
            finding = ERROR_TEMPLATE_BURST;
            if let Some(Alarm {
                rule: Rule::Burst(least),
                ..
            }) = self.alarm
                && f64::from(self.history.count) >= SEVERE_TIMES * f64::from(least)
            {
                finding.severity = Severity::High;
            }
        }
        finding
    }

    fn tell_new(&self, onset_ms: i64, times: usize, span_ms: i64, before_ms: i64) -> Told {
        let often = if times > 1 {
            format!(
                "logged {times} times or more within {}",
                duration(span_ms.max(1_000))
            )
        } else {
            "goes on".to_owned()
        };
        Told {
            words: format!(
                "an error that was never logged in the {} before {often}: \"{}\"",
                duration(before_ms),
                self.text
            ),
            onset_ms,
            first: None,
        }
    }

    fn tell_burst(&self, onset_ms: i64, now_ms: i64) -> Told {
        let level = if self.severe { "ERROR" } else { "WARN" };
        let usual = self.history.usual(now_ms);
        let usual = if usual < 0.5 {
            "usually none".to_owned()
        } else {
            format!("usually at most {usual:.0}")
        };
        Told {
            words: format!(
                "{} {level} lines like \"{}\" within a minute, {usual}",
                self.history.count, self.text
            ),
            onset_ms,
            first: None,
        }
    }
}

/// A time span as people say it.
fn duration(ms: i64) -> String {
    match ms / 1000 {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
