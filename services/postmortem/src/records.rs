//! The records that statements may cite, by their ids: everything that
//! [`Facts`] holds, each under the name of what it is (`/anomaly/onset_ms` of
//! the record with an anomaly's id).

use crate::config::{DETECTION_GOAL_MS, DUE_DAYS};
use crate::facts::{Facts, Planned};
use crate::items::LESSONS;
use midwatch_events::knowledge::Catalogue;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The goals and dates that Midwatch judges by.
pub const GOALS: &str = "midwatch/goals";
/// Minutes of the window that an error budget belongs to: 30 days.
const WINDOW_MINUTES: f64 = 30.0 * 24.0 * 60.0;

/// Records by id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Records(BTreeMap<String, Map<String, Value>>);

impl Records {
    /// All that the facts hold, and what the catalogue says of their services.
    #[must_use]
    pub fn collect(facts: &Facts, catalogue: &Catalogue, version: u32) -> Records {
        let mut records = Records::default();
        records.incident(facts, version);
        records.telemetry(facts);
        records.cause(facts);
        records.remediation(facts);
        records.own(facts, catalogue);
        records
    }

    /// Whether there is a record of this id.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    /// The value at a place.
    #[must_use]
    pub fn value(&self, id: &str, path: &str) -> Option<&Value> {
        let mut names = path.strip_prefix('/')?.splitn(2, '/');
        let value = self.0.get(id)?.get(names.next()?)?;
        let value = match names.next() {
            Some(rest) => value.pointer(&format!("/{rest}"))?,
            None => value,
        };
        (!value.is_null()).then_some(value)
    }

    /// The document of this name in a record, as what it is.
    pub fn part<'a>(&'a self, id: &str, name: &str) -> Option<&'a Value> {
        self.0.get(id)?.get(name)
    }

    /// All documents of a record.
    pub fn parts<'a>(&'a self, id: &str) -> impl Iterator<Item = &'a Value> {
        self.0.get(id).into_iter().flat_map(Map::values)
    }

    fn put(&mut self, id: impl Into<String>, name: &str, value: impl Serialize) {
        let id = id.into();
        if id.is_empty() {
            return;
        }
        let value = serde_json::to_value(value).expect("records are plain data with string keys");
        self.0
            .entry(id)
            .or_default()
            .entry(name.to_owned())
            .or_insert(value);
    }

    fn incident(&mut self, facts: &Facts, version: u32) {
        let id = facts.resolved.header.incident_id.to_string();
        let title = facts.resolved.header.title();
        self.put(&id, "resolved", &facts.resolved);
        self.put(&id, "named", json!({"title": title}));
        self.put(&id, "blast", &facts.blast);
        if let Some(trigger) = &facts.trigger {
            self.put(&id, "trigger", trigger);
        }
        if let Some(declared) = &facts.declared {
            self.put(&id, "declared", declared);
        }
        for line in &facts.trail {
            self.put(&line.id, "line", line);
        }
        for mail in &facts.mails {
            self.put(&mail.message_id, "mail", mail);
        }
        self.put(
            facts.holdings_id(),
            "held",
            json!({
                "version": version,
                "trail": facts.trail.len(),
                "records": facts.records,
                "mails": facts.mails.len(),
                "candidates": facts.candidates.len(),
                "actions": facts.actions.len(),
                "plan": facts.plan.is_some(),
                "gap": facts.gap,
                "later_lines": facts.later_lines(),
            }),
        );
    }

    fn telemetry(&mut self, facts: &Facts) {
        for anomaly in &facts.anomalies {
            self.put(anomaly.anomaly_id.to_string(), "anomaly", anomaly);
        }
        for peak in &facts.peaks {
            self.put(&peak.record_id, "peak", peak);
        }
        for log in &facts.logs {
            self.put(&log.record_id, "log", log);
        }
        if let Some(change) = &facts.deployment {
            self.put(&change.record_id, "deployment", &change.deployment);
        }
        for service in &facts.traffic {
            for reading in service.rates.iter().chain(&service.shares) {
                self.put(&reading.record_id, "reading", reading);
            }
        }
        for (index, reading) in facts.resolved.settling_readings.iter().enumerate() {
            self.put(
                facts.resolved.header.incident_id.to_string(),
                &format!("settled {index}"),
                reading,
            );
        }
    }

    fn cause(&mut self, facts: &Facts) {
        for (index, signal) in facts.signals.iter().enumerate() {
            self.put(facts.signal_id(index), "signal", signal);
        }
        for (index, candidate) in facts.candidates.iter().enumerate() {
            self.put(facts.cause_id(index), "cause", candidate);
            for evidence in candidate.evidence.iter().chain(&candidate.refuting) {
                self.put(&evidence.id, "evidence", evidence);
            }
            for past in &candidate.similar_incidents {
                self.put(&past.incident_id, "similar", past);
            }
        }
        if let Some(inquiry) = &facts.inquiry {
            self.put(&inquiry.line_id, "inquiry", inquiry);
        }
    }

    fn remediation(&mut self, facts: &Facts) {
        for plan in facts.earlier.iter().chain(&facts.plan) {
            self.put(plan.plan_id.to_string(), "plan", plan);
            for step in &plan.action_steps {
                self.put(facts.step_id(Planned { plan, step }), "step", step);
            }
        }
        for deed in &facts.actions {
            self.put(facts.deed_id(deed), "action", &deed.action);
        }
        for cost in &facts.ledger {
            self.put(facts.cost_id(&cost.stage), "cost", cost);
        }
    }

    fn own(&mut self, facts: &Facts, catalogue: &Catalogue) {
        let days: BTreeMap<&str, i64> = DUE_DAYS.into_iter().collect();
        let priorities: Vec<&str> = DUE_DAYS.iter().map(|(name, _)| *name).collect();
        self.put(
            GOALS,
            "goal",
            json!({"detection_ms": DETECTION_GOAL_MS, "days": days, "priorities": priorities}),
        );
        for (kind, lessons) in LESSONS {
            let titles: Vec<&str> = lessons.iter().map(|lesson| lesson.title).collect();
            let checks: Vec<&str> = lessons.iter().map(|lesson| lesson.check).collect();
            self.put(format!("midwatch/lessons/{kind}"), "lessons", titles);
            self.put(format!("midwatch/lessons/{kind}"), "checks", checks);
        }
        let mut services: Vec<&str> = facts.services();
        services.dedup();
        for service in services {
            if let Some(entry) = catalogue.get(service) {
                let budget = entry
                    .slo
                    .map(|slo| (100.0 - slo.availability_percent) / 100.0 * WINDOW_MINUTES);
                self.put(
                    format!("catalogue/{service}"),
                    "entry",
                    json!({"name": entry.name, "team": entry.team,
                        "objective_percent": entry.slo.map(|slo| slo.availability_percent),
                        "budget_minutes": budget}),
                );
            }
        }
    }
}
