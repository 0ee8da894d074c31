//! Transitions in the making, and the words that describe them.

use crate::config::Tuning;
use crate::decide::exact;
use crate::decide::forecast::Outlook;
use crate::decide::statistics::{Judgement, Notice, REFERENCE_SIGMA};
use midwatch_events::anomaly::AnomalyEvidence;
use midwatch_events::{Anomaly, AnomalyType, Direction, Severity, Transition, ids};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where a finding belongs.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    pub epoch: &'a str,
    pub tuning: &'a Tuning,
    pub environment: &'a str,
    pub service: &'a str,
    /// The series' name, or `log:<rule>`, `kubernetes:<kind>`.
    pub name: &'a str,
    /// Whether the service is one that people are woken for at once (P0, P1,
    /// or not in the catalogue).
    pub vital: bool,
}

/// One sample of a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    pub at_ms: i64,
    #[serde(with = "exact")]
    pub value: f64,
    pub event_id: Uuid,
}

impl Mark {
    /// The sample as evidence.
    #[must_use]
    pub fn evidence(&self) -> AnomalyEvidence {
        AnomalyEvidence {
            kind: "metric".to_owned(),
            at_ms: self.at_ms,
            value: Some(self.value),
            text: String::new(),
            source_event_id: self.event_id,
        }
    }
}

/// A reading as other agents and people read it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub at_ms: i64,
    pub value: f64,
    /// 0..1.
    pub score: f64,
    pub expected: f64,
    pub low: f64,
    pub high: f64,
    pub event_id: Uuid,
    /// In words, why the score is what it is; empty where nothing is unusual.
    pub reason: String,
}

impl Reading {
    /// A reading with what was expected of it and the news in it.
    #[must_use]
    pub fn new(mark: &Mark, judgement: &Judgement, notice: &Notice) -> Reading {
        Reading {
            at_ms: mark.at_ms,
            value: mark.value,
            score: notice.score,
            expected: judgement.expected,
            low: judgement.low,
            high: judgement.high,
            event_id: mark.event_id,
            reason: if notice.ready {
                notice.reason()
            } else {
                String::new()
            },
        }
    }
}

/// A transition before it has an envelope.
#[derive(Clone, Debug, PartialEq)]
pub struct Sketch {
    pub anomaly_id: Uuid,
    pub transition: Transition,
    pub kind: AnomalyType,
    pub severity: Severity,
    pub trigger_metric: String,
    pub observed_value: f64,
    pub baseline_value: f64,
    pub deviation_sigma: f64,
    pub score: f64,
    pub direction: Direction,
    /// Event time of what decided.
    pub detected_ms: i64,
    pub onset_ms: i64,
    pub description: String,
    pub evidence: Vec<AnomalyEvidence>,
    /// The record that decided, or the last one before a silence.
    pub cause_id: Uuid,
    /// Closed because its series is gone, not by a reading.
    pub gone: bool,
}

/// A transition to be published.
#[derive(Clone, Debug, PartialEq)]
pub struct Emission {
    /// A function of what it says, so that deciding again after a crash names
    /// it the same.
    pub event_id: Uuid,
    pub cause_id: Uuid,
    pub anomaly: Anomaly,
}

impl Sketch {
    /// The finished transition. `wall_ms` is the record time of the message
    /// that led to it.
    #[must_use]
    pub fn finish(self, environment: &str, service: &str, wall_ms: i64) -> Emission {
        let transition = match self.transition {
            Transition::Started => "started",
            Transition::Worsened => "worsened",
            // Its cause is the last record, which may have cleared it before.
            Transition::Cleared if self.gone => "gone",
            Transition::Cleared => "cleared",
            Transition::Missing => "missing",
        };
        let mut evidence = self.evidence;
        for piece in &mut evidence {
            piece.text = cut(std::mem::take(&mut piece.text));
        }
        let event_id = ids::derive(&[
            "transition",
            &self.anomaly_id.to_string(),
            transition,
            self.severity.as_str(),
            &self.cause_id.to_string(),
        ]);
        Emission {
            event_id,
            cause_id: self.cause_id,
            anomaly: Anomaly {
                anomaly_id: self.anomaly_id,
                environment: environment.to_owned(),
                transition: self.transition,
                anomaly_type: self.kind,
                severity: self.severity,
                service: service.to_owned(),
                trigger_metric: self.trigger_metric,
                observed_value: self.observed_value,
                baseline_value: self.baseline_value,
                deviation_sigma: self.deviation_sigma,
                anomaly_score: self.score.clamp(0.0, 1.0),
                direction: self.direction,
                detected_at_ms: self.detected_ms,
                detected_wall_ms: wall_ms,
                onset_ms: self.onset_ms,
                description: cut(self.description),
                evidence,
            },
        }
    }
}

/// What a transition quotes must not make it too large for the broker.
const QUOTED_CHARS: usize = 2_000;

fn cut(text: String) -> String {
    match text.char_indices().nth(QUOTED_CHARS) {
        Some((end, _)) => text[..end].to_owned(),
        None => text,
    }
}

/// Sentences for people.
pub mod words {
    use super::{Direction, Judgement, Mark, Origin, Outlook, REFERENCE_SIGMA, Severity};

    /// A number with its unit, as precise as its size deserves.
    #[must_use]
    pub fn figure(name: &str, value: f64) -> String {
        let name = name.split('{').next().unwrap_or(name);
        let unit = if name.ends_with("_ms") {
            " ms"
        } else if name.ends_with("_seconds") {
            " s"
        } else if name.ends_with("_percent") {
            " %"
        } else {
            ""
        };
        let size = value.abs();
        if size >= 1e9 || (size > 0.0 && size < 0.01) {
            format!("{value:.3e}{unit}")
        } else if size >= 1000.0 || value.fract().abs() < 1e-9 {
            format!("{value:.0}{unit}")
        } else if size >= 10.0 {
            format!("{value:.1}{unit}")
        } else {
            format!("{value:.2}{unit}")
        }
    }

    fn seconds(ms: f64) -> String {
        format!("{:.0} s", ms / 1000.0)
    }

    pub(crate) fn started(
        origin: &Origin<'_>,
        value: f64,
        judgement: &Judgement,
        again: bool,
    ) -> String {
        let name = origin.name;
        let times = value / judgement.expected;
        let ratio = if times.is_finite() && (0.001..1000.0).contains(&times) {
            format!(
                ", {times:.1}× the usual {}",
                figure(name, judgement.expected)
            )
        } else {
            format!(" instead of the usual {}", figure(name, judgement.expected))
        };
        format!(
            "{name} of {} is {}{}{ratio}: {:.1}× the largest error of the past day, outside the usual band from {} to {}",
            origin.service,
            if again { "again " } else { "" },
            figure(name, value),
            judgement.z.abs() / REFERENCE_SIGMA,
            figure(name, judgement.low),
            figure(name, judgement.high),
        )
    }

    pub(crate) fn beyond_limit(
        origin: &Origin<'_>,
        value: f64,
        limit: f64,
        direction: Direction,
        readings: usize,
        again: bool,
    ) -> String {
        format!(
            "{} of {} is {}{}, at or {} its limit of {} for {readings} readings or more",
            origin.name,
            origin.service,
            if again { "again " } else { "" },
            figure(origin.name, value),
            if direction == Direction::Below {
                "below"
            } else {
                "above"
            },
            figure(origin.name, limit),
        )
    }

    pub(crate) fn running_out(
        origin: &Origin<'_>,
        value: f64,
        outlook: &Outlook,
        limit: f64,
        again: bool,
    ) -> String {
        let name = origin.name;
        let again = if again { "again " } else { "" };
        let grows = format!(
            "{name} of {} is {again}{} and has grown by {} an hour for {:.0} min",
            origin.service,
            figure(name, value),
            figure(name, outlook.slope_per_hour),
            outlook.fit_minutes,
        );
        if outlook.minutes_left.is_finite() {
            format!(
                "{grows}: at this pace it reaches {} in about {:.0} min (confidence {:.0} %)",
                figure(name, limit),
                outlook.minutes_left,
                100.0 * outlook.confidence,
            )
        } else {
            format!(
                "{grows} without an end in sight (confidence {:.0} %)",
                100.0 * outlook.confidence
            )
        }
    }

    pub(crate) fn worsened(
        origin: &Origin<'_>,
        value: f64,
        judgement: &Judgement,
        before: Severity,
        after: Severity,
    ) -> String {
        format!(
            "{} of {} went on to {} ({:+.1} σ from {}): {before} became {after}",
            origin.name,
            origin.service,
            figure(origin.name, value),
            judgement.z,
            figure(origin.name, judgement.expected),
        )
    }

    pub(crate) fn cleared(
        origin: &Origin<'_>,
        normal: &[Mark],
        judgement: &Judgement,
        limit: Option<f64>,
    ) -> String {
        let readings: Vec<String> = normal
            .iter()
            .map(|mark| figure(origin.name, mark.value))
            .collect();
        let against = limit.map_or_else(
            || format!("the usual {}", figure(origin.name, judgement.expected)),
            |limit| format!("the limit of {}", figure(origin.name, limit)),
        );
        format!(
            "{} of {} is in range again: {} against {against}",
            origin.name,
            origin.service,
            readings.join(", "),
        )
    }

    pub(crate) fn relearnt(origin: &Origin<'_>, before: f64, after: f64) -> String {
        format!(
            "{} of {} did not return to {}; it has stayed around {} for so long that this is taken as the new usual level from now on (accepted, not recovered)",
            origin.name,
            origin.service,
            figure(origin.name, before),
            figure(origin.name, after),
        )
    }

    pub(crate) fn missing(
        origin: &Origin<'_>,
        silent_ms: i64,
        interval_ms: f64,
        last: f64,
    ) -> String {
        format!(
            "{} of {} has not reported for {}, though it used to every {}; its last reading was {}",
            origin.name,
            origin.service,
            seconds(silent_ms as f64),
            seconds(interval_ms),
            figure(origin.name, last),
        )
    }

    pub(crate) fn gone(origin: &Origin<'_>, silent_ms: i64, last: f64) -> String {
        format!(
            "{} of {} is no longer reported, not recovered: nothing for {}, its last reading was {}; it is not watched for a return to normal any more",
            origin.name,
            origin.service,
            seconds(silent_ms as f64),
            figure(origin.name, last),
        )
    }

    #[cfg(test)]
    mod tests {
        use super::figure;

        #[test]
        fn what_is_quoted_is_cut_between_characters() {
            let long = "ä".repeat(3_000);
            assert_eq!(super::super::cut(long).chars().count(), 2_000);
            assert_eq!(super::super::cut("short".to_owned()), "short");
        }

        #[test]
        fn figures_carry_their_unit_and_no_false_precision() {
            for (name, value, text) in [
                ("service_latency_p99_ms", 7380.4, "7380 ms"),
                ("service_error_rate_percent", 0.512, "0.51 %"),
                ("host_disk_percent{mount=/}", 95.26, "95.3 %"),
                ("kafka_consumer_lag", 100.0, "100"),
                ("kafka_consumer_lag_seconds{group=a.b}", 75.0, "75 s"),
                ("x", 1e-7, "1.000e-7"),
                ("x", 0.0, "0"),
            ] {
                assert_eq!(figure(name, value), text);
            }
        }
    }
}
