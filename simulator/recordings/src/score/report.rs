//! What many verdicts say together, as figures and as a table for people.

use super::Verdict;
use serde::Serialize;
use std::collections::BTreeMap;

/// Faults of one group: all of them, a shape, or a family. Shares are 0..=1.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub group: String,
    pub cases: usize,
    /// A culprit comes first.
    pub first: f64,
    /// The first three hold every culprit.
    pub three: f64,
    /// Mean of the shares with a culprit in the first 1, 2, … 5.
    pub average_of_five: f64,
    /// A culprit comes first, with its cause.
    pub cause: f64,
    /// The verdict is not "conclusive".
    pub undecided: f64,
    pub median_s: f64,
    pub longest_s: f64,
}

/// Healthy controls of one group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Control {
    pub group: String,
    pub cases: usize,
    /// Share that ended "inconclusive".
    pub inconclusive: f64,
}

/// Cases whose top candidate has a confidence from `from` to a tenth above.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decile {
    pub from: f64,
    pub cases: usize,
    /// Healthy controls among them: any name is wrong there.
    pub healthy: usize,
    pub mean_confidence: f64,
    /// Share whose top candidate is a culprit.
    pub right: f64,
}

/// Everything that was judged.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub rows: Vec<Row>,
    pub controls: Vec<Control>,
    pub reliability: Vec<Decile>,
    /// Cases that ran twice, and those of them that gave the same bytes.
    pub repeated: usize,
    pub repeated_alike: usize,
    /// Cases without an answer.
    pub failed: usize,
    pub verdicts: Vec<Verdict>,
}

impl Report {
    /// Sums up verdicts.
    #[must_use]
    pub fn of(verdicts: Vec<Verdict>) -> Report {
        let repeated = verdicts.iter().filter_map(|one| one.repeated);
        Report {
            rows: rows(&verdicts),
            controls: controls(&verdicts),
            reliability: reliability(&verdicts),
            repeated: repeated.clone().count(),
            repeated_alike: repeated.filter(|alike| *alike).count(),
            failed: verdicts.iter().filter(|one| one.failure.is_some()).count(),
            verdicts,
        }
    }
}

fn rows(verdicts: &[Verdict]) -> Vec<Row> {
    let mut groups: BTreeMap<(u8, String), Vec<&Verdict>> = BTreeMap::new();
    for verdict in verdicts.iter().filter(|one| !one.healthy()) {
        for key in [
            (0, "all".to_owned()),
            (1, format!("shape {}", verdict.shape)),
            (2, verdict.family.clone()),
        ] {
            groups.entry(key).or_default().push(verdict);
        }
    }
    groups
        .into_iter()
        .map(|((_, group), members)| row(group, &members))
        .collect()
}

fn row(group: String, members: &[&Verdict]) -> Row {
    let share = |wanted: &dyn Fn(&Verdict) -> bool| {
        let count = members.iter().filter(|one| wanted(one)).count();
        count as f64 / members.len() as f64
    };
    let mut seconds: Vec<f64> = members.iter().map(|one| one.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    Row {
        group,
        cases: members.len(),
        first: share(&|one| one.within(1)),
        three: share(&|one| one.all_in_three),
        average_of_five: (1..=5).map(|k| share(&|one| one.within(k))).sum::<f64>() / 5.0,
        cause: share(&|one| one.within(1) && one.top_cause == one.cause),
        undecided: share(&|one| !one.conclusive),
        median_s: seconds[seconds.len() / 2],
        longest_s: seconds[seconds.len() - 1],
    }
}

fn controls(verdicts: &[Verdict]) -> Vec<Control> {
    let mut groups: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for verdict in verdicts.iter().filter(|one| one.healthy()) {
        for key in ["all".to_owned(), format!("shape {}", verdict.shape)] {
            let (cases, calm) = groups.entry(key).or_default();
            *cases += 1;
            *calm += usize::from(!verdict.conclusive && verdict.failure.is_none());
        }
    }
    groups
        .into_iter()
        .map(|(group, (cases, calm))| Control {
            group,
            cases,
            inconclusive: calm as f64 / cases as f64,
        })
        .collect()
}

fn reliability(verdicts: &[Verdict]) -> Vec<Decile> {
    let mut deciles: BTreeMap<usize, Vec<(&Verdict, f64)>> = BTreeMap::new();
    for verdict in verdicts {
        if let Some(confidence) = verdict.confidence {
            let decile = ((confidence * 10.0) as usize).min(9);
            deciles
                .entry(decile)
                .or_default()
                .push((verdict, confidence));
        }
    }
    deciles
        .into_iter()
        .map(|(decile, members)| {
            let count = members.len() as f64;
            let right = members.iter().filter(|(one, _)| one.within(1)).count();
            Decile {
                from: decile as f64 / 10.0,
                cases: members.len(),
                healthy: members.iter().filter(|(one, _)| one.healthy()).count(),
                mean_confidence: members.iter().map(|(_, at)| at).sum::<f64>() / count,
                right: right as f64 / count,
            }
        })
        .collect()
}

/// The report as text; `misses` names each case whose culprit was not first.
#[must_use]
pub fn table(report: &Report, misses: bool) -> String {
    let mut out = format!(
        "{:<20} {:>5} {:>6} {:>6} {:>6} {:>7} {:>7} {:>8} {:>8}\n",
        "faults", "cases", "AC@1", "AC@3", "avg@5", "cause", "undec.", "median s", "most s"
    );
    for row in &report.rows {
        out += &format!(
            "{:<20} {:>5} {:>6.1} {:>6.1} {:>6.1} {:>7.1} {:>7.1} {:>8.2} {:>8.2}\n",
            row.group,
            row.cases,
            100.0 * row.first,
            100.0 * row.three,
            100.0 * row.average_of_five,
            100.0 * row.cause,
            100.0 * row.undecided,
            row.median_s,
            row.longest_s,
        );
    }
    for control in &report.controls {
        out += &format!(
            "healthy controls, {:<8} {:>4} cases, {:>5.1} % inconclusive\n",
            control.group,
            control.cases,
            100.0 * control.inconclusive
        );
    }
    out += "confidence   cases  healthy  mean    right\n";
    for decile in &report.reliability {
        out += &format!(
            "{:.1}..{:.1}     {:>5} {:>8}  {:.2}  {:>5.1} %\n",
            decile.from,
            decile.from + 0.1,
            decile.cases,
            decile.healthy,
            decile.mean_confidence,
            100.0 * decile.right,
        );
    }
    out += &format!(
        "run twice: {} of {} gave the same bytes; without an answer: {}\n",
        report.repeated_alike, report.repeated, report.failed
    );
    for verdict in &report.verdicts {
        if let Some(failure) = &verdict.failure {
            out += &format!("failed {}: {failure}\n", verdict.case);
        } else if misses && !verdict.healthy() && !verdict.within(1) {
            out += &missed(verdict);
        } else if misses && verdict.healthy() && verdict.conclusive {
            out += &format!("accused {}: {}", verdict.case, named(verdict));
        }
    }
    out
}

fn missed(verdict: &Verdict) -> String {
    let place = verdict
        .place
        .map_or("nowhere".to_owned(), |place| format!("at {place}"));
    format!(
        "missed {}: culprit {} {place}; {}",
        verdict.case,
        verdict.culprits.join("+"),
        named(verdict)
    )
}

fn named(verdict: &Verdict) -> String {
    format!(
        "named {} ({}, {:.2})\n",
        verdict.ranking.first().map_or("nobody", String::as_str),
        verdict.top_cause,
        verdict.confidence.unwrap_or(0.0),
    )
}
