//! The judgement of the simulator's cases.
//!
//! **Sign.** An anomaly of the case's service on a metric that shows the case,
//! started, worsened or missing between the case's first moment and
//! [`GRACE_MS`] after its last, on the side to which the case goes. Silence is a
//! sign of a case that is silence, and of no other. A leak must be found before
//! its end, without any grace; once it hurts, log lines of its service are
//! signs, too.
//!
//! **Page.** The announcement of an incident that holds a sign: when it was
//! opened, or when the sign joined it. An incident that was open before the
//! case began tells nobody anything new (*absorbed*), and one that was merged
//! into another is no page.
//!
//! **As it should be.** A case that needs an incident has a page; one that
//! needs a finding has a sign; a healthy one has no page.
//!
//! **The rest.** What a healthy case calls forth before it is judged, while
//! nobody can know that it is healthy, is *learning*. All other incidents of
//! the run are *others*: false ones, as no fault is in the run.

use crate::judge::GRACE_MS;
use crate::virtual_run::odd::CaseStory;
use crate::virtual_run::replay::Published;
use midwatch_events::incident::{GroupedAnomaly, IncidentHeader};
use midwatch_events::{Anomaly, AnomalyType, Event, Transition};
use midwatch_simulator::cases::{Expected, Kind, Truth};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What was found first. Times are simulated milliseconds since the case's
/// first moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sign {
    pub metric: String,
    pub anomaly_type: String,
    pub severity: String,
    pub after_ms: i64,
}

/// The announcement that came first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page {
    pub incident: String,
    /// The service that the incident is named after.
    pub service: String,
    pub anomaly_type: String,
    pub severity: String,
    pub after_ms: i64,
}

/// One case and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseRow {
    pub seed: u64,
    pub case: &'static str,
    pub service: &'static str,
    /// `incident`, `finding` or `nothing`.
    pub expected: &'static str,
    pub is_as_it_should_be: bool,
    pub sign: Option<Sign>,
    pub page: Option<Page>,
    /// Whether its signs went into an incident that was open before.
    pub absorbed: bool,
    /// What it should be called, where one name is right.
    pub right_type: Option<String>,
    /// When it begins to hurt, where that is later than its beginning.
    pub hurts_after_ms: Option<i64>,
    /// Incidents of a healthy case before it is judged.
    pub learning: u32,
    /// All other incidents that hold no sign.
    pub others: u32,
    /// Live simulated time of the run, milliseconds.
    pub simulated_ms: i64,
}

/// The word for what is expected.
#[must_use]
pub fn expected_word(expected: Expected) -> &'static str {
    match expected {
        Expected::Incident => "incident",
        Expected::Finding => "finding",
        Expected::Nothing => "nothing",
    }
}

/// One incident with everything that was ever in it.
#[derive(Default)]
struct Seen {
    name: String,
    /// By the clock of the wall, which is simulated time in these runs.
    opened_ms: i64,
    service: String,
    anomaly_type: String,
    severity: String,
    /// Anomalies, by id.
    held: BTreeSet<Uuid>,
    merged: bool,
}

impl Seen {
    fn take(&mut self, header: &IncidentHeader, held: &[GroupedAnomaly]) {
        self.name.clone_from(&header.short_id);
        header.primary_service().clone_into(&mut self.service);
        header
            .anomaly_type
            .as_str()
            .clone_into(&mut self.anomaly_type);
        header.severity.as_str().clone_into(&mut self.severity);
        self.held.extend(held.iter().map(|one| one.anomaly_id));
    }
}

/// Judges one case.
#[must_use]
pub fn judge_case(seed: u64, story: &CaseStory) -> CaseRow {
    let truth = &story.truth;
    let signs: Vec<&Anomaly> = story
        .published
        .iter()
        .filter_map(|one| match &one.event {
            Event::Anomaly(anomaly) if is_sign(truth, anomaly) => Some(anomaly),
            _ => None,
        })
        .collect();
    let early: BTreeSet<Uuid> = story
        .published
        .iter()
        .filter_map(|one| match &one.event {
            Event::Anomaly(anomaly) if is_learning(truth, anomaly) => Some(anomaly.anomaly_id),
            _ => None,
        })
        .collect();
    let incidents = incidents(&story.published);
    let mut page: Option<(i64, &Seen)> = None;
    let mut absorbed = false;
    let (mut learning, mut others) = (0, 0);
    for seen in incidents.values().filter(|seen| !seen.merged) {
        let joined = signs
            .iter()
            .find(|sign| seen.held.contains(&sign.anomaly_id));
        match joined {
            None if !seen.held.is_disjoint(&early) => learning += 1,
            None => others += 1,
            Some(_) if seen.opened_ms < truth.from_ms => absorbed = true,
            Some(sign) => {
                let at_ms = seen.opened_ms.max(sign.detected_at_ms);
                if page.is_none_or(|(first_ms, _)| at_ms < first_ms) {
                    page = Some((at_ms, seen));
                }
            }
        }
    }
    CaseRow {
        seed,
        case: truth.kind.name(),
        service: truth.service.name(),
        expected: expected_word(truth.expected),
        is_as_it_should_be: match truth.expected {
            Expected::Incident => page.is_some(),
            Expected::Finding => !signs.is_empty(),
            Expected::Nothing => page.is_none(),
        },
        sign: signs.first().map(|sign| Sign {
            metric: sign.trigger_metric.clone(),
            anomaly_type: sign.anomaly_type.as_str().to_owned(),
            severity: sign.severity.as_str().to_owned(),
            after_ms: sign.detected_at_ms - truth.from_ms,
        }),
        page: page.map(|(at_ms, seen)| Page {
            incident: seen.name.clone(),
            service: seen.service.clone(),
            anomaly_type: seen.anomaly_type.clone(),
            severity: seen.severity.clone(),
            after_ms: at_ms - truth.from_ms,
        }),
        absorbed,
        right_type: truth.anomaly_type.map(|kind| kind.as_str().to_owned()),
        hurts_after_ms: truth.hurts_ms.map(|at_ms| at_ms - truth.from_ms),
        learning,
        others,
        simulated_ms: story.simulated_ms,
    }
}

/// Whether a reading of the case's service and metrics is meant.
fn shows(truth: &Truth, anomaly: &Anomaly) -> bool {
    let mut metrics = truth.metrics.iter();
    anomaly.service == truth.service.name()
        && metrics.any(|metric| metric.name() == anomaly.trigger_metric)
}

fn is_learning(truth: &Truth, anomaly: &Anomaly) -> bool {
    truth.expected == Expected::Nothing
        && anomaly.detected_at_ms < truth.from_ms
        && shows(truth, anomaly)
}

fn is_sign(truth: &Truth, anomaly: &Anomaly) -> bool {
    let trigger = anomaly.trigger_metric.as_str();
    let is_silence = anomaly.transition == Transition::Missing
        || anomaly.anomaly_type == AnomalyType::MissingData;
    let fits = match truth.kind {
        Kind::VanishedSeries => is_silence,
        _ => !is_silence && truth.direction.is_none_or(|side| side == anomaly.direction),
    };
    let tells = trigger.starts_with("log:")
        && truth
            .told_ms
            .is_some_and(|told_ms| anomaly.detected_at_ms >= told_ms);
    let grace_ms = if truth.told_ms.is_some() { 0 } else { GRACE_MS };
    let window = truth.from_ms..=truth.until_ms + grace_ms;
    anomaly.service == truth.service.name()
        && anomaly.transition != Transition::Cleared
        && window.contains(&anomaly.detected_at_ms)
        && ((shows(truth, anomaly) && fits) || tells)
}

fn incidents(published: &[Published]) -> BTreeMap<Uuid, Seen> {
    let mut incidents: BTreeMap<Uuid, Seen> = BTreeMap::new();
    for one in published {
        match &one.event {
            Event::Opened(opened) => {
                let seen = incidents.entry(opened.header.incident_id).or_default();
                seen.opened_ms = one.wall_ms;
                seen.take(&opened.header, &opened.grouped_anomalies);
            }
            Event::Updated(updated) => {
                if let Some(seen) = incidents.get_mut(&updated.header.incident_id) {
                    seen.take(&updated.header, &updated.grouped_anomalies);
                }
            }
            Event::Resolved(resolved) if resolved.resolution_method == "MERGED" => {
                if let Some(seen) = incidents.get_mut(&resolved.header.incident_id) {
                    seen.merged = true;
                }
            }
            _ => {}
        }
    }
    incidents
}

/// What became of one kind of case on all seeds. Times are simulated
/// milliseconds from a case's first moment, over the seeds where it was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct OfKind {
    pub case: &'static str,
    pub expected: &'static str,
    pub cases: u32,
    pub as_they_should_be: u32,
    /// To the first sign: half took no longer.
    pub seen_median_ms: Option<i64>,
    pub seen_worst_ms: Option<i64>,
    /// To the announcement.
    pub paged_median_ms: Option<i64>,
    pub paged_worst_ms: Option<i64>,
    /// What they were called, by how many; that of the page, else of the sign.
    pub named: BTreeMap<String, u32>,
}

/// Sums over cases.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CaseSummary {
    pub kinds: Vec<OfKind>,
    pub cases: u32,
    pub as_they_should_be: u32,
    /// Incidents of healthy cases before they are judged.
    pub learning: u32,
    /// All other incidents that hold no sign of their run's case.
    pub others: u32,
    /// Simulated hours of all runs.
    pub hours: f64,
}

/// Sums up.
#[must_use]
pub fn case_summary(rows: &[CaseRow]) -> CaseSummary {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let kinds = Kind::ALL.iter().filter_map(|kind| {
        let own: Vec<&CaseRow> = rows.iter().filter(|row| row.case == kind.name()).collect();
        if own.is_empty() {
            return None;
        }
        let times = |of: fn(&CaseRow) -> Option<i64>| {
            let mut times: Vec<i64> = own.iter().filter_map(|row| of(row)).collect();
            times.sort_unstable();
            times
        };
        let seen = times(|row| row.sign.as_ref().map(|sign| sign.after_ms));
        let paged = times(|row| row.page.as_ref().map(|page| page.after_ms));
        let mut named: BTreeMap<String, u32> = BTreeMap::new();
        for name in own.iter().filter_map(|row| row.named()) {
            *named.entry(name.to_owned()).or_default() += 1;
        }
        Some(OfKind {
            case: kind.name(),
            expected: expected_word(kind.expected()),
            cases: count(own.len()),
            as_they_should_be: count(own.iter().filter(|row| row.is_as_it_should_be).count()),
            seen_median_ms: crate::summary::percentile(&seen, 50),
            seen_worst_ms: seen.last().copied(),
            paged_median_ms: crate::summary::percentile(&paged, 50),
            paged_worst_ms: paged.last().copied(),
            named,
        })
    });
    let hours = rows
        .iter()
        .map(|row| crate::summary::hours(row.simulated_ms));
    CaseSummary {
        kinds: kinds.collect(),
        cases: count(rows.len()),
        as_they_should_be: count(rows.iter().filter(|row| row.is_as_it_should_be).count()),
        learning: rows.iter().map(|row| row.learning).sum(),
        others: rows.iter().map(|row| row.others).sum(),
        hours: hours.sum(),
    }
}

impl CaseRow {
    /// What it was called.
    #[must_use]
    pub fn named(&self) -> Option<&str> {
        let page = self.page.as_ref().map(|page| page.anomaly_type.as_str());
        page.or_else(|| self.sign.as_ref().map(|sign| sign.anomaly_type.as_str()))
    }

    /// What went wrong, in sentences.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let case = format!("{} of seed {} on {}", self.case, self.seed, self.service);
        let mut list = Vec::new();
        if !self.is_as_it_should_be {
            list.push(match (&self.page, &self.sign) {
                (Some(page), sign) => {
                    let metric = sign.as_ref().map_or("", |sign| sign.metric.as_str());
                    format!(
                        "{case}: {} {} by {metric}, though nothing is wrong",
                        page.incident, page.anomaly_type
                    )
                }
                (None, _) if self.absorbed => {
                    format!("{case}: taken into an incident that was open before")
                }
                (None, Some(sign)) => format!("{case}: {} was seen, nobody told", sign.metric),
                (None, None) => format!("{case}: not found"),
            });
        }
        let found = self.page.as_ref().map(|page| page.after_ms);
        if let (Some(hurts_ms), Some(found_ms)) = (self.hurts_after_ms, found)
            && found_ms > hurts_ms
        {
            list.push(format!("{case}: told only after it began to hurt"));
        }
        if let (Some(right), Some(named)) = (&self.right_type, self.named())
            && right != named
        {
            list.push(format!("{case}: called {named} instead of {right}"));
        }
        if let Some(page) = &self.page
            && page.service != self.service
        {
            list.push(format!("{case}: named after {}", page.service));
        }
        list
    }
}
