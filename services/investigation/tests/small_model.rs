//! The tool loop against a real model behind an OpenAI-compatible server, once. `make test-model`
//! starts the server and a database and names them in the environment.
//!
//! A small model may answer badly; that is what the checks and the deterministic answer are for. It
//! must come to an end, and must not be able to break anything.

#[path = "fixture/story.rs"]
mod story;

use midwatch_clients::llm::{LlmClient, LlmSettings};
use midwatch_clients::postgres::{Postgres, llm, read};
use midwatch_runtime::{Effect, Settings};
use story::{Planted, investigate};

/// The only line of the log besides the pool's own.
fn complaint() -> Planted {
    Planted {
        place: "log".to_owned(),
        text: "HikariPool-1 - Connection is not available, request timed out after 30000ms"
            .to_owned(),
    }
}

#[tokio::test]
async fn a_real_small_model_completes_the_loop() {
    let settings = Settings::from_env();
    let model = LlmSettings::resolve(|name| settings.get(name)).expect("usable settings");
    let model = model.expect("LLM_BASE_URL names the model's server; run make test-model");
    let client = LlmClient::new(model).expect("a client");
    let database = settings.get("MIDWATCH_TEST_DATABASE_URL");
    let database =
        database.expect("MIDWATCH_TEST_DATABASE_URL names a server; run make test-model");
    let postgres = Postgres::connect(&database, 2).await.expect("connected");
    postgres.migrate().await.expect("the schema");

    let begun = std::time::Instant::now();
    let own = investigate(None, &[complaint()]).await;
    let outcome = investigate(Some(&client), &[complaint()]).await;
    let seconds = begun.elapsed().as_secs_f64();

    let id = outcome.rca.header.incident_id;
    for effect in &outcome.effects {
        if let Effect::RecordModelCall { incident_id, call } = effect {
            llm::insert_call(&postgres.pool, *incident_id, call)
                .await
                .expect("recorded");
        }
    }
    let calls = read::model_calls(&postgres.pool, Some(id), 50)
        .await
        .expect("read");
    let (tokens, _) = midwatch_clients::postgres::history::spent(&postgres.pool, id)
        .await
        .expect("read");
    for call in calls.iter().rev() {
        println!(
            "  {:8} {:5} tokens in, {:4} out, {:6.1} s  {}",
            call.outcome,
            call.prompt_tokens,
            call.completion_tokens,
            call.latency_ms as f64 / 1_000.0,
            call.error.as_deref().unwrap_or_default()
        );
    }
    let rca = &outcome.rca;
    println!("{} rounds, {tokens} tokens, {seconds:.0} s", calls.len());
    println!("answer by {}: {}", rca.method, rca.top_root_cause);
    for rejected in &rca.rejected_claims {
        println!(
            "  rejected: {:?} because {}",
            rejected.claim, rejected.reason
        );
    }
    for degradation in &rca.degradations {
        println!("  degraded: {degradation}");
    }

    assert!(!calls.is_empty(), "every round has its record");
    assert!(tokens > 0, "the server counts tokens");
    let audited = outcome.effects.iter().any(
        |effect| matches!(effect, Effect::Audit(line) if line.event_type.starts_with("MODEL_")),
    );
    assert!(audited, "the audit trail tells what became of the answer");
    let services = |outcome: &story::Outcome| {
        let mut services: Vec<String> = outcome
            .rca
            .root_cause_candidates
            .iter()
            .map(|candidate| candidate.service.clone())
            .collect();
        services.sort();
        services
    };
    assert_eq!(
        services(&outcome),
        services(&own),
        "it adds and removes no candidate"
    );
    assert_eq!(outcome.advice["failure"], serde_json::Value::Null);
    assert!(
        outcome.advice["submission"].is_object(),
        "the loop ends with submit_rca: {}",
        outcome.advice
    );
    println!("submit_rca arrived and was checked");
}
