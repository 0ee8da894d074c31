//! From an incident to a file that is gone: the shipped runbooks, a list of what
//! is allowed, approvals, and a real command or a real request at the end.

use crate::fixtures::{
    AT, actions, command, core, finish, found, hear, jobs, phases, plan_for, published, rca,
};
use crate::support::database;
use crate::support::http::{Answering, Asked, Reply, serve};
use hmac::{Hmac, KeyInit as _, Mac as _};
use midwatch_clients::knowledge::RunbookHit;
use midwatch_events::action::{ActionKind, RiskClass};
use midwatch_events::{AnomalyType, Event, RcaCompleted};
use midwatch_knowledge::Knowledge;
use midwatch_remediation::allowed::Allowed;
use midwatch_remediation::decide::{Core, State};
use midwatch_remediation::execution::{EXECUTE, Execution, Outcome, OutcomeStatus, VERIFY};
use midwatch_remediation::executors::Executors;
use midwatch_remediation::policy::Mode;
use midwatch_runtime::config::Settings;
use midwatch_runtime::effect::{Effect, JobRequest};
use serde_json::{Value, json};
use sha2::Sha256;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

const SECRET: &str = "a secret of this test";

fn runbook(name: &str) -> Vec<RunbookHit> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../knowledge");
    let knowledge = Knowledge::load(&folder).expect("the committed knowledge is valid");
    let mut runbooks = knowledge.runbooks.into_iter();
    let runbook = runbooks
        .find(|one| one.name == name)
        .expect("it is shipped");
    let target = runbook.target.unwrap_or_default();
    let sections = runbook.sections.into_iter().map(|section| RunbookHit {
        causes: runbook.causes.clone(),
        runbook_id: name.to_owned(),
        section_title: section.title,
        text: section.text,
        score: 0.5,
        anomaly_types: Vec::new(),
        position: 0,
        steps: section.steps,
        target: target.clone(),
    });
    sections.collect()
}

/// A folder whose name may stand in an argument.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::Builder::new().prefix("midwatch").tempdir();
        Place {
            folder: folder.expect("a temporary folder"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().canonicalize().expect("it is there");
        folder.join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("our folder");
    }

    /// The list of what is allowed, read as the agent and its executors do.
    async fn connect(&self, allowed: &Value, more: &[(&str, String)]) -> (Core, Executors) {
        self.write("allowed.json", &allowed.to_string());
        let settings = [
            ("REMEDIATION_ALLOWED_FILE", self.text("allowed.json")),
            ("REMEDIATION_STATE_DIR", self.text("state")),
            ("HOST_NAME", "web-1".to_owned()),
        ];
        let settings = settings.into_iter().chain(more.iter().cloned());
        let settings = settings.map(|(name, value)| (name.to_owned(), value));
        let (postgres, _) = database("act_hosts").await;
        let executors = Executors::connect(&Settings::from_values(settings), postgres).await;
        let mut core = Core {
            allowed: Allowed::parse(&allowed.to_string()).expect("well formed"),
            ..core()
        };
        core.policy.mode = Mode::Live;
        (core, executors.expect("every setting can be used"))
    }
}

fn incident(service: &str, kind: AnomalyType, metric: &str, values: [f64; 2]) -> RcaCompleted {
    let mut rca = rca(service, kind, metric, values);
    rca.header.environment = "production".to_owned();
    rca
}

fn approve(core: &Core, state: &mut State, step: &str, who: &str) -> Vec<Effect> {
    let mut wish = command(state, "approve", step);
    who.clone_into(&mut wish.by);
    wish.credential_id = format!("sha256:{who}");
    hear(core, state, Event::Command(wish))
}

fn step_of(effects: &[Effect], kind: ActionKind) -> String {
    let plan = published(effects).expect("a plan");
    let mut steps = plan.action_steps.iter();
    let step = steps.find(|step| step.typed.as_ref().is_some_and(|one| one.kind == kind));
    let step = step.unwrap_or_else(|| panic!("no {} in {plan:#?}", kind.as_str()));
    step.step_id.clone()
}

fn only(effects: &[Effect]) -> JobRequest {
    let mut found = jobs(effects, EXECUTE);
    assert_eq!(found.len(), 1, "{:?}", phases(effects));
    found.remove(0)
}

async fn perform(executors: &Executors, job: &JobRequest) -> Outcome {
    let execution: Execution = serde_json::from_value(job.payload.clone()).expect("an execution");
    executors.execute(&execution).await.expect("it ends")
}

#[tokio::test]
async fn a_full_disk_is_looked_at_alone_and_cleared_after_two_approvals() {
    let place = Place::new();
    for folder in ["cache", "scripts"] {
        fs::create_dir(place.path(folder)).expect("our folder");
    }
    for name in ["cache/old.tmp", "cache/new.tmp"] {
        place.write(name, "x");
    }
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    let old = fs::File::options()
        .write(true)
        .open(place.path("cache/old.tmp"));
    old.expect("it is there")
        .set_modified(long_ago)
        .expect("our file");
    place.write(
        "scripts/disk-usage",
        "#!/bin/sh\necho largest: cache password=hunter2hunter2\n",
    );
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(place.path("scripts/disk-usage"), executable).expect("our file");
    let allowed = json!({"hosts": {"web-1": {
        "clearable_paths": [place.text("cache")], "diagnostics": ["disk-usage"]}}});
    let settings = [
        ("REMEDIATION_LOCAL", "1".to_owned()),
        ("REMEDIATION_SCRIPTS_DIR", place.text("scripts")),
    ];
    let (mut core, executors) = place.connect(&allowed, &settings).await;
    let looks = core.policy.classes.get_mut(&RiskClass::ReadOnly);
    looks.expect("it has a rule").approvals = 0;
    let metric = "host_disk_percent{mount=/}";
    let rca = incident("host/web-1", AnomalyType::Unknown, metric, [97.0, 60.0]);
    let mut state = State::default();
    let effects = plan_for(&core, &mut state, &rca, &found(runbook("host-disk-full")));
    let clear = step_of(&effects, ActionKind::ClearDiskPath);
    assert_eq!(
        step_of(&effects, ActionKind::RunDiagnostic),
        "S1",
        "the plan begins with it"
    );
    // Nobody approves a look; what it prints goes on record without its secrets.
    let look = only(&effects);
    let seen = perform(&executors, &look).await;
    assert_eq!(
        (seen.status, seen.rule.as_str()),
        (OutcomeStatus::Done, ""),
        "{}",
        seen.output
    );
    assert!(seen.output.contains("largest: cache"), "{}", seen.output);
    assert!(!seen.output.contains("hunter2"), "{}", seen.output);
    let effects = finish(&core, &mut state, look, Ok(json!(seen)));
    assert_eq!(jobs(&effects, VERIFY), [], "nothing was to change");
    assert_eq!(actions(&effects)[0].details.output, seen.output);
    assert_eq!(actions(&effects)[0].result, "looked; nothing was changed");
    // No limit counts a look: the action after it need not wait.
    assert_eq!(
        jobs(&approve(&core, &mut state, &clear, "maria"), EXECUTE),
        []
    );
    assert!(place.path("cache/old.tmp").exists());
    let job = only(&approve(&core, &mut state, &clear, "jan"));
    let done = perform(&executors, &job).await;
    assert_eq!(done.status, OutcomeStatus::Done, "{}", done.output);
    assert!(!place.path("cache/old.tmp").exists() && place.path("cache/new.tmp").exists());
    let effects = finish(&core, &mut state, job, Ok(json!(done)));
    assert_eq!(phases(&effects), ["outcome"]);
    let verify = jobs(&effects, VERIFY);
    assert_eq!(verify[0].payload["effect"]["metric"], metric);
}

#[tokio::test]
async fn a_webhook_of_the_list_is_called_signed_after_two_approvals() {
    let place = Place::new();
    let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
    let heard = Arc::clone(&asked);
    let url = serve(move |asked: Asked| -> Answering {
        heard.lock().expect("no panic").push(asked);
        Box::pin(async { Reply::json(200, &json!("switched")) })
    })
    .await;
    place.write("secret", &format!("{SECRET}\n"));
    let allowed = json!({
        "services": {"payment-service": {"hooks": ["fail-over"]}},
        "hooks": {"fail-over": {"url": format!("{url}/run"), "secret_file": place.text("secret")}}});
    let (core, executors) = place.connect(&allowed, &[]).await;
    let kind = AnomalyType::DependencyOutage;
    let rca = incident(
        "payment-service",
        kind,
        "service_error_rate_percent",
        [40.0, 0.5],
    );
    let mut state = State::default();
    let effects = plan_for(
        &core,
        &mut state,
        &rca,
        &found(runbook("dependency-outage")),
    );
    let step = step_of(&effects, ActionKind::CallWebhook);
    assert_eq!(
        jobs(&approve(&core, &mut state, &step, "maria"), EXECUTE),
        []
    );
    let job = only(&approve(&core, &mut state, &step, "jan"));
    let done = perform(&executors, &job).await;
    assert_eq!(done.status, OutcomeStatus::Done, "{}", done.output);
    let asked = asked.lock().expect("no panic");
    let [one] = asked.as_slice() else {
        panic!("{} requests", asked.len());
    };
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key");
    mac.update(one.headers["x-midwatch-timestamp"].as_bytes());
    mac.update(b".");
    mac.update(&one.body);
    let digits: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        one.headers["x-midwatch-signature"],
        format!("sha256={digits}")
    );
    let body: Value = serde_json::from_slice(&one.body).expect("JSON");
    assert_eq!((one.method.as_str(), one.path.as_str()), ("POST", "/run"));
    assert_eq!(body["action"]["kind"], "call_webhook");
    assert_eq!(body["action"]["arguments"]["hook"], "fail-over");
    assert_eq!(body["key"], one.headers["idempotency-key"].as_str());
}

#[tokio::test]
async fn what_no_list_names_is_neither_planned_nor_carried_out() {
    let place = Place::new();
    let (mut core, executors) = place
        .connect(&json!({}), &[("REMEDIATION_LOCAL", "1".to_owned())])
        .await;
    let metric = "host_disk_percent{mount=/}";
    let rca = incident("host/web-1", AnomalyType::Unknown, metric, [97.0, 60.0]);
    let plan = |core: &Core| {
        let found = found(runbook("host-disk-full"));
        core.draft(&State::default(), AT, &rca, &found)
    };
    let (planned, dropped) = plan(&core);
    assert!(
        planned.action_steps.iter().all(|step| step.typed.is_none()),
        "{planned:#?}"
    );
    let told = dropped.join("; ");
    assert!(
        told.contains("REMEDIATION_ALLOWED_FILE lists no path"),
        "{told}"
    );
    // The executor asks its own list, whatever a plan says.
    let other = json!({"hosts": {"web-1": {"units": ["nginx.service"], "scripts": ["x"],
        "diagnostics": ["y"], "clearable_paths": ["/var/cache/x"], "logs": ["nginx"]}}});
    core.allowed = Allowed::parse(&other.to_string()).expect("well formed");
    for (kind, arguments) in [
        (
            ActionKind::RestartUnit,
            json!({"host": "web-1", "unit": "nginx.service"}),
        ),
        (ActionKind::RunDiagnostic, json!({"diagnostic": "y"})),
        (
            ActionKind::ClearDiskPath,
            json!({"host": "web-1", "path": "/var/cache/x", "older_than_days": "7"}),
        ),
    ] {
        let (planned, _) = plan(&core);
        let mut typed = planned
            .action_steps
            .iter()
            .filter_map(|step| step.typed.clone());
        let mut action = *typed.next_back().expect("something is typed now");
        action.kind = kind;
        action.arguments = serde_json::from_value(arguments).expect("texts");
        let mut execution = crate::support::execution(kind.as_str(), action.executor, kind, &[]);
        execution.action = action;
        let outcome = executors.execute(&execution).await.expect("it ends");
        assert_eq!(outcome.status, OutcomeStatus::Failed, "{}", outcome.output);
        assert!(
            outcome.output.contains("REMEDIATION_ALLOWED_FILE"),
            "{}",
            outcome.output
        );
    }
}
