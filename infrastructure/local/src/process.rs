//! Starting, watching and stopping one process.
//!
//! Each process leads its own process group, so that a Ctrl-C on the terminal
//! reaches only the supervisor, which then stops the others in order. Each is
//! started through `setpriv --pdeathsig`: should the supervisor be killed, the
//! kernel ends the process as well. The kernel watches the *thread* that
//! started it, so everything here runs on one thread (a current-thread tokio
//! runtime).

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, User};
use tokio::process::{Child, Command};

use crate::layout;
use crate::probe::Probe;
use crate::run_dir::RunDir;

/// How to start one process.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Short name, also of the log file.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables set in addition to the inherited ones.
    pub env: BTreeMap<String, String>,
    /// Inherited variables that it must not see.
    pub env_remove: Vec<String>,
    /// Run as this user; the current one if `None`.
    pub user: Option<String>,
    /// What asks it to end.
    pub stop_signal: Signal,
    /// What the kernel sends it when the supervisor dies.
    pub death_signal: Signal,
    /// Working folder; the current one if `None`.
    pub folder: Option<PathBuf>,
    /// How to see that it serves.
    pub probe: Probe,
}

impl Spec {
    /// A process that ends on SIGTERM and dies with the supervisor.
    #[must_use]
    pub fn new(name: &str, program: PathBuf, probe: Probe) -> Self {
        Self {
            name: name.to_owned(),
            program,
            args: Vec::new(),
            env: BTreeMap::new(),
            env_remove: Vec::new(),
            user: None,
            stop_signal: Signal::SIGTERM,
            death_signal: Signal::SIGKILL,
            folder: None,
            probe,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: Into<String>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets one variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// The command that starts it, without output redirection.
    ///
    /// # Errors
    /// When `setpriv` or the user does not exist.
    pub fn command(&self) -> Result<Command> {
        let mut command = Command::new(layout::program("setpriv")?);
        command.arg("--pdeathsig");
        command.arg(self.death_signal.as_str().trim_start_matches("SIG"));
        if let Some(name) = &self.user {
            let user = User::from_name(name)?
                .with_context(|| format!("the user {name} does not exist on this machine"))?;
            command.arg(format!("--reuid={}", user.uid));
            command.arg(format!("--regid={}", user.gid));
            command.arg("--clear-groups");
        }
        command.arg("--").arg(&self.program).args(&self.args);
        for name in &self.env_remove {
            command.env_remove(name);
        }
        command.envs(&self.env).stdin(Stdio::null());
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command.process_group(0).kill_on_drop(true);
        Ok(command)
    }

    /// Starts it with its output appended to a log file.
    ///
    /// # Errors
    /// When the program or the log file cannot be used.
    pub fn start(&self, log: &Path, run: &mut RunDir) -> Result<Process> {
        let sink = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = self.command()?;
        command
            .env("TMPDIR", run.scratch())
            // A log file is no terminal.
            .env("NO_COLOR", "1")
            .stdout(Stdio::from(sink.try_clone()?))
            .stderr(Stdio::from(sink));
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let pid = child.id().context("a process just started has an id")?;
        let pid = i32::try_from(pid).context("a process id fits 22 bits")?;
        run.note(&self.name, pid, self.stop_signal)?;
        Ok(Process {
            name: self.name.clone(),
            pid,
            log: log.to_path_buf(),
            stop_signal: self.stop_signal,
            child,
        })
    }
}

/// A process that was started. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: i32,
    log: PathBuf,
    stop_signal: Signal,
    child: Child,
}

impl Process {
    /// Its id, which is also the id of its process group.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// How it ended, or `None` while it runs.
    ///
    /// # Errors
    /// When the operating system cannot say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its end, at most `limit`; `None` when that has passed.
    ///
    /// # Errors
    /// When the operating system cannot say.
    pub async fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(status) => Ok(Some(status?)),
            Err(_) => Ok(None),
        }
    }

    /// Asks it to end, without waiting.
    pub fn ask_to_stop(&self) {
        self.signal(self.stop_signal);
    }

    /// Sends a signal to its whole group. A process that is gone already is
    /// what every caller wants, so that is no failure.
    pub fn signal(&self, signal: Signal) {
        killpg(Pid::from_raw(self.pid), signal).ok();
    }

    /// Asks it to end, waits at most `grace`, then kills it.
    ///
    /// # Errors
    /// When it survives SIGKILL for five seconds.
    pub async fn stop(mut self, grace: Duration) -> Result<()> {
        self.ask_to_stop();
        self.finish(grace).await
    }

    /// Waits at most `grace` for a process that was asked to end, then kills
    /// it and what it started.
    ///
    /// # Errors
    /// When it survives SIGKILL for five seconds.
    pub async fn finish(&mut self, grace: Duration) -> Result<()> {
        if self.wait(grace).await?.is_some() {
            // Children that outlived it.
            self.signal(Signal::SIGKILL);
            return Ok(());
        }
        self.signal(Signal::SIGKILL);
        match self.wait(Duration::from_secs(5)).await? {
            Some(_) => Ok(()),
            None => bail!("{} (process {}) does not end", self.name, self.pid),
        }
    }

    /// Waits until the probe succeeds.
    ///
    /// # Errors
    /// When the process ends first or the limit passes; the message carries
    /// the last lines of its log.
    pub async fn wait_healthy(&mut self, probe: &Probe, limit: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                bail!("{} ended with {status}; {}", self.name, self.last_words());
            }
            let complaint = match probe.check().await {
                Ok(()) => return Ok(()),
                Err(complaint) => complaint,
            };
            if start.elapsed() > limit {
                bail!(
                    "{} is not healthy after {} s: {complaint}; {}",
                    self.name,
                    limit.as_secs(),
                    self.last_words()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Where its log is and how it ends.
    #[must_use]
    pub fn last_words(&self) -> String {
        last_words(&self.log)
    }
}

/// Where a log is and how it ends.
#[must_use]
pub fn last_words(log: &Path) -> String {
    let tail = tail(log, 4096).unwrap_or_default();
    let lines: Vec<&str> = tail.lines().rev().take(8).collect();
    let lines: Vec<&str> = lines.into_iter().rev().collect();
    format!("its log {} ends:\n{}", log.display(), lines.join("\n"))
}

fn tail(path: &Path, bytes: u64) -> Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
    let mut text = Vec::new();
    file.take(bytes).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
