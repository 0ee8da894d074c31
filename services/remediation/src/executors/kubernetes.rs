//! Actions on a Kubernetes cluster.
//!
//! What changes an object is a merge patch that carries the version of the
//! object as it was read, and adds the action's key to the annotation
//! [`ACTION`]. So the server takes it at most once, however often and from
//! however many processes it is sent, and anybody can see later whether it was
//! taken. What ends a pod names its uid, and where one is ended alone its
//! version, so that somebody else's deletion does not pass for ours.

mod api;
mod change;
mod drain;
mod looks;
mod pods;
mod settings;

pub use api::Api;
pub use change::ACTION;

use super::hand::{Acted, Acting, Done, Hand, Prepared, Seen, Stop};
use crate::execution::Execution;
use api::Trouble;
use async_trait::async_trait;
use midwatch_events::action::ActionKind;
use midwatch_runtime::clock;
use serde_json::{Value, json};
use std::time::Duration;

/// So often a change is tried again after a conflict or without an answer.
const TRIES: usize = 5;
const PAUSE: Duration = Duration::from_millis(300);
/// Nodes that are asked about others that take pods.
const MOST_NODES: usize = 500;

/// Acts on a cluster.
pub struct Kubernetes {
    api: Api,
}

/// An object as it is, and what an action would make of it.
enum Plan {
    /// The object shows that this action was done, at this time.
    Done(i64, String),
    Change(change::Change),
    No(String),
}

impl Kubernetes {
    /// Acts through `api`.
    #[must_use]
    pub fn new(api: Api) -> Kubernetes {
        Kubernetes { api }
    }

    async fn plan(&self, execution: &Execution, now_ms: i64) -> Result<Plan, Trouble> {
        let target = match change::target(execution) {
            Ok(target) => target,
            Err(reason) => return Ok(Plan::No(reason)),
        };
        let object = self.api.get(&target.path).await?;
        if let Some(at_ms) = change::stamped(&object, &execution.key) {
            return Ok(Plan::Done(at_ms, target.name));
        }
        let sets = if execution.action.kind == ActionKind::RollbackDeployment {
            let deployments = target.path.rsplit_once("/deployments/");
            let space = deployments.map_or("", |(space, _)| space);
            let list = self
                .api
                .get(&format!("{space}/replicasets?limit=500"))
                .await?;
            list["items"].as_array().cloned().unwrap_or_default()
        } else {
            Vec::new()
        };
        Ok(match change::change(execution, &object, &sets, now_ms) {
            Ok(change) => Plan::Change(change),
            Err(reason) => Plan::No(format!("{}: {reason}", target.name)),
        })
    }

    /// Changes one object, once.
    async fn change(&self, execution: &Execution) -> Acted {
        let (mut lost, mut last) = (false, String::new());
        for attempt in 0..=TRIES {
            if attempt > 0 {
                tokio::time::sleep(PAUSE * u32::try_from(attempt).unwrap_or(1)).await;
            }
            let plan = match self.plan(execution, clock::now_ms()).await {
                Ok(plan) => plan,
                Err(trouble) => {
                    last = trouble.to_string();
                    match trouble {
                        Trouble::Missing(_) | Trouble::No(_) => break,
                        Trouble::Later(pause, _) => tokio::time::sleep(pause).await,
                        _ => {}
                    }
                    continue;
                }
            };
            let change = match plan {
                Plan::Done(at_ms, name) => return seen_done(at_ms, &name),
                Plan::No(reason) => {
                    last = reason;
                    break;
                }
                // The last round only looks what became of the one before.
                Plan::Change(_) if attempt == TRIES => break,
                Plan::Change(change) => change,
            };
            let Ok(target) = change::target(execution) else {
                break;
            };
            match self.api.patch(&target.path, &change.patch).await {
                Ok(_) => return Acted::done(change.what),
                Err(trouble) => {
                    last = trouble.to_string();
                    match trouble {
                        Trouble::Missing(_) | Trouble::No(_) => break,
                        Trouble::Later(pause, _) => tokio::time::sleep(pause).await,
                        Trouble::Lost(_) => lost = true,
                        Trouble::Conflict(_) | Trouble::Unreachable(_) => {}
                    }
                }
            }
        }
        if lost {
            // A request without answer may still arrive.
            Acted::Unclear(last)
        } else {
            Acted::Refused(last)
        }
    }

    async fn drain(&self, execution: &Execution) -> Acted {
        let node = match change::name(execution, "node") {
            Ok(node) => node,
            Err(reason) => return Acted::Refused(reason),
        };
        match self.change(execution).await {
            Acted::Done { done, .. } => drain::evict_all(&self.api, node, &done.output).await,
            other => other,
        }
    }

    /// What must hold beyond the object itself.
    async fn surroundings(&self, execution: &Execution) -> Result<String, String> {
        let kind = execution.action.kind;
        let is_release = execution
            .action
            .arguments
            .get("unschedulable")
            .map(String::as_str)
            == Some("false");
        if !matches!(kind, ActionKind::Cordon | ActionKind::Drain) || is_release {
            return Ok(String::new());
        }
        let node = change::name(execution, "node")?;
        let path = format!("/api/v1/nodes?limit={MOST_NODES}");
        let nodes = self
            .api
            .get(&path)
            .await
            .map_err(|trouble| trouble.to_string())?;
        let nodes = nodes["items"].as_array();
        if !nodes
            .into_iter()
            .flatten()
            .any(|other| takes_pods(other, node))
        {
            return Err(format!("no node besides {node} takes pods"));
        }
        if kind == ActionKind::Cordon {
            return Ok(String::new());
        }
        let pods = drain::on_node(&self.api, node).await?;
        if let Some(obstacle) = pods.iter().find_map(drain::obstacle) {
            return Err(obstacle);
        }
        let names: Vec<String> = pods.iter().map(drain::label).collect();
        Ok(format!(
            "; then evict {} pods: {}",
            names.len(),
            names.join(", ")
        ))
    }
}

fn takes_pods(other: &Value, node: &str) -> bool {
    let conditions = other["status"]["conditions"].as_array();
    let is_ready = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    other["metadata"]["name"] != node && is_ready && other["spec"]["unschedulable"] != json!(true)
}

fn mark(at_ms: i64, name: &str) -> Done {
    Done {
        output: format!("{name} carries the mark of this action"),
        at_ms: Some(at_ms),
    }
}

fn seen_done(at_ms: i64, name: &str) -> Acted {
    Acted::Done {
        done: mark(at_ms, name),
        looked: true,
    }
}

#[async_trait]
impl Hand for Kubernetes {
    async fn check(&self, execution: &Execution) -> Result<Prepared, Stop> {
        if execution.action.kind.only_looks() {
            return looks::check(&self.api, execution).await;
        }
        if execution.action.kind == ActionKind::DeletePod {
            return pods::check_delete(&self.api, execution).await;
        }
        let plan = self.plan(execution, clock::now_ms()).await;
        match plan.map_err(|trouble| Stop::No(trouble.to_string()))? {
            // A drain that was interrupted goes on.
            Plan::Done(..) if execution.action.kind == ActionKind::Drain => Ok(Prepared {
                description: "the node is cordoned; evict what is left".to_owned(),
                observed: Value::Null,
            }),
            Plan::Done(at_ms, name) => Err(Stop::Already(mark(at_ms, &name))),
            Plan::No(reason) => Err(Stop::No(reason)),
            Plan::Change(change) => {
                let more = self.surroundings(execution).await.map_err(Stop::No)?;
                let target = change::target(execution).map_err(Stop::No)?;
                Ok(Prepared {
                    description: format!(
                        "{}: PATCH {} with {}{more}",
                        change.what, target.path, change.patch
                    ),
                    observed: Value::Null,
                })
            }
        }
    }

    async fn act(&self, execution: &Execution, prepared: &Prepared) -> Acted {
        match execution.action.kind {
            kind if kind.only_looks() => looks::look(&self.api, execution).await,
            ActionKind::DeletePod => pods::delete(&self.api, execution, &prepared.observed).await,
            ActionKind::Drain => self.drain(execution).await,
            _ => self.change(execution).await,
        }
    }

    async fn look(&self, execution: &Execution, acting: &Acting) -> Seen {
        if execution.action.kind.only_looks() {
            // Looking twice does no harm.
            return Seen::NotDone;
        }
        if execution.action.kind == ActionKind::DeletePod {
            return pods::look_delete(&self.api, execution, &acting.observed).await;
        }
        let target = match change::target(execution) {
            Ok(target) => target,
            Err(reason) => return Seen::CannotTell(reason),
        };
        let object = match self.api.get(&target.path).await {
            Ok(object) => object,
            Err(trouble) => return trouble.unseen(),
        };
        match change::stamped(&object, &execution.key) {
            None => Seen::NotDone,
            Some(_) if execution.action.kind == ActionKind::Drain => {
                let node = execution
                    .action
                    .arguments
                    .get("node")
                    .map_or("", String::as_str);
                drain::look_drain(&self.api, node, acting).await
            }
            Some(at_ms) => Seen::Done(mark(at_ms, &target.name)),
        }
    }
}
