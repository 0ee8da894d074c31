//! Payload filters: parsed once per request, then evaluated against each point.
//!
//! Parsing refuses what this server cannot evaluate, so that a filter never silently matches more
//! or less than Qdrant would.

use std::collections::{HashMap, HashSet};

use qdrant_client::qdrant::condition::ConditionOneOf;
use qdrant_client::qdrant::r#match::MatchValue;
use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::{Condition, FieldCondition, Filter, Range, Value, ValuesCount};

use crate::path::FieldPath;
use crate::store::{PointKey, StoreError};

/// The fields of a point, as the protocol carries them.
pub type Payload = HashMap<String, Value>;

/// A filter ready for evaluation.
#[derive(Debug, Default)]
pub struct FilterPlan {
    must: Vec<Clause>,
    should: Vec<Clause>,
    must_not: Vec<Clause>,
    min_should: Option<(Vec<Clause>, u64)>,
}

#[derive(Debug)]
enum Clause {
    Field(FieldPath, Test),
    HasId(HashSet<PointKey>),
    Nested(FilterPlan),
}

#[derive(Debug)]
enum Test {
    Empty(bool),
    Null(bool),
    Keywords(HashSet<String>),
    Integers(HashSet<i64>),
    Boolean(bool),
    ExceptKeywords(HashSet<String>),
    ExceptIntegers(HashSet<i64>),
    Range(Range),
    Count(ValuesCount),
}

impl FilterPlan {
    /// Prepares a request's filter; no filter matches every point.
    ///
    /// # Errors
    /// `Unsupported` for conditions that this server does not evaluate, `Invalid` for malformed ones.
    pub fn parse(filter: Option<Filter>) -> Result<Self, StoreError> {
        let Some(filter) = filter else {
            return Ok(Self::default());
        };
        let min_should = match filter.min_should {
            Some(group) => Some((clauses(group.conditions)?, group.min_count)),
            None => None,
        };
        Ok(Self {
            must: clauses(filter.must)?,
            should: clauses(filter.should)?,
            must_not: clauses(filter.must_not)?,
            min_should,
        })
    }

    /// Whether the point passes.
    pub fn matches(&self, key: &PointKey, payload: &Payload) -> bool {
        let holds = |clause: &Clause| clause.holds(key, payload);
        self.must.iter().all(holds)
            && !self.must_not.iter().any(holds)
            && (self.should.is_empty() || self.should.iter().any(holds))
            && self.min_should.as_ref().is_none_or(|(group, minimum)| {
                group.iter().filter(|clause| holds(clause)).count() as u64 >= *minimum
            })
    }
}

impl Clause {
    fn holds(&self, key: &PointKey, payload: &Payload) -> bool {
        match self {
            Self::Field(path, test) => test.holds(&path.values(payload)),
            Self::HasId(ids) => ids.contains(key),
            Self::Nested(plan) => plan.matches(key, payload),
        }
    }
}

impl Test {
    /// `values` are all values found under the condition's path; several where it crosses lists.
    fn holds(&self, values: &[&Value]) -> bool {
        match self {
            Self::Empty(wanted) => values.iter().all(|value| is_empty(value)) == *wanted,
            Self::Null(wanted) => values.iter().any(|value| has_null(value)) == *wanted,
            Self::Count(bounds) => values.iter().any(|value| count_within(bounds, value)),
            _ => values.iter().any(|value| match &value.kind {
                Some(Kind::ListValue(list)) => list
                    .values
                    .iter()
                    .any(|element| self.holds_for(element.kind.as_ref())),
                kind => self.holds_for(kind.as_ref()),
            }),
        }
    }

    fn holds_for(&self, kind: Option<&Kind>) -> bool {
        match (self, kind) {
            (_, None | Some(Kind::NullValue(_))) => false,
            (Self::Keywords(words), Some(Kind::StringValue(text))) => words.contains(text),
            (Self::Integers(numbers), Some(Kind::IntegerValue(number))) => numbers.contains(number),
            (Self::Boolean(wanted), Some(Kind::BoolValue(flag))) => wanted == flag,
            (Self::ExceptKeywords(words), Some(Kind::StringValue(text))) => !words.contains(text),
            (Self::ExceptIntegers(numbers), Some(Kind::IntegerValue(number))) => {
                !numbers.contains(number)
            }
            // A value of another type is none of the excluded ones.
            (Self::ExceptKeywords(_) | Self::ExceptIntegers(_), _) => true,
            (Self::Range(range), Some(Kind::IntegerValue(number))) => within(range, *number as f64),
            (Self::Range(range), Some(Kind::DoubleValue(number))) => within(range, *number),
            _ => false,
        }
    }
}

fn clauses(conditions: Vec<Condition>) -> Result<Vec<Clause>, StoreError> {
    conditions.into_iter().map(clause).collect()
}

fn clause(condition: Condition) -> Result<Clause, StoreError> {
    let unsupported = |name: &str| {
        Err(StoreError::Unsupported(format!(
            "filter condition `{name}`"
        )))
    };
    match condition.condition_one_of {
        Some(ConditionOneOf::Field(field)) => field_clause(field),
        Some(ConditionOneOf::IsEmpty(condition)) => Ok(Clause::Field(
            FieldPath::parse(&condition.key)?,
            Test::Empty(true),
        )),
        Some(ConditionOneOf::IsNull(condition)) => Ok(Clause::Field(
            FieldPath::parse(&condition.key)?,
            Test::Null(true),
        )),
        Some(ConditionOneOf::HasId(condition)) => {
            let ids: Result<_, _> = condition.has_id.into_iter().map(PointKey::parse).collect();
            Ok(Clause::HasId(ids?))
        }
        Some(ConditionOneOf::Filter(filter)) => {
            Ok(Clause::Nested(FilterPlan::parse(Some(filter))?))
        }
        Some(ConditionOneOf::Nested(_)) => unsupported("nested"),
        Some(ConditionOneOf::HasVector(_)) => unsupported("has_vector"),
        Some(ConditionOneOf::Slice(_)) => unsupported("slice"),
        None => Err(StoreError::Invalid(
            "a filter condition is empty".to_owned(),
        )),
    }
}

fn field_clause(field: FieldCondition) -> Result<Clause, StoreError> {
    let path = FieldPath::parse(&field.key)?;
    if field.geo_bounding_box.is_some() || field.geo_radius.is_some() || field.geo_polygon.is_some()
    {
        return Err(StoreError::Unsupported("geo filter conditions".to_owned()));
    }
    if field.datetime_range.is_some() {
        return Err(StoreError::Unsupported(
            "filter condition `datetime_range`".to_owned(),
        ));
    }
    let mut tests = Vec::new();
    if let Some(condition) = field.r#match {
        tests.push(match_test(condition.match_value)?);
    }
    tests.extend(field.range.map(Test::Range));
    tests.extend(field.values_count.map(Test::Count));
    tests.extend(field.is_empty.map(Test::Empty));
    tests.extend(field.is_null.map(Test::Null));
    match (tests.pop(), tests.is_empty()) {
        (Some(test), true) => Ok(Clause::Field(path, test)),
        _ => Err(StoreError::Invalid(format!(
            "the condition on `{}` must hold exactly one test; write one condition per test",
            field.key
        ))),
    }
}

fn match_test(value: Option<MatchValue>) -> Result<Test, StoreError> {
    let words = |list: Vec<String>| list.into_iter().collect::<HashSet<_>>();
    let numbers = |list: Vec<i64>| list.into_iter().collect::<HashSet<_>>();
    match value {
        Some(MatchValue::Keyword(word)) => Ok(Test::Keywords(words(vec![word]))),
        Some(MatchValue::Integer(number)) => Ok(Test::Integers(numbers(vec![number]))),
        Some(MatchValue::Boolean(flag)) => Ok(Test::Boolean(flag)),
        Some(MatchValue::Keywords(list)) => Ok(Test::Keywords(words(list.strings))),
        Some(MatchValue::Integers(list)) => Ok(Test::Integers(numbers(list.integers))),
        Some(MatchValue::ExceptKeywords(list)) => Ok(Test::ExceptKeywords(words(list.strings))),
        Some(MatchValue::ExceptIntegers(list)) => Ok(Test::ExceptIntegers(numbers(list.integers))),
        Some(
            MatchValue::Text(_)
            | MatchValue::Phrase(_)
            | MatchValue::TextAny(_)
            | MatchValue::Prefix(_)
            | MatchValue::Substring(_),
        ) => Err(StoreError::Unsupported(
            "full-text match in a filter".to_owned(),
        )),
        None => Err(StoreError::Invalid("a match condition is empty".to_owned())),
    }
}

fn within(range: &Range, number: f64) -> bool {
    range.lt.is_none_or(|bound| number < bound)
        && range.gt.is_none_or(|bound| number > bound)
        && range.gte.is_none_or(|bound| number >= bound)
        && range.lte.is_none_or(|bound| number <= bound)
}

fn count_within(bounds: &ValuesCount, value: &Value) -> bool {
    let count = match &value.kind {
        Some(Kind::ListValue(list)) => list.values.len() as u64,
        None | Some(Kind::NullValue(_)) => 0,
        Some(_) => 1,
    };
    bounds.lt.is_none_or(|bound| count < bound)
        && bounds.gt.is_none_or(|bound| count > bound)
        && bounds.gte.is_none_or(|bound| count >= bound)
        && bounds.lte.is_none_or(|bound| count <= bound)
}

fn is_empty(value: &Value) -> bool {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => true,
        Some(Kind::ListValue(list)) => list.values.is_empty(),
        Some(_) => false,
    }
}

fn has_null(value: &Value) -> bool {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => true,
        Some(Kind::ListValue(list)) => list.values.iter().any(has_null),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn payload() -> Payload {
        qdrant_client::Payload::try_from(json!({
            "type": "LATENCY_SPIKE", "tags": ["db", "pool"], "mttr": 18, "score": 0.5, "open": true,
            "nothing": null, "none": [], "owner": {"team": "payments"},
            "steps": [{"risk": "low"}, {"risk": "high"}],
        }))
        .unwrap()
        .into()
    }

    fn passes(filter: Filter) -> bool {
        let plan = FilterPlan::parse(Some(filter)).unwrap();
        plan.matches(&PointKey::Number(7), &payload())
    }

    #[test]
    fn each_condition_agrees_with_a_hand_evaluation() {
        let words = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let range = |lt, gte| Range {
            lt,
            gt: None,
            gte,
            lte: None,
        };
        let count = |gte| ValuesCount {
            gte: Some(gte),
            ..ValuesCount::default()
        };
        let table: Vec<(Condition, bool)> = vec![
            (Condition::matches("type", "LATENCY_SPIKE".to_owned()), true),
            (
                Condition::matches("type", "latency_spike".to_owned()),
                false,
            ),
            (Condition::matches("absent", "x".to_owned()), false),
            (Condition::matches("tags", "pool".to_owned()), true),
            (Condition::matches("tags", words(&["x", "db"])), true),
            (Condition::matches("tags", words(&["x", "y"])), false),
            (Condition::matches("mttr", 18), true),
            (Condition::matches("mttr", 19), false),
            (Condition::matches("score", 0), false),
            (Condition::matches("open", true), true),
            (Condition::matches("open", false), false),
            (
                Condition::matches("owner.team", "payments".to_owned()),
                true,
            ),
            (Condition::matches("steps[].risk", "high".to_owned()), true),
            (
                Condition::matches("steps[0].risk", "high".to_owned()),
                false,
            ),
            (Condition::matches("steps.risk", "high".to_owned()), false),
            (Condition::range("mttr", range(Some(18.0), None)), false),
            (
                Condition::range("mttr", range(Some(18.1), Some(18.0))),
                true,
            ),
            (Condition::range("score", range(Some(0.6), Some(0.5))), true),
            (Condition::range("type", range(None, Some(0.0))), false),
            (Condition::is_empty("absent"), true),
            (Condition::is_empty("nothing"), true),
            (Condition::is_empty("none"), true),
            (Condition::is_empty("tags"), false),
            (Condition::is_null("nothing"), true),
            (Condition::is_null("absent"), false),
            (Condition::values_count("tags", count(2)), true),
            (Condition::values_count("tags", count(3)), false),
            (Condition::has_id([7, 8]), true),
            (Condition::has_id([8]), false),
        ];
        for (condition, expected) in table {
            let label = format!("{condition:?}");
            assert_eq!(passes(Filter::must([condition])), expected, "{label}");
        }
    }

    #[test]
    fn groups_combine_as_and_or_and_not() {
        let yes = || Condition::matches("open", true);
        let no = || Condition::matches("open", false);
        assert!(passes(Filter::should([no(), yes()])));
        assert!(!passes(Filter::should([no(), no()])));
        assert!(passes(Filter::must_not([no()])));
        assert!(!passes(Filter::must_not([no(), yes()])));
        assert!(!passes(Filter {
            must: vec![yes()],
            should: vec![no()],
            ..Filter::default()
        }));
        assert!(passes(Filter::must([Condition::from(Filter::must_not([
            no()
        ]))])));
    }

    #[test]
    fn what_cannot_be_evaluated_is_refused() {
        let text = Condition::matches_text("type", "LATENCY");
        let refused = FilterPlan::parse(Some(Filter::must([text])));
        assert!(matches!(refused, Err(StoreError::Unsupported(_))));
        let hollow = FilterPlan::parse(Some(Filter::must([Condition {
            condition_one_of: None,
        }])));
        assert!(matches!(hollow, Err(StoreError::Invalid(_))));
    }
}
