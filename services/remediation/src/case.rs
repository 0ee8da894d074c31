//! The case that a plan is for: what is believed to be wrong, where, and the
//! names of the objects that were really seen.

use crate::allowed::{Allowed, Lists};
use crate::catalogue::Known;
use crate::steps::host_of;
use midwatch_clients::postgres::KeptRecord;
use midwatch_events::action::ExpectedEffect;
use midwatch_events::anomaly::Direction;
use midwatch_events::cause::ChangeType;
use midwatch_events::incident::Verdict;
use midwatch_events::knowledge::{Catalogue, CatalogueEntry};
use midwatch_events::{AnomalyType, RcaCompleted, RootCauseCandidate};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Names found in the records kept with the incident, for one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    pub namespace: Option<String>,
    pub pod: Option<String>,
    pub consumer_group: Option<String>,
    pub topic: Option<String>,
    #[serde(default)]
    pub node: Option<String>,
    #[serde(default)]
    pub unit: Option<String>,
    #[serde(default)]
    pub alertname: Option<String>,
    #[serde(default)]
    pub replicas: Option<u64>,
    /// By container and resource: `app memory` is `1Gi`.
    #[serde(default)]
    pub limits: BTreeMap<String, String>,
}

/// Gauges of a deployment's wanted pods, as kube-state-metrics and our own
/// collectors name them.
const REPLICAS: [&str; 2] = ["kube_deployment_spec_replicas", "kubernetes_replicas"];
/// The gauge of a container's limits, as kube-state-metrics names it.
const LIMITS: &str = "kube_pod_container_resource_limits";

impl Observed {
    /// Reads the names out of the records of `service`; the latest wins.
    #[must_use]
    pub fn read(records: &[KeptRecord], service: &str) -> Observed {
        let mut observed = Observed::default();
        for record in records.iter().filter(|record| record.service == service) {
            let payload = &record.payload;
            let label = |names: &[&str]| -> Option<String> {
                names
                    .iter()
                    .find_map(|name| text(&payload["labels"][*name]))
            };
            let kubernetes = record.kind == "kubernetes";
            let namespace = kubernetes
                .then(|| text(&payload["namespace"]))
                .flatten()
                .or_else(|| label(&["namespace"]));
            let pod = (kubernetes && payload["kind"] == "Pod")
                .then(|| text(&payload["name"]))
                .flatten()
                .or_else(|| label(&["pod"]));
            let newer = |slot: &mut Option<String>, found: Option<String>| {
                if found.is_some() {
                    *slot = found;
                }
            };
            newer(&mut observed.namespace, namespace);
            newer(&mut observed.pod, pod);
            newer(
                &mut observed.consumer_group,
                label(&["consumer_group", "group"]),
            );
            newer(&mut observed.topic, label(&["topic"]));
            let of_node = (kubernetes && payload["kind"] == "Node")
                .then(|| text(&payload["name"]))
                .flatten()
                .or_else(|| text(&payload["metadata"]["node"]));
            newer(&mut observed.node, of_node.or_else(|| label(&["node"])));
            newer(
                &mut observed.unit,
                label(&["systemd_unit", "unit"]).filter(|unit| unit.ends_with(".service")),
            );
            newer(&mut observed.alertname, label(&["alertname"]));
            observed.read_gauge(record);
        }
        observed
    }

    fn read_gauge(&mut self, record: &KeptRecord) {
        let labels = &record.payload["labels"];
        if REPLICAS.contains(&record.name.as_str())
            && let Some(value) = record.value.and_then(whole)
        {
            self.replicas = Some(value);
        }
        if record.name == LIMITS
            && let (Some(container), Some(resource)) =
                (text(&labels["container"]), text(&labels["resource"]))
            && let Some(amount) = record.value.and_then(|value| amount(&resource, value))
        {
            self.limits
                .insert(format!("{container} {resource}"), amount);
        }
    }
}

/// A limit as Kubernetes writes it: cores, or bytes.
fn amount(resource: &str, value: f64) -> Option<String> {
    let Some(value) = whole(value) else {
        // Of a core there are thousandths, and no smaller parts.
        let thousandths = whole((value * 1_000.0).round()).filter(|_| resource == "cpu");
        return thousandths.map(|count| format!("{count}m"));
    };
    Some(match resource {
        "memory" if value.is_multiple_of(GIB) => format!("{}Gi", value / GIB),
        "memory" if value.is_multiple_of(MIB) => format!("{}Mi", value / MIB),
        _ => value.to_string(),
    })
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A gauge's value as the whole number that it is.
fn whole(value: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "in range and without a fraction, as checked"
    )]
    let whole = value as u64;
    ((1.0..9e15).contains(&value) && value.fract() == 0.0).then_some(whole)
}

fn text(value: &Value) -> Option<String> {
    value
        .as_str()
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

/// A root cause, ready to be planned for.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    pub rca: &'a RcaCompleted,
    pub catalogue: &'a Catalogue,
    /// What may be acted on beside workloads.
    pub allowed: &'a Allowed,
    /// `K8S_NAMESPACE`.
    pub default_namespace: &'a str,
}

impl<'a> Case<'a> {
    /// The first candidate, where there is one.
    #[must_use]
    pub fn candidate(&self) -> Option<&'a RootCauseCandidate> {
        self.rca.root_cause_candidates.first()
    }

    /// Whether the evidence carries the first candidate.
    #[must_use]
    pub fn is_conclusive(&self) -> bool {
        self.rca.verdict == Verdict::Conclusive && self.candidate().is_some()
    }

    /// The service where the cause lies.
    #[must_use]
    pub fn service(&self) -> &'a str {
        self.candidate()
            .map_or(self.rca.header.primary_service(), |first| {
                first.service.as_str()
            })
    }

    /// The wire name of the cause.
    #[must_use]
    pub fn cause(&self) -> &'a str {
        self.candidate()
            .map_or(self.rca.header.anomaly_type.as_str(), |first| {
                first.cause.as_str()
            })
    }

    /// What tells one cause from another between revisions.
    #[must_use]
    pub fn key(&self) -> String {
        if self.is_conclusive() {
            format!("{} of {}", self.cause(), self.service())
        } else {
            "inconclusive".to_owned()
        }
    }

    /// The catalogue's record of the service.
    #[must_use]
    pub fn entry(&self) -> Option<&'a CatalogueEntry> {
        self.catalogue.get(self.service())
    }

    /// Whether the cause is a release that was seen on this very service. What
    /// else was changed is not undone by another version, and to undo a rollback
    /// would bring back what was taken back.
    #[must_use]
    pub fn failed_release(&self) -> Option<&'a midwatch_events::RawDeployment> {
        let release = self.rca.deployment_context.as_ref()?;
        (self.cause() == AnomalyType::DeploymentFailure.as_str()
            && release.service == self.service()
            && release.change() == ChangeType::Release)
            .then_some(release)
    }

    /// The reading that started it: `service_db_connections of
    /// payment-service`, or the log rule.
    #[must_use]
    pub fn metric(&self) -> String {
        // A person declared the incident: nothing was read.
        if self.rca.trigger_metric.is_empty() {
            return format!("word of trouble on {}", self.rca.header.primary_service());
        }
        format!(
            "{} of {}",
            self.rca.trigger_metric,
            self.rca.header.primary_service()
        )
    }

    /// Whether the trigger is a metric with readings.
    #[must_use]
    pub fn has_reading(&self) -> bool {
        let trigger = &self.rca.trigger_metric;
        !trigger.is_empty() && !trigger.starts_with("log:") && !trigger.starts_with("kubernetes:")
    }

    /// What an action against the cause should do to which metric: the one that
    /// triggered, or the error rate where a log line or a Kubernetes event
    /// did. Absent where no baseline is known, for nobody could tell whether
    /// it helped. `within_ms` is the action's own and 0 here.
    #[must_use]
    pub fn effect(&self) -> Option<ExpectedEffect> {
        if self.has_reading() {
            let falls = self.rca.observed_value >= self.rca.baseline_value;
            return Some(ExpectedEffect {
                service: self.rca.header.primary_service().to_owned(),
                metric: self.rca.trigger_metric.clone(),
                direction: if falls {
                    Direction::Below
                } else {
                    Direction::Above
                },
                baseline_value: self.rca.baseline_value,
                within_ms: 0,
            });
        }
        let baseline = self.entry()?.rest.get("baseline")?;
        Some(ExpectedEffect {
            service: self.service().to_owned(),
            metric: "service_error_rate_percent".to_owned(),
            direction: Direction::Below,
            baseline_value: baseline["error_rate_percent"].as_f64()?,
            within_ms: 0,
        })
    }

    /// The metric that a look is about, which is not to change.
    #[must_use]
    pub fn subject(&self) -> ExpectedEffect {
        self.effect().unwrap_or_else(|| ExpectedEffect {
            service: self.rca.header.primary_service().to_owned(),
            metric: self.rca.trigger_metric.clone(),
            direction: Direction::Below,
            baseline_value: 0.0,
            within_ms: 0,
        })
    }

    /// What is listed for the service, in the file and in the catalogue.
    fn lists(&self, service: &str) -> Lists {
        let mut lists = self.allowed.of(service);
        let rest = |name: &str| {
            let list = self.catalogue.get(service)?.rest.get(name)?.as_array()?;
            Some(list.iter().filter_map(text).collect::<Vec<_>>())
        };
        for (name, list) in [
            ("clearable_paths", &mut lists.clearable_paths),
            ("logs", &mut lists.logs),
            ("scripts", &mut lists.scripts),
        ] {
            list.extend(rest(name).unwrap_or_default());
        }
        lists
    }

    /// The unit that was observed; where none was, the one that is listed first.
    fn unit(&self, service: &str, observed: &Observed) -> Option<String> {
        let listed = || self.lists(service).units.into_iter().next();
        observed.unit.clone().or_else(listed)
    }

    /// The first listed path on the file system that the trigger is about.
    fn path(&self, service: &str) -> Option<String> {
        // A trigger that is about no file system gives no path to clear.
        let mount = label(&self.rca.trigger_metric, "mount")?;
        let mut paths = self.lists(service).clearable_paths.into_iter();
        paths.find(|path| Path::new(path).starts_with(mount))
    }

    /// What placeholders of `service`'s steps may be replaced by: names that
    /// were observed, or that the catalogue records.
    #[must_use]
    pub fn values(&self, service: &str, observed: &Observed) -> BTreeMap<String, String> {
        let entry = self.catalogue.get(service);
        let recorded = |name: &str| entry.and_then(|entry| text(entry.rest.get(name)?));
        let mut values = BTreeMap::from([
            ("service".to_owned(), service.to_owned()),
            (
                "namespace".to_owned(),
                observed
                    .namespace
                    .clone()
                    .or_else(|| recorded("namespace"))
                    .unwrap_or_else(|| self.default_namespace.to_owned()),
            ),
        ]);
        let release = self
            .rca
            .deployment_context
            .as_ref()
            .filter(|release| release.service == service);
        let found = [
            ("version", release.map(|release| release.version.clone())),
            (
                "previous_version",
                release.and_then(|release| release.previous_version.clone()),
            ),
            (
                "consumer_group",
                observed
                    .consumer_group
                    .clone()
                    .or_else(|| recorded("consumer_group")),
            ),
            (
                "topic",
                observed.topic.clone().or_else(|| recorded("topic")),
            ),
            ("pod", observed.pod.clone()),
            ("node", observed.node.clone()),
            ("alertname", observed.alertname.clone()),
            ("host", host_of(service).map(str::to_owned)),
            ("unit", self.unit(service, observed)),
            ("path", self.path(service)),
            ("log", self.lists(service).logs.into_iter().next()),
        ];
        for (name, value) in found {
            if let Some(value) = value {
                values.insert(name.to_owned(), value);
            }
        }
        values
    }
}

/// What actions of this case may name.
#[must_use]
pub fn known(case: &Case<'_>, observed: &Observed, simulated: bool) -> Known {
    let service = case.service();
    let mut known = Known {
        simulated,
        ..Known::default()
    };
    known.see("service", service);
    known.see("workload", service);
    if let Some(host) = host_of(service) {
        known.see("host", host);
    }
    let names = case.values(service, observed);
    for (name, of) in [
        ("namespace", "namespace"),
        ("pod", "pod"),
        ("from_version", "version"),
        ("to_version", "previous_version"),
    ] {
        if let Some(value) = names.get(of) {
            known.see(name, value);
        }
    }
    for (name, value) in [
        ("node", &observed.node),
        ("unit", &observed.unit),
        ("alertname", &observed.alertname),
    ] {
        if let Some(value) = value {
            known.see(name, value);
        }
    }
    recorded(case, observed, &mut known);
    let subject = case.subject();
    known.see("subject", format!("{} {}", subject.service, subject.metric));
    if let Some(effect) = case.effect() {
        known.see("measure", format!("{} {}", effect.service, effect.metric));
    }
    known
}

/// What the service catalogue adds: usual replicas, limits and settings where
/// none were observed, and what may be cleared, rotated or run.
fn recorded(case: &Case<'_>, observed: &Observed, known: &mut Known) {
    let rest = |name: &str| case.entry().and_then(|entry| entry.rest.get(name));
    let replicas = observed
        .replicas
        .or_else(|| rest("replicas").and_then(Value::as_u64));
    if let Some(replicas) = replicas {
        known.see("replicas", replicas.to_string());
    }
    for (object, limit) in &observed.limits {
        if let Some((container, _)) = object.split_once(' ') {
            known.see("container", container);
        }
        known.see("limit", format!("{object} {limit}"));
    }
    if let Some(resources) = rest("resources").filter(|_| observed.limits.is_empty())
        && let Some(container) = text(&resources["container"])
    {
        for resource in ["cpu", "memory"] {
            if let Some(limit) = text(&resources[resource]) {
                known.see("limit", format!("{container} {resource} {limit}"));
            }
        }
        known.see("container", container);
    }
    let settings = rest("settings").and_then(Value::as_object);
    for (name, value) in settings.into_iter().flatten() {
        if let Some(value) = text(value) {
            known.see("setting_name", name);
            known.see("setting", format!("{name} {value}"));
        }
    }
    let lists = case.lists(case.service());
    for (name, list) in [
        ("unit", lists.units),
        ("path", lists.clearable_paths),
        ("log", lists.logs),
        ("script", lists.scripts),
        ("diagnostic", lists.diagnostics),
        ("hook", lists.hooks),
    ] {
        for value in list {
            known.see(name, value);
        }
    }
}

/// A label in the name of a series: `mount` of `host_disk_percent{mount=/data}`.
fn label<'a>(series: &'a str, name: &str) -> Option<&'a str> {
    let (_, labels) = series.split_once('{')?;
    let mut labels = labels.trim_end_matches('}').split(',');
    labels
        .find_map(|one| one.split_once('=').filter(|(key, _)| *key == name))
        .map(|(_, value)| value)
}

/// A number without needless decimals.
#[must_use]
pub fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
