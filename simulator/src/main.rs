//! Starts the simulated fleet.

use clap::Parser as _;
use midwatch_simulator::{config::Flags, shell};
use std::process::ExitCode;

fn main() -> ExitCode {
    let flags = Flags::parse();
    midwatch_runtime::run_service("simulator", |context| shell::run(context, flags))
}
