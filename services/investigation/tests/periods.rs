//! What a recording does not cover, begins and ends with nothing.

mod scene;

use midwatch_events::incident::Verdict;
use midwatch_events::raw::LogLevel;
use midwatch_investigation::rca::{Answer, Line, Span};
use scene::{END_MS, FAULT, NORMAL, START_MS, STEADY, STEP_MS, Scene, first, shop};

/// Every service of the shop is as ever.
fn calm() -> Scene {
    shop()
        .service("entry", (60.0, 60.0), STEADY, 0.0)
        .service("shop", (40.0, 40.0), STEADY, 0.0)
        .service("orders", (10.0, 10.0), STEADY, 0.0)
        .service("stock", (10.0, 10.0), STEADY, 0.0)
}

fn slow_orders() -> Scene {
    shop()
        .service("entry", (60.0, 150.0), STEADY, 0.0)
        .service("shop", (40.0, 130.0), STEADY, 0.0)
        .service("orders", (10.0, 100.0), STEADY, 0.0)
        .service("stock", (10.0, 10.0), STEADY, 0.0)
}

fn line(scene: &mut Scene, service: &str, at_ms: i64, level: LogLevel, message: &str) {
    scene.0.lines.push(Line {
        id: format!("log:{}", scene.0.lines.len()),
        service: service.to_owned(),
        at_ms,
        level,
        message: message.to_owned(),
    });
}

fn span(scene: &mut Scene, service: &str, at_ms: i64, failed: bool) {
    let id = format!("span:{}", scene.0.spans.len());
    scene.0.spans.push(Span {
        trace: id.clone(),
        own: id.clone(),
        id,
        parent: None,
        service: service.to_owned(),
        operation: "op".to_owned(),
        start_ms: at_ms,
        duration_ms: 10.0,
        failed,
    });
}

fn is_gone(answer: &Answer) -> bool {
    let quoted = answer.candidates.iter().flat_map(|one| &one.evidence);
    quoted
        .into_iter()
        .any(|clue| clue.summary.contains("no reading after"))
}

fn says(answer: &Answer, what: &str) -> bool {
    let quoted = answer.candidates.iter().flat_map(|one| &one.evidence);
    quoted.into_iter().any(|clue| clue.summary.contains(what))
}

#[test]
fn lines_that_go_on_longer_than_metrics_make_nobody_gone() {
    for mut scene in [calm(), slow_orders()] {
        for index in 0..NORMAL + 2 * FAULT {
            line(
                &mut scene,
                "shop",
                index * STEP_MS,
                LogLevel::Info,
                "served",
            );
        }
        let mut question_to_the_last_line = scene.ask("entry", "latency_avg_ms");
        assert!(!is_gone(&question_to_the_last_line));
        question_to_the_last_line = scene.ask_until("entry", "latency_avg_ms", END_MS + 300_000);
        assert!(!is_gone(&question_to_the_last_line));
    }
}

#[test]
fn one_span_of_another_clock_makes_nobody_gone() {
    let mut scene = calm();
    span(&mut scene, "shop", START_MS * 1_000, false);
    let last = scene.0.last_ms().expect("readings were recorded");
    assert_eq!(last, END_MS - STEP_MS);
    // Whatever the end is said to be.
    let answer = scene.ask_until("entry", "latency_avg_ms", START_MS * 1_000);
    assert!(!is_gone(&answer));
    assert_eq!(answer.verdict, Verdict::Inconclusive);
}

#[test]
fn a_service_that_stops_while_others_are_read_is_gone() {
    let mut scene = slow_orders();
    for series in &mut scene.0.series {
        if series.service == "orders" {
            series.points.retain(|(at, _)| *at < START_MS);
        }
    }
    let answer = scene.ask("entry", "latency_avg_ms");
    assert_eq!(first(&answer), "orders");
    assert!(is_gone(&answer));
}
