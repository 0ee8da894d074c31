//! Golden retrieval against a real embedder and a real store: a query as an
//! agent asks it, and the incident, section or service that has to come back.

use midwatch_clients::embeddings::EmbeddingsClient;
use midwatch_clients::knowledge::{ARCHITECTURE, COLLECTIONS, INCIDENTS, KnowledgeStore, RUNBOOKS};
use midwatch_knowledge::{Knowledge, seed};
use std::path::Path;

#[expect(
    clippy::disallowed_methods,
    reason = "a test is told by the environment where its servers are"
)]
fn address(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; run through `make test`"))
}

fn embeddings() -> EmbeddingsClient {
    EmbeddingsClient::new(&address("MIDWATCH_TEST_EMBEDDINGS_URL"), None).expect("an address")
}

fn knowledge() -> Knowledge {
    Knowledge::load(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("valid")
}

fn store(prefix: &str) -> KnowledgeStore {
    KnowledgeStore::connect(&address("MIDWATCH_TEST_QDRANT_URL"), None, embeddings())
        .expect("an address")
        .with_collection_prefix(prefix)
}

/// The committed knowledge, for tests that only read. It is seeded once for
/// all of them, and since seeding is idempotent the collections may stay.
async fn seeded_store() -> KnowledgeStore {
    static SEEDED: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    SEEDED
        .get_or_init(|| async {
            seed::seed(&store("golden_"), &knowledge())
                .await
                .expect("seeded");
        })
        .await;
    store("golden_")
}

/// Query, filter, and the incident that has to be the best.
const INCIDENT_QUERIES: [(&str, Option<&str>, &str); 14] = [
    (
        "payment-service database connections at 100 of 100, HikariPool connection is not available, leaked connections",
        None,
        "INC-2025-001",
    ),
    (
        "payment p99 latency 7380 ms, time spent in call to external card processor",
        Some("LATENCY_SPIKE"),
        "INC-2025-002",
    ),
    (
        "user-service errors 40 percent right after deployment, sign-in fails, missing secret",
        Some("DEPLOYMENT_FAILURE"),
        "INC-2025-003",
    ),
    (
        "notification-service memory climbs to 98 percent, OOMKilled, cache without bound",
        Some("MEMORY_LEAK"),
        "INC-2025-004",
    ),
    (
        "order-service consumer lag 50000 on order-events, group rebalances, max.poll.interval.ms exceeded",
        Some("KAFKA_CONSUMER_LAG"),
        "INC-2025-005",
    ),
    (
        "api-gateway CPU 97 percent at normal traffic, regular expression",
        Some("CPU_SATURATION"),
        "INC-2025-006",
    ),
    (
        "order-service 45 percent errors, cannot deserialize unknown enum value from inventory",
        Some("ERROR_RATE_SPIKE"),
        "INC-2025-007",
    ),
    (
        "card processor unreachable, connection refused, all payments fail",
        None,
        "INC-2025-008",
    ),
    (
        "sessions idle in transaction hold row locks during a batch job",
        None,
        "INC-2025-009",
    ),
    (
        "pods in CrashLoopBackOff after node drain, missing key in config map",
        None,
        "INC-2025-010",
    ),
    (
        "goroutines grow without end, cancelled requests",
        None,
        "INC-2025-012",
    ),
    (
        "request rate dropped to a tenth, load balancer health check wrong",
        None,
        "INC-2025-016",
    ),
    (
        "TLS handshake failed: certificate has expired",
        None,
        "INC-2025-017",
    ),
    (
        "latency after release, password hashing cost bcrypt",
        None,
        "INC-2025-020",
    ),
];

#[tokio::test]
async fn golden_queries_find_the_expected_incident_first() {
    let store = seeded_store().await;
    let mut wrong = Vec::new();
    for (query, filter, expected) in INCIDENT_QUERIES {
        let hits = store.search_incidents(query, filter).await.expect("hits");
        let found: Vec<_> = hits
            .iter()
            .map(|hit| (hit.incident_id.as_str(), hit.score))
            .collect();
        let best = &hits[0];
        if best.incident_id != expected || best.score < 0.35 {
            wrong.push(format!("{query} → {found:?}, expected {expected}"));
        }
        assert!(hits.len() <= 5, "at most five incidents");
        assert!(
            hits.is_sorted_by(|a, b| a.score >= b.score),
            "best first: {found:?}"
        );
        assert_eq!(
            best.record["incident_id"],
            best.incident_id.as_str(),
            "the whole record"
        );
        assert!(best.record["resolution"].is_string());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Query, filter, and the runbook that has to come first.
const RUNBOOK_QUERIES: [(&str, Option<&str>, &str); 8] = [
    (
        "CPU of the gateway pods is at its limit, requests queue",
        None,
        "cpu-saturation",
    ),
    (
        "memory grows until the container is OOMKilled, heap dump",
        None,
        "memory-leak",
    ),
    (
        "p99 latency far above baseline, slow dependency, time limit",
        None,
        "high-latency-api",
    ),
    (
        "connection pool exhausted, waiting for a database connection",
        None,
        "database-connection-exhaustion",
    ),
    (
        "consumer group lag grows, rebalance loop, poison record",
        None,
        "kafka-consumer-lag",
    ),
    (
        "error rate jumped, expired certificate, circuit breaker",
        None,
        "error-rate-spike",
    ),
    (
        "errors after a release, go back to the previous version",
        None,
        "deployment-rollback",
    ),
    (
        "what do I do first about payment-service",
        Some("DB_CONNECTION_EXHAUSTION"),
        "database-connection-exhaustion",
    ),
];

#[tokio::test]
async fn golden_queries_find_the_expected_runbook_first() {
    let store = seeded_store().await;
    let mut wrong = Vec::new();
    for (query, filter, expected) in RUNBOOK_QUERIES {
        let hits = store.search_runbooks(query, filter).await.expect("hits");
        assert_eq!(hits.len(), 8, "{query}");
        if hits[0].runbook_id != expected {
            let found: Vec<_> = hits
                .iter()
                .map(|hit| (&hit.runbook_id, &hit.section_title, hit.score))
                .collect();
            wrong.push(format!("{query} → {found:?}, expected {expected}"));
        }
        if let Some(kind) = filter {
            assert!(
                hits.iter()
                    .all(|hit| hit.anomaly_types.iter().any(|one| one == kind))
            );
        }
    }
    let sections = store
        .runbook_sections("memory-leak")
        .await
        .expect("sections");
    let stored: Vec<_> = sections
        .iter()
        .map(|one| {
            (
                one.section_title.clone(),
                one.text.clone(),
                one.steps.clone(),
            )
        })
        .collect();
    let written = knowledge()
        .runbooks
        .into_iter()
        .find(|one| one.name == "memory-leak")
        .expect("there");
    let written: Vec<_> = written
        .sections
        .into_iter()
        .map(|one| (one.title, one.text, one.steps))
        .collect();
    assert_eq!(stored, written, "all sections, in order, with their steps");
    assert_eq!(
        store.runbook_sections("unknown").await.expect("an answer"),
        []
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_filter_without_hits_is_dropped() {
    let store = seeded_store().await;
    let query = "connection pool exhausted by leaked connections";
    let all = store.search_incidents(query, None).await.expect("hits");
    let none_of_that_kind = store
        .search_incidents(query, Some("MISSING_DATA"))
        .await
        .expect("hits");
    assert_eq!(all, none_of_that_kind);
    let only = store
        .search_incidents(query, Some("MEMORY_LEAK"))
        .await
        .expect("hits");
    assert!(
        only.iter().all(|hit| hit.anomaly_type == "MEMORY_LEAK"),
        "{only:?}"
    );
    assert_eq!(
        only.len(),
        2,
        "both incidents of that kind and nothing else"
    );
}

#[tokio::test]
async fn a_service_is_found_by_name_or_by_meaning() {
    let store = seeded_store().await;
    for service in knowledge().services {
        let hit = store
            .architecture(&service.name)
            .await
            .expect("an answer")
            .expect("a hit");
        assert!(hit.exact);
        assert_eq!(
            hit.record,
            serde_json::to_value(&service).expect("JSON"),
            "the whole record"
        );
    }
    let hit = store
        .architecture("mails and push messages to customers")
        .await;
    let hit = hit.expect("an answer").expect("a hit");
    assert_eq!(
        (hit.service_name.as_str(), hit.exact),
        ("notification-service", false)
    );
    assert!(hit.score > 0.3 && hit.score < 1.0, "{}", hit.score);
}

#[tokio::test]
async fn seeding_again_changes_nothing_and_removed_files_leave_the_store() {
    let store = store(&format!("seeding_{}_", std::process::id()));
    let not_ready = store.ready().await.expect_err("nothing is there");
    assert!(
        not_ready.is_transient() && not_ready.to_string().contains("run midwatch-seeder"),
        "{not_ready}"
    );
    let mut knowledge = knowledge();
    let counts = |report: &[seed::Seeded]| -> Vec<(&str, u64, usize)> {
        report
            .iter()
            .map(|one| (one.collection, one.points, one.removed))
            .collect()
    };
    let whole = [(INCIDENTS, 80, 0), (RUNBOOKS, 88, 0), (ARCHITECTURE, 6, 0)];
    for _ in 0..2 {
        assert_eq!(
            counts(&seed::seed(&store, &knowledge).await.expect("seeded")),
            whole
        );
    }
    store.ready().await.expect("ready");

    let gone = knowledge.incidents.remove(16);
    assert_eq!(gone.incident_id, "INC-2025-017");
    knowledge.incidents[0].summary =
        "Corrected: the pool of payment-service was emptied by refunds.".to_owned();
    let report = seed::seed(&store, &knowledge).await.expect("seeded");
    assert_eq!(
        counts(&report),
        [(INCIDENTS, 76, 4), (RUNBOOKS, 88, 0), (ARCHITECTURE, 6, 0)]
    );
    let hits = store
        .search_incidents("certificate has expired", None)
        .await
        .expect("hits");
    assert!(
        hits.iter().all(|hit| hit.incident_id != "INC-2025-017"),
        "{hits:?}"
    );
    let hits = store
        .search_incidents(&knowledge.incidents[0].summary, None)
        .await
        .expect("hits");
    assert_eq!(
        hits[0].record["summary"],
        knowledge.incidents[0].summary.as_str()
    );
    for (collection, _) in COLLECTIONS {
        store.delete_collection(collection).await.expect("deleted");
    }
}

#[tokio::test]
async fn a_vector_does_not_depend_on_its_neighbours() {
    let client = embeddings();
    let texts: Vec<String> = INCIDENT_QUERIES
        .iter()
        .map(|(query, _, _)| (*query).to_owned())
        .collect();
    let together = client.embed(&texts).await.expect("vectors");
    for (text, vector) in texts.iter().zip(&together) {
        let alone = client
            .embed(std::slice::from_ref(text))
            .await
            .expect("a vector");
        assert_eq!(&alone[0], vector, "{text}");
        let length: f32 = vector.iter().map(|one| one * one).sum();
        assert!((length - 1.0).abs() < 1e-4, "length 1, squared {length}");
    }
    assert_eq!(
        client.embed(&[]).await.expect("nothing to do"),
        Vec::<Vec<f32>>::new()
    );
}

/// Reference: the Python packages onnxruntime and tokenizers with the same
/// model file, mean of the last hidden state over the tokens, divided by its
/// length. The full-precision model differs in the third digit.
#[tokio::test]
async fn vectors_are_those_of_the_reference_implementation() {
    let text = "The connection pool of payment-service is exhausted.".to_owned();
    let vectors = embeddings().embed(&[text]).await.expect("a vector");
    let expected = [
        -0.02838511,
        -0.03343669,
        -0.04164257,
        -0.03246573,
        -0.02392767,
        -0.05560094,
    ];
    for (found, expected) in vectors[0].iter().zip(expected) {
        assert!(
            (found - expected).abs() < 0.005,
            "{found} instead of {expected}"
        );
    }
}

#[tokio::test]
async fn the_embedder_refuses_in_the_form_of_openai() {
    let url = format!("{}/embeddings", address("MIDWATCH_TEST_EMBEDDINGS_URL"));
    let http = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let too_many = serde_json::json!({"model": "any", "input": vec!["x"; 257]});
    let response = http
        .post(&url)
        .json(&too_many)
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status().as_u16(), 400);
    let body: serde_json::Value = response.json().await.expect("JSON");
    assert_eq!(body["error"]["type"], "invalid_request_error");
    assert_eq!(body["error"]["param"], "input");
    assert_eq!(
        body["error"]["message"],
        "`input` has 257 texts; 1 to 256 are allowed"
    );

    let good = serde_json::json!({"model": "any", "input": "one sentence"});
    let response = http.post(&url).json(&good).send().await.expect("an answer");
    let body: serde_json::Value = response.json().await.expect("JSON");
    // [CLS] one sentence [SEP]
    assert_eq!(
        body["usage"],
        serde_json::json!({"prompt_tokens": 4, "total_tokens": 4})
    );
    assert_eq!(body["model"], "all-MiniLM-L6-v2");
}
