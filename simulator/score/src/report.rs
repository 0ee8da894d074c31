//! The judgement of one run in words: a table of 80 columns.
//!
//! Columns of the table
//!
//! | column | meaning |
//! |---|---|
//! | scenario, service | what was injected, and where |
//! | inc | incidents that belong to the fault; more than one are duplicates, 0 is a missed fault |
//! | seen | simulated seconds from the fault's start to the first anomaly of its incident |
//! | open | the same, to the announcement |
//! | 1st | `yes`: the first candidate of the newest answer is the fault's service |
//! | type | `yes`: the incident is named after the fault's scenario |
//! | mail | distinct mails about its incidents; `-` where the run sends none |
//! | end | `yes`: the incident was resolved |

use crate::judge::{Judgement, Row};
use std::fmt::Write as _;

/// Characters of a line: what a terminal shows at least.
pub const WIDTH: usize = 80;

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "NO" }
}

pub(crate) fn seconds(ms: Option<i64>) -> String {
    ms.map_or_else(|| "-".to_owned(), |ms| format!("{}s", ms / 1_000))
}

fn number(count: Option<u32>) -> String {
    count.map_or_else(|| "-".to_owned(), |count| count.to_string())
}

/// The table of one run, with a line per thing that went wrong below it.
#[must_use]
pub fn table(judgement: &Judgement) -> String {
    let mut text = String::new();
    put(
        &mut text,
        format_args!(
            "{:<24} {:<20} {:>3} {:>5} {:>5} {:>3} {:>4} {:>4} {:>3}",
            "scenario", "service", "inc", "seen", "open", "1st", "type", "mail", "end"
        ),
    );
    for row in &judgement.rows {
        line(&mut text, row);
    }
    for complaint in complaints(judgement) {
        text.push_str(&wrapped("! ", &complaint));
    }
    text
}

pub(crate) fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a string does not fail");
}

fn line(text: &mut String, row: &Row) {
    let has = row.incident.is_some();
    let incidents = usize::from(has) + row.duplicates.len();
    put(
        text,
        format_args!(
            "{:<24} {:<20} {:>3} {:>5} {:>5} {:>3} {:>4} {:>4} {:>3}",
            row.fault.scenario,
            row.fault.service,
            incidents,
            seconds(row.detected_after_ms),
            seconds(row.opened_after_ms),
            yes(row.right_service),
            yes(row.right_type),
            number(row.mails),
            yes(row.resolved)
        ),
    );
}

/// What went wrong, in sentences: missed and doubled faults, those that were
/// ascribed to another service, and false incidents.
#[must_use]
pub fn complaints(judgement: &Judgement) -> Vec<String> {
    let mut list = Vec::new();
    for row in &judgement.rows {
        let fault = format!("{} on {}", row.fault.scenario, row.fault.service);
        if let Some(other) = &row.absorbed_by {
            list.push(format!(
                "{fault}: taken into {other}, which was open before"
            ));
        } else if row.incident.is_none() {
            list.push(format!("{fault}: missed"));
        }
        if !row.duplicates.is_empty() {
            list.push(format!("{fault}: also {}", row.duplicates.join(", ")));
        }
        if row.incident.is_some() && !row.right_service {
            let said = row.first_service.as_deref().unwrap_or("nothing");
            list.push(format!("{fault}: {said} was named first"));
        }
    }
    for incident in &judgement.false_incidents {
        let services = incident.services.join(", ");
        let kind = &incident.anomaly_type;
        list.push(format!("false: {} {kind} on {services}", incident.id));
    }
    list
}

/// The words in lines of at most [`WIDTH`] characters, the first begun by
/// `head` and the others indented as far.
pub(crate) fn wrapped(head: &str, words: &str) -> String {
    let indent = " ".repeat(head.chars().count());
    let mut text = head.to_owned();
    let mut used = indent.len();
    for (index, word) in words.split(' ').enumerate() {
        let length = word.chars().count();
        if index > 0 && used + 1 + length > WIDTH {
            text.push('\n');
            text.push_str(&indent);
            used = indent.len();
        } else if index > 0 {
            text.push(' ');
            used += 1;
        }
        text.push_str(word);
        used += length;
    }
    text.push('\n');
    text
}
