//! The remediation agent's process.

fn main() -> std::process::ExitCode {
    midwatch_runtime::run_agent("remediation", |mut context| async move {
        midwatch_remediation::Remediation::new(&mut context).await
    })
}
