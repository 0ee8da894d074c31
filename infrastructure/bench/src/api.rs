//! How soon the API answers when many incidents lie behind it.

use crate::bed::Bed;
use crate::report::{Cell, Section, quantile, quantile_cell};
use anyhow::{Context as _, Result, ensure};
use midwatch_local::port;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use std::time::{Duration, Instant};

/// The time that every answer is to take at most.
const TARGET_MS: f64 = 200.0;
/// One request may take this long before it counts as failed.
const REQUEST: Duration = Duration::from_secs(30);
/// Filling a hundred thousand takes a minute or two.
const FILL_MS: u64 = 900_000;

/// What each address answers under the name in the table; `{…}` is filled in.
const ADDRESSES: &[(&str, &str)] = &[
    ("incidents, first page", "/api/incidents?limit=50"),
    (
        "incidents, a deep page",
        "/api/incidents?limit=50&before={deep}",
    ),
    ("incidents, largest page", "/api/incidents?limit=200"),
    ("incidents, open", "/api/incidents?status=OPEN"),
    (
        "incidents, open, a deep page",
        "/api/incidents?status=OPEN&before={deep}",
    ),
    (
        "incidents, status",
        "/api/incidents?status=RCA_COMPLETE&before={deep}",
    ),
    (
        "incidents, severity",
        "/api/incidents?severity=CRITICAL&before={deep}",
    ),
    ("incidents, service", "/api/incidents?service=service-7"),
    (
        "incidents, service, a deep page",
        "/api/incidents?service=service-7&before={deep}",
    ),
    (
        "incidents, unknown service",
        "/api/incidents?service=nobody",
    ),
    (
        "incidents, three filters",
        "/api/incidents?status=OPEN&severity=HIGH&service=service-7",
    ),
    ("one incident", "/api/incidents/{incident}"),
    ("one incident, by its short id", "/api/incidents/{short}"),
    ("its records", "/api/incidents/{incident}/records"),
    ("audit trail, newest", "/api/agent-events?limit=100"),
    (
        "audit trail, from the middle",
        "/api/agent-events?limit=100&after={event}",
    ),
    (
        "audit trail of an incident",
        "/api/agent-events?incident={incident}",
    ),
    ("mails, first page", "/api/emails"),
    ("mails, a deep page", "/api/emails?before={mail}"),
    ("mails, failed", "/api/emails?status=FAILED"),
    (
        "mails, stage, a deep page",
        "/api/emails?stage=plan&before={mail}",
    ),
    ("mails of an incident", "/api/emails?incident={incident}"),
    ("one mail", "/api/emails/{mail}"),
    ("model calls", "/api/llm-calls"),
    ("figures", "/api/stats"),
    ("page: feed", "/"),
    ("page: feed, a deep page", "/?before={deep}"),
    (
        "page: feed, filtered",
        "/?status=OPEN&severity=HIGH&service=service-7",
    ),
    ("page: incident", "/incidents/{incident}"),
];

/// Measures every address.
///
/// # Errors
/// A server is missing, or an address does not answer 200.
pub async fn measure(bed: &mut Bed) -> Result<Section> {
    let incidents = bed.options.incidents;
    let kafka = bed.broker("api", 3).await?;
    let (_database, url) = bed.database("api").await?;
    bed.say(
        "api",
        &format!("filling the database with {incidents} incidents"),
    );
    let names = fill(&url, incidents).await?;
    let mut variables = bed.variables(&kafka);
    let port = port::any()?;
    let redis = bed.server("MIDWATCH_TEST_REDIS_URL", "redis")?;
    for (name, value) in [
        ("DATABASE_URL", url),
        ("REDIS_URL", redis),
        ("API_BIND", format!("127.0.0.1:{port}")),
        ("TOPICS_BIND", "off".to_owned()),
        ("KNOWLEDGE_DIR", bed.knowledge()),
    ] {
        variables.insert(name.to_owned(), value);
    }
    let mut agent = bed.start("api", &variables)?;
    agent.ready().await?;
    let base = format!("http://127.0.0.1:{port}");
    let measured = ask_all(bed, &base, &names).await;
    agent.end(Signal::SIGTERM).await?;
    measured
}

async fn ask_all(bed: &Bed, base: &str, names: &[(&str, String)]) -> Result<Section> {
    let title = format!(
        "API with {} incidents, one request at a time",
        bed.options.incidents
    );
    let columns = ["address", "p50 ms", "p99 ms", "KB"];
    let mut section = Section::new("api", title, &columns);
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(REQUEST)
        .build()?;
    let mut slow = Vec::new();
    for (name, pattern) in addresses(&client, base).await? {
        let path = names.iter().fold(pattern.clone(), |path, (key, value)| {
            path.replace(&format!("{{{key}}}"), value)
        });
        bed.say("api", &path);
        let (mut taken, bytes) =
            ask(&client, &format!("{base}{path}"), bed.options.requests).await?;
        let worst = quantile(&mut taken, 0.99).context("requests were made")?;
        if worst > TARGET_MS {
            slow.push(format!("{name} ({worst:.0} ms)"));
        }
        section.row([
            Cell::from(name),
            quantile_cell(&mut taken, 0.5, 1),
            Cell::Number(worst, 1),
            Cell::Number(bytes as f64 / 1e3, 1),
        ]);
    }
    section.note(if slow.is_empty() {
        format!("Every address is within {TARGET_MS:.0} ms at p99.")
    } else {
        format!("Above {TARGET_MS:.0} ms at p99: {}.", slow.join(", "))
    });
    section.note(format!(
        "Nearest rank of {} requests each, after one that is not counted; eight lines of the audit \
         trail and five mails per incident, no records.",
        bed.options.requests
    ));
    Ok(section)
}

/// The addresses above, and every other one of the interface that needs no
/// parameter, so that a new one is measured from the day it is there.
async fn addresses(client: &reqwest::Client, base: &str) -> Result<Vec<(String, String)>> {
    let text = client
        .get(format!("{base}/openapi.json"))
        .send()
        .await?
        .text()
        .await?;
    let interface: Value = serde_json::from_str(&text).context("/openapi.json")?;
    let paths = interface["paths"]
        .as_object()
        .context("/openapi.json has paths")?;
    let mut all: Vec<(String, String)> = ADDRESSES
        .iter()
        .map(|(name, path)| ((*name).to_owned(), (*path).to_owned()))
        .collect();
    for (path, item) in paths {
        let known = all
            .iter()
            .any(|(_, known)| known.split('?').next() == Some(path));
        let needs = path.contains('{') || item["get"].is_null() || path.starts_with("/ws/");
        if !known && !needs {
            all.push((format!("also: {path}"), path.clone()));
        }
    }
    Ok(all)
}

/// Asks one address again and again; milliseconds of each, and the size of the
/// last answer.
async fn ask(client: &reqwest::Client, address: &str, requests: u32) -> Result<(Vec<f64>, usize)> {
    let mut taken = Vec::new();
    let mut bytes = 0;
    for number in 0..=requests {
        let begun = Instant::now();
        let answer = client
            .get(address)
            .send()
            .await
            .with_context(|| address.to_owned())?;
        let status = answer.status();
        let body = answer.bytes().await.with_context(|| address.to_owned())?;
        let milliseconds = begun.elapsed().as_secs_f64() * 1e3;
        ensure!(
            status.is_success(),
            "{address} answers {status}: {}",
            String::from_utf8_lossy(&body)
                .chars()
                .take(200)
                .collect::<String>()
        );
        bytes = body.len();
        if number > 0 {
            taken.push(milliseconds);
        }
    }
    Ok((taken, bytes))
}

/// Writes the incidents; what the placeholders of addresses stand for.
async fn fill(url: &str, incidents: i64) -> Result<Vec<(&'static str, String)>> {
    let mut connection = PgConnection::connect(url).await?;
    let patience =
        format!("SET statement_timeout = {FILL_MS}; SET synchronous_commit = off; SET jit = off");
    connection.execute(AssertSqlSafe(patience)).await?;
    let [radius, context, candidates, plan, resolution] = documents()?;
    sqlx::query(include_str!("fill.sql"))
        .bind(incidents)
        .bind(radius)
        .bind(context)
        .bind(candidates)
        .bind(plan)
        .bind(POSTMORTEM.repeat(4))
        .bind(resolution)
        .execute(&mut connection)
        .await
        .context("filling incidents")?;
    for (statement, what) in [
        (include_str!("fill_events.sql"), "the audit trail"),
        (include_str!("fill_mails.sql"), "the mails"),
    ] {
        sqlx::query(statement)
            .bind(incidents)
            .execute(&mut connection)
            .await
            .with_context(|| format!("filling {what}"))?;
    }
    // What autovacuum would do within minutes.
    connection.execute("VACUUM ANALYZE").await?;
    let row = sqlx::query(
        "SELECT (extract(epoch FROM created_at) * 1000000)::bigint AS us, id::text AS id, short_id,
                (SELECT max(id) / 2 FROM agent_events) AS event,
                (SELECT max(id) / 10 FROM notifications) AS mail
         FROM incidents ORDER BY created_at OFFSET $1 LIMIT 1",
    )
    .bind(incidents / 10)
    .fetch_one(&mut connection)
    .await?;
    let (us, id): (i64, String) = (row.try_get("us")?, row.try_get("id")?);
    Ok(vec![
        ("deep", format!("{us}.{id}")),
        ("incident", id),
        ("short", row.try_get("short_id")?),
        ("event", row.try_get::<i64, _>("event")?.to_string()),
        ("mail", row.try_get::<i64, _>("mail")?.to_string()),
    ])
}

const POSTMORTEM: &str = "# Postmortem\n\n## Summary\n\nThe pool of database connections ran empty \
     for 18 minutes.\n\n## Timeline\n\n| time | what |\n|---|---|\n| 14:03:10 | breach |\n\n";

/// Blast radius, correlation context, candidates, plan and resolution of one
/// incident, from the recorded events that the wire format is held by.
fn documents() -> Result<[Value; 5]> {
    let read = |text: &str| serde_json::from_str::<Value>(text).context("a golden event");
    let opened = read(include_str!(
        "../../../shared/events/golden/incidents.opened.v1.json"
    ))?;
    let rca = read(include_str!(
        "../../../shared/events/golden/rca.completed.v1.json"
    ))?;
    let plan = read(include_str!(
        "../../../shared/events/golden/remediation.plans.v1.json"
    ))?;
    let resolved = read(include_str!(
        "../../../shared/events/golden/incidents.resolved.v1.json"
    ))?;
    let context = json!({
        "trigger": {"service": opened["affected_services"][0], "metric": opened["trigger_metric"],
            "observed_value": opened["observed_value"], "baseline_value": opened["baseline_value"],
            "deviation_sigma": opened["deviation_sigma"], "anomaly_score": opened["anomaly_score"]},
        "signals": opened["correlation_signals"],
        "grouped_anomalies": opened["grouped_anomalies"],
        "deployment": opened["deployment_context"],
        "recent_metrics": opened["recent_metrics"],
        "recent_errors": opened["recent_errors"],
        "description": opened["description"],
        "revision": 1,
        "topology": {"edges": [["order-service", "payment-service", ["catalogue", "spans"]]]},
    });
    let parts = [
        opened["blast_radius"].clone(),
        context,
        rca["root_cause_candidates"].clone(),
        plan,
        resolved,
    ];
    ensure!(
        parts.iter().all(|part| !part.is_null()),
        "a golden event lacks a field"
    );
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_come_whole_from_the_recorded_events() {
        let [radius, context, candidates, plan, resolution] = documents().unwrap();
        assert!(radius["impaired"].is_array());
        assert!(
            context["grouped_anomalies"].is_array() && context["trigger"]["metric"].is_string()
        );
        assert!(candidates[0]["hypothesis"].is_string());
        assert!(plan["action_steps"].is_array());
        assert!(resolution["mttr_ms"].is_number());
    }
}
