//! Sums over many seeds.

use crate::judge::{Judgement, Row, Totals};
use crate::report::{complaints, put, seconds, wrapped};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The judgement of one seed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scored {
    pub seed: u64,
    /// Live simulated time, milliseconds.
    pub simulated_ms: i64,
    #[serde(flatten)]
    pub judgement: Judgement,
}

/// What became of the faults of one scenario.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OfScenario {
    pub faults: u32,
    pub detected: u32,
    pub right_service: u32,
    pub right_type: u32,
    pub right_cause: u32,
    /// Incidents of these faults, duplicates included.
    pub incidents: u32,
    /// The right service and cause first, or among the first three.
    pub right_answer: u32,
    pub in_first_three: u32,
    /// From the start to the first answer about the cause, simulated
    /// milliseconds, as the times below.
    pub decide_median_ms: Option<i64>,
    pub decide_p90_ms: Option<i64>,
    /// From the start to the first anomaly, simulated milliseconds; half and
    /// nine tenths of the detected ones took no longer (nearest rank).
    pub detect_median_ms: Option<i64>,
    pub detect_p90_ms: Option<i64>,
}

/// Sums over seeds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    pub seeds: u32,
    /// Of the runs with faults.
    pub totals: Totals,
    pub scenarios: BTreeMap<String, OfScenario>,
    /// From a fault's start to the first anomaly, simulated milliseconds; half
    /// and nine tenths of the detected faults took no longer (nearest rank).
    pub detect_median_ms: Option<i64>,
    pub detect_p90_ms: Option<i64>,
    /// Quiet simulated hours, and the incidents in them.
    pub quiet_hours: f64,
    pub quiet_incidents: u32,
    /// Seeds with the most that went wrong, worst first, and how much did.
    pub worst: Vec<(u64, u32)>,
    /// What went wrong, by seed; the first few.
    pub complaints: Vec<(u64, String)>,
    /// How many more there are.
    pub further_complaints: u32,
}

/// Seeds and complaints that are listed.
const LISTED: usize = 12;

/// Sums up runs with faults and quiet runs.
#[must_use]
pub fn summary(faults: &[Scored], quiet: &[Scored]) -> Summary {
    let rows = || faults.iter().flat_map(|scored| &scored.judgement.rows);
    let mut times: Vec<i64> = rows().filter_map(|row| row.detected_after_ms).collect();
    times.sort_unstable();
    let mut scenarios: BTreeMap<String, OfScenario> = BTreeMap::new();
    for row in rows() {
        let known = scenarios.entry(row.fault.scenario.clone()).or_default();
        known.add(row);
    }
    for (name, known) in &mut scenarios {
        let own = rows().filter(|row| row.fault.scenario == *name);
        let mut times: Vec<i64> = own.filter_map(|row| row.detected_after_ms).collect();
        times.sort_unstable();
        known.detect_median_ms = percentile(&times, 50);
        known.detect_p90_ms = percentile(&times, 90);
        let own = rows().filter(|row| row.fault.scenario == *name);
        let mut times: Vec<i64> = own.filter_map(|row| row.decided_after_ms).collect();
        times.sort_unstable();
        known.decide_median_ms = percentile(&times, 50);
        known.decide_p90_ms = percentile(&times, 90);
    }
    let mut wrong: BTreeMap<u64, u32> = BTreeMap::new();
    let mut list = Vec::new();
    for scored in faults.iter().chain(quiet) {
        let complaints = complaints(&scored.judgement);
        *wrong.entry(scored.seed).or_default() += count(complaints.len());
        list.extend(complaints.into_iter().map(|words| (scored.seed, words)));
    }
    let seeds = count(wrong.len());
    let further_complaints = count(list.len().saturating_sub(LISTED));
    list.truncate(LISTED);
    Summary {
        seeds,
        totals: faults.iter().fold(Totals::default(), |sum, scored| {
            sum.plus(scored.judgement.totals)
        }),
        scenarios,
        detect_median_ms: percentile(&times, 50),
        detect_p90_ms: percentile(&times, 90),
        quiet_hours: quiet.iter().map(|scored| hours(scored.simulated_ms)).sum(),
        quiet_incidents: quiet
            .iter()
            .map(|scored| scored.judgement.totals.false_incidents)
            .sum(),
        worst: worst(wrong),
        complaints: list,
        further_complaints,
    }
}

fn worst(wrong: BTreeMap<u64, u32>) -> Vec<(u64, u32)> {
    let mut worst: Vec<(u64, u32)> = wrong.into_iter().filter(|(_, sum)| *sum > 0).collect();
    worst.sort_by_key(|(seed, sum)| (Reverse(*sum), *seed));
    worst.truncate(LISTED);
    worst
}

impl OfScenario {
    fn add(&mut self, row: &Row) {
        self.faults += 1;
        self.detected += u32::from(row.incident.is_some());
        self.right_service += u32::from(row.right_service);
        self.right_type += u32::from(row.right_type);
        self.right_cause += u32::from(row.right_cause);
        self.incidents += u32::from(row.incident.is_some()) + count(row.duplicates.len());
        self.right_answer += u32::from(row.right_answer);
        self.in_first_three += u32::from(row.in_first_three);
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The smallest value that at least `percent` of the sorted values do not
/// exceed.
pub(crate) fn percentile(sorted: &[i64], percent: usize) -> Option<i64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

/// Simulated hours.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "durations are far below 2^53 ms"
)]
pub fn hours(ms: i64) -> f64 {
    ms as f64 / 3_600_000.0
}

/// The summary for people.
#[must_use]
pub fn words(summary: &Summary) -> String {
    let mut text = String::new();
    if summary.totals.faults > 0 {
        of_faults(&mut text, summary);
        of_scenarios(&mut text, summary);
    }
    if summary.quiet_hours > 0.0 {
        let per_hour = f64::from(summary.quiet_incidents) / summary.quiet_hours;
        put(
            &mut text,
            format_args!(
                "false, in quiet      {} in {:.1} h: {per_hour:.3} an hour, {:.2} a day",
                summary.quiet_incidents,
                summary.quiet_hours,
                per_hour * 24.0
            ),
        );
    }
    for (seed, complaint) in &summary.complaints {
        text.push_str(&wrapped(&format!("! seed {seed}: "), complaint));
    }
    if summary.further_complaints > 0 {
        let more = summary.further_complaints;
        put(
            &mut text,
            format_args!("! and {more} more, which --json lists"),
        );
    }
    if !summary.worst.is_empty() {
        let list: Vec<String> = summary
            .worst
            .iter()
            .map(|(seed, wrong)| format!("{seed} ({wrong})"))
            .collect();
        let mut list = list.join(", ");
        list.push_str("; look again: --seed N --count 1 --tell");
        if summary.quiet_hours > 0.0 {
            let each = summary.quiet_hours / f64::from(summary.seeds);
            list.push_str(&format!(" --quiet-hours {each}"));
        }
        text.push_str(&wrapped("worst seeds          ", &list));
    }
    text
}

fn of_faults(text: &mut String, summary: &Summary) {
    let totals = &summary.totals;
    let per_fault = f64::from(totals.incidents) / f64::from(totals.faults);
    let of = |count: u32| {
        let percent = 100.0 * f64::from(count) / f64::from(totals.faults);
        format!("{count} of {} ({percent:.1} %)", totals.faults)
    };
    let mails = totals
        .mails
        .map_or_else(|| "-".to_owned(), |mails| mails.to_string());
    let lines = [
        (
            "faults",
            format!("{} on {} seeds", totals.faults, summary.seeds),
        ),
        (
            "detected",
            format!("{}; {} absorbed", of(totals.detected), totals.absorbed),
        ),
        (
            "incidents per fault",
            format!("{per_fault:.2} ({} duplicates)", totals.duplicates),
        ),
        ("right service first", of(totals.right_service)),
        ("right type", of(totals.right_type)),
        ("right cause first", of(totals.right_cause)),
        ("both right first", of(totals.right_answer)),
        ("both in first three", of(totals.in_first_three)),
        ("resolved", of(totals.resolved)),
        (
            "time to detect",
            format!(
                "median {}, p90 {} (simulated)",
                seconds(summary.detect_median_ms),
                seconds(summary.detect_p90_ms)
            ),
        ),
        ("mails", mails),
        ("false, among faults", totals.false_incidents.to_string()),
    ];
    for (name, value) in lines {
        put(text, format_args!("{name:<20} {value}"));
    }
}

fn of_scenarios(text: &mut String, summary: &Summary) {
    put(
        text,
        format_args!(
            "{:<24} {:>6} {:>8} {:>7} {:>6} {:>6} {:>7} {:>7}",
            "scenario", "faults", "detected", "service", "type", "cause", "median", "p90"
        ),
    );
    for (name, sums) in &summary.scenarios {
        put(
            text,
            format_args!(
                "{name:<24} {:>6} {:>8} {:>7} {:>6} {:>6} {:>7} {:>7}",
                sums.faults,
                sums.detected,
                sums.right_service,
                sums.right_type,
                sums.right_cause,
                seconds(sums.detect_median_ms),
                seconds(sums.detect_p90_ms)
            ),
        );
    }
    put(
        text,
        format_args!(
            "{:<24} {:>6} {:>9} {:>6} {:>6} {:>7} {:>7}",
            "scenario", "faults", "incidents", "top-1", "top-3", "rca", "p90"
        ),
    );
    for (name, sums) in &summary.scenarios {
        put(
            text,
            format_args!(
                "{name:<24} {:>6} {:>9} {:>6} {:>6} {:>7} {:>7}",
                sums.faults,
                sums.incidents,
                sums.right_answer,
                sums.in_first_three,
                seconds(sums.decide_median_ms),
                seconds(sums.decide_p90_ms)
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        // Wikipedia, "Percentile", the nearest-rank method: of 15, 20, 35, 40,
        // 50 the 30th percentile is 20, the 40th 20, the 50th 35, the 100th 50.
        let list = [15, 20, 35, 40, 50];
        for (percent, value) in [(5, 15), (30, 20), (40, 20), (50, 35), (100, 50)] {
            assert_eq!(percentile(&list, percent), Some(value), "{percent}");
        }
        assert_eq!(percentile(&[], 50), None);
    }
}
