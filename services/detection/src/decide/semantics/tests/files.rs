//! What a file says of metrics, and what is wrong with one.

use super::*;

/// What an entry says, and the words of the complaint about it.
const WRONG: &[(&str, &str)] = &[
    (
        "match='a'\ncolour='red'",
        "entry 1: `colour` is unknown; use match, service",
    ),
    ("class='cpu'", "entry 1: `match` is missing"),
    ("match=''", "entry 1: `match` = \"\": use a name"),
    ("match='a'\nservice=3", "entry 1: `service` = 3: use a name"),
    (
        "match='a'\nclass='fast'",
        "entry 1: `class` = \"fast\": use latency, error_rate",
    ),
    (
        "match='a'\ndirection='left'",
        "`direction` = \"left\": use up, down, both, none",
    ),
    (
        "match='a'\nlimit='high'",
        "`limit` = \"high\": use a number",
    ),
    ("match='a'\nlimit=nan", "`limit` = NaN: use a number"),
    (
        "match='a'\nlimit=1\ndirection='both'",
        "`limit` needs `direction`",
    ),
    (
        "match='a'\nlimit=1\nfloor={absolute=1}",
        "`floor` does nothing beside `limit`",
    ),
    ("match='a'\nfloor=3", "`floor` = 3: use { absolute"),
    ("match='a'\nfloor={}", "`floor` is empty"),
    (
        "match='a'\nfloor={absolut=3}",
        "`floor.absolut` = 3: use { absolute",
    ),
    (
        "match='a'\nfloor={relative=-1}",
        "`floor.relative` = -1: use { absolute",
    ),
    (
        "match='a'\nreadings_to_start=0",
        "`readings_to_start` = 0: use a whole number from 1 to 1000",
    ),
    (
        "match='a'\nreadings_to_start=2.5",
        "`readings_to_start` = 2.5: use a whole",
    ),
    (
        "match='a'\nseverity_cap='high'",
        "`severity_cap` = \"high\": use LOW, MEDIUM, HIGH, CRITICAL",
    ),
    (
        "match='a'\nmissed='no'",
        "`missed` = \"no\": use true or false",
    ),
    (
        "match='a'\nexhausts_at=0",
        "`exhausts_at` = 0: use a number above 0",
    ),
    (
        "match='a'\nexhausts_at=5\ndirection='down'",
        "`exhausts_at` is of what grows",
    ),
    ("match='a'\npage=[1]", "`page` = a list: use true or false"),
    (
        "match='a'\npage=false\nlimit=3",
        "`limit` does nothing beside `page` = false",
    ),
    (
        "match='a'\nclass='context'\nfloor={absolute=1}",
        "`floor` does nothing beside `class` = \"context\"",
    ),
    (
        "match='a'\n[[series]]\nmatch='a'",
        "entry 2: `match` = \"a\" is never reached: entry 1 (\"a\")",
    ),
    (
        "match='a*'\n[[series]]\nmatch='ab*c{x=y}'\nservice='s'",
        "entry 2: `match` = \"ab*c{x=y}\" is never reached",
    ),
    ("match='a'\nmatch='b'", "duplicate key"),
];

#[test]
fn the_first_entry_that_matches_decides_and_the_rest_stays() {
    let file = r#"
        [[series]]
        match = "kafka_consumer_lag{group=night*}"
        missed = true
        [[series]]
        match = "kafka_consumer_lag"
        service = "order-*"
        severity_cap = "LOW"
        exhausts_at = 1000
        readings_to_start = 7
        [[series]]
        match = "*_lag"
        page = false
    "#;
    let semantics = Semantics::parse(file).expect("the file is right");
    let entry = |service: &str, series: &str| {
        let rule = semantics.rule(service, series);
        rule.map(|rule| rule.matches.as_str())
    };
    for (service, series, expected) in [
        (
            "a",
            "kafka_consumer_lag{group=nightly}",
            Some("kafka_consumer_lag{group=night*}"),
        ),
        (
            "order-service",
            "kafka_consumer_lag{topic=t}",
            Some("kafka_consumer_lag"),
        ),
        (
            "order-service",
            "kafka_consumer_lag",
            Some("kafka_consumer_lag"),
        ),
        ("b", "kafka_consumer_lag", Some("*_lag")),
        ("b", "kafka_consumer_lag_seconds", None),
    ] {
        assert_eq!(entry(service, series), expected, "{service} {series}");
    }
    let one = Meaning::of("order-service", "kafka_consumer_lag", &semantics);
    assert_eq!(one.class(), Class::Lag, "what is not said stays");
    assert_eq!(one.severity(1e6, 99.0), Severity::Low);
    assert_eq!(one.capped(Severity::High), Severity::Low);
    assert_eq!(
        (one.readings_to_start(), one.exhausts_at()),
        (7, Some(1000.0))
    );
    let nightly = "kafka_consumer_lag{group=nightly}";
    assert!(Meaning::of("a", nightly, &semantics).is_missed(nightly));
    let never = Meaning::of("b", "kafka_consumer_lag", &semantics);
    let far = judged(1.0, 99.0);
    assert_eq!(
        never.standing(1e9, &far, &Tuning::default()),
        Standing::default()
    );
    assert_eq!(never.exhausts_at(), None);
    assert!(!never.is_missed("kafka_consumer_lag"));
}

#[test]
fn limit_floor_direction_and_class_are_taken_from_the_file() {
    let tuning = Tuning::default();
    let out = |text: &str, series: &str, value: f64, expected: f64, z: f64| {
        let meaning = with_file("a", series, text);
        meaning
            .standing(value, &judged(expected, z), &tuning)
            .out_of_range
    };
    let physical = "[[series]]\nmatch='pool'\nexhausts_at=50\nlimit='physical'";
    assert!(out(physical, "pool", 50.0, 50.0, 0.0));
    assert!(!out(physical, "pool", 49.0, 10.0, 99.0));
    let lower = "[[series]]\nmatch='seats'\nlimit=5\ndirection='down'";
    assert!(out(lower, "seats", 5.0, 3.0, 0.0));
    assert!(!out(lower, "seats", 6.0, 300.0, -99.0));
    let floor = "[[series]]\nmatch='x'\nfloor={absolute=10, relative=0.5}\ndirection='down'";
    assert!(!out(floor, "x", 16.0, 25.0, -9.0), "less than 10");
    assert!(!out(floor, "x", 85.0, 100.0, -9.0), "less than half");
    assert!(out(floor, "x", 40.0, 100.0, -9.0));
    assert!(!out(floor, "x", 400.0, 100.0, 9.0), "up is no harm");
    let class = "[[series]]\nmatch='x_ratio'\nclass='error_rate'";
    assert!(
        !out(class, "x_ratio", 0.019, 0.0, 9.0),
        "floor of 2 % in parts"
    );
    assert!(out(class, "x_ratio", 0.021, 0.0, 9.0));
    let none = "[[series]]\nmatch='service_*'\ndirection='none'";
    assert!(!out(none, "service_cpu_percent", 99.0, 10.0, 99.0));
    let pool = "[[series]]\nmatch='db_connections'\nlimit='physical'";
    let meaning = with_file("a", "db_connections", pool);
    assert_eq!(meaning.limit(), None, "nobody says how large the pool is");
}

#[test]
fn what_is_wrong_with_a_file_is_told_by_entry_key_value_and_choice() {
    for (entry, words) in WRONG {
        let faults = Semantics::parse(&format!("[[series]]\n{entry}")).expect_err(entry);
        assert!(faults.join("\n").contains(words), "{entry}: {faults:?}");
    }
    let faults = Semantics::parse("serie = 1").expect_err("unknown");
    assert_eq!(
        faults,
        ["`serie` is unknown; write [[series]] entries only"]
    );
    let faults = Semantics::parse("series = 1").expect_err("no list");
    assert_eq!(faults, ["`series` is no list of entries; write [[series]]"]);
    let both = "[[series]]\nmatch='a'\nx=1\ny=2\n[[series]]\nz=1";
    assert_eq!(Semantics::parse(both).expect_err("wrong").len(), 4);
    let fine = "[[series]]\nmatch='a'\nservice='s'\n[[series]]\nmatch='a'\n[[series]]\nmatch='*'";
    assert!(Semantics::parse(fine).is_ok(), "the special comes first");
}

#[test]
fn the_example_shows_every_key_and_is_right() {
    let text = include_str!("../../../../semantics.example.toml");
    let semantics = Semantics::parse(text).expect("the example is right");
    for key in overrides::KEYS.split(", ") {
        assert!(text.contains(&format!("\n{key} = ")), "{key} is not shown");
    }
    let of = |service, series| Meaning::of(service, series, &semantics);
    let pool = of("payment-service", "service_db_connections");
    assert_eq!(pool.exhausts_at(), Some(100.0));
    let disk = of("a", "scratch_volume_used_percent");
    assert_eq!((disk.limit(), disk.readings_to_start()), (Some(99.0), 6));
    let wait = of("a", "checkout_wait");
    assert_eq!((wait.class(), wait.guessed), (Class::Latency, false));
    let lab = of("lab-3", "experiment_cpu_percent");
    assert!(!lab.alarms() && of("shop", "experiment_cpu_percent").alarms());
}
