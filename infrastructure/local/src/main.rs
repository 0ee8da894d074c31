//! `midwatch-stack`: the embedded stack on the command line.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use midwatch_local::scale::Scale;
use midwatch_local::servers::Server;
use midwatch_local::{control, demo, exec, run_dir};

/// Runs Midwatch and the servers it needs as processes of this user.
#[derive(Parser)]
#[command(name = "midwatch-stack", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the whole pipeline until Ctrl-C.
    Run(demo::Options),
    /// Run a command with servers beside it.
    Exec {
        /// Servers: postgres, redis, kafka, tansu, vectors, embedder, mail.
        #[arg(long = "with", value_delimiter = ',', required = true)]
        servers: Vec<Server>,
        /// The command and its arguments, after --.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Show the running demo.
    Status,
    /// Stop the running demo and remove leftovers of killed ones.
    Stop,
    /// Remove leftovers of killed runs.
    Reap,
    /// Ask the running demo's simulator for a fault.
    Inject {
        /// The scenario, for example `MEMORY_LEAK`.
        scenario: String,
        /// The service; the scenario's own if not given.
        service: Option<String>,
    },
    /// Restart the agents and the API of the running demo.
    RestartAgents,
    /// Change how many processes of an agent the running demo has.
    Scale {
        /// For example `investigation=3,detection=2`.
        scale: Scale,
    },
    /// Write the knowledge into the running demo again.
    Seed,
    /// Show the logs of the demo.
    Logs {
        /// One process; all if not given.
        name: Option<String>,
    },
}

// One thread: the kernel ends our processes when the thread that started them
// ends, so that must be the main thread.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match act(Cli::parse().command).await {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            eprintln!("midwatch-stack: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn act(command: Command) -> Result<i32> {
    match command {
        Command::Run(options) => return demo::run(options).await,
        Command::Exec { servers, command } => return exec::exec(servers, &command).await,
        Command::Seed => return control::seed().await,
        Command::Logs { name } => return control::logs(name.as_deref()).await,
        Command::Status => control::status().await?,
        Command::Stop => control::stop().await?,
        Command::Inject { scenario, service } => {
            control::inject(&scenario, service.as_deref()).await?;
        }
        Command::Scale { scale } => control::scale(&scale).await?,
        Command::RestartAgents => control::restart_agents()?,
        Command::Reap => {
            for line in run_dir::reap_leftovers() {
                println!("{line}");
            }
        }
    }
    Ok(0)
}
