//! One sample from one line of JSON.
//!
//! Numbers keep the text they came in: what goes out is what came in, to the
//! last digit, and a number that overflows is a sample, not a syntax error.

use super::Sample;
use super::calendar::LIMIT_MS;
use midwatch_events::decode::NAME_MAX_BYTES;
use midwatch_events::raw::Labels;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The most that the labels of one sample may take.
const LABELS_MAX_BYTES: usize = 16 * 1024;

/// Text without a copy where nothing in it is escaped.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Other fields of the payload are passed over.
#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    service: Text<'a>,
    #[serde(borrow)]
    metric_name: Text<'a>,
    #[serde(borrow)]
    timestamp_ms: &'a RawValue,
    #[serde(borrow)]
    metric_value: &'a RawValue,
    #[serde(borrow, default)]
    labels: Option<&'a RawValue>,
    #[serde(borrow, default)]
    environment: Option<Text<'a>>,
}

/// Reads a line. `scratch` holds a mended copy where one is needed.
///
/// # Errors
/// Says what is wrong with the line.
pub fn read<'a>(line: &'a [u8], scratch: &'a mut Vec<u8>) -> Result<Sample<'a>, String> {
    if line.first() != Some(&b'{') {
        return Err("is no JSON object".to_owned());
    }
    match serde_json::from_slice(line) {
        Ok(payload) => complete(payload),
        Err(first) => {
            if mend(line, scratch)
                && let Ok(payload) = serde_json::from_slice(scratch)
            {
                return complete(payload);
            }
            Err(explain(line, &first))
        }
    }
}

fn complete(payload: Payload<'_>) -> Result<Sample<'_>, String> {
    let at_ms = time(payload.timestamp_ms.get())?;
    let text = payload.metric_value.get();
    let value = number(text)?;
    let mut labels = Labels::new();
    let labels_text = payload.labels.map(RawValue::get);
    if let Some(text) = labels_text
        && text != "{}"
    {
        if text.len() > LABELS_MAX_BYTES {
            return Err(format!(
                "field `labels`: more than {LABELS_MAX_BYTES} bytes"
            ));
        }
        labels = serde_json::from_str(text)
            .map_err(|error| format!("field `labels`: expected names with texts: {error}"))?;
    }
    let environment = payload.environment.map(|text| text.0);
    for (field, name) in [
        ("service", Some(&payload.service.0)),
        ("metric_name", Some(&payload.metric_name.0)),
        ("environment", environment.as_ref()),
    ] {
        if name.is_some_and(|name| name.len() > NAME_MAX_BYTES) {
            return Err(format!(
                "field `{field}`: longer than {NAME_MAX_BYTES} bytes"
            ));
        }
    }
    Ok(Sample {
        environment,
        service: payload.service.0,
        metric_name: payload.metric_name.0,
        at_ms,
        value,
        value_text: value.is_finite().then_some(text),
        labels,
        labels_text,
    })
}

/// Whole milliseconds, also written as 1.7e12 or with a `.0`.
fn time(text: &str) -> Result<i64, String> {
    let whole = match text.parse::<i64>() {
        Ok(whole) => Some(whole),
        Err(_) => text
            .parse::<f64>()
            .ok()
            // Beyond the limit anyway, the conversion may be as coarse as it likes.
            .filter(|time| time.fract() == 0.0)
            .map(|time| time as i64),
    };
    whole
        .filter(|time| (-LIMIT_MS..=LIMIT_MS).contains(time))
        .ok_or_else(|| {
            format!("field `timestamp_ms`: expected whole milliseconds since 1970, found {text}")
        })
}

/// The value of a JSON number. What stands for "not a number" in JSON (null, a
/// text such as "NaN" or "-inf", a number that overflows) is not finite here.
fn number(text: &str) -> Result<f64, String> {
    let spelled = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let value = match spelled {
        Some(spelled) => spelled
            .parse::<f64>()
            .ok()
            .filter(|value| !value.is_finite()),
        None if text == "null" => Some(f64::NAN),
        None => text.parse().ok(),
    };
    value.ok_or_else(|| format!("field `metric_value`: expected a number, found {text}"))
}

/// Copies a line with `null` in place of bare NaN and Infinity, which many
/// programs write although JSON knows neither. Says whether there was any.
fn mend(line: &[u8], copy: &mut Vec<u8>) -> bool {
    copy.clear();
    let (mut rest, mut in_text, mut found) = (line, false, false);
    while let Some(&byte) = rest.first() {
        let words: [&[u8]; 3] = [b"NaN", b"-Infinity", b"Infinity"];
        if !in_text && let Some(word) = words.iter().find(|word| rest.starts_with(word)) {
            copy.extend_from_slice(b"null");
            rest = &rest[word.len()..];
            found = true;
            continue;
        }
        // What is escaped inside a text does not end it.
        let length = if in_text && byte == b'\\' {
            rest.len().min(2)
        } else {
            1
        };
        in_text ^= byte == b'"';
        copy.extend_from_slice(&rest[..length]);
        rest = &rest[length..];
    }
    found
}

/// Why a line is not a sample, with the field where it is one field's fault.
fn explain(line: &[u8], error: &serde_json::Error) -> String {
    if error.is_syntax() || error.is_eof() {
        return format!("is not JSON: {error}");
    }
    let Ok(fields) =
        serde_json::from_slice::<std::collections::HashMap<Cow<'_, str>, &RawValue>>(line)
    else {
        return error.to_string();
    };
    for name in ["service", "metric_name", "environment"] {
        if let Some(found) = fields.get(name)
            && !found.get().starts_with('"')
            && (name != "environment" || found.get() != "null")
        {
            return format!("field `{name}`: expected a text, found {}", found.get());
        }
    }
    // serde names the missing or repeated field itself.
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(value: &str) -> String {
        format!(r#"{{"service":"a","metric_name":"m","timestamp_ms":5,"metric_value":{value}}}"#)
    }

    #[test]
    fn what_is_no_finite_number_is_a_sample_and_other_types_are_not() {
        for value in [
            "null",
            "\"NaN\"",
            "\"nan\"",
            "\"-Infinity\"",
            "\"inf\"",
            "1e999",
            "-1e999",
            "NaN",
            "-Infinity",
            "Infinity",
        ] {
            let line = with(value);
            let mut scratch = Vec::new();
            let sample = read(line.as_bytes(), &mut scratch).unwrap();
            assert!(
                !sample.value.is_finite() && sample.value_text.is_none(),
                "{value}"
            );
        }
        for value in [
            "true", "\"12\"", "[1]", "{}", "\"\"", "\"abc\"", "nan", "01", "1.",
        ] {
            let line = with(value);
            assert!(read(line.as_bytes(), &mut Vec::new()).is_err(), "{value}");
        }
    }

    #[test]
    fn numbers_go_out_as_they_came() {
        for value in [
            "0.1",
            "-0",
            "1E+2",
            "123456789.12345678901234567890",
            "9007199254740993",
        ] {
            let line = with(value);
            let mut scratch = Vec::new();
            let sample = read(line.as_bytes(), &mut scratch).unwrap();
            assert_eq!(sample.value_text, Some(value));
            assert_eq!(sample.value, value.parse::<f64>().unwrap());
        }
    }

    #[test]
    fn times_are_whole_milliseconds() {
        for (text, ms) in [
            ("0", Some(0)),
            ("-5", Some(-5)),
            ("5.0", Some(5)),
            ("1.7672256e12", Some(1_767_225_600_000)),
            ("-0.0", Some(0)),
            ("1.5", None),
            ("1e300", None),
            ("8640000000000001", None),
            ("\"5\"", None),
            ("null", None),
        ] {
            assert_eq!(time(text).ok(), ms, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, what) in [
            (r#"{"service":"a"}"#, "missing field `metric_name`"),
            (
                r#"{"service":5,"metric_name":"m","timestamp_ms":5,"metric_value":1}"#,
                "field `service`: expected a text, found 5",
            ),
            (
                r#"{"service":"a","service":"b","metric_name":"m","timestamp_ms":5,"metric_value":1}"#,
                "duplicate field `service`",
            ),
            (
                r#"{"service":"a","metric_name":"m","timestamp_ms":5,"metric_value":1,"labels":{"a":1}}"#,
                "field `labels`",
            ),
            (
                r#"{"service":"a NaN","metric_name":"m","timestamp_ms":5,"#,
                "is not JSON",
            ),
            ("[1]", "is no JSON object"),
        ] {
            let error = read(line.as_bytes(), &mut Vec::new()).unwrap_err();
            assert!(error.contains(what), "{line}: {error}");
        }
    }

    #[test]
    fn only_bare_words_are_mended() {
        let mut copy = Vec::new();
        assert!(mend(
            br#"{"a\"NaN":"NaN","b":NaN,"c":[-Infinity]}"#,
            &mut copy
        ));
        assert_eq!(copy, br#"{"a\"NaN":"NaN","b":null,"c":[null]}"#);
        assert!(!mend(br#"{"a":"Infinity\\"}"#, &mut copy));
    }
}
