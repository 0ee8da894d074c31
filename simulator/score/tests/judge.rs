//! What belongs to what, and what is counted.

use midwatch_events::GroundTruth;
use midwatch_score::judge::{
    Candidate, Fault, GRACE_MS, Incident, Judgement, Totals, faults, judge,
};
use proptest::prelude::*;

const START: i64 = 1_000_000_000;

fn fault(id: &str, scenario: &str, service: &str, from_s: i64, to_s: i64) -> Fault {
    Fault {
        id: id.to_owned(),
        scenario: scenario.to_owned(),
        service: service.to_owned(),
        environment: "simulation".to_owned(),
        started_ms: START + from_s * 1_000,
        ended_ms: START + to_s * 1_000,
        affected: vec![service.to_owned(), "gateway".to_owned()],
    }
}

fn incident(id: &str, kind: &str, services: &[&str], detected_s: i64) -> Incident {
    Incident {
        id: id.to_owned(),
        environment: "simulation".to_owned(),
        detected_ms: START + detected_s * 1_000,
        onset_ms: Some(START + detected_s * 1_000 - 10_000),
        opened_ms: START + detected_s * 1_000 + 3_000,
        decided_ms: Some(START + detected_s * 1_000 + 9_000),
        conclusive: Some(true),
        resolved_ms: Some(START + detected_s * 1_000 + 200_000),
        services: services.iter().map(|name| (*name).to_owned()).collect(),
        anomaly_type: kind.to_owned(),
        candidates: vec![Candidate {
            service: services[0].to_owned(),
            cause: kind.to_owned(),
            confidence: 0.8,
        }],
        mails: Some(5),
        merged: false,
        returns: Vec::new(),
    }
}

#[test]
fn a_fault_that_is_found_has_every_figure() {
    let fault = fault("f", "LATENCY_SPIKE", "payment", 100, 340);
    let found = incident("INC-1", "LATENCY_SPIKE", &["payment", "gateway"], 120);
    let judgement = judge(std::slice::from_ref(&fault), &[found]);
    let row = &judgement.rows[0];
    assert_eq!(row.incident.as_deref(), Some("INC-1"));
    let times = (
        row.onset_after_ms,
        row.detected_after_ms,
        row.opened_after_ms,
    );
    assert_eq!(times, (Some(10_000), Some(20_000), Some(23_000)));
    assert_eq!(row.decided_after_ms, Some(29_000));
    assert_eq!(
        judgement.totals,
        Totals {
            faults: 1,
            detected: 1,
            incidents: 1,
            right_service: 1,
            right_type: 1,
            right_cause: 1,
            right_answer: 1,
            in_first_three: 1,
            resolved: 1,
            mails: Some(5),
            ..Totals::default()
        }
    );
}

/// Which incident is whose, for one incident beside two faults: payment from
/// 100 to 300 s, user from 500 to 700 s, both felt by the gateway.
#[test]
fn the_table_of_belonging() {
    let faults = [
        fault("one", "LATENCY_SPIKE", "payment", 100, 300),
        fault("two", "LATENCY_SPIKE", "user", 500, 700),
    ];
    let grace_s = GRACE_MS / 1_000;
    let cases: [(&[&str], i64, Option<usize>); 11] = [
        (&["payment"], 100, Some(0)),
        (&["payment"], 99, None),
        (&["gateway"], 200, Some(0)),
        (&["other", "gateway"], 200, Some(0)),
        (&["other"], 200, None),
        (&["payment"], 300 + grace_s, Some(0)),
        (&["payment"], 301 + grace_s, None),
        (&["user"], 200, None),
        (&["gateway"], 500, Some(1)),
        (&["payment"], 600, None),
        (&["gateway", "user"], 820, Some(1)),
    ];
    for (services, at_s, owner) in cases {
        let judgement = judge(&faults, &[incident("i", "UNKNOWN", services, at_s)]);
        let found = judgement.rows.iter().position(|row| row.incident.is_some());
        assert_eq!(found, owner, "{services:?} at {at_s} s");
        let strays = judgement.false_incidents.len();
        assert_eq!(strays, usize::from(owner.is_none()), "{services:?} {at_s}");
    }
}

#[test]
fn where_faults_overlap_the_name_decides_and_then_the_later_start() {
    let faults = [
        fault("one", "LATENCY_SPIKE", "payment", 100, 300),
        fault("two", "LATENCY_SPIKE", "user", 200, 400),
    ];
    let owner = |services: &[&str]| {
        let judgement = judge(&faults, &[incident("i", "UNKNOWN", services, 250)]);
        let mut rows = judgement.rows.iter();
        rows.position(|row| row.incident.is_some())
    };
    assert_eq!(owner(&["payment", "gateway"]), Some(0));
    assert_eq!(owner(&["user", "gateway"]), Some(1));
    assert_eq!(owner(&["gateway", "payment"]), Some(1));
}

#[test]
fn the_first_incident_counts_and_the_others_are_duplicates() {
    let faults = [fault("f", "LATENCY_SPIKE", "payment", 100, 300)];
    let late = incident("INC-2", "LATENCY_SPIKE", &["payment"], 180);
    let early = incident("INC-1", "ERROR_RATE_SPIKE", &["gateway"], 120);
    let judgement = judge(&faults, &[late, early]);
    let row = &judgement.rows[0];
    assert_eq!(row.incident.as_deref(), Some("INC-1"));
    assert_eq!(row.duplicates, ["INC-2"]);
    assert_eq!((row.right_service, row.right_type), (false, false));
    assert_eq!(row.first_service.as_deref(), Some("gateway"));
    assert_eq!(row.mails, Some(10));
    let totals = judgement.totals;
    assert_eq!((totals.incidents, totals.duplicates), (2, 1));
}

#[test]
fn a_merged_incident_is_neither_duplicate_nor_false_but_its_mails_were_sent() {
    let faults = [fault("f", "LATENCY_SPIKE", "payment", 100, 300)];
    let first = incident("INC-1", "LATENCY_SPIKE", &["payment"], 120);
    let mut second = incident("INC-2", "LATENCY_SPIKE", &["gateway"], 130);
    second.merged = true;
    let mut stray = incident("INC-3", "LATENCY_SPIKE", &["other"], 900);
    stray.merged = true;
    let totals = judge(&faults, &[first, second, stray]).totals;
    let sums = (totals.duplicates, totals.false_incidents, totals.merged);
    assert_eq!(sums, (0, 0, 2));
    assert_eq!(totals.mails, Some(15));
}

#[test]
fn a_fault_that_went_into_an_older_incident_is_missed_and_says_into_which() {
    let faults = [fault("f", "LATENCY_SPIKE", "payment", 100, 300)];
    let mut older = incident("INC-0", "UNKNOWN", &["gateway"], 40);
    let judgement = judge(&faults, std::slice::from_ref(&older));
    assert_eq!(judgement.rows[0].absorbed_by.as_deref(), Some("INC-0"));
    let totals = judgement.totals;
    let sums = (totals.missed, totals.absorbed, totals.false_incidents);
    assert_eq!(sums, (1, 1, 1));
    // One that was over before has taken nothing in.
    older.resolved_ms = Some(START + 90_000);
    assert_eq!(judge(&faults, &[older]).rows[0].absorbed_by, None);
}

#[test]
fn an_incident_without_an_answer_or_an_end_is_right_about_nothing() {
    let faults = [fault("f", "LATENCY_SPIKE", "payment", 100, 300)];
    let mut found = incident("INC-1", "MEMORY_LEAK", &["payment"], 110);
    found.candidates.clear();
    found.resolved_ms = None;
    found.mails = None;
    found.onset_ms = None;
    let totals = judge(&faults, &[found]).totals;
    let expected = Totals {
        faults: 1,
        detected: 1,
        incidents: 1,
        ..Totals::default()
    };
    assert_eq!(totals, expected);
}

#[test]
fn another_environment_is_another_story() {
    let faults = [fault("f", "LATENCY_SPIKE", "payment", 100, 300)];
    let mut elsewhere = incident("INC-1", "LATENCY_SPIKE", &["payment"], 110);
    elsewhere.environment = "production".to_owned();
    let totals = judge(&faults, &[elsewhere]).totals;
    assert_eq!((totals.missed, totals.false_incidents), (1, 1));
}

#[test]
fn ground_truth_becomes_faults_in_any_order_and_repeats_do_no_harm() {
    let truth = |id: &str, phase: &str, at_ms: i64| GroundTruth {
        fault_id: id.to_owned(),
        scenario: "MEMORY_LEAK".to_owned(),
        service: "a".to_owned(),
        environment: "simulation".to_owned(),
        phase: phase.to_owned(),
        timestamp_ms: at_ms,
        wall_ms: 0,
        duration_ms: 100,
        affected: vec!["a".to_owned()],
        seed: 1,
    };
    let told = [
        truth("late", "started", 2_000),
        truth("early", "ended", 1_090),
        truth("early", "started", 1_000),
        truth("early", "started", 1_000),
        truth("orphan", "ended", 5),
        truth("cured", "started", 3_000),
        truth("cured", "ended_by_action", 3_040),
    ];
    let faults = faults(&told);
    let spans: Vec<(&str, i64, i64)> = faults
        .iter()
        .map(|fault| (fault.id.as_str(), fault.started_ms, fault.ended_ms))
        .collect();
    // The second has not ended yet: its planned end stands in.
    let expected = [
        ("early", 1_000, 1_090),
        ("late", 2_000, 2_100),
        ("cured", 3_000, 3_040),
    ];
    assert_eq!(spans, expected);
}

const SERVICES: [&str; 4] = ["payment", "user", "gateway", "other"];

prop_compose! {
    fn any_faults()(parts in prop::collection::vec((0..3_usize, 0..2_000_i64, 10..400_i64), 0..8)) -> Vec<Fault> {
        parts.into_iter().enumerate().map(|(index, (service, from, length))| {
            fault(&format!("f{index}"), "LATENCY_SPIKE", SERVICES[service], from, from + length)
        }).collect()
    }
}

prop_compose! {
    fn any_incidents()(parts in prop::collection::vec((0..4_usize, 0..4_usize, 0..2_500_i64, any::<bool>()), 0..12)) -> Vec<Incident> {
        parts.into_iter().enumerate().map(|(index, (one, other, at, merged))| {
            let services = [SERVICES[one], SERVICES[other]];
            Incident { merged, ..incident(&format!("i{index}"), "LATENCY_SPIKE", &services, at) }
        }).collect()
    }
}

/// Every incident's name, wherever the judgement put it.
fn placed(judgement: &Judgement) -> Vec<&str> {
    let own = judgement.rows.iter().flat_map(|row| {
        let first = row.incident.iter();
        first.chain(&row.duplicates).map(String::as_str)
    });
    let strays = judgement.false_incidents.iter();
    let mut names: Vec<&str> = own.chain(strays.map(|one| one.id.as_str())).collect();
    names.sort_unstable();
    names
}

proptest! {
    #[test]
    fn every_incident_is_counted_once(faults in any_faults(), incidents in any_incidents()) {
        let judgement = judge(&faults, &incidents);
        let mut names: Vec<&str> = incidents.iter()
            .filter(|incident| !incident.merged)
            .map(|incident| incident.id.as_str())
            .collect();
        names.sort_unstable();
        prop_assert_eq!(placed(&judgement), names);
        let totals = judgement.totals;
        prop_assert_eq!(totals.detected + totals.missed, totals.faults);
        prop_assert_eq!(totals.detected + totals.duplicates, totals.incidents);
        prop_assert!(totals.absorbed <= totals.missed);
        prop_assert_eq!(
            (totals.incidents + totals.false_incidents + totals.merged) as usize,
            incidents.len()
        );
    }

    #[test]
    fn order_does_not_matter(faults in any_faults(), incidents in any_incidents()) {
        let mut turned = (faults.clone(), incidents.clone());
        turned.0.reverse();
        turned.1.reverse();
        prop_assert_eq!(judge(&faults, &incidents), judge(&turned.0, &turned.1));
    }

    #[test]
    fn without_incidents_everything_is_missed_and_without_faults_all_is_false(
        faults in any_faults(), incidents in any_incidents()
    ) {
        let silent = judge(&faults, &[]).totals;
        prop_assert_eq!((silent.missed, silent.right_service, silent.absorbed), (silent.faults, 0, 0));
        let quiet = judge(&[], &incidents).totals;
        prop_assert_eq!((quiet.false_incidents + quiet.merged) as usize, incidents.len());
    }
}
