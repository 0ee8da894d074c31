//! What to measure, and how much of it.

use clap::{Parser, ValueEnum};
use midwatch_local::demo::AGENTS;
use std::path::PathBuf;

/// A section of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Part {
    /// Samples per second and CPU through detection, next to a bare loop.
    Detection,
    /// Nanoseconds per sample in the core alone.
    Core,
    /// Bytes per series, and a restart with many.
    Memory,
    /// From a breach to anomaly, mail and plan.
    Latency,
    /// Answers of the API with many incidents.
    Api,
    /// Until an agent works again.
    Restart,
}

impl Part {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Part::Detection => "detection",
            Part::Core => "core",
            Part::Memory => "memory",
            Part::Latency => "latency",
            Part::Api => "api",
            Part::Restart => "restart",
        }
    }

    /// The processes that it starts.
    pub fn processes(self) -> &'static [&'static str] {
        match self {
            Part::Detection | Part::Memory => &["detection"],
            Part::Latency | Part::Restart => &AGENTS,
            Part::Api => &["api"],
            Part::Core => &[],
        }
    }
}

/// Measures Midwatch on this machine. Run through `midwatch-stack exec`.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Options {
    /// Only these sections, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Part>,
    /// The broker; Apache Kafka where it runs, if not given.
    #[arg(long, value_parser = ["kafka", "tansu"])]
    pub broker: Option<String>,
    /// Also write the figures to this file.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Of everything that is random in what is sent.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Samples through detection, per number of partitions.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(10_000..=100_000_000))]
    pub samples: u64,
    /// Series that those samples belong to.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(7..=100_000))]
    pub series: u64,
    /// Partitions of raw.metrics, one run each.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4", value_parser = clap::value_parser!(i32).range(1..=64))]
    pub partitions: Vec<i32>,
    /// Series whose memory is measured, one run each, ascending.
    #[arg(long, value_delimiter = ',', default_value = "10000,100000,1000000", value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    pub memory_series: Vec<u64>,
    /// Faults whose way is timed.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=500))]
    pub faults: u64,
    /// Incidents in the database behind the API.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(i64).range(100..=2_000_000))]
    pub incidents: i64,
    /// Requests per address of the API.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(5..=10_000))]
    pub requests: u32,
    /// Restarts of each kind per agent.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub rounds: u32,
    /// Show the agents' logs of a section in this folder instead of removing
    /// them.
    #[arg(long)]
    pub logs: Option<PathBuf>,
}

impl Options {
    /// The sections to measure, in order.
    pub fn parts(&self) -> Vec<Part> {
        Part::value_variants()
            .iter()
            .copied()
            .filter(|part| self.only.is_empty() || self.only.contains(part))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_measured_in_their_own_order() {
        let options = Options::try_parse_from(["bench", "--only", "api,detection"]).unwrap();
        assert_eq!(options.parts(), [Part::Detection, Part::Api]);
        let all = Options::try_parse_from(["bench"]).unwrap();
        assert_eq!(all.parts().len(), 6);
    }
}
