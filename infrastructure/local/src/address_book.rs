//! The one running demo of a checkout: its lock, and the file in which other
//! commands find its addresses and processes.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::layout::Layout;
use crate::probe::Probe;
use crate::proc::Identity;
use crate::run_dir::write_json;

/// What `.midwatch/run/stack.json` says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AddressBook {
    /// The supervisor.
    pub supervisor: Identity,
    /// The broker that was chosen.
    pub broker: String,
    /// Pages and interfaces by name: dashboard, inbox, simulator, …
    pub urls: BTreeMap<String, String>,
    /// The variables that every service was given by the stack.
    pub environment: BTreeMap<String, String>,
    /// The temporary folder with the data.
    pub run_dir: PathBuf,
    /// The folder with one log per process.
    pub logs: PathBuf,
    /// All processes, in the order of their start.
    pub processes: Vec<Listed>,
}

/// One process of a running demo.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Whether it is one of the agents (or the API) that `restart-agents`
    /// starts again.
    pub is_agent: bool,
    /// Who it is; `None` while it does not run.
    pub identity: Option<Identity>,
    /// How to see that it serves.
    pub probe: Probe,
    /// Address of its Prometheus metrics.
    pub metrics: Option<String>,
    /// How often it was started again.
    pub restarts: u32,
}

impl AddressBook {
    /// The running demo.
    ///
    /// # Errors
    /// When none runs.
    pub fn open(layout: &Layout) -> Result<Self> {
        let book = Self::read(&layout.run());
        match book {
            Some(book) if book.supervisor.is_alive() => Ok(book),
            _ => bail!("no demo is running here; start one with `make demo`"),
        }
    }

    fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(folder.join("stack.json")).ok()?).ok()
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, layout: &Layout) -> Result<()> {
        write_json(&layout.run().join("stack.json"), self)
    }

    /// Address of `name`.
    ///
    /// # Errors
    /// When the demo has none of that name.
    pub fn url(&self, name: &str) -> Result<&str> {
        let url = self.urls.get(name).map(String::as_str);
        url.with_context(|| format!("the running demo names no address of '{name}'"))
    }
}

/// The right to run the demo of this checkout. The operating system takes it
/// back when the process ends, however it ends.
#[derive(Debug)]
pub struct DemoLock {
    folder: PathBuf,
    // The lock lives as long as the open file.
    _file: File,
}

impl DemoLock {
    /// Takes the lock.
    ///
    /// # Errors
    /// When another demo of this checkout runs; the message names its process.
    pub fn take(layout: &Layout) -> Result<Self> {
        let folder = layout.run();
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Self {
                folder,
                _file: file,
            }),
            Err(TryLockError::WouldBlock) => {
                let who = AddressBook::read(&folder).map_or_else(
                    || "it is still starting".to_owned(),
                    |book| format!("process {}", book.supervisor.pid),
                );
                bail!(
                    "a demo of this checkout is running already ({who}); stop it with `make stop`"
                )
            }
            Err(TryLockError::Error(error)) => Err(error).context("cannot lock the demo"),
        }
    }

    /// Whether a demo holds the lock.
    ///
    /// # Errors
    /// When the lock file cannot be used.
    pub fn is_held(layout: &Layout) -> Result<bool> {
        let path = layout.run().join("lock");
        if !path.exists() {
            return Ok(false);
        }
        let file = File::options().write(true).open(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error).context("cannot test the demo's lock"),
        }
    }
}

impl Drop for DemoLock {
    fn drop(&mut self) {
        // Nothing is there to remove when the demo ended before it was up.
        fs::remove_file(self.folder.join("stack.json")).ok();
    }
}
