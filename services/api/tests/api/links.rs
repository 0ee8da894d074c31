//! One-time links, on a real broker and a real database.

use crate::commands::{TOKEN, broker, commands, file, press};
use crate::decisions::serve;
use crate::fixture::{Cast, Stage, add_told, write};
use crate::pages::assert_harmless;
use midwatch_api::links::event_id;
use midwatch_clients::kafka::{BrokerReader, KafkaSettings, Start};
use midwatch_clients::postgres::approval_links;
use midwatch_clients::signed_link::{self, Link, LinkKey};
use midwatch_events::ids;
use midwatch_runtime::clock;
use serde_json::{Value, json};

const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

pub fn key() -> LinkKey {
    LinkKey::of(KEY).expect("32 bytes")
}

fn link(cast: &Cast, step: &str, nonce: &str) -> Link {
    Link {
        incident_id: cast.id,
        plan_hash: cast.plan_hash(),
        step_id: step.to_owned(),
        recipient: "ana@example.com".to_owned(),
        nonce: nonce.to_owned(),
        expires_ms: clock::now_ms() + 60_000,
    }
}

/// What lies on `operator.commands` with its event ids.
async fn event_ids(settings: &KafkaSettings) -> Vec<String> {
    let reader = BrokerReader::new(settings.clone());
    let name = settings.topic("operator.commands");
    let page = reader.browse(&name, None, Start::Newest, 100).await;
    let records = page.expect("readable").expect("the topic").records;
    let id = |payload: &str| {
        let json: Value = serde_json::from_str(payload).expect("JSON");
        json["event_id"].as_str().expect("an id").to_owned()
    };
    records.iter().map(|record| id(&record.payload)).collect()
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one link from the first look on")]
async fn looking_at_a_link_changes_nothing_and_pressing_counts_once() {
    let settings = broker().await;
    let operators = file("link", &format!("ana {TOKEN} mail=ana@example.com\n"));
    let server = serve(&settings, &operators).await;
    let cast = Cast::usual("link", 3);
    write(&server.scratch.pool, &cast, Stage::Planned).await;
    let here = format!("http://{}", server.address);
    let token = signed_link::sign(&key(), &link(&cast, "S2", "nonce-1"));
    let at = format!("/approve?t={token}");
    // A scanner looks, again and again.
    for _ in 0..3 {
        let head = server
            .client
            .head(format!("{here}{at}"))
            .send()
            .await
            .expect("an answer");
        assert_eq!(head.status(), 200);
        let page = server.page(&at).await;
        assert_harmless(&page, "the link");
        for part in [
            "ana@example.com (operator ana)",
            "Approve S2",
            "kubectl -n production rollout undo deployment&#x2f;payment-service",
            "risk-disruptive",
            "All pods of payment-service are replaced one by one.",
        ] {
            assert!(page.contains(part), "{part}");
        }
    }
    assert!(commands(&settings).await.is_empty());
    let fields = format!("t={token}&decision=approve&reason=from+the+train");
    let foreign = press(
        &server,
        "/approve",
        &fields,
        &[("origin", "http://evil.example")],
    )
    .await;
    assert_eq!(foreign.status(), 403);
    let origin = [("origin", here.as_str())];
    let pressed = press(&server, "/approve", &fields, &origin).await;
    assert_eq!(pressed.status(), 202);
    let page = pressed.text().await.expect("a body");
    assert!(
        page.contains("<b>Approved</b>, as ana@example.com"),
        "{page}"
    );
    for decision in ["approve", "reject"] {
        let again = format!("t={token}&decision={decision}");
        let replayed = press(&server, "/approve", &again, &origin).await;
        assert_eq!(replayed.status(), 409);
        assert!(
            replayed
                .text()
                .await
                .expect("a body")
                .contains("already used")
        );
    }
    let looked = server.get(&at).await;
    assert_eq!(looked.status(), 410);
    let looked = looked.text().await.expect("a body");
    assert!(looked.contains("This link was already used") && !looked.contains("value=\"approve\""));
    let found = commands(&settings).await;
    assert_eq!(found.len(), 1);
    let command = &found[0].1;
    assert_eq!(
        (
            command.by.as_str(),
            command.credential_id.as_str(),
            command.details.nonce.as_str()
        ),
        ("ana", "link:ana@example.com", "nonce-1")
    );
    assert_eq!(
        (command.target.as_str(), command.details.channel.as_str()),
        ("S2", "link")
    );
    assert_eq!(command.details.plan_hash, cast.plan_hash());
    assert_eq!(command.reason, "from the train");
    assert_eq!(
        event_ids(&settings).await,
        [event_id("nonce-1").to_string()]
    );
    server.stop().await;
    std::fs::remove_file(operators).expect("it is there");
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table of what is refused")]
async fn a_link_that_is_not_good_says_why_and_publishes_nothing() {
    let settings = broker().await;
    let operators = file("bad-link", &format!("ana {TOKEN}\n"));
    let server = serve(&settings, &operators).await;
    let [cast, over, done] = [
        ("stale", Stage::Planned),
        ("past", Stage::Resolved),
        ("did", Stage::Planned),
    ]
    .map(|(seed, stage)| (Cast::usual(seed, 3), stage));
    for (cast, stage) in [&cast, &over, &done] {
        write(&server.scratch.pool, cast, *stage).await;
    }
    let (cast, over, done) = (&cast.0, &over.0, &done.0);
    let outcome = done.told("S2", &json!({"details": {"status": "done"}}));
    let lines = [("ACTION_EXECUTED", "S2: done", outcome)];
    add_told(&server.scratch.pool, done, &lines).await;
    let good = link(cast, "S2", "n");
    let signed = |link: &Link| signed_link::sign(&key(), link);
    let foreign = LinkKey::of(b"another-key-of-thirty-two-bytes!").expect("32 bytes");
    let mut tampered = signed(&good).into_bytes();
    tampered[20] = if tampered[20] == b'A' { b'B' } else { b'A' };
    let tampered = String::from_utf8(tampered).expect("text");
    let unknown = Link {
        incident_id: ids::derive(&["nobody"]),
        ..good.clone()
    };
    let here = format!("http://{}", server.address);
    for (token, status, words) in [
        (String::new(), 400, "this is no whole link"),
        ("a.b".to_owned(), 400, "this is no whole link"),
        (tampered, 403, "signature does not fit"),
        (signed_link::sign(&foreign, &good), 403, "signed elsewhere"),
        (
            signed(&Link {
                expires_ms: 1,
                ..good.clone()
            }),
            410,
            "the link has expired",
        ),
        (signed(&unknown), 404, "there is no incident"),
        (
            signed(&Link {
                plan_hash: "0".repeat(64),
                ..good.clone()
            }),
            409,
            "is another one now",
        ),
        (
            signed(&Link {
                step_id: "S9".to_owned(),
                ..good.clone()
            }),
            404,
            "has no step",
        ),
        (signed(&link(over, "S2", "o")), 409, "is over"),
        (signed(&link(done, "S2", "d")), 409, "S2 was carried out"),
    ] {
        let looked = server.get(&format!("/approve?t={token}")).await;
        assert_eq!(looked.status(), status, "{words}");
        let page = looked.text().await.expect("a body");
        assert!(
            page.contains(words) && !page.contains("value=\"approve\""),
            "{words}: {page}"
        );
        let fields = format!("t={token}&decision=approve");
        let pressed = press(&server, "/approve", &fields, &[("origin", &here)]).await;
        assert_eq!(pressed.status(), status, "{words}");
    }
    assert!(commands(&settings).await.is_empty());
    server.stop().await;
    std::fs::remove_file(operators).expect("it is there");
}

#[tokio::test]
async fn a_link_that_the_broker_did_not_take_is_kept_for_the_same_decision() {
    let operators = file("away", &format!("ana {TOKEN}\n"));
    let mut nowhere = KafkaSettings::at("127.0.0.1:1");
    nowhere.topic_prefix = "away.".to_owned();
    let server = serve(&nowhere, &operators).await;
    let cast = Cast::usual("away", 3);
    write(&server.scratch.pool, &cast, Stage::Planned).await;
    let pool = &server.app.resender;
    let good = link(&cast, "S2", "n-away");
    assert_eq!(
        approval_links::take(pool, &good, "approve")
            .await
            .expect("a row"),
        None
    );
    let taken = approval_links::take(pool, &good, "approve")
        .await
        .expect("a row");
    assert!(taken.is_some_and(|used| !used.is_published));
    sqlx::query("UPDATE approval_links_used SET taken_at = now() - INTERVAL '61 seconds'")
        .execute(&server.scratch.pool)
        .await
        .expect("aged");
    let other = approval_links::take(pool, &good, "reject")
        .await
        .expect("a row");
    assert!(other.is_some(), "the approval may be on the broker");
    assert_eq!(
        approval_links::take(pool, &good, "approve")
            .await
            .expect("a row"),
        None
    );
    approval_links::published(pool, &good.nonce, 1, 2)
        .await
        .expect("kept");
    approval_links::give_back(pool, &good.nonce)
        .await
        .expect("nothing to give back");
    let used = approval_links::used(&server.app.pool, &good.nonce)
        .await
        .expect("read");
    assert!(used.is_some_and(|used| used.is_published));
    server.stop().await;
    std::fs::remove_file(operators).expect("it is there");
}
