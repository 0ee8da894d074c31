//! Starts the collector.

use std::process::ExitCode;

fn main() -> ExitCode {
    midwatch_runtime::run_service("collector", midwatch_collector::run)
}
