//! What the executor asks of a cluster, action by action, is what the table of
//! rights says, no more and no less; the manifests are held to the same table
//! by `infrastructure/kubernetes/check.py`.

use crate::kubernetes::{act, action, cluster, look};
use crate::support::cluster::{CHECKOUT, Cluster, deployment, node, pod, replica_set, template};
use midwatch_events::action::ActionKind;
use midwatch_remediation::executors::hand::Acted;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// By action: scope, API group, resource and verb, as RBAC names them.
type Rights = BTreeMap<String, BTreeSet<[String; 4]>>;

fn table() -> Rights {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../infrastructure/kubernetes/acting/rights.json");
    let text = std::fs::read_to_string(path).expect("the table of rights");
    let table: BTreeMap<String, Vec<Value>> = serde_json::from_str(&text).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let rows = |rights: Vec<Value>| {
        let rows = rights.iter().flat_map(|right| {
            let verbs = right["verbs"].as_array().expect("verbs");
            verbs.iter().map(|verb| {
                let of = |field: &str| text(&right[field]);
                [of("scope"), of("group"), of("resource"), text(verb)]
            })
        });
        rows.collect()
    };
    table
        .into_iter()
        .map(|(kind, rights)| (kind, rows(rights)))
        .collect()
}

/// The right that a request needs.
fn right(request: &str) -> [String; 4] {
    let (method, path) = request.split_once(' ').expect("method and path");
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", "v1", rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => panic!("{request}"),
    };
    let (scope, rest) = match rest {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => ("namespace", rest),
        _ => ("cluster", rest),
    };
    let (resource, is_named) = match rest {
        [resource] => ((*resource).to_owned(), false),
        [resource, _] => ((*resource).to_owned(), true),
        [resource, _, below] => (format!("{resource}/{below}"), true),
        _ => panic!("{request}"),
    };
    let verb = match (method, is_named) {
        ("GET", true) => "get",
        ("GET", false) => "list",
        ("PATCH", _) => "patch",
        ("POST", _) => "create",
        ("DELETE", true) => "delete",
        _ => panic!("{request}"),
    };
    [scope, group, resource.as_str(), verb].map(str::to_owned)
}

/// Each way in which an action is carried out on a cluster.
const WAYS: [(ActionKind, &[(&str, &str)]); 21] = [
    (ActionKind::RestartRollout, &[("workload", "checkout")]),
    (
        ActionKind::RestartRollout,
        &[("workload", "statefulset/checkout")],
    ),
    (
        ActionKind::RestartRollout,
        &[("workload", "daemonset/checkout")],
    ),
    (ActionKind::RollbackDeployment, &[("workload", "checkout")]),
    (
        ActionKind::Scale,
        &[("workload", "checkout"), ("replicas", "5")],
    ),
    (
        ActionKind::Scale,
        &[("workload", "statefulset/checkout"), ("replicas", "5")],
    ),
    (
        ActionKind::RaiseLimit,
        &[
            ("workload", "checkout"),
            ("resource", "cpu"),
            ("limit", "2"),
        ],
    ),
    (
        ActionKind::RaiseLimit,
        &[
            ("workload", "statefulset/checkout"),
            ("resource", "cpu"),
            ("limit", "2"),
        ],
    ),
    (
        ActionKind::RaiseLimit,
        &[
            ("workload", "daemonset/checkout"),
            ("resource", "cpu"),
            ("limit", "2"),
        ],
    ),
    (
        ActionKind::RaisePoolSize,
        &[
            ("workload", "checkout"),
            ("variable", "DB_POOL_MAX"),
            ("size", "60"),
        ],
    ),
    (
        ActionKind::RaisePoolSize,
        &[
            ("workload", "statefulset/checkout"),
            ("variable", "DB_POOL_MAX"),
            ("size", "60"),
        ],
    ),
    (
        ActionKind::RaisePoolSize,
        &[
            ("workload", "daemonset/checkout"),
            ("variable", "DB_POOL_MAX"),
            ("size", "60"),
        ],
    ),
    (
        ActionKind::RaisePoolSize,
        &[("configmap", "settings"), ("key", "pool"), ("size", "60")],
    ),
    (
        ActionKind::ToggleFlag,
        &[
            ("configmap", "settings"),
            ("key", "flag"),
            ("value", "true"),
        ],
    ),
    (ActionKind::Cordon, &[("node", "n1")]),
    (ActionKind::Drain, &[("node", "n1")]),
    (ActionKind::DeletePod, &[("pod", "a")]),
    (ActionKind::DescribeWorkload, &[("workload", "checkout")]),
    (
        ActionKind::DescribeWorkload,
        &[("workload", "statefulset/checkout")],
    ),
    (
        ActionKind::DescribeWorkload,
        &[("workload", "daemonset/checkout")],
    ),
    (ActionKind::TailLogs, &[("pod", "a")]),
];

fn furnish(cluster: &Cluster) {
    let apps = "/apis/apps/v1/namespaces/shop";
    for (kind, plural) in [("StatefulSet", "statefulsets"), ("DaemonSet", "daemonsets")] {
        let mut object = deployment();
        object["kind"] = json!(kind);
        cluster.put(&format!("{apps}/{plural}/checkout"), object);
    }
    cluster.put(CHECKOUT, deployment());
    let settings =
        json!({"metadata": {"name": "settings"}, "data": {"pool": "40", "flag": "false"}});
    cluster.put("/api/v1/namespaces/shop/configmaps/settings", settings);
    for (path, object) in [
        replica_set("six", "6", "d-1", template("1.3.0", "40")),
        node("n1"),
        node("n2"),
        pod("a", "u-a", "n1", "ReplicaSet"),
    ] {
        cluster.put(&path, object);
    }
}

#[tokio::test]
async fn the_executor_uses_the_rights_of_the_table_and_no_others() {
    let mut used = Rights::new();
    let flags = ["checkout", "statefulset/checkout", "daemonset/checkout"]
        .map(|workload| vec![("workload", workload), ("flag", "FAST"), ("value", "true")]);
    let flags = flags.into_iter().map(|way| (ActionKind::ToggleFlag, way));
    let ways = WAYS.iter().map(|(kind, way)| (*kind, way.to_vec()));
    for (kind, mut way) in ways.chain(flags) {
        let (cluster, hand) = cluster().await;
        furnish(&cluster);
        way.push(("namespace", "shop"));
        let execution = action(kind, &way);
        let acted = act(&hand, &execution).await;
        assert!(matches!(acted, Acted::Done { .. }), "{way:?}: {acted:?}");
        look(&hand, &execution, json!({"uid": "u-a"})).await;
        let asked = cluster.world().asked.clone();
        let of_kind = used.entry(kind.as_str().to_owned()).or_default();
        of_kind.extend(asked.iter().map(|request| right(request)));
    }
    let table = table();
    assert_eq!(
        used.keys().collect::<Vec<_>>(),
        table.keys().collect::<Vec<_>>()
    );
    for (kind, rights) in &table {
        assert_eq!(&used[kind], rights, "{kind}");
    }
}
