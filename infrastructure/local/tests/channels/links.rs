//! One-time links reach whom they are for, and nobody finds one in the database.

use crate::peer::Peer;
use crate::support::until;
use crate::{Mails, WAIT, agent_with, count, mails, part};
use serde_json::{Value, json};
use uuid::Uuid;

impl Mails {
    /// The tables and views that hold this text, as the dashboard's role reads
    /// them.
    async fn readable(&self, text: &str) -> Vec<String> {
        let mut reader = self.postgres.pool.acquire().await.expect("connected");
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT relname::text FROM pg_class
             WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm')
               AND has_table_privilege('midwatch_reader', oid, 'SELECT')",
        )
        .fetch_all(&mut *reader)
        .await
        .expect("the database answers");
        assert!(tables.iter().any(|name| name == "jobs"), "{tables:?}");
        let mut found = Vec::new();
        sqlx::raw_sql("SET ROLE midwatch_reader")
            .execute(&mut *reader)
            .await
            .expect("the role is there");
        for table in tables {
            // Bytes are shown as digits; what goes out is text.
            let column = if table == "outbox" || table == "parked" {
                "convert_from(payload, 'UTF8')"
            } else {
                "to_jsonb(one)::text"
            };
            let query = format!("SELECT count(*) FROM {table} AS one WHERE {column} LIKE $1");
            let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
                .bind(format!("%{text}%"))
                .fetch_one(&mut *reader)
                .await
                .expect("the role may read it");
            if count > 0 {
                found.push(table);
            }
        }
        sqlx::raw_sql("RESET ROLE")
            .execute(&mut *reader)
            .await
            .expect("back");
        found
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_arrive_and_no_reader_of_the_database_finds_one() {
    let world = Mails::new("links").await;
    let folder = world.folder.path();
    let (key, book) = (folder.join("key"), folder.join("notify.json"));
    std::fs::write(&key, "7".repeat(64)).expect("written");
    let peer = Peer::default();
    let url = folder.join("url");
    let room = format!("{}/chats/discord/room", peer.serve().await);
    std::fs::write(&url, room).expect("written");
    let channels = json!({
        "channels": [{ "name": "room", "kind": "webhook", "format": "discord", "url_file": url }],
        "routes": [{ "channels": ["room"] }],
    });
    std::fs::write(&book, channels.to_string()).expect("written");
    let paths = (folder, Some(book.as_path()));
    let _agent = agent_with(&world.kafka, &world.url, world.port, paths, Some(&key));
    let incident = Uuid::from_u128(80 << 96);
    for number in 0..2 {
        world.tell(incident, number, "CRITICAL").await;
    }
    let (topic, plan) = part(incident, 2);
    let mut plan: Value = serde_json::from_slice(&plan).expect("JSON");
    plan["plan_hash"] = json!("ab".repeat(32));
    plan["action_steps"][0]["typed"] = json!({
        "kind": "restart_rollout", "service": "payment-service", "risk": "disruptive",
        "arguments": {"workload": "payment-service", "namespace": "shop"},
        "executor": "kubernetes", "pre_checks": [], "blast_radius": "its pods",
        "effect": {"service": "payment-service", "metric": "service_db_connections",
            "direction": "below", "baseline_value": 30.0, "within_ms": 300_000},
    });
    let (id, plan) = (incident.to_string(), plan.to_string());
    let sent = world
        .producer
        .publish_bytes(topic.name(), id.as_bytes(), plan.as_bytes(), &[]);
    sent.await.expect("taken");
    let linked = |what: &str| {
        let mark = format!("/{what}?t=");
        let texts = mails(folder);
        let texts = texts.iter().filter_map(|mail| mail["text"].as_str());
        texts.filter(|text| text.contains(&mark)).count()
    };
    // On call alone is addressed, management is in copy.
    until("the links have come", WAIT, async || {
        (linked("acknowledge"), linked("approve")) == (1, 1)
            && count(&world.postgres, "PENDING").await == 0
    })
    .await;
    // Applied jobs are kept; they are what the deliveries were made from.
    let kept = "SELECT count(*) FROM jobs WHERE payload ? 'link'";
    assert!(world.ask(kept).await >= 3, "two mails and a message");
    assert_eq!(world.readable("?t=").await, Vec::<String>::new());
    assert_eq!(
        world.readable("?link=").await,
        ["jobs"],
        "what is looked for is found"
    );
}
