//! The mails themselves: snapshots, and what must never happen in one.

mod fixtures;

use fixtures::{Fault, Words, connections, fault, five, release};
use midwatch_events::{AnomalyType, RawDeployment, Severity};

fn snapshot(name: &str, fault: &Fault) {
    let mails = five(fault);
    assert_eq!(mails.len(), 5);
    for mail in mails {
        let text = format!("Subject: {}\n\n{}", mail.subject, mail.body_text);
        insta::assert_snapshot!(format!("{name}-{}.txt", mail.stage), text);
        insta::assert_snapshot!(format!("{name}-{}.html", mail.stage), mail.body_html);
    }
}

#[test]
fn mails_about_exhausted_connections() {
    snapshot("connections", &connections());
}

#[test]
fn mails_about_a_failed_release() {
    snapshot("release", &release());
}

#[test]
fn subjects_have_the_form_that_filters_rely_on() {
    let fault = connections();
    let id = &fault.opened.header.short_id;
    let subjects: Vec<String> = five(&fault).into_iter().map(|mail| mail.subject).collect();
    assert_eq!(
        subjects,
        [
            format!(
                "🚨 [CRITICAL] {id} — DB connection exhaustion on payment-service — 100 connections"
            ),
            format!("🔍 [{id}] Root cause analysis — 87% confidence"),
            format!("🛠️ [{id}] Remediation plan — 3 steps, ETA 15–30 min"),
            format!("✅ [{id}] RESOLVED — DB connection exhaustion — MTTR 6 min"),
            format!("📋 [{id}] Postmortem — 1 action item"),
        ]
    );
}

/// Takes away what tells any two incidents apart, so that only what a mail
/// says about its fault is left.
fn without_names(text: &str, fault: &Fault) -> String {
    let header = &fault.opened.header;
    let mut text = text
        .replace(&header.incident_id.to_string(), "ID")
        .replace(&header.short_id, "SHORT")
        .replace(header.severity.as_str(), "SEVERITY");
    for service in &header.affected_services {
        text = text.replace(service.as_str(), "SERVICE");
    }
    text
}

#[test]
fn two_faults_never_give_interchangeable_mails() {
    let (first, second) = (connections(), release());
    for (one, other) in five(&first).iter().zip(five(&second)) {
        for (a, b) in [
            (&one.body_text, &other.body_text),
            (&one.body_html, &other.body_html),
        ] {
            assert_ne!(
                without_names(a, &first),
                without_names(b, &second),
                "{}",
                one.stage
            );
        }
    }
    // The figure of each fault stands in its own mails and not in the other's.
    let all = |fault: &Fault| {
        five(fault)
            .into_iter()
            .map(|mail| mail.body_text)
            .collect::<String>()
    };
    let (first, second) = (all(&first), all(&second));
    for (own, figure) in [
        (&first, "100 connections"),
        (&second, "39.8 %"),
        (&second, "maria"),
    ] {
        assert!(own.contains(figure), "{figure}");
        assert!(
            !(first.contains(figure) && second.contains(figure)),
            "{figure}"
        );
    }
}

#[test]
fn the_same_fault_on_two_services_names_its_own_objects() {
    let words = |service: &'static str| Words {
        service,
        caller: "api-gateway",
        kind: AnomalyType::CpuSaturation,
        severity: Severity::High,
        metric: "service_cpu_percent",
        observed: 97.0,
        baseline: 30.0,
        sigma: 8.0,
        log: "worker queue is full",
        cause: "saturated",
        deployment: None,
    };
    for (one, other) in five(&fault(&words("order-service")))
        .iter()
        .zip(five(&fault(&words("user-service"))))
    {
        assert!(one.body_text.contains("order-service") && !one.body_text.contains("user-service"));
        assert!(
            other.body_text.contains("user-service") && !other.body_text.contains("order-service")
        );
    }
}

#[test]
fn markup_and_line_breaks_in_names_and_log_lines_stay_text() {
    let hostile = "<img src=x onerror=alert(1)>\r\nBcc: all@example.com";
    let mut fault = fault(&Words {
        service: hostile,
        caller: "a\"b'&<script>alert(2)</script>",
        kind: AnomalyType::LatencySpike,
        severity: Severity::Critical,
        metric: "service_latency_p99_ms",
        observed: 7380.0,
        baseline: 380.0,
        sigma: 12.0,
        log: "</pre><script>alert(3)</script>\n{{ 7 * 7 }}",
        cause: "<b onclick=alert(4)>because</b>",
        deployment: Some(RawDeployment {
            timestamp_ms: fixtures::DETECTED,
            service: hostile.to_owned(),
            environment: hostile.to_owned(),
            version: "<i>1</i>".to_owned(),
            change_type: hostile.to_owned(),
            git_sha: hostile.to_owned(),
            deployed_by: hostile.to_owned(),
            description: hostile.to_owned(),
            known_risks: vec![hostile.to_owned()],
            previous_version: Some(hostile.to_owned()),
        }),
    });
    fault.postmortem.postmortem = format!("# {hostile}\n\n![x](http://example.com/x.png)\n");
    for mail in five(&fault) {
        for bad in ["<img", "<script>", "<b onclick", "<i>1", "x.png", ">49<"] {
            assert!(
                !mail.body_html.contains(bad),
                "{bad} in {}: {}",
                mail.stage,
                mail.body_html
            );
        }
        assert!(!mail.subject.contains(['\r', '\n']), "{:?}", mail.subject);
        let forged = mail.body_text.lines().any(|line| line.starts_with("Bcc:"));
        // Markdown of the postmortem keeps its own line breaks.
        assert!(!forged || mail.stage == "postmortem", "{}", mail.body_text);
    }
}

#[test]
fn mails_can_be_read_where_nothing_optional_is_known() {
    let mut fault = release();
    let opened = &mut fault.opened;
    opened.trigger_metric = "log:oom".to_owned();
    opened.header.affected_services.clear();
    opened.grouped_anomalies.clear();
    opened.recent_errors.clear();
    opened.correlation_signals.clear();
    opened.deployment_context = None;
    opened.blast_radius = Default::default();
    fault.rca.root_cause_candidates.clear();
    fault.rca.deployment_context = None;
    fault.rca.top_confidence = f64::NAN;
    fault.rca.verdict = midwatch_events::incident::Verdict::Inconclusive;
    fault.plan.action_steps.clear();
    fault.plan.escalation_path.clear();
    fault.plan.runbook_references.clear();
    fault.resolved.settling_readings.clear();
    fault.resolved.top_root_cause.clear();
    fault.resolved.resolution_method = "SOMETHING_NEW".to_owned();
    fault.postmortem.action_items.clear();
    fault.postmortem.postmortem.clear();
    let mails = five(&fault);
    assert_eq!(mails.len(), 5);
    assert!(mails[1].body_text.contains("no cause established yet"));
    assert!(
        mails[3]
            .body_text
            .contains("Unknown: the incident ended before a cause was established.")
    );
    for mail in mails {
        assert!(
            !mail.body_text.contains("NaN") && !mail.body_text.contains("none\n"),
            "{}",
            mail.body_text
        );
    }
}

#[test]
fn no_mail_loads_anything_from_elsewhere() {
    for fault in [connections(), release()] {
        for mail in five(&fault) {
            for word in ["src=", "url(", "@import", "<link", "<script"] {
                assert!(!mail.body_html.contains(word), "{word} in {}", mail.stage);
            }
        }
    }
}

#[test]
fn the_plan_says_before_an_approval_that_it_would_be_a_dry_run() {
    const TOLD: &str = "An approval makes a";
    for (dry_run, told) in [(None, false), (Some(false), false), (Some(true), true)] {
        let mut fault = connections();
        fault.plan.dry_run = dry_run;
        let mails = five(&fault);
        for mail in &mails {
            let wanted = told && mail.stage == "plan";
            assert_eq!(
                mail.body_text.contains(TOLD),
                wanted,
                "{dry_run:?} {}",
                mail.stage
            );
            assert_eq!(
                mail.body_html.contains(TOLD),
                wanted,
                "{dry_run:?} {}",
                mail.stage
            );
        }
    }
}
