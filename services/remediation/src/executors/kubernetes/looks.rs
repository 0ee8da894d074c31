//! Looking at a cluster: a workload with its pods and their events, and the
//! last lines of a pod. Changes nothing.

use super::api::{Api, Trouble};
use super::change::{name, target};
use crate::execution::Execution;
use crate::executors::hand::{Acted, Prepared, Stop};
use midwatch_events::action::ActionKind;
use serde_json::Value;

/// Pods that are asked for; that there are more is told.
const MOST: usize = 50;
/// Events of the namespace that are read, from which those of the workload are
/// picked; that there are more is told.
const READ: usize = 500;
/// Events that are told.
const EVENTS: usize = 20;
/// Lines of a log; what is kept of them is bounded further on.
const LINES: usize = 100;

/// Where to look, as an address.
fn path(execution: &Execution) -> Result<String, String> {
    if execution.action.kind == ActionKind::TailLogs {
        let (namespace, pod) = (name(execution, "namespace")?, name(execution, "pod")?);
        return Ok(format!("/api/v1/namespaces/{namespace}/pods/{pod}"));
    }
    Ok(target(execution)?.path)
}

/// Whether there is something to look at.
pub async fn check(api: &Api, execution: &Execution) -> Result<Prepared, Stop> {
    let path = path(execution).map_err(Stop::No)?;
    let found = api.get(&path).await;
    found.map_err(|trouble| Stop::No(trouble.to_string()))?;
    Ok(Prepared {
        description: format!("GET {path}"),
        observed: Value::Null,
    })
}

/// Looks. Whatever went wrong, nothing was changed.
pub async fn look(api: &Api, execution: &Execution) -> Acted {
    let seen = match execution.action.kind {
        ActionKind::TailLogs => logs(api, execution).await,
        _ => workload(api, execution).await,
    };
    match seen {
        Ok(text) => Acted::done(text),
        Err(reason) => Acted::Refused(reason),
    }
}

fn words(trouble: Trouble) -> String {
    trouble.to_string()
}

/// The last lines of each container.
async fn logs(api: &Api, execution: &Execution) -> Result<String, String> {
    let path = path(execution)?;
    let pod = api.get(&path).await.map_err(words)?;
    let containers = pod["spec"]["containers"].as_array();
    let containers = containers.map(Vec::as_slice).unwrap_or_default();
    let mut told = String::new();
    for container in containers {
        let name = container["name"].as_str().unwrap_or_default();
        let lines = LINES / containers.len().max(1);
        let of = format!("{path}/log?container={name}&tailLines={}", lines.max(10));
        let text = api.text(&of).await.unwrap_or_else(words);
        told.push_str(&format!("container {name}:\n{}\n", text.trim_end()));
    }
    Ok(told)
}

async fn workload(api: &Api, execution: &Execution) -> Result<String, String> {
    let (namespace, of) = (name(execution, "namespace")?, target(execution)?);
    let object = api.get(&of.path).await.map_err(words)?;
    let mut told = described(&of.name, &object);
    let pods = match selector(&object) {
        Some(labels) => {
            let path =
                format!("/api/v1/namespaces/{namespace}/pods?labelSelector={labels}&limit={MOST}");
            let list = api.get(&path).await.map_err(words)?;
            if has_more(&list) {
                told.push_str(&format!("  the first {MOST} pods only:\n"));
            }
            list["items"].as_array().cloned().unwrap_or_default()
        }
        None => Vec::new(),
    };
    for pod in &pods {
        told.push_str(&one_pod(pod));
    }
    let path = format!("/api/v1/namespaces/{namespace}/events?limit={READ}");
    let list = api.get(&path).await.map_err(words)?;
    if has_more(&list) {
        told.push_str(&format!(
            "only {READ} of the namespace's events were read; those of this workload may be missing\n"
        ));
    }
    let names: Vec<&str> = pods
        .iter()
        .chain(std::iter::once(&object))
        .filter_map(|one| one["metadata"]["name"].as_str())
        .collect();
    told.push_str(&events(list["items"].as_array(), &names));
    Ok(told)
}

/// Whether the server has more than it was asked for.
fn has_more(list: &Value) -> bool {
    let rest = list["metadata"]["continue"].as_str();
    rest.is_some_and(|token| !token.is_empty())
}

/// `app%3Dcheckout%2Ctier%3Dweb`. Labels are plain words, so that nothing else
/// in them needs an escape; a selector with other rules than labels gives none.
fn selector(object: &Value) -> Option<String> {
    let labels = object["spec"]["selector"]["matchLabels"].as_object()?;
    let plain = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte))
    };
    let pairs: Option<Vec<String>> = labels
        .iter()
        .map(|(name, value)| {
            let value = value.as_str().filter(|value| plain(value) && plain(name))?;
            Some(format!("{}%3D{value}", name.replace('/', "%2F")))
        })
        .collect();
    Some(pairs?.join("%2C")).filter(|all| !all.is_empty())
}

fn described(name: &str, object: &Value) -> String {
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let (spec, status) = (&object["spec"], &object["status"]);
    let mut told = format!(
        "{name}: {} of {} pods ready, {} updated, generation {} (seen {})\n",
        count(&status["readyReplicas"]),
        spec["replicas"].as_u64().unwrap_or(1),
        count(&status["updatedReplicas"]),
        count(&object["metadata"]["generation"]),
        count(&status["observedGeneration"]),
    );
    for container in spec["template"]["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
        let limits = &container["resources"]["limits"];
        told.push_str(&format!(
            "  container {} of {}; limits cpu {}, memory {}\n",
            text(&container["name"]),
            text(&container["image"]),
            text(&limits["cpu"]),
            text(&limits["memory"])
        ));
    }
    told
}

fn one_pod(pod: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let status = &pod["status"];
    let mut told = format!(
        "pod {}: {} on {}\n",
        text(&pod["metadata"]["name"]),
        text(&status["phase"]),
        text(&pod["spec"]["nodeName"])
    );
    for one in status["containerStatuses"].as_array().into_iter().flatten() {
        let waiting = one["state"]["waiting"]["reason"].as_str();
        let ended = one["lastState"]["terminated"]["reason"].as_str();
        told.push_str(&format!(
            "  {}: {} restarts, {}{}{}\n",
            text(&one["name"]),
            one["restartCount"].as_u64().unwrap_or(0),
            if one["ready"] == true {
                "ready"
            } else {
                "not ready"
            },
            waiting
                .map(|why| format!(", waits: {why}"))
                .unwrap_or_default(),
            ended
                .map(|why| format!(", ended last by {why}"))
                .unwrap_or_default()
        ));
    }
    told
}

/// The latest events about these objects, oldest first.
fn events(list: Option<&Vec<Value>>, names: &[&str]) -> String {
    let when = |event: &Value| {
        let at = event["lastTimestamp"]
            .as_str()
            .or(event["eventTime"].as_str());
        at.unwrap_or_default().to_owned()
    };
    let about = |event: &&Value| {
        let object = event["involvedObject"]["name"].as_str();
        object.is_some_and(|object| names.contains(&object))
    };
    let mut kept: Vec<&Value> = list.into_iter().flatten().filter(about).collect();
    kept.sort_by_key(|event| when(event));
    let first = kept.len().saturating_sub(EVENTS);
    let mut told = String::new();
    for event in &kept[first..] {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        told.push_str(&format!(
            "event {} {} {}: {}\n",
            when(event),
            text(&event["reason"]),
            text(&event["involvedObject"]["name"]),
            text(&event["message"])
        ));
    }
    told
}
