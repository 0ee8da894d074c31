//! What one partition knows, and how it is put away and fetched again.
//!
//! The state is a set of fields, each with a JSON value of its own, so that a
//! checkpoint writes what changed and nothing else. It comes out in pieces
//! while decisions go on ([`PartitionState::freeze`]).

use crate::decide::budget::Budget;
use crate::decide::clock::{EventClock, SourceClock, Standing};
use crate::decide::occurrences::Occurrences;
use crate::decide::rules::ErrorCount;
use crate::decide::spans::SpanStatistics;
use crate::decide::table::{SeriesName, Table};
use crate::decide::templates::{Learning, Templates};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A stored field's value, or `None` where the field is to be deleted.
pub type Change = (String, Option<String>);

/// A field that cannot be read back.
#[derive(Debug, thiserror::Error)]
#[error("the stored field {field} is not readable: {reason}")]
pub struct RestoreError {
    pub field: String,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Field {
    Clock(String),
    /// Environment, service, series. Never among the changed fields: the
    /// table keeps its own list.
    Series(String, String, String),
    /// Environment, service.
    Rules(String, String),
    Spans(String, String),
    /// Of a service with rules: larger than those, and changed less often.
    Templates(String, String),
    Budget(String, String),
}

/// The key of a series' field: a [`Field`] of borrowed names.
#[derive(Serialize)]
pub(super) enum Key<'a> {
    Series(&'a str, &'a str, &'a str),
}

/// The findings of one service, by rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ServiceRules {
    pub rules: BTreeMap<String, Occurrences>,
    pub errors: ErrorCount,
    #[serde(default)]
    pub heard: SourceClock,
    #[serde(default)]
    pub learning: Learning,
    /// A field of its own; none before the first line that no rule knows.
    #[serde(skip)]
    pub templates: Option<Box<Templates>>,
}

impl ServiceRules {
    /// Takes in the time of a record; returns how much older it is than the
    /// service's newest, milliseconds, and whether the source's clock was set
    /// back. Counts that the times from before would spoil begin anew then.
    pub fn hear(&mut self, at_ms: i64, wall_ms: i64, silence_ms: i64) -> (i64, bool) {
        match self.heard.hear(at_ms, wall_ms, silence_ms) {
            Standing::Aged(age_ms) => (age_ms, false),
            Standing::SetBack => {
                self.errors.set_back();
                for occurrences in self.rules.values_mut() {
                    occurrences.set_back();
                }
                if let Some(templates) = &mut self.templates {
                    templates.set_back();
                }
                (0, true)
            }
        }
    }
}

/// One environment as one partition sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    pub clock: EventClock,
    /// Whether the clock is among the changed fields already.
    pub dirty: bool,
    pub series: Table,
    pub rules: BTreeMap<String, ServiceRules>,
    pub spans: BTreeMap<String, SpanStatistics>,
    /// Of services with an objective.
    pub budgets: BTreeMap<String, Budget>,
}

/// Everything that detection knows about one partition of one topic.
#[derive(Clone, Debug, Default)]
pub struct PartitionState {
    pub(super) environments: BTreeMap<String, Environment>,
    pub(super) series_count: usize,
    /// Fields that changed, other than series.
    pub(super) changed: BTreeSet<Field>,
    /// Changed fields of environments that were dropped since the freeze.
    pub(super) left: Vec<Change>,
    /// Frozen fields that are written down already.
    pub(super) early: Vec<Change>,
}

impl PartitionState {
    /// The number of series.
    #[must_use]
    pub fn series_count(&self) -> usize {
        self.series_count
    }

    /// The latest event time of each environment, epoch milliseconds.
    pub fn watermarks(&self) -> impl Iterator<Item = (&str, i64)> {
        self.environments
            .iter()
            .map(|(name, known)| (name.as_str(), known.clock.watermark_ms()))
    }

    /// Whether anything changed since the last freeze.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        !self.changed.is_empty()
            || self
                .environments
                .values()
                .any(|known| known.series.has_changes())
    }

    /// Holds on to the present state of everything that changed since the last
    /// time, to be given out in pieces; how many fields that is at most. What
    /// was frozen before must have been given out, or nothing happens.
    pub fn freeze(&mut self) -> usize {
        if self.frozen() > 0 {
            return self.frozen();
        }
        let changed = std::mem::take(&mut self.changed);
        for field in &changed {
            if let Field::Clock(environment) = field
                && let Some(known) = self.environments.get_mut(environment)
            {
                known.dirty = false;
            }
        }
        self.early.append(&mut self.left);
        let values = changed.iter().map(|field| (json(field), self.value(field)));
        let values: Vec<Change> = values.collect();
        self.early.extend(values);
        for known in self.environments.values_mut() {
            known.series.freeze();
        }
        self.frozen()
    }

    /// How many frozen fields are still to be given out, at most.
    #[must_use]
    pub fn frozen(&self) -> usize {
        let tables = self.environments.values();
        self.early.len() + tables.map(|known| known.series.frozen()).sum::<usize>()
    }

    /// How many frozen fields changed before they were given out: these are
    /// held twice, and the caller should take pieces before they are many.
    #[must_use]
    pub fn held_twice(&self) -> usize {
        let tables = self.environments.values();
        self.early.len() + tables.map(|known| known.series.early()).sum::<usize>()
    }

    /// The next frozen fields, at most `size`; fewer do not mean the end, for
    /// which see [`PartitionState::frozen`]. A field may come twice, in order.
    pub fn piece(&mut self, size: usize) -> Vec<Change> {
        let mut piece: Vec<Change> = Vec::with_capacity(size.min(self.frozen()));
        let early = self.early.len().min(size);
        piece.extend(self.early.drain(..early));
        for known in self.environments.values_mut() {
            known.series.piece(size - piece.len(), &mut piece);
        }
        piece
    }

    /// The fields that changed since the last call, all at once.
    pub fn take_changes(&mut self) -> Vec<Change> {
        self.freeze();
        let mut changes = Vec::new();
        while self.frozen() > 0 {
            changes.append(&mut self.piece(usize::MAX));
        }
        changes
    }

    /// Every field as it is stored, environment by environment.
    #[must_use]
    pub fn dump(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for (environment, known) in &self.environments {
            let mut fields = vec![Field::Clock(environment.clone())];
            let rules = known.rules.keys();
            fields.extend(rules.map(|service| Field::Rules(environment.clone(), service.clone())));
            let rules = known.rules.keys();
            let templates =
                rules.map(|service| Field::Templates(environment.clone(), service.clone()));
            fields.extend(templates);
            let spans = known.spans.keys();
            fields.extend(spans.map(|service| Field::Spans(environment.clone(), service.clone())));
            let budgets = known.budgets.keys();
            fields
                .extend(budgets.map(|service| Field::Budget(environment.clone(), service.clone())));
            all.extend(
                fields
                    .iter()
                    .filter_map(|field| Some((json(field), self.value(field)?))),
            );
            all.extend(known.series.dump());
        }
        all
    }

    /// The state of these fields.
    ///
    /// # Errors
    /// Names the field that is not readable.
    pub fn restore(
        fields: impl IntoIterator<Item = (String, String)>,
    ) -> Result<PartitionState, RestoreError> {
        let mut state = PartitionState::default();
        for (field, value) in fields {
            state.put(&field, &value)?;
        }
        Ok(state)
    }

    /// Takes in a stored field of a state that is being restored; the same one
    /// may come twice.
    ///
    /// # Errors
    /// The field is not readable.
    pub fn put(&mut self, text: &str, value: &str) -> Result<(), RestoreError> {
        match parse(text, text)? {
            Field::Clock(environment) => {
                self.environments.entry(environment).or_default().clock = parse(text, value)?;
            }
            Field::Series(environment, service, series) => {
                let name = SeriesName::new(&environment, &service, &series);
                let known = self.environments.entry(environment).or_default();
                if known.series.find(&service, &series).is_none() {
                    known.series.insert(name, parse(text, value)?);
                    self.series_count += 1;
                }
            }
            Field::Rules(environment, service) => {
                let known = self.environments.entry(environment).or_default();
                let mut rules: ServiceRules = parse(text, value)?;
                let known = known.rules.entry(service).or_default();
                rules.templates = known.templates.take();
                *known = rules;
            }
            Field::Templates(environment, service) => {
                let known = self.environments.entry(environment).or_default();
                let known = known.rules.entry(service).or_default();
                known.templates = Some(parse(text, value)?);
            }
            Field::Spans(environment, service) => {
                let known = self.environments.entry(environment).or_default();
                known.spans.insert(service, parse(text, value)?);
            }
            Field::Budget(environment, service) => {
                let known = self.environments.entry(environment).or_default();
                known.budgets.insert(service, parse(text, value)?);
            }
        }
        Ok(())
    }

    fn value(&self, field: &Field) -> Option<String> {
        match field {
            Field::Clock(environment) => Some(json(&self.environments.get(environment)?.clock)),
            // The table gives these out itself.
            Field::Series(..) => None,
            Field::Rules(environment, service) => Some(json(
                self.environments.get(environment)?.rules.get(service)?,
            )),
            Field::Spans(environment, service) => Some(json(
                self.environments.get(environment)?.spans.get(service)?,
            )),
            Field::Budget(environment, service) => Some(json(
                self.environments.get(environment)?.budgets.get(service)?,
            )),
            Field::Templates(environment, service) => {
                let known = self.environments.get(environment)?.rules.get(service)?;
                known.templates.as_ref().map(json)
            }
        }
    }
}

pub(super) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value)
        .expect("state types encode as JSON: string keys and finite numbers")
}

fn parse<T: DeserializeOwned>(field: &str, text: &str) -> Result<T, RestoreError> {
    serde_json::from_str(text).map_err(|error| RestoreError {
        field: field.to_owned(),
        reason: error.to_string(),
    })
}
