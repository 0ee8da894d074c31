//! What readers are told of the graph and of the records.

use crate::story::{Story, T0, slow};
use midwatch_events::topology::EdgeSource;
use serde_json::{Value, json};

const HOUR_MS: i64 = 3_600_000;

#[test]
fn an_expired_or_contradicted_call_is_marked_and_no_reader_believes_it() {
    let mut story = Story::new();
    let graph = &mut story.around.topology;
    graph.add_seen(
        "order-service",
        "ledger",
        EdgeSource::Spans,
        T0 - 7 * HOUR_MS,
    );
    graph.add_seen("payment-service", "bank", EdgeSource::Spans, T0 - HOUR_MS);
    graph.add_seen(
        "batch",
        "payment-service",
        EdgeSource::Logs,
        T0 - 9 * HOUR_MS,
    );
    graph.contradict("api-gateway", "payment-service");
    story.hear(slow("payment-service", 0));
    story.settle();
    let topology = &story.rows[&story.incident(0)].2["topology"];
    assert_eq!(
        topology["edges"],
        json!([
            ["api-gateway", "order-service", ["catalogue"]],
            ["api-gateway", "user-service", ["catalogue"]],
            ["order-service", "payment-service", ["catalogue"]],
            ["payment-service", "bank", ["spans"]],
        ])
    );
    assert_eq!(
        topology["contradicted"],
        json!([["api-gateway", "payment-service"]])
    );
    assert_eq!(
        topology["expired"],
        json!([["batch", "payment-service"], ["order-service", "ledger"]])
    );
    assert_eq!(topology["ages"].as_array().map(Vec::len), Some(7));
    // Nor does what is told of them rest on such a call.
    let radius = &story.opened[0].blast_radius;
    assert_eq!(radius.at_risk, ["order-service", "api-gateway"]);
}

#[test]
fn a_call_that_expires_while_the_incident_is_open_goes_with_the_next_word() {
    let mut story = Story::new();
    let graph = &mut story.around.topology;
    graph.add_seen(
        "payment-service",
        "bank",
        EdgeSource::Spans,
        T0 - 6 * HOUR_MS + 30_000,
    );
    story.hear(slow("payment-service", 0));
    story.settle();
    let believed = |story: &Story| -> bool {
        let edges = &story.rows[&story.incident(0)].2["topology"]["edges"];
        let mut edges = edges.as_array().expect("a list").iter();
        edges.any(|edge| edge[1] == "bank")
    };
    assert!(believed(&story));
    story.hear(slow("order-service", 60));
    story.settle();
    assert!(!believed(&story));
}

#[test]
fn records_that_are_too_many_are_said_in_the_row_and_in_the_audit_trail() {
    let mut story = Story::new();
    let left_out = json!([
        {"kind": "log", "service": "payment-service", "count": 812},
        {"kind": "span", "service": "api-gateway", "count": 3},
    ]);
    story.left_out = left_out.clone();
    story.hear(slow("payment-service", 0));
    story.settle();
    let incident = story.incident(0);
    let told = |story: &Story| -> (Value, Vec<String>) {
        let lines = story.audits.iter();
        let lines = lines.filter(|line| line.event_type == "RECORDS_LEFT_OUT");
        let row = story.rows[&incident].2["records_left_out"].clone();
        (row, lines.map(|line| line.summary.clone()).collect())
    };
    let (row, lines) = told(&story);
    assert_eq!(row, left_out);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("815 records"), "{}", lines[0]);
    assert!(
        lines[0].contains("812 of kind log of payment-service"),
        "{}",
        lines[0]
    );
    // Nothing more was left out of the copy at the end; what is gone stays said.
    story.left_out = json!([]);
    story.end(incident, "RECOVERED", 60);
    assert_eq!(told(&story), (left_out, lines));
    // More is left out at the end of another one.
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    story.settle();
    assert_eq!(told(&story), (Value::Null, Vec::new()));
    story.left_out = json!([{"kind": "log", "service": "payment-service", "count": 2}]);
    story.end(incident, "RECOVERED", 60);
    assert_eq!(told(&story).0, story.left_out);
}
