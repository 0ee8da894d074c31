//! A scripted Kubernetes API server: objects by path, resource versions,
//! merge patches, evictions under a budget, deletions with preconditions, and
//! the ways in which an answer can fail to come.

use super::http::{Answering, Asked, Reply, serve};
use midwatch_remediation::executors::kubernetes::{ACTION, Api};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// What goes wrong with one writing request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Somebody else changes the object right before.
    Conflict,
    /// This status, and nothing is written.
    Status(u16),
    /// Not written, and no answer.
    ResetBefore,
    /// Written, and no answer.
    ResetAfter,
    /// Written, and this status.
    StatusAfter(u16),
    /// An answer that takes so long, before and after it is written.
    Slow(Duration, Duration),
}

#[derive(Default)]
pub struct World {
    pub objects: BTreeMap<String, Value>,
    /// Every write that took effect: what and which action's key it bears.
    pub effects: Vec<(String, String)>,
    /// Every request, in its order.
    pub asked: Vec<String>,
    /// Of the next writing requests.
    pub faults: VecDeque<Fault>,
    /// Pods that a disruption budget protects, for so many more requests.
    pub protected: BTreeMap<String, usize>,
    /// Paths that may not be touched.
    pub forbidden: BTreeSet<String>,
    version: u64,
}

/// What a request came to, for whoever watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Read,
    BeforeWrite,
    AfterWrite,
    Answered,
}

pub type Watcher = Arc<dyn Fn(Stage, &Asked) + Send + Sync>;

/// What a test does at a stage of a writing request.
type Meddler = Box<dyn Fn(&Asked) + Send>;

#[derive(Clone)]
pub struct Cluster {
    world: Arc<Mutex<World>>,
    meddler: Arc<Mutex<Option<(Stage, Meddler)>>>,
    pub url: String,
}

impl Cluster {
    pub async fn start() -> Cluster {
        Cluster::watched(Arc::new(|_, _| ()), Duration::ZERO).await
    }

    /// Tells `watcher` of each stage of each request, and stays for
    /// `pause` in each.
    pub async fn watched(watcher: Watcher, pause: Duration) -> Cluster {
        let world: Arc<Mutex<World>> = Arc::default();
        let of_server = Arc::clone(&world);
        let meddler: Arc<Mutex<Option<(Stage, Meddler)>>> = Arc::default();
        let of_watcher = Arc::clone(&meddler);
        let watcher: Watcher = Arc::new(move |stage, asked| {
            watcher(stage, asked);
            if let Some((at, meddle)) = &*of_watcher.lock().expect("no test panics with it")
                && *at == stage
            {
                meddle(asked);
            }
        });
        let url = serve(move |asked| -> Answering {
            let (world, watcher) = (Arc::clone(&of_server), Arc::clone(&watcher));
            Box::pin(async move { answer(&world, &asked, &watcher, pause).await })
        })
        .await;
        Cluster {
            world,
            meddler,
            url,
        }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no test panics with it")
    }

    pub fn put(&self, path: &str, object: Value) {
        self.world().put(path, object);
    }

    /// Lets somebody else act at this stage of every request.
    pub fn when(&self, stage: Stage, meddle: impl Fn(&Asked) + Send + 'static) {
        let mut meddler = self.meddler.lock().expect("no test panics with it");
        *meddler = Some((stage, Box::new(meddle)));
    }

    pub fn object(&self, path: &str) -> Value {
        self.world()
            .objects
            .get(path)
            .cloned()
            .unwrap_or(Value::Null)
    }

    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.world().faults.extend(faults);
    }

    /// How often an action took effect.
    pub fn effects_of(&self, key: &str) -> usize {
        let world = self.world();
        world
            .effects
            .iter()
            .filter(|(_, found)| found == key)
            .count()
    }

    /// A kubeconfig that leads here.
    pub fn kubeconfig(&self, folder: &Path) -> PathBuf {
        let path = folder.join("kubeconfig.json");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "test", "user": {"token": "a-token-of-the-test"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        std::fs::write(&path, config.to_string()).expect("a temporary folder");
        path
    }

    pub async fn api(&self) -> Api {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = self.kubeconfig(folder.path());
        let (api, address) = Api::connect(Some(&path)).await.expect("a kubeconfig");
        assert_eq!(address.trim_end_matches('/'), self.url);
        api
    }
}

impl World {
    pub fn put(&mut self, path: &str, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path.to_owned(), object);
    }

    fn get(&self, asked: &Asked) -> Reply {
        if let Some(object) = self.objects.get(&asked.path) {
            return Reply::json(200, object);
        }
        let is_list = ["/pods", "/nodes", "/replicasets", "/events"]
            .iter()
            .any(|end| asked.path.ends_with(end));
        if !is_list {
            return status(404, "not found");
        }
        let node = asked
            .query
            .split('&')
            .find_map(|one| one.strip_prefix("fieldSelector=spec.nodeName%3D"));
        let kind = asked.path.rsplit('/').next().unwrap_or_default();
        let fits = |path: &str, object: &Value| {
            let is_here = match node {
                Some(node) => path.contains("/pods/") && object["spec"]["nodeName"] == node,
                None => path.starts_with(&format!("{}/", asked.path)),
            };
            is_here && path.contains(&format!("/{kind}/"))
        };
        let items: Vec<&Value> = self
            .objects
            .iter()
            .filter(|(path, object)| fits(path, object))
            .map(|(_, object)| object)
            .collect();
        Reply::json(
            200,
            &json!({"kind": "List", "metadata": {}, "items": items}),
        )
    }

    fn write(&mut self, asked: &Asked) -> Reply {
        let body: Value = serde_json::from_slice(&asked.body).unwrap_or(Value::Null);
        match asked.method.as_str() {
            "PATCH" => self.patch(asked, &body),
            "DELETE" => self.end(&asked.path, &body["preconditions"]),
            "POST" => match asked.path.strip_suffix("/eviction") {
                Some(path) if body["kind"] == "Eviction" && body["apiVersion"] == "policy/v1" => {
                    if let Some(left) = self.protected.get_mut(path).filter(|left| **left > 0) {
                        *left -= 1;
                        return status(429, "Cannot evict pod as it would violate the budget");
                    }
                    self.end(path, &body["deleteOptions"]["preconditions"])
                }
                _ => status(404, "nothing to post to"),
            },
            _ => status(405, "no such method"),
        }
    }

    fn patch(&mut self, asked: &Asked, patch: &Value) -> Reply {
        if asked.headers.get("content-type").map(String::as_str)
            != Some("application/merge-patch+json")
        {
            return status(415, "the body is no merge patch");
        }
        let Some(object) = self.objects.get(&asked.path) else {
            return status(404, "not found");
        };
        let (mut changed, wanted) = (object.clone(), &patch["metadata"]["resourceVersion"]);
        if wanted.is_string() && *wanted != object["metadata"]["resourceVersion"] {
            return status(409, "the object has been modified");
        }
        merge(&mut changed, patch);
        let stamps = changed["metadata"]["annotations"][ACTION]
            .as_str()
            .unwrap_or_default();
        let key = stamps.split('@').next().unwrap_or_default().to_owned();
        self.effects.push((format!("PATCH {}", asked.path), key));
        self.put(&asked.path, changed);
        Reply::json(200, &self.objects[&asked.path])
    }

    fn end(&mut self, path: &str, preconditions: &Value) -> Reply {
        let Some(object) = self.objects.get(path) else {
            return status(404, "not found");
        };
        if preconditions["uid"].is_string() && preconditions["uid"] != object["metadata"]["uid"] {
            return status(409, "the UID in the precondition does not match");
        }
        let version = &preconditions["resourceVersion"];
        if version.is_string() && *version != object["metadata"]["resourceVersion"] {
            return status(
                409,
                "the resourceVersion in the precondition does not match",
            );
        }
        let uid = object["metadata"]["uid"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        self.effects.push((format!("END {path}"), uid));
        self.objects.remove(path);
        status(200, "ended")
    }
}

async fn answer(
    world: &Arc<Mutex<World>>,
    asked: &Asked,
    watcher: &Watcher,
    pause: Duration,
) -> Reply {
    if asked.method == "GET" {
        watcher(Stage::Read, asked);
        tokio::time::sleep(pause).await;
    }
    let fault = {
        let mut world = world.lock().expect("no test panics with it");
        world.asked.push(format!("{} {}", asked.method, asked.path));
        if world.forbidden.contains(&asked.path) {
            return status(403, "forbidden");
        }
        if asked.method == "GET" {
            return world.get(asked);
        }
        world.faults.pop_front()
    };
    watcher(Stage::BeforeWrite, asked);
    tokio::time::sleep(pause).await;
    match &fault {
        Some(Fault::Status(code)) => return status(*code, "as the test wants it"),
        Some(Fault::ResetBefore) => return Reply::Reset,
        Some(Fault::Slow(before, _)) => tokio::time::sleep(*before).await,
        _ => {}
    }
    let reply = {
        let mut world = world.lock().expect("no test panics with it");
        if matches!(fault, Some(Fault::Conflict))
            && let Some(object) = world.objects.get(&asked.path).cloned()
        {
            world.put(&asked.path, object);
        }
        world.write(asked)
    };
    watcher(Stage::AfterWrite, asked);
    tokio::time::sleep(pause).await;
    match fault {
        Some(Fault::ResetAfter) => return Reply::Reset,
        Some(Fault::StatusAfter(code)) => return status(code, "as the test wants it"),
        Some(Fault::Slow(_, after)) => tokio::time::sleep(after).await,
        _ => {}
    }
    watcher(Stage::Answered, asked);
    reply
}

fn status(code: u16, message: &str) -> Reply {
    let outcome = if code < 400 { "Success" } else { "Failure" };
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": outcome,
        "message": message, "reason": "Scripted", "code": code});
    Reply::json(code, &body)
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().expect("made one above").remove(name);
        } else {
            merge(&mut target[name.as_str()], value);
        }
    }
}

pub const CHECKOUT: &str = "/apis/apps/v1/namespaces/shop/deployments/checkout";

/// A settled deployment of three replicas, version 1.4.0, with one container.
pub fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "checkout", "namespace": "shop", "uid": "d-1", "generation": 4,
            "annotations": {"deployment.kubernetes.io/revision": "7"}},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "checkout"}},
            "template": template("1.4.0", "40")},
        "status": {"observedGeneration": 4, "replicas": 3, "updatedReplicas": 3},
    })
}

pub fn template(version: &str, pool: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "checkout"}},
        "spec": {"containers": [{
            "name": "app", "image": format!("registry.example:5000/shop/checkout:{version}"),
            "env": [{"name": "DB_POOL_MAX", "value": pool}, {"name": "SECRET", "valueFrom": {}}],
            "resources": {"limits": {"memory": "1Gi", "cpu": "500m"}, "requests": {"cpu": "100m"}},
        }]},
    })
}

pub fn replica_set(
    name: &str,
    revision: &str,
    owner: &str,
    mut template: Value,
) -> (String, Value) {
    template["metadata"]["labels"]["pod-template-hash"] = json!(name);
    let set = json!({
        "metadata": {"name": name, "annotations": {"deployment.kubernetes.io/revision": revision},
            "ownerReferences": [{"kind": "Deployment", "uid": owner, "controller": true}]},
        "spec": {"template": template},
    });
    (
        format!("/apis/apps/v1/namespaces/shop/replicasets/{name}"),
        set,
    )
}

pub fn pod(name: &str, uid: &str, node: &str, owner: &str) -> (String, Value) {
    let pod = json!({
        "metadata": {"name": name, "namespace": "shop", "uid": uid,
            "ownerReferences": [{"kind": owner, "uid": "r-1", "controller": true}]},
        "spec": {"nodeName": node, "containers": [{"name": "app"}]},
        "status": {"phase": "Running"},
    });
    (format!("/api/v1/namespaces/shop/pods/{name}"), pod)
}

pub fn node(name: &str) -> (String, Value) {
    let node = json!({"metadata": {"name": name}, "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    (format!("/api/v1/nodes/{name}"), node)
}
