//! Messages as they come.

use crate::server::Server;
use crate::stage::{HOSTILE, Stage, brokers};
use futures::StreamExt;
use serde_json::Value;
use std::time::Duration;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn connect(server: &Server, path: &str) -> Socket {
    let url = format!("ws://{}{path}", server.address);
    let (mut socket, _) = tokio_tungstenite::connect_async(url)
        .await
        .expect("a connection");
    assert_eq!(hear(&mut socket).await["type"], "hello");
    socket
}

async fn hear(socket: &mut Socket) -> Value {
    loop {
        let message = tokio::time::timeout(Duration::from_secs(20), socket.next()).await;
        match message
            .expect("news in time")
            .expect("a message")
            .expect("an open socket")
        {
            Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn refused(server: &Server, path: &str, origin: Option<&str>) -> u16 {
    let mut request = format!("ws://{}{path}", server.address)
        .into_client_request()
        .expect("a request");
    if let Some(origin) = origin {
        request
            .headers_mut()
            .insert("origin", origin.parse().expect("a header"));
    }
    let answer = tokio_tungstenite::connect_async(request).await;
    match answer.expect_err("refused") {
        tungstenite::Error::Http(response) => response.status().as_u16(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_page_hears_new_messages_and_no_old_ones() {
    for (_, settings) in brokers() {
        let stage = Stage::set(settings.clone()).await;
        stage.metrics(40).await;
        let server = Server::start(settings).await;
        let mut socket = connect(&server, "/ws/topics/raw.metrics").await;
        let place = stage
            .say("raw.metrics", HOSTILE, r#"{"metric_value":7.25}"#)
            .await;
        let news = hear(&mut socket).await;
        assert_eq!(news["places"], serde_json::json!([[place.0, place.1]]));
        let html = news["html"].as_str().expect("text");
        assert!(
            html.contains(&format!("id=\"p{}-{}\"", place.0, place.1)),
            "{html}"
        );
        assert!(html.contains("&quot;metric_value&quot;: 7.25"), "{html}");
        assert!(
            html.contains("&lt;img src=x") && !html.contains("<img"),
            "{html}"
        );
        let mut one = connect(
            &server,
            &format!("/ws/topics/raw.metrics?partition={}", place.0),
        )
        .await;
        let mut next = stage.metrics(40).await;
        next.retain(|(partition, _)| *partition == place.0);
        let mut heard = Vec::new();
        while heard.len() < next.len() {
            let places = hear(&mut one).await["places"].clone();
            heard.extend(serde_json::from_value::<Vec<(i32, i64)>>(places).expect("places"));
        }
        assert_eq!(heard, next, "in order, of this partition only");
        server.switch_off();
        let end = tokio::time::timeout(Duration::from_secs(10), one.next()).await;
        match end
            .expect("told in time")
            .expect("a frame")
            .expect("an open socket")
        {
            Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), 1001),
            other => panic!("{other:?}"),
        }
        server.stop().await;
    }
}

/// Listens until `all` messages were heard or reported lost; answers with how
/// many of each, and in how many sendings some were lost.
async fn drain(socket: &mut Socket, all: u64) -> (u64, u64, u64) {
    let (mut heard, mut dropped, mut gaps) = (0, 0, 0);
    while heard + dropped < all {
        let news = hear(socket).await;
        let places = news["places"].as_array().expect("places").len() as u64;
        assert!(places <= 64, "one sending is bounded");
        heard += places;
        let lost = news["dropped"].as_u64().expect("a count");
        dropped += lost;
        if lost > 0 {
            gaps += 1;
            let html = news["html"].as_str().expect("text");
            assert!(html.contains("left out here"), "{html}");
        }
    }
    (heard, dropped, gaps)
}

#[tokio::test]
async fn a_flood_is_cut_and_the_page_hears_how_much_it_missed() {
    for (_, settings) in brokers() {
        let stage = Stage::set(settings.clone()).await;
        let server = Server::start(settings).await;
        let mut socket = connect(&server, "/ws/topics/raw.metrics").await;
        let flood = async {
            for _ in 0..4 {
                stage.metrics(1_000).await;
            }
        };
        // Heard while it goes on: a page that takes nothing is let go.
        let ((), (heard, dropped, gaps)) = tokio::join!(flood, drain(&mut socket, 4_000));
        assert_eq!(heard + dropped, 4_000);
        assert!(gaps > 0 && heard >= 256, "{heard} heard, {dropped} dropped");
        server.stop().await;
    }
}

#[tokio::test]
async fn foreign_pages_and_unknown_topics_are_refused() {
    let (_, settings) = brokers().remove(0);
    Stage::set(settings.clone()).await;
    let server = Server::start(settings).await;
    let foreign = Some("http://elsewhere.example");
    assert_eq!(
        refused(&server, "/ws/topics/raw.metrics", foreign).await,
        403
    );
    assert_eq!(refused(&server, "/ws/topics/no.such", None).await, 404);
    assert_eq!(
        refused(&server, "/ws/topics/raw.metrics?partition=x", None).await,
        400
    );
    server.stop().await;
}
