//! `midwatch incidents`: what happened, from the API.

mod show;

pub use show::render as render_one;

use crate::api::Api;
use crate::arguments::IncidentsFilter;
use crate::failure::Failure;
use crate::output::{self, Paint, Style};
use serde_json::{Value, json};

/// Incidents on one page of the API.
const PAGE: usize = 200;

/// Which incidents to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub status: Option<String>,
    pub severity: Option<String>,
    pub service: Option<String>,
    pub environment: Option<String>,
    pub limit: usize,
}

impl From<IncidentsFilter> for Filter {
    fn from(flags: IncidentsFilter) -> Filter {
        let upper = |text: Option<String>| text.map(|text| text.to_uppercase());
        Filter {
            status: upper(flags.status),
            severity: upper(flags.severity),
            service: flags.service,
            environment: flags.environment,
            limit: usize::from(flags.limit),
        }
    }
}

/// Lists incidents, newest first: `{"items": […], "next": key or null}`.
///
/// # Errors
/// As [`Api::get`].
pub async fn list(api: &Api, filter: &Filter) -> Result<Value, Failure> {
    let mut items = Vec::new();
    let mut before: Option<String> = None;
    loop {
        let wanted = filter.limit - items.len();
        let mut query = vec![("limit", wanted.min(PAGE).to_string())];
        let fields = [
            ("status", &filter.status),
            ("severity", &filter.severity),
            ("service", &filter.service),
            ("environment", &filter.environment),
            ("before", &before),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                query.push((name, value.clone()));
            }
        }
        let page = api.get("/api/incidents", &query).await?;
        let found = page["items"].as_array().cloned().unwrap_or_default();
        let empty = found.is_empty();
        items.extend(found);
        before = page["next"].as_str().map(str::to_owned);
        if before.is_none() || empty || items.len() >= filter.limit {
            return Ok(json!({ "items": items, "next": before }));
        }
    }
}

/// Reads one incident with all that belongs to it.
///
/// # Errors
/// As [`Api::get`]; also where there is no such incident.
pub async fn get(api: &Api, id: &str) -> Result<Value, Failure> {
    harmless(id)?;
    api.get(&format!("/api/incidents/{id}"), &[]).await
}

/// The artifacts of an incident, as `GET /api/incidents/{id}/artifacts` has
/// them.
///
/// # Errors
/// As [`Api::get`]; also where there is no such incident.
pub async fn artifacts(api: &Api, id: &str) -> Result<Value, Failure> {
    harmless(id)?;
    api.get(&format!("/api/incidents/{id}/artifacts"), &[])
        .await
}

/// Refuses what cannot be an id: it becomes a part of a path.
///
/// # Errors
/// Says what an id looks like.
pub fn harmless(id: &str) -> Result<(), Failure> {
    let harmless = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    if id.is_empty() || !id.chars().all(harmless) {
        return Err(Failure::new(
            format!("{id:?} is no incident's id"),
            "write its short id (INC-A1B2C3D4) or its UUID; `midwatch incidents` lists them",
        ));
    }
    Ok(())
}

/// A field as text, empty where it has none.
fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// A field of epoch milliseconds as a time, where there is one.
fn at(value: &Value, name: &str) -> Option<String> {
    value[name].as_i64().map(output::time)
}

/// A share as a percentage.
fn percent(value: &Value) -> Option<String> {
    value
        .as_f64()
        .map(|share| format!("{:.0} %", 100.0 * share))
}

/// The list for people.
#[must_use]
pub fn render_list(page: &Value, paint: Paint) -> String {
    let items = page["items"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if items.is_empty() {
        return "no incident matches\n".to_owned();
    }
    let mut out = String::new();
    for item in items {
        let id = format!("{:12}", output::fit(text(item, "short_id"), 12));
        out.push_str(&format!(
            "{}  {}  {:13}  {}  {}\n",
            paint.text(Style::Strong, &id),
            paint.severity(&output::fit(text(item, "severity"), 8), 8),
            output::fit(text(item, "status"), 13),
            at(item, "detected_at_ms").unwrap_or_default(),
            output::fit(text(item, "environment"), 18),
        ));
        output::hang(&mut out, "", 14, text(item, "title"));
        if let Some(cause) = item["top_root_cause"].as_str() {
            let sure = percent(&item["rca_confidence"])
                .map_or_else(String::new, |sure| format!(" ({sure})"));
            output::hang(&mut out, "", 14, &format!("cause: {cause}{sure}"));
        }
        if let Some(mttr) = item["mttr_ms"].as_i64() {
            let how = text(item, "resolution_method");
            let line = format!("resolved after {} ({how})", output::duration(mttr));
            output::hang(&mut out, "", 14, &line);
        }
    }
    let more = if page["next"].is_null() {
        ""
    } else {
        "; there are more, see --limit"
    };
    out.push_str(&format!("\n{} incidents{more}\n", items.len()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_fits_eighty_columns() {
        let page = json!({
            "items": [
                {
                    "short_id": "INC-A1B2C3D4", "severity": "CRITICAL", "status": "INVESTIGATING",
                    "environment": "simulation", "detected_at_ms": 1_795_316_645_000_i64,
                    "title": "DB connection exhaustion on payment-service",
                    "top_root_cause": null, "rca_confidence": null, "mttr_ms": null,
                },
                {
                    "short_id": "INC-00FF00FF", "severity": "MEDIUM", "status": "RESOLVED",
                    "environment": "local", "detected_at_ms": 1_795_306_645_000_i64,
                    "title": "Kafka consumer lag on midwatch-investigation",
                    "top_root_cause": "midwatch-investigation does not read: kafka_consumer_lag_seconds{group=midwatch.investigation} is 74 s",
                    "rca_confidence": 0.87, "mttr_ms": 198_000, "resolution_method": "METRICS_NORMAL",
                },
                {
                    "short_id": "INC-\u{1b}[31m", "severity": "LOW", "status": "DETECTING",
                    "environment": "an-environment-with-a-long-name", "detected_at_ms": 0,
                    "title": "<img src=x onerror=alert(1)>",
                },
            ],
            "next": "key",
        });
        let text = render_list(&page, Paint::PLAIN);
        assert!(
            text.lines()
                .all(|line| output::columns(line) <= output::WIDTH),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'));
        insta::assert_snapshot!(text);
        let empty = json!({"items": [], "next": null});
        assert_eq!(render_list(&empty, Paint::PLAIN), "no incident matches\n");
    }
}
