//! Payload paths (`a.b`, `steps[].risk`, `steps[0]`, `"dotted.name"`) and payload selection.

use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::with_payload_selector::SelectorOptions;
use qdrant_client::qdrant::{ListValue, Struct, Value, WithPayloadSelector};

use crate::filter::Payload;
use crate::store::StoreError;

/// Where in a payload a condition looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPath {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(String),
    Element(usize),
    Elements,
}

impl FieldPath {
    /// Reads a path as Qdrant writes it.
    ///
    /// # Errors
    /// `Invalid` for empty names, open quotes and unreadable indices.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let invalid = || StoreError::Invalid(format!("`{text}` is not a payload path"));
        let mut steps = Vec::new();
        let mut rest = text;
        loop {
            let name;
            if let Some(quoted) = rest.strip_prefix('"') {
                (name, rest) = quoted.split_once('"').ok_or_else(invalid)?;
            } else {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                (name, rest) = rest.split_at(end);
            }
            if name.is_empty() {
                return Err(invalid());
            }
            steps.push(Step::Field(name.to_owned()));
            while let Some(indexed) = rest.strip_prefix('[') {
                let (index, after) = indexed.split_once(']').ok_or_else(invalid)?;
                rest = after;
                steps.push(match index {
                    "" => Step::Elements,
                    number => Step::Element(number.parse().map_err(|_| invalid())?),
                });
            }
            match rest.strip_prefix('.') {
                Some(after) => rest = after,
                None if rest.is_empty() => return Ok(Self { steps }),
                None => return Err(invalid()),
            }
        }
    }

    /// Every value under this path; several where it crosses lists, none where a part is missing.
    pub fn values<'payload>(&self, payload: &'payload Payload) -> Vec<&'payload Value> {
        let mut found = Vec::new();
        if let Some((Step::Field(name), rest)) = self.steps.split_first()
            && let Some(value) = payload.get(name)
        {
            collect(value, rest, &mut found);
        }
        found
    }
}

fn collect<'payload>(value: &'payload Value, steps: &[Step], found: &mut Vec<&'payload Value>) {
    let Some((step, rest)) = steps.split_first() else {
        found.push(value);
        return;
    };
    match (step, &value.kind) {
        (Step::Field(name), Some(Kind::StructValue(fields))) => {
            if let Some(inner) = fields.fields.get(name) {
                collect(inner, rest, found);
            }
        }
        (Step::Element(index), Some(Kind::ListValue(list))) => {
            if let Some(inner) = list.values.get(*index) {
                collect(inner, rest, found);
            }
        }
        (Step::Elements, Some(Kind::ListValue(list))) => {
            for inner in &list.values {
                collect(inner, rest, found);
            }
        }
        _ => {}
    }
}

/// Which part of a payload a reply carries.
#[derive(Debug)]
pub enum PayloadChoice {
    /// All of it.
    All,
    /// None of it.
    Nothing,
    /// Only what lies under these dotted names.
    Only(Vec<Vec<String>>),
    /// Everything but what lies under these dotted names.
    Without(Vec<Vec<String>>),
}

impl PayloadChoice {
    /// Reads the selector; `default` says what a request without one gets.
    pub fn parse(selector: Option<WithPayloadSelector>, default: bool) -> Self {
        let split = |names: Vec<String>| {
            let parts = |name: &String| name.split('.').map(str::to_owned).collect();
            names.iter().map(parts).collect()
        };
        match selector.and_then(|selector| selector.selector_options) {
            Some(SelectorOptions::Enable(true)) => Self::All,
            Some(SelectorOptions::Enable(false)) => Self::Nothing,
            Some(SelectorOptions::Include(list)) => Self::Only(split(list.fields)),
            Some(SelectorOptions::Exclude(list)) => Self::Without(split(list.fields)),
            None if default => Self::All,
            None => Self::Nothing,
        }
    }

    /// The chosen part of one payload.
    pub fn apply(&self, payload: &Payload) -> Payload {
        match self {
            Self::All => payload.clone(),
            Self::Nothing => Payload::new(),
            Self::Only(paths) => project(payload, &slices(paths), true),
            Self::Without(paths) => project(payload, &slices(paths), false),
        }
    }
}

fn slices(paths: &[Vec<String>]) -> Vec<&[String]> {
    paths.iter().map(Vec::as_slice).collect()
}

/// Keeps (or drops) what lies under the paths, descending into objects and lists of objects.
fn project(fields: &Payload, paths: &[&[String]], keep: bool) -> Payload {
    let mut chosen = Payload::new();
    for (name, value) in fields {
        let inner: Vec<&[String]> = paths
            .iter()
            .filter_map(|path| path.split_first().filter(|(first, _)| *first == name))
            .map(|(_, rest)| rest)
            .collect();
        let named_whole = inner.iter().any(|rest| rest.is_empty());
        let part = match (inner.is_empty(), named_whole) {
            (true, _) => (!keep).then(|| value.clone()),
            (_, true) => keep.then(|| value.clone()),
            _ => project_value(value, &inner, keep),
        };
        if let Some(part) = part {
            chosen.insert(name.clone(), part);
        }
    }
    chosen
}

fn project_value(value: &Value, paths: &[&[String]], keep: bool) -> Option<Value> {
    let kind = match &value.kind {
        Some(Kind::StructValue(fields)) => Kind::StructValue(Struct {
            fields: project(&fields.fields, paths, keep),
        }),
        Some(Kind::ListValue(list)) => Kind::ListValue(ListValue {
            values: list
                .values
                .iter()
                .filter_map(|element| project_value(element, paths, keep))
                .collect(),
        }),
        // The path leads into a plain value: there is nothing to keep and nothing to drop.
        _ => return (!keep).then(|| value.clone()),
    };
    Some(Value { kind: Some(kind) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value as Json, json};

    fn payload(value: Json) -> Payload {
        qdrant_client::Payload::try_from(value).unwrap().into()
    }

    #[test]
    fn paths_reach_objects_lists_and_quoted_names() {
        let record = payload(json!({"a": {"b": [{"c": 1}, {"c": 2}]}, "x.y": 3}));
        let count = |path: &str| FieldPath::parse(path).unwrap().values(&record).len();
        assert_eq!(count("a.b[].c"), 2);
        assert_eq!(count("a.b[1].c"), 1);
        assert_eq!(count("a.b[2].c"), 0);
        assert_eq!(count("a.b.c"), 0);
        assert_eq!(count("\"x.y\""), 1);
        assert_eq!(count("x.y"), 0);
        for malformed in ["", "a.", ".a", "a[", "a[x]", "\"a", "a[0]b"] {
            assert!(FieldPath::parse(malformed).is_err(), "{malformed}");
        }
    }

    #[test]
    fn selection_keeps_and_drops_nested_fields() {
        let record =
            payload(json!({"text": "t", "meta": {"a": 1, "b": 2}, "list": [{"a": 1, "b": 2}]}));
        let names = || {
            vec![
                vec!["meta".into(), "a".into()],
                vec!["list".into(), "b".into()],
            ]
        };
        let only = PayloadChoice::Only(names()).apply(&record);
        assert_eq!(only, payload(json!({"meta": {"a": 1}, "list": [{"b": 2}]})));
        let without = PayloadChoice::Without(names()).apply(&record);
        assert_eq!(
            without,
            payload(json!({"text": "t", "meta": {"b": 2}, "list": [{"a": 1}]}))
        );
    }
}
