//! The judgement: which incident belongs to which fault, and whether it says
//! the right thing.
//!
//! **Belonging.** An incident is detected at the event time of its first
//! anomaly. It belongs to a fault of its environment when that moment lies
//! between the fault's start and [`GRACE_MS`] after its end, and one of its
//! services is among those that the fault reaches. Where several faults fit,
//! the fault whose service the incident is named after wins, then the one that
//! started last. Every incident belongs to one fault at most.
//!
//! **One incident per fault.** The first incident of a fault is *its* incident;
//! all rows speak of that one. Every other one is a *duplicate*. An incident
//! that belongs to no fault is *false*. One that was merged into another counts
//! as neither: it no longer asks for attention.
//!
//! **Missed.** A fault without an incident of its own is missed, also where an
//! incident that was open before it took its anomalies in (*absorbed*): nobody
//! was told of a new fault then.

use midwatch_events::GroundTruth;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An incident may be detected so long after its fault has ended. A fault's
/// echo fades for at most a minute, and a sign that needs several readings
/// comes some ticks later; the simulator leaves 150 s between faults, so that
/// the windows of two faults do not overlap.
pub const GRACE_MS: i64 = 120_000;

/// What really happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    pub id: String,
    pub scenario: String,
    pub service: String,
    pub environment: String,
    /// Simulated time, epoch milliseconds.
    pub started_ms: i64,
    /// The planned end where no end was reported.
    pub ended_ms: i64,
    /// The services that it reaches, its own first.
    pub affected: Vec<String>,
}

/// A candidate for the cause, best first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub service: String,
    pub cause: String,
    /// 0..1.
    pub confidence: f64,
}

/// What Midwatch said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    pub id: String,
    pub environment: String,
    /// Event time of its first anomaly, epoch milliseconds.
    pub detected_ms: i64,
    /// Event time of the earliest reading out of range among its anomalies.
    pub onset_ms: Option<i64>,
    /// Event time of the announcement.
    pub opened_ms: i64,
    /// When the first answer about its cause came, simulated time.
    pub decided_ms: Option<i64>,
    /// Whether the newest answer is conclusive; none where there is no answer.
    pub conclusive: Option<bool>,
    /// Event time of the reading that settled it.
    pub resolved_ms: Option<i64>,
    /// The one that it is named after first.
    pub services: Vec<String>,
    /// Wire name of the type that it is named after.
    pub anomaly_type: String,
    /// The newest answer of the investigation, best first.
    pub candidates: Vec<Candidate>,
    /// Distinct mails sent; none where no mail was part of the run.
    pub mails: Option<u32>,
    /// It was merged into another incident.
    pub merged: bool,
    /// When it was opened again, in order.
    pub returns: Vec<Return>,
}

/// An incident that was over and goes on: people are told of it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Return {
    /// Event time.
    pub at_ms: i64,
    /// When the first answer after it came, simulated time.
    pub decided_ms: Option<i64>,
}

impl Incident {
    /// What a part of the time saw of it: its beginning, or else the first time that it was opened
    /// again, with what is said of it in the end. A fault that strikes again within the window for
    /// repeats reopens its incident, as it should, and is not one that nobody was told of.
    #[must_use]
    pub fn within(&self, slot: &std::ops::Range<i64>) -> Option<Incident> {
        if slot.contains(&self.detected_ms) {
            return Some(self.clone());
        }
        let mut returns = self.returns.iter();
        let back = returns.find(|back| slot.contains(&back.at_ms))?;
        Some(Incident {
            detected_ms: back.at_ms,
            opened_ms: back.at_ms,
            decided_ms: back.decided_ms,
            onset_ms: None,
            ..self.clone()
        })
    }
}

/// One fault and what became of it. Times are simulated milliseconds since the
/// fault's start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub fault: Fault,
    /// Its incident.
    pub incident: Option<String>,
    /// Other incidents that belong to it.
    pub duplicates: Vec<String>,
    /// The incident that took its anomalies in, where it has none of its own.
    pub absorbed_by: Option<String>,
    /// From the start to the earliest reading out of range.
    pub onset_after_ms: Option<i64>,
    /// From the start to the first anomaly.
    pub detected_after_ms: Option<i64>,
    /// From the start to the announcement.
    pub opened_after_ms: Option<i64>,
    /// The service of the first candidate.
    pub first_service: Option<String>,
    /// Whether that is the fault's service.
    pub right_service: bool,
    /// What the incident is named after.
    pub anomaly_type: Option<String>,
    /// Whether that is the fault's scenario.
    pub right_type: bool,
    /// Whether the first candidate's cause is the fault's scenario.
    pub right_cause: bool,
    /// Whether the first candidate is both the fault's service and scenario.
    pub right_answer: bool,
    /// Whether one of the first three candidates is both.
    pub in_first_three: bool,
    /// From the start to the first answer about the cause.
    pub decided_after_ms: Option<i64>,
    /// Mails about its incident and the duplicates.
    pub mails: Option<u32>,
    pub resolved: bool,
}

/// Sums over all faults and incidents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub faults: u32,
    /// Faults with an incident of their own.
    pub detected: u32,
    pub missed: u32,
    /// Missed ones whose anomalies went into an incident that was open before.
    pub absorbed: u32,
    /// Incidents that belong to a fault, duplicates included.
    pub incidents: u32,
    pub duplicates: u32,
    /// Incidents that belong to no fault.
    pub false_incidents: u32,
    pub right_service: u32,
    pub right_type: u32,
    pub right_cause: u32,
    pub right_answer: u32,
    pub in_first_three: u32,
    pub resolved: u32,
    /// Incidents that were merged into another.
    pub merged: u32,
    /// All mails, those about false incidents included.
    pub mails: Option<u32>,
}

/// The whole judgement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// In order of the faults' start.
    pub rows: Vec<Row>,
    /// Incidents that belong to no fault, in order of their detection.
    pub false_incidents: Vec<Incident>,
    pub totals: Totals,
}

/// Makes faults from ground-truth messages, in any order; repeats do no harm.
#[must_use]
pub fn faults(truths: &[GroundTruth]) -> Vec<Fault> {
    let mut by_id: BTreeMap<&str, Fault> = BTreeMap::new();
    for truth in truths.iter().filter(|truth| truth.phase == "started") {
        let fault = Fault {
            id: truth.fault_id.clone(),
            scenario: truth.scenario.clone(),
            service: truth.service.clone(),
            environment: truth.environment.clone(),
            started_ms: truth.timestamp_ms,
            ended_ms: truth.timestamp_ms + truth.duration_ms,
            affected: truth.affected.clone(),
        };
        by_id.insert(&truth.fault_id, fault);
    }
    // "ended", or "ended_by_action" before its time.
    for truth in truths.iter().filter(|truth| truth.phase != "started") {
        if let Some(fault) = by_id.get_mut(truth.fault_id.as_str()) {
            fault.ended_ms = truth.timestamp_ms;
        }
    }
    let mut faults: Vec<Fault> = by_id.into_values().collect();
    faults.sort_by(|one, other| (one.started_ms, &one.id).cmp(&(other.started_ms, &other.id)));
    faults
}

/// Judges. The order of the input does not matter.
#[must_use]
pub fn judge(faults: &[Fault], incidents: &[Incident]) -> Judgement {
    let mut faults: Vec<&Fault> = faults.iter().collect();
    faults.sort_by(|one, other| (one.started_ms, &one.id).cmp(&(other.started_ms, &other.id)));
    let mut incidents: Vec<&Incident> = incidents.iter().collect();
    incidents.sort_by(|one, other| (one.detected_ms, &one.id).cmp(&(other.detected_ms, &other.id)));
    let mut of_fault: BTreeMap<usize, Vec<&Incident>> = BTreeMap::new();
    let mut strays: Vec<&Incident> = Vec::new();
    for incident in incidents.iter().filter(|incident| !incident.merged) {
        match owner(&faults, incident) {
            Some(index) => of_fault.entry(index).or_default().push(incident),
            None => strays.push(incident),
        }
    }
    let rows: Vec<Row> = faults
        .iter()
        .enumerate()
        .map(|(index, fault)| {
            let own = of_fault.get(&index).map_or(&[][..], Vec::as_slice);
            row(fault, own, &incidents)
        })
        .collect();
    let totals = totals(&rows, &incidents, &strays);
    Judgement {
        rows,
        false_incidents: strays.into_iter().cloned().collect(),
        totals,
    }
}

/// The fault that an incident belongs to.
fn owner(faults: &[&Fault], incident: &Incident) -> Option<usize> {
    faults
        .iter()
        .enumerate()
        .filter(|(_, fault)| {
            let window = fault.started_ms..=fault.ended_ms + GRACE_MS;
            window.contains(&incident.detected_ms) && shares_a_service(fault, incident)
        })
        .max_by_key(|(index, fault)| {
            let named = incident.services.first() == Some(&fault.service);
            (named, fault.started_ms, *index)
        })
        .map(|(index, _)| index)
}

fn shares_a_service(fault: &Fault, incident: &Incident) -> bool {
    let mut services = incident.services.iter();
    fault.environment == incident.environment
        && services.any(|service| fault.affected.contains(service) || *service == fault.service)
}

fn row(fault: &Fault, own: &[&Incident], all: &[&Incident]) -> Row {
    let first = own.first();
    let top = first.and_then(|incident| incident.candidates.first());
    let place = first.and_then(|incident| {
        let mut all = incident.candidates.iter();
        all.position(|one| one.service == fault.service && one.cause == fault.scenario)
    });
    let after = |at_ms: i64| at_ms - fault.started_ms;
    let absorbed_by = all
        .iter()
        .rfind(|incident| {
            incident.detected_ms < fault.started_ms
                && incident
                    .resolved_ms
                    .is_none_or(|end| end > fault.started_ms)
                && shares_a_service(fault, incident)
        })
        .filter(|_| own.is_empty());
    Row {
        fault: fault.clone(),
        incident: first.map(|incident| incident.id.clone()),
        duplicates: own.iter().skip(1).map(|one| one.id.clone()).collect(),
        absorbed_by: absorbed_by.map(|incident| incident.id.clone()),
        onset_after_ms: first.and_then(|incident| incident.onset_ms).map(after),
        detected_after_ms: first.map(|incident| after(incident.detected_ms)),
        opened_after_ms: first.map(|incident| after(incident.opened_ms)),
        first_service: top.map(|candidate| candidate.service.clone()),
        right_service: top.is_some_and(|candidate| candidate.service == fault.service),
        anomaly_type: first.map(|incident| incident.anomaly_type.clone()),
        right_type: first.is_some_and(|incident| incident.anomaly_type == fault.scenario),
        right_cause: top.is_some_and(|candidate| candidate.cause == fault.scenario),
        right_answer: place == Some(0),
        in_first_three: place.is_some_and(|place| place < 3),
        decided_after_ms: first.and_then(|incident| incident.decided_ms).map(after),
        mails: sum(own.iter().map(|incident| incident.mails)),
        resolved: first.is_some_and(|incident| incident.resolved_ms.is_some()),
    }
}

/// The sum of what is known; none where nothing is.
fn sum(parts: impl Iterator<Item = Option<u32>>) -> Option<u32> {
    parts.fold(None, |sum, part| match (sum, part) {
        (None, part) => part,
        (sum, None) => sum,
        (Some(sum), Some(part)) => Some(sum + part),
    })
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn totals(rows: &[Row], all: &[&Incident], strays: &[&Incident]) -> Totals {
    let rows_with = |holds: fn(&Row) -> bool| count(rows.iter().filter(|row| holds(row)).count());
    let duplicates = count(rows.iter().map(|row| row.duplicates.len()).sum());
    let detected = rows_with(|row| row.incident.is_some());
    Totals {
        faults: count(rows.len()),
        detected,
        missed: rows_with(|row| row.incident.is_none()),
        absorbed: rows_with(|row| row.absorbed_by.is_some()),
        incidents: detected + duplicates,
        duplicates,
        false_incidents: count(strays.len()),
        right_service: rows_with(|row| row.right_service),
        right_type: rows_with(|row| row.right_type),
        right_cause: rows_with(|row| row.right_cause),
        right_answer: rows_with(|row| row.right_answer),
        in_first_three: rows_with(|row| row.in_first_three),
        resolved: rows_with(|row| row.resolved),
        merged: count(all.iter().filter(|incident| incident.merged).count()),
        mails: sum(all.iter().map(|incident| incident.mails)),
    }
}

impl Totals {
    /// The sums of two judgements together.
    #[must_use]
    pub fn plus(self, other: Totals) -> Totals {
        Totals {
            faults: self.faults + other.faults,
            detected: self.detected + other.detected,
            missed: self.missed + other.missed,
            absorbed: self.absorbed + other.absorbed,
            incidents: self.incidents + other.incidents,
            duplicates: self.duplicates + other.duplicates,
            false_incidents: self.false_incidents + other.false_incidents,
            right_service: self.right_service + other.right_service,
            right_type: self.right_type + other.right_type,
            right_cause: self.right_cause + other.right_cause,
            right_answer: self.right_answer + other.right_answer,
            in_first_three: self.in_first_three + other.in_first_three,
            resolved: self.resolved + other.resolved,
            merged: self.merged + other.merged,
            mails: sum([self.mails, other.mails].into_iter()),
        }
    }
}
