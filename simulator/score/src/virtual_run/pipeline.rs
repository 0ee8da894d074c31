//! Raw events into detection, and the queue of everything that is due later.

use super::memory::Memory;
use super::replay::Published;
use super::respond::{Respond, Task};
use super::{HOP_MS, Setup, Story, Telling};
use midwatch_correlation::table::ContextTable;
use midwatch_detection::decide::state::PartitionState;
use midwatch_detection::decide::transition::Emission;
use midwatch_detection::decide::{At, Detector, Effect, Input};
use midwatch_events::artifact::Artifact;
use midwatch_events::decode::SCHEMA_VERSION;
use midwatch_events::{Envelope, Event, GroundTruth, Meta};
use midwatch_investigation::decide::facts::Known;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use uuid::Uuid;

/// Detection lets silence grow in partitions that have been idle for this
/// long, this often; wall clock, as in its shell.
const IDLE_AFTER_MS: i64 = 30_000;
pub(super) const IDLE_EVERY_MS: i64 = 5_000;
/// Names what detection finds; any word will do, since there is one log.
const EPOCH: &str = "virtual";

/// Both clocks: simulated time runs from `live_ms` at `speed` times the wall.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    pub live_ms: i64,
    pub speed: i64,
}

impl Clocks {
    /// The wall clock at a simulated moment; history goes out at once.
    pub fn wall_ms(&self, at_ms: i64) -> i64 {
        self.live_ms + (at_ms - self.live_ms).max(0) / self.speed
    }

    /// The simulated moment at a time of the wall clock.
    pub fn simulated_ms(&self, wall_ms: i64) -> i64 {
        self.live_ms + (wall_ms - self.live_ms) * self.speed
    }
}

/// What detection reads: 0 metrics, 1 logs, 2 spans, 3 Kubernetes events; and
/// the partition of that topic.
type Place = (usize, i32);

/// One partition of a topic as detection sees it.
#[derive(Default)]
struct Partition {
    state: PartitionState,
    heard_wall_ms: i64,
}

/// A task with its time; equal times keep the order of their making.
struct Due {
    wall_ms: i64,
    number: u64,
    task: Task,
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        (self.wall_ms, self.number) == (other.wall_ms, other.number)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> std::cmp::Ordering {
        (self.wall_ms, self.number).cmp(&(other.wall_ms, other.number))
    }
}

/// What is due, earliest first.
#[derive(Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<Due>>,
    number: u64,
}

impl Queue {
    pub fn put(&mut self, wall_ms: i64, task: Task) {
        self.number += 1;
        let number = self.number;
        self.heap.push(Reverse(Due {
            wall_ms,
            number,
            task,
        }));
    }

    fn take_due(&mut self, wall_ms: i64) -> Option<(i64, Task)> {
        let Reverse(first) = self.heap.peek()?;
        if first.wall_ms > wall_ms {
            return None;
        }
        self.heap.pop().map(|Reverse(due)| (due.wall_ms, due.task))
    }
}

/// The agents with all that lies between them.
pub(super) struct Pipeline<'a> {
    clocks: Clocks,
    detector: Detector,
    partitions: BTreeMap<Place, Partition>,
    idle_after_ms: i64,
    idle_wall_ms: i64,
    /// Whether anomalies come with the recording; what detection finds counts
    /// for nothing then.
    given_anomalies: bool,
    /// Samples that detection did not judge, by its word for the reason.
    ignored: BTreeMap<&'static str, u64>,
    memory: Memory,
    table: ContextTable,
    respond: Respond,
    queue: Queue,
    truths: Vec<GroundTruth>,
    telling: Option<Telling<'a>>,
}

impl<'a> Pipeline<'a> {
    pub fn new(setup: &Setup, live_ms: i64, telling: Option<Telling<'a>>) -> Pipeline<'a> {
        let clocks = Clocks {
            live_ms,
            speed: setup.speed.max(1),
        };
        Pipeline {
            clocks,
            detector: Detector::new(setup.tuning.clone(), EPOCH).with_catalogue(&setup.catalogue),
            partitions: BTreeMap::new(),
            idle_after_ms: IDLE_AFTER_MS,
            idle_wall_ms: live_ms,
            given_anomalies: false,
            ignored: BTreeMap::new(),
            memory: Memory::default(),
            table: ContextTable::default(),
            respond: Respond::new(setup),
            queue: Queue::default(),
            truths: Vec::new(),
            telling,
        }
    }

    /// A pipeline for what was recorded: its one clock is that of the records,
    /// and what it publishes is kept to be taken.
    pub fn of_recording(setup: &Setup, epoch: &str, idle_after_ms: i64) -> Pipeline<'a> {
        let mut pipeline = Pipeline::new(
            &Setup {
                speed: 1,
                ..setup.clone()
            },
            0,
            None,
        );
        pipeline.detector =
            Detector::new(setup.tuning.clone(), epoch).with_catalogue(&setup.catalogue);
        pipeline.idle_after_ms = idle_after_ms;
        pipeline.respond.keep_published();
        pipeline
    }

    /// From now on anomalies and operators' commands come with the recording.
    pub fn give_anomalies(&mut self) {
        self.given_anomalies = true;
    }

    /// What the knowledge store would find.
    pub fn know(&mut self, past: Known) {
        self.respond.shelf().know(past);
    }

    /// What was concluded since the last look.
    pub fn take_artifacts(&mut self) -> Vec<Artifact> {
        self.respond.shelf().take_artifacts()
    }

    /// Begins to measure silence at this moment.
    pub fn wake(&mut self, wall_ms: i64) {
        self.idle_wall_ms = wall_ms;
    }

    /// When silence was last looked for.
    pub fn idle_wall_ms(&self) -> i64 {
        self.idle_wall_ms
    }

    /// Keeps what is published from now on, to be taken.
    pub fn keep_published(&mut self) {
        self.respond.keep_published();
    }

    /// What was published since the last look.
    pub fn take_published(&mut self) -> Vec<Published> {
        self.respond.take_published()
    }

    /// Samples that detection did not judge, by its word for the reason.
    pub fn ignored(&self) -> &BTreeMap<&'static str, u64> {
        &self.ignored
    }

    /// Series that detection watches.
    pub fn series_count(&self) -> usize {
        let partitions = self.partitions.values();
        partitions.map(|one| one.state.series_count()).sum()
    }

    /// Whether an incident is open, or about to be opened or left.
    pub fn is_busy(&self) -> bool {
        self.respond.is_busy()
    }

    /// Does what was due until this moment and takes in what happened then.
    pub fn live_until(&mut self, at_ms: i64, events: Vec<Envelope>) {
        let wall_ms = self.clocks.wall_ms(at_ms);
        self.work_until(wall_ms);
        for envelope in events {
            self.hear(envelope, 0, wall_ms);
        }
        if wall_ms - self.idle_wall_ms >= IDLE_EVERY_MS {
            self.idle(wall_ms);
        }
    }

    /// Does what is due until this moment.
    pub fn work_until(&mut self, wall_ms: i64) {
        while let Some((due_ms, task)) = self.queue.take_due(wall_ms) {
            let surroundings = (&self.memory, &self.table);
            let lines = self
                .respond
                .act(task, due_ms, surroundings, &mut self.queue);
            let at_ms = self.clocks.simulated_ms(due_ms);
            for line in lines {
                tell(&mut self.telling, at_ms - self.clocks.live_ms, &line);
            }
        }
    }

    /// Takes in an event from a partition of its topic.
    pub fn hear(&mut self, envelope: Envelope, partition: i32, wall_ms: i64) {
        match &envelope.event {
            Event::GroundTruth(truth) => {
                let line = format!(
                    "FAULT {} {} on {} (reaches {})",
                    truth.phase,
                    truth.scenario,
                    truth.service,
                    truth.affected.join(", ")
                );
                let at_ms = truth.timestamp_ms - self.clocks.live_ms;
                tell(&mut self.telling, at_ms, &line);
                self.truths.push(truth.clone());
                return;
            }
            Event::Anomaly(_) | Event::Command(_) if self.given_anomalies => {
                self.respond.note(&envelope.event, wall_ms);
                self.hand_on(envelope, wall_ms);
                return;
            }
            Event::Deployment(_) | Event::Kubernetes(_) | Event::Span(_) => {
                self.table.take(envelope.event.clone());
            }
            _ => {}
        }
        let Some(topic) = topic(&envelope.event) else {
            return;
        };
        let place = (topic, partition);
        let at = At {
            event_id: envelope.meta.event_id,
            wall_ms,
        };
        self.partitions.entry(place).or_default().heard_wall_ms = wall_ms;
        if let Some(input) = Input::of(envelope.event) {
            self.detect(place, at, input);
        }
    }

    fn detect(&mut self, place: Place, at: At, input: Input) {
        let state = &mut self.partitions.entry(place).or_default().state;
        for effect in self.detector.decide(state, at, input) {
            match effect {
                Effect::Emit(_) if self.given_anomalies => {}
                Effect::Emit(emission) => self.publish(*emission, at.wall_ms),
                Effect::RememberReading {
                    environment,
                    service,
                    series,
                    reading,
                } => {
                    let name = (environment.as_str(), service.as_str(), series.as_str());
                    self.memory.reading(name, reading, at.wall_ms);
                }
                Effect::RememberLog { event_id, log } => self.memory.log(log, event_id, at.wall_ms),
                Effect::RememberSpan { event_id, span } => {
                    self.memory.span(span, event_id, at.wall_ms);
                }
                Effect::Ignore(reason) => self.ignore(reason.as_str()),
                Effect::ClockJump => self.ignore("clock_jump"),
            }
        }
    }

    fn ignore(&mut self, reason: &'static str) {
        *self.ignored.entry(reason).or_default() += 1;
    }

    fn publish(&mut self, emission: Emission, wall_ms: i64) {
        let anomaly = &emission.anomaly;
        let line = format!(
            "anomaly {:?} {} {} {} — {}",
            anomaly.transition,
            anomaly.severity,
            anomaly.anomaly_type,
            anomaly.service,
            anomaly.description
        );
        let at_ms = anomaly.detected_at_ms - self.clocks.live_ms;
        tell(&mut self.telling, at_ms, &line);
        let envelope = Envelope {
            meta: Meta {
                event_id: emission.event_id,
                cause_id: Some(emission.cause_id),
                schema_version: SCHEMA_VERSION,
                event_time_ms: anomaly.detected_at_ms,
                producer: "midwatch.detection".to_owned(),
            },
            event: Event::Anomaly(emission.anomaly),
        };
        self.respond.note(&envelope.event, wall_ms);
        self.hand_on(envelope, wall_ms);
    }

    /// Puts what was published before those who read it.
    fn hand_on(&mut self, envelope: Envelope, wall_ms: i64) {
        let due_ms = wall_ms + HOP_MS;
        let twin = Box::new(envelope.clone());
        self.queue.put(due_ms, Task::Correlate(twin));
        self.queue
            .put(due_ms, Task::Investigate(Box::new(envelope)));
    }

    /// Lets silence grow where nothing has come for a while.
    pub fn idle(&mut self, wall_ms: i64) {
        self.idle_wall_ms = wall_ms;
        let quiet: Vec<Place> = self
            .partitions
            .iter()
            .filter(|(_, one)| wall_ms - one.heard_wall_ms >= self.idle_after_ms)
            .map(|(place, _)| *place)
            .collect();
        if quiet.is_empty() {
            return;
        }
        let mut latest: BTreeMap<String, i64> = BTreeMap::new();
        for partition in self.partitions.values() {
            for (environment, at_ms) in partition.state.watermarks() {
                let known = latest.entry(environment.to_owned()).or_insert(at_ms);
                *known = at_ms.max(*known);
            }
        }
        let at = At {
            event_id: Uuid::nil(),
            wall_ms,
        };
        for place in quiet {
            self.detect(place, at, Input::Idle(latest.clone()));
        }
    }

    /// What happened up to `now_ms`.
    pub fn into_story(self, now_ms: i64) -> Story {
        let clocks = self.clocks;
        Story {
            truths: self.truths,
            incidents: self
                .respond
                .into_incidents(|wall_ms| clocks.simulated_ms(wall_ms)),
            simulated_ms: (now_ms - clocks.live_ms).max(0),
        }
    }
}

fn tell(telling: &mut Option<Telling<'_>>, at_ms: i64, line: &str) {
    if let Some(tell) = telling {
        tell(at_ms, line);
    }
}

/// Which of detection's topics an event is on.
fn topic(event: &Event) -> Option<usize> {
    match event {
        Event::Metric(_) => Some(0),
        Event::Log(_) => Some(1),
        Event::Span(_) => Some(2),
        Event::Kubernetes(_) => Some(3),
        _ => None,
    }
}
