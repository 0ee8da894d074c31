//! Cases are reproducible and valid.

use midwatch_recordings::case::{Case, Truth, make};
use midwatch_recordings::family::Family;
use midwatch_recordings::files::{Order, generate, read};
use midwatch_recordings::plan::Shape;
use std::collections::BTreeSet;
use std::path::Path;

fn bytes(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for (folder, _) in read(root).expect("cases were just written") {
        let mut files: Vec<_> = std::fs::read_dir(&folder)
            .expect("the folder is there")
            .map(|entry| entry.expect("entries can be read").path())
            .collect();
        files.sort();
        for file in files {
            let name = file
                .strip_prefix(root)
                .expect("it lies below")
                .display()
                .to_string();
            all.push((name, std::fs::read(&file).expect("it can be read")));
        }
    }
    all
}

#[test]
fn same_seed_writes_the_same_bytes_and_another_seed_does_not() {
    let order = |seed| Order {
        seed,
        count: 4,
        shapes: Vec::new(),
        families: Vec::new(),
    };
    let folders = [(7, "one"), (7, "two"), (8, "three")].map(|(seed, _)| {
        let folder = tempfile::tempdir().unwrap();
        generate(&order(seed), folder.path()).unwrap();
        folder
    });
    let [one, two, other] = folders.each_ref().map(|folder| bytes(folder.path()));
    assert_eq!(one.len(), 3 + 5 + 3 + 4, "files of shapes a, b, c and d");
    assert!(one == two, "the same seed wrote different bytes");
    assert!(one != other, "another seed wrote the same bytes");
}

fn check(case: &Case) {
    let truth: &Truth = &case.truth;
    let names: BTreeSet<&str> = case
        .topology
        .services
        .iter()
        .map(|node| node.name.as_str())
        .collect();
    assert_eq!(names.len(), case.topology.services.len(), "names repeat");
    for name in truth
        .service
        .iter()
        .chain(&truth.also)
        .chain([&truth.target])
    {
        assert!(
            names.contains(name.as_str()),
            "{name} is not in the topology"
        );
    }
    let healthy = truth.family == "healthy";
    assert_eq!(truth.service.is_none(), healthy, "{truth:?}");
    assert_eq!(
        truth.also.is_empty(),
        truth.family != "compound",
        "{truth:?}"
    );
    assert!(
        truth.start_ms < truth.at_ms && truth.at_ms <= truth.end_ms,
        "{truth:?}"
    );
    assert!(truth.onset_ms < truth.end_ms, "{truth:?}");
    samples(case);
    parts(case);
}

/// The target is measured before and after; nothing is beyond its bounds.
fn samples(case: &Case) {
    let truth = &case.truth;
    let target: Vec<i64> = case
        .metrics
        .iter()
        .filter(|sample| sample.service == truth.target)
        .filter(|sample| sample.metric_name == truth.target_metric)
        .map(|sample| sample.timestamp_ms)
        .collect();
    let before = target.iter().filter(|at| **at < truth.start_ms).count();
    assert!(
        before >= 20,
        "{before} normal samples of the target: {truth:?}"
    );
    assert!(target.iter().any(|at| *at >= truth.at_ms), "{truth:?}");
    assert!(case.metrics.len() <= 100_000);
    assert!(
        case.metrics
            .iter()
            .all(|sample| sample.metric_value.is_finite())
    );
    assert!(
        case.metrics
            .iter()
            .all(|sample| sample.timestamp_ms < truth.end_ms)
    );
    assert!(
        case.spans
            .as_ref()
            .is_none_or(|spans| spans.len() <= 30_500)
    );
    assert!(case.logs.as_ref().is_none_or(|logs| logs.len() <= 40_000));
}

/// Each shape has the files that it should.
fn parts(case: &Case) {
    let edges = case
        .topology
        .services
        .iter()
        .map(|node| node.depends_on.len())
        .sum::<usize>();
    match case.truth.shape.as_str() {
        "a" => assert!(edges > 0 && case.logs.is_none() && case.spans.is_none()),
        "b" => assert!(case.logs.is_some() && case.spans.is_some()),
        "c" => assert!(edges == 0 && case.logs.is_none() && case.spans.is_none()),
        _ => assert!(edges == 0 && case.logs.is_some() && case.spans.is_none()),
    }
}

#[test]
fn cases_of_every_family_are_valid() {
    for (number, family) in Family::ALL.into_iter().enumerate() {
        let shapes: Vec<Shape> = Shape::ALL
            .into_iter()
            .filter(|shape| shape.shows(family))
            .collect();
        let shape = shapes[number % shapes.len()];
        check(&make(31, number as u64, shape, family));
    }
}

#[test]
fn spans_hang_together_and_lead_along_the_calls() {
    let case = make(5, 1, Shape::B, Family::CpuHog);
    let spans = case.spans.unwrap();
    let ids: BTreeSet<&str> = spans.iter().map(|span| span.span_id.as_str()).collect();
    assert_eq!(ids.len(), spans.len(), "span ids repeat");
    let orphans = spans
        .iter()
        .filter_map(|span| span.parent_span_id.as_deref())
        .filter(|parent| !ids.contains(parent))
        .count();
    assert_eq!(orphans, 0);
    let roots = spans
        .iter()
        .filter(|span| span.parent_span_id.is_none())
        .count();
    assert!(roots > 100, "{roots} traces");
}
