//! The temporary folder of one stack, and the leftovers of stacks that were
//! killed before they could clean up.
//!
//! Every folder holds a record of its owner and of each process started for
//! it. A later run finds folders whose owner is dead, ends those recorded
//! processes that still are the same ones, and removes the folder.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, geteuid};
use serde::{Deserialize, Serialize};

use crate::proc::{Identity, members_of_group};

const PREFIX: &str = "midwatch-";
const RECORD: &str = "record.json";

/// How long a leftover process may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    owner: Identity,
    processes: Vec<Entry>,
    /// The folder outlives its owner: its data were asked for.
    #[serde(default)]
    keep: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    name: String,
    identity: Identity,
    stop_signal: String,
}

/// A temporary folder that other users (PostgreSQL's) can enter. It is removed
/// when dropped, unless kept.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    record: Record,
}

impl RunDir {
    /// Makes the folder under the system's temporary folder.
    ///
    /// # Errors
    /// When the folder cannot be made or written to.
    pub fn create() -> Result<Self> {
        Self::create_in(&std::env::temp_dir())
    }

    /// Makes the folder under `parent`.
    ///
    /// # Errors
    /// When the folder cannot be made or written to.
    pub fn create_in(parent: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(parent)
            .with_context(|| format!("cannot make a folder in {}", parent.display()))?;
        let run = Self {
            path: folder.keep(),
            record: Record {
                owner: Identity::own(),
                processes: Vec::new(),
                keep: false,
            },
        };
        run.save()?;
        fs::set_permissions(&run.path, fs::Permissions::from_mode(0o755))?;
        let scratch = run.path.join("tmp");
        fs::create_dir(&scratch)?;
        // Programs that run as another user put scratch files here as well.
        fs::set_permissions(&scratch, fs::Permissions::from_mode(0o1777))?;
        Ok(run)
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the programs of this stack put scratch files (`TMPDIR`).
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.path.join("tmp")
    }

    /// Leaves the folder in place when this value goes, and whenever a later
    /// run looks for leftovers.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn keep(&mut self) -> Result<()> {
        self.record.keep = true;
        self.save()
    }

    /// Records a process that was started for this stack, so that it can be
    /// found should this process be killed.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn note(&mut self, name: &str, pid: i32, stop_signal: Signal) -> Result<()> {
        // A process that ended at once needs no record.
        let Some(identity) = Identity::of(pid) else {
            return Ok(());
        };
        self.record
            .processes
            .retain(|entry| entry.identity.is_alive());
        self.record.processes.push(Entry {
            name: name.to_owned(),
            identity,
            stop_signal: stop_signal.as_str().to_owned(),
        });
        self.save()
    }

    fn save(&self) -> Result<()> {
        write_json(&self.path.join(RECORD), &self.record)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if self.record.keep {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Writes a file so that a reader sees the old or the new one, never a part.
///
/// # Errors
/// When the file cannot be written.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let next = path.with_extension("next");
    let text = serde_json::to_vec_pretty(value)?;
    fs::write(&next, text).with_context(|| format!("cannot write {}", next.display()))?;
    fs::rename(&next, path).with_context(|| format!("cannot write {}", path.display()))
}

/// Ends what dead stacks of this user left under the system's temporary
/// folder. Says in words what was found.
#[must_use]
pub fn reap_leftovers() -> Vec<String> {
    reap_leftovers_in(&std::env::temp_dir())
}

/// Like [`reap_leftovers`], under `parent`.
#[must_use]
pub fn reap_leftovers_in(parent: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(parent) else {
        return Vec::new();
    };
    let mut said = Vec::new();
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry
                .metadata()
                .is_ok_and(|data| data.is_dir() && data.uid() == geteuid().as_raw());
        if !is_ours {
            continue;
        }
        let folder = entry.path();
        let Some(record) = read_record(&folder) else {
            continue;
        };
        if record.owner.is_alive() {
            continue;
        }
        said.extend(end_leftover(&folder, &record));
    }
    said
}

fn read_record(folder: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(folder.join(RECORD)).ok()?).ok()
}

/// What was done, or `None` where there was nothing to do.
fn end_leftover(folder: &Path, record: &Record) -> Option<String> {
    let mut ended = end_processes(&record.processes);
    ended.extend(end_orphans(folder, &record.processes));
    let ended = ended.join(", ");
    if record.keep {
        let kept = folder.display();
        return (!ended.is_empty())
            .then(|| format!("ended {ended} of an earlier run; kept {kept}"));
    }
    if let Err(error) = fs::remove_dir_all(folder) {
        return Some(format!(
            "cannot remove the leftover {}: {error}",
            folder.display()
        ));
    }
    let mut text = format!(
        "removed {} of an earlier run (process {})",
        folder.display(),
        record.owner.pid
    );
    if !ended.is_empty() {
        text.push_str(&format!("; ended {ended}"));
    }
    Some(text)
}

/// Ends what recorded processes left running in their groups when they died
/// with their owner. A group's number proves nothing by itself; that a member
/// has the folder's name in its environment does.
fn end_orphans(folder: &Path, entries: &[Entry]) -> Vec<String> {
    let mut ended = Vec::new();
    for entry in entries {
        for orphan in members_of_group(entry.identity.pid, folder) {
            if kill(Pid::from_raw(orphan.pid), Signal::SIGKILL).is_ok() {
                ended.push(format!("a child of {} ({})", entry.name, orphan.pid));
            }
        }
    }
    ended
}

fn end_processes(entries: &[Entry]) -> Vec<String> {
    let alive = |entry: &&Entry| entry.identity.is_alive();
    let mut ended = Vec::new();
    for entry in entries.iter().filter(alive) {
        let signal = Signal::from_str(&entry.stop_signal).unwrap_or(Signal::SIGTERM);
        if killpg(Pid::from_raw(entry.identity.pid), signal).is_ok() {
            ended.push(format!("{} ({})", entry.name, entry.identity.pid));
        }
    }
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until && entries.iter().any(|entry| entry.identity.is_alive()) {
        std::thread::sleep(Duration::from_millis(50));
    }
    for entry in entries.iter().filter(alive) {
        // It may end by itself just now, so a failure here means success.
        killpg(Pid::from_raw(entry.identity.pid), Signal::SIGKILL).ok();
    }
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until && entries.iter().any(|entry| entry.identity.is_alive()) {
        std::thread::sleep(Duration::from_millis(20));
    }
    ended
}
