//! What one partition knows, and how it is put away and fetched again.
//!
//! The state is a set of fields, each with a JSON value of its own, so that a
//! checkpoint writes what changed and nothing else.

use crate::decide::clock::{EventClock, SourceClock, Standing};
use crate::decide::occurrences::Occurrences;
use crate::decide::rules::ErrorCount;
use crate::decide::series::Series;
use crate::decide::spans::SpanStatistics;
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
    /// Environment, service, series.
    Series(String, String, String),
    /// Environment, service.
    Rules(String, String),
    Spans(String, String),
}

/// The findings of one service, by rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ServiceRules {
    pub rules: BTreeMap<String, Occurrences>,
    pub errors: ErrorCount,
    #[serde(default)]
    pub heard: SourceClock,
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
    pub series: BTreeMap<String, BTreeMap<String, Series>>,
    pub rules: BTreeMap<String, ServiceRules>,
    pub spans: BTreeMap<String, SpanStatistics>,
}

/// Everything that detection knows about one partition of one topic.
#[derive(Clone, Debug, Default)]
pub struct PartitionState {
    pub(super) environments: BTreeMap<String, Environment>,
    pub(super) series_count: usize,
    pub(super) changed: BTreeSet<Field>,
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

    /// Whether anything changed since the last [`PartitionState::take_changes`].
    #[must_use]
    pub fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The fields that changed since the last call.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let changed = std::mem::take(&mut self.changed);
        for field in &changed {
            if let Field::Clock(environment) = field
                && let Some(known) = self.environments.get_mut(environment)
            {
                known.dirty = false;
            }
            if let Field::Series(environment, service, name) = field
                && let Some(series) = self
                    .environments
                    .get_mut(environment)
                    .and_then(|known| known.series.get_mut(service))
                    .and_then(|known| known.get_mut(name))
            {
                series.dirty = false;
            }
        }
        changed
            .iter()
            .map(|field| (key(field), self.value(field)))
            .collect()
    }

    /// How many fields there are.
    #[must_use]
    pub fn field_count(&self) -> usize {
        self.series_count
            + self
                .environments
                .values()
                .map(|known| 1 + known.rules.len() + known.spans.len())
                .sum::<usize>()
    }

    /// Every field, as a full rewrite stores it.
    #[must_use]
    pub fn dump(&self) -> Vec<(String, String)> {
        self.dump_in_pieces(usize::MAX).flatten().collect()
    }

    /// Every field, `size` at a time: written out, a large state is much
    /// larger than in memory.
    pub fn dump_in_pieces(&self, size: usize) -> impl Iterator<Item = Vec<(String, String)>> {
        let mut fields = self.fields().into_iter();
        std::iter::from_fn(move || {
            let piece: Vec<Field> = fields.by_ref().take(size).collect();
            (!piece.is_empty()).then_some(piece)
        })
        .map(|piece| {
            piece
                .iter()
                .filter_map(|field| Some((key(field), self.value(field)?)))
                .collect()
        })
    }

    fn fields(&self) -> Vec<Field> {
        let mut fields = Vec::new();
        for (environment, known) in &self.environments {
            fields.push(Field::Clock(environment.clone()));
            for (service, all) in &known.series {
                for name in all.keys() {
                    let (environment, service) = (environment.clone(), service.clone());
                    fields.push(Field::Series(environment, service, name.clone()));
                }
            }
            for service in known.rules.keys() {
                fields.push(Field::Rules(environment.clone(), service.clone()));
            }
            for service in known.spans.keys() {
                fields.push(Field::Spans(environment.clone(), service.clone()));
            }
        }
        fields
    }

    /// The state of these fields.
    ///
    /// # Errors
    /// Names the field that is not readable.
    pub fn restore(
        fields: impl IntoIterator<Item = (String, String)>,
    ) -> Result<PartitionState, RestoreError> {
        let mut state = PartitionState::default();
        for (text, value) in fields {
            let field: Field = parse(&text, &text)?;
            match field {
                Field::Clock(environment) => {
                    state.environments.entry(environment).or_default().clock =
                        parse(&text, &value)?;
                }
                Field::Series(environment, service, name) => {
                    let known = state.environments.entry(environment).or_default();
                    let series = parse(&text, &value)?;
                    known
                        .series
                        .entry(service)
                        .or_default()
                        .insert(name, series);
                    state.series_count += 1;
                }
                Field::Rules(environment, service) => {
                    let known = state.environments.entry(environment).or_default();
                    known.rules.insert(service, parse(&text, &value)?);
                }
                Field::Spans(environment, service) => {
                    let known = state.environments.entry(environment).or_default();
                    known.spans.insert(service, parse(&text, &value)?);
                }
            }
        }
        Ok(state)
    }

    fn value(&self, field: &Field) -> Option<String> {
        match field {
            Field::Clock(environment) => Some(json(&self.environments.get(environment)?.clock)),
            Field::Series(environment, service, name) => {
                let known = self.environments.get(environment)?;
                Some(json(known.series.get(service)?.get(name)?))
            }
            Field::Rules(environment, service) => Some(json(
                self.environments.get(environment)?.rules.get(service)?,
            )),
            Field::Spans(environment, service) => Some(json(
                self.environments.get(environment)?.spans.get(service)?,
            )),
        }
    }
}

fn key(field: &Field) -> String {
    json(field)
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value)
        .expect("state types encode as JSON: string keys and finite numbers")
}

fn parse<T: DeserializeOwned>(field: &str, text: &str) -> Result<T, RestoreError> {
    serde_json::from_str(text).map_err(|error| RestoreError {
        field: field.to_owned(),
        reason: error.to_string(),
    })
}
