//! `midwatch investigate`: the deterministic investigator on recorded data.
//!
//! - It is the code that the online agent runs, on files: no store, no broker,
//!   no model, no clock. The same files give the same bytes.
//! - Standard output holds one JSON object, or with `--explain` text for
//!   people in 80 columns.

mod chart;
mod clock;
mod loose;
mod read;
mod series;
mod show;
mod sums;
mod tally;

use crate::failure::Failure;
use crate::output;
use clap::Args;
use midwatch_investigation::rca::{self, Question};
use std::path::PathBuf;
use std::process::ExitCode;

/// An alert may fire so long before the stated start.
const EARLY_MS: i64 = 3_600_000;
/// A stated time may lie so far outside of the recording: coarse readings end
/// well before the moment that they are about.
const OUTSIDE_MS: i64 = 3_600_000;

/// What to read, and what the alert was.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The call graph
    #[arg(long, value_name = "FILE")]
    pub topology: PathBuf,
    /// Readings, a raw.metrics payload a line
    #[arg(long, value_name = "FILE")]
    pub metrics: PathBuf,
    /// Log lines, a raw.logs payload a line
    #[arg(long, value_name = "FILE")]
    pub logs: Option<PathBuf>,
    /// Spans, one a line
    #[arg(long, value_name = "FILE")]
    pub spans: Option<PathBuf>,
    /// The service that the alert fired on
    #[arg(long, value_name = "SERVICE")]
    pub target: String,
    /// Its metric
    #[arg(long, value_name = "NAME")]
    pub target_metric: String,
    /// What was before is normal, epoch milliseconds
    #[arg(long, value_name = "MS")]
    pub start: i64,
    /// When the alert fired
    #[arg(long, value_name = "MS")]
    pub at: i64,
    /// The last moment [default: the last one recorded]
    #[arg(long, value_name = "MS")]
    pub end: Option<i64>,
    /// For people, with a chart for each evidence
    #[arg(long)]
    pub explain: bool,
}

/// What `--help` says below the options.
pub const HELP: &str = "\
Topology: {\"services\": [{\"name\": \"…\", \"depends_on\": [\"…\"]}]}; an empty graph
will do, and spans add the edges that they show. A span is {\"trace_id\",
\"span_id\", \"parent_span_id\", \"service\", \"operation\", \"start_ms\",
\"duration_ms\", \"status\": \"OK\" or \"ERROR\", \"labels\"}.

Values are read as far as they mean something: numbers in quotes, levels and
statuses in any case and dialect, times in another unit where a whole file is.
Lines that mean nothing are skipped, counted and told among the gaps. Labels
with several values at the same time make series of their own.

Output: {\"ranking\": [service, best first], \"verdict\": \"conclusive\" or
\"inconclusive\", \"candidates\": [{\"rank\", \"service\", \"cause\", \"hypothesis\",
\"confidence\", \"evidence\": [{\"id\", \"kind\", \"service\", \"at_ms\", \"summary\",
…}], \"refuting\", \"discriminator\"}], \"gaps\": […]}. The id of a reading is
metric:SERVICE/NAME@MS, of a log line log:LINE, of a span its own.

Exit codes: 0 answered, also when inconclusive; 1 a file is unusable, 2 a wrong
command line.";

/// Reads, investigates, prints.
///
/// # Errors
/// A file is unusable, or the times contradict each other.
pub fn run(options: &Options) -> Result<ExitCode, Failure> {
    let times = [("--start", options.start), ("--at", options.at)];
    let end = options.end.map(|end| ("--end", end));
    for (option, at) in times.into_iter().chain(end) {
        if at.checked_abs().is_none_or(|at| at > clock::LATEST_MS) {
            let what = format!("{option} {at} is no time");
            return Err(Failure::new(what, "give milliseconds since 1970"));
        }
    }
    let (recording, gaps) = read::recording(options)?;
    let question = question(options, &recording)?;
    let mut answer = rca::investigate(&recording, &question);
    answer.gaps.extend(gaps);
    if options.explain {
        output::print(&show::explain(&recording, &question, &answer))?;
    } else {
        output::print_json(&answer)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn question(options: &Options, recording: &rca::Recording) -> Result<Question, Failure> {
    let wrong = |what: String, mend: &str| Err(Failure::new(what, mend));
    // The start is often an estimate, and an early alert one more hint.
    if options.at < options.start.saturating_sub(EARLY_MS) {
        let (at, start) = (options.at, options.start);
        return wrong(
            format!("--at {at} is more than an hour before --start {start}"),
            "the alert fires after the fault began; both in milliseconds",
        );
    }
    if let Some(end) = options.end.filter(|end| *end < options.start) {
        let what = format!("--end {end} is before --start {}", options.start);
        return wrong(what, "give the last moment to look at, or leave it out");
    }
    let known = recording.every_service();
    if !known.contains(options.target.as_str()) {
        let what = format!("no file names the service {}", options.target);
        return wrong(what, "name the target as topology or metrics do");
    }
    if let Some((from, until)) = covered(recording) {
        let asked = options
            .start
            .max(options.at)
            .max(options.end.unwrap_or(options.start));
        let is_outside = asked.saturating_add(OUTSIDE_MS) < from
            || options.start.saturating_sub(OUTSIDE_MS) > until;
        if is_outside {
            let (at, start) = (options.at, options.start);
            let unit = if clock::is_seconds(start) && clock::is_milliseconds(from) {
                "these are seconds"
            } else {
                "give times of it"
            };
            return wrong(
                format!("--start {start} and --at {at} are not in the recording"),
                &format!("it is of {from} to {until}, in milliseconds; {unit}"),
            );
        }
    }
    let last = recording.last_ms().unwrap_or(options.at);
    Ok(Question {
        target: options.target.clone(),
        target_metric: options.target_metric.clone(),
        start_ms: options.start,
        at_ms: options.at,
        end_ms: options.end.unwrap_or(last).min(last.max(options.start)),
    })
}

/// The first and the last moment of everything that was recorded.
fn covered(recording: &rca::Recording) -> Option<(i64, i64)> {
    let series = recording.series.iter();
    let ends = series.flat_map(|one| [one.points.first(), one.points.last()]);
    let readings = ends.flatten().map(|(at_ms, _)| *at_ms);
    let lines = recording.lines.iter().map(|line| line.at_ms);
    let spans = recording.spans.iter().map(|span| span.start_ms);
    readings
        .chain(lines)
        .chain(spans)
        .fold(None, |known, at_ms| {
            let (first, last) = known.unwrap_or((at_ms, at_ms));
            Some((first.min(at_ms), last.max(at_ms)))
        })
}
