//! Ending one pod that is named, under the uid that was seen, so that its
//! successor of the same name is safe.

use super::api::{Api, Trouble};
use super::change::name;
use crate::execution::Execution;
use crate::executors::hand::{Acted, Prepared, Seen, Stop};
use serde_json::{Value, json};
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(500);
const TRIES: usize = 4;

fn path(execution: &Execution) -> Result<String, String> {
    let (namespace, pod) = (name(execution, "namespace")?, name(execution, "pod")?);
    Ok(format!("/api/v1/namespaces/{namespace}/pods/{pod}"))
}

pub(super) fn uid(pod: &Value) -> &str {
    pod["metadata"]["uid"].as_str().unwrap_or_default()
}

/// Whether the pod of this uid is gone or going, by what stands under its name.
fn is_ended(found: &Value, wanted: &str) -> bool {
    uid(found) != wanted || found["metadata"]["deletionTimestamp"].is_string()
}

pub(super) fn has_controller(pod: &Value) -> bool {
    owners(pod).any(|owner| owner["controller"] == json!(true))
}

pub(super) fn owners(pod: &Value) -> impl Iterator<Item = &Value> {
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

/// What stands under the name of the pod that was seen.
enum Found {
    /// It, at this version, and nobody has ended it.
    Alive(String),
    /// It is ending, or gone, or another one has its name.
    Ended,
}

async fn find(api: &Api, path: &str, wanted: &str) -> Result<Found, Trouble> {
    match api.get(path).await {
        Ok(pod) if is_ended(&pod, wanted) => Ok(Found::Ended),
        Ok(pod) => {
            let version = pod["metadata"]["resourceVersion"].as_str();
            Ok(Found::Alive(version.unwrap_or_default().to_owned()))
        }
        Err(Trouble::Missing(_)) => Ok(Found::Ended),
        Err(trouble) => Err(trouble),
    }
}

/// Deletes the pod that was seen. The request names its uid and its version,
/// so that the server takes it only while nobody else has ended the pod: what
/// it takes is ours, and what was ended before is not.
pub async fn delete(api: &Api, execution: &Execution, observed: &Value) -> Acted {
    let path = match path(execution) {
        Ok(path) => path,
        Err(reason) => return Acted::Refused(reason),
    };
    let wanted = observed["uid"].as_str().unwrap_or_default();
    let (mut lost, mut last) = (false, String::new());
    for attempt in 0..=TRIES {
        if attempt > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let found = match find(api, &path, wanted).await {
            // The last round only looks what became of the one before.
            Ok(Found::Alive(_)) if attempt == TRIES => break,
            Ok(Found::Alive(version)) => {
                let options = json!({"kind": "DeleteOptions", "apiVersion": "v1",
                    "preconditions": {"uid": wanted, "resourceVersion": version}});
                api.delete(&path, &options).await
            }
            Ok(Found::Ended) if lost => return Acted::Unclear(whose(&path, wanted)),
            Ok(Found::Ended) => return Acted::NotOurs(elsewhere(&path, wanted)),
            Err(trouble) => {
                // A look that gets no answer has touched nothing.
                let is_no = matches!(trouble, Trouble::No(_));
                last = trouble.to_string();
                if is_no {
                    break;
                }
                continue;
            }
        };
        match found {
            Ok(_) => return Acted::done(format!("{path} of uid {wanted} is deleted")),
            Err(trouble) => {
                last = trouble.to_string();
                match trouble {
                    Trouble::No(_) => break,
                    Trouble::Later(pause, _) => tokio::time::sleep(pause).await,
                    Trouble::Lost(_) => lost = true,
                    // Gone, replaced, ended or only changed: the next look tells.
                    Trouble::Missing(_) | Trouble::Conflict(_) | Trouble::Unreachable(_) => {}
                }
            }
        }
    }
    if lost {
        Acted::Unclear(last)
    } else {
        Acted::Refused(last)
    }
}

fn elsewhere(path: &str, uid: &str) -> String {
    format!(
        "{path} of uid {uid} was ended by somebody else before this action could delete it; \
         nothing was changed here"
    )
}

fn whose(path: &str, uid: &str) -> String {
    format!(
        "{path} of uid {uid} is gone, and nothing shows whether this action or somebody else ended it"
    )
}

/// Whether the pod that was seen is still there. The cluster does not keep who
/// ended a pod, so that one that is gone proves nothing about this action.
pub async fn look_delete(api: &Api, execution: &Execution, observed: &Value) -> Seen {
    let Some(wanted) = observed["uid"].as_str() else {
        return Seen::CannotTell("which pod was meant is not on record".to_owned());
    };
    let path = match path(execution) {
        Ok(path) => path,
        Err(reason) => return Seen::CannotTell(reason),
    };
    match find(api, &path, wanted).await {
        Ok(Found::Alive(_)) => Seen::NotDone,
        Ok(Found::Ended) => Seen::CannotTell(whose(&path, wanted)),
        Err(trouble) => trouble.unseen(),
    }
}
