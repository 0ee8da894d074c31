//! What an answer was weighed from, for whoever knows more than the records:
//! how close the candidates are, and which other causes of each have a measured
//! sign. Nothing here is part of the answer itself.

use super::change::Change;
use super::clues::Clue;
use super::place::SAME_MOMENT_MS;
use super::portrait::{Findings, Kind};
use super::quantity::Quantity;
use super::recording::{Alarm, Recording};
use super::{causes, sorts, weigh};
use midwatch_events::anomaly::AnomalyType;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A series shows that a resource fills from here on: twice its normal reach.
const PLAIN: f64 = 1.0;
/// Failures and delays are alike where the lesser is this much of the greater.
const ALIKE: f64 = 0.8;
/// What a service calls explains it from this part of full suffering on.
const EXPLAINED: f64 = 0.1;

/// A cause that something measured of a service shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sign {
    pub cause: AnomalyType,
    /// What the cause is called here: its wire name, or that of the sort of
    /// change.
    pub name: String,
    /// Whether it is as strong as the one that named the cause, so that the
    /// measurements alone do not decide between them.
    pub even: bool,
    /// The record's id.
    pub id: String,
    /// The series that shows it, where it is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub metric: String,
}

/// What the candidates were weighed from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Weighed {
    /// Every service with its charge, to four decimals, the most charged first.
    pub charges: Vec<(String, f64)>,
    /// What the first confidence is at most, 0..1.
    pub ceiling: f64,
    /// The causes that each candidate has a sign of, that of the answer among
    /// them.
    pub signs: BTreeMap<String, Vec<Sign>>,
    /// Candidates that suffer from what they call, which broke no later.
    pub explained: BTreeSet<String>,
}

/// Four decimals: a number that any store gives back as it was.
#[must_use]
pub(super) fn plain(charges: &[(String, f64)]) -> Vec<(String, f64)> {
    let rounded = |charge: f64| (charge * 10_000.0).round() / 10_000.0;
    charges
        .iter()
        .map(|(service, charge)| (service.clone(), rounded(*charge)))
        .collect()
}

/// Whether a service suffers from what it calls.
#[must_use]
pub(super) fn is_explained(findings: &Findings, service: &str) -> bool {
    let place = findings.places.get(service);
    place.is_some_and(|place| place.explained > EXPLAINED)
}

/// The causes that a service shows, one sign for each, by its clues.
#[must_use]
pub(super) fn of(
    recording: &Recording,
    findings: &Findings,
    (service, named): (&str, AnomalyType),
    clues: &[(Kind, Clue)],
) -> Vec<Sign> {
    let mut signs: Vec<Sign> = Vec::new();
    for (kind, clue) in clues {
        let alarm = recording.alarms.iter().find(|alarm| alarm.id == clue.id);
        let Some(cause) = shows(recording, findings, service, *kind, clue, alarm) else {
            continue;
        };
        if signs.iter().any(|known| known.cause == cause) {
            continue;
        }
        signs.push(Sign {
            cause,
            name: sorts::cause_name(recording, findings, service, cause).to_owned(),
            even: cause == named || is_even(recording, findings, service, (named, cause)),
            id: clue.id.clone(),
            metric: clue.metric.clone(),
        });
    }
    signs
}

fn shows(
    recording: &Recording,
    findings: &Findings,
    service: &str,
    kind: Kind,
    clue: &Clue,
    alarm: Option<&Alarm>,
) -> Option<AnomalyType> {
    match kind {
        Kind::Resource => match alarm {
            Some(alarm) => Some(alarm.cause),
            None => {
                let change = change_of(recording, findings, service, &clue.metric)?;
                let fills = change.by() > 0.0 && change.surprise >= PLAIN;
                causes::of_resource(Quantity::of(&clue.metric)).filter(|_| fills)
            }
        },
        // As near as one must be that names the cause by itself.
        Kind::Deployment => {
            let portrait = findings.portraits.get(service)?;
            let is_near = portrait.get(&kind).copied().unwrap_or(0.0) >= causes::NEAR;
            is_near.then_some(AnomalyType::DeploymentFailure)
        }
        Kind::Kubernetes => findings.kills.cause(recording, service),
        Kind::Silence => Some(AnomalyType::DependencyOutage),
        Kind::Failures
        | Kind::SpanFailures
        | Kind::FailureJump
        | Kind::FailureRate
        | Kind::Complaints => Some(AnomalyType::ErrorRateSpike),
        Kind::Seconds
        | Kind::SpanSeconds
        | Kind::SlowEdges
        | Kind::LatencyJump
        | Kind::LatencyFactor => Some(AnomalyType::LatencySpike),
        Kind::TrafficLoss => Some(AnomalyType::TrafficDrop),
        _ => None,
    }
}

fn change_of<'a>(
    recording: &Recording,
    findings: &'a Findings,
    service: &str,
    metric: &str,
) -> Option<&'a Change> {
    let mut changed = findings.changed.iter();
    let one = changed.find(|one| {
        let series = &recording.series[one.series];
        series.service == service && series.metric == metric
    })?;
    one.change.as_ref()
}

/// Whether the measurements leave it open which of two causes it is: two
/// resources that detection calls equally grave since the same moment, or
/// failures and delays of nearly the same size.
fn is_even(
    recording: &Recording,
    findings: &Findings,
    service: &str,
    (named, other): (AnomalyType, AnomalyType),
) -> bool {
    let gravest = |cause: AnomalyType| {
        let alarms = recording.alarms.iter();
        let alarms = alarms.filter(|one| one.service == service && one.cause == cause);
        alarms.max_by_key(|one| (one.severity, std::cmp::Reverse(one.onset_ms)))
    };
    if is_resource(named) && is_resource(other) {
        return match (gravest(named), gravest(other)) {
            (Some(one), Some(two)) => {
                let apart_ms = one.onset_ms - two.onset_ms;
                one.severity == two.severity && apart_ms.abs() <= SAME_MOMENT_MS
            }
            _ => false,
        };
    }
    let is_symptom = |cause| {
        matches!(
            cause,
            AnomalyType::ErrorRateSpike | AnomalyType::LatencySpike
        )
    };
    if !is_symptom(named) || !is_symptom(other) {
        return false;
    }
    let (failures, seconds) = causes::symptoms(findings, service);
    failures.min(seconds) >= ALIKE * failures.max(seconds)
}

/// Whether an anomaly is about something that a service uses up.
pub(super) fn is_resource(cause: AnomalyType) -> bool {
    matches!(
        cause,
        AnomalyType::CpuSaturation
            | AnomalyType::MemoryLeak
            | AnomalyType::DbConnectionExhaustion
            | AnomalyType::KafkaConsumerLag
    )
}

impl Weighed {
    /// The charge of a service, 0 where nothing speaks against it.
    #[must_use]
    pub fn charge(&self, service: &str) -> f64 {
        let mut charges = self.charges.iter();
        charges
            .find(|(name, _)| name == service)
            .map_or(0.0, |(_, charge)| *charge)
    }

    /// The sign that a service has of a cause.
    #[must_use]
    pub fn sign(&self, service: &str, cause: AnomalyType) -> Option<&Sign> {
        let signs = self.signs.get(service)?;
        signs.iter().find(|sign| sign.cause == cause)
    }

    /// The confidences where `service` is put first of all, by the same
    /// calibration: its lead is negative then, so that the first confidence is
    /// never above what the measurements gave to whoever was first.
    #[must_use]
    pub fn put_first(&mut self, service: &str) -> BTreeMap<String, f64> {
        if let Some(place) = self.charges.iter().position(|(name, _)| name == service) {
            let moved = self.charges.remove(place);
            self.charges.insert(0, moved);
        }
        let confidences = weigh::confidences(&self.charges, self.ceiling);
        let names = self.charges.iter().map(|(name, _)| name.clone());
        names.zip(confidences).collect()
    }
}
