//! Pods and nodes of the scripted API server.

use crate::kubernetes::{act, action, cluster, look, looked, refusal};
use crate::support::cluster::{Fault, node, pod};
use midwatch_events::action::ActionKind;
use midwatch_remediation::executors::hand::{Hand, Seen};
use serde_json::{Value, json};

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
    assert!(looked(&hand.act(&delete, &prepared).await));
    assert!(cluster.world().effects.is_empty());
    assert!(matches!(
        look(&hand, &delete, prepared.observed.clone()).await,
        Seen::Done(_)
    ));
    cluster.put(&path, first.clone());
    cluster.fail([Fault::ResetAfter]);
    assert!(looked(&hand.act(&delete, &prepared).await));
    assert_eq!(cluster.effects_of("uid-1"), 1);
    assert!(matches!(
        look(&hand, &delete, Value::Null).await,
        Seen::CannotTell(_)
    ));
    let (_, mut orphan) = pod("checkout-a", "uid-3", "n1", "ReplicaSet");
    orphan["metadata"]["ownerReferences"] = json!([]);
    cluster.put(&path, orphan);
    assert!(refusal(act(&hand, &delete).await).contains("nothing owns it"));
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
async fn a_drain_respects_budgets_and_leaves_what_belongs_to_the_node() {
    let (cluster, hand) = cluster().await;
    for (path, object) in [
        node("n1"),
        node("n2"),
        pod("a", "u-a", "n1", "ReplicaSet"),
        pod("b", "u-b", "n1", "ReplicaSet"),
        pod("log", "u-l", "n1", "DaemonSet"),
        pod("c", "u-c", "n2", "ReplicaSet"),
    ] {
        cluster.put(&path, object);
    }
    cluster
        .world()
        .protected
        .insert("/api/v1/namespaces/shop/pods/b".to_owned(), 2);
    let drain = action(ActionKind::Drain, &[("node", "n1")]);
    let prepared = hand.check(&drain).await.expect("it may be drained");
    assert!(
        prepared
            .description
            .contains("evict 2 pods: shop/a, shop/b"),
        "{}",
        prepared.description
    );
    assert!(!looked(&hand.act(&drain, &prepared).await));
    assert_eq!(
        cluster.object("/api/v1/nodes/n1")["spec"]["unschedulable"],
        true
    );
    let ended: Vec<String> = cluster
        .world()
        .effects
        .iter()
        .map(|(what, _)| what.clone())
        .collect();
    let pods = "/api/v1/namespaces/shop/pods";
    assert_eq!(
        ended,
        [
            "PATCH /api/v1/nodes/n1".to_owned(),
            format!("END {pods}/a"),
            format!("END {pods}/b")
        ]
    );
    assert!(matches!(
        look(&hand, &drain, Value::Null).await,
        Seen::Done(_)
    ));
    // Broken off after the cordon, it goes on and cordons no second time.
    let (path, late) = pod("late", "u-x", "n1", "ReplicaSet");
    cluster.put(&path, late);
    assert_eq!(look(&hand, &drain, Value::Null).await, Seen::NotDone);
    assert!(!looked(&act(&hand, &drain).await));
    assert_eq!(cluster.effects_of(&drain.key), 1);
    let (path, mut kept) = pod("kept", "u-k", "n1", "ReplicaSet");
    kept["spec"]["volumes"] = json!([{"name": "scratch", "emptyDir": {}}]);
    cluster.put(&path, kept);
    let mut again = drain.clone();
    again.key.push('2');
    assert!(refusal(act(&hand, &again).await).contains("emptyDir"));
}
