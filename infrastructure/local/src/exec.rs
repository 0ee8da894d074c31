//! `midwatch-stack exec`: servers for the length of one command.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::run_dir::reap_leftovers;
use crate::servers::{Endpoint, Server};
use crate::signals::Signals;
use crate::stack::Stack;

/// After a signal the command may take this long to end by itself.
const COMMAND_GRACE: Duration = Duration::from_secs(10);

/// Starts `servers`, runs `command` with their addresses in its environment,
/// stops the servers and returns the command's exit code (128 + n after signal
/// n, as a shell does).
///
/// Apache Kafka is left out, aloud, where its jars or Java are missing; every
/// other server that cannot be had is an error.
///
/// # Errors
/// When a server cannot be started or the command cannot be run.
pub async fn exec(mut servers: Vec<Server>, command: &[String]) -> Result<i32> {
    let mut signals = Signals::new()?;
    for line in reap_leftovers() {
        eprintln!("stack: {line}");
    }
    let mut stack = Stack::new()?;
    if servers.contains(&Server::Kafka) && !stack.layout().has_kafka() {
        eprintln!(
            "stack: Apache Kafka cannot be had here (jars or java missing; see \
             infrastructure/local/setup.sh), so MIDWATCH_TEST_KAFKA stays unset"
        );
        servers.retain(|&server| server != Server::Kafka);
    }
    let started = tokio::select! {
        started = stack.start_all(&servers) => started,
        signal = signals.next() => {
            stack.stop().await?;
            return Ok(128 + signal as i32);
        }
    };
    let result = match started {
        Ok(endpoints) => {
            let mut environment = variables(&servers, &endpoints);
            let programs = stack.layout().bin_dir.to_string_lossy().into_owned();
            environment.insert("MIDWATCH_TEST_BIN_DIR".to_owned(), programs);
            run_command(command, environment, &mut stack, &mut signals).await
        }
        Err(error) => Err(error),
    };
    stack.stop().await?;
    result
}

/// The variables that tell a test where the servers are.
fn variables(servers: &[Server], endpoints: &[Endpoint]) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for (server, endpoint) in servers.iter().zip(endpoints) {
        let name = match server {
            Server::Postgres => "MIDWATCH_TEST_DATABASE_URL",
            Server::Redis => "MIDWATCH_TEST_REDIS_URL",
            Server::Kafka => "MIDWATCH_TEST_KAFKA",
            Server::Tansu => "MIDWATCH_TEST_TANSU",
            Server::Vectors => "MIDWATCH_TEST_QDRANT_URL",
            Server::Embedder => "MIDWATCH_TEST_EMBEDDINGS_URL",
            Server::Mail => "MIDWATCH_TEST_SMTP_URL",
        };
        variables.insert(name.to_owned(), endpoint.url.clone());
        if let Some(web) = &endpoint.web {
            variables.insert("MIDWATCH_TEST_MAIL_URL".to_owned(), web.clone());
        }
    }
    variables
}

async fn run_command(
    command: &[String],
    environment: BTreeMap<String, String>,
    stack: &mut Stack,
    signals: &mut Signals,
) -> Result<i32> {
    // A group of its own: a signal reaches the command once, through us, and
    // then also everything that it started.
    let mut attached = stack.attach(command, environment)?;
    tokio::select! {
        status = attached.wait() => Ok(exit_code(status?)),
        signal = signals.next() => {
            attached.signal(signal);
            if tokio::time::timeout(COMMAND_GRACE, attached.wait()).await.is_err() {
                let seconds = COMMAND_GRACE.as_secs();
                eprintln!("stack: the command did not end {seconds} s after {signal}; killing it");
                attached.signal(Signal::SIGKILL);
                attached.wait().await?;
            }
            Ok(128 + signal as i32)
        }
    }
}

/// A shell's notation of how a process ended.
pub(crate) fn exit_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .or_else(|| status.signal().map(|number| 128 + number))
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_has_a_variable_of_its_own() {
        let endpoint = Endpoint {
            url: "somewhere".to_owned(),
            web: None,
            port: 1,
        };
        let endpoints = vec![endpoint; Server::ALL.len()];
        assert_eq!(variables(&Server::ALL, &endpoints).len(), Server::ALL.len());
    }
}
