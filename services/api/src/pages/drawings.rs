//! The metrics of an incident as charts.

use super::chart::{self, Chart};
use super::score::{self, Reasons};
use crate::App;
use crate::error::ApiError;
use crate::known::Known;
use crate::series;
use midwatch_clients::postgres::read::{self, IncidentRow};
use serde::Serialize;
use std::collections::BTreeSet;
use uuid::Uuid;

/// Metrics drawn: the triggering one and some that went with it.
const CHARTS: usize = 5;

/// A metric in both sizes.
#[derive(Serialize)]
pub struct Drawing {
    service: String,
    metric: String,
    source: &'static str,
    trigger: bool,
    /// Whether it was asked for, with the reading that somebody cites.
    asked: bool,
    wide: Chart,
    narrow: Chart,
    reasons: Reasons,
}

/// A reading that somebody cites.
struct Reading {
    service: String,
    metric: String,
    at_ms: i64,
}

/// The charts of an incident. `asked` is the id of a record or anomaly whose
/// moment is to be marked; one that is not there, or no reading, is passed
/// over.
///
/// # Errors
/// The database is away.
pub async fn collect(
    app: &App,
    row: &IncidentRow,
    known: &Known,
    asked: Option<&str>,
) -> Result<Vec<Drawing>, ApiError> {
    let asked = match asked {
        Some(id) => reading(app, row.id, known, id).await?,
        None => None,
    };
    let trigger = known
        .trigger
        .iter()
        .map(|trigger| (&trigger.service, &trigger.metric));
    let others = known
        .anomalies
        .iter()
        .map(|anomaly| (&anomaly.service, &anomaly.trigger_metric));
    let cited = asked
        .iter()
        .map(|reading| (&reading.service, &reading.metric));
    let triggers = known.trigger.iter().count();
    let mut seen = BTreeSet::new();
    let mut drawings = Vec::new();
    // What was asked for comes right behind the trigger, and is never cut off.
    for (index, (service, metric)) in trigger.chain(cited).chain(others).enumerate() {
        if drawings.len() == CHARTS || !seen.insert((service, metric)) {
            continue;
        }
        let mut series = series::load(app, row, known, service, metric).await?;
        series.cursor_ms = asked
            .as_ref()
            .filter(|reading| (&reading.service, &reading.metric) == (service, metric))
            .map(|reading| reading.at_ms);
        let draw = |size| chart::draw(&series, row.resolved_at_ms, size);
        if let (Some(wide), Some(narrow)) = (draw(chart::WIDE), draw(chart::NARROW)) {
            drawings.push(Drawing {
                service: service.clone(),
                metric: metric.clone(),
                source: series.source,
                trigger: index < triggers.max(1),
                asked: series.cursor_ms.is_some(),
                wide,
                narrow,
                reasons: score::reasons(&series.points),
            });
        }
    }
    Ok(drawings)
}

async fn reading(
    app: &App,
    incident: Uuid,
    known: &Known,
    id: &str,
) -> Result<Option<Reading>, ApiError> {
    let anomaly = known
        .anomalies
        .iter()
        .find(|anomaly| anomaly.anomaly_id.to_string() == id);
    if let Some(anomaly) = anomaly {
        return Ok(Some(Reading {
            service: anomaly.service.clone(),
            metric: anomaly.trigger_metric.clone(),
            at_ms: anomaly.observed_at_ms.unwrap_or(anomaly.detected_at_ms),
        }));
    }
    let found = read::records_by_id(&app.pool, incident, &[id.to_owned()]).await?;
    let metric = found.into_iter().find(|record| record.kind == "metric");
    Ok(metric.map(|record| Reading {
        service: record.service,
        metric: record.name,
        at_ms: record.at_ms,
    }))
}

/// Why there is no chart.
#[must_use]
pub fn no_chart(known: &Known) -> String {
    match &known.trigger {
        None => "This incident names no triggering metric.".to_owned(),
        Some(trigger)
            if trigger.metric.starts_with("log:") || trigger.metric.starts_with("kubernetes:") =>
        {
            format!(
                "It was triggered by {}, which has no readings to draw.",
                trigger.metric
            )
        }
        Some(trigger) => format!(
            "Fewer than two readings of {} of {} were kept.",
            trigger.metric, trigger.service
        ),
    }
}
