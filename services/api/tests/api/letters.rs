//! Dead letters, and sending them again.

use crate::HOSTILE;
use crate::fixture::fleet;
use crate::server::Server;
use midwatch_api::series::Recent;
use midwatch_clients::kafka::{KafkaSettings, Producer};
use midwatch_clients::postgres::dead_letters::{self, Begun, LetterKey};
use midwatch_events::Coordinates;
use midwatch_events::topics::DLQ_MAX_BYTES;
use serde_json::{Value, json};

/// A broker of the test stack.
async fn broker() -> KafkaSettings {
    for variable in ["MIDWATCH_TEST_KAFKA", "MIDWATCH_TEST_TANSU"] {
        if let Some(settings) = fleet::broker(variable).await {
            return settings;
        }
    }
    panic!("neither MIDWATCH_TEST_KAFKA nor MIDWATCH_TEST_TANSU names a broker");
}

async fn serve(settings: &KafkaSettings) -> Server {
    Server::with(settings.clone(), Recent::default(), |_| {}).await
}

async fn post(server: &Server, body: &Value, headers: &[(&str, &str)]) -> (u16, Value) {
    let url = format!("http://{}/api/dead-letters/resend", server.address);
    let mut request = server.client.post(url).json(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let text = response.text().await.expect("a body");
    (status, serde_json::from_str(&text).expect("JSON"))
}

async fn press(server: &Server, fields: &str, headers: &[(&str, &str)]) -> reqwest::Response {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client");
    let mut request = client
        .post(format!("http://{}/agents/resend", server.address))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("accept", "text/html")
        .body(fields.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("an answer")
}

fn place(letter: &Value) -> Value {
    json!({"topic": letter["topic"], "partition": letter["partition"], "offset": letter["offset"]})
}

fn broken() -> Vec<u8> {
    let head = b"{\"broken\": ".as_slice();
    [head, &[0xff, 0xfe], HOSTILE.as_bytes()].concat()
}

#[tokio::test]
async fn a_letter_goes_back_once_with_its_bytes_key_and_headers() {
    for variable in ["MIDWATCH_TEST_KAFKA", "MIDWATCH_TEST_TANSU"] {
        let Some(settings) = fleet::broker(variable).await else {
            continue;
        };
        let about = ("malformed", "no JSON at byte 11");
        let from = ("raw.logs", "detection");
        let origin = fleet::write_letter(&settings, from, &broken(), about).await;
        let server = serve(&settings).await;
        let letters = server.json("/api/dead-letters").await;
        assert_eq!(letters["problem"], Value::Null, "{variable}");
        is_described(&letters["items"][0], origin);
        let offset = is_sent_once(&server, &place(&letters["items"][0]), origin).await;
        lies_there_as_before(&server, origin, offset).await;
        let after = server.json("/api/dead-letters?topic=raw.logs").await;
        let row = &after["items"][0]["resent"];
        assert_eq!(
            (&row["state"], &row["sent_offset"], &row["requested_by"]),
            (
                &json!("sent"),
                &json!(offset),
                &json!("a program at 127.0.0.1")
            )
        );
        let page = server.page("/agents?topic=raw.logs").await;
        crate::pages::assert_harmless(&page, "the letters");
        assert!(page.contains("sent again</span>") && !page.contains(">Send again</button>"));
        server.stop().await;
    }
}

fn is_described(letter: &Value, origin: (i32, i64)) {
    let fields = ["topic", "agent", "kind", "reason", "key", "bytes"].map(|name| &letter[name]);
    assert_eq!(
        json!(fields),
        json!([
            "raw.logs",
            "detection",
            "malformed",
            "no JSON at byte 11",
            "payment-service",
            broken().len()
        ])
    );
    let place = [&letter["origin"]["partition"], &letter["origin"]["offset"]];
    assert_eq!(json!(place), json!([origin.0, origin.1]));
    let open = [&letter["cannot_resend"], &letter["resent"]];
    assert_eq!(open, [&Value::Null, &Value::Null]);
}

/// Asks three times, twice at once; answers with the offset of the one copy.
async fn is_sent_once(server: &Server, wanted: &Value, origin: (i32, i64)) -> i64 {
    let (first, second) = tokio::join!(post(server, wanted, &[]), post(server, wanted, &[]));
    let (status, answer) = post(server, wanted, &[]).await;
    assert_eq!((status, &answer["sent_now"]), (200, &json!(false)));
    let won = [&first, &second]
        .iter()
        .filter(|(status, answer)| *status == 200 && answer["sent_now"] == true)
        .count();
    assert_eq!(won, 1, "{first:?} {second:?}");
    assert_eq!(answer["partition"], origin.0);
    assert_eq!(answer["offset"], origin.1 + 1);
    origin.1 + 1
}

async fn lies_there_as_before(server: &Server, origin: (i32, i64), offset: i64) {
    let broker = server.app.broker();
    let topic = broker.settings().topic("raw.logs");
    let at = async |offset| {
        broker
            .original(&topic, origin.0, offset)
            .await
            .expect("it is there")
    };
    let (before, sent) = (
        at(origin.1).await.expect("it is there"),
        at(offset).await.expect("it is there"),
    );
    assert_eq!((&sent.payload, &sent.key), (&broken(), &before.key));
    let mark = format!("fixture-epoch/raw.logs/{}/{}", origin.0, origin.1);
    let mut expected = before.headers;
    expected.push(("midwatch_resent_of".to_owned(), Some(mark.into_bytes())));
    assert_eq!(sent.headers, expected);
    assert_eq!(at(offset + 1).await, None);
}

#[tokio::test]
async fn only_this_servers_pages_press_the_button() {
    let settings = broker().await;
    let about = ("malformed", "no JSON");
    fleet::write_letter(&settings, ("raw.spans", "correlation"), b"nonsense", about).await;
    let server = serve(&settings).await;
    let page = server.page("/agents").await;
    assert!(
        page.contains(">Send again</button>") && page.contains("nonsense"),
        "{page}"
    );
    let letter = server.json("/api/dead-letters").await["items"][0].clone();
    let fields = format!(
        "topic=raw.spans&partition={}&offset={}&back=topic%3Draw.spans%2F%2Fevil",
        letter["partition"], letter["offset"]
    );
    let own = format!("http://{}", server.address);
    for headers in [
        vec![],
        vec![("origin", "http://evil.example")],
        vec![("origin", "null")],
        vec![("origin", own.as_str()), ("sec-fetch-site", "cross-site")],
        vec![("host", "evil.example"), ("origin", "http://evil.example")],
    ] {
        let response = press(&server, &fields, &headers).await;
        assert_eq!(response.status(), 403, "{headers:?}");
        assert!(
            response
                .headers()
                .get("access-control-allow-origin")
                .is_none()
        );
    }
    let (status, error) = post(
        &server,
        &place(&letter),
        &[("origin", "http://evil.example")],
    )
    .await;
    assert_eq!(
        (status, &error["error"]["code"]),
        (403, &json!("foreign_origin"))
    );
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM dead_letters_resent")
        .fetch_one(&server.scratch.pool)
        .await
        .unwrap();
    assert_eq!(rows, 0, "nothing was begun");
    let response = press(&server, &fields, &[("origin", &own)]).await;
    assert_eq!(response.status(), 303);
    let back = response.headers()["location"].to_str().unwrap();
    let anchor = format!(
        "#letter-raw.spans-{}-{}",
        letter["partition"], letter["offset"]
    );
    assert_eq!(back, format!("/agents?topic=raw.spansevil{anchor}"));
    let after = server.json("/api/dead-letters").await;
    assert_eq!(after["items"][0]["resent"]["state"], "sent");
    server.stop().await;
}

/// Sets a message aside that lay at the first offset of epoch `e`.
async fn set_aside(settings: &KafkaSettings, topic: &str, payload: &[u8]) {
    let place = Coordinates {
        epoch: "e".to_owned(),
        topic: topic.to_owned(),
        partition: 0,
        offset: 0,
        record_ms: 1,
    };
    let producer = Producer::new(settings).expect("it is there");
    producer
        .dead_letter(topic, None, payload, &place, "detection", "kind", "reason")
        .await
        .expect("it is there");
}

async fn newest(server: &Server, topic: &str) -> Value {
    let path = format!("/api/dead-letters?topic={topic}");
    server.json(&path).await["items"][0].clone()
}

#[tokio::test]
async fn what_cannot_be_sent_again_says_why() {
    let settings = broker().await;
    let server = serve(&settings).await;
    set_aside(&settings, "raw.logs", &vec![b'x'; DLQ_MAX_BYTES as usize]).await;
    let forged = [("midwatch_topic".to_owned(), "operator.commands".to_owned())];
    Producer::new(&settings)
        .unwrap()
        .publish_bytes("raw.spans.dlq", b"k", b"{}", &forged)
        .await
        .unwrap();
    let cut = newest(&server, "raw.logs").await;
    let about = [&cut["bytes"], &cut["preview_whole"]];
    assert_eq!(json!(about), json!([DLQ_MAX_BYTES, false]));
    for (topic, words) in [
        ("raw.logs", "holds its beginning and hash only"),
        ("raw.spans", "says that it comes from operator.commands"),
    ] {
        let found = newest(&server, topic).await;
        let why = found["cannot_resend"].as_str().unwrap();
        assert!(why.contains(words), "{found}");
        let (status, answer) = post(&server, &place(&found), &[]).await;
        let error = &answer["error"];
        assert_eq!((status, &error["code"]), (409, &json!("cannot_resend")));
        assert!(
            error["message"].as_str().unwrap().contains(words),
            "{error}"
        );
    }
    let page = server.page("/agents").await;
    assert!(page.contains("Cannot be sent again: the message of 8388608 bytes did not fit"));
    let known = json!({"topic": "raw.logs", "partition": 0, "offset": 0});
    for (field, value, expected) in [
        ("offset", json!(99), 404),
        ("partition", json!(99), 404),
        ("topic", json!("midwatch.epoch"), 400),
        ("offset", Value::Null, 400),
        ("extra", json!(1), 400),
    ] {
        let mut body = known.clone();
        body[field] = value;
        let (status, answer) = post(&server, &body, &[]).await;
        assert_eq!(status, expected, "{body}: {answer}");
        assert!(answer["error"]["hint"].is_string());
    }
    server.stop().await;
}

/// A process that ended between sending and noting it leaves a doubt.
#[tokio::test]
async fn a_doubt_is_ended_by_a_person_and_by_nobody_else() {
    let settings = broker().await;
    let server = serve(&settings).await;
    set_aside(&settings, "raw.metrics", b"x").await;
    let wanted = place(&newest(&server, "raw.metrics").await);
    let key = LetterKey {
        epoch: "e".to_owned(),
        topic: "raw.metrics".to_owned(),
        origin_partition: 0,
        origin_offset: 0,
        letter_partition: 0,
        letter_offset: 0,
    };
    let begun = dead_letters::begin(&server.app.resender, &key, "somebody", false).await;
    assert_eq!(begun.unwrap(), Begun::Mine(1));
    let refused = async |code: &str| {
        let (status, answer) = post(&server, &wanted, &[]).await;
        assert_eq!((status, &answer["error"]["code"]), (409, &json!(code)));
    };
    refused("under_way").await;
    sqlx::query("UPDATE dead_letters_resent SET requested_at = now() - INTERVAL '2 minutes'")
        .execute(&server.scratch.pool)
        .await
        .unwrap();
    refused("in_doubt").await;
    let page = server.page("/agents").await;
    assert!(page.contains("Send again in spite of that"));
    let mut sure = wanted.clone();
    sure["despite_doubt"] = json!(true);
    let (status, answer) = post(&server, &sure, &[]).await;
    assert_eq!((status, &answer["sent_now"]), (200, &json!(true)));
    assert_eq!(answer["headers"], "none", "the original never lay there");
    let (_, again) = post(&server, &sure, &[]).await;
    assert_eq!(again["sent_now"], false, "sent for certain stays sent");
    server.stop().await;
}

#[tokio::test]
async fn letters_of_a_topic_are_paged_by_key() {
    let settings = broker().await;
    let mut expected = Vec::new();
    for number in 0..5 {
        let payload = format!("broken {number}");
        let about = ("malformed", "no JSON");
        fleet::write_letter(
            &settings,
            ("raw.metrics", "detection"),
            payload.as_bytes(),
            about,
        )
        .await;
        expected.insert(0, payload);
    }
    let server = serve(&settings).await;
    let mut got = Vec::new();
    let mut next = String::new();
    for _ in 0..3 {
        let page = server
            .json(&format!(
                "/api/dead-letters?topic=raw.metrics&limit=2{next}"
            ))
            .await;
        let items = page["items"].as_array().unwrap();
        got.extend(
            items
                .iter()
                .map(|one| one["preview"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(key) => next = format!("&before={key}"),
            None => break,
        }
    }
    assert_eq!(got, expected);
    let page = server.page("/agents?topic=raw.metrics&limit=2").await;
    assert!(page.contains(">Older</a>"), "{page}");
    let error = server.refused("/api/dead-letters?before=0.1", 400).await;
    assert!(
        error["hint"]
            .as_str()
            .unwrap()
            .contains("topic=raw.metrics")
    );
    server.stop().await;
}

#[tokio::test]
async fn its_writing_sessions_can_write_nothing_else() {
    let server = Server::start().await;
    for statement in [
        "DELETE FROM dead_letters_resent",
        "UPDATE incidents SET status = 'RESOLVED'",
        "INSERT INTO agent_events (event_id, agent_name, event_type, event_time_ms, summary)
         VALUES (gen_random_uuid(), 'x', 'x', 0, 'x')",
    ] {
        let error = sqlx::query(statement)
            .execute(&server.app.resender)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("permission denied"), "{error}");
    }
    server.stop().await;
}
