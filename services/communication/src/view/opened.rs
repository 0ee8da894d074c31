//! 🚨 What is wrong, since when, how far it reaches.

use super::{
    Deployment, Frame, NAME, QUOTE, Reading, Surroundings, deployment, frame, names, onset_ms,
    percent, reading, said, trigger,
};
use crate::links::Unsigned;
use crate::units::{self, line};
use midwatch_events::IncidentOpened;
use midwatch_events::incident::LogExcerpt;
use serde::Serialize;

/// The first mail.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpenedView {
    pub frame: Frame,
    pub preheader: String,
    /// The incident was over and came back.
    pub reopened: bool,
    /// Whether the mail carries a picture of the trigger's course.
    pub picture: bool,
    /// Where its one recipient can take the incident.
    pub take: Option<TakeView>,
    /// `5 min`: nobody took it within that, and more people are asked.
    pub escalated: Option<String>,
    pub trigger: Reading,
    pub description: Option<String>,
    /// `First out of range at 14:01:10, detected 50 s later`.
    pub onset: String,
    pub anomalies: Vec<AnomalyView>,
    pub more_anomalies: usize,
    pub logs: Vec<LogView>,
    pub more_logs: usize,
    pub deployment: Option<Deployment>,
    pub impaired: Vec<AffectedView>,
    pub at_risk: Vec<String>,
    pub blast: Option<String>,
    pub requests: Option<String>,
    pub signals: Vec<SignalView>,
}

/// A link under which the one recipient of a mail takes the incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TakeView {
    /// Opens a page; nothing happens before somebody presses its button.
    pub link: String,
    pub until: String,
    /// Who else was told.
    pub others: Vec<String>,
    /// What the link will be good for; no template needs it.
    #[serde(skip)]
    pub unsigned: Box<Unsigned>,
}

/// One anomaly of the incident.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnomalyView {
    pub reading: Reading,
    pub kind: &'static str,
    pub at: String,
    pub reason: String,
}

/// An impaired service, and why it counts as such.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AffectedView {
    pub service: String,
    pub reason: String,
}

/// A log line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LogView {
    pub at: String,
    pub service: String,
    pub level: String,
    pub message: String,
}

/// A reason to see the anomalies as one incident.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SignalView {
    pub name: String,
    pub strength: u32,
    pub description: String,
}

const ANOMALIES: usize = 6;
const LOGS: usize = 5;
const SIGNALS: usize = 4;

/// The view of the first mail.
#[must_use]
pub fn opened(opened: &IncidentOpened, reopened: bool, around: &Surroundings<'_>) -> OpenedView {
    let trigger = trigger(opened);
    let onset = onset_ms(opened);
    let detected = opened.header.detected_at_ms;
    let (logs, more_logs) = logs(opened);
    let preheader = match (&trigger.observed, &trigger.baseline) {
        (Some(observed), Some(baseline)) => {
            format!("{} at {observed}, normally {baseline}", trigger.metric)
        }
        _ => line(&opened.description, QUOTE),
    };
    OpenedView {
        frame: frame(&opened.header, around),
        preheader,
        reopened,
        picture: false,
        take: None,
        escalated: None,
        description: said(&opened.description, QUOTE),
        onset: if let Some(declared) = &opened.declared {
            // Nothing was measured: a person said so.
            format!(
                "Declared by {} at {}",
                line(&declared.by, NAME),
                units::time_of_day(detected)
            )
        } else if detected - onset < 1000 {
            format!(
                "Out of range since {}, detected at once",
                units::time_of_day(onset)
            )
        } else {
            format!(
                "First out of range at {}, detected {} later",
                units::time_of_day(onset),
                units::duration(detected - onset)
            )
        },
        anomalies: opened
            .grouped_anomalies
            .iter()
            .take(ANOMALIES)
            .map(anomaly)
            .collect(),
        more_anomalies: opened.size().saturating_sub(ANOMALIES),
        logs,
        more_logs,
        deployment: opened
            .deployment_context
            .as_ref()
            .map(|context| deployment(context, onset)),
        impaired: affected(opened),
        at_risk: names(&opened.blast_radius.at_risk, 8),
        blast: said(&opened.blast_radius.description, QUOTE),
        requests: opened
            .blast_radius
            .requests_per_second
            .filter(|rate| *rate > 0.0)
            .map(units::number),
        signals: opened
            .correlation_signals
            .iter()
            .take(SIGNALS)
            .map(signal)
            .collect(),
        trigger,
    }
}

fn anomaly(anomaly: &midwatch_events::GroupedAnomaly) -> AnomalyView {
    AnomalyView {
        reading: reading(
            &anomaly.service,
            &anomaly.trigger_metric,
            anomaly.observed_value,
            anomaly.baseline_value,
            Some(anomaly.deviation_sigma),
        ),
        kind: anomaly.anomaly_type.title(),
        at: units::time_of_day(anomaly.onset_ms),
        reason: line(&anomaly.reason, QUOTE),
    }
}

/// Lines of the service that the incident is named after come first; a line
/// of a kind that was quoted already is left out.
fn logs(opened: &IncidentOpened) -> (Vec<LogView>, usize) {
    let primary = opened.header.primary_service();
    let mut distinct: Vec<&LogExcerpt> = Vec::new();
    for log in &opened.recent_errors {
        let kind = units::kind_of_line(&log.message);
        let known = |seen: &&LogExcerpt| {
            seen.service == log.service && units::kind_of_line(&seen.message) == kind
        };
        if !distinct.iter().any(known) {
            distinct.push(log);
        }
    }
    distinct.sort_by_key(|log| log.service != primary);
    let more = distinct.len().saturating_sub(LOGS);
    let views = distinct.into_iter().take(LOGS).map(|log| LogView {
        at: units::time_of_day(log.at_ms),
        service: line(&log.service, NAME),
        level: line(&log.level, 8),
        message: line(&log.message, QUOTE),
    });
    (views.collect(), more)
}

fn affected(opened: &IncidentOpened) -> Vec<AffectedView> {
    let services = opened.header.affected_services.iter().take(8);
    services
        .map(|service| {
            let anomaly = opened
                .grouped_anomalies
                .iter()
                .find(|anomaly| anomaly.service == *service);
            AffectedView {
                service: line(service, NAME),
                reason: anomaly
                    .and_then(|anomaly| said(&anomaly.reason, QUOTE))
                    .unwrap_or_else(|| "named by correlation".to_owned()),
            }
        })
        .collect()
}

fn signal(signal: &midwatch_events::CorrelationSignal) -> SignalView {
    let words = line(&signal.signal_type, NAME)
        .replace('_', " ")
        .to_lowercase();
    SignalView {
        name: units::capitalised(&words),
        strength: percent(signal.strength),
        description: line(&signal.description, QUOTE),
    }
}
