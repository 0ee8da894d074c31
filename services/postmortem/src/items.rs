//! What to do so that it does not happen again: from the kind of the cause,
//! and from what did not go well this time.

use crate::config::{DUE_DAYS, ITEMS};
use crate::facts::Facts;
use crate::records::{GOALS, Records};
use crate::statement::{Rule, Statement};
use crate::writer::{Want, at, over, say, text};
use midwatch_events::AnomalyType;
use midwatch_events::cause::family;
use midwatch_events::response::ActionItem;

/// Something to do, with `{service}` and `{metric}` to be filled.
#[derive(Clone, Copy, Debug)]
pub struct Lesson {
    pub title: &'static str,
    pub priority: &'static str,
    /// What would prove that it was done.
    pub check: &'static str,
}

/// Lessons by the kind of the cause, most important first.
#[rustfmt::skip]
pub const LESSONS: [(AnomalyType, [Lesson; 3]); 12] = [
    (AnomalyType::DbConnectionExhaustion, [
        Lesson { title: "Find and mend the code path of {service} that keeps database connections", priority: "P1", check: "{metric} of {service} returns to its baseline in a load test that takes this path" },
        Lesson { title: "Warn on {metric} of {service} well before its limit, not at it", priority: "P2", check: "A test alert fires below the limit of {metric} of {service}" },
        Lesson { title: "Turn on leak detection and a limit for idle transactions in {service}", priority: "P3", check: "The settings of {service} in production show both" },
    ]),
    (AnomalyType::DeploymentFailure, [
        Lesson { title: "Release {service} through a canary that rolls back on errors by itself", priority: "P1", check: "A release of {service} that fails on purpose is taken back by the canary" },
        Lesson { title: "Let {service} refuse to start where a setting that it needs is missing", priority: "P2", check: "{service} without that setting does not become ready in a test" },
        Lesson { title: "Let the readiness probe of {service} use the path that failed here", priority: "P3", check: "The probe of {service} fails in a test of this fault" },
    ]),
    (AnomalyType::MemoryLeak, [
        Lesson { title: "Find what grows in {service} and give it a bound", priority: "P1", check: "{metric} of {service} stays level for a day of normal traffic" },
        Lesson { title: "Warn on the slope of {metric} of {service}, not on a level", priority: "P2", check: "A test alert fires on a slow rise of {metric} of {service}" },
        Lesson { title: "Leave room under the memory limit of {service} for a heap dump", priority: "P3", check: "A heap dump of {service} under load succeeds" },
    ]),
    (AnomalyType::CpuSaturation, [
        Lesson { title: "Profile {service} under the load of this incident", priority: "P1", check: "The profile of {service} is attached to this incident" },
        Lesson { title: "Limit the rate per client in front of {service}", priority: "P2", check: "A load test from one client leaves {metric} of {service} in its range" },
        Lesson { title: "Let the autoscaler of {service} react before saturation", priority: "P3", check: "A load test shows new replicas of {service} before saturation" },
    ]),
    (AnomalyType::KafkaConsumerLag, [
        Lesson { title: "Find why {service} fell behind its topic: handler time, poison record or rebalances", priority: "P1", check: "{metric} of {service} returns to its baseline after a replay of this load" },
        Lesson { title: "Warn on the growth of {metric} of {service} and on the age of the oldest record", priority: "P2", check: "A test alert fires on a stopped consumer of {service}" },
        Lesson { title: "Set records aside that {service} fails on repeatedly", priority: "P3", check: "A record that {service} cannot read is set aside in a test" },
    ]),
    (AnomalyType::LatencySpike, [
        Lesson { title: "Find the slow step in the traces of {service} and give its calls a time limit", priority: "P1", check: "A test of {service} shows the time limit at the slow call" },
        Lesson { title: "Let the callers of {service} fail fast while it is slow", priority: "P2", check: "A test with a slow {service} shows that its callers answer in time" },
        Lesson { title: "Add the slow path of {service} to the load test", priority: "P3", check: "The load test of {service} holds the slow path" },
    ]),
    (AnomalyType::ErrorRateSpike, [
        Lesson { title: "Find and mend what {service} answered with errors", priority: "P1", check: "The requests of this incident succeed against {service} in a test" },
        Lesson { title: "Let the callers of {service} retry with a limit and a pause", priority: "P2", check: "A test with a failing {service} counts the retries of its callers" },
        Lesson { title: "Add the failing request of {service} to its tests", priority: "P3", check: "The tests of {service} hold the request" },
    ]),
    (AnomalyType::DependencyOutage, [
        Lesson { title: "Let {service} serve a reduced answer while the dependency is away", priority: "P1", check: "{service} answers in a test while the dependency is away" },
        Lesson { title: "Agree with the dependency's owner how outages are announced", priority: "P2", check: "The agreement is linked from the catalogue entry of {service}" },
        Lesson { title: "Rehearse the outage of the dependency of {service}", priority: "P3", check: "The record of the rehearsal of {service} is attached to this incident" },
    ]),
    (AnomalyType::TrafficDrop, [
        Lesson { title: "Find where requests to {service} got lost before they arrived", priority: "P1", check: "The place is named with records in this incident for {service}" },
        Lesson { title: "Watch {service} from outside with a synthetic request", priority: "P2", check: "The synthetic request alerts while {service} is stopped in a test" },
        Lesson { title: "Compare health checks and routes in front of {service}", priority: "P3", check: "A test shows {service} healthy on every route" },
    ]),
    (AnomalyType::MissingData, [
        Lesson { title: "Find why {service} stopped reporting {metric}", priority: "P1", check: "{metric} of {service} comes without gaps for a day" },
        Lesson { title: "Warn when {service} stops reporting", priority: "P2", check: "A test alert fires while the collector of {service} is stopped" },
        Lesson { title: "Give the collector of {service} a buffer for outages", priority: "P3", check: "Readings of {service} from a rehearsed outage arrive afterwards" },
    ]),
    (AnomalyType::KubernetesFailure, [
        Lesson { title: "Mend what made the pods of {service} fail", priority: "P1", check: "The pods of {service} run for a day without this failure" },
        Lesson { title: "Review requests, limits and probes of {service}", priority: "P2", check: "The reviewed values of {service} are in its manifest" },
        Lesson { title: "Spread the pods of {service} over nodes", priority: "P3", check: "The pods of {service} run on more than one node" },
    ]),
    (AnomalyType::Unknown, [
        Lesson { title: "Establish what happened in {service}; the records are kept with the incident", priority: "P1", check: "The cause is named with records in this incident for {service}" },
        Lesson { title: "Add the measurement whose absence left the cause of {metric} open", priority: "P2", check: "The new series stands beside {metric} of {service}" },
        Lesson { title: "Write a runbook for {metric} of {service}", priority: "P3", check: "The runbook for {metric} of {service} is in the knowledge folder" },
    ]),
];

/// An item as data and as the row that tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub item: ActionItem,
    pub row: Statement,
}

/// What all items of an incident share.
struct Around<'a> {
    facts: &'a Facts,
    records: &'a Records,
    service: Want,
    metric: Option<Want>,
    owner: (&'static str, Want),
}

/// The action items.
#[must_use]
pub fn items(facts: &Facts, records: &Records) -> Vec<Item> {
    let header = &facts.resolved.header;
    let incident = facts.incident_id();
    let cause = facts.candidates.first();
    let (service, name) = match cause {
        Some(cause) => (
            text(&facts.cause_id(0), "/cause/service"),
            cause.service.as_str(),
        ),
        None => (
            text(&incident, "/resolved/affected_services/0"),
            header.primary_service(),
        ),
    };
    let kind = cause
        .and_then(|cause| family(&cause.cause))
        .unwrap_or(header.anomaly_type);
    let entry = format!("catalogue/{name}");
    let team = records
        .value(&entry, "/entry/team")
        .and_then(|team| team.as_str())
        .is_some_and(|team| !team.is_empty());
    let around = Around {
        facts,
        records,
        owner: if team {
            ("team {}", text(&entry, "/entry/team"))
        } else {
            ("team of {}", service.clone())
        },
        service,
        metric: (!facts.resolved.trigger_metric.is_empty())
            .then(|| text(&incident, "/resolved/trigger_metric")),
    };
    let evidence: Vec<&str> = cause
        .iter()
        .flat_map(|cause| &cause.evidence)
        .take(3)
        .map(|one| one.id.as_str())
        .collect();
    let lesson = format!("midwatch/lessons/{kind}");
    let mut items: Vec<Item> = LESSONS
        .into_iter()
        .filter(|(of, _)| *of == kind)
        .flat_map(|(_, lessons)| lessons)
        .filter_map(|one| around.item(&one, &[&evidence[..], &[&lesson]].concat()))
        .collect();
    let failed: Vec<&str> = facts
        .mails
        .iter()
        .filter(|mail| mail.status == "FAILED")
        .map(|mail| mail.message_id.as_str())
        .collect();
    if !failed.is_empty() {
        items.extend(around.item(&MAIL, &failed));
    }
    if let Some(line) = facts.first("STEPS_LEFT_OUT") {
        items.extend(around.item(&LEFT_OUT, &[&line.id]));
    }
    items.sort_by(|a, b| a.item.priority.cmp(&b.item.priority));
    items.truncate(*ITEMS.end());
    items
}

const MAIL: Lesson = Lesson {
    title: "Mend mail delivery: people were not reached in this incident",
    priority: "P1",
    check: "A test message of Midwatch reaches every recipient of this incident",
};
const LEFT_OUT: Lesson = Lesson {
    title: "Record the names that steps for {service} needed and nobody had observed",
    priority: "P3",
    check: "The next plan for {service} leaves no step out",
};

impl Around<'_> {
    fn item(&self, lesson: &Lesson, evidence: &[&str]) -> Option<Item> {
        let incident = self.facts.incident_id();
        let place = DUE_DAYS
            .iter()
            .position(|(name, _)| *name == lesson.priority)?;
        let title = self.filled(lesson.title, evidence)?;
        let owner = say(
            self.records,
            self.owner.0,
            std::slice::from_ref(&self.owner.1),
            &[],
        )?;
        let due = over(
            Rule::DayAfter,
            [
                (incident.clone(), "/resolved/resolved_at_ms".to_owned()),
                (GOALS.to_owned(), format!("/goal/days/{}", lesson.priority)),
            ],
        );
        let due = say(self.records, "{}", &[due], &[])?;
        let priority = at(Rule::Text, GOALS, &format!("/goal/priorities/{place}"));
        let priority = say(self.records, "{}", &[priority], &[])?;
        let check = self.filled(lesson.check, &[])?;
        let item = ActionItem {
            title: title.text(),
            owner: owner.text(),
            due: due.text(),
            priority: priority.text(),
            evidence: evidence
                .iter()
                .filter(|id| !id.starts_with("midwatch/"))
                .map(|id| (*id).to_owned())
                .collect(),
            check: check.text(),
        };
        Some(Item {
            item,
            row: crate::writer::row([title, owner, due, priority, check]),
        })
    }

    /// A sentence with the names in their places; without a metric, with what
    /// stands for it.
    fn filled(&self, words: &str, also: &[&str]) -> Option<Statement> {
        let words = match &self.metric {
            Some(_) => words.to_owned(),
            None => words.replace("{metric}", "the failing signal"),
        };
        let mut wants = Vec::new();
        let mut rest = words.as_str();
        while let Some(start) = rest.find('{') {
            rest = &rest[start..];
            wants.push(if rest.starts_with("{service}") {
                self.service.clone()
            } else {
                self.metric.clone()?
            });
            rest = &rest[1..];
        }
        let words = words.replace("{service}", "{}").replace("{metric}", "{}");
        say(self.records, &words, &wants, also)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_cause_has_lessons_of_its_own_and_each_has_a_check() {
        let mut seen: Vec<&str> = Vec::new();
        for kind in AnomalyType::ALL {
            let lessons = LESSONS.iter().filter(|(of, _)| *of == kind);
            assert_eq!(lessons.clone().count(), 1, "{kind}");
            for lesson in lessons.flat_map(|(_, lessons)| lessons) {
                for words in [lesson.title, lesson.check] {
                    assert!(!seen.contains(&words), "{words}");
                    assert!(
                        words.contains("{service}")
                            || words.contains("{metric}")
                            || words.contains("dependency"),
                        "{words}"
                    );
                    seen.push(words);
                }
                assert!(DUE_DAYS.iter().any(|(name, _)| *name == lesson.priority));
            }
        }
    }
}
