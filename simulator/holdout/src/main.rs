//! `midwatch-holdout`: labelled series for grading a detector, and recorded faults for grading an
//! investigator, on data nobody tuned on.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};
use midwatch_holdout::faults;

#[derive(Parser)]
#[command(
    name = "midwatch-holdout",
    about = "Labelled telemetry that neither detector nor investigator was tuned on"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print series as JSON Lines.
    Generate {
        /// The same seed gives the same series.
        #[arg(long)]
        seed: u64,
        /// Series of each family.
        #[arg(long, default_value_t = 2)]
        per_family: usize,
        /// A file, or - for standard output.
        #[arg(long, default_value = "-")]
        out: PathBuf,
    },
    /// Print the names of the families.
    Families,
    /// Write recorded faults: DIR/cases, and the truth apart from them.
    Recordings {
        /// The same seed gives the same bytes.
        #[arg(long)]
        seed: u64,
        /// Cases; a multiple of 28 has every shape with every class equally often.
        #[arg(long, default_value_t = 112)]
        count: usize,
        /// A folder without cases.
        #[arg(long)]
        out: PathBuf,
    },
    /// Leave a third of the services out of the call graphs of recorded faults.
    RecordingsCut {
        /// What `recordings` wrote; its topologies are written anew.
        dir: PathBuf,
        /// Which third: 0, 1 or 2.
        #[arg(long)]
        third: usize,
    },
    /// Run an investigator over recorded faults and print sums, never a single case.
    RecordingsScore {
        /// What `recordings` wrote.
        dir: PathBuf,
        /// The program whose subcommand `investigate` is examined.
        #[arg(long)]
        investigate: PathBuf,
        /// One JSON object instead of a table.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Generate {
            seed,
            per_family,
            out,
        } if out.as_os_str() == "-" => write(seed, per_family, std::io::stdout().lock())
            .context("cannot write to standard output"),
        Command::Generate {
            seed,
            per_family,
            out,
        } => {
            let file =
                File::create(&out).with_context(|| format!("cannot create {}", out.display()))?;
            write(seed, per_family, file).with_context(|| format!("cannot write {}", out.display()))
        }
        Command::Families => {
            let mut out = std::io::stdout().lock();
            midwatch_holdout::family_names()
                .try_for_each(|name| writeln!(out, "{name}"))
                .context("cannot write to standard output")
        }
        Command::Recordings { seed, count, out } => {
            let tally = faults::generate(seed, count, &out)?;
            tell(&serde_json::to_string(&tally)?)
        }
        Command::RecordingsCut { dir, third } => faults::cut::cut(&dir, third),
        Command::RecordingsScore {
            dir,
            investigate,
            json,
        } => {
            let report = faults::score::score(&dir, &investigate)?;
            if json {
                tell(&serde_json::to_string(&report)?)
            } else {
                tell(&report.text())
            }
        }
    }
}

fn tell(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}").context("cannot write to standard output")
}

fn write(seed: u64, per_family: usize, out: impl Write) -> anyhow::Result<()> {
    let mut out = BufWriter::new(out);
    for series in midwatch_holdout::generate(seed, per_family) {
        serde_json::to_writer(&mut out, &series)?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}
