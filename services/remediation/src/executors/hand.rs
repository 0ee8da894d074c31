//! What every executor can do: check, act, and look whether it was done.

use crate::execution::Execution;
use async_trait::async_trait;
use midwatch_clients::llm::redact::redact;
pub use midwatch_clients::postgres::executions::Acting;
use serde_json::Value;

/// Most characters of output that are kept.
pub const OUTPUT_CHARS: usize = 4_000;

/// An action that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    pub output: String,
    /// Event time at which it took effect, where the executor knows it better
    /// than the clock of this process.
    pub at_ms: Option<i64>,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// What would be sent or run, for people.
    pub description: String,
    /// What a later look needs to know; kept with the intent.
    pub observed: Value,
}

/// Why an action is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The world shows that this very action was done.
    Already(Done),
    /// A pre-check does not hold, or the executor does not take the action.
    No(String),
}

/// How acting went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acted {
    Done {
        done: Done,
        /// The answer was lost, and the world told.
        looked: bool,
    },
    /// The executor said no; nothing was changed.
    Refused(String),
    /// The world is as it should become, but somebody else made it so before
    /// this action could; nothing was changed here.
    NotOurs(String),
    /// It was done, but not to its end; says what is left.
    InPart(String),
    /// It may have been done, in part too.
    Unclear(String),
}

impl Acted {
    /// Done, with an answer.
    #[must_use]
    pub fn done(output: impl Into<String>) -> Acted {
        Acted::Done {
            done: Done {
                output: output.into(),
                at_ms: None,
            },
            looked: false,
        }
    }
}

/// What the world says about an action that may have been done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Done(Done),
    /// It was not done, or not to its end and going on repeats nothing.
    NotDone,
    /// Whoever could tell does not answer just now.
    Away(String),
    CannotTell(String),
}

/// One way to act. Every wait within has a limit; an action that another
/// process has begun under the same key is never begun a second time.
#[async_trait]
pub trait Hand: Send + Sync {
    /// Whether only the machine that acted can see whether it was done.
    fn is_bound_to_its_machine(&self) -> bool {
        false
    }

    /// Looks whether it may be done now. Changes nothing.
    async fn check(&self, execution: &Execution) -> Result<Prepared, Stop>;

    /// Does it.
    async fn act(&self, execution: &Execution, prepared: &Prepared) -> Acted;

    /// Looks whether it was done. Changes nothing.
    async fn look(&self, execution: &Execution, acting: &Acting) -> Seen;
}

/// An argument of an action.
///
/// # Errors
/// It is missing or empty.
pub fn argument<'a>(execution: &'a Execution, name: &str) -> Result<&'a str, String> {
    optional(execution, name).ok_or_else(|| {
        let kind = execution.action.kind.as_str();
        format!("{kind} needs the argument {name:?}")
    })
}

/// An argument that may be absent.
#[must_use]
pub fn optional<'a>(execution: &'a Execution, name: &str) -> Option<&'a str> {
    let value = execution.action.arguments.get(name)?.trim();
    (!value.is_empty()).then_some(value)
}

/// Output as it is kept: without secrets, control characters and whatever is
/// beyond [`OUTPUT_CHARS`]; of long output the middle is left out.
#[must_use]
pub fn tidy(text: &str) -> String {
    let clean: String = redact(text)
        .chars()
        .filter(|&character| !character.is_control() || matches!(character, '\n' | '\t'))
        .collect();
    let clean = clean.trim();
    let count = clean.chars().count();
    if count <= OUTPUT_CHARS {
        return clean.to_owned();
    }
    const GAP: &str = "\n… left out …\n";
    let kept = OUTPUT_CHARS - GAP.chars().count();
    let head: String = clean.chars().take(kept / 2).collect();
    let tail: String = clean.chars().skip(count - (kept - kept / 2)).collect();
    format!("{head}{GAP}{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_redacted_and_bounded() {
        let secret = "password=hunter2hunter2";
        assert!(!tidy(secret).contains("hunter2"), "{}", tidy(secret));
        let long = format!("begin {} end", "ä\u{0}".repeat(9_000));
        let kept = tidy(&long);
        assert_eq!(kept.chars().count(), OUTPUT_CHARS);
        assert!(kept.starts_with("begin ") && kept.ends_with(" end"));
        assert_eq!(tidy("\u{0} done \u{7}\n"), "done");
    }
}
