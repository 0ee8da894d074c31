//! Names and units, and what follows from them.

mod files;

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
