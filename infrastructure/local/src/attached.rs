//! A command that runs beside the servers or the whole pipeline, with their
//! addresses in its environment.

use std::process::ExitStatus;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Child;

use crate::probe::Probe;
use crate::process::Spec;
use crate::run_dir::RunDir;

/// A command in a process group of its own. Dropping it ends the group, so
/// that nothing that it started outlives what it was attached to.
#[derive(Debug)]
pub struct Attached {
    child: Child,
    group: Pid,
}

impl Attached {
    /// Starts `command` with `variables` and this process's output.
    ///
    /// # Errors
    /// When there is no command, or it cannot be started or recorded.
    pub fn start(
        command: &[String],
        variables: impl IntoIterator<Item = (String, String)>,
        run: &mut RunDir,
    ) -> Result<Self> {
        let (program, arguments) = command
            .split_first()
            .context("name the command to run after --")?;
        let mut spec = Spec::new("command", program.into(), Probe::None).args(arguments);
        spec.env.extend(variables);
        let child = spec
            .command()?
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        let pid = child.id().context("a process just started has an id")?;
        let pid = i32::try_from(pid).context("a process id fits 22 bits")?;
        run.note(&spec.name, pid, spec.stop_signal)?;
        Ok(Self {
            child,
            group: Pid::from_raw(pid),
        })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When the operating system does not tell.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait().await?)
    }

    /// Sends a signal to the command and all that it started.
    pub fn signal(&self, signal: Signal) {
        // A group that is gone already needs no signal.
        killpg(self.group, signal).ok();
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}
