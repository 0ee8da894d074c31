//! Serves the pages over made-up incidents, readings and dead letters, for
//! work on the pages:
//! `midwatch-stack exec --with postgres,redis,tansu,vectors,embedder -- cargo run -p midwatch-api --example preview -- 127.0.0.1:8000`
//!
//! `empty` as the second word leaves everything out.

#[path = "../tests/fixture/mod.rs"]
mod fixture;

use fixture::{Cast, Scratch, Stage, add_told, fleet, write};
use midwatch_api::series::Recent;
use midwatch_api::setup::Setup;
use midwatch_api::topics::Topics;
use midwatch_api::{App, serve};
use midwatch_clients::kafka::KafkaSettings;
use midwatch_runtime::{Settings, Shutdown};

/// Opens the commands of the page.
const TOKEN: &str = "preview-token-0001";
const HOSTILE: &str = "<img src=x onerror=alert(1)>";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:8000".to_owned());
    let empty = std::env::args().nth(2).as_deref() == Some("empty");
    let scratch = Scratch::create().await;
    let (switch, shutdown) = Shutdown::channel();
    let mut kafka = KafkaSettings::at("127.0.0.1:1");
    let mut recent = Recent::default();
    let mut endpoints = String::new();
    if !empty {
        write_incidents(&scratch).await;
        let client = fleet::redis().await;
        fleet::forget_readings(&client, "simulation").await;
        write_fleet(&client).await;
        recent = Recent::of(client);
        if let Some(found) = fleet::broker("MIDWATCH_TEST_TANSU").await {
            write_letters(&found).await;
            kafka = found;
        }
        let well = fleet::process("detection", None, 123_456).await;
        let ill = fleet::process("communication", Some(("smtp", "connection refused")), 7).await;
        endpoints = format!(
            "detection={well},correlation={well},investigation={well},investigation={well},\
             remediation={well},communication={ill},postmortem=http://127.0.0.1:1"
        );
    }
    let mut app = App::new(&scratch.pool, recent, Topics::new(kafka), shutdown);
    let knowledge = concat!(env!("CARGO_MANIFEST_DIR"), "/../../knowledge");
    let from_stack = Settings::from_env();
    let stack = |name: &str| from_stack.get(name).unwrap_or_default();
    let operators = std::env::temp_dir().join(format!("operators-{}", std::process::id()));
    std::fs::write(&operators, format!("preview {TOKEN}\n"))?;
    let values = [
        ("OPERATOR_TOKENS_FILE", operators.display().to_string()),
        ("AGENT_ENDPOINTS", endpoints),
        ("KNOWLEDGE_DIR", knowledge.to_owned()),
        ("QDRANT_URL", stack("MIDWATCH_TEST_QDRANT_URL")),
        ("EMBEDDINGS_URL", stack("MIDWATCH_TEST_EMBEDDINGS_URL")),
        ("TOPICS_URL", "http://127.0.0.1:8080".to_owned()),
        ("INBOX_URL", "http://127.0.0.1:8025".to_owned()),
    ];
    let values = values.map(|(name, value)| (name.to_owned(), value));
    Setup::read(&Settings::from_values(values)).apply(&mut app);
    let listener = tokio::net::TcpListener::bind(&address).await?;
    println!("http://{address}, operator's token {TOKEN}");
    let served = tokio::spawn(serve(app, listener));
    tokio::signal::ctrl_c().await?;
    switch.send_replace(true);
    served.await??;
    scratch.close().await;
    std::fs::remove_file(&operators)?;
    Ok(())
}

async fn write_incidents(scratch: &Scratch) {
    for (seed, minutes, stage) in [
        ("a", 190, Stage::Resolved),
        ("b", 95, Stage::Resolved),
        ("c", 31, Stage::Resolved),
        ("d", 6, Stage::Planned),
        ("e", 1, Stage::Opened),
    ] {
        write(&scratch.pool, &Cast::usual(seed, minutes), stage).await;
    }
    write(&scratch.pool, &Cast::hostile(HOSTILE), Stage::Resolved).await;
    let planned = Cast::usual("d", 6);
    let asked = |more: serde_json::Value| {
        let mut payload = planned.told("S3", &more);
        payload["command"] = "approve".into();
        payload
    };
    let first = asked(
        serde_json::json!({"by": "ana", "credential_id": "slack:U1", "channel": "slack",
        "approvals_missing": 1}),
    );
    let second = asked(serde_json::json!({"by": "ana", "rule": "same_credential"}));
    let lines = [
        ("ACTION_APPROVED", "ana approved S3", first),
        ("ACTION_REFUSED", "two people have to approve it", second),
    ];
    add_told(&scratch.pool, &planned, &lines).await;
}

async fn write_fleet(client: &fred::clients::Client) {
    let services = [
        ("api-gateway", [150.0, 0.5, 120.0, 30.0, 45.0, 20.0]),
        ("order-service", [60.0, 0.5, 280.0, 20.0, 45.0, 15.0]),
        ("payment-service", [80.0, 0.5, 380.0, 22.0, 45.0, 30.0]),
        ("user-service", [200.0, 0.5, 150.0, 18.0, 45.0, 20.0]),
    ];
    let metrics = [
        "service_request_rate",
        "service_error_rate_percent",
        "service_latency_p99_ms",
        "service_cpu_percent",
        "service_memory_percent",
        "service_db_connections",
    ];
    for (service, normals) in services {
        for (metric, normal) in metrics.into_iter().zip(normals) {
            let broken = service == "payment-service" && metric.contains("connections");
            let newest = if broken { 94.0 } else { normal * 1.02 };
            let name = (service, metric);
            fleet::write_readings(client, "simulation", name, (normal, newest), 4).await;
        }
    }
    for (metric, normal) in [("host_cpu_percent", 14.0), ("host_memory_percent", 61.0)] {
        let name = ("host/night watch", metric);
        fleet::write_readings(client, "local", name, (normal, normal), 4).await;
    }
    write_unrest(client, ("user-service", "kafka_consumer_lag")).await;
    write_unrest(client, (HOSTILE, "service_request_rate")).await;
    let name = ("notification-service", "service_cpu_percent");
    fleet::write_readings(client, "simulation", name, (25.0, 25.0), 700).await;
    let name = (HOSTILE, "service_cpu_percent");
    fleet::write_readings(client, "simulation", name, (25.0, 25.5), 4).await;
}

/// As many readings as are kept, with more that stands out than is listed.
async fn write_unrest(client: &fred::clients::Client, (service, metric): (&str, &str)) {
    let now_ms = midwatch_runtime::clock::now_ms();
    let member = |back: i64| {
        let at_ms = now_ms - back * 10_000;
        let wave = (back as f64 / 9.0).sin();
        let score: f64 = match back % 80 {
            40..=52 => 0.5 + 0.04 * (back % 12) as f64,
            _ => 0.2 * wave.abs(),
        };
        let value = 100.0 + 12.0 * wave + if score < 0.5 { 0.0 } else { 300.0 * score };
        let reason = fleet::reason(score, value / 100.0, service);
        serde_json::json!([at_ms, value, score, 100.0, 80.0, 120.0, at_ms, "id", reason])
    };
    let members: Vec<serde_json::Value> = (0..720).rev().map(member).collect();
    fleet::keep_members(client, "simulation", (service, metric), &members).await;
}

async fn write_letters(settings: &KafkaSettings) {
    for (topic, agent, payload, kind, reason) in [
        (
            "raw.logs",
            "detection",
            r#"{"timestamp_ms": 1795356190000, "service": "payment-service", "level": "ERROR", "mess"#,
            "malformed",
            "EOF while parsing a string at line 1 column 84",
        ),
        (
            "raw.metrics",
            "detection",
            r#"{"timestamp_ms": "yesterday", "service": "order-service", "metric_name": "service_cpu_percent"}"#,
            "invalid",
            "timestamp_ms: invalid type: string \"yesterday\", expected i64",
        ),
        ("raw.spans", "correlation", HOSTILE, "malformed", HOSTILE),
    ] {
        fleet::write_letter(settings, (topic, agent), payload.as_bytes(), (kind, reason)).await;
    }
    let place = midwatch_events::Coordinates {
        epoch: "fixture-epoch".to_owned(),
        topic: "raw.kubernetes".to_owned(),
        partition: 0,
        offset: 12,
        record_ms: midwatch_runtime::clock::now_ms(),
    };
    let large = vec![b'{'; midwatch_events::topics::DLQ_MAX_BYTES as usize];
    let producer = midwatch_clients::kafka::Producer::new(settings).expect("a producer");
    producer
        .dead_letter(
            "raw.kubernetes",
            None,
            &large,
            &place,
            "detection",
            "too_large",
            "a message of 8388608 bytes",
        )
        .await
        .expect("set aside");
}
