//! What a metric means: the kind of trouble, the harmful direction, how large
//! a change must be to matter to anyone, and what it cannot exceed.
//!
//! A z-score alone calls every change of a quiet series an anomaly. So each
//! class adds a floor in the metric's own unit. The floors lie above the
//! noise of a healthy fleet (±8 % uniform, errors ±30 %, memory ±5 %) and
//! below the first steps of a fault that builds up over minutes, so that they
//! cost at most a few readings. What a host or a disk can take is judged by
//! its limit and not by what is usual. `THRESHOLDS.md` lists the classes
//! ([`traits`]) with their numbers and reasons.
//!
//! The class comes from the name and its unit ([`names`]), and a file may say
//! otherwise ([`overrides`]). Where it is told by words of the name alone,
//! it may be wrong: such a series needs three readings to start an anomaly,
//! none is believed alone, and it is HIGH at most.

mod fits;
pub mod markdown;
pub mod names;
pub mod overrides;
pub mod traits;

#[cfg(test)]
mod tests;

use crate::config::Tuning;
use crate::decide::naming::write_series_name;
use crate::decide::statistics::{self, Judgement};
use midwatch_events::{AnomalyType, Direction, Severity};
use names::{Unit, Words, Written};
use overrides::{Exhaustion, Limit, Rule, Semantics};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use traits::{End, Floor, Grades, Harm, Traits};

/// σ from which a series counts of which nothing is known.
const GROSS_SIGMA: f64 = 4.0;
/// A reading of this many times `SIGMA_THRESHOLD` is believed at once.
const BLATANT: f64 = 2.0;
/// Readings in a row that start an anomaly of what is known by words alone.
const GUESSED_READINGS: usize = 3;

/// A class of metrics that are judged alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    Latency,
    ErrorRate,
    Cpu,
    Memory,
    Connections,
    Lag,
    /// How long the oldest message that a consumer has not read has waited.
    LagAge,
    RequestRate,
    HostCpu,
    HostMemory,
    HostSwap,
    /// The used part of a disk, of a host or a volume.
    HostDisk,
    /// Kept for people and never an alarm.
    Context,
    /// Nothing is known about it.
    #[default]
    Other,
    ErrorCount,
    SuccessRate,
    HitRatio,
    /// What is left of something that runs out.
    Free,
    DiskFree,
    Queue,
    /// How late something is.
    Delay,
    /// Bytes that flow.
    Throughput,
    /// Instances that work.
    Replicas,
    /// Instances that do not.
    Unavailable,
    Restarts,
    Temperature,
    /// 1 or 0.
    Health,
}

impl Class {
    /// The class of a series, by its name alone.
    #[must_use]
    pub fn of(series: &str) -> Class {
        names::known(series).unwrap_or_else(|| Words::of(series).class())
    }
}

/// How one reading stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Far from usual in a harmful direction, large or small.
    pub unusual: bool,
    /// Unusual, and large enough to matter.
    pub out_of_range: bool,
    /// So far out that one reading suffices.
    pub blatant: bool,
    /// Whether it shows a level that is out of range, whatever noise added.
    pub clear: bool,
}

/// The series' name, where labels tell instances of the metric apart:
/// `host_disk_percent{mount=/data}`.
#[must_use]
pub fn series_name(
    metric_name: &str,
    labels: &std::collections::BTreeMap<String, String>,
) -> Option<String> {
    let mut name = String::new();
    write_series_name(&mut name, metric_name, |label| {
        labels.get(label).map(String::as_str)
    });
    (name != metric_name).then_some(name)
}

/// What one series means. It is no part of the stored state: a file that says
/// otherwise counts from the next start on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meaning {
    class: Class,
    unit: Unit,
    /// Told by words of the name alone.
    guessed: bool,
    /// Whether it was looked up.
    known: bool,
    /// What the metric runs into, infinite for endless growth; 0 if nothing.
    end: f64,
    rule: Option<Arc<Rule>>,
}

impl Meaning {
    /// What a series of this service means.
    #[must_use]
    pub fn of(service: &str, series: &str, semantics: &Semantics) -> Meaning {
        let rule = semantics.rule(service, series);
        let said = rule.as_ref().and_then(|rule| rule.class);
        let words = Words::of(series);
        let written = words.written();
        let (class, unit, guessed) = match (said, names::known(series)) {
            (Some(class), _) => (class, Unit::of(class, written), false),
            (None, Some(class)) => (class, Unit::Own, false),
            (None, None) => {
                let class = words.class();
                (class, Unit::of(class, written), class != Class::Other)
            }
        };
        let mut meaning = Meaning {
            class,
            unit,
            guessed,
            known: true,
            end: 0.0,
            rule: rule.cloned(),
        };
        let share = matches!(written, Written::Percent | Written::Ratio);
        let full = meaning.unit.convert(100.0).unwrap_or(0.0);
        let own = match meaning.traits().end {
            End::No => 0.0,
            End::Full => semantics.capacity(service, series).unwrap_or(full),
            End::Pool if share => full,
            End::Pool => semantics.capacity(service, series).unwrap_or(0.0),
            End::Endless => f64::INFINITY,
        };
        meaning.end = match meaning.rule.as_ref().and_then(|rule| rule.exhausts_at) {
            Some(Exhaustion::At(value)) => value,
            Some(Exhaustion::Never) => 0.0,
            None => own,
        };
        meaning
    }

    /// Whether it was looked up, and is no mere default.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.known
    }

    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    fn traits(&self) -> &'static Traits {
        self.class.traits()
    }

    fn harm(&self) -> Harm {
        let said = self.rule.as_ref().and_then(|rule| rule.direction);
        said.unwrap_or(self.traits().harm)
    }

    /// Whether it ever becomes an anomaly.
    fn alarms(&self) -> bool {
        self.rule.as_ref().is_none_or(|rule| rule.page) && self.harm() != Harm::None
    }

    /// Whether silence of such a series is an anomaly. Series of instances
    /// that come and go (pods, devices) end without anything being wrong.
    #[must_use]
    pub fn is_missed(&self, series: &str) -> bool {
        let usual = self.class != Class::Context && !series.contains('{');
        self.rule
            .as_ref()
            .map_or(usual, |rule| rule.page && rule.missed.unwrap_or(usual))
    }

    /// The limit in the metric's unit, for series that are judged by one.
    #[must_use]
    pub fn limit(&self) -> Option<f64> {
        match self.rule.as_ref().and_then(|rule| rule.limit) {
            Some(Limit::At(limit)) => Some(limit),
            Some(Limit::Physical) => (self.end > 0.0 && self.end.is_finite()).then_some(self.end),
            None => self.unit.convert(self.traits().limit?),
        }
    }

    /// Whether its limit is a lower one.
    #[must_use]
    pub fn is_limited_below(&self) -> bool {
        self.harm() == Harm::Down
    }

    /// The value at which a growing resource is exhausted, in the metric's
    /// unit, above 0: infinite where growth has no end (lag, backlog). `None`
    /// where there is nothing to forecast, also where it never alarms.
    #[must_use]
    pub fn exhausts_at(&self) -> Option<f64> {
        (self.end > 0.0 && self.alarms() && self.harm() != Harm::Down).then_some(self.end)
    }

    /// How many readings in a row start an anomaly.
    #[must_use]
    pub fn readings_to_start(&self) -> usize {
        let own = self.traits().readings;
        let careful = if self.guessed {
            own.max(GUESSED_READINGS)
        } else {
            own
        };
        let said = self.rule.as_ref().and_then(|rule| rule.readings_to_start);
        said.unwrap_or(careful)
    }

    /// How many readings in a row start an anomaly where none of them is [`Standing::clear`].
    #[must_use]
    pub fn readings_to_last(&self) -> usize {
        self.readings_to_start().max(self.traits().lasting)
    }

    /// The kind of trouble on that side of the baseline. A host out of memory
    /// is told apart from a leak by its service.
    #[must_use]
    pub fn anomaly_type(&self, direction: Direction) -> AnomalyType {
        if direction == Direction::Below {
            self.traits().below
        } else {
            self.traits().above
        }
    }

    /// The side of what is usual, or of its limit, that a value out of range
    /// lies on.
    #[must_use]
    pub fn side(&self, value: f64, expected: f64) -> Direction {
        let above = match self.limit() {
            Some(_) => !self.is_limited_below(),
            None => value >= expected,
        };
        if above {
            Direction::Above
        } else {
            Direction::Below
        }
    }

    /// The anomaly score of a reading, 0..1: that of its distance from what is
    /// usual, or 0.71 at the limit where one counts.
    #[must_use]
    pub fn score(&self, value: f64, judgement: &Judgement) -> f64 {
        let Some(limit) = self.limit() else {
            return judgement.score;
        };
        let beyond = if self.is_limited_below() {
            limit - value
        } else {
            value - limit
        };
        let parts = if beyond == 0.0 {
            0.0
        } else {
            beyond / limit.abs()
        };
        statistics::score((5.0 * (1.0 + parts)).max(0.0))
    }

    fn floor(&self) -> Floor {
        let said = self.rule.as_ref().and_then(|rule| rule.floor);
        let traits = self.traits();
        said.unwrap_or_else(|| match self.unit.convert(traits.floor.absolute) {
            Some(absolute) => Floor {
                absolute,
                relative: traits.floor.relative,
            },
            None => Floor {
                absolute: 0.0,
                relative: traits.loose,
            },
        })
    }

    /// Whether the change from `mean` to `value` is large enough to matter.
    /// `noise` of it may be chance.
    fn matters(&self, value: f64, mean: f64, noise: f64) -> bool {
        let change = match self.harm() {
            Harm::Up | Harm::None => value - mean,
            Harm::Down => mean - value,
            Harm::Both => (value - mean).abs(),
        };
        let Floor { absolute, relative } = self.floor();
        change - noise >= absolute.max(relative * mean.abs())
    }

    /// Judges a reading.
    #[must_use]
    pub fn standing(&self, value: f64, judgement: &Judgement, tuning: &Tuning) -> Standing {
        if !self.alarms() {
            return Standing::default();
        }
        if let Some(limit) = self.limit() {
            let beyond = if self.is_limited_below() {
                value <= limit
            } else {
                value >= limit
            };
            return Standing {
                unusual: beyond,
                out_of_range: beyond,
                blatant: false,
                clear: beyond,
            };
        }
        let distance = match self.harm() {
            Harm::Up | Harm::None => judgement.z,
            Harm::Down => -judgement.z,
            Harm::Both => judgement.z.abs(),
        };
        // Without knowledge of the unit only a grosser deviation counts.
        let needed = if self.class == Class::Other {
            tuning.sigma_threshold.max(GROSS_SIGMA)
        } else {
            tuning.sigma_threshold
        };
        let unusual = judgement.ready && distance >= needed;
        let out_of_range = unusual && self.matters(value, judgement.expected, 0.0);
        let noise = if self.traits().lasting > 0 {
            let reach = if value < judgement.expected {
                judgement.expected - judgement.low
            } else {
                judgement.high - judgement.expected
            };
            // The band is drawn at `SIGMA_THRESHOLD`; the largest error of the past day is less.
            reach * statistics::REFERENCE_SIGMA / tuning.sigma_threshold
        } else {
            0.0
        };
        let clear = out_of_range && self.matters(value, judgement.expected, noise);
        let believed = self.class != Class::Other && !self.guessed;
        Standing {
            unusual,
            out_of_range,
            blatant: clear && believed && distance >= BLATANT * tuning.sigma_threshold,
            clear,
        }
    }

    /// How grave a reading is. A metric that nobody described is never more
    /// than HIGH.
    #[must_use]
    pub fn severity(&self, value: f64, z: f64) -> Severity {
        let grade = |size: f64, (critical, high): (f64, f64)| {
            if size >= critical {
                Severity::Critical
            } else if size >= high {
                Severity::High
            } else {
                Severity::Medium
            }
        };
        let severity = match self.traits().grades {
            Grades::Always(severity) => severity,
            Grades::Sigma(critical, high) => grade(z.abs(), (critical, high)),
            Grades::Value(critical, high) => {
                let bounds = self.unit.convert(critical).zip(self.unit.convert(high));
                match bounds {
                    // From below, less is graver.
                    Some((critical, high)) if self.traits().harm == Harm::Down => {
                        grade(-value, (-critical, -high))
                    }
                    Some(bounds) => grade(value, bounds),
                    None => grade(z.abs(), (f64::INFINITY, 5.0)),
                }
            }
        };
        self.capped(severity)
    }

    /// The severity, or the gravest that such a series can have.
    #[must_use]
    pub fn capped(&self, severity: Severity) -> Severity {
        let said = self.rule.as_ref().and_then(|rule| rule.severity_cap);
        let cap = if self.guessed {
            Severity::High
        } else {
            Severity::Critical
        };
        severity.min(said.unwrap_or(cap))
    }
}
