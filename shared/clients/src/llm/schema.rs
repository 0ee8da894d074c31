//! A check of a model's reply against the part of JSON Schema that our own schemas use.
//!
//! Keywords: `type`, `enum`, `const`, `properties`, `required`, `additionalProperties`, `items`,
//! `minItems`, `maxItems`, `minLength`, `maxLength`, `minimum`, `maximum`, `anyOf`, `oneOf`
//! (read as `anyOf`). Any other keyword is an annotation and constrains nothing.

use serde_json::{Map, Value};

use super::repair;

/// Checks `value`, naming the first place that does not fit.
///
/// # Errors
/// The place (`$.evidence[2].id`) and what is wrong there.
pub fn check(schema: &Value, value: &Value) -> Result<(), String> {
    check_at(schema, value, "$")
}

/// The JSON object in a reply: models wrap it in Markdown fences or in prose, and some write it
/// almost right. What had to be repaired is added to `notes`.
///
/// # Errors
/// Says that there is none, or where its syntax breaks.
pub fn parse_object(text: &str, notes: &mut Vec<String>) -> Result<Value, String> {
    let Some(start) = text.find('{') else {
        return Err("the reply holds no JSON object".to_owned());
    };
    let end = text.rfind('}').unwrap_or(start);
    let object = text.get(start..=end).unwrap_or_default();
    serde_json::from_str(object).or_else(|error| {
        let (value, repairs) = repair::object(&text[start..])
            .map_err(|_| format!("the reply is not valid JSON: {error}"))?;
        notes.push(format!("the JSON of the reply was repaired: {repairs}"));
        Ok(value)
    })
}

fn check_at(schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    let Some(schema) = schema.as_object() else {
        return if schema == &Value::Bool(false) {
            Err(format!("{path} is not allowed"))
        } else {
            Ok(())
        };
    };
    check_type(schema, value, path)?;
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        return Err(format!(
            "{path} is {value}, not one of {}",
            Value::from(allowed.clone())
        ));
    }
    if let Some(wanted) = schema.get("const")
        && wanted != value
    {
        return Err(format!("{path} is {value}, not {wanted}"));
    }
    for keyword in ["anyOf", "oneOf"] {
        check_alternatives(schema.get(keyword), value, path)?;
    }
    match value {
        Value::Object(object) => check_object(schema, object, path),
        Value::Array(items) => check_array(schema, items, path),
        Value::String(text) => bounds(
            schema,
            "Length",
            text.chars().count() as f64,
            path,
            "characters",
        ),
        Value::Number(number) => bounds(
            schema,
            "imum",
            number.as_f64().unwrap_or(f64::NAN),
            path,
            "as its value",
        ),
        Value::Null | Value::Bool(_) => Ok(()),
    }
}

fn check_type(schema: &Map<String, Value>, value: &Value, path: &str) -> Result<(), String> {
    let is = |name: &Value| match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        Some("number") => value.is_number(),
        // JSON Schema counts 3.0 as an integer.
        Some("integer") => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => false,
    };
    match schema.get("type") {
        Some(Value::Array(names)) if !names.iter().any(is) => Err(format!(
            "{path} is none of the types {}",
            Value::from(names.clone())
        )),
        Some(name @ Value::String(_)) if !is(name) => Err(format!("{path} is not of type {name}")),
        _ => Ok(()),
    }
}

fn check_alternatives(
    alternatives: Option<&Value>,
    value: &Value,
    path: &str,
) -> Result<(), String> {
    let Some(alternatives) = alternatives.and_then(Value::as_array) else {
        return Ok(());
    };
    let mut problems = Vec::new();
    for alternative in alternatives {
        match check_at(alternative, value, path) {
            Ok(()) => return Ok(()),
            Err(problem) => problems.push(problem),
        }
    }
    Err(format!(
        "{path} fits no alternative ({})",
        problems.join("; ")
    ))
}

fn check_object(
    schema: &Map<String, Value>,
    object: &Map<String, Value>,
    path: &str,
) -> Result<(), String> {
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        if !object.contains_key(name) {
            return Err(format!("{path}.{name} is missing"));
        }
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, value) in object {
        let known = properties.and_then(|properties| properties.get(name));
        if let Some(rule) = known.or_else(|| schema.get("additionalProperties")) {
            check_at(rule, value, &format!("{path}.{name}"))?;
        }
    }
    Ok(())
}

fn check_array(schema: &Map<String, Value>, items: &[Value], path: &str) -> Result<(), String> {
    bounds(schema, "Items", items.len() as f64, path, "items")?;
    if let Some(rule) = schema.get("items") {
        for (index, item) in items.iter().enumerate() {
            check_at(rule, item, &format!("{path}[{index}]"))?;
        }
    }
    Ok(())
}

/// `min…` and `max…` of one family of keywords: `Items`, `Length`, `imum`.
fn bounds(
    schema: &Map<String, Value>,
    family: &str,
    measure: f64,
    path: &str,
    unit: &str,
) -> Result<(), String> {
    let bound = |side: &str| {
        schema
            .get(&format!("{side}{family}"))
            .and_then(Value::as_f64)
    };
    if let Some(minimum) = bound("min")
        && measure < minimum
    {
        return Err(format!("{path} has {measure} {unit}, below {minimum}"));
    }
    if let Some(maximum) = bound("max")
        && measure > maximum
    {
        return Err(format!("{path} has {measure} {unit}, above {maximum}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hypothesis() -> Value {
        json!({
            "type": "object",
            "required": ["service", "confidence", "evidence"],
            "additionalProperties": false,
            "properties": {
                "service": {"enum": ["payment-service", "order-service"]},
                "confidence": {"type": "number", "minimum": 0, "maximum": 1},
                "evidence": {"type": "array", "minItems": 1, "maxItems": 2, "items": {
                    "type": "object", "required": ["id"],
                    "properties": {"id": {"type": "string", "minLength": 1, "maxLength": 4}}
                }},
                "rank": {"type": ["integer", "null"]}
            }
        })
    }

    #[test]
    fn a_reply_that_fits_passes() {
        let reply = json!({"service": "order-service", "confidence": 1, "evidence": [{"id": "e1"}], "rank": null});
        assert_eq!(check(&hypothesis(), &reply), Ok(()));
    }

    #[test]
    fn each_violation_is_named_with_its_place() {
        let good =
            json!({"service": "order-service", "confidence": 0.5, "evidence": [{"id": "e1"}]});
        let table = [
            ("/service", json!("x"), "$.service is \"x\", not one of"),
            (
                "/confidence",
                json!(1.1),
                "$.confidence has 1.1 as its value, above 1",
            ),
            (
                "/confidence",
                json!("high"),
                "$.confidence is not of type \"number\"",
            ),
            ("/evidence", json!([]), "$.evidence has 0 items, below 1"),
            (
                "/evidence",
                json!([{"id": "1"}, {"id": "2"}, {"id": "3"}]),
                "above 2",
            ),
            ("/evidence/0", json!({}), "$.evidence[0].id is missing"),
            (
                "/evidence/0/id",
                json!("12345"),
                "$.evidence[0].id has 5 characters, above 4",
            ),
        ];
        for (place, wrong, expected) in table {
            let mut reply = good.clone();
            *reply.pointer_mut(place).unwrap() = wrong;
            let problem = check(&hypothesis(), &reply).unwrap_err();
            assert!(
                problem.contains(expected),
                "{problem} does not say {expected}"
            );
        }
        let mut extra = good.clone();
        extra["other"] = json!(1);
        assert_eq!(
            check(&hypothesis(), &extra),
            Err("$.other is not allowed".to_owned())
        );
        let mut missing = good.clone();
        missing.as_object_mut().unwrap().remove("service");
        assert_eq!(
            check(&hypothesis(), &missing),
            Err("$.service is missing".to_owned())
        );
        let mut fraction = good;
        fraction["rank"] = json!(1.5);
        assert!(
            check(&hypothesis(), &fraction)
                .unwrap_err()
                .contains("none of the types")
        );
    }

    #[test]
    fn one_alternative_is_enough() {
        let schema = json!({"anyOf": [{"const": "a"}, {"type": "integer"}]});
        assert_eq!(check(&schema, &json!("a")), Ok(()));
        assert_eq!(check(&schema, &json!(3)), Ok(()));
        assert!(
            check(&schema, &json!("b"))
                .unwrap_err()
                .contains("fits no alternative")
        );
    }

    #[test]
    fn an_object_is_found_in_fences_and_prose() {
        let wrapped = "Here you are:\n```json\n{\"a\": {\"b\": 1}}\n```\nDone.";
        let mut notes = Vec::new();
        assert_eq!(
            parse_object(wrapped, &mut notes),
            Ok(json!({"a": {"b": 1}}))
        );
        assert!(parse_object("no object", &mut notes).is_err());
        assert!(parse_object("{\"a\": }", &mut notes).is_err());
        assert_eq!(notes, Vec::<String>::new());
        let near = "Sure: {'a': {b: 1,},} That is {all}.";
        assert_eq!(parse_object(near, &mut notes), Ok(json!({"a": {"b": 1}})));
        assert_eq!(notes.len(), 1, "the repair is told");
    }
}
