//! Ending pods: one that is named, or all of a node. A pod is only ever ended
//! under the uid that was seen, so that its successor of the same name is safe.

use super::api::{Api, Trouble};
use super::change::name;
use crate::execution::Execution;
use crate::executors::hand::{Acted, Acting, Done, Prepared, Seen, Stop};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// More pods are on no node of usual settings (110), and each costs requests.
const MOST_PODS: usize = 500;
/// How long evictions may take, disruption budgets included. More would outlast
/// the job that waits for it.
const DRAIN_LIMIT: Duration = Duration::from_secs(80);
const PAUSE: Duration = Duration::from_millis(500);
const TRIES: usize = 4;

fn done(output: String, looked: bool) -> Acted {
    Acted::Done {
        done: Done {
            output,
            at_ms: None,
        },
        looked,
    }
}

fn path(execution: &Execution) -> Result<String, String> {
    let (namespace, pod) = (name(execution, "namespace")?, name(execution, "pod")?);
    Ok(format!("/api/v1/namespaces/{namespace}/pods/{pod}"))
}

fn uid(pod: &Value) -> &str {
    pod["metadata"]["uid"].as_str().unwrap_or_default()
}

/// Whether the pod of this uid is gone or going, by what stands under its name.
fn is_ended(found: &Value, wanted: &str) -> bool {
    uid(found) != wanted || found["metadata"]["deletionTimestamp"].is_string()
}

fn has_controller(pod: &Value) -> bool {
    owners(pod).any(|owner| owner["controller"] == json!(true))
}

fn owners(pod: &Value) -> impl Iterator<Item = &Value> {
    let owners = pod["metadata"]["ownerReferences"].as_array();
    owners.into_iter().flatten()
}

/// Whether the pod may be deleted.
pub async fn check_delete(api: &Api, execution: &Execution) -> Result<Prepared, Stop> {
    let path = path(execution).map_err(Stop::No)?;
    let pod = api
        .get(&path)
        .await
        .map_err(|trouble| Stop::No(trouble.to_string()))?;
    if !has_controller(&pod) {
        return Err(Stop::No(format!(
            "{path}: nothing owns it, so nothing would start another one"
        )));
    }
    if pod["metadata"]["deletionTimestamp"].is_string() {
        return Err(Stop::No(format!("{path} is being deleted already")));
    }
    let uid = uid(&pod);
    Ok(Prepared {
        description: format!("DELETE {path} of uid {uid}"),
        observed: json!({"uid": uid}),
    })
}

/// Deletes the pod that was seen.
pub async fn delete(api: &Api, execution: &Execution, observed: &Value) -> Acted {
    let path = match path(execution) {
        Ok(path) => path,
        Err(reason) => return Acted::Refused(reason),
    };
    let wanted = observed["uid"].as_str().unwrap_or_default();
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1",
        "preconditions": {"uid": wanted}});
    let (mut lost, mut last) = (false, String::new());
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        last = match api.delete(&path, &options).await {
            Ok(_) => return done(format!("{path} of uid {wanted} is deleted"), false),
            // Another pod has the name, or none has it.
            Err(Trouble::Missing(_) | Trouble::Conflict(_)) => {
                return done(format!("{path} of uid {wanted} is gone"), true);
            }
            Err(Trouble::No(reason)) if !lost => return Acted::Refused(reason),
            Err(Trouble::Later(pause, reason)) => {
                tokio::time::sleep(pause).await;
                reason
            }
            Err(trouble) => {
                lost |= matches!(trouble, Trouble::Lost(_));
                trouble.to_string()
            }
        };
        if lost && let Seen::Done(done) = look_delete(api, execution, observed).await {
            return Acted::Done { done, looked: true };
        }
    }
    if lost {
        Acted::Unclear(last)
    } else {
        Acted::Refused(last)
    }
}

/// Whether the pod that was seen is gone.
pub async fn look_delete(api: &Api, execution: &Execution, observed: &Value) -> Seen {
    let Some(wanted) = observed["uid"].as_str() else {
        return Seen::CannotTell("which pod was meant is not on record".to_owned());
    };
    let path = match path(execution) {
        Ok(path) => path,
        Err(reason) => return Seen::CannotTell(reason),
    };
    let gone = Done {
        output: format!("{path} of uid {wanted} is gone"),
        at_ms: None,
    };
    match api.get(&path).await {
        Ok(pod) if is_ended(&pod, wanted) => Seen::Done(gone),
        Ok(_) => Seen::NotDone,
        Err(Trouble::Missing(_)) => Seen::Done(gone),
        Err(trouble) => trouble.unseen(),
    }
}

/// What draining a node would evict, and what forbids it.
pub async fn on_node(api: &Api, node: &str) -> Result<Vec<Value>, String> {
    let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}&limit={MOST_PODS}");
    let list = api
        .get(&path)
        .await
        .map_err(|trouble| trouble.to_string())?;
    if list["metadata"]["continue"]
        .as_str()
        .is_some_and(|more| !more.is_empty())
    {
        return Err(format!("node {node} has more than {MOST_PODS} pods"));
    }
    let pods = list["items"].as_array().cloned().unwrap_or_default();
    let stays = |pod: &Value| {
        let is_mirror = pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_string();
        let is_over = matches!(
            pod["status"]["phase"].as_str(),
            Some("Succeeded" | "Failed")
        );
        is_mirror || is_over || owners(pod).any(|owner| owner["kind"] == "DaemonSet")
    };
    Ok(pods.into_iter().filter(|pod| !stays(pod)).collect())
}

/// A pod that would be lost, or its data.
pub fn obstacle(pods: &[Value]) -> Option<String> {
    pods.iter().find_map(|pod| {
        let name = label(pod);
        if !has_controller(pod) {
            return Some(format!(
                "nothing owns the pod {name}, so it would not come back"
            ));
        }
        let volumes = pod["spec"]["volumes"].as_array();
        let is_local = volumes.is_some_and(|all| all.iter().any(|one| one["emptyDir"].is_object()));
        is_local.then(|| format!("the pod {name} keeps data on the node (emptyDir)"))
    })
}

/// `namespace/name`.
pub fn label(pod: &Value) -> String {
    let text = |field: &str| {
        pod["metadata"][field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    format!("{}/{}", text("namespace"), text("name"))
}

/// Evicts every pod of a cordoned node and waits until they are gone. Going on
/// with it after a crash repeats nothing: who is gone is not asked again.
pub async fn evict_all(api: &Api, node: &str, cordoned: &str) -> Acted {
    let deadline = Instant::now() + DRAIN_LIMIT;
    let mut asked: Vec<String> = Vec::new();
    let mut waits_for = String::new();
    loop {
        match on_node(api, node).await {
            Ok(pods) if pods.is_empty() => {
                let count = asked.len();
                return done(
                    format!("{cordoned}; {count} pods evicted: {}", asked.join(", ")),
                    false,
                );
            }
            Ok(pods) => {
                for pod in &pods {
                    let is_going = pod["metadata"]["deletionTimestamp"].is_string();
                    waits_for = format!("{} is still ending", label(pod));
                    if is_going {
                        continue;
                    }
                    match evict(api, pod).await {
                        Ok(()) => asked.push(label(pod)),
                        Err(reason) => waits_for = reason,
                    }
                }
            }
            Err(reason) => waits_for = reason,
        }
        if Instant::now() >= deadline {
            return Acted::Unclear(format!(
                "{cordoned}; in part only, after {} s: {} pods evicted ({}), and {waits_for}. The \
                 node stays cordoned.",
                DRAIN_LIMIT.as_secs(),
                asked.len(),
                asked.join(", ")
            ));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks for the eviction of one pod; a disruption budget may say not now.
async fn evict(api: &Api, pod: &Value) -> Result<(), String> {
    let (space, name) = (&pod["metadata"]["namespace"], &pod["metadata"]["name"]);
    let (space, name) = (
        space.as_str().unwrap_or_default(),
        name.as_str().unwrap_or_default(),
    );
    let path = format!("/api/v1/namespaces/{space}/pods/{name}/eviction");
    let body = json!({"apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": name, "namespace": space},
        "deleteOptions": {"preconditions": {"uid": uid(pod)}}});
    match api.post(&path, &body).await {
        Ok(_) | Err(Trouble::Missing(_) | Trouble::Conflict(_)) => Ok(()),
        Err(trouble) => Err(trouble.to_string()),
    }
}

/// Whether a drain came to its end.
pub async fn look_drain(api: &Api, node: &str, acting: &Acting) -> Seen {
    match on_node(api, node).await {
        Ok(pods) if pods.is_empty() => Seen::Done(Done {
            output: format!("node/{node} is cordoned and empty"),
            at_ms: Some(acting.at_ms),
        }),
        Ok(_) => Seen::NotDone,
        Err(reason) => Seen::Away(reason),
    }
}
