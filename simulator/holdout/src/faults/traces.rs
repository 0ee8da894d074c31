//! Sampled requests: each walks the call graph by the odds of its moment.

use std::collections::BTreeMap;

use super::engine::{Engine, Reason};
use super::queueing::loss_tail;
use super::world::Kind;
use crate::dice::{Dice, mix};

/// Spans of one trace at most.
const LONGEST: usize = 400;

/// One line of `spans.jsonl`.
#[derive(Clone, Debug)]
pub struct Span {
    pub trace_id: String,
    pub span_id: String,
    pub parent_span_id: Option<String>,
    pub service: usize,
    pub operation: String,
    pub start_ms: i64,
    pub duration_ms: f64,
    pub status: &'static str,
    pub labels: BTreeMap<&'static str, String>,
}

/// How this house traces.
pub struct Tracer {
    /// Spans of the calling side too.
    both_sides: bool,
    /// A request that was refused for its caller's fault is an error in the callee's span.
    pub counts_refusals: bool,
    /// Status codes among the labels.
    codes: bool,
    /// Services without an instrumented library.
    mute: Vec<bool>,
    /// Traces per second.
    pub per_second: f64,
    count: u64,
    pub spans: Vec<Span>,
    /// The last failed and the last good trace of each service, for its log lines.
    pub last: Vec<[Option<String>; 2]>,
}

struct Walk<'a, 'w> {
    engine: &'a Engine<'w>,
    trace: String,
    made: Vec<(Span, usize)>,
}

impl Tracer {
    pub fn draw(dice: &mut Dice, engine: &Engine, duration_s: f64) -> Self {
        let world = engine.world;
        let users: f64 = world
            .services
            .iter()
            .flat_map(|s| &s.ops)
            .map(|op| op.users_rps)
            .sum();
        let calls: f64 = world.rates().iter().flatten().sum();
        let both_sides = dice.chance(0.4);
        let each = calls / users * if both_sides { 2.0 } else { 1.0 };
        let total = (dice.magnitude(9000.0, 25_000.0) / each).min(4000.0);
        let blind_stores = dice.chance(0.35);
        let mute = world
            .services
            .iter()
            .map(|s| blind_stores && (s.kind.is_store() || s.kind == Kind::Broker));
        Self {
            both_sides,
            counts_refusals: dice.chance(0.5),
            codes: dice.chance(0.6),
            mute: mute.collect(),
            per_second: (total / duration_s).min(users),
            count: 0,
            spans: Vec::new(),
            last: vec![[None, None]; world.services.len()],
        }
    }

    /// Samples what came in during one step.
    pub fn step(&mut self, dice: &mut Dice, engine: &Engine, start_ms: f64, step_s: f64) {
        let mut doors: Vec<(usize, usize, f64)> = Vec::new();
        let mut usual = 0.0;
        for (s, service) in engine.world.services.iter().enumerate() {
            for (o, op) in service.ops.iter().enumerate() {
                let now = &engine.now[s].ops[o];
                usual += op.users_rps;
                if op.users_rps > 0.0 || service.kind == Kind::Worker {
                    doors.push((s, o, now.rate));
                }
            }
        }
        let total: f64 = doors.iter().map(|door| door.2).sum();
        let share = self.per_second / usual;
        // A sampler keeps a share of the traffic, within its budget.
        let wanted = dice.poisson((total * share).min(3.0 * self.per_second) * step_s) as usize;
        for _ in 0..wanted {
            let mut at = dice.unit() * total;
            let door = doors.iter().find(|door| {
                at -= door.2;
                at <= 0.0
            });
            if let Some(&(s, o, _)) = door {
                let moment = start_ms + dice.unit() * step_s * 1000.0;
                self.one(dice, engine, s, o, moment);
            }
        }
    }

    fn one(&mut self, dice: &mut Dice, engine: &Engine, s: usize, o: usize, start_ms: f64) {
        self.count += 1;
        let trace = format!(
            "{:016x}{:016x}",
            mix(self.count, 11),
            (dice.unit() * 1e18) as u64
        );
        let mut walk = Walk {
            engine,
            trace,
            made: Vec::new(),
        };
        walk.visit(self, dice, (s, o), start_ms, None);
        for (span, service) in walk.made {
            let failed = usize::from(span.status == "ERROR");
            self.last[service][failed] = Some(span.trace_id.clone());
            self.spans.push(span);
        }
    }
}

impl Walk<'_, '_> {
    /// Serves one request; returns its time in milliseconds and whether it failed.
    fn visit(
        &mut self,
        tracer: &Tracer,
        dice: &mut Dice,
        at: (usize, usize),
        start: f64,
        parent: Option<&str>,
    ) -> (f64, bool) {
        let (s, o) = at;
        let (service, now) = (&self.engine.world.services[s], &self.engine.now[s]);
        let (op, op_now) = (&service.ops[o], &now.ops[o]);
        let place = (!tracer.mute[s]).then(|| self.open(dice, s, &op.name, start, parent));
        let own_id = place.map(|place| self.made[place].0.span_id.clone());
        let parent = own_id.as_deref().or(parent);
        let mut failed = dice.chance(op_now.own_error);
        let spread = dice.lognormal(op.sigma) / (0.5 * op.sigma * op.sigma).exp();
        let own = op_now.own_ms * spread * if failed { 0.4 } else { 1.0 };
        let mut clock = start + now.wait_ms * dice.between(0.7, 1.3) + 0.5 * own;
        let (mut group, mut furthest) = (usize::MAX, clock);
        // A request that fails in its own code may still have called others first.
        let calls = if failed && dice.chance(0.7) {
            0
        } else {
            op.calls.len()
        };
        for c in 0..calls {
            let call = &op.calls[c];
            if call.group != group {
                (group, clock) = (call.group, furthest);
            }
            let mean = op_now.calls[c].times;
            let times = mean.floor() as usize + usize::from(dice.chance(mean.fract()));
            let mut begin = clock;
            for _ in 0..times.min(40) {
                let (ms, bad) = self.attempts(tracer, dice, (s, o, c), begin, parent);
                begin += ms;
                failed |= bad && !call.fallback;
                if failed {
                    break;
                }
            }
            furthest = furthest.max(begin);
            if failed {
                break;
            }
        }
        let duration = furthest + 0.5 * own - start;
        if let Some(place) = place {
            self.close(tracer, place, duration, failed, "500");
        }
        (duration, failed)
    }

    fn attempts(
        &mut self,
        tracer: &Tracer,
        dice: &mut Dice,
        from: (usize, usize, usize),
        start: f64,
        parent: Option<&str>,
    ) -> (f64, bool) {
        let (s, o, c) = from;
        let call = &self.engine.world.services[s].ops[o].calls[c];
        let now = self.engine.now[s].ops[o].calls[c];
        let mut clock = start;
        for _ in 0..=call.retries {
            let (ms, bad) = self.attempt(tracer, dice, from, clock, parent);
            clock += ms;
            if !bad || now.reason == Reason::Open {
                return (clock - start, bad);
            }
        }
        (clock - start, true)
    }

    fn attempt(
        &mut self,
        tracer: &Tracer,
        dice: &mut Dice,
        from: (usize, usize, usize),
        start: f64,
        parent: Option<&str>,
    ) -> (f64, bool) {
        let (s, o, c) = from;
        let engine = self.engine;
        let call = &engine.world.services[s].ops[o].calls[c];
        let now = engine.now[s].ops[o].calls[c];
        let client = tracer.both_sides && !tracer.mute[s];
        let place = client.then(|| {
            let name = engine.world.services[call.to].ops[call.op].name.clone();
            let place = self.open(dice, s, &name, start, parent);
            self.made[place]
                .0
                .labels
                .insert("span.kind", "client".to_owned());
            self.made[place]
                .0
                .labels
                .insert("peer.service", engine.world.services[call.to].name.clone());
            place
        });
        let own_id = place.map(|place| self.made[place].0.span_id.clone());
        let parent = own_id.as_deref().or(parent);
        let served = self.made.len();
        let (mut ms, mut bad) = self.reach(tracer, dice, from, start, parent);
        bad |= ms > call.timeout_ms;
        if !bad && self.is_blamed(dice, from) {
            bad = true;
            let scolds = now.reason != Reason::Garbage && tracer.counts_refusals;
            if scolds && served < self.made.len() {
                let ms = self.made[served].0.duration_ms;
                self.close(tracer, served, ms, true, code(now.reason));
            }
        }
        ms = ms.min(call.timeout_ms);
        if let Some(place) = place {
            self.close(tracer, place, ms, bad, code(now.reason));
        }
        (ms, bad)
    }

    /// Whether the reply is refused by one of both sides, beyond what the callee's own failures explain.
    fn is_blamed(&self, dice: &mut Dice, from: (usize, usize, usize)) -> bool {
        let (s, o, c) = from;
        let call = &self.engine.world.services[s].ops[o].calls[c];
        let now = self.engine.now[s].ops[o].calls[c];
        let below = self.engine.now[call.to].ops[call.op].error;
        let beyond = 1.0 - (1.0 - now.attempt) / ((1.0 - below) * (1.0 - now.lost)).max(1e-6);
        matches!(
            now.reason,
            Reason::Denied | Reason::Invalid | Reason::Garbage
        ) && dice.chance(beyond)
    }

    /// Sends one attempt on its way: milliseconds until its end, and whether it failed.
    fn reach(
        &mut self,
        tracer: &Tracer,
        dice: &mut Dice,
        from: (usize, usize, usize),
        start: f64,
        parent: Option<&str>,
    ) -> (f64, bool) {
        let (s, o, c) = from;
        let engine = self.engine;
        let call = &engine.world.services[s].ops[o].calls[c];
        let now = engine.now[s].ops[o].calls[c];
        if now.reason == Reason::Open {
            return (0.3, true);
        }
        if dice.chance(now.lost) {
            let ms = if now.lost_slowly {
                call.timeout_ms
            } else {
                dice.exponential(2.0)
            };
            return (ms, true);
        }
        if self.made.len() >= LONGEST {
            return (engine.now[call.to].ops[call.op].mean_ms, false);
        }
        let kilobytes = engine.world.services[call.to].ops[call.op].kilobytes;
        let way = self.way(call.to, s, kilobytes, dice);
        let (ms, bad) = self.visit(tracer, dice, (call.to, call.op), start + 0.5 * way, parent);
        (ms + way, bad)
    }

    /// Time on the wire for one call.
    fn way(&self, to: usize, from: usize, kilobytes: f64, dice: &mut Dice) -> f64 {
        let usual = self.engine.world.rtt_ms;
        let (near, far) = (&self.engine.now[from], &self.engine.now[to]);
        let extra = (near.rtt_ms - usual).max(0.0) + (far.rtt_ms - usual).max(0.0);
        let wire = 2.0 * usual + 2.0 * extra + kilobytes * 8.0 / near.mbps.min(far.mbps).max(1e-3);
        let tail = loss_tail(1.0 - (1.0 - near.loss) * (1.0 - far.loss), kilobytes);
        wire * dice.lognormal(0.2)
            + if dice.chance(tail.0) {
                tail.1 * dice.between(0.6, 1.8)
            } else {
                0.0
            }
    }

    fn open(
        &mut self,
        dice: &mut Dice,
        s: usize,
        name: &str,
        start: f64,
        parent: Option<&str>,
    ) -> usize {
        self.made.push((
            Span {
                trace_id: self.trace.clone(),
                span_id: format!(
                    "{:016x}",
                    (dice.unit() * 9e15) as u64 * 2048 + self.made.len() as u64
                ),
                parent_span_id: parent.map(str::to_owned),
                service: s,
                operation: name.to_owned(),
                start_ms: start as i64,
                duration_ms: 0.0,
                status: "OK",
                labels: BTreeMap::new(),
            },
            s,
        ));
        self.made.len() - 1
    }

    fn close(&mut self, tracer: &Tracer, place: usize, ms: f64, failed: bool, code: &str) {
        let span = &mut self.made[place].0;
        span.duration_ms = (ms * 1000.0).round() / 1000.0;
        span.status = if failed { "ERROR" } else { "OK" };
        if tracer.codes {
            span.labels.insert(
                "http.status_code",
                if failed { code } else { "200" }.to_owned(),
            );
        }
    }
}

fn code(reason: Reason) -> &'static str {
    match reason {
        Reason::Denied => "401",
        Reason::Invalid => "400",
        Reason::NoHandler => "404",
        Reason::Timeout => "504",
        Reason::Refused | Reason::Unresolved | Reason::Handshake | Reason::Open => "503",
        _ => "500",
    }
}
