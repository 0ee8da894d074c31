//! Real servers: they start, serve, and leave nothing behind, also after the
//! process that started them was killed.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use midwatch_local::probe::Probe;
use midwatch_local::proc::Identity;
use midwatch_local::run_dir::reap_leftovers_in;
use midwatch_local::{Server, Stack};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const STACK: &str = env!("CARGO_BIN_EXE_midwatch-stack");

/// Waits for `condition`, at most half a minute.
fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{what} did not happen"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn identity(child: &Child) -> Identity {
    Identity::of(i32::try_from(child.id()).unwrap()).unwrap()
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[tokio::test]
async fn postgres_and_redis_serve_until_stopped() {
    let mut stack = Stack::new().unwrap();
    let servers = [Server::Postgres, Server::Redis];
    let endpoints = stack.start_all(&servers).await.unwrap();
    let probes = [
        Probe::Postgres(endpoints[0].port),
        Probe::Redis(endpoints[1].port),
    ];
    for probe in &probes {
        assert_eq!(probe.check().await, Ok(()));
    }
    stack.stop().await.unwrap();
    for probe in &probes {
        assert!(probe.check().await.is_err(), "{probe:?} still answers");
    }
}

#[tokio::test]
async fn fallback_broker_and_inbox_serve() {
    let mut stack = Stack::new().unwrap();
    let endpoints = stack
        .start_all(&[Server::Tansu, Server::Mail])
        .await
        .unwrap();
    assert_eq!(Probe::Kafka(endpoints[0].port).check().await, Ok(()));
    let web = endpoints[1].web.clone().unwrap();
    assert_eq!(Probe::Http(format!("{web}/email")).check().await, Ok(()));
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn server_that_ends_at_once_is_an_error_with_its_last_words() {
    use midwatch_local::process::Spec;
    use midwatch_local::run_dir::RunDir;
    let mut run = RunDir::create().unwrap();
    let spec =
        Spec::new("broken", "/bin/sh".into(), Probe::None).args(["-c", "echo no luck; exit 3"]);
    let log = run.path().join("broken.log");
    let mut process = spec.start(&log, &mut run).unwrap();
    let error = process
        .wait_healthy(&Probe::Redis(1), Duration::from_secs(10))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("exit status: 3") && error.contains("no luck"),
        "{error}"
    );
}

#[test]
fn only_processes_that_are_provably_ours_are_ended() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("midwatch-old");
    fs::create_dir(&folder).unwrap();
    let sleep = || {
        Command::new("sleep")
            .arg("60")
            .process_group(0)
            .spawn()
            .unwrap()
    };
    let (mut ours, mut other) = (sleep(), sleep());
    // The record names the second process with another start time, as after
    // the reuse of a process id.
    let mut stale = identity(&other);
    stale.start_ticks -= 1;
    let entry = |identity: Identity| serde_json::json!({"name": "sleep", "identity": identity, "stop_signal": "SIGTERM"});
    let dead_owner = Identity {
        start_ticks: 1,
        ..Identity::own()
    };
    let record = serde_json::json!({
        "owner": dead_owner,
        "processes": [entry(identity(&ours)), entry(stale)],
    });
    fs::write(folder.join("record.json"), record.to_string()).unwrap();

    let said = reap_leftovers_in(parent.path());
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(!ours.wait().unwrap().success());
    assert!(
        other.try_wait().unwrap().is_none(),
        "a foreign process was ended"
    );
    assert!(!folder.exists());
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn kept_folder_of_a_dead_owner_stays() {
    let parent = tempfile::tempdir().unwrap();
    let mut run = midwatch_local::run_dir::RunDir::create_in(parent.path()).unwrap();
    run.keep().unwrap();
    let file = run.path().join("record.json");
    drop(run);
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    record["owner"]["start_ticks"] = 1.into();
    fs::write(&file, record.to_string()).unwrap();
    assert_eq!(reap_leftovers_in(parent.path()), Vec::<String>::new());
    assert!(file.exists());
}

#[test]
fn folder_of_a_living_owner_is_left_alone() {
    let parent = tempfile::tempdir().unwrap();
    let run = midwatch_local::run_dir::RunDir::create_in(parent.path()).unwrap();
    assert_eq!(reap_leftovers_in(parent.path()), Vec::<String>::new());
    assert!(run.path().exists());
    drop(run);
    assert!(is_empty(parent.path()));
}

/// `midwatch-stack exec` with Redis, whose folders go under `parent`.
fn exec_with_redis(parent: &Path, script: &str) -> Command {
    let mut command = Command::new(STACK);
    command
        .args(["exec", "--with", "redis", "--", "sh", "-c", script])
        .env("TMPDIR", parent);
    command
}

#[test]
fn exec_names_the_server_and_returns_the_exit_code() {
    let parent = tempfile::tempdir().unwrap();
    let script = "case $MIDWATCH_TEST_REDIS_URL in redis://127.0.0.1:*) exit 7;; esac; exit 1";
    let status = exec_with_redis(parent.path(), script).status().unwrap();
    assert_eq!(status.code(), Some(7));
    assert!(is_empty(parent.path()));
}

/// Starts it and waits until the command inside runs. Returns the processes
/// of the server, of the command, and of what the command started.
fn running_exec(parent: &Path) -> (Child, [Identity; 3]) {
    let temporary = parent.join("run");
    fs::create_dir(&temporary).unwrap();
    let told = parent.join("told");
    let script = format!("sleep 60 & echo $! >{}; wait", told.display());
    let child = exec_with_redis(&temporary, &script).spawn().unwrap();
    let inner = || fs::read_to_string(&told).ok()?.trim().parse().ok();
    wait_for("the start", || inner().is_some());
    let inner = Identity::of(inner().unwrap()).unwrap();
    let folder = fs::read_dir(&temporary)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let recorded = |index: usize| -> Option<Identity> {
        let text = fs::read(folder.join("record.json")).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&text).unwrap();
        serde_json::from_value(record["processes"][index]["identity"].clone()).ok()
    };
    wait_for("the note of the command", || recorded(1).is_some());
    let [redis, command] = [0, 1].map(|index| recorded(index).unwrap());
    (child, [redis, command, inner])
}

#[test]
fn exec_stops_its_server_on_sigterm() {
    let parent = tempfile::tempdir().unwrap();
    let (mut child, processes) = running_exec(parent.path());
    assert!(processes.iter().all(|process| process.is_alive()));
    kill(
        Pid::from_raw(i32::try_from(child.id()).unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
    assert!(!processes[0].is_alive() && !processes[1].is_alive());
    wait_for("the end of the command's child", || {
        !processes[2].is_alive()
    });
    assert!(is_empty(&parent.path().join("run")));
}

#[test]
fn killed_supervisor_takes_server_and_command_along_and_the_next_run_cleans_up() {
    let parent = tempfile::tempdir().unwrap();
    let (mut child, [redis, command, inner]) = running_exec(parent.path());
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the end of redis", || !redis.is_alive());
    wait_for("the end of the command", || !command.is_alive());
    let temporary = parent.path().join("run");
    assert!(!is_empty(&temporary));
    let status = Command::new(STACK)
        .arg("reap")
        .env("TMPDIR", &temporary)
        .status()
        .unwrap();
    assert!(status.success());
    wait_for("the end of the command's child", || !inner.is_alive());
    assert!(is_empty(&temporary));
}
