//! Runs an investigator over the cases and reports sums only: nobody who tunes it learns from one case.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

use super::{Class, Truth};

/// A run that takes longer is stopped and counts as failed. Six times what a case may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of an answer that are read at most.
const LONGEST_ANSWER: u64 = 32 << 20;
/// Every so many cases one is run again, to see whether it answers the same.
const AGAIN_EVERY: usize = 5;

/// What the investigator said.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Answer {
    pub ranking: Vec<String>,
    pub verdict: String,
    #[serde(default)]
    pub candidates: Vec<Candidate>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Candidate {
    #[serde(default)]
    pub service: String,
    #[serde(default)]
    pub confidence: f64,
}

/// One case's answer against its truth; none where the run failed.
pub struct Graded {
    pub truth: Truth,
    pub answer: Option<Answer>,
}

/// Sums over the faults of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    pub cases: usize,
    /// A culprit is named first.
    pub first: usize,
    /// A culprit is among the first three.
    pub first_three: usize,
    /// The verdict is conclusive, and of these the right ones.
    pub conclusive: usize,
    pub conclusive_right: usize,
}

/// Sums over healthy controls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Controls {
    pub cases: usize,
    pub inconclusive: usize,
}

/// Answers whose confidence lies in one tenth. Controls are never right.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Decile {
    pub answers: usize,
    pub right: usize,
    pub controls: usize,
    pub mean_confidence: f64,
}

/// Everything that is told.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    pub cases: usize,
    /// Runs that ended badly, too late or without an answer; they count as wrong.
    pub failed: usize,
    pub faults: Sum,
    pub by_shape: BTreeMap<String, Sum>,
    pub by_class: BTreeMap<String, Sum>,
    pub controls: Controls,
    /// Cases with a loud healthy service, and those in which it is named first.
    pub red_herrings: usize,
    pub red_herrings_first: usize,
    /// Compound faults with every culprit among the first three.
    pub compound_both: usize,
    pub reliability: Vec<Decile>,
    pub longest_run_ms: u128,
    pub peak_memory_mb: i64,
    pub repeated: usize,
    pub repeated_alike: usize,
}

fn name(value: impl Serialize) -> String {
    // A unit variant serialises as its name.
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

impl Report {
    /// Adds up; run times, memory and repetitions are left at zero.
    pub fn of(graded: &[Graded]) -> Self {
        let mut report = Self {
            cases: graded.len(),
            reliability: vec![Decile::default(); 10],
            ..Self::default()
        };
        for Graded { truth, answer } in graded {
            let Some(answer) = answer else {
                report.failed += 1;
                report.add(truth, &Answer::default());
                continue;
            };
            report.add(truth, answer);
        }
        for decile in &mut report.reliability {
            decile.mean_confidence /= decile.answers.max(1) as f64;
        }
        report
    }

    fn add(&mut self, truth: &Truth, answer: &Answer) {
        let culprits: Vec<&String> = truth.service.iter().chain(&truth.also).collect();
        let first = answer
            .ranking
            .first()
            .is_some_and(|first| culprits.contains(&first));
        let three = &answer.ranking[..answer.ranking.len().min(3)];
        let conclusive = answer.verdict == "conclusive";
        if truth.class == Class::Control {
            self.controls.cases += 1;
            // A failed run has not said "inconclusive".
            self.controls.inconclusive += usize::from(answer.verdict == "inconclusive");
        } else {
            let shape = self.by_shape.entry(name(truth.shape)).or_default();
            let class = self.by_class.entry(name(truth.class)).or_default();
            for sum in [&mut self.faults, shape, class] {
                sum.cases += 1;
                sum.first += usize::from(first);
                sum.first_three +=
                    usize::from(three.iter().any(|service| culprits.contains(&service)));
                sum.conclusive += usize::from(conclusive);
                sum.conclusive_right += usize::from(conclusive && first);
            }
            let both = culprits.iter().all(|culprit| three.contains(culprit));
            self.compound_both += usize::from(truth.class == Class::Compound && both);
        }
        if let Some(herring) = &truth.red_herring {
            self.red_herrings += 1;
            self.red_herrings_first += usize::from(answer.ranking.first() == Some(herring));
        }
        if let Some(candidate) = answer.candidates.first() {
            let confidence = candidate.confidence.clamp(0.0, 1.0);
            let decile = &mut self.reliability[((confidence * 10.0) as usize).min(9)];
            decile.answers += 1;
            decile.right += usize::from(first);
            decile.controls += usize::from(truth.class == Class::Control);
            decile.mean_confidence += confidence;
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = vec![
            format!("{} cases, {} runs failed", self.cases, self.failed),
            String::new(),
        ];
        out.push(format!(
            "{:<26}{:>6}{:>8}{:>8}{:>12}{:>8}",
            "faults", "cases", "first", "in 3", "conclusive", "right"
        ));
        let row = |label: &str, sum: &Sum| {
            format!(
                "{label:<26}{:>6}{:>8}{:>8}{:>12}{:>8}",
                sum.cases,
                percent(sum.first, sum.cases),
                percent(sum.first_three, sum.cases),
                percent(sum.conclusive, sum.cases),
                percent(sum.conclusive_right, sum.conclusive)
            )
        };
        out.push(row("all", &self.faults));
        out.extend(
            self.by_shape
                .iter()
                .chain(&self.by_class)
                .map(|(label, sum)| row(&format!("  {label}"), sum)),
        );
        let compound = self.by_class.get("compound").map_or(0, |sum| sum.cases);
        out.push(String::new());
        out.push(format!(
            "compound faults with all culprits in 3   {} of {compound}",
            self.compound_both
        ));
        out.push(format!(
            "healthy controls that end inconclusive   {} of {}",
            self.controls.inconclusive, self.controls.cases
        ));
        out.push(format!(
            "red herring ranked first                 {} of {}",
            self.red_herrings_first, self.red_herrings
        ));
        out.push(String::new());
        out.push(format!(
            "{:<12}{:>8}{:>8}{:>8}{:>10}",
            "confidence", "answers", "mean", "right", "controls"
        ));
        for (i, decile) in self
            .reliability
            .iter()
            .enumerate()
            .filter(|(_, decile)| decile.answers > 0)
        {
            out.push(format!(
                "{:<12}{:>8}{:>8.2}{:>8}{:>10}",
                format!("0.{i} to {:.1}", (i + 1) as f64 / 10.0),
                decile.answers,
                decile.mean_confidence,
                percent(decile.right, decile.answers),
                decile.controls
            ));
        }
        out.push(String::new());
        out.push(format!(
            "longest run {} ms, peak memory {} MB",
            self.longest_run_ms, self.peak_memory_mb
        ));
        out.push(format!(
            "run twice, same bytes                    {} of {}",
            self.repeated_alike, self.repeated
        ));
        out.join("\n")
    }
}

fn percent(part: usize, whole: usize) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    format!("{:.1}%", 100.0 * part as f64 / whole as f64)
}

/// Runs `program investigate …` over the cases in `dir` and adds up.
///
/// # Errors
/// If the truth cannot be read, a case folder is missing, or `program` cannot be started.
pub fn score(dir: &Path, program: &Path) -> anyhow::Result<Report> {
    let path = dir.join("truth.jsonl");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let truths = text
        .lines()
        .map(serde_json::from_str::<Truth>)
        .collect::<Result<Vec<_>, _>>();
    let truths =
        truths.with_context(|| format!("{} holds a line that is no truth", path.display()))?;
    ensure!(
        !truths.is_empty(),
        "{} is empty; generate cases first",
        path.display()
    );
    let (mut graded, mut longest) = (Vec::new(), 0);
    let (mut repeated, mut alike) = (0, 0);
    for (i, truth) in truths.into_iter().enumerate() {
        let folder = dir.join("cases").join(&truth.case);
        ensure!(folder.is_dir(), "{} is missing", folder.display());
        let begin = Instant::now();
        let said = run(program, &folder, &truth)?;
        longest = longest.max(begin.elapsed().as_millis());
        if i % AGAIN_EVERY == 0 {
            repeated += 1;
            alike += usize::from(said.is_some() && run(program, &folder, &truth)? == said);
        }
        let answer = said.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        graded.push(Graded { truth, answer });
    }
    // In kilobytes on Linux; the largest of all runs.
    let peak = getrusage(UsageWho::RUSAGE_CHILDREN)
        .context("cannot read the children's peak memory")?
        .max_rss();
    Ok(Report {
        longest_run_ms: longest,
        peak_memory_mb: peak / 1024,
        repeated,
        repeated_alike: alike,
        ..Report::of(&graded)
    })
}

/// What one run printed; none if it failed or was stopped.
fn run(program: &Path, folder: &Path, truth: &Truth) -> anyhow::Result<Option<Vec<u8>>> {
    let mut command = Command::new(program);
    command.arg("investigate");
    for (flag, file) in [
        ("--topology", "topology.json"),
        ("--metrics", "metrics.jsonl"),
        ("--logs", "logs.jsonl"),
        ("--spans", "spans.jsonl"),
    ] {
        let path = folder.join(file);
        if path.exists() {
            command.arg(flag).arg(path);
        }
    }
    let question = &truth.question;
    command.args([
        "--target",
        &question.target,
        "--target-metric",
        &question.target_metric,
    ]);
    for (flag, ms) in [
        ("--start", question.start_ms),
        ("--at", question.at_ms),
        ("--end", question.end_ms),
    ] {
        command.arg(flag).arg(ms.to_string());
    }
    let started = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = started.with_context(|| {
        format!(
            "cannot start {}; build it, or name it with --investigate",
            program.display()
        )
    })?;
    let Some(stdout) = child.stdout.take() else {
        bail!("the investigator has no standard output")
    };
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout
            .take(LONGEST_ANSWER)
            .read_to_end(&mut bytes)
            .map(|_| bytes)
    });
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if Instant::now() > deadline {
            child
                .kill()
                .context("cannot stop an investigator that takes too long")?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let bytes = reader.join().ok().and_then(Result::ok);
    Ok(bytes.filter(|_| status.is_some_and(|status| status.success())))
}

#[cfg(test)]
mod tests {
    use super::super::{Question, Shape};
    use super::*;

    fn graded(
        class: Class,
        shape: Shape,
        culprits: &[&str],
        herring: Option<&str>,
        said: Option<(&[&str], f64, &str)>,
    ) -> Graded {
        let mut culprits = culprits.iter().map(|name| (*name).to_owned());
        let truth = Truth {
            case: "c".to_owned(),
            service: culprits.next(),
            also: culprits.collect(),
            cause: String::new(),
            family: "f".to_owned(),
            class,
            shape,
            red_herring: herring.map(str::to_owned),
            hops: 2,
            question: Question {
                target: "s01".to_owned(),
                target_metric: "m".to_owned(),
                start_ms: 1,
                at_ms: 2,
                end_ms: 3,
            },
        };
        let answer = said.map(|(ranking, confidence, verdict)| Answer {
            ranking: ranking.iter().map(|name| (*name).to_owned()).collect(),
            verdict: verdict.to_owned(),
            candidates: vec![Candidate {
                service: ranking[0].to_owned(),
                confidence,
            }],
        });
        Graded { truth, answer }
    }

    fn six() -> [Graded; 6] {
        let sure = "conclusive";
        [
            graded(
                Class::Code,
                Shape::Full,
                &["s02"],
                None,
                Some((&["s02", "s01"], 0.95, sure)),
            ),
            graded(
                Class::Code,
                Shape::Graph,
                &["s02"],
                Some("s09"),
                Some((&["s09", "s01", "s02"], 0.92, sure)),
            ),
            graded(
                Class::Network,
                Shape::Graph,
                &["s02"],
                None,
                Some((&["s03", "s04", "s05", "s02"], 0.31, "inconclusive")),
            ),
            graded(
                Class::Compound,
                Shape::Graph,
                &["s02", "s03"],
                Some("s09"),
                Some((&["s03", "s02"], 1.0, sure)),
            ),
            graded(
                Class::Control,
                Shape::Full,
                &[],
                None,
                Some((&["s03"], 0.33, "inconclusive")),
            ),
            graded(Class::Control, Shape::Full, &[], None, None),
        ]
    }

    /// Six answers, added up by hand.
    #[test]
    fn sums_are_those_of_a_hand_count() {
        let report = Report::of(&six());
        let sum = |cases, first, first_three, conclusive, conclusive_right| Sum {
            cases,
            first,
            first_three,
            conclusive,
            conclusive_right,
        };
        assert_eq!((report.cases, report.failed), (6, 1));
        assert_eq!(report.faults, sum(4, 2, 3, 3, 2));
        assert_eq!(report.by_class["code"], sum(2, 1, 2, 2, 1));
        assert_eq!(report.by_class["network"], sum(1, 0, 0, 0, 0));
        assert_eq!(
            report.by_shape["metrics-with-call-graph"],
            sum(3, 1, 2, 2, 1)
        );
        assert_eq!(report.by_shape["traces-logs-metrics"], sum(1, 1, 1, 1, 1));
        assert_eq!(
            report.controls,
            Controls {
                cases: 2,
                inconclusive: 1
            }
        );
        assert_eq!((report.red_herrings, report.red_herrings_first), (2, 1));
        assert_eq!(report.compound_both, 1);
        let top = &report.reliability[9];
        assert_eq!((top.answers, top.right, top.controls), (3, 2, 0));
        assert!((top.mean_confidence - (0.95 + 0.92 + 1.0) / 3.0).abs() < 1e-12);
        let low = &report.reliability[3];
        assert_eq!((low.answers, low.right, low.controls), (2, 0, 1));
        assert!((low.mean_confidence - 0.32).abs() < 1e-12);
        assert!(
            report
                .text()
                .contains("red herring ranked first                 1 of 2")
        );
    }
}
