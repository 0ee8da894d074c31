//! The topic reference in DESIGN.md, written from the declarations.

use crate::topics::{TOPICS, Topic};
use serde_json::Value;
use std::fmt::Write as _;

/// The Markdown table of all topics.
#[must_use]
pub fn topics_markdown() -> String {
    let mut table = String::from(
        "| topic | key | payload | from → to | retention | max message | dead letters |\n|---|---|---|---|---|---|---|\n",
    );
    for spec in TOPICS {
        writeln!(
            table,
            "| `{}` | {} | `{}` v1 | {} → {} | {} d | {} MiB | `{}` |",
            spec.name,
            spec.key,
            spec.payload,
            spec.producers,
            spec.consumers,
            spec.retention_ms / 86_400_000,
            spec.max_bytes / (1024 * 1024),
            spec.topic.dlq_name(),
        )
        .expect("writing to a String does not fail");
    }
    table
}

/// The fields common to every payload.
const COMMON: [&str; 5] = [
    "event_id",
    "cause_id",
    "schema_version",
    "event_time_ms",
    "producer",
];

/// Topics and fields, as they stand in DESIGN.md; the fields are read from the
/// golden payloads, which hold every field.
#[must_use]
pub fn markdown(goldens: &[(Topic, Value)]) -> String {
    let mut text = topics_markdown();
    writeln!(
        text,
        "\nCommon to all: `{}`.\n\n| topic | fields beyond the common ones |\n|---|---|",
        COMMON.join("` `")
    )
    .expect("writing to a String does not fail");
    for (topic, golden) in goldens {
        let fields: Vec<&str> = golden
            .as_object()
            .map(|object| object.keys().map(String::as_str).collect())
            .unwrap_or_default();
        let own: Vec<&str> = fields
            .into_iter()
            .filter(|field| !COMMON.contains(field))
            .collect();
        writeln!(text, "| `{}` | `{}` |", topic.name(), own.join("` `"))
            .expect("writing to a String does not fail");
    }
    text
}
