//! How fast a service spends its error budget.
//!
//! An objective of 99.9 % allows one request in a thousand to fail. The *burn
//! rate* is the share that does fail over the share that may: at 1 a budget
//! of 30 days lasts for 30 days. The alerts are those of the Site
//! Reliability Workbook (Google, 2018), chapter 5, "Multiwindow, Multi-Burn-Rate
//! Alerts", table 5-8:
//!
//! | burn rate | over | and over | spends | who hears of it |
//! |---|---|---|---|---|
//! | 14.4 | 1 h | 5 min | 2 % of the budget in an hour | a page, the graver one |
//! | 6 | 6 h | 30 min | 5 % in six hours | a page |
//! | 1 | 3 d | 6 h | 10 % in three days | a ticket |
//!
//! The long window says that it matters, the short one that it still happens.
//!
//! - A reading speaks for the time since the one before it. After more than
//!   three usual intervals there was a gap: the reading speaks for one usual
//!   interval, and the rest is *no data*, neither good nor bad.
//! - A window is judged when at least half of it is covered.
//! - Readings count by their requests. Where the rate is not known, the usual
//!   one is taken; where none was ever known, time alone counts.
//! - A reading that is not newer than the last one is not counted: the
//!   windows are sums, and what they said before has been decided upon.
//! - A rule holds until its short window is below the threshold. A window
//!   without data changes nothing.

mod ring;

use midwatch_events::{Severity, Transition};
use ring::Ring;
use serde::{Deserialize, Serialize};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// The period of the budget, which the burn rates above belong to.
const PERIOD_MS: i64 = 30 * DAY_MS;
/// So many usual intervals without a reading are a gap.
const GAP: i64 = 3;
/// So many gaps in a row are a new rhythm.
const NEW_RHYTHM: u32 = 3;
/// A reading speaks for an hour at most.
const MOST_MS: i64 = HOUR_MS;
/// The share of a window that must be covered.
const COVERED: f64 = 0.5;

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    percent: f64,
}

impl Objective {
    /// So many percent of the requests of 30 days succeed: from 50 up to, but
    /// not including, 100.
    #[must_use]
    pub fn of_percent(percent: f64) -> Option<Objective> {
        (50.0..100.0)
            .contains(&percent)
            .then_some(Objective { percent })
    }

    /// The promise, percent.
    #[must_use]
    pub fn percent(self) -> f64 {
        self.percent
    }

    /// The share of requests that may fail.
    #[must_use]
    pub fn allowed(self) -> f64 {
        1.0 - self.percent / 100.0
    }
}

/// One of the three rules, the gravest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// 1 over three days and six hours.
    Ticket,
    /// 6 over six hours and half an hour.
    Slow,
    /// 14.4 over an hour and five minutes.
    Fast,
}

impl Rule {
    /// All, the least grave first.
    pub const ALL: [Rule; 3] = [Rule::Ticket, Rule::Slow, Rule::Fast];

    /// The burn rate from which it holds.
    #[must_use]
    pub fn threshold(self) -> f64 {
        match self {
            Rule::Ticket => 1.0,
            Rule::Slow => 6.0,
            Rule::Fast => 14.4,
        }
    }

    /// How grave it is for a service that others depend on.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Rule::Ticket => Severity::Low,
            Rule::Slow => Severity::High,
            Rule::Fast => Severity::Critical,
        }
    }

    /// The long and the short window, for people.
    fn spans(self) -> (&'static str, &'static str) {
        match self {
            Rule::Ticket => ("3 days", "6 hours"),
            Rule::Slow => ("6 hours", "30 minutes"),
            Rule::Fast => ("hour", "5 minutes"),
        }
    }
}

/// A change of the alert.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BurnAlert {
    /// The gravest rule that holds, or held last.
    pub rule: Rule,
    /// `Started`, `Worsened` (a graver rule holds) or `Cleared` (none does).
    pub transition: Transition,
    pub severity: Severity,
    /// Burn rates over the rule's windows; 0 where there is no data.
    pub burn_long: f64,
    pub burn_short: f64,
    /// Of the budget of 30 days: 1 when nothing is spent, below 0 when more
    /// than all is. Time without data has spent nothing.
    pub budget_left_fraction: f64,
    /// Event time since which the short window has been at the threshold.
    pub since_ms: i64,
    pub objective: Objective,
}

impl BurnAlert {
    /// The share of requests that failed in the long window, 0..1.
    #[must_use]
    pub fn failed_fraction(&self) -> f64 {
        self.burn_long * self.objective.allowed()
    }

    /// What happened, for people.
    #[must_use]
    pub fn words(&self) -> String {
        let (long, short) = self.rule.spans();
        let objective = self.objective.percent;
        let left = self.budget_left_fraction;
        if self.transition == Transition::Cleared {
            return format!(
                "requests fail at {:.1} × the budget of a {objective} % objective over the last {short}, below {}; {} of the 30-day budget is left",
                self.burn_short,
                self.rule.threshold(),
                percent(left.max(0.0)),
            );
        }
        let pace = if left <= 0.0 {
            "the 30-day budget is spent already".to_owned()
        } else {
            let hours = left * 720.0 / self.burn_long;
            let what = if left > 0.995 {
                "the 30-day budget".to_owned()
            } else {
                format!("what is left of the 30-day budget ({})", percent(left))
            };
            format!("at this pace {what} is gone in {}", duration(hours))
        };
        format!(
            "{} of requests failed in the last {long}: {:.1} × the budget of a {objective} % objective; {pace}",
            percent(self.failed_fraction()),
            self.burn_long,
        )
    }
}

fn percent(fraction: f64) -> String {
    let percent = 100.0 * fraction;
    if percent >= 10.0 {
        format!("{percent:.0} %")
    } else if percent >= 1.0 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.2} %")
    }
}

fn duration(hours: f64) -> String {
    if hours >= 48.0 {
        format!("{:.0} days", hours / 24.0)
    } else if hours >= 2.0 {
        format!("{hours:.0} hours")
    } else {
        format!("{:.0} minutes", hours * 60.0)
    }
}

/// A window's burn rate and whether enough of it is covered.
fn burn((seconds, requests, errors): (f64, f64, f64), span_ms: i64, allowed: f64) -> Option<f64> {
    if seconds * 1000.0 < COVERED * span_ms as f64 {
        return None;
    }
    // Without requests nothing fails and nothing is spent.
    Some(if requests > 0.0 {
        errors / requests / allowed
    } else {
        0.0
    })
}

/// What one service has spent: under 2 KB.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Burn {
    last_ms: Option<i64>,
    /// Usual time between readings, 0 before it is known.
    interval_ms: i64,
    gaps: u32,
    /// Usual requests per second.
    rate: Option<Rate>,
    /// Stretches of 1 and 5 minutes, 2 hours and a day.
    minutes: Ring<5>,
    fives: Ring<72>,
    hours: Ring<36>,
    days: Ring<30>,
    /// By rule, since when its short window has been at its threshold.
    since_ms: [Option<i64>; 3],
    /// The rules that hold.
    holds: [bool; 3],
    /// The gravest rule that was told.
    told: Option<Rule>,
}

/// Requests per second, stored exactly.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Rate(#[serde(with = "crate::decide::exact")] f64);

impl Burn {
    /// Takes in that `error_fraction` (0..1) of the requests failed since the
    /// last reading. `at_ms` is event time, epoch milliseconds;
    /// `requests_per_s` is at least 0 where it is known. Answers with what
    /// there is to tell.
    pub fn observe(
        &mut self,
        at_ms: i64,
        error_fraction: f64,
        requests_per_s: Option<f64>,
        objective: Objective,
    ) -> Option<BurnAlert> {
        if !error_fraction.is_finite() || self.last_ms.is_some_and(|last_ms| at_ms <= last_ms) {
            return None;
        }
        let rate = self.weigh(requests_per_s);
        let covered_ms = self.covered(at_ms);
        self.last_ms = Some(at_ms);
        if covered_ms > 0 {
            let failed = error_fraction.clamp(0.0, 1.0);
            let span = (at_ms - covered_ms, at_ms);
            self.minutes.add(MINUTE_MS, span, rate, failed);
            self.fives.add(5 * MINUTE_MS, span, rate, failed);
            self.hours.add(2 * HOUR_MS, span, rate, failed);
            self.days.add(DAY_MS, span, rate, failed);
        }
        self.judge(at_ms, objective)
    }

    /// The source's clock was set back: the windows begin anew. An alert stays
    /// until there is data to clear it.
    pub fn set_back(&mut self) {
        *self = Burn {
            rate: self.rate,
            holds: self.holds,
            told: self.told,
            since_ms: self.since_ms,
            ..Burn::default()
        };
    }

    /// Whether something was told that has not been cleared.
    #[must_use]
    pub fn is_alerting(&self) -> bool {
        self.told.is_some()
    }

    /// The weight of a second.
    fn weigh(&mut self, requests_per_s: Option<f64>) -> f64 {
        let known = requests_per_s.filter(|rate| rate.is_finite() && *rate >= 0.0);
        match (known, self.rate) {
            (Some(rate), Some(Rate(usual))) => {
                self.rate = Some(Rate(usual + (rate - usual) / 64.0));
                rate
            }
            (Some(rate), None) if rate > 0.0 => {
                // Up to now a second weighed 1.
                self.rate = Some(Rate(rate));
                let factor = rate as f32;
                self.minutes.scale(factor);
                self.fives.scale(factor);
                self.hours.scale(factor);
                self.days.scale(factor);
                rate
            }
            (Some(_), None) => 0.0,
            (None, usual) => usual.map_or(1.0, |Rate(usual)| usual),
        }
    }

    /// How much of the time before `at_ms` the reading speaks for.
    fn covered(&mut self, at_ms: i64) -> i64 {
        let Some(last_ms) = self.last_ms else {
            return 0;
        };
        let passed_ms = at_ms.saturating_sub(last_ms);
        if self.interval_ms == 0 {
            self.interval_ms = passed_ms.min(MOST_MS);
        } else if passed_ms <= GAP * self.interval_ms {
            self.gaps = 0;
            self.interval_ms += (passed_ms - self.interval_ms) / 8;
            return passed_ms.min(MOST_MS);
        } else {
            self.gaps += 1;
            if self.gaps >= NEW_RHYTHM {
                self.gaps = 0;
                self.interval_ms = passed_ms.min(MOST_MS);
            }
        }
        self.interval_ms = self.interval_ms.max(1);
        self.interval_ms
    }

    /// The burn rates over a rule's long and short window.
    fn burns(&self, rule: Rule, allowed: f64) -> (Option<f64>, Option<f64>) {
        let six_hours = || burn(self.fives.sum(72), 6 * HOUR_MS, allowed);
        match rule {
            Rule::Ticket => (burn(self.hours.sum(36), 3 * DAY_MS, allowed), six_hours()),
            Rule::Slow => (
                six_hours(),
                burn(self.fives.sum(6), 30 * MINUTE_MS, allowed),
            ),
            Rule::Fast => (
                burn(self.fives.sum(12), HOUR_MS, allowed),
                burn(self.minutes.sum(5), 5 * MINUTE_MS, allowed),
            ),
        }
    }

    fn judge(&mut self, at_ms: i64, objective: Objective) -> Option<BurnAlert> {
        let allowed = objective.allowed();
        let before = self.gravest();
        for (index, rule) in Rule::ALL.into_iter().enumerate() {
            let (long, short) = self.burns(rule, allowed);
            let reaches = |burn: Option<f64>| burn.is_some_and(|burn| burn >= rule.threshold());
            if reaches(short) {
                self.since_ms[index].get_or_insert(at_ms);
                self.holds[index] |= reaches(long);
            } else if short.is_some() {
                self.since_ms[index] = None;
                self.holds[index] = false;
            }
        }
        let gravest = self.gravest();
        let (rule, transition) = match (self.told, gravest) {
            (None, Some(rule)) => (rule, Transition::Started),
            (Some(told), Some(rule)) if rule > told => (rule, Transition::Worsened),
            (Some(told), None) => (before.unwrap_or(told), Transition::Cleared),
            _ => return None,
        };
        self.told = gravest;
        let (long, short) = self.burns(rule, allowed);
        let since_ms = self.since_ms[rule as usize].unwrap_or(at_ms);
        Some(BurnAlert {
            rule,
            transition,
            severity: rule.severity(),
            burn_long: long.unwrap_or(0.0),
            burn_short: short.unwrap_or(0.0),
            budget_left_fraction: self.left(allowed),
            since_ms,
            objective,
        })
    }

    /// The gravest rule that holds.
    fn gravest(&self) -> Option<Rule> {
        let mut rules = Rule::ALL.into_iter().zip(self.holds).rev();
        rules.find_map(|(rule, holds)| holds.then_some(rule))
    }

    fn left(&self, allowed: f64) -> f64 {
        let (seconds, requests, errors) = self.days.sum(30);
        if requests <= 0.0 {
            return 1.0;
        }
        let period = seconds * 1000.0 / PERIOD_MS as f64;
        1.0 - errors / requests / allowed * period.min(1.0)
    }
}
