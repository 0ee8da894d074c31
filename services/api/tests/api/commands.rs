//! Operators and their commands, on a real broker.

use crate::HOSTILE;
use crate::fixture::{Cast, Stage, fleet, write};
use crate::server::Server;
use midwatch_api::operators::Operators;
use midwatch_api::series::Recent;
use midwatch_clients::kafka::{BrokerReader, KafkaSettings, Start};
use midwatch_events::{Coordinates, Event, OperatorCommand, Topic, decode, ids};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

pub const TOKEN: &str = "a-token-of-the-tests";

pub async fn broker() -> KafkaSettings {
    for variable in ["MIDWATCH_TEST_KAFKA", "MIDWATCH_TEST_TANSU"] {
        if let Some(settings) = fleet::broker(variable).await {
            return settings;
        }
    }
    panic!("neither MIDWATCH_TEST_KAFKA nor MIDWATCH_TEST_TANSU names a broker");
}

/// A file with one operator; its text is `line`.
pub fn file(name: &str, line: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("operators-{name}-{}", std::process::id()));
    std::fs::write(&path, line).expect("written");
    path
}

pub async fn serve(settings: &KafkaSettings, operators: &Path) -> Server {
    let operators = Operators::new(Some(operators.to_owned()), false);
    Server::with(settings.clone(), Recent::default(), |app| {
        app.operators = Arc::new(operators);
    })
    .await
}

pub async fn post(
    server: &Server,
    path: &str,
    body: &Value,
    headers: &[(&str, &str)],
) -> (u16, Value) {
    let url = format!("http://{}{path}", server.address);
    let mut request = server.client.post(url).json(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let text = response.text().await.expect("a body");
    (status, serde_json::from_str(&text).expect("JSON"))
}

pub async fn press(
    server: &Server,
    path: &str,
    fields: &str,
    headers: &[(&str, &str)],
) -> reqwest::Response {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client");
    let mut request = client
        .post(format!("http://{}{path}", server.address))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("accept", "text/html")
        .body(fields.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("an answer")
}

/// What lies on `operator.commands`, oldest first, with the keys.
pub async fn commands(settings: &KafkaSettings) -> Vec<(String, OperatorCommand)> {
    let all = identified(settings).await.into_iter();
    all.map(|(_, key, command)| (key, command)).collect()
}

/// The same with the events' ids.
pub async fn identified(settings: &KafkaSettings) -> Vec<(Uuid, String, OperatorCommand)> {
    let reader = BrokerReader::new(settings.clone());
    let name = settings.topic("operator.commands");
    let page = reader
        .browse(&name, None, Start::Newest, 100)
        .await
        .expect("readable")
        .expect("the topic");
    let mut found: Vec<(Uuid, String, OperatorCommand)> = page
        .records
        .into_iter()
        .map(|record| {
            let place = Coordinates {
                epoch: "e".to_owned(),
                topic: name.clone(),
                partition: record.partition,
                offset: record.offset,
                record_ms: 0,
            };
            let envelope = decode(Topic::OperatorCommands, record.payload.as_bytes(), &place);
            let envelope = envelope.expect("a command");
            let key = record.key.unwrap_or_default();
            match envelope.event {
                Event::Command(command) => (envelope.meta.event_id, key, command),
                other => panic!("{other:?}"),
            }
        })
        .collect();
    found.sort_by_key(|(_, _, command)| command.issued_at_ms);
    found
}

#[tokio::test]
async fn an_operator_s_command_is_on_the_topic_before_it_is_answered() {
    let settings = broker().await;
    let operators = file("program", &format!("ana {TOKEN}\n"));
    let server = serve(&settings, &operators).await;
    let (cast, other) = (Cast::usual("asked", 3), Cast::usual("other", 2));
    for one in [&cast, &other] {
        write(&server.scratch.pool, one, Stage::Planned).await;
    }
    let path = format!("/api/incidents/{}/commands", ids::short_incident(cast.id));
    let bearer = format!("Bearer {TOKEN}");
    let auth = [("authorization", bearer.as_str())];
    let body = json!({"command": "snooze", "minutes": 5, "reason": HOSTILE});
    let (status, answer) = post(&server, &path, &body, &auth).await;
    assert_eq!(status, 202, "{answer}");
    let body = json!({"command": "merge", "target": ids::short_incident(other.id)});
    let (status, _) = post(&server, &path, &body, &auth).await;
    assert_eq!(status, 202);
    let body = json!({"environment": "simulation", "service": "*", "minutes": 60});
    let (status, _) = post(&server, "/api/maintenance", &body, &auth).await;
    assert_eq!(status, 202);
    let found = commands(&settings).await;
    assert_eq!(found.len(), 3, "{found:?}");
    let (key, snooze) = &found[0];
    assert_eq!(*key, cast.id.to_string());
    assert_eq!(
        (snooze.command.as_str(), snooze.incident_id),
        ("snooze", cast.id)
    );
    assert_eq!(
        (snooze.by.as_str(), snooze.reason.as_str()),
        ("ana", HOSTILE)
    );
    assert_eq!(snooze.environment.as_deref(), Some("simulation"));
    assert_eq!(snooze.until_ms, Some(snooze.issued_at_ms + 300_000));
    assert_eq!(snooze.expires_at_ms, snooze.issued_at_ms + 300_000);
    assert!(snooze.credential_id.starts_with("sha256:"));
    assert!(!format!("{found:?}").contains(TOKEN));
    assert_eq!(answer["credential_id"], snooze.credential_id);
    assert_eq!(found[1].1.target, other.id.to_string());
    let maintain = &found[2].1;
    assert_eq!(
        (maintain.command.as_str(), maintain.target.as_str()),
        ("maintain", "*")
    );
    assert!(maintain.incident_id.is_nil() && maintain.until_ms.is_some());
    server.stop().await;
    std::fs::remove_file(operators).expect("it is there");
}

#[expect(clippy::too_many_lines, reason = "one table of what is refused")]
async fn are_refused(server: &Server, open: &Cast, over: &Cast) {
    let path = |cast: &Cast| format!("/api/incidents/{}/commands", cast.id);
    let bearer = format!("Bearer {TOKEN}");
    let ana = ("authorization", bearer.as_str());
    let foreign = ("origin", "http://evil.example");
    let wrong = ("authorization", "Bearer another-token-entirely");
    let ack = json!({"command": "acknowledge"});
    let merge = |target: String| json!({"command": "merge", "target": target});
    for (cast, body, headers, status, code) in [
        (open, ack.clone(), vec![], 401, "not_an_operator"),
        (open, ack.clone(), vec![wrong], 401, "not_an_operator"),
        (open, ack.clone(), vec![ana, foreign], 403, "foreign_origin"),
        (
            open,
            json!({"command": "heal"}),
            vec![ana],
            400,
            "bad_parameter",
        ),
        (
            open,
            json!({"command": "reopen"}),
            vec![ana],
            409,
            "wrong_state",
        ),
        (over, ack.clone(), vec![ana], 409, "wrong_state"),
        (
            open,
            json!({"command": "snooze"}),
            vec![ana],
            400,
            "bad_parameter",
        ),
        (
            open,
            json!({"command": "close", "minutes": 5}),
            vec![ana],
            400,
            "bad_parameter",
        ),
        (
            open,
            json!({"command": "close", "by": "bo"}),
            vec![ana],
            400,
            "bad_body",
        ),
        (
            open,
            merge(over.id.to_string()),
            vec![ana],
            409,
            "wrong_target",
        ),
        (
            open,
            merge(open.id.to_string()),
            vec![ana],
            409,
            "wrong_target",
        ),
        (
            over,
            json!({"command": "review", "target": "0"}),
            vec![ana],
            400,
            "bad_parameter",
        ),
        (
            open,
            json!({"command": "split", "target": "x"}),
            vec![ana],
            409,
            "wrong_target",
        ),
    ] {
        let (got, answer) = post(server, &path(cast), &body, &headers).await;
        let error = &answer["error"];
        assert_eq!(
            (got, &error["code"]),
            (status, &code.into()),
            "{body}: {error}"
        );
        assert!(
            error["hint"].as_str().is_some_and(|hint| !hint.is_empty()),
            "{error}"
        );
    }
}

#[tokio::test]
async fn nobody_else_gives_commands_and_only_those_that_fit() {
    let operators = file("refusals", &format!("ana {TOKEN}\n"));
    let nowhere = KafkaSettings::at("127.0.0.1:1");
    let server = serve(&nowhere, &operators).await;
    let (open, over) = (Cast::usual("open", 3), Cast::usual("over", 9));
    write(&server.scratch.pool, &open, Stage::Planned).await;
    write(&server.scratch.pool, &over, Stage::Resolved).await;
    are_refused(&server, &open, &over).await;
    server.stop().await;
    std::fs::remove_file(operators).expect("it is there");
}

#[tokio::test]
async fn without_a_file_nobody_is_an_operator_whatever_token_is_shown() {
    let server = Server::start().await;
    let open = Cast::usual("open", 3);
    write(&server.scratch.pool, &open, Stage::Planned).await;
    let path = format!("/api/incidents/{}/commands", open.id);
    let bearer = format!("Bearer {TOKEN}");
    let ana = ("authorization", bearer.as_str());
    let ack = json!({"command": "acknowledge"});
    let (status, answer) = post(&server, &path, &ack, &[ana]).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (403, &"no_operators".into())
    );
    let hint = answer["error"]["hint"].as_str().expect("a hint");
    assert!(hint.contains("OPERATOR_TOKENS_FILE"), "{hint}");
    server.stop().await;
}

/// Signs in on the page of an incident; answers with the session's cookie.
pub async fn session(server: &Server, cast: &Cast, origin: (&str, &str)) -> String {
    let fields = format!("token={TOKEN}&incident={}", cast.id);
    let elsewhere = press(server, "/operator/sign-in", &fields, &[]).await;
    assert_eq!(elsewhere.status(), 403, "a form names its origin");
    let bad = press(server, "/operator/sign-in", "token=guess", &[origin]).await;
    assert_eq!(bad.status(), 401);
    let signed = press(server, "/operator/sign-in", &fields, &[origin]).await;
    assert_eq!(signed.status(), 303);
    let cookie = signed.headers()["set-cookie"]
        .to_str()
        .expect("text")
        .to_owned();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
        "{cookie}"
    );
    assert!(!cookie.contains(TOKEN));
    let pair = cookie.split(';').next().expect("a pair");
    pair.to_owned()
}

#[tokio::test]
async fn a_person_signs_in_presses_and_sees_what_was_asked() {
    let settings = broker().await;
    let operators = file("person", &format!("bo {TOKEN}\n"));
    let server = serve(&settings, &operators).await;
    let cast = Cast::usual("pressed", 3);
    write(&server.scratch.pool, &cast, Stage::Planned).await;
    let here = format!("http://{}", server.address);
    let origin = ("origin", here.as_str());
    let page = server.page(&format!("/incidents/{}", cast.id)).await;
    assert!(page.contains("action=\"/operator/sign-in\"") && !page.contains(">Acknowledge<"));
    let pair = session(&server, &cast, origin).await;
    let pair = pair.as_str();
    let asking = [origin, ("cookie", pair)];
    let path = format!("/incidents/{}/commands", cast.id);
    let fields = "command=split&split=order-service&snooze_minutes=60&reason=two+faults";
    let unsigned = press(&server, &path, fields, &[origin]).await;
    assert_eq!(unsigned.status(), 401);
    let foreign = press(&server, &path, fields, &[("cookie", pair)]).await;
    assert_eq!(foreign.status(), 403);
    let pressed = press(&server, &path, fields, &asking).await;
    assert_eq!(pressed.status(), 303);
    let back = pressed.headers()["location"]
        .to_str()
        .expect("text")
        .to_owned();
    assert!(
        back.starts_with(&format!("/incidents/{}?asked=split.", cast.id)),
        "{back}"
    );
    let fields = "command=maintain&service=payment-service&maintain_minutes=30";
    let pressed = press(&server, &path, fields, &asking).await;
    assert_eq!(pressed.status(), 303);
    let found = commands(&settings).await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(
        (found[0].1.target.as_str(), found[0].1.by.as_str()),
        ("order-service", "bo")
    );
    assert_eq!(
        (found[0].1.reason.as_str(), found[0].1.until_ms),
        ("two faults", None)
    );
    assert_eq!(found[1].1.target, "payment-service");
    let url = format!("{here}{}", back.split('#').next().expect("a path"));
    let shown = server.client.get(url).header("cookie", pair).send().await;
    let shown = shown.expect("an answer").text().await.expect("a body");
    assert!(shown.contains("<b>Split</b> is on operator.commands"));
    assert!(shown.contains("Signed in as <b>bo</b>") && shown.contains(">Acknowledge<"));
    let out = press(&server, "/operator/sign-out", "", &asking).await;
    assert!(
        out.headers()["set-cookie"]
            .to_str()
            .expect("text")
            .contains("Max-Age=0")
    );
    let gone = press(&server, &path, "command=close", &asking).await;
    assert_eq!(gone.status(), 401, "the session is over here too");
    server.stop().await;
    std::fs::remove_file(operators).expect("it is there");
}
