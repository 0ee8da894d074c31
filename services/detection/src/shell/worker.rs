//! The loop: poll, decide, publish, checkpoint. One thread owns all partitions
//! of this process, so nothing here needs a lock.

use crate::config::DetectionConfig;
use crate::decide::state::PartitionState;
use crate::decide::transition::Emission;
use crate::decide::{At, Detector, Effect, Input};
use crate::shell::classify::Classifier;
use crate::shell::group::{self, Events};
use crate::shell::lag::{self, Positions};
use crate::shell::recent::Recent;
use crate::shell::store::{Claim, Place, Store};
use fred::clients::Client;
use midwatch_clients::kafka::{Producer, is_passing};
use midwatch_events::decode::{SCHEMA_VERSION, decode};
use midwatch_events::{Coordinates, Envelope, Event, Meta, Topic};
use midwatch_runtime::{ServiceContext, clock};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Message};
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
    pub claim: Claim,
    pub state: PartitionState,
    pub next_offset: i64,
    pub saved_offset: i64,
    /// Changed fields of a checkpoint that has not succeeded yet.
    pub pending: BTreeMap<String, Option<String>>,
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
    pub recent: Recent,
    pub emissions: Vec<Envelope>,
    pub dead: Vec<DeadLetter>,
    pub dead_bytes: usize,
    pub since_checkpoint: usize,
    pub last_checkpoint: Instant,
    last_idle: Instant,
    /// Why consuming is paused, and when to try again.
    stalled: Option<Instant>,
    pub lost_since: Option<Instant>,
    handled: BTreeMap<&'static str, u64>,
    current: Current,
}

/// Where the message at hand lay. Messages come in runs of one partition, so
/// the names are kept from one to the next instead of being made for each.
#[derive(Debug)]
struct Current {
    place: Place,
    topic: Option<Topic>,
    coordinates: Coordinates,
}

impl Current {
    fn nowhere(epoch: &str) -> Current {
        Current {
            place: (String::new(), -1),
            topic: None,
            coordinates: Coordinates {
                epoch: epoch.to_owned(),
                topic: String::new(),
                partition: -1,
                offset: -1,
                record_ms: 0,
            },
        }
    }

    /// Goes to where `message` lay; its topic, if it is one of Midwatch's.
    fn arrive(
        &mut self,
        parts: &Parts,
        message: &BorrowedMessage<'_>,
        record_ms: i64,
    ) -> Option<Topic> {
        if self.place.0 != message.topic() {
            message.topic().clone_into(&mut self.place.0);
            self.topic = Topic::from_name(parts.context.kafka.bare(&self.place.0));
            let name = self.topic.map_or("", Topic::name);
            name.clone_into(&mut self.coordinates.topic);
        }
        self.place.1 = message.partition();
        self.coordinates.partition = message.partition();
        self.coordinates.offset = message.offset();
        self.coordinates.record_ms = record_ms;
        self.topic
    }
}

impl Worker {
    pub fn new(parts: Parts) -> Worker {
        Worker {
            current: Current::nowhere(&parts.epoch),
            parts,
            handle: Handle::current(),
            partitions: BTreeMap::new(),
            positions: Positions::default(),
            recent: Recent::default(),
            emissions: Vec::new(),
            dead: Vec::new(),
            dead_bytes: 0,
            since_checkpoint: 0,
            last_checkpoint: Instant::now(),
            last_idle: Instant::now(),
            stalled: None,
            lost_since: None,
            handled: BTreeMap::new(),
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
            self.batch(&consumer)?;
            self.adopt_classifications();
            if self.last_idle.elapsed() >= IDLE_EVERY {
                self.last_idle = Instant::now();
                self.tick_idle();
            }
            self.settle(&consumer)?;
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

    /// Publishes and checkpoints what is due. While that fails, consuming is
    /// paused, which bounds memory, and tried again.
    fn settle(&mut self, consumer: &BaseConsumer<Events>) -> anyhow::Result<()> {
        if self.stalled.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        let due = self.since_checkpoint >= self.parts.config.checkpoint_samples
            || self.last_checkpoint.elapsed() >= self.parts.config.checkpoint_every
            || self.stalled.is_some();
        let result = self
            .publish()
            .map_err(|error| ("kafka", error))
            .and_then(|()| {
                if due {
                    self.checkpoint().map_err(|error| ("redis", error))
                } else {
                    Ok(())
                }
            });
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

    fn batch(&mut self, consumer: &BaseConsumer<Events>) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut wait = POLL;
        for _ in 0..BATCH {
            match consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => self.message(&message),
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
        for (topic, count) in std::mem::take(&mut self.handled) {
            metrics::counter!("midwatch_detection_samples_total", "topic" => topic)
                .increment(count);
        }
        for (place, partition) in &self.partitions {
            self.positions.set(place, partition.next_offset);
        }
        Ok(())
    }

    fn message(&mut self, message: &BorrowedMessage<'_>) {
        let offset = message.offset();
        let record_ms = message
            .timestamp()
            .to_millis()
            .unwrap_or_else(clock::now_ms);
        let Some(topic) = self.current.arrive(&self.parts, message, record_ms) else {
            return;
        };
        let place = &self.current.place;
        let Some(partition) = self.partitions.get_mut(place) else {
            return;
        };
        if partition.started && offset < partition.next_offset {
            return;
        }
        if !partition.started && offset < partition.next_offset {
            tracing::error!(
                topic = place.0,
                partition = place.1,
                stored = partition.next_offset,
                found = offset,
                "the log ends before the stored offset within one epoch: records were lost on the broker; going on from what there is"
            );
        }
        partition.started = true;
        partition.next_offset = offset + 1;
        partition.last_message = Instant::now();
        self.since_checkpoint += 1;
        if record_ms < partition.skip_before_ms {
            return;
        }
        let payload = message.payload().unwrap_or_default();
        *self.handled.entry(topic.name()).or_default() += 1;
        match decode(topic, payload, &self.current.coordinates) {
            Ok(envelope) => {
                let at = At {
                    event_id: envelope.meta.event_id,
                    // A producer sets its records' times; they are never
                    // in the future.
                    wall_ms: record_ms.min(clock::now_ms()),
                };
                if let Some(input) = Input::of(envelope.event) {
                    let effects = self.parts.detector.decide(&mut partition.state, at, input);
                    self.perform(at, effects);
                }
            }
            Err(error) => {
                self.dead_bytes += payload.len();
                self.dead.push(DeadLetter {
                    coordinates: self.current.coordinates.clone(),
                    key: message.key().map(<[u8]>::to_vec),
                    payload: payload.to_vec(),
                    kind: error.kind(),
                    reason: error.to_string(),
                });
            }
        }
    }

    fn decide(&mut self, place: &Place, at: At, input: Input) {
        let Some(partition) = self.partitions.get_mut(place) else {
            return;
        };
        let effects = self.parts.detector.decide(&mut partition.state, at, input);
        self.perform(at, effects);
    }

    fn perform(&mut self, at: At, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Emit(emission) => self.emit(*emission),
                Effect::RememberReading {
                    environment,
                    service,
                    series,
                    reading,
                } => {
                    self.recent
                        .reading(&environment, &service, &series, &reading, at.wall_ms);
                }
                Effect::RememberLog { event_id, log } => self.recent.log(&log, event_id),
                Effect::RememberSpan { event_id, span } => self.recent.span(&span, event_id),
                Effect::ClockJump => {
                    metrics::counter!("midwatch_detection_clock_jumps_total").increment(1);
                }
                Effect::Ignore(reason) => {
                    metrics::counter!("midwatch_detection_ignored_total", "reason" => reason.as_str())
                        .increment(1);
                }
            }
        }
    }

    fn emit(&mut self, emission: Emission) {
        let anomaly = &emission.anomaly;
        let transition = format!("{:?}", anomaly.transition).to_lowercase();
        tracing::info!(
            anomaly_id = %anomaly.anomaly_id,
            transition,
            severity = %anomaly.severity,
            environment = anomaly.environment,
            "{}",
            anomaly.description
        );
        metrics::counter!("midwatch_detection_anomalies_total",
            "transition" => transition, "type" => anomaly.anomaly_type.as_str())
        .increment(1);
        self.emissions.push(Envelope {
            meta: Meta {
                event_id: emission.event_id,
                cause_id: Some(emission.cause_id),
                schema_version: SCHEMA_VERSION,
                event_time_ms: anomaly.detected_at_ms,
                producer: "midwatch.detection".to_owned(),
            },
            event: Event::Anomaly(emission.anomaly),
        });
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
        self.checkpoint()?;
        let places: Vec<Place> = self.partitions.keys().cloned().collect();
        if !places.is_empty() {
            group::give_back(&self.parts.consumer, &places)?;
        }
        Ok(())
    }
}
