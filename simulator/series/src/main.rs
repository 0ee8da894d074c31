//! `midwatch-series`: makes labelled series, and scores detectors on them.

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use midwatch_series::{
    Baseline, Report, generate, interleave, judge_lines, read_series, read_verdicts, score,
};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write, stdin, stdout};
use std::path::{Path, PathBuf};

/// Makes labelled telemetry series, and scores detectors on them.
#[derive(Debug, Parser)]
#[command(name = "midwatch-series", version)]
struct Flags {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write labelled series, one a line
    Generate {
        /// The same seed gives the same series
        #[arg(long)]
        seed: u64,
        /// Series of each family
        #[arg(long, default_value_t = 3, value_name = "K")]
        per_family: usize,
        /// Where to; - is standard output
        #[arg(long, default_value = "-", value_name = "FILE")]
        out: PathBuf,
    },
    /// Write the samples of a series file in turn, as input for `midwatch detect`
    Interleave {
        /// A series file; - is standard input
        #[arg(long, value_name = "FILE")]
        series: PathBuf,
        /// Where to; - is standard output
        #[arg(long, default_value = "-", value_name = "FILE")]
        out: PathBuf,
    },
    /// Score the verdicts of `midwatch detect` against the windows of a series file
    Score {
        /// A series file
        #[arg(long, value_name = "FILE")]
        series: PathBuf,
        /// What the detector printed; - is standard input
        #[arg(long, value_name = "FILE")]
        verdicts: PathBuf,
        /// Print the report as JSON, with every family
        #[arg(long)]
        json: bool,
        /// A line for each family
        #[arg(long)]
        by_family: bool,
    },
    /// Judge interleaved samples by a classic detector, to compare with
    Baseline {
        /// Which one
        #[arg(long, value_enum)]
        kind: Kind,
        /// Interleaved samples; - is standard input
        #[arg(long, default_value = "-", value_name = "FILE")]
        samples: PathBuf,
        /// Where to; - is standard output
        #[arg(long, default_value = "-", value_name = "FILE")]
        out: PathBuf,
    },
    /// Score several detectors on one series file, a row for each
    Compare {
        /// A series file
        #[arg(long, value_name = "FILE")]
        series: PathBuf,
        /// What each detector is called, and what it printed
        #[arg(required = true, value_name = "NAME=FILE")]
        verdicts: Vec<String>,
    },
    /// Print the families' names
    Families,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Distance from the mean of 50 samples, flagged from 2.5 deviations on
    Zscore,
    /// Tail probability under the normal distribution of 6 400 samples
    Gaussian,
}

fn main() -> anyhow::Result<()> {
    match Flags::parse().command {
        Command::Generate {
            seed,
            per_family,
            out,
        } => midwatch_series::write_series(&generate(seed, per_family), &mut writer(&out)?),
        Command::Interleave { series, out } => interleave(
            &read_series(BufReader::new(reader(&series)?))?,
            &mut writer(&out)?,
        ),
        Command::Score {
            series,
            verdicts,
            json,
            by_family,
        } => {
            let series = read_series(BufReader::new(reader(&series)?))?;
            let verdicts = read_verdicts(BufReader::new(reader(&verdicts)?))?;
            let report = score(&series, &verdicts);
            let mut out = stdout().lock();
            if json {
                serde_json::to_writer_pretty(&mut out, &report)?;
                return Ok(writeln!(out)?);
            }
            Ok(print(&report, by_family, &mut out)?)
        }
        Command::Baseline { kind, samples, out } => {
            let kind = match kind {
                Kind::Zscore => Baseline::ZScore,
                Kind::Gaussian => Baseline::Gaussian,
            };
            judge_lines(kind, BufReader::new(reader(&samples)?), &mut writer(&out)?)
        }
        Command::Compare { series, verdicts } => compare(&series, &verdicts),
        Command::Families => {
            let mut out = stdout().lock();
            for family in midwatch_series::families() {
                writeln!(out, "{family}")?;
            }
            Ok(())
        }
    }
}

fn reader(path: &Path) -> anyhow::Result<Box<dyn Read>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(stdin()));
    }
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Box::new(file))
}

fn writer(path: &Path) -> anyhow::Result<Box<dyn Write>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(BufWriter::new(stdout())));
    }
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Box::new(BufWriter::new(file)))
}

fn compare(series: &Path, verdicts: &[String]) -> anyhow::Result<()> {
    let series = read_series(BufReader::new(reader(series)?))?;
    let mut out = stdout().lock();
    let windows: usize = series.iter().map(|one| one.windows.len()).sum();
    writeln!(out, "{} series, {windows} windows", series.len())?;
    writeln!(
        out,
        "{:<24} {:>6} {:>6} {:>6}   {:>6} {:>6} {:>6} {:>10}",
        "", "own", "found", "false", "best", "found", "false", "threshold"
    )?;
    for verdict in verdicts {
        let (name, file) = verdict
            .split_once('=')
            .with_context(|| format!("`{verdict}` names no file; write NAME=FILE"))?;
        let verdicts = read_verdicts(BufReader::new(reader(Path::new(file))?))?;
        let report = score(&series, &verdicts);
        anyhow::ensure!(
            report.without_verdict == 0 && report.unknown_verdicts == 0,
            "{file}: {} samples have no verdict, {} verdicts no sample",
            report.without_verdict,
            report.unknown_verdicts
        );
        let share = |found: usize| 100.0 * found as f64 / windows.max(1) as f64;
        let (own, best) = (&report.own, &report.best);
        writeln!(
            out,
            "{name:<24} {:>6.1} {:>4.0} % {:>6.2}   {:>6.1} {:>4.0} % {:>6.2} {:>10.6}",
            own.score,
            share(own.found),
            own.false_alarms_per_series,
            best.score,
            share(best.found),
            best.false_alarms_per_series,
            report.threshold,
        )?;
    }
    Ok(())
}

fn print(report: &Report, by_family: bool, out: &mut impl Write) -> std::io::Result<()> {
    if by_family {
        writeln!(
            out,
            "{:<28} {:>3}  {:>6} {:>7} {:>6}   {:>6} {:>7} {:>6}",
            "family", "n", "own", "found", "false", "best", "found", "false"
        )?;
        for family in &report.families {
            let (own, best) = (&family.own, &family.best);
            writeln!(
                out,
                "{:<28} {:>3}  {:>6.1} {:>3}/{:<3} {:>6.2}   {:>6.1} {:>3}/{:<3} {:>6.2}",
                family.family,
                family.series,
                own.score,
                own.found,
                own.windows,
                own.false_alarms_per_series,
                best.score,
                best.found,
                best.windows,
                best.false_alarms_per_series,
            )?;
        }
        writeln!(out)?;
    }
    for (words, tally) in [
        ("own is_anomaly".to_owned(), &report.own),
        (
            format!("best threshold {:.6}", report.threshold),
            &report.best,
        ),
    ] {
        writeln!(
            out,
            "{words:<26} score {:>6.2}   windows {}/{}   earliness {:.3}   false alarms {} ({:.2} a series)",
            tally.score,
            tally.found,
            tally.windows,
            tally.earliness,
            tally.false_alarms,
            tally.false_alarms_per_series,
        )?;
    }
    writeln!(
        out,
        "{} series, {} samples without a verdict, {} verdicts about nothing in the file",
        report.series, report.without_verdict, report.unknown_verdicts
    )
}
