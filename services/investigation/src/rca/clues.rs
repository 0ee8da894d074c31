//! The records behind each number, in sentences that quote them.

use super::counter;
use super::ledger::Changed;
use super::lines::{Kind as Told, Template};
use super::portrait::{Findings, Kind};
use super::quantity::Quantity;
use super::recording::{Alarm, Recording, Series};
use midwatch_events::anomaly::AnomalyType;
use midwatch_events::incident::EvidenceKind;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Records quoted for one kind of evidence.
const EACH: usize = 3;
/// A series that changed less than this part of the service's one that changed
/// most is not quoted beside it, unless it is [`PLAIN`].
const PALE: f64 = 0.25;
/// Twice its normal reach, a series is out of the ordinary beside any other.
const PLAIN: f64 = 1.0;

/// A record that speaks for or against a candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clue {
    /// The record's id.
    pub id: String,
    pub kind: EvidenceKind,
    pub service: String,
    /// Event time, epoch milliseconds.
    pub at_ms: i64,
    /// One sentence that quotes the record.
    pub summary: String,
    /// The series that it is a reading of, where it is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub metric: String,
    /// How strongly its kind of evidence speaks, 0..1.
    pub strength: f64,
}

/// A number as people write it: three significant digits, no exponent.
#[must_use]
pub fn number(value: f64) -> String {
    let size = value.abs();
    let text = if size >= 100.0 || size == 0.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else {
        // Below one: as many places as three digits need, six at most.
        let mut places = 2;
        let mut scaled = size * 100.0;
        while scaled < 100.0 && places < 6 {
            scaled *= 10.0;
            places += 1;
        }
        format!("{value:.places$}")
    };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// The clues of one service, the strongest kind first.
#[must_use]
pub fn of(recording: &Recording, findings: &Findings, service: &str) -> Vec<(Kind, Clue)> {
    let Some(portrait) = findings.portraits.get(service) else {
        return Vec::new();
    };
    let mut kinds: Vec<(Kind, f64)> = portrait.iter().map(|(kind, size)| (*kind, *size)).collect();
    kinds.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
    let mut clues: Vec<(Kind, Clue)> = Vec::new();
    for (kind, strength) in kinds {
        for clue in quoted(recording, findings, service, kind, strength) {
            if !clues.iter().any(|(_, known)| known.id == clue.id) {
                clues.push((kind, clue));
            }
        }
    }
    clues
}

fn quoted(
    recording: &Recording,
    findings: &Findings,
    service: &str,
    kind: Kind,
    strength: f64,
) -> Vec<Clue> {
    let mut clues = alarms(recording, findings, service, kind, strength);
    clues.extend(match kind {
        Kind::Seconds | Kind::LatencyJump | Kind::LatencyFactor => {
            series(recording, findings, service, strength, |one| {
                one.quantity == Quantity::Latency
            })
        }
        Kind::Failures | Kind::FailureJump | Kind::FailureRate => {
            series(recording, findings, service, strength, |one| {
                matches!(
                    one.quantity,
                    Quantity::Errors | Quantity::ErrorRate | Quantity::Availability
                )
            })
        }
        Kind::Resource => series(recording, findings, service, strength, |one| {
            one.quantity.is_resource()
        }),
        Kind::OtherJump | Kind::Shift | Kind::TrafficLoss | Kind::Origin => {
            series(recording, findings, service, strength, |one| {
                matches!(one.quantity, Quantity::Requests | Quantity::Other)
            })
        }
        Kind::Silence => silence(recording, findings, service, strength),
        Kind::Complaints | Kind::LogShift => told(findings, service, kind, strength),
        Kind::Accused => accusations(findings, service, strength),
        Kind::Deployment | Kind::Kubernetes => {
            changes(recording, findings, service, kind, strength)
        }
        Kind::SpanSeconds | Kind::SpanFailures | Kind::CallPattern | Kind::SlowEdges => {
            spans(findings, service, kind, strength)
        }
        Kind::First | Kind::Reached | Kind::Target | Kind::Explains => Vec::new(),
    });
    clues
}

/// What detection said, where it is of this kind.
fn alarms(
    recording: &Recording,
    findings: &Findings,
    service: &str,
    kind: Kind,
    strength: f64,
) -> Vec<Clue> {
    let mut alarms: Vec<&Alarm> = recording
        .alarms
        .iter()
        .filter(|alarm| alarm.service == service && fits(alarm, kind))
        .filter(|alarm| kind != Kind::Kubernetes || findings.kills.counts(alarm))
        .collect();
    alarms.sort_by_key(|alarm| std::cmp::Reverse(alarm.severity));
    alarms
        .into_iter()
        .take(EACH)
        .map(|alarm| Clue {
            id: alarm.id.clone(),
            kind: EvidenceKind::Anomaly,
            service: service.to_owned(),
            at_ms: alarm.onset_ms,
            summary: alarm.text.clone(),
            metric: alarm.metric.clone(),
            strength,
        })
        .collect()
}

fn fits(alarm: &Alarm, kind: Kind) -> bool {
    match alarm.cause {
        AnomalyType::LatencySpike => {
            matches!(
                kind,
                Kind::Seconds | Kind::LatencyJump | Kind::LatencyFactor
            )
        }
        AnomalyType::ErrorRateSpike | AnomalyType::DependencyOutage => matches!(
            kind,
            Kind::Failures | Kind::FailureJump | Kind::FailureRate | Kind::Complaints
        ),
        AnomalyType::KubernetesFailure => kind == Kind::Kubernetes,
        AnomalyType::MissingData => kind == Kind::Silence,
        AnomalyType::TrafficDrop => kind == Kind::TrafficLoss,
        AnomalyType::DeploymentFailure | AnomalyType::Unknown => kind == Kind::OtherJump,
        AnomalyType::CpuSaturation
        | AnomalyType::MemoryLeak
        | AnomalyType::DbConnectionExhaustion
        | AnomalyType::KafkaConsumerLag => kind == Kind::Resource,
    }
}

fn series(
    recording: &Recording,
    findings: &Findings,
    service: &str,
    strength: f64,
    fits: impl Fn(&Changed) -> bool,
) -> Vec<Clue> {
    let mut found: Vec<(&Changed, f64)> = findings
        .changed
        .iter()
        .filter(|one| recording.series[one.series].service == service)
        .filter_map(|one| Some((one, one.change.as_ref()?.surprise)))
        .filter(|(_, surprise)| *surprise > 0.0)
        .collect();
    // Beside a latency that doubled or a pool that went from 30 to 80, a CPU
    // from 21.6 to 20.9 shows nothing.
    let most = found.iter().fold(0.0, |most: f64, (_, one)| most.max(*one));
    let least = (PALE * most).min(PLAIN);
    found.retain(|(one, surprise)| fits(one) && *surprise >= least);
    found.sort_by(|one, other| {
        other
            .1
            .total_cmp(&one.1)
            .then(one.0.series.cmp(&other.0.series))
    });
    let least = found.first().map_or(0.0, |(_, most)| PALE * most);
    found
        .into_iter()
        .take(EACH)
        .filter(|(_, surprise)| *surprise >= least)
        .filter_map(|(one, _)| {
            let change = one.change.as_ref()?;
            let series = &recording.series[one.series];
            Some(Clue {
                id: series.id_at(change.at_ms),
                kind: EvidenceKind::Metric,
                service: service.to_owned(),
                at_ms: change.at_ms,
                summary: format!(
                    "{} of {service} went from {} to {}{}",
                    series.metric,
                    number(change.before),
                    number(change.after),
                    per(series)
                ),
                metric: series.metric.clone(),
                strength,
            })
        })
        .collect()
}

/// What readings of a counter, which are compared as what it grew by, are told
/// in.
fn per(series: &Series) -> &'static str {
    match counter::readings(series) {
        Cow::Owned(_) => " per second",
        Cow::Borrowed(_) => "",
    }
}

fn silence(recording: &Recording, findings: &Findings, service: &str, strength: f64) -> Vec<Clue> {
    findings
        .changed
        .iter()
        .filter(|one| recording.series[one.series].service == service)
        .filter_map(|one| Some((one, one.silent_ms?)))
        .take(EACH)
        .map(|(one, at_ms)| {
            let series = &recording.series[one.series];
            Clue {
                id: series.id_at(at_ms),
                kind: EvidenceKind::Metric,
                service: service.to_owned(),
                at_ms,
                summary: format!(
                    "{} of {service} has no reading after this one",
                    series.metric
                ),
                metric: series.metric.clone(),
                strength,
            }
        })
        .collect()
}

/// A word on counts of times that are far from equally long.
fn unequal(ratio: f64) -> String {
    if (0.8..=1.25).contains(&ratio) || ratio <= 0.0 {
        return String::new();
    }
    format!(", in {} times the time", number(ratio))
}

fn line(template: &Template, service: &str, strength: f64) -> Clue {
    let said: String = template.message.chars().take(160).collect();
    Clue {
        id: template.id.clone(),
        kind: EvidenceKind::Log,
        service: service.to_owned(),
        at_ms: template.at_ms,
        summary: format!(
            "{service} logged \"{said}\": {} such lines before, {} since{}",
            template.before,
            template.after,
            unequal(template.ratio)
        ),
        metric: String::new(),
        strength,
    }
}

fn told(findings: &Findings, service: &str, kind: Kind, strength: f64) -> Vec<Clue> {
    let Some(told) = findings.lines.get(service) else {
        return Vec::new();
    };
    told.templates
        .iter()
        .filter(|template| match kind {
            Kind::Complaints => matches!(template.kind, Told::Complaint | Told::Refused),
            _ => matches!(template.kind, Told::Silent | Told::New),
        })
        .take(EACH)
        .map(|template| line(template, service, strength))
        .collect()
}

fn accusations(findings: &Findings, service: &str, strength: f64) -> Vec<Clue> {
    let told = findings.blames.told.get(service).into_iter().flatten();
    told.filter_map(|(writer, index)| {
        let template = findings.lines.get(writer)?.templates.get(*index)?;
        Some(line(template, writer, strength))
    })
    .take(EACH)
    .collect()
}

/// A deployment or a kill after the symptoms caused none of them, and is not
/// quoted.
fn changes(
    recording: &Recording,
    findings: &Findings,
    service: &str,
    kind: Kind,
    strength: f64,
) -> Vec<Clue> {
    let rollouts = findings.rollouts.iter();
    let rollouts = rollouts.map(|(index, _)| &recording.changes[*index]);
    let kills = findings.kills.events(recording).map(|(event, _)| event);
    let is_rollout = kind == Kind::Deployment;
    rollouts
        .filter(|_| is_rollout)
        .chain(kills.filter(|_| !is_rollout))
        .filter(|event| event.service == service)
        .take(EACH)
        .map(|event| Clue {
            id: event.id.clone(),
            kind: match event.kind.change() {
                Some(_) => EvidenceKind::Deployment,
                None => EvidenceKind::Kubernetes,
            },
            service: service.to_owned(),
            at_ms: event.at_ms,
            summary: event.text.clone(),
            metric: String::new(),
            strength,
        })
        .collect()
}

fn spans(findings: &Findings, service: &str, kind: Kind, strength: f64) -> Vec<Clue> {
    let clue = |id: &str, at_ms: i64, of: &str, summary: String| Clue {
        id: id.to_owned(),
        kind: EvidenceKind::Span,
        service: of.to_owned(),
        at_ms,
        summary,
        metric: String::new(),
        strength,
    };
    if kind == Kind::SlowEdges {
        let into = findings
            .traces
            .edges
            .iter()
            .filter(|edge| edge.callee == service);
        return into
            .take(EACH)
            .map(|edge| {
                let summary = format!("{} waits longer for {service} than it works", edge.caller);
                clue(&edge.span, edge.at_ms, &edge.caller, summary)
            })
            .collect();
    }
    let Some(spoken) = findings.traces.services.get(service) else {
        return Vec::new();
    };
    match kind {
        Kind::SpanSeconds => spoken
            .slowest
            .iter()
            .map(|slow| {
                let summary = format!(
                    "{} in {service} works {} ms by itself, before it was {} ms",
                    slow.operation,
                    number(slow.after_ms),
                    number(slow.before_ms)
                );
                clue(&slow.span, slow.at_ms, service, summary)
            })
            .collect(),
        Kind::SpanFailures => spoken
            .failed
            .iter()
            .map(|failed| {
                let summary = format!(
                    "failures begin at {} in {service}: {} before, {} since",
                    failed.operation, failed.before, failed.after
                );
                clue(&failed.span, failed.at_ms, service, summary)
            })
            .collect(),
        _ => spoken
            .pattern
            .iter()
            .take(EACH)
            .map(|pattern| {
                let summary = format!(
                    "{} in {service} calls {} of {} {} times a request, before it was {}",
                    pattern.operation,
                    pattern.call,
                    pattern.callee,
                    number(pattern.after),
                    number(pattern.before)
                );
                clue(&pattern.span, pattern.at_ms, service, summary)
            })
            .collect(),
    }
}

/// Records that speak against a service: symptoms that its callees explain.
#[must_use]
pub fn against(recording: &Recording, findings: &Findings, service: &str) -> Vec<Clue> {
    let mut found = Vec::new();
    for ledger in findings.seconds.iter().chain(&findings.failures) {
        let Some(charge) = ledger.charges.get(service) else {
            continue;
        };
        if charge.shown <= 0.0 || charge.own > 0.5 * charge.shown {
            continue;
        }
        let series = &recording.series[charge.series];
        let Some(change) = &findings.changed[charge.series].change else {
            continue;
        };
        let explained = (1.0 - charge.own / charge.shown) * 100.0;
        found.push(Clue {
            id: series.id_at(change.at_ms),
            kind: EvidenceKind::Metric,
            service: service.to_owned(),
            at_ms: change.at_ms,
            summary: format!(
                "what {service} calls explains {explained:.0} % of the change of {}",
                series.metric
            ),
            metric: series.metric.clone(),
            strength: 1.0 - charge.own / charge.shown,
        });
    }
    found.truncate(EACH);
    found
}
