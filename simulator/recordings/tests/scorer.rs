//! The scorer reads answers as it should.

use midwatch_recordings::case::{Case, Graph, Truth};
use midwatch_recordings::files::write;
use midwatch_recordings::score::{Options, score, table};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A child that starts while another test writes its script inherits the open
/// file, and the system refuses to run a file that anybody writes.
static SCRIPTS: Mutex<()> = Mutex::new(());

fn case(root: &Path, name: &str, service: Option<&str>, also: &[&str]) {
    let case = Case {
        topology: Graph {
            services: Vec::new(),
        },
        metrics: Vec::new(),
        logs: None,
        spans: None,
        truth: Truth {
            service: service.map(str::to_owned),
            also: also.iter().map(|name| (*name).to_owned()).collect(),
            cause: "CPU_SATURATION".to_owned(),
            family: if service.is_some() {
                "cpu_hog"
            } else {
                "healthy"
            }
            .to_owned(),
            shape: "a".to_owned(),
            target: name.to_owned(),
            target_metric: "latency".to_owned(),
            start_ms: 10,
            at_ms: 20,
            end_ms: 30,
            onset_ms: 10,
        },
    };
    write(&case, &root.join(name)).expect("the folder can be written");
}

fn program(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("investigator");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("the script can be written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
        .expect("the script is ours");
    path
}

fn options(program: PathBuf, limit_s: u64) -> Options {
    Options {
        program,
        jobs: 2,
        limit: Duration::from_secs(limit_s),
    }
}

const ANSWER: &str = r#"echo '{"ranking":["s01","s02","s03","s04"],"verdict":"conclusive","candidates":[{"rank":1,"service":"s01","cause":"CPU_SATURATION","confidence":0.85}]}'"#;

#[test]
fn places_compounds_and_controls_are_counted() {
    let _alone = SCRIPTS.lock().unwrap_or_else(PoisonError::into_inner);
    let root = tempfile::tempdir().unwrap();
    case(root.path(), "c1", Some("s01"), &[]);
    case(root.path(), "c2", Some("s04"), &["s02"]);
    case(root.path(), "c3", Some("s09"), &[]);
    case(root.path(), "c4", None, &[]);
    let report = score(root.path(), &options(program(root.path(), ANSWER), 60)).unwrap();
    let all = &report.rows[0];
    assert_eq!((all.group.as_str(), all.cases), ("all", 3));
    // First: c1 of three. In three: c1 only, since c2's s04 is fourth.
    assert!((all.first - 1.0 / 3.0).abs() < 1e-9);
    assert!((all.three - 1.0 / 3.0).abs() < 1e-9);
    // c1 counts from 1 on, c2 (s02 at 2) from 2 on: (1 + 4 × 2) / 15.
    assert!((all.average_of_five - 9.0 / 15.0).abs() < 1e-9);
    assert!(report.controls[0].inconclusive.abs() < 1e-9);
    let decile = &report.reliability[0];
    assert_eq!((decile.cases, decile.healthy), (4, 1));
    assert!((decile.right - 0.25).abs() < 1e-9);
    assert_eq!((report.repeated, report.repeated_alike), (1, 1));
    let text = table(&report, true);
    assert!(
        text.contains("missed c3: culprit s09 nowhere; named s01"),
        "{text}"
    );
    assert!(text.contains("accused c4: named s01"), "{text}");
}

#[test]
fn answers_that_fail_stall_or_change_are_told() {
    let _alone = SCRIPTS.lock().unwrap_or_else(PoisonError::into_inner);
    let root = tempfile::tempdir().unwrap();
    case(root.path(), "bad", Some("s01"), &[]);
    let told = |script: &str| {
        let report = score(root.path(), &options(program(root.path(), script), 2)).unwrap();
        report.verdicts[0].clone()
    };
    let broken = told("echo the disk is full >&2; exit 3");
    let failure = broken.failure.unwrap();
    assert!(failure.contains("the disk is full"), "{failure}");
    let stalled = told("exec sleep 30");
    let failure = stalled.failure.unwrap();
    assert!(failure.contains("longer than 2 s"), "{failure}");
    let fickle = told(&format!("{ANSWER}; date +%N"));
    assert!(fickle.failure.unwrap().contains("not one JSON object"));
    let restless =
        told(r#"echo "{\"ranking\":[\"$$\"],\"verdict\":\"inconclusive\",\"candidates\":[]}""#);
    assert_eq!(restless.repeated, Some(false));
}
