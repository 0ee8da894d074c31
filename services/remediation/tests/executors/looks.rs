//! Looks at a cluster: what is read is told, redacted, and nothing is changed;
//! and limits that are raised and set back as they stood.

use crate::kubernetes::{act, action, cluster};
use crate::support::cluster::{CHECKOUT, deployment, pod};
use midwatch_events::action::ActionKind;
use midwatch_remediation::executors::hand::{Acted, tidy};
use serde_json::{Value, json};

fn output(acted: &Acted) -> String {
    match acted {
        Acted::Done { done, .. } => tidy(&done.output),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_workload_is_read_with_its_pods_and_their_events() {
    let (cluster, hand) = cluster().await;
    let (path, mut object) = pod("checkout-1", "u-1", "n7", "ReplicaSet");
    object["status"]["containerStatuses"] = json!([{"name": "app", "restartCount": 4,
        "ready": false, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"reason": "OOMKilled"}}}]);
    cluster.put(&path, object);
    for (name, about, message) in [
        ("e1", "checkout-1", "Back-off, token=abcdef0123456789abcdef"),
        ("e2", "another", "nothing of ours"),
    ] {
        let event = json!({"reason": "BackOff", "message": message,
            "lastTimestamp": "2026-11-23T01:00:00Z", "involvedObject": {"name": about}});
        cluster.put(&format!("/api/v1/namespaces/shop/events/{name}"), event);
    }
    let before = cluster.object(CHECKOUT);
    let arguments = [("namespace", "shop"), ("workload", "checkout")];
    let told = output(&act(&hand, &action(ActionKind::DescribeWorkload, &arguments)).await);
    for part in [
        "deployment/checkout in shop: 0 of 3 pods ready, 3 updated",
        "limits cpu 500m, memory 1Gi",
        "pod checkout-1: Running on n7",
        "app: 4 restarts, not ready, waits: CrashLoopBackOff, ended last by OOMKilled",
        "event 2026-11-23T01:00:00Z BackOff checkout-1: Back-off",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(!told.contains("abcdef0123456789abcdef"), "{told}");
    assert!(!told.contains("nothing of ours"), "{told}");
    assert_eq!(cluster.object(CHECKOUT), before);
    let asked = cluster.world().asked.clone();
    assert!(asked.iter().all(|one| one.starts_with("GET ")), "{asked:?}");
    let gone = action(
        ActionKind::TailLogs,
        &[("namespace", "shop"), ("pod", "none")],
    );
    assert!(matches!(act(&hand, &gone).await, Acted::Refused(_)));
}

#[tokio::test]
async fn the_last_lines_of_a_pod_are_read_without_its_secrets() {
    let (cluster, hand) = cluster().await;
    let (path, object) = pod("a", "u-a", "n1", "ReplicaSet");
    cluster.put(&path, object);
    cluster.put(
        &format!("{path}/log"),
        json!({"line": "cannot connect, password=hunter2hunter2"}),
    );
    let look = action(ActionKind::TailLogs, &[("namespace", "shop"), ("pod", "a")]);
    let told = output(&act(&hand, &look).await);
    assert!(
        told.starts_with("container app:\n") && told.contains("cannot connect"),
        "{told}"
    );
    assert!(!told.contains("hunter2"), "{told}");
}

/// Limits of the object, what is asked for as `from_limit` and `limit`, and what
/// stands there after it and after its undo.
const LIMITS: [(&str, &str, &str, &str, &str); 5] = [
    ("cpu", "500m", "500m", "1000m", "1000m"),
    ("cpu", "0.5", "500m", "1000m", "1000m"),
    ("memory", "512M", "512000000", "1024000000", "1024000000"),
    ("memory", "1024Mi", "1Gi", "2Gi", "2Gi"),
    ("memory", "1.5Gi", "1536Mi", "3072Mi", "3072Mi"),
];

#[tokio::test]
async fn a_limit_is_compared_as_an_amount_and_set_back_as_it_stood() {
    for (resource, stood, from, to, after) in LIMITS {
        let (cluster, hand) = cluster().await;
        let mut object = deployment();
        let container = "/spec/template/spec/containers/0/resources/limits";
        object.pointer_mut(container).expect("limits")[resource] = json!(stood);
        cluster.put(CHECKOUT, object);
        let limit =
            || cluster.object(CHECKOUT).pointer(container).expect("limits")[resource].clone();
        let arguments = [
            ("namespace", "shop"),
            ("workload", "checkout"),
            ("container", "app"),
            ("resource", resource),
        ];
        let raise = [&arguments[..], &[("from_limit", from), ("limit", to)]].concat();
        let acted = act(&hand, &action(ActionKind::RaiseLimit, &raise)).await;
        assert!(matches!(acted, Acted::Done { .. }), "{stood}: {acted:?}");
        assert_eq!(limit(), json!(after));
        let back = [&arguments[..], &[("from_limit", to), ("limit", from)]].concat();
        let mut undo = action(ActionKind::RaiseLimit, &back);
        undo.is_undo = true;
        undo.key.push_str("/undo");
        let acted = act(&hand, &undo).await;
        assert!(matches!(acted, Acted::Done { .. }), "{stood}: {acted:?}");
        assert_eq!(limit(), json!(stood), "as it was written");
        let annotations = &cluster.object(CHECKOUT)["metadata"]["annotations"];
        assert_eq!(annotations["midwatch.io/limits-before"], Value::Null);
    }
}

#[tokio::test]
async fn another_amount_than_the_planned_one_is_not_raised() {
    let (_cluster, hand) = cluster().await;
    // 1Gi stands there; 1G is less, and 512Mi would lower it.
    for (from, to, told) in [
        ("1G", "2G", "not 1G as when"),
        ("1Gi", "900M", "does not raise"),
    ] {
        let arguments = [
            ("namespace", "shop"),
            ("workload", "checkout"),
            ("resource", "memory"),
            ("from_limit", from),
            ("limit", to),
        ];
        match act(&hand, &action(ActionKind::RaiseLimit, &arguments)).await {
            Acted::Refused(reason) => assert!(reason.contains(told), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}
