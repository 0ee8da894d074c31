//! The lag of real groups on real brokers, as the collector tells it.

use midwatch_clients::kafka::{BrokerReader, KafkaSettings, Producer, create_topics};
use midwatch_collector::kafka_lag::{GroupLag, Memory, read};
use midwatch_runtime::{Settings, clock};
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, BufReader};

const LIMIT: Duration = Duration::from_secs(60);
/// Together they reach each of the three partitions.
const KEYS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn variable(name: &str) -> Option<String> {
    Settings::from_env().get(name)
}

/// Each broker (whether it is the fallback one), with topics of its own.
async fn brokers() -> Vec<(bool, KafkaSettings)> {
    let mut found = Vec::new();
    for (fallback, name) in [
        (false, "MIDWATCH_TEST_KAFKA"),
        (true, "MIDWATCH_TEST_TANSU"),
    ] {
        let Some(broker) = variable(name) else {
            continue;
        };
        let mut settings = KafkaSettings::at(&broker);
        settings.topic_prefix = format!("lag-{}.", clock::random_id().simple());
        create_topics(&settings).await.expect("topics");
        found.push((fallback, settings));
    }
    assert!(
        !found.is_empty(),
        "neither MIDWATCH_TEST_KAFKA nor MIDWATCH_TEST_TANSU names a broker; `midwatch-stack exec` sets them"
    );
    found
}

/// An agent that reads `incidents.opened` and stores what it has read, on a
/// thread of its own, until it is paused: from then on it is not heard of.
struct Reader {
    paused: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Reader {
    fn start(settings: &KafkaSettings, agent: &str) -> Reader {
        let consumer: BaseConsumer = settings
            .consumer_config(&settings.group(agent), "0")
            .create()
            .expect("a consumer");
        let topic = settings.topic("incidents.opened");
        consumer.subscribe(&[&topic]).expect("subscribed");
        let paused = Arc::new(AtomicBool::new(false));
        let stop = paused.clone();
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
                    consumer
                        .store_offset_from_message(&message)
                        .expect("stored");
                    consumer
                        .commit_consumer_state(CommitMode::Sync)
                        .expect("committed");
                }
            }
        });
        Reader {
            paused,
            thread: Some(thread),
        }
    }

    /// Without a goodbye to the broker a static member keeps its place until
    /// its session is over; with one it leaves at once.
    fn stop(&mut self) {
        self.paused.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic");
        }
    }
}

async fn publish(settings: &KafkaSettings, keys: &[&str]) {
    let producer = Producer::new(settings).expect("a producer");
    let mut places = Vec::new();
    for key in keys {
        let sent = producer.publish_bytes("incidents.opened", key.as_bytes(), b"{}", &[]);
        places.push(sent.await.expect("acknowledged"));
    }
    if keys.len() == KEYS.len() {
        let partitions: BTreeSet<i32> = places.iter().map(|place| place.0).collect();
        assert_eq!(partitions.len(), 3, "{places:?}");
    }
}

/// Reads until the group of `agent` is as wanted.
async fn wait_for(
    reader: &BrokerReader,
    memory: &mut Memory,
    agent: &str,
    wanted: impl Fn(&GroupLag) -> bool,
) -> GroupLag {
    let begun = Instant::now();
    let mut last = Ok(None);
    while begun.elapsed() < LIMIT {
        // Topics that were made just now have no leader for a moment.
        let lags = read(reader, memory).await;
        let service = format!("midwatch-{agent}");
        last = lags.map(|lags| lags.into_iter().find(|lag| lag.service == service));
        if let Ok(Some(lag)) = &last
            && wanted(lag)
        {
            return lag.clone();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!(
        "{}: the group was never as wanted; last it was {last:?}",
        reader.settings().bootstrap
    );
}

#[tokio::test]
async fn a_group_that_stops_reading_falls_behind_and_grows_old() {
    for (fallback, settings) in brokers().await {
        publish(&settings, &KEYS).await;
        let mut agent = Reader::start(&settings, "investigation");
        let reader = BrokerReader::new(settings.clone());
        let mut memory = Memory::default();
        let healthy = wait_for(&reader, &mut memory, "investigation", |lag| {
            lag.messages == Some(0) && lag.members == 1
        })
        .await;
        assert_eq!(healthy.seconds, Some(0.0), "fallback: {fallback}");
        assert_eq!(healthy.group, settings.group("investigation"));
        agent.stop();
        let sent_ms = clock::now_ms();
        publish(&settings, &["a", "b", "c"]).await;
        let behind = wait_for(&reader, &mut memory, "investigation", |lag| {
            lag.messages == Some(3) && lag.seconds.is_some_and(|age| age >= 2.0)
        })
        .await;
        let age = behind.seconds.expect("judged above");
        let longest = (clock::now_ms() - sent_ms) as f64 / 1000.0;
        assert!(age <= longest, "{age} s, but sent {longest} s ago");
        let mut again = Reader::start(&settings, "investigation");
        let healed = wait_for(&reader, &mut memory, "investigation", |lag| {
            lag.messages == Some(0)
        })
        .await;
        assert_eq!(healed.seconds, Some(0.0), "fallback: {fallback}");
        again.stop();
    }
}

#[tokio::test]
async fn an_agent_that_stops_before_its_first_message_is_behind_too() {
    for (fallback, settings) in brokers().await {
        if fallback {
            // It does not say what members read. A group that never committed
            // to some partition may be behind there or not: nothing is told.
            publish(&settings, &KEYS[..1]).await;
            let mut agent = Reader::start(&settings, "remediation");
            let reader = BrokerReader::new(settings.clone());
            let mut memory = Memory::default();
            wait_for(&reader, &mut memory, "remediation", |lag| {
                (lag.messages, lag.seconds) == (Some(0), Some(0.0))
            })
            .await;
            agent.stop();
            publish(&settings, &KEYS).await;
            let lag = wait_for(&reader, &mut memory, "remediation", |lag| {
                lag.messages != Some(0)
            })
            .await;
            assert_eq!((lag.messages, lag.seconds), (None, None));
            continue;
        }
        // What lay there before the group came is none of its debts.
        publish(&settings, &["a", "b"]).await;
        let consumer: BaseConsumer = settings
            .consumer_config(&settings.group("remediation"), "0")
            .create()
            .expect("a consumer");
        let topic = settings.topic("incidents.opened");
        consumer.subscribe(&[&topic]).expect("subscribed");
        let reader = BrokerReader::new(settings.clone());
        let mut memory = Memory::default();
        let polled = Instant::now();
        // It joins, but acts on nothing that it reads.
        while consumer.assignment().map_or(0, |list| list.count()) < 3 {
            assert!(polled.elapsed() < LIMIT, "no assignment");
            drop(consumer.poll(Duration::from_millis(100)));
        }
        let joined = wait_for(&reader, &mut memory, "remediation", |lag| {
            lag.members == 1 && lag.messages.is_some()
        })
        .await;
        assert_eq!((joined.messages, joined.seconds), (Some(0), Some(0.0)));
        drop(consumer);
        publish(&settings, &["a", "b", "c"]).await;
        let behind = wait_for(&reader, &mut memory, "remediation", |lag| {
            lag.members == 0 && lag.seconds.is_some_and(|age| age > 1.0)
        })
        .await;
        assert_eq!(behind.messages, Some(3));
    }
}

#[tokio::test]
async fn a_broker_that_is_away_gives_no_reading_and_says_so() {
    let reader = BrokerReader::new(KafkaSettings::at("127.0.0.1:1"));
    let error = read(&reader, &mut Memory::default())
        .await
        .expect_err("nobody listens there");
    assert!(error.contains("kafka"), "{error}");
}

/// Starts the collector; answers with the address of its metrics.
async fn collector(settings: &KafkaSettings) -> (tokio::process::Child, String) {
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_midwatch-collector"))
        .env("KAFKA_BOOTSTRAP_SERVERS", &settings.bootstrap)
        .env("KAFKA_TOPIC_PREFIX", &settings.topic_prefix)
        .env("COLLECT_INTERVAL_MS", "1000")
        .env("HOST_ENVIRONMENT", "lag-test")
        .env("HTTP_BIND", "127.0.0.1:0")
        .env("LOG_FORMAT", "json")
        .env("RUST_LOG", "info")
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the collector starts");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let address = tokio::time::timeout(LIMIT, async {
        while let Ok(Some(line)) = lines.next_line().await {
            let line: Value = serde_json::from_str(&line).expect("JSON lines");
            if let Some(address) = line["address"].as_str() {
                return address.to_owned();
            }
        }
        panic!("it ended before it named its address");
    })
    .await
    .expect("it names its address");
    // What is not read fills the pipe and stops it.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, format!("http://{address}/metrics"))
}

#[tokio::test]
async fn the_collector_publishes_the_lag_of_a_paused_agent_by_its_name() {
    for (_, settings) in brokers().await {
        publish(&settings, &KEYS).await;
        let mut agent = Reader::start(&settings, "communication");
        let reader = BrokerReader::new(settings.clone());
        wait_for(&reader, &mut Memory::default(), "communication", |lag| {
            lag.messages == Some(0)
        })
        .await;
        let (mut process, metrics) = collector(&settings).await;
        let samples: BaseConsumer = settings
            .consumer_config("lag-test-samples", "0")
            .create()
            .expect("a consumer");
        samples
            .subscribe(&[&settings.topic("raw.metrics")])
            .expect("subscribed");
        let mut seen: Vec<(String, f64)> = Vec::new();
        let begun = Instant::now();
        let mut stopped = false;
        // First at rest, then, paused, three messages that grow old.
        while !seen
            .iter()
            .any(|(name, value)| name == "kafka_consumer_lag_seconds" && *value >= 2.0)
        {
            assert!(begun.elapsed() < LIMIT, "no such sample; {seen:?}");
            if !stopped && seen.contains(&("kafka_consumer_lag_seconds".to_owned(), 0.0)) {
                agent.stop();
                publish(&settings, &["a", "b", "c"]).await;
                stopped = true;
            }
            let Some(Ok(message)) = samples.poll(Duration::from_millis(100)) else {
                continue;
            };
            let sample: Value =
                serde_json::from_slice(message.payload().expect("a payload")).expect("JSON");
            if sample["service"] == "midwatch-communication" {
                assert_eq!(sample["environment"], "lag-test");
                assert_eq!(sample["labels"]["group"], settings.group("communication"));
                let name = sample["metric_name"].as_str().expect("a name");
                seen.push((
                    name.to_owned(),
                    sample["metric_value"].as_f64().expect("a value"),
                ));
            }
        }
        assert!(
            seen.contains(&("kafka_consumer_lag".to_owned(), 3.0)),
            "{seen:?}"
        );
        let text = reqwest::get(&metrics).await.expect("an answer");
        let text = text.text().await.expect("a body");
        let group = settings.group("communication");
        for line in [
            "midwatch_collector_consumer_groups_readable 1".to_owned(),
            format!("midwatch_collector_consumer_group_lag_messages{{group=\"{group}\"}} 3"),
            format!("midwatch_collector_consumer_group_lag_unknown{{group=\"{group}\"}} 0"),
        ] {
            assert!(text.contains(&line), "{line} in {text}");
        }
        process.kill().await.expect("it ends");
        samples.unsubscribe();
    }
}
