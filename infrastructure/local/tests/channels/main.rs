//! Every channel has an outage while incidents go on: the communication agent,
//! as the process that runs in the stack, on a real broker and database, with a
//! real SMTP server behind STARTTLS and a login, and a peer that checks what
//! Slack, PagerDuty, Telegram and a webhook would be sent. All of it must
//! arrive, once, in the order of each incident, and what failed meanwhile must
//! have been visible.
//!
//! `OUTAGE_S` is the length of each outage, 10 seconds unless given; `make soak`
//! takes 120.

mod chats;
mod links;
mod peer;
#[path = "../support/mod.rs"]
mod support;

use midwatch_clients::kafka::{self, KafkaSettings, Producer};
use midwatch_clients::postgres::Postgres;
use midwatch_events::Topic;
use peer::{Away, Peer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{Running, database, needed, until, variable};
use uuid::Uuid;

const INCIDENTS: u128 = 4;
/// How each provider is away.
const OUTAGES: [(&str, Away); 4] = [
    ("slack", Away::LosesAnswers),
    ("pager", Away::Refuses),
    ("telegram", Away::AsksToWait),
    ("hook", Away::LosesAnswers),
];
/// The life of an incident, and what each part is on the topics.
const LIFE: [(&str, Topic); 5] = [
    ("opened", Topic::IncidentsOpened),
    ("rca", Topic::RcaCompleted),
    ("plan", Topic::RemediationPlans),
    ("resolved", Topic::IncidentsResolved),
    ("postmortem", Topic::PostmortemsGenerated),
];

fn smtp(port: u16, folder: &Path) -> Running {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("../../.midwatch/cache/python-test/bin/python");
    let mut child = Command::new(&python)
        .arg(root.join("tests/channels/smtp.py"))
        .args([&port.to_string(), folder.to_str().expect("a plain path")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{} does not start: {error}", python.display()));
    let mut line = String::new();
    let output = child.stdout.take().expect("it is piped");
    BufReader::new(output)
        .read_line(&mut line)
        .expect("it says when it serves");
    assert_eq!(line.trim(), "ready");
    Running(child)
}

/// The notifications' file, with every secret in a file of its own.
fn book(folder: &Path, peer: &str) -> PathBuf {
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("the folder can be written to");
        path
    };
    let mut book = json!({
        "channels": [
            { "name": "chat", "kind": "slack", "channel": "C0TEST",
              "token_file": file("slack", peer::SLACK_TOKEN), "api_url": format!("{peer}/slack") },
            { "name": "pager", "kind": "pagerduty", "api_url": peer,
              "routing_key_file": file("pager", peer::PAGER_KEY) },
            { "name": "phone", "kind": "telegram", "chat": "-100", "api_url": peer, "buttons": true,
              "token_file": file("telegram", peer::TELEGRAM_TOKEN) },
            { "name": "hook", "kind": "webhook", "url_file": file("url", &format!("{peer}/hook")),
              "secret_file": file("secret", peer::HOOK_SECRET) },
        ],
        "routes": [{ "channels": ["chat", "pager", "phone", "hook"] }],
    });
    for (chat, _) in chats::CHATS {
        let url = format!("{peer}/chats/{chat}/room");
        let channel = json!({ "name": chat, "kind": "webhook", "format": chat,
            "url_file": file(chat, &url) });
        book["channels"]
            .as_array_mut()
            .expect("a list")
            .push(channel);
        let route = book["routes"][0]["channels"].as_array_mut();
        route.expect("a list").push(json!(chat));
    }
    file("notify.json", &book.to_string())
}

fn agent(
    kafka: &KafkaSettings,
    database: &str,
    smtp: u16,
    folder: &Path,
    book: Option<&Path>,
) -> Running {
    agent_with(kafka, database, smtp, (folder, book), None)
}

fn agent_with(
    kafka: &KafkaSettings,
    database: &str,
    smtp: u16,
    (folder, book): (&Path, Option<&Path>),
    link_key: Option<&Path>,
) -> Running {
    let program = PathBuf::from(needed("MIDWATCH_TEST_BIN_DIR")).join("midwatch-communication");
    let knowledge = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../knowledge");
    let smtp = format!("smtp://midwatch:right%20p%40ss@127.0.0.1:{smtp}?tls=required");
    let child = Command::new(&program)
        .env("KAFKA_BOOTSTRAP_SERVERS", &kafka.bootstrap)
        .env("KAFKA_TOPIC_PREFIX", &kafka.topic_prefix)
        .env("DATABASE_URL", database)
        .env("SMTP_URL", smtp)
        .env("SMTP_CA_FILE", folder.join("ca.pem"))
        .env("NOTIFY_FILE", book.unwrap_or(Path::new("")))
        .env("APPROVAL_LINK_KEY_FILE", link_key.unwrap_or(Path::new("")))
        .env("KNOWLEDGE_DIR", knowledge)
        .env("DIGEST_MINUTES", "1")
        .env("HTTP_BIND", "127.0.0.1:0")
        .env("RUST_LOG", "error")
        .stdin(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
    Running(child)
}

/// A part of an incident's life: the golden message under its own ids.
fn part(incident: Uuid, number: usize) -> (Topic, Vec<u8>) {
    let topic = LIFE[number].1;
    let mut event = support::golden(topic);
    event["event_id"] = json!(Uuid::from_u128(incident.as_u128() + number as u128 + 1));
    event["incident_id"] = json!(incident);
    event["short_id"] = json!(midwatch_events::ids::short_incident(incident));
    event["severity"] = json!("CRITICAL");
    event["affected_services"][0] = json!(chats::HOSTILE);
    (topic, serde_json::to_vec(&event).expect("JSON"))
}

async fn count(postgres: &Postgres, status: &str) -> i64 {
    let query = "SELECT count(*) FROM notifications WHERE status = $1";
    sqlx::query_scalar(query)
        .bind(status)
        .fetch_one(&postgres.pool)
        .await
        .expect("the database answers")
}

fn mails(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("mails.jsonl")).unwrap_or_default();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("one mail a line"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_every_channel_loses_doubles_and_disorders_nothing() {
    let outage: u64 = variable("OUTAGE_S").map_or(10, |text| text.parse().expect("seconds"));
    let limit = Duration::from_secs(90 + outage);
    let broker = variable("MIDWATCH_TEST_KAFKA").unwrap_or_else(|| needed("MIDWATCH_TEST_TANSU"));
    let mut kafka = KafkaSettings::at(&broker);
    kafka.topic_prefix = format!("channels{}.", std::process::id());
    kafka::create_topics(&kafka).await.expect("topics");
    let epoch = Uuid::from_u128(u128::from(std::process::id())).to_string();
    kafka::ensure_epoch(&kafka, &epoch).await.expect("an epoch");
    let (postgres, url) = database("channels").await;
    let folder = tempfile::tempdir().expect("a folder");
    let peer = Peer::default();
    let address = peer.serve().await;
    let book = book(folder.path(), &address);
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port();
    let mut inbox = Some(smtp(port, folder.path()));
    let _agent = agent(&kafka, &url, port, folder.path(), Some(&book));
    let producer = Producer::new(&kafka).expect("a producer");
    let incidents: Vec<Uuid> = (1..=INCIDENTS).map(|n| Uuid::from_u128(n << 96)).collect();
    let publish = async |number: usize| {
        for incident in &incidents {
            let (topic, payload) = part(*incident, number);
            let key = incident.to_string();
            let sent = producer.publish_bytes(topic.name(), key.as_bytes(), &payload, &[]);
            sent.await.expect("taken");
        }
    };

    // The beginnings arrive; then everything is away, each in its own way.
    publish(0).await;
    // A mail and seven channels at least.
    let all = i64::try_from(incidents.len() * 8).expect("a small number");
    until("the beginnings are told", limit, async || {
        count(&postgres, "SENT").await >= all && count(&postgres, "PENDING").await == 0
    })
    .await;
    peer.with(|seen| {
        for incident in &incidents {
            let data = format!("acknowledge:{incident}");
            let under = seen.telegram_buttons.values().filter(|one| **one == data);
            assert_eq!(under.count(), 1, "one button for {incident}");
        }
    });
    peer.with(|seen| {
        seen.away = BTreeMap::from(OUTAGES);
        seen.away.extend(chats::CHATS);
    });
    drop(inbox.take());
    let gone = Instant::now();
    publish(1).await;
    publish(2).await;
    publish(3).await;
    until("what failed is visible", limit, async || {
        count(&postgres, "FAILED").await >= 5
    })
    .await;
    tokio::time::sleep(Duration::from_secs(outage).saturating_sub(gone.elapsed())).await;
    inbox = Some(smtp(port, folder.path()));
    peer.with(|seen| seen.away.clear());
    publish(4).await;

    until("everything is told in the end", limit, async || {
        let open = count(&postgres, "FAILED").await + count(&postgres, "PENDING").await;
        open == 0 && mails(folder.path()).len() >= incidents.len() * LIFE.len()
    })
    .await;
    look(&peer, &mails(folder.path()), &incidents);
    drop(inbox);
}

/// The stages of the mails that an address got, in the order of their coming.
fn got(folder: &Path, address: &str) -> Vec<String> {
    let mails = mails(folder);
    let own = mails.iter().filter(|mail| {
        let to = mail["to"].as_array().expect("a list");
        to.iter().any(|one| one == address)
    });
    own.map(|mail| {
        let id = mail["message_id"].as_str().expect("an id");
        let stage = id.trim_start_matches('<').split('.').next();
        stage.unwrap_or_default().to_owned()
    })
    .collect()
}

/// Everything that mails alone need.
struct Mails {
    kafka: KafkaSettings,
    postgres: Postgres,
    url: String,
    folder: tempfile::TempDir,
    port: u16,
    producer: Producer,
    _inbox: Running,
}

const WAIT: Duration = Duration::from_secs(60);

impl Mails {
    async fn new(name: &str) -> Mails {
        let broker =
            variable("MIDWATCH_TEST_KAFKA").unwrap_or_else(|| needed("MIDWATCH_TEST_TANSU"));
        let mut kafka = KafkaSettings::at(&broker);
        kafka.topic_prefix = format!("{name}{}.", std::process::id());
        kafka::create_topics(&kafka).await.expect("topics");
        let epoch = Uuid::from_u128(u128::from(std::process::id()) + 1).to_string();
        kafka::ensure_epoch(&kafka, &epoch).await.expect("an epoch");
        let (postgres, url) = database(name).await;
        let folder = tempfile::tempdir().expect("a folder");
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        Mails {
            producer: Producer::new(&kafka).expect("a producer"),
            _inbox: smtp(port, folder.path()),
            kafka,
            postgres,
            url,
            folder,
            port,
        }
    }

    fn agent(&self) -> Running {
        agent(&self.kafka, &self.url, self.port, self.folder.path(), None)
    }

    async fn tell(&self, incident: Uuid, number: usize, severity: &str) {
        let (topic, payload) = part(incident, number);
        let mut event: Value = serde_json::from_slice(&payload).expect("JSON");
        event["severity"] = json!(severity);
        let (key, payload) = (incident.to_string(), event.to_string());
        let sent =
            self.producer
                .publish_bytes(topic.name(), key.as_bytes(), payload.as_bytes(), &[]);
        sent.await.expect("taken");
    }

    /// An operator has a message sent again.
    async fn resend(&self, incident: Uuid, message_id: &str) {
        let mut command = support::golden(Topic::OperatorCommands);
        let now_us = self
            .ask("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
            .await;
        let now_ms = now_us / 1_000;
        command["event_id"] = json!(Uuid::from_u128(now_us.unsigned_abs().into()));
        command["incident_id"] = json!(incident);
        command["command"] = json!("resend");
        command["target"] = json!(message_id);
        command["issued_at_ms"] = json!(now_ms);
        command["expires_at_ms"] = json!(now_ms + 300_000);
        let (key, payload) = (incident.to_string(), command.to_string());
        let topic = Topic::OperatorCommands.name();
        let sent = self
            .producer
            .publish_bytes(topic, key.as_bytes(), payload.as_bytes(), &[]);
        sent.await.expect("taken");
    }

    async fn ask(&self, query: &'static str) -> i64 {
        let asked = sqlx::query_scalar::<_, i64>(query).fetch_one(&self.postgres.pool);
        asked.await.expect("the database answers")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_recipient_refused_for_now_delays_nobody_and_gets_all_in_order() {
    const LATE: &str = "management@midwatch.example";
    const HAS: &str = "SELECT count(*) FROM notifications
        WHERE status = 'SENT' AND recipient = 'management@midwatch.example'";
    let world = Mails::new("refused").await;
    let _agent = world.agent();
    let (folder, incident) = (world.folder.path(), Uuid::from_u128(77 << 96));
    // The first try asks twice, together and alone; then once; then it is taken.
    std::fs::write(folder.join("refused"), format!("{LATE} 3")).expect("written");
    for number in 0..3 {
        world.tell(incident, number, "CRITICAL").await;
    }
    until("somebody has the first", WAIT, async || {
        count(&world.postgres, "SENT").await > 0
    })
    .await;
    let has = world.ask(HAS).await;
    assert_eq!(has, 0, "nobody says that it was sent to them");
    until("all have all three", WAIT, async || {
        world.ask(HAS).await == 3
    })
    .await;
    world.tell(incident, 3, "CRITICAL").await;
    until("the end is told to all", WAIT, async || {
        world.ask(HAS).await == 4 && count(&world.postgres, "PENDING").await == 0
    })
    .await;
    let stages = ["opened", "rca", "plan", "resolved"];
    let all = mails(folder);
    let late = |mail: &Value| {
        mail["to"]
            .as_array()
            .expect("a list")
            .contains(&json!(LATE))
    };
    let before = all.iter().position(late);
    assert!(before >= Some(2), "{before:?} mails to others in between");
    for mail in &all {
        for address in mail["to"].as_array().expect("a list") {
            let address = address.as_str().expect("an address");
            assert_eq!(got(folder, address), stages, "{address}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_low_comes_together_also_from_a_process_that_was_not_there() {
    const NOTED: &str = "SELECT count(*) FROM agent_state WHERE scope LIKE 'digest/mail/%'
        AND (SELECT count(*) FROM jsonb_object_keys(state #> '{state,digest,entries}')) = 2";
    const YOUNG: &str = "SELECT (extract(second FROM now()) < 45)::int::bigint";
    let world = Mails::new("together").await;
    let first = world.agent();
    // Both in one interval, which is a minute of the clock.
    until("a minute is young", WAIT, async || {
        world.ask(YOUNG).await == 1
    })
    .await;
    for number in [78, 79] {
        world.tell(Uuid::from_u128(number << 96), 0, "LOW").await;
    }
    until("both are noted", WAIT, async || world.ask(NOTED).await == 1).await;
    drop(first);
    let _second = world.agent();
    until("the digest has come", 2 * WAIT, async || {
        count(&world.postgres, "SENT").await == 1
    })
    .await;
    let all = mails(world.folder.path());
    let [digest] = all.as_slice() else {
        panic!("one digest, not {all:?}");
    };
    let subject = digest["subject"].as_str().expect("a subject");
    assert_eq!(subject, "🔵 [LOW] Digest — 2 incidents, 2 still open");
}

/// What people have in the end.
fn look(peer: &Peer, mails: &[Value], incidents: &[Uuid]) {
    let stages: Vec<&str> = LIFE.iter().map(|(stage, _)| *stage).collect();
    for mail in mails {
        assert_eq!(
            (&mail["encrypted"], &mail["user"]),
            (&json!(true), &json!("midwatch"))
        );
    }
    peer.with(|seen| {
        assert_eq!(seen.complaints, Vec::<String>::new());
        let left: Vec<&String> = seen.telegram_buttons.values().collect();
        assert!(
            left.iter().all(|data| data.is_empty()),
            "over, with {left:?}"
        );
        chats::look(seen, incidents, &["🚨", "🔍", "🛠️", "✅", "📋"]);
        for provider in ["slack", "pager", "telegram", "hook"] {
            assert!(
                seen.turned_away.contains_key(provider),
                "{provider} had no outage"
            );
        }
        for incident in incidents {
            let (id, short) = (
                incident.to_string(),
                midwatch_events::ids::short_incident(*incident),
            );
            let told: Vec<&str> = seen
                .hook
                .iter()
                .filter(|(about, _)| *about == id)
                .map(|(_, stage)| stage.as_str())
                .collect();
            assert_eq!(told, stages, "the webhook about {short}");
            let alert = seen.pager.get(&id).expect("an alert");
            assert_eq!(*alert, ["trigger", "resolve"], "the pager about {short}");
            thread(seen, &id, &short, &stages);
            phone(seen, &short);
            mailed(mails, &short);
        }
    });
}

/// One message in Slack, kept up to date, with every stage in its thread.
fn thread(seen: &peer::Seen, id: &str, short: &str, stages: &[&str]) {
    let root = seen
        .slack
        .iter()
        .position(|(_, mark)| *mark == format!("{id}:root"));
    let root = root.unwrap_or_else(|| panic!("no message about {short}"));
    let ts = format!("1700000000.{:06}", root + 1);
    let roots = seen
        .slack
        .iter()
        .filter(|(_, mark)| *mark == format!("{id}:root"));
    assert_eq!(roots.count(), 1, "one message about {short}");
    let thread: Vec<&str> = seen
        .slack
        .iter()
        .filter(|(thread, _)| *thread == ts)
        .filter_map(|(_, mark)| mark.rsplit(':').next())
        .collect();
    assert_eq!(thread, stages, "Slack's thread about {short}");
    assert!(
        seen.edits[&ts] >= 4,
        "the board of {short} is kept up to date"
    );
}

/// Every stage in Telegram, in order.
fn phone(seen: &peer::Seen, short: &str) {
    let phone: Vec<&str> = seen
        .telegram
        .iter()
        .filter(|(answers, text)| answers.is_some() && text.contains(short))
        .map(|(_, text)| text.lines().next().unwrap_or_default())
        .collect();
    assert_eq!(phone.len(), LIFE.len(), "Telegram about {short}: {phone:?}");
    for (line, sign) in phone.iter().zip(["🚨", "🔍", "🛠️", "✅", "📋"]) {
        assert!(line.starts_with(sign), "Telegram about {short}: {phone:?}");
    }
}

/// Every stage by mail, in order.
fn mailed(mails: &[Value], short: &str) {
    let mailed: Vec<&str> = mails
        .iter()
        .filter_map(|mail| mail["subject"].as_str())
        .filter(|subject| subject.contains(short))
        .collect();
    assert_eq!(mailed.len(), LIFE.len(), "mails about {short}: {mailed:?}");
    for (subject, sign) in mailed.iter().zip(["🚨", "🔍", "🛠", "✅", "📋"]) {
        assert!(subject.starts_with(sign), "mails about {short}: {mailed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_sent_again_once_and_to_those_alone_who_lack_it() {
    const FULL: &str = "management@midwatch.example";
    const REFUSED: &str = "SELECT count(*) FROM agent_events WHERE event_type = 'COMMAND_REFUSED'";
    const RESENT: &str =
        "SELECT count(*) FROM agent_events WHERE event_type = 'NOTIFICATION_RESENT'";
    let world = Mails::new("again").await;
    let _agent = world.agent();
    let (folder, incident) = (world.folder.path(), Uuid::from_u128(80 << 96));
    std::fs::write(folder.join("refused"), format!("{FULL} 99 550")).expect("written");
    world.tell(incident, 0, "CRITICAL").await;
    until(
        "it failed for one and reached the others",
        WAIT,
        async || {
            count(&world.postgres, "FAILED").await == 1
                && count(&world.postgres, "PENDING").await == 0
        },
    )
    .await;
    assert!(got(folder, FULL).is_empty());
    let message_id: String =
        sqlx::query_scalar("SELECT message_id FROM notifications WHERE status = 'FAILED'")
            .fetch_one(&world.postgres.pool)
            .await
            .expect("the row");
    std::fs::remove_file(folder.join("refused")).expect("it is there");
    // A double click, and somebody who comes late.
    for _ in 0..2 {
        world.resend(incident, &message_id).await;
    }
    until("it arrived, and the second was told so", WAIT, async || {
        count(&world.postgres, "FAILED").await == 0 && world.ask(REFUSED).await == 1
    })
    .await;
    world.resend(incident, &message_id).await;
    until("nobody waits for it any more", WAIT, async || {
        world.ask(REFUSED).await == 2
    })
    .await;
    assert_eq!(world.ask(RESENT).await, 1);
    for mail in mails(folder) {
        let id = mail["message_id"].as_str().expect("an id");
        assert_eq!(id, format!("<{message_id}>"));
        for address in mail["to"].as_array().expect("a list") {
            let address = address.as_str().expect("an address");
            assert_eq!(got(folder, address), ["opened"], "{address}");
        }
    }
    assert_eq!(got(folder, FULL), ["opened"]);
}
