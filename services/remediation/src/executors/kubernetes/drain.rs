//! Emptying a node. Pods come while others go, so the node is listed again
//! until it is empty twice in a row, for a bounded time; what is left then is
//! reported as not done.

use super::api::{Api, Trouble};
use super::pods::{has_controller, owners, uid};
use crate::executors::hand::{Acted, Acting, Done, Seen};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// More pods are on no node of usual settings (110), and each costs requests.
const MOST_PODS: usize = 500;
/// How long evictions may take, disruption budgets included. More would outlast
/// the job that waits for it.
const DRAIN_LIMIT: Duration = Duration::from_secs(80);
const PAUSE: Duration = Duration::from_millis(500);
/// A scheduler that had not heard of the cordon binds a pod a moment later:
/// one empty list is not enough.
const EMPTY_LISTS: usize = 2;
/// So often pods may come that were not there before. Something that keeps
/// placing pods on a cordoned node does so for ever, and each eviction costs
/// the service a pod.
const ARRIVALS: usize = 5;
/// Names of pods that are told of one outcome, so that it stays readable.
const TOLD: usize = 20;

/// What draining a node would evict.
///
/// # Errors
/// The pods cannot be listed, or are more than [`MOST_PODS`].
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

/// Why evicting this pod would lose it, or its data.
pub fn obstacle(pod: &Value) -> Option<String> {
    let name = label(pod);
    if !has_controller(pod) {
        return Some(format!(
            "nothing owns the pod {name}, so it would not come back"
        ));
    }
    let volumes = pod["spec"]["volumes"].as_array();
    let is_local = volumes.is_some_and(|all| all.iter().any(|one| one["emptyDir"].is_object()));
    is_local.then(|| format!("the pod {name} keeps data on the node (emptyDir)"))
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

/// How far a drain is.
#[derive(Default)]
struct Drain {
    /// Uids of all pods that were seen on the node.
    seen: BTreeSet<String>,
    /// In how many rounds there were pods that had not been seen before.
    arrivals: usize,
    /// Pods whose eviction the server took.
    evicted: BTreeSet<String>,
}

/// What is on the node after a round.
#[derive(Default)]
struct Left {
    /// Pods that are ending, or whose eviction is asked for again.
    waits: Vec<String>,
    /// Pods that must not be evicted.
    stays: Vec<String>,
}

impl Drain {
    async fn round(&mut self, api: &Api, pods: &[Value], deadline: Instant) -> Left {
        let is_first = self.seen.is_empty();
        let came = pods
            .iter()
            .filter(|pod| self.seen.insert(uid(pod).to_owned()))
            .count();
        self.arrivals += usize::from(came > 0 && !is_first);
        let mut left = Left::default();
        for pod in pods {
            // Whoever came after the check was never looked at.
            if let Some(obstacle) = obstacle(pod) {
                left.stays.push(obstacle);
                continue;
            }
            let is_going = pod["metadata"]["deletionTimestamp"].is_string();
            if is_going || Instant::now() >= deadline {
                left.waits.push(format!("{} is still there", label(pod)));
                continue;
            }
            match evict(api, pod).await {
                Ok(is_ours) => {
                    if is_ours {
                        self.evicted.insert(label(pod));
                    }
                    left.waits.push(format!("{} is still ending", label(pod)));
                }
                Err(reason) => left.waits.push(reason),
            }
        }
        left
    }

    fn told(&self) -> String {
        let names: Vec<&str> = self.evicted.iter().map(String::as_str).collect();
        let colon = if names.is_empty() { "" } else { ": " };
        format!("{} pods evicted{colon}{}", names.len(), shortened(&names))
    }

    fn in_part(&self, cordoned: &str, why: &str, left: &Left) -> Acted {
        let all: Vec<&str> = left
            .stays
            .iter()
            .chain(&left.waits)
            .map(String::as_str)
            .collect();
        Acted::InPart(format!(
            "{cordoned}; {}; {why}; not done: {}. The node stays cordoned.",
            self.told(),
            shortened(&all)
        ))
    }
}

fn shortened(names: &[&str]) -> String {
    let told = names.len().min(TOLD);
    let more = names.len() - told;
    let text = names[..told].join(", ");
    if more > 0 {
        format!("{text} and {more} more")
    } else {
        text
    }
}

/// Evicts every pod of a cordoned node and waits until they are gone. Going on
/// with it after a crash repeats nothing: who is gone is not asked again.
pub async fn evict_all(api: &Api, node: &str, cordoned: &str) -> Acted {
    let deadline = Instant::now() + DRAIN_LIMIT;
    let (mut drain, mut empty) = (Drain::default(), 0);
    loop {
        let left = match on_node(api, node).await {
            Ok(pods) => {
                empty = if pods.is_empty() { empty + 1 } else { 0 };
                drain.round(api, &pods, deadline).await
            }
            Err(reason) => {
                empty = 0;
                Left {
                    waits: vec![format!("what is on the node, for {reason}")],
                    ..Left::default()
                }
            }
        };
        if empty >= EMPTY_LISTS {
            return Acted::done(format!("{cordoned}; {}", drain.told()));
        }
        let why = if left.waits.is_empty() && !left.stays.is_empty() {
            Some("what is left may not be evicted".to_owned())
        } else if drain.arrivals > ARRIVALS {
            Some("pods keep coming to the cordoned node".to_owned())
        } else if Instant::now() >= deadline {
            Some(format!("{} s are over", DRAIN_LIMIT.as_secs()))
        } else {
            None
        };
        if let Some(why) = why {
            return drain.in_part(cordoned, &why, &left);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks for the eviction of one pod; a disruption budget may say not now.
/// Whether it was this request that ended it: somebody else may have been
/// faster.
async fn evict(api: &Api, pod: &Value) -> Result<bool, String> {
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
        Ok(_) => Ok(true),
        Err(Trouble::Missing(_) | Trouble::Conflict(_)) => Ok(false),
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
