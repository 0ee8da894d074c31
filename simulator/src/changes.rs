//! Deployments and Kubernetes events of a fault.

use crate::fleet::Service;
use crate::noise::stream;
use crate::scenario::Release;
use crate::stories::story;
use midwatch_events::{RawDeployment, RawKubernetes};
use rand::RngExt;

/// The simulated cluster and the namespace that the fleet runs in.
pub const CLUSTER: &str = "simulation";
pub const NAMESPACE: &str = "shop";
/// Replicas of every service.
pub const REPLICAS: usize = 3;

/// Five characters of the alphabet that Kubernetes uses in generated names.
fn suffix(seed: u64, parts: &[&str], length: usize) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut rng = stream(seed, parts);
    (0..length)
        .map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]))
        .collect()
}

/// The replica set of a version of a service.
#[must_use]
pub fn replica_set(seed: u64, service: Service, version: &str) -> String {
    let hash = suffix(seed, &["replica-set", service.name(), version], 10);
    format!("{}-{hash}", service.name())
}

/// One pod of a version of a service.
#[must_use]
pub fn pod(seed: u64, service: Service, version: &str, replica: usize) -> String {
    let replica = (replica % REPLICAS).to_string();
    let end = suffix(seed, &["pod", service.name(), version, &replica], 5);
    format!("{}-{end}", replica_set(seed, service, version))
}

/// The git commit of a version.
#[must_use]
pub fn git_sha(seed: u64, service: Service, version: &str) -> String {
    let mut rng = stream(seed, &["commit", service.name(), version]);
    (0..5)
        .map(|_| format!("{:08x}", rng.random_range(0..=u32::MAX)))
        .collect()
}

/// The announcement of a release.
#[must_use]
pub fn deployment(
    service: Service,
    environment: &str,
    at_ms: i64,
    release: &Release,
) -> RawDeployment {
    let story = story(service);
    RawDeployment {
        timestamp_ms: at_ms,
        service: service.name().to_owned(),
        environment: environment.to_owned(),
        version: release.version.clone(),
        change_type: "deployment".to_owned(),
        git_sha: release.git_sha.clone(),
        deployed_by: release.author.to_owned(),
        description: story.release.to_owned(),
        known_risks: story
            .release_risks
            .iter()
            .map(|risk| (*risk).to_owned())
            .collect(),
        previous_version: Some(release.previous.clone()),
    }
}

/// A Kubernetes event about an object of `service`.
fn event(service: Service, environment: &str, at_ms: i64) -> RawKubernetes {
    RawKubernetes {
        timestamp_ms: at_ms,
        environment: environment.to_owned(),
        cluster: CLUSTER.to_owned(),
        namespace: NAMESPACE.to_owned(),
        kind: "Pod".to_owned(),
        name: String::new(),
        owner: service.name().to_owned(),
        container: None,
        reason: String::new(),
        event_kind: String::new(),
        severity: "Warning".to_owned(),
        message: String::new(),
        metadata: serde_json::Map::new(),
        critical: false,
    }
}

/// The rollout of a release: the new replica set grows, or the old one is gone.
#[must_use]
pub fn rollout(
    seed: u64,
    (service, environment, at_ms): (Service, &str, i64),
    release: &Release,
    finished: bool,
) -> RawKubernetes {
    let message = if finished {
        let old = replica_set(seed, service, &release.previous);
        format!("Scaled down replica set {old} from {REPLICAS} to 0")
    } else {
        let new = replica_set(seed, service, &release.version);
        format!("Scaled up replica set {new} to {REPLICAS}")
    };
    let mut metadata = serde_json::Map::new();
    metadata.insert(
        "image".to_owned(),
        format!("{}:{}", service.name(), release.version).into(),
    );
    RawKubernetes {
        kind: "Deployment".to_owned(),
        name: service.name().to_owned(),
        reason: "ScalingReplicaSet".to_owned(),
        event_kind: "ROLLOUT".to_owned(),
        severity: "Normal".to_owned(),
        message,
        metadata,
        ..event(service, environment, at_ms)
    }
}

/// A container that the kernel killed.
#[must_use]
pub fn oom_killed(
    (service, environment, at_ms): (Service, &str, i64),
    pod: String,
    memory_percent: f64,
) -> RawKubernetes {
    let mut metadata = serde_json::Map::new();
    metadata.insert("memory_limit".to_owned(), "2Gi".into());
    metadata.insert("exit_code".to_owned(), 137.into());
    RawKubernetes {
        message: format!(
            "Container {} of pod {pod} was OOMKilled at its limit of 2Gi (service average {memory_percent:.0}%), exit code 137",
            service.name()
        ),
        name: pod,
        container: Some(service.name().to_owned()),
        reason: "OOMKilling".to_owned(),
        event_kind: "OOM_KILLED".to_owned(),
        metadata,
        critical: true,
        ..event(service, environment, at_ms)
    }
}

/// A readiness probe that got no answer in time.
#[must_use]
pub fn probe_failed(
    (service, environment, at_ms): (Service, &str, i64),
    pod: String,
    cpu_percent: f64,
) -> RawKubernetes {
    RawKubernetes {
        message: format!(
            "Readiness probe failed: no answer from {pod} within 1s ({cpu_percent:.0}% CPU)"
        ),
        name: pod,
        container: Some(service.name().to_owned()),
        reason: "Unhealthy".to_owned(),
        event_kind: "PROBE_FAILED".to_owned(),
        ..event(service, environment, at_ms)
    }
}
