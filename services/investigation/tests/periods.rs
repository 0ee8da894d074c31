//! What a recording does not cover, begins and ends with nothing.

mod scene;

use midwatch_events::incident::Verdict;
use midwatch_events::raw::LogLevel;
use midwatch_investigation::rca::{Answer, Kept, Line, Span};
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
        let answer = scene.ask_until("entry", "latency_avg_ms", END_MS + 300_000);
        assert!(!is_gone(&answer));
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

/// Ordinary lines of every service but `but`, one every two seconds.
fn chatter(scene: &mut Scene, but: &str) {
    for service in ["entry", "shop", "orders", "stock"] {
        for at_ms in (0..END_MS).step_by(2_000).filter(|_| service != but) {
            line(scene, service, at_ms, LogLevel::Info, "served a request");
        }
    }
}

const WARNING: &str = "the cache misses more than it should";

#[test]
fn one_line_of_a_wrong_clock_makes_no_warning_new() {
    for wrong_ms in [-86_400_000, -1_700_000_000_000] {
        let mut scene = calm();
        line(&mut scene, "shop", wrong_ms, LogLevel::Info, "up");
        chatter(&mut scene, "");
        for at_ms in (0..END_MS).step_by(3_000) {
            line(&mut scene, "stock", at_ms, LogLevel::Warn, WARNING);
        }
        let answer = scene.ask("entry", "latency_avg_ms");
        assert!(!says(&answer, WARNING), "{:?}", answer.candidates);
        assert_eq!(answer.verdict, Verdict::Inconclusive);
    }
}

#[test]
fn warnings_of_a_service_whose_lines_are_kept_since_then_only_are_not_new() {
    // Two minutes into the fault its ordinary lines begin, too.
    for from_ms in [START_MS - 30_000, START_MS, START_MS + 120_000] {
        let mut scene = calm();
        chatter(&mut scene, "stock");
        for at_ms in (from_ms..END_MS).step_by(2_000) {
            line(
                &mut scene,
                "stock",
                at_ms,
                LogLevel::Info,
                "served a request",
            );
            line(&mut scene, "stock", at_ms, LogLevel::Warn, WARNING);
        }
        let answer = scene.ask("entry", "latency_avg_ms");
        assert!(!says(&answer, WARNING), "{:?}", answer.candidates);
        assert_eq!(answer.verdict, Verdict::Inconclusive);
    }
}

#[test]
fn a_service_that_writes_nothing_but_errors_had_none_before() {
    // Others' lines say that lines were recorded, and so do metrics where
    // nobody writes more than errors.
    for is_told in [true, false] {
        let mut scene = calm();
        if is_told {
            chatter(&mut scene, "stock");
        }
        let scene = scene.lines("stock", LogLevel::Error, WARNING);
        let answer = scene.ask("entry", "latency_avg_ms");
        assert!(says(&answer, WARNING), "{:?}", answer.candidates);
        assert_eq!(first(&answer), "stock");
    }
}

#[test]
fn of_the_newest_lines_only_a_full_store_hides_what_was_before() {
    let kept = Kept::Newest {
        lines: 400,
        ordinary: 100,
        spans: 200,
    };
    // Errors since the fault began, and of the ordinary lines the newest
    // hundred; then a warning four times a second, of which the newest 400.
    for (step_ms, is_new) in [(2_000, true), (250, false)] {
        let mut scene = calm();
        scene.0.kept = kept;
        chatter(&mut scene, "stock");
        for index in 0..100 {
            let at_ms = END_MS - 500 * (100 - index);
            line(
                &mut scene,
                "stock",
                at_ms,
                LogLevel::Info,
                "served a request",
            );
        }
        let times = (START_MS..END_MS).rev().step_by(step_ms).take(400);
        for at_ms in times {
            line(&mut scene, "stock", at_ms, LogLevel::Warn, WARNING);
        }
        let answer = scene.ask("entry", "latency_avg_ms");
        assert_eq!(says(&answer, WARNING), is_new, "{:?}", answer.candidates);
    }
}

#[test]
fn failures_of_a_service_whose_spans_are_kept_since_then_only_began_nowhere() {
    // One span in ten fails, as ever; of stock the newest are kept.
    for from_ms in [START_MS - 20_000, START_MS + 60_000] {
        let mut scene = calm();
        // A span of a wrong clock moves no beginning.
        span(&mut scene, "entry", -86_400_000, false);
        for index in 0..END_MS / 1_000 {
            for service in ["entry", "shop", "stock"] {
                if service != "stock" || index * 1_000 >= from_ms {
                    span(&mut scene, service, index * 1_000, index % 10 == 3);
                }
            }
        }
        let answer = scene.ask("entry", "errors");
        assert!(!says(&answer, "failures begin"), "{:?}", answer.candidates);
    }
}

#[test]
fn failures_that_begin_are_told_by_a_service_that_was_seen_before() {
    let mut scene = calm();
    for index in 0..END_MS / 1_000 {
        for service in ["entry", "shop", "stock"] {
            let fails = service == "stock" && index * 1_000 >= START_MS && index % 10 == 3;
            span(&mut scene, service, index * 1_000, fails);
        }
    }
    let answer = scene.ask("entry", "errors");
    assert!(says(
        &answer,
        "failures begin at op in stock: 0 before, 30 since"
    ));
}
