//! What is recorded about an incident, cut to what a postmortem can use. Only
//! what stands here may be stated.

mod deeds;
mod names;
mod traffic;

pub(crate) use deeds::is_of_undo;
pub use deeds::{Deed, Planned, Standing, verification};
pub use traffic::{Reading, Traffic};

use midwatch_clients::postgres::KeptRecord;
use midwatch_clients::postgres::ledger::StageCost;
use midwatch_clients::postgres::read::{AgentEvent, Email, IncidentRow};
use midwatch_events::incident::Declared;
use midwatch_events::more::More;
use midwatch_events::{
    BlastRadius, CorrelationSignal, GroupedAnomaly, IncidentResolved, RawDeployment, RejectedClaim,
    RemediationPlan, RootCauseCandidate,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Everything that is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    pub resolved: IncidentResolved,
    /// Why the stores could not be read; the rest is then empty.
    pub gap: Option<String>,
    pub trail: Vec<Line>,
    pub trigger: Option<Trigger>,
    pub anomalies: Vec<GroupedAnomaly>,
    pub signals: Vec<CorrelationSignal>,
    pub blast: BlastRadius,
    pub deployment: Option<Change>,
    pub candidates: Vec<RootCauseCandidate>,
    /// The newest one.
    pub plan: Option<RemediationPlan>,
    /// The ones before it that any action belongs to, oldest first.
    #[serde(default)]
    pub earlier: Vec<RemediationPlan>,
    pub actions: Vec<Deed>,
    pub mails: Vec<Mail>,
    pub peaks: Vec<Peak>,
    pub logs: Vec<LogLine>,
    /// How many records were kept with the incident.
    pub records: usize,
    /// Where a person declared it, what that person said.
    #[serde(default)]
    pub declared: Option<Declared>,
    /// What the investigation dropped and could not look at.
    #[serde(default)]
    pub inquiry: Option<Inquiry>,
    /// Recorded requests and their failures.
    #[serde(default)]
    pub traffic: Vec<Traffic>,
    /// What it cost until it was read.
    #[serde(default)]
    pub ledger: Vec<StageCost>,
    /// Written anew, because what became of a step was told after the end.
    #[serde(default)]
    pub late: bool,
}

/// What the investigation says of itself, in its last line of the trail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inquiry {
    pub line_id: String,
    #[serde(default)]
    pub verdict: String,
    #[serde(default)]
    pub rejected_claims: Vec<RejectedClaim>,
    #[serde(default)]
    pub degradations: Vec<String>,
}

/// A line of the audit trail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub id: String,
    pub agent: String,
    pub event_type: String,
    pub at_ms: i64,
    pub wall_ms: i64,
    pub summary: String,
}

/// The reading that opened the incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    pub service: String,
    pub metric: String,
    pub observed_value: f64,
    pub baseline_value: f64,
    #[serde(default)]
    pub deviation_sigma: f64,
}

/// A deployment near the onset, with its record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub record_id: String,
    pub deployment: RawDeployment,
}

/// A mail of the incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    pub stage: String,
    pub status: String,
    pub attempts: i32,
    pub message_id: String,
    pub sent_at_ms: Option<i64>,
    /// Why it did not reach everybody. A mail that failed for some of its
    /// recipients is FAILED and has been sent nevertheless.
    #[serde(default)]
    pub error: Option<String>,
}

/// The reading farthest from the baseline of one series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    pub record_id: String,
    pub service: String,
    pub metric: String,
    pub value: f64,
    pub baseline: f64,
    pub at_ms: i64,
}

/// A kind of error line, and how often it was kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub record_id: String,
    pub service: String,
    pub at_ms: i64,
    pub text: String,
    pub count: usize,
}

/// What the stores hold about an incident.
#[derive(Clone, Debug)]
pub struct Stored {
    pub incident: IncidentRow,
    /// Every plan that was made, in the order of making.
    pub plans: Vec<RemediationPlan>,
    pub trail: Vec<AgentEvent>,
    pub records: Vec<KeptRecord>,
    pub mails: Vec<Email>,
    pub ledger: Vec<StageCost>,
}

const LOGS: usize = 5;
/// Longest trail that is carried on; an incident has some dozens of lines.
const TRAIL: usize = 400;

impl Facts {
    /// The facts where nothing but the end itself can be read.
    #[must_use]
    pub fn bare(resolved: IncidentResolved, gap: Option<String>) -> Facts {
        Facts {
            resolved,
            gap,
            trail: Vec::new(),
            trigger: None,
            anomalies: Vec::new(),
            signals: Vec::new(),
            blast: BlastRadius::default(),
            deployment: None,
            candidates: Vec::new(),
            plan: None,
            earlier: Vec::new(),
            actions: Vec::new(),
            mails: Vec::new(),
            peaks: Vec::new(),
            logs: Vec::new(),
            records: 0,
            declared: None,
            inquiry: None,
            traffic: Vec::new(),
            ledger: Vec::new(),
            late: false,
        }
    }

    /// Picks out of the stores what a postmortem can use.
    #[must_use]
    pub fn collect(resolved: IncidentResolved, actions: Vec<Deed>, stored: Stored) -> Facts {
        let context = &stored.incident.correlation_context;
        let mut anomalies: Vec<GroupedAnomaly> =
            read(&context["grouped_anomalies"]).unwrap_or_default();
        // Of a storm some are told by their numbers only.
        let more: Option<More> = read(&context["more_anomalies"]);
        anomalies.extend(more.as_ref().map(More::members).unwrap_or_default());
        let deployment: Option<RawDeployment> = read(&context["deployment"]);
        let onset = anomalies.iter().map(|anomaly| anomaly.onset_ms).min();
        let window = (
            onset.unwrap_or(resolved.header.detected_at_ms),
            resolved.resolved_at_ms,
        );
        let plan: Option<RemediationPlan> =
            stored.incident.remediation_plan.as_ref().and_then(read);
        Facts {
            earlier: earlier(stored.plans, plan.as_ref(), &actions),
            plan,
            declared: declared(context, &stored.trail),
            inquiry: inquiry(&stored.trail),
            traffic: traffic::collect(&stored.records, &resolved.header.affected_services, window),
            ledger: stored.ledger,
            trail: stored
                .trail
                .into_iter()
                .take(TRAIL)
                .map(Line::from)
                .collect(),
            trigger: read(&context["trigger"]),
            signals: read(&context["signals"]).unwrap_or_default(),
            blast: read(&stored.incident.blast_radius).unwrap_or_default(),
            deployment: deployment.map(|deployment| Change {
                record_id: record_of(&stored.records, &deployment),
                deployment,
            }),
            candidates: stored
                .incident
                .rca_candidates
                .as_ref()
                .and_then(read)
                .unwrap_or_default(),
            actions,
            mails: stored.mails.into_iter().rev().map(Mail::from).collect(),
            peaks: peaks(&anomalies, &stored.records),
            logs: logs(&stored.records),
            records: stored.records.len(),
            anomalies,
            ..Facts::bare(resolved, None)
        }
    }

    /// Event time of the first reading out of range.
    #[must_use]
    pub fn onset_ms(&self) -> Option<i64> {
        self.anomalies.iter().map(|anomaly| anomaly.onset_ms).min()
    }

    /// The anomaly that opened the incident: the earliest detected one of the
    /// trigger's own series.
    #[must_use]
    pub fn trigger_anomaly(&self) -> Option<&GroupedAnomaly> {
        let (service, metric) = match &self.trigger {
            Some(trigger) => (trigger.service.as_str(), trigger.metric.as_str()),
            None => (
                self.resolved.header.primary_service(),
                self.resolved.trigger_metric.as_str(),
            ),
        };
        self.anomalies
            .iter()
            .filter(|anomaly| anomaly.service == service && anomaly.trigger_metric == metric)
            .min_by_key(|anomaly| anomaly.detected_at_ms)
    }

    /// The first line of this type in the trail.
    #[must_use]
    pub fn first(&self, event_type: &str) -> Option<&Line> {
        self.trail.iter().find(|line| line.event_type == event_type)
    }

    /// All lines of this type.
    pub fn all<'a>(&'a self, event_type: &'a str) -> impl Iterator<Item = &'a Line> {
        self.trail
            .iter()
            .filter(move |line| line.event_type == event_type)
    }

    /// From detection to the end, by the wall clock.
    #[must_use]
    pub fn wall_mttr_ms(&self) -> i64 {
        self.resolved.resolved_wall_ms - self.resolved.header.detected_wall_ms
    }

    /// Whether simulated time ran at another speed than the wall clock.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        crate::text::clocks_differ(self.resolved.mttr_ms, self.wall_mttr_ms())
    }

    /// The first of the normal readings in a row that settled this series,
    /// event time.
    #[must_use]
    pub fn settled_ms(&self, service: &str, metric: &str) -> Option<i64> {
        let readings = self.resolved.settling_readings.iter();
        readings
            .filter(|reading| reading.service == service && reading.metric_name == metric)
            .map(|reading| reading.at_ms)
            .min()
    }
}

/// Reads a document; one of another shape counts as absent.
fn read<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

/// The plans that were revised after somebody had decided on a step of theirs.
fn earlier(
    plans: Vec<RemediationPlan>,
    newest: Option<&RemediationPlan>,
    actions: &[Deed],
) -> Vec<RemediationPlan> {
    let newest = newest.map(|plan| plan.plan_id);
    let plans = plans.into_iter();
    plans
        .filter(|plan| Some(plan.plan_id) != newest)
        .filter(|plan| {
            let mut deeds = actions.iter();
            deeds.any(|deed| deed.action.plan_id == plan.plan_id)
        })
        .collect()
}

fn declared(context: &Value, trail: &[AgentEvent]) -> Option<Declared> {
    let opened = trail
        .iter()
        .find(|line| line.event_type == "INCIDENT_OPENED");
    let said = [
        Some(&context["declared"]),
        opened.map(|line| &line.payload["declared"]),
    ];
    said.into_iter()
        .flatten()
        .find_map(read::<Declared>)
        .filter(|declared| !declared.title.is_empty())
}

fn inquiry(trail: &[AgentEvent]) -> Option<Inquiry> {
    let line = trail
        .iter()
        .rev()
        .find(|line| matches!(line.event_type.as_str(), "RCA_COMPLETE" | "RCA_REVISED"))?;
    Some(Inquiry {
        line_id: line.event_id.to_string(),
        verdict: line.payload["verdict"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        rejected_claims: read(&line.payload["rejected_claims"]).unwrap_or_default(),
        degradations: read(&line.payload["degradations"]).unwrap_or_default(),
    })
}

fn record_of(records: &[KeptRecord], deployment: &RawDeployment) -> String {
    records
        .iter()
        .find(|record| {
            record.kind == "deployment"
                && record.service == deployment.service
                && record.at_ms == deployment.timestamp_ms
        })
        .map_or_else(
            || {
                format!(
                    "deployment {} of {}",
                    deployment.version, deployment.service
                )
            },
            |record| record.record_id.clone(),
        )
}

/// For each series that left its range, the kept reading farthest from its
/// baseline since the onset.
fn peaks(anomalies: &[GroupedAnomaly], records: &[KeptRecord]) -> Vec<Peak> {
    let mut peaks: Vec<Peak> = Vec::new();
    for anomaly in anomalies {
        let known =
            |peak: &Peak| peak.service == anomaly.service && peak.metric == anomaly.trigger_metric;
        if peaks.iter().any(known) || anomaly.trigger_metric.contains(':') {
            continue;
        }
        let distance = |value: f64| (value - anomaly.baseline_value).abs();
        let mut peak = Peak {
            record_id: anomaly.anomaly_id.to_string(),
            service: anomaly.service.clone(),
            metric: anomaly.trigger_metric.clone(),
            value: anomaly.observed_value,
            baseline: anomaly.baseline_value,
            at_ms: anomaly.detected_at_ms,
        };
        let series = records.iter().filter(|record| {
            record.kind == "metric"
                && record.service == anomaly.service
                && record.name == anomaly.trigger_metric
                && record.at_ms >= anomaly.onset_ms
        });
        for record in series {
            if let Some(value) = record.value
                && distance(value) > distance(peak.value)
            {
                peak.record_id.clone_from(&record.record_id);
                (peak.value, peak.at_ms) = (value, record.at_ms);
            }
        }
        peaks.push(peak);
    }
    peaks
}

/// The most frequent error lines, each kind once.
fn logs(records: &[KeptRecord]) -> Vec<LogLine> {
    let mut kinds: BTreeMap<(&str, String), LogLine> = BTreeMap::new();
    for record in records.iter().filter(|record| record.kind == "log") {
        let level = record.payload["level"].as_str().unwrap_or_default();
        if !matches!(level, "ERROR" | "FATAL") {
            continue;
        }
        let kind = crate::text::kind_of_line(&record.text);
        let entry = kinds
            .entry((record.service.as_str(), kind))
            .or_insert_with(|| LogLine {
                record_id: record.record_id.clone(),
                service: record.service.clone(),
                at_ms: record.at_ms,
                text: record.text.clone(),
                count: 0,
            });
        entry.count += 1;
    }
    let mut lines: Vec<LogLine> = kinds.into_values().collect();
    lines.sort_by_key(|line| (std::cmp::Reverse(line.count), line.at_ms));
    lines.truncate(LOGS);
    lines
}

impl From<AgentEvent> for Line {
    fn from(event: AgentEvent) -> Line {
        Line {
            id: event.event_id.to_string(),
            agent: event.agent,
            event_type: event.event_type,
            at_ms: event.at_ms,
            wall_ms: event.wall_ms,
            summary: event.summary,
        }
    }
}

impl From<Email> for Mail {
    fn from(mail: Email) -> Mail {
        Mail {
            stage: mail.stage,
            status: mail.status,
            attempts: mail.attempts,
            message_id: mail.message_id,
            sent_at_ms: mail.sent_at_ms,
            error: mail.error,
        }
    }
}
