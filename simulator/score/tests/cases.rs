//! The judgement of cases, and some of them lived through.

use midwatch_events::anomaly::{Anomaly, AnomalyType, Direction, Severity, Transition};
use midwatch_events::incident::{BlastRadius, GroupedAnomaly, IncidentHeader, IncidentOpened};
use midwatch_events::knowledge::Catalogue;
use midwatch_events::{Event, ids};
use midwatch_score::case_report::{case_table, case_words, span};
use midwatch_score::cases::{CaseRow, case_summary, judge_case};
use midwatch_score::quiet::{quiet_days, quiet_table};
use midwatch_score::report::WIDTH;
use midwatch_score::virtual_run::Setup;
use midwatch_score::virtual_run::odd::CaseStory;
use midwatch_score::virtual_run::replay::Published;
use midwatch_simulator::cases::{Case, Expected, Kind, Truth};
use midwatch_simulator::fleet::{Metric, Service};
use midwatch_simulator::rhythm::Rhythm;
use uuid::Uuid;

const MINUTE_MS: i64 = 60_000;
/// The first moment of the cases here: one hour of them is judged.
const FROM_MS: i64 = 1_000 * MINUTE_MS;

fn truth(kind: Kind) -> Truth {
    Truth {
        service: Service::Order,
        from_ms: FROM_MS,
        until_ms: FROM_MS + 60 * MINUTE_MS,
        ..Case::drawn(kind, 1, 0, &Rhythm::standard()).truth()
    }
}

fn anomaly(metric: &str, minute: i64) -> Anomaly {
    let detected_at_ms = FROM_MS + minute * MINUTE_MS;
    Anomaly {
        anomaly_id: ids::derive(&[metric, &minute.to_string()]),
        environment: "simulation".to_owned(),
        transition: Transition::Started,
        anomaly_type: AnomalyType::MemoryLeak,
        severity: Severity::High,
        service: Service::Order.name().to_owned(),
        trigger_metric: metric.to_owned(),
        observed_value: 60.0,
        baseline_value: 45.0,
        deviation_sigma: 4.0,
        anomaly_score: 0.9,
        direction: Direction::Above,
        detected_at_ms,
        detected_wall_ms: detected_at_ms,
        onset_ms: detected_at_ms - MINUTE_MS,
        description: String::new(),
        evidence: Vec::new(),
    }
}

fn grouped(anomaly: &Anomaly) -> GroupedAnomaly {
    GroupedAnomaly {
        anomaly_id: anomaly.anomaly_id,
        service: anomaly.service.clone(),
        trigger_metric: anomaly.trigger_metric.clone(),
        anomaly_type: anomaly.anomaly_type,
        severity: anomaly.severity,
        direction: anomaly.direction,
        observed_value: 0.0,
        baseline_value: 0.0,
        deviation_sigma: 0.0,
        onset_ms: anomaly.onset_ms,
        detected_at_ms: anomaly.detected_at_ms,
        description: String::new(),
        reason: String::new(),
        observed_at_ms: None,
        cleared_at_ms: None,
    }
}

/// An incident that was opened in this minute of the case on these anomalies.
fn opened(minute: i64, of: &[&Anomaly]) -> Event {
    let first = of[0];
    Event::Opened(Box::new(IncidentOpened {
        left_out: Vec::new(),
        header: IncidentHeader {
            incident_id: Uuid::from_u128(u128::from(minute.unsigned_abs())),
            short_id: format!("INC-{minute:08}"),
            environment: first.environment.clone(),
            severity: first.severity,
            anomaly_type: first.anomaly_type,
            affected_services: vec![first.service.clone()],
            detected_at_ms: first.detected_at_ms,
            detected_wall_ms: first.detected_at_ms,
        },
        opened_at_ms: FROM_MS + minute * MINUTE_MS,
        trigger_metric: first.trigger_metric.clone(),
        observed_value: 0.0,
        baseline_value: 0.0,
        deviation_sigma: 0.0,
        anomaly_score: 0.0,
        blast_radius: BlastRadius {
            impaired: Vec::new(),
            at_risk: Vec::new(),
            requests_per_second: None,
            description: String::new(),
        },
        correlation_signals: Vec::new(),
        deployment_context: None,
        recent_metrics: Vec::new(),
        recent_errors: Vec::new(),
        more_anomalies: None,
        grouped_anomalies: of.iter().map(|one| grouped(one)).collect(),
        description: String::new(),
        declared: None,
    }))
}

fn judged(truth: Truth, events: impl IntoIterator<Item = Event>) -> CaseRow {
    let published = events.into_iter().map(|event| {
        let wall_ms = event.time_ms();
        Published { wall_ms, event }
    });
    judge_case(
        7,
        &CaseStory {
            truth,
            published: published.collect(),
            simulated_ms: 24 * 60 * MINUTE_MS,
        },
    )
}

#[test]
fn a_leak_is_found_by_the_incident_that_holds_its_sign() {
    let memory = anomaly(Metric::Memory.name(), 14);
    let stranger = anomaly("service_request_rate", 3);
    let row = judged(
        truth(Kind::SlowLeak),
        [
            Event::Anomaly(stranger.clone()),
            opened(4, &[&stranger]),
            Event::Anomaly(memory.clone()),
            opened(15, &[&memory]),
        ],
    );
    assert!(row.is_as_it_should_be);
    assert_eq!(row.sign.expect("a sign").after_ms, 14 * MINUTE_MS);
    let page = row.page.expect("a page");
    assert_eq!(page.after_ms, 15 * MINUTE_MS);
    assert_eq!(page.incident, "INC-00000015");
    assert_eq!(row.others, 1, "the other one is false");
}

#[test]
fn what_comes_too_early_too_late_elsewhere_or_on_the_other_side_is_no_sign() {
    let name = Metric::Memory.name();
    let mut elsewhere = anomaly(name, 10);
    elsewhere.service = Service::User.name().to_owned();
    let mut below = anomaly(name, 10);
    below.direction = Direction::Below;
    let mut silence = anomaly(name, 10);
    silence.transition = Transition::Missing;
    let mut cleared = anomaly(name, 10);
    cleared.transition = Transition::Cleared;
    let (early, late) = (anomaly(name, -1), anomaly(name, 61));
    for wrong in [elsewhere, below, silence, cleared, early, late] {
        let row = judged(
            truth(Kind::SlowLeak),
            [Event::Anomaly(wrong.clone()), opened(20, &[&wrong])],
        );
        assert!(row.sign.is_none() && row.page.is_none(), "{wrong:?}");
        assert!(!row.is_as_it_should_be && row.others == 1, "{row:?}");
        assert!(row.complaints()[0].ends_with("not found"));
    }
    let leak = || Truth {
        told_ms: Some(FROM_MS + 40 * MINUTE_MS),
        ..truth(Kind::SlowLeak)
    };
    let tells = |trigger: &str, minute| {
        let row = judged(leak(), [Event::Anomaly(anomaly(trigger, minute))]);
        row.sign.is_some()
    };
    assert!(tells("log:out_of_memory", 45), "it is told once it hurts");
    assert!(!tells("log:out_of_memory", 39), "not by the lines before");
    assert!(!tells("kubernetes:oom_killed", 45), "nor by its kill");
    assert!(!tells(name, 61), "nor after its end");
}

#[test]
fn an_incident_that_was_open_before_tells_nobody() {
    let (before, sign) = (anomaly("x", -30), anomaly(Metric::Memory.name(), 10));
    let row = judged(
        truth(Kind::SlowLeak),
        [opened(-29, &[&before, &sign]), Event::Anomaly(sign)],
    );
    assert!(row.absorbed && row.page.is_none() && !row.is_as_it_should_be);
    assert!(row.complaints()[0].contains("open before"), "{row:?}");
}

#[test]
fn a_finding_suffices_where_silence_or_an_odd_day_is_expected() {
    let vanished = Truth {
        metrics: vec![Metric::Cpu],
        ..truth(Kind::VanishedSeries)
    };
    let mut silence = anomaly(Metric::Cpu.name(), 2);
    silence.transition = Transition::Missing;
    let row = judged(vanished.clone(), [Event::Anomaly(silence)]);
    assert!(row.is_as_it_should_be && row.page.is_none(), "{row:?}");
    let value = judged(vanished, [Event::Anomaly(anomaly(Metric::Cpu.name(), 2))]);
    assert!(!value.is_as_it_should_be, "a value is no silence");
    let late = anomaly(Metric::Latency.name(), 5);
    assert!(judged(truth(Kind::PeakAtNight), [Event::Anomaly(late)]).is_as_it_should_be);
}

#[test]
fn a_healthy_case_may_be_looked_at_but_wakes_nobody() {
    let cpu = anomaly(Metric::Cpu.name(), 2);
    for kind in [Kind::DeployShift, Kind::NoisyHealthy, Kind::NightlyBatch] {
        assert_eq!(kind.expected(), Expected::Nothing);
        let seen = judged(truth(kind), [Event::Anomaly(cpu.clone())]);
        assert!(seen.is_as_it_should_be, "{kind:?}");
        let events = [Event::Anomaly(cpu.clone()), opened(3, &[&cpu])];
        let woken = judged(truth(kind), events);
        assert!(!woken.is_as_it_should_be, "{kind:?}");
        assert_eq!(woken.complaints().len(), 1, "{:?}", woken.complaints());
        let before = anomaly(Metric::Cpu.name(), -30);
        let events = [Event::Anomaly(before.clone()), opened(-29, &[&before])];
        let learnt = judged(truth(kind), events);
        assert!(learnt.is_as_it_should_be, "{kind:?}");
        assert_eq!((learnt.learning, learnt.others), (1, 0), "{kind:?}");
    }
}

#[test]
fn the_tables_say_how_long_it_took() {
    let memory = anomaly(Metric::Memory.name(), 14);
    let late = anomaly(Metric::Memory.name(), 50);
    let leak = |sign: &Anomaly, minute| {
        let events = [Event::Anomaly(sign.clone()), opened(minute, &[sign])];
        judged(truth(Kind::SlowLeak), events)
    };
    let rows = [
        leak(&memory, 15),
        leak(&late, 51),
        judged(truth(Kind::DropToZero), []),
    ];
    let summary = case_summary(&rows);
    assert_eq!((summary.cases, summary.as_they_should_be), (3, 2));
    let text = case_table(&rows) + &case_words(&rows, &summary);
    for line in [
        "case            service                seen  paged   ok named",
        "SLOW_LEAK       order-service           14m    15m  yes MEMORY_LEAK",
        "DROP_TO_ZERO    order-service             -      -   NO -",
        "case            expected      ok   seen  worst  paged  worst  named",
        "SLOW_LEAK       incident     2/2    14m    50m    15m    51m  MEMORY_LEAK",
        "DROP_TO_ZERO    incident     0/1      -      -      -      -  -",
        "as they should be    2 of 3",
        "while learning       0 incidents of what turned out healthy",
        "other incidents      0 in 72.0 h around the cases: 0.00 a day",
        "! DROP_TO_ZERO of seed 7 on order-service: not found",
    ] {
        assert!(text.lines().any(|one| one == line), "{line:?} in\n{text}");
    }
    for line in text.lines() {
        assert!(line.chars().count() <= WIDTH, "{line:?}");
    }
    for (ms, words) in [
        (119_999, "119s"),
        (120_000, "2m"),
        (7_199_000, "119m"),
        (7_200_000, "2.0h"),
        (12_600_000, "3.5h"),
    ] {
        assert_eq!(span(Some(ms)), words);
    }
}

fn setup(seed: u64) -> Setup {
    let text = include_str!("../../../knowledge/services.json");
    let catalogue = Catalogue::parse(text).expect("the catalogue is readable");
    Setup::new(seed, catalogue)
}

#[test]
fn traffic_that_stops_is_found_within_two_minutes_and_the_same_again() {
    let setup = setup(1);
    let run = || judge_case(1, &setup.case(Kind::DropToZero, None));
    let row = run();
    assert!(row.is_as_it_should_be, "{row:?}");
    let page = row.page.clone().expect("an incident");
    assert!(page.after_ms <= 2 * MINUTE_MS, "{page:?}");
    assert_eq!(page.anomaly_type, "TRAFFIC_DROP");
    assert_eq!(row, run());
}

#[test]
fn quiet_days_are_counted_by_day() {
    let days = quiet_days(&setup(2), 1.5, None);
    assert_eq!((days.fleet, days.by_day.len()), ("drawn", 2));
    let sum: u32 = days.by_day.iter().sum();
    assert_eq!(sum as usize, days.incidents.len(), "every one is false");
    assert!((days.rate() - f64::from(sum) / 1.5).abs() < 1e-12);
    let text = quiet_table(std::slice::from_ref(&days));
    let by_day = format!("{} {}", days.by_day[0], days.by_day[1]);
    assert!(
        text.lines().nth(1).expect("a row").ends_with(&by_day),
        "{text}"
    );
    for line in text.lines() {
        assert!(line.chars().count() <= WIDTH, "{line:?}");
    }
}
