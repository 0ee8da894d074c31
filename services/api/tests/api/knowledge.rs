//! The knowledge page.

use crate::HOSTILE;
use crate::server::Server;
use midwatch_api::series::Recent;
use midwatch_clients::embeddings::EmbeddingsClient;
use midwatch_clients::kafka::KafkaSettings;
use midwatch_clients::knowledge::{ARCHITECTURE, Document, INCIDENTS, KnowledgeStore, RUNBOOKS};
use midwatch_events::ids;
use midwatch_runtime::{Settings, clock};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn needed(name: &str) -> String {
    Settings::from_env()
        .get(name)
        .unwrap_or_else(|| panic!("{name} is not set; `midwatch-stack exec` sets it"))
}

async fn serve(store: KnowledgeStore) -> Server {
    Server::with(KafkaSettings::at("127.0.0.1:1"), Recent::default(), |app| {
        app.knowledge = Some(store);
    })
    .await
}

fn document(seed: &str, text: &str, payload: Value) -> Document {
    Document {
        id: ids::derive(&["knowledge", seed]),
        text: text.to_owned(),
        payload: payload.as_object().expect("an object").clone(),
    }
}

#[tokio::test]
async fn a_store_or_embedder_that_is_away_is_named() {
    let embeddings = EmbeddingsClient::new("http://127.0.0.1:1/v1", None).unwrap();
    let store = KnowledgeStore::connect("http://127.0.0.1:1", None, embeddings.clone()).unwrap();
    let server = serve(store).await;
    let page = server.page("/knowledge?q=latency").await;
    assert!(
        page.contains("the knowledge store at http:&#x2f;&#x2f;127.0.0.1:1 failed"),
        "{page}"
    );
    assert!(!page.contains("Nothing found"));
    let view = server.json("/api/knowledge?q=latency").await;
    assert_eq!(
        (&view["hits"], &view["collections"][0]["points"]),
        (&Value::Null, &Value::Null)
    );
    server.stop().await;

    let url = needed("MIDWATCH_TEST_QDRANT_URL");
    let prefix = format!("api-{}-", clock::random_id().simple());
    let store = KnowledgeStore::connect(&url, None, embeddings).unwrap();
    let store = store.with_collection_prefix(&prefix);
    for collection in [INCIDENTS, RUNBOOKS, ARCHITECTURE] {
        store.ensure_collection(collection, &[]).await.unwrap();
    }
    let server = serve(store.clone()).await;
    let asked = Instant::now();
    let page = server.page("/knowledge?q=latency").await;
    assert!(page.contains("EMBEDDINGS_URL"), "{page}");
    assert!(asked.elapsed() < Duration::from_secs(10));
    for collection in [INCIDENTS, RUNBOOKS, ARCHITECTURE] {
        store.delete_collection(collection).await.unwrap();
    }
    server.stop().await;
}

/// One document in each collection.
async fn fill(store: &KnowledgeStore) {
    let leak = "The heap of the notification service grew until it was killed for lack of memory";
    let incident = json!({"incident_id": "INC-1", "chunk_type": "root_cause", "text": leak,
        "anomaly_type": "MEMORY_LEAK", "severity": "HIGH", "mttr_minutes": 31.0, "tags": [HOSTILE],
        "record": {"title": "A leak"}});
    let text = format!(
        "See [this](javascript:alert(1)) and {HOSTILE}: restart the pod that leaks memory."
    );
    let runbook = json!({"runbook_id": "memory-leak", "section_title": "Restart", "text": text,
        "anomaly_types": ["MEMORY_LEAK"], "position": 0});
    store
        .upsert(INCIDENTS, &[document("a", leak, incident)])
        .await
        .expect("stored");
    store
        .upsert(RUNBOOKS, &[document("b", &text, runbook)])
        .await
        .expect("stored");
    let record = json!({"service_name": "payment-service",
        "record": {"description": "Charges cards.", "team": "payments"}});
    store
        .upsert(
            ARCHITECTURE,
            &[document("c", "payment-service charges cards", record)],
        )
        .await
        .expect("stored");
}

#[tokio::test]
async fn a_question_finds_what_resembles_it_and_nothing_becomes_markup() {
    let embeddings = EmbeddingsClient::new(&needed("MIDWATCH_TEST_EMBEDDINGS_URL"), None).unwrap();
    let url = needed("MIDWATCH_TEST_QDRANT_URL");
    let prefix = format!("api-{}-", clock::random_id().simple());
    let store = KnowledgeStore::connect(&url, None, embeddings)
        .unwrap()
        .with_collection_prefix(&prefix);
    for collection in [INCIDENTS, RUNBOOKS, ARCHITECTURE] {
        store.ensure_collection(collection, &[]).await.unwrap();
    }
    fill(&store).await;
    let server = serve(store.clone()).await;
    let view = server
        .json("/api/knowledge?q=memory%20grows%20until%20the%20process%20is%20killed")
        .await;
    assert_eq!(view["problems"], json!([]));
    assert_eq!(view["collections"][1]["points"], 1);
    let hits = view["hits"].as_array().unwrap();
    assert_eq!(hits.len(), 3);
    assert_eq!(
        (&hits[0]["title"], &hits[0]["section"]),
        (&json!("INC-1: A leak"), &json!("root cause"))
    );
    assert!(hits[0]["score"].as_f64().unwrap() > 0.4, "{hits:?}");
    let scores: Vec<f64> = hits
        .iter()
        .map(|hit| hit["score"].as_f64().unwrap())
        .collect();
    assert!(scores.is_sorted_by(|one, other| one >= other), "{scores:?}");
    let exact = server
        .json("/api/knowledge?q=payment-service&collection=architecture")
        .await;
    assert_eq!(
        (&exact["hits"][0]["score"], &exact["hits"][0]["text"]),
        (&json!(1.0), &json!("Charges cards."))
    );
    let page = server.page("/knowledge?q=memory&collection=runbooks").await;
    crate::pages::assert_harmless(&page, "the answers");
    assert!(page.contains("<p>See this and &lt;img"), "{page}");
    assert!(!page.contains("INC-1"));
    let error = server
        .refused("/api/knowledge?collection=secrets", 400)
        .await;
    assert!(
        error["hint"]
            .as_str()
            .unwrap()
            .contains("incidents, runbooks, architecture")
    );
    for collection in [INCIDENTS, RUNBOOKS, ARCHITECTURE] {
        store.delete_collection(collection).await.unwrap();
    }
    server.stop().await;
}
