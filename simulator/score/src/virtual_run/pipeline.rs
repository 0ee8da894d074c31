//! Raw events into detection, and the queue of everything that is due later.

use super::memory::Memory;
use super::respond::{Respond, Task};
use super::{HOP_MS, Setup, Story, Telling};
use midwatch_correlation::table::ContextTable;
use midwatch_detection::decide::state::PartitionState;
use midwatch_detection::decide::transition::Emission;
use midwatch_detection::decide::{At, Detector, Effect, Input};
use midwatch_events::decode::SCHEMA_VERSION;
use midwatch_events::{Envelope, Event, GroundTruth, Meta};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use uuid::Uuid;

/// Detection lets silence grow in partitions that have been idle for this
/// long, this often; wall clock, as in its shell.
const IDLE_AFTER_MS: i64 = 30_000;
const IDLE_EVERY_MS: i64 = 5_000;
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

/// One topic as detection sees it.
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
    /// Metrics, logs, spans, Kubernetes events.
    partitions: [Partition; 4],
    idle_wall_ms: i64,
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
            detector: Detector::new(setup.tuning.clone(), EPOCH),
            partitions: Default::default(),
            idle_wall_ms: live_ms,
            memory: Memory::default(),
            table: ContextTable::default(),
            respond: Respond::new(setup),
            queue: Queue::default(),
            truths: Vec::new(),
            telling,
        }
    }

    /// Whether an incident is open, or about to be opened or left.
    pub fn is_busy(&self) -> bool {
        self.respond.is_busy()
    }

    /// Does what was due until this moment and takes in what happened then.
    pub fn live_until(&mut self, at_ms: i64, events: Vec<Envelope>) {
        let wall_ms = self.clocks.wall_ms(at_ms);
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
        for envelope in events {
            self.hear(envelope, wall_ms);
        }
        if wall_ms - self.idle_wall_ms >= IDLE_EVERY_MS {
            self.idle_wall_ms = wall_ms;
            self.idle(wall_ms);
        }
    }

    fn hear(&mut self, envelope: Envelope, wall_ms: i64) {
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
            Event::Deployment(_) | Event::Kubernetes(_) | Event::Span(_) => {
                self.table.take(envelope.event.clone());
            }
            _ => {}
        }
        let Some(place) = place(&envelope.event) else {
            return;
        };
        let at = At {
            event_id: envelope.meta.event_id,
            wall_ms,
        };
        self.partitions[place].heard_wall_ms = wall_ms;
        if let Some(input) = Input::of(envelope.event) {
            self.detect(place, at, input);
        }
    }

    fn detect(&mut self, place: usize, at: At, input: Input) {
        let state = &mut self.partitions[place].state;
        for effect in self.detector.decide(state, at, input) {
            match effect {
                Effect::Emit(emission) => self.publish(*emission, at.wall_ms),
                Effect::RememberReading {
                    service,
                    series,
                    reading,
                    ..
                } => self.memory.reading(&service, &series, reading, at.wall_ms),
                Effect::RememberLog { event_id, log } => self.memory.log(log, event_id, at.wall_ms),
                Effect::RememberSpan { event_id, span } => {
                    self.memory.span(span, event_id, at.wall_ms);
                }
                Effect::Ignore(_) | Effect::ClockJump => {}
            }
        }
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
        self.queue.put(
            wall_ms + HOP_MS,
            Task::Correlate(Box::new(envelope.clone())),
        );
        self.queue
            .put(wall_ms + HOP_MS, Task::Investigate(Box::new(envelope)));
    }

    /// Lets silence grow where nothing has come for a while.
    fn idle(&mut self, wall_ms: i64) {
        let mut latest: BTreeMap<String, i64> = BTreeMap::new();
        for partition in &self.partitions {
            for (environment, at_ms) in partition.state.watermarks() {
                let known = latest.entry(environment.to_owned()).or_insert(at_ms);
                *known = at_ms.max(*known);
            }
        }
        let at = At {
            event_id: Uuid::nil(),
            wall_ms,
        };
        for place in 0..self.partitions.len() {
            if wall_ms - self.partitions[place].heard_wall_ms >= IDLE_AFTER_MS {
                self.detect(place, at, Input::Idle(latest.clone()));
            }
        }
    }

    /// What happened up to `now_ms`.
    pub fn into_story(self, now_ms: i64) -> Story {
        Story {
            truths: self.truths,
            incidents: self.respond.into_incidents(),
            simulated_ms: (now_ms - self.clocks.live_ms).max(0),
        }
    }
}

fn tell(telling: &mut Option<Telling<'_>>, at_ms: i64, line: &str) {
    if let Some(tell) = telling {
        tell(at_ms, line);
    }
}

/// Which of detection's topics an event is on.
fn place(event: &Event) -> Option<usize> {
    match event {
        Event::Metric(_) => Some(0),
        Event::Log(_) => Some(1),
        Event::Span(_) => Some(2),
        Event::Kubernetes(_) => Some(3),
        _ => None,
    }
}
