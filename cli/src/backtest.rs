//! `midwatch backtest`: what would have paged, and what another configuration
//! would change.
//!
//! Recorded telemetry goes through the pure cores of detection, correlation
//! and investigation in its own time, once for each configuration. It changes
//! nothing: no group is joined, no offset committed, nothing written.

pub(crate) mod broker;
pub(crate) mod candidate;
mod difference;
mod render;
pub(crate) mod source;
pub(crate) mod stamp;
mod tally;
pub(crate) mod when;

pub use render::render;

use crate::configuration::Configuration;
use crate::failure::Failure;
use crate::output;
use broker::{BrokerSource, Wanted};
use candidate::{Candidate, Changed};
use difference::Difference;
use midwatch_clients::kafka::{BrokerReader, Logs};
use midwatch_events::Topic;
use midwatch_score::virtual_run::replay::Replay;
use serde::Serialize;
use source::{FILE_EPOCH, FileSource, Range, Source};
use stamp::{ClockKind, Counts, Stamped, Stamper};
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tally::{Outcome, Tally};
use when::When;

/// Event time is arrival time where both agree within this, as for detection.
const REAL_TIME_WITHIN_MS: i64 = 600_000;
/// How often progress is told on a terminal, and elsewhere.
const TOLD_ON_TERMINAL: Duration = Duration::from_millis(500);
const TOLD_ELSEWHERE: Duration = Duration::from_secs(10);
/// Records between two looks at the time.
const LOOK_EVERY: u64 = 1_000;

/// What `--help` says below the flags.
pub const AFTER_HELP: &str = "\
WHEN is RFC 3339, epoch milliseconds, -2h (s, m, h, d), now, or offset:N (on the
broker, in every partition or in that of --partition). On the broker a time is
that of arrival and may have a warm-up before it; in a file it is the samples'
own. new.toml holds lines NAME = value for variables that detection and
correlation read, in capitals or small letters; what it does not name stays as
it is in the environment.
What differs from the live run: detection begins without state; no past
incidents or runbooks, no model, remediation or people; every message takes
50 ms and every job 200 ms. --clock event measures waits and silence by the
samples' own times (right for a real fleet); --clock record by their arrival,
which is how a simulation that compressed time was seen live. Silence after the
last record counts only up to a --to that is a time on the broker.
With --json: {\"source\", \"clock\", \"counts\", \"settings\", \"outcomes\",
\"difference\"}; times are epoch milliseconds. Malformed records are counted and
named; the exit code is 0 unless nothing could be replayed.";

/// What to replay, and with what.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// Report from there on [default: the oldest record]
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    from: Option<When>,
    /// Up to there, itself left out [default: the newest record]
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    to: Option<When>,
    /// Compare with these settings (new.toml)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// raw.metrics payloads, one a line, not the broker; - is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Replay raw.logs, too
    #[arg(long, conflicts_with = "file")]
    with_logs: bool,
    /// Replay raw.spans, too: they tell who calls whom
    #[arg(long, conflicts_with = "file")]
    with_spans: bool,
    /// Replay raw.kubernetes, too
    #[arg(long, conflicts_with = "file")]
    with_kubernetes: bool,
    /// Replay raw.deployments, too
    #[arg(long, conflicts_with = "file")]
    with_deployments: bool,
    /// All of these
    #[arg(long, conflicts_with = "file")]
    with_all: bool,
    /// Only this partition of raw.metrics
    #[arg(long, value_name = "N", conflicts_with = "file", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// What waits and silence are measured by
    #[arg(long, value_enum, default_value = "event")]
    clock: ClockKind,
    /// Minutes before --from to learn [default: DETECTION_WARMUP_MINUTES]
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    warmup_minutes: Option<u32>,
    /// Lines of a table at most; --json gives all
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

impl Flags {
    /// Lines of a table at most.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit as usize
    }

    fn others(&self) -> Vec<Topic> {
        [
            (self.with_logs, Topic::RawLogs),
            (self.with_spans, Topic::RawSpans),
            (self.with_kubernetes, Topic::RawKubernetes),
            (self.with_deployments, Topic::RawDeployments),
        ]
        .into_iter()
        .filter(|(wanted, _)| *wanted || self.with_all)
        .map(|(_, topic)| topic)
        .collect()
    }

    /// How much is read before `from`.
    fn warmup_ms(&self, usual_ms: i64) -> i64 {
        match (self.from, self.warmup_minutes) {
            (None | Some(When::Offset(_)), _) => 0,
            (_, Some(minutes)) => i64::from(minutes) * 60_000,
            (_, None) => usual_ms,
        }
    }

    /// The same, with times instead of spans before now.
    fn resolved(&self) -> Flags {
        let fixed = |when: Option<When>| when.map(|when| when.time_ms().map_or(when, When::Time));
        Flags {
            from: fixed(self.from),
            to: fixed(self.to),
            ..self.clone()
        }
    }

    /// The times that were asked for.
    fn range(&self, warmup_ms: i64) -> Range {
        let time_ms = |when: Option<When>| when.and_then(When::time_ms);
        Range {
            from_ms: time_ms(self.from).unwrap_or(Range::ALL.from_ms),
            warmup_ms,
            to_ms: time_ms(self.to).unwrap_or(Range::ALL.to_ms),
        }
    }

    /// What cannot be meant.
    fn check(&self) -> Result<(), Failure> {
        let is_offset = |when: Option<When>| matches!(when, Some(When::Offset(_)));
        let offset = is_offset(self.from) || is_offset(self.to);
        if self.file.is_some() && offset {
            let what = "a file has no offsets";
            return Err(Failure::new(what, "give times, or no --from and --to"));
        }
        if offset && !self.others().is_empty() {
            let what = "an offset is a place in raw.metrics and none in the other topics";
            return Err(Failure::new(what, "give times with --with-…"));
        }
        if self.partition.is_some() && !self.others().is_empty() {
            let what = "--partition names one of raw.metrics and none of the other topics";
            return Err(Failure::new(what, "leave it out with --with-…"));
        }
        if self.file.is_some() && self.clock == ClockKind::Record {
            let what = "lines of a file do not say when they arrived";
            return Err(Failure::new(what, "leave --clock event"));
        }
        let ends = (
            self.from.and_then(When::time_ms),
            self.to.and_then(When::time_ms),
        );
        if let (Some(from_ms), Some(to_ms)) = ends
            && from_ms >= to_ms
        {
            let (from, to) = (output::time(from_ms), output::time(to_ms));
            let what = format!("--from {from} is not before --to {to}");
            return Err(Failure::new(what, "give an earlier --from or a later --to"));
        }
        Ok(())
    }
}

/// Where the records came from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Origin {
    /// `file` or `broker`.
    pub kind: &'static str,
    pub words: String,
    /// The service catalogue that was used.
    pub catalogue: Option<PathBuf>,
    pub warmup_minutes: i64,
}

/// What a backtest found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub source: Origin,
    pub clock: ClockKind,
    pub counts: Counts,
    /// What the file gives.
    pub settings: Vec<Changed>,
    /// The current configuration first.
    pub outcomes: Vec<Outcome>,
    pub difference: Option<Difference>,
}

/// One configuration on its way.
struct Runner {
    name: String,
    replay: Replay,
    tally: Tally,
}

impl Runner {
    fn settle(&mut self) {
        self.tally.take(self.replay.take_published());
    }

    fn outcome(mut self, end_ms: i64) -> Outcome {
        self.replay.finish();
        self.settle();
        let ignored = self.replay.ignored().iter();
        let ignored = ignored.map(|(name, count)| ((*name).to_owned(), *count));
        Outcome {
            watched: self.replay.series_count(),
            ignored: ignored.collect(),
            ..self.tally.outcome(&self.name, end_ms)
        }
    }
}

/// Replays, and reports.
///
/// # Errors
/// Flags that contradict each other, settings that the services would refuse,
/// a source that cannot be read, or nothing in it.
pub async fn run(configuration: &Configuration, flags: &Flags) -> Result<Report, Failure> {
    let flags = flags.resolved();
    flags.check()?;
    let (catalogue, lay) = candidate::catalogue(configuration)?;
    let mut candidates = vec![Candidate::current(configuration, &catalogue)?];
    let mut settings = Vec::new();
    if let Some(path) = &flags.config {
        let (proposed, changed) = Candidate::proposed(configuration, &catalogue, path)?;
        candidates.push(proposed);
        settings = changed;
    }
    let reader = BrokerReader::new(configuration.kafka());
    let logs = match flags.file {
        Some(_) => Logs::new(),
        None => broker::logs(&reader).await?,
    };
    let report = tokio::task::spawn_blocking(move || {
        let (source, mut origin, epoch) = open(&flags, &candidates, &reader, &logs)?;
        origin.catalogue = lay;
        let report = replay(&flags, &candidates, source, origin, &epoch)?;
        Ok(Report { settings, ..report })
    });
    report.await.map_err(|error| {
        Failure::new(
            format!("the replay broke off: {error}"),
            "try again with --json and less",
        )
    })?
}

/// The source, in words as well, and the epoch of its data.
fn open(
    flags: &Flags,
    candidates: &[Candidate],
    reader: &BrokerReader,
    logs: &Logs,
) -> Result<(Source, Origin, String), Failure> {
    let usual_ms = candidates
        .iter()
        .map(|one| one.warmup_ms)
        .max()
        .unwrap_or(0);
    let warmup_ms = flags.warmup_ms(usual_ms);
    let origin = |kind, words| Origin {
        kind,
        words,
        catalogue: None,
        warmup_minutes: warmup_ms / 60_000,
    };
    if let Some(path) = &flags.file {
        let file = FileSource::open(path, flags.range(warmup_ms))?;
        let origin = origin("file", file.name().to_owned());
        return Ok((Source::File(file), origin, FILE_EPOCH.to_owned()));
    }
    let mut topics = vec![Topic::RawMetrics];
    topics.extend(flags.others());
    let wanted = Wanted {
        topics,
        partition: flags.partition,
        from: flags.from,
        to: flags.to,
        range: flags.range(warmup_ms),
    };
    let source = BrokerSource::open(reader.settings(), logs, &wanted)?;
    let origin = origin("broker", source.words.clone());
    let epoch = source.epoch.clone();
    Ok((Source::Broker(Box::new(source)), origin, epoch))
}

fn replay(
    flags: &Flags,
    candidates: &[Candidate],
    source: Source,
    source_words: Origin,
    epoch: &str,
) -> Result<Report, Failure> {
    let mut runners: Vec<Runner> = candidates
        .iter()
        .map(|one| Runner {
            name: one.name.clone(),
            replay: Replay::new(&one.setup, epoch, one.idle_after_ms),
            tally: Tally::default(),
        })
        .collect();
    let mut stamper = Stamper::new(source, flags.clock);
    let mut progress = Progress::new();
    let mut reporting = false;
    let mut last: Option<(i64, Option<i64>)> = None;
    while let Some(one) = stamper.next()? {
        if !reporting && !one.warmup {
            reporting = true;
            for runner in &mut runners {
                runner.replay.pass_until(one.clock_ms);
                runner.settle();
                runner.tally.begin();
            }
        }
        last = Some((one.envelope.event.time_ms(), one.record_ms));
        feed(&mut runners, one);
        progress.tell(&stamper);
    }
    progress.end();
    if stamper.counts.records == 0 {
        return Err(nothing(&stamper.counts, &source_words));
    }
    let end_ms = until(flags, last);
    if let Some(end_ms) = end_ms {
        for runner in &mut runners {
            runner.replay.pass_until(end_ms);
            runner.settle();
        }
    }
    let last_ms = stamper.counts.last_ms.unwrap_or(0);
    let end_ms = end_ms.unwrap_or(last_ms).max(last_ms);
    let outcomes: Vec<Outcome> = runners.into_iter().map(|one| one.outcome(end_ms)).collect();
    let difference = match outcomes.as_slice() {
        [a, b] => Some(difference::compare(a, b)),
        _ => None,
    };
    Ok(Report {
        source: source_words,
        clock: flags.clock,
        counts: stamper.counts,
        settings: Vec::new(),
        outcomes,
        difference,
    })
}

/// Gives every configuration the record.
fn feed(runners: &mut [Runner], one: Stamped) {
    let Some((last, others)) = runners.split_last_mut() else {
        return;
    };
    for runner in others {
        let envelope = (*one.envelope).clone();
        runner.replay.take(one.clock_ms, one.partition, envelope);
        runner.settle();
    }
    last.replay.take(one.clock_ms, one.partition, *one.envelope);
    last.settle();
}

/// Until when it is known that no further record came: the broker's, where
/// the samples' time is that of arrival.
fn until(flags: &Flags, last: Option<(i64, Option<i64>)>) -> Option<i64> {
    let (event_ms, record_ms) = last?;
    let record_ms = record_ms?;
    // What has not come yet is no silence.
    let to_ms = flags.to.and_then(When::time_ms)?;
    let to_ms = to_ms.min(midwatch_runtime::clock::now_ms());
    let real_time = (event_ms - record_ms).abs() <= REAL_TIME_WITHIN_MS;
    (flags.clock == ClockKind::Record || real_time).then_some(to_ms)
}

fn nothing(counts: &Counts, source: &Origin) -> Failure {
    let what = format!(
        "{} holds nothing to replay there: {} records lie outside of the time asked for, {} \
         within its warm-up, {} cannot be read",
        source.words, counts.outside, counts.warmup, counts.malformed
    );
    let mend = match counts.malformed_first.first() {
        Some(first) if counts.outside + counts.warmup == 0 => {
            format!("correct them; the first is {}: {}", first.at, first.reason)
        }
        _ => "give an earlier --from or a later --to".to_owned(),
    };
    Failure::new(what, mend)
}

/// Tells on the error stream how far it is.
struct Progress {
    begun: Instant,
    told: Instant,
    every: Duration,
    terminal: bool,
    records: u64,
    any: bool,
}

impl Progress {
    fn new() -> Progress {
        let terminal = std::io::stderr().is_terminal();
        Progress {
            begun: Instant::now(),
            told: Instant::now(),
            every: if terminal {
                TOLD_ON_TERMINAL
            } else {
                TOLD_ELSEWHERE
            },
            terminal,
            records: 0,
            any: false,
        }
    }

    fn tell(&mut self, stamper: &Stamper) {
        self.records += 1;
        if !self.records.is_multiple_of(LOOK_EVERY) || self.told.elapsed() < self.every {
            return;
        }
        self.told = Instant::now();
        let (done, all) = stamper.progress();
        let share = all.filter(|all| *all > 0).map_or_else(String::new, |all| {
            format!(", {:.0} %", done as f64 * 100.0 / all as f64)
        });
        let line = format!(
            "backtest: {} records{share} in {:.0} s",
            output::count(i64::try_from(self.records).unwrap_or(i64::MAX)),
            self.begun.elapsed().as_secs_f64()
        );
        let written = if self.terminal {
            write!(std::io::stderr(), "\r{line:<60}")
        } else {
            writeln!(std::io::stderr(), "{line}")
        };
        self.any |= written.is_ok();
    }

    fn end(&self) {
        if self.any && self.terminal {
            eprintln!();
        }
    }
}
