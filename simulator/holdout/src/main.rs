//! `midwatch-holdout`: prints labelled series for grading a detector on data nobody tuned on.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "midwatch-holdout",
    about = "Labelled telemetry series that the detector was not tuned on"
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
    }
}

fn write(seed: u64, per_family: usize, out: impl Write) -> anyhow::Result<()> {
    let mut out = BufWriter::new(out);
    for series in midwatch_holdout::generate(seed, per_family) {
        serde_json::to_writer(&mut out, &series)?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}
