//! `midwatch detect` on labelled series, next to classic detectors.

use midwatch_series::{
    Baseline, LabelledSeries, Report, generate, interleave, judge_lines, read_verdicts, score,
};
use std::io::Write;
use std::process::{Command, Stdio};

/// Streams `input` through the filter where no settings are to be found.
fn detect(input: Vec<u8>) -> Vec<u8> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_midwatch"))
        .arg("detect")
        .env_clear()
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("midwatch starts");
    let mut stdin = child.stdin.take().expect("piped");
    // It answers while it reads, so both ends are served at once.
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it ends");
    feeder.join().expect("no panic").expect("it reads all");
    assert!(output.status.success(), "{}", output.status);
    output.stdout
}

fn interleaved(series: &[LabelledSeries]) -> Vec<u8> {
    let mut lines = Vec::new();
    interleave(series, &mut lines).expect("memory takes everything");
    lines
}

fn scored(series: &[LabelledSeries], verdicts: &[u8]) -> Report {
    let verdicts = read_verdicts(verdicts).expect("verdicts");
    let report = score(series, &verdicts);
    assert_eq!((report.without_verdict, report.unknown_verdicts), (0, 0));
    report
}

#[test]
fn the_filter_beats_the_classic_detectors_by_far() {
    let series = generate(20_261_122, 1);
    let lines = interleaved(&series);
    let classic = [Baseline::ZScore, Baseline::Gaussian].map(|kind| {
        let mut verdicts = Vec::new();
        judge_lines(kind, lines.as_slice(), &mut verdicts).expect("payloads");
        scored(&series, &verdicts)
    });
    let ours = scored(&series, &detect(lines));
    for other in &classic {
        // Its own decision against the best that any threshold could do there.
        assert!(
            ours.own.score > other.best.score + 20.0,
            "{:?} {:?}",
            ours.own,
            other.best
        );
        assert!(ours.own.score > other.own.score + 40.0, "{:?}", other.own);
    }
    // What it decides itself is next to the best that any threshold could do.
    let given_away = ours.best.score - ours.own.score;
    assert!(given_away < 3.0, "{:?} {:?}", ours.own, ours.best);
}

#[test]
fn an_answer_depends_on_no_later_line_and_on_no_other_series() {
    let mut series = generate(7, 1);
    series.truncate(6);
    let all = interleaved(&series);
    let text = String::from_utf8(all.clone()).expect("JSON is text");
    let half: Vec<&str> = text.lines().take(5_001).collect();
    let whole = String::from_utf8(detect(all)).expect("JSON is text");
    let until_then = format!("{}\n", half.join("\n")).into_bytes();
    let until_then = String::from_utf8(detect(until_then)).expect("JSON is text");
    assert_eq!(until_then.lines().count(), 5_001);
    assert!(whole.starts_with(&until_then));
    let alone = String::from_utf8(detect(interleaved(&series[2..3]))).expect("JSON is text");
    let among: Vec<&str> = whole
        .lines()
        .filter(|line| line.contains(&series[2].name))
        .collect();
    assert_eq!(alone.lines().collect::<Vec<_>>(), among);
}
