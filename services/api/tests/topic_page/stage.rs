//! A broker with something to see.

use midwatch_clients::kafka::{KafkaSettings, Producer, create_topics};
use midwatch_events::Coordinates;
use midwatch_runtime::{Settings, clock};
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a name or a line may hold at worst.
pub const HOSTILE: &str = "<img src=x onerror=alert(1)>";
const LIMIT: Duration = Duration::from_secs(40);

/// The brokers that can be had here, each with a prefix of its own; the flag
/// marks the fallback broker.
pub fn brokers() -> Vec<(bool, KafkaSettings)> {
    let environment = Settings::from_env();
    let found: Vec<(bool, KafkaSettings)> = [
        (false, "MIDWATCH_TEST_KAFKA"),
        (true, "MIDWATCH_TEST_TANSU"),
    ]
    .into_iter()
    .filter_map(|(tansu, name)| {
        let mut settings = KafkaSettings::at(&environment.get(name)?);
        settings.topic_prefix = format!("page-{}.", clock::random_id().simple());
        Some((tansu, settings))
    })
    .collect();
    assert!(
        !found.is_empty(),
        "neither MIDWATCH_TEST_KAFKA nor MIDWATCH_TEST_TANSU names a broker; `midwatch-stack exec` sets them"
    );
    found
}

/// Topics, messages and a way to add more.
pub struct Stage {
    pub settings: KafkaSettings,
    pub producer: Producer,
}

impl Stage {
    /// Creates the topics.
    pub async fn set(settings: KafkaSettings) -> Stage {
        create_topics(&settings).await.expect("topics");
        let producer = Producer::new(&settings).expect("a producer");
        Stage { settings, producer }
    }

    /// Writes one message; answers with partition and offset.
    pub async fn say(&self, topic: &str, key: &str, payload: &str) -> (i32, i64) {
        let headers = [("ce_source".to_owned(), format!("/midwatch/{key}"))];
        self.producer
            .publish_bytes(topic, key.as_bytes(), payload.as_bytes(), &headers)
            .await
            .expect("acknowledged")
    }

    /// Writes `count` readings of some services at once, so that they share
    /// batches.
    pub async fn metrics(&self, count: usize) -> Vec<(i32, i64)> {
        let services = [
            "api-gateway",
            "payment-service",
            "order-service",
            "user-service",
        ];
        let sends = (0..count).map(|index| async move {
            let service = services[index % services.len()];
            let payload = format!(
                r#"{{"service":"{service}","environment":"simulation","metric_name":"service_latency_p99_ms","metric_value":{}.5,"timestamp_ms":{},"labels":{{"pod":"{service}-{}"}}}}"#,
                100 + index % 70,
                clock::now_ms(),
                index % 3
            );
            self.say("raw.metrics", service, &payload).await
        });
        futures::future::join_all(sends).await
    }

    /// Puts a message aside as an agent would.
    pub async fn dead_letter(&self, payload: &[u8], reason: &str) {
        let place = Coordinates {
            epoch: "e".to_owned(),
            topic: "raw.logs".to_owned(),
            partition: 1,
            offset: 4_711,
            record_ms: clock::now_ms(),
        };
        let key = Some(b"order-service".as_slice());
        self.producer
            .dead_letter(
                "raw.logs",
                key,
                payload,
                &place,
                "detection",
                "not_json",
                reason,
            )
            .await
            .expect("acknowledged");
    }

    /// Joins as an agent's slot, reads `count` messages, commits, and stays.
    pub fn member(&self, agent: &str, slot: &str, topics: &[&str], count: usize) -> Member {
        let group = self.settings.group(agent);
        let mut config = self.settings.consumer_config(&group, slot);
        if slot == HOSTILE {
            // Anything may call itself anything.
            config.set("client.id", HOSTILE);
        }
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let names: Vec<String> = topics
            .iter()
            .map(|topic| self.settings.topic(topic))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        consumer.subscribe(&names).expect("subscribed");
        Member::start(consumer, count)
    }
}

/// A consumer that stays in its group until it is dropped.
pub struct Member {
    leave: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    fn start(consumer: BaseConsumer, count: usize) -> Member {
        let leave = Arc::new(AtomicBool::new(false));
        let (gone, (ready, joined)) = (leave.clone(), std::sync::mpsc::channel());
        let thread = std::thread::spawn(move || {
            let mut seen = 0;
            let mut told = false;
            while !gone.load(Ordering::Acquire) {
                if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50))
                    && seen < count
                {
                    consumer
                        .store_offset_from_message(&message)
                        .expect("stored");
                    seen += 1;
                    if seen == count {
                        consumer
                            .commit_consumer_state(CommitMode::Sync)
                            .expect("committed");
                    }
                    assert!(message.offset() >= 0);
                }
                let assigned = consumer.assignment().is_ok_and(|list| list.count() > 0);
                if !told && assigned && seen >= count {
                    told = true;
                    ready.send(()).ok();
                }
            }
        });
        joined.recv_timeout(LIMIT).expect("joined and read in time");
        Member {
            leave,
            thread: Some(thread),
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leave.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic");
        }
    }
}
