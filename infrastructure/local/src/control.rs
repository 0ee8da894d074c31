//! What other commands do with a running demo: look, stop, inject, seed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;

use crate::address_book::{AddressBook, DemoLock};
use crate::exec::exit_code;
use crate::health::{self, Watched};
use crate::layout::Layout;
use crate::probe::http;
use crate::run_dir::reap_leftovers;
use crate::scale::{self, Scale};
use crate::table::{Row, render};

/// A stopping demo may take this long: its own limit of 15 seconds and room.
const STOP_LIMIT: Duration = Duration::from_secs(25);
/// Starting takes a few seconds; leaving a group up to ten.
const SCALE_LIMIT: Duration = Duration::from_secs(60);

/// Prints the table of the running demo.
///
/// # Errors
/// When none runs.
pub async fn status() -> Result<()> {
    let book = AddressBook::open(&Layout::find()?)?;
    let watched: Vec<Watched> = book
        .processes
        .iter()
        .map(|listed| Watched {
            pid: listed
                .identity
                .filter(|identity| identity.is_alive())
                .map(|identity| identity.pid),
            probe: listed.probe.clone(),
            metrics: listed.metrics.clone(),
        })
        .collect();
    let readings = health::read_all(&watched).await;
    let rows: Vec<Row> = book
        .processes
        .iter()
        .zip(&watched)
        .zip(readings)
        .map(|((listed, watched), reading)| Row {
            name: listed.name.clone(),
            pid: watched.pid,
            state: if watched.pid.is_some() {
                "running"
            } else {
                "down"
            }
            .to_owned(),
            complaint: reading.complaint,
            lag: reading.lag,
            memory: reading.memory,
            restarts: listed.restarts,
        })
        .collect();
    println!("broker {}, process {}", book.broker, book.supervisor.pid);
    for (name, url) in &book.urls {
        println!("  {name:<10} {url}");
    }
    for line in render(&rows) {
        println!("{line}");
    }
    Ok(())
}

/// Stops the running demo, if any, and removes what killed ones left.
///
/// # Errors
/// When it does not stop in time.
pub async fn stop() -> Result<()> {
    let layout = Layout::find()?;
    if let Ok(book) = AddressBook::open(&layout) {
        let pid = book.supervisor.pid;
        kill(Pid::from_raw(pid), Signal::SIGTERM)
            .with_context(|| format!("cannot stop the demo, process {pid}"))?;
        let begun = Instant::now();
        while DemoLock::is_held(&layout)? {
            if begun.elapsed() > STOP_LIMIT {
                bail!("the demo, process {pid}, does not stop; end it with `kill -9 {pid}`");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        println!("stopped the demo, process {pid}");
    } else if DemoLock::is_held(&layout)? {
        bail!("a demo is just starting; try again in a moment");
    } else {
        println!("no demo is running here");
    }
    for line in reap_leftovers() {
        println!("{line}");
    }
    Ok(())
}

/// Asks the simulator of the running demo for a fault.
///
/// # Errors
/// When none runs, or the simulator refuses.
pub async fn inject(scenario: &str, service: Option<&str>) -> Result<()> {
    let book = AddressBook::open(&Layout::find()?)?;
    let address = format!("{}/inject", book.url("simulator")?);
    let mut request = serde_json::json!({"scenario": scenario});
    if let Some(service) = service {
        request["service"] = service.into();
    }
    let response = http().post(&address).json(&request).send().await;
    let response = response.context("the simulator does not answer; is the demo up already?")?;
    let status = response.status();
    let text = response.text().await?;
    if !status.is_success() {
        bail!("the simulator answers {status}: {text}");
    }
    println!("injected {scenario}: {text}");
    Ok(())
}

/// Has the running demo start or end processes of agents, and waits until as
/// many serve as were wished for.
///
/// # Errors
/// When none runs, or it does not get there in time.
pub async fn scale(wish: &Scale) -> Result<()> {
    let layout = Layout::find()?;
    AddressBook::open(&layout)?;
    scale::leave(&layout, wish)?;
    let begun = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let book = AddressBook::open(&layout)?;
        if is_at(&book, wish).await {
            for (agent, count) in &wish.0 {
                println!("{agent} runs {count} times");
            }
            return Ok(());
        }
        if begun.elapsed() > SCALE_LIMIT {
            bail!(
                "the demo is not at that scale after {} s; see make status and make logs",
                SCALE_LIMIT.as_secs()
            );
        }
    }
}

/// Whether exactly the wished processes are there, and all of them serve.
async fn is_at(book: &AddressBook, wish: &Scale) -> bool {
    for (agent, count) in &wish.0 {
        let replicas = book.processes.iter().filter(|listed| {
            scale::slot_of(&listed.name).is_some_and(|(of_agent, _)| of_agent == agent)
        });
        let mut serving = 0;
        for listed in replicas {
            if listed.identity.is_none() || listed.probe.check().await.is_err() {
                return false;
            }
            serving += 1;
        }
        if serving != *count {
            return false;
        }
    }
    true
}

/// Ends the agents and the API of the running demo; its supervisor starts them
/// again, from the binaries that are there then.
///
/// # Errors
/// When none runs.
pub fn restart_agents() -> Result<()> {
    let book = AddressBook::open(&Layout::find()?)?;
    for listed in book.processes.iter().filter(|listed| listed.is_agent) {
        let alive = listed.identity.filter(|identity| identity.is_alive());
        if let Some(identity) = alive {
            kill(Pid::from_raw(identity.pid), Signal::SIGTERM)
                .with_context(|| format!("cannot end {}", listed.name))?;
            println!("{} ends and is started again", listed.name);
        }
    }
    Ok(())
}

/// Writes the knowledge into the running demo's store again. Returns the
/// seeder's exit code.
///
/// # Errors
/// When none runs or the seeder cannot be started.
pub async fn seed() -> Result<i32> {
    let layout = Layout::find()?;
    let book = AddressBook::open(&layout)?;
    let status = Command::new(layout.binary("midwatch-seeder")?)
        .envs(&book.environment)
        .env("HTTP_BIND", format!("127.0.0.1:{}", crate::port::any()?))
        .status()
        .await?;
    Ok(exit_code(status))
}

/// Shows the logs of the running or the last demo, and follows them while a
/// demo runs. Returns the exit code of the program that shows them.
///
/// # Errors
/// When there are none of that name.
pub async fn logs(name: Option<&str>) -> Result<i32> {
    let layout = Layout::find()?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(layout.logs()).context("there are no logs yet")? {
        let path = entry?.path();
        let stem = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        if name.is_none_or(|name| stem.as_deref() == Some(name)) {
            files.push(path);
        }
    }
    if files.is_empty() {
        bail!("there is no log of {} yet", name.unwrap_or("anything"));
    }
    files.sort();
    let mut tail = Command::new("tail");
    tail.args(["-n", "40"]);
    if DemoLock::is_held(&layout)? {
        tail.arg("-F");
    }
    Ok(exit_code(tail.args(files).status().await?))
}
