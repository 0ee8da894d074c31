//! Quiet days with a rhythm: every incident in them is false.

use crate::judge::Incident;
use crate::report::{put, wrapped};
use crate::virtual_run::{Setup, Story, Telling};
use midwatch_simulator::rhythm::DAY_MS;
use serde::Serialize;

/// False incidents are to be fewer than so many a day.
pub const MOST_A_DAY: f64 = 0.1;
/// False incidents that are listed.
const LISTED: usize = 12;

/// Quiet days of one fleet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QuietDays {
    pub seed: u64,
    /// `standard` or `drawn`.
    pub fleet: &'static str,
    pub days: f64,
    /// False incidents of each day, the first of which knows nothing yet.
    pub by_day: Vec<u32>,
    pub incidents: Vec<Incident>,
    /// The first moment, epoch milliseconds.
    pub began_ms: i64,
}

/// Runs so many days of all six services with a daily rhythm and no fault,
/// from a Monday on, waiting on the wall as long as in life.
#[must_use]
pub fn quiet_days(setup: &Setup, days: f64, telling: Option<Telling<'_>>) -> QuietDays {
    let setup = Setup {
        speed: 1,
        rhythm: true,
        ..setup.clone()
    };
    let story = setup.quiet(24.0 * days, telling);
    count(&setup, days, story)
}

fn count(setup: &Setup, days: f64, story: Story) -> QuietDays {
    let mut incidents = story.incidents;
    incidents.retain(|incident| !incident.merged);
    incidents.sort_by_key(|incident| incident.opened_ms);
    let began_ms = setup.live_ms();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a run has few days, and not fewer than none"
    )]
    let mut by_day = vec![0; days.ceil().max(1.0) as usize];
    for incident in &incidents {
        let day = usize::try_from((incident.opened_ms - began_ms) / DAY_MS).unwrap_or(0);
        let last = by_day.len() - 1;
        by_day[day.min(last)] += 1;
    }
    QuietDays {
        seed: setup.seed,
        fleet: if setup.varied { "drawn" } else { "standard" },
        days,
        by_day,
        incidents,
        began_ms,
    }
}

impl QuietDays {
    /// False incidents a day.
    #[must_use]
    pub fn rate(&self) -> f64 {
        f64::from(self.by_day.iter().sum::<u32>()) / self.days
    }
}

/// False incidents a day over all fleets.
#[must_use]
pub fn rate(all: &[QuietDays]) -> f64 {
    let days: f64 = all.iter().map(|one| one.days).sum();
    let sum: u32 = all.iter().flat_map(|one| &one.by_day).sum();
    f64::from(sum) / days.max(f64::MIN_POSITIVE)
}

/// The table for people.
#[must_use]
pub fn quiet_table(all: &[QuietDays]) -> String {
    let mut text = String::new();
    let columns = ["fleet", "seed", "days", "false", "a day"];
    let [fleet, seed, days, sum, a_day] = columns;
    put(
        &mut text,
        format_args!("{fleet:<9} {seed:>10} {days:>6} {sum:>6} {a_day:>6}  by day"),
    );
    for one in all {
        let by_day: Vec<String> = one.by_day.iter().map(u32::to_string).collect();
        let head = format!(
            "{:<9} {:>10} {:>6.1} {:>6} {:>6.2}  ",
            one.fleet,
            one.seed,
            one.days,
            one.by_day.iter().sum::<u32>(),
            one.rate()
        );
        text.push_str(&wrapped(&head, &by_day.join(" ")));
    }
    put(
        &mut text,
        format_args!(
            "false incidents a day  {:.3} (fewer than {MOST_A_DAY} are wanted)",
            rate(all)
        ),
    );
    let told = all
        .iter()
        .flat_map(|one| one.incidents.iter().map(move |incident| (one, incident)));
    for (one, incident) in told.take(LISTED) {
        let minute = (incident.opened_ms - one.began_ms) / 60_000;
        let words = format!(
            "{} fleet {}: day {} {:02}:{:02} {} on {}",
            one.fleet,
            one.seed,
            1 + minute / 1_440,
            minute / 60 % 24,
            minute % 60,
            incident.anomaly_type,
            incident.services.join(", ")
        );
        text.push_str(&wrapped("! ", &words));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use midwatch_events::knowledge::Catalogue;

    fn incident(opened_ms: i64, merged: bool) -> Incident {
        Incident {
            id: "INC-1".to_owned(),
            environment: "simulation".to_owned(),
            detected_ms: opened_ms,
            onset_ms: None,
            opened_ms,
            decided_ms: None,
            conclusive: None,
            resolved_ms: None,
            services: vec!["order-service".to_owned(), "api-gateway".to_owned()],
            anomaly_type: "CPU_SATURATION".to_owned(),
            candidates: Vec::new(),
            mails: None,
            merged,
            returns: Vec::new(),
        }
    }

    #[test]
    fn every_incident_is_false_counts_on_its_day_and_is_told() {
        let catalogue = include_str!("../../../knowledge/services.json");
        let catalogue = Catalogue::parse(catalogue).expect("the catalogue is readable");
        let setup = Setup {
            rhythm: true,
            ..Setup::new(5, catalogue)
        };
        let began_ms = setup.live_ms();
        let after_h = |hours: i64| began_ms + hours * 3_600_000;
        let story = Story {
            incidents: vec![
                incident(after_h(50), false),
                incident(after_h(1), false),
                incident(after_h(2), true),
                incident(after_h(51), false),
            ],
            ..Story::default()
        };
        let days = count(&setup, 2.5, story);
        assert_eq!(days.by_day, [1, 0, 2]);
        assert!((days.rate() - 1.2).abs() < 1e-12);
        let calm = count(&setup, 7.5, Story::default());
        assert!((rate(&[days.clone(), calm.clone()]) - 0.3).abs() < 1e-12);
        let text = quiet_table(&[days, calm]);
        for line in [
            "drawn              5    2.5      3   1.20  1 0 2",
            "drawn              5    7.5      0   0.00  0 0 0 0 0 0 0 0",
            "false incidents a day  0.300 (fewer than 0.1 are wanted)",
            "! drawn fleet 5: day 1 01:00 CPU_SATURATION on order-service, api-gateway",
            "! drawn fleet 5: day 3 02:00 CPU_SATURATION on order-service, api-gateway",
        ] {
            assert!(text.lines().any(|one| one == line), "{line:?} in\n{text}");
        }
    }
}
