//! What touches the world: executors carry actions out, the proof looks at
//! their effect. The stop file is looked at right before, whatever was decided
//! earlier.

use crate::config::Config;
use crate::execution::{Check, Execution, Outcome, OutcomeStatus};
use crate::executors::Executors;
use crate::proof::Proof;
use midwatch_events::action::Verification;
use midwatch_runtime::agent::JobError;
use std::path::PathBuf;

/// The agent's hands and eyes.
pub struct Hands {
    pub stop: StopFile,
    pub executors: Executors,
    pub proof: Proof,
}

/// The file that stops everything while it is there.
#[derive(Clone, Debug)]
pub struct StopFile(Option<PathBuf>);

impl StopFile {
    /// `REMEDIATION_STOP_FILE`.
    #[must_use]
    pub fn new(config: &Config) -> StopFile {
        StopFile(config.stop_file.clone())
    }

    /// Whether the stop file is there. One that cannot be looked at counts as
    /// there: whoever asks for a stop must not depend on permissions.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        let file = self.0.as_ref();
        file.is_some_and(|file| file.try_exists().unwrap_or(true))
    }

    /// What the stop file means for a try of an execution. Before the first
    /// try nothing was done, so that it is refused; an earlier try may have
    /// acted, and whoever would find out might act: that has to wait, and a
    /// person has to look where it waits too long.
    ///
    /// # Errors
    /// Transient while an earlier try cannot be looked into.
    fn before(&self, attempt: i32) -> Result<Option<Outcome>, JobError> {
        if !self.is_stopped() {
            return Ok(None);
        }
        if attempt > 1 {
            return Err(JobError::Transient(anyhow::anyhow!(
                "the stop file is there, and whether an earlier try acted is not known"
            )));
        }
        Ok(Some(Outcome {
            status: OutcomeStatus::Refused,
            rule: "global_stop".to_owned(),
            output: "the stop file is there".to_owned(),
            acted_at_ms: None,
            reconciled: false,
        }))
    }
}

impl Hands {
    /// Carries an action out, unless everything is stopped; `attempt` counts
    /// from 1.
    ///
    /// # Errors
    /// As the executor says.
    pub async fn execute(&self, execution: &Execution, attempt: i32) -> Result<Outcome, JobError> {
        if let Some(refused) = self.stop.before(attempt)? {
            return Ok(refused);
        }
        self.executors.execute(execution).await
    }

    /// Looks whether an action helped.
    ///
    /// # Errors
    /// As the proof says.
    pub async fn verify(&self, check: &Check) -> Result<Verification, JobError> {
        self.proof.verify(check).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use midwatch_runtime::config::Settings;

    #[test]
    fn the_stop_file_stops_while_it_is_there() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("STOP");
        let name = "REMEDIATION_STOP_FILE".to_owned();
        let pair = (name, path.to_string_lossy().into_owned());
        let stop = StopFile::new(&Config::read(&mut Settings::from_values([pair])));
        assert!(!stop.is_stopped() && matches!(stop.before(1), Ok(None)));
        std::fs::write(&path, "").expect("written");
        assert!(stop.is_stopped());
        let refused = stop.before(1).expect("the first try did nothing");
        assert_eq!(refused.map(|one| one.status), Some(OutcomeStatus::Refused));
        // An earlier try may have acted: that is never told as refused.
        assert!(matches!(stop.before(2), Err(JobError::Transient(_))));
        std::fs::remove_file(&path).expect("removed");
        assert!(!stop.is_stopped());
    }
}
