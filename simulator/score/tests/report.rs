//! The words and the JSON of a judgement.

use midwatch_score::judge::{Candidate, Fault, Incident, judge};
use midwatch_score::report::{WIDTH, complaints, table};
use midwatch_score::summary::{Scored, summary, words};

fn fault(scenario: &str, service: &str, from_s: i64) -> Fault {
    Fault {
        id: format!("{scenario}-{from_s}"),
        scenario: scenario.to_owned(),
        service: service.to_owned(),
        environment: "simulation".to_owned(),
        started_ms: from_s * 1_000,
        ended_ms: (from_s + 200) * 1_000,
        affected: vec![service.to_owned(), "api-gateway".to_owned()],
    }
}

fn incident(id: &str, kind: &str, service: &str, cause: &str, at_s: i64) -> Incident {
    Incident {
        id: id.to_owned(),
        environment: "simulation".to_owned(),
        detected_ms: at_s * 1_000,
        onset_ms: Some(at_s * 1_000),
        opened_ms: (at_s + 20) * 1_000,
        decided_ms: Some((at_s + 30) * 1_000),
        conclusive: Some(true),
        resolved_ms: Some((at_s + 200) * 1_000),
        services: vec![service.to_owned(), "api-gateway".to_owned()],
        anomaly_type: kind.to_owned(),
        candidates: vec![Candidate {
            service: cause.to_owned(),
            cause: kind.to_owned(),
            confidence: 0.7,
        }],
        mails: Some(5),
        merged: false,
        returns: Vec::new(),
    }
}

fn scored(seed: u64) -> Scored {
    let faults = [
        fault("DB_CONNECTION_EXHAUSTION", "notification-service", 100),
        fault("LATENCY_SPIKE", "payment-service", 1_000),
        fault("MEMORY_LEAK", "user-service", 2_000),
    ];
    let found = [
        incident(
            "INC-00000001",
            "DB_CONNECTION_EXHAUSTION",
            "notification-service",
            "notification-service",
            120,
        ),
        incident(
            "INC-00000002",
            "ERROR_RATE_SPIKE",
            "payment-service",
            "api-gateway",
            1_010,
        ),
        incident(
            "INC-00000003",
            "LATENCY_SPIKE",
            "api-gateway",
            "api-gateway",
            1_150,
        ),
        incident(
            "INC-00000004",
            "TRAFFIC_DROP",
            "inventory-service",
            "inventory-service",
            4_000,
        ),
    ];
    Scored {
        seed,
        simulated_ms: 3_600_000,
        judgement: judge(&faults, &found),
    }
}

#[test]
fn the_table_says_what_happened_and_what_went_wrong() {
    let text = table(&scored(1).judgement);
    let expected = "\
scenario                 service              inc  seen  open 1st type mail end
DB_CONNECTION_EXHAUSTION notification-service   1   20s   40s yes  yes    5 yes
LATENCY_SPIKE            payment-service        2   10s   30s  NO   NO   10 yes
MEMORY_LEAK              user-service           0     -     -  NO   NO    -  NO
! LATENCY_SPIKE on payment-service: also INC-00000003
! LATENCY_SPIKE on payment-service: api-gateway was named first
! MEMORY_LEAK on user-service: missed
! false: INC-00000004 TRAFFIC_DROP on inventory-service, api-gateway
";
    assert_eq!(text, expected);
}

#[test]
fn no_line_is_wider_than_a_terminal() {
    let mut long = scored(u64::MAX);
    long.judgement.false_incidents[0].services = (0..40).map(|n| format!("service-{n}")).collect();
    long.judgement.rows[0].duplicates = vec!["INC-00000009".to_owned(); 30];
    let all = [long.clone(), scored(3)];
    let text = table(&long.judgement) + &words(&summary(&all, &all));
    for line in text.lines() {
        assert!(line.chars().count() <= WIDTH, "{line:?}");
    }
    assert!(text.contains("service-39"), "nothing is cut off");
    // Five about the long one and four about the other, twice; twelve are told.
    assert!(text.contains("! and 6 more, which --json lists"), "{text}");
}

#[test]
fn many_seeds_add_up_and_the_worst_comes_first() {
    let mut fine = scored(7);
    let good = [fault("MEMORY_LEAK", "user-service", 2_000)];
    let found = incident(
        "INC-00000005",
        "MEMORY_LEAK",
        "user-service",
        "user-service",
        2_070,
    );
    fine.judgement = judge(&good, &[found]);
    let quiet = Scored {
        seed: 8,
        simulated_ms: 10 * 3_600_000,
        judgement: judge(&[], &[incident("INC-00000006", "UNKNOWN", "a", "a", 1)]),
    };
    let sums = summary(&[scored(9), fine], &[quiet]);
    assert_eq!(sums.worst, [(9, 4), (8, 1)]);
    let text = words(&sums);
    for line in [
        "faults               4 on 3 seeds",
        "detected             3 of 4 (75.0 %); 0 absorbed",
        "incidents per fault  1.00 (1 duplicates)",
        "right service first  2 of 4 (50.0 %)",
        "time to detect       median 20s, p90 70s (simulated)",
        "mails                25",
        "false, among faults  1",
        "false, in quiet      1 in 10.0 h: 0.100 an hour, 2.40 a day",
        "MEMORY_LEAK                   2        1       1      1      1     70s     70s",
        "! seed 9: MEMORY_LEAK on user-service: missed",
    ] {
        assert!(
            text.lines().any(|known| known == line),
            "{line:?} in\n{text}"
        );
    }
}

#[test]
fn a_perfect_run_has_no_complaints() {
    let faults = [fault("MEMORY_LEAK", "user-service", 0)];
    let found = incident("INC-1", "MEMORY_LEAK", "user-service", "user-service", 10);
    let judgement = judge(&faults, &[found]);
    assert_eq!(complaints(&judgement), Vec::<String>::new());
}

#[test]
fn the_json_has_the_same_figures() {
    let json = serde_json::to_value(scored(1)).expect("a judgement is JSON");
    assert_eq!(json["seed"], 1);
    assert_eq!(json["totals"]["faults"], 3);
    assert_eq!(json["rows"][1]["duplicates"][0], "INC-00000003");
    assert_eq!(json["rows"][1]["first_service"], "api-gateway");
    assert_eq!(
        json["rows"][2]["detected_after_ms"],
        serde_json::Value::Null
    );
    assert_eq!(json["false_incidents"][0]["id"], "INC-00000004");
}
