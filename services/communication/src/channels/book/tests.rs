//! What the file says, and what is wrong with one.

use super::*;

const FILE: &str = r#"{
  "channels": [
    {"name": "ops", "kind": "slack", "channel": "C01", "token_file": "/run/slack"},
    {"name": "pager", "kind": "pagerduty", "routing_key_file": "/run/pager"},
    {"name": "teams", "kind": "webhook", "url_file": "/run/teams", "format": "teams"},
    {"name": "second", "kind": "pagerduty", "routing_key_file": "/run/second"}
  ],
  "routes": [
    {"channels": ["ops"]},
    {"channels": ["pager"], "min_severity": "HIGH", "stages": ["opened", "resolved"]},
    {"channels": ["teams"], "services": ["pay*"], "teams": ["payments"],
     "hours": {"days": [1,2,3,4,5], "from": 8, "to": 18, "utc_offset_minutes": 60}}
  ],
  "escalation": [{"after_minutes": 5, "channels": ["second"], "mail": ["boss@example.com"]}]
}"#;

fn routed(stage: &str, severity: Severity, service: &str, wall_ms: i64) -> String {
    let book = Book::parse(FILE).expect("the file is well formed");
    let services = [service.to_owned()];
    let asked = Asked {
        stage,
        severity,
        services: &services,
        team: "payments",
        wall_ms,
    };
    let names: Vec<&str> = book
        .routed(&asked)
        .into_iter()
        .map(|channel| channel.name.as_str())
        .collect();
    names.join(" ")
}

/// `date -u -d @1795424400` is Monday, 23 November 2026, 09:00 UTC.
const MONDAY: i64 = 1_795_424_400_000;
const HOUR: i64 = 3_600_000;

#[test]
fn each_condition_of_a_route_counts() {
    use Severity::{Critical, Low};
    assert_eq!(
        routed("opened", Critical, "payment", MONDAY),
        "ops pager teams"
    );
    assert_eq!(routed("rca", Critical, "payment", MONDAY), "ops teams");
    assert_eq!(routed("opened", Low, "payment", MONDAY), "ops teams");
    assert_eq!(routed("opened", Low, "order", MONDAY), "ops");
    // 17:59 and 18:00 at one hour east of UTC; Sunday.
    assert_eq!(
        routed("rca", Low, "payment", MONDAY + 8 * HOUR - 60_000),
        "ops teams"
    );
    assert_eq!(routed("rca", Low, "payment", MONDAY + 8 * HOUR), "ops");
    assert_eq!(routed("rca", Low, "payment", MONDAY - 24 * HOUR), "ops");
}

#[test]
fn the_example_is_understood() {
    let text = include_str!("../../../../../infrastructure/notify.example.json");
    let book = Book::parse(text).expect("the example is well formed");
    assert_eq!(book.channels.len(), 6);
}

#[test]
fn a_step_that_rings_a_pager_for_the_second_time_is_refused() {
    let step = |more: &str| {
        let text = FILE.replacen("\"channels\": [\"second\"]", more, 1);
        assert_ne!(text, FILE);
        Book::parse(&text)
    };
    let told = "escalation[0] wakes nobody through \"pager\": routes[1] tells it of the same \
        incidents at once, and a pager rings once for an alert; name another pager or people, \
        or take the step out";
    for again in [
        "\"channels\": [\"pager\"]",
        "\"channels\": [\"ops\", \"second\", \"pager\"]",
        "\"min_severity\": \"CRITICAL\", \"channels\": [\"pager\"]",
    ] {
        assert_eq!(step(again).expect_err(again), told);
    }
    // What is MEDIUM did not ring before; chats show a step beside the alert.
    for useful in [
        "\"min_severity\": \"MEDIUM\", \"channels\": [\"pager\"]",
        "\"channels\": [\"ops\"]",
    ] {
        assert_eq!(step(useful).map(|_| ()), Ok(()), "{useful}");
    }
    // Some incidents did not ring at once where the route has conditions.
    for condition in [
        "\"services\": [\"pay*\"]",
        "\"teams\": [\"payments\"]",
        "\"hours\": {\"days\": [1], \"from\": 8, \"to\": 18}",
    ] {
        let text = FILE.replacen("\"stages\"", &format!("{condition}, \"stages\""), 1);
        let text = text.replacen("[\"second\"]", "[\"pager\"]", 1);
        assert_eq!(Book::parse(&text).map(|_| ()), Ok(()), "{condition}");
    }
    let twice = FILE.replacen(
        "\"escalation\": [",
        "\"escalation\": [{\"after_minutes\": 3, \"channels\": [\"second\"]}, ",
        1,
    );
    let error = Book::parse(&twice).expect_err("the second one is idle");
    assert!(
        error.contains("escalation[1]") && error.contains("an earlier step"),
        "{error}"
    );
}

#[test]
fn a_mistake_in_the_file_is_named() {
    for (old, new, words) in [
        ("\"ops\"]", "\"opps\"]", "\"opps\" is none of the channels"),
        ("\"teams\", \"kind\"", "\"ops\", \"kind\"", "there twice"),
        ("\"opened\", ", "\"open\", ", "stage \"open\""),
        ("\"to\": 18", "\"to\": 25", "hours"),
        ("boss@example.com", "boss", "no mail address"),
        ("\"after_minutes\": 5", "\"after_minutes\": 0", "at least 1"),
        ("\"HIGH\"", "\"LOUD\"", "routes[1].min_severity"),
        ("\"format\"", "\"fromat\"", "fromat"),
        ("\"ops\", \"kind\"", "\"mail\", \"kind\"", "not mail"),
        (
            "\"teams\": [\"pay",
            "\"digest_minutes\": 1441, \"teams\": [\"pay",
            "a day",
        ),
        (
            "\"stages\":",
            "\"digest_minutes\": 60, \"stages\":",
            "takes no digest",
        ),
    ] {
        let text = FILE.replacen(old, new, 1);
        assert_ne!(text, FILE, "{old} is in the file");
        let error = Book::parse(&text).expect_err(words);
        assert!(error.contains(words), "{words} in {error}");
    }
}
