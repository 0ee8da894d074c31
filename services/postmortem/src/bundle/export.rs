//! Everything that is stored about an incident, into a bundle, page by page
//! from one view of the database.

use super::Bundle;
use anyhow::Context as _;
use ed25519_dalek::SigningKey;
use midwatch_clients::postgres::export::{KINDS, page, snapshot};
use midwatch_clients::postgres::read;
use sqlx::PgPool;
use std::collections::BTreeMap;
use std::io::Write;
use uuid::Uuid;

/// What went into a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    pub short_id: String,
    /// How many entries of each kind.
    pub kinds: BTreeMap<&'static str, u64>,
    pub entries: u64,
}

/// Writes the incident whose id lies in this range: one id twice, or all ids
/// that a short id stands for.
///
/// # Errors
/// There is no such incident, the database is away, or `out` takes no more.
pub async fn export<W: Write>(
    pool: &PgPool,
    range: (Uuid, Uuid),
    key: SigningKey,
    now_ms: i64,
    out: W,
) -> anyhow::Result<Exported> {
    let incident = read::incident(pool, range.0, range.1)
        .await?
        .context("there is no such incident")?;
    let mut view = snapshot(pool).await?;
    let mut bundle = Bundle::begin(out, key, incident.id, &incident.short_id, now_ms)?;
    let mut kinds = BTreeMap::new();
    for kind in KINDS {
        let mut after = String::new();
        let mut count = 0;
        loop {
            let rows = page(&mut view, kind, incident.id, &after).await?;
            let Some(last) = rows.last() else { break };
            after.clone_from(&last.key);
            for row in &rows {
                bundle.entry(kind, &row.row)?;
                count += 1;
            }
        }
        kinds.insert(kind, count);
    }
    view.rollback().await?;
    let (entries, _) = bundle.end()?;
    Ok(Exported {
        short_id: incident.short_id,
        kinds,
        entries,
    })
}
