//! Taking an action out before it begins.

use super::outcomes::{ended, intent, refused};
use super::{Executors, database};
use crate::execution::{REJECTED, Rejection, Withdrawal};
use midwatch_clients::postgres::executions::{self, Withdrawn};
use midwatch_runtime::JobError;
use serde_json::json;

impl Executors {
    /// Takes an action out that has not begun: from then on, whoever is asked
    /// to carry it out finds it refused by the rule `rejected`. Beginning it
    /// and taking it out go through one row of the record, so that one of them
    /// wins, in whatever processes they run. Asking again is safe.
    ///
    /// # Errors
    /// PostgreSQL is away (transient).
    pub async fn withdraw(&self, rejection: &Rejection) -> Result<Withdrawal, JobError> {
        let Rejection { execution, command } = rejection;
        let reason = match command.reason.trim() {
            "" => "no reason was given",
            reason => reason,
        };
        let outcome = refused(
            REJECTED,
            &format!("{} rejected it before it began: {reason}", command.by),
        );
        let action = json!(execution.action);
        let found = executions::withdraw(
            &self.postgres.pool,
            &intent(execution, &action),
            &self.owner,
            // A look is recorded as what changed nothing.
            execution.dry_run || execution.action.kind.only_looks(),
            &ended(&outcome),
        )
        .await
        .map_err(database)?;
        Ok(match found {
            Withdrawn::Now => Withdrawal::Withdrawn,
            Withdrawn::Begun => Withdrawal::HasBegun,
            Withdrawn::Ended { rule, .. } if rule == REJECTED => Withdrawal::Withdrawn,
            Withdrawn::Ended { status, .. } => Withdrawal::HasEnded { status },
        })
    }
}
