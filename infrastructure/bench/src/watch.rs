//! Seeing messages appear on a topic, and when.

use anyhow::{Context as _, Result};
use midwatch_clients::kafka::KafkaSettings;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How soon a watch that is dropped ends.
const POLL: Duration = Duration::from_millis(20);
/// Messages held at most; far more than any section causes.
const HELD: usize = 100_000;

/// A message, and when it was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Instant,
    /// Name of its topic, with prefix.
    pub topic: String,
    pub payload: Vec<u8>,
    /// Which agent put it onto a dead-letter topic.
    pub agent: Option<String>,
}

/// A thread that reads topics from their present end on.
pub struct Watch {
    seen: Receiver<Seen>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to watch `topics` (names without prefix). Everything sent after
    /// this returned is seen.
    ///
    /// # Errors
    /// The broker is away.
    pub fn begin(kafka: &KafkaSettings, topics: &[String]) -> Result<Watch> {
        let consumer: BaseConsumer = kafka
            .consumer_config(&kafka.group("bench-watch"), "0")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "20")
            .create()
            .context("a consumer")?;
        let mut list = TopicPartitionList::new();
        for topic in topics {
            let name = kafka.topic(topic);
            for partition in 0..kafka.partitions {
                // The offset is asked for now and not when the first fetch
                // goes out, so that nothing is missed in between.
                let (_, end) = consumer
                    .fetch_watermarks(&name, partition, Duration::from_secs(10))
                    .with_context(|| format!("the end of {name} {partition}"))?;
                list.add_partition_offset(&name, partition, Offset::Offset(end))?;
            }
        }
        consumer.assign(&list)?;
        let (sender, seen) = sync_channel(HELD);
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || follow(&consumer, &sender, &told))?;
        Ok(Watch {
            seen,
            stop,
            thread: Some(thread),
        })
    }

    /// What was seen since the last call.
    pub fn take(&self) -> impl Iterator<Item = Seen> {
        self.seen.try_iter()
    }
}

fn follow(consumer: &BaseConsumer, sender: &SyncSender<Seen>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let message = match consumer.poll(POLL) {
            Some(Ok(message)) => message,
            // It heals by itself or the section runs into its own limit.
            Some(Err(_)) | None => continue,
        };
        let at = Instant::now();
        let agent = message.headers().and_then(|headers| {
            headers
                .iter()
                .find(|header| header.key == "midwatch_agent")
                .and_then(|header| header.value)
                .map(|value| String::from_utf8_lossy(value).into_owned())
        });
        let seen = Seen {
            at,
            topic: message.topic().to_owned(),
            payload: message.payload().unwrap_or_default().to_vec(),
            agent,
        };
        if let Err(TrySendError::Disconnected(_)) = sender.try_send(seen) {
            return;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("bench: the watching thread panicked");
        }
    }
}
