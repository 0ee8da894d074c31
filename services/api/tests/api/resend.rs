//! What finally failed to reach people is asked for again, on a real broker.

use crate::HOSTILE;
use crate::commands::{TOKEN, broker, commands, file, post, press, serve};
use crate::fixture::{Cast, Stage, write};
use crate::server::Server;
use midwatch_events::ids;
use serde_json::json;
use uuid::Uuid;

/// Signed out, the page says how; signed in, its button asks for the message on
/// a channel.
async fn by_button(server: &Server, cast: &Cast) {
    let short = ids::short_incident(cast.id);
    let page = server.page(&format!("/incidents/{}", cast.id)).await;
    assert!(
        page.contains(&format!("midwatch resend {short}")),
        "signed out"
    );
    let origin = format!("http://{}", server.address);
    let own = ("origin", origin.as_str());
    let fields = format!("incident={}&token={TOKEN}", cast.id);
    let signed_in = press(server, "/operator/sign-in", &fields, &[own]).await;
    let cookie = signed_in.headers()["set-cookie"].to_str().expect("text");
    let cookie = cookie.split(';').next().expect("a value").to_owned();
    let headers = [("cookie", cookie.as_str()), own];
    let fields = "message_id=chat.1%40midwatch";
    let pressed = press(server, "/notifications/resend", fields, &headers).await;
    assert_eq!(pressed.status().as_u16(), 303);
    let place = pressed.headers()["location"].to_str().expect("text");
    assert!(
        place.starts_with(&format!("/incidents/{}?asked=resend.", cast.id)),
        "{place}"
    );
}

#[tokio::test]
async fn what_failed_is_asked_for_again_by_program_and_by_button() {
    let settings = broker().await;
    let operators = file("resend", &format!("ana {TOKEN}\n"));
    let server = serve(&settings, &operators).await;
    let cast = Cast::usual("failed", 3);
    write(&server.scratch.pool, &cast, Stage::Resolved).await;
    sqlx::query(
        "INSERT INTO notifications (incident_id, stage, channel, recipient, role, message_id, subject,
             body_html, body_text, status, attempts, error)
         VALUES ($1, 'opened', 'chat', 'C01', 'to', 'chat.1@midwatch', $2, '', '', 'FAILED', 3, 'no such channel')",
    )
    .bind(cast.id)
    .bind(HOSTILE)
    .execute(&server.scratch.pool)
    .await
    .expect("the message");
    let incident = server.json(&format!("/api/incidents/{}", cast.id)).await;
    assert_eq!(incident["messages"][0]["channel"], "chat");
    let mails = incident["mails"].as_array().expect("a list");
    let of = |status: &str| {
        let mut found = mails.iter().filter(|mail| mail["status"] == status);
        let mail = found.next().expect("one of them");
        mail["message_id"].as_str().expect("an id").to_owned()
    };
    let (plan, sent) = (of("FAILED"), of("SENT"));
    let path = "/api/notifications/resend";
    let bearer = format!("Bearer {TOKEN}");
    let ana = [("authorization", bearer.as_str())];
    for (body, headers, status, code) in [
        (json!({"message_id": plan}), &[][..], 401, "not_an_operator"),
        (json!({}), &ana, 400, "bad_parameter"),
        (
            json!({"message_id": plan, "incident": cast.id}),
            &ana,
            400,
            "bad_parameter",
        ),
        (json!({"message_id": "x@y"}), &ana, 404, "not_found"),
        (json!({"incident": Uuid::nil()}), &ana, 404, "not_found"),
        (json!({"message_id": sent}), &ana, 409, "nothing_failed"),
    ] {
        let (got, answer) = post(&server, path, &body, headers).await;
        assert_eq!(
            (got, &answer["error"]["code"]),
            (status, &json!(code)),
            "{body}: {answer}"
        );
    }
    let short = ids::short_incident(cast.id);
    let body = json!({"incident": short, "reason": "mended", "channel": "cli"});
    let (status, answer) = post(&server, path, &body, &ana).await;
    assert_eq!(status, 202, "{answer}");
    by_button(&server, &cast).await;
    let found = commands(&settings).await;
    let targets: Vec<(&str, &str)> = found
        .iter()
        .map(|(_, command)| (command.command.as_str(), command.target.as_str()))
        .collect();
    let chat = ("resend", "chat.1@midwatch");
    assert_eq!(targets, [("resend", plan.as_str()), chat, chat]);
    assert!(found.iter().all(|(key, _)| *key == cast.id.to_string()));
    assert_eq!(
        (found[0].1.by.as_str(), found[0].1.reason.as_str()),
        ("ana", "mended")
    );
    server.stop().await;
    std::fs::remove_file(operators).expect("it is there");
}
