//! The deterministic investigator on metrics as strangers record them: names of
//! many schools, coarse or fine readings, gaps, nights without requests. The
//! systems are small models made here, in which one service is hurt and the
//! others feel it along the calls.

use midwatch_events::topology::EdgeSource;
use midwatch_investigation::rca::{self, Question, Recording, Series};
use std::collections::BTreeMap;

/// When the fault begins.
const START_MS: i64 = 1_700_000_000_000;

/// Numbers that look drawn and are the same in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        #[expect(clippy::cast_precision_loss, reason = "53 bits")]
        let unit = (self.0 >> 11) as f64 / (1_u64 << 53) as f64;
        unit
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "small"
    )]
    fn below(&mut self, count: usize) -> usize {
        ((self.unit() * count as f64) as usize).min(count - 1)
    }

    /// Around 1, wider to the upper side.
    fn noise(&mut self, by: f64) -> f64 {
        let sum: f64 = (0..6).map(|_| self.unit()).sum::<f64>() - 3.0;
        (by * sum * 1.4).exp()
    }
}

/// What hurts a service.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Processor,
    Memory,
    Disk,
    Delay,
    Loss,
    Sockets,
    /// Its answers fail.
    Failing,
    /// It takes longer, and nothing but its latency tells.
    Slow,
}

/// How a house measures.
#[derive(Clone, Copy, Debug)]
struct School {
    latency: &'static [(&'static str, f64)],
    requests: &'static str,
    /// Failed requests per second, or with `whole` what succeeds of it.
    failures: &'static str,
    whole: Option<f64>,
    cpu: &'static str,
    memory: &'static str,
    disk: &'static str,
    sockets: &'static str,
    /// CPU, disk and requests are counters that only rise.
    counts: bool,
}

const PLAIN: School = School {
    latency: &[("latency-50", 1.0), ("latency-90", 1.9)],
    requests: "workload",
    failures: "error",
    whole: None,
    cpu: "cpu",
    memory: "mem",
    disk: "diskio",
    sockets: "socket",
    counts: false,
};
const SCRAPED: School = School {
    latency: &[
        ("istio_request_duration_milliseconds_p50", 1.0),
        ("istio_request_duration_milliseconds_p99", 3.0),
    ],
    requests: "istio_requests_total",
    failures: "istio_request_errors_total",
    whole: None,
    cpu: "container_cpu_usage_seconds_total",
    memory: "container_memory_working_set_bytes",
    disk: "container_fs_writes_bytes_total",
    sockets: "container_sockets",
    counts: true,
};
const PERCENTILES: School = School {
    latency: &[("latency_p90", 1.9), ("latency_p95", 2.3)],
    failures: "availability",
    whole: Some(100.0),
    ..PLAIN
};
/// Requests, latency and availability alone.
const CLOUD: School = School {
    latency: &[("latency_Average", 1.0)],
    requests: "requests_Sum",
    failures: "availability_Average",
    whole: Some(1.0),
    cpu: "",
    memory: "",
    disk: "",
    sockets: "",
    counts: false,
};

/// When readings are taken.
#[derive(Clone, Copy)]
struct Clock {
    step_ms: i64,
    before: i64,
    after: i64,
    /// The share of readings that is missing.
    gaps: f64,
    /// Traffic falls to a hundredth at night, and where there is none nothing
    /// is read.
    nights: bool,
}

const FINE: Clock = Clock {
    step_ms: 1_000,
    before: 200,
    after: 100,
    gaps: 0.0,
    nights: false,
};
const COARSE: Clock = Clock {
    step_ms: 300_000,
    before: 60,
    after: 4,
    gaps: 0.25,
    nights: true,
};

struct Case {
    recording: Recording,
    question: Question,
    culprit: String,
}

struct Node {
    callees: Vec<usize>,
    own_ms: f64,
    rate: f64,
}

/// Each node calls some of those that come after it; the first is the door.
fn system(dice: &mut Dice, size: usize) -> Vec<Node> {
    let mut nodes: Vec<Node> = (0..size)
        .map(|_| Node {
            callees: Vec::new(),
            own_ms: dice.between(2.0, 30.0),
            rate: 0.0,
        })
        .collect();
    for callee in 1..size {
        for _ in 0..1 + dice.below(2) {
            let caller = dice.below(callee.min(size * 2 / 3 + 1));
            if !nodes[caller].callees.contains(&callee) {
                nodes[caller].callees.push(callee);
            }
        }
    }
    nodes[0].rate = dice.between(5.0, 60.0);
    for caller in 0..size {
        let rate = nodes[caller].rate * 0.7;
        for callee in nodes[caller].callees.clone() {
            nodes[callee].rate += rate;
        }
    }
    nodes
}

fn name(node: usize) -> String {
    format!("n{node:02}")
}

/// One moment of one system.
struct Moment {
    at_ms: i64,
    step_s: f64,
    /// The whole system's traffic, about 1.
    day: f64,
    /// How far the fault has come, 0..1; 0 before it.
    since: f64,
}

impl Moment {
    #[expect(clippy::cast_precision_loss, reason = "small")]
    fn of(clock: Clock, step: i64) -> Moment {
        let at_ms = START_MS + step * clock.step_ms + clock.step_ms / 2;
        let hours = (at_ms % 86_400_000) as f64 / 3_600_000.0;
        let wave = 0.5 + 0.5 * (hours * std::f64::consts::TAU / 24.0).sin();
        let since = (step + 1) as f64 / clock.after as f64;
        Moment {
            at_ms,
            step_s: clock.step_ms as f64 / 1_000.0,
            day: if clock.nights { wave.max(0.01) } else { 1.0 },
            since: since.max(0.0),
        }
    }
}

/// Milliseconds that the fault adds to the culprit's own work, and the share of
/// its requests that fail.
fn hurt(fault: Fault, own_ms: f64, force: f64, since: f64) -> (f64, f64) {
    if since <= 0.0 {
        return (0.0, 0.001);
    }
    match fault {
        Fault::Processor => (own_ms * 4.0 * force, 0.001),
        Fault::Memory => (own_ms * 2.0 * force * since, 0.001),
        Fault::Disk => (own_ms * 5.0 * force, 0.001),
        Fault::Delay => (120.0 * force, 0.001),
        Fault::Loss => (60.0 * force, 0.05 * force),
        Fault::Slow => (own_ms * 8.0 * force + 40.0, 0.001),
        Fault::Sockets => (0.0, 0.4 * force * since),
        Fault::Failing => (0.0, 0.5 * force),
    }
}

/// A system in trouble, and what is read of it.
struct Play<'a> {
    dice: Dice,
    nodes: Vec<Node>,
    school: &'a School,
    fault: Fault,
    culprit: usize,
    force: f64,
    gaps: f64,
    read: BTreeMap<(usize, &'static str), Vec<(i64, f64)>>,
    counted: BTreeMap<(usize, &'static str), f64>,
}

impl Play<'_> {
    /// Latency and failing share of every node: its own, and of those it calls.
    fn felt(&mut self, moment: &Moment) -> Vec<(f64, f64)> {
        let mut felt = vec![(0.0, 0.0); self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate().rev() {
            let own = node.own_ms * self.dice.noise(0.08);
            let since = if index == self.culprit {
                moment.since
            } else {
                0.0
            };
            let (slower, fails) = hurt(self.fault, node.own_ms, self.force, since);
            let (mut below, mut fine) = (0.0, 1.0 - fails);
            for callee in &node.callees {
                below += 0.7 * felt[*callee].0;
                fine *= 1.0 - 0.7 * felt[*callee].1;
            }
            felt[index] = (own + slower + below, 1.0 - fine);
        }
        felt
    }

    fn put(&mut self, node: usize, metric: &'static str, at_ms: i64, value: f64) {
        if !metric.is_empty() && self.dice.unit() >= self.gaps {
            let points = self.read.entry((node, metric)).or_default();
            points.push((at_ms, value));
        }
    }

    /// A rate per second, or what it has come to where the house counts.
    fn count(&mut self, node: usize, metric: &'static str, moment: &Moment, rate: f64) {
        let value = if self.school.counts {
            let known = self.counted.entry((node, metric)).or_insert(1_000.0);
            *known += rate * moment.step_s;
            *known
        } else {
            rate
        };
        self.put(node, metric, moment.at_ms, value);
    }

    /// What users see of a node; nothing where there are no requests.
    fn serve(&mut self, node: usize, moment: &Moment, (latency, failing): (f64, f64)) {
        let (school, rate) = (self.school, self.nodes[node].rate);
        let requests = (rate * moment.day * moment.step_s * self.dice.noise(0.1)).floor();
        if requests <= 0.0 && !school.counts {
            return;
        }
        for (metric, times) in school.latency {
            let value = latency * times * self.dice.noise(0.04 * times);
            self.put(node, metric, moment.at_ms, value);
        }
        let failed = (requests * failing * self.dice.noise(0.2)).round();
        let failed = failed.min(requests);
        match school.whole {
            Some(whole) => {
                let fine = whole * (1.0 - failed / requests);
                self.put(node, school.failures, moment.at_ms, fine);
            }
            None => self.count(node, school.failures, moment, failed / moment.step_s),
        }
        self.count(node, school.requests, moment, requests / moment.step_s);
    }

    /// What a node uses up, and a series of no known unit that never changes.
    fn use_up(&mut self, node: usize, moment: &Moment) {
        let school = self.school;
        if school.cpu.is_empty() {
            return;
        }
        let since = if node == self.culprit {
            moment.since
        } else {
            0.0
        };
        let is_on = |fault: Fault| f64::from(u8::from(self.fault == fault && since > 0.0));
        let hog = 0.6 * self.force * is_on(Fault::Processor);
        let leak = 2.0 * since * is_on(Fault::Memory);
        let stress = 19.0 * is_on(Fault::Disk);
        let open = 4_000.0 * since * is_on(Fault::Sockets);
        let busy = self.nodes[node].rate * 0.002 * self.dice.noise(0.1) + hog;
        self.count(node, school.cpu, moment, busy);
        let disk = 2e5 * self.dice.noise(0.3) * (1.0 + stress);
        self.count(node, school.disk, moment, disk);
        let memory = 200e6 * self.dice.noise(0.01) * (1.0 + leak);
        self.put(node, school.memory, moment.at_ms, memory);
        let sockets = (40.0 * self.dice.noise(0.05) + open).round();
        self.put(node, school.sockets, moment.at_ms, sockets);
        self.put(node, "replicas_wanted", moment.at_ms, 3.0);
    }
}

fn case(seed: u64, school: &School, fault: Fault, size: usize, clock: Clock) -> Case {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    for _ in 0..8 {
        dice.unit();
    }
    let nodes = system(&mut dice, size);
    let mut play = Play {
        culprit: 1 + dice.below(size - 1),
        force: dice.between(0.5, 1.0),
        dice,
        nodes,
        school,
        fault,
        gaps: clock.gaps,
        read: BTreeMap::new(),
        counted: BTreeMap::new(),
    };
    for step in -clock.before..clock.after {
        let moment = Moment::of(clock, step);
        for (node, felt) in play.felt(&moment).into_iter().enumerate() {
            play.serve(node, &moment, felt);
            play.use_up(node, &moment);
        }
    }
    let mut recording = Recording::default();
    for (caller, node) in play.nodes.iter().enumerate() {
        for callee in &node.callees {
            let (caller, callee) = (name(caller), name(*callee));
            let source = EdgeSource::Catalogue;
            recording.topology.add_call(&caller, &callee, source);
        }
    }
    let series = play
        .read
        .into_iter()
        .map(|((node, metric), points)| Series {
            service: name(node),
            metric: metric.to_owned(),
            points,
            ids: Vec::new(),
        });
    recording.series = series.collect();
    let is_failure = matches!(fault, Fault::Failing | Fault::Sockets);
    let metric = if is_failure {
        school.failures
    } else {
        school.latency[0].0
    };
    let question = Question {
        target: name(0),
        target_metric: metric.to_owned(),
        start_ms: START_MS,
        at_ms: START_MS + 2 * clock.step_ms,
        end_ms: START_MS + clock.after * clock.step_ms,
    };
    Case {
        recording,
        question,
        culprit: name(play.culprit),
    }
}

const DRAWS: u64 = 12;

/// How often the culprit is first of so many draws.
fn first(school: &School, fault: Fault, size: usize, clock: Clock) -> usize {
    let draws = 0..DRAWS;
    let found = draws.filter(|seed| {
        let case = case(*seed, school, fault, size, clock);
        let answer = rca::investigate(&case.recording, &case.question);
        answer.ranking.first() == Some(&case.culprit)
    });
    found.count()
}

const RESOURCES: [Fault; 7] = [
    Fault::Processor,
    Fault::Memory,
    Fault::Disk,
    Fault::Delay,
    Fault::Loss,
    Fault::Sockets,
    Fault::Failing,
];

#[test]
fn fine_metrics_of_any_school_name_the_culprit() {
    let schools = [
        (PLAIN, "plain"),
        (SCRAPED, "scraped"),
        (PERCENTILES, "percentiles"),
    ];
    for (school, words) in schools {
        for fault in RESOURCES {
            let found = first(&school, fault, 12, FINE);
            assert!(found + 1 >= 12, "{words}, {fault:?}: {found} of {DRAWS}");
        }
    }
}

#[test]
fn coarse_metrics_with_gaps_and_nights_name_the_culprit() {
    let coarse = |step_ms, before, after, gaps| Clock {
        step_ms,
        before,
        after,
        gaps,
        ..COARSE
    };
    for (clock, least) in [
        (coarse(60_000, 100, 6, 0.3), 11),
        (coarse(300_000, 60, 4, 0.3), 11),
        (coarse(300_000, 24, 3, 0.0), 11),
        // Of three readings since, one in three missing: some culprits have none.
        (coarse(300_000, 24, 3, 0.3), 8),
    ] {
        for size in [30, 48] {
            for fault in [Fault::Slow, Fault::Failing] {
                let found = first(&CLOUD, fault, size, clock);
                let (step, after) = (clock.step_ms, clock.after);
                assert!(
                    found >= least,
                    "{size} nodes, {after} readings of {step} ms, {fault:?}: {found} of {DRAWS}"
                );
            }
        }
    }
}
