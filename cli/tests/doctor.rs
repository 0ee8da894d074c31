//! `midwatch doctor` against real servers: all well, and each thing broken.

mod support;

use fred::interfaces::ClientLike;
use fred::types::CustomCommand;
use midwatch_clients::kafka::{KafkaSettings, Producer, create_topics};
use midwatch_local::{Server, Stack};
use qdrant_client::Qdrant;
use qdrant_client::qdrant::{CreateCollectionBuilder, Distance, VectorParamsBuilder};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use std::time::{Duration, Instant};
use support::doubles::{http, strict_mail_server};
use support::processes::{api, seed};
use support::{Database, NOWHERE, Report, Stage, broker, kafka, kafka_with_topics, needed};

fn all_is_well(report: &Report) {
    let checks = report.json["checks"].as_array().expect("checks");
    assert!(
        checks
            .iter()
            .all(|one| one["status"] == "ok" && one["remedy"].is_null()),
        "{:#}",
        report.json
    );
    assert_eq!((report.code, &report.json["status"]), (0, &"ok".into()));
    let names: Vec<&str> = checks
        .iter()
        .filter_map(|one| one["check"].as_str())
        .collect();
    assert_eq!(
        names,
        [
            "settings",
            "env-file",
            "kafka",
            "kafka-topics",
            "kafka-sizes",
            "kafka-joins",
            "kafka-epoch",
            "kafka-dead-letters",
            "postgres",
            "postgres-migrations",
            "postgres-reader",
            "redis",
            "redis-policy",
            "redis-persistence",
            "qdrant",
            "qdrant-collections",
            "embedder",
            "smtp",
            "model",
            "api",
        ]
    );
    report.expect("kafka-topics", "ok", "31 topics, 3 partitions each", "");
    report.expect("kafka-epoch", "ok", "epoch-of-a-test", "");
    report.expect(
        "qdrant-collections",
        "ok",
        "incidents 80, runbooks 88, architecture 6",
        "",
    );
    report.expect("embedder", "ok", "384 numbers", "");
    report.expect("smtp", "ok", "STARTTLS is not offered", "");
    report.expect("model", "ok", "none is configured", "");
}

#[tokio::test]
async fn where_all_is_well_every_check_says_so() {
    let mut stack = Stack::new().expect("a stack");
    let vectors = stack
        .start(Server::Vectors)
        .await
        .expect("a knowledge store");
    let database = Database::migrated().await;
    let mut stage = Stage::nowhere();
    stage.set_kafka(&kafka_with_topics().await);
    stage.set("DATABASE_URL", &database.url);
    stage.set("REDIS_URL", needed("MIDWATCH_TEST_REDIS_URL"));
    stage.set("QDRANT_URL", &vectors.url);
    stage.set("EMBEDDINGS_URL", needed("MIDWATCH_TEST_EMBEDDINGS_URL"));
    stage.set("SMTP_URL", needed("MIDWATCH_TEST_SMTP_URL"));
    seed(&stage).await;
    let mut api = api(&mut stage).await;
    let report = stage.examine().await;
    all_is_well(&report);
    let ended = stage.run(&["doctor"]).await;
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let first = ended.out.lines().next().expect("a line");
    assert!(
        first.starts_with("Configuration: the environment and "),
        "{first}"
    );
    assert!(
        ended.out.ends_with("20 checks: 20 OK, 0 WARN, 0 FAIL\n"),
        "{}",
        ended.out
    );
    assert!(
        !ended.out.contains('\u{1b}'),
        "no colours where nobody looks"
    );
    api.kill().await.expect("it ends");
    database.close().await;
    stack.stop().await.expect("it stops");
}

#[tokio::test]
async fn what_does_not_answer_fails_with_its_remedy_and_no_password() {
    let stage = Stage::nowhere();
    let begun = Instant::now();
    let report = stage.examine().await;
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "each check has a limit"
    );
    assert_eq!(report.code, 1);
    for (check, found, remedy) in [
        (
            "kafka",
            "no broker answers at 127.0.0.1:1",
            "KAFKA_BOOTSTRAP_SERVERS",
        ),
        ("postgres", "cannot be opened", "DATABASE_URL"),
        ("redis", "redis://127.0.0.1:1", "REDIS_URL"),
        ("qdrant", "http://127.0.0.1:1 does not answer", "QDRANT_URL"),
        ("embedder", "http://127.0.0.1:1/v1", "midwatch-embedder"),
        ("smtp", "127.0.0.1:1", "SMTP_URL"),
        ("api", "http://127.0.0.1:1", "MIDWATCH_API_URL"),
    ] {
        report.expect(check, "fail", found, remedy);
    }
    for (check, first) in [
        ("kafka-topics", "kafka"),
        ("kafka-dead-letters", "kafka"),
        ("postgres-migrations", "postgres"),
        ("redis-policy", "redis"),
        ("qdrant-collections", "qdrant"),
    ] {
        report.expect(
            check,
            "warn",
            "could not be looked at",
            &format!("{first} first"),
        );
    }
    assert!(!report.json.to_string().contains("hidden-word"));
    let ended = stage.run(&["doctor"]).await;
    assert_eq!(ended.code, 1);
    assert!(ended.out.contains("\nFAIL  kafka  "), "{}", ended.out);
    assert!(!ended.out.contains("hidden-word"));
    assert!(
        ended.out.lines().all(|line| line.chars().count() <= 80),
        "{}",
        ended.out
    );
}

#[tokio::test]
async fn settings_and_names_in_the_file_are_judged() {
    let mut stage = Stage::with_broker();
    stage.set("SIGMA_THRESHOLD", "lots");
    stage.set("SMTP_ULR", "smtp://x");
    stage.set("OPENAI_API_KEY", "sk with blanks that is secret");
    let report = stage.examine().await;
    report.expect(
        "settings",
        "fail",
        "SIGMA_THRESHOLD is \"lots\"",
        "from 0.5 to 20",
    );
    report.expect(
        "env-file",
        "warn",
        "nothing reads SMTP_ULR",
        "write SMTP_URL",
    );
    report.expect(
        "model",
        "fail",
        "OPENAI_API_KEY (29 characters, not shown)",
        "correct",
    );
    assert!(!report.json.to_string().contains("that is secret"));
}

fn admin(settings: &KafkaSettings) -> AdminClient<DefaultClientContext> {
    settings.client_config().create().expect("an admin client")
}

/// Makes a topic before midwatch-init would.
async fn make(settings: &KafkaSettings, topic: &str, partitions: i32, max_bytes: &str) {
    let name = settings.topic(topic);
    let new = NewTopic::new(&name, partitions, TopicReplication::Fixed(1))
        .set("max.message.bytes", max_bytes);
    let made = admin(settings)
        .create_topics([&new], &AdminOptions::new())
        .await;
    made.expect("answered")[0].as_ref().expect("made");
}

#[tokio::test]
async fn topics_that_are_missing_or_set_up_otherwise_are_named() {
    let mut stage = Stage::with_broker();
    // None at all.
    stage.set_kafka(&kafka());
    let report = stage.examine().await;
    report.expect("kafka", "ok", "answers in", "");
    report.expect(
        "kafka-topics",
        "fail",
        "31 of 31 topics are missing",
        "midwatch-init",
    );
    report.expect("kafka-epoch", "fail", "carry no epoch", "midwatch-init");

    // One is missing, and a message could not be read.
    let settings = kafka_with_topics().await;
    let gone = settings.topic("operator.commands.dlq");
    let deleted = admin(&settings)
        .delete_topics(&[&gone], &AdminOptions::new())
        .await;
    deleted.expect("answered")[0].as_ref().expect("deleted");
    let producer = Producer::new(&settings).expect("a producer");
    producer
        .publish_bytes("raw.logs.dlq", b"k", b"nonsense", &[])
        .await
        .expect("acknowledged");
    stage.set_kafka(&settings);
    let report = stage.examine().await;
    report.expect(
        "kafka-topics",
        "fail",
        &format!("1 of 31 topics are missing: {gone}"),
        "midwatch-init",
    );
    report.expect(
        "kafka-dead-letters",
        "warn",
        "raw.logs.dlq 1",
        "midwatch topics tail raw.logs.dlq",
    );

    // Other partitions than those it is joined with, and too small.
    let settings = kafka();
    make(&settings, "rca.completed", 5, "1000").await;
    create_topics(&settings).await.expect("the others");
    stage.set_kafka(&settings);
    let report = stage.examine().await;
    report.expect(
        "kafka-topics",
        "warn",
        "rca.completed has 5",
        "KAFKA_PARTITIONS",
    );
    report.expect("kafka-joins", "fail", "5 in rca.completed", "--partitions");
    if broker().1 {
        // The fallback broker may not tell; it must not be called wrong then.
        let checks = report.json["checks"].as_array().expect("checks");
        let sizes = checks.iter().find(|one| one["check"] == "kafka-sizes");
        assert!(sizes.is_some(), "{:#}", report.json);
    } else {
        report.expect(
            "kafka-sizes",
            "fail",
            "rca.completed takes 1000 of 1048576 bytes",
            "kafka-configs.sh",
        );
    }
}

#[tokio::test]
async fn a_database_without_schema_with_a_newer_one_or_closed_is_told_apart() {
    let mut stage = Stage::with_broker();
    let database = Database::empty().await;
    stage.set("DATABASE_URL", &database.url);
    let report = stage.examine().await;
    report.expect("postgres", "ok", "PostgreSQL", "");
    report.expect(
        "postgres-migrations",
        "fail",
        "no schema yet",
        "midwatch-init",
    );
    database.close().await;

    let database = Database::migrated().await;
    stage.set("DATABASE_URL", &database.url);
    database
        .run("UPDATE _sqlx_migrations SET checksum = '\\x00' WHERE version = 1")
        .await;
    let report = stage.examine().await;
    report.expect(
        "postgres-migrations",
        "fail",
        "migration 1 was applied in another form",
        "empty database",
    );
    database
        .run(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (9999, 'from the future', true, '\\x00', 1)",
        )
        .await;
    let report = stage.examine().await;
    report.expect(
        "postgres-migrations",
        "fail",
        "newer than this build: it has migration 9999",
        "newer one",
    );
    stage.set("DATABASE_URL", format!("{}_none", database.url));
    let report = stage.examine().await;
    report.expect("postgres", "fail", "does not exist", "correct DATABASE_URL");
    database.close().await;
}

#[tokio::test]
async fn a_redis_that_forgets_is_found_out() {
    let mut stack = Stack::new().expect("a stack");
    let redis = stack.start(Server::Redis).await.expect("Redis");
    let mut stage = Stage::with_broker();
    stage.set("REDIS_URL", &redis.url);
    let report = stage.examine().await;
    report.expect("redis-policy", "ok", "noeviction", "");
    report.expect("redis-persistence", "ok", "append-only file is on", "");
    let client = midwatch_clients::redis::connect(&redis.url)
        .await
        .expect("Redis");
    for (name, value) in [("maxmemory-policy", "allkeys-lru"), ("appendonly", "no")] {
        let command = CustomCommand::new_static("CONFIG", None, false);
        let reply: String = client
            .custom(command, vec!["SET", name, value])
            .await
            .expect("set");
        assert_eq!(reply, "OK");
    }
    client.quit().await.expect("closed");
    let report = stage.examine().await;
    report.expect("redis", "ok", "version 7", "");
    report.expect(
        "redis-policy",
        "fail",
        "allkeys-lru",
        "CONFIG SET maxmemory-policy noeviction",
    );
    report.expect(
        "redis-persistence",
        "fail",
        "is off",
        "CONFIG SET appendonly yes",
    );
    stack.stop().await.expect("it stops");
}

#[tokio::test]
async fn knowledge_that_is_missing_empty_or_of_another_model_is_named() {
    let mut stack = Stack::new().expect("a stack");
    let vectors = stack
        .start(Server::Vectors)
        .await
        .expect("a knowledge store");
    let mut stage = Stage::with_broker();
    stage.set("QDRANT_URL", &vectors.url);
    let report = stage.examine().await;
    report.expect("qdrant", "ok", &vectors.url, "");
    report.expect(
        "qdrant-collections",
        "fail",
        "incidents does not exist",
        "midwatch-seeder",
    );
    let client = Qdrant::from_url(&vectors.url)
        .skip_compatibility_check()
        .build()
        .expect("a client");
    for (size, found) in [
        (384, "incidents is empty"),
        (3, "incidents has vectors of 3 numbers instead of 384"),
    ] {
        let params = VectorParamsBuilder::new(size, Distance::Cosine);
        let create = CreateCollectionBuilder::new("incidents").vectors_config(params);
        client.create_collection(create).await.expect("created");
        let report = stage.examine().await;
        report.expect("qdrant-collections", "fail", found, "midwatch-seeder");
        client
            .delete_collection("incidents")
            .await
            .expect("deleted");
    }
    stack.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_model_that_refuses_the_key_or_lacks_the_model_is_named_without_the_key() {
    let mut stage = Stage::with_broker();
    stage.set("LLM_BASE_URL", http("{}", "401 Unauthorized").await);
    stage.set("LLM_API_KEY", "sk-keep-this-quiet");
    let report = stage.examine().await;
    report.expect(
        "model",
        "fail",
        "refuses the key in LLM_API_KEY (401)",
        "put a valid key into LLM_API_KEY",
    );
    assert!(!report.json.to_string().contains("sk-keep-this-quiet"));
    let models = r#"{"data":[{"id":"small"},{"id":"large"}]}"#;
    stage.set("LLM_BASE_URL", http(models, "200 OK").await);
    stage.set("LLM_MODEL_FAST", "small");
    stage.set("LLM_MODEL_REASONING", "large");
    let report = stage.examine().await;
    report.expect("model", "ok", "lists 2 models", "");
    stage.set("LLM_MODEL_REASONING", "huge");
    let report = stage.examine().await;
    report.expect("model", "warn", "does not list huge", "small, large");
    stage.set("LLM_BASE_URL", format!("http://127.0.0.1:{NOWHERE}/v1"));
    let report = stage.examine().await;
    report.expect("model", "fail", "does not answer", "LLM_BASE_URL");
}

#[tokio::test]
async fn an_embedder_with_another_model_is_refused() {
    let mut stage = Stage::with_broker();
    let short = r#"{"object":"list","model":"m","data":[{"object":"embedding","index":0,"embedding":[0.1,0.2,0.3]}]}"#;
    stage.set("EMBEDDINGS_URL", http(short, "200 OK").await);
    let report = stage.examine().await;
    report.expect("embedder", "fail", "3", "all-MiniLM-L6-v2 (384 numbers)");
}

#[tokio::test]
async fn a_mail_server_without_tls_or_with_another_password_is_told() {
    let mut stage = Stage::with_broker();
    let inbox = needed("MIDWATCH_TEST_SMTP_URL");
    stage.set("SMTP_URL", format!("{inbox}?tls=required"));
    let report = stage.examine().await;
    report.expect(
        "smtp",
        "fail",
        "offers no STARTTLS, and SMTP_URL wants it",
        "smtps://",
    );
    let strict = strict_mail_server().await;
    stage.set(
        "SMTP_URL",
        format!("smtp://watch:open-sesame@127.0.0.1:{strict}"),
    );
    let report = stage.examine().await;
    report.expect(
        "smtp",
        "fail",
        "no such login",
        "correct user and password in SMTP_URL",
    );
    assert!(!report.json.to_string().contains("open-sesame"));
    stage.set("SMTP_URL", inbox);
    stage.examine().await.expect("smtp", "ok", "greets in", "");
}
