//! The JSON interface.

use crate::HOSTILE;
use crate::fixture::{Cast, METRIC, STAGES, Stage, write};
use crate::server::Server;
use midwatch_api::routes::{OPENAPI, ROUTES};
use midwatch_events::ids;
use midwatch_runtime::clock;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn ids_of(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().expect("a list");
    let id = |item: &Value| item["id"].as_str().expect("an id").to_owned();
    items.iter().map(id).collect()
}

#[test]
fn the_interface_document_describes_exactly_the_routes() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let described: BTreeSet<&str> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let served: BTreeSet<&str> = ROUTES.iter().map(|(path, _)| *path).collect();
    assert_eq!(described, served);
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods = item.as_object().unwrap();
        let posts = [
            "resend",
            "commands",
            "maintenance",
            "sign-in",
            "sign-out",
            "actions",
            "webhook",
        ];
        let both = ["/approve", "/acknowledge", "/api/incidents"].contains(&path.as_str());
        let posted = path
            .rsplit('/')
            .next()
            .is_some_and(|end| posts.contains(&end));
        assert_eq!(methods.contains_key("post"), posted || both, "{path}");
        assert_eq!(methods.len(), 1 + usize::from(both), "{path}");
        for described in methods.values() {
            let names: BTreeSet<&str> = described["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            let in_path: BTreeSet<&str> = path.split(['{', '}']).skip(1).step_by(2).collect();
            assert_eq!(names, in_path, "{path}");
        }
    }
    for reference in OPENAPI.split("\"#/").skip(1) {
        let pointer = format!("/{}", reference.split('"').next().unwrap());
        assert!(document.pointer(&pointer).is_some(), "{pointer}");
    }
}

#[tokio::test]
async fn every_documented_field_is_there_and_no_other() {
    let server = Server::start().await;
    let cast = Cast::usual("fields", 3);
    write(&server.scratch.pool, &cast, Stage::Resolved).await;
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let fields = |schema: &str| -> BTreeSet<String> {
        document["components"]["schemas"][schema]["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    let got = |value: &Value| -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    let incident = server.json(&format!("/api/incidents/{}", cast.id)).await;
    assert_eq!(got(&incident), fields("Incident"));
    assert_eq!(got(&incident["timeline"][0]), fields("TimelineEntry"));
    assert_eq!(got(&incident["mails"][0]), fields("Email"));
    let plan = server
        .json(&format!("/api/incidents/{}/plan", cast.id))
        .await;
    assert_eq!(got(&plan["steps"][1]), fields("PlanStep"));
    assert_eq!(got(&incident["llm_calls"][0]), fields("ModelCallSummary"));
    assert_eq!(got(&incident["costs"][0]), fields("StageCost"));
    assert_eq!(got(&incident["review"]), fields("Review"));
    for (path, schema) in [
        ("/api/incidents", "IncidentSummary"),
        ("/api/agent-events", "AgentEvent"),
    ] {
        assert_eq!(
            got(&server.json(path).await["items"][0]),
            fields(schema),
            "{path}"
        );
    }
    for (path, schema) in [
        ("/api/stats", "Stats"),
        ("/api/topics", "Topics"),
        ("/health", "Health"),
        (&*format!("/api/incidents/{}/series", cast.id), "Series"),
        (&*format!("/api/incidents/{}/records", cast.id), "Records"),
        (&*format!("/api/incidents/{}/plan", cast.id), "Plan"),
        ("/api/emails", "EmailPage"),
        ("/api/llm-calls", "ModelCalls"),
        ("/api/fleet", "FleetPage"),
        ("/api/fleet/payment-service", "Service"),
        ("/api/knowledge", "Knowledge"),
        ("/api/agents", "Agents"),
        ("/api/dead-letters", "Letters"),
    ] {
        assert_eq!(got(&server.json(path).await), fields(schema), "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn lists_are_paged_by_key_without_gap_or_repeat() {
    let server = Server::start().await;
    let now = Cast::usual("0", 5).wall_ms;
    let mut casts: Vec<Cast> = (0..7)
        .map(|index| Cast::usual(&index.to_string(), 5))
        .collect();
    for (index, cast) in casts.iter_mut().enumerate() {
        // Three at the same moment: the id decides between them.
        cast.wall_ms = now + [0, 1_000, 2_000, 2_000, 2_000, 3_000, 4_000][index];
        write(&server.scratch.pool, cast, Stage::Opened).await;
    }
    casts.sort_by_key(|cast| std::cmp::Reverse((cast.wall_ms, cast.id)));
    let expected: Vec<String> = casts.iter().map(|cast| cast.id.to_string()).collect();
    let mut got = Vec::new();
    let mut next = String::new();
    for pages in 1..=3 {
        let page = server.json(&format!("/api/incidents?limit=3{next}")).await;
        got.extend(ids_of(&page));
        match page["next"].as_str() {
            Some(key) => next = format!("&before={key}"),
            None => assert_eq!(pages, 3),
        }
    }
    assert_eq!(got, expected);
    assert_eq!(
        server.json("/api/incidents?limit=7").await["next"],
        Value::Null
    );
    let page = server.page("/?limit=3").await;
    assert_eq!(page.matches("<li class=\"card row").count(), 3);
    assert!(page.contains(">Older</a>"));
    let page = server.page("/?limit=3&status=OPEN&severity=CRITICAL").await;
    let older = page
        .split("href=\"")
        .find(|rest| rest.contains(">Older</a>"));
    let older = older.unwrap().split('"').next().unwrap();
    assert!(older.contains("severity=CRITICAL") && older.contains("status=OPEN"));
    let second = server
        .page(&older.replace("&amp;", "&").replace("&#x2f;", "/"))
        .await;
    assert_eq!(second.matches("<li class=\"card row").count(), 3);
    let newest = "href=\"/?limit=3&amp;severity=CRITICAL&amp;status=OPEN\">Newest</a>";
    assert!(second.contains(newest), "filters stay: {second}");
    server.stop().await;
}

#[tokio::test]
async fn filters_narrow_the_list_and_bad_ones_are_refused_by_name() {
    let server = Server::start().await;
    let (open, over, odd) = (
        Cast::usual("a", 1),
        Cast::usual("b", 9),
        Cast::hostile(HOSTILE),
    );
    write(&server.scratch.pool, &open, Stage::Planned).await;
    write(&server.scratch.pool, &over, Stage::Resolved).await;
    write(&server.scratch.pool, &odd, Stage::Opened).await;
    let id = |cast: &Cast| cast.id.to_string();
    for (query, expected) in [
        ("status=OPEN", vec![id(&open), id(&odd)]),
        ("status=resolved", vec![id(&over)]),
        ("severity=LOW", vec![]),
        ("service=order-service&status=", vec![id(&open), id(&over)]),
        (
            "service=%3Cimg%20src=x%20onerror=alert(1)%3E",
            vec![id(&odd)],
        ),
        ("environment=local", vec![]),
    ] {
        let got = ids_of(&server.json(&format!("/api/incidents?{query}")).await);
        assert_eq!(got, expected, "{query}");
    }
    for (path, status, words) in [
        ("/api/incidents?status=OPENED", 400, "REMEDIATING"),
        ("/api/incidents?limit=201", 400, "1 to 200"),
        (
            "/api/incidents?sevrity=LOW",
            400,
            "known here: status, severity",
        ),
        ("/api/incidents?before=yesterday", 400, "`next`"),
        ("/api/incidents/INC-1", 400, "INC-A1B2C3D4"),
        ("/api/incidents/INC-00000000", 404, "GET /api/incidents"),
        (
            "/api/emails?stage=late",
            400,
            "opened, rca, plan, resolved, postmortem",
        ),
        ("/api/emails/first", 400, "number"),
        ("/api/emails/999999", 404, "GET /api/emails"),
        ("/api/agent-events?after=-1", 400, "whole number"),
        ("/api/agent-events?incident=x", 400, "UUID"),
        ("/api/nothing", 404, "/openapi.json"),
    ] {
        let error = server.refused(path, status).await;
        assert!(
            error["hint"].as_str().unwrap().contains(words),
            "{path}: {error}"
        );
        assert!(
            error["code"].is_string() && error["message"].is_string(),
            "{path}"
        );
    }
    let url = format!("http://{}/api/fleet", server.address);
    let response = server.client.post(url).send().await.unwrap();
    assert_eq!(response.status(), 405);
    server.stop().await;
}

fn costs_and_review_are_told(by_id: &Value, cast: &Cast) {
    let costs = by_id["costs"].as_array().expect("it is there");
    let of = |stage: &str| {
        costs
            .iter()
            .find(|cost| cost["stage"] == stage)
            .expect("it is there")
    };
    let model = of("investigation");
    let spent = [
        "model_calls",
        "prompt_tokens",
        "completion_tokens",
        "model_ms",
        "work_ms",
    ];
    assert_eq!(
        json!(spent.map(|name| &model[name])),
        json!([2, 1_840 + 2_210, 40 + 212, 2 * 2_310, 0])
    );
    assert_eq!(of("records")["model_calls"], 0);
    assert!(of("records")["stored_bytes"].as_i64().expect("it is there") > 0);
    let review = &by_id["review"];
    let newest = [
        &review["version"],
        &review["status"],
        &review["reviewed_by"],
    ];
    assert_eq!(json!(newest), json!([2, "reviewed", cast.line]));
    assert_eq!(review["reviewed_at_ms"], cast.wall_ms + 90_000);
}

#[tokio::test]
async fn an_incident_is_found_by_either_id_with_all_that_belongs_to_it() {
    let server = Server::start().await;
    let cast = Cast::usual("one", 4);
    write(&server.scratch.pool, &cast, Stage::Resolved).await;
    write(
        &server.scratch.pool,
        &Cast::usual("other", 2),
        Stage::Resolved,
    )
    .await;
    let by_id = server.json(&format!("/api/incidents/{}", cast.id)).await;
    let short = ids::short_incident(cast.id);
    assert_eq!(by_id, server.json(&format!("/api/incidents/{short}")).await);
    assert_eq!(
        by_id["title"],
        "DB connection exhaustion on payment-service"
    );
    assert_eq!(by_id["detection_time"], clock::rfc3339(cast.wall_ms));
    assert_eq!(by_id["detected_at_ms"], cast.wall_ms);
    assert_eq!(by_id["resolved_at_ms"], cast.wall_ms + 320_000);
    assert_eq!(by_id["timeline"].as_array().unwrap().len(), 14);
    assert_eq!(by_id["timeline"][8]["event_type"], "INCIDENT_RESOLVED");
    assert_eq!(by_id["timeline"][8]["wall_ms"], cast.wall_ms + 53_333);
    assert_eq!(
        by_id["records"],
        json!({"metric": 266, "log": 1, "span": 1, "deployment": 1})
    );
    assert_eq!(by_id["llm_calls"][0]["cost_usd"], 0.0123);
    costs_and_review_are_told(&by_id, &cast);
    let mails = by_id["mails"].as_array().unwrap();
    let stages: Vec<&str> = mails
        .iter()
        .map(|mail| mail["stage"].as_str().unwrap())
        .collect();
    assert_eq!(stages, STAGES);
    assert_eq!(mails[2]["status"], "FAILED");
    assert_eq!(mails[2]["attempts"], 3);
    assert_eq!(
        mails[0]["recipients"],
        json!(["payments-oncall@example.com", "payments@example.com"])
    );
    let records = format!("/api/incidents/{short}/records");
    let logs = server.json(&format!("{records}?kind=log")).await;
    assert_eq!(logs["items"][0]["text"], cast.line);
    // What was too much to be kept is said where records are listed.
    let left_out = json!([{"kind": "log", "service": "payment-service", "count": 1_234}]);
    assert_eq!(logs["left_out"], left_out);
    let some = server
        .json(&format!(
            "{records}?kind=metric&service=payment-service&name={METRIC}&limit=5"
        ))
        .await;
    assert_eq!(
        (some["items"].as_array().unwrap().len(), &some["truncated"]),
        (5, &json!(true))
    );
    server.stop().await;
}

#[tokio::test]
async fn the_series_is_that_of_the_triggering_metric_unless_another_is_named() {
    let server = Server::start().await;
    let cast = Cast::usual("series", 4);
    write(&server.scratch.pool, &cast, Stage::Resolved).await;
    let path = format!("/api/incidents/{}/series", cast.id);
    let series = server.json(&path).await;
    assert_eq!(
        (&series["service"], &series["metric"]),
        (&json!("payment-service"), &json!(METRIC))
    );
    assert_eq!(series["source"], "records");
    assert_eq!(series["points"].as_array().unwrap().len(), 133);
    assert_eq!(series["onset_ms"], cast.wall_ms - 20_000);
    let at_trigger = series["points"]
        .as_array()
        .unwrap()
        .iter()
        .find(|point| point["at_ms"] == cast.wall_ms);
    assert_eq!(at_trigger.unwrap()["expected"], 30.0);
    let other = server
        .json(&format!(
            "{path}?service=order-service&metric=service_latency_p99_ms"
        ))
        .await;
    assert_eq!(other["points"].as_array().unwrap().len(), 133);
    let none = server
        .json(&format!("{path}?service=order-service&metric=nothing"))
        .await;
    assert_eq!(
        (&none["source"], &none["points"]),
        (&json!("none"), &json!([]))
    );
    assert!(
        server.refused(&format!("{path}?service=x"), 400).await["hint"]
            .as_str()
            .unwrap()
            .contains("metric=")
    );
    server.stop().await;
}

#[tokio::test]
async fn the_audit_trail_can_be_followed_by_id() {
    let server = Server::start().await;
    let cast = Cast::usual("trail", 4);
    write(&server.scratch.pool, &cast, Stage::Opened).await;
    write(
        &server.scratch.pool,
        &Cast::usual("noise", 4),
        Stage::Opened,
    )
    .await;
    let newest = server.json("/api/agent-events?limit=3").await;
    let first = server
        .json(&format!(
            "/api/agent-events?incident={}&limit=3&after=0",
            cast.id
        ))
        .await;
    assert_eq!(first["items"][0]["event_type"], "ANOMALY_DETECTED");
    let rest = server
        .json(&format!(
            "/api/agent-events?incident={}&after={}",
            ids::short_incident(cast.id),
            first["next"]
        ))
        .await;
    assert_eq!(rest["items"].as_array().unwrap().len(), 1);
    assert_eq!(rest["items"][0]["event_type"], "INVESTIGATION_STARTED");
    let done = server
        .json(&format!("/api/agent-events?after={}", newest["next"]))
        .await;
    assert_eq!(done, json!({"items": [], "next": newest["next"]}));
    server.stop().await;
}

#[tokio::test]
async fn a_mail_is_one_row_and_its_page_may_do_nothing() {
    let server = Server::start().await;
    for seed in ["a", "b"] {
        write(&server.scratch.pool, &Cast::usual(seed, 4), Stage::Resolved).await;
    }
    let first = server.json("/api/emails?limit=6").await;
    let second = server
        .json(&format!(
            "/api/emails?limit=6&before={}",
            first["next"].as_str().unwrap()
        ))
        .await;
    let rows = |page: &Value| page["items"].as_array().unwrap().len();
    assert_eq!(
        (rows(&first), rows(&second), &second["next"]),
        (6, 4, &Value::Null)
    );
    assert_eq!(rows(&server.json("/api/emails?status=FAILED").await), 2);
    let address = first["items"][0]["html"].as_str().unwrap();
    let response = server.get(address).await;
    let policy = response.headers()["content-security-policy"]
        .to_str()
        .unwrap();
    assert!(
        policy.contains("sandbox") && policy.contains("default-src 'none'"),
        "{policy}"
    );
    assert!(
        !policy.contains("script-src") && !policy.contains("allow-"),
        "{policy}"
    );
    assert!(response.text().await.unwrap().contains("<h1"));
    let stats = server.json("/api/stats").await;
    assert_eq!(
        (&stats["mails_sent"], &stats["mails_failed"]),
        (&json!(8), &json!(2))
    );
    assert_eq!(stats["mttr_median_ms"], 320_000.0);
    assert_eq!(
        (&stats["incidents"], &stats["open"]),
        (&json!(2), &json!(0))
    );
    server.stop().await;
}

#[tokio::test]
async fn its_sessions_can_only_read() {
    let server = Server::start().await;
    write(&server.scratch.pool, &Cast::usual("a", 1), Stage::Opened).await;
    for statement in ["DELETE FROM incidents", "CREATE TABLE mine (x INT)"] {
        let error = sqlx::query(statement)
            .execute(&server.app.pool)
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("read-only transaction"),
            "{error}"
        );
    }
    let role: String = sqlx::query_scalar("SELECT current_user::text")
        .fetch_one(&server.app.pool)
        .await
        .unwrap();
    assert_eq!(role, "midwatch_reader");
    let error = sqlx::query("SELECT * FROM agent_state")
        .execute(&server.app.pool)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("permission denied"), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn health_follows_the_database() {
    let server = Server::start().await;
    assert_eq!(server.json("/health").await["status"], "ok");
    server.app.pool.close().await;
    let response = server.get("/health").await;
    assert_eq!(response.status(), 503);
    let error = server.refused("/api/incidents", 503).await;
    assert_eq!(error["code"], "database_unavailable");
    server.stop().await;
}
