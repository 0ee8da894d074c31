//! ✅ How it ended, and 📋 what there is to learn.

use super::deeds::{Deeds, HELPED};
use super::{Frame, NAME, QUOTE, Reading, Surroundings, frame, trigger};
use crate::markdown;
use crate::units::{self, Metric, line};
use midwatch_events::{IncidentOpened, IncidentResolved, PostmortemGenerated};
use serde::Serialize;

/// The fourth mail.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ResolvedView {
    pub frame: Frame,
    pub preheader: String,
    /// `18 min`.
    pub mttr: String,
    /// `6 min simulated, 1 min wall`, or the same as `mttr`.
    pub mttr_both: String,
    pub resolved: String,
    pub resolved_wall: Option<String>,
    /// How it ended, in a sentence.
    pub method: String,
    /// The trigger that it began with, where that is known.
    pub trigger: Option<Reading>,
    pub baseline: Option<String>,
    pub settling: Vec<SettlingView>,
    pub root_cause: Option<String>,
    /// Whether the cause is only the strongest lead, not an established one.
    pub is_lead: bool,
}

/// A normal reading that settled the end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SettlingView {
    pub at: String,
    pub service: String,
    pub value: String,
}

/// What is said of an incident that goes on inside another one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MergedView {
    pub frame: Frame,
    pub preheader: String,
    /// `6 min`.
    pub after: String,
    /// Into which one, and why.
    pub words: String,
}

/// The fifth mail.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PostmortemView {
    pub frame: Frame,
    pub preheader: String,
    pub summary: String,
    pub mttr: String,
    /// `5 action items`.
    pub count: String,
    pub items: Vec<ItemView>,
    /// The whole text as HTML that is safe to embed.
    pub body: String,
    /// The whole text as Markdown, for the plain-text part.
    pub markdown: String,
    pub shortened: bool,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ItemView {
    pub title: String,
    pub owner: String,
    pub due: String,
    pub priority: String,
}

/// Longest postmortem that a mail carries; mail clients cut off at about
/// 100 KB of HTML, and the page has it whole.
const BODY: usize = 30_000;

/// How the published cause begins where the evidence carries no verdict.
const INCONCLUSIVE: &str = "inconclusive";
/// How it goes on where there is a lead.
const LEAD: &str = "inconclusive; most likely";

/// The published verdict begins in lower case, a service's name must stay as
/// it is.
fn sentence_case(text: String) -> String {
    match text.strip_prefix(INCONCLUSIVE) {
        Some(rest) => format!("Inconclusive{rest}"),
        None => text,
    }
}

/// How long the incident lasted, for the subject.
#[must_use]
pub fn mttr(resolved: &IncidentResolved) -> String {
    units::duration(resolved.mttr_ms)
}

/// The view of the fourth mail.
#[must_use]
pub fn resolved(
    resolved: &IncidentResolved,
    opened: Option<&IncidentOpened>,
    deeds: &Deeds,
    around: &Surroundings<'_>,
) -> ResolvedView {
    let header = &resolved.header;
    let metric = Metric::named(&resolved.trigger_metric);
    let wall = resolved.resolved_wall_ms - header.detected_wall_ms;
    let mttr_both = units::both_durations(resolved.mttr_ms, wall);
    let apart = super::apart(resolved.resolved_at_ms, resolved.resolved_wall_ms);
    let method = match resolved.resolution_method.as_str() {
        "REMEDIATED" => HELPED.to_owned(),
        "RECOVERED" => deeds.words(),
        "MERGED" => "It was merged into another incident and goes on there.".to_owned(),
        "CLOSED_BY_OPERATOR" => "A person closed it.".to_owned(),
        _ => "How it ended was not recorded.".to_owned(),
    };
    ResolvedView {
        frame: frame(header, around),
        preheader: format!("Over after {mttr_both}"),
        mttr: mttr(resolved),
        mttr_both,
        resolved: units::moment(resolved.resolved_at_ms),
        resolved_wall: apart.then(|| units::moment(resolved.resolved_wall_ms)),
        method,
        trigger: opened.map(trigger),
        baseline: metric
            .has_readings()
            .then(|| metric.reading(resolved.baseline_value)),
        settling: resolved
            .settling_readings
            .iter()
            .take(6)
            .map(|reading| SettlingView {
                at: units::time_of_day(reading.at_ms),
                service: line(&reading.service, NAME),
                value: Metric::named(&reading.metric_name).reading(reading.value),
            })
            .collect(),
        root_cause: super::said(&resolved.top_root_cause, 2 * QUOTE).map(sentence_case),
        is_lead: resolved.top_root_cause.starts_with(LEAD),
    }
}

/// The view of the one line about an incident that was merged.
#[must_use]
pub fn merged(resolved: &IncidentResolved, around: &Surroundings<'_>) -> MergedView {
    let words =
        super::said(&resolved.top_root_cause, 2 * QUOTE).map(|text| units::capitalised(&text));
    let words = words.unwrap_or_else(|| "Merged into another incident.".to_owned());
    MergedView {
        frame: frame(&resolved.header, around),
        preheader: words.clone(),
        after: mttr(resolved),
        words,
    }
}

/// The view of the fifth mail.
#[must_use]
pub fn postmortem(event: &PostmortemGenerated, around: &Surroundings<'_>) -> PostmortemView {
    let (markdown, shortened) = markdown::shorten(&event.postmortem, BODY);
    let summary = line(&event.summary, 3 * QUOTE);
    PostmortemView {
        frame: frame(&event.header, around),
        preheader: summary.clone(),
        summary,
        #[expect(
            clippy::cast_possible_truncation,
            reason = "minutes of an incident fit"
        )]
        mttr: units::duration((event.mttr_minutes * 60_000.0).round() as i64),
        count: super::plan::counted(event.action_items.len(), "action item", "action items"),
        items: event
            .action_items
            .iter()
            .take(10)
            .map(|item| ItemView {
                title: line(&item.title, QUOTE),
                owner: line(&item.owner, NAME),
                due: line(&item.due, NAME),
                priority: line(&item.priority, NAME),
            })
            .collect(),
        body: markdown::to_html(&markdown),
        markdown,
        shortened,
    }
}
