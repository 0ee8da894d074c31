//! The process that is killed: carries out one action and says what became of
//! it.

use midwatch_clients::postgres::Postgres;
use midwatch_events::action::Executor;
use midwatch_remediation::execution::Execution;
use midwatch_remediation::executors::Executors;
use midwatch_remediation::executors::hand::Hand;
use midwatch_remediation::executors::kubernetes::{Api, Kubernetes};
use midwatch_remediation::executors::local::{Local, LocalSettings};
use midwatch_remediation::executors::webhook::{Webhook, WebhookHand};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

pub const SECRET: &str = "a secret of this test";
/// Short, so that the test does not wait long for what a dead process held.
const LEASE: Duration = Duration::from_secs(2);

/// `arguments`: database, slot, folder, address of the webhook, the action.
pub async fn run(arguments: &[String]) -> ExitCode {
    let [database, slot, folder, webhook, execution] = arguments else {
        eprintln!("five arguments are needed");
        return ExitCode::FAILURE;
    };
    let folder = PathBuf::from(folder);
    let execution: Execution = serde_json::from_str(execution).expect("an action");
    let postgres = Postgres::connect(database, 4).await.expect("PostgreSQL");
    let executors = Executors::new(hands(&folder, webhook).await, postgres, slot, "here");
    match executors.with_lease(LEASE).execute(&execution).await {
        Ok(outcome) => {
            println!("{}", serde_json::to_string(&outcome).expect("JSON"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn hands(folder: &Path, webhook: &str) -> BTreeMap<Executor, Arc<dyn Hand>> {
    let (api, _) = Api::connect(Some(&folder.join("kubeconfig.json")))
        .await
        .expect("a kubeconfig");
    let local = Local::new(LocalSettings {
        machine: "here".to_owned(),
        scripts: Some(folder.join("scripts")),
        state: folder.join("state"),
        ..LocalSettings::default()
    });
    let webhook = WebhookHand {
        webhook: Some(Webhook::new(webhook, SECRET).expect("an address")),
        ..WebhookHand::default()
    };
    let mut hands: BTreeMap<Executor, Arc<dyn Hand>> = BTreeMap::new();
    hands.insert(Executor::Kubernetes, Arc::new(Kubernetes::new(api)));
    hands.insert(Executor::Local, Arc::new(local));
    hands.insert(Executor::Webhook, Arc::new(webhook));
    hands
}
