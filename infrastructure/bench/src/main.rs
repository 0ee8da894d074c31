//! The bench: how fast, how large and how soon, in one table.
//!
//! Run it beside the servers that it needs, built in release:
//!
//! ```text
//! midwatch-stack exec --with kafka,redis,postgres,vectors,embedder -- target/release/midwatch-bench
//! ```
//!
//! Consumes the addresses in `MIDWATCH_TEST_*` and the agents' programs from
//! the folder that it lies in itself. Produces a table of at most 80 columns
//! and, with `--json FILE`, the same figures for programs.
//!
//! Guarantees
//! - Each section has topics, consumer groups and databases of its own and
//!   removes them; the agents that it starts end with it.
//! - What is sent depends on `--seed` and sizes only, never on the machine.
//! - Every wait has a limit, and a section that fails does not keep the others
//!   from being measured; the exit code then is 1. No figure makes it fail:
//!   times depend on the machine and on what else it does.

mod api;
mod bed;
mod core;
mod inbox;
mod latency;
mod load;
mod memory;
mod options;
mod report;
mod restart;
mod throughput;
mod watch;

use anyhow::Result;
use bed::Bed;
use clap::Parser;
use options::{Options, Part};
use report::{Report, Section};
use std::process::ExitCode;
use std::time::Instant;

// Children end with the thread that started them, so there is one thread.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match bench(Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures; whether every section could be measured.
async fn bench(options: Options) -> Result<bool> {
    let mut bed = Bed::new(options)?;
    let mut report = Report::new(&bed);
    for part in bed.options.parts() {
        bed.say(part.name(), "begins");
        let begun = Instant::now();
        match measure(&mut bed, part).await {
            Ok(mut section) => {
                section.seconds = begun.elapsed().as_secs_f64();
                report.sections.push(section);
            }
            Err(error) => {
                eprintln!("bench: {} could not be measured: {error:#}", part.name());
                report.failed.push((part.name(), format!("{error:#}")));
            }
        }
        bed.clear().await;
    }
    report.finish(&bed);
    print!("{}", report.table());
    if let Some(path) = &bed.options.json {
        report.write(path)?;
    }
    Ok(report.failed.is_empty())
}

async fn measure(bed: &mut Bed, part: Part) -> Result<Section> {
    match part {
        Part::Detection => throughput::measure(bed).await,
        Part::Core => core::measure(bed),
        Part::Memory => memory::measure(bed).await,
        Part::Latency => latency::measure(bed).await,
        Part::Api => api::measure(bed).await,
        Part::Restart => restart::measure(bed).await,
    }
}
