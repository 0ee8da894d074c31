//! The columns and rows of the postmortem agent.

use crate::effect::Projection;
use midwatch_clients::postgres::{PostgresError, Tx, incident, review};

/// Writes a draft or the state of its review; any other projection is none of
/// these.
pub(super) async fn postmortem(tx: &mut Tx, projection: Projection) -> Result<(), PostgresError> {
    match projection {
        Projection::Postmortem {
            incident_id,
            version,
            markdown,
            statements,
            lesson,
        } => {
            incident::postmortem(tx, incident_id, &markdown).await?;
            review::draft(tx, incident_id, version, &markdown, &statements, &lesson).await
        }
        Projection::Review {
            incident_id,
            version,
            status,
            by,
            wall_ms,
        } => review::advance(tx, incident_id, version, status, &by, wall_ms).await,
        other => unreachable!("not a postmortem: {other:?}"),
    }
}
