//! Runs one command: no shell, a cleared environment, a time limit, bounded
//! output.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// Bytes of output that are kept of each stream; the rest is read and dropped,
/// so that the command does not block.
const KEPT_BYTES: usize = 64 * 1024;
/// What the command left running may hold its output open; nobody waits longer.
const REST: Duration = Duration::from_millis(500);
/// Where commands look for others.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// A command of the allow-list with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// Beyond PATH and LANG.
    pub environment: Vec<(String, String)>,
}

impl Line {
    /// The command as a person would type it.
    #[must_use]
    pub fn words(&self) -> String {
        let program = self.program.to_string_lossy().into_owned();
        let words = std::iter::once(&program).chain(&self.arguments);
        words.map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ran {
    Ended {
        code: Option<i32>,
        output: String,
    },
    /// It was killed with everything that it started.
    TimedOut {
        output: String,
    },
    /// It did not start.
    NotStarted(String),
}

/// Kills the group of a command that nobody waits for any more.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.take()
            && let Err(error) = killpg(group, Signal::SIGKILL)
        {
            tracing::debug!(%error, "the group of a command was gone already");
        }
    }
}

/// Runs a command in a process group of its own.
pub async fn run(line: &Line, limit: Duration) -> Ran {
    let mut command = Command::new(&line.program);
    command
        .args(&line.arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", "C.UTF-8")
        .envs(line.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(Path::new("/"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = match spawn(&mut command).await {
        Ok(child) => child,
        Err(error) => {
            return Ran::NotStarted(format!("{} cannot be run: {error}", line.program.display()));
        }
    };
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let mut group = Group(id.map(Pid::from_raw));
    let streams = [reader(child.stdout.take()), reader(child.stderr.take())];
    match tokio::time::timeout(limit, wait(&mut child)).await {
        Ok(Ok(code)) => {
            group.0 = None;
            Ran::Ended {
                code,
                output: text(streams).await,
            }
        }
        Ok(Err(error)) => Ran::TimedOut {
            output: format!("its end cannot be learnt: {error}"),
        },
        Err(_) => {
            drop(group);
            Ran::TimedOut {
                output: text(streams).await,
            }
        }
    }
}

/// Starts it; a file that is just being replaced is waited for.
async fn spawn(command: &mut Command) -> std::io::Result<Child> {
    let mut tries = 0;
    loop {
        match command.spawn() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy && tries < 20 => {
                tries += 1;
                tokio::time::sleep(REST / 10).await;
            }
            spawned => return spawned,
        }
    }
}

async fn wait(child: &mut Child) -> std::io::Result<Option<i32>> {
    Ok(child.wait().await?.code())
}

/// What was read of a stream so far, and the task that reads on.
struct Reader {
    task: JoinHandle<()>,
    kept: Arc<Mutex<Vec<u8>>>,
}

fn reader(stream: Option<impl AsyncRead + Unpin + Send + 'static>) -> Reader {
    let kept: Arc<Mutex<Vec<u8>>> = Arc::default();
    let of_task = Arc::clone(&kept);
    let task = tokio::spawn(async move {
        let Some(mut stream) = stream else { return };
        let mut chunk = [0_u8; 4096];
        while let Ok(count @ 1..) = stream.read(&mut chunk).await {
            let mut kept = of_task.lock().unwrap_or_else(PoisonError::into_inner);
            let room = KEPT_BYTES - kept.len();
            kept.extend_from_slice(&chunk[..count.min(room)]);
        }
    });
    Reader { task, kept }
}

async fn text(readers: [Reader; 2]) -> String {
    let mut bytes = Vec::new();
    let until = tokio::time::Instant::now() + REST;
    for Reader { mut task, kept } in readers {
        if tokio::time::timeout_at(until, &mut task).await.is_err() {
            task.abort();
        }
        bytes.extend_from_slice(&kept.lock().unwrap_or_else(PoisonError::into_inner));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
