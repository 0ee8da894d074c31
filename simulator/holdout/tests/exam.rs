//! The form that every reader of the series relies on.

use std::collections::{BTreeMap, BTreeSet};

use midwatch_holdout::{Series, family_names, generate};

fn check(series: &Series) {
    let name = format!("{} ({})", series.name, series.family);
    assert!(
        (900..=22_000).contains(&series.points.len()),
        "{name}: {} points",
        series.points.len()
    );
    assert!(series.interval_ms > 0, "{name}");
    assert!(
        series.points.windows(2).all(|pair| pair[0].0 < pair[1].0),
        "{name}: time stands still"
    );
    assert!(
        series.points.iter().all(|(_, value)| value.is_finite()),
        "{name}: not finite"
    );
    assert!(
        series
            .points
            .iter()
            .any(|(_, value)| *value != series.points[0].1),
        "{name}: constant"
    );
    assert!(series.windows.len() <= 5, "{name}");
    assert!(
        series.windows.iter().all(|(start, end)| start < end),
        "{name}"
    );
    assert!(
        series.windows.windows(2).all(|pair| pair[0].1 < pair[1].0),
        "{name}: windows touch"
    );
    let (first, last) = (series.points[0].0, series.points[series.points.len() - 1].0);
    assert!(
        series
            .windows
            .iter()
            .all(|(start, end)| *start >= first && *end <= last),
        "{name}: window outside"
    );
    let inside = |at: i64| {
        series
            .windows
            .iter()
            .any(|(start, end)| (*start..=*end).contains(&at))
    };
    if !series.windows.is_empty() {
        let share = series.points.iter().filter(|(at, _)| inside(*at)).count() as f64
            / series.points.len() as f64;
        assert!(
            (0.085..0.115).contains(&share),
            "{name}: windows cover {share}"
        );
        // A missing stretch may move the share by the few points it took.
        let before = series
            .points
            .partition_point(|(at, _)| *at < series.windows[0].0);
        assert!(
            before as f64 / series.points.len() as f64 > 0.13,
            "{name}: labelled too early"
        );
    }
}

#[test]
fn ten_seeds_give_well_formed_series_and_each_family_an_anomaly() {
    let mut labelled: BTreeMap<String, usize> = BTreeMap::new();
    let (mut total, mut quiet) = (0, 0);
    for seed in 0..10 {
        let all = generate(seed, 1);
        assert_eq!(
            all.iter()
                .map(|series| &series.name)
                .collect::<BTreeSet<_>>()
                .len(),
            all.len(),
            "names repeat"
        );
        for series in all {
            check(&series);
            total += 1;
            quiet += usize::from(series.windows.is_empty());
            *labelled.entry(series.family).or_default() += series.windows.len();
        }
    }
    for family in family_names() {
        assert!(
            labelled.get(family).is_some_and(|count| *count > 0),
            "{family} never shows an anomaly"
        );
    }
    let share = f64::from(quiet as u32) / f64::from(total as u32);
    assert!(
        (0.06..0.22).contains(&share),
        "{share} of the series have no anomaly"
    );
}

#[test]
fn there_are_at_least_thirty_families_under_distinct_names() {
    let names: BTreeSet<_> = family_names().collect();
    assert_eq!(names.len(), family_names().count());
    assert!(names.len() >= 30, "{} families", names.len());
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let lines = |seed| serde_json::to_string(&generate(seed, 1)).expect("numbers and strings");
    let once = lines(3);
    assert!(once == lines(3), "a repetition differs");
    assert!(once != lines(4), "two seeds agree");
}

#[test]
fn a_name_says_nothing_about_its_family() {
    for series in generate(1, 1) {
        assert_eq!(series.name.len(), 16);
        assert!(
            series.name.chars().all(|c| c.is_ascii_hexdigit()),
            "{}",
            series.name
        );
    }
}

#[test]
fn a_line_reads_back_as_the_series_it_was_written_from() {
    let series = generate(2, 1).swap_remove(0);
    let line = serde_json::to_string(&series).expect("numbers and strings");
    assert!(
        line.contains(&format!("\"points\":[[{},", series.points[0].0)),
        "points are pairs"
    );
    assert_eq!(
        serde_json::from_str::<Series>(&line).expect("just written"),
        series
    );
}
