//! The judgement of trials: small stories with a fault or two, a red herring,
//! missing readings, or no fault at all.
//!
//! **One incident per fault.** Each fault has an incident of its own and no
//! further one, and the story has no other incident, but an inconclusive one
//! about a healthy neighbour. Where stories follow each other in one fleet, an
//! incident that the same fault opened again is that fault's. Two faults that stand in
//! one call path, or below one caller, may share an incident that names both
//! services: who looks at it sees both. Two faults apart may not. A fault may
//! join an incident that a red herring opened shortly before: nobody knew
//! better then, and the answer tells whether it was recognised. An incident
//! about nothing but the CPU that a healthy neighbour's job takes is about that
//! neighbour, also where the fault reaches it.
//!
//! **Top-1, top-3.** The service and the cause of the fault are those of the
//! first, or of one of the first three candidates of its incident's newest
//! answer. Where two faults share the incident, the true candidate for one is
//! left aside while the other is looked for.
//!
//! **Herring.** It is ranked first when the first candidate of an incident of
//! the fault is the decoy's service, or the harmless release where that was on
//! the struck service. It is *told* when another, conclusive incident is.
//!
//! **Control.** Quiet means no incident, or only inconclusive ones.

use crate::decisions::{Decision, decisions, names};
use crate::judge::{Candidate, Fault, Incident, Judgement, Row, judge};
use crate::summary::percentile;
use midwatch_simulator::trials::{Kind, Lure, Trial};
use serde::Serialize;
use std::collections::BTreeMap;

/// One fault of a trial and what was said about it. Times are simulated
/// milliseconds since its start.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Said {
    pub scenario: String,
    pub service: String,
    pub incident: Option<String>,
    /// The incident is that of the other fault, or was opened on a herring.
    pub shared: bool,
    /// Further incidents.
    pub duplicates: u32,
    pub first_service: bool,
    pub first: bool,
    pub in_three: bool,
    pub seen_after_ms: Option<i64>,
    pub opened_after_ms: Option<i64>,
    /// To the first answer about its cause.
    pub decided_after_ms: Option<i64>,
}

/// One trial and what was said in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrialRow {
    pub seed: u64,
    pub trial: &'static str,
    pub story: &'static str,
    pub faults: Vec<Said>,
    /// Simulated time that was judged.
    pub simulated_ms: i64,
    /// Incidents, without those that were merged into another.
    pub incidents: u32,
    /// Those that belong to no fault, in words.
    pub others: Vec<String>,
    pub one_each: bool,
    /// The service that misleads, where one does.
    pub herring: Option<String>,
    pub herring_first: bool,
    pub herring_told: bool,
    /// Whether a control ended without a conclusive incident.
    pub quiet: bool,
    pub decisions: Vec<Decision>,
}

/// Judges a trial by what happened in its slot.
#[must_use]
pub fn judge_trial(seed: u64, trial: &Trial, faults: &[Fault], incidents: &[Incident]) -> TrialRow {
    let faults: Vec<Fault> = faults
        .iter()
        .filter(|fault| trial.slot.contains(&fault.started_ms))
        .cloned()
        .collect();
    let incidents: Vec<Incident> = incidents
        .iter()
        .filter_map(|one| one.within(&trial.slot))
        .collect();
    let (of_job, rest): (Vec<Incident>, Vec<Incident>) = incidents
        .iter()
        .cloned()
        .partition(|one| is_of_job(trial, one));
    let mut judgement = judge(&faults, &rest);
    // What the fault did to the neighbour may be all that is told of it.
    if judgement.rows.iter().any(|row| row.incident.is_none()) {
        judgement = judge(&faults, &incidents);
    } else {
        judgement.false_incidents.extend(of_job);
    }
    let hosts = hosts(trial.kind, &judgement, &incidents);
    let names = (seed, trial.kind.story(), trial.kind.name());
    let decisions = decisions(names, &judgement, &incidents, &hosts);
    let told: Vec<Said> = judgement
        .rows
        .iter()
        .map(|row| said(row, &judgement, &incidents, &hosts))
        .collect();
    let whole = |one: &Said| one.incident.is_some() && one.duplicates == 0;
    let remaining: Vec<&Incident> = incidents.iter().filter(|one| !one.merged).collect();
    let strays = judgement.false_incidents.iter();
    let strays: Vec<&Incident> = strays.filter(|one| !hosts.contains_key(&one.id)).collect();
    // What is said of a healthy neighbour may be inconclusive, as of a control.
    let disturbs =
        |one: &&Incident| trial.kind.story() != "herring" || one.conclusive != Some(false);
    let undisturbed = !strays.iter().any(disturbs);
    let others: Vec<String> = strays.into_iter().map(words).collect();
    let of_fault = |incident: &Incident| {
        let mut rows = judgement.rows.iter();
        hosts.contains_key(&incident.id)
            || rows.any(|row| row.incident.as_ref() == Some(&incident.id))
    };
    let (herring, herring_first, herring_told) = herring(trial, &of_fault, &incidents);
    TrialRow {
        seed,
        trial: trial.kind.name(),
        story: trial.kind.story(),
        incidents: u32::try_from(remaining.len()).unwrap_or(u32::MAX),
        one_each: !told.is_empty() && told.iter().all(whole) && undisturbed,
        others,
        simulated_ms: trial.slot.end - trial.slot.start,
        faults: told,
        herring,
        herring_first,
        herring_told,
        quiet: remaining.iter().all(|one| one.conclusive == Some(false)),
        decisions,
    }
}

/// Whether an incident is about the CPU of a healthy neighbour's job alone: it
/// began while the job ran, names no other service, and the first that its
/// answer names is that CPU.
fn is_of_job(trial: &Trial, incident: &Incident) -> bool {
    let decoy = trial.decoy.as_ref();
    let job = decoy.filter(|decoy| matches!(decoy.lure, Lure::Job(_)));
    let service = job.and_then(|job| job.service);
    service.is_some_and(|service| {
        !incident.merged
            && incident.services == [service.name()]
            && incident.anomaly_type == "CPU_SATURATION"
            && job.is_some_and(|job| job.during.contains(&incident.detected_ms))
            && incident
                .candidates
                .first()
                .is_some_and(|top| top.service == service.name() && top.cause == "CPU_SATURATION")
    })
}

fn words(incident: &Incident) -> String {
    format!(
        "{} {} on {}{}",
        incident.id,
        incident.anomaly_type,
        incident.services.join(", "),
        match incident.conclusive {
            Some(false) => " (inconclusive)",
            _ => "",
        }
    )
}

/// Faults without an incident of their own, by the incident that tells of them
/// as well: that of the other fault, or one that the herring had opened.
fn hosts(
    kind: Kind,
    judgement: &Judgement,
    incidents: &[Incident],
) -> BTreeMap<String, Vec<Fault>> {
    let mut found: BTreeMap<String, Vec<Fault>> = BTreeMap::new();
    for row in judgement.rows.iter().filter(|row| row.incident.is_none()) {
        if let (Some(host), "herring") = (&row.absorbed_by, kind.story()) {
            let told = found.entry(host.clone()).or_default();
            told.push(row.fault.clone());
        }
        if !matches!(kind, Kind::Related | Kind::Siblings) {
            continue;
        }
        let hosts = judgement
            .rows
            .iter()
            .filter_map(|other| other.incident.as_ref());
        for host in hosts {
            let names_it = incidents
                .iter()
                .any(|one| one.id == *host && one.services.contains(&row.fault.service));
            if names_it {
                found
                    .entry(host.clone())
                    .or_default()
                    .push(row.fault.clone());
            }
        }
    }
    found
}

fn said(
    row: &Row,
    judgement: &Judgement,
    incidents: &[Incident],
    hosts: &BTreeMap<String, Vec<Fault>>,
) -> Said {
    let fault = &row.fault;
    let host = hosts
        .iter()
        .find(|(_, faults)| faults.iter().any(|one| one.id == fault.id))
        .map(|(id, _)| id);
    let id = row.incident.as_ref().or(host);
    let incident = id.and_then(|id| incidents.iter().find(|one| one.id == *id));
    let is_shared = id.is_some_and(|id| hosts.contains_key(id));
    let others: Vec<&Fault> = judgement
        .rows
        .iter()
        .map(|other| &other.fault)
        .filter(|other| is_shared && other.id != fault.id)
        .collect();
    let candidates: Vec<&Candidate> = incident
        .map_or(&[][..], |one| one.candidates.as_slice())
        .iter()
        .filter(|one| !others.iter().any(|other| names(one, other)))
        .collect();
    let place = candidates.iter().position(|one| names(one, fault));
    let after = |at_ms: i64| at_ms - fault.started_ms;
    Said {
        scenario: fault.scenario.clone(),
        service: fault.service.clone(),
        incident: id.cloned(),
        shared: is_shared,
        duplicates: u32::try_from(row.duplicates.len()).unwrap_or(u32::MAX),
        first_service: candidates
            .first()
            .is_some_and(|one| one.service == fault.service),
        first: place == Some(0),
        in_three: place.is_some_and(|place| place < 3),
        seen_after_ms: incident.map(|one| after(one.detected_ms)),
        opened_after_ms: incident.map(|one| after(one.opened_ms)),
        decided_after_ms: incident.and_then(|one| one.decided_ms).map(after),
    }
}

/// The service that misleads, whether it was ranked first for the fault, and
/// whether it was told as one of its own.
fn herring(
    trial: &Trial,
    of_fault: &dyn Fn(&Incident) -> bool,
    incidents: &[Incident],
) -> (Option<String>, bool, bool) {
    let decoy = trial
        .decoy
        .as_ref()
        .filter(|_| trial.kind.story() == "herring");
    let Some(service) = decoy.and_then(|decoy| decoy.service) else {
        return (None, false, false);
    };
    let is_it = |incident: &Incident| {
        incident.candidates.first().is_some_and(|top| {
            let on_the_struck = trial.kind == Kind::ReleaseSame;
            top.service == service.name() && (!on_the_struck || top.cause == "DEPLOYMENT_FAILURE")
        })
    };
    let first = incidents.iter().any(|one| of_fault(one) && is_it(one));
    let told = incidents
        .iter()
        .any(|one| !of_fault(one) && !one.merged && one.conclusive == Some(true) && is_it(one));
    (Some(service.name().to_owned()), first, told)
}

/// Sums over some of the faults and trials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    pub runs: u32,
    pub faults: u32,
    /// Incidents of the trials, those of no fault included; of a scenario, those
    /// of its faults.
    pub incidents: u32,
    /// Trials with one incident per fault, or quiet controls.
    pub as_they_should_be: u32,
    pub first_service: u32,
    pub first: u32,
    pub in_three: u32,
    /// Simulated, from the start of a fault to the first answer; half and nine
    /// tenths of the answered ones took no longer (nearest rank).
    pub decided_median_ms: Option<i64>,
    pub decided_p90_ms: Option<i64>,
    pub herrings: u32,
    pub herring_first: u32,
    pub herring_told: u32,
}

/// Everything that the targets speak of.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TrialSummary {
    /// All trials with a fault.
    pub faulty: Sums,
    pub controls: Sums,
    pub trials: BTreeMap<&'static str, Sums>,
    pub scenarios: BTreeMap<String, Sums>,
}

/// Sums up.
#[must_use]
pub fn trial_summary(rows: &[TrialRow]) -> TrialSummary {
    let mut trials = BTreeMap::new();
    for kind in Kind::ALL {
        let own: Vec<&TrialRow> = rows.iter().filter(|row| row.trial == kind.name()).collect();
        if !own.is_empty() {
            trials.insert(kind.name(), sums(&own));
        }
    }
    let with_story = |control: bool| {
        let own: Vec<&TrialRow> = rows
            .iter()
            .filter(|row| (row.story == "control") == control)
            .collect();
        sums(&own)
    };
    let mut scenarios: BTreeMap<String, Vec<&Said>> = BTreeMap::new();
    for said in rows.iter().flat_map(|row| &row.faults) {
        scenarios
            .entry(said.scenario.clone())
            .or_default()
            .push(said);
    }
    TrialSummary {
        faulty: with_story(false),
        controls: with_story(true),
        trials,
        scenarios: scenarios
            .into_iter()
            .map(|(name, told)| (name, of_faults(&told)))
            .collect(),
    }
}

fn count<T>(all: &[T], holds: impl Fn(&T) -> bool) -> u32 {
    u32::try_from(all.iter().filter(|one| holds(one)).count()).unwrap_or(u32::MAX)
}

fn sums(rows: &[&TrialRow]) -> Sums {
    let told: Vec<&Said> = rows.iter().flat_map(|row| &row.faults).collect();
    Sums {
        runs: count(rows, |_| true),
        incidents: rows.iter().map(|row| row.incidents).sum(),
        as_they_should_be: count(rows, |row| row.is_as_it_should_be()),
        herrings: count(rows, |row| row.herring.is_some()),
        herring_first: count(rows, |row| row.herring_first),
        herring_told: count(rows, |row| row.herring_told),
        ..of_faults(&told)
    }
}

fn of_faults(told: &[&Said]) -> Sums {
    let mut times: Vec<i64> = told.iter().filter_map(|one| one.decided_after_ms).collect();
    times.sort_unstable();
    Sums {
        faults: count(told, |_| true),
        incidents: told
            .iter()
            .map(|one| u32::from(one.incident.is_some()) + one.duplicates)
            .sum(),
        first_service: count(told, |one| one.first_service),
        first: count(told, |one| one.first),
        in_three: count(told, |one| one.in_three),
        decided_median_ms: percentile(&times, 50),
        decided_p90_ms: percentile(&times, 90),
        ..Sums::default()
    }
}

impl TrialRow {
    /// One incident per fault, or a quiet control.
    #[must_use]
    pub fn is_as_it_should_be(&self) -> bool {
        if self.story == "control" {
            self.quiet
        } else {
            self.one_each
        }
    }
}
