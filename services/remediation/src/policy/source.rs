//! Where the policy comes from: the file and the mode of the settings. Read at
//! the start, and again right before an action begins.

use super::{Mode, Policy, parse};
use crate::catalogue::Refusal;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest file, bytes. The example has one thousand; what is larger is some
/// other file.
const MOST_BYTES: u64 = 262_144;
/// Longest wait for it: a share that hangs must not hold an action up for ever.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// Where the policy comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// `REMEDIATION_POLICY_FILE`; the built-in policy where absent.
    pub file: Option<PathBuf>,
    /// `REMEDIATION_MODE`.
    pub mode: Option<Mode>,
}

impl Source {
    /// The policy as it is written now. `dry-run` as the mode makes everything
    /// a dry run whatever the file says; `live` is for the environments that
    /// the file does not name.
    ///
    /// # Errors
    /// Says what is wrong with the file, and where.
    pub fn read(&self) -> Result<Policy, String> {
        let mut policy = match &self.file {
            Some(path) => parse(&text(path)?)?,
            None => Policy::default(),
        };
        match self.mode {
            Some(Mode::DryRun) => {
                policy.mode = Mode::DryRun;
                policy.environments.clear();
            }
            Some(Mode::Live) => policy.mode = Mode::Live,
            None => {}
        }
        Ok(policy)
    }

    /// The policy for an action that is about to begin. It is read in full
    /// each time: actions are rare, the file is small, and a time stamp does
    /// not tell of every change.
    ///
    /// # Errors
    /// `policy_file`: it cannot be used as it is now. What it said before does
    /// not count any more, for nobody knows what was to be changed.
    pub async fn now(&self) -> Result<Policy, Refusal> {
        let source = self.clone();
        let read = tokio::task::spawn_blocking(move || source.read());
        let problem = match tokio::time::timeout(READ_LIMIT, read).await {
            Ok(Ok(Ok(policy))) => return Ok(policy),
            Ok(Ok(Err(problem))) => problem,
            Ok(Err(error)) => format!("reading it broke off: {error}"),
            Err(_) => format!("reading it takes more than {} s", READ_LIMIT.as_secs()),
        };
        let path = self.file.as_deref().unwrap_or_else(|| Path::new("none"));
        Err(Refusal::new(
            "policy_file",
            format!(
                "the policy's file {} cannot be used: {problem}; mend it, then approve anew",
                path.display()
            ),
        ))
    }
}

/// The file's text.
fn text(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("it cannot be read: {error}");
    // Opening something else, such as a pipe, could wait for ever.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    file.take(MOST_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > MOST_BYTES {
        return Err(format!(
            "it is larger than {MOST_BYTES} bytes, so it is some other file"
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_question_is_answered_by_the_file_as_it_is_then() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("policy.json");
        let source = Source {
            file: Some(path.clone()),
            mode: None,
        };
        let write = |text: &str| std::fs::write(&path, text).expect("written");
        write(r#"{"mode": "live"}"#);
        let first = source.now().await.expect("a good file");
        assert_eq!(first.mode, Mode::Live);
        // Of the same length and in the same moment, so that no time stamp and
        // no size tells of it.
        write(r#"{"stop": true}  "#);
        assert!(source.now().await.expect("a good file").stop);
        for (text, told) in [
            ("{\"stop\": fal", "EOF"),
            (r#"{"stops": true}"#, "unknown field `stops`"),
            (r#"{"hourly_limit": 0}"#, "hourly_limit is 0"),
            ("", "EOF"),
        ] {
            write(text);
            let refusal = source.now().await.expect_err(text);
            assert_eq!(refusal.rule, "policy_file");
            assert!(
                refusal.words.contains(told) && refusal.words.contains("policy.json"),
                "{refusal}"
            );
        }
        write(&" ".repeat(300_000));
        let refusal = source.now().await.expect_err("too large");
        assert!(refusal.words.contains("larger than 262144"), "{refusal}");
        std::fs::remove_file(&path).expect("it was there");
        let refusal = source.now().await.expect_err("gone");
        assert!(refusal.words.contains("cannot be read"), "{refusal}");
        std::fs::create_dir(&path).expect("a folder in its place");
        let refusal = source.now().await.expect_err("a folder");
        assert!(refusal.words.contains("no regular file"), "{refusal}");
    }

    #[test]
    fn without_a_file_the_built_in_policy_counts_in_the_mode_of_the_settings() {
        let source = Source::default();
        assert_eq!(source.read(), Ok(Policy::default()));
        let live = Source {
            mode: Some(Mode::Live),
            ..Source::default()
        };
        let wanted = Policy {
            mode: Mode::Live,
            ..Policy::default()
        };
        assert_eq!(live.read(), Ok(wanted));
    }
}
