//! Approvals and rejections through the API and the page, on a real broker and a
//! real database.

use crate::HOSTILE;
use crate::commands::{TOKEN, broker, commands, file, post, press, session};
use crate::fixture::{Cast, Stage, add_told, write};
use crate::pages::assert_harmless;
use crate::server::Server;
use midwatch_api::operators::{Operators, Proxy};
use midwatch_api::series::Recent;
use midwatch_clients::kafka::KafkaSettings;
use midwatch_clients::postgres::artifacts;
use midwatch_events::artifact::ArtifactKind;
use midwatch_events::ids;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

pub async fn serve(settings: &KafkaSettings, operators: &Path) -> Server {
    let proxy = Proxy::new("x-forwarded-user", "127.0.0.1").expect("an address");
    let operators = Operators::new(Some(operators.to_owned()), false).behind(Some(proxy));
    Server::with(settings.clone(), Recent::default(), |app| {
        app.operators = Arc::new(operators);
        app.link_key = Some(Arc::new(crate::links::key()));
    })
    .await
}

fn decide(command: &str, step: &str, hash: &str) -> Value {
    json!({"command": command, "target": step, "plan_hash": hash})
}

#[tokio::test]
async fn a_decision_names_its_step_its_plan_and_its_way() {
    let settings = broker().await;
    let operators = file("decides", &format!("ana {TOKEN}\n"));
    let server = serve(&settings, &operators).await;
    let cast = Cast::usual("decides", 3);
    write(&server.scratch.pool, &cast, Stage::Planned).await;
    let plan = server
        .json(&format!("/api/incidents/{}/plan", cast.id))
        .await;
    let hash = plan["plan_hash"].as_str().expect("a hash").to_owned();
    assert_eq!(hash, cast.plan_hash());
    assert_eq!(plan["steps"][1]["state"], "waiting");
    assert_eq!(plan["steps"][0]["state"], "by_hand");
    let path = format!("/api/incidents/{}/commands", cast.id);
    let bearer = format!("Bearer {TOKEN}");
    // The proxy may say who the client is.
    let auth = [
        ("authorization", bearer.as_str()),
        ("x-forwarded-for", "198.51.100.7"),
    ];
    let mut body = decide("approve", "S2", &hash);
    body["channel"] = json!("cli");
    let (status, answer) = post(&server, &path, &body, &auth).await;
    assert_eq!(status, 202, "{answer}");
    let proxied = [("x-forwarded-user", "bo@example.com")];
    let (status, answer) = post(&server, &path, &decide("reject", "S3", &hash), &proxied).await;
    assert_eq!(status, 202, "{answer}");
    let found = commands(&settings).await;
    assert_eq!(found.len(), 2);
    let (key, approve) = &found[0];
    assert_eq!(*key, cast.id.to_string());
    assert_eq!(
        (approve.command.as_str(), approve.target.as_str()),
        ("approve", "S2")
    );
    let details = &approve.details;
    assert_eq!(
        (
            details.plan_hash.as_str(),
            details.channel.as_str(),
            details.origin.as_str()
        ),
        (hash.as_str(), "cli", "198.51.100.7")
    );
    let reject = &found[1].1;
    assert_eq!(
        (reject.by.as_str(), reject.credential_id.as_str()),
        ("bo@example.com", "proxy:bo@example.com")
    );
    assert_eq!(
        (
            reject.details.channel.as_str(),
            reject.details.origin.as_str()
        ),
        ("api", "127.0.0.1")
    );
    server.stop().await;
    std::fs::remove_file(operators).expect("it is there");
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table of what is refused")]
async fn a_decision_that_does_not_fit_names_its_rule() {
    let operators = file("unfit", &format!("ana {TOKEN}\n"));
    let server = serve(&KafkaSettings::at("127.0.0.1:1"), &operators).await;
    let casts = [
        Cast::usual("planned", 3),
        Cast::usual("young", 1),
        Cast::usual("over", 9),
    ];
    for (cast, stage) in casts
        .iter()
        .zip([Stage::Planned, Stage::Opened, Stage::Resolved])
    {
        write(&server.scratch.pool, cast, stage).await;
    }
    let [planned, young, over] = &casts;
    let hash = planned.plan_hash();
    let bearer = format!("Bearer {TOKEN}");
    let auth = [("authorization", bearer.as_str())];
    for (cast, body, status, code) in [
        (
            planned,
            decide("approve", "S2", &"0".repeat(64)),
            409,
            "other_plan",
        ),
        (planned, decide("approve", "S9", &hash), 404, "unknown_step"),
        (
            planned,
            decide("approve", "S1", &hash),
            409,
            "not_executable",
        ),
        (planned, decide("approve", "", &hash), 400, "bad_parameter"),
        (planned, decide("approve", "S2", ""), 400, "bad_parameter"),
        (
            planned,
            json!({"command": "close", "plan_hash": hash}),
            400,
            "bad_parameter",
        ),
        (
            planned,
            json!({"command": "acknowledge", "target": "S2"}),
            400,
            "bad_parameter",
        ),
        (
            planned,
            json!({"command": "acknowledge", "channel": "page"}),
            400,
            "bad_parameter",
        ),
        (
            planned,
            json!({"command": "close", "stated": {"root_cause": ""}}),
            400,
            "bad_parameter",
        ),
        (
            planned,
            json!({"command": "close", "stated": {"root_cause": "x", "by": "bo"}}),
            400,
            "bad_body",
        ),
        (young, decide("approve", "S2", &hash), 409, "no_plan"),
        (
            over,
            decide("reject", "S2", &over.plan_hash()),
            409,
            "incident_over",
        ),
    ] {
        let path = format!("/api/incidents/{}/commands", cast.id);
        let (got, answer) = post(&server, &path, &body, &auth).await;
        assert_eq!(
            (got, &answer["error"]["code"]),
            (status, &code.into()),
            "{body}: {answer}"
        );
    }
    let missing = server
        .refused(&format!("/api/incidents/{}/plan", young.id), 404)
        .await;
    assert_eq!(missing["code"], "not_found");
    server.stop().await;
    std::fs::remove_file(operators).expect("it is there");
}

/// The same server, whose proxy has another address.
#[tokio::test]
async fn nobody_but_the_proxy_says_who_somebody_is() {
    let proxy = Proxy::new("x-forwarded-user", "10.9.9.9").expect("an address");
    let server = Server::with(KafkaSettings::at("127.0.0.1:1"), Recent::default(), |app| {
        app.operators = Arc::new(Operators::new(None, false).behind(Some(proxy)));
    })
    .await;
    let cast = Cast::usual("forged", 3);
    write(&server.scratch.pool, &cast, Stage::Planned).await;
    let path = format!("/api/incidents/{}/commands", cast.id);
    let forged = [("x-forwarded-user", "ana")];
    let (status, answer) = post(&server, &path, &json!({"command": "close"}), &forged).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (403, &"proxy_not_trusted".into())
    );
    let (status, _) = post(&server, &path, &json!({"command": "close"}), &[]).await;
    assert_eq!(status, 401);
    let page = server.page(&format!("/incidents/{}", cast.id)).await;
    assert!(page.contains("come through the proxy") && !page.contains("/operator/sign-in"));
    server.stop().await;
}

#[tokio::test]
async fn the_plan_on_the_page_tells_each_step_s_fate_and_takes_decisions() {
    let settings = broker().await;
    let operators = file("plan", &format!("bo {TOKEN}\n"));
    let server = serve(&settings, &operators).await;
    let cast = Cast::usual("plan-page", 3);
    write(&server.scratch.pool, &cast, Stage::Planned).await;
    let here = format!("http://{}", server.address);
    let at = format!("/incidents/{}", cast.id);
    let page = server.page(&at).await;
    for part in [
        "waiting for approval",
        "<code>rollback_deployment</code> on payment-service by kubernetes",
        "<code>workload=payment-service</code>",
        "class=\"chip risk-disruptive\"",
        "none: nothing takes it back",
        "Two people have to approve what is destructive",
        "midwatch approve",
        "<span class=\"state is-off\">by hand</span>",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("value=\"approve\""), "nobody is signed in");
    let origin = ("origin", here.as_str());
    let pair = session(&server, &cast, origin).await;
    let asking = [origin, ("cookie", pair.as_str())];
    let signed = server
        .client
        .get(format!("{here}{at}"))
        .header("cookie", &pair);
    let signed = signed
        .send()
        .await
        .expect("an answer")
        .text()
        .await
        .expect("a body");
    assert_eq!(signed.matches("value=\"approve\"").count(), 2);
    assert_harmless(&signed, "the plan");
    let fields = format!(
        "command=approve&step=S2&plan_hash={}&reason=it+fits",
        cast.plan_hash()
    );
    let path = format!("{at}/commands");
    assert_eq!(
        press(&server, &path, &fields, &[("cookie", &pair)])
            .await
            .status(),
        403
    );
    let pressed = press(&server, &path, &fields, &asking).await;
    assert_eq!(pressed.status(), 303);
    let back = pressed.headers()["location"]
        .to_str()
        .expect("text")
        .to_owned();
    assert!(
        back.contains("?asked=approve.") && back.ends_with("#plan"),
        "{back}"
    );
    let found = commands(&settings).await;
    assert_eq!(
        (found.len(), found[0].1.details.channel.as_str()),
        (1, "page")
    );
    assert_eq!(
        (found[0].1.target.as_str(), found[0].1.reason.as_str()),
        ("S2", "it fits")
    );
    server.stop().await;
    std::fs::remove_file(operators).expect("it is there");
}

#[tokio::test]
async fn what_became_of_a_step_is_told_with_numbers_and_stays_text() {
    let server = Server::start().await;
    let cast = Cast::hostile(HOSTILE);
    write(&server.scratch.pool, &cast, Stage::Planned).await;
    let span = |median: f64| json!({"from_ms": 1, "to_ms": 2, "count": 12, "median": median});
    let verification = json!({"service": HOSTILE, "metric": "service_db_connections",
        "verdict": "improved", "before": span(94.0), "after": span(31.0), "test": "Mann-Whitney U",
        "p_value": 0.001, "summary": format!("It fell on {HOSTILE}."),
        "control": {"service": HOSTILE, "metric": "m", "before": span(1.0), "after": span(1.0)}});
    let by = json!({"command": "approve", "by": HOSTILE, "credential_id": HOSTILE, "channel": "link",
        "reason": HOSTILE});
    let mut refused = by.clone();
    refused["rule"] = json!(HOSTILE);
    let outcome = json!({"details": {"status": "done", "output": HOSTILE}});
    let verified = json!({"details": {"verdict": "improved", "summary": HOSTILE, "verification": verification}});
    let first = json!({"command": "approve", "by": "ana", "approvals_missing": 1});
    let lines = [
        ("ACTION_REFUSED", HOSTILE, cast.told("S2", &refused)),
        ("ACTION_APPROVED", HOSTILE, cast.told("S2", &by)),
        (
            "ACTION_STARTED",
            HOSTILE,
            cast.told("S2", &json!({"dry_run": false})),
        ),
        ("ACTION_EXECUTED", HOSTILE, cast.told("S2", &outcome)),
        ("ACTION_VERIFIED", HOSTILE, cast.told("S2", &verified)),
        (
            "ACTION_APPROVED",
            "ana approved S3",
            cast.told("S3", &first),
        ),
    ];
    add_told(&server.scratch.pool, &cast, &lines).await;
    let page = server.page(&format!("/incidents/{}", cast.id)).await;
    assert_harmless(&page, "the plan");
    for part in [
        "<span class=\"state is-over\">verified</span>",
        "waiting for 1 more",
        "1 more person has to approve it, with another credential.",
        "rule &lt;img src=x",
        "94 connections before (12 readings), 31 connections after (12 readings)",
        "<b>Improved</b>: It fell on &lt;img",
        "<pre class=\"payload\">&lt;img src=x",
        "p = 0",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let plan = server
        .json(&format!("/api/incidents/{}/plan", cast.id))
        .await;
    assert_eq!(plan["steps"][1]["state"], "verified");
    assert_eq!(plan["steps"][2]["approvals_missing"], 1);
    assert_eq!(plan["earlier"], json!([]));
    assert!(!page.contains("id=\"earlier-plans\""));
    earlier_is_told(&server, &cast).await;
    server.stop().await;
}

/// A plan with the same steps that was revised since; its id.
async fn revised_plan(pool: &sqlx::PgPool, cast: &Cast) -> uuid::Uuid {
    let row = sqlx::query_scalar("SELECT remediation_plan FROM incidents WHERE id = $1");
    let mut plan: Value = row.bind(cast.id).fetch_one(pool).await.expect("a plan");
    let plan_id = ids::derive(&["revised plan", &cast.id.to_string()]);
    plan["plan_id"] = json!(plan_id);
    let proposal = json!({"artifact_id": plan_id, "incident_id": cast.id,
        "kind": ArtifactKind::RemediationProposal, "schema_version": 1,
        "producer": "remediation", "consumer": "communication", "status": "superseded",
        "inputs": [], "evidence": [], "created_at_ms": 1, "replay": false, "body": plan});
    let proposal = serde_json::from_value(proposal).expect("an artifact");
    let mut tx = pool.begin().await.expect("a transaction");
    artifacts::write(&mut tx, cast.id, &[proposal], &[])
        .await
        .expect("the plan");
    tx.commit().await.expect("written");
    plan_id
}

/// The step of the same number in a plan that was revised is another one.
async fn earlier_is_told(server: &Server, cast: &Cast) {
    let revised = revised_plan(&server.scratch.pool, cast).await;
    let mut failed = cast.told(
        "S2",
        &json!({"details": {"status": "failed", "output": HOSTILE}}),
    );
    failed["plan_id"] = json!(revised);
    add_told(
        &server.scratch.pool,
        cast,
        &[("ACTION_FAILED", HOSTILE, failed)],
    )
    .await;
    let plan = server
        .json(&format!("/api/incidents/{}/plan", cast.id))
        .await;
    assert_eq!(plan["steps"][1]["state"], "verified");
    let earlier = plan["earlier"].as_array().expect("a list");
    assert_eq!(earlier.len(), 1);
    let told = ["plan_id", "step_id", "state"].map(|name| earlier[0][name].clone());
    assert_eq!(told, [json!(revised), json!("S2"), json!("failed")]);
    let page = server.page(&format!("/incidents/{}", cast.id)).await;
    assert_harmless(&page, "the earlier plan");
    let list = page.split("id=\"earlier-plans\"").nth(1).expect("the list");
    let list = list.split("Approvals are bound").next().expect("its end");
    for part in [
        "of the plan of <time",
        "<span class=\"state is-bad\">failed</span>",
        "Roll back to",
    ] {
        assert!(list.contains(part), "{part}: {list}");
    }
}
