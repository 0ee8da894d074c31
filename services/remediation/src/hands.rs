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

    /// Carries an action out, unless everything is stopped.
    ///
    /// # Errors
    /// As the executor says.
    pub async fn execute(&self, execution: &Execution) -> Result<Outcome, JobError> {
        if self.is_stopped() {
            return Ok(Outcome {
                status: OutcomeStatus::Refused,
                rule: "global_stop".to_owned(),
                output: "the stop file is there".to_owned(),
                acted_at_ms: None,
                reconciled: false,
            });
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
        assert!(!hands.is_stopped());
        std::fs::write(&path, "").expect("written");
        assert!(hands.is_stopped());
        std::fs::remove_file(&path).expect("removed");
        assert!(!hands.is_stopped());
    }
}
