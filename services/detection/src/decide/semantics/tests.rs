//! Names and units, files, and what follows from them.

use super::names::{Unit, Words};
use super::overrides::Semantics;
use super::traits::TRAITS;
use super::*;
use crate::decide::statistics::Profile;
use midwatch_events::knowledge::Catalogue;
use std::collections::BTreeMap;

fn by_name(series: &str) -> Meaning {
    Meaning::of("any-service", series, &Semantics::default())
}

fn with_file(service: &str, series: &str, text: &str) -> Meaning {
    let semantics = Semantics::parse(text).expect("the file is right");
    Meaning::of(service, series, &semantics)
}

fn judged(expected: f64, z: f64) -> Judgement {
    Judgement {
        ready: true,
        z,
        expected,
        low: expected,
        high: expected,
        score: statistics::score(z),
    }
}

#[test]
fn names_of_the_interface_keep_their_class() {
    for (name, class) in [
        ("service_latency_p99_ms", Class::Latency),
        ("service_error_rate_percent", Class::ErrorRate),
        ("service_cpu_percent", Class::Cpu),
        ("service_memory_percent", Class::Memory),
        ("service_db_connections", Class::Connections),
        ("kafka_consumer_lag", Class::Lag),
        ("kafka_consumer_lag{topic=orders}", Class::Lag),
        ("kafka_consumer_lag{group=midwatch.api}", Class::Context),
        ("kafka_consumer_lag{group=orders}", Class::Lag),
        ("kafka_consumer_lag_seconds", Class::LagAge),
        (
            "kafka_consumer_lag_seconds{group=midwatch.api}",
            Class::LagAge,
        ),
        ("service_request_rate", Class::RequestRate),
        ("host_cpu_percent", Class::HostCpu),
        ("host_disk_percent{mount=/}", Class::HostDisk),
        ("host_load1", Class::Context),
        ("failure_injections_total", Class::Context),
    ] {
        let meaning = by_name(name);
        assert_eq!((meaning.class(), Class::of(name)), (class, class), "{name}");
        assert!(!meaning.guessed && meaning.unit == Unit::Own, "{name}");
    }
}

#[test]
fn words_tell_the_class_and_the_unit_of_other_names() {
    use Class as C;
    use Unit as U;
    for (name, class, unit) in [
        ("process_cpu_ratio", C::Cpu, U::Ratio),
        ("containerCpuUsage", C::Cpu, U::Foreign),
        ("node_cpu_idle_percent", C::Free, U::Own),
        ("jvm_heap_used_percent", C::Memory, U::Own),
        ("process_resident_memory_bytes", C::Memory, U::Foreign),
        ("node_memory_MemAvailable_bytes", C::Free, U::Foreign),
        ("memory_available_ratio", C::Free, U::Ratio),
        ("memory_free_bytes", C::Context, U::Own),
        ("memory_limit_bytes", C::Context, U::Own),
        ("swap_used_percent", C::HostSwap, U::Own),
        ("filesystem_used_ratio", C::HostDisk, U::Ratio),
        ("volume_used_bytes", C::HostDisk, U::Foreign),
        ("disk_free_percent", C::DiskFree, U::Own),
        ("disk_io_time_seconds", C::Context, U::Own),
        ("hikaricp_connections_active", C::Connections, U::Own),
        ("hikaricp_connections_max", C::Context, U::Own),
        ("hikaricp_connections_idle", C::Context, U::Own),
        ("hikaricp_connections_pending", C::Queue, U::Own),
        ("pool_used_ratio", C::Connections, U::Ratio),
        ("pool_available_connections", C::Free, U::Foreign),
        ("queue_depth", C::Queue, U::Own),
        ("orders.backlog", C::Queue, U::Own),
        ("requests_in_flight", C::Queue, U::Own),
        ("consumer_group_records_lag", C::Lag, U::Own),
        ("replication_lag_ms", C::Delay, U::Millis),
        ("queue_oldest_message_age_seconds", C::Delay, U::Own),
        ("http_request_duration_seconds", C::Latency, U::Own),
        ("checkout-response-time", C::Latency, U::Own),
        ("http_5xx_ratio", C::ErrorRate, U::Ratio),
        ("failure_rate", C::ErrorRate, U::Foreign),
        ("login_failures", C::ErrorCount, U::Own),
        ("payment_success_ratio", C::SuccessRate, U::Ratio),
        ("cache_hit_ratio", C::HitRatio, U::Ratio),
        ("orders_per_minute", C::RequestRate, U::Own),
        ("search_qps", C::RequestRate, U::Own),
        ("network_transmit_bytes_per_second", C::Throughput, U::Own),
        ("deployment_replicas_ready", C::Replicas, U::Own),
        ("deployment_replicas_unavailable", C::Unavailable, U::Own),
        ("underReplicated_partitions_offline", C::Unavailable, U::Own),
        ("pod_restarts", C::Restarts, U::Own),
        ("gpu_temperature", C::Temperature, U::Own),
        ("inlet_temperature_celsius", C::Temperature, U::Own),
        ("inlet_temperature_fahrenheit", C::Temperature, U::Foreign),
        ("gpu_utilization_percent", C::Context, U::Own),
        ("pg_up", C::Health, U::Own),
        ("http_requests_total", C::Context, U::Own),
        ("process_uptime_seconds", C::Context, U::Own),
        ("shopping_carts", C::Other, U::Own),
    ] {
        let meaning = by_name(name);
        let words = Words::of(name);
        assert_eq!((meaning.class, meaning.unit), (class, unit), "{words:?}");
    }
}

#[test]
fn resources_end_where_name_unit_and_catalogue_say() {
    let catalogue = r#"[{"name": "payment-service", "limits":
        {"db_connections_max": 100, "memory_percent": 90, "cpu_percent": 100, "broken": -1}}]"#;
    let catalogue = Catalogue::parse(catalogue).expect("the catalogue is right");
    let semantics = Semantics::default().with_catalogue(&catalogue);
    for (service, name, end) in [
        ("payment-service", "service_db_connections", Some(100.0)),
        (
            "payment-service",
            "service_db_connections{pod=a}",
            Some(100.0),
        ),
        ("order-service", "service_db_connections", None),
        ("payment-service", "service_memory_percent", Some(90.0)),
        ("order-service", "service_memory_percent", Some(100.0)),
        ("payment-service", "service_cpu_percent", None),
        ("host/a", "host_disk_percent{mount=/}", Some(100.0)),
        ("host/a", "host_swap_percent", Some(100.0)),
        ("a", "heap_used_ratio", Some(1.0)),
        ("a", "heap_used_bytes", None),
        ("a", "pool_used_percent", Some(100.0)),
        ("a", "kafka_consumer_lag", Some(f64::INFINITY)),
        ("a", "kafka_consumer_lag{group=midwatch.api}", None),
        ("a", "queue_depth", Some(f64::INFINITY)),
        ("a", "disk_free_percent", None),
        ("a", "service_request_rate", None),
    ] {
        let meaning = Meaning::of(service, name, &semantics);
        assert_eq!(meaning.exhausts_at(), end, "{service} {name}");
    }
}

#[test]
fn a_change_matters_in_the_harmful_direction_and_the_metrics_unit() {
    let tuning = Tuning::default();
    for (name, expected, value, out) in [
        ("service_cpu_percent", 20.0, 27.9, false),
        ("service_cpu_percent", 20.0, 28.0, true),
        ("worker_cpu_ratio", 0.20, 0.27, false),
        ("worker_cpu_ratio", 0.20, 0.29, true),
        ("worker_cpu_usage", 20.0, 27.9, false),
        ("worker_cpu_usage", 2.0, 2.9, true),
        ("kafka_consumer_lag", 100.0, 599.0, false),
        ("kafka_consumer_lag", 100.0, 600.0, true),
        ("kafka_consumer_lag", 400.0, 1_199.0, false),
        ("service_db_connections", 10.0, 12.9, false),
        ("service_db_connections", 30.0, 36.0, true),
        ("cache_hit_ratio", 0.95, 0.86, false),
        ("cache_hit_ratio", 0.95, 0.80, true),
        ("cache_hit_ratio", 0.50, 0.90, false),
        ("replicas_ready", 3.0, 2.0, true),
        ("replicas_ready", 3.0, 6.0, false),
        ("service_request_rate", 100.0, 70.0, true),
        ("service_request_rate", 100.0, 129.0, false),
        ("replication_lag_ms", 500.0, 60_400.0, false),
        ("replication_lag_ms", 500.0, 61_000.0, true),
        ("shopping_carts", 100.0, 99.0, true),
        ("host_load1", 1.0, 99.0, false),
    ] {
        let z = if value > expected { 9.0 } else { -9.0 };
        let standing = by_name(name).standing(value, &judged(expected, z), &tuning);
        assert_eq!(standing.out_of_range, out, "{name} {expected} → {value}");
    }
}

#[test]
fn limits_follow_the_unit_and_the_direction() {
    let tuning = Tuning::default();
    for (name, at, beyond, within) in [
        ("host_disk_percent{mount=/}", Some(95.0), 95.0, 94.9),
        ("filesystem_used_ratio", Some(0.95), 0.96, 0.94),
        ("disk_free_percent", Some(5.0), 4.0, 6.0),
        ("gpu_temperature", Some(90.0), 91.0, 80.0),
        ("kafka_consumer_lag_seconds", Some(60.0), 60.0, 59.0),
        ("mysql_up", Some(0.0), 0.0, 1.0),
        ("filesystem_used_bytes", None, 1.0, 1.0),
    ] {
        let meaning = by_name(name);
        assert_eq!(meaning.limit(), at, "{name}");
        let out = |value| meaning.standing(value, &judged(value, 0.0), &tuning);
        assert_eq!(out(beyond).out_of_range, at.is_some(), "{name}");
        assert!(!out(within).out_of_range, "{name}");
        if at.is_some() {
            let score = |value| meaning.score(value, &judged(value, 0.0));
            assert!(score(beyond) > score(within), "{name}");
            let below = meaning.is_limited_below();
            let side = [Direction::Above, Direction::Below][usize::from(below)];
            assert_eq!(meaning.side(beyond, beyond), side, "{name}");
        }
    }
}

#[test]
fn what_is_guessed_is_believed_later_and_never_critical() {
    let tuning = Tuning::default();
    let sure = by_name("service_latency_p99_ms");
    let guessed = by_name("checkout_response_time");
    assert_eq!(sure.class(), guessed.class());
    let far = judged(100.0, 50.0);
    for (meaning, blatant, readings, severity) in [
        (&sure, true, 2, Severity::Critical),
        (&guessed, false, 3, Severity::High),
    ] {
        let standing = meaning.standing(900.0, &far, &tuning);
        assert!(standing.out_of_range);
        assert_eq!(standing.blatant, blatant);
        assert_eq!(meaning.readings_to_start(), readings);
        assert_eq!(meaning.severity(900.0, 50.0), severity);
    }
}

#[test]
fn severities_follow_the_reference() {
    for (name, z, severity) in [
        ("service_latency_p99_ms", 5.0, Severity::Critical),
        ("service_latency_p99_ms", 3.0, Severity::High),
        ("service_latency_p99_ms", 2.9, Severity::Medium),
        ("service_error_rate_percent", 6.0, Severity::Critical),
        ("service_error_rate_percent", 5.9, Severity::High),
        ("service_error_rate_percent", 3.4, Severity::Medium),
        ("service_cpu_percent", 5.5, Severity::Critical),
        ("service_memory_percent", 5.0, Severity::Critical),
        ("service_db_connections", 4.0, Severity::Critical),
        ("service_db_connections", 2.8, Severity::High),
        ("kafka_consumer_lag", 5.0, Severity::Critical),
        ("shopping_carts", 99.0, Severity::High),
        ("host_cpu_percent", 99.0, Severity::Medium),
    ] {
        assert_eq!(by_name(name).severity(0.0, z), severity, "{name} {z}");
    }
    for (name, value, severity) in [
        ("kafka_consumer_lag_seconds", 60.0, Severity::Medium),
        ("kafka_consumer_lag_seconds", 300.0, Severity::High),
        ("kafka_consumer_lag_seconds", 1_800.0, Severity::Critical),
        ("host_memory_percent", 92.0, Severity::High),
        ("host_memory_percent", 98.0, Severity::Critical),
        ("gpu_temperature", 90.0, Severity::Medium),
        ("gpu_temperature", 95.0, Severity::High),
        ("disk_free_percent", 5.0, Severity::High),
    ] {
        assert_eq!(
            by_name(name).severity(value, 0.0),
            severity,
            "{name} {value}"
        );
    }
    let said = with_file("a", "free", "[[series]]\nmatch='free'\nclass='disk_free'");
    assert_eq!(said.severity(2.5, 0.0), Severity::Medium, "no unit is told");
    let said = with_file(
        "a",
        "x_percent",
        "[[series]]\nmatch='x*'\nclass='disk_free'",
    );
    assert_eq!(said.severity(2.5, 0.0), Severity::High);
    assert_eq!(said.severity(1.5, 0.0), Severity::Critical);
}

#[test]
fn only_instance_labels_make_a_series() {
    let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    };
    assert_eq!(series_name("m", &labels(&[("version", "2")])), None);
    assert_eq!(
        series_name("m", &labels(&[("mount", "/"), ("version", "2")])),
        Some("m{mount=/}".to_owned())
    );
}

#[test]
fn a_small_change_of_a_quiet_series_is_unusual_but_does_not_matter() {
    let tuning = Tuning::default();
    let mut profile = Profile::default();
    profile.relearn(0, &[380.0; 50]);
    let meaning = by_name("service_latency_p99_ms");
    let stand = |value: f64| meaning.standing(value, &profile.judge(0, value, &tuning), &tuning);
    let small = stand(420.0);
    assert!(small.unusual && !small.out_of_range);
    assert!(stand(500.0).out_of_range && stand(500.0).blatant);
    assert!(!stand(100.0).unusual, "faster is not harmful");
}

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
    for (entry, words) in [
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
    ] {
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
    let text = include_str!("../../../semantics.example.toml");
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

#[test]
fn classes_are_found_by_their_name_and_their_place() {
    for (place, traits) in TRAITS.iter().enumerate() {
        assert_eq!(traits.class as usize, place, "{}", traits.name);
        assert_eq!(Class::named(traits.name), Some(traits.class));
        assert!(
            !traits.why.is_empty() && traits.readings > 0,
            "{}",
            traits.name
        );
    }
}
