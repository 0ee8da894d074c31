//! Which executors the settings set up, and the simulated fleet as one.

use crate::support::execution;
use crate::support::http::{Answering, Asked, Reply, serve};
use midwatch_clients::postgres::Postgres;
use midwatch_events::action::{ActionKind, Executor};
use midwatch_remediation::executors::Executors;
use midwatch_remediation::executors::hand::{Acted, Acting, Hand, Seen};
use midwatch_remediation::executors::simulated::Simulated;
use midwatch_runtime::config::Settings;
use serde_json::{Value, json};
use std::sync::Mutex;

async fn connect(pairs: &[(&str, &str)]) -> anyhow::Result<Executors> {
    let values = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let pool = sqlx::PgPool::connect_lazy("postgres://nobody@127.0.0.1:1/none");
    let postgres = Postgres {
        pool: pool.expect("a URL"),
    };
    Executors::connect(&Settings::from_values(values), postgres).await
}

#[tokio::test]
async fn nothing_acts_that_no_setting_names() {
    let none = connect(&[]).await.expect("nothing is needed");
    assert_eq!(none.configured(), []);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    std::fs::write(path("secret"), "a secret of this test\n").expect("a file");
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "a", "user": {}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
    });
    std::fs::write(path("kubeconfig"), kubeconfig.to_string()).expect("a file");
    let all = connect(&[
        ("REMEDIATION_KUBECONFIG", &path("kubeconfig")),
        ("REMEDIATION_LOCAL", "1"),
        ("REMEDIATION_DISK_ROOTS", "/var/log:/var/tmp/x"),
        ("REMEDIATION_WEBHOOK_URL", "https://actions.example/run"),
        ("REMEDIATION_WEBHOOK_SECRET_FILE", &path("secret")),
        ("SIMULATOR_ACTIONS_URL", "http://127.0.0.1:1"),
    ])
    .await;
    let configured = all.expect("all of it can be used").configured();
    let wanted = [
        Executor::Kubernetes,
        Executor::Local,
        Executor::Webhook,
        Executor::Simulator,
    ];
    assert_eq!(configured, wanted);
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_named() {
    let cases: [(&[(&str, &str)], &str); 6] = [
        (
            &[("REMEDIATION_KUBECONFIG", "/absent")],
            "REMEDIATION_KUBECONFIG is \"/absent\"",
        ),
        (
            &[
                ("REMEDIATION_LOCAL", "1"),
                ("REMEDIATION_DISK_ROOTS", "/var"),
            ],
            "REMEDIATION_DISK_ROOTS is \"/var\"",
        ),
        (
            &[
                ("REMEDIATION_LOCAL", "1"),
                ("REMEDIATION_SCRIPTS_DIR", "/absent"),
            ],
            "REMEDIATION_SCRIPTS_DIR is \"/absent\"",
        ),
        (
            &[("REMEDIATION_WEBHOOK_URL", "https://x.example/")],
            "needs REMEDIATION_WEBHOOK_SECRET_FILE",
        ),
        (
            &[("REMEDIATION_ALERTMANAGER_URL", "http://x.example/")],
            "use https, or http on this machine",
        ),
        (
            &[("REMEDIATION_LOCAL", "maybe")],
            "REMEDIATION_LOCAL is \"maybe\"",
        ),
    ];
    all_named(&cases).await;
}

/// Each of these settings ends the start with these words.
async fn all_named(cases: &[(&[(&str, &str)], &str)]) {
    for (pairs, words) in cases {
        let error = connect(pairs).await.err().map(|error| format!("{error:#}"));
        let error = error.unwrap_or_else(|| panic!("{pairs:?} was taken"));
        assert!(error.contains(words), "{words:?} in {error:?}");
    }
}

#[tokio::test]
async fn a_list_of_what_is_allowed_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let written = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("our folder");
        path.to_string_lossy().into_owned()
    };
    let unit = written("unit", r#"{"hosts": {"web-1": {"units": ["nginx"]}}}"#);
    let nowhere = written("nowhere", r#"{"hooks": {"fail-over": {}}}"#);
    let no_secret = written(
        "no-secret",
        r#"{"hooks": {"fail-over": {"url": "https://a.example/", "secret_file": "/absent"}}}"#,
    );
    let plain = written(
        "plain",
        r#"{"hooks": {"fail-over": {"url": "http://a.example/", "secret_file": "/proc/version"}}}"#,
    );
    let cases: [(&[(&str, &str)], &str); 5] = [
        (
            &[("REMEDIATION_ALLOWED_FILE", &unit)],
            "hosts.web-1.units[0]: it is \"nginx\"; write a unit such as nginx.service",
        ),
        (
            &[("REMEDIATION_ALLOWED_FILE", "/absent")],
            "REMEDIATION_ALLOWED_FILE is \"/absent\"",
        ),
        (
            &[("REMEDIATION_ALLOWED_FILE", &nowhere)],
            "hooks.fail-over: give it url and secret_file, or set REMEDIATION_WEBHOOK_URL",
        ),
        (
            &[("REMEDIATION_ALLOWED_FILE", &no_secret)],
            "hooks.fail-over: secret_file /absent cannot be read",
        ),
        (
            &[("REMEDIATION_ALLOWED_FILE", &plain)],
            "hooks.fail-over: url http://a.example/: use https",
        ),
    ];
    all_named(&cases).await;
}

#[tokio::test]
async fn the_simulator_is_asked_again_until_it_answers_and_tells_afterwards() {
    let replies = Mutex::new(vec![503, 0, 200].into_iter());
    let report = json!({"status": "applied", "event_ms": 42, "words": "scaled"});
    let url = serve(move |asked: Asked| -> Answering {
        let reply = match (asked.method.as_str(), asked.path.as_str()) {
            ("POST", "/actions") => match replies.lock().expect("no panic").next() {
                Some(200) => Reply::json(200, &report),
                Some(0) => Reply::Reset,
                _ => Reply::json(503, &json!("busy")),
            },
            ("GET", "/actions/key-1") => Reply::json(200, &report),
            _ => Reply::json(404, &json!("never heard of it")),
        };
        Box::pin(async move { reply })
    })
    .await;
    let hand = Simulated::new(reqwest::Client::new(), &url);
    let mut action = execution(
        "key-1",
        Executor::Simulator,
        ActionKind::Scale,
        &[("replicas", "6")],
    );
    let prepared = hand.check(&action).await.expect("nothing to check");
    match hand.act(&action, &prepared).await {
        Acted::Done {
            done,
            looked: false,
        } => {
            assert_eq!((done.output.as_str(), done.at_ms), ("scaled", Some(42)));
        }
        other => panic!("{other:?}"),
    }
    let acting = Acting {
        at_ms: 1,
        on: String::new(),
        observed: Value::Null,
    };
    assert!(
        matches!(hand.look(&action, &acting).await, Seen::Done(done) if done.at_ms == Some(42))
    );
    action.key = "key-2".to_owned();
    assert_eq!(hand.look(&action, &acting).await, Seen::NotDone);
    let gone = Simulated::new(reqwest::Client::new(), "http://127.0.0.1:1");
    assert!(matches!(gone.look(&action, &acting).await, Seen::Away(_)));
}
