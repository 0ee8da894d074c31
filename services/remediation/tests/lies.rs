//! A model that lies about the order of steps, over a real HTTP endpoint: every
//! lie is caught and audited, and the plan keeps its own order.

mod fixtures;

use fixtures::{audits, core, finish, found, job, plan_for, published, typed_pool_runbook};
use midwatch_clients::llm::{LlmClient, LlmSettings, Spent};
use midwatch_events::{ActionStep, AnomalyType};
use midwatch_remediation::decide::{Core, Draft, ORDER, State};
use midwatch_remediation::shell::asked;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use uuid::Uuid;

/// What the scripted model makes up; see infrastructure/scripted-model/lies.py.
const MADE_UP: [&str; 5] = [
    "98765",
    "the ledger of the primary database is gone",
    "ledger-service",
    "drop_tables",
    "S99",
];

/// The lie, and what the audit trail says about it; empty where only the false
/// sentence is left out, and the order itself is none.
const LIES: [(&str, &str); 14] = [
    ("unknown-evidence", "a step \"S99\" that is not in the plan"),
    ("unknown-action", "names the action \"drop_tables\""),
    ("unknown-service", "names \"ledger-service\""),
    ("reversed-causality", "less urgent step before"),
    ("contradiction", "names step S1 twice"),
    ("endless-tools", "the plan has 3"),
    ("mixed", "it names"),
    ("wrong-types", ""),
    ("malformed", ""),
    ("empty", ""),
    ("rate-limited", ""),
    ("stall", ""),
    ("wrong-number", "says"),
    ("false-quotation", "says"),
];

async fn start(lie: &str) -> (Child, LlmClient) {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../infrastructure/scripted-model/serve.py"
    );
    let mut process = Command::new("python3")
        .args([script, "--bind", "127.0.0.1:0", "--lie", lie])
        .args(["--stall-seconds", "60"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("python3 is there");
    let mut lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
    let line = lines.next_line().await.expect("readable").expect("a line");
    let url = line.strip_prefix("listening ").expect("its address");
    let settings = LlmSettings::resolve(|name| (name == "LLM_BASE_URL").then(|| url.to_owned()));
    let settings = LlmSettings {
        timeout_ms: 2_000,
        max_seconds_per_incident: 4,
        ..settings.expect("a good address").expect("a model")
    };
    (process, LlmClient::new(settings).expect("a client"))
}

/// The steps of the plan that came of it, and what was audited as refused.
async fn told(lie: &str) -> (Vec<ActionStep>, Option<String>) {
    let core = Core {
        has_model: true,
        ..core()
    };
    let mut state = State::default();
    let rca = fixtures::rca(
        "payment-service",
        AnomalyType::DbConnectionExhaustion,
        "service_db_connections",
        [100.0, 30.25],
    );
    let request = job(&plan_for(
        &core,
        &mut state,
        &rca,
        &found(typed_pool_runbook()),
    ));
    let request = request
        .filter(|job| job.kind == ORDER)
        .expect("the model is asked");
    let draft: Draft = serde_json::from_value(request.payload.clone()).expect("a draft");
    let (_process, model) = start(lie).await;
    let advice = asked(&model, Uuid::from_u128(5), &draft, Spent::default()).await;
    let advice = serde_json::to_value(advice).expect("encodes");
    let effects = finish(&core, &mut state, request, Ok(advice));
    let refused = audits(&effects)
        .into_iter()
        .find(|(kind, _)| *kind == "MODEL_ADVICE_REFUSED")
        .map(|(_, summary)| summary.to_owned());
    let plan = published(&effects).expect("there is a plan in any case");
    (plan.action_steps.clone(), refused)
}

#[tokio::test]
async fn every_lie_is_audited_and_the_deterministic_order_stands() {
    let (honest, refused) = told("none").await;
    assert_eq!(refused, None, "an honest order is taken");
    let plain: Vec<(String, String)> = own_order();
    let order = |steps: &[ActionStep]| {
        let steps = steps.iter();
        steps
            .map(|step| (step.step_id.clone(), step.action.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(order(&honest), plain);
    for (lie, audited) in LIES {
        let (steps, refused) = told(lie).await;
        assert_eq!(order(&steps), plain, "{lie}");
        let text = serde_json::to_string(&steps).expect("encodes");
        for made_up in MADE_UP {
            assert!(!text.contains(made_up), "{lie}: {made_up} in {text}");
        }
        let refused = refused.unwrap_or_else(|| panic!("{lie} is not audited"));
        assert!(
            refused.starts_with("The ") && refused.contains(audited),
            "{lie}: {refused}"
        );
    }
}

/// The order without a model.
fn own_order() -> Vec<(String, String)> {
    let rca = fixtures::connections();
    let found = found(typed_pool_runbook());
    let effects = plan_for(&core(), &mut State::default(), &rca, &found);
    let plan = published(&effects).expect("a plan");
    let steps = plan.action_steps.iter();
    steps
        .map(|step| (step.step_id.clone(), step.action.clone()))
        .collect()
}
