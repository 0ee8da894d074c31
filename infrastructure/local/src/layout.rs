//! Where things are: the project, its cache, the built binaries, the programs
//! that Debian's packages brought.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The folders that the stack works with.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The project's root folder.
    pub root: PathBuf,
    /// What `setup.sh` downloaded.
    pub cache: PathBuf,
    /// The built binaries.
    pub bin_dir: PathBuf,
}

/// What marks the project's root.
const MARK: &str = "infrastructure/local/setup.sh";

impl Layout {
    /// Finds the project from the current folder upwards, or else from the
    /// running program upwards.
    ///
    /// # Errors
    /// When neither lies inside the project.
    pub fn find() -> Result<Self> {
        let program = std::env::current_exe().context("the running program has no path")?;
        let folder = std::env::current_dir().context("the current folder does not exist")?;
        let root = [folder.as_path(), program.as_path()]
            .into_iter()
            .flat_map(Path::ancestors)
            .find(|folder| folder.join(MARK).is_file())
            .with_context(|| {
                format!(
                    "no {MARK} in {} or above; run this inside the project",
                    folder.display()
                )
            })?;
        // Test programs lie one folder deeper than the binaries they start.
        let mut bin_dir = program.parent().unwrap_or(root).to_path_buf();
        if bin_dir.ends_with("deps") {
            bin_dir.pop();
        }
        Ok(Self {
            root: root.to_path_buf(),
            cache: root.join(".midwatch/cache"),
            bin_dir,
        })
    }

    /// A binary of this project.
    ///
    /// # Errors
    /// When it is not built.
    pub fn binary(&self, name: &str) -> Result<PathBuf> {
        let path = self.bin_dir.join(name);
        if !path.is_file() {
            bail!(
                "{} is not built; run `cargo build --workspace --bins` first",
                path.display()
            );
        }
        Ok(path)
    }

    /// A file that `setup.sh` brings.
    ///
    /// # Errors
    /// When it is not there.
    pub fn cached(&self, name: &str) -> Result<PathBuf> {
        let path = self.cache.join(name);
        if !path.exists() {
            bail!("{} is not there; run {MARK} first", path.display());
        }
        Ok(path)
    }

    /// Folder of the state of a running demo: lock, address book.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.root.join(".midwatch/run")
    }

    /// Folder of the logs of the current or the last demo.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.root.join(".midwatch/logs")
    }

    /// Whether Apache Kafka can be started: its jars and a Java.
    #[must_use]
    pub fn has_kafka(&self) -> bool {
        self.cache.join("kafka/libs").is_dir() && program("java").is_ok()
    }
}

/// A program on the search path.
///
/// # Errors
/// When there is none; the message names the package.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian leaves the sbin folders out of an ordinary user's path.
    let extra = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(extra)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("the program {name} is not there; run {MARK} first"))
}

/// The folder of PostgreSQL's server programs, newest version first. Debian
/// keeps them off the search path.
///
/// # Errors
/// When there is none.
pub fn postgres_programs() -> Result<PathBuf> {
    let mut folders: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, folder)| folder.join("postgres").is_file() && folder.join("initdb").is_file())
        .collect();
    folders.sort();
    if let Some((_, folder)) = folders.pop() {
        return Ok(folder);
    }
    let postgres = program("postgres")?;
    Ok(postgres.parent().unwrap_or(Path::new("/")).to_path_buf())
}
