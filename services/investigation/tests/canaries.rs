//! Secrets planted in what is watched: none leaves the process on the way to a model, and none is
//! kept in what is recorded about it.

#[path = "fixture/endpoint.rs"]
mod endpoint;
#[path = "fixture/story.rs"]
mod story;

use endpoint::{Endpoint, Reply, Round, submission};
use midwatch_clients::llm::redact::Vault;
use midwatch_clients::llm::{LlmCall, LlmRequest, Spent, Tier, ToolMode, fence};
use midwatch_runtime::Effect;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use story::{Planted, investigate};
use uuid::Uuid;

#[derive(Debug, Deserialize)]
struct Canary {
    format: String,
    /// What must not be found anywhere: the secret, its parts, its other notations.
    canary: Vec<String>,
    line: String,
}

fn corpus() -> Vec<Canary> {
    let lines = include_str!("corpora/canaries.jsonl").lines();
    lines
        .map(|line| serde_json::from_str(line).expect("the corpus is JSON Lines"))
        .collect()
}

/// Repeats whatever it reads, in its words and in its arguments.
fn repeat(round: &Round) -> Reply {
    let text = round.all_text();
    if round.said.len() == 1 && !round.by_schema {
        let words = text.chars().take(250).collect::<String>();
        let look = |field: &str| ("search_logs".to_owned(), json!({field: words}));
        // The first is looked up, the others are refused, aloud.
        let placeholder = text.find("[secret-").map_or("", |place| &text[place..]);
        let quoted: String = placeholder.chars().take(60).collect();
        let refused = ("search_logs".to_owned(), json!({"service": quoted}));
        return (
            Some(text.clone()),
            vec![look("contains"), look("no_such_field"), refused],
        );
    }
    // What a careless model would quote: every line that holds a placeholder.
    let from = |line: &str| {
        let place = line.find("[secret-")?;
        Some(line[place..].chars().take(120).collect::<String>())
    };
    let says: Vec<String> = text.lines().filter_map(from).collect();
    let says: Vec<&str> = says.iter().map(String::as_str).collect();
    let first = says.first().copied().unwrap_or_default();
    let submit = submission(round, "order-service", first, None, &says);
    (Some(text), vec![submit])
}

/// Everything that is logged, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .expect("no writer panicked")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Captures what this thread logs, down to the smallest detail, until the guard goes.
    fn capture() -> (Log, tracing::subscriber::DefaultGuard) {
        let log = Log::default();
        let sink = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || sink.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no writer panicked")).into_owned()
    }
}

fn assert_hidden(what: &str, text: &str, canary: &Canary) {
    for secret in &canary.canary {
        let escaped = Value::from(secret.as_str()).to_string();
        for form in [secret.as_str(), escaped.trim_matches('"')] {
            assert!(
                !text.contains(form),
                "{secret} reached {what} from {:?}, in: {text}",
                canary.line
            );
        }
    }
}

fn recorded(call: &LlmCall) -> String {
    serde_json::to_string(call).expect("a call encodes")
}

#[test]
fn the_corpus_is_large_and_varied() {
    let canaries = corpus();
    let formats: BTreeSet<&str> = canaries.iter().map(|one| one.format.as_str()).collect();
    assert!(canaries.len() >= 40, "{}", canaries.len());
    assert!(formats.len() >= 12, "{formats:?}");
    for canary in &canaries {
        let is_there = |secret: &String| canary.line.contains(secret.as_str());
        assert!(canary.canary.iter().any(is_there), "{}", canary.line);
    }
}

#[test]
fn every_canary_comes_back_to_people_and_only_to_them() {
    for canary in corpus() {
        let text = fence::untrusted(&canary.line, 4_000);
        let mut vault = Vault::default();
        let hidden = vault.hide(&text);
        assert_hidden("the hidden text", &hidden, &canary);
        assert_hidden(
            "the vault's own description",
            &format!("{vault:?}"),
            &canary,
        );
        let shown = vault.show_again(&hidden);
        if canary.format == "line_wrap" {
            assert!(
                !shown.contains("[secret-"),
                "the parts come back as one: {shown}"
            );
        } else {
            assert_eq!(shown, text, "what people see is whole again");
        }
        assert_eq!(
            Vault::default().show_again(&hidden),
            hidden,
            "no other vault opens it"
        );
    }
}

#[tokio::test]
async fn no_canary_reaches_the_model_the_records_the_log_or_the_audit_trail() {
    let places = ["log", "kubernetes", "deployment", "ticket", "label"];
    let (log, _guard) = Log::capture();
    let mut placeholders = 0;
    for (index, canary) in corpus().iter().enumerate() {
        for mode in [ToolMode::Native, ToolMode::Schema] {
            let endpoint = Endpoint::start(Box::new(repeat), mode).await;
            let plant = Planted {
                place: places[index % places.len()].to_owned(),
                text: canary.line.clone(),
            };
            let outcome = investigate(Some(&endpoint.client), &[plant]).await;
            let bodies = endpoint.bodies();
            assert!(bodies.len() >= 2, "the loop ran: {}", outcome.advice);
            placeholders += usize::from(bodies.concat().contains("[secret-1:"));
            assert_hidden("the endpoint", &bodies.concat(), canary);
            let answer = &outcome.rca.top_root_cause;
            assert!(
                !answer.contains("[secret-"),
                "people see words, not placeholders: {answer}"
            );
            for effect in &outcome.effects {
                match effect {
                    Effect::RecordModelCall { call, .. } => {
                        assert_hidden("llm_calls", &recorded(call), canary);
                    }
                    Effect::Audit(line) => {
                        assert_hidden("the audit trail", &line.summary, canary);
                        assert_hidden("the audit trail", &line.payload.to_string(), canary);
                    }
                    _ => {}
                }
            }
        }
        assert_hidden("the log", &log.text(), canary);
    }
    assert!(log.text().contains("midwatch"), "the log was captured");
    assert_eq!(
        placeholders,
        2 * corpus().len(),
        "each line was read, with a placeholder"
    );
}

#[tokio::test]
async fn the_requests_of_every_other_agent_are_hidden_as_well() {
    let (log, _guard) = Log::capture();
    let purposes = [
        ("detection", "classify_anomaly"),
        ("correlation", "assess_impact"),
        ("remediation", "order_steps"),
        ("postmortem", "polish_postmortem"),
    ];
    let endpoint = Endpoint::start(Box::new(repeat), ToolMode::Native).await;
    for (index, canary) in corpus().iter().enumerate() {
        let (agent, purpose) = purposes[index % purposes.len()];
        let request = LlmRequest {
            call_id: Uuid::from_u128(index as u128),
            agent: agent.to_owned(),
            purpose: purpose.to_owned(),
            tier: Tier::Fast,
            system: "Say what you see.".to_owned(),
            user: json!({"recent_errors": [canary.line], "service": "pay"}).to_string(),
            max_tokens: 200,
            temperature: 0.1,
            schema: None,
            spent: Spent::default(),
        };
        let outcome = endpoint.client.complete(request).await;
        assert_hidden("llm_calls", &recorded(&outcome.call), canary);
        let reply = outcome.result.expect("an answer").text;
        assert!(
            !reply.contains("[secret-"),
            "people see the text as it was: {reply}"
        );
        assert_hidden("the log", &log.text(), canary);
        assert_hidden("the endpoint", &endpoint.bodies().concat(), canary);
    }
    assert_eq!(endpoint.bodies().len(), corpus().len());
}

/// The Rust sources and manifests of the workspace.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder is readable").path();
        let name = path
            .file_name()
            .expect("an entry has a name")
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && !["target", "node_modules"].contains(&name.as_str()) {
                sources(&path, found);
            }
        } else if name == "Cargo.toml" || name.ends_with(".rs") {
            found.push(path);
        }
    }
}

#[test]
fn all_model_traffic_passes_the_one_client() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().expect("the workspace is there");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 100, "the workspace was found");
    let home = Path::new("shared/clients");
    let (mut library, mut path) = (BTreeSet::new(), BTreeSet::new());
    for file in files {
        let text = std::fs::read_to_string(&file).expect("sources are text");
        let place = file
            .strip_prefix(&root)
            .expect("it was found below")
            .to_owned();
        let is_root = place == Path::new("Cargo.toml");
        let is_test = place.components().any(|part| part.as_os_str() == "tests");
        if (text.contains("async_openai::") || text.contains("async-openai"))
            && !is_root
            && !is_test
        {
            library.insert(place.clone());
        }
        if text.contains("chat/completions") && !is_test {
            path.insert(place);
        }
    }
    let inside = |place: &PathBuf| place.starts_with(home);
    assert!(library.iter().any(inside), "{library:?}");
    // The doctor lists the endpoint's models and names this path in a hint; it sends no text.
    path.remove(Path::new("cli/src/doctor/model.rs"));
    let others: Vec<_> = library
        .iter()
        .chain(&path)
        .filter(|place| !inside(place))
        .collect();
    assert_eq!(
        others,
        Vec::<&PathBuf>::new(),
        "these talk to a model past the client"
    );
}
