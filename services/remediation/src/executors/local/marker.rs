//! Marks on this machine's disk that tell what was begun and how it ended.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// What is known about a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    pub key: String,
    /// Wall clock of this machine, epoch milliseconds.
    pub began_at_ms: i64,
    pub ended: Option<EndedRun>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedRun {
    pub at_ms: i64,
    pub code: Option<i32>,
    pub output: String,
}

/// The folder of marks.
#[derive(Clone, Debug)]
pub struct Markers {
    folder: PathBuf,
}

impl Markers {
    #[must_use]
    pub fn new(folder: &Path) -> Markers {
        Markers {
            folder: folder.to_owned(),
        }
    }

    /// The folder's own id, made with it: a folder that was lost and made anew
    /// has another one, so that a missing mark proves nothing there.
    pub fn id(&self) -> Result<String, String> {
        let path = self.folder.join("id");
        let told = |error: std::io::Error| {
            format!(
                "REMEDIATION_STATE_DIR {} cannot be used: {error}",
                self.folder.display()
            )
        };
        match fs::read_to_string(&path) {
            Ok(id) => Ok(id),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::create_dir_all(&self.folder).map_err(told)?;
                let id = midwatch_runtime::clock::random_id().to_string();
                write(&path, id.as_bytes()).map_err(told)?;
                Ok(id)
            }
            Err(error) => Err(told(error)),
        }
    }

    /// Writes a mark in one step.
    pub fn put(&self, marker: &Marker) -> Result<(), String> {
        let path = self.path(&marker.key);
        let json = serde_json::to_vec(marker).map_err(|error| error.to_string())?;
        write(&path, &json)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))
    }

    /// Reads a mark.
    pub fn get(&self, key: &str) -> Result<Option<Marker>, String> {
        let path = self.path(key);
        let told = |error: String| format!("{} cannot be read: {error}", path.display());
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| told(error.to_string())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(told(error.to_string())),
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        let digest = Sha256::digest(key.as_bytes());
        let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("{name}.json"))
    }
}

/// Writes a file that is there whole or not at all, also after a power cut.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let part = path.with_extension("part");
    let mut file = File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
