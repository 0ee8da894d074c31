//! What an action makes of an object. Pure: the object as it is goes in, the
//! object as it shall be comes out, and the difference is what is sent.
//!
//! Arguments, by kind (`workload` is a name or `kind/name` with deployment,
//! statefulset or daemonset; deployment if not said):
//! - restart_rollout: namespace, workload
//! - rollback_deployment: namespace, workload, optionally from_version and
//!   to_version (tags of images); the revision before if not said
//! - scale: namespace, workload, replicas, optionally from_replicas
//! - cordon: node, optionally unschedulable (`false` takes the cordon back)
//! - raise_limit: namespace, workload, resource (cpu, memory), limit, optionally
//!   container, from_limit
//! - raise_pool_size: namespace, size, optionally from_size, and workload and
//!   variable, or configmap and key
//! - toggle_flag: namespace, value, optionally from_value, and workload and
//!   flag, or configmap and key

use super::settings::{limit, pool, setting};
use crate::execution::Execution;
use crate::executors::hand::{argument, optional};
use midwatch_events::action::ActionKind;
use serde_json::{Map, Value, json};

/// Names the actions that an object has seen, the newest first, each with its
/// wall-clock time: `<key>@<epoch ms>`.
pub const ACTION: &str = "midwatch.io/action";
/// So many of them are kept. Fewer could be pushed out, by actions of other
/// services on the same node or map, before somebody looks.
const KEPT: usize = 8;
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
const REVISION: &str = "deployment.kubernetes.io/revision";
/// More is no repair any more but another system.
const MOST_REPLICAS: u32 = 1_000;

/// An object that an action changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub path: String,
    /// `deployment/checkout in shop`.
    pub name: String,
}

/// The object that an action changes.
///
/// # Errors
/// An argument is missing or no name; the kind is not one of this module.
pub fn target(execution: &Execution) -> Result<Target, String> {
    match execution.action.kind {
        ActionKind::Cordon | ActionKind::Drain => {
            let node = name(execution, "node")?;
            Ok(Target {
                path: format!("/api/v1/nodes/{node}"),
                name: format!("node/{node}"),
            })
        }
        ActionKind::ToggleFlag | ActionKind::RaisePoolSize
            if optional(execution, "configmap").is_some() =>
        {
            config_map(execution)
        }
        ActionKind::RestartRollout | ActionKind::DescribeWorkload => {
            workload(execution, &["deployment", "statefulset", "daemonset"])
        }
        ActionKind::RollbackDeployment => workload(execution, &["deployment"]),
        ActionKind::Scale => workload(execution, &["deployment", "statefulset"]),
        ActionKind::RaiseLimit | ActionKind::RaisePoolSize | ActionKind::ToggleFlag => {
            workload(execution, &["deployment", "statefulset", "daemonset"])
        }
        other => Err(format!(
            "{} is nothing that Kubernetes does",
            other.as_str()
        )),
    }
}

fn config_map(execution: &Execution) -> Result<Target, String> {
    let (namespace, map) = (name(execution, "namespace")?, name(execution, "configmap")?);
    Ok(Target {
        path: format!("/api/v1/namespaces/{namespace}/configmaps/{map}"),
        name: format!("configmap/{map} in {namespace}"),
    })
}

fn workload(execution: &Execution, kinds: &[&str]) -> Result<Target, String> {
    let namespace = name(execution, "namespace")?;
    let given = argument(execution, "workload")?;
    let (kind, name) = given.split_once('/').unwrap_or(("deployment", given));
    if !kinds.contains(&kind) {
        let action = execution.action.kind.as_str();
        return Err(format!(
            "{action} is for {}, not for {kind}",
            kinds.join(", ")
        ));
    }
    let name = is_name(name)
        .then_some(name)
        .ok_or_else(|| no_name("workload", name))?;
    Ok(Target {
        path: format!("/apis/apps/v1/namespaces/{namespace}/{kind}s/{name}"),
        name: format!("{kind}/{name} in {namespace}"),
    })
}

/// An argument that is the name of an object, and so safe in an address.
///
/// # Errors
/// It is missing or no such name.
pub fn name<'a>(execution: &'a Execution, argument_name: &str) -> Result<&'a str, String> {
    let value = argument(execution, argument_name)?;
    is_name(value)
        .then_some(value)
        .ok_or_else(|| no_name(argument_name, value))
}

fn no_name(argument: &str, value: &str) -> String {
    format!("{argument} {value:?} is no name of a Kubernetes object")
}

fn is_name(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let inner = |byte: u8| legal(byte) || byte == b'-' || byte == b'.';
    let bytes = text.as_bytes();
    bytes.len() <= 253
        && bytes.iter().all(|&byte| inner(byte))
        && bytes.first().is_some_and(|&byte| legal(byte))
        && bytes.last().is_some_and(|&byte| legal(byte))
        && !text.contains("..")
}

/// When this action was done to the object, by its annotation.
#[must_use]
pub fn stamped(object: &Value, key: &str) -> Option<i64> {
    let stamps = object["metadata"]["annotations"][ACTION].as_str()?;
    stamps.split(' ').find_map(|stamp| {
        let (found, at) = stamp.rsplit_once('@')?;
        (found == key).then(|| at.parse().ok())?
    })
}

/// A change that is to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// A merge patch that the server takes only where nobody has written since
    /// the object was read.
    pub patch: Value,
    /// What it does, in words.
    pub what: String,
}

/// What the action makes of the object at `now_ms`. `sets` are the replica
/// sets of a deployment that is rolled back.
///
/// # Errors
/// A pre-check does not hold.
pub fn change(
    execution: &Execution,
    object: &Value,
    sets: &[Value],
    now_ms: i64,
) -> Result<Change, String> {
    let target = target(execution)?.name;
    let version = object["metadata"]["resourceVersion"]
        .as_str()
        .ok_or_else(|| format!("{target} has no resourceVersion"))?;
    if object["metadata"]["deletionTimestamp"].is_string() {
        return Err(format!("{target} is being deleted"));
    }
    let mut wanted = object.clone();
    let what = match execution.action.kind {
        ActionKind::RestartRollout => {
            settled(execution, object)?;
            restart(&mut wanted, now_ms)?
        }
        ActionKind::RollbackDeployment => rollback(execution, &mut wanted, sets)?,
        ActionKind::Scale => scale(execution, &mut wanted)?,
        ActionKind::Cordon | ActionKind::Drain => cordon(execution, &mut wanted)?,
        ActionKind::RaiseLimit => {
            settled(execution, object)?;
            limit(execution, &mut wanted)?
        }
        ActionKind::RaisePoolSize => pool(execution, &mut wanted)?,
        ActionKind::ToggleFlag => setting(execution, &mut wanted, "flag", "value", "from_value")?,
        other => {
            return Err(format!(
                "{} is nothing that Kubernetes does",
                other.as_str()
            ));
        }
    };
    let stamps = object["metadata"]["annotations"][ACTION]
        .as_str()
        .unwrap_or_default();
    let mine = format!("{}@{now_ms}", execution.key);
    let kept = std::iter::once(mine.as_str())
        .chain(stamps.split(' ').filter(|stamp| !stamp.is_empty()))
        .take(KEPT);
    let stamps = kept.collect::<Vec<_>>().join(" ");
    set(
        &mut wanted,
        &["metadata", "annotations", ACTION],
        json!(stamps),
    );
    let mut patch = difference(object, &wanted).unwrap_or_else(|| json!({}));
    set(&mut patch, &["metadata", "resourceVersion"], json!(version));
    Ok(Change {
        patch,
        what: format!("{target}: {what}"),
    })
}

fn restart(wanted: &mut Value, now_ms: i64) -> Result<String, String> {
    not_paused(wanted)?;
    let at = midwatch_runtime::clock::rfc3339(now_ms);
    let path = ["spec", "template", "metadata", "annotations", RESTARTED_AT];
    set(wanted, &path, json!(at));
    Ok("pods are replaced one after the other".to_owned())
}

fn not_paused(object: &Value) -> Result<(), String> {
    if object["spec"]["paused"] == json!(true) {
        return Err("its rollout is paused; resume it first".to_owned());
    }
    Ok(())
}

/// That no rollout is under way: another change in the middle of one would
/// leave nobody knowing which of them helped. What takes an action back does
/// not wait for its rollout.
pub(super) fn settled(execution: &Execution, object: &Value) -> Result<(), String> {
    if execution.is_undo || object["kind"] != "Deployment" {
        return Ok(());
    }
    not_paused(object)?;
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let (status, wanted) = (&object["status"], &object["spec"]["replicas"]);
    let updated = number(&status["updatedReplicas"]);
    let is_seen =
        number(&status["observedGeneration"]) >= number(&object["metadata"]["generation"]);
    if is_seen && updated >= wanted.as_u64().unwrap_or(1) && number(&status["replicas"]) <= updated
    {
        return Ok(());
    }
    Err("a rollout of it is under way".to_owned())
}

fn rollback(execution: &Execution, wanted: &mut Value, sets: &[Value]) -> Result<String, String> {
    not_paused(wanted)?;
    let revision = |object: &Value| {
        let text = object["metadata"]["annotations"][REVISION].as_str()?;
        text.parse::<u64>().ok()
    };
    let now = revision(wanted).ok_or("it has no revision yet")?;
    if let Some(from) = optional(execution, "from_version")
        && !is_version(&wanted["spec"]["template"], from)
    {
        return Err(format!("it does not run {from}, as when this was planned"));
    }
    let uid = wanted["metadata"]["uid"].clone();
    let is_own = |set: &&Value| {
        let owners = set["metadata"]["ownerReferences"].as_array();
        owners.is_some_and(|owners| owners.iter().any(|owner| owner["uid"] == uid))
    };
    let version = optional(execution, "to_version");
    let fits = |found: u64, set: &Value| match version {
        Some(version) => found != now && is_version(&set["spec"]["template"], version),
        None => found < now,
    };
    let (to, earlier) = sets
        .iter()
        .filter(is_own)
        .filter_map(|set| Some((revision(set)?, set)))
        .filter(|(found, set)| fits(*found, set))
        .max_by_key(|(found, _)| *found)
        .ok_or_else(|| match version {
            Some(version) => format!("no other revision with {version} is kept"),
            None => format!("no revision before {now} is kept"),
        })?;
    let mut template = earlier["spec"]["template"].clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove("pod-template-hash");
    }
    if template == wanted["spec"]["template"] {
        return Err(format!("what revision {to} was runs already"));
    }
    wanted["spec"]["template"] = template;
    Ok(format!("revision {now} → what revision {to} was"))
}

/// Whether pods of the template are of a version: by the tag of an image or by
/// a label for it. A leading `v` makes no difference.
fn is_version(template: &Value, version: &str) -> bool {
    let bare = |text: &str| text.strip_prefix('v').unwrap_or(text).to_owned();
    let labels = &template["metadata"]["labels"];
    let by_label = ["app.kubernetes.io/version", "version"]
        .iter()
        .filter_map(|name| labels[*name].as_str());
    let containers = template["spec"]["containers"].as_array();
    let by_tag = containers.into_iter().flatten().filter_map(|container| {
        let image = container["image"].as_str()?;
        let image = image.split('@').next().unwrap_or(image);
        // A colon before the last slash belongs to a port.
        Some(image.rsplit('/').next()?.split_once(':')?.1)
    });
    by_label
        .chain(by_tag)
        .any(|found| bare(found) == bare(version))
}

fn scale(execution: &Execution, wanted: &mut Value) -> Result<String, String> {
    let to = count(argument(execution, "replicas")?)?;
    // Not said means 1.
    let now = wanted["spec"]["replicas"].as_u64().unwrap_or(1);
    if let Some(from) = optional(execution, "from_replicas") {
        expect_same("replicas", &count(from)?.to_string(), &now.to_string())?;
    }
    if now == u64::from(to) {
        return Err(format!("it has {to} replicas already"));
    }
    wanted["spec"]["replicas"] = json!(to);
    Ok(format!("replicas {now} → {to}"))
}

fn count(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|count| *count <= MOST_REPLICAS)
        .ok_or_else(|| format!("{text:?} is no number of replicas from 0 to {MOST_REPLICAS}"))
}

pub(super) fn expect_same(what: &str, from: &str, now: &str) -> Result<(), String> {
    if from == now {
        return Ok(());
    }
    Err(format!(
        "{what} is {now}, not {from} as when this was planned"
    ))
}

fn cordon(execution: &Execution, wanted: &mut Value) -> Result<String, String> {
    let to = match optional(execution, "unschedulable") {
        None | Some("true") => true,
        Some("false") => false,
        Some(other) => return Err(format!("unschedulable {other:?} is neither true nor false")),
    };
    let now = wanted["spec"]["unschedulable"] == json!(true);
    // Draining a node that is cordoned already is sensible.
    if now == to && execution.action.kind == ActionKind::Cordon {
        return Err(format!(
            "it is {} already",
            if to { "cordoned" } else { "schedulable" }
        ));
    }
    if to {
        wanted["spec"]["unschedulable"] = json!(true);
        Ok("takes no new pods".to_owned())
    } else {
        if let Some(spec) = wanted["spec"].as_object_mut() {
            spec.remove("unschedulable");
        }
        Ok("takes new pods again".to_owned())
    }
}

pub(super) fn set(object: &mut Value, path: &[&str], value: Value) {
    let mut at = object;
    for part in path {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[*part];
    }
    *at = value;
}

/// The merge patch (RFC 7386) that makes `to` of `from`.
#[must_use]
pub fn difference(from: &Value, to: &Value) -> Option<Value> {
    let (Some(old), Some(new)) = (from.as_object(), to.as_object()) else {
        return (from != to).then(|| to.clone());
    };
    let mut patch = Map::new();
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, value) in new {
        let changed = match old.get(name) {
            Some(before) => difference(before, value),
            None => Some(value.clone()),
        };
        if let Some(changed) = changed {
            patch.insert(name.clone(), changed);
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}
