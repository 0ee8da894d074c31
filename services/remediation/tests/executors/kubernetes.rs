//! Actions against a scripted API server: what is sent, what is refused, and
//! that a bad network makes nothing happen twice.

use crate::support::cluster::{CHECKOUT, Cluster, Fault, deployment, replica_set, template};
use midwatch_events::action::{ActionKind, Executor};
use midwatch_remediation::execution::Execution;
use midwatch_remediation::executors::hand::{Acted, Acting, Hand, Prepared, Seen, Stop};
use midwatch_remediation::executors::kubernetes::{ACTION, Kubernetes};
use serde_json::{Value, json};
use std::time::Duration;

const IN_SHOP: [(&str, &str); 2] = [("namespace", "shop"), ("workload", "checkout")];

pub fn action(kind: ActionKind, arguments: &[(&str, &str)]) -> Execution {
    let key = format!("key-{}", kind.as_str());
    crate::support::execution(&key, Executor::Kubernetes, kind, arguments)
}

fn in_shop(kind: ActionKind, more: &[(&str, &str)]) -> Execution {
    action(kind, &[&IN_SHOP, more].concat())
}

pub async fn cluster() -> (Cluster, Kubernetes) {
    let cluster = Cluster::start().await;
    cluster.put(CHECKOUT, deployment());
    let kubernetes = Kubernetes::new(cluster.api().await);
    (cluster, kubernetes)
}

pub async fn act(hand: &Kubernetes, execution: &Execution) -> Acted {
    let nothing = Prepared {
        description: String::new(),
        observed: Value::Null,
    };
    match hand.check(execution).await {
        Ok(prepared) => hand.act(execution, &prepared).await,
        Err(Stop::No(reason)) => Acted::Refused(reason),
        Err(Stop::Already(_)) => hand.act(execution, &nothing).await,
    }
}

pub async fn look(hand: &Kubernetes, execution: &Execution, observed: Value) -> Seen {
    let acting = Acting {
        at_ms: 5,
        on: "here".to_owned(),
        observed,
    };
    hand.look(execution, &acting).await
}

pub fn refusal(acted: Acted) -> String {
    match acted {
        Acted::Refused(reason) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

pub fn looked(acted: &Acted) -> bool {
    match acted {
        Acted::Done { looked, .. } => *looked,
        other => panic!("not done: {other:?}"),
    }
}

#[tokio::test]
async fn a_restart_marks_template_and_object_and_nothing_else() {
    let (cluster, hand) = cluster().await;
    let execution = in_shop(ActionKind::RestartRollout, &[]);
    assert_eq!(look(&hand, &execution, Value::Null).await, Seen::NotDone);
    let prepared = hand.check(&execution).await.expect("nothing forbids it");
    assert!(
        prepared.description.contains("PATCH /apis/apps/v1"),
        "{}",
        prepared.description
    );
    assert!(
        cluster.world().effects.is_empty(),
        "a check changed something"
    );
    assert!(!looked(&act(&hand, &execution).await));
    let mut after = cluster.object(CHECKOUT);
    let stamp = after["metadata"]["annotations"][ACTION].take();
    let at: i64 = stamp
        .as_str()
        .and_then(|text| text.strip_prefix("key-restart_rollout@"))
        .and_then(|at| at.parse().ok())
        .expect("key and time");
    let restarted =
        after["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"]
            .take();
    assert_eq!(restarted, midwatch_runtime::clock::rfc3339(at));
    let mut wanted = deployment();
    wanted["metadata"]["annotations"][ACTION] = Value::Null;
    wanted["metadata"]["resourceVersion"] = json!("2");
    wanted["spec"]["template"]["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/restartedAt": null});
    assert_eq!(after, wanted);
    match look(&hand, &execution, Value::Null).await {
        Seen::Done(done) => assert_eq!(done.at_ms, Some(at)),
        other => panic!("{other:?}"),
    }
    assert!(
        looked(&act(&hand, &execution).await),
        "the second time it only looks"
    );
    assert_eq!(cluster.effects_of(&execution.key), 1);
}

#[tokio::test]
async fn no_failure_of_the_network_makes_it_happen_twice_or_not_at_all() {
    let slow = Fault::Slow(Duration::from_millis(200), Duration::from_millis(200));
    let cases: Vec<(Vec<Fault>, bool)> = vec![
        (vec![Fault::Conflict], false),
        (
            vec![Fault::Conflict, Fault::Conflict, Fault::Conflict],
            false,
        ),
        (vec![Fault::Status(429)], false),
        (vec![Fault::Status(500)], false),
        (vec![Fault::Status(503), Fault::ResetBefore], false),
        (vec![Fault::ResetBefore], false),
        (vec![slow], false),
        (vec![Fault::ResetAfter], true),
        (vec![Fault::StatusAfter(504)], true),
        (
            vec![Fault::Conflict, Fault::ResetBefore, Fault::StatusAfter(500)],
            true,
        ),
    ];
    for (faults, was_seen_only) in cases {
        let (cluster, hand) = cluster().await;
        cluster.fail(faults.clone());
        let execution = in_shop(
            ActionKind::Scale,
            &[("replicas", "6"), ("from_replicas", "3")],
        );
        let acted = act(&hand, &execution).await;
        assert_eq!(looked(&acted), was_seen_only, "{faults:?}");
        assert_eq!(cluster.effects_of(&execution.key), 1, "{faults:?}");
        assert_eq!(cluster.object(CHECKOUT)["spec"]["replicas"], 6);
    }
}

#[tokio::test]
async fn what_never_gets_an_answer_is_unclear_and_what_is_forbidden_is_refused() {
    let (cluster, hand) = cluster().await;
    let execution = in_shop(ActionKind::RestartRollout, &[]);
    cluster.fail(vec![Fault::ResetBefore; 9]);
    assert!(matches!(act(&hand, &execution).await, Acted::Unclear(_)));
    cluster.world().faults.clear();
    cluster.fail([Fault::Status(403)]);
    assert!(refusal(act(&hand, &execution).await).contains("403"));
    cluster.world().forbidden.insert(CHECKOUT.to_owned());
    assert!(refusal(act(&hand, &execution).await).contains("403"));
    assert!(matches!(
        look(&hand, &execution, Value::Null).await,
        Seen::CannotTell(_)
    ));
    cluster.world().forbidden.clear();
    cluster.world().objects.clear();
    assert!(refusal(act(&hand, &execution).await).contains("404"));
    assert!(cluster.world().effects.is_empty());
}

#[tokio::test]
async fn two_processes_with_one_key_have_one_effect() {
    for _ in 0..10 {
        let (cluster, hand) = cluster().await;
        let other = Kubernetes::new(cluster.api().await);
        let execution = in_shop(ActionKind::RestartRollout, &[]);
        let both = tokio::join!(act(&hand, &execution), act(&other, &execution));
        assert!(looked(&both.0) || looked(&both.1), "{both:?}");
        assert_eq!(cluster.effects_of(&execution.key), 1);
    }
}

type Arguments = &'static [(&'static str, &'static str)];

/// What is not as it was planned, or no argument at all, in the shop's checkout,
/// and words of the refusal.
const PLANNED_OTHERWISE: [(ActionKind, Arguments, &str); 16] = [
    (
        ActionKind::Scale,
        &[("replicas", "6"), ("from_replicas", "2")],
        "replicas is 3, not 2",
    ),
    (ActionKind::Scale, &[("replicas", "3")], "already"),
    (
        ActionKind::Scale,
        &[("replicas", "99999")],
        "no number of replicas",
    ),
    (ActionKind::Scale, &[], "replicas"),
    (
        ActionKind::RaiseLimit,
        &[("resource", "memory"), ("limit", "512Mi")],
        "does not raise",
    ),
    (
        ActionKind::RaiseLimit,
        &[
            ("resource", "memory"),
            ("limit", "2Gi"),
            ("from_limit", "3Gi"),
        ],
        "not 3Gi",
    ),
    (
        ActionKind::RaiseLimit,
        &[("resource", "gpu"), ("limit", "2")],
        "neither",
    ),
    (
        ActionKind::RaiseLimit,
        &[("container", "other"), ("resource", "cpu"), ("limit", "2")],
        "which container",
    ),
    (
        ActionKind::RaisePoolSize,
        &[
            ("variable", "DB_POOL_MAX"),
            ("size", "60"),
            ("from_size", "30"),
        ],
        "not 30",
    ),
    (
        ActionKind::RaisePoolSize,
        &[("variable", "SECRET"), ("size", "60")],
        "elsewhere",
    ),
    (
        ActionKind::RollbackDeployment,
        &[("to_version", "1.3.9")],
        "no other revision",
    ),
    (
        ActionKind::RollbackDeployment,
        &[("from_version", "9.9")],
        "does not run 9.9",
    ),
    (ActionKind::RestartUnit, &[], "nothing that Kubernetes does"),
    (
        ActionKind::RestartRollout,
        &[("workload", "cronjob/x")],
        "not for cronjob",
    ),
    (
        ActionKind::RestartRollout,
        &[("namespace", "../x")],
        "no name",
    ),
    (
        ActionKind::RestartRollout,
        &[("workload", "a?x=1")],
        "no name",
    ),
];

#[tokio::test]
async fn pre_checks_refuse_what_is_not_as_it_was_planned() {
    let (cluster, hand) = cluster().await;
    for (kind, arguments, words) in PLANNED_OTHERWISE {
        let reason = refusal(act(&hand, &in_shop(kind, arguments)).await);
        assert!(reason.contains(words), "{words:?} in {reason:?}");
    }
    let reason = refusal(act(&hand, &action(ActionKind::Cordon, &[("node", "n1")])).await);
    assert!(reason.contains("404"), "{reason}");
    assert!(cluster.world().effects.is_empty());
}

#[tokio::test]
async fn what_is_rolling_paused_or_going_is_left_alone() {
    let (cluster, hand) = cluster().await;
    let restart = in_shop(ActionKind::RestartRollout, &[]);
    for (part, field, value, words) in [
        ("status", "updatedReplicas", json!(1), "under way"),
        ("status", "observedGeneration", json!(3), "under way"),
        ("status", "replicas", json!(4), "under way"),
        ("spec", "paused", json!(true), "paused"),
        (
            "metadata",
            "deletionTimestamp",
            json!("2026-01-01T00:00:00Z"),
            "being deleted",
        ),
    ] {
        let mut object = deployment();
        object[part][field] = value;
        cluster.put(CHECKOUT, object);
        let reason = refusal(act(&hand, &restart).await);
        assert!(reason.contains(words), "{words:?} in {reason:?}");
    }
    assert!(cluster.world().effects.is_empty());
}

/// Actions with the two arguments that are exchanged to take them back.
const THERE_AND_BACK: [(ActionKind, Arguments, [&str; 2]); 5] = [
    (
        ActionKind::Scale,
        &[("from_replicas", "3"), ("replicas", "6")],
        ["from_replicas", "replicas"],
    ),
    (
        ActionKind::RaiseLimit,
        &[
            ("container", "app"),
            ("resource", "memory"),
            ("from_limit", "1Gi"),
            ("limit", "2Gi"),
        ],
        ["from_limit", "limit"],
    ),
    (
        ActionKind::RaisePoolSize,
        &[
            ("variable", "DB_POOL_MAX"),
            ("from_size", "40"),
            ("size", "60"),
        ],
        ["from_size", "size"],
    ),
    (
        ActionKind::RaisePoolSize,
        &[
            ("configmap", "flags"),
            ("key", "pool"),
            ("from_size", "10"),
            ("size", "15"),
        ],
        ["from_size", "size"],
    ),
    (
        ActionKind::ToggleFlag,
        &[
            ("configmap", "flags"),
            ("key", "fast"),
            ("from_value", "false"),
            ("value", "true"),
        ],
        ["from_value", "value"],
    ),
];

#[tokio::test]
async fn changes_and_their_undoing_lead_back_to_the_same_object() {
    let map = "/api/v1/namespaces/shop/configmaps/flags";
    for (kind, arguments, [one, other]) in THERE_AND_BACK {
        let (cluster, hand) = cluster().await;
        let flags = json!({"metadata": {"name": "flags"}, "data": {"pool": "10", "fast": "false"}});
        cluster.put(map, flags);
        let forth = in_shop(kind, arguments);
        let path = if arguments[0].0 == "configmap" {
            map
        } else {
            CHECKOUT
        };
        let now = || {
            let object = cluster.object(path);
            (object["spec"].clone(), object["data"].clone())
        };
        let before = now();
        assert!(!looked(&act(&hand, &forth).await));
        assert_ne!(now(), before, "{kind:?}");
        let mut back = forth.clone();
        back.key.push_str("/undo");
        back.is_undo = true;
        for (to, from) in [(one, other), (other, one)] {
            let value = forth.action.arguments[from].clone();
            back.action.arguments.insert(to.to_owned(), value);
        }
        assert!(!looked(&act(&hand, &back).await));
        assert_eq!(now(), before, "{kind:?}");
        // Both marks are there: each action can be told from the other.
        assert!(matches!(
            look(&hand, &forth, Value::Null).await,
            Seen::Done(_)
        ));
        assert!(matches!(
            look(&hand, &back, Value::Null).await,
            Seen::Done(_)
        ));
    }
}

#[tokio::test]
async fn a_flag_that_was_never_set_is_set() {
    let (cluster, hand) = cluster().await;
    let flag = in_shop(
        ActionKind::ToggleFlag,
        &[
            ("flag", "FAST_PATH"),
            ("from_value", "true"),
            ("value", "false"),
        ],
    );
    assert!(!looked(&act(&hand, &flag).await));
    let env = &cluster.object(CHECKOUT)["spec"]["template"]["spec"]["containers"][0]["env"];
    assert_eq!(env[2], json!({"name": "FAST_PATH", "value": "false"}));
    assert_eq!(env.as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn a_rollback_takes_the_template_of_that_revision_whole() {
    let (cluster, hand) = cluster().await;
    let mut old = template("1.3.0", "30");
    old["spec"]["terminationGracePeriodSeconds"] = json!(5);
    for (name, revision, owner, template) in [
        ("c7", "7", "d-1", template("1.4.0", "40")),
        ("c6", "6", "d-1", old.clone()),
        ("c5", "5", "d-1", template("1.2.0", "20")),
        ("x9", "6", "d-2", template("6.6.6", "1")),
    ] {
        let (path, set) = replica_set(name, revision, owner, template);
        cluster.put(&path, set);
    }
    let back = in_shop(
        ActionKind::RollbackDeployment,
        &[("from_version", "1.4.0"), ("to_version", "v1.3.0")],
    );
    assert!(!looked(&act(&hand, &back).await));
    assert_eq!(cluster.object(CHECKOUT)["spec"]["template"], old);
    cluster.put(CHECKOUT, deployment());
    let mut older = in_shop(ActionKind::RollbackDeployment, &[("to_version", "1.2.0")]);
    older.key.push('2');
    assert!(!looked(&act(&hand, &older).await));
    assert_eq!(
        cluster.object(CHECKOUT)["spec"]["template"],
        template("1.2.0", "20")
    );
    cluster.put(CHECKOUT, deployment());
    let mut previous = in_shop(ActionKind::RollbackDeployment, &[]);
    previous.key.push('3');
    assert!(!looked(&act(&hand, &previous).await));
    assert_eq!(cluster.object(CHECKOUT)["spec"]["template"], old);
}
