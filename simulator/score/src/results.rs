//! Everything that a call was asked to score, in words and as JSON.

use crate::case_report::{case_table, case_words};
use crate::cases::{CaseRow, CaseSummary, case_summary};
use crate::decisions::{Decision, Reliability, reliability, reliability_words};
use crate::quiet::{self, QuietDays, quiet_table};
use crate::report::table;
use crate::summary::{Scored, Summary, hours, summary, words};
use crate::trial_report::{missed_targets, trial_words};
use crate::trials::{TrialRow, TrialSummary, trial_summary};
use serde::Serialize;

/// Up to so many seeds each have a table of their own.
const TABLES: usize = 3;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Results {
    pub faults: Vec<Scored>,
    pub quiet: Vec<Scored>,
    pub cases: Vec<CaseRow>,
    pub quiet_days: Vec<QuietDays>,
    pub trials: Vec<TrialRow>,
    /// About the incidents of faults and trials.
    pub decisions: Vec<Decision>,
}

/// The JSON of it.
#[derive(Serialize)]
struct Document<'a> {
    summary: Summary,
    faults: &'a [Scored],
    quiet: &'a [Scored],
    cases: &'a [CaseRow],
    case_summary: CaseSummary,
    quiet_days: &'a [QuietDays],
    trials: &'a [TrialRow],
    trial_summary: TrialSummary,
    reliability: Reliability,
}

impl Results {
    /// What is to be told people, each line at most 80 characters wide.
    #[must_use]
    pub fn words(&self) -> String {
        let mut text = String::new();
        if self.faults.len() <= TABLES {
            for scored in &self.faults {
                text.push_str(&format!(
                    "seed {}\n{}\n",
                    scored.seed,
                    table(&scored.judgement)
                ));
            }
        }
        text.push_str(&words(&summary(&self.faults, &self.quiet)));
        text.push_str(&self.case_words());
        if !self.trials.is_empty() {
            text.push_str(&trial_words(&self.trials, &trial_summary(&self.trials)));
        }
        text.push_str(&reliability_words(&reliability(&self.decisions)));
        if !self.quiet_days.is_empty() {
            text.push_str("\nquiet days with a daily rhythm\n");
            text.push_str(&quiet_table(&self.quiet_days));
        }
        text
    }

    /// Each seed's cases where they are few, and the sums.
    fn case_words(&self) -> String {
        let mut text = String::new();
        let per_seed = self.cases.chunk_by(|one, next| one.seed == next.seed);
        if per_seed.clone().count() <= TABLES {
            for rows in per_seed {
                text.push_str(&format!(
                    "\nseed {}, cases\n{}\n",
                    rows[0].seed,
                    case_table(rows)
                ));
            }
        }
        if !self.cases.is_empty() {
            text.push_str(&case_words(&self.cases, &case_summary(&self.cases)));
        }
        text
    }

    /// All of it as JSON.
    ///
    /// # Errors
    /// A figure is no JSON, which none of ours is.
    pub fn json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec_pretty(&Document {
            summary: summary(&self.faults, &self.quiet),
            faults: &self.faults,
            quiet: &self.quiet,
            cases: &self.cases,
            case_summary: case_summary(&self.cases),
            quiet_days: &self.quiet_days,
            trials: &self.trials,
            trial_summary: trial_summary(&self.trials),
            reliability: reliability(&self.decisions),
        })
    }

    /// A line of JSON for each decision.
    ///
    /// # Errors
    /// As [`Results::json`].
    pub fn decision_lines(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = Vec::new();
        for decision in &self.decisions {
            serde_json::to_writer(&mut text, decision)?;
            text.push(b'\n');
        }
        Ok(text)
    }

    /// Simulated time of all runs, hours.
    #[must_use]
    pub fn simulated_hours(&self) -> f64 {
        let runs = self.faults.iter().chain(&self.quiet);
        let runs_ms: i64 = runs.map(|scored| scored.simulated_ms).sum();
        let trials_ms: i64 = self.trials.iter().map(|row| row.simulated_ms).sum();
        let days: f64 = self.quiet_days.iter().map(|one| one.days).sum();
        hours(runs_ms + trials_ms) + case_summary(&self.cases).hours + 24.0 * days
    }

    /// What must hold of every seed, and does not: one incident for each fault,
    /// the right service first in six of seven, at most two false incidents in
    /// six quiet hours, every case as it should be, the targets of the trials,
    /// and quiet days nearly without false incidents.
    #[must_use]
    pub fn shortcomings(&self) -> Vec<String> {
        let mut found = Vec::new();
        for Scored {
            seed, judgement, ..
        } in &self.faults
        {
            let totals = judgement.totals;
            if totals.missed + totals.duplicates + totals.false_incidents > 0 {
                found.push(format!(
                    "seed {seed}: {} faults, {} incidents of theirs, {} false",
                    totals.faults, totals.incidents, totals.false_incidents
                ));
            }
            if totals.right_service * 7 < totals.faults * 6 {
                found.push(format!(
                    "seed {seed}: the right service first in {} of {}",
                    totals.right_service, totals.faults
                ));
            }
        }
        for scored in &self.quiet {
            let length_h = hours(scored.simulated_ms);
            let count = scored.judgement.totals.false_incidents;
            if f64::from(count) > 2.0 * (length_h / 6.0).max(1.0) {
                found.push(format!(
                    "seed {}: {count} false incidents in {length_h:.1} quiet hours",
                    scored.seed
                ));
            }
        }
        for row in self.cases.iter().filter(|row| !row.is_as_it_should_be) {
            found.extend(row.complaints());
        }
        found.extend(missed_targets(&trial_summary(&self.trials)));
        let rate = quiet::rate(&self.quiet_days);
        if rate >= quiet::MOST_A_DAY {
            found.push(format!("{rate:.2} false incidents a day on quiet days"));
        }
        found
    }
}
