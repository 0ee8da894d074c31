//! What touches the world: executors carry actions out, the proof looks at
//! their effect. The stop file is looked at right before, whatever was decided
//! earlier.

use crate::config::Config;
use crate::execution::{Check, Execution, Outcome, OutcomeStatus};
use midwatch_events::action::Verification;
use midwatch_runtime::agent::JobError;
use std::path::PathBuf;

/// The agent's hands and eyes.
pub struct Hands {
    stop_file: Option<PathBuf>,
}

impl Hands {
    /// Hands that stop while the file is there.
    #[must_use]
    pub fn new(config: &Config) -> Hands {
        Hands {
            stop_file: config.stop_file.clone(),
        }
    }

    /// Whether the stop file is there. One that cannot be looked at counts as
    /// there: whoever asks for a stop must not depend on permissions.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        let file = self.stop_file.as_ref();
        file.is_some_and(|file| file.try_exists().unwrap_or(true))
    }

    /// What the stop file means for a try of an execution. Before the first
    /// try nothing was done, so that it is refused; an earlier try may have
    /// acted, and whoever would find out might act: that has to wait, and a
    /// person has to look where it waits too long.
    ///
    /// # Errors
    /// Transient while an earlier try cannot be looked into.
    fn stop(&self, attempt: i32) -> Result<Option<Outcome>, JobError> {
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

    /// Carries an action out, unless everything is stopped; `attempt` counts
    /// from 1.
    ///
    /// # Errors
    /// As the executor says.
    pub async fn execute(&self, execution: &Execution, attempt: i32) -> Result<Outcome, JobError> {
        if let Some(refused) = self.stop(attempt)? {
            return Ok(refused);
        }
        Err(JobError::Permanent(anyhow::anyhow!(
            "no executor for {} is part of this build",
            execution.action.executor.as_str()
        )))
    }

    /// Looks whether an action helped.
    ///
    /// # Errors
    /// As the proof says.
    pub async fn verify(&self, check: &Check) -> Result<Verification, JobError> {
        Err(JobError::Permanent(anyhow::anyhow!(
            "nothing in this build looks at {} of {}",
            check.effect.metric,
            check.effect.service
        )))
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
        let hands = Hands::new(&Config::read(&mut Settings::from_values([pair])));
        assert!(!hands.is_stopped() && matches!(hands.stop(1), Ok(None)));
        std::fs::write(&path, "").expect("written");
        assert!(hands.is_stopped());
        let refused = hands.stop(1).expect("the first try did nothing");
        assert_eq!(refused.map(|one| one.status), Some(OutcomeStatus::Refused));
        // An earlier try may have acted: that is never told as refused.
        assert!(matches!(hands.stop(2), Err(JobError::Transient(_))));
        std::fs::remove_file(&path).expect("removed");
        assert!(!hands.is_stopped());
    }
}
