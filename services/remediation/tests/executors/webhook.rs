//! Requests to a receiver that checks signatures, and silences of a scripted
//! Alertmanager.

use crate::support::execution;
use crate::support::http::{Answering, Asked, Reply, serve};
use hmac::{Hmac, KeyInit as _, Mac as _};
use midwatch_events::action::{ActionKind, Executor};
use midwatch_remediation::execution::Execution;
use midwatch_remediation::executors::hand::{Acted, Acting, Hand, Prepared, Seen, Stop};
use midwatch_remediation::executors::silence::Alertmanager;
use midwatch_remediation::executors::webhook::{Webhook, WebhookHand};
use midwatch_runtime::clock;
use serde_json::{Value, json};
use sha2::Sha256;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

const SECRET: &str = "a secret of this test";

fn action() -> Execution {
    execution(
        "key-1",
        Executor::Webhook,
        ActionKind::ToggleFlag,
        &[("flag", "FAST")],
    )
}

fn prepared() -> Prepared {
    Prepared {
        description: String::new(),
        observed: Value::Null,
    }
}

/// A receiver that does things once per key; the statuses are of the next
/// requests, negative ones after the thing was done, 0 resets the connection.
async fn receiver(
    statuses: Vec<i32>,
) -> (WebhookHand, Arc<Mutex<BTreeSet<String>>>, Arc<Mutex<usize>>) {
    let (done, asked): (Arc<Mutex<BTreeSet<String>>>, Arc<Mutex<usize>>) = Default::default();
    let (of_server, count) = (Arc::clone(&done), Arc::clone(&asked));
    let statuses = Mutex::new(statuses.into_iter());
    let url = serve(move |asked: Asked| -> Answering {
        *count.lock().expect("no panic") += 1;
        let status = statuses.lock().expect("no panic").next().unwrap_or(200);
        let reply = if !is_signed(&asked) {
            Reply::json(401, &json!("the signature is wrong"))
        } else if status == 0 {
            Reply::Reset
        } else {
            if status == 200 || status < 0 {
                let key = asked.headers["idempotency-key"].clone();
                of_server.lock().expect("no panic").insert(key);
            }
            let code = u16::try_from(status.abs()).expect("a status");
            let again = vec![("retry-after", "0".to_owned())];
            Reply::Say(
                code,
                if code == 429 { again } else { Vec::new() },
                b"noted, token=abcdef0123456789abcdef".to_vec(),
            )
        };
        Box::pin(async move { reply })
    })
    .await;
    let webhook = Webhook::new(&url, SECRET).expect("an address on this machine");
    let hand = WebhookHand {
        webhook: Some(webhook),
        ..WebhookHand::default()
    };
    (hand, done, asked)
}

fn is_signed(asked: &Asked) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key");
    mac.update(asked.headers["x-midwatch-timestamp"].as_bytes());
    mac.update(b".");
    mac.update(&asked.body);
    let digest = mac.finalize().into_bytes();
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let body: Value = serde_json::from_slice(&asked.body).unwrap_or(Value::Null);
    asked.headers["x-midwatch-signature"] == format!("sha256={digits}")
        && body["key"] == asked.headers["idempotency-key"].as_str()
        && body["action"]["arguments"]["flag"] == "FAST"
}

#[tokio::test]
async fn a_receiver_gets_signed_requests_and_its_answers_are_understood() {
    // Statuses, whether it is done by then, and how it ends.
    let cases: [(Vec<i32>, bool, &str, usize); 7] = [
        (vec![], true, "done", 1),
        (vec![429, 429], true, "done", 3),
        (vec![429; 9], false, "refused", 4),
        (vec![400], false, "refused", 1),
        (vec![302], false, "refused", 1),
        (vec![-500], true, "unclear", 1),
        (vec![0], false, "unclear", 1),
    ];
    for (statuses, is_done, end, requests) in cases {
        let (hand, done, asked) = receiver(statuses.clone()).await;
        let checked = hand.check(&action()).await.expect("nothing to check");
        assert!(
            checked.description.starts_with("POST http://127.0.0.1:"),
            "{}",
            checked.description
        );
        let acted = hand.act(&action(), &checked).await;
        let found = match acted {
            Acted::Done { looked: false, .. } => "done",
            Acted::Done { .. } => "looked",
            Acted::Refused(_) => "refused",
            Acted::Unclear(_) => "unclear",
            other => panic!("nothing that a webhook answers: {other:?}"),
        };
        assert_eq!(found, end, "{statuses:?}");
        assert_eq!(
            done.lock().expect("no panic").contains("key-1"),
            is_done,
            "{statuses:?}"
        );
        assert_eq!(*asked.lock().expect("no panic"), requests, "{statuses:?}");
    }
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_refused() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/hook", free.local_addr().expect("an address"));
    drop(free);
    let hand = WebhookHand {
        webhook: Some(Webhook::new(&url, SECRET).expect("an address")),
        ..WebhookHand::default()
    };
    assert!(matches!(
        hand.act(&action(), &prepared()).await,
        Acted::Refused(_)
    ));
    let silence = execution("key-2", Executor::Webhook, ActionKind::SilenceAlert, &[]);
    assert!(matches!(hand.check(&silence).await, Err(Stop::No(_))));
}

type Silences = Arc<Mutex<Vec<Value>>>;

/// An Alertmanager on which `Slow` fires; `lose` answers are not given.
async fn alertmanager(lose: usize) -> (WebhookHand, Silences) {
    let silences: Silences = Arc::default();
    let of_server = Arc::clone(&silences);
    let left = Mutex::new(lose);
    let url = serve(move |asked: Asked| -> Answering {
        let mut silences = of_server.lock().expect("no panic");
        let reply = match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/am/api/v2/silences") => Reply::json(200, &json!(*silences)),
            ("GET", "/am/api/v2/alerts") => {
                let fires = asked.query.contains("alertname%3D%22Slow%22")
                    && asked.query.contains("silenced=false");
                Reply::json(
                    200,
                    &if fires {
                        json!([{"labels": {"alertname": "Slow"}}])
                    } else {
                        json!([])
                    },
                )
            }
            ("POST", "/am/api/v2/silences") => {
                let mut silence: Value = serde_json::from_slice(&asked.body).expect("JSON");
                let id = format!("id-{}", silences.len());
                silence["id"] = json!(id);
                silences.push(silence);
                let mut left = left.lock().expect("no panic");
                if *left > 0 {
                    *left -= 1;
                    Reply::Reset
                } else {
                    Reply::json(200, &json!({"silenceID": id}))
                }
            }
            _ => Reply::json(404, &json!("no such thing")),
        };
        Box::pin(async move { reply })
    })
    .await;
    let hand = WebhookHand {
        alertmanager: Some(Alertmanager::new(&format!("{url}/am/")).expect("an address")),
        ..WebhookHand::default()
    };
    (hand, silences)
}

fn silence(alert: &str, minutes: &str) -> Execution {
    let arguments = [("alertname", alert), ("minutes", minutes)];
    execution(
        "key-s",
        Executor::Webhook,
        ActionKind::SilenceAlert,
        &arguments,
    )
}

#[tokio::test]
async fn a_silence_is_made_once_and_found_again_by_its_key() {
    for lose in [0, 1] {
        let (hand, silences) = alertmanager(lose).await;
        let execution = silence("Slow", "30");
        let acting = |at_ms| Acting {
            at_ms,
            on: String::new(),
            observed: Value::Null,
        };
        let long_ago = acting(clock::now_ms() - 60_000);
        assert_eq!(hand.look(&execution, &long_ago).await, Seen::NotDone);
        // What a dead process sent just now may still arrive.
        assert!(matches!(
            hand.look(&execution, &acting(clock::now_ms())).await,
            Seen::Away(_)
        ));
        let checked = hand.check(&execution).await.expect("it fires");
        let acted = hand.act(&execution, &checked).await;
        assert!(
            matches!(acted, Acted::Done { looked, .. } if looked == (lose == 1)),
            "{acted:?}"
        );
        assert!(matches!(
            hand.look(&execution, &long_ago).await,
            Seen::Done(_)
        ));
        assert!(matches!(
            hand.check(&execution).await,
            Err(Stop::Already(_))
        ));
        let made = silences.lock().expect("no panic").clone();
        assert_eq!(made.len(), 1);
        let at = |field: &str| {
            let text = made[0][field].as_str().expect("a time").to_owned();
            time::OffsetDateTime::parse(&text, &time::format_description::well_known::Rfc3339)
                .expect("RFC 3339")
        };
        assert_eq!((at("endsAt") - at("startsAt")).whole_minutes(), 30);
        assert_eq!(
            made[0]["matchers"],
            json!([{"name": "alertname", "value": "Slow", "isRegex": false, "isEqual": true}])
        );
    }
}

#[tokio::test]
async fn what_is_not_firing_or_too_long_is_not_silenced() {
    let (hand, silences) = alertmanager(0).await;
    for (alert, minutes) in [
        ("Fast", "30"),
        ("Slow", "0"),
        ("Slow", "99999"),
        ("Slow", "x"),
        ("a\"b", "30"),
    ] {
        assert!(
            matches!(hand.check(&silence(alert, minutes)).await, Err(Stop::No(_))),
            "{alert} {minutes}"
        );
    }
    assert!(silences.lock().expect("no panic").is_empty());
}
