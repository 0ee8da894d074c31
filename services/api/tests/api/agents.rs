//! The agents.

use crate::fixture::{Cast, Stage, fleet, write};
use crate::server::Server;
use midwatch_api::agents::{Prober, parse_endpoints};
use midwatch_api::series::Recent;
use midwatch_clients::kafka::{KafkaSettings, Producer};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn agent<'a>(view: &'a Value, name: &str) -> &'a Value {
    view["items"]
        .as_array()
        .expect("agents")
        .iter()
        .find(|agent| agent["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {view}"))
}

#[tokio::test]
async fn what_is_not_known_is_said_and_not_made_up() {
    let server = Server::start().await;
    let view = server.json("/api/agents").await;
    assert_eq!(view["items"].as_array().unwrap().len(), 6);
    assert_eq!(agent(&view, "detection")["group"], Value::Null);
    assert_eq!(agent(&view, "detection")["processes"], json!([]));
    let page = server.page("/agents").await;
    for part in [
        "Lag is not known: the broker",
        "AGENT_ENDPOINTS names no process",
        "not known here",
        "Dead letters are not known: the broker",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert!(!page.contains("everything that came could be read"));
    server.stop().await;
}

#[tokio::test]
async fn health_and_work_come_from_the_processes_and_the_database() {
    let well = fleet::process("correlation", None, 40).await;
    let ill = fleet::process("detection", Some(("redis", "connection refused")), 7).await;
    let text = format!(
        "correlation={well},detection={ill},postmortem=http://127.0.0.1:1,collector={well}"
    );
    let endpoints = parse_endpoints(&text).unwrap();
    let server = Server::with(KafkaSettings::at("127.0.0.1:1"), Recent::default(), |app| {
        app.prober = Arc::new(Prober::new(endpoints));
    })
    .await;
    write(
        &server.scratch.pool,
        &Cast::usual("agents", 1),
        Stage::Opened,
    )
    .await;
    for statement in [
        "INSERT INTO jobs (id, agent, scope, lane, kind, payload, status, max_attempts, error, finished_at)
         VALUES (gen_random_uuid(), 'remediation', 's', 's', 'work', '{}', 'ready', 3, NULL, NULL),
                (gen_random_uuid(), 'remediation', 's', 's', 'work', '{}', 'running', 3, 'once', NULL),
                (gen_random_uuid(), 'remediation', 's', 's', 'work', '{}', 'applied', 3, 'gave up', now()),
                (gen_random_uuid(), 'remediation', 's', 's', 'work', '{}', 'applied', 3, NULL, now())",
        "INSERT INTO outbox (agent, event_id, topic, key, payload, headers, sent_at, refused)
         VALUES ('remediation', gen_random_uuid(), 't', 'k', '', '[]', NULL, NULL),
                ('remediation', gen_random_uuid(), 't', 'k', '', '[]', now(), 'too large')",
        "INSERT INTO parked (agent, waiting_for, event_id, topic, payload, coordinates, reason, expires_ms)
         VALUES ('remediation', 'scope:x', gen_random_uuid(), 't', '', '{}', 'early', 0)",
        "INSERT INTO processed (agent, input_id, processed_at)
         VALUES ('remediation', gen_random_uuid(), now()), ('remediation', gen_random_uuid(), now()),
                ('remediation', gen_random_uuid(), now() - INTERVAL '10 minutes')",
    ] {
        sqlx::query(statement).execute(&server.scratch.pool).await.unwrap();
    }
    let view = server.json("/api/agents").await;
    assert_eq!(
        agent(&view, "remediation")["work"],
        json!({"inputs": 2, "audit_lines": 0, "last_line_ms": null, "open_jobs": 2, "running_jobs": 1,
            "failed_jobs": 1, "unsent": 1, "refused": 1, "parked": 1})
    );
    assert_eq!(agent(&view, "detection")["work"]["audit_lines"], 1);
    let process = &agent(&view, "detection")["processes"][0];
    assert_eq!(
        (&process["health"], &process["missing"], &process["handled"]),
        (
            &json!("not_ready"),
            &json!({"redis": "connection refused"}),
            &json!(7.0)
        )
    );
    assert_eq!(
        agent(&view, "correlation")["processes"][0]["health"],
        "ready"
    );
    assert_eq!(
        agent(&view, "postmortem")["processes"][0]["health"],
        "no_answer"
    );
    assert_eq!(agent(&view, "collector")["is_agent"], false);
    let page = server.page("/agents").await;
    for part in [
        "1 of 3",
        "redis: connection refused",
        "1 failed in 24 h",
        "1 refused by the broker",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    server.stop().await;
}

#[tokio::test]
async fn lag_is_what_the_broker_has_beyond_what_the_group_committed() {
    for variable in ["MIDWATCH_TEST_KAFKA", "MIDWATCH_TEST_TANSU"] {
        let Some(settings) = fleet::broker(variable).await else {
            continue;
        };
        let producer = Producer::new(&settings).unwrap();
        for number in 0..6 {
            let payload = number.to_string();
            producer
                .publish_bytes("incidents.resolved", b"one key", payload.as_bytes(), &[])
                .await
                .unwrap();
        }
        let consumer: BaseConsumer = settings
            .consumer_config(&settings.group("postmortem"), "0")
            .create()
            .unwrap();
        let topic = settings.topic("incidents.resolved");
        consumer.subscribe(&[&topic]).unwrap();
        let deadline = Instant::now() + Duration::from_secs(40);
        let mut read = 0;
        while read < 2 {
            assert!(Instant::now() < deadline, "{variable}: nothing came");
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(200)) {
                consumer.store_offset_from_message(&message).unwrap();
                read += message.payload().map_or(0, |_| 1);
            }
        }
        consumer.commit_consumer_state(CommitMode::Sync).unwrap();
        let server = Server::with(settings.clone(), Recent::default(), |_| {}).await;
        let view = server.json("/api/agents").await;
        let group = &agent(&view, "postmortem")["group"];
        assert_eq!(group["name"], json!(settings.group("postmortem")), "{view}");
        let topics = group["topics"].as_array().unwrap();
        let found = topics
            .iter()
            .find(|topic| topic["topic"] == "incidents.resolved");
        assert_eq!(found.unwrap()["lag"], 4, "{variable}: {view}");
        assert_eq!(agent(&view, "detection")["group"], Value::Null);
        let page = server.page("/agents").await;
        assert!(page.contains("1 member"), "{variable}: {page}");
        server.stop().await;
    }
}
