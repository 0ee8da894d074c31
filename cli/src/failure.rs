//! Why a command did not succeed, and what to do about it.

use std::io::ErrorKind;

/// A command that failed.
#[derive(Debug)]
pub enum Failure {
    /// What was wrong, and how to mend it.
    Problem { what: String, mend: String },
    /// The reader of the output is gone; there is nobody to tell.
    BrokenPipe,
}

impl Failure {
    /// A failure with its remedy.
    pub fn new(what: impl Into<String>, mend: impl Into<String>) -> Failure {
        Failure::Problem {
            what: what.into(),
            mend: mend.into(),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        if error.kind() == ErrorKind::BrokenPipe {
            Failure::BrokenPipe
        } else {
            Failure::new(
                format!("the output cannot be written: {error}"),
                "see that the terminal or file takes it",
            )
        }
    }
}
