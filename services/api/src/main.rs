//! The process `midwatch-api`.

fn main() -> std::process::ExitCode {
    midwatch_runtime::run_service("api", midwatch_api::run)
}
