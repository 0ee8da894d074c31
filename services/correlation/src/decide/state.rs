//! What correlation remembers of one environment.

pub use super::around::Surroundings;
use super::copies::RecordsLeftOut;
pub use super::held::Held;
use super::severity::Told;
use crate::config::Config;
use midwatch_events::anomaly::{Anomaly, AnomalyType, Severity, Transition};
use midwatch_events::incident::{Declared, GroupedAnomaly, IncidentChange};
use midwatch_events::topology::Topology;
use midwatch_events::{IncidentHeader, ids};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// When a series began to change: an estimate and its interval, event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Began {
    pub at_ms: i64,
    pub earliest_ms: i64,
    pub latest_ms: i64,
    /// The first reading out of range, as detection says.
    pub crossed_ms: i64,
}

/// All incidents of one environment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub groups: BTreeMap<Uuid, Group>,
    /// Anomalies of incidents that are resolved, so that a late word about one
    /// opens nothing. Bounded; oldest out first.
    pub closed: Vec<(Uuid, Uuid)>,
    /// Anomalies that were active when a person closed their incident, with the
    /// event time of that: worse than that is news. Bounded; oldest out first.
    #[serde(default)]
    pub closed_active: BTreeMap<Uuid, i64>,
    /// Incidents that are over and may be reopened, oldest first. Bounded.
    #[serde(default)]
    pub over: Vec<Over>,
    /// How restless a fingerprint is. Bounded.
    #[serde(default)]
    pub flaps: BTreeMap<String, Flap>,
    /// Burn-rate tickets that page nobody, by anomaly. Bounded.
    #[serde(default)]
    pub tickets: BTreeMap<Uuid, GroupedAnomaly>,
    /// Maintenance that was announced and is not over.
    #[serde(default)]
    pub windows: Vec<Window>,
    /// Anomalies that began inside a window. Bounded.
    #[serde(default)]
    pub held: BTreeMap<Uuid, Held>,
    /// More of them began than are held.
    #[serde(default)]
    pub unheld: u64,
    /// The latest event time of any anomaly.
    #[serde(default)]
    pub latest_ms: i64,
}

/// An incident that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Over {
    pub group: Group,
    pub ended: Ended,
}

/// How an incident ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Event time of the end.
    pub at_ms: i64,
    /// `RECOVERED`, `REMEDIATED`, `CLOSED_BY_OPERATOR`, …
    pub method: String,
}

impl Ended {
    /// Whether a person said that it is over, whatever the readings say.
    #[must_use]
    pub fn is_by_hand(&self) -> bool {
        self.method == "CLOSED_BY_OPERATOR"
    }
}

/// How often a fingerprint broke out lately.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flap {
    /// Outbreaks, each halved with every hour that has passed since.
    pub score: f64,
    /// Event time that the score is for.
    pub at_ms: i64,
    pub is_flapping: bool,
}

/// A maintenance window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// A service, or `*`.
    pub service: String,
    /// Wall clock.
    pub until_ms: i64,
    pub by: String,
    pub reason: String,
}

impl Window {
    /// Whether it is about this service.
    #[must_use]
    pub fn covers(&self, service: &str) -> bool {
        self.service == "*" || self.service == service
    }
}

/// How far the announcement of a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Waiting for company.
    Settling,
    /// Its records are being copied; the announcement follows.
    Copying,
    /// Announced.
    Open,
    /// Over; kept for a moment, until the last words about its anomalies are
    /// in.
    Resolved,
    /// A restless one that broke out once more: kept to itself, unless it
    /// lasts, gets graver or shows something new.
    Quiet,
}

/// A series and the kind of its trouble.
pub type Series = (String, String, AnomalyType);

/// A set of anomalies that belong together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    pub incident_id: Uuid,
    pub environment: String,
    pub phase: Phase,
    /// Counts updates that were announced.
    pub revision: u32,
    /// Counts copies that were asked for; names the jobs.
    pub copies: u32,
    /// Changed since the last announcement, in words.
    pub pending: Vec<String>,
    /// Changes beyond those in words.
    #[serde(default)]
    pub pending_more: u32,
    pub pending_severity: bool,
    pub detected_at_ms: i64,
    pub detected_wall_ms: i64,
    /// The latest event time of any of its anomalies.
    pub last_ms: i64,
    pub severity: Severity,
    pub anomaly_type: AnomalyType,
    /// The service that it is named after.
    pub primary: String,
    pub trigger: Trigger,
    #[serde(with = "midwatch_events::more::stored")]
    pub anomalies: Vec<GroupedAnomaly>,
    /// Anomalies beyond the limit of those listed.
    pub unlisted: u32,
    /// So many of them were told of.
    #[serde(default)]
    pub told_unlisted: u32,
    pub surroundings: Surroundings,
    /// What a model said about the impact, where one was asked.
    pub impact: Option<String>,
    /// Records that were too many to be kept with it, most first.
    #[serde(default)]
    pub records_left_out: Option<Vec<RecordsLeftOut>>,
    /// When members began to change, where their readings told.
    #[serde(default, with = "super::began")]
    pub began: BTreeMap<Uuid, Began>,
    /// Members whose line in the audit trail is due with the announcement:
    /// nobody is to find one under an id that was never announced. With the
    /// wall-clock time of their detection.
    #[serde(default)]
    pub unwritten: BTreeMap<Uuid, i64>,
    /// Members beyond the limit of those listed, with their services. Bounded.
    #[serde(default)]
    pub unlisted_ids: BTreeMap<Uuid, String>,
    /// Those of them that are active.
    #[serde(default)]
    pub unlisted_active: BTreeSet<Uuid>,
    /// What the next update is about, where it is more than growth, and which
    /// other incidents it concerns.
    #[serde(default)]
    pub pending_change: Option<IncidentChange>,
    #[serde(default)]
    pub related: BTreeSet<Uuid>,
    /// Why the severity is what it is.
    #[serde(default)]
    pub severity_reason: String,
    /// What people were told last; `None` before the announcement.
    #[serde(default)]
    pub told: Option<Told>,
    #[serde(default)]
    pub acknowledged_by: Option<String>,
    /// Wall clock; before, only growth that the end waits for is announced.
    #[serde(default)]
    pub snoozed_until_ms: Option<i64>,
    /// While it is snoozed such an announcement is due.
    #[serde(default)]
    pub is_awaited: bool,
    /// Incidents that a person took it apart from: they never join again.
    #[serde(default)]
    pub apart: BTreeSet<Uuid>,
    /// How often it was reopened.
    #[serde(default)]
    pub reopened: u32,
    /// Why it is about to be reopened; empty otherwise.
    #[serde(default)]
    pub reopening: String,
    /// What it was about before it was reopened.
    #[serde(default)]
    pub before: BTreeSet<Series>,
    #[serde(default)]
    pub ended: Option<Ended>,
    /// Services that recovered by themselves from what had followed a
    /// deployment, with the event time: the deployment stayed, so it alone does
    /// not explain what came later.
    #[serde(default)]
    pub absolved: BTreeMap<String, i64>,
    /// The flap score, where its fingerprint is restless.
    #[serde(default)]
    pub flapping: Option<f64>,
    /// It was quiet and may no longer be.
    #[serde(default)]
    pub is_loud: bool,
    /// What a person said who declared it.
    #[serde(default)]
    pub declared: Option<Declared>,
}

/// The anomaly that the incident stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    pub service: String,
    pub metric: String,
    pub observed_value: f64,
    pub baseline_value: f64,
    pub deviation_sigma: f64,
    pub anomaly_score: f64,
}

impl Trigger {
    /// The trigger that an anomaly would be.
    #[must_use]
    pub fn of(anomaly: &GroupedAnomaly, score: f64) -> Trigger {
        Trigger {
            service: anomaly.service.clone(),
            metric: anomaly.trigger_metric.clone(),
            observed_value: anomaly.observed_value,
            baseline_value: anomaly.baseline_value,
            deviation_sigma: anomaly.deviation_sigma,
            anomaly_score: score,
        }
    }
}

/// An anomaly as a member of a group.
#[must_use]
pub fn grouped(anomaly: &Anomaly, reason: String) -> GroupedAnomaly {
    GroupedAnomaly {
        anomaly_id: anomaly.anomaly_id,
        service: anomaly.service.clone(),
        trigger_metric: anomaly.trigger_metric.clone(),
        anomaly_type: anomaly.anomaly_type,
        severity: anomaly.severity,
        direction: anomaly.direction,
        observed_value: anomaly.observed_value,
        baseline_value: anomaly.baseline_value,
        deviation_sigma: anomaly.deviation_sigma,
        onset_ms: anomaly.onset_ms,
        detected_at_ms: anomaly.detected_at_ms,
        description: anomaly.description.clone(),
        reason,
        observed_at_ms: None,
        cleared_at_ms: (anomaly.transition == Transition::Cleared)
            .then_some(anomaly.detected_at_ms),
    }
}

impl Group {
    /// A group of one.
    #[must_use]
    pub fn new(incident_id: Uuid, anomaly: &Anomaly, reason: &str, around: Surroundings) -> Group {
        let mut member = grouped(anomaly, reason.to_owned());
        let mut began = BTreeMap::new();
        if let Some(onset) = around.onset {
            member.onset_ms = onset.at_ms;
            began.insert(anomaly.anomaly_id, onset);
        }
        let trigger = Trigger::of(&member, anomaly.anomaly_score);
        let rest = Group::bare(incident_id, &anomaly.environment, vec![member], around);
        Group {
            detected_wall_ms: anomaly.detected_wall_ms,
            unwritten: BTreeMap::from([(anomaly.anomaly_id, anomaly.detected_wall_ms)]),
            trigger,
            began,
            ..rest
        }
    }

    /// A group of these members, which are at least one; times of the wall
    /// clock are taken from event time.
    #[must_use]
    pub fn bare(
        incident_id: Uuid,
        environment: &str,
        anomalies: Vec<GroupedAnomaly>,
        surroundings: Surroundings,
    ) -> Group {
        let first = &anomalies[0];
        let score = 1.0 - (-first.deviation_sigma.abs() / 4.0).exp();
        let mut group = Group {
            incident_id,
            environment: environment.to_owned(),
            phase: Phase::Settling,
            revision: 0,
            copies: 0,
            pending: Vec::new(),
            pending_more: 0,
            pending_severity: false,
            detected_at_ms: first.detected_at_ms,
            detected_wall_ms: first.detected_at_ms,
            last_ms: anomalies
                .iter()
                .map(|one| one.detected_at_ms)
                .max()
                .unwrap_or(0),
            severity: first.severity,
            anomaly_type: first.anomaly_type,
            primary: first.service.clone(),
            trigger: Trigger::of(first, score),
            unlisted: 0,
            told_unlisted: 0,
            surroundings,
            impact: None,
            records_left_out: None,
            began: BTreeMap::new(),
            unwritten: BTreeMap::new(),
            unlisted_ids: BTreeMap::new(),
            unlisted_active: BTreeSet::new(),
            pending_change: None,
            related: BTreeSet::new(),
            severity_reason: String::new(),
            told: None,
            acknowledged_by: None,
            snoozed_until_ms: None,
            is_awaited: false,
            apart: BTreeSet::new(),
            reopened: 0,
            reopening: String::new(),
            before: BTreeSet::new(),
            ended: None,
            absolved: BTreeMap::new(),
            flapping: None,
            is_loud: false,
            declared: None,
            anomalies,
        };
        group.shorten(0);
        group
    }

    /// What every lifecycle event says of it.
    #[must_use]
    pub fn header(&self) -> IncidentHeader {
        IncidentHeader {
            incident_id: self.incident_id,
            short_id: ids::short_incident(self.incident_id),
            environment: self.environment.clone(),
            severity: self.severity,
            anomaly_type: self.anomaly_type,
            affected_services: self.services(),
            detected_at_ms: self.detected_at_ms,
            detected_wall_ms: self.detected_wall_ms,
        }
    }

    /// Whether people were told of it and it is not over.
    #[must_use]
    pub fn is_announced(&self) -> bool {
        self.phase == Phase::Open || (self.phase == Phase::Copying && !self.reopening.is_empty())
    }

    /// What makes two incidents the same trouble: environment, service, metric
    /// and type of what it is named after.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let kind = self.anomaly_type.as_str();
        let (environment, metric) = (&self.environment, &self.trigger.metric);
        format!("{environment}/{}/{metric}/{kind}", self.primary)
    }

    /// The series that it is about.
    #[must_use]
    pub fn series(&self) -> BTreeSet<Series> {
        let series = |one: &GroupedAnomaly| {
            let (service, metric) = (one.service.clone(), one.trigger_metric.clone());
            (service, metric, one.anomaly_type)
        };
        self.anomalies.iter().map(series).collect()
    }

    /// The series that it is or was about.
    #[must_use]
    pub fn all_series(&self) -> BTreeSet<Series> {
        let mut series = self.series();
        series.extend(self.before.iter().cloned());
        series
    }

    /// Whether it holds this anomaly, listed or not.
    #[must_use]
    pub fn holds(&self, anomaly_id: Uuid) -> bool {
        let mut members = self.anomalies.iter();
        members.any(|member| member.anomaly_id == anomaly_id)
            || self.unlisted_ids.contains_key(&anomaly_id)
    }

    /// Whether this member has cleared.
    #[must_use]
    pub fn has_cleared(&self, anomaly_id: Uuid) -> bool {
        let mut members = self.anomalies.iter();
        members.any(|one| one.anomaly_id == anomaly_id && one.cleared_at_ms.is_some())
    }

    /// The services with anomalies: the one that the incident is named after,
    /// then the others by onset.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        let mut by_onset: Vec<(i64, &str)> = self
            .anomalies
            .iter()
            .map(|anomaly| (anomaly.onset_ms, anomaly.service.as_str()))
            .collect();
        by_onset.sort_unstable();
        let unlisted = self.unlisted_ids.values().map(String::as_str);
        let mut seen = BTreeSet::from([self.primary.as_str()]);
        let mut services = vec![self.primary.clone()];
        for service in by_onset
            .into_iter()
            .map(|(_, service)| service)
            .chain(unlisted)
        {
            if seen.insert(service) {
                services.push(service.to_owned());
            }
        }
        services
    }

    /// Whether any of its anomalies is still active.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.unlisted_active.is_empty()
            || self
                .anomalies
                .iter()
                .any(|anomaly| anomaly.cleared_at_ms.is_none())
    }

    /// The calls that count at the time of its latest anomaly.
    #[must_use]
    pub fn graph(&self, config: &Config) -> Topology {
        let known = &self.surroundings.topology;
        known.current(self.last_ms, config.edge_lifetime_ms)
    }

    /// The earliest onset of its anomalies.
    #[must_use]
    pub fn onset_ms(&self) -> i64 {
        let onsets = self.anomalies.iter().map(|one| one.onset_ms);
        onsets.min().unwrap_or(self.detected_at_ms)
    }

    /// Takes over what another group knows of its surroundings. Lines of the
    /// service that the incident is named after stay first.
    pub fn look_around(&mut self, other: Surroundings) {
        let own = &mut self.surroundings;
        own.topology.merge(&other.topology);
        own.add_changes(other.deployments, other.kubernetes);
        own.request_rates.extend(other.request_rates);
        own.criticality.extend(other.criticality);
        for line in other.recent_errors {
            if own.recent_errors.len() < 20 && !own.recent_errors.contains(&line) {
                own.recent_errors.push(line);
            }
        }
    }
}
