//! The answer for people, with a small chart for each piece of evidence.

use super::chart;
use crate::output::{WIDTH, fit, hang, time};
use midwatch_events::incident::Verdict;
use midwatch_investigation::rca::{Answer, Candidate, Question, Recording};

/// Candidates that are told with their evidence.
const TOLD: usize = 3;

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
        if let Some(chart) = chart::of(recording, question, clue) {
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
