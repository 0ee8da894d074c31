//! The judgement of cases in words, 80 columns wide.
//!
//! Columns: `ok` how many came out as they should; `seen` from the case's first
//! moment to its first sign, `paged` to the announcement, simulated, median and
//! worst over the seeds; `named` what most were called.

use crate::cases::{CaseRow, CaseSummary, OfKind};
use crate::report::{put, wrapped};

/// Complaints that are listed.
const LISTED: usize = 20;

/// A length of time in six characters: `50s`, `14m`, `3.4h`.
#[must_use]
pub fn span(ms: Option<i64>) -> String {
    let Some(ms) = ms else {
        return "-".to_owned();
    };
    match ms / 1_000 {
        seconds @ ..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds => format!("{}.{}h", seconds / 3_600, seconds % 3_600 / 360),
    }
}

/// One line per case of one seed.
#[must_use]
pub fn case_table(rows: &[CaseRow]) -> String {
    let mut text = String::new();
    let mut line = |[case, service, seen, paged, ok, named]: [&str; 6]| {
        put(
            &mut text,
            format_args!("{case:<15} {service:<20} {seen:>6} {paged:>6} {ok:>4} {named}"),
        );
    };
    line(["case", "service", "seen", "paged", "ok", "named"]);
    for row in rows {
        line([
            row.case,
            row.service,
            &span(row.sign.as_ref().map(|sign| sign.after_ms)),
            &span(row.page.as_ref().map(|page| page.after_ms)),
            if row.is_as_it_should_be { "yes" } else { "NO" },
            row.named().unwrap_or("-"),
        ]);
    }
    text
}

/// One line per kind of case, the totals, and what went wrong.
#[must_use]
pub fn case_words(rows: &[CaseRow], summary: &CaseSummary) -> String {
    let mut text = String::new();
    put(
        &mut text,
        format_args!(
            "{:<15} {:<8} {:>7} {:>6} {:>6} {:>6} {:>6}  {}",
            "case", "expected", "ok", "seen", "worst", "paged", "worst", "named"
        ),
    );
    for kind in &summary.kinds {
        of_kind(&mut text, kind);
    }
    let per_day = f64::from(summary.others) / (summary.hours / 24.0).max(f64::MIN_POSITIVE);
    put(
        &mut text,
        format_args!(
            "as they should be    {} of {}\nwhile learning       {} incidents of what turned out healthy\nother incidents      {} in {:.1} h around the cases: {per_day:.2} a day",
            summary.as_they_should_be,
            summary.cases,
            summary.learning,
            summary.others,
            summary.hours
        ),
    );
    let complaints: Vec<String> = rows.iter().flat_map(CaseRow::complaints).collect();
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

fn of_kind(text: &mut String, kind: &OfKind) {
    let most = kind.named.iter().max_by_key(|(_, count)| **count);
    let head = format!(
        "{:<15} {:<8} {:>7} {:>6} {:>6} {:>6} {:>6}  ",
        kind.case,
        kind.expected,
        format!("{}/{}", kind.as_they_should_be, kind.cases),
        span(kind.seen_median_ms),
        span(kind.seen_worst_ms),
        span(kind.paged_median_ms),
        span(kind.paged_worst_ms)
    );
    let named = most.map_or("-", |(name, _)| name.as_str());
    put(text, format_args!("{head}{named}"));
}
