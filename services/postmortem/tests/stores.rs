//! Against the real stores: a bundle out of PostgreSQL, the ledger, and a
//! reviewed incident that the next one finds.

mod fixtures;

use fixtures::{connections, deed, facts, typed, written};
use midwatch_clients::embeddings::EmbeddingsClient;
use midwatch_clients::knowledge::{INCIDENTS, KnowledgeStore};
use midwatch_clients::llm::LlmCall;
use midwatch_clients::postgres::audit::{self, AuditLine};
use midwatch_clients::postgres::{
    KeptRecord, Postgres, delivery, incident, jobs, ledger, llm, records, review,
};
use midwatch_events::ids;
use midwatch_postmortem::bundle::{self, key};
use midwatch_postmortem::facts::Facts;
use midwatch_postmortem::lesson::{self, Lesson};
use midwatch_postmortem::{forms, runbook, shell};
use serde_json::json;

#[expect(
    clippy::disallowed_methods,
    reason = "a test is told by the environment where its servers are"
)]
fn address(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; run through `make test`"))
}

async fn database(test: &str) -> Postgres {
    let base = address("MIDWATCH_TEST_DATABASE_URL");
    let admin = Postgres::connect(&base, 1)
        .await
        .expect("the server answers");
    let name = format!("postmortem_{test}_{}", std::process::id());
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&admin.pool)
        .await
        .expect("created");
    let (server, _) = base.rsplit_once('/').expect("a URL with a database");
    let postgres = Postgres::connect(&format!("{server}/{name}"), 4)
        .await
        .expect("connected");
    postgres.migrate().await.expect("the schema");
    postgres
}

fn remediated() -> Facts {
    let words = connections();
    let mut facts = facts(&words);
    facts.actions = ["approved", "intent", "outcome", "verified"]
        .iter()
        .map(|phase| deed(&words, phase))
        .collect();
    for deed in &mut facts.actions {
        deed.action.details.typed = Some(typed(&words));
    }
    facts
}

fn lesson() -> Lesson {
    let facts = remediated();
    let (mut document, records) = written(&facts);
    assert_eq!(document.lint(&records), Vec::new());
    lesson::draw(&facts, &document)
}

fn call() -> LlmCall {
    LlmCall {
        call_id: ids::derive(&["call"]),
        agent: "investigation".to_owned(),
        purpose: "rca".to_owned(),
        tier: "reasoning".to_owned(),
        model: "scripted".to_owned(),
        prompt: json!([{"role": "user"}]),
        reply: Some("a reply".to_owned()),
        prompt_tokens: 900,
        completion_tokens: 100,
        cost_usd: 0.25,
        latency_ms: 1500,
        outcome: "ok".to_owned(),
        error: None,
    }
}

/// Stores an incident with a row of every kind.
async fn stored(postgres: &Postgres) -> uuid::Uuid {
    let facts = remediated();
    let header = &facts.resolved.header;
    let id = header.incident_id;
    let mut tx = postgres.begin().await.expect("a transaction");
    incident::open(&mut tx, header, &json!({}), &json!({}))
        .await
        .expect("opened");
    for index in 0..40_i64 {
        let line = AuditLine {
            event_id: ids::derive(&["line", &index.to_string()]),
            incident_id: Some(id),
            agent: "correlation",
            event_type: "TEST",
            event_time_ms: index,
            summary: "x\ny",
            payload: &json!({"index": index}),
        };
        audit::insert(&mut tx, line).await.expect("written");
    }
    let kept: Vec<KeptRecord> = (0..35)
        .map(|index| KeptRecord {
            record_id: format!("metric-{index:03}"),
            kind: "metric".to_owned(),
            service: "payment-service".to_owned(),
            name: "m".to_owned(),
            at_ms: index,
            value: Some(0.5),
            text: "ü".repeat(10),
            payload: json!({}),
        })
        .collect();
    records::keep(&mut tx, id, &kept).await.expect("kept");
    let payload = json!({"incident_id": id, "text": "as it went out"}).to_string();
    let key = id.to_string();
    let event = ids::derive(&["event"]);
    delivery::enqueue(
        &mut tx,
        "correlation",
        event,
        "incidents.opened",
        &key,
        payload.as_bytes(),
        &json!([]),
    )
    .await
    .expect("enqueued");
    llm::insert(&mut tx, Some(id), &call())
        .await
        .expect("recorded");
    let (document, _) = written(&facts);
    let markdown = forms::markdown(&document);
    review::draft(
        &mut tx,
        id,
        1,
        &markdown,
        &json!(document),
        &json!(lesson()),
    )
    .await
    .expect("drafted");
    tx.commit().await.expect("committed");
    id
}

#[tokio::test]
async fn an_incident_is_exported_whole_and_proves_itself() {
    let postgres = database("bundle").await;
    let id = stored(&postgres).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("key");
    let public = key::create(&path).expect("a key");
    let secret = || key::read(&path).expect("the key");
    let mut out = Vec::new();
    let done = bundle::export(&postgres.pool, (id, id), secret(), 7, &mut out).await;
    let done = done.expect("exported");
    let counts = |kind: &str| done.kinds[kind];
    assert_eq!(
        [
            "incident",
            "event",
            "audit",
            "record",
            "model_call",
            "postmortem"
        ]
        .map(counts),
        [1, 1, 40, 35, 1, 1]
    );
    let verified = bundle::verify(out.as_slice(), &public).expect("it holds");
    // The header counts, too.
    assert_eq!((verified.entries, done.entries), (1 + 79, 1 + 79));
    let text = String::from_utf8(out.clone()).expect("text");
    assert!(text.contains("as it went out") && text.contains("a reply"));
    let middle = out.len() / 2;
    out[middle] ^= 4;
    assert!(bundle::verify(out.as_slice(), &public).is_err());
    let other = ids::derive(&["none"]);
    let none = bundle::export(&postgres.pool, (other, other), secret(), 7, Vec::new()).await;
    assert!(none.is_err());
}

#[tokio::test]
async fn the_ledger_counts_tokens_money_seconds_and_bytes_by_stage() {
    let postgres = database("ledger").await;
    let id = stored(&postgres).await;
    let costs = ledger::of_incident(&postgres.pool, id).await.expect("read");
    let of = |stage: &str| {
        costs
            .iter()
            .find(|cost| cost.stage == stage)
            .expect("a stage")
    };
    let model = of("investigation");
    assert_eq!(
        (
            model.model_calls,
            model.prompt_tokens,
            model.completion_tokens,
            model.model_ms
        ),
        (1, 900, 100, 1500)
    );
    assert!((model.cost_usd - 0.25).abs() < 1e-9);
    // `[{"role": "user"}]` and `a reply`.
    assert_eq!(model.stored_bytes, 18 + 7);
    let correlation = of("correlation");
    assert_eq!((correlation.events, correlation.model_calls), (1, 0));
    assert!(correlation.event_bytes > 40 && correlation.stored_bytes > 40 * 10);
    // 35 times twenty bytes of text and `{}`.
    assert_eq!(of("records").stored_bytes, 35 * 22);
}

#[tokio::test]
async fn the_ledger_counts_what_jobs_were_worked_on_in_every_try() {
    let postgres = database("worked").await;
    let id = stored(&postgres).await;
    let mut tx = postgres.begin().await.expect("a transaction");
    let text = id.to_string();
    let about = json!({"incident_id": id});
    for (agent, scope, kind, payload) in [
        ("investigation", text.as_str(), "retrieve", json!({})),
        ("investigation", text.as_str(), "advise", about.clone()),
        ("correlation", "simulation", "copy_records", about),
        ("correlation", "simulation", "other", json!({})),
    ] {
        let job = ids::derive(&["worked", agent, kind]);
        jobs::insert(&mut tx, agent, scope, kind, job, kind, &payload, 3, 0)
            .await
            .expect("written");
    }
    tx.commit().await.expect("committed");
    let pool = &postgres.pool;
    for agent in [
        "investigation",
        "investigation",
        "correlation",
        "correlation",
    ] {
        let job = jobs::claim(pool, agent, "me", 30.0).await.expect("taken");
        let job = job.expect("one waits").id;
        // Who has lost the lease adds nothing; the same job's tries add up.
        for (owner, ms) in [("me", 1_000), ("another", 50_000), ("me", 234)] {
            jobs::worked(pool, job, owner, ms).await.expect("noted");
        }
        let done = jobs::finish(pool, job, "me", &json!({})).await;
        assert!(done.expect("journalled"));
        jobs::worked(pool, job, "me", 7).await.expect("it is over");
    }
    let costs = ledger::of_incident(pool, id).await.expect("read");
    let work = |stage: &str| {
        let cost = costs.iter().find(|cost| cost.stage == stage);
        cost.map(|cost| cost.work_ms)
    };
    assert_eq!(work("investigation"), Some(2 * 1_234));
    assert_eq!(work("records"), Some(1_234), "copied by correlation");
    assert_eq!(work("correlation"), Some(0), "not about this incident");
}

#[tokio::test]
async fn a_review_moves_forward_only_and_lessons_are_read_back() {
    let postgres = database("review").await;
    let id = stored(&postgres).await;
    let newest = async || {
        let found = review::latest(&postgres.pool, id).await.expect("read");
        found.expect("there is one")
    };
    let advance = async |status: &str| {
        let mut tx = postgres.begin().await.expect("a transaction");
        review::advance(&mut tx, id, 1, status, "maria", 1_795_356_200_000)
            .await
            .expect("done");
        tx.commit().await.expect("committed");
    };
    advance("published").await;
    assert_eq!(newest().await.status, "draft");
    advance("reviewed").await;
    advance("reviewed").await;
    let reviewed = newest().await;
    assert_eq!(
        (
            reviewed.status.as_str(),
            reviewed.reviewed_by.as_deref(),
            reviewed.reviewed_at_ms
        ),
        ("reviewed", Some("maria"), Some(1_795_356_200_000))
    );
    advance("published").await;
    assert_eq!(newest().await.status, "published");
    // A text that people have reviewed is not written over.
    let mut tx = postgres.begin().await.expect("a transaction");
    review::draft(&mut tx, id, 1, "other", &json!([]), &json!({}))
        .await
        .expect("done");
    tx.commit().await.expect("committed");
    assert_ne!(newest().await.markdown, "other");

    let lessons = review::lessons(&postgres.pool, Some("payment-service"), 10)
        .await
        .expect("read");
    assert_eq!(lessons, vec![json!(lesson())]);
    assert!(
        review::lessons(&postgres.pool, Some("none"), 10)
            .await
            .expect("read")
            .is_empty()
    );
}

#[tokio::test]
async fn the_next_similar_incident_finds_the_reviewed_one_and_what_worked() {
    let embeddings = EmbeddingsClient::new(&address("MIDWATCH_TEST_EMBEDDINGS_URL"), None);
    let url = address("MIDWATCH_TEST_QDRANT_URL");
    let store = KnowledgeStore::connect(&url, None, embeddings.expect("an address"))
        .expect("an address")
        .with_collection_prefix("reviewed_");
    let lesson = lesson();
    for _ in 0..2 {
        shell::learn(&store, &lesson).await.expect("learnt");
        assert_eq!(store.count(INCIDENTS).await.expect("counted"), 4);
    }
    let query = "payment-service took all database connections";
    let hits = store
        .search_incidents(query, Some("DB_CONNECTION_EXHAUSTION"))
        .await;
    let hits = hits.expect("searched");
    assert_eq!(hits.len(), 1);
    let hit = &hits[0];
    assert_eq!(hit.incident_id, "INC-B132FE01");
    assert!(hit.score > 0.4, "{}", hit.score);
    let effective = serde_json::to_value(&hit.effective_actions).expect("encodes");
    assert_eq!(
        effective,
        json!([{"kind": "restart_rollout", "cause": "DB_CONNECTION_EXHAUSTION", "verdict": "improved"}])
    );
    assert!(
        hit.record["resolution"]
            .as_str()
            .expect("words")
            .contains("applied")
    );
    // Whatever the next one is opened on, as the investigation asks; it hears
    // what lies at 0.5 and above.
    for (query, is_heard) in [
        (
            "DB connection exhaustion on payment-service. HikariPool-1 - Connection is not available",
            true,
        ),
        (
            "Latency spike on payment-service. could not get a database connection within 3000 ms",
            true,
        ),
        ("CPU saturation on api-gateway. ", false),
        (
            "Kafka consumer lag on order-service. group rebalances",
            false,
        ),
    ] {
        let hits = store.search_reviewed(query).await.expect("searched");
        assert_eq!(hits.len(), 1, "{query}");
        let hit = &hits[0];
        assert_eq!(
            (hit.origin.as_str(), hit.service.as_str()),
            ("reviewed", "payment-service")
        );
        assert_eq!(hit.record["cause"], "DB_CONNECTION_EXHAUSTION");
        assert_eq!(hit.record["concluded"], true);
        assert_eq!(hit.score >= 0.5, is_heard, "{query}: {}", hit.score);
    }
    // Seeding leaves it alone.
    let kept = store
        .delete_others(INCIDENTS, &std::collections::BTreeSet::new())
        .await;
    assert_eq!(kept.expect("looked through"), (0, 4));
    store.delete_collection(INCIDENTS).await.expect("removed");
}

#[test]
fn a_runbook_is_drafted_from_repeated_causes_only() {
    let first = lesson();
    let mut second = first.clone();
    second.incident_id = "INC-00000002".to_owned();
    second.tried[0].verdict = "worse".to_owned();
    second.title = "<img src=x> | *b*".to_owned();
    let mut other = first.clone();
    other.cause = "MEMORY_LEAK".to_owned();
    assert_eq!(
        runbook::suggest(&[first.clone(), first.clone(), other.clone()]),
        Vec::new()
    );
    let drafts = runbook::suggest(&[second, first, other]);
    assert_eq!(drafts.len(), 1);
    assert_eq!(drafts[0].incidents, ["INC-00000002", "INC-B132FE01"]);
    insta::assert_snapshot!(drafts[0].markdown);
}
