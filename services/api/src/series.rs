//! The readings of a metric around an incident: those that detection keeps in
//! Redis, and those that were copied into `incident_records`.

use crate::App;
use crate::error::ApiError;
use crate::known::Known;
use crate::params::{Params, find_incident};
use axum::Json;
use axum::extract::{Path, State};
use fred::clients::Client;
use fred::interfaces::SortedSetsInterface;
use midwatch_clients::postgres::read::{self, IncidentRow, Record, RecordFilter};
use midwatch_clients::redis;
use midwatch_runtime::Shutdown;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

/// How much is shown before the onset and after the end.
const BEFORE_MS: i64 = 20 * 60_000;
const AFTER_MS: i64 = 10 * 60_000;
/// Points of one series; detection keeps no more.
const POINTS: i64 = 720;
/// How long Redis may take before the page goes on without it.
const REDIS_LIMIT: Duration = Duration::from_secs(1);
/// Characters of a reason that are shown: detection's own are a line long.
const REASON: usize = 400;

/// One reading.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Point {
    /// Event time.
    pub at_ms: i64,
    pub value: f64,
    /// What detection expected; absent while it was learning.
    pub expected: Option<f64>,
    /// The normal range.
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// 0..1, of the same meaning on every series; 0.5 is what detection decides
    /// by.
    pub score: Option<f64>,
    /// In words, what is unusual about it; empty where nothing is, or where
    /// none was kept.
    pub reason: String,
}

/// The readings of one metric around an incident.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Series {
    pub service: String,
    pub metric: String,
    /// `redis`, `records`, `redis+records` or `none`.
    pub source: &'static str,
    /// Event times of the anomaly.
    pub onset_ms: Option<i64>,
    pub detected_at_ms: Option<i64>,
    pub cleared_at_ms: Option<i64>,
    pub observed_value: Option<f64>,
    pub baseline_value: Option<f64>,
    pub points: Vec<Point>,
    /// A moment that a chart of it marks.
    #[serde(skip)]
    pub cursor_ms: Option<i64>,
}

/// Redis, once it has answered for the first time.
#[derive(Default)]
pub struct Recent {
    client: OnceLock<Client>,
}

impl Recent {
    /// A source that is connected already.
    #[must_use]
    pub fn of(client: Client) -> Recent {
        Recent {
            client: OnceLock::from(client),
        }
    }

    /// Connects, trying until it works or `shutdown`.
    pub async fn connect(&self, url: &str, shutdown: &Shutdown) {
        loop {
            match redis::connect(url).await {
                Ok(client) => {
                    // Set only here, and only once.
                    self.client.set(client).ok();
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "charts show kept records only until Redis answers");
                }
            }
            if !shutdown.sleep(Duration::from_secs(5)).await {
                return;
            }
        }
    }

    /// Whether Redis was ever reached.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.client.get().is_some()
    }

    /// The connection, once there is one.
    pub(crate) fn client(&self) -> Option<&Client> {
        self.client.get()
    }

    async fn points(&self, key: &str, from_ms: i64, to_ms: i64) -> Vec<Point> {
        let Some(client) = self.client.get() else {
            return Vec::new();
        };
        let limit = Some((0, POINTS));
        let read = client.zrangebyscore::<Vec<String>, _, _, _>(
            key,
            from_ms as f64,
            to_ms as f64,
            false,
            limit,
        );
        match tokio::time::timeout(REDIS_LIMIT, read).await {
            Ok(Ok(members)) => members
                .iter()
                .filter_map(|member| member_point(member))
                .collect(),
            Ok(Err(error)) => {
                tracing::warn!(%error, key, "recent readings could not be read");
                Vec::new()
            }
            Err(_) => {
                tracing::warn!(key, "Redis gave no recent readings in time");
                Vec::new()
            }
        }
    }
}

fn member_point(member: &str) -> Option<Point> {
    wall_point(member).map(|(point, _)| point)
}

/// Reads `[timestamp_ms, value, score, expected, low, high, wall_ms, event_id,
/// reason]`: the point, and the wall clock at which the broker took it. Older
/// members end before the reason.
pub(crate) fn wall_point(member: &str) -> Option<(Point, Option<i64>)> {
    let fields: Vec<Value> = serde_json::from_str(member).ok()?;
    let number = |index: usize| fields.get(index).and_then(Value::as_f64);
    let point = Point {
        at_ms: number(0)? as i64,
        value: number(1)?,
        score: number(2),
        expected: number(3),
        low: number(4),
        high: number(5),
        reason: reason(fields.get(8)),
    };
    Some((point, number(6).map(|wall| wall as i64)))
}

fn record_point(record: &Record) -> Option<Point> {
    let number = |name: &str| record.payload.get(name).and_then(Value::as_f64);
    Some(Point {
        at_ms: record.at_ms,
        value: record.value?,
        score: number("score"),
        expected: number("expected"),
        low: number("low"),
        high: number("high"),
        reason: reason(record.payload.get("reason")),
    })
}

fn reason(kept: Option<&Value>) -> String {
    let text = kept.and_then(Value::as_str).unwrap_or_default();
    text.chars().take(REASON).collect()
}

/// Both sources as one, in order of time. A reading that both have is taken
/// from Redis, which knows what was expected of it.
fn merge(kept: Vec<Point>, recent: Vec<Point>) -> (Vec<Point>, &'static str) {
    let source = match (kept.is_empty(), recent.is_empty()) {
        (true, true) => "none",
        (true, false) => "redis",
        (false, true) => "records",
        (false, false) => "redis+records",
    };
    let mut points: BTreeMap<i64, Point> =
        kept.into_iter().map(|point| (point.at_ms, point)).collect();
    for point in recent {
        let richer = point.low.is_some()
            || points
                .get(&point.at_ms)
                .is_none_or(|kept| kept.low.is_none());
        if richer {
            points.insert(point.at_ms, point);
        }
    }
    (
        points
            .into_values()
            .filter(|point| point.value.is_finite())
            .collect(),
        source,
    )
}

/// The readings of `metric` of `service` around an incident.
///
/// # Errors
/// The database is away. Without Redis only kept records are shown.
pub async fn load(
    app: &App,
    row: &IncidentRow,
    known: &Known,
    service: &str,
    metric: &str,
) -> Result<Series, ApiError> {
    let anomaly = known
        .anomalies
        .iter()
        .find(|anomaly| anomaly.service == service && anomaly.trigger_metric == metric);
    let onset = anomaly.map_or(row.detected_at_ms, |anomaly| anomaly.onset_ms);
    let from_ms = onset - BEFORE_MS;
    let to_ms = row.resolved_at_ms.map_or(i64::MAX, |end| end + AFTER_MS);
    let filter = RecordFilter {
        kind: Some("metric".to_owned()),
        service: Some(service.to_owned()),
        name: Some(metric.to_owned()),
        but_kind: None,
    };
    let kept = read::records(&app.pool, row.id, &filter, POINTS).await?;
    let kept = kept
        .iter()
        .filter_map(record_point)
        .filter(|point| (from_ms..=to_ms).contains(&point.at_ms))
        .collect();
    let key = format!("midwatch:recent:{}:{service}:{metric}", row.environment);
    let recent = app.recent.points(&key, from_ms, to_ms).await;
    let (points, source) = merge(kept, recent);
    let trigger = known
        .trigger
        .as_ref()
        .filter(|trigger| trigger.service == service && trigger.metric == metric);
    Ok(Series {
        service: service.to_owned(),
        metric: metric.to_owned(),
        source,
        onset_ms: anomaly.map(|anomaly| anomaly.onset_ms),
        detected_at_ms: anomaly
            .map(|anomaly| anomaly.detected_at_ms)
            .or(trigger.map(|_| row.detected_at_ms)),
        cleared_at_ms: anomaly.and_then(|anomaly| anomaly.cleared_at_ms),
        observed_value: anomaly
            .map(|anomaly| anomaly.observed_value)
            .or(trigger.map(|trigger| trigger.observed_value)),
        baseline_value: anomaly
            .map(|anomaly| anomaly.baseline_value)
            .or(trigger.map(|trigger| trigger.baseline_value)),
        points,
        cursor_ms: None,
    })
}

/// `GET /api/incidents/{id}/series`.
pub async fn get(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Series>, ApiError> {
    params.only(&["service", "metric"])?;
    let row = find_incident(&app.pool, &id).await?;
    let known = Known::read(&row);
    let (service, metric) = match (params.text("service"), params.text("metric")) {
        (Some(service), Some(metric)) => (service, metric),
        (None, None) => known
            .trigger
            .as_ref()
            .map(|trigger| (trigger.service.clone(), trigger.metric.clone()))
            .ok_or_else(|| {
                ApiError::not_found(
                    "this incident names no triggering metric",
                    "name one: ?service=…&metric=…",
                )
            })?,
        (Some(service), None) => {
            return Err(ApiError::parameter(
                "service",
                &service,
                "give metric= as well",
            ));
        }
        (None, Some(metric)) => {
            return Err(ApiError::parameter(
                "metric",
                &metric,
                "give service= as well",
            ));
        }
    };
    Ok(Json(load(&app, &row, &known, &service, &metric).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_of_both_sources_is_taken_from_the_one_that_knows_more() {
        let bare = |at_ms, value| Point {
            at_ms,
            value,
            ..Point::default()
        };
        let recent = member_point("[20,7.5,0.9,4.0,3.0,5.0,99,\"id\"]").unwrap();
        assert_eq!(
            (recent.score, recent.low, recent.high),
            (Some(0.9), Some(3.0), Some(5.0))
        );
        let (points, source) = merge(
            vec![bare(30, 3.0), bare(20, 7.5)],
            vec![recent.clone(), bare(10, 1.0)],
        );
        assert_eq!(source, "redis+records");
        assert_eq!(points, [bare(10, 1.0), recent, bare(30, 3.0)]);
        // While detection is learning it expects nothing; the record stays.
        let kept = Point {
            low: Some(1.0),
            ..bare(10, 1.0)
        };
        assert_eq!(merge(vec![kept.clone()], vec![bare(10, 1.0)]).0, [kept]);
        assert_eq!(merge(Vec::new(), Vec::new()), (Vec::new(), "none"));
        assert_eq!(member_point("[20,null]"), None);
        assert_eq!(member_point("{}"), None);
    }

    #[test]
    fn a_member_has_its_reason_or_is_from_before_reasons_were_kept() {
        let read = |reason: &str| {
            let member = format!("[20,7.5,0.9,4.0,3.0,5.0,99,\"id\"{reason}]");
            member_point(&member).map(|point| (point.value, point.reason))
        };
        let some = |text: &str| Some((7.5, text.to_owned()));
        assert_eq!(read(""), some(""));
        assert_eq!(read(",\"\""), some(""));
        assert_eq!(
            read(",\"4.2× the \\\"largest\\\"\""),
            some("4.2× the \"largest\"")
        );
        // A reason that is no text costs the reason, not the reading.
        for other in [",null", ",7", ",[\"x\"]"] {
            assert_eq!(read(other), some(""), "{other}");
        }
        let long = format!(",\"{}\"", "ä".repeat(100_000));
        assert_eq!(read(&long), some(&"ä".repeat(REASON)));
    }

    #[test]
    fn a_kept_record_has_its_reason_too() {
        let record = |payload| Record {
            record_id: "metric-1".to_owned(),
            kind: "metric".to_owned(),
            service: "s".to_owned(),
            name: "m".to_owned(),
            at_ms: 20,
            value: Some(7.5),
            text: String::new(),
            payload,
        };
        let kept = record(serde_json::json!({"score": 0.9, "reason": "why"}));
        let expected = Point {
            at_ms: 20,
            value: 7.5,
            score: Some(0.9),
            reason: "why".to_owned(),
            ..Point::default()
        };
        assert_eq!(record_point(&kept), Some(expected));
        let bare = record_point(&record(serde_json::json!({}))).unwrap();
        assert_eq!((bare.score, bare.reason.as_str()), (None, ""));
    }
}
