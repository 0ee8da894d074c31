//! A plan for people, in 80 columns.

use crate::output::{self, Paint, Style, hang};
use serde_json::Value;

/// Columns before the values.
const LABEL: usize = 13;
/// Characters of an executor's output.
const OUTPUT: usize = 2_000;

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// How far a step is.
fn state(step: &Value, paint: Paint) -> String {
    let (style, words) = match text(step, "state") {
        "by_hand" => (Style::Faint, "by hand"),
        "waiting" => (Style::Doubtful, "waiting for approval"),
        "partly_approved" => (Style::Doubtful, "waiting for another approval"),
        "approved" => (Style::Doubtful, "approved"),
        "rejected" => (Style::Faint, "rejected"),
        "refused" => (Style::Bad, "refused"),
        "running" => (Style::Doubtful, "running"),
        "done" => (Style::Good, "done"),
        "dry_run" => (Style::Faint, "dry run: nothing was changed"),
        "failed" => (Style::Bad, "failed"),
        "unknown" => (Style::Bad, "unknown: a person must look"),
        "verified" => (Style::Good, "verified"),
        "undone" => (Style::Faint, "undone"),
        other => (Style::Faint, other),
    };
    paint.text(style, &output::plain(words))
}

/// The plan with what became of each step. Commands are not broken: people copy
/// them.
#[must_use]
pub fn render(plan: &Value, paint: Paint) -> String {
    let short = output::fit(text(plan, "short_id"), 12);
    let mut out = format!("{}\n", paint.text(Style::Strong, &short));
    hang(&mut out, "", 0, text(plan, "root_cause"));
    hang(&mut out, "plan", LABEL, text(plan, "plan_hash"));
    rehearsal(&mut out, plan);
    void(&mut out, plan);
    for step in list(&plan["steps"]) {
        out.push('\n');
        head(&mut out, step, paint);
        command(&mut out, step);
        values(&mut out, step);
        approvals(&mut out, step);
        for one in list(&step["happened"]) {
            happened(&mut out, one);
        }
    }
    out
}

/// What approving a step would do.
#[must_use]
pub fn action(plan: &Value, step: &Value, paint: Paint) -> String {
    let mut out = String::new();
    head(&mut out, step, paint);
    command(&mut out, step);
    values(&mut out, step);
    approvals(&mut out, step);
    hang(&mut out, "plan", LABEL, text(plan, "plan_hash"));
    rehearsal(&mut out, plan);
    out
}

/// Says when approving carries nothing out.
fn rehearsal(out: &mut String, plan: &Value) {
    if plan["dry_run"] == true {
        hang(out, "dry run", LABEL, DRY_RUN);
    }
}

/// What an approval leads to while the policy says dry run.
pub const DRY_RUN: &str = "approving only checks what would be done; nothing is changed until the \
    policy, or REMEDIATION_MODE, says live";

/// Approvals that do not count, and why.
fn void(out: &mut String, of: &Value) {
    for one in list(&of["void_approvals"]) {
        let words = format!(
            "by {}, does not count: {}",
            text(one, "by"),
            text(one, "why")
        );
        hang(out, "    approval", LABEL, &words);
    }
}

fn head(out: &mut String, step: &Value, paint: Paint) {
    let id = output::fit(text(step, "step_id"), 8);
    hang(
        out,
        &paint.text(Style::Strong, &format!("{id:3}")),
        4,
        text(step, "action"),
    );
    out.push_str(&format!("    {}\n", state(step, paint)));
}

fn command(out: &mut String, step: &Value) {
    for line in text(step, "command").lines() {
        out.push_str(&format!("    $ {}\n", output::plain(line)));
    }
}

fn values(out: &mut String, step: &Value) {
    let typed = &step["typed"];
    if typed.is_null() {
        hang(out, "    why", LABEL, text(step, "rationale"));
        hang(out, "    undo", LABEL, text(step, "rollback"));
        return;
    }
    let arguments: Vec<String> = typed["arguments"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    let effect = &typed["effect"];
    let direction = match text(effect, "direction") {
        "below" => "falls",
        "above" => "rises",
        _ => "returns",
    };
    let checks: Vec<&str> = list(&typed["pre_checks"])
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let looks = text(typed, "risk") == "read-only";
    let undo = match typed["undo"]["command"].as_str() {
        _ if looks => "none: read-only".to_owned(),
        Some(command) => command.to_owned(),
        None => "none: nothing takes it back".to_owned(),
    };
    let rows = [
        (
            "    does",
            format!(
                "{} on {} by {}; {}",
                text(typed, "kind"),
                text(typed, "service"),
                text(typed, "executor"),
                arguments.join(", ")
            ),
        ),
        ("    risk", text(typed, "risk").to_owned()),
        ("    touches", text(typed, "blast_radius").to_owned()),
        ("    checks", checks.join("; ")),
        (
            "    expects",
            if looks {
                "nothing changes; what it prints is kept".to_owned()
            } else {
                format!(
                    "{} of {} {direction} towards {:.4} within {}",
                    text(effect, "metric"),
                    text(effect, "service"),
                    effect["baseline_value"].as_f64().unwrap_or_default(),
                    output::duration(effect["within_ms"].as_i64().unwrap_or_default())
                )
            },
        ),
        ("    undo", undo),
    ];
    for (label, value) in rows {
        if !value.is_empty() {
            hang(out, label, LABEL, &value);
        }
    }
}

fn approvals(out: &mut String, step: &Value) {
    let by: Vec<&str> = list(&step["approvals"])
        .iter()
        .map(|one| text(one, "by"))
        .collect();
    if let Some(missing @ 1..) = step["approvals_missing"].as_i64() {
        let words = format!(
            "by {}; {missing} more must approve it, with another credential",
            by.join(", ")
        );
        hang(out, "    approved", LABEL, &words);
    } else if !by.is_empty() {
        hang(out, "    approved", LABEL, &format!("by {}", by.join(", ")));
    } else if step["two_people"] == true {
        let words = "two people, unless the policy says otherwise; nobody has yet";
        hang(out, "    approve", LABEL, words);
    }
    if step["can_decide"] == true {
        void(out, step);
    }
}

fn happened(out: &mut String, one: &Value) {
    let what = match (text(one, "phase"), one["succeeded"].as_bool()) {
        ("intent", _) => "begun",
        ("outcome", Some(true)) => "done",
        ("outcome", Some(false)) => "failed",
        ("outcome", None) => "unknown",
        ("not_undone", _) => "not undone",
        (phase, _) => phase,
    };
    let mut words = what.to_owned();
    if one["is_undo"] == true {
        words.push_str(" (undo)");
    }
    if one["dry_run"] == true {
        words.push_str(" (dry run)");
    }
    let ways = [
        ("by", " by "),
        ("channel", " through "),
        ("rule", ", rule "),
    ];
    for (name, before) in ways {
        if !text(one, name).is_empty() {
            words.push_str(&format!("{before}{}", text(one, name)));
        }
    }
    if !text(one, "reason").is_empty() {
        words.push_str(&format!(": {}", text(one, "reason")));
    }
    let when = one["wall_ms"]
        .as_i64()
        .map(output::time)
        .unwrap_or_default();
    let indent = 26;
    hang(out, &format!("    {when}"), indent, &words);
    let verification = &one["verification"];
    if verification.is_object() {
        let span = |name: &str| {
            let span = &verification[name];
            format!(
                "{:.4} ({} readings)",
                span["median"].as_f64().unwrap_or_default(),
                span["count"].as_u64().unwrap_or_default()
            )
        };
        let verdict = text(verification, "verdict").replace('_', " ");
        let words = format!("{verdict}: {}", text(verification, "summary"));
        hang(out, "", indent, &words);
        let words = format!(
            "{}: {} before, {} after; {}",
            text(verification, "metric"),
            span("before"),
            span("after"),
            text(verification, "test")
        );
        hang(out, "", indent, &words);
    } else if !text(one, "result").is_empty() {
        hang(out, "", indent, text(one, "result"));
    }
    let output: String = text(one, "output").chars().take(OUTPUT).collect();
    if !output.is_empty() {
        hang(out, "", indent, &output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plan() -> Value {
        let span = |median: f64| json!({"from_ms": 0, "to_ms": 1, "count": 12, "median": median});
        json!({
            "short_id": "INC-A1B2C3D4", "plan_hash": "ab".repeat(32),
            "root_cause": "payment-service 4.12.0 holds database connections while it waits for the ledger",
            "steps": [
                {"step_id": "S1", "action": "See who holds the connections", "state": "by_hand",
                    "command": "kubectl exec deploy/payment-service -- psql -c \"SELECT state, count(*) FROM pg_stat_activity GROUP BY 1\"",
                    "rationale": "Connections are the bottleneck.", "rollback": "none: it only reads",
                    "approvals": [], "approvals_missing": null, "happened": []},
                {"step_id": "S2", "action": "Roll back \u{1b}[31m", "state": "verified", "command": "kubectl rollout undo",
                    "typed": {"kind": "rollback_deployment", "service": "payment-service", "executor": "kubernetes",
                        "arguments": {"namespace": "production", "workload": "payment-service"},
                        "risk": "disruptive", "blast_radius": "All pods are replaced one by one.",
                        "pre_checks": ["the rollout is complete"],
                        "effect": {"service": "payment-service", "metric": "service_db_connections",
                            "direction": "below", "baseline_value": 30.2, "within_ms": 300_000},
                        "undo": {"kind": "rollback_deployment", "arguments": {}, "command": "kubectl rollout undo"}},
                    "approvals": [{"by": "ana"}], "approvals_missing": 0,
                    "happened": [
                        {"phase": "refused", "wall_ms": 1_795_316_645_000_i64, "by": "bo", "rule": "unknown_approver",
                            "channel": "slack", "reason": "bo may not approve what is disruptive", "succeeded": null},
                        {"phase": "outcome", "wall_ms": 1_795_316_655_000_i64, "succeeded": true,
                            "output": "deployment.apps/payment-service rolled back"},
                        {"phase": "verified", "wall_ms": 1_795_316_665_000_i64, "succeeded": null, "verification":
                            {"verdict": "not_improved", "metric": "service_db_connections", "summary": "It did not fall.",
                                "before": span(94.0), "after": span(93.5), "test": "Mann-Whitney U, p = 0.4"}}]},
                {"step_id": "S3", "action": "Drain the node", "state": "partly_approved", "command": "kubectl drain n1",
                    "typed": {"kind": "drain", "service": "payment-service", "executor": "kubernetes", "arguments": {},
                        "risk": "destructive", "blast_radius": "", "pre_checks": [], "effect": {}},
                    "approvals": [{"by": "ana"}], "approvals_missing": 1, "two_people": true, "happened": []}
            ]
        })
    }

    #[test]
    fn a_plan_fits_eighty_columns_but_for_what_people_copy() {
        let shown = render(&plan(), Paint::PLAIN);
        for line in shown.lines().filter(|line| !line.starts_with("    $ ")) {
            assert!(output::columns(line) <= output::WIDTH, "{line}");
        }
        assert!(!shown.contains('\u{1b}'));
        for part in [
            "S2  Roll back ·[31m\n    verified\n    $ kubectl rollout undo\n",
            "    by hand\n",
            "    undo     kubectl rollout undo\n",
            "    approved by ana\n",
            "refused by bo through slack, rule unknown_approver: bo",
            "not improved: It did not fall.",
            "94.0000 (12 readings) before",
            "    waiting for another approval\n",
        ] {
            assert!(shown.contains(part), "{part:?} in {shown}");
        }
    }

    #[test]
    fn a_dry_run_and_an_approval_that_does_not_count_are_told_before_the_next_one() {
        let mut plan = plan();
        assert!(!render(&plan, Paint::PLAIN).contains("dry run"));
        plan["dry_run"] = json!(true);
        let step = &mut plan["steps"][2];
        step["can_decide"] = json!(true);
        step["approvals"] = json!([]);
        step["approvals_missing"] = Value::Null;
        step["void_approvals"] = json!([{"by": "ana", "credential_id": "c", "wall_ms": 0,
            "why": "it lapsed 60 min after it was given"}]);
        for shown in [
            render(&plan, Paint::PLAIN),
            action(&plan, &plan["steps"][2], Paint::PLAIN),
        ] {
            for part in [
                "dry run      approving only checks what would be done;",
                "by ana, does not count: it lapsed 60 min after it was given",
            ] {
                assert!(shown.contains(part), "{part} in {shown}");
            }
            let wide = |line: &&str| output::columns(line) > output::WIDTH;
            let mut lines = shown.lines().filter(|line| !line.starts_with("    $ "));
            assert_eq!(lines.find(wide), None);
        }
    }

    #[test]
    fn what_would_be_done_is_shown_with_the_hash_it_is_bound_to() {
        let plan = plan();
        let shown = action(&plan, &plan["steps"][2], Paint::PLAIN);
        for part in [
            "Drain the node",
            "destructive",
            "none: nothing takes it back",
            "1 more must approve",
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        assert!(shown.contains(&"ab".repeat(32)), "{shown}");
    }
}
