//! Acknowledgements that come back from PagerDuty and from Telegram, on a real
//! broker.

use crate::HOSTILE;
use crate::commands::{TOKEN, broker, commands, file, identified};
use crate::fixture::{Cast, Stage, write};
use crate::server::Server;
use hmac::{Hmac, KeyInit as _, Mac as _};
use midwatch_api::operators::Operators;
use midwatch_api::pagerduty::PagerDuty;
use midwatch_api::series::Recent;
use midwatch_api::telegram::Telegram;
use midwatch_clients::kafka::KafkaSettings;
use midwatch_events::ids;
use midwatch_runtime::clock;
use serde_json::{Value, json};
use sha2::Sha256;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

const OLD: &str = "the-secret-of-last-year";
const NEW: &str = "the-secret-of-this-year";
const BOT: &str = "the_secret-of_setWebhook";

async fn serve(settings: &KafkaSettings, operators: &Path) -> Server {
    let operators = Operators::new(Some(operators.to_owned()), false);
    let secrets = format!("{NEW}\n\n  {OLD}\n");
    let pagerduty = PagerDuty::new(secrets.as_bytes()).expect("two secrets");
    let telegram = Telegram::new(BOT.as_bytes()).expect("a secret");
    Server::with(settings.clone(), Recent::default(), |app| {
        app.operators = Arc::new(operators);
        app.pagerduty = Some(Arc::new(pagerduty));
        app.telegram = Some(Arc::new(telegram));
    })
    .await
}

/// A server without a broker.
async fn alone(name: &str) -> (Server, std::path::PathBuf) {
    let operators = file(name, &format!("ana {TOKEN} telegram=77\n"));
    let server = serve(&KafkaSettings::at("127.0.0.1:1"), &operators).await;
    (server, operators)
}

async fn taken_by(server: &Server, incident: Uuid, name: &str) {
    sqlx::query(
        "UPDATE incidents SET correlation_context = correlation_context || $2 WHERE id = $1",
    )
    .bind(incident)
    .bind(json!({"acknowledged_by": name}))
    .execute(&server.scratch.pool)
    .await
    .expect("the incident");
}

async fn post(
    server: &Server,
    path: &str,
    (name, value): (&'static str, String),
    body: String,
) -> (u16, Value) {
    let request = server
        .client
        .post(format!("http://{}{path}", server.address))
        .header("content-type", "application/json")
        .header(name, value)
        .body(body);
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    let text = answer.text().await.expect("a body");
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

fn signed(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(body.as_bytes());
    let digest = mac.finalize().into_bytes();
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v1={digits}")
}

async fn page(server: &Server, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let proof = ("x-pagerduty-signature", signed(NEW, &body));
    post(server, "/pagerduty/webhook", proof, body).await
}

fn event(key: &str) -> Value {
    json!({"event": {
        "id": "01DEN4HPBTXLGNWHFDH7", "event_type": "incident.acknowledged",
        "resource_type": "incident", "occurred_at": clock::rfc3339(clock::now_ms() - 90_000),
        "agent": {"id": "PLH1HKV", "summary": "Tenex Engineer", "type": "user_reference"},
        "client": {"name": "PagerDuty"},
        "data": {"id": "PGR0VU2", "type": "incident", "status": "acknowledged",
            "incident_key": key, "title": HOSTILE, "assignees": []},
    }})
}

async fn press(server: &Server, update: &Value) -> (u16, Value) {
    let proof = ("x-telegram-bot-api-secret-token", BOT.to_owned());
    post(server, "/telegram/webhook", proof, update.to_string()).await
}

fn callback(user: i64, data: &str) -> Value {
    json!({"update_id": 10_000, "callback_query": {
        "id": "4382bfdwdsb323b2d9", "from": {"id": user, "is_bot": false, "first_name": HOSTILE},
        "message": {"message_id": 3, "chat": {"id": -100}, "text": "x".repeat(4_096)},
        "chat_instance": "1", "data": data,
    }})
}

#[tokio::test]
async fn who_acknowledges_in_pagerduty_has_acknowledged_here_once() {
    let settings = broker().await;
    let operators = file("pagerduty", &format!("ana {TOKEN}\n"));
    let server = serve(&settings, &operators).await;
    let cast = Cast::usual("pagerduty", 3);
    write(&server.scratch.pool, &cast, Stage::Planned).await;
    let event = event(&cast.id.to_string());
    let (status, first) = page(&server, &event).await;
    assert_eq!(
        (status, &first["outcome"]),
        (200, &json!("published")),
        "{first}"
    );
    // Sent again before correlation has heard: the same command once more,
    // whose id consumers know.
    let (status, again) = page(&server, &event).await;
    assert_eq!(
        (status, &again["event_id"]),
        (200, &first["event_id"]),
        "{again}"
    );
    let found = commands(&settings).await;
    assert_eq!(found.len(), 2, "{found:?}");
    let (key, asked) = &found[0];
    assert_eq!(*key, cast.id.to_string());
    assert_eq!(
        (asked.command.as_str(), asked.incident_id),
        ("acknowledge", cast.id)
    );
    assert_eq!(
        (asked.by.as_str(), asked.credential_id.as_str()),
        ("Tenex Engineer", "pagerduty:PLH1HKV")
    );
    assert_eq!(
        (
            asked.details.channel.as_str(),
            asked.details.origin.as_str()
        ),
        ("pagerduty", "127.0.0.1")
    );
    let at = event["event"]["occurred_at"].as_str().expect("a time");
    assert_eq!(asked.reason, format!("through PagerDuty at {at}"));
    taken_by(&server, cast.id, "bo").await;
    let (status, third) = page(&server, &event).await;
    assert_eq!(
        (status, &third["outcome"], &third["acknowledged_by"]),
        (200, &json!("already"), &json!("bo"))
    );
    assert_eq!(commands(&settings).await.len(), 2);
    server.stop().await;
    std::fs::remove_file(operators).expect("it is there");
}

#[tokio::test]
async fn what_pagerduty_did_not_sign_is_not_obeyed() {
    let (server, operators) = alone("unsigned-page").await;
    let body = json!({"event": {"id": "1", "event_type": "incident.triggered"}}).to_string();
    let send = async |proof: String| {
        let header = ("x-pagerduty-signature", proof);
        post(&server, "/pagerduty/webhook", header, body.clone()).await
    };
    let good = signed(NEW, &body);
    let foreign = signed("some-other-secret", &body);
    for proof in [
        String::new(),
        "v1=".to_owned(),
        "v1=00".to_owned(),
        foreign.clone(),
        signed(NEW, "{}"),
        good.replace("v1=", "v2="),
        good.replace("v1=", ""),
        good[..good.len() - 2].to_owned(),
        // The ninth of a row is not looked at any more.
        format!("{}{good}", format!("{foreign},").repeat(8)),
    ] {
        let (status, told) = send(proof.clone()).await;
        assert_eq!(
            (status, &told["error"]["code"]),
            (401, &json!("not_from_pagerduty")),
            "{proof}"
        );
    }
    // While a secret is rotated either side may be ahead of the other.
    for proof in [
        good.clone(),
        signed(OLD, &body),
        format!("{foreign},{good}"),
        format!("{good}, {foreign}"),
    ] {
        let (status, told) = send(proof.clone()).await;
        assert_eq!(
            (status, &told["outcome"]),
            (200, &json!("ignored")),
            "{proof}"
        );
    }
    server.stop().await;
    std::fs::remove_file(operators).expect("it is there");
    for bad in ["", "\n", "short", "long-enough-to-count\nshort"] {
        assert!(PagerDuty::new(bad.as_bytes()).is_err(), "{bad:?}");
    }
}

/// Events about the incident `id`, and about one that is over, with what
/// PagerDuty is answered where no broker is.
fn answered(id: Uuid, over: Uuid) -> Vec<(Value, u16, &'static str)> {
    let with = |pointer: &str, value: Value| changed(id, pointer, value);
    let ago = |ms: i64| json!(clock::rfc3339(clock::now_ms() - ms));
    let kind = "/event/event_type";
    let (key, at) = ("/event/data/incident_key", "/event/occurred_at");
    let echo = json!("events_api_v2_inbound_integration_reference");
    vec![
        (with(kind, json!("incident.resolved")), 200, "ignored"),
        (with(kind, json!("pagey.ping")), 200, "ignored"),
        // What comes back of a snooze or an acknowledgement from here.
        (with("/event/agent/type", echo), 200, "ignored"),
        (with("/event/agent", Value::Null), 200, "ignored"),
        // Keys of PagerDuty's own, and of other programs.
        (with(key, json!(id.simple().to_string())), 200, "ignored"),
        (with(key, json!("disk/db-1")), 200, "ignored"),
        (with("/event/data", json!([])), 200, "ignored"),
        (event(&clock::random_id().to_string()), 200, "ignored"),
        (event(&over.to_string()), 200, "ignored"),
        (with(at, ago(3_700_000)), 200, "ignored"),
        (with(at, ago(-3_700_000)), 200, "ignored"),
        (with(at, json!("yesterday")), 400, "bad_body"),
        (with("/event/id", json!("")), 400, "bad_body"),
        (json!({"event": {"id": "1"}}), 400, "bad_body"),
        (json!([]), 400, "bad_body"),
        // The one that passes.
        (event(&id.to_string()), 503, "broker_unavailable"),
    ]
}

fn changed(id: Uuid, pointer: &str, value: Value) -> Value {
    let mut event = event(&id.to_string());
    *event.pointer_mut(pointer).expect("a field") = value;
    event
}

#[tokio::test]
async fn pagerduty_is_told_to_come_again_only_where_that_helps() {
    let (server, operators) = alone("refused-page").await;
    let (open, over) = (Cast::usual("open", 3), Cast::usual("over", 2));
    write(&server.scratch.pool, &open, Stage::Opened).await;
    write(&server.scratch.pool, &over, Stage::Resolved).await;
    for (body, status, what) in answered(open.id, over.id) {
        let (found, told) = page(&server, &body).await;
        let said = told["error"]["code"].as_str().or(told["outcome"].as_str());
        assert_eq!((found, said), (status, Some(what)), "{body}: {told}");
    }
    let large = changed(open.id, "/event/data/title", json!("x".repeat(256 * 1024)));
    assert_eq!(page(&server, &large).await.0, 413);
    server.stop().await;
    std::fs::remove_file(operators).expect("it is there");
}

#[tokio::test]
async fn a_known_user_s_press_in_telegram_publishes_once_and_is_answered() {
    let settings = broker().await;
    let operators = file("telegram", &format!("ana {TOKEN} telegram=77\n"));
    let server = serve(&settings, &operators).await;
    let cast = Cast::usual("telegram", 3);
    write(&server.scratch.pool, &cast, Stage::Planned).await;
    let pressed = callback(77, &format!("acknowledge:{}", cast.id));
    let short = ids::short_incident(cast.id);
    for _ in 0..2 {
        let (status, answer) = press(&server, &pressed).await;
        let expected = json!({"method": "answerCallbackQuery", "show_alert": false,
            "callback_query_id": "4382bfdwdsb323b2d9",
            "text": format!("ana: {short} is being acknowledged.")});
        assert_eq!((status, answer), (200, expected));
    }
    let found = identified(&settings).await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0].0, found[1].0, "one press is one command");
    let asked = &found[0].2;
    assert_eq!(
        (asked.by.as_str(), asked.credential_id.as_str()),
        ("ana", "telegram:77")
    );
    assert_eq!(
        (asked.command.as_str(), asked.details.channel.as_str()),
        ("acknowledge", "telegram")
    );
    assert_eq!(asked.reason, "through Telegram");
    taken_by(&server, cast.id, "bo").await;
    let (_, answer) = press(&server, &pressed).await;
    assert_eq!(
        answer["text"],
        format!("bo has acknowledged {short} already.")
    );
    assert_eq!(commands(&settings).await.len(), 2);
    server.stop().await;
    std::fs::remove_file(operators).expect("it is there");
}

#[tokio::test]
async fn whoever_may_not_press_in_telegram_is_told_so() {
    let (server, operators) = alone("refused-press").await;
    let (open, over) = (Cast::usual("open", 3), Cast::usual("over", 2));
    write(&server.scratch.pool, &open, Stage::Opened).await;
    write(&server.scratch.pool, &over, Stage::Resolved).await;
    let button = |id: Uuid| format!("acknowledge:{id}");
    for (update, words) in [
        (callback(78, &button(open.id)), "not_an_operator"),
        (callback(77, &button(clock::random_id())), "not_found"),
        (callback(77, &button(over.id)), "wrong_state"),
        (callback(77, "approve:S1"), "none of Midwatch's"),
        (callback(77, "acknowledge:"), "none of Midwatch's"),
        (callback(77, &button(open.id)), "broker_unavailable"),
    ] {
        let (status, answer) = press(&server, &update).await;
        let text = answer["text"].as_str().expect("words");
        assert!(
            text.starts_with("Not done: ") && text.contains(words),
            "{text}"
        );
        assert!(text.chars().count() <= 200, "{text}");
        assert_eq!(
            (status, &answer["method"], &answer["show_alert"]),
            (200, &json!("answerCallbackQuery"), &json!(true))
        );
    }
    let talk = json!({"update_id": 1, "message": {"message_id": 1, "text": "hello"}});
    assert_eq!(press(&server, &talk).await, (200, json!({})));
    assert_eq!(press(&server, &json!([])).await.0, 400);
    let mut large = callback(77, &button(open.id));
    large["callback_query"]["message"]["text"] = json!("x".repeat(128 * 1024));
    assert_eq!(press(&server, &large).await.0, 413);
    for bad in [
        "",
        "the_secret-of_setWebhoo",
        "the_secret-of_setWebhook2",
        "THE_SECRET-OF_SETWEBHOOK",
    ] {
        let proof = ("x-telegram-bot-api-secret-token", bad.to_owned());
        let body = callback(77, &button(open.id)).to_string();
        let (status, told) = post(&server, "/telegram/webhook", proof, body).await;
        assert_eq!(
            (status, &told["error"]["code"]),
            (401, &json!("not_from_telegram")),
            "{bad}"
        );
    }
    server.stop().await;
    std::fs::remove_file(operators).expect("it is there");
    for bad in [
        "",
        "short",
        "blanks are no part of it",
        "long-enough-but-ä-is-not-taken",
    ] {
        assert!(Telegram::new(bad.as_bytes()).is_err(), "{bad:?}");
    }
}

#[tokio::test]
async fn a_door_without_its_secret_is_shut_and_says_how_to_open_it() {
    let server = Server::start().await;
    for (told, name) in [
        (
            page(&server, &event("x")).await,
            "PAGERDUTY_WEBHOOK_SECRET_FILE",
        ),
        (
            press(&server, &callback(77, "x")).await,
            "TELEGRAM_WEBHOOK_SECRET_FILE",
        ),
    ] {
        let (status, told) = told;
        let hint = told["error"]["hint"].as_str().expect("a hint");
        assert!(status == 404 && hint.contains(name), "{told}");
    }
    server.stop().await;
}
