//! Draining nodes of the scripted API server.

use crate::kubernetes::{act, action, cluster, look, looked, refusal};
use crate::support::cluster::{Cluster, Stage, node, pod};
use midwatch_events::action::ActionKind;
use midwatch_remediation::execution::Execution;
use midwatch_remediation::executors::hand::{Acted, Hand, Prepared, Seen};
use midwatch_remediation::executors::kubernetes::Kubernetes;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// Two nodes, one pod on the first, and a drain of it that was checked.
async fn checked() -> (Cluster, Kubernetes, Execution, Prepared) {
    let (cluster, hand) = cluster().await;
    for (path, object) in [node("n1"), node("n2"), pod("a", "u-a", "n1", "ReplicaSet")] {
        cluster.put(&path, object);
    }
    let drain = action(ActionKind::Drain, &[("node", "n1")]);
    let prepared = hand.check(&drain).await.expect("it may be drained");
    (cluster, hand, drain, prepared)
}

fn in_part(acted: Acted) -> String {
    match acted {
        Acted::InPart(what) => what,
        other => panic!("not in part: {other:?}"),
    }
}

#[tokio::test]
async fn pods_that_come_after_the_check_are_evicted_too() {
    let (cluster, hand, drain, prepared) = checked().await;
    // One is bound after the check, one once the first is gone.
    let (path, late) = pod("late", "u-l", "n1", "ReplicaSet");
    cluster.put(&path, late);
    let (of_watcher, ended) = (cluster.clone(), AtomicUsize::new(0));
    cluster.when(Stage::AfterWrite, move |asked| {
        let is_second = asked.method == "POST" && ended.fetch_add(1, Ordering::SeqCst) == 1;
        if is_second {
            let (path, later) = pod("later", "u-m", "n1", "ReplicaSet");
            of_watcher.put(&path, later);
        }
    });
    let acted = hand.act(&drain, &prepared).await;
    assert!(
        matches!(&acted, Acted::Done { done, looked: false }
            if done.output.contains("3 pods evicted: shop/a, shop/late, shop/later")),
        "{acted:?}"
    );
    for uid in ["u-a", "u-l", "u-m"] {
        assert_eq!(cluster.effects_of(uid), 1);
    }
}

#[tokio::test]
async fn a_late_pod_that_may_not_be_evicted_is_left_and_told_of() {
    let (cluster, hand, drain, prepared) = checked().await;
    let (path, mut orphan) = pod("orphan", "u-o", "n1", "ReplicaSet");
    orphan["metadata"]["ownerReferences"] = json!([]);
    cluster.put(&path, orphan);
    let told = in_part(hand.act(&drain, &prepared).await);
    for part in [
        "1 pods evicted: shop/a",
        "not done: nothing owns the pod shop/orphan",
        "The node stays cordoned",
    ] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(
        (cluster.effects_of("u-a"), cluster.effects_of("u-o")),
        (1, 0)
    );
    assert_eq!(look(&hand, &drain, Value::Null).await, Seen::NotDone);
}

#[tokio::test]
async fn pods_that_keep_coming_end_the_drain_as_done_in_part() {
    let (cluster, hand, drain, prepared) = checked().await;
    let (of_watcher, count) = (cluster.clone(), AtomicUsize::new(0));
    cluster.when(Stage::AfterWrite, move |asked| {
        if asked.method == "POST" {
            let number = count.fetch_add(1, Ordering::SeqCst);
            let name = format!("again-{number}");
            let (path, next) = pod(&name, &name, "n1", "ReplicaSet");
            of_watcher.put(&path, next);
        }
    });
    let told = in_part(hand.act(&drain, &prepared).await);
    assert!(told.contains("pods keep coming"), "{told}");
    // The pod that was there, and those of the rounds that were borne.
    assert!(told.contains("; 7 pods evicted"), "{told}");
}

#[tokio::test]
async fn an_eviction_that_somebody_else_made_needless_is_not_counted() {
    let (cluster, hand, drain, prepared) = checked().await;
    let of_watcher = cluster.clone();
    cluster.when(Stage::BeforeWrite, move |asked| {
        if asked.method == "POST" {
            of_watcher
                .world()
                .objects
                .remove("/api/v1/namespaces/shop/pods/a");
        }
    });
    let acted = hand.act(&drain, &prepared).await;
    assert!(
        matches!(&acted, Acted::Done { done, .. } if done.output.contains("; 0 pods evicted")),
        "{acted:?}"
    );
    assert_eq!(cluster.effects_of("u-a"), 0);
}
