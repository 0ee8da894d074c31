fn main() -> std::process::ExitCode {
    midwatch_runtime::run_service("detection", |context| async move {
        midwatch_detection::shell::run(context).await
    })
}
