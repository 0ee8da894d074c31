//! The judgement of trials in words, 80 columns wide.
//!
//! Columns: `inc` incidents; `1:1` trials with one incident per fault, or
//! controls without a conclusive incident; `svc` the right service first,
//! `top-1` and `top-3` the right service and cause; `rca` simulated time from a
//! fault's start to the first answer, median and nine tenths; `lured` herrings
//! ranked first, and those that were told as an incident of their own.

use crate::report::{put, seconds, wrapped};
use crate::trials::{Said, Sums, TrialRow, TrialSummary};

/// Complaints that are listed.
const LISTED: usize = 40;

/// One incident per fault in this part of the runs at least.
pub const ONE_EACH: f64 = 0.95;
/// The right cause first for this part of the faults at least.
pub const FIRST: f64 = 0.90;
/// A herring first in this part of its runs at most.
pub const LURED: f64 = 0.05;

/// What went wrong in a trial.
#[must_use]
pub fn trial_complaints(row: &TrialRow) -> Vec<String> {
    let mut list = Vec::new();
    let head = format!("seed {} {}", row.seed, row.trial);
    for said in &row.faults {
        let fault = format!("{head}: {} on {}", said.scenario, said.service);
        if let Some(words) = shortcoming(said, row) {
            list.push(format!("{fault}: {words}"));
        }
        if said.duplicates > 0 {
            list.push(format!("{fault}: {} further incidents", said.duplicates));
        }
    }
    if row.story != "control" || !row.quiet {
        let others = row.others.iter();
        list.extend(others.map(|other| format!("{head}: other incident {other}")));
    }
    if let (Some(herring), true) = (&row.herring, row.herring_first) {
        list.push(format!("{head}: fell for the herring on {herring}"));
    }
    list
}

fn shortcoming(said: &Said, row: &TrialRow) -> Option<String> {
    let Some(incident) = &said.incident else {
        return Some("no incident of its own".to_owned());
    };
    if said.first {
        return None;
    }
    let decision = row.decisions.iter().find(|one| one.incident == *incident)?;
    let first: Vec<String> = decision
        .ranking
        .iter()
        .zip(&decision.causes)
        .zip(&decision.confidences)
        .take(3)
        .map(|((service, cause), confidence)| format!("{service} {cause} {confidence:.2}"))
        .collect();
    Some(format!("ranked {}", first.join(" > ")))
}

/// The sums, the targets and what went wrong.
#[must_use]
pub fn trial_words(rows: &[TrialRow], summary: &TrialSummary) -> String {
    let mut text = String::new();
    head(&mut text, "trial");
    for (name, sums) in &summary.trials {
        line(&mut text, name, sums);
    }
    head(&mut text, "scenario");
    for (name, sums) in &summary.scenarios {
        line(&mut text, name, sums);
    }
    targets(&mut text, summary);
    let complaints: Vec<String> = rows.iter().flat_map(trial_complaints).collect();
    for complaint in complaints.iter().take(LISTED) {
        text.push_str(&wrapped("! ", complaint));
    }
    if complaints.len() > LISTED {
        let more = complaints.len() - LISTED;
        put(
            &mut text,
            format_args!("! and {more} more, which --json shows"),
        );
    }
    text
}

fn head(text: &mut String, name: &str) {
    put(
        text,
        format_args!(
            "{name:<24} {:>4} {:>5} {:>4} {:>4} {:>4} {:>5} {:>5} {:>5} {:>5} {:>5}",
            "runs", "fault", "inc", "1:1", "svc", "top-1", "top-3", "rca", "p90", "lured"
        ),
    );
}

fn line(text: &mut String, name: &str, sums: &Sums) {
    let of = |count: u32, of: u32| {
        if of > 0 {
            count.to_string()
        } else {
            "-".to_owned()
        }
    };
    put(
        text,
        format_args!(
            "{name:<24} {:>4} {:>5} {:>4} {:>4} {:>4} {:>5} {:>5} {:>5} {:>5} {:>5}",
            of(sums.runs, sums.runs),
            sums.faults,
            sums.incidents,
            of(sums.as_they_should_be, sums.runs),
            of(sums.first_service, sums.faults),
            of(sums.first, sums.faults),
            of(sums.in_three, sums.faults),
            seconds(sums.decided_median_ms),
            seconds(sums.decided_p90_ms),
            if sums.herrings > 0 {
                format!("{}+{}", sums.herring_first, sums.herring_told)
            } else {
                "-".to_owned()
            }
        ),
    );
}

fn share(part: u32, of: u32) -> f64 {
    f64::from(part) / f64::from(of.max(1))
}

/// Whether so many of a number are fewer than this share of it. One is let
/// pass: few trials could not have one that goes wrong otherwise.
fn falls_short(part: u32, of: u32, wanted: f64) -> bool {
    share(part, of) < wanted && of - part > 1
}

fn targets(text: &mut String, summary: &TrialSummary) {
    let (faulty, controls) = (&summary.faulty, &summary.controls);
    let mut say = |name: &str, part: u32, of: u32, wanted: &str| {
        if of > 0 {
            let percent = 100.0 * share(part, of);
            put(
                text,
                format_args!("{name:<24} {part} of {of} ({percent:.1} %; {wanted})"),
            );
        }
    };
    say(
        "one incident per fault",
        faulty.as_they_should_be,
        faulty.runs,
        "95 % of runs are wanted",
    );
    say(
        "right cause first",
        faulty.first,
        faulty.faults,
        "90 % are wanted",
    );
    say(
        "right service first",
        faulty.first_service,
        faulty.faults,
        "beside it",
    );
    say(
        "right cause in three",
        faulty.in_three,
        faulty.faults,
        "beside it",
    );
    say(
        "red herring first",
        faulty.herring_first,
        faulty.herrings,
        "at most 5 %",
    );
    say(
        "quiet controls",
        controls.as_they_should_be,
        controls.runs,
        "all are wanted",
    );
}

/// Which targets were missed.
#[must_use]
pub fn missed_targets(summary: &TrialSummary) -> Vec<String> {
    let (faulty, controls) = (&summary.faulty, &summary.controls);
    let mut found = Vec::new();
    let mut miss = |is: bool, words: String| found.extend(is.then_some(words));
    miss(
        falls_short(faulty.as_they_should_be, faulty.runs, ONE_EACH),
        format!(
            "one incident per fault in {} of {} trials",
            faulty.as_they_should_be, faulty.runs
        ),
    );
    miss(
        falls_short(faulty.first, faulty.faults, FIRST),
        format!(
            "the right cause first for {} of {} faults",
            faulty.first, faulty.faults
        ),
    );
    let not_lured = faulty.herrings - faulty.herring_first;
    miss(
        falls_short(not_lured, faulty.herrings, 1.0 - LURED),
        format!(
            "a red herring first in {} of {} trials",
            faulty.herring_first, faulty.herrings
        ),
    );
    miss(
        controls.as_they_should_be < controls.runs,
        format!(
            "{} of {} controls quiet",
            controls.as_they_should_be, controls.runs
        ),
    );
    found
}
