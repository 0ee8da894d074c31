//! Where a change of requests begins, and whom it only passes through.
//!
//! Requests are passed on along the calls, never back: a service that gets
//! more of them because its callers do is as busy as it should be, and what it
//! shows for it is theirs. So growth is followed up the calls to the service
//! that no caller explains. There somebody sends more, or its caller asks more
//! often for every request of its own. The latter shows in the caller's
//! latency: who asks as often as before is slowed by a smaller factor than
//! whom it waits for, because it does other work, too.

use super::change::Change;
use super::portrait::Findings;
use super::quantity::Quantity;
use super::recording::{Question, Recording};
use std::collections::{BTreeMap, BTreeSet};

/// Requests that grew by less than this share did not grow.
const GROWN: f64 = 0.3;
/// Requests that fell to more than this share did not fall.
const FALLEN: f64 = 0.6;
/// How soon requests that left their range did so for a reason: at half of
/// their normal reach beyond it, more likely than not.
const SURE: f64 = 1.2;
/// How often a request that fails is tried again, at most, by a caller in its
/// senses.
const TRIES: i32 = 3;
/// A latency that grew by less than this share, or a tenth of it of requests
/// that fail, is harm to nobody.
const HARMED: f64 = 0.2;
/// A caller waits this many times as long as usual before it tries again.
const PATIENT: f64 = 2.0;
/// The part of the largest growth, as a logarithm, from which on the alert's
/// own service grew as much as any.
const AS_MUCH: f64 = 0.8;

/// Where a change of requests begins and what it brings about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// How much of the requests that such a service gets or sends begins with
    /// it, 0..1.
    pub origins: BTreeMap<String, f64>,
    /// The part of a service's requests that another one brought about, or
    /// holds back, 0..1.
    pub driven: BTreeMap<String, f64>,
}

/// What is known of the requests of one service.
#[derive(Clone, Copy, Debug)]
struct Rate {
    /// Requests since, per request before; 1 where the difference is chance.
    factor: f64,
    /// How sure that is, 0..1.
    sure: f64,
}

/// How many times longer a service takes, and which part of its requests
/// fails newly.
#[derive(Clone, Copy, Debug)]
struct Pain {
    slower: f64,
    failing: f64,
}

const NO_PAIN: Pain = Pain {
    slower: 1.0,
    failing: 0.0,
};

struct View<'a> {
    findings: &'a Findings,
    rates: BTreeMap<&'a str, Rate>,
    pains: BTreeMap<&'a str, Pain>,
}

impl<'a> View<'a> {
    fn of(recording: &'a Recording, question: &Question, findings: &'a Findings) -> View<'a> {
        let is_about = Quantity::of(&question.target_metric) == Quantity::Requests;
        let mut before: BTreeMap<&str, f64> = BTreeMap::new();
        let mut rates: BTreeMap<&str, Rate> = BTreeMap::new();
        let mut pains: BTreeMap<&str, Pain> = BTreeMap::new();
        for one in &findings.changed {
            let service = recording.series[one.series].service.as_str();
            let Some(change) = &one.change else {
                continue;
            };
            if one.quantity == Quantity::Requests {
                let known = before.entry(service).or_insert(0.0);
                if *known < change.means.0 {
                    *known = change.means.0;
                    rates.insert(
                        service,
                        rate(change, is_about && service == question.target),
                    );
                }
                continue;
            }
            if change.surprise <= 0.0 {
                continue;
            }
            let pain = pains.entry(service).or_insert(NO_PAIN);
            let requests = findings.rates.get(service).map_or(1.0, |rate| rate.1);
            let failing = match one.quantity {
                Quantity::Latency if change.means.0 > 0.0 => {
                    pain.slower = pain.slower.max(change.means.1 / change.means.0);
                    continue;
                }
                Quantity::Errors => change.by() / requests.max(1e-9),
                Quantity::ErrorRate => one.share(change.by()),
                Quantity::Availability => -one.share(change.by()),
                _ => continue,
            };
            pain.failing = pain.failing.max(failing.clamp(0.0, 1.0));
        }
        View {
            findings,
            rates,
            pains,
        }
    }

    fn factor(&self, service: &str) -> f64 {
        self.rates.get(service).map_or(1.0, |rate| rate.factor)
    }

    fn pain(&self, service: &str) -> Pain {
        self.pains.get(service).copied().unwrap_or(NO_PAIN)
    }

    /// Who calls a service and counts its own requests.
    fn callers(&self, service: &str) -> Vec<&'a str> {
        let callers = self.findings.graph.callers(service).into_iter();
        callers
            .filter(|name| *name != service)
            .filter_map(|name| self.rates.get_key_value(name).map(|(name, _)| *name))
            .collect()
    }

    fn suffers(&self, service: &str) -> bool {
        let pain = self.pain(service);
        pain.slower >= 1.0 + HARMED || pain.failing >= HARMED / 10.0
    }

    /// Whether more requests for a service harm the alert's own: one that gets
    /// them, or gets more for it, does not keep up and is that or is called by it.
    fn harms(&self, target: &str, service: &str) -> bool {
        let graph = &self.findings.graph;
        let waits = graph.transitive_callees(target);
        let is_waited_for = |name: &str| name == target || waits.iter().any(|(one, _)| one == name);
        let below = graph.transitive_callees(service);
        let mut loaded = below.iter().map(|(name, _)| name.as_str());
        let is_harm = |name: &str| self.suffers(name) && is_waited_for(name);
        is_harm(service) || loaded.any(|name| self.factor(name) >= 1.0 + GROWN && is_harm(name))
    }

    /// Whether what a service without known callers gets came with what the
    /// alert's own service gets, from somebody who calls both.
    fn came_through(&self, target: &str, service: &str) -> bool {
        let has_none = |name: &str| self.findings.graph.callers(name).is_empty();
        service != target
            && has_none(service)
            && has_none(target)
            && self.factor(target).ln() >= AS_MUCH * self.factor(service).ln()
    }

    /// How many times as many requests those make that fail, or that take
    /// several times as long, each tried again.
    fn tried_again(&self, service: &str, callers: &[&str]) -> f64 {
        let own = self.pain(service);
        let timed_out = if callers.is_empty() {
            0.0
        } else {
            (1.0 - PATIENT / own.slower).max(0.0)
        };
        let failing = callers.iter().map(|name| self.pain(name).failing);
        let failing = failing.fold(own.failing.max(timed_out), f64::max);
        (0..=TRIES).map(|times| failing.powi(times)).sum()
    }
}

/// `is_told` where somebody raised an alert about these very requests.
fn rate(change: &Change, is_told: bool) -> Rate {
    let (before, after) = change.means;
    let factor = after.max(0.0) / before.max(1e-9);
    let is_sure = change.surprise > 0.0 && before > 0.0;
    Rate {
        factor: if is_sure { factor } else { 1.0 },
        sure: if is_told {
            1.0
        } else {
            1.0 - (-change.surprise * SURE).exp()
        },
    }
}

impl Load {
    fn begin(&mut self, service: &str, size: f64) {
        let known = self.origins.entry(service.to_owned()).or_insert(0.0);
        *known = known.max(size.clamp(0.0, 1.0));
    }

    fn drive(&mut self, service: &str, size: f64) {
        let known = self.driven.entry(service.to_owned()).or_insert(0.0);
        *known = known.max(size.clamp(0.0, 1.0));
    }
}

/// A change of requests that nobody's requests explain.
struct Beginning<'a> {
    /// Where it begins.
    service: &'a str,
    /// Who gets the requests: itself, or whom it calls more often.
    via: &'a str,
    /// 0..1.
    size: f64,
}

/// Follows every change of requests to where it begins.
#[must_use]
pub fn read(recording: &Recording, question: &Question, findings: &Findings) -> Load {
    let view = View::of(recording, question, findings);
    let target = question.target.as_str();
    let mut load = Load::default();
    if findings.graph.edges().next().is_none() {
        without_graph(&view, target, &mut load);
        return load;
    }
    let beginnings = view.rates.iter().filter_map(|(service, rate)| {
        if rate.factor >= 1.0 + GROWN {
            grown(&view, target, service, *rate)
        } else if rate.factor <= FALLEN {
            fallen(&view, target, service, *rate)
        } else {
            None
        }
    });
    let mut beginnings: Vec<Beginning<'_>> = beginnings.collect();
    beginnings.extend(asked_more(&view));
    // One fault is likelier than several at a time.
    let all: f64 = beginnings.iter().map(|one| one.size).sum();
    for one in &beginnings {
        load.begin(one.service, one.size * one.size / all.max(1e-9));
        if one.via != one.service {
            load.drive(one.via, one.size);
        }
        drive_below(&view, one, &mut load);
    }
    load
}

/// Those below whose requests changed with it, in the same direction.
fn drive_below(view: &View<'_>, from: &Beginning<'_>, load: &mut Load) {
    let most = view.factor(from.via).max(1e-9).ln();
    if most == 0.0 {
        return;
    }
    let mut open = vec![from.via];
    let mut seen = BTreeSet::from([from.service, from.via]);
    while let Some(here) = open.pop() {
        for callee in view.findings.graph.callees(here) {
            let part = view.factor(callee).max(1e-9).ln() / most;
            if part > 0.0 && seen.insert(callee) {
                load.drive(callee, from.size * part.min(1.0));
                open.push(callee);
            }
        }
    }
}

/// Whom spans show to make more calls for each request than before.
fn asked_more<'a>(view: &View<'a>) -> Vec<Beginning<'a>> {
    let mut most: BTreeMap<(&str, &str), f64> = BTreeMap::new();
    for (service, spoken) in &view.findings.traces.services {
        for pattern in &spoken.pattern {
            if pattern.callee == *service || pattern.before <= 0.0 {
                continue;
            }
            let left = pattern.after / pattern.before;
            let left = left / view.tried_again(&pattern.callee, &[service]);
            let known = most.entry((service, &pattern.callee)).or_insert(1.0);
            *known = known.max(left);
        }
    }
    most.into_iter()
        .filter(|(_, left)| *left >= 1.0 + GROWN)
        .map(|((service, via), left)| Beginning {
            service,
            via,
            size: 1.0 - 1.0 / left,
        })
        .collect()
}

fn grown<'a>(view: &View<'a>, target: &str, service: &'a str, rate: Rate) -> Option<Beginning<'a>> {
    let callers = view.callers(service);
    let passed = callers.iter().map(|name| view.factor(name));
    let passed = passed.fold(1.0, f64::max);
    let left = rate.factor / (passed * view.tried_again(service, &callers));
    if left < 1.0 + GROWN || view.came_through(target, service) {
        return None;
    }
    if rate.sure < 1.0 && !view.harms(target, service) {
        return None;
    }
    let slowest = callers
        .into_iter()
        .map(|name| (view.pain(name).slower, name))
        .max_by(|one, other| one.0.total_cmp(&other.0));
    let begins = match slowest {
        Some((slower, caller)) if slower > view.pain(service).slower => caller,
        _ => service,
    };
    Some(Beginning {
        service: begins,
        via: service,
        size: (1.0 - 1.0 / left) * rate.sure,
    })
}

/// Fewer requests come from who waits longer for each, and from who gives up;
/// only what is left of the loss then begins here.
fn lost(view: &View<'_>, service: &str, rate: Rate) -> f64 {
    let pain = view.pain(service);
    (1.0 - rate.factor * pain.slower - pain.failing).max(0.0) * rate.sure
}

fn fallen<'a>(
    view: &View<'a>,
    target: &str,
    service: &'a str,
    rate: Rate,
) -> Option<Beginning<'a>> {
    // Elsewhere somebody lost them on the way.
    let is_above = service == target
        || view
            .findings
            .graph
            .transitive_callers(target)
            .iter()
            .any(|(name, _)| name == service);
    let size = lost(view, service, rate);
    (is_above && size > 0.0 && view.findings.graph.callers(service).is_empty()).then_some(
        Beginning {
            service,
            via: service,
            size,
        },
    )
}

/// Where nothing tells who calls whom, requests that changed with the alert's
/// own as much as anybody's came through it; others begin where they changed
/// most, or with whoever got no more and is slowed by more than those that did.
fn without_graph(view: &View<'_>, target: &str, load: &mut Load) {
    let by_factor = |one: &&&str, other: &&&str| view.factor(one).total_cmp(&view.factor(other));
    let all = || view.rates.keys();
    let (Some(most), Some(least)) = (all().max_by(by_factor), all().min_by(by_factor)) else {
        return;
    };
    let (most, least): (&str, &str) = (most, least);
    let own = view.factor(target);
    if view.factor(most) >= 1.0 + GROWN {
        let is_grown = |name: &str| view.factor(name) >= 1.0 + GROWN;
        let slower = |is: bool| {
            let names = view.pains.keys().filter(|name| is_grown(name) == is);
            names
                .map(|name| (view.pain(name).slower, *name))
                .max_by(|one, other| one.0.total_cmp(&other.0))
                .unwrap_or((1.0, most))
        };
        let left = view.factor(most) / view.tried_again(most, &all().copied().collect::<Vec<_>>());
        let begins = if own.ln() >= AS_MUCH * view.factor(most).ln() {
            target
        } else if slower(false).0 > slower(true).0 {
            slower(false).1
        } else {
            most
        };
        if left >= 1.0 + GROWN {
            load.begin(begins, (1.0 - 1.0 / left) * view.rates[most].sure);
            for name in all().filter(|name| is_grown(name) && **name != begins) {
                load.drive(name, 1.0 - 1.0 / view.factor(name));
            }
        }
    }
    if own <= FALLEN && own.max(1e-9).ln() <= AS_MUCH * view.factor(least).max(1e-9).ln() {
        let size = lost(view, target, view.rates[target]);
        load.begin(target, size);
        for name in all().filter(|name| view.factor(name) <= FALLEN && **name != target) {
            load.drive(name, size * (1.0 - view.factor(name)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::portrait;
    use super::super::recording::Series;
    use super::*;
    use midwatch_events::topology::EdgeSource;

    /// 60 readings each minute, the last 10 of them `factor` times the others,
    /// which stray by a twentieth.
    fn series(service: &str, metric: &str, level: f64, factor: f64) -> Series {
        let points = (0..60).map(|minute| {
            let strays = 1.0 + 0.05 * f64::from((minute * 7) % 5 - 2) / 2.0;
            let times = if minute >= 50 { factor } else { 1.0 };
            (i64::from(minute) * 60_000, level * strays * times)
        });
        Series {
            service: service.to_owned(),
            metric: metric.to_owned(),
            points: points.collect(),
            ids: Vec::new(),
        }
    }

    /// Service, factor of its requests, factor of its latency.
    fn load(services: &[(&str, f64, f64)], calls: &[(&str, &str)], about: &str) -> Load {
        let mut recording = Recording::default();
        for (service, requests, latency) in services {
            let rate = series(service, "requests_per_second", 100.0, *requests);
            let mean = series(service, "latency_ms", 20.0, *latency);
            recording.series.extend([rate, mean]);
        }
        for (caller, callee) in calls {
            let source = EdgeSource::Catalogue;
            recording.topology.add_call(caller, callee, source);
        }
        let question = Question {
            target: "shop".to_owned(),
            target_metric: about.to_owned(),
            start_ms: 50 * 60_000,
            at_ms: 52 * 60_000,
            end_ms: 59 * 60_000,
        };
        portrait::find(&recording, &question).load
    }

    const CALLS: &[(&str, &str)] = &[("shop", "cart"), ("cart", "store")];

    #[test]
    fn more_requests_begin_at_the_entry_and_drive_what_it_calls() {
        let services = [("shop", 4.0, 1.5), ("cart", 4.0, 1.5), ("store", 4.0, 3.0)];
        let load = load(&services, CALLS, "latency_ms");
        assert_eq!(load.origins.keys().collect::<Vec<_>>(), ["shop"]);
        assert_eq!(load.driven.keys().collect::<Vec<_>>(), ["cart", "store"]);
        // Three of four requests are new, and that is hardly chance.
        assert!((0.7..=0.75).contains(&load.origins["shop"]), "{load:?}");
    }

    #[test]
    fn a_caller_that_is_slowed_by_more_than_its_callee_asks_more_often() {
        let services = [("shop", 1.0, 4.0), ("cart", 1.0, 9.0), ("store", 9.0, 1.4)];
        let load = load(&services, CALLS, "latency_ms");
        assert_eq!(load.origins.keys().collect::<Vec<_>>(), ["cart"]);
        assert_eq!(load.driven.keys().collect::<Vec<_>>(), ["store"]);
    }

    #[test]
    fn a_callee_that_gets_more_and_slows_its_callers_is_where_they_come_in() {
        let services = [("shop", 1.0, 1.5), ("cart", 6.0, 3.0), ("store", 6.0, 1.4)];
        let load = load(&services, CALLS, "latency_ms");
        assert_eq!(load.origins.keys().collect::<Vec<_>>(), ["cart"]);
        assert_eq!(load.driven.keys().collect::<Vec<_>>(), ["store"]);
    }

    #[test]
    fn requests_that_are_tried_again_begin_nowhere() {
        // Thirty times as slow: each times out and is sent three times.
        let services = [("shop", 1.0, 9.0), ("cart", 1.0, 9.0), ("store", 3.0, 30.0)];
        assert_eq!(load(&services, CALLS, "latency_ms"), Load::default());
    }

    #[test]
    fn who_waits_asks_less_and_that_is_no_loss() {
        let services = [("shop", 0.3, 4.0), ("cart", 0.3, 4.0), ("store", 0.3, 4.0)];
        assert_eq!(load(&services, CALLS, "latency_ms"), Load::default());
        let services = [("shop", 0.3, 1.0), ("cart", 0.3, 1.0), ("store", 0.3, 1.0)];
        let lost = load(&services, CALLS, "requests_per_second");
        assert_eq!(lost.origins.keys().collect::<Vec<_>>(), ["shop"]);
    }

    #[test]
    fn without_a_graph_what_came_with_the_alert_came_through_its_service() {
        let services = [("shop", 4.0, 1.5), ("cart", 4.0, 1.5), ("store", 4.0, 3.0)];
        let together = load(&services, &[], "latency_ms");
        assert_eq!(together.origins.keys().collect::<Vec<_>>(), ["shop"]);
        let services = [("shop", 1.0, 1.2), ("cart", 1.0, 6.0), ("store", 9.0, 1.4)];
        let alone = load(&services, &[], "latency_ms");
        assert_eq!(alone.origins.keys().collect::<Vec<_>>(), ["cart"]);
    }
}
