use midwatch_correlation::shell::Correlation;
use std::process::ExitCode;

fn main() -> ExitCode {
    midwatch_runtime::run_agent("correlation", |context| async move {
        Correlation::start(context).await
    })
}
