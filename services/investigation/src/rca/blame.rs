//! Whom the complaints in logs are about.
//!
//! A complaint travels: who cannot use an answer fails, and its caller cannot
//! use that one either. So a complaint about a service that complains alike is
//! mostly about what that one was told. Bad answers are charged to the last
//! service that gave one and has none to complain of; refused requests to the
//! last that sent one and had none refused on its behalf.

use super::lines::{Kind as Told, Template};
use super::portrait::Findings;
use super::recording::Recording;
use super::wording::complains;
use std::collections::{BTreeMap, BTreeSet};

/// What a complaint about an answer or a refusal counts where whoever it is
/// about complains alike.
const PASSED_ON: f64 = 0.1;
/// The same for answers that did not come: both may be gone.
const BOTH_GONE: f64 = 0.5;
/// Addresses that are told apart; a fleet of 50 services has fewer.
const ADDRESSES: usize = 2_000;

/// Who is accused, of what, by whom.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Blames {
    /// Weight of the complaints about each service.
    pub accused: BTreeMap<String, f64>,
    /// The complaints: writer, and index of its template.
    pub told: BTreeMap<String, Vec<(String, usize)>>,
    /// Weight of the refusals that each service brought upon itself.
    pub refused: BTreeMap<String, f64>,
    /// Failures that one service counts and another one causes.
    pub caused: BTreeSet<(String, String)>,
}

/// Who mentions each address in complaints.
fn addresses(recording: &Recording) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in &recording.lines {
        if !complains(line, line.level) {
            continue;
        }
        if let Some(address) = address(&line.message)
            && (found.len() < ADDRESSES || found.contains_key(address))
        {
            found.entry(address).or_default().insert(&line.service);
        }
    }
    found
}

/// The first IPv4 address in a line, without its port.
fn address(message: &str) -> Option<&str> {
    message
        .split(|letter: char| !(letter.is_ascii_digit() || letter == '.'))
        .map(|word| word.trim_matches('.'))
        .find(|word| {
            let mut parts = 0;
            let fits = word.split('.').all(|part| {
                parts += 1;
                part.parse::<u8>().is_ok()
            });
            fits && parts == 4
        })
}

/// Reads the complaints of every service against the graph.
#[must_use]
pub fn read(recording: &Recording, findings: &Findings) -> Blames {
    let addresses = addresses(recording);
    let mut blames = Blames::default();
    for (service, told) in &findings.lines {
        for (index, template) in told.templates.iter().enumerate() {
            let about = about(findings, &addresses, service, template);
            match template.kind {
                Told::Refused => refused(findings, service, template, &about, &mut blames),
                Told::Blame | Told::BadAnswer | Told::BadRequest => {
                    accuse(findings, service, index, template, &about, &mut blames);
                }
                _ => {}
            }
        }
    }
    blames
}

/// Whom a complaint may be about: who is named, else who is called by
/// everyone that names the address, else everyone it may be.
fn about<'a>(
    findings: &'a Findings,
    addresses: &BTreeMap<&str, BTreeSet<&str>>,
    service: &str,
    template: &'a Template,
) -> Vec<&'a str> {
    if template.kind == Told::BadRequest {
        return findings.graph.callers(service);
    }
    let named: Vec<&str> = template.names.iter().map(String::as_str).collect();
    if !named.is_empty() {
        return named;
    }
    let mut callees = findings.graph.callees(service);
    let Some(address) = address(&template.message) else {
        return match template.kind {
            Told::Blame => Vec::new(),
            _ => callees,
        };
    };
    for other in addresses.get(address).into_iter().flatten() {
        let theirs = findings.graph.callees(other);
        let shared = callees.iter().copied().filter(|name| theirs.contains(name));
        let shared: Vec<&str> = shared.collect();
        if !shared.is_empty() {
            callees = shared;
        }
    }
    callees
}

fn says(findings: &Findings, service: &str, kind: Told) -> bool {
    findings
        .lines
        .get(service)
        .is_some_and(|told| told.templates.iter().any(|one| one.kind == kind))
}

/// A request that was refused: its sender is to blame, unless whoever refused
/// it only passes on a refusal of its own.
fn refused(
    findings: &Findings,
    service: &str,
    template: &Template,
    about: &[&str],
    blames: &mut Blames,
) {
    let passes = about.iter().any(|name| says(findings, name, Told::Refused));
    let weight = template.weight * if passes { PASSED_ON } else { 1.0 };
    *blames.refused.entry(service.to_owned()).or_default() += weight;
    if passes {
        return;
    }
    for name in about {
        if about.len() == 1 || says(findings, name, Told::BadRequest) {
            let pair = ((*name).to_owned(), service.to_owned());
            blames.caused.insert(pair);
        }
    }
}

fn accuse(
    findings: &Findings,
    service: &str,
    index: usize,
    template: &Template,
    about: &[&str],
    blames: &mut Blames,
) {
    let is_request = template.kind == Told::BadRequest;
    // Who had requests refused is who sent them.
    let sent: Vec<&str> = about
        .iter()
        .copied()
        .filter(|name| is_request && says(findings, name, Told::Refused))
        .collect();
    let about = if sent.is_empty() { about } else { &sent };
    let passes = match template.kind {
        Told::BadAnswer => about
            .iter()
            .any(|name| says(findings, name, Told::BadAnswer)),
        Told::Blame => about.iter().all(|name| says(findings, name, Told::Blame)),
        _ => false,
    };
    let part = match (passes, template.kind) {
        (false, _) => 1.0,
        (true, Told::Blame) => BOTH_GONE,
        (true, _) => PASSED_ON,
    };
    #[expect(clippy::cast_precision_loss, reason = "a few services")]
    let each = part * template.weight / about.len().max(1) as f64;
    for name in about {
        *blames.accused.entry((*name).to_owned()).or_default() += each;
        let told = blames.told.entry((*name).to_owned()).or_default();
        told.push((service.to_owned(), index));
        let is_sure = about.len() == 1 && !passes && template.kind == Told::BadAnswer;
        if is_sure || !sent.is_empty() {
            let pair = (service.to_owned(), (*name).to_owned());
            blames.caused.insert(pair);
        }
    }
}
