//! What every reader of the recordings relies on, and what the scorer makes of an investigator.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use midwatch_events::raw::{RawLog, RawMetric, RawSpan};
use midwatch_holdout::faults::{Question, Shape, Tally, Truth, generate, score::score};
use serde_json::Value;

fn truths(dir: &Path) -> Vec<Truth> {
    let text = fs::read_to_string(dir.join("truth.jsonl")).expect("as it was written");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("as it was written"))
        .collect()
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("as it was written") {
            let path = entry.expect("as it was written").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(
                    path.strip_prefix(dir)
                        .expect("as it was written")
                        .to_owned(),
                    fs::read(&path).expect("as it was written"),
                );
            }
        }
    }
    found
}

fn made(seed: u64, count: usize) -> (tempfile::TempDir, Tally) {
    let dir = tempfile::tempdir().expect("as it was written");
    let tally = generate(seed, count, dir.path()).expect("as it was written");
    (dir, tally)
}

fn lines<T: serde::de::DeserializeOwned>(path: &Path) -> Vec<T> {
    let Ok(text) = fs::read_to_string(path) else {
        return Vec::new();
    };
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let (once, _) = made(3, 8);
    let (again, _) = made(3, 8);
    let (other, _) = made(4, 8);
    assert!(
        files(once.path()) == files(again.path()),
        "a repetition differs"
    );
    assert!(files(once.path()) != files(other.path()), "two seeds agree");
}

#[test]
fn a_folder_that_holds_cases_is_not_written_over() {
    let (dir, _) = made(1, 1);
    let error = generate(2, 1, dir.path()).unwrap_err();
    assert!(error.to_string().contains("already holds cases"), "{error}");
}

#[test]
fn the_truth_is_not_in_the_case_folders() {
    let (dir, _) = made(5, 28);
    let mut families = BTreeSet::new();
    for truth in truths(dir.path()) {
        families.extend(truth.family.split('+').map(str::to_owned));
    }
    assert!(families.len() > 10, "{families:?}");
    let known = [
        "topology.json",
        "question.json",
        "metrics.jsonl",
        "logs.jsonl",
        "spans.jsonl",
    ];
    for (path, bytes) in files(&dir.path().join("cases")) {
        let name = path
            .file_name()
            .expect("as it was written")
            .to_str()
            .expect("as it was written");
        assert!(known.contains(&name), "{}", path.display());
        let text = String::from_utf8(bytes).expect("as it was written");
        for word in families
            .iter()
            .filter(|family| family.contains('-'))
            .map(String::as_str)
            .chain(["culprit", "herring", "truth"])
        {
            assert!(!text.contains(word), "{} says {word}", path.display());
        }
        if name == "question.json" {
            let question: Value = serde_json::from_str(&text).expect("as it was written");
            let keys: Vec<&String> = question
                .as_object()
                .expect("as it was written")
                .keys()
                .collect();
            assert_eq!(
                keys,
                ["at_ms", "end_ms", "start_ms", "target", "target_metric"]
            );
        }
    }
}

#[test]
fn names_and_their_order_say_nothing() {
    let (dir, _) = made(6, 28);
    let truths = truths(dir.path());
    assert!(
        truths.iter().all(
            |truth| truth.case.len() == 16 && truth.case.chars().all(|c| c.is_ascii_hexdigit())
        )
    );
    assert!(
        truths.windows(2).all(|pair| pair[0].case < pair[1].case),
        "not in the order of names"
    );
    let changes = truths
        .windows(2)
        .filter(|pair| pair[0].shape != pair[1].shape)
        .count();
    assert!(
        (12..27).contains(&changes),
        "shapes come in an order: {changes} changes"
    );
    let services: BTreeSet<&String> = truths
        .iter()
        .filter_map(|truth| truth.service.as_ref())
        .collect();
    assert!(services.len() > 8, "culprits bear few names: {services:?}");
}

/// The services of the topology file; every edge leads to one of them.
fn services(case: &Path) -> BTreeSet<String> {
    let text = fs::read(case.join("topology.json")).expect("as it was written");
    let topology: Value = serde_json::from_slice(&text).expect("as it was written");
    let list = topology["services"].as_array().expect("a list");
    let name = |value: &Value| value.as_str().expect("a name").to_owned();
    let services: BTreeSet<String> = list.iter().map(|service| name(&service["name"])).collect();
    for service in list {
        for other in service["depends_on"].as_array().expect("a list") {
            assert!(
                services.contains(&name(other)),
                "{}: {other}",
                case.display()
            );
        }
    }
    assert!((5..=50).contains(&services.len()), "{}", case.display());
    services
}

fn check_question(case: &Path, truth: &Truth, services: &BTreeSet<String>) {
    let name = case.display();
    let culprits = truth
        .service
        .iter()
        .chain(&truth.also)
        .chain(&truth.red_herring);
    for named in culprits.chain([&truth.question.target]) {
        assert!(services.contains(named), "{name}: {named}");
    }
    let text = fs::read(case.join("question.json")).expect("as it was written");
    let question: Question = serde_json::from_slice(&text).expect("as it was written");
    assert_eq!(question, truth.question, "{name}");
    assert!(
        question.start_ms < question.at_ms && question.at_ms <= question.end_ms,
        "{name}: {question:?}"
    );
}

fn check_metrics(case: &Path, truth: &Truth, services: &BTreeSet<String>) {
    let name = case.display();
    let metrics: Vec<RawMetric> = lines(&case.join("metrics.jsonl"));
    assert!(
        (1000..=200_000).contains(&metrics.len()),
        "{name}: {} samples",
        metrics.len()
    );
    assert!(
        metrics
            .windows(2)
            .all(|pair| pair[0].timestamp_ms <= pair[1].timestamp_ms),
        "{name}: out of order"
    );
    for metric in &metrics {
        assert!(
            metric.metric_value.is_finite() && services.contains(&metric.service),
            "{name}: {metric:?}"
        );
    }
    let question = &truth.question;
    let of_target =
        |m: &&RawMetric| m.service == question.target && m.metric_name == question.target_metric;
    let target: Vec<&RawMetric> = metrics.iter().filter(of_target).collect();
    let before = target
        .iter()
        .filter(|m| m.timestamp_ms < question.start_ms)
        .count();
    assert!(
        before >= 30 && before < target.len(),
        "{name}: {before} of {}",
        target.len()
    );
}

fn check_logs_and_spans(case: &Path, truth: &Truth, services: &BTreeSet<String>) {
    let name = case.display();
    let logs: Vec<RawLog> = lines(&case.join("logs.jsonl"));
    let logged = matches!(truth.shape, Shape::Full | Shape::MetricsLogs);
    assert_eq!(!logs.is_empty(), logged, "{name}");
    assert!(
        logs.windows(2)
            .all(|pair| pair[0].timestamp_ms <= pair[1].timestamp_ms),
        "{name}: out of order"
    );
    for log in &logs {
        assert!(
            services.contains(&log.service) && !log.message.is_empty(),
            "{name}: {log:?}"
        );
    }
    let spans: Vec<RawSpan> = lines(&case.join("spans.jsonl"));
    assert_eq!(!spans.is_empty(), truth.shape == Shape::Full, "{name}");
    let ids: BTreeMap<&str, &str> = spans
        .iter()
        .map(|span| (span.span_id.as_str(), span.trace_id.as_str()))
        .collect();
    assert_eq!(ids.len(), spans.len(), "{name}: span ids repeat");
    for span in &spans {
        assert!(
            services.contains(&span.service) && span.duration_ms >= 0.0,
            "{name}: {span:?}"
        );
        if let Some(parent) = &span.parent_span_id {
            let trace = ids.get(parent.as_str());
            assert_eq!(
                trace,
                Some(&span.trace_id.as_str()),
                "{name}: a parent is missing"
            );
        }
    }
}

#[test]
fn every_case_is_valid_and_most_culprits_are_far_from_their_alarm() {
    let (dir, tally) = made(11, 56);
    let truths = truths(dir.path());
    assert_eq!(tally.cases, truths.len());
    assert!(tally.dropped <= 1, "{tally:?}");
    let (mut faults, mut far, mut herrings) = (0, 0, 0);
    for truth in &truths {
        let case = dir.path().join("cases").join(&truth.case);
        let services = services(&case);
        check_question(&case, truth, &services);
        check_metrics(&case, truth, &services);
        check_logs_and_spans(&case, truth, &services);
        faults += usize::from(truth.service.is_some());
        far += usize::from(truth.service.is_some() && truth.hops >= 2);
        herrings += usize::from(truth.red_herring.is_some());
    }
    let cases = truths.len();
    assert!(
        far * 2 >= faults,
        "{far} of {faults} culprits are two or more calls away"
    );
    assert!(
        (cases / 5..=cases / 2).contains(&herrings),
        "{herrings} of {cases} cases have a red herring"
    );
}

/// An investigator that always blames one service stands in for a real one.
#[test]
fn the_scorer_runs_the_program_and_adds_up() {
    let (dir, _) = made(7, 14);
    let truths = truths(dir.path());
    let blamed = truths
        .iter()
        .find_map(|truth| truth.service.clone())
        .expect("as it was written");
    let right = truths
        .iter()
        .filter(|truth| truth.service.as_ref() == Some(&blamed) || truth.also.contains(&blamed))
        .count();
    let controls = truths
        .iter()
        .filter(|truth| truth.service.is_none())
        .count();
    let program = dir.path().join("investigator");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = investigate ] || exit 2\necho '{{\"ranking\":[\"{blamed}\"],\"verdict\":\"inconclusive\",\"candidates\":[{{\"rank\":1,\"service\":\"{blamed}\",\"confidence\":0.45}}]}}'\n"
    );
    fs::write(&program, script).expect("as it was written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("as it was written");
    let report = score(dir.path(), &program).expect("as it was written");
    assert_eq!((report.cases, report.failed), (truths.len(), 0));
    assert_eq!(report.faults.cases, truths.len() - controls);
    assert_eq!(
        (
            report.faults.first,
            report.faults.first_three,
            report.faults.conclusive
        ),
        (right, right, 0)
    );
    assert_eq!(
        (report.controls.cases, report.controls.inconclusive),
        (controls, controls)
    );
    assert_eq!(
        (report.reliability[4].answers, report.reliability[4].right),
        (truths.len(), right)
    );
    assert_eq!(report.repeated, report.repeated_alike);
    assert!(report.repeated >= 2 && report.peak_memory_mb > 0);

    fs::write(&program, "#!/bin/sh\necho nonsense; exit 0\n").expect("as it was written");
    let report = score(dir.path(), &program).expect("as it was written");
    assert_eq!(
        (
            report.failed,
            report.faults.first,
            report.controls.inconclusive
        ),
        (truths.len(), 0, 0)
    );
    assert!(score(dir.path(), &dir.path().join("missing")).is_err());
}
