//! Runs an investigator on recordings and judges what it says.

use crate::case::Truth;
use crate::files;
use anyhow::Context as _;
use serde::Serialize;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

mod report;
pub use report::{Control, Decile, Report, Row, table};

/// How to run the investigator.
#[derive(Clone, Debug)]
pub struct Options {
    pub program: PathBuf,
    pub jobs: usize,
    /// A run that takes longer is stopped and counts as failed.
    pub limit: Duration,
}

/// What came of one case.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    pub case: String,
    pub shape: String,
    pub family: String,
    /// The culprits, the main one first; empty for a healthy control.
    pub culprits: Vec<String>,
    pub cause: String,
    /// Place of the first culprit found, from 1; nothing where none is named.
    pub place: Option<usize>,
    /// True if the first three hold every culprit.
    pub all_in_three: bool,
    pub ranking: Vec<String>,
    pub top_cause: String,
    pub confidence: Option<f64>,
    pub conclusive: bool,
    pub seconds: f64,
    /// Why there is no verdict.
    pub failure: Option<String>,
    /// Whether a second run gave the same bytes, where there was one.
    pub repeated: Option<bool>,
}

impl Verdict {
    /// A healthy control has no culprit.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.culprits.is_empty()
    }

    /// One if a culprit is among the first `k`, for a fault.
    #[must_use]
    pub fn within(&self, k: usize) -> bool {
        self.place.is_some_and(|place| place <= k)
    }
}

/// Runs the investigator on every case below `root`.
///
/// # Errors
/// When the cases cannot be read or the program cannot be started at all.
pub fn score(root: &Path, options: &Options) -> anyhow::Result<Report> {
    let cases = files::read(root)?;
    let program = options
        .program
        .canonicalize()
        .with_context(|| format!("no program at {}", options.program.display()))?;
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.clamp(1, 16) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some((folder, truth)) = cases.get(index) else {
                        return;
                    };
                    // Every seventh case runs twice: same input, same bytes.
                    let verdict = judge(
                        &program,
                        options.limit,
                        folder,
                        truth,
                        index.is_multiple_of(7),
                    );
                    done.lock()
                        .expect("no thread panics while it holds the list")
                        .push((index, verdict));
                }
            });
        }
    });
    let mut done = done
        .into_inner()
        .expect("no thread panics while it holds the list");
    done.sort_by_key(|(index, _)| *index);
    let verdicts = done.into_iter().map(|(_, verdict)| verdict).collect();
    Ok(Report::of(verdicts))
}

fn judge(program: &Path, limit: Duration, folder: &Path, truth: &Truth, twice: bool) -> Verdict {
    let begun = Instant::now();
    let answer = ask(program, limit, folder, truth);
    let seconds = begun.elapsed().as_secs_f64();
    let mut verdict = Verdict {
        case: folder
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        shape: truth.shape.clone(),
        family: truth.family.clone(),
        culprits: truth.service.iter().chain(&truth.also).cloned().collect(),
        cause: truth.cause.clone(),
        place: None,
        all_in_three: false,
        ranking: Vec::new(),
        top_cause: String::new(),
        confidence: None,
        conclusive: false,
        seconds,
        failure: None,
        repeated: None,
    };
    let read = answer.and_then(|bytes| {
        if twice {
            verdict.repeated = Some(ask(program, limit, folder, truth)? == bytes);
        }
        understand(&bytes, &mut verdict)
    });
    if let Err(error) = read {
        verdict.failure = Some(format!("{error:#}"));
    }
    verdict
}

/// One run; what it printed.
fn ask(program: &Path, limit: Duration, folder: &Path, truth: &Truth) -> anyhow::Result<Vec<u8>> {
    let mut command = Command::new(program);
    command.arg("investigate");
    for (flag, file) in [
        ("--topology", "topology.json"),
        ("--metrics", "metrics.jsonl"),
        ("--logs", "logs.jsonl"),
        ("--spans", "spans.jsonl"),
    ] {
        let path = folder.join(file);
        if path.is_file() {
            command.arg(flag).arg(path);
        }
    }
    command
        .args(["--target", &truth.target])
        .args(["--target-metric", &truth.target_metric])
        .args(["--start", &truth.start_ms.to_string()])
        .args(["--at", &truth.at_ms.to_string()])
        .args(["--end", &truth.end_ms.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context("the investigator does not start")?;
    let out = drain(child.stdout.take());
    let complaints = drain(child.stderr.take());
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begun.elapsed() > limit {
            child.kill().context("the investigator does not stop")?;
            child.wait()?;
            anyhow::bail!("took longer than {} s", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let out = out.join().unwrap_or_default();
    let complaints = complaints.join().unwrap_or_default();
    anyhow::ensure!(
        status.success(),
        "{status}: {}",
        String::from_utf8_lossy(&complaints)
            .lines()
            .next()
            .unwrap_or("said nothing")
    );
    Ok(out)
}

/// Reads a pipe to its end beside the process, so that neither waits.
fn drain<R: std::io::Read + Send + 'static>(pipe: Option<R>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // 64 MB is far beyond any answer; what a broken pipe leaves is
            // judged by the reader of the bytes.
            if pipe.take(64 << 20).read_to_end(&mut bytes).is_err() {
                bytes.clear();
            }
        }
        bytes
    })
}

fn understand(bytes: &[u8], verdict: &mut Verdict) -> anyhow::Result<()> {
    let answer: serde_json::Value =
        serde_json::from_slice(bytes).context("standard output is not one JSON object")?;
    let ranking = answer["ranking"]
        .as_array()
        .context("the answer has no `ranking`")?;
    verdict.ranking = ranking
        .iter()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    verdict.conclusive = answer["verdict"].as_str() == Some("conclusive");
    let top = &answer["candidates"][0];
    verdict.confidence = top["confidence"].as_f64();
    verdict.top_cause = top["cause"].as_str().unwrap_or_default().to_owned();
    let place = |name: &String| verdict.ranking.iter().position(|other| other == name);
    let places: Vec<Option<usize>> = verdict.culprits.iter().map(place).collect();
    verdict.place = places.iter().flatten().min().map(|place| place + 1);
    verdict.all_in_three = !places.is_empty()
        && places
            .iter()
            .all(|place| place.is_some_and(|place| place < 3));
    verdict.ranking.truncate(8);
    Ok(())
}
