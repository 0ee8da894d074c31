//! Where the graph has gaps: what the alert shows may go on to a service that
//! nobody is known to call.
//!
//! Followed down the calls, what the alert shows ends where no known call leads
//! on. Where the call to the culprit was never written down, that is one step
//! too early, at the service that waits for it. So what ends at a service is
//! its own or that of someone it is not known to call, and nothing tells which
//! of the two: one half is passed on. It can only go to a service that
//!
//! - nobody is known to call, and that is not above it in the graph: of others
//!   it is known who calls them;
//! - broke no later, for who waits breaks with or after whom it waits for;
//! - is hit at least as hard in its own measure: who waits has other work too,
//!   so the same seconds slow it by a smaller factor, and fewer of its requests
//!   are those that fail.

use super::place::SAME_MOMENT_MS;
use super::portrait::{Findings, Kind, onset_of};
use super::quantity::Quantity;
use super::recording::{Question, Recording};
use std::collections::{BTreeMap, BTreeSet};

type Portraits = BTreeMap<String, BTreeMap<Kind, f64>>;

/// What is passed on of what ends at a service: its own or not, nothing tells
/// which.
const PERHAPS: f64 = 0.5;

fn size(portraits: &Portraits, service: &str, kind: Kind) -> f64 {
    let portrait = portraits.get(service);
    let size = portrait.and_then(|portrait| portrait.get(&kind));
    size.copied().unwrap_or(0.0)
}

/// How hard a service is hit in its own measure, 0..1.
fn hit(portraits: &Portraits, service: &str) -> f64 {
    let slower = size(portraits, service, Kind::LatencyFactor);
    slower.max(size(portraits, service, Kind::FailureRate))
}

/// Passes on what the alert shows from where the known calls end. An alert
/// about requests is followed up the calls, and passes on nothing.
pub(super) fn pass_on(
    recording: &Recording,
    question: &Question,
    findings: &Findings,
    portraits: &mut Portraits,
) {
    if Quantity::of(&question.target_metric) == Quantity::Requests {
        return;
    }
    let before = portraits.clone();
    let graph = &findings.graph;
    // Symptom and onset of everybody whom nobody is known to call.
    let onset = |service: &str| onset_of(recording, findings, service).unwrap_or(i64::MAX);
    let uncalled: Vec<(&str, f64, i64)> = before
        .keys()
        .map(|name| (name.as_str(), hit(&before, name)))
        .filter(|(name, hit)| *hit > 0.0 && graph.callers(name).is_empty())
        .map(|(name, hit)| (name, hit, onset(name)))
        .collect();
    for service in before.keys() {
        let explains = size(&before, service, Kind::Explains);
        if explains <= 0.0 {
            continue;
        }
        let (own, until) = (
            hit(&before, service),
            onset(service).saturating_add(SAME_MOMENT_MS),
        );
        let above: BTreeSet<String> = graph
            .transitive_callers(service)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let perhaps = uncalled.iter().filter(|(name, hit, onset)| {
            *name != service && !above.contains(*name) && *hit >= own && *onset <= until
        });
        let all: f64 = perhaps.clone().map(|(_, hit, _)| hit).sum();
        for (name, hit, _) in perhaps {
            let passed = explains * PERHAPS * hit / all;
            add(portraits, service, -passed);
            add(portraits, name, passed);
        }
    }
}

fn add(portraits: &mut Portraits, service: &str, by: f64) {
    let portrait = portraits.entry(service.to_owned()).or_default();
    let known = portrait.entry(Kind::Explains).or_insert(0.0);
    *known = (*known + by).clamp(0.0, 1.0);
}

#[cfg(test)]
mod tests {
    use super::super::portrait;
    use super::super::recording::Series;
    use super::super::weigh;
    use super::*;
    use midwatch_events::topology::EdgeSource;

    /// Where the fault begins, in minutes of sixty.
    const START: i32 = 40;

    /// A reading each minute, `factor` times as high from minute `from`, which
    /// stray by a twentieth.
    fn series(service: &str, metric: &str, level: f64, factor: f64, from: i32) -> Series {
        let points = (0..60).map(|minute| {
            let strays = 1.0 + 0.05 * f64::from((minute * 7) % 5 - 2) / 2.0;
            let times = if minute >= from { factor } else { 1.0 };
            (i64::from(minute) * 60_000, level * strays * times)
        });
        Series {
            service: service.to_owned(),
            metric: metric.to_owned(),
            points: points.collect(),
            ids: Vec::new(),
        }
    }

    /// The entry calls the shop, the shop its stock; of the orders nobody wrote
    /// down who calls them. Entry and shop wait 90 ms more than the usual 60
    /// and 40; the orders take `times` as long as the usual 10 from minute
    /// `from`, and their processor is `busy` times as busy.
    fn scene(times: f64, from: i32, busy: f64) -> Recording {
        let mut recording = Recording::default();
        for (caller, callee) in [("entry", "shop"), ("shop", "stock")] {
            let source = EdgeSource::Catalogue;
            recording.topology.add_call(caller, callee, source);
        }
        for (service, level, factor, from) in [
            ("entry", 60.0, 2.5, START),
            ("shop", 40.0, 3.25, START),
            ("stock", 10.0, 1.0, START),
            ("orders", 10.0, times, from),
        ] {
            let latency = series(service, "latency_avg_ms", level, factor, from);
            let requests = series(service, "request_rate", 100.0, 1.0, START);
            let busy = if service == "orders" { busy } else { 1.0 };
            let cpu = series(service, "cpu_percent", 4.0, busy, from);
            recording.series.extend([latency, requests, cpu]);
        }
        recording
    }

    /// What of the alert ends at shop and orders, and who is charged most.
    fn ask(recording: &Recording, metric: &str) -> (f64, f64, String) {
        let question = Question {
            target: "entry".to_owned(),
            target_metric: metric.to_owned(),
            start_ms: i64::from(START) * 60_000,
            at_ms: i64::from(START + 2) * 60_000,
            end_ms: 59 * 60_000,
        };
        let findings = portrait::find(recording, &question);
        let ends = |service: &str| size(&findings.portraits, service, Kind::Explains);
        let first = weigh::charges(&findings).swap_remove(0).0;
        (ends("shop"), ends("orders"), first)
    }

    #[test]
    fn a_culprit_that_nobody_is_known_to_call_is_found_behind_its_caller() {
        let (shop, orders, first) = ask(&scene(10.0, START, 1.0), "latency_avg_ms");
        // All of it ends at the shop, which has no other callee that is slow.
        assert!((shop - 0.5).abs() < 0.02, "{shop}");
        assert!((orders - 0.5).abs() < 0.02, "{orders}");
        assert_eq!(first, "orders");
    }

    #[test]
    fn one_that_broke_later_is_waited_for_by_nobody() {
        let (shop, orders, first) = ask(&scene(10.0, START + 8, 1.0), "latency_avg_ms");
        assert!(shop > 0.9 && orders <= 0.0, "{shop} {orders}");
        assert_eq!(first, "shop");
    }

    #[test]
    fn one_that_is_merely_loud_explains_nothing() {
        // Twelve times as busy, and hardly slower: a job of its own.
        let (shop, orders, first) = ask(&scene(1.3, START, 12.0), "latency_avg_ms");
        assert!(shop > 0.9 && orders <= 0.0, "{shop} {orders}");
        assert_eq!(first, "shop");
    }

    #[test]
    fn whom_the_graph_shows_above_is_not_waited_for() {
        // Nobody is known to call the entry, and it is hit hardest, by 300 ms;
        // but it calls the shop. Thrice the shop's 90 ms are not its own: 30
        // of 120 end at the entry, and 90 at the shop.
        let mut recording = scene(1.0, START, 1.0);
        recording.series[0] = series("entry", "latency_avg_ms", 60.0, 6.0, START);
        let (shop, _, _) = ask(&recording, "latency_avg_ms");
        assert!((shop - 0.75).abs() < 0.05, "{shop}");
    }

    #[test]
    fn an_alert_about_requests_is_not_followed_down() {
        let (_, orders, _) = ask(&scene(10.0, START, 1.0), "request_rate");
        assert!(orders <= 0.0, "{orders}");
    }
}
