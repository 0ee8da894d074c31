//! What the command refuses, and what it needs for a large recording.

use crate::fleet::{AT_MS, Case, FIRST_MS, START_MS, STEP_MS, chance, gaps, metrics};
use serde_json::json;
use std::fmt::Write as _;
use std::fs::File;
use std::process::Stdio;

#[test]
fn a_file_that_is_missing_or_holds_nothing_of_use_is_named() {
    let case = Case::new(&metrics());
    let told = case.refused(&[("--metrics", "nowhere.jsonl")]);
    assert!(
        told.starts_with("midwatch: nowhere.jsonl cannot be read: No such file"),
        "{told}"
    );
    let told = case.refused(&[("--topology", "metrics.jsonl")]);
    assert!(
        told.starts_with("midwatch: metrics.jsonl is no service graph: "),
        "{told}"
    );
    let other = Case::new(&[]).text("metrics", "time,service,value\n1,a,2\n");
    assert_eq!(
        other.refused(&[]),
        "midwatch: metrics.jsonl holds no readable line: 2 unreadable (first line 1: expected ident)\n  \
         mend: each line is a metric reading (service, metric_name, metric_value, timestamp_ms)\n"
    );
}

#[test]
fn metrics_that_are_empty_are_a_gap_and_no_cause() {
    let case = Case::new(&[]);
    let output = case.run(&[]);
    assert!(output.status.success());
    let told = String::from_utf8(output.stderr).expect("text");
    assert_eq!(told, "midwatch: metrics.jsonl: the file is empty\n");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["verdict"], "inconclusive");
    assert!(
        gaps(&answer).contains(&"no metrics were recorded"),
        "{answer}"
    );
    assert!(
        gaps(&answer).contains(&"metrics: the file is empty"),
        "{answer}"
    );
}

#[test]
fn a_question_that_cannot_be_is_refused() {
    let case = Case::new(&metrics());
    assert_eq!(
        case.refused(&[("--target", "shop")]),
        "midwatch: no file names the service shop\n  \
         mend: name the target as topology or metrics do\n"
    );
    assert_eq!(
        case.refused(&[("--at", &i64::MAX.to_string())]),
        format!(
            "midwatch: --at {} is no time\n  mend: give milliseconds since 1970\n",
            i64::MAX
        )
    );
    let start = (AT_MS + 3_600_001).to_string();
    assert_eq!(
        case.refused(&[("--start", &start)]),
        format!(
            "midwatch: --at {AT_MS} is more than an hour before --start {start}\n  \
             mend: the alert fires after the fault began; both in milliseconds\n"
        )
    );
}

#[test]
fn times_that_the_recording_does_not_hold_are_refused_with_both() {
    let case = Case::new(&metrics());
    let last = FIRST_MS + 119 * STEP_MS;
    let (start, at) = (START_MS / 1_000, AT_MS / 1_000);
    assert_eq!(
        case.refused(&[("--start", &start.to_string()), ("--at", &at.to_string())]),
        format!(
            "midwatch: --start {start} and --at {at} are not in the recording\n  \
             mend: it is of {FIRST_MS} to {last}, in milliseconds; these are seconds\n"
        )
    );
    let day = 86_400_000;
    for (start, at) in [(START_MS + day, AT_MS + day), (START_MS - day, AT_MS - day)] {
        let (start, at) = (start.to_string(), at.to_string());
        assert_eq!(
            case.refused(&[("--start", &start), ("--at", &at)]),
            format!(
                "midwatch: --start {start} and --at {at} are not in the recording\n  \
                 mend: it is of {FIRST_MS} to {last}, in milliseconds; give times of it\n"
            )
        );
    }
    // A start at either end is one that somebody may mean.
    for start in [FIRST_MS, last] {
        let start = start.to_string();
        assert!(case.run(&[("--start", &start)]).status.success(), "{start}");
    }
}

/// The most memory that a process has had so far, in KiB; `None` once it ended.
fn most_memory(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

const SERVICES: i64 = 50;

/// Each service calls the two after it; one in the middle breaks.
fn large() -> Case {
    let name = |service: i64| format!("s{service:02}");
    let graph = (0..SERVICES).map(|service| {
        let below = (service + 1..SERVICES).take(2).map(name);
        json!({"name": name(service), "depends_on": below.collect::<Vec<_>>()})
    });
    let graph = json!({"services": graph.collect::<Vec<_>>()});
    let mut metrics = String::new();
    let (mut logs, mut spans) = (String::new(), String::new());
    for index in 0..500 {
        let at = FIRST_MS + index * 2_400;
        for service in 0..SERVICES {
            let is_slow = index >= 333 && service <= 30;
            let is_full = index >= 333 && service == 30;
            for (kind, metric) in (0..).zip(["latency_ms", "cpu", "memory", "requests"]) {
                let more = match metric {
                    "latency_ms" if is_slow => 300.0,
                    "cpu" if is_full => 60.0,
                    _ => 0.0,
                };
                let value = 20.0 + 5.0 * chance(service * 4 + kind, index) + more;
                let service = name(service);
                writeln!(metrics, "{{\"service\":\"{service}\",\"metric_name\":\"{metric}\",\"metric_value\":{value},\"timestamp_ms\":{at},\"labels\":{{\"code\":\"200\",\"operation\":\"op{kind}\"}}}}").expect("memory");
            }
            let (length, name) = (if is_slow { 320 } else { 20 }, name(service));
            writeln!(logs, "{{\"service\":\"{name}\",\"level\":\"INFO\",\"message\":\"request {index} answered\",\"timestamp_ms\":{at}}}").expect("memory");
            writeln!(spans, "{{\"trace_id\":\"t{index}\",\"span_id\":\"{service}\",\"parent_span_id\":\"{}\",\"service\":\"{name}\",\"operation\":\"get\",\"start_ms\":{at},\"duration_ms\":{length},\"status\":\"OK\"}}", service - 1).expect("memory");
        }
    }
    let case = Case::new(&[]);
    case.write("topology.json", &graph.to_string());
    case.text("metrics", &metrics)
        .text("logs", &logs)
        .text("spans", &spans)
}

#[test]
fn fifty_services_with_a_hundred_thousand_samples_take_less_than_a_gigabyte() {
    let case = large();
    let mut command = case.command(&[("--target", "s00")]);
    let answer = case.path("answer.json");
    command
        .stdout(File::create(&answer).expect("a file"))
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("midwatch starts");
    // The peak is a high-water mark: the last look before the end shows it.
    let mut peak_kib = 0;
    while child.try_wait().expect("a child").is_none() {
        peak_kib = most_memory(child.id()).unwrap_or(peak_kib).max(peak_kib);
        std::thread::yield_now();
    }
    let output = child.wait_with_output().expect("it ended");
    assert!(output.status.success(), "{output:?}");
    let answer = std::fs::read_to_string(answer).expect("written");
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(answer["ranking"][0], "s30");
    println!("at most {} MiB", peak_kib / 1024);
    // 100 000 readings of 24 bytes alone are more than 2 MiB: it was watched.
    assert!(
        (2_048..1_000_000_000 / 1024).contains(&peak_kib),
        "{peak_kib} KiB"
    );
}
