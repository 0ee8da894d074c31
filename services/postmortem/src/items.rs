//! What to do so that it does not happen again: from the kind of the cause,
//! and from what did not go well this time.

use crate::config::{DUE_DAYS, ITEMS};
use crate::facts::Facts;
use crate::text::{date_after, line};
use midwatch_events::AnomalyType;
use midwatch_events::knowledge::Catalogue;
use midwatch_events::response::ActionItem;

/// A title with `{service}` and `{metric}` to be filled, and its priority.
type Template = (&'static str, &'static str);

/// Lessons by the kind of the cause, most important first.
#[rustfmt::skip]
const LESSONS: [(AnomalyType, [Template; 3]); 12] = [
    (AnomalyType::DbConnectionExhaustion, [
        ("Find and mend the code path of {service} that keeps database connections", "P1"),
        ("Warn on {metric} of {service} well before its limit, not at it", "P2"),
        ("Turn on leak detection and a limit for idle transactions in {service}", "P3"),
    ]),
    (AnomalyType::DeploymentFailure, [
        ("Release {service} through a canary that rolls back on errors by itself", "P1"),
        ("Let {service} refuse to start where a setting that it needs is missing", "P2"),
        ("Let the readiness probe of {service} use the path that failed here", "P3"),
    ]),
    (AnomalyType::MemoryLeak, [
        ("Find what grows in {service} and give it a bound", "P1"),
        ("Warn on the slope of {metric} of {service}, not on a level", "P2"),
        ("Leave room under the memory limit of {service} for a heap dump", "P3"),
    ]),
    (AnomalyType::CpuSaturation, [
        ("Profile {service} under the load of this incident", "P1"),
        ("Limit the rate per client in front of {service}", "P2"),
        ("Let the autoscaler of {service} react before saturation", "P3"),
    ]),
    (AnomalyType::KafkaConsumerLag, [
        ("Find why {service} fell behind its topic: handler time, poison record or rebalances", "P1"),
        ("Warn on the growth of {metric} of {service} and on the age of the oldest record", "P2"),
        ("Set records aside that {service} fails on repeatedly", "P3"),
    ]),
    (AnomalyType::LatencySpike, [
        ("Find the slow step in the traces of {service} and give its calls a time limit", "P1"),
        ("Let the callers of {service} fail fast while it is slow", "P2"),
        ("Add the slow path of {service} to the load test", "P3"),
    ]),
    (AnomalyType::ErrorRateSpike, [
        ("Find and mend what {service} answered with errors", "P1"),
        ("Let the callers of {service} retry with a limit and a pause", "P2"),
        ("Add the failing request of {service} to its tests", "P3"),
    ]),
    (AnomalyType::DependencyOutage, [
        ("Let {service} serve a reduced answer while the dependency is away", "P1"),
        ("Agree with the dependency's owner how outages are announced", "P2"),
        ("Rehearse the outage of the dependency of {service}", "P3"),
    ]),
    (AnomalyType::TrafficDrop, [
        ("Find where requests to {service} got lost before they arrived", "P1"),
        ("Watch {service} from outside with a synthetic request", "P2"),
        ("Compare health checks and routes in front of {service}", "P3"),
    ]),
    (AnomalyType::MissingData, [
        ("Find why {service} stopped reporting {metric}", "P1"),
        ("Warn when {service} stops reporting", "P2"),
        ("Give the collector of {service} a buffer for outages", "P3"),
    ]),
    (AnomalyType::KubernetesFailure, [
        ("Mend what made the pods of {service} fail", "P1"),
        ("Review requests, limits and probes of {service}", "P2"),
        ("Spread the pods of {service} over nodes", "P3"),
    ]),
    (AnomalyType::Unknown, [
        ("Establish what happened in {service}; the records are kept with the incident", "P1"),
        ("Add the measurement whose absence left the cause of {metric} open", "P2"),
        ("Write a runbook for {metric} of {service}", "P3"),
    ]),
];

/// The action items.
#[must_use]
pub fn items(facts: &Facts, catalogue: &Catalogue) -> Vec<ActionItem> {
    let header = &facts.resolved.header;
    let cause = facts.candidates.first();
    let service = cause.map_or(header.primary_service(), |cause| cause.service.as_str());
    let kind = cause
        .and_then(|cause| AnomalyType::parse(&cause.cause))
        .unwrap_or(header.anomaly_type);
    let evidence: Vec<String> = cause
        .map(|cause| {
            cause
                .evidence
                .iter()
                .take(3)
                .map(|one| one.id.clone())
                .collect()
        })
        .unwrap_or_default();
    let metric = if facts.resolved.trigger_metric.is_empty() {
        "the failing signal"
    } else {
        facts.resolved.trigger_metric.as_str()
    };
    let owner = catalogue
        .get(service)
        .filter(|entry| !entry.team.is_empty())
        .map_or_else(
            || format!("team of {}", line(service)),
            |entry| format!("team {}", line(&entry.team)),
        );
    let item = |title: String, priority: &str, owner: &str, evidence: Vec<String>| ActionItem {
        title,
        owner: owner.to_owned(),
        due: date_after(facts.resolved.resolved_at_ms, days(priority)),
        priority: priority.to_owned(),
        evidence,
        check: String::new(),
    };
    let fill = |template: &str| {
        template
            .replace("{service}", &line(service))
            .replace("{metric}", &line(metric))
    };
    let mut items: Vec<ActionItem> = LESSONS
        .into_iter()
        .filter(|(of, _)| *of == kind)
        .flat_map(|(_, lessons)| lessons)
        .map(|(title, priority)| item(fill(title), priority, &owner, evidence.clone()))
        .collect();
    let failed: Vec<String> = facts
        .mails
        .iter()
        .filter(|mail| mail.status == "FAILED")
        .map(|mail| mail.message_id.clone())
        .collect();
    if !failed.is_empty() {
        let title = "Mend mail delivery: people were not reached in this incident".to_owned();
        items.push(item(title, "P1", "owner of Midwatch", failed));
    }
    if let Some(line) = facts.first("STEPS_LEFT_OUT") {
        let title =
            fill("Record the names that steps for {service} needed and nobody had observed");
        items.push(item(title, "P3", &owner, vec![line.id.clone()]));
    }
    items.sort_by(|a, b| a.priority.cmp(&b.priority));
    items.truncate(*ITEMS.end());
    items
}

fn days(priority: &str) -> i64 {
    DUE_DAYS
        .iter()
        .find(|(name, _)| *name == priority)
        .map_or(30, |(_, days)| *days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_cause_has_lessons_of_its_own() {
        let mut seen: Vec<&str> = Vec::new();
        for kind in AnomalyType::ALL {
            let lessons = LESSONS.iter().filter(|(of, _)| *of == kind);
            assert_eq!(lessons.clone().count(), 1, "{kind}");
            for (title, priority) in lessons.flat_map(|(_, lessons)| *lessons) {
                assert!(!seen.contains(&title), "{title}");
                assert!(
                    title.contains("{service}")
                        || title.contains("{metric}")
                        || title.contains("dependency"),
                    "{title}"
                );
                assert!([7, 14, 30].contains(&days(priority)));
                seen.push(title);
            }
        }
    }
}
