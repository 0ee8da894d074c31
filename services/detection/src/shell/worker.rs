//! The loop: poll, decide, publish, checkpoint. One thread owns all partitions
//! of this process, so nothing here needs a lock. What is to be written to
//! Redis it hands to [`Writer`] and goes on.

use crate::config::DetectionConfig;
use crate::decide::state::PartitionState;
use crate::decide::{At, Detector, Effect, Input};
use crate::shell::TOPICS;
use crate::shell::checkpoint::Checkpoint;
use crate::shell::classify::Classifier;
use crate::shell::group::{self, Events};
use crate::shell::intake::Current;
use crate::shell::lag::{self, Positions};
use crate::shell::recent::{Batch, Recent};
use crate::shell::store::{Place, Store};
use crate::shell::writer::Writer;
use fred::clients::Client;
use midwatch_clients::kafka::{Producer, is_passing};
use midwatch_events::{Coordinates, Envelope};
use midwatch_runtime::{ServiceContext, clock};
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// How long one poll waits: also how soon a request to stop is noticed.
const POLL: Duration = Duration::from_millis(100);
/// A batch ends after so many messages or so long, so that what was found is
/// published soon and a rebalance is answered soon.
const BATCH: usize = 500;
const BATCH_TIME: Duration = Duration::from_millis(50);
/// Bytes of unreadable messages held at most before they are sent off.
const DEAD_BYTES: usize = 8 * 1024 * 1024;
const IDLE_EVERY: Duration = Duration::from_secs(5);
/// A pause between tries while Redis or the broker is away.
const RETRY: Duration = Duration::from_secs(1);
/// How long the last checkpoint may take when the process is to end, which the
/// runtime waits 8 s for. A larger state goes on from the checkpoint before.
const FINISH_LIMIT: Duration = Duration::from_secs(6);
/// How long to wait for the group to say that lost partitions are lost.
const LOST_LIMIT: Duration = Duration::from_secs(30);

/// What a worker is made of.
pub(super) struct Parts {
    pub detector: Detector,
    pub config: DetectionConfig,
    pub epoch: String,
    pub context: ServiceContext,
    pub consumer: Arc<BaseConsumer<Events>>,
    pub store: Store,
    pub redis: Client,
    pub producer: Producer,
    pub classifier: Option<Classifier>,
}

/// One partition that this process owns.
pub(super) struct Partition {
    /// The number of this ownership.
    pub owner: i64,
    pub state: PartitionState,
    pub next_offset: i64,
    pub saved_offset: i64,
    /// The next offset of the checkpoint whose fields are being given out.
    pub saving: Option<i64>,
    /// Whether that checkpoint has not been acknowledged yet.
    pub unsaved: bool,
    /// Records from before this are passed over (warm-up where the broker
    /// cannot look up offsets by time).
    pub skip_before_ms: i64,
    /// Whether a message came since the assignment.
    pub started: bool,
    pub last_message: Instant,
}

/// A message that could not be read, on its way to the dead-letter topic.
pub(super) struct DeadLetter {
    pub coordinates: Coordinates,
    pub key: Option<Vec<u8>>,
    pub payload: Vec<u8>,
    pub kind: &'static str,
    pub reason: String,
}

pub(super) struct Worker {
    pub parts: Parts,
    pub handle: Handle,
    pub partitions: BTreeMap<Place, Partition>,
    pub positions: Positions,
    pub writer: Writer,
    pub recent: Recent,
    /// The other batch of recent records, while it is not being written.
    pub spare: Option<Batch>,
    pub last_flush: Instant,
    pub checkpoint: Checkpoint,
    pub emissions: Vec<Envelope>,
    pub dead: Vec<DeadLetter>,
    pub dead_bytes: usize,
    last_idle: Instant,
    /// Why consuming is paused, and when to try again.
    stalled: Option<Instant>,
    pub lost_since: Option<Instant>,
    pub handled: [u64; TOPICS.len()],
    pub current: Current,
    /// Used again for every message.
    pub effects: Vec<Effect>,
    pub series: String,
}

impl Worker {
    pub fn new(parts: Parts) -> Worker {
        let handle = Handle::current();
        Worker {
            current: Current::nowhere(&parts.epoch),
            writer: Writer::start(&handle, parts.redis.clone(), parts.store.clone()),
            parts,
            handle,
            partitions: BTreeMap::new(),
            positions: Positions::default(),
            recent: Recent::default(),
            spare: Some(Batch::default()),
            last_flush: Instant::now(),
            checkpoint: Checkpoint::new(),
            emissions: Vec::new(),
            dead: Vec::new(),
            dead_bytes: 0,
            last_idle: Instant::now(),
            stalled: None,
            lost_since: None,
            handled: [0; TOPICS.len()],
            effects: Vec::new(),
            series: String::new(),
        }
    }

    /// Works until asked to stop; the last act is a checkpoint.
    pub fn run(mut self) -> anyhow::Result<()> {
        let weak = Arc::downgrade(&self.parts.consumer);
        let (positions, kafka) = (self.positions.clone(), self.parts.context.kafka.clone());
        std::thread::Builder::new()
            .name("lag".to_owned())
            .spawn(move || lag::watch(&weak, &positions, &kafka))?;
        let result = self.work();
        self.parts.consumer.context().close();
        result
    }

    fn work(&mut self) -> anyhow::Result<()> {
        let consumer = Arc::clone(&self.parts.consumer);
        while !self.parts.context.shutdown.is_set() {
            while let Some(rebalance) = consumer.context().next() {
                self.rebalance(rebalance)?;
            }
            let busy = self.batch(&consumer)?;
            self.adopt_classifications();
            if self.last_idle.elapsed() >= IDLE_EVERY {
                self.last_idle = Instant::now();
                self.tick_idle();
            }
            self.settle(&consumer, busy)?;
            if let Some(since) = self.lost_since {
                anyhow::ensure!(
                    since.elapsed() < LOST_LIMIT,
                    "partitions were claimed by somebody else and the group did not reassign them within {} s: starting over",
                    LOST_LIMIT.as_secs()
                );
            }
        }
        self.finish()
    }

    /// Publishes and hands over to the writer what is due. While that fails,
    /// consuming is paused, which bounds memory, and tried again. `busy` says
    /// that more messages wait.
    fn settle(&mut self, consumer: &BaseConsumer<Events>, busy: bool) -> anyhow::Result<()> {
        if self.stalled.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        let result = self
            .publish()
            .map_err(|error| ("kafka", error))
            .and_then(|()| self.hand_over(busy).map_err(|error| ("redis", error)));
        match result {
            Ok(()) => {
                if self.stalled.take().is_some() {
                    consumer.resume(&consumer.assignment()?)?;
                    self.parts.context.readiness.set("kafka", Ok(()));
                    self.parts.context.readiness.set("redis", Ok(()));
                    tracing::info!("going on");
                }
            }
            Err((dependency, error)) => {
                if self.stalled.is_none() {
                    tracing::warn!(dependency, "consuming pauses: {error:#}");
                    metrics::counter!("midwatch_detection_stalls_total", "dependency" => dependency)
                        .increment(1);
                }
                self.parts
                    .context
                    .readiness
                    .set(dependency, Err(format!("{error:#}")));
                consumer.pause(&consumer.assignment()?)?;
                self.stalled = Some(Instant::now() + RETRY);
            }
        }
        Ok(())
    }

    /// Whether more messages wait.
    fn batch(&mut self, consumer: &BaseConsumer<Events>) -> anyhow::Result<bool> {
        let begun = Instant::now();
        let now_ms = clock::now_ms();
        let mut wait = POLL;
        let mut busy = true;
        for _ in 0..BATCH {
            match consumer.poll(wait) {
                None => {
                    busy = false;
                    break;
                }
                Some(Ok(message)) => self.message(&message, begun, now_ms),
                Some(Err(error)) if is_passing(&error) => {
                    tracing::debug!(%error, "the consumer stumbled and goes on");
                    break;
                }
                Some(Err(error)) => {
                    return Err(anyhow::Error::new(error).context("the consumer cannot go on"));
                }
            }
            wait = Duration::ZERO;
            if begun.elapsed() >= BATCH_TIME || self.dead_bytes >= DEAD_BYTES {
                break;
            }
        }
        for (topic, count) in TOPICS.iter().zip(std::mem::take(&mut self.handled)) {
            metrics::counter!("midwatch_detection_samples_total", "topic" => topic.name())
                .increment(count);
        }
        for (place, partition) in &self.partitions {
            self.positions.set(place, partition.next_offset);
        }
        Ok(busy)
    }

    /// Lets silence grow by the wall clock where nothing has come for a while
    /// and the broker says that there is nothing.
    fn tick_idle(&mut self) {
        let idle: Vec<Place> = self
            .partitions
            .iter()
            .filter(|(place, partition)| {
                partition.last_message.elapsed() >= self.parts.config.idle_after
                    && self.positions.at_end(place)
            })
            .map(|(place, _)| place.clone())
            .collect();
        let at = At {
            event_id: uuid::Uuid::nil(),
            wall_ms: clock::now_ms(),
        };
        if idle.is_empty() {
            return;
        }
        let mut latest: BTreeMap<String, i64> = BTreeMap::new();
        for partition in self.partitions.values() {
            for (environment, at_ms) in partition.state.watermarks() {
                match latest.get_mut(environment) {
                    Some(known) => *known = at_ms.max(*known),
                    None => {
                        latest.insert(environment.to_owned(), at_ms);
                    }
                }
            }
        }
        for place in idle {
            self.decide(&place, at, Input::Idle(latest.clone()));
        }
    }

    fn adopt_classifications(&mut self) {
        let Some(classifier) = &mut self.parts.classifier else {
            return;
        };
        let answers = classifier.answers();
        let at = At {
            event_id: uuid::Uuid::nil(),
            wall_ms: clock::now_ms(),
        };
        for answer in answers {
            // The series is in one partition; the others do not know it.
            let places: Vec<Place> = self.partitions.keys().cloned().collect();
            for place in places {
                self.decide(&place, at, answer.clone());
            }
        }
    }

    /// Publishes and saves what there is, within the time that stopping has.
    fn finish(&mut self) -> anyhow::Result<()> {
        self.publish()?;
        self.checkpoint_now(FINISH_LIMIT)?;
        let places: Vec<Place> = self.partitions.keys().cloned().collect();
        if !places.is_empty() {
            group::give_back(&self.parts.consumer, &places)?;
        }
        Ok(())
    }
}
