//! Slack's buttons, on a real broker.

use crate::commands::{TOKEN, broker, commands, file};
use crate::fixture::{Cast, Stage, write};
use crate::server::Server;
use axum::Router;
use axum::routing::post;
use hmac::{Hmac, KeyInit as _, Mac as _};
use midwatch_api::operators::Operators;
use midwatch_api::series::Recent;
use midwatch_api::slack::Slack;
use midwatch_clients::kafka::KafkaSettings;
use midwatch_runtime::clock;
use serde_json::{Value, json};
use sha2::Sha256;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";

/// Somebody who takes replies.
async fn listener() -> (String, mpsc::UnboundedReceiver<Value>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let router = Router::new().route(
        "/reply",
        post(move |axum::Json(body): axum::Json<Value>| {
            let sender = sender.clone();
            async move { sender.send(body).expect("somebody listens") }
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
    (format!("http://{address}/"), receiver)
}

async fn serve(settings: &KafkaSettings, operators: &Path, replies_to: &str) -> Server {
    let operators = Operators::new(Some(operators.to_owned()), false);
    let slack = Slack::new(SECRET.as_bytes(), replies_to).expect("a secret");
    Server::with(settings.clone(), Recent::default(), |app| {
        app.operators = Arc::new(operators);
        app.slack = Some(Arc::new(slack));
    })
    .await
}

fn payload(user: &str, action: &str, value: &str, response_url: &str) -> String {
    let payload = json!({"type": "block_actions", "user": {"id": user, "username": "x"},
        "response_url": response_url, "message": {"text": "x".repeat(20_000)},
        "actions": [{"action_id": action, "value": value, "action_ts": "1795316645.1"}]});
    let mut url = reqwest::Url::parse("http://form/").expect("a URL");
    url.query_pairs_mut()
        .append_pair("payload", &payload.to_string());
    url.query().expect("a query").to_owned()
}

fn signature(secret: &str, at_s: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(format!("v0:{at_s}:{body}").as_bytes());
    let digest = mac.finalize().into_bytes();
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v0={digits}")
}

async fn send(server: &Server, body: String, (at_s, signature): (i64, String)) -> (u16, Value) {
    let request = server
        .client
        .post(format!("http://{}/slack/actions", server.address))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-slack-request-timestamp", at_s.to_string())
        .header("x-slack-signature", signature)
        .body(body);
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.json().await.expect("JSON"))
}

async fn signed(server: &Server, body: String) -> (u16, Value) {
    let at_s = clock::now_ms() / 1_000;
    let proof = signature(SECRET, at_s, &body);
    send(server, body, (at_s, proof)).await
}

#[tokio::test]
async fn a_known_user_s_button_publishes_and_others_are_told_no() {
    let settings = broker().await;
    let operators = file("slack", &format!("ana {TOKEN} slack=U0123ABCD\n"));
    let (replies_to, mut replies) = listener().await;
    let server = serve(&settings, &operators, &replies_to).await;
    let cast = Cast::usual("slack", 3);
    write(&server.scratch.pool, &cast, Stage::Planned).await;
    let value = format!("{}|{}|S2", cast.id, cast.plan_hash());
    let reply = format!("{replies_to}reply");
    let (status, told) = signed(&server, payload("U0123ABCD", "approve", &value, &reply)).await;
    assert_eq!(status, 200);
    let words = told["text"].as_str().expect("words");
    assert!(words.starts_with("ana: approve S2 of INC-"), "{words}");
    assert_eq!(
        (&told["response_type"], &told["replace_original"]),
        (&"ephemeral".into(), &false.into())
    );
    let limit = Duration::from_secs(10);
    let replied = tokio::time::timeout(limit, replies.recv())
        .await
        .expect("in time");
    assert_eq!(replied, Some(told));
    let acknowledge = payload("U0123ABCD", "acknowledge", &cast.id.to_string(), &reply);
    assert_eq!(signed(&server, acknowledge).await.0, 200);
    // Nobody's operator, a plan that changed, and a reply to a foreign place.
    let stranger = payload("U9", "approve", &value, &reply);
    let changed = format!("{}|{}|S2", cast.id, "0".repeat(64));
    let changed = payload("U0123ABCD", "reject", &changed, "http://evil.example/");
    for (body, words) in [(stranger, "not_an_operator"), (changed, "other_plan")] {
        let (status, told) = signed(&server, body).await;
        let text = told["text"].as_str().expect("words");
        assert!(
            status == 200 && text.contains(words) && text.starts_with("Not done"),
            "{text}"
        );
    }
    let found = commands(&settings).await;
    assert_eq!(found.len(), 2, "{found:?}");
    let approve = &found[0].1;
    assert_eq!(
        (
            approve.command.as_str(),
            approve.target.as_str(),
            approve.by.as_str()
        ),
        ("approve", "S2", "ana")
    );
    assert_eq!(
        (
            approve.credential_id.as_str(),
            approve.details.channel.as_str()
        ),
        ("slack:U0123ABCD", "slack")
    );
    assert_eq!(approve.details.plan_hash, cast.plan_hash());
    assert_eq!(found[1].1.command, "acknowledge");
    server.stop().await;
    std::fs::remove_file(operators).expect("it is there");
}

#[tokio::test]
async fn what_slack_did_not_sign_lately_is_not_obeyed() {
    let operators = file("unsigned", &format!("ana {TOKEN} slack=U1A\n"));
    let server = serve(&KafkaSettings::at("127.0.0.1:1"), &operators, "https://x/").await;
    let body = payload("U1A", "acknowledge", "INC-00000000", "https://x/");
    let now_s = clock::now_ms() / 1_000;
    let good = signature(SECRET, now_s, &body);
    for (at_s, proof) in [
        (now_s, String::new()),
        (now_s, "v0=00".to_owned()),
        (now_s, good.replace("v0=", "v1=")),
        (now_s, signature("another-secret-of-length", now_s, &body)),
        (now_s, signature(SECRET, now_s, "payload={}")),
        (now_s - 1, good.clone()),
        (now_s - 301, signature(SECRET, now_s - 301, &body)),
        (now_s + 302, signature(SECRET, now_s + 302, &body)),
    ] {
        let (status, told) = send(&server, body.clone(), (at_s, proof.clone())).await;
        assert_eq!(
            (status, &told["error"]["code"]),
            (401, &"not_from_slack".into()),
            "{proof}"
        );
    }
    for body in [
        "x=1".to_owned(),
        "payload=%7B".to_owned(),
        payload("U1A", "heal", "INC-00000000", ""),
        payload("U1A", "approve", "INC-00000000", ""),
        payload("U1A", "approve", "a|b|c|d", ""),
        payload("U1A", "approve", "a|b|c", "").replace("block_actions", "shortcut"),
    ] {
        assert_eq!(signed(&server, body).await.0, 400);
    }
    server.stop().await;
    std::fs::remove_file(operators).expect("it is there");
    let server = Server::start().await;
    assert_eq!(signed(&server, "payload={}".to_owned()).await.0, 404);
    server.stop().await;
}
