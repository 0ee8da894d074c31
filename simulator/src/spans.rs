//! Sampled traces: one per public route and tick, walked along the real call
//! graph, with durations and failures that agree with the metrics.

use crate::fleet::{Call, NORMAL_ERROR_PERCENT, SERVICES, Service, Strain};
use crate::stories::story;
use midwatch_events::raw::{Labels, RawSpan, SpanStatus};
use rand::RngExt;
use rand::rngs::StdRng;

/// The fleet at the moment of sampling.
#[derive(Debug)]
pub struct Snapshot<'a> {
    pub at_ms: i64,
    pub environment: &'a str,
    /// Who calls whom.
    pub calls: &'a [Call],
    /// What each service suffers by itself, without its callees.
    pub own: &'a [Strain; SERVICES],
    pub versions: &'a [String; SERVICES],
}

/// A finished piece of a trace.
struct Outcome {
    duration_ms: f64,
    failed: bool,
}

struct Walk<'a> {
    snapshot: &'a Snapshot<'a>,
    rng: &'a mut StdRng,
    trace_id: String,
    spans: Vec<RawSpan>,
    /// When the last span ends, milliseconds after the trace's start.
    end_ms: f64,
}

/// One trace for each of the gateway's routes, finished by the snapshot's time.
#[must_use]
pub fn traces(snapshot: &Snapshot, rng: &mut StdRng) -> Vec<RawSpan> {
    let entry = Service::ApiGateway;
    let mut spans = Vec::new();
    let public = snapshot.calls.iter().filter(|call| call.caller == entry);
    for (call, route) in public.zip(story(entry).routes) {
        let trace_id = format!("{:032x}", rng.random_range(1..=u128::MAX));
        let mut walk = Walk {
            snapshot,
            rng: &mut *rng,
            trace_id,
            spans: Vec::new(),
            end_ms: 0.0,
        };
        walk.serve(entry, route, None, 0.0, &[call]);
        let before: f64 = walk.rng.random_range(0.0..2_000.0);
        let start_ms = snapshot.at_ms - whole(walk.end_ms + before);
        for span in &mut walk.spans {
            span.start_ms += start_ms;
        }
        spans.append(&mut walk.spans);
    }
    spans
}

impl Walk<'_> {
    fn span_id(&mut self) -> String {
        format!("{:016x}", self.rng.random_range(1..=u64::MAX))
    }

    /// A value that is mostly small and sometimes near 1, as response times are.
    fn skewed(&mut self) -> f64 {
        let value: f64 = self.rng.random_range(0.0..1.0);
        value * value
    }

    /// The server's side of a request: its own work and, side by side, its
    /// calls. `parent` is the caller and its client span.
    fn serve(
        &mut self,
        service: Service,
        operation: &str,
        parent: Option<(Service, &str)>,
        start_ms: f64,
        calls: &[&Call],
    ) -> Outcome {
        let own = &self.snapshot.own[service as usize];
        let work_ms = service.profile().p99_ms * (0.04 + 0.12 * self.skewed())
            + own.latency_ms * (0.1 + 0.8 * self.skewed());
        let chance = (own.error_percent + 0.4 * NORMAL_ERROR_PERCENT) / 100.0;
        let mut failed = self.rng.random_range(0.0..1.0) < chance;
        let mut error = failed.then(|| "internal error".to_owned());
        let span_id = self.span_id();
        let mut waited_ms = 0.0_f64;
        for call in calls {
            let outcome = self.call(call, &span_id, start_ms + work_ms / 2.0);
            waited_ms = waited_ms.max(outcome.duration_ms);
            if outcome.failed && self.rng.random_range(0..2_u8) == 0 {
                failed = true;
                error = Some(format!("call to {} failed", call.callee.name()));
            }
        }
        let outcome = Outcome {
            duration_ms: work_ms + waited_ms,
            failed,
        };
        let version = self.snapshot.versions[service as usize].clone();
        let mut labels = Labels::from([
            ("span.kind".to_owned(), "server".to_owned()),
            ("service.version".to_owned(), version),
            (
                "http.status_code".to_owned(),
                if failed { "503" } else { "200" }.to_owned(),
            ),
        ]);
        labels.extend(parent.map(|(caller, _)| ("caller".to_owned(), caller.name().to_owned())));
        labels.extend(error.map(|error| ("error".to_owned(), error)));
        let parent = parent.map(|(_, span)| span.to_owned());
        self.push(
            service,
            operation,
            (span_id, parent),
            start_ms,
            &outcome,
            labels,
        );
        outcome
    }

    /// The caller's side of a call, which ends at its time limit.
    fn call(&mut self, call: &Call, parent: &str, start_ms: f64) -> Outcome {
        let span_id = self.span_id();
        let network_ms: f64 = self.rng.random_range(0.5..3.0);
        let onward: Vec<&Call> = self
            .snapshot
            .calls
            .iter()
            .filter(|next| next.caller == call.callee)
            .collect();
        let served = self.serve(
            call.callee,
            call.operation,
            Some((call.caller, &span_id)),
            start_ms + network_ms / 2.0,
            &onward,
        );
        let whole_ms = served.duration_ms + network_ms;
        let late = whole_ms > call.timeout_ms;
        let outcome = Outcome {
            duration_ms: whole_ms.min(call.timeout_ms),
            failed: served.failed || late,
        };
        let status = match (late, served.failed) {
            (true, _) => "504",
            (false, true) => "503",
            (false, false) => "200",
        };
        let mut labels = Labels::from([
            ("span.kind".to_owned(), "client".to_owned()),
            ("peer.service".to_owned(), call.callee.name().to_owned()),
            ("http.status_code".to_owned(), status.to_owned()),
        ]);
        if late {
            let text = format!("no answer within {:.0} ms", call.timeout_ms);
            labels.insert("error".to_owned(), text);
        }
        let ids = (span_id, Some(parent.to_owned()));
        self.push(call.caller, call.operation, ids, start_ms, &outcome, labels);
        outcome
    }

    fn push(
        &mut self,
        service: Service,
        operation: &str,
        (span_id, parent_span_id): (String, Option<String>),
        start_ms: f64,
        outcome: &Outcome,
        labels: Labels,
    ) {
        self.end_ms = self.end_ms.max(start_ms + outcome.duration_ms);
        self.spans.push(RawSpan {
            trace_id: self.trace_id.clone(),
            span_id,
            parent_span_id,
            service: service.name().to_owned(),
            environment: self.snapshot.environment.to_owned(),
            operation: operation.to_owned(),
            start_ms: whole(start_ms),
            duration_ms: (outcome.duration_ms * 100.0).round() / 100.0,
            status: if outcome.failed {
                SpanStatus::Error
            } else {
                SpanStatus::Ok
            },
            labels,
        });
    }
}

/// Whole milliseconds, rounded down. Spans are at most seconds long.
fn whole(ms: f64) -> i64 {
    ms as i64
}
