//! What each agent has done lately and what waits for it.

use crate::postgres::PostgresError;
use serde::Serialize;
use sqlx::PgPool;
use std::collections::BTreeMap;

/// Minutes over which throughput is counted.
pub const THROUGHPUT_MINUTES: i64 = 5;

/// What one agent's rows say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AgentWork {
    /// Inputs that were decided on in the last [`THROUGHPUT_MINUTES`].
    pub inputs: i64,
    /// Lines that it wrote to the audit trail in that time.
    pub audit_lines: i64,
    /// Wall clock of its newest line.
    pub last_line_ms: Option<i64>,
    /// Jobs that are not done yet, those under way included.
    pub open_jobs: i64,
    pub running_jobs: i64,
    /// Jobs that failed for good in the last 24 hours.
    pub failed_jobs: i64,
    /// Messages that wait in the outbox for the broker.
    pub unsent: i64,
    /// Messages in the outbox that the broker will never take.
    pub refused: i64,
    /// Events that wait for their predecessor.
    pub parked: i64,
}

/// What waits and was done, by agent. Agents without any row are absent.
///
/// # Errors
/// The database is away.
pub async fn agent_work(pool: &PgPool) -> Result<BTreeMap<String, AgentWork>, PostgresError> {
    let rows = sqlx::query!(
        r#"SELECT agent AS "agent!", 'open_jobs' AS "what!", count(*) AS "count!" FROM jobs
               WHERE status IN ('ready', 'running', 'done') GROUP BY agent
           UNION ALL SELECT agent, 'running_jobs', count(*) FROM jobs
               WHERE status = 'running' GROUP BY agent
           UNION ALL SELECT agent, 'failed_jobs', count(*) FROM jobs
               WHERE error IS NOT NULL AND status IN ('failed', 'applied')
                 AND finished_at > now() - INTERVAL '24 hours' GROUP BY agent
           UNION ALL SELECT agent, 'unsent', count(*) FROM outbox
               WHERE sent_at IS NULL GROUP BY agent
           UNION ALL SELECT agent, 'refused', count(*) FROM outbox
               WHERE refused IS NOT NULL GROUP BY agent
           UNION ALL SELECT agent, 'parked', count(*) FROM parked GROUP BY agent
           UNION ALL SELECT agent, 'inputs', count(*) FROM processed
               WHERE processed_at > now() - $1::bigint * INTERVAL '1 minute' GROUP BY agent
           UNION ALL SELECT agent_name, 'audit_lines', count(*) FROM agent_events
               WHERE id > (SELECT coalesce(max(id), 0) - 10000 FROM agent_events)
                 AND created_at > now() - $1::bigint * INTERVAL '1 minute' GROUP BY agent_name
           UNION ALL SELECT agent_name, 'last_line_ms',
                   (extract(epoch FROM max(created_at)) * 1000)::bigint FROM agent_events
               WHERE id > (SELECT coalesce(max(id), 0) - 10000 FROM agent_events)
               GROUP BY agent_name"#,
        THROUGHPUT_MINUTES
    )
    .fetch_all(pool)
    .await?;
    let mut work: BTreeMap<String, AgentWork> = BTreeMap::new();
    for row in rows {
        let entry = work.entry(row.agent).or_default();
        let field = match row.what.as_str() {
            "open_jobs" => &mut entry.open_jobs,
            "running_jobs" => &mut entry.running_jobs,
            "failed_jobs" => &mut entry.failed_jobs,
            "unsent" => &mut entry.unsent,
            "refused" => &mut entry.refused,
            "parked" => &mut entry.parked,
            "inputs" => &mut entry.inputs,
            "audit_lines" => &mut entry.audit_lines,
            _ => entry.last_line_ms.insert(0),
        };
        *field = row.count;
    }
    Ok(work)
}
