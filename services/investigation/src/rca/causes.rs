//! The cause behind a candidate, in the words of the anomaly types.

use super::answer::Candidate;
use super::clues::Clue;
use super::portrait::{Findings, Kind};
use super::quantity::Quantity;
use super::recording::Recording;
use super::weigh;
use midwatch_events::anomaly::AnomalyType;
use midwatch_events::cause;

/// What a resource's exhaustion is called.
pub(super) fn of_resource(quantity: Quantity) -> Option<AnomalyType> {
    match quantity {
        Quantity::Cpu => Some(AnomalyType::CpuSaturation),
        Quantity::Memory => Some(AnomalyType::MemoryLeak),
        Quantity::Pool => Some(AnomalyType::DbConnectionExhaustion),
        Quantity::Backlog => Some(AnomalyType::KafkaConsumerLag),
        Quantity::Restarts => Some(AnomalyType::KubernetesFailure),
        _ => None,
    }
}

/// From this nearness on, 0..1, a change names the cause by itself; one long
/// before the symptoms needs more than that.
pub(super) const NEAR: f64 = 0.3;

/// The cause that a service's own evidence points at: what ran out before
/// what it led to, a change before the symptoms that followed it.
#[must_use]
pub fn cause(recording: &Recording, findings: &Findings, service: &str) -> AnomalyType {
    let size = |kind: Kind| {
        findings
            .portraits
            .get(service)
            .and_then(|portrait| portrait.get(&kind))
            .copied()
            .unwrap_or(0.0)
    };
    if let Some(cause) = exhausted(recording, findings, service, size(Kind::Resource)) {
        return cause;
    }
    if let Some(cause) = findings.kills.cause(recording, service) {
        return cause;
    }
    if size(Kind::Deployment) >= NEAR {
        return AnomalyType::DeploymentFailure;
    }
    if size(Kind::Silence) > 0.5 {
        return AnomalyType::DependencyOutage;
    }
    let (failures, seconds) = symptoms(findings, service);
    if failures == 0.0 && seconds == 0.0 {
        return if size(Kind::TrafficLoss) > 0.0 {
            AnomalyType::TrafficDrop
        } else {
            AnomalyType::Unknown
        };
    }
    if failures >= seconds {
        AnomalyType::ErrorRateSpike
    } else {
        AnomalyType::LatencySpike
    }
}

/// How strongly a service fails, and how strongly it is slow.
pub(super) fn symptoms(findings: &Findings, service: &str) -> (f64, f64) {
    let most = |kinds: [Kind; 4]| {
        let portrait = findings.portraits.get(service);
        let sizes = kinds.iter().filter_map(|kind| portrait?.get(kind).copied());
        sizes.fold(0.0, f64::max)
    };
    (
        most([
            Kind::Failures,
            Kind::SpanFailures,
            Kind::FailureJump,
            Kind::Complaints,
        ]),
        most([
            Kind::Seconds,
            Kind::SpanSeconds,
            Kind::SlowEdges,
            Kind::LatencyJump,
        ]),
    )
}

/// The resource that ran out, where one did: what detection calls so, which
/// knows the limits, else the series that left its range farthest.
fn exhausted(
    recording: &Recording,
    findings: &Findings,
    service: &str,
    size: f64,
) -> Option<AnomalyType> {
    if size < 0.15 {
        return None;
    }
    let alarms = recording
        .alarms
        .iter()
        .filter(|alarm| alarm.service == service);
    if !recording.alarms.is_empty() {
        return alarms
            .filter(|alarm| {
                matches!(
                    alarm.cause,
                    AnomalyType::CpuSaturation
                        | AnomalyType::MemoryLeak
                        | AnomalyType::DbConnectionExhaustion
                        | AnomalyType::KafkaConsumerLag
                )
            })
            .max_by_key(|alarm| (alarm.severity, std::cmp::Reverse(alarm.onset_ms)))
            .map(|alarm| alarm.cause);
    }
    let held = Held::of(recording, findings, service);
    findings
        .changed
        .iter()
        .filter(|one| recording.series[one.series].service == service)
        .filter_map(|one| {
            let change = one.change.as_ref()?;
            let is_fuller = change.by() > 0.0 && change.surprise >= 1.0;
            let cause = of_resource(one.quantity).filter(|_| is_fuller)?;
            let grown = (change.after / change.before.max(1e-9)).max(1.0);
            let follows = held.follows(one.quantity);
            let is_own = follows.is_none_or(|follows| grown > FOLLOWS * follows);
            let is_short = is_own || weigh::is_near_whole(recording, one);
            is_short.then_some((change.surprise * grown.ln(), cause))
        })
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, cause)| cause)
}

/// What grew by no more than this times what it follows ran out of nothing.
const FOLLOWS: f64 = 1.25;

/// By which factors a service's requests and the time of each changed, 1 and
/// more where they grew.
struct Held {
    requests: f64,
    seconds: f64,
}

impl Held {
    fn of(recording: &Recording, findings: &Findings, service: &str) -> Held {
        let rate = findings.rates.get(service).filter(|rate| rate.0 > 0.0);
        let slower = findings.changed.iter().filter_map(|one| {
            let is_time = one.quantity == Quantity::Latency;
            let is_its = recording.series[one.series].service == service;
            let change = one.change.as_ref().filter(|_| is_time && is_its)?;
            (change.before > 0.0).then_some(change.after / change.before)
        });
        Held {
            requests: rate.map_or(1.0, |rate| (rate.1 / rate.0).max(1.0)),
            seconds: slower.fold(1.0, f64::max),
        }
    }

    /// The factor that a resource grows by without being short itself: the
    /// work of a processor goes with the requests, what they hold and what
    /// waits with their number and their time (L = λW, Little's law). Others
    /// follow nothing.
    fn follows(&self, quantity: Quantity) -> Option<f64> {
        match quantity {
            Quantity::Pool | Quantity::Backlog => Some(self.requests * self.seconds),
            Quantity::Cpu => Some(self.requests),
            _ => None,
        }
    }
}

/// The record that shows a cause: the strongest of what the cause was told by,
/// else the strongest of all.
#[must_use]
pub fn shown_by<'a>(
    recording: &Recording,
    cause: AnomalyType,
    clues: &'a [(Kind, Clue)],
) -> Option<&'a Clue> {
    let is_full = |(kind, clue): &(Kind, Clue)| {
        let mut alarms = recording.alarms.iter();
        let is_told = alarms.any(|alarm| alarm.id == clue.id && alarm.cause == cause);
        let quantity = Quantity::of(&clue.metric);
        is_told || (*kind == Kind::Resource && of_resource(quantity) == Some(cause))
    };
    let is_of_kind = |kind: Kind| match cause {
        AnomalyType::CpuSaturation
        | AnomalyType::MemoryLeak
        | AnomalyType::DbConnectionExhaustion
        | AnomalyType::KafkaConsumerLag => false,
        AnomalyType::DeploymentFailure => kind == Kind::Deployment,
        AnomalyType::KubernetesFailure => kind == Kind::Kubernetes,
        AnomalyType::DependencyOutage | AnomalyType::MissingData => kind == Kind::Silence,
        AnomalyType::ErrorRateSpike => matches!(
            kind,
            Kind::Failures
                | Kind::SpanFailures
                | Kind::FailureJump
                | Kind::FailureRate
                | Kind::Complaints
        ),
        AnomalyType::LatencySpike => matches!(
            kind,
            Kind::Seconds
                | Kind::SpanSeconds
                | Kind::SlowEdges
                | Kind::LatencyJump
                | Kind::LatencyFactor
        ),
        AnomalyType::TrafficDrop => kind == Kind::TrafficLoss,
        AnomalyType::Unknown => true,
    };
    clues
        .iter()
        .find(|clue| is_of_kind(clue.0) || is_full(clue))
        .or(clues.first())
        .map(|(_, clue)| clue)
}

/// One sentence that names service and cause, with the record that shows it.
#[must_use]
pub fn hypothesis(service: &str, cause: AnomalyType, shown: Option<&Clue>) -> String {
    let what = match cause {
        AnomalyType::CpuSaturation => "runs out of CPU",
        AnomalyType::MemoryLeak => "runs out of memory",
        AnomalyType::DbConnectionExhaustion => "runs out of connections",
        AnomalyType::KafkaConsumerLag => "falls behind with what it has to work off",
        AnomalyType::DeploymentFailure => "was changed and has been failing since",
        AnomalyType::KubernetesFailure => "is killed or restarted by Kubernetes",
        AnomalyType::DependencyOutage => "is gone",
        AnomalyType::ErrorRateSpike => "fails by itself",
        AnomalyType::LatencySpike => "is slow by itself",
        AnomalyType::TrafficDrop => "gets fewer requests than its callers would send",
        AnomalyType::MissingData | AnomalyType::Unknown => "behaves otherwise than before",
    };
    match shown {
        Some(clue) => format!("{service} {what}: {}", clue.summary),
        None => format!("{service} {what}"),
    }
}

/// What would refute a candidate, or tell it from the next.
#[must_use]
pub fn discriminator(findings: &Findings, candidate: &Candidate, next: Option<&str>) -> String {
    let service = &candidate.service;
    let look = match cause::family(&candidate.cause) {
        Some(AnomalyType::DeploymentFailure) => {
            format!("if {service} fails on after the change is taken back, it was not the change")
        }
        Some(
            AnomalyType::CpuSaturation
            | AnomalyType::MemoryLeak
            | AnomalyType::DbConnectionExhaustion
            | AnomalyType::KafkaConsumerLag,
        ) => format!(
            "if {service} is as full while its requests are served as usual, it is not the cause"
        ),
        Some(AnomalyType::DependencyOutage | AnomalyType::KubernetesFailure) => {
            format!("if {service} answers a request of its own, it is not gone")
        }
        _ => format!(
            "if requests sent to {service} alone are answered as usual, it is not the cause"
        ),
    };
    match next {
        Some(next) if findings.graph.edge_between(service, next).is_some() => {
            format!("{look}; a request that {service} serves without {next} tells the two apart")
        }
        Some(next) => format!("{look}; then look at {next}"),
        None => look,
    }
}
