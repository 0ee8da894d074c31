//! Correlation and investigation as processes, and their end.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How to start the agents of one run.
pub struct Agents {
    /// The folder of the programs: a copy, because a build may replace them.
    pub programs: PathBuf,
    pub logs: PathBuf,
    pub environment: BTreeMap<&'static str, String>,
}

/// One of them, running. Dropping it kills it.
pub struct Process {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Agents {
    pub fn start(&self, agent: &str) -> Process {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let log = self.logs.join(format!("{agent}.log"));
        let out = OpenOptions::new().create(true).append(true).open(&log);
        let out: File = out.expect("a log of our own");
        let child = Command::new(self.programs.join(format!("midwatch-{agent}")))
            .env_clear()
            .envs(&self.environment)
            .env("HTTP_BIND", format!("127.0.0.1:{port}"))
            .env("RUST_LOG", "info")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a second handle"))
            .stderr(out)
            .spawn()
            .unwrap_or_else(|error| panic!("midwatch-{agent} does not start: {error}"));
        Process { child, port, log }
    }
}

impl Process {
    /// Waits until it answers, at most 40 s.
    pub async fn ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(40);
        while !self.is_ready() {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                panic!("it ended with {status}; {}", last_words(&self.log));
            }
            assert!(
                Instant::now() < deadline,
                "it is not ready; {}",
                last_words(&self.log)
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn is_ready(&self) -> bool {
        let ask = || {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
            let request = "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            Some(answer.starts_with("HTTP/1.1 200"))
        };
        ask() == Some(true)
    }

    /// SIGKILL to all of them at once; they must have lived until then.
    pub fn kill_all(mut processes: Vec<Process>) {
        for process in &mut processes {
            if let Some(status) = process.child.try_wait().expect("it is our child") {
                let said = last_words(&process.log);
                panic!("it ended by itself with {status}; {said}");
            }
            process.child.kill().expect("it runs");
        }
        for process in &mut processes {
            let waited = process.child.wait();
            waited.expect("a killed child can be waited for");
        }
    }

    /// SIGTERM; it must end in peace within 20 s.
    pub async fn stop(mut self) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGTERM)
            .expect("it runs");
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                assert!(status.success(), "{status}; {}", last_words(&self.log));
                return;
            }
            assert!(
                Instant::now() < deadline,
                "it does not stop; {}",
                last_words(&self.log)
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && self.child.kill().is_ok() {
            self.child.wait().expect("a killed child can be waited for");
        }
    }
}

/// How a log ends.
pub fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(25);
    format!("{} ends:\n{}", log.display(), lines[from..].join("\n"))
}
