//! What services write about their day and about their troubles.

use super::engine::{Engine, Reason};
use super::fault::Fault;
use super::knob::Knob;
use super::traces::Tracer;
use super::words;
use crate::dice::Dice;

/// One line of `logs.jsonl`.
#[derive(Clone, Debug)]
pub struct Line {
    pub timestamp_ms: i64,
    pub service: usize,
    pub level: &'static str,
    pub message: String,
    pub trace_id: Option<String>,
}

/// How this house logs.
pub struct Logger {
    /// Everyday line patterns of each service.
    patterns: Vec<Vec<&'static str>>,
    grumbles: Vec<&'static str>,
    /// Share of the everyday lines that is kept.
    keep: f64,
    /// Share of the lines about failures that is kept.
    keep_errors: f64,
    traced: bool,
    /// Services that log nothing.
    mute: Vec<bool>,
    pub lines: Vec<Line>,
}

impl Logger {
    pub fn draw(dice: &mut Dice, engine: &Engine, duration_s: f64, mute: Vec<bool>) -> Self {
        let rates = engine.world.rates();
        let total: f64 = rates.iter().flatten().sum();
        let budget = dice.magnitude(3000.0, 9000.0) / duration_s;
        let patterns = engine.world.services.iter().map(|service| {
            let all = words::everyday(service.kind);
            let first = dice.index(all.len());
            (0..2 + dice.index(3))
                .map(|i| all[(first + i) % all.len()])
                .collect()
        });
        let patterns = patterns.collect();
        let grumbles = (0..3).map(|_| words::GRUMBLES[dice.index(8)]).collect();
        Self {
            patterns,
            grumbles,
            keep: (budget / total).min(0.5),
            keep_errors: (5.0 * budget / total).clamp(0.02, 1.0),
            traced: dice.chance(0.7),
            mute,
            lines: Vec::new(),
        }
    }

    /// What is written during one step that begins at `start_ms`.
    pub fn step(
        &mut self,
        dice: &mut Dice,
        engine: &Engine,
        tracer: Option<&Tracer>,
        start_ms: f64,
        step_s: f64,
    ) {
        for s in 0..engine.now.len() {
            let first = self.lines.len();
            self.everyday(dice, engine, s, step_s);
            self.machine(dice, engine, s, step_s);
            for o in 0..engine.now[s].ops.len() {
                self.own(dice, engine, (s, o), step_s);
                self.calls(dice, engine, (s, o), step_s);
            }
            for line in &mut self.lines[first..] {
                line.timestamp_ms = (start_ms + dice.unit() * step_s * 1000.0) as i64;
                let failed = usize::from(line.level == "ERROR");
                if let (true, Some(tracer)) = (self.traced, tracer) {
                    line.trace_id.clone_from(&tracer.last[s][failed]);
                }
            }
        }
    }

    fn say(&mut self, service: usize, level: &'static str, message: String) {
        if self.mute[service] {
            return;
        }
        // The time is set when the step is complete.
        self.lines.push(Line {
            timestamp_ms: 0,
            service,
            level,
            message,
            trace_id: None,
        });
    }

    fn everyday(&mut self, dice: &mut Dice, engine: &Engine, s: usize, step_s: f64) {
        let (service, now) = (&engine.world.services[s], &engine.now[s]);
        for (op, op_now) in service.ops.iter().zip(&now.ops) {
            for _ in 0..dice
                .poisson(op_now.rate * (1.0 - op_now.error) * self.keep * step_s)
                .min(200.0) as usize
            {
                let pattern = self.patterns[s][dice.index(self.patterns[s].len())];
                let ms = op_now.mean_ms * dice.lognormal(op.sigma);
                let text = words::fill(dice, pattern, &op.name, ms);
                self.say(s, "INFO", text);
            }
        }
        if dice.chance(step_s / 240.0) {
            let pattern = self.grumbles[dice.index(self.grumbles.len())];
            let ms = 900.0 * dice.lognormal(0.4);
            let text = words::fill(dice, pattern, &service.ops[0].name, ms);
            self.say(s, "WARN", text);
        }
    }

    /// Complaints about resources.
    fn machine(&mut self, dice: &mut Dice, engine: &Engine, s: usize, step_s: f64) {
        let now = &engine.now[s];
        let often = |dice: &mut Dice, every_s: f64| dice.chance((step_s / every_s).min(1.0));
        if now.memory > 0.86 && often(dice, 10.0) {
            self.say(
                s,
                "WARN",
                format!(
                    "memory: {:.0} % of the limit in use, collection took {:.0} ms",
                    now.memory * 100.0,
                    now.gc * 2000.0
                ),
            );
        }
        if now.restarts > 0.0 {
            let version = format!("{}.{}.{}", 1 + s % 4, dice.index(30), dice.index(10));
            self.say(s, "INFO", format!("starting, version {version}, pid 1"));
            self.say(s, "INFO", "listening on 0.0.0.0:8080".to_owned());
        }
        if now.rejected > 0.02 && often(dice, 3.0) {
            self.say(
                s,
                "ERROR",
                format!(
                    "request queue full ({:.0} waiting), turning requests away",
                    now.queue
                ),
            );
        }
        if now.disk_busy > 0.7 && often(dice, 6.0) {
            self.say(
                s,
                "WARN",
                format!(
                    "fsync took {:.0} ms, disk is busy",
                    400.0 * dice.lognormal(0.5)
                ),
            );
        }
        if now.sockets > 0.7 && often(dice, 4.0) {
            self.say(s, "ERROR", "accept: too many open files".to_owned());
        }
        if now.lock_ms > 20.0 && often(dice, 4.0) {
            self.say(s, "WARN", format!("process {} still waiting for AccessExclusiveLock on relation {} after {:.0} ms", 100 + dice.index(900), 16_000 + dice.index(400), now.lock_ms * dice.between(0.8, 3.0)));
        }
        if now.throttle > 0.3 && often(dice, 12.0) {
            self.say(
                s,
                "WARN",
                format!("event loop lagged by {:.0} ms", 300.0 * dice.lognormal(0.5)),
            );
        }
        if now.lag > 500.0 && often(dice, 10.0) {
            self.say(
                s,
                "WARN",
                format!("consumer is {:.0} messages behind", now.lag),
            );
        }
    }

    /// Failures in the service's own code.
    fn own(&mut self, dice: &mut Dice, engine: &Engine, at: (usize, usize), step_s: f64) {
        let (s, o) = at;
        let service = &engine.world.services[s];
        let (op, now) = (&service.ops[o], &engine.now[s].ops[o]);
        let usual = dice
            .poisson(now.rate * op.base_error * self.keep_errors * step_s)
            .min(20.0) as usize;
        for _ in 0..usual {
            let text = if service.kind.is_code() {
                let message = [
                    "stale version of entity",
                    "invalid user input",
                    "optimistic lock lost",
                ][s % 3];
                words::trouble(
                    dice,
                    service.language,
                    "Validation",
                    message,
                    &words::place(&op.name),
                )
            } else {
                "deadlock detected, statement rolled back".to_owned()
            };
            self.say(s, "ERROR", text);
        }
    }

    /// Failures of the calls to others, as the caller sees them.
    fn calls(&mut self, dice: &mut Dice, engine: &Engine, at: (usize, usize), step_s: f64) {
        let (s, o) = at;
        let service = &engine.world.services[s];
        let (op, now) = (&service.ops[o], &engine.now[s].ops[o]);
        for (call, call_now) in op.calls.iter().zip(&now.calls) {
            let mean =
                now.rate * call_now.times.min(3.0) * call_now.failed * self.keep_errors * step_s;
            for _ in 0..dice.poisson(mean).min(1.0 + 3.0 * step_s) as usize {
                let peer = &engine.world.services[call.to].name;
                let peer_op = &engine.world.services[call.to].ops[call.op].name;
                let message = because(dice, call_now.reason, peer, peer_op, call.timeout_ms);
                let text = if dice.chance(0.5) {
                    words::trouble(
                        dice,
                        service.language,
                        class(call_now.reason),
                        &message,
                        &words::place(&op.name),
                    )
                } else {
                    format!("{}: {message}", op.name)
                };
                self.say(s, if call.fallback { "WARN" } else { "ERROR" }, text);
            }
        }
    }

    /// What the fault itself makes its service, or the one it speaks with, write.
    pub fn fault(
        &mut self,
        dice: &mut Dice,
        engine: &Engine,
        fault: &Fault,
        knob: &Knob,
        start_ms: f64,
        step_s: f64,
    ) {
        let Some((s, level, per_second, pattern)) = self.confession(dice, engine, fault, knob)
        else {
            return;
        };
        let first = self.lines.len();
        for _ in 0..dice.poisson((per_second * step_s).min(6.0)).min(12.0) as usize {
            let text = words::fill(dice, &pattern, "", 0.0);
            self.say(s, level, text);
        }
        self.date(dice, first, start_ms, step_s);
    }

    /// Who writes about the fault, at which level, how often per second, and what; some faults are silent.
    fn confession(
        &self,
        dice: &mut Dice,
        engine: &Engine,
        fault: &Fault,
        knob: &Knob,
    ) -> Option<(usize, &'static str, f64, String)> {
        let (s, dep) = (fault.service, fault.dep);
        let service = &engine.world.services[s];
        let rate = engine.now[s].ops.iter().map(|op| op.rate).sum::<f64>() * self.keep_errors;
        let op = &service.ops[fault.op.unwrap_or(0)];
        let silent = (fault.pick * 7.0).fract() < 0.35;
        match fault.family.name {
            "exception" => {
                let (class, message) = [
                    ("NullReference", "value must not be null"),
                    ("IndexOutOfRange", "index 7 out of range"),
                    ("IllegalState", "no element present"),
                    ("Arithmetic", "division by zero"),
                ][(fault.pick * 40.0) as usize % 4];
                let text = words::trouble(
                    dice,
                    service.language,
                    class,
                    message,
                    &words::place(&op.name),
                );
                Some((s, "ERROR", rate * knob.fail, text))
            }
            "wrong-argument" => {
                let name = &service.name;
                let text = match (fault.pick * 3.0) as usize {
                    0 => format!("rejected request from {name}: argument 'id' must not be empty"),
                    1 => format!("400 bad request: unknown currency '' (peer {name})"),
                    _ => format!("invalid argument: quantity -1, caller {name}"),
                };
                Some((dep?, "WARN", rate * knob.dep_fail, text))
            }
            "wrong-password" => {
                let text = "password authentication failed for user \"app\" (client ";
                Some((dep?, "ERROR", 0.4, format!("{text}{})", service.name)))
            }
            _ if silent => None,
            "missing-handler" => {
                let text = format!(
                    "no handler registered for {}",
                    op.name.replace("{id}", ":id")
                );
                Some((s, "WARN", rate * knob.fail, text))
            }
            "wrong-flag" => {
                let text = "feature flag new_read_path is on, bypassing cache";
                Some((s, "INFO", 0.07, text.to_owned()))
            }
            "endless-retry" => {
                let text = "attempt {n} not confirmed, trying again";
                Some((s, "WARN", 0.5, text.to_owned()))
            }
            "expired-certificate" => {
                let text = "TLS handshake error: remote error: bad certificate (has expired)";
                Some((s, "WARN", 0.5, text.to_owned()))
            }
            "store-outage" => {
                let text = "could not write to file: no space left on device, shutting down";
                Some((s, "FATAL", 0.12, text.to_owned()))
            }
            _ => None,
        }
    }

    fn date(&mut self, dice: &mut Dice, first: usize, start_ms: f64, step_s: f64) {
        for line in &mut self.lines[first..] {
            line.timestamp_ms = (start_ms + dice.unit() * step_s * 1000.0) as i64;
        }
    }

    /// Loud lines of a healthy service: visitors who guess passwords, or a chatty new version.
    pub fn loud(&mut self, dice: &mut Dice, s: usize, start_ms: f64, step_s: f64, pick: f64) {
        let first = self.lines.len();
        for _ in 0..dice.poisson(0.6 * step_s).min(10.0) as usize {
            let text = match (pick * 3.0) as usize {
                0 => words::fill(
                    dice,
                    "401 unauthorized: unknown user {id} from {ip}",
                    "",
                    0.0,
                ),
                1 => words::fill(
                    dice,
                    "could not send usage statistics: attempt {n} timed out",
                    "",
                    0.0,
                ),
                _ => words::fill(dice, "deprecated field 'colour' in request {id}", "", 0.0),
            };
            self.say(s, if pick < 0.5 { "ERROR" } else { "WARN" }, text);
        }
        self.date(dice, first, start_ms, step_s);
    }
}

fn class(reason: Reason) -> &'static str {
    match reason {
        Reason::Timeout | Reason::PoolEmpty => "Timeout",
        Reason::Garbage => "Parse",
        Reason::Denied => "Access",
        _ => "Remote",
    }
}

fn because(dice: &mut Dice, reason: Reason, peer: &str, op: &str, timeout_ms: f64) -> String {
    let one = |dice: &mut Dice, texts: [String; 2]| {
        let [first, second] = texts;
        if dice.chance(0.5) { first } else { second }
    };
    match reason {
        Reason::Status => one(
            dice,
            [
                format!("{peer} answered 500 to {op}"),
                format!("call to {peer} failed: internal error"),
            ],
        ),
        Reason::Timeout => one(
            dice,
            [
                format!("no answer from {peer} within {timeout_ms:.0} ms"),
                format!("context deadline exceeded calling {peer}"),
            ],
        ),
        Reason::Refused => one(
            dice,
            [
                format!("connect to {peer}:8080: connection refused"),
                format!("{peer} closed the connection"),
            ],
        ),
        Reason::Unresolved => format!("lookup {peer}-internal.svc: no such host"),
        Reason::Handshake => format!("handshake with {peer} failed: certificate has expired"),
        Reason::Denied => format!("{peer} says: access denied, wrong password"),
        Reason::Invalid => format!("{peer} answered 400 to {op}: invalid argument"),
        Reason::Garbage => one(
            dice,
            [
                format!("cannot read reply of {peer}: missing field 'items'"),
                format!("unexpected value null in reply of {peer} to {op}"),
            ],
        ),
        Reason::NoHandler => format!("{peer} answered 404 to {op}: not found"),
        Reason::PoolEmpty => format!("no free connection to {peer} after 3000 ms, pool exhausted"),
        Reason::Open => format!("circuit to {peer} is open"),
    }
}
