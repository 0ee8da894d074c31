//! Starts `midwatch`.

use clap::Parser as _;
use midwatch_cli::arguments::Arguments;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("midwatch: the async runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(midwatch_cli::run(arguments));
    // A question to a broker that is away may still hang in its thread.
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}
