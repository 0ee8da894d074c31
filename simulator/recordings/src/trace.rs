//! Real requests through the whole system: their spans and log lines.

use crate::draw::Draw;
use crate::effect::Bug;
use crate::graph::System;
use crate::serve::{Downstream, Fail, Health, Moment, Outcome, Site, failed};
use crate::words::{self, Naming};
use midwatch_events::raw::{LogLevel, RawLog, RawSpan, SpanStatus};
use std::collections::BTreeMap;
use std::rc::Rc;

/// What the observers of a system keep.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// A caller's side of each call has a span of its own.
    pub client_spans: bool,
    /// Functions within an operation have spans and lines of their own.
    pub internal_spans: bool,
    /// Share of requests whose success is logged.
    pub chatter: f64,
    /// A line after each call that succeeded.
    pub call_lines: bool,
    /// Lines of a stack trace come as separate records.
    pub split_traces: bool,
    /// Failures name addresses instead of services.
    pub addresses: bool,
    pub spans: bool,
    pub logs: bool,
    /// Log lines carry the trace they belong to.
    pub trace_ids: bool,
}

/// What is known of an operation while it is served.
#[derive(Clone, Copy, Debug, Default)]
struct Frame {
    /// The callee that failed last.
    blamed: Option<usize>,
    worked_ms: f64,
}

/// Spans and log lines in the making.
#[derive(Debug)]
pub struct Recorder<'a> {
    system: &'a System,
    habits: Habits,
    draw: Draw,
    pub spans: Vec<RawSpan>,
    pub logs: Vec<RawLog>,
    trace_id: String,
    parents: Vec<String>,
    /// One for each operation being served, the innermost last.
    frames: Vec<Frame>,
    keep_spans: bool,
    health: Rc<Vec<Health>>,
}

fn hex(draw: &mut Draw) -> String {
    format!("{:016x}", draw.bits())
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn span_ms(at_ms: f64, clock_ms: f64) -> i64 {
    (at_ms + clock_ms).round() as i64
}

impl<'a> Recorder<'a> {
    /// An empty recording.
    #[must_use]
    pub fn new(system: &'a System, habits: Habits, draw: Draw) -> Self {
        Recorder {
            system,
            habits,
            draw,
            spans: Vec::new(),
            logs: Vec::new(),
            trace_id: String::new(),
            parents: Vec::new(),
            frames: Vec::new(),
            keep_spans: true,
            health: Rc::new(Vec::new()),
        }
    }

    /// Takes over the state of all services for the requests that follow.
    pub fn set_health(&mut self, health: &[Health]) {
        self.health = Rc::new(health.to_vec());
    }

    /// One request from outside; without `keep_spans` only its log lines.
    pub fn request(&mut self, operation: usize, at_ms: f64, keep_spans: bool) {
        self.trace_id = hex(&mut self.draw) + &hex(&mut self.draw);
        self.keep_spans = keep_spans;
        self.parents.clear();
        self.frames.clear();
        self.server(operation, at_ms);
    }

    /// A line that a service writes by itself.
    pub fn mutter(&mut self, service: usize, words: usize, at_ms: f64) {
        let (_, level, line) = words::MUTTERS[words];
        let message = words::filled(&mut self.draw, line);
        self.log(service, at_ms, level, message, false);
    }

    fn server(&mut self, operation: usize, at_ms: f64) -> Outcome {
        let id = hex(&mut self.draw);
        self.parents.push(id.clone());
        self.frames.push(Frame::default());
        let health = Rc::clone(&self.health);
        let outcome = Moment {
            system: self.system,
            health: &health,
        }
        .serve(operation, at_ms, self);
        self.parents.pop();
        let frame = self.frames.pop().unwrap_or_default();
        let service = self.system.operations[operation].service;
        self.steps(operation, &id, at_ms, frame.worked_ms, outcome);
        self.span(service, operation, id, at_ms, outcome, None);
        self.speak(operation, frame.blamed, at_ms + outcome.ms, outcome);
        outcome
    }

    /// The functions of an operation, as spans below its own and as lines.
    fn steps(&mut self, operation: usize, id: &str, at_ms: f64, worked: f64, outcome: Outcome) {
        let system = self.system;
        let spec = &system.operations[operation];
        if !self.habits.internal_spans || spec.steps.is_empty() || worked <= 0.0 {
            return;
        }
        let skipped = self.health[spec.service]
            .bugs
            .iter()
            .find_map(|bug| match *bug {
                Bug::Skips {
                    operation: at,
                    step,
                } if at == operation => Some(step),
                _ => None,
            });
        let whole = self.health[spec.service].share;
        let each = worked * 0.8 / spec.steps.len() as f64;
        let reached = if outcome.fail == Some(Fail::Thrown) {
            1 + operation % spec.steps.len()
        } else {
            spec.steps.len()
        };
        self.parents.push(id.to_owned());
        for (index, name) in spec.steps.iter().enumerate().take(reached) {
            if skipped == Some(index) && self.draw.chance(whole) {
                continue;
            }
            let last = index + 1 == reached;
            let part = Outcome {
                ms: each * self.draw.uniform(0.7, 1.2),
                fail: outcome.fail.filter(|fail| last && *fail == Fail::Thrown),
                nonsense: false,
            };
            let begin = at_ms + each * index as f64;
            let id = hex(&mut self.draw);
            self.keep_span(spec.service, name, id, begin, part, "internal");
            if part.fail.is_none() && self.draw.chance(self.habits.chatter * 0.5) {
                let line = words::stepped(&mut self.draw, name);
                self.log(spec.service, begin + part.ms, LogLevel::Info, line, true);
            }
        }
        self.parents.pop();
    }

    fn span(
        &mut self,
        service: usize,
        operation: usize,
        id: String,
        at_ms: f64,
        outcome: Outcome,
        peer: Option<usize>,
    ) {
        let name = &self.system.operations[operation].name;
        let kind = if peer.is_some() { "client" } else { "server" };
        let kept = self.keep_span(service, name, id, at_ms, outcome, kind);
        if let Some((peer, span)) = peer.zip(self.spans.last_mut().filter(|_| kept)) {
            let name = self.system.services[peer].name.clone();
            span.labels.insert("peer.service".to_owned(), name);
        }
    }

    /// Keeps a span below the innermost open one; false where none is kept.
    fn keep_span(
        &mut self,
        service: usize,
        name: &str,
        id: String,
        at_ms: f64,
        outcome: Outcome,
        kind: &str,
    ) -> bool {
        let spec = &self.system.services[service];
        if !self.habits.spans || !self.keep_spans || !spec.traced {
            return false;
        }
        self.spans.push(RawSpan {
            trace_id: self.trace_id.clone(),
            span_id: id,
            parent_span_id: self.parents.last().cloned(),
            service: spec.name.clone(),
            environment: "default".to_owned(),
            operation: name.to_owned(),
            start_ms: span_ms(at_ms, spec.clock_ms),
            duration_ms: round(outcome.ms),
            status: if outcome.fail.is_some() {
                SpanStatus::Error
            } else {
                SpanStatus::Ok
            },
            labels: BTreeMap::from([("span.kind".to_owned(), kind.to_owned())]),
        });
        true
    }

    fn has_client_span(&self, site: Site) -> bool {
        let to = self.system.operations[site.operation].calls[site.call].to;
        let callee = self.system.operations[to].service;
        self.habits.client_spans || !self.system.services[callee].traced
    }

    fn speak(&mut self, operation: usize, blamed: Option<usize>, at_ms: f64, outcome: Outcome) {
        let system = self.system;
        let spec = &system.operations[operation];
        let service = &system.services[spec.service];
        let Some(fail) = outcome.fail else {
            if self.draw.chance(self.habits.chatter) {
                let line = words::done(&mut self.draw, &spec.name, service.dialect, outcome.ms);
                self.log(spec.service, at_ms, LogLevel::Info, line, true);
            }
            return;
        };
        let naming = if self.habits.addresses {
            Naming::ByAddress
        } else {
            Naming::ByName
        };
        let callee = blamed.map_or("", |callee| system.services[callee].name.as_str());
        let (level, line) = words::failure(
            &mut self.draw,
            fail,
            &spec.name,
            callee,
            service.dialect,
            naming,
        );
        if fail == Fail::Thrown && self.habits.split_traces {
            for part in line.lines() {
                self.log(spec.service, at_ms, level, part.to_owned(), true);
            }
        } else {
            self.log(spec.service, at_ms, level, line, true);
        }
    }

    fn log(&mut self, service: usize, at_ms: f64, level: LogLevel, message: String, traced: bool) {
        let spec = &self.system.services[service];
        // Stores write no lines of their own about single requests.
        if !self.habits.logs || (traced && spec.role.is_store()) {
            return;
        }
        self.logs.push(RawLog {
            timestamp_ms: span_ms(at_ms, spec.clock_ms),
            service: spec.name.clone(),
            environment: "default".to_owned(),
            level,
            message,
            trace_id: (traced && self.habits.trace_ids).then(|| self.trace_id.clone()),
            labels: BTreeMap::new(),
        });
    }
}

impl Downstream for Recorder<'_> {
    fn draw(&mut self) -> &mut Draw {
        &mut self.draw
    }

    fn answer(&mut self, _site: Site, to: usize, at_ms: f64, spoiled: bool) -> Outcome {
        if !spoiled {
            return self.server(to, at_ms);
        }
        let outcome = failed(0.5 + self.draw.exponential(2.0), Fail::Invalid);
        let operation = &self.system.operations[to];
        let service = operation.service;
        let dialect = self.system.services[service].dialect;
        let id = hex(&mut self.draw);
        self.span(service, to, id, at_ms, outcome, None);
        let (level, line) = words::refusal(&mut self.draw, &operation.name, dialect);
        self.log(service, at_ms + outcome.ms, level, line, true);
        outcome
    }

    fn worked(&mut self, ms: f64) {
        if let Some(frame) = self.frames.last_mut() {
            frame.worked_ms = ms;
        }
    }

    fn begin(&mut self, site: Site) {
        // Without a client span the callee's span hangs below the caller's.
        let id = if self.has_client_span(site) {
            hex(&mut self.draw)
        } else {
            self.parents.last().cloned().unwrap_or_default()
        };
        self.parents.push(id);
    }

    fn end(&mut self, site: Site, at_ms: f64, outcome: Outcome) {
        let id = self.parents.pop().expect("every try that ends has begun");
        let system = self.system;
        let caller = system.operations[site.operation].service;
        let to = system.operations[site.operation].calls[site.call].to;
        let callee = system.operations[to].service;
        if outcome.fail.is_some() {
            if let Some(frame) = self.frames.last_mut() {
                frame.blamed = Some(callee);
            }
        } else if self.habits.call_lines && self.draw.chance(self.habits.chatter) {
            let dialect = system.services[caller].dialect;
            let line = words::called(&mut self.draw, to, dialect);
            self.log(caller, at_ms + outcome.ms, LogLevel::Info, line, true);
        }
        if self.has_client_span(site) {
            self.span(caller, to, id, at_ms, outcome, Some(callee));
        }
    }
}
