//! Incidents that people declare and close by hand, on a real broker.

use crate::commands::{TOKEN, broker, commands, file, post};
use crate::fixture::{Cast, Stage, fleet, write};
use crate::server::Server;
use midwatch_api::operators::Operators;
use midwatch_api::series::Recent;
use midwatch_clients::kafka::{BrokerReader, KafkaSettings, Start};
use midwatch_events::ids;
use midwatch_runtime::clock;
use serde_json::{Value, json};
use std::sync::Arc;

async fn serve(settings: &KafkaSettings, recent: Recent, name: &str) -> Server {
    let operators = file(name, &format!("ana {TOKEN}\n"));
    Server::with(settings.clone(), recent, |app| {
        app.operators = Arc::new(Operators::new(Some(operators), false));
    })
    .await
}

fn said(service: &str) -> Value {
    json!({"service": service, "title": "Nobody can pay\u{7}", "severity": "high", "environment": "simulation"})
}

#[tokio::test]
async fn a_declaration_names_the_incident_that_it_opens() {
    let settings = broker().await;
    let server = serve(&settings, Recent::default(), "declares").await;
    let bearer = format!("Bearer {TOKEN}");
    let auth = [("authorization", bearer.as_str())];
    let (status, answer) = post(&server, "/api/incidents", &said("payment-service"), &auth).await;
    assert_eq!(status, 202, "{answer}");
    let event_id = answer["event_id"]
        .as_str()
        .expect("an id")
        .parse()
        .expect("a UUID");
    assert_eq!(
        answer["opens"]["incident_id"],
        ids::declared(event_id).to_string()
    );
    assert_eq!(
        answer["opens"]["short_id"],
        ids::short_incident(ids::declared(event_id))
    );
    let found = commands(&settings).await;
    let command = &found[0].1;
    assert!(command.incident_id.is_nil());
    assert_eq!(
        (
            command.command.as_str(),
            command.target.as_str(),
            command.environment.as_deref()
        ),
        ("declare", "payment-service", Some("simulation"))
    );
    let declared = command.details.declared.as_ref().expect("what was said");
    assert_eq!(
        (
            declared.title.as_str(),
            declared.severity.as_str(),
            declared.by.as_str()
        ),
        ("Nobody can pay", "HIGH", "ana")
    );
    let reader = BrokerReader::new(settings.clone());
    let name = settings.topic("operator.commands");
    let page = reader
        .browse(&name, None, Start::Newest, 1)
        .await
        .expect("readable");
    let record = &page.expect("the topic").records[0];
    assert!(
        record
            .payload
            .contains(&format!("\"event_id\":\"{event_id}\"")),
        "{}",
        record.payload
    );
    server.stop().await;
}

#[tokio::test]
async fn a_second_incident_on_a_service_is_opened_only_by_force() {
    let settings = broker().await;
    let server = serve(&settings, Recent::default(), "second").await;
    let (open, old) = (
        Cast::usual("open-already", 3),
        Cast {
            primary: "user-service".to_owned(),
            ..Cast::usual("old", 90)
        },
    );
    for cast in [&open, &old] {
        write(&server.scratch.pool, cast, Stage::Planned).await;
    }
    let bearer = format!("Bearer {TOKEN}");
    let auth = [("authorization", bearer.as_str())];
    let (status, answer) = post(&server, "/api/incidents", &said("payment-service"), &auth).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (409, &"already_open".into())
    );
    let short = ids::short_incident(open.id);
    assert!(
        answer["error"]["message"]
            .as_str()
            .expect("words")
            .contains(&short),
        "{answer}"
    );
    assert!(commands(&settings).await.is_empty());
    let mut forced = said("payment-service");
    forced["force"] = json!(true);
    let (status, answer) = post(&server, "/api/incidents", &forced, &auth).await;
    assert_eq!(status, 202);
    assert_eq!(answer["beside"][0]["short_id"], short.as_str());
    // One that has been open for longer than the window stands for nothing new.
    let (status, _) = post(&server, "/api/incidents", &said("user-service"), &auth).await;
    assert_eq!(status, 202);
    assert_eq!(commands(&settings).await.len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn the_environment_is_that_in_which_the_service_reports() {
    let settings = broker().await;
    let client = fleet::redis().await;
    let service = format!("declared-{}", clock::random_id().simple());
    let name = (service.as_str(), "service_cpu_percent");
    fleet::write_readings(&client, "simulation", name, (25.0, 25.0), 4).await;
    let server = serve(&settings, Recent::of(client), "where").await;
    let bearer = format!("Bearer {TOKEN}");
    let auth = [("authorization", bearer.as_str())];
    let mut body = said(&service);
    body["environment"].take();
    let (status, answer) = post(&server, "/api/incidents", &body, &auth).await;
    assert_eq!(
        (status, &answer["environment"]),
        (202, &"simulation".into()),
        "{answer}"
    );
    for (field, value) in [
        ("service", json!("nowhere-service")),
        ("service", json!("")),
        ("severity", json!("bad")),
        ("title", json!(" ")),
    ] {
        let mut wrong = body.clone();
        wrong[field] = value;
        let (status, answer) = post(&server, "/api/incidents", &wrong, &auth).await;
        assert_eq!(status, 400, "{answer}");
    }
    let (status, _) = post(&server, "/api/incidents", &body, &[]).await;
    assert_eq!(status, 401);
    server.stop().await;
}

#[tokio::test]
async fn what_a_person_states_at_the_end_is_that_person_s() {
    let settings = broker().await;
    let server = serve(&settings, Recent::default(), "states").await;
    let cast = Cast::usual("states", 3);
    write(&server.scratch.pool, &cast, Stage::Planned).await;
    let bearer = format!("Bearer {TOKEN}");
    let auth = [("authorization", bearer.as_str())];
    let body = json!({"command": "close", "channel": "cli", "stated": {
        "root_cause": "A certificate\nhad expired", "fix": "It was renewed", "category": "certificate",
        "component": "gateway", "toil_minutes": 42.5}});
    let path = format!("/api/incidents/{}/commands", cast.id);
    let (status, answer) = post(&server, &path, &body, &auth).await;
    assert_eq!(status, 202, "{answer}");
    let found = commands(&settings).await;
    let stated = found[0].1.details.stated.as_ref().expect("what was said");
    assert_eq!(
        (
            stated.root_cause.as_str(),
            stated.by.as_str(),
            stated.toil_minutes
        ),
        ("A certificate had expired", "ana", Some(42.5))
    );
    let mut wrong = body.clone();
    wrong["stated"]["toil_minutes"] = json!(-1);
    assert_eq!(post(&server, &path, &wrong, &auth).await.0, 400);
    wrong["command"] = json!("acknowledge");
    assert_eq!(post(&server, &path, &wrong, &auth).await.0, 400);
    server.stop().await;
}
