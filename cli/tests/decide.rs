//! `midwatch plan`, `approve`, `reject` and `incident` against the real API,
//! database and broker; remediation's word is written by the test.

mod support;

use midwatch_api::operators::Operators;
use midwatch_api::series::Recent;
use midwatch_api::topics::Topics;
use midwatch_api::{App, serve};
use midwatch_clients::kafka::{BrokerReader, KafkaSettings, Start};
use midwatch_clients::postgres::Postgres;
use midwatch_events::ids;
use midwatch_runtime::Shutdown;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use support::{Database, Stage, kafka_with_topics};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

const TOKEN: &str = "a-token-of-the-tests";
const INCIDENT: Uuid = Uuid::from_u128(0xa1b2_c3d4_0000_5000_8000_0000_0000_0000);
const PLAN: Uuid = Uuid::from_u128(7);

fn plan() -> Value {
    let short = ids::short_incident(INCIDENT);
    let action = json!({"kind": "restart_rollout", "service": "payment-service",
        "arguments": {"namespace": "production", "workload": "payment-service"}, "risk": "disruptive",
        "executor": "kubernetes", "pre_checks": ["the rollout is complete"],
        "blast_radius": "All pods are replaced one by one.",
        "effect": {"service": "payment-service", "metric": "service_db_connections", "direction": "below",
            "baseline_value": 30.2, "within_ms": 300_000}});
    let step = |id: &str, typed: &Value| {
        let mut step = json!({"step_id": id, "priority": "IMMEDIATE", "action": "Restart it",
            "command": "kubectl -n production rollout restart deployment/payment-service",
            "rationale": "Connections leak.", "risk_level": "medium", "owner": "payments",
            "expected_outcome": "", "rollback": "none: a restart is over"});
        if !typed.is_null() {
            step["typed"] = typed.clone();
        }
        step
    };
    json!({"incident_id": INCIDENT, "short_id": short, "environment": "simulation", "severity": "HIGH",
        "anomaly_type": "LATENCY_SPIKE", "affected_services": ["payment-service"], "detected_at_ms": 1,
        "detected_wall_ms": 1, "plan_id": PLAN, "planned_at_ms": 2, "root_cause": "Connections leak.",
        "confidence": 0.8, "action_steps": [step("S1", &action), step("S2", &Value::Null)],
        "escalation_path": [], "runbook_references": [], "estimated_resolution_minutes": [5, 10],
        "estimate_basis": "none", "rca_revision": 1, "plan_hash": "ab".repeat(32)})
}

struct Served {
    stage: Stage,
    database: Database,
    postgres: Postgres,
    switch: watch::Sender<bool>,
    task: JoinHandle<()>,
    operators: tempfile::NamedTempFile,
    settings: KafkaSettings,
}

impl Served {
    async fn start() -> Served {
        let settings = kafka_with_topics().await;
        let database = Database::migrated().await;
        let short = ids::short_incident(INCIDENT);
        let plan = plan();
        database
            .run(&format!(
                "INSERT INTO incidents (id, short_id, environment, status, anomaly_type, severity,
                     affected_services, detection_time, remediation_plan)
                 VALUES ('{INCIDENT}', '{short}', 'simulation', 'REMEDIATING', 'LATENCY_SPIKE', 'HIGH',
                     '[\"payment-service\"]', now(), '{plan}')"
            ))
            .await;
        let operators = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(operators.path(), format!("ana {TOKEN}\n")).expect("written");
        let postgres = Postgres::connect(&database.url, 4).await.expect("it opens");
        let (switch, shutdown) = Shutdown::channel();
        let topics = Topics::new(settings.clone());
        let mut app = App::new(&postgres.pool, Recent::default(), topics, shutdown);
        app.operators = Arc::new(Operators::new(Some(operators.path().to_owned()), false));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            let (pool, resender) = (app.pool.clone(), app.resender.clone());
            serve(app, listener).await.expect("a clean end");
            pool.close().await;
            resender.close().await;
        });
        let mut stage = Stage::nowhere();
        stage.set("MIDWATCH_API_URL", format!("http://{address}"));
        stage.set("OPERATOR_TOKEN", TOKEN);
        Served {
            stage,
            database,
            postgres,
            switch,
            task,
            operators,
            settings,
        }
    }

    /// Waits until the broker has so many commands.
    async fn heard(&self, count: usize) {
        let reader = BrokerReader::new(self.settings.clone());
        let name = self.settings.topic("operator.commands");
        let all = async {
            loop {
                let page = reader.browse(&name, None, Start::Newest, 10).await;
                if page.expect("readable").expect("the topic").records.len() >= count {
                    break;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), all)
            .await
            .expect("in time");
    }

    /// What remediation says of S1.
    async fn say(&self, kind: &str, words: &str, more: Value) {
        let mut payload = json!({"command": "approve", "target": "S1", "plan_hash": "ab".repeat(32), "by": "ana"});
        if let (Some(payload), Some(more)) = (payload.as_object_mut(), more.as_object()) {
            payload.extend(more.clone());
        }
        self.database
            .run(&format!(
                "INSERT INTO agent_events (event_id, incident_id, agent_name, event_type, event_time_ms,
                     summary, payload)
                 VALUES (gen_random_uuid(), '{INCIDENT}', 'remediation', '{kind}', 3, '{words}', '{payload}')"
            ))
            .await;
    }

    async fn stop(self) {
        self.switch.send_replace(true);
        self.task.await.expect("no panic");
        self.postgres.pool.close().await;
        self.database.close().await;
        self.operators.close().expect("removed");
    }
}

#[tokio::test]
async fn a_plan_is_shown_and_a_step_approved() {
    let served = Served::start().await;
    let stage = &served.stage;
    let short = ids::short_incident(INCIDENT);
    let ended = stage.run(&["plan", &short]).await;
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    for part in [
        "waiting for approval",
        "    $ kubectl -n production rollout restart deployment/payment-service\n",
        "disruptive",
        "by hand",
        &"ab".repeat(32),
    ] {
        assert!(ended.out.contains(part), "{part} in {}", ended.out);
    }
    // Nobody can be asked: nothing is published, but what it would do is shown.
    let ended = stage.run(&["approve", &short, "S1"]).await;
    assert_eq!((ended.code, ended.out.as_str()), (1, ""));
    assert!(
        ended.err.contains("All pods are replaced") && ended.err.contains("say --yes"),
        "{}",
        ended.err
    );
    let words = ["approve", &short, "s1", "--yes", "--reason", "it fits"];
    let (asked, ()) = tokio::join!(stage.run(&words), async {
        served.heard(1).await;
        let more = json!({"approvals_missing": 1});
        served.say("ACTION_APPROVED", "ana approved S1", more).await;
    });
    assert_eq!(asked.code, 0, "{asked:?}");
    assert!(
        asked.out.contains("approve was asked for") && asked.out.contains("1 more must approve it"),
        "{}",
        asked.out
    );
    let words = ["approve", &short, "S1", "--yes", "--json"];
    let (refused, ()) = tokio::join!(stage.run(&words), async {
        served.heard(2).await;
        let rule = json!({"rule": "same_credential"});
        served.say("ACTION_REFUSED", "ana approved it", rule).await;
    });
    assert_eq!(refused.code, 1, "{refused:?}");
    let answer = refused.json();
    assert_eq!(
        (&answer["answer"]["rule"], &answer["plan_hash"]),
        (&json!("same_credential"), &json!("ab".repeat(32)))
    );
    assert_eq!(
        (&answer["channel"], &answer["reason"]),
        (&json!("cli"), &json!(""))
    );
    served.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_its_rule() {
    let served = Served::start().await;
    let stage = &served.stage;
    let short = ids::short_incident(INCIDENT);
    for (arguments, words) in [
        (vec!["approve", &short, "S9", "--yes"], "rule unknown_step"),
        (
            vec!["reject", &short, "S2", "--yes", "--reason", "x"],
            "rule not_executable",
        ),
        (vec!["plan", "INC-00000000"], "there is no incident"),
        (
            vec![
                "incident",
                "start",
                "--service",
                "payment-service",
                "--title",
                "Slow",
                "--severity",
                "HIGH",
                "--environment",
                "simulation",
            ],
            "rule already_open",
        ),
        (
            vec!["incident", "resolve", &short, "--root-cause", " "],
            "stated.root_cause does not fit",
        ),
    ] {
        let ended = stage.run(&arguments).await;
        assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{arguments:?}");
        assert!(ended.err.contains(words), "{words}: {}", ended.err);
    }
    served.stop().await;
}

#[tokio::test]
async fn an_incident_is_declared_and_ended_as_a_person_says() {
    let served = Served::start().await;
    let stage = &served.stage;
    let start = [
        "incident",
        "start",
        "--service",
        "payment-service",
        "--title",
        "Nobody can pay",
        "--severity",
        "critical",
        "--environment",
        "simulation",
        "--force",
    ];
    let ended = stage.run(&start).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let short = ids::short_incident(INCIDENT);
    assert!(
        ended.out.contains("is being opened") && ended.out.contains(&short),
        "{}",
        ended.out
    );
    let ended = stage
        .run(&[
            "incident",
            "resolve",
            &short,
            "--root-cause",
            "a certificate",
            "--toil-minutes",
            "12",
            "--json",
        ])
        .await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let answer = ended.json();
    assert_eq!(
        (&answer["command"], &answer["stated"]),
        (
            &json!("close"),
            &json!({"root_cause": "a certificate", "toil_minutes": 12.0, "by": "ana"})
        )
    );
    served.stop().await;
}
