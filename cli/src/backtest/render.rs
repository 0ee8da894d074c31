//! The report for people, in 80 columns.

use super::Report;
use super::difference::{ChangedIncident, ChangedSeries, Difference};
use super::stamp::{ClockKind, Counts};
use super::tally::{IncidentRow, Outcome, SeriesRow};
use crate::output::{self, Paint, Style};
use std::fmt::Write as _;

/// Columns of a label.
const LABEL: usize = 14;

fn line(out: &mut String, label: &str, text: &str) {
    output::hang(out, label, LABEL, text);
}

fn head(out: &mut String, text: &str, paint: Paint) {
    out.push('\n');
    out.push_str(&paint.text(Style::Strong, &output::fit(text, output::WIDTH)));
    out.push('\n');
}

fn number(count: impl TryInto<i64>) -> String {
    output::count(count.try_into().unwrap_or(i64::MAX))
}

/// The whole report, with at most `limit` lines or incidents of each list.
#[must_use]
pub fn render(report: &Report, limit: usize, paint: Paint) -> String {
    let mut out = String::new();
    source(&mut out, report);
    for outcome in &report.outcomes {
        incidents(&mut out, outcome, limit, paint);
        series(&mut out, outcome, limit, paint);
    }
    if let (Some(difference), [a, b]) = (&report.difference, report.outcomes.as_slice()) {
        changes(&mut out, report, difference, (a, b), limit, paint);
    }
    out
}

fn source(out: &mut String, report: &Report) {
    let counts = &report.counts;
    line(out, "source", &report.source.words);
    let watched = report.outcomes.first().map_or(0, |one| one.watched);
    let range = match (counts.first_ms, counts.last_ms) {
        (Some(first), Some(last)) => format!(
            ", {} to {} ({})",
            output::time(first),
            output::time(last),
            output::duration(last - first)
        ),
        _ => String::new(),
    };
    let records = number(counts.records);
    line(
        out,
        "replayed",
        &format!("{records} records, {} series{range}", number(watched)),
    );
    let warmup = match (report.source.warmup_minutes, counts.warmup) {
        (0, _) => "none: the first readings only teach the detector".to_owned(),
        (minutes, count) => format!("{minutes} min before, {} records", number(count)),
    };
    line(out, "warm-up", &warmup);
    let clock = match report.clock {
        ClockKind::Event => "waits and silence by the samples' own times",
        ClockKind::Record => "waits and silence by the time of arrival",
    };
    line(out, "clock", clock);
    if report.source.catalogue.is_none() {
        let words = "none found: services are connected by what the telemetry says alone";
        line(out, "catalogue", words);
    }
    for words in noted(counts, report.outcomes.first()) {
        line(out, "note", &words);
    }
    for one in &counts.malformed_first {
        line(out, "malformed", &format!("{}: {}", one.at, one.reason));
    }
}

/// What should be known of the records before the result is believed.
fn noted(counts: &Counts, outcome: Option<&Outcome>) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |count: u64, words: &str| {
        if count > 0 {
            notes.push(format!("{} {words}", number(count)));
        }
    };
    note(
        counts.malformed,
        "malformed records were skipped; the first of them are named below",
    );
    note(
        counts.out_of_order,
        "records came more than ten minutes after younger ones: sort the file by time where this \
         is not how they came live",
    );
    note(
        counts.dated_ahead,
        "records are dated more than half an hour ahead of all around them",
    );
    if let Some(outcome) = outcome {
        for (reason, count) in &outcome.ignored {
            note(
                *count,
                &format!("samples were not judged as they stand ({reason})"),
            );
        }
        note(
            outcome.incidents_before as u64,
            "incidents began in the warm-up and are not listed",
        );
    }
    notes
}

fn plural(count: usize, one: &str, more: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { more })
}

fn incidents(out: &mut String, outcome: &Outcome, limit: usize, paint: Paint) {
    let pages = plural(
        outcome.incidents.len(),
        "incident would have paged",
        "incidents would have paged",
    );
    head(out, &format!("{}: {pages}", outcome.name), paint);
    for row in outcome.incidents.iter().take(limit) {
        incident(out, row, paint);
    }
    more(out, outcome.incidents.len(), limit);
}

fn more(out: &mut String, count: usize, limit: usize) {
    if count > limit {
        writeln!(
            out,
            "… and {} more (--limit, or --json for all)",
            count - limit
        )
        .expect("a string takes all");
    }
}

fn incident(out: &mut String, row: &IncidentRow, paint: Paint) {
    let id = format!("{:12}", output::fit(&row.short_id, 12));
    writeln!(
        out,
        "{}  {}  {}  {}",
        paint.text(Style::Strong, &id),
        paint.severity(row.severity.as_str(), 8),
        output::time(row.paged_ms),
        output::fit(&row.environment, 33),
    )
    .expect("a string takes all");
    let raised = if row.highest_severity == row.severity {
        String::new()
    } else {
        format!(", later {}", row.highest_severity)
    };
    line(out, "  page", &format!("{}{raised}", row.title));
    line(out, "  services", &row.services.join(", "));
    let span = output::duration((row.minutes_open * 60_000.0) as i64);
    let ended = match (&row.resolved_ms, row.resolution.as_deref()) {
        (Some(at_ms), how) => format!(
            "{span}, until {} ({})",
            output::time(*at_ms),
            how.unwrap_or("unknown")
        ),
        (None, _) => format!("{span}, still open at the end"),
    };
    let anomalies = plural(row.anomalies, "anomaly", "anomalies");
    let updates = plural(row.updates as usize, "update", "updates");
    line(out, "  open", &format!("{ended}; {anomalies}, {updates}"));
    line(out, "  why", &row.why);
    if let Some((service, cause, confidence)) = &row.cause {
        let sure = format!("{:.0} %", confidence * 100.0);
        line(out, "  cause", &format!("{service}: {cause} ({sure})"));
    }
}

fn series(out: &mut String, outcome: &Outcome, limit: usize, paint: Paint) {
    let anomalies = outcome.anomalies();
    let title = format!(
        "{}: {} {} in {} of {} series",
        outcome.name,
        number(anomalies),
        if anomalies == 1 {
            "anomaly"
        } else {
            "anomalies"
        },
        number(outcome.series.len()),
        number(outcome.watched)
    );
    head(out, &title, paint);
    if outcome.series.is_empty() {
        return;
    }
    let columns = format!(
        "{:37} {:>4} {:8} {:>8} {:>19}",
        "SERIES", "N", "SEVERITY", "MIN OPEN", "FIRST"
    );
    out.push_str(&paint.text(Style::Faint, &columns));
    out.push('\n');
    let mut rows: Vec<&SeriesRow> = outcome.series.iter().collect();
    rows.sort_by(|one, other| {
        let rank = |row: &SeriesRow| (row.severity, row.anomalies);
        rank(other).cmp(&rank(one)).then_with(|| {
            let name = |row: &SeriesRow| (row.service.clone(), row.metric.clone());
            name(one).cmp(&name(other))
        })
    });
    for row in rows.iter().take(limit) {
        series_row(out, row, paint);
    }
    more(out, rows.len(), limit);
}

fn pad(text: &str, width: usize) -> String {
    let text = output::fit(text, width);
    let missing = width.saturating_sub(output::columns(&text));
    text + &" ".repeat(missing)
}

fn series_row(out: &mut String, row: &SeriesRow, paint: Paint) {
    let name = pad(&format!("{} {}", row.service, row.metric), 37);
    let severity = row.severity.map_or("", |severity| severity.as_str());
    let open = if row.is_open { "+" } else { "" };
    let minutes = format!("{:.1}{open}", row.minutes_open);
    let first = output::time(row.first_ms);
    writeln!(
        out,
        "{name} {:>4} {} {minutes:>8} {:>19}",
        row.anomalies,
        paint.severity(severity, 8),
        first.trim_end_matches('Z'),
    )
    .expect("a string takes all");
    let transitions: Vec<String> = [
        ("started", row.started),
        ("worsened", row.worsened),
        ("missing", row.missing),
        ("cleared", row.cleared),
    ]
    .iter()
    .filter(|(_, count)| *count > 0)
    .map(|(name, count)| format!("{name} {count}"))
    .collect();
    let text = format!(
        "{}, last {}",
        transitions.join(", "),
        output::time(row.last_ms)
    );
    output::hang(out, "", 2, &text);
}

fn changes(
    out: &mut String,
    report: &Report,
    difference: &Difference,
    (a, b): (&Outcome, &Outcome),
    limit: usize,
    paint: Paint,
) {
    head(out, &format!("difference: {} → {}", a.name, b.name), paint);
    for one in &report.settings {
        let current = one.current.as_deref().unwrap_or("its default");
        line(
            out,
            "setting",
            &format!("{}: {current} → {}", one.name, one.new),
        );
    }
    let incidents = format!(
        "{} only in {}, {} only in {}, {} changed, {} alike",
        difference.incidents_only_a.len(),
        a.name,
        difference.incidents_only_b.len(),
        b.name,
        difference.incidents_changed.len(),
        difference.incidents_same
    );
    line(out, "incidents", &incidents);
    let anomalies = format!(
        "{} only in {}, {} only in {}, {} changed, {} alike",
        difference.anomalies_only_a,
        a.name,
        difference.anomalies_only_b,
        b.name,
        difference.anomalies_changed,
        difference.anomalies_same
    );
    line(out, "anomalies", &anomalies);
    for (outcome, only) in [
        (a, &difference.incidents_only_a),
        (b, &difference.incidents_only_b),
    ] {
        if only.is_empty() {
            continue;
        }
        head(out, &format!("incidents only in {}", outcome.name), paint);
        let rows = outcome.incidents.iter();
        let rows: Vec<&IncidentRow> = rows.filter(|row| only.contains(&row.short_id)).collect();
        for row in rows.iter().take(limit) {
            incident(out, row, paint);
        }
        more(out, rows.len(), limit);
    }
    if !difference.incidents_changed.is_empty() {
        head(out, "incidents that changed", paint);
        for one in difference.incidents_changed.iter().take(limit) {
            changed_incident(out, one, paint);
        }
        more(out, difference.incidents_changed.len(), limit);
    }
    if !difference.series.is_empty() {
        head(out, "series whose anomalies differ", paint);
        for one in difference.series.iter().take(limit) {
            changed_series(out, one, (a, b));
        }
        more(out, difference.series.len(), limit);
    }
}

fn changed_incident(out: &mut String, one: &ChangedIncident, paint: Paint) {
    let id = if one.a == one.b {
        one.a.clone()
    } else {
        format!("{} → {}", one.a, one.b)
    };
    out.push_str(&paint.text(Style::Strong, &output::fit(&id, output::WIDTH)));
    out.push('\n');
    let title = one
        .new_title
        .as_ref()
        .map_or_else(|| one.title.clone(), |new| format!("{} → {new}", one.title));
    line(out, "  page", &title);
    if one.severity.0 != one.severity.1 {
        let text = format!("{} → {}", one.severity.0, one.severity.1);
        line(out, "  severity", &text);
    }
    if one.later_ms != 0 {
        let side = if one.later_ms > 0 { "later" } else { "earlier" };
        let text = format!(
            "{} {side}: {} → {}",
            output::duration(one.later_ms.abs()),
            output::time(one.paged_ms.0),
            output::time(one.paged_ms.1)
        );
        line(out, "  paged", &text);
    }
    if one.resolved_ms.0 != one.resolved_ms.1 {
        let time = |at_ms: Option<i64>| at_ms.map_or("open".to_owned(), output::time);
        let text = format!("{} → {}", time(one.resolved_ms.0), time(one.resolved_ms.1));
        line(out, "  resolved", &text);
    }
    if one.services.0 != one.services.1 {
        let text = format!(
            "{} → {}",
            one.services.0.join(", "),
            one.services.1.join(", ")
        );
        line(out, "  services", &text);
    }
}

fn changed_series(out: &mut String, one: &ChangedSeries, (a, b): (&Outcome, &Outcome)) {
    let mut parts = Vec::new();
    for (count, words) in [
        (one.only_a, format!("only in {}", a.name)),
        (one.only_b, format!("only in {}", b.name)),
        (one.severity_changed, "of another severity".to_owned()),
        (one.time_changed, "at another time".to_owned()),
        (one.same, "alike".to_owned()),
    ] {
        if count > 0 {
            parts.push(format!("{count} {words}"));
        }
    }
    output::hang(out, "", 0, &format!("{} {}", one.service, one.metric));
    let since = one.first_ms.map_or_else(String::new, |at_ms| {
        format!("; the first at {}", output::time(at_ms))
    });
    output::hang(out, "", 2, &format!("{}{since}", parts.join(", ")));
}
