//! How fast budgets burn, by sums that can be done by hand.

mod fleet;

use fleet::{Rig, START_MS, TICK_MS, anomalies, metric, transitions};
use midwatch_detection::decide::burn::{Burn, BurnAlert, Objective, Rule};
use midwatch_detection::decide::state::PartitionState;
use midwatch_events::knowledge::Catalogue;
use midwatch_events::{Anomaly, AnomalyType, Severity, Transition};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const ERRORS: &str = "service_error_rate_percent";
const REQUESTS: &str = "service_request_rate";

/// A budget with its clock.
struct Bed {
    burn: Burn,
    objective: Objective,
    now_ms: i64,
    told: Vec<(i64, BurnAlert)>,
}

impl Bed {
    fn new(percent: f64) -> Bed {
        Bed {
            burn: Burn::default(),
            objective: Objective::of_percent(percent).expect("a percentage below 100"),
            now_ms: START_MS,
            told: Vec::new(),
        }
    }

    /// Feeds a reading each tick for so long.
    fn feed(&mut self, lasts_ms: i64, failed: f64, rate: Option<f64>) {
        let end_ms = self.now_ms + lasts_ms;
        while self.now_ms < end_ms {
            self.now_ms += TICK_MS;
            let alert = self.burn.observe(self.now_ms, failed, rate, self.objective);
            self.told
                .extend(alert.map(|alert| (self.now_ms - START_MS, alert)));
        }
    }

    fn rules(&self) -> Vec<(Rule, Transition)> {
        let rules = self.told.iter();
        rules
            .map(|(_, alert)| (alert.rule, alert.transition))
            .collect()
    }
}

#[test]
fn an_hour_at_fifteen_times_the_budget_pages_once_half_of_it_is_known() {
    let mut bed = Bed::new(99.9);
    bed.feed(HOUR_MS, 0.0146, Some(50.0));
    let [(at_ms, alert)] = bed.told[..] else {
        panic!("{:?}", bed.told)
    };
    // The first reading speaks for nothing; the windows' oldest minutes are cut
    // off in whole stretches of five.
    assert!((30 * 60_000..=35 * 60_000).contains(&at_ms), "{at_ms}");
    assert_eq!(
        (alert.rule, alert.severity),
        (Rule::Fast, Severity::Critical)
    );
    assert!((alert.burn_long - 14.6).abs() < 1e-3, "{alert:?}");
    // Half an hour of 720 at 14.6 has spent 1 %; the rest lasts for 48.8 hours.
    assert!((alert.budget_left_fraction - 0.98986).abs() < 1e-3);
    assert_eq!(
        alert.words(),
        "1.5 % of requests failed in the last hour: 14.6 × the budget of a 99.9 % objective; at this pace what is left of the 30-day budget (99 %) is gone in 2 days"
    );
}

#[test]
fn it_clears_by_the_short_window_while_the_long_one_is_still_bad() {
    let mut bed = Bed::new(99.0);
    bed.feed(2 * HOUR_MS, 0.005, Some(50.0));
    bed.feed(HOUR_MS / 2, 0.45, Some(50.0));
    let good_ms = bed.now_ms - START_MS;
    bed.feed(HOUR_MS, 0.005, Some(50.0));
    let seen = bed.rules();
    let fast = (Rule::Fast, Transition::Started);
    assert_eq!(seen[0], fast, "{:?}", bed.told);
    // 0.45 lifts the hour to 14.4 % after x of 60 minutes: 0.45x + 0.5 %(60 − x) =
    // 8.64, x = 18.7.
    let started_ms = bed.told[0].0 - 2 * HOUR_MS;
    assert!(
        (17 * 60_000..20 * 60_000).contains(&started_ms),
        "{started_ms}"
    );
    // After 2.5 of about 3 covered hours the six hours hold as well: they go on
    // until half an hour is below 6 %.
    let (cleared_ms, cleared) = bed.told[bed.told.len() - 1];
    assert_eq!(cleared.transition, Transition::Cleared);
    let after = cleared_ms - good_ms;
    assert!((60_000..31 * 60_000).contains(&after), "{after}: {seen:?}");
    assert!(
        cleared
            .words()
            .contains("× the budget of a 99 % objective over the last")
    );
}

#[test]
fn a_slow_loss_is_a_ticket_and_grows_into_pages_under_one_alert() {
    let mut bed = Bed::new(99.0);
    bed.feed(2 * DAY_MS, 0.015, Some(10.0));
    assert_eq!(bed.rules(), [(Rule::Ticket, Transition::Started)]);
    let (at_ms, ticket) = bed.told[0];
    // Half of three days.
    assert!((36 * HOUR_MS..38 * HOUR_MS).contains(&at_ms), "{at_ms}");
    assert_eq!(ticket.severity, Severity::Low);
    assert!((ticket.burn_long - 1.5).abs() < 1e-3);
    bed.feed(8 * HOUR_MS, 0.08, Some(10.0));
    bed.feed(2 * HOUR_MS, 0.30, Some(10.0));
    bed.feed(12 * HOUR_MS, 0.002, Some(10.0));
    assert_eq!(
        bed.rules(),
        [
            (Rule::Ticket, Transition::Started),
            (Rule::Slow, Transition::Worsened),
            (Rule::Fast, Transition::Worsened),
            (Rule::Ticket, Transition::Cleared),
        ]
    );
    assert!(!bed.burn.is_alerting());
    let left = bed.told[3].1.budget_left_fraction;
    // 48 h at 1.5, 8 h at 8, 2 h at 30 and some at 0.2 of 720 h at 1.
    let spent = (48.0 * 1.5 + 8.0 * 8.0 + 2.0 * 30.0) / 720.0;
    assert!((1.0 - left - spent).abs() < 0.01, "{left}");
}

#[test]
fn errors_weigh_by_their_requests_and_else_by_time() {
    // Every request fails, but only one in a hundred comes then.
    let mut bed = Bed::new(99.0);
    for _ in 0..90 {
        bed.feed(TICK_MS, 1.0, Some(1.0));
        bed.feed(TICK_MS, 0.0, Some(99.0));
    }
    bed.feed(HOUR_MS, 0.0, Some(0.0));
    assert_eq!(bed.told, []);
    // Without rates it is half of the time: 50 times the budget.
    let mut bed = Bed::new(99.0);
    for _ in 0..120 {
        bed.feed(TICK_MS, 1.0, None);
        bed.feed(TICK_MS, 0.0, None);
    }
    assert_eq!(bed.rules(), [(Rule::Fast, Transition::Started)]);
    assert!((bed.told[0].1.burn_long - 50.0).abs() < 1.0);
    // A rate that becomes known weighs what was before as much.
    let mut bed = Bed::new(99.0);
    bed.feed(20 * 60_000, 0.30, None);
    bed.feed(20 * 60_000, 0.20, Some(500.0));
    let burn = bed.told[0].1.burn_long;
    // 20 minutes at 30 and 10 at 20.
    assert!((25.0..28.0).contains(&burn), "{burn}");
}

#[test]
fn time_without_data_is_neither_good_nor_bad() {
    // A quarter of an hour of errors, then silence, then one reading an hour
    // later: a quarter of the hour is not enough to say anything.
    let mut bed = Bed::new(99.0);
    bed.feed(15 * 60_000, 0.5, Some(10.0));
    bed.now_ms += 40 * 60_000;
    bed.feed(TICK_MS, 0.5, Some(10.0));
    assert_eq!(bed.told, [], "half of no window is covered");
    // An alert outlives a gap: nobody has seen it end.
    let mut bed = Bed::new(99.0);
    bed.feed(HOUR_MS, 0.5, Some(10.0));
    assert!(bed.burn.is_alerting());
    bed.now_ms += 5 * HOUR_MS;
    bed.feed(2 * 60_000, 0.0, Some(10.0));
    assert!(bed.burn.is_alerting(), "two minutes prove nothing");
    bed.feed(10 * 60_000, 0.0, Some(10.0));
    assert!(!bed.burn.is_alerting());
}

#[test]
fn late_and_unusable_readings_change_nothing() {
    let mut bed = Bed::new(99.0);
    bed.feed(HOUR_MS, 0.004, Some(10.0));
    let before = bed.burn.clone();
    for (at_ms, failed) in [
        (bed.now_ms, 1.0),
        (bed.now_ms - 60_000, 1.0),
        (bed.now_ms + TICK_MS, f64::NAN),
    ] {
        let told = bed.burn.observe(at_ms, failed, Some(10.0), bed.objective);
        assert_eq!((told, &bed.burn), (None, &before));
    }
    assert_eq!(Objective::of_percent(100.0), None);
    assert_eq!(Objective::of_percent(0.999), None);
}

#[test]
fn it_is_small_and_comes_back_from_text_as_it_was() {
    assert!(size_of::<Burn>() <= 2_048, "{}", size_of::<Burn>());
    let mut noise = fleet::Noise(3);
    let objective = Objective::of_percent(99.0).unwrap();
    let (mut kept, mut stored) = (Burn::default(), Burn::default());
    let mut at_ms = START_MS;
    let mut alerts = 0;
    for step in 0..30_000 {
        at_ms += 30_000 + (29_000.0 * noise.next()) as i64;
        if step % 4_000 == 3_999 {
            at_ms += 7 * HOUR_MS;
        }
        let level = if step / 3_000 % 2 == 0 { 0.004 } else { 0.3 };
        let failed = level * (1.0 + 0.3 * noise.next());
        let rate = (step % 7 > 2).then(|| 40.0 + noise.next());
        let told = kept.observe(at_ms, failed, rate, objective);
        let text = serde_json::to_string(&stored).unwrap();
        stored = serde_json::from_str(&text).unwrap();
        assert_eq!(stored.observe(at_ms, failed, rate, objective), told);
        alerts += usize::from(told.is_some());
    }
    assert_eq!(stored, kept);
    assert!(alerts >= 5, "{alerts}");
    let error = serde_json::from_str::<Burn>(r#"{"last_ms":1,"minutes":"x"}"#);
    assert!(error.is_err());
}

fn rig() -> Rig {
    let mut rig = Rig::new();
    let text = include_str!("../../../knowledge/services.json");
    let catalogue = Catalogue::parse(text).expect("the text above is a catalogue");
    rig.detector = rig.detector.with_catalogue(&catalogue);
    rig
}

/// Feeds a service's rates for so long and gives back what its budget says.
fn live(rig: &mut Rig, service: &str, from_ms: i64, lasts_ms: i64, errors: f64) -> Vec<Anomaly> {
    let mut noise = fleet::Noise(from_ms as u64);
    let mut told = Vec::new();
    for at_ms in (from_ms..from_ms + lasts_ms).step_by(TICK_MS as usize) {
        let rate = noise.around(60.0, 0.08);
        let mut effects = rig.feed(metric(service, REQUESTS, at_ms, rate));
        let errors = noise.around(errors, 0.3);
        effects.extend(rig.feed(metric(service, ERRORS, at_ms, errors)));
        rig.wall_ms += TICK_MS;
        told.extend(anomalies(effects));
    }
    told.retain(|anomaly| anomaly.trigger_metric == "slo:availability");
    told
}

#[test]
fn a_service_with_an_objective_is_told_beside_its_error_rate() {
    let mut rig = rig();
    let quiet = live(&mut rig, "order-service", START_MS, DAY_MS, 0.5);
    assert_eq!(quiet, [], "healthy operation stays within the budget");
    let bad_ms = START_MS + DAY_MS;
    let mut found = live(&mut rig, "order-service", bad_ms, HOUR_MS, 30.0);
    found.extend(live(
        &mut rig,
        "order-service",
        bad_ms + HOUR_MS,
        6 * HOUR_MS,
        0.3,
    ));
    assert_eq!(
        transitions(&found),
        [Transition::Started, Transition::Cleared],
        "{found:#?}"
    );
    let (started, cleared) = (&found[0], &found[1]);
    assert_eq!(started.anomaly_type, AnomalyType::ErrorRateSpike);
    assert_eq!(started.severity, Severity::Critical);
    assert_eq!(started.anomaly_id, cleared.anomaly_id);
    assert_eq!(started.service, "order-service");
    assert!((started.baseline_value - 1.0).abs() < 1e-9, "percent");
    assert!(started.observed_value > 14.4 && started.observed_value < 20.0);
    assert!((bad_ms..bad_ms + 5 * 60_000).contains(&started.onset_ms));
    assert!(
        started
            .description
            .starts_with("error budget of order-service: "),
        "{}",
        started.description
    );
}

#[test]
fn nobody_is_woken_at_once_for_a_service_that_nobody_waits_for() {
    let mut rig = rig();
    let found = live(&mut rig, "notification-service", START_MS, HOUR_MS, 40.0);
    assert_eq!(transitions(&found), [Transition::Started]);
    assert_eq!(found[0].severity, Severity::High);
}

#[test]
fn without_an_objective_nothing_is_kept_and_nothing_is_told() {
    let mut rig = rig();
    assert_eq!(live(&mut rig, "stranger", START_MS, HOUR_MS, 40.0), []);
    let fields = |rig: &Rig| {
        let dump = rig.state.dump();
        dump.iter()
            .filter(|(key, _)| key.contains("Budget"))
            .count()
    };
    assert_eq!(fields(&rig), 0);
    let mut plain = Rig::new();
    assert_eq!(
        live(&mut plain, "order-service", START_MS, HOUR_MS, 40.0),
        []
    );
    assert_eq!(fields(&plain), 0);
}

#[test]
fn a_restart_changes_nothing_and_a_vanished_service_is_closed() {
    let (mut through, mut again) = (rig(), rig());
    let mut found = (Vec::new(), Vec::new());
    for part in 0..24 {
        let from_ms = START_MS + part * HOUR_MS / 2;
        let errors = if part > 18 { 35.0 } else { 0.5 };
        let service = "payment-service";
        found
            .0
            .extend(live(&mut through, service, from_ms, HOUR_MS / 2, errors));
        again.state = PartitionState::restore(again.state.dump()).unwrap();
        found
            .1
            .extend(live(&mut again, service, from_ms, HOUR_MS / 2, errors));
    }
    assert_eq!(found.0, found.1);
    assert_eq!(through.state.dump(), again.state.dump());
    assert_eq!(found.0.last().unwrap().transition, Transition::Started);
    // Two days in which only another service speaks.
    let from_ms = START_MS + DAY_MS / 2;
    let mut last = Vec::new();
    for at_ms in (from_ms..from_ms + 2 * DAY_MS).step_by(20_000) {
        last.extend(through.anomalies(metric("user-service", "queue", at_ms, 1.0)));
    }
    last.retain(|anomaly| anomaly.trigger_metric == "slo:availability");
    assert_eq!(transitions(&last), [Transition::Cleared]);
    assert!(
        last[0].description.contains("no longer reported"),
        "{last:?}"
    );
    let left = through.state.dump();
    assert!(!left.iter().any(|(key, _)| key.contains("payment-service")));
}
