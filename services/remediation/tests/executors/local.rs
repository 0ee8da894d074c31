//! Commands of the allow-list, with programs of our own in the place of the
//! system's.

use crate::support::execution;
use midwatch_events::action::{ActionKind, Executor};
use midwatch_remediation::execution::Execution;
use midwatch_remediation::executors::hand::{Acted, Acting, Hand, Prepared, Seen, Stop};
use midwatch_remediation::executors::local::marker::{Marker, Markers};
use midwatch_remediation::executors::local::{Local, LocalSettings};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

struct Host {
    folder: TempDir,
}

impl Host {
    fn new() -> Host {
        let host = Host {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        for name in ["bin", "scripts", "data", "logrotate.d"] {
            fs::create_dir(host.path(name)).expect("a new folder");
        }
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().canonicalize().expect("it is there");
        folder.join(name)
    }

    /// A child writes it: a file that this process had open would be inherited
    /// by whatever another test starts meanwhile, and refused as busy.
    fn executable(&self, name: &str, text: &str) {
        let path = self.path(name);
        let written = Command::new("/bin/sh")
            .args(["-c", "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\""])
            .arg(&path)
            .arg(text)
            .status();
        assert!(written.expect("a shell").success(), "{}", path.display());
        set_mode(&path, 0o755);
    }

    fn local(&self, limit: Duration) -> Local {
        Local::new(LocalSettings {
            machine: "web-1".to_owned(),
            scripts: Some(self.path("scripts")),
            diagnostics: ["look".to_owned()].into(),
            allowed: None,
            units: None,
            roots: vec![self.path("data")],
            state: self.path("state"),
            programs: vec![self.path("bin"), PathBuf::from("/usr/bin")],
            logrotate: self.path("logrotate.d"),
            limit,
        })
    }

    fn hand(&self) -> Local {
        self.local(Duration::from_secs(20))
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("our file");
}

fn action(kind: ActionKind, arguments: &[(&str, &str)]) -> Execution {
    execution("key/1", Executor::Local, kind, arguments)
}

async fn act(hand: &Local, execution: &Execution) -> (Acted, Value) {
    match hand.check(execution).await {
        Ok(prepared) => (hand.act(execution, &prepared).await, prepared.observed),
        Err(Stop::No(reason)) => (Acted::Refused(reason), Value::Null),
        Err(other) => panic!("{other:?}"),
    }
}

async fn look(hand: &Local, execution: &Execution, observed: &Value) -> Seen {
    let acting = Acting {
        at_ms: 1,
        on: "web-1".to_owned(),
        observed: observed.clone(),
    };
    hand.look(execution, &acting).await
}

fn output(acted: &Acted) -> &str {
    match acted {
        Acted::Done { done, .. } => &done.output,
        Acted::Refused(text) | Acted::Unclear(text) => text,
        other => panic!("nothing that a host answers: {other:?}"),
    }
}

#[tokio::test]
async fn a_script_runs_by_its_exact_name_in_an_empty_environment() {
    let host = Host::new();
    host.executable("scripts/free-cache", "env | sort; echo \"args:$#\"; pwd");
    let hand = host.hand();
    let (acted, observed) = act(
        &hand,
        &action(
            ActionKind::RunScript,
            &[("script", "free-cache"), ("extra", "; id")],
        ),
    )
    .await;
    let Acted::Done {
        done,
        looked: false,
    } = &acted
    else {
        panic!("{acted:?}")
    };
    let mut names: Vec<&str> = done
        .output
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name)
        .collect();
    // The shell's own.
    names.retain(|name| !["PWD", "SHLVL", "_", "OLDPWD"].contains(name));
    assert_eq!(
        names,
        [
            "LANG",
            "MIDWATCH_ACTION_KEY",
            "MIDWATCH_ENVIRONMENT",
            "MIDWATCH_SERVICE",
            "PATH"
        ]
    );
    assert!(
        done.output.contains("args:0\n/\n") && done.output.contains("KEY=key/1"),
        "{}",
        done.output
    );
    let script = action(ActionKind::RunScript, &[("script", "free-cache")]);
    assert!(matches!(
        look(&hand, &script, &observed).await,
        Seen::Done(_)
    ));
}

#[tokio::test]
async fn scripts_and_paths_outside_what_is_allowed_do_not_run() {
    let host = Host::new();
    host.executable("scripts/good", "true");
    host.executable("outside", "touch \"$0.ran\"");
    host.executable("scripts/loose", "true");
    set_mode(&host.path("scripts/loose"), 0o777);
    fs::write(host.path("scripts/plain"), "true").expect("a file");
    symlink(host.path("outside"), host.path("scripts/link")).expect("a link");
    fs::create_dir_all(host.path("elsewhere/deep")).expect("a folder");
    symlink(host.path("elsewhere"), host.path("data/away")).expect("a link");
    let hand = host.hand();
    let data = host.path("data").to_string_lossy().into_owned();
    let run = |name: &str| action(ActionKind::RunScript, &[("script", name)]);
    let clear = |path: &str, days: &str| {
        action(
            ActionKind::ClearDiskPath,
            &[("path", path), ("older_than_days", days)],
        )
    };
    let cases = [
        run("../outside"),
        run("link"),
        run("loose"),
        run("plain"),
        run("absent"),
        run("good; id"),
        run(".."),
        run("-x"),
        run(""),
        run("/bin/true"),
        clear("/etc", "9"),
        clear(&format!("{data}/../elsewhere"), "9"),
        clear(&format!("{data}/away/deep"), "9"),
        clear(&data, "0"),
        clear(&data, "-1"),
        clear(&data, "1 -o -true"),
        clear("data", "9"),
        clear(&format!("{data}x"), "9"),
        action(ActionKind::RestartUnit, &[("unit", "--all.service")]),
        action(ActionKind::RestartUnit, &[("unit", "a;b.service")]),
        action(ActionKind::RotateLogs, &[("log", "../outside")]),
        action(ActionKind::RotateLogs, &[("journal_size", "1M;id")]),
        action(ActionKind::Scale, &[]),
        action(
            ActionKind::RunScript,
            &[("script", "good"), ("host", "web-2")],
        ),
    ];
    for execution in cases {
        let kind = execution.action.kind;
        let (acted, _) = act(&hand, &execution).await;
        assert!(
            matches!(acted, Acted::Refused(_)),
            "{kind:?} {:?} {acted:?}",
            execution.action.arguments
        );
    }
    assert!(!host.path("outside.ran").exists());
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed_with_what_it_started() {
    let host = Host::new();
    let pids = host.path("pids").to_string_lossy().into_owned();
    host.executable(
        "scripts/slow",
        &format!("sleep 600 & echo $! $$ > {pids}; echo begun; wait"),
    );
    let hand = host.local(Duration::from_secs(1));
    let script = action(ActionKind::RunScript, &[("script", "slow")]);
    let begun = Instant::now();
    let (acted, observed) = act(&hand, &script).await;
    assert!(
        matches!(&acted, Acted::Unclear(text) if text.contains("begun")),
        "{acted:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(15));
    for pid in host.text("pids").split_whitespace() {
        let deadline = Instant::now() + Duration::from_secs(5);
        // A zombie waits for whoever reaps it, and runs no more.
        let runs = || {
            fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
        };
        while runs() {
            assert!(Instant::now() < deadline, "{pid} still runs");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert!(matches!(
        look(&hand, &script, &observed).await,
        Seen::CannotTell(_)
    ));
}

#[tokio::test]
async fn much_output_is_bounded_and_a_failing_script_leaves_it_open() {
    let host = Host::new();
    host.executable(
        "scripts/loud",
        "yes midwatch | head -c 3000000; echo >&2 password=hunter2hunter2; exit 3",
    );
    let hand = host.hand();
    let script = action(ActionKind::RunScript, &[("script", "loud")]);
    let (acted, observed) = act(&hand, &script).await;
    assert!(matches!(acted, Acted::Unclear(_)), "{acted:?}");
    assert!(output(&acted).len() < 200_000 && output(&acted).starts_with("exit 3"));
    match look(&hand, &script, &observed).await {
        Seen::CannotTell(text) => assert!(!text.contains("hunter2") && text.len() < 6_000),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn marks_tell_begun_ended_and_never_begun_and_a_lost_folder_tells_nothing() {
    let host = Host::new();
    host.executable("scripts/good", "true");
    let hand = host.hand();
    let script = action(ActionKind::RunScript, &[("script", "good")]);
    let observed = hand.check(&script).await.expect("it may run").observed;
    assert_eq!(look(&hand, &script, &observed).await, Seen::NotDone);
    let markers = Markers::new(&host.path("state"));
    let begun = Marker {
        key: script.key.clone(),
        began_at_ms: 1,
        ended: None,
    };
    markers.put(&begun).expect("a mark");
    assert!(matches!(
        look(&hand, &script, &observed).await,
        Seen::CannotTell(_)
    ));
    fs::remove_dir_all(host.path("state")).expect("it was there");
    assert!(matches!(
        look(&hand, &script, &observed).await,
        Seen::CannotTell(_)
    ));
}

#[tokio::test]
async fn old_files_are_removed_and_young_ones_and_links_stay() {
    let host = Host::new();
    let hand = host.hand();
    let data = host.path("data").to_string_lossy().into_owned();
    fs::create_dir(host.path("data/sub")).expect("a folder");
    for name in ["data/old", "data/sub/old", "data/young"] {
        fs::write(host.path(name), "x").expect("a file");
    }
    fs::write(host.path("kept"), "x").expect("a file");
    symlink(host.path("kept"), host.path("data/link")).expect("a link");
    let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for name in ["data/old", "data/sub/old", "kept"] {
        let file = fs::File::options()
            .write(true)
            .open(host.path(name))
            .expect("it is there");
        file.set_modified(long_ago).expect("our file");
    }
    let clear = action(
        ActionKind::ClearDiskPath,
        &[("path", &data), ("older_than_days", "9"), ("host", "web-1")],
    );
    assert_eq!(look(&hand, &clear, &Value::Null).await, Seen::NotDone);
    let prepared = hand.check(&clear).await.expect("it may");
    assert!(
        prepared
            .description
            .ends_with(&format!("find {data} -xdev -type f -mtime +9 -delete")),
        "{}",
        prepared.description
    );
    assert!(host.path("data/old").exists(), "a check removed it");
    let (acted, observed) = act(&hand, &clear).await;
    assert!(matches!(acted, Acted::Done { .. }), "{acted:?}");
    let left = |name: &str| host.path(name).symlink_metadata().is_ok();
    assert!(!left("data/old") && !left("data/sub/old"));
    assert!(left("data/young") && left("data/link") && left("kept"));
    assert!(matches!(
        look(&hand, &clear, &observed).await,
        Seen::Done(_)
    ));
}

/// A systemctl that keeps a unit's state in a file.
fn systemctl(host: &Host, restart: &str) {
    let state = host.path("unit").to_string_lossy().into_owned();
    host.executable("bin/systemctl", &format!(
        "case \"$1 $2\" in\n'show nginx.service') cat {state};;\n'show '*) echo LoadState=not-found;;\n\
         'restart nginx.service') echo restart >> {state}.log; {restart};;\nesac"
    ));
}

fn unit(host: &Host, active: &str, start: &str, job: &str) -> String {
    let text = format!(
        "LoadState=loaded\nActiveState={active}\nInvocationID={start}\nStateChangeTimestampMonotonic={start}\n\
         ActiveEnterTimestampMonotonic={start}\nJob={job}\n"
    );
    fs::write(host.path("unit"), &text).expect("a file");
    text
}

#[tokio::test]
async fn a_unit_is_restarted_and_systemd_tells_whether_it_was() {
    let host = Host::new();
    unit(&host, "active", "100", "");
    let state = host.path("unit").to_string_lossy().into_owned();
    systemctl(&host, &format!("sed -i s/100/200/ {state}"));
    let hand = host.hand();
    let restart = action(ActionKind::RestartUnit, &[("unit", "nginx.service")]);
    let Prepared { observed, .. } = hand.check(&restart).await.expect("it is loaded");
    assert_eq!(observed["unit"]["InvocationID"], "100");
    assert_eq!(look(&hand, &restart, &observed).await, Seen::NotDone);
    let (acted, _) = act(&hand, &restart).await;
    assert!(matches!(acted, Acted::Done { .. }), "{acted:?}");
    assert_eq!(host.text("unit.log"), "restart\n");
    assert!(matches!(
        look(&hand, &restart, &observed).await,
        Seen::Done(_)
    ));
    for (active, start, job) in [("activating", "200", ""), ("active", "100", "77")] {
        unit(&host, active, start, job);
        assert!(
            matches!(look(&hand, &restart, &observed).await, Seen::Away(_)),
            "{active}"
        );
    }
    unit(&host, "failed", "200", "");
    assert!(matches!(
        look(&hand, &restart, &observed).await,
        Seen::CannotTell(_)
    ));
    let (acted, _) = act(
        &hand,
        &action(ActionKind::RestartUnit, &[("unit", "other.service")]),
    )
    .await;
    assert!(output(&acted).contains("not loaded"), "{acted:?}");
}

#[tokio::test]
async fn a_restart_that_systemd_refuses_changed_nothing() {
    let host = Host::new();
    unit(&host, "active", "100", "");
    systemctl(&host, "echo 'Access denied' >&2; exit 4");
    let (acted, _) = act(
        &host.hand(),
        &action(ActionKind::RestartUnit, &[("unit", "nginx.service")]),
    )
    .await;
    assert_eq!(acted, Acted::Refused("exit 4: Access denied\n".to_owned()));
}

#[tokio::test]
async fn logs_are_rotated_by_name_only() {
    let host = Host::new();
    let log = host.path("calls").to_string_lossy().into_owned();
    for name in ["logrotate", "journalctl"] {
        host.executable(
            &format!("bin/{name}"),
            &format!("echo {name} \"$@\" >> {log}"),
        );
    }
    fs::write(host.path("logrotate.d/nginx"), "").expect("a file");
    let hand = host.hand();
    for arguments in [("log", "nginx"), ("journal_size", "500M")] {
        let mut rotate = action(ActionKind::RotateLogs, &[arguments]);
        rotate.key.push_str(arguments.0);
        let (acted, observed) = act(&hand, &rotate).await;
        assert!(matches!(acted, Acted::Done { .. }), "{acted:?}");
        assert!(matches!(
            look(&hand, &rotate, &observed).await,
            Seen::Done(_)
        ));
        assert_eq!(
            look(
                &hand,
                &action(ActionKind::RotateLogs, &[arguments]),
                &json!({"state": observed["state"]})
            )
            .await,
            Seen::NotDone
        );
    }
    let settings = host
        .path("logrotate.d/nginx")
        .to_string_lossy()
        .into_owned();
    assert_eq!(
        host.text("calls"),
        format!("logrotate --force {settings}\njournalctl --vacuum-size=500M\n")
    );
}
