//! `midwatch detect`: samples in, verdicts out, one line for one sample.
//!
//! - Every sample gets exactly one line, in order, also one that is late, a
//!   duplicate or no number. A line that holds no sample gets none: it is
//!   reported with its number on standard error, and the exit code says so.
//! - A line is answered before more input is needed: what is judged is written
//!   whenever no further complete line has been read, and after 64 at most.
//! - A series is told from others as detection does it: by environment,
//!   service, metric and the labels that name an instance ([`series_name`]).
//!   Other labels describe and are passed on only.
//! - Memory is bounded: lines by what `raw.metrics` takes, the number of
//!   series by an option, the picture by its own limits ([`plot`]).

mod calendar;
mod columns;
mod json;
pub(crate) mod lines;
mod plot;
mod svg;
mod write;

use crate::failure::Failure;
use crate::output;
use clap::{Args, ValueEnum};
use columns::Columns;
use lines::{Line, Lines};
use midwatch_detection::decide::semantics::series_name;
use midwatch_detection::decide::watch::{Refused, Verdict, Watch};
use midwatch_events::raw::{DEFAULT_ENVIRONMENT, Labels};
use plot::Plot;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use write::Writer;

/// Lines read but not answered, at most. A program that sends and then waits
/// must not wait for ever; more would save next to nothing.
const BEHIND: usize = 64;
/// What was skipped, or not judged for want of room.
const EXIT_SKIPPED: u8 = 3;
/// Columns of a report about one line; telemetry may be of any length.
const REPORT_WIDTH: usize = 200;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Json,
    Csv,
}

/// What to read, and what to make of it.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// json or csv [default: as the first line looks]
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    pub format: Option<Format>,
    /// The same as --format csv
    #[arg(long, conflicts_with = "format")]
    pub csv: bool,
    /// json or csv
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "json",
        hide_possible_values = true
    )]
    pub output: Format,
    /// Draw up to 12 series with bands and alerts as SVG
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Judge at most so many series
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_series: u32,
}

/// What `--help` says below the options.
pub const HELP: &str = "\
Input, a JSON object a line (the payload of raw.metrics):
  {\"service\": \"pay\", \"metric_name\": \"latency_ms\", \"metric_value\": 81.5,
   \"timestamp_ms\": 1767225600000, \"labels\": {…}, \"environment\": \"…\"}
the last two optional. Or CSV: `timestamp,value`, or a header that names the
columns (timestamp/time/ts/date, value/metric_value, and optionally service,
metric/metric_name/series, environment). CSV times are RFC 3339,
YYYY-MM-DD HH:MM:SS (UTC) or numbers since 1970: in the unit that the header
names (time_ms), else by the size of the first one: seconds below 1e11,
milliseconds below 1e14, then micro- and nanoseconds.

Output, in the same order: service, metric_name, timestamp_ms, metric_value,
anomaly_score (0 to 1), is_anomaly, expected, low, high (null while nothing is
known), reason; labels and environment where given. A series is what shares
environment, service, metric and instance labels (group, mount, device,
interface, gpu, pod, container, instance, topic, partition). A sample that is
late, a duplicate or no finite number is answered with score 0 and the reason.
A line that holds no sample is reported by its number and skipped. Answers are
written at once when no further line waits, and after 64 lines at most.

Exit codes: 0 all is well, 1 it could not go on, 2 a wrong command line,
3 lines were skipped, or samples of too many series not judged.";

/// One sample, borrowed from its line where that is possible.
#[derive(Debug, PartialEq)]
struct Sample<'a> {
    environment: Option<Cow<'a, str>>,
    service: Cow<'a, str>,
    metric_name: Cow<'a, str>,
    /// Within [`calendar::LIMIT_MS`] of 1970.
    at_ms: i64,
    value: f64,
    /// The value as it was written, where that is a JSON number.
    value_text: Option<&'a str>,
    labels: Labels,
    /// The labels as they were written, in JSON.
    labels_text: Option<&'a str>,
}

/// The score as it is promised: 0 to 1, and a number.
fn score(verdict: &Verdict) -> f64 {
    if verdict.score.is_nan() {
        return 0.0;
    }
    verdict.score.clamp(0.0, 1.0)
}

/// How lines are read, once that is known.
enum Reader {
    Undecided,
    Json {
        scratch: Vec<u8>,
    },
    /// CSV whose first line has not been seen.
    CsvBegins,
    Csv(Columns),
}

/// Why a line gave no sample.
struct Unread {
    what: String,
    /// Nothing that follows can be read either.
    is_final: bool,
}

impl From<String> for Unread {
    fn from(what: String) -> Unread {
        Unread {
            what,
            is_final: false,
        }
    }
}

impl Reader {
    fn new(options: &Options) -> Reader {
        let csv = options.csv || options.format == Some(Format::Csv);
        match options.format {
            _ if csv => Reader::CsvBegins,
            Some(_) => Reader::Json {
                scratch: Vec::new(),
            },
            None => Reader::Undecided,
        }
    }

    /// The sample of a line; `None` for a blank line or a header.
    fn read<'a>(&'a mut self, line: &'a [u8]) -> Result<Option<Sample<'a>>, Unread> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(None);
        }
        if matches!(self, Reader::Undecided) && matches!(line[0], b'{' | b'[') {
            *self = Reader::Json {
                scratch: Vec::new(),
            };
        }
        if matches!(self, Reader::Undecided | Reader::CsvBegins) {
            let text = std::str::from_utf8(line).ok();
            let Some((columns, is_header)) = text.and_then(Columns::of_first_line) else {
                // Asked for by name, CSV without columns leaves nothing to read.
                let is_final = matches!(self, Reader::CsvBegins);
                let what = if is_final {
                    "is neither `timestamp,value` nor a header that names both"
                } else {
                    "is neither a JSON object nor the beginning of CSV"
                };
                return Err(Unread {
                    what: what.to_owned(),
                    is_final,
                });
            };
            *self = Reader::Csv(columns);
            if is_header {
                return Ok(None);
            }
        }
        match self {
            Reader::Json { scratch } => Ok(Some(json::read(line, scratch)?)),
            Reader::Csv(columns) => Ok(Some(columns.read(line)?)),
            Reader::Undecided | Reader::CsvBegins => unreachable!("both were left just above"),
        }
    }
}

/// All series, each with what is known of it.
struct Fleet {
    known: HashMap<Box<[u8]>, u32>,
    watches: Vec<Watch>,
    /// The key of the sample at hand; one buffer for all.
    key: Vec<u8>,
    limit: u32,
}

/// What became of a sample.
enum Judged {
    /// The number of its series, by first appearance, and the verdict.
    Verdict(usize, Verdict),
    /// The rule by which it was not judged.
    Not(&'static str),
    /// Its series would be one too many.
    NoRoom,
}

impl Fleet {
    fn new(limit: u32) -> Fleet {
        Fleet {
            known: HashMap::new(),
            watches: Vec::new(),
            key: Vec::new(),
            limit,
        }
    }

    fn judge(&mut self, sample: &Sample<'_>) -> Judged {
        let environment = sample.environment.as_deref().unwrap_or(DEFAULT_ENVIRONMENT);
        let named = series_name(&sample.metric_name, &sample.labels);
        let name = named.as_deref().unwrap_or(&sample.metric_name);
        self.key.clear();
        for part in [environment, &sample.service, name] {
            self.key.extend_from_slice(part.as_bytes());
            // Not part of any UTF-8 text, so no two keys run into each other.
            self.key.push(0xff);
        }
        let index = match self.known.get(self.key.as_slice()) {
            Some(&index) => index,
            None => {
                let next = u32::try_from(self.watches.len()).unwrap_or(u32::MAX);
                if next >= self.limit {
                    return Judged::NoRoom;
                }
                self.known.insert(self.key.as_slice().into(), next);
                self.watches.push(Watch::default());
                next
            }
        };
        let index = index as usize;
        match self.watches[index].observe(sample.at_ms, sample.value) {
            Ok(verdict) => Judged::Verdict(index, verdict),
            Err(Refused::Late) => {
                Judged::Not("not judged: late, older than the newest of its series")
            }
            Err(Refused::Duplicate) => {
                Judged::Not("not judged: duplicate, its series has one of that time")
            }
            Err(Refused::NotFinite) => Judged::Not("not judged: not a finite number"),
        }
    }
}

/// Reads standard input to its end.
pub fn run(options: &Options) -> Result<ExitCode, Failure> {
    // Found out now, not after an hour of input.
    let picture = match &options.plot {
        Some(path) => Some(File::create(path).map_err(|error| {
            let what = format!("{} cannot be written: {error}", path.display());
            Failure::new(what, "name a file in a folder that exists and is yours")
        })?),
        None => None,
    };
    let mut filter = Filter {
        reader: Reader::new(options),
        fleet: Fleet::new(options.max_series),
        writer: Writer::new(options.output),
        plot: picture.is_some().then(Plot::default),
        skipped: 0,
        no_room: 0,
    };
    let input = std::io::stdin().lock();
    let ended = filter.stream(Lines::new(input), &mut std::io::stdout().lock());
    // A reader that has seen enough does not make the picture worthless.
    if let (Some(mut file), Some(plot)) = (picture, &filter.plot)
        && matches!(ended, Ok(()) | Err(Failure::BrokenPipe))
    {
        file.write_all(svg::draw(plot).as_bytes())
            .map_err(|error| {
                Failure::new(
                    format!("the picture cannot be written: {error}"),
                    "see that the disk has room",
                )
            })?;
    }
    ended?;
    Ok(filter.conclude())
}

struct Filter {
    reader: Reader,
    fleet: Fleet,
    writer: Writer,
    plot: Option<Plot>,
    /// Lines that held no sample.
    skipped: u64,
    /// Samples of series beyond the limit.
    no_room: u64,
}

impl Filter {
    fn stream(&mut self, mut lines: Lines<impl Read>, out: &mut impl Write) -> Result<(), Failure> {
        let mut behind = 0;
        loop {
            let line = match lines.next() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) => {
                    self.writer.flush(out)?;
                    let what = format!("standard input cannot be read: {error}");
                    return Err(Failure::new(
                        what,
                        "give it a pipe or a file: midwatch detect < FILE",
                    ));
                }
            };
            match line {
                Line::Whole => self.answer(lines.text(), lines.number())?,
                Line::TooLong => {
                    let what = format!("is longer than {} bytes", lines::MAX_BYTES);
                    self.skip(lines.number(), &what);
                }
            }
            behind += 1;
            if behind == BEHIND || !lines.has_another() {
                self.writer.flush(out)?;
                behind = 0;
            }
        }
        self.writer.flush(out)?;
        Ok(())
    }

    /// Judges one line and puts the answer into the writer.
    fn answer(&mut self, line: &[u8], number: u64) -> Result<(), Failure> {
        let sample = match self.reader.read(line) {
            Ok(Some(sample)) => sample,
            Ok(None) => return Ok(()),
            Err(Unread {
                what,
                is_final: true,
            }) => {
                let what = format!("line {number} of the CSV {what}");
                return Err(Failure::new(
                    what,
                    "begin with a header line: timestamp,value",
                ));
            }
            Err(Unread { what, .. }) => {
                self.skip(number, &what);
                return Ok(());
            }
        };
        match self.fleet.judge(&sample) {
            Judged::Verdict(index, verdict) => {
                if let Some(plot) = &mut self.plot {
                    plot.take(index, &sample, &verdict);
                }
                self.writer.verdict(&sample, &verdict);
            }
            Judged::Not(rule) => self.writer.refusal(&sample, rule),
            Judged::NoRoom => {
                if self.no_room == 0 {
                    let limit = self.fleet.limit;
                    say(&format!(
                        "line {number} begins one series more than {limit}; what belongs to no known series is not judged\n  mend: raise --max-series (a series takes about 1 KB), or send fewer"
                    ));
                }
                self.no_room += 1;
                self.writer
                    .refusal(&sample, "not judged: more series than --max-series allows");
            }
        }
        Ok(())
    }

    fn skip(&mut self, number: u64, what: &str) {
        self.skipped += 1;
        say(&output::fit(
            &format!("line {number} skipped: {what}"),
            REPORT_WIDTH,
        ));
    }

    /// The exit code, with a last word where something was left out.
    fn conclude(&self) -> ExitCode {
        if self.skipped > 0 {
            say(&format!(
                "{} lines held no sample and were skipped",
                self.skipped
            ));
        }
        if self.no_room > 0 {
            say(&format!(
                "{} samples of further series were not judged",
                self.no_room
            ));
        }
        if self.skipped + self.no_room > 0 {
            ExitCode::from(EXIT_SKIPPED)
        } else {
            ExitCode::SUCCESS
        }
    }
}

/// Tells a person. Where nobody listens on standard error, work goes on.
fn say(text: &str) {
    drop(writeln!(std::io::stderr(), "midwatch: {text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the lines of each piece that is written.
    #[derive(Default)]
    struct Pieces(Vec<usize>);

    impl Write for Pieces {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0
                .push(bytes.iter().filter(|byte| **byte == b'\n').count());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_more_than_64_lines_are_open_however_many_are_there() {
        let mut filter = Filter {
            reader: Reader::Undecided,
            fleet: Fleet::new(10),
            writer: Writer::new(Format::Json),
            plot: None,
            skipped: 0,
            no_room: 0,
        };
        let line = |at| {
            format!(
                "{{\"service\":\"a\",\"metric_name\":\"m\",\"timestamp_ms\":{at},\"metric_value\":1}}\n\n"
            )
        };
        let input: String = (0..100).map(line).collect();
        let mut pieces = Pieces::default();
        filter
            .stream(Lines::new(input.as_bytes()), &mut pieces)
            .unwrap();
        // Every second line is blank and counts as one that was read.
        assert_eq!(pieces.0, [32, 32, 32, 4]);
    }
}
