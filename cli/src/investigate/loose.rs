//! What strangers write for a number, a name, a level, a status: read by what
//! it must mean. A value that can mean nothing is told as missing.

use midwatch_events::raw::{Labels, LogLevel};
use serde::de::DeserializeOwned;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Columns of a decoder's complaint that are quoted.
const QUOTED: usize = 60;

/// Reads one record. What JSON does not know but programs write all the same,
/// `NaN`, `Infinity` and broken UTF-8, is read as null and as `\u{fffd}`.
///
/// # Errors
/// What the decoder says.
pub fn record<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    serde_json::from_slice(text).or_else(|error| {
        let text = String::from_utf8_lossy(text);
        let mended = without_names(&text).unwrap_or(text.into_owned());
        serde_json::from_str(&mended).map_err(|_| {
            let told = error.to_string();
            let told = told.split(" at line").next().unwrap_or_default();
            crate::output::fit(told, QUOTED)
        })
    })
}

/// The text with null for the numbers that JSON has no names for, where there
/// are some outside of strings.
fn without_names(text: &str) -> Option<String> {
    let mut out = String::new();
    let (mut rest, mut is_string) = (text, false);
    while let Some(letter) = rest.chars().next() {
        if is_string && letter == '\\' {
            let end = rest.char_indices().nth(2).map_or(rest.len(), |(at, _)| at);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        is_string ^= letter == '"';
        let name = ["NaN", "nan", "-Infinity", "Infinity", "-inf", "inf"]
            .iter()
            .find(|name| !is_string && rest.starts_with(**name));
        let length = name.map_or(letter.len_utf8(), |name| name.len());
        out.push_str(name.map_or(&rest[..length], |_| "null"));
        rest = &rest[length..];
    }
    (out != text).then_some(out)
}

/// A finite number, also one in a string.
pub fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        // JSON's reader first, so that a number is the same with and without quotes.
        Value::String(text) => serde_json::from_str(text.trim())
            .ok()
            .or_else(|| text.trim().parse().ok()),
        Value::Bool(is_true) => Some(f64::from(u8::from(*is_true))),
        _ => None,
    };
    number.filter(|number| number.is_finite())
}

/// A moment after 1970, in whatever unit; dates with a time of day are read as
/// milliseconds.
pub fn moment(value: &Value) -> Option<f64> {
    let told = match value {
        Value::Bool(_) => None,
        Value::String(text) => number(value).or_else(|| {
            let date = OffsetDateTime::parse(text.trim(), &Rfc3339).ok()?;
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53 seconds")]
            let seconds = date.unix_timestamp() as f64;
            Some(seconds * 1_000.0 + f64::from(date.millisecond()))
        }),
        _ => number(value),
    };
    told.filter(|at| *at > 0.0)
}

/// Text, also of a number or a truth value; `None` for nothing, and for what
/// has parts.
pub fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is_true) => Some(is_true.to_string()),
        _ => None,
    }
}

/// A name or an id: text that is not empty.
pub fn name(value: Value) -> Option<String> {
    text(value).filter(|name| !name.is_empty())
}

/// Text of anything: nothing for null, JSON for what has parts.
pub fn words(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Array(_) | Value::Object(_) => value.to_string(),
        _ => text(value).unwrap_or_default(),
    }
}

/// The labels that have a value.
pub fn labels(value: Value) -> Labels {
    let Value::Object(labels) = value else {
        return Labels::new();
    };
    let labels = labels.into_iter();
    labels
        .filter_map(|(name, value)| Some((name, text(value)?)))
        .collect()
}

/// A log level in the words of any logger; INFO where it is none of them.
pub fn level(value: &Value) -> LogLevel {
    let told = value.as_str().unwrap_or_default().trim();
    // OpenTelemetry counts within a level: ERROR2.
    let told = told.trim_end_matches(|letter: char| letter.is_ascii_digit());
    match told.to_ascii_lowercase().as_str() {
        "trace" | "debug" | "verbose" | "fine" | "finer" | "finest" | "d" => LogLevel::Debug,
        "warn" | "warning" | "w" => LogLevel::Warn,
        "error" | "err" | "severe" | "failure" | "e" => LogLevel::Error,
        "fatal" | "critical" | "crit" | "emerg" | "emergency" | "alert" | "panic" | "f" => {
            LogLevel::Fatal
        }
        _ => LogLevel::Info,
    }
}

/// Words of a status that is an error.
const FAILED: [&str; 12] = [
    "err",
    "fail",
    "exception",
    "fatal",
    "timeout",
    "timed",
    "unavailable",
    "internal",
    "abort",
    "refused",
    "exceeded",
    "exhausted",
];

/// Whether a span's status is an error: by its word, by OpenTelemetry's code
/// 2, or by an HTTP status from 400 on.
pub fn failed(value: &Value) -> bool {
    if let Value::Object(parts) = value {
        return parts.get("code").is_some_and(failed);
    }
    if value.is_boolean() {
        return false;
    }
    if let Some(code) = number(value) {
        return code == 2.0 || code >= 400.0;
    }
    let told = value.as_str().unwrap_or_default().to_ascii_lowercase();
    let is_denied = ["no_", "no ", "not_", "without"]
        .iter()
        .any(|no| told.starts_with(no));
    !is_denied && FAILED.iter().any(|word| told.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_and_moments_come_in_many_forms() {
        for (value, expected) in [
            (json!(3), Some(3.0)),
            (json!("12.5"), Some(12.5)),
            (json!(" 7 "), Some(7.0)),
            (json!(true), Some(1.0)),
            (json!("NaN"), None),
            (json!("-inf"), None),
            (json!(""), None),
            (json!(null), None),
            (json!([1]), None),
        ] {
            assert_eq!(number(&value), expected, "{value}");
        }
        for (value, expected) in [
            (json!(1.7e12), Some(1.7e12)),
            (json!("1700000000000"), Some(1.7e12)),
            // 19 675 days and 80 000 seconds since 1970.
            (json!("2023-11-14T22:13:20.5Z"), Some(1_700_000_000_500.0)),
            (json!(0), None),
            (json!(-5), None),
            (json!(true), None),
            (json!("soon"), None),
        ] {
            assert_eq!(moment(&value), expected, "{value}");
        }
    }

    #[test]
    fn levels_and_statuses_are_read_in_any_dialect() {
        for (told, expected) in [
            (json!("Warning"), LogLevel::Warn),
            (json!("err"), LogLevel::Error),
            (json!("SEVERE"), LogLevel::Error),
            (json!("ERROR2"), LogLevel::Error),
            (json!("Emerg"), LogLevel::Fatal),
            (json!("trace"), LogLevel::Debug),
            (json!("NOTICE"), LogLevel::Info),
            (json!("audit"), LogLevel::Info),
            (json!(""), LogLevel::Info),
            (json!(null), LogLevel::Info),
            (json!(3), LogLevel::Info),
        ] {
            assert_eq!(level(&told), expected, "{told}");
        }
        for fine in [
            json!("Ok"),
            json!("unset"),
            json!(""),
            json!(null),
            json!(0),
            json!(1),
            json!(200),
            json!("STATUS_CODE_OK"),
            json!("success"),
            json!("302"),
            json!("no_error"),
            json!(true),
        ] {
            assert!(!failed(&fine), "{fine}");
        }
        for bad in [
            json!("Error"),
            json!("STATUS_CODE_ERROR"),
            json!("failed"),
            json!("exception"),
            json!(2),
            json!("2"),
            json!(400),
            json!(503),
            json!("500"),
            json!({"code": 2}),
        ] {
            assert!(failed(&bad), "{bad}");
        }
    }

    #[test]
    fn what_json_has_no_name_for_is_null_outside_of_strings_only() {
        let text = br#"{"a": NaN, "b": -Infinity, "NaN": "Infinity \" NaN"}"#;
        let read: Value = record(text).expect("mended");
        assert_eq!(
            read,
            json!({"a": null, "b": null, "NaN": "Infinity \" NaN"})
        );
        let read: Value = record(b"{\"a\": \"\xe9\"}").expect("mended");
        assert_eq!(read, json!({"a": "\u{fffd}"}));
        assert!(record::<Value>(b"{\"a\": nothing}").is_err());
    }
}
