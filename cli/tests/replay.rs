//! `midwatch replay` against a real broker that holds what agents said then.

mod support;

use midwatch_clients::kafka::{KafkaSettings, create_topics};
use midwatch_events::decode::SCHEMA_VERSION;
use midwatch_events::incident::RcaCompleted;
use midwatch_events::knowledge::Catalogue;
use midwatch_events::topics::{EPOCH_KEY, EPOCH_TOPIC};
use midwatch_events::{Envelope, Event, Meta};
use midwatch_runtime::clock;
use midwatch_score::virtual_run::Setup;
use midwatch_score::virtual_run::replay::{Published, Replay};
use midwatch_simulator::scenario::Scenario;
use midwatch_simulator::shell::HISTORY_TICKS;
use midwatch_simulator::variation::Variation;
use midwatch_simulator::world::{Plan, TICK_MS, World, WorldConfig};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};
use std::time::Duration;
use support::{Ended, Stage, doubles, kafka};

const EPOCH: &str = "epoch-of-a-test";
/// From the fault to the end of the recording.
const AFTER_MS: i64 = 30 * 60_000;

/// What a fleet with one fault sent, and what agents made of it live.
struct Recording {
    raw: Vec<Envelope>,
    said: Vec<Published>,
    end_ms: i64,
}

fn catalogue() -> Catalogue {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../knowledge/services.json");
    Catalogue::parse(&std::fs::read_to_string(path).expect("the catalogue")).expect("readable")
}

fn recording() -> Recording {
    let end_ms = clock::now_ms() - 60_000;
    let live_ms = end_ms - AFTER_MS - 300_000;
    let mut world = World::new(WorldConfig {
        seed: 3,
        environment: "recorded".to_owned(),
        start_ms: live_ms - HISTORY_TICKS * TICK_MS,
        live_ms,
        plan: Plan::Quiet,
        variation: Variation::standard(),
    });
    let mut raw = world.advance(live_ms + 300_000);
    let fault = world.inject(Scenario::DbConnectionExhaustion, None);
    assert!(fault.is_ok(), "nothing else runs");
    raw.extend(world.advance(end_ms));
    raw.retain(|one| {
        matches!(
            one.event,
            Event::Metric(_) | Event::Log(_) | Event::Deployment(_)
        )
    });
    raw.sort_by_key(|one| one.event.time_ms());
    let mut replay = Replay::new(&Setup::new(0, catalogue()), EPOCH, 30_000);
    let mut said = Vec::new();
    for one in &raw {
        replay.take(one.event.time_ms(), 0, one.clone());
        said.extend(replay.take_published());
    }
    replay.pass_until(end_ms);
    said.extend(replay.take_published());
    Recording { raw, said, end_ms }
}

/// Puts records onto the broker with the times at which they came.
struct Writer {
    producer: FutureProducer,
    settings: KafkaSettings,
}

impl Writer {
    fn new(settings: &KafkaSettings) -> Writer {
        Writer {
            producer: settings.producer_config().create().expect("a producer"),
            settings: settings.clone(),
        }
    }

    async fn write(&self, topic: &str, key: &str, payload: &[u8], at_ms: i64) {
        let name = self.settings.topic(topic);
        let record = FutureRecord::to(&name)
            .key(key)
            .payload(payload)
            .timestamp(at_ms);
        let sent = self.producer.send(record, Duration::from_secs(20)).await;
        sent.map_err(|(error, _)| error).expect("acknowledged");
    }

    async fn write_event(&self, envelope: &Envelope, at_ms: i64) {
        let topic = envelope.event.topic().name();
        let payload = envelope.encode();
        self.write(topic, &envelope.event.key(), &payload, at_ms)
            .await;
    }

    async fn say(&self, event: Event, at_ms: i64) {
        let envelope = Envelope {
            meta: Meta {
                event_id: clock::random_id(),
                cause_id: None,
                schema_version: SCHEMA_VERSION,
                event_time_ms: event.time_ms(),
                producer: "midwatch.test".to_owned(),
            },
            event,
        };
        self.write_event(&envelope, at_ms).await;
    }
}

/// A broker whose data began at `began_ms` and that holds the recording.
async fn broker(recording: &Recording, began_ms: i64) -> (KafkaSettings, Writer) {
    let settings = kafka();
    create_topics(&settings).await.expect("topics");
    let writer = Writer::new(&settings);
    writer
        .write(EPOCH_TOPIC, EPOCH_KEY, EPOCH.as_bytes(), began_ms)
        .await;
    let raw = recording
        .raw
        .iter()
        .map(|one| writer.write_event(one, one.event.time_ms()));
    futures::future::join_all(raw).await;
    for one in &recording.said {
        writer.say(one.event.clone(), one.wall_ms).await;
    }
    (settings, writer)
}

/// The incident as the API would answer.
fn incident(recording: &Recording) -> Value {
    let opened = recording.said.iter().find_map(|one| match &one.event {
        Event::Opened(opened) => Some((opened, one.wall_ms)),
        _ => None,
    });
    let (opened, opened_ms) = opened.expect("the fault opened an incident");
    let id = opened.header.incident_id;
    let members = recording
        .said
        .iter()
        .rev()
        .find_map(|one| match &one.event {
            Event::Updated(updated) if updated.header.incident_id == id => {
                Some(json!(updated.grouped_anomalies))
            }
            _ => None,
        });
    let end = recording.said.iter().find_map(|one| match &one.event {
        Event::Resolved(resolved) if resolved.header.incident_id == id => Some(one.wall_ms),
        _ => None,
    });
    json!({
        "id": id, "short_id": opened.header.short_id, "created_at_ms": opened_ms,
        "status": if end.is_some() { "RESOLVED" } else { "INVESTIGATING" },
        "timeline": [{"event_type": "INCIDENT_RESOLVED", "wall_ms": end.unwrap_or(opened_ms)}],
        "correlation_context": {
            "grouped_anomalies": members.unwrap_or_else(|| json!(opened.grouped_anomalies))
        },
        "rca_candidates": [],
    })
}

async fn replay(settings: &KafkaSettings, incident: &Value) -> Ended {
    let answer: &'static str = Box::leak(incident.to_string().into_boxed_str());
    let api = doubles::http(answer, "200 OK").await;
    let mut stage = Stage::nowhere();
    stage.set_kafka(settings);
    let knowledge = concat!(env!("CARGO_MANIFEST_DIR"), "/../knowledge");
    stage.set("KNOWLEDGE_DIR", knowledge);
    let id = incident["short_id"].as_str().expect("an id");
    stage.run(&["replay", id, "--json", "--api", &api]).await
}

#[tokio::test]
async fn the_code_that_decided_then_decides_the_same_and_another_answer_is_named() {
    let recording = recording();
    let long_ago = recording.end_ms - 10 * 3_600_000;
    let (settings, writer) = broker(&recording, long_ago).await;
    let incident = incident(&recording);
    let ended = replay(&settings, &incident).await;
    assert_eq!(ended.code, 0, "{} {}", ended.err, ended.out);
    let found = ended.json();
    assert_eq!(
        (&found["same"], &found["replay"]),
        (&true.into(), &true.into())
    );
    assert_eq!(found["then"], found["now"]);
    assert_eq!(found["then"][0]["incident_id"], incident["id"]);
    assert_eq!(found["read"]["epoch"], EPOCH);
    let artifacts = found["artifacts"].as_array().expect("a list");
    assert!(
        artifacts.iter().all(|one| one["replay"] == true),
        "{found:#}"
    );
    // Had another cause come first then, it would be named.
    let said = recording
        .said
        .iter()
        .rev()
        .find_map(|one| match &one.event {
            Event::Rca(rca) if rca.header.incident_id.to_string() == incident["id"] => {
                Some(RcaCompleted::clone(rca))
            }
            _ => None,
        });
    let mut other = said.expect("an answer");
    other.revision += 1;
    other.root_cause_candidates[0].service = "another-service".to_owned();
    let resolved_ms = incident["timeline"][0]["wall_ms"].as_i64().expect("a time");
    writer.say(Event::Rca(Box::new(other)), resolved_ms).await;
    let ended = replay(&settings, &incident).await;
    assert_eq!(ended.code, 1, "{}", ended.err);
    let found = ended.json();
    let differences = found["differences"].as_array().expect("a list");
    assert_eq!(differences[0]["what"], "cause", "{differences:?}");
    let then = differences[0]["then"].as_str().expect("text");
    assert!(then.starts_with("another-service "), "{then}");
}

#[tokio::test]
async fn what_the_broker_no_longer_holds_is_named_and_not_made_up() {
    let recording = recording();
    let (settings, _) = broker(&recording, recording.end_ms - 10 * 3_600_000).await;
    let mut gone = incident(&recording);
    gone["correlation_context"]["grouped_anomalies"]
        .as_array_mut()
        .expect("a list")
        .push(json!({"anomaly_id": clock::random_id()}));
    let ended = replay(&settings, &gone).await;
    assert_eq!(ended.code, 2, "{}", ended.out);
    assert!(ended.err.contains("1 of the "), "{}", ended.err);
    assert!(ended.err.contains("anomalies.detected"), "{}", ended.err);
    let nowhere = Stage::nowhere().run(&["replay", "INC-00000000"]).await;
    assert_eq!(nowhere.code, 2, "{}", nowhere.err);
    // A broker that was emptied since is of another epoch.
    let empty = kafka();
    create_topics(&empty).await.expect("topics");
    let writer = Writer::new(&empty);
    let now_ms = clock::now_ms();
    writer
        .write(EPOCH_TOPIC, EPOCH_KEY, EPOCH.as_bytes(), now_ms)
        .await;
    let ended = replay(&empty, &incident(&recording)).await;
    assert_eq!(ended.code, 2, "{}", ended.out);
    assert!(ended.err.contains("of another epoch"), "{}", ended.err);
}
