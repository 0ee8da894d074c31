//! Correlation and investigation, with what the runtime does for them: scopes,
//! channels, timers, jobs and the incident's row.

use super::memory::newest;
use super::pipeline::Queue;
use super::replay::Published;
use super::rows::Rows;
use super::shelf::{Reading, Shelf};
use super::{HOP_MS, JOB_MS, Setup};
use crate::judge::Incident;
use midwatch_correlation::decide::Core as Correlation;
use midwatch_correlation::decide::state::{Phase, State as Groups};
use midwatch_correlation::surroundings::{LINES_READ, READINGS, REQUEST_RATE, Recent, around};
use midwatch_events::decode::SCHEMA_VERSION;
use midwatch_events::knowledge::Catalogue;
use midwatch_events::{Anomaly, Envelope, Event, Meta, ids};
use midwatch_investigation::decide::Core as Investigation;
use midwatch_investigation::decide::state::{State as Case, channel};
use midwatch_runtime::{Effect, Input, Job, JobRequest, Moment};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use uuid::Uuid;

/// How long an anomaly waits for an incident that watches it, wall clock, as
/// in the runtime.
const CHANNEL_MS: i64 = 600_000;
/// How long an incident that is over is remembered at least, wall clock: late
/// updates and the last copy of its records come within seconds. It may be
/// reopened for longer, in event time.
const FORGET_MS: i64 = 60_000;

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Agent {
    Correlation,
    Investigation,
}

impl Agent {
    fn name(self) -> &'static str {
        match self {
            Agent::Correlation => "correlation",
            Agent::Investigation => "investigation",
        }
    }
}

/// Something that is due.
pub(super) enum Task {
    Correlate(Box<Envelope>),
    Investigate(Box<Envelope>),
    Timer {
        agent: Agent,
        scope: String,
        name: String,
        due_ms: i64,
        payload: Value,
    },
    Job {
        agent: Agent,
        scope: String,
        request: JobRequest,
    },
    Forget(Uuid),
}

/// The scope's state is in `groups` or `cases`; this is the rest of it.
type Scope = (Agent, String);

/// An anomaly that nobody has asked for yet.
struct Parked {
    until_wall_ms: i64,
    envelope: Box<Envelope>,
}

pub(super) struct Respond {
    catalogue: Catalogue,
    correlation: Correlation,
    investigation: Investigation,
    /// By environment.
    groups: BTreeMap<String, Groups>,
    cases: BTreeMap<String, Case>,
    /// The latest event time of each scope.
    event_ms: BTreeMap<Scope, i64>,
    timers: BTreeMap<(Agent, String, String), i64>,
    /// Who watches a channel.
    channels: BTreeMap<String, BTreeSet<String>>,
    parked: VecDeque<(String, Parked)>,
    /// How long an incident that is over is remembered, wall clock.
    forget_ms: i64,
    shelf: Shelf,
    rows: Rows,
    /// What was published, where somebody asked for it.
    published: Option<Vec<Published>>,
}

/// One decision on its way.
struct Delivery<'a> {
    agent: Agent,
    scope: &'a str,
    /// What emitted events derive their ids from.
    input_id: Uuid,
    event_ms: Option<i64>,
    wall_ms: i64,
}

impl Respond {
    pub fn new(setup: &Setup) -> Respond {
        let correlation = &setup.correlation;
        let reopening_ms = (correlation.reopen_window_ms).max(correlation.duplicate_window_ms);
        Respond {
            catalogue: setup.catalogue.clone(),
            correlation: Correlation {
                config: setup.correlation.clone(),
                model: false,
            },
            investigation: Investigation {
                config: setup.investigation.clone(),
                model: false,
            },
            groups: BTreeMap::new(),
            cases: BTreeMap::new(),
            event_ms: BTreeMap::new(),
            timers: BTreeMap::new(),
            channels: BTreeMap::new(),
            parked: VecDeque::new(),
            forget_ms: FORGET_MS.max(reopening_ms / setup.speed.max(1)),
            shelf: Shelf::default(),
            rows: Rows::default(),
            published: None,
        }
    }

    /// The incidents' records, and what is known beside them.
    pub fn shelf(&mut self) -> &mut Shelf {
        &mut self.shelf
    }

    /// Whether an incident is open, or anomalies wait to be announced.
    pub fn is_busy(&self) -> bool {
        use Phase::{Copying, Open, Settling};
        let mut groups = self.groups.values().flat_map(|all| all.groups.values());
        self.rows.is_open() || groups.any(|one| matches!(one.phase, Settling | Copying | Open))
    }

    /// Keeps what is published from now on, for [`Respond::take_published`].
    pub fn keep_published(&mut self) {
        self.published.get_or_insert_default();
    }

    /// What was published since the last look, where that is kept.
    pub fn take_published(&mut self) -> Vec<Published> {
        self.published
            .as_mut()
            .map_or_else(Vec::new, std::mem::take)
    }

    /// Notes what is published at a time of the wall clock.
    pub fn note(&mut self, event: &Event, wall_ms: i64) {
        self.rows.note(event, wall_ms);
        if let Some(published) = &mut self.published {
            published.push(Published {
                wall_ms,
                event: event.clone(),
            });
        }
    }

    /// The incidents, with the simulated time of a moment on the wall.
    pub fn into_incidents(self, simulated_ms: impl Fn(i64) -> i64) -> Vec<Incident> {
        self.rows.into_incidents(simulated_ms)
    }

    /// Does one task; answers with what is to be told of it.
    pub fn act(
        &mut self,
        task: Task,
        wall_ms: i64,
        reading: Reading<'_>,
        queue: &mut Queue,
    ) -> Vec<String> {
        match task {
            Task::Correlate(envelope) => self.correlate(envelope, wall_ms, reading, queue),
            Task::Investigate(envelope) => self.investigate(envelope, wall_ms, queue),
            Task::Timer {
                agent,
                scope,
                name,
                due_ms,
                payload,
            } => {
                let key = (agent, scope.clone(), name.clone());
                if self.timers.get(&key) == Some(&due_ms) {
                    self.timers.remove(&key);
                    let due = due_ms.to_string();
                    let delivery = Delivery {
                        agent,
                        scope: &scope,
                        input_id: ids::derive(&["timer", agent.name(), &scope, &name, &due]),
                        event_ms: None,
                        wall_ms,
                    };
                    self.deliver(&delivery, Input::Timer { name, payload }, queue);
                }
            }
            Task::Job {
                agent,
                scope,
                request,
            } => self.finish_job(agent, &scope, request, wall_ms, reading, queue),
            Task::Forget(id) => self.forget(id),
        }
        self.rows.take_lines()
    }

    fn correlate(
        &mut self,
        envelope: Box<Envelope>,
        wall_ms: i64,
        reading: Reading<'_>,
        queue: &mut Queue,
    ) {
        let context = match &envelope.event {
            Event::Anomaly(anomaly) => self.context(anomaly, wall_ms, reading),
            _ => Value::Null,
        };
        let environment = match &envelope.event {
            Event::Anomaly(anomaly) => anomaly.environment.clone(),
            Event::Resolved(resolved) => resolved.header.environment.clone(),
            Event::Command(command) => command.environment.clone().unwrap_or_default(),
            // Nothing else is put before correlation.
            _ => return,
        };
        let place = (Agent::Correlation, environment.as_str());
        self.tell(place, (envelope, context), wall_ms, queue);
    }

    fn context(&self, anomaly: &Anomaly, wall_ms: i64, (memory, table): Reading<'_>) -> Value {
        let (environment, service) = (anomaly.environment.as_str(), anomaly.service.as_str());
        let readings = |metric: &str| {
            let series = (environment, service, metric);
            newest(memory.readings(series, 0, wall_ms), READINGS)
        };
        let recent = Recent {
            readings: readings(&anomaly.trigger_metric),
            lines: newest(memory.lines(environment, service, 0, wall_ms), LINES_READ),
            rates: readings(REQUEST_RATE),
        };
        let config = &self.correlation.config;
        json!(around(config, &self.catalogue, table, anomaly, &recent))
    }

    fn investigate(&mut self, envelope: Box<Envelope>, wall_ms: i64, queue: &mut Queue) {
        match &envelope.event {
            Event::Anomaly(anomaly) => {
                let name = channel(
                    &anomaly.environment,
                    &anomaly.service,
                    &anomaly.trigger_metric,
                );
                let watchers = self.channels.get(&name).cloned().unwrap_or_default();
                if watchers.is_empty() {
                    self.park(name, envelope, wall_ms);
                    return;
                }
                for scope in watchers {
                    let place = (Agent::Investigation, scope.as_str());
                    self.tell(place, (envelope.clone(), Value::Null), wall_ms, queue);
                }
            }
            event => {
                if let Some(id) = event.incident_id() {
                    let place = (Agent::Investigation, &*id.to_string());
                    self.tell(place, (envelope, Value::Null), wall_ms, queue);
                }
            }
        }
    }

    fn park(&mut self, channel: String, envelope: Box<Envelope>, wall_ms: i64) {
        while self
            .parked
            .front()
            .is_some_and(|(_, parked)| parked.until_wall_ms <= wall_ms)
        {
            self.parked.pop_front();
        }
        let parked = Parked {
            until_wall_ms: wall_ms + CHANNEL_MS,
            envelope,
        };
        self.parked.push_back((channel, parked));
    }

    /// Puts an event before the agent's scope, with what its shell read for it.
    fn tell(
        &mut self,
        (agent, scope): (Agent, &str),
        (envelope, context): (Box<Envelope>, Value),
        wall_ms: i64,
        queue: &mut Queue,
    ) {
        let delivery = Delivery {
            agent,
            scope,
            input_id: envelope.meta.event_id,
            event_ms: Some(envelope.meta.event_time_ms),
            wall_ms,
        };
        self.deliver(&delivery, Input::Event { envelope, context }, queue);
    }

    /// Decides, and carries the effects out.
    fn deliver(&mut self, delivery: &Delivery<'_>, input: Input, queue: &mut Queue) {
        let scope = (delivery.agent, delivery.scope.to_owned());
        let latest = self.event_ms.entry(scope).or_default();
        *latest = delivery.event_ms.unwrap_or(0).max(*latest);
        let at = Moment {
            event_ms: delivery.event_ms.unwrap_or(*latest),
            wall_ms: delivery.wall_ms,
        };
        let effects = match delivery.agent {
            Agent::Correlation => {
                let groups = self.groups.entry(delivery.scope.to_owned()).or_default();
                self.correlation.decide(groups, at, input)
            }
            Agent::Investigation => {
                let case = self.cases.entry(delivery.scope.to_owned()).or_default();
                self.investigation.decide(case, at, input)
            }
        };
        let mut subscribed = Vec::new();
        for (index, effect) in effects.into_iter().enumerate() {
            if let Effect::Subscribe { channel } = &effect {
                subscribed.push(channel.clone());
            }
            self.carry_out(delivery, index, effect, queue);
        }
        for channel in subscribed {
            self.offer_parked(&channel, delivery.wall_ms, queue);
        }
    }

    /// Anomalies that waited for somebody to watch their channel come before
    /// any later one.
    fn offer_parked(&mut self, channel: &str, wall_ms: i64, queue: &mut Queue) {
        let (waiting, others) = std::mem::take(&mut self.parked)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(name, _)| name == channel);
        self.parked = others;
        for (_, parked) in waiting {
            if parked.until_wall_ms > wall_ms {
                self.investigate(parked.envelope, wall_ms, queue);
            }
        }
    }

    fn carry_out(
        &mut self,
        delivery: &Delivery<'_>,
        index: usize,
        effect: Effect,
        queue: &mut Queue,
    ) {
        let (agent, wall_ms) = (delivery.agent, delivery.wall_ms);
        let scope = delivery.scope.to_owned();
        match effect {
            Effect::Publish(event) => self.publish(delivery, index, event, queue),
            Effect::Project(projection) => self.shelf.project(projection),
            Effect::StartJob(request) => {
                let due_ms = wall_ms + request.delay_ms + JOB_MS;
                queue.put(
                    due_ms,
                    Task::Job {
                        agent,
                        scope,
                        request,
                    },
                );
            }
            Effect::SetTimer {
                name,
                due_ms,
                payload,
            } => {
                self.timers
                    .insert((agent, scope.clone(), name.clone()), due_ms);
                queue.put(
                    due_ms,
                    Task::Timer {
                        agent,
                        scope,
                        name,
                        due_ms,
                        payload,
                    },
                );
            }
            Effect::CancelTimer { name } => {
                self.timers.remove(&(agent, scope, name));
            }
            Effect::Subscribe { channel } => {
                self.channels.entry(channel).or_default().insert(scope);
            }
            Effect::Unsubscribe { channel } => self.unsubscribe(&channel, &scope),
            // The audit trail is for people. Nothing comes early here, no
            // model is asked and no mail is sent, which alone calls others.
            Effect::Audit(_)
            | Effect::Call(_)
            | Effect::Keep { .. }
            | Effect::Park { .. }
            | Effect::Notify(_)
            | Effect::NotificationDone { .. }
            | Effect::RecordModelCall { .. } => {}
        }
    }

    fn unsubscribe(&mut self, channel: &str, scope: &str) {
        if let Some(watchers) = self.channels.get_mut(channel) {
            watchers.remove(scope);
            if watchers.is_empty() {
                self.channels.remove(channel);
            }
        }
    }

    fn publish(&mut self, delivery: &Delivery<'_>, index: usize, event: Event, queue: &mut Queue) {
        let mut envelope = Box::new(Envelope {
            meta: Meta {
                event_id: ids::effect(delivery.input_id, delivery.agent.name(), index),
                cause_id: Some(delivery.input_id),
                schema_version: SCHEMA_VERSION,
                event_time_ms: 0,
                producer: format!("midwatch.{}", delivery.agent.name()),
            },
            event,
        });
        envelope.meta.event_time_ms = envelope.event.time_ms();
        let due_ms = delivery.wall_ms + HOP_MS;
        self.note(&envelope.event, delivery.wall_ms);
        match &envelope.event {
            Event::Opened(_) | Event::Updated(_) => {
                queue.put(due_ms, Task::Investigate(envelope));
            }
            Event::Resolved(resolved) => {
                let id = resolved.header.incident_id;
                queue.put(delivery.wall_ms + self.forget_ms, Task::Forget(id));
                queue.put(due_ms, Task::Correlate(envelope));
            }
            _ => {}
        }
    }

    fn finish_job(
        &mut self,
        agent: Agent,
        scope: &str,
        request: JobRequest,
        wall_ms: i64,
        reading: Reading<'_>,
        queue: &mut Queue,
    ) {
        let result = match request.kind.as_str() {
            "copy_records" => {
                let hour_ms = self.correlation.config.deployment_window_ms;
                self.shelf.copy(&request.payload, hour_ms, wall_ms, reading)
            }
            "gather" => self.shelf.gather(&request.payload),
            other => Err(format!("no job {other} is known here")),
        };
        let id = ids::derive(&["job", agent.name(), scope, &request.name]);
        let delivery = Delivery {
            agent,
            scope,
            input_id: id,
            event_ms: None,
            wall_ms,
        };
        let job = Job {
            id,
            scope: scope.to_owned(),
            kind: request.kind,
            payload: request.payload,
            attempt: 1,
            max_attempts: request.max_attempts,
        };
        self.deliver(&delivery, Input::JobDone { job, result }, queue);
    }

    fn forget(&mut self, id: Uuid) {
        if self.rows.holds_open(id) {
            return;
        }
        let scope = id.to_string();
        self.shelf.forget(id);
        self.cases.remove(&scope);
        self.event_ms.remove(&(Agent::Investigation, scope));
    }
}
