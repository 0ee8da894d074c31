//! The committed data of the checked queries, against the real schema; and
//! what the schema itself must hold.

mod support;

use midwatch_clients::postgres::dead_letters::{self, Begun, Ended, LetterKey};
use midwatch_clients::postgres::{
    Postgres, PostgresError, artifacts, delivery, incident, jobs, ledger, llm, records,
};
use midwatch_events::artifact::{Artifact, ArtifactKind, ArtifactStatus};
use midwatch_events::{AnomalyType, IncidentHeader, IncidentState, Severity, ids};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Column, Executor, SqlSafeStr, Statement, TypeInfo};
use std::path::PathBuf;
use support::needed;
use uuid::Uuid;

async fn database(test: &str) -> Postgres {
    let base = needed("MIDWATCH_TEST_DATABASE_URL");
    let admin = Postgres::connect(&base, 1)
        .await
        .expect("the test server answers");
    let name = format!("clients_{test}_{}", std::process::id());
    for statement in [
        format!("DROP DATABASE IF EXISTS {name}"),
        format!("CREATE DATABASE {name}"),
    ] {
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&admin.pool)
            .await
            .expect("created");
    }
    let (server, _) = base.rsplit_once('/').expect("a URL with a database");
    let postgres = Postgres::connect(&format!("{server}/{name}"), 4)
        .await
        .expect("connected");
    postgres.migrate().await.expect("the schema");
    postgres
}

#[tokio::test]
async fn the_committed_query_data_are_those_of_the_schema() {
    let postgres = database("offline").await;
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.sqlx");
    let mut checked = 0;
    for entry in std::fs::read_dir(&folder).expect("the committed data are there") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        let data: Value = serde_json::from_str(&text).expect("JSON");
        let query = data["query"].as_str().expect("a query").to_owned();
        let statement = (&postgres.pool)
            .prepare(AssertSqlSafe(query.clone()).into_sql_str())
            .await
            .unwrap_or_else(|error| panic!("{query}\ndoes not fit the schema: {error}"));
        let columns: Vec<Value> = statement
            .columns()
            .iter()
            .map(|column| json!(column.name()))
            .collect();
        let committed: Vec<Value> = data["describe"]["columns"]
            .as_array()
            .expect("columns")
            .iter()
            .map(|column| column["name"].clone())
            .collect();
        assert_eq!(columns, committed, "{query}");
        let types = statement
            .columns()
            .iter()
            .map(|column| column.type_info().name().to_uppercase());
        let known = data["describe"]["columns"]
            .as_array()
            .expect("columns")
            .iter();
        for (found, column) in types.zip(known) {
            if let Some(name) = column["type_info"].as_str() {
                // The committed data call it `UuidArray`.
                let name = name.to_uppercase();
                let element = name.strip_suffix("ARRAY");
                let name = element.map_or(name.clone(), |element| format!("{element}[]"));
                assert_eq!(found, name, "{query}");
            }
        }
        checked += 1;
    }
    assert!(checked > 40, "only {checked} queries were found");
}

#[tokio::test]
async fn migrating_twice_is_migrating_once() {
    let postgres = database("twice").await;
    postgres.migrate().await.expect("nothing is left to do");
}

fn header(id: Uuid) -> IncidentHeader {
    IncidentHeader {
        incident_id: id,
        short_id: ids::short_incident(id),
        environment: "test".to_owned(),
        severity: Severity::High,
        anomaly_type: AnomalyType::LatencySpike,
        affected_services: vec!["a".to_owned()],
        detected_at_ms: 1_767_225_600_000,
        detected_wall_ms: 1_767_225_600_000,
    }
}

#[tokio::test]
async fn the_status_moves_only_as_the_lifecycle_allows() {
    use incident::Moved;
    let postgres = database("moves").await;
    let id = ids::derive(&["moves"]);
    let mut tx = postgres.begin().await.expect("a transaction");
    let early = incident::move_to(&mut tx, id, IncidentState::Investigating).await;
    assert_eq!(early.expect("asked"), Moved::NoIncident);
    incident::open(&mut tx, &header(id), &json!({}), &json!({}))
        .await
        .expect("opened");
    for (to, expected) in [
        (IncidentState::RcaComplete, Moved::Early),
        (IncidentState::Investigating, Moved::Taken),
        (IncidentState::Investigating, Moved::AlreadyThere),
        (
            IncidentState::Correlating,
            Moved::Refused(IncidentState::Investigating),
        ),
        (IncidentState::Resolved, Moved::Taken),
        (
            IncidentState::RcaComplete,
            Moved::Refused(IncidentState::Resolved),
        ),
        (IncidentState::Investigating, Moved::Taken),
    ] {
        let moved = incident::move_to(&mut tx, id, to).await.expect("asked");
        assert_eq!(moved, expected, "to {to}");
    }
}

#[tokio::test]
async fn of_two_writers_of_one_version_one_loses() {
    let postgres = database("writers").await;
    let mut one = postgres.begin().await.expect("a transaction");
    delivery::save_state(&mut one, "a", "s", 0, &json!(1))
        .await
        .expect("the first");
    one.commit().await.expect("committed");
    let mut other = postgres.begin().await.expect("a transaction");
    let lost = delivery::save_state(&mut other, "a", "s", 0, &json!(2)).await;
    assert!(
        matches!(lost, Err(PostgresError::StaleOwner { version: 0, .. })),
        "{lost:?}"
    );
    delivery::save_state(&mut other, "a", "s", 1, &json!(3))
        .await
        .expect("who read again");
}

#[tokio::test]
async fn jobs_of_one_scope_run_one_at_a_time_and_those_of_two_do_not_wait() {
    let postgres = database("jobs").await;
    let pool = &postgres.pool;
    let mut tx = postgres.begin().await.expect("a transaction");
    for (scope, name) in [("s", "1"), ("s", "2"), ("t", "3")] {
        let id = ids::derive(&["job", name]);
        jobs::insert(&mut tx, "a", scope, scope, id, "work", &json!({}), 3, 0)
            .await
            .expect("written");
    }
    tx.commit().await.expect("committed");
    let claim = || jobs::claim(pool, "a", "me", 30.0);
    let first = claim().await.expect("asked").expect("the first of s");
    assert_eq!(first.id, ids::derive(&["job", "1"]));
    let second = claim().await.expect("asked").expect("the first of t");
    assert_eq!(second.scope, "t");
    assert_eq!(claim().await.expect("asked"), None, "the second of s waits");
    assert!(
        jobs::finish(pool, first.id, "me", &json!({}))
            .await
            .expect("journalled")
    );
    assert_eq!(
        claim().await.expect("asked"),
        None,
        "until the first is applied"
    );
    let mut tx = postgres.begin().await.expect("a transaction");
    jobs::mark_applied(&mut tx, first.id)
        .await
        .expect("applied");
    tx.commit().await.expect("committed");
    assert_eq!(
        claim().await.expect("asked").expect("now").id,
        ids::derive(&["job", "2"])
    );
    let stale = jobs::finish(pool, second.id, "somebody else", &json!({})).await;
    assert!(
        !stale.expect("asked"),
        "only the lease's owner journals a result"
    );
}

#[tokio::test]
async fn a_call_about_an_anomaly_belongs_to_its_incident_whichever_was_first() {
    let postgres = database("calls").await;
    let call = |name: &str| llm::LlmCall {
        call_id: ids::derive(&["call", name]),
        agent: "detection".to_owned(),
        purpose: "classify_anomaly".to_owned(),
        tier: "fast".to_owned(),
        model: "m".to_owned(),
        prompt: json!({}),
        reply: None,
        prompt_tokens: 100,
        completion_tokens: 20,
        cost_usd: 0.5,
        latency_ms: 1,
        outcome: "ok".to_owned(),
        error: None,
    };
    let pool = &postgres.pool;
    let (incident, anomaly) = (ids::derive(&["incident"]), ids::derive(&["anomaly"]));
    let before = call("before");
    llm::insert_for_anomaly(pool, anomaly, &before)
        .await
        .expect("recorded");
    let mut tx = postgres.begin().await.expect("a transaction");
    let around = json!({"grouped_anomalies": [{"anomaly_id": anomaly, "service": "a"}]});
    incident::open(&mut tx, &header(incident), &json!({}), &around)
        .await
        .expect("opened");
    // Others' calls stay where they are.
    llm::tie(&mut tx, incident, &[before.call_id, ids::derive(&["none"])])
        .await
        .expect("tied");
    tx.commit().await.expect("committed");
    for (of, call) in [(anomaly, "after"), (ids::derive(&["another"]), "elsewhere")] {
        let call = llm::LlmCall {
            call_id: ids::derive(&["call", call]),
            ..before.clone()
        };
        llm::insert_for_anomaly(pool, of, &call)
            .await
            .expect("recorded");
    }
    let mut tx = postgres.begin().await.expect("a transaction");
    llm::tie(&mut tx, ids::derive(&["merged"]), &[before.call_id])
        .await
        .expect("nothing to tie");
    tx.commit().await.expect("committed");
    let spent = ledger::of_incident(pool, incident).await.expect("read");
    let spent: Vec<(&str, i64, i64)> = spent
        .iter()
        .filter(|one| one.model_calls > 0)
        .map(|one| (one.stage.as_str(), one.model_calls, one.prompt_tokens))
        .collect();
    assert_eq!(spent, [("detection", 2, 200)]);
}

#[tokio::test]
async fn a_record_that_is_kept_twice_is_there_once() {
    let postgres = database("records").await;
    let incident = ids::derive(&["records"]);
    let record = records::KeptRecord {
        record_id: ids::record(incident, "metric", &["a", "m", "1"]),
        kind: "metric".to_owned(),
        service: "a".to_owned(),
        name: "m".to_owned(),
        at_ms: 1,
        value: Some(2.5),
        text: String::new(),
        payload: json!({"score": 0.5}),
    };
    for _ in 0..2 {
        let mut tx = postgres.begin().await.expect("a transaction");
        records::keep(&mut tx, incident, std::slice::from_ref(&record))
            .await
            .expect("kept");
        tx.commit().await.expect("committed");
    }
    assert_eq!(
        records::of_incident(&postgres.pool, incident)
            .await
            .expect("read"),
        [record]
    );
}

#[tokio::test]
async fn a_dead_letter_is_begun_once_and_again_only_where_it_cannot_be_there() {
    let postgres = database("letters").await;
    let pool = &postgres.pool;
    let key = |origin_offset, letter_offset| LetterKey {
        epoch: "e".to_owned(),
        topic: "raw.logs".to_owned(),
        origin_partition: 1,
        origin_offset,
        letter_partition: 0,
        letter_offset,
    };
    let begin = async |key: &LetterKey, despite_doubt| {
        let begun = dead_letters::begin(pool, key, "somebody", despite_doubt).await;
        match begun.expect("asked") {
            Begun::Mine(attempt) => Ok(attempt),
            Begun::Taken(row) => Err(row.state),
        }
    };
    let finish = async |key: &LetterKey, attempt, ended| {
        let noted = dead_letters::finish(pool, key, attempt, ended).await;
        noted.expect("asked")
    };
    let (one, same) = (key(7, 3), key(7, 4));
    assert_eq!(begin(&one, false).await, Ok(1));
    let taken = Err("sending".to_owned());
    assert_eq!(begin(&same, true).await, taken, "two letters, one message");
    assert!(finish(&one, 1, Ended::Refused("too large")).await);
    assert_eq!(begin(&same, false).await, Ok(2), "it is not there");
    assert!(
        !finish(&one, 1, Ended::Sent(1, 9)).await,
        "who was overtaken"
    );
    assert!(finish(&one, 2, Ended::Doubtful("no answer")).await);
    assert_eq!(begin(&one, false).await, Err("doubtful".to_owned()));
    assert_eq!(begin(&one, true).await, Ok(3));
    assert!(finish(&one, 3, Ended::Sent(1, 9)).await);
    for despite_doubt in [false, true] {
        let done = begin(&one, despite_doubt).await;
        assert_eq!(done, Err("sent".to_owned()));
    }
    assert_eq!(begin(&key(8, 5), false).await, Ok(1), "another message");
    let rows = dead_letters::resent(pool, "e", "raw.logs", &[(1, 7), (1, 6)])
        .await
        .expect("read");
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (
            rows[0].attempts,
            rows[0].sent_partition,
            rows[0].sent_offset
        ),
        (3, Some(1), Some(9))
    );
    let other = dead_letters::resent(pool, "another epoch", "raw.logs", &[(1, 7)]).await;
    assert_eq!(other.expect("read"), []);
}

#[tokio::test]
async fn artifacts_are_superseded_by_kind_and_read_by_the_reader() {
    let postgres = database("artifacts").await;
    let incident_id = ids::derive(&["chain"]);
    let of = |kind: ArtifactKind, name: &str| Artifact {
        artifact_id: midwatch_events::artifact::id(incident_id, kind, &[name]),
        incident_id,
        kind,
        schema_version: 1,
        producer: "midwatch.investigation".to_owned(),
        consumer: "midwatch.remediation".to_owned(),
        status: ArtifactStatus::Complete,
        inputs: vec![ids::derive(&["one"]), ids::derive(&["other"])],
        evidence: vec!["record, \"quoted\"".to_owned(), "{braces}".to_owned()],
        created_at_ms: 1_767_225_600_000,
        replay: false,
        body: json!({"confidence": 0.5, "of": name}),
    };
    let write = async |links: &[Artifact], supersedes: &[ArtifactKind]| {
        let mut tx = postgres.begin().await.expect("a transaction");
        artifacts::write(&mut tx, incident_id, links, supersedes)
            .await
            .expect("written");
        tx.commit().await.expect("committed");
    };
    let finding = of(ArtifactKind::AnomalyFinding, "a");
    let first = of(ArtifactKind::RootCauseHypothesis, "1");
    let second = of(ArtifactKind::RootCauseHypothesis, "2");
    let kinds = [ArtifactKind::RootCauseHypothesis];
    write(std::slice::from_ref(&finding), &[]).await;
    write(std::slice::from_ref(&first), &kinds).await;
    write(std::slice::from_ref(&second), &kinds).await;
    let mut reader = postgres.pool.acquire().await.expect("a connection");
    sqlx::raw_sql("SET ROLE midwatch_reader")
        .execute(&mut *reader)
        .await
        .expect("the role is there");
    sqlx::raw_sql("SELECT count(*) FROM artifacts")
        .execute(&mut *reader)
        .await
        .expect("readers may read them");
    sqlx::raw_sql("UPDATE artifacts SET status = 'rejected'")
        .execute(&mut *reader)
        .await
        .expect_err("and nothing more");
    let read = async || {
        artifacts::of_incident(&postgres.pool, incident_id)
            .await
            .expect("read")
    };
    let replaced = Artifact {
        status: ArtifactStatus::Superseded,
        ..first.clone()
    };
    assert_eq!(read().await, [finding.clone(), replaced, second.clone()]);
    // What is concluded again counts again; what it says stays as it was.
    let again = Artifact {
        body: json!("something else"),
        ..first.clone()
    };
    write(std::slice::from_ref(&again), &kinds).await;
    let replaced = Artifact {
        status: ArtifactStatus::Superseded,
        ..second
    };
    assert_eq!(read().await, [finding, first, replaced]);
    let none = artifacts::of_incident(&postgres.pool, ids::derive(&["another"])).await;
    assert_eq!(none.expect("read"), []);
}

#[tokio::test]
async fn a_reopened_incident_has_no_end() {
    let postgres = database("reopened").await;
    let id = ids::derive(&["reopened"]);
    let mut tx = postgres.begin().await.expect("a transaction");
    incident::open(&mut tx, &header(id), &json!({}), &json!({}))
        .await
        .expect("opened");
    incident::resolve(&mut tx, id, 1_767_225_900_000, &json!({"mttr_ms": 300_000}))
        .await
        .expect("resolved");
    incident::reopen(&mut tx, id).await.expect("reopened");
    tx.commit().await.expect("committed");
    let row = midwatch_clients::postgres::read::incident(&postgres.pool, id, id)
        .await
        .expect("read")
        .expect("it is there");
    assert_eq!((row.resolved_at_ms, row.resolution), (None, None));
}

#[tokio::test]
async fn old_messages_are_forgotten_except_those_of_an_incident() {
    let postgres = database("prune").await;
    let id = ids::derive(&["prune"]);
    let mut tx = postgres.begin().await.expect("a transaction");
    incident::open(&mut tx, &header(id), &json!({}), &json!({}))
        .await
        .expect("opened");
    tx.commit().await.expect("committed");
    let rows = [
        (id.to_string(), 9),
        ("payment-service".to_owned(), 9),
        ("payment-service".to_owned(), 7),
        (Uuid::from_u128(10).to_string(), 9),
    ];
    for (number, (key, days)) in rows.iter().enumerate() {
        sqlx::query(
            "INSERT INTO outbox (event_id, agent, topic, key, headers, payload, sent_at)
             VALUES ($1, 'a', 't', $2, '{}', '{}', now() - make_interval(days => $3))",
        )
        .bind(Uuid::from_u128(number as u128))
        .bind(key)
        .bind(*days)
        .execute(&postgres.pool)
        .await
        .expect("kept");
    }
    assert_eq!(
        delivery::prune_outbox(&postgres.pool)
            .await
            .expect("pruned"),
        2
    );
    let left: Vec<String> = sqlx::query_scalar("SELECT key FROM outbox ORDER BY id")
        .fetch_all(&postgres.pool)
        .await
        .expect("read");
    assert_eq!(left, [rows[0].0.clone(), rows[2].0.clone()]);
}

#[tokio::test]
async fn a_url_that_is_none_is_named() {
    let error = Postgres::connect("not a url", 1)
        .await
        .expect_err("refused");
    assert!(error.to_string().contains("DATABASE_URL"), "{error}");
}
