//! The fleet.

use crate::HOSTILE;
use crate::fixture::{Cast, Stage, fleet, write};
use crate::server::Server;
use midwatch_api::fleet::CatalogueFile;
use midwatch_api::series::Recent;
use midwatch_clients::kafka::KafkaSettings;
use midwatch_runtime::clock;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn catalogue() -> Arc<CatalogueFile> {
    let knowledge = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../knowledge");
    Arc::new(CatalogueFile::below(&knowledge))
}

fn services(view: &Value) -> Vec<String> {
    let items = view["items"].as_array().expect("services");
    let name = |item: &Value| item["service"].as_str().expect("a name").to_owned();
    items.iter().map(name).collect()
}

#[tokio::test]
async fn without_catalogue_and_redis_the_page_says_so() {
    let server = Server::with(KafkaSettings::at("127.0.0.1:1"), Recent::default(), |app| {
        app.catalogue = Arc::new(CatalogueFile::below(Path::new("/nowhere")));
    })
    .await;
    let page = server.page("/fleet").await;
    assert!(page.contains("set KNOWLEDGE_DIR to its folder"), "{page}");
    assert!(page.contains("REDIS_URL says where it should be"));
    assert!(page.contains("No service to show"));
    let view = server.json("/api/fleet").await;
    assert_eq!((&view["items"], &view["next"]), (&json!([]), &Value::Null));
    let error = server.refused("/api/fleet/nobody", 404).await;
    assert!(error["hint"].as_str().unwrap().contains("KNOWLEDGE_DIR"));
    server.stop().await;
}

#[tokio::test]
async fn the_catalogue_alone_shows_every_service_without_data() {
    let server = Server::with(KafkaSettings::at("127.0.0.1:1"), Recent::default(), |app| {
        app.catalogue = catalogue();
    })
    .await;
    let view = server.json("/api/fleet").await;
    assert_eq!(
        services(&view),
        [
            "api-gateway",
            "inventory-service",
            "notification-service",
            "order-service",
            "payment-service",
            "user-service"
        ]
    );
    let payment = &view["items"][4];
    assert_eq!(
        (&payment["state"], &payment["team"], &payment["criticality"]),
        (&json!("no_data"), &json!("payments"), &json!("P0"))
    );
    let mut paged = Vec::new();
    let mut next = String::new();
    for pages in 1..=2 {
        let page = server.json(&format!("/api/fleet?limit=4{next}")).await;
        paged.extend(services(&page));
        match page["next"].as_str() {
            Some(key) => next = format!("&after={key}"),
            None => assert_eq!(pages, 2),
        }
    }
    assert_eq!(paged, services(&view));
    let page = server.page("/fleet/payment-service").await;
    assert!(page.contains("payments-oncall@example.com") || page.contains("On call"));
    assert!(page.contains("href=\"/fleet/order-service\""), "its caller");
    server.stop().await;
}

#[tokio::test]
async fn services_are_judged_by_their_newest_readings_and_lead_to_their_incident() {
    let client = fleet::redis().await;
    let environment = format!("fleet-{}", clock::random_id().simple());
    let host = "host/a b";
    for (service, metric, values, ago) in [
        (
            "payment-service",
            "service_latency_p99_ms",
            (380.0, 5_200.0),
            3,
        ),
        ("payment-service", "service_cpu_percent", (22.0, 22.5), 3),
        (host, "host_cpu_percent", (12.0, 12.5), 3),
        ("silent", "service_cpu_percent", (30.0, 30.0), 900),
        (HOSTILE, "service_cpu_percent", (30.0, 31.0), 3),
    ] {
        fleet::write_readings(&client, &environment, (service, metric), values, ago).await;
    }
    let recent = Recent::of(client.clone());
    let server = Server::with(KafkaSettings::at("127.0.0.1:1"), recent, |app| {
        app.catalogue = catalogue();
    })
    .await;
    let cast = Cast::usual("fleet", 3);
    write(&server.scratch.pool, &cast, Stage::Planned).await;
    sqlx::query("UPDATE incidents SET environment = $1")
        .bind(&environment)
        .execute(&server.scratch.pool)
        .await
        .unwrap();
    let view = server
        .json(&format!("/api/fleet?environment={environment}"))
        .await;
    assert_eq!(
        services(&view),
        [HOSTILE, host, "payment-service", "silent"]
    );
    let states: Vec<&str> = view["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["normal", "normal", "unusual", "no_data"]);
    let payment = &view["items"][2];
    let latency = payment["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .find(|metric| metric["metric"] == "service_latency_p99_ms")
        .unwrap();
    assert_eq!(
        (&latency["value"], &latency["expected"], &latency["state"]),
        (&json!(5_200.0), &json!(380.0), &json!("unusual"))
    );
    assert_eq!(payment["open_incidents"][0]["id"], json!(cast.id));
    assert_eq!(view["items"][1]["team"], Value::Null);
    pages_hold_them(&server, &environment).await;
    fleet::forget_readings(&client, &environment).await;
    server.stop().await;
}

async fn pages_hold_them(server: &Server, environment: &str) {
    let page = server
        .page(&format!("/fleet?environment={environment}"))
        .await;
    for part in [
        "href=\"/fleet/host%2Fa%20b\"",
        "href=\"/fleet/%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E\"",
        "class=\"spark unusual\"",
        "normally 319 to 441 ms",
        "not in the catalogue",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    crate::pages::assert_harmless(&page, "the fleet");
    let page = server.page("/fleet/host%2Fa%20b").await;
    assert!(page.contains("<h1>host&#x2f;a b</h1>") && page.contains("class=\"chart wide\""));
    let page = server.page("/fleet/payment-service").await;
    assert!(
        page.contains("5,200 ms") && page.contains("DB connection exhaustion on payment-service")
    );
    let hostile = server
        .page("/fleet/%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E")
        .await;
    crate::pages::assert_harmless(&hostile, "the service");
    assert!(hostile.contains("<h1>&lt;img src=x onerror=alert(1)&gt;</h1>"));
}

#[tokio::test]
async fn a_services_page_tells_what_stood_out_and_why() {
    let client = fleet::redis().await;
    let environment = format!("fleet-{}", clock::random_id().simple());
    let service = format!("why-{}", clock::random_id().simple());
    let now_ms = clock::now_ms();
    let member = |seconds_ago: i64, value: f64, score: f64| {
        let at_ms = now_ms - seconds_ago * 1_000;
        json!([at_ms, value, score, 30.0, 26.0, 34.0, at_ms, "id"])
    };
    let with = |mut member: Value, reason: &str| {
        member.as_array_mut().unwrap().push(json!(reason));
        member
    };
    let warning = format!("{HOSTILE}: above the range ever seen");
    let members = [
        // From before reasons were kept.
        member(50, 30.0, 0.1),
        member(40, 62.0, 0.7),
        with(member(30, 30.5, 0.1), ""),
        with(member(20, 71.5, 0.97), &warning),
        with(member(10, 31.0, 0.2), ""),
    ];
    let name = (service.as_str(), "service_db_connections");
    fleet::keep_members(&client, &environment, name, &members).await;
    let recent = Recent::of(client.clone());
    let server = Server::with(KafkaSettings::at("127.0.0.1:1"), recent, |_| {}).await;
    let view = server.json(&format!("/api/fleet/{service}")).await;
    let told: Vec<(&Value, &Value)> = view["environments"][0]["metrics"][0]["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| (&point["score"], &point["reason"]))
        .collect();
    assert_eq!(
        told,
        [
            (&json!(0.1), &json!("")),
            (&json!(0.7), &json!("")),
            (&json!(0.1), &json!("")),
            (&json!(0.97), &json!(warning)),
            (&json!(0.2), &json!("")),
        ]
    );
    let page = server.page(&format!("/fleet/{service}")).await;
    crate::pages::assert_harmless(&page, "the service");
    let escaped = "&lt;img src=x onerror=alert(1)&gt;: above the range ever seen";
    assert!(page.contains(&format!("<p>{escaped}</p>")), "{page}");
    // Two readings stood out; one of them has a reason, and is one of a list.
    assert_eq!(page.matches("class=\"spot\"").count(), 2 * 2);
    assert_eq!(page.matches("<ol class=\"reasons\"").count(), 1);
    assert_eq!(page.matches("<span>score 0.97</span>").count(), 1);
    assert!(page.contains("62 connections, normal 26 to 34 connections, score 0.70</title>"));
    fleet::forget_readings(&client, &environment).await;
    server.stop().await;
}
