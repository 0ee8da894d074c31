//! What the pages show.

use crate::server::Server;
use crate::stage::{HOSTILE, Stage, brokers};
use midwatch_api::topic_page;
use midwatch_clients::kafka::KafkaSettings;
use midwatch_runtime::Settings;
use std::collections::BTreeSet;

/// The part of a page from `begin` to the next `end`.
fn cut<'a>(page: &'a str, begin: &str, end: &str) -> &'a str {
    let from = page
        .find(begin)
        .unwrap_or_else(|| panic!("{begin} in {page}"));
    let rest = &page[from..];
    &rest[..rest.find(end).unwrap_or(rest.len())]
}

/// The ids of the messages, in their order on the page.
fn shown(page: &str) -> Vec<String> {
    page.split("<li class=\"message")
        .skip(1)
        .map(|rest| {
            cut(rest, "id=\"", "\">")
                .trim_start_matches("id=\"")
                .to_owned()
        })
        .collect()
}

fn id(place: &(i32, i64)) -> String {
    format!("p{}-{}", place.0, place.1)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_shows_topics_groups_lag_and_dead_letters() {
    for (tansu, settings) in brokers() {
        let stage = Stage::set(settings.clone()).await;
        stage.metrics(1_230).await;
        stage.dead_letter(b"{broken", "expected a colon").await;
        let member =
            tokio::task::block_in_place(|| stage.member("detection", "0", &["raw.metrics"], 1_000));
        let server = Server::start(settings.clone()).await;
        let page = server.page("/").await;
        let row = cut(&page, "href=\"/topics/raw.metrics\"", "</tr>");
        assert!(row.contains(">1,230<span"), "{row}");
        assert!(row.contains("collectors, simulator → detection"), "{row}");
        let dead = cut(&page, "href=\"/topics/raw.logs.dlq\"", "</td>");
        assert!(
            dead.contains(">1<") && page.contains("dead some\" href=\"/topics/raw.logs.dlq\""),
            "{dead}"
        );
        let none = "class=\"dead\" href=\"/topics/raw.metrics.dlq\">0<";
        assert!(page.contains(none), "an empty one is not highlighted");
        let group = cut(&page, "<h3>midwatch.detection</h3>", "</article>");
        assert!(
            group.contains("<b>230</b> <span>lag, the oldest waits "),
            "{group}"
        );
        assert!(group.contains("midwatch.detection.0"), "{group}");
        if tansu {
            assert!(group.contains("the broker does not say"), "{group}");
        } else {
            assert!(group.contains("raw.metrics <b>0–2</b>"), "{group}");
        }
        assert!(
            !page.contains(&settings.topic_prefix),
            "names are shown without the prefix"
        );
        let json = server.json().await;
        assert_eq!(json["topics"][0]["messages"], 1_230);
        assert_eq!(json["groups"][0]["lag"], 230);
        assert_eq!(json["topics"][0]["per_second"], serde_json::Value::Null);
        stage.metrics(50).await;
        let rated =
            |page: &str| cut(page, "href=\"/topics/raw.metrics\"", "</tr>").contains(">1,280<span");
        let page = server.page_with("/", rated).await;
        let rate = cut(&page, "href=\"/topics/raw.metrics\"", "</tr>");
        assert!(
            !rate.contains("data-label=\"Per second\" class=\"num\">–"),
            "{rate}"
        );
        assert!(server.json().await["topics"][0]["per_second"].as_f64() > Some(0.0));
        drop(member);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_topic_pages_back_through_all_its_messages() {
    for (_, settings) in brokers() {
        let stage = Stage::set(settings.clone()).await;
        let places = stage.metrics(130).await;
        let server = Server::start(settings).await;
        let (mut path, mut all, mut pages) = ("/topics/raw.metrics".to_owned(), Vec::new(), 0);
        loop {
            let page = server.page(&path).await;
            all.extend(shown(&page));
            pages += 1;
            if !page.contains(">Older</a>") {
                assert!(
                    !page.contains("id=\"follow\""),
                    "only the newest page follows"
                );
                break;
            }
            let link = cut(&page, "<a class=\"button\" href=\"", "\">Older");
            path = link
                .trim_start_matches("<a class=\"button\" href=\"")
                .replace("&amp;", "&");
        }
        assert_eq!((pages, all.len()), (3, 130));
        let expected: BTreeSet<String> = places.iter().map(id).collect();
        assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), expected);
        let (partition, offset) = places[60];
        let page = server
            .page(&format!(
                "/topics/raw.metrics?partition={partition}&offset={offset}"
            ))
            .await;
        let first = cut(&page, "<li class=\"message", "</li>");
        assert!(first.starts_with("<li class=\"message target\""), "{first}");
        assert!(
            first.contains(&format!("id=\"{}\"", id(&(partition, offset)))),
            "{first}"
        );
        assert!(
            first.contains("  &quot;environment&quot;: &quot;simulation&quot;,\n"),
            "{first}"
        );
        assert!(
            first.contains("<dt>ce_source</dt><dd>&#x2f;midwatch&#x2f;"),
            "{first}"
        );
        let others = shown(&page)
            .iter()
            .all(|one| one.starts_with(&format!("p{partition}-")));
        assert!(others, "only the partition that was asked for");
        for (query, hint) in [
            ("partition=x", "whole number"),
            ("offset=-1", "whole number"),
            ("before=1", "Older"),
            ("colour=red", "partition"),
        ] {
            let (status, _, body) = server.get(&format!("/topics/raw.metrics?{query}")).await;
            assert!(
                status == 400 && body.contains(hint),
                "{query}: {status} {body}"
            );
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_telemetry_says_stays_text() {
    for (_, settings) in brokers() {
        let stage = Stage::set(settings.clone()).await;
        let line =
            format!(r#"{{"service":"{HOSTILE}","message":"</pre><script>alert(1)</script>"}}"#);
        stage.say("raw.logs", HOSTILE, &line).await;
        stage.dead_letter(line.as_bytes(), HOSTILE).await;
        let member =
            tokio::task::block_in_place(|| stage.member("detection", HOSTILE, &["raw.logs"], 1));
        let server = Server::start(settings).await;
        for path in ["/", "/topics/raw.logs", "/topics/raw.logs.dlq"] {
            let page = server.page(path).await;
            assert!(
                page.contains("&lt;img src=x onerror=alert(1)&gt;"),
                "{path}: {page}"
            );
            assert!(
                !page.contains("<img src=x") && !page.contains("<script>"),
                "{path}: {page}"
            );
        }
        let page = server.page("/topics/raw.logs.dlq").await;
        assert!(page.contains("<span class=\"reason\">not_json: "), "{page}");
        let (status, _, body) = server
            .get("/topics/%3Cimg%20src=x%20onerror=alert(1)%3E")
            .await;
        assert!(
            status == 404 && !body.contains("<img src=x onerror"),
            "{body}"
        );
        drop(member);
        server.stop().await;
    }
}

#[tokio::test]
async fn only_topics_under_the_prefix_are_there_and_nothing_can_be_written() {
    let (_, settings) = brokers().remove(0);
    let stage = Stage::set(settings.clone()).await;
    let mut other = settings.clone();
    other.topic_prefix = format!("other-{}", settings.topic_prefix);
    Stage::set(other.clone()).await;
    let server = Server::start(settings).await;
    let full = other.topic("raw.logs");
    for name in ["no.such", full.as_str(), "__consumer_offsets"] {
        let (status, _, body) = server.get(&format!("/topics/{name}")).await;
        assert_eq!(status, 404, "{name}");
        assert!(
            body.contains("see the list of topics") && body.contains("href=\"/\""),
            "{body}"
        );
    }
    let (status, _, body) = server.get("/elsewhere").await;
    assert!(status == 404 && body.contains("lists the topics"), "{body}");
    for path in ["/", "/topics/raw.logs", "/api/topics"] {
        assert_eq!(server.post(path).await, 405, "{path}");
    }
    let empty = server.page("/topics/raw.logs").await;
    assert!(empty.contains("No messages yet"), "{empty}");
    stage.say("raw.logs", "k", "plain <b>text</b>").await;
    let page = server.page("/topics/raw.logs").await;
    assert!(page.contains("plain &lt;b&gt;text"), "{page}");
    let script = cut(&page, "<script src=", "\" defer").trim_start_matches("<script src=\"");
    assert!(
        server
            .page(&script.replace("&#x2f;", "/"))
            .await
            .contains("Follow")
    );
    server.stop().await;
}

#[tokio::test]
async fn a_broker_that_is_away_is_said_on_the_page() {
    let server = Server::start(KafkaSettings::at("127.0.0.1:1")).await;
    let (status, _, body) = server.get("/").await;
    assert_eq!(status, 503);
    assert!(
        body.contains("The broker does not answer") && body.contains("127.0.0.1:1"),
        "{body}"
    );
    assert!(
        body.contains("data-part=\"topics\""),
        "the page goes on asking"
    );
    let (status, _, body) = server.get("/topics/raw.logs").await;
    assert!(
        status == 503 && body.contains("KAFKA_BOOTSTRAP_SERVERS"),
        "{body}"
    );
    assert_eq!(server.json().await["reachable"], false);
    server.stop().await;
}

#[test]
fn the_listener_can_be_moved_or_switched_off() {
    let with = |value: Option<&str>| {
        let pairs = value.map(|value| ("TOPICS_BIND".to_owned(), value.to_owned()));
        let settings = Settings::from_values(pairs);
        (topic_page::bind(&settings), settings.finish().is_ok())
    };
    assert_eq!(with(None), ("127.0.0.1:8080".parse().ok(), true));
    assert_eq!(
        with(Some("127.0.0.1:9")),
        ("127.0.0.1:9".parse().ok(), true)
    );
    assert_eq!(with(Some("off")), (None, true));
    assert_eq!(with(Some("8080")), (None, false));
}
