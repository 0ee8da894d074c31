//! What correlation knows of the surroundings after a start or a takeover, on
//! the servers of `make test`.

use midwatch_clients::kafka::{self, KafkaSettings};
use midwatch_clients::redis;
use midwatch_correlation::shell::calls::KeptCalls;
use midwatch_correlation::shell::table;
use midwatch_correlation::table::ContextTable;
use midwatch_events::topology::{EdgeSource, Topology};
use midwatch_events::{Event, Topic};
use midwatch_runtime::{Readiness, ServiceContext, Settings, Shutdown, clock};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const HOUR_MS: i64 = 3_600_000;

fn variable(name: &str) -> Option<String> {
    Settings::from_env().get(name)
}

fn needed(name: &str) -> String {
    variable(name).unwrap_or_else(|| {
        panic!(
            "{name} is not set: this test needs the servers of `make test` (midwatch-stack exec)"
        )
    })
}

fn deployment(version: &str, at_ms: i64) -> Value {
    json!({"service": "pay", "version": version, "environment": "e", "timestamp_ms": at_ms})
}

fn span(caller: &str, callee: &str, at_ms: i64) -> Value {
    json!({"trace_id": "t", "span_id": format!("{caller}-{at_ms}"), "service": caller,
        "environment": "e", "operation": "o", "duration_ms": 1.0, "start_ms": at_ms,
        "labels": {"peer.service": callee}})
}

async fn produce(kafka: &KafkaSettings, topic: Topic, record_ms: i64, payload: &Value) {
    let producer: FutureProducer = kafka.client_config().create().expect("a producer");
    let (name, payload) = (kafka.topic(topic.name()), payload.to_string());
    let record = FutureRecord::to(&name)
        .key("pay")
        .payload(&payload)
        .timestamp(record_ms);
    let sent = producer.send(record, Duration::from_secs(30)).await;
    sent.expect("the broker takes it");
}

#[tokio::test]
async fn a_start_knows_calls_and_deployments_of_before_what_it_reads_of_spans() {
    let unique = clock::random_id().simple().to_string();
    let broker = variable("MIDWATCH_TEST_KAFKA").unwrap_or_else(|| needed("MIDWATCH_TEST_TANSU"));
    let mut kafka = KafkaSettings::at(&broker);
    kafka.topic_prefix = format!("restart-{}.", &unique[..10]);
    kafka::create_topics(&kafka).await.expect("topics");
    let url = needed("MIDWATCH_TEST_REDIS_URL");
    let redis = redis::connect(&url).await.expect("Redis answers");
    let now_ms = clock::now_ms();
    let before_ms = now_ms - 5 * HOUR_MS;

    // What an agent has seen that is gone now: a call of five hours ago, and a
    // caller that called others for two hours.
    let first = Arc::new(ContextTable::default());
    let mut kept = KeptCalls::load(redis.clone(), &unique, &first).await;
    for at_ms in [before_ms - 2 * HOUR_MS, before_ms] {
        let seen = serde_json::from_value(span("order", "pay", at_ms)).expect("a span");
        first.take(Event::Span(seen));
    }
    kept.save().await;
    for (version, at_ms) in [("v1", before_ms), ("v2", now_ms - HOUR_MS)] {
        let payload = deployment(version, at_ms);
        produce(&kafka, Topic::RawDeployments, at_ms, &payload).await;
    }
    let seen = span("gateway", "order", now_ms - HOUR_MS);
    produce(&kafka, Topic::RawSpans, now_ms - HOUR_MS, &seen).await;

    let (_stop, shutdown) = Shutdown::channel();
    let context = ServiceContext {
        name: "correlation",
        settings: Settings::from_values(BTreeMap::new()),
        shutdown,
        readiness: Readiness::default(),
        kafka,
    };
    let second = Arc::new(ContextTable::default());
    KeptCalls::load(redis.clone(), &unique, &second).await;
    let window_ms = 6 * HOUR_MS;
    table::follow(&context, Arc::clone(&second), window_ms)
        .await
        .expect("the broker is there");
    let versions: Vec<String> = second
        .deployments("e", now_ms - window_ms, now_ms)
        .into_iter()
        .map(|deployment| deployment.version)
        .collect();
    assert_eq!(versions, ["v1", "v2"]);
    let edges = second.edges("e");
    let seen_ms = |caller: &str, callee: &str| {
        let sources = edges.sources(caller, callee).expect("it is known");
        sources[&EdgeSource::Spans]
    };
    assert_eq!(seen_ms("order", "pay"), before_ms);
    assert_eq!(seen_ms("gateway", "order"), now_ms - HOUR_MS);
    // What is written and was never seen is still contradicted.
    let mut written = Topology::default();
    written.add_call("order", "gateway", EdgeSource::Catalogue);
    let graph = second.graph("e", &written);
    assert_eq!(graph.contradicted().count(), 1);
    // Another epoch's calls are another fleet's.
    let other = Arc::new(ContextTable::default());
    KeptCalls::load(redis, &format!("{unique}-2"), &other).await;
    assert_eq!(other.edges("e").edges().count(), 0);
}
