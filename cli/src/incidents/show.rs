//! One incident for people.

use super::{at, percent, text};
use crate::output::{self, Paint, Style, WIDTH};
use crate::plan::DRY_RUN;
use serde_json::Value;

/// Columns before the values of the head.
const LABEL: usize = 14;
/// Lines of the timeline: the newest.
const TIMELINE: usize = 40;

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn joined(value: &Value) -> String {
    let names: Vec<&str> = list(value).iter().filter_map(Value::as_str).collect();
    names.join(", ")
}

fn heading(out: &mut String, paint: Paint, title: &str) {
    out.push('\n');
    out.push_str(&paint.text(Style::Strong, title));
    out.push('\n');
}

/// The incident with what belongs to it, in 80 columns. Commands are not
/// broken: people copy them.
#[must_use]
pub fn render(incident: &Value, paint: Paint) -> String {
    let mut out = String::new();
    head(&mut out, incident, paint);
    causes(&mut out, incident, paint);
    plan(&mut out, incident, paint);
    mails(&mut out, incident, paint);
    timeline(&mut out, incident, paint);
    rest(&mut out, incident, paint);
    out
}

fn head(out: &mut String, incident: &Value, paint: Paint) {
    let id = output::fit(text(incident, "short_id"), 12);
    out.push_str(&format!(
        "{}  {}  {}\n",
        paint.text(Style::Strong, &id),
        paint.severity(&output::fit(text(incident, "severity"), 8), 0),
        output::fit(text(incident, "status"), 13),
    ));
    output::hang(out, "", 0, text(incident, "title"));
    out.push('\n');
    let resolution = &incident["resolution"];
    let resolved = at(incident, "resolved_at_ms").map(|when| {
        let after = resolution["mttr_ms"]
            .as_i64()
            .map_or_else(String::new, |mttr| {
                format!(", after {}", output::duration(mttr))
            });
        format!("{when}{after} ({})", text(resolution, "resolution_method"))
    });
    let pages = at(incident, "created_at_ms").map(|when| format!("{when} (wall clock)"));
    let values = [
        ("id", Some(text(incident, "id").to_owned())),
        (
            "environment",
            Some(text(incident, "environment").to_owned()),
        ),
        ("kind", Some(text(incident, "anomaly_type").to_owned())),
        ("services", Some(joined(&incident["affected_services"]))),
        ("detected", at(incident, "detected_at_ms")),
        ("announced", pages),
        ("resolved", resolved),
        (
            "impact",
            incident["blast_radius"]["description"]
                .as_str()
                .map(str::to_owned),
        ),
    ];
    for (label, value) in values {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            output::hang(out, label, LABEL, &value);
        }
    }
}

fn causes(out: &mut String, incident: &Value, paint: Paint) {
    let candidates = list(&incident["rca_candidates"]);
    if candidates.is_empty() {
        return;
    }
    heading(out, paint, "Root cause");
    for (index, candidate) in candidates.iter().enumerate() {
        let sure = percent(&candidate["confidence"]).unwrap_or_default();
        let line = format!("{} ({sure})", text(candidate, "hypothesis"));
        output::hang(out, &format!("{}.", index + 1), 4, &line);
        for evidence in list(&candidate["evidence"]).iter().take(5) {
            let words = evidence
                .as_str()
                .or_else(|| evidence["text"].as_str())
                .or_else(|| evidence["description"].as_str());
            if let Some(words) = words {
                output::hang(out, "    -", 6, words);
            }
        }
    }
}

fn plan(out: &mut String, incident: &Value, paint: Paint) {
    let plan = &incident["remediation_plan"];
    let steps = list(&plan["action_steps"]);
    if steps.is_empty() {
        return;
    }
    heading(out, paint, "Plan");
    if let [Some(least), Some(most)] =
        [0, 1].map(|index| plan["estimated_resolution_minutes"][index].as_i64())
    {
        output::hang(out, "", 0, &format!("estimated {least} to {most} minutes"));
    }
    if plan["dry_run"] == true {
        output::hang(out, "", 0, &format!("dry run: {DRY_RUN}"));
    }
    for step in steps {
        let line = format!(
            "{} ({}, {})",
            text(step, "action"),
            text(step, "priority").to_lowercase(),
            text(step, "risk_level")
        );
        output::hang(out, text(step, "step_id"), 4, &line);
        let command = output::plain(text(step, "command"));
        if !command.is_empty() {
            out.push_str(&format!(
                "    {}\n",
                paint.text(Style::Faint, &format!("$ {command}"))
            ));
        }
    }
}

fn mails(out: &mut String, incident: &Value, paint: Paint) {
    let mails = list(&incident["mails"]);
    if mails.is_empty() {
        return;
    }
    heading(out, paint, "Mails");
    for mail in mails {
        let label = format!("{:8}", output::fit(text(mail, "status"), 7));
        let line = format!(
            "{} — {}",
            text(mail, "subject"),
            joined(&mail["recipients"])
        );
        output::hang(out, &label, 8, &line);
        if let Some(error) = mail["error"].as_str() {
            output::hang(out, "", 8, &format!("error: {error}"));
        }
    }
}

fn timeline(out: &mut String, incident: &Value, paint: Paint) {
    let entries = list(&incident["timeline"]);
    if entries.is_empty() {
        return;
    }
    heading(out, paint, "Timeline");
    let left = entries.len().saturating_sub(TIMELINE);
    if left > 0 {
        out.push_str(&format!(
            "({left} earlier lines are left out; --json has them)\n"
        ));
    }
    for entry in &entries[left..] {
        let when = at(entry, "at_ms").unwrap_or_default();
        // `03:04:05Z`: the head has the day.
        let clock = when.split_once(' ').map_or("", |(_, clock)| clock);
        let agent = output::fit(text(entry, "agent"), 14);
        let label = format!("{clock:10}{agent}");
        output::hang(out, &label, 26, text(entry, "summary"));
    }
}

fn rest(out: &mut String, incident: &Value, paint: Paint) {
    let mut lines = Vec::new();
    if let Some(records) = incident["records"]
        .as_object()
        .filter(|all| !all.is_empty())
    {
        let counts: Vec<String> = records
            .iter()
            .filter_map(|(kind, count)| Some(format!("{kind} {}", output::count(count.as_i64()?))))
            .collect();
        lines.push(("records", counts.join(", ")));
    }
    let calls = list(&incident["llm_calls"]);
    if !calls.is_empty() {
        let cost: f64 = calls
            .iter()
            .filter_map(|call| call["cost_usd"].as_f64())
            .sum();
        lines.push(("model calls", format!("{}, {cost:.4} USD", calls.len())));
    }
    if let Some(postmortem) = incident["postmortem"].as_str() {
        let count = postmortem.lines().count();
        lines.push((
            "postmortem",
            format!("{count} lines; on the incident's page, and with --json"),
        ));
    }
    if lines.is_empty() {
        return;
    }
    heading(out, paint, "Further");
    for (label, line) in lines {
        debug_assert!(
            label.len() < LABEL && LABEL < WIDTH,
            "labels leave room for values"
        );
        output::hang(out, label, LABEL, &line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn incident() -> Value {
        json!({
            "id": "a1b2c3d4-0000-5000-8000-000000000001", "short_id": "INC-A1B2C3D4",
            "environment": "simulation", "status": "RESOLVED", "severity": "CRITICAL",
            "anomaly_type": "DB_CONNECTION_EXHAUSTION",
            "title": "DB connection exhaustion on payment-service",
            "affected_services": ["payment-service", "order-service", "api-gateway"],
            "detected_at_ms": 1_795_316_645_000_i64, "created_at_ms": 1_795_316_646_000_i64,
            "resolved_at_ms": 1_795_317_725_000_i64,
            "resolution": {"mttr_ms": 1_080_000, "resolution_method": "METRICS_NORMAL"},
            "blast_radius": {"description": "Payments fail at payment-service; orders wait for them, and the gateway answers with errors."},
            "rca_candidates": [{
                "hypothesis": "payment-service holds all of its 100 database connections after release 2.4.1",
                "confidence": 0.87,
                "evidence": [{"text": "service_db_connections of payment-service is 98 instead of the usual 30"},
                             {"text": "release 2.4.1 of payment-service, 6 minutes before"}],
            }],
            "remediation_plan": {"estimated_resolution_minutes": [15, 30], "action_steps": [{
                "step_id": "S1", "action": "Roll payment-service back to 2.4.0", "priority": "IMMEDIATE",
                "risk_level": "medium",
                "command": "kubectl rollout undo deployment/payment-service --namespace shop --to-revision=41",
            }]},
            "mails": [
                {"status": "SENT", "subject": "🚨 [CRITICAL] INC-A1B2C3D4 — DB connection exhaustion on payment-service",
                 "recipients": ["oncall@midwatch.example", "management@midwatch.example"], "error": null},
                {"status": "FAILED", "subject": "x", "recipients": [], "error": "550 no such user"},
            ],
            "timeline": [
                {"at_ms": 1_795_316_645_000_i64, "agent": "detection", "summary": "service_db_connections is 71, 2.4× the usual 30"},
                {"at_ms": 1_795_316_648_000_i64, "agent": "investigation", "summary": "the cause\u{1b}]0;owned\u{7} is likely known"},
            ],
            "records": {"metric": 1240, "log": 37}, "llm_calls": [{"cost_usd": 0.0123}],
            "postmortem": "# Postmortem\n\nAll is well.",
        })
    }

    #[test]
    fn an_incident_reads_from_head_to_postmortem() {
        let shown = render(&incident(), Paint::PLAIN);
        assert!(!shown.contains('\u{1b}') && !shown.contains('\u{7}'));
        let long: Vec<&str> = shown
            .lines()
            .filter(|line| output::columns(line) > WIDTH && !line.starts_with("    $ "))
            .collect();
        assert_eq!(long, Vec::<&str>::new());
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn an_incident_that_has_only_begun_shows_what_there_is() {
        let young = json!({"short_id": "INC-00000001", "severity": "HIGH", "status": "DETECTING",
            "title": "Latency spike on a", "environment": "e", "anomaly_type": "LATENCY_SPIKE",
            "affected_services": ["a"], "detected_at_ms": 0, "timeline": [], "mails": []});
        let shown = render(&young, Paint::PLAIN);
        assert!(
            shown.contains("detected      1970-01-01 00:00:00Z"),
            "{shown}"
        );
        assert!(
            !shown.contains("Plan") && !shown.contains("Root cause"),
            "{shown}"
        );
    }
}
