//! Runs a plan and keeps what its observers would have kept.

use crate::draw::Draw;
use crate::effect::Bug;
use crate::engine::{Engine, Reading, Step};
use crate::family::Family;
use crate::graph::{Role, System};
use crate::metrics::Instruments;
use crate::plan::{Plan, Shape};
use crate::target::{self, Target};
use crate::trace::{Habits, Recorder};
use midwatch_events::raw::{RawLog, RawMetric, RawSpan};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most samples, spans and log lines of a case.
const MOST_SAMPLES: usize = 100_000;
const MOST_SPANS: usize = 30_000;
const MOST_LINES: usize = 30_000;

/// A service and whom it calls, as `topology.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    pub name: String,
    pub depends_on: Vec<String>,
}

/// `topology.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    pub services: Vec<Node>,
}

/// `truth.json`: what was planted, and the question asked about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// The culprit; nothing for a healthy control.
    pub service: Option<String>,
    /// Further culprits of a compound fault.
    pub also: Vec<String>,
    /// Anomaly type that names the cause, or empty.
    pub cause: String,
    pub family: String,
    pub shape: String,
    pub target: String,
    pub target_metric: String,
    /// Samples before it are the normal period.
    pub start_ms: i64,
    /// When the alert fired.
    pub at_ms: i64,
    pub end_ms: i64,
    /// When the fault really began.
    pub onset_ms: i64,
}

/// A finished recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub topology: Graph,
    pub metrics: Vec<RawMetric>,
    /// Nothing where the shape has none.
    pub logs: Option<Vec<RawLog>>,
    pub spans: Option<Vec<RawSpan>>,
    pub truth: Truth,
}

/// Makes case `number` of `seed`: the same arguments, the same case.
#[must_use]
pub fn make(seed: u64, number: u64, shape: Shape, family: Family) -> Case {
    let mut tries = Draw::at(&[seed, number, 5]);
    // Some faults hardly reach the entry that is asked about.
    let hushed = shape != Shape::A && tries.chance(if family.on_resources() { 0.3 } else { 0.1 });
    let mut best: Option<(Case, f64)> = None;
    for attempt in 0..10_u32 {
        let mut draw = Draw::at(&[seed, number, 1, u64::from(attempt / 2)]);
        let push = f64::from(attempt % 2) * 0.5;
        let plan = Plan::draw(&mut draw, shape, family, push);
        // A system without, say, a cache cannot lose one: draw another.
        let fits = plan.planted() == family;
        let (case, signs) = run(plan, seed, number);
        let clear = clarity(shape, family, hushed, &signs) * if fits { 1.0 } else { 0.01 };
        if best.as_ref().is_none_or(|(_, most)| clear > *most) {
            best = Some((case, clear));
        }
        if fits && clear >= 1.0 {
            break;
        }
    }
    best.expect("the loop runs at least once").0
}

/// How far series moved, each in its own normal spread.
struct Signs {
    target: f64,
    /// The least of the culprits, each by its loudest series; infinite where
    /// nobody measures them.
    culprits: f64,
}

/// One and above: the recording shows the fault well enough to be asked
/// about. An alert fires because something moved, so a draw in which nothing
/// did is made graver, then replaced. Calls that are no longer made move
/// nothing by their nature.
fn clarity(shape: Shape, family: Family, hushed: bool, signs: &Signs) -> f64 {
    let own = signs.culprits / 4.0;
    let seen = signs.target / if shape == Shape::A { 3.0 } else { 2.0 };
    // Without a graph only its own series can lead to the culprit.
    let alone = matches!(shape, Shape::C | Shape::D) && !family.in_code();
    match family {
        Family::Healthy | Family::MissingCall => 1.0,
        Family::Compound => own.min(seen),
        _ if hushed => own.max(seen),
        _ if alone => (own * 1.6).min(seen),
        _ => seen,
    }
}

fn run(mut plan: Plan, seed: u64, number: u64) -> (Case, Signs) {
    let mut draw = Draw::at(&[seed, number, 2]);
    let steps = simulate(&mut plan, Draw::at(&[seed, number, 3]));
    let instruments = instruments(&mut draw, &plan);
    let metrics = measure(&mut draw, &plan, &instruments, &steps);
    let target = target::choose(&mut draw, &plan, &instruments, &metrics);
    let signs = Signs {
        target: target.shift,
        culprits: target::of_culprits(&mut draw, &plan, &instruments, &metrics),
    };
    let truth = truth(&plan, &target);
    let topology = topology(&mut draw, &plan);
    let (logs, spans) = record(&plan, &steps, Draw::at(&[seed, number, 4]));
    let case = Case {
        topology,
        metrics,
        logs,
        spans,
        truth,
    };
    (case, signs)
}

fn simulate(plan: &mut Plan, draw: Draw) -> Vec<Step> {
    let times = plan.times;
    let operations = plan.system.operations.len();
    let length_ms = times.interval_ms / times.parts as f64;
    let count = ((times.end_ms - times.first_ms) / length_ms).ceil() as usize;
    // About ten million outcomes a case keep it within seconds.
    let pool = (1_500_000 / (count * operations).max(1)).clamp(12, 96);
    let mut engine = Engine::new(&plan.system, &plan.plants, pool, plan.think_ms, draw);
    (0..count)
        .map(|index| {
            let at_ms = times.first_ms + index as f64 * length_ms;
            engine.step(at_ms, length_ms / 1000.0, &mut plan.traffic)
        })
        .collect()
}

fn instruments(draw: &mut Draw, plan: &Plan) -> Instruments {
    let times = plan.times;
    if plan.shape == Shape::A {
        return Instruments::coarse(draw, times.interval_ms);
    }
    let intervals = ((times.end_ms - times.first_ms) / times.interval_ms) as usize;
    let most = MOST_SAMPLES / (intervals * plan.system.services.len()).max(1);
    Instruments::fine(draw, times.interval_ms, most)
}

/// Every sample, in order of time, service and gauge.
fn measure(
    draw: &mut Draw,
    plan: &Plan,
    instruments: &Instruments,
    steps: &[Step],
) -> Vec<RawMetric> {
    let services = &plan.system.services;
    let gaps = gaps(draw, plan);
    let lost: Vec<Vec<bool>> = services
        .iter()
        .map(|_| {
            instruments
                .gauges
                .iter()
                .map(|_| draw.chance(0.02))
                .collect()
        })
        .collect();
    let mut samples = Vec::new();
    for parts in steps.chunks(plan.times.parts) {
        let at_ms = parts[0].at_ms;
        for (index, service) in services.iter().enumerate() {
            let readings: Vec<&Reading> = parts.iter().map(|step| &step.readings[index]).collect();
            let blind = gaps
                .iter()
                .any(|(who, from, until)| *who == index && at_ms >= *from && at_ms < *until);
            for (place, gauge) in instruments.gauges.iter().enumerate() {
                let kept = service.role == Role::Entry || !(blind || lost[index][place]);
                if !instruments.covers(service, gauge) {
                    continue;
                }
                let value = instruments.value(draw, service, gauge, &readings);
                if let Some(value) = value.filter(|_| kept && samples.len() < MOST_SAMPLES) {
                    samples.push(RawMetric {
                        timestamp_ms: at_ms as i64,
                        service: service.name.clone(),
                        environment: "default".to_owned(),
                        metric_name: gauge.name.to_owned(),
                        metric_value: value,
                        labels: BTreeMap::new(),
                    });
                }
            }
        }
    }
    samples
}

/// Windows in which a service's metrics were not collected.
fn gaps(draw: &mut Draw, plan: &Plan) -> Vec<(usize, f64, f64)> {
    let span = plan.times.end_ms - plan.times.first_ms;
    let count = draw.pick(&[0, 0, 1, 3, 6]);
    (0..count)
        .map(|_| {
            let from = plan.times.first_ms + draw.unit() * span;
            let length = draw.uniform(0.01, 0.06) * span;
            (
                draw.int(0, plan.system.services.len() - 1),
                from,
                from + length,
            )
        })
        .collect()
}

fn truth(plan: &Plan, target: &Target) -> Truth {
    let name = |index: usize| plan.system.services[index].name.clone();
    let mut culprits = plan.culprits.iter().map(|(service, _)| name(*service));
    let first = culprits.next();
    Truth {
        service: first,
        also: culprits.collect(),
        cause: plan
            .culprits
            .first()
            .map_or("", |(_, family)| family.cause())
            .to_owned(),
        family: plan.planted().name().to_owned(),
        shape: plan.shape.name().to_owned(),
        target: target.service.clone(),
        target_metric: target.metric.to_owned(),
        start_ms: plan.times.start_ms as i64,
        at_ms: target.at_ms,
        end_ms: plan.times.end_ms as i64,
        onset_ms: plan.times.onset_ms as i64,
    }
}

/// What is written down about who calls whom.
fn topology(draw: &mut Draw, plan: &Plan) -> Graph {
    let system: &System = &plan.system;
    let callees = system.callees();
    let (empty, missing, stale) = match plan.shape {
        Shape::A => (false, 0.0, 0.0),
        Shape::B => {
            let style = draw.int(0, 3);
            (
                style == 0,
                if style == 1 { 0.1 } else { 0.0 },
                if style == 1 { 0.03 } else { 0.0 },
            )
        }
        Shape::C | Shape::D => (true, 0.0, 0.0),
    };
    let mut services: Vec<Node> = Vec::new();
    for (index, service) in system.services.iter().enumerate() {
        let mut depends_on = Vec::new();
        for callee in 0..system.services.len() {
            let real = callees[index].contains(&callee) && !draw.chance(missing);
            let old = !callees[index].contains(&callee) && callee > index && draw.chance(stale);
            if !empty && (real || old) {
                depends_on.push(system.services[callee].name.clone());
            }
        }
        depends_on.sort();
        services.push(Node {
            name: service.name.clone(),
            depends_on,
        });
    }
    services.sort_by(|one, other| one.name.cmp(&other.name));
    Graph { services }
}

type Records = (Option<Vec<RawLog>>, Option<Vec<RawSpan>>);

/// Spans and log lines of a sample of the requests.
fn record(plan: &Plan, steps: &[Step], mut draw: Draw) -> Records {
    let spans = plan.shape == Shape::B;
    let logs = matches!(plan.shape, Shape::B | Shape::D);
    if !logs {
        return (None, None);
    }
    let skips = plan
        .plants
        .iter()
        .any(|plant| matches!(plant.bug, Some(Bug::Skips { .. })));
    let habits = Habits {
        client_spans: draw.chance(0.4),
        internal_spans: draw.chance(0.4) || skips,
        chatter: draw.pick(&[0.05, 0.3, 0.6]),
        call_lines: draw.chance(0.7),
        split_traces: draw.chance(0.3),
        addresses: draw.chance(0.4),
        spans,
        logs,
        trace_ids: draw.chance(0.5),
    };
    let system = &plan.system;
    let per_request =
        system.normal_rates().iter().sum::<f64>() / steps[0].arrivals.iter().sum::<f64>().max(0.1);
    let doubled = if habits.client_spans { 2.0 } else { 1.0 };
    let span_requests = 0.7 * MOST_SPANS as f64 / (per_request * doubled).max(1.0);
    let log_requests =
        (0.5 * MOST_LINES as f64 / (per_request * habits.chatter * 1.6).max(0.5)).min(8000.0);
    let seconds = (plan.times.end_ms - plan.times.first_ms) / 1000.0;
    let mut recorder = Recorder::new(system, habits, Draw::at(&[draw.bits()]));
    for step in steps {
        let length_s = plan.times.interval_ms / plan.times.parts as f64 / 1000.0;
        recorder.set_health(&step.health);
        let total: f64 = step.arrivals.iter().sum();
        let usual: f64 = system.arrivals.iter().map(|arrival| arrival.rate).sum();
        let part = length_s / seconds * total / usual;
        let all = total * length_s;
        let traced = draw.poisson((span_requests * part).min(all) * f64::from(u8::from(spans)));
        let told = draw.poisson((log_requests * part).min(all)).max(traced);
        for turn in 0..told as usize {
            let operation = weighted(&mut draw, system, &step.arrivals, total);
            let at_ms = step.at_ms + draw.unit() * length_s * 1000.0;
            let keep = (turn as f64) < traced && recorder.spans.len() + 400 < MOST_SPANS;
            if recorder.logs.len() < MOST_LINES || keep {
                recorder.request(operation, at_ms, keep);
            }
        }
        mutter(&mut recorder, &mut draw, plan, step, length_s);
    }
    let (mut logs, mut spans_kept) = (recorder.logs, recorder.spans);
    logs.truncate(MOST_LINES + 5_000);
    logs.sort_by_key(|line| line.timestamp_ms);
    spans_kept.sort_by_key(|span| span.start_ms);
    (Some(logs), spans.then_some(spans_kept))
}

fn weighted(draw: &mut Draw, system: &System, arrivals: &[f64], total: f64) -> usize {
    let mut left = draw.unit() * total;
    for (arrival, rate) in system.arrivals.iter().zip(arrivals) {
        left -= rate;
        if left <= 0.0 {
            return arrival.operation;
        }
    }
    system.arrivals[0].operation
}

fn mutter(recorder: &mut Recorder<'_>, draw: &mut Draw, plan: &Plan, step: &Step, length_s: f64) {
    for plant in &plan.plants {
        let strength = plant.strength(step.at_ms);
        for mutter in &plant.mutters {
            let lines = draw.poisson(mutter.rate * strength * length_s) as usize;
            for _ in 0..lines.min(200) {
                let at_ms = step.at_ms + draw.unit() * length_s * 1000.0;
                recorder.mutter(plant.service, mutter.words, at_ms);
            }
        }
    }
}
