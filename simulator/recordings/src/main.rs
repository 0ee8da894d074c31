//! `midwatch-recordings`: makes fault recordings, and scores investigators.

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use midwatch_recordings::family::Family;
use midwatch_recordings::files::{Order, generate};
use midwatch_recordings::plan::Shape;
use midwatch_recordings::score;
use std::path::PathBuf;

/// Makes recordings of microservice faults, and scores investigators on them.
#[derive(Debug, Parser)]
#[command(name = "midwatch-recordings", version)]
struct Flags {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write case folders
    Generate {
        /// The same seed gives the same bytes
        #[arg(long)]
        seed: u64,
        #[arg(long, default_value_t = 20, value_name = "K")]
        count: usize,
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Formats, of a, b, c and d
        #[arg(long, value_delimiter = ',', value_name = "a,b")]
        shape: Vec<String>,
        /// Kinds of fault; `midwatch-recordings families` lists them
        #[arg(long, value_delimiter = ',', value_name = "x,y")]
        family: Vec<String>,
    },
    /// Run an investigator on every case below a folder, and judge it
    Score {
        /// A folder of case folders
        dir: PathBuf,
        /// The `midwatch` program
        #[arg(long, value_name = "PATH")]
        investigate: PathBuf,
        /// Print the report as JSON, with every case
        #[arg(long)]
        json: bool,
        /// Runs at a time
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        /// Longest run allowed, seconds
        #[arg(long, default_value_t = 60, value_name = "S")]
        limit: u64,
        /// Name every case whose culprit was not first
        #[arg(long)]
        misses: bool,
    },
    /// Print the families' names
    Families,
}

fn main() -> anyhow::Result<()> {
    match Flags::parse().command {
        Command::Generate {
            seed,
            count,
            out,
            shape,
            family,
        } => {
            let order = Order {
                seed,
                count,
                shapes: shape
                    .iter()
                    .map(|name| shape_of(name))
                    .collect::<Result<_, _>>()?,
                families: family
                    .iter()
                    .map(|name| family_of(name))
                    .collect::<Result<_, _>>()?,
            };
            let folders = generate(&order, &out)?;
            println!("{} cases below {}", folders.len(), out.display());
        }
        Command::Score {
            dir,
            investigate,
            json,
            jobs,
            limit,
            misses,
        } => {
            let options = score::Options {
                program: investigate,
                jobs,
                limit: std::time::Duration::from_secs(limit),
            };
            let report = score::score(&dir, &options)?;
            if json {
                println!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                print!("{}", score::table(&report, misses));
            }
        }
        Command::Families => {
            for family in Family::ALL {
                println!("{}", family.name());
            }
        }
    }
    Ok(())
}

fn shape_of(name: &str) -> anyhow::Result<Shape> {
    Shape::ALL
        .into_iter()
        .find(|shape| shape.name() == name)
        .with_context(|| format!("--shape {name}: must be one of a, b, c, d"))
}

fn family_of(name: &str) -> anyhow::Result<Family> {
    Family::parse(name).with_context(|| {
        format!("--family {name}: unknown; `midwatch-recordings families` lists the names")
    })
}
