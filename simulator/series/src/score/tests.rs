use super::*;
use crate::draw::Draw;

/// 100 samples a second apart with a window over samples 40 to 49: the trial
/// period is samples 0 to 14, a unit of distance is 9 samples.
fn series() -> LabelledSeries {
    LabelledSeries {
        name: "one".to_owned(),
        family: "test".to_owned(),
        interval_ms: 1000,
        points: (0..100).map(|at| (at * 1000, 1.0)).collect(),
        windows: vec![(40_000, 49_000)],
    }
}

fn judge(series: &[LabelledSeries], flagged: &[(usize, f64, bool)]) -> Report {
    let verdicts = flagged
        .iter()
        .map(|(at, score, flag)| (*at as i64 * 1000, *score, *flag));
    score(
        series,
        &HashMap::from([("one".to_owned(), verdicts.collect())]),
    )
}

fn own(flagged: &[usize]) -> Tally {
    let flagged: Vec<_> = flagged.iter().map(|at| (*at, 0.9, true)).collect();
    judge(&[series()], &flagged).own
}

#[track_caller]
fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
}

#[test]
fn sigma_is_as_computed_by_hand() {
    // e^-5 = 0.006737947, 2 / 1.006737947 − 1 = 0.986614298.
    close(sigma(-1.0), 0.986_614_298);
    close(sigma(0.0), 0.0);
    close(sigma(1.0), -0.986_614_298);
    close(sigma(-4.0 / 9.0), 0.804_454_801);
}

#[test]
fn flagging_nothing_is_zero_and_the_left_edge_is_a_hundred() {
    close(own(&[]).score, 0.0);
    close(own(&[40]).score, 100.0);
}

#[test]
fn within_a_window_the_earliest_counts_alone() {
    // Sample 45: y = (45 − 49) / 9 = −4/9, earns 0.804454801.
    // (0.804454801 + 1) / (0.986614298 + 1) = 0.908306561.
    let tally = own(&[45]);
    close(tally.score, 90.830_656);
    close(tally.earliness, 0.804_454_801);
    assert_eq!(own(&[49, 47, 45]), tally);
    // The right edge earns nothing, but the window is not missed: 1 / 1.986614298.
    close(own(&[49]).score, 50.336_897);
}

#[test]
fn false_alarms_cost_by_their_distance() {
    // Before the first window 0.11: −0.11 / 1.986614298.
    close(own(&[20]).score, -5.537_059);
    // One unit behind the right edge (sample 58) 0.11 · 0.986614298 = 0.10852757.
    close(own(&[58]).score, -5.462_941);
    // Just behind, y = 1/9: e^(5/9) = 1.74290899, |2 / 2.74290899 − 1| = 0.27084721.
    close(own(&[50]).score, -1.499_697);
    // Far behind (y = 50/9) the whole 0.11.
    close(own(&[99]).score, -5.537_059);
    let tally = own(&[40, 20, 99]);
    close(tally.score, 100.0 - 2.0 * 5.537_059);
    assert_eq!((tally.found, tally.windows, tally.false_alarms), (1, 1, 2));
}

#[test]
fn the_trial_period_does_not_count() {
    assert_eq!(own(&[0, 14]).false_alarms, 0);
    assert_eq!(own(&[15]).false_alarms, 1);
    assert_eq!(
        (trial_points(100), trial_points(4032), trial_points(20_000)),
        (15, 604, 750)
    );
}

#[test]
fn distance_is_from_the_window_before() {
    let mut two = series();
    two.windows.push((70_000, 74_000));
    // Sample 69 lies 20 samples behind the first window (9 a unit), sample 75
    // one behind the second (4 a unit, y = 1/4: |2 / (1 + e^1.25) − 1| = 0.55459972).
    let costs: Vec<Worth> = worths(&two);
    let Worth::Outside(before) = costs[69] else {
        panic!("sample 69 lies outside")
    };
    let Worth::Outside(behind) = costs[75] else {
        panic!("sample 75 lies outside")
    };
    close(before, 0.11 * sigma(20.0 / 9.0).abs());
    close(behind, 0.11 * 0.554_599_72);
    assert_eq!(costs[70], Worth::Window(1, sigma(-1.0)));
}

#[test]
fn the_best_threshold_is_found_whatever_the_detector_flagged() {
    let report = judge(
        &[series()],
        &[(80, 0.7, true), (45, 0.5, false), (20, 0.3, true)],
    );
    close(report.threshold, 0.5);
    // 100 · (0.804454801 + 1 − 0.11 · |sigma(31/9)|) / 1.986614298
    close(report.best.score, 90.830_656 - 5.537_059);
    assert_eq!((report.best.found, report.best.false_alarms), (1, 1));
    assert_eq!((report.own.found, report.own.false_alarms), (0, 2));
    assert_eq!((report.without_verdict, report.unknown_verdicts), (97, 0));
}

#[test]
fn flagging_nothing_is_best_where_every_score_misleads() {
    let report = judge(&[series()], &[(80, 0.7, true), (20, 0.3, true)]);
    assert!(report.threshold.is_infinite());
    close(report.best.score, 0.0);
}

#[test]
fn the_sweep_agrees_with_trying_every_threshold() {
    let mut draw = Draw::at(&[7]);
    for round in 0..20 {
        let mut set = vec![series(), series()];
        set[1].name = "two".to_owned();
        set[1].windows = vec![(20_000, 25_000), (60_000, 63_000)];
        let mut said = HashMap::new();
        for one in &set {
            // Few different values, so that scores are often equal.
            let scores = one.points.iter().map(|(time, _)| {
                let raised = one
                    .windows
                    .iter()
                    .any(|(from, to)| (from..=to).contains(&time));
                let least = if raised && draw.chance(0.4) { 12 } else { 0 };
                (*time, draw.int(least, 16) as f64 / 20.0, false)
            });
            said.insert(one.name.clone(), scores.collect::<SeriesVerdicts>());
        }
        let swept = score(&set, &said);
        let tried = (0..=21).map(|threshold| {
            let mut said = said.clone();
            for (_, score, flag) in said.values_mut().flatten() {
                *flag = *score >= f64::from(threshold) / 20.0;
            }
            score(&set, &said).own.score
        });
        let best = tried.fold(f64::NEG_INFINITY, f64::max);
        assert!(
            (swept.best.score - best).abs() < 1e-9,
            "round {round}: {swept:?}, tried {best}"
        );
    }
}

#[test]
fn families_add_up_and_strangers_are_reported() {
    let mut other = series();
    (other.name, other.family) = ("two".to_owned(), "other".to_owned());
    let report = judge(&[series(), other], &[(40, 0.9, true), (500, 0.9, true)]);
    assert_eq!(report.unknown_verdicts, 1);
    close(report.own.score, 50.0);
    let scores: Vec<_> = report
        .families
        .iter()
        .map(|f| (f.family.as_str(), f.own.found))
        .collect();
    assert_eq!(scores, [("other", 0), ("test", 1)]);
    close(report.families[1].own.score, 100.0);
}
