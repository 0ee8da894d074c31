//! The live feed.

use crate::fixture::{Cast, Stage, add_event, write};
use crate::server::Server;
use futures::StreamExt;
use midwatch_events::ids;
use midwatch_runtime::clock;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn follow(server: &Server) -> Socket {
    let url = format!("ws://{}/ws/live", server.address);
    let (mut socket, _) = tokio_tungstenite::connect_async(url)
        .await
        .expect("a connection");
    let hello = hear(&mut socket).await;
    assert_eq!(hello["type"], "hello");
    socket
}

async fn hear(socket: &mut Socket) -> Value {
    loop {
        let message = tokio::time::timeout(Duration::from_secs(10), socket.next()).await;
        match message
            .expect("news within 10 s")
            .expect("a message")
            .expect("an open socket")
        {
            Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn followers_hear_each_line_once_even_one_that_commits_late() {
    let server = Server::start().await;
    let cast = Cast::usual("live", 1);
    write(&server.scratch.pool, &cast, Stage::Opened).await;
    let mut socket = follow(&server).await;
    let now = clock::now_ms();
    let marker = || {
        add_event(
            &server.scratch.pool,
            None,
            ("api", "MARKER"),
            now,
            now,
            "begun",
            0,
        )
    };
    let begun = marker().await;
    // Lines before the first one read belong to the page, not to the feed.
    let first = hear(&mut socket).await;
    assert_eq!(
        (&first["type"], &first["id"]),
        (&json!("agent_event"), &json!(begun))
    );
    let mut late = server.scratch.pool.begin().await.unwrap();
    let late_id: i64 = sqlx::query_scalar(
        "INSERT INTO agent_events (event_id, incident_id, agent_name, event_type, event_time_ms, summary)
         VALUES (gen_random_uuid(), $1, 'detection', 'ANOMALY_DETECTED', 7, 'late') RETURNING id",
    )
    .bind(cast.id)
    .fetch_one(&mut *late)
    .await
    .unwrap();
    let early_id = add_event(
        &server.scratch.pool,
        Some(cast.id),
        ("detection", "X"),
        now,
        now,
        "early",
        1,
    )
    .await;
    assert!(late_id < early_id);
    assert_eq!(hear(&mut socket).await["id"], early_id);
    late.commit().await.unwrap();
    let heard = hear(&mut socket).await;
    assert_eq!(heard["id"], late_id);
    assert_eq!(heard["short_id"], ids::short_incident(cast.id));
    assert_eq!(heard["summary"], "late");
    let last = add_event(
        &server.scratch.pool,
        None,
        ("api", "MARKER"),
        now,
        now,
        "ended",
        2,
    )
    .await;
    assert_eq!(hear(&mut socket).await["id"], last);
    server.stop().await;
}

#[tokio::test]
async fn a_follower_that_falls_behind_is_dropped_with_a_reason() {
    let server = Server::start().await;
    let mut socket = follow(&server).await;
    // On this one-threaded runtime nobody reads between these.
    let live: Arc<_> = server.app.live.clone();
    for index in 0..2_000 {
        live.publish(json!({"type": "test", "index": index}).to_string());
    }
    let frame = loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Close(frame) => break frame.unwrap(),
            Message::Text(_) | Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(u16::from(frame.code), 1013);
    assert!(frame.reason.contains("too slow"), "{}", frame.reason);
    server.stop().await;
}

#[tokio::test]
async fn followers_of_another_origin_are_refused_and_all_are_told_of_the_end() {
    let server = Server::start().await;
    let mut request = format!("ws://{}/ws/live", server.address)
        .into_client_request()
        .unwrap();
    request
        .headers_mut()
        .insert("origin", "http://elsewhere.example".parse().unwrap());
    let error = tokio_tungstenite::connect_async(request).await.unwrap_err();
    assert!(
        matches!(&error, tungstenite::Error::Http(response) if response.status() == 403),
        "{error:?}"
    );
    let mut socket = follow(&server).await;
    server.switch.send_replace(true);
    let end = tokio::time::timeout(Duration::from_secs(10), socket.next())
        .await
        .unwrap();
    let code = match end.unwrap().unwrap() {
        Message::Close(frame) => u16::from(frame.unwrap().code),
        other => panic!("{other:?}"),
    };
    assert_eq!(code, 1001);
    server.stop().await;
}
