//! Commands on this machine, of a fixed list, without a shell.
//!
//! | kind | command |
//! |---|---|
//! | `restart_unit` | `systemctl restart UNIT` |
//! | `rotate_logs` | `logrotate --force /etc/logrotate.d/LOG`, or `journalctl --vacuum-size=SIZE` |
//! | `clear_disk_path` | `find PATH -xdev -type f -mtime +DAYS -delete`, below REMEDIATION_DISK_ROOTS |
//! | `run_script` | a file of REMEDIATION_SCRIPTS_DIR, by its exact name |
//! | `run_diagnostic` | the same, of those that are listed as only looking |

pub mod marker;
pub mod run;

use super::hand::{Acted, Acting, Done, Hand, Prepared, Seen, Stop, argument, optional};
use crate::allowed::{Allowed, Lists};
use crate::execution::Execution;
use crate::steps::host_of;
use async_trait::async_trait;
use marker::{EndedRun, Marker, Markers};
use midwatch_events::action::ActionKind;
use midwatch_runtime::clock;
use run::{Line, Ran, run};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// Questions to systemd and find.
const QUESTION_LIMIT: Duration = Duration::from_secs(8);

/// Where things are on this machine.
#[derive(Clone, Debug)]
pub struct LocalSettings {
    /// What the argument `host` must be.
    pub machine: String,
    /// Folder of runbook scripts; without it there are none.
    pub scripts: Option<PathBuf>,
    /// Scripts among them that only look.
    pub diagnostics: BTreeSet<String>,
    /// What this host and the services list; absent where only the folders and
    /// the names above bound what runs.
    pub allowed: Option<Allowed>,
    /// Folders below which old files may be removed.
    pub roots: Vec<PathBuf>,
    /// Units that may be restarted; absent for any that is loaded.
    pub units: Option<BTreeSet<String>>,
    /// Folder of marks, which must outlive this process.
    pub state: PathBuf,
    /// Folders of the programs.
    pub programs: Vec<PathBuf>,
    /// Folder of logrotate's settings.
    pub logrotate: PathBuf,
    /// How long a command may take.
    pub limit: Duration,
}

impl Default for LocalSettings {
    fn default() -> Self {
        let programs = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];
        LocalSettings {
            machine: String::new(),
            scripts: None,
            diagnostics: BTreeSet::new(),
            allowed: None,
            roots: Vec::new(),
            units: None,
            state: PathBuf::from("/var/lib/midwatch/actions"),
            programs: programs.iter().map(PathBuf::from).collect(),
            logrotate: PathBuf::from("/etc/logrotate.d"),
            limit: Duration::from_secs(80),
        }
    }
}

/// Runs commands on this machine.
pub struct Local {
    settings: LocalSettings,
    markers: Markers,
}

impl Local {
    /// Runs commands as `settings` allow.
    #[must_use]
    pub fn new(settings: LocalSettings) -> Local {
        let markers = Markers::new(&settings.state);
        Local { settings, markers }
    }

    /// Whether this host, or the service that is acted on, lists a name.
    ///
    /// # Errors
    /// Neither does.
    fn listed(
        &self,
        execution: &Execution,
        (what, name): (&str, &str),
        list: fn(&Lists) -> &[String],
    ) -> Result<(), String> {
        let Some(allowed) = &self.settings.allowed else {
            return Ok(());
        };
        let host = format!("host/{}", self.settings.machine);
        let names = [host.as_str(), &execution.action.service];
        let is_listed = names.iter().any(|of| {
            let lists = allowed.of(of);
            list(&lists).iter().any(|one| one == name)
        });
        is_listed.then_some(()).ok_or_else(|| {
            format!(
                "{name} is on no list of {what} of {host} or {} in REMEDIATION_ALLOWED_FILE",
                execution.action.service
            )
        })
    }

    /// The command of an action, where its arguments are allowed.
    fn line(&self, execution: &Execution) -> Result<Line, String> {
        let host = optional(execution, "host").or_else(|| host_of(&execution.action.service));
        if let Some(host) = host
            && host != self.settings.machine
        {
            return Err(format!(
                "this host is {}, not {host}",
                self.settings.machine
            ));
        }
        match execution.action.kind {
            ActionKind::RestartUnit => {
                self.command("systemctl", &["restart", self.unit(execution)?])
            }
            ActionKind::RotateLogs => self.rotation(execution),
            ActionKind::ClearDiskPath => {
                let mut words = self.old_files(execution)?;
                words.push("-delete".to_owned());
                self.command(
                    "find",
                    &words.iter().map(String::as_str).collect::<Vec<_>>(),
                )
            }
            ActionKind::RunScript => self.script(execution, "script"),
            ActionKind::RunDiagnostic => {
                let name = argument(execution, "diagnostic")?;
                if !self.settings.diagnostics.contains(name) {
                    return Err(format!(
                        "{name} is on no list of diagnostics in REMEDIATION_ALLOWED_FILE"
                    ));
                }
                self.script(execution, "diagnostic")
            }
            other => Err(format!("{} is no command of this machine", other.as_str())),
        }
    }

    fn command(&self, name: &str, arguments: &[&str]) -> Result<Line, String> {
        let found = self
            .settings
            .programs
            .iter()
            .map(|folder| folder.join(name));
        let program = found
            .into_iter()
            .find(|path| path.is_file())
            .ok_or_else(|| format!("{name} is not installed here"))?;
        Ok(Line {
            program,
            arguments: arguments.iter().map(|&one| one.to_owned()).collect(),
            environment: Vec::new(),
        })
    }

    fn rotation(&self, execution: &Execution) -> Result<Line, String> {
        if let Some(size) = optional(execution, "journal_size") {
            let (number, unit) = size.split_at(size.len().saturating_sub(1));
            if number.parse::<u32>().is_err() || !["M", "G"].contains(&unit) {
                return Err(format!("journal_size {size:?} is no size such as 500M"));
            }
            return self.command("journalctl", &[&format!("--vacuum-size={size}")]);
        }
        let log = argument(execution, "log")?;
        if !is_file_name(log) {
            return Err(format!("log {log:?} is no file name"));
        }
        self.listed(execution, ("logs", log), |lists| &lists.logs)?;
        let path = self.settings.logrotate.join(log);
        if !path.symlink_metadata().is_ok_and(|found| found.is_file()) {
            return Err(format!("{} is no file", path.display()));
        }
        self.command("logrotate", &["--force", &path.to_string_lossy()])
    }

    /// The arguments by which find names the files that are old enough.
    fn old_files(&self, execution: &Execution) -> Result<Vec<String>, String> {
        let given = argument(execution, "path")?;
        let path = Path::new(given);
        let is_plain = path.is_absolute()
            && path
                .components()
                .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        if !is_plain
            || !self
                .settings
                .roots
                .iter()
                .any(|root| path.starts_with(root))
        {
            return Err(format!(
                "{given} is not below a folder of REMEDIATION_DISK_ROOTS or of the clearable_paths \
                 of REMEDIATION_ALLOWED_FILE"
            ));
        }
        let real = path
            .canonicalize()
            .map_err(|error| format!("{given}: {error}"))?;
        if real != path || !real.is_dir() {
            return Err(format!("{given} is no folder, or a link leads there"));
        }
        let days = argument(execution, "older_than_days")?;
        let count: u32 = days
            .parse()
            .map_err(|_| format!("older_than_days {days:?} is no number"))?;
        if count == 0 {
            return Err("older_than_days must be at least 1".to_owned());
        }
        Ok(
            [given, "-xdev", "-type", "f", "-mtime", &format!("+{count}")]
                .map(str::to_owned)
                .to_vec(),
        )
    }

    fn script(&self, execution: &Execution, argument_name: &str) -> Result<Line, String> {
        let folder = self.settings.scripts.as_ref();
        let folder = folder.ok_or("no folder of scripts is set: REMEDIATION_SCRIPTS_DIR")?;
        let name = argument(execution, argument_name)?;
        let listed = self.settings.diagnostics.contains(name);
        if listed && execution.action.kind == ActionKind::RunScript {
            return Err(format!("{name} is listed as a diagnostic, not as a script"));
        }
        if !is_file_name(name) {
            return Err(format!("script {name:?} is no file name"));
        }
        if execution.action.kind == ActionKind::RunScript {
            self.listed(execution, ("scripts", name), |lists| &lists.scripts)?;
        } else {
            self.listed(execution, ("diagnostics", name), |lists| &lists.diagnostics)?;
        }
        let program = folder.join(name);
        let found = program
            .symlink_metadata()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let mode = found.permissions().mode();
        if !found.is_file() || mode & 0o100 == 0 {
            return Err(format!("{} is no executable file", program.display()));
        }
        if mode & 0o022 != 0 {
            return Err(format!(
                "{} can be changed by others than its owner",
                program.display()
            ));
        }
        let told = [
            ("MIDWATCH_ACTION_KEY", execution.key.as_str()),
            ("MIDWATCH_SERVICE", &execution.action.service),
            ("MIDWATCH_ENVIRONMENT", &execution.environment),
        ];
        Ok(Line {
            program,
            arguments: Vec::new(),
            environment: told
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
        })
    }

    /// The unit, where it may be restarted.
    fn unit<'a>(&self, execution: &'a Execution) -> Result<&'a str, String> {
        let unit = unit(execution)?;
        let is_listed = |units: &BTreeSet<String>| units.contains(unit);
        if self.settings.units.as_ref().is_none_or(is_listed) {
            return Ok(unit);
        }
        Err(format!(
            "{unit} is on no list of units of this host in REMEDIATION_ALLOWED_FILE"
        ))
    }

    /// What systemd says of a unit.
    async fn unit_state(&self, unit: &str) -> Result<BTreeMap<String, String>, String> {
        const NAMES: &str = "LoadState,ActiveState,InvocationID,StateChangeTimestampMonotonic,\
                             ActiveEnterTimestampMonotonic,Job";
        let property = format!("--property={NAMES}");
        let line = self.command("systemctl", &["show", unit, &property])?;
        match run(&line, QUESTION_LIMIT).await {
            Ran::Ended {
                code: Some(0),
                output,
            } => Ok(output
                .lines()
                .filter_map(|line| line.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect()),
            other => Err(format!(
                "systemctl does not tell about {unit}: {}",
                words(&other)
            )),
        }
    }

    /// Whether a unit was started since it was as `before`.
    async fn look_unit(&self, unit: &str, before: &Value) -> Seen {
        let now = match self.unit_state(unit).await {
            Ok(now) => now,
            Err(reason) => return Seen::Away(reason),
        };
        let same = |name: &str| before[name].as_str() == now.get(name).map(String::as_str);
        let state = now.get("ActiveState").map_or("", String::as_str);
        let has_job = now
            .get("Job")
            .is_some_and(|job| !job.is_empty() && job != "0");
        if has_job || matches!(state, "activating" | "deactivating" | "reloading") {
            return Seen::Away(format!(
                "{unit} is {state}, and systemd is still at work on it"
            ));
        }
        let is_new_start = !same("InvocationID") && !same("ActiveEnterTimestampMonotonic");
        if state == "active" && is_new_start {
            return Seen::Done(Done {
                output: format!("{unit} has started since"),
                at_ms: None,
            });
        }
        if same("InvocationID") && same("StateChangeTimestampMonotonic") && same("ActiveState") {
            return Seen::NotDone;
        }
        Seen::CannotTell(format!("{unit} is {state}, and has changed since"))
    }

    async fn look_files(&self, execution: &Execution) -> Seen {
        let line = self.old_files(execution).and_then(|mut words| {
            words.extend(["-print", "-quit"].map(str::to_owned));
            self.command(
                "find",
                &words.iter().map(String::as_str).collect::<Vec<_>>(),
            )
        });
        let line = match line {
            Ok(line) => line,
            Err(reason) => return Seen::CannotTell(reason),
        };
        match run(&line, QUESTION_LIMIT).await {
            Ran::Ended {
                code: Some(0),
                output,
            } if output.is_empty() => Seen::Done(Done {
                output: "no file there is older".to_owned(),
                at_ms: None,
            }),
            // Going on removes what is left, and nothing twice.
            Ran::Ended { code: Some(0), .. } => Seen::NotDone,
            other => Seen::CannotTell(words(&other)),
        }
    }

    fn look_marker(&self, key: &str, acting: &Acting) -> Seen {
        let id = match self.markers.id() {
            Ok(id) => id,
            Err(reason) => return Seen::CannotTell(reason),
        };
        match self.markers.get(key) {
            Err(reason) => Seen::CannotTell(reason),
            Ok(None) if acting.observed["state"] == json!(id) => Seen::NotDone,
            Ok(None) => Seen::CannotTell("the marks of that time are lost".to_owned()),
            Ok(Some(Marker {
                ended: Some(ended), ..
            })) if ended.code == Some(0) => Seen::Done(Done {
                output: ended.output,
                at_ms: Some(ended.at_ms),
            }),
            Ok(Some(Marker {
                ended: Some(ended), ..
            })) => Seen::CannotTell(format!("it ended with {:?}: {}", ended.code, ended.output)),
            Ok(Some(_)) => Seen::CannotTell("it was begun, and how it ended is lost".to_owned()),
        }
    }
}

fn unit(execution: &Execution) -> Result<&str, String> {
    let unit = argument(execution, "unit")?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"@._:-".contains(&byte);
    if unit.starts_with('-') || !unit.bytes().all(legal) || !unit.contains('.') {
        return Err(format!("unit {unit:?} is no unit such as nginx.service"));
    }
    Ok(unit)
}

/// A name that leads nowhere but into its folder.
fn is_file_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.starts_with(['.', '-']) && name.bytes().all(legal)
}

fn words(ran: &Ran) -> String {
    match ran {
        Ran::Ended { code, output } => match code {
            Some(code) => format!("exit {code}: {output}"),
            None => format!("ended by a signal: {output}"),
        },
        Ran::TimedOut { output } => format!("killed at its time limit: {output}"),
        Ran::NotStarted(reason) => reason.clone(),
    }
}

#[async_trait]
impl Hand for Local {
    fn is_bound_to_its_machine(&self) -> bool {
        true
    }

    async fn check(&self, execution: &Execution) -> Result<Prepared, Stop> {
        let line = self.line(execution).map_err(Stop::No)?;
        let mut observed = json!({"state": self.markers.id().map_err(Stop::No)?});
        if execution.action.kind == ActionKind::RestartUnit {
            let unit = unit(execution).map_err(Stop::No)?;
            let state = self.unit_state(unit).await.map_err(Stop::No)?;
            if state.get("LoadState").map(String::as_str) != Some("loaded") {
                return Err(Stop::No(format!("{unit} is not loaded")));
            }
            observed["unit"] = json!(state);
        }
        Ok(Prepared {
            description: format!("run {}", line.words()),
            observed,
        })
    }

    async fn act(&self, execution: &Execution, prepared: &Prepared) -> Acted {
        let line = match self.line(execution) {
            Ok(line) => line,
            Err(reason) => return Acted::Refused(reason),
        };
        let mut marker = Marker {
            key: execution.key.clone(),
            began_at_ms: clock::now_ms(),
            ended: None,
        };
        if let Err(reason) = self.markers.put(&marker) {
            return Acted::Refused(reason);
        }
        let ran = run(&line, self.settings.limit).await;
        let said = words(&ran);
        let (code, output) = match ran {
            Ran::NotStarted(reason) => return Acted::Refused(reason),
            Ran::TimedOut { .. } => (None, said.clone()),
            Ran::Ended { code, output } => (code, output),
        };
        marker.ended = Some(EndedRun {
            at_ms: clock::now_ms(),
            code,
            output: super::hand::tidy(&output),
        });
        if let Err(error) = self.markers.put(&marker) {
            tracing::warn!(error, "how a command ended is not marked on this machine");
        }
        if code == Some(0) {
            return Acted::done(format!("{}\n{output}", line.words()));
        }
        if execution.action.kind == ActionKind::RestartUnit {
            let unit = execution
                .action
                .arguments
                .get("unit")
                .map_or("", String::as_str);
            return match self.look_unit(unit, &prepared.observed["unit"]).await {
                Seen::NotDone => Acted::Refused(said),
                _ => Acted::Unclear(said),
            };
        }
        // Nobody knows what it did before it failed.
        Acted::Unclear(said)
    }

    async fn look(&self, execution: &Execution, acting: &Acting) -> Seen {
        match execution.action.kind {
            ActionKind::RestartUnit => match unit(execution) {
                Ok(unit) => self.look_unit(unit, &acting.observed["unit"]).await,
                Err(reason) => Seen::CannotTell(reason),
            },
            ActionKind::ClearDiskPath => self.look_files(execution).await,
            _ => self.look_marker(&execution.key, acting),
        }
    }
}
