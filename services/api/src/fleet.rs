//! The fleet: the services of the catalogue and those that telemetry names,
//! with what detection last read of them.

mod readings;

pub use readings::{MetricNow, Recently, Seen, State};

use crate::App;
use crate::error::ApiError;
use crate::incidents::{Item, Page};
use crate::params::Params;
use axum::Json;
use axum::extract::{Path, State as AppState};
use midwatch_clients::postgres::read::{self, IncidentFilter, IncidentSummary};
use midwatch_events::knowledge::{Catalogue, CatalogueEntry};
use midwatch_runtime::clock;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path as FilePath, PathBuf};

/// Largest page of services. Each costs Redis a dozen ranges.
const PAGE: i64 = 60;
/// Services of a page unless told.
const USUAL_PAGE: i64 = 30;
/// Metrics of one service in the overview; its own page shows more.
const METRICS: usize = 12;
/// Readings behind one small line.
pub const SPARK: usize = 40;
/// Open incidents that are matched with services.
const OPEN: i64 = 200;
/// A catalogue larger than this is not one.
const CATALOGUE_BYTES: u64 = 4 * 1024 * 1024;

/// Where the catalogue is.
#[derive(Clone, Debug)]
pub struct CatalogueFile {
    path: PathBuf,
}

impl CatalogueFile {
    /// `services.json` in `folder`. Read anew for each page, so that a changed
    /// catalogue shows without a restart.
    #[must_use]
    pub fn below(folder: &FilePath) -> CatalogueFile {
        CatalogueFile {
            path: folder.join("services.json"),
        }
    }

    async fn read(&self) -> Result<Catalogue, String> {
        let shown = self.path.display();
        let found = tokio::fs::metadata(&self.path).await.map_err(|error| {
            format!("{shown} cannot be read ({error}); set KNOWLEDGE_DIR to its folder")
        })?;
        if found.len() > CATALOGUE_BYTES {
            return Err(format!("{shown} has {} bytes, too many", found.len()));
        }
        let text = tokio::fs::read_to_string(&self.path)
            .await
            .map_err(|error| format!("{shown} cannot be read ({error})"))?;
        Catalogue::parse(&text).map_err(|problem| format!("{shown}: {problem}"))
    }
}

/// An open incident of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenIncident {
    pub id: uuid::Uuid,
    pub short_id: String,
    pub severity: String,
    pub status: String,
    pub anomaly_type: String,
}

/// A service in one environment.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceNow {
    pub service: String,
    /// `null` where only the catalogue knows the service.
    pub environment: Option<String>,
    pub in_catalogue: bool,
    pub team: Option<String>,
    /// `P0`, `P1`, …
    pub criticality: Option<String>,
    /// The gravest of its metrics.
    pub state: State,
    pub metrics: Vec<MetricNow>,
    /// Metrics that the overview leaves out.
    pub more_metrics: usize,
    pub open_incidents: Vec<OpenIncident>,
}

/// The overview, or a page of it.
#[derive(Clone, Debug, Serialize)]
pub struct FleetView {
    pub items: Vec<ServiceNow>,
    /// `after=` of the next page; `null` on the last one.
    pub next: Option<String>,
    /// All services in all environments, this page's and others'.
    pub services: usize,
    pub environments: Vec<String>,
    /// What could not be read, and what that costs; empty when all is well.
    pub notes: Vec<String>,
}

/// One service with everything known about it.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceView {
    pub service: String,
    pub catalogue: Option<CatalogueEntry>,
    /// One entry for each environment that it was seen in.
    pub environments: Vec<ServiceNow>,
    pub incidents: Page<Item>,
    pub notes: Vec<String>,
}

/// Names in order, so that a page is found by its key.
type Key = (String, Option<String>);

/// A page of the fleet.
///
/// # Errors
/// A bad parameter, or the database is away. Without Redis or catalogue the
/// view says so.
pub async fn overview(app: &App, params: &Params) -> Result<FleetView, ApiError> {
    params.only(&["environment", "limit", "after"])?;
    let limit = params.number("limit", 1, PAGE)?.unwrap_or(USUAL_PAGE);
    let wanted = params.text("environment");
    let after = params.text("after").map(|text| key_of(&text));
    let mut notes = Vec::new();
    let catalogue = catalogue(app, &mut notes).await;
    let seen = seen(app, &mut notes).await;
    let open = open_incidents(app).await?;
    let mut keys: BTreeSet<Key> = seen
        .series
        .keys()
        .map(|(service, environment)| (service.clone(), Some(environment.clone())))
        .collect();
    for entry in catalogue.iter() {
        if !seen
            .series
            .keys()
            .any(|(service, _)| *service == entry.name)
        {
            keys.insert((entry.name.clone(), None));
        }
    }
    keys.retain(|(_, environment)| wanted.is_none() || *environment == wanted);
    let services = keys.len();
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut page: Vec<Key> = keys
        .into_iter()
        .filter(|key| after.as_ref().is_none_or(|after| key > after))
        .take(most + 1)
        .collect();
    let more = page.len() > most;
    page.truncate(most);
    let next = page.last().filter(|_| more).map(key_text);
    let mut series = Vec::new();
    for (service, environment) in &page {
        for metric in seen
            .metrics(service, environment.as_deref())
            .iter()
            .take(METRICS)
        {
            series.push((service.clone(), environment.clone(), metric.clone()));
        }
    }
    let mut recently = read_series(app, &series, SPARK, &mut notes).await;
    let items = page
        .into_iter()
        .map(|key| {
            let all = seen.metrics(&key.0, key.1.as_deref()).len();
            let metrics = recently.remove(&key).unwrap_or_default();
            let mut row = service_now(key, metrics, &catalogue, &open);
            row.more_metrics = all.saturating_sub(METRICS);
            row
        })
        .collect();
    Ok(FleetView {
        items,
        next,
        services,
        environments: seen.environments,
        notes,
    })
}

/// One service.
///
/// # Errors
/// Nobody knows it, a bad parameter, or the database is away.
pub async fn service(app: &App, name: &str, params: &Params) -> Result<ServiceView, ApiError> {
    params.only(&["limit", "before"])?;
    let limit = params.number("limit", 1, 100)?.unwrap_or(10);
    let mut notes = Vec::new();
    let catalogue = catalogue(app, &mut notes).await;
    let seen = seen(app, &mut notes).await;
    let incidents = incidents_of(app, name, limit, params).await?;
    let open = open_incidents(app).await?;
    let environments: Vec<String> = seen
        .series
        .keys()
        .filter(|(service, _)| service == name)
        .map(|(_, environment)| environment.clone())
        .collect();
    let entry = catalogue.get(name).cloned();
    if entry.is_none() && environments.is_empty() && incidents.items.is_empty() {
        return Err(ApiError::not_found(
            format!("there is no service {name}"),
            match notes.first() {
                Some(note) => format!("it may exist nevertheless: {note}"),
                None => "GET /api/fleet lists those of the catalogue and of recent readings".into(),
            },
        ));
    }
    let mut series = Vec::new();
    for environment in &environments {
        let metrics = seen.metrics(name, Some(environment));
        for metric in metrics.iter().take(readings::CHARTS) {
            series.push((name.to_owned(), Some(environment.clone()), metric.clone()));
        }
    }
    let mut recently = read_series(app, &series, readings::POINTS, &mut notes).await;
    let environments = environments
        .into_iter()
        .map(|environment| {
            let all = seen.metrics(name, Some(&environment)).len();
            let key = (name.to_owned(), Some(environment));
            let metrics = recently.remove(&key).unwrap_or_default();
            let mut row = service_now(key, metrics, &catalogue, &open);
            row.more_metrics = all.saturating_sub(readings::CHARTS);
            row
        })
        .collect();
    Ok(ServiceView {
        service: name.to_owned(),
        catalogue: entry,
        environments,
        incidents,
        notes,
    })
}

/// `GET /api/fleet`.
pub async fn list(
    AppState(app): AppState<App>,
    params: Params,
) -> Result<Json<FleetView>, ApiError> {
    Ok(Json(overview(&app, &params).await?))
}

/// `GET /api/fleet/{service}`.
pub async fn one(
    AppState(app): AppState<App>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Json<ServiceView>, ApiError> {
    Ok(Json(service(&app, &name, &params).await?))
}

async fn incidents_of(
    app: &App,
    name: &str,
    limit: i64,
    params: &Params,
) -> Result<Page<Item>, ApiError> {
    let filter = IncidentFilter {
        service: Some(name.to_owned()),
        before: params.before_incident()?,
        ..IncidentFilter::default()
    };
    let mut items = read::incidents(&app.pool, &filter, limit + 1).await?;
    let more = items.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    if more {
        items.pop();
    }
    let next = items
        .last()
        .filter(|_| more)
        .map(crate::params::incident_key);
    let items = items.into_iter().map(Item::from).collect();
    Ok(Page { items, next })
}

async fn catalogue(app: &App, notes: &mut Vec<String>) -> Catalogue {
    match app.catalogue.read().await {
        Ok(catalogue) => catalogue,
        Err(problem) => {
            notes.push(format!(
                "The service catalogue is not known here, so teams and criticality are missing: {problem}."
            ));
            Catalogue::default()
        }
    }
}

async fn seen(app: &App, notes: &mut Vec<String>) -> Seen {
    match app.recent.seen().await {
        Ok(seen) => {
            if seen.truncated {
                notes.push(format!(
                    "There are more than {} series in one environment; some services are missing.",
                    readings::SERIES
                ));
            }
            seen
        }
        Err(problem) => {
            notes.push(format!(
                "Recent readings are not known: {problem}. Only the catalogue and incidents are shown."
            ));
            Seen::default()
        }
    }
}

async fn read_series(
    app: &App,
    series: &[(String, Option<String>, String)],
    points: usize,
    notes: &mut Vec<String>,
) -> BTreeMap<Key, Vec<MetricNow>> {
    match app.recent.series(series, points, clock::now_ms()).await {
        Ok(found) => found,
        Err(problem) => {
            notes.push(format!("Recent readings are not known: {problem}."));
            BTreeMap::new()
        }
    }
}

async fn open_incidents(app: &App) -> Result<Vec<IncidentSummary>, ApiError> {
    let filter = IncidentFilter {
        status: Some("OPEN".to_owned()),
        ..IncidentFilter::default()
    };
    Ok(read::incidents(&app.pool, &filter, OPEN).await?)
}

fn service_now(
    (service, environment): Key,
    metrics: Vec<MetricNow>,
    catalogue: &Catalogue,
    open: &[IncidentSummary],
) -> ServiceNow {
    let entry = catalogue.get(&service);
    let said = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let concerns = |incident: &&IncidentSummary| {
        let named = incident.affected_services.as_array();
        named.is_some_and(|names| names.iter().any(|name| name == service.as_str()))
            && environment
                .as_ref()
                .is_none_or(|here| incident.environment == *here)
    };
    ServiceNow {
        state: metrics
            .iter()
            .map(|metric| metric.state)
            .max()
            .unwrap_or(State::NoData),
        in_catalogue: entry.is_some(),
        team: entry.and_then(|entry| said(&entry.team)),
        criticality: entry.and_then(|entry| said(&entry.criticality)),
        open_incidents: open
            .iter()
            .filter(concerns)
            .map(|incident| OpenIncident {
                id: incident.id,
                short_id: incident.short_id.clone(),
                severity: incident.severity.clone(),
                status: incident.status.clone(),
                anomaly_type: incident.anomaly_type.clone(),
            })
            .collect(),
        service,
        environment,
        metrics,
        more_metrics: 0,
    }
}

/// The line break stands between service and environment: names hold none,
/// and it sorts before everything that they hold.
fn key_text((service, environment): &Key) -> String {
    match environment {
        Some(environment) => format!("{service}\n{environment}"),
        None => service.clone(),
    }
}

fn key_of(text: &str) -> Key {
    match text.split_once('\n') {
        Some((service, environment)) => (service.to_owned(), Some(environment.to_owned())),
        None => (text.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_key_survives_slashes_and_tells_environments_apart() {
        for key in [
            ("host/a b".to_owned(), Some("local".to_owned())),
            ("<img src=x>".to_owned(), None),
        ] {
            assert_eq!(key_of(&key_text(&key)), key);
        }
    }
}
