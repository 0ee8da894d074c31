//! Faults in code: which operation and which call they sit in.

use crate::draw::Draw;
use crate::effect::{Bug, Plant};
use crate::family::{Family, between, bug};
use crate::graph::System;

/// The plants of a code fault, one for each operation that it sits in.
pub(crate) fn plants(
    family: Family,
    draw: &mut Draw,
    system: &System,
    service: usize,
    severity: f64,
    onset_ms: f64,
) -> Vec<Plant> {
    let rates = system.normal_rates();
    let share = between(severity, 0.15, 1.0);
    let mut busy: Vec<usize> = system.services[service]
        .operations
        .iter()
        .copied()
        .filter(|index| {
            family == Family::UnhandledException
                || family == Family::WrongValue
                || !system.operations[*index].calls.is_empty()
        })
        .collect();
    busy.sort_by(|one, other| rates[*other].total_cmp(&rates[*one]));
    // Mostly the busiest operation; a bug in a rare one hardly shows.
    let operation = if draw.chance(0.7) || busy.len() < 2 {
        busy[0]
    } else {
        draw.pick(&busy)
    };
    let call = site(draw, system, operation);
    let planted = match family {
        Family::UnhandledException => Bug::Throws { operation, share },
        Family::WrongParameter => Bug::BadParameter {
            operation,
            call,
            share,
        },
        Family::Misconfiguration => Bug::WrongHost { operation, call },
        Family::MissingCall => missing(draw, system, operation, call),
        _ => Bug::BadValue { operation, share },
    };
    vec![bug(service, planted, onset_ms)]
}

/// A call to another service, or a function of the operation itself.
fn missing(draw: &mut Draw, system: &System, operation: usize, call: usize) -> Bug {
    let steps = system.operations[operation].steps.len();
    if steps > 0 && draw.chance(0.5) {
        Bug::Skips {
            operation,
            step: draw.int(0, steps - 1),
        }
    } else {
        Bug::Forgets { operation, call }
    }
}

/// A call of an operation, preferring one that is made every time.
pub(crate) fn site(draw: &mut Draw, system: &System, operation: usize) -> usize {
    let calls = &system.operations[operation].calls;
    if calls.is_empty() {
        return 0;
    }
    let always: Vec<usize> = (0..calls.len())
        .filter(|index| calls[*index].times >= 0.8 && !calls[*index].fallback)
        .collect();
    if always.is_empty() {
        draw.int(0, calls.len() - 1)
    } else {
        draw.pick(&always)
    }
}
