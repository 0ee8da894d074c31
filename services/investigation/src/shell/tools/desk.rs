//! Answers the tools from what was gathered. Every record that an answer shows has an id, and is
//! noted as shown only when it was.

use super::{Library, MORE};
use crate::decide::advice::{Request, Scene, Shown, TEXT_LIMIT};
use crate::decide::facts::Facts;
use midwatch_clients::llm::fence;
use midwatch_clients::postgres::KeptRecord;
use midwatch_events::incident::EvidenceKind;
use midwatch_events::topology::Call;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::OnceCell;

/// The largest tool result, characters; the rest waits behind a handle. Eight results of a round
/// then still fit a small model's context.
const RESULT_LIMIT: usize = 4_000;
/// A store that takes longer is treated as away.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// One row of an answer and the records that it shows.
#[derive(Clone, Debug)]
pub struct Row {
    value: Value,
    shown: Vec<(String, Shown)>,
}

/// What a tool gives.
#[derive(Clone, Debug)]
pub enum Answer {
    Rows {
        rows: Vec<Row>,
        /// What could not be looked at.
        note: Option<String>,
    },
    /// Why there is nothing.
    Refused(String),
}

/// What the tools look at.
pub struct Desk<'a> {
    request: &'a Request,
    scene: &'a Scene,
    facts: Facts,
    library: &'a dyn Library,
    records: OnceCell<Result<Vec<KeptRecord>, String>>,
    /// Rows that were cut off, by handle.
    rest: BTreeMap<String, Vec<Row>>,
}

/// A row of one record: its id and time come first, then what it shows.
fn record(id: &str, shown: Shown, mut fields: Value) -> Row {
    fields["id"] = json!(id);
    if shown.at_ms > 0 {
        fields["at_ms"] = json!(shown.at_ms);
    }
    Row {
        value: fields,
        shown: vec![(id.to_owned(), shown)],
    }
}

fn clean(text: &str) -> String {
    fence::untrusted(text, TEXT_LIMIT)
}

fn foreign(kind: EvidenceKind, service: &str, at_ms: i64, text: String) -> Shown {
    Shown {
        foreign: text,
        ..Shown::new(kind, service, at_ms)
    }
}

async fn within<T>(read: impl Future<Output = anyhow::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(READ_LIMIT, read).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(_) => Err(format!("no answer within {} s", READ_LIMIT.as_secs())),
    }
}

impl<'a> Desk<'a> {
    /// A desk for one investigation.
    #[must_use]
    pub fn new(request: &'a Request, scene: &'a Scene, library: &'a dyn Library) -> Desk<'a> {
        Desk {
            request,
            scene,
            facts: request.facts.clone().unwrap_or_default(),
            library,
            records: OnceCell::new(),
            rest: BTreeMap::new(),
        }
    }

    /// Looks up one call, whose arguments satisfy the tool's schema.
    pub async fn look(&self, name: &str, arguments: &Value) -> Answer {
        let text = |field: &str| {
            let text = arguments[field].as_str().map(str::trim);
            text.filter(|text| !text.is_empty())
        };
        let service = text("service");
        if let Some(unknown) = service.filter(|name| !self.scene.services.contains(*name)) {
            let known: Vec<&str> = self.scene.services.iter().map(String::as_str).collect();
            let known = known.join(", ");
            return Answer::Refused(format!(
                "there is no service {unknown:?} here; the services are: {known}"
            ));
        }
        let rows = |rows: Vec<Row>| Answer::Rows { rows, note: None };
        match name {
            "search_similar_incidents" => self.similar(text("query").unwrap_or_default()).await,
            "get_runbooks" => self.runbooks(text("query"), text("cause")).await,
            "get_service_architecture" => rows(self.architecture(service)),
            "query_metrics" => self.metrics(service, arguments).await,
            "search_logs" => self.logs(service, text("contains"), text("level")).await,
            "get_deployments" => rows(self.deployments(service)),
            "get_kubernetes_state" => self.nearest(self.kubernetes(service)),
            "compare_candidates" => rows(self.candidates(&arguments["services"])),
            MORE => match self.rest.get(text("handle").unwrap_or_default()) {
                Some(rest) => rows(rest.clone()),
                None => Answer::Refused(format!(
                    "there is no such handle; the handles are: {}",
                    self.rest.keys().cloned().collect::<Vec<_>>().join(", ")
                )),
            },
            other => Answer::Refused(format!("there is no tool {other}")),
        }
    }

    /// The answer as JSON, as many rows as fit; notes what it shows and keeps the rest.
    pub fn tell(&mut self, answer: Answer, shown: &mut BTreeMap<String, Shown>) -> String {
        let (rows, note) = match answer {
            Answer::Rows { rows, note } => (rows, note),
            Answer::Refused(error) => return json!({"error": error}).to_string(),
        };
        let mut rows = rows.into_iter();
        let mut kept = Vec::new();
        let mut size = 0;
        let mut rest = Vec::new();
        for mut row in rows.by_ref() {
            fence::untrusted_json(&mut row.value, TEXT_LIMIT);
            size += row.value.to_string().chars().count();
            if size > RESULT_LIMIT && !kept.is_empty() {
                rest.push(row);
                break;
            }
            shown.extend(row.shown);
            kept.push(row.value);
        }
        rest.extend(rows);
        let mut told = json!({"rows": kept});
        if let Some(note) = note {
            told["note"] = json!(note);
        }
        if !rest.is_empty() {
            let handle = format!("rest-{}", self.rest.len() + 1);
            told["left_out"] = json!(rest.len());
            told["handle"] = json!(handle);
            self.rest.insert(handle, rest);
        }
        told.to_string()
    }

    /// Single records, those nearest to the onset first: of many only the first
    /// are shown at once, and in order of time those say how all was well.
    fn nearest(&self, mut rows: Vec<Row>) -> Answer {
        let first = self.scene.onsets.values().min().copied();
        let mut note = None;
        if let Some(onset_ms) = first.or(self.scene.symptom_ms).filter(|_| rows.len() > 1) {
            rows.sort_by_key(|row| {
                let times = row.shown.iter().map(|(_, shown)| shown.at_ms);
                let apart = times.map(|at_ms| at_ms.saturating_sub(onset_ms).saturating_abs());
                apart.min()
            });
            note = Some("those nearest to the first onset come first".to_owned());
        }
        Answer::Rows { rows, note }
    }

    async fn records(&self) -> Result<&[KeptRecord], String> {
        let read = self.records.get_or_init(|| within(self.library.records()));
        match read.await {
            Ok(records) => Ok(records),
            Err(error) => Err(format!("the single records cannot be read: {error}")),
        }
    }

    async fn similar(&self, query: &str) -> Answer {
        let (found, note) = match within(self.library.similar(query)).await {
            Ok(found) => (found, None),
            Err(error) => {
                let note = format!(
                    "the search failed ({error}); these were found for the incident's title"
                );
                (self.facts.similar.clone(), Some(note))
            }
        };
        let rows = found.iter().map(|hit| {
            let words = [&hit.title, &hit.root_cause, &hit.resolution].map(|text| clean(text));
            let shown = Shown {
                readings: vec![
                    (String::new(), hit.score),
                    ("minutes".to_owned(), hit.mttr_minutes),
                ],
                ..foreign(EvidenceKind::Incident, "", 0, words.join(" ; "))
            };
            let [title, cause, resolution] = words;
            record(
                &hit.incident_id,
                shown,
                json!({"title": title, "similarity": hit.score,
                "root_cause": cause, "resolution": resolution, "mttr_minutes": hit.mttr_minutes}),
            )
        });
        Answer::Rows {
            rows: rows.collect(),
            note,
        }
    }

    async fn runbooks(&self, query: Option<&str>, cause: Option<&str>) -> Answer {
        let words = match (query, cause) {
            (None, None) => self.request.title.clone(),
            _ => [query, cause]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(" "),
        };
        match within(self.library.sections(&words, cause)).await {
            Ok(found) => {
                let rows = found.iter().map(|section| {
                    let text = clean(&section.text);
                    let shown = foreign(EvidenceKind::Runbook, "", 0, text.clone());
                    record(
                        &section.id,
                        shown,
                        json!({"text": text, "similarity": section.score}),
                    )
                });
                Answer::Rows {
                    rows: rows.collect(),
                    note: None,
                }
            }
            Err(error) => {
                let rows = self.facts.runbooks.iter().map(|(id, score)| {
                    let shown = foreign(EvidenceKind::Runbook, "", 0, clean(id));
                    record(id, shown, json!({"similarity": score}))
                });
                Answer::Rows {
                    rows: rows.collect(),
                    note: Some(format!(
                        "the search failed ({error}); these were found for the incident's title"
                    )),
                }
            }
        }
    }

    fn architecture(&self, service: Option<&str>) -> Vec<Row> {
        let near = |name: &str| service.is_none_or(|service| service == name);
        let edges = self.facts.edges.iter();
        edges
            .filter(|Call(caller, callee, _)| near(caller) || near(callee))
            .map(|Call(caller, callee, sources)| Row {
                // When each source last showed it; 0 where nobody dates it.
                value: json!({"caller": caller, "callee": callee, "known_from": sources}),
                shown: Vec::new(),
            })
            .collect()
    }

    async fn metrics(&self, service: Option<&str>, arguments: &Value) -> Answer {
        let metric = arguments["metric"].as_str().filter(|name| !name.is_empty());
        let (from, to) = (arguments["from_ms"].as_i64(), arguments["to_ms"].as_i64());
        let fits = |name: &str, of: &str| {
            metric.is_none_or(|metric| metric == name) && service.is_none_or(|one| one == of)
        };
        let mut note = None;
        if metric.is_some() || from.is_some() || to.is_some() {
            match self.records().await {
                Ok(records) => {
                    let readings = records.iter().filter(|one| {
                        one.kind == "metric"
                            && fits(&one.name, &one.service)
                            && from.is_none_or(|from| one.at_ms >= from)
                            && to.is_none_or(|to| one.at_ms <= to)
                    });
                    let rows: Vec<Row> = readings.filter_map(reading).collect();
                    if !rows.is_empty() {
                        return self.nearest(rows);
                    }
                    note = Some("there are no such readings; the series are:".to_owned());
                }
                Err(error) => note = Some(error),
            }
        }
        let series = self.facts.series.iter();
        let rows = series
            .filter(|series| match note {
                // What is there, for a name that is not.
                Some(_) => service.is_none_or(|one| one == series.service),
                None => fits(&series.metric, &series.service),
            })
            .map(|series| {
                let metric = &series.metric;
                let shown = Shown {
                    readings: vec![
                        (metric.clone(), series.before),
                        (metric.clone(), series.extreme),
                    ],
                    ..Shown::new(EvidenceKind::Metric, &series.service, series.at_ms)
                };
                record(&series.record_id, shown, json!({"service": series.service,
                    "metric": metric, "mean_before": series.before, "extreme_since": series.extreme}))
            });
        let rows = rows.collect();
        Answer::Rows { rows, note }
    }

    async fn logs(
        &self,
        service: Option<&str>,
        contains: Option<&str>,
        level: Option<&str>,
    ) -> Answer {
        let fits = |of: &str, text: &str, at: &str| {
            service.is_none_or(|one| one == of)
                && level.is_none_or(|level| level == at)
                && contains.is_none_or(|words| text.to_lowercase().contains(&words.to_lowercase()))
        };
        let mut note = None;
        if contains.is_some() || level.is_some() {
            match self.records().await {
                Ok(records) => {
                    let lines = records.iter().filter(|one| {
                        one.kind == "log" && fits(&one.service, &one.text, &one.name)
                    });
                    let rows = lines.map(|line| {
                        let text = clean(&line.text);
                        let shown =
                            foreign(EvidenceKind::Log, &line.service, line.at_ms, text.clone());
                        record(
                            &line.record_id,
                            shown,
                            json!({"service": line.service,
                            "level": line.name, "message": text}),
                        )
                    });
                    return self.nearest(rows.collect());
                }
                Err(error) => note = Some(error),
            }
        }
        let lines = self.facts.logs.iter();
        let lines = lines.filter(|line| fits(&line.service, &line.message, &line.level));
        let rows = lines.map(|line| {
            let text = clean(&line.message);
            let shown = Shown {
                readings: vec![(String::new(), f64::from(line.count))],
                ..foreign(EvidenceKind::Log, &line.service, line.at_ms, text.clone())
            };
            record(
                &line.record_id,
                shown,
                json!({"service": line.service, "level": line.level,
                "count": line.count, "first": text}),
            )
        });
        Answer::Rows {
            rows: rows.collect(),
            note,
        }
    }

    fn deployments(&self, service: Option<&str>) -> Vec<Row> {
        let facts = self.facts.deployments.iter();
        facts
            .filter(|fact| service.is_none_or(|one| one == fact.deployment.service))
            .map(|fact| {
                let mut document = json!(fact.deployment);
                fence::untrusted_json(&mut document, TEXT_LIMIT);
                let words: Vec<String> = strings(&document);
                let of = &fact.deployment.service;
                let at_ms = fact.deployment.timestamp_ms;
                let shown = foreign(EvidenceKind::Deployment, of, at_ms, words.join(" ; "));
                record(&fact.record_id, shown, json!({"deployment": document}))
            })
            .collect()
    }

    fn kubernetes(&self, service: Option<&str>) -> Vec<Row> {
        let events = self.facts.kubernetes.iter();
        events
            .filter(|event| service.is_none_or(|one| one == event.service))
            .map(|event| {
                let words = [&event.event_kind, &event.object, &event.text].map(|text| clean(text));
                let shown = foreign(
                    EvidenceKind::Kubernetes,
                    &event.service,
                    event.at_ms,
                    words.join(" ; "),
                );
                let [kind, object, text] = words;
                record(
                    &event.record_id,
                    shown,
                    json!({"service": event.service, "kind": kind,
                    "object": object, "text": text, "critical": event.critical}),
                )
            })
            .collect()
    }

    fn candidates(&self, services: &Value) -> Vec<Row> {
        let wanted: Vec<&str> = services
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let fits = |service: &str| wanted.is_empty() || wanted.contains(&service);
        let candidates = self.request.candidates.iter();
        let candidates = candidates
            .filter(|one| fits(&one.service))
            .map(|candidate| Row {
                value: json!({"candidate": candidate,
                "onset_ms": self.scene.onsets.get(&candidate.service)}),
                shown: candidate
                    .evidence
                    .iter()
                    .chain(&candidate.refuting)
                    .map(|record| (record.id.clone(), Shown::reference(record)))
                    .collect(),
            });
        let anomalies = self.request.anomalies.iter();
        let anomalies = anomalies.filter(|one| fits(&one.service)).map(|anomaly| {
            record(
                &anomaly.anomaly_id.to_string(),
                Shown::anomaly(anomaly),
                json!({"service": anomaly.service, "metric": anomaly.trigger_metric,
                    "observed": anomaly.observed_value, "baseline": anomaly.baseline_value,
                    "description": clean(&anomaly.description)}),
            )
        });
        candidates.chain(anomalies).collect()
    }
}

/// A single reading.
fn reading(one: &KeptRecord) -> Option<Row> {
    let value = one.value?;
    let shown = Shown {
        readings: vec![(one.name.clone(), value)],
        ..Shown::new(EvidenceKind::Metric, &one.service, one.at_ms)
    };
    let fields = json!({"service": one.service, "metric": one.name, "value": value});
    Some(record(&one.record_id, shown, fields))
}

/// Every string of a document.
fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::Object(fields) => fields.values().flat_map(strings).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}
