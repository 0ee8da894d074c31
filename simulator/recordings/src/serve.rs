//! How one request is served: the only place that knows what a call costs
//! and how a failure travels. The pools of [`crate::engine`] and the traces
//! of [`crate::trace`] both run it.

use crate::draw::Draw;
use crate::effect::{Bug, Effect};
use crate::graph::System;

/// Why a request failed, as the service sees it that notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fail {
    /// Normal rare trouble of its own.
    Own,
    /// Trouble of its own that a fault causes.
    Fault,
    /// A bug in the operation threw.
    Thrown,
    /// No worker was free.
    Overload,
    /// The caller waited too long.
    Timeout,
    /// Nobody listened at the other end.
    Refused,
    /// A call failed and there was no way around it.
    Downstream,
    /// The callee refused what was sent.
    Invalid,
    /// The answer of the callee made no sense.
    Unreadable,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    pub ms: f64,
    pub fail: Option<Fail>,
    /// Well-formed, but wrong.
    pub nonsense: bool,
}

/// A service at one moment.
#[derive(Clone, Debug, Default)]
pub struct Health {
    pub effect: Effect,
    /// Share of replicas (so of requests) that the effect touches.
    pub share: f64,
    pub bugs: Vec<Bug>,
    /// Factor on the self time that comes from load.
    pub load: f64,
    /// Mean wait for a free worker.
    pub wait_ms: f64,
    /// Share of requests turned away for load.
    pub reject: f64,
}

/// Where a call is made: the operation that makes it and its place there.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    pub operation: usize,
    pub call: usize,
}

/// What lies below an operation: an answer from a pool, or a real request.
pub trait Downstream {
    /// The stream that everything random about the request comes from.
    fn draw(&mut self) -> &mut Draw;
    /// Serves the call; `spoiled` is a parameter that the callee refuses.
    fn answer(&mut self, site: Site, to: usize, at_ms: f64, spoiled: bool) -> Outcome;
    /// The service worked so long on the request by itself.
    fn worked(&mut self, _ms: f64) {}
    /// The caller begins a try.
    fn begin(&mut self, _site: Site) {}
    /// The caller ends a try that began at `at_ms`.
    fn end(&mut self, _site: Site, _at_ms: f64, _outcome: Outcome) {}
}

/// The system and the state of all its services at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    pub system: &'a System,
    pub health: &'a [Health],
}

/// One exchange with a service in this state: a round trip with whatever
/// the network adds. Infinite when every packet was lost.
fn network(draw: &mut Draw, round_trip_ms: f64, ends: [&Health; 2]) -> f64 {
    let mut ms = round_trip_ms * draw.lognormal(0.35);
    for end in ends {
        let touched = end.share >= 1.0 || draw.chance(end.share);
        let effect = &end.effect;
        if !touched || (effect.delay_ms <= 0.0 && effect.loss <= 0.0) {
            continue;
        }
        ms += (effect.delay_ms + effect.jitter_ms * draw.normal()).max(0.0);
        let mut pause = 200.0;
        // A round trip is about three packets that must arrive; each lost one
        // costs a retransmission, doubling from 200 ms.
        for _ in 0..3 {
            while draw.chance(effect.loss) {
                ms += pause;
                pause *= 2.0;
                if pause > 12_000.0 {
                    return f64::INFINITY;
                }
            }
        }
    }
    ms
}

impl Moment<'_> {
    fn of(&self, operation: usize) -> &Health {
        &self.health[self.system.operations[operation].service]
    }

    fn bug(&self, operation: usize, call: Option<usize>) -> Option<Bug> {
        let bugs = &self.of(operation).bugs;
        bugs.iter().copied().find(|bug| {
            bug.operation() == operation
                && match *bug {
                    Bug::Throws { .. }
                    | Bug::Slow { .. }
                    | Bug::BadValue { .. }
                    | Bug::Skips { .. } => call.is_none(),
                    Bug::WrongHost { call: site, .. }
                    | Bug::Forgets { call: site, .. }
                    | Bug::BadParameter { call: site, .. } => call == Some(site),
                }
        })
    }

    /// Serves one request of `operation` that arrives at `at_ms`.
    pub fn serve<D: Downstream>(&self, operation: usize, at_ms: f64, below: &mut D) -> Outcome {
        let health = self.of(operation);
        let spec = &self.system.operations[operation];
        let effect = &health.effect;
        let draw = below.draw();
        if draw.chance(health.reject) {
            return failed(0.5 + draw.exponential(1.0), Fail::Overload);
        }
        let touched = health.share >= 1.0 || draw.chance(health.share);
        let mut own = spec.self_ms * draw.lognormal(spec.sigma) * health.load;
        if draw.chance(spec.tail.0) {
            own *= draw.lognormal(0.5) * spec.tail.1;
        }
        if health.wait_ms > 0.0 {
            own += draw.exponential(health.wait_ms);
        }
        if touched {
            own *= effect.slow;
            if effect.extra_ms > 0.0 {
                own += effect.extra_ms * draw.lognormal(0.4);
            }
            if draw.chance(effect.stall) {
                own += draw.exponential(effect.stall_ms);
            }
        }
        if draw.chance(spec.own_error) {
            return failed(own * draw.uniform(0.3, 1.0), Fail::Own);
        }
        if touched && draw.chance(effect.fail) {
            return failed(own * draw.uniform(0.3, 1.0), Fail::Fault);
        }
        let bug = if touched {
            self.bug(operation, None)
        } else {
            None
        };
        if let Some(Bug::Throws { share, .. }) = bug
            && draw.chance(share)
        {
            let ms = own * draw.uniform(0.05, 0.9);
            below.worked(ms);
            return failed(ms, Fail::Thrown);
        }
        match bug {
            Some(Bug::Skips { .. }) => own *= 0.8,
            Some(Bug::Slow { extra_ms, .. }) => own += extra_ms * draw.lognormal(0.4),
            _ => {}
        }
        below.worked(own);
        let draw = below.draw();
        let before = own * draw.uniform(0.3, 0.9);
        let (below_ms, fail) = self.calls(operation, at_ms + before, touched, below);
        let nonsense = match bug {
            Some(Bug::BadValue { share, .. }) => below.draw().chance(share),
            _ => false,
        };
        let ms = if fail.is_some() { before } else { own } + below_ms;
        Outcome { ms, fail, nonsense }
    }

    /// Makes every call of an operation; the time they took together, and
    /// why the operation cannot go on, if so.
    fn calls<D: Downstream>(
        &self,
        operation: usize,
        at_ms: f64,
        touched: bool,
        below: &mut D,
    ) -> (f64, Option<Fail>) {
        let spec = &self.system.operations[operation];
        let (mut sum, mut longest) = (0.0, 0.0_f64);
        for (index, call) in spec.calls.iter().enumerate() {
            let site = Site {
                operation,
                call: index,
            };
            let bug = if touched {
                self.bug(operation, Some(index))
            } else {
                None
            };
            if matches!(bug, Some(Bug::Forgets { .. })) {
                continue;
            }
            let mut left = call.times.floor();
            if below.draw().chance(call.times.fract()) {
                left += 1.0;
            }
            while left > 0.0 {
                left -= 1.0;
                let begin = if spec.parallel { at_ms } else { at_ms + sum };
                let (ms, fail) = self.insist(site, begin, bug, below);
                sum += ms;
                longest = longest.max(ms);
                if let Some(fail) = fail
                    && !call.fallback
                {
                    return (if spec.parallel { longest } else { sum }, Some(fail));
                }
            }
        }
        (if spec.parallel { longest } else { sum }, None)
    }

    /// One call with its retries.
    fn insist<D: Downstream>(
        &self,
        site: Site,
        at_ms: f64,
        bug: Option<Bug>,
        below: &mut D,
    ) -> (f64, Option<Fail>) {
        let call = &self.system.operations[site.operation].calls[site.call];
        let retries = call.retries.max(self.of(site.operation).effect.retries);
        let mut spent = 0.0;
        for attempt in 0..=retries {
            below.begin(site);
            let outcome = self.attempt(site, at_ms + spent, bug, below);
            below.end(site, at_ms + spent, outcome);
            spent += outcome.ms;
            match outcome.fail {
                None => return (spent, None),
                Some(fail) if attempt == retries || fail == Fail::Invalid => {
                    let seen = match fail {
                        Fail::Timeout | Fail::Refused | Fail::Invalid | Fail::Unreadable => fail,
                        _ => Fail::Downstream,
                    };
                    return (spent, Some(seen));
                }
                Some(_) => spent += below.draw().uniform(5.0, 25.0) * f64::from(attempt + 1),
            }
        }
        (spent, None)
    }

    /// One try of one call, as the caller sees it.
    fn attempt<D: Downstream>(
        &self,
        site: Site,
        at_ms: f64,
        bug: Option<Bug>,
        below: &mut D,
    ) -> Outcome {
        let call = &self.system.operations[site.operation].calls[site.call];
        let ends = [self.of(site.operation), self.of(call.to)];
        let wire = network(below.draw(), self.system.round_trip_ms, ends);
        if matches!(bug, Some(Bug::WrongHost { .. })) {
            return failed(1.0 + below.draw().exponential(4.0), Fail::Refused);
        }
        if wire >= call.timeout_ms {
            return failed(call.timeout_ms, Fail::Timeout);
        }
        if below.draw().chance(ends[1].effect.refuse) {
            return failed(wire + below.draw().exponential(1.0), Fail::Refused);
        }
        let spoiled = match bug {
            Some(Bug::BadParameter { share, .. }) => below.draw().chance(share),
            _ => false,
        };
        let inner = below.answer(site, call.to, at_ms + wire / 2.0, spoiled);
        let ms = wire + inner.ms;
        if ms > call.timeout_ms {
            return failed(call.timeout_ms, Fail::Timeout);
        }
        let fail = match inner.fail {
            None if inner.nonsense => Some(Fail::Unreadable),
            other => other,
        };
        Outcome {
            ms,
            fail,
            nonsense: false,
        }
    }
}

/// A request that failed after so many milliseconds.
#[must_use]
pub fn failed(ms: f64, fail: Fail) -> Outcome {
    Outcome {
        ms,
        fail: Some(fail),
        nonsense: false,
    }
}
