//! A set of servers for the length of a test or of a command.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::attached::Attached;
use crate::layout::Layout;
use crate::process::{Process, Spec};
use crate::run_dir::RunDir;
use crate::servers::{self, Endpoint, HEALTHY_LIMIT, Server};

/// A server may take this long to end by itself. Its data go with it, so
/// nothing is lost when it is killed after that.
pub const STOP_GRACE: Duration = Duration::from_secs(5);

/// Servers under one temporary folder. Dropping it kills them and removes the
/// folder; [`Stack::stop`] ends them in order.
///
/// ```no_run
/// # async fn example() -> anyhow::Result<()> {
/// use midwatch_local::{Server, Stack};
/// let mut stack = Stack::new()?;
/// let postgres = stack.start(Server::Postgres).await?;
/// println!("{}", postgres.url);
/// stack.stop().await
/// # }
/// ```
#[derive(Debug)]
pub struct Stack {
    // Before `run`, so that the processes are gone when the folder is removed.
    running: Vec<Process>,
    layout: Layout,
    run: RunDir,
}

impl Stack {
    /// An empty stack for the project around the current folder.
    ///
    /// # Errors
    /// Outside the project, or when no temporary folder can be made.
    pub fn new() -> Result<Self> {
        Ok(Self {
            running: Vec::new(),
            layout: Layout::find()?,
            run: RunDir::create()?,
        })
    }

    /// The folders that it works with.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Starts one server on free ports and waits until it serves.
    ///
    /// # Errors
    /// When something is missing or it does not become healthy in a minute.
    pub async fn start(&mut self, server: Server) -> Result<Endpoint> {
        self.start_all(&[server])
            .await?
            .pop()
            .context("one endpoint per server")
    }

    /// Starts several servers at once and waits until all serve. The endpoints
    /// come in the same order.
    ///
    /// # Errors
    /// When something is missing or one does not become healthy in a minute.
    pub async fn start_all(&mut self, servers: &[Server]) -> Result<Vec<Endpoint>> {
        let mut endpoints = Vec::new();
        let mut started = Vec::new();
        for &server in servers {
            let (spec, endpoint) = servers::prepare(server, &self.layout, &self.run, None).await?;
            let process = spec.start(&self.log(&spec), &mut self.run)?;
            started.push((self.running.len(), spec.probe));
            self.running.push(process);
            endpoints.push(endpoint);
        }
        for (index, probe) in started {
            self.running[index]
                .wait_healthy(&probe, HEALTHY_LIMIT)
                .await?;
        }
        Ok(endpoints)
    }

    /// Runs a command next to the servers, with this process's output: it dies
    /// with this process, and a later run ends what it leaves running.
    ///
    /// # Errors
    /// When the command cannot be started or recorded.
    pub fn attach(
        &mut self,
        command: &[String],
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Attached> {
        let folder = self.run.path().to_string_lossy().into_owned();
        let own = [("MIDWATCH_TEST_RUN_DIR".to_owned(), folder)];
        Attached::start(command, variables.into_iter().chain(own), &mut self.run)
    }

    fn log(&self, spec: &Spec) -> PathBuf {
        self.run.path().join(format!("{}.log", spec.name))
    }

    /// Ends all servers, the last started first, and removes the folder.
    ///
    /// # Errors
    /// When one cannot be ended.
    pub async fn stop(mut self) -> Result<()> {
        for process in self.running.iter().rev() {
            process.ask_to_stop();
        }
        let mut result = Ok(());
        while let Some(mut process) = self.running.pop() {
            if let Err(error) = process.finish(STOP_GRACE).await {
                result = Err(error);
            }
        }
        result
    }
}
