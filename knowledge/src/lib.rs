//! What Midwatch knows beforehand, and how it gets into the knowledge store.
//!
//! Consumes `services.json`, `incidents/*.json` and `runbooks/*.md` of the
//! knowledge folder. Produces the collections `incidents`, `runbooks` and
//! `architecture` (binary `midwatch-seeder`), and serves the vectors that both
//! seeding and searching need (binary `midwatch-embedder`).
//!
//! Guarantees
//! - nothing is stored unless every file is valid and every reference between
//!   files (runbook names, service names) resolves; errors name file and field;
//! - seeding twice gives the same points: ids are derived from what they hold
//!   (`incidents/INC-2025-001/summary`), points without a file are removed, and
//!   the counts are verified at the end;
//! - a text's vector does not depend on the texts embedded beside it.

pub mod chunk;
pub mod content;
pub mod embedder;
pub mod runbook;
pub mod seed;

pub use content::{
    ContentError, HistoricalIncident, Knowledge, ServiceRecord, load_incidents, load_services,
};
pub use midwatch_clients::knowledge::RunbookStep;
pub use runbook::{Runbook, load_runbooks};

/// Sets up logging to standard error: for people on a terminal (`human`), as
/// JSON lines otherwise (`json`), or by asking the terminal (`auto`). `RUST_LOG`
/// filters.
pub fn init_logging(format: &str) {
    use std::io::IsTerminal;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,ort=warn"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        "json" => builder.json().init(),
        "human" => builder.init(),
        _ if std::io::stderr().is_terminal() => builder.init(),
        _ => builder.json().init(),
    }
}
