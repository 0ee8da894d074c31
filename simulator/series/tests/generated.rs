//! What every generated series promises.

use midwatch_series::{
    LabelledSeries, families, generate, interleave, read_series, read_verdicts, score,
    trial_points, write_series,
};
use std::collections::HashSet;

#[test]
fn the_same_seed_gives_the_same_series() {
    let one = generate(11, 1);
    assert_eq!(one, generate(11, 1));
    assert_ne!(one[0].points, generate(12, 1)[0].points);
    // More of each family only adds to those there were.
    assert_eq!(one[..], generate(11, 2)[..one.len()]);
}

#[test]
fn there_are_many_families_and_anonymous_names() {
    let kinds: HashSet<&str> = families().into_iter().collect();
    assert!(kinds.len() >= 35 && kinds.len() == families().len());
    let all = generate(5, 2);
    let names: HashSet<&str> = all.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names.len(), all.len());
    assert!(
        names
            .iter()
            .all(|name| families().iter().all(|family| !name.contains(family)))
    );
}

/// First and last sample of a window.
fn samples(one: &LabelledSeries, window: (i64, i64)) -> (usize, usize) {
    let at = |time: i64| {
        let found = one.points.binary_search_by_key(&time, |(at, _)| *at);
        found.unwrap_or_else(|_| panic!("{}: an edge is no sample", one.family))
    };
    (at(window.0), at(window.1))
}

#[test]
fn values_are_finite_and_windows_well_formed() {
    for one in (1..=4).flat_map(|seed| generate(seed, 2)) {
        let count = one.points.len();
        assert!(
            (1000..=20_000).contains(&count),
            "{}: {count} points",
            one.family
        );
        assert!(
            one.points.iter().all(|(_, value)| value.is_finite()),
            "{}",
            one.family
        );
        assert!(
            one.points.windows(2).all(|pair| pair[0].0 < pair[1].0),
            "{}",
            one.family
        );
        let edges: Vec<_> = one
            .windows
            .iter()
            .map(|window| samples(&one, *window))
            .collect();
        assert!(edges.len() <= 5, "{}", one.family);
        assert!(
            edges.windows(2).all(|pair| pair[0].1 < pair[1].0),
            "{}: {edges:?}",
            one.family
        );
        let Some(first) = edges.first() else { continue };
        assert!(first.0 >= trial_points(count), "{}: {edges:?}", one.family);
        assert!(
            (first.0 + first.1) / 2 >= count * 15 / 100,
            "{}: {edges:?}",
            one.family
        );
        let covered: usize = edges.iter().map(|(left, right)| right - left + 1).sum();
        let share = covered as f64 / count as f64;
        assert!(
            (0.06..=0.10).contains(&share),
            "{}: windows over {share}",
            one.family
        );
    }
}

#[test]
fn about_one_series_in_nine_is_calm_and_most_have_one_or_two_anomalies() {
    let all: Vec<_> = (20..28).flat_map(|seed| generate(seed, 2)).collect();
    let with = |count: usize| {
        all.iter().filter(|one| one.windows.len() == count).count() as f64 / all.len() as f64
    };
    assert!((0.08..0.15).contains(&with(0)), "{} calm", with(0));
    assert!(with(1) + with(2) > 0.5);
    assert!(with(5) > 0.0);
}

#[test]
fn windows_lie_where_something_happens() {
    // Where nothing else moves, the first sample that differs is in the first
    // window and not behind its middle.
    let exact = (1..40).flat_map(|seed| generate(seed, 1));
    let exact = exact.filter(|one| one.family == "constant_exact" && !one.windows.is_empty());
    let mut checked = 0;
    for one in exact {
        let usual = one.points[0].1;
        let differs = one.points.iter().position(|(_, value)| *value != usual);
        let differs = differs.expect("an anomaly changes something");
        let (left, right) = samples(&one, one.windows[0]);
        assert!(
            differs <= (left + right) / 2 + 2 && differs + 400 >= left,
            "{differs}: {left} to {right}"
        );
        checked += 1;
    }
    assert!(checked > 20);
}

#[test]
fn a_perfect_detector_gets_a_hundred_and_a_silent_one_nothing() {
    let all = generate(3, 1);
    let mut verdicts = std::collections::HashMap::new();
    for one in &all {
        let starts = one.windows.iter().map(|(start, _)| (*start, 1.0, true));
        verdicts.insert(one.name.clone(), starts.collect::<Vec<_>>());
    }
    let report = score(&all, &verdicts);
    assert!((report.own.score - 100.0).abs() < 1e-9 && (report.best.score - 100.0).abs() < 1e-9);
    assert_eq!(
        score(&all, &std::collections::HashMap::new()).own.score,
        0.0
    );
}

#[test]
fn files_read_back_and_interleave_in_turn() {
    let mut all = generate(4, 1);
    all.truncate(3);
    all[1].points.truncate(1001);
    all[1].windows.clear();
    let mut file = Vec::new();
    write_series(&all, &mut file).expect("memory takes everything");
    assert_eq!(read_series(file.as_slice()).expect("what was written"), all);
    let mut lines = Vec::new();
    interleave(&all, &mut lines).expect("memory takes everything");
    let text = String::from_utf8(lines).expect("JSON is text");
    let line = |number: usize| -> serde_json::Value {
        serde_json::from_str(text.lines().nth(number).expect("a line")).expect("JSON")
    };
    for (number, (series, sample)) in [(0, (0, 0)), (1, (1, 0)), (2, (2, 0)), (3, (0, 1))] {
        let (time, value) = all[series].points[sample];
        assert_eq!(line(number)["metric_name"], all[series].name);
        assert_eq!(line(number)["timestamp_ms"], time);
        assert_eq!(line(number)["metric_value"], value);
    }
    let points: usize = all.iter().map(|one| one.points.len()).sum();
    assert_eq!(text.lines().count(), points);
}

#[test]
fn broken_files_are_named_by_line() {
    let two = r#"{"name":"a","family":"f","interval_ms":1,"points":[[0,1.0],[1,2.0]],"windows":[]}
{"name":"b","family":"f","interval_ms":1,"points":[[1,1.0],[1,2.0]],"windows":[]}"#;
    let error = read_series(two.as_bytes()).expect_err("times stand still");
    assert!(format!("{error:#}").contains("line 2") && format!("{error:#}").contains("increase"));
    let overlapping = two.replace(
        "[[1,1.0],[1,2.0]],\"windows\":[]",
        "[[1,1.0],[2,2.0]],\"windows\":[[1,2],[2,2]]",
    );
    let error = read_series(overlapping.as_bytes()).expect_err("windows overlap");
    assert!(format!("{error:#}").contains("disjoint"), "{error:#}");
    let verdict = r#"{"service":"s","metric_name":"a\u0062","timestamp_ms":5,"metric_value":1,"anomaly_score":0.5,"is_anomaly":true,"expected":null,"reason":""}"#;
    let read = read_verdicts(verdict.as_bytes()).expect("a verdict");
    assert_eq!(read["ab"], [(5, 0.5, true)]);
    let error = read_verdicts(format!("{verdict}\n\nnonsense").as_bytes()).expect_err("no verdict");
    assert!(format!("{error:#}").contains("line 3"), "{error:#}");
}
