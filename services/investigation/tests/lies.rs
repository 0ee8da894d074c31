//! A model that lies: over a real HTTP endpoint, through the real loop and the real decisions.
//! Every lie is caught and named, none is published, and the incident is answered in time.

#[path = "lies/case.rs"]
mod case;
#[path = "lies/tools.rs"]
mod tools;

use case::{Outcome, investigate};
use midwatch_clients::llm::{LlmCall, LlmClient, LlmSettings, Price, ToolMode};
use midwatch_events::incident::RcaCompleted;
use midwatch_investigation::config::Config;
use midwatch_runtime::Effect;
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// What the scripted model makes up; see infrastructure/scripted-model/lies.py.
const MADE_UP: [&str; 5] = [
    "98765",
    "the ledger of the primary database is gone",
    "ledger-service",
    "does-not-exist",
    "00000000-0000-4000-8000-000000000000",
];
/// The budget of seconds of an incident in these tests.
const SECONDS: u64 = 4;

async fn start(lie: &str, mode: ToolMode) -> (Child, LlmClient) {
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
    let url = line
        .strip_prefix("listening ")
        .expect("its address")
        .to_owned();
    let settings = LlmSettings::resolve(|name| (name == "LLM_BASE_URL").then(|| url.clone()));
    let settings = LlmSettings {
        tool_mode: mode,
        max_seconds_per_incident: SECONDS,
        ..settings.expect("a good address").expect("a model")
    };
    (process, LlmClient::new(settings).expect("a client"))
}

async fn told(lie: &str, mode: ToolMode) -> (Outcome, Duration) {
    let (_process, llm) = start(lie, mode).await;
    let begun = Instant::now();
    let outcome = investigate(Some(&llm), Config::default().max_rounds).await;
    (outcome, begun.elapsed())
}

/// What people read of an answer: all of it but the list of what was dropped.
fn published(rca: &RcaCompleted) -> String {
    let mut rca = json!(rca);
    for field in ["rejected_claims", "degradations"] {
        rca.as_object_mut().expect("an object").remove(field);
    }
    rca.to_string()
}

/// The audit lines about the model, summaries and payloads.
fn audit(outcome: &Outcome) -> String {
    let lines = outcome.effects.iter().filter_map(|effect| match effect {
        Effect::Audit(line) if line.event_type.starts_with("MODEL_") => {
            Some(format!("{} {}", line.summary, line.payload))
        }
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A lie, what the audit trail says of it, and whether the rest of the answer may be taken.
const LIES: [(&str, &str); 12] = [
    (
        "unknown-evidence",
        "no such record was returned in this investigation",
    ),
    ("wrong-number", "the number 98765 stands in no cited record"),
    (
        "false-quotation",
        "the ledger of the primary database is gone",
    ),
    (
        "reversed-causality",
        "began 20 s after the symptom and cannot be its cause",
    ),
    (
        "unknown-service",
        "neither in the topology nor in the incident",
    ),
    ("malformed", "the arguments are not valid JSON"),
    ("wrong-types", "top_hypothesis is no text"),
    (
        "contradiction",
        "the first candidate listed is payment-service",
    ),
    ("endless-tools", "no submission in 8 rounds"),
    ("stall", "the model did not answer within"),
    ("rate-limited", "the model endpoint limits the rate"),
    ("empty", "3 replies in a row cannot be used"),
];

async fn check(lie: &str, told_of_it: &str, mode: ToolMode, honest: &RcaCompleted) {
    let (outcome, took) = told(lie, mode).await;
    let rca = &outcome.rca;
    let audit = audit(&outcome);
    assert!(audit.contains(told_of_it), "{lie}: {audit}");
    assert!(
        !rca.rejected_claims.is_empty() || !rca.degradations.is_empty(),
        "{lie}: the answer says what was dropped"
    );
    assert_eq!(
        rca.root_cause_candidates, honest.root_cause_candidates,
        "{lie}: order, words, evidence and confidences are ours"
    );
    assert_eq!(rca.top_root_cause, honest.top_root_cause, "{lie}");
    let published = published(rca);
    for made_up in MADE_UP {
        assert!(
            !published.contains(made_up),
            "{lie}: {made_up} is published"
        );
    }
    let calls = outcome.model_calls();
    assert!(
        !calls.is_empty() && calls.len() <= 8,
        "{lie}: {} calls",
        calls.len()
    );
    let limit = Duration::from_secs(SECONDS + 4);
    assert!(took < limit, "{lie} took {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_lie_is_published_and_every_one_is_named() {
    let honest = investigate(None, 8).await.rca;
    for (lie, told_of_it) in LIES {
        check(lie, told_of_it, ToolMode::Native, &honest).await;
    }
    for (lie, told_of_it) in LIES.into_iter().take(5) {
        check(lie, told_of_it, ToolMode::Schema, &honest).await;
    }
}

#[tokio::test]
async fn of_many_lies_at_once_each_is_listed() {
    let honest = investigate(None, 8).await.rca;
    check("mixed", "ledger-service", ToolMode::Native, &honest).await;
    let (outcome, _) = told("mixed", ToolMode::Native).await;
    let listed = json!(outcome.rca.rejected_claims).to_string();
    for told_of_it in [
        "evidence metric:does-not-exist:1",
        "candidate ledger-service",
        "the number 98765 stands in no cited record",
        "cannot be its cause",
        "it is listed twice",
        "98765 users cannot pay.",
        "the cause comes",
    ] {
        assert!(listed.contains(told_of_it), "{told_of_it}: {listed}");
    }
}

#[tokio::test]
async fn a_model_that_tells_the_truth_is_believed() {
    let honest = investigate(None, 8).await.rca;
    for mode in [ToolMode::Native, ToolMode::Schema] {
        let (outcome, _) = told("truthful", mode).await;
        let rca = &outcome.rca;
        assert_eq!(rca.rejected_claims, [], "{mode:?}");
        assert_eq!(rca.method, "default");
        let top = &rca.root_cause_candidates[0];
        assert_eq!(top.service, honest.root_cause_candidates[0].service);
        assert!(
            top.hypothesis.contains("is where it began: service_"),
            "{}",
            top.hypothesis
        );
        assert_eq!(top.confidence, honest.root_cause_candidates[0].confidence);
        assert!(audit(&outcome).contains("checked against the records and holds"));
        // Every call is recorded with what was sent and what came back.
        for call in outcome.model_calls() {
            assert_eq!(call.outcome, "ok");
            assert!(call.prompt_tokens > 0 && call.completion_tokens > 0);
            let messages = call.prompt["messages"].as_array().map_or(0, Vec::len);
            assert!(messages >= 2 && call.reply.is_some());
        }
    }
}

#[tokio::test]
async fn a_budget_that_is_used_up_ends_the_loop_and_is_named() {
    let honest = investigate(None, 8).await.rca;
    for (tokens, cost_usd, name) in [
        (9_000, 1.0, "LLM_MAX_TOKENS_PER_INCIDENT"),
        (1_000_000, 0.06, "LLM_MAX_COST_USD_PER_INCIDENT"),
    ] {
        let (_process, llm) = start("endless-tools", ToolMode::Native).await;
        let price = Price {
            input_usd_per_million: 5.0,
            output_usd_per_million: 5.0,
        };
        let settings = LlmSettings {
            max_tokens_per_incident: tokens,
            max_cost_usd_per_incident: cost_usd,
            prices: [("default".to_owned(), price)].into(),
            ..llm.settings().clone()
        };
        let llm = LlmClient::new(settings).expect("a client");
        let outcome = investigate(Some(&llm), 12).await;
        let told = outcome.rca.degradations.join(" ");
        assert!(told.contains(name), "{name}: {told}");
        assert!(audit(&outcome).contains(name), "{name}");
        let calls = outcome.model_calls();
        let outcomes: Vec<&str> = calls.iter().map(|call| call.outcome.as_str()).collect();
        let (last, before) = outcomes.split_last().expect("a call");
        assert_eq!(*last, "budget", "{outcomes:?}");
        assert!(!before.is_empty() && before.iter().all(|one| *one == "ok"));
        assert_eq!(
            outcome.rca.root_cause_candidates,
            honest.root_cause_candidates
        );
    }
}

#[tokio::test]
async fn a_call_that_was_answered_is_answered_the_same_and_said_to_be_known() {
    let (_process, llm) = start("endless-tools", ToolMode::Native).await;
    let outcome = investigate(Some(&llm), 3).await;
    let [first, second, third] = outcome.model_calls()[..] else {
        panic!("three calls");
    };
    let known = |call: &LlmCall| {
        let prompt = call.prompt.to_string();
        prompt.matches("You made this call before").count()
    };
    assert_eq!([first, second, third].map(known), [0, 0, 1]);
}

#[tokio::test]
async fn fewer_rounds_end_sooner_and_say_so() {
    let (_process, llm) = start("endless-tools", ToolMode::Native).await;
    let outcome = investigate(Some(&llm), 2).await;
    assert_eq!(outcome.model_calls().len(), 2);
    assert!(audit(&outcome).contains("no submission in 2 rounds"));
    let refused: Vec<Value> = outcome
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Audit(line) => line.payload.get("refused_calls").cloned(),
            _ => None,
        })
        .collect();
    let refused = json!(refused).to_string();
    assert!(
        refused.contains("there is no tool named drop_tables"),
        "{refused}"
    );
    assert!(refused.contains("$.verbose is not allowed"), "{refused}");
}
