//! The communication agent's process.

fn main() -> std::process::ExitCode {
    midwatch_runtime::run_agent("communication", |mut context| async move {
        midwatch_communication::Communication::new(&mut context).await
    })
}
