//! The answer for people, with a small chart for each piece of evidence that
//! is a reading.

use crate::output::{WIDTH, fit, hang, time};
use midwatch_events::incident::Verdict;
use midwatch_investigation::rca::clues::{Clue, number};
use midwatch_investigation::rca::{Answer, Candidate, Question, Recording};

/// Candidates that are told with their evidence.
const TOLD: usize = 3;
/// Columns of a chart.
const CHART: usize = 60;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The answer as text of at most 80 columns.
#[must_use]
pub fn explain(recording: &Recording, question: &Question, answer: &Answer) -> String {
    let mut out = String::new();
    let verdict = match answer.verdict {
        Verdict::Conclusive => "conclusive",
        Verdict::Inconclusive => "inconclusive: the evidence does not carry a cause",
    };
    let alert = format!("{} of {}", question.target_metric, question.target);
    hang(
        &mut out,
        "alert",
        12,
        &format!("{alert}, {}", time(question.at_ms)),
    );
    hang(&mut out, "verdict", 12, verdict);
    for gap in &answer.gaps {
        hang(&mut out, "not seen", 12, gap);
    }
    for candidate in answer.candidates.iter().take(TOLD) {
        out.push('\n');
        tell(&mut out, recording, question, candidate);
    }
    let rest: Vec<&str> = answer
        .ranking
        .iter()
        .skip(TOLD)
        .map(String::as_str)
        .collect();
    if !rest.is_empty() {
        out.push('\n');
        hang(&mut out, "then", 12, &fit(&rest.join(", "), WIDTH * 3));
    }
    out
}

fn tell(out: &mut String, recording: &Recording, question: &Question, candidate: &Candidate) {
    let head = format!(
        "{} ({:.0} %)",
        candidate.hypothesis,
        candidate.confidence * 100.0
    );
    hang(out, &format!("{}.", candidate.rank), 4, &head);
    for clue in &candidate.evidence {
        hang(out, "    +", 6, &clue.summary);
        if let Some(chart) = chart(recording, question, clue) {
            out.push_str("      ");
            out.push_str(&chart);
            out.push('\n');
        }
    }
    for clue in &candidate.refuting {
        hang(out, "    -", 6, &clue.summary);
    }
    if !candidate.discriminator.is_empty() {
        hang(out, "    ?", 6, &candidate.discriminator);
    }
}

/// The series of a clue, one bar for each stretch of time, with the place of
/// the fault's beginning below which all is normal.
fn chart(recording: &Recording, question: &Question, clue: &Clue) -> Option<String> {
    let series = recording
        .series
        .iter()
        .find(|one| one.service == clue.service && one.metric == clue.metric)?;
    let (first, last) = (series.points.first()?.0, series.points.last()?.0);
    // The normal period gets half of the columns, however long it was.
    let from = first.max(question.start_ms - (question.end_ms - question.start_ms).max(1));
    let width = (last - from).max(1);
    let column = |at: i64| {
        let place = (at - from) * i64::try_from(CHART - 1).unwrap_or(1) / width;
        usize::try_from(place).unwrap_or(0).min(CHART - 1)
    };
    let mut sums = [(0.0_f64, 0_u32); CHART];
    for (at, value) in series.points.iter().filter(|(at, _)| *at >= from) {
        let cell = &mut sums[column(*at)];
        cell.0 += value;
        cell.1 += 1;
    }
    let means: Vec<Option<f64>> = sums
        .iter()
        .map(|(sum, count)| (*count > 0).then(|| sum / f64::from(*count)))
        .collect();
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for mean in means.iter().flatten() {
        low = low.min(*mean);
        high = high.max(*mean);
    }
    let start = column(question.start_ms);
    let mut bars = String::new();
    for (index, mean) in means.iter().enumerate() {
        if index == start {
            bars.push('|');
        }
        bars.push(mean.map_or(' ', |mean| bar(mean, low, high)));
    }
    Some(format!("{bars} {}–{}", number(low), number(high)))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of seven, between 0 and 7"
)]
fn bar(value: f64, low: f64, high: f64) -> char {
    let share = if high > low {
        (value - low) / (high - low)
    } else {
        0.0
    };
    BARS[((share * 7.0).round() as usize).min(7)]
}
