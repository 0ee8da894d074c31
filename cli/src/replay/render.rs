//! A comparison for people: then on the left, now on the right.

use super::Found;
use super::compare::verdict;
use super::decided::{Cause, Decided};
use crate::output::{self, Paint, Style, WIDTH};

/// Columns of the label, and of each side.
const LABEL: usize = 11;
const SIDE: usize = (WIDTH - LABEL - 2) / 2;
/// Candidates and anomalies shown of each side; --json has all.
const CAUSES: usize = 5;
const MEMBERS: usize = 8;

/// The comparison in 80 columns.
#[must_use]
pub fn render(found: &Found, paint: Paint) -> String {
    let mut out = String::new();
    let words = if found.same {
        paint.text(Style::Good, "decided as then")
    } else {
        paint.text(Style::Bad, "decided otherwise than then")
    };
    let incident = paint.text(Style::Strong, &output::fit(&found.incident, 12));
    out.push_str(&format!("{incident}  {words}\n"));
    let read = &found.read;
    let line = format!(
        "{} records, {} to {}, of epoch {}",
        output::count(i64::try_from(read.records).unwrap_or(i64::MAX)),
        output::time(read.from_ms),
        output::time(read.to_ms),
        read.epoch
    );
    output::hang(&mut out, "", 0, &line);
    let mut shown: Vec<(Option<&Decided>, Option<&Decided>)> = found
        .then
        .iter()
        .map(|old| {
            let new = found.now.iter();
            let twin = new
                .into_iter()
                .find(|new| new.incident_id == old.incident_id);
            (Some(old), twin)
        })
        .collect();
    let is_new = |new: &&Decided| {
        !found
            .then
            .iter()
            .any(|old| old.incident_id == new.incident_id)
    };
    shown.extend(found.now.iter().filter(is_new).map(|new| (None, Some(new))));
    for (old, new) in shown {
        pair(&mut out, old, new, paint);
    }
    if !found.differences.is_empty() {
        out.push_str(&format!("\n{}\n", paint.text(Style::Strong, "Differences")));
        for one in &found.differences {
            let line = format!("{} {}: {} → {}", one.incident, one.what, one.then, one.now);
            output::hang(&mut out, "  -", 4, &line);
        }
    }
    if !found.notes.is_empty() {
        out.push('\n');
        for note in &found.notes {
            output::hang(&mut out, "", 0, note);
        }
    }
    out
}

fn pair(out: &mut String, old: Option<&Decided>, new: Option<&Decided>, paint: Paint) {
    let head = paint.text(Style::Faint, &format!("{:LABEL$}{:SIDE$}  now", "", "then"));
    out.push_str(&format!("\n{head}\n"));
    let side = |one: Option<&Decided>, text: &dyn Fn(&Decided) -> String| {
        one.map_or_else(|| "–".to_owned(), text)
    };
    let mut row = |label: &str, text: &dyn Fn(&Decided) -> String| {
        columns(out, label, &side(old, text), &side(new, text));
    };
    row("incident", &|one| format!("{} {}", one.short_id, one.title));
    row("severity", &|one| one.severity.to_string());
    row("onset", &|one| {
        one.onset_ms.map_or_else(|| "none".to_owned(), output::time)
    });
    row("anomalies", &|one| one.members.len().to_string());
    row("verdict", &|one| {
        format!("{}, revision {}", verdict(one.verdict), one.revisions)
    });
    row("end", &|one| {
        one.end.as_ref().map_or_else(
            || "open".to_owned(),
            |end| format!("{} {}", end.method, output::time(end.at_ms)),
        )
    });
    let count = causes(old).len().max(causes(new).len()).min(CAUSES);
    for place in 0..count {
        let text = |all: &[Cause]| {
            all.get(place).map_or_else(String::new, |one| {
                format!(
                    "{:.0} % {} {}",
                    one.confidence * 100.0,
                    one.service,
                    one.cause
                )
            })
        };
        let label = format!("cause {}", place + 1);
        columns(out, &label, &text(causes(old)), &text(causes(new)));
    }
    members(out, old, new);
}

fn causes(one: Option<&Decided>) -> &[Cause] {
    one.map_or(&[], |one| one.ranking.as_slice())
}

/// The anomalies of either side, and on which side each is.
fn members(out: &mut String, old: Option<&Decided>, new: Option<&Decided>) {
    let list = |one: Option<&Decided>| one.map_or(Vec::new(), |one| one.members.clone());
    let (then, now) = (list(old), list(new));
    let mut all: Vec<_> = then.iter().chain(&now).collect();
    all.sort_by_key(|member| (member.onset_ms, member.anomaly_id));
    all.dedup_by_key(|member| member.anomaly_id);
    for (index, member) in all.iter().take(MEMBERS).enumerate() {
        let text = |list: &[super::Member]| {
            let found = list.iter().find(|one| one.anomaly_id == member.anomaly_id);
            found.map_or_else(String::new, |one| {
                format!("{} of {}", one.metric, one.service)
            })
        };
        let label = if index == 0 { "with" } else { "" };
        columns(out, label, &text(&then), &text(&now));
    }
    if all.len() > MEMBERS {
        let more = format!("{} more; --json has them", all.len() - MEMBERS);
        columns(out, "", &more, "");
    }
}

/// One row of two sides, each wrapped within its own columns.
fn columns(out: &mut String, label: &str, then: &str, now: &str) {
    let (left, right) = (output::wrap(then, SIDE), output::wrap(now, SIDE));
    for index in 0..left.len().max(right.len()).max(1) {
        let part = |lines: &[String]| lines.get(index).cloned().unwrap_or_default();
        let (left, right) = (part(&left), part(&right));
        let pad = " ".repeat((SIDE + 2).saturating_sub(output::columns(&left)));
        let label = if index == 0 { label } else { "" };
        let line = format!("{label:LABEL$}{left}{pad}{right}");
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::super::compare::compare;
    use super::super::decided::{End, Member};
    use super::super::{Found, Read};
    use super::*;
    use midwatch_events::Severity;
    use midwatch_events::incident::Verdict;
    use uuid::Uuid;

    fn decided(confidence: f64) -> Decided {
        Decided {
            incident_id: Uuid::from_u128(0xa1b2_c3d4 << 96),
            short_id: "INC-A1B2C3D4".to_owned(),
            title: "DB connection exhaustion on payment-service".to_owned(),
            severity: Severity::Critical,
            members: vec![Member {
                anomaly_id: Uuid::from_u128(1),
                service: "payment-service".to_owned(),
                metric: "service_db_connections\u{1b}[31m".to_owned(),
                onset_ms: 1_795_316_645_000,
            }],
            onset_ms: Some(1_795_316_645_000),
            ranking: vec![Cause {
                service: "payment-service".to_owned(),
                cause: "DB_CONNECTION_EXHAUSTION".to_owned(),
                confidence,
            }],
            verdict: Some(Verdict::Conclusive),
            method: "deterministic".to_owned(),
            revisions: 2,
            end: Some(End {
                method: "RECOVERED".to_owned(),
                at_ms: 1_795_317_645_000,
            }),
        }
    }

    #[test]
    fn both_sides_stand_beside_each_other_in_eighty_columns() {
        let (then, now) = (vec![decided(0.87)], vec![decided(0.61)]);
        let found = Found {
            incident: "INC-A1B2C3D4".to_owned(),
            replay: true,
            same: false,
            differences: compare(&then, &now),
            then,
            now,
            artifacts: Vec::new(),
            read: Read {
                epoch: "epoch-of-a-test".to_owned(),
                from_ms: 1_795_316_000_000,
                to_ms: 1_795_318_000_000,
                records: 45_120,
                malformed: 0,
            },
            notes: vec![
                "Then a-model ordered the candidates; the replay asks no model.".to_owned(),
            ],
        };
        let text = render(&found, Paint::PLAIN);
        assert!(!text.contains('\u{1b}'));
        assert!(
            text.lines().all(|line| output::columns(line) <= WIDTH),
            "{text}"
        );
        insta::assert_snapshot!(text);
    }
}
