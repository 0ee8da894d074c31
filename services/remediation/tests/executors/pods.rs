//! Pods and nodes of the scripted API server.

use crate::kubernetes::{act, action, cluster, look, looked, refusal};
use crate::scripted::run;
use crate::support::cluster::{Cluster, Fault, Stage, node, pod};
use crate::support::database;
use midwatch_events::action::{ActionKind, Executor};
use midwatch_remediation::execution::{Execution, NOT_OURS, OutcomeStatus};
use midwatch_remediation::executors::Executors;
use midwatch_remediation::executors::hand::{Acted, Hand, Prepared, Seen};
use midwatch_remediation::executors::kubernetes::Kubernetes;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

fn not_ours(acted: Acted) -> String {
    match acted {
        Acted::NotOurs(reason) => reason,
        other => panic!("not somebody else's: {other:?}"),
    }
}

#[tokio::test]
async fn a_pod_is_deleted_under_the_uid_that_was_seen_only() {
    let (cluster, hand) = cluster().await;
    let (path, first) = pod("checkout-a", "uid-1", "n1", "ReplicaSet");
    cluster.put(&path, first.clone());
    let delete = action(
        ActionKind::DeletePod,
        &[("namespace", "shop"), ("pod", "checkout-a")],
    );
    let prepared = hand.check(&delete).await.expect("it may be deleted");
    assert_eq!(prepared.observed, json!({"uid": "uid-1"}));
    assert_eq!(
        look(&hand, &delete, prepared.observed.clone()).await,
        Seen::NotDone
    );
    // A stateful set starts a successor of the same name in between.
    let (_, second) = pod("checkout-a", "uid-2", "n1", "StatefulSet");
    cluster.put(&path, second.clone());
    assert!(not_ours(hand.act(&delete, &prepared).await).contains("uid-1 was ended by somebody"));
    assert!(cluster.world().effects.is_empty());
    assert!(matches!(
        look(&hand, &delete, prepared.observed.clone()).await,
        Seen::CannotTell(_)
    ));
    assert!(matches!(
        look(&hand, &delete, Value::Null).await,
        Seen::CannotTell(_)
    ));
    let (_, mut orphan) = pod("checkout-a", "uid-3", "n1", "ReplicaSet");
    orphan["metadata"]["ownerReferences"] = json!([]);
    cluster.put(&path, orphan);
    assert!(refusal(act(&hand, &delete).await).contains("nothing owns it"));
}

/// A pod that may be deleted, the action on it, and what the check found.
async fn doomed() -> (Cluster, Kubernetes, Execution, Prepared, String) {
    let (cluster, hand) = cluster().await;
    let (path, object) = pod("checkout-a", "uid-1", "n1", "ReplicaSet");
    cluster.put(&path, object);
    let delete = action(
        ActionKind::DeletePod,
        &[("namespace", "shop"), ("pod", "checkout-a")],
    );
    let prepared = hand.check(&delete).await.expect("it may be deleted");
    (cluster, hand, delete, prepared, path)
}

#[tokio::test]
async fn a_pod_that_somebody_else_ended_is_not_ours() {
    // Gone, and nothing came in its place.
    let (cluster, hand, delete, prepared, path) = doomed().await;
    cluster.world().objects.remove(&path);
    not_ours(hand.act(&delete, &prepared).await);
    // Ending, for somebody else asked for it.
    let (cluster, hand, delete, prepared, path) = doomed().await;
    let (_, mut ending) = pod("checkout-a", "uid-1", "n1", "ReplicaSet");
    ending["metadata"]["deletionTimestamp"] = json!("2026-11-20T12:00:00Z");
    cluster.put(&path, ending.clone());
    not_ours(hand.act(&delete, &prepared).await);
    assert!(cluster.world().effects.is_empty());
    // The same between our look and our request: the server refuses the
    // version, and the next look tells why.
    let (cluster, hand, delete, prepared, path) = doomed().await;
    let (of_watcher, at) = (cluster.clone(), path.clone());
    cluster.when(Stage::BeforeWrite, move |_| {
        of_watcher.put(&at, ending.clone());
    });
    not_ours(hand.act(&delete, &prepared).await);
    assert!(cluster.world().effects.is_empty());
    let deletes = format!("DELETE {path}");
    let asked = cluster.world().asked.clone();
    assert_eq!(asked.iter().filter(|one| **one == deletes).count(), 1);
    // And where it is gone by then.
    let (cluster, hand, delete, prepared, path) = doomed().await;
    let of_watcher = cluster.clone();
    cluster.when(Stage::BeforeWrite, move |_| {
        of_watcher.world().objects.remove(&path);
    });
    not_ours(hand.act(&delete, &prepared).await);
    assert!(cluster.world().effects.is_empty());
}

#[tokio::test]
async fn a_pod_that_only_changed_is_deleted_all_the_same() {
    let (cluster, hand, delete, prepared, _) = doomed().await;
    // Somebody writes its status right before.
    cluster.fail([Fault::Conflict, Fault::Status(429), Fault::ResetBefore]);
    assert!(!looked(&hand.act(&delete, &prepared).await));
    assert_eq!(cluster.effects_of("uid-1"), 1);
}

#[tokio::test]
async fn whose_deletion_it_was_is_unknown_where_the_answer_is_lost() {
    let (cluster, hand, delete, prepared, _) = doomed().await;
    cluster.fail([Fault::ResetAfter]);
    let acted = hand.act(&delete, &prepared).await;
    assert!(
        matches!(&acted, Acted::Unclear(why) if why.contains("whether this action or somebody else")),
        "{acted:?}"
    );
    assert_eq!(cluster.effects_of("uid-1"), 1);
}

#[tokio::test]
async fn a_node_is_cordoned_and_released() {
    let (cluster, hand) = cluster().await;
    let (path, lonely) = node("n1");
    cluster.put(&path, lonely);
    let cordon = action(
        ActionKind::Cordon,
        &[("node", "n1"), ("unschedulable", "true")],
    );
    assert!(refusal(act(&hand, &cordon).await).contains("no node besides n1"));
    let (other, spare) = node("n2");
    cluster.put(&other, spare);
    assert!(!looked(&act(&hand, &cordon).await));
    assert_eq!(
        cluster.object(&path)["spec"],
        json!({"unschedulable": true})
    );
    let mut release = action(
        ActionKind::Cordon,
        &[("node", "n1"), ("unschedulable", "false")],
    );
    release.key.push_str("/undo");
    release.is_undo = true;
    assert!(!looked(&act(&hand, &release).await));
    assert_eq!(cluster.object(&path)["spec"], json!({}));
}

#[tokio::test]
async fn a_pod_that_somebody_else_ended_gives_an_outcome_without_credit() {
    let (postgres, _) = database("act_not_ours").await;
    let (cluster, hand, delete, _, path) = doomed().await;
    let of_watcher = cluster.clone();
    cluster.when(Stage::BeforeWrite, move |_| {
        of_watcher.world().objects.remove(&path);
    });
    let hands: BTreeMap<Executor, Arc<dyn Hand>> =
        BTreeMap::from([(Executor::Kubernetes, Arc::new(hand) as Arc<dyn Hand>)]);
    let executors = Executors::new(hands, postgres, "0", "here");
    let outcome = run(&executors, &delete).await;
    assert_eq!(
        (outcome.status, outcome.rule.as_str(), outcome.acted_at_ms),
        (OutcomeStatus::Failed, NOT_OURS, None)
    );
    assert!(outcome.output.contains("nothing was changed here"));
    // The record keeps whose it was not.
    assert_eq!(run(&executors, &delete).await, outcome);
}
