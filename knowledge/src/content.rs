//! Reading and checking the knowledge folder.

use crate::runbook::{Runbook, load_runbooks};
use midwatch_events::{AnomalyType, Severity};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Shorter texts cannot be found by meaning and help nobody who reads them.
const MIN_TEXT: usize = 30;

/// What is wrong with a file of the knowledge folder.
#[derive(Debug, Error)]
pub enum ContentError {
    #[error("{} cannot be read; does KNOWLEDGE_DIR point to the knowledge folder?", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{}: {source}", path.display())]
    Json {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{}: field `{field}` {problem}", path.display())]
    Field {
        path: PathBuf,
        field: String,
        problem: String,
    },
}

impl ContentError {
    pub(crate) fn field(path: &Path, field: &str, problem: impl Into<String>) -> ContentError {
        ContentError::Field {
            path: path.to_owned(),
            field: field.to_owned(),
            problem: problem.into(),
        }
    }
}

/// Normal values of a service's metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    pub rps: f64,
    pub p99_ms: f64,
    pub error_rate_percent: f64,
    pub cpu_percent: f64,
    pub memory_percent: f64,
    pub db_connections: f64,
    pub kafka_consumer_lag: f64,
}

/// Where a metric ends: what it means to be full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    pub db_connections_max: f64,
    pub memory_percent: f64,
    pub cpu_percent: f64,
}

/// One service of `services.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceRecord {
    pub name: String,
    pub description: String,
    pub team: String,
    /// `P0`, `P1` or `P2`.
    pub criticality: String,
    pub language: String,
    /// Availability promised, percent.
    pub sla: f64,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Usual number of pods.
    pub replicas: u32,
    /// The services that call this one.
    pub dependencies_upstream: Vec<String>,
    /// The services that this one calls.
    pub dependencies_downstream: Vec<String>,
    /// The same under the name that reads best.
    pub calls: Vec<String>,
    pub datastores: Vec<String>,
    pub common_failure_modes: Vec<String>,
    /// Mail address.
    pub on_call: String,
    /// Mail address.
    pub team_email: String,
    pub runbooks: Vec<String>,
    pub baseline: Baseline,
    pub limits: Limits,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer_group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Fields of the file that this program does not know; kept as they are.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One incident of `incidents/*.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoricalIncident {
    pub incident_id: String,
    pub title: String,
    pub anomaly_type: AnomalyType,
    pub severity: Severity,
    /// Where the cause was.
    pub service: String,
    pub affected_services: Vec<String>,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub resolved_at: String,
    pub mttr_minutes: f64,
    pub summary: String,
    pub root_cause: String,
    pub resolution: String,
    pub contributing_factors: Vec<String>,
    pub tags: Vec<String>,
    pub runbook: String,
    /// Fields of the file that this program does not know; kept as they are.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The whole knowledge folder, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Knowledge {
    pub services: Vec<ServiceRecord>,
    pub incidents: Vec<HistoricalIncident>,
    pub runbooks: Vec<Runbook>,
}

impl Knowledge {
    /// Reads `services.json`, `incidents/` and `runbooks/` under `dir` and
    /// checks the references between them.
    ///
    /// # Errors
    /// The first thing that is wrong, by file and field.
    pub fn load(dir: &Path) -> Result<Knowledge, ContentError> {
        let knowledge = Knowledge {
            services: load_services(&dir.join("services.json"))?,
            incidents: load_incidents(&dir.join("incidents"))?,
            runbooks: load_runbooks(&dir.join("runbooks"))?,
        };
        knowledge.check_references(dir)?;
        Ok(knowledge)
    }

    fn check_references(&self, dir: &Path) -> Result<(), ContentError> {
        let runbooks: BTreeSet<&str> = self.runbooks.iter().map(|one| one.name.as_str()).collect();
        let services: BTreeSet<&str> = self.services.iter().map(|one| one.name.as_str()).collect();
        for service in &self.services {
            let path = dir.join("services.json");
            let field = format!("{}.runbooks", service.name);
            known(&path, &field, &service.runbooks, &runbooks, "runbook")?;
        }
        for incident in &self.incidents {
            let path = dir
                .join("incidents")
                .join(format!("{}.json", incident.incident_id));
            let runbook = std::slice::from_ref(&incident.runbook);
            known(&path, "runbook", runbook, &runbooks, "runbook")?;
            let affected = &incident.affected_services;
            known(&path, "affected_services", affected, &services, "service")?;
        }
        Ok(())
    }
}

/// Reads and checks the service catalogue: a list of records with unique
/// names whose dependencies are known and agree from both sides.
///
/// # Errors
/// [`ContentError`], naming the service and the field.
pub fn load_services(path: &Path) -> Result<Vec<ServiceRecord>, ContentError> {
    let services: Vec<ServiceRecord> = read_json(path)?;
    let names: BTreeSet<&str> = services.iter().map(|one| one.name.as_str()).collect();
    if names.len() != services.len() {
        return Err(ContentError::field(path, "name", "appears twice"));
    }
    for service in &services {
        let field = |name: &str| format!("{}.{name}", service.name);
        long_enough(path, &field("description"), &service.description)?;
        for (name, mail) in [
            ("on_call", &service.on_call),
            ("team_email", &service.team_email),
        ] {
            if !mail.contains('@') {
                let problem = format!("is {mail:?}, which is no mail address");
                return Err(ContentError::field(path, &field(name), problem));
            }
        }
        if service.calls != service.dependencies_downstream {
            let problem = "differs from dependencies_downstream, which means the same";
            return Err(ContentError::field(path, &field("calls"), problem));
        }
        let upstream = &service.dependencies_upstream;
        known(
            path,
            &field("dependencies_upstream"),
            upstream,
            &names,
            "service",
        )?;
        known(path, &field("calls"), &service.calls, &names, "service")?;
        for callee in services
            .iter()
            .filter(|one| service.calls.contains(&one.name))
        {
            if !callee.dependencies_upstream.contains(&service.name) {
                let field = format!("{}.dependencies_upstream", callee.name);
                let problem = format!("lacks {}, which calls it", service.name);
                return Err(ContentError::field(path, &field, problem));
            }
        }
    }
    Ok(services)
}

/// Reads and checks all incidents (`*.json`) of a folder, in order of id.
///
/// # Errors
/// [`ContentError`], naming the file and the field.
pub fn load_incidents(dir: &Path) -> Result<Vec<HistoricalIncident>, ContentError> {
    files(dir, "json")?
        .iter()
        .map(|path| {
            let incident: HistoricalIncident = read_json(path)?;
            check_incident(path, &incident)?;
            Ok(incident)
        })
        .collect()
}

fn check_incident(path: &Path, incident: &HistoricalIncident) -> Result<(), ContentError> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    if stem != Some(&incident.incident_id) {
        let problem = format!("is {:?}, not the file's name", incident.incident_id);
        return Err(ContentError::field(path, "incident_id", problem));
    }
    for (field, text) in [
        ("summary", &incident.summary),
        ("root_cause", &incident.root_cause),
        ("resolution", &incident.resolution),
    ] {
        long_enough(path, field, text)?;
    }
    for (field, list) in [
        ("contributing_factors", &incident.contributing_factors),
        ("tags", &incident.tags),
        ("affected_services", &incident.affected_services),
    ] {
        if list.is_empty() || list.iter().any(|entry| entry.trim().is_empty()) {
            return Err(ContentError::field(
                path,
                field,
                "is empty or has an empty entry",
            ));
        }
    }
    if !incident.affected_services.contains(&incident.service) {
        let problem = format!("lacks {}, where the cause was", incident.service);
        return Err(ContentError::field(path, "affected_services", problem));
    }
    let started = instant(path, "started_at", &incident.started_at)?;
    let resolved = instant(path, "resolved_at", &incident.resolved_at)?;
    let minutes = (resolved - started).as_seconds_f64() / 60.0;
    if minutes <= 0.0 || (minutes - incident.mttr_minutes).abs() > 0.5 {
        let problem = format!(
            "is {}, but started_at and resolved_at lie {minutes} minutes apart",
            incident.mttr_minutes
        );
        return Err(ContentError::field(path, "mttr_minutes", problem));
    }
    Ok(())
}

fn instant(path: &Path, field: &str, text: &str) -> Result<OffsetDateTime, ContentError> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|error| {
        ContentError::field(path, field, format!("is {text:?}, not RFC 3339: {error}"))
    })
}

fn long_enough(path: &Path, field: &str, text: &str) -> Result<(), ContentError> {
    if text.trim().chars().count() < MIN_TEXT {
        let problem = format!("has fewer than {MIN_TEXT} characters");
        return Err(ContentError::field(path, field, problem));
    }
    Ok(())
}

fn known(
    path: &Path,
    field: &str,
    names: &[String],
    all: &BTreeSet<&str>,
    what: &str,
) -> Result<(), ContentError> {
    match names.iter().find(|name| !all.contains(name.as_str())) {
        Some(name) => {
            let problem = format!("names the {what} {name:?}, which does not exist");
            Err(ContentError::field(path, field, problem))
        }
        None => Ok(()),
    }
}

/// The files of a folder with this extension, by name.
pub(crate) fn files(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, ContentError> {
    let failed = |source| ContentError::Read {
        path: dir.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|found| found == extension) {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        let empty = std::io::Error::other(format!("no *.{extension} file in it"));
        return Err(failed(empty));
    }
    Ok(paths)
}

pub(crate) fn read(path: &Path) -> Result<String, ContentError> {
    std::fs::read_to_string(path).map_err(|source| ContentError::Read {
        path: path.to_owned(),
        source,
    })
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ContentError> {
    serde_json::from_str(&read(path)?).map_err(|source| ContentError::Json {
        path: path.to_owned(),
        source,
    })
}
