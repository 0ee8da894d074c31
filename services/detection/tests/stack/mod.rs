//! A broker, a Redis and detection as a process; each test has its own topics,
//! consumer group, epoch and environment on them.

use fred::clients::Client;
use fred::interfaces::{
    ClientLike, HashesInterface, KeysInterface, SetsInterface, SortedSetsInterface,
};
use midwatch_clients::kafka::{KafkaSettings, Producer, create_topics, ensure_epoch};
use midwatch_events::decode::decode;
use midwatch_events::{Coordinates, Event, Topic};
use midwatch_runtime::{Settings, clock};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(60);

pub struct Stack {
    pub prefix: String,
    pub epoch: String,
    pub environment: String,
    /// Whether the broker is the fallback and not Apache Kafka.
    pub is_fallback: bool,
    pub redis: Client,
    redis_url: String,
    kafka: KafkaSettings,
    producer: Producer,
    runtime: Runtime,
}

/// A record on the broker.
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub record_ms: i64,
    pub payload: Vec<u8>,
    headers: HashMap<String, String>,
}

impl Record {
    pub fn header(&self, name: &str) -> String {
        self.headers.get(name).cloned().unwrap_or_default()
    }

    pub fn event_id(&self) -> Uuid {
        self.header("ce_id").parse().expect("every event has an id")
    }

    pub fn decode(&self, topic: Topic) -> Event {
        let coordinates = Coordinates {
            epoch: String::new(),
            topic: topic.name().to_owned(),
            partition: self.partition,
            offset: self.offset,
            record_ms: self.record_ms,
        };
        decode(topic, &self.payload, &coordinates)
            .expect("what we publish is readable")
            .event
    }
}

/// Detection, running.
pub struct Process {
    child: Child,
    port: u16,
}

impl Stack {
    pub fn new(name: &str, partitions: i32) -> Stack {
        let settings = Settings::from_env();
        let kafka = settings.get("MIDWATCH_TEST_KAFKA");
        let is_fallback = kafka.is_none();
        let broker = kafka
            .or_else(|| settings.get("MIDWATCH_TEST_TANSU"))
            .expect(
                "MIDWATCH_TEST_KAFKA names no broker: run the tests through `midwatch-stack exec`",
            );
        let redis_url = settings.get("MIDWATCH_TEST_REDIS_URL").expect(
            "MIDWATCH_TEST_REDIS_URL names no Redis: run the tests through `midwatch-stack exec`",
        );
        let unique = clock::random_id().simple().to_string();
        let prefix = format!("{name}-{}.", &unique[..8]);
        let kafka = KafkaSettings {
            topic_prefix: prefix.clone(),
            partitions,
            ..KafkaSettings::at(&broker)
        };
        let runtime = Runtime::new().expect("an async runtime");
        let (redis, producer, epoch) = runtime.block_on(async {
            let redis = midwatch_clients::redis::connect(&redis_url)
                .await
                .expect("Redis");
            create_topics(&kafka)
                .await
                .expect("the broker creates topics");
            let epoch = ensure_epoch(&kafka, &format!("epoch-{unique}"))
                .await
                .expect("an epoch");
            (redis, Producer::new(&kafka).expect("a producer"), epoch)
        });
        Stack {
            environment: format!("test-{unique}"),
            is_fallback,
            prefix,
            epoch,
            redis,
            redis_url,
            kafka,
            producer,
            runtime,
        }
    }

    pub fn topic(&self, name: &str) -> String {
        self.kafka.topic(name)
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub fn start(&self) -> Process {
        self.start_in_slot("0")
    }

    pub fn start_in_slot(&self, slot: &str) -> Process {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let child = Command::new(env!("CARGO_BIN_EXE_midwatch-detection"))
            .env_clear()
            .env("KAFKA_BOOTSTRAP_SERVERS", &self.kafka.bootstrap)
            .env("KAFKA_TOPIC_PREFIX", &self.prefix)
            .env("REDIS_URL", &self.redis_url)
            .env("MIDWATCH_SLOT", slot)
            .env("HTTP_BIND", format!("127.0.0.1:{port}"))
            .env("RUST_LOG", "info,midwatch_detection=warn")
            .stdin(Stdio::null())
            .spawn()
            .expect("the program was built with the tests");
        let process = Process { child, port };
        let ready = || {
            process
                .get("/healthz")
                .filter(|answer| answer.contains("200 OK"))
        };
        self.wait_for("detection to be up", ready);
        process
    }

    pub fn produce(&self, topic: &str, key: &str, records: &[Value]) {
        for record in records {
            self.produce_bytes(topic, key, record.to_string().as_bytes());
        }
    }

    pub fn produce_bytes(&self, topic: &str, key: &str, payload: &[u8]) {
        self.block_on(
            self.producer
                .publish_bytes(topic, key.as_bytes(), payload, &[]),
        )
        .expect("the broker takes the record");
    }

    /// Reads a topic from its beginning until `enough`.
    pub fn read_until(&self, topic: &str, enough: impl Fn(&[Record]) -> bool) -> Vec<Record> {
        let consumer: BaseConsumer = self
            .kafka
            .client_config()
            .set("group.id", format!("{}reader", self.prefix))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("fetch.message.max.bytes", "8388608")
            .create()
            .expect("a consumer");
        let mut list = TopicPartitionList::new();
        for partition in 0..self.kafka.partitions {
            list.add_partition_offset(&self.topic(topic), partition, Offset::Beginning)
                .expect("an offset");
        }
        consumer.assign(&list).expect("an assignment");
        let deadline = Instant::now() + LIMIT;
        let mut records: Vec<Record> = Vec::new();
        while !enough(&records) {
            assert!(
                Instant::now() < deadline,
                "only {} records on {topic}",
                records.len()
            );
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(200)) else {
                continue;
            };
            let headers = message.headers().map(|headers| {
                headers
                    .iter()
                    .map(|header| {
                        let value = header.value.unwrap_or_default();
                        (
                            header.key.to_owned(),
                            String::from_utf8_lossy(value).into_owned(),
                        )
                    })
                    .collect()
            });
            records.push(Record {
                partition: message.partition(),
                offset: message.offset(),
                record_ms: message.timestamp().to_millis().unwrap_or_default(),
                payload: message.payload().unwrap_or_default().to_vec(),
                headers: headers.unwrap_or_default(),
            });
        }
        records
    }

    /// Asks again and again until there is an answer.
    pub fn wait_for<T>(&self, what: &str, ask: impl Fn() -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            assert!(Instant::now() < deadline, "waited in vain for {what}");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    pub fn sorted_set(&self, key: &str) -> Vec<String> {
        self.block_on(self.redis.zrange(key, 0, -1, None, false, None, false))
            .unwrap_or_default()
    }

    pub fn set(&self, key: &str) -> BTreeSet<String> {
        let members: Vec<String> = self.block_on(self.redis.smembers(key)).expect("Redis");
        members.into_iter().collect()
    }

    pub fn hash(&self, key: &str) -> HashMap<String, String> {
        self.block_on(self.redis.hgetall(key)).expect("Redis")
    }

    /// Deletes what detection stored; returns how many keys that were.
    pub fn delete_detector_state(&self) -> i64 {
        let keys: Vec<String> = ["raw.metrics", "raw.logs", "raw.spans", "raw.kubernetes"]
            .iter()
            .flat_map(|topic| (0..self.kafka.partitions).map(move |partition| (topic, partition)))
            .flat_map(|(topic, partition)| {
                ["owner", "pointer"].map(|what| {
                    format!(
                        "midwatch:detection:v2:{}:{}:{partition}:{what}",
                        self.epoch,
                        self.topic(topic)
                    )
                })
            })
            .collect();
        self.block_on(self.redis.del(keys)).expect("Redis")
    }

    pub fn pause_redis(&self, ms: i64) {
        let command = fred::types::CustomCommand::new_static("CLIENT", None::<u16>, false);
        let () = self
            .block_on(self.redis.custom(
                command,
                vec!["PAUSE".to_owned(), ms.to_string(), "ALL".to_owned()],
            ))
            .expect("Redis");
    }
}

impl Process {
    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// The value of a counter; 0 where it was never raised.
    pub fn metric(&self, name: &str) -> f64 {
        self.get("/metrics")
            .unwrap_or_default()
            .lines()
            .filter(|line| line.starts_with(name))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(sent.expect("kill runs").success());
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// SIGTERM; it must end by itself and in peace.
    pub fn stop(mut self) {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .expect("kill runs");
        assert!(asked.success());
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                assert!(status.success(), "{status}");
                return;
            }
            assert!(Instant::now() < deadline, "it does not stop");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}
