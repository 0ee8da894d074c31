use midwatch_investigation::shell::Investigation;
use std::process::ExitCode;

fn main() -> ExitCode {
    midwatch_runtime::run_agent("investigation", |context| async move {
        Investigation::start(context).await
    })
}
