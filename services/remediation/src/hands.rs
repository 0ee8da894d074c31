//! What touches the world: executors carry actions out, the proof looks at
//! their effect.

use crate::config::Config;
use crate::execution::{Check, Execution, Outcome};
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
}

impl Hands {
    /// Carries an action out; the executors look at the stop file themselves,
    /// after they have looked at what an earlier try did.
    ///
    /// # Errors
    /// As the executors say.
    pub async fn execute(&self, execution: &Execution) -> Result<Outcome, JobError> {
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
        assert!(!stop.is_stopped());
        std::fs::write(&path, "").expect("written");
        assert!(stop.is_stopped());
        std::fs::remove_file(&path).expect("removed");
        assert!(!stop.is_stopped());
    }
}
