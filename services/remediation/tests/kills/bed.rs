//! What the killed processes act on, and who kills them.

use crate::Dice;
use crate::child::SECRET;
use crate::support::cluster::{Cluster, Stage, Watcher, deployment, pod};
use crate::support::http::{Answering, Asked, Reply, serve};
use crate::support::{database, execution};
use midwatch_clients::postgres::Postgres;
use midwatch_events::action::{ActionKind, Executor};
use midwatch_remediation::execution::{Execution, Outcome};
use midwatch_remediation::executors::webhook::signed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// How long the peers stay in each stage, so that a kill can fall into it.
const PAUSE: Duration = Duration::from_millis(25);
/// A child that takes longer hangs.
const CHILD_LIMIT: Duration = Duration::from_secs(90);

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Restart,
    Scale,
    Flag,
    Pod,
    Webhook,
    Script,
}

impl Kind {
    pub const ALL: [Kind; 6] = [
        Kind::Restart,
        Kind::Scale,
        Kind::Flag,
        Kind::Pod,
        Kind::Webhook,
        Kind::Script,
    ];

    /// Whether the world tells afterwards if it was done. Of a pod that is gone
    /// it does not tell who ended it.
    pub fn can_be_seen(self) -> bool {
        !matches!(self, Kind::Webhook | Kind::Script | Kind::Pod)
    }

    /// Whether the moment comes while this is done.
    pub fn has(self, moment: Moment) -> bool {
        match (self, moment) {
            (_, Moment::Acting | Moment::AnyTime) => true,
            (Kind::Script, _) => false,
            (Kind::Webhook, moment) => !matches!(moment, Moment::FirstRead | Moment::SecondRead),
            _ => true,
        }
    }
}

/// When a process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// The intent is written, and nothing else.
    FirstRead,
    /// The mark is written that the world may be touched.
    Acting,
    /// Right before it is touched.
    SecondRead,
    /// The request is there and not carried out.
    BeforeWrite,
    /// It is carried out, and there is no answer.
    AfterWrite,
    /// The answer goes out, and the outcome is not written.
    Answered,
    /// Some milliseconds after the start.
    AnyTime,
}

impl Moment {
    pub const ALL: [Moment; 7] = [
        Moment::FirstRead,
        Moment::AfterWrite,
        Moment::BeforeWrite,
        Moment::Answered,
        Moment::Acting,
        Moment::AnyTime,
        Moment::SecondRead,
    ];
}

/// The process that is to die, and how many stages before.
#[derive(Default)]
struct Target {
    pid: Option<Pid>,
    stage: Option<Stage>,
    /// Stages of this kind that are let pass.
    skip: usize,
}

impl Target {
    fn pass(&mut self, stage: Stage) {
        if self.stage != Some(stage) {
            return;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        self.stage = None;
        if let Some(pid) = self.pid.take() {
            // It may have ended by itself in this very moment.
            if let Err(error) = kill(pid, Signal::SIGKILL) {
                eprintln!("{pid} cannot be killed: {error}");
            }
        }
    }
}

pub struct Bed {
    cluster: Cluster,
    webhook: String,
    /// Keys that the webhook's receiver was asked to act on, each time.
    received: Arc<Mutex<Vec<String>>>,
    target: Arc<Mutex<Target>>,
    postgres: Postgres,
    database: String,
    folder: TempDir,
}

impl Bed {
    pub async fn new() -> Bed {
        let target: Arc<Mutex<Target>> = Arc::default();
        let of_watcher = Arc::clone(&target);
        let watcher: Watcher =
            Arc::new(move |stage, _| of_watcher.lock().expect("no panic").pass(stage));
        let cluster = Cluster::watched(Arc::clone(&watcher), PAUSE).await;
        let received: Arc<Mutex<Vec<String>>> = Arc::default();
        let webhook = receiver(Arc::clone(&received), watcher).await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        cluster.kubeconfig(folder.path());
        let scripts = folder.path().join("scripts");
        std::fs::create_dir(&scripts).expect("a new folder");
        let effects = folder.path().join("effects").to_string_lossy().into_owned();
        let script = format!(
            "#!/bin/sh\nsleep 0.03\necho \"$MIDWATCH_ACTION_KEY\" >> {effects}\nsleep 0.03\n"
        );
        let path = scripts.join("note");
        std::fs::write(&path, script).expect("a new file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("our file");
        let (postgres, database) = database("act_kills").await;
        Bed {
            cluster,
            webhook,
            received,
            target,
            postgres,
            database,
            folder,
        }
    }

    /// An action on objects of its own.
    pub fn action(&self, kind: Kind, name: &str) -> Execution {
        let workload = format!("app-{name}");
        let in_shop = [("namespace", "shop"), ("workload", workload.as_str())];
        let path = format!("/apis/apps/v1/namespaces/shop/deployments/{workload}");
        let (executor, action, arguments) = match kind {
            Kind::Restart => {
                self.cluster.put(&path, deployment());
                (
                    Executor::Kubernetes,
                    ActionKind::RestartRollout,
                    in_shop.to_vec(),
                )
            }
            Kind::Scale => {
                self.cluster.put(&path, deployment());
                let more = [("from_replicas", "3"), ("replicas", "6")];
                (
                    Executor::Kubernetes,
                    ActionKind::Scale,
                    [in_shop, more].concat(),
                )
            }
            Kind::Flag => {
                self.cluster.put(&path, deployment());
                let more = [("flag", "FAST"), ("value", "true")];
                (
                    Executor::Kubernetes,
                    ActionKind::ToggleFlag,
                    [in_shop, more].concat(),
                )
            }
            Kind::Pod => {
                let (path, object) = pod(&workload, &format!("kill-{name}"), "n1", "ReplicaSet");
                self.cluster.put(&path, object);
                let more = vec![("namespace", "shop"), ("pod", workload.as_str())];
                (Executor::Kubernetes, ActionKind::DeletePod, more)
            }
            Kind::Webhook => (Executor::Webhook, ActionKind::ToggleFlag, in_shop.to_vec()),
            Kind::Script => (
                Executor::Local,
                ActionKind::RunScript,
                vec![("script", "note")],
            ),
        };
        let mut execution = execution(&format!("kill-{name}"), executor, action, &arguments);
        execution.action.service = workload.clone();
        execution
    }

    /// Runs a process for the action and kills it at the moment; its outcome,
    /// where it came to one before.
    pub async fn run(
        &self,
        execution: &Execution,
        slot: &str,
        moment: Option<Moment>,
        dice: &mut Dice,
    ) -> Option<Outcome> {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .arg("child")
            .args([self.database.as_str(), slot])
            .arg(self.folder.path())
            .arg(&self.webhook)
            .arg(serde_json::to_string(execution).expect("JSON"))
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let child = command.spawn().expect("this program starts");
        let pid = Pid::from_raw(i32::try_from(child.id().expect("it runs")).expect("a pid"));
        self.aim(pid, moment);
        let watch = self.strike(pid, &execution.key, moment, dice.below(400));
        let ended = tokio::select! {
            ended = output(child) => ended,
            never = watch => match never {},
        };
        *self.target.lock().expect("no panic") = Target::default();
        let (status, text) = ended;
        if status.signal() == Some(Signal::SIGKILL as i32) {
            assert!(moment.is_some(), "somebody else killed it");
            return None;
        }
        assert!(status.success(), "{execution:?} failed: {status}");
        Some(serde_json::from_str(&text).expect("an outcome"))
    }

    fn aim(&self, pid: Pid, moment: Option<Moment>) {
        let (stage, skip) = match moment {
            Some(Moment::FirstRead) => (Some(Stage::Read), 0),
            Some(Moment::SecondRead) => (Some(Stage::Read), 1),
            Some(Moment::BeforeWrite) => (Some(Stage::BeforeWrite), 0),
            Some(Moment::AfterWrite) => (Some(Stage::AfterWrite), 0),
            Some(Moment::Answered) => (Some(Stage::Answered), 0),
            Some(Moment::Acting | Moment::AnyTime) | None => (None, 0),
        };
        *self.target.lock().expect("no panic") = Target {
            pid: Some(pid),
            stage,
            skip,
        };
    }

    /// Kills at a moment that no peer sees, and waits for ever.
    async fn strike(
        &self,
        pid: Pid,
        key: &str,
        moment: Option<Moment>,
        ms: u64,
    ) -> std::convert::Infallible {
        let strikes = match moment {
            Some(Moment::AnyTime) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                true
            }
            Some(Moment::Acting) => {
                while !self.is_acting(key).await {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                true
            }
            _ => false,
        };
        if strikes {
            kill(pid, Signal::SIGKILL).expect("our child, not yet reaped");
        }
        std::future::pending().await
    }

    async fn is_acting(&self, key: &str) -> bool {
        let query = "SELECT count(*) FROM executions WHERE key = $1 AND acting_at IS NOT NULL";
        let count: i64 = sqlx::query_scalar(query)
            .bind(key)
            .fetch_one(&self.postgres.pool)
            .await
            .expect("a count");
        count > 0
    }

    /// Intents without outcome.
    pub async fn open(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM executions WHERE phase = 'intent'")
            .fetch_one(&self.postgres.pool)
            .await
            .expect("a count")
    }

    /// How often an action took effect, once nothing of it is on its way any
    /// more.
    pub async fn effects(&self, kind: Kind, key: &str) -> usize {
        tokio::time::sleep(PAUSE * 6).await;
        match kind {
            Kind::Webhook => {
                let received = self.received.lock().expect("no panic");
                received.iter().filter(|found| *found == key).count()
            }
            Kind::Script => {
                let text = std::fs::read_to_string(self.folder.path().join("effects"));
                text.unwrap_or_default()
                    .lines()
                    .filter(|line| *line == key)
                    .count()
            }
            // The pod of an action has its key as uid.
            _ => self.cluster.effects_of(key),
        }
    }
}

async fn output(child: Child) -> (std::process::ExitStatus, String) {
    let output = tokio::time::timeout(CHILD_LIMIT, child.wait_with_output());
    let output = output.await.expect("it ends in time").expect("its output");
    (
        output.status,
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

/// A webhook's receiver that acts on every request, so that a second one would
/// show.
async fn receiver(received: Arc<Mutex<Vec<String>>>, watcher: Watcher) -> String {
    let url = serve(move |asked: Asked| -> Answering {
        let (received, watcher) = (Arc::clone(&received), Arc::clone(&watcher));
        Box::pin(async move {
            let body = String::from_utf8_lossy(&asked.body).into_owned();
            let expected = signed(SECRET, &asked.headers["x-midwatch-timestamp"], &body);
            if asked.headers["x-midwatch-signature"] != expected {
                return Reply::json(401, &json!("the signature is wrong"));
            }
            watcher(Stage::BeforeWrite, &asked);
            tokio::time::sleep(PAUSE).await;
            received
                .lock()
                .expect("no panic")
                .push(asked.headers["idempotency-key"].clone());
            watcher(Stage::AfterWrite, &asked);
            tokio::time::sleep(PAUSE).await;
            watcher(Stage::Answered, &asked);
            Reply::json(200, &json!({"ok": true}))
        })
    })
    .await;
    format!("{url}/hook")
}
