//! Recordings in which every series is as ever, but for what a test says.
//!
//! Every recording has 120 normal samples of ten seconds and 30 of the fault,
//! which begins at [`START_MS`]. A series strays by a hundredth of its level,
//! up and down in turn.

#![allow(dead_code, reason = "each test file uses what it needs")]

use midwatch_events::raw::LogLevel;
use midwatch_events::topology::EdgeSource;
use midwatch_investigation::rca::{Answer, Line, Question, Recording, Series, investigate};

pub const STEP_MS: i64 = 10_000;
pub const NORMAL: i64 = 120;
pub const FAULT: i64 = 30;
pub const START_MS: i64 = NORMAL * STEP_MS;
pub const END_MS: i64 = (NORMAL + FAULT) * STEP_MS;

/// A recording in which every metric of every service is as ever.
pub struct Scene(pub Recording);

impl Scene {
    /// `calls` are caller and callee.
    pub fn of(calls: &[(&str, &str)]) -> Scene {
        let mut recording = Recording::default();
        for (caller, callee) in calls {
            recording
                .topology
                .add_call(caller, callee, EdgeSource::Catalogue);
        }
        Scene(recording)
    }

    /// A series that goes from one level to another.
    pub fn series(mut self, service: &str, metric: &str, before: f64, after: f64) -> Scene {
        let points = (0..NORMAL + FAULT).map(|index| {
            let level = if index < NORMAL { before } else { after };
            let stray = if index % 2 == 0 { 1.01 } else { 0.99 };
            (index * STEP_MS, level * stray)
        });
        self.0.series.push(Series {
            service: service.to_owned(),
            metric: metric.to_owned(),
            points: points.collect(),
            ids: Vec::new(),
        });
        self
    }

    /// Latency in milliseconds, requests and errors per second.
    pub fn service(self, name: &str, ms: (f64, f64), requests: (f64, f64), errors: f64) -> Scene {
        self.series(name, "latency_avg_ms", ms.0, ms.1)
            .series(name, "request_rate", requests.0, requests.1)
            .series(name, "errors", 0.0, errors)
    }

    /// Lines every ten seconds of the fault, or before it.
    pub fn lines(mut self, service: &str, level: LogLevel, message: &str) -> Scene {
        for index in NORMAL..NORMAL + FAULT {
            let id = format!("log:{}", self.0.lines.len());
            self.0.lines.push(Line {
                id,
                service: service.to_owned(),
                at_ms: index * STEP_MS,
                level,
                message: message.to_owned(),
            });
        }
        self
    }

    pub fn ask(&self, target: &str, metric: &str) -> Answer {
        self.ask_until(target, metric, END_MS)
    }

    pub fn ask_until(&self, target: &str, metric: &str, end_ms: i64) -> Answer {
        let question = Question {
            target: target.to_owned(),
            target_metric: metric.to_owned(),
            start_ms: START_MS,
            at_ms: START_MS + 60_000,
            end_ms,
        };
        let answer = investigate(&self.0, &question);
        let again = investigate(&self.0, &question);
        assert_eq!(answer, again, "the same input, the same answer");
        answer
    }
}

pub fn first(answer: &Answer) -> &str {
    answer.ranking.first().map_or("", String::as_str)
}

/// Entry, shop and its two stores; 100 requests a second everywhere.
pub fn shop() -> Scene {
    Scene::of(&[("entry", "shop"), ("shop", "orders"), ("shop", "stock")])
}

pub const STEADY: (f64, f64) = (100.0, 100.0);
