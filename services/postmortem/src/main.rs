//! The postmortem agent's process.

fn main() -> std::process::ExitCode {
    midwatch_runtime::run_agent("postmortem", |mut context| async move {
        midwatch_postmortem::Postmortem::new(&mut context).await
    })
}
