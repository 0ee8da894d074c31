//! The incidents' records and graphs, in memory instead of PostgreSQL.

use super::memory::Memory;
use midwatch_clients::postgres::KeptRecord;
use midwatch_correlation::records::{TOTAL, Text, Window, answer};
use midwatch_correlation::table::ContextTable;
use midwatch_events::artifact::Artifact;
use midwatch_events::more::Members;
use midwatch_investigation::decide::facts::Known;
use midwatch_investigation::decide::gathered;
use midwatch_runtime::Projection;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use uuid::Uuid;

/// Incidents whose records are held at a time. Fewer are ever open, unless
/// something never ends; the oldest lose their records then.
const HELD: usize = 64;

/// Where recent readings and the context are read.
pub(super) type Reading<'a> = (&'a Memory, &'a ContextTable);

/// The records of one incident, by time and id, and the graph around it.
#[derive(Default)]
struct Held {
    records: BTreeMap<(i64, String), KeptRecord>,
    ids: BTreeSet<String>,
    known: gathered::Known,
}

#[derive(Default)]
pub(super) struct Shelf {
    held: BTreeMap<Uuid, Held>,
    order: VecDeque<Uuid>,
    /// What the knowledge store would find.
    past: Known,
    /// What was concluded, where somebody asked for it.
    artifacts: Option<Vec<Artifact>>,
}

impl Shelf {
    /// From now on every investigation finds this, and what it concludes is
    /// kept.
    pub fn know(&mut self, past: Known) {
        self.past = past;
        self.artifacts.get_or_insert_default();
    }

    /// What was concluded since the last look, where that is kept.
    pub fn take_artifacts(&mut self) -> Vec<Artifact> {
        self.artifacts
            .as_mut()
            .map_or_else(Vec::new, std::mem::take)
    }

    /// Takes in the part of the incident's row that the investigation reads.
    pub fn project(&mut self, projection: Projection) {
        if let (Projection::Artifacts { artifacts, .. }, Some(kept)) =
            (&projection, &mut self.artifacts)
        {
            kept.extend_from_slice(artifacts);
        }
        let (Projection::Open {
            header,
            correlation_context: context,
            ..
        }
        | Projection::Correlate {
            header,
            correlation_context: context,
            ..
        }) = projection
        else {
            return;
        };
        let known = gathered::Known::read(&context);
        self.hold(header.incident_id).known = known.unwrap_or_default();
    }

    fn hold(&mut self, id: Uuid) -> &mut Held {
        if !self.held.contains_key(&id) {
            self.order.push_back(id);
            if self.order.len() > HELD
                && let Some(oldest) = self.order.pop_front()
            {
                self.held.remove(&oldest);
            }
        }
        self.held.entry(id).or_default()
    }

    pub fn forget(&mut self, id: Uuid) {
        self.held.remove(&id);
        self.order.retain(|held| *held != id);
    }

    /// Keeps the records that correlation's shell copies into PostgreSQL.
    pub fn copy(
        &mut self,
        payload: &Value,
        deployment_window_ms: i64,
        wall_ms: i64,
        (memory, table): Reading<'_>,
    ) -> Result<Value, String> {
        let window: Window =
            serde_json::from_value(payload.clone()).map_err(|error| error.to_string())?;
        let mut kept = window.anomaly_records();
        kept.extend(window.change_records(table, deployment_window_ms));
        let environment = window.environment.as_str();
        for service in &window.services {
            for metric in memory.series(environment, service) {
                let series = (environment, service.as_str(), metric);
                let readings = memory.readings(series, window.from_ms, wall_ms);
                kept.extend(window.metric_records(service, metric, &readings));
            }
            let lines = memory.lines(environment, service, window.from_ms, wall_ms);
            kept.extend(window.text_records(service, Text::Log, &lines));
            let spans = memory.spans(environment, service, window.from_ms, wall_ms);
            kept.extend(window.text_records(service, Text::Span, &spans));
        }
        let held = self.hold(window.incident_id);
        let found = answer(&window, &kept);
        let chosen = window.choose(kept, &held.ids);
        let answered = chosen.answer(found);
        for record in chosen.kept {
            // What is there stays as it is, as in PostgreSQL.
            if held.ids.insert(record.record_id.clone()) {
                let key = (record.at_ms, record.record_id.clone());
                held.records.insert(key, record);
            }
        }
        Ok(answered)
    }

    /// The facts that the investigation's shell gathers; of the knowledge store
    /// what is given.
    pub fn gather(&mut self, payload: &Value) -> Result<Value, String> {
        let read = |name: &str| payload[name].clone();
        let id: Uuid =
            serde_json::from_value(read("incident_id")).map_err(|error| error.to_string())?;
        let Members(anomalies) =
            serde_json::from_value(read("anomalies")).map_err(|error| error.to_string())?;
        let held = self.hold(id);
        // As many as the investigation reads from PostgreSQL.
        let kept: Vec<KeptRecord> = held.records.values().take(TOTAL).cloned().collect();
        let known = gathered::Known {
            earlier: serde_json::from_value(read("elsewhere")).unwrap_or_default(),
            ..held.known.clone()
        };
        let mut facts = gathered::facts(&kept, &anomalies, known);
        facts.similar.clone_from(&self.past.similar);
        facts.precedents.clone_from(&self.past.precedents);
        facts.guides.clone_from(&self.past.guides);
        serde_json::to_value(facts).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_the_oldest_incidents_give_way() {
        let mut shelf = Shelf::default();
        for number in 0..100 {
            shelf.hold(Uuid::from_u128(number));
        }
        shelf.forget(Uuid::from_u128(99));
        let left: Vec<u128> = shelf.held.keys().map(Uuid::as_u128).collect();
        assert_eq!(left, (36..99).collect::<Vec<u128>>());
        assert_eq!(shelf.order.len(), 63);
    }
}
