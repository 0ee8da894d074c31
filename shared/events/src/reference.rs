//! The topic reference in DESIGN.md, written from the declarations.

use crate::topics::TOPICS;
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
