//! What the templates see: every figure formatted, every list cut to what a
//! reader takes in, every foreign text one line without control characters.
//! Escaping is the templates' part.

mod cause;
mod deeds;
mod digest;
mod opened;
mod outcome;
mod plan;
mod progress;

pub use cause::{CauseView, cause};
pub use deeds::Deeds;
pub use digest::{DigestView, EntryView, digest};
pub use opened::{OpenedView, TakeView, opened};
pub use outcome::{MergedView, PostmortemView, ResolvedView, merged, mttr, postmortem, resolved};
pub use plan::{ApproveView, PlanView, counted, eta, plan};
pub use progress::{ProgressView, RowView, progress};

use crate::units::{self, Metric, line};
use midwatch_events::raw::RawDeployment;
use midwatch_events::{IncidentHeader, IncidentOpened, Severity};
use serde::Serialize;

/// Longest foreign text that is quoted; log lines with stack traces go on for
/// pages.
pub(crate) const QUOTE: usize = 300;
/// Longest name of a service, a person, a version.
pub(crate) const NAME: usize = 80;

/// What all five mails share.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Frame {
    pub short_id: String,
    pub severity: &'static str,
    pub severity_colour: &'static str,
    /// `DB connection exhaustion on payment-service`.
    pub title: String,
    pub environment: String,
    pub services: Vec<String>,
    /// The incident's page.
    pub link: String,
    pub detected: String,
    /// Wall-clock time of the detection, where event time is another one.
    pub detected_wall: Option<String>,
    /// Whom the mail could not reach as intended, and why.
    pub notice: Option<String>,
}

/// A reading against its baseline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reading {
    pub service: String,
    /// `DB connections`.
    pub metric: String,
    /// As it is called where it comes from.
    pub metric_name: String,
    /// `100 connections`; absent for log rules and Kubernetes events.
    pub observed: Option<String>,
    pub baseline: Option<String>,
    /// `+23.3 σ`.
    pub sigma: Option<String>,
    /// Lengths of the two bars, percent.
    pub observed_width: u32,
    pub baseline_width: u32,
}

/// A deployment near the onset.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Deployment {
    pub service: String,
    pub version: String,
    pub previous_version: Option<String>,
    pub change_type: String,
    pub author: Option<String>,
    pub git_sha: Option<String>,
    pub description: Option<String>,
    pub risks: Vec<String>,
    /// `9 min before the first reading out of range`.
    pub when: String,
}

/// What a frame is made from besides the header.
#[derive(Clone, Debug)]
pub struct Surroundings<'a> {
    pub dashboard_url: &'a str,
    /// The incident's severity now, which may be above the header's.
    pub severity: Severity,
    pub notice: Option<&'a str>,
}

/// The part that all mails share.
#[must_use]
pub fn frame(header: &IncidentHeader, around: &Surroundings<'_>) -> Frame {
    let (event, wall) = (header.detected_at_ms, header.detected_wall_ms);
    Frame {
        short_id: line(&header.short_id, NAME),
        severity: around.severity.as_str(),
        severity_colour: colour(around.severity),
        title: line(&header.title(), 2 * NAME),
        environment: line(&header.environment, NAME),
        services: names(&header.affected_services, 8),
        link: format!("{}/incidents/{}", around.dashboard_url, header.incident_id),
        detected: units::moment(event),
        detected_wall: apart(event, wall).then(|| units::moment(wall)),
        notice: around.notice.map(str::to_owned),
    }
}

fn colour(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "#c92a2a",
        Severity::High => "#d9480f",
        Severity::Medium => "#b8690a",
        Severity::Low => "#1864ab",
    }
}

/// Whether event time is another time than the wall clock's; the delay between
/// a reading and its record stays below a quarter of a minute.
pub(crate) fn apart(event_ms: i64, wall_ms: i64) -> bool {
    (event_ms - wall_ms).abs() > 15_000
}

/// `runbook#section` references, the sections of a runbook together:
/// `error-rate-spike (Symptoms, Diagnosis)`.
pub(crate) fn runbooks(references: &[String]) -> Vec<String> {
    let mut books: Vec<(String, Vec<String>)> = Vec::new();
    for reference in references.iter().take(12) {
        let (book, section) = reference.split_once('#').unwrap_or((reference, ""));
        let book = line(book, NAME);
        let sections = match books.iter_mut().find(|(known, _)| *known == book) {
            Some((_, sections)) => sections,
            None => {
                books.push((book, Vec::new()));
                &mut books.last_mut().expect("just pushed").1
            }
        };
        sections.extend(said(section, NAME));
    }
    let shown = books.into_iter().map(|(book, sections)| {
        if sections.is_empty() {
            book
        } else {
            format!("{book} ({})", sections.join(", "))
        }
    });
    shown.collect()
}

/// Up to `limit` names, then how many more there are.
pub(crate) fn names(list: &[String], limit: usize) -> Vec<String> {
    let mut names: Vec<String> = list
        .iter()
        .take(limit)
        .map(|name| line(name, NAME))
        .collect();
    if list.len() > limit {
        names.push(format!("{} more", list.len() - limit));
    }
    names
}

/// `text` where it says something.
pub(crate) fn said(text: &str, limit: usize) -> Option<String> {
    let text = line(text, limit);
    (!text.is_empty()).then_some(text)
}

/// A share as whole percent.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0..=100 before"
)]
pub(crate) fn percent(share: f64) -> u32 {
    if share.is_finite() {
        (share.clamp(0.0, 1.0) * 100.0).round() as u32
    } else {
        0
    }
}

/// A reading with its baseline, and bars that compare the two.
#[must_use]
pub fn reading(
    service: &str,
    name: &str,
    observed: f64,
    baseline: f64,
    sigma: Option<f64>,
) -> Reading {
    let metric = Metric::named(name);
    let has = metric.has_readings();
    let longest = observed.abs().max(baseline.abs());
    let width = |value: f64| {
        if longest > 0.0 {
            // A bar of no length would look like a missing one.
            percent(value.abs() / longest).max(2)
        } else {
            2
        }
    };
    Reading {
        service: line(service, NAME),
        metric: line(&metric.title, NAME),
        metric_name: line(name, NAME),
        observed: has.then(|| metric.reading(observed)),
        baseline: has.then(|| metric.reading(baseline)),
        sigma: sigma
            .filter(|sigma| has && sigma.is_finite() && *sigma != 0.0)
            .map(|sigma| {
                let sign = if sigma > 0.0 { "+" } else { "−" };
                format!("{sign}{} σ", units::number(sigma.abs()))
            }),
        observed_width: width(observed),
        baseline_width: width(baseline),
    }
}

/// The reading that the incident was opened on.
pub(crate) fn trigger(opened: &IncidentOpened) -> Reading {
    reading(
        opened.header.primary_service(),
        &opened.trigger_metric,
        opened.observed_value,
        opened.baseline_value,
        Some(opened.deviation_sigma),
    )
}

/// Event time of the first reading out of range.
#[must_use]
pub fn onset_ms(opened: &IncidentOpened) -> i64 {
    opened
        .grouped_anomalies
        .iter()
        .map(|anomaly| anomaly.onset_ms)
        .min()
        .unwrap_or(opened.header.detected_at_ms)
}

/// A deployment, and how long before (or after) the onset it was.
pub(crate) fn deployment(deployment: &RawDeployment, onset_ms: i64) -> Deployment {
    let before = onset_ms - deployment.timestamp_ms;
    let span = units::duration(before.abs());
    let when = if before >= 0 {
        format!("{span} before the first reading out of range")
    } else {
        format!("{span} after the first reading out of range")
    };
    Deployment {
        service: line(&deployment.service, NAME),
        version: line(&deployment.version, NAME),
        previous_version: deployment
            .previous_version
            .as_deref()
            .and_then(|version| said(version, NAME)),
        change_type: said(&deployment.change_type, NAME)
            .unwrap_or_else(|| "deployment".to_owned())
            .replace('_', " "),
        author: said(&deployment.deployed_by, NAME),
        git_sha: said(&deployment.git_sha, 12),
        description: said(&deployment.description, QUOTE),
        risks: deployment
            .known_risks
            .iter()
            .take(3)
            .filter_map(|risk| said(risk, QUOTE))
            .collect(),
        when,
    }
}
