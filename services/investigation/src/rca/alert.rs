//! What the alert itself shows, followed along the calls.
//!
//! A fault somewhere explains an alert only as far as the services between
//! the two show it too: what the target shows is shared out among what it adds
//! itself and what the services that it calls show, and so on down. A service
//! that is in trouble beside these paths gets none of it.

use super::ledger::{self, Ledger};
use super::measured::{HALF_FAILED, HALF_SLOWED};
use super::portrait::{Findings, Kind, Note};
use super::quantity::Quantity;
use super::recording::Question;
use std::collections::BTreeMap;

/// Calls from the target to the farthest service that is followed.
const DEPTH: usize = 12;
/// A share below this is dropped, and with it what remains in a circle.
const LEAST: f64 = 1e-4;

/// Quantiles do not add up along calls, and waiting makes queues of its own:
/// so many times what its callees show is not a caller's own.
const PASSED: f64 = 3.0;
/// The share of its requests by which an alert about them has moved.
const MOVED: f64 = 0.15;
/// What whoever sends them counts where they hardly moved: more likely somebody
/// fails or is slow.
const ORIGIN: f64 = 0.5;

/// Of what the target shows in a ledger, the share that ends at each service;
/// empty where it shows nothing.
pub(super) fn shares(findings: &Findings, ledger: &Ledger, target: &str) -> BTreeMap<String, f64> {
    let shown = |service: &str| ledger.charges.get(service).map_or(0.0, |one| one.shown);
    let mut ended: BTreeMap<String, f64> = BTreeMap::new();
    if shown(target) <= 0.0 {
        return ended;
    }
    let mut level: BTreeMap<&str, f64> = BTreeMap::from([(target, 1.0)]);
    for _ in 0..DEPTH {
        let mut next: BTreeMap<&str, f64> = BTreeMap::new();
        for (service, amount) in level {
            let from: Vec<(&str, f64)> = findings
                .graph
                .callees(service)
                .into_iter()
                .filter(|callee| *callee != service)
                .map(|callee| {
                    let part = ledger::part(&findings.graph, &findings.rates, service, callee);
                    (callee, shown(callee) * part)
                })
                .filter(|(_, theirs)| *theirs > 0.0)
                .collect();
            let theirs: f64 = from.iter().map(|(_, theirs)| theirs).sum();
            let own = (shown(service) - theirs * PASSED).max(0.0);
            let all = own + theirs;
            let kept = if all > 0.0 { own / all } else { 1.0 };
            *ended.entry(service.to_owned()).or_default() += amount * kept;
            for (callee, theirs) in from {
                let share = amount * theirs / all;
                if share > LEAST {
                    *next.entry(callee).or_default() += share;
                }
            }
        }
        level = next;
    }
    for (service, amount) in level {
        *ended.entry(service.to_owned()).or_default() += amount;
    }
    ended
}

/// Where a change of requests comes from: up from the target along the callers
/// whose requests changed at least half as much, in the same direction.
fn origin<'a>(findings: &'a Findings, target: &'a str) -> &'a str {
    let moved = |service: &str| match findings.rates.get(service) {
        Some((before, after)) if *before > 0.0 => (after.max(1e-9) / before).ln(),
        _ => 0.0,
    };
    let mut here = target;
    for _ in 0..DEPTH {
        let own = moved(here);
        let above = findings
            .graph
            .callers(here)
            .into_iter()
            .filter(|caller| own != 0.0 && moved(caller) / own >= 0.5)
            .max_by(|one, other| (moved(one) / own).total_cmp(&(moved(other) / own)));
        match above {
            Some(caller) if caller != here => here = caller,
            _ => break,
        }
    }
    here
}

/// Notes the shares, by the ledgers that most services keep: those of the
/// quantity that the alert is about, where it is about one of the two.
pub(super) fn by_alert(findings: &Findings, question: &Question, note: &mut Note<'_>) {
    if findings.graph.edges().next().is_none() {
        return;
    }
    let about = Quantity::of(&question.target_metric);
    let is_failure = about.is_failure();
    if about == Quantity::Requests {
        let rate = findings.rates.get(&question.target);
        let moved =
            rate.is_some_and(|(before, after)| (after - before).abs() > MOVED * before.max(1e-9));
        let origin = origin(findings, &question.target);
        if moved {
            note(origin, Kind::Explains, 1.0);
            return;
        }
        note(origin, Kind::Explains, ORIGIN);
    }
    let both = !is_failure && about != Quantity::Latency;
    let mut sides = Vec::new();
    if is_failure || both {
        sides.push((&findings.failures, HALF_FAILED));
    }
    if !is_failure {
        sides.push((&findings.seconds, HALF_SLOWED));
    }
    for (ledgers, half) in sides {
        let most = ledgers.iter().map(|one| one.charges.len()).max();
        for one in ledgers.iter().filter(|one| Some(one.charges.len()) == most) {
            let grave = match one.charges.get(&question.target) {
                // Nobody said that this moved.
                Some(target) if both => target.shown / (target.shown + half * target.usual),
                _ => 1.0,
            };
            for (service, share) in shares(findings, one, &question.target) {
                note(&service, Kind::Explains, share * grave);
            }
        }
    }
}
