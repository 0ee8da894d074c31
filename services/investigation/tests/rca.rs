//! One small recording for each rule of the investigator, with what a person
//! would answer.

mod scene;

use midwatch_events::incident::Verdict;
use midwatch_events::raw::LogLevel;
use midwatch_events::topology::EdgeSource;
use midwatch_investigation::rca::{ChangeEvent, ChangeKind, Span};
use scene::{END_MS, START_MS, STEADY, STEP_MS, Scene, first, shop};

#[test]
fn seconds_are_charged_to_whoever_adds_them() {
    // orders takes 90 ms more; shop and entry wait just that.
    let scene = shop()
        .service("entry", (60.0, 150.0), STEADY, 0.0)
        .service("shop", (40.0, 130.0), STEADY, 0.0)
        .service("orders", (10.0, 100.0), STEADY, 0.0)
        .service("stock", (10.0, 10.0), STEADY, 0.0);
    let answer = scene.ask("entry", "latency_avg_ms");
    assert_eq!(first(&answer), "orders");
    assert_eq!(answer.verdict, Verdict::Conclusive);
    let shop = answer.candidates.iter().find(|one| one.service == "shop");
    let shop = shop.expect("it is slower too");
    // 90 of its 90 ms are orders'.
    assert!(
        shop.refuting
            .iter()
            .any(|clue| clue.summary.contains("explains 100 %")),
        "{shop:?}"
    );
}

#[test]
fn trouble_beside_the_alert_explains_it_less() {
    // stock is slowed more, but none of its caller's requests are: only
    // another caller of its own waits for it.
    let scene = Scene::of(&[("entry", "shop"), ("shop", "orders"), ("batch", "stock")])
        .service("entry", (60.0, 100.0), STEADY, 0.0)
        .service("shop", (40.0, 80.0), STEADY, 0.0)
        .service("orders", (10.0, 50.0), STEADY, 0.0)
        .service("batch", (60.0, 130.0), STEADY, 0.0)
        .service("stock", (10.0, 80.0), STEADY, 0.0);
    let answer = scene.ask("entry", "latency_avg_ms");
    assert_eq!(first(&answer), "orders");
    let other = scene.ask("batch", "latency_avg_ms");
    assert_eq!(first(&other), "stock");
}

#[test]
fn requests_lost_by_several_failing_callers_are_the_silent_callee_s() {
    let scene = Scene::of(&[
        ("entry", "shop"),
        ("entry", "cart"),
        ("shop", "users"),
        ("cart", "users"),
    ])
    .service("entry", (60.0, 60.0), (200.0, 200.0), 0.0)
    .service("shop", (40.0, 40.0), STEADY, 50.0)
    .service("cart", (40.0, 40.0), STEADY, 50.0)
    .service("users", (5.0, 5.0), (200.0, 0.0), 0.0);
    let answer = scene.ask("shop", "errors");
    assert_eq!(first(&answer), "users");
    assert_eq!(answer.candidates[0].cause, "DEPENDENCY_OUTAGE");
}

#[test]
fn requests_lost_by_one_failing_caller_of_two_are_that_caller_s() {
    // cart goes on to reach users; shop asks at a wrong address.
    let scene = Scene::of(&[
        ("entry", "shop"),
        ("entry", "cart"),
        ("shop", "users"),
        ("cart", "users"),
    ])
    .service("entry", (60.0, 60.0), (200.0, 200.0), 0.0)
    .service("shop", (40.0, 40.0), STEADY, 80.0)
    .service("cart", (40.0, 40.0), STEADY, 0.0)
    .service("users", (5.0, 5.0), (200.0, 100.0), 0.0);
    assert_eq!(first(&scene.ask("shop", "errors")), "shop");
}

#[test]
fn what_only_its_failing_caller_stopped_calling_is_gone_where_more_than_its_requests_ends() {
    // shop fails nearly all, and nothing more of users is measured: nobody
    // calls it any more, or it is gone.
    let mut scene = Scene::of(&[("entry", "shop"), ("shop", "users")])
        .service("entry", (60.0, 60.0), STEADY, 85.0)
        .service("shop", (40.0, 40.0), STEADY, 90.0)
        .service("users", (5.0, 5.0), STEADY, 0.0);
    for series in &mut scene.0.series {
        if series.service == "users" {
            series.points.retain(|(at, _)| *at < START_MS);
        }
    }
    assert_eq!(first(&scene.ask("entry", "errors")), "shop");
    // Its memory would go on being measured if only its caller went astray.
    let mut scene = scene.series("users", "memory_bytes", 4e8, 4e8);
    let memory = scene.0.series.last_mut().expect("it was just added");
    memory.points.retain(|(at, _)| *at < START_MS);
    assert_eq!(first(&scene.ask("entry", "errors")), "users");
}

#[test]
fn connections_that_requests_hold_for_longer_have_not_run_out() {
    // orders takes ten times as long.
    let slow = || {
        shop()
            .service("entry", (60.0, 150.0), STEADY, 0.0)
            .service("shop", (40.0, 130.0), STEADY, 0.0)
            .service("orders", (10.0, 100.0), STEADY, 0.0)
            .service("stock", (10.0, 10.0), STEADY, 0.0)
    };
    for (metric, before, after, expected) in [
        // As many times: each request holds one ten times as long.
        ("db_connections", 4.0, 40.0, "LATENCY_SPIKE"),
        // Twice as many again, or near the end of what there is.
        ("db_connections", 4.0, 80.0, "DB_CONNECTION_EXHAUSTION"),
        (
            "db_connections_percent",
            20.0,
            98.0,
            "DB_CONNECTION_EXHAUSTION",
        ),
        // As many requests as before make a processor no busier.
        ("cpu_cores", 0.2, 1.9, "CPU_SATURATION"),
    ] {
        let answer = slow().series("orders", metric, before, after);
        let answer = answer.ask("entry", "latency_avg_ms");
        assert_eq!(first(&answer), "orders");
        assert_eq!(answer.candidates[0].cause, expected, "{metric} {after}");
    }
}

#[test]
fn complaints_that_reach_nobody_carry_no_cause() {
    let message = "client closed the connection after 28 ms, its retry is answered: broken pipe peer=10.0.132.54";
    let scene = Scene::of(&[("shop", "orders")])
        .service("orders", (10.0, 10.0), STEADY, 0.0)
        .lines("shop", LogLevel::Error, message);
    // What shop complains of is counted nowhere: it may have reached somebody.
    let blind = scene.ask("shop", "log:error_burst");
    assert_eq!(blind.verdict, Verdict::Conclusive, "{blind:?}");
    // Nothing failed and nothing is slower.
    let scene = scene.service("shop", (40.0, 40.0), STEADY, 0.0);
    let seen = scene.ask("shop", "log:error_burst");
    assert_eq!(seen.verdict, Verdict::Inconclusive, "{seen:?}");
}

#[test]
fn a_deployment_after_the_symptoms_is_refuted() {
    let mut scene = shop()
        .service("entry", (60.0, 150.0), STEADY, 0.0)
        .service("shop", (40.0, 130.0), STEADY, 0.0)
        .service("orders", (10.0, 100.0), STEADY, 0.0)
        .service("stock", (10.0, 10.0), STEADY, 0.0);
    let deployed = |service: &str, at_ms: i64| ChangeEvent {
        id: format!("deploy:{service}"),
        service: service.to_owned(),
        at_ms,
        kind: ChangeKind::Deployment,
        reason: String::new(),
        text: format!("{service} 2.1"),
    };
    // Two minutes after them, and a reading after their first one.
    scene.0.changes = vec![
        deployed("shop", START_MS + 120_000),
        deployed("orders", START_MS + STEP_MS),
    ];
    let answer = scene.ask("entry", "latency_avg_ms");
    assert_eq!(first(&answer), "orders");
    assert_eq!(answer.candidates[0].cause, "LATENCY_SPIKE");
    let quoted = answer.candidates.iter().flat_map(|one| &one.evidence);
    assert!(quoted.clone().all(|clue| clue.id != "deploy:shop"));
    // The same two minutes before the symptoms names the cause.
    scene.0.changes = vec![deployed("orders", START_MS - 60_000)];
    let answer = scene.ask("entry", "latency_avg_ms");
    assert_eq!(first(&answer), "orders");
    assert_eq!(answer.candidates[0].cause, "DEPLOYMENT_FAILURE");
}

#[test]
fn a_load_that_grew_is_no_fault() {
    // Requests and processors double, nobody waits or fails.
    let scene = shop()
        .service("entry", (60.0, 60.0), (100.0, 200.0), 0.0)
        .service("shop", (40.0, 40.0), (100.0, 200.0), 0.0)
        .service("orders", (10.0, 10.0), (100.0, 200.0), 0.0)
        .series("shop", "cpu_percent", 20.0, 40.0)
        .series("orders", "cpu_percent", 15.0, 30.0);
    let answer = scene.ask("entry", "request_rate");
    assert_eq!(answer.verdict, Verdict::Inconclusive);
    assert!(answer.candidates.iter().all(|one| one.confidence <= 0.45));
}

#[test]
fn a_load_that_grew_slows_less_than_it_grew() {
    let grown = |slower: f64| {
        shop()
            .service("entry", (60.0, 60.0 * slower), (100.0, 200.0), 0.0)
            .service("shop", (40.0, 40.0 * slower), (100.0, 200.0), 0.0)
            .service("orders", (10.0, 10.0 * slower), (100.0, 200.0), 0.0)
            .series("orders", "cpu_percent", 15.0, 30.0)
    };
    let answer = grown(1.2).ask("entry", "latency_avg_ms");
    assert_eq!(answer.verdict, Verdict::Inconclusive, "{answer:?}");
    assert!(answer.candidates[0].confidence <= 0.45);
}

#[test]
fn a_processor_that_stands_still_under_requests_has_stopped() {
    // Without a graph: users is asked as ever and works on nothing.
    let scene = Scene::of(&[])
        .service("shop", (40.0, 40.0), STEADY, 90.0)
        .series("shop", "cpu_percent", 30.0, 28.0)
        .series("users", "request_rate", 100.0, 100.0)
        .series("users", "cpu_percent", 40.0, 1.0);
    let answer = scene.ask("shop", "errors");
    assert_eq!(first(&answer), "users");
    assert_eq!(answer.candidates[0].cause, "DEPENDENCY_OUTAGE");
}

#[test]
fn an_answer_that_none_can_use_is_charged_to_who_gave_it() {
    // shop fails on prices' answer, entry on shop's: the one by an address
    // that nobody else names.
    let scene = Scene::of(&[("entry", "shop"), ("shop", "prices"), ("shop", "stock")])
        .service("entry", (60.0, 60.0), STEADY, 20.0)
        .service("shop", (40.0, 40.0), STEADY, 20.0)
        .service("prices", (10.0, 10.0), STEADY, 0.0)
        .service("stock", (10.0, 10.0), STEADY, 0.0)
        .lines(
            "shop",
            LogLevel::Error,
            "cannot use the answer of prices: expected a price, got -3",
        )
        .lines(
            "entry",
            LogLevel::Error,
            "cannot use the answer of 10.0.0.7: expected a price, got -3",
        );
    let answer = scene.ask("entry", "errors");
    assert_eq!(first(&answer), "prices");
    assert_eq!(answer.candidates[0].evidence[0].service, "shop");
}

#[test]
fn a_refused_request_is_charged_to_who_sent_it() {
    // orders rejects what shop sends; shop's refusal goes on to entry.
    let scene = shop()
        .service("entry", (60.0, 60.0), STEADY, 20.0)
        .service("shop", (40.0, 40.0), STEADY, 20.0)
        .service("orders", (10.0, 10.0), STEADY, 20.0)
        .service("stock", (10.0, 10.0), STEADY, 0.0)
        .lines(
            "orders",
            LogLevel::Warn,
            "validation failed: quantity must be positive",
        )
        .lines("shop", LogLevel::Error, "orders answered 400 Bad Request")
        .lines("entry", LogLevel::Error, "shop answered 400 Bad Request");
    assert_eq!(first(&scene.ask("entry", "errors")), "shop");
}

#[test]
fn a_stated_start_that_is_late_hides_no_fault() {
    // The fault began forty seconds before it was said to.
    let mut scene = shop()
        .service("entry", (60.0, 150.0), STEADY, 0.0)
        .service("shop", (40.0, 130.0), STEADY, 0.0)
        .service("orders", (10.0, 100.0), STEADY, 0.0)
        .service("stock", (10.0, 10.0), STEADY, 0.0);
    for series in &mut scene.0.series {
        for (at_ms, _) in &mut series.points {
            *at_ms -= 40_000;
        }
    }
    let answer = scene.ask("entry", "latency_avg_ms");
    assert_eq!(first(&answer), "orders");
    assert_eq!(answer.verdict, Verdict::Conclusive);
}

/// A request every second: entry calls shop, which works, then calls its
/// stores in turn.
fn traced(spans: &mut Vec<Span>, at_ms: i64, shop_ms: i64, way_ms: i64, callees: &[&str]) {
    let trace = format!("t{at_ms}");
    let mut add = |own: &str, parent: Option<&str>, service: &str, start: i64, ms: i64| {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a request")]
        let duration_ms = ms as f64;
        spans.push(Span {
            id: format!("span:{at_ms}/{own}"),
            trace: trace.clone(),
            own: own.to_owned(),
            parent: parent.map(str::to_owned),
            service: service.to_owned(),
            operation: "GET /".to_owned(),
            start_ms: at_ms + start,
            duration_ms,
            failed: false,
        });
    };
    let mut until = 10 + shop_ms;
    let mut calls = Vec::new();
    for callee in callees {
        calls.push((*callee, until + way_ms));
        until += 2 * way_ms + 20;
    }
    add("entry", None, "entry", 0, until + 10);
    add("shop", Some("entry"), "shop", 5, until - 5);
    for (callee, start) in calls {
        add(callee, Some("shop"), callee, start, 20);
    }
}

#[test]
fn a_call_that_is_no_longer_made_is_its_caller_s() {
    let mut scene = shop();
    for second in 0..END_MS / 1000 {
        let at_ms = second * 1000;
        let stray = second % 3;
        let callees: &[&str] = if at_ms < START_MS {
            &["orders", "stock"]
        } else {
            &["orders"]
        };
        traced(&mut scene.0.spans, at_ms, 30 + stray, 1, callees);
    }
    let answer = scene.ask("entry", "errors");
    assert_eq!(first(&answer), "shop");
    let said = answer.candidates[0].evidence.iter();
    // Once a request before, never since.
    assert!(
        said.clone().any(|clue| clue
            .summary
            .contains("of stock 0 times a request, before it was 1")),
        "{:?}",
        answer.candidates[0].evidence
    );
}

#[test]
fn a_service_that_works_longer_is_told_from_those_that_wait() {
    let mut scene = shop();
    for second in 0..END_MS / 1000 {
        let at_ms = second * 1000;
        let works = if at_ms < START_MS { 30 } else { 180 };
        traced(
            &mut scene.0.spans,
            at_ms,
            works + second % 3,
            1,
            &["orders", "stock"],
        );
    }
    let answer = scene.ask("entry", "latency_avg_ms");
    assert_eq!(first(&answer), "shop");
    assert_eq!(answer.candidates[0].cause, "LATENCY_SPIKE");
}

#[test]
fn a_way_that_is_longer_for_every_caller_is_the_callee_s() {
    // users is asked by shop and by cart, each 60 ms farther away than
    // before, and takes as long as ever.
    let calls = [
        ("entry", "shop"),
        ("entry", "cart"),
        ("shop", "users"),
        ("cart", "users"),
    ];
    let mut scene = Scene::of(&calls);
    for second in 0..END_MS / 1000 {
        let at_ms = second * 1000;
        let way = if at_ms < START_MS { 1 } else { 30 } + second % 2;
        for caller in ["shop", "cart"] {
            let mut one = Vec::new();
            traced(&mut one, at_ms, 10, way, &["users"]);
            for span in &mut one {
                span.trace = format!("{}{caller}", span.trace);
                span.id = format!("{}{caller}", span.id);
                if span.service == "shop" {
                    span.service = caller.to_owned();
                }
            }
            scene.0.spans.extend(one);
        }
    }
    assert_eq!(first(&scene.ask("entry", "latency_avg_ms")), "users");
}

#[test]
fn fifty_services_and_a_hundred_thousand_samples_take_seconds() {
    // 50 services in a chain of calls, 14 metrics of 150 samples each.
    let names: Vec<String> = (0..50).map(|index| format!("s{index:02}")).collect();
    let calls: Vec<(&str, &str)> = names
        .windows(2)
        .map(|pair| (pair[0].as_str(), pair[1].as_str()))
        .collect();
    let mut scene = Scene::of(&calls);
    for name in &names {
        scene = scene.service(name, (40.0, 80.0), STEADY, 0.0);
        for metric in 0..11 {
            scene = scene.series(name, &format!("cpu_{metric}"), 10.0, 10.0);
        }
    }
    let samples: usize = scene.0.series.iter().map(|one| one.points.len()).sum();
    assert!(samples >= 100_000, "{samples}");
    let began = std::time::Instant::now();
    let answer = scene.ask("s00", "latency_avg_ms");
    // Two runs in a debug build; the limit of one in a release build is 5 s.
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    // All 40 ms are added by the last of the chain.
    assert_eq!(first(&answer), "s49");
}

#[test]
fn a_store_that_nobody_measures_is_seen_through_all_of_its_callers() {
    // Two services become slower alike, a third one that does not use the
    // store stays as it was; of the store itself nothing is recorded.
    let scene = Scene::of(&[
        ("entry", "cart"),
        ("entry", "orders"),
        ("entry", "help"),
        ("cart", "store"),
        ("orders", "store"),
    ])
    .service("entry", (60.0, 150.0), STEADY, 0.0)
    .service("cart", (20.0, 110.0), STEADY, 0.0)
    .service("orders", (20.0, 110.0), STEADY, 0.0)
    .service("help", (10.0, 10.0), STEADY, 0.0);
    let answer = scene.ask("entry", "latency_avg_ms");
    assert_eq!(first(&answer), "store");
}

#[test]
fn a_service_that_falls_silent_and_is_not_missed_is_no_cause() {
    let mut scene = shop()
        .service("entry", (60.0, 150.0), STEADY, 0.0)
        .service("shop", (40.0, 130.0), STEADY, 0.0)
        .service("orders", (10.0, 100.0), STEADY, 0.0);
    scene
        .0
        .topology
        .add_call("help", "chat", EdgeSource::Catalogue);
    let scene = scene.service("help", (10.0, 10.0), STEADY, 0.0);
    let mut scene = scene.service("chat", (10.0, 10.0), STEADY, 0.0);
    for series in &mut scene.0.series {
        if series.service == "chat" {
            series.points.retain(|(at, _)| *at < START_MS);
        }
    }
    assert_eq!(first(&scene.ask("entry", "latency_avg_ms")), "orders");
}

#[test]
fn counters_are_read_as_what_they_grew_by() {
    // orders' failures grow from none to 30 of 100 a second; both counters
    // only ever rise.
    let mut scene = shop()
        .service("entry", (60.0, 60.0), STEADY, 25.0)
        .service("shop", (40.0, 40.0), STEADY, 28.0)
        .service("orders", (10.0, 10.0), STEADY, 30.0)
        .service("stock", (10.0, 10.0), STEADY, 0.0);
    for series in &mut scene.0.series {
        if series.metric.starts_with("latency") {
            continue;
        }
        series.metric.push_str("_total");
        let mut sum = 1_000.0;
        for (_, value) in &mut series.points {
            sum += *value * 10.0;
            *value = sum;
        }
    }
    assert_eq!(first(&scene.ask("entry", "errors_total")), "orders");
}
