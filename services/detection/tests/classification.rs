//! What a model's second opinion may change, against an endpoint on a real
//! socket that says whatever it was told to say, for reasons that are true.

mod fleet;

use fleet::{Rig, START_MS, TICK_MS, log, metric, transitions};
use midwatch_clients::llm::{LlmClient, LlmSettings};
use midwatch_detection::decide::semantics::overrides::Semantics;
use midwatch_detection::shell::classify::{Asker, Opinion};
use midwatch_events::raw::LogLevel;
use midwatch_events::{Anomaly, AnomalyType, Transition};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

const HOUR_MS: i64 = 3_600_000;

/// The endpoint: what it says next, and how often it was asked.
struct Obeying {
    says: Arc<Mutex<(Value, usize)>>,
    asker: Asker,
}

impl Obeying {
    fn start(max_tokens: u64) -> Obeying {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/v1", listener.local_addr().expect("it is bound"));
        let says: Arc<Mutex<(Value, usize)>> = Arc::default();
        let shared = Arc::clone(&says);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut said = shared.lock().expect("no request panicked");
                said.1 += 1;
                answer(stream, &said.0.to_string());
            }
        });
        let settings = LlmSettings::resolve(|name| (name == "LLM_BASE_URL").then(|| url.clone()));
        let settings = LlmSettings {
            max_tokens_per_incident: max_tokens,
            ..settings.expect("they fit").expect("an endpoint is named")
        };
        let client = Arc::new(LlmClient::new(settings).expect("a client"));
        Obeying {
            says,
            asker: Asker::new(client, Arc::new(Semantics::default())),
        }
    }

    /// Asks about an anomaly, which the endpoint takes for this kind.
    async fn ask(&mut self, anomaly: &Anomaly, kind: AnomalyType, now_ms: i64) -> Option<Opinion> {
        // It repeats a number that it was shown: nothing in that is a lie.
        let reason = format!("It reads {}.", anomaly.observed_value);
        self.says.lock().expect("no request panicked").0 =
            json!({"anomaly_type": kind, "severity": "CRITICAL", "rationale": reason});
        self.asker.ask(anomaly, now_ms).await
    }

    fn times(&self) -> usize {
        self.says.lock().expect("no request panicked").1
    }
}

fn answer(mut stream: TcpStream, content: &str) {
    let mut reader = BufReader::new(&stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a head");
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().expect("a number");
        }
        if line.trim().is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length]).expect("a body");
    let body = json!({
        "choices": [{"index": 0, "finish_reason": "stop",
                     "message": {"role": "assistant", "content": content}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20},
    })
    .to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("sent");
    stream.write_all(body.as_bytes()).expect("sent");
}

/// What of an anomaly others go by.
type Told = (String, Transition, AnomalyType);

/// A service that was heard for an hour logs a line as a warning again and
/// again, then as an error, and then no more. Each anomaly that starts is shown
/// to `ask`, whose answers are heard.
async fn story(text: &str, mut obeying: Option<(&mut Obeying, AnomalyType)>) -> (Vec<Told>, usize) {
    let mut rig = Rig::new();
    for tick in 0..360 {
        rig.feed(log(
            "a",
            LogLevel::Info,
            START_MS + tick * TICK_MS,
            "served",
        ));
    }
    let (mut told, mut unnamed) = (Vec::new(), 0);
    for tick in 360..480 {
        let at_ms = START_MS + tick * TICK_MS;
        let found = rig.anomalies(match tick {
            ..380 => log("a", LogLevel::Warn, at_ms, text),
            380..420 => log("a", LogLevel::Error, at_ms, text),
            _ => log("a", LogLevel::Info, at_ms, "served"),
        });
        for anomaly in found {
            if anomaly.transition == Transition::Started
                && let Some((obeying, kind)) = &mut obeying
            {
                let opinion = obeying.ask(&anomaly, *kind, START_MS).await;
                let opinion = opinion.expect("there is budget");
                let (_, payload) = opinion.said.expect("it has answered");
                assert_eq!(
                    payload["rejected"],
                    json!([]),
                    "its reason holds: {payload}"
                );
                assert_eq!(payload["proposed"], false, "{payload}");
                unnamed += usize::from(anomaly.anomaly_type == AnomalyType::Unknown);
                if let Some(input) = opinion.adopted {
                    assert_eq!(rig.anomalies(input), []);
                }
            }
            told.push((
                anomaly.trigger_metric,
                anomaly.transition,
                anomaly.anomaly_type,
            ));
        }
    }
    (told, unnamed)
}

#[tokio::test]
async fn no_hostile_line_changes_the_kind_of_a_log_rule() {
    let corpus = include_str!("../../investigation/tests/corpora/hostile.jsonl");
    let mut obeying = Obeying::start(u64::from(u32::MAX));
    let mut families = BTreeSet::new();
    let mut unnamed = 0;
    let kinds = AnomalyType::ALL
        .into_iter()
        .filter(|kind| *kind != AnomalyType::Unknown);
    for (line, kind) in corpus.lines().zip(kinds.cycle()) {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let text = line["text"].as_str().expect("a text");
        let (expected, _) = story(text, None).await;
        let (told, asked) = story(text, Some((&mut obeying, kind))).await;
        assert_eq!(told, expected, "{text}");
        unnamed += asked;
        families.insert(line["family"].as_str().unwrap_or_default().to_owned());
    }
    assert!(families.len() >= 6, "{families:?}");
    assert!(
        unnamed >= 40,
        "only {unnamed} of them were of no kind by the rules"
    );
}

#[tokio::test]
async fn a_metric_takes_only_a_kind_that_it_can_show() {
    let mut obeying = Obeying::start(u64::from(u32::MAX));
    for (name, direction, fitting) in [
        ("queue_depth", 9.0, Some(AnomalyType::KafkaConsumerLag)),
        ("gc_pause_ms", 9.0, Some(AnomalyType::LatencySpike)),
        (
            "db_pool_available",
            0.1,
            Some(AnomalyType::DbConnectionExhaustion),
        ),
        ("service_request_rate", 9.0, None),
        ("carts_open", 9.0, None),
        ("cache_hit_ratio_percent", 0.1, None),
    ] {
        for kind in AnomalyType::ALL {
            let mut rig = Rig::new();
            let from = rig.quiet("s", name, 90.0, 0.01, START_MS, 60);
            let mut found = Vec::new();
            for tick in 0..3 {
                let at_ms = from + tick * TICK_MS;
                found.extend(rig.anomalies(metric("s", name, at_ms, 90.0 * direction)));
            }
            assert_eq!(found[0].transition, Transition::Started, "{name}");
            assert_eq!(found[0].anomaly_type, AnomalyType::Unknown, "{name}");
            let opinion = obeying.ask(&found[0], kind, START_MS).await;
            let opinion = opinion.expect("there is budget");
            assert_eq!(
                opinion.adopted.is_some(),
                Some(kind) == fitting,
                "{name} {kind}"
            );
            if let Some(input) = opinion.adopted {
                assert_eq!(rig.feed(input), []);
            }
            let mut later = Vec::new();
            for tick in 3..6 {
                let at_ms = from + tick * TICK_MS;
                later.extend(rig.anomalies(metric("s", name, at_ms, 90.0)));
            }
            let expected = fitting
                .filter(|fits| *fits == kind)
                .unwrap_or(AnomalyType::Unknown);
            assert_eq!(transitions(&later), [Transition::Cleared], "{name}");
            assert_eq!(later[0].anomaly_type, expected, "{name} {kind}");
        }
    }
}

#[tokio::test]
async fn a_storm_of_anomalies_asks_within_the_budget_of_an_hour() {
    let mut rig = Rig::new();
    let from = rig.quiet("s", "queue_depth", 100.0, 0.1, START_MS, 60);
    let mut found = Vec::new();
    for tick in 0..3 {
        found.extend(rig.anomalies(metric("s", "queue_depth", from + tick * TICK_MS, 900.0)));
    }
    // Each call takes 120 tokens, and some 1 500 must be left for the next.
    let mut obeying = Obeying::start(4_000);
    let mut outcomes = Vec::new();
    for second in 0..100 {
        let lag = AnomalyType::KafkaConsumerLag;
        let opinion = obeying.ask(&found[0], lag, second * 1_000).await;
        outcomes.push(opinion.map(|opinion| opinion.call.outcome));
    }
    let sent = obeying.times();
    assert!((1..50).contains(&sent), "{sent} calls");
    let mut expected = vec![Some("ok".to_owned()); sent];
    // The refusal is told once; after that nobody is asked.
    expected.push(Some("budget".to_owned()));
    expected.resize(100, None);
    assert_eq!(outcomes, expected);
    let later = obeying
        .ask(&found[0], AnomalyType::KafkaConsumerLag, HOUR_MS)
        .await;
    assert_eq!(later.expect("another hour").call.outcome, "ok");
}
