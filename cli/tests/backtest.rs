//! `midwatch backtest` over files and the real broker.

mod support;

use midwatch_clients::kafka::{BrokerReader, KafkaSettings, Producer};
use midwatch_events::{Envelope, Event};
use midwatch_runtime::clock;
use midwatch_simulator::scenario::Scenario;
use midwatch_simulator::shell::HISTORY_TICKS;
use midwatch_simulator::variation::Variation;
use midwatch_simulator::world::{Plan, TICK_MS, World, WorldConfig};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use support::{Ended, Stage, kafka, kafka_with_topics};
use tokio::io::AsyncWriteExt as _;

const START_MS: i64 = 1_795_305_600_000;
/// From the fault to the end of the recording.
const AFTER_MS: i64 = 40 * 60_000;

/// Metrics of a fleet with one fault, in the order in which they happened; the
/// fault's service.
fn recording(seed: u64) -> (Vec<Envelope>, String) {
    let live_ms = START_MS + HISTORY_TICKS * TICK_MS;
    let mut world = World::new(WorldConfig {
        seed,
        environment: "recorded".to_owned(),
        start_ms: START_MS,
        live_ms,
        plan: Plan::Quiet,
        variation: Variation::standard(),
    });
    let mut events = world.advance(live_ms + 300_000);
    let fault = world.inject(Scenario::DbConnectionExhaustion, None);
    let service = fault.expect("nothing else runs").service.name().to_owned();
    events.extend(world.advance(live_ms + 300_000 + AFTER_MS));
    events.retain(|one| matches!(one.event, Event::Metric(_)));
    (events, service)
}

fn lines(events: &[Envelope]) -> String {
    let line = |one: &Envelope| String::from_utf8(one.encode()).expect("JSON is text");
    events.iter().map(|one| line(one) + "\n").collect()
}

/// Three services, of which the second says nothing for the last ten minutes.
fn falling_silent() -> String {
    let mut text = String::new();
    for tick in 0..200_i64 {
        for (index, service) in ["alpha", "beta", "gamma"].iter().enumerate() {
            if index == 1 && tick >= 140 {
                continue;
            }
            let at_ms = START_MS + tick * 10_000;
            let value = 20.0 + index as f64 + (tick % 7) as f64 / 10.0;
            text.push_str(&format!(
                r#"{{"service":"{service}","metric_name":"service_latency_p99_ms","metric_value":{value},"timestamp_ms":{at_ms},"environment":"recorded"}}"#
            ));
            text.push('\n');
        }
    }
    text
}

/// A folder with files, and `midwatch` with no server but what is set.
struct Bench {
    stage: Stage,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        Bench {
            stage: Stage::nowhere(),
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        let mut all = vec!["backtest"];
        all.extend(arguments);
        self.stage.run(&all).await
    }

    async fn report(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        let ended = self.run(&all).await;
        assert_eq!(ended.code, 0, "{}", ended.err);
        ended.json()
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn incidents(report: &Value, outcome: usize) -> &Vec<Value> {
    report["outcomes"][outcome]["incidents"]
        .as_array()
        .expect("incidents")
}

/// The services of the incidents in that, each named after its first.
fn named_after(report: &Value, outcome: usize) -> Vec<&str> {
    let incidents = incidents(report, outcome).iter();
    incidents
        .map(|one| one["services"][0].as_str().expect("a service"))
        .collect()
}

#[tokio::test]
async fn a_recorded_fault_pages_once_on_its_service_and_the_same_twice_is_the_same() {
    let bench = Bench::new();
    let (events, service) = recording(3);
    let file = bench.write("metrics.jsonl", &lines(&events));
    let report = bench.report(&["--file", path(&file)]).await;
    assert_eq!(report["counts"]["records"], events.len());
    assert_eq!(report["counts"]["malformed"], 0);
    assert_eq!(named_after(&report, 0), [service.as_str()], "{report:#}");
    let incident = &incidents(&report, 0)[0];
    let live_ms = START_MS + HISTORY_TICKS * TICK_MS;
    let opened_ms = incident["opened_ms"].as_i64().expect("a time");
    let fault_ms = live_ms + 300_000;
    assert!(
        (fault_ms..fault_ms + 600_000).contains(&opened_ms),
        "{incident:#}"
    );
    assert!(
        incident["resolved_ms"].as_i64().expect("it ends") > opened_ms,
        "{incident:#}"
    );
    let series = report["outcomes"][0]["series"].as_array().expect("series");
    assert!(!series.is_empty());
    for row in series {
        assert_eq!(row["environment"], "recorded");
        assert!(row["first_ms"].as_i64() <= row["last_ms"].as_i64(), "{row}");
    }
    for arguments in [
        ["--file", path(&file), "--json"].as_slice(),
        &["--file", path(&file)],
    ] {
        let (one, other) = (bench.run(arguments).await, bench.run(arguments).await);
        assert_eq!((one.code, other.code), (0, 0), "{}", one.err);
        assert_eq!(one.out, other.out);
    }
    let text = bench.run(&["--file", path(&file)]).await.out;
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    for words in [
        "current: 1 incident would have paged",
        service.as_str(),
        "why",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
}

#[tokio::test]
async fn standard_input_is_a_file_as_well() {
    let bench = Bench::new();
    let text = falling_silent();
    let file = bench.write("m.jsonl", &text);
    let mut child = bench
        .stage
        .command(&["backtest", "--file", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(text.as_bytes()).await.expect("taken");
    drop(input);
    let output = child.wait_with_output().await.expect("it ends");
    let of_input: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let of_file = bench.report(&["--file", path(&file)]).await;
    assert_eq!(of_input["outcomes"], of_file["outcomes"]);
    assert_eq!(of_input["source"]["words"], "standard input");
}

#[tokio::test]
async fn a_higher_threshold_shows_what_would_no_longer_page() {
    let bench = Bench::new();
    let file = bench.write("m.jsonl", &falling_silent());
    let new = bench.write("new.toml", "detection_missing_seconds = 86400\n");
    let arguments = ["--file", path(&file), "--config", path(&new)];
    let report = bench.report(&arguments).await;
    assert_eq!(named_after(&report, 0), ["beta"], "{report:#}");
    assert_eq!(incidents(&report, 0)[0]["anomaly_type"], "MISSING_DATA");
    assert!(incidents(&report, 1).is_empty(), "{report:#}");
    let difference = &report["difference"];
    let id = &incidents(&report, 0)[0]["short_id"];
    assert_eq!(difference["incidents_only_a"], serde_json::json!([id]));
    assert_eq!(difference["incidents_only_b"], serde_json::json!([]));
    assert_eq!(difference["series"][0]["service"], "beta");
    assert_eq!(
        report["settings"],
        serde_json::json!([{"name": "DETECTION_MISSING_SECONDS", "current": null, "new": "86400"}])
    );
    let text = bench.run(&arguments).await.out;
    for words in [
        "current: 1 incident would have paged",
        "new.toml: 0 incidents would have paged",
        "DETECTION_MISSING_SECONDS: its default → 86400",
        "1 only in current, 0 only in new.toml, 0 changed, 0 alike",
        "incidents only in current",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
}

#[tokio::test]
async fn a_longer_wait_shows_the_same_page_later() {
    let bench = Bench::new();
    let file = bench.write("m.jsonl", &falling_silent());
    let new = bench.write("new.toml", "CORRELATION_SETTLE_MS = 60_000\n");
    let arguments = ["--file", path(&file), "--config", path(&new)];
    let report = bench.report(&arguments).await;
    let changed = report["difference"]["incidents_changed"]
        .as_array()
        .expect("a list");
    assert_eq!(changed.len(), 1, "{report:#}");
    // Three seconds of waiting became sixty.
    assert_eq!(changed[0]["later_ms"], 57_000, "{report:#}");
    assert_eq!(report["difference"]["anomalies_changed"], 0);
    let text = bench.run(&arguments).await.out;
    assert!(text.contains("57 s later: "), "{text}");
    let same = bench.write("same.toml", "CORRELATION_SETTLE_MS = 3000\n");
    let report = bench
        .report(&["--file", path(&file), "--config", path(&same)])
        .await;
    assert_eq!(report["difference"]["incidents_same"], 1);
    assert_eq!(
        report["outcomes"][0]["incidents"],
        report["outcomes"][1]["incidents"]
    );
}

#[tokio::test]
async fn malformed_lines_are_counted_and_named() {
    let bench = Bench::new();
    let mut text = "no JSON at all\n".to_owned();
    text.push_str(&falling_silent());
    text.push_str("{\"service\":\"a\",\"metric_name\":\"m\"}\n");
    let file = bench.write("m.jsonl", &text);
    let report = bench.report(&["--file", path(&file)]).await;
    assert_eq!(report["counts"]["malformed"], 2);
    let named = report["counts"]["malformed_first"]
        .as_array()
        .expect("a list");
    assert_eq!(named[0]["at"], "line 1");
    assert!(
        named[1]["reason"]
            .as_str()
            .is_some_and(|why| why.contains("metric_value")),
        "{named:?}"
    );
    assert_eq!(named_after(&report, 0), ["beta"]);
    let bad = bench.write("bad.jsonl", "nothing\nof use\n");
    let ended = bench.run(&["--file", path(&bad)]).await;
    assert_eq!((ended.code, ended.out.as_str()), (1, ""));
    assert!(ended.err.contains("the first is line 1"), "{}", ended.err);
}

#[tokio::test]
async fn times_choose_a_part_of_a_file_with_a_warm_up_before_it() {
    let bench = Bench::new();
    let file = bench.write("m.jsonl", &falling_silent());
    let from_ms = START_MS + 100 * 10_000;
    let (from, to) = (from_ms.to_string(), clock::rfc3339(START_MS + 150 * 10_000));
    let report = bench
        .report(&[
            "--file",
            path(&file),
            "--from",
            &from,
            "--to",
            &to,
            "--warmup-minutes",
            "10",
        ])
        .await;
    let counts = &report["counts"];
    // 60 ticks of three before, 40 of three and 10 of two within.
    assert_eq!(counts["warmup"], 180);
    assert_eq!(counts["records"], 140);
    assert_eq!(counts["outside"], 400 - 180 - 140 + 140);
    assert_eq!(counts["first_ms"], from_ms);
    let ended = bench
        .run(&["--file", path(&file), "--from", "2031-01-01T00:00:00Z"])
        .await;
    assert_eq!(ended.code, 1);
    assert!(
        ended.err.contains("nothing to replay there") && ended.err.contains("earlier --from"),
        "{}",
        ended.err
    );
}

#[tokio::test]
async fn what_cannot_be_meant_or_found_is_said_with_its_remedy() {
    let bench = Bench::new();
    let file = bench.write("m.jsonl", &falling_silent());
    let typo = bench.write("typo.toml", "correlation_setle_ms = 5\n");
    let range = bench.write("range.toml", "CORRELATION_SETTLE_MS = -5\n");
    for (arguments, words) in [
        (
            vec!["--file", path(&file), "--from", "offset:3"],
            "a file has no offsets",
        ),
        (
            vec!["--from", "offset:3", "--with-logs"],
            "an offset is a place in raw.metrics",
        ),
        (
            vec!["--file", path(&file), "--from", "-1h", "--to", "-2h"],
            "is not before --to",
        ),
        (vec!["--file", "/nowhere/m.jsonl"], "cannot be read"),
        (
            vec!["--file", path(&file), "--config", path(&typo)],
            "write CORRELATION_SETTLE_MS",
        ),
        (
            vec!["--file", path(&file), "--config", path(&range)],
            "set it to a number from 0 to 60000",
        ),
        // The broker of the stage is nowhere.
        (vec![], "127.0.0.1:1"),
    ] {
        let ended = bench.run(&arguments).await;
        assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{arguments:?}");
        assert!(
            ended.err.contains(words) && ended.err.contains("  mend: "),
            "{words} in {}",
            ended.err
        );
    }
    let ended = bench
        .run(&["--file", path(&file), "--config", path(&typo)])
        .await;
    let listed = ended.err.lines().any(|line| {
        line.contains("CORRELATION_SETTLE_MS") && line.contains("a number from 0 to 60000")
    });
    assert!(listed, "the settings and their ranges: {}", ended.err);
    assert_eq!(bench.run(&["--from", "yesterday"]).await.code, 2);
    let both = ["--file", path(&file), "--with-logs"];
    assert_eq!(bench.run(&both).await.code, 2);
}

/// Publishes in the order of time, a tick at a time.
async fn publish(settings: &KafkaSettings, events: &[Envelope]) {
    let producer = Producer::new(settings).expect("a producer");
    for tick in events.chunk_by(|one, other| one.event.time_ms() == other.event.time_ms()) {
        producer.publish_all(tick).await.expect("acknowledged");
    }
}

/// A moment after all that was published and before all that will be.
async fn a_moment_between() -> i64 {
    let between_ms = clock::now_ms() + 2;
    while clock::now_ms() <= between_ms {
        tokio::task::yield_now().await;
    }
    between_ms
}

#[tokio::test]
async fn the_broker_gives_what_a_file_gives_by_offsets_and_by_time() {
    let settings = kafka_with_topics().await;
    let (events, service) = recording(3);
    let half = events.len() / 2;
    publish(&settings, &events[..half]).await;
    let between_ms = a_moment_between().await;
    publish(&settings, &events[half..]).await;
    Producer::new(&settings)
        .expect("a producer")
        .publish_bytes("raw.metrics", b"x", b"not JSON", &[])
        .await
        .expect("acknowledged");
    let mut bench = Bench::new();
    bench.stage.set_kafka(&settings);

    let whole = bench.report(&[]).await;
    assert_eq!(whole["counts"]["records"], events.len());
    assert_eq!(whole["counts"]["malformed"], 1);
    let at = whole["counts"]["malformed_first"][0]["at"].as_str();
    assert!(
        at.is_some_and(|at| at.starts_with("raw.metrics ")),
        "{at:?}"
    );
    assert_eq!(named_after(&whole, 0), [service.as_str()], "{whole:#}");
    assert_eq!(bench.report(&[]).await, whole, "the same twice");

    // By offsets: one partition, or the same part of each.
    let reader = BrokerReader::new(settings.clone());
    let logs = reader.topics().await.expect("the broker answers");
    let logs = &logs[&settings.topic("raw.metrics")];
    let ends: Vec<i64> = logs.iter().map(|log| log.end.expect("known")).collect();
    let longest = (0..ends.len())
        .max_by_key(|index| ends[*index])
        .expect("three");
    let partition = longest.to_string();
    let arguments = [
        "--partition",
        &partition,
        "--from",
        "offset:10",
        "--to",
        "offset:110",
    ];
    assert_eq!(bench.report(&arguments).await["counts"]["records"], 100);
    let each = bench.report(&["--to", "offset:20"]).await;
    let wanted: i64 = ends.iter().map(|end| (*end).min(20)).sum();
    assert_eq!(each["counts"]["records"], wanted);

    // By the time of arrival.
    let between = between_ms.to_string();
    let later = bench
        .report(&["--from", &between, "--warmup-minutes", "0"])
        .await;
    assert_eq!(later["counts"]["records"], events.len() - half);
    let earlier = bench.report(&["--to", &between]).await;
    assert_eq!(earlier["counts"]["records"], half);
    let taught = bench
        .report(&["--from", &between, "--warmup-minutes", "60"])
        .await;
    assert_eq!(taught["counts"]["warmup"], half);
    assert_eq!(taught["counts"]["records"], events.len() - half);
    let recorded = bench.report(&["--clock", "record", "--with-all"]).await;
    assert_eq!(recorded["counts"]["records"], events.len());

    // Nothing was left behind, and nothing is found where nothing is.
    let groups = reader.groups().await.expect("the broker answers").groups;
    assert!(groups.is_empty(), "{groups:?}");
    for (arguments, words) in [
        (vec!["--from", "offset:1000000"], "no record of"),
        (vec!["--from", "now"], "nothing to replay there"),
        (vec!["--partition", "7"], "has no partition 7"),
    ] {
        let ended = bench.run(&arguments).await;
        assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{arguments:?}");
        assert!(ended.err.contains(words), "{words} in {}", ended.err);
    }
}

#[tokio::test]
async fn a_broker_without_the_topic_gets_none() {
    let settings = kafka();
    let mut bench = Bench::new();
    bench.stage.set_kafka(&settings);
    let ended = bench.run(&[]).await;
    assert_eq!(ended.code, 1);
    assert!(
        ended.err.contains("has no topic") && ended.err.contains("KAFKA_TOPIC_PREFIX"),
        "{}",
        ended.err
    );
    let reader = BrokerReader::new(settings);
    assert!(reader.topics().await.expect("it answers").is_empty());
}
