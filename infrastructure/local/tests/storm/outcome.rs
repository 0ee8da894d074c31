//! What a run led to.

use crate::world::World;
use midwatch_events::Topic;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use uuid::Uuid;

const TOPICS: [Topic; 4] = [
    Topic::IncidentsOpened,
    Topic::IncidentsUpdated,
    Topic::RcaCompleted,
    Topic::IncidentsResolved,
];

/// What the two agents read; none of it may become a dead letter.
const READ: [Topic; 6] = [
    Topic::AnomaliesDetected,
    Topic::IncidentsOpened,
    Topic::IncidentsUpdated,
    Topic::IncidentsResolved,
    Topic::OperatorCommands,
    Topic::RemediationActions,
];

/// What must be the same in every run, by a name for people; and counts.
pub struct Outcome {
    pub same: BTreeMap<String, Value>,
    pub counts: BTreeMap<&'static str, usize>,
}

/// Checks that nothing was lost or doubled in this run, and takes its outcome.
pub async fn of(world: &World, killed: bool) -> Outcome {
    let mut taken = Outcome {
        same: BTreeMap::new(),
        counts: BTreeMap::new(),
    };
    settled(world).await;
    let messages = messages(world, killed, &mut taken.counts).await;
    announced(world, &messages, &mut taken).await;
    rows(world, &mut taken).await;
    taken
}

async fn table(world: &World, sql: &'static str) -> Vec<Value> {
    let rows: Vec<(Value,)> = sqlx::query_as(sql)
        .fetch_all(&world.pool)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    rows.into_iter().map(|(row,)| row).collect()
}

/// Nothing is left to do, and nothing failed.
async fn settled(world: &World) {
    for (what, sql) in [
        (
            "a job that is not applied or failed",
            "SELECT to_jsonb(jobs) FROM jobs WHERE status <> 'applied' OR error IS NOT NULL",
        ),
        (
            "a message that was not sent or was refused",
            "SELECT to_jsonb(outbox) - 'payload' FROM outbox WHERE sent_at IS NULL OR refused IS NOT NULL",
        ),
        ("a timer", "SELECT to_jsonb(timers) FROM timers"),
        (
            "a subscription",
            "SELECT to_jsonb(subscriptions) FROM subscriptions",
        ),
        (
            "an event parked for a scope",
            "SELECT to_jsonb(parked) - 'payload' FROM parked WHERE waiting_for LIKE 'scope:%'",
        ),
        (
            "an incident that is not resolved",
            "SELECT to_jsonb(incidents) FROM incidents WHERE status <> 'RESOLVED'",
        ),
        (
            "a refusal, an expiry or a gap",
            "SELECT to_jsonb(agent_events) FROM agent_events WHERE event_type IN
          ('STATUS_MOVE_REFUSED', 'INPUT_EXPIRED', 'RECORDS_UNAVAILABLE', 'COMMAND_REFUSED')",
        ),
    ] {
        let left = table(world, sql).await;
        assert!(
            left.is_empty(),
            "{} run: {what} is left: {left:#?}",
            world.name
        );
    }
}

/// The messages by topic and event id, compared with the outbox: each row is on
/// its topic, in its very bytes; twice only where a process was killed between
/// the broker's word and its own note.
async fn messages(
    world: &World,
    killed: bool,
    counts: &mut BTreeMap<&'static str, usize>,
) -> BTreeMap<(Topic, Uuid), Value> {
    let rows: Vec<(Uuid, String, Vec<u8>)> =
        sqlx::query_as("SELECT event_id, topic, payload FROM outbox")
            .fetch_all(&world.pool)
            .await
            .expect("PostgreSQL");
    let written: BTreeMap<(String, Uuid), &Vec<u8>> = rows
        .iter()
        .map(|(id, topic, payload)| ((topic.clone(), *id), payload))
        .collect();
    let sent = tokio::task::block_in_place(|| read(world, &written));
    let mut found = BTreeMap::new();
    let mut repeats = 0;
    for (name, payload) in &sent {
        let topic = TOPICS.into_iter().find(|topic| topic.name() == name);
        let topic = topic.unwrap_or_else(|| panic!("{} run: a dead letter on {name}", world.name));
        let value: Value = serde_json::from_slice(payload).expect("JSON");
        let id = event_id(&value);
        let row = written.get(&(name.clone(), id));
        assert_eq!(row, Some(&payload), "{} run: {name} {id}", world.name);
        if found.insert((topic, id), value).is_some() {
            repeats += 1;
        } else {
            *counts.entry(topic.name()).or_default() += 1;
        }
    }
    assert!(
        killed || repeats == 0,
        "{repeats} messages twice though nobody was killed"
    );
    counts.insert("sent twice in the same bytes", repeats);
    assert_eq!(
        found.len(),
        rows.len(),
        "{} run: messages of other topics",
        world.name
    );
    found
}

fn event_id(value: &Value) -> Uuid {
    let text = value["event_id"].as_str().expect("every event has an id");
    text.parse().expect("a UUID")
}

/// Everything on the topics that the agents write, dead letters included: until
/// `wanted` was seen and nothing more comes. With the topics' own names.
fn read(world: &World, wanted: &BTreeMap<(String, Uuid), &Vec<u8>>) -> Vec<(String, Vec<u8>)> {
    let kafka = &world.kafka;
    let reader: BaseConsumer = kafka
        .client_config()
        .set("group.id", format!("{}reader", kafka.topic_prefix))
        .set("enable.auto.commit", "false")
        .set("fetch.message.max.bytes", "8388608")
        .create()
        .expect("a reader");
    let names = TOPICS.iter().map(|topic| topic.name().to_owned());
    let names = names.chain(READ.iter().map(|topic| topic.dlq_name()));
    let mut list = TopicPartitionList::new();
    for name in names {
        for partition in 0..kafka.partitions {
            list.add_partition_offset(&kafka.topic(&name), partition, Offset::Beginning)
                .expect("an offset");
        }
    }
    reader.assign(&list).expect("an assignment");
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut last = Instant::now();
    let (mut payloads, mut seen) = (Vec::new(), BTreeSet::new());
    // Ends that brokers list are not to be trusted: three seconds of silence.
    while last.elapsed() < Duration::from_secs(3) || seen.len() < wanted.len() {
        if Instant::now() > deadline {
            let lost: Vec<_> = wanted.keys().filter(|key| !seen.contains(*key)).collect();
            panic!(
                "{} run: lost on the way to the broker: {lost:?}",
                world.name
            );
        }
        let Some(Ok(message)) = reader.poll(Duration::from_millis(200)) else {
            continue;
        };
        last = Instant::now();
        let name = kafka.bare(message.topic()).to_owned();
        let payload = message.payload().unwrap_or_default().to_vec();
        if let Ok(value) = serde_json::from_slice::<Value>(&payload) {
            seen.insert((name.clone(), event_id(&value)));
        }
        payloads.push((name, payload));
    }
    payloads
}

/// What people were told: one opening per incident, updates and revisions
/// numbered without a gap, one end more than there were reopenings.
async fn announced(world: &World, messages: &BTreeMap<(Topic, Uuid), Value>, taken: &mut Outcome) {
    let mut told: BTreeMap<(String, Topic), Vec<(Uuid, Value)>> = BTreeMap::new();
    for ((topic, id), message) in messages {
        let incident = message["incident_id"]
            .as_str()
            .expect("of an incident")
            .to_owned();
        told.entry((incident, *topic))
            .or_default()
            .push((*id, message.clone()));
    }
    let incidents: BTreeSet<String> = table(world, "SELECT to_jsonb(id::text) FROM incidents")
        .await
        .iter()
        .map(|id| id.as_str().expect("a text").to_owned())
        .collect();
    let named: BTreeSet<String> = told.keys().map(|(id, _)| id.clone()).collect();
    assert_eq!(
        named, incidents,
        "{} run: rows and messages name other incidents",
        world.name
    );
    taken.same.insert("incidents".to_owned(), json!(incidents));
    for id in &incidents {
        let mut of = |topic| told.remove(&(id.clone(), topic)).unwrap_or_default();
        let opened = of(Topic::IncidentsOpened);
        assert_eq!(opened.len(), 1, "{} run: openings of {id}", world.name);
        taken
            .same
            .insert(format!("{id} opened"), opened[0].1.clone());
        let updates = in_order(world, of(Topic::IncidentsUpdated));
        let answers = in_order(world, of(Topic::RcaCompleted));
        assert!(!answers.is_empty(), "{} run: no cause of {id}", world.name);
        let mut ends = of(Topic::IncidentsResolved);
        ends.sort_by_key(|(_, end)| end["resolved_at_ms"].as_i64());
        let reopened = updates
            .iter()
            .filter(|one| one["change"] == "reopened")
            .count();
        assert_eq!(ends.len(), reopened + 1, "{} run: ends of {id}", world.name);
        for (number, (_, end)) in ends.into_iter().enumerate() {
            taken.same.insert(format!("{id} resolved {number}"), end);
        }
        let calming: Vec<&Value> = updates.iter().filter(|one| is_calming(one)).collect();
        assert!(calming.is_empty(), "{} run: {calming:#?}", world.name);
        for (what, list) in [("update", updates), ("answer", answers)] {
            for (number, one) in list.into_iter().enumerate() {
                taken.same.insert(format!("{id} {what} {number}"), one);
            }
        }
    }
}

/// Whether an update only says that all is normal again: that is for the end of
/// the incident to say, which may come before or after correlation's wait for
/// further changes.
fn is_calming(update: &Value) -> bool {
    let is_growth = update["change"] == "grown" || update["change"] == "severity";
    let members = update["grouped_anomalies"].as_array();
    let calm = |one: &Value| !one["cleared_at_ms"].is_null();
    is_growth && members.is_some_and(|list| !list.is_empty() && list.iter().all(calm))
}

/// Numbered from 1 without a gap, none twice.
fn in_order(world: &World, mut list: Vec<(Uuid, Value)>) -> Vec<Value> {
    list.sort_by_key(|(_, one)| one["revision"].as_u64());
    let numbers: Vec<Option<u64>> = list
        .iter()
        .map(|(_, one)| one["revision"].as_u64())
        .collect();
    let wanted: Vec<Option<u64>> = (1..=list.len() as u64).map(Some).collect();
    assert_eq!(
        numbers, wanted,
        "{} run: revisions of {}",
        world.name, list[0].1["incident_id"]
    );
    list.into_iter().map(|(_, one)| one).collect()
}

/// The rows: incidents as they are, the audit trail, records and artifacts.
async fn rows(world: &World, taken: &mut Outcome) {
    for row in table(world, "SELECT to_jsonb(incidents) FROM incidents").await {
        let id = row["id"].as_str().expect("an id").to_owned();
        taken.same.insert(format!("{id} row"), row);
    }
    let counted = [
        (
            "jobs",
            "SELECT jsonb_build_object('name', concat_ws(' ', kind,
             payload->>'incident_id'), 'value', count(*)) FROM jobs
             WHERE agent = 'correlation' GROUP BY kind, payload->>'incident_id'",
        ),
        (
            "audit",
            "SELECT jsonb_build_object('name', concat_ws(' ', incident_id, agent_name,
             event_type, event_time_ms, summary), 'value', count(*)) FROM agent_events
             GROUP BY incident_id, agent_name, event_type, event_time_ms, summary",
        ),
        (
            "records",
            "SELECT jsonb_build_object('name', incident_id || ' ' || kind, 'value',
             md5(string_agg(record_id || payload::text, ',' ORDER BY record_id)))
             FROM incident_records GROUP BY incident_id, kind",
        ),
        (
            "artifacts",
            "SELECT jsonb_build_object('name', concat_ws(' ', incident_id, kind,
             artifact_id), 'value', jsonb_build_object('status', status, 'inputs', inputs,
             'evidence', evidence, 'body', body)) FROM artifacts",
        ),
    ];
    for (what, sql) in counted {
        let rows = table(world, sql).await;
        taken.counts.insert(what, rows.len());
        for row in rows {
            let name = row["name"].as_str().expect("a name");
            taken
                .same
                .insert(format!("{what} {name}"), row["value"].clone());
        }
    }
}
